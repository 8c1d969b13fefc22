/** A model of a first-in first-out queue. */
import { describeValue, partitionBy, type Model, type Value } from './model.ts'
import { queueForesight } from './queue-foresight.ts'
import {
  dequeue,
  enqueue,
  isSame,
  type QueueInput,
  type QueueOutput,
  type QueueState,
} from './queue-state.ts'

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
    equal: isSame,
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
