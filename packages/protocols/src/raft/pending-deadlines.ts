/**
 * The deadlines of all that waits in one group, in one queue: the host has one timer. Nearly all that waits is answered long
 * before its time, so answering costs a mark, and what was answered leaves the queue when there is more of it than of the
 * rest: nothing is held for the length of its timeout.
 */

/** Something that somebody waits for. */
export interface Pending {
  /** Monotonic milliseconds. */
  readonly deadlineMs: number
  /** Answered, in whichever way. */
  isSettled: boolean
  /** Called once when its time has come and it is not settled. */
  readonly expire: () => void
}

/** So few are not worth clearing out. */
const settledMin = 64

/** A binary heap by deadline. `add` is O(1) for deadlines that rise, O(log n) at worst. */
export class PendingDeadlines {
  #heap: Pending[] = []
  #settled = 0

  /** How many stand in it, settled ones that were not cleared out yet included. */
  get size(): number {
    return this.#heap.length
  }

  add(pending: Pending): void {
    const heap = this.#heap
    let at = heap.length
    heap.push(pending)
    while (at > 0) {
      const up = (at - 1) >> 1
      const parent = heap[up] as Pending
      if (parent.deadlineMs <= pending.deadlineMs) break
      heap[at] = parent
      at = up
    }
    heap[at] = pending
  }

  /** To be called for each pending that was settled otherwise than by its deadline. */
  settled(): void {
    this.#settled += 1
    if (this.#settled <= settledMin || this.#settled * 2 <= this.#heap.length) return
    this.#heap = this.#heap.filter((pending) => !pending.isSettled)
    this.#settled = 0
    for (let at = (this.#heap.length >> 1) - 1; at >= 0; at--) this.#sink(at)
  }

  /** When the first of them is over; `undefined` when nothing waits. */
  nextMs(): number | undefined {
    while (this.#heap[0]?.isSettled === true) {
      this.#settled -= 1
      this.#pop()
    }
    return this.#heap[0]?.deadlineMs
  }

  /** Ends those whose time has come, in the order of their deadlines. */
  expire(nowMs: number): void {
    for (let dueMs = this.nextMs(); dueMs !== undefined && dueMs <= nowMs; dueMs = this.nextMs()) {
      const pending = this.#pop()
      if (pending === undefined) return
      pending.expire()
    }
  }

  #pop(): Pending | undefined {
    const top = this.#heap[0]
    const last = this.#heap.pop()
    if (last !== undefined && this.#heap.length > 0) {
      this.#heap[0] = last
      this.#sink(0)
    }
    return top
  }

  #sink(at: number): void {
    const heap = this.#heap
    const sinking = heap[at]
    if (sinking === undefined) return
    for (;;) {
      let child = 2 * at + 1
      if (child >= heap.length) break
      const right = heap[child + 1]
      if (right !== undefined && right.deadlineMs < (heap[child] as Pending).deadlineMs) child += 1
      const smaller = heap[child] as Pending
      if (smaller.deadlineMs >= sinking.deadlineMs) break
      heap[at] = smaller
      at = child
    }
    heap[at] = sinking
  }
}
