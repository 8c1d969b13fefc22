/** The client of this project's own stores: a node that joins the cluster, and a `KvClient` for each store. */
import { kvClient } from '@understudy/protocols'
import { joinAsClient } from '../harness/own-client-node.ts'
import { groupName } from '../harness/own-words.ts'
import type { LoadClient } from './load.ts'

/** Targets are `name address`. The operations go over all `groups` stores in turn. */
export async function connectOwn(targets: readonly string[], groups: number): Promise<LoadClient> {
  const { node, servers } = await joinAsClient(targets)
  const clients = Array.from({ length: groups }, (_, group) =>
    kvClient(node, { name: groupName(group), servers }),
  )
  const [first] = clients
  if (first === undefined) throw new RangeError('There must be one store at least')
  let turn = 0
  const next = (): typeof first => {
    turn = turn + 1 === groups ? 0 : turn + 1
    return clients[turn] ?? first
  }
  return {
    put: (key, value) => next().put(key, value),
    get: (key) => next().get(key),
    compact: async () => {
      for (const client of clients) await client.compact((await client.put('compact', '')).revision)
    },
    close: async () => {
      await node.shutdown('the run is over')
    },
  }
}
