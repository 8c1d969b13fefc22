/** A durable store as its owner sees it: the whole of a database, or the part whose keys begin with a prefix. */
import { readChecked } from './checked-value.ts'
import type { LevelEngine } from './level-engine.ts'
import { checkScope, rangeLimit } from './store-argument.ts'
import { StoreError } from './store-error.ts'
import { decodeKey, encodeKey, keyEnd } from './store-key.ts'
import type { Store, StoreChange, StoreEntry, StoreRange } from './store.ts'

/** A walk reads so much at once. */
const pageBytes = 262_144
const pageEntries = 512

/** Keeps the contract of `Store`. */
export class LevelView implements Store {
  readonly failed: Promise<StoreError>
  readonly #engine: LevelEngine
  readonly #prefix: string
  readonly #parent: LevelView | undefined
  #isClosed = false

  constructor(engine: LevelEngine, prefix = '', parent?: LevelView) {
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
    return new LevelView(this.#engine, `${this.#prefix}${prefix}/`, this)
  }

  /** Resolves when the writes under way are settled and the directory is free again. */
  readonly close = async (): Promise<void> => {
    this.#isClosed = true
    if (this.#parent === undefined) await this.#engine.close()
  }

  async *#walk(range: StoreRange, limit: number): AsyncGenerator<StoreEntry, void, undefined> {
    this.#assertOpen('read')
    const { from = '', to, reverse = false, onCorrupt } = range
    const engine = this.#engine
    const skip = this.#prefix.length
    const iterator = engine.db.iterate({
      gte: encodeKey('user', this.#prefix + from),
      lt: to === undefined ? keyEnd(this.#prefix) : encodeKey('user', this.#prefix + to),
      reverse,
      highWaterMarkBytes: pageBytes,
    })
    try {
      // The first page is small: often only one is wanted.
      for (let left = limit, size = 16; left > 0; size = pageEntries) {
        let page: (readonly [Uint8Array, Uint8Array])[]
        try {
          page = await iterator.nextv(Math.min(size, left))
        } catch (error) {
          this.#assertOpen('read')
          throw engine.readError(`the range from "${this.#prefix}${from}"`, error)
        }
        this.#assertOpen('read')
        if (page.length === 0) return
        for (const [bytes, checked] of page) {
          const whole = decodeKey(bytes)
          const value = readChecked(bytes, checked)
          if (typeof value === 'string') {
            const error = engine.corruptError(whole, value)
            if (onCorrupt === undefined) throw error
            onCorrupt(whole.slice(skip), error)
            continue
          }
          left -= 1
          yield { key: skip === 0 ? whole : whole.slice(skip), value }
          this.#assertOpen('read')
        }
      }
    } finally {
      await iterator.close()
    }
  }

  #assertOpen(attempt: string): void {
    if (this.#isClosed) {
      throw new StoreError('RUNTIME_STORE_CLOSED', `Cannot ${attempt} the store: it is closed`)
    }
    if (this.#parent !== undefined) this.#parent.#assertOpen(attempt)
  }
}
