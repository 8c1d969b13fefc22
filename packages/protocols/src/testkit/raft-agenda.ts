/** What is to happen in a cluster of cores, by virtual time; what was added first comes first at the same time. */

interface Item {
  readonly atMs: number
  readonly order: number
  readonly task: () => void
}

/** A binary heap. */
export class Agenda {
  readonly #heap: Item[] = []
  #order = 0

  /** Infinity when there is nothing. */
  get nextMs(): number {
    return this.#heap[0]?.atMs ?? Number.POSITIVE_INFINITY
  }

  add(atMs: number, task: () => void): void {
    const heap = this.#heap
    const item: Item = { atMs, order: this.#order++, task }
    let at = heap.length
    heap.push(item)
    while (at > 0) {
      const above = (at - 1) >> 1
      const parent = heap[above]
      if (parent === undefined || !isBefore(item, parent)) break
      heap[at] = parent
      at = above
    }
    heap[at] = item
  }

  /** The next one, which is off the agenda then. */
  take(): (() => void) | undefined {
    const heap = this.#heap
    const [top] = heap
    const item = heap.pop()
    if (item === undefined || heap.length === 0) return top?.task
    let at = 0
    for (;;) {
      let below = at * 2 + 1
      let child = heap[below]
      if (child === undefined) break
      const right = heap[below + 1]
      if (right !== undefined && isBefore(right, child)) {
        child = right
        below++
      }
      if (!isBefore(child, item)) break
      heap[at] = child
      at = below
    }
    heap[at] = item
    return top?.task
  }
}

function isBefore(a: Item, b: Item): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order)
}
