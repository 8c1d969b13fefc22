/** Protobuf by hand, for the few small messages of etcd that the benchmarks need. */

/** A field of a message: its number, and a string or bytes or a nested message, or a whole number up to 2^53. */
export type ProtobufField = readonly [number: number, value: string | Uint8Array | number]

/** Not for hot loops of large messages: it copies nested ones. Strings are Latin-1. */
export function encodeMessage(fields: readonly ProtobufField[]): Uint8Array {
  let bytes = 0
  for (const [, value] of fields) bytes += 11 + (typeof value === 'number' ? 0 : value.length)
  const out = Buffer.allocUnsafe(bytes)
  let at = 0
  for (const [number, value] of fields) {
    if (typeof value === 'number') {
      at = writeVarint(out, at, number * 8)
      at = writeVarint(out, at, value)
      continue
    }
    at = writeVarint(out, at, number * 8 + 2)
    at = writeVarint(out, at, value.length)
    if (typeof value === 'string') out.write(value, at, 'latin1')
    else out.set(value, at)
    at += value.length
  }
  return out.subarray(0, at)
}

/** The fields in the order in which they stand. Numbers above 2^53 (ids) come rounded. */
export function decodeMessage(
  bytes: Uint8Array,
): readonly (readonly [number: number, value: Uint8Array | number])[] {
  const fields: [number, Uint8Array | number][] = []
  for (let at = 0; at < bytes.length;) {
    const [tag, start] = readVarint(bytes, at)
    const [figure, next] = readVarint(bytes, start)
    if (tag % 8 === 0) {
      fields.push([tag >> 3, figure])
      at = next
    } else if (tag % 8 === 2) {
      fields.push([tag >> 3, bytes.subarray(next, next + figure)])
      at = next + figure
    } else throw new RangeError(`A field of wire type ${tag % 8}: only 0 and 2 are read`)
  }
  return fields
}

/** Writes a figure up to 2^53 at `start`; returns the place behind it. */
export function writeVarint(out: Buffer, start: number, figure: number): number {
  let at = start
  let left = figure
  for (; left >= 0x80; left = Math.floor(left / 0x80)) out[at++] = (left % 0x80) | 0x80
  out[at++] = left
  return at
}

/** Exact up to 2^53; above it (ids) only the place behind it counts. */
export function readVarint(bytes: Uint8Array, start: number): readonly [figure: number, next: number] {
  let figure = 0
  let scale = 1
  for (let at = start; ; at++) {
    const byte = bytes[at] ?? 0
    figure += (byte & 0x7f) * scale
    scale *= 0x80
    if (byte < 0x80) return [figure, at + 1]
  }
}
