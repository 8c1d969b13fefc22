/** Redis as a lock through `ioredis`: set if absent with a time to live, deleted by a script if it is the owner's. */
import { once, type EventEmitter } from 'node:events'
import { requirePeer } from '../harness/peer-package.ts'
import type { LockClient, LockOwner } from './lock-load.ts'

/** `connections`: each owner has one. `pipelined`: all share one, and what is asked in one turn travels together. */
export type RedisLockKind = 'connections' | 'pipelined'

/** As much of `ioredis` as is used here. */
interface Redis extends EventEmitter {
  readonly set: (key: string, value: string, px: 'PX', ms: number, nx: 'NX') => Promise<'OK' | null>
  readonly defineCommand: (
    name: string,
    script: { readonly lua: string; readonly numberOfKeys: number },
  ) => void
  readonly unlockIfOwner: (key: string, value: string) => Promise<number>
  readonly quit: () => Promise<unknown>
}

interface RedisPackage {
  readonly Redis: new (options: {
    readonly host: string
    readonly port: number
    readonly enableAutoPipelining: boolean
  }) => Redis
}

const LIVES_MS = 30_000
const UNLOCK =
  "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) else return 0 end"

/** The target is the port. */
export async function connectRedisLocks(
  targets: readonly string[],
  kind: RedisLockKind,
): Promise<LockClient> {
  const { Redis } = requirePeer('ioredis') as RedisPackage
  const connect = async (): Promise<Redis> => {
    const redis = new Redis({
      host: '127.0.0.1',
      port: Number(targets[0]),
      enableAutoPipelining: kind === 'pipelined',
    })
    redis.defineCommand('unlockIfOwner', { lua: UNLOCK, numberOfKeys: 1 })
    await once(redis, 'ready')
    connections.push(redis)
    return redis
  }
  const connections: Redis[] = []
  const owners: LockOwner[] = []
  return {
    owners: async (count) => {
      while (owners.length < count) {
        const [shared] = connections
        const redis = kind === 'pipelined' && shared !== undefined ? shared : await connect()
        owners.push(redisOwner(redis, `owner-${owners.length}`))
      }
      return owners.slice(0, count)
    },
    waiting: undefined,
    close: async () => {
      await Promise.all(connections.map((redis) => redis.quit()))
    },
  }
}

function redisOwner(redis: Redis, owner: string): LockOwner {
  return {
    lock: async (name) => {
      if ((await redis.set(name, owner, 'PX', LIVES_MS, 'NX')) !== 'OK')
        throw new Error(`The lock "${name}" was not free`)
    },
    unlock: async (name) => {
      if ((await redis.unlockIfOwner(name, owner)) !== 1)
        throw new Error(`The lock "${name}" was not its own`)
    },
  }
}
