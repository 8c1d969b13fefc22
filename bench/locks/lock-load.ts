/** The load of locks that every system gets alike: cycles of lock and unlock, and a queue that is handed through. */
import { runLoops, type LoadFigures } from '../harness/load-loop.ts'
import { percentile } from '../harness/sample.ts'

/** One who takes locks, with a session, lease or connection of its own where the system has such a thing. */
export interface LockOwner {
  /** Resolves when this owner holds the lock. One lock at a time, never twice the same. */
  readonly lock: (name: string) => Promise<unknown>
  /** Resolves when the system has acknowledged that it is free. */
  readonly unlock: (name: string) => Promise<unknown>
}

/** A client process's way into the system. */
export interface LockClient {
  /** The first `count` owners, always the same ones; opens what is missing. */
  readonly owners: (count: number) => Promise<readonly LockOwner[]>
  /** How many the system itself knows to wait for the lock. `undefined`: it has no queue. */
  readonly waiting: ((name: string) => Promise<number>) | undefined
  readonly close: () => Promise<void>
}

const QUEUE_MS_MOST = 10_000

/** Each of `clients` owners locks and unlocks a lock of its own, over and over; an operation is both. */
export async function runCycles(
  client: LockClient,
  clients: number,
  durationMs: number,
): Promise<LoadFigures> {
  const owners = await client.owners(clients)
  const names = owners.map((_, number) => `cycle-${number}`)
  return await runLoops(
    async (number) => {
      const owner = owners[number]
      const name = names[number] ?? ''
      await owner?.lock(name)
      await owner?.unlock(name)
    },
    clients,
    durationMs,
  )
}

/**
 * So many owners wait for one lock that another one holds; each comes when the one before is in the system's queue. When all are
 * there it is released, and each holder releases it as soon as it knows that it has it. This is repeated until the time is over.
 * An operation is a hand-over: from the call of `unlock` until the next one's `lock` resolves, both in this process. `failed`
 * counts those that came out of turn.
 *
 * @throws {Error} when two held it at a time, or the waiters did not get into the queue
 */
export async function runHandOvers(
  client: LockClient,
  waiters: number,
  durationMs: number,
): Promise<LoadFigures> {
  const owners = await client.owners(waiters + 1)
  const name = `queue-${waiters}`
  const latencies: number[] = []
  let failed = 0
  let chainMs = 0
  const cpuBefore = process.cpuUsage()
  const startMs = performance.now()
  while (performance.now() - startMs < durationMs) {
    const chain = await runChain(client, owners, name)
    latencies.push(...chain.latencies)
    failed += chain.outOfTurn
    chainMs += chain.elapsedMs
  }
  const cpu = process.cpuUsage(cpuBefore)
  return {
    operations: latencies.length,
    perSecond: (latencies.length / chainMs) * 1_000,
    p50Ms: percentile(latencies, 50),
    p99Ms: percentile(latencies, 99),
    failed,
    clientCpu: (cpu.user + cpu.system) / 1_000 / (performance.now() - startMs),
  }
}

interface Chain {
  readonly latencies: readonly number[]
  readonly outOfTurn: number
  readonly elapsedMs: number
}

async function runChain(client: LockClient, owners: readonly LockOwner[], name: string): Promise<Chain> {
  const latencies: number[] = []
  const held: number[] = []
  let holder: number | undefined
  let releasedMs = 0
  const hold = async (number: number): Promise<void> => {
    await owners[number]?.lock(name)
    const nowMs = performance.now()
    if (holder !== undefined) throw new Error(`"${name}" was given to ${number} while ${holder} held it`)
    holder = number
    held.push(number)
    if (number !== 0) latencies.push(nowMs - releasedMs)
  }
  const release = async (number: number): Promise<void> => {
    holder = undefined
    releasedMs = performance.now()
    await owners[number]?.unlock(name)
  }
  await hold(0)
  const waiting: Promise<void>[] = []
  for (let number = 1; number < owners.length; number++) {
    const turn = hold(number).then(() => release(number))
    // A failure shows below; until then it must not be taken for an unhandled one.
    turn.catch(() => undefined)
    waiting.push(turn)
    await whenWaiting(client, name, number)
  }
  const startMs = performance.now()
  await release(0)
  await Promise.all(waiting)
  const elapsedMs = performance.now() - startMs
  return { latencies, outOfTurn: held.filter((number, at) => number !== at).length, elapsedMs }
}

async function whenWaiting({ waiting }: LockClient, name: string, count: number): Promise<void> {
  if (waiting === undefined) throw new Error('The system has no queue')
  const endMs = performance.now() + QUEUE_MS_MOST
  while ((await waiting(name)) < count)
    if (performance.now() > endMs) throw new Error(`"${name}" has fewer than ${count} waiters`)
}
