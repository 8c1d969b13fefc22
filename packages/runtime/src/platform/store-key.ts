/**
 * Keys as bytes, for a store that compares bytes: their order is that of the strings, by UTF-16 code unit.
 *
 * UTF-8 would not do: it puts U+10000 behind U+FFFF, where strings have a surrogate (0xD800) before 0xFFFF, and it has no
 * bytes for a surrogate that stands alone. So each code unit is written by itself the way UTF-8 writes a character of that
 * number (Unicode calls this CESU-8): one byte for ASCII, two below 0x800, else three.
 */

/** What a record is for: the first byte of its key. */
export type KeyKind = 'internal' | 'user'

const kindBytes: Readonly<Record<KeyKind, number>> = { internal: 0, user: 1 }
/** Beyond every key of a user. */
const userEnd = 2

/** Most bytes that the key for `text` can take. */
export function keyBytesMax(text: string): number {
  return 1 + 3 * text.length
}

/** Writes the key for `text` to the start of `target`, which has room for `keyBytesMax(text)`. Returns its length. */
export function writeKey(kind: KeyKind, text: string, target: Uint8Array): number {
  target[0] = kindBytes[kind]
  let end = 1
  const { length } = text
  for (let i = 0; i < length; i++) {
    const unit = text.charCodeAt(i)
    if (unit < 0x80) {
      target[end++] = unit
    } else if (unit < 0x800) {
      target[end++] = 0xc0 | (unit >>> 6)
      target[end++] = 0x80 | (unit & 0x3f)
    } else {
      target[end++] = 0xe0 | (unit >>> 12)
      target[end++] = 0x80 | ((unit >>> 6) & 0x3f)
      target[end++] = 0x80 | (unit & 0x3f)
    }
  }
  return end
}

/** The key for `text`, in bytes of its own. */
export function encodeKey(kind: KeyKind, text: string): Uint8Array {
  const target = new Uint8Array(keyBytesMax(text))
  return target.subarray(0, writeKey(kind, text, target))
}

/** The end of the keys that begin with `prefix`, which is empty or ends in a slash. */
export function keyEnd(prefix: string): Uint8Array {
  // '0' is the code unit after '/'.
  return prefix === '' ? Uint8Array.of(userEnd) : encodeKey('user', `${prefix.slice(0, -1)}0`)
}

/**
 * The text of a key. Bytes that no key has (a damaged one) become U+FFFD, so that there is something to name in the error.
 */
export function decodeKey(key: Uint8Array): string {
  let text = ''
  for (let i = 1; i < key.length;) {
    const first = key[i] as number
    const second = key[i + 1]
    const third = key[i + 2]
    if (first < 0x80) {
      text += String.fromCharCode(first)
      i += 1
    } else if (first >>> 5 === 0b110 && second !== undefined) {
      text += String.fromCharCode(((first & 0x1f) << 6) | (second & 0x3f))
      i += 2
    } else if (first >>> 4 === 0b1110 && second !== undefined && third !== undefined) {
      text += String.fromCharCode(((first & 0x0f) << 12) | ((second & 0x3f) << 6) | (third & 0x3f))
      i += 3
    } else {
      text += '\ufffd'
      i += 1
    }
  }
  return text
}
