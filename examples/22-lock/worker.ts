/** A worker in a process of its own: takes the lock, reads, adds 1, writes, releases; again and again. */
import { once } from 'node:events'
import { startNode } from '@understudy/cluster'
import {
  fencedReason,
  lockClient,
  type FencedMessage,
  type Held,
  type LockClient,
} from '@understudy/protocols'
import {
  isActorError,
  nodePlatform,
  Rejected,
  silentLogger,
  type ActorRef,
  type MessagesOf,
} from '@understudy/runtime'
import { Ledger } from './ledger.ts'
import { hostName, lockName } from './names.ts'
import type { WorkerOrder, WorkerReport, WorkerSettings } from './words.ts'

function report(message: WorkerReport): void {
  // Whoever started it may be gone.
  if (process.connected) process.send?.(message, undefined, undefined, () => undefined)
}

async function main({ name, seed, secret, leaseMs }: WorkerSettings): Promise<void> {
  const node = await startNode({
    name,
    listen: 'ws://127.0.0.1:0',
    seeds: [seed],
    secret,
    // Whether it is there is for the lock's lease to say: it decides nothing, and nothing is placed on it.
    weight: 0,
    downing: { strategy: 'keep-majority', role: hostName },
    platform: nodePlatform({ log: silentLogger }),
    handleSignals: false,
  })
  process.once('disconnect', () => void node.shutdown('the example is over'))
  const locks = lockClient(node, { servers: [hostName], sessionTtlMs: leaseMs, label: name })
  process.on('message', (order: WorkerOrder) => {
    if (order.type !== 'work') return
    work(locks, node.ref(Ledger, hostName, order.ledger), order).then(
      (added) => report({ type: 'done', added }),
      (error: unknown) =>
        report({ type: 'failed', why: error instanceof Error ? error.message : String(error) }),
    )
  })
  report({ type: 'ready' })
}

/** Resolves with how many additions were acknowledged. */
async function work(
  locks: LockClient,
  ledger: ActorRef<MessagesOf<typeof Ledger>>,
  { rounds, pauseAt }: Extract<WorkerOrder, { readonly type: 'work' }>,
): Promise<number> {
  let added = 0
  let isPaused = false
  while (added < rounds) {
    await using held = await lockOf(locks)
    const { token } = held
    try {
      const value = await ledger.ask({ type: 'read', token })
      if (added + 1 === pauseAt && !isPaused) {
        isPaused = true
        report({ type: 'has-read', value, token })
        await once(process, 'message')
      }
      // A last look at the lock would stand here: and the process could be paused right behind it.
      await ledger.ask({ type: 'write', token, value: value + 1 })
      added++
      report({ type: 'wrote', value: value + 1, token })
    } catch (error) {
      if (!(error instanceof Rejected) || error.reason !== fencedReason) throw error
      // It came too late: somebody else has held the lock since. Nothing was written, so it begins again.
      const { highest } = error.data as FencedMessage
      report({ type: 'refused', token, highest })
    }
  }
  return added
}

/** Its turn may come only after its session was lost, as when the machine had no time for it: then it stands in line again. */
async function lockOf(locks: LockClient): Promise<Held> {
  for (;;) {
    try {
      return await locks.mutex(lockName).acquire({ timeoutMs: 60_000 })
    } catch (error) {
      if (!isActorError(error, 'LOCK_SESSION_LOST')) throw error
    }
  }
}

const settings = process.env['LOCK_WORKER']
if (settings !== undefined) await main(JSON.parse(settings) as WorkerSettings)
