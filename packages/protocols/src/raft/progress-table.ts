/** The followers of one leader in one term, and what a majority of the voters has done. Pure. */
import { committedIndex } from '../core/quorum.ts'
import { Progress } from './progress.ts'
import type { ProgressLimits } from './progress.ts'
import type { MemberId, RaftConfiguration } from './raft-message.ts'

export class ProgressTable {
  readonly #self: MemberId
  readonly #limits: ProgressLimits
  #followers: Progress[] = []
  readonly #byMember = new Map<MemberId, Progress>()
  /** What the leader itself counts for in the question being asked. */
  #own = 0
  // Made once: they are asked for every acknowledgement.
  readonly #matchOf = (member: MemberId): number | undefined =>
    member === this.#self ? this.#own : this.#byMember.get(member)?.match
  readonly #roundOf = (member: MemberId): number | undefined =>
    member === this.#self ? this.#own : this.#byMember.get(member)?.round
  readonly #heardOf = (member: MemberId): number | undefined =>
    member === this.#self ? this.#own : this.#byMember.get(member)?.heardMs

  constructor(self: MemberId, limits: ProgressLimits) {
    this.#self = self
    this.#limits = limits
  }

  /** Sorted by member, without the leader itself. Not to be changed. */
  get followers(): readonly Progress[] {
    return this.#followers
  }

  get(member: MemberId): Progress | undefined {
    return this.#byMember.get(member)
  }

  /** Follows exactly these from now on, the leader itself apart; who is new is probed at `next`. `members` is sorted. */
  follow(members: readonly MemberId[], next: number, nowMs: number): void {
    const followers = members
      .filter((member) => member !== this.#self)
      .map((member) => this.#byMember.get(member) ?? new Progress(member, next, nowMs, this.#limits))
    this.#followers = followers
    this.#byMember.clear()
    for (const follower of followers) this.#byMember.set(follower.member, follower)
  }

  /** The highest index that enough voters have on disk; the leader has it up to `own`. Hot. */
  committed(configuration: RaftConfiguration, own: number): number {
    this.#own = own
    return committedIndex(configuration, this.#matchOf)
  }

  /** The last round of heartbeats that enough voters have answered; `own` is the last that was sent. */
  confirmedRound(configuration: RaftConfiguration, own: number): number {
    this.#own = own
    return committedIndex(configuration, this.#roundOf)
  }

  /** Since when the leader has heard from enough voters: each of them was heard then or later. */
  heardMs(configuration: RaftConfiguration, nowMs: number): number {
    this.#own = nowMs
    return committedIndex(configuration, this.#heardOf)
  }

  /** What the log must be kept behind for those that get a snapshot; Infinity: nobody does. */
  keptFor(): number {
    let kept = Infinity
    for (const { snapshotIndex } of this.#followers) kept = Math.min(kept, snapshotIndex ?? Infinity)
    return kept
  }
}
