/**
 * A service on a consensus group on some nodes of a simulated cluster, and its clients on all of them, in all of their lives: what
 * happens to it, how its calls end, and what must come true once everything has healed.
 */
import type { ClusterNode } from '@understudy/cluster'
import type { SimulatedNode, World } from '@understudy/cluster/simulation'
import type { ConsensusGroup, OpenServiceOptions } from '@understudy/protocols'
import { isActorError } from '@understudy/runtime'
import { ProcessKilled, type SimulatedProcess } from '@understudy/runtime/simulation'
import { bedTags, ConsensusBed, type BedLife } from './raft/consensus-bed.ts'
import { drawnPreset } from './raft/drawn-preset.ts'
import { raftChances, raftFaults } from './raft/faults.ts'
import { openObservedRaftGroup, type RaftGroup, type RaftGroupOptions } from './raft/protocols.ts'

export const serviceTags: readonly string[] = [
  ...bedTags.filter(
    (tag) =>
      ![
        'joint-left-by-another',
        'went-quiet',
        'woken',
        'refused-term',
        'snapshot-resumed',
        'open-retried',
      ].includes(tag),
  ),
  ...['unavailable', 'from-a-member', 'from-elsewhere', 'client-killed'],
]

/** What befalls a scenario of a service: beside the world's own faults what is done to disks. */
export const serviceFaults: readonly string[] = [...raftFaults, 'store-flip', 'store-wipe']

/** How a scenario of a service is run. */
export const serviceRun = {
  faults: { only: raftFaults, chances: raftChances },
  virtualMsMax: 2_400_000,
} as const

type GroupOptions = Partial<Omit<RaftGroupOptions<unknown>, 'name' | 'machine' | 'members'>>

export interface ServiceBedOptions {
  /** Nodes that have the service. */
  readonly members: readonly string[]
  readonly tags: readonly string[]
  readonly group?: GroupOptions | undefined
}

/** A group whose snapshots are rare or frequent, and keep many entries or few: what a scenario mostly takes. */
export function drawnGroup(world: World, raft: GroupOptions['raft'] = {}): GroupOptions {
  return {
    raft: { preset: drawnPreset(world, ['lan', 'local']), ...raft },
    snapshotEntries: [100_000, 20, 7][world.choose(3, 'swarm/snapshot')] ?? 20,
    keptEntries: [5_000, 3, 0][world.choose(3, 'swarm/kept')] ?? 0,
  }
}

/** How a call ended. `refused`: surely nothing was done. */
export type Attempt<T> =
  | { readonly type: 'done'; readonly value: T }
  | { readonly type: 'refused' | 'unknown'; readonly code: string; readonly error: unknown }

interface Opened<M> {
  readonly life: BedLife
  readonly service: { readonly machine: () => M }
  readonly group: RaftGroup<unknown>
}

/** `R` is what commands result in, `M` the state of a member, `C` the client. */
export abstract class ServiceBed<R, M, C> {
  readonly bed: ConsensusBed
  readonly world: World
  protected readonly members: readonly string[]
  readonly #name: string
  readonly #group: GroupOptions | undefined
  readonly #opened = new Map<string, Opened<M>>()
  readonly #clients = new Map<ClusterNode, C>()

  /** `name`: of the service, which is its group's. */
  constructor(world: World, name: string, options: ServiceBedOptions) {
    const { members } = options
    this.world = world
    this.members = members
    this.#name = name
    this.#group = options.group
    this.bed = new ConsensusBed(world, {
      groups: [name],
      tags: options.tags,
      harmedMax: 1,
      without: world.nodes.map((node) => node.name).filter((node) => !members.includes(node)),
      open: (life) => this.#open(life),
    })
  }

  // ---- What a service is ---------------------------------------------------------------------------------------

  protected abstract openService(
    life: BedLife,
    openGroup: OpenServiceOptions<R>['openGroup'],
  ): Promise<{ readonly machine: () => M }>

  protected abstract newClient(
    node: ClusterNode,
    options: { readonly servers: readonly string[]; readonly timeoutMs: number; readonly attemptMs: number },
  ): C

  /** What a code of its own says of a call; `undefined`: no call may end so. */
  protected abstract outcomeOf(code: string): 'refused' | 'unknown' | undefined

  /** All that must be the same on each member in the end. */
  protected abstract contentOf(machine: M): string

  /** How many things may be done to servers, and the one with that number: from 4 on, or 0. */
  protected abstract readonly chaosKinds: number
  protected abstract harmLeader(
    which: number,
    leader: SimulatedNode,
    other: SimulatedNode,
  ): Promise<void> | void

  /** How often `settle` looks whether all is well. */
  protected readonly lookEveryMs: number = 50

  /** Runs a call on a node. */
  protected run<T>(_life: SimulatedProcess, act: () => Promise<T>): Promise<T> {
    return act()
  }

  // ---- Clients and members -------------------------------------------------------------------------------------

  met(tag: string): void {
    this.bed.met(tag)
  }

  /** The client of the node's present life: made at its first use. */
  client(place: SimulatedNode): C | undefined {
    if (!place.isUp) return undefined
    let client = this.#clients.get(place.node)
    if (client === undefined) {
      client = this.newClient(place.node, { servers: this.members, timeoutMs: 8_000, attemptMs: 1_500 })
      this.#clients.set(place.node, client)
    }
    this.met(this.members.includes(place.name) ? 'from-a-member' : 'from-elsewhere')
    return client
  }

  /** Clients of lives that still run. */
  clients(): readonly (readonly [SimulatedNode, C])[] {
    const found: (readonly [SimulatedNode, C])[] = []
    for (const place of this.world.up()) {
      const client = this.#clients.get(place.node)
      if (client !== undefined) found.push([place, client])
    }
    return found
  }

  /** Runs `act` on that node. Whatever ends with something else than a code that is foreseen breaks a rule. */
  async attempt<T>(
    place: SimulatedNode,
    act: (client: C, life: SimulatedProcess) => Promise<T>,
    withinMs = 180_000,
  ): Promise<Attempt<T>> {
    const client = this.client(place)
    const { process: life } = place
    if (client === undefined || life === undefined) return { type: 'refused', code: 'down', error: undefined }
    try {
      const call = (): Promise<T> => this.run(life, () => act(client, life))
      return { type: 'done', value: await this.world.attempt(place, call, withinMs) }
    } catch (error) {
      return this.#failed(place, error)
    }
  }

  machine(node: string): M | undefined {
    return this.#on(node)?.service.machine()
  }

  group(node: string): RaftGroup<unknown> | undefined {
    return this.#on(node)?.group
  }

  leader(): string | undefined {
    let leader: string | undefined
    let term = -1
    for (const node of this.members) {
      const status = this.group(node)?.status()
      if (status?.role !== 'leader' || status.term <= term) continue
      leader = node
      term = status.term
    }
    return leader
  }

  /** Runs `course` while servers are harmed; then all heals. */
  async underChaos(course: (isOver: () => boolean) => Promise<unknown>): Promise<void> {
    let isOver = false
    const chaos = this.#chaos(() => isOver)
    await course(() => isOver)
    isOver = true
    await chaos
    this.heal()
  }

  protected handOver(leader: SimulatedNode, to: SimulatedNode): void {
    this.group(leader.name)?.transfer(to.name, { timeoutMs: 5_000 }).catch(ignore)
  }

  protected killLeader(leader: SimulatedNode): void {
    leader.kill()
    this.bed.restartLater(leader)
  }

  // ---- The end -------------------------------------------------------------------------------------------------

  /** No more faults: whatever still stands still goes on, whatever is down starts. */
  heal(): void {
    const { world } = this
    world.heal()
    for (const { process: life } of world.nodes) {
      life?.killAtEffect(Number.POSITIVE_INFINITY)
      life?.cancelStall()
    }
    this.bed.restartZombies()
  }

  /** Behind `heal`: in time one member leads, all have everything, and their states are the same. */
  async settle(withinMs: number): Promise<void> {
    const { world } = this
    const untilMs = world.now() + withinMs
    while (!this.#isSettled()) {
      const isInTime = world.now() < untilMs
      world.check('settles-after-heal', isInTime, `Not within ${withinMs} ms:\n${this.picture()}`)
      await world.sleep(this.lookEveryMs)
    }
    this.#expectEqualStates()
  }

  #expectEqualStates(): void {
    const [first = 'a', ...others] = this.members
    const wanted = this.#contentOn(first)
    for (const other of others) {
      const found = this.#contentOn(other)
      const text = `The state of "${other}" is ${found}\nand that of "${first}" ${wanted}`
      this.world.check('states-are-equal', found === wanted, text)
    }
  }

  picture(): string {
    return this.members
      .map((node) => {
        const { role, leader, term, commit, applied, members = [] } = this.group(node)?.status() ?? {}
        const known = members
          .map((member) => `${member.node}@${member.store.slice(0, 4)}:${member.role}`)
          .join(' ')
        const raft = this.group(node)?.raftStatus()
        const progress = (raft?.progress ?? []).map(
          ({ member, state, match, next }) => ` ${member}: ${state} ${match}/${next}`,
        )
        return (
          `${raft?.self ?? node}: ${role ?? 'no group'}, leader ${leader}, term ${term}, commit ${commit}, ` +
          `applied ${applied}, last ${raft?.last.index}${raft?.isQuiet === true ? ', quiet' : ''} [${known}]${progress.join(';')}`
        )
      })
      .join('\n')
  }

  #isSettled(): boolean {
    const leader = this.leader()
    const status = leader === undefined ? undefined : this.group(leader)?.status()
    if (status === undefined || status.members.length !== this.members.length) return false
    if (status.applied !== this.group(leader ?? '')?.raftStatus()?.last.index) return false
    return this.members.every((node) => {
      const other = this.group(node)?.status()
      return other !== undefined && other.leader === leader && other.applied === status.applied
    })
  }

  #contentOn(node: string): string {
    const machine = this.machine(node)
    return machine === undefined ? 'not there' : this.contentOf(machine)
  }

  // ---- Inside --------------------------------------------------------------------------------------------------

  /** What happens to servers besides the faults: disks are damaged and lost, leaders die, hand over, or what the service has. */
  async #chaos(isOver: () => boolean): Promise<void> {
    const { world, bed, members } = this
    while (!isOver()) {
      await world.sleep(500 + world.choose(8, 'chaos/pause') * 700)
      const place = world.node(members[world.choose(members.length, 'chaos/node')] ?? 'a')
      const leader = this.leader()
      if (isOver() || !place.isUp) continue
      const which = world.choose(this.chaosKinds, 'chaos')
      if (which === 1) bed.flip(place)
      else if (which === 2) bed.wipe(place)
      else if (which === 3) this.group(place.name)?.snapshot({ timeoutMs: 5_000 }).catch(ignore)
      else if (leader !== undefined) await this.harmLeader(which, world.node(leader), place)
    }
  }

  #on(node: string): Opened<M> | undefined {
    const opened = this.#opened.get(node)
    return opened?.life.process.isAlive === true ? opened : undefined
  }

  /** What an error says. */
  #failed(place: SimulatedNode, error: unknown): Exclude<Attempt<never>, { readonly type: 'done' }> {
    if (error instanceof ProcessKilled) {
      this.met('client-killed')
      return { type: 'unknown', code: 'killed', error }
    }
    const code = isActorError(error) ? error.code : ''
    if (code.endsWith('_UNAVAILABLE')) this.met('unavailable')
    if (code === 'PROTOCOLS_OUTCOME_UNKNOWN') this.met('unknown')
    const type = unknowns.has(code) ? 'unknown' : this.outcomeOf(code)
    if (type !== undefined) return { type, code, error }
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error)
    const what = `a call of the client on "${place.name}" ended with ${code} ${text}`
    this.world.simulation.fail('typed-outcome', what)
    return { type: 'unknown', code, error }
  }

  async #open(life: BedLife): Promise<void> {
    const { members } = this
    let group: RaftGroup<unknown> | undefined
    const openGroup: OpenServiceOptions<R>['openGroup'] = async ({ name, machine }) => {
      const options = { ...this.#group, name, members, machine }
      const opened = await openObservedRaftGroup(life.consensus, options, life.observer(this.#name))
      group = opened as RaftGroup<unknown>
      return opened satisfies ConsensusGroup<R>
    }
    const service = await this.openService(life, openGroup)
    this.#opened.set(life.name, { life, service, group: group as RaftGroup<unknown> })
    group?.onStatus(({ role }) => {
      if (role === 'closed') this.#closed(life)
    })
  }

  #closed(life: BedLife): void {
    const { world } = this
    const place = world.node(life.name)
    // A node that shuts down does so within that time.
    world.simulation.at(world.now() + 30_000, life.process, 'closed', () => {
      if (!place.isUp || place.process !== life.process) return
      const log = life.process.logged.filter(({ level }) => level === 'error' || level === 'fatal').at(-1)
      const why = log?.fields['err'] ?? new Error(`"${this.#name}" is closed: ${log?.message}`)
      this.bed.ended(place, life.process, why)
    })
  }
}

/** Of a command nobody knows whether it was done; or the node of the client is on its way down. */
const unknowns: ReadonlySet<string> = new Set([
  'PROTOCOLS_OUTCOME_UNKNOWN',
  'RUNTIME_STOPPED',
  'RUNTIME_SHUTTING_DOWN',
])

function ignore(): void {
  // What becomes of it the members' own states tell.
}
