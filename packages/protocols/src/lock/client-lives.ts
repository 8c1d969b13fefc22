/** The sessions of a client, one after the other: opened when one is needed, kept alive, attached for pushes, and lost. */
import { ActorError, isActorError } from '@understudy/runtime'
import { beats, clockDriftMax, KeepAlive, silentAfterMs, type BeatOptions } from '../service/keep-alive.ts'
import { clientClosed, givenUp, isRefusal, sessionLost, unavailable } from './claim-error.ts'
import { ClientLife } from './client-life.ts'
import { DeadlineAlarm } from './deadline-alarm.ts'
import type { LockGrant } from './lock-command.ts'
import type { LockError } from './lock-error.ts'
import type { LockCallView, LockPort } from './lock-port.ts'

export interface ClientSessionOptions {
  /** A session that is not kept alive for so long is over. Milliseconds. */
  readonly sessionTtlMs: number
  /** How long a call may take in all when it does not say. Milliseconds. */
  readonly timeoutMs: number
  /** For people: who this is. */
  readonly label: string
}

/** What is held is lost so much of its time before the table can give it to others: for whoever has to stop. */
const marginShare = 0.05
/** Openings that are under way at a time. */
const openingsMax = 3
/** Requests whose state is asked for at a time. */
const statesMax = 256
const backoffMs = 10
const backoffMaxMs = 500

/** Keeps what `ClientSession` says of sessions. */
export class ClientLives {
  readonly port: LockPort
  readonly options: ClientSessionOptions
  readonly alarm: DeadlineAlarm
  #life: ClientLife | undefined
  #opening: Promise<ClientLife> | undefined
  /** What the last opening has come to. */
  #problem: unknown
  /** The last opening that was begun. */
  #call: LockCallView | undefined
  readonly #over = new AbortController()
  #closing: Promise<void> | undefined
  #isClosed = false

  constructor(port: LockPort, options: ClientSessionOptions) {
    this.port = port
    this.options = options
    this.alarm = new DeadlineAlarm(port)
    port.onGrant = (grant) => this.#granted(grant)
    port.onRefused = ({ session, request }) => {
      if (this.#life?.id === session) this.#gone(this.#life, request)
    }
    port.onDetached = () => this.#detached()
    port.onSessionOver = (session) => {
      if (this.#life?.id === session) this.#life.lose('the table has ended its session')
    }
  }

  get isClosed(): boolean {
    return this.#isClosed
  }

  /** The session that is held now. */
  alive(): ClientLife | undefined {
    const life = this.#life
    return life?.isAlive() === true ? life : undefined
  }

  /** That one, or another. @throws {ActorError} (as a rejection) LOCK_UNAVAILABLE, RUNTIME_ABORTED, LOCK_CLIENT_CLOSED */
  async opened(what: string, untilMs: number, signal: AbortSignal | undefined): Promise<ClientLife> {
    for (let tries = 0; ; tries++) {
      if (this.isClosed) throw clientClosed()
      if (isAborted(signal)) throw givenUp(what, signal)
      const life: ClientLife | undefined = this.alive()
      if (life !== undefined) return life
      this.#opening ??= this.#open().finally(() => {
        this.#opening = undefined
      })
      let late: LockError | undefined
      try {
        return await this.#within(this.#opening, what, untilMs, signal, () => {
          late = this.#noSession(what, this.#problem)
          return late
        })
      } catch (error) {
        if (error === late && !this.isClosed) throw error
        if (this.isClosed) throw clientClosed()
        if (isRefusal(error) || !isActorError(error)) throw error
        if (!isAborted(signal) && this.port.nowMs() < untilMs) await this.pause(tries, signal)
        if (isAborted(signal)) throw givenUp(what, signal)
        // A session of which nobody knows holds nothing, and ends by itself.
        if (this.port.nowMs() >= untilMs) throw this.#noSession(what, error)
      }
    }
  }

  /** `promise`, or what its deadline or signal says. */
  #within<T>(
    promise: Promise<T>,
    what: string,
    untilMs: number,
    signal: AbortSignal | undefined,
    lateError: () => Error,
  ): Promise<T> {
    return new Promise((resolve, reject) => {
      const aborted = (): void => fail(givenUp(what, signal))
      const done = (): void => {
        this.alarm.clear(late)
        signal?.removeEventListener('abort', aborted)
      }
      const fail = (error: Error): void => {
        done()
        reject(error)
      }
      const late = { untilMs, ring: () => fail(lateError()) }
      this.alarm.set(late)
      signal?.addEventListener('abort', aborted, { once: true })
      promise.then((value) => {
        done()
        resolve(value)
      }, fail)
    })
  }

  #noSession(what: string, cause: unknown): LockError {
    const call = this.#call
    const why = cause instanceof Error ? cause.message : call === undefined ? '' : call.lastProblem
    const text = 'no session could be opened in time'
    return unavailable(what, why === '' ? text : `${text} (${why})`, cause)
  }

  /** Another try beside one that is silent: the first answer counts. */
  #open(): Promise<ClientLife> {
    const { sessionTtlMs, timeoutMs } = this.options
    const silentMs = silentAfterMs(Math.min(sessionTtlMs, timeoutMs))
    const waiting = new AbortController()
    return new Promise<OpenedLife>((resolve, reject) => {
      let isDone = false
      let underWay = 0
      const begin = (): void => {
        if (isDone || this.isClosed) return
        void this.port.sleep(silentMs, waiting.signal).then(begin)
        if (underWay >= openingsMax) return
        underWay++
        this.#tryOpen().then(
          (opened) => {
            if (isDone) {
              void this.#end(opened.life)
              return
            }
            isDone = true
            resolve(opened)
          },
          (error: Error) => {
            underWay--
            this.#problem = error
            // Another one may have been heard.
            if (isDone || (underWay > 0 && !isRefusal(error) && isActorError(error))) return
            isDone = true
            reject(error)
          },
        )
      }
      begin()
    })
      .then((opened) => this.#begin(opened))
      .finally(() => waiting.abort())
  }

  /** One whose answer is lost leaves a session that ends by itself: nothing is held in it. */
  async #tryOpen(): Promise<OpenedLife> {
    const { sessionTtlMs, timeoutMs, label } = this.options
    const sentMs = this.port.nowMs()
    const answer = await this.port.control(
      'the opening of a session',
      { type: 'open-session', ttlMs: sessionTtlMs, label },
      {
        timeoutMs: Math.max(1, Math.min(heldMs(sessionTtlMs), timeoutMs)),
        silentAfterMs: silentAfterMs(Math.min(sessionTtlMs, timeoutMs)),
        signal: this.#over.signal,
        onBegin: (call) => {
          this.#call = call
        },
      },
    )
    if (answer.type !== 'session')
      throw new RangeError(`The lock table answered "${answer.type}" to open-session`)
    const { session, ttlMs } = answer
    const life = new ClientLife(session, ttlMs, sentMs + heldMs(ttlMs), this.port.nowMs)
    if (this.isClosed) {
      await this.#end(life)
      throw clientClosed()
    }
    if (!life.isAlive()) throw unavailable('a session', 'it was opened too late to be used')
    return { life, sentMs }
  }

  #begin({ life, sentMs }: OpenedLife): ClientLife {
    this.#life = life
    this.#problem = undefined
    this.#call = undefined
    this.alarm.set(life)
    const { nowMs, sleep } = this.port
    const keepAlive = new KeepAlive(life, {
      heldMs: heldMs(life.ttlMs),
      nowMs,
      sleep,
      beat: (how) => this.#beat(life, how),
      answered: () => void this.#refresh(life),
    })
    void keepAlive.run(sentMs)
    void this.#attach(life)
    return life
  }

  async #beat(life: ClientLife, how: BeatOptions): Promise<void> {
    const { id } = life
    try {
      await this.port.control(`the keep-alive of session ${id}`, { type: 'keep-alive', session: id }, how)
    } catch (error) {
      this.isSessionOver(life, error)
      throw error
    }
  }

  /** True when the error says that the session is over; it is lost then. */
  isSessionOver(life: ClientLife, error: unknown): boolean {
    if (!isActorError(error, 'LOCK_SESSION_LOST')) return false
    life.lose('the table knows its session no more')
    return true
  }

  /** Ends the session: what is held is lost here, and others can have it at once. */
  close(): Promise<void> {
    this.#isClosed = true
    this.#over.abort()
    this.#closing ??= this.#close()
    return this.#closing
  }

  /** Waits before another try; longer each time, with chance. */
  async pause(tries: number, signal: AbortSignal | undefined, longestMs = backoffMaxMs): Promise<void> {
    const delayMs = Math.min(backoffMs * 2 ** Math.min(tries, 16), longestMs)
    await this.port.sleep(delayMs * (0.5 + this.port.random.float() / 2), signal)
  }

  // ---- News --------------------------------------------------------------------------------------------------

  #granted({ session, request, token }: LockGrant): void {
    if (this.#life?.id === session) this.#life.claims.get(request)?.granted(token)
  }

  /** The table has ended its wait, and has to be asked why. */
  #gone(life: ClientLife, request: number): void {
    const claim = life.claims.get(request)
    if (claim?.token !== undefined || claim === undefined) return
    life.claims.delete(request)
    claim.isGone = true
    claim.end(sessionLost(claim.wish.what, 'the table knows nothing of the request'))
  }

  #detached(): void {
    const life = this.#life
    if (life === undefined || life.isOver) return
    life.isAttached = false
    void this.#attach(life)
  }

  async #attach(life: ClientLife): Promise<void> {
    if (life.isAttaching) return
    life.isAttaching = true
    for (let tries = 0; !life.isOver && !life.isAttached; tries++) {
      life.isAttached = true
      try {
        await this.port.attach(life.id, { timeoutMs: life.ttlMs / beats, signal: life.signal })
        await this.#askStates(life)
      } catch (error) {
        life.isAttached = false
        if (!this.isSessionOver(life, error) && !(error instanceof ActorError)) throw error
      }
      // Also who was told at once that it has ended must not go round as fast as it is told.
      if (!life.isAttached) await this.pause(tries, life.signal)
    }
    life.isAttaching = false
  }

  /** Besides the keep-alives, which must not wait for it. */
  async #refresh(life: ClientLife): Promise<void> {
    if (life.isRefreshing) return
    life.isRefreshing = true
    try {
      await this.#askStates(life)
    } catch (error) {
      // The next keep-alive asks again.
      if (!this.isSessionOver(life, error) && !isActorError(error)) throw error
    }
    life.isRefreshing = false
  }

  /** What was pushed may have been lost. */
  async #askStates(life: ClientLife): Promise<void> {
    const waiting = life.waiting()
    for (let from = 0; from < waiting.length && !life.isOver; from += statesMax) {
      const requests = waiting.slice(from, from + statesMax)
      // Of one that is not answered yet the table may know nothing so far.
      const known = requests.map((request) => life.claims.get(request)?.status === 'queued')
      const answers = await this.port.states(life.id, requests, {
        timeoutMs: life.ttlMs / beats,
        signal: life.signal,
      })
      for (const [at, answer] of answers.entries()) {
        const claim = life.claims.get(requests[at] ?? 0)
        if (claim === undefined) continue
        if (answer.type === 'held') claim.granted(answer.token)
        else if (answer.type === 'queued') claim.ahead = answer.ahead
        else if (answer.type === 'released' && known[at] === true) this.#gone(life, claim.request)
      }
    }
  }

  // ---- Inside ------------------------------------------------------------------------------------------------

  async #close(): Promise<void> {
    const life = this.#life
    if (life !== undefined) {
      const wasAlive = life.isAlive()
      life.lose('its client was closed', true)
      if (wasAlive) await this.#end(life)
    }
    this.alarm.close()
    await this.port.close()
  }

  async #end({ id, ttlMs }: ClientLife): Promise<void> {
    const timeoutMs = Math.min(ttlMs, this.options.timeoutMs)
    try {
      await this.port.control(`the end of session ${id}`, { type: 'end-session', session: id }, { timeoutMs })
    } catch (error) {
      // It ends with its time.
      if (!isActorError(error)) throw error
    }
  }
}

interface OpenedLife {
  readonly life: ClientLife
  /** When what opened it was sent. */
  readonly sentMs: number
}

/** A session is held for so long, counted from when something was sent in it that was answered. Milliseconds. */
function heldMs(ttlMs: number): number {
  return ttlMs * (1 - clockDriftMax - marginShare)
}

function isAborted(signal: AbortSignal | undefined): boolean {
  return signal?.aborted === true
}
