/**
 * The receiving half of a link's state: bytes in, calls to the sink out. Everything that a peer can get wrong
 * is a `WireFault`, after which the connection is of no more use: the two ends may no longer agree on a
 * number.
 *
 * Order of trust: size of the frame, structural walk, decode, shape of each envelope, then the sink, who
 * validates the message itself against its schema.
 */
import { decode, inspectCbor } from '@understudy/runtime/codec'
import type { CborFaultCode, CborLimits, RefResolver } from '@understudy/runtime/codec'

import {
  ANNOUNCE_RECIPIENT,
  ANNOUNCE_TYPE,
  ASK,
  CANCEL,
  CHOSEN,
  CREDIT,
  CREDIT_AGAIN,
  CREDIT_NONE,
  END_LANE,
  FAIL,
  GOODBYE,
  GOSSIP,
  HEARTBEAT,
  LANE_WANTED,
  PING,
  PONG,
  REPLY,
  TELL,
  TERMINATED,
  UNWATCH,
  WATCH,
  WATCHED,
} from './envelope-tag.ts'
import {
  isFieldList,
  isId,
  isText,
  readChain,
  readLane,
  readOtherLanes,
  readRecipient,
} from './envelope-parts.ts'
import type { FrameSink, IncomingType } from './frame-sink.ts'
import { compiledBuilder, interpretedBuilder, missingFields } from './message-builder.ts'
import type { MessageBuilder } from './message-builder.ts'
import {
  nameLengthMax,
  pathLengthMax,
  reasonLengthMax,
  resolveWireLimits,
  textLengthMax,
  typesMax,
} from './wire-limits.ts'
import type { ResolvedWireLimits, WireLimits } from './wire-limits.ts'
import type { IncomingRecipient, WireMessage, WireMessageValue, WireProtocol } from './wire-protocol.ts'

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
      case GOSSIP:
        if (envelope.length !== 2) return bad('gossip')
        this.#sink.onGossip(envelope[1])
        return undefined
      default:
        return this.#rarer(envelope)
    }
  }

  /** What comes a few times in the life of a link. */
  #rarer(envelope: readonly unknown[]): WireFault | undefined {
    switch (envelope[0]) {
      case CREDIT:
        return this.#credit(envelope)
      case WATCHED:
        if (envelope.length !== 4 || !isId(envelope[1]) || !isId(envelope[2])) return bad('watched')
        if (!isText(envelope[3], pathLengthMax)) return bad('watched: its path')
        this.#sink.onWatched(envelope[1], envelope[2], envelope[3])
        return undefined
      case LANE_WANTED:
      case END_LANE: {
        const lane = envelope.length === 2 ? readLane(envelope[1]) : undefined
        if (lane === undefined) return bad('lane')
        if (envelope[0] === LANE_WANTED) this.#sink.onLaneWanted(lane)
        else this.#sink.onEndLane(lane)
        return undefined
      }
      case CHOSEN:
        if (envelope.length !== 1) return bad('chosen')
        this.#sink.onChosen()
        return undefined
      case GOODBYE:
        return this.#goodbye(envelope)
      default:
        return bad('its kind is not known in this protocol version')
    }
  }

  #credit(envelope: readonly unknown[]): WireFault | undefined {
    const [, written, credit] = envelope
    const recipient = readRecipient(written)
    if (envelope.length !== 3 || recipient === undefined) return bad('credit')
    if (credit !== CREDIT_NONE && credit !== CREDIT_AGAIN) return bad('credit')
    this.#sink.onCredit(recipient, credit === CREDIT_AGAIN)
    return undefined
  }

  #goodbye(envelope: readonly unknown[]): WireFault | undefined {
    const [, reason, numbers = []] = envelope
    if (envelope.length < 2 || envelope.length > 3 || !isText(reason, reasonLengthMax)) return bad('goodbye')
    const lanes = readOtherLanes(numbers)
    if (lanes === undefined) return bad('goodbye: its lanes')
    this.#sink.onGoodbye(reason, lanes)
    return undefined
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
