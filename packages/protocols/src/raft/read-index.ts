/**
 * Reads without the log, on the leader's side (thesis, section 6.4): a round of heartbeats that a majority answers proves that
 * nobody else led when it was sent, so that every read that had come by then may see what was committed when it came. Pure.
 *
 * A round answers for one leader in one term: numbers are never used twice in a term, and with the term the whole object goes
 * (R10). Of the rounds that reads need, one is under way at a time and the reads that come meanwhile share the next: their
 * number does not matter, and no read waits for more than two round trips.
 */
import type { MemberId } from './raft-message.ts'

/** A read that waits. */
export interface PendingRead {
  /** `undefined`: the leader's own host. */
  readonly from: MemberId | undefined
  readonly id: number
  /** What was committed when it came. */
  readonly index: number
}

/** Rounds that nobody answers are forgotten beyond these; their reads wait for the next. */
const sentMax = 64

interface SentRound {
  readonly round: number
  readonly sentMs: number
  readonly reads: readonly PendingRead[]
}

export class ReadRounds {
  /** Have come since the last round was sent. */
  #waiting: PendingRead[] = []
  /** Sent and not yet answered by a majority, oldest first. */
  #sent: SentRound[] = []
  #round = 0
  #leaseFromMs = -Infinity

  /** The last round that was sent; 0: none. */
  get round(): number {
    return this.#round
  }

  get isIdle(): boolean {
    return this.#waiting.length === 0 && this.#sent.every(({ reads }) => reads.length === 0)
  }

  /** Reads wait, and no round is under way that would be followed by theirs. */
  get needsRound(): boolean {
    return this.#waiting.length > 0 && this.#sent.length === 0
  }

  add(read: PendingRead): void {
    this.#waiting.push(read)
  }

  /** A round leaves now, and answers for all who wait. @returns its number */
  begin(nowMs: number): number {
    this.#round++
    if (this.#sent.length >= sentMax) this.#merge()
    this.#sent.push({ round: this.#round, sentMs: nowMs, reads: this.#waiting })
    this.#waiting = []
    return this.#round
  }

  /** A majority has answered this round or later ones. @returns the reads that may be answered, in the order they came */
  confirm(round: number): readonly PendingRead[] {
    let confirmed = 0
    let reads: readonly PendingRead[] = none
    for (const sent of this.#sent) {
      if (sent.round > round) break
      confirmed++
      this.#leaseFromMs = sent.sentMs
      if (sent.reads.length > 0) reads = reads.length === 0 ? sent.reads : [...reads, ...sent.reads]
    }
    if (confirmed > 0) this.#sent.splice(0, confirmed)
    return reads
  }

  /**
   * Until when the leader's lease lasts, if a lease lasts `leaseMs`. It counts from when the last confirmed round was *sent*:
   * no voter promised anything before (R11).
   */
  leaseEndMs(leaseMs: number): number {
    return this.#leaseFromMs + leaseMs
  }

  /** The majority that gave the lease may not be one any more. */
  endLease(): void {
    this.#leaseFromMs = -Infinity
  }

  /** All that wait, in the order they came; nothing does after. */
  takeAll(): readonly PendingRead[] {
    const all = [...this.#sent.flatMap(({ reads }) => reads), ...this.#waiting]
    this.#sent = []
    this.#waiting = []
    return all
  }

  #merge(): void {
    const [first, second, ...others] = this.#sent
    if (first === undefined || second === undefined) return
    this.#sent = [{ ...second, reads: [...first.reads, ...second.reads] }, ...others]
  }
}

const none: readonly PendingRead[] = Object.freeze([])
