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

/** Options of `deadlineDetector`. */
export interface DeadlineDetectorOptions {
  /**
   * How often peers send, in milliseconds, 10 to 60,000. Lower detects faster and costs more frames. @default
   * 500
   */
  readonly heartbeatIntervalMs?: number | undefined
  /**
   * The longest silence of a peer that is alive, in milliseconds. At least twice `heartbeatIntervalMs`, so
   * that one late heartbeat is no death. Higher bears longer pauses of the peer; lower moves its work sooner.
   * @default 2_500
   */
  readonly deadlineMs?: number | undefined
}

/** What `DeadlineDetectorOptions` are when left out. */
export const deadlineDetectorDefaults = Object.freeze({ heartbeatIntervalMs: 500, deadlineMs: 2_500 })

const INTERVAL_MS_LEAST = 10
const INTERVAL_MS_MOST = 60_000
const DEADLINE_MS_MOST = 3_600_000

/**
 * A detector with one fixed deadline: up to `deadlineMs` of silence is fine, more is not.
 *
 * It measures on a clock of its own that stands still while this process does: a node that was stalled for
 * ten seconds finds all its peers as young as before, reads what they sent meanwhile and accuses nobody. A
 * node that is late at every tick accuses late, which is right: the others will accuse it. All operations are
 * O(1).
 *
 * @throws {RangeError} if an option is out of range.
 */
export function deadlineDetector(options: DeadlineDetectorOptions = {}): FailureDetector {
  const { deadlineMs } = checkDeadlineOptions(options)
  /** Peer to the time it was last heard, on the clock that leaves our stalls out. */
  const heardAt = new Map<string, number>()
  let stalledMs = 0
  let countedUntilMs = Number.NEGATIVE_INFINITY

  return {
    heard: (peer, nowMs) => {
      heardAt.set(peer, nowMs - stalledMs)
    },
    forget: (peer) => {
      heardAt.delete(peer)
    },
    ran: (dueMs, nowMs) => {
      const fromMs = Math.max(dueMs, countedUntilMs)
      if (nowMs <= fromMs) return
      stalledMs += nowMs - fromMs
      countedUntilMs = nowMs
    },
    suspicion: (peer, nowMs) => {
      const at = heardAt.get(peer)
      if (at === undefined) return 0
      const suspicion = Math.max(0, (nowMs - stalledMs - at) / deadlineMs)
      // The same sum as in `deadlineMs`: were the two to round apart, a tick at the deadline would find nothing to do
      // and be told to come again at once, for as long as the clock shows the same time.
      return nowMs >= at + stalledMs + deadlineMs ? Math.max(1, suspicion) : suspicion
    },
    deadlineMs: (peer) => {
      const at = heardAt.get(peer)
      return at === undefined ? undefined : at + stalledMs + deadlineMs
    },
  }
}

/** Fills in the defaults. @throws {RangeError} if an option is out of range. */
export function checkDeadlineOptions(options: DeadlineDetectorOptions): {
  readonly heartbeatIntervalMs: number
  readonly deadlineMs: number
} {
  const heartbeatIntervalMs = options.heartbeatIntervalMs ?? deadlineDetectorDefaults.heartbeatIntervalMs
  const deadlineMs = options.deadlineMs ?? deadlineDetectorDefaults.deadlineMs
  if (!(heartbeatIntervalMs >= INTERVAL_MS_LEAST && heartbeatIntervalMs <= INTERVAL_MS_MOST)) {
    throw new RangeError(
      `Cannot use heartbeatIntervalMs ${heartbeatIntervalMs}: it must be from ${INTERVAL_MS_LEAST} to ${INTERVAL_MS_MOST}`,
    )
  }
  if (!(deadlineMs >= 2 * heartbeatIntervalMs && deadlineMs <= DEADLINE_MS_MOST)) {
    throw new RangeError(
      `Cannot use deadlineMs ${deadlineMs}: it must be at least twice heartbeatIntervalMs ` +
        `(${2 * heartbeatIntervalMs}) and at most ${DEADLINE_MS_MOST}`,
    )
  }
  return { heartbeatIntervalMs, deadlineMs }
}
