/** A walk over a LevelDB database, a page at a time. */
import { readChecked } from './checked-value.ts'
import type { LevelEngine, LevelIterator } from './level-engine.ts'
import { decodeKey, encodeKey, keyEnd } from './store-key.ts'
import type { PageBounds, RecordPages, StoreRecord } from './store-view.ts'

/** A walk reads so much at once. */
const pageBytes = 262_144

export class LevelPages implements RecordPages {
  readonly #engine: Pick<LevelEngine, 'corruptError' | 'readError'>
  readonly #iterator: LevelIterator
  readonly #what: string

  constructor(engine: LevelEngine, { prefix, from, to, isReverse }: PageBounds) {
    this.#engine = engine
    this.#what = `the range from "${from}"`
    this.#iterator = engine.db.iterate({
      gte: encodeKey('user', from),
      lt: to === undefined ? keyEnd(prefix) : encodeKey('user', to),
      reverse: isReverse,
      highWaterMarkBytes: pageBytes,
    })
  }

  async next(size: number): Promise<readonly StoreRecord[]> {
    let page: readonly (readonly [Uint8Array, Uint8Array])[]
    try {
      page = await this.#iterator.nextv(size)
    } catch (error) {
      throw this.#engine.readError(this.#what, error)
    }
    return page.map(([bytes, checked]) => {
      const key = decodeKey(bytes)
      const value = readChecked(bytes, checked)
      return { key, value: typeof value === 'string' ? this.#engine.corruptError(key, value) : value }
    })
  }

  close(): Promise<void> {
    return this.#iterator.close()
  }
}
