/** The load that every system under test gets alike: loops of one operation after the other, so many of them at once. */

/** One run. */
export interface LoadFigures {
  readonly operations: number
  readonly perSecond: number
  readonly p50Ms: number
  readonly p99Ms: number
  /** Operations that were not acknowledged; they are in none of the other figures. */
  readonly failed: number
  /** Processor time of the client's process by the run's time. */
  readonly clientCpu: number
}

/**
 * Runs for `durationMs`; ends when what was in flight then is answered. Latencies are those of all operations. `operation` gets
 * the number of its loop, and rejects when it was not acknowledged.
 *
 * @throws {Error} when no operation was acknowledged; its cause is what the last one said
 */
export async function runLoops(
  operation: (loop: number) => Promise<unknown>,
  loops: number,
  durationMs: number,
): Promise<LoadFigures> {
  let latencies = new Float64Array(65_536)
  let operations = 0
  let failed = 0
  let lastError: unknown
  const cpuBefore = process.cpuUsage()
  const startMs = performance.now()
  const endMs = startMs + durationMs
  const loop = async (number: number): Promise<void> => {
    for (let sinceMs = performance.now(); sinceMs < endMs;) {
      try {
        await operation(number)
      } catch (error) {
        failed++
        lastError = error
        sinceMs = performance.now()
        continue
      }
      const nowMs = performance.now()
      if (operations === latencies.length) {
        const grown = new Float64Array(latencies.length * 2)
        grown.set(latencies)
        latencies = grown
      }
      latencies[operations++] = nowMs - sinceMs
      sinceMs = nowMs
    }
  }
  await Promise.all(Array.from({ length: loops }, (_, number) => loop(number)))
  const elapsedMs = performance.now() - startMs
  const cpu = process.cpuUsage(cpuBefore)
  if (operations === 0)
    throw new Error(`none of ${failed} operations was acknowledged: ${String(lastError)}`, {
      cause: lastError,
    })
  const sorted = latencies.subarray(0, operations).sort()
  return {
    operations,
    perSecond: (operations / elapsedMs) * 1_000,
    p50Ms: sorted[Math.ceil(operations * 0.5) - 1] ?? Number.NaN,
    p99Ms: sorted[Math.ceil(operations * 0.99) - 1] ?? Number.NaN,
    failed,
    clientCpu: (cpu.user + cpu.system) / 1_000 / elapsedMs,
  }
}
