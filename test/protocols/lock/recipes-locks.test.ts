/** Mutex, read-write lock, semaphore, several as one, and the lock that spins. */
import { test } from 'tap'
import { latencyMs, LockWorld, ttlMs } from './lock-world.ts'
import { lockLimits, type Held, type LockClient } from './recipes-source.ts'

async function disposed(lock: AsyncDisposable): Promise<void> {
  await lock[Symbol.asyncDispose]()
}

function clients(world: LockWorld, count: number): readonly LockClient[] {
  return Array.from({ length: count }, () => world.client().client)
}

void test('Mutex: is had in the order in which it was asked for, with growing tokens, and each hand-over is one write', async (t) => {
  const world = new LockWorld()
  const order: number[] = []
  const tokens: number[] = []
  const all = clients(world, 8)
  await world.get(Promise.all(all.map((client) => client.session())))
  const before = world.commands.length
  const done = all.map(async (client, i) => {
    const lock = await client.mutex('a').acquire({ timeoutMs: 60_000 })
    order.push(i)
    tokens.push(lock.token)
    await client.sleep(20)
    await lock.release()
  })
  await world.get(Promise.all(done))
  t.same(order, [0, 1, 2, 3, 4, 5, 6, 7])
  t.same(
    tokens,
    tokens.toSorted((a, b) => a - b),
  )
  t.equal(world.commands.slice(before).filter(({ type }) => type !== 'keep-alive').length, 16)
})

void test('Mutex: tryAcquire waits for nobody', async (t) => {
  const world = new LockWorld()
  const [first, second] = clients(world, 2) as [LockClient, LockClient]
  const lock = await world.get(first.mutex('a').acquire())
  t.equal(await world.get(second.mutex('a').tryAcquire()), undefined)
  t.equal(world.waiting('a'), 0)
  await world.get(lock.release())
  const got = await world.get(second.mutex('a').tryAcquire())
  t.ok(got !== undefined && got.token > lock.token)
})

void test('Mutex: is released once; a second release says LOCK_NOT_HELD, disposing is quiet, and neither touches the next one (L5)', async (t) => {
  const world = new LockWorld()
  const [first, second] = clients(world, 2) as [LockClient, LockClient]
  const lock = await world.get(first.mutex('a').acquire())
  const next = second.mutex('a').acquire()
  await world.get(lock.release())
  await world.get(next)
  t.equal(await world.failure(lock.release()), 'LOCK_NOT_HELD')
  await world.get(disposed(lock))
  t.equal(world.holders('a').length, 1)
  t.ok(lock.signal.aborted, 'nothing is done under it any more')
})

void test('Mutex: two releases at once give it back once', async (t) => {
  const world = new LockWorld()
  const [first] = clients(world, 1) as [LockClient]
  const lock = await world.get(first.mutex('a').acquire())
  const both = await world.get(Promise.allSettled([lock.release(), lock.release()]))
  t.same(
    both.map(({ status }) => status),
    ['fulfilled', 'rejected'],
  )
  t.equal(world.commands.filter(({ type }) => type === 'release').length, 1)
})

void test('Mutex, re-entrant: the same owner has it again at once, and it is free after as many releases (L5)', async (t) => {
  const world = new LockWorld()
  const [first, second] = clients(world, 2) as [LockClient, LockClient]
  const lock = first.mutex('a', { reentrant: true })
  const outer = await world.get(lock.acquire({ owner: 'x' }))
  const before = world.commands.length
  const inner = await world.get(first.mutex('a', { reentrant: true }).acquire({ owner: 'x' }))
  t.equal(world.commands.length, before, 'nobody was asked')
  t.equal(inner.token, outer.token)
  t.equal(await world.get(lock.tryAcquire({ owner: 'y' })), undefined, 'another owner of the same process')
  t.equal(await world.get(second.mutex('a', { reentrant: true }).tryAcquire({ owner: 'x' })), undefined)
  await world.get(outer.release())
  t.equal(await world.failure(outer.release()), 'LOCK_NOT_HELD')
  await world.get(disposed(outer))
  t.equal(world.holders('a').length, 1)
  t.notOk(inner.signal.aborted)
  await world.get(inner.release())
  t.same(world.holders('a'), [])
  const again = await world.get(lock.acquire({ owner: 'x' }))
  t.ok(again.token > outer.token)
  t.equal(await world.failure(lock.acquire()), 'LOCK_BAD_REQUEST')
})

void test('Mutex, re-entrant: an owner that asks twice at a time has it twice, and nobody between', async (t) => {
  const world = new LockWorld()
  const [first, second] = clients(world, 2) as [LockClient, LockClient]
  const lock = first.mutex('a', { reentrant: true })
  const [one, two] = (await world.get(
    Promise.all([lock.acquire({ owner: 'x' }), lock.acquire({ owner: 'x' })]),
  )) as [Held, Held]
  t.equal(one.token, two.token)
  await world.get(one.release())
  t.equal(await world.get(second.mutex('a').tryAcquire()), undefined)
  await world.get(two.release())
  t.same(world.holders('a'), [])
})

void test('Mutex, re-entrant: what was lost does not count any more', async (t) => {
  const world = new LockWorld()
  const { client, port } = world.client()
  const [second] = clients(world, 1) as [LockClient]
  const lock = client.mutex('a', { reentrant: true })
  const outer = await world.get(lock.acquire({ owner: 'x' }))
  port.stop(ttlMs * 2)
  const other = await world.get(second.mutex('a').acquire())
  await world.time.pass(ttlMs * 2)
  const waits = lock.acquire({ owner: 'x' })
  await world.time.pass(20)
  t.equal(world.waiting('a'), 1)
  await world.get(other.release())
  t.ok((await world.get(waits)).token > other.token)
  await world.get(disposed(outer))
  t.equal(world.holders('a').length, 1)
})

void test('Mutex: who would wait for itself is refused with the cycle', async (t) => {
  const world = new LockWorld()
  const [first, second] = clients(world, 2) as [LockClient, LockClient]
  await world.get(first.mutex('a').acquire({ owner: 'x' }))
  await world.get(second.mutex('b').acquire({ owner: 'y' }))
  const waits = first.mutex('b').acquire({ owner: 'x' })
  await world.time.pass(20)
  const failed = second.mutex('a').acquire({ owner: 'y' })
  const error = await world.get(failed.catch((problem: unknown) => problem))
  t.match(error, { code: 'LOCK_DEADLOCK', details: { cycle: [{ name: 'a' }, { name: 'b' }] } })
  t.equal(world.waiting('a'), 0)
  await world.get(second.close())
  await world.get(waits)
})

void test('ReadWriteLock: readers share, a writer is alone, and later readers wait behind a writer that waits (L7)', async (t) => {
  const world = new LockWorld()
  const [a, b, c, d] = clients(world, 4).map((client) => client.readWriteLock('l'))
  if (a === undefined || b === undefined || c === undefined || d === undefined) throw new Error('four')
  const [one, two] = (await world.get(Promise.all([a.read.acquire(), b.read.acquire()]))) as [Held, Held]
  const writes = c.write.acquire()
  await world.time.pass(20)
  t.equal(await world.get(d.read.tryAcquire()), undefined)
  const reads = d.read.acquire()
  await world.time.pass(20)
  await world.get(one.release())
  t.equal(world.waiting('l'), 2)
  await world.get(two.release())
  const writer = await world.get(writes)
  t.equal(world.waiting('l'), 1)
  t.equal(await world.get(a.read.tryAcquire()), undefined)
  await world.get(writer.release())
  t.ok((await world.get(reads)).token > writer.token)
})

void test('ReadWriteLock: a writer becomes a reader with nobody writing between; the old hold is void, the new one counts (L7)', async (t) => {
  const world = new LockWorld()
  const [first, second] = clients(world, 2) as [LockClient, LockClient]
  const writer = await world.get(first.readWriteLock('l').write.acquire())
  const next = second.readWriteLock('l').write.acquire()
  await world.time.pass(20)
  const reader = await world.get(writer.downgrade())
  await world.get(disposed(writer))
  t.equal(await world.failure(writer.release()), 'LOCK_NOT_HELD')
  t.equal(await world.failure(writer.downgrade()), 'LOCK_NOT_HELD')
  t.equal(reader.token, writer.token)
  t.same(world.holders('l').length, 1)
  t.equal(world.waiting('l'), 1)
  await world.get(reader.release())
  t.ok((await world.get(next)).token > writer.token)
})

void test('ReadWriteLock: a downgrade of which nobody knows whether it was carried out can be asked for again', async (t) => {
  const world = new LockWorld()
  const { client, port } = world.client()
  const writer = await world.get(client.readWriteLock('l').write.acquire())
  port.fate = ({ command, isAnswer }) => (command?.type === 'downgrade' && isAnswer ? 'lost' : 'fine')
  t.equal(await world.failure(writer.downgrade({ timeoutMs: 300 })), 'PROTOCOLS_OUTCOME_UNKNOWN')
  t.equal(world.holders('l').length, 1)
  port.fate = () => 'fine'
  const reader = await world.get(writer.downgrade())
  await world.get(reader.release())
  t.same(world.holders('l'), [])
})

void test('ReadWriteLock: a reader that asks to write is refused, a writer may read (L7)', async (t) => {
  const world = new LockWorld()
  const [first, second] = clients(world, 2) as [LockClient, LockClient]
  const lock = first.readWriteLock('l')
  const reader = await world.get(lock.read.acquire({ owner: 'x' }))
  t.equal(await world.failure(lock.write.acquire({ owner: 'x' })), 'LOCK_UPGRADE')
  await world.get(reader.release())
  const writer = await world.get(lock.write.acquire({ owner: 'x' }))
  const both = await world.get(lock.read.acquire({ owner: 'x' }))
  await world.get(writer.release())
  t.equal(await world.get(second.readWriteLock('l').write.tryAcquire()), undefined)
  await world.get(both.release())
  t.ok(await world.get(second.readWriteLock('l').write.tryAcquire()))
})

void test('Semaphore: as many permits as there are, a large request is not passed by, and each permit comes back once (L8)', async (t) => {
  const world = new LockWorld()
  const [a, b, c] = clients(world, 3).map((client) => client.semaphore('s', { permits: 3 }))
  if (a === undefined || b === undefined || c === undefined) throw new Error('three')
  const two = await world.get(a.acquire({ permits: 2 }))
  const three = b.acquire({ permits: 3 })
  await world.time.pass(20)
  t.equal(await world.get(c.tryAcquire()), undefined, 'behind the one who waits')
  const one = c.acquire()
  await world.time.pass(20)
  await world.get(Promise.allSettled([two.release(), two.release(), disposed(two)]))
  const all = await world.get(three)
  t.equal(world.waiting('s'), 1)
  await world.get(all.release())
  await world.get(one)
  t.ok(await world.get(a.tryAcquire({ permits: 2 })))
  t.equal(await world.get(b.tryAcquire()), undefined, 'no permit came back twice')
})

void test('Semaphore: its permits change while it is used, and a crash gives all back (L8)', async (t) => {
  const world = new LockWorld()
  const first = world.client()
  const [second] = clients(world, 1) as [LockClient]
  const a = first.client.semaphore('s', { permits: 2 })
  const b = second.semaphore('s', { permits: 2 })
  await world.get(a.acquire({ permits: 2 }))
  await world.get(b.setPermits(3))
  await world.get(b.acquire())
  await world.get(b.setPermits(1))
  const waits = b.acquire({ timeoutMs: 60_000 })
  await world.time.pass(20)
  t.equal(world.waiting('s'), 1, 'whoever holds more than is left keeps it')
  first.port.stop(600_000)
  await world.time.pass(ttlMs * 2)
  t.equal(world.waiting('s'), 1, 'the second has the one that is left')
  await world.get(b.setPermits(2))
  await world.get(waits)
  t.same(world.holders('s').length, 2)
})

void test('Semaphore: who waits for more than there are any more is refused, and those behind it go on', async (t) => {
  for (const isPushLost of [false, true]) {
    const world = new LockWorld()
    const [first, third] = clients(world, 2) as [LockClient, LockClient]
    const second = world.client()
    const options = { permits: 4 }
    await world.get(first.semaphore('s', options).acquire({ permits: 3 }))
    const large = world.get(
      second.client
        .semaphore('s', options)
        .acquire({ permits: 4, timeoutMs: 600_000 })
        .catch((error: unknown) => error),
    )
    await world.time.pass(20)
    const small = third.semaphore('s', options).acquire({ timeoutMs: 600_000 })
    await world.time.pass(20)
    t.equal(world.waiting('s'), 2)
    if (isPushLost) second.port.fate = ({ verb }) => (verb === 'push' ? 'lost' : 'fine')
    const sinceMs = world.time.nowMs
    await world.get(first.semaphore('s', options).setPermits(2))
    t.match(await large, { code: 'LOCK_BAD_REQUEST', message: /has 2 permits in all, and 4 were asked for/ })
    t.ok(
      world.time.nowMs - sinceMs <= (isPushLost ? ttlMs / 2 : 10 * latencyMs),
      `${world.time.nowMs - sinceMs} ms`,
    )
    t.equal(world.waiting('s'), 1, 'nobody stands before the small one')
    await world.get(first.semaphore('s', options).setPermits(4))
    await world.get(small)
  }
})

void test('Semaphore: who is refused as permits are raised again waits anew', async (t) => {
  const world = new LockWorld()
  const [first, second] = clients(world, 2) as [LockClient, LockClient]
  const options = { permits: 4 }
  const one = await world.get(first.semaphore('s', options).acquire())
  const large = second.semaphore('s', options).acquire({ permits: 4, timeoutMs: 600_000 })
  await world.time.pass(20)
  const lowered = first.semaphore('s', options).setPermits(2)
  const raised = first.semaphore('s', options).setPermits(4)
  await world.get(Promise.all([lowered, raised]))
  await world.time.pass(20)
  t.equal(world.waiting('s'), 1)
  await world.get(one.release())
  await world.get(large)
})

void test('LockClient: what is no time to wait, and what are no numbers, is refused before anything is sent', async (t) => {
  const world = new LockWorld()
  const { client } = world.client()
  await world.get(client.session())
  const before = world.commands.length
  for (const ms of [0, -1, Number.NaN]) {
    const refused = async (promise: Promise<unknown>): Promise<void> => {
      await t.rejects(
        world.get(promise),
        { code: 'LOCK_BAD_REQUEST', message: /"timeoutMs" must be .*tryAcquire/ },
        `${ms}`,
      )
    }
    const options = { timeoutMs: ms }
    await refused(client.mutex('a').acquire(options))
    await refused(client.mutex('a').tryAcquire(options))
    await refused(client.semaphore('b', { permits: 1 }).acquire(options))
    await refused(client.spinLock('c', { ttlMs: 100 }).acquire(options))
    await refused(client.spinLock('c', { ttlMs: 100 }).tryAcquire(options))
    await refused(client.multi([client.mutex('a')]).acquire(options))
    await refused(client.barrier('d', { parties: 1 }).pass(options))
    await refused(client.latch('e', { count: 1 }).wait(options))
    await refused(client.session(options))
  }
  const text = { timeoutMs: '5' as unknown as number }
  const isText = {
    name: 'TypeError',
    message: /"timeoutMs" must be a number of milliseconds, got the string "5"/,
  }
  for (const refused of [
    () => client.mutex('a').acquire(text),
    () => client.spinLock('c', { ttlMs: 100 }).acquire(text),
    () => client.multi([client.mutex('a')]).acquire(text),
    () => client.latch('e', { count: 1 }).wait(text),
    () => client.session(text),
  ]) {
    await t.rejects(world.get<unknown>(refused()), isText)
  }
  const wrong = { code: 'LOCK_BAD_REQUEST', message: /must be a whole number from/ }
  for (const number of [-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53]) {
    t.throws(() => client.barrier('d', { parties: number }), { ...wrong, details: { value: number } })
    t.throws(() => client.doubleBarrier('d', { parties: number }), wrong)
    t.throws(() => client.latch('e', { count: number }), wrong)
    t.throws(() => client.spinLock('c', { ttlMs: number }), wrong)
    t.throws(() => client.semaphore('b', { permits: number }), wrong)
    await t.rejects(client.latch('e', { count: 1 }).countDown(number), wrong)
    await t.rejects(client.semaphore('b', { permits: 1 }).acquire({ permits: number }), wrong)
    await t.rejects(client.semaphore('b', { permits: 1 }).setPermits(number), wrong)
  }
  t.throws(() => client.barrier('d', { parties: 0 }), wrong)
  t.throws(() => client.barrier('d', { parties: lockLimits.partiesMax + 1 }), {
    message: 'Cannot use the barrier "d": "parties" must be a whole number from 1 to 16384, got 16385',
  })
  t.throws(() => client.spinLock('c', { ttlMs: lockLimits.ttlMsMax + 1 }), wrong)
  t.equal(world.commands.length, before)
  const spin = await world.get(client.spinLock('c', { ttlMs: 100 }).acquire())
  await t.rejects(spin.extend(0.5), wrong)
})

void test('LockClient: LOCK_TIMEOUT says of what, after how long, and how many were before it', async (t) => {
  const world = new LockWorld()
  const [first, second, third] = clients(world, 3) as [LockClient, LockClient, LockClient]
  await world.get(first.mutex('a').acquire())
  const next = second.mutex('a').acquire({ timeoutMs: 60_000 })
  await world.time.pass(20)
  await t.rejects(world.get(third.mutex('a').acquire({ timeoutMs: 100 })), {
    code: 'LOCK_TIMEOUT',
    details: { name: 'a', waitedMs: 100, ahead: 1, outcome: 'not-held' },
  })
  await world.get(first.close())
  await world.get(next)
  const spin = second.spinLock('s', { ttlMs: 60_000 })
  await world.get(spin.acquire())
  await t.rejects(world.get(third.spinLock('s', { ttlMs: 1_000 }).acquire({ timeoutMs: 100 })), {
    code: 'LOCK_TIMEOUT',
    details: { name: 's', waitedMs: 100, outcome: 'not-held' },
  })
  const cut = world.client()
  await world.get(cut.client.session())
  cut.port.fate = ({ verb }) => (verb === 'write' ? 'lost' : 'fine')
  await t.rejects(world.get(cut.client.mutex('b').acquire({ timeoutMs: 300 })), {
    code: 'LOCK_TIMEOUT',
    details: { name: 'b', waitedMs: 300, ahead: undefined, outcome: 'unknown' },
  })
})

void test('multi: takes all in the order of their names, whatever order they are given in', async (t) => {
  const world = new LockWorld()
  const [first, second] = clients(world, 2) as [LockClient, LockClient]
  const both = (client: LockClient, names: readonly string[]): Promise<void> =>
    (async () => {
      for (let i = 0; i < 10; i++) {
        const all = await client.multi(names.map((name) => client.mutex(name))).acquire()
        await client.sleep(3)
        await all.release()
      }
    })()
  await world.get(Promise.all([both(first, ['a', 'b', 'c']), both(second, ['c', 'a', 'b'])]))
  const all = await world.get(first.multi([first.mutex('b'), first.mutex('a')]).acquire())
  t.same([...all.tokens.keys()], ['a', 'b'])
  t.equal(all.token, Math.max(...all.tokens.values()))
  t.equal(
    await world.failure(
      first
        .multi([first.mutex('x'), first.mutex('y')])
        .acquire()
        .then((some) => some.release())
        .then(() => all.release())
        .then(() => all.release()),
    ),
    'LOCK_NOT_HELD',
  )
  for (const name of ['a', 'b', 'x', 'y']) t.same(world.holders(name), [])
  t.throws(() => first.multi([first.mutex('a'), second.mutex('a')]), { code: 'LOCK_BAD_REQUEST' })
  t.throws(() => first.multi([]), { code: 'LOCK_BAD_REQUEST' })
})

void test('multi: gives back what it has when one is not had', async (t) => {
  const world = new LockWorld()
  const [first, second] = clients(world, 2) as [LockClient, LockClient]
  const lock = await world.get(second.mutex('b').acquire())
  const waits = first.multi(['c', 'a', 'b'].map((name) => first.mutex(name))).acquire({ timeoutMs: 300 })
  await world.time.pass(100)
  t.equal(world.holders('a').length, 1)
  t.equal(await world.failure(waits), 'LOCK_TIMEOUT')
  await world.time.pass(20)
  for (const name of ['a', 'c']) t.same(world.holders(name), [])
  t.equal(world.waiting('b'), 0)
  await world.get(lock.release())
})

void test('multi: one that is lost aborts the signal of all', async (t) => {
  const world = new LockWorld()
  const first = world.client()
  const [second] = clients(world, 1) as [LockClient]
  const all = await world.get(second.multi([first.client.mutex('a'), second.mutex('b')]).acquire())
  const { signal } = all
  first.port.stop(ttlMs * 2)
  await world.time.pass(ttlMs * 2 + 10)
  t.match(signal.reason, { code: 'LOCK_LOST' })
  t.equal(world.holders('b').length, 1, 'until it is released')
  t.equal(await world.failure(all.release()), 'LOCK_NOT_HELD')
  t.same(world.holders('b'), [])
})

void test('multi: is not had when one was lost while the next was waited for (L1)', async (t) => {
  const world = new LockWorld()
  const first = world.client()
  const [second, third] = clients(world, 2) as [LockClient, LockClient]
  const lock = await world.get(third.mutex('b').acquire())
  const failed = world.failure(second.multi([first.client.mutex('a'), second.mutex('b')]).acquire())
  await world.time.pass(20)
  first.port.fate = ({ command }) => (command?.type === 'keep-alive' ? 'lost' : 'fine')
  await world.time.pass(ttlMs * 2)
  await world.get(lock.release())
  t.equal(await failed, 'LOCK_SESSION_LOST')
  await world.time.pass(20)
  for (const name of ['a', 'b']) t.same(world.holders(name), [])
})

void test('SpinLock: one at a time, ended by its time, and released only by its owner and token (L12)', async (t) => {
  const world = new LockWorld()
  const [first, second] = clients(world, 2) as [LockClient, LockClient]
  const lock = await world.get(first.spinLock('s', { ttlMs: 1_000 }).acquire())
  t.equal(await world.get(second.spinLock('s', { ttlMs: 1_000 }).tryAcquire()), undefined)
  const { signal } = lock
  const next = await world.get(second.spinLock('s', { ttlMs: 1_000 }).acquire())
  t.ok(world.time.nowMs >= 1_000)
  t.ok(next.token > lock.token)
  t.match(signal.reason, { code: 'LOCK_LOST' })
  t.equal(await world.failure(lock.release()), 'LOCK_NOT_HELD')
  await world.get(disposed(lock))
  t.equal(await world.get(first.spinLock('s', { ttlMs: 1_000 }).tryAcquire()), undefined)
  const owner = world.machine.view('s')?.holders[0]?.owner ?? ''
  t.match(world.apply({ type: 'spin-release', name: 's', owner, token: lock.token }), {
    result: { was: 'nothing' },
  })
  t.equal(world.holders('s').length, 1, 'nor by an old token')
  await world.get(next.release())
  t.ok(await world.get(first.spinLock('s', { ttlMs: 1_000 }).tryAcquire()))
})

void test('SpinLock: its signal aborts before its time is over, and extending moves that', async (t) => {
  const world = new LockWorld()
  const [first] = clients(world, 1) as [LockClient]
  const lock = await world.get(first.spinLock('s', { ttlMs: 1_000 }).acquire())
  const { signal } = lock
  t.equal(lock.heldUntilMs, 940)
  await world.time.pass(500)
  await world.get(lock.extend(2_000))
  t.ok(lock.heldUntilMs > 2_300)
  await world.time.pass(1_500)
  t.notOk(signal.aborted)
  await world.time.pass(500)
  t.ok(signal.aborted)
  t.equal(world.holders('s').length, 1)
  t.equal(await world.failure(lock.extend(1_000)), 'LOCK_NOT_HELD')
  const short = await world.get(first.spinLock('t', { ttlMs: 5_000 }).acquire())
  const { signal: early } = short
  const sinceMs = world.time.nowMs
  await world.get(short.extend(1_000))
  await world.time.pass(945)
  t.ok(early.aborted, 'also to the other side')
  t.ok(world.time.nowMs - sinceMs < 1_000)
})

void test('SpinLock: one of which nobody knows whether it was had is freed by its owner', async (t) => {
  const world = new LockWorld()
  const { client, port } = world.client()
  port.fate = ({ command, isAnswer }) => (command?.type === 'spin-acquire' && isAnswer ? 'lost' : 'fine')
  const spin = client.spinLock('s', { ttlMs: 600_000 })
  t.equal(await world.failure(spin.acquire({ timeoutMs: 300 })), 'LOCK_TIMEOUT')
  await world.time.pass(20)
  t.same(world.holders('s'), [])
  const controller = new AbortController()
  const failed = world.failure(spin.acquire({ signal: controller.signal }))
  await world.time.pass(3)
  controller.abort()
  t.equal(await failed, 'RUNTIME_ABORTED')
  await world.time.pass(20)
  t.same(world.holders('s'), [])
})

void test('SpinLock: an owner that is named has it again, under the same token', async (t) => {
  const world = new LockWorld()
  const [first, second] = clients(world, 2) as [LockClient, LockClient]
  const one = await world.get(first.spinLock('s', { ttlMs: 1_000, owner: 'x' }).acquire())
  await world.time.pass(500)
  const two = await world.get(second.spinLock('s', { ttlMs: 1_000, owner: 'x' }).acquire())
  t.equal(one.token, two.token)
  await world.time.pass(700)
  t.equal(world.holders('s').length, 1)
})

void test('SpinLock: waiters do not ask in step', async (t) => {
  const world = new LockWorld()
  const all = clients(world, 6)
  await world.get((all[0] as LockClient).spinLock('s', { ttlMs: 3_000 }).acquire())
  const waits = all
    .slice(1)
    .map((client) => world.failure(client.spinLock('s', { ttlMs: 1_000 }).acquire({ timeoutMs: 2_000 })))
  const times: number[] = []
  const { apply } = world
  world.apply = (command) => {
    if (command.type === 'spin-acquire') times.push(world.time.nowMs)
    return Reflect.apply(apply, world, [command])
  }
  t.same(new Set(await Promise.all(waits)), new Set(['LOCK_TIMEOUT']))
  const later = times.filter((ms) => ms > 100)
  t.ok(later.length < 60, `${later.length} tries`)
  t.ok(new Set(later).size > later.length / 2, 'spread')
})

void test('LockClient: has no more under way than a session may, and says so', async (t) => {
  const world = new LockWorld()
  const { client, port } = world.client()
  await world.get(client.session())
  // The table, which has the same limit, is not asked.
  port.isCutOff = true
  const asked = Array.from({ length: lockLimits.requestsPerSessionMax }, () => client.mutex('a').acquire())
  const all = Promise.allSettled(asked)
  t.equal(await world.failure(client.mutex('a').acquire()), 'LOCK_LIMIT')
  await world.get(client.close())
  t.ok((await all).every(({ status }) => status === 'rejected'))
})

void test('LockClient: view, list and remove', async (t) => {
  const world = new LockWorld()
  const [client] = clients(world, 1) as [LockClient]
  await world.get(client.mutex('a/1').acquire({ owner: 'me' }))
  await world.get(client.counter('a/2').add(1))
  await world.get(client.counter('b').add(1))
  t.match(await world.get(client.view('a/1')), {
    kind: 'mutex',
    holders: [{ owner: 'me', label: 'client 1' }],
  })
  t.equal(await world.get(client.view('nothing')), undefined)
  t.same(
    (await world.get(client.list('a/'))).map(({ name }) => name),
    ['a/1', 'a/2'],
  )
  await world.get(client.remove('b'))
  t.equal(await world.get(client.view('b')), undefined)
  t.equal(await world.failure(client.mutex('a/2').acquire()), 'LOCK_WRONG_KIND')
  t.ok(world.time.nowMs < 100 * latencyMs)
})
