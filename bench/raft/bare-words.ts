/** What the processes of the bare replicated log agree on. */

/** The word of the parent to a member. */
export interface BareCommand {
  readonly directory: string
  /** Ports of the followers; of a follower: empty. */
  readonly followers: readonly number[]
}

/** The answer of the member: it serves on this port. */
export interface BareReport {
  readonly port: number
}

export const bareSocketOptions = { perMessageDeflate: false, skipUTF8Validation: true } as const
