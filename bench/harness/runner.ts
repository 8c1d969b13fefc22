/**
 * A whole benchmark run: start every system, calibrate (which also warms), then measure in rounds, each
 * workload of every system side by side in time, so that a slow minute of the machine hits all of them.
 */
import type { SystemEntry } from '../systems/registry.ts'
import { firstOperations, isCalibrated, nextOperations } from './calibration.ts'
import type { BenchOptions } from './options.ts'
import { isPeerInstalled } from './peer-package.ts'
import { sampleValue, spread } from './sample.ts'
import type { Gap, Row } from './table.ts'
import { WorkerError, WorkerProcess } from './worker-process.ts'
import { WORKLOADS, type WorkloadName } from './workload.ts'

/** What came of a run. */
export interface RunResult {
  readonly rows: readonly Row[]
  readonly gaps: readonly Gap[]
  /** Systems or workloads that broke, one sentence each; a peer that is not installed is no failure. */
  readonly failures: readonly string[]
}

/** Tells a human what happens now; lines without line end. */
export type Progress = (line: string) => void

/** Tries to find a workload's size before it is measured as it is; a tenfold growth each. */
const CALIBRATION_RUNS_MAX = 8

/** One row in the making. */
interface Cell {
  readonly entry: SystemEntry
  readonly workload: WorkloadName
  readonly worker: WorkerProcess
  readonly rounds: number
  readonly values: number[]
  operations: number
  failed: boolean
}

/**
 * Runs the chosen workloads of the chosen systems. Never rejects for a system that breaks: its rows become
 * gaps and the reason a failure. Leaves no process behind.
 */
export async function runBenchmarks(
  entries: readonly SystemEntry[],
  options: BenchOptions,
  progress: Progress,
): Promise<RunResult> {
  const gaps: Gap[] = []
  const failures: string[] = []
  const workers: WorkerProcess[] = []
  const cells: Cell[] = []
  try {
    for (const entry of entries) {
      const worker = await startSystem(entry, options, gaps, failures, progress)
      if (worker === undefined) continue
      workers.push(worker)
      cells.push(...cellsOf(entry, worker, options, gaps))
    }
    for (const collects of [undefined, true] as const) {
      const phase = inWorkloadOrder(cells, options).filter(
        (cell) => WORKLOADS[cell.workload].collects === collects,
      )
      await calibrate(phase, options, failures, progress)
      await measure(phase, options, failures, progress)
    }
  } finally {
    await Promise.all(workers.map((worker) => worker.stop()))
  }
  const rows: Row[] = []
  for (const { workload, entry, values, failed } of cells) {
    if (failed || values.length === 0) gaps.push({ workload, system: entry.name, note: 'failed' })
    else rows.push({ workload, system: entry.name, unit: WORKLOADS[workload].unit, ...spread(values) })
  }
  return { rows, gaps, failures }
}

async function startSystem(
  entry: SystemEntry,
  options: BenchOptions,
  gaps: Gap[],
  failures: string[],
  progress: Progress,
): Promise<WorkerProcess | undefined> {
  if (entry.package !== undefined && !isPeerInstalled(entry.package)) {
    progress(`${entry.name}: not installed (npm run bench:peers)`)
    gaps.push(...options.only.map((workload) => ({ workload, system: entry.name, note: 'not installed' })))
    return undefined
  }
  try {
    return await WorkerProcess.start(entry.name, entry.module)
  } catch (error) {
    if (!(error instanceof WorkerError)) throw error
    fail(failures, progress, error)
    gaps.push(...options.only.map((workload) => ({ workload, system: entry.name, note: 'failed' })))
    return undefined
  }
}

function cellsOf(entry: SystemEntry, worker: WorkerProcess, options: BenchOptions, gaps: Gap[]): Cell[] {
  const cells: Cell[] = []
  for (const workload of options.only) {
    if (!worker.workloads.includes(workload)) {
      gaps.push({ workload, system: entry.name, note: '-' })
    } else {
      const rounds = entry.kind === 'peer' ? Math.min(options.rounds, options.roundsPeer) : options.rounds
      const operations = firstOperations(WORKLOADS[workload].size, options.quick)
      cells.push({ entry, workload, worker, rounds, values: [], operations, failed: false })
    }
  }
  return cells
}

function inWorkloadOrder(cells: readonly Cell[], options: BenchOptions): readonly Cell[] {
  return options.only.flatMap((workload) => cells.filter((cell) => cell.workload === workload))
}

/** Finds sizes, workload by workload. When it ends every process has run all of its workloads: it is warm. */
async function calibrate(
  cells: readonly Cell[],
  options: BenchOptions,
  failures: string[],
  progress: Progress,
): Promise<void> {
  let announced: WorkloadName | undefined
  for (const cell of cells) {
    if (cell.workload !== announced) progress(`warm-up: ${cell.workload}`)
    announced = cell.workload
    const { size } = WORKLOADS[cell.workload]
    for (let attempt = 0; attempt < CALIBRATION_RUNS_MAX && !cell.failed; attempt++) {
      const ran = cell.operations
      const elapsedMs = await runOnce(cell, options, false, failures, progress)
      if (elapsedMs === undefined || isCalibrated(size, ran, elapsedMs, options.sampleMs)) break
    }
  }
}

async function measure(
  cells: readonly Cell[],
  options: BenchOptions,
  failures: string[],
  progress: Progress,
): Promise<void> {
  if (cells.length === 0) return
  for (let round = 0; round < options.rounds; round++) {
    const due = cells.filter((cell) => round < cell.rounds)
    progress(`round ${round + 1} of ${options.rounds}`)
    for (const workload of options.only) {
      const group = due.filter((cell) => cell.workload === workload)
      // Every other round starts from the other end, so that no system always follows the same one.
      if (round % 2 === 1) group.reverse()
      for (const cell of group) await runOnce(cell, options, true, failures, progress)
    }
  }
}

/** Runs a cell once and sizes its next run; the duration, or undefined when it failed now or before. */
async function runOnce(
  cell: Cell,
  options: BenchOptions,
  keep: boolean,
  failures: string[],
  progress: Progress,
): Promise<number | undefined> {
  if (cell.failed) return undefined
  try {
    const sample = await cell.worker.run(cell.workload, cell.operations)
    if (keep) cell.values.push(sampleValue(sample))
    const { size } = WORKLOADS[cell.workload]
    cell.operations = nextOperations(size, cell.operations, sample.elapsedMs, options.sampleMs)
    return sample.elapsedMs
  } catch (error) {
    cell.failed = true
    fail(failures, progress, error)
    return undefined
  }
}

/** Notes a failure once, however many cells of a dead process run into it. */
function fail(failures: string[], progress: Progress, error: unknown): void {
  const message = error instanceof Error ? error.message : String(error)
  if (failures.includes(message)) return
  failures.push(message)
  progress(message)
}
