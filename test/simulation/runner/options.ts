/** The command line of `npm run sim`: parsing, defaults, and the help text. */
import { availableParallelism } from 'node:os'
import { parseArgs } from 'node:util'
import { parseChoices, type Choice } from '@understudy/runtime/simulation'

/** What a command line asks for. */
export interface CommandOptions {
  /** Names or beginnings of names. None: all that are not wrong on purpose. */
  readonly scenarios: readonly string[]
  /** Seeds in total, dealt over the scenarios; `undefined` when only `minutes` ends the run. */
  readonly seeds: number | undefined
  readonly firstSeed: number
  /** This one seed of each scenario, instead of many. */
  readonly seed: string | undefined
  /** What to replay. Needs `seed`. */
  readonly choices: readonly Choice[] | undefined
  readonly minutes: number | undefined
  readonly jobs: number
  readonly twice: boolean
  readonly trace: boolean
  readonly shrink: boolean
  readonly shrinkRunsMax: number
  readonly write: boolean
  /** A tag that was never reached, or a declared fault that was never injected, counts as a failure. */
  readonly allTags: boolean
  readonly hangMs: number
  readonly json: string | undefined
  readonly list: boolean
  readonly help: boolean
}

/** A command line that cannot be obeyed; the message says what would be right. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}

export const commandDefaults = Object.freeze({
  seeds: 200,
  firstSeed: 1,
  hangSeconds: 120,
  shrinkRuns: 500,
})

/** Printed by `--help`. */
export const commandHelp = `Usage: npm run sim -- [options]

What to run
  --seeds N            N seeds in total, dealt over all matching scenarios (default ${commandDefaults.seeds})
  --minutes M          go on until M minutes have passed (with --seeds: whichever comes first)
  --scenario PREFIX    only the scenario of this name, or those whose names begin with it; may be given again
  --first-seed S       the first seed of each scenario, a whole number; then S+1, ... (default ${commandDefaults.firstSeed})
  --jobs N             processes at once (default: one per core)
  --twice              each batch in two fresh processes, the second in reverse order and with another time zone,
                       locale and heap: finds what is not decided by the seed
  --all-tags           fail when a "sometimes" tag was never reached, or a declared fault never injected

One run
  --seed S             this seed of each matching scenario
  --choices TEXT       with --seed and one scenario: replay these choices, all others benign: 'fault/kill#0=1,...'
  --trace              with --seed: print all that happened, also when no rule was broken

When a rule is broken
  --no-shrink          do not look for a smaller run
  --shrink-runs N      runs that shrinking may take for each failure (default ${commandDefaults.shrinkRuns})
  --no-write           write neither a regression test nor a diagram (in CI, where the variable CI is set, no test)
  --hang-seconds N     a run without a result for so long is killed and counts as failed (default ${commandDefaults.hangSeconds})

Output
  --json FILE          write what was found to FILE as JSON
  --list               print the scenarios and stop
  --help               print this

Exit code: 0 all green, 1 something failed, 2 a wrong command line, 130 interrupted with nothing found.
`

const flags = {
  seeds: { type: 'string' },
  'first-seed': { type: 'string' },
  minutes: { type: 'string' },
  scenario: { type: 'string', multiple: true },
  seed: { type: 'string' },
  choices: { type: 'string' },
  jobs: { type: 'string' },
  'shrink-runs': { type: 'string' },
  'hang-seconds': { type: 'string' },
  json: { type: 'string' },
  twice: { type: 'boolean', default: false },
  trace: { type: 'boolean', default: false },
  'all-tags': { type: 'boolean', default: false },
  'no-shrink': { type: 'boolean', default: false },
  'no-write': { type: 'boolean', default: false },
  list: { type: 'boolean', default: false },
  help: { type: 'boolean', short: 'h', default: false },
} as const

/** Reads the arguments after the script's name. @throws {UsageError} */
export function parseCommand(args: readonly string[]): CommandOptions {
  const given = parsed(args)
  const refuse = (problem: string): never => {
    throw new UsageError(`${problem} (see npm run sim -- --help)`)
  }
  const one = given.seed !== undefined
  if (given.seed === '') refuse('--seed "": give the name of a seed, such as 17')
  for (const many of ['seeds', 'minutes', 'first-seed'] as const) {
    if (one && given[many] !== undefined) refuse(`--seed runs one seed, --${many} many: give one of the two`)
  }
  if (!one && given.choices !== undefined) refuse('--choices replays a run: it needs the --seed of that run')
  if (!one && given.trace) refuse('--trace prints one run: it needs --seed')
  if (given.trace && given.twice) refuse('--trace and --twice: give one of the two')
  if (given.scenario?.includes('') === true) refuse('--scenario "": give a name or the beginning of one')
  const minutes = number('minutes', given.minutes, 0.01, 10_080, false)
  const seeds = number('seeds', given.seeds, 1, 1_000_000_000)
  return {
    scenarios: given.scenario ?? [],
    seeds: seeds ?? (minutes === undefined ? commandDefaults.seeds : undefined),
    firstSeed:
      number('first-seed', given['first-seed'], 0, Number.MAX_SAFE_INTEGER) ?? commandDefaults.firstSeed,
    seed: given.seed,
    choices: given.choices === undefined ? undefined : readChoices(given.choices),
    minutes,
    jobs: number('jobs', given.jobs, 1, 256) ?? availableParallelism(),
    twice: given.twice,
    trace: given.trace,
    shrink: !given['no-shrink'] && given.choices === undefined,
    shrinkRunsMax: number('shrink-runs', given['shrink-runs'], 1, 1_000_000) ?? commandDefaults.shrinkRuns,
    write: !given['no-write'],
    allTags: given['all-tags'],
    hangMs:
      1_000 *
      (number('hang-seconds', given['hang-seconds'], 0.1, 86_400, false) ?? commandDefaults.hangSeconds),
    json: given.json,
    list: given.list,
    help: given.help,
  }
}

type Given = ReturnType<typeof parseArgs<{ options: typeof flags }>>['values']

function parsed(args: readonly string[]): Given {
  try {
    return parseArgs({ args: [...args], options: flags }).values
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    throw new UsageError(`${reason} (see npm run sim -- --help)`, { cause: error })
  }
}

function readChoices(text: string): readonly Choice[] {
  try {
    return parseChoices(text)
  } catch (error) {
    throw new UsageError(`--choices: ${error instanceof Error ? error.message : String(error)}`, {
      cause: error,
    })
  }
}

function number(
  flag: string,
  text: string | undefined,
  low: number,
  high: number,
  isWhole = true,
): number | undefined {
  if (text === undefined) return undefined
  const value = text.trim() === '' ? Number.NaN : Number(text)
  if (value >= low && value <= high && (!isWhole || Number.isSafeInteger(value))) return value
  const kind = isWhole ? 'a whole number' : 'a number'
  throw new UsageError(`--${flag} "${text}": give ${kind} from ${low} to ${high}`)
}
