/**
 * Ranges of internet addresses, in CIDR notation (RFC 4632, RFC 4291): `10.0.0.0/8`, `fd00::/8`, or one host.
 *
 * IPv4 and IPv6 are kept apart: `::/0` takes no IPv4 address. An IPv4 address that arrives in its IPv6 form
 * (`::ffff:10.0.0.7`, as sockets that serve both show it) is the IPv4 address.
 */

/** A checked range. Made by `parseAddressRange`. */
export interface AddressRange {
  /** As it was written. */
  readonly text: string
  /** The first address, 4 or 16 bytes; undefined for a host name. */
  readonly bytes: Uint8Array | undefined
  /** Leading bits that must agree; 0 for a host name. */
  readonly bits: number
  /** The host name, in lower case; undefined for a range. */
  readonly name: string | undefined
}

const hostName = /^(?=.{1,253}$)[a-z0-9_](?:[a-z0-9._-]*[a-z0-9_])?$/
const mappedPrefix = 96

/**
 * Reads `a.b.c.d/n`, `x::y/n`, one address, or an exact host name (compared as text: nothing is looked up).
 *
 * @throws {RangeError} if it is none of these, or has bits set behind its prefix (`10.0.0.1/8`): most likely
 * something else was meant.
 */
export function parseAddressRange(text: string): AddressRange {
  const slash = text.indexOf('/')
  const host = slash < 0 ? text : text.slice(0, slash)
  const bytes = host.includes('%') ? undefined : ipBytes(host)
  if (bytes === undefined) {
    const name = text.toLowerCase()
    // All digits and dots, but no address: a typing error, never a name.
    if (slash >= 0 || !hostName.test(name) || /^[\d.]+$/.test(name)) throw badRange(text, 'it is no address')
    return { text, bytes: undefined, bits: 0, name }
  }
  const most = host.includes(':') ? 128 : 32
  const prefix = slash < 0 ? String(most) : text.slice(slash + 1)
  let bits = /^(?:0|[1-9]\d{0,2})$/.test(prefix) ? Number(prefix) : Number.NaN
  if (!(bits <= most)) throw badRange(text, `its prefix must be from 0 to ${most}`)
  if (most === 128 && bytes.length === 4) {
    bits -= mappedPrefix
    if (bits < 0) throw badRange(text, 'it covers IPv4 and IPv6; write one range for each')
  }
  if (!bytes.every((byte, index) => (byte & ~mask(index, bits)) === 0)) {
    throw badRange(text, `it has bits set behind its prefix of ${prefix}`)
  }
  return { text, bytes, bits, name: undefined }
}

/**
 * Whether `host` (an address without port and brackets, or a name) lies in the range. What is no address lies in no range
 * but its own name.
 */
export function inAddressRange(range: AddressRange, host: string): boolean {
  const first = range.bytes
  if (first === undefined) return range.name === host.toLowerCase()
  const bytes = ipBytes(host)
  if (bytes === undefined || bytes.length !== first.length) return false
  return bytes.every((byte, index) => ((byte ^ (first[index] ?? 0)) & mask(index, range.bits)) === 0)
}

/**
 * The bytes of an IPv4 (4) or IPv6 (16) address, an IPv4 one in IPv6 form as 4; undefined for anything else. The
 * interface of a link-local address (`fe80::1%eth0`) is left out.
 */
export function ipBytes(host: string): Uint8Array | undefined {
  const percent = host.indexOf('%')
  const bare = percent < 0 ? host : host.slice(0, percent)
  if (!bare.includes(':')) return percent < 0 ? ipv4Bytes(bare) : undefined
  const bytes = ipv6Bytes(bare)
  if (bytes === undefined) return undefined
  const isMapped = bytes.subarray(0, 10).every((byte) => byte === 0) && bytes[10] === 255 && bytes[11] === 255
  return isMapped ? bytes.slice(12) : bytes
}

function ipv4Bytes(text: string): Uint8Array | undefined {
  const parts = text.split('.')
  // No leading zeros: to some programs they mean octal.
  if (parts.length !== 4 || !parts.every((part) => /^(?:0|[1-9]\d{0,2})$/.test(part))) return undefined
  const numbers = parts.map(Number)
  return numbers.every((number) => number < 256) ? Uint8Array.from(numbers) : undefined
}

function ipv6Bytes(text: string): Uint8Array | undefined {
  if (text.length > 45) return undefined
  const halves = text.split('::')
  if (halves.length > 2) return undefined
  const head = groups(halves[0] ?? '', halves.length === 1)
  const tail = groups(halves[1] ?? '', true)
  if (head === undefined || tail === undefined) return undefined
  const written = head.length + tail.length
  if (halves.length === 1 ? written !== 16 : written > 14) return undefined
  const bytes = new Uint8Array(16)
  bytes.set(head)
  bytes.set(tail, 16 - tail.length)
  return bytes
}

/** The bytes of groups of hex digits with colons between; the last may be an IPv4 address where the address ends. */
function groups(text: string, isEnd: boolean): readonly number[] | undefined {
  if (text === '') return []
  const bytes: number[] = []
  const parts = text.split(':')
  for (const [index, part] of parts.entries()) {
    if (/^[0-9a-f]{1,4}$/i.test(part)) {
      const value = Number.parseInt(part, 16)
      bytes.push(value >>> 8, value & 0xff)
      continue
    }
    const v4 = isEnd && index === parts.length - 1 ? ipv4Bytes(part) : undefined
    if (v4 === undefined) return undefined
    bytes.push(...v4)
  }
  return bytes
}

/** The bits of byte `index` that belong to a prefix of `bits`. */
function mask(index: number, bits: number): number {
  const inByte = Math.max(0, Math.min(8, bits - index * 8))
  return (0xff00 >>> inByte) & 0xff
}

function badRange(text: string, why: string): RangeError {
  const shown = text.length > 80 ? `${text.slice(0, 80)}...` : text
  return new RangeError(
    `Cannot use "${shown}" as a range of addresses: ${why}; write "10.0.0.0/8", "fd00::/8", one address or a host name`,
  )
}
