/** What the benches that load servers have in common on the command line: their options, their help, and how they say how far they are. */
import { availableParallelism, cpus, tmpdir } from 'node:os'
import { parseArgs } from 'node:util'
import type { EtcdClientKind } from '../raft/etcd-client.ts'
import { probeDisk } from './disk-probe.ts'
import { inScratchDirectory } from './process-ends.ts'

/** How often and for how long is measured. */
export interface LoadTimes {
  readonly rounds: number
  readonly runMs: number
}

/** Options that every such bench has. */
export interface LoadOptions<Times extends LoadTimes> {
  readonly isQuick: boolean
  readonly times: Times
  readonly etcdClient: EtcdClientKind
  /** Where data lies while it runs. */
  readonly directory: string
  /** For the processes of this project. */
  readonly execArgv: readonly string[]
  /** Where all rows are written. */
  readonly json: string | undefined
  /** What was given to the options of this bench alone. */
  readonly own: Readonly<Record<string, string | undefined>>
}

/** A bench's command line. */
export interface LoadCommand<Times extends LoadTimes, Options> {
  /** For its scratch directory. */
  readonly name: string
  /** Its own options; `sharedHelp` follows. */
  readonly help: string
  readonly full: Times
  readonly quick: Times
  /** Names of its own options. Each takes a text. */
  readonly own: readonly string[]
  /** @throws {RangeError} what is wrong with them */
  readonly check: (options: LoadOptions<Times>) => Options
  readonly run: (options: Options, directory: string) => Promise<number>
}

/** Says a line, and when. */
export type Progress = (line: string) => void

const sharedHelp = `\
  --rounds N                of each run
  --etcd-client lean|http2  how etcd's client calls: as Node's gRPC library does, or with frames
                            written by hand, which takes least from what it measures. Default http2
  --dir DIRECTORY           where data lies while it runs; default the system's directory for temporary files
  --cpu-prof DIRECTORY      writes V8 profiles of this project's processes; the figures are then worse
  --json FILE               writes all rows
`

/** Runs a bench. Exit code 1 when a system broke, 2 for a wrong command line. */
export async function runLoadCommand<Times extends LoadTimes, Options>(
  command: LoadCommand<Times, Options>,
  args: readonly string[],
): Promise<number> {
  const help = command.help + sharedHelp
  let options: Options
  let parent: string
  try {
    const given = parse(command, args)
    if (given === 'help') {
      process.stdout.write(help)
      return 0
    }
    options = command.check(given)
    parent = given.directory
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n\n${help}`)
    return 2
  }
  return await inScratchDirectory(parent, `understudy-bench-${command.name}-`, (directory) =>
    command.run(options, directory),
  )
}

function parse<Times extends LoadTimes>(
  { full, quick, own }: Pick<LoadCommand<Times, never>, 'full' | 'quick' | 'own'>,
  args: readonly string[],
): LoadOptions<Times> | 'help' {
  const text = { type: 'string' } as const
  const { values } = parseArgs({
    args: [...args],
    options: {
      ...Object.fromEntries(own.map((name) => [name, text])),
      quick: { type: 'boolean' },
      help: { type: 'boolean' },
      rounds: text,
      'etcd-client': text,
      dir: text,
      'cpu-prof': text,
      json: text,
    },
  })
  if (values.help === true) return 'help'
  const isQuick = values.quick ?? false
  const times = isQuick ? quick : full
  const rounds = Number(values.rounds ?? times.rounds)
  if (!(Number.isInteger(rounds) && rounds >= 1 && rounds <= 101))
    throw new RangeError(`--rounds "${values.rounds}": give a whole number from 1 to 101`)
  const etcdClient = values['etcd-client'] ?? 'http2'
  if (etcdClient !== 'lean' && etcdClient !== 'http2')
    throw new RangeError(`--etcd-client "${etcdClient}": give lean or http2`)
  const profiles = values['cpu-prof']
  const all: Readonly<Record<string, string | boolean | undefined>> = values
  return {
    isQuick,
    times: { ...times, rounds },
    etcdClient,
    directory: values.dir ?? tmpdir(),
    execArgv: profiles === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profiles}`],
    json: values.json,
    own: Object.fromEntries(own.map((name) => [name, all[name]?.toString()])),
  }
}

/** Those of `known` that a list names; all without one. @throws {RangeError} when it names another */
export function chosen<Name extends string>(
  option: string,
  text: string | undefined,
  known: readonly Name[],
): readonly Name[] {
  const wanted = text?.split(',') ?? known
  const unknown = wanted.find((name) => !known.some((other) => other === name))
  if (unknown !== undefined) throw new RangeError(`${option} "${unknown}": give some of ${known.join(', ')}`)
  return known.filter((name) => wanted.includes(name))
}

/** Writes to standard error, with the seconds since now. */
export function progressFromNow(): Progress {
  const startMs = performance.now()
  return (line) =>
    process.stderr.write(`${((performance.now() - startMs) / 1_000).toFixed(0).padStart(4)} s  ${line}\n`)
}

/** What stands above the tables: this machine, whom it is compared with, and how it was measured. */
export async function loadHeading(
  others: string,
  { isQuick, times: { rounds, runMs } }: { readonly isQuick: boolean; readonly times: LoadTimes },
  directory: string,
): Promise<string> {
  const disk = (await probeDisk(directory)).toFixed(3)
  return (
    `Node ${process.versions.node}, ${availableParallelism()} x ${cpus()[0]?.model.trim() ?? process.arch}; ${others}` +
    `${isQuick ? 'quick run; ' : ''}${rounds} rounds of ${runMs / 1_000} s: median (least-most); ` +
    `an append of 8 KiB with its fsync: ${disk} ms\n\n`
  )
}
