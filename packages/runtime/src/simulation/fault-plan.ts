/**
 * Faults as data: what can be done to a simulated world, how likely each is in this run, and the driver that does it.
 * Every probability is itself drawn per seed (swarm testing: Groce et al., ISSTA 2012), or every run would be equally
 * mild. Each kind of fault draws from a stream of its own, so that a shrunk run keeps the few that matter.
 */
import type { ChoiceSource, ChoiceStream } from './choice-source.ts'

/** What one fault did. */
export interface Injected {
  /** For people: `b for 300 ms`. */
  readonly what: string
  /** The lane of the picture. */
  readonly lane?: string | undefined
  /** Undoes it. Called once, by `heal` at the latest. */
  readonly undo?: (() => void) | undefined
  /** When it is undone by itself, in milliseconds. Left out: only `heal` undoes it. */
  readonly forMs?: number | undefined
}

/** One kind of fault. */
export interface FaultKind {
  /** Such as `kill`, `clog`, `clock-drift`. The table of the runner counts by this name. */
  readonly name: string
  /**
   * Does it, with its parameters from `stream` (0: the mildest). `undefined`: nothing that it could be done to now, or
   * the budget forbids it.
   */
  readonly inject: (stream: ChoiceStream) => Injected | undefined
}

/** How faults come. */
export interface FaultOptions {
  /** Only these kinds. @default all that the world knows */
  readonly only?: readonly string[] | undefined
  /** Without these. @default [] */
  readonly except?: readonly string[] | undefined
  /** How often each kind is looked at, in virtual milliseconds. @default 100 */
  readonly tickMs?: number | undefined
  /** Chances per tick, one of which each kind draws per seed; the first must be 0. @default [0, 0.002, 0.01, 0.05] */
  readonly chances?: readonly number[] | undefined
}

export const faultDefaults = Object.freeze({ tickMs: 100, chances: Object.freeze([0, 0.002, 0.01, 0.05]) })

/** What the driver needs of the simulation. */
export interface FaultySimulation {
  readonly nowMs: number
  readonly choices: ChoiceSource
  readonly at: (atMs: number, life: undefined, label: string, run: () => void) => unknown
  readonly fault: (kind: string, what: string, lane?: string) => void
}

interface ActiveFault {
  undo: (() => void) | undefined
}

/** Injects faults of the kinds it was given until it is healed. */
export class FaultDriver {
  readonly #simulation: FaultySimulation
  readonly #kinds: readonly FaultKind[]
  readonly #tickMs: number
  readonly #chances: readonly number[]
  readonly #plan: { readonly kind: FaultKind; readonly p: number; readonly stream: ChoiceStream }[] = []
  readonly #active = new Set<ActiveFault>()
  #isRunning = false

  /** @throws {RangeError} for a kind that the world does not know, or chances that do not begin with 0 */
  constructor(simulation: FaultySimulation, kinds: readonly FaultKind[], options: FaultOptions = {}) {
    this.#simulation = simulation
    const names = new Set(kinds.map(({ name }) => name))
    for (const name of [...(options.only ?? []), ...(options.except ?? [])]) {
      if (!names.has(name)) {
        throw new RangeError(`Cannot inject "${name}": it must be one of ${[...names].sort().join(', ')}`)
      }
    }
    const { only, except = [] } = options
    this.#kinds = kinds.filter(
      ({ name }) => (only === undefined || only.includes(name)) && !except.includes(name),
    )
    this.#tickMs = options.tickMs ?? faultDefaults.tickMs
    this.#chances = options.chances ?? faultDefaults.chances
    if (!(this.#tickMs > 0))
      throw new RangeError(`Cannot inject faults: tickMs must be above 0, got ${this.#tickMs}`)
    if (this.#chances[0] !== 0 || this.#chances.some((p) => !(p >= 0 && p <= 1))) {
      throw new RangeError(
        'Cannot inject faults: chances must be from 0 to 1, and the first must be 0 (benign)',
      )
    }
  }

  /** Draws this seed's plan and begins. */
  start(): void {
    if (this.#isRunning) return
    this.#isRunning = true
    const { choices } = this.#simulation
    for (const kind of this.#kinds) {
      const p = this.#chances[choices.choose(this.#chances.length, `swarm/${kind.name}`)] ?? 0
      if (p > 0) this.#plan.push({ kind, p, stream: choices.stream(`fault/${kind.name}`) })
    }
    if (this.#plan.length > 0) this.#tickLater()
  }

  /** Does one now, whatever the plan says. False when there is nothing it could be done to. */
  inject(kind: FaultKind, stream = this.#simulation.choices.stream(`fault/${kind.name}`)): boolean {
    const injected = kind.inject(stream)
    if (injected === undefined) return false
    const { what, lane, undo, forMs } = injected
    this.#simulation.fault(kind.name, what, lane)
    if (undo === undefined) return true
    const active: ActiveFault = { undo }
    this.#active.add(active)
    if (forMs !== undefined) {
      this.#simulation.at(this.#simulation.nowMs + forMs, undefined, 'fault-over', () => this.#undo(active))
    }
    return true
  }

  /** No more faults, and those under way are undone, the latest first. */
  heal(): void {
    this.#isRunning = false
    for (const active of [...this.#active].reverse()) this.#undo(active)
  }

  #undo(active: ActiveFault): void {
    const { undo } = active
    active.undo = undefined
    this.#active.delete(active)
    undo?.()
  }

  #tickLater(): void {
    this.#simulation.at(this.#simulation.nowMs + this.#tickMs, undefined, 'fault-tick', () => {
      if (!this.#isRunning) return
      for (const { kind, p, stream } of this.#plan) {
        if (!stream.chance(p)) continue
        // Somewhere in this tick, not on it: faults that fall on a grid miss what lies between.
        const laterMs = (stream.choose(64) * this.#tickMs) / 64
        this.#simulation.at(this.#simulation.nowMs + laterMs, undefined, 'fault', () => {
          if (this.#isRunning) this.inject(kind, stream)
        })
      }
      this.#tickLater()
    })
  }
}
