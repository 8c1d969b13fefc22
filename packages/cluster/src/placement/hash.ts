/**
 * The one hash of placement: MurmurHash3 x86_32 (Austin Appleby, public domain, SMHasher), over the UTF-8
 * bytes of a string. All nodes of a cluster, of every version, must agree on it: it is pinned by the
 * reference implementation's own verification value (0xB0F57EE3) and by published vectors, and never changes.
 */

const c1 = 0xcc9e2d51
const c2 = 0x1b873593

/**
 * 32-bit hash of the UTF-8 bytes of `text`, in [0, 2^32). Allocates nothing for ASCII; other text is encoded
 * first. Half of a surrogate pair counts as U+FFFD, as in every UTF-8 encoder.
 */
export function murmur3(text: string, seed = 0): number {
  const length = text.length
  const blocks = length & ~3
  let hash = seed | 0
  let index = 0
  for (; index < blocks; index += 4) {
    const a = text.charCodeAt(index)
    const b = text.charCodeAt(index + 1)
    const c = text.charCodeAt(index + 2)
    const d = text.charCodeAt(index + 3)
    if ((a | b | c | d) >= 0x80) return murmur3Bytes(utf8.encode(text), seed)
    hash = mixBlock(hash, a | (b << 8) | (c << 16) | (d << 24))
  }
  let tail = 0
  for (let rest = length - 1; rest >= blocks; rest--) {
    const code = text.charCodeAt(rest)
    if (code >= 0x80) return murmur3Bytes(utf8.encode(text), seed)
    tail = (tail << 8) | code
  }
  if (length > blocks) hash ^= mixTail(tail)
  return finalize(hash ^ length)
}

/** The same over bytes. */
export function murmur3Bytes(bytes: Uint8Array, seed = 0): number {
  const length = bytes.length
  const blocks = length - (length % 4)
  let hash = seed | 0
  for (let index = 0; index < blocks; index += 4) {
    const block =
      (bytes[index] as number) |
      ((bytes[index + 1] as number) << 8) |
      ((bytes[index + 2] as number) << 16) |
      ((bytes[index + 3] as number) << 24)
    hash = mixBlock(hash, block)
  }
  let tail = 0
  for (let rest = length - 1; rest >= blocks; rest--) tail = (tail << 8) | (bytes[rest] as number)
  if (length > blocks) hash ^= mixTail(tail)
  return finalize(hash ^ length)
}

/**
 * `(n) => murmur3(prefix + n)`, for many whole numbers from 0 to 99,999,999 behind one prefix: hashes the prefix once, and
 * makes no strings.
 */
export function murmur3Numbered(prefix: string, seed = 0): (number: number) => number {
  const bytes = utf8.encode(prefix)
  const whole = bytes.length & ~3
  let before = seed | 0
  for (let index = 0; index < whole; index += 4) {
    const [a = 0, b = 0, c = 0, d = 0] = bytes.subarray(index, index + 4)
    before = mixBlock(before, a | (b << 8) | (c << 16) | (d << 24))
  }
  let carried = 0
  for (let index = bytes.length - 1; index >= whole; index--)
    carried = (carried << 8) | (bytes[index] as number)
  const carriedBytes = bytes.length - whole
  return (number) => {
    let hash = before
    let block = carried
    let held = carriedBytes
    let length = bytes.length
    let unit = 1
    while (unit * 10 <= number) unit *= 10
    for (; unit >= 1; unit = (unit / 10) | 0) {
      block |= (0x30 + (((number / unit) | 0) % 10)) << (8 * held)
      length++
      if (++held < 4) continue
      hash = mixBlock(hash, block)
      block = 0
      held = 0
    }
    if (held > 0) hash ^= mixTail(block)
    return finalize(hash ^ length)
  }
}

const utf8 = new TextEncoder()

function mixTail(tail: number): number {
  const k = Math.imul(tail, c1)
  return Math.imul((k << 15) | (k >>> 17), c2)
}

function mixBlock(hash: number, block: number): number {
  const mixed = hash ^ mixTail(block)
  return (Math.imul((mixed << 13) | (mixed >>> 19), 5) + 0xe6546b64) | 0
}

/** The finalizer fmix32: every bit of the input reaches every bit of the output. */
function finalize(hash: number): number {
  let h = hash
  h ^= h >>> 16
  h = Math.imul(h, 0x85ebca6b)
  h ^= h >>> 13
  h = Math.imul(h, 0xc2b2ae35)
  h ^= h >>> 16
  return h >>> 0
}
