/**
 * `npm run bench -- raft`: the key-value store beside etcd and beside a bare replicated log, three processes each on loopback,
 * with their clients in processes of their own, all durable, under one directory. The full run writes bench/raft.svg.
 */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { BareCluster } from './raft/bare-cluster.ts'
import { ClientHandle } from './raft/client-handle.ts'
import type { SystemName } from './raft/client-process.ts'
import { EtcdCluster, findEtcd } from './harness/etcd-cluster.ts'
import { measureFailover, type FailoverRow } from './raft/failover.ts'
import { measureGroups, ownMember, type GroupRow, type IdleRow } from './raft/group-rows.ts'
import type { FailoverCluster, LoadCluster } from './harness/load-cluster.ts'
import { groupCounts, IDLE_GROUPS, plottedPoints, promisedPoints } from './raft/load-points.ts'
import { runLoadRounds, type LoadRow, type LoadSystem } from './raft/load-rounds.ts'
import {
  chosen,
  loadHeading,
  progressFromNow,
  runLoadCommand,
  type LoadOptions,
  type LoadTimes,
  type Progress,
} from './harness/load-command.ts'
import { OwnCluster } from './harness/own-cluster.ts'
import { raftPanels } from './raft/raft-panels.ts'
import { drawPanels } from './harness/line-plot.ts'
import { failoverTable, groupTable, latencyTable, rateTable } from './raft/raft-table.ts'

const systemNames: readonly SystemName[] = ['understudy', 'etcd', 'bare']
const parts = ['load', 'failover', 'groups'] as const
const plot = new URL('../raft.svg', import.meta.url)

interface RaftTimes extends LoadTimes {
  /** Of each operation: what is compiled while it runs needs some 10 seconds of load to be as fast as it gets. */
  readonly warmUpMs: number
  readonly kills: number
  readonly etcdKills: number
  readonly settleMs: number
  readonly idleMs: number
  readonly groupRounds: number
}

const full: RaftTimes = {
  rounds: 5,
  runMs: 2_000,
  warmUpMs: 10_000,
  kills: 20,
  etcdKills: 10,
  settleMs: 15_000,
  idleMs: 20_000,
  groupRounds: 3,
}
const quick: RaftTimes = {
  rounds: 3,
  runMs: 700,
  warmUpMs: 3_000,
  kills: 5,
  etcdKills: 2,
  settleMs: 8_000,
  idleMs: 5_000,
  groupRounds: 0,
}

const help = `npm run bench -- raft [options]

  --quick                   in two minutes: fewer rounds, kills and points; nothing is plotted
  --systems NAME,...        of ${systemNames.join(', ')}
  --parts NAME,...          of ${parts.join(', ')}
`

interface Options extends LoadOptions<RaftTimes> {
  readonly systems: readonly SystemName[]
  readonly parts: readonly string[]
}

interface Rows {
  load: readonly LoadRow[]
  failover: FailoverRow[]
  idle: IdleRow[]
  groups: GroupRow[]
}

/** Exit code 1 when a system broke, 2 for a wrong command line; a promise that is missed reads `BELOW` and is no error. */
export function benchRaft(args: readonly string[]): Promise<number> {
  return runLoadCommand<RaftTimes, Options>(
    {
      name: 'raft',
      help,
      full,
      quick,
      own: ['systems', 'parts'],
      check: (options) => ({
        ...options,
        systems: chosen('--systems', options.own['systems'], systemNames),
        parts: chosen('--parts', options.own['parts'], parts),
      }),
      run,
    },
    args,
  )
}

async function run(options: Options, directory: string): Promise<number> {
  const progress = progressFromNow()
  const etcd = findEtcd()
  const systems = options.systems.filter((name) => name !== 'etcd' || 'version' in etcd)
  if ('missing' in etcd && options.systems.includes('etcd'))
    process.stdout.write(`etcd is left out: ${etcd.missing}\n`)
  const etcdWords = 'version' in etcd ? `etcd ${etcd.version}, client ${options.etcdClient}; ` : ''
  process.stdout.write(await loadHeading(etcdWords, options, directory))
  const rows: Rows = { load: [], failover: [], idle: [], groups: [] }
  let broken = 0
  const part = async (name: (typeof parts)[number], work: () => Promise<void>): Promise<void> => {
    if (!options.parts.includes(name)) return
    try {
      await work()
    } catch (error) {
      broken++
      process.stderr.write(
        `${name} broke: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`,
      )
    }
  }
  await part('load', () => load(systems, options, directory, rows, progress))
  await part('failover', () => failover(systems, options, directory, rows, progress))
  if (systems.includes('understudy')) await part('groups', () => groups(options, directory, rows, progress))
  if (options.json !== undefined) await writeFile(options.json, `${JSON.stringify(rows, undefined, 2)}\n`)
  if (!options.isQuick && broken === 0 && options.parts.length === parts.length) {
    await writeFile(
      plot,
      drawPanels('The key-value store beside etcd and a bare replicated log', raftPanels(rows)),
    )
    progress(`wrote ${fileURLToPath(plot)}`)
  }
  return broken === 0 ? 0 : 1
}

async function load(
  names: readonly SystemName[],
  options: Options,
  directory: string,
  rows: Rows,
  progress: Progress,
): Promise<void> {
  const points = options.isQuick
    ? promisedPoints
    : [...promisedPoints, ...plottedPoints].toSorted((a, b) => a.inFlight - b.inFlight)
  const systems: LoadSystem[] = []
  try {
    for (const name of names) {
      progress(`starting ${name}`)
      const cluster = await startCluster(name, join(directory, name), options.execArgv)
      const client = clientFor(name, options)
      systems.push({ name, cluster, client })
      await client.connect(await cluster.targets())
    }
    rows.load = await runLoadRounds(systems, points, options.times, progress)
  } finally {
    for (const { client, cluster } of systems) {
      await client.end()
      await cluster.stop()
    }
  }
  process.stdout.write(
    `${rateTable(points, names, rows.load)}\n\n${latencyTable(points, names, rows.load)}\n\n`,
  )
}

async function failover(
  names: readonly SystemName[],
  options: Options,
  directory: string,
  rows: Rows,
  progress: Progress,
): Promise<void> {
  for (const name of names) {
    const start = startKillable(name)
    if (start === undefined) continue
    const kills = name === 'etcd' ? options.times.etcdKills : options.times.kills
    const cluster = await start(join(directory, `${name}-failover`))
    const client = clientFor(name, { ...options, execArgv: [] })
    try {
      rows.failover.push(await measureFailover(name, cluster, client, kills, progress))
    } finally {
      await client.end()
      await cluster.stop()
    }
  }
  process.stdout.write(`${failoverTable(rows.failover)}\n\n`)
}

async function groups(options: Options, directory: string, rows: Rows, progress: Progress): Promise<void> {
  const { settleMs, idleMs, runMs, groupRounds } = options.times
  for (const count of options.isQuick ? [1, IDLE_GROUPS] : groupCounts) {
    progress(`${count} groups`)
    // The bare figure of one group needs no long look.
    const isShort = options.isQuick && count !== IDLE_GROUPS
    const times = { settleMs: isShort ? 2_000 : settleMs, idleMs, runMs, rounds: groupRounds }
    const { idle, active } = await measureGroups(directory, count, times)
    rows.idle.push(idle)
    if (active !== undefined) rows.groups.push(active)
  }
  process.stdout.write(`${groupTable(rows.idle, rows.groups)}\n`)
}

function startCluster(
  name: SystemName,
  directory: string,
  execArgv: readonly string[],
): Promise<LoadCluster> {
  switch (name) {
    case 'understudy':
      return OwnCluster.start(directory, { module: ownMember, execArgv })
    case 'etcd':
      return EtcdCluster.start(directory)
    case 'bare':
      return BareCluster.start(directory)
  }
}

/** `undefined`: it elects nobody. */
function startKillable(name: SystemName): ((directory: string) => Promise<FailoverCluster>) | undefined {
  if (name === 'understudy') return (directory) => OwnCluster.start(directory, { module: ownMember })
  return name === 'etcd' ? (directory) => EtcdCluster.start(directory) : undefined
}

function clientFor(name: SystemName, { etcdClient, execArgv }: Options): ClientHandle {
  if (name === 'etcd') return new ClientHandle(name, etcdClient)
  return name === 'understudy' ? new ClientHandle(name, '1', execArgv) : new ClientHandle(name)
}
