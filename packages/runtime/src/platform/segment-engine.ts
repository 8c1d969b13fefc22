/**
 * One open segment store: group commit, reads, and the end of it.
 *
 * The changes of a call are copied at once into the record that will be written. When no record is on its way to the disk
 * the gathered one leaves, as one write of one buffer to a place that was made ready before; the next one gathers meanwhile.
 * As with LevelEngine, the first one after a pause leaves when the loop comes by, one that has waited leaves at once.
 */
import { diskError } from './disk-error.ts'
import { silentLogger, type Logger } from './log.ts'
import type { SegmentDisk } from './segment-disk.ts'
import type { Segment } from './segment-file.ts'
import { SegmentGroup } from './segment-group.ts'
import type { SegmentIndex } from './segment-index.ts'
import type { OpenedSegments } from './segment-opening.ts'
import { SegmentPages } from './segment-pages.ts'
import { changeHeaderBytes, recordHeaderBytes, sectorBytes } from './segment-record.ts'
import { SegmentUpkeep, type Carried } from './segment-upkeep.ts'
import { readEntry } from './segment-values.ts'
import { checkChanges } from './store-argument.ts'
import { StoreError } from './store-error.ts'
import { keyBytesMax } from './store-key.ts'
import type { StorePlace } from './store-place.ts'
import type { PageBounds, RecordPages, StoreEngine } from './store-view.ts'
import type { StoreChange } from './store.ts'

/** Where the store is. */
export type SegmentPlace = Pick<StorePlace, 'directory' | 'stopWatching' | 'release'>

/** Larger groups go in parts, so that who came first does not wait for all; and a segment holds some. */
const groupBytesMax = 1_048_576
/** More would make a segment that Node cannot read at once (2 GiB), and so a store that cannot be opened. */
const batchBytesMax = 1_073_741_824

interface Carrying {
  readonly carried: readonly Carried[]
  readonly resolve: () => void
  readonly reject: (error: StoreError) => void
}

export class SegmentEngine implements StoreEngine {
  readonly failed: Promise<StoreError>
  readonly #place: SegmentPlace
  readonly #unlock: () => Promise<void>
  readonly #index: SegmentIndex
  readonly #segments: Segment[]
  readonly #upkeep: SegmentUpkeep
  readonly #groupBytesMax: number
  /** In their order; the last takes what comes. The one that is on its way to the disk is not among them. */
  readonly #groups: SegmentGroup[] = []
  readonly #spareGroups: SegmentGroup[] = []
  readonly #carryGroup = new SegmentGroup()
  #carrying: Carrying | undefined
  #hasCarried = false
  #underWay: SegmentGroup | undefined
  #isFlushing = false
  #whenIdle: (() => void)[] = []
  #next: number
  /** What the record under way says, and what a durable one says. */
  #oldestSaid = 0
  #newestSaid: number
  #newestTold: number
  #failure: StoreError | undefined
  #tellFailed: (error: StoreError) => void = () => undefined
  #closing: Promise<void> | undefined

  /**
   * @param unlock lets others open it
   * @param log told of what no call meets
   */
  constructor(
    disk: SegmentDisk,
    place: SegmentPlace,
    unlock: () => Promise<void>,
    opened: OpenedSegments,
    segmentBytes: number,
    log: Logger = silentLogger,
  ) {
    this.#place = place
    this.#unlock = unlock
    this.#index = opened.index
    this.#segments = opened.segments.slice(0, opened.current + 1)
    this.#next = opened.next
    const newest = opened.segments.at(-1)?.number ?? 0
    this.#newestSaid = newest
    this.#newestTold = newest
    this.#groupBytesMax = Math.min(groupBytesMax, segmentBytes / 4)
    const { directory } = place
    const host = {
      directory,
      salt: opened.salt,
      index: this.#index,
      segments: this.#segments,
      carry: (carried: readonly Carried[]) => this.#carry(carried),
      log,
    }
    this.#upkeep = new SegmentUpkeep(disk, host, segmentBytes, opened.segments[opened.current + 1])
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
    checkSize(prefix, batch)
    if (batch.length === 0) return (this.#groups.at(-1) ?? this.#underWay)?.done ?? Promise.resolve()
    const group = this.#openGroup()
    try {
      for (const change of batch) {
        if (change.type === 'put') group.put(prefix + change.key, change.value)
        else group.delete(prefix + change.key)
      }
    } catch (error) {
      // Half of the batch is in there with what others wrote: none of it may go to the disk.
      this.fail(this.#writeError(error))
    }
    this.#wake()
    return group.done
  }

  async get(key: string): Promise<Uint8Array | undefined> {
    const entry = this.#index.get(key)
    if (entry === undefined) return undefined
    let value: Uint8Array | undefined
    try {
      value = await readEntry(entry)
    } catch (error) {
      throw this.readError(`"${key}"`, error)
    }
    if (value === undefined) throw this.corruptError(key)
    return value
  }

  pages(bounds: PageBounds): RecordPages {
    return new SegmentPages(this, this.#index.take(), [...this.#segments], bounds)
  }

  /** No write succeeds any more until the store is opened again: whoever believes otherwise loses data. */
  fail(failure: StoreError): void {
    if (this.#failure !== undefined) return
    this.#failure = failure
    this.#place.stopWatching()
    // Its directory may be another's by now.
    this.#upkeep.stop()
    // Nobody knows how much of what was under way is on the disk; what stands behind it was not tried.
    const first = this.#underWay ?? this.#groups.shift()
    first?.reject(failure)
    for (const group of this.#groups.splice(0)) group.reject(this.#refusal(failure))
    this.#carrying?.reject(failure)
    this.#carrying = undefined
    this.#tellFailed(failure)
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  readError(what: string, error: unknown): StoreError {
    return diskError(
      `Cannot read ${what} from ${this.#name()}`,
      this.directory,
      error,
      'RUNTIME_STORE_FAILED',
    )
  }

  corruptError(key: string): StoreError {
    return new StoreError(
      'RUNTIME_STORE_CORRUPT',
      `Cannot read "${key}" from ${this.#name()}: key and value have another CRC-32C than what was written; ` +
        'restore it from a copy',
      { details: { key, directory: this.directory } },
    )
  }

  // ---- Groups ----------------------------------------------------------------------------------------------------

  #openGroup(): SegmentGroup {
    const last = this.#groups.at(-1)
    if (last !== undefined && last.bytes < this.#groupBytesMax) return last
    const group = this.#spareGroups.pop() ?? new SegmentGroup()
    group.begin()
    this.#groups.push(group)
    return group
  }

  #wake(): void {
    if (this.#isFlushing) return
    this.#isFlushing = true
    setImmediate(this.#leave)
  }

  /** Sends the next record to the disk; called when none is under way. Hot: one write a call, nothing else is awaited. */
  readonly #leave = (): void => {
    if (this.#failure !== undefined) return this.#rest()
    const group = this.#nextGroup()
    if (group === undefined) return this.#rest()
    this.#underWay = group
    const current = this.#segments.at(-1) as Segment
    // There is always room for the record that tells of the next segment.
    if (current.end + group.recordBytes + recordHeaderBytes > current.bytes) void this.#roll(group)
    else this.#send(group, current)
  }

  #rest(): void {
    this.#isFlushing = false
    for (const resolve of this.#whenIdle.splice(0)) resolve()
  }

  /** What is carried and what is written take turns. */
  #nextGroup(): SegmentGroup | undefined {
    const carrying = this.#carrying
    if (carrying !== undefined && (this.#groups.length === 0 || !this.#hasCarried)) {
      this.#hasCarried = true
      this.#carrying = undefined
      const group = this.#carryGroup
      group.begin()
      for (const { entry, value } of carrying.carried) {
        // All writes before it are in the index by now, and all that come later go behind it.
        if (this.#index.get(entry.key) !== entry) continue
        if (value === undefined) group.lose(entry.key)
        else group.put(entry.key, value)
      }
      group.done.then(carrying.resolve, carrying.reject)
      return group
    }
    this.#hasCarried = false
    return this.#groups.shift()
  }

  #send(group: SegmentGroup, current: Segment): void {
    const at = current.end
    this.#oldestSaid = this.#segments[0]?.number ?? 0
    this.#newestSaid = (this.#upkeep.spare ?? current).number
    const length = group.recordBytes
    const numbers = { number: this.#next, oldest: this.#oldestSaid, newest: this.#newestSaid }
    let record: Uint8Array
    try {
      record = group.seal(numbers, current, at)
    } catch (error) {
      return this.#sent(group, current, length, error)
    }
    current.writeRecord(record, length, at, (error) => this.#sent(group, current, length, error))
  }

  #sent(group: SegmentGroup, current: Segment, length: number, error: unknown): void {
    if (error !== undefined) this.fail(this.#writeError(error))
    this.#underWay = undefined
    // Failed meanwhile, also by a directory that is gone: then it is rejected already.
    if (this.#failure !== undefined) return this.#rest()
    group.apply(this.#index, current, current.end)
    current.end += length
    this.#next += 1
    this.#newestTold = this.#newestSaid
    group.end()
    group.resolve()
    if (group !== this.#carryGroup && this.#spareGroups.length < 2) this.#spareGroups.push(group)
    this.#upkeep.written(this.#oldestSaid, group === this.#carryGroup ? 0 : length)
    this.#leave()
  }

  /** Goes on to a segment that has room. A durable record in the one before says that it is there. */
  async #roll(group: SegmentGroup): Promise<void> {
    const needed = group.recordBytes + recordHeaderBytes
    try {
      for (;;) {
        const current = this.#segments.at(-1) as Segment
        if (current.end + needed <= current.bytes) return this.#send(group, current)
        const { spare } = this.#upkeep
        if (spare === undefined) {
          await this.#upkeep.makeNow(sectorBytes + needed)
        } else {
          if (this.#newestTold < spare.number) await this.#tellOf(spare, current)
          this.#upkeep.spare = undefined
          this.#segments.push(spare)
        }
        if (this.#failure !== undefined) break
      }
    } catch (error) {
      this.fail(this.#writeError(error))
    }
    this.#underWay = undefined
    this.#rest()
  }

  async #tellOf(spare: Segment, current: Segment): Promise<void> {
    const empty = new SegmentGroup()
    const numbers = { number: this.#next, oldest: this.#segments[0]?.number ?? 0, newest: spare.number }
    const record = empty.seal(numbers, current, current.end)
    const length = empty.recordBytes
    await new Promise<void>((resolve, reject) => {
      current.write(record, length, current.end, (error) => (error === undefined ? resolve() : reject(error)))
    })
    current.end += length
    this.#next += 1
    this.#newestTold = spare.number
  }

  #carry(carried: readonly Carried[]): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#failure !== undefined) return reject(this.#failure)
      this.#carrying = { carried, resolve, reject }
      this.#wake()
    })
  }

  async #close(): Promise<void> {
    this.#place.stopWatching()
    await this.#idle()
    await this.#upkeep.end()
    await this.#idle()
    for (const segment of this.#segments) await segment.drop()
    try {
      await this.#unlock()
    } finally {
      this.#place.release()
    }
  }

  #idle(): Promise<void> {
    if (!this.#isFlushing) return Promise.resolve()
    return new Promise((resolve) => void this.#whenIdle.push(resolve))
  }

  #writeError(error: unknown): StoreError {
    return diskError(`Cannot write to ${this.#name()}`, this.directory, error, 'RUNTIME_STORE_FAILED')
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

/** @throws {RangeError} if the batch is larger than a segment may be */
function checkSize(prefix: string, batch: readonly StoreChange[]): void {
  let bytes = 0
  for (const change of batch) {
    bytes += changeHeaderBytes + keyBytesMax(prefix) + keyBytesMax(change.key)
    if (change.type === 'put') bytes += change.value.byteLength
  }
  if (bytes <= batchBytesMax) return
  throw new RangeError(
    `Cannot write to the store: a batch may have ${batchBytesMax} bytes, got up to ${bytes}; write it in parts`,
  )
}
