/** This project's locks: a node that joins the cluster, and mutexes of a `LockClient` on it. */
import { lockClient, type Held, type LockClient as OwnLockClient } from '@understudy/protocols'
import { joinAsClient } from '../harness/own-client-node.ts'
import { groupName } from '../harness/own-words.ts'
import type { LockClient, LockOwner } from './lock-load.ts'

/** `sessions`: each owner has a client, so a session, of its own. `shared`: all owners are of one client. */
export type OwnLockKind = 'sessions' | 'shared'

/** Longer than the longest queue of the load takes. */
const WAIT_MS_MOST = 30_000

/** Targets are `name address`. All owners are on one node. */
export async function connectOwnLocks(targets: readonly string[], kind: OwnLockKind): Promise<LockClient> {
  const { node, servers } = await joinAsClient(targets)
  const clients: OwnLockClient[] = []
  const owners: LockOwner[] = []
  const open = async (): Promise<OwnLockClient> => {
    const client = lockClient(node, { name: groupName(0), servers, timeoutMs: WAIT_MS_MOST })
    await client.session()
    clients.push(client)
    return client
  }
  return {
    owners: async (count) => {
      while (owners.length < count) {
        const [shared] = clients
        owners.push(ownOwner(kind === 'shared' && shared !== undefined ? shared : await open()))
      }
      return owners.slice(0, count)
    },
    waiting: async (name) => (await clients[0]?.view(name))?.waiting ?? 0,
    close: async () => {
      await Promise.all(clients.map((client) => client.close()))
      await node.shutdown('the run is over')
    },
  }
}

function ownOwner(client: OwnLockClient): LockOwner {
  const held = new Map<string, Held>()
  const mutexes = new Map<string, ReturnType<OwnLockClient['mutex']>>()
  return {
    lock: async (name) => {
      let mutex = mutexes.get(name)
      if (mutex === undefined) {
        mutex = client.mutex(name)
        mutexes.set(name, mutex)
      }
      held.set(name, await mutex.acquire())
    },
    unlock: async (name) => {
      await held.get(name)?.release()
    },
  }
}
