/** A lease of the replicated state that its client keeps alive, and a signal for when that fails. */
import { clockDriftMax, KeepAlive, type BeatOptions, type KeptAlive } from './keep-alive.ts'

/** What keeping takes. */
export interface LeaseKeeping {
  readonly ttlMs: number
  /** When the request that made it was first sent. Monotonic milliseconds. */
  readonly sentMs: number
  /** Monotonic. */
  readonly nowMs: () => number
  /** Resolves after that, or when aborted. */
  readonly sleep: (delayMs: number, signal: AbortSignal) => Promise<void>
  /** One keep-alive; several are under way at a time. False: there is no such lease any more. */
  readonly keepAlive: (how: BeatOptions) => Promise<boolean>
  /** The reason of the signal. */
  readonly lost: (why: string) => Error
}

/** Keeps one lease alive, from its making to its end. */
export class KeptLease implements KeptAlive {
  readonly ttlMs: number
  readonly #keeping: LeaseKeeping
  readonly #over = new AbortController()
  /** Monotonic milliseconds: until then it is held, as far as this client knows. */
  heldUntilMs: number

  constructor(keeping: LeaseKeeping) {
    const { ttlMs, sentMs, nowMs, sleep, keepAlive } = keeping
    const heldMs = ttlMs * (1 - clockDriftMax)
    this.ttlMs = ttlMs
    this.#keeping = keeping
    this.heldUntilMs = sentMs + heldMs
    const beat = async (how: BeatOptions): Promise<void> => {
      if (!(await keepAlive(how)))
        this.end('the service knows no such lease: it was ended, or its time was over')
    }
    void new KeepAlive(this, { heldMs, nowMs, sleep, beat }).run(sentMs)
    void this.#endInTime()
  }

  /**
   * Aborted a hundredth of the TTL before it can be over for anybody else, counted from when the last keep-alive that was
   * answered was sent. After a pause of the process it comes late all the same.
   */
  get signal(): AbortSignal {
    return this.#over.signal
  }

  isAlive(): boolean {
    if (this.signal.aborted) return false
    if (this.#keeping.nowMs() < this.heldUntilMs) return true
    this.end('it could not be kept alive in time')
    return false
  }

  /** Stops keeping it alive, and aborts the signal. */
  end(why: string): void {
    if (!this.signal.aborted) this.#over.abort(this.#keeping.lost(why))
  }

  /** Also while keep-alives are waited for. */
  async #endInTime(): Promise<void> {
    const { nowMs, sleep } = this.#keeping
    do await sleep(Math.max(0, this.heldUntilMs - nowMs()), this.signal)
    while (this.isAlive())
  }
}
