/** Nobody goes on before all have come. */
import { checkWhole } from './claim-error.ts'
import type { ClientSession } from './client-session.ts'
import type { Barrier, WaitOptions } from './lock.ts'
import { lockLimits } from './lock-limit.ts'
import { held } from './queued-lock.ts'

/**
 * Opens when as many as `parties` wait, and is closed again at once: who comes next belongs to the next generation, so that nobody
 * who is quick can pass twice. Who gives up waiting, or whose session ends, has not come.
 */
export function barrier(
  session: ClientSession,
  name: string,
  { parties }: { readonly parties: number },
): Barrier {
  checkWhole(`the barrier "${name}"`, 'parties', parties, 1, lockLimits.partiesMax)
  const wish = {
    name,
    what: `a pass through the barrier "${name}"`,
    command: (id: number, request: number) =>
      ({ type: 'barrier', session: id, request, name, step: 'pass', parties, entered: 0 }) as const,
  }
  return {
    name,
    pass: async (options: WaitOptions = {}) => {
      const claim = held(await session.claim(wish, options))
      // That it has passed is certain: the table need not keep it.
      session.forget(claim)
      return claim.token ?? 0
    },
  }
}
