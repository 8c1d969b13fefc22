/** The systems that `npm run bench -- locks` puts beside each other, and the processes that they run on. */
import { join } from 'node:path'
import { EtcdCluster, findEtcd } from '../harness/etcd-cluster.ts'
import type { LoadCluster } from '../harness/load-cluster.ts'
import { OwnCluster } from '../harness/own-cluster.ts'
import { BareCluster } from '../raft/bare-cluster.ts'
import { findRedis, RedisServer } from './redis-server.ts'
import { findZooKeeper, ZooKeeperCluster } from './zookeeper-cluster.ts'

/** Durable on three nodes where it says nothing else; in memory on one node. */
export type LockPart = 'durable' | 'memory'

/** Processes that one or several systems use. */
export type LockClusterName =
  | 'own'
  | 'own-memory'
  | 'bare'
  | 'etcd'
  | 'zookeeper'
  | 'zookeeper-one'
  | 'redis'
  | 'redis-fsync'

/** How the client process goes about it; see `connectLocks`. */
export type LockClientKind =
  | 'own-sessions'
  | 'own-shared'
  | 'bare'
  | 'etcd-lock'
  | 'etcd-lease'
  | 'etcd-txn'
  | 'zookeeper-sessions'
  | 'zookeeper-shared'
  | 'redis-connections'
  | 'redis-pipelined'

export interface LockSystem {
  /** Once in a part. */
  readonly name: LockSystemName
  readonly part: LockPart
  readonly cluster: LockClusterName
  readonly client: LockClientKind
  /** Whether it is asked for hand-overs. */
  readonly hasQueue: boolean
}

export type LockSystemName =
  | 'understudy'
  | 'understudy, one session'
  | 'bare, two commits'
  | 'etcd lock'
  | 'etcd lease each'
  | 'etcd txn'
  | 'zookeeper'
  | 'zookeeper, one session'
  | 'zookeeper, one node'
  | 'redis'
  | 'redis pipelined'
  | 'redis fsync, one node'

/** In the order of the tables. */
export const lockSystems: readonly LockSystem[] = [
  system('durable', 'understudy', 'own', 'own-sessions', true),
  system('durable', 'understudy, one session', 'own', 'own-shared', false),
  system('durable', 'bare, two commits', 'bare', 'bare', false),
  system('durable', 'etcd lock', 'etcd', 'etcd-lock', true),
  system('durable', 'etcd lease each', 'etcd', 'etcd-lease', false),
  system('durable', 'etcd txn', 'etcd', 'etcd-txn', false),
  system('durable', 'zookeeper', 'zookeeper', 'zookeeper-sessions', true),
  system('durable', 'zookeeper, one session', 'zookeeper', 'zookeeper-shared', false),
  system('durable', 'zookeeper, one node', 'zookeeper-one', 'zookeeper-sessions', true),
  system('durable', 'redis fsync, one node', 'redis-fsync', 'redis-connections', false),
  system('memory', 'understudy', 'own-memory', 'own-sessions', false),
  system('memory', 'understudy, one session', 'own-memory', 'own-shared', false),
  system('memory', 'redis', 'redis', 'redis-connections', false),
  system('memory', 'redis pipelined', 'redis', 'redis-pipelined', false),
]

/** The version of what has to be installed for it, '' for nothing, or why it cannot be run. */
export function findLockCluster(
  name: LockClusterName,
): { readonly version: string } | { readonly missing: string } {
  switch (name) {
    case 'etcd':
      return findEtcd()
    case 'zookeeper':
    case 'zookeeper-one':
      return findZooKeeper()
    case 'redis':
    case 'redis-fsync':
      return findRedis()
    case 'own':
    case 'own-memory':
    case 'bare':
      return { version: '' }
  }
}

/** Resolves when it takes clients. `execArgv`: of this project's own processes. */
export function startLockCluster(
  name: LockClusterName,
  directory: string,
  execArgv: readonly string[],
): Promise<LoadCluster> {
  const own = join(directory, name)
  const module = new URL('./own-member.js', import.meta.url)
  switch (name) {
    case 'own':
      return OwnCluster.start(own, { module, execArgv })
    case 'own-memory':
      return OwnCluster.start('memory', { module, members: 1, execArgv })
    case 'bare':
      return BareCluster.start(own)
    case 'etcd':
      return EtcdCluster.start(own)
    case 'zookeeper':
      return ZooKeeperCluster.start(own, 3)
    case 'zookeeper-one':
      return ZooKeeperCluster.start(own, 1)
    case 'redis':
      return RedisServer.start(own, false)
    case 'redis-fsync':
      return RedisServer.start(own, true)
  }
}

function system(
  part: LockPart,
  name: LockSystemName,
  cluster: LockClusterName,
  client: LockClientKind,
  hasQueue: boolean,
): LockSystem {
  return { name, part, cluster, client, hasQueue }
}
