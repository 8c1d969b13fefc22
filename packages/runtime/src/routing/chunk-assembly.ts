/**
 * Puts one message together from its chunks, which are handed in in order. Bounded before anything is kept: what claims
 * to be too large is counted through to its end and thrown away, so that the next message begins where it should.
 */

/** One part of an encoded message. */
export interface Chunk {
  /** From 0. */
  readonly index: number
  /** Parts of the message. */
  readonly count: number
  readonly bytes: Uint8Array
  /** With index 0: the actors that the message refers to. */
  readonly refs: readonly unknown[]
}

/** What came of a message in chunks. */
export type Assembled =
  | { readonly type: 'bytes'; readonly parts: readonly Uint8Array[]; readonly refs: readonly unknown[] }
  | { readonly type: 'unusable'; readonly problem: string }

export class ChunkAssembly {
  readonly #bytesMax: number
  #parts: Uint8Array[] = []
  #refs: readonly unknown[] = []
  #bytes = 0
  #count = 0
  #next = 0
  #problem: string | undefined

  /** `bytesMax`: more than these many bytes are not kept. */
  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax
  }

  /** Some chunks of a message are here, and more must come. */
  get isOpen(): boolean {
    return this.#next > 0
  }

  /** Bytes that are held. At most `bytesMax`. */
  get bytes(): number {
    return this.#bytes
  }

  /** The next chunk. `undefined`: more must come. */
  add(chunk: Chunk): Assembled | undefined {
    const { index, count, bytes } = chunk
    if (!this.isOpen) {
      this.#count = count
      this.#refs = chunk.refs
    }
    if (index !== this.#next || count !== this.#count || index >= count || bytes.length === 0) {
      this.#fail(`chunk ${index} of ${count} stands where chunk ${this.#next} of ${this.#count} should`)
    }
    if (this.#bytes + bytes.length > this.#bytesMax) {
      this.#fail(`it has more than messageBytesMax = ${this.#bytesMax} bytes`)
    }
    if (this.#problem === undefined) {
      this.#parts.push(bytes)
      this.#bytes += bytes.length
    }
    this.#next = index + 1
    return index + 1 >= count ? this.finish() : undefined
  }

  /** What there is by now. Begins anew. */
  finish(): Assembled {
    const problem =
      this.#problem ?? (this.#next < this.#count ? 'another message began before it ended' : undefined)
    const assembled: Assembled =
      problem === undefined
        ? { type: 'bytes', parts: this.#parts, refs: this.#refs }
        : { type: 'unusable', problem }
    this.#drop()
    this.#refs = []
    this.#count = 0
    this.#next = 0
    this.#problem = undefined
    return assembled
  }

  #fail(problem: string): void {
    this.#problem ??= problem
    this.#drop()
  }

  #drop(): void {
    this.#parts = []
    this.#bytes = 0
  }
}
