/**
 * What an object should do when it is used by one client at a time: the measure by which a history of many clients is
 * judged. A model is a pure state machine; its states are never changed in place.
 */
import type { Op } from './history.ts'

/** What a state may be: anything but `null`, which `step` keeps for "this reply is impossible here". */
export type ModelState = NonNullable<unknown> | undefined

/** A plain value that is compared with `===`. Structured values go in as text (JSON). */
export type Value = string | number | boolean | bigint

/** The sequential behaviour of one kind of object. `step` must be a function of its arguments alone. */
export interface Model<S extends ModelState, I, O> {
  /** What the object is called in explanations: `register`. */
  readonly name: string
  /** The state before the first operation. */
  readonly init: () => S
  /**
   * The state after `input` was carried out in `state` and answered with `output`; `null` when no correct object would
   * have given this answer in this state. `output` is `undefined` when nobody knows the answer: any is accepted then,
   * and an operation that could do nothing in this state returns it unchanged.
   */
  readonly step: (state: S, input: I, output: O | undefined) => S | null
  readonly equal: (a: S, b: S) => boolean
  /** A 32-bit number, the same for equal states. Without it states that are objects are compared one by one: slow. */
  readonly hash?: ((state: S) => number) | undefined
  /**
   * Splits a history into parts that do not influence each other (the keys of a store), which are judged apart: what
   * makes large histories decidable (P-compositionality; Herlihy and Wing 1990, theorem 1; Horn and Kroening 2015).
   * Every operation goes into exactly one part. See `partitionBy`.
   */
  readonly partition?: ((ops: readonly Op<I, O>[]) => readonly (readonly Op<I, O>[])[]) | undefined
  /**
   * True when an operation with this answer never changes any state: a read, a refused compare-and-set. The search
   * places such an operation as soon as it fits and never reconsiders it. Must not be true where `step` can change the
   * state. Default: never true, which is right and slower.
   */
  readonly readsOnly?: ((input: I, output: O | undefined) => boolean) | undefined
  /**
   * True when `input` cannot have returned without an answer: a returned read whose `out` is `undefined` is a mistake
   * in the recording (absent is written `null`), not an unknown outcome. Default: never true.
   */
  readonly needsReply?: ((input: I) => boolean) | undefined
  /**
   * Operations of unknown outcome with the same key are interchangeable: same effect in every state. Saves the search
   * from trying them in every order. Default: none is like another.
   */
  readonly inputKey?: ((input: I) => string) | undefined
  /**
   * Looks at all operations of a part before the search and says what can be known from answers that come later. Saves
   * the search from going on where nothing can come of it. `isRequired` is false for an operation that need not have
   * taken effect. Default: nothing is known.
   */
  readonly foresee?:
    | ((ops: readonly Op<I, O>[], isRequired: (index: number) => boolean) => Foresight<S, I> | undefined)
    | undefined
  /** An operation in words for people: `write(3) -> ok`. Default: JSON. */
  readonly describe?: ((input: I, output: O | undefined) => string) | undefined
  /** A state in words for people. Default: JSON. */
  readonly describeState?: ((state: S) => string) | undefined
}

/** What the answers in a history tell beforehand. A mistake here makes verdicts wrong: when in doubt leave it out. */
export interface Foresight<S extends ModelState, I> {
  /**
   * Called for every state that is reached, after it was called for the one before. `null`: no complete order of the
   * operations can pass through this state. Otherwise the state, or one that stands for all that no operation of the
   * history can tell from it.
   */
  readonly reduce: (state: S) => S | null
  /** False for an operation whose effect no answer could be due to: where it need not have happened it is left out. */
  readonly canHelp?: ((input: I) => boolean) | undefined
}

/**
 * A `partition` that puts the operations with one key into one part, parts in order of their first operation. O(n).
 *
 * @example { ...registerModel(), partition: partitionBy((input) => input.key) }
 */
export function partitionBy<I, O>(
  keyOf: (input: I) => Value,
): (ops: readonly Op<I, O>[]) => readonly (readonly Op<I, O>[])[] {
  return (ops) => {
    const parts = new Map<Value, Op<I, O>[]>()
    for (const op of ops) {
      const key = keyOf(op.in)
      const part = parts.get(key)
      if (part === undefined) parts.set(key, [op])
      else part.push(op)
    }
    return [...parts.values()]
  }
}

/**
 * A 32-bit hash of a value (FNV-1a over its characters). `seed` continues an earlier hash, so the hash of a text that
 * grows at its end costs only what was added. O(length).
 */
export function hashValue(value: Value | undefined, seed = 0x811c9dc5): number {
  const text = typeof value === 'string' ? value : `${typeof value} ${String(value)}`
  let hash = seed
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193)
  return hash
}

/** A value as people read it in an explanation: text in quotes, shortened in the middle when long; absent is `nothing`. */
export function describeValue(value: Value | null | undefined): string {
  if (value === null || value === undefined) return 'nothing'
  if (typeof value !== 'string') return String(value)
  const short = value.length <= 40 ? value : `${value.slice(0, 16)} ... ${value.slice(-18)}`
  return JSON.stringify(short)
}

/** An operation in words: the model's own, or JSON. */
export function describeOperation<S extends ModelState, I, O>(model: Model<S, I, O>, op: Op<I, O>): string {
  return model.describe?.(op.in, op.out) ?? `${plain(op.in)} -> ${op.out === undefined ? '?' : plain(op.out)}`
}

/** A state in words: the model's own, or JSON. */
export function describeState<S extends ModelState>(
  model: { readonly describeState?: ((state: S) => string) | undefined },
  state: S,
): string {
  return model.describeState?.(state) ?? plain(state)
}

/** The hash of a state when the model has none: good for plain values, the same for all objects. */
export function hashState(state: ModelState): number {
  switch (typeof state) {
    case 'string':
    case 'number':
    case 'boolean':
    case 'bigint':
    case 'undefined':
      return hashValue(state)
    default:
      return 0
  }
}

function plain(value: unknown): string {
  return (
    JSON.stringify(value, (_, part: unknown) => (typeof part === 'bigint' ? `${part}n` : part)) ?? 'nothing'
  )
}
