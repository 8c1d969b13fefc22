/**
 * A lock by compare-and-set: set if it is not there, with an owner and a time to live; given back only by its owner, with its
 * token. No session and no queue: whoever comes by when it is free has it.
 *
 * Warning: it is not fair, and each waiter asks the table again and again. Where more than about eight wait at a time, take a
 * mutex: there who waits costs nothing, and a hand-over is one write.
 */
import { isActorError } from '@understudy/runtime'
import {
  checkTimeout,
  checkWhole,
  givenUp,
  isRefusal,
  isSurelyNotDone,
  lost,
  notHeld,
  timedOut,
} from './claim-error.ts'
import type { ClientSession } from './client-session.ts'
import { LazySignal } from './lazy-signal.ts'
import type { LockAnswer } from './lock-command.ts'
import { LockError } from './lock-error.ts'
import { lockLimits } from './lock-limit.ts'
import type { HeldSpin, SpinLock, WaitOptions } from './lock.ts'

/** How long it is held at most, unless it is extended. */
export interface SpinLockOptions {
  /** Milliseconds, whole. */
  readonly ttlMs: number
  /**
   * Who takes it. Whoever asks again under the name of its owner has it too, under the same token, and for `ttlMs` from then on at least: so
   * several can hold one together, and one can go on after a restart. What one of them releases or makes shorter is so for all of
   * them, and the signals of the others do not tell. @default a name of its own for each acquire
   */
  readonly owner?: string | undefined
}

const backoffMs = 20
const backoffMaxMs = 1_000
/** What clocks may differ, and a margin for whoever has to stop: of the time to live. */
const earlyShare = 0.06

export function spinLock(session: ClientSession, name: string, options: SpinLockOptions): SpinLock {
  checkWhole(`the spin lock "${name}"`, 'ttlMs', options.ttlMs, 1, lockLimits.ttlMsMax)
  return new Spin(session, name, options)
}

class Spin implements SpinLock {
  readonly name: string
  readonly #session: ClientSession
  readonly #ttlMs: number
  readonly #owner: string | undefined

  constructor(session: ClientSession, name: string, { ttlMs, owner }: SpinLockOptions) {
    this.name = name
    this.#session = session
    this.#ttlMs = ttlMs
    this.#owner = owner
  }

  async acquire(options: WaitOptions = {}): Promise<HeldSpin> {
    const { port } = this.#session
    const { signal } = options
    const timeoutMs = options.timeoutMs ?? this.#session.options.timeoutMs
    checkTimeout(this.#what, timeoutMs)
    const sinceMs = port.nowMs()
    const untilMs = sinceMs + timeoutMs
    for (let tries = 0; ; tries++) {
      // A name of its own for each try: what gives an earlier one back, which came too late, must not free this one.
      const owner = this.#owner ?? this.#session.nextOwner()
      const answer = await this.#try(owner, { timeoutMs: Math.max(1, untilMs - port.nowMs()), signal })
      if (!(answer instanceof SpinLeft)) return answer
      const mostMs = Math.min(backoffMaxMs, backoffMs * 2 ** Math.min(tries, 16))
      // It may be given back early, and all who wait must not come at one time.
      const delayMs = Math.min(mostMs, answer.leftMs + 1) * (0.5 + port.random.float() / 2)
      await port.sleep(Math.max(0, Math.min(delayMs, untilMs - port.nowMs())), signal)
      if (signal?.aborted === true) throw givenUp(this.#what, signal)
      const nowMs = port.nowMs()
      if (nowMs < untilMs) continue
      const details = { name: this.name, waitedMs: nowMs - sinceMs, outcome: 'not-held' } as const
      throw timedOut(this.#what, 'it was never free when it was asked for', details)
    }
  }

  async tryAcquire({ timeoutMs, signal }: WaitOptions = {}): Promise<HeldSpin | undefined> {
    checkTimeout(this.#what, timeoutMs)
    const answer = await this.#try(this.#owner ?? this.#session.nextOwner(), { timeoutMs, signal })
    return answer instanceof SpinLeft ? undefined : answer
  }

  get #what(): string {
    return `the spin lock "${this.name}"`
  }

  async #try(owner: string, options: WaitOptions): Promise<HeldSpinLock | SpinLeft> {
    const { name } = this
    const { port } = this.#session
    const ttlMs = this.#ttlMs
    if (this.#owner !== undefined) await this.#session.spinReleases.callOff(name, owner)
    const sentMs = port.nowMs()
    let answer: LockAnswer
    try {
      answer = await port.write(this.#what, { type: 'spin-acquire', name, owner, ttlMs }, options)
    } catch (error) {
      if (isSurelyNotDone(error)) throw error
      this.#giveUp(owner, sentMs + ttlMs)
      if (options.signal?.aborted === true) throw givenUp(this.#what, options.signal)
      if (!isActorError(error) || error.code === 'LOCK_CLIENT_CLOSED') throw error
      const details = { name, waitedMs: port.nowMs() - sentMs, outcome: 'unknown' } as const
      throw timedOut(this.#what, error.message, details, error)
    }
    if (answer.type === 'taken') return new SpinLeft(answer.leftMs)
    if (answer.type !== 'held')
      throw new RangeError(`The lock table answered "${answer.type}" to spin-acquire`)
    const held = new HeldSpinLock(
      this.#session,
      name,
      owner,
      this.#owner !== undefined,
      answer.token,
      spinUntil(sentMs, ttlMs),
    )
    if (port.nowMs() < held.heldUntilMs) return held
    // The answer took longer than its time.
    this.#giveUp(owner, sentMs + ttlMs)
    return new SpinLeft(0)
  }

  /** What others may hold under the same name ends with its time. */
  #giveUp(owner: string, endMs: number): void {
    if (this.#owner === undefined) void giveUpSpin(this.#session, this.name, owner, endMs)
  }
}

/** Somebody else has it for so long. */
class SpinLeft {
  readonly leftMs: number

  constructor(leftMs: number) {
    this.leftMs = leftMs
  }
}

class HeldSpinLock implements HeldSpin {
  readonly name: string
  readonly token: number
  heldUntilMs: number
  readonly #session: ClientSession
  readonly #owner: string
  /** Its owner may take it again, here or elsewhere. */
  readonly #isNamed: boolean
  readonly #lost = new LazySignal()
  #isAlarmSet = false
  #isDone = false

  constructor(
    session: ClientSession,
    name: string,
    owner: string,
    isNamed: boolean,
    token: number,
    heldUntilMs: number,
  ) {
    this.#session = session
    this.#isNamed = isNamed
    this.name = name
    this.#owner = owner
    this.token = token
    this.heldUntilMs = heldUntilMs
  }

  get signal(): AbortSignal {
    if (this.#isHeld() && !this.#isAlarmSet) {
      this.#isAlarmSet = true
      this.#session.alarm.set(this)
    }
    return this.#lost.signal
  }

  get untilMs(): number {
    return this.heldUntilMs
  }

  ring(): void {
    this.#isAlarmSet = false
    this.#isHeld()
  }

  /**
   * From now on so long.
   * @throws {ActorError} (as a rejection) LOCK_NOT_HELD when it was lost: it is then of no use; LOCK_UNAVAILABLE,
   *   PROTOCOLS_OUTCOME_UNKNOWN, RUNTIME_ABORTED: it ends as it was to, or as was asked for
   */
  async extend(ttlMs: number, { timeoutMs, signal }: WaitOptions = {}): Promise<void> {
    const { name, token } = this
    const { port } = this.#session
    checkWhole(this.#what, 'ttlMs', ttlMs, 1, lockLimits.ttlMsMax)
    if (!this.#isHeld()) throw this.#notHeld()
    const sentMs = port.nowMs()
    try {
      const command = { type: 'spin-extend', name, owner: this.#owner, token, ttlMs } as const
      await port.write(this.#what, command, { timeoutMs, signal })
    } catch (error) {
      if (isActorError(error, 'LOCK_NOT_HELD')) this.#lose('the table says that it is over')
      // It may have been made shorter.
      else if (!isSurelyNotDone(error)) this.#endAt(Math.min(this.heldUntilMs, spinUntil(sentMs, ttlMs)))
      throw error
    }
    if (this.#lost.reason !== undefined) throw this.#notHeld()
    this.#endAt(spinUntil(sentMs, ttlMs))
  }

  /**
   * Only what its owner has under its token: what somebody else has by now stays. A named owner that takes it again while this is
   * under way keeps it.
   */
  async release({ timeoutMs, signal }: WaitOptions = {}): Promise<void> {
    const isHeld = this.#isHeld()
    if (this.#isDone || !isHeld) throw this.#notHeld()
    this.#finish(new LockError('LOCK_NOT_HELD', `Released ${this.#what}: it is not held any more`))
    const { name, token, heldUntilMs } = this
    const session = this.#session
    const owner = this.#owner
    let off: AbortSignal | undefined
    const send = (stop?: AbortSignal): Promise<LockAnswer> => {
      off = stop
      return session.port.write(
        this.#what,
        { type: 'spin-release', name, owner, token },
        { timeoutMs, signal: either(signal, stop), isAlone: stop !== undefined },
      )
    }
    let answer: LockAnswer
    try {
      answer = await (this.#isNamed ? session.spinReleases.begin(name, owner, send) : send())
    } catch (error) {
      if (isRefusal(error) || !isActorError(error)) throw error
      if (!this.#isNamed) void giveUpSpin(session, name, owner, heldUntilMs, token)
      else if (off?.aborted !== true) {
        void session.spinReleases.begin(name, owner, (stop) =>
          giveUpSpin(session, name, owner, heldUntilMs, token, stop),
        )
      }
      return
    }
    if (answer.type === 'released' && answer.was !== 'held') throw notHeld(this.#what, 'its time was over')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isDone) return
    try {
      await this.release()
    } catch (error) {
      // It was over: there is nothing to give back.
      if (!isActorError(error, 'LOCK_NOT_HELD')) throw error
    }
  }

  get #what(): string {
    return `the spin lock "${this.name}"`
  }

  #notHeld(): LockError {
    return notHeld(this.#what, this.#isDone ? 'it was released before' : 'its time was over')
  }

  /** Its time may move to both sides. */
  #endAt(heldUntilMs: number): void {
    this.heldUntilMs = heldUntilMs
    if (this.#isAlarmSet) this.#session.alarm.set(this)
  }

  #isHeld(): boolean {
    if (this.#lost.reason !== undefined) return false
    if (this.#session.isClosed) {
      // No alarm rings any more.
      this.#lose('its client was closed')
      return false
    }
    if (this.#session.port.nowMs() < this.heldUntilMs) return true
    this.#lose('its time was over')
    return false
  }

  #lose(why: string): void {
    this.#session.alarm.clear(this)
    this.#lost.abort(lost(this.#what, why))
  }

  #finish(reason: LockError): void {
    this.#isDone = true
    this.#session.alarm.clear(this)
    this.#lost.abort(reason)
  }
}

/**
 * Frees what an owner may have; `token` 0: whatever it is. After `endMs` it is over in any case. `signal`: its owner, who has a
 * name, wants it again. Such a release travels alone, so that nothing of it is tried any more once it was called off.
 */
async function giveUpSpin(
  session: ClientSession,
  name: string,
  owner: string,
  endMs: number,
  token = 0,
  signal?: AbortSignal,
): Promise<void> {
  const { port } = session
  const what = `giving up the spin lock "${name}"`
  const isOver = (): boolean => port.nowMs() >= endMs || session.isClosed || signal?.aborted === true
  for (let tries = 0; !isOver(); tries++) {
    try {
      const isAlone = signal !== undefined
      await port.write(what, { type: 'spin-release', name, owner, token }, { signal, isAlone })
      return
    } catch (error) {
      if (!isActorError(error)) throw error
      // There is nothing of it.
      if (isRefusal(error)) return
    }
    await session.pause(tries, signal)
  }
}

function either(one: AbortSignal | undefined, other: AbortSignal | undefined): AbortSignal | undefined {
  return one === undefined || other === undefined ? (one ?? other) : AbortSignal.any([one, other])
}

function spinUntil(sentMs: number, ttlMs: number): number {
  return sentMs + ttlMs * (1 - earlyShare)
}
