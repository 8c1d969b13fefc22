/**
 * Two processes, one lock, and a pause that is longer than its lease: what that does to whoever trusts the lock alone, and what
 * a guard makes of it.
 *
 *     npm run lock
 */
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { startNode, type ClusterNode } from '@understudy/cluster'
import { openConsensus, openLocks, openRaftGroup } from '@understudy/protocols'
import { child, nodePlatform, silentLogger, supervisor } from '@understudy/runtime'
import { Forked } from '../processes/forked.ts'
import { interrupted } from '../processes/interrupted.ts'
import { ledger } from './ledger.ts'
import { hostName } from './names.ts'
import type { WorkerOrder, WorkerReport, WorkerSettings } from './words.ts'

const help = `Usage: npm run lock -- [--lease SECONDS] [--rounds NUMBER]

Two workers in two processes each add 1 to a number in a file, again and again, under one lock. In the middle of it one of
them is stopped for twice the lock's lease, between its read and its write. First the file takes whatever comes, then it is
guarded by the lock's fencing token.

  --lease SECONDS   of the lock: whoever is silent for so long has lost it (default: 1)
  --rounds NUMBER   additions by each worker (default: 5)
  --help            this text

Exit code: 0; 1 when something broke that should not; 2 when the arguments are wrong; 130 after Ctrl-C.`

type Worker = Forked<WorkerOrder, WorkerReport>

interface Wishes {
  readonly leaseMs: number
  readonly rounds: number
}

async function main(): Promise<number> {
  let wishes: Wishes
  try {
    const { values } = parseArgs({
      options: {
        lease: { type: 'string', default: '1' },
        rounds: { type: 'string', default: '5' },
        help: { type: 'boolean', default: false },
      },
    })
    if (values.help) {
      console.log(help)
      return 0
    }
    wishes = { leaseMs: Number(values.lease) * 1_000, rounds: Number(values.rounds) }
    if (!(wishes.leaseMs >= 200 && wishes.leaseMs <= 60_000)) {
      throw new RangeError(`--lease must be from 0.2 to 60 seconds, got "${values.lease}"`)
    }
    if (!(Number.isInteger(wishes.rounds) && wishes.rounds >= 1 && wishes.rounds <= 10_000)) {
      throw new RangeError(`--rounds must be a whole number from 1 to 10000, got "${values.rounds}"`)
    }
  } catch (error) {
    console.error(`${(error as Error).message}. Try: npm run lock -- --help`)
    return 2
  }
  // A Ctrl-C ends all in order, at any time: no process is left behind, and no directory, not even by a second one.
  const over = interrupted()
  const directory = await mkdtemp(join(tmpdir(), 'understudy-lock-'))
  try {
    return await play(wishes, directory, over)
  } catch (error) {
    if (over.aborted) return 130
    console.error((error as Error).message)
    return 1
  } finally {
    await rm(directory, { recursive: true, force: true, maxRetries: 5 })
  }
}

async function play(wishes: Wishes, directory: string, over: AbortSignal): Promise<number> {
  const files = { plain: join(directory, 'plain.txt'), guarded: join(directory, 'guarded.txt') }
  const secret = Buffer.from(nodePlatform().secureBytes(24)).toString('base64')
  const node = await startHost(directory, files, secret)
  const workers: Worker[] = []
  const killAll = async (): Promise<void> => {
    await Promise.all(workers.map((worker) => worker.kill()))
  }
  over.addEventListener('abort', () => void killAll())
  try {
    over.throwIfAborted()
    for (const name of ['ana', 'ben']) {
      const settings: WorkerSettings = { name, seed: node.address, secret, leaseMs: wishes.leaseMs }
      workers.push(new Forked(name, new URL('./worker.js', import.meta.url), 'LOCK_WORKER', settings))
    }
    for (const worker of workers) await worker.next()
    console.log('1. The file takes whatever comes')
    await act(workers, '/user/plain', files.plain, wishes, over)
    console.log('\n2. The file is guarded: it remembers the highest token, and refuses lower ones')
    const isRight = await act(workers, '/user/guarded', files.guarded, wishes, over)
    return isRight ? 0 : 1
  } finally {
    await killAll()
    await node.shutdown('the example is over')
  }
}

/** The lock, and the two ledgers. One node is enough here; what must outlive it is opened on three or five, as in 20-kv. */
async function startHost(
  directory: string,
  { plain, guarded }: { readonly plain: string; readonly guarded: string },
  secret: string,
): Promise<ClusterNode> {
  const node = await startNode({
    name: hostName,
    listen: 'ws://127.0.0.1:0',
    secret,
    data: join(directory, 'data'),
    roles: [hostName],
    downing: { strategy: 'keep-majority', role: hostName },
    root: supervisor({}, [
      child('plain', ledger, { file: plain, isGuarded: false }),
      child('guarded', ledger, { file: guarded, isGuarded: true }),
    ]),
    platform: nodePlatform({ log: silentLogger }),
    handleSignals: false,
  })
  const consensus = await openConsensus(node)
  await openLocks(node, {
    openGroup: ({ name, machine }) => openRaftGroup(consensus, { name, members: [hostName], machine }),
  })
  return node
}

/** One worker is paused in the middle. True when nothing was lost. */
async function act(
  [ana, ben]: readonly Worker[],
  path: string,
  file: string,
  { leaseMs, rounds }: Wishes,
  signal: AbortSignal,
): Promise<boolean> {
  if (ana === undefined || ben === undefined) throw new RangeError('There must be two workers')
  const startedMs = performance.now()
  const say = (who: string, what: string): void => {
    const seconds = ((performance.now() - startedMs) / 1_000).toFixed(1)
    console.log(`${seconds.padStart(6)} s  ${who.padEnd(5)}${what}`)
  }
  const middle = Math.ceil(rounds / 2)
  ana.order({ type: 'work', ledger: path, rounds, pauseAt: middle })
  await follow(ana, say, 'has-read')
  ana.pause()
  say(
    '',
    `ana's process is stopped for ${((2 * leaseMs) / 1_000).toFixed(1)} s, the lease is ${leaseMs / 1_000} s`,
  )
  // It finds this when it goes on: for the process no time has passed.
  ana.order({ type: 'go-on' })
  ben.order({ type: 'work', ledger: path, rounds, pauseAt: 0 })
  const [byBen] = await Promise.all([follow(ben, say, 'done'), pause(2 * leaseMs, undefined, { signal })])
  say('', `ana's process goes on`)
  ana.resume()
  const added = (await follow(ana, say, 'done')) + byBen
  const found = Number(await readFile(file, 'utf8'))
  const lost = added - found
  console.log(
    `          ${added} additions were acknowledged, the file says ${found}: ` +
      (lost === 0 ? 'nothing is lost' : `${lost} of them ${lost === 1 ? 'is' : 'are'} LOST`),
  )
  return lost === 0
}

/** Says what a worker does until it says `last`. Gives how many additions it had acknowledged, when it is done. */
async function follow(
  worker: Worker,
  say: (who: string, what: string) => void,
  last: 'has-read' | 'done',
): Promise<number> {
  for (;;) {
    const report = await worker.next()
    switch (report?.type) {
      case 'has-read':
        say(worker.name, `holds the lock with token ${report.token}, and reads ${report.value}`)
        break
      case 'wrote':
        say(worker.name, `writes ${report.value}, with token ${report.token}`)
        break
      case 'refused':
        say(worker.name, `is refused: its token is ${report.token}, and the file has seen ${report.highest}`)
        break
      case 'done':
        return report.added
      case 'ready':
        break
      case 'failed':
        throw new Error(`Worker ${worker.name} has failed: ${report.why}`)
      case undefined:
        throw new Error(`The process of worker ${worker.name} has ended`)
      default:
        report satisfies never
    }
    if (report?.type === last) return 0
  }
}

process.exitCode = await main()
