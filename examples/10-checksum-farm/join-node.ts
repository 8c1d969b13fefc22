/**
 * One more node for a farm that runs, started by a person in another terminal: it joins, gets its share of the files, and
 * may be stopped at any time. What it has begun it finishes; what comes later goes to the others.
 */
import { parseArgs } from 'node:util'
import { startWorker } from './worker-node.ts'

const help = `Usage: npm run farm:node -- --join DIRECTORY

Adds a node to a checksum farm that runs. The farm prints the command with its directory.

  --join DIRECTORY  where the farm meets
  --help            this text

Ctrl-C stops it: it finishes the files that it has, hands over the rest, and says good-bye.
Exit code: 0 when it has left, or the farm was done; 1 when the farm died; 2 when there is none.`

async function main(): Promise<number> {
  let join: string | undefined
  try {
    const { values } = parseArgs({
      options: { join: { type: 'string' }, help: { type: 'boolean', default: false } },
    })
    if (values.help) {
      console.log(help)
      return 0
    }
    join = values.join
  } catch (error) {
    console.error(`${(error as Error).message}. Try: npm run farm:node -- --help`)
    return 2
  }
  if (join === undefined) {
    console.error('Which farm? The farm prints the command, with --join. Try: npm run farm:node -- --help')
    return 2
  }
  return await takePart(join)
}

async function takePart(join: string): Promise<number> {
  const name = `extra-${process.pid}`
  const { node, files } = await startWorker({ name, join, handleSignals: false })
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void node.shutdown(signal))
  let end = { code: 0, text: 'left in good order' }
  node.events.on('member-left', (member) => {
    if (member.name !== 'farm') return
    end = { code: 0, text: 'the farm is done' }
    void node.shutdown(end.text)
  })
  node.events.on('member-down', (member) => {
    if (member.name !== 'farm') return
    end = { code: 1, text: 'the farm died' }
    void node.shutdown(end.text)
  })
  try {
    await node.whenMembers(2, { signal: AbortSignal.timeout(10_000) })
  } catch {
    if (node.system.coordinatedShutdown.isRunning()) return 0
    console.error(`No farm answers at ${join}: it is over, or was killed. Start one with: npm start`)
    await node.shutdown('there is no farm')
    return 2
  }
  const others = node.members().filter((member) => member.name !== name && member.name !== 'farm')
  console.log(
    `node ${name} shares the work with ${others.map((member) => member.name).join(', ')}; Ctrl-C stops it`,
  )
  let shown = 0
  const ticker = setInterval(() => {
    if (files() > shown) console.log(`${(shown = files())} files`)
  }, 200)
  await node.system.terminated
  clearInterval(ticker)
  console.log(`${end.text}, after ${files()} files`)
  return end.code
}

process.exitCode = await main().catch((error: unknown) => {
  if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  console.error('There is no farm there: it is over, or was never started. Start one with: npm start')
  return 2
})
