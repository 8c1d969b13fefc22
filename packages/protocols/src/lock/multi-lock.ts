/** Several locks as one. */
import { isActorError } from '@understudy/runtime'
import { LockError } from './lock-error.ts'
import { checkTimeout, timedOut } from './claim-error.ts'
import { LazySignal } from './lazy-signal.ts'
import type { AcquireOptions, Held, HeldAll, Lockable, WaitOptions } from './lock.ts'

/** What the whole of several locks needs to know of its client. */
export interface MultiLockOptions {
  /** Monotonic. */
  readonly nowMs: () => number
  /** For all of them together when an acquire does not say. Milliseconds. */
  readonly timeoutMs: number
}

/**
 * Takes all or none: one after the other in the order of their names, whatever order they are given in, so that two who do so
 * never wait for each other. When one is not had, those before it are given back.
 *
 * @throws {LockError} LOCK_BAD_REQUEST when there are none, or two of one name
 */
export function multiLock(
  locks: readonly Lockable[],
  { nowMs, timeoutMs: timeoutMsDefault }: MultiLockOptions,
): { readonly acquire: (options?: AcquireOptions) => Promise<HeldAll> } {
  const inOrder = [...locks].sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0))
  if (inOrder.length === 0 || inOrder.some(({ name }, at) => name === inOrder[at + 1]?.name)) {
    const text = 'Cannot take several locks as one: there must be one at least, and each name once'
    const names = inOrder.map(({ name }) => `"${name}"`).join(', ')
    throw new LockError(
      'LOCK_BAD_REQUEST',
      `${text}, and ${names === '' ? 'there is none' : `they are ${names}`}`,
    )
  }
  return {
    async acquire(options: AcquireOptions = {}): Promise<HeldAll> {
      checkTimeout('several locks as one', options.timeoutMs)
      const sinceMs = nowMs()
      const untilMs = sinceMs + (options.timeoutMs ?? timeoutMsDefault)
      const had: Held[] = []
      try {
        for (const lock of inOrder) {
          const leftMs = untilMs - nowMs()
          if (leftMs <= 0) {
            const waitedMs = nowMs() - sinceMs
            const { name } = lock
            throw timedOut(`the lock "${name}"`, 'the time went by with those before it', {
              name,
              waitedMs,
              outcome: 'not-held',
            })
          }
          had.push(await lock.acquire({ ...options, timeoutMs: leftMs }))
        }
        const all = new HeldLocks(had)
        // The first may have been lost while the last was waited for.
        const lostOne = had.find(({ signal }) => signal.aborted)
        if (lostOne === undefined) return all
        const text = `the lock "${lostOne.name}" was lost while those behind it were waited for`
        throw new LockError(
          'LOCK_SESSION_LOST',
          `Did not get ${all.name}: ${text}`,
          {},
          lostOne.signal.reason,
        )
      } catch (error) {
        // Its time may be over, and the table be silent: like all that is given up it is given back in the background.
        void giveBack(had).catch((problem: unknown) => {
          if (!isActorError(problem)) throw problem
        })
        throw error
      }
    },
  }
}

/** One that is lost aborts the signal of all; the others are held until this is released. */
class HeldLocks implements HeldAll {
  readonly #held: readonly Held[]
  readonly #lost = new LazySignal()
  readonly tokens: ReadonlyMap<string, number>
  #isWatching = false
  #isDone = false

  constructor(locks: readonly Held[]) {
    this.#held = locks
    this.tokens = new Map(locks.map(({ name, token }) => [name, token]))
  }

  get name(): string {
    return this.#held.map(({ name }) => name).join(', ')
  }

  get token(): number {
    return Math.max(...this.tokens.values())
  }

  get heldUntilMs(): number {
    return Math.min(...this.#held.map(({ heldUntilMs }) => heldUntilMs))
  }

  get signal(): AbortSignal {
    if (!this.#isWatching) {
      this.#isWatching = true
      for (const { signal } of this.#held) {
        const lost = (): void => this.#lost.abort(signal.reason as Error)
        if (signal.aborted) lost()
        // It ends with the hold: its signal is aborted at its release.
        else signal.addEventListener('abort', lost, { once: true })
      }
    }
    return this.#lost.signal
  }

  async release(options?: WaitOptions): Promise<void> {
    if (this.#isDone)
      throw new LockError('LOCK_NOT_HELD', `Does not hold ${this.name}: it was released before`)
    this.#isDone = true
    let problem: unknown
    let isProblem = false
    for (const held of [...this.#held].reverse()) {
      try {
        await held.release(options)
      } catch (error) {
        if (!isProblem) problem = error
        isProblem = true
      }
    }
    if (isProblem) throw problem
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isDone) return
    this.#isDone = true
    await giveBack(this.#held)
  }
}

/** All, whatever becomes of one of them: in the order against that in which they were taken. */
async function giveBack(locks: readonly Held[]): Promise<void> {
  await Promise.all([...locks].reverse().map((held) => held[Symbol.asyncDispose]()))
}
