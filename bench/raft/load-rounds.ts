/**
 * Runs the load points by rounds: in each round every point is run once by every system, one right after the other in turning
 * order, so that a slow minute of the machine hits all of them. One system works at a time; the others are idle.
 */
import { spread, type Spread } from '../harness/sample.ts'
import type { ClientHandle } from './client-handle.ts'
import type { SystemName } from './client-process.ts'
import type { LoadFigures } from './load.ts'
import { cpuMsOf, type LoadCluster } from './load-cluster.ts'
import { pointName, type LoadPoint } from './load-points.ts'

/** A system that is up, and its client. */
export interface LoadSystem {
  readonly name: SystemName
  readonly cluster: LoadCluster
  readonly client: ClientHandle
}

/** Of one system at one point, over all rounds. */
export interface LoadRow {
  readonly system: SystemName
  readonly operation: string
  readonly inFlight: number
  readonly perSecond: Spread
  readonly p50Ms: Spread
  readonly p99Ms: Spread
  /** Processor time of the client and the three members for one operation; `undefined` where it cannot be known. */
  readonly cpuUs: Spread | undefined
  /** Part of it that is the client's, 0 to 1. */
  readonly clientPart: number | undefined
  readonly failed: number
}

interface Run {
  readonly figures: LoadFigures
  readonly clientCpuMs: number | undefined
  readonly memberCpuMs: number | undefined
}

const WARM_UP_IN_FLIGHT = 64

/** @throws {Error} when a system broke */
export async function runRounds(
  systems: readonly LoadSystem[],
  points: readonly LoadPoint[],
  rounds: number,
  durationMs: number,
  progress: (line: string) => void,
): Promise<readonly LoadRow[]> {
  const runs = new Map<string, Run[]>()
  progress('warm-up')
  for (const { name, client } of systems)
    for (const operation of operationsOf(name, points))
      await client.run(operation, WARM_UP_IN_FLIGHT, durationMs)
  for (let round = 0; round < rounds; round++) {
    progress(`round ${round + 1} of ${rounds}`)
    for (const point of points)
      for (let turn = 0; turn < systems.length; turn++) {
        const system = systems[(turn + round) % systems.length]
        if (system === undefined || !isServed(system.name, point)) continue
        const run = await runOnce(system, point, durationMs)
        const key = keyOf(system.name, point)
        runs.set(key, [...(runs.get(key) ?? []), run])
      }
    for (const { client } of systems) await client.compact()
  }
  return points.flatMap((point) =>
    systems.flatMap(({ name }) => {
      const own = runs.get(keyOf(name, point))
      return own === undefined ? [] : [rowOf(name, point, own)]
    }),
  )
}

async function runOnce(
  { cluster, client }: LoadSystem,
  { operation, inFlight }: LoadPoint,
  durationMs: number,
): Promise<Run> {
  const membersBefore = cpuMsOf(cluster.pids())
  const clientBefore = cpuMsOf([client.pid])
  const figures = await client.run(operation, inFlight, durationMs)
  const membersAfter = cpuMsOf(cluster.pids())
  const clientAfter = cpuMsOf([client.pid])
  return {
    figures,
    memberCpuMs: difference(membersAfter, membersBefore),
    clientCpuMs: difference(clientAfter, clientBefore),
  }
}

function rowOf(system: SystemName, { operation, inFlight }: LoadPoint, runs: readonly Run[]): LoadRow {
  const of = (pick: (figures: LoadFigures) => number): Spread =>
    spread(runs.map(({ figures }) => pick(figures)))
  const cpuUs: number[] = []
  let clientMs = 0
  let allMs = 0
  for (const { figures, clientCpuMs, memberCpuMs } of runs) {
    if (clientCpuMs === undefined || memberCpuMs === undefined) continue
    cpuUs.push(((clientCpuMs + memberCpuMs) * 1_000) / figures.operations)
    clientMs += clientCpuMs
    allMs += clientCpuMs + memberCpuMs
  }
  return {
    system,
    operation,
    inFlight,
    perSecond: of(({ perSecond }) => perSecond),
    p50Ms: of(({ p50Ms }) => p50Ms),
    p99Ms: of(({ p99Ms }) => p99Ms),
    cpuUs: cpuUs.length === 0 ? undefined : spread(cpuUs),
    clientPart: allMs === 0 ? undefined : clientMs / allMs,
    failed: runs.reduce((sum, { figures }) => sum + figures.failed, 0),
  }
}

/** The bare log can only be written. */
function isServed(system: SystemName, { operation }: LoadPoint): boolean {
  return system !== 'bare' || operation === 'put'
}

function operationsOf(system: SystemName, points: readonly LoadPoint[]): readonly LoadPoint['operation'][] {
  const served = points.filter((point) => isServed(system, point))
  return [...new Set(served.map(({ operation }) => operation))]
}

function keyOf(system: SystemName, point: LoadPoint): string {
  return `${system}: ${pointName(point)}`
}

function difference(after: number | undefined, before: number | undefined): number | undefined {
  return after === undefined || before === undefined ? undefined : after - before
}
