/**
 * A simulated machine: what outlives a process. Its clocks, its disk, its place. A process that is killed is gone; the
 * next one that starts here finds the disk as the crash left it.
 */
import { VirtualFiles } from '../platform/virtual-files.ts'
import type { ChoiceStream } from './choice-source.ts'
import { SimulatedDisk } from './simulated-disk.ts'
import { SimulatedProcess } from './simulated-process.ts'
import type { Simulation } from './simulation.ts'
import { SkewedClock } from './skewed-clock.ts'

/** Wall clock of every machine at the start of a run. */
const wallStartMs = 1_700_000_000_000

export interface MachineOptions {
  /** Where it stands: machines of one zone lose power together. @default '' */
  readonly zone?: string | undefined
  /** @default {} */
  readonly env?: Readonly<Record<string, string | undefined>> | undefined
}

export class SimulatedMachine {
  readonly simulation: Simulation
  readonly name: string
  readonly zone: string
  readonly env: Readonly<Record<string, string | undefined>>
  readonly clock: SkewedClock
  readonly disk: SimulatedDisk
  /** Small files that others write, beside the stores: the scenario does. */
  readonly files = new VirtualFiles((task) => task())
  /** Milliseconds that each turn of an actor takes here: a slow machine. */
  turnCostMs = 0
  readonly #lives: SimulatedProcess[] = []
  /** Drawn from when a process is killed in the middle of a step, or stalled. */
  readonly effects: ChoiceStream

  constructor(simulation: Simulation, name: string, options: MachineOptions = {}) {
    this.simulation = simulation
    this.name = name
    this.zone = options.zone ?? ''
    this.env = options.env ?? {}
    // Monotonic clocks start anywhere: code that takes one for a duration since 1970 or since its start shows it.
    this.clock = new SkewedClock(
      simulation.choices.random.fork(`boot/${name}`).int(0, 1_000_000),
      wallStartMs,
    )
    this.disk = new SimulatedDisk(simulation, name)
    this.effects = simulation.choices.stream(`effect/${name}`)
  }

  /** Starts a process here. Several may run at once: the fault "started twice". */
  start(): SimulatedProcess {
    const life = new SimulatedProcess(this, this.#lives.length)
    this.#lives.push(life)
    this.simulation.processes.push(life)
    return life
  }

  /** Processes that run here now. */
  living(): readonly SimulatedProcess[] {
    return this.#lives.filter((life) => life.isAlive)
  }
}
