/** Options of reliable delivery: what they mean, their defaults, and what must hold between them. */
import { childPolicy, type ChildOptions, type SupervisionOptions } from '../actor/child-spec.ts'
import type { ActorError } from '../actor/actor-error.ts'
import {
  checkOptions,
  durationMs,
  functionSchema,
  orInfinity,
  wholeNumber,
  type OptionsSchema,
} from '../validation/options.ts'
import { windowMax, type ParkedMessage } from './reliable-protocol.ts'

/** Options of `reliableProducer()`. `T` is any message that it may send. */
export interface ProducerOptions<T = unknown> {
  /** Of its actor, among the children of whoever starts it. @default 'producer' */
  readonly name?: string | undefined
  /**
   * Pieces that may be held because nobody has acknowledged them. A message is one piece, a large one as many as it has
   * chunks. At most 65,536. More keeps a fast producer going through a longer outage, and costs up to `chunkBytes` each.
   * @default 1_024
   */
  readonly bufferMax?: number | undefined
  /** Calls of `send` that may wait for room; one more is refused with `RUNTIME_DELIVERY_FULL`. @default 1_024 */
  readonly waitingMax?: number | undefined
  /**
   * A message that may take more bytes is cut into chunks of this size, which travel on the `bulk` lane. Must leave room
   * for 1 KiB in a frame. 256 to 1,048,576. @default 65_536
   */
  readonly chunkBytes?: number | undefined
  /**
   * No message may take more bytes on the wire; the consumer has a limit of its own. Its chunks must fit into
   * `bufferMax`. @default 16_777_216 (16 MiB)
   */
  readonly messageBytesMax?: number | undefined
  /**
   * How long nothing may move before the consumer is asked how far it is, and what is missing is sent again: `minMs`,
   * twice that, up to `maxMs`. Also the pause between attempts to find the consumer. @default 500 and 10_000
   */
  readonly resend?: { readonly minMs: number; readonly maxMs: number } | undefined
  /**
   * Told of each message that was taken by `tell` and will not be handled: parked, refused, invalid, or lost. Of those
   * taken by `send` their promise tells. A throw is logged.
   */
  readonly onFailed?: ((message: T, error: ActorError) => void) | undefined
}

/** Options of `reliableConsumer()`. */
export interface ConsumerOptions {
  /** Of the consumer's definition. @default the definition's name with "-consumer" behind it */
  readonly name?: string | undefined
  /**
   * Pieces that each producer may have on their way or waiting here. 1 to 1,024. More keeps the handler busy over a slow
   * link; each may take `chunkBytes` of its producer. @default 64
   */
  readonly window?: number | undefined
  /**
   * How often a message may crash its handler before it is parked and the next has its turn. `Infinity`: a poison message
   * holds up its producer for ever. @default 5
   */
  readonly maxAttempts?: number | undefined
  /**
   * Producers that are remembered. A new one takes the place of the idle one that was silent longest; with none idle it
   * has to wait. @default 1_000
   */
  readonly producersMax?: number | undefined
  /** Pieces of parked messages that are kept; beyond, the oldest message is dropped, and logged. @default 1_000 */
  readonly parkedMax?: number | undefined
  /** A message of more bytes is not put together, and parked as invalid. @default 16_777_216 (16 MiB) */
  readonly messageBytesMax?: number | undefined
  /**
   * How the actor that handles the messages is kept. When it ends for good, so does the consumer.
   * @default { restart: 'permanent', backoff: { minMs: 100, maxMs: 10_000 } }
   */
  readonly worker?: ChildOptions | undefined
  /** How the consumer keeps that actor. @default one-for-one, 10 restarts within 5 s */
  readonly supervision?: SupervisionOptions | undefined
  /** Told of each message that is parked. A throw is logged. */
  readonly onParked?: ((parked: ParkedMessage, message: unknown) => void) | undefined
}

/** Defaults of `ProducerOptions`. */
export const producerDefaults = Object.freeze({
  name: 'producer',
  bufferMax: 1_024,
  waitingMax: 1_024,
  chunkBytes: 65_536,
  messageBytesMax: 16_777_216,
  resend: Object.freeze({ minMs: 500, maxMs: 10_000 }),
})

/** Defaults of `ConsumerOptions`. */
export const consumerDefaults = Object.freeze({
  window: 64,
  maxAttempts: 5,
  producersMax: 1_000,
  parkedMax: 1_000,
  messageBytesMax: 16_777_216,
  worker: Object.freeze({
    restart: 'permanent',
    backoff: Object.freeze({ minMs: 100, maxMs: 10_000 }),
  } as const),
  supervision: Object.freeze({
    strategy: 'one-for-one',
    intensity: Object.freeze({ restarts: 10, withinMs: 5_000 }),
  } as const),
})

type WithDefaults<T> = { readonly [K in keyof T]-?: Exclude<T[K], undefined> }

/** @internal Options with their defaults. */
export type ProducerPlan = WithDefaults<Omit<ProducerOptions<never>, 'onFailed'>> & {
  readonly onFailed?: ((message: never, error: ActorError) => void) | undefined
}
/** @internal */
export type ConsumerPlan = WithDefaults<Omit<ConsumerOptions, 'name' | 'onParked'>> &
  Pick<ConsumerOptions, 'onParked'>

const producerSchema: OptionsSchema = {
  type: 'object',
  properties: {
    name: { type: 'string' },
    bufferMax: wholeNumber(1, 65_536),
    waitingMax: wholeNumber(0, 65_536),
    chunkBytes: wholeNumber(256, 1_048_576),
    messageBytesMax: wholeNumber(256, 2 ** 31 - 1),
    resend: {
      type: 'object',
      properties: { minMs: durationMs(1), maxMs: durationMs(1) },
      required: ['minMs', 'maxMs'],
      additionalProperties: false,
    },
    onFailed: functionSchema,
  },
  additionalProperties: false,
}

const consumerSchema: OptionsSchema = {
  type: 'object',
  properties: {
    name: { type: 'string' },
    window: wholeNumber(1, windowMax),
    maxAttempts: orInfinity(wholeNumber(1)),
    producersMax: wholeNumber(1, 1_000_000),
    parkedMax: wholeNumber(0, 1_000_000),
    messageBytesMax: wholeNumber(256, 2 ** 31 - 1),
    worker: true,
    supervision: true,
    onParked: functionSchema,
  },
  additionalProperties: false,
}

/**
 * @internal
 * @throws {TypeError | RangeError} that names the option, what it is and what it must be
 */
export function producerPlan(options: ProducerOptions<never>): ProducerPlan {
  checkOptions('a reliable producer', producerSchema, options)
  const plan = { ...producerDefaults, ...defined(options) }
  const { resend, messageBytesMax, chunkBytes, bufferMax } = plan
  if (resend.maxMs < resend.minMs) {
    throw new RangeError(
      `Cannot use the options of a reliable producer: resend.maxMs (${resend.maxMs}) must be at least resend.minMs ` +
        `(${resend.minMs})`,
    )
  }
  const chunks = Math.ceil(messageBytesMax / chunkBytes)
  if (chunks > bufferMax) {
    throw new RangeError(
      `Cannot use the options of a reliable producer: a message of messageBytesMax = ${messageBytesMax} has ${chunks} ` +
        `chunks of ${chunkBytes} bytes, and bufferMax is ${bufferMax}; raise bufferMax or chunkBytes, or lower ` +
        `messageBytesMax`,
    )
  }
  return plan
}

/**
 * @internal
 * @throws {TypeError | RangeError} as `producerPlan`
 */
export function consumerPlan(options: ConsumerOptions): ConsumerPlan {
  checkOptions('a reliable consumer', consumerSchema, options)
  const plan = { ...consumerDefaults, ...defined(options) }
  const worker = { ...consumerDefaults.worker, ...plan.worker }
  childPolicy(worker, 'permanent')
  return { ...plan, worker }
}

/** An option that is undefined is one that was left out. */
function defined<T extends object>(options: T): { readonly [K in keyof T]: Exclude<T[K], undefined> } {
  return Object.fromEntries(
    Object.entries(options).filter(([, value]) => value !== undefined),
  ) as unknown as { readonly [K in keyof T]: Exclude<T[K], undefined> }
}
