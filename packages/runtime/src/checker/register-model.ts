/** Models of a register: one value that is read and written, and one that can also be compared and set. */
import type { Op } from './history.ts'
import { describeValue, hashValue, type Foresight, type Model, type Value } from './model.ts'

/** What a client asked of a register. */
export type RegisterInput<V extends Value = Value> =
  | { readonly type: 'read' }
  | { readonly type: 'write'; readonly value: V }

/** The answer of a read: the value, `null` when nothing was written yet. A write has none (`undefined`). */
export type RegisterOutput<V extends Value = Value> = V | null | undefined

/** What a client asked of a compare-and-set register. `expected: null` means: only if nothing was written yet. */
export type CasRegisterInput<V extends Value = Value> =
  | RegisterInput<V>
  | { readonly type: 'cas'; readonly expected: V | null; readonly value: V }

/** The answer: of a read as in a register; of a `cas` whether it was carried out. */
export type CasRegisterOutput<V extends Value = Value> = RegisterOutput<V> | boolean

/** What a register holds. */
export interface RegisterState<V extends Value = Value> {
  /** `undefined` while nothing was written. */
  readonly value: V | undefined
  /** True when no operation of the history could tell the value from others: all such values are equal. */
  readonly isUnseen: boolean
}

/**
 * A register. Reads answer the last value written, or `initial`.
 *
 * @param initial the value before the first write; `null` (the default) when there is none
 */
export function registerModel<V extends Value = Value>(
  initial: V | null = null,
): Model<RegisterState<V>, RegisterInput<V>, RegisterOutput<V>> {
  return machine<V>(initial, 'register')
}

/**
 * A register with compare-and-set. A `cas` that was refused (`false`) is possible only while the register held
 * something other than `expected`; a register that refuses for other reasons should report an unknown outcome or a
 * failure.
 *
 * @param initial the value before the first write; `null` (the default) when there is none
 */
export function casRegisterModel<V extends Value = Value>(
  initial: V | null = null,
): Model<RegisterState<V>, CasRegisterInput<V>, CasRegisterOutput<V>> {
  return machine<V>(initial, 'compare-and-set register')
}

/** One machine for both: what cannot be asked of the smaller one its input type forbids. */
function machine<V extends Value>(
  initial: V | null,
  name: string,
): Omit<Model<RegisterState<V>, CasRegisterInput<V>, CasRegisterOutput<V>>, 'partition'> {
  return {
    name,
    init: () => holding(initial ?? undefined),
    step: (state, input, output) => {
      const value = state.value ?? null
      switch (input.type) {
        case 'read':
          return output === undefined || output === value ? state : null
        case 'write':
          return holding(input.value)
        case 'cas': {
          const fits = value === input.expected
          if (output !== undefined && output !== fits) return null
          return fits ? holding(input.value) : state
        }
      }
    },
    equal: (a, b) => (a.isUnseen || b.isUnseen ? a.isUnseen === b.isUnseen : a.value === b.value),
    hash: ({ value, isUnseen }) => (isUnseen ? 1 : hashValue(value)),
    foresee,
    readsOnly: (input, output) => input.type === 'read' || (input.type === 'cas' && output === false),
    needsReply: (input) => input.type !== 'write',
    inputKey: (input) => {
      switch (input.type) {
        case 'read':
          return 'read'
        case 'write':
          return `write ${typeof input.value} ${String(input.value)}`
        case 'cas':
          return JSON.stringify([
            typeof input.expected,
            String(input.expected),
            typeof input.value,
            String(input.value),
          ])
      }
    },
    describe: (input, output) => {
      switch (input.type) {
        case 'read':
          return `read() -> ${output === undefined ? '?' : describeValue(output)}`
        case 'write':
          return `write(${describeValue(input.value)})`
        case 'cas': {
          const reply = output === undefined ? '?' : output === true ? 'set' : 'refused'
          return `cas(${describeValue(input.expected)}, ${describeValue(input.value)}) -> ${reply}`
        }
      }
    },
    describeState: ({ value, isUnseen }) =>
      describeValue(value) + (isUnseen ? ' (or another that no read saw)' : ''),
  }
}

function holding<V extends Value>(value: V | undefined): RegisterState<V> {
  return { value, isUnseen: false }
}

/** Values that no read answered and no cas asked about are all alike. */
function foresee<V extends Value>(
  ops: readonly Op<CasRegisterInput<V>, CasRegisterOutput<V>>[],
  isRequired: (index: number) => boolean,
): Foresight<RegisterState<V>, CasRegisterInput<V>> {
  const seen = new Set<unknown>()
  let hasCas = false
  for (const [i, { in: input, out }] of ops.entries()) {
    if (input.type === 'read' && isRequired(i)) seen.add(out ?? undefined)
    if (input.type !== 'cas') continue
    seen.add(input.expected ?? undefined)
    hasCas = true
  }
  return {
    reduce: (state) => (state.isUnseen || seen.has(state.value) ? state : { ...state, isUnseen: true }),
    // A value that nobody asks about can still be why a cas was refused.
    canHelp: (input) => input.type !== 'read' && (hasCas || seen.has(input.value)),
  }
}
