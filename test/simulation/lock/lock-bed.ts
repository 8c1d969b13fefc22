/**
 * Locks on some nodes of a simulated cluster and clients on all of them, in all of their lives; what was really granted; and
 * what must come true once everything has healed.
 */
import type { ClusterNode } from '@understudy/cluster'
import type { SimulatedNode, World } from '@understudy/cluster/simulation'
import {
  lockClient,
  openLocks,
  type LockClient,
  type LockClientOptions,
  type Locks,
  type LockServiceOptions,
} from '@understudy/protocols'
import { isActorError } from '@understudy/runtime'
import { ProcessKilled, type SimulatedProcess } from '@understudy/runtime/simulation'
import { bedTags, ConsensusBed, type BedLife } from '../raft/consensus-bed.ts'
import { openObservedRaftGroup, type RaftGroup, type RaftGroupOptions } from '../raft/protocols.ts'
import { LockTruth } from './lock-truth.ts'
import type { LockMachine } from './table.ts'

export const lockTags: readonly string[] = [
  ...bedTags.filter(
    (tag) =>
      ![
        'joint-left-by-another',
        'went-quiet',
        'woken',
        'refused-term',
        'snapshot-resumed',
        'open-retried',
        'session-expired',
      ].includes(tag),
  ),
  ...['unavailable', 'from-a-member', 'from-elsewhere', 'client-killed', 'expired', 'waited'],
]

export interface LockBedOptions {
  /** Nodes that have the locks. */
  readonly members: readonly string[]
  readonly tags: readonly string[]
  readonly group?: Partial<Omit<RaftGroupOptions<unknown>, 'name' | 'machine' | 'members'>> | undefined
  readonly service?: LockServiceOptions | undefined
  readonly client?: Partial<LockClientOptions> | undefined
}

interface OpenedLocks {
  readonly life: BedLife
  readonly locks: Locks
  readonly group: RaftGroup<unknown>
}

/** How a call ended. `refused`: surely nothing was done. */
export type Attempt<T> =
  | { readonly type: 'done'; readonly value: T }
  | { readonly type: 'refused' | 'unknown'; readonly code: string; readonly error: unknown }

export class LockBed {
  readonly bed: ConsensusBed
  readonly world: World
  readonly truth: LockTruth
  readonly #options: LockBedOptions
  readonly #opened = new Map<string, OpenedLocks>()
  readonly #clients = new Map<ClusterNode, LockClient>()

  constructor(world: World, options: LockBedOptions) {
    this.world = world
    this.#options = options
    this.bed = new ConsensusBed(world, {
      groups: ['locks'],
      tags: options.tags,
      harmedMax: 1,
      without: world.nodes.map(({ name }) => name).filter((name) => !options.members.includes(name)),
      open: (life) => this.#open(life),
    })
    this.truth = new LockTruth(world.simulation, (tag) => this.met(tag))
  }

  met(tag: string): void {
    this.bed.met(tag)
  }

  /** The client of the node's present life: made at its first use. */
  client(place: SimulatedNode): LockClient | undefined {
    if (!place.isUp) return undefined
    let client = this.#clients.get(place.node)
    if (client === undefined) {
      const options = {
        servers: this.#options.members,
        timeoutMs: 8_000,
        attemptMs: 1_500,
        ...this.#options.client,
      }
      client = lockClient(place.node, options)
      this.#clients.set(place.node, client)
    }
    this.met(this.#options.members.includes(place.name) ? 'from-a-member' : 'from-elsewhere')
    return client
  }

  /** Clients of lives that still run. */
  clients(): readonly (readonly [SimulatedNode, LockClient])[] {
    const found: (readonly [SimulatedNode, LockClient])[] = []
    for (const place of this.world.up()) {
      const client = this.#clients.get(place.node)
      if (client !== undefined) found.push([place, client])
    }
    return found
  }

  /**
   * Runs `act` within the process of that node: it stands still while that does. Whatever ends with something else than a
   * code that is foreseen breaks a rule.
   */
  async attempt<T>(
    place: SimulatedNode,
    act: (client: LockClient, life: SimulatedProcess) => Promise<T>,
    withinMs = 180_000,
  ): Promise<Attempt<T>> {
    const client = this.client(place)
    const { process: life } = place
    if (client === undefined || life === undefined) return { type: 'refused', code: 'down', error: undefined }
    try {
      const value = await this.world.attempt(
        place,
        () => within(this.world, life, () => act(client, life)),
        withinMs,
      )
      return { type: 'done', value }
    } catch (error) {
      return this.failed(place, error)
    }
  }

  /** What an error says. */
  failed(place: SimulatedNode, error: unknown): Exclude<Attempt<never>, { readonly type: 'done' }> {
    if (error instanceof ProcessKilled) {
      this.met('client-killed')
      return { type: 'unknown', code: 'killed', error }
    }
    const code = isActorError(error) ? error.code : ''
    if (code === 'LOCK_UNAVAILABLE') {
      this.met('unavailable')
      return { type: 'refused', code, error }
    }
    if (refusals.has(code)) return { type: 'refused', code, error }
    if (unknowns.has(code)) return { type: 'unknown', code, error }
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error)
    this.world.simulation.fail(
      'typed-outcome',
      `a call of the client on "${place.name}" ended with ${code} ${text}`,
    )
    return { type: 'unknown', code, error }
  }

  machine(node: string): LockMachine | undefined {
    return this.#on(node)?.locks.machine()
  }

  group(node: string): RaftGroup<unknown> | undefined {
    return this.#on(node)?.group
  }

  leader(): string | undefined {
    let leader: string | undefined
    let term = -1
    for (const node of this.#options.members) {
      const status = this.group(node)?.status()
      if (status?.role !== 'leader' || status.term <= term) continue
      leader = node
      term = status.term
    }
    return leader
  }

  /** What happens to servers besides the faults: leaders die, stand still or hand over, disks are damaged and lost. */
  async chaos(isOver: () => boolean): Promise<void> {
    const { world, bed } = this
    while (!isOver()) {
      await world.sleep(500 + world.choose(8, 'chaos/pause') * 700)
      const { members } = this.#options
      const place = world.node(members[world.choose(members.length, 'chaos/node')] ?? 'a')
      const leader = this.leader()
      if (isOver() || !place.isUp) continue
      const which = world.choose(14, 'chaos')
      if (which === 1) bed.flip(place)
      else if (which === 2) bed.wipe(place)
      else if (which === 3) this.group(place.name)?.snapshot({ timeoutMs: 5_000 }).catch(ignore)
      else if (which < 6 && leader !== undefined)
        this.group(leader)?.transfer(place.name, { timeoutMs: 5_000 }).catch(ignore)
      else if (which < 8 && leader !== undefined) {
        world.node(leader).kill()
        bed.restartLater(world.node(leader))
      } else if (which < 9 && leader !== undefined) {
        world.node(leader).pause([1_500, 5_000][world.choose(2, 'chaos/long')] ?? 1_500)
      }
    }
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

  /** In time one member leads, all have everything, and their states are the same. */
  async settle(withinMs: number): Promise<void> {
    const { world } = this
    const untilMs = world.now() + withinMs
    while (!this.#isSettled()) {
      world.check(
        'settles-after-heal',
        world.now() < untilMs,
        `Not within ${withinMs} ms:\n${this.picture()}`,
      )
      await world.sleep(20)
    }
    const [first = 'a', ...others] = this.#options.members
    const wanted = this.#contentOf(first)
    for (const other of others) {
      const found = this.#contentOf(other)
      world.check('states-are-equal', found === wanted, `"${other}" has ${found}\nand "${first}" ${wanted}`)
    }
  }

  /** Nobody wants anything any more, and so nothing is left: no hold, no waiter, and in time no session. */
  async clear(withinMs: number): Promise<void> {
    const { world } = this
    for (const [place, client] of this.clients()) await world.attempt(place, () => client.close(), 60_000)
    const untilMs = world.now() + withinMs
    for (;;) {
      const left = this.#options.members.flatMap((node) => this.#leftOn(node))
      if (left.length === 0) return
      world.check('nothing-is-left', world.now() < untilMs, left.join('; '))
      await world.sleep(100)
    }
  }

  picture(): string {
    return this.#options.members
      .map((node) => {
        const { role, leader, term, commit, applied } = this.group(node)?.status() ?? {}
        return `${node}: ${role ?? 'no group'}, leader ${leader}, term ${term}, commit ${commit}, applied ${applied}`
      })
      .join('\n')
  }

  #leftOn(node: string): readonly string[] {
    const machine = this.machine(node)
    if (machine === undefined) return [`nothing is open on "${node}"`]
    const left = machine
      .list('', 1_000)
      .filter(({ holders, waiting }) => holders.length > 0 || waiting > 0)
      .map(
        ({ name, holders, waiting }) =>
          `"${name}" on "${node}" has ${holders.length} holders, and ${waiting} wait`,
      )
    const { sessions } = machine.status()
    return sessions === 0 ? left : [...left, `"${node}" has ${sessions} sessions`]
  }

  #isSettled(): boolean {
    const leader = this.leader()
    const status = leader === undefined ? undefined : this.group(leader)?.status()
    if (status === undefined || status.members.length !== this.#options.members.length) return false
    if (status.applied !== this.group(leader ?? '')?.raftStatus()?.last.index) return false
    return this.#options.members.every((node) => {
      const other = this.group(node)?.status()
      return other !== undefined && other.leader === leader && other.applied === status.applied
    })
  }

  /** A restored table may have its names in another order, which nothing depends on: as they are listed, they are sorted. */
  #contentOf(node: string): string {
    const machine = this.machine(node)
    return machine === undefined ? 'not there' : JSON.stringify([machine.status(), machine.list('', 10_000)])
  }

  // ---- Inside --------------------------------------------------------------------------------------------------

  #on(node: string): OpenedLocks | undefined {
    const opened = this.#opened.get(node)
    return opened?.life.process.isAlive === true ? opened : undefined
  }

  async #open(life: BedLife): Promise<void> {
    const { members, service, group: options } = this.#options
    let group: RaftGroup<unknown> | undefined
    const locks = await openLocks(life.node, {
      ...service,
      openGroup: async ({ name, machine }) => {
        const opened = await openObservedRaftGroup(
          life.consensus,
          {
            ...options,
            name,
            members,
            machine: () => {
              const made = machine() as LockMachine
              return {
                apply: (command) => {
                  const result = made.apply(command)
                  if (life.process.isAlive)
                    this.truth.applied(command.index, command.data, result, (session, request) =>
                      made.state(session, request),
                    )
                  return result
                },
                snapshot: () => made.snapshot(),
                restore: (chunks) => made.restore(chunks),
              }
            },
          },
          life.observer('locks'),
        )
        group = opened as RaftGroup<unknown>
        return opened
      },
    })
    this.#opened.set(life.name, { life, locks, group: group as RaftGroup<unknown> })
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
      const why = log?.fields['err'] ?? new Error(`the locks are closed: ${log?.message}`)
      this.bed.ended(place, life.process, why)
    })
  }
}

/** Nothing was done. */
const refusals: ReadonlySet<string> = new Set([
  'LOCK_BAD_REQUEST',
  'LOCK_DEADLOCK',
  'LOCK_UPGRADE',
  'LOCK_NOT_HELD',
  'LOCK_FENCED',
  'LOCK_LOST',
])
/** Nothing is held, but something may have been; or, of a command, nobody knows. */
const unknowns: ReadonlySet<string> = new Set([
  'LOCK_TIMEOUT',
  'LOCK_SESSION_LOST',
  'LOCK_CLIENT_CLOSED',
  'PROTOCOLS_OUTCOME_UNKNOWN',
  'RUNTIME_ABORTED',
  // The node of the client is on its way down.
  'RUNTIME_STOPPED',
  'RUNTIME_SHUTTING_DOWN',
])

/** Begins `act` in a step of that process; what it awaits of the process goes on when the process does. */
function within<T>(world: World, life: SimulatedProcess, act: () => Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    world.simulation.at(world.now(), life, 'client', () => {
      act().then(resolve, reject)
    })
  })
}

function ignore(): void {
  // What becomes of it the members' own states tell.
}
