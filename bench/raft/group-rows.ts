/** What many groups on the same three nodes cost: without load, and when all of them share one load. */
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { spread, type Spread } from '../harness/sample.ts'
import { ClientHandle } from './client-handle.ts'
import { cpuMsOf } from '../harness/load-cluster.ts'
import { GROUPS_IN_FLIGHT, IDLE_GROUPS } from './load-points.ts'
import { OwnCluster } from '../harness/own-cluster.ts'

/** The main module of a node with stores. */
export const ownMember = new URL('./own-member.js', import.meta.url)

/** Groups that nobody uses. */
export interface IdleRow {
  readonly groups: number
  /** Of one core, 0 to 1, all three nodes together; `undefined` where it cannot be known. */
  readonly cpu: number | undefined
  /** From the start of the first process until every group has a leader that all nodes know. */
  readonly openMs: number
  readonly isPromised: boolean
}

/** The same puts in flight over all groups, in turn. */
export interface GroupRow {
  readonly groups: number
  readonly perSecond: Spread
  readonly p50Ms: Spread
  readonly p99Ms: Spread
}

export interface GroupTimes {
  /** Until what founding stirred up has come to rest. */
  readonly settleMs: number
  readonly idleMs: number
  readonly runMs: number
  /** 0: no load. */
  readonly rounds: number
}

/** Starts three fresh nodes with so many groups. */
export async function measureGroups(
  directory: string,
  groups: number,
  times: GroupTimes,
): Promise<{ readonly idle: IdleRow; readonly active: GroupRow | undefined }> {
  const startMs = performance.now()
  const cluster = await OwnCluster.start(join(directory, `groups-${groups}`), {
    module: ownMember,
    groups,
  })
  const openMs = performance.now() - startMs
  try {
    await pause(times.settleMs)
    const cpuBefore = cpuMsOf(cluster.pids())
    const idleStartMs = performance.now()
    await pause(times.idleMs)
    const cpuAfter = cpuMsOf(cluster.pids())
    const cpu =
      cpuBefore === undefined || cpuAfter === undefined
        ? undefined
        : (cpuAfter - cpuBefore) / (performance.now() - idleStartMs)
    const idle = { groups, cpu, openMs, isPromised: groups === IDLE_GROUPS }
    return { idle, active: times.rounds === 0 ? undefined : await loadGroups(cluster, groups, times) }
  } finally {
    await cluster.stop()
  }
}

async function loadGroups(cluster: OwnCluster, groups: number, times: GroupTimes): Promise<GroupRow> {
  const client = new ClientHandle('understudy', String(groups))
  try {
    await client.connect(await cluster.targets())
    await client.run('put', GROUPS_IN_FLIGHT, times.runMs)
    const runs = []
    for (let round = 0; round < times.rounds; round++)
      runs.push(await client.run('put', GROUPS_IN_FLIGHT, times.runMs))
    return {
      groups,
      perSecond: spread(runs.map(({ perSecond }) => perSecond)),
      p50Ms: spread(runs.map(({ p50Ms }) => p50Ms)),
      p99Ms: spread(runs.map(({ p99Ms }) => p99Ms)),
    }
  } finally {
    await client.end()
  }
}
