/**
 * A simulation as a test of any runner: tap, node:test, vitest. Green when no seed breaks a rule; red with the seed, the
 * step, the smallest scenario, and the command that runs exactly that again.
 */
import { processCommand, processEnvironment, shellWord, writeTextFile } from '../platform/running-process.ts'
import { checkSeeds, type CheckSeedsOptions, type SeedsResult } from './check-seeds.ts'
import { formatChoices, parseChoices } from './choice-source.ts'
import type { Run, RunResult } from './run-result.ts'
import { simulateSystem, type SimulateSystemOptions, type SystemWorld } from './simulate-system.ts'
import { spaceTimeDiagram } from './space-time-diagram.ts'
import { simulationFailure } from './test-simulation.ts'

/** Makes a test of a name and a function: `test` of tap, node:test, vitest. */
export type MakeTest = (name: string, run: (t?: unknown) => Promise<void>) => unknown

/** What makes a test: the function `test` of any runner, or the `t` that tap and node:test hand to a test. */
export type Tester = MakeTest | { readonly test: MakeTest }

/**
 * How a simulation is tested. Three environment variables replay one run: SIM_SEED, SIM_CHOICES and SIM_TEST (the name
 * of the one test that is to run; the others are passed over). SIM_PICTURE names the file for the picture.
 */
export interface SeedTestOptions extends Omit<CheckSeedsOptions, 'name'> {
  /** @default the environment of this process */
  readonly env?: Readonly<Record<string, string | undefined>> | undefined
  /** What runs this test file again. @default `node` and the file that this process was started with */
  readonly command?: string | undefined
  /** HTML file to write the space-time diagram to when a rule is broken. @default SIM_PICTURE, else none */
  readonly picture?: string | undefined
}

/** As `SimulateSystemOptions`, without what decides a single run. */
export interface SystemSimulationTestOptions
  extends SeedTestOptions, Omit<SimulateSystemOptions, 'seed' | 'choices' | 'trace' | 'crash'> {}

/**
 * Adds a test that runs `scenario` on one simulated process, once per seed. Await it, so that a test file goes on
 * with the next test when this one is over.
 *
 * ```ts
 * await testSystemSimulation(test, 'no seat is sold twice', { seeds: 500 }, async (world) => { ... })
 * ```
 */
export function testSystemSimulation(
  t: Tester,
  name: string,
  options: SystemSimulationTestOptions,
  scenario: (world: SystemWorld) => Promise<void>,
): Promise<void> {
  return testSeeds(t, name, options, (input) => simulateSystem({ ...options, ...input }, scenario))
}

/** The same for any `run`: see `requireSeeds`. */
export async function testSeeds(t: Tester, name: string, options: SeedTestOptions, run: Run): Promise<void> {
  const runAll = async (inner?: unknown): Promise<void> => {
    try {
      await requireSeeds(name, options, run)
    } catch (error) {
      throw error instanceof SimulationTestError && canComment(inner) ? error.told(inner) : error
    }
  }
  await (typeof t === 'function' ? t(name, runAll) : t.test(name, runAll))
}

/**
 * Runs the seeds, or the one run that the environment asks for, within a test that is there already. `undefined` when
 * the environment asks for another test.
 *
 * @throws {Error} (as a rejection) when a rule is broken, with the report as its message; when a tag of `sometimes` was
 *   not reached
 * @throws {RangeError} (as a rejection) for seeds or choices that cannot be read
 */
export async function requireSeeds(
  name: string,
  options: SeedTestOptions,
  run: Run,
): Promise<SeedsResult | RunResult | undefined> {
  const env = options.env ?? processEnvironment()
  const wanted = env['SIM_TEST']
  if (wanted !== undefined && wanted !== '' && wanted !== name) return undefined
  const seed = env['SIM_SEED']
  if (seed !== undefined && seed !== '') return replay(name, seed, env, options, run)

  const result = await checkSeeds(run, { ...options, name })
  const { failure, missing } = result
  if (failure !== undefined)
    throw new SimulationTestError(reportOf(name, failure.result, env, options, failure.shrunk))
  if (missing.length > 0) {
    throw new SimulationTestError(
      `${name}: no rule was broken in ${result.seeds} seeds, but none of them reached ${missing.join(', ')}: ` +
        'what the scenario is to prove was not met; give it more seeds or more faults',
    )
  }
  return result
}

async function replay(
  name: string,
  seed: string,
  env: Readonly<Record<string, string | undefined>>,
  options: SeedTestOptions,
  run: Run,
): Promise<RunResult> {
  const choices = env['SIM_CHOICES']
  const result = await run({
    seed,
    choices: choices === undefined ? undefined : parseChoices(choices),
    trace: true,
  })
  if (result.violation !== undefined)
    throw new SimulationTestError(reportOf(name, result, env, options, undefined))
  return result
}

function reportOf(
  name: string,
  result: RunResult,
  env: Readonly<Record<string, string | undefined>>,
  options: SeedTestOptions,
  shrunk: Parameters<typeof simulationFailure>[1]['shrunk'],
): string {
  const command = options.command ?? processCommand()
  const replayCommand = replayCommandOf(name, result, command)
  const file = options.picture ?? env['SIM_PICTURE']
  const picture =
    file === undefined || file === ''
      ? undefined
      : writeTextFile(file, spaceTimeDiagram(result, { title: name, replayCommand }))
  const report = simulationFailure(result, { name, replayCommand, shrunk, diagramFile: picture })
  return picture === undefined
    ? `${report}\n\nSIM_PICTURE=FILE.html before that command draws the picture`
    : report
}

/** `SIM_TEST='the name' SIM_SEED=7 SIM_CHOICES='net/a>b/delay#17=2' node race.test.js`, for a POSIX shell. */
export function replayCommandOf(name: string, result: RunResult, command: string): string {
  const choices = `'${formatChoices(result.choices).replaceAll("'", "'\\''")}'`
  return `SIM_TEST=${shellWord(name)} SIM_SEED=${shellWord(result.seed)} SIM_CHOICES=${choices} ${command}`
}

/** The `t` of tap, which makes a title of an error's message, so that a report would stand on one line. */
interface Commenter {
  readonly comment: (text: string) => void
}

function canComment(t: unknown): t is Commenter {
  return typeof t === 'object' && t !== null && 'comment' in t && typeof t.comment === 'function'
}

/** Its message is the report; where in the runner's code it was thrown helps nobody. */
class SimulationTestError extends Error {
  constructor(message: string) {
    super(message)
    this.stack = `${this.name}: ${message}`
  }

  /** The same with its first line alone, after `t` has told the rest. */
  told(t: Commenter): SimulationTestError {
    t.comment(this.message)
    return new SimulationTestError(
      `${this.message.split('\n', 1)[0] ?? ''}; the report is in the comment above`,
    )
  }
}
Object.defineProperty(SimulationTestError.prototype, 'name', { value: 'SimulationTestError' })
