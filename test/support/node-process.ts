/** A node in another process, for tests: started, asked for its status, stopped, killed. */
import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { NodeOptions } from '@understudy/cluster'
import type { Test } from 'tap'
import type { Command, Report, StatusReport } from '../fixtures/cluster-node.ts'

const fixture = fileURLToPath(new URL('../fixtures/cluster-node.js', import.meta.url))

export interface NodeProcess {
  readonly child: ChildProcess
  readonly first: Report
  readonly address: string
  readonly incarnation: number
  readonly status: () => Promise<StatusReport>
  readonly shutdown: () => Promise<Report & { readonly type: 'down' }>
  /** Resolves with the exit code, or the signal that ended it. */
  readonly ended: Promise<number | string>
}

/** Options that are plain data, since they go through argv. */
export type PlainNodeOptions = Pick<
  NodeOptions,
  'name' | 'listen' | 'seeds' | 'secret' | 'cluster' | 'membership' | 'handshakeTimeoutMs'
>

/** Starts a node process; it is killed when the test ends. Resolves when it is up, or could not start. */
export async function nodeProcess(t: Test, options: PlainNodeOptions): Promise<NodeProcess> {
  const child = fork(fixture, [JSON.stringify(options)], { execArgv: ['--expose-gc'] })
  const ended = once(child, 'exit').then(([code, signal]) => (code ?? signal) as number | string)
  t.teardown(async () => {
    child.kill('SIGKILL')
    await ended
  })
  const report = async <K extends Report['type']>(type: K): Promise<Report & { readonly type: K }> => {
    for (;;) {
      const [message] = (await once(child, 'message')) as [Report]
      if (message.type === type) return message as Report & { readonly type: K }
    }
  }
  const tell = (command: Command): void => void child.send(command)
  const [first] = (await once(child, 'message')) as [Report]
  return {
    child,
    first,
    address: first.type === 'up' ? first.address : '',
    incarnation: first.type === 'up' ? first.incarnation : 0,
    ended,
    status: () => {
      const answered = report('status')
      tell({ type: 'status' })
      return answered
    },
    shutdown: () => {
      const answered = report('down')
      tell({ type: 'shutdown' })
      return answered
    },
  }
}
