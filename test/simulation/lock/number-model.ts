/** Counters, latches and versioned values as their clients see them. */
import { partitionBy, type Model } from '@understudy/runtime/checkers'
import { hashText } from './hold-model.ts'

export type CountInput = { readonly name: string } & (
  | { readonly type: 'get' }
  | { readonly type: 'add'; readonly by: number }
  | { readonly type: 'set'; readonly value: number }
  | { readonly type: 'cas'; readonly expected: number; readonly value: number }
)

/** Of a get and an add the value; of a compare-and-set whether it did something, and the value behind it. */
export type CountOutput = number | { readonly ok: boolean; readonly value: number } | undefined

/** A counter: 0 at first. */
export const countModel: Model<number, CountInput, CountOutput> = {
  name: 'counter',
  init: () => 0,
  step: (state, input, output) => {
    switch (input.type) {
      case 'get':
        return output === undefined || output === state ? state : null
      case 'add': {
        const next = state + input.by
        return output === undefined || output === next ? next : null
      }
      case 'set':
        return input.value
      case 'cas': {
        const ok = state === input.expected
        const next = ok ? input.value : state
        if (typeof output === 'object' && (output.ok !== ok || output.value !== next)) return null
        return next
      }
    }
  },
  equal: (a, b) => a === b,
  partition: partitionBy((input) => input.name),
  readsOnly: (input, output) =>
    input.type === 'get' || (input.type === 'cas' && typeof output === 'object' && !output.ok),
  needsReply: (input) => input.type === 'get',
  inputKey: (input) => JSON.stringify(input),
}

export type LatchInput = { readonly name: string; readonly count: number } & (
  | { readonly type: 'get' }
  | { readonly type: 'down'; readonly by: number }
  /** Answered when the count is 0. */
  | { readonly type: 'wait' }
)

/** A latch: at `count` at first, never below 0. */
export const latchModel: Model<number, LatchInput, number | undefined> = {
  name: 'latch',
  init: () => -1,
  step: (state, input, output) => {
    const count = state === -1 ? input.count : state
    switch (input.type) {
      case 'get':
        return output === undefined || output === count ? count : null
      case 'down': {
        const next = Math.max(0, count - input.by)
        return output === undefined || output === next ? next : null
      }
      case 'wait':
        return output === undefined || count === 0 ? count : null
    }
  },
  equal: (a, b) => a === b,
  partition: partitionBy((input) => input.name),
  inputKey: (input) => JSON.stringify(input),
}

export type VersionedInput = { readonly name: string } & (
  | { readonly type: 'get' }
  | { readonly type: 'set'; readonly value: string }
  | { readonly type: 'cas'; readonly expectedVersion: number; readonly value: string }
)

/** `ok` is true of a get and a set. Of a set the value is not told. */
export interface VersionedOutput {
  readonly ok: boolean
  readonly version: number
  readonly value?: string | undefined
}

interface VersionedState {
  readonly value: string
  readonly version: number
  /** False where nobody saw which version a write made: it is at least `version`. */
  readonly isKnown: boolean
}

/** A value whose versions grow with each write: 0 and '' at first. */
export const versionedModel: Model<VersionedState, VersionedInput, VersionedOutput> = {
  name: 'value',
  init: () => ({ value: '', version: 0, isKnown: true }),
  step: (state, input, output) => {
    switch (input.type) {
      case 'get': {
        if (output === undefined) return state
        if (output.value !== state.value || !isVersion(state, output.version)) return null
        return { ...state, version: output.version, isKnown: true }
      }
      case 'set':
        return written(state, input.value, output)
      case 'cas': {
        const fits = isVersion(state, input.expectedVersion)
        if (output === undefined) return fits ? written(state, input.value, output) : state
        if (output.ok) return fits ? written(state, input.value, output) : null
        if (state.isKnown && state.version === input.expectedVersion) return null
        if (!isVersion(state, output.version) || output.value !== state.value) return null
        return { ...state, version: output.version, isKnown: true }
      }
    }
  },
  equal: (a, b) => a.value === b.value && a.version === b.version && a.isKnown === b.isKnown,
  hash: ({ value, version, isKnown }) => hashText(`${version} ${isKnown} ${value}`),
  partition: partitionBy((input) => input.name),
  needsReply: (input) => input.type === 'get',
  inputKey: (input) => JSON.stringify(input),
}

function isVersion({ version, isKnown }: VersionedState, found: number): boolean {
  return isKnown ? found === version : found >= version
}

function written(
  state: VersionedState,
  value: string,
  output: VersionedOutput | undefined,
): VersionedState | null {
  if (output === undefined) return { value, version: state.version + 1, isKnown: false }
  return output.version > state.version ? { value, version: output.version, isKnown: true } : null
}
