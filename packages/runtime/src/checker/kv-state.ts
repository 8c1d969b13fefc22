/** What a key-value store is asked and answers, and what one of its keys can hold. */
import { hashValue, type Value } from './model.ts'

/** What a client asked of the store. `append` adds to the end of a text; on an absent key it is a `put`. */
export type KvInput<V extends Value = Value> =
  | { readonly type: 'get'; readonly key: string }
  | { readonly type: 'put'; readonly key: string; readonly value: V }
  | { readonly type: 'append'; readonly key: string; readonly value: V & string }
  | { readonly type: 'delete'; readonly key: string }

/**
 * The answer: of a `get` the value, `null` (or `missing`, see `KvModelOptions`) when the key is absent; of a `delete`
 * whether there was something to delete, or `undefined` when the store does not say. `put` and `append` have none.
 */
export type KvOutput<V extends Value = Value> = V | boolean | null | undefined

/** The state of one key: `undefined` while it is absent, otherwise its value, as what was put and what was appended. */
export type KvState<V extends Value = Value> = KvValue<V> | undefined

/**
 * A value, or the last piece of a text that was put together by appending. Texts of many pieces share their beginnings,
 * so a state costs only what was added; a search holds thousands of them.
 */
export interface KvValue<V extends Value = Value> {
  readonly piece: V
  /** What `piece` was appended to. */
  readonly before: KvValue<V> | undefined
  /** Letters in all; 0 when it is no text. */
  readonly length: number
  readonly hash: number
  /** The whole text, once an answer was found to be equal to it: saves walking the pieces again. Not part of the state. */
  whole: string | undefined
  /** True when no get of the history saw it, nor anything it was the beginning of: all such values are equal. */
  readonly isUnseen: boolean
  /** Where the answers that begin with this text lie among all: see `kv-foresight.ts`. Not part of the state. */
  answers: { readonly from: number; readonly to: number } | undefined
}

export function valueOf<V extends Value>(value: V): KvValue<V> {
  const text = typeof value === 'string' ? value : undefined
  return {
    piece: value,
    before: undefined,
    length: text?.length ?? 0,
    hash: hashValue(value),
    whole: text,
    answers: undefined,
    isUnseen: false,
  }
}

/** `null` when the state is no text. */
export function append<V extends Value>(state: KvState<V>, piece: V & string): KvValue<V> | null {
  if (state === undefined) return valueOf<V>(piece)
  // A number has no end to append to: no correct store says it did.
  if (typeof state.piece !== 'string') return null
  return {
    piece,
    before: state,
    length: state.length + piece.length,
    hash: hashValue(piece, state.hash),
    whole: undefined,
    isUnseen: false,
    answers: undefined,
  }
}

/** Whether a get may answer `output`. */
export function isValue<V extends Value>(state: KvValue<V>, output: Value | null): boolean {
  if (typeof output !== 'string' || typeof state.piece !== 'string') return output === state.piece
  if (output.length !== state.length) return false
  // From the end: texts that were put together in different orders differ there.
  let node = state
  while (node.whole === undefined && node.before !== undefined) {
    if (!output.startsWith(String(node.piece), node.before.length)) return false
    node = node.before
  }
  if (!output.startsWith(node.whole ?? String(node.piece))) return false
  state.whole = output
  return true
}

export function isSame<V extends Value>(a: KvValue<V>, b: KvValue<V>): boolean {
  if (a.isUnseen || b.isUnseen) return a.isUnseen === b.isUnseen
  if (a.hash !== b.hash || a.length !== b.length) return false
  let one: KvState<V> = a
  let other: KvState<V> = b
  while (one !== other && one !== undefined && other !== undefined && one.piece === other.piece) {
    one = one.before
    other = other.before
  }
  // Different pieces can still make the same text.
  return one === other || wholeOf(a) === wholeOf(b)
}

export function wholeOf<V extends Value>(state: KvValue<V>): Value {
  if (state.before === undefined) return state.piece
  const pieces: string[] = []
  for (let node: KvState<V> = state; node !== undefined; node = node.before) pieces.push(String(node.piece))
  return pieces.reverse().join('')
}
