/** A walk over a LevelDB database, a page at a time. */
import { readChecked } from './checked-value.ts'
import type { StoreError } from './store-error.ts'
import { decodeKey, encodeKey, keyEnd } from './store-key.ts'
import type { PageBounds, RecordPages, StoreRecord } from './store-view.ts'

export interface LevelRange {
  readonly gte: Uint8Array
  readonly lt: Uint8Array
  readonly reverse: boolean
  readonly highWaterMarkBytes: number
}

export interface LevelIterator {
  /** At most `size` entries; none at the end. */
  nextv(size: number): Promise<[Uint8Array, Uint8Array][]>
  close(): Promise<void>
}

/** What a walk uses of LevelDB. */
export interface LevelWalks {
  /** From one moment on; ends when it is closed. */
  readonly iterate: (range: LevelRange) => LevelIterator
}

/** How reading is told to have gone wrong. */
export interface LevelPageErrors {
  readonly readError: (what: string, error: unknown) => StoreError
  readonly corruptError: (key: string, what: string) => StoreError
}

/** A walk reads so much at once. */
const pageBytes = 262_144

export class LevelPages implements RecordPages {
  readonly #errors: LevelPageErrors
  readonly #iterator: LevelIterator
  readonly #what: string

  constructor(errors: LevelPageErrors, db: LevelWalks, { prefix, from, to, isReverse }: PageBounds) {
    this.#errors = errors
    this.#what = `the range from "${from}"`
    this.#iterator = db.iterate({
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
      throw this.#errors.readError(this.#what, error)
    }
    return page.map(([bytes, checked]) => {
      const key = decodeKey(bytes)
      const value = readChecked(bytes, checked)
      return { key, value: typeof value === 'string' ? this.#errors.corruptError(key, value) : value }
    })
  }

  close(): Promise<void> {
    return this.#iterator.close()
  }
}
