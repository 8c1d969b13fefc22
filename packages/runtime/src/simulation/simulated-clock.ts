/** What a simulated process sees of its machine's clocks: skewed, and ahead while a step of it takes long. */
import type { Clock, Timer } from '../platform/platform.ts'
import type { SimulatedProcess } from './simulated-process.ts'

export class SimulatedClock implements Clock {
  /** Deadlines are exact: no two are grouped. */
  readonly slotMs = 0
  readonly #process: SimulatedProcess

  constructor(life: SimulatedProcess) {
    this.#process = life
  }

  readonly monotonicMs = (): number => this.#process.machine.clock.monotonicAt(this.#process.departsAtMs)

  readonly wallMs = (): number => this.#process.machine.clock.wallAt(this.#process.departsAtMs)

  readonly setTimer = (atMs: number, fire: () => void): Timer => {
    if (Number.isNaN(atMs)) throw new RangeError('Cannot set a timer: atMs must be a number, got NaN')
    if (atMs === Number.POSITIVE_INFINITY) return { cancel: () => undefined }
    const timer = new SimulatedTimer(this.#process, atMs, fire)
    timer.arm()
    return timer
  }
}

class SimulatedTimer implements Timer {
  readonly #process: SimulatedProcess
  readonly #atMs: number
  #fire: (() => void) | undefined
  #event: Timer | undefined

  constructor(life: SimulatedProcess, atMs: number, fire: () => void) {
    this.#process = life
    this.#atMs = atMs
    this.#fire = fire
  }

  arm(): void {
    const { machine, simulation } = this.#process
    this.#event = simulation.at(machine.clock.trueAt(this.#atMs), this.#process, 'timer', this.#due)
  }

  readonly cancel = (): void => {
    this.#fire = undefined
    this.#event?.cancel()
  }

  readonly #due = (): void => {
    const { machine, simulation } = this.#process
    // The clock was slowed down meanwhile: it is not time yet.
    if (machine.clock.monotonicAt(simulation.nowMs) < this.#atMs) this.arm()
    else this.#fire?.()
  }
}
