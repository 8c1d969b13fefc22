/**
 * The simulator's network: stream links between simulated processes, as WebSockets are, and everything that can go wrong
 * with them. One seed decides how slow it is; faults come from `faultKinds()`, or by hand from the methods here.
 *
 * Hosts are machines, by name; whoever listens is found by its address. Faults act on directed pairs of hosts.
 */
import type { FaultKind, SimulatedProcess, Simulation } from '@understudy/runtime/simulation'
import { checkLinkLimits } from '../transport/transport.ts'
import type { LinkLimits, Transport } from '../transport/transport.ts'
import type { MessageFaultName, MessageFilter } from './message-fault.ts'
import { NetworkFabric, type SimulatedNetworkOptions } from './network-fabric.ts'
import { NetworkFaults, networkFaultKinds } from './network-fault.ts'
import type { FrameDamage, NetworkPath, PathLimits, Undo } from './network-path.ts'
import { cutBetween, partitionShapes, type PartitionShape, type PartitionShapeName } from './partition.ts'
import { NetworkAttachment, SimulatedTransport, type SimulatedListener } from './simulated-transport.ts'

/** How long a fault by hand lasts. */
export interface NetworkFaultOptions {
  /** Undone by itself after so many virtual milliseconds. @default until it is undone or healed */
  readonly forMs?: number | undefined
}

export interface ClogOptions extends NetworkFaultOptions {
  /** What waited arrives that far apart, in milliseconds. @default 0: at once */
  readonly gapMs?: number | undefined
}

/** Stands for all other hosts. */
export const everyHost = '*'

export class SimulatedNetwork {
  readonly #simulation: Simulation
  readonly #fabric: NetworkFabric<SimulatedListener>
  readonly #faults: NetworkFaults
  readonly #attachments = new Map<SimulatedProcess, NetworkAttachment>()
  readonly #active = new Set<Undo>()

  /** Draws what this seed's network is like, unless the options say it. */
  constructor(simulation: Simulation, options: SimulatedNetworkOptions = {}) {
    this.#simulation = simulation
    this.#fabric = new NetworkFabric(simulation, options)
    this.#faults = new NetworkFaults(this.#fabric)
  }

  /** How long an end that hears nothing takes its connection for standing. Milliseconds. */
  get keepaliveMs(): number {
    return this.#fabric.keepaliveMs
  }

  /** Names of the machines that were met so far. */
  get hosts(): readonly string[] {
    return this.#fabric.hosts.map(({ name }) => name)
  }

  /** How long a frame takes at least between those machines that are farthest apart, of all that have met; without faults. */
  get farthestMs(): number {
    return Math.max(0, ...this.#fabric.paths.map(({ leastMs }) => leastMs))
  }

  /** What the arrow of a frame says in the picture; asked only while tracing. */
  set labelOf(label: NonNullable<SimulatedNetworkOptions['labelOf']>) {
    this.#fabric.labelOf = label
  }

  /**
   * The network as `process` sees it. When the process dies its listeners are gone, its links fall silent, what it had
   * queued is lost, and its peers see `CLUSTER_LINK_LOST`, at once or from their keepalive.
   *
   * @throws {RangeError} if a limit is out of range
   */
  transport(process: SimulatedProcess, limits: LinkLimits = {}): Transport {
    const checked = checkLinkLimits(limits)
    let attachment = this.#attachments.get(process)
    if (attachment === undefined) {
      attachment = new NetworkAttachment(this.#fabric, process)
      this.#attachments.set(process, attachment)
      process.onKill(() => this.#attachments.delete(process))
    }
    return new SimulatedTransport(this.#fabric, attachment, checked)
  }

  /** Everything that a nemesis can do here. */
  faultKinds(): readonly FaultKind[] {
    return networkFaultKinds(this.#fabric, this.#faults)
  }

  /** Undoes all faults by hand, the latest first; from now on every frame takes the least time of its path. */
  heal(): void {
    for (const undo of [...this.#active].reverse()) undo()
    this.#fabric.calm()
  }

  // ---- Faults by hand; each returns its undo. Hosts are machines by name; `*` stands for all others. ---------------

  /** Holds back everything from one host to another. Longer than the keepalive, it costs the links. */
  clog(from: string, to: string, options: ClogOptions = {}): Undo {
    return this.#act(
      'clog',
      `${from} > ${to}`,
      this.#faults.block(this.#paths(from, to), options.gapMs),
      options,
    )
  }

  /** Latency times `slowFactor`; frames in flight; bandwidth. */
  limit(from: string, to: string, limits: PathLimits, options: NetworkFaultOptions = {}): Undo {
    const { slowFactor, framesMax, bytesPerMs } = limits
    checkLimit('slowFactor', slowFactor, 1)
    checkLimit('framesMax', framesMax, 1)
    checkLimit('bytesPerMs', bytesPerMs, Number.MIN_VALUE)
    const kind = framesMax !== undefined ? 'capacity' : bytesPerMs !== undefined ? 'bandwidth' : 'slow-link'
    const what = `${from} > ${to}: ${JSON.stringify(limits)}`
    return this.#act(kind, what, this.#faults.limit(this.#paths(from, to), limits), options)
  }

  /** Nobody of one group reaches anybody of another; who is in none keeps all connections. */
  partition(groups: readonly (readonly string[])[], options: NetworkFaultOptions = {}): Undo {
    const cut = cutBetween(groups.map((group) => group.map((name) => this.#fabric.host(name))))
    return this.#act('partition', cut.what, this.#faults.cut(cut.pairs), options)
  }

  /** A partition of that shape, by choice; `undefined` when there are too few hosts or zones for it. */
  partitionShaped(shape: PartitionShapeName, options: NetworkFaultOptions = {}): Undo | undefined {
    const draw: PartitionShape = partitionShapes[shape]
    const { hosts } = this.#fabric
    const choices = this.#simulation.choices.stream(`fault/partition-${shape}`)
    const cut = hosts.length < 2 ? undefined : draw(hosts, choices)
    return cut && this.#act(`partition-${shape}`, cut.what, this.#faults.cut(cut.pairs), options)
  }

  /** What `from` sends on its present links to `to` vanishes; both notice after the keepalive, or when it is undone. */
  halfOpen(from: string, to: string, options: NetworkFaultOptions = {}): Undo {
    const undos = this.#fabric.linksOf(this.#paths(from, to)).map((link) => link.goHalfOpen())
    return this.#act('half-open', `${from} > ${to}`, () => undos.forEach((undo) => undo()), options)
  }

  /** Breaks the links between two hosts. How much of what is in flight is lost, and who notices at once, is chosen. */
  reset(a: string, b: string): void {
    const choices = this.#simulation.choices.stream('fault/reset')
    this.#simulation.fault('reset', `the links between ${a} and ${b}`, a === everyHost ? undefined : a)
    for (const link of this.#fabric.linksOf(this.#paths(a, b))) link.reset(choices)
  }

  /** Spoils, on each link, one frame from `from` to `to`, after `skip` more have arrived. */
  damage(from: string, to: string, kind: FrameDamage, skip = 0): Undo {
    const name = kind === 'corrupt' ? 'corruption' : 'truncation'
    const undos = this.#fabric.linksOf(this.#paths(from, to)).map((link) => link.damage(kind, skip))
    return this.#act(name, `${from} > ${to}`, () => undos.forEach((undo) => undo()), {})
  }

  /** Dials to `to` fail at once with `CLUSTER_DIAL_REFUSED`. */
  refuseDials(to: string, options: NetworkFaultOptions = {}): Undo {
    return this.#act('refuse-dials', to, this.#faults.refuse(this.#fabric.host(to), 'dialsRefused'), options)
  }

  /** Dials to `to` get no answer. */
  loseDials(to: string, options: NetworkFaultOptions = {}): Undo {
    return this.#act('lose-dials', to, this.#faults.refuse(this.#fabric.host(to), 'dialsLost'), options)
  }

  /** Loses, doubles, replays or reorders single tells of lossy protocols. Each that is met is counted. */
  messages(fault: MessageFaultName, filter: MessageFilter = {}, options: NetworkFaultOptions = {}): Undo {
    return this.#hold(this.#fabric.messageFaults.add(fault, filter), options)
  }

  #act(kind: string, what: string, undo: Undo, options: NetworkFaultOptions): Undo {
    this.#simulation.fault(kind, what)
    return this.#hold(undo, options)
  }

  #hold(undo: Undo, { forMs }: NetworkFaultOptions): Undo {
    const once = (): void => {
      if (this.#active.delete(once)) undo()
    }
    this.#active.add(once)
    if (forMs !== undefined) {
      this.#simulation.at(this.#simulation.nowMs + forMs, undefined, 'fault-over', once)
    }
    return once
  }

  /** @throws {RangeError} for a host that nobody knows */
  #paths(from: string, to: string): readonly NetworkPath[] {
    const { hosts } = this.#fabric
    const sources = from === everyHost ? hosts : [this.#fabric.host(from)]
    const targets = to === everyHost ? hosts : [this.#fabric.host(to)]
    const isOne = from !== everyHost && to !== everyHost
    return sources.flatMap((source) =>
      targets
        .filter((target) => isOne || target !== source)
        .map((target) => this.#fabric.path(source, target)),
    )
  }
}

function checkLimit(name: string, value: number | undefined, least: number): void {
  if (value !== undefined && !(value >= least)) {
    throw new RangeError(`Cannot limit a path: ${name} must be at least ${least}, got ${value}`)
  }
}
