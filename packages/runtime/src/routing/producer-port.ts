/**
 * The handle of a reliable producer: takes messages as long as there is room, and keeps who waits for what. It works in
 * place and not by messages, so that `tell` can say at once whether there is room; everything that waits is bounded.
 */
import { Aborted, ActorError, InvalidMessage, Rejected, toError } from '../actor/actor-error.ts'
import { blameKey } from '../actor/call.ts'
import type { ActorContextImpl } from '../actor/context.ts'
import { Envelope, EnvelopeKind, type Message } from '../actor/envelope.ts'
import { Refusal } from '../actor/isolation.ts'
import type { Kernel } from '../actor/kernel.ts'
import type { LocalRef } from '../actor/local-ref.ts'
import type { Protocol } from '../actor/protocol.ts'
import type { Ref, RoomOptions } from '../actor/ref.ts'
import { WatchRecord } from '../actor/watch.ts'
import { cutMessage, type PieceBody } from './chunk-codec.ts'
import type { ProducerCoreStatus } from './producer-core.ts'
import type { OnSettled, ProducerLink } from './producer-link.ts'
import { DeliveryFull, DeliveryLost, DeliveryParked, NoConsumer } from './reliable-error.ts'
import type { ProducerPlan } from './reliable-options.ts'
import type { FailedPiece } from './reliable-protocol.ts'

export interface SendOptions {
  /** Gives up when aborted: `RUNTIME_ABORTED`. What had room already is delivered all the same. */
  readonly signal?: AbortSignal | undefined
}

/** How a producer is doing. Plain data. */
export interface ProducerStatus extends ProducerCoreStatus {
  /** This life of it: what the consumer tells duplicates by. */
  readonly producer: string
  /** Calls of `send` that wait for room. */
  readonly waiting: number
}

export interface ProducerPortOptions {
  readonly plan: ProducerPlan
  readonly protocol: Protocol
  readonly target: Ref
  readonly link: ProducerLink
  readonly self: LocalRef
  /** The incarnation that sends; `undefined`: it is a system's. */
  readonly owner: ActorContextImpl | undefined
}

/** One message that was taken, or waits to be. */
interface Offer {
  readonly message: Message
  readonly bodies: readonly PieceBody[]
  /** `undefined`: it was told. */
  readonly settle: ((error: ActorError | undefined) => void) | undefined
}

/** @internal */
export class ProducerPort {
  readonly #plan: ProducerPlan
  readonly #protocol: Protocol
  readonly #target: Ref
  readonly #link: ProducerLink
  readonly #ref: LocalRef
  readonly #kernel: Kernel
  readonly #owner: ActorContextImpl | undefined
  /** Taken, and not settled, by number. */
  readonly #offers = new Map<number, Offer>()
  /** Their pieces. At most `bufferMax`. */
  #held = 0
  #nextOffer = 1
  /** Not taken for want of room, in order. */
  #waiting: Offer[] = []
  #rooms: { readonly resolve: () => void; readonly reject: (error: ActorError) => void }[] = []
  #isClosing = false
  #closed: Promise<void> | undefined
  #onDrained: (() => void) | undefined
  /** Why its actor was ended by somebody else. */
  #stopped: ActorError | undefined

  constructor(options: ProducerPortOptions) {
    this.#plan = options.plan
    this.#protocol = options.protocol
    this.#target = options.target
    this.#link = options.link
    this.#ref = options.self
    this.#kernel = options.self.kernel
    this.#owner = options.owner
    // However it ends, by a kill too, whoever waits is told.
    const watcher = { watchEnded: () => this.#ended(), forgetWatch: () => undefined }
    this.#ref.cell.addWatcher(new WatchRecord(watcher, this.#ref, () => ({ type: 'ended' })))
  }

  get path(): string {
    return this.#ref.path
  }

  /** Why it takes nothing any more; `undefined` while it does. */
  get #reason(): ActorError | undefined {
    return this.#link.reason ?? this.#stopped
  }

  // ---- The handle ----------------------------------------------------------------------------------------------

  readonly send = (message: Message, options?: SendOptions): Promise<void> => {
    const bodies = this.#cut(message)
    if (bodies instanceof ActorError) return this.#rejected(bodies)
    const isRoom = this.#hasRoom(bodies.length)
    if (!isRoom && this.#waiting.length >= this.#plan.waitingMax) {
      return this.#rejected(this.#full(message))
    }
    const signal = options?.signal
    return this.#promise<void>((resolve, reject) => {
      const abort = (): void => {
        this.#waiting = this.#waiting.filter((other) => other !== offer)
        const isTaken = [...this.#offers.values()].includes(offer)
        offer.settle?.(
          new Aborted(
            `Sending "${message.type}" to ${this.#target.path} was aborted`,
            this.#details(message.type, isTaken ? 'unknown' : 'not-sent'),
            signal?.reason,
          ),
        )
        this.#admit()
      }
      let isOpen = true
      const offer: Offer = {
        message,
        bodies,
        settle: (error) => {
          if (!isOpen) return
          isOpen = false
          signal?.removeEventListener('abort', abort)
          if (error === undefined) resolve()
          else reject(error)
        },
      }
      if (signal?.aborted === true) {
        abort()
        return
      }
      signal?.addEventListener('abort', abort, { once: true })
      if (isRoom) this.#take(offer)
      else this.#waiting.push(offer)
    })
  }

  readonly tell = (message: Message): boolean => {
    const bodies = this.#cut(message)
    if (bodies instanceof ActorError) {
      if (this.#reason === undefined) this.#logFailed(message, bodies)
      this.#deadLetter(message, this.#reason === undefined ? 'invalid' : 'stopped')
      return false
    }
    if (!this.#hasRoom(bodies.length)) return false
    this.#take({ message, bodies, settle: undefined })
    return true
  }

  readonly room = (options?: RoomOptions): Promise<void> => {
    const over = this.#overError('wait for room at')
    if (over !== undefined) return this.#rejected(over)
    if (this.#hasRoom(1)) return Promise.resolve()
    const signal = options?.signal
    return this.#promise<void>((resolve, reject) => {
      const abort = (): void => {
        this.#rooms = this.#rooms.filter((other) => other !== waiter)
        const { path } = this
        reject(new Aborted(`Waiting for room at ${path} was aborted`, { path }, signal?.reason))
      }
      const done = (): void => signal?.removeEventListener('abort', abort)
      const waiter = {
        resolve: () => {
          done()
          resolve()
        },
        reject: (error: ActorError) => {
          done()
          reject(error)
        },
      }
      if (signal?.aborted === true) {
        abort()
        return
      }
      signal?.addEventListener('abort', abort, { once: true })
      this.#rooms.push(waiter)
    })
  }

  readonly status = (): ProducerStatus => ({
    ...this.#link.status(),
    producer: this.#link.id,
    waiting: this.#waiting.length,
  })

  readonly close = (options?: { readonly drainMs?: number | undefined }): Promise<void> => {
    const drainMs = options?.drainMs ?? 5_000
    if (!(drainMs >= 0)) {
      throw new RangeError(
        `Cannot close ${this.path} with drainMs ${drainMs}: it must be 0 or more milliseconds`,
      )
    }
    this.#closed ??= this.#close(drainMs)
    return this.#closed
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  #close(drainMs: number): Promise<void> {
    this.#isClosing = true
    const { clock } = this.#kernel
    const { cell } = this.#ref
    this.#refuseRooms()
    return this.#promise((resolve) => {
      const timer = clock.setTimer(clock.monotonicMs() + drainMs, () => this.#onDrained?.())
      this.#onDrained = () => {
        this.#onDrained = undefined
        timer.cancel()
        if (this.#offers.size === 0) this.#link.sayGoodbye()
        cell.stop('stop', resolve)
      }
      this.#checkDrained()
    })
  }

  #checkDrained(): void {
    if (this.#offers.size === 0 && this.#waiting.length === 0) this.#onDrained?.()
  }

  // ---- Taking messages -----------------------------------------------------------------------------------------

  /** The pieces of a message that may be sent, or why it may not. */
  #cut(message: Message): readonly PieceBody[] | ActorError {
    const over = this.#overError('send over')
    if (over !== undefined) return over
    const kernel = this.#kernel
    const { messages, name } = this.#protocol
    const { chunkBytes, messageBytesMax } = this.#plan
    let problem: string
    try {
      const passed = kernel.guard.pass(messages, this.#target.path, message, kernel.isolation)
      if (passed instanceof Refusal) {
        problem = passed.message
      } else if (messages[passed.type]?.kind !== 'tell') {
        problem = `Cannot send "${passed.type}" of protocol "${name}" reliably: it is asked and not told; ask it of the worker`
      } else {
        const bytesMax = Math.min(messageBytesMax, this.#link.bytesMax)
        const bodies = cutMessage(passed, chunkBytes, bytesMax)
        if (typeof bodies !== 'string') return bodies
        problem = `Cannot send "${passed.type}" to ${this.#target.path}: ${bodies}`
      }
    } catch (error) {
      problem = `Cannot send a message to ${this.#target.path}: it cannot be read: ${toError(error).message}`
    }
    return new InvalidMessage(problem, { path: this.#target.path, outcome: 'not-sent' })
  }

  /** Nobody is overtaken: who waits is first. */
  #hasRoom(pieces: number): boolean {
    return this.#waiting.length === 0 && this.#held + pieces <= this.#plan.bufferMax
  }

  #take(offer: Offer): void {
    const number = this.#nextOffer++
    this.#offers.set(number, offer)
    this.#held += offer.bodies.length
    this.#link.offer(number, offer.bodies)
  }

  /** Room has come: those who wait take it, in order. */
  #admit(): void {
    // The end settles those who wait, too.
    while (this.#reason === undefined) {
      const next = this.#waiting[0]
      if (next === undefined || this.#held + next.bodies.length > this.#plan.bufferMax) break
      this.#waiting.shift()
      this.#take(next)
    }
    if (this.#rooms.length > 0 && this.#hasRoom(1))
      for (const waiter of this.#rooms.splice(0)) waiter.resolve()
    this.#checkDrained()
  }

  #full({ type }: Message): DeliveryFull {
    const { bufferMax, waitingMax } = this.#plan
    const text =
      `Cannot send "${type}" to ${this.#target.path}: ${bufferMax} pieces are not acknowledged yet and ${waitingMax} ` +
      `calls of send wait for room; await send, or room(), before the next`
    return new DeliveryFull(text, this.#details(type, 'not-sent'))
  }

  #overError(doing: string): ActorError | undefined {
    if (this.#reason !== undefined) {
      const { code, message } = this.#reason
      const text = `Cannot ${doing} ${this.path}: it has ended: ${message}`
      return code === 'RUNTIME_NO_CONSUMER'
        ? new NoConsumer(text, this.#details(undefined, 'not-sent'))
        : new DeliveryLost(text, this.#details(undefined, 'not-sent'))
    }
    if (!this.#isClosing) return undefined
    return new DeliveryLost(
      `Cannot ${doing} ${this.path}: it is being closed`,
      this.#details(undefined, 'not-sent'),
    )
  }

  #details(type: string | undefined, outcome: 'not-sent' | 'unknown'): Readonly<Record<string, unknown>> {
    return { path: this.#target.path, ...(type === undefined ? {} : { type }), outcome }
  }

  /** A promise that somebody awaits: whoever looks for handlers that wait for nothing sees it. */
  #promise<T>(
    executor: (resolve: (value: T) => void, reject: (error: ActorError) => void) => void,
  ): Promise<T> {
    const kernel = this.#kernel
    return new Promise<T>((resolve, reject) => {
      kernel.waiters++
      executor(
        (value) => {
          kernel.waiters--
          resolve(value)
        },
        (error) => {
          kernel.waiters--
          reject(this.#blamed(error))
        },
      )
    })
  }

  #rejected(error: ActorError): Promise<never> {
    return Promise.reject(this.#blamed(error))
  }

  /** One that nobody handles is laid at the door of the actor that sent, and not of the process. */
  #blamed(error: ActorError): ActorError {
    if (this.#owner !== undefined) {
      Object.defineProperty(error, blameKey, { value: this.#owner, enumerable: false, configurable: true })
    }
    return error
  }

  // ---- What became of messages ---------------------------------------------------------------------------------

  /** The actor has come to its end, for whatever reason. */
  #ended(): void {
    const stopped = new DeliveryLost(`${this.path} was stopped`, { path: this.#target.path })
    this.#stopped = stopped
    this.#link.close(stopped)
    for (const { message, settle } of this.#waiting.splice(0)) settle?.(this.#lost(message.type, 'not-sent'))
    this.#refuseRooms()
    this.#checkDrained()
  }

  #refuseRooms(): void {
    const error = this.#overError('wait for room at')
    if (error !== undefined) for (const waiter of this.#rooms.splice(0)) waiter.reject(error)
  }

  readonly settled: OnSettled = (number, failed) => {
    const offer = this.#offers.get(number)
    this.#offers.delete(number)
    if (offer === undefined) return
    const { message, bodies, settle } = offer
    this.#held -= bodies.length
    const error = failed === undefined ? undefined : this.#errorOf(message.type, failed)
    if (settle !== undefined) settle(error)
    else if (error !== undefined) this.#tellFailed(message, error)
    this.#admit()
  }

  #errorOf(type: string, failed: FailedPiece | 'not-sent' | 'unknown'): ActorError {
    if (typeof failed === 'string') return this.#lost(type, failed)
    const { code, text, details } = failed
    const { path } = this.#target
    if (code === 'RUNTIME_REJECTED') {
      return new Rejected(String(details['reason']), details['data'], { path, type })
    }
    if (code === 'RUNTIME_DELIVERY_PARKED') return new DeliveryParked(text, { ...details, path, type })
    if (code === 'RUNTIME_INVALID_MESSAGE') return new InvalidMessage(text, { ...details, path, type })
    return new ActorError(code, text, { ...details, path, type })
  }

  #lost(type: string, outcome: 'not-sent' | 'unknown'): ActorError {
    const why = this.#reason?.message ?? `${this.path} has ended`
    const details = this.#details(type, outcome)
    const text =
      outcome === 'not-sent'
        ? `"${type}" to ${this.#target.path} was not sent: ${why}`
        : `It is unknown whether "${type}" was handled by ${this.#target.path}: ${why}`
    return this.#reason?.code === 'RUNTIME_NO_CONSUMER'
      ? new NoConsumer(text, details)
      : new DeliveryLost(text, details)
  }

  /** Nobody awaits it. */
  #tellFailed(message: Message, error: ActorError): void {
    this.#logFailed(message, error)
    if (error.code === 'RUNTIME_DELIVERY_LOST' || error.code === 'RUNTIME_NO_CONSUMER') {
      this.#deadLetter(message, 'stopped')
    }
    const { onFailed } = this.#plan
    if (onFailed === undefined) return
    try {
      onFailed(message as never, error)
    } catch (thrown) {
      this.#kernel.log.error({ path: this.path, err: toError(thrown) }, `onFailed of ${this.path} threw`)
    }
  }

  #logFailed(message: Message, { code, message: text }: ActorError): void {
    // Whoever calls us without types may send anything.
    const type = String((message as Message | null | undefined)?.type)
    this.#kernel.log.warn({ path: this.path, type, code }, `"${type}" was not delivered: ${text}`)
  }

  #deadLetter(message: Message, reason: 'invalid' | 'stopped'): void {
    const envelope = new Envelope(message, null, null, EnvelopeKind.user)
    this.#kernel.hooks.deadLetter(envelope, reason, undefined, this.#target.path)
  }
}
