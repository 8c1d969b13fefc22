/**
 * What one run of a workload gives back, and the arithmetic on many of them. Pure: no clock, no IO.
 */

/** A run that did `operations` in `elapsedMs`; the harness turns it into operations a second. */
export interface RateSample {
  readonly kind: 'rate'
  /** What was really done; may be a little over the `n` that was asked for. */
  readonly operations: number
  /** From the first operation to the end of the last, set-up and clean-up left out. */
  readonly elapsedMs: number
}

/** A run that measured a figure in the workload's own unit (bytes, microseconds, milliseconds). */
export interface FigureSample {
  readonly kind: 'figure'
  readonly value: number
  /** How long it took, for choosing `n`; not part of the figure. */
  readonly elapsedMs: number
}

/** The outcome of one run. */
export type Sample = RateSample | FigureSample

/** Median, extremes and count of the samples of one row. */
export interface Spread {
  readonly median: number
  readonly min: number
  readonly max: number
  readonly runs: number
}

/** A rate from a count and a `performance.now()` difference. */
export function rateSample(operations: number, elapsedMs: number): RateSample {
  return { kind: 'rate', operations, elapsedMs }
}

/** A figure in the workload's unit. */
export function figureSample(value: number, elapsedMs: number): FigureSample {
  return { kind: 'figure', value, elapsedMs }
}

/**
 * The number that a row is made of: operations a second, or the figure itself.
 * Throws a `RangeError` for a rate without duration, since its quotient would be infinite.
 */
export function sampleValue(sample: Sample): number {
  if (sample.kind === 'figure') return sample.value
  if (!(sample.elapsedMs > 0)) {
    throw new RangeError(
      `a rate sample of ${sample.operations} operations took ${sample.elapsedMs} ms: ` +
        'it needs a duration above zero',
    )
  }
  return (sample.operations / sample.elapsedMs) * 1_000
}

/** The middle value, or the mean of the two middle ones. Throws a `RangeError` for no values. */
export function median(values: readonly number[]): number {
  const sorted = ascending(values)
  const middle = sorted.length >> 1
  const upper = sorted[middle]
  if (upper === undefined) throw new RangeError('the median of no values is undefined: give at least one')
  if (sorted.length % 2 === 1) return upper
  return ((sorted[middle - 1] ?? upper) + upper) / 2
}

/**
 * Nearest-rank percentile: the smallest value that `percent` of the values do not exceed.
 * Throws a `RangeError` for no values or a percentage outside 0 (exclusive) to 100.
 */
export function percentile(values: ArrayLike<number>, percent: number): number {
  if (!(percent > 0 && percent <= 100)) {
    throw new RangeError(`percentile ${percent} of a sample: it must be above 0 and at most 100`)
  }
  const sorted = ascending(values)
  const value = sorted[Math.ceil((sorted.length * percent) / 100) - 1]
  if (value === undefined) throw new RangeError('the percentile of no values is undefined: give at least one')
  return value
}

/** Median, minimum, maximum and count. Throws a `RangeError` for no values. */
export function spread(values: readonly number[]): Spread {
  const sorted = ascending(values)
  return {
    median: median(sorted),
    min: sorted[0] ?? Number.NaN,
    max: sorted[sorted.length - 1] ?? Number.NaN,
    runs: sorted.length,
  }
}

function ascending(values: ArrayLike<number>): readonly number[] {
  return Array.from(values).sort((a, b) => a - b)
}
