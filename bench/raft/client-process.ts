/**
 * The process that makes the load, one for each system. Started by `ClientHandle`; it does what its parent says and ends
 * with it.
 */
import { serveCommands } from '../harness/command-process.ts'
import type { LoadFigures } from '../harness/load-loop.ts'
import { connectBare } from './bare-client.ts'
import { connectEtcd } from './etcd-client.ts'
import { connectOwn } from './own-client.ts'
import { measureGap, runLoad, type Gap, type LoadClient, type LoadOperation } from './load.ts'

export type SystemName = 'understudy' | 'etcd' | 'bare'

export type ClientCommand =
  | { readonly type: 'connect'; readonly targets: readonly string[] }
  | {
      readonly type: 'run'
      readonly operation: LoadOperation
      readonly inFlight: number
      readonly durationMs: number
    }
  /** Kills the process with this id in the middle of puts. */
  | { readonly type: 'gap'; readonly inFlight: number; readonly pid: number; readonly giveUpMs: number }
  | { readonly type: 'compact' }
  | { readonly type: 'close' }

export type ClientReport =
  | { readonly type: 'figures'; readonly figures: LoadFigures }
  | { readonly type: 'gap'; readonly gap: Gap }
  | { readonly type: 'done' }

const system = process.argv[2] ?? ''
let client: LoadClient | undefined

async function obey(command: ClientCommand): Promise<ClientReport> {
  if (command.type === 'connect') {
    await client?.close()
    client = await connect(command.targets)
    return { type: 'done' }
  }
  if (client === undefined) throw new Error('connect first')
  switch (command.type) {
    case 'run':
      return {
        type: 'figures',
        figures: await runLoad(client, command.operation, command.inFlight, command.durationMs),
      }
    case 'gap': {
      const kill = (): void => {
        process.kill(command.pid, 'SIGKILL')
      }
      return { type: 'gap', gap: await measureGap(client, command.inFlight, kill, command.giveUpMs) }
    }
    case 'compact':
      await client.compact()
      return { type: 'done' }
    case 'close':
      await client.close()
      client = undefined
      return { type: 'done' }
  }
}

function connect(targets: readonly string[]): Promise<LoadClient> {
  switch (system) {
    case 'etcd':
      return connectEtcd(targets, process.argv[3] === 'http2' ? 'http2' : 'lean')
    case 'understudy':
      return connectOwn(targets, Number(process.argv[3]))
    case 'bare':
      return connectBare(targets)
    default:
      throw new RangeError(`There is no client for "${system}"`)
  }
}

serveCommands(obey)
