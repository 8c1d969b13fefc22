/** So many permits, taken in the order in which they were asked for. */
import { checkWhole } from './claim-error.ts'
import type { ClientSession } from './client-session.ts'
import { lockLimits } from './lock-limit.ts'
import type { Held, Semaphore, SemaphoreOptions, WaitOptions } from './lock.ts'
import { held, QueuedLock } from './queued-lock.ts'

/**
 * Permits are taken and given back all at once, by one hold: exactly once, by whoever releases it first, or by the end of the
 * session. A request for many is not passed by smaller ones that came later.
 *
 * `permits` is how many there are when nobody has said so yet; after that it is what `setPermits` says, for all clients.
 * Its token is a number that grows from grant to grant; since several hold it at a time, it fences nothing off.
 */
export function semaphore(
  session: ClientSession,
  name: string,
  { permits }: { readonly permits: number },
): Semaphore {
  const what = `permits of the semaphore "${name}"`
  checkWhole(`the semaphore "${name}"`, 'permits', permits, 0, lockLimits.permitsMax)
  const asked = (options: SemaphoreOptions): number | undefined => {
    const { permits: count } = options
    if (count !== undefined) checkWhole(what, 'permits', count, 1, lockLimits.permitsMax)
    return count
  }
  const lock = new QueuedLock(session, { name, kind: 'semaphore', what, capacity: permits })
  return {
    name,
    acquire: async (options: SemaphoreOptions = {}): Promise<Held> =>
      held(await lock.claim(true, options, asked(options))),
    tryAcquire: async (options: SemaphoreOptions = {}): Promise<Held | undefined> =>
      lock.claim(false, options, asked(options)),
    setPermits: async (count: number, { timeoutMs, signal }: WaitOptions = {}): Promise<void> => {
      checkWhole(what, 'permits', count, 0, lockLimits.permitsMax)
      const setting = `setting the permits of "${name}"`
      await session.port.write(setting, { type: 'set-permits', name, permits: count }, { timeoutMs, signal })
    },
  }
}
