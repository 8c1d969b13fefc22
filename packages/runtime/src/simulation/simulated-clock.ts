/** What a simulated process sees of its machine's clocks: skewed, and ahead while a step of it takes long. */
import type { Clock, Timer } from '../platform/platform.ts'
import type { SimulatedLife } from './simulated-life.ts'
import type { SkewedClock } from './skewed-clock.ts'

export class SimulatedClock implements Clock {
  /** Deadlines are exact: no two are grouped. */
  readonly slotMs = 0
  readonly #life: SimulatedLife
  readonly #clock: SkewedClock

  /** @param clock the machine's */
  constructor(life: SimulatedLife, clock: SkewedClock) {
    this.#life = life
    this.#clock = clock
  }

  readonly monotonicMs = (): number => this.#clock.monotonicAt(this.#life.departsAtMs)

  readonly wallMs = (): number => this.#clock.wallAt(this.#life.departsAtMs)

  readonly setTimer = (atMs: number, fire: () => void): Timer => {
    if (Number.isNaN(atMs)) throw new RangeError('Cannot set a timer: atMs must be a number, got NaN')
    if (atMs === Number.POSITIVE_INFINITY) return { cancel: () => undefined }
    const timer = new SimulatedTimer(this.#life, this.#clock, atMs, fire)
    timer.arm()
    return timer
  }
}

class SimulatedTimer implements Timer {
  readonly #life: SimulatedLife
  readonly #clock: SkewedClock
  readonly #atMs: number
  #fire: (() => void) | undefined
  #event: Timer | undefined

  constructor(life: SimulatedLife, clock: SkewedClock, atMs: number, fire: () => void) {
    this.#life = life
    this.#clock = clock
    this.#atMs = atMs
    this.#fire = fire
  }

  arm(): void {
    this.#event = this.#life.at(this.#clock.trueAt(this.#atMs), 'timer', this.#due)
  }

  readonly cancel = (): void => {
    this.#fire = undefined
    this.#event?.cancel()
  }

  readonly #due = (): void => {
    // The clock was slowed down meanwhile: it is not time yet.
    if (this.#clock.monotonicAt(this.#life.simulation.nowMs) < this.#atMs) this.arm()
    else this.#fire?.()
  }
}
