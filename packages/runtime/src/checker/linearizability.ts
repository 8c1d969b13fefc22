/**
 * Linearizability: does a concurrent history look as if every operation had taken effect at one instant between its
 * call and its return (Herlihy and Wing 1990)? The question for registers, key-value stores, locks, queues.
 */
import { earliestViolation } from './earliest-violation.ts'
import { violationText, type LinearizabilityViolation } from './explanation.ts'
import type { Op } from './history.ts'
import { searchLinearization, type SearchLimits, type SearchResult } from './linearization-search.ts'
import { describeOperation, type Model, type ModelState } from './model.ts'
import { shortestViolation } from './shortest-violation.ts'

/** Limits of `checkLinearizable`. Deciding is NP-complete: a checker without limits is one that hangs. */
export interface LinearizabilityOptions {
  /** Model steps for all parts together; about 1 to 5 million take a second. @default 20_000_000 */
  readonly stepsMax?: number | undefined
  /** Configurations remembered for one part; a million cost about 40 MB and their states. @default 2_000_000 */
  readonly cacheEntriesMax?: number | undefined
  /** Model steps spent on shortening the explanation once a history is found illegal; 0 for none. @default 1_000_000 */
  readonly explainStepsMax?: number | undefined
  /** Time for everything, in milliseconds of `nowMs`; needs `nowMs`. Without it the answer depends on no clock. */
  readonly budgetMs?: number | undefined
  /** The clock of `budgetMs`. */
  readonly nowMs?: (() => number) | undefined
}

/** All indices are positions in the list of operations that was checked. */
export interface LinearizabilityVerdict<S extends ModelState> {
  /** `unknown`: a limit was reached first; `reason` says which. */
  readonly verdict: 'ok' | 'illegal' | 'unknown'
  /** For people: of a violation the shortest explanation. */
  readonly reason: string
  /**
   * The placement that got farthest in each part, in the order of the parts: operations in an order that explains all
   * their answers. When `ok` it is a proof: it holds every operation whose outcome is known.
   */
  readonly longest: readonly (readonly number[])[]
  /** Model steps of the search, without those of the explanation. */
  readonly steps: number
  /** When `illegal`. */
  readonly violation?: LinearizabilityViolation<S> | undefined
}

export const linearizabilityDefaults = Object.freeze({
  stepsMax: 20_000_000,
  cacheEntriesMax: 2_000_000,
  explainStepsMax: 1_000_000,
})

/**
 * Judges `ops` by `model`. Parts are judged apart, the smallest first, up to the first that is illegal; those that are hard
 * last. The verdict
 * depends on the arguments alone, unless a `budgetMs` is given.
 *
 * @throws {RangeError} when a time or a limit is not a number that makes sense
 * @throws {TypeError} when a read returned without an answer, or `model.partition` loses or invents operations
 */
export function checkLinearizable<S extends ModelState, I, O>(
  model: Model<S, I, O>,
  ops: readonly Op<I, O>[],
  options: LinearizabilityOptions = {},
): LinearizabilityVerdict<S> {
  const limits = validLimits(options)
  for (const [i, op] of ops.entries()) validateOp(model, op, i)
  const parts = partsOf(model, ops)
  const longest: (readonly number[])[] = parts.map(() => [])
  let steps = 0
  let open = smallestFirst(parts)
  let undecided: string | undefined
  // In the first round half of the steps are shared out evenly, so that a part that is hard hides no other.
  const { stepsMax: all } = limits.search
  for (const share of parts.length > 1 ? [all / 2 / parts.length, all] : [all]) {
    const again: number[] = []
    undecided = undefined
    for (const index of open) {
      const part = parts[index] ?? []
      const partOps = part.map((i) => ops[i] as Op<I, O>)
      const stepsMax = Math.min(share, all - steps)
      const found = searchLinearization(model, partOps, { ...limits.search, stepsMax })
      steps += found.steps
      longest[index] = found.order.map((i) => part[i] ?? 0)
      if (found.outcome === 'illegal') {
        const violation = violationOf(model, part, partOps, found, limits.explain)
        const reason = violationText(model, ops, violation)
        return { verdict: 'illegal', reason, longest, steps, violation }
      }
      if (found.outcome === 'ok') continue
      again.push(index)
      undecided ??= undecidedText(model, partOps, found, limits.search, options)
    }
    open = again
  }
  if (undecided !== undefined) return { verdict: 'unknown', reason: undecided, longest, steps }
  const among = parts.length === 1 ? '' : ` in ${parts.length} parts`
  const reason = `Linearizable: ${ops.length} operations${among} can be put in order`
  return { verdict: 'ok', reason, longest, steps }
}

function violationOf<S extends ModelState, I, O>(
  model: Model<S, I, O>,
  part: readonly number[],
  partOps: readonly Op<I, O>[],
  found: SearchResult<S>,
  limits: SearchLimits,
): LinearizabilityViolation<S> {
  const { stuck, states, statesCut, order, steps } = earliestViolation(model, partOps, found, limits)
  const stepsMax = Math.max(0, limits.stepsMax - steps)
  const { core, minimal } = shortestViolation(model, partOps, stuck, { ...limits, stepsMax })
  const inAll = (i: number): number => part[i] ?? 0
  return {
    operation: inAll(stuck),
    states,
    statesCut,
    core: core.map(inAll),
    minimal,
    prefix: order.map(inAll),
    part,
  }
}

function undecidedText<S extends ModelState, I, O>(
  model: Model<S, I, O>,
  ops: readonly Op<I, O>[],
  found: SearchResult<S>,
  limits: SearchLimits,
  options: LinearizabilityOptions,
): string {
  const stuckOp = ops[found.stuck]
  const at = stuckOp === undefined ? '' : ` before ${describeOperation(model, stuckOp)}`
  const unknown = ops.filter((op) => op.ret === Number.POSITIVE_INFINITY).length
  const got = `it had placed ${found.order.length} of ${ops.length} operations${at} (${unknown} of unknown outcome)`
  const advice = 'split the history by key, give every write its own value, or raise the limit'
  switch (found.outcome) {
    case 'time':
      return `Undecided: the ${options.budgetMs} ms of budgetMs ran out; ${got}; ${advice}`
    case 'memory':
      return `Undecided: cacheEntriesMax, ${limits.cacheEntriesMax}, was reached; ${got}; ${advice}`
    default:
      return `Undecided: the ${options.stepsMax ?? linearizabilityDefaults.stepsMax} steps of stepsMax ran out; ${got}; ${advice}`
  }
}

function validLimits(options: LinearizabilityOptions): {
  readonly search: SearchLimits
  readonly explain: SearchLimits
} {
  const atLeast = (name: string, value: number, min: number): number => {
    if (value >= min) return value
    throw new RangeError(`Cannot check with ${name} ${value}: it must be a number of at least ${min}`)
  }
  const { budgetMs, nowMs } = options
  const stepsMax = atLeast('stepsMax', options.stepsMax ?? linearizabilityDefaults.stepsMax, 1)
  const explainSteps = atLeast(
    'explainStepsMax',
    options.explainStepsMax ?? linearizabilityDefaults.explainStepsMax,
    0,
  )
  const cacheEntriesMax = atLeast(
    'cacheEntriesMax',
    options.cacheEntriesMax ?? linearizabilityDefaults.cacheEntriesMax,
    1,
  )
  let isTimeUp: (() => boolean) | undefined
  if (budgetMs !== undefined) {
    if (nowMs === undefined)
      throw new TypeError('Cannot check with budgetMs alone: give the clock as nowMs too')
    const endMs = nowMs() + atLeast('budgetMs', budgetMs, 0)
    isTimeUp = () => nowMs() >= endMs
  }
  return {
    search: { stepsMax, cacheEntriesMax, isTimeUp },
    explain: { stepsMax: explainSteps, cacheEntriesMax, isTimeUp },
  }
}

function validateOp<S extends ModelState, I, O>(model: Model<S, I, O>, op: Op<I, O>, index: number): void {
  const named = (): string => `operation ${index}, ${describeOperation(model, op)}`
  if (!Number.isFinite(op.call) || !(op.ret >= op.call)) {
    throw new RangeError(
      `Cannot judge ${named()}: it was called at ${op.call} and returned at ${op.ret}; the call must be a finite ` +
        'number and the return not before it (Infinity when the outcome is unknown)',
    )
  }
  if (op.out === undefined && op.ret !== Number.POSITIVE_INFINITY && model.needsReply?.(op.in) === true) {
    throw new TypeError(
      `Cannot judge ${named()}: it returned at ${op.ret} without an answer; write null for an absent value, or ret ` +
        'Infinity if the outcome is unknown',
    )
  }
}

/** The parts as indices into `ops`. A partition that drops an operation would hide what is wrong with it. */
function partsOf<S extends ModelState, I, O>(
  model: Model<S, I, O>,
  ops: readonly Op<I, O>[],
): readonly (readonly number[])[] {
  if (model.partition === undefined) return [[...ops.keys()]]
  // Copies, so that every operation is an object of its own even where the caller put one in twice.
  const copies = ops.map((op) => ({ ...op }))
  const indexOf = new Map<Op<I, O>, number>(copies.map((op, i) => [op, i]))
  const seen = new Set<number>()
  const parts = model.partition(copies).map((part) =>
    part.map((op) => {
      const index = indexOf.get(op)
      if (index === undefined || seen.has(index)) {
        throw new TypeError(
          `Cannot use the partition of model "${model.name}": it must put each operation it is given, and not a copy, ` +
            `into exactly one part, but ${index === undefined ? 'invented one' : `operation ${index} is there twice`}`,
        )
      }
      seen.add(index)
      return index
    }),
  )
  if (seen.size === ops.length) return parts
  const lost = ops.findIndex((_, i) => !seen.has(i))
  throw new TypeError(
    `Cannot use the partition of model "${model.name}": it must put each operation into exactly one part, but left out ` +
      `operation ${lost}`,
  )
}

function smallestFirst(parts: readonly (readonly number[])[]): readonly number[] {
  return [...parts.keys()].sort((a, b) => (parts[a]?.length ?? 0) - (parts[b]?.length ?? 0) || a - b)
}
