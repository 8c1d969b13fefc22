/**
 * Five servers of the key-value store and two processes of clients, each on a host of its own where the machine makes network
 * namespaces, with data directories that last: what the nemesis hurts and the verdicts are about.
 */
import { mkdirSync, rmSync } from 'node:fs'
import type { Test } from 'tap'
import type { KvLoadOptions, KvLoadQuestion } from '../fixtures/kv-load.ts'
import type {
  KvServerOptions,
  KvServerQuestion,
  KvServerState,
  KvServerStatus,
} from '../fixtures/kv-server.ts'
import { SeededNumbers } from './concurrent-history.ts'
import { KvProcess, SmallDisk, whyNoSmallDisk } from './kv-process.ts'
import { eventually, freePorts, scratch } from './member-process.ts'
import { HostNetwork, whyNoNamespaces } from './network-namespace.ts'

export type ServerProcess = KvProcess<KvServerQuestion>
export type LoadProcess = KvProcess<KvLoadQuestion>

export const serverNames = ['a', 'b', 'c', 'd', 'e'] as const
export const loadNames = ['x', 'y'] as const
const hosts = [...serverNames, ...loadNames]

/** The server whose disk is small, where there can be one. */
export const smallDiskServer = 'e'
/** Ports of hosts of their own. */
const port = 7_000
/** A role of those that have a say in who stays when the network falls apart. */
const role = 'server'

export interface FleetOptions {
  readonly seed: number
  /** In each of the two processes. */
  readonly workers: number
  readonly restMs: number
}

export class KvFleet {
  readonly random: SeededNumbers
  /** `undefined`: all are on one loopback, and there are no cuts. */
  readonly network: HostNetwork | undefined
  /** Why there is none. */
  readonly whyNoCuts: string | undefined
  disk: SmallDisk | undefined
  whyNoFullDisk: string | undefined
  readonly servers = new Map<string, ServerProcess>()
  readonly loads: LoadProcess[] = []
  /** Ends of processes that nobody wanted. */
  readonly unwanted: string[] = []
  readonly #options: FleetOptions
  readonly #file: (file: string) => string
  readonly #addresses = new Map<string, string>()
  readonly #wanted = new WeakSet<ServerProcess>()
  readonly #all: KvProcess<never>[] = []

  private constructor(t: Test, options: FleetOptions) {
    this.#options = options
    this.random = new SeededNumbers(options.seed)
    this.#file = scratch(t)
    this.whyNoCuts = whyNoNamespaces()
    this.whyNoFullDisk = whyNoSmallDisk()
    if (this.whyNoCuts === undefined) this.network = new HostNetwork(t, hosts)
    // Behind `scratch`, so before it: what is killed writes no more.
    t.teardown(async () => {
      for (const one of this.#all) one.kill('SIGKILL')
      await Promise.all(this.#all.map(({ ended }) => ended))
    })
  }

  /** Resolves when the group has a leader and both loads can work. */
  static async start(t: Test, options: FleetOptions): Promise<KvFleet> {
    const fleet = new KvFleet(t, options)
    const { network } = fleet
    const ports = network === undefined ? await freePorts(hosts.length) : hosts.map(() => port)
    for (const [i, host] of hosts.entries()) {
      fleet.#addresses.set(host, `ws://${network?.address(host) ?? '127.0.0.1'}:${ports[i] ?? port}`)
    }
    if (fleet.whyNoFullDisk === undefined) {
      fleet.disk = await SmallDisk.mount(t, fleet.#file(`data-${smallDiskServer}`), 160)
    }
    for (const name of serverNames) fleet.startServer(name)
    for (const [i, name] of loadNames.entries()) fleet.#startLoad(name, i + 1)
    await Promise.all([...fleet.servers.values(), ...fleet.loads].map(({ ready }) => ready))
    await fleet.settled(1, 90_000)
    return fleet
  }

  logOf(name: string): string {
    return this.#file(`${name}.log`)
  }

  server(name: string): ServerProcess {
    const found = this.servers.get(name)
    if (found === undefined) throw new RangeError(`There is no server "${name}"`)
    return found
  }

  // ---- Processes -----------------------------------------------------------------------------------------------

  /** Starts its process, in the place of the one before, which has ended. */
  startServer(name: string): ServerProcess {
    const options: KvServerOptions = {
      node: { ...this.#node(name), data: `${this.#file(`data-${name}`)}/node`, roles: [role] },
      members: serverNames,
      snapshotEntries: 1_500,
      keptEntries: 300,
      historyMax: 20_000,
    }
    const onDisk = name === smallDiskServer ? (this.disk?.command ?? []) : []
    mkdirSync(this.#file(`data-${name}`), { recursive: true })
    const command = [...onDisk, ...(this.network?.command(name) ?? [])]
    const server: ServerProcess = new KvProcess(name, 'kv-server', options, command, this.logOf(name))
    this.servers.set(name, server)
    this.#all.push(server as KvProcess<never>)
    void server.ended.then((end) => {
      if (!this.#wanted.has(server)) this.unwanted.push(`"${name}" ended by itself: ${end}`)
    })
    return server
  }

  /** Ends a process, and resolves when it is over. */
  async end(name: string, signal: 'SIGKILL' | 'SIGTERM'): Promise<void> {
    const server = this.server(name)
    this.#wanted.add(server)
    server.kill(signal)
    await server.ended
  }

  /** Its end from now on is nobody's fault. */
  excuse(name: string): void {
    this.#wanted.add(this.server(name))
  }

  /** Starts those again that have ended, as whoever runs them would. */
  async revive(): Promise<void> {
    const ended = serverNames.filter((name) => this.server(name).hasEnded)
    await Promise.all(ended.map((name) => this.startServer(name).ready.catch(() => undefined)))
  }

  /** Deletes what a server has on its disk. It may be running. */
  wipe(name: string): void {
    const place = name === smallDiskServer ? this.disk?.path('node') : undefined
    rmSync(place ?? `${this.#file(`data-${name}`)}/node`, { recursive: true, force: true, maxRetries: 10 })
  }

  #startLoad(name: string, number: number): void {
    const { seed, workers, restMs } = this.#options
    const options: KvLoadOptions = {
      node: this.#node(name),
      servers: serverNames,
      seed,
      number,
      clients: 2,
      workers,
      restMs,
    }
    const command = this.network?.command(name) ?? []
    const load: LoadProcess = new KvProcess(name, 'kv-load', options, command, this.logOf(name))
    this.loads.push(load)
    this.#all.push(load as KvProcess<never>)
  }

  #node(
    name: string,
  ): Pick<KvServerOptions['node'], 'name' | 'listen' | 'seeds' | 'secret' | 'expect' | 'downing'> {
    return {
      name,
      listen: this.#addresses.get(name) ?? '',
      seeds: serverNames.map((server) => this.#addresses.get(server) ?? ''),
      secret: 'only for these seven hosts',
      expect: 3,
      downing: { strategy: 'keep-majority', role },
    }
  }

  // ---- The group -----------------------------------------------------------------------------------------------

  status(name: string, withinMs?: number): Promise<KvServerStatus> {
    return this.server(name).ask<KvServerStatus>({ type: 'status' }, withinMs)
  }

  /** Name of the newest leader that answers; `undefined` when none does. */
  async leader(): Promise<string | undefined> {
    const found = await this.#statuses(2_000)
    let leader: { readonly name: string; readonly term: number } | undefined
    for (const [name, status] of found) {
      if (status?.role === 'leader' && status.term > (leader?.term ?? -1))
        leader = { name, term: status.term }
    }
    return leader?.name
  }

  /** A leader, or any other server where there is none now. */
  async leaderOrAny(): Promise<string> {
    return (await this.leader()) ?? this.random.pick(serverNames)
  }

  /** Resolves when every member is a voter, knows one leader and has everything, and all states are the same to the letter. */
  async settled(from: number, withinMs: number): Promise<KvServerState> {
    let settled: KvServerState | undefined
    await eventually('all servers agree', withinMs, async () => {
      await this.revive()
      const statuses = await this.#statuses(10_000)
      const voters = serverNames.map((name) => `${name}:voter`).join()
      const [, first] = statuses[0] ?? []
      const isQuiet = statuses.every(
        ([, status]) =>
          status !== undefined &&
          first !== undefined &&
          status.leader !== '' &&
          status.leader === first.leader &&
          status.applied === first.applied &&
          status.commit === status.applied &&
          status.members.join() === voters,
      )
      if (!isQuiet) return this.picture(statuses)
      const states = await Promise.all(
        serverNames.map((name, i) =>
          this.server(name).ask<KvServerState>({ type: 'state', from, isLogWanted: i === 0 }),
        ),
      ).catch((error: Error) => error.message)
      if (typeof states === 'string') return states
      settled = states[0]
      const isSame = states.every(
        ({ hash, applied }) => hash === settled?.hash && applied === settled.applied,
      )
      if (isSame) return true
      return states
        .map(({ applied, revision, hash }) => `${applied} ${revision} ${hash.slice(0, 12)}`)
        .join('; ')
    })
    return settled as KvServerState
  }

  /** Resolves when both loads can write and read. */
  async serving(phase: number, withinMs: number): Promise<void> {
    await eventually('both loads are served', withinMs, async () => {
      await this.revive()
      const answers = await Promise.all(
        this.loads.map((load) =>
          load.ask<true>({ type: 'serve', phase }, 10_000).catch((error: Error) => error.message),
        ),
      )
      const refused = answers.filter((answer) => answer !== true)
      return refused.length === 0 || `${refused.join('; ')}\n${this.picture(await this.#statuses(3_000))}`
    })
  }

  picture(statuses: readonly (readonly [string, KvServerStatus | undefined])[]): string {
    return statuses
      .map(([name, status]) => {
        if (status === undefined) return `\n  ${name}: no answer`
        const { role: own, leader, term, commit, applied, members, hostRestarts, more } = status
        return (
          `\n  ${name}: ${own}, leader ${leader}, term ${term}, commit ${commit}, applied ${applied}, ` +
          `[${members.join(' ')}], ${hostRestarts} restarts, ${more}`
        )
      })
      .join('')
  }

  async #statuses(withinMs: number): Promise<readonly (readonly [string, KvServerStatus | undefined])[]> {
    return Promise.all(
      serverNames.map(
        async (name) => [name, await this.status(name, withinMs).catch(() => undefined)] as const,
      ),
    )
  }
}
