/**
 * Writes CBOR (RFC 8949) straight into a buffer.
 *
 * cbor-x reads our bytes; it does not write them. Its encoder accepts too much (a Date becomes tag 1, a Set
 * tag 258, an iterable an indefinite array, a class instance a bare map, a lone surrogate a broken
 * character), and then the receiver, who refuses such bytes, would close a link for a mistake of one sender.
 * It also gives no way to take back what was begun. This writer refuses at the first value outside the set,
 * leaves out undefined properties, can rewind to a mark, and counts slots, so that a frame is cut exactly and
 * one bad message never costs its neighbours.
 *
 * Hot path: `value`, `text` and the integer writers allocate nothing but buffer chunks (benchmark: wire
 * encode).
 */
import { CodecError } from './codec-error.ts'
import { EncodableRef, refTag } from './encodable-ref.ts'

/**
 * How deep a value may nest: lists, objects and refs count one each. A frame adds two levels around a message
 * and a ref two of its own, which keeps every frame inside the reader's limit of 32.
 */
export const valueDepthMax = 28

/** Keys that no object may have: in the hands of careless code they reach a prototype. */
export function isForbiddenKey(key: string): boolean {
  const length = key.length
  return (
    (length === 9 || length === 11) && (key === '__proto__' || key === 'prototype' || key === 'constructor')
  )
}

/** Bytes of a full chunk; frames are cut out of it one after the other until it is used up. */
const chunkBytes = 65_536
/** And of the first one: a hundred nodes keep ten thousand writers, most of which only ever say that they are alive. */
const firstChunkBytes = 1_024
/** A value smaller than this many characters is written by a loop, which beats the call into the engine. */
const shortTextMax = 64
const loneSurrogate = /\p{Surrogate}/u
const objectPrototype: unknown = Object.prototype
const bigintMin = -(2n ** 64n)
const bigintMax = 2n ** 64n - 1n
/** Levels that the parts of a ref may use, whatever surrounds the ref. */
const refDepth = 2

/**
 * A growing buffer and the position in it. Bytes between `mark()` and the position are the item being built;
 * `cut()` hands them out and begins the next one. Handed-out views share a chunk, which the writer never
 * writes again: they may be kept, but must be copied before their buffer is transferred.
 */
export class CborWriter {
  #buffer: Buffer = Buffer.allocUnsafeSlow(0)
  #view: DataView = new DataView(this.#buffer.buffer)
  #start = 0
  #position = 0
  #slots = 0
  #bytesMax: number
  #nextChunkBytes = firstChunkBytes

  /**
   * `bytesMax`: an item that grows past it throws `RUNTIME_ENCODING_TOO_LARGE` the next time the buffer must
   * grow.
   */
  constructor(bytesMax = Number.POSITIVE_INFINITY) {
    this.#bytesMax = bytesMax
  }

  /** Bytes in the item being built. */
  get size(): number {
    return this.#position - this.#start
  }

  /** Slots declared since the last `cut`: one per list element, two per object property. */
  get slots(): number {
    return this.#slots
  }

  /** Drops what was written after `size` and `slots` had these values. */
  rewind(size: number, slots: number): void {
    this.#position = this.#start + size
    this.#slots = slots
  }

  /** Puts `count` zero bytes in at `size`, moving what follows. Costs a copy of what follows. */
  insert(size: number, count: number): void {
    this.#reserve(count)
    const at = this.#start + size
    this.#buffer.copyWithin(at + count, at, this.#position)
    this.#buffer.fill(0, at, at + count)
    this.#position += count
  }

  /** Overwrites one byte that is already written. */
  patch(size: number, byte: number): void {
    this.#buffer[this.#start + size] = byte
  }

  /**
   * Hands out the first `size` bytes of the item; what follows becomes the beginning of the next. `slots`
   * starts again at zero.
   */
  cut(size: number = this.size): Uint8Array {
    const from = this.#start
    const until = from + size
    this.#start = until
    this.#slots = 0
    const bytes = this.#buffer.subarray(from, until)
    // A chunk that one large item made is not kept for the small ones after it.
    if (this.#position === until && this.#buffer.length > chunkBytes) this.#drop()
    return bytes
  }

  /** Header of a list of `length` items, which the caller writes next. */
  array(length: number): void {
    this.#slots += length
    this.#reserve(5)
    this.#head(0x80, length)
  }

  /** A non-negative integer below 2^32. */
  uint(value: number): void {
    this.#reserve(5)
    this.#head(0x00, value)
  }

  /** The value null. */
  nil(): void {
    this.#reserve(1)
    this.#buffer[this.#position++] = 0xf6
  }

  /** The value undefined: a list element that is absent. */
  absent(): void {
    this.#reserve(1)
    this.#buffer[this.#position++] = 0xf7
  }

  /**
   * A number of any kind: the shortest integer form, else 64-bit floating point. Minus zero stays minus zero.
   */
  number(value: number): void {
    this.#reserve(9)
    if (value >>> 0 === value && (value !== 0 || 1 / value > 0)) {
      this.#head(0x00, value)
    } else if (value < 0 && value >= -0x1_0000_0000 && Math.floor(value) === value) {
      this.#head(0x20, -1 - value)
    } else {
      this.#buffer[this.#position] = 0xfb
      this.#view.setFloat64(this.#position + 1, value)
      this.#position += 9
    }
  }

  /** A string. Throws `RUNTIME_NOT_ENCODABLE` when it holds half of a surrogate pair. */
  text(value: string): void {
    const length = value.length
    if (length < shortTextMax) {
      this.#reserve(length + 2)
      const buffer = this.#buffer
      const from = this.#position + (length < 24 ? 1 : 2)
      let index = 0
      for (; index < length; index++) {
        const code = value.charCodeAt(index)
        if (code >= 0x80) break
        buffer[from + index] = code
      }
      if (index === length) {
        this.#head(0x60, length)
        this.#position += length
        return
      }
    }
    this.#longText(value)
  }

  /**
   * Any value of the codec's set. `depthLeft` is how many levels it may nest.
   *
   * @throws {CodecError} `RUNTIME_NOT_ENCODABLE` at the first value outside the set; what was written stays
   * until `rewind`.
   */
  value(value: unknown, depthLeft: number = valueDepthMax): void {
    switch (typeof value) {
      case 'string':
        this.text(value)
        return
      case 'number':
        this.number(value)
        return
      case 'boolean':
        this.#reserve(1)
        this.#buffer[this.#position++] = value ? 0xf5 : 0xf4
        return
      case 'undefined':
        this.absent()
        return
      case 'object':
        if (value === null) this.nil()
        else this.#object(value, depthLeft)
        return
      case 'bigint':
        this.#bigint(value)
        return
      default:
        throw refuse(`a ${typeof value}`)
    }
  }

  #object(value: object, depthLeft: number): void {
    if (value instanceof Uint8Array) {
      this.#bytes(value)
      return
    }
    if (depthLeft <= 0) throw refuse('a value nested too deeply, or one that contains itself')
    if (Array.isArray(value)) {
      const length = value.length
      this.array(length)
      for (let index = 0; index < length; index++) this.value(value[index], depthLeft - 1)
      return
    }
    const prototype: unknown = Object.getPrototypeOf(value)
    if (prototype === objectPrototype || prototype === null) {
      this.#map(value as Readonly<Record<string, unknown>>, depthLeft - 1)
    } else if (value instanceof EncodableRef) {
      this.#reserve(3)
      this.#head(0xc0, refTag)
      const parts = value.refParts()
      this.array(parts.length)
      for (let index = 0; index < parts.length; index++) this.value(parts[index], refDepth - 1)
    } else {
      throw refuse(`an instance of ${className(value)}`)
    }
  }

  #map(value: Readonly<Record<string, unknown>>, depthLeft: number): void {
    const keys = Object.keys(value)
    const declared = keys.length
    this.#slots += declared * 2
    this.#reserve(5)
    const at = this.#position - this.#start
    this.#head(0xa0, declared)
    let written = 0
    for (let index = 0; index < declared; index++) {
      const key = keys[index] as string
      const item = value[key]
      if (item === undefined) continue
      if (isForbiddenKey(key)) throw refuse(`the key "${key}"`)
      this.text(key)
      this.value(item, depthLeft)
      written++
    }
    if (written !== declared) this.#patchLength(this.#start + at, written)
  }

  /**
   * Corrects a map's length in the width that its header has: a longer form than needed is still valid CBOR.
   */
  #patchLength(at: number, length: number): void {
    switch ((this.#buffer[at] as number) & 0x1f) {
      case 24:
        this.#buffer[at + 1] = length
        break
      case 25:
        this.#view.setUint16(at + 1, length)
        break
      case 26:
        this.#view.setUint32(at + 1, length)
        break
      default:
        this.#buffer[at] = 0xa0 | length
    }
  }

  #bytes(value: Uint8Array): void {
    const length = value.length
    this.#reserve(length + 5)
    this.#head(0x40, length)
    this.#buffer.set(value, this.#position)
    this.#position += length
  }

  #bigint(value: bigint): void {
    if (value < bigintMin || value > bigintMax) throw refuse('a bigint outside 64 bits')
    this.#reserve(9)
    this.#buffer[this.#position] = value < 0n ? 0x3b : 0x1b
    this.#view.setBigUint64(this.#position + 1, value < 0n ? -1n - value : value)
    this.#position += 9
  }

  #longText(value: string): void {
    const bytes = Buffer.byteLength(value, 'utf8')
    if (bytes !== value.length && loneSurrogate.test(value))
      throw refuse('a string with half of a surrogate pair')
    this.#reserve(bytes + 5)
    this.#head(0x60, bytes)
    this.#buffer.write(value, this.#position, bytes, 'utf8')
    this.#position += bytes
  }

  /** Initial byte and length, 1 to 5 bytes. Room for them is reserved by the caller. */
  #head(major: number, value: number): void {
    const buffer = this.#buffer
    if (value < 24) {
      buffer[this.#position++] = major | value
    } else if (value < 0x100) {
      buffer[this.#position++] = major | 24
      buffer[this.#position++] = value
    } else if (value < 0x1_0000) {
      buffer[this.#position++] = major | 25
      buffer[this.#position++] = value >>> 8
      buffer[this.#position++] = value & 0xff
    } else {
      buffer[this.#position] = major | 26
      this.#view.setUint32(this.#position + 1, value)
      this.#position += 5
    }
  }

  #reserve(bytes: number): void {
    if (this.#position + bytes > this.#buffer.length) this.#grow(bytes)
  }

  /** A new chunk that begins with the unfinished item: what was handed out keeps the old one. */
  #grow(bytes: number): void {
    const size = this.size
    if (size + bytes > this.#bytesMax + chunkBytes) {
      throw new CodecError(
        'RUNTIME_ENCODING_TOO_LARGE',
        `Cannot encode a value of at least ${size + bytes} bytes: the limit is ${this.#bytesMax}`,
      )
    }
    const buffer = Buffer.allocUnsafeSlow(Math.max(this.#nextChunkBytes, (size + bytes) * 2))
    if (this.#nextChunkBytes < chunkBytes) this.#nextChunkBytes *= 4
    this.#buffer.copy(buffer, 0, this.#start, this.#position)
    this.#buffer = buffer
    this.#view = new DataView(buffer.buffer, buffer.byteOffset, buffer.byteLength)
    this.#start = 0
    this.#position = size
  }

  #drop(): void {
    this.#buffer = Buffer.allocUnsafeSlow(0)
    this.#view = new DataView(this.#buffer.buffer)
    this.#start = 0
    this.#position = 0
  }
}

function refuse(what: string): CodecError {
  return new CodecError('RUNTIME_NOT_ENCODABLE', `Cannot encode ${what}: it would not arrive as it was sent`)
}

/** Name of the class of `value` for an error message. */
export function className(value: object): string {
  const constructor: unknown = (value as { readonly constructor?: unknown }).constructor
  return typeof constructor === 'function' && constructor.name !== '' ? constructor.name : 'a class'
}
