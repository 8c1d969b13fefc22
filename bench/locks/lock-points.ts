/** What is measured of the locks, in which order, and what of it has a limit. */
import type { LockPart, LockSystem, LockSystemName } from './lock-systems.ts'

/** One table: a load, and what is promised of it. */
export interface LockPoint {
  readonly part: LockPart
  /** `cycle`: each client locks and unlocks a lock of its own. `hand-over`: one lock goes through a queue. */
  readonly load: 'cycle' | 'hand-over'
  /** Of a hand-over: how many wait while one holds. */
  readonly clients: number
  readonly limits: readonly LockLimit[]
}

/** A promise about one of this project's figures beside that of another system of the same run. */
export interface LockLimit {
  readonly own: LockSystemName
  readonly beside: LockSystemName
  /** Cycles a second, at least so many times the other's; or a latency, at most. */
  readonly of: 'rate' | 'p50' | 'p99'
  readonly ratio: number
}

const own: LockSystemName = 'understudy'
const shared: LockSystemName = 'understudy, one session'

/** Rows whose limits are promised. */
export const promisedPoints: readonly LockPoint[] = [
  {
    part: 'durable',
    load: 'cycle',
    clients: 1,
    limits: [
      { own, beside: 'etcd lease each', of: 'rate', ratio: 2 },
      { own, beside: 'etcd lock', of: 'rate', ratio: 2 },
      { own, beside: 'bare, two commits', of: 'rate', ratio: 0.7 },
    ],
  },
  {
    part: 'durable',
    load: 'cycle',
    clients: 64,
    limits: [own, shared].flatMap((name): LockLimit[] => [
      { own: name, beside: 'etcd txn', of: 'rate', ratio: 10 },
      { own: name, beside: 'zookeeper', of: 'rate', ratio: 1 },
      { own: name, beside: 'zookeeper, one session', of: 'rate', ratio: 1 },
      { own: name, beside: 'zookeeper, one node', of: 'rate', ratio: 1 },
    ]),
  },
  {
    part: 'memory',
    load: 'cycle',
    clients: 64,
    limits: [own, shared].map((name): LockLimit => ({
      own: name,
      beside: 'redis pipelined',
      of: 'rate',
      ratio: 0.5,
    })),
  },
  handOver(10),
  handOver(100),
]

/** And those that only the plot shows. */
export const plottedPoints: readonly LockPoint[] = [4, 16, 256].map((clients) => ({
  part: 'durable',
  load: 'cycle',
  clients,
  limits: [],
}))

/** With one client it makes no difference whether clients share a session or a connection. */
export function servesPoint(
  { client, hasQueue }: LockSystem,
  { load, clients }: Pick<LockPoint, 'load' | 'clients'>,
): boolean {
  if (load === 'hand-over') return hasQueue
  return clients > 1 || !client.endsWith('-shared')
}

/** "64 clients on 64 locks, three nodes, durable". */
export function lockPointName({ part, load, clients }: LockPoint): string {
  const where = part === 'durable' ? 'three nodes, durable' : 'one node, in memory'
  if (load === 'hand-over') return `hand-over of one lock, ${clients} waiters, ${where}`
  return clients === 1
    ? `cycles, 1 client, ${where}`
    : `cycles, ${clients} clients on ${clients} locks, ${where}`
}

function handOver(clients: number): LockPoint {
  return {
    part: 'durable',
    load: 'hand-over',
    clients,
    limits: (['etcd lock', 'zookeeper'] as const).flatMap((beside): LockLimit[] => [
      { own, beside, of: 'p50', ratio: 1 },
      { own, beside, of: 'p99', ratio: 1 },
    ]),
  }
}
