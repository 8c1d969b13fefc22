/** One node of the farm, in a process of its own. Started by `node-process.ts`, which tells it who it is, or by a person. */
import { actor, ask, child, nodePlatform, protocol, silentLogger, supervisor } from '@understudy/runtime'
import { startNode, type ClusterNode } from '@understudy/cluster'
import Type from 'typebox'
import { checksum, digestFile, FileReader } from './checksum.ts'
import { meetingAt } from './meeting-place.ts'

/** How often a node's workers were restarted. */
export const NodeStats = protocol('node-stats', { restarts: ask(Type.Integer()) })

export interface WorkerSettings {
  readonly name: string
  /** The directory where the farm meets. */
  readonly join: string
  /** False for who sees to SIGINT and SIGTERM itself. @default true */
  readonly handleSignals?: boolean | undefined
}

export interface Worker {
  readonly node: ClusterNode
  /** Files done so far. */
  readonly files: () => number
}

/** Starts a node that does the farm's work. It finds the others by the file that the farm wrote. */
export async function startWorker({ name, join, handleSignals }: WorkerSettings): Promise<Worker> {
  let files = 0
  let restarts = 0
  const stats = actor(NodeStats, () => ({ restarts: () => restarts }))
  const node = await startNode({
    name,
    listen: 'ws://127.0.0.1:0',
    ...(await meetingAt(join)),
    // Never a cluster of its own: without the farm there is nothing to do.
    expect: 2,
    handleSignals,
    entities: [checksum],
    root: supervisor({}, [child('stats', stats)]),
    services: [
      FileReader.provide({
        digest: async (path, signal) => {
          const digest = await digestFile(path, signal)
          files++
          return digest
        },
      }),
    ],
    // What matters to a person is shown by the farm; UNDERSTUDY_LOG=info shows what each node has to say.
    platform: nodePlatform(process.env['UNDERSTUDY_LOG'] === undefined ? { log: silentLogger } : {}),
  })
  node.system.events.on('actor-restarted', () => restarts++)
  return { node, files: () => files }
}

const settings = process.env['CHECKSUM_FARM_NODE']
if (settings !== undefined) {
  const { node } = await startWorker(JSON.parse(settings) as WorkerSettings)
  // Without its farm a node has nothing to live for.
  process.once('disconnect', () => void node.shutdown('the farm is gone'))
  void node.system.terminated.then(() => {
    if (process.connected) process.disconnect()
  })
}
