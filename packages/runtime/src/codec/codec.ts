/**
 * Values to bytes and back: the one encoding for links, journals, snapshots and the `codec` isolation mode.
 *
 * The set: null, undefined, booleans, numbers (all of them, minus zero and NaN too), bigints from -2^64 to
 * 2^64 - 1, well-formed strings, Uint8Array, arrays, plain objects, refs. An undefined property is left out;
 * an undefined list element stays. Nothing else: no Date, Map, Set, class instance, cycle. `uncodable` says
 * which value is outside and where.
 *
 * This file is the one importer of cbor-x, which reads; `CborWriter` writes.
 */
import { addExtension, Decoder } from 'cbor-x'

import { CborWriter } from './cbor-writer.ts'
import { CodecError } from './codec-error.ts'
import { refTag, UnresolvedRef } from './encodable-ref.ts'

/**
 * Makes what a ref is, here, from its parts. Runs while the value around it is being decoded: it must return
 * at once, and what it throws comes out of `decode` as the cause of a `CodecError`.
 */
export type RefResolver = (parts: readonly unknown[]) => unknown

/**
 * useRecords off: no shared state between frames, maps are plain objects. copyBuffers on: a small Uint8Array
 * in a message must not keep the whole frame alive, nor see the frame's memory change.
 */
const decoder = new Decoder({ useRecords: false, mapsAsObjects: true, copyBuffers: true })

/** Set only while `decode` runs, which is synchronous; nested calls put back what they found. */
let resolver: RefResolver | undefined

// cbor-x has one table of tags per process. Registering the reading half alone leaves how others encode
// untouched.
addExtension({
  tag: refTag,
  decode: (parts: readonly unknown[]) =>
    resolver === undefined ? new UnresolvedRef(parts) : resolver(parts),
} as unknown as Parameters<typeof addExtension>[0])

/** One writer for all: what it hands out are views into its chunk, so that a small value costs no buffer of its own. */
let sharedWriter: CborWriter | undefined

/**
 * The bytes of `value`. They are the caller's to keep; they may be a view into a larger buffer, so copy them
 * before transferring that buffer elsewhere.
 *
 * @throws {CodecError} `RUNTIME_NOT_ENCODABLE` if something in `value` is outside the set or nested deeper
 * than 28.
 */
export function encode(value: unknown): Uint8Array {
  // A getter in `value` may encode something else meanwhile: then the shared writer is in the middle of an item.
  const writer = sharedWriter ?? new CborWriter()
  sharedWriter = undefined
  try {
    writer.value(value)
    return writer.cut()
  } catch (error) {
    writer.rewind(0, 0)
    throw error
  } finally {
    sharedWriter = writer
  }
}
/**
 * The value that `bytes` hold. Byte strings are copied out; nothing in the result shares memory with `bytes`.
 * A ref becomes what `resolveRef` makes of its parts, or an `UnresolvedRef` without one.
 *
 * Bytes from outside go through `inspectCbor` first: this function bounds neither depth nor size, and
 * understands tags that the codec never writes.
 *
 * @throws {CodecError} `RUNTIME_NOT_DECODABLE` if the bytes are not one whole CBOR item, or a resolver threw.
 */
export function decode(bytes: Uint8Array, resolveRef?: RefResolver): unknown {
  const before = resolver
  resolver = resolveRef
  try {
    // A Buffer's slices would be Buffers again, with another toJSON and a shared pool; values carry plain
    // Uint8Arrays.
    const plain =
      bytes.constructor === Uint8Array
        ? bytes
        : new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    return decoder.decode(plain) as unknown
  } catch (error) {
    const why = error instanceof Error ? error.message : 'unknown'
    throw new CodecError(
      'RUNTIME_NOT_DECODABLE',
      `Cannot decode ${bytes.length} bytes as CBOR: ${why}`,
      error,
    )
  } finally {
    resolver = before
  }
}
