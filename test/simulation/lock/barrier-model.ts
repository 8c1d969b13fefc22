/**
 * Barriers as those see them who pass them. A call that waits is two moments, of which the model demands that they come in
 * order: it arrives, and it is let through. Both lie between its call and its return.
 */
import { partitionBy, type Model } from '@understudy/runtime/checkers'
import { hashText } from './hold-model.ts'

export type BarrierInput = { readonly name: string; readonly parties: number; readonly who: string } &
  /** Has come to a cyclic barrier, or to the entrance of a double one. */
  (
    | { readonly type: 'arrive' }
    /** Is let through, with the generation. */
    | { readonly type: 'through' }
    /** Of a double barrier: wants to leave. */
    | { readonly type: 'leave' }
    /** Of a double barrier: all others of its generation have left. */
    | { readonly type: 'left' }
    /** Gives up, or may have: for whoever's session was lost. Counts as having left. */
    | { readonly type: 'end' }
  )

interface BarrierState {
  /** What each opening answered, in their order; 0: nobody has seen it. */
  readonly generations: readonly number[]
  /** Who waits to get through, first come first. */
  readonly arrived: readonly string[]
  /** Who was let through and has not returned yet, as `who:opening`, sorted. */
  readonly through: readonly string[]
  /** Of a double barrier: those of the generation that are inside and have not left. */
  readonly inside: readonly string[]
  /** Of a double barrier: those who have said that they leave, and wait for the rest. */
  readonly leaving: readonly string[]
  /** Of a double barrier: who may return from leaving. */
  readonly gone: readonly string[]
}

const empty: BarrierState = {
  generations: [],
  arrived: [],
  through: [],
  inside: [],
  leaving: [],
  gone: [],
}

/** A barrier that is used again and again; `through` is answered with its generation, which grows. */
export const barrierModel: Model<BarrierState, BarrierInput, number | true> = modelOf('barrier', false)
/** One that is entered by all and left by all. */
export const doubleBarrierModel: Model<BarrierState, BarrierInput, number | true> = modelOf(
  'double barrier',
  true,
)

function modelOf(name: string, isDouble: boolean): Model<BarrierState, BarrierInput, number | true> {
  return {
    name,
    init: () => empty,
    step: (state, input, output) => stepOf(state, input, output, isDouble),
    equal: (a, b) => a === b || textOf(a) === textOf(b),
    hash: (state) => hashText(textOf(state)),
    partition: partitionBy((input) => input.name),
    inputKey: (input) => JSON.stringify(input),
    describe: (input, output) =>
      `${input.type} ${input.who} -> ${output === undefined ? '?' : String(output)}`,
  }
}

function stepOf(
  state: BarrierState,
  input: BarrierInput,
  output: number | true | undefined,
  isDouble: boolean,
): BarrierState | null {
  const { who } = input
  switch (input.type) {
    case 'arrive':
      return opened({ ...state, arrived: [...state.arrived, who] }, input.parties, isDouble)
    case 'through': {
      const found = state.through.find((one) => one.startsWith(`${who}:`))
      if (found === undefined) return output === undefined ? state : null
      const generations = answered(state.generations, Number(found.slice(who.length + 1)), output)
      if (generations === undefined) return null
      return { ...state, generations, through: state.through.filter((one) => one !== found) }
    }
    case 'leave': {
      if (!state.inside.includes(who)) return output === undefined ? state : null
      return vacated({ ...state, leaving: added(state.leaving, who) }, input.parties, isDouble)
    }
    case 'left':
      if (!state.gone.includes(who)) return output === undefined ? state : null
      return { ...state, gone: state.gone.filter((one) => one !== who) }
    case 'end': {
      const isThere = state.arrived.includes(who) || state.inside.includes(who) || state.leaving.includes(who)
      if (!isThere) return state
      const rest = {
        ...state,
        arrived: state.arrived.filter((one) => one !== who),
        inside: state.inside.filter((one) => one !== who),
        leaving: state.leaving.filter((one) => one !== who),
      }
      return vacated(rest, input.parties, isDouble)
    }
  }
}

/** Lets as many as `parties` through, unless those of a double barrier before them are still inside. */
function opened(state: BarrierState, parties: number, isDouble: boolean): BarrierState {
  if (state.arrived.length < parties || state.inside.length > 0) return state
  const entered = state.arrived.slice(0, parties)
  let through = state.through
  for (const who of entered) through = added(through, `${who}:${state.generations.length}`)
  const generations = [...state.generations, 0]
  const arrived = state.arrived.slice(parties)
  return { ...state, generations, through, arrived, inside: isDouble ? entered : [] }
}

/** What is known when opening `at` was answered with `output`; undefined: that cannot be. */
function answered(
  generations: readonly number[],
  at: number,
  output: number | true | undefined,
): readonly number[] | undefined {
  if (typeof output !== 'number' || output === generations[at]) return generations
  const grows = generations.every((one, i) => one === 0 || (i < at ? one < output : i > at && one > output))
  return grows ? generations.map((one, i) => (i === at ? output : one)) : undefined
}

/** Lets those go who leave, when all who are inside do. */
function vacated(state: BarrierState, parties: number, isDouble: boolean): BarrierState {
  if (!state.inside.every((who) => state.leaving.includes(who))) return state
  const gone = state.leaving.reduce(added, state.gone)
  return opened({ ...state, gone, inside: [], leaving: [] }, parties, isDouble)
}

function added(list: readonly string[], who: string): readonly string[] {
  return [...list.filter((one) => one !== who), who].sort()
}

function textOf({ generations, arrived, through, inside, leaving, gone }: BarrierState): string {
  return [generations, arrived, through, inside, leaving, gone].map(String).join(';')
}
