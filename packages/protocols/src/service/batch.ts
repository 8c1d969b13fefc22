/**
 * Several commands, or several reads, as one: what a client has to ask at one moment travels together, costs one ask and one
 * entry of the log, and shares one stamp of the session. A batch of one is that one, without anything around it; any other
 * begins with the byte by which its codec tells batches.
 */
import { ByteWriter } from './byte-buffer.ts'

/** Bytes in front of each part. */
export const partHeadBytes = 4

/** Gathers the bytes of a batch, part by part. */
export class BatchWriter {
  readonly #writer: ByteWriter
  #first = 0
  #count = 0

  /** `tag`: the first byte of a batch; `bytes`: how much is likely to be written. */
  constructor(tag: number, bytes: number) {
    this.#writer = new ByteWriter(bytes)
    this.#writer.byte(tag)
  }

  get size(): number {
    return this.#writer.size
  }

  /** Adds what `write` writes. When it throws nothing was added. Gives where it ends: `part` finds it by that. Hot. */
  add<T>(write: (writer: ByteWriter, value: T) => void, value: T): number {
    const writer = this.#writer
    const before = writer.size
    const place = writer.open()
    try {
      write(writer, value)
    } catch (error) {
      writer.cut(before)
      throw error
    }
    writer.close(place)
    if (this.#count++ === 0) this.#first = place
    return place
  }

  /** The part that was added at `place`: a view. */
  part(place: number): Uint8Array {
    return this.#writer.part(place)
  }

  /** The bytes to send: a view. Nothing is added after it. */
  take(): Uint8Array {
    return this.#count === 1 ? this.#writer.view(this.#first) : this.#writer.view()
  }
}

/** Goes over the parts of a batch that nobody vouches for. One serves a hot path. */
export class BatchWalk {
  readonly #partsMax: number
  #bytes: Uint8Array = nothing
  /** Where the part in hand begins and ends. */
  from = 0
  to = 1
  count = 0

  constructor(partsMax: number) {
    this.#partsMax = partsMax
  }

  /** Begins with these bytes, whose first is the tag of batches. Says what is wrong with them. */
  begin(bytes: Uint8Array): string | undefined {
    this.#bytes = bytes
    this.count = 0
    let at = 1
    while (at < bytes.length) {
      at += partHeadBytes + lengthAt(bytes, at)
      if (!(at <= bytes.length)) return 'the bytes of the batch end in the middle of a part'
      if (++this.count > this.#partsMax) return `a batch has at most ${this.#partsMax} parts`
    }
    this.from = 0
    this.to = 1
    return this.count === 0 ? 'a batch has one part at least' : undefined
  }

  /** Goes to the next part; false: there is none. */
  next(): boolean {
    if (this.to >= this.#bytes.length) return false
    this.from = this.to + partHeadBytes
    this.to = this.from + lengthAt(this.#bytes, this.to)
    return true
  }

  /** Lets go of the bytes. */
  release(): void {
    this.#bytes = nothing
  }
}

/** Beyond all that there is when the bytes are cut short. */
function lengthAt(bytes: Uint8Array, at: number): number {
  if (at + partHeadBytes > bytes.length) return Number.NaN
  const low = (bytes[at] as number) + (bytes[at + 1] as number) * 0x1_00
  return low + (bytes[at + 2] as number) * 0x1_00_00 + (bytes[at + 3] as number) * 0x1_00_00_00
}

const nothing = new Uint8Array(0)
