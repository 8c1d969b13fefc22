/**
 * The structural walk before decode. Bytes from outside are read once, header by header, before anything is
 * allocated for them: a decoder that trusts a declared length, recurses as deep as it is told, or reads tags
 * that nobody here writes, can be brought down by forty bytes.
 *
 * It also makes sure that the decoder sees what the walk saw. Text must be valid UTF-8, because a decoder
 * that reads past the end of a cut-off character would go on in the middle of an item that nobody inspected.
 *
 * Hot path: every received frame. Iterative, no allocation unless it finds a fault (benchmark: wire inspect).
 */
import { refTag } from './encodable-ref.ts'

/** What `inspectCbor` allows. */
export interface CborLimits {
  /** Levels of nesting; a list, an object and the parts of a ref count one each. 1 to 256. @default 32 */
  readonly depthMax?: number | undefined
  /**
   * Slots over all of the bytes: one per list element, two per object property. It bounds what decoding
   * allocates before it has read the elements. @default 262_144
   */
  readonly slotsMax?: number | undefined
}

/** Defaults of `CborLimits`. */
export const cborLimits = Object.freeze({ depthMax: 32, slotsMax: 262_144 })

/** What was wrong. `truncated` may become right with more bytes, the others never. */
export type CborFaultCode =
  | 'truncated'
  | 'trailing-bytes'
  | 'too-deep'
  | 'too-many-slots'
  | 'indefinite-length'
  | 'reserved-header'
  | 'unknown-tag'
  | 'unassigned-simple-value'
  | 'key-not-text'
  | 'forbidden-key'
  | 'invalid-utf8'

/** What was wrong, and where. */
export interface CborFault {
  readonly code: CborFaultCode
  /** Byte at which the offending item begins. */
  readonly offset: number
}

const depthEver = 256
/**
 * Scratch for the walk, which is synchronous and calls nobody: items left in each open container. A map is
 * stored as the complement of its count, so that one array holds both.
 */
const open = new Int32Array(depthEver + 1)

/**
 * Walks the one CBOR item that `bytes` must be, without decoding it. Returns undefined when it is whole,
 * within the limits, and made only of what `encode` writes: integers, floats, byte and text strings, lists,
 * maps with text keys, false, true, null, undefined, and the ref tag around a list.
 */
export function inspectCbor(bytes: Uint8Array, limits: CborLimits = cborLimits): CborFault | undefined {
  const depthMax = Math.min(limits.depthMax ?? cborLimits.depthMax, depthEver)
  const slotsMax = limits.slotsMax ?? cborLimits.slotsMax
  const end = bytes.length
  let position = 0
  let depth = 0
  let slots = 0
  /**
   * Items left in the innermost container; in a map, keys and values alternate, and an even number left means
   * a key.
   */
  let left = 1
  let inMap = false
  let afterTag = false

  for (;;) {
    while (left === 0) {
      if (depth === 0) return position === end ? undefined : fault('trailing-bytes', position)
      depth--
      const outer = open[depth] as number
      inMap = outer < 0
      left = inMap ? ~outer : outer
    }
    if (position >= end) return fault('truncated', position)
    const at = position
    const initial = bytes[position++] as number
    const major = initial >> 5
    let argument = initial & 0x1f
    if (argument > 23) {
      if (argument === 24) {
        if (position >= end) return fault('truncated', at)
        argument = bytes[position++] as number
      } else if (argument === 25) {
        if (position + 2 > end) return fault('truncated', at)
        argument = ((bytes[position] as number) << 8) | (bytes[position + 1] as number)
        position += 2
      } else if (argument === 26) {
        if (position + 4 > end) return fault('truncated', at)
        argument = uint32(bytes, position)
        position += 4
      } else if (argument === 27) {
        if (position + 8 > end) return fault('truncated', at)
        argument = uint32(bytes, position) * 0x1_0000_0000 + uint32(bytes, position + 4)
        position += 8
      } else {
        return fault(argument === 31 ? 'indefinite-length' : 'reserved-header', at)
      }
    }
    const isKey = inMap && (left & 1) === 0
    if (isKey && major !== 3) return fault('key-not-text', at)
    if (afterTag && major !== 4) return fault('unknown-tag', at)
    switch (major) {
      case 0:
      case 1:
        left--
        break
      case 2:
        if (argument > end - position) return fault('truncated', at)
        position += argument
        left--
        break
      case 3: {
        if (argument > end - position) return fault('truncated', at)
        const until = position + argument
        if (isKey && isForbiddenAt(bytes, position, argument)) return fault('forbidden-key', at)
        while (position < until && (bytes[position] as number) < 0x80) position++
        if (position < until && !isUtf8(bytes, position, until)) return fault('invalid-utf8', at)
        position = until
        left--
        break
      }
      case 4:
      case 5: {
        const items = major === 4 ? argument : argument * 2
        if (items > end - position) return fault('truncated', at)
        slots += items
        if (slots > slotsMax) return fault('too-many-slots', at)
        if (depth >= depthMax) return fault('too-deep', at)
        open[depth++] = inMap ? ~(left - 1) : left - 1
        left = items
        inMap = major === 5
        afterTag = false
        break
      }
      case 6:
        if (argument !== refTag) return fault('unknown-tag', at)
        afterTag = true
        break
      default: {
        const kind = initial & 0x1f
        // 20 to 23: false, true, null, undefined. 25 to 27: floats. Every other simple value is unassigned.
        if (kind < 20 || kind === 24) return fault('unassigned-simple-value', at)
        left--
      }
    }
  }
}

function uint32(bytes: Uint8Array, at: number): number {
  return (
    (((bytes[at] as number) << 24) |
      ((bytes[at + 1] as number) << 16) |
      ((bytes[at + 2] as number) << 8) |
      (bytes[at + 3] as number)) >>>
    0
  )
}

const forbiddenKeys = ['__proto__', 'prototype', 'constructor'].map((key) => new TextEncoder().encode(key))

function isForbiddenAt(bytes: Uint8Array, at: number, length: number): boolean {
  if (length !== 9 && length !== 11) return false
  for (const key of forbiddenKeys) {
    if (key.length !== length) continue
    let index = 0
    while (index < length && bytes[at + index] === key[index]) index++
    if (index === length) return true
  }
  return false
}

/** Well-formed UTF-8 as in Unicode table 3-7: no overlong form, no surrogate, nothing above U+10FFFF. */
function isUtf8(bytes: Uint8Array, from: number, until: number): boolean {
  let at = from
  while (at < until) {
    const first = bytes[at++] as number
    if (first < 0x80) continue
    let more = 1
    let low = 0x80
    let high = 0xbf
    if (first >= 0xc2 && first <= 0xdf) more = 1
    else if (first >= 0xe0 && first <= 0xef) {
      more = 2
      if (first === 0xe0) low = 0xa0
      else if (first === 0xed) high = 0x9f
    } else if (first >= 0xf0 && first <= 0xf4) {
      more = 3
      if (first === 0xf0) low = 0x90
      else if (first === 0xf4) high = 0x8f
    } else return false
    if (at + more > until) return false
    for (; more > 0; more--) {
      const next = bytes[at++] as number
      if (next < low || next > high) return false
      low = 0x80
      high = 0xbf
    }
  }
  return true
}

function fault(code: CborFaultCode, offset: number): CborFault {
  return { code, offset }
}
