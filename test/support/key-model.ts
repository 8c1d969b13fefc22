/** One key of the store with compare-and-set, as clients see it: what histories are judged by, simulated ones and real ones. */
import { partitionBy, type Model } from '@understudy/runtime/checkers'

export type KeyInput = { readonly key: string } & (
  | { readonly type: 'get' }
  | { readonly type: 'put'; readonly value: string }
  | { readonly type: 'delete' }
  | { readonly type: 'cas'; readonly expected: string; readonly value: string }
)
/** Of a get the value, '' when there is none; of a delete and a cas whether it did something. */
export type KeyOutput = string | boolean | undefined

/** One key. '' is absent. */
export const keyModel: Model<string, KeyInput, KeyOutput> = {
  name: 'key',
  init: () => '',
  step: (state, input, output) => {
    switch (input.type) {
      case 'get':
        return output === undefined || output === state ? state : null
      case 'put':
        return input.value
      case 'delete':
        return output === undefined || output === (state !== '') ? '' : null
      case 'cas': {
        const fits = state === input.expected
        if (output !== undefined && output !== fits) return null
        return fits ? input.value : state
      }
    }
  },
  equal: (a, b) => a === b,
  partition: partitionBy((input) => input.key),
  readsOnly: (input, output) =>
    input.type === 'get' || ((input.type === 'cas' || input.type === 'delete') && output === false),
  needsReply: (input) => input.type === 'get',
  inputKey: (input) => JSON.stringify(input),
}
