/** How far it is: a bar on a terminal, a plain line now and then everywhere else. */
import { count, duration } from './table.ts'

export interface ProgressOptions {
  readonly write: (text: string) => void
  readonly isTerminal: boolean
  readonly columns: number
  /** Real milliseconds, from anywhere. */
  readonly nowMs: () => number
}

/** Where the run stands. */
export interface ProgressState {
  readonly done: number
  /** `undefined`: it ends when the time is over. */
  readonly total: number | undefined
  readonly failed: number
  /** What is under way: a scenario's name, or what is being made smaller. */
  readonly what: string
  /** 0 to 1, where neither seeds nor `total` say it. */
  readonly share?: number | undefined
}

const terminalEveryMs = 100
const plainEveryMs = 10_000
const barWidth = 24

export class Progress {
  readonly #options: ProgressOptions
  readonly #startMs: number
  #shownMs: number
  #isShown = false

  constructor(options: ProgressOptions) {
    this.#options = options
    this.#startMs = options.nowMs()
    this.#shownMs = options.isTerminal ? Number.NEGATIVE_INFINITY : this.#startMs
  }

  /** May be called for every run: most calls show nothing. */
  show(state: ProgressState): void {
    const { isTerminal, write, nowMs, columns } = this.#options
    const now = nowMs()
    if (now - this.#shownMs < (isTerminal ? terminalEveryMs : plainEveryMs)) return
    this.#shownMs = now
    const text = progressText(state, now - this.#startMs, isTerminal)
    write(isTerminal ? `\r${text.slice(0, columns - 1)}\u001b[K` : `${text}\n`)
    this.#isShown = isTerminal
  }

  /** A line that stays. */
  note(text: string): void {
    this.clear()
    this.#options.write(`${text}\n`)
    this.#shownMs = this.#options.isTerminal ? Number.NEGATIVE_INFINITY : this.#options.nowMs()
  }

  /** Takes the bar away. */
  clear(): void {
    if (!this.#isShown) return
    this.#options.write('\r\u001b[K')
    this.#isShown = false
  }
}

/** One line: bar, runs, speed, failures, what is under way. */
export function progressText(state: ProgressState, elapsedMs: number, withBar: boolean): string {
  const { done, total, failed, what } = state
  const share = Math.min(1, state.share ?? (total === undefined || total === 0 ? 0 : done / total))
  const filled = Math.round(share * barWidth)
  const bar = withBar ? `[${'#'.repeat(filled)}${'-'.repeat(barWidth - filled)}] ` : ''
  const seconds = elapsedMs / 1_000
  const speed = seconds < 0.5 ? '' : `, ${(done / seconds).toFixed(1)} a second`
  const runs =
    total === undefined
      ? `${count(done)} ${done === 1 ? 'seed' : 'seeds'}`
      : `${count(done)} of ${count(total)} seeds`
  const bad = failed === 0 ? 'none failed' : `${count(failed)} FAILED`
  return `${bar}${runs} in ${duration(elapsedMs)}${speed}, ${bad}  ${what}`
}
