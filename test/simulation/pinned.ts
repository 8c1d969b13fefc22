/** For the tests in regressions/: one run of one scenario, pinned by its seed and its choices. */
import { parseChoices, type Choice, type RunInput, type RunResult } from '@understudy/runtime/simulation'
import type { Test } from 'tap'
import { replayCommand } from './runner/replay-command.ts'
import { runReport } from './runner/report-parts.ts'
import { scenarios as allScenarios } from './scenario/all.ts'
import type { Scenario } from './scenario.ts'

/** A run that once failed. */
export interface Pinned {
  readonly scenario: string
  readonly seed: string | number
  /** As a list, or as the text that the command line takes. Left out: the seed decides. */
  readonly choices?: readonly Choice[] | string | undefined
  /** The rule that it must break: for scenarios that are wrong on purpose. @default none */
  readonly expects?: string | undefined
}

/** Runs the scenario of exactly that name once. @throws {TypeError} (as a rejection) when there is none */
export async function runScenario(
  name: string,
  input: RunInput,
  scenarios: readonly Scenario[] = allScenarios,
): Promise<RunResult> {
  const scenario = scenarios.find((candidate) => candidate.name === name)
  if (scenario === undefined) {
    throw new TypeError(
      `Cannot run the scenario "${name}": there is none of this name; was it renamed? npm run sim -- --list has them all`,
    )
  }
  return await scenario.run(input)
}

/** Passes when the run breaks no rule, or exactly the one that it `expects`; otherwise it fails with the report. */
export async function pinned(
  t: Test,
  run: Pinned,
  scenarios: readonly Scenario[] = allScenarios,
): Promise<RunResult> {
  const choices = typeof run.choices === 'string' ? parseChoices(run.choices) : run.choices
  const input = { seed: run.seed, choices }
  const result = await runScenario(run.scenario, input, scenarios)
  const command = replayCommand(run.scenario, String(run.seed), choices)
  const name = `${run.scenario}, seed ${run.seed}, ${run.expects === undefined ? 'breaks no rule' : `breaks ${run.expects}`}`
  if (result.violation?.name === run.expects) {
    t.pass(name)
  } else {
    const traced = await runScenario(run.scenario, { ...input, trace: true }, scenarios)
    t.fail(`${name}\n${runReport(traced, { replayCommand: command, storyLinesMax: 30 })}`)
  }
  return result
}
