/**
 * Measuring that every system does the same way: a stopwatch around a workload, the heap after collection,
 * and the lateness of an interval.
 */
import { setImmediate as immediate } from 'node:timers/promises'
import { figureSample, percentile, rateSample, type Sample } from './sample.ts'
import { VOLLEY_INTERVAL_MS } from './workload.ts'

/** Collections in a row, with the event loop turned between them, until finalizers have let go of all. */
const COLLECTIONS = 3

/**
 * Runs `begin`, which starts the work and calls `finish` when the last operation is done (at once or later).
 * The clock runs from the call of `begin` to the call of `finish`. Rejects when `begin` throws.
 */
export function timed(operations: number, begin: (finish: () => void) => void): Promise<Sample> {
  return new Promise((resolve) => {
    const startMs = performance.now()
    begin(() => resolve(rateSample(operations, performance.now() - startMs)))
  })
}

/**
 * Bytes per actor: the growth of the collected heap over `make`, divided by `count`. What `make` resolves
 * with is kept alive until after the second look. Throws without `--expose-gc`.
 */
export async function bytesPerActor(count: number, make: () => Promise<unknown>): Promise<Sample> {
  const startMs = performance.now()
  const before = await collectedHeapBytes()
  const kept = await make()
  const after = await collectedHeapBytes()
  const sample = figureSample((after - before) / count, performance.now() - startMs)
  keepAlive(kept)
  return sample
}

/**
 * The 99th percentile of how much later than `VOLLEY_INTERVAL_MS` after its predecessor each of `ticks`
 * ticks of an interval came. The caller keeps the process busy meanwhile.
 */
export function intervalLateness(ticks: number): Promise<Sample> {
  return new Promise((resolve) => {
    const lateMs: number[] = []
    const startMs = performance.now()
    let previousMs = startMs
    const interval = setInterval(() => {
      const nowMs = performance.now()
      lateMs.push(Math.max(0, nowMs - previousMs - VOLLEY_INTERVAL_MS))
      previousMs = nowMs
      if (lateMs.length < ticks) return
      clearInterval(interval)
      resolve(figureSample(percentile(lateMs, 99), nowMs - startMs))
    }, VOLLEY_INTERVAL_MS)
  })
}

async function collectedHeapBytes(): Promise<number> {
  if (globalThis.gc === undefined) {
    throw new Error('the heap can only be measured after a collection: start Node with --expose-gc')
  }
  for (let i = 0; i < COLLECTIONS; i++) {
    globalThis.gc()
    await immediate()
  }
  return process.memoryUsage().heapUsed
}

let anchor: unknown

function keepAlive(value: unknown): void {
  anchor = value
  anchor = undefined
  void anchor
}
