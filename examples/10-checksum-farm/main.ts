/**
 * The checksum farm: SHA-256, size and lines of every file under a directory, computed on three nodes in three
 * processes that find each other. Half-way one of them is killed with SIGKILL; nothing is lost, and it comes back. More
 * nodes may be started while it works, and stopped again.
 *
 *     npm start                      the files that git tracks here
 *     npm start -- DIRECTORY         every file under DIRECTORY
 *     npm run farm:node -- --join X  one more node; the farm prints the command
 */
import { access, constants, rename, stat, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { startNode } from '@understudy/cluster'
import { child, nodePlatform, silentLogger, supervisor } from '@understudy/runtime'
import { Checksum, type FileDigest } from './checksum.ts'
import { farm } from './farm.ts'
import { MeetingPlace } from './meeting-place.ts'
import { forkWorker, nodeProcess, NodeProcess, Processes } from './node-process.ts'
import { reader } from './reader.ts'
import { RollCall } from './roll-call.ts'
import { printable, Screen, summary } from './screen.ts'
import { checksumLine } from './sha256sum-format.ts'
import { NodeStats } from './worker-node.ts'

const help = `Usage: npm start -- [DIRECTORY] [--output FILE]

Computes the SHA-256, size and lines of files on three nodes, kills one of them half-way, and goes on.

  DIRECTORY       every file under it counts (default: the files that git tracks here; without git all
                  but dot folders, node_modules, dist and logs)
  --output FILE   where to write, in the format of sha256sum (default: checksums.txt)
  --help          this text

While it works, one more node can be started from another terminal, by the command that it prints, and
stopped again; any number of them.

Exit code: 0 when every file has a checksum or is listed with the reason why it has none; 2 when the
directory cannot be used. UNDERSTUDY_LOG=info shows the nodes' own log on standard error.`

const nodeNames = ['a', 'b', 'c']
const underWayMax = 48

async function main(): Promise<number> {
  let given: ReturnType<typeof readArguments>
  try {
    given = readArguments()
  } catch (error) {
    console.error(`${(error as Error).message}. Try: npm start -- --help`)
    return 2
  }
  const { values, positionals } = given
  if (values.help) {
    console.log(help)
    return 0
  }
  const root = path.resolve(positionals[0] ?? '.')
  const output = path.resolve(values.output)
  const problem =
    (positionals.length > 1 ? 'give one directory, or none' : await directoryProblem(root)) ??
    (await outputProblem(output))
  if (problem !== undefined) {
    console.error(`Cannot compute checksums: ${problem}. Try: npm start -- --help`)
    return 2
  }
  return await runFarm(root, positionals.length > 0, output)
}

function readArguments() {
  return parseArgs({
    options: {
      output: { type: 'string', default: 'checksums.txt' },
      help: { type: 'boolean', default: false },
    },
    allowPositionals: true,
  })
}

/** Found out before the work is done, not after. */
async function outputProblem(output: string): Promise<string | undefined> {
  try {
    if ((await stat(output)).isDirectory()) return `the output "${output}" is a directory`
  } catch {
    // Not there yet: the usual case.
  }
  try {
    await access(path.dirname(output), constants.W_OK)
    return undefined
  } catch (error) {
    return `the output "${output}" cannot be written (${(error as NodeJS.ErrnoException).code ?? String(error)})`
  }
}

async function directoryProblem(root: string): Promise<string | undefined> {
  try {
    return (await stat(root)).isDirectory() ? undefined : `"${root}" is not a directory`
  } catch (error) {
    return `"${root}" cannot be read (${(error as NodeJS.ErrnoException).code ?? String(error)})`
  }
}

async function runFarm(root: string, everything: boolean, output: string): Promise<number> {
  const results = new Map<string, FileDigest>()
  const failures = new Map<string, string>()
  const draft = `${output}.draft`
  const platform = nodePlatform(process.env['UNDERSTUDY_LOG'] === undefined ? { log: silentLogger } : {})
  const { clock } = platform
  const startedMs = clock.monotonicMs()
  const screen = new Screen(process.stdout.isTTY, startedMs)
  const say = (text: string): void => screen.say(text, clock.monotonicMs())
  const secret = Buffer.from(platform.secureBytes(24)).toString('base64')
  await using meetingPlace = await MeetingPlace.open(secret)

  const processes = nodeNames.map((name) =>
    child(
      `node-${name}`,
      nodeProcess,
      { name, join: meetingPlace.directory },
      {
        backoff: { minMs: 300, maxMs: 5_000 },
        shutdownMs: 10_000,
      },
    ),
  )

  // The farm's own node owns nothing: it asks, and supervises the processes of the others.
  await using node = await startNode({
    name: 'farm',
    listen: 'ws://127.0.0.1:0',
    secret,
    weight: 0,
    // They look for the farm until its address is published.
    root: supervisor({ intensity: { restarts: 5, withinMs: 10_000 } }, processes),
    services: [Processes.provide({ start: forkWorker })],
    platform,
    handleSignals: false,
  })
  const { system } = node
  await meetingPlace.publish(node.address)
  say(`one more node, from another terminal: npm run farm:node -- --join ${meetingPlace.directory}`)

  let isWritten = false
  // Ctrl-C: the nodes are stopped in order, and whatever the main flow still waits for is of no interest any more.
  for (const [signal, code] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const) {
    process.once(signal, () => {
      screen.end()
      const written = isWritten ? '' : `; ${printable(relative(output))} is not written`
      console.error(`${signal}: stopping the nodes${written}`)
      void node
        .shutdown(signal)
        .then(() => meetingPlace[Symbol.asyncDispose]())
        .then(() => process.exit(code))
    })
  }

  let restarts = 0
  system.events.on('actor-restarted', ({ path: actorPath, error, delayMs }) => {
    restarts++
    say(`${actorPath} restarts in ${Math.round(delayMs)} ms: ${error?.message ?? 'it stopped'}`)
  })
  const rollCall = new RollCall(node, nodeNames, say)
  await rollCall.whenPresent(nodeNames)
  say(`the nodes are up: ${[...rollCall.present].sort().join(', ')}`)

  const farmRef = system.spawn('farm', farm, {
    underWayMax,
    worker: (file) => node.entity(Checksum, file),
    ownerOf: (file) => node.ownerOf(Checksum, file) ?? '',
    results,
    failures,
  })
  const exclude = [output, draft]
  system.spawn('reader', reader, { root, everything, exclude, farm: farmRef }).tell({ type: 'walk' })

  const forEver = { timeoutMs: Number.POSITIVE_INFINITY, signal: new AbortController().signal }
  const glance = async (): Promise<void> => {
    const progress = await farmRef.ask({ type: 'progress' })
    if (isStopping()) return
    const { names, present } = rollCall
    screen.glance(
      { progress, nodes: names, living: present, shares: node.shares(), restarts },
      clock.monotonicMs(),
    )
  }
  // A glance that fails shows nothing; the main flow meets the same failure and says so.
  const ticker = setInterval(() => void glance().catch(() => undefined), 100)

  const isStopping = (): boolean => system.coordinatedShutdown.isRunning()
  const never = new Promise<never>(() => undefined)
  /** As the promise, but never once the farm is being stopped: whatever follows would be said behind the last word. */
  const whenUp = <T>(promise: Promise<T>): Promise<T> =>
    promise.then(
      (value) => (isStopping() ? never : value),
      (error: unknown) => {
        if (isStopping()) return never
        throw error
      },
    )
  const finished = farmRef.ask({ type: 'finished' }, forEver)
  // Awaited below, behind the half-way mark: until then a failure is not unhandled.
  finished.catch(() => undefined)
  const half = await whenUp(farmRef.ask({ type: 'halfWay' }, forEver))
  const busiest = [...nodeNames].sort(
    (x, y) => (half.underWay[y] ?? 0) - (half.underWay[x] ?? 0),
  )[0] as string
  say(
    `half-way (${half.done + half.failed} of ${half.found}): kill -9 node ${busiest}, with ${half.underWay[busiest] ?? 0} files under way`,
  )
  const down = new Promise<void>((resolve) => {
    node.events.on('member-down', ({ name }) => {
      if (name === busiest) resolve()
    })
  })
  system.ref(NodeProcess, `/user/node-${busiest}`).tell({ type: 'kill' })

  const progress = await whenUp(finished)
  say(`all ${progress.found} files are settled; waiting for node ${busiest} to rejoin`)
  await whenUp(down)
  await whenUp(rollCall.whenPresent(nodeNames))
  clearInterval(ticker)
  await glance()
  screen.end()

  let workerRestarts = 0
  for (const name of rollCall.present) {
    const stats = node.ref(NodeStats, name, '/user/stats')
    // One that leaves at this very moment takes its figure with it.
    workerRestarts += await stats.ask({ type: 'restarts' }).catch(() => 0)
  }
  await whenUp(Promise.resolve())
  const seconds = (clock.monotonicMs() - startedMs) / 1_000
  console.log(summary(progress, rollCall.names, results, restarts + workerRestarts, seconds))
  for (const [file, reason] of [...failures].sort(byName)) {
    console.log(`failed: ${printable(relative(file))}: ${printable(reason)}`)
  }
  const lines = [...results].sort(byName).map(([file, { sha256 }]) => checksumLine(sha256, relative(file)))
  await writeFile(draft, lines.join(''))
  await rename(draft, output)
  isWritten = true
  console.log(
    `wrote ${printable(relative(output))}; check it with: sha256sum -c ${printable(relative(output))}`,
  )
  return 0
}

function relative(file: string): string {
  return path.relative(process.cwd(), file) || '.'
}

function byName(a: readonly [string, unknown], b: readonly [string, unknown]): number {
  return a[0] < b[0] ? -1 : 1
}

// A reader that went away (`| head`) is no reason for a stack trace.
process.stdout.on('error', () => process.exit(1))
process.exitCode = await main()
