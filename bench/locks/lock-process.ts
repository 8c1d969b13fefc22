/** The process that makes the load of locks, one for each system. Started by `LockHandle`. */
import { serveCommands } from '../harness/command-process.ts'
import type { LoadFigures } from '../harness/load-loop.ts'
import { runCycles, runHandOvers, type LockClient } from './lock-load.ts'
import type { LockPoint } from './lock-points.ts'
import type { LockClientKind } from './lock-systems.ts'

export type LockProcessCommand =
  | { readonly type: 'connect'; readonly targets: readonly string[] }
  | {
      readonly type: 'run'
      readonly load: LockPoint['load']
      readonly clients: number
      readonly durationMs: number
    }

export type LockProcessReport =
  | { readonly type: 'done' }
  | { readonly type: 'figures'; readonly figures: LoadFigures }

let client: LockClient | undefined

async function obey(command: LockProcessCommand): Promise<LockProcessReport> {
  if (command.type === 'connect') {
    await client?.close()
    client = await connectLocks(process.argv[2] as LockClientKind, command.targets)
    return { type: 'done' }
  }
  if (client === undefined) throw new Error('connect first')
  const { load, clients, durationMs } = command
  const run = load === 'cycle' ? runCycles : runHandOvers
  return { type: 'figures', figures: await run(client, clients, durationMs) }
}

/** Loads no more than the one client: what the others import would be in its heap. */
async function connectLocks(kind: LockClientKind, targets: readonly string[]): Promise<LockClient> {
  const etcdClient = process.argv[3] === 'lean' ? 'lean' : 'http2'
  switch (kind) {
    case 'own-sessions':
    case 'own-shared': {
      const { connectOwnLocks } = await import('./own-locks.ts')
      return connectOwnLocks(targets, kind === 'own-shared' ? 'shared' : 'sessions')
    }
    case 'bare': {
      const { connectBareLocks } = await import('./bare-locks.ts')
      return connectBareLocks(targets)
    }
    case 'etcd-lock':
    case 'etcd-lease':
    case 'etcd-txn': {
      const { connectEtcdLocks } = await import('./etcd-locks.ts')
      return connectEtcdLocks(
        targets,
        kind === 'etcd-lock' ? 'lock' : kind === 'etcd-txn' ? 'txn' : 'lease',
        etcdClient,
      )
    }
    case 'zookeeper-sessions':
    case 'zookeeper-shared': {
      const { connectZooKeeperLocks } = await import('./zookeeper-locks.ts')
      return connectZooKeeperLocks(targets, kind === 'zookeeper-shared' ? 'shared' : 'sessions')
    }
    case 'redis-connections':
    case 'redis-pipelined': {
      const { connectRedisLocks } = await import('./redis-locks.ts')
      return connectRedisLocks(targets, kind === 'redis-pipelined' ? 'pipelined' : 'connections')
    }
  }
}

serveCommands(obey)
