/** The other process of the lane benchmark: starts and stops a node as it is told, and ends with its parent. */
import { startNode, type ClusterNode } from '@understudy/cluster'
import { nodePlatform, silentLogger } from '@understudy/runtime'
import { partnerRoot, type PartnerCommand, type PartnerReport } from './lane-actors.ts'

let node: ClusterNode | undefined
let handled = 0

if (process.send !== undefined) serve(process.send.bind(process))

function serve(report: (message: PartnerReport) => unknown): void {
  process.on('disconnect', () => process.exit(0))
  process.on('message', (message) => void obey(message as PartnerCommand).then(report))
}

async function obey(command: PartnerCommand): Promise<PartnerReport> {
  switch (command.type) {
    case 'start':
      node = await startNode({
        name: command.name,
        listen: 'ws://127.0.0.1:0',
        seeds: command.seeds,
        root: partnerRoot(() => handled++),
        platform: nodePlatform({ log: silentLogger }),
        handleSignals: false,
      })
      return { type: 'started', address: node.address }
    case 'stop':
      await node?.shutdown('the row is over')
      return { type: 'stopped' }
    case 'look':
      return { type: 'memory', rssBytes: process.memoryUsage.rss(), handled }
  }
}
