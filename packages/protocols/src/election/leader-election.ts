/**
 * Leader election on the lock table: who leads holds a lock in a fair queue, and its term is the token of that grant. Terms grow
 * from leader to leader and over restarts of everything, so whoever is asked to do a leader's work can tell an old leader
 * from the new one: that, and not the lease, is what makes it safe to have one (etcd's concurrency package and Curator's
 * LeaderLatch leave it to their users; pitfall L10).
 */
import { isActorError } from '@understudy/runtime'
import { checkTimeout } from '../lock/claim-error.ts'
import type { Guarded } from '../lock/guard.ts'
import type { Fence } from '../lock/guard-memory.ts'
import type { Reign } from '../lock/lock-command.ts'
import type { LockClient } from '../lock/lock-client.ts'
import type { AcquireOptions, Held, Lockable, WaitOptions } from '../lock/lock.ts'
import { observeReigns, viewOf, type ElectionEvent, type ObserveOptions } from './reign-observer.ts'

export interface LeaderElectionOptions {
  readonly name: string
  /** What observers see of this candidate when it leads: where it can be reached, for instance. At most 4,096 characters. @default '' */
  readonly data?: string | undefined
  /**
   * Guarded resources that are shown the term before `campaign` resolves: from then on they refuse every leader before this one,
   * also what it sent before and what is still on its way. `Guarded`, `GuardedStore` and `GuardedKv` fit.
   * @default none: a resource learns of the term with the first work
   */
  readonly raise?: readonly Raisable[] | undefined
}

/** A guard that can be shown a token before anything is done under it. */
export interface Raisable {
  readonly raise: (fence: Fence) => Promise<void>
}

/** The time in which one candidate leads. Disposing of it resigns. */
export interface Leadership extends Held {
  /** The same as `token`: grows with each leader. */
  readonly term: number
  /**
   * Leader-only work on a guarded resource: with this term, while this leads, and refused by the guard as soon as it has been shown
   * a later one. `signal` is aborted when the work should end: this leads no more, or another has come.
   *
   * @throws {LockError} (as a rejection) LOCK_LOST: this leads no more, it resigned or was lost; LOCK_FENCED: another leads since.
   *   The work was not begun
   */
  readonly run: <R, T>(
    guarded: Guarded<R>,
    work: (resource: R, signal: AbortSignal) => T | Promise<T>,
  ) => Promise<T>
  /**
   * Lets the next candidate lead: `release`, by the word of elections. `signal` is aborted first, and `run` does nothing more; what
   * was sent with the bare term before is refused wherever the next leader has raised it.
   * @throws {LockError} (as a rejection) LOCK_NOT_HELD: it was lost, or resigned before
   */
  readonly resign: (options?: WaitOptions) => Promise<void>
}

export interface LeaderElection {
  readonly name: string
  /**
   * Stands for election, and resolves when this candidate leads, in the order in which candidates came. To stand twice at a time is to
   * be two candidates. Without `timeoutMs` it stands for a week. A candidate whose session is lost while it waits, as may be when the
   * servers of the lock table have no leader for longer than the lease, stands again by itself, as the last one.
   *
   * @throws {ActorError} (as a rejection) LOCK_TIMEOUT, RUNTIME_ABORTED, LOCK_CLIENT_CLOSED and what the table refuses: nothing is held.
   *   LOCK_FENCED: a guard of `raise` has seen a later term already; the leadership was given up again
   */
  readonly campaign: (options?: AcquireOptions) => Promise<Leadership>
  /** Leads if nobody does, at once; else `undefined`. */
  readonly tryCampaign: (options?: AcquireOptions) => Promise<Leadership | undefined>
  /** Who leads now, linearizably: by the time it is read it may be another. `undefined`: nobody. */
  readonly current: (options?: WaitOptions) => Promise<Reign | undefined>
  /**
   * Every leader from now on (or behind `afterTerm`), in the order of terms, also those whose time was over before they could be
   * told; the first event is how it stands. What is too far back to be known any more is told as a `gap`, never left out in
   * silence. Ends with its signal. Goes on by itself over leader changes, restarts and partitions of the lock table.
   *
   * @throws {LockError} (of its iterator) LOCK_CLIENT_CLOSED; LOCK_WRONG_KIND: the name is something else
   */
  readonly observe: (options?: ObserveOptions) => AsyncIterable<ElectionEvent>
}

/** How long a candidate stands who does not say. */
const standsMs = 604_800_000
/** Pause before a candidate stands again; it doubles five times. */
const backoffMs = 25

/** What an election needs of a client of the lock table. */
export type ElectionClient = Pick<LockClient, 'election' | 'view' | 'sleep' | 'nowMs'>

/** An election by way of the lock table. Candidates and observers of one name are those that use the same table. Sends nothing. */
export function leaderElection(client: ElectionClient, options: LeaderElectionOptions): LeaderElection {
  return new Election(client, options)
}

class Election implements LeaderElection {
  readonly name: string
  readonly #client: ElectionClient
  readonly #lock: Lockable
  readonly #raise: readonly Raisable[]

  constructor(client: ElectionClient, { name, data, raise = [] }: LeaderElectionOptions) {
    this.name = name
    this.#client = client
    this.#raise = raise
    this.#lock = client.election(name, { data })
  }

  readonly campaign = async (options: AcquireOptions = {}): Promise<Leadership> => {
    checkTimeout(`the lead of "${this.name}"`, options.timeoutMs)
    const untilMs = this.#client.nowMs() + (options.timeoutMs ?? standsMs)
    for (let tries = 0; ; tries++) {
      try {
        const timeoutMs = Math.max(1, untilMs - this.#client.nowMs())
        return await this.#lead(await this.#lock.acquire({ ...options, timeoutMs }))
      } catch (error) {
        const leftMs = untilMs - this.#client.nowMs()
        if (!mayStandAgain(error) || leftMs <= 0) throw error
        await this.#client.sleep(Math.min(backoffMs * 2 ** Math.min(tries, 5), leftMs), options.signal)
      }
    }
  }

  readonly tryCampaign = async (options?: AcquireOptions): Promise<Leadership | undefined> => {
    const held = await this.#lock.tryAcquire(options)
    return held && this.#lead(held)
  }

  readonly current = async (options: WaitOptions = {}): Promise<Reign | undefined> => {
    const view = await viewOf(this.#client, this.name, options)
    const last = view?.reigns.at(-1)
    return last !== undefined && view?.holders.some(({ token }) => token === last.token) === true
      ? last
      : undefined
  }

  readonly observe = (options: ObserveOptions = {}): AsyncIterable<ElectionEvent> =>
    observeReigns(this.#client, this.name, options)

  async #lead(held: Held): Promise<Leadership> {
    const leadership = new HeldLeadership(held)
    try {
      for (const guarded of this.#raise) await guarded.raise(leadership)
    } catch (error) {
      await leadership[Symbol.asyncDispose]()
      throw error
    }
    return leadership
  }
}

/** Nothing is held, and nobody has said that it never will be. */
function mayStandAgain(error: unknown): boolean {
  return (
    isActorError(error, 'LOCK_LOST') ||
    isActorError(error, 'LOCK_SESSION_LOST') ||
    isActorError(error, 'LOCK_UNAVAILABLE') ||
    // It has too much under way of others.
    isActorError(error, 'LOCK_CLIENT_FULL') ||
    isActorError(error, 'PROTOCOLS_OUTCOME_UNKNOWN')
  )
}

class HeldLeadership implements Leadership {
  readonly name: string
  readonly token: number
  readonly #held: Held

  constructor(held: Held) {
    this.#held = held
    this.name = held.name
    this.token = held.token
  }

  get term(): number {
    return this.token
  }

  get signal(): AbortSignal {
    return this.#held.signal
  }

  get heldUntilMs(): number {
    return this.#held.heldUntilMs
  }

  readonly run = <R, T>(
    guarded: Guarded<R>,
    work: (resource: R, signal: AbortSignal) => T | Promise<T>,
  ): Promise<T> => guarded.run(this, work)

  readonly release = (options?: WaitOptions): Promise<void> => this.#held.release(options)

  readonly resign = (options?: WaitOptions): Promise<void> => this.#held.release(options)

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#held[Symbol.asyncDispose]()
  }
}
