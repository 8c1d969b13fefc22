/** One session of a client, from its opening to its end, and what was asked for in it. */
import type { Alarmed } from './deadline-alarm.ts'
import { clientClosed, lost, sessionLost } from './claim-error.ts'
import { LazySignal } from './lazy-signal.ts'
import type { LockCommand } from './lock-command.ts'
import { LockError } from './lock-error.ts'
import { lockLimits } from './lock-limit.ts'

/** What is asked for. */
export interface ClaimWish {
  readonly name: string
  /** For messages to people: `the lock of "a"`. */
  readonly what: string
  readonly command: (session: number, request: number) => LockCommand
}

/** One request of a session: what is held by it, or waits to be. */
export class Claim implements Alarmed {
  readonly life: ClientLife
  readonly request: number
  readonly wish: ClaimWish
  /** `asked`: there is no answer yet. */
  status: 'asked' | 'queued' | 'held' | 'over' = 'asked'
  /** As soon as it is through, which may be told before the answer says that it waits. */
  token: number | undefined
  /** The table had it wait. */
  hasWaited = false
  /** The table has ended its wait, and not its session. */
  isGone = false
  /** So many were before it when that was last told. */
  ahead: number | undefined
  /** Since when its caller waits. */
  readonly sinceMs: number
  /** When its caller stops waiting. */
  readonly untilMs: number
  readonly #lost = new LazySignal()
  #waiter: ClaimWaiter | undefined

  constructor(life: ClientLife, request: number, wish: ClaimWish, sinceMs: number, untilMs: number) {
    this.life = life
    this.request = request
    this.wish = wish
    this.sinceMs = sinceMs
    this.untilMs = untilMs
  }

  get signal(): AbortSignal {
    return this.#lost.signal
  }

  /** It waits in the table from here on. */
  wait(waiter: ClaimWaiter): void {
    this.status = 'queued'
    this.#waiter = waiter
  }

  /** It is through. A second time says nothing new. */
  granted(token: number): void {
    if (this.token !== undefined) return
    this.token = token
    const waiter = this.#waiter
    this.#waiter = undefined
    waiter?.granted()
  }

  /** Nobody waits for it or has it any more. */
  end(reason: LockError): void {
    if (this.status === 'over') return
    this.status = 'over'
    this.#lost.abort(reason)
    const waiter = this.#waiter
    this.#waiter = undefined
    waiter?.failed(reason)
  }

  /** Its caller has waited for long enough. */
  ring(): void {
    this.#waiter?.late()
  }
}

/** Who waits for a claim. One of these is called, once; `late` may be followed by `failed`. */
export interface ClaimWaiter {
  readonly granted: () => void
  readonly failed: (reason: LockError) => void
  readonly late: () => void
}

/** A claim that its owner has taken so many times. */
export interface OwnersHold {
  /** In `holds`. */
  readonly key: string
  readonly claim: Claim
  count: number
}

/** Rings when it is over by this client's clock. */
export class ClientLife implements Alarmed {
  readonly id: number
  readonly ttlMs: number
  /** Monotonic milliseconds: a margin before the table can end it. */
  heldUntilMs: number
  readonly #nowMs: () => number
  readonly #over = new AbortController()
  readonly claims = new Map<number, Claim>()
  /** Requests that are being released, since nobody waits for them any more. */
  readonly givenUp = new Set<number>()
  /** Grants are told to this client. */
  isAttached = false
  isAttaching = false
  /** It asks how its claims stand. */
  isRefreshing = false
  /** What owners hold that may take it again, by name and owner. */
  readonly holds = new Map<string, OwnersHold>()
  #requests = 0
  #why = ''

  constructor(id: number, ttlMs: number, heldUntilMs: number, nowMs: () => number) {
    this.id = id
    this.ttlMs = ttlMs
    this.heldUntilMs = heldUntilMs
    this.#nowMs = nowMs
  }

  get signal(): AbortSignal {
    return this.#over.signal
  }

  get isOver(): boolean {
    return this.#over.signal.aborted
  }

  get why(): string {
    return this.#why
  }

  get untilMs(): number {
    return this.heldUntilMs
  }

  /** Whether it still is, as far as this client may believe: after a pause its time may be over and no timer have said so. */
  isAlive(): boolean {
    if (this.isOver) return false
    if (this.#nowMs() < this.heldUntilMs) return true
    this.lose('its session could not be kept alive in time')
    return false
  }

  /** @throws {LockError} LOCK_LIMIT: too much of this session is held, waits, or is being given up */
  begin(wish: ClaimWish, sinceMs: number, untilMs: number): Claim {
    const most = lockLimits.requestsPerSessionMax
    if (this.claims.size + this.givenUp.size >= most) {
      const text = `Cannot ask for ${wish.what}: ${most} requests of this client are held or wait (the limit requestsPerSessionMax)`
      throw new LockError('LOCK_LIMIT', `${text}; release some, or use another client`)
    }
    const claim = new Claim(this, ++this.#requests, wish, sinceMs, untilMs)
    this.claims.set(claim.request, claim)
    return claim
  }

  /** Requests that wait, or may. */
  waiting(): readonly number[] {
    const waiting: number[] = []
    for (const { request, status } of this.claims.values()) {
      if (status === 'asked' || status === 'queued') waiting.push(request)
    }
    return waiting
  }

  /** All that it held is lost; whoever waits is told so. */
  lose(why: string, isClosed = false): void {
    if (this.isOver) return
    this.#why = why
    const claims = [...this.claims.values()]
    this.claims.clear()
    this.givenUp.clear()
    this.holds.clear()
    this.#over.abort(lost(`session ${this.id}`, why))
    for (const claim of claims) {
      const { what } = claim.wish
      claim.end(
        claim.status === 'held' ? lost(what, why) : isClosed ? clientClosed() : sessionLost(what, why),
      )
    }
  }

  ring(): void {
    this.isAlive()
  }
}
