/** What the processes of this project's own cluster and their parent say to each other. */

/** The first word to a member: what it is. */
export interface OwnStart {
  readonly type: 'start'
  readonly name: string
  /** Everything of this member lies under it, also when it is started again; or 'memory'. */
  readonly directory: string
  /** Addresses of nodes to join; none: it is the first. */
  readonly seeds: readonly string[]
  /** Names of all nodes. */
  readonly members: readonly string[]
  /** How many groups, each a service of its own: `groupName(0)` and so on. */
  readonly groups: number
}

/** `look` asks a member which groups it leads. */
export type OwnCommand = OwnStart | { readonly type: 'look' }

export type OwnReport =
  | { readonly type: 'started'; readonly address: string }
  /** For each group, the leader's name as this member knows it, '' for none, and the index that it has applied. */
  | {
      readonly type: 'groups'
      readonly leaders: readonly string[]
      readonly applied: readonly number[]
    }

/** Name of a group, and of the service on it. */
export function groupName(group: number): string {
  return `group-${group}`
}
