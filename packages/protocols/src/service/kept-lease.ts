/** A lease of the replicated state that its client keeps alive, and a signal for when that fails. */
import { ActorError } from '@understudy/runtime'

/** How fast the clocks of two nodes may run apart. */
const clockDriftMax = 0.01
/** Keep-alives in the time of a lease. */
const beats = 3

/** What keeping takes. */
export interface LeaseKeeping {
  readonly ttlMs: number
  /** When the request that made it was first sent. Monotonic milliseconds. */
  readonly sentMs: number
  /** Monotonic. */
  readonly nowMs: () => number
  /** Resolves after that, or when aborted. */
  readonly sleep: (delayMs: number, signal: AbortSignal) => Promise<void>
  /** One keep-alive, tried for `timeoutMs` in all, `attemptMs` each. False: there is no such lease any more. */
  readonly keepAlive: (how: {
    readonly timeoutMs: number
    readonly attemptMs: number
    readonly signal: AbortSignal
  }) => Promise<boolean>
  /** The reason of the signal. */
  readonly lost: (why: string) => Error
}

/** Keeps one lease alive, from its making to its end. */
export class KeptLease {
  readonly #keeping: LeaseKeeping
  readonly #lost = new AbortController()
  /** Ends the keeping, for whatever reason. */
  readonly #over = new AbortController()
  #heldUntilMs: number

  constructor(keeping: LeaseKeeping) {
    this.#keeping = keeping
    this.#heldUntilMs = this.#until(keeping.sentMs)
    void this.#keep()
  }

  /**
   * Aborted a hundredth of the TTL before it can be over for anybody else, counted from when the last keep-alive that was
   * answered was sent. After a pause of the process it comes late all the same.
   */
  get signal(): AbortSignal {
    return this.#lost.signal
  }

  /** Monotonic milliseconds: until then it is held, as far as this client knows. */
  get heldUntilMs(): number {
    return this.#heldUntilMs
  }

  /** Stops keeping it alive, and aborts the signal. */
  end(why: string): void {
    this.#over.abort()
    if (!this.#lost.signal.aborted) this.#lost.abort(this.#keeping.lost(why))
  }

  #until(sentMs: number): number {
    return sentMs + this.#keeping.ttlMs * (1 - clockDriftMax)
  }

  async #keep(): Promise<void> {
    const { ttlMs, nowMs, sleep, keepAlive } = this.#keeping
    const { signal } = this.#over
    while (!signal.aborted) {
      const untilNext = Math.min(ttlMs / beats, this.#heldUntilMs - nowMs())
      await sleep(Math.max(0, untilNext), signal)
      if (signal.aborted) return
      const sentMs = nowMs()
      const timeoutMs = this.#heldUntilMs - sentMs
      if (timeoutMs <= 0) {
        this.end('it could not be kept alive in time')
        return
      }
      try {
        if (await keepAlive({ timeoutMs, attemptMs: Math.max(1, ttlMs / (beats * 2)), signal }))
          this.#heldUntilMs = this.#until(sentMs)
        else {
          this.end('the service knows no such lease: it was ended, or its time was over')
          return
        }
      } catch (error) {
        // Its own time decides.
        if (!(error instanceof ActorError)) throw error
      }
    }
  }
}
