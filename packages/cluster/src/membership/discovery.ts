/**
 * Discovery: how a node finds addresses to dial. What is found is a hint and no more: who lives there, and whether it may
 * come in, the handshake decides; who is a member, the gossip. An address that is found no longer removes nobody.
 */
import type { Platform, Timer } from '@understudy/runtime'
import { describeGiven } from '@understudy/runtime/internal'
import type { NodeAddress } from '../transport/address.ts'
import { backoffMs } from './dial-plan.ts'

/** The part of the platform that a discovery uses. */
export type DiscoveryPlatform = Pick<Platform, 'clock' | 'random' | 'files' | 'dns'>

/**
 * A source of addresses. One value may be started several times, by several nodes: each start stands for itself.
 *
 * - `onAddresses` is called with the whole list when it is first known and whenever it has changed since. The list is in an
 *   order that depends on nothing but its content, without duplicates, frozen, and has at most `discoveryAddressesMax`
 *   entries. The node's own address may be among them. Only `staticDiscovery` ever says that there are none.
 * - A source that fails, or says nothing usable, calls `onProblem` and takes nothing back: the last known addresses stand.
 *   The same problem is told once until it is over.
 * - Neither is called from inside of `start`, nor after the returned handle was disposed of. Disposing twice is harmless.
 * - What it uses of the machine (timers, watches) never keeps the process alive, and is given back on dispose.
 */
export interface Discovery {
  /** For log lines and `status()`: `file /etc/understudy/seeds`. */
  readonly name: string
  readonly start: (
    platform: DiscoveryPlatform,
    onAddresses: (addresses: readonly NodeAddress[]) => void,
    onProblem: (problem: DiscoveryError) => void,
  ) => Disposable
}

/**
 * Most addresses that one discovery reports; the first so many count. One that answers is enough to find all members, so
 * more only cost dials.
 */
export const discoveryAddressesMax = 256

/**
 * Codes of `DiscoveryError`. None ends a node, each is told by the event or log line of the node.
 *
 * - `CLUSTER_DISCOVERY_FAILED`: the source could not be read; `cause` says why. It is tried again.
 * - `CLUSTER_DISCOVERY_EMPTY`: the source was read and names no address.
 * - `CLUSTER_DISCOVERY_BAD_ENTRY`: some entries are no addresses; the others count. `details.lines` says which.
 * - `CLUSTER_DISCOVERY_TOO_MANY`: more than `discoveryAddressesMax`; the rest is left out.
 */
export type DiscoveryErrorCode =
  | 'CLUSTER_DISCOVERY_FAILED'
  | 'CLUSTER_DISCOVERY_EMPTY'
  | 'CLUSTER_DISCOVERY_BAD_ENTRY'
  | 'CLUSTER_DISCOVERY_TOO_MANY'

/** What is wrong with a source of addresses. `code` is stable, the message names the mend. */
export class DiscoveryError extends Error {
  override readonly name = 'DiscoveryError'
  readonly code: DiscoveryErrorCode
  /** Plain data about the case: the source, lines, counts. */
  readonly details: Readonly<Record<string, unknown>>

  constructor(
    code: DiscoveryErrorCode,
    message: string,
    options: { readonly details?: Readonly<Record<string, unknown>>; readonly cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.details = options.details ?? {}
  }
}

/** What one look at a source gave. */
export interface Found {
  /** In the order in which they are to be used. May repeat. */
  readonly addresses: readonly NodeAddress[]
  /** What is wrong although there are some; or why there are none. */
  readonly problems: readonly DiscoveryError[]
  /** When another look is worth it, in milliseconds, if that is sooner than the source's own rhythm. */
  readonly freshMs?: number | undefined
}

/** How often a source is looked at. */
export interface LookRhythm {
  /** Longest wait after a look that went well, in milliseconds. Up to a tenth less by chance, so that nodes spread. */
  readonly refreshMs: number
  /** Longest wait for the answer to one look, in milliseconds; then it counts as failed, and a late answer is ignored. */
  readonly timeoutMs: number
}

/** What every source waits after a failed look: 250 ms, doubled up to 30 s, less up to half of it by chance. */
export const lookBackoff = Object.freeze({ minMs: 250, maxMs: 30_000, jitter: 0.5 })

/** No source is looked at more often than this by its own rhythm, in milliseconds. */
const freshMsMin = 1_000

/**
 * Looks at a source again and again, one look at a time, and keeps the promises of `Discovery`. `look` may throw and
 * reject; a `DiscoveryError` is told as it is, anything else as `CLUSTER_DISCOVERY_FAILED` with it as the cause.
 */
export class LookLoop implements Disposable {
  readonly #source: string
  readonly #platform: DiscoveryPlatform
  readonly #rhythm: LookRhythm
  readonly #look: () => Promise<Found>
  readonly #onAddresses: (addresses: readonly NodeAddress[]) => void
  readonly #onProblem: (problem: DiscoveryError) => void
  readonly #random: { readonly float: () => number }
  #known: readonly NodeAddress[] | undefined
  /** Problems that were told and are not over. */
  #told: ReadonlySet<string> = new Set()
  #timer: Timer | undefined
  /** The number of the look under way; an answer to an older one is too late. */
  #current = 0
  #isLooking = false
  #isStale = false
  #failures = 0
  #isOver = false

  constructor(
    source: string,
    platform: DiscoveryPlatform,
    rhythm: LookRhythm,
    look: () => Promise<Found>,
    onAddresses: (addresses: readonly NodeAddress[]) => void,
    onProblem: (problem: DiscoveryError) => void,
  ) {
    this.#source = source
    this.#platform = platform
    this.#rhythm = rhythm
    this.#look = look
    this.#onAddresses = onAddresses
    this.#onProblem = onProblem
    this.#random = platform.random.fork(`discovery/${source}`)
    this.#begin()
  }

  /** The source has changed: look now, or as soon as the look under way is done, as that may have seen what was before. */
  readonly poke = (): void => {
    if (this.#isOver) return
    if (this.#isLooking) this.#isStale = true
    else this.#begin()
  };

  [Symbol.dispose](): void {
    this.#isOver = true
    this.#timer?.cancel()
    this.#timer = undefined
  }

  #begin(): void {
    const number = ++this.#current
    this.#isLooking = true
    this.#isStale = false
    this.#arm(this.#rhythm.timeoutMs, () =>
      this.#failed(new Error(`there was no answer within ${this.#rhythm.timeoutMs} ms`)),
    )
    const isMine = (): boolean => !this.#isOver && this.#isLooking && number === this.#current
    // Within a promise, so that one that throws and one that answers at once are not called from inside of `start`.
    Promise.resolve()
      .then(this.#look)
      .then(
        (found) => {
          if (isMine()) this.#answered(found)
        },
        (error: unknown) => {
          if (isMine()) this.#failed(error)
        },
      )
  }

  #answered({ addresses, problems, freshMs }: Found): void {
    const unique = [...new Set(addresses)]
    const list = Object.freeze(unique.slice(0, discoveryAddressesMax))
    const tooMany = unique.length > list.length ? [tooManyAddresses(this.#source, unique.length)] : []
    this.#failures = list.length === 0 ? this.#failures + 1 : 0
    this.#rest(freshMs)
    this.#tell([...problems, ...tooMany])
    if (this.#isOver || list.length === 0 || isSame(list, this.#known)) return
    this.#known = list
    this.#onAddresses(list)
  }

  #failed(error: unknown): void {
    this.#failures++
    this.#rest(undefined)
    this.#tell([error instanceof DiscoveryError ? error : lookFailed(this.#source, error)])
  }

  /** Before anybody is told: who is told may dispose of it. */
  #rest(freshMs: number | undefined): void {
    this.#isLooking = false
    if (this.#isStale) {
      this.#begin()
      return
    }
    const { refreshMs } = this.#rhythm
    const chance = this.#random.float()
    const restMs =
      this.#failures > 0
        ? backoffMs(lookBackoff, this.#failures, chance)
        : Math.max(Math.min(refreshMs, freshMsMin), Math.min(refreshMs, freshMs ?? refreshMs)) *
          (1 - 0.1 * chance)
    this.#arm(restMs, () => this.#begin())
  }

  #tell(problems: readonly DiscoveryError[]): void {
    const before = this.#told
    this.#told = new Set(problems.map(keyOf))
    for (const problem of problems) {
      if (!this.#isOver && !before.has(keyOf(problem))) this.#onProblem(problem)
    }
  }

  #arm(afterMs: number, fire: () => void): void {
    this.#timer?.cancel()
    const { clock } = this.#platform
    this.#timer = clock.setTimer(clock.monotonicMs() + afterMs, fire)
  }
}

/** For a source that says nothing. `hint` is the mend. */
export function noAddresses(source: string, hint: string): DiscoveryError {
  return new DiscoveryError(
    'CLUSTER_DISCOVERY_EMPTY',
    `Cannot find nodes by ${source}: it names no address; ${hint}. What was known before stays in use`,
    { details: { source } },
  )
}

/** For a source that names more than is taken. */
export function tooManyAddresses(source: string, count: number): DiscoveryError {
  return new DiscoveryError(
    'CLUSTER_DISCOVERY_TOO_MANY',
    `Cannot use all ${count} addresses that ${source} names: at most ${discoveryAddressesMax} are used, the rest is ` +
      'left out; a few that are always there are enough to find all members',
    { details: { source, count, addressesMax: discoveryAddressesMax } },
  )
}

/** @throws {TypeError} if `options` is no object; `example` says what it may be */
export function checkGiven(source: string, options: unknown, example: string): void {
  if (typeof options === 'object' && options !== null) return
  throw new TypeError(
    `Cannot find nodes by ${source}: give options, such as ${example}; got ${describeGiven(options)}`,
  )
}

/** @throws {RangeError} if `refreshMs` is not a number of milliseconds from 100 to a day */
export function checkRefreshMs(source: string, refreshMs: number): void {
  if (typeof refreshMs === 'number' && refreshMs >= 100 && refreshMs <= 86_400_000) return
  throw new RangeError(
    `Cannot find nodes by ${source}: refreshMs must be a number of milliseconds from 100 to 86,400,000, ` +
      `got ${describeGiven(refreshMs)}`,
  )
}

/** By UTF-16 code unit: the same on every machine. */
export function sortedAddresses(addresses: readonly NodeAddress[]): readonly NodeAddress[] {
  return [...addresses].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0))
}

function lookFailed(source: string, error: unknown): DiscoveryError {
  const why = error instanceof Error ? error.message : String(error)
  return new DiscoveryError(
    'CLUSTER_DISCOVERY_FAILED',
    `Cannot find nodes by ${source}: ${why}. It is tried again; what was known before stays in use`,
    { details: { source }, cause: error },
  )
}

function keyOf({ code, message }: DiscoveryError): string {
  return `${code} ${message}`
}

function isSame(list: readonly NodeAddress[], known: readonly NodeAddress[] | undefined): boolean {
  return list.length === known?.length && list.every((address, index) => address === known[index])
}
