/** How long nobody takes puts when the leader's process is killed. */
import type { ClientHandle } from './client-handle.ts'
import type { SystemName } from './client-process.ts'
import { spreadOf } from './load.ts'
import type { FailoverCluster } from '../harness/load-cluster.ts'

const IN_FLIGHT = 16
const GIVE_UP_MS = 30_000

/** Of one system. */
export interface FailoverRow {
  readonly system: SystemName
  /** From `kill -9` to the first acknowledgement of a put that was begun after it; ms, one for each kill. */
  readonly gapsMs: readonly number[]
  readonly p50Ms: number
  readonly p99Ms: number
  readonly maxMs: number
}

/** Kills the leader so many times; each time it is started again, and takes part again before the next one. */
export async function measureFailover(
  system: SystemName,
  cluster: FailoverCluster,
  client: ClientHandle,
  kills: number,
  progress: (line: string) => void,
): Promise<FailoverRow> {
  const gapsMs: number[] = []
  for (let kill = 0; kill < kills; kill++) {
    const targets = await cluster.targets()
    const [leader = ''] = targets
    await client.connect(targets)
    gapsMs.push(await client.gap(cluster.pidOf(leader), IN_FLIGHT, GIVE_UP_MS))
    progress(`${system}: kill ${kill + 1} of ${kills}, ${gapsMs.at(-1)?.toFixed(0)} ms`)
    await cluster.restart(leader)
  }
  const { p50, p99, max } = spreadOf(gapsMs)
  return { system, gapsMs, p50Ms: p50, p99Ms: p99, maxMs: max }
}
