/**
 * Where an illegal history first goes wrong: the first return up to which the operations cannot be put in order.
 *
 * A search that uses `Model.foresee` turns back as soon as it sees what will be wrong later, so the operation it got
 * stuck at is not the one that people would blame. This finds that one.
 */
import type { Op } from './history.ts'
import { searchLinearization, type SearchLimits, type SearchResult } from './linearization-search.ts'
import type { Model, ModelState } from './model.ts'

export type EarliestViolation<S> = Pick<SearchResult<S>, 'order' | 'stuck' | 'states' | 'statesCut'>

/**
 * The violation of `ops`, which `found` says is illegal. Where foresight had a part in it, searches again without, and
 * if that takes too long by halving the history, which tells only one of the states there can have been. Costs at most
 * about `limits.stepsMax` steps.
 */
export function earliestViolation<S extends ModelState, I, O>(
  model: Model<S, I, O>,
  ops: readonly Op<I, O>[],
  found: SearchResult<S>,
  limits: SearchLimits,
): EarliestViolation<S> & { readonly steps: number } {
  if (!found.foresaw) return { ...found, steps: 0 }
  const plain = { ...model, foresee: undefined }
  const stepsMax = Math.floor(limits.stepsMax / 10)
  const again = searchLinearization(plain, ops, { ...limits, stepsMax })
  if (again.outcome === 'illegal') return again
  return halve(model, ops, found, { ...limits, stepsMax: limits.stepsMax * 0.6 }, again.steps)
}

function halve<S extends ModelState, I, O>(
  model: Model<S, I, O>,
  ops: readonly Op<I, O>[],
  found: SearchResult<S>,
  limits: SearchLimits,
  stepsBefore: number,
): EarliestViolation<S> & { readonly steps: number } {
  const returns = [...ops.keys()].filter((i) => at(ops, i).ret !== Number.POSITIVE_INFINITY)
  returns.sort((a, b) => at(ops, a).ret - at(ops, b).ret || a - b)
  let steps = 0
  let legal: SearchResult<S> | undefined
  // Up to return `low` nothing is known to be wrong, up to return `high` something is.
  let low = -1
  let high = returns.length - 1
  while (high - low > 1 && steps < limits.stepsMax) {
    const middle = (low + high) >> 1
    const half = searchLinearization(model, upTo(ops, returns, middle), {
      ...limits,
      stepsMax: limits.stepsMax - steps,
    })
    steps += half.steps + ops.length
    if (half.outcome === 'illegal') {
      high = middle
    } else {
      low = middle
      legal = half
    }
  }
  const stuck = returns[high] ?? found.stuck
  if (legal === undefined) return { ...found, stuck, statesCut: true, steps: stepsBefore + steps }
  return { order: legal.order, stuck, states: legal.states, statesCut: true, steps: stepsBefore + steps }
}

/** The same operations, where those that returned after the `last`th return need not have taken effect. */
function upTo<I, O>(ops: readonly Op<I, O>[], returns: readonly number[], last: number): readonly Op<I, O>[] {
  const kept = new Set(returns.slice(0, last + 1))
  // Those called later stay in the list, so that indices stay the same; no search gets to them.
  return ops.map((op, i) => (kept.has(i) ? op : { ...op, ret: Number.POSITIVE_INFINITY }))
}

function at<I, O>(ops: readonly Op<I, O>[], index: number): Op<I, O> {
  return ops[index] as Op<I, O>
}
