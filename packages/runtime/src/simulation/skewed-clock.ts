/**
 * The two clocks of a simulated machine, apart from true time and from each other: the monotonic one may run fast or
 * slow, the wall clock may also be off, jump either way, or stand still. What a machine's clocks do is what TigerBeetle
 * and Jepsen do to them (simulation faults: offset, drift, step, jump back, frozen, strobe).
 */
export class SkewedClock {
  /** True time at which `#monotonicMs` was right, and since which `#rate` holds. */
  #sinceMs = 0
  #monotonicMs: number
  #rate = 1
  #wallOffsetMs: number
  /** What the wall clock shows while it stands still. */
  #frozenAtMs: number | undefined

  /**
   * @param monotonicMs what the monotonic clock shows at true time 0: anything, for it starts anywhere
   * @param wallMs what the wall clock shows at true time 0
   */
  constructor(monotonicMs: number, wallMs: number) {
    this.#monotonicMs = monotonicMs
    this.#wallOffsetMs = wallMs
  }

  monotonicAt(trueMs: number): number {
    return this.#rate === 1
      ? this.#monotonicMs + (trueMs - this.#sinceMs)
      : this.#monotonicMs + (trueMs - this.#sinceMs) * this.#rate
  }

  wallAt(trueMs: number): number {
    return this.#frozenAtMs ?? this.#wallOffsetMs + trueMs
  }

  /** The true time at which the monotonic clock will show `monotonicMs`, at the rate it has now. Never early. */
  trueAt(monotonicMs: number): number {
    let trueMs = this.#sinceMs + (monotonicMs - this.#monotonicMs) / this.#rate
    // Rounding may land just before: a timer is never early.
    for (let nudgeMs = 1e-9; this.monotonicAt(trueMs) < monotonicMs; nudgeMs *= 10) trueMs += nudgeMs
    return trueMs
  }

  /** From now on the monotonic clock runs at `rate` times true speed: 1.01 is 1 % fast. */
  drift(rate: number, trueMs: number): void {
    if (!(rate > 0)) throw new RangeError(`Cannot let a clock drift: its rate must be above 0, got ${rate}`)
    this.#monotonicMs = this.monotonicAt(trueMs)
    this.#sinceMs = trueMs
    this.#rate = rate
  }

  /** Moves the wall clock, forwards or back. The monotonic one does not notice. */
  jump(ms: number): void {
    this.#wallOffsetMs += ms
    if (this.#frozenAtMs !== undefined) this.#frozenAtMs += ms
  }

  /** Stops the wall clock. */
  freeze(trueMs: number): void {
    this.#frozenAtMs ??= this.wallAt(trueMs)
  }

  /** Lets it go on, from where it would be. */
  thaw(): void {
    this.#frozenAtMs = undefined
  }
}
