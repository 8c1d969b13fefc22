/**
 * The key-value store on some nodes of a simulated cluster and clients on all of them, in all of their lives; what really came
 * to be in it, revision by revision; and what must come true once everything has healed.
 */
import type { ClusterNode } from '@understudy/cluster'
import type { SimulatedNode, World } from '@understudy/cluster/simulation'
import {
  kvClient,
  openKv,
  type Kv,
  type KvClient,
  type KvClientOptions,
  type KvMachine,
  type KvServiceOptions,
} from '@understudy/protocols'
import { isActorError } from '@understudy/runtime'
import type { LoggedEvent, LoggedRevision } from '@understudy/runtime/checkers'
import { ProcessKilled } from '@understudy/runtime/simulation'
import { bedTags, ConsensusBed, type BedLife } from '../raft/consensus-bed.ts'
import { openObservedRaftGroup, type RaftGroup, type RaftGroupOptions } from '../raft/protocols.ts'

export const kvTags: readonly string[] = [
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
  ...['unknown', 'unavailable', 'from-a-member', 'from-elsewhere', 'client-killed'],
]

export interface KvBedOptions {
  /** Nodes that have the store. */
  readonly members: readonly string[]
  readonly tags: readonly string[]
  readonly group?: Partial<Omit<RaftGroupOptions<unknown>, 'name' | 'machine' | 'members'>> | undefined
  readonly service?: KvServiceOptions | undefined
  readonly client?: Partial<KvClientOptions> | undefined
}

interface OpenedKv {
  readonly life: BedLife
  readonly kv: Kv
  readonly group: RaftGroup<unknown>
}

/** What the store had done by a revision, and when that was first seen. */
export interface SeenRevision extends LoggedRevision {
  readonly atMs: number
}

export class KvBed {
  readonly bed: ConsensusBed
  readonly world: World
  readonly log: SeenRevision[] = []
  /** Called behind each revision that is new. */
  onRevision: ((revision: SeenRevision) => void) | undefined
  readonly #options: KvBedOptions
  readonly #opened = new Map<string, OpenedKv>()
  readonly #clients = new Map<ClusterNode, KvClient>()

  constructor(world: World, options: KvBedOptions) {
    this.world = world
    this.#options = options
    this.bed = new ConsensusBed(world, {
      groups: ['kv'],
      tags: options.tags,
      harmedMax: 1,
      without: world.nodes.map(({ name }) => name).filter((name) => !options.members.includes(name)),
      open: (life) => this.#open(life),
    })
    this.bed.truth('kv').onFirst = (node) => this.#note(node)
  }

  /** The client of the node's present life: made at its first use. */
  client(place: SimulatedNode): KvClient | undefined {
    if (!place.isUp) return undefined
    let client = this.#clients.get(place.node)
    if (client === undefined) {
      const options = {
        servers: this.#options.members,
        timeoutMs: 8_000,
        attemptMs: 1_500,
        ...this.#options.client,
      }
      client = kvClient(place.node, options)
      this.#clients.set(place.node, client)
    }
    this.bed.met(this.#options.members.includes(place.name) ? 'from-a-member' : 'from-elsewhere')
    return client
  }

  /**
   * Runs a call of the client on that node. `done`: its value; `refused`: surely nothing was done, with the code; `unknown`.
   * Whatever ends otherwise breaks a rule.
   */
  async attempt<T>(
    place: SimulatedNode,
    act: (client: KvClient) => Promise<T>,
    withinMs = 120_000,
  ): Promise<
    | { readonly type: 'done'; readonly value: T }
    | { readonly type: 'refused' | 'unknown'; readonly code: string; readonly error: unknown }
  > {
    const client = this.client(place)
    if (client === undefined) return { type: 'refused', code: 'down', error: undefined }
    try {
      return { type: 'done', value: await this.world.attempt(place, () => act(client), withinMs) }
    } catch (error) {
      if (error instanceof ProcessKilled) {
        this.bed.met('client-killed')
        return { type: 'unknown', code: 'killed', error }
      }
      if (!isActorError(error)) {
        const text = error instanceof Error ? (error.stack ?? error.message) : String(error)
        this.world.simulation.fail(
          'typed-outcome',
          `a call of the client on "${place.name}" ended with ${text}`,
        )
        throw error
      }
      const { code } = error
      if (code === 'PROTOCOLS_OUTCOME_UNKNOWN') {
        this.bed.met('unknown')
        return { type: 'unknown', code, error }
      }
      if (code.startsWith('KV_')) {
        if (code === 'KV_UNAVAILABLE') this.bed.met('unavailable')
        return { type: 'refused', code, error }
      }
      // The node of the client is on its way down.
      if (code === 'RUNTIME_STOPPED' || code === 'RUNTIME_SHUTTING_DOWN')
        return { type: 'unknown', code, error }
      this.world.simulation.fail(
        'typed-outcome',
        `a call of the client on "${place.name}" ended with ${error.stack}`,
      )
      return { type: 'unknown', code, error }
    }
  }

  machine(node: string): KvMachine | undefined {
    return this.#on(node)?.kv.machine()
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

  /** What happens to servers besides the faults: their disks are damaged and lost, leaders die or hand over. */
  async chaos(isOver: () => boolean): Promise<void> {
    const { world, bed } = this
    while (!isOver()) {
      await world.sleep(500 + world.choose(8, 'chaos/pause') * 700)
      const place = world.node(
        this.#options.members[world.choose(this.#options.members.length, 'chaos/node')] ?? 'a',
      )
      const leader = this.leader()
      if (isOver() || !place.isUp) continue
      const which = world.choose(12, 'chaos')
      if (which === 1) bed.flip(place)
      else if (which === 2) bed.wipe(place)
      else if (which === 3) this.group(place.name)?.snapshot({ timeoutMs: 5_000 }).catch(ignore)
      else if (which === 4 && leader !== undefined)
        this.group(leader)?.transfer(place.name, { timeoutMs: 5_000 }).catch(ignore)
      else if ((which === 5 || which === 6) && leader !== undefined) {
        world.node(leader).kill()
        bed.restartLater(world.node(leader))
      } else if (which === 7 && leader !== undefined) await bed.isolate(world.node(leader))
    }
  }

  // ---- The end -------------------------------------------------------------------------------------------------

  /** No more faults: in time one member leads, all have everything, and their states are the same to the byte. */
  async settle(withinMs: number): Promise<void> {
    const { world } = this
    world.heal()
    for (const { process: life } of world.nodes) life?.killAtEffect(Number.POSITIVE_INFINITY)
    this.bed.restartZombies()
    const untilMs = world.now() + withinMs
    while (!this.#isSettled()) {
      world.check(
        'settles-after-heal',
        world.now() < untilMs,
        `Not within ${withinMs} ms:\n${this.picture()}`,
      )
      await world.sleep(50)
    }
    this.expectEqualStates()
  }

  expectEqualStates(): void {
    const [first = 'a', ...others] = this.#options.members
    const wanted = this.#bytesOf(first)
    for (const other of others) {
      const found = this.#bytesOf(other)
      this.world.check(
        'states-are-equal',
        found === wanted,
        `The state of "${other}" is ${found}\nand that of "${first}" ${wanted}`,
      )
    }
  }

  picture(): string {
    return this.#options.members
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
    if (status === undefined || status.members.length !== this.#options.members.length) return false
    if (status.applied !== this.group(leader ?? '')?.raftStatus()?.last.index) return false
    return this.#options.members.every((node) => {
      const other = this.group(node)?.status()
      return other !== undefined && other.leader === leader && other.applied === status.applied
    })
  }

  #bytesOf(node: string): string {
    const machine = this.machine(node)
    if (machine === undefined) return 'not there'
    const hash: string[] = []
    const chunks = machine.snapshot()
    for (let next = chunks.next(); next.done !== true; next = chunks.next())
      hash.push(Buffer.from(next.value).toString('latin1'))
    return hash.join('')
  }

  // ---- Inside --------------------------------------------------------------------------------------------------

  #on(node: string): OpenedKv | undefined {
    const opened = this.#opened.get(node)
    return opened?.life.process.isAlive === true ? opened : undefined
  }

  #note(node: string): void {
    const machine = this.machine(node)
    if (machine === undefined) return
    // One command of a client is one revision; an entry may hold many that came together.
    for (let revision = (this.log.at(-1)?.revision ?? 0) + 1; revision <= machine.revision; revision++) {
      const events = machine.eventsAt(revision)
      this.world.check(
        'revisions-are-known',
        events !== undefined,
        `"${node}" has come to ${machine.revision} and does not know ${revision}`,
      )
      const logged = { revision, atMs: this.world.now(), events: (events ?? []).map(loggedEvent) }
      this.log.push(logged)
      this.onRevision?.(logged)
    }
  }

  async #open(life: BedLife): Promise<void> {
    const { members, service, group: options } = this.#options
    let group: RaftGroup<unknown> | undefined
    const kv = await openKv(life.node, {
      ...service,
      openGroup: async ({ name, machine }) => {
        const opened = await openObservedRaftGroup(
          life.consensus,
          { ...options, name, members, machine },
          life.observer('kv'),
        )
        group = opened as RaftGroup<unknown>
        return opened
      },
    })
    this.#opened.set(life.name, { life, kv, group: group as RaftGroup<unknown> })
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
      this.bed.ended(
        place,
        life.process,
        log?.fields['err'] ?? new Error(`the store is closed: ${log?.message}`),
      )
    })
  }
}

export function textOf(value: Uint8Array): string {
  return Buffer.from(value).toString('utf8')
}

function loggedEvent(event: {
  readonly type: 'put' | 'delete'
  readonly key: string
  readonly entry: { readonly value: Uint8Array } | undefined
}): LoggedEvent {
  const { type, key, entry } = event
  return entry === undefined ? { type, key } : { type, key, value: textOf(entry.value) }
}

function ignore(): void {
  // What becomes of it the members' own states tell.
}
