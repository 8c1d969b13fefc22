/**
 * Watching by phi: a node pings its next few members by name in every period and judges them by the distribution of their
 * answers. So each member is watched by as many others, and the load of a node does not grow with the cluster.
 */
import type { FailureDetector } from './failure-detector.ts'
import { isDoubted } from './member-table.ts'
import type { MemberEntry } from './member-table.ts'
import { phiDetector } from './phi-detector.ts'
import { successorsByName } from './probe-order.ts'
import type { Prober, ProberHost } from './prober.ts'
import { noteRoundTrip } from './round-trip.ts'

/** How many successors a node watches: Akka's `monitored-by-nr-of-members`. */
export const watchedMax = 9

/** The watch of one node. Times are those of the core's own clock, which leaves stalls out. A period is O(watched). */
export class SuccessorWatch {
  readonly #host: ProberHost
  readonly #prober: Prober
  readonly #detector: FailureDetector
  #watched: readonly MemberEntry[] = []
  #isStale = true
  #periodDueMs = Number.POSITIVE_INFINITY
  #judgeDueMs = Number.POSITIVE_INFINITY
  #pinged = 0
  #answered = 0

  constructor(host: ProberHost, prober: Prober, threshold: number) {
    this.#host = host
    this.#prober = prober
    const { probeIntervalMs } = host.figures
    this.#detector = phiDetector({
      threshold,
      expectedIntervalMs: probeIntervalMs,
      // Akka's 3 s are three of its heartbeats.
      acceptablePauseMs: 3 * probeIntervalMs,
    })
  }

  start(atMs: number): void {
    this.#periodDueMs = atMs
  }

  get dueMs(): number {
    return Math.min(this.#periodDueMs, this.#judgeDueMs)
  }

  /** Members came or ended. */
  changed(): void {
    this.#isStale = true
  }

  run(nowMs: number): void {
    if (nowMs >= this.#periodDueMs) this.#beginPeriod(nowMs)
    else if (nowMs < this.#judgeDueMs) return
    this.#judge(nowMs)
  }

  acked(from: MemberEntry, sequence: number, nowMs: number): void {
    if (from.pingSequence !== sequence || sequence === 0) return
    from.pingSequence = 0
    this.#answered++
    noteRoundTrip(from, nowMs - from.pingAtMs)
    this.#prober.reached(from)
    this.#detector.heard(from.record.name, nowMs)
  }

  /** The pings under way are forgotten. */
  stalled(nowMs: number): void {
    this.#pinged = 0
    this.#periodDueMs = nowMs
  }

  /** How far that member has used up its time. */
  suspicion(entry: MemberEntry, nowMs: number): number {
    return this.#detector.suspicion(entry.record.name, nowMs)
  }

  #beginPeriod(nowMs: number): void {
    const { figures, awareness } = this.#host
    // When few answer it is we that are cut off, or slow; when most do, we are well.
    const areFew = this.#answered * 2 < this.#pinged
    if (this.#pinged > 0) awareness.add(areFew ? 1 : -1)
    if (areFew) this.#host.silence.askAll(nowMs)
    // Not scaled by the awareness: our own slower pings would look like slower answers. It scales the judgement instead.
    this.#periodDueMs = nowMs + figures.probeIntervalMs
    if (this.#isStale) this.#choose(nowMs)
    this.#pinged = 0
    this.#answered = 0
    for (const entry of this.#watched) {
      entry.pingSequence = this.#prober.nextSequence()
      entry.pingAtMs = nowMs
      if (!isDoubted(entry.record.kind)) this.#pinged++
      this.#host.sendPing(entry, entry.pingSequence)
    }
  }

  #choose(nowMs: number): void {
    this.#isStale = false
    const before = this.#watched
    this.#watched = successorsByName(this.#host.table, watchedMax)
    for (const entry of before) if (!this.#watched.includes(entry)) this.#detector.forget(entry.record.name)
    for (const entry of this.#watched) {
      // As if it had answered a period ago: its first answer then comes after a whole interval, as all others will.
      if (!before.includes(entry))
        this.#detector.heard(entry.record.name, nowMs - this.#host.figures.probeIntervalMs)
    }
  }

  #judge(nowMs: number): void {
    const { score } = this.#host.awareness
    this.#judgeDueMs = Number.POSITIVE_INFINITY
    for (const entry of this.#watched) {
      if (entry.place < 0 || entry.record.kind === 'unreachable') continue
      const { name } = entry.record
      if (this.#detector.suspicion(name, nowMs) >= score + 1) {
        this.#host.suspect(entry, 'silent', nowMs)
      } else if (score === 0 && !isDoubted(entry.record.kind)) {
        // With a score above 0 the next period is soon enough.
        const dueMs = this.#detector.deadlineMs(name) ?? Number.POSITIVE_INFINITY
        this.#judgeDueMs = Math.min(this.#judgeDueMs, Math.max(dueMs, nowMs + 1))
      }
    }
  }
}
