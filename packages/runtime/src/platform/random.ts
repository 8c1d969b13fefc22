/**
 * Chance with a seed: xoshiro128** over a 128-bit state, after Blackman and Vigna, "Scrambled linear pseudorandom number
 * generators" (2018). Fast and well spread, but whoever sees a few draws can compute the rest: secrets come from
 * `Platform.secureBytes`.
 */
import type { Random } from './platform.ts'

/** Four 32-bit words: what a stream is made from, and what its forks are made from. */
type Key = readonly [number, number, number, number]

const rootKey: Key = [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344]
const twoPow32 = 2 ** 32

/**
 * The stream of chance that belongs to `seed`. The same seed gives the same draws on every machine and version of Node.
 *
 * `fork(label)` depends on the seed and the label alone, never on how much was drawn: a subsystem that draws once more
 * changes nothing for the others. Numbers and strings that print alike are the same seed.
 */
export function seededRandom(seed: number | string): Random {
  return new SeededRandom(hash128(rootKey, String(seed)))
}

class SeededRandom implements Random {
  readonly #key: Key
  #a: number
  #b: number
  #c: number
  #d: number

  constructor(key: Key) {
    this.#key = key
    this.#a = key[0]
    this.#b = key[1]
    this.#c = key[2]
    // The all-zero state is the one that xoshiro cannot leave.
    this.#d = (key[0] | key[1] | key[2] | key[3]) === 0 ? 1 : key[3]
  }

  // Arrow fields, because `Random` is handed around in pieces: `const { u32 } = platform.random` has to work.
  readonly u32 = (): number => {
    const b = this.#b
    const scrambled = Math.imul(rotateLeft(Math.imul(b, 5), 7), 9) >>> 0
    const shifted = b << 9
    this.#c ^= this.#a
    this.#d ^= b
    this.#b = b ^ this.#c
    this.#a ^= this.#d
    this.#c ^= shifted
    this.#d = rotateLeft(this.#d, 11)
    return scrambled
  }

  readonly int = (low: number, high: number): number => {
    const span = high - low + 1
    if (
      !Number.isSafeInteger(low) ||
      !Number.isSafeInteger(high) ||
      span < 1 ||
      span > Number.MAX_SAFE_INTEGER
    ) {
      throw new RangeError(
        `Cannot draw an integer from ${low} to ${high}: both must be safe integers, the first not above the second`,
      )
    }
    if (span <= twoPow32) {
      // Draws above the last whole multiple of the span are thrown away, or low results would be likelier.
      const limit = twoPow32 - (twoPow32 % span)
      let draw = this.u32()
      while (draw >= limit) draw = this.u32()
      return low + (draw % span)
    }
    const limit = 2 ** 53 - (2 ** 53 % span)
    let draw = this.#u53()
    while (draw >= limit) draw = this.#u53()
    return low + (draw % span)
  }

  readonly float = (): number => this.#u53() / 2 ** 53

  readonly fork = (label: string): Random => new SeededRandom(hash128(this.#key, label))

  #u53(): number {
    return (this.u32() >>> 11) * twoPow32 + this.u32()
  }
}

/** A 128-bit hash of `text` under `key`: four multiply-xor lanes that feed each other, then a murmur-like finish. */
function hash128(key: Key, text: string): Key {
  let [a, b, c, d] = key
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i)
    a = b ^ Math.imul(a ^ unit, 597_399_067)
    b = c ^ Math.imul(b ^ unit, 2_869_860_233)
    c = d ^ Math.imul(c ^ unit, 951_274_213)
    d = a ^ Math.imul(d ^ unit, 2_716_044_179)
  }
  // The length keeps a fork by the empty label apart from its parent.
  const length = text.length + 1
  a = finish(a ^ length)
  b = finish(b ^ a)
  c = finish(c ^ b)
  d = finish(d ^ c)
  return [finish(a ^ d) >>> 0, b >>> 0, c >>> 0, d >>> 0]
}

function finish(word: number): number {
  word = Math.imul(word ^ (word >>> 16), 0x85ebca6b)
  word = Math.imul(word ^ (word >>> 13), 0xc2b2ae35)
  return (word ^ (word >>> 16)) + 0x9e3779b9
}

function rotateLeft(word: number, bits: number): number {
  return (word << bits) | (word >>> (32 - bits))
}
