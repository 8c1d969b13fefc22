/**
 * A cluster of Raft cores without a runtime: disks that finish writes when it suits them, a network that loses, doubles and
 * overtakes, clocks that drift, processes that end between any two effects. All of it by one source of choices, in virtual
 * time, so that a seed plays the same run again. It carries effects out as late, and inputs as oddly, as the contract on
 * `RaftEffect` allows, and a `RaftSafety` looks on.
 */
import type { Random } from '@understudy/runtime'
import type { MemberId, RaftConfiguration, RaftMessage, SnapshotMeta } from '../raft/raft-message.ts'
import type { RaftEffect, RaftInput, RaftStart, RaftStatus } from '../raft/raft-step.ts'
import type { DiskWrite } from './raft-disk.ts'
import { Agenda } from './raft-agenda.ts'
import { RaftNetwork } from './raft-network.ts'
import { DriftingClock, RaftNode, memberId, nodeOf } from './raft-node.ts'
import type { OpenRequest, RaftCoreUnderTest } from './raft-node.ts'
import { RaftSafety, SafetyViolation, isQuorum } from './raft-safety.ts'
import { RaftTrace } from './raft-trace.ts'

export type MakeRaftCore = (spec: {
  readonly self: MemberId
  readonly start: RaftStart
  readonly random: Random
}) => RaftCoreUnderTest

export interface RaftClusterOptions {
  /** Names of the nodes; their members are `name@1`. */
  readonly names: readonly string[]
  /** Who is in the founding configuration. @default all are voters */
  readonly voters?: readonly string[] | undefined
  readonly learners?: readonly string[] | undefined
  readonly makeCore: MakeRaftCore
  /** Uniform from 0 to `n - 1`; 0 is always the harmless choice. */
  readonly choose: (n: number) => number
  /** The core's minimum election timeout, milliseconds. */
  readonly electionTimeoutMs: number
  /** What the disks hold at first, in place of nothing. */
  readonly starts?: ReadonlyMap<string, Partial<RaftStart>> | undefined
  /** Chance of a member's core. @default by `choose` */
  readonly randomOf?: ((name: string) => Random) | undefined
  /** How many steps the trace keeps. @default 60 */
  readonly traceSteps?: number | undefined
  /** Told of every step, after it was checked. */
  readonly onStep?: ((node: RaftNode, input: RaftInput, effects: readonly RaftEffect[]) => void) | undefined
  /** Told of every answer to what was asked. */
  readonly onAnswer?: ((node: RaftNode, request: OpenRequest, effect: RaftEffect) => void) | undefined
}

/** More steps say that members answer each other without end. */
const STEPS_MAX = 200_000

export class RaftCluster {
  nowMs = 0
  readonly network: RaftNetwork
  readonly safety: RaftSafety
  readonly trace: RaftTrace
  readonly electionTimeoutMs: number
  readonly founding: RaftConfiguration
  /** How long a disk takes for what is in its queue, from and to. */
  diskMs: readonly [number, number] = [1, 1]
  /** From the end of a write to the core's being told. */
  toldMs: readonly [number, number] = [0, 0]
  /** A snapshot's way, from and to. */
  snapshotMs: readonly [number, number] = [20, 20]
  /** In a thousand. */
  snapshotFailPerMille = 0
  /** Clocks begin with a rate of 1 plus or minus at most this. */
  drift = 0
  /** What happened, for statistics: `crash`, `read-ready`, `refused not-leader`, ... */
  readonly counts = new Map<string, number>()
  readonly #options: RaftClusterOptions
  /** By member id, also those whose store is gone. */
  readonly #all = new Map<MemberId, RaftNode>()
  /** By name: the one with the newest store. */
  readonly #nodes = new Map<string, RaftNode>()
  readonly #agenda = new Agenda()
  #id = 0
  /** Proposals that were appended in the step under way. */
  #appended: { readonly request: OpenRequest; readonly first: number; readonly term: number }[] = []

  constructor(options: RaftClusterOptions) {
    this.#options = options
    this.electionTimeoutMs = options.electionTimeoutMs
    this.network = new RaftNetwork(options.choose)
    this.trace = new RaftTrace(options.traceSteps ?? 60)
    const ids = (names: readonly string[]): readonly MemberId[] =>
      names.map((name) => memberId(name, 1)).sort()
    this.founding = {
      voters: ids(options.voters ?? options.names.filter((name) => !options.learners?.includes(name))),
      outgoing: [],
      learners: ids(options.learners ?? []),
      learnersNext: [],
    }
    this.safety = new RaftSafety(this.founding, this.#all)
    for (const name of options.names) {
      const node = this.#add(name, 1, { ...this.#freshStart(), ...options.starts?.get(name) })
      this.safety.planted(node)
    }
  }

  get nodes(): readonly RaftNode[] {
    return [...this.#nodes.values()]
  }

  get names(): readonly string[] {
    return [...this.#nodes.keys()]
  }

  /** @throws {Error} if there is no such node */
  node(name: string): RaftNode {
    const node = this.#nodes.get(name)
    if (node === undefined) throw new Error(`No node "${name}" in ${this.names.join(', ')}`)
    return node
  }

  member(id: MemberId): RaftNode | undefined {
    return this.#all.get(id)
  }

  /** Running leaders, the highest term first. */
  leaders(): readonly RaftNode[] {
    return this.nodes
      .filter((node) => node.isUp && node.isLeader)
      .sort((a, b) => (b.status?.term ?? 0) - (a.status?.term ?? 0))
  }

  // ---- processes

  /** Starts a core on what the node's disk holds. */
  start(name: string): void {
    const node = this.node(name)
    if (node.isUp) return
    const start = node.reload()
    node.life++
    const rate = 1 + this.network.spread(2 * this.drift) - this.drift
    node.clock = new DriftingClock(this.network.spread(100_000), this.nowMs, rate)
    node.pausedUntilMs = 0
    const random = this.#options.randomOf?.(name) ?? this.#random()
    node.core = this.#options.makeCore({ self: node.id, start, random })
    node.status = node.core.status()
    this.#note(
      node,
      `starts on ${start.entries.length} entries${start.lostUpTo === undefined ? '' : ', lost some'}`,
    )
    this.safety.started(node, node.status)
    this.step(node, { type: 'tick' })
  }

  startAll(): void {
    for (const { name } of this.nodes) this.start(name)
  }

  /** Ends a process; the first `kept` of the writes under way are durable. */
  crash(name: string, kept = 0): void {
    const node = this.node(name)
    if (!node.isUp) return
    this.count('crash')
    this.#note(node, `crashes, ${kept} of ${node.disk.pending.length} writes kept`)
    node.core = undefined
    node.status = undefined
    node.crashAfter = undefined
    node.held = []
    node.open.clear()
    node.isDiskBusy = false
    node.isInstalling = false
    node.quietWith = undefined
    for (const write of node.disk.crash(kept)) this.#written(node, write)
  }

  /** The node's store is gone: it is another member from now on, down, with nothing. */
  wipe(name: string): RaftNode {
    this.crash(name)
    this.count('wipe')
    return this.#add(name, this.node(name).store + 1, this.#freshStart())
  }

  /** The node's log cannot be read from this index on. Only while it is down. */
  corrupt(name: string, from: number): void {
    const node = this.node(name)
    if (node.isUp) throw new Error(`Crash ${name} before its disk is corrupted`)
    this.count('corrupt')
    this.#note(node, `has lost its log from ${from} on`)
    node.disk.corrupt(from)
  }

  /** A node does nothing for so long, and does not know it. */
  pause(name: string, forMs: number): void {
    this.count('pause')
    const node = this.node(name)
    this.#note(node, `pauses for ${forMs.toFixed(0)}`)
    node.pausedUntilMs = this.nowMs + forMs
  }

  setDisk(name: string, isHeld: boolean): void {
    const node = this.node(name)
    node.isDiskHeld = isHeld
    this.#runDisk(node)
  }

  // ---- what a host asks of its core; the number of the request, undefined when the node is down

  propose(name: string, commands: readonly Uint8Array[], term?: number): number | undefined {
    return this.#ask(name, 'propose', (id) => ({ type: 'propose', id, commands, term }), { commands, term })
  }

  read(name: string, lease = false): number | undefined {
    return this.#ask(name, 'read', (id) => ({ type: 'read', id, lease }), { isLease: lease })
  }

  change(name: string, voters: readonly MemberId[], learners: readonly MemberId[]): number | undefined {
    const target = { voters: [...voters].sort(), learners: [...learners].sort() }
    return this.#ask(name, 'change', (id) => ({ type: 'change', id, target }))
  }

  transfer(name: string, to: MemberId): number | undefined {
    return this.#ask(name, 'transfer', (id) => ({ type: 'transfer', id, to }))
  }

  /** Takes a snapshot at what is applied and keeps `keep` entries before it in memory. False: there was nothing to do. */
  compact(name: string, keep: number): boolean {
    const node = this.node(name)
    const { applied } = node
    if (!node.isUp || node.isInstalling || applied <= node.disk.log.snapshot.index) return false
    const entry = this.safety.committed[applied - 1]
    const isBegun = node.disk.pending.some((write) => write.type === 'snapshot')
    if (entry === undefined || isBegun) return false
    const meta = { index: applied, term: entry.term, configuration: this.safety.configurationAt(applied) }
    node.disk.begin({ type: 'snapshot', meta, keepFrom: Math.max(1, applied + 1 - keep) })
    this.count('compact')
    this.#note(node, `begins a snapshot at ${applied}`)
    this.#runDisk(node)
    return true
  }

  /** One input now, with all that follows from it. */
  step(node: RaftNode, input: RaftInput): void {
    const { core, status: before } = node
    if (core === undefined || before === undefined) return
    if (this.trace.steps > STEPS_MAX) throw new SafetyViolation('A run comes to an end', `${STEPS_MAX} steps`)
    const effects = core.step(input, node.clock.read(this.nowMs))
    const { crashAfter } = node
    const done = crashAfter === undefined ? effects : effects.slice(0, crashAfter)
    const after = core.status()
    this.trace.add({ atMs: this.nowMs, member: node.id, input, effects: done, status: after })
    for (const effect of done) this.#carryOut(node, effect, before, after)
    if (crashAfter !== undefined) {
      const { pending } = node.disk
      this.safety.broken(node, before, after)
      this.#appended = []
      this.crash(node.name, this.#options.choose(pending.length + 1))
      return
    }
    node.status = after
    this.safety.stepped(node, before, after)
    this.#checkProposals(node)
    if (after.applied !== node.applied && !node.isInstalling) {
      throw new SafetyViolation(
        'Committed entries are applied in order, each once',
        `${node.id} says that it has applied ${after.applied}, ${node.applied} was given out`,
      )
    }
    if (!after.isQuiet) node.quietWith = undefined
    this.#options.onStep?.(node, input, effects)
    this.#runDisk(node)
  }

  // ---- time

  /** Runs `task` when that time has come. */
  at(atMs: number, task: () => void): void {
    this.#agenda.add(atMs, task)
  }

  /** All that happens up to and with that moment. */
  runUntil(untilMs: number): void {
    while (this.#next(untilMs)) {
      // Each pass is one event.
    }
    this.nowMs = Math.max(this.nowMs, untilMs)
  }

  /** Runs until `isDone`, asked after every event; at most so long. How long it took, undefined when it is not so. */
  runWhile(isDone: () => boolean, mostMs: number): number | undefined {
    const startMs = this.nowMs
    while (!isDone()) if (!this.#next(startMs + mostMs)) return undefined
    return this.nowMs - startMs
  }

  count(what: string): void {
    this.counts.set(what, (this.counts.get(what) ?? 0) + 1)
  }

  /**
   * The hosts' own heartbeats: members of a quiet group whose leader's host is gone are woken, and a quiet leader whose majority
   * is gone, or that hears one that was not there when the group went quiet.
   */
  checkHosts(): void {
    for (const node of this.nodes) {
      const { status } = node
      if (status === undefined || !status.isQuiet || this.#isPaused(node)) continue
      const heard = this.#heardBy(node)
      const before = (node.quietWith ??= heard)
      const isThere = (id: MemberId): boolean =>
        id === node.id || (heard.has(id) && heard.get(id) === before.get(id))
      const { leader } = status
      const isAll = leader === node.id ? [...heard.keys()].every(isThere) : true
      const isLed = leader !== undefined && isThere(leader)
      if (leader === node.id ? isAll && isQuorum(status.configuration, isThere) : isLed) continue
      this.count('wake')
      this.step(node, { type: 'wake' })
      if (leader !== undefined && leader !== node.id) this.step(node, { type: 'unreachable', member: leader })
    }
  }

  #heardBy(node: RaftNode): ReadonlyMap<MemberId, number> {
    const others = this.nodes.filter((other) => other !== node && this.#isHeard(node, other))
    return new Map(others.map((other) => [other.id, other.life]))
  }

  #isHeard(node: RaftNode, other: RaftNode): boolean {
    return (
      other.isUp &&
      !this.#isPaused(other) &&
      !this.network.isCut(node.name, other.name) &&
      !this.network.isCut(other.name, node.name)
    )
  }

  #isPaused(node: RaftNode): boolean {
    return node.pausedUntilMs > this.nowMs
  }

  /** One event, or a member's timer; false when there is none up to that time. */
  #next(untilMs: number): boolean {
    let dueMs = this.#agenda.nextMs
    let due: { readonly node: RaftNode; readonly deadlineMs: number } | undefined
    for (const node of this.#nodes.values()) {
      const deadlineMs = node.core?.nextDeadlineMs()
      if (deadlineMs === undefined) continue
      const atMs = Math.max(node.clock.when(deadlineMs, this.nowMs), node.pausedUntilMs)
      if (atMs < dueMs) {
        dueMs = atMs
        due = { node, deadlineMs }
      }
    }
    if (dueMs > untilMs) return false
    this.nowMs = Math.max(this.nowMs, dueMs)
    if (due === undefined) {
      const task = this.#agenda.take()
      task?.()
      return task !== undefined
    }
    const { node, deadlineMs } = due
    node.clock.reach(deadlineMs)
    this.step(node, { type: 'tick' })
    const again = node.core?.nextDeadlineMs()
    if (again !== undefined && again <= deadlineMs) {
      throw new SafetyViolation(
        'A tick moves its deadline on',
        `${node.id} wants to be called at ${again} again`,
      )
    }
    return true
  }

  /** When the node runs: now, or when its pause is over; never in another life. */
  #when(node: RaftNode, atMs: number, task: () => void): void {
    const { life } = node
    const attempt = (): void => {
      if (node.life !== life || !node.isUp) return
      if (this.#isPaused(node)) this.at(node.pausedUntilMs, attempt)
      else task()
    }
    this.at(atMs, attempt)
  }

  // ---- effects

  #carryOut(node: RaftNode, effect: RaftEffect, before: RaftStatus, after: RaftStatus): void {
    switch (effect.type) {
      case 'persist':
        Object.freeze(effect.entries)
        this.safety.persisting(node, effect.hard, effect.entries)
        if (effect.hard !== undefined) node.hard = effect.hard
        node.log.replace(effect.entries)
        node.disk.begin({ ...effect, end: node.log.last })
        break
      case 'install':
        this.count('install')
        this.safety.installing(node, effect.meta)
        node.log.install(effect.meta)
        node.disk.begin(effect)
        node.isInstalling = true
        node.applied = effect.meta.index
        break
      case 'send':
        this.#leave(node, effect.to, effect.message)
        break
      case 'send-durable':
        if (node.disk.pending.length === 0) this.#leave(node, effect.to, effect.message)
        else node.held.push({ write: node.disk.begun, to: effect.to, message: effect.message })
        break
      case 'send-snapshot':
        this.#sendSnapshot(node, effect.to, after)
        break
      case 'apply':
        this.#apply(node, effect)
        break
      case 'role':
        if (effect.role === 'leader') this.count('elected')
        break
      case 'appended':
      case 'refused':
      case 'read-ready':
      case 'changed':
      case 'transferred':
        this.#answer(node, effect, before, after)
        break
      default:
        throw new SafetyViolation('Effects are of the known types', JSON.stringify(effect satisfies never))
    }
  }

  #apply(node: RaftNode, effect: RaftEffect & { type: 'apply' }): void {
    for (const entry of effect.entries) {
      if (entry.index !== node.applied + 1 || node.log.entry(entry.index) !== entry) {
        throw new SafetyViolation(
          'Committed entries are applied in order, each once',
          `${node.id} applies ${entry.index}@${entry.term} behind ${node.applied}; its log has term ${node.log.term(entry.index)} there`,
        )
      }
      node.applied = entry.index
    }
  }

  #answer(
    node: RaftNode,
    effect: RaftEffect & { type: 'appended' | 'refused' | 'read-ready' | 'changed' | 'transferred' },
    before: RaftStatus,
    after: RaftStatus,
  ): void {
    const request = node.open.get(effect.id)
    const wanted = { appended: 'propose', 'read-ready': 'read', changed: 'change', transferred: 'transfer' }
    if (request === undefined || (effect.type !== 'refused' && wanted[effect.type] !== request.type)) {
      throw new SafetyViolation(
        'Every request is answered once',
        `${node.id} answers #${effect.id} with ${effect.type}; open are ${[...node.open.keys()].join(', ')}`,
      )
    }
    node.open.delete(effect.id)
    this.count(effect.type === 'refused' ? `refused ${request.type} ${effect.reason}` : effect.type)
    if (effect.type === 'read-ready') {
      const term = Math.max(before.term, after.term)
      this.safety.readReady(node, term, effect.index, request.floor, request.isLease)
    }
    if (effect.type === 'appended') this.#appended.push({ request, first: effect.first, term: effect.term })
    this.#options.onAnswer?.(node, request, effect)
  }

  /** Proposals are answered in the step that takes them, and stand in the log at its end. */
  #checkProposals(node: RaftNode): void {
    for (const { request, first, term } of this.#appended) {
      if (request.term !== undefined && request.term !== term) {
        throw new SafetyViolation(
          'A proposal for a term is taken in that term only',
          `${node.id} appends #${request.id} in term ${term}, it was for ${request.term}`,
        )
      }
      for (const [i, command] of request.commands.entries()) {
        const entry = node.log.entry(first + i)
        if (entry?.type !== 'command' || entry.data !== command || entry.term !== term) {
          throw new SafetyViolation(
            'What is said to be appended stands in the log',
            `${node.id} answers #${request.id} with ${first + i}/${term}`,
          )
        }
      }
    }
    this.#appended = []
    for (const request of node.open.values()) {
      if (request.type === 'propose')
        throw new SafetyViolation('Every request is answered once', `${node.id} is silent on #${request.id}`)
    }
  }

  #ask(
    name: string,
    type: OpenRequest['type'],
    input: (id: number) => RaftInput,
    more: Partial<OpenRequest> = {},
  ): number | undefined {
    const node = this.node(name)
    if (!node.isUp || this.#isPaused(node)) return undefined
    const id = ++this.#id
    const floor = this.safety.commitMax
    node.open.set(id, { id, type, floor, isLease: false, commands: [], term: undefined, ...more })
    this.step(node, input(id))
    return id
  }

  // ---- network

  #leave(node: RaftNode, to: MemberId, message: RaftMessage): void {
    // Who changes it later changes what others hear.
    Object.freeze(message)
    if (message.type === 'append') Object.freeze(message.entries)
    this.safety.leaving(node, to, message)
    this.count(`sent ${message.type}`)
    const name = nodeOf(to)
    for (const delayMs of this.network.fate(node.name, name, message)) {
      this.at(this.nowMs + delayMs, () => {
        const receiver = this.#nodes.get(name)
        if (receiver === undefined || receiver.id !== to || !receiver.isUp) return
        this.#when(receiver, this.nowMs, () => {
          this.step(receiver, { type: 'message', from: node.id, message })
        })
      })
    }
    if (this.network.isCut(node.name, name) && this.network.isHinted()) {
      this.#when(node, this.nowMs + this.network.delay(), () => {
        this.step(node, { type: 'unreachable', member: to })
      })
    }
  }

  #sendSnapshot(node: RaftNode, to: MemberId, status: RaftStatus): void {
    this.count('send-snapshot')
    const meta = node.disk.log.snapshot
    if (meta.index < status.first - 1) {
      throw new SafetyViolation(
        'The log is cut only behind a durable snapshot',
        `${node.id} begins its log with ${status.first}, its newest snapshot is at ${meta.index}`,
      )
    }
    const { term } = status
    const report = (ok: boolean, afterMs: number): void => {
      this.#when(node, this.nowMs + afterMs, () => {
        this.step(node, { type: 'snapshot-status', to, index: meta.index, ok })
      })
    }
    const [low, high] = this.snapshotMs
    const wayMs = low + this.network.spread(high - low)
    const isLost =
      this.snapshotFailPerMille > 0 && this.#options.choose(1000) >= 1000 - this.snapshotFailPerMille
    this.at(this.nowMs + wayMs, () => {
      const receiver = this.#all.get(to)
      const isThere = receiver !== undefined && receiver === this.#nodes.get(receiver.name)
      if (isLost || !isThere || !receiver.isUp || !this.#isHeard(node, receiver)) {
        report(false, this.electionTimeoutMs)
        return
      }
      this.#when(receiver, this.nowMs, () => {
        this.#receiveSnapshot(receiver, { type: 'snapshot', from: node.id, term, meta }, (ok) => {
          const isOpen = !this.network.isCut(receiver.name, node.name)
          report(ok && isOpen, isOpen ? this.network.delay() : this.electionTimeoutMs)
        })
      })
    })
  }

  #receiveSnapshot(
    node: RaftNode,
    input: RaftInput & { type: 'snapshot' },
    report: (ok: boolean) => void,
  ): void {
    this.step(node, input)
    const { index } = input.meta
    const { life } = node
    const wait = (): void => {
      if (!node.isUp || node.life !== life) report(false)
      else if (!node.isInstalling) report((node.status?.commit ?? 0) >= index)
      else this.at(this.nowMs + 5, wait)
    }
    wait()
  }

  // ---- disk

  #runDisk(node: RaftNode): void {
    if (node.isDiskBusy || node.isDiskHeld || node.disk.pending.length === 0 || !node.isUp) return
    node.isDiskBusy = true
    const { life } = node
    const [low, high] = this.diskMs
    // A disk goes on while the process stands still.
    this.at(this.nowMs + low + this.network.spread(high - low), () => {
      if (node.life !== life || !node.isUp) return
      node.isDiskBusy = false
      if (node.isDiskHeld) return
      this.#finish(node, node.disk.pending.length - this.#options.choose(node.disk.pending.length))
      this.#runDisk(node)
    })
  }

  /** The first `count` writes of the queue are durable: what waited for them leaves, and the core is told, in order. */
  #finish(node: RaftNode, count: number): void {
    const writes = node.disk.complete(count)
    for (const write of writes) this.#written(node, write)
    const free = node.held.filter((one) => one.write <= node.disk.durable)
    node.held = node.held.filter((one) => one.write > node.disk.durable)
    const release = (): void => {
      for (const { to, message } of free) this.#leave(node, to, message)
    }
    if (free.length > 0) this.#when(node, this.nowMs, release)
    const [low, high] = this.toldMs
    node.toldAtMs = Math.max(node.toldAtMs, this.nowMs + low + this.network.spread(high - low))
    for (const input of writes.map(completion)) {
      this.#when(node, node.toldAtMs, () => {
        if (input.type === 'installed')
          node.isInstalling = node.disk.pending.some((one) => one.type === 'install')
        this.step(node, input)
      })
    }
  }

  #written(node: RaftNode, write: DiskWrite): void {
    if (write.type === 'persist') this.safety.durable(node, write.hard, write.entries)
  }

  #add(name: string, store: number, start: RaftStart): RaftNode {
    const node = new RaftNode(name, store, start)
    this.#nodes.set(name, node)
    this.#all.set(node.id, node)
    return node
  }

  #freshStart(): RaftStart {
    const snapshot: SnapshotMeta = { index: 0, term: 0, configuration: this.founding }
    return { hard: { term: 0, vote: undefined }, snapshot, entries: [] }
  }

  #random(): Random {
    const { choose } = this.#options
    const random: Random = {
      u32: () => choose(2 ** 32),
      int: (low, high) => low + choose(high - low + 1),
      float: () => choose(2 ** 30) / 2 ** 30,
      fork: () => random,
    }
    return random
  }

  #note(node: RaftNode, text: string): void {
    this.trace.add({ atMs: this.nowMs, member: node.id, input: text, effects: [], status: undefined })
  }
}

/** What a core is told of each write. */
function completion(write: DiskWrite): RaftInput {
  switch (write.type) {
    case 'persist':
      return { type: 'persisted', upTo: { index: write.end.index, term: write.end.term } }
    case 'install':
      return { type: 'installed', meta: write.meta }
    case 'snapshot':
      return { type: 'compact', meta: write.meta, keepFrom: write.keepFrom }
    default:
      return write satisfies never
  }
}
