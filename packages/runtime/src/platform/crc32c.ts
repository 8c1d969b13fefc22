/**
 * CRC-32C (Castagnoli, reflected, as in iSCSI: RFC 3720, appendix B.4): what a store keeps with each value, so that a
 * flipped bit is an error with a place. `node:zlib` has CRC-32, another polynomial, which finds fewer short errors.
 */

/** 0x1EDC6F41, its bits reversed. */
const polynomial = 0x82f63b78

const table = makeTable()

/**
 * The CRC-32C of `bytes`, as an unsigned 32-bit number: `crc32c` of the nine digits "123456789" is 0xE3069283. It finds
 * every single flipped bit and every burst of up to 32 bits. Table-driven, eight bytes at a time ("slicing-by-8", Kounavis
 * and Berry, 2005): about half a nanosecond a byte, nothing allocated.
 *
 * @param seed the CRC of what comes before `bytes`: `crc32c(b, crc32c(a))` is the CRC of a and b together. @default 0
 */
export function crc32c(bytes: Uint8Array, seed = 0): number {
  let crc = ~seed
  const { length } = bytes
  let i = 0
  for (const last = length - 8; i <= last; i += 8) {
    crc ^= at(bytes, i) | (at(bytes, i + 1) << 8) | (at(bytes, i + 2) << 16) | (at(bytes, i + 3) << 24)
    crc =
      at(table, 1792 + (crc & 0xff)) ^
      at(table, 1536 + ((crc >>> 8) & 0xff)) ^
      at(table, 1280 + ((crc >>> 16) & 0xff)) ^
      at(table, 1024 + (crc >>> 24)) ^
      at(table, 768 + at(bytes, i + 4)) ^
      at(table, 512 + at(bytes, i + 5)) ^
      at(table, 256 + at(bytes, i + 6)) ^
      at(table, at(bytes, i + 7))
  }
  for (; i < length; i++) crc = (crc >>> 8) ^ at(table, (crc ^ at(bytes, i)) & 0xff)
  return ~crc >>> 0
}

/** The index is within bounds: spares a check that the hot loop would pay for. */
function at(values: Uint8Array | Int32Array, index: number): number {
  return values[index] as number
}

/** Eight tables in one: row `k` (256 numbers) is what a byte does to the CRC when `k` more bytes follow it. */
function makeTable(): Int32Array {
  const made = new Int32Array(8 * 256)
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte
    for (let bit = 0; bit < 8; bit++) crc = (crc & 1) === 0 ? crc >>> 1 : (crc >>> 1) ^ polynomial
    made[byte] = crc
  }
  for (let i = 256; i < made.length; i++) {
    const before = at(made, i - 256)
    made[i] = (before >>> 8) ^ at(made, before & 0xff)
  }
  return made
}
