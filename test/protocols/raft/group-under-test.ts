/** Raft groups on virtual nodes, on a network in memory: each node with a disk that outlives its host, and may be wiped. */
import type { ClusterNode } from '@understudy/cluster'
import {
  memoryMetrics,
  memoryStore,
  StoreError,
  type ActorRef,
  type MemoryMetrics,
  type MessagesOf,
  type Store,
} from '@understudy/runtime'
import { sourceModule } from '../../support/source-module.ts'
import { virtualCluster, type Outcome, type VirtualCluster } from '../../support/virtual-cluster.ts'

type GroupModule = typeof import('../../../packages/protocols/src/raft/raft-group.ts')
type HostModule = typeof import('../../../packages/protocols/src/host/consensus-host.ts')
export type RaftGroup<R> = import('../../../packages/protocols/src/raft/raft-group.ts').RaftGroup<R>
export type RaftGroupOptions<R> =
  import('../../../packages/protocols/src/raft/raft-group-options.ts').RaftGroupOptions<R>
export type RaftObserver = import('../../../packages/protocols/src/raft/raft-group-options.ts').RaftObserver
export type Consensus = import('../../../packages/protocols/src/host/consensus-host.ts').Consensus
type HostedMember = import('../../../packages/protocols/src/host/hosted-member.ts').HostedMember
type StateMachine<R> = import('../../../packages/protocols/src/core/state-machine.ts').StateMachine<R>
type AppliedCommand = import('../../../packages/protocols/src/core/state-machine.ts').AppliedCommand

type ProtocolModule = typeof import('../../../packages/protocols/src/host/host-protocol.ts')
const { HostProtocol, hostPath } = await sourceModule<ProtocolModule>('protocols', 'host/host-protocol')
const { openObservedRaftGroup } = await sourceModule<GroupModule>('protocols', 'raft/raft-group')
const { openConsensus } = await sourceModule<HostModule>('protocols', 'host/consensus-host')

const utf8 = new TextEncoder()
const text = new TextDecoder()

export const bytes = (command: string): Uint8Array => utf8.encode(command)

/** What a command gave: how many came before it, and its time. */
export interface Appended {
  readonly at: number
  readonly timeMs: number
}

/** A list of all commands, in order. `boom` throws. */
export class ListMachine implements StateMachine<Appended> {
  list: string[] = []
  restored = 0
  walks = 0
  readonly #chunkChars: number

  constructor(chunkChars = 64) {
    this.#chunkChars = chunkChars
  }

  apply({ data, timeMs }: AppliedCommand): Appended {
    const command = text.decode(data)
    if (command === 'boom') throw new Error('the machine has a bug')
    this.list.push(command)
    return { at: this.list.length - 1, timeMs }
  }

  snapshot(): Iterator<Uint8Array> {
    this.walks++
    return chunks(JSON.stringify(this.list), this.#chunkChars)
  }

  async restore(parts: AsyncIterable<Uint8Array>): Promise<void> {
    let whole = ''
    for await (const part of parts) whole += text.decode(part)
    this.list = JSON.parse(whole) as string[]
    this.restored++
  }
}

function* chunks(whole: string, chars: number): Generator<Uint8Array, undefined> {
  for (let at = 0; at < whole.length; at += chars) yield utf8.encode(whole.slice(at, at + chars))
  return undefined
}

/** What stays of a node when its process ends. */
class Disk {
  #store = memoryStore()
  /** While it is held no write ends. */
  #held: (() => void)[] | undefined
  #isFailing = false
  writes = 0

  /** Keys whose values cannot be read any more. */
  readonly damaged = new Set<string>()

  readonly open = async (): Promise<Store> => this.#view(this.#store, '')

  wipe(): void {
    this.damaged.clear()
    this.#store = memoryStore()
  }

  get store(): Store {
    return this.#store
  }

  hold(): void {
    this.#held ??= []
  }

  release(): void {
    const held = this.#held ?? []
    this.#held = undefined
    for (const go of held) go()
  }

  /** Its next write fails, and closes the store that is open. */
  fail(): void {
    this.#isFailing = true
  }

  #view(inner: Store, prefix: string): Store {
    const { damaged } = this
    return {
      get: async (key) => {
        if (damaged.has(prefix + key)) throw corrupt(key)
        return inner.get(key)
      },
      range: (range = {}) => ({
        async *[Symbol.asyncIterator]() {
          for await (const entry of inner.range(range)) {
            if (!damaged.has(prefix + entry.key)) yield entry
            else if (range.onCorrupt === undefined) throw corrupt(entry.key)
            else range.onCorrupt(entry.key, corrupt(entry.key))
          }
        },
      }),
      failed: inner.failed,
      write: async (batch) => {
        this.writes++
        if (this.#isFailing) {
          this.#isFailing = false
          throw new StoreError('RUNTIME_STORE_FAILED', 'the disk is broken')
        }
        if (this.#held !== undefined) {
          const held = this.#held
          await new Promise<void>((resolve) => held.push(resolve))
        }
        return inner.write(batch)
      },
      scope: (part) => this.#view(inner.scope(part), `${prefix}${part}/`),
      close: () => Promise.resolve(),
    }
  }
}

function corrupt(key: string): StoreError {
  return new StoreError('RUNTIME_STORE_CORRUPT', `a bit of ${key} has flipped`)
}

/** Number of the kind of message that carries a chunk of a snapshot. */
const chunkKind = 22

export interface BedOptions extends Partial<RaftGroupOptions<Appended>> {
  readonly nodes?: readonly string[] | undefined
  readonly observer?: RaftObserver | undefined
  readonly chunkChars?: number | undefined
}

export class GroupBed implements AsyncDisposable {
  readonly cluster: VirtualCluster
  readonly #options: BedOptions
  readonly nodes = new Map<string, ClusterNode>()
  readonly disks = new Map<string, Disk>()
  readonly metrics = new Map<string, MemoryMetrics>()
  readonly hosts = new Map<string, Consensus>()
  readonly groups = new Map<string, RaftGroup<Appended>>()
  /** Of the member's life that is. */
  readonly machines = new Map<string, ListMachine>()

  constructor(options: BedOptions) {
    this.cluster = virtualCluster()
    this.#options = options
  }

  async addNodes(names: readonly string[]): Promise<void> {
    const { cluster } = this
    const all = [...this.nodes.keys(), ...names]
    for (const name of names) {
      const metrics = memoryMetrics()
      this.metrics.set(name, metrics)
      this.nodes.set(name, await cluster.start(name, { seeds: all, metrics }))
      this.disks.set(name, new Disk())
    }
    await cluster.result(Promise.all([...this.nodes.values()].map((node) => node.whenMembers(all.length))))
  }

  async open(name: string, own: BedOptions = {}): Promise<RaftGroup<Appended>> {
    const { cluster } = this
    const node = this.nodes.get(name) as ClusterNode
    const disk = this.disk(name)
    const host = await cluster.result(openConsensus(node, { store: disk.open }))
    this.hosts.set(name, host)
    const tapped: Consensus = Object.create(host, {
      openGroup: {
        value: ((group, open, ended) =>
          host.openGroup(
            group,
            async (port) => this.#tapped(name, await open(port)),
            ended,
          )) satisfies Consensus['openGroup'],
      },
      node: { value: node },
    }) as Consensus
    const { nodes: _nodes, observer, chunkChars, ...options } = { ...this.#options, ...own }
    const group = await cluster.result(
      openObservedRaftGroup<Appended>(
        tapped,
        {
          name: 'g',
          members: ['a', 'b', 'c'],
          raft: { preset: 'local' },
          ...options,
          machine: () => {
            const machine = new ListMachine(chunkChars)
            this.machines.set(name, machine)
            return machine
          },
        },
        observer,
      ),
    )
    this.groups.set(name, group)
    return group
  }

  /** Told of each chunk of a snapshot that comes to the member of that node; false: it is lost. */
  readonly onChunk = new Map<string, () => boolean | void>()
  /** Whether a message of a group from one node to another is lost. */
  loses: ((from: string, to: string) => boolean) | undefined

  #tapped(name: string, member: HostedMember): HostedMember {
    return {
      tick: () => member.tick(),
      nextDeadlineMs: () => member.nextDeadlineMs(),
      unreachable: (node) => member.unreachable(node),
      watched: (node) => member.watched(node),
      close: (reason) => member.close(reason),
      receive: (from, store, payload) => {
        if (this.loses?.(from, name) === true) return
        const isChunk = Array.isArray(payload) && payload[0] === chunkKind
        if (isChunk && this.onChunk.get(name)?.() === false) return
        member.receive(from, store, payload)
      },
    }
  }

  /** Ends the host of a node, as its process would: what it keeps is its disk. */
  async end(name: string): Promise<void> {
    const host = this.hosts.get(name)
    this.hosts.delete(name)
    this.groups.delete(name)
    if (host !== undefined) await this.cluster.result(host.close())
  }

  disk(name: string): Disk {
    return this.disks.get(name) as Disk
  }

  group(name: string): RaftGroup<Appended> {
    return this.groups.get(name) as RaftGroup<Appended>
  }

  list(name: string): readonly string[] {
    return this.machines.get(name)?.list ?? []
  }

  get leader(): string | undefined {
    const leaders = [...this.groups].filter(([, group]) => group.status().role === 'leader')
    return leaders.sort(([, a], [, b]) => b.status().term - a.status().term)[0]?.[0]
  }

  followers(): readonly string[] {
    return [...this.groups.keys()].filter((name) => name !== this.leader).sort()
  }

  /** Waits until somebody leads, and all open members know who. */
  async led(): Promise<string> {
    await this.until(() => {
      const { leader } = this
      const isTold = (group: RaftGroup<Appended>): boolean => {
        const status = group.status()
        return status.leader === leader || status.role === 'removed' || status.role === 'learner'
      }
      return leader !== undefined && [...this.groups.values()].every(isTold)
    })
    return this.leader as string
  }

  until(ready: () => boolean, withinMs = 60_000): Promise<void> {
    return this.cluster.until(ready, withinMs)
  }

  result<T>(promise: Promise<T>): Promise<T> {
    return this.cluster.result(promise)
  }

  outcome<T>(promise: Promise<T>): Promise<Outcome<T>> {
    return this.cluster.outcome(promise)
  }

  async code(promise: Promise<unknown>): Promise<string> {
    const outcome = await this.outcome(promise)
    return 'error' in outcome ? (outcome.error.code ?? outcome.error.name) : 'none'
  }

  async propose(name: string, command: string): Promise<Appended> {
    return this.result(this.group(name).propose(bytes(command)))
  }

  /** Waits until all open members have applied the same. */
  async agreed(): Promise<void> {
    await this.until(() => {
      const lists = [...this.groups.keys()].map((name) => this.list(name).join())
      return new Set(lists).size === 1
    })
  }

  /** The host of `to` as `from` reaches it. */
  hostRef(from: string, to: string): ActorRef<MessagesOf<typeof HostProtocol>> {
    return (this.nodes.get(from) as ClusterNode).ref(HostProtocol, to, hostPath)
  }

  /** Of the snapshot that the node took last. */
  lastSnapshotChunks(name: string): number {
    const taken = this.cluster.logOf(name).findLast(({ message }) => message === 'snapshot taken')
    return Number(taken?.fields['chunks'])
  }

  /** A chunk of the snapshot in force cannot be read any more. */
  async damageSnapshot(name: string): Promise<void> {
    const range = { from: 'group/g/raft/chunk/', to: 'group/g/raft/chunk0', limit: 1 }
    for await (const { key } of this.disk(name).store.range(range)) this.disk(name).damaged.add(key)
  }

  /** The last records of the log of a node that is down cannot be read any more. */
  async damageLog(name: string, records = 3): Promise<void> {
    const prefix = 'group/g/raft/log/'
    const keys: string[] = []
    for await (const { key } of this.disk(name).store.range({ from: prefix, to: 'group/g/raft/log0' }))
      keys.push(key)
    for (const key of keys.slice(-records)) this.disk(name).damaged.add(key)
  }

  /** Lines of a node's log that have this in them, with the fields. */
  logged(name: string, part: string): readonly string[] {
    return this.cluster
      .logOf(name)
      .filter(({ message }) => message.includes(part))
      .map(({ message }) => message)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const disk of this.disks.values()) disk.release()
    await this.cluster.stop()
  }
}

/** Three nodes, a, b and c, with a group that somebody leads; unless `nodes` says otherwise. */
export async function groupBed(options: BedOptions = {}): Promise<GroupBed> {
  const bed = new GroupBed(options)
  const names = options.nodes ?? ['a', 'b', 'c']
  await bed.addNodes(names)
  for (const name of names) await bed.open(name)
  await bed.led()
  return bed
}
