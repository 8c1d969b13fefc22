/** Keeps something of the replicated state alive: by beats that overlap, so that a slow answer costs none of the time of those behind it. */
import { ActorError } from '@understudy/runtime'

/** How fast the clocks of two nodes may run apart. */
export const clockDriftMax = 0.01
/** Beats in the time of what is kept, when all is well. */
export const beats = 3
/** Why nobody sleeps through the end of a beat. One for all: without a reason each abort would make an error, and its stack. */
const beatIsOver = 'the beat is over'

/** A leader that says nothing for so long may be no leader any more. Milliseconds. */
export function silentAfterMs(ttlMs: number): number {
  return ttlMs / (beats * 2)
}

/** What is kept alive. It sees by itself that its time is over, also while beats are under way. */
export interface KeptAlive {
  readonly ttlMs: number
  /** Aborted when it is over, for whatever reason. */
  readonly signal: AbortSignal
  /** Monotonic milliseconds: until then it is held, as far as this client knows. Moved on by beats that are answered. */
  heldUntilMs: number
  /** Whether it still is; whoever finds that its time is over ends it. */
  readonly isAlive: () => boolean
}

/** How one beat is sent. */
export interface BeatOptions {
  /** An answer could not count any more after that. Milliseconds. */
  readonly timeoutMs: number
  /** As `ServiceCall.silentAfterMs`. */
  readonly silentAfterMs: number
  readonly signal: AbortSignal
}

/** What keeping takes. */
export interface Beating {
  /** An answer holds it for so long, counted from when its beat was sent. Milliseconds. */
  readonly heldMs: number
  /** Monotonic. */
  readonly nowMs: () => number
  /** Resolves after so long, or as soon as it is aborted; never rejects. */
  readonly sleep: (ms: number, signal: AbortSignal) => Promise<void>
  /** Sends one. Rejects with an ActorError when it has come to nothing; whoever is told that all is over ends it. */
  readonly beat: (how: BeatOptions) => Promise<unknown>
  /** A beat was answered. @default nobody is told */
  readonly answered?: (() => void) | undefined
}

type Outcome = 'answered' | 'failed' | 'silent'

/**
 * A beat every third of the time of what is kept; the next one at once when one is silent for a sixth of it. None waits for
 * another, and each is waited for until its answer could not count any more: an answer that comes late counts by when its own
 * beat was sent. Six are under way at most, since no more are begun in that time. So it is held while round trips take less than
 * 0.6 of its time; to make it they may take 0.45 of it, since the first beat has to wait for its number.
 */
export class KeepAlive {
  readonly #life: KeptAlive
  readonly #beating: Beating

  constructor(life: KeptAlive, beating: Beating) {
    this.#life = life
    this.#beating = beating
  }

  /** Resolves when it is over. `madeMs`: when what made it was sent. */
  async run(madeMs: number): Promise<void> {
    const { nowMs, sleep } = this.#beating
    const { ttlMs, signal } = this.#life
    const everyMs = ttlMs / beats
    let nextMs = madeMs + everyMs
    for (;;) {
      await sleep(Math.max(0, nextMs - nowMs()), signal)
      if (!this.#life.isAlive()) return
      const sentMs = nowMs()
      const outcome = await this.#beat(sentMs)
      nextMs = outcome === 'silent' ? nowMs() : sentMs + everyMs
    }
  }

  /** Resolves as soon as it has ended, or has been silent for too long; it is then still under way. */
  async #beat(sentMs: number): Promise<Outcome> {
    const waiting = new AbortController()
    // First, so that the caller has found out that its leader is silent when another beat is sent for that reason.
    const ended = this.#carry(sentMs).finally(() => waiting.abort(beatIsOver))
    await this.#beating.sleep(silentAfterMs(this.#life.ttlMs), waiting.signal)
    return waiting.signal.aborted ? await ended : 'silent'
  }

  async #carry(sentMs: number): Promise<Outcome> {
    const life = this.#life
    const { beat, heldMs, answered } = this.#beating
    const { ttlMs, signal } = life
    try {
      await beat({ timeoutMs: Math.max(1, heldMs), silentAfterMs: silentAfterMs(ttlMs), signal })
    } catch (error) {
      // Its own time decides.
      if (!(error instanceof ActorError)) throw error
      return 'failed'
    }
    if (signal.aborted) return 'failed'
    life.heldUntilMs = Math.max(life.heldUntilMs, sentMs + heldMs)
    answered?.()
    return 'answered'
  }
}
