/** What a queue is asked and answers, and what it can hold. */
import { hashValue, type Value } from './model.ts'

/** What a client asked. `queue` names the queue where there is more than one; each is judged alone. */
export type QueueInput<V extends Value = Value> =
  | { readonly type: 'enqueue'; readonly queue?: string | undefined; readonly value: V }
  | { readonly type: 'dequeue'; readonly queue?: string | undefined }

/** The answer of a `dequeue`: the oldest value, `null` when the queue was empty. An `enqueue` has none. */
export type QueueOutput<V extends Value = Value> = V | null | undefined

/**
 * The values in the queue: `items[start]` (the oldest) to `items[end - 1]`. The array is shared between states and grows
 * only at its end, so a step costs O(1) and copies only after the search took back an `enqueue`.
 */
export interface QueueState<V extends Value = Value> {
  readonly items: V[]
  readonly start: number
  readonly end: number
  /** Of the values in their order: a polynomial, so that both ends can be changed in O(1). */
  readonly hash: number
  /** `base` to the power of the length. */
  readonly power: number
}

const base = 0x01000193
/** `base` times this is 1 in 32 bits. */
const baseInverse = inverse(base)

export function enqueue<V extends Value>(state: QueueState<V>, value: V): QueueState<V> {
  const { start, end } = state
  const hash = (Math.imul(state.hash, base) + hashValue(value)) | 0
  const power = Math.imul(state.power, base)
  if (state.items.length === end) {
    state.items.push(value)
    return { items: state.items, start, end: end + 1, hash, power }
  }
  // Another state has already written here: this one goes on alone.
  const items = state.items.slice(start, end)
  items.push(value)
  return { items, start: 0, end: items.length, hash, power }
}

/** Without `oldest`, which is the value at its head. */
export function dequeue<V extends Value>(state: QueueState<V>, oldest: V): QueueState<V> {
  const power = Math.imul(state.power, baseInverse)
  const hash = (state.hash - Math.imul(hashValue(oldest), power)) | 0
  return { items: state.items, start: state.start + 1, end: state.end, hash, power }
}

export function isSame<V extends Value>(a: QueueState<V>, b: QueueState<V>): boolean {
  const length = a.end - a.start
  if (length !== b.end - b.start || a.hash !== b.hash) return false
  if (a.items === b.items && a.start === b.start) return true
  for (let i = 0; i < length; i++) if (a.items[a.start + i] !== b.items[b.start + i]) return false
  return true
}

/** The inverse of an odd number in 32 bits, by Newton's iteration: each round doubles the bits that are right. */
function inverse(odd: number): number {
  let guess = odd
  for (let i = 0; i < 5; i++) guess = Math.imul(guess, 2 - Math.imul(odd, guess))
  return guess
}
