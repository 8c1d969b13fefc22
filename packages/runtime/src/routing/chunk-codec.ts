/**
 * Messages to pieces and back. A small message is one piece as it is: whatever carries it encodes it. A large one is
 * encoded here and its bytes are cut, so that no piece is larger than a frame and others may pass between two of them.
 */
import type { Message } from '../actor/envelope.ts'
import { Ref } from '../actor/ref.ts'
import { valueDepthMax } from '../codec/cbor-writer.ts'
import { decode, encode } from '../codec/codec.ts'
import { UnresolvedRef } from '../codec/encodable-ref.ts'
import { cborLimits, inspectCbor } from '../codec/inspect-cbor.ts'
import { uncodable } from '../codec/uncodable.ts'
import type { Chunk } from './chunk-assembly.ts'

/** What one piece carries. */
export type PieceBody =
  | { readonly type: 'message'; readonly message: Message }
  | ({ readonly type: 'chunk' } & Chunk)

/** Refs that a message in chunks may hold: they travel beside its bytes, in its first chunk. */
export const chunkedRefsMax = 256

/**
 * The pieces of `message`: one, unless it may take more than `chunkBytes`. A string says why it cannot be sent. O(size).
 */
export function cutMessage(
  message: Message,
  chunkBytes: number,
  messageBytesMax: number,
): readonly PieceBody[] | string {
  // One level is taken by the message around it.
  const fault = uncodable(message, valueDepthMax - 1)
  if (fault !== undefined) {
    return `${fault.path === '' ? 'it' : `field "${fault.path}"`} is ${fault.what}, which cannot be sent`
  }
  if (sizeBound(message, chunkBytes) <= chunkBytes) return [{ type: 'message', message }]
  const refs: Ref[] = []
  const bytes = encode(withoutRefs(message, refs))
  if (bytes.length > messageBytesMax) {
    return `it takes ${bytes.length} bytes and may take messageBytesMax = ${messageBytesMax}; send less at a time, or raise it`
  }
  if (refs.length > chunkedRefsMax) {
    return `it holds ${refs.length} refs, and one that is sent in chunks may hold ${chunkedRefsMax}; send less at a time`
  }
  if (inspectCbor(bytes, limitsOf(messageBytesMax)) !== undefined) {
    return 'it has more elements than a receiver would take; send less at a time'
  }
  const count = Math.ceil(bytes.length / chunkBytes)
  if (count === 1 && refs.length === 0) return [{ type: 'message', message }]
  return Array.from({ length: count }, (_, index) => ({
    type: 'chunk',
    index,
    count,
    bytes: bytes.subarray(index * chunkBytes, (index + 1) * chunkBytes),
    refs: index === 0 ? refs : [],
  }))
}

/**
 * The message that chunks were cut from.
 *
 * @throws {Error} if the bytes are not what `cutMessage` makes
 */
export function joinMessage(
  parts: readonly Uint8Array[],
  refs: readonly unknown[],
  messageBytesMax: number,
): unknown {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    bytes.set(part, at)
    at += part.length
  }
  const fault = inspectCbor(bytes, limitsOf(messageBytesMax))
  if (fault !== undefined)
    throw new Error(`its bytes are not CBOR of ours (${fault.code} at ${fault.offset})`)
  return decode(bytes, ([place]) => {
    const ref = typeof place === 'number' ? refs[place] : undefined
    if (ref === undefined) throw new Error(`it refers to an actor that did not come with it`)
    return ref
  })
}

/** An element takes a byte at least, and memory a multiple of that: a large message may have more, but not one a byte. */
function limitsOf(messageBytesMax: number): { readonly slotsMax: number } {
  return { slotsMax: Math.max(cborLimits.slotsMax, messageBytesMax >>> 3) }
}

/** At least as many bytes as `value` takes; stops counting above `enough`. `value` has no cycle: see `uncodable`. */
export function sizeBound(value: unknown, enough: number): number {
  switch (typeof value) {
    case 'string':
      // A code unit takes at most three bytes.
      return 5 + 3 * value.length
    case 'object':
      break
    default:
      return 9
  }
  if (value === null) return 1
  if (value instanceof Uint8Array) return 5 + value.length
  if (value instanceof Ref) return 1_024
  let bytes = 5
  if (Array.isArray(value)) {
    for (let index = 0; index < value.length && bytes <= enough; index++) {
      bytes += sizeBound(value[index], enough - bytes)
    }
    return bytes
  }
  for (const [key, field] of Object.entries(value)) {
    bytes += 5 + 3 * key.length + sizeBound(field, enough - bytes)
    if (bytes > enough) break
  }
  return bytes
}

/** `value` with a number in place of each ref, which goes to `refs`. Copies only what holds one. */
function withoutRefs(value: unknown, refs: Ref[]): unknown {
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return value
  if (value instanceof Ref) return new UnresolvedRef([refs.push(value) - 1])
  if (Array.isArray(value)) {
    const list: unknown[] = value.map((item) => withoutRefs(item, refs))
    return list.some((item, index) => item !== value[index]) ? list : value
  }
  const fields = Object.entries(value).map(([key, field]) => [key, withoutRefs(field, refs)] as const)
  const hasRef = fields.some(([key, field]) => field !== (value as Readonly<Record<string, unknown>>)[key])
  return hasRef ? Object.fromEntries(fields) : value
}
