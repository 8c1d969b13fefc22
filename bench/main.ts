/**
 * `npm run bench`: measures this project's actors, the bare limit and the installed peers in one run.
 * Progress goes to stderr, the tables to stdout. Exit code 1 when a system broke, 2 for a wrong command line;
 * a missed target is shown but is not an error, since a busy machine can miss it too.
 */
import { writeFile } from 'node:fs/promises'
import { availableParallelism, cpus } from 'node:os'
import { BENCH_HELP, BenchUsageError, parseBenchOptions, type BenchOptions } from './harness/options.ts'
import { runBenchmarks } from './harness/runner.ts'
import { renderOverview, renderRows, type TableOptions } from './harness/table.ts'
import { benchLanes } from './lanes.ts'
import { benchLocks } from './locks.ts'
import { benchMembership } from './membership.ts'
import { benchRaft } from './raft.ts'
import { benchSimulation } from './simulation.ts'
import { benchStore } from './store.ts'
import { LIMIT_NAME, SYSTEMS } from './systems/registry.ts'

const SYSTEM_NAMES = SYSTEMS.map((entry) => entry.name)

process.exitCode = await main(process.argv.slice(2))

async function main(args: readonly string[]): Promise<number> {
  if (args[0] === 'membership') return benchMembership(args.slice(1))
  if (args[0] === 'sim') return benchSimulation(args.slice(1))
  if (args[0] === 'lanes') return benchLanes(args.slice(1))
  if (args[0] === 'locks') return benchLocks(args.slice(1))
  if (args[0] === 'raft') return benchRaft(args.slice(1))
  if (args[0] === 'store') return benchStore(args.slice(1))
  let options: BenchOptions
  try {
    options = parseBenchOptions(args, SYSTEM_NAMES)
  } catch (error) {
    if (!(error instanceof BenchUsageError)) throw error
    process.stderr.write(`${error.message}\n`)
    return 2
  }
  if (options.help) {
    process.stdout.write(`${BENCH_HELP}Systems: ${SYSTEM_NAMES.join(', ')}\n`)
    return 0
  }
  return await run(options)
}

async function run(options: BenchOptions): Promise<number> {
  const startMs = performance.now()
  const progress = (line: string): void => {
    const seconds = ((performance.now() - startMs) / 1_000).toFixed(0).padStart(4)
    process.stderr.write(`${seconds} s  ${line}\n`)
  }
  const entries = SYSTEMS.filter((entry) => options.systems.includes(entry.name))
  const { rows, gaps, failures } = await runBenchmarks(entries, options, progress)
  const table: TableOptions = {
    workloads: options.only,
    systems: entries.map((entry) => entry.name),
    own: entries.filter((entry) => entry.kind === 'own').map((entry) => entry.name),
    limit: LIMIT_NAME,
  }
  process.stdout.write(
    `\n${machine()}; ${options.quick ? 'quick run, ' : ''}ratio = median / median of ${LIMIT_NAME}\n\n`,
  )
  process.stdout.write(`${renderRows(rows, gaps, table)}\n`)
  if (entries.length > 1)
    process.stdout.write(`\nMedians side by side\n${renderOverview(rows, gaps, table)}\n`)
  if (options.json !== undefined) await writeFile(options.json, `${JSON.stringify(rows, undefined, 2)}\n`)
  for (const failure of failures) process.stderr.write(`failed: ${failure}\n`)
  return failures.length === 0 ? 0 : 1
}

function machine(): string {
  const model = cpus()[0]?.model.trim() ?? process.arch
  return `Node ${process.versions.node}, ${availableParallelism()} x ${model}`
}
