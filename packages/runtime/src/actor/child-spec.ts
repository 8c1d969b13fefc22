/**
 * How a child is supervised, as data. The types stand here because an actor spawns children with them; what they mean
 * is carried out in supervision/. The words are OTP's (supervisor.erl).
 */

/**
 * When an ended child is started again. `permanent`: always, also when it stopped by itself; `transient`: after a
 * crash; `temporary`: never.
 */
export type RestartType = 'permanent' | 'transient' | 'temporary'

/**
 * Which siblings share a crash. `one-for-one`: none; `one-for-all`: all; `rest-for-one`: those started after it.
 */
export type Strategy = 'one-for-one' | 'one-for-all' | 'rest-for-one'

/**
 * How long a child stays down before it is started again: `minMs * 2^n`, at most `maxMs`, times `1 ± jitter`. With
 * minMs 100 and maxMs 1,000: 100, 200, 400, 800, 1,000, 1,000 ms. `n` is reset once a child has run for `resetMs`.
 */
export interface Backoff {
  /** First delay. Must be > 0. */
  readonly minMs: number
  /** Longest delay. Must be >= minMs. */
  readonly maxMs: number
  /** Share of the delay that is left to chance, in [0, 1]. @default 0.2 */
  readonly jitter?: number | undefined
  /** A child that ran this long starts over at `minMs`. @default maxMs */
  readonly resetMs?: number | undefined
}

/**
 * How many restarts within a sliding window are borne: the (`restarts` + 1)th within `withinMs` makes the supervisor
 * fail. OTP's default of 1 in 5 s surprises everybody in a demo; ours is 3.
 */
export interface Intensity {
  /** `Infinity` means no limit. @default 3 */
  readonly restarts: number
  /** @default 5_000 */
  readonly withinMs: number
  /** Whether the children share one budget, or have one each. @default 'supervisor' */
  readonly per?: 'supervisor' | 'child' | undefined
}

/** What to do about one class of error. */
export type Decision = 'restart' | 'stop' | 'escalate' | Backoff

/** An error class, or the `code` of an error; and what to do about it. The first that fits decides. */
export type ErrorRule = readonly [
  match: (abstract new (...args: never[]) => unknown) | string,
  decision: Decision,
]

/** How one child is kept. */
export interface ChildOptions {
  /** @default 'permanent' for `child()`, 'transient' for `spawn` */
  readonly restart?: RestartType | undefined
  /** Waiting before a restart. @default none: at once */
  readonly backoff?: Backoff | undefined
  /** How long an orderly stop may take before the child is abandoned and fenced. @default 5_000; supervisors: the sum of their children */
  readonly shutdownMs?: number | undefined
  /** Decisions per error class. @default [] (restart) */
  readonly onError?: readonly ErrorRule[] | undefined
}

/** How an actor keeps its children. */
export interface SupervisionOptions {
  /** @default 'one-for-one' */
  readonly strategy?: Strategy | undefined
  /** @default { restarts: 3, withinMs: 5_000, per: 'supervisor' } */
  readonly intensity?: Intensity | undefined
}

/** `ChildOptions` with its defaults filled in. */
export interface ChildPolicy {
  readonly restart: RestartType
  readonly backoff: Backoff | undefined
  /** `undefined`: what the definition needs (5_000, or for a supervisor the sum of its children). */
  readonly shutdownMs: number | undefined
  readonly onError: readonly ErrorRule[]
}

export const defaultIntensity = Object.freeze({ restarts: 3, withinMs: 5_000, per: 'supervisor' } as const)
export const defaultShutdownMs = 5_000

const dynamicPolicy: ChildPolicy = Object.freeze({
  restart: 'transient',
  backoff: undefined,
  shutdownMs: undefined,
  onError: Object.freeze([]),
})

const namePattern = /^[^/#\s]{1,255}$/

const hash = 0x23
const slash = 0x2f
const nameCharsMax = 255

/** Whether `name` can stand in a path. */
export function isActorName(name: string): boolean {
  // Nearly all names are plain ASCII, and a look at each character costs a quarter of the pattern (bench: spawn).
  for (let i = 0; i < name.length; i++) {
    const code = name.charCodeAt(i)
    if (code <= 0x20 || code >= 0x7f || code === hash || code === slash) return namePattern.test(name)
  }
  return name.length > 0 && name.length <= nameCharsMax
}

/** @throws {TypeError} `doing`, and what a name must be, if `name` cannot stand in a path */
export function checkActorName(name: string, doing: string): void {
  if (!isActorName(name))
    throw new TypeError(`${doing}: a name has 1 to 255 characters, without "/", "#" and spaces`)
}

/**
 * Fills in defaults. Without options it allocates nothing, so that a million plain children share one policy.
 *
 * @throws {RangeError} if a duration or the jitter is out of range
 */
export function childPolicy(options: ChildOptions | undefined, restart: RestartType): ChildPolicy {
  if (options === undefined) {
    return restart === 'transient' ? dynamicPolicy : { ...dynamicPolicy, restart }
  }
  const { backoff, shutdownMs } = options
  const given: string = options.restart ?? restart
  if (!['permanent', 'transient', 'temporary'].includes(given)) {
    throw new TypeError(`Cannot use restart "${given}": it must be "permanent", "transient" or "temporary"`)
  }
  if (backoff !== undefined) checkBackoff(backoff)
  if (shutdownMs !== undefined && !(shutdownMs >= 0)) {
    throw new RangeError(`Cannot use shutdownMs ${shutdownMs}: it must be 0 or more milliseconds`)
  }
  for (const rule of options.onError ?? []) {
    const [, decision] = rule
    if (typeof decision === 'object') checkBackoff(decision)
    else if (!['restart', 'stop', 'escalate'].includes(decision)) {
      throw new TypeError(
        `Cannot use onError decision "${String(decision)}": it must be "restart", "stop", "escalate" or a backoff`,
      )
    }
  }
  return { restart: options.restart ?? restart, backoff, shutdownMs, onError: options.onError ?? [] }
}

function checkBackoff(backoff: Backoff): void {
  const { minMs, maxMs, jitter = 0.2 } = backoff
  if (!(minMs > 0) || !(maxMs >= minMs) || maxMs === Number.POSITIVE_INFINITY) {
    throw new RangeError(
      `Cannot use backoff { minMs: ${minMs}, maxMs: ${maxMs} }: it must hold 0 < minMs <= maxMs`,
    )
  }
  if (!(jitter >= 0 && jitter <= 1)) {
    throw new RangeError(`Cannot use backoff jitter ${jitter}: it must be between 0 and 1`)
  }
}
