/** One timer for all deadlines of a client. */
import type { LockPort } from './lock-port.ts'

/** Something with a deadline, which may move later while it is set. */
export interface Alarmed {
  readonly untilMs: number
  /** Called once, at `untilMs` or later, or when the alarm is closed. */
  readonly ring: () => void
}

/**
 * Mostly nothing is over when its timer fires, since what waits is through long before its deadline: it is then set for the
 * earliest deadline that is there, so that setting and clearing an alarm costs no timer.
 */
export class DeadlineAlarm {
  readonly #port: Pick<LockPort, 'nowMs' | 'sleep'>
  readonly #set = new Set<Alarmed>()
  #sleeping: AbortController | undefined
  #wakeMs = Number.POSITIVE_INFINITY

  constructor(port: Pick<LockPort, 'nowMs' | 'sleep'>) {
    this.#port = port
  }

  set(alarmed: Alarmed): void {
    this.#set.add(alarmed)
    if (alarmed.untilMs < this.#wakeMs) this.#sleepUntil(alarmed.untilMs)
  }

  clear(alarmed: Alarmed): void {
    this.#set.delete(alarmed)
  }

  /** All that is set rings, a last time. */
  close(): void {
    const all = [...this.#set]
    this.#set.clear()
    this.#sleeping?.abort()
    this.#sleeping = undefined
    this.#wakeMs = Number.NEGATIVE_INFINITY
    for (const alarmed of all) alarmed.ring()
  }

  #sleepUntil(atMs: number): void {
    this.#sleeping?.abort()
    const sleeping = new AbortController()
    this.#sleeping = sleeping
    this.#wakeMs = atMs
    void this.#port.sleep(Math.max(0, atMs - this.#port.nowMs()), sleeping.signal).then(() => {
      if (this.#sleeping === sleeping) this.#wake()
    })
  }

  #wake(): void {
    this.#sleeping = undefined
    this.#wakeMs = Number.POSITIVE_INFINITY
    const nowMs = this.#port.nowMs()
    for (const alarmed of this.#set) {
      if (alarmed.untilMs > nowMs) continue
      this.#set.delete(alarmed)
      alarmed.ring()
    }
    let nextMs = Number.POSITIVE_INFINITY
    for (const { untilMs } of this.#set) nextMs = Math.min(nextMs, untilMs)
    if (nextMs < this.#wakeMs) this.#sleepUntil(nextMs)
  }
}
