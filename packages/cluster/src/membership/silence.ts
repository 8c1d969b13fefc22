/**
 * Who owes this node an answer. SWIM asks one or two members a period, and Lifeguard slows a node whose probes fail: cut off
 * alone it would take minutes to suspect half of a hundred. But which side of a cut it is on it must know in seconds, or it
 * still acts when the other side starts its replacements (`DowningBound`, 1). So when a probe failed and somebody who was
 * asked for help did not even say that he could not, everybody is pinged once: whoever lives on our side answers.
 *
 * No judgement in SWIM: nobody is suspected by it, and it leaves the awareness alone.
 */
import type { Awareness } from './awareness.ts'
import type { MemberEntry, MemberTable } from './member-table.ts'
import type { CheckedSwimOptions } from './swim-options.ts'

/** What it needs of its core. */
export interface SilenceHost {
  readonly figures: CheckedSwimOptions
  readonly awareness: Awareness
  readonly table: MemberTable
  readonly sendPing: (to: MemberEntry, sequence: number) => void
  /** Somebody is silent that was not, or no longer. */
  readonly silenceChanged: () => void
}

/** Of the pings of a round: probes and relays count from 1. */
const ROUND_SEQUENCE = 0
/** Pings of one step. With more members than that a round takes several: each ping may want a link that is not there. */
const PINGS_MAX = 250

/**
 * The silent members, as one node finds them. Times are those of the core's own clock. A round is O(members), at most one a
 * probe interval, and none while probes succeed; after it those who are silent are asked again every probe interval, so that
 * a ping that was lost, or a cut that healed, does not count for long. At most 250 pings a step, the rest in
 * the next ones. Everything else is O(1).
 */
export class Silence {
  readonly #host: SilenceHost
  readonly #silent = new Set<MemberEntry>()
  /** Asked in the round under way, without an answer yet. */
  readonly #asked = new Set<MemberEntry>()
  /** When the round under way ends: the scaled probe timeout after it began. */
  #endMs = Number.POSITIVE_INFINITY
  /** Whom the round under way has still to ask, and who is silent and to be asked again; both from their ends. */
  #toAsk: MemberEntry[] = []
  #toAskAgain: MemberEntry[] = []
  /** Not before that time another round. */
  #nextRoundMs = Number.NEGATIVE_INFINITY
  /** When the silent are asked again. */
  #againMs = Number.POSITIVE_INFINITY

  constructor(host: SilenceHost) {
    this.#host = host
  }

  /** When `run` has something to do. */
  get dueMs(): number {
    if (this.#toAsk.length > 0 || this.#toAskAgain.length > 0) return Number.NEGATIVE_INFINITY
    return Math.min(this.#endMs, this.#againMs)
  }

  /** It owed us an answer for longer than the scaled probe timeout, and has not given any since. */
  has(entry: MemberEntry): boolean {
    return this.#silent.has(entry)
  }

  /**
   * Pings everybody once; needless calls, within a round or a period of the last one, do nothing. Whoever has not answered
   * after the scaled probe timeout is silent.
   */
  askAll(nowMs: number): void {
    if (nowMs < this.#nextRoundMs || this.#endMs !== Number.POSITIVE_INFINITY) return
    const { figures, table } = this.#host
    this.#nextRoundMs = nowMs + figures.probeIntervalMs
    this.#againMs = this.#nextRoundMs
    this.#toAsk = [...table.living].reverse()
    this.#askSome(nowMs)
  }

  #askSome(nowMs: number): void {
    const { figures, awareness } = this.#host
    let pings = 0
    if (this.#toAsk.length > 0) this.#endMs = nowMs + awareness.scale(figures.probeTimeoutMs)
    while (pings < PINGS_MAX) {
      const entry = this.#toAsk.pop()
      if (entry === undefined) break
      if (entry.place < 0 || entry.record.kind === 'unreachable') continue
      // One that others reach and we do not is alive, and says so in `cannotReach`: that is judged elsewhere.
      if (entry.directMisses === 0) this.#asked.add(entry)
      this.#host.sendPing(entry, ROUND_SEQUENCE)
      pings++
    }
    while (pings < PINGS_MAX) {
      const entry = this.#toAskAgain.pop()
      if (entry === undefined) break
      if (!this.#silent.has(entry)) continue
      this.#host.sendPing(entry, ROUND_SEQUENCE)
      pings++
    }
  }

  /**
   * It answered us, or others reached it for us, or a link to it stands; or it is unreachable or ended, which says more. That
   * it only sent something is not enough: it may hear nothing from us.
   */
  settled(entry: MemberEntry): void {
    this.#asked.delete(entry)
    if (this.#silent.delete(entry)) this.#host.silenceChanged()
  }

  /** Judges the round that is over, and asks the silent again. */
  run(nowMs: number): void {
    if (nowMs >= this.#endMs) {
      this.#endMs = Number.POSITIVE_INFINITY
      const before = this.#silent.size
      for (const entry of this.#asked) this.#silent.add(entry)
      this.#asked.clear()
      if (this.#silent.size > before) this.#host.silenceChanged()
    }
    if (nowMs < this.#againMs) {
      this.#askSome(nowMs)
      return
    }
    const isMore = this.#silent.size > 0 || this.#asked.size > 0
    this.#againMs = isMore ? nowMs + this.#host.figures.probeIntervalMs : Number.POSITIVE_INFINITY
    this.#toAskAgain = [...this.#silent].reverse()
    this.#askSome(nowMs)
  }

  /** We did not read what came in: the round under way proves nothing. Who was silent before is asked at once. */
  stalled(nowMs: number): void {
    this.#asked.clear()
    this.#toAsk = []
    this.#endMs = Number.POSITIVE_INFINITY
    this.#nextRoundMs = Number.NEGATIVE_INFINITY
    this.#againMs = nowMs
  }
}
