/**
 * Where the value of each key stands, in the order of the keys: a list of blocks of some hundred entries. Whoever walks it
 * takes the list as it is; a block that was taken is copied before it is changed. Finding, adding and removing are
 * O(log n) and a move of at most a block; at the end of all keys nothing is moved.
 *
 * Memory: about 115 bytes a key and the key itself (a byte for each ASCII character).
 */
import { lowerBound } from './store-argument.ts'
import type { Segment } from './segment-file.ts'

/** The value of a key. `length` -1: it is lost, whatever else is in here. */
export interface IndexEntry {
  readonly key: string
  readonly segment: Segment
  readonly at: number
  readonly length: number
  readonly crc: number
}

/** `at` and `length` of an entry whose value is not what was written. */
export const lostLength = -1

interface Block {
  readonly entries: IndexEntry[]
  /** Which round of takers may have it. */
  readonly round: number
}

const blockEntries = 256

export class SegmentIndex {
  #blocks: Block[] = []
  #round = 0
  #isTaken = false

  get(key: string): IndexEntry | undefined {
    const entries = this.#blocks[this.#find(key)]?.entries
    if (entries === undefined) return undefined
    const entry = entries[lowerBound(entries, key)]
    return entry !== undefined && entry.key === key ? entry : undefined
  }

  /** @returns what it replaces */
  set(entry: IndexEntry): IndexEntry | undefined {
    const at = Math.max(this.#find(entry.key), 0)
    const entries = this.#own(at)
    const index = lowerBound(entries, entry.key)
    const old = entries[index]
    if (old !== undefined && old.key === entry.key) {
      entries[index] = entry
      return old
    }
    if (index === entries.length && entries.length >= blockEntries && at === this.#blocks.length - 1) {
      this.#blocks.push({ entries: [entry], round: this.#round })
      return undefined
    }
    entries.splice(index, 0, entry)
    if (entries.length > blockEntries) {
      const half = entries.splice(blockEntries >> 1)
      this.#blocks.splice(at + 1, 0, { entries: half, round: this.#round })
    }
    return undefined
  }

  /** @returns what was there */
  delete(key: string): IndexEntry | undefined {
    if (this.get(key) === undefined) return undefined
    const at = this.#find(key)
    const entries = this.#own(at)
    const [old] = entries.splice(lowerBound(entries, key), 1)
    if (entries.length === 0) this.#blocks.splice(at, 1)
    return old
  }

  /** All entries of this moment, which stay as they are. */
  take(): TakenIndex {
    this.#isTaken = true
    this.#round += 1
    return new TakenIndex(this.#blocks)
  }

  *[Symbol.iterator](): Generator<IndexEntry, void, undefined> {
    for (const { entries } of this.#blocks) yield* entries
  }

  /** The last block that begins at `key` or before it; -1 when all begin behind it. */
  #find(key: string): number {
    return blockOf(this.#blocks, key)
  }

  /** The entries of a block, to be changed. */
  #own(at: number): IndexEntry[] {
    if (this.#isTaken) {
      this.#blocks = [...this.#blocks]
      this.#isTaken = false
    }
    let block = this.#blocks[at]
    if (block === undefined || block.round !== this.#round) {
      block = { entries: block === undefined ? [] : [...block.entries], round: this.#round }
      this.#blocks[at] = block
    }
    return block.entries
  }
}

/** The entries of one moment. */
export class TakenIndex {
  readonly #blocks: readonly Block[]

  constructor(blocks: readonly Block[]) {
    this.#blocks = blocks
  }

  /** From `from` (included) to `to` (excluded; `undefined`: the end), or from the end to the beginning. */
  *walk(from: string, to: string | undefined, isReverse: boolean): Generator<IndexEntry, void, undefined> {
    const blocks = this.#blocks
    let at =
      isReverse && to === undefined ? blocks.length - 1 : blockOf(blocks, isReverse ? (to ?? '') : from)
    if (!isReverse) at = Math.max(at, 0)
    for (; at >= 0 && at < blocks.length; at += isReverse ? -1 : 1) {
      const entries = blocks[at]?.entries ?? []
      const low = lowerBound(entries, from)
      const high = to === undefined ? entries.length : lowerBound(entries, to)
      if (isReverse) {
        for (let i = high - 1; i >= low; i--) yield entries[i] as IndexEntry
        if (low > 0) return
      } else {
        for (let i = low; i < high; i++) yield entries[i] as IndexEntry
        if (high < entries.length) return
      }
    }
  }
}

function blockOf(blocks: readonly Block[], key: string): number {
  let low = 0
  let high = blocks.length
  const last = blocks[high - 1]?.entries[0]
  // Keys mostly come in order.
  if (last !== undefined && last.key <= key) return high - 1
  while (low < high) {
    const middle = (low + high) >>> 1
    const first = blocks[middle]?.entries[0]
    if (first !== undefined && first.key <= key) low = middle + 1
    else high = middle
  }
  return low - 1
}
