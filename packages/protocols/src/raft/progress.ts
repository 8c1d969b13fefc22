/**
 * Where one follower stands, as its leader sees it, and how much may be on its way to it (etcd-io/raft, tracker; R22). Pure.
 *
 * - `probe`: the leader does not know where the logs agree. One append at a time; the next when it is answered, or when a
 *   heartbeat was and the probe was not.
 * - `replicate`: appends leave without waiting, within a window of messages and of bytes.
 * - `snapshot`: what it needs is cut off here; no appends until the snapshot is there or given up.
 */
import type { MemberId } from './raft-message.ts'
import type { ProgressReport } from './raft-step.ts'

/** Limits of what is on its way to one follower. */
export interface ProgressLimits {
  readonly inflightMessagesMax: number
  readonly inflightBytesMax: number
}

export class Progress {
  readonly member: MemberId
  readonly inflights: Inflights
  #state: ProgressReport['state'] = 'probe'
  #match = 0
  #next: number
  /** In `snapshot`: the index of the snapshot that is sent. */
  #snapshot = 0
  /** In `probe`: one is on its way. */
  #isProbing = false
  #commitSent = 0

  /** When it was last heard of; at first, when the term or its membership began. */
  heardMs: number
  /** It has said something in this term: only then a snapshot is worth sending. */
  hasSpoken = false
  /** When the last append left to it. */
  sentMs = -Infinity
  /** The highest round of heartbeats that it answered. */
  round = 0

  constructor(member: MemberId, next: number, nowMs: number, limits: ProgressLimits) {
    this.member = member
    this.#next = next
    this.heardMs = nowMs
    this.inflights = new Inflights(limits)
  }

  get state(): ProgressReport['state'] {
    return this.#state
  }

  /** Its log is the leader's up to here, and durable. */
  get match(): number {
    return this.#match
  }

  /** What goes to it next. */
  get next(): number {
    return this.#next
  }

  /** In `snapshot`, what the leader's log must be kept behind; else `undefined`. */
  get snapshotIndex(): number | undefined {
    return this.#state === 'snapshot' ? this.#snapshot : undefined
  }

  /** An append with entries may leave, if there are any. Hot. */
  get maySend(): boolean {
    switch (this.#state) {
      case 'probe':
        return !this.#isProbing
      case 'replicate':
        return !this.inflights.isFull
      case 'snapshot':
        return false
      default:
        return unreachable(this.#state)
    }
  }

  /** It may know less of what is committed than it could. */
  lacksCommit(commit: number): boolean {
    return this.#commitSent < Math.min(commit, this.#next - 1)
  }

  /** An append left, whose entries end before `end` (exclusive); `end` is `next` when it had none. Hot. */
  sent(end: number, bytes: number, commit: number, nowMs: number): void {
    this.sentMs = nowMs
    if (this.#state === 'probe') this.#isProbing = true
    else if (end > this.#next) {
      this.#next = end
      this.inflights.add(end - 1, bytes)
    }
    this.commitSent(commit)
  }

  /** A commit index is on its way; it counts up to what the follower has by then. */
  commitSent(commit: number): void {
    this.#commitSent = Math.max(this.#commitSent, Math.min(commit, this.#next - 1))
  }

  /** Its log is the leader's up to `index`. `first` is where the leader's log begins. @returns whether that is news */
  acknowledged(index: number, first: number): boolean {
    const isNews = index > this.#match
    if (isNews) {
      this.#match = index
      this.#next = Math.max(this.#next, index + 1)
    }
    if (this.#state === 'replicate') this.inflights.freeUpTo(index)
    else if (this.#state === 'probe') {
      // An answer to anything older than this term's probes proves as much: where it says so, the logs agree.
      if (index === this.#match) this.#become('replicate', this.#match + 1)
    } else if (isNews && this.#match + 1 >= first) this.#become('replicate', this.#match + 1)
    return isNews
  }

  /**
   * An append whose `previous.index` was `rejected` does not fit; the logs may agree at `hint`.
   *
   * @returns whether the next append is to leave; false when this answers an older append
   */
  rejected(rejected: number, hint: number): boolean {
    if (this.#state === 'snapshot') return false
    if (this.#state === 'replicate') {
      if (rejected <= this.#match) return false
    } else if (rejected !== this.#next - 1) return false
    this.#become('probe', Math.max(this.#match + 1, Math.min(rejected, hint + 1)))
    return true
  }

  /** Its disk lost what it had acknowledged: it has the leader's log up to `last` at most (R20). */
  lost(last: number): void {
    this.#match = Math.min(this.#match, last)
    if (this.#state !== 'snapshot') this.#become('probe', last + 1)
  }

  /** What was sent may be lost: ask where it stands before more is. */
  doubt(): void {
    if (this.#state === 'replicate') this.#become('probe', this.#match + 1)
  }

  /** A probe was not answered for a while, or what was to come of a snapshot did not: another may leave. */
  resume(): void {
    this.#isProbing = false
  }

  /** A snapshot up to `index` is sent to it. */
  sendSnapshot(index: number): void {
    this.#become('snapshot', this.#match + 1)
    this.#snapshot = index
  }

  /**
   * Sending the snapshot ended. The next append waits until it is heard of: an acknowledgement of the snapshot is on its way,
   * or something is wrong that a moment may mend.
   */
  snapshotEnded(index: number, ok: boolean): void {
    if (this.#state !== 'snapshot') return
    this.#become('probe', ok ? Math.max(this.#match, index) + 1 : this.#match + 1)
    this.#isProbing = true
  }

  report(nowMs: number, electionTimeoutMs: number): ProgressReport {
    return {
      member: this.member,
      state: this.#state,
      match: this.#match,
      next: this.#next,
      inflight: this.inflights.count,
      inflightBytes: this.inflights.bytes,
      isActive: nowMs - this.heardMs < electionTimeoutMs,
    }
  }

  #become(state: ProgressReport['state'], next: number): void {
    this.#state = state
    this.#next = next
    this.#snapshot = 0
    this.#isProbing = false
    this.#commitSent = Math.min(this.#commitSent, next - 1)
    this.inflights.clear()
  }
}

/** Appends on their way: a ring of the last index and the bytes of each. Grows up to its limit when it has to. */
export class Inflights {
  readonly #limits: ProgressLimits
  #indices: number[] = []
  #sizes: number[] = []
  #head = 0
  #count = 0
  #bytes = 0

  constructor(limits: ProgressLimits) {
    this.#limits = limits
  }

  get count(): number {
    return this.#count
  }

  get bytes(): number {
    return this.#bytes
  }

  /** No more may leave. What fills the bytes may be one append beyond: a window smaller than an entry must not stop it. */
  get isFull(): boolean {
    return this.#count >= this.#limits.inflightMessagesMax || this.#bytes >= this.#limits.inflightBytesMax
  }

  /** `last` grows from call to call. Hot: O(1), but when the ring grows. */
  add(last: number, bytes: number): void {
    if (this.#count === this.#indices.length) this.#grow()
    const at = (this.#head + this.#count) % this.#indices.length
    this.#indices[at] = last
    this.#sizes[at] = bytes
    this.#count++
    this.#bytes += bytes
  }

  /** All up to and with that index have arrived. Hot. */
  freeUpTo(index: number): void {
    while (this.#count > 0 && (this.#indices[this.#head] as number) <= index) {
      this.#bytes -= this.#sizes[this.#head] as number
      this.#head = (this.#head + 1) % this.#indices.length
      this.#count--
    }
  }

  clear(): void {
    this.#head = 0
    this.#count = 0
    this.#bytes = 0
  }

  #grow(): void {
    const size = Math.min(Math.max(8, 2 * this.#count), Math.max(8, this.#limits.inflightMessagesMax))
    const indices: number[] = []
    const sizes: number[] = []
    for (let i = 0; i < size; i++) {
      const at = (this.#head + i) % Math.max(1, this.#count)
      indices.push(i < this.#count ? (this.#indices[at] as number) : 0)
      sizes.push(i < this.#count ? (this.#sizes[at] as number) : 0)
    }
    this.#indices = indices
    this.#sizes = sizes
    this.#head = 0
  }
}

function unreachable(state: never): never {
  throw new RangeError(`Cannot send in state ${JSON.stringify(state)}`)
}
