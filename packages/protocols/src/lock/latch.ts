/** A count that goes down once, and lets all through when it is 0. */
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
  let setting: Promise<void> | undefined
  const set = (): Promise<void> => {
    setting ??= session.port.write(what, { type: 'latch-set', name, count }, {}).then(
      () => undefined,
      (error: unknown) => {
        setting = undefined
        throw error
      },
    )
    return setting
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
    countDown: async (by = 1, { timeoutMs, signal }: WaitOptions = {}) => {
      await set()
      const answer = await session.port.write(what, { type: 'latch-down', name, by }, { timeoutMs, signal })
      if (answer.type !== 'number')
        throw new RangeError(`The lock table answered "${answer.type}" to latch-down`)
      return answer.value
    },
    wait: async (options = {}) => {
      await set()
      const claim = held(await session.claim(wish, options))
      // Of one that is open already the table keeps nothing.
      if (claim.hasWaited) session.forget(claim)
      else session.consumed(claim)
    },
  }
}
