/** One node of the farm, in a process of its own. Started by `node-process.ts`, which tells it who it is. */
import { actor, ask, child, nodePlatform, protocol, silentLogger, supervisor } from '@understudy/runtime'
import { startNode } from '@understudy/cluster'
import Type from 'typebox'
import { checksum, digestFile, FileReader } from './checksum.ts'

/** How often a node's workers were restarted. */
export const NodeStats = protocol('node-stats', { restarts: ask(Type.Integer()) })

export interface WorkerSettings {
  readonly name: string
  readonly listen: string
  readonly seeds: readonly string[]
  readonly secret: string
}

async function main(settings: WorkerSettings): Promise<void> {
  let restarts = 0
  const stats = actor(NodeStats, () => ({ restarts: () => restarts }))
  const node = await startNode({
    ...settings,
    entities: [checksum],
    root: supervisor({}, [child('stats', stats)]),
    services: [FileReader.provide({ digest: digestFile })],
    heartbeatIntervalMs: 200,
    deadlineMs: 2_000,
    // What matters to a person is shown by the farm; UNDERSTUDY_LOG=info shows what each node has to say.
    platform: nodePlatform(process.env['UNDERSTUDY_LOG'] === undefined ? { log: silentLogger } : {}),
  })
  node.system.events.on('actor-restarted', () => restarts++)
  // Without its farm a node has nothing to live for.
  process.once('disconnect', () => void node.shutdown('the farm is gone'))
  void node.system.terminated.then(() => {
    if (process.connected) process.disconnect()
  })
  process.send?.({ type: 'ready', incarnation: node.incarnation })
}

const settings = process.env['CHECKSUM_FARM_NODE']
if (settings !== undefined) await main(JSON.parse(settings) as WorkerSettings)
