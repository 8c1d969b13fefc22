/** Who led when, as the candidates say it and as an observer sees it. */
import type { ElectionEvent } from '@understudy/protocols'
import type { Forked } from '../processes/forked.ts'
import type { CandidateReport } from './words.ts'

export interface Leader {
  readonly name: string
  readonly term: number
}

interface Row extends Leader {
  /** After whatever happened to the leader before. */
  gapMs: number | undefined
  /** It has said itself that it leads. The observer may know it before, and a lease can be over before its owner hears of it. */
  hasBegun: boolean
  entries: number | undefined
  isObserved: boolean
}

export class Reigns {
  readonly #startedMs = performance.now()
  /** By term, as they began. */
  readonly #rows = new Map<number, Row>()
  readonly #wrongs: string[] = []
  #isQuiet = false
  #failure: Error | undefined
  #changed: () => void = () => undefined

  /** Says something, and when. Gives the time. */
  say(text: string): number {
    const nowMs = performance.now()
    if (!this.#isQuiet) {
      console.log(`${((nowMs - this.#startedMs) / 1_000).toFixed(1).padStart(6)} s  ${text}`)
    }
    return nowMs
  }

  /** It all ends now: nothing more is said, and whoever waits is told so by a rejection. */
  hush(): void {
    this.#isQuiet = true
    this.#changed()
  }

  /** Notes what a candidate says, until its process ends. */
  async follow(candidate: Forked<never, CandidateReport>): Promise<void> {
    for (;;) {
      const report = await candidate.next()
      if (report === undefined) return
      switch (report.type) {
        case 'ready':
          break
        case 'leads':
          this.#begins(candidate.name, report.term)
          break
        case 'led': {
          const row = this.#rows.get(report.term)
          if (row !== undefined) row.entries = report.entries
          this.say(`${candidate.name} leads no more after ${report.entries} entries: ${report.why}`)
          break
        }
        case 'failed':
          this.#failure = new Error(`Candidate ${candidate.name} has failed: ${report.why}`)
          break
        default:
          report satisfies never
      }
      this.#changed()
    }
  }

  /** Notes what an observer sees. It must miss nobody, not even a leader that was killed before it could say anything. */
  async observe(events: AsyncIterable<ElectionEvent>): Promise<void> {
    try {
      for await (const event of events) {
        if (event.type === 'gap')
          this.#wrongs.push(`the observer missed leaders behind term ${event.afterTerm}`)
        if (event.type !== 'leader') continue
        const { token, data } = event.reign
        const row = this.#row(data, token)
        row.isObserved = true
        this.#changed()
        if (row.name !== data) this.#wrongs.push(`term ${token} was ${row.name}'s, and ${data}'s`)
      }
    } catch (error) {
      if (!this.#isQuiet) this.#failure = error as Error
      this.#changed()
    }
  }

  /**
   * The first to say that it leads with a term above `term`. It may have lost that lead meanwhile: see `leads`. `sinceMs`: when
   * the one before it met its end. @throws when there is none in time
   */
  async after(term: number, atMostMs: number, sinceMs?: number): Promise<Leader> {
    const find = (): Row | undefined =>
      [...this.#rows.values()].find((row) => row.hasBegun && row.term > term)
    const row = await this.#wait(find, atMostMs, `no leader came after term ${term}`)
    if (sinceMs !== undefined) row.gapMs ??= performance.now() - sinceMs
    return row
  }

  /** Whether nothing is known but that the leader of that term leads. */
  leads(term: number): boolean {
    return !this.hasEnded(term) && [...this.#rows.keys()].every((other) => other <= term)
  }

  /** Whether the leader of that term has said that it leads no more. One that was killed never does. */
  hasEnded(term: number): boolean {
    return this.#rows.get(term)?.entries !== undefined
  }

  /** When the leader of that term has noticed that it is over. */
  async endOf(term: number, atMostMs: number): Promise<void> {
    const find = (): Row | undefined => {
      const row = this.#rows.get(term)
      return row?.entries === undefined ? undefined : row
    }
    await this.#wait(find, atMostMs, `the leader of term ${term} has not noticed that another one leads`)
  }

  /** When the observer has seen everybody who led. It may have to look for another server first. */
  async observed(atMostMs: number): Promise<void> {
    const find = (): Row | undefined => {
      const rows = [...this.#rows.values()]
      return rows.every(({ isObserved }) => isObserved) ? rows.at(-1) : undefined
    }
    await this.#wait(find, atMostMs, 'the observer has not seen all who led')
  }

  /** One leader a term, and the observer saw each. */
  isRight(): boolean {
    return this.#wrongs.length === 0 && [...this.#rows.values()].every(({ isObserved }) => isObserved)
  }

  table(): string {
    const rows = [...this.#rows.values()].sort((a, b) => a.term - b.term)
    const lines = rows.map(({ term, name, gapMs, isObserved }) => {
      const gap = gapMs === undefined ? '' : `${Math.round(gapMs)} ms after the one before`
      return `  ${String(term).padStart(4)}   ${name.padEnd(8)}${(isObserved ? 'yes' : 'NO').padEnd(10)}${gap}`.trimEnd()
    })
    const wrongs = this.#wrongs.length > 0 ? ['', ...this.#wrongs] : []
    return ['', '  term   leader  observed', ...lines, ...wrongs].join('\n')
  }

  #begins(name: string, term: number): void {
    const row = this.#rows.get(term)
    if (row !== undefined && row.name !== name)
      this.#wrongs.push(`term ${term} was ${row.name}'s, and ${name}'s`)
    this.#row(name, term).hasBegun = true
    this.say(`${name} leads, in term ${term}`)
  }

  #row(name: string, term: number): Row {
    let row = this.#rows.get(term)
    if (row === undefined) {
      row = { name, term, gapMs: undefined, hasBegun: false, entries: undefined, isObserved: false }
      this.#rows.set(term, row)
    }
    this.#changed()
    return row
  }

  async #wait(find: () => Row | undefined, atMostMs: number, problem: string): Promise<Row> {
    const endMs = performance.now() + atMostMs
    for (;;) {
      if (this.#failure !== undefined) throw this.#failure
      if (this.#isQuiet) throw new Error('It was ended')
      const row = find()
      if (row !== undefined) return row
      const leftMs = endMs - performance.now()
      if (leftMs <= 0) throw new Error(`In ${atMostMs / 1_000} s ${problem}`)
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, leftMs)
        this.#changed = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    }
  }
}
