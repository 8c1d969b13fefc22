/**
 * The decisions of a supervisor, and nothing else: what is to become of a child that failed, and in which order its
 * siblings are taken down and started again. The rules are OTP's (supervisor.erl); the backoff is ours. Pure: the shell
 * (supervisor.ts) carries out the effects and reports what came of them.
 */
import { isActorError } from '../actor/actor-error.ts'
import type { Backoff, ChildPolicy, Decision, RestartType, Strategy } from '../actor/child-spec.ts'
import { backoffDelayMs } from './backoff.ts'
import { RestartWindow } from './restart-window.ts'

export interface Sibling {
  readonly name: string
  readonly restart: RestartType
}

export type SupervisorInput =
  /** A child crashed, or failed to start. `siblings`: all living children in start order, the child included; only needed where siblings share a fate. */
  | {
      readonly type: 'failed'
      readonly child: string
      readonly policy: ChildPolicy
      readonly error: unknown
      readonly siblings: readonly Sibling[]
      /** In [0, 1), for the jitter. */
      readonly chance: number
    }
  /** A permanent child stopped by itself. */
  | {
      readonly type: 'left'
      readonly child: string
      readonly policy: ChildPolicy
      readonly siblings: readonly Sibling[]
      readonly chance: number
    }
  /** The child's incarnation is over; it may start again. */
  | { readonly type: 'suspended'; readonly child: string }
  | { readonly type: 'started'; readonly child: string }
  /** The child has ended for good. */
  | { readonly type: 'ended'; readonly child: string }
  | { readonly type: 'delay-over'; readonly child: string }

/**
 * What the shell does, in the order given. A `suspend`, `start`, `stop` or `delay` is answered by the input that says
 * that it was done; the core waits for it.
 */
export type SupervisorEffect =
  /** End the incarnation in good order, keep the cell. Answered by `suspended`. */
  | { readonly type: 'suspend'; readonly child: string }
  /** Start the next incarnation. Answered by `started`, or `failed`. */
  | { readonly type: 'start'; readonly child: string }
  /** End for good, in good order. Answered by `ended`. */
  | { readonly type: 'stop'; readonly child: string }
  /** End for good because it failed. Answered by `ended`. */
  | { readonly type: 'end'; readonly child: string }
  /** Answered by `delay-over` after `delayMs`. */
  | { readonly type: 'delay'; readonly child: string; readonly delayMs: number }
  /** For the log: restart number `count` of at most `limit` within the window, after `delayMs`. */
  | {
      readonly type: 'restarting'
      readonly child: string
      readonly count: number
      readonly limit: number
      readonly delayMs: number
    }
  /** For the log: it failed while its turn to go down with its siblings had not come yet. Not counted. */
  | { readonly type: 'joined'; readonly child: string }
  /** The supervisor itself fails: too many restarts, or a decision to escalate. */
  | { readonly type: 'fail'; readonly because: 'limit' | 'escalate'; readonly history: readonly number[] }

/** A child that failed lately. Children that never failed are not kept here: there may be a million of them. */
interface Trouble {
  attempts: number
  delayMs: number
  startedAtMs: number | undefined
}

/** Siblings that go down and come up together. */
interface Group {
  /** Still to be suspended, the youngest last; the last one is under way. */
  readonly down: Sibling[]
  /** To be started, in order; the first one is under way once `down` is empty. */
  up: string[]
  /** Whose backoff delays the start. */
  readonly cause: string
  phase: 'down' | 'delay' | 'up'
}

const nothing: readonly SupervisorEffect[] = Object.freeze([])

export interface SupervisorIntensity {
  readonly restarts: number
  readonly withinMs: number
  readonly per: 'supervisor' | 'child'
}

export class SupervisorCore {
  readonly #strategy: Strategy
  readonly #intensity: SupervisorIntensity
  readonly #window: RestartWindow
  readonly #windows = new Map<string, RestartWindow>()
  readonly #troubles = new Map<string, Trouble>()
  #group: Group | undefined

  constructor(strategy: Strategy, intensity: SupervisorIntensity) {
    this.#strategy = strategy
    this.#intensity = intensity
    this.#window = new RestartWindow(intensity.restarts, intensity.withinMs)
  }

  /** A supervisor has no deadlines of its own: its shell keeps the delays it was told. */
  nextDeadlineMs(): undefined {
    return undefined
  }

  status(): {
    readonly strategy: Strategy
    readonly inTrouble: readonly string[]
    readonly group: readonly string[]
  } {
    const group = this.#group
    return {
      strategy: this.#strategy,
      inTrouble: [...this.#troubles.keys()],
      group: group === undefined ? [] : [...group.down.map((sibling) => sibling.name), ...group.up],
    }
  }

  /** Siblings are on their way down or up together: nobody else is started meanwhile. */
  get hasGroup(): boolean {
    return this.#group !== undefined
  }

  step(input: SupervisorInput, nowMs: number): readonly SupervisorEffect[] {
    switch (input.type) {
      case 'failed':
        return this.#failed(input, nowMs)
      case 'left':
        return this.#goesDownAnyway(input.child) ? nothing : this.#restart(input, undefined, nowMs)
      case 'suspended':
        return this.#suspended(input.child)
      case 'delay-over':
        return this.#delayOver(input.child)
      case 'started':
        return this.#started(input.child, nowMs)
      case 'ended':
        return this.#ended(input.child)
      default:
        return unreachable(input)
    }
  }

  #failed(input: SupervisorInput & { readonly type: 'failed' }, nowMs: number): readonly SupervisorEffect[] {
    if (this.#goesDownAnyway(input.child)) return [{ type: 'joined', child: input.child }]
    const decision = decide(input.policy, input.error)
    if (decision === 'escalate') {
      return this.#giveUp(input.child, 'escalate', [])
    }
    if (decision === 'stop' || input.policy.restart === 'temporary')
      return [{ type: 'end', child: input.child }]
    return this.#restart(input, typeof decision === 'object' ? decision : undefined, nowMs)
  }

  /** With its siblings: its incarnation is over, and the group takes it in its turn. */
  #goesDownAnyway(child: string): boolean {
    const group = this.#group
    return group !== undefined && group.phase === 'down' && group.down.some(({ name }) => name === child)
  }

  /** The supervisor fails with all its children: nothing that was under way goes on. */
  #giveUp(
    child: string,
    because: 'limit' | 'escalate',
    history: readonly number[],
  ): readonly SupervisorEffect[] {
    this.#group = undefined
    return [
      { type: 'end', child },
      { type: 'fail', because, history },
    ]
  }

  #restart(
    input: SupervisorInput & { readonly type: 'failed' | 'left' },
    ownBackoff: Backoff | undefined,
    nowMs: number,
  ): readonly SupervisorEffect[] {
    const { child } = input
    const window = this.#intensity.per === 'child' ? this.#windowOf(child) : this.#window
    if (!window.add(nowMs)) return this.#giveUp(child, 'limit', [...window.history])
    const trouble = this.#troubleOf(child)
    const backoff = ownBackoff ?? input.policy.backoff
    trouble.delayMs = 0
    if (backoff !== undefined) {
      const ranMs = trouble.startedAtMs === undefined ? 0 : nowMs - trouble.startedAtMs
      // A run counts once: what fails to start after it has not run.
      trouble.startedAtMs = undefined
      if (ranMs >= (backoff.resetMs ?? backoff.maxMs)) trouble.attempts = 0
      trouble.delayMs = backoffDelayMs(backoff, trouble.attempts, input.chance)
      trouble.attempts++
    }
    const report: SupervisorEffect = {
      type: 'restarting',
      child,
      count: window.count,
      limit: this.#intensity.restarts,
      delayMs: trouble.delayMs,
    }
    if (this.#strategy === 'one-for-one') return [report, { type: 'suspend', child }]
    const sharing = this.#affected(child, input.siblings)
    // A temporary one on its way down counts as living no more, and is waited for all the same.
    const leaving = this.#group?.phase === 'down' ? this.#group.down.at(-1) : undefined
    if (leaving !== undefined && !sharing.some(({ name }) => name === leaving.name)) sharing.push(leaving)
    this.#group = { down: sharing, up: namesToStart(sharing), cause: child, phase: 'down' }
    return [report, ...this.#takeDown(this.#group)]
  }

  /** Those that share the fate of `child`, in start order. A group under way is widened, never narrowed. */
  #affected(child: string, siblings: readonly Sibling[]): Sibling[] {
    if (this.#strategy === 'one-for-all') return [...siblings]
    let from = siblings.findIndex(({ name }) => name === child)
    const group = this.#group
    if (group !== undefined) {
      const under = new Set([...group.down.map(({ name }) => name), ...group.up])
      const first = siblings.findIndex(({ name }) => under.has(name))
      if (first !== -1 && first < from) from = first
    }
    return siblings.slice(Math.max(from, 0))
  }

  #takeDown(group: Group): readonly SupervisorEffect[] {
    const next = group.down.at(-1)
    if (next !== undefined) {
      return [{ type: next.restart === 'temporary' ? 'stop' : 'suspend', child: next.name }]
    }
    const delayMs = this.#troubles.get(group.cause)?.delayMs ?? 0
    if (delayMs > 0) {
      group.phase = 'delay'
      return [{ type: 'delay', child: group.cause, delayMs }]
    }
    return this.#bringUp(group)
  }

  #bringUp(group: Group): readonly SupervisorEffect[] {
    group.phase = 'up'
    const [first] = group.up
    if (first !== undefined) return [{ type: 'start', child: first }]
    this.#group = undefined
    return nothing
  }

  #suspended(child: string): readonly SupervisorEffect[] {
    const group = this.#group
    if (group !== undefined && group.down.at(-1)?.name === child) {
      group.down.pop()
      return this.#takeDown(group)
    }
    const delayMs = this.#troubles.get(child)?.delayMs ?? 0
    return delayMs > 0 ? [{ type: 'delay', child, delayMs }] : [{ type: 'start', child }]
  }

  #delayOver(child: string): readonly SupervisorEffect[] {
    const group = this.#group
    if (group === undefined) return [{ type: 'start', child }]
    return group.phase === 'delay' && group.cause === child ? this.#bringUp(group) : nothing
  }

  #started(child: string, nowMs: number): readonly SupervisorEffect[] {
    const trouble = this.#troubles.get(child)
    if (trouble !== undefined) {
      if (trouble.attempts === 0) this.#troubles.delete(child)
      else trouble.startedAtMs = nowMs
    }
    const group = this.#group
    if (group === undefined || group.phase !== 'up' || group.up[0] !== child) return nothing
    group.up.shift()
    return this.#bringUp(group)
  }

  #ended(child: string): readonly SupervisorEffect[] {
    this.#troubles.delete(child)
    this.#windows.delete(child)
    const group = this.#group
    if (group === undefined) return nothing
    const wasGoingDown = group.phase === 'down' && group.down.at(-1)?.name === child
    const wasComingUp = group.phase === 'up' && group.up[0] === child
    const index = group.down.findIndex(({ name }) => name === child)
    if (index !== -1) group.down.splice(index, 1)
    group.up = group.up.filter((name) => name !== child)
    if (wasGoingDown) return this.#takeDown(group)
    if (wasComingUp) return this.#bringUp(group)
    // The one whose backoff was waited for is gone: the others need not wait for it.
    if (group.phase === 'delay' && group.cause === child) return this.#bringUp(group)
    return nothing
  }

  #troubleOf(child: string): Trouble {
    let trouble = this.#troubles.get(child)
    if (trouble === undefined) {
      trouble = { attempts: 0, delayMs: 0, startedAtMs: undefined }
      this.#troubles.set(child, trouble)
    }
    return trouble
  }

  #windowOf(child: string): RestartWindow {
    let window = this.#windows.get(child)
    if (window === undefined) {
      window = new RestartWindow(this.#intensity.restarts, this.#intensity.withinMs)
      this.#windows.set(child, window)
    }
    return window
  }
}

/** What the child's rules say about `error`; without a rule it is restarted. */
export function decide(policy: ChildPolicy, error: unknown): Decision {
  for (const [match, decision] of policy.onError) {
    if (matches(match, error)) return decision
  }
  return 'restart'
}

/** A failed start stands for what `setup` threw: a rule may name either. */
function matches(match: ChildPolicy['onError'][number][0], error: unknown): boolean {
  const causes = isActorError(error, 'RUNTIME_START_FAILED') ? [error, error.cause] : [error]
  return causes.some((cause) =>
    typeof match === 'string'
      ? hasCode(cause, match)
      : cause instanceof (match as abstract new () => unknown),
  )
}

function hasCode(error: unknown, code: string): boolean {
  return typeof error === 'object' && error !== null && (error as { code?: unknown }).code === code
}

function namesToStart(siblings: readonly Sibling[]): string[] {
  return siblings.filter(({ restart }) => restart !== 'temporary').map(({ name }) => name)
}

function unreachable(value: never): never {
  throw new Error(`Unreachable: ${JSON.stringify(value)}`)
}
