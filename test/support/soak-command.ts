/** The command line of `npm run soak`: which soak, with what, and what is wrong with it. */
import { parseArgs } from 'node:util'

interface Soak {
  /** Its test, as seen from the built `run-soak.js`. */
  readonly file: string
  readonly about: string
  /** Its options, with what they are when left out. */
  readonly defaults: Readonly<Record<string, string>>
}

interface SoakOption {
  readonly environment: string
  readonly about: string
  readonly isWhole: boolean
}

const soaks: Readonly<Record<string, Soak>> = {
  raft: {
    file: '../integration/raft-soak.test.js',
    about: 'the key-value store in five processes, under faults',
    defaults: { minutes: '15', seed: '1' },
  },
  locks: {
    file: '../integration/lock-pauses.test.js',
    about: 'locks in processes that are stopped for twice the lease',
    defaults: { rounds: '200', seed: '1' },
  },
  swim: {
    file: '../integration/swim-soak.test.js',
    about: 'days of virtual time of 100 nodes',
    defaults: { seeds: '3' },
  },
}

const soakOptions: Readonly<Record<string, SoakOption>> = {
  minutes: { environment: 'SOAK_MINUTES', about: 'how long faults are made, above 0', isWhole: false },
  rounds: { environment: 'SOAK_ROUNDS', about: 'how often processes are stopped', isWhole: true },
  seed: {
    environment: 'SOAK_SEED',
    about: 'what chance begins with, to do the same faults again',
    isWhole: true,
  },
  seeds: { environment: 'SOAK_SEEDS', about: 'how many runs, each with its own chance', isWhole: true },
}

/** What is to be run: the test file, and what its environment has besides. */
export interface SoakRun {
  readonly file: string
  readonly environment: Readonly<Record<string, string>>
}

/** A command line that says nothing that can be done. The message ends in what would be right. */
export class SoakUsageError extends Error {
  override readonly name = 'SoakUsageError'
}

/** @throws {SoakUsageError} */
export function parseSoakCommand(args: readonly string[]): SoakRun | 'help' {
  const { values, positionals } = parse(args)
  if (values['help'] === true) return 'help'
  const [name, ...more] = positionals
  const names = Object.keys(soaks).join(', ')
  if (name === undefined) throw new SoakUsageError(`Which soak? Name one of ${names}`)
  const soak = Object.hasOwn(soaks, name) ? soaks[name] : undefined
  if (soak === undefined) throw new SoakUsageError(`There is no soak "${name}": name one of ${names}`)
  if (more.length > 0) {
    throw new SoakUsageError(`One soak at a time: "${more.join(' ')}" behind "${name}" is too much`)
  }
  const environment: Record<string, string> = {}
  for (const [option, value] of Object.entries({ ...soak.defaults, ...values })) {
    if (!Object.hasOwn(soak.defaults, option)) {
      const own = Object.keys(soak.defaults).map((each) => `--${each}`)
      throw new SoakUsageError(`The soak "${name}" has no --${option}: it takes ${own.join(' and ')}`)
    }
    const { environment: variable, isWhole } = soakOptions[option] as SoakOption
    const number = typeof value === 'string' && value.trim() !== '' ? Number(value) : Number.NaN
    if (!(number > 0 && number < Number.MAX_SAFE_INTEGER) || (isWhole && !Number.isInteger(number))) {
      const wanted = isWhole ? 'a whole number from 1' : 'a number above 0'
      throw new SoakUsageError(`--${option} "${String(value)}": give ${wanted}`)
    }
    environment[variable] = String(number)
  }
  return { file: soak.file, environment }
}

/** What `--help` prints. */
export function soakUsage(): string {
  const names = Object.entries(soaks).map(([name, { about, defaults }]) => {
    const options = Object.entries(defaults).map(([option, value]) => `[--${option} ${value}]`)
    return `  ${`${name} ${options.join(' ')}`.padEnd(36)}${about}`
  })
  const options = Object.entries(soakOptions).map(
    ([option, { about }]) => `  ${`--${option} N`.padEnd(36)}${about}`,
  )
  return `Usage: npm run soak -- SOAK [options]

Tests that take minutes to hours. The figures are what each takes when nothing is said.

${names.join('\n')}

${options.join('\n')}
  ${'--help'.padEnd(36)}this text

Exit code: 0 when all held; 1 when something did not; 2 when the arguments are wrong.`
}

function parse(args: readonly string[]): ReturnType<typeof parseArgs> {
  try {
    const known = Object.keys(soakOptions).map((name) => [name, { type: 'string' }] as const)
    return parseArgs({
      args: [...args],
      allowPositionals: true,
      options: { ...Object.fromEntries(known), help: { type: 'boolean', short: 'h' } },
    })
  } catch (error) {
    // Its first sentence names the option; the rest is about positional arguments that begin with a dash.
    const [what = ''] = (error as Error).message.split(/\. |\n/)
    throw new SoakUsageError(what)
  }
}
