/**
 * Crash everywhere: one operation, run again and again, killed before and after each of its writes and sends in turn.
 * Exhaustive where random crashes are lucky; no chance is involved. What etcd's gofail points are set by hand for.
 */
import type { RunResult } from './run-result.ts'

/** Where a run is to be killed: at the `effect`-th write or send of a machine's process within the operation. */
export interface CrashPoint {
  readonly machine: string
  /** From 1. Odd: before a write or send; even: after it. */
  readonly effect: number
}

export interface CrashEverywhereOptions {
  /** Runs the scenario, handing `crash` to `simulate` or `simulateSystem`. It marks the operation by `world.operation`. */
  readonly run: (crash: CrashPoint | undefined) => Promise<RunResult>
  /** Only these machines. @default all that the operation had effects on */
  readonly machines?: readonly string[] | undefined
  /** Most points in all; more is refused, for half of an exhaustive search proves nothing. @default 2,000 */
  readonly pointsMax?: number | undefined
  /** Called before each run. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined
}

export const crashEverywhereDefaults = Object.freeze({ pointsMax: 2_000 })

export interface CrashEverywhereResult {
  /** Points that were tried. */
  readonly points: number
  /** Those whose run broke a rule, in order; the run without a crash comes first when that failed, with no point. */
  readonly failures: readonly { readonly crash: CrashPoint | undefined; readonly result: RunResult }[]
}

/**
 * Runs the operation once to count its writes and sends, then once for every point. All runs have the same seed, so the
 * crash is the only difference.
 *
 * @throws {RangeError} (as a rejection) when the operation has no effects, or more points than `pointsMax`
 */
export async function crashEverywhere(options: CrashEverywhereOptions): Promise<CrashEverywhereResult> {
  const calm = await options.run(undefined)
  if (calm.violation !== undefined) return { points: 0, failures: [{ crash: undefined, result: calm }] }
  const effects = Object.entries(calm.effects ?? {})
    .filter(([machine]) => options.machines === undefined || options.machines.includes(machine))
    .sort(([a], [b]) => (a < b ? -1 : 1))
  const points = effects.flatMap(([machine, count]) =>
    Array.from({ length: count }, (_, i): CrashPoint => ({ machine, effect: i + 1 })),
  )
  const pointsMax = options.pointsMax ?? crashEverywhereDefaults.pointsMax
  if (points.length === 0) {
    throw new RangeError(
      'Cannot crash everywhere: no write or send was seen; mark the operation with world.operation',
    )
  }
  if (points.length > pointsMax) {
    throw new RangeError(
      `Cannot crash everywhere: the operation has ${points.length} points, pointsMax is ${pointsMax}; make it smaller`,
    )
  }
  const failures: { readonly crash: CrashPoint | undefined; readonly result: RunResult }[] = []
  for (const [done, crash] of points.entries()) {
    options.onProgress?.(done, points.length)
    const result = await options.run(crash)
    if (result.violation !== undefined) failures.push({ crash, result })
  }
  return { points: points.length, failures }
}
