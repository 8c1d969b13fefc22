/**
 * Where the groups of a node live: one actor at `/system/consensus` with a store of its own, one timer, and the refs to its
 * peers. Turns of that actor are all that its members ever see.
 *
 * A failed store, or a member that throws, crashes the actor; its next life opens the store anew and the groups with it.
 * Between two lives it waits: 0.8 s, then twice as long each time, 10 s at most, from the start again once it has run for
 * 10 s. So four failures take 5.6 s, and the limit of /system (3 restarts in 5 s), behind which the node would end, is not
 * reached by the host alone: a disk that stays full costs this node its groups until there is room, not its other actors.
 */
import type { ClusterNode } from '@understudy/cluster'
import { actor, memoryStore, storeId, type ActorRef, type MessagesOf, type Store } from '@understudy/runtime'
import { spawnSystemActor, type Cell, type InternalSystem } from '@understudy/runtime/internal'
import { ConsensusAlreadyOpen, GroupAlreadyOpen, GroupClosed } from '../core/consensus-error.ts'
import { HostLife, type HostContext, type HostCounters } from './host-life.ts'
import { hostOwn, hostPath, HostProtocol } from './host-protocol.ts'
import { HostedGroup, type GroupEnded } from './hosted-group.ts'
import type { OpenMember } from './hosted-member.ts'

export interface ConsensusOptions {
  /**
   * Where the groups keep their logs: a directory that nothing else uses, 'memory', or a function that opens a store, called
   * once for each life of the host. In memory everything is gone with the process, and with a store that failed.
   * @default the directory `consensus` below the node's `data`, or 'memory' when that is in memory
   */
  readonly store?: 'memory' | (string & {}) | (() => Promise<Store>) | undefined
}

/** How an open group is ended on this node. */
export interface OpenGroup {
  readonly name: string
  /** Ends its member here; the group's other members go on. Resolves when the member has been closed. */
  readonly close: () => Promise<void>
}

/** The host as plain data. */
export interface ConsensusStatus extends Readonly<HostCounters> {
  readonly node: string
  readonly storeId: string
  /** Lives before this one. */
  readonly restarts: number
  /** Sorted by name. */
  readonly groups: readonly {
    readonly name: string
    /** False while it is being opened, and between two lives of the host. */
    readonly isOpen: boolean
    /** Monotonic ms; `undefined`: it waits for nothing. */
    readonly nextDeadlineMs: number | undefined
  }[]
}

/** The consensus host of one node. */
export interface Consensus extends AsyncDisposable {
  readonly node: ClusterNode
  /** Of the store in use. Another one after a restart that found an empty store. */
  readonly storeId: string
  /**
   * Opens a group's member here, and again in each life of the host. Resolves when the first member is open; rejects with
   * what `open` rejected with.
   *
   * `open` may read its store before it resolves; it is in no turn of the host until then. Messages that come for it
   * before are dropped. When a later `open` fails for a reason of its own, or the host ends, `onEnded` is told.
   *
   * @throws {TypeError} (as a rejection) a name that is no name
   * @throws {GroupAlreadyOpen} (as a rejection) PROTOCOLS_GROUP_ALREADY_OPEN: this node has a group of that name
   * @throws {GroupClosed} (as a rejection) the host has ended
   */
  readonly openGroup: (name: string, open: OpenMember, onEnded?: GroupEnded) => Promise<OpenGroup>
  /** Names of the groups that were opened here, sorted. */
  readonly groups: () => readonly string[]
  readonly status: () => ConsensusStatus
  /** Ends all groups on this node and closes the store. The node's own shutdown does the same. */
  readonly close: () => Promise<void>
}

/** See the head of this file. */
const restartBackoff = Object.freeze({ minMs: 800, maxMs: 10_000, jitter: 0 })
const groupName = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/

/**
 * Starts the consensus host of a node: opens its store, makes the store's id if there is none, and starts the actor.
 *
 * @throws {StoreError} (as a rejection) when the store cannot be opened; the node goes on without a host
 * @throws {ConsensusAlreadyOpen} (as a rejection) PROTOCOLS_ALREADY_OPEN: the node has one already, or is opening one
 */
export async function openConsensus(node: ClusterNode, options: ConsensusOptions = {}): Promise<Consensus> {
  // Every node's system is one: the cluster makes it so.
  const system = node.system as InternalSystem
  if (opening.has(system) || system.resolve(hostPath) !== undefined) throw new ConsensusAlreadyOpen(node.name)
  opening.add(system)
  try {
    const host = new ConsensusHost(node, system, storeOpener(node, options))
    await host.start()
    return host
  } finally {
    opening.delete(system)
  }
}

/** Systems of nodes whose hosts are being opened. */
const opening = new WeakSet<InternalSystem>()

function storeOpener(node: ClusterNode, { store }: ConsensusOptions): () => Promise<Store> {
  if (typeof store === 'function') return store
  const directory = store ?? (node.data === 'memory' ? 'memory' : `${node.data}/consensus`)
  const { platform } = node.system
  if (directory !== 'memory') return () => platform.openStore(directory, 'log')
  return memoryOpener()
}

/** One store for all lives of a host, but for one that has failed. */
function memoryOpener(): () => Promise<Store> {
  let kept: Store | undefined
  return async () => {
    if (kept === undefined) {
      const made = memoryStore()
      kept = made
      void made.failed.then(() => (kept = undefined))
    }
    const { get, range, write, scope, failed } = kept
    return { get, range, write, scope, failed, close: () => Promise.resolve() }
  }
}

interface OpenedStore {
  readonly store: Store
  readonly id: string
}

class ConsensusHost implements Consensus {
  readonly node: ClusterNode
  readonly #system: InternalSystem
  readonly #openStore: () => Promise<Store>
  readonly #groups = new Map<string, HostedGroup>()
  readonly #refs = new Map<string, ActorRef<MessagesOf<typeof HostProtocol>>>()
  /** Members that have ended: nothing can be sent to them. */
  readonly #gone = new Set<string>()
  readonly #listening: Disposable[] = []
  readonly #counters: HostCounters = {
    batchesSent: 0,
    messagesSent: 0,
    batchesReceived: 0,
    messagesReceived: 0,
    unknownGroup: 0,
    malformed: 0,
    unsent: 0,
    pulsesSent: 0,
  }
  #cell: Cell | undefined
  #ref: ActorRef<MessagesOf<typeof HostProtocol>> | undefined
  /** The store of the first life, which is opened before it. */
  #first: OpenedStore | undefined
  #life: HostLife | undefined
  #storeId = ''
  #restarts = 0
  #hasEnded = false

  constructor(node: ClusterNode, system: InternalSystem, openStore: () => Promise<Store>) {
    this.node = node
    this.#system = system
    this.#openStore = openStore
  }

  get storeId(): string {
    return this.#storeId
  }

  async start(): Promise<void> {
    const first = await this.#open()
    this.#first = first
    this.#storeId = first.id
    let started: () => void = () => undefined
    const whenStarted = new Promise<void>((resolve) => (started = resolve))
    try {
      const definition = this.#definition(() => started())
      const { cell, ref } = spawnSystemActor(this.#system, 'consensus', definition, {
        backoff: restartBackoff,
      })
      this.#cell = cell
      this.#ref = ref
      ;(cell.makeRare().onEnded ??= []).push(() => {
        this.#ended()
        started()
      })
    } catch (error) {
      await first.store.close()
      throw error
    }
    this.#listen()
    await whenStarted
  }

  async openGroup(name: string, open: OpenMember, onEnded?: GroupEnded): Promise<OpenGroup> {
    const cannot = `Cannot open the group "${name}" on node "${this.node.name}"`
    if (!groupName.test(name)) {
      throw new TypeError(
        `${cannot}: a group's name has 1 to 128 of letters, digits, dot, underscore and hyphen, and begins with a letter ` +
          `or digit`,
      )
    }
    if (this.#groups.has(name)) throw new GroupAlreadyOpen(name, this.node.name)
    if (this.#hasEnded) throw this.#closed(name)
    const group = new HostedGroup(name, open, onEnded)
    this.#groups.set(name, group)
    const life = this.#life
    // Between two lives: the next one opens it.
    if (life !== undefined) void life.openGroup(group)
    await group.opened
    return { name, close: () => this.#closeGroup(group) }
  }

  groups(): readonly string[] {
    return [...this.#groups.keys()].sort()
  }

  status(): ConsensusStatus {
    const groups = [...this.#groups.values()].sort((a, b) => (a.name < b.name ? -1 : 1))
    return {
      node: this.node.name,
      storeId: this.#storeId,
      restarts: this.#restarts,
      groups: groups.map(({ name, member, dueMs }) => ({
        name,
        isOpen: member !== undefined,
        nextDeadlineMs: dueMs === Number.POSITIVE_INFINITY ? undefined : dueMs,
      })),
      ...this.#counters,
    }
  }

  async close(): Promise<void> {
    if (this.#ref !== undefined) await this.#system.stop(this.#ref)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  // ---- The actor -----------------------------------------------------------------------------------------------

  #definition(started: () => void) {
    return actor(HostProtocol, { name: 'consensus', own: hostOwn }, async (ctx) => {
      const { store, id } = await this.#takeStore()
      const life = this.#begin(ctx, store, id)
      ctx.defer(async (why) => {
        this.#life = undefined
        if (why === 'restart') this.#restarts++
        for (const group of [...this.#groups.values()]) {
          if (group.isClosing) this.#finishClosing(group, life)
        }
        life.end(why === 'restart' ? this.#restarting() : this.#closed(undefined))
        // Before the next life opens it.
        await store.close()
      })
      started()
      for (const group of this.#groups.values()) void life.openGroup(group)
      return {
        control: (batch) => life.receive(batch),
        data: (batch) => life.receive(batch),
        bulk: (batch) => life.receive(batch),
        pulse: (pulse) => life.heardPulse(pulse),
        task: (message) => life.task(message),
        flush: () => life.flush(),
        tick: () => life.tick(),
      }
    })
  }

  #begin(context: HostContext, store: Store, id: string): HostLife {
    this.#storeId = id
    const life = new HostLife({
      cell: this.#cell as Cell,
      context,
      store,
      storeId: id,
      node: this.node.name,
      lifeId: this.#system.platform.secureBytes(8).join('.'),
      groups: this.#groups,
      refTo: (node) => this.#refTo(node),
      isGone: (node) => this.#gone.has(node),
      counters: this.#counters,
    })
    this.#life = life
    return life
  }

  async #takeStore(): Promise<OpenedStore> {
    const first = this.#first
    this.#first = undefined
    return first ?? this.#open()
  }

  async #open(): Promise<OpenedStore> {
    const store = await this.#openStore()
    try {
      return { store, id: await storeId(store, this.#system.platform.secureBytes) }
    } catch (error) {
      await store.close()
      throw error
    }
  }

  #refTo(node: string): ActorRef<MessagesOf<typeof HostProtocol>> {
    let ref = this.#refs.get(node)
    if (ref === undefined) {
      ref = this.node.ref(HostProtocol, node, hostPath)
      this.#refs.set(node, ref)
    }
    return ref
  }

  // ---- The others ----------------------------------------------------------------------------------------------

  #listen(): void {
    const { events } = this.node
    const lost = ({ name }: { readonly name: string }): void => {
      this.#life?.post(() => this.#life?.unreachable(name))
    }
    const gone = (member: { readonly name: string }): void => {
      this.#gone.add(member.name)
      lost(member)
    }
    const back = ({ name }: { readonly name: string }): void => void this.#gone.delete(name)
    this.#listening.push(
      events.on('link-lost', lost),
      events.on('member-unreachable', lost),
      events.on('member-down', gone),
      events.on('member-left', gone),
      events.on('member-joined', back),
      events.on('member-up', back),
      events.on('member-recovered', back),
    )
  }

  // ---- The end -------------------------------------------------------------------------------------------------

  /** In a turn of the host, like every call of the member; at once when there is none. */
  #closeGroup(group: HostedGroup): Promise<void> {
    if (this.#groups.get(group.name) !== group) return Promise.resolve()
    const closed = group.whenClosed()
    const life = this.#life
    if (life === undefined) this.#finishClosing(group, undefined)
    else life.post(() => this.#finishClosing(group, life))
    return closed
  }

  #finishClosing(group: HostedGroup, life: HostLife | undefined): void {
    const { name } = group
    if (this.#groups.get(name) !== group) return
    this.#groups.delete(name)
    life?.forget(group)
    group.end(new GroupClosed(`The group "${name}" was closed on node "${this.node.name}"`, { group: name }))
  }

  #ended(): void {
    if (this.#hasEnded) return
    this.#hasEnded = true
    this.#life = undefined
    for (const listening of this.#listening.splice(0)) listening[Symbol.dispose]()
    for (const group of [...this.#groups.values()]) {
      this.#groups.delete(group.name)
      group.end(this.#closed(group.name))
    }
    const first = this.#first
    this.#first = undefined
    void first?.store.close()
  }

  #restarting(): Error {
    return new Error(`The consensus host of node "${this.node.name}" restarts; its log says why`)
  }

  #closed(group: string | undefined): GroupClosed {
    return new GroupClosed(
      `The consensus host of node "${this.node.name}" has ended, and its groups there with it`,
      group === undefined ? {} : { group },
    )
  }
}
