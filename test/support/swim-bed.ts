/**
 * Many SWIM cores on a pure virtual network: no systems, no links, no bytes; messages are objects, time is a heap of events.
 * Deterministic by its seed. For what a thousand members do in minutes, or a hundred in days.
 *
 *     const bed = new SwimBed({ nodes: 100, seed: 1, loss: 0.01 })
 *     bed.runFor(60_000)
 *     bed.crash('n007')
 *     bed.runUntil(() => bed.allSee('n007', ['unreachable']), 60_000)
 */
import { sourceModule } from './source-module.ts'

type Core = InstanceType<typeof SwimCore>
export type BedEffect = import('../../packages/cluster/src/membership/swim-core.ts').SwimEffect
export type BedInput = import('../../packages/cluster/src/membership/swim-core.ts').SwimInput
export type BedMessage = import('../../packages/cluster/src/membership/swim-message.ts').SwimMessage
export type BedRecord = import('../../packages/cluster/src/membership/member-table.ts').MemberRecord
export type BedFacts = import('../../packages/cluster/src/membership/member-table.ts').MemberFacts
export type BedSwimOptions = import('../../packages/cluster/src/membership/swim-options.ts').SwimOptions
type Address = import('../../packages/cluster/src/transport/address.ts').NodeAddress

const { SwimCore } = await sourceModule<typeof import('../../packages/cluster/src/membership/swim-core.ts')>(
  'cluster',
  'membership/swim-core',
)
const { readSwimMessage, swimMessageBytes, writeSwimMessage } = await sourceModule<
  typeof import('../../packages/cluster/src/membership/swim-message.ts')
>('cluster', 'membership/swim-message')

/** Options of `SwimBed`. */
export interface SwimBedOptions {
  /** How many cores, named `n000`, `n001`, ... (as many digits as it takes, at least three). */
  readonly nodes: number
  readonly seed: number
  /** Options of every core besides `self`, `random` and `known`. */
  readonly core?: Partial<Omit<BedSwimOptions, 'self' | 'random' | 'known'>> | undefined
  /** One way, uniform between the two, in milliseconds. @default [0.5, 2] */
  readonly latencyMs?: readonly [number, number] | undefined
  /** The chance of each message to be lost, 0 to 1. Can be changed later. @default 0 */
  readonly loss?: number | undefined
  /**
   * `known`: all are alive and know each other from the beginning. `seed`: they are `joining` and told of a link to the first
   * node, one after another; `joinEveryMs` apart. @default 'known'
   */
  readonly start?: 'known' | 'seed' | undefined
  /** @default 10 */
  readonly joinEveryMs?: number | undefined
  /** Tells both ends of a `linked` as soon as one has met the other. @default false: links are never spoken of */
  readonly mesh?: boolean | undefined
  /** Writes and reads each message as the wire does. Slower. @default false: objects are passed on */
  readonly codec?: boolean | undefined
  /** Count encoded bytes. @default true */
  readonly bytes?: boolean | undefined
}

/** What a node has sent, in all its lives. */
export interface BedCounters {
  messages: number
  bytes: number
  records: number
  readonly byType: Map<BedMessage['type'], number>
}

/** One node of the bed. */
export interface BedNode {
  readonly name: string
  readonly index: number
  incarnation: number
  core: Core
  isRunning: boolean
  /** Stalled until that time. */
  stalledUntilMs: number
  readonly inbox: BedInput[]
  readonly sent: BedCounters
  /** When its timer is set for. */
  armedMs: number
}

/** An effect that is no `send`, and when and where it was. */
export interface BedEvent {
  readonly atMs: number
  readonly node: string
  readonly effect: Exclude<BedEffect, { type: 'send' }>
}

interface Happening {
  readonly atMs: number
  readonly order: number
  readonly node: BedNode
  /** The life it is meant for. */
  readonly incarnation: number
  /** Undefined: its timer, or the end of its stall. */
  readonly input: BedInput | undefined
}

/** Many cores in one virtual time. */
export class SwimBed {
  nowMs = 0
  loss: number
  /** All effects but `send`, in order. May be emptied by the user. */
  events: BedEvent[] = []
  readonly nodes: readonly BedNode[]
  /** Messages that arrived. */
  delivered = 0
  lost = 0
  readonly #options: SwimBedOptions
  readonly #byName = new Map<string, BedNode>()
  readonly #heap = new EventHeap()
  readonly #chance: () => number
  readonly #latencyMs: readonly [number, number]
  /** Group of each node while there is a partition. */
  #groups: Map<string, number> | undefined
  /** `from>to` */
  readonly #cuts = new Set<string>()
  readonly #linked = new Set<string>()
  #order = 0

  constructor(options: SwimBedOptions) {
    this.#options = options
    this.loss = options.loss ?? 0
    this.#latencyMs = options.latencyMs ?? [0.5, 2]
    this.#chance = chance(options.seed)
    const digits = Math.max(3, String(options.nodes - 1).length)
    const names = Array.from(
      { length: options.nodes },
      (_, index) => `n${String(index).padStart(digits, '0')}`,
    )
    const isKnown = (options.start ?? 'known') === 'known'
    const known = isKnown ? names.map((name, index) => bedRecord(bedFacts(name, index, 1), 'alive')) : []
    this.nodes = names.map((name, index) => ({
      name,
      index,
      incarnation: 1,
      core: this.#makeCore(name, index, 1, known),
      isRunning: true,
      stalledUntilMs: 0,
      inbox: [],
      sent: { messages: 0, bytes: 0, records: 0, byType: new Map() },
      armedMs: Number.POSITIVE_INFINITY,
    }))
    for (const node of this.nodes) this.#byName.set(node.name, node)
    for (const node of this.nodes) this.#step(node, { type: 'started' })
    const [first] = this.nodes
    if (isKnown || first === undefined) return
    for (const node of this.nodes) {
      if (node !== first) this.#linkAt(node.index * (options.joinEveryMs ?? 10), node, first)
    }
  }

  /** Runs for so many virtual milliseconds. */
  runFor(ms: number): void {
    this.#run(this.nowMs + ms)
  }

  /**
   * Runs until `isDone`, asked after every `everyMs`, at most `mostMs`. The time that passed, or undefined when it is not
   * done.
   */
  runUntil(isDone: () => boolean, mostMs: number, everyMs = 10): number | undefined {
    const startMs = this.nowMs
    while (!isDone()) {
      if (this.nowMs - startMs >= mostMs) return undefined
      this.#run(this.nowMs + everyMs)
    }
    return this.nowMs - startMs
  }

  /** @throws {Error} if there is no such node. */
  node(name: string): BedNode {
    const node = this.#byName.get(name)
    if (node === undefined) throw new Error(`no node "${name}"`)
    return node
  }

  /** An input from outside, now. */
  input(name: string, input: BedInput): void {
    const node = this.node(name)
    if (node.isRunning) this.#give(node, input)
  }

  // ---- faults

  /**
   * Ends a process. Silent, unless its links are said to end (`unlinked`) or its address to refuse (`refused`) at all others,
   * one latency later.
   */
  crash(name: string, tell: 'silent' | 'unlinked' | 'refused' = 'silent'): void {
    const node = this.node(name)
    node.isRunning = false
    node.inbox.length = 0
    if (tell === 'silent') return
    for (const other of this.nodes) {
      if (other === node || !other.isRunning) continue
      this.#later(this.#draw(), other, { type: tell, name, incarnation: node.incarnation })
    }
  }

  /** A new life of a node, `joining`, linked to a running one (by default the first that is reachable). */
  restart(name: string, seed?: string): void {
    const node = this.node(name)
    node.incarnation++
    node.core = this.#makeCore(name, node.index, node.incarnation, [])
    node.isRunning = true
    node.stalledUntilMs = 0
    node.inbox.length = 0
    node.armedMs = Number.POSITIVE_INFINITY
    this.#step(node, { type: 'started' })
    const peer =
      seed === undefined
        ? this.nodes.find((other) => other !== node && other.isRunning && this.#isOpen(name, other.name))
        : this.node(seed)
    if (peer !== undefined) this.#linkAt(this.nowMs, node, peer)
  }

  /** The process does not run for that long; what arrives meanwhile waits, and is read after the late tick. */
  stall(name: string, ms: number): void {
    const node = this.node(name)
    node.stalledUntilMs = Math.max(node.stalledUntilMs, this.nowMs + ms)
    this.#push(node.stalledUntilMs, node, undefined)
  }

  /** Only nodes of one group hear each other; those in no group are a group of their own. */
  partition(...groups: readonly (readonly string[])[]): void {
    this.#groups = new Map()
    for (const [index, names] of groups.entries()) for (const name of names) this.#groups.set(name, index + 1)
  }

  /** Nothing arrives from one node at the other; with `both`, the other way too. */
  cut(from: string, to: string, both = true): void {
    this.#cuts.add(`${from}>${to}`)
    if (both) this.#cuts.add(`${to}>${from}`)
  }

  /** Ends partitions and cuts. */
  heal(): void {
    this.#groups = undefined
    this.#cuts.clear()
  }

  /** Tells both of a link between them. */
  link(a: string, b: string): void {
    this.#linkAt(this.nowMs, this.node(a), this.node(b))
  }

  /** Tells both that it ended. */
  unlink(a: string, b: string): void {
    const [from, to] = [this.node(a), this.node(b)]
    this.#later(this.#draw(), from, { type: 'unlinked', name: b, incarnation: to.incarnation })
    this.#later(this.#draw(), to, { type: 'unlinked', name: a, incarnation: from.incarnation })
  }

  // ---- looking

  /** The nodes that run. */
  get running(): readonly BedNode[] {
    return this.nodes.filter((node) => node.isRunning)
  }

  /** What `at` has of `about`, or undefined. */
  kindAt(at: string, about: string): BedRecord['kind'] | undefined {
    return this.node(at)
      .core.table()
      .find(({ name }) => name === about)?.kind
  }

  /** Whether every other running node has `about` as one of these. */
  allSee(about: string, kinds: readonly BedRecord['kind'][]): boolean {
    return this.running.every((node) => {
      if (node.name === about) return true
      const kind = this.kindAt(node.name, about)
      return kind !== undefined && kinds.includes(kind)
    })
  }

  /** Whether all running nodes have the same members, in the same states, and all of those are running ones. */
  isSettled(): boolean {
    const { running } = this
    const alive = running.map(({ name, incarnation }) => `${name}/${incarnation}`).join(' ')
    let first: string | undefined
    for (const { core } of running) {
      const living = core.table().filter(({ kind }) => kind !== 'down' && kind !== 'left')
      const text = living
        .map(({ name, incarnation, refutation, kind }) => `${name}/${incarnation} ${refutation} ${kind}`)
        .join()
      first ??= text
      if (text !== first) return false
      if (living.some(({ kind }) => kind === 'suspect' || kind === 'unreachable')) return false
      if (living.map(({ name, incarnation }) => `${name}/${incarnation}`).join(' ') !== alive) return false
    }
    return true
  }

  /** Events of these types; about `about` only, if given. */
  eventsOf(type: BedEvent['effect']['type'], about?: string): readonly BedEvent[] {
    return this.events.filter(
      ({ effect }) => effect.type === type && (about === undefined || subjectOf(effect) === about),
    )
  }

  /** What all nodes sent together. */
  totals(): { readonly messages: number; readonly bytes: number; readonly records: number } {
    const total = { messages: 0, bytes: 0, records: 0 }
    for (const { sent } of this.nodes) {
      total.messages += sent.messages
      total.bytes += sent.bytes
      total.records += sent.records
    }
    return total
  }

  /** Sets all counters of what was sent to 0. */
  resetCounters(): void {
    for (const { sent } of this.nodes) {
      sent.messages = 0
      sent.bytes = 0
      sent.records = 0
      sent.byType.clear()
    }
  }

  // ---- engine

  #makeCore(name: string, index: number, incarnation: number, known: readonly BedRecord[]): Core {
    return new SwimCore({
      phase: known.length > 0 ? 'alive' : 'joining',
      ...this.#options.core,
      self: bedFacts(name, index, incarnation),
      known,
      random: bedRandom(
        (Math.imul(this.#options.seed, 0x9e3779b1) ^ Math.imul(index + 1, 0x85ebca6b)) + incarnation,
      ),
    })
  }

  #run(untilMs: number): void {
    for (let next = this.#heap.first; next !== undefined && next.atMs <= untilMs; next = this.#heap.first) {
      this.#heap.pop()
      this.nowMs = next.atMs
      const { node, input } = next
      if (!node.isRunning || node.incarnation !== next.incarnation) continue
      if (input === undefined) this.#wake(node)
      else this.#give(node, input)
    }
    this.nowMs = Math.max(this.nowMs, untilMs)
  }

  #give(node: BedNode, input: BedInput): void {
    if (node.stalledUntilMs > this.nowMs) node.inbox.push(input)
    else this.#step(node, input)
  }

  /** Its timer, maybe set for later since, or the end of its stall: the timer first, as event loops do. */
  #wake(node: BedNode): void {
    if (node.stalledUntilMs > this.nowMs) return
    const dueMs = node.core.nextDeadlineMs()
    if (node.armedMs <= this.nowMs) node.armedMs = Number.POSITIVE_INFINITY
    if (dueMs !== undefined && dueMs <= this.nowMs) this.#step(node, { type: 'tick' })
    else this.#arm(node)
    for (const input of node.inbox.splice(0)) if (node.isRunning) this.#step(node, input)
  }

  #step(node: BedNode, input: BedInput): void {
    const effects = node.core.step(input, this.nowMs)
    for (const effect of effects) {
      if (effect.type === 'send') this.#send(node, effect.to, effect.message)
      else this.#note(node, effect)
    }
    this.#arm(node)
  }

  #arm(node: BedNode): void {
    const dueMs = node.core.nextDeadlineMs()
    // One that is set for earlier comes by and sets it anew.
    if (dueMs === undefined || dueMs >= node.armedMs) return
    node.armedMs = dueMs
    this.#push(dueMs, node, undefined)
  }

  #send(node: BedNode, to: string, message: BedMessage): void {
    const { sent } = node
    sent.messages++
    sent.records += message.records.length
    if (this.#options.bytes !== false) sent.bytes += swimMessageBytes(message)
    sent.byType.set(message.type, (sent.byType.get(message.type) ?? 0) + 1)
    const peer = this.#byName.get(to)
    if (peer === undefined || !peer.isRunning || (this.loss > 0 && this.#chance() < this.loss)) {
      this.lost++
      return
    }
    if (!this.#isOpen(node.name, to)) {
      this.lost++
      return
    }
    const arrived = this.#options.codec === true ? read(message) : message
    this.delivered++
    this.#later(this.#draw(), peer, {
      type: 'received',
      from: node.name,
      incarnation: node.incarnation,
      message: arrived,
    })
  }

  #note(node: BedNode, effect: BedEvent['effect']): void {
    this.events.push({ atMs: this.nowMs, node: node.name, effect })
    if (effect.type !== 'member-joined' || this.#options.mesh !== true) return
    const peer = this.#byName.get(effect.member.name)
    if (peer !== undefined && peer.incarnation === effect.member.incarnation)
      this.#linkAt(this.nowMs, node, peer)
  }

  #linkAt(atMs: number, a: BedNode, b: BedNode): void {
    const key = [`${a.name}/${a.incarnation}`, `${b.name}/${b.incarnation}`].sort().join(' ')
    if (this.#linked.has(key)) return
    this.#linked.add(key)
    for (const [node, peer] of [
      [a, b],
      [b, a],
    ] as const) {
      const { phase } = peer.core.status().self
      const facts = bedFacts(peer.name, peer.index, peer.incarnation)
      this.#push(atMs + this.#draw(), node, { type: 'linked', peer: facts, phase })
    }
  }

  #isOpen(from: string, to: string): boolean {
    if (this.#cuts.size > 0 && this.#cuts.has(`${from}>${to}`)) return false
    return this.#groups === undefined || this.#groups.get(from) === this.#groups.get(to)
  }

  #draw(): number {
    const [low, high] = this.#latencyMs
    return low + this.#chance() * (high - low)
  }

  #later(afterMs: number, node: BedNode, input: BedInput): void {
    this.#push(this.nowMs + afterMs, node, input)
  }

  #push(atMs: number, node: BedNode, input: BedInput | undefined): void {
    this.#heap.push({ atMs, order: this.#order++, node, incarnation: node.incarnation, input })
  }
}

/** A node's facts in the bed: `ws://10.0.0.1:7000` and so on. */
export function bedFacts(name: string, index: number, incarnation: number): BedFacts {
  const address = `ws://10.${(index >> 16) & 255}.${(index >> 8) & 255}.${index & 255}:7000` as Address
  return { name, incarnation, address, weight: 1, roles: [], version: '' }
}

/** The first record of a life. */
export function bedRecord(facts: BedFacts, phase: 'joining' | 'alive' | 'leaving'): BedRecord {
  return { ...facts, refutation: 0, kind: phase, phase, cannotReach: [] }
}

/** Chance by a seed, as cores take it. */
export function bedRandom(seed: number): {
  readonly float: () => number
  readonly int: (low: number, high: number) => number
} {
  const float = chance(seed)
  return { float, int: (low, high) => low + Math.floor(float() * (high - low + 1)) }
}

/** mulberry32. */
function chance(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let value = Math.imul(state ^ (state >>> 15), state | 1)
    value ^= value + Math.imul(value ^ (value >>> 7), value | 61)
    return ((value ^ (value >>> 14)) >>> 0) / 0x1_0000_0000
  }
}

function read(message: BedMessage): BedMessage {
  const result = readSwimMessage(structuredClone(writeSwimMessage(message)))
  if (typeof result === 'string') throw new Error(`a core sent what no core reads: ${result}`)
  return result
}

function subjectOf(effect: BedEvent['effect']): string {
  if ('member' in effect) return effect.member.name
  return 'name' in effect ? effect.name : ''
}

/** A binary heap by time, then by order of arrival. */
class EventHeap {
  readonly #items: Happening[] = []

  get first(): Happening | undefined {
    return this.#items[0]
  }

  push(item: Happening): void {
    const items = this.#items
    let index = items.length
    items.push(item)
    while (index > 0) {
      const parent = (index - 1) >> 1
      const above = items[parent]
      if (above === undefined || !isBefore(item, above)) break
      items[index] = above
      index = parent
    }
    items[index] = item
  }

  pop(): void {
    const items = this.#items
    const item = items.pop()
    if (item === undefined || items.length === 0) return
    let index = 0
    for (;;) {
      let child = 2 * index + 1
      let below = items[child]
      if (below === undefined) break
      const right = items[child + 1]
      if (right !== undefined && isBefore(right, below)) {
        child++
        below = right
      }
      if (!isBefore(below, item)) break
      items[index] = below
      index = child
    }
    items[index] = item
  }
}

function isBefore(a: Happening, b: Happening): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order)
}
