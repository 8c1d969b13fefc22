/** The client of this project's own stores: a node that joins the cluster, and a `KvClient` for each store. */
import { startNode } from '@understudy/cluster'
import { kvClient } from '@understudy/protocols'
import { nodePlatform, silentLogger } from '@understudy/runtime'
import type { LoadClient } from './load.ts'
import { storeName } from './own-words.ts'

const NODE_MS_MOST = 20_000
let starts = 0

/** Targets are `name address`. The operations go over all `groups` stores in turn. */
export async function connectOwn(targets: readonly string[], groups: number): Promise<LoadClient> {
  const parts = targets.map((target) => target.split(' '))
  const servers = parts.map(([name = '']) => name)
  const node = await startNode({
    name: `client-${process.pid}-${++starts}`,
    listen: 'ws://127.0.0.1:0',
    seeds: parts.map(([, address = '']) => address),
    platform: nodePlatform({ log: silentLogger }),
    handleSignals: false,
  })
  await node.whenMembers(targets.length + 1, { signal: AbortSignal.timeout(NODE_MS_MOST) })
  const clients = Array.from({ length: groups }, (_, group) =>
    kvClient(node, { name: storeName(group), servers }),
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
