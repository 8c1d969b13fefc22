/** What a replicated log is for: a state that every member computes from the same commands. */

/** A command whose place in the log is decided. */
export interface AppliedCommand {
  readonly index: number
  /** The term of the leader that appended it. */
  readonly term: number
  /** The log's own clock in milliseconds: stamped by the leader, never goes back, stands still without a leader. */
  readonly timeMs: number
  /** Belongs to the log: do not change it; a view of it may be kept. */
  readonly data: Uint8Array
}

/**
 * A deterministic state. All calls come from one actor, one at a time, in the order of the log.
 *
 * `apply` must give the same result on every member: it reads no clock, draws no number and does not look around. A result
 * is plain data that CBOR can carry: it is kept with its session, goes into snapshots, and is sent to whoever proposed.
 * A throw is a bug, not an answer: it stops the group on every member.
 */
export interface StateMachine<Result> {
  readonly apply: (command: AppliedCommand) => Result
  /**
   * The state at this moment, in chunks of at most 1 MiB or so. The chunks are taken while later commands are applied, and
   * must not show them. At most one walk at a time; `return()` is called when it is given up.
   */
  readonly snapshot: () => Iterator<Uint8Array>
  /**
   * Becomes what a `snapshot` gave, whatever it was before. Reads may come between the chunks: swap the state at the end.
   * @throws when the chunks are not what it wrote
   */
  readonly restore: (chunks: AsyncIterable<Uint8Array>) => Promise<void>
}
