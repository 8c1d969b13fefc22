/** One node of the store, in a process of its own: a member of the group, with a data directory of its own. */
import { startNode } from '@understudy/cluster'
import { openConsensus, openKv, openRaftGroup, type RaftGroup } from '@understudy/protocols'
import { child, nodePlatform, silentLogger, supervisor } from '@understudy/runtime'
import { memberRole, steering } from './steering.ts'

export interface KvNodeSettings {
  readonly name: string
  /** `ws://127.0.0.1:41234`: the same for as long as the example runs. */
  readonly listen: string
  readonly seeds: readonly string[]
  /** Who founds the group: the same on all nodes. */
  readonly members: readonly string[]
  readonly secret: string
  /** A directory of this node's own. */
  readonly data: string
}

/** What a node's process says to the one that started it. */
export type KvNodeReport =
  | { readonly type: 'ready' }
  | { readonly type: 'failed'; readonly why: string }
  | { readonly type: 'standing'; readonly role: string; readonly leader: string; readonly term: number }
  /** Part of the node restarts. */
  | { readonly type: 'trouble'; readonly what: string }

async function main(settings: KvNodeSettings, report: (report: KvNodeReport) => void): Promise<void> {
  const { name, listen, seeds, members, secret, data } = settings
  let group: Pick<RaftGroup, 'transfer'> | undefined
  // Without whoever started it a node has nothing to live for.
  const giveUp = (): never => process.exit(1)
  process.once('disconnect', giveUp)
  const node = await startNode({
    name,
    listen,
    seeds,
    secret,
    data,
    // A majority of three: whatever the order of the start, there is one cluster.
    expect: 2,
    roles: [memberRole],
    downing: { strategy: 'keep-majority', role: memberRole },
    root: supervisor({}, [
      child(
        'steering',
        steering(() => group),
      ),
    ]),
    platform: nodePlatform(process.env['UNDERSTUDY_LOG'] === undefined ? { log: silentLogger } : {}),
  })
  process.off('disconnect', giveUp)
  process.once('disconnect', () => void node.shutdown('the prompt has ended'))
  void node.system.terminated.then(() => {
    if (process.connected) process.disconnect()
  })
  node.system.events.on('actor-restarted', ({ path, error, delayMs }) => {
    const [why = ''] = (error?.message ?? 'it stopped by itself').split(';')
    report({ type: 'trouble', what: `${path} restarts in ${Math.round(delayMs)} ms: ${why}` })
  })

  // What makes a replicated store of it. Everything is written below `data` before it counts.
  const consensus = await openConsensus(node)
  const kv = await openKv(node, {
    openGroup: async (store) => {
      const opened = await openRaftGroup(consensus, { name: store.name, members, machine: store.machine })
      group = opened
      return opened
    },
  })

  const tell = (): void => {
    const { role, leader = '', term } = kv.group.status()
    report({ type: 'standing', role, leader, term })
  }
  kv.group.onStatus(tell)
  tell()
  report({ type: 'ready' })
}

const settings = process.env['KV_NODE']
if (settings !== undefined) {
  const report = (message: KvNodeReport): void => {
    if (process.connected) process.send?.(message)
  }
  try {
    await main(JSON.parse(settings) as KvNodeSettings, report)
  } catch (error) {
    report({ type: 'failed', why: error instanceof Error ? error.message : String(error) })
    process.exitCode = 1
    if (process.connected) process.disconnect()
  }
}
