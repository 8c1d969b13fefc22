/** One place in a simulated cluster where a node runs, is killed, and runs again. */
import {
  ProcessKilled,
  SimulatedMachine,
  type FaultTarget,
  type MachineOptions,
  type SimulatedProcess,
  type Simulation,
} from '@understudy/runtime/simulation'
import { startNodeOffering, type ClusterNode } from '../node/cluster-node.ts'
import type { NodeOptions } from '../node/node-options.ts'
import { checkWireOffer, currentWire, type WireOffer } from '../wire/wire-version.ts'
import type { SimulatedNetwork } from './simulated-network.ts'

/** What a scenario may say of a node; the rest is the simulation's. `membership` is `lan` unless it says otherwise. */
export type SimulatedNodeOptions = Partial<
  Omit<NodeOptions, 'name' | 'listen' | 'platform' | 'transport' | 'handleSignals'>
>

export interface SimulatedNodeSpec extends MachineOptions {
  readonly name: string
  readonly address: string
  readonly seeds: readonly string[]
  /** Asked at each start, so that a new life gets new state. */
  readonly options: () => SimulatedNodeOptions
  /** False when one more node that is down or silent would be over the budget. */
  readonly mayFail: () => boolean
  /** Called when a life of it listens, with what the life before offered of the wire. */
  readonly started?: ((node: SimulatedNode, offered: WireOffer | undefined) => void) | undefined
}

export class SimulatedNode implements FaultTarget {
  readonly name: string
  readonly address: string
  readonly machine: SimulatedMachine
  readonly mayFail: () => boolean
  readonly #simulation: Simulation
  readonly #network: SimulatedNetwork
  readonly #spec: SimulatedNodeSpec
  #process: SimulatedProcess | undefined
  #node: ClusterNode | undefined
  #starting: Promise<ClusterNode> | undefined
  #installed: WireOffer = currentWire
  #offered: WireOffer | undefined

  constructor(simulation: Simulation, network: SimulatedNetwork, spec: SimulatedNodeSpec) {
    this.#simulation = simulation
    this.#network = network
    this.#spec = spec
    this.name = spec.name
    this.address = spec.address
    this.machine = new SimulatedMachine(simulation, spec.name, spec)
    this.mayFail = spec.mayFail
  }

  get process(): SimulatedProcess | undefined {
    return this.#process
  }

  /** The node that runs now. @throws {Error} while it is down */
  get node(): ClusterNode {
    if (this.#node === undefined || !this.isUp) {
      throw new Error(`Cannot use node "${this.name}": it is down or has not started; see isUp and whenUp`)
    }
    return this.#node
  }

  get isUp(): boolean {
    return this.#node !== undefined && this.#process?.isAlive === true
  }

  /** It is up, and neither paused nor busy with a step that takes long. */
  get isHealthy(): boolean {
    return this.isUp && this.#process?.isBlocked !== true
  }

  /** What its next life will offer of the wire. */
  get installed(): WireOffer {
    return this.#installed
  }

  /** What the life that runs, or ran last, offers of the wire; `undefined` before the first. */
  get offered(): WireOffer | undefined {
    return this.#offered
  }

  /**
   * Every life from the next on offers no more than this of the wire, as a node of an older build: `oldestMemberWire` for a
   * downgrade, `currentWire` for an upgrade.
   *
   * @throws {RangeError} for what this build does not speak
   */
  install(wire: WireOffer): void {
    this.#installed = checkWireOffer(wire)
  }

  /** Starts a node here, unless one runs. Resolves when it listens. @throws {ProcessKilled} (as a rejection) if it dies before */
  start(): Promise<ClusterNode> {
    if (this.#process?.isAlive === true && this.#starting !== undefined) return this.#starting
    const life = this.machine.start()
    const last = this.#offered
    this.#process = life
    this.#offered = this.#installed
    this.#node = undefined
    // Of a process that dies before it listens no promise ever settles.
    const dead = died(life).then(() => Promise.reject(new ProcessKilled(this.name)))
    const starting = Promise.race([this.#boot(life), dead]).then((node) => {
      if (this.#process === life) {
        this.#node = node
        this.#spec.started?.(this, last)
      }
      this.#simulation.state(this.name, 'started')
      return node
    })
    // A start that a fault has broken ends that life; the next restart, or the heal, tries again.
    starting.catch((error: unknown) => {
      this.#simulation.state(
        this.name,
        `did not start: ${error instanceof Error ? error.message : String(error)}`,
      )
      life.kill()
    })
    this.#starting = starting
    return starting
  }

  readonly restart = (): void => {
    if (this.#process?.isAlive !== true) this.start().catch(ignore)
  }

  /** If the life that runs exits by itself another one follows, as under a service manager; a kill is a kill. */
  restartAfterExit(): void {
    const life = this.#process
    life?.onKill(() => {
      if (life.exitCode === undefined || this.#simulation.isOver) return
      this.#simulation.at(this.#simulation.nowMs, undefined, 'restart', this.restart)
    })
  }

  /** As `kill -9`. */
  kill(): void {
    this.#process?.kill()
  }

  /** Kills it and starts it again, with its disk unless `wipe`, and with the wire it had unless `wire`; see `install`. */
  async crashAndRestart(
    options: { readonly wipe?: boolean | undefined; readonly wire?: WireOffer | undefined } = {},
  ): Promise<ClusterNode> {
    this.kill()
    if (options.wipe === true) this.machine.disk.wipe()
    if (options.wire !== undefined) this.install(options.wire)
    return this.start()
  }

  /** As SIGSTOP for `ms`. */
  pause(ms: number): void {
    this.#process?.pause(ms)
  }

  /** Its next step takes `ms`. */
  stall(ms: number): void {
    this.#process?.stall(ms)
  }

  /** Shuts it down in good order; it is started again by whoever heals, or by `start`. */
  async shutdown(): Promise<void> {
    const life = this.#process
    const node = this.#node
    if (life === undefined || node === undefined || !life.isAlive) return
    await Promise.race([node.shutdown('the scenario shut it down'), died(life)])
    life.kill()
  }

  readonly stopGently = (): void => {
    const life = this.#process
    life?.onKill(() => {
      if (!this.#simulation.isOver)
        this.#simulation.at(this.#simulation.nowMs, undefined, 'restart', this.restart)
    })
    this.shutdown().catch(ignore)
  }

  /** Starts a second process of the same name and address; returns how to end it. */
  readonly startTwin = (): (() => void) => {
    const twin = this.machine.start()
    // It cannot have the same port; whoever runs a node twice by mistake has two machines, or a port of chance.
    this.#boot(twin, `ws://127.0.0.1:0`).catch(ignore)
    return () => twin.kill()
  }

  /**
   * What `act` gives, or `ProcessKilled` when the node dies first: a promise of a dead process never settles. Rejects
   * at once while it is down.
   *
   * @throws {ProcessKilled} (as a rejection)
   */
  call<T>(act: (node: ClusterNode) => Promise<T>): Promise<T> {
    const life = this.#process
    const node = this.#node
    if (life === undefined || node === undefined || !life.isAlive) {
      return Promise.reject(new ProcessKilled(this.name))
    }
    return new Promise((resolve, reject) => {
      life.onKill(() => reject(new ProcessKilled(life.name)))
      act(node).then(resolve, reject)
    })
  }

  #boot(life: SimulatedProcess, listen = this.#spec.address): Promise<ClusterNode> {
    const options = this.#spec.options()
    const all: NodeOptions = {
      isolation: 'codec',
      seeds: this.#spec.seeds,
      // Of machines, not of one: a refused dial, which a fault may cause as well, proves nothing.
      membership: 'lan',
      // On the machine's disk, so that a node that comes back finds what it had.
      data: options.store === undefined ? 'data' : undefined,
      zone: this.machine.zone === '' ? undefined : this.machine.zone,
      ...options,
      name: this.name,
      listen,
      handleSignals: false,
      platform: life.platform,
      transport: this.#network.transport(life, options),
    }
    return startNodeOffering(all, this.#installed)
  }
}

function died(life: SimulatedProcess): Promise<void> {
  return new Promise((resolve) => life.onKill(resolve))
}

function ignore(): void {
  // Told in the story by whoever started it.
}
