/**
 * Whom to probe next: round-robin over a shuffled list, shuffled anew after each round, joiners put in at random (SWIM,
 * section 4.3). So a member is probed by each other one at least once in 2n - 1 of its periods, and nobody can tell when
 * (pitfall M8).
 */
import { isDoubted } from './member-table.ts'
import type { MemberEntry, MemberTable } from './member-table.ts'
import type { SwimRandom } from './swim-options.ts'

/** The list of one node. `next` and `add` are O(1), a new round O(n). */
export class ProbeOrder {
  readonly #random: SwimRandom
  #entries: MemberEntry[]
  #index = 0

  constructor(entries: readonly MemberEntry[], random: SwimRandom) {
    this.#random = random
    this.#entries = [...entries]
    this.#shuffle()
  }

  /** A joiner: somewhere in the list; whoever stood there goes to the end. */
  add(entry: MemberEntry): void {
    this.#entries.push(entry)
    const last = this.#entries.length - 1
    this.#swap(this.#random.int(0, last), last)
  }

  /** The next one that has not ended, or undefined when there is none. */
  next(): MemberEntry | undefined {
    for (let rounds = 0; rounds < 2; rounds++) {
      while (this.#index < this.#entries.length) {
        const entry = this.#entries[this.#index++]
        if (entry !== undefined && entry.place >= 0) return entry
      }
      this.#entries = this.#entries.filter((entry) => entry.place >= 0)
      this.#shuffle()
    }
    return undefined
  }

  #shuffle(): void {
    this.#index = 0
    for (let last = this.#entries.length - 1; last > 0; last--) this.#swap(this.#random.int(0, last), last)
  }

  #swap(a: number, b: number): void {
    const entryA = this.#entries[a]
    const entryB = this.#entries[b]
    if (entryA === undefined || entryB === undefined) return
    this.#entries[a] = entryB
    this.#entries[b] = entryA
  }
}

/** The next member by name that nobody doubts, around the ring of names. O(n). */
export function nextByName(table: MemberTable): MemberEntry | undefined {
  const own = table.self.record.name
  let next: MemberEntry | undefined
  let first: MemberEntry | undefined
  for (const entry of table.living) {
    const { name, kind } = entry.record
    if (isDoubted(kind)) continue
    if (first === undefined || name < first.record.name) first = entry
    if (name > own && (next === undefined || name < next.record.name)) next = entry
  }
  return next ?? first
}

/** The members that come next after ourselves by name, around the ring of names, `count` at most. O(n log n). */
export function successorsByName(table: MemberTable, count: number): readonly MemberEntry[] {
  const sorted = [...table.living].sort((a, b) => (a.record.name < b.record.name ? -1 : 1))
  const own = table.self.record.name
  const first = sorted.findIndex((entry) => entry.record.name > own)
  const start = first < 0 ? 0 : first
  return [...sorted.slice(start), ...sorted.slice(0, start)].slice(0, count)
}
