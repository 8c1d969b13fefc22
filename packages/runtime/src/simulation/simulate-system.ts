/** One process on virtual time: actors, supervision, timers, a store; killed and started again as the seed decides. */
import type { AnyDefinition } from '../actor/behaviour.ts'
import { createSystem, type ActorSystem, type SystemOptions } from '../system/actor-system.ts'
import { harmfulStoreFaults as harmful, type MayHarmStore } from './store-fault.ts'
import type { FaultOptions } from './fault-plan.ts'
import { processFaults, type FaultTarget } from './process-fault.ts'
import type { RunResult } from './run-result.ts'
import { ScenarioWorld } from './scenario-world.ts'
import { SimulatedMachine, type MachineOptions } from './simulated-machine.ts'
import type { SimulatedProcess } from './simulated-process.ts'
import { ProcessKilled } from './simulation-error.ts'
import { Simulation, type SimulationOptions } from './simulation.ts'

export interface SimulateSystemOptions extends SimulationOptions {
  /** Faults to draw from; `false` for none. @default false: only the schedule varies */
  readonly faults?: FaultOptions | false | undefined
  readonly machine?: MachineOptions | undefined
}

/** A world of one machine. */
export class SystemWorld extends ScenarioWorld {
  readonly machine: SimulatedMachine
  #process: SimulatedProcess | undefined
  #system: ActorSystem | undefined
  #boot: (() => Promise<ActorSystem>) | undefined
  #starting: Promise<ActorSystem> | undefined

  constructor(simulation: Simulation, machine: SimulatedMachine, faults: FaultOptions | undefined) {
    // With one copy of the data, a disk that breaks its promises can only ever lose: a scenario must want that.
    const mayHarm: MayHarmStore = (_machine, fault) =>
      !harmful.has(fault) || faults?.only?.includes(fault) === true
    const targets = (): readonly FaultTarget[] => [
      {
        machine: this.machine,
        process: this.#process,
        mayFail: () => this.#boot !== undefined,
        restart: () => void this.restart(),
        stopGently: () => void this.#stopGently(),
      },
    ]
    // One machine holds one process of a kind: there is nobody to start beside it.
    const kinds = processFaults(targets).filter(({ name }) => name !== 'started-twice')
    super(simulation, targets, [...kinds, ...machine.disk.faultKinds(mayHarm)], faults)
    this.machine = machine
  }

  /** The process that runs now. @throws {Error} before `start` and while it is down */
  get process(): SimulatedProcess {
    if (this.#process === undefined || !this.#process.isAlive) {
      throw new Error(
        'Cannot use the process: nothing was started, or it is down; see world.start and world.whenUp',
      )
    }
    return this.#process
  }

  /** The system that runs now. @throws {Error} before `start` and while it is down */
  get system(): ActorSystem {
    if (this.#system === undefined || !this.isUp) {
      throw new Error(
        'Cannot use the system: nothing was started, or it is down; see world.start and world.whenUp',
      )
    }
    return this.#system
  }

  get isUp(): boolean {
    return this.#system !== undefined && this.#process?.isAlive === true
  }

  /**
   * Starts the process and a system with the tree `root`; what is killed later starts the same way. `options` are the
   * system's; the platform is the simulated one, messages are isolated by the codec, and the store is on the disk.
   */
  async start(root?: AnyDefinition, options: Omit<SystemOptions, 'platform'> = {}): Promise<ActorSystem> {
    this.#boot = async () => {
      const life = this.machine.start()
      this.#process = life
      this.#system = undefined
      const { platform } = life
      const store = options.store ?? (await platform.openStore('data'))
      const system = await createSystem(this.machine.name, root, {
        isolation: 'codec',
        ...options,
        store,
        platform,
      })
      this.#system = system
      this.simulation.state(this.machine.name, 'started')
      return system
    }
    return this.restart()
  }

  kill(): void {
    this.#process?.kill()
  }

  /** Starts again what `start` has started, unless it runs. */
  restart(): Promise<ActorSystem> {
    if (this.#boot === undefined)
      throw new Error('Cannot restart: nothing was started; call world.start first')
    if (this.#process?.isAlive !== true || this.#starting === undefined) {
      const starting = this.#boot()
      const life = this.#process
      this.#starting = Promise.race([starting, diedStarting(life)])
      // A start that a fault has broken ends that life; the next restart, or the heal, tries again.
      starting.catch(() => life?.kill())
      this.#starting.catch((error: unknown) =>
        this.simulation.state(this.machine.name, `did not start: ${String(error)}`),
      )
    }
    return this.#starting
  }

  /** Resolves when a system runs. */
  async whenUp(): Promise<ActorSystem> {
    await this.until('up-again', () => this.isUp)
    return this.system
  }

  /**
   * What `act` gives, or a `ProcessKilled` when the process dies first: a promise of a dead process never settles.
   *
   * @throws {ProcessKilled} (as a rejection)
   */
  call<T>(act: (system: ActorSystem) => Promise<T>): Promise<T> {
    const { process: life, system } = this
    return new Promise((resolve, reject) => {
      life.onKill(() => reject(new ProcessKilled(life.name)))
      act(system).then(resolve, reject)
    })
  }

  override heal(): void {
    super.heal()
    if (this.#boot !== undefined && this.#process?.isAlive !== true) void this.restart()
  }

  async #stopGently(): Promise<void> {
    const life = this.#process
    const system = this.#system
    if (life === undefined || system === undefined) return
    life.onKill(() => {
      if (!this.simulation.isOver)
        this.simulation.at(this.simulation.nowMs, undefined, 'restart', () => void this.restart())
    })
    await system.shutdown('stopped gently by the scenario')
    life.kill()
  }
}

function diedStarting(life: SimulatedProcess | undefined): Promise<never> {
  return new Promise((_resolve, reject) => life?.onKill(() => reject(new ProcessKilled(life.name))))
}

/**
 * Runs `scenario` once on one simulated process. Resolves with what it found; rejects for nothing that the scenario or
 * the actors did. The same seed, or the same seed and choices, gives the same run to the byte.
 */
export async function simulateSystem(
  options: SimulateSystemOptions,
  scenario: (world: SystemWorld) => Promise<void>,
): Promise<RunResult> {
  return Simulation.alone(async () => {
    const simulation = new Simulation({ lanes: 'actors', ...options })
    const machine = new SimulatedMachine(simulation, 'system', options.machine)
    const faults = options.faults === false ? undefined : options.faults
    const world = simulation.build(() => new SystemWorld(simulation, machine, faults))
    return simulation.run(async () => {
      if (faults !== undefined) world.startFaults()
      await scenario(world)
    })
  })
}
