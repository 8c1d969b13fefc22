/** The three processes of the bare replicated log. */
import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { heapFlags } from '../harness/command-process.ts'
import type { LoadCluster } from '../harness/load-cluster.ts'
import { killAll } from '../harness/process-ends.ts'
import type { BareCommand, BareReport } from './bare-words.ts'

/** A leader, for good, and two followers. */
export class BareCluster implements LoadCluster {
  readonly #children: ChildProcess[] = []
  #leaderPort = 0

  static async start(directory: string): Promise<BareCluster> {
    const cluster = new BareCluster()
    const followers = [
      await cluster.#startMember(join(directory, 'follower-1'), []),
      await cluster.#startMember(join(directory, 'follower-2'), []),
    ]
    cluster.#leaderPort = await cluster.#startMember(join(directory, 'leader'), followers)
    return cluster
  }

  async targets(): Promise<readonly string[]> {
    return [String(this.#leaderPort)]
  }

  pids(): readonly number[] {
    return this.#children.map(({ pid }) => pid ?? 0)
  }

  async stop(): Promise<void> {
    await killAll(this.#children)
  }

  async #startMember(directory: string, followers: readonly number[]): Promise<number> {
    const child = fork(fileURLToPath(new URL('./bare-member.js', import.meta.url)), [], {
      execArgv: [...heapFlags],
    })
    this.#children.push(child)
    const command: BareCommand = { directory, followers }
    child.send(command)
    const [report] = (await once(child, 'message')) as [BareReport]
    return report.port
  }
}
