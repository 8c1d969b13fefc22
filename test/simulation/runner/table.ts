/** Counts to text. Pure, so that what the reader sees is tested without running anything. */
import type { Scenario } from '../scenario.ts'
import type { ScenarioTally } from './tally.ts'

/** One line a scenario, and their sum. */
export function scenarioTable(tallies: readonly ScenarioTally[]): string {
  const lines: string[][] = [
    ['scenario', 'seeds', 'failed', 'virtual time', 'steps', 'messages', 'faults', 'tags'],
  ]
  for (const tally of tallies) {
    lines.push([
      tally.scenario,
      count(tally.seeds),
      count(tally.failed),
      duration(tally.virtualMs),
      count(tally.steps),
      count(tally.messages),
      count(sum(Object.values(tally.faults))),
      tagCount(tally),
    ])
  }
  if (tallies.length > 1) {
    const total = (of: (tally: ScenarioTally) => number): number => sum(tallies.map(of))
    lines.push([
      'all',
      count(total((tally) => tally.seeds)),
      count(total((tally) => tally.failed)),
      duration(total((tally) => tally.virtualMs)),
      count(total((tally) => tally.steps)),
      count(total((tally) => tally.messages)),
      count(total((tally) => sum(Object.values(tally.faults)))),
      tagCount({
        reached: tallies.flatMap(({ reached }) => reached),
        missing: tallies.flatMap(({ missing }) => missing),
      }),
    ])
  }
  return align(lines)
}

/** One line a kind of fault; '' when there were none. */
export function faultTable(tallies: readonly ScenarioTally[]): string {
  const counts = new Map<string, { faults: number; runs: number; scenarios: number }>()
  for (const { faults, runsWithFault } of tallies) {
    for (const [kind, injected] of Object.entries(faults)) {
      const known = counts.get(kind) ?? { faults: 0, runs: 0, scenarios: 0 }
      counts.set(kind, {
        faults: known.faults + injected,
        runs: known.runs + (runsWithFault[kind] ?? 0),
        scenarios: known.scenarios + 1,
      })
    }
  }
  // A kind that is declared and was never injected stands in its place with a zero.
  for (const kind of tallies.flatMap(({ neverInjected }) => neverInjected)) {
    if (!counts.has(kind)) counts.set(kind, { faults: 0, runs: 0, scenarios: 0 })
  }
  if (counts.size === 0) return ''
  const rows = [...counts].sort(([a], [b]) => (a < b ? -1 : 1))
  return align([
    ['fault', 'injected', 'in runs', 'of scenarios'],
    ...rows.map(([kind, { faults, runs, scenarios }]) => [
      kind,
      count(faults),
      count(runs),
      count(scenarios),
    ]),
  ])
}

/** What the seeds have not met: a line for each scenario that is short of something. */
export function gapLines(tallies: readonly ScenarioTally[]): readonly string[] {
  return tallies.flatMap(({ scenario, missing, neverInjected, undeclared }) => [
    ...(missing.length === 0 ? [] : [`${scenario}: never reached: ${missing.join(', ')}`]),
    ...(neverInjected.length === 0 ? [] : [`${scenario}: never injected: ${neverInjected.join(', ')}`]),
    ...(undeclared.length === 0 ? [] : [`${scenario}: reached, but not declared: ${undeclared.join(', ')}`]),
  ])
}

/** What `--list` prints. */
export function listTable(scenarios: readonly Scenario[]): string {
  const width = Math.max(0, ...scenarios.map(({ name }) => name.length))
  return scenarios
    .map(({ name, about, expects }) => {
      const mark = expects === undefined ? '' : ' (wrong on purpose: runs only when it is named)'
      return `${name.padEnd(width)}  ${about}${mark}`
    })
    .join('\n')
}

/** `1 d 4 h`, `2 h 13 min`, `4 min 20 s`, `12.5 s`: two units at most. */
export function duration(ms: number): string {
  const s = Math.floor(ms / 1_000)
  if (s < 60) return `${(ms / 1_000).toFixed(1)} s`
  if (s < 3_600) return `${Math.floor(s / 60)} min ${s % 60} s`
  if (s < 86_400) return `${Math.floor(s / 3_600)} h ${Math.floor((s % 3_600) / 60)} min`
  return `${Math.floor(s / 86_400)} d ${Math.floor((s % 86_400) / 3_600)} h`
}

/** With separators, whatever the locale of the machine is. */
export function count(n: number): string {
  return n.toLocaleString('en-US')
}

function tagCount({ reached, missing }: Pick<ScenarioTally, 'reached' | 'missing'>): string {
  const all = reached.length + missing.length
  return all === 0 ? '-' : `${reached.length} of ${all}`
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0)
}

/** The first column to the left, figures to the right. */
function align(lines: readonly (readonly string[])[]): string {
  const widths: number[] = []
  for (const line of lines) {
    for (const [column, cell] of line.entries()) widths[column] = Math.max(widths[column] ?? 0, cell.length)
  }
  return lines
    .map((line) =>
      line
        .map((cell, column) =>
          column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0),
        )
        .join('  '),
    )
    .join('\n')
}
