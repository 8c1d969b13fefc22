/** What is to happen, by virtual time: a binary heap on (time, order), because ties must fall the same way each run. */

/** Something that will happen at a virtual time, unless it is cancelled. */
export class ScheduledEvent {
  /** True virtual milliseconds since the run began. */
  atMs: number
  /** Breaks ties: first scheduled, first run. */
  readonly order: number
  readonly label: string
  run: (() => void) | null

  constructor(atMs: number, order: number, label: string, run: () => void) {
    this.atMs = atMs
    this.order = order
    this.label = label
    this.run = run
  }

  /** Harmless when it has happened. The heap forgets it when its time comes. */
  cancel(): void {
    this.run = null
  }
}

export class EventHeap<E extends ScheduledEvent> {
  readonly #events: E[] = []

  get size(): number {
    return this.#events.length
  }

  /** O(log n). */
  push(event: E): void {
    const events = this.#events
    let at = events.length
    events.push(event)
    while (at > 0) {
      const parentAt = (at - 1) >>> 1
      const parent = events[parentAt] as E
      if (!isBefore(event, parent)) break
      events[at] = parent
      at = parentAt
    }
    events[at] = event
  }

  /** The next event that was not cancelled. Amortised O(log n). */
  peek(): E | undefined {
    let first = this.#events[0]
    while (first !== undefined && first.run === null) {
      this.#dropFirst()
      first = this.#events[0]
    }
    return first
  }

  /** Takes what `peek` shows. */
  pop(): E | undefined {
    const first = this.peek()
    if (first !== undefined) this.#dropFirst()
    return first
  }

  #dropFirst(): void {
    const events = this.#events
    const last = events.pop() as E
    const size = events.length
    if (size === 0) return
    let at = 0
    for (;;) {
      let childAt = 2 * at + 1
      if (childAt >= size) break
      let child = events[childAt] as E
      const rightAt = childAt + 1
      if (rightAt < size) {
        const right = events[rightAt] as E
        if (isBefore(right, child)) {
          child = right
          childAt = rightAt
        }
      }
      if (!isBefore(child, last)) break
      events[at] = child
      at = childAt
    }
    events[at] = last
  }
}

function isBefore(a: ScheduledEvent, b: ScheduledEvent): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order)
}
