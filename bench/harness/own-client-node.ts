/** A node without services that joins this project's own cluster: clients call from it. */
import { startNode, type ClusterNode } from '@understudy/cluster'
import { nodePlatform, silentLogger } from '@understudy/runtime'

const NODE_MS_MOST = 20_000
let starts = 0

/** `targets` are `name address`. Resolves with the node, which knows all of them, and their names. */
export async function joinAsClient(
  targets: readonly string[],
): Promise<{ readonly node: ClusterNode; readonly servers: readonly string[] }> {
  const parts = targets.map((target) => target.split(' '))
  const node = await startNode({
    name: `client-${process.pid}-${++starts}`,
    listen: 'ws://127.0.0.1:0',
    seeds: parts.map(([, address = '']) => address),
    platform: nodePlatform({ log: silentLogger }),
    handleSignals: false,
  })
  await node.whenMembers(targets.length + 1, { signal: AbortSignal.timeout(NODE_MS_MOST) })
  return { node, servers: parts.map(([name = '']) => name) }
}
