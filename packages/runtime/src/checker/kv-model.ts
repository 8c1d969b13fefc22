/** A model of a key-value store: every key is an object of its own, and is judged alone. */
import { kvForesight } from './kv-foresight.ts'
import {
  append,
  isSame,
  isValue,
  valueOf,
  wholeOf,
  type KvInput,
  type KvOutput,
  type KvState,
} from './kv-state.ts'
import { describeValue, partitionBy, type Model, type Value } from './model.ts'

export interface KvModelOptions<V extends Value = Value> {
  /** What a `get` answers when the key is absent. Some stores answer the empty text. @default null */
  readonly missing?: V | null | undefined
}

/** A key-value store with get, put, append and delete, partitioned by key. `step` sees the operations of one key. */
export function kvModel<V extends Value = Value>(
  options: KvModelOptions<V> = {},
): Model<KvState<V>, KvInput<V>, KvOutput<V>> {
  const missing = options.missing ?? null
  return {
    name: 'key',
    init: () => undefined,
    step: (state, input, output) => {
      switch (input.type) {
        case 'get':
          if (output === undefined) return state
          return (state === undefined ? output === missing : isValue(state, output)) ? state : null
        case 'put':
          return valueOf(input.value)
        case 'append':
          return append(state, input.value)
        case 'delete':
          return output === undefined || output === (state !== undefined) ? undefined : null
      }
    },
    equal: (a, b) => a === b || (a !== undefined && b !== undefined && isSame(a, b)),
    hash: (state) => (state === undefined ? 0 : state.isUnseen ? 1 : state.hash),
    foresee: kvForesight,
    partition: partitionBy((input) => input.key),
    readsOnly: (input, output) => input.type === 'get' || (input.type === 'delete' && output === false),
    needsReply: (input) => input.type === 'get',
    inputKey: (input) =>
      'value' in input
        ? JSON.stringify([input.type, input.key, typeof input.value, String(input.value)])
        : JSON.stringify([input.type, input.key]),
    describe: (input, output) => {
      const key = JSON.stringify(input.key)
      const reply = output === undefined ? '?' : describeValue(output)
      switch (input.type) {
        case 'get':
          return `get(${key}) -> ${reply}`
        case 'put':
        case 'append':
          return `${input.type}(${key}, ${describeValue(input.value)})`
        case 'delete':
          return output === undefined ? `delete(${key})` : `delete(${key}) -> ${reply}`
      }
    },
    describeState: (state) =>
      describeValue(state && wholeOf(state)) +
      (state?.isUnseen === true ? ' (or another that no get saw)' : ''),
  }
}
