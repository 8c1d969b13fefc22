/** A model of a set. */
import { describeValue, hashValue, partitionBy, type Model, type Value } from './model.ts'
import type { Op } from './history.ts'

/** What a client asked. `read` asks for the whole set. */
export type SetInput<V extends Value = Value> =
  | { readonly type: 'add'; readonly value: V }
  | { readonly type: 'remove'; readonly value: V }
  | { readonly type: 'contains'; readonly value: V }
  | { readonly type: 'read' }

/**
 * The answer: of `contains` whether it is in; of `read` the values, in any order; of `add` and `remove` whether the set
 * changed, or `undefined` when it does not say.
 */
export type SetOutput<V extends Value = Value> = boolean | readonly V[] | undefined

export interface SetState<V extends Value = Value> {
  readonly values: ReadonlySet<V>
  /** Of the values in no order: the sum of theirs. */
  readonly hash: number
}

/**
 * A set. Without a `read` of the whole every value is judged alone, which is fast; with one the history stays whole and
 * a change costs O(values). For sets that only grow see the set-full checker.
 */
export function setModel<V extends Value = Value>(): Model<SetState<V>, SetInput<V>, SetOutput<V>> {
  const byValue = partitionBy<SetInput<V>, SetOutput<V>>((input) =>
    input.type === 'read' ? '' : input.value,
  )
  return {
    name: 'set',
    init: () => ({ values: new Set(), hash: 0 }),
    step: (state, input, output) => {
      if (input.type === 'read') return output === undefined || isWhole(state, output) ? state : null
      const has = state.values.has(input.value)
      const reply = input.type === 'add' ? !has : has
      if (output !== undefined && output !== reply) return null
      if (input.type === 'contains' || !reply) return state
      return input.type === 'add' ? withValue(state, input.value) : withoutValue(state, input.value)
    },
    equal: (a, b) => a === b || (a.hash === b.hash && isWhole(a, [...b.values])),
    hash: ({ hash }) => hash,
    partition: (ops: readonly Op<SetInput<V>, SetOutput<V>>[]) =>
      ops.some((op) => op.in.type === 'read') ? [ops] : byValue(ops),
    readsOnly: (input, output) => input.type === 'read' || input.type === 'contains' || output === false,
    needsReply: (input) => input.type === 'read' || input.type === 'contains',
    inputKey: (input) =>
      input.type === 'read' ? 'read' : `${input.type} ${typeof input.value} ${String(input.value)}`,
    describe: (input, output) => {
      if (input.type === 'read')
        return `read() -> ${typeof output === 'object' ? describeValues(output) : '?'}`
      const call = `${input.type}(${describeValue(input.value)})`
      if (output === undefined) return input.type === 'contains' ? `${call} -> ?` : call
      return `${call} -> ${String(output)}`
    },
    describeState: ({ values }) => describeValues([...values]),
  }
}

function withValue<V extends Value>(state: SetState<V>, value: V): SetState<V> {
  return { values: new Set(state.values).add(value), hash: (state.hash + hashValue(value)) | 0 }
}

function withoutValue<V extends Value>(state: SetState<V>, value: V): SetState<V> {
  const values = new Set(state.values)
  values.delete(value)
  return { values, hash: (state.hash - hashValue(value)) | 0 }
}

/** Whether `output` lists exactly the values of the set, each once. */
function isWhole<V extends Value>(state: SetState<V>, output: SetOutput<V>): boolean {
  if (typeof output !== 'object' || output.length !== state.values.size) return false
  return new Set(output).size === output.length && output.every((value) => state.values.has(value))
}

function describeValues(values: readonly Value[]): string {
  const shown = values.slice(0, 8).map((value) => describeValue(value))
  return `{${shown.join(', ')}${values.length > 8 ? `, and ${values.length - 8} more` : ''}}`
}
