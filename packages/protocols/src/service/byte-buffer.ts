/**
 * Numbers, texts and bytes one behind the other, for the hot half of the store's encoding and for its snapshots. Numbers are
 * varints of seven bits, lowest first; a text says whether it is one byte a character, which is read several times faster.
 */

type Slice = (this: Uint8Array, from: number, to: number) => string
type Write = (this: Uint8Array, text: string, at: number, bytes: number) => number

/**
 * What `Buffer.toString` and `Buffer.write` do in the end. They take any Uint8Array, so nothing has to be made a Buffer first:
 * two to three times faster for texts of a few hundred bytes (bench: raft). Node has them for good, its types have not.
 */
const { latin1Slice, utf8Slice, latin1Write, utf8Write } = Buffer.prototype as unknown as {
  readonly latin1Slice: Slice
  readonly utf8Slice: Slice
  readonly latin1Write: Write
  readonly utf8Write: Write
}

/** Values are kept as strings of one byte a character: they live in the heap, pin no frame, and compare as bytes do. */
export type ByteText = string

/** The bytes of `text`, new. */
export function bytesOf(text: ByteText): Uint8Array {
  const { length } = text
  const bytes = newBytes(length)
  latin1Write.call(bytes, text, 0, length)
  return bytes
}

/** `bytes` as a string of one byte a character. */
export function byteText(bytes: Uint8Array): ByteText {
  return latin1Slice.call(bytes, 0, bytes.length)
}

/** So many characters are written one by one. */
const shortText = 40

function isAscii(text: string): boolean {
  for (let index = 0; index < text.length; index++) if (text.charCodeAt(index) >= 0x80) return false
  return true
}

/** Where small bytes come from, as Node's pool: memory of its own costs more than all that is done with it. */
const poolBytes = 8_192
let pool = new ArrayBuffer(poolBytes)
let poolAt = 0

function newBytes(length: number): Uint8Array {
  if (length > poolBytes / 4) return new Uint8Array(length)
  if (poolAt + length > poolBytes) {
    pool = new ArrayBuffer(poolBytes)
    poolAt = 0
  }
  const bytes = new Uint8Array(pool, poolAt, length)
  // Whoever reads numbers in it wants them where numbers may lie.
  poolAt = (poolAt + length + 7) & ~7
  return bytes
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
    const { length } = value
    if (length <= shortText && this.#shortText(value)) return
    if (isAscii(value)) {
      this.number(length * 2)
      this.#raw(value, length)
      return
    }
    const bytes = Buffer.byteLength(value, 'utf8')
    this.number(bytes * 2 + 1)
    this.#reserve(bytes)
    this.#at += utf8Write.call(this.#buffer, value, this.#at, bytes)
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

  /** Leaves room for the length of what follows. Gives the place, for `close`. */
  open(): number {
    this.#reserve(4)
    this.#at += 4
    return this.#at
  }

  /** Says at `place` how many bytes were written since. */
  close(place: number): void {
    this.#buffer.writeUInt32LE(this.#at - place, place - 4)
  }

  /** What was written between `open` and `close` at this place: a view, good until more is written. */
  part(place: number): Uint8Array {
    return this.#buffer.subarray(place, place + this.#buffer.readUInt32LE(place - 4))
  }

  /** Forgets what was written behind the first `size` bytes. */
  cut(size: number): void {
    this.#at = size
  }

  /** What was written so far: a view, good until more is written. */
  view(from = 0): Uint8Array {
    return this.#buffer.subarray(from, this.#at)
  }

  /** What was written. The writer is used up. */
  take(): Uint8Array {
    return this.#buffer.subarray(0, this.#at)
  }

  /** Most keys: calling Node for them costs more than going over them. False: it has other than ASCII. */
  #shortText(value: string): boolean {
    const { length } = value
    this.#reserve(length + 1)
    const buffer = this.#buffer
    const at = this.#at + 1
    for (let index = 0; index < length; index++) {
      const code = value.charCodeAt(index)
      if (code >= 0x80) return false
      buffer[at + index] = code
    }
    // A length of one byte.
    buffer[at - 1] = length * 2
    this.#at = at + length
    return true
  }

  #raw(value: string, length: number): void {
    this.#reserve(length)
    this.#at += latin1Write.call(this.#buffer, value, this.#at, length)
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
  #bytes: Uint8Array
  #at: number
  #end: number

  constructor(bytes: Uint8Array, at = 0, end: number = bytes.length) {
    this.#bytes = bytes
    this.#at = at
    this.#end = end
  }

  get isAtEnd(): boolean {
    return this.#at >= this.#end
  }

  /** Begins to read others: one reader serves a hot path. */
  reset(bytes: Uint8Array, at = 0, end: number = bytes.length): void {
    this.#bytes = bytes
    this.#at = at
    this.#end = end
  }

  /** Lets go of what was read. */
  release(): void {
    this.#bytes = nothing
    this.#at = 0
    this.#end = 0
  }

  byte(): number {
    if (this.#at >= this.#end) throw cutShort()
    return this.#bytes[this.#at++] as number
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
    const from = this.#skip(bytes)
    return header % 2 === 0
      ? latin1Slice.call(this.#bytes, from, from + bytes)
      : utf8Slice.call(this.#bytes, from, from + bytes)
  }

  value(): ByteText {
    const bytes = this.number()
    const from = this.#skip(bytes)
    return latin1Slice.call(this.#bytes, from, from + bytes)
  }

  /** What `value` reads, as bytes of its own. */
  valueBytes(): Uint8Array {
    const length = this.number()
    const from = this.#skip(length)
    const bytes = newBytes(length)
    // A view of its own costs more than so many steps.
    if (length <= 64) for (let i = 0; i < length; i++) bytes[i] = this.#bytes[from + i] as number
    else bytes.set(this.#bytes.subarray(from, from + length))
    return bytes
  }

  /** Everything that is left, as a text of bytes. */
  restValue(): ByteText {
    const from = this.#skip(this.#end - this.#at)
    return latin1Slice.call(this.#bytes, from, this.#end)
  }

  /** Everything that is left: a view. */
  rest(): Uint8Array {
    return this.part(this.#end - this.#at)
  }

  /** So many bytes: a view. */
  part(bytes: number): Uint8Array {
    const from = this.#skip(bytes)
    return this.#bytes.subarray(from, from + bytes)
  }

  #skip(bytes: number): number {
    const from = this.#at
    if (from + bytes > this.#end) throw cutShort()
    this.#at = from + bytes
    return from
  }
}

const nothing = new Uint8Array(0)

function cutShort(): RangeError {
  return new RangeError('The bytes end in the middle of a value')
}
