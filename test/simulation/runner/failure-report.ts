/** Failures made small, put into words, and kept: a regression test and a picture for each. */
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Scenario } from '../scenario.ts'
import type { Progress } from './progress.ts'
import { replayCommand } from './replay-command.ts'
import { regressionFileName } from './report-parts.ts'
import { processLost, type FailureGroup } from './tally.ts'
import type { Explained } from './worker-message.ts'
import type { WorkerPool } from './worker-pool.ts'

export interface FailureReportOptions {
  readonly pool: WorkerPool
  readonly progress: Progress
  readonly scenarios: readonly Scenario[]
  /** 0: not made smaller. */
  readonly shrinkRunsMax: number
  readonly colour: boolean
  readonly columns: number
  /** The checkout that the files go to; `undefined`: none are written. */
  readonly root: string | undefined
  readonly writesRegressions: boolean
  /** Lines of the story. */
  readonly storyLinesMax: number
}

/** One failure, ready to be printed. */
export interface FailureReport {
  readonly scenario: string
  readonly rule: string
  readonly message: string
  /** The one that was looked into. */
  readonly seed: string
  readonly seeds: readonly string[]
  readonly command: string
  /** Choices at the start and at the end of shrinking, and what it took. `undefined`: not looked into. */
  readonly shrunk: { readonly from: number; readonly to: number; readonly runs: number } | undefined
  readonly isReproduced: boolean
  /** Paths from the root. */
  readonly regressionFile: string | undefined
  readonly diagramFile: string | undefined
  readonly text: string
}

/** Failures that are looked into; the others get the command for their seed. */
const explainedMax = 8

/** One report for each group, in their order. What was interrupted is reported as it was found. */
export async function reportFailures(
  groups: readonly FailureGroup[],
  options: FailureReportOptions,
): Promise<readonly FailureReport[]> {
  const reports = new Map<FailureGroup, FailureReport>()
  const queue = groups.filter(({ rule }) => rule !== processLost).slice(0, explainedMax)
  await options.pool.lanes(
    queue[Symbol.iterator](),
    async (group) => void reports.set(group, await reportOne(group, options)),
    () => false,
  )
  return groups.map((group) => reports.get(group) ?? unexplained(group))
}

async function reportOne(group: FailureGroup, options: FailureReportOptions): Promise<FailureReport> {
  const { pool, progress, shrinkRunsMax, colour, columns, storyLinesMax } = options
  const explained = await pool.explain(
    group.job,
    group.rule,
    { shrinkRunsMax, colour, columns, storyLinesMax },
    ({ runs, from, choices }) => {
      progress.show({
        done: runs,
        total: shrinkRunsMax,
        failed: groupSize(group),
        what: `making ${group.scenario} ${group.rule} smaller: ${from} to ${choices} choices`,
      })
    },
  )
  if (explained === undefined) return unexplained(group)
  const { regressionFile, diagramFile } = await writeFiles(group, explained, options)
  const heading = `${group.scenario}: ${group.rule} on ${seedList(group)}`
  return {
    scenario: group.scenario,
    rule: group.rule,
    message: group.message,
    seed: group.job.seed,
    seeds: group.seeds,
    command: explained.command,
    shrunk: { from: explained.from, to: explained.to, runs: explained.runs },
    isReproduced: explained.isReproduced,
    regressionFile,
    diagramFile,
    text: [
      heading,
      '',
      explained.isReproduced
        ? explained.report
        : `It did not happen again with the same seed: run it with --twice. The first time:\n${group.message}\n\n${explained.report}`,
      ...(diagramFile === undefined ? [] : ['The picture:', `  ${diagramFile}`]),
      ...(regressionFile === undefined
        ? []
        : ['The test that stays red until it is mended:', `  ${regressionFile}`]),
    ].join('\n'),
  }
}

async function writeFiles(
  group: FailureGroup,
  explained: Explained,
  options: FailureReportOptions,
): Promise<Pick<FailureReport, 'regressionFile' | 'diagramFile'>> {
  const { root, scenarios, writesRegressions } = options
  const none = { regressionFile: undefined, diagramFile: undefined }
  if (root === undefined || !explained.isReproduced) return none
  const { scenario: name, job } = group
  const diagramFile = join('simulation-report', `${fileName(name)}-seed${fileName(job.seed)}.html`)
  await mkdir(join(root, 'simulation-report'), { recursive: true })
  await writeFile(join(root, diagramFile), explained.diagram)
  const isWrong = scenarios.find((scenario) => scenario.name === name)?.expects !== undefined
  if (!writesRegressions || isWrong) return { ...none, diagramFile }
  const folder = join('test', 'simulation', 'regressions')
  const regressionFile = join(folder, regressionFileName(name, group.rule))
  await mkdir(join(root, folder), { recursive: true })
  await writeFile(join(root, regressionFile), explained.regression)
  return { regressionFile, diagramFile }
}

function unexplained(group: FailureGroup): FailureReport {
  const command = replayCommand(group.scenario, group.job.seed, group.job.choices)
  const { scenario, rule, message, seeds, job } = group
  return {
    scenario,
    rule,
    message,
    seed: job.seed,
    seeds,
    command,
    shrunk: undefined,
    isReproduced: false,
    regressionFile: undefined,
    diagramFile: undefined,
    text: [
      `${scenario}: ${rule} on ${seedList(group)}`,
      '',
      message,
      '',
      'To run it again:',
      `  ${command}`,
    ].join('\n'),
  }
}

const seedsShown = 12

function seedList({ seeds, job }: FailureGroup): string {
  if (seeds.length === 1) return `seed ${job.seed}`
  const shown = seeds.slice(0, seedsShown).join(', ')
  return `${seeds.length} seeds: ${shown}${seeds.length > seedsShown ? ', ...' : ''}; this is seed ${job.seed}`
}

function groupSize({ seeds }: FailureGroup): number {
  return seeds.length
}

function fileName(text: string): string {
  return (
    text
      .replaceAll(/[^A-Za-z0-9]+/g, '-')
      .replaceAll(/^-+|-+$/g, '')
      .slice(0, 100) || 'unnamed'
  )
}
