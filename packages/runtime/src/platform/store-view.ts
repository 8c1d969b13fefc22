/** A durable store as its owner sees it: the whole of an engine's records, or those whose keys begin with a prefix. */
import { checkScope, rangeLimit } from './store-argument.ts'
import { StoreError } from './store-error.ts'
import type { Store, StoreChange, StoreEntry, StoreRange } from './store.ts'

/** What keeps the records. Its keys are whole. */
export interface StoreEngine {
  readonly failed: Promise<StoreError>
  get(key: string): Promise<Uint8Array | undefined>
  /** Copies all it needs before it returns. */
  write(prefix: string, batch: readonly StoreChange[]): Promise<void>
  /** The records of one moment. */
  pages(bounds: PageBounds): RecordPages
  close(): Promise<void>
}

export interface PageBounds {
  /** Empty, or ends in a slash: all keys begin with it, those of the bounds too. */
  readonly prefix: string
  /** The first key. */
  readonly from: string
  /** Excluded; `undefined`: the end of the prefix. */
  readonly to: string | undefined
  readonly isReverse: boolean
}

/** A walk over records; ends when it is closed. */
export interface RecordPages {
  /** At most `size` records; none at the end. */
  next(size: number): Promise<readonly StoreRecord[]>
  close(): Promise<void>
}

export interface StoreRecord {
  readonly key: string
  /** Or how it is not what was written. */
  readonly value: Uint8Array | StoreError
}

/** A walk reads so many at once; the first time fewer, for often only one is wanted. */
const firstPageEntries = 16
const pageEntries = 512

/** Keeps the contract of `Store`. */
export class StoreView implements Store {
  readonly failed: Promise<StoreError>
  readonly #engine: StoreEngine
  readonly #prefix: string
  readonly #parent: StoreView | undefined
  #isClosed = false

  constructor(engine: StoreEngine, prefix = '', parent?: StoreView) {
    this.failed = engine.failed
    this.#engine = engine
    this.#prefix = prefix
    this.#parent = parent
  }

  readonly get = async (key: string): Promise<Uint8Array | undefined> => {
    this.#assertOpen('read')
    return this.#engine.get(this.#prefix + key)
  }

  readonly range = (range: StoreRange = {}): AsyncIterable<StoreEntry> => {
    const limit = rangeLimit(range)
    return { [Symbol.asyncIterator]: () => this.#walk(range, limit) }
  }

  readonly write = async (batch: readonly StoreChange[]): Promise<void> => {
    this.#assertOpen('write')
    await this.#engine.write(this.#prefix, batch)
  }

  readonly scope = (prefix: string): Store => {
    this.#assertOpen('open a scope of')
    checkScope(prefix)
    return new StoreView(this.#engine, `${this.#prefix}${prefix}/`, this)
  }

  /** Resolves when the writes under way are settled and the directory is free again. */
  readonly close = async (): Promise<void> => {
    this.#isClosed = true
    if (this.#parent === undefined) await this.#engine.close()
  }

  async *#walk(range: StoreRange, limit: number): AsyncGenerator<StoreEntry, void, undefined> {
    this.#assertOpen('read')
    const { from = '', to, reverse = false, onCorrupt } = range
    const prefix = this.#prefix
    const pages = this.#engine.pages({
      prefix,
      from: prefix + from,
      to: to === undefined ? undefined : prefix + to,
      isReverse: reverse,
    })
    try {
      for (let left = limit, size = firstPageEntries; left > 0; size = pageEntries) {
        let page: readonly StoreRecord[]
        try {
          page = await pages.next(Math.min(size, left))
        } catch (error) {
          this.#assertOpen('read')
          throw error
        }
        this.#assertOpen('read')
        if (page.length === 0) return
        for (const { key: whole, value } of page) {
          const key = prefix === '' ? whole : whole.slice(prefix.length)
          if (value instanceof StoreError) {
            if (onCorrupt === undefined) throw value
            onCorrupt(key, value)
            continue
          }
          left -= 1
          yield { key, value }
          this.#assertOpen('read')
        }
      }
    } finally {
      await pages.close()
    }
  }

  #assertOpen(attempt: string): void {
    if (this.#isClosed) {
      throw new StoreError('RUNTIME_STORE_CLOSED', `Cannot ${attempt} the store: it is closed`)
    }
    if (this.#parent !== undefined) this.#parent.#assertOpen(attempt)
  }
}
