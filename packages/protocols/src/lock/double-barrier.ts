/** All begin together and all end together. */
import { checkWhole, isSurelyNotDone, notHeld } from './claim-error.ts'
import type { Claim } from './client-life.ts'
import type { ClientSession } from './client-session.ts'
import type { DoubleBarrier, EnteredBarrier, WaitOptions } from './lock.ts'
import { lockLimits } from './lock-limit.ts'
import { held } from './queued-lock.ts'

/**
 * `enter` waits until as many as `parties` have come, `leave` until all of them have left. Whose session ends has left: a crash
 * between the two holds nobody up. Who enters while others are leaving belongs to the next generation.
 */
export function doubleBarrier(
  session: ClientSession,
  name: string,
  { parties }: { readonly parties: number },
): DoubleBarrier {
  checkWhole(`the double barrier "${name}"`, 'parties', parties, 1, lockLimits.partiesMax)
  const wish = {
    name,
    what: `entry to the double barrier "${name}"`,
    command: (id: number, request: number) =>
      ({ type: 'barrier', session: id, request, name, step: 'enter', parties, entered: 0 }) as const,
  }
  return {
    name,
    enter: async (options: WaitOptions = {}) =>
      new Entered(session, held(await session.claim(wish, options)), parties),
  }
}

class Entered implements EnteredBarrier {
  readonly #session: ClientSession
  readonly #claim: Claim
  readonly #parties: number

  constructor(session: ClientSession, claim: Claim, parties: number) {
    this.#session = session
    this.#claim = claim
    this.#parties = parties
  }

  get generation(): number {
    return this.#claim.token ?? 0
  }

  get signal(): AbortSignal {
    this.#claim.life.isAlive()
    return this.#claim.signal
  }

  /**
   * When waiting for the others is given up it has left all the same.
   * @throws {ActorError} (as a rejection) LOCK_NOT_HELD when the session was lost (for the others this one has left), or when it
   *   has left before; LOCK_UNAVAILABLE: it is still inside, try again; else as every claim
   */
  async leave(options: WaitOptions = {}): Promise<void> {
    const { life, request: entered, status, wish } = this.#claim
    const { name } = wish
    if (status !== 'held' || !life.isAlive()) {
      throw notHeld(wish.what, life.isOver ? `it was lost, since ${life.why}` : 'it has left before')
    }
    const parties = this.#parties
    const leaving = {
      name,
      what: `the end of the double barrier "${name}"`,
      command: (session: number, request: number) =>
        ({ type: 'barrier', session, request, name, step: 'leave', parties, entered }) as const,
    }
    try {
      this.#session.forget(held(await this.#session.claim(leaving, options, life)))
    } catch (error) {
      // What may have been carried out is: nobody waits for who has given up.
      if (!isSurelyNotDone(error)) this.#session.forget(this.#claim)
      throw error
    }
    this.#session.consumed(this.#claim)
  }
}
