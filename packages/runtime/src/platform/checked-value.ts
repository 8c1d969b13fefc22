/**
 * A value at rest: its CRC-32C (four bytes, little end first), then its bytes. The CRC is over key and value, so that a value
 * that stands under another key, or under a damaged one, is found out as well.
 */
import { crc32c } from './crc32c.ts'

/** Bytes that the check takes. */
export const checkBytes = 4

/** Writes the checked value to the start of `target`, which has room for it and `checkBytes` more. Returns its length. */
export function writeChecked(key: Uint8Array, value: Uint8Array, target: Uint8Array): number {
  const crc = crc32c(value, crc32c(key))
  target[0] = crc & 0xff
  target[1] = (crc >>> 8) & 0xff
  target[2] = (crc >>> 16) & 0xff
  target[3] = crc >>> 24
  target.set(value, checkBytes)
  return checkBytes + value.byteLength
}

/** The checked value in bytes of its own. */
export function encodeChecked(key: Uint8Array, value: Uint8Array): Uint8Array {
  const target = new Uint8Array(checkBytes + value.byteLength)
  writeChecked(key, value, target)
  return target
}

/** The value, a view on `checked`; or what is wrong with it, in words. */
export function readChecked(key: Uint8Array, checked: Uint8Array): Uint8Array | string {
  const { byteLength } = checked
  if (byteLength < checkBytes) return `it has ${byteLength} bytes, fewer than the ${checkBytes} of a check`
  // A Uint8Array also where a Buffer came in, whose `slice` would share.
  const value = new Uint8Array(checked.buffer, checked.byteOffset + checkBytes, byteLength - checkBytes)
  const found = crc32c(value, crc32c(key))
  const wanted = new DataView(checked.buffer, checked.byteOffset).getUint32(0, true)
  if (found === wanted) return value
  return `key and ${value.byteLength} bytes of value have the CRC-32C ${hex(found)}, expected ${hex(wanted)}`
}

function hex(crc: number): string {
  return crc.toString(16).padStart(8, '0')
}
