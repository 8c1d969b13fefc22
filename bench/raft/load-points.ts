/** What is measured under load, in which order, and what of it has a limit. */
import type { SystemName } from './client-process.ts'
import type { LoadOperation } from './load.ts'

/** One cell of a row: a kind of operation with so many in flight. */
export interface LoadPoint {
  readonly operation: LoadOperation
  readonly inFlight: number
  readonly limits: readonly LoadLimit[]
}

/** A promise about this project's figure beside that of another system of the same run. */
export interface LoadLimit {
  readonly beside: SystemName
  /** Operations a second, at least so many times the other's; or the median latency, at most. */
  readonly of: 'rate' | 'p50'
  readonly ratio: number
}

/** Rows whose limits are promised. */
export const promisedPoints: readonly LoadPoint[] = [
  { operation: 'put', inFlight: 1, limits: [{ beside: 'etcd', of: 'p50', ratio: 0.6 }] },
  {
    operation: 'put',
    inFlight: 64,
    limits: [
      { beside: 'etcd', of: 'rate', ratio: 8 },
      { beside: 'bare', of: 'rate', ratio: 0.3 },
    ],
  },
  { operation: 'put', inFlight: 256, limits: [{ beside: 'etcd', of: 'rate', ratio: 15 }] },
  { operation: 'get', inFlight: 64, limits: [{ beside: 'etcd', of: 'rate', ratio: 10 }] },
]

/** And those that only the plot shows. */
export const plottedPoints: readonly LoadPoint[] = [4, 16, 1_024].map((inFlight) => ({
  operation: 'put',
  inFlight,
  limits: [],
}))

/** How many groups share the load of `GROUPS_IN_FLIGHT` puts, in the plot. */
export const groupCounts: readonly number[] = [1, 10, 100, 1_000]
export const GROUPS_IN_FLIGHT = 256

export const FAILOVER_P99_MS_MOST = 500
export const IDLE_GROUPS = 1_000
/** Of one core, all three nodes together. */
export const IDLE_CPU_MOST = 0.05

/** "put, 64 in flight". */
export function pointName({ operation, inFlight }: LoadPoint): string {
  return `${operation}, ${inFlight.toLocaleString('en')} in flight`
}
