/** `npm run sim`, with everything that it reads from its surroundings handed in. */
import { writeFile } from 'node:fs/promises'
import { DivergenceSearch } from '../divergence.ts'
import type { Scenario } from '../scenario.ts'
import { reportFailures, type FailureReport } from './failure-report.ts'
import { commandHelp, parseCommand, UsageError, type CommandOptions } from './options.ts'
import { Progress } from './progress.ts'
import { dealSeeds, joinBatches, type Job } from './seed-deal.ts'
import { assertDistinct, selectScenarios } from './select.ts'
import { count, duration, faultTable, gapLines, listTable, scenarioTable } from './table.ts'
import { Tally } from './tally.ts'
import { WorkerPool, WorkerStartError, type RunSink } from './worker-pool.ts'

export interface Surroundings {
  /** URL of the module that exports `scenarios`. Each worker loads it by itself. */
  readonly registry: string
  /** The checkout that reports and regression tests go to. */
  readonly root: string
  readonly out: (text: string) => void
  /** Progress and complaints. */
  readonly err: (text: string) => void
  readonly isTerminal: boolean
  readonly columns: number
  readonly colour: boolean
  readonly isCi: boolean
  /** Ends it: what was found so far is printed. */
  readonly signal: AbortSignal
  /** Real milliseconds. */
  readonly nowMs: () => number
}

/** Runs of one scenario in a row; also the most that are lost to an early end. */
const batchMax = 10
/** Runs of a process in `--twice`, at most: its start costs as much as several. */
const twiceBatchMax = 30

/** Does what the command line says. Resolves with the exit code; rejects for nothing that a user can mend. */
export async function runCommand(args: readonly string[], surroundings: Surroundings): Promise<number> {
  const { out, err, registry } = surroundings
  try {
    const options = parseCommand(args)
    if (options.help) {
      out(commandHelp)
      return 0
    }
    const { scenarios } = (await import(registry)) as { readonly scenarios: readonly Scenario[] }
    assertDistinct(scenarios)
    if (options.list) {
      out(
        `${listTable(options.scenarios.length === 0 ? scenarios : selectScenarios(scenarios, options.scenarios))}\n`,
      )
      return 0
    }
    const chosen = selectScenarios(scenarios, options.scenarios)
    if (options.choices !== undefined && chosen.length !== 1) {
      throw new UsageError(
        `--choices belong to one scenario, and ${chosen.length} are chosen: give --scenario its whole name`,
      )
    }
    if (chosen.length === 0) throw new UsageError('There is no scenario to run')
    return await new Session(options, chosen, surroundings).run()
  } catch (error) {
    if (!(error instanceof UsageError) && !(error instanceof WorkerStartError)) throw error
    err(`${error.message}\n`)
    return error instanceof UsageError ? 2 : 1
  }
}

/** One command under way. */
class Session {
  readonly #options: CommandOptions
  readonly #scenarios: readonly Scenario[]
  readonly #surroundings: Surroundings
  readonly #pool: WorkerPool
  readonly #tally: Tally
  readonly #progress: Progress
  readonly #startMs: number
  #done = 0

  constructor(options: CommandOptions, scenarios: readonly Scenario[], surroundings: Surroundings) {
    const { registry, signal, err, isTerminal, columns, nowMs } = surroundings
    this.#options = options
    this.#scenarios = scenarios
    this.#surroundings = surroundings
    this.#pool = new WorkerPool({ registry, signal, jobs: options.jobs, hangMs: options.hangMs })
    this.#tally = new Tally(scenarios)
    this.#progress = new Progress({ write: err, isTerminal, columns, nowMs })
    this.#startMs = nowMs()
  }

  async run(): Promise<number> {
    const { minutes, twice, shrink, shrinkRunsMax, write, trace, seeds } = this.#options
    const { nowMs, colour, columns, root, isCi, signal, err } = this.#surroundings
    if (seeds !== undefined && this.#options.seed === undefined && seeds < this.#scenarios.length) {
      err(
        `${this.#scenarios.length - seeds} scenarios get no seed: give --seeds ${this.#scenarios.length} or more\n`,
      )
    }
    const untilMs = minutes === undefined ? Number.POSITIVE_INFINITY : this.#startMs + minutes * 60_000
    const isOver = (): boolean => nowMs() >= untilMs
    const search = new DivergenceSearch(this.#pool)
    if (twice) {
      const batches = joinBatches(this.#batches(), this.#twiceBatch())
      await this.#pool.lanes(batches, (batch) => search.runBatch(batch, this.#sink), isOver)
    } else {
      await this.#pool.runAll(this.#batches(), this.#sink, isOver)
    }
    const elapsedMs = nowMs() - this.#startMs
    if (trace) await this.#printTraces()
    const failures = await reportFailures(this.#tally.groups(), {
      pool: this.#pool,
      progress: this.#progress,
      scenarios: this.#scenarios,
      shrinkRunsMax: shrink ? shrinkRunsMax : 0,
      colour,
      columns,
      root: write ? root : undefined,
      writesRegressions: this.#options.choices === undefined && !isCi,
      storyLinesMax: trace ? traceLinesMax : 60,
    })
    this.#progress.clear()
    const outcome = { failures, search, elapsedMs, gaps: this.#gapCount() }
    this.#print(outcome)
    await this.#writeJson(outcome)
    const failed = this.#tally.failed + search.passedOnce + (this.#options.allTags ? outcome.gaps : 0)
    this.#say(`${this.#tally.passed - search.passedOnce} passed, ${failed} failed`)
    if (search.count > 0) return 1
    if (failed > 0) return 1
    return signal.aborted ? 130 : 0
  }

  get #total(): number | undefined {
    const { seed, seeds } = this.#options
    return seed === undefined ? seeds : this.#scenarios.length
  }

  #batches(): Generator<readonly Job[], void, undefined> {
    const { seed, seeds, firstSeed, choices } = this.#options
    const names = this.#scenarios.map(({ name }) => name)
    if (seed === undefined) return dealSeeds({ scenarios: names, seeds, firstSeed, batchMax })
    return (function* () {
      for (const scenario of names) yield [{ scenario, seed, choices }]
    })()
  }

  /** Small enough that all lanes have something to do. */
  #twiceBatch(): number {
    const perLane = Math.ceil((this.#total ?? Number.POSITIVE_INFINITY) / (2 * this.#options.jobs))
    return Math.max(1, Math.min(twiceBatchMax, perLane))
  }

  readonly #sink: RunSink = {
    ran: (job, summary) => {
      const isNew = this.#tally.ran(job, summary)
      this.#count(job, isNew ? summary.violation?.name : undefined)
    },
    lost: (job, why) => {
      const isNew = this.#tally.lost(job, why)
      this.#count(job, isNew ? why.split(/;|\n/, 1)[0] : undefined)
    },
  }

  /** Many seeds may fail alike: only the first of each kind is worth a line while it runs. */
  #count(job: Job, problem: string | undefined): void {
    this.#done++
    if (problem !== undefined) this.#progress.note(`FAILED ${job.scenario}, seed ${job.seed}: ${problem}`)
    this.#progress.show({
      done: this.#done,
      total: this.#total,
      failed: this.#tally.failed,
      what: job.scenario,
      share: this.#timeShare(),
    })
  }

  #timeShare(): number | undefined {
    const { minutes, seeds } = this.#options
    if (minutes === undefined) return undefined
    const ofTime = (this.#surroundings.nowMs() - this.#startMs) / (minutes * 60_000)
    return Math.max(ofTime, seeds === undefined ? 0 : this.#done / seeds)
  }

  /** All that happened in runs that broke no rule: the others are told of anyway. */
  async #printTraces(): Promise<void> {
    const { seed = '', choices } = this.#options
    const failed = new Set(this.#tally.groups().map(({ scenario }) => scenario))
    for (const { name } of this.#scenarios) {
      if (failed.has(name)) continue
      const explained = await this.#pool.explain(
        { scenario: name, seed, choices },
        'none',
        {
          shrinkRunsMax: 0,
          colour: this.#surroundings.colour,
          columns: this.#surroundings.columns,
          storyLinesMax: traceLinesMax,
        },
        () => {},
      )
      if (explained !== undefined) this.#say(`${name}\n\n${explained.report}\n`)
    }
  }

  /** Tags that were not reached, and declared faults that were not injected. */
  #gapCount(): number {
    return this.#tally
      .scenarios()
      .reduce((sum, { missing, neverInjected }) => sum + missing.length + neverInjected.length, 0)
  }

  #print({ failures, search, elapsedMs, gaps }: Outcome): void {
    const { signal, columns } = this.#surroundings
    const rule = '-'.repeat(Math.min(columns, 100))
    for (const { text } of failures) this.#say(`${rule}\n${text}\n`)
    for (const { report } of search.found) this.#say(`${rule}\n${report}\n`)
    const tallies = this.#tally.scenarios()
    if (tallies.length > 0) this.#say(`${scenarioTable(tallies)}\n`)
    const faults = faultTable(tallies)
    if (faults !== '') this.#say(`${faults}\n`)
    const lines = gapLines(tallies)
    if (lines.length > 0) this.#say(`${lines.join('\n')}\n`)
    for (const { name, expects } of this.#scenarios) {
      const tally = tallies.find(({ scenario }) => scenario === name)
      if (expects !== undefined && tally?.failed === 0) {
        this.#say(`${name} is wrong on purpose, and none of ${count(tally.seeds)} seeds has shown it\n`)
      }
    }
    if (failures.length > 0) {
      this.#say('Failed:')
      for (const { scenario, rule: name, seeds, command } of failures) {
        this.#say(
          `  ${scenario}: ${name} (${seeds.length} ${seeds.length === 1 ? 'seed' : 'seeds'})\n    ${command}`,
        )
      }
      this.#say('')
    }
    if (search.count > 0) this.#say(`${count(search.count)} seeds differ between two runs\n`)
    if (this.#options.twice && search.count === 0 && !signal.aborted) {
      this.#say(
        'Each seed was the same run twice: other process, reverse order, other time zone, locale and heap\n',
      )
    }
    if (this.#options.allTags && gaps > 0) this.#say(`${gaps} tags or faults were never met (--all-tags)\n`)
    if (signal.aborted) this.#say('Interrupted: this is what was found so far')
    const speed = elapsedMs > 0 ? `, ${((this.#done * 1_000) / elapsedMs).toFixed(1)} a second` : ''
    this.#say(`${count(this.#done)} ${this.#done === 1 ? 'seed' : 'seeds'} in ${duration(elapsedMs)}${speed}`)
  }

  async #writeJson({ failures, search, elapsedMs }: Outcome): Promise<void> {
    const { json } = this.#options
    if (json === undefined) return
    const report = {
      seeds: this.#done,
      elapsedMs: Math.round(elapsedMs),
      isComplete: !this.#surroundings.signal.aborted,
      passed: this.#tally.passed,
      failed: this.#tally.failed,
      scenarios: this.#tally.scenarios(),
      failures: failures.map((failure) => ({ ...failure, text: undefined })),
      divergences: { count: search.count, found: search.found },
    }
    await writeFile(json, `${JSON.stringify(report, undefined, 2)}\n`)
  }

  #say(text: string): void {
    this.#surroundings.out(`${text}\n`)
  }
}

/** Lines of a story that was asked for. */
const traceLinesMax = 100_000

interface Outcome {
  readonly failures: readonly FailureReport[]
  readonly search: DivergenceSearch
  readonly elapsedMs: number
  readonly gaps: number
}
