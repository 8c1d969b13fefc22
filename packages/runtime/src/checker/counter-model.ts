/** A model of a counter. */
import { hashValue, type Model } from './model.ts'

/** What a client asked. `by` may be negative; `undefined` means 1. */
export type CounterInput =
  | { readonly type: 'add'; readonly by?: number | undefined }
  | { readonly type: 'read' }

/** The answer: of a `read` the count; of an `add` the count after it, or `undefined` when the counter does not say. */
export type CounterOutput = number | undefined

/**
 * A counter. Additions whose replies carry the new count are cheap to judge; silent ones are seen only in reads.
 *
 * @param initial the count before the first operation
 */
export function counterModel(initial = 0): Model<number, CounterInput, CounterOutput> {
  return {
    name: 'counter',
    init: () => initial,
    step: (state, input, output) => {
      const next = input.type === 'add' ? state + (input.by ?? 1) : state
      return output === undefined || output === next ? next : null
    },
    equal: (a, b) => a === b,
    hash: hashValue,
    readsOnly: (input) => input.type === 'read',
    needsReply: (input) => input.type === 'read',
    inputKey: (input) => (input.type === 'add' ? `add ${input.by ?? 1}` : 'read'),
    describe: (input, output) => {
      if (input.type === 'read') return `read() -> ${output ?? '?'}`
      return output === undefined ? `add(${input.by ?? 1})` : `add(${input.by ?? 1}) -> ${output}`
    },
    describeState: String,
  }
}
