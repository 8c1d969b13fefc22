/**
 * A protocol is a value: the messages an actor takes, and what it answers.
 *
 * From this one value come the ref's type, the reply types, the handlers' types, the validator and the wire's names.
 * `Static` of a schema is computed once, in `tell()` and `ask()`, and carried along as a phantom property; everything
 * behind it is constrained by `{ kind }` alone. That is what keeps a protocol of 60 messages cheap to check.
 */
import type { Static, TObject, TProperties, TSchema, TUnsafe } from 'typebox'
import type { ActorRef } from './ref.ts'

declare const payloadType: unique symbol
declare const replyType: unique symbol

/**
 * Which queue a message takes between two nodes. `control` is for heartbeats of protocols, `bulk` for large transfers
 * that must delay nobody. FIFO holds per (sender, receiver, lane). Default `data`.
 */
export type Lane = 'control' | 'data' | 'bulk'

/** The JSON Schema of a payload: an object whose properties are the message's fields. */
export interface PayloadSchema {
  readonly type: 'object'
  readonly properties: Readonly<Record<string, TSchema>>
  readonly required: readonly string[]
  readonly additionalProperties: false
}

/**
 * A message without an answer. Made by `tell()`; `P` is the type of its fields. Who takes it takes what it holds, so its
 * fields stand where arguments stand: a ref that wants more of them does not serve where one that wants less is wanted.
 */
export interface Tell<P> {
  readonly kind: 'tell'
  readonly lane: Lane
  readonly schema: PayloadSchema
  readonly [payloadType]: (payload: P) => void
}

/** A message with an answer of type `R`. Made by `ask()`. */
export interface Ask<P, R> {
  readonly kind: 'ask'
  readonly lane: Lane
  readonly schema: PayloadSchema
  readonly reply: TSchema
  readonly [payloadType]: (payload: P) => void
  readonly [replyType]: R
}

/** What a map of messages is constrained by. Shallow on purpose: see the head of this file. */
export type MessageDefs = Readonly<Record<string, { readonly kind: 'tell' | 'ask' }>>

/** The fields of one message, without `type`. `unknown` when it has none. */
export type PayloadOf<D> = D extends { readonly [payloadType]: (payload: infer P) => void } ? P : never

/** The answer to one message. */
export type ReplyOf<D> = D extends { readonly [replyType]: infer R } ? R : never

/** The names of the messages that are told. */
export type TellKeys<M> = { [K in keyof M]: M[K] extends { readonly kind: 'tell' } ? K : never }[keyof M] &
  string

/** The names of the messages that are asked. */
export type AskKeys<M> = { [K in keyof M]: M[K] extends { readonly kind: 'ask' } ? K : never }[keyof M] &
  string

/** One message as it is sent: a plain object with its `type` and its fields. */
export type MessageOf<M, K extends keyof M & string> = { readonly type: K } & PayloadOf<M[K]>

/** Any message of `M` that is told. */
export type TellMessage<M> = { [K in TellKeys<M>]: MessageOf<M, K> }[TellKeys<M>]

/** Any message of `M`. */
export type AnyMessage<M> = { [K in keyof M & string]: MessageOf<M, K> }[keyof M & string]

/** The messages of one kind of actor, by name. Made by `protocol()`; compared by identity on one node, by name on the wire. */
export interface Protocol<out M extends MessageDefs = MessageDefs> {
  readonly name: string
  readonly messages: M
  /** What its actors bear; see `ProtocolOptions`. Left out: as `reliable`. */
  readonly delivery?: Delivery | undefined
  /** What its senders bear; see `ProtocolOptions`. Left out: as `unexpected`. */
  readonly absence?: 'unexpected' | 'expected' | undefined
}

/** See `ProtocolOptions.delivery`. */
export type Delivery = 'reliable' | 'lossy'

export interface ProtocolOptions {
  /**
   * `lossy`: its actors bear that single told messages are lost, come twice, come again later, or overtake each other.
   * On a real network nothing changes: it tells a simulated one what it may do to them. Asks are not touched.
   * @default 'reliable'
   */
  readonly delivery?: Delivery | undefined
  /**
   * `expected`: its senders reckon with it that nobody is there, not yet or not any more; they send again, or have no need to.
   * A dead letter because of that (`not-found`, `stopping`, `stopped`, `node-down`) is counted and told to listeners like any
   * other, and logged at debug, also on a node that has no actor of it yet, where the protocol is made in its process. The
   * other reasons are warned of.
   * @default 'unexpected': every dead letter is a warning
   */
  readonly absence?: 'unexpected' | 'expected' | undefined
}

/** The type of `messages` of a protocol. */
export type MessagesOf<P> = P extends Protocol<infer M> ? M : never

export interface MessageOptions {
  /** @default 'data' */
  readonly lane?: Lane | undefined
}

type StaticFields<P extends TProperties> = keyof P extends never ? unknown : Static<TObject<P>>

/**
 * A message without an answer. `fields` are TypeBox schemas by name; a message without fields is `tell()`.
 *
 * @throws {TypeError} if a field is named `type` (the message's own name stands there) or is not a schema
 */
export function tell<P extends TProperties = {}>(
  fields?: P,
  options?: MessageOptions,
): Tell<StaticFields<P>> {
  return Object.freeze({
    kind: 'tell',
    lane: options?.lane ?? 'data',
    schema: payloadSchema(fields ?? {}),
  }) as Tell<StaticFields<P>>
}

/**
 * A message with an answer: `ask(reply)` has no fields, `ask(fields, reply)` has some.
 *
 * @throws {TypeError} if a field is named `type` or is not a schema
 */
export function ask<R extends TSchema>(reply: R): Ask<unknown, Static<R>>
export function ask<P extends TProperties, R extends TSchema>(
  fields: P,
  reply: R,
  options?: MessageOptions,
): Ask<StaticFields<P>, Static<R>>
export function ask(
  fieldsOrReply: TProperties | TSchema,
  reply?: TSchema,
  options?: MessageOptions,
): Ask<unknown, unknown> {
  const fields = reply === undefined ? {} : (fieldsOrReply as TProperties)
  return Object.freeze({
    kind: 'ask',
    lane: options?.lane ?? 'data',
    schema: payloadSchema(fields),
    reply: reply ?? fieldsOrReply,
  }) as Ask<unknown, unknown>
}

/** Names that a message cannot have: they are found on every JavaScript object, or look like a promise. */
const reservedNames: ReadonlySet<string> = new Set([
  ...Object.getOwnPropertyNames(Object.prototype),
  'then',
  'type',
])
const namePattern = /^[A-Za-z][A-Za-z0-9_-]{0,62}$/

/**
 * Names a set of messages. The name is the protocol's identity between nodes: unique per node and, once released, for
 * ever.
 *
 * @throws {TypeError} if the name or a message's name is not `[A-Za-z][A-Za-z0-9_-]*` of at most 63 characters, or is
 *   one that every JavaScript object has (`constructor`, `toString`, `then`, ...)
 */
export function protocol<const M extends MessageDefs>(
  name: string,
  messages: M,
  options?: ProtocolOptions,
): Protocol<M> {
  if (!namePattern.test(name)) {
    throw new TypeError(`Cannot create protocol "${name}": its name must match ${namePattern.source}`)
  }
  checkMessageNames(`protocol "${name}"`, messages)
  // Always there, so that all protocols have one shape: it is looked at for each message from another node.
  const delivery = options?.delivery ?? 'reliable'
  const absence = options?.absence ?? 'unexpected'
  if (absence === 'expected') absentExpected.add(name)
  return Object.freeze({ name, messages: Object.freeze({ ...messages }), delivery, absence })
}

/**
 * Names of protocols whose `absence` is expected. By name and for the whole process: a node that has not started any actor of
 * a protocol knows no more of its messages, and that is when they find nobody.
 */
const absentExpected = new Set<string>()

/** @internal Whether the senders of that protocol reckon with it that nobody is there. */
export function expectsAbsence(protocolName: string): boolean {
  return absentExpected.has(protocolName)
}

/** @internal */
export function checkMessageNames(what: string, messages: MessageDefs): void {
  for (const [type, definition] of Object.entries(messages)) {
    if (reservedNames.has(type) || !namePattern.test(type)) {
      throw new TypeError(
        `Cannot create ${what}: message name "${type}" must match ${namePattern.source} and must not be a name that ` +
          `every JavaScript object has`,
      )
    }
    if (definition?.kind !== 'tell' && definition?.kind !== 'ask') {
      throw new TypeError(`Cannot create ${what}: message "${type}" must be made by tell() or ask()`)
    }
  }
}

/** A field, or a reply, that holds a reference to an actor of `target`. It crosses nodes as itself. */
export function refOf<M extends MessageDefs>(target: Protocol<M>): TUnsafe<ActorRef<M>> {
  // With the names of the messages: a ref to a bigger protocol serves here too, as it does for the compiler.
  const messages = Object.keys(target.messages)
  return { 'understudy:ref': { protocol: target.name, messages } } as unknown as TUnsafe<ActorRef<M>>
}

function payloadSchema(fields: TProperties): PayloadSchema {
  const required: string[] = []
  for (const [name, schema] of Object.entries(fields)) {
    if (name === 'type')
      throw new TypeError('Cannot create a message with a field "type": its name stands there')
    if (typeof schema !== 'object' || schema === null) {
      throw new TypeError(`Cannot create a message: field "${name}" must be a schema, got ${typeof schema}`)
    }
    // TypeBox marks an optional property with a hidden '~optional'; importing typebox for this would cost 100 ms.
    if (!('~optional' in schema)) required.push(name)
  }
  return { type: 'object', properties: { ...fields }, required, additionalProperties: false }
}
