/** Two nodes on loopback, one in this process and one in a process of its own. */
import { startNode, type ClusterNode } from '@understudy/cluster'
import { nodePlatform, silentLogger } from '@understudy/runtime'
import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { PARTNER_NAME, type PartnerCommand, type PartnerReport } from './lane-actors.ts'

/** The partner's process. One command at a time. */
export class Partner {
  readonly #child: ChildProcess

  constructor() {
    this.#child = fork(fileURLToPath(new URL('./lane-partner.js', import.meta.url)), [], { execArgv: [] })
  }

  /** Starts its node; resolves with the node's address. */
  async start(name: string, seeds: readonly string[]): Promise<string> {
    const report = await this.#ask({ type: 'start', name, seeds })
    if (report.type !== 'started') throw new Error(`the partner answered "${report.type}" to "start"`)
    return report.address
  }

  async stop(): Promise<void> {
    await this.#ask({ type: 'stop' })
  }

  /** Its memory, and how many messages its slow consumer has handled. */
  async look(): Promise<PartnerReport & { readonly type: 'memory' }> {
    const report = await this.#ask({ type: 'look' })
    if (report.type !== 'memory') throw new Error(`the partner answered "${report.type}" to "look"`)
    return report
  }

  /** Ends the process at once. */
  async end(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const ended = once(this.#child, 'exit')
    this.#child.kill('SIGKILL')
    await ended
  }

  async #ask(command: PartnerCommand): Promise<PartnerReport> {
    const answer = once(this.#child, 'message')
    this.#child.send(command)
    const [report] = (await answer) as [PartnerReport]
    return report
  }
}

/** A node of this process, without actors of its own. */
export function startHere(name: string, seeds: readonly string[]): Promise<ClusterNode> {
  return startNode({
    name,
    listen: 'ws://127.0.0.1:0',
    seeds,
    platform: nodePlatform({ log: silentLogger }),
    handleSignals: false,
  })
}

/** Both nodes, once they see each other. */
export async function startPair(): Promise<{ readonly node: ClusterNode; readonly partner: Partner }> {
  const partner = new Partner()
  const address = await partner.start(PARTNER_NAME, [])
  const node = await startHere('bench', [address])
  await node.whenMembers(2, { signal: AbortSignal.timeout(20_000) })
  return { node, partner }
}
