/**
 * Whether a peer has left: it says so on each of its lanes, as the last thing there, and only when the last of them has
 * been read is all delivered that it sent before. The word on the control lane names the others.
 */
import type { LaneName } from '../wire/wire-protocol.ts'

export class Farewell {
  /** Called once, when the peer has left. */
  readonly #left: () => void
  /** Lanes on which it has said good-bye, or that have closed since. */
  readonly #silent = new Set<LaneName>()
  /** On which it will have, by its word on the control lane. */
  #named: readonly LaneName[] | undefined
  #isOver = false

  constructor(left: () => void) {
    this.#left = left
  }

  /** The peer's good-bye on `lane`; on the control lane it names others. */
  heard(lane: LaneName, others: readonly LaneName[]): void {
    this.#silent.add(lane)
    if (lane === 'control') this.#named = others
    this.#settle()
  }

  /**
   * The link of `lane` has ended. False: that is no part of a farewell, the connection is lost. `unlinked`: lanes that
   * have no link now.
   */
  closed(lane: LaneName, unlinked: readonly LaneName[]): boolean {
    if (lane === 'control') {
      if (this.#named === undefined || this.#isOver) return false
      // A lane that is not there by now never will be: the link that would vouch for it is gone.
      for (const other of unlinked) this.#silent.add(other)
    } else if (this.#named === undefined && !this.#silent.has(lane)) {
      return false
    }
    this.#silent.add(lane)
    this.#settle()
    return true
  }

  #settle(): void {
    if (this.#isOver || this.#named === undefined) return
    if (!this.#named.every((lane) => this.#silent.has(lane))) return
    this.#isOver = true
    this.#left()
  }
}
