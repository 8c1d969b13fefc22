/** Two commits to the bare replicated log in place of a lock: what two durable steps cost when nothing else is done. */
import { connectBare } from '../raft/bare-client.ts'
import type { LockClient, LockOwner } from './lock-load.ts'

const value = new Uint8Array(32)

/** All owners share one connection. Nobody is kept out. */
export async function connectBareLocks(targets: readonly string[]): Promise<LockClient> {
  const log = await connectBare(targets)
  const owner: LockOwner = {
    lock: (name) => log.put(name, value),
    unlock: (name) => log.put(name, value),
  }
  return {
    owners: async (count) => Array.from({ length: count }, () => owner),
    waiting: undefined,
    close: () => log.close(),
  }
}
