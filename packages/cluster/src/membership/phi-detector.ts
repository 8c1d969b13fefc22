/**
 * The phi-accrual failure detector (Hayashibara et al., 2004), as Akka computes it: how unlikely a silence is, given how
 * regularly its peer was heard before.
 */
import type { FailureDetector } from './failure-detector.ts'

/** Options of `phiDetector`. */
export interface PhiDetectorOptions {
  /**
   * The phi at which a peer's time is up: a silence that long is expected once in 10^threshold heartbeats. 0.5 to 100;
   * higher bears more jitter and detects later. @default 8
   */
  readonly threshold?: number | undefined
  /** How often peers are heard when all is well, for as long as nothing is measured, in milliseconds. @default 1_000 */
  readonly expectedIntervalMs?: number | undefined
  /** The least deviation that is assumed, so that a very regular peer is not given up for one late heartbeat. @default 100 */
  readonly deviationMinMs?: number | undefined
  /** A pause of the peer that is borne beyond the usual interval, in milliseconds. @default 3_000 */
  readonly acceptablePauseMs?: number | undefined
  /** Intervals that are remembered of each peer. 2 to 10,000. @default 1_000 */
  readonly samplesMax?: number | undefined
}

/** What `PhiDetectorOptions` are when left out: Akka's cluster defaults. */
export const phiDetectorDefaults = Object.freeze({
  threshold: 8,
  expectedIntervalMs: 1_000,
  deviationMinMs: 100,
  acceptablePauseMs: 3_000,
  samplesMax: 1_000,
})

// The logistic approximation of the normal distribution that Akka uses: with y = (t - mean) / deviation,
// 1 - F(t) = e / (1 + e) where e = exp(-y * (1.5976 + 0.070566 * y^2)).
const LINEAR = 1.5976
const CUBIC = 0.070566

/**
 * phi = -log10(1 - F(t)) of a silence of `silenceMs`. In the form log10(1 + exp(u)), which loses nothing at either end.
 * With mean 1,000 and deviation 100: 0.301 at 1,000, 1.0 at 1,127, 8.0 at 1,575 (to a millisecond).
 */
export function phiOf(silenceMs: number, meanMs: number, deviationMs: number): number {
  const y = (silenceMs - meanMs) / deviationMs
  const u = y * (LINEAR + CUBIC * y * y)
  return (u > 30 ? u : Math.log1p(Math.exp(u))) / Math.LN10
}

/** The silence at which phi reaches `phi`: the inverse of `phiOf`. */
export function silenceOf(phi: number, meanMs: number, deviationMs: number): number {
  // u is what phiOf put into log10(1 + exp(u)); then the one real root of CUBIC y^3 + LINEAR y - u = 0.
  const u = phi > 15 ? phi * Math.LN10 : Math.log(10 ** phi - 1)
  const p = LINEAR / CUBIC
  const q = -u / CUBIC
  const y = -2 * Math.sqrt(p / 3) * Math.sinh(Math.asinh(((3 * q) / (2 * p)) * Math.sqrt(3 / p)) / 3)
  return meanMs + y * deviationMs
}

/** The last so many intervals of one peer, with their sum and the sum of their squares: all O(1). */
class History {
  readonly #samples: number[] = []
  readonly #most: number
  #next = 0
  #sum = 0
  #squares = 0
  /** On the clock that leaves our stalls out. */
  heardAtMs: number

  constructor(most: number, expectedMs: number, nowMs: number) {
    this.#most = most
    this.heardAtMs = nowMs
    // As Akka does: two intervals around the expected one, a quarter of it away, so that the first real ones fit in.
    this.add(expectedMs - expectedMs / 4)
    this.add(expectedMs + expectedMs / 4)
  }

  get meanMs(): number {
    return this.#sum / this.#samples.length
  }

  get deviationMs(): number {
    const mean = this.meanMs
    return Math.sqrt(Math.max(0, this.#squares / this.#samples.length - mean * mean))
  }

  add(intervalMs: number): void {
    const old = this.#samples[this.#next]
    if (old !== undefined && this.#samples.length === this.#most) {
      this.#sum -= old
      this.#squares -= old * old
    }
    this.#samples[this.#next] = intervalMs
    this.#sum += intervalMs
    this.#squares += intervalMs * intervalMs
    this.#next = (this.#next + 1) % this.#most
  }
}

/**
 * A detector that learns how regularly each peer is heard. `suspicion` is phi / threshold. It
 * measures on a clock that stands still while this process does. All operations are O(1); a peer costs `samplesMax`
 * numbers.
 *
 * @throws {RangeError} if an option is out of range.
 */
export function phiDetector(options: PhiDetectorOptions = {}): FailureDetector {
  const { threshold, expectedIntervalMs, deviationMinMs, acceptablePauseMs, samplesMax } =
    checkOptions(options)
  const peers = new Map<string, History>()
  let stalledMs = 0
  let countedUntilMs = Number.NEGATIVE_INFINITY

  const deviationOf = (history: History): number => Math.max(deviationMinMs, history.deviationMs)
  const meanOf = (history: History): number => history.meanMs + acceptablePauseMs
  const deadlineOf = (history: History): number =>
    history.heardAtMs + stalledMs + silenceOf(threshold, meanOf(history), deviationOf(history))

  return {
    heard: (peer, nowMs) => {
      const atMs = nowMs - stalledMs
      const history = peers.get(peer)
      if (history === undefined) {
        peers.set(peer, new History(samplesMax, expectedIntervalMs, atMs))
        return
      }
      // A silence that was too long is a failure that healed, not how the peer usually is.
      if (nowMs < deadlineOf(history)) history.add(atMs - history.heardAtMs)
      history.heardAtMs = atMs
    },
    forget: (peer) => {
      peers.delete(peer)
    },
    ran: (dueMs, nowMs) => {
      const fromMs = Math.max(dueMs, countedUntilMs)
      if (nowMs <= fromMs) return
      stalledMs += nowMs - fromMs
      countedUntilMs = nowMs
    },
    suspicion: (peer, nowMs) => {
      const history = peers.get(peer)
      if (history === undefined) return 0
      const silenceMs = nowMs - stalledMs - history.heardAtMs
      const suspicion = phiOf(silenceMs, meanOf(history), deviationOf(history)) / threshold
      // The same sum as in `deadlineMs`, or a tick at the deadline could find nothing to do.
      return nowMs >= deadlineOf(history) ? Math.max(1, suspicion) : suspicion
    },
    deadlineMs: (peer) => {
      const history = peers.get(peer)
      return history === undefined ? undefined : deadlineOf(history)
    },
  }
}

function checkOptions(options: PhiDetectorOptions): {
  readonly [K in keyof typeof phiDetectorDefaults]: number
} {
  const checked = {
    threshold: options.threshold ?? phiDetectorDefaults.threshold,
    expectedIntervalMs: options.expectedIntervalMs ?? phiDetectorDefaults.expectedIntervalMs,
    deviationMinMs: options.deviationMinMs ?? phiDetectorDefaults.deviationMinMs,
    acceptablePauseMs: options.acceptablePauseMs ?? phiDetectorDefaults.acceptablePauseMs,
    samplesMax: options.samplesMax ?? phiDetectorDefaults.samplesMax,
  }
  checkRange('threshold', checked.threshold, 0.5, 100)
  checkRange('expectedIntervalMs', checked.expectedIntervalMs, 1, 3_600_000)
  checkRange('deviationMinMs', checked.deviationMinMs, 1, 3_600_000)
  checkRange('acceptablePauseMs', checked.acceptablePauseMs, 0, 3_600_000)
  checkRange('samplesMax', checked.samplesMax, 2, 10_000)
  if (!Number.isInteger(checked.samplesMax)) {
    throw new RangeError(`Cannot use samplesMax ${checked.samplesMax}: it must be a whole number`)
  }
  return checked
}

function checkRange(name: string, value: number, least: number, most: number): void {
  if (!(value >= least && value <= most)) {
    throw new RangeError(`Cannot use ${name} ${value}: it must be from ${least} to ${most}`)
  }
}
