/**
 * The limits of a link. Both ends need the same ones: what the sender's encoder lets through, the receiver's
 * decoder must take, or one long key would close a connection that a hundred actors share. They are part of
 * the wire protocol version, except the two sizes that an operator may raise on all nodes.
 */

/** What an operator may set, on all nodes alike. */
export interface WireLimits {
  /**
   * Bytes of one frame, and so of one message. Raising it lets larger messages pass, which hold up what is
   * behind them. 1,024 to 268,435,456. @default 1_048_576
   */
  readonly frameBytesMax?: number | undefined
  /**
   * Slots of one frame (list elements, and two per object property): what decoding may allocate. @default
   * 262_144
   */
  readonly frameSlotsMax?: number | undefined
  /** Envelopes in one frame. A flush of more becomes several frames. @default 512 */
  readonly frameEnvelopesMax?: number | undefined
  /** Recipients that one direction of a connection may intern. 0 interns none. @default 16_384 */
  readonly recipientsMax?: number | undefined
}

/** Defaults of `WireLimits`. */
export const wireLimits = Object.freeze({
  frameBytesMax: 1_048_576,
  frameSlotsMax: 262_144,
  frameEnvelopesMax: 512,
  recipientsMax: 16_384,
})

/** `WireLimits` with its defaults filled in. */
export type ResolvedWireLimits = { readonly [K in keyof WireLimits]-?: number }

/**
 * Fills in the defaults.
 *
 * @throws {RangeError} if a limit is not an integer or out of its range.
 */
export function resolveWireLimits(limits: WireLimits = {}): ResolvedWireLimits {
  return {
    frameBytesMax: within(
      'frameBytesMax',
      limits.frameBytesMax ?? wireLimits.frameBytesMax,
      1_024,
      268_435_456,
    ),
    frameSlotsMax: within(
      'frameSlotsMax',
      limits.frameSlotsMax ?? wireLimits.frameSlotsMax,
      1_024,
      16_777_216,
    ),
    frameEnvelopesMax: within(
      'frameEnvelopesMax',
      limits.frameEnvelopesMax ?? wireLimits.frameEnvelopesMax,
      1,
      65_535,
    ),
    recipientsMax: within('recipientsMax', limits.recipientsMax ?? wireLimits.recipientsMax, 0, 1_048_576),
  }
}

function within(name: string, value: number, low: number, high: number): number {
  if (Number.isInteger(value) && value >= low && value <= high) return value
  throw new RangeError(`Cannot use ${name} ${value}: it must be an integer from ${low} to ${high}`)
}

/** Characters of a protocol's, message type's, field's, entity's or node's name. */
export const nameLengthMax = 256
/** Characters of an actor's path or an entity's key. */
export const pathLengthMax = 2_048
/** Characters of a reason or an error code. */
export const reasonLengthMax = 256
/** Characters of an error message or the detail of a notice; the sender cuts what is longer. */
export const textLengthMax = 8_192
/** Fields of one message type. */
export const fieldsMax = 256
/** Message types that one direction of a connection may announce. */
export const typesMax = 4_096
/** Links of a call chain; the sender cuts the oldest. */
export const chainLengthMax = 32
