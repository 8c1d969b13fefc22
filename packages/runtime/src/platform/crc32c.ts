/**
 * CRC-32C (Castagnoli, reflected, as in iSCSI: RFC 3720, appendix B.4): what a store keeps with each value, so that a
 * flipped bit is an error with a place. `node:zlib` has CRC-32, another polynomial, which finds fewer short errors.
 */

/** 0x1EDC6F41, its bits reversed. */
const polynomial = 0x82f63b78

const table = makeTable()

/**
 * The CRC-32C of `bytes`, as an unsigned 32-bit number: `crc32c` of the nine digits "123456789" is 0xE3069283. It finds
 * every single flipped bit and every burst of up to 32 bits. Table-driven: a few nanoseconds a byte, nothing allocated.
 *
 * @param seed the CRC of what comes before `bytes`: `crc32c(b, crc32c(a))` is the CRC of a and b together. @default 0
 */
export function crc32c(bytes: Uint8Array, seed = 0): number {
  let crc = ~seed
  const { length } = bytes
  for (let i = 0; i < length; i++) {
    crc = (crc >>> 8) ^ (table[(crc ^ (bytes[i] as number)) & 0xff] as number)
  }
  return ~crc >>> 0
}

function makeTable(): Uint32Array {
  const made = new Uint32Array(256)
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte
    for (let bit = 0; bit < 8; bit++) crc = (crc & 1) === 0 ? crc >>> 1 : (crc >>> 1) ^ polynomial
    made[byte] = crc
  }
  return made
}
