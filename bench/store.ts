/**
 * `npm run bench -- store`: the store for logs beside LevelDB and beside the bare limit (one synchronous write to a file that is
 * there already), in one process and one directory, in turns. What is written is what a consensus group writes: an entry under
 * an ascending key and a small key that is always the same, with the oldest entries deleted.
 */
import { constants } from 'node:fs'
import { mkdtemp, open, rm } from 'node:fs/promises'
import { availableParallelism, cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { fileStore, segmentStore, type Store, type StoreChange } from '@understudy/runtime'

const help = `npm run bench -- store [options]

  --quick          fewer rounds
  --rounds N       default 9
  --dir DIRECTORY  where the stores lie; default the system's directory for temporary files
`

/** What is timed. */
interface Target {
  readonly append: (entry: Uint8Array, n: number) => Promise<unknown>
  readonly close: () => Promise<void>
}

interface Run {
  readonly meanMs: number
  readonly p50Ms: number
  readonly p99Ms: number
  readonly cpuUs: number
}

const systems: Readonly<Record<string, (directory: string) => Promise<Target>>> = {
  limit: openLimit,
  segments: async (directory) => storeTarget(await segmentStore(join(directory, 'segments'))),
  leveldb: async (directory) => storeTarget(await fileStore(join(directory, 'leveldb'))),
}

const workloads = [1_024, 20_480].flatMap((bytes) => [1, 4].map((writers) => ({ bytes, writers })))
/** Entries that are alive at a time. */
const keptEntries = 500

/** Exit code 2 for a wrong command line. */
export async function benchStore(args: readonly string[]): Promise<number> {
  let rounds: number
  let parent: string
  try {
    const { values } = parseArgs({
      args: [...args],
      options: {
        quick: { type: 'boolean' },
        help: { type: 'boolean' },
        rounds: { type: 'string' },
        dir: { type: 'string' },
      },
    })
    if (values.help === true) {
      process.stdout.write(help)
      return 0
    }
    rounds = Number(values.rounds ?? (values.quick === true ? 3 : 9))
    if (!(Number.isInteger(rounds) && rounds >= 1 && rounds <= 101))
      throw new RangeError(`--rounds "${values.rounds}": give a whole number from 1 to 101`)
    parent = values.dir ?? tmpdir()
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n\n${help}`)
    return 2
  }
  const directory = await mkdtemp(join(parent, 'understudy-bench-store-'))
  try {
    await measure(directory, rounds)
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
  return 0
}

async function measure(directory: string, rounds: number): Promise<void> {
  const model = cpus()[0]?.model.trim() ?? process.arch
  process.stdout.write(
    `Node ${process.versions.node}, ${availableParallelism()} x ${model}; ${rounds} rounds: medians; ` +
      'processor: all threads of the process\n\n' +
      'entry    writers  system      ms an append      p50       p99   processor   beside LevelDB: time, processor\n',
  )
  const targets = new Map<string, Target>()
  for (const [name, opener] of Object.entries(systems)) targets.set(name, await opener(directory))
  let next = 0
  for (const { bytes, writers } of workloads) {
    const runs = new Map<string, Run[]>()
    for (let round = 0; round <= rounds; round++) {
      for (const [name, target] of targets) {
        const count = round === 0 ? 200 : 400
        const run = await timed(target, bytes, writers, next, count)
        next += count
        // The first one warms up.
        if (round > 0) runs.set(name, [...(runs.get(name) ?? []), run])
      }
    }
    const base = median(runs.get('leveldb') ?? [])
    for (const [name, all] of runs) {
      const row = median(all)
      process.stdout.write(
        `${`${bytes / 1_024} KiB`.padEnd(8)} ${String(writers).padEnd(8)} ${name.padEnd(10)} ` +
          `${row.meanMs.toFixed(3).padStart(13)} ${row.p50Ms.toFixed(3).padStart(8)} ${row.p99Ms.toFixed(2).padStart(9)} ` +
          `${row.cpuUs.toFixed(0).padStart(8)} us   ` +
          `${(row.meanMs / base.meanMs).toFixed(2).padStart(19)}, ${(row.cpuUs / base.cpuUs).toFixed(2)}\n`,
      )
    }
  }
  for (const target of targets.values()) await target.close()
}

async function timed(
  target: Target,
  bytes: number,
  writers: number,
  from: number,
  count: number,
): Promise<Run> {
  const entry = new Uint8Array(bytes).map((_, i) => i * 31 + from)
  const times: number[] = []
  let started = 0
  const before = process.cpuUsage()
  const startMs = performance.now()
  const writer = async (): Promise<void> => {
    while (started < count) {
      const n = from + started++
      const atMs = performance.now()
      await target.append(entry, n)
      times.push(performance.now() - atMs)
    }
  }
  await Promise.all(Array.from({ length: writers }, writer))
  const meanMs = (performance.now() - startMs) / count
  const { user, system } = process.cpuUsage(before)
  times.sort((a, b) => a - b)
  return {
    meanMs,
    p50Ms: times[Math.floor(count / 2)] ?? 0,
    p99Ms: times[Math.floor(count * 0.99)] ?? 0,
    cpuUs: (user + system) / count,
  }
}

function median(runs: readonly Run[]): Run {
  const of = (pick: (run: Run) => number): number =>
    runs.map(pick).sort((a, b) => a - b)[Math.floor(runs.length / 2)] ?? 0
  return {
    meanMs: of((run) => run.meanMs),
    p50Ms: of((run) => run.p50Ms),
    p99Ms: of((run) => run.p99Ms),
    cpuUs: of((run) => run.cpuUs),
  }
}

function storeTarget(store: Store): Target {
  const hard = new Uint8Array(20).fill(1)
  const keys: string[] = []
  return {
    append: (entry, n) => {
      const key = `log/${String(n).padStart(10, '0')}`
      keys.push(key)
      const batch: StoreChange[] = [
        { type: 'put', key, value: entry },
        { type: 'put', key: 'hard', value: hard },
      ]
      if (keys.length > keptEntries) batch.push({ type: 'delete', key: keys.shift() ?? '' })
      return store.write(batch)
    },
    close: () => store.close(),
  }
}

/** Writes in a circle; several at once are several writes. */
async function openLimit(directory: string): Promise<Target> {
  const fileBytes = 33_554_432
  // Where there is no O_DSYNC the limit is too low a one.
  const handle = await open(
    join(directory, 'limit'),
    constants.O_RDWR | constants.O_CREAT | (constants.O_DSYNC ?? 0),
  )
  await handle.write(new Uint8Array(fileBytes), 0, fileBytes, 0)
  let at = 0
  return {
    append: (entry) => {
      if (at + entry.length > fileBytes) at = 0
      const from = at
      at += entry.length
      return handle.write(entry, 0, entry.length, from)
    },
    close: () => handle.close(),
  }
}
