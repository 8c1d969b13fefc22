/**
 * The receiving half of a link's state: bytes in, calls to the sink out. Everything that a peer can get wrong
 * is a `WireFault`, after which the connection is of no more use: the two ends may no longer agree on a
 * number.
 *
 * Order of trust: size of the frame, structural walk, decode, shape of each envelope, then the sink, who
 * validates the message itself against its schema.
 */
import { decode, inspectCbor, isForbiddenKey } from '@understudy/runtime/codec'
import type { CborFaultCode, CborLimits, RefResolver } from '@understudy/runtime/codec'

import {
  ANNOUNCE_RECIPIENT,
  ANNOUNCE_TYPE,
  ASK,
  CANCEL,
  FAIL,
  GOODBYE,
  HEARTBEAT,
  PING,
  PONG,
  RECIPIENT_ACTOR,
  RECIPIENT_ENTITY,
  REPLY,
  TELL,
  TERMINATED,
  UNWATCH,
  WATCH,
} from './envelope-tag.ts'
import type { FrameSink, IncomingType } from './frame-sink.ts'
import { compiledBuilder, interpretedBuilder, missingFields } from './message-builder.ts'
import type { MessageBuilder } from './message-builder.ts'
import {
  chainLengthMax,
  fieldsMax,
  nameLengthMax,
  pathLengthMax,
  reasonLengthMax,
  resolveWireLimits,
  textLengthMax,
  typesMax,
} from './wire-limits.ts'
import type { ResolvedWireLimits, WireLimits } from './wire-limits.ts'
import type {
  CallChainLink,
  IncomingRecipient,
  WireMessage,
  WireMessageValue,
  WireProtocol,
} from './wire-protocol.ts'

/** What was wrong with a frame. The first line is found before anything is decoded. */
export type WireFaultCode =
  | 'frame-too-large'
  | CborFaultCode
  | 'undecodable'
  | 'too-many-envelopes'
  | 'bad-envelope'
  | 'unknown-number'
  | 'table-full'

/** Why a frame was refused; the connection must be closed. Envelopes before the faulty one were delivered. */
export interface WireFault {
  readonly code: WireFaultCode
  /**
   * One line for a log: what was found, where, and what would be right. Holds nothing that the peer wrote.
   */
  readonly message: string
}

/** What a decoder is made of. */
export interface FrameDecoderOptions {
  readonly limits?: WireLimits | undefined
  /**
   * Our own protocols by name. Asked when a type is announced, and again for each message of one that was
   * unknown.
   */
  readonly protocols: (name: string) => Pick<WireProtocol, 'messages'> | undefined
  /**
   * Makes refs of their parts. Should return something for parts it cannot resolve: a throw costs the
   * connection.
   */
  readonly resolveRef: RefResolver
  readonly sink: FrameSink
}

/**
 * Uses before a type's builder is compiled, which costs about as much as 600 interpreted messages: a type
 * that came sixteen times is one that keeps coming.
 */
const compileAfter = 16
const noChain: readonly CallChainLink[] = Object.freeze([])

/** A message type that the peer announced, and what we know of it. */
class AnnouncedType implements IncomingType {
  readonly protocol: string
  readonly type: string
  readonly announced: readonly string[]
  kind: 'tell' | 'ask' = 'tell'
  slot: unknown = undefined
  local: WireMessage | undefined = undefined
  build: MessageBuilder | undefined = undefined
  uses = 0

  constructor(protocol: string, type: string, announced: readonly string[]) {
    this.protocol = protocol
    this.type = type
    this.announced = announced
  }

  /** Maps the type to our schema. False while our side does not know it. */
  resolve(messages: Readonly<Record<string, WireMessage>> | undefined): boolean {
    if (messages === undefined || !Object.hasOwn(messages, this.type)) return false
    const local = messages[this.type] as WireMessage
    this.local = local
    this.kind = local.kind
    this.build = interpretedBuilder(this.type, local.fields, this.announced)
    return true
  }

  compile(): void {
    if (this.local !== undefined) this.build = compiledBuilder(this.type, this.local.fields, this.announced)
  }
}

/**
 * One per connection and direction. After a fault every further `read` returns that fault.
 *
 * Hot path: `read` (benchmark: wire decode).
 */
export class FrameDecoder {
  readonly #limits: ResolvedWireLimits
  readonly #cborLimits: CborLimits
  readonly #protocols: FrameDecoderOptions['protocols']
  readonly #resolveRef: RefResolver
  readonly #sink: FrameSink
  readonly #recipients: IncomingRecipient[] = []
  readonly #types: AnnouncedType[] = []
  #fault: WireFault | undefined

  /** @throws {RangeError} if a limit is out of its range. */
  constructor(options: FrameDecoderOptions) {
    this.#limits = resolveWireLimits(options.limits)
    this.#cborLimits = { slotsMax: this.#limits.frameSlotsMax }
    this.#protocols = options.protocols
    this.#resolveRef = options.resolveRef
    this.#sink = options.sink
  }

  /** Reads one frame and calls the sink for each envelope. Keeps no part of `frame`. */
  read(frame: Uint8Array): WireFault | undefined {
    if (this.#fault === undefined) this.#fault = this.#read(frame)
    return this.#fault
  }

  #read(frame: Uint8Array): WireFault | undefined {
    if (frame.length > this.#limits.frameBytesMax) {
      return fault(
        'frame-too-large',
        `a frame of ${frame.length} bytes, the limit is ${this.#limits.frameBytesMax}`,
      )
    }
    const found = inspectCbor(frame, this.#cborLimits)
    if (found !== undefined) {
      return fault(
        found.code,
        `a frame of ${frame.length} bytes is refused at byte ${found.offset}: ${found.code}`,
      )
    }
    let envelopes: unknown
    try {
      envelopes = decode(frame, this.#resolveRef)
    } catch (error) {
      return fault('undecodable', error instanceof Error ? error.message : 'the frame cannot be decoded')
    }
    if (!Array.isArray(envelopes)) return fault('bad-envelope', 'a frame must be a list of envelopes')
    if (envelopes.length > this.#limits.frameEnvelopesMax) {
      const limit = this.#limits.frameEnvelopesMax
      return fault('too-many-envelopes', `a frame of ${envelopes.length} envelopes, the limit is ${limit}`)
    }
    for (let index = 0; index < envelopes.length; index++) {
      const envelope: unknown = envelopes[index]
      const wrong = Array.isArray(envelope) ? this.#envelope(envelope) : bad('an envelope must be a list')
      if (wrong !== undefined) return { code: wrong.code, message: `envelope ${index}: ${wrong.message}` }
    }
    return undefined
  }

  #envelope(envelope: readonly unknown[]): WireFault | undefined {
    switch (envelope[0]) {
      case TELL:
        return this.#tell(envelope)
      case ASK:
        return this.#ask(envelope)
      case REPLY:
        if (envelope.length !== 3 || !isId(envelope[1])) return bad('reply')
        this.#sink.onReply(envelope[1], envelope[2])
        return undefined
      case FAIL:
        return this.#failed(envelope)
      case ANNOUNCE_RECIPIENT:
        return this.#announceRecipient(envelope)
      case ANNOUNCE_TYPE:
        return this.#announceType(envelope)
      case WATCH:
        return this.#watch(envelope)
      case TERMINATED:
        return this.#terminated(envelope)
      case UNWATCH:
        if (envelope.length !== 2 || !isId(envelope[1])) return bad('unwatch')
        this.#sink.onUnwatch(envelope[1])
        return undefined
      case CANCEL:
        if (envelope.length !== 2 || !isId(envelope[1])) return bad('cancel')
        this.#sink.onCancel(envelope[1])
        return undefined
      case HEARTBEAT:
        if (envelope.length !== 3 || !isId(envelope[1])) return bad('heartbeat')
        if (envelope[2] !== PING && envelope[2] !== PONG) return bad('heartbeat')
        this.#sink.onHeartbeat(envelope[1], envelope[2] === PING ? 'ping' : 'pong')
        return undefined
      case GOODBYE:
        if (envelope.length !== 2 || !isText(envelope[1], reasonLengthMax)) return bad('goodbye')
        this.#sink.onGoodbye(envelope[1])
        return undefined
      default:
        return bad('its kind is not known in this protocol version')
    }
  }

  #tell(envelope: readonly unknown[]): WireFault | undefined {
    if (envelope.length !== 4) return bad('tell')
    const recipient = this.#recipient(envelope[1])
    if (recipient === undefined) return noRecipient()
    const type = this.#type(envelope[2])
    if (type === undefined) return noType()
    const body = envelope[3]
    if (!Array.isArray(body) || body.length !== type.announced.length) return badBody()
    const message = this.#message(undefined, recipient, type, body)
    if (message !== undefined) this.#sink.onTell(recipient, type, message)
    return undefined
  }

  #ask(envelope: readonly unknown[]): WireFault | undefined {
    const askId = envelope[1]
    if (envelope.length !== 8 || !isId(askId)) return bad('ask')
    const recipient = this.#recipient(envelope[2])
    if (recipient === undefined) return noRecipient()
    const type = this.#type(envelope[3])
    if (type === undefined) return noType()
    const body = envelope[4]
    if (!Array.isArray(body) || body.length !== type.announced.length) return badBody()
    const remaining = envelope[5]
    if (remaining !== null && !isId(remaining)) return bad('ask: its deadline')
    const sender = envelope[6]
    if (sender !== null && !isText(sender, pathLengthMax)) return bad('ask: its sender')
    const chain = readChain(envelope[7])
    if (chain === undefined) return bad('ask: its call chain')
    const message = this.#message(askId, recipient, type, body)
    if (message !== undefined) {
      this.#sink.onAsk(askId, recipient, type, message, remaining ?? undefined, sender ?? undefined, chain)
    }
    return undefined
  }

  /** The message, or undefined after telling the sink why there is none. */
  #message(
    askId: number | undefined,
    recipient: IncomingRecipient,
    type: AnnouncedType,
    body: readonly unknown[],
  ): WireMessageValue | undefined {
    const build = type.build
    if (build === undefined) {
      // Not known when it was announced; it may have been registered here since.
      if (type.resolve(this.#protocols(type.protocol)?.messages))
        return this.#message(askId, recipient, type, body)
      this.#sink.onUnknown(askId, recipient, type.protocol, type.type)
      return undefined
    }
    if (type.uses < compileAfter && ++type.uses === compileAfter) type.compile()
    const message = build(body)
    if (message === undefined) {
      const missing = missingFields(body, type.local?.fields ?? [], type.announced)
      const problem = `must have ${missing.map((name) => `"${name}"`).join(' and ')}`
      this.#sink.onInvalid(askId, recipient, type.protocol, type.type, problem)
    }
    return message as WireMessageValue | undefined
  }

  #failed(envelope: readonly unknown[]): WireFault | undefined {
    const [, askId, code, message] = envelope
    if (envelope.length !== 5 || !isId(askId)) return bad('fail')
    if (!isText(code, reasonLengthMax) || !isText(message, textLengthMax))
      return bad('fail: its code or message')
    this.#sink.onFail(askId, code, message, envelope[4])
    return undefined
  }

  #watch(envelope: readonly unknown[]): WireFault | undefined {
    if (envelope.length !== 3 || !isId(envelope[1])) return bad('watch')
    const recipient = this.#recipient(envelope[2])
    if (recipient === undefined) return noRecipient()
    this.#sink.onWatch(envelope[1], recipient)
    return undefined
  }

  #terminated(envelope: readonly unknown[]): WireFault | undefined {
    const [, watchId, reason, detail] = envelope
    if (envelope.length !== 4 || !isId(watchId)) return bad('terminated')
    if (!isText(reason, reasonLengthMax)) return bad('terminated: its reason')
    if (detail !== null && !isText(detail, textLengthMax)) return bad('terminated: its detail')
    this.#sink.onTerminated(watchId, reason, detail ?? undefined)
    return undefined
  }

  #announceRecipient(envelope: readonly unknown[]): WireFault | undefined {
    const next = this.#recipients.length
    if (envelope.length !== 3 || envelope[1] !== next)
      return bad(`announced recipient: its number must be ${next}`)
    if (next >= this.#limits.recipientsMax) {
      return fault('table-full', `more than ${this.#limits.recipientsMax} recipients were announced`)
    }
    const recipient = readRecipient(envelope[2])
    if (recipient === undefined) return bad('announced recipient')
    this.#recipients.push(recipient)
    return undefined
  }

  #announceType(envelope: readonly unknown[]): WireFault | undefined {
    const next = this.#types.length
    if (envelope.length !== 5 || envelope[1] !== next)
      return bad(`announced type: its number must be ${next}`)
    if (next >= typesMax) return fault('table-full', `more than ${typesMax} message types were announced`)
    const [, , protocol, type, fields] = envelope
    if (!isText(protocol, nameLengthMax) || !isText(type, nameLengthMax))
      return bad('announced type: its names')
    if (!isFieldList(fields)) return bad('announced type: its fields')
    const announced = new AnnouncedType(protocol, type, fields)
    announced.resolve(this.#protocols(protocol)?.messages)
    this.#types.push(announced)
    return undefined
  }

  #recipient(value: unknown): IncomingRecipient | undefined {
    return typeof value === 'number' ? this.#recipients[value] : readRecipient(value)
  }

  #type(value: unknown): AnnouncedType | undefined {
    return typeof value === 'number' ? this.#types[value] : undefined
  }
}

function readRecipient(value: unknown): IncomingRecipient | undefined {
  if (!Array.isArray(value) || value.length !== 3) return undefined
  const [kind, first, second] = value as readonly unknown[]
  if (kind === RECIPIENT_ACTOR && isText(first, pathLengthMax)) {
    if (second === null) return { kind: 'actor', path: first, uid: undefined, target: undefined }
    return isId(second) ? { kind: 'actor', path: first, uid: second, target: undefined } : undefined
  }
  if (kind === RECIPIENT_ENTITY && isText(first, nameLengthMax) && isText(second, pathLengthMax)) {
    return { kind: 'entity', name: first, key: second, target: undefined }
  }
  return undefined
}

function readChain(value: unknown): readonly CallChainLink[] | undefined {
  if (!Array.isArray(value) || value.length > chainLengthMax) return undefined
  if (value.length === 0) return noChain
  const chain: CallChainLink[] = []
  for (const link of value as readonly unknown[]) {
    if (!Array.isArray(link) || link.length !== 5) return undefined
    const [node, incarnation, uid, path, messageType] = link as readonly unknown[]
    if (!isText(node, nameLengthMax) || !isId(incarnation) || !isId(uid)) return undefined
    if (!isText(path, pathLengthMax) || !isText(messageType, nameLengthMax)) return undefined
    chain.push({ node, incarnation, uid, path, messageType })
  }
  return chain
}

function isFieldList(value: unknown): value is string[] {
  if (!Array.isArray(value) || value.length > fieldsMax) return false
  const names = new Set<unknown>(value)
  // A name twice would be two values for one field; `type` would overwrite what the message is.
  return (
    names.size === value.length &&
    !names.has('type') &&
    value.every((name) => isText(name, nameLengthMax) && !isForbiddenKey(name))
  )
}

function isText(value: unknown, lengthMax: number): value is string {
  return typeof value === 'string' && value.length <= lengthMax
}

function isId(value: unknown): value is number {
  return typeof value === 'number' && value >= 0 && Number.isSafeInteger(value)
}

function fault(code: WireFaultCode, message: string): WireFault {
  return { code, message }
}

function bad(what: string): WireFault {
  return fault('bad-envelope', `${what}: not of the form that this protocol version has`)
}

function badBody(): WireFault {
  return bad('a body must be a list as long as the announced fields')
}

function noRecipient(): WireFault {
  return fault('unknown-number', 'its recipient was not announced, or is malformed')
}

function noType(): WireFault {
  return fault('unknown-number', 'its message type was not announced')
}
