/** Keeps a client's session alive: beats that overlap, so that a slow answer costs none of the time of those behind it. */
import { ActorError } from '@understudy/runtime'
import type { ClientLife } from './client-life.ts'
import type { LockPort } from './lock-port.ts'

/** How fast the clocks of two nodes may run apart. */
const clockDriftMax = 0.01
/** What is held is lost so much of its time before the table can give it to others: for whoever has to stop. */
const marginShare = 0.05
/** Beats in the time of a session, when all is well. */
export const beats = 3
/** Beats that are under way at a time: as many as are begun, while none is answered, in the time of a session. */
const underWayMax = 6

/** Monotonic milliseconds: until then a session of which something was answered that was sent then is held. */
export function heldUntil(sentMs: number, ttlMs: number): number {
  return sentMs + ttlMs * (1 - clockDriftMax - marginShare)
}

/** A leader that says nothing for so long may be no leader any more. Milliseconds. */
export function silentAfterMs(ttlMs: number): number {
  return ttlMs / (beats * 2)
}

/** What becomes of beats. */
export interface KeepAliveListener {
  /** One was answered: the session is there. */
  readonly answered: () => void
  /** One has failed. True when the session is over, and no other beat is of use. */
  readonly failed: (error: ActorError) => boolean
}

type Outcome = 'answered' | 'failed' | 'silent'

/**
 * A beat every third of the session's time; the next one at once when one is silent for a sixth of it, and a little later when one
 * fails. None waits for another, and each is waited for until its answer could not count any more: an answer that comes late
 * counts by when its own beat was sent. So a session lives while round trips take less than 0.6 of its time; to open one they may
 * take 0.45 of it, since the first beat has to wait for the session's number.
 */
export class KeepAlive {
  readonly #port: LockPort
  readonly #life: ClientLife
  readonly #listener: KeepAliveListener
  #underWay = 0

  constructor(port: LockPort, life: ClientLife, listener: KeepAliveListener) {
    this.#port = port
    this.#life = life
    this.#listener = listener
  }

  /** Resolves when the session is over. `openedMs`: when what opened it was sent. */
  async run(openedMs: number): Promise<void> {
    const port = this.#port
    const life = this.#life
    const { ttlMs, signal } = life
    const everyMs = ttlMs / beats
    let nextMs = openedMs + everyMs
    for (;;) {
      const untilMs = Math.min(nextMs, life.heldUntilMs)
      await port.sleep(Math.max(0, untilMs - port.nowMs()), signal)
      if (!life.isAlive()) return
      const sentMs = port.nowMs()
      if (this.#underWay >= underWayMax) {
        nextMs = sentMs + silentAfterMs(ttlMs)
        continue
      }
      const outcome = await this.#beat(sentMs)
      const nowMs = port.nowMs()
      if (outcome === 'answered') nextMs = sentMs + everyMs
      else nextMs = outcome === 'silent' ? nowMs : nowMs + everyMs / 10
    }
  }

  /** Resolves as soon as it has ended, or has been silent for too long; it is then still under way. */
  async #beat(sentMs: number): Promise<Outcome> {
    const waiting = new AbortController()
    // First, so that the caller has found out that its leader is silent when another beat is sent for that reason.
    const ended = this.#carry(sentMs).finally(() => waiting.abort())
    await this.#port.sleep(silentAfterMs(this.#life.ttlMs), waiting.signal)
    return waiting.signal.aborted ? await ended : 'silent'
  }

  async #carry(sentMs: number): Promise<Outcome> {
    const life = this.#life
    const { id, ttlMs, signal } = life
    this.#underWay++
    try {
      await this.#port.control(
        `the keep-alive of session ${id}`,
        { type: 'keep-alive', session: id },
        {
          timeoutMs: Math.max(1, heldUntil(sentMs, ttlMs) - sentMs),
          silentAfterMs: silentAfterMs(ttlMs),
          signal,
        },
      )
    } catch (error) {
      // Its own time decides.
      if (!(error instanceof ActorError)) throw error
      this.#listener.failed(error)
      return 'failed'
    } finally {
      this.#underWay--
    }
    if (life.isOver) return 'failed'
    life.heldUntilMs = Math.max(life.heldUntilMs, heldUntil(sentMs, ttlMs))
    this.#listener.answered()
    return 'answered'
  }
}
