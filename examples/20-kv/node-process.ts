/** A node's process as a supervised actor: when the process dies the actor crashes, and its supervisor starts it again. */
import { fork } from 'node:child_process'
import { actor, protocol, service } from '@understudy/runtime'
import type { KvNodeReport, KvNodeSettings } from './kv-node.ts'

/** Told when a process has started, and what it says. */
export const Herald = service<{
  readonly started: (name: string, pid: number) => void
  readonly said: (name: string, report: KvNodeReport) => void
}>('herald')

/** A node that does not leave within this time is ended. */
const leaveMs = 12_000

export const nodeProcess = actor(protocol('node-process', {}), (ctx, settings: KvNodeSettings) => {
  const { name } = settings
  const herald = ctx.service(Herald)
  const child = fork(new URL('./kv-node.js', import.meta.url), {
    env: { ...process.env, KV_NODE: JSON.stringify(settings) },
    // Its own group: Ctrl-C reaches the prompt, which then ends its nodes.
    detached: true,
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  })
  const ended = new Promise<string>((resolve) => {
    child.once('exit', (code, signal) => resolve(signal ?? `exit code ${code}`))
    child.once('error', (error) => resolve(error.message))
  })
  ctx.defer(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return
    child.kill('SIGTERM')
    // One that was stopped hears nothing else.
    child.kill('SIGCONT')
    const timer = setTimeout(() => child.kill('SIGKILL'), leaveMs)
    await ended
    clearTimeout(timer)
  })
  child.on('message', (report) => herald.said(name, report as KvNodeReport))
  herald.started(name, child.pid ?? 0)
  const crash = (how: string): never => {
    throw new Error(`the process of node ${name} ended: ${how}`)
  }
  ctx.run(ended.then(crash))
  return {}
})
