/**
 * Runs a core: feeds it inputs and time, carries out its effects in order, and keeps one timer for its next deadline.
 * An input that comes while effects are being carried out waits its turn, so a core never sees itself half-stepped.
 */
import type { Clock, Timer } from '../platform/platform.ts'
import type { Core } from './core.ts'

export interface CoreShellOptions<Input, Effect, Status> {
  readonly core: Core<Input, Effect, Status>
  readonly clock: Clock
  /** The input that says that time has passed. */
  readonly tick: Input
  /** Carries out one effect. Must not throw. */
  readonly carryOut: (effect: Effect) => void
}

export class CoreShell<Input, Effect, Status> {
  readonly #options: CoreShellOptions<Input, Effect, Status>
  readonly #waiting: Input[] = []
  #stepping = false
  #closed = false
  #timer: Timer | undefined
  #armedMs: number | undefined

  constructor(options: CoreShellOptions<Input, Effect, Status>) {
    this.#options = options
  }

  /** One step; its effects are carried out before this returns, unless a step is under way already. */
  step(input: Input): void {
    if (this.#closed) return
    this.#waiting.push(input)
    if (this.#stepping) return
    this.#stepping = true
    const { core, clock, carryOut } = this.#options
    try {
      for (let next = this.#waiting.shift(); next !== undefined; next = this.#waiting.shift()) {
        for (const effect of core.step(next, clock.monotonicMs())) {
          carryOut(effect)
          // An effect may put another core in this one's place: what is left of its step is of no concern any more.
          if (this.#closed) return
        }
      }
    } finally {
      this.#stepping = false
      // Also after a throw: a core whose timer is not armed is deaf to time for ever.
      if (!this.#closed) this.#arm()
    }
  }

  status(): Status {
    return this.#options.core.status()
  }

  /** No step after this; called by an effect, the effects behind it are dropped. */
  close(): void {
    this.#closed = true
    this.#timer?.cancel()
    this.#waiting.length = 0
  }

  #arm(): void {
    const dueMs = this.#options.core.nextDeadlineMs()
    if (dueMs === this.#armedMs) return
    this.#timer?.cancel()
    this.#armedMs = dueMs
    if (dueMs === undefined) return
    this.#timer = this.#options.clock.setTimer(dueMs, () => {
      this.#armedMs = undefined
      this.step(this.#options.tick)
    })
  }
}
