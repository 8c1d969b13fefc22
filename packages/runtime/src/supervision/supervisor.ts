/** The shell of a supervisor: keeps the children of one cell, and carries out what `SupervisorCore` decides. */
import { ActorError, RestartLimitExceeded } from '../actor/actor-error.ts'
import type { AnyDefinition, ChildSpec } from '../actor/behaviour.ts'
import { Cell } from '../actor/cell.ts'
import { checkActorName, childPolicy, isActorName, type ChildPolicy } from '../actor/child-spec.ts'
import type { Failure, Family } from '../actor/family.ts'
import type { Timer } from '../platform/platform.ts'
import {
  SupervisorCore,
  type Sibling,
  type SupervisorEffect,
  type SupervisorInput,
} from './supervisor-core.ts'

/** One restart, for the log and the event stream. */
export interface RestartReport {
  readonly cell: Cell
  readonly failure: Failure | undefined
  readonly count: number
  readonly limit: number
  readonly delayMs: number
}

/** Whoever wants to know. */
export interface SupervisorHooks {
  readonly restarting: (report: RestartReport) => void
  /** A child failed and is not started again. */
  readonly gaveUp: (cell: Cell, failure: Failure) => void
}

/** Levels of a tree. Stopping, paths and status walk it by recursion, so it must fit the stack many times over. */
export const treeDepthMax = 256

/** No supervisor waits longer than this for its children, however many they are. */
export const shutdownCapMs = 30_000

export class Supervisor implements Family {
  readonly #cell: Cell
  readonly #hooks: SupervisorHooks
  readonly #children = new Map<string, Cell>()
  #core: SupervisorCore | undefined
  /** The next static child waits for a group to be up again. */
  #startIsDue = false
  #failures: Map<string, Failure> | undefined
  #delays: Map<string, Timer> | undefined
  /** All children are being stopped: nothing is restarted. */
  #closing = false
  #hasGivenUp = false
  /** Counts the times that all were to end. */
  #round = 0
  #starting: { readonly specs: readonly ChildSpec[]; next: number; readonly done: () => void } | undefined

  constructor(cell: Cell, hooks: SupervisorHooks) {
    this.#cell = cell
    this.#hooks = hooks
  }

  get size(): number {
    return this.#children.size
  }

  get hasGivenUp(): boolean {
    return this.#hasGivenUp
  }

  get(name: string): Cell | undefined {
    return this.#children.get(name)
  }

  cells(): Iterable<Cell> {
    return this.#children.values()
  }

  spawn(name: string, definition: AnyDefinition, input: unknown, policy: ChildPolicy): Cell {
    const parent = this.#cell
    if (!isActorName(name)) checkActorName(name, `Cannot spawn actor "${name}" under ${parent.path}`)
    if (this.#children.has(name)) {
      throw new ActorError(
        'RUNTIME_DUPLICATE_NAME',
        `Cannot spawn actor "${name}": the name is taken by ${parent.path}/${name}; choose another, or stop that one first`,
        { path: `${parent.path}/${name}` },
      )
    }
    if (this.#closing) {
      throw new ActorError('RUNTIME_STOPPED', `Cannot spawn "${name}" under ${parent.path}: it is stopping`)
    }
    if (depthOf(parent) >= treeDepthMax) {
      throw new RangeError(
        `Cannot spawn actor "${name}" so deep: a tree has at most ${treeDepthMax} levels, and its parent is on the last`,
      )
    }
    const { kernel } = parent
    const kind = kernel.kindOf(definition)
    const cell = new Cell(kernel, kind, parent, name, policy, input, parent.isSystem)
    this.adopt(cell)
    return cell
  }

  adopt(cell: Cell): void {
    this.#children.set(cell.name, cell)
    cell.kind.counters.spawned++
    cell.kind.counters.living++
    cell.kernel.counters.spawned++
    cell.begin()
  }

  startStatic(specs: readonly ChildSpec[], done: () => void): void {
    this.#closing = false
    this.#starting = { specs, next: 0, done }
    this.#startNext()
  }

  #startNext(): void {
    const starting = this.#starting
    if (starting === undefined) return
    // Those who were started before, and are being started again together, come first.
    this.#startIsDue = this.#core?.hasGroup === true
    if (this.#startIsDue) return
    const spec = starting.specs[starting.next]
    if (spec === undefined) {
      this.#starting = undefined
      starting.done()
      return
    }
    starting.next++
    this.spawn(spec.name, spec.definition, spec.input, childPolicy(spec.options, 'permanent'))
  }

  stopAll(mode: 'stop' | 'drain', done: () => void): void {
    this.#close()
    const round = this.#round
    const youngestLast = [...this.#children.values()]
    const stopNext = (): void => {
      for (;;) {
        // Killed meanwhile, or asked anew.
        if (round !== this.#round) return
        const child = youngestLast.pop()
        if (child === undefined) {
          this.#closing = false
          this.#hasGivenUp = false
          done()
          return
        }
        // A child that ends at once must not deepen the stack: there may be a million of them.
        let atOnce = true
        let ended = false
        child.stop(mode, () => {
          ended = true
          if (!atOnce) stopNext()
        })
        atOnce = false
        if (!ended) return
      }
    }
    stopNext()
  }

  killAll(): void {
    this.#close()
    for (const child of [...this.#children.values()].reverse()) child.kill('stopped')
    this.#closing = false
  }

  #close(): void {
    this.#closing = true
    this.#round++
    this.#starting = undefined
    this.#startIsDue = false
    this.#core = undefined
    this.#failures = undefined
    for (const timer of this.#delays?.values() ?? []) timer.cancel()
    this.#delays = undefined
  }

  shutdownMs(): number {
    let sumMs = 0
    for (const child of this.#children.values()) {
      sumMs += child.deadline
      if (sumMs >= shutdownCapMs) return shutdownCapMs
    }
    return sumMs
  }

  childStarted(child: Cell): void {
    if (this.#core !== undefined) this.#step({ type: 'started', child: child.name })
    child.kernel.hooks.started(child)
    const starting = this.#starting
    if (starting !== undefined && starting.specs[starting.next - 1]?.name === child.name) this.#startNext()
  }

  childFailed(child: Cell, failure: Failure): void {
    if (this.#closing) {
      child.end('failed')
      return
    }
    this.#failures ??= new Map()
    this.#failures.set(child.name, failure)
    const { policy } = child
    const input = { child: child.name, policy, siblings: this.#siblings(), chance: this.#chance(policy) }
    this.#step({ type: 'failed', error: failure.error, ...input })
  }

  childLeft(child: Cell): void {
    if (this.#closing) {
      child.end('stopped')
      return
    }
    const { policy } = child
    this.#step({
      type: 'left',
      child: child.name,
      policy,
      siblings: this.#siblings(),
      chance: this.#chance(policy),
    })
  }

  childEnded(child: Cell): void {
    if (this.#children.get(child.name) === child) this.#children.delete(child.name)
    this.#failures?.delete(child.name)
    this.#delays?.get(child.name)?.cancel()
    this.#delays?.delete(child.name)
    if (this.#core !== undefined) this.#step({ type: 'ended', child: child.name })
    const starting = this.#starting
    // A static child that will not come up must not hold up those behind it.
    if (starting !== undefined && starting.specs[starting.next - 1]?.name === child.name) {
      this.#startNext()
    }
  }

  #chance(policy: ChildPolicy): number {
    return policy.backoff === undefined && policy.onError.length === 0
      ? 0.5
      : this.#cell.kernel.random.float()
  }

  #siblings(): readonly Sibling[] {
    if (this.#cell.kind.strategy === 'one-for-one') return noSiblings
    return [...this.#children.values()]
      .filter((child) => !child.isEnding)
      .map((child) => ({ name: child.name, restart: child.policy.restart }))
  }

  #step(input: SupervisorInput): void {
    const { kernel, kind } = this.#cell
    this.#core ??= new SupervisorCore(kind.strategy, kind.intensity)
    const effects = this.#core.step(input, kernel.freshNow())
    // It gives up: the end of the child that it gives up for must not count as the end of the start.
    if (effects.at(-1)?.type === 'fail') this.#starting = undefined
    for (const effect of effects) this.#carryOut(effect)
    if (this.#startIsDue && this.#core?.hasGroup !== true) this.#startNext()
  }

  #carryOut(effect: SupervisorEffect): void {
    if (effect.type === 'fail') {
      this.#fail(effect)
      return
    }
    const child = this.#children.get(effect.child)
    if (child === undefined || this.#closing) return
    switch (effect.type) {
      case 'restarting': {
        const { count, limit, delayMs } = effect
        child.kind.counters.restarts++
        child.kernel.counters.restarts++
        this.#hooks.restarting({
          cell: child,
          failure: this.#failures?.get(child.name),
          count,
          limit,
          delayMs,
        })
        return
      }
      case 'joined': {
        const { error, messageType: type } = this.#failures?.get(child.name) ?? {}
        const text = `${child.path} failed while its siblings were taken down: ${error?.message ?? 'for no reason given'}`
        child.kernel.log.error({ path: child.path, type, err: error }, text)
        return
      }
      case 'suspend':
        child.suspend(() => this.#step({ type: 'suspended', child: child.name }))
        return
      case 'start':
        this.#failures?.delete(child.name)
        child.restart()
        return
      case 'stop':
        child.stop('stop', undefined)
        return
      case 'end':
        this.#end(child)
        return
      case 'delay': {
        const { clock } = child.kernel
        this.#delays ??= new Map()
        const fire = (): void => {
          this.#delays?.delete(child.name)
          this.#step({ type: 'delay-over', child: child.name })
        }
        this.#delays.get(child.name)?.cancel()
        this.#delays.set(child.name, clock.setTimer(clock.monotonicMs() + effect.delayMs, fire))
        return
      }
      default:
        effect satisfies never
    }
  }

  #lastFailure: Failure | undefined

  #end(child: Cell): void {
    const failure = this.#failures?.get(child.name)
    this.#lastFailure = failure
    if (failure !== undefined) this.#hooks.gaveUp(child, failure)
    child.end(failure?.error instanceof RestartLimitExceeded ? 'limit' : 'failed')
  }

  #fail(effect: SupervisorEffect & { readonly type: 'fail' }): void {
    const error = this.#failureOf(effect)
    this.#hasGivenUp = true
    if (this.#cell.context !== null) {
      this.#cell.crash(error)
      return
    }
    // It is between two incarnations and had kept its children: the next one begins without them.
    const { kernel, path } = this.#cell
    kernel.log.error({ path, err: error }, error.message)
    this.stopAll('stop', () => undefined)
  }

  #failureOf(effect: SupervisorEffect & { readonly type: 'fail' }): Error {
    const cause = this.#lastFailure?.error
    const { path, kind } = this.#cell
    if (effect.because === 'escalate') return cause ?? new Error(`A child of ${path} escalated`)
    const { restarts, withinMs, per } = kind.intensity
    const text =
      `${path === '' ? '/' : path} gave up: more than ${restarts} restarts within ${withinMs} ms (per ${per}); ` +
      `the last failure was: ${cause?.message ?? 'a permanent child stopped by itself'}`
    return new RestartLimitExceeded(text, effect.history, cause)
  }
}

function depthOf(cell: Cell): number {
  let depth = 0
  for (let above = cell.parent; above !== null; above = above.parent) depth++
  return depth
}

const noSiblings: readonly Sibling[] = Object.freeze([])
