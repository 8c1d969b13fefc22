/**
 * Which of many like lines are written: the first few of each key in a window, then one summary with the counts.
 *
 * For dead letters and restarts, which come in floods exactly when the log is needed. Pure: time comes in, words do not
 * come out; the caller writes the lines and arms one timer for `nextDeadlineMs()`.
 */

export interface LogThrottleOptions {
  /** How many of a key are written whole in one window. @default 10 */
  readonly first?: number | undefined
  /** Length of a window, which begins with its key's first event. @default 10_000 */
  readonly windowMs?: number | undefined
  /**
   * Most keys with an open window. The events of further keys count together under `otherKeys`. @default 1_000
   */
  readonly keysMax?: number | undefined
}

/** What a window held back. */
export interface ThrottleSummary {
  readonly key: string
  /** Events written whole. */
  readonly written: number
  /** Events only counted; always above 0. */
  readonly counted: number
  readonly fromMs: number
  readonly toMs: number
}

/** The key under which events are counted once `keysMax` keys are open. */
export const otherKeys = '(others)'

interface Window {
  readonly fromMs: number
  written: number
  counted: number
}

/** See the head of this file. `note` is O(1) but for the sweep when all keys are taken; the rest is O(open keys). */
export class LogThrottle {
  readonly #first: number
  readonly #windowMs: number
  readonly #keysMax: number
  /** By key, in the order in which they began: all windows are equally long, so the first ends first. */
  readonly #windows = new Map<string, Window>()
  /** Windows that ended with something to tell, before anybody asked. */
  readonly #ended = new Map<string, ThrottleSummary>()

  /** @throws {RangeError} if an option is not a whole number (`windowMs`: a number) above 0 */
  constructor(options: LogThrottleOptions = {}) {
    this.#first = wholeAbove0('first', options.first ?? 10)
    this.#keysMax = wholeAbove0('keysMax', options.keysMax ?? 1_000)
    this.#windowMs = options.windowMs ?? 10_000
    if (!(this.#windowMs > 0 && this.#windowMs < Infinity)) {
      throw new RangeError(
        `Cannot create a log throttle: windowMs must be a number above 0, got ${this.#windowMs}`,
      )
    }
  }

  /** Says whether the event of `key` at `nowMs` is written whole or only counted. `nowMs` must not go back. */
  note(key: string, nowMs: number): 'write' | 'count' {
    const window = this.#open(key, nowMs)
    if (window.written < this.#first) {
      window.written += 1
      return 'write'
    }
    window.counted += 1
    return 'count'
  }

  /** The summaries of the windows that have ended by `nowMs`, each once, in the order in which they began. */
  due(nowMs: number): readonly ThrottleSummary[] {
    this.#sweep(nowMs)
    const ended = [...this.#ended.values()]
    this.#ended.clear()
    return ended
  }

  /** All open windows ended now, for a shutdown: nothing that was counted may go untold. */
  flush(nowMs: number): readonly ThrottleSummary[] {
    this.#sweep(nowMs)
    for (const [key, window] of this.#windows) this.#end(key, window, nowMs)
    return this.due(nowMs)
  }

  /** When `due` will have something to tell, or undefined while nothing is held back. */
  nextDeadlineMs(): number | undefined {
    for (const ended of this.#ended.values()) return ended.toMs
    for (const window of this.#windows.values()) if (window.counted > 0) return window.fromMs + this.#windowMs
    return undefined
  }

  #open(key: string, nowMs: number): Window {
    const open = this.#windows.get(key)
    if (open !== undefined && nowMs < open.fromMs + this.#windowMs) return open
    if (open !== undefined) this.#end(key, open, open.fromMs + this.#windowMs)
    if (this.#windows.size >= this.#keysMax) this.#sweep(nowMs)
    if (this.#windows.size >= this.#keysMax && key !== otherKeys) return this.#open(otherKeys, nowMs)
    const window: Window = { fromMs: nowMs, written: 0, counted: 0 }
    this.#windows.set(key, window)
    return window
  }

  #sweep(nowMs: number): void {
    for (const [key, window] of this.#windows) {
      const toMs = window.fromMs + this.#windowMs
      if (nowMs < toMs) return
      this.#end(key, window, toMs)
    }
  }

  #end(key: string, window: Window, toMs: number): void {
    this.#windows.delete(key)
    if (window.counted === 0) return
    // One summary a key and `keysMax` keys, so that a caller who never asks costs no more than one who does.
    const told = this.#ended.has(key) || this.#ended.size < this.#keysMax ? key : otherKeys
    const earlier = this.#ended.get(told)
    this.#ended.set(told, {
      key: told,
      written: window.written + (earlier?.written ?? 0),
      counted: window.counted + (earlier?.counted ?? 0),
      fromMs: earlier?.fromMs ?? window.fromMs,
      toMs,
    })
  }
}

function wholeAbove0(name: string, value: number): number {
  if (Number.isSafeInteger(value) && value > 0) return value
  throw new RangeError(`Cannot create a log throttle: ${name} must be a whole number above 0, got ${value}`)
}
