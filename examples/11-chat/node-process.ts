/** A node's process as a supervised actor: when the process dies the actor crashes, and its supervisor starts it again. */
import { fork } from 'node:child_process'
import { actor, protocol, service } from '@understudy/runtime'
import type { ChatNodeSettings } from './chat-node.ts'

/** Told when a node serves. */
export const Herald = service<{ readonly up: (name: string, pid: number) => void }>('herald')

export const nodeProcess = actor(protocol('node-process', {}), (ctx, settings: ChatNodeSettings) => {
  const child = fork(new URL('./chat-node.js', import.meta.url), {
    env: { ...process.env, CHAT_NODE: JSON.stringify(settings) },
    // Its own group: Ctrl-C reaches the one that started it, which then stops its nodes in order.
    detached: true,
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  })
  const ended = new Promise<string>((resolve) => {
    child.once('exit', (code, signal) => resolve(signal ?? `exit code ${code}`))
  })
  ctx.defer(async () => {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGTERM')
    await ended
  })
  child.once('message', () => ctx.service(Herald).up(settings.name, child.pid ?? 0))
  const crash = (how: string): never => {
    throw new Error(`the process of node ${settings.name} ended: ${how}`)
  }
  ctx.run(ended.then(crash))
  return {}
})
