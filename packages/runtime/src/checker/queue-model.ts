/** A model of a first-in first-out queue. */
import { describeValue, hashValue, partitionBy, type Model, type Value } from './model.ts'
import { queueForesight } from './queue-foresight.ts'

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

/**
 * A queue in strict order. Values should be unique: it makes the search cheap, and two equal values cannot be told
 * apart. What a long queue held in which order shows only much later, so histories of one queue are much harder to
 * judge than those of a register, above all where outcomes are unknown or values repeat. For a queue that only promises to deliver, see the total-queue checker.
 */
export function queueModel<V extends Value = Value>(): Model<QueueState<V>, QueueInput<V>, QueueOutput<V>> {
  return {
    name: 'queue',
    init: () => ({ items: [], start: 0, end: 0, hash: 0, power: 1 }),
    step: (state, input, output) => {
      if (input.type === 'enqueue') return enqueue(state, input.value)
      const oldest = state.start === state.end ? null : (state.items[state.start] ?? null)
      if (output !== undefined && output !== oldest) return null
      return oldest === null ? state : dequeue(state, oldest)
    },
    equal,
    hash: ({ hash, end, start }) => hash ^ (end - start),
    foresee: queueForesight,
    partition: partitionBy((input) => input.queue ?? ''),
    readsOnly: (input, output) => input.type === 'dequeue' && output === null,
    needsReply: (input) => input.type === 'dequeue',
    inputKey: (input) =>
      input.type === 'enqueue' ? `enqueue ${typeof input.value} ${String(input.value)}` : 'dequeue',
    describe: (input, output) => {
      const queue = input.queue === undefined ? '' : JSON.stringify(input.queue)
      if (input.type === 'enqueue') {
        return `enqueue(${queue === '' ? '' : `${queue}, `}${describeValue(input.value)})`
      }
      const reply = output === undefined ? '?' : output === null ? 'empty' : describeValue(output)
      return `dequeue(${queue}) -> ${reply}`
    },
    describeState: ({ items, start, end }) => {
      if (start === end) return 'empty'
      const shown = items.slice(start, Math.min(end, start + 5)).map((value) => describeValue(value))
      return `[${shown.join(', ')}${end - start > 5 ? `, and ${end - start - 5} more` : ''}]`
    },
  }
}

function enqueue<V extends Value>(state: QueueState<V>, value: V): QueueState<V> {
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

function dequeue<V extends Value>(state: QueueState<V>, oldest: V): QueueState<V> {
  const power = Math.imul(state.power, baseInverse)
  const hash = (state.hash - Math.imul(hashValue(oldest), power)) | 0
  return { items: state.items, start: state.start + 1, end: state.end, hash, power }
}

function equal<V extends Value>(a: QueueState<V>, b: QueueState<V>): boolean {
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
