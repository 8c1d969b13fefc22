/**
 * The shortest explanation of why a history is not linearizable: the fewest operations that cannot be reconciled,
 * whatever the others did.
 *
 * Leaving operations out of a history is not allowed to make the fault: without the write of 7 a read of 7 is wrong,
 * and nobody learns anything. So an operation that is not part of the explanation is not left out but *freed*: it may
 * have taken effect between its call and its return, with the answer it got, or never. Reads are freed by forgetting
 * them. If what remains is still impossible, so is the whole history; and freeing more can only make more possible, so
 * taking away greedily ends in a set of which no operation can be spared.
 */
import type { Op } from './history.ts'
import { searchLinearization, type SearchLimits } from './linearization-search.ts'
import type { Model, ModelState } from './model.ts'

export interface ShortestViolation {
  /** Indices of the operations that cannot be reconciled, in the order of their calls. `stuck` is always among them. */
  readonly core: readonly number[]
  /** True when none of them can be spared; false when the budget ended before that was known. */
  readonly minimal: boolean
  readonly steps: number
}

/**
 * Minimises the violation in `ops`, a part that is known to be illegal, where no placement gets past the return of
 * operation `stuck`. Costs at most about `limits.stepsMax` steps, building the histories to try included.
 */
export function shortestViolation<S extends ModelState, I, O>(
  model: Model<S, I, O>,
  ops: readonly Op<I, O>[],
  stuck: number,
  limits: SearchLimits,
): ShortestViolation {
  return new Minimiser(model, ops, stuck, limits).run()
}

class Minimiser<S extends ModelState, I, O> {
  readonly #model: Model<S, I, O>
  readonly #ops: readonly Op<I, O>[]
  readonly #stuck: number
  readonly #limits: SearchLimits
  /** What could matter: whatever was called before `stuck` returned. */
  readonly #reach: readonly number[]
  #steps = 0

  constructor(model: Model<S, I, O>, ops: readonly Op<I, O>[], stuck: number, limits: SearchLimits) {
    this.#model = model
    this.#ops = ops
    this.#stuck = stuck
    this.#limits = limits
    const endsAt = this.#at(stuck).ret
    this.#reach = [...ops.keys()].filter((i) => this.#at(i).call <= endsAt)
  }

  run(): ShortestViolation {
    let core = this.#lastIllegal()
    for (let size = Math.ceil(core.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
      core = this.#spareChunks(core, size)
    }
    const minimal = core.length === 1 || !this.#isSpent()
    const byCall = core.toSorted((a, b) => this.#at(a).call - this.#at(b).call || a - b)
    return { core: byCall, minimal: minimal && this.#undecided === 0, steps: this.#steps }
  }

  /** How many tries at sparing a single operation ended without an answer. */
  #undecided = 0

  /**
   * The last operations before `stuck` that suffice, twice as many each time: most violations need only a few, and a
   * history in which nearly all is free is quickly judged.
   */
  #lastIllegal(): readonly number[] {
    const stuck = this.#at(this.#stuck)
    const before = this.#reach.filter((i) => i !== this.#stuck && this.#at(i).ret <= stuck.ret)
    before.sort((a, b) => this.#at(b).ret - this.#at(a).ret || b - a)
    for (let count = 0; count < before.length && !this.#isSpent(); count = Math.max(1, count * 2)) {
      const core = [this.#stuck, ...before.slice(0, count)]
      if (this.#isIllegal(core) === true) return core
    }
    return [this.#stuck, ...before]
  }

  #spareChunks(from: readonly number[], size: number): readonly number[] {
    let core = from
    // From the oldest on, which are the likeliest to be of no account. The first is `stuck`, and stays.
    for (let end = core.length; end > 1 && !this.#isSpent();) {
      const start = Math.max(1, end - size)
      const without = [...core.slice(0, start), ...core.slice(end)]
      const illegal = this.#isIllegal(without)
      if (illegal === true) core = without
      else if (illegal === undefined && size === 1) this.#undecided++
      end = start
    }
    return core
  }

  /** Whether the operations of `core` are irreconcilable with the others free; `undefined` when the budget ended. */
  #isIllegal(core: readonly number[]): boolean | undefined {
    const kept = new Set(core)
    const ops: Op<I, O>[] = []
    const droppable = new Set<number>()
    for (const i of this.#reach) {
      const op = this.#at(i)
      if (!kept.has(i) && (this.#model.readsOnly?.(op.in, op.out) ?? false)) continue
      if (!kept.has(i)) droppable.add(ops.length)
      ops.push(op)
    }
    // An equal share each would be too little for the large tries at the start and more than the small ones need.
    const stepsMax = Math.ceil((this.#limits.stepsMax - this.#steps) / 8)
    const { outcome, steps } = searchLinearization(this.#model, ops, { ...this.#limits, stepsMax, droppable })
    this.#steps += steps + this.#reach.length
    return outcome === 'illegal' ? true : outcome === 'ok' ? false : undefined
  }

  #isSpent(): boolean {
    return this.#steps >= this.#limits.stepsMax || this.#limits.isTimeUp?.() === true
  }

  #at(index: number): Op<I, O> {
    return this.#ops[index] as Op<I, O>
  }
}
