/** What every simulated world offers its scenario: virtual time, choices, faults, rules. */
import type { Random } from '../platform/platform.ts'
import { FaultDriver, type FaultKind, type FaultOptions } from './fault-plan.ts'
import type { FaultTarget } from './process-fault.ts'
import { InvariantViolation } from './simulation-error.ts'
import type { CheckedWhen, Simulation } from './simulation.ts'

/** What a checker of `@understudy/runtime/checkers` says. */
export interface Verdict {
  readonly verdict: 'ok' | 'illegal' | 'unknown'
  /** Why, for people. */
  readonly reason?: string | undefined
}

export interface UntilOptions {
  /** Virtual milliseconds after which the rule counts as broken. @default 60_000 */
  readonly withinMs?: number | undefined
  /** How often to look. @default 10 */
  readonly everyMs?: number | undefined
}

export const untilDefaults = Object.freeze({ withinMs: 60_000, everyMs: 10 })

export class ScenarioWorld {
  readonly simulation: Simulation
  /** Chance for the scenario's own data: part of the seed, but no choice, so it is not shrunk. */
  readonly random: Random
  readonly #targets: () => readonly FaultTarget[]
  readonly #kinds: readonly FaultKind[]
  readonly #faults: FaultDriver

  constructor(
    simulation: Simulation,
    targets: () => readonly FaultTarget[],
    kinds: readonly FaultKind[],
    faults: FaultOptions | undefined,
  ) {
    this.#targets = targets
    this.simulation = simulation
    this.random = simulation.choices.random.fork('scenario')
    this.#kinds = kinds
    this.#faults = new FaultDriver(simulation, kinds, faults)
  }

  /** True virtual milliseconds since the run began. Machines may show something else. */
  now(): number {
    return this.simulation.nowMs
  }

  sleep(ms: number): Promise<void> {
    return this.simulation.sleep(ms)
  }

  /** Uniform in [0, n). 0 is what a shrunk run does. Decisions of one kind share a label. */
  choose(n: number, label = 'scenario'): number {
    return this.simulation.choices.choose(n, label)
  }

  /** True with probability `p`; false is what a shrunk run does. */
  chance(p: number, label = 'scenario/chance'): boolean {
    return this.simulation.choices.stream(label).chance(p)
  }

  /** For code under test that wants to be cruel to itself: on in a quarter of the seeds, and then a quarter of the times. */
  buggify(label: string, p = 0.25): boolean {
    const { choices } = this.simulation
    const on = `buggify/${label}/on`
    let isOn = this.#buggified.get(label)
    if (isOn === undefined) {
      isOn = choices.stream(on).chance(0.25)
      this.#buggified.set(label, isOn)
    }
    return isOn && choices.stream(`buggify/${label}`).chance(p)
  }
  readonly #buggified = new Map<string, boolean>()

  /** Marks that something was really met in this run; the runner tells which tags no seed has reached. */
  sometimes(tag: string): void {
    this.simulation.sometimes(tag)
  }

  /** A mark in the story and the picture. */
  note(what: string, lane?: string): void {
    this.simulation.state(lane, what)
  }

  /** Runs `client` so many times at once, numbered from 0; resolves when all have returned. */
  async parallel(count: number, client: (index: number) => Promise<void>): Promise<void> {
    await Promise.all(Array.from({ length: count }, (_, index) => client(index)))
  }

  /**
   * Marks `act` as the operation that `crashEverywhere` goes through: its writes and sends are counted, and the run that
   * is to crash at one of them does, and starts the process again `restartMs` later.
   */
  async operation<T>(act: () => Promise<T>, restartMs = 100): Promise<T> {
    const { simulation } = this
    const { crash } = simulation
    const before = this.#targets().map((target) => ({
      target,
      process: target.process,
      count: target.process?.effects ?? 0,
    }))
    for (const { target, process: life } of before) {
      if (crash?.machine !== target.machine.name || life === undefined) continue
      life.onKill(() => {
        simulation.fault('crash-everywhere', `${life.name} at effect ${crash.effect}`, target.machine.name)
        if (!simulation.isOver)
          simulation.at(simulation.nowMs + restartMs, undefined, 'restart', target.restart)
      })
      life.killAtEffect(crash.effect)
    }
    try {
      return await act()
    } finally {
      for (const { target, process: life, count } of before) {
        const { name } = target.machine
        simulation.effects.set(name, (simulation.effects.get(name) ?? 0) + (life?.effects ?? count) - count)
      }
    }
  }

  // ---- Rules ---------------------------------------------------------------------------------------------------

  /**
   * Ends the run when `holds` is false, wherever it is called from: thrown inside of an actor it would only be that
   * actor's crash.
   *
   * @throws {InvariantViolation}
   */
  check(rule: string, holds: boolean, message: string): void {
    if (holds) return
    this.simulation.fail(rule, message)
    throw new InvariantViolation(rule, message)
  }

  /** Ends the run unless a checker says ok; `unknown` is not ok. @throws {InvariantViolation} */
  expect(rule: string, verdict: Verdict): void {
    if (verdict.verdict === 'ok') return
    const why = verdict.reason ?? `the checker says ${verdict.verdict}`
    this.check(rule, false, why)
  }

  /**
   * Looks at a rule from now on: after each step (make it look at what changed, not at everything), whenever time is
   * about to pass (`quiesce`), or once at the end. `look` throws, or calls `world.check`, when the rule is broken.
   */
  invariant(rule: string, look: () => void, when: CheckedWhen = 'step'): void {
    this.simulation.invariant(rule, when, look)
  }

  /** Lets time pass until `holds`; not in time is a violation of `rule`: the liveness phase. */
  async until(rule: string, holds: () => boolean, options: UntilOptions = {}): Promise<void> {
    const withinMs = options.withinMs ?? untilDefaults.withinMs
    const everyMs = options.everyMs ?? untilDefaults.everyMs
    const untilMs = this.now() + withinMs
    while (!holds()) {
      this.check(rule, this.now() < untilMs, `It did not come to pass within ${withinMs} ms of virtual time`)
      await this.sleep(everyMs)
    }
  }

  // ---- Faults --------------------------------------------------------------------------------------------------

  /** The names of all kinds of fault that this world knows. */
  faultKinds(): readonly string[] {
    return this.#kinds.map(({ name }) => name)
  }

  /** Begins with the faults that this seed has drawn. Called before the scenario, unless faults are off. */
  startFaults(): void {
    this.#faults.start()
  }

  /** Does one fault now, with parameters by choice. False when there was nothing it could be done to. */
  inject(kind: string): boolean {
    const found = this.#kinds.find(({ name }) => name === kind)
    if (found === undefined) {
      throw new RangeError(`Cannot inject "${kind}": it must be one of ${this.faultKinds().join(', ')}`)
    }
    return this.#faults.inject(found)
  }

  /** No more faults, and all that can be undone is: the safety phase is over. */
  heal(): void {
    this.simulation.state(undefined, 'healed')
    this.#faults.heal()
  }
}
