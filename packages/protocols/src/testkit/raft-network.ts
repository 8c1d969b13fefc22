/** The network between the members of a `RaftCluster`: which ways are cut, and what happens to messages on the others. */
import type { RaftMessage } from '../raft/raft-message.ts'

/** How messages fare. All of it may be changed while a cluster runs. */
export interface RaftNetworkFaults {
  /** On its way so many milliseconds, from and to: what is sent later may arrive earlier. */
  delayMs: readonly [number, number]
  /** One of a hundred of messages takes ten times as long. */
  isSlowAtTimes: boolean
  /** In a thousand. */
  dropPerMille: number
  /** In a thousand; the second one takes its own time. */
  duplicatePerMille: number
  /** Messages of these types are lost. */
  readonly dropTypes: Set<RaftMessage['type']>
  /** In a thousand of the messages into a cut way, the sender is told `unreachable`. */
  hintPerMille: number
}

export class RaftNetwork {
  readonly faults: RaftNetworkFaults = {
    delayMs: [10, 10],
    isSlowAtTimes: false,
    dropPerMille: 0,
    duplicatePerMille: 0,
    dropTypes: new Set(),
    hintPerMille: 0,
  }
  readonly #choose: (n: number) => number
  /** `from>to`, names of nodes. */
  readonly #cut = new Set<string>()

  constructor(choose: (n: number) => number) {
    this.#choose = choose
  }

  /** Nothing goes from one to the other. */
  cut(from: string, to: string): void {
    this.#cut.add(`${from}>${to}`)
  }

  mend(from: string, to: string): void {
    this.#cut.delete(`${from}>${to}`)
  }

  /** All ways are open; what happens on them stays. */
  join(): void {
    this.#cut.clear()
  }

  isCut(from: string, to: string): boolean {
    return this.#cut.has(`${from}>${to}`)
  }

  /** Only those who share a group hear each other; who is in no group is alone. A node may be in many groups. */
  split(names: readonly string[], groups: readonly (readonly string[])[]): void {
    this.#cut.clear()
    for (const from of names) {
      for (const to of names) {
        const isTogether = groups.some((group) => group.includes(from) && group.includes(to))
        if (from !== to && !isTogether) this.cut(from, to)
      }
    }
  }

  /** Two halves that hear each other only by the node between them (openraft #2080). */
  bridge(names: readonly string[]): void {
    const middle = Math.floor(names.length / 2)
    this.split(names, [names.slice(0, middle + 1), names.slice(middle)])
  }

  /** Each hears just enough neighbours to be a majority with them; no two hear the same majority (Jepsen). */
  ring(names: readonly string[]): void {
    const size = Math.floor(names.length / 2) + 1
    const reach = Math.max(1, Math.floor((size - 1) / 2))
    this.#cut.clear()
    for (const [i, from] of names.entries()) {
      for (const [j, to] of names.entries()) {
        const apart = Math.min(Math.abs(i - j), names.length - Math.abs(i - j))
        if (apart > reach) this.cut(from, to)
      }
    }
  }

  /** When the copies of this message arrive, as delays; empty: it is lost. */
  fate(from: string, to: string, message: RaftMessage): readonly number[] {
    const { faults } = this
    if (this.isCut(from, to) || faults.dropTypes.has(message.type)) return []
    if (this.#happens(faults.dropPerMille)) return []
    return this.#happens(faults.duplicatePerMille) ? [this.delay(), this.delay()] : [this.delay()]
  }

  delay(): number {
    const [low, high] = this.faults.delayMs
    const delay = low + this.spread(high - low)
    return this.faults.isSlowAtTimes && this.#choose(100) === 1 ? delay * 10 : delay
  }

  isHinted(): boolean {
    return this.#happens(this.faults.hintPerMille)
  }

  /** Uniform from 0 to `range`, in thousandths of it. */
  spread(range: number): number {
    return range === 0 ? 0 : (range * this.#choose(1001)) / 1000
  }

  #happens(perMille: number): boolean {
    // 0 is the choice in which nothing happens.
    return perMille > 0 && this.#choose(1000) >= 1000 - perMille
  }
}
