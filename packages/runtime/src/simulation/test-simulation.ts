/** What a failing test prints: for use from any test runner, as the message of the error that fails the test. */
import { runReport } from './run-report.ts'
import type { RunReportOptions } from './run-report.ts'
import type { RunResult } from './run-result.ts'

export interface SimulationFailureOptions extends RunReportOptions {
  /** The test or scenario that failed. */
  readonly name: string
  /** The command that runs exactly this again. */
  readonly replayCommand: string
  /** Where the space-time diagram was written, if it was. */
  readonly diagramFile?: string | undefined
}

/**
 * Seed, step, the minimal scenario, what happened, the command that replays it and where the picture is. Hand in a shrunk
 * result. The story is at most 30 lines long unless `storyLinesMax` says otherwise: test runners print it in the middle
 * of much else.
 *
 * ```ts
 * if (result.violation !== undefined) throw new Error(simulationFailure(result, { name, replayCommand }))
 * ```
 */
export function simulationFailure(result: RunResult, options: SimulationFailureOptions): string {
  const outcome =
    result.violation === undefined
      ? `${options.name}: no rule was broken`
      : `${options.name}: ${result.violation.name} is violated at step ${result.violation.step} (seed ${result.seed})`
  const picture = options.diagramFile === undefined ? [] : ['The picture:', `  ${options.diagramFile}`]
  return [
    outcome,
    '',
    runReport(result, { ...options, storyLinesMax: options.storyLinesMax ?? 30 }),
    ...picture,
  ].join('\n')
}
