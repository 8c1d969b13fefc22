/**
 * A replicated key-value store on three nodes with disks of their own, and a prompt to use it and to break it.
 *
 *     npm run kv
 */
import { join, relative, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { startNode, type ClusterNode } from '@understudy/cluster'
import {
  child,
  createSystem,
  nodePlatform,
  silentLogger,
  supervisor,
  type ActorSystem,
} from '@understudy/runtime'
import { freeAddresses } from '../processes/free-addresses.ts'
import { Fleet } from './fleet.ts'
import type { KvNodeSettings } from './kv-node.ts'
import { Herald, nodeProcess } from './node-process.ts'
import { Shell } from './shell.ts'
import { memberRole } from './steering.ts'
import { Terminal } from './terminal.ts'

const help = `Usage: npm run kv -- [--data DIR] [--timeout SECONDS]

Three nodes in three processes on this machine keep one key-value store, each with its own data directory. Type
commands at the prompt ("help" lists them), or pipe them in: then each line is answered before the next is read.

  --data DIR          where the nodes keep their data; it stays when they end (default: kv-data)
  --timeout SECONDS   how long a command tries before it says that it was not done, or that nobody knows (default: 10)
  --help              this text

Exit code: 0; 1 when a piped command failed, or the nodes cannot be kept up; 2 when the arguments are wrong.
UNDERSTUDY_LOG=info shows the nodes' own log on standard error.`

const names = ['a', 'b', 'c']
/** How long the prompt waits for a leader before it comes all the same. */
const readyMs = 30_000

async function main(): Promise<number> {
  let data: string
  let timeoutMs: number
  try {
    const { values } = parseArgs({
      options: {
        data: { type: 'string', default: 'kv-data' },
        timeout: { type: 'string', default: '10' },
        help: { type: 'boolean', default: false },
      },
    })
    if (values.help) {
      console.log(help)
      return 0
    }
    if (values.data === '') throw new RangeError('--data must name a directory, got ""')
    data = resolve(values.data)
    timeoutMs = Number(values.timeout) * 1_000
    if (!(timeoutMs >= 100 && timeoutMs <= 3_600_000)) {
      throw new RangeError(`--timeout must be from 0.1 to 3600 seconds, got "${values.timeout}"`)
    }
  } catch (error) {
    console.error(`${(error as Error).message}. Try: npm run kv -- --help`)
    return 2
  }
  return await serve(data, timeoutMs)
}

async function serve(data: string, timeoutMs: number): Promise<number> {
  const terminal = new Terminal()
  const directories = new Map(names.map((name) => [name, shorter(join(data, name))]))
  const fleet = new Fleet(directories, (text) => terminal.report(text))
  const secret = Buffer.from(nodePlatform().secureBytes(24)).toString('base64')
  const addresses = await freeAddresses(names)
  const node = await startPromptNode(addresses, secret)
  const system = await startProcesses(fleet, (name) => ({
    name,
    listen: addresses.get(name) ?? '',
    seeds: [node.address, ...addresses.values()],
    members: names,
    secret,
    data: join(data, name),
  }))
  const shell = new Shell(node, fleet, terminal, timeoutMs)
  let code: number
  try {
    code = await Promise.race([
      converse(fleet, terminal, shell, data),
      // Whatever is under way then is given up.
      terminal.interrupted.then(() => 0),
      signalled().then(() => 0),
      // Too many restarts end the supervisor.
      system.terminated.then(() => 1),
    ])
  } catch (error) {
    console.error((error as Error).message)
    code = 1
  }
  fleet.hush()
  terminal.close()
  console.log('The nodes end; their data stays')
  await shell.close()
  await system.shutdown('quit')
  await node.shutdown('quit')
  return code
}

async function converse(fleet: Fleet, terminal: Terminal, shell: Shell, data: string): Promise<number> {
  console.log(`Three nodes begin; they keep their data in ${shorter(data)}`)
  if (!(await fleet.whenReady(readyMs))) return 0
  console.log(instructions(fleet))
  let code = 0
  for await (const line of terminal.lines()) {
    const done = await shell.run(line)
    if (done === 'quit') break
    if (!done && !process.stdin.isTTY) code = 1
  }
  return code
}

function signalled(): Promise<void> {
  return new Promise((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => resolve())
  })
}

/** The prompt's own node: it reaches the others, owns nothing, and has no say. */
function startPromptNode(addresses: ReadonlyMap<string, string>, secret: string): Promise<ClusterNode> {
  return startNode({
    name: 'prompt',
    listen: 'ws://127.0.0.1:0',
    seeds: [...addresses.values()],
    secret,
    expect: 2,
    weight: 0,
    downing: { strategy: 'keep-majority', role: memberRole },
    platform: nodePlatform({ log: silentLogger }),
    handleSignals: false,
  })
}

/** The three processes under a supervisor of their own, which cares for nothing that happens in the cluster. */
async function startProcesses(
  fleet: Fleet,
  settingsOf: (name: string) => KvNodeSettings,
): Promise<ActorSystem> {
  const processes = names.map((name) =>
    child(name, nodeProcess, settingsOf(name), {
      backoff: { minMs: 1_000, maxMs: 5_000, jitter: 0 },
      shutdownMs: 15_000,
    }),
  )
  const herald = Herald.provide({
    started: (name, pid) => fleet.started(name, pid),
    said: (name, report) => fleet.said(name, report),
  })
  const system = await createSystem(
    'kv',
    supervisor({ intensity: { restarts: 30, withinMs: 60_000 } }, processes),
    { platform: nodePlatform({ log: silentLogger }), services: [herald], handleSignals: false },
  )
  system.events.on('actor-restarted', ({ path, error, delayMs }) => {
    const name = path.replace('/user/', '')
    if (names.includes(name)) fleet.ended(name, error?.message ?? 'its process ended', delayMs)
  })
  return system
}

function instructions({ nodes, leader }: Fleet): string {
  const rows = nodes.map(({ name, pid, directory }) => {
    return `  node ${name}   process ${String(pid).padEnd(7)} ${directory}${name === leader ? '   leads' : ''}`
  })
  const note =
    leader === ''
      ? `
Nobody leads, and so nothing can be written: "status" may say why. If the disks of two nodes were lost, the store is
lost, too: quit, delete its directory, and begin anew.
`
      : ''
  return `
${rows.join('\n')}
${note}
Try: put greeting hello, then get greeting, then watch greet. "help" lists all commands, "status" shows the nodes.
Then break something: kill leader, stop b, wipe c. What was acknowledged stays.
`
}

/** The path from here, when that is shorter. */
function shorter(path: string): string {
  const short = relative('.', path)
  return short !== '' && short.length < path.length ? short : path
}

process.exitCode = await main()
