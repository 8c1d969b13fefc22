/** A walk over a segment store: the keys of one moment, their values read from the files a page at a time. */
import type { Segment } from './segment-file.ts'
import { lostLength, type IndexEntry, type TakenIndex } from './segment-index.ts'
import { isValue } from './segment-upkeep.ts'
import type { StoreError } from './store-error.ts'
import type { PageBounds, RecordPages, StoreRecord } from './store-view.ts'

const pageBytes = 262_144
/** Values with no more between them are read together. */
const gapBytesMax = 4_096

/** How reading is told to have gone wrong. */
export interface PageErrors {
  readError(what: string, error: unknown): StoreError
  corruptError(key: string): StoreError
}

export class SegmentPages implements RecordPages {
  readonly #errors: PageErrors
  readonly #entries: Iterator<IndexEntry>
  readonly #segments: readonly Segment[]
  readonly #what: string
  #isClosed = false

  /** @param segments all that the entries stand in; their files stay open until `close` */
  constructor(errors: PageErrors, taken: TakenIndex, segments: readonly Segment[], bounds: PageBounds) {
    const { prefix, from, to, isReverse } = bounds
    // '0' is the code unit after '/'.
    const end = to ?? (prefix === '' ? undefined : `${prefix.slice(0, -1)}0`)
    this.#errors = errors
    this.#entries = taken.walk(from, end, isReverse)
    this.#segments = segments
    this.#what = `the range from "${from}"`
    for (const segment of segments) segment.hold()
  }

  async next(size: number): Promise<readonly StoreRecord[]> {
    const entries: IndexEntry[] = []
    for (let bytes = 0; entries.length < size && bytes < pageBytes;) {
      const { done, value: entry } = this.#entries.next()
      if (done === true) break
      entries.push(entry)
      bytes += Math.max(entry.length, 0)
    }
    const records: StoreRecord[] = []
    for (let i = 0; i < entries.length;) {
      const count = neighbours(entries, i)
      await this.#read(entries.slice(i, i + count), records)
      i += count
    }
    return records
  }

  async close(): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    for (const segment of this.#segments) await segment.release()
  }

  /** Entries that stand one behind the other in one segment, or a single one. */
  async #read(entries: readonly IndexEntry[], records: StoreRecord[]): Promise<void> {
    const first = entries[0] as IndexEntry
    const last = entries.at(-1) as IndexEntry
    const bytes = new Uint8Array(Math.max(last.at + last.length - first.at, 0))
    try {
      if (first.length !== lostLength) await first.segment.read(bytes, first.at)
    } catch (error) {
      throw this.#errors.readError(this.#what, error)
    }
    for (const entry of entries) {
      const { key, at, length } = entry
      // Bytes of their own: whoever keeps one does not keep all.
      const value =
        entries.length === 1 ? bytes : bytes.slice(at - first.at, at - first.at + Math.max(length, 0))
      const isGood = length !== lostLength && isValue(entry, value)
      records.push({ key, value: isGood ? value : this.#errors.corruptError(key) })
    }
  }
}

/** How many entries from `from` on can be read at once. */
function neighbours(entries: readonly IndexEntry[], from: number): number {
  let before = entries[from] as IndexEntry
  let count = 1
  for (; from + count < entries.length && before.length !== lostLength; count++) {
    const entry = entries[from + count] as IndexEntry
    const gap = entry.at - (before.at + before.length)
    if (entry.segment !== before.segment || entry.length === lostLength || gap < 0 || gap > gapBytesMax) break
    before = entry
  }
  return count
}
