/** Three nodes of this project in three processes on loopback, with one or many key-value stores on them. */
import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { FailoverCluster } from './load-cluster.ts'
import type { OwnCommand, OwnReport } from './own-words.ts'

const names = ['a', 'b', 'c'] as const
const START_MS_MOST = 60_000

interface Member {
  readonly name: string
  child: ChildProcess
  address: string
}

/** Preset `local`; everything else as it is by default. */
export class OwnCluster implements FailoverCluster {
  readonly #directory: string
  readonly #groups: number
  readonly #execArgv: readonly string[]
  readonly #members: Member[] = []

  private constructor(directory: string, groups: number, execArgv: readonly string[]) {
    this.#directory = directory
    this.#groups = groups
    this.#execArgv = execArgv
  }

  /** Resolves when every group has a leader that all three know. `execArgv`: Node's own flags, for profiles. */
  static async start(
    directory: string,
    groups: number,
    execArgv: readonly string[] = [],
  ): Promise<OwnCluster> {
    const cluster = new OwnCluster(directory, groups, execArgv)
    for (const name of names) {
      const member = { name, child: cluster.#fork(), address: '' }
      cluster.#members.push(member)
      await cluster.#begin(member)
    }
    await cluster.targets()
    return cluster
  }

  /** `name address` of each node, that of the leader of the first group first. */
  async targets(): Promise<readonly string[]> {
    const endMs = performance.now() + START_MS_MOST
    for (;;) {
      const reports = await Promise.all(this.#members.map(({ child }) => ask(child, { type: 'look' })))
      const leader = agreedLeader(reports)
      if (leader !== undefined) {
        const all = this.#members.map(({ name, address }) => `${name} ${address}`)
        const at = this.#members.findIndex(({ name }) => name === leader)
        return [...all.slice(at), ...all.slice(0, at)]
      }
      if (performance.now() > endMs) throw new Error(`A group has no leader: ${JSON.stringify(reports)}`)
      await pause(50)
    }
  }

  pids(): readonly number[] {
    return this.#members.map(({ child }) => child.pid ?? 0)
  }

  pidOf(target: string): number {
    return this.#memberOf(target).child.pid ?? 0
  }

  async restart(target: string): Promise<void> {
    const member = this.#memberOf(target)
    await ended(member.child)
    member.child = this.#fork()
    await this.#begin(member)
    await this.targets()
  }

  /** Lets the processes end by themselves when they write profiles, else kills them. */
  async stop(): Promise<void> {
    for (const { child } of this.#members)
      if (this.#execArgv.length > 0) child.disconnect()
      else child.kill('SIGKILL')
    await Promise.all(this.#members.map(({ child }) => ended(child)))
  }

  #fork(): ChildProcess {
    return fork(fileURLToPath(new URL('./own-member.js', import.meta.url)), [], {
      execArgv: [...this.#execArgv],
      env: { ...process.env, NODE_ENV: 'production' },
    })
  }

  async #begin(member: Member): Promise<void> {
    const command: OwnCommand = {
      name: member.name,
      directory: join(this.#directory, member.name),
      seeds: this.#members.filter(({ name }) => name !== member.name).map(({ address }) => address),
      members: names,
      groups: this.#groups,
    }
    const report = await ask(member.child, command)
    if (report.type !== 'started') throw new Error(`Node "${member.name}" answered ${JSON.stringify(report)}`)
    member.address = report.address
  }

  #memberOf(target: string): Member {
    const found = this.#members.find(({ name, address }) => `${name} ${address}` === target)
    if (found === undefined) throw new RangeError(`No node is at "${target}"`)
    return found
  }
}

/** The leader of the first group, when all groups have one that every node knows, and all have applied the same. */
function agreedLeader(reports: readonly OwnReport[]): string | undefined {
  const [first] = reports
  if (first?.type !== 'groups') return undefined
  const isAgreed = first.leaders.every(
    (leader, group) =>
      leader !== '' &&
      reports.every(
        (report) =>
          report.type === 'groups' &&
          report.leaders[group] === leader &&
          report.applied[group] === first.applied[group],
      ),
  )
  return isAgreed ? first.leaders[0] : undefined
}

async function ask(child: ChildProcess, message: object): Promise<OwnReport> {
  const answer = once(child, 'message', { signal: AbortSignal.timeout(START_MS_MOST) })
  child.send(message)
  const [report] = (await answer) as [OwnReport]
  if (report.type === 'failed') throw new Error(report.reason)
  return report
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
}
