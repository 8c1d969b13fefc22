/**
 * The guarded resource: it refuses the past. A holder of a lock may be paused for any time between its last look at the lock
 * and its effect; by then somebody else may hold it, and have acted. No clock and no lease helps against that, only the
 * receiver of the effect: it remembers the highest token that it has seen, and refuses lower ones. After Kleppmann, "How to do
 * distributed locking" (2016), and Chubby's sequencers (Burrows 2006, 2.4).
 *
 * A guard has to stand where the effects arrive, one for the resource, not one for each holder: in the process that owns the
 * file, the actor that owns the state, the database that owns the row.
 */
import { Aborted } from '@understudy/runtime'
import { fencedError, tokenOf, type Fence, type TokenMemory } from './guard-memory.ts'
import { LockError } from './lock-error.ts'

export interface GuardOptions {
  /** In errors. @default 'the guarded resource' */
  readonly name?: string | undefined
  /**
   * Where the highest token is kept, written before any work with that token begins. Without it a guard that is made anew,
   * because its process was restarted, has forgotten all: until a new holder shows its token it lets an old one in. Where the
   * resource outlives the process give it a memory that does so too. @default none: in this object alone
   */
  readonly memory?: TokenMemory | undefined
  /** Works that may wait; more are refused with LOCK_LIMIT. @default 1_024 */
  readonly waitingMax?: number | undefined
}

export interface Guarded<R> {
  readonly name: string
  /** The highest token that this object has been shown. With a memory that was not asked yet it may be lower than what that holds. */
  readonly highest: () => number
  /**
   * Works with the resource, if no higher token has been seen; an equal one is the same holder. Works run one at a time, in the
   * order of the calls, so one that is let in has ended before one with a higher token begins: its effect cannot come after.
   * `signal` is aborted when a higher token comes, or when what was given as fence is lost: end soon, the next one waits.
   *
   * @throws {LockError} (as a rejection) LOCK_FENCED, LOCK_LOST, LOCK_LIMIT: the work was not begun
   * @throws {ActorError} (as a rejection) RUNTIME_ABORTED: given up before its turn
   */
  readonly run: <T>(
    fence: Fence,
    work: (resource: R, signal: AbortSignal) => T | Promise<T>,
    options?: { readonly signal?: AbortSignal | undefined },
  ) => Promise<T>
  /**
   * From here on all that is lower is refused, and what was let in has ended: what a new holder does first, before it reads.
   * Otherwise an effect of the holder before it, let in late, may come between what it reads and what it writes.
   */
  readonly raise: (fence: Fence) => Promise<void>
}

/** Guards `resource`. All effects on it have to go through the one guard. */
export function guard<R>(resource: R, options: GuardOptions = {}): Guarded<R> {
  const waitingMax = options.waitingMax ?? guardDefaults.waitingMax
  if (!(waitingMax >= 1)) {
    throw new RangeError(`Cannot guard a resource: "waitingMax" must be at least 1, got ${waitingMax}`)
  }
  return new Guard(resource, options.name ?? guardDefaults.name, options.memory, waitingMax)
}

/** What `GuardOptions` are when left out. */
export const guardDefaults = Object.freeze({ name: 'the guarded resource', waitingMax: 1_024 })

class Guard<R> implements Guarded<R> {
  readonly name: string
  readonly #resource: R
  readonly #memory: TokenMemory | undefined
  readonly #waitingMax: number
  #highest = 0
  /** What the memory has; undefined: not asked yet. */
  #saved: number | undefined
  /** Settles, never rejects, when the last work that was taken has ended. */
  #last: Promise<unknown> = Promise.resolve()
  #waiting = 0
  #running: { readonly token: number; readonly end: AbortController } | undefined

  constructor(resource: R, name: string, memory: TokenMemory | undefined, waitingMax: number) {
    this.#resource = resource
    this.name = name
    this.#memory = memory
    this.#waitingMax = waitingMax
  }

  readonly highest = (): number => this.#highest

  readonly run = async <T>(
    fence: Fence,
    work: (resource: R, signal: AbortSignal) => T | Promise<T>,
    { signal }: { readonly signal?: AbortSignal | undefined } = {},
  ): Promise<T> => {
    this.#see(tokenOf(fence, this.name))
    if (this.#waiting >= this.#waitingMax) {
      throw new LockError(
        'LOCK_LIMIT',
        `Cannot use "${this.name}": ${this.#waiting} works wait for it, "waitingMax" is ${this.#waitingMax}. ` +
          `Await what was begun, or raise it`,
        { limit: 'waitingMax', resource: this.name },
      )
    }
    if (signal?.aborted === true) throw this.#givenUp(signal)
    this.#waiting++
    let isWaiting = true
    const leave = (): void => {
      if (isWaiting) this.#waiting--
      isWaiting = false
    }
    const turn = this.#last.then(() => {
      leave()
      return this.#take(fence, work, signal)
    })
    // Its failure goes to its caller; whoever is next only waits for its end.
    this.#last = turn.catch(() => undefined)
    if (signal === undefined) return turn
    // Who gives up need not wait for the end of the works before it to be told so.
    const givenUp = new Promise<never>((_, reject) => {
      const give = (): void => {
        if (!isWaiting) return
        leave()
        reject(this.#givenUp(signal))
      }
      signal.addEventListener('abort', give, { once: true })
      const settled = (): void => signal.removeEventListener('abort', give)
      turn.then(settled, settled)
    })
    return Promise.race([turn, givenUp])
  }

  readonly raise = (fence: Fence): Promise<void> => this.run(fence, () => undefined)

  #givenUp({ reason }: AbortSignal): Aborted {
    return new Aborted(`The work on "${this.name}" was given up before its turn`, {}, reason as unknown)
  }

  /** What was shown counts at once: whoever waits with less is refused at its turn, whoever is at work is told. */
  #see(token: number): void {
    if (token < this.#highest) throw fencedError(this.name, token, this.#highest)
    this.#highest = token
    if (this.#running !== undefined && this.#running.token < token) {
      this.#running.end.abort(fencedError(this.name, this.#running.token, token))
    }
  }

  async #take<T>(
    fence: Fence,
    work: (resource: R, signal: AbortSignal) => T | Promise<T>,
    given: AbortSignal | undefined,
  ): Promise<T> {
    if (given?.aborted === true) throw this.#givenUp(given)
    await this.#remember(tokenOf(fence, this.name))
    // Both may have changed while the token was written.
    const token = tokenOf(fence, this.name)
    if (token < this.#highest) throw fencedError(this.name, token, this.#highest)
    const end = new AbortController()
    const held = typeof fence === 'object' ? fence.signal : undefined
    const lost = (): void => end.abort(held?.reason)
    held?.addEventListener('abort', lost, { once: true })
    this.#running = { token, end }
    try {
      return await work(this.#resource, end.signal)
    } finally {
      this.#running = undefined
      held?.removeEventListener('abort', lost)
    }
  }

  /** Resolves when the memory holds `token`: a work whose token is forgotten could be followed by an older one. */
  async #remember(token: number): Promise<void> {
    if (this.#memory === undefined) return
    if (this.#saved === undefined) {
      const saved = await this.#memory.load()
      this.#saved = saved
      this.#highest = Math.max(this.#highest, saved)
    }
    if (token < this.#highest) throw fencedError(this.name, token, this.#highest)
    if (token === this.#saved) return
    await this.#memory.save(token)
    this.#saved = token
  }
}
