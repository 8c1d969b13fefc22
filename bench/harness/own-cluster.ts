/** One or three nodes of this project in processes of their own on loopback, with one or many services on them. */
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { CommandProcess } from './command-process.ts'
import type { FailoverCluster } from './load-cluster.ts'
import type { OwnCommand, OwnReport } from './own-words.ts'

const START_MS_MOST = 60_000

interface Member {
  readonly name: string
  process: CommandProcess<OwnCommand, OwnReport>
  address: string
}

export interface OwnClusterOptions {
  /** The URL of the members' main module, which calls `serveOwnMember`. */
  readonly module: URL
  /** @default 3 */
  readonly members?: 1 | 3 | undefined
  /** @default 1 */
  readonly groups?: number | undefined
  /** Node's own flags, for profiles. @default none */
  readonly execArgv?: readonly string[] | undefined
}

/** Preset `local`; everything else as it is by default. */
export class OwnCluster implements FailoverCluster {
  readonly #directory: string
  readonly #module: URL
  readonly #names: readonly string[]
  readonly #groups: number
  readonly #execArgv: readonly string[]
  readonly #members: Member[] = []

  private constructor(
    directory: string,
    { module, members = 3, groups = 1, execArgv = [] }: OwnClusterOptions,
  ) {
    this.#directory = directory
    this.#module = module
    this.#names = ['a', 'b', 'c'].slice(0, members)
    this.#groups = groups
    this.#execArgv = execArgv
  }

  /** Resolves when every group has a leader that all know. `directory`: 'memory' for nothing on disk. */
  static async start(directory: string, options: OwnClusterOptions): Promise<OwnCluster> {
    const cluster = new OwnCluster(directory, options)
    try {
      for (const name of cluster.#names) {
        const member = { name, process: cluster.#fork(name), address: '' }
        cluster.#members.push(member)
        await cluster.#begin(member)
      }
      await cluster.targets()
      return cluster
    } catch (error) {
      await cluster.stop()
      throw error
    }
  }

  /** `name address` of each node, that of the leader of the first group first. */
  async targets(): Promise<readonly string[]> {
    const endMs = performance.now() + START_MS_MOST
    for (;;) {
      const reports = await Promise.all(this.#members.map((member) => member.process.ask({ type: 'look' })))
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
    return this.#members.map((member) => member.process.pid)
  }

  pidOf(target: string): number {
    return this.#memberOf(target).process.pid
  }

  async restart(target: string): Promise<void> {
    const member = this.#memberOf(target)
    await member.process.kill()
    member.process = this.#fork(member.name)
    await this.#begin(member)
    await this.targets()
  }

  /** Lets the processes end by themselves when they write profiles, else kills them. */
  async stop(): Promise<void> {
    await Promise.all(
      this.#members.map((member) =>
        this.#execArgv.length > 0 ? member.process.end() : member.process.kill(),
      ),
    )
  }

  #fork(name: string): CommandProcess<OwnCommand, OwnReport> {
    return new CommandProcess(`node "${name}"`, this.#module, [], this.#execArgv)
  }

  async #begin(member: Member): Promise<void> {
    const report = await member.process.ask({
      type: 'start',
      name: member.name,
      directory: this.#directory === 'memory' ? 'memory' : join(this.#directory, member.name),
      seeds: this.#members.filter(({ name }) => name !== member.name).map(({ address }) => address),
      members: this.#names,
      groups: this.#groups,
    })
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
