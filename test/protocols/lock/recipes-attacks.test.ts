/** Ways in which a hold could be believed in that is none, and waits that ended later than they were asked to. */
import { guard } from '@understudy/protocols'
import { test } from 'tap'
import { lockCluster } from './lock-cluster.ts'
import { acquire, chunksOf, each, LockLog } from './machine-log.ts'
import { LockMachine } from './machine-source.ts'
import { LockWorld, type Fate } from './lock-world.ts'

void test('SpinLock: what came too late is given back without taking away what was had since', async (t) => {
  const world = new LockWorld()
  const { client, port } = world.client()
  const late: readonly Fate[] = [950, 'lost']
  let answers = 0
  let releases = 0
  port.fate = ({ command, isAnswer }) => {
    // Behind 940 ms it is of no use, and its time goes on until 1,000.
    if (command?.type === 'spin-acquire' && isAnswer) return late[answers++] ?? 'fine'
    if (command?.type === 'spin-release' && !isAnswer) return releases++ === 0 ? 20 : 'fine'
    return 'fine'
  }
  const lock = await world.get(client.spinLock('s', { ttlMs: 1_000 }).acquire())
  await world.time.pass(100)
  t.ok(world.time.nowMs < lock.heldUntilMs)
  t.notOk(lock.signal.aborted)
  t.equal(world.machine.view('s')?.holders[0]?.token, lock.token)
})

void test('SpinLock: the signal is aborted when its time is over, also when its client was closed before', async (t) => {
  const world = new LockWorld()
  const { client } = world.client()
  const lock = await world.get(client.spinLock('s', { ttlMs: 1_000 }).acquire())
  const { signal } = lock
  await world.get(client.close())
  await world.time.pass(950)
  t.equal(world.holders('s').length, 1)
  t.ok(signal.aborted)
})

void test('SpinLock: one of its holders cannot make it shorter for another by taking it again', async (t) => {
  const world = new LockWorld()
  const one = world.client().client
  const two = world.client().client
  const long = await world.get(one.spinLock('s', { ttlMs: 10_000, owner: 'x' }).acquire())
  await world.get(two.spinLock('s', { ttlMs: 1_000, owner: 'x' }).acquire())
  await world.time.pass(5_000)
  t.notOk(long.signal.aborted)
  t.equal(await world.get(two.spinLock('s', { ttlMs: 1_000, owner: 'y' }).tryAcquire()), undefined)
})

void test('SpinLock: a release that is tried again does not free what its owner has taken anew', async (t) => {
  const world = new LockWorld()
  const { client, port } = world.client()
  const spin = client.spinLock('s', { ttlMs: 60_000, owner: 'x' })
  const lock = await world.get(spin.acquire())
  port.fate = ({ command, isAnswer }) => (command?.type === 'spin-release' && !isAnswer ? 'lost' : 'fine')
  await world.get(lock.release({ timeoutMs: 300 }))
  const again = await world.get(spin.acquire())
  port.fate = () => 'fine'
  await world.time.pass(2_000)
  t.notOk(again.signal.aborted)
  t.equal(world.holders('s').length, 1)
})

void test('SpinLock: taken again by its owner while its release is under way, it stays', async (t) => {
  const world = new LockWorld()
  const { client, port } = world.client()
  const spin = client.spinLock('s', { ttlMs: 60_000, owner: 'x' })
  const lock = await world.get(spin.acquire())
  let releases = 0
  port.fate = ({ command, isAnswer }) =>
    command?.type === 'spin-release' && !isAnswer && releases++ === 0 ? 'lost' : 'fine'
  const released = lock.release()
  const again = await world.get(spin.acquire())
  await world.get(released)
  await world.time.pass(2_000)
  t.notOk(again.signal.aborted)
  t.equal(world.holders('s').length, 1)
  await world.get(again.release())
  t.equal(world.holders('s').length, 0)
})

void test('Latch: waiting and counting keep to their time and their signal from the first step on', async (t) => {
  const world = new LockWorld()
  const { client, port } = world.client()
  port.fate = ({ verb }) => (verb === 'write' ? 'lost' : 'fine')
  const latch = client.latch('l', { count: 1 })
  const sinceMs = world.time.nowMs
  await world.failure(latch.wait({ timeoutMs: 100 }))
  t.ok(world.time.nowMs - sinceMs < 150, `waited for ${world.time.nowMs - sinceMs} ms`)
  const controller = new AbortController()
  const failed = world.failure(latch.wait({ signal: controller.signal }))
  await world.time.pass(10)
  controller.abort()
  t.equal(await failed, 'RUNTIME_ABORTED')
  const other = client.latch('l', { count: 1 })
  const beforeMs = world.time.nowMs
  await world.failure(other.countDown(1, { timeoutMs: 100 }))
  t.ok(world.time.nowMs - beforeMs < 150)
})

void test('Latch: one that was removed begins anew with its count', async (t) => {
  const world = new LockWorld()
  const [one, two] = [world.client().client, world.client().client]
  const latch = one.latch('l', { count: 2 })
  t.equal(await world.get(latch.countDown()), 1)
  await world.get(two.remove('l'))
  t.equal(await world.get(latch.countDown()), 1)
  await world.get(two.remove('l'))
  const waited = world.get(latch.wait())
  await world.time.pass(20)
  t.equal(await world.get(two.latch('l', { count: 9 }).countDown(2)), 0)
  await waited
})

void test('deadlock: a member that was restored from a snapshot names the same cycle', async (t) => {
  const log = new LockLog()
  const [one, two] = [log.open(), log.open()]
  const [x, y] = [{ owner: 'x' }, { owner: 'y' }]
  log.acquire(two, 1, 'b', y)
  log.acquire(two, 2, 'a', y)
  log.acquire(one, 1, 'l', x)
  log.acquire(one, 2, 'a', x)
  log.acquire(one, 3, 'b', x)
  const chunks: Uint8Array[] = []
  for await (const chunk of chunksOf(log.machine)) chunks.push(chunk)
  const restored = new LockMachine()
  await restored.restore(each(chunks))
  const other = new LockLog(restored)
  other.index = log.index
  const closing = acquire(two, 3, 'l', y)
  const result = log.apply(closing)
  t.match(result, { error: { code: 'LOCK_DEADLOCK' } })
  t.same(other.apply(closing), result)
})

void test('multi: is given up in time, also when what it has cannot be given back just then', async (t) => {
  for (const how of ['time', 'signal'] as const) {
    const world = new LockWorld()
    const { client, port } = world.client()
    const other = world.client().client
    const lock = await world.get(other.mutex('c').acquire())
    const enough = new AbortController()
    const sinceMs = world.time.nowMs
    const all = client.multi(['a', 'b', 'c'].map((name) => client.mutex(name)))
    const options = how === 'time' ? { timeoutMs: 300 } : { signal: enough.signal }
    let endedMs = 0
    const failed = world
      .failure(all.acquire(options).finally(() => (endedMs = world.time.nowMs)))
      .then((code) => code)
    await world.time.pass(100)
    t.equal(world.waiting('c'), 1)
    port.fate = ({ verb }) => (verb === 'write' ? 'lost' : 'fine')
    await world.time.pass(200)
    if (how === 'signal') enough.abort()
    await world.time.pass(50)
    t.equal(await failed, how === 'time' ? 'LOCK_TIMEOUT' : 'RUNTIME_ABORTED')
    t.ok(endedMs - sinceMs <= 350, `${how}: it took ${endedMs - sinceMs} ms`)
    port.fate = () => 'fine'
    await world.time.pass(20_000)
    for (const name of ['a', 'b']) t.same(world.holders(name), [], 'in the background')
    t.equal(world.waiting('c'), 0)
    await world.get(lock.release())
  }
})

void test('LockCaller: closing it ends a view that waits for news', async (t) => {
  await using locks = await lockCluster()
  const { clock } = locks.cluster.platform
  const { signal } = new AbortController()
  for (const node of ['b', 'd']) {
    const { caller } = await locks.attached(node)
    let endedMs = 0
    const outcome = caller.view('n', { afterVersion: 0, waitMs: 5_000, signal }).then(
      () => 'an answer',
      (error: unknown) => (error as { readonly code?: unknown }).code,
    )
    const ended = outcome.then((code) => {
      endedMs = clock.monotonicMs()
      return code
    })
    await locks.cluster.advance(1_000)
    t.equal(endedMs, 0)
    const sinceMs = clock.monotonicMs()
    await locks.get(caller.close())
    t.equal(await locks.get(ended), 'LOCK_CLIENT_CLOSED')
    t.ok(endedMs - sinceMs < 100, `${node}: it took ${endedMs - sinceMs} ms`)
  }
})

void test('guard: who gives up is told at once, and makes room, whatever goes on before it', async (t) => {
  const guarded = guard({ works: 0 }, { name: 'the thing', waitingMax: 2 })
  let end = (): void => undefined
  const first = guarded.run(
    1,
    (thing) =>
      new Promise<number>((resolve) => {
        end = () => resolve(++thing.works)
      }),
  )
  await Promise.resolve()
  const enough = new AbortController()
  const codeOf = (promise: Promise<unknown>): Promise<unknown> =>
    promise.then(
      (value) => value,
      (error: unknown) => (error as { readonly code?: unknown }).code,
    )
  const given = [1, 2].map(() => codeOf(guarded.run(1, (thing) => ++thing.works, { signal: enough.signal })))
  t.equal(await codeOf(guarded.run(1, () => 0)), 'LOCK_LIMIT')
  enough.abort()
  t.same(await Promise.all(given), ['RUNTIME_ABORTED', 'RUNTIME_ABORTED'])
  t.equal(await codeOf(guarded.run(1, () => 0, { signal: enough.signal })), 'RUNTIME_ABORTED')
  const last = guarded.run(1, (thing) => thing.works, { signal: new AbortController().signal })
  end()
  t.equal(await first, 1)
  t.equal(await last, 1, 'what was given up was not begun')
})
