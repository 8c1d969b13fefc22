/**
 * Reads that a follower asks its leader for (thesis, section 6.4). Pure. One question is under way at a time and the reads that
 * come meanwhile share the next one, so that their number costs nothing.
 */

interface WaitingRead {
  readonly id: number
  readonly sinceMs: number
}

export class ForwardedReads {
  #waiting: WaitingRead[] = []
  #asked: WaitingRead[] = []
  /** Number of the question under way; grows with each attempt and is never used twice (R10). */
  #attempt: number
  #askedMs = -Infinity

  /** @param firstAttempt drawn by chance: an answer to a question of an earlier life must fit none of this one */
  constructor(firstAttempt: number) {
    this.#attempt = firstAttempt
  }

  get isIdle(): boolean {
    return this.#waiting.length === 0 && this.#asked.length === 0
  }

  add(id: number, nowMs: number): void {
    this.#waiting.push({ id, sinceMs: nowMs })
  }

  /**
   * The question to send now: when some wait and none is under way, or when the one under way is not answered for `retryMs`.
   *
   * @returns its number, or `undefined`: nothing to ask
   */
  ask(nowMs: number, retryMs: number): number | undefined {
    if (this.isIdle) return undefined
    if (this.#asked.length > 0 && nowMs - this.#askedMs < retryMs) return undefined
    this.#asked = [...this.#asked, ...this.#waiting]
    this.#waiting = []
    this.#askedMs = nowMs
    this.#attempt++
    return this.#attempt
  }

  /** The reads that this answer is for; none when it answers an attempt that was given up. */
  answered(attempt: number): readonly number[] {
    if (attempt !== this.#attempt) return none
    const ids = this.#asked.map(({ id }) => id)
    this.#asked = []
    return ids
  }

  /** Until when the oldest waits, if none waits longer than `longestMs`; `undefined`: none waits. */
  deadlineMs(longestMs: number): number | undefined {
    const oldest = this.#asked[0] ?? this.#waiting[0]
    return oldest === undefined ? undefined : oldest.sinceMs + longestMs
  }

  /** Those that have waited for `longestMs` are given up. */
  takeOverdue(nowMs: number, longestMs: number): readonly number[] {
    // As in `deadlineMs`: with fractions, `nowMs - longestMs` may be another number, and the tick in vain.
    return this.#take(({ sinceMs }) => sinceMs + longestMs <= nowMs)
  }

  takeAll(): readonly number[] {
    return this.#take(() => true)
  }

  #take(isOver: (read: WaitingRead) => boolean): readonly number[] {
    if (this.isIdle) return none
    const over = [...this.#asked, ...this.#waiting].filter(isOver)
    this.#asked = this.#asked.filter((read) => !isOver(read))
    this.#waiting = this.#waiting.filter((read) => !isOver(read))
    return over.map(({ id }) => id)
  }
}

const none: readonly number[] = Object.freeze([])
