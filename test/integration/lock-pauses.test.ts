/**
 * Locks in real processes that are stopped by SIGSTOP for twice the lease, wherever they are: what the guarded file takes never
 * goes back. By hand with more rounds: `npm run soak -- locks --rounds 200`.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import tap, { test, type Test } from 'tap'
import { startNode } from '@understudy/cluster'
import { guardActor } from '@understudy/protocols'
import { actor, nodePlatform, silentLogger } from '@understudy/runtime'
import {
  filePath,
  GuardedFile,
  type LockMemberOptions,
  type LockMemberQuestion,
  type LockServerStatus,
  type LockWorkerStatus,
} from '../fixtures/lock-member.ts'
import { SeededNumbers } from '../support/concurrent-history.ts'
import { KvProcess } from '../support/kv-process.ts'
import { eventually, freePorts, period, scratch } from '../support/member-process.ts'

const rounds = Number(process.env['SOAK_ROUNDS'] ?? 6)
const seed = Number(process.env['SOAK_SEED'] ?? 1)
const leaseMs = 400
const workMs = 25
const host = 'host'
const servers = ['a', 'b', 'c']
const workers = ['x', 'y', 'z']

tap.setTimeout(120_000 + rounds * 10_000)

interface Write {
  readonly token: number
  readonly value: number
  readonly author: string
}

interface Outcome {
  readonly writes: readonly Write[]
  /** Reads and writes that the guard refused. */
  readonly refused: number
}

type Member = KvProcess<LockMemberQuestion>

/** The file, its guard, and what it took. */
interface Watched {
  readonly file: string
  readonly writes: Write[]
  /** Called with the next one that reads, before it has its answer. */
  onRead: ((author: string) => void) | undefined
}

function guardedFile(watched: Watched, isGuarded: boolean) {
  const { file, writes } = watched
  return actor(GuardedFile, { name: 'guarded-file' }, () => {
    writeFileSync(file, '0')
    const handlers = {
      read: ({ author }: { readonly author: string }) => {
        watched.onRead?.(author)
        return Number(readFileSync(file, 'utf8'))
      },
      write: ({ token, value, author }: Write) => {
        writeFileSync(file, String(value))
        return writes.push({ token, value, author })
      },
    }
    return isGuarded ? guardActor<(typeof GuardedFile)['messages']>(handlers, { name: 'the file' }) : handlers
  })
}

/** Where what the file took goes back, or forgets what was acknowledged. */
function wrongsOf(writes: readonly Write[]): readonly string[] {
  const wrongs: string[] = []
  writes.forEach((write, at) => {
    const before = writes[at - 1] ?? { token: 0, value: 0, author: 'nobody' }
    const line = `write ${at}: ${JSON.stringify(before)}, then ${JSON.stringify(write)}`
    if (write.token < before.token) wrongs.push(`the token goes back at ${line}`)
    if (write.value !== before.value + 1) wrongs.push(`the value does not follow at ${line}`)
  })
  return wrongs
}

async function run(t: Test, isGuarded: boolean, times: number): Promise<Outcome> {
  const file = scratch(t)
  const random = new SeededNumbers(seed)
  const ports = await freePorts(servers.length)
  const addresses = servers.map((_, at) => `ws://127.0.0.1:${ports[at]}`)
  const secret = 'a secret for a test of locks, long enough'
  const downing = { strategy: 'keep-majority', role: 'server' } as const
  const node = await startNode({
    name: host,
    listen: 'ws://127.0.0.1:0',
    seeds: addresses,
    secret,
    expect: 2,
    weight: 0,
    downing,
    platform: nodePlatform({ log: silentLogger }),
    handleSignals: false,
  })
  t.teardown(() => node.shutdown('the test is over'))
  const writes: Write[] = []
  const watched: Watched = { file: file('file.txt'), writes, onRead: undefined }
  node.system.spawn('guarded-file', guardedFile(watched, isGuarded))
  t.equal(node.ref(GuardedFile, host, filePath).path, filePath, 'it is where the workers look for it')

  const members = new Map<string, Member>()
  const start = (name: string, options: LockMemberOptions): void => {
    members.set(name, new KvProcess(name, 'lock-member', options, [], file('log')))
  }
  // Behind `scratch`, so before it: what is killed writes no more.
  t.teardown(async () => {
    for (const member of members.values()) member.kill('SIGKILL')
    await Promise.all([...members.values()].map(({ ended }) => ended))
  })
  servers.forEach((name, at) =>
    start(name, {
      node: {
        name,
        listen: addresses[at] ?? '',
        seeds: [node.address, ...addresses],
        secret,
        data: file(name),
        expect: 2,
        roles: ['server'],
        downing,
      },
      servers,
    }),
  )
  for (const name of workers) {
    start(name, {
      node: { name, listen: 'ws://127.0.0.1:0', seeds: addresses, secret, expect: 2, weight: 0, downing },
      servers,
      work: { host, leaseMs, workMs },
    })
  }
  await Promise.all([...members.values()].map(({ ready }) => ready))
  const more = async (count: number): Promise<void> => {
    const before = writes.length
    await eventually(
      `${count} more writes`,
      60_000,
      () => writes.length >= before + count || `${writes.length}`,
    )
  }
  await more(workers.length * 3)

  for (let round = 1; round <= times; round++) {
    let name: string
    if (random.chance(20)) {
      // Whatever it does; sometimes the leading server.
      await period(random.below(60))
      const status = await members.get('a')?.ask<LockServerStatus>({ type: 'status' })
      name = random.chance(50) && status !== undefined ? status.leader : (workers[random.below(3)] ?? '')
      members.get(name)?.kill('SIGSTOP')
    } else {
      // Between reading and writing: where no look at the lock helps.
      name = await new Promise((resolve) => {
        watched.onRead = (author) => {
          watched.onRead = undefined
          members.get(author)?.kill('SIGSTOP')
          resolve(author)
        }
      })
    }
    await period(2 * leaseMs)
    members.get(name)?.kill('SIGCONT')
    await more(2)
    if (times > 20 && round % 20 === 0) {
      process.stderr.write(
        `locks: ${round} of ${times} rounds, ${writes.length} writes, ${wrongsOf(writes).length} wrong\n`,
      )
    }
  }

  const ends = await Promise.all(
    [...members.values()]
      .filter(({ name }) => workers.includes(name))
      .map((worker) => worker.ask<LockWorkerStatus>({ type: 'stop' }, 60_000)),
  )
  for (const [at, end] of ends.entries()) t.comment(`${workers[at]}: ${JSON.stringify(end)}`)
  const added = ends.reduce((sum, end) => sum + end.added, 0)
  t.ok(added <= writes.length, 'what was acknowledged was written')
  return { writes, refused: ends.reduce((sum, end) => sum + end.refused, 0) }
}

void test(`${rounds} rounds of SIGSTOP for twice the lease: the guarded file never goes back`, async (t) => {
  const { writes, refused } = await run(t, true, rounds)
  t.same(wrongsOf(writes).slice(0, 5), [])
  t.ok(new Set(writes.map(({ author }) => author)).size > 1, 'the lock has passed from hand to hand')
  t.ok(refused > 0, 'the guard was needed')
  t.comment(
    `${writes.length} writes under ${new Set(writes.map(({ token }) => token)).size} locks, ${refused} refused`,
  )
})

void test('without the guard the same pauses lose what was acknowledged', async (t) => {
  const { writes } = await run(t, false, 5)
  t.not(wrongsOf(writes).length, 0)
})
