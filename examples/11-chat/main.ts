/**
 * A chat on three nodes, each with the same page: kill one, and its visitors go on at another.
 *
 *     npm run chat
 */
import { once } from 'node:events'
import { createServer, type AddressInfo, type Server } from 'node:net'
import { parseArgs } from 'node:util'
import { child, createSystem, nodePlatform, silentLogger, supervisor } from '@understudy/runtime'
import { Herald, nodeProcess } from './node-process.ts'

const help = `Usage: npm run chat -- [--port NUMBER]

Serves a chat on three nodes in three processes on this machine, until Ctrl-C.

  --port NUMBER   the first of three ports in a row; 0 takes any that are free (default: 8101)
  --help          this text

Exit code: 0 after Ctrl-C; 1 when the nodes cannot be kept up; 2 when the ports cannot be had.
UNDERSTUDY_LOG=info shows the nodes' own log on standard error.`

const names = ['a', 'b', 'c']

async function main(): Promise<number> {
  let port: number
  try {
    const { values } = parseArgs({
      options: { port: { type: 'string', default: '8101' }, help: { type: 'boolean', default: false } },
    })
    if (values.help) {
      console.log(help)
      return 0
    }
    port = /^\d{1,5}$/.test(values.port) ? Number(values.port) : Number.NaN
    if (!(port <= 65_533)) throw new RangeError(`--port must be from 0 to 65533, got "${values.port}"`)
  } catch (error) {
    console.error(`${(error as Error).message}. Try: npm run chat -- --help`)
    return 2
  }
  let ports: readonly number[]
  try {
    ports = await freePorts(port)
  } catch (error) {
    console.error(`Cannot serve the chat: ${(error as Error).message}. Try: npm run chat -- --port 0`)
    return 2
  }
  return await serve(ports)
}

async function serve(ports: readonly number[]): Promise<number> {
  const platform = nodePlatform({ log: silentLogger })
  const startedMs = platform.clock.monotonicMs()
  const say = (text: string): void => {
    console.log(`${((platform.clock.monotonicMs() - startedMs) / 1_000).toFixed(1).padStart(6)} s  ${text}`)
  }
  const secret = Buffer.from(platform.secureBytes(24)).toString('base64')
  const addresses = Object.fromEntries(names.map((name, index) => [name, `ws://127.0.0.1:${ports[index]}`]))
  const pids = new Map<string, number>()
  const up = (name: string, pid: number): void => {
    const isBack = pids.has(name)
    pids.set(name, pid)
    if (isBack) say(`node ${name} is back; kill it again with: kill -9 ${pid}`)
    else if (pids.size === names.length) console.log(instructions(ports, pids))
  }
  const processes = names.map((name) =>
    child(
      name,
      nodeProcess,
      { name, addresses, secret },
      {
        backoff: { minMs: 1_000, maxMs: 5_000 },
        shutdownMs: 15_000,
      },
    ),
  )
  const system = await createSystem(
    'chat',
    supervisor({ intensity: { restarts: 20, withinMs: 60_000 } }, processes),
    { platform, services: [Herald.provide({ up })], handleSignals: false },
  )
  system.events.on('actor-restarted', ({ error, delayMs }) => {
    say(
      `${error?.message ?? 'a process ended'}; it starts again in ${Math.round(delayMs)} ms. Its pages go elsewhere`,
    )
  })
  let isAsked = false
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => {
      isAsked = true
      say(`${signal}: the nodes leave, one after the other`)
      void system.shutdown(signal)
    })
  }
  await system.terminated
  return isAsked ? 0 : 1
}

function instructions(ports: readonly number[], pids: ReadonlyMap<string, number>): string {
  const rows = names.map(
    (name, index) => `  node ${name}   http://127.0.0.1:${ports[index]}/   kill -9 ${pids.get(name)}`,
  )
  return `Three nodes serve one chat. Open two or three of these pages, and write:

${rows.join('\n')}

Then kill a node, by its command in another terminal. Its page says "reconnecting", and within a moment that
it is on another node; nothing that was said is lost or shown twice, and what you write meanwhile is sent
then. A page shows who owns its room: kill that one, too. Ctrl-C ends it all.
`
}

/** The ports from `first` on, or any if that is 0. Throws when one is taken. They stay the same when a node comes back. */
async function freePorts(first: number): Promise<readonly number[]> {
  const servers: Server[] = []
  try {
    for (const index of names.keys()) {
      const server = createServer().listen(first === 0 ? 0 : first + index, '127.0.0.1')
      servers.push(server)
      await once(server, 'listening')
    }
    return servers.map((server) => (server.address() as AddressInfo).port)
  } finally {
    await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))))
  }
}

process.exitCode = await main()
