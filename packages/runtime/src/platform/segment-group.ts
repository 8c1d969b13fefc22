/** The calls that become durable together, gathered as the record that they will be. */
import { crc32c } from './crc32c.ts'
import type { Segment } from './segment-file.ts'
import { lostLength, type SegmentIndex } from './segment-index.ts'
import {
  changeHeaderBytes,
  changeKinds,
  recordBytes,
  recordHeaderBytes,
  sealRecord,
} from './segment-record.ts'
import type { RecordHeader } from './segment-record.ts'
import type { StoreError } from './store-error.ts'
import { keyBytesMax, writeKey } from './store-key.ts'

/** What a group's buffers keep at most for the next one. */
const keptBytesMax = 2_097_152
const deletedLength = -2

export class SegmentGroup {
  done: Promise<void> = Promise.resolve()
  resolve: () => void = ignore
  reject: (error: StoreError) => void = ignore
  readonly #keys: string[] = []
  readonly #lengths: number[] = []
  readonly #crcs: number[] = []
  /** The record: its header's place and the values. */
  #values = new Uint8Array(65_536)
  #valuesEnd = recordHeaderBytes
  #changes = new Uint8Array(4_096)
  #changesEnd = 0

  /** Empty again, with a promise of its own. */
  begin(): void {
    this.#keys.length = 0
    this.#lengths.length = 0
    this.#crcs.length = 0
    this.#valuesEnd = recordHeaderBytes
    this.#changesEnd = 0
    this.done = new Promise((resolve, reject) => {
      this.resolve = resolve
      this.reject = reject
    })
  }

  /** Its record is written: gives back the memory of a large one, which the next one may not need for long. */
  end(): void {
    if (this.#values.length > keptBytesMax) this.#values = new Uint8Array(65_536)
    if (this.#changes.length > keptBytesMax) this.#changes = new Uint8Array(4_096)
  }

  get bytes(): number {
    return this.#valuesEnd + this.#changesEnd
  }

  get count(): number {
    return this.#keys.length
  }

  /** What the record takes in a file. */
  get recordBytes(): number {
    return recordBytes(this.#sizes())
  }

  put(key: string, value: Uint8Array): void {
    const keyAt = this.#beginChange(key)
    const at = this.#valuesEnd
    this.#values = withRoom(this.#values, at, value.byteLength)
    this.#values.set(value, at)
    this.#valuesEnd = at + value.byteLength
    const keyCrc = crc32c(this.#changes.subarray(keyAt, this.#changesEnd))
    this.#endChange(key, changeKinds.put, keyAt, value.byteLength, crc32c(value, keyCrc), value.byteLength)
  }

  delete(key: string): void {
    this.#endChange(key, changeKinds.delete, this.#beginChange(key), 0, 0, deletedLength)
  }

  /** Its value is not what was written, and goes on being so. */
  lose(key: string): void {
    this.#endChange(key, changeKinds.lost, this.#beginChange(key), 0, 0, lostLength)
  }

  /** The whole record, of `recordBytes`, for `at` in `segment`. */
  seal(
    numbers: Pick<RecordHeader, 'number' | 'oldest' | 'newest'>,
    segment: Segment,
    at: number,
  ): Uint8Array {
    const sizes = this.#sizes()
    const changesAt = this.#valuesEnd
    this.#values = withRoom(this.#values, changesAt, this.#changesEnd + recordHeaderBytes)
    this.#values.set(this.#changes.subarray(0, this.#changesEnd), changesAt)
    sealRecord(this.#values, { ...numbers, ...sizes }, at, segment.seed)
    return this.#values
  }

  /** The record at `at` in `segment` is durable. */
  apply(index: SegmentIndex, segment: Segment, at: number): void {
    let valueAt = at + recordHeaderBytes
    const { length: count } = this.#keys
    for (let i = 0; i < count; i++) {
      const key = this.#keys[i] as string
      const length = this.#lengths[i] as number
      const crc = this.#crcs[i] as number
      const old =
        length === deletedLength ? index.delete(key) : index.set({ key, segment, at: valueAt, length, crc })
      old?.segment.countOut(key, old.length)
      if (length === deletedLength) continue
      segment.countIn(key, length)
      if (length > 0) valueAt += length
    }
  }

  #sizes(): Pick<RecordHeader, 'valuesBytes' | 'changesBytes'> {
    return { valuesBytes: this.#valuesEnd - recordHeaderBytes, changesBytes: this.#changesEnd }
  }

  /** Writes the key. Returns where. */
  #beginChange(key: string): number {
    const keyAt = this.#changesEnd + changeHeaderBytes
    this.#changes = withRoom(this.#changes, this.#changesEnd, changeHeaderBytes + keyBytesMax(key))
    this.#changesEnd = keyAt + writeKey('user', key, this.#changes.subarray(keyAt))
    return keyAt
  }

  #endChange(key: string, kind: number, keyAt: number, bytes: number, crc: number, length: number): void {
    const changes = this.#changes
    const at = keyAt - changeHeaderBytes
    changes[at] = kind
    writeU32(changes, at + 1, this.#changesEnd - keyAt)
    writeU32(changes, at + 5, bytes)
    writeU32(changes, at + 9, crc)
    this.#keys.push(key)
    this.#lengths.push(length)
    this.#crcs.push(crc)
  }
}

function withRoom(bytes: Uint8Array<ArrayBuffer>, used: number, more: number): Uint8Array<ArrayBuffer> {
  if (used + more <= bytes.length) return bytes
  const larger = new Uint8Array(Math.max(used + more, 2 * bytes.length))
  larger.set(bytes.subarray(0, used))
  return larger
}

function writeU32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value & 0xff
  bytes[at + 1] = (value >>> 8) & 0xff
  bytes[at + 2] = (value >>> 16) & 0xff
  bytes[at + 3] = value >>> 24
}

function ignore(): void {
  // Until it begins.
}
