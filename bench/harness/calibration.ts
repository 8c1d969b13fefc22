/**
 * How many operations make a run of the wanted length. Pure arithmetic on the last run's duration.
 */
import type { Size } from './workload.ts'

/** A run shorter than this says next to nothing about speed, so the next one just grows tenfold. */
const MEASURABLE_MS = 1
const GROWTH_MAX = 10
const SHRINK_MAX = 10

/** Operations for a workload's first run. */
export function firstOperations(size: Size, quick: boolean): number {
  if (size.kind === 'calibrated') return size.startOperations
  return quick ? size.operationsQuick : size.operations
}

/**
 * Operations for the next run, after one of `operations` that took `elapsedMs`: scaled to `sampleMs`, by ten
 * times at most either way, never under 1 or over the workload's maximum. A fixed size stays as it is.
 */
export function nextOperations(size: Size, operations: number, elapsedMs: number, sampleMs: number): number {
  if (size.kind === 'fixed') return operations
  const factor = elapsedMs < MEASURABLE_MS ? GROWTH_MAX : sampleMs / elapsedMs
  const bounded = Math.min(GROWTH_MAX, Math.max(1 / SHRINK_MAX, factor))
  return Math.min(size.operationsMax, Math.max(1, Math.round(operations * bounded)))
}

/** Whether a run was long enough that the next size can be trusted. */
export function isCalibrated(size: Size, operations: number, elapsedMs: number, sampleMs: number): boolean {
  return size.kind === 'fixed' || operations >= size.operationsMax || elapsedMs >= sampleMs / 2
}
