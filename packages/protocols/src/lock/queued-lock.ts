/** Locks that are taken through a fair queue: what mutexes, read-write locks, semaphores and elections have in common. */
import { LockError } from './lock-error.ts'
import { notHeld } from './claim-error.ts'
import type { Claim, ClaimWish, OwnersHold } from './client-life.ts'
import type { ClientSession } from './client-session.ts'
import type { LockCommand, LockKind } from './lock-command.ts'
import type { AcquireOptions, Held, Lockable, WaitOptions } from './lock.ts'

export interface QueuedLockOptions {
  readonly name: string
  readonly kind: LockKind
  /** For messages to people: `the lock "a"`. */
  readonly what: string
  /** As in `AcquireCommand`. @default 1 */
  readonly permits?: number | undefined
  /** @default 0 */
  readonly capacity?: number | undefined
  /** @default false */
  readonly reentrant?: boolean | undefined
  /** @default '' */
  readonly data?: string | undefined
}

/** One lock of the table, as its client takes it. */
export function queuedLock(session: ClientSession, options: QueuedLockOptions): Lockable {
  return new QueuedLock(session, options)
}

/** Takes one kind of lock; what it gives is what `hold` makes of it. */
export class QueuedLock implements Lockable {
  readonly name: string
  readonly session: ClientSession
  readonly #options: QueuedLockOptions
  /** What is asked for mostly: made once. */
  readonly #waiting: AcquireWish
  readonly #trying: AcquireWish

  constructor(session: ClientSession, options: QueuedLockOptions) {
    const { name, permits = 1 } = options
    this.session = session
    this.name = name
    this.#options = options
    this.#waiting = new AcquireWish(options, permits, '', true)
    this.#trying = new AcquireWish(options, permits, '', false)
  }

  async acquire(options: AcquireOptions = {}): Promise<Held> {
    return held(await this.claim(true, options))
  }

  tryAcquire(options: AcquireOptions = {}): Promise<Held | undefined> {
    return this.claim(false, options)
  }

  /** Hot (benchmark: locks): it must not be `async` itself. */
  claim(wait: boolean, options: AcquireOptions, permits?: number): Promise<HeldLock | undefined> {
    const { owner = '' } = options
    if (this.#options.reentrant === true) return this.#again(owner, wait, options)
    const wish =
      owner === '' && permits === undefined
        ? wait
          ? this.#waiting
          : this.#trying
        : new AcquireWish(this.#options, permits ?? this.#options.permits ?? 1, owner, wait)
    return this.session.claim(wish, options).then((claim) => claim && this.hold(claim))
  }

  hold(claim: Claim): HeldLock {
    return new HeldLock(this.session, claim)
  }

  /**
   * What the owner has already is counted here, without asking the table. Where it is still being asked for, the table sees that
   * it is the same owner.
   */
  async #again(owner: string, wait: boolean, options: AcquireOptions): Promise<HeldLock | undefined> {
    const { session, name } = this
    if (owner === '') {
      const text = `Cannot take ${this.#options.what}: a re-entrant lock is taken with an "owner", whose holds are counted`
      throw new LockError('LOCK_BAD_REQUEST', text)
    }
    const key = `${name.length} ${name} ${owner}`
    const had = session.current?.holds.get(key)
    if (had !== undefined && options.signal?.aborted !== true) {
      had.count++
      return new HeldLock(session, had.claim, had)
    }
    const claim = await session.claim(new AcquireWish(this.#options, 1, owner, wait), options)
    if (claim === undefined) return undefined
    const hold: OwnersHold = { key, claim, count: 1 }
    const { holds } = claim.life
    if (!holds.has(key)) holds.set(key, hold)
    return new HeldLock(session, claim, hold)
  }
}

/** @throws {LockError} LOCK_BAD_REQUEST: cannot be, since who waits is not told `busy` */
export function held<T>(lock: T | undefined): T {
  if (lock === undefined)
    throw new LockError('LOCK_BAD_REQUEST', 'The table did not let a request wait that does')
  return lock
}

/** What is held, as its holder sees it. Given back once, whoever says so. */
export class HeldLock implements Held {
  readonly session: ClientSession
  readonly claim: Claim
  readonly #hold: OwnersHold | undefined
  #isDone = false

  constructor(session: ClientSession, claim: Claim, hold?: OwnersHold) {
    this.session = session
    this.claim = claim
    this.#hold = hold
  }

  get name(): string {
    return this.claim.wish.name
  }

  get token(): number {
    return this.claim.token ?? 0
  }

  /** Made when it is asked for. */
  get signal(): AbortSignal {
    this.claim.life.isAlive()
    return this.claim.signal
  }

  get heldUntilMs(): number {
    return this.claim.life.heldUntilMs
  }

  get isDone(): boolean {
    return this.#isDone
  }

  async release(options?: WaitOptions): Promise<void> {
    const { claim, session } = this
    if (this.#isDone) throw notHeld(claim.wish.what, 'it was released before')
    this.#isDone = true
    const hold = this.#hold
    if (hold !== undefined) {
      hold.count--
      // As long as it is there, others of its owner have it.
      if (hold.count > 0 && claim.life.isAlive()) return
      const { holds } = claim.life
      if (holds.get(hold.key) === hold) holds.delete(hold.key)
    }
    await session.release(claim, options)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isDone) return
    try {
      await this.release()
    } catch (error) {
      // It was lost: there is nothing to give back.
      if (!(error instanceof LockError) || error.code !== 'LOCK_NOT_HELD') throw error
    }
  }

  /** Somebody else gives it back from here on. */
  pass(): void {
    this.#isDone = true
  }
}

class AcquireWish implements ClaimWish {
  readonly name: string
  readonly what: string
  readonly #options: QueuedLockOptions
  readonly #permits: number
  readonly #owner: string
  readonly #wait: boolean

  constructor(options: QueuedLockOptions, permits: number, owner: string, wait: boolean) {
    this.name = options.name
    this.what = options.what
    this.#options = options
    this.#permits = permits
    this.#owner = owner
    this.#wait = wait
  }

  command(session: number, request: number): LockCommand {
    const { name, kind, capacity = 0, reentrant = false, data = '' } = this.#options
    return {
      type: 'acquire',
      session,
      request,
      name,
      kind,
      permits: this.#permits,
      capacity,
      wait: this.#wait,
      owner: this.#owner,
      reentrant,
      data,
    }
  }
}
