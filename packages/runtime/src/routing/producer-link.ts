/**
 * The actor of a reliable producer: feeds the core with what comes from the consumer and from the clock, and carries out
 * what it wants. What messages are, and who waits for them, is the business of producer-port.ts.
 */
import type { ActorError } from '../actor/actor-error.ts'
import type { ActorContextImpl } from '../actor/context.ts'
import type { Message } from '../actor/envelope.ts'
import type { LocalRef } from '../actor/local-ref.ts'
import type { Ref } from '../actor/ref.ts'
import type { EndReason } from '../actor/watch.ts'
import { CoreShell } from '../core/core-shell.ts'
import { crc32c } from '../platform/crc32c.ts'
import type { Clock } from '../platform/platform.ts'
import type { PieceBody } from './chunk-codec.ts'
import {
  ProducerCore,
  type ProducerCoreOptions,
  type ProducerCoreStatus,
  type ProducerEffect,
  type ProducerInput,
} from './producer-core.ts'
import { DeliveryLost, NoConsumer } from './reliable-error.ts'
import { reliableVersion, type FailedPiece, type Introduced } from './reliable-protocol.ts'

/** What is told when an offer is settled: why it was not handled, if it was not. */
export type OnSettled = (offer: number, failed: FailedPiece | 'not-sent' | 'unknown' | undefined) => void

export interface ProducerLinkOptions extends ProducerCoreOptions {
  /** Name of the protocol whose messages are sent. */
  readonly protocolName: string
  readonly target: Ref
  readonly onSettled: OnSettled
}

/** A node that restarts, or an actor that moves, is back sooner. */
const warnAfterMs = 10_000

/** @internal */
export class ProducerLink {
  readonly #options: ProducerLinkOptions
  readonly #target: Ref
  readonly #core: ProducerCore
  #shell: CoreShell<ProducerInput, ProducerEffect, ProducerCoreStatus> | undefined
  #context: ActorContextImpl | undefined
  #self: LocalRef | undefined
  /** Which life of the producer this is. */
  #id = ''
  #due: (() => void) | undefined
  /** What was refused a moment ago would be refused again, and each refusal is a dead letter. */
  #isBlocked = false
  /** The piece that was refused last; 0 once another one was taken. */
  #refused = 0
  #bytesMax = Number.POSITIVE_INFINITY
  #seekingSinceMs: number | undefined
  #hasWarned = false
  #reason: ActorError | undefined

  constructor(options: ProducerLinkOptions) {
    this.#options = options
    this.#target = options.target
    this.#core = new ProducerCore(options)
  }

  get id(): string {
    return this.#id
  }

  /** Why it has ended of itself; `undefined` while it has not. */
  get reason(): ActorError | undefined {
    return this.#reason
  }

  /** What the consumer puts together at most; `Infinity` before it was found. */
  get bytesMax(): number {
    return this.#bytesMax
  }

  status(): ProducerCoreStatus {
    return this.#core.status()
  }

  bind(self: LocalRef, id: string): void {
    this.#self = self
    this.#id = id
  }

  offer(offer: number, bodies: readonly PieceBody[]): void {
    this.#step({ type: 'offer', offer, bodies })
  }

  /** All is acknowledged, and nothing more comes: the consumer need not remember this producer. */
  sayGoodbye(): void {
    const context = this.#context
    if (context?.live !== true || this.#core.status().phase !== 'linked') return
    context.tell(this.#target, { type: 'bye', producer: this.#id } as Message)
  }

  /** The actor has ended: what is left is settled. */
  close(reason: ActorError): void {
    this.#reason ??= reason
    this.#shell?.close()
    // No shell steps the core any more, and only these effects are of any use now.
    for (const effect of this.#core.step({ type: 'end' }, 0)) {
      if (effect.type === 'settled') this.#options.onSettled(effect.offer, effect.failed)
    }
  }

  /** The handlers of its only incarnation. */
  begin(context: ActorContextImpl): object {
    this.#context = context
    const shell = new CoreShell<ProducerInput, ProducerEffect, ProducerCoreStatus>({
      core: this.#core,
      clock: this.#clock(context),
      tick: { type: 'tick' },
      carryOut: (effect) => this.#carryOut(effect),
    })
    this.#shell = shell
    shell.step({ type: 'started' })
    return {
      ack: ({ producer, ...ack }: AckMessage) => {
        if (producer !== this.#id) return
        this.#step({ ...ack, type: 'ack' })
      },
      unknown: ({ producer }: { readonly producer: string }) => {
        if (producer === this.#id) this.#step({ type: 'unknown' })
      },
      introduced: ({ reply }: { readonly reply: Introduced }) => {
        this.#bytesMax = reply.messageBytesMax
        this.#step({ type: 'introduced', reply })
      },
      'hello-failed': ({ error }: { readonly error: ActorError }) => this.#helloFailed(context, error),
      'consumer-ended': ({ reason }: { readonly reason: EndReason }) => this.#consumerEnded(reason),
      due: () => this.#due?.(),
    }
  }

  /** Time comes as a message of the actor's own: while its node holds its actors, nothing is sent. */
  #clock(context: ActorContextImpl): Clock {
    const { clock } = context.cell.kernel
    return {
      monotonicMs: () => clock.monotonicMs(),
      wallMs: () => clock.wallMs(),
      slotMs: clock.slotMs,
      setTimer: (atMs, fire) => {
        this.#due = fire
        context.timers.once('due', Math.max(0, atMs - clock.monotonicMs()), { type: 'due' })
        return { cancel: () => void context.timers.cancel('due') }
      },
    }
  }

  #step(input: ProducerInput): void {
    if (this.#shell !== undefined) this.#shell.step(input)
    // Its first turn is still to come: a message waits for it, and nothing else can happen.
    else this.#core.step(input, 0)
  }

  #carryOut(effect: ProducerEffect): void {
    const context = this.#context
    if (context === undefined) return
    switch (effect.type) {
      case 'hello':
        this.#hello(context, effect.first)
        break
      case 'send':
        this.#send(context, effect)
        break
      case 'probe':
        this.#isBlocked = false
        context.tell(this.#target, {
          type: 'probe',
          producer: this.#id,
          from: this.#self,
          number: effect.number,
        } as Message)
        break
      case 'settled':
        this.#options.onSettled(effect.offer, effect.failed)
        break
      case 'linked':
        this.#isBlocked = false
        this.#linked(context, effect.isOther)
        break
      case 'seeking':
        this.#seekingSinceMs ??= context.now()
        break
      case 'ended':
        context.stop()
        break
      default:
        unreachable(effect)
    }
  }

  #hello(context: ActorContextImpl, first: number): void {
    const message = { type: 'hello', version: reliableVersion, producer: this.#id, from: this.#self, first }
    context.request(
      this.#target,
      message,
      (reply) => ({ type: 'introduced', reply }) as Message,
      (error) => ({ type: 'hello-failed', error }) as Message,
    )
  }

  #send(context: ActorContextImpl, { sequence, confirmed, body }: SendEffect): void {
    if (this.#isBlocked) return
    const piece = { producer: this.#id, sequence, confirmed }
    const { type, ...rest } = body as PieceBody
    const message =
      type === 'message'
        ? { type: 'deliver', ...piece, ...rest }
        : { type: 'chunk', ...piece, ...rest, crc: crc32c((rest as { readonly bytes: Uint8Array }).bytes) }
    if (context.tell(this.#target, message)) {
      this.#refused = 0
      return
    }
    this.#isBlocked = true
    this.#step({ type: 'blocked', sequence })
    // Where there is room and the very same is refused again, room is not what it lacks: the next probe tries.
    const isAgain = this.#refused === sequence
    this.#refused = sequence
    if (isAgain) return
    this.#target.room({ signal: context.signal }).then(
      () => {
        this.#isBlocked = false
        this.#step({ type: 'unblocked' })
      },
      // It is gone, or its node is: a probe finds out.
      () => undefined,
    )
  }

  #linked(context: ActorContextImpl, isOther: boolean): void {
    const { path } = this.#target
    if (this.#seekingSinceMs !== undefined) {
      const soughtMs = Math.round(context.now() - this.#seekingSinceMs)
      const level = this.#hasWarned ? 'info' : 'debug'
      context.log[level]({ consumer: path, soughtMs, isOther }, `${context.path} found its consumer ${path}`)
    }
    this.#seekingSinceMs = undefined
    this.#hasWarned = false
    context.watch(this.#target, (reason) => ({ type: 'consumer-ended', reason }) as Message)
  }

  #helloFailed(context: ActorContextImpl, error: ActorError): void {
    const { path } = this.#target
    const final = this.#finalError(error)
    if (final === undefined) {
      context.log.debug({ consumer: path, code: error.code }, `${context.path} did not find ${path}`)
      this.#warnOnce(context, error)
    } else {
      this.#reason = final
      context.log.error({ consumer: path, code: final.code }, `${context.path} has ended: ${final.message}`)
    }
    this.#step({ type: 'hello-failed', isFinal: final !== undefined })
  }

  /** Its letters to nobody are logged at debug, so a path where nobody ever comes would not show. */
  #warnOnce(context: ActorContextImpl, { code, message }: ActorError): void {
    const soughtMs = Math.round(context.now() - (this.#seekingSinceMs ?? context.now()))
    if (this.#hasWarned || soughtMs < warnAfterMs) return
    this.#hasWarned = true
    const { path } = this.#target
    context.log.warn(
      { consumer: path, code, soughtMs },
      `${context.path} has found no consumer at ${path} for ${soughtMs} ms (${message}); it goes on looking, and what is not ` +
        'acknowledged waits',
    )
  }

  /** What no other attempt would mend. */
  #finalError({ code, message, details }: ActorError): ActorError | undefined {
    const { path, uid } = this.#target
    const { protocolName } = this.#options
    switch (code) {
      case 'RUNTIME_UNKNOWN_MESSAGE':
      case 'RUNTIME_INVALID_MESSAGE': {
        const text = `${path} is no reliable consumer of protocol "${protocolName}": ${message}`
        return new NoConsumer(text, { path, protocol: protocolName })
      }
      case 'RUNTIME_REJECTED': {
        if (details['reason'] !== 'version') return undefined
        const text = `${path} speaks another version of reliable delivery than ${reliableVersion}: update the older node`
        return new NoConsumer(text, { path, protocol: protocolName, version: reliableVersion })
      }
      case 'RUNTIME_ACTOR_STOPPED':
      case 'RUNTIME_NO_SUCH_ACTOR':
        return uid === undefined ? undefined : this.#consumerGone(message)
      default:
        return undefined
    }
  }

  #consumerEnded(reason: EndReason): void {
    const isFinal = this.#target.uid !== undefined
    if (isFinal) this.#reason ??= this.#consumerGone(reason)
    this.#step({ type: 'consumer-ended', isFinal })
  }

  #consumerGone(why: string): DeliveryLost {
    const { path } = this.#target
    return new DeliveryLost(`its consumer ${path} is gone for good: ${why}`, { path })
  }
}

type SendEffect = ProducerEffect & { readonly type: 'send' }
type AckMessage = Omit<ProducerInput & { readonly type: 'ack' }, 'type'> & { readonly producer: string }

function unreachable(value: never): never {
  throw new Error(`Unreachable: ${JSON.stringify(value)}`)
}
