/** Which keys are meant: one, a range, or all that begin alike. */
import type { KvRange } from './kv-command.ts'

/** A key, a range, or `{ prefix }`; the prefix `''` is all keys. */
export type KvKeys = string | KvRange | { readonly prefix: string }

/** @throws {TypeError} it is none of these */
export function rangeOf(keys: KvKeys): KvRange {
  if (typeof keys === 'string') return { from: keys }
  if (typeof keys !== 'object' || keys === null || !('prefix' in keys || 'from' in keys)) {
    throw new TypeError(
      `Keys are a string, { prefix } or { from, to }, got ${keys === null ? 'null' : typeof keys}`,
    )
  }
  if ('prefix' in keys) return { from: keys.prefix, to: endOfPrefix(keys.prefix) }
  return keys
}

/**
 * The lowest well-formed string above all that begin with `prefix`; `''`, the end of all keys, when there is none: the `to` of a
 * range of its keys. By UTF-16 code unit the code
 * points from U+10000 on stand between U+D7FF and U+E000.
 */
export function endOfPrefix(prefix: string): string {
  const points = Array.from(prefix)
  for (let last = points.pop(); last !== undefined; last = points.pop()) {
    const next = following(last.codePointAt(0) as number)
    if (next !== undefined) return points.join('') + String.fromCodePoint(next)
  }
  return ''
}

function following(point: number): number | undefined {
  if (point === 0xffff) return undefined
  if (point === 0xd7ff) return 0x1_0000
  if (point === 0x10_ffff) return 0xe000
  return point + 1
}
