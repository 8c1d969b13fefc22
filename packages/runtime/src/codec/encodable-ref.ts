/**
 * References inside values. A ref is the one thing with identity that may travel in a message: it is written
 * as a CBOR tag around its parts, and whoever reads it says what those parts mean there.
 */

/**
 * The CBOR tag of a ref: 44144 (0xAC70), in the first-come-first-served range of RFC 8949 (32768 and above),
 * below 57337, where cbor-x keeps tags for its own records. On disk and wire this number is for ever.
 */
export const refTag = 44_144

/**
 * Base of everything that is encoded as a ref. The actor layer's refs extend it; the codec asks for
 * `refParts()` and knows nothing else about them.
 */
export abstract class EncodableRef {
  /**
   * What identifies the referent, as a flat list of values that the codec carries (lists inside it may go one
   * level deep). Called while a value is being written: it must be quick, and must not encode anything
   * itself.
   */
  abstract refParts(): readonly unknown[]
}

/**
 * A ref that was decoded without a resolver: its parts and nothing else. It encodes to the same bytes, so
 * that a value may pass through a place that cannot reach what it refers to (a journal viewer, a forwarder).
 */
export class UnresolvedRef extends EncodableRef {
  readonly parts: readonly unknown[]

  constructor(parts: readonly unknown[]) {
    super()
    this.parts = parts
  }

  override refParts(): readonly unknown[] {
    return this.parts
  }
}
