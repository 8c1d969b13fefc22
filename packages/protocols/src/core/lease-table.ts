/**
 * Leases by the log's time, for state machines that keep them: pure, and the same on every member.
 *
 * A term that brings its first command here starts every lease anew with its whole time to live: what the old leader still
 * granted and nobody heard of, and the time without a leader, are then nobody's loss (R12, etcd's rule on promotion). It is a
 * rule on commands and not on elections, so all members apply it at the same entry. Until a leader has proposed something, an
 * empty command if it must, nothing is over in its term.
 */

/** One lease. A machine keeps what belongs to it in the same object. */
export interface Lease {
  readonly id: number
  readonly ttlMs: number
  /** Log time of its end by its last renewal. The term may have given it longer: see `LeaseTable.endMs`. */
  renewedUntilMs: number
}

export class LeaseTable<L extends Lease> {
  /** Term and log time of the last command, and the log time of the first command in that term. */
  term = 0
  timeMs = 0
  termStartMs = 0
  readonly #leases = new Map<number, L>()

  get size(): number {
    return this.#leases.size
  }

  /** A command's place: to be told before anything else of it is looked at. Log time in whole milliseconds. Hot. */
  advance(term: number, timeMs: number): void {
    this.timeMs = Math.floor(timeMs)
    if (term === this.term) return
    this.term = term
    this.termStartMs = this.timeMs
  }

  has(id: number): boolean {
    return this.#leases.has(id)
  }

  get(id: number): L | undefined {
    return this.#leases.get(id)
  }

  /** In the order in which they were added. */
  values(): IterableIterator<L> {
    return this.#leases.values()
  }

  add(lease: L): void {
    this.#leases.set(lease.id, lease)
  }

  delete(id: number): void {
    this.#leases.delete(id)
  }

  /** `wanted`, or the first free number above it. */
  freeId(wanted: number): number {
    let id = wanted
    while (this.#leases.has(id)) id++
    return id
  }

  /** From now on for its whole time to live. */
  renew(lease: L): void {
    lease.renewedUntilMs = Math.max(lease.renewedUntilMs, this.timeMs + lease.ttlMs)
  }

  /** When a lease is over, by the log's time. */
  endMs(lease: L): number {
    return Math.max(lease.renewedUntilMs, this.termStartMs + lease.ttlMs)
  }

  /** True when it is over at the place of the command in hand. */
  isOver(lease: L): boolean {
    return this.endMs(lease) <= this.timeMs
  }

  /** Ids of those that are over at this log time, longest over first, at most `most`. O(leases). */
  over(timeMs: number, most: number): readonly number[] {
    const over = [...this.#leases.values()].filter((lease) => this.endMs(lease) <= timeMs)
    over.sort((a, b) => this.endMs(a) - this.endMs(b) || a.id - b.id)
    return over.slice(0, most).map(({ id }) => id)
  }
}
