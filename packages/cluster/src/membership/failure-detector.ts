/**
 * Failure detectors: how long a silence may be. A detector knows nothing of links and members, only of who
 * was heard when, and of how late this process itself has been.
 */

/** Judges peers by their silence. Pure: the time comes with each call. */
export interface FailureDetector {
  /** Something came from `peer`: a heartbeat, or any other frame. The first call begins the watch. */
  readonly heard: (peer: string, nowMs: number) => void
  /** Ends the watch. */
  readonly forget: (peer: string) => void
  /**
   * This process meant to run at `dueMs` and runs only now. What it did not read in between proves nothing
   * against the peers, so their time does not count. Overlapping reports count once. A tick that is not late
   * costs nothing.
   */
  readonly ran: (dueMs: number, nowMs: number) => void
  /**
   * How far `peer` has used up its time: 0 just heard, 1 or more its time is up, 0 for a peer that is not
   * watched. Not a probability.
   */
  readonly suspicion: (peer: string, nowMs: number) => number
  /**
   * When `suspicion(peer)` will reach 1 if nothing more is heard and nothing stalls. Undefined when not
   * watched.
   */
  readonly deadlineMs: (peer: string) => number | undefined
}
