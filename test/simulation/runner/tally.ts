/** What many runs came to, by scenario. */
import type { Scenario } from '../scenario.ts'
import type { Job } from './seed-deal.ts'
import type { RunSummary } from './worker-message.ts'

/** Counts of one scenario. The shape that `--json` writes. */
export interface ScenarioTally {
  readonly scenario: string
  /** Runs made. */
  seeds: number
  /** Runs that broke a rule, or whose process died. */
  failed: number
  virtualMs: number
  steps: number
  messages: number
  /** Faults that took effect, by kind, sorted. */
  faults: Record<string, number>
  /** Runs that met a fault of the kind. */
  runsWithFault: Record<string, number>
  /** Declared tags that were reached, and those that were not. */
  reached: readonly string[]
  missing: readonly string[]
  /** Tags that were reached but are not declared. */
  undeclared: readonly string[]
  /** Kinds of fault that the scenario declares and that no run has met. */
  neverInjected: readonly string[]
}

/** One broken rule of one scenario, on however many seeds. */
export interface FailureGroup {
  readonly scenario: string
  /** The rule, or `process-lost`. */
  readonly rule: string
  /** Of the run in `job`. */
  message: string
  /** The one with the fewest choices: the best start for making it smaller. */
  job: Job
  choiceCount: number
  /** All that broke it, sorted. */
  readonly seeds: string[]
}

/** The name under which a run counts whose process died or hung. */
export const processLost = 'process-lost'

export class Tally {
  readonly #scenarios: ReadonlyMap<string, Scenario>
  readonly #tallies = new Map<string, ScenarioTally>()
  readonly #reached = new Map<string, Set<string>>()
  readonly #groups = new Map<string, FailureGroup>()
  #passed = 0
  #failed = 0

  constructor(scenarios: readonly Scenario[]) {
    this.#scenarios = new Map(scenarios.map((scenario) => [scenario.name, scenario]))
  }

  get passed(): number {
    return this.#passed
  }

  get failed(): number {
    return this.#failed
  }

  /** True when it failed as no run of its scenario has before. */
  ran(job: Job, summary: RunSummary): boolean {
    const { stats, violation, choiceCount } = summary
    const tally = this.#of(job.scenario)
    tally.seeds++
    tally.virtualMs += stats.virtualMs
    tally.steps += stats.steps
    tally.messages += stats.messages
    for (const [kind, count] of Object.entries(stats.faults)) {
      tally.faults[kind] = (tally.faults[kind] ?? 0) + count
      tally.runsWithFault[kind] = (tally.runsWithFault[kind] ?? 0) + 1
    }
    for (const tag of stats.reached) this.#reached.get(job.scenario)?.add(tag)
    if (violation !== undefined) return this.#fail(job, violation.name, violation.message, choiceCount)
    this.#passed++
    return false
  }

  /** True when it is the first run of its scenario that was lost. */
  lost(job: Job, why: string): boolean {
    this.#of(job.scenario).seeds++
    return this.#fail(job, processLost, why, 0)
  }

  /** In the order of the scenarios; those without a run are left out. */
  scenarios(): readonly ScenarioTally[] {
    return [...this.#scenarios.values()].flatMap((scenario) => {
      const tally = this.#tallies.get(scenario.name)
      if (tally === undefined) return []
      const reached = this.#reached.get(scenario.name) ?? new Set()
      const faults = sorted(tally.faults)
      return [
        {
          ...tally,
          faults,
          runsWithFault: sorted(tally.runsWithFault),
          reached: scenario.sometimes.filter((tag) => reached.has(tag)),
          missing: scenario.sometimes.filter((tag) => !reached.has(tag)),
          undeclared: [...reached].filter((tag) => !scenario.sometimes.includes(tag)).sort(),
          neverInjected: (scenario.faults ?? []).filter((kind) => (faults[kind] ?? 0) === 0),
        },
      ]
    })
  }

  /** Failures in the order of the scenarios, then by rule. */
  groups(): readonly FailureGroup[] {
    const order = [...this.#scenarios.keys()]
    return [...this.#groups.values()]
      .map((group) => ({ ...group, seeds: group.seeds.toSorted(compareSeeds) }))
      .sort(
        (a, b) =>
          order.indexOf(a.scenario) - order.indexOf(b.scenario) ||
          (a.rule < b.rule ? -1 : Number(a.rule > b.rule)),
      )
  }

  #fail(job: Job, rule: string, message: string, choiceCount: number): boolean {
    this.#failed++
    this.#of(job.scenario).failed++
    const key = `${job.scenario} ${rule}`
    const group = this.#groups.get(key)
    if (group === undefined) {
      this.#groups.set(key, { scenario: job.scenario, rule, message, job, choiceCount, seeds: [job.seed] })
      return true
    }
    group.seeds.push(job.seed)
    if (isBetter(choiceCount, job.seed, group)) Object.assign(group, { message, job, choiceCount })
    return false
  }

  #of(scenario: string): ScenarioTally {
    let tally = this.#tallies.get(scenario)
    if (tally === undefined) {
      tally = {
        scenario,
        seeds: 0,
        failed: 0,
        virtualMs: 0,
        steps: 0,
        messages: 0,
        faults: {},
        runsWithFault: {},
        reached: [],
        missing: [],
        undeclared: [],
        neverInjected: [],
      }
      this.#tallies.set(scenario, tally)
      this.#reached.set(scenario, new Set())
    }
    return tally
  }
}

/** Which of several failing seeds is looked into must not depend on which process was faster. */
function isBetter(choiceCount: number, seed: string, group: FailureGroup): boolean {
  if (choiceCount !== group.choiceCount) return choiceCount < group.choiceCount
  return compareSeeds(seed, group.job.seed) < 0
}

/** By number where both are numbers. */
export function compareSeeds(a: string, b: string): number {
  const difference = Number(a) - Number(b)
  if (!Number.isNaN(difference)) return difference
  return a < b ? -1 : Number(a > b)
}

function sorted(counts: Readonly<Record<string, number>>): Record<string, number> {
  return Object.fromEntries(Object.entries(counts).sort(([a], [b]) => (a < b ? -1 : 1)))
}
