/**
 * The shape of every protocol core: a step machine that one shell feeds with inputs and time. A core never
 * waits, reads no clock, draws no number that was not handed to it and touches no IO, so that a transcript, a
 * simulator and a real node drive the very same code. The split is etcd/raft's `Step` and `Ready`.
 */

/**
 * A pure step machine.
 *
 * Times are monotonic milliseconds, fractions allowed, and never go back from one call to the next. A core is
 * not re-entrant: the shell carries out the effects of one step before it takes the next.
 */
export interface Core<Input, Effect, Status> {
  /**
   * Takes one input at `nowMs` and returns what must be done about it, in the order in which it must be done.
   * What else that order promises is written on the effect type. The returned array belongs to the caller.
   */
  readonly step: (input: Input, nowMs: number) => readonly Effect[]
  /**
   * When the core wants to be stepped with its tick although nothing happened; undefined means never. Ask
   * again after each step. A tick that comes early is harmless; one that comes late is counted as this
   * process's own stall by the cores that judge others.
   */
  readonly nextDeadlineMs: () => number | undefined
  /** What stands now, as plain data that shares nothing with the core: for people, the CLI and tests. */
  readonly status: () => Status
}
