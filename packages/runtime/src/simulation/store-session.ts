/**
 * One process that has one directory of its disk open: the batches on their way to the disk, the fsync under way, and
 * what a crash leaves of them. A durable image plus an ordered list of batches not yet durable.
 *
 * Group commit: one fsync at a time; the batches that came meanwhile become durable together with the next one. A read
 * sees the batches that are durable, or said to be, and no others.
 */
import { crc32c } from '../platform/crc32c.ts'
import { StoreError } from '../platform/store-error.ts'
import type { DiskControls } from './disk-controls.ts'
import type { BatchChanges, DiskDirectory, DiskEntry } from './disk-directory.ts'
import type { SimulatedLife } from './simulated-life.ts'

interface PendingBatch {
  readonly changes: BatchChanges
  /** True time at which it leaves the process: later than the call when the step under way takes long. */
  leavesAtMs: number
  readonly settle: (error?: StoreError) => void
}

export class StoreSession {
  readonly life: SimulatedLife
  readonly directory: DiskDirectory
  /** Resolves with what closed it for writing. */
  readonly failed: Promise<StoreError>
  #tellFailed: (error: StoreError) => void = () => undefined
  readonly #controls: DiskControls
  readonly #pending: PendingBatch[] = []
  /** The first so many of `#pending` are in the fsync under way. */
  #syncing = 0
  #failure: StoreError | undefined
  #isOver = false
  readonly #closing: (() => void)[] = []

  /** Takes the directory, which nobody holds. */
  constructor(life: SimulatedLife, directory: DiskDirectory, controls: DiskControls) {
    this.life = life
    this.directory = directory
    this.#controls = controls
    directory.holder = life
    this.failed = new Promise((resolve) => {
      this.#tellFailed = resolve
    })
    life.onKill(() => this.#crash())
  }

  // ---- Reading -------------------------------------------------------------------------------------------------

  /** What `look` sees when the disk comes to it. `what` is for the error. Never settles in a dead process. */
  read<T>(what: string, look: () => T): Promise<T> {
    if (!this.life.isAlive) return never()
    const { simulation } = this.life
    const end = this.life.beginOperation()
    return new Promise((resolve, reject) => {
      this.life.at(this.#controls.doneAtMs(this.life.departsAtMs, 'read'), 'store-read', () => {
        end()
        if (this.#controls.takeFailure('read')) {
          simulation.state(this.life.machine.name, `read error at ${what}`)
          reject(this.#ioError(`Cannot read ${what} from ${this.#place()}`))
          return
        }
        try {
          resolve(look())
        } catch (error) {
          reject(error as Error)
        }
      })
    })
  }

  /** @throws {StoreError} `RUNTIME_STORE_CORRUPT` when the value is not what was written */
  verify(entry: DiskEntry): DiskEntry {
    const found = crc32c(entry.value)
    if (found === entry.crc) return entry
    throw new StoreError(
      'RUNTIME_STORE_CORRUPT',
      `Cannot read "${entry.key}" from ${this.#place()}: its ${entry.value.byteLength} bytes have the CRC-32C ` +
        `${hex(found)}, expected ${hex(entry.crc)}; restore it from a copy`,
      { details: { key: entry.key, ...this.#details() } },
    )
  }

  // ---- Writing -------------------------------------------------------------------------------------------------

  /** Resolves when the batch and all before it are durable. The bytes of `changes` are the disk's from now on. */
  write(changes: BatchChanges): Promise<void> {
    if (this.#failure !== undefined) return Promise.reject(this.#refusal(this.#failure))
    if (!this.life.crashPoint()) return never()
    const end = this.life.beginOperation()
    return new Promise((resolve, reject) => {
      const batch: PendingBatch = {
        changes,
        // A kill at the crash point right after it finds it gone, however long this step takes.
        leavesAtMs: this.life.simulation.nowMs,
        settle: (error) => {
          end()
          if (error === undefined) resolve()
          else reject(error)
        },
      }
      this.#pending.push(batch)
      const leavesAtMs = this.life.departsAtMs
      if (!this.life.crashPoint()) return
      batch.leavesAtMs = leavesAtMs
      if (this.#syncing === 0) this.#sync(leavesAtMs)
    })
  }

  /** Gives the directory back when the batches under way are settled. */
  close(): Promise<void> {
    if (this.#isOver) return this.life.isAlive ? Promise.resolve() : never()
    if (this.#pending.length === 0) {
      this.#release()
      return Promise.resolve()
    }
    const end = this.life.beginOperation()
    return new Promise((resolve) =>
      this.#closing.push(() => {
        end()
        resolve()
      }),
    )
  }

  #sync(startMs: number): void {
    this.#syncing = this.#pending.length
    const doneAtMs = this.#controls.doneAtMs(startMs, 'write')
    this.life.at(doneAtMs, 'store-sync', () => this.#synced())
  }

  #synced(): void {
    const group = this.#pending.splice(0, this.#syncing)
    this.#syncing = 0
    if (this.#controls.takeFailure('write')) this.#failSync(group)
    else this.#commit(group)
    if (this.#pending.length > 0) {
      this.#sync(this.life.departsAtMs)
      return
    }
    if (this.#closing.length === 0) return
    this.#release()
    for (const closed of this.#closing.splice(0)) closed()
  }

  #commit(group: readonly PendingBatch[]): void {
    for (const [index, batch] of group.entries()) {
      const full = this.#fullError(batch.changes)
      if (full !== undefined) {
        this.life.simulation.state(this.life.machine.name, 'disk full')
        this.#fail(full, batch, group.slice(index + 1))
        return
      }
      this.#apply(batch.changes)
      batch.settle()
    }
  }

  /** Nobody knows how much of what an fsync has failed for is on the disk: a prefix is (PostgreSQL's "fsyncgate"). */
  #failSync(group: readonly PendingBatch[]): void {
    const kept = this.#controls.keptOfFailed(group.length)
    for (const { changes } of group.slice(0, kept)) this.#applyIfRoom(changes)
    this.life.simulation.state(this.life.machine.name, `write error: ${kept} of ${group.length} batches kept`)
    const [first, ...rest] = group
    if (first === undefined) return
    this.#fail(this.#ioError(`Cannot write ${first.changes.size} changes to ${this.#place()}`), first, rest)
  }

  /** No write succeeds any more until the store is opened again: whoever believes otherwise loses data. */
  #fail(failure: StoreError, first: PendingBatch, behind: readonly PendingBatch[]): void {
    this.#failure = failure
    first.settle(failure)
    for (const { settle } of [...behind, ...this.#pending.splice(0)]) settle(this.#refusal(failure))
    this.#tellFailed(failure)
  }

  /**
   * Keeps or loses what nothing protects, always from the end: the batches that were not acknowledged, and while fsync
   * lies those that were.
   */
  #crash(): void {
    if (this.#isOver) return
    const { directory, life } = this
    // What a step that takes long would write later never left; what stands before one that has left has left too.
    const last = this.#pending.findLastIndex(({ leavesAtMs }) => leavesAtMs <= life.simulation.nowMs)
    const left = this.#pending.slice(0, last + 1)
    const lost = this.#controls.lostInCrash(left.length + directory.atRisk)
    if (lost > left.length) {
      const lies = lost - left.length
      directory.goBack(lies)
      life.simulation.state(life.machine.name, `lost ${lies} acknowledged batches of "${directory.name}"`)
    }
    for (const { changes } of left.slice(0, Math.max(0, left.length - lost))) {
      if (!this.#applyIfRoom(changes)) break
    }
    directory.settle()
    this.#pending.length = 0
    this.#release()
  }

  #release(): void {
    this.#isOver = true
    this.directory.holder = undefined
  }

  #applyIfRoom(changes: BatchChanges): boolean {
    if (this.#fullError(changes) !== undefined) return false
    this.#apply(changes)
    return true
  }

  #apply(changes: BatchChanges): void {
    const { hash } = this.life.simulation
    hash.text(this.life.machine.name)
    hash.text(this.directory.name)
    for (const [key, value] of changes) {
      hash.text(key)
      if (value === undefined) hash.word(deleted)
      else hash.bytes(value)
    }
    this.directory.apply(changes, this.#controls.isLying)
  }

  // ---- Errors --------------------------------------------------------------------------------------------------

  #fullError(changes: BatchChanges): StoreError | undefined {
    const { bytes, bytesMax } = this.#controls
    const more = this.directory.bytesWith(changes) - this.directory.bytes
    if (more <= 0 || bytes + more <= bytesMax) return undefined
    return new StoreError(
      'RUNTIME_STORE_FULL',
      `Cannot write ${changes.size} changes to ${this.#place()}: ENOSPC, the disk would hold ${bytes + more} bytes, ` +
        `there is room for ${bytesMax}; make room, then open the store again`,
      { details: { bytes: bytes + more, bytesMax, ...this.#details() }, cause: diskError('ENOSPC') },
    )
  }

  #ioError(attempt: string): StoreError {
    return new StoreError('RUNTIME_STORE_FAILED', `${attempt}: EIO, the disk reports an input/output error`, {
      details: this.#details(),
      cause: diskError('EIO'),
    })
  }

  #refusal(cause: StoreError): StoreError {
    return new StoreError(
      'RUNTIME_STORE_FAILED',
      `Cannot write to ${this.#place()}: an earlier write failed; open it again`,
      { details: this.#details(), cause },
    )
  }

  #place(): string {
    return `the store in "${this.directory.name}" of machine "${this.life.machine.name}"`
  }

  #details(): Readonly<Record<string, string>> {
    return { directory: this.directory.name, machine: this.life.machine.name }
  }
}

/** Stands in the hash where a value would. */
const deleted = 0xde1e7ed

/** What a dead process waits for. */
export function never<T>(): Promise<T> {
  return new Promise(() => undefined)
}

/** As Node's own file errors: the name of the error number in `code`. */
function diskError(code: 'EIO' | 'ENOSPC'): Error {
  return Object.assign(new Error(code), { code })
}

function hex(crc: number): string {
  return crc.toString(16).padStart(8, '0')
}
