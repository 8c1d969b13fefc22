/** Counters, values, latches and barriers. */
import { test } from 'tap'
import { LockWorld, timeoutMs, ttlMs } from './lock-world.ts'
import type { LockClient } from './recipes-source.ts'

function clients(world: LockWorld, count: number): readonly LockClient[] {
  return Array.from({ length: count }, () => world.client().client)
}

async function taken<T>(changes: AsyncIterable<T>, count: number): Promise<readonly T[]> {
  const seen: T[] = []
  for await (const one of changes) {
    seen.push(one)
    if (seen.length === count) break
  }
  return seen
}

void test('Counter: adds once, however often it is tried, and compares before it sets', async (t) => {
  const world = new LockWorld()
  const { client, port } = world.client()
  const counter = client.counter('c')
  t.equal(await world.get(counter.get()), 0)
  let lost = 0
  port.fate = ({ verb, isAnswer }) => (verb === 'write' && isAnswer && lost++ < 2 ? 'lost' : 'fine')
  t.equal(await world.get(counter.add(5)), 5)
  t.equal(await world.get(counter.add(-2)), 3)
  t.same(await world.get(counter.compareAndSet(4, 9)), { ok: false, value: 3 })
  t.same(await world.get(counter.compareAndSet(3, 9)), { ok: true, value: 9 })
  await world.get(counter.set(1))
  t.equal(await world.get(counter.get()), 1)
  port.fate = ({ verb, isAnswer }) => (verb === 'write' && isAnswer ? 'lost' : 'fine')
  t.equal(await world.failure(counter.add(1, { timeoutMs: 300 })), 'PROTOCOLS_OUTCOME_UNKNOWN')
  port.fate = () => 'fine'
  await world.get(client.mutex('m').acquire())
  t.equal(await world.failure(client.counter('m').get()), 'LOCK_WRONG_KIND')
})

void test('Counter: changes() gives the newest each time, goes on over a time without servers, and ends with the signal', async (t) => {
  const world = new LockWorld()
  const { client, port } = world.client()
  const [other] = clients(world, 1) as [LockClient]
  const controller = new AbortController()
  const seen: number[] = []
  const ends = (async () => {
    for await (const value of client.counter('c').changes({ signal: controller.signal })) seen.push(value)
    return 'ended'
  })()
  await world.time.pass(20)
  t.same(seen, [0])
  await world.get(other.counter('c').add(1))
  await world.time.pass(20)
  t.same(seen, [0, 1])
  await world.time.pass(20_000)
  t.same(seen, [0, 1], 'nothing twice')
  port.isCutOff = true
  await world.time.pass(timeoutMs * 3)
  await world.get(other.counter('c').add(1))
  await world.get(other.counter('c').add(1))
  port.isCutOff = false
  await world.time.pass(timeoutMs * 2)
  t.equal(seen.at(-1), 3)
  controller.abort()
  t.equal(await world.get(ends), 'ended')
})

void test('Counter: changes() does not ask a server that never waits as fast as it answers', async (t) => {
  const world = new LockWorld()
  const { client, port } = world.client()
  const { view } = port
  let asked = 0
  Object.assign(port, {
    view: (name: string, { timeoutMs: most, signal }: Parameters<typeof view>[1]) => {
      asked++
      return view(name, { timeoutMs: most, signal })
    },
  })
  const seen = taken(client.counter('c').changes(), 2)
  await world.time.pass(10_000)
  t.ok(asked < 60, `${asked}`)
  await world.get(client.counter('c').add(7))
  t.same(await world.get(seen), [0, 7])
})

void test('AtomicValue: is compared by version, which never comes twice (L12)', async (t) => {
  const world = new LockWorld()
  const [client] = clients(world, 1) as [LockClient]
  const value = client.value('v')
  t.same(await world.get(value.get()), { version: 0, value: new Uint8Array(0) })
  const first = await world.get(value.compareAndSet(0, 'a'))
  t.match(first, { ok: true, value: Buffer.from('a') })
  t.match(await world.get(value.compareAndSet(0, 'b')), { ok: false, version: first.version })
  const second = await world.get(value.set('b'))
  const third = await world.get(value.set('a'))
  t.match(await world.get(value.compareAndSet(first.version, 'c')), { ok: false, version: third })
  t.ok(second < third)
  await world.get(client.remove('v'))
  const again = await world.get(value.set('a'))
  t.ok(again > third, 'also when it was gone meanwhile')
  t.same(Buffer.from((await world.get(value.get())).value).toString(), 'a')
})

void test('AtomicValue: changes() sees one that went and came again', async (t) => {
  const world = new LockWorld()
  const [client] = clients(world, 1) as [LockClient]
  const value = client.value('v')
  await world.get(value.set('a'))
  const seen = taken(value.changes(), 3)
  await world.time.pass(50)
  await world.get(value.set('a'))
  await world.time.pass(50)
  await world.get(client.remove('v'))
  const versions = (await world.get(seen)).map(({ version }) => version)
  t.equal(new Set(versions).size, 3)
  t.equal(versions.at(-1), 0)
})

void test('Latch: lets all through when it is 0, is set once, and counts down once however often it is tried', async (t) => {
  const world = new LockWorld()
  const { client, port } = world.client()
  const [second, third] = clients(world, 2) as [LockClient, LockClient]
  const waits = [second, third].map((one) => one.latch('l', { count: 3 }).wait())
  await world.time.pass(20)
  const latch = client.latch('l', { count: 9 })
  t.equal(await world.get(latch.get()), 3)
  let lost = 0
  port.fate = ({ command, isAnswer }) =>
    command?.type === 'latch-down' && isAnswer && lost++ < 2 ? 'lost' : 'fine'
  t.equal(await world.get(latch.countDown()), 2)
  t.equal(world.waiting('l'), 2)
  t.equal(await world.get(latch.countDown(2)), 0)
  await world.get(Promise.all(waits))
  await world.get(latch.wait())
  const writes = world.commands.length
  await world.time.pass(20)
  t.equal(world.commands.length, writes, 'one that is open leaves nothing behind')
  t.equal(await world.get(second.latch('n', { count: 2 }).countDown()), 1)
  t.equal(await world.failure(second.latch('m', { count: 1 }).wait({ timeoutMs: 100 })), 'LOCK_TIMEOUT')
  await world.time.pass(20)
  t.equal(world.waiting('m'), 0)
})

void test('Barrier: opens for as many as its parties, and is closed again for who comes next (L9)', async (t) => {
  const world = new LockWorld()
  const all = clients(world, 3)
  const rounds: number[][] = []
  const run = async (client: LockClient, i: number): Promise<void> => {
    const barrier = client.barrier('b', { parties: 3 })
    for (let round = 0; round < 5; round++) {
      // The first is quick to come again: it must not pass twice in one round.
      await client.sleep(i * 7)
      const generation = await barrier.pass()
      ;(rounds[i] ??= []).push(generation)
    }
  }
  await world.get(Promise.all(all.map(run)))
  t.same(rounds[0], rounds[1])
  t.same(rounds[1], rounds[2])
  t.equal(new Set(rounds[0]).size, 5)
  await world.time.pass(50)
  t.equal(world.machine.view('b'), undefined, 'nothing is left of it')
})

void test('Barrier: who gives up or dies while it waits has not come', async (t) => {
  const world = new LockWorld()
  const first = world.client()
  const [second, third] = clients(world, 2) as [LockClient, LockClient]
  const died = world.failure(first.client.barrier('b', { parties: 2 }).pass({ timeoutMs: 600_000 }))
  await world.time.pass(20)
  first.port.stop(ttlMs * 2)
  await world.time.pass(ttlMs * 1.5)
  t.equal(await world.failure(second.barrier('b', { parties: 2 }).pass({ timeoutMs: 300 })), 'LOCK_TIMEOUT')
  await world.time.pass(20)
  const waits = second.barrier('b', { parties: 2 }).pass()
  await world.time.pass(20)
  t.equal(world.waiting('b'), 1)
  const [one, two] = await world.get(Promise.all([waits, third.barrier('b', { parties: 2 }).pass()]))
  t.equal(one, two)
  t.equal(await died, 'LOCK_SESSION_LOST')
})

void test('DoubleBarrier: all enter together and all leave together (L9)', async (t) => {
  const world = new LockWorld()
  const [first, second, third] = clients(world, 3) as [LockClient, LockClient, LockClient]
  const enter = (client: LockClient) => client.doubleBarrier('d', { parties: 2 }).enter()
  const waits = enter(first)
  await world.time.pass(20)
  const [one, two] = await world.get(Promise.all([waits, enter(second)]))
  t.equal(one.generation, two.generation)
  const early = enter(third)
  const leaves = one.leave()
  await world.time.pass(20)
  const again = enter(second)
  await world.time.pass(20)
  let isThrough = false
  void again.then(() => {
    isThrough = true
  })
  await world.time.pass(20)
  t.notOk(isThrough, 'while others leave')
  await world.get(Promise.all([leaves, two.leave()]))
  const [three] = await world.get(Promise.all([early, again]))
  t.ok(three.generation > one.generation)
  t.equal(await world.failure(one.leave()), 'LOCK_NOT_HELD')
  t.ok(one.signal.aborted)
})

void test('DoubleBarrier: a crash between entering and leaving holds nobody up (L9)', async (t) => {
  const world = new LockWorld()
  const first = world.client()
  const [second] = clients(world, 1) as [LockClient]
  const [one, two] = await world.get(
    Promise.all([first.client, second].map((client) => client.doubleBarrier('d', { parties: 2 }).enter())),
  )
  if (one === undefined || two === undefined) throw new Error('two')
  const { signal } = one
  first.port.stop(ttlMs * 3)
  await world.get(two.leave())
  t.ok(world.time.nowMs > ttlMs * 0.9)
  await world.time.pass(ttlMs * 3)
  t.match(signal.reason, { code: 'LOCK_LOST' })
  t.equal(await world.failure(one.leave()), 'LOCK_NOT_HELD')
})

void test('DoubleBarrier: who gives up waiting for the others has left all the same', async (t) => {
  const world = new LockWorld()
  const [first, second] = clients(world, 2) as [LockClient, LockClient]
  const [one, two] = await world.get(
    Promise.all([first, second].map((client) => client.doubleBarrier('d', { parties: 2 }).enter())),
  )
  if (one === undefined || two === undefined) throw new Error('two')
  t.equal(await world.failure(one.leave({ timeoutMs: 300 })), 'LOCK_TIMEOUT')
  await world.get(two.leave())
  await world.time.pass(50)
  t.equal(await world.failure(one.leave()), 'LOCK_NOT_HELD')
  t.equal(world.machine.view('d'), undefined)
})

void test('DoubleBarrier: a leave of which nobody knows is made in the background', async (t) => {
  const world = new LockWorld()
  const { client, port } = world.client()
  const [second] = clients(world, 1) as [LockClient]
  const [one, two] = await world.get(
    Promise.all([client, second].map((each) => each.doubleBarrier('d', { parties: 2 }).enter())),
  )
  if (one === undefined || two === undefined) throw new Error('two')
  port.fate = ({ command }) => (command?.type === 'barrier' ? 'lost' : 'fine')
  t.equal(await world.failure(one.leave({ timeoutMs: 300 })), 'LOCK_TIMEOUT')
  const sinceMs = world.time.nowMs
  await world.get(two.leave())
  t.ok(world.time.nowMs - sinceMs < 50)
})

void test('DoubleBarrier: a leave that was surely not made can be made again', async (t) => {
  const world = new LockWorld()
  const { client, port } = world.client()
  const [second] = clients(world, 1) as [LockClient]
  const [one, two] = await world.get(
    Promise.all([client, second].map((each) => each.doubleBarrier('d', { parties: 2 }).enter())),
  )
  if (one === undefined || two === undefined) throw new Error('two')
  port.isCutOff = true
  t.equal(await world.failure(one.leave({ timeoutMs: 300 })), 'LOCK_UNAVAILABLE')
  port.isCutOff = false
  await world.get(Promise.all([one.leave(), two.leave()]))
})
