/**
 * Small objects with what is needed to test a linearizability checker on them: how they behave, written down a second
 * time and without the models of the package; what clients ask of them; and a checker that tries every order.
 */
import { isDeepStrictEqual } from 'node:util'
import type { Op } from '@understudy/runtime/checkers'
import { concurrentHistory, type SeededNumbers } from './concurrent-history.ts'

export interface CheckedObject<S, I, O> {
  readonly name: string
  readonly init: S
  /** What a correct object does. */
  readonly run: (state: S, input: I) => readonly [S, O]
  /** Where one call can have several outcomes: the states after it, given the answer or none. Default: from `run`. */
  readonly outcomes?: (state: S, input: I, output: O | undefined) => readonly S[]
  /** A random call. Few different values, so that small histories are often wrong in interesting ways. */
  readonly input: (random: SeededNumbers, index: number, client: number) => I
  /** A call that changes `state`, with a value of its own, and one whose answer shows that. */
  readonly change: (state: S, index: number) => I
  readonly look: (state: S, index: number) => I
  /** Whether swapping the answers of two looks must show. Default: wherever they differ. */
  readonly isTelling?: (ops: readonly Op<I, O>[], first: O | undefined, second: O | undefined) => boolean
}

/** Whether some order explains the history: every order is tried. `mayDrop` operations need not have happened. */
export function isExplained<S, I, O>(
  object: CheckedObject<S, I, O>,
  ops: readonly Op<I, O>[],
  mayDrop: (op: Op<I, O>) => boolean = () => false,
): boolean {
  const outcomes = object.outcomes ?? deterministic(object)
  const isFree = (op: Op<I, O>): boolean => op.ret === Number.POSITIVE_INFINITY || mayDrop(op)
  const search = (state: S, left: readonly Op<I, O>[]): boolean => {
    if (left.every(isFree)) return true
    return left.some((op) => {
      if (left.some((other) => other.ret < op.call && !isFree(other))) return false
      const rest = left.filter((other) => other !== op && other.ret >= op.call)
      const out = op.ret === Number.POSITIVE_INFINITY ? undefined : op.out
      return outcomes(state, op.in, out).some((next) => search(next, rest))
    })
  }
  return search(object.init, ops)
}

function deterministic<S, I, O>({ run }: CheckedObject<S, I, O>) {
  return (state: S, input: I, output: O | undefined): readonly S[] => {
    const [next, out] = run(state, input)
    return output === undefined || isDeepStrictEqual(out, output) ? [next] : []
  }
}

/** A history of a correct object. */
export function goodHistory<S, I, O>(
  object: CheckedObject<S, I, O>,
  random: SeededNumbers,
  size: { readonly clients: number; readonly operations: number; readonly unknownPercent?: number },
): Op<I, O>[] {
  let state = object.init
  const apply = (input: I): O => {
    const [next, out] = object.run(state, input)
    state = next
    return out
  }
  return concurrentHistory({ ...size, random, input: object.input, apply })
}

export type Mutation = 'none' | 'swap two returns' | 'drop an acknowledgement' | 'read an old value'

/**
 * A long history in which three calls have the object to themselves: look, change, look. As it stands it is good; with
 * a mutation it is wrong by construction, wherever the answers of the two looks differ.
 */
export function mutatedHistory<S, I, O>(
  object: CheckedObject<S, I, O>,
  random: SeededNumbers,
  operations: number,
  mutation: Mutation,
): Op<I, O>[] {
  const at = operations >> 1
  let state = object.init
  let before = state
  let called = -1
  const ops = concurrentHistory<I, O>({
    random,
    clients: 8,
    operations,
    isAlone: (index) => index >= at && index < at + 3,
    input: (numbers, index, client) => {
      called = index
      if (index === at + 1) return object.change(state, index)
      return index === at || index === at + 2
        ? object.look(state, at + 1)
        : object.input(numbers, index, client)
    },
    apply: (input) => {
      if (called === at + 1) before = state
      const isStale = mutation === 'read an old value' && called === at + 2
      const [next, out] = object.run(isStale ? before : state, input)
      if (!(mutation === 'drop an acknowledgement' && called === at + 1)) state = next
      return out
    },
  })
  if (mutation !== 'swap two returns') return ops
  const [first, second] = [ops[at] as Op<I, O>, ops[at + 2] as Op<I, O>]
  ops[at] = { ...first, out: second.out }
  ops[at + 2] = { ...second, out: first.out }
  return ops
}
