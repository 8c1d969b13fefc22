/**
 * When to campaign, whom to vote for, and who voted: the parts of an election that are arithmetic. Pure.
 */
import { voteResult } from '../core/quorum.ts'
import type { VoteResult } from '../core/quorum.ts'
import type { MemberId, RaftConfiguration } from './raft-message.ts'

/** Draws whole numbers from [low, high], both included: a stream of the platform's `random`. */
export interface ElectionRandom {
  readonly int: (low: number, high: number) => number
}

/** When a member that hears no leader campaigns (paper, section 5.2), and whether it still hears one. */
export class ElectionTimeout {
  readonly #electionTimeoutMs: number
  readonly #random: ElectionRandom
  /** From when, and for how long. */
  #sinceMs = 0
  #lengthMs: number
  /** Not before this, whatever was drawn. */
  #leastMs = -Infinity
  #heardMs = -Infinity

  constructor(electionTimeoutMs: number, random: ElectionRandom) {
    this.#electionTimeoutMs = electionTimeoutMs
    this.#random = random
    this.#lengthMs = electionTimeoutMs
  }

  get deadlineMs(): number {
    return Math.max(this.#leastMs, this.#sinceMs + this.#lengthMs)
  }

  /** When a leader was last heard. */
  get heardMs(): number {
    return this.#heardMs
  }

  /** Draws anew from [E, 2E). */
  restart(nowMs: number): void {
    this.#sinceMs = nowMs
    this.#lengthMs = this.#draw(this.#electionTimeoutMs, 2 * this.#electionTimeoutMs)
  }

  /** A pre-vote was lost where nobody leads: it harmed nobody, so it is tried again sooner, in [E/2, E). */
  retry(nowMs: number): void {
    this.#sinceMs = nowMs
    this.#lengthMs = this.#draw(this.#electionTimeoutMs / 2, this.#electionTimeoutMs)
  }

  /** Votes may be split: as `retry`, unless it is due before. It begins with a pre-vote again, and so harms nobody. */
  refused(nowMs: number): void {
    const { deadlineMs } = this
    const sinceMs = this.#sinceMs
    const lengthMs = this.#lengthMs
    this.retry(nowMs)
    if (this.deadlineMs <= deadlineMs) return
    this.#sinceMs = sinceMs
    this.#lengthMs = lengthMs
  }

  /** The leader may be gone: in [0, E/2), unless it is due before. */
  hasten(nowMs: number): void {
    const lengthMs = this.#draw(0, this.#electionTimeoutMs / 2)
    if (nowMs + lengthMs >= this.deadlineMs) return
    this.#sinceMs = nowMs
    this.#lengthMs = lengthMs
  }

  /** Due at once. */
  expire(nowMs: number): void {
    this.#sinceMs = nowMs
    this.#lengthMs = 0
  }

  /** Not before this: the process itself stood still, and what came meanwhile is yet to be read. */
  postpone(untilMs: number): void {
    this.#leastMs = untilMs
  }

  /** The leader was heard. Keeps what was drawn. Hot. */
  heard(nowMs: number): void {
    this.#heardMs = nowMs
    this.#sinceMs = nowMs
  }

  /** As `heard`, for the promise not to vote for others; the deadline stays. */
  assumeHeard(nowMs: number): void {
    this.#heardMs = nowMs
  }

  /** It heard a leader within E and votes for no other, so that nobody disturbs a leader that is well (thesis, 4.2.3). */
  isSticky(nowMs: number): boolean {
    return nowMs - this.#heardMs < this.#electionTimeoutMs
  }

  #draw(low: number, end: number): number {
    const least = Math.floor(low)
    return this.#random.int(least, Math.max(least, Math.ceil(end) - 1))
  }
}

/** Who said what in one election. Votes are counted by the configuration that rules when they are looked at. */
export class Ballots {
  readonly #votes = new Map<MemberId, boolean>()
  readonly #voteOf = (member: MemberId): boolean | undefined => this.#votes.get(member)

  clear(): void {
    this.#votes.clear()
  }

  /** The first word of a member counts. */
  record(member: MemberId, isGranted: boolean): void {
    if (!this.#votes.has(member)) this.#votes.set(member, isGranted)
  }

  result(configuration: RaftConfiguration): VoteResult {
    return voteResult(configuration, this.#voteOf)
  }
}
