/** A simulated store as its process sees it: the whole of a directory, or the part whose keys begin with a prefix. */
import { boundsOf, changesByKey, checkScope, rangeLimit } from '../platform/store-argument.ts'
import { StoreError } from '../platform/store-error.ts'
import type { Store, StoreChange, StoreEntry, StoreRange } from '../platform/store.ts'
import type { DiskEntry } from './disk-directory.ts'
import { never, type StoreSession } from './store-session.ts'

/** Entries that a walk fetches at once: between two fetches others have their turn. */
const pageEntries = 16

/** Keeps the contract of `Store`. In a dead process nothing that it promised ever settles. */
export class StoreView implements Store {
  readonly failed: Promise<StoreError>
  readonly #session: StoreSession
  readonly #prefix: string
  readonly #parent: StoreView | undefined
  #isClosed = false

  constructor(session: StoreSession, prefix = '', parent?: StoreView) {
    this.#session = session
    this.failed = session.failed
    this.#prefix = prefix
    this.#parent = parent
  }

  readonly get = async (key: string): Promise<Uint8Array | undefined> => {
    this.#assertOpen('read')
    const session = this.#session
    const full = this.#prefix + key
    return session.read(`"${full}"`, () => {
      const entry = session.directory.get(full)
      return entry === undefined ? undefined : session.verify(entry).value
    })
  }

  readonly range = (range: StoreRange = {}): AsyncIterable<StoreEntry> => {
    const limit = rangeLimit(range)
    return { [Symbol.asyncIterator]: () => this.#walk(range, limit) }
  }

  readonly write = async (batch: readonly StoreChange[]): Promise<void> => {
    this.#assertOpen('write')
    return this.#session.write(changesByKey(batch, this.#prefix))
  }

  readonly scope = (prefix: string): Store => {
    this.#assertOpen('open a scope of')
    checkScope(prefix)
    return new StoreView(this.#session, `${this.#prefix}${prefix}/`, this)
  }

  /** Resolves when the writes under way are settled and the directory is free again. */
  readonly close = async (): Promise<void> => {
    this.#isClosed = true
    if (this.#parent === undefined) await this.#session.close()
  }

  async *#walk(range: StoreRange, limit: number): AsyncGenerator<StoreEntry, void, undefined> {
    this.#assertOpen('read')
    const session = this.#session
    const what = `the range from "${this.#prefix}${range.from ?? ''}"`
    const version = await session.read(what, () => session.directory.take())
    try {
      const { entries } = version
      const skip = this.#prefix.length
      const { from, to } = boundsOf(entries, this.#prefix, range)
      let left = limit
      for (let i = 0; i < to - from && left > 0; i++) {
        if (i > 0 && i % pageEntries === 0) await session.read(what, () => undefined)
        const entry = entries[range.reverse === true ? to - 1 - i : from + i]
        if (entry === undefined) return
        const key = entry.key.slice(skip)
        if (!this.#isWhole(entry, key, range)) continue
        left -= 1
        yield { key, value: entry.value }
        this.#assertOpen('read')
        if (!session.life.isAlive) await never()
      }
    } finally {
      version.readers -= 1
    }
  }

  /** Whether the entry is what was written. One that is not ends the walk, unless somebody wants to hear of it. */
  #isWhole(entry: DiskEntry, key: string, { onCorrupt }: StoreRange): boolean {
    try {
      this.#session.verify(entry)
      return true
    } catch (error) {
      if (onCorrupt === undefined || !(error instanceof StoreError)) throw error
      onCorrupt(key, error)
      return false
    }
  }

  #assertOpen(attempt: string): void {
    if (this.#isClosed)
      throw new StoreError('RUNTIME_STORE_CLOSED', `Cannot ${attempt} the store: it is closed`)
    if (this.#parent !== undefined) this.#parent.#assertOpen(attempt)
  }
}
