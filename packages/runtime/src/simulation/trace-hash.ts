/**
 * A rolling 64-bit hash over all that a run does: two runs of one seed must have the same one. Not for security: it
 * finds divergence, not forgery. Two murmur3-like lanes that never see the same constant.
 */
export class TraceHash {
  #a = 0x9747b28c
  #b = 0x5bd1e995
  readonly #texts = new Map<string, number>()

  /** Mixes in the low 32 bits of `word`. */
  word(word: number): void {
    let a = Math.imul(word, 0xcc9e2d51)
    a = (a << 15) | (a >>> 17)
    a = this.#a ^ Math.imul(a, 0x1b873593)
    this.#a = (Math.imul((a << 13) | (a >>> 19), 5) + 0xe6546b64) | 0
    let b = Math.imul(word ^ this.#a, 0x85ebca6b)
    b = (b << 11) | (b >>> 21)
    b = this.#b ^ Math.imul(b, 0xc2b2ae35)
    this.#b = (Math.imul((b << 17) | (b >>> 15), 3) + 0x52dce729) | 0
  }

  /** Virtual time: to the microsecond, which is finer than any timer. */
  time(ms: number): void {
    const us = Math.round(ms * 1_000)
    this.word(us | 0)
    this.word(Math.floor(us / 2 ** 32))
  }

  /** Each text is hashed once and then known: labels repeat. */
  text(text: string): void {
    let word = this.#texts.get(text)
    if (word === undefined) {
      word = 0x811c9dc5
      for (let i = 0; i < text.length; i++) word = Math.imul(word ^ text.charCodeAt(i), 0x01000193)
      if (this.#texts.size < 65_536) this.#texts.set(text, word)
    }
    this.word(word)
  }

  bytes(bytes: Uint8Array): void {
    const { length } = bytes
    this.word(length)
    let at = 0
    for (; at + 4 <= length; at += 4) {
      this.word(
        (bytes[at] as number) |
          ((bytes[at + 1] as number) << 8) |
          ((bytes[at + 2] as number) << 16) |
          ((bytes[at + 3] as number) << 24),
      )
    }
    let rest = 0
    for (; at < length; at++) rest = (rest << 8) | (bytes[at] as number)
    this.word(rest)
  }

  /** 16 hexadecimal digits. */
  digest(): string {
    return (this.#a >>> 0).toString(16).padStart(8, '0') + (this.#b >>> 0).toString(16).padStart(8, '0')
  }
}
