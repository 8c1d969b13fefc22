/**
 * A consumer of reliable delivery, without any actor: drops what came before, puts what came early in its place, has one
 * message of each producer handled at a time, and says how far it is. Pure; the shell is reliable-consumer.ts.
 *
 * It outlives the restarts of the actor around it: what it remembers is what tells a duplicate from news.
 */
import type { Core } from '../core/core.ts'
import { crc32c } from '../platform/crc32c.ts'
import { ConsumerStream, type ArrivingBody, type Content, type WaitingMessage } from './consumer-stream.ts'
import type { ConsumerCounters, FailedPiece, Introduced, Progress } from './reliable-protocol.ts'

/** What became of a message that was handed to the worker. */
export type Outcome =
  /** Its handler is done. */
  | { readonly type: 'done' }
  /** Its handler crashed. */
  | { readonly type: 'crashed'; readonly messageType: string; readonly error: string }
  /** Its handler said no, for good. */
  | { readonly type: 'refused'; readonly failure: Failure }
  /** No handler can take it: it does not fit the protocol. */
  | { readonly type: 'invalid'; readonly messageType: string; readonly failure: Failure }
  /** The worker is gone, or has no room. It is handed over again when `worker` comes. */
  | { readonly type: 'interrupted' }

type Failure = Omit<FailedPiece, 'sequence'>

export type ConsumerInput =
  | {
      readonly type: 'hello'
      readonly producer: string
      readonly address: unknown
      readonly first: number
    }
  | {
      readonly type: 'piece'
      readonly producer: string
      readonly sequence: number
      readonly confirmed: number
      readonly body: ArrivingBody
      /** Of a chunk: its CRC-32C as its producer reckoned it. */
      readonly crc: number | undefined
    }
  | {
      readonly type: 'probe'
      readonly producer: string
      readonly address: unknown
      readonly number: number
    }
  | { readonly type: 'bye'; readonly producer: string }
  /** Its actor has ended. `isCertain`: its own node says so; else its node is given up, and may come back. */
  | { readonly type: 'producer-ended'; readonly producer: string; readonly isCertain: boolean }
  /** `token` as in `handle`. */
  | { readonly type: 'settled'; readonly token: number; readonly outcome: Outcome }
  /** There is a worker to hand messages to. `isNew`: what was handed to the one before is void. */
  | { readonly type: 'worker'; readonly isNew: boolean }
  | { readonly type: 'discard'; readonly id: number }

export interface Ack extends Progress {
  readonly producer: string
  readonly beyond: readonly number[]
  readonly answers: number
}

/**
 * What the shell does, in the order given. An `ack` stands behind the `settled` that it tells of; each `handle` is
 * answered by one `settled`, unless a new worker voids it.
 */
export type ConsumerEffect =
  | { readonly type: 'introduced'; readonly producer: string; readonly reply: Introduced }
  /** Too many producers are busy. */
  | { readonly type: 'full'; readonly producer: string }
  | { readonly type: 'ack'; readonly address: unknown; readonly ack: Ack }
  | { readonly type: 'unknown'; readonly address: unknown; readonly producer: string }
  | {
      readonly type: 'handle'
      readonly token: number
      readonly producer: string
      readonly address: unknown
      /** From 1. */
      readonly attempt: number
      readonly content: Content
    }
  | { readonly type: 'parked'; readonly entry: ParkedEntry }
  /** There was no room to keep it any longer. */
  | { readonly type: 'parked-lost'; readonly entry: ParkedEntry }
  /** The producer is not known any more. */
  | { readonly type: 'forgot'; readonly producer: string; readonly address: unknown }

/** A message that nobody could handle. */
export interface ParkedEntry {
  readonly id: number
  readonly producer: string
  readonly sequence: number
  readonly messageType: string
  readonly code: string
  readonly attempts: number
  readonly error: string
  readonly pieces: number
  readonly atMs: number
  readonly content: Content
}

export interface ConsumerCoreStatus {
  readonly consumer: string
  readonly counters: ConsumerCounters
  readonly streams: readonly {
    readonly producer: string
    readonly taken: number
    readonly processed: number
    readonly granted: number
    readonly waiting: number
    readonly beyond: readonly number[]
    readonly isInHand: boolean
  }[]
}

export interface ConsumerCoreOptions {
  /** Which life this is: nobody else ever bears it. */
  readonly consumer: string
  readonly window: number
  readonly maxAttempts: number
  readonly producersMax: number
  readonly parkedMax: number
  readonly messageBytesMax: number
}

export class ConsumerCore implements Core<ConsumerInput, ConsumerEffect, ConsumerCoreStatus> {
  readonly #options: ConsumerCoreOptions
  readonly #streams = new Map<string, ConsumerStream>()
  readonly #inHand = new Map<number, { readonly stream: ConsumerStream; readonly message: WaitingMessage }>()
  readonly #parked = new Map<number, ParkedEntry>()
  #parkedPieces = 0
  #hasWorker = false
  #nextToken = 1
  #nextParked = 1
  #hearings = 0
  readonly #counters = {
    handled: 0,
    duplicates: 0,
    corrupt: 0,
    crashes: 0,
    refused: 0,
    parked: 0,
    forgotten: 0,
  }

  constructor(options: ConsumerCoreOptions) {
    this.#options = options
  }

  /** Parked messages, oldest first. */
  get parked(): readonly ParkedEntry[] {
    return [...this.#parked.values()]
  }

  /** Where a producer is reached; `undefined` when it is not known. */
  addressOf(producer: string): unknown {
    return this.#streams.get(producer)?.address
  }

  parkedOf(id: number): ParkedEntry | undefined {
    return this.#parked.get(id)
  }

  /** Time moves nothing here: who wants to know asks. */
  nextDeadlineMs(): undefined {
    return undefined
  }

  status(): ConsumerCoreStatus {
    return {
      consumer: this.#options.consumer,
      counters: { producers: this.#streams.size, ...this.#counters },
      streams: [...this.#streams.values()].map((stream) => ({
        producer: stream.producer,
        taken: stream.taken,
        processed: stream.processed,
        granted: stream.grant(),
        waiting: stream.waiting,
        beyond: stream.beyond,
        isInHand: stream.inHand !== undefined,
      })),
    }
  }

  step(input: ConsumerInput, nowMs: number): readonly ConsumerEffect[] {
    const effects: ConsumerEffect[] = []
    switch (input.type) {
      case 'hello':
        this.#hello(input, effects)
        break
      case 'piece':
        this.#piece(input, effects)
        break
      case 'probe':
        this.#probe(input, effects)
        break
      case 'bye':
        this.#ended(input.producer, true, effects)
        break
      case 'producer-ended':
        this.#ended(input.producer, input.isCertain, effects)
        break
      case 'settled':
        this.#settled(input.token, input.outcome, nowMs, effects)
        break
      case 'worker':
        this.#worker(input.isNew, effects)
        break
      case 'discard':
        this.#discard(input.id)
        break
      default:
        return unreachable(input)
    }
    return effects
  }

  // ---- Producers -----------------------------------------------------------------------------------------------

  #hello(input: ConsumerInput & { readonly type: 'hello' }, effects: ConsumerEffect[]): void {
    const { producer, address, first } = input
    let stream = this.#streams.get(producer)
    if (stream === undefined) {
      if (this.#streams.size >= this.#options.producersMax && !this.#forgetIdlest(effects)) {
        effects.push({ type: 'full', producer })
        return
      }
      const { window, messageBytesMax } = this.#options
      stream = new ConsumerStream(producer, address, first, window, messageBytesMax)
      this.#streams.set(producer, stream)
    }
    stream.address = address
    this.#heard(stream)
    // Nobody but itself can say hello. Its pieces and probes may come late, and long after it.
    stream.isAway = false
    stream.hasEnded = false
    stream.skipTo(first)
    const reply = { ...this.#progress(stream), messageBytesMax: this.#options.messageBytesMax }
    effects.push({ type: 'introduced', producer, reply })
    this.#handOver(stream, effects)
  }

  /**
   * Makes room for one more. A producer whose last acknowledgement may have been lost is forgotten after those that know
   * all: it would send again what was handled. One with work here is never forgotten.
   */
  #forgetIdlest(effects: ConsumerEffect[]): boolean {
    let idlest: ConsumerStream | undefined
    for (const stream of this.#streams.values()) {
      if (stream.isIdle && (idlest === undefined || isBefore(stream, idlest))) idlest = stream
    }
    if (idlest === undefined) return false
    this.#counters.forgotten++
    this.#forget(idlest, effects)
    return true
  }

  #forget(stream: ConsumerStream, effects: ConsumerEffect[]): void {
    this.#streams.delete(stream.producer)
    effects.push({ type: 'forgot', producer: stream.producer, address: stream.address })
  }

  #heard(stream: ConsumerStream): void {
    stream.heardAt = ++this.#hearings
  }

  #ended(producer: string, isCertain: boolean, effects: ConsumerEffect[]): void {
    const stream = this.#streams.get(producer)
    if (stream === undefined) return
    stream.isAway = true
    // What has arrived is still handled. One that comes back must find its numbers here.
    if (isCertain) stream.hasEnded = true
    this.#forgetEnded(stream, effects)
  }

  /** What lies behind a gap will never have its turn: nobody fills the gap any more. */
  #forgetEnded(stream: ConsumerStream, effects: ConsumerEffect[]): void {
    if (stream.hasEnded && stream.waiting === 0) this.#forget(stream, effects)
  }

  #probe(input: ConsumerInput & { readonly type: 'probe' }, effects: ConsumerEffect[]): void {
    const { producer, address, number } = input
    const stream = this.#streams.get(producer)
    if (stream === undefined) {
      effects.push({ type: 'unknown', address, producer })
      return
    }
    this.#heard(stream)
    this.#ack(stream, number, effects)
  }

  // ---- Pieces --------------------------------------------------------------------------------------------------

  #piece(input: ConsumerInput & { readonly type: 'piece' }, effects: ConsumerEffect[]): void {
    const { producer, sequence, confirmed, body, crc } = input
    const stream = this.#streams.get(producer)
    // Its probe will find out.
    if (stream === undefined) return
    this.#heard(stream)
    if (confirmed <= stream.processed) stream.confirm(confirmed)
    if (body.type === 'chunk' && crc32c(body.bytes) !== crc) {
      this.#counters.corrupt++
      return
    }
    const became = stream.accept(sequence, body)
    if (became === 'again') this.#counters.duplicates++
    this.#handOver(stream, effects)
    // What is taken is acknowledged when it was handled. A chunk that makes room is not, but a quarter of a window is.
    const hasRoom = (stream.grant() - stream.grantTold) * 4 >= this.#options.window
    if (became !== 'taken' || hasRoom) this.#ack(stream, 0, effects)
  }

  #progress(stream: ConsumerStream): Progress {
    const { taken, processed, failed } = stream
    const granted = stream.grant()
    stream.grantTold = granted
    return { consumer: this.#options.consumer, taken, processed, granted, failed: [...failed] }
  }

  #ack(stream: ConsumerStream, answers: number, effects: ConsumerEffect[]): void {
    const { producer, address, beyond } = stream
    // Nobody reads it any more.
    if (stream.hasEnded) return
    effects.push({
      type: 'ack',
      address,
      ack: { producer, ...this.#progress(stream), beyond, answers },
    })
  }

  // ---- The worker ----------------------------------------------------------------------------------------------

  #worker(isNew: boolean, effects: ConsumerEffect[]): void {
    this.#hasWorker = true
    if (isNew) {
      this.#inHand.clear()
      for (const stream of this.#streams.values()) stream.inHand = undefined
    }
    for (const stream of this.#streams.values()) this.#handOver(stream, effects)
  }

  /** One message of each producer at a time: with two, the second would be handled while the first is tried again. */
  #handOver(stream: ConsumerStream, effects: ConsumerEffect[]): void {
    const message = this.#hasWorker ? stream.next : undefined
    if (message === undefined) return
    stream.inHand = message
    const token = this.#nextToken++
    this.#inHand.set(token, { stream, message })
    const { producer, address } = stream
    const { content, attempts } = message
    effects.push({ type: 'handle', token, producer, address, attempt: attempts + 1, content })
  }

  #settled(token: number, outcome: Outcome, nowMs: number, effects: ConsumerEffect[]): void {
    const held = this.#inHand.get(token)
    if (held === undefined) return
    this.#inHand.delete(token)
    const { stream, message } = held
    switch (outcome.type) {
      case 'done':
        this.#counters.handled++
        stream.processedOne(message, undefined)
        break
      case 'refused':
        this.#counters.refused++
        stream.processedOne(message, { sequence: message.sequence, ...outcome.failure })
        break
      case 'invalid':
        this.#park(stream, message, outcome.messageType, outcome.failure, nowMs, effects)
        break
      case 'crashed':
        this.#counters.crashes++
        message.attempts++
        message.lastError = outcome.error
        if (message.attempts < this.#options.maxAttempts) {
          stream.inHand = undefined
          this.#handOver(stream, effects)
          return
        }
        this.#park(stream, message, outcome.messageType, poison(outcome, message.attempts), nowMs, effects)
        break
      case 'interrupted':
        stream.inHand = undefined
        this.#hasWorker = false
        return
      default:
        return unreachable(outcome)
    }
    this.#ack(stream, 0, effects)
    this.#handOver(stream, effects)
    this.#forgetEnded(stream, effects)
  }

  // ---- Parked messages -----------------------------------------------------------------------------------------

  #park(
    stream: ConsumerStream,
    message: WaitingMessage,
    messageType: string,
    failure: Failure,
    nowMs: number,
    effects: ConsumerEffect[],
  ): void {
    const { sequence, attempts, pieces, content, lastError } = message
    stream.processedOne(message, { sequence, ...failure })
    const entry: ParkedEntry = {
      id: this.#nextParked++,
      producer: stream.producer,
      sequence,
      messageType,
      code: failure.code,
      attempts,
      error: lastError === '' ? failure.text : lastError,
      pieces,
      atMs: nowMs,
      content,
    }
    this.#counters.parked++
    this.#parked.set(entry.id, entry)
    this.#parkedPieces += pieces
    effects.push({ type: 'parked', entry })
    for (const oldest of this.#parked.values()) {
      if (this.#parkedPieces <= this.#options.parkedMax) break
      this.#discard(oldest.id)
      effects.push({ type: 'parked-lost', entry: oldest })
    }
  }

  #discard(id: number): void {
    const entry = this.#parked.get(id)
    if (entry === undefined) return
    this.#parked.delete(id)
    this.#parkedPieces -= entry.pieces
  }
}

function poison(outcome: Outcome & { readonly type: 'crashed' }, attempts: number): Failure {
  const { messageType, error } = outcome
  return {
    code: 'RUNTIME_DELIVERY_PARKED',
    text: `Its handler crashed ${attempts} times on "${messageType}": ${error}`.slice(0, 1_024),
    details: { type: messageType, attempts, error },
  }
}

/** Who is forgotten first: the dead, then those that know all, then those that were silent longest. */
function isBefore(one: ConsumerStream, other: ConsumerStream): boolean {
  if (one.isAway !== other.isAway) return one.isAway
  if (one.isSettled !== other.isSettled) return one.isSettled
  return one.heardAt < other.heardAt
}

function unreachable(value: never): never {
  throw new Error(`Unreachable: ${JSON.stringify(value)}`)
}
