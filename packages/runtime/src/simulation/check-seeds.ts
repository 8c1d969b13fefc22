/** Many seeds of one scenario, one after the other, up to the first that breaks a rule; that one is made small. */
import type { Run, RunResult } from './run-result.ts'
import { shrink, type ShrinkOptions, type ShrinkResult } from './shrink.ts'

export interface CheckSeedsOptions {
  /** Of the scenario, for reports. */
  readonly name: string
  /** How many seeds: 1 to 1,000,000. More find rarer bugs. @default 100 */
  readonly seeds?: number | undefined
  /** The seeds are this one and those that follow. @default 1 */
  readonly firstSeed?: number | undefined
  /** How the failing run is made small; `false` leaves it as it was found, without a trace. @default {} */
  readonly shrink?: ShrinkOptions | false | undefined
  /** Tags that `world.sometimes` must have reached in some seed; one that was not fails the check. @default [] */
  readonly sometimes?: readonly string[] | undefined
  /** Called before each seed. What it throws ends the check. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined
}

export const checkSeedsDefaults = Object.freeze({ seeds: 100, firstSeed: 1 })

/** Sums over all seeds that were run; the runs of the shrinking are not among them. */
export interface SeedsTotals {
  readonly steps: number
  /** Virtual milliseconds. */
  readonly virtualMs: number
  /** Messages handled by actors. */
  readonly messages: number
  /** Faults that took effect, by kind, sorted by it. */
  readonly faults: Readonly<Record<string, number>>
}

export interface SeedFailure {
  /** The run as the seed found it. */
  readonly found: RunResult
  /** How it became small; `undefined` when it was to be left alone. */
  readonly shrunk: ShrinkResult | undefined
  /** The smallest run that breaks the same rule, with its trace; `found` when it was not shrunk. */
  readonly result: RunResult
}

export interface SeedsResult {
  readonly name: string
  /** No rule was broken, and every tag of `sometimes` was reached. */
  readonly ok: boolean
  /** Seeds that were run, the failing one included. */
  readonly seeds: number
  readonly failure: SeedFailure | undefined
  /** How many seeds reached each tag; those that `sometimes` names come first, in its order. */
  readonly reached: Readonly<Record<string, number>>
  /** Tags of `sometimes` that no seed reached. Empty when a rule was broken: then nobody got that far. */
  readonly missing: readonly string[]
  readonly totals: SeedsTotals
}

const seedsMax = 1_000_000

/**
 * Runs the seeds in order. No IO, no clock: the same arguments give the same result. Costs one run per seed, and up to
 * `shrink.runsMax` (1,000) more once a rule is broken.
 *
 * @throws {RangeError} (as a rejection) if `seeds` or `firstSeed` is out of range
 */
export async function checkSeeds(run: Run, options: CheckSeedsOptions): Promise<SeedsResult> {
  const { name, sometimes = [] } = options
  const seeds = options.seeds ?? checkSeedsDefaults.seeds
  const firstSeed = options.firstSeed ?? checkSeedsDefaults.firstSeed
  if (!Number.isSafeInteger(seeds) || seeds < 1 || seeds > seedsMax) {
    throw new RangeError(
      `Cannot check "${name}": seeds must be a whole number from 1 to 1,000,000, got ${seeds}`,
    )
  }
  if (!Number.isSafeInteger(firstSeed) || firstSeed < 0 || !Number.isSafeInteger(firstSeed + seeds)) {
    throw new RangeError(
      `Cannot check "${name}": firstSeed must be a whole number, 0 or more, got ${firstSeed}`,
    )
  }
  const tally = new Tally(sometimes)
  for (let done = 0; done < seeds; done++) {
    options.onProgress?.(done, seeds)
    const found = await run({ seed: firstSeed + done })
    tally.add(found)
    if (found.violation !== undefined) {
      return tally.result(name, await failureOf(run, found, options.shrink ?? {}))
    }
  }
  return tally.result(name, undefined)
}

async function failureOf(run: Run, found: RunResult, how: ShrinkOptions | false): Promise<SeedFailure> {
  if (how === false) return { found, shrunk: undefined, result: found }
  const shrunk = await shrink(run, found, how)
  return { found, shrunk, result: shrunk.result }
}

class Tally {
  readonly #wanted: readonly string[]
  readonly #reached: Map<string, number>
  readonly #faults = new Map<string, number>()
  #seeds = 0
  #steps = 0
  #virtualMs = 0
  #messages = 0

  constructor(wanted: readonly string[]) {
    this.#wanted = wanted
    this.#reached = new Map(wanted.map((tag) => [tag, 0]))
  }

  add({ stats }: RunResult): void {
    this.#seeds++
    this.#steps += stats.steps
    this.#virtualMs += stats.virtualMs
    this.#messages += stats.messages
    for (const tag of stats.reached) this.#reached.set(tag, (this.#reached.get(tag) ?? 0) + 1)
    for (const [kind, count] of Object.entries(stats.faults)) {
      this.#faults.set(kind, (this.#faults.get(kind) ?? 0) + count)
    }
  }

  result(name: string, failure: SeedFailure | undefined): SeedsResult {
    const missing = failure === undefined ? this.#wanted.filter((tag) => this.#reached.get(tag) === 0) : []
    return {
      name,
      ok: failure === undefined && missing.length === 0,
      seeds: this.#seeds,
      failure,
      reached: Object.fromEntries(this.#reached),
      missing,
      totals: {
        steps: this.#steps,
        virtualMs: this.#virtualMs,
        messages: this.#messages,
        faults: Object.fromEntries([...this.#faults].sort(([a], [b]) => (a < b ? -1 : 1))),
      },
    }
  }
}
