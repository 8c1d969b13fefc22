/** The load points of the key-value store by rounds. */
import type { LoadCluster } from '../harness/load-cluster.ts'
import { runRounds, type RoundRow } from '../harness/load-rounds.ts'
import type { ClientHandle } from './client-handle.ts'
import type { SystemName } from './client-process.ts'
import type { LoadPoint } from './load-points.ts'

/** A system that is up, and its client. */
export interface LoadSystem {
  readonly name: SystemName
  readonly cluster: LoadCluster
  readonly client: ClientHandle
}

/** Of one system at one point, over all rounds. */
export interface LoadRow extends Omit<RoundRow<SystemName, LoadPoint>, 'point'> {
  readonly operation: LoadPoint['operation']
  readonly inFlight: number
}

const WARM_UP_IN_FLIGHT = 64

/** @throws {Error} when a system broke */
export async function runLoadRounds(
  systems: readonly LoadSystem[],
  points: readonly LoadPoint[],
  { rounds, runMs, warmUpMs }: { readonly rounds: number; readonly runMs: number; readonly warmUpMs: number },
  progress: (line: string) => void,
): Promise<readonly LoadRow[]> {
  progress('warm-up')
  for (const { name, client } of systems)
    for (const operation of operationsOf(name, points))
      await client.run(operation, WARM_UP_IN_FLIGHT, warmUpMs)
  const rows = await runRounds(
    systems.map(({ name, cluster, client }) => ({
      name,
      serves: (point: LoadPoint) => isServed(name, point),
      run: ({ operation, inFlight }: LoadPoint) => client.run(operation, inFlight, runMs),
      memberPids: () => cluster.pids(),
      clientPid: () => client.pid,
      tidy: () => client.compact(),
    })),
    points,
    rounds,
    progress,
  )
  return rows.map(({ point: { operation, inFlight }, ...row }) => ({ ...row, operation, inFlight }))
}

/** The bare log can only be written. */
function isServed(system: SystemName, { operation }: LoadPoint): boolean {
  return system !== 'bare' || operation === 'put'
}

function operationsOf(system: SystemName, points: readonly LoadPoint[]): readonly LoadPoint['operation'][] {
  const served = points.filter((point) => isServed(system, point))
  return [...new Set(served.map(({ operation }) => operation))]
}
