/**
 * One producer as its consumer knows it: what has arrived, what waits for its turn, what was dealt with. Bounded by the
 * window: at most that many pieces wait, and at most one message is being put together beside them.
 */
import { ChunkAssembly, type Assembled, type Chunk } from './chunk-assembly.ts'
import type { FailedPiece } from './reliable-protocol.ts'

/** What a message is by the time its turn comes. */
export type Content = { readonly type: 'message'; readonly message: unknown } | Assembled

/** A piece as it arrives. */
export type ArrivingBody =
  | { readonly type: 'message'; readonly message: unknown }
  | ({ readonly type: 'chunk' } & Chunk)

/** A whole message that waits for its turn, or has it. */
export interface WaitingMessage {
  /** Of its last piece: when this is processed, the message is. */
  readonly sequence: number
  /** Pieces that it came in. */
  readonly pieces: number
  readonly content: Content
  /** Handlers that crashed on it. */
  attempts: number
  lastError: string
}

export class ConsumerStream {
  readonly producer: string
  /** The shell's: where acknowledgements go. */
  address: unknown
  readonly #window: number
  readonly #assembly: ChunkAssembly
  /** Arrived out of order. */
  readonly #beyond = new Map<number, ArrivingBody>()
  readonly #queue: WaitingMessage[] = []
  /** The one that the worker has: the head of the queue. */
  inHand: WaitingMessage | undefined
  /** Not handled, and not known to be known by the producer. At most a window of them. */
  #failed: FailedPiece[] = []
  #taken: number
  #processed: number
  #confirmed: number
  #granted: number
  #lastInAssembly = 0
  /** The `grant` that the producer was last told of. */
  grantTold = 0
  /** When it was heard last; for those that look for the idlest. */
  heardAt = 0
  /** Its node is said to be down. It may come back. */
  isAway = false
  /** It has ended, and nothing more comes. */
  hasEnded = false

  /** `first`: the lowest piece that nobody has acknowledged. */
  constructor(producer: string, address: unknown, first: number, window: number, messageBytesMax: number) {
    this.producer = producer
    this.address = address
    this.#window = window
    this.#assembly = new ChunkAssembly(messageBytesMax)
    this.#taken = first - 1
    this.#processed = first - 1
    this.#confirmed = first - 1
    this.#granted = first - 1 + window
  }

  get taken(): number {
    return this.#taken
  }

  get processed(): number {
    return this.#processed
  }

  get failed(): readonly FailedPiece[] {
    return this.#failed
  }

  /** In order. */
  get beyond(): readonly number[] {
    return [...this.#beyond.keys()].sort((a, b) => a - b)
  }

  /** The message whose turn it is, when nobody has it. */
  get next(): WaitingMessage | undefined {
    return this.inHand === undefined ? this.#queue[0] : undefined
  }

  /** No message of it waits. What it has begun, or sent too early, is of use only while it may send the rest. */
  get isIdle(): boolean {
    return this.#queue.length === 0 && (this.isAway || (this.#beyond.size === 0 && !this.#assembly.isOpen))
  }

  /** The producer knows all that was done. Forgetting it can double nothing. */
  get isSettled(): boolean {
    return this.isIdle && this.#confirmed >= this.#processed
  }

  /** Messages that are held. */
  get waiting(): number {
    return this.#queue.length
  }

  /**
   * How far the producer may send. What is being put together does not count against the window as long as nothing waits
   * before it: else a message of more chunks than the window would never end. Never goes back.
   */
  grant(): number {
    const free = this.#queue.length === 0 ? this.#taken : this.#processed
    this.#granted = Math.max(this.#granted, free + this.#window)
    return this.#granted
  }

  /** All up to `sequence` are known to be acknowledged. */
  confirm(sequence: number): void {
    if (sequence <= this.#confirmed) return
    this.#confirmed = sequence
    this.#failed = this.#failed.filter((one) => one.sequence > sequence)
  }

  /** The producer says that all before `first` were acknowledged: by another consumer, where they are not here. */
  skipTo(first: number): void {
    this.confirm(first - 1)
    if (first - 1 <= this.#processed) return
    while (this.#queue.length > 0 && (this.#queue[0] as WaitingMessage).sequence < first) this.#queue.shift()
    this.#processed = first - 1
    if (first - 1 <= this.#taken) return
    if (this.#assembly.isOpen) this.#assembly.finish()
    this.#lastInAssembly = 0
    this.#taken = first - 1
    for (const sequence of this.#beyond.keys()) if (sequence < first) this.#beyond.delete(sequence)
    this.#takeBeyond()
  }

  /** `again`: it is here already. `overrun`: it was never granted. `early`: others must come first. */
  accept(sequence: number, body: ArrivingBody): 'again' | 'overrun' | 'early' | 'taken' {
    if (sequence <= this.#taken || this.#beyond.has(sequence)) return 'again'
    if (sequence > this.#granted) return 'overrun'
    if (sequence > this.#taken + 1) {
      this.#beyond.set(sequence, body)
      return 'early'
    }
    this.#take(body)
    this.#takeBeyond()
    return 'taken'
  }

  /** The message in hand was dealt with. */
  processedOne(message: WaitingMessage, failed: FailedPiece | undefined): void {
    if (this.#queue[0] === message) this.#queue.shift()
    if (this.inHand === message) this.inHand = undefined
    if (message.sequence <= this.#processed) return
    this.#processed = message.sequence
    if (failed !== undefined) this.#failed.push(failed)
  }

  #takeBeyond(): void {
    for (;;) {
      const body = this.#beyond.get(this.#taken + 1)
      if (body === undefined) return
      this.#beyond.delete(this.#taken + 1)
      this.#take(body)
    }
  }

  #take(body: ArrivingBody): void {
    this.#taken++
    if (body.type === 'chunk') {
      this.#lastInAssembly++
      const assembled = this.#assembly.add(body)
      if (assembled !== undefined) this.#enqueue(assembled, this.#taken)
      return
    }
    // Whoever cuts messages sends all of one before the next. What was begun ends here.
    if (this.#assembly.isOpen) this.#enqueue(this.#assembly.finish(), this.#taken - 1)
    this.#lastInAssembly = 1
    this.#enqueue(body, this.#taken)
  }

  #enqueue(content: Content, sequence: number): void {
    const pieces = this.#lastInAssembly
    this.#lastInAssembly = 0
    this.#queue.push({ sequence, pieces, content, attempts: 0, lastError: '' })
  }
}
