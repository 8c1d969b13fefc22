/**
 * The other process of this project's two-process rows: a node with a counter and an adder. It tells its address over
 * IPC and ends with its parent.
 */
import { startNode } from '@understudy/cluster'
import { child, nodePlatform, silentLogger, supervisor } from '@understudy/runtime'
import { adder, PARTNER_NAME, tally, type PartnerReport } from './understudy-remote.ts'

if (process.send !== undefined) await serve(process.send.bind(process))

async function serve(report: (message: PartnerReport) => unknown): Promise<void> {
  const node = await startNode({
    name: PARTNER_NAME,
    listen: 'ws://127.0.0.1:0',
    root: supervisor({}, [child('tally', tally), child('adder', adder)]),
    platform: nodePlatform({ log: silentLogger }),
    handleSignals: false,
  })
  process.on('disconnect', () => process.exit(0))
  report({ address: node.address })
}
