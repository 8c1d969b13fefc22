/** What the main process and its candidates say to each other. */

/** The node of the main process, which has the diary. */
export const hostName = 'main'
/** The role of the three that elect a leader among them. */
export const memberRole = 'member'
export const electionName = 'boss'

export interface CandidateSettings {
  readonly name: string
  readonly listen: string
  readonly seeds: readonly string[]
  readonly members: readonly string[]
  readonly secret: string
  /** A directory of its own, which stays when its process is killed. */
  readonly data: string
  readonly leaseMs: number
}

export type CandidateReport =
  | { readonly type: 'ready' }
  | { readonly type: 'leads'; readonly term: number }
  /** Its term is over: its lease was lost, or the diary refused it. */
  | { readonly type: 'led'; readonly term: number; readonly entries: number; readonly why: string }
  | { readonly type: 'failed'; readonly why: string }
