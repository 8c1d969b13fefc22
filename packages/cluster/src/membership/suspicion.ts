/**
 * How long a suspicion lasts: from `max` down to `min` as independent members confirm it (Lifeguard, section "suspicion
 * timeout"; the arithmetic is memberlist's `suspicion.go`).
 */

/** The shortest suspicion with `n` members: mult * max(1, log10(n)) * interval. 100 members, lan: 8,000 ms. */
export function suspicionMinMs(mult: number, n: number, probeIntervalMs: number): number {
  return mult * Math.max(1, Math.log10(Math.max(1, n))) * probeIntervalMs
}

/**
 * How many confirmations bring a suspicion down to its minimum: mult - 2, or 0 where so many others do not exist: then
 * nobody can confirm, and to wait for it would only be slow (pitfall M3).
 */
export function confirmationsWanted(mult: number, n: number): number {
  const wanted = Math.max(0, Math.floor(mult) - 2)
  return n - 2 < wanted ? 0 : wanted
}

/**
 * The whole length of a suspicion with `confirmations` of `wanted`, in whole milliseconds:
 * max - ln(c + 1) / ln(k + 1) * (max - min), at least min. With 4,000 and 24,000 and k = 2: 24,000, 11,381, 4,000.
 */
export function suspicionTimeoutMs(
  confirmations: number,
  wanted: number,
  minMs: number,
  maxMs: number,
): number {
  if (wanted < 1) return minMs
  const fraction = Math.log(confirmations + 1) / Math.log(wanted + 1)
  return Math.max(minMs, Math.floor(maxMs - fraction * (maxMs - minMs)))
}

/** What `Suspicion` needs to know. */
export interface SuspicionFigures {
  readonly suspicionMult: number
  readonly suspicionMaxMult: number
  readonly probeIntervalMs: number
}

/** One suspicion of one member at one refutation. */
export class Suspicion {
  readonly startMs: number
  readonly #minMs: number
  readonly #maxMs: number
  /** How many confirmations bring it to its minimum. */
  readonly wanted: number
  /** The accuser and those who confirmed: whoever is in it adds nothing (pitfall M4). */
  readonly #accusers = new Set<string>()
  #confirmations = 0
  #deadlineMs: number

  /** `n`: the members that are neither down nor left, ourselves and the suspected one included. */
  constructor(accuser: string, n: number, figures: SuspicionFigures, nowMs: number) {
    const { suspicionMult, suspicionMaxMult, probeIntervalMs } = figures
    this.startMs = nowMs
    this.wanted = confirmationsWanted(suspicionMult, n)
    this.#minMs = suspicionMinMs(suspicionMult, n, probeIntervalMs)
    this.#maxMs = this.#minMs * suspicionMaxMult
    this.#accusers.add(accuser)
    this.#deadlineMs = nowMs + suspicionTimeoutMs(0, this.wanted, this.#minMs, this.#maxMs)
  }

  /** When it ends. May be past after a confirmation: then at once. */
  get deadlineMs(): number {
    return this.#deadlineMs
  }

  get confirmations(): number {
    return this.#confirmations
  }

  /**
   * Somebody accuses too. True when that counts, and should be passed on: not the accuser, not twice, and not more than are
   * wanted.
   */
  confirm(by: string): boolean {
    if (this.#confirmations >= this.wanted || this.#accusers.has(by)) return false
    this.#accusers.add(by)
    this.#confirmations++
    this.#deadlineMs =
      this.startMs + suspicionTimeoutMs(this.#confirmations, this.wanted, this.#minMs, this.#maxMs)
    return true
  }
}
