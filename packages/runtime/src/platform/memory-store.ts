/**
 * A store in memory: what tests, the simulator and programs without a disk use. It keeps the whole contract of `Store`
 * except that a process that ends takes it along.
 */
import { boundsOf, changesByKey, checkScope, lowerBound, rangeLimit } from './store-argument.ts'
import { StoreError } from './store-error.ts'
import type { Store, StoreChange, StoreEntry, StoreRange } from './store.ts'

export interface MemoryStoreOptions {
  /**
   * Most bytes that keys (two per UTF-16 code unit) and values may take together. A batch that would go over it fails
   * with `RUNTIME_STORE_FULL`, and the store takes no further writes. @default 268_435_456 (256 MiB)
   */
  readonly bytesMax?: number | undefined
}

/** Default of `MemoryStoreOptions.bytesMax`. */
export const memoryStoreBytesMax = 268_435_456

/**
 * An empty store in memory.
 *
 * Values are copied when they come in, so the caller may use its buffer again at once; values handed out are the
 * store's own (copy before you change them). A batch is applied when `write` is called and resolves in a microtask.
 * Costs: `get` O(log n); a write of a new key O(n) moved pointers, O(1) at the end; a range O(log n) to begin, and one
 * copy of the pointers if the store is written while it is walked.
 *
 * @throws {RangeError} if `bytesMax` is not a number above 0
 */
export function memoryStore(options: MemoryStoreOptions = {}): Store {
  const bytesMax = options.bytesMax ?? memoryStoreBytesMax
  if (!(bytesMax > 0)) {
    throw new RangeError(`Cannot create a memory store: bytesMax must be a number above 0, got ${bytesMax}`)
  }
  return new MemoryView(new MemoryTable(bytesMax), '')
}

/** The sorted entries at one moment. Written in place while nobody walks it, copied when somebody does. */
interface Version {
  entries: StoreEntry[]
  readers: number
}

class MemoryTable {
  readonly #bytesMax: number
  #bytes = 0
  #version: Version = { entries: [], readers: 0 }
  #failure: StoreError | undefined
  readonly failed: Promise<StoreError>
  #tellFailed: (error: StoreError) => void = () => undefined
  isClosed = false

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax
    this.failed = new Promise((resolve) => {
      this.#tellFailed = resolve
    })
  }

  get(key: string): Uint8Array | undefined {
    const entry = this.#version.entries[lowerBound(this.#version.entries, key)]
    return entry !== undefined && entry.key === key ? entry.value : undefined
  }

  /** The entries of this moment. Whoever takes them gives them back, or the next write copies them for nothing. */
  take(): Version {
    this.#version.readers += 1
    return this.#version
  }

  apply(changes: ReadonlyMap<string, Uint8Array | undefined>): void {
    if (this.#failure !== undefined) {
      throw new StoreError(
        'RUNTIME_STORE_FAILED',
        'Cannot write to the store: an earlier write failed; open it again',
        { cause: this.#failure },
      )
    }
    let bytes = this.#bytes
    for (const [key, value] of changes) {
      const old = this.get(key)
      if (old !== undefined) bytes -= sizeOf(key, old)
      if (value !== undefined) bytes += sizeOf(key, value)
    }
    if (bytes > this.#bytesMax && bytes > this.#bytes) {
      this.#failure = new StoreError(
        'RUNTIME_STORE_FULL',
        `Cannot write ${changes.size} changes to the memory store: it would hold ${bytes} bytes, ` +
          `its bytesMax is ${this.#bytesMax}`,
        { details: { bytes, bytesMax: this.#bytesMax } },
      )
      this.#tellFailed(this.#failure)
      throw this.#failure
    }
    if (this.#version.readers > 0) this.#version = { entries: this.#version.entries.slice(), readers: 0 }
    const entries = this.#version.entries
    for (const [key, value] of changes) {
      const at = lowerBound(entries, key)
      const found = at < entries.length && entries[at]?.key === key
      if (value !== undefined) entries.splice(at, found ? 1 : 0, { key, value })
      else if (found) entries.splice(at, 1)
    }
    this.#bytes = bytes
  }
}

/** The table, or the part of it whose keys begin with `#prefix`. */
class MemoryView implements Store {
  readonly failed: Promise<StoreError>
  readonly #table: MemoryTable
  readonly #prefix: string
  readonly #parent: MemoryView | undefined
  #isClosed = false

  constructor(table: MemoryTable, prefix: string, parent?: MemoryView) {
    this.#table = table
    this.failed = table.failed
    this.#prefix = prefix
    this.#parent = parent
  }

  readonly get = async (key: string): Promise<Uint8Array | undefined> => {
    this.#assertOpen('read')
    return this.#table.get(this.#prefix + key)
  }

  readonly range = (range: StoreRange = {}): AsyncIterable<StoreEntry> => {
    const limit = rangeLimit(range)
    return { [Symbol.asyncIterator]: () => this.#walk(range, limit) }
  }

  readonly write = async (batch: readonly StoreChange[]): Promise<void> => {
    this.#assertOpen('write')
    this.#table.apply(changesByKey(batch, this.#prefix))
  }

  readonly scope = (prefix: string): Store => {
    this.#assertOpen('open a scope of')
    checkScope(prefix)
    return new MemoryView(this.#table, `${this.#prefix}${prefix}/`, this)
  }

  readonly close = async (): Promise<void> => {
    this.#isClosed = true
    if (this.#parent === undefined) this.#table.isClosed = true
  }

  async *#walk(range: StoreRange, limit: number): AsyncGenerator<StoreEntry, void, undefined> {
    this.#assertOpen('read')
    const version = this.#table.take()
    try {
      // Kept apart from `version`, which later writers may replace but never change under a reader.
      const entries = version.entries
      const skip = this.#prefix.length
      const { from, to } = boundsOf(entries, this.#prefix, range)
      const count = Math.min(to - from, limit)
      for (let i = 0; i < count; i++) {
        const entry = entries[range.reverse === true ? to - 1 - i : from + i]
        if (entry === undefined) return
        yield skip === 0 ? entry : { key: entry.key.slice(skip), value: entry.value }
        this.#assertOpen('read')
      }
    } finally {
      version.readers -= 1
    }
  }

  #assertOpen(attempt: string): void {
    if (this.#isClosed || this.#table.isClosed) {
      throw new StoreError('RUNTIME_STORE_CLOSED', `Cannot ${attempt} the store: it is closed`)
    }
    if (this.#parent !== undefined) this.#parent.#assertOpen(attempt)
  }
}

function sizeOf(key: string, value: Uint8Array): number {
  return key.length * 2 + value.byteLength
}
