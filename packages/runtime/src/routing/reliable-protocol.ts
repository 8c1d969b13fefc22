/**
 * What a reliable producer and a reliable consumer say to each other. The unit is the piece: a message, or one chunk of a
 * message that is too large for a frame. Pieces are numbered from 1 by their producer, and everything that is promised
 * (order, dedupe, resend, window) is promised of these numbers. After Akka's ProducerController and ConsumerController,
 * and TCP's selective acknowledgement (RFC 2018).
 */
import type { TSchema } from 'typebox'
import {
  ask,
  protocol,
  refOf,
  tell,
  type Ask,
  type MessageDefs,
  type Protocol,
  type Tell,
  type TellMessage,
} from '../actor/protocol.ts'
import type { ActorRef } from '../actor/ref.ts'

/** Of the words below. A consumer refuses a producer of another version. */
export const reliableVersion = 1

/** @internal 128 bits that nobody else has, in hex: which life of a producer or consumer this is. */
export function newId(secureBytes: (count: number) => Uint8Array): string {
  return Array.from(secureBytes(16), (byte) => byte.toString(16).padStart(2, '0')).join('')
}

/** Pieces that may be on their way to one consumer: the most that `window` may be. */
export const windowMax = 1_024

/** A message that was dealt with, but not handled: its last piece, and what its sender is told. */
export interface FailedPiece {
  readonly sequence: number
  readonly code: string
  readonly text: string
  readonly details: Readonly<Record<string, unknown>>
}

/** How far a consumer is with one producer. All numbers are of pieces, and only grow while the consumer lives. */
export interface Progress {
  /** Which life of the consumer says so: another one knows nothing of what this one took. */
  readonly consumer: string
  /** All up to here have arrived. */
  readonly taken: number
  /** All up to here were dealt with: handled, unless `failed` says otherwise. */
  readonly processed: number
  /** The producer may send up to here. */
  readonly granted: number
  /** Those that were dealt with lately and not handled, in order. */
  readonly failed: readonly FailedPiece[]
}

/** The answer to `hello`. */
export interface Introduced extends Progress {
  readonly messageBytesMax: number
}

/** What a consumer tells its producers. */
export type ProducerMessages = {
  readonly ack: Tell<
    Progress & {
      readonly producer: string
      /** Pieces above `taken` that have arrived, in order. */
      readonly beyond: readonly number[]
      /** The probe that this answers; 0 for none. */
      readonly answers: number
    }
  >
  /** The consumer does not know the producer, or not any more: it must introduce itself again. */
  readonly unknown: Tell<{ readonly producer: string; readonly consumer: string }>
}

/** Counters of one consumer, since its actor was spawned. */
export interface ConsumerCounters {
  /** Producers that are known now. */
  readonly producers: number
  /** Messages that were handled. */
  readonly handled: number
  /** Pieces that came again, and were dropped. */
  readonly duplicates: number
  /** Pieces whose checksum was wrong, and were dropped; they come again. */
  readonly corrupt: number
  /** Handlers that crashed. */
  readonly crashes: number
  /** Messages refused with `throw reject(...)`. */
  readonly refused: number
  /** Messages parked, also those that are not kept any more. */
  readonly parked: number
  /** Idle producers that were forgotten for newer ones. */
  readonly forgotten: number
}

/** One parked message, without its fields. */
export interface ParkedMessage {
  /** For `retry` and `discard`. */
  readonly id: number
  readonly producer: string
  readonly sequence: number
  readonly messageType: string
  /** `RUNTIME_DELIVERY_PARKED` after crashes, `RUNTIME_INVALID_MESSAGE` when it does not fit the protocol. */
  readonly code: string
  readonly attempts: number
  readonly error: string
  /** How long it has been parked. Milliseconds. */
  readonly ageMs: number
}

/** The messages of a reliable consumer of `M`. Users send none of the first five: a producer does. */
export type ReliableMessages<M extends MessageDefs> = {
  readonly hello: Ask<
    {
      readonly version: number
      readonly producer: string
      readonly from: ActorRef<ProducerMessages>
      /** The lowest piece that nobody has acknowledged. */
      readonly first: number
    },
    Introduced
  >
  readonly deliver: Tell<PieceFields & { readonly message: TellMessage<M> }>
  readonly chunk: Tell<PieceFields & ChunkFields>
  /** Wants an `ack` now, or an `unknown`. */
  readonly probe: Tell<{
    readonly producer: string
    readonly from: ActorRef<ProducerMessages>
    readonly number: number
  }>
  /** All was acknowledged, and nothing more comes: the producer may be forgotten. */
  readonly bye: Tell<{ readonly producer: string }>
  readonly counters: Ask<unknown, ConsumerCounters>
  /** The parked messages, oldest first. */
  readonly parked: Ask<unknown, readonly ParkedMessage[]>
  /**
   * Hands a parked message to the handler once more, out of its order. Answers when it was handled, and it is parked no
   * more then; else it is refused with `not-parked`, `busy`, `crashed` or `refused`, and stays where it is.
   */
  readonly retry: Ask<{ readonly id: number }, null>
  /** Forgets a parked message; false when there is none of that id. */
  readonly discard: Ask<{ readonly id: number }, boolean>
}

interface PieceFields {
  readonly producer: string
  readonly sequence: number
  /** All pieces up to here are known to be acknowledged. */
  readonly confirmed: number
}

interface ChunkFields {
  /** From 0. */
  readonly index: number
  readonly count: number
  readonly bytes: Uint8Array
  /** CRC-32C of `bytes`. */
  readonly crc: number
  /** With index 0: what the message refers to, in the order of its numbered places. */
  readonly refs: readonly unknown[]
}

// Plain JSON Schema: typebox is a type only here, as everywhere in the packages.
const any = {} as unknown as TSchema
const id = { type: 'string', pattern: '^[0-9a-f]{32}$' } as unknown as TSchema
const count = { type: 'integer', minimum: 0 } as unknown as TSchema
const number = { type: 'integer', minimum: 1 } as unknown as TSchema
const text = { type: 'string', maxLength: 2_048 } as unknown as TSchema
const flag = { type: 'boolean' } as unknown as TSchema
const nothing = { type: 'null' } as unknown as TSchema
const numbers = list(number, windowMax)
const failed = list(
  object({ sequence: number, code: text, text, details: { type: 'object' } as unknown as TSchema }),
  2 * windowMax,
)
const progress = { consumer: id, taken: count, processed: count, granted: count, failed }

/** The protocol of all producers: they differ only by what they send. */
export const Producer = protocol(
  'reliable-producer',
  {
    ack: tell({ ...progress, producer: id, beyond: numbers, answers: count }),
    unknown: tell({ producer: id, consumer: id }),
  },
  { delivery: 'lossy', absence: 'expected' },
) as unknown as Protocol<ProducerMessages>

const piece = { producer: id, sequence: number, confirmed: count }
const counters = Object.fromEntries(
  ['producers', 'handled', 'duplicates', 'corrupt', 'crashes', 'refused', 'parked', 'forgotten'].map(
    (name) => [name, count],
  ),
)
const parked = object({
  id: number,
  producer: text,
  sequence: number,
  messageType: text,
  code: text,
  attempts: count,
  error: text,
  ageMs: { type: 'number' } as unknown as TSchema,
})
const consumerMessages = {
  hello: ask(
    { version: number, producer: id, from: refOf(Producer), first: number },
    object({ ...progress, messageBytesMax: number }),
  ),
  deliver: tell({ ...piece, message: any }),
  chunk: tell(
    { ...piece, index: count, count: number, bytes: any, crc: count, refs: list(any, 256) },
    { lane: 'bulk' },
  ),
  probe: tell({ producer: id, from: refOf(Producer), number }),
  bye: tell({ producer: id }),
  counters: ask(object(counters)),
  parked: ask({ type: 'array', items: parked } as unknown as TSchema),
  retry: ask({ id: number }, nothing),
  discard: ask({ id: number }, flag),
}

const suffix = '-reliable'
const known = new WeakMap<Protocol, Protocol>()

/**
 * The protocol of a reliable consumer of `target`: `ctx.ref(reliable(Orders), '/user/orders')`. The same value for the
 * same protocol. Its tells are declared lossy: that they come is what producer and consumer see to. So is that nobody may be
 * there for a while: such dead letters are logged at debug, and a producer that finds no consumer warns once.
 *
 * @throws {TypeError} if the name of `target` has more than 54 characters: its own is longer by nine
 */
export function reliable<M extends MessageDefs>(target: Protocol<M>): Protocol<ReliableMessages<M>> {
  let made = known.get(target)
  if (made === undefined) {
    const name = `${target.name}${suffix}`
    if (name.length > 63) {
      throw new TypeError(
        `Cannot deliver protocol "${target.name}" reliably: its name has ${target.name.length} characters and may ` +
          `have 54, for "${suffix}" is put behind it; give it a shorter one`,
      )
    }
    made = protocol(name, consumerMessages, { delivery: 'lossy', absence: 'expected' })
    known.set(target, made)
  }
  return made as unknown as Protocol<ReliableMessages<M>>
}

function object(properties: Readonly<Record<string, TSchema>>): TSchema {
  return { type: 'object', properties, required: Object.keys(properties) } as unknown as TSchema
}

function list(items: TSchema, maxItems: number): TSchema {
  return { type: 'array', items, maxItems } as unknown as TSchema
}
