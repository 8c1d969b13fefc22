/** A walk over a segment store: the keys of one moment, their values read from the files a page at a time. */
import type { Segment } from './segment-file.ts'
import type { IndexEntry, TakenIndex } from './segment-index.ts'
import { readNeighbours } from './segment-values.ts'
import type { StoreError } from './store-error.ts'
import type { PageBounds, RecordPages, StoreRecord } from './store-view.ts'

const pageBytes = 262_144

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
      let values: readonly (Uint8Array | undefined)[]
      try {
        values = await readNeighbours(entries, i)
      } catch (error) {
        throw this.#errors.readError(this.#what, error)
      }
      for (const value of values) {
        const { key } = entries[i++] as IndexEntry
        records.push({ key, value: value ?? this.#errors.corruptError(key) })
      }
    }
    return records
  }

  async close(): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    for (const segment of this.#segments) await segment.release()
  }
}
