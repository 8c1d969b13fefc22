/** Raft groups of registers on a simulated cluster, in all lives of its nodes, and what must come true once it has healed. */
import type { World } from '@understudy/cluster/simulation'
import { bedTags, ConsensusBed, type BedLife } from './consensus-bed.ts'
import { openObservedRaftGroup, type RaftGroup, type RaftGroupOptions } from './protocols.ts'
import { clientTags, RegisterClients, type OpenedGroup } from './register-clients.ts'
import { RegisterMachine, type RegisterResult } from './register-machine.ts'

export const groupTags: readonly string[] = [...bedTags, ...clientTags]

type GroupOptions = Partial<Omit<RaftGroupOptions<RegisterResult>, 'name' | 'machine'>>

export interface RegisterGroupsOptions extends GroupOptions {
  readonly members: readonly string[]
  readonly names: readonly string[]
  readonly tags: readonly string[]
  /** Nodes without consensus. @default none */
  readonly without?: readonly string[] | undefined
  /** @default 128 */
  readonly chunkBytes?: number | undefined
  /** See `BedOptions`. */
  readonly harmedMax?: number | undefined
  /** Groups are opened when this has resolved. @default at once */
  readonly begin?: Promise<void> | undefined
}

/** What the life of one node has of a group. */
interface Opened extends OpenedGroup {
  readonly life: BedLife
}

export class RegisterGroups {
  readonly bed: ConsensusBed
  readonly #world: World
  readonly #options: RegisterGroupsOptions
  readonly #opened = new Map<string, Opened>()

  constructor(world: World, options: RegisterGroupsOptions) {
    this.#world = world
    this.#options = options
    this.bed = new ConsensusBed(world, {
      groups: options.names,
      tags: options.tags,
      without: options.without,
      harmedMax: options.harmedMax,
      open: async (life) => {
        await Promise.all(options.names.map((name) => this.#open(life, name)))
      },
    })
  }

  /** The group on that node, when it is open there now. */
  on(node: string, name = this.#options.names[0] ?? ''): OpenedGroup | undefined {
    const opened = this.#opened.get(`${name} ${node}`)
    return opened?.life.process.isAlive === true ? opened : undefined
  }

  clients(options: {
    readonly keys: number
    readonly leaseReads?: boolean | undefined
    readonly timeoutMs: number
    readonly name?: string | undefined
  }): RegisterClients {
    return new RegisterClients({
      world: this.#world,
      met: (tag) => this.bed.met(tag),
      on: (node) => this.on(node, options.name),
      keys: options.keys,
      leaseReads: options.leaseReads === true,
      timeoutMs: options.timeoutMs,
    })
  }

  /** The node that leads, as it says itself; of several the one of the highest term. */
  leader(name?: string): string | undefined {
    let leader: string | undefined
    let term = -1
    for (const { name: node } of this.#world.nodes) {
      const status = this.on(node, name)?.group.status()
      if (status?.role !== 'leader' || status.term <= term) continue
      leader = node
      term = status.term
    }
    return leader
  }

  group(node: string, name?: string): RaftGroup<RegisterResult> | undefined {
    return this.on(node, name)?.group
  }

  /** Nodes that are voters by the leader's configuration. */
  voters(name?: string): readonly string[] {
    const leader = this.leader(name)
    const members = leader === undefined ? [] : (this.group(leader, name)?.members() ?? [])
    return members.filter(({ role }) => role === 'voter').map(({ node }) => node)
  }

  /** Everybody in the configuration leads or follows one leader, has all of the log, and the same state. */
  isSettled(name?: string): boolean {
    const leader = this.leader(name)
    const status = leader === undefined ? undefined : this.group(leader, name)?.status()
    if (status === undefined || status.members.some(({ role }) => role === 'leaving')) return false
    const last = this.group(leader ?? '', name)?.raftStatus()?.last.index
    if (status.applied !== last) return false
    return status.members.every(({ node }) => {
      const other = this.group(node, name)?.status()
      return other !== undefined && other.leader === leader && other.applied === status.applied
    })
  }

  /** Why it is not settled, for people. */
  picture(name?: string): string {
    return this.#world.nodes
      .map(({ name: node, isUp }) => {
        const group = this.group(node, name)
        const raft = group?.raftStatus()
        const { role, leader, term, commit, applied, members = [] } = group?.status() ?? {}
        const known = members
          .map((member) => `${member.node}@${member.store.slice(0, 4)}:${member.role}`)
          .join(' ')
        return (
          `${raft?.self ?? node}: ${isUp ? 'up' : 'down'}, ${role ?? 'no group'}, leader ${leader}, term ${term}, commit ${commit}, ` +
          `applied ${applied}, last ${raft?.last.index}${raft?.isRecovering === true ? ', recovering' : ''}` +
          `${raft?.isQuiet === true ? ', quiet' : ''} [${known}]` +
          (raft?.progress ?? [])
            .map(
              ({ member, state, match, next, inflight }) =>
                ` ${member}: ${state} ${match}/${next}, ${inflight} on their way`,
            )
            .join(';')
        )
      })
      .join('\n')
  }

  /** Demands that the group settles in time, with one state on all of its members. Gives that state. */
  async settle(withinMs: number, name?: string): Promise<RegisterMachine> {
    const world = this.#world
    const untilMs = world.now() + withinMs
    this.bed.restartZombies()
    while (!this.isSettled(name)) {
      world.check(
        'settles-after-heal',
        world.now() < untilMs,
        `Group "${name ?? this.#options.names[0]}" has not settled within ${withinMs} ms:\n${this.picture(name)}`,
      )
      await world.sleep(50)
    }
    const leader = this.leader(name) ?? ''
    const state = this.on(leader, name)?.machine()
    world.check('a-leader-has-a-state', state !== undefined, `"${leader}" has none`)
    for (const { node } of this.group(leader, name)?.members() ?? []) {
      const other = this.on(node, name)?.machine()
      world.check(
        'states-are-equal',
        other?.text() === state?.text(),
        `"${node}" has ${other?.text()}, "${leader}" ${state?.text()}`,
      )
    }
    return state as RegisterMachine
  }

  async #open(life: BedLife, name: string): Promise<void> {
    const world = this.#world
    let machine: RegisterMachine | undefined
    const {
      names: _names,
      tags: _tags,
      without: _without,
      harmedMax: _max,
      begin,
      chunkBytes,
      ...options
    } = this.#options
    await begin
    const group = await openObservedRaftGroup<RegisterResult>(
      life.consensus,
      {
        ...options,
        name,
        machine: () => {
          machine = new RegisterMachine((n) => {
            world.simulation.fail('applied-once', `command ${n} is applied a second time on "${life.name}"`)
          }, chunkBytes)
          return machine
        },
      },
      life.observer(name),
    )
    this.#opened.set(`${name} ${life.name}`, { life, group, machine: () => machine as RegisterMachine })
    group.onStatus(({ role }) => {
      if (role === 'closed') this.#closed(life, name)
    })
  }

  /** The group ended here: at a shutdown of its node, or because a later life of the host could not open it. */
  #closed(life: BedLife, name: string): void {
    const world = this.#world
    const place = world.node(life.name)
    // A node that shuts down does so within that time.
    world.simulation.at(world.now() + 30_000, life.process, 'closed', () => {
      if (!place.isUp || place.process !== life.process) return
      const log = life.process.logged.filter(({ level }) => level === 'error' || level === 'fatal').at(-1)
      this.bed.ended(
        place,
        life.process,
        log?.fields['err'] ?? new Error(`group "${name}" is closed: ${log?.message}`),
      )
    })
  }
}
