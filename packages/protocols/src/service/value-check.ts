/** What may be stored as a value: bytes, or a string that stands for its UTF-8 bytes. */

// In a pattern with the flag "u" a pair is one character.
const loneSurrogate = /\p{Surrogate}/u

/** @throws {TypeError} it is neither, or a string that would be stored as something else, without a word */
export function checkValue(value: string | Uint8Array): void {
  if (value instanceof Uint8Array) return
  if (typeof value !== 'string') {
    throw new TypeError(`A value is a string or a Uint8Array, got ${value === null ? 'null' : typeof value}`)
  }
  if (!loneSurrogate.test(value)) return
  throw new TypeError(
    'A value that is a string must not have half of a surrogate pair, which has no UTF-8 bytes; give bytes as a Uint8Array',
  )
}
