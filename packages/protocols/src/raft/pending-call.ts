/** A call that is rare, such as a change of the members: somebody waits for one answer, until a deadline. */
import type { Pending, PendingDeadlines } from './pending-deadlines.ts'
import type { Fail } from './pending-proposals.ts'

export class PendingCall<T> implements Pending {
  readonly deadlineMs: number
  isSettled = false
  readonly #deadlines: PendingDeadlines
  readonly #resolve: (value: T) => void
  readonly #reject: Fail
  readonly #late: () => Error
  readonly #onEnd: (() => void) | undefined

  /** `late` makes the error for who waited too long; `onEnd` is told once that nobody waits any more. */
  constructor(
    deadlines: PendingDeadlines,
    deadlineMs: number,
    resolve: (value: T) => void,
    reject: Fail,
    late: () => Error,
    onEnd?: () => void,
  ) {
    this.#deadlines = deadlines
    this.deadlineMs = deadlineMs
    this.#resolve = resolve
    this.#reject = reject
    this.#late = late
    this.#onEnd = onEnd
    deadlines.add(this)
  }

  resolve(value: T): void {
    if (!this.#settle()) return
    this.#deadlines.settled()
    this.#resolve(value)
  }

  reject(error: Error): void {
    if (!this.#settle()) return
    this.#deadlines.settled()
    this.#reject(error)
  }

  readonly expire = (): void => {
    if (this.#settle()) this.#reject(this.#late())
  }

  #settle(): boolean {
    if (this.isSettled) return false
    this.isSettled = true
    this.#onEnd?.()
    return true
  }
}
