/**
 * What state a simulated disk is in, and how a scenario changes it: slow, stalled, full, failing, lying; and what it
 * does to the data while nobody looks. Every draw of a disk is made here, from streams of its own.
 */
import { memoryStoreBytesMax } from '../platform/memory-store.ts'
import type { ChoiceStream } from './choice-source.ts'
import type { DiskDirectory } from './disk-directory.ts'
import type { SimulatedSurroundings } from './simulated-life.ts'

/** How long a read and a write that is made durable take at least, in milliseconds: a fast local disk. */
const leastMs = { read: 0.02, write: 0.1 } as const
/** Up to how much longer a write may take; the swarm draws one for each disk. Reads: a tenth of it. */
const jittersMs = [0, 1, 20, 500] as const

export type DiskOperation = keyof typeof leastMs

export class DiskControls {
  /** The machine's name. */
  readonly machine: string
  readonly #simulation: SimulatedSurroundings
  readonly #directories: ReadonlyMap<string, DiskDirectory>
  readonly #jitter: Readonly<Record<DiskOperation, ChoiceStream>>
  readonly #slow: ChoiceStream
  readonly #crash: ChoiceStream
  readonly #failed: ChoiceStream
  #jitterMs: number | undefined
  #bytesMax = memoryStoreBytesMax
  #slowMs = 0
  #stalledUntilMs = 0
  #isLying = false
  readonly #failures: Record<DiskOperation, number> = { read: 0, write: 0 }

  constructor(
    simulation: SimulatedSurroundings,
    machine: string,
    directories: ReadonlyMap<string, DiskDirectory>,
  ) {
    this.#simulation = simulation
    this.machine = machine
    this.#directories = directories
    const { choices } = simulation
    this.#jitter = {
      read: choices.stream(`store/${machine}/read-latency`),
      write: choices.stream(`store/${machine}/latency`),
    }
    this.#slow = choices.stream(`store/${machine}/slow`)
    this.#crash = choices.stream(`store/${machine}/crash`)
    this.#failed = choices.stream(`store/${machine}/failed`)
  }

  // ---- For scenarios and faults --------------------------------------------------------------------------------

  get isSlow(): boolean {
    return this.#slowMs > 0 || this.#stalledUntilMs > this.#simulation.nowMs
  }

  /** Bytes that all directories may hold together. 256 MiB unless it was filled. */
  get bytesMax(): number {
    return this.#bytesMax
  }

  get isFull(): boolean {
    return this.#bytesMax !== memoryStoreBytesMax
  }

  get isFailing(): boolean {
    return this.#failures.read > 0 || this.#failures.write > 0
  }

  get isLying(): boolean {
    return this.#isLying
  }

  /** Bytes in all directories. */
  get bytes(): number {
    let bytes = 0
    for (const directory of this.#directories.values()) bytes += directory.bytes
    return bytes
  }

  /** The directories in the order in which they were first opened. */
  directories(): readonly DiskDirectory[] {
    return [...this.#directories.values()]
  }

  /** Each operation that begins from now on takes up to `ms` longer. 0: no more. */
  slow(ms: number): void {
    this.#slowMs = ms
  }

  /** Nothing that begins within the next `ms` ends before they are over. 0: it goes on. */
  stall(ms: number): void {
    this.#stalledUntilMs = this.#simulation.nowMs + ms
  }

  /** The next `count` reads fail with EIO. 0: no more. */
  failReads(count: number): void {
    this.#failures.read = count
  }

  /** The next `count` times that batches are made durable fail with EIO. 0: no more. */
  failWrites(count: number): void {
    this.#failures.write = count
  }

  /** From now on there is room for `bytesFree` more bytes. */
  fill(bytesFree: number): void {
    this.#bytesMax = this.bytes + bytesFree
  }

  /** There is room again. A store that has failed still has to be opened again. */
  makeRoom(): void {
    this.#bytesMax = memoryStoreBytesMax
  }

  /** From now on fsync does nothing and says that it did: a crash may lose what was acknowledged since. */
  lie(): void {
    this.#isLying = true
  }

  /** No more lies; what was lied about is made durable. */
  stopLying(): void {
    this.#isLying = false
    for (const directory of this.#directories.values()) directory.settle()
  }

  /**
   * Flips a bit of the value at rest under `key` (its full key, scopes included): `get` and `range` report it as
   * `RUNTIME_STORE_CORRUPT` until it is written again. Bits 0 to 31 are those of its CRC, the value's follow.
   *
   * @throws {RangeError} when nothing is there
   */
  flip(directory: string, key: string, bit = 0): void {
    const found = this.#directories.get(directory)
    if (found?.get(key) === undefined) {
      throw new RangeError(
        `Cannot flip a bit of "${key}" in "${directory}" of ${this.machine}: nothing is there`,
      )
    }
    found.flip(key, bit)
  }

  /**
   * Puts an older copy of a directory in its place: that of `batches` batches ago.
   *
   * @throws {RangeError} when a process holds it, or when so old a copy is not known
   */
  goBack(directory: string, batches = 1): void {
    const found = this.#unheld('go back', directory)
    if (batches > found.depth) {
      throw new RangeError(
        `Cannot go back ${batches} batches in "${directory}" of ${this.machine}: ${found.depth} are known`,
      )
    }
    found.goBack(batches)
    found.settle()
  }

  /** Empties a directory. @throws {RangeError} when a process holds it */
  wipe(directory: string): void {
    this.#unheld('wipe', directory).wipe()
  }

  // ---- For the stores on this disk -----------------------------------------------------------------------------

  /** @internal The true time at which an operation that begins at `startMs` is done. */
  doneAtMs(startMs: number, operation: DiskOperation): number {
    let ms: number = leastMs[operation]
    this.#jitterMs ??=
      jittersMs[this.#simulation.choices.choose(jittersMs.length, `swarm/store-latency/${this.machine}`)] ?? 0
    if (this.#jitterMs > 0) {
      // Cubed: mostly short, with a long tail.
      const part = (this.#jitter[operation].choose(256) / 256) ** 3
      ms += part * (operation === 'write' ? this.#jitterMs : this.#jitterMs / 10)
    }
    if (this.#slowMs > 0) ms += (this.#slow.choose(256) / 255) * this.#slowMs
    return Math.max(startMs, this.#stalledUntilMs) + ms
  }

  /** @internal This one fails. */
  takeFailure(operation: DiskOperation): boolean {
    if (this.#failures[operation] <= 0) return false
    this.#failures[operation]--
    return true
  }

  /**
   * @internal How many of `count` batches that nothing protects a crash loses, the latest first. 0, the mildest answer,
   * loses none: what left the process was on its way to the disk.
   */
  lostInCrash(count: number): number {
    return this.#crash.choose(count + 1)
  }

  /** @internal How many of `count` batches whose fsync failed are on the disk all the same. 0: none. */
  keptOfFailed(count: number): number {
    return this.#failed.choose(count + 1)
  }

  #unheld(attempt: string, directory: string): DiskDirectory {
    const found = this.#directories.get(directory)
    if (found === undefined) {
      throw new RangeError(`Cannot ${attempt} "${directory}" of ${this.machine}: it was never opened`)
    }
    if (found.holder !== undefined) {
      throw new RangeError(
        `Cannot ${attempt} "${directory}" of ${this.machine}: "${found.holder.name}" holds it; kill that first`,
      )
    }
    return found
  }
}
