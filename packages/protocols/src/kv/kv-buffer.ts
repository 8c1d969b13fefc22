/**
 * Numbers, texts and bytes one behind the other, for the hot half of the store's encoding and for its snapshots. Numbers are
 * varints of seven bits, lowest first; a text says whether it is one byte a character, which is read several times faster.
 */

/** Values are kept as strings of one byte a character: they live in the heap, pin no frame, and compare as bytes do. */
export type ByteText = string

const latin = 'latin1'

/** The bytes of `text`, new. */
export function bytesOf(text: ByteText): Uint8Array {
  const { buffer, byteOffset, byteLength } = Buffer.from(text, latin)
  return new Uint8Array(buffer, byteOffset, byteLength)
}

/** `bytes` as a string of one byte a character. */
export function byteText(bytes: Uint8Array): ByteText {
  return bufferOf(bytes).toString(latin)
}

/** The same memory as a Buffer. */
export function bufferOf(bytes: Uint8Array): Buffer {
  return bytes instanceof Buffer ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

/** Bytes that `value` takes as a varint. */
export function varintBytes(value: number): number {
  let count = 1
  for (let rest = value; rest >= 0x80; rest /= 0x80) count++
  return count
}

function isAscii(text: string): boolean {
  for (let index = 0; index < text.length; index++) if (text.charCodeAt(index) >= 0x80) return false
  return true
}

/** Writes into a buffer that grows. */
export class ByteWriter {
  #buffer: Buffer
  #at = 0

  /** `bytes`: how much is likely to be written. */
  constructor(bytes = 256) {
    this.#buffer = Buffer.allocUnsafe(bytes)
  }

  get size(): number {
    return this.#at
  }

  byte(value: number): void {
    this.#reserve(1)
    this.#buffer[this.#at++] = value
  }

  /** An integer from 0 to 2^53 - 1. */
  number(value: number): void {
    this.#reserve(8)
    let rest = value
    while (rest >= 0x80) {
      this.#buffer[this.#at++] = (rest % 0x80) + 0x80
      rest = Math.floor(rest / 0x80)
    }
    this.#buffer[this.#at++] = rest
  }

  /** A well-formed string. */
  text(value: string): void {
    if (isAscii(value)) {
      this.number(value.length * 2)
      this.#raw(value, value.length)
      return
    }
    const bytes = Buffer.byteLength(value, 'utf8')
    this.number(bytes * 2 + 1)
    this.#reserve(bytes)
    this.#at += this.#buffer.write(value, this.#at, bytes, 'utf8')
  }

  /** Bytes that are kept as a text, with their length. */
  value(value: ByteText): void {
    this.number(value.length)
    this.#raw(value, value.length)
  }

  /** Bytes, without their length: they are the last. */
  rest(bytes: Uint8Array): void {
    this.#reserve(bytes.length)
    this.#buffer.set(bytes, this.#at)
    this.#at += bytes.length
  }

  /** What was written. The writer is used up. */
  take(): Uint8Array {
    return this.#buffer.subarray(0, this.#at)
  }

  #raw(value: string, length: number): void {
    this.#reserve(length)
    this.#at += this.#buffer.write(value, this.#at, length, latin)
  }

  #reserve(bytes: number): void {
    const needed = this.#at + bytes
    if (needed <= this.#buffer.length) return
    const bigger = Buffer.allocUnsafe(Math.max(needed, this.#buffer.length * 2))
    this.#buffer.copy(bigger, 0, 0, this.#at)
    this.#buffer = bigger
  }
}

/** Reads what a `ByteWriter` wrote. Every method throws a RangeError when the bytes are not that. */
export class ByteReader {
  #buffer: Buffer
  #at: number

  constructor(bytes: Uint8Array, at = 0) {
    this.#buffer = bufferOf(bytes)
    this.#at = at
  }

  get isAtEnd(): boolean {
    return this.#at >= this.#buffer.length
  }

  /** Begins to read others: one reader serves a hot path. */
  reset(bytes: Uint8Array, at = 0): void {
    this.#buffer = bufferOf(bytes)
    this.#at = at
  }

  /** Lets go of what was read. */
  release(): void {
    this.#buffer = nothing
    this.#at = 0
  }

  byte(): number {
    const value = this.#buffer[this.#at++]
    if (value === undefined) throw cutShort()
    return value
  }

  number(): number {
    const first = this.byte()
    if (first < 0x80) return first
    let value = first - 0x80
    let scale = 0x80
    for (;;) {
      const next = this.byte()
      value += (next & 0x7f) * scale
      if (next < 0x80) break
      scale *= 0x80
      if (scale > 2 ** 49) throw new RangeError('A number has more than eight bytes')
    }
    if (value > Number.MAX_SAFE_INTEGER) throw new RangeError('A number is above 2^53')
    return value
  }

  text(): string {
    const header = this.number()
    const bytes = Math.floor(header / 2)
    return this.#slice(bytes, header % 2 === 0 ? latin : 'utf8')
  }

  value(): ByteText {
    return this.#slice(this.number(), latin)
  }

  /** Everything that is left, as a text of bytes. */
  restValue(): ByteText {
    return this.#slice(this.#buffer.length - this.#at, latin)
  }

  /** Everything that is left: a view. */
  rest(): Uint8Array {
    const rest = this.#buffer.subarray(this.#at)
    this.#at = this.#buffer.length
    return rest
  }

  #slice(bytes: number, encoding: 'latin1' | 'utf8'): string {
    const from = this.#at
    const to = from + bytes
    if (to > this.#buffer.length) throw cutShort()
    this.#at = to
    return this.#buffer.toString(encoding, from, to)
  }
}

const nothing = Buffer.alloc(0)

function cutShort(): RangeError {
  return new RangeError('The bytes end in the middle of a value')
}
