/**
 * `--twice`: each batch of seeds runs in two fresh processes, the second in reverse order and under other conditions.
 * What is decided by the seed alone is the same in both; where it is not, this finds the first step that differs. The
 * idea is FoundationDB's unseed and MadSim's determinism check, with the conditions changed as well.
 */
import { hashBlockSteps, type RunResult, type TraceEvent } from '@understudy/runtime/simulation'
import { replayCommand } from './runner/replay-command.ts'
import { timeText } from './runner/report-parts.ts'
import type { Job } from './runner/seed-deal.ts'
import { count } from './runner/table.ts'
import type { RunSummary } from './runner/worker-message.ts'
import type { RunSink, WorkerPool } from './runner/worker-pool.ts'
import type { Conditions } from './runner/worker-process.ts'

/** A seed that is not one run. */
export interface Divergence {
  readonly scenario: string
  readonly seed: string
  /**
   * - `conditions`: alone in its process it depends on what differs between the two, or on nothing that can be named.
   * - `order`: alone it is one run; what ran before it in the same process changes it.
   * - `not-again`: it differed once, and not when it was looked into.
   */
  readonly cause: 'conditions' | 'order' | 'not-again'
  /** What it takes, for people: `TZ`, `the locale`, `what ran before it`. */
  readonly depends: readonly string[]
  /** The first block of `hashBlockSteps` steps whose hashes differ; `undefined` when it is not known. */
  readonly block: number | undefined
  /** The whole finding, in lines. */
  readonly report: string
}

const plain: Conditions = { name: 'UTC, en_US, the usual heap', env: environment('UTC', 'en_US.UTF-8') }

/** Second runs take these in turn. */
const changed: readonly Conditions[] = [
  {
    name: 'Pacific/Chatham, tr_TR, a small heap',
    env: environment('Pacific/Chatham', 'tr_TR.UTF-8'),
    execArgv: ['--max-old-space-size=1024', '--max-semi-space-size=1'],
  },
  {
    name: 'America/St_Johns, de_DE, a large heap',
    env: environment('America/St_Johns', 'de_DE.UTF-8'),
    execArgv: ['--max-old-space-size=3072', '--max-semi-space-size=64'],
  },
]

/** Divergences that are looked into: each takes a handful of runs. The rest is counted. */
const explainedMax = 5

export class DivergenceSearch {
  readonly #pool: WorkerPool
  readonly #found: Divergence[] = []
  #count = 0
  #passedOnce = 0
  #batches = 0

  constructor(pool: WorkerPool) {
    this.#pool = pool
  }

  /** Those that were looked into. */
  get found(): readonly Divergence[] {
    return this.#found
  }

  /** Seeds that differed, those included that were not looked into. */
  get count(): number {
    return this.#count
  }

  /** Of those, the ones that broke no rule in their first run. */
  get passedOnce(): number {
    return this.#passedOnce
  }

  /** Runs a batch twice. `sink` is told of the first runs. */
  async runBatch(batch: readonly Job[], sink: RunSink): Promise<void> {
    const other = changed[this.#batches++ % changed.length] as Conditions
    const reversed = batch.toReversed()
    const first = await this.#hashes(batch, plain, sink)
    // A run that has killed its process is told of once.
    const second = await this.#hashes(reversed, other, undefined)
    if (this.#pool.isAborted) return
    for (const [at, job] of batch.entries()) {
      const [a, b] = [first.get(job), second.get(job)]
      if (a === b) continue
      this.#count++
      if (a?.endsWith(' ') === true) this.#passedOnce++
      if (this.#found.length >= explainedMax || this.#found.some(({ scenario }) => scenario === job.scenario))
        continue
      // Another lane may find the same scenario meanwhile.
      const divergence = await this.#lookInto(
        batch.slice(0, at + 1),
        reversed.slice(0, batch.length - at),
        other,
      )
      if (!this.#found.some(({ scenario }) => scenario === job.scenario)) this.#found.push(divergence)
    }
  }

  async #hashes(
    jobs: readonly Job[],
    conditions: Conditions,
    sink: RunSink | undefined,
  ): Promise<ReadonlyMap<Job, string>> {
    const hashes = new Map<Job, string>()
    await this.#pool.runFresh(
      jobs,
      {
        ran: (job, summary) => {
          hashes.set(job, fingerprint(summary))
          sink?.ran(job, summary)
        },
        lost: (job, why) => {
          hashes.set(job, 'lost')
          sink?.lost(job, why)
        },
      },
      conditions,
    )
    return hashes
  }

  /** `before` and `beforeOther` end in the job that differed. */
  async #lookInto(
    before: readonly Job[],
    beforeOther: readonly Job[],
    other: Conditions,
  ): Promise<Divergence> {
    const job = before.at(-1) as Job
    const traced = (jobs: readonly Job[], conditions: Conditions): Promise<RunResult | undefined> =>
      this.#pool.trace(jobs, conditions)
    const [alone, aloneOther] = await Promise.all([traced([job], plain), traced([job], other)])
    if (differ(alone, aloneOther)) {
      const again = await traced([job], plain)
      const depends = differ(alone, again)
        ? ['something that differs even between two runs in fresh processes under the same conditions']
        : await this.#culprits(job, other, alone)
      return divergence(job, 'conditions', depends, alone, differ(alone, again) ? again : aloneOther)
    }
    const [inOrder, reversed] = await Promise.all([traced(before, plain), traced(beforeOther, other)])
    const depends = [
      'what ran before it in the same process: something outlives a run (a variable of a module?)',
    ]
    if (differ(inOrder, reversed)) return divergence(job, 'order', depends, inOrder, reversed)
    return divergence(job, 'not-again', ['something that was not met again'], undefined, undefined)
  }

  /** Which of the changed conditions make the difference, each by itself. */
  async #culprits(job: Job, other: Conditions, alone: RunResult | undefined): Promise<readonly string[]> {
    const { env: usual = {} } = plain
    const { TZ = '', ...locale } = other.env ?? {}
    const single: readonly Conditions[] = [
      { name: `the time zone (TZ=${TZ})`, env: { ...usual, TZ } },
      { name: `the locale (LANG=${locale['LANG']})`, env: { ...usual, ...locale } },
      { name: `the heap (${other.execArgv?.join(' ')})`, env: usual, execArgv: other.execArgv },
    ]
    const runs = await Promise.all(single.map((conditions) => this.#pool.trace([job], conditions)))
    const found = single.filter((_, at) => differ(alone, runs[at])).map(({ name }) => name)
    return found.length > 0 ? found : [`the conditions together (${other.name})`]
  }
}

function divergence(
  job: Job,
  cause: Divergence['cause'],
  depends: readonly string[],
  a: RunResult | undefined,
  b: RunResult | undefined,
): Divergence {
  const block =
    a === undefined || b === undefined ? undefined : firstDifferentBlock(a.hashBlocks, b.hashBlocks)
  const report = [
    `${job.scenario}, seed ${job.seed}: two runs of this seed differ`,
    `  It depends on ${depends.join(' and ')}`,
    ...(a === undefined || b === undefined
      ? []
      : [`  hashes ${a.hash} and ${b.hash}`, ...differenceLines(a, b)]),
    '  To see it again:',
    `    ${replayCommand(job.scenario, job.seed, job.choices)} --twice`,
  ]
  if (cause !== 'conditions')
    report.push('    with the --seeds and --first-seed of this run: alone it does not differ')
  return { scenario: job.scenario, seed: job.seed, cause, depends, block, report: report.join('\n') }
}

/** The index of the first block in which two runs part; `undefined` when all are alike. */
export function firstDifferentBlock(a: readonly string[], b: readonly string[]): number | undefined {
  for (let at = 0; at < Math.max(a.length, b.length); at++) if (a[at] !== b[at]) return at
  return undefined
}

/** Where two runs part, in words: the block of steps, then the first event that differs. Both runs must be traced. */
export function differenceLines(a: RunResult, b: RunResult): readonly string[] {
  const block = firstDifferentBlock(a.hashBlocks, b.hashBlocks)
  const fromStep = (block ?? 0) * hashBlockSteps
  const lines: string[] = []
  if (block !== undefined) {
    const to = Math.min(fromStep + hashBlockSteps, Math.max(a.stats.steps, b.stats.steps) + 1) - 1
    lines.push(`  they part in block ${block + 1}: steps ${count(fromStep)} to ${count(to)}`)
  }
  // A trace may have lost its beginning, and what comes before the block is not what makes the hashes differ.
  const [from, other] = [a, b].map(({ trace }) => trace.filter(({ step }) => step >= fromStep))
  if (from === undefined || other === undefined) return lines
  for (let at = 0; at < Math.max(from.length, other.length); at++) {
    const [first, second] = [eventText(from[at]), eventText(other[at])]
    if (first === second) continue
    const before = at === 0 ? [] : [`    both:   ${eventText(from[at - 1])}`]
    return [
      ...lines,
      '  the first event that differs, and the one before it:',
      ...before,
      `    first:  ${first}`,
      `    second: ${second}`,
    ]
  }
  return [
    ...lines,
    '  no event differs: the difference is inside of one (the bytes of a frame or a batch, a number of choices)',
  ]
}

function eventText(event: TraceEvent | undefined): string {
  if (event === undefined) return 'nothing: it is over'
  const { step, atMs, lane, type, ...what } = event
  const details = Object.entries(what).map(([key, value]) => `${key} ${JSON.stringify(value)}`)
  return `step ${step}, ${timeText(atMs)}, ${lane ?? 'the world'}: ${type} ${details.join(', ')}`
}

/** Ends in a space when no rule was broken. */
function fingerprint({ hash, violation }: RunSummary): string {
  return `${hash} ${violation?.name ?? ''}`
}

function differ(a: RunResult | undefined, b: RunResult | undefined): boolean {
  return a?.hash !== b?.hash || a?.violation?.name !== b?.violation?.name
}

function environment(zone: string, locale: string): Readonly<Record<string, string>> {
  return { TZ: zone, LANG: locale, LC_ALL: locale }
}
