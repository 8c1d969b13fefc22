/** The table of docs/guides/locks.md, "What each promises when things break", cell by cell. */
import { test } from 'tap'
import { sourceModule } from '../../support/source-module.ts'
import { LockWorld, ttlMs, type FakePort } from './lock-world.ts'
import type { LockClient } from './recipes-source.ts'

const { guard } = await sourceModule<typeof import('../../../packages/protocols/src/lock/guard.ts')>(
  'protocols',
  'lock/guard',
)

type Held = import('../../../packages/protocols/src/lock/lock.ts').Held

interface One {
  readonly client: LockClient
  readonly port: FakePort
}

interface Kind {
  readonly name: string
  readonly take: (client: LockClient) => Promise<Held>
  /** Whether two of one kind keep each other out: readers do not. */
  readonly rival: (client: LockClient) => Promise<Held>
  /** Whether its tokens tell an old holder from a new one. */
  readonly isFenced: boolean
}

const mutex = (client: LockClient): Promise<Held> => client.mutex('it').acquire({ timeoutMs: 60_000 })
const write = (client: LockClient): Promise<Held> =>
  client.readWriteLock('it').write.acquire({ timeoutMs: 60_000 })
const read = (client: LockClient): Promise<Held> =>
  client.readWriteLock('it').read.acquire({ timeoutMs: 60_000 })
const election = (client: LockClient): Promise<Held> => client.election('it').acquire({ timeoutMs: 60_000 })
const semaphore = (client: LockClient): Promise<Held> =>
  client.semaphore('it', { permits: 2 }).acquire({ permits: 2, timeoutMs: 60_000 })
const spin = (client: LockClient): Promise<Held> =>
  client.spinLock('it', { ttlMs }).acquire({ timeoutMs: 60_000 })

const kinds: readonly Kind[] = [
  { name: 'mutex', take: mutex, rival: mutex, isFenced: true },
  { name: 'write lock', take: write, rival: write, isFenced: true },
  { name: 'read lock', take: read, rival: write, isFenced: false },
  { name: 'election', take: election, rival: election, isFenced: true },
  { name: 'semaphore', take: semaphore, rival: semaphore, isFenced: false },
  { name: 'spin lock', take: spin, rival: spin, isFenced: true },
]

function pair(world: LockWorld): readonly [One, One] {
  return [world.client({ label: 'a' }), world.client({ label: 'b' })]
}

for (const { name, take, rival, isFenced } of kinds) {
  void test(`${name}, paused for longer than its lease: another has it then, and the paused one is told when it runs`, async (t) => {
    const world = new LockWorld()
    const [a, b] = pair(world)
    const resource: string[] = []
    const guarded = guard(resource)
    const first = await world.get(take(a.client))
    await world.get(guarded.run(first, (lines) => lines.push('a')))
    a.port.stop(3 * ttlMs)
    const startedMs = world.time.nowMs
    const second = await world.get(rival(b.client))
    t.ok(world.time.nowMs - startedMs < 2 * ttlMs, 'as soon as the lease is over')
    t.ok(second.token > first.token)
    await world.get(guarded.run(second, (lines) => lines.push('b')))
    if (isFenced) {
      // As the paused one would, by its token alone: it knows of nothing yet.
      t.equal(await world.failure(guarded.run(first.token, (lines) => lines.push('late'))), 'LOCK_FENCED')
      t.same(resource, ['a', 'b'])
    }
    await world.time.pass(4 * ttlMs)
    t.ok(first.signal.aborted, 'told when it runs again')
  })

  void test(`${name}, cut off: its holder knows before anybody else can have it`, async (t) => {
    const world = new LockWorld()
    const [a, b] = pair(world)
    const first = await world.get(take(a.client))
    let lostMs = Number.POSITIVE_INFINITY
    first.signal.addEventListener('abort', () => (lostMs = world.time.nowMs))
    a.port.isCutOff = true
    await world.get(rival(b.client))
    t.ok(lostMs < world.time.nowMs, `${lostMs} before ${world.time.nowMs}`)
    t.equal(await world.failure(take(a.client)), 'LOCK_UNAVAILABLE', 'and gets nothing on its side')
  })

  void test(`${name}, all servers restart: holder, queue and tokens are as before`, async (t) => {
    const world = new LockWorld()
    const [a, b] = pair(world)
    const first = await world.get(take(a.client))
    const waiting = rival(b.client)
    await world.time.pass(100)
    const { machine } = world
    const chunks = [...{ [Symbol.iterator]: () => machine.snapshot() }]
    await machine.restore(
      (async function* () {
        yield* chunks
      })(),
    )
    for (const { port } of [a, b]) port.detach()
    await world.time.pass(ttlMs / 2)
    t.notOk(first.signal.aborted, 'it is held as before')
    await world.get(first.release())
    const second = await world.get(waiting)
    t.ok(second.token > first.token, 'and no token is given twice')
  })

  void test(`${name}, with clocks a hundredth apart: its holder knows before anybody else can have it`, async (t) => {
    for (const clockRate of [0.99, 1.01]) {
      const world = new LockWorld()
      const [a, b] = pair(world)
      a.port.clockRate = clockRate
      const first = await world.get(take(a.client))
      let lostMs = Number.POSITIVE_INFINITY
      first.signal.addEventListener('abort', () => (lostMs = world.time.nowMs))
      if (name === 'spin lock') {
        // Nobody keeps it alive: it ends by itself.
      } else {
        await world.time.pass(10 * ttlMs)
        t.notOk(first.signal.aborted, `it is kept for as long as it is wanted, at ${clockRate}`)
        a.port.isCutOff = true
      }
      await world.get(rival(b.client))
      t.ok(lostMs < world.time.nowMs, `${lostMs} before ${world.time.nowMs}, at ${clockRate}`)
    }
  })
}

void test('barrier, with one paused for longer than its lease: its place is free, and the others wait on', async (t) => {
  const world = new LockWorld()
  const [a, b] = pair(world)
  const pass = ({ client }: One): Promise<number> =>
    client.barrier('it', { parties: 2 }).pass({ timeoutMs: 60_000 })
  const gone = pass(a).catch((error: unknown) => error)
  await world.time.pass(50)
  a.port.stop(3 * ttlMs)
  await world.time.pass(2 * ttlMs)
  t.equal(world.waiting('it'), 0)
  const waiting = pass(b)
  await world.time.pass(100)
  t.equal(world.waiting('it'), 1)
  const other = pass(world.client({ label: 'c' }))
  t.equal(await world.get(waiting), await world.get(other))
  t.match(await world.get(gone), { name: 'LockError' })
})

void test('counter, cut off: answers nothing, and does each thing once or not at all', async (t) => {
  const world = new LockWorld()
  const [a, b] = pair(world)
  t.equal(await world.get(a.client.counter('it').add(1)), 1)
  a.port.isCutOff = true
  t.equal(await world.failure(a.client.counter('it').get({ timeoutMs: 1_000 })), 'LOCK_UNAVAILABLE')
  t.equal(await world.failure(a.client.counter('it').add(1, { timeoutMs: 1_000 })), 'LOCK_UNAVAILABLE')
  a.port.isCutOff = false
  let answers = 0
  a.port.fate = ({ verb, isAnswer }) => (verb === 'write' && isAnswer && answers++ < 2 ? 'lost' : 'fine')
  t.equal(await world.get(a.client.counter('it').add(1)), 2, 'once, though it was tried three times')
  t.equal(await world.get(b.client.counter('it').get()), 2)
})
