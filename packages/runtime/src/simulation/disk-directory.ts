/**
 * What one directory of a simulated disk holds: sorted entries, each with its CRC-32C, and how to go back to what it
 * held some batches ago, which is what a crash after a lying fsync and an older copy of a disk need.
 */
import { crc32c } from '../platform/crc32c.ts'
import { lowerBound } from '../platform/store-argument.ts'
import type { StoreEntry } from '../platform/store.ts'

/** An entry at rest. */
export interface DiskEntry extends StoreEntry {
  /** Of the value, as it was written. */
  readonly crc: number
}

/** The changes of a batch, by key; `undefined` deletes. The bytes are the disk's own. */
export type BatchChanges = ReadonlyMap<string, Uint8Array | undefined>

/** The sorted entries at one moment. Written in place while nobody walks it, copied when somebody does. */
export interface DiskVersion {
  readonly entries: DiskEntry[]
  readers: number
}

/** What each key of a batch held before it. */
type UndoRecord = readonly { readonly key: string; readonly was: DiskEntry | undefined }[]

/** Batches that an older copy may lack at most. */
export const diskHistoryMax = 256

export class DiskDirectory {
  readonly name: string
  /** The process that has it open. */
  holder: { readonly name: string } | undefined
  /** Bytes that keys (two per UTF-16 code unit) and values take. */
  bytes = 0
  #version: DiskVersion = { entries: [], readers: 0 }
  #history: UndoRecord[] = []
  #atRisk = 0

  constructor(name: string) {
    this.name = name
  }

  get size(): number {
    return this.#version.entries.length
  }

  /** Batches that it can go back by. */
  get depth(): number {
    return this.#history.length
  }

  /** Its last batches that an fsync has lied about: the next crash may lose them. */
  get atRisk(): number {
    return this.#atRisk
  }

  /** O(log n). */
  get(key: string): DiskEntry | undefined {
    const entry = this.#version.entries[lowerBound(this.#version.entries, key)]
    return entry !== undefined && entry.key === key ? entry : undefined
  }

  /** The `index`-th entry by key. */
  entryAt(index: number): DiskEntry | undefined {
    return this.#version.entries[index]
  }

  /** The entries of this moment. Whoever takes them takes one off `readers` at the end. */
  take(): DiskVersion {
    this.#version.readers += 1
    return this.#version
  }

  /** Bytes that it would hold with `changes`. */
  bytesWith(changes: BatchChanges): number {
    let { bytes } = this
    for (const [key, value] of changes) {
      const old = this.get(key)
      if (old !== undefined) bytes -= sizeOf(key, old.value)
      if (value !== undefined) bytes += sizeOf(key, value)
    }
    return bytes
  }

  /** Makes a batch durable, or only seem so: a true fsync takes all before it along. */
  apply(changes: BatchChanges, isLie: boolean): void {
    const undo: { readonly key: string; readonly was: DiskEntry | undefined }[] = []
    for (const [key, value] of changes) {
      undo.push({ key, was: this.get(key) })
      this.#put(key, value === undefined ? undefined : { key, value, crc: crc32c(value) })
    }
    this.#history.push(undo)
    this.#atRisk = isLie ? this.#atRisk + 1 : 0
    // What is at risk must stay undoable, however long the lie lasts.
    if (this.#history.length >= 2 * diskHistoryMax) {
      this.#history.splice(0, this.#history.length - Math.max(diskHistoryMax, this.#atRisk))
    }
  }

  /** Goes back to what it held `count` batches ago. `count` is at most `depth`. */
  goBack(count: number): void {
    for (let i = 0; i < count; i++) {
      const undo = this.#history.pop()
      if (undo === undefined) throw new RangeError(`Cannot go back ${count} batches: only ${i} are known`)
      for (const { key, was } of undo) this.#put(key, was)
    }
    this.#atRisk = Math.max(0, this.#atRisk - count)
  }

  /** What it holds now is what any crash leaves. */
  settle(): void {
    this.#atRisk = 0
  }

  /** Loses everything. */
  wipe(): void {
    this.#version = { entries: [], readers: 0 }
    this.#history = []
    this.#atRisk = 0
    this.bytes = 0
  }

  /**
   * Flips one bit of the entry at `key`, where there is one: bits 0 to 31 are its CRC, the rest its value. Bytes that
   * were read before stay as they are.
   *
   * @throws {RangeError} if `bit` is past its end
   */
  flip(key: string, bit: number): void {
    const old = this.get(key)
    if (old === undefined) return
    const { length } = old.value
    if (!(Number.isInteger(bit) && bit >= 0 && bit < 32 + 8 * length)) {
      throw new RangeError(`Cannot flip bit ${bit} of "${key}": it has bits 0 to ${31 + 8 * length}`)
    }
    if (bit < 32) {
      this.#put(key, { ...old, crc: (old.crc ^ (1 << bit)) >>> 0 })
    } else {
      const value = new Uint8Array(old.value)
      const at = (bit - 32) >>> 3
      value[at] = (value[at] as number) ^ (1 << (bit & 7))
      this.#put(key, { ...old, value })
    }
  }

  #put(key: string, entry: DiskEntry | undefined): void {
    if (this.#version.readers > 0) this.#version = { entries: this.#version.entries.slice(), readers: 0 }
    const { entries } = this.#version
    const at = lowerBound(entries, key)
    const old = entries[at]?.key === key ? entries[at] : undefined
    if (old !== undefined) this.bytes -= sizeOf(key, old.value)
    if (entry !== undefined) {
      this.bytes += sizeOf(key, entry.value)
      entries.splice(at, old === undefined ? 0 : 1, entry)
    } else if (old !== undefined) {
      entries.splice(at, 1)
    }
  }
}

function sizeOf(key: string, value: Uint8Array): number {
  return key.length * 2 + value.byteLength
}
