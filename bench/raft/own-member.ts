/** A node of this project's own cluster, in a process of its own. Ends with its parent. */
import { startNode } from '@understudy/cluster'
import { openConsensus, openKv, openRaftGroup, type Kv } from '@understudy/protocols'
import { nodePlatform, silentLogger } from '@understudy/runtime'
import { storeName, type OwnCommand, type OwnQuestion, type OwnReport } from './own-words.ts'

const stores: Kv[] = []

async function start({ name, directory, seeds, members, groups }: OwnCommand): Promise<string> {
  const node = await startNode({
    name,
    listen: 'ws://127.0.0.1:0',
    seeds,
    data: directory,
    platform: nodePlatform({ log: silentLogger }),
    handleSignals: false,
  })
  const consensus = await openConsensus(node)
  const opened = Array.from({ length: groups }, (_, group) =>
    openKv(node, {
      name: storeName(group),
      openGroup: ({ name: groupName, machine }) =>
        openRaftGroup(consensus, { name: groupName, members, machine, raft: { preset: 'local' } }),
    }),
  )
  void Promise.all(opened).then((all) => stores.push(...all))
  return node.address
}

function look(groups: number): OwnReport {
  const statuses = Array.from({ length: groups }, (_, group) => stores[group]?.group.status())
  return {
    type: 'groups',
    leaders: statuses.map((status) => status?.leader ?? ''),
    applied: statuses.map((status) => status?.applied ?? -1),
  }
}

if (process.send !== undefined) {
  const report = process.send.bind(process) as (message: OwnReport) => unknown
  let groups = 0
  const obey = async (message: OwnCommand | OwnQuestion): Promise<OwnReport> => {
    if ('type' in message) return look(groups)
    groups = message.groups
    return { type: 'started', address: await start(message) }
  }
  process.on('disconnect', () => process.exit(0))
  process.on('message', (message) => {
    obey(message as OwnCommand | OwnQuestion).then(report, (error: unknown) =>
      report({
        type: 'failed',
        reason: error instanceof Error ? (error.stack ?? error.message) : String(error),
      }),
    )
  })
}
