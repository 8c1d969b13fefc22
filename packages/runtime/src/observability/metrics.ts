/**
 * Metrics as a seam: counters, gauges and histograms with a no-op and an in-memory implementation.
 *
 * Ask for an instrument once, keep it, and call it where things happen: `add`, `set` and `record` touch plain numbers
 * and allocate nothing. Names and labels are looked up when the instrument is asked for, never per event.
 */

/** Label values of one series. Bounded by nature: an actor's definition, a reason, a code; never a path, id or key. */
export type Labels = Readonly<Record<string, string>>

/** Only grows. */
export interface Counter {
  /** Adds `n` (default 1), which must not be negative. */
  readonly add: (n?: number) => void
}

/** Goes up and down. */
export interface Gauge {
  readonly set: (value: number) => void
  /** Adds `n`, which may be negative. */
  readonly add: (n: number) => void
}

/** Counts values in buckets. */
export interface Histogram {
  readonly record: (value: number) => void
}

/**
 * Makes instruments. The same name and labels give the same series, in whatever order the labels stand.
 *
 * @throws {TypeError} if the name is taken by an instrument of another type or with other bounds
 */
export interface Metrics {
  readonly counter: (name: string, labels?: Labels) => Counter
  readonly gauge: (name: string, labels?: Labels) => Gauge
  /** `bounds` are the upper edges of the buckets, included, rising; one more bucket takes what is above the last. */
  readonly histogram: (name: string, bounds: readonly number[], labels?: Labels) => Histogram
}

/** Counts nothing. One call to an empty function an event. */
export const noMetrics: Metrics = Object.freeze({
  counter: () => noInstrument,
  gauge: () => noInstrument,
  histogram: () => noInstrument,
})

const noInstrument = Object.freeze({ add: ignore, set: ignore, record: ignore })

export interface MemoryMetricsOptions {
  /**
   * Most series (different sets of labels) that one name may have. Whatever asks for one more gets the name's overflow
   * series, labelled `{ overflow: 'true' }`, so that sums stay right and memory bounded. @default 1_000
   */
  readonly seriesMax?: number | undefined
}

/** One series as it was when read. */
export type MetricSample =
  | {
      readonly type: 'counter' | 'gauge'
      readonly name: string
      readonly labels: Labels
      readonly value: number
    }
  | {
      readonly type: 'histogram'
      readonly name: string
      readonly labels: Labels
      /** Upper edges of the buckets, included. */
      readonly bounds: readonly number[]
      /** How many values fell in each bucket; one more than `bounds`. Not cumulative. */
      readonly counts: readonly number[]
      readonly count: number
      readonly sum: number
    }

/** Metrics that can be read: plain numbers in memory. */
export interface MemoryMetrics extends Metrics {
  /** All series as plain JSON, sorted by name and labels. O(series); between two reads nothing is reset. */
  readonly read: () => readonly MetricSample[]
  /** How often a series was refused for its name's `seriesMax` and the overflow series given instead, by name. */
  readonly overflowed: () => Readonly<Record<string, number>>
}

/** Default of `MemoryMetricsOptions.seriesMax`. */
export const metricSeriesMax = 1_000

/**
 * Metrics kept in memory, for tests, `status()` and whatever writes them out.
 *
 * @throws {RangeError} if `seriesMax` is not a whole number of at least 1
 */
export function memoryMetrics(options: MemoryMetricsOptions = {}): MemoryMetrics {
  const seriesMax = options.seriesMax ?? metricSeriesMax
  if (!Number.isSafeInteger(seriesMax) || seriesMax < 1) {
    throw new RangeError(
      `Cannot create metrics: seriesMax must be a whole number of at least 1, got ${seriesMax}`,
    )
  }
  return new MetricTable(seriesMax)
}

const namePattern = /^[a-z][a-z0-9_]*$/
const overflowLabels: Labels = Object.freeze({ overflow: 'true' })

/** One series. All three instruments are one class, so that call sites see one shape. */
class Cell implements Counter, Gauge {
  readonly name: string
  readonly labels: Labels
  value = 0

  constructor(name: string, labels: Labels) {
    this.name = name
    this.labels = labels
  }

  // Arrow fields: instruments are handed on as `metrics.counter(...).add`.
  readonly add = (n = 1): void => {
    this.value += n
  }

  readonly set = (value: number): void => {
    this.value = value
  }
}

class BucketCell implements Histogram {
  readonly name: string
  readonly labels: Labels
  readonly bounds: readonly number[]
  readonly counts: number[]
  sum = 0

  constructor(name: string, labels: Labels, bounds: readonly number[]) {
    this.name = name
    this.labels = labels
    this.bounds = bounds
    this.counts = new Array<number>(bounds.length + 1).fill(0)
  }

  readonly record = (value: number): void => {
    const { bounds, counts } = this
    // A few buckets at most, and most values fall in the first ones: a walk beats a binary search.
    let bucket = 0
    while (bucket < bounds.length && value > (bounds[bucket] ?? Infinity)) bucket += 1
    counts[bucket] = (counts[bucket] ?? 0) + 1
    this.sum += value
  }
}

/** All series of one name. */
interface Family {
  readonly type: MetricSample['type']
  readonly bounds: readonly number[]
  readonly series: Map<string, Cell | BucketCell>
  overflow: Cell | BucketCell | undefined
  overflowed: number
}

class MetricTable implements MemoryMetrics {
  readonly #seriesMax: number
  readonly #families = new Map<string, Family>()

  constructor(seriesMax: number) {
    this.#seriesMax = seriesMax
  }

  readonly counter = (name: string, labels: Labels = {}): Counter => this.#cell('counter', name, labels)

  readonly gauge = (name: string, labels: Labels = {}): Gauge => this.#cell('gauge', name, labels)

  readonly histogram = (name: string, bounds: readonly number[], labels: Labels = {}): Histogram => {
    const rising = bounds.every(
      (bound, i) => Number.isFinite(bound) && (i === 0 || bound > (bounds[i - 1] ?? bound)),
    )
    if (bounds.length === 0 || !rising) {
      throw new RangeError(
        `Cannot create histogram "${name}": bounds must be finite and rising, got [${bounds}]`,
      )
    }
    const family = this.#family('histogram', name, Object.freeze([...bounds]))
    return this.#series(family, labels, (own) => new BucketCell(name, own, family.bounds)) as BucketCell
  }

  readonly read = (): readonly MetricSample[] => {
    const samples: MetricSample[] = []
    for (const name of [...this.#families.keys()].sort()) {
      const family = this.#families.get(name)
      if (family === undefined) continue
      const keys = [...family.series.keys()].sort()
      for (const key of keys) samples.push(sampleOf(family, family.series.get(key)))
      if (family.overflow !== undefined) samples.push(sampleOf(family, family.overflow))
    }
    return samples
  }

  readonly overflowed = (): Readonly<Record<string, number>> => {
    const counts: Record<string, number> = {}
    for (const [name, family] of this.#families) if (family.overflowed > 0) counts[name] = family.overflowed
    return counts
  }

  #cell(type: 'counter' | 'gauge', name: string, labels: Labels): Cell {
    return this.#series(this.#family(type, name, []), labels, (own) => new Cell(name, own)) as Cell
  }

  #family(type: MetricSample['type'], name: string, bounds: readonly number[]): Family {
    let family = this.#families.get(name)
    if (family === undefined) {
      if (!namePattern.test(name)) {
        throw new TypeError(`Cannot create ${type} "${name}": a name must match ${namePattern.source}`)
      }
      family = { type, bounds, series: new Map(), overflow: undefined, overflowed: 0 }
      this.#families.set(name, family)
    } else if (family.type !== type) {
      throw new TypeError(`Cannot create ${type} "${name}": that name is a ${family.type} already`)
    } else if (family.bounds.join() !== bounds.join()) {
      throw new TypeError(
        `Cannot create histogram "${name}": it has the bounds [${family.bounds}] already, got [${bounds}]`,
      )
    }
    return family
  }

  #series(family: Family, labels: Labels, make: (labels: Labels) => Cell | BucketCell): Cell | BucketCell {
    const names = Object.keys(labels).sort()
    const key = JSON.stringify(names.map((name) => [name, labels[name]]))
    let cell = family.series.get(key)
    if (cell !== undefined) return cell
    if (family.series.size >= this.#seriesMax) {
      family.overflowed += 1
      return (family.overflow ??= make(overflowLabels))
    }
    cell = make(Object.freeze(Object.fromEntries(names.map((name) => [name, String(labels[name])]))))
    family.series.set(key, cell)
    return cell
  }
}

function sampleOf(family: Family, cell: Cell | BucketCell | undefined): MetricSample {
  if (cell instanceof BucketCell) {
    const count = cell.counts.reduce((sum, n) => sum + n, 0)
    const { name, labels, bounds, sum } = cell
    return { type: 'histogram', name, labels, bounds, counts: [...cell.counts], count, sum }
  }
  if (cell === undefined || family.type === 'histogram')
    throw new TypeError('A family holds cells of its own type')
  return { type: family.type, name: cell.name, labels: cell.labels, value: cell.value }
}

function ignore(): void {
  // On purpose: nobody asked for metrics.
}
