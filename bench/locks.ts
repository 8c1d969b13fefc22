/**
 * `npm run bench -- locks`: cycles of lock and unlock, and the hand-over of one lock, beside etcd, ZooKeeper, Redis and two
 * commits to a bare replicated log. All run on loopback with their data under one directory, and each is asked by a client
 * process of its own. A full run writes bench/locks.svg.
 */
import { writeFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { drawPanels } from './harness/line-plot.ts'
import type { LoadCluster } from './harness/load-cluster.ts'
import { runRounds } from './harness/load-rounds.ts'
import {
  chosen,
  loadHeading,
  progressFromNow,
  runLoadCommand,
  type LoadOptions,
  type LoadTimes,
  type Progress,
} from './harness/load-command.ts'
import { LockHandle } from './locks/lock-handle.ts'
import { lockPanels } from './locks/lock-panels.ts'
import { plottedPoints, promisedPoints, servesPoint, type LockPoint } from './locks/lock-points.ts'
import {
  findLockCluster,
  lockSystems,
  startLockCluster,
  type LockClusterName,
  type LockPart,
  type LockSystem,
} from './locks/lock-systems.ts'
import { lockTable, type LockRow } from './locks/lock-table.ts'

const parts: readonly LockPart[] = ['durable', 'memory']
const loads: readonly LockPoint['load'][] = ['cycle', 'hand-over']
const names: readonly string[] = [...new Set(lockSystems.map(({ name }) => name))]
const plot = new URL('../locks.svg', import.meta.url)
interface LockTimes extends LoadTimes {
  /** A Java server is slow until it has had load for seconds. */
  readonly warmUpMs: number
}

const full: LockTimes = { rounds: 5, runMs: 2_000, warmUpMs: 10_000 }
const quick: LockTimes = { rounds: 3, runMs: 500, warmUpMs: 3_000 }
const WARM_UP_CLIENTS = 64

const help = `npm run bench -- locks [options]

  --quick                   fewer and shorter rounds, and fewer points; nothing is plotted
  --systems NAME;...        those whose name begins so, of ${names.join('; ')}
  --parts NAME,...          of ${parts.join(', ')}
  --loads NAME,...          of ${loads.join(', ')}
`

interface Options extends LoadOptions<LockTimes> {
  readonly systems: readonly LockSystem[]
  readonly points: readonly LockPoint[]
  readonly isWhole: boolean
}

/** Exit code 1 when a system broke, 2 for a wrong command line; a promise that is missed reads `BELOW` and is no error. */
export function benchLocks(args: readonly string[]): Promise<number> {
  return runLoadCommand<LockTimes, Options>(
    { name: 'locks', help, full, quick, own: ['systems', 'parts', 'loads'], check, run },
    args,
  )
}

function check(options: LoadOptions<LockTimes>): Options {
  const { isQuick, own } = options
  const wantedParts = chosen('--parts', own['parts'], parts)
  const wantedLoads = chosen('--loads', own['loads'], loads)
  const beginnings = own['systems']?.split(';')
  const systems = lockSystems.filter(
    ({ name, part }) =>
      wantedParts.includes(part) && (beginnings?.some((begin) => name.startsWith(begin)) ?? true),
  )
  if (systems.length === 0)
    throw new RangeError(`--systems "${own['systems']}": give beginnings of ${names.join('; ')}`)
  const all = isQuick ? promisedPoints : [...promisedPoints, ...plottedPoints]
  return {
    ...options,
    systems,
    points: all.filter(({ part, load }) => wantedParts.includes(part) && wantedLoads.includes(load)),
    isWhole: !isQuick && systems.length === lockSystems.length && wantedLoads.length === loads.length,
  }
}

async function run(options: Options, directory: string): Promise<number> {
  const progress = progressFromNow()
  const { words, missing } = installed(options.systems)
  process.stdout.write(await loadHeading(words, options, directory))
  const rows: LockRow[] = []
  let broken = 0
  for (const part of parts) {
    const systems = options.systems.filter((entry) => entry.part === part && !missing.has(entry.cluster))
    const points = options.points.filter((point) => point.part === part)
    if (systems.length === 0 || points.length === 0) continue
    try {
      const measured = await measure(systems, points, options, directory, progress)
      for (const point of points)
        process.stdout.write(
          `${lockTable(
            point,
            measured.filter((row) => row.point === point),
          )}\n\n`,
        )
      rows.push(...measured)
    } catch (error) {
      broken++
      process.stderr.write(`${part} broke: ${error instanceof Error ? error.stack : String(error)}\n`)
    }
  }
  if (options.json !== undefined) await writeFile(options.json, `${JSON.stringify(rows, undefined, 2)}\n`)
  if (options.isWhole && broken === 0 && missing.size === 0) {
    await writeFile(plot, drawPanels('Locks beside etcd, ZooKeeper and Redis', lockPanels(rows)))
    progress(`wrote ${fileURLToPath(plot)}`)
  }
  return broken === 0 ? 0 : 1
}

/** What is there of others, in words, and what is not, which is told at once. */
function installed(systems: readonly LockSystem[]): {
  readonly words: string
  readonly missing: ReadonlySet<LockClusterName>
} {
  const missing = new Set<LockClusterName>()
  const versions = new Set<string>()
  for (const cluster of new Set(systems.map((entry) => entry.cluster))) {
    const found = findLockCluster(cluster)
    if ('version' in found) {
      if (found.version !== '') versions.add(`${cluster.replace(/-.*/, '')} ${found.version}; `)
      continue
    }
    missing.add(cluster)
    process.stdout.write(`${cluster} is left out: ${found.missing}\n`)
  }
  return { words: [...versions].join(''), missing }
}

/** Starts what the systems need, warms everything up, and runs the rounds. */
async function measure(
  systems: readonly LockSystem[],
  points: readonly LockPoint[],
  { times: { rounds, runMs, warmUpMs }, etcdClient, execArgv }: Options,
  directory: string,
  progress: Progress,
): Promise<readonly LockRow[]> {
  const clusters = new Map<LockClusterName, LoadCluster>()
  const running: {
    readonly system: LockSystem
    readonly cluster: LoadCluster
    readonly client: LockHandle
  }[] = []
  try {
    for (const system of systems) {
      let cluster = clusters.get(system.cluster)
      if (cluster === undefined) {
        progress(`starting ${system.cluster}`)
        cluster = await startLockCluster(system.cluster, directory, execArgv)
        clusters.set(system.cluster, cluster)
      }
      const client = new LockHandle(system, etcdClient, system.name.startsWith('understudy') ? execArgv : [])
      running.push({ system, cluster, client })
      await client.connect(await cluster.targets())
    }
    for (const { system, client } of running) {
      progress(`warm-up of ${system.name}`)
      await client.run({ load: 'cycle', clients: WARM_UP_CLIENTS }, warmUpMs)
      for (const point of points) if (servesPoint(system, point)) await client.run(point, runMs)
    }
    return await runRounds(
      running.map(({ system, cluster, client }) => ({
        name: system.name,
        serves: (point: LockPoint) => servesPoint(system, point),
        run: (point: LockPoint) => client.run(point, runMs),
        memberPids: () => cluster.pids(),
        clientPid: () => client.pid,
        tidy: async () => undefined,
      })),
      points,
      rounds,
      progress,
    )
  } finally {
    for (const { client } of running) await client.end()
    for (const cluster of clusters.values()) await cluster.stop()
  }
}
