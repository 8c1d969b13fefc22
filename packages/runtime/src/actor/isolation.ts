/**
 * How far a message is kept apart from its sender. JavaScript passes objects by reference: a sender that goes on
 * writing into a sent message is the commonest bug of actors in this language, and it works until the actor moves to
 * another node.
 */
import { decode, encode } from '../codec/codec.ts'
import { uncodable } from '../codec/uncodable.ts'
import type { Check, Mismatch, Validator } from '../validation/validator.ts'
import { createValidator, mismatchText } from '../validation/validator.ts'
import type { Message } from './envelope.ts'
import type { MessageDefs, PayloadSchema, Protocol } from './protocol.ts'
import { Ref } from './ref.ts'

/**
 * `reference`: as is, unchecked, for production. `freeze`: checked, and plain objects and arrays are frozen (bytes
 * cannot be: handing them over gives them away). `codec`: checked, and sent through the wire format and back, so that
 * what works here works between nodes.
 */
export type Isolation = 'reference' | 'freeze' | 'codec'

/** A message that may not pass: what is wrong, in words for the one who sent it. */
export class Refusal {
  readonly code: 'RUNTIME_INVALID_MESSAGE' | 'RUNTIME_UNKNOWN_MESSAGE'
  readonly message: string
  readonly path: string
  constructor(code: Refusal['code'], message: string, path: string) {
    this.code = code
    this.message = message
    this.path = path
  }
}

interface RawMessageDef {
  readonly kind: 'tell' | 'ask'
  readonly schema: PayloadSchema
  readonly reply?: object
}

interface MessageChecks {
  readonly message: Check
  readonly reply: Check | undefined
}

/**
 * Checks and copies messages and replies. One serves all systems of a process (`sharedGuard`): what it keeps is
 * compiled validators, by protocol and as long as that lives. Compiling costs about 1 ms a message, which a program pays
 * once; a test run with a thousand systems would pay it a thousand times.
 */
export class MessageGuard {
  readonly #validator: Validator
  readonly #checks = new WeakMap<MessageDefs, Map<string, MessageChecks>>()

  constructor() {
    this.#validator = createValidator({
      isRef: (value, { protocol, messages }) =>
        value instanceof Ref &&
        (value.protocol.name === protocol ||
          messages.every((type) => Object.hasOwn(value.protocol.messages, type))),
    })
  }

  /** Checks `message` against `messages`, and isolates it as `isolation` says. */
  pass(messages: MessageDefs, owner: string, message: Message, isolation: Isolation): Message | Refusal {
    const problem = this.check(messages, owner, message)
    if (problem !== undefined) return problem
    if (isolation === 'freeze') return deepFreeze(message)
    if (isolation === 'codec') {
      const fault = uncodable(message)
      if (fault !== undefined) {
        const where = fault.path === '' ? 'it' : `field "${fault.path}"`
        const text = `Cannot send "${message.type}" to ${owner}: ${where} is ${fault.what}, which cannot be sent`
        return new Refusal('RUNTIME_INVALID_MESSAGE', text, fault.path)
      }
      return roundTrip(message) as Message
    }
    return message
  }

  /** Checks only: for what has arrived from another node. */
  check(messages: MessageDefs, owner: string, message: Message): Refusal | undefined {
    const type: unknown = typeof message === 'object' && message !== null ? message.type : undefined
    if (typeof type !== 'string' || !Object.hasOwn(messages, type)) {
      const known = Object.keys(messages).join(', ')
      const text = `Cannot send "${String(type)}" to ${owner}: it takes only ${known === '' ? 'no messages' : known}`
      return new Refusal('RUNTIME_UNKNOWN_MESSAGE', text, 'type')
    }
    const mismatch = this.#checksOf(messages, owner, type).message(message)
    if (mismatch === undefined) return undefined
    return new Refusal(
      'RUNTIME_INVALID_MESSAGE',
      `Cannot send "${type}" to ${owner}: ${words(mismatch)}`,
      mismatch.path,
    )
  }

  /** Checks and isolates the reply to a message of type `type`. */
  passReply(
    messages: MessageDefs,
    owner: string,
    type: string,
    reply: unknown,
    isolation: Isolation,
  ): unknown {
    const mismatch = this.#checksOf(messages, owner, type).reply?.(reply)
    if (mismatch !== undefined) {
      return new Refusal(
        'RUNTIME_INVALID_MESSAGE',
        `Cannot reply to "${type}" from ${owner}: the reply does not fit its schema: ${words(mismatch)}`,
        mismatch.path,
      )
    }
    if (isolation === 'freeze') return deepFreeze(reply)
    if (isolation !== 'codec') return reply
    const fault = uncodable(reply)
    if (fault !== undefined) {
      const where = fault.path === '' ? 'it' : `field "${fault.path}"`
      const text = `Cannot reply to "${type}" from ${owner}: ${where} is ${fault.what}, which cannot be sent`
      return new Refusal('RUNTIME_INVALID_MESSAGE', text, fault.path)
    }
    return roundTrip(reply)
  }

  /** The compiled check of one message, for callers that keep it. */
  messageCheck(protocol: Protocol, type: string): Check {
    return this.#checksOf(protocol.messages, `protocol "${protocol.name}"`, type).message
  }

  /** The compiled check of one reply. */
  replyCheck(protocol: Protocol, type: string): Check | undefined {
    return this.#checksOf(protocol.messages, `protocol "${protocol.name}"`, type).reply
  }

  #checksOf(messages: MessageDefs, owner: string, type: string): MessageChecks {
    let byType = this.#checks.get(messages)
    if (byType === undefined) {
      byType = new Map()
      this.#checks.set(messages, byType)
    }
    let checks = byType.get(type)
    if (checks === undefined) {
      const definition = messages[type] as RawMessageDef
      const subject = `message "${type}" of ${owner}`
      const { schema, reply } = definition
      checks = {
        message: this.#validator.check(subject, {
          ...schema,
          properties: { type: { type: 'string' }, ...schema.properties },
          required: ['type', ...schema.required],
        }),
        reply: reply === undefined ? undefined : this.#validator.check(`reply of ${subject}`, reply),
      }
      byType.set(type, checks)
    }
    return checks
  }
}

/** The one guard. Pure but for its cache. */
export const sharedGuard = new MessageGuard()

function words(mismatch: Mismatch): string {
  return mismatchText(mismatch)
}

function roundTrip(value: unknown): unknown {
  const refs: Ref[] = []
  // A ref is put aside and put back: within one process it is itself.
  collectRefs(value, refs)
  return decode(encode(value), (parts) => refs.find((ref) => sameParts(ref, parts)))
}

function collectRefs(value: unknown, refs: Ref[]): void {
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return
  if (value instanceof Ref) {
    refs.push(value)
    return
  }
  for (const inner of Object.values(value)) collectRefs(inner, refs)
}

function sameParts(ref: Ref, parts: readonly unknown[]): boolean {
  const own = ref.refParts()
  return own.length === parts.length && own.every((part, index) => part === parts[index])
}

/** What was frozen here: an object that somebody else froze may still hold one that is not. */
const deeplyFrozen = new WeakSet<object>()

/** Freezes plain objects and arrays, deeply. Stops at what it froze before. */
export function deepFreeze<T>(value: T): T {
  if (typeof value !== 'object' || value === null || deeplyFrozen.has(value)) return value
  if (ArrayBuffer.isView(value) || value instanceof Ref) return value
  deeplyFrozen.add(Object.freeze(value))
  for (const inner of Object.values(value)) deepFreeze(inner)
  return value
}
