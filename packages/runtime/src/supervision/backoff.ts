import type { Backoff } from '../actor/child-spec.ts'

/**
 * The delay before restart `attempt` (from 0): `minMs * 2^attempt`, at most `maxMs`, times `1 ± jitter`, with `chance`
 * in [0, 1). With minMs 100, maxMs 1,000, jitter 0.2 and chance 0.5: 100, 200, 400, 800, 1,000, 1,000 ms; chance 0
 * gives 20 % less.
 */
export function backoffDelayMs(backoff: Backoff, attempt: number, chance: number): number {
  const base = Math.min(backoff.maxMs, backoff.minMs * 2 ** Math.min(attempt, 52))
  return base * (1 + (backoff.jitter ?? 0.2) * (2 * chance - 1))
}
