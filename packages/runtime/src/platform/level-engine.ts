/**
 * One open LevelDB database: group commit, checks of what is read, and the end of it.
 *
 * The records of a call go into the open native batch at once, one crossing each. When no batch is on its way to the disk
 * the open one leaves, with one fsync, and the next one is opened. Nothing is kept of a record in between, and no call costs
 * more than its promise.
 *
 * Waking the thread that writes holds this one up for some 30 microseconds, many more on a busy machine. So the first batch
 * after a pause leaves when the loop comes by: what was sent in the same turn is with the sockets by then, and what other
 * sockets bring to be written goes with it (bench: raft). One that has waited for the disk leaves at once.
 */
import { checkBytes, encodeChecked, readChecked, writeChecked } from './checked-value.ts'
import { diskError } from './disk-error.ts'
import { LevelPages, type LevelWalks } from './level-pages.ts'
import type { KeyGap } from './level-table-file.ts'
import { checkChanges } from './store-argument.ts'
import { StoreError } from './store-error.ts'
import { encodeKey, keyBytesMax, writeKey } from './store-key.ts'
import type { StorePlace } from './store-place.ts'
import type { PageBounds, RecordPages, StoreEngine } from './store-view.ts'
import type { StoreChange } from './store.ts'

/** What is used of LevelDB. Batches copy what they are given. */
export interface LevelDatabase extends LevelWalks {
  readonly get: (key: Uint8Array) => Promise<Uint8Array | undefined>
  readonly put: (key: Uint8Array, value: Uint8Array, options: { readonly sync: true }) => Promise<void>
  readonly openBatch: () => LevelBatch
  readonly close: () => Promise<void>
}

export interface LevelBatch {
  put(key: Uint8Array, value: Uint8Array): unknown
  del(key: Uint8Array): unknown
  write(options: { sync: true }): Promise<void>
  close(): Promise<void>
}

/** Where the database is. */
export type LevelPlace = Pick<StorePlace, 'directory' | 'stopWatching' | 'release'>

/** Larger groups go in parts, so that who came first does not wait for all. */
const groupBytesMax = 4_194_304
/** What a scratch buffer keeps at most between two records. */
const scratchBytesMax = 65_536

const closedKey = encodeKey('internal', 'closed')

/** The calls that become durable together. */
class Group {
  readonly batch: LevelBatch
  bytes = 0
  readonly done: Promise<void>
  resolve: () => void = () => undefined
  reject: (error: StoreError) => void = () => undefined

  constructor(batch: LevelBatch) {
    this.batch = batch
    this.done = new Promise((resolve, reject) => {
      this.resolve = resolve
      this.reject = reject
    })
  }
}

export class LevelEngine implements StoreEngine {
  readonly db: LevelDatabase
  readonly failed: Promise<StoreError>
  readonly #place: LevelPlace
  /** Where a key that is not found may have been damaged. */
  readonly #gaps: KeyGap[]
  /** In their order; the first may be on its way to the disk, the last takes what comes. */
  readonly #groups: Group[] = []
  #isFlushing = false
  /** The first group has left for the disk. */
  #isUnderWay = false
  #flushed: Promise<void> = Promise.resolve()
  #hasWritten = false
  #failure: StoreError | undefined
  #tellFailed: (error: StoreError) => void = () => undefined
  #closing: Promise<void> | undefined
  #keyScratch = new Uint8Array(1_024)
  #valueScratch = new Uint8Array(4_096)

  constructor(db: LevelDatabase, place: LevelPlace, gaps: readonly KeyGap[] = []) {
    this.db = db
    this.#gaps = [...gaps]
    this.#place = place
    this.failed = new Promise((resolve) => {
      this.#tellFailed = resolve
    })
  }

  get directory(): string {
    return this.#place.directory
  }

  /** Resolves when the batch and all before it are durable. Copies all it needs before it returns. */
  write(prefix: string, batch: readonly StoreChange[]): Promise<void> {
    if (this.#failure !== undefined) return Promise.reject(this.#refusal(this.#failure))
    checkChanges(batch)
    if (batch.length === 0) return this.#groups.at(-1)?.done ?? Promise.resolve()
    const group = this.#openGroup()
    try {
      for (const change of batch) this.#add(group, prefix, change)
    } catch (error) {
      // Half of the batch is in there with what others wrote: none of it may go to the disk.
      this.fail(diskError(`Cannot write to ${this.#name()}`, this.directory, error, 'RUNTIME_STORE_FAILED'))
    }
    if (!this.#isFlushing) {
      this.#isFlushing = true
      this.#flushed = loopHasCome().then(this.#flush)
    }
    return group.done
  }

  async get(key: string): Promise<Uint8Array | undefined> {
    const bytes = encodeKey('user', key)
    let checked: Uint8Array | undefined
    try {
      checked = await this.db.get(bytes)
    } catch (error) {
      throw this.readError(`"${key}"`, error, key)
    }
    if (checked === undefined) {
      this.#assertAbsent(key, bytes)
      return undefined
    }
    const value = readChecked(bytes, checked)
    if (typeof value === 'string') throw this.corruptError(key, value)
    return value
  }

  pages(bounds: PageBounds): RecordPages {
    return new LevelPages(this, this.db, bounds)
  }

  /** No write succeeds any more until the store is opened again: whoever believes otherwise loses data. */
  fail(failure: StoreError): void {
    if (this.#failure !== undefined) return
    this.#failure = failure
    this.#place.stopWatching()
    // Nobody knows how much of what was under way is on the disk; what stands behind it was not tried.
    const isUnderWay = this.#isUnderWay
    for (const [index, group] of this.#groups.splice(0).entries()) {
      if (index === 0) {
        group.reject(failure)
        if (isUnderWay) continue
      } else {
        group.reject(this.#refusal(failure))
      }
      void group.batch.close()
    }
    this.#tellFailed(failure)
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  readError(what: string, error: unknown, key?: string): StoreError {
    const attempt = `Cannot read ${what} from ${this.#name()}`
    if (levelCodes(error).includes('LEVEL_CORRUPTION')) {
      return new StoreError(
        'RUNTIME_STORE_CORRUPT',
        `${attempt}: ${levelText(error)}; restore it from a copy`,
        {
          details: { directory: this.directory, ...(key === undefined ? undefined : { key }) },
          cause: error,
        },
      )
    }
    return diskError(attempt, this.directory, error, 'RUNTIME_STORE_FAILED')
  }

  corruptError(key: string, what: string): StoreError {
    return new StoreError(
      'RUNTIME_STORE_CORRUPT',
      `Cannot read "${key}" from ${this.#name()}: ${what}; restore it from a copy`,
      { details: { key, directory: this.directory } },
    )
  }

  #openGroup(): Group {
    const last = this.#groups.at(-1)
    const hasLeft = this.#isUnderWay && this.#groups.length === 1
    if (last !== undefined && !hasLeft && last.bytes < groupBytesMax) return last
    const group = new Group(this.db.openBatch())
    this.#groups.push(group)
    return group
  }

  #add(group: Group, prefix: string, change: StoreChange): void {
    const text = prefix + change.key
    const room = keyBytesMax(text)
    if (room > this.#keyScratch.length) this.#keyScratch = new Uint8Array(room)
    const key = this.#keyScratch.subarray(0, writeKey('user', text, this.#keyScratch))
    group.bytes += key.length
    if (this.#gaps.length > 0) this.#mend(key)
    if (change.type === 'delete') {
      group.batch.del(key)
      return
    }
    const length = checkBytes + change.value.byteLength
    let scratch = this.#valueScratch
    if (length > scratch.length) {
      scratch = new Uint8Array(length)
      if (length <= scratchBytesMax) this.#valueScratch = scratch
    }
    writeChecked(key, change.value, scratch)
    // The native batch makes its own copy: the scratch is free again.
    group.batch.put(key, length === scratch.length ? scratch : scratch.subarray(0, length))
    group.bytes += length
  }

  readonly #flush = async (): Promise<void> => {
    for (;;) {
      const group = this.#groups[0]
      if (group === undefined) break
      this.#isUnderWay = true
      try {
        await group.batch.write({ sync: true })
      } catch (error) {
        this.fail(diskError(`Cannot write to ${this.#name()}`, this.directory, error, 'RUNTIME_STORE_FAILED'))
      }
      this.#isUnderWay = false
      // Failed meanwhile, also by a directory that is gone: then it is rejected already.
      if (this.#failure !== undefined) break
      this.#groups.shift()
      this.#hasWritten = true
      group.resolve()
    }
    this.#isFlushing = false
  }

  async #close(): Promise<void> {
    await this.#flushed
    this.#place.stopWatching()
    try {
      // The last record of a log cannot be told from one half written; this one nobody misses.
      if (this.#hasWritten && this.#failure === undefined) {
        await this.db.put(closedKey, encodeChecked(closedKey, new Uint8Array(0)), { sync: true })
      }
    } catch (error) {
      this.fail(diskError(`Cannot close ${this.#name()}`, this.directory, error, 'RUNTIME_STORE_FAILED'))
    } finally {
      await this.db.close()
      this.#place.release()
    }
  }

  #mend(key: Uint8Array): void {
    const index = this.#gaps.findIndex(({ damaged }) => Buffer.compare(damaged, key) === 0)
    if (index !== -1) this.#gaps.splice(index, 1)
  }

  #assertAbsent(key: string, bytes: Uint8Array): void {
    for (const { after, upTo } of this.#gaps) {
      if (Buffer.compare(bytes, upTo) > 0 || (after !== undefined && Buffer.compare(bytes, after) <= 0))
        continue
      throw this.corruptError(key, 'it is not there, and a record near it is damaged, which may be this one')
    }
  }

  #refusal(cause: StoreError): StoreError {
    return new StoreError(
      'RUNTIME_STORE_FAILED',
      `Cannot write to ${this.#name()}: an earlier write failed; open it again`,
      { details: { directory: this.directory }, cause },
    )
  }

  #name(): string {
    return `the store in "${this.directory}"`
  }
}

/** Behind all that is sent in this turn, and behind the sockets that are ready now. */
function loopHasCome(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

/** The codes of an error of LevelDB's and of those below it. */
export function levelCodes(error: unknown): readonly string[] {
  const codes: string[] = []
  for (let at = error; at instanceof Error; at = at.cause)
    codes.push(String((at as NodeJS.ErrnoException).code))
  return codes
}

/** What the lowest error says. */
export function levelText(error: unknown): string {
  let at = error
  while (at instanceof Error && at.cause instanceof Error) at = at.cause
  return at instanceof Error ? at.message : String(at)
}
