/**
 * Random runs of a `RaftCluster`, in the manner of swarm testing (Groce and others, 2012; TigerBeetle's simulator): what may
 * go wrong, and how often, is itself drawn for each seed, because runs in which everything is equally likely are all alike.
 * First anything may happen and only safety is asked for. Then the faults end and the cluster has to become useful again,
 * within a number of election timeouts, in some runs while the network is still a bridge or a ring of majorities (R9).
 */
import type { MemberId, RaftConfiguration, RaftMessage } from '../raft/raft-message.ts'
import { RaftCluster } from './raft-cluster.ts'
import type { MakeRaftCore } from './raft-cluster.ts'
import type { RaftNode } from './raft-node.ts'
import { SafetyViolation, isQuorum, sameConfiguration } from './raft-safety.ts'
import { drawRaftSwarm } from './raft-swarm.ts'
import type { RaftFuzzAction, RaftSwarm } from './raft-swarm.ts'

export interface RaftFuzzOptions {
  /** Uniform from 0 to `n - 1`; all that is random in the run. */
  readonly choose: (n: number) => number
  readonly makeCore: (swarm: RaftSwarm) => MakeRaftCore
  /** Steps in the trace of a failed run. @default 60 */
  readonly traceSteps?: number | undefined
}

export interface RaftFuzzResult {
  /** What did not hold: a property, or the message of whatever was thrown. */
  readonly violation: { readonly property: string; readonly text: string } | undefined
  readonly swarm: RaftSwarm
  readonly steps: number
  readonly virtualMs: number
  readonly committed: number
  readonly counts: ReadonlyMap<string, number>
  /** The last steps, empty when all is well. */
  readonly trace: readonly string[]
}

/** One run. Never throws. */
export function runRaftFuzz(options: RaftFuzzOptions): RaftFuzzResult {
  const run = new FuzzRun(options)
  let violation: RaftFuzzResult['violation']
  try {
    run.rage()
    run.recover()
  } catch (error) {
    violation =
      error instanceof SafetyViolation
        ? { property: error.property, text: error.message }
        : {
            property: 'Nothing throws',
            text: error instanceof Error ? (error.stack ?? error.message) : String(error),
          }
  }
  const { cluster, swarm } = run
  return {
    violation,
    swarm,
    steps: cluster.trace.steps,
    virtualMs: cluster.nowMs,
    committed: cluster.safety.commitMax,
    counts: cluster.counts,
    trace: violation === undefined ? [] : cluster.trace.lines(),
  }
}

class FuzzRun {
  readonly cluster: RaftCluster
  readonly swarm: RaftSwarm
  readonly #choose: (n: number) => number
  readonly #deck: readonly RaftFuzzAction[]
  /** Numbers of commands that were refused. */
  readonly #refused = new Set<number>()
  #deaf: MemberId | undefined
  /** Of those that lead: their term. */
  readonly #leading = new Map<MemberId, number>()
  #command = 0

  constructor(options: RaftFuzzOptions) {
    const { choose } = options
    this.#choose = choose
    this.swarm = drawRaftSwarm(choose)
    const { voters, learners, spares, electionTimeoutMs } = this.swarm
    const names = 'abcdefghijkl'.split('').slice(0, voters + learners + spares)
    this.cluster = new RaftCluster({
      names,
      voters: names.slice(0, voters),
      learners: names.slice(voters, voters + learners),
      makeCore: options.makeCore(this.swarm),
      choose,
      electionTimeoutMs,
      traceSteps: options.traceSteps,
      onStep: (node) => {
        this.#probe(node)
      },
      onAnswer: (_node, request, effect) => {
        if (effect.type !== 'refused') return
        for (const command of request.commands) this.#refused.add(numberOf(command))
      },
    })
    this.#deck = [...this.swarm.actions].flatMap(([action, weight]) =>
      Array.from({ length: weight }, () => action),
    )
  }

  /** Anything may happen. */
  rage(): void {
    const { cluster, swarm } = this
    const unit = swarm.electionTimeoutMs
    const { faults } = cluster.network
    faults.delayMs = [0, this.#pick([2, 10, 30, 100, 400]) * (unit / 1000)]
    faults.isSlowAtTimes = this.#isOneOf(3)
    faults.dropPerMille = this.#pick([0, 0, 10, 50, 200])
    faults.duplicatePerMille = this.#pick([0, 10, 100, 300])
    faults.hintPerMille = this.#pick([0, 10, 200])
    cluster.diskMs = [0, this.#pick([0, 1, 10, 50, 300]) * (unit / 1000)]
    cluster.toldMs = [0, this.#pick([0, 1, 30]) * (unit / 1000)]
    cluster.snapshotMs = [0, this.#pick([10, 100, 1000]) * (unit / 1000)]
    cluster.snapshotFailPerMille = this.#pick([0, 0, 200, 500])
    cluster.drift = swarm.driftMax * this.#pick([0, 0.5, 0.95])
    this.#checkHostsFromNowOn()
    cluster.startAll()
    const gapMs = this.#pick([10, 30, 100]) * (unit / 1000)
    const lengthMs = unit * this.#pick([10, 20, 40])
    while (cluster.nowMs < lengthMs) {
      cluster.runUntil(cluster.nowMs + cluster.network.spread(2 * gapMs))
      const action = this.#deck[this.#choose(this.#deck.length)]
      if (action === undefined) break
      cluster.count(`action ${action}`)
      this.#act(action)
    }
  }

  /** The faults end: within so many election timeouts there is a leader, what is proposed is committed, all agree. */
  recover(): void {
    const { cluster, swarm } = this
    const unit = swarm.electionTimeoutMs
    const { faults } = cluster.network
    faults.delayMs = [0, 10 * (unit / 1000)]
    faults.isSlowAtTimes = false
    faults.dropPerMille = 0
    faults.duplicatePerMille = 0
    faults.dropTypes.clear()
    cluster.diskMs = [0, 2 * (unit / 1000)]
    cluster.toldMs = [0, 0]
    cluster.snapshotMs = [0, 20 * (unit / 1000)]
    cluster.snapshotFailPerMille = 0
    for (const node of cluster.nodes) {
      cluster.setDisk(node.name, false)
      node.pausedUntilMs = 0
      node.crashAfter = undefined
    }
    cluster.network.join()
    if (swarm.topology === 'bridge') cluster.network.bridge(cluster.names)
    if (swarm.topology === 'ring') cluster.network.ring(cluster.names)
    cluster.startAll()
    if (swarm.topology === 'deaf') this.#deafen()
    // Not even a proposal is needed for that; with one it may come about for another reason.
    if (swarm.topology === 'full' && this.#isOneOf(2)) this.#demandSettled()
    if (swarm.topology === 'full' || this.#isTopologyUseful())
      this.#demandCommit(20, `on a ${swarm.topology} network`)
    cluster.network.join()
    this.#demandCommit(20, 'with all links')
    this.#demandSettled()
    this.#demand(20, 'Every request of a member is answered', () =>
      this.#members().every((node) => node.open.size === 0),
    )
    if (swarm.isQuiescent) {
      // Links that come and go leave nothing behind.
      for (const node of this.#members()) {
        const other = this.#pick(cluster.nodes)
        if (this.#isOneOf(2)) cluster.step(node, { type: 'unreachable', member: other.id })
      }
      this.#demand(100, 'An idle group goes quiet', () =>
        this.#members().every((node) => node.status?.isQuiet),
      )
      this.#demandCommit(20, 'after it was quiet')
    }
    this.#checkRefused()
  }

  #act(action: RaftFuzzAction): void {
    const { cluster, swarm } = this
    const unit = swarm.electionTimeoutMs
    const node = this.#pick(cluster.nodes)
    const leader = cluster.leaders()[0] ?? node
    const { names, network } = cluster
    switch (action) {
      case 'propose':
        cluster.propose(leader.name, this.#commands(1 + this.#choose(3)))
        break
      case 'burst':
        for (let i = 0; i < 20; i++) cluster.propose(leader.name, this.#commands(1))
        break
      case 'stray': {
        const term = this.#isOneOf(2) ? (node.status?.term ?? 0) - this.#choose(2) : undefined
        cluster.propose(node.name, this.#commands(1), term)
        break
      }
      case 'read':
        // Also who led before and does not know better.
        for (const { name } of cluster.leaders()) cluster.read(name)
        if (this.#isOneOf(2)) cluster.read(node.name)
        break
      case 'lease':
        for (const { name } of cluster.leaders()) cluster.read(name, true)
        break
      case 'change':
        this.#change(leader)
        break
      case 'transfer':
        cluster.transfer(leader.name, node.id)
        break
      case 'compact':
        cluster.compact(node.name, this.#pick([0, 2, 10]))
        break
      case 'crash':
        this.#crash(node)
        break
      case 'crashInStep':
        if (node.isUp) {
          node.crashAfter = this.#choose(4)
          this.#startLater(node.name)
        }
        break
      case 'crashAll':
        for (const one of cluster.nodes) this.#crash(one)
        break
      case 'pause':
        if (!node.isUp) break
        cluster.pause(node.name, network.spread(3 * unit))
        // Asked before anything tells it how long that was.
        cluster.at(node.pausedUntilMs, () => {
          if (node.isLeader) cluster.read(node.name, swarm.isLease)
        })
        break
      case 'split': {
        const side = names.filter(() => this.#isOneOf(2))
        network.split(names, [side, names.filter((name) => !side.includes(name))])
        break
      }
      case 'isolateLeader':
        network.split(names, [names.filter((name) => name !== leader.name)])
        break
      case 'oneWay':
        for (const name of names) {
          if (name === node.name) continue
          if (this.#isOneOf(2)) network.cut(node.name, name)
          else if (this.#isOneOf(3)) network.cut(name, node.name)
        }
        break
      case 'bridge':
        network.bridge(names)
        break
      case 'ring':
        network.ring(names)
        break
      case 'join':
        network.join()
        break
      case 'dropType':
        network.faults.dropTypes.add(this.#pick(droppable))
        break
      case 'dropNone':
        network.faults.dropTypes.clear()
        break
      case 'corrupt':
        this.#corrupt(node)
        break
      case 'wipe':
        this.#wipe(node)
        break
      case 'unreachable':
        if (node.isUp) cluster.step(node, { type: 'unreachable', member: this.#pick(cluster.nodes).id })
        break
      case 'clockRate': {
        const { drift } = cluster
        node.clock.setRate(1 + network.spread(2 * drift) - drift, cluster.nowMs)
        break
      }
      case 'holdDisk':
        cluster.setDisk(node.name, true)
        cluster.at(cluster.nowMs + network.spread(2 * unit), () => cluster.setDisk(node.name, false))
        break
      case 'wake':
        if (node.isUp) cluster.step(node, { type: 'wake' })
        break
      case 'idle':
        // Long enough to go quiet.
        cluster.runUntil(cluster.nowMs + 4 * unit + network.spread(3 * unit))
        break
      default:
        action satisfies never
    }
  }

  /** When one begins to lead, whoever led before is asked to read: that is the moment when it must not. */
  #probe(node: RaftNode): void {
    const term = node.isLeader ? node.status?.term : undefined
    if (this.#leading.get(node.id) === term) return
    if (term === undefined) {
      this.#leading.delete(node.id)
      return
    }
    this.#leading.set(node.id, term)
    const { cluster } = this
    for (const { name } of cluster.leaders()) {
      if (name === node.name) continue
      cluster.at(cluster.nowMs, () => {
        cluster.read(name, this.swarm.isLease)
      })
    }
  }

  #change(leader: RaftNode): void {
    const { cluster } = this
    const alive = cluster.nodes.filter((node) => !this.#isLost(node.id)).map((node) => node.id)
    const now = leader.status?.configuration.voters ?? []
    const pool = [...new Set([...now.filter((id) => !this.#isGone(id)), ...alive])]
    // Mostly one more or one less, as people do; sometimes anything.
    const voters =
      this.#choose(3) === 0 ? pool.filter(() => this.#isOneOf(2)) : toggled([...now], this.#pick(pool))
    const kept = voters.filter((id) => !this.#isGone(id))
    const learners = pool.filter((id) => !kept.includes(id) && this.#isOneOf(2))
    // The faults take no more than a minority: a configuration that cannot live is no bug of the core.
    if (this.#survives({ voters: kept, outgoing: now, learners: [], learnersNext: [] }))
      cluster.change(leader.name, kept, learners)
  }

  #crash(node: RaftNode): void {
    if (!node.isUp) return
    this.cluster.crash(node.name, this.#choose(node.disk.pending.length + 1))
    this.#startLater(node.name)
  }

  #startLater(name: string): void {
    const { cluster } = this
    const afterMs = cluster.network.spread(this.swarm.electionTimeoutMs * this.#pick([0, 1, 5]))
    cluster.at(cluster.nowMs + afterMs, () => cluster.start(name))
  }

  /** The end of its log, or all of it, becomes unreadable. */
  #corrupt(node: RaftNode): void {
    const { cluster } = this
    if (!this.#mayLose(node.id)) return
    cluster.crash(node.name, this.#choose(node.disk.pending.length + 1))
    const { snapshot, last } = node.disk.log
    if (last.index > snapshot.index)
      cluster.corrupt(node.name, snapshot.index + 1 + this.#choose(last.index - snapshot.index))
    this.#startLater(node.name)
  }

  #wipe(node: RaftNode): void {
    if (!this.#mayLose(node.id)) return
    this.cluster.wipe(node.name)
    this.#startLater(node.name)
  }

  /** Would every configuration that may still come into force live on without it? */
  #mayLose(id: MemberId): boolean {
    const { safety, nodes } = this.cluster
    const open = nodes.flatMap((node) => {
      const { snapshot, entries } = node.log
      const configurations = entries.flatMap((entry) =>
        entry.type === 'configuration' ? [entry.configuration] : [],
      )
      const disk = node.disk.log.entries.flatMap((entry) =>
        entry.type === 'configuration' ? [entry.configuration] : [],
      )
      return [snapshot.configuration, ...configurations, ...disk]
    })
    return [safety.configurationAt(safety.commitMax), ...open].every((one) => this.#survives(one, id))
  }

  #survives(configuration: RaftConfiguration, without?: MemberId): boolean {
    return isQuorum(configuration, (id) => id !== without && !this.#isLost(id))
  }

  /** Its store is gone. */
  #isGone(id: MemberId): boolean {
    return !this.cluster.nodes.some((node) => node.id === id)
  }

  #isLost(id: MemberId): boolean {
    const node = this.cluster.nodes.find((one) => one.id === id)
    return node === undefined || node.disk.isLossy || node.status?.isRecovering === true
  }

  /** One, a leader if there is one, is heard by all and hears nobody (Cloudflare, 2020). The others are a majority, or it is not done. */
  #deafen(): void {
    const { cluster } = this
    const { name, id } = cluster.leaders()[0] ?? this.#pick(cluster.nodes)
    if (!this.#mayLose(id)) return
    this.#deaf = id
    for (const other of cluster.names) if (other !== name) cluster.network.cut(other, name)
  }

  /**
   * Does every voter that is well hear a majority? Not so when the configuration is not of all nodes. Less is not enough for
   * Raft: where only one hears a majority, and its log is behind another's, nobody can be elected.
   */
  #isTopologyUseful(): boolean {
    const { cluster } = this
    if (this.swarm.topology === 'deaf') return this.#deaf !== undefined
    const hears = (from: RaftNode, to: RaftNode): boolean =>
      !cluster.network.isCut(from.name, to.name) && !cluster.network.isCut(to.name, from.name)
    const all = cluster.nodes.flatMap(({ status }) => (status === undefined ? [] : [status.configuration]))
    return all.every((configuration) =>
      [...configuration.voters, ...configuration.outgoing].every((voter) => {
        const node = cluster.member(voter)
        if (node === undefined || this.#isLost(voter)) return true
        return all.every((other) =>
          isQuorum(other, (id) => {
            const peer = cluster.member(id)
            return peer !== undefined && !this.#isLost(id) && hears(node, peer)
          }),
        )
      }),
    )
  }

  #members(): readonly RaftNode[] {
    const { cluster } = this
    const { safety } = cluster
    const { voters, learners } = safety.configurationAt(safety.commitMax)
    return [...voters, ...learners].flatMap((id) => {
      const node = cluster.member(id)
      return node === undefined || this.#isGone(id) ? [] : [node]
    })
  }

  #isSettled(): boolean {
    const { safety } = this.cluster
    const configuration = safety.configurationAt(safety.commitMax)
    if (configuration.outgoing.length > 0) return false
    return this.#members().every(
      ({ status }) =>
        status !== undefined &&
        status.commit === safety.commitMax &&
        status.applied === safety.commitMax &&
        status.last.index === safety.commitMax &&
        !status.isRecovering &&
        sameConfiguration(status.configuration, configuration),
    )
  }

  #demandSettled(): void {
    this.#demand(
      60,
      'All members of the configuration have all entries, and no change is left half done',
      () => this.#isSettled(),
    )
  }

  /** Something that is proposed from now on is committed. */
  #demandCommit(timeouts: number, where: string): void {
    const { cluster } = this
    const unit = this.swarm.electionTimeoutMs
    const proposed = new Set<number>()
    let seen = cluster.safety.commitMax
    const endMs = cluster.nowMs + timeouts * unit
    while (cluster.nowMs < endMs) {
      for (const leader of cluster.leaders()) {
        const commands = this.#commands(1)
        cluster.propose(leader.name, commands)
        for (const command of commands) proposed.add(numberOf(command))
      }
      cluster.runUntil(cluster.nowMs + unit / 4)
      for (; seen < cluster.safety.commitMax; seen++) {
        const entry = cluster.safety.committed[seen]
        if (entry?.type === 'command' && proposed.has(numberOf(entry.data))) return
      }
    }
    throw new SafetyViolation(
      'Liveness',
      `nothing was committed within ${timeouts} election timeouts ${where}`,
    )
  }

  #demand(timeouts: number, property: string, isSo: () => boolean | undefined): void {
    if (this.cluster.runWhile(() => isSo() === true, timeouts * this.swarm.electionTimeoutMs) !== undefined)
      return
    throw new SafetyViolation('Liveness', `not within ${timeouts} election timeouts: ${property}`)
  }

  #checkRefused(): void {
    for (const entry of this.cluster.safety.committed) {
      if (entry.type === 'command' && this.#refused.has(numberOf(entry.data)))
        throw new SafetyViolation('What is refused is never committed', `entry ${entry.index}@${entry.term}`)
    }
  }

  #checkHostsFromNowOn(): void {
    const { cluster } = this
    const everyMs = this.swarm.electionTimeoutMs / 2
    const check = (): void => {
      cluster.checkHosts()
      cluster.at(cluster.nowMs + everyMs, check)
    }
    check()
  }

  #commands(count: number): readonly Uint8Array[] {
    return Array.from({ length: count }, () => {
      // With small windows a few fill an append, so that what a follower lacks comes in many.
      const bytes = new Uint8Array(4 + this.#choose(this.swarm.hasSmallWindows ? 600 : 60))
      new DataView(bytes.buffer).setUint32(0, ++this.#command)
      return bytes
    })
  }

  #pick<T>(all: readonly T[]): T {
    const one = all[this.#choose(all.length)]
    if (one === undefined) throw new Error('Nothing to pick from')
    return one
  }

  #isOneOf(n: number): boolean {
    return this.#choose(n) === n - 1
  }
}

const droppable: readonly RaftMessage['type'][] = [
  'pre-vote',
  'vote',
  'vote-reply',
  'append',
  'append-reply',
  'heartbeat',
  'heartbeat-reply',
  'timeout-now',
  'read',
  'read-reply',
  'quiesce',
]

function toggled(ids: readonly MemberId[], id: MemberId): readonly MemberId[] {
  return ids.includes(id) ? ids.filter((one) => one !== id) : [...ids, id]
}

function numberOf(command: Uint8Array): number {
  return new DataView(command.buffer, command.byteOffset).getUint32(0)
}
