/**
 * What a client holds and waits for in the lock table: its session, kept alive, and its claims.
 *
 * - A session is opened when it is needed, and kept alive until the client is closed. When it is lost all that was held in it is;
 *   the next claim opens another.
 * - `heldUntilMs` counts from when the last keep-alive that was answered was sent, less what clocks may differ, less a margin.
 *   Then, or as soon as the table says that the session is over, the signals of all that is held abort.
 * - A claim that waits is told by a push of the leader. Pushes may be lost: how the waiting claims stand is asked for each time
 *   that pushes may have ended, and with each keep-alive.
 * - Whoever has waited gets a claim only if its session still holds then: else it is given back (L1).
 * - A claim whose caller has given up, or of which nobody knows whether it was made, is released in the background until the
 *   table has said so, or the session is over: nothing stays held that nobody knows of (L4).
 */
import { ActorError, isActorError } from '@understudy/runtime'
import {
  checkTimeout,
  clientClosed,
  givenUp,
  isRefusal,
  isSurelyNotDone,
  notHeld,
  sessionLost,
  timedOut,
} from './claim-error.ts'
import type { Claim, ClaimWish, ClientLife } from './client-life.ts'
import { ClientLives, type ClientSessionOptions } from './client-lives.ts'
import type { DeadlineAlarm } from './deadline-alarm.ts'
import type { LockAnswer, LockCommand } from './lock-command.ts'
import { LockError } from './lock-error.ts'
import type { LockPort } from './lock-port.ts'
import type { WaitOptions } from './lock.ts'
import { SpinReleases } from './spin-releases.ts'

/** See the head of this file. */
export class ClientSession {
  readonly port: LockPort
  readonly options: ClientSessionOptions
  /** For whatever of this client has a deadline. */
  readonly alarm: DeadlineAlarm
  readonly spinReleases = new SpinReleases()
  readonly #lives: ClientLives
  #owners = 0
  #ownersPrefix = ''

  constructor(port: LockPort, options: ClientSessionOptions) {
    this.port = port
    this.options = options
    this.#lives = new ClientLives(port, options)
    this.alarm = this.#lives.alarm
  }

  get isClosed(): boolean {
    return this.#lives.isClosed
  }

  /** The session that is held now. */
  get current(): ClientLife | undefined {
    return this.#lives.alive()
  }

  /** The session that is held now, or a new one. */
  async life(options: WaitOptions = {}): Promise<ClientLife> {
    checkTimeout('a session', options.timeoutMs)
    return (
      this.#lives.alive() ?? (await this.#lives.opened('a session', this.#untilMs(options), options.signal))
    )
  }

  /**
   * Resolves when it is held or let through; with `undefined` when it would have to wait and its command does not. Hot
   * (benchmark: locks): granted at once it is one write.
   *
   * @throws {ActorError} (as a rejection) LOCK_TIMEOUT, RUNTIME_ABORTED, LOCK_SESSION_LOST, LOCK_UNAVAILABLE, LOCK_LIMIT,
   *   LOCK_CLIENT_CLOSED, and what the table refuses. Nothing is held then, and asking again is safe. LOCK_NOT_HELD when it is
   *   about something that is held by the session `within`, and that is over.
   */
  async claim(wish: ClaimWish, options: WaitOptions, within?: ClientLife): Promise<Claim | undefined> {
    checkTimeout(wish.what, options.timeoutMs)
    const sinceMs = this.port.nowMs()
    const untilMs = this.#untilMs(options)
    const { signal } = options
    let how = options
    for (;;) {
      if (within?.isAlive() === false) throw notHeld(wish.what, `it was lost, since ${within.why}`)
      let life = within ?? this.#lives.alive()
      if (life === undefined) {
        life = await this.#lives.opened(wish.what, untilMs, signal)
        how = { timeoutMs: Math.max(1, untilMs - this.port.nowMs()), signal }
      }
      const claim = life.begin(wish, sinceMs, untilMs)
      let answer: LockAnswer
      try {
        answer = await this.port.write(wish.what, wish.command(life.id, claim.request), how)
      } catch (error) {
        this.#afterFailure(claim, error, signal)
        // The session was over before this was asked for in it.
        how = { timeoutMs: Math.max(1, untilMs - this.port.nowMs()), signal }
        continue
      }
      if (answer.type === 'held') {
        claim.token = answer.token
        return this.#take(claim)
      }
      if (answer.type === 'queued') {
        claim.ahead = answer.ahead
        try {
          return await this.#wait(claim, signal)
        } catch (error) {
          // Whoever asks anew is told why, or waits again.
          if (!claim.isGone || within !== undefined || this.port.nowMs() >= untilMs) throw error
          how = { timeoutMs: Math.max(1, untilMs - this.port.nowMs()), signal }
          continue
        }
      }
      this.#drop(claim)
      if (answer.type === 'busy') return undefined
      throw new RangeError(`The lock table answered "${answer.type}" to a claim`)
    }
  }

  /**
   * Gives back what is held. What becomes of it when the table cannot be reached is seen to in the background.
   * @throws {LockError} (as a rejection) LOCK_NOT_HELD when it was lost, or given back before. Hot (benchmark: locks).
   */
  async release(claim: Claim, options: WaitOptions = {}): Promise<void> {
    const { life, wish, request } = claim
    const { what } = wish
    if (claim.status !== 'held' || !life.isAlive()) {
      throw notHeld(what, life.isOver ? `it was lost, since ${life.why}` : 'it was released before')
    }
    const { signal, timeoutMs } = options
    this.#drop(claim)
    let answer: LockAnswer
    try {
      answer = await this.port.write(
        what,
        { type: 'release', session: life.id, request },
        { signal, timeoutMs },
      )
    } catch (error) {
      if (this.#lives.isSessionOver(life, error)) throw notHeld(what, `it was lost, since ${life.why}`)
      if (isRefusal(error)) throw error
      this.#giveUp(claim)
      if (!isActorError(error)) throw error
      return
    }
    if (answer.type === 'released' && answer.was !== 'held') {
      throw notHeld(what, 'the table has no such request')
    }
  }

  /** Sees to it, in the background, that the table forgets a claim that was let through. */
  forget(claim: Claim): void {
    if (claim.status === 'over') return
    this.#drop(claim)
    this.#giveUp(claim)
  }

  /** The table has forgotten it already. */
  consumed(claim: Claim): void {
    if (claim.status !== 'over') this.#drop(claim)
  }

  /**
   * A command about something that is held.
   * @throws {ActorError} (as a rejection) LOCK_NOT_HELD when it was lost or released, and as every write
   */
  async change(
    { life, status, wish }: Claim,
    command: LockCommand,
    { timeoutMs, signal }: WaitOptions = {},
  ): Promise<LockAnswer> {
    if (status !== 'held' || !life.isAlive()) throw notHeld(wish.what, life.why || 'it was released before')
    try {
      return await this.port.write(wish.what, command, { timeoutMs, signal })
    } catch (error) {
      if (this.#lives.isSessionOver(life, error)) throw notHeld(wish.what, life.why)
      throw error
    }
  }

  /** A name that nobody else has, for what is held without a session. */
  nextOwner(): string {
    if (this.#ownersPrefix === '') {
      const { u32 } = this.port.random
      const hex = Array.from({ length: 3 }, () => u32().toString(16).padStart(8, '0')).join('')
      this.#ownersPrefix = `${this.options.label.slice(0, 64)}/${hex}`
    }
    return `${this.#ownersPrefix}/${++this.#owners}`
  }

  /** Ends the session: what is held is lost here, and others can have it at once. */
  close(): Promise<void> {
    return this.#lives.close()
  }

  /** Waits before another try; longer each time, with chance. */
  pause(tries: number, signal: AbortSignal | undefined): Promise<void> {
    return this.#lives.pause(tries, signal)
  }

  // ---- Claims ------------------------------------------------------------------------------------------------

  /** The caller is about to have it. */
  #take(claim: Claim): Claim {
    const { life, wish } = claim
    if (!life.isAlive() || claim.status === 'over') {
      this.#giveBack(claim)
      throw sessionLost(wish.what, life.why)
    }
    claim.status = 'held'
    return claim
  }

  #wait(claim: Claim, signal: AbortSignal | undefined): Claim | Promise<Claim> {
    const { life, wish } = claim
    claim.hasWaited = true
    // The push was faster than the answer; or the session was lost before it.
    if (claim.token !== undefined || !life.isAlive()) return this.#take(claim)
    return new Promise((resolve, reject) => {
      const aborted = (): void => fail(givenUp(wish.what, signal))
      const done = (): void => {
        this.alarm.clear(claim)
        signal?.removeEventListener('abort', aborted)
      }
      const fail = (error: Error): void => {
        done()
        reject(error)
        if (claim.status === 'over') return
        this.#drop(claim)
        this.#giveUp(claim)
      }
      claim.wait({
        granted: () => {
          done()
          try {
            resolve(this.#take(claim))
          } catch (error) {
            reject(error as Error)
          }
        },
        failed: (reason) => {
          done()
          reject(reason)
        },
        late: () => fail(this.#late(claim, 'it would have had to wait for longer', 'not-held')),
      })
      this.alarm.set(claim)
      if (signal?.aborted === true) aborted()
      else signal?.addEventListener('abort', aborted, { once: true })
    })
  }

  /** A claim was not answered. Returns when it may be asked for again in another session; else throws. */
  #afterFailure(claim: Claim, error: unknown, signal: AbortSignal | undefined): void {
    const { life, wish } = claim
    const { what } = wish
    if (this.#lives.isSessionOver(life, error)) {
      if (this.isClosed) throw clientClosed()
      if (isAborted(signal)) throw givenUp(what, signal)
      if (this.port.nowMs() >= claim.untilMs)
        throw this.#late(claim, 'its session was lost', 'not-held', error)
      return
    }
    this.#drop(claim)
    if (isSurelyNotDone(error)) throw error
    if (life.isOver) this.#giveBack(claim)
    else this.#giveUp(claim)
    if (!isActorError(error) || error.code === 'LOCK_CLIENT_CLOSED') throw error
    if (isAborted(signal)) throw givenUp(what, signal)
    throw this.#late(claim, error.message, 'unknown', error)
  }

  #late(
    { wish, sinceMs, ahead }: Claim,
    why: string,
    outcome: 'not-held' | 'unknown',
    cause?: unknown,
  ): LockError {
    const waitedMs = this.port.nowMs() - sinceMs
    return timedOut(wish.what, why, { name: wish.name, waitedMs, ahead, outcome }, cause)
  }

  #drop(claim: Claim): void {
    claim.life.claims.delete(claim.request)
    claim.end(notHeldAnyMore)
  }

  /** Releases until it is certain. What is not held by then is never granted: the table remembers the number. */
  #giveUp(claim: Claim): void {
    const { life, request } = claim
    if (life.isOver) return
    life.givenUp.add(request)
    void this.#carryGivingUp(life, request)
  }

  async #carryGivingUp(life: ClientLife, request: number): Promise<void> {
    const what = `giving up request ${request} of session ${life.id}`
    for (let tries = 0; !life.isOver; tries++) {
      try {
        await this.port.write(what, { type: 'release', session: life.id, request }, {})
        break
      } catch (error) {
        if (this.#lives.isSessionOver(life, error) || isRefusal(error)) break
        if (!(error instanceof ActorError)) throw error
      }
      await this.pause(tries, life.signal)
    }
    life.givenUp.delete(request)
  }

  /** It was granted to a session that this client has lost: who waits need not wait until the table sees that. */
  #giveBack({ life, request, wish }: Claim): void {
    const command = { type: 'release', session: life.id, request } as const
    void this.port.write(`giving back ${wish.what}`, command, {}).catch((error: unknown) => {
      // It ends with its session.
      if (!isActorError(error)) throw error
    })
  }

  #untilMs({ timeoutMs = this.options.timeoutMs }: WaitOptions): number {
    return this.port.nowMs() + timeoutMs
  }
}

function isAborted(signal: AbortSignal | undefined): boolean {
  return signal?.aborted === true
}

/** One for all: made once, since most releases have nobody who looks at it. */
const notHeldAnyMore = new LockError('LOCK_NOT_HELD', 'It was released, and is not held any more')
