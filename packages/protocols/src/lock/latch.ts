/** A count that goes down once, and lets all through when it is 0. */
import { isActorError } from '@understudy/runtime'
import { checkTimeout, checkWhole, givenUp, isSurelyNotDone, unavailable } from './claim-error.ts'
import type { ClientSession } from './client-session.ts'
import { countIn } from './counter.ts'
import type { Latch, WaitOptions } from './lock.ts'
import { held } from './queued-lock.ts'
import { viewOf } from './value-changes.ts'

/**
 * `count` is what it starts with when it is not there: one that is there stays as it is. It stays at 0 until it is removed
 * (`LockClient.remove`). A count down is carried out once, however often it is tried.
 */
export function latch(session: ClientSession, name: string, { count }: { readonly count: number }): Latch {
  const what = `the latch "${name}"`
  checkWhole(what, 'count', count, 0, Number.MAX_SAFE_INTEGER)
  let isSet = false
  /** Gives what is left of the time of the call. Each call sets it for itself, since each has a time and a signal of its own. */
  const set = async ({
    timeoutMs = session.options.timeoutMs,
    signal,
  }: WaitOptions): Promise<WaitOptions> => {
    checkTimeout(what, timeoutMs)
    if (isSet) return { timeoutMs, signal }
    const { port } = session
    const untilMs = port.nowMs() + timeoutMs
    try {
      await port.write(what, { type: 'latch-set', name, count }, { timeoutMs, signal })
    } catch (error) {
      if (isSurelyNotDone(error) || !isActorError(error) || error.code === 'LOCK_CLIENT_CLOSED') throw error
      // Whether it was set does not matter: what was asked for was not begun.
      if (signal?.aborted === true) throw givenUp(what, signal)
      throw unavailable(what, 'its count could not be set in time', error)
    }
    isSet = true
    return { timeoutMs: Math.max(1, untilMs - port.nowMs()), signal }
  }
  /** When somebody has removed it since, it begins anew with its count. */
  const ask = async <T>(options: WaitOptions, of: (left: WaitOptions) => Promise<T>): Promise<T> => {
    const wasSet = isSet
    const left = await set(options)
    try {
      return await of(left)
    } catch (error) {
      if (!wasSet || !isActorError(error, 'LOCK_BAD_REQUEST')) throw error
      isSet = false
      return of(await set(left))
    }
  }
  const wish = {
    name,
    what,
    command: (id: number, request: number) => ({ type: 'latch-wait', session: id, request, name }) as const,
  }
  return {
    name,
    get: async (options) => {
      const view = await viewOf(session, name, 'latch', options)
      return view === undefined ? count : countIn(view)
    },
    countDown: async (by = 1, options: WaitOptions = {}) => {
      checkWhole(what, 'by', by, 1, Number.MAX_SAFE_INTEGER)
      const answer = await ask(options, (left) =>
        session.port.write(what, { type: 'latch-down', name, by }, left),
      )
      if (answer.type !== 'number')
        throw new RangeError(`The lock table answered "${answer.type}" to latch-down`)
      return answer.value
    },
    wait: async (options = {}) => {
      const claim = held(await ask(options, (left) => session.claim(wish, left)))
      // Of one that is open already the table keeps nothing.
      if (claim.hasWaited) session.forget(claim)
      else session.consumed(claim)
    },
  }
}
