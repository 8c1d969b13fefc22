/**
 * How often is too often: restarts within a sliding window, as OTP's `add_restart`. Keep the times, drop those older
 * than the window, add this one, and see whether there are more than allowed. Intensity 3 within 5 s bears three
 * restarts; the fourth within 5 s is one too many.
 */
export class RestartWindow {
  readonly #restarts: number
  readonly #withinMs: number
  #times: number[] = []
  #unlimited = 0

  constructor(restarts: number, withinMs: number) {
    this.#restarts = restarts
    this.#withinMs = withinMs
  }

  /** Times of the restarts within the window, oldest first. */
  get history(): readonly number[] {
    return this.#times
  }

  /** Restarts within the window; without a limit, all so far. */
  get count(): number {
    return this.#times.length + this.#unlimited
  }

  /** Notes a restart at `nowMs`. False: it was one too many. Without a limit nothing is kept. */
  add(nowMs: number): boolean {
    if (this.#restarts === Number.POSITIVE_INFINITY) {
      this.#unlimited++
      return true
    }
    const oldest = nowMs - this.#withinMs
    let gone = 0
    while (gone < this.#times.length && (this.#times[gone] as number) < oldest) gone++
    if (gone > 0) this.#times.splice(0, gone)
    this.#times.push(nowMs)
    return this.#times.length <= this.#restarts
  }
}
