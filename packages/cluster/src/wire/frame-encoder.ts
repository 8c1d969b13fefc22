/**
 * The sending half of a link's state: writes envelopes into the current batch and cuts the batch into frames.
 *
 * An envelope is written at once, into the buffer that will leave: what a message looks like on the wire is
 * what it was when it was sent, a value that cannot travel is reported to the very call that sent it, and a
 * flush has nothing left to do but hand the bytes out. Recipients and message types are announced in front of
 * the first envelope that needs their number; frames leave in order, so the receiver always knows a number
 * before it meets it.
 */
import { CborWriter, CodecError, uncodable, valueDepthMax } from '@understudy/runtime/codec'

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
  laneOrder,
  PING,
  PONG,
  RECIPIENT_ACTOR,
  RECIPIENT_ENTITY,
  REPLY,
  TELL,
  TERMINATED,
  UNWATCH,
  WATCH,
  WATCHED,
} from './envelope-tag.ts'
import { fitting, frameHeaderBytes, recipientProblem, tooLarge, typeProblem } from './unsendable.ts'
import type { Unsendable } from './unsendable.ts'
import {
  chainLengthMax,
  nameLengthMax,
  pathLengthMax,
  reasonLengthMax,
  resolveWireLimits,
  textLengthMax,
} from './wire-limits.ts'
import type { ResolvedWireLimits, WireLimits } from './wire-limits.ts'
import type { CallChainLink, LaneName, Recipient, WireMessageValue, WireProtocol } from './wire-protocol.ts'

/** Recipients seen once that are remembered: only one seen again is busy enough for a number. */
const seenMax = 1_024
const fieldDepthMax = valueDepthMax - 1

/** A message type that was announced in this direction. */
class OutgoingType {
  readonly id: number
  readonly fields: readonly string[]
  readonly names: ReadonlySet<string>

  constructor(id: number, fields: readonly string[]) {
    this.id = id
    this.fields = fields
    this.names = new Set(fields)
  }
}

/**
 * One per connection and direction; a new connection starts with a new one. Methods append one envelope and
 * return undefined, or say why it could not be appended. Nothing is buffered beyond the batch: whoever
 * flushes bounds it, by `pending` and `pendingBytes`.
 *
 * Hot path: `tell` allocates nothing once recipient and type are announced (benchmark: wire encode).
 */
export class FrameEncoder {
  readonly #limits: ResolvedWireLimits
  readonly #writer: CborWriter
  readonly #recipients = new Map<Recipient, number>()
  readonly #seen = new Set<Recipient>()
  readonly #types = new Map<WireProtocol, Map<string, OutgoingType>>()
  #typeCount = 0
  #lastProtocol: WireProtocol | undefined
  #lastTypes: Map<string, OutgoingType> | undefined
  #frames: Uint8Array[] = []
  #frameBytes = 0
  #inFrame = 0
  #pending = 0

  /** @throws {RangeError} if a limit is out of its range. */
  constructor(limits?: WireLimits) {
    this.#limits = resolveWireLimits(limits)
    this.#writer = new CborWriter(this.#limits.frameBytesMax)
  }

  /** Envelopes appended since the last `take`, announcements included. */
  get pending(): number {
    return this.#pending
  }

  /** Bytes appended since the last `take`. */
  get pendingBytes(): number {
    return this.#frameBytes + this.#writer.size
  }

  /**
   * The frames of the batch, in the order in which they must leave; empty when nothing is pending. They are
   * the caller's, who may keep them as long as the transport needs; they may share a larger buffer.
   */
  take(): Uint8Array[] {
    if (this.#inFrame > 0) this.#closeFrame(this.#writer.size)
    else this.#writer.rewind(0, 0)
    const frames = this.#frames
    this.#frames = []
    this.#frameBytes = 0
    this.#pending = 0
    return frames
  }

  /** A message that nobody answers. */
  tell(recipient: Recipient, protocol: WireProtocol, message: WireMessageValue): Unsendable | undefined {
    const to = this.#intern(recipient)
    if (typeof to === 'object') return to
    let type = this.#typeFor(protocol, message)
    for (;;) {
      if (!(type instanceof OutgoingType)) return type
      const writer = this.#writer
      const size = this.#begin()
      const slots = writer.slots
      try {
        writer.array(4)
        writer.uint(TELL)
        this.#recipient(to, recipient)
        writer.uint(type.id)
        if (this.#body(type, message)) return this.#end(size, slots)
      } catch (error) {
        return this.#refuse(size, slots, error, message)
      }
      writer.rewind(size, slots)
      type = this.#widen(protocol, message, type)
    }
  }

  /**
   * A message that wants an answer. `askId` is the sender's, unique among its open asks on this connection.
   * `remainingMs`: what is left of the deadline, rounded up; undefined or Infinity when there is none.
   * `chain`: the calls that wait for this one, oldest first; beyond 32 the oldest are left out.
   */
  ask(
    askId: number,
    recipient: Recipient,
    protocol: WireProtocol,
    message: WireMessageValue,
    remainingMs: number | undefined,
    sender: string | undefined,
    chain: readonly CallChainLink[],
  ): Unsendable | undefined {
    const to = this.#intern(recipient)
    if (typeof to === 'object') return to
    let type = this.#typeFor(protocol, message)
    for (;;) {
      if (!(type instanceof OutgoingType)) return type
      const writer = this.#writer
      const size = this.#begin()
      const slots = writer.slots
      try {
        writer.array(8)
        writer.uint(ASK)
        writer.number(askId)
        this.#recipient(to, recipient)
        writer.uint(type.id)
        if (this.#body(type, message)) {
          if (remainingMs === undefined || remainingMs === Number.POSITIVE_INFINITY) writer.nil()
          else writer.number(Math.max(0, Math.ceil(remainingMs)))
          if (sender === undefined) writer.nil()
          else writer.text(fitting(sender, pathLengthMax))
          this.#chain(chain)
          return this.#end(size, slots)
        }
      } catch (error) {
        return this.#refuse(size, slots, error, message)
      }
      writer.rewind(size, slots)
      type = this.#widen(protocol, message, type)
    }
  }

  /** The answer to an ask. */
  reply(askId: number, value: unknown): Unsendable | undefined {
    return this.#append(REPLY, askId, 1, (writer) => writer.value(value), value)
  }

  /**
   * The failure of an ask. `message` is cut at 8,192 characters. When `details` cannot travel nothing is
   * appended: the caller decides whether the failure goes without them.
   */
  fail(askId: number, code: string, message: string, details?: unknown): Unsendable | undefined {
    return this.#append(
      FAIL,
      askId,
      3,
      (writer) => {
        writer.text(fitting(code, reasonLengthMax))
        writer.text(fitting(message, textLengthMax))
        writer.value(details)
      },
      details,
    )
  }

  /** Wants one `terminated` when the recipient ends. `watchId` is the sender's, unique on this connection. */
  watch(watchId: number, recipient: Recipient): Unsendable | undefined {
    const to = this.#intern(recipient)
    if (typeof to === 'object') return to
    return this.#append(WATCH, watchId, 1, () => this.#recipient(to, recipient), undefined)
  }

  /** No longer wants it. A `terminated` may still be on its way. */
  unwatch(watchId: number): Unsendable | undefined {
    return this.#append(UNWATCH, watchId, 0, nothing, undefined)
  }

  /** The end of a watched actor; the watch is over with it. */
  terminated(watchId: number, reason: string, detail?: string): Unsendable | undefined {
    return this.#append(
      TERMINATED,
      watchId,
      2,
      (writer) => {
        writer.text(fitting(reason, reasonLengthMax))
        if (detail === undefined) writer.nil()
        else writer.text(fitting(detail, textLengthMax))
      },
      undefined,
    )
  }

  /** The asker no longer waits. A reply may still be on its way. */
  cancel(askId: number): Unsendable | undefined {
    return this.#append(CANCEL, askId, 0, nothing, undefined)
  }

  /** A sign of life, or the answer to one. */
  heartbeat(sequence: number, kind: 'ping' | 'pong'): Unsendable | undefined {
    return this.#append(
      HEARTBEAT,
      sequence,
      1,
      (writer) => writer.uint(kind === 'ping' ? PING : PONG),
      undefined,
    )
  }

  /** Who is watched, when the watch named only a place. */
  watched(watchId: number, uid: number, path: string): Unsendable | undefined {
    return this.#append(
      WATCHED,
      watchId,
      2,
      (writer) => {
        writer.number(uid)
        writer.text(path)
      },
      undefined,
    )
  }

  /** The last envelope of this direction: the sender closes on purpose. `lanes`: where it says so as well. */
  goodbye(reason: string, lanes: readonly LaneName[] = []): Unsendable | undefined {
    return this.#write(reason, (writer) => {
      writer.array(lanes.length === 0 ? 2 : 3)
      writer.uint(GOODBYE)
      writer.text(fitting(reason, reasonLengthMax))
      if (lanes.length > 0) writer.value(lanes.map(laneNumber))
    })
  }

  /** What the membership says. `undefined`, or why it cannot travel. */
  gossip(payload: unknown): Unsendable | undefined {
    return this.#write(payload, (writer) => {
      writer.array(2)
      writer.uint(GOSSIP)
      writer.value(payload)
    })
  }

  /** Asks the peer, who dialled the control link, to dial a lane. */
  laneWanted(lane: LaneName): Unsendable | undefined {
    return this.#append(LANE_WANTED, laneNumber(lane), 0, nothing, undefined)
  }

  /** The last envelope of an idle lane's link. */
  endLane(lane: LaneName): Unsendable | undefined {
    return this.#append(END_LANE, laneNumber(lane), 0, nothing, undefined)
  }

  /** Takes from the peer the credit to send to a recipient, or gives it back. Written out: it is known by its name. */
  credit(recipient: Recipient, isGiven: boolean): Unsendable | undefined {
    return this.#write(undefined, (writer) => {
      writer.array(3)
      writer.uint(CREDIT)
      this.#recipient(-1, recipient)
      writer.uint(isGiven ? CREDIT_AGAIN : CREDIT_NONE)
    })
  }

  /** This link is the one to use. */
  chosen(): Unsendable | undefined {
    return this.#write(undefined, (writer) => {
      writer.array(1)
      writer.uint(CHOSEN)
    })
  }

  /** The colder kinds: `[kind, id, ...rest]`. */
  #append(
    kind: number,
    id: number,
    restLength: number,
    rest: (writer: CborWriter) => void,
    value: unknown,
  ): Unsendable | undefined {
    return this.#write(value, (writer) => {
      writer.array(2 + restLength)
      writer.uint(kind)
      writer.number(id)
      rest(writer)
    })
  }

  /** One whole envelope; `value` is what of it may be of a kind that cannot travel. */
  #write(value: unknown, envelope: (writer: CborWriter) => void): Unsendable | undefined {
    const writer = this.#writer
    const size = this.#begin()
    const slots = writer.slots
    try {
      envelope(writer)
      return this.#end(size, slots)
    } catch (error) {
      return this.#refuse(size, slots, error, value)
    }
  }

  /**
   * Makes room for the frame's header in front of its first envelope; returns where the next envelope begins.
   */
  #begin(): number {
    if (this.#writer.size === 0) this.#writer.insert(0, frameHeaderBytes)
    return this.#writer.size
  }

  /** Takes the envelope that began at `size` into the frame, or into a new one when this one is full. */
  #end(size: number, slots: number): Unsendable | undefined {
    const writer = this.#writer
    const limits = this.#limits
    if (writer.size > limits.frameBytesMax || writer.slots + this.#inFrame + 1 > limits.frameSlotsMax) {
      const bytes = writer.size - size
      const ownSlots = writer.slots - slots
      if (bytes + frameHeaderBytes > limits.frameBytesMax || ownSlots + 1 > limits.frameSlotsMax) {
        writer.rewind(size, slots)
        return tooLarge(bytes, ownSlots, limits)
      }
      this.#closeFrame(size)
      writer.insert(0, frameHeaderBytes)
      writer.rewind(writer.size, ownSlots)
    }
    this.#pending++
    if (++this.#inFrame === limits.frameEnvelopesMax) this.#closeFrame(writer.size)
    return undefined
  }

  #closeFrame(size: number): void {
    const writer = this.#writer
    writer.patch(0, 0x99)
    writer.patch(1, this.#inFrame >>> 8)
    writer.patch(2, this.#inFrame & 0xff)
    const frame = writer.cut(size)
    this.#frames.push(frame)
    this.#frameBytes += frame.length
    this.#inFrame = 0
  }

  #refuse(size: number, slots: number, error: unknown, value: unknown): Unsendable {
    const writer = this.#writer
    const bytes = writer.size - size
    const ownSlots = writer.slots - slots
    writer.rewind(size, slots)
    if (error instanceof CodecError && error.code === 'RUNTIME_ENCODING_TOO_LARGE') {
      return tooLarge(Math.max(bytes, this.#limits.frameBytesMax + 1), ownSlots, this.#limits)
    }
    const found = uncodable(value)
    if (found === undefined) throw error
    const where = found.path === '' ? 'is' : `has at "${found.path}"`
    return { reason: 'not-encodable', problem: `${where} ${found.what}, which cannot travel` }
  }

  /**
   * The number of a recipient; -1 when it is to be written out; why not, when it is longer than the peer
   * takes.
   */
  #intern(recipient: Recipient): number | Unsendable {
    const known = this.#recipients.get(recipient)
    if (known !== undefined) return known
    const problem = recipientProblem(recipient)
    if (problem !== undefined) return problem
    const id = this.#recipients.size
    if (id >= this.#limits.recipientsMax) return -1
    if (!this.#seen.delete(recipient)) {
      if (this.#seen.size >= seenMax) this.#seen.clear()
      this.#seen.add(recipient)
      return -1
    }
    const failed = this.#append(ANNOUNCE_RECIPIENT, id, 1, () => this.#recipient(-1, recipient), undefined)
    if (failed !== undefined) return failed
    this.#recipients.set(recipient, id)
    return id
  }

  #recipient(id: number, recipient: Recipient): void {
    const writer = this.#writer
    if (id >= 0) {
      writer.uint(id)
      return
    }
    writer.array(3)
    if (recipient.kind === 'actor') {
      writer.uint(RECIPIENT_ACTOR)
      writer.text(recipient.path)
      if (recipient.uid === undefined) writer.nil()
      else writer.number(recipient.uid)
    } else {
      writer.uint(RECIPIENT_ENTITY)
      writer.text(recipient.name)
      writer.text(recipient.key)
    }
  }

  #typeFor(protocol: WireProtocol, message: WireMessageValue): OutgoingType | Unsendable {
    let types = this.#lastTypes
    if (protocol !== this.#lastProtocol || types === undefined) {
      types = this.#types.get(protocol) ?? new Map<string, OutgoingType>()
      this.#types.set(protocol, types)
      this.#lastProtocol = protocol
      this.#lastTypes = types
    }
    return types.get(message.type) ?? this.#widen(protocol, message, undefined)
  }

  /**
   * Announces the type of `message` with the fields that `before` had, those of the message, and those of the
   * schema. The message's own order comes first: literals of one place in the code keep it, and then the body
   * is one pass.
   */
  #widen(
    protocol: WireProtocol,
    message: WireMessageValue,
    before: OutgoingType | undefined,
  ): OutgoingType | Unsendable {
    const schema = Object.hasOwn(protocol.messages, message.type)
      ? (protocol.messages[message.type]?.fields ?? [])
      : []
    const names = new Set(before?.fields)
    for (const key of Object.keys(message)) if (key !== 'type') names.add(key)
    for (const field of schema) names.add(field.name)
    const fields = [...names]
    const problem = typeProblem(protocol.name, message.type, fields, this.#typeCount)
    if (problem !== undefined) return problem
    const type = new OutgoingType(this.#typeCount, fields)
    const failed = this.#append(
      ANNOUNCE_TYPE,
      type.id,
      3,
      (writer) => {
        writer.text(protocol.name)
        writer.text(message.type)
        writer.value(fields)
      },
      fields,
    )
    if (failed !== undefined) return failed
    this.#typeCount++
    this.#lastTypes?.set(message.type, type)
    return type
  }

  /** Writes the fields in the announced order; false when the message has one that was not announced. */
  #body(type: OutgoingType, message: WireMessageValue): boolean {
    const writer = this.#writer
    const fields = type.fields
    const length = fields.length
    writer.array(length)
    const size = writer.size
    const slots = writer.slots
    const values = message as unknown as Readonly<Record<string, unknown>>
    let written = 0
    // A message whose keys come in the announced order is written as it is walked, without looking a field
    // up.
    for (const key in values) {
      if (key === 'type') continue
      if (written === length || key !== fields[written]) {
        writer.rewind(size, slots)
        return this.#bodyByName(type, values)
      }
      writer.value(values[key], fieldDepthMax)
      written++
    }
    for (; written < length; written++) writer.absent()
    return true
  }

  #bodyByName(type: OutgoingType, values: Readonly<Record<string, unknown>>): boolean {
    for (const key of Object.keys(values)) {
      if (key !== 'type' && !type.names.has(key) && values[key] !== undefined) return false
    }
    for (const field of type.fields) {
      this.#writer.value(Object.hasOwn(values, field) ? values[field] : undefined, fieldDepthMax)
    }
    return true
  }

  #chain(chain: readonly CallChainLink[]): void {
    const writer = this.#writer
    const from = Math.max(0, chain.length - chainLengthMax)
    writer.array(chain.length - from)
    for (let index = from; index < chain.length; index++) {
      const link = chain[index] as CallChainLink
      writer.array(5)
      writer.text(fitting(link.node, nameLengthMax))
      writer.number(link.incarnation)
      writer.number(link.uid)
      writer.text(fitting(link.path, pathLengthMax))
      writer.text(fitting(link.messageType, nameLengthMax))
    }
  }
}

function nothing(): void {}

function laneNumber(lane: LaneName): number {
  return laneOrder.indexOf(lane)
}
