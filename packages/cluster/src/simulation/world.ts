/** A simulated cluster: real nodes on simulated machines and a network that misbehaves on purpose. */
import {
  ProcessKilled,
  processFaults,
  ScenarioWorld,
  harmfulStoreFaults,
  storeFaults,
  type MayHarmStore,
  Simulation,
  type FaultKind,
  type FaultOptions,
  type RunResult,
  type SimulationOptions,
  type StoreFaultName,
} from '@understudy/runtime/simulation'
import type { ClusterNode } from '../node/cluster-node.ts'
import { SimulatedNetwork } from './simulated-network.ts'
import type { WireOffer } from '../wire/wire-version.ts'
import { SimulatedNode, type SimulatedNodeOptions } from './simulated-node.ts'
import { wirePin, WireRollout } from './wire-rollout.ts'

export interface WorldNode {
  /** @default 'a', 'b', ... */
  readonly name?: string | undefined
  /** Machines of one zone lose power together, and preference lists spread over zones. @default one zone each */
  readonly zone?: string | undefined
  /** On top of what `SimulateOptions.node` says. */
  readonly options?: SimulatedNodeOptions | undefined
  /** What it offers of the wire, until something else is installed. @default all that this build speaks */
  readonly wire?: WireOffer | undefined
}

export interface SimulateOptions extends SimulationOptions {
  /** How many, or which. At most 200. */
  readonly nodes: number | readonly WorldNode[]
  /** Options of each node, asked at each start. @default none */
  readonly node?: ((name: string) => SimulatedNodeOptions) | undefined
  /** Faults to draw from; `false` for none. @default all kinds */
  readonly faults?: FaultOptions | false | undefined
  /**
   * Lets the nodes find each other before faults begin and the scenario runs; false: the scenario sees them begin.
   * @default true
   */
  readonly formFirst?: boolean | undefined
  /** How long frames take: drawn per seed and link, or the least there is. @default 'drawn' */
  readonly latency?: 'drawn' | 'minimal' | undefined
  /** Nodes that faults may take away at once. Power cuts and partitions do not ask. @default a minority */
  readonly downMax?: number | undefined
}

const firstPort = 7_001
const nodesMax = 200

/** A world of many machines. */
export class World extends ScenarioWorld {
  readonly network: SimulatedNetwork
  readonly nodes: readonly SimulatedNode[]
  readonly #rollout: WireRollout

  constructor(simulation: Simulation, options: SimulateOptions) {
    const specs = nodeSpecs(options.nodes)
    const network = new SimulatedNetwork(simulation, { latency: options.latency })
    const downMax = options.downMax ?? Math.max(1, Math.ceil(specs.length / 2) - 1)
    const seeds = specs.map((_, index) => addressOf(index))
    const nodes: SimulatedNode[] = specs.map(
      (spec, index) =>
        new SimulatedNode(simulation, network, {
          name: spec.name,
          zone: spec.zone,
          address: addressOf(index),
          seeds,
          options: () => ({ ...options.node?.(spec.name), ...spec.options }),
          mayFail: () => nodes.filter(isFailing).length < downMax,
          started: (node, last) => rollout.started(node, last),
        }),
    )
    for (const [index, { wire }] of specs.entries()) if (wire !== undefined) nodes[index]?.install(wire)
    const rollout = new WireRollout(simulation, () => nodes)
    const faults = options.faults === false ? undefined : options.faults
    // The disks that ever broke a promise are a minority, for good: a quorum keeps what was acknowledged.
    const harmed = new Set<string>()
    const mayHarm: MayHarmStore = (machine, fault) => {
      return !harmfulStoreFaults.has(fault) || harmed.has(machine) || harmed.size < downMax
    }
    const storeKinds = storeFaults(() => nodes.map(({ machine }) => machine.disk.controls), mayHarm)
    const kinds = [
      ...processFaults(() => nodes),
      ...network.faultKinds(),
      ...storeKinds.map((kind) => noting(kind, harmed)),
      rollout.kind,
    ]
    super(simulation, () => nodes, kinds, faults)
    this.network = network
    this.nodes = nodes
    this.#rollout = rollout
    if (faults !== undefined && isDrawn(wirePin, faults)) rollout.installAtFirst()
  }

  /** A node by number or name. @throws {RangeError} when there is none */
  node(which: number | string): SimulatedNode {
    const found = this.nodes.find((node, index) => node.name === which || index === which)
    if (found === undefined) {
      throw new RangeError(
        `There is no node ${which}: the world has ${this.nodes.map(({ name }) => name).join(', ')}`,
      )
    }
    return found
  }

  /** Nodes that run now. */
  up(): readonly SimulatedNode[] {
    return this.nodes.filter(({ isUp }) => isUp)
  }

  /** One that runs now, by choice; `undefined` when none does. */
  anyUp(label = 'scenario/node'): SimulatedNode | undefined {
    const up = this.up()
    return up[this.choose(up.length, label)]
  }

  /** Starts every node that is not up. Resolves when all listen. */
  async start(): Promise<void> {
    await Promise.all(this.nodes.map((node) => node.start()))
  }

  /** Lets time pass until every node runs and sees all others. */
  async whenFormed(withinMs = 60_000): Promise<void> {
    const { length } = this.nodes
    await this.until(
      'cluster-formed',
      () => this.nodes.every((node) => node.isUp && livingSeenBy(node.node) === length),
      {
        withinMs,
        everyMs: 50,
      },
    )
  }

  override startFaults(): void {
    super.startFaults()
    this.#rollout.begin()
  }

  /** No more faults; partitions heal; everything that is down is started again. */
  override heal(): void {
    super.heal()
    this.#rollout.end()
    this.network.heal()
    for (const node of this.nodes) {
      node.process?.resume()
      node.restart()
      // A fault that struck just before may still end it.
      node.restartAfterExit()
    }
  }

  /**
   * Runs `act` on `node` as an operation that must end: with its value, with its error, or, when the node dies or
   * `withinMs` pass, with `ProcessKilled` or a violation of `no-operation-hangs`.
   */
  async attempt<T>(
    node: SimulatedNode,
    act: (node: ClusterNode) => Promise<T>,
    withinMs: number,
  ): Promise<T> {
    let isOver = false
    const timer = this.simulation.at(this.now() + withinMs, undefined, 'attempt', () => {
      if (!isOver && node.isHealthy) {
        this.simulation.fail(
          'no-operation-hangs',
          `An operation on "${node.name}" did not end within ${withinMs} ms`,
        )
      }
    })
    try {
      return await node.call(act)
    } finally {
      isOver = true
      timer.cancel()
    }
  }
}

/**
 * Runs `scenario` once on a simulated cluster, whose nodes have been started. Resolves with what it found; rejects for
 * nothing that the scenario or the actors did. The same seed, or the same seed and choices, gives the same run to the
 * byte.
 */
export async function simulate(
  options: SimulateOptions,
  scenario: (world: World) => Promise<void>,
): Promise<RunResult> {
  return Simulation.alone(async () => {
    const simulation = new Simulation(options)
    const world = simulation.build(() => new World(simulation, options))
    return simulation.run(async () => {
      await world.start()
      if (options.formFirst !== false) await world.whenFormed()
      if (options.faults !== false) world.startFaults()
      await scenario(world)
    })
  })
}

/** Errors after which nobody knows whether an operation took effect. */
export function isUnknownOutcome(error: unknown): boolean {
  if (error instanceof ProcessKilled) return true
  const { code, details } = error as {
    readonly code?: string
    readonly details?: { readonly outcome?: string }
  }
  if (code === 'RUNTIME_ASK_TIMEOUT' || code === 'RUNTIME_ABORTED' || code === 'RUNTIME_ACTOR_CRASHED')
    return true
  return code === 'CLUSTER_NODE_DOWN' && details?.outcome !== 'not-sent'
}

/** It is down, silent, or about to be: each counts against the budget. */
function isFailing({ isHealthy, process }: SimulatedNode): boolean {
  return !isHealthy || process?.isThreatened === true
}

function isDrawn(kind: string, { only, except = [] }: FaultOptions): boolean {
  return (only === undefined || only.includes(kind)) && !except.includes(kind)
}

/** Only a disk that was met counts against the budget, not each that might have been. */
function noting(kind: FaultKind, harmed: Set<string>): FaultKind {
  if (!harmfulStoreFaults.has(kind.name as StoreFaultName)) return kind
  return {
    name: kind.name,
    inject: (stream) => {
      const injected = kind.inject(stream)
      if (injected?.lane !== undefined) harmed.add(injected.lane)
      return injected
    },
  }
}

function livingSeenBy(node: ClusterNode): number {
  return node.members().filter(({ status }) => status === 'alive').length
}

function addressOf(index: number): string {
  return `ws://127.0.0.1:${firstPort + index}`
}

function nodeSpecs(
  nodes: number | readonly WorldNode[],
): readonly (WorldNode & { readonly name: string; readonly zone: string })[] {
  const list = typeof nodes === 'number' ? Array.from({ length: nodes }, (): WorldNode => ({})) : nodes
  if (list.length < 1 || list.length > nodesMax) {
    throw new RangeError(`Cannot simulate ${list.length} nodes: give 1 to ${nodesMax}`)
  }
  return list.map((node, index) => {
    const name = node.name ?? nameOf(index)
    return { ...node, name, zone: node.zone ?? `zone-${name}` }
  })
}

/** a to z, then n26, n27, ... */
function nameOf(index: number): string {
  return index < 26 ? String.fromCharCode(97 + index) : `n${index}`
}
