/** A node's process as a supervised actor: when the process dies the actor crashes, and its supervisor starts it again. */
import { fork, type ChildProcess } from 'node:child_process'
import { actor, protocol, service, tell } from '@understudy/runtime'
import Type from 'typebox'
import type { WorkerSettings } from './worker-node.ts'

export const NodeProcess = protocol('node-process', {
  /** SIGKILL: no goodbye, no cleanup. */
  kill: tell(),
})

/** Starting processes, as a service. */
export const Processes = service<{ readonly start: (settings: WorkerSettings) => ChildProcess }>('processes')

export const nodeProcess = actor(
  NodeProcess,
  { own: { exited: tell({ how: Type.String() }) } },
  (ctx, settings: WorkerSettings) => {
    const child = ctx.service(Processes).start(settings)
    const exited = new Promise<string>((resolve) => {
      child.once('exit', (code, signal) => resolve(signal ?? `exit code ${code}`))
    })
    ctx.defer(async () => {
      if (child.exitCode === null && child.signalCode === null) child.kill('SIGTERM')
      await exited
    })
    ctx.pipe(exited, (how) => ({ type: 'exited' as const, how }))
    return {
      kill: () => {
        child.kill('SIGKILL')
      },
      exited: ({ how }) => {
        throw new Error(`the process of node ${settings.name} ended: ${how}`)
      },
    }
  },
)

/** The real service. */
export function forkWorker(settings: WorkerSettings): ChildProcess {
  return fork(new URL('./worker-node.js', import.meta.url), {
    env: { ...process.env, CHECKSUM_FARM_NODE: JSON.stringify(settings) },
    // Its own group: Ctrl-C reaches the farm, which then stops its nodes in order.
    detached: true,
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  })
}
