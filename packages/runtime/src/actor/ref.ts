/**
 * References to actors: the only way to reach one. A ref is a small value that can be stored, compared by `path` and
 * uid, and sent in a message to another node.
 */
import { EncodableRef } from '../codec/encodable-ref.ts'
import type { ActorError } from './actor-error.ts'
import { PendingAsk } from './call.ts'
import { Envelope, EnvelopeKind, type Message } from './envelope.ts'
import type { Kernel } from './kernel.ts'
import type {
  AskKeys,
  MessageDefs,
  MessageOf,
  PayloadOf,
  PayloadSchema,
  Protocol,
  ReplyOf,
  TellKeys,
  TellMessage,
} from './protocol.ts'
import type { WatchRecord } from './watch.ts'

declare const messagesType: unique symbol

export interface AskOptions {
  /**
   * How long to wait for the answer. `Infinity` only together with a `signal`. Inside a handler that is itself asked,
   * the remaining time of that ask is the upper bound. @default 5_000
   */
  readonly timeoutMs?: number | undefined
  /** Gives up when aborted: the promise rejects with `Aborted`, the outcome is unknown. */
  readonly signal?: AbortSignal | undefined
}

export interface RoomOptions {
  readonly signal?: AbortSignal | undefined
}

/** What every ref has, whatever it refers to. */
export interface AnyActorRef {
  /** Such as `/user/orders/7`, or `ws://host:port/user/orders/7` for an actor on another node. */
  readonly path: string
  /** Made at spawn, kept through restarts. `undefined`: the ref is unbound and finds its actor at each send. */
  readonly uid: number | undefined
  readonly protocol: Protocol
}

/**
 * A reference to an actor that takes the messages of `M`. A ref to the bigger protocol serves where a smaller one is
 * wanted, never the reverse.
 *
 * `tell` and `ask` here mean "from outside": no sender, no call chain, no fence. Inside a behaviour use `ctx.tell` and
 * `ctx.ask`.
 */
export interface ActorRef<M extends MessageDefs> extends AnyActorRef {
  /** Phantom: makes the compiler compare refs by their messages and not by guessed variance. */
  readonly [messagesType]?: { readonly [K in keyof M]-?: M[K] }
  /**
   * Sends and forgets: at most once, in order. Never throws. `false` when it was refused here and now (the actor is
   * gone or stopping, its mailbox is full, the message is invalid); what was refused is a dead letter.
   */
  readonly tell: (message: TellMessage<M>) => boolean
  /**
   * Sends and waits for the answer. Rejects with an `ActorError`: see its codes in docs/reference/errors.md. A timeout
   * means that the outcome is unknown.
   */
  readonly ask: <K extends AskKeys<M>>(
    message: MessageOf<M, K> & { readonly type: K },
    options?: AskOptions,
  ) => Promise<ReplyOf<M[K]>>
  /** Resolves when the mailbox has room (below its low-water mark): back-pressure. Rejects when the actor is gone. */
  readonly room: (options?: RoomOptions) => Promise<void>
}

/** The methods of a protocol: asks return promises, tells return whether the message was accepted here. */
export type Client<M extends MessageDefs> = {
  readonly [K in TellKeys<M>]: (...payload: PayloadArgument<PayloadOf<M[K]>>) => boolean
} & {
  readonly [K in AskKeys<M>]: (
    ...rest: [...PayloadArgument<PayloadOf<M[K]>>, options?: AskOptions]
  ) => Promise<ReplyOf<M[K]>>
}

type PayloadArgument<P> = unknown extends P ? [] : [payload: P]

/** @internal What the runtime needs of a ref, whatever stands behind it. */
export abstract class Ref extends EncodableRef {
  abstract readonly path: string
  abstract readonly uid: number | undefined
  abstract readonly protocol: Protocol

  /**
   * Hands over an envelope. `false`: refused; the envelope is a dead letter by then, and its call has failed.
   */
  abstract deliver(envelope: Envelope): boolean
  abstract room(options?: RoomOptions): Promise<void>
  /** Starts a watch; the record gets exactly one `ended`. */
  abstract addWatch(record: WatchRecord): void
  abstract removeWatch(record: WatchRecord): void
  /** The system that an ask from outside belongs to. */
  abstract get kernel(): Kernel

  tell(message: Message): boolean {
    return this.deliver(new Envelope(message, null, null, EnvelopeKind.user))
  }

  ask(message: Message, options?: AskOptions): Promise<unknown> {
    const { kernel } = this
    const problem = checkAskOptions(options)
    if (problem !== undefined) return Promise.reject(problem)
    const deadlineMs = kernel.loopNow() + (options?.timeoutMs ?? kernel.askTimeoutMs)
    const call = new PendingAsk(kernel, deadlineMs, null, null, null, message.type, this)
    return sendAsk(this, call, message, null, options)
  }

  toJSON(): unknown {
    return { path: this.path, uid: this.uid, protocol: this.protocol.name }
  }

  override toString(): string {
    return this.uid === undefined ? this.path : `${this.path}#${this.uid}`
  }

  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return `ActorRef(${this.protocol.name} ${this.toString()})`
  }
}

/** @internal */
export function checkAskOptions(options: AskOptions | undefined): Error | undefined {
  const timeoutMs = options?.timeoutMs
  if (timeoutMs === undefined) return undefined
  if (!(timeoutMs >= 0)) {
    return new RangeError(`Cannot ask with timeoutMs ${timeoutMs}: it must be 0 or more milliseconds`)
  }
  if (timeoutMs === Number.POSITIVE_INFINITY && options?.signal === undefined) {
    return new RangeError(
      'Cannot ask with timeoutMs Infinity and no signal: give a signal that ends the wait',
    )
  }
  return undefined
}

/** @internal Sends `message` as the question of `call`, which is new. */
export function sendAsk(
  target: Ref,
  call: PendingAsk,
  message: Message,
  sender: Envelope['sender'],
  options: AskOptions | undefined,
): Promise<unknown> {
  const signal = options?.signal
  if (signal !== undefined) call.kernel.linkSignal(call, signal)
  if (!call.settled) target.deliver(new Envelope(message, sender, call, EnvelopeKind.user))
  return call.promise
}

/** @internal Fails an envelope's call, if it has one. */
export function failCall(envelope: Envelope, makeError: () => ActorError): void {
  if (envelope.call !== null && !envelope.call.settled) envelope.call.fail(makeError())
}

const clients = new WeakMap<
  Protocol,
  (ref: Ref, ask: AskFunction | null, tell: TellFunction | null) => unknown
>()
type AskFunction = (ref: Ref, message: Message, options?: AskOptions) => Promise<unknown>
type TellFunction = (ref: Ref, message: Message) => boolean

/**
 * Methods for a ref: `await client(ref).addAndGet({ by: 1 })`. Built from the protocol's names, no Proxy: it is not
 * thenable by mistake, and an unknown method is a compile error.
 */
export function client<M extends MessageDefs>(ref: ActorRef<M>): Client<M> {
  return makeClient(ref as unknown as Ref, null, null) as Client<M>
}

/** @internal A client whose messages leave through `ask` and `tell` (a context's). */
export function makeClient(ref: Ref, ask: AskFunction | null, tell: TellFunction | null): unknown {
  let factory = clients.get(ref.protocol)
  if (factory === undefined) {
    factory = clientFactory(ref.protocol)
    clients.set(ref.protocol, factory)
  }
  return factory(ref, ask, tell)
}

const refKey = Symbol('ref')
const askKey = Symbol('ask')
const tellKey = Symbol('tell')

interface ClientState {
  readonly [refKey]: Ref
  readonly [askKey]: AskFunction | null
  readonly [tellKey]: TellFunction | null
}

function clientFactory(
  protocol: Protocol,
): (ref: Ref, ask: AskFunction | null, tell: TellFunction | null) => unknown {
  const prototype = {}
  for (const [type, definition] of Object.entries(protocol.messages)) {
    const { schema } = definition as { readonly schema?: PayloadSchema }
    const hasFields = schema !== undefined && Object.keys(schema.properties).length > 0
    const method =
      definition.kind === 'tell'
        ? function (this: ClientState, payload?: object): boolean {
            const message = { ...payload, type }
            return this[tellKey] === null ? this[refKey].tell(message) : this[tellKey](this[refKey], message)
          }
        : function (this: ClientState, first?: object, second?: AskOptions): Promise<unknown> {
            const message = hasFields ? { ...first, type } : { type }
            const options = hasFields ? second : (first as AskOptions | undefined)
            return this[askKey] === null
              ? this[refKey].ask(message, options)
              : this[askKey](this[refKey], message, options)
          }
    Object.defineProperty(prototype, type, { value: method, enumerable: true })
  }
  return (ref, ask, tell) =>
    Object.assign(Object.create(prototype) as object, { [refKey]: ref, [askKey]: ask, [tellKey]: tell })
}
