/** Whether what processes hold grows, by figures that are taken again and again, behind a collection of garbage each time. */
import type { MemoryFigures } from '../fixtures/kv-server.ts'

/** Of what it held at first: garbage, caches and the allocator's own room make a third of noise. */
export const growthMax = 1.35
/**
 * And so much more, in bytes: a process that holds little varies by as much. The resident set has the caches of the disk's
 * library, compiled code and the allocator's arenas in it, which a process of some minutes has not all filled.
 */
export const slackBytes = Object.freeze({ rss: 50_331_648, heapUsed: 16_777_216, external: 16_777_216 })
/** Figures at either end of which the lowest counts, at most: what is under way at one moment is no growth. */
const endsMax = 4

export interface MemoryGrowth {
  /** Of those that were there from the first figures to the last. */
  readonly figures: readonly { readonly name: string; readonly text: string }[]
  readonly tooMuch: readonly string[]
}

/** What one process held, by its name and number: one that was started anew is another one. */
export class MemorySeries {
  readonly #series: ReadonlyMap<string, MemoryFigures>[] = []

  add(figures: ReadonlyMap<string, MemoryFigures>): void {
    this.#series.push(figures)
  }

  growth(): MemoryGrowth {
    const figures: { readonly name: string; readonly text: string }[] = []
    const tooMuch: string[] = []
    for (const name of this.#series[0]?.keys() ?? []) {
      const own = this.#series.map((moment) => moment.get(name))
      if (own.length < 2 || !own.every((one) => one !== undefined)) continue
      const ends = Math.min(endsMax, own.length >> 1)
      const seconds = Math.round(((own.at(-1)?.uptimeMs ?? 0) - (own[0]?.uptimeMs ?? 0)) / 1_000)
      const text = (['rss', 'heapUsed', 'external'] as const)
        .map((what) => {
          const first = Math.min(...own.slice(0, ends).map((one) => one[what]))
          const last = Math.min(...own.slice(-ends).map((one) => one[what]))
          const most = Math.max(...own.map((one) => one[what]))
          const growth = `${what} ${megabytes(first)} to ${megabytes(last)} MB, once ${megabytes(most)}`
          if (last > first * growthMax + slackBytes[what]) tooMuch.push(`${name}: ${growth} in ${seconds} s`)
          return growth
        })
        .join('; ')
      figures.push({ name, text: `${text}; in ${seconds} s` })
    }
    return { figures, tooMuch }
  }
}

function megabytes(bytes: number): string {
  return (bytes / 1_048_576).toFixed(1)
}
