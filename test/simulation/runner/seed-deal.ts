/** Seeds dealt over scenarios, in batches. Pure, so that what a command line runs never depends on the machine. */
import type { Choice } from '@understudy/runtime/simulation'

/** One run to be made. */
export interface Job {
  readonly scenario: string
  readonly seed: string
  /** Replays these. Left out: the seed decides. */
  readonly choices?: readonly Choice[] | undefined
}

export interface Deal {
  readonly scenarios: readonly string[]
  /** In total; each scenario gets its share, the first ones one more where it does not come out even. @default no end */
  readonly seeds?: number | undefined
  readonly firstSeed: number
  /** Most runs in a batch. */
  readonly batchMax: number
}

/**
 * Batches of one scenario each, in turn, so that all of them get on alike and a run that is ended early has met them
 * all.
 */
export function* dealSeeds(deal: Deal): Generator<readonly Job[], void, undefined> {
  const { scenarios, seeds = Number.POSITIVE_INFINITY, firstSeed, batchMax } = deal
  const share = Math.floor(seeds / scenarios.length)
  const over = Number.isFinite(seeds) ? seeds % scenarios.length : 0
  for (let from = 0; scenarios.length > 0; from += batchMax) {
    let dealt = 0
    for (const [position, scenario] of scenarios.entries()) {
      const most = share + (position < over ? 1 : 0)
      const count = Math.max(0, Math.min(batchMax, most - from))
      dealt += count
      if (count === 0) continue
      yield Array.from({ length: count }, (_, at) => ({ scenario, seed: String(firstSeed + from + at) }))
    }
    if (dealt === 0) return
  }
}

/** Batches put together until each has at least `atLeast` runs, but for the last one. */
export function* joinBatches(
  batches: Iterable<readonly Job[]>,
  atLeast: number,
): Generator<readonly Job[], void, undefined> {
  let joined: Job[] = []
  for (const batch of batches) {
    joined.push(...batch)
    if (joined.length < atLeast) continue
    yield joined
    joined = []
  }
  if (joined.length > 0) yield joined
}
