/**
 * The command line of `npm run bench`: parsing, defaults, and the help text.
 */
import { parseArgs } from 'node:util'
import { isWorkloadName, WORKLOAD_NAMES, type WorkloadName } from './workload.ts'

/** What a run does. */
export interface BenchOptions {
  /** Wanted length of one run of one workload. */
  readonly sampleMs: number
  /** Measured rounds of the project's systems and the limit. */
  readonly rounds: number
  /** Measured rounds of each peer; at most `rounds`. */
  readonly roundsPeer: number
  readonly quick: boolean
  /** Workloads to run, in table order. */
  readonly only: readonly WorkloadName[]
  /** Systems to run, in table order. */
  readonly systems: readonly string[]
  /** File that gets the rows as a JSON array, or undefined. */
  readonly json: string | undefined
  readonly help: boolean
}

/** A command line that cannot be obeyed; the message says what would be right. */
export class BenchUsageError extends Error {
  readonly code = 'BenchUsage'
  override readonly name = 'BenchUsageError'
}

/** Length and number of runs, by mode. */
export const BENCH_DEFAULTS = Object.freeze({
  full: Object.freeze({ sampleMs: 300, rounds: 9, roundsPeer: 5 }),
  quick: Object.freeze({ sampleMs: 100, rounds: 5, roundsPeer: 3 }),
})

/** Rounds that `--rounds` accepts at most, so that a slip of the finger does not take a day. */
export const ROUNDS_MAX = 101

const { full, quick: brief } = BENCH_DEFAULTS

/** Printed by `--help`. */
export const BENCH_HELP = `Usage: npm run bench -- [options]

  --quick              short runs and fewer rounds: a table in under three minutes
  --only NAME,...      only these workloads
  --systems NAME,...   only these systems (ratios need "limit" among them)
  --rounds N           measured rounds (default ${full.rounds}, quick ${brief.rounds})
  --json FILE          write the rows to FILE: { workload, system, unit, median, min, max, runs }
  --help               print this

       npm run bench -- sim [--quick]

  the simulator: messages a second of one core, memory of a hundred nodes, a checker on 10,000 operations

       npm run bench -- raft [--quick]

  the replicated key-value store beside etcd and a bare replicated log: load, failover, many groups

       npm run bench -- locks [--quick]

  lock and unlock, and the hand-over of a lock, beside etcd, ZooKeeper, Redis and two commits to a bare log

       npm run bench -- lanes [--quick]

  lanes and back-pressure between two processes: round trips beside 100 MB transfers, a slow consumer, the first ask

Peers run when installed: npm run bench:peers
Workloads: ${WORKLOAD_NAMES.join(', ')}
`

/**
 * Reads the arguments after the script name. Throws `BenchUsageError` for an unknown option, workload or
 * system, or a number out of range.
 */
export function parseBenchOptions(args: readonly string[], systemNames: readonly string[]): BenchOptions {
  const values = parse(args)
  const quick = values.quick ?? false
  const defaults = quick ? BENCH_DEFAULTS.quick : BENCH_DEFAULTS.full
  const rounds = values.rounds === undefined ? defaults.rounds : parseRounds(values.rounds)
  const only = selection('workload', values.only, WORKLOAD_NAMES)
  return {
    sampleMs: defaults.sampleMs,
    rounds,
    roundsPeer: values.rounds === undefined ? defaults.roundsPeer : rounds,
    quick,
    only: only.filter(isWorkloadName),
    systems: selection('system', values.systems, systemNames),
    json: values.json,
    help: values.help ?? false,
  }
}

interface RawOptions {
  readonly quick?: boolean
  readonly help?: boolean
  readonly only?: string
  readonly systems?: string
  readonly rounds?: string
  readonly json?: string
}

function parse(args: readonly string[]): RawOptions {
  try {
    return parseArgs({
      args: [...args],
      options: {
        quick: { type: 'boolean' },
        help: { type: 'boolean', short: 'h' },
        only: { type: 'string' },
        systems: { type: 'string' },
        rounds: { type: 'string' },
        json: { type: 'string' },
      },
    }).values
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    throw new BenchUsageError(`${reason} (see --help)`, { cause: error })
  }
}

function parseRounds(text: string): number {
  const rounds = Number(text)
  if (Number.isInteger(rounds) && rounds >= 1 && rounds <= ROUNDS_MAX) return rounds
  throw new BenchUsageError(`--rounds "${text}": give a whole number from 1 to ${ROUNDS_MAX}`)
}

/** The chosen names in the order of `known`; all of them when the option is absent. */
function selection(noun: string, text: string | undefined, known: readonly string[]): readonly string[] {
  if (text === undefined) return known
  const wanted = text
    .split(',')
    .map((word) => word.trim())
    .filter((word) => word !== '')
  const unknown = wanted.find((word) => !known.includes(word))
  if (unknown !== undefined) {
    throw new BenchUsageError(`no ${noun} is called "${unknown}": give some of ${known.join(', ')}`)
  }
  if (wanted.length === 0) throw new BenchUsageError(`no ${noun} given: give some of ${known.join(', ')}`)
  return known.filter((name) => wanted.includes(name))
}
