/**
 * The deadlines of many, under one timer: a binary heap whose entries know their place. A deadline that moves later, which
 * is what each message from a leader does, costs one comparison: the entry stays where it is, and is moved when its old
 * time comes.
 */

/** What stands in the heap. The two places belong to the heap. */
export interface HeapEntry {
  /** When it is due; `Infinity`: not at all. */
  dueMs: number
  /** By which time it is sorted: at most `dueMs`. */
  heapMs: number
  /** Where it stands; -1: nowhere. */
  heapIndex: number
}

export class DeadlineHeap<Entry extends HeapEntry> {
  readonly #entries: Entry[] = []

  get size(): number {
    return this.#entries.length
  }

  /** When somebody may be due first: never later than it is. `Infinity` when nobody waits. O(1). */
  get nextMs(): number {
    return this.#entries[0]?.heapMs ?? Number.POSITIVE_INFINITY
  }

  /** From now on `entry` is due at `dueMs`. O(1) when that is later than before, O(log n) when it is earlier. Hot. */
  set(entry: Entry, dueMs: number): void {
    entry.dueMs = dueMs
    if (entry.heapIndex >= 0) {
      if (dueMs >= entry.heapMs) return
    } else {
      if (dueMs === Number.POSITIVE_INFINITY) return
      entry.heapIndex = this.#entries.push(entry) - 1
    }
    entry.heapMs = dueMs
    this.#up(entry)
  }

  /** Takes it out. Harmless when it is not in. */
  remove(entry: Entry): void {
    const { heapIndex } = entry
    if (heapIndex < 0) return
    entry.heapIndex = -1
    entry.dueMs = Number.POSITIVE_INFINITY
    const last = this.#entries.pop()
    if (last === undefined || last === entry) return
    this.#entries[heapIndex] = last
    last.heapIndex = heapIndex
    this.#up(last)
    this.#down(last)
  }

  /** Takes out all that are due at `nowMs`, the earliest first; those that are due later by now are moved there. */
  takeDue(nowMs: number): Entry[] {
    const due: Entry[] = []
    for (
      let first = this.#entries[0];
      first !== undefined && first.heapMs <= nowMs;
      first = this.#entries[0]
    ) {
      const { dueMs } = first
      if (dueMs <= nowMs || dueMs === Number.POSITIVE_INFINITY) {
        this.remove(first)
        if (dueMs <= nowMs) due.push(first)
      } else {
        first.heapMs = dueMs
        this.#down(first)
      }
    }
    return due
  }

  #up(entry: Entry): void {
    const entries = this.#entries
    let index = entry.heapIndex
    while (index > 0) {
      const above = (index - 1) >> 1
      const parent = entries[above] as Entry
      if (parent.heapMs <= entry.heapMs) break
      entries[index] = parent
      parent.heapIndex = index
      index = above
    }
    entries[index] = entry
    entry.heapIndex = index
  }

  #down(entry: Entry): void {
    const entries = this.#entries
    const { length } = entries
    let index = entry.heapIndex
    for (;;) {
      let below = 2 * index + 1
      if (below >= length) break
      const right = entries[below + 1]
      if (right !== undefined && right.heapMs < (entries[below] as Entry).heapMs) below++
      const child = entries[below] as Entry
      if (child.heapMs >= entry.heapMs) break
      entries[index] = child
      child.heapIndex = index
      index = below
    }
    entries[index] = entry
    entry.heapIndex = index
  }
}
