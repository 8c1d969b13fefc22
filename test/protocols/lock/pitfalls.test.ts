/**
 * Traps that others fell into with locks, by the numbers of the list that this project keeps (L1 to L6; L3, which is Curator's, is
 * curator.test.ts, and L7 to L12 are pitfalls-recipes.test.ts): a table and its clients over links that lose and delay, in virtual time. The same on whole nodes, with every
 * fault at once: test/simulation/lock.
 */
import { test } from 'tap'
import { guard } from '@understudy/protocols'
import { isActorError } from '@understudy/runtime'
import { LockWorld, ttlMs, type Traffic } from './lock-world.ts'

const isGrant = ({ verb }: Traffic): boolean => verb === 'push'

/** A file that is read, changed and written back; without a guard it does whatever it is told. */
function ledger(): { value: number; writes: number } {
  return { value: 0, writes: 0 }
}

void test('L1 whoever has waited looks at its own lease before it believes in its lock (etcd #11456)', async (t) => {
  const world = new LockWorld()
  const first = world.client()
  const sleeper = world.client()
  const third = world.client()
  const held = await world.get(first.client.mutex('a').acquire())
  const waiting = sleeper.client.mutex('a').acquire({ timeoutMs: 60_000 })
  await world.time.pass(500)
  // It is granted while its process stands still, for longer than the lease that it is granted by.
  sleeper.port.stop(2 * ttlMs)
  await world.get(held.release())
  await world.time.pass(10)
  t.equal(world.holders('a').length, 1, 'the table gave it to the sleeper')
  const outcome = world.failure(waiting)
  const next = await world.get(third.client.mutex('a').acquire({ timeoutMs: 60_000 }))
  t.ok(next.token > held.token + 1, 'and then to the next')
  await world.time.pass(2 * ttlMs)
  t.equal(await outcome, 'LOCK_SESSION_LOST')
  t.notOk(next.signal.aborted)
})

void test('L1 a lock alone excludes nobody: with the guard the past is refused, without it an update is lost (etcd #11457)', async (t) => {
  for (const isGuarded of [true, false]) {
    const world = new LockWorld()
    const first = world.client()
    const second = world.client()
    const file = ledger()
    const guarded = guard(file)
    const write = async (token: number, value: number): Promise<string> => {
      const act = (): string => {
        file.value = value
        file.writes++
        return 'written'
      }
      if (!isGuarded) return act()
      return guarded.run(token, act).catch((error: unknown) => (isActorError(error) ? error.code : 'failed'))
    }
    const sleeper = await world.get(first.client.mutex('a').acquire())
    const read = file.value
    // Looked at the signal, and was then stopped right before its write.
    t.notOk(sleeper.signal.aborted)
    first.port.stop(2 * ttlMs)
    const other = await world.get(second.client.mutex('a').acquire({ timeoutMs: 60_000 }))
    t.equal(await write(other.token, file.value + 1), 'written')
    t.equal(await write(sleeper.token, read + 1), isGuarded ? 'LOCK_FENCED' : 'written')
    t.equal(file.value === file.writes, isGuarded, isGuarded ? 'nothing is lost' : 'an update is lost')
  }
})

void test('L2 the signal aborts before the table can give it to others, counted from when the keep-alive was sent', async (t) => {
  const world = new LockWorld()
  const slow = world.client()
  const other = world.client()
  const held = await world.get(slow.client.mutex('a').acquire())
  let lostMs = Number.POSITIVE_INFINITY
  held.signal.addEventListener('abort', () => {
    lostMs = world.time.nowMs
  })
  // Answers take long; then none come. A lease counted from an answer would outlive the table's.
  slow.port.fate = ({ command, isAnswer }) =>
    command?.type === 'keep-alive' && isAnswer ? ttlMs / 7 : 'fine'
  await world.time.pass(2 * ttlMs)
  t.equal(lostMs, Number.POSITIVE_INFINITY)
  slow.port.fate = ({ command }) => (command?.type === 'keep-alive' ? 'lost' : 'fine')
  await world.get(other.client.mutex('a').acquire({ timeoutMs: 60_000 }))
  t.ok(lostMs <= world.time.nowMs - ttlMs * 0.05, `lost at ${lostMs}, given to others at ${world.time.nowMs}`)
})

void test('L2 keep-alives do not stand in line behind other work', async (t) => {
  const world = new LockWorld()
  const { client, port } = world.client()
  const held = await world.get(client.mutex('a').acquire())
  port.fate = ({ verb }) => (verb === 'write' || verb === 'states' ? 'lost' : 'fine')
  const stuck = Array.from({ length: 100 }, (_, i) => world.failure(client.counter(`c${i}`).add(1)))
  await world.time.pass(3 * ttlMs)
  t.notOk(held.signal.aborted)
  await Promise.all(stuck)
})

void test('L4 an acquire whose answer is lost is found again by session and number: held once, given back whole', async (t) => {
  const world = new LockWorld()
  const first = world.client()
  const second = world.client()
  let lost = 0
  first.port.fate = ({ command, isAnswer }) =>
    command?.type === 'acquire' && isAnswer && lost++ < 3 ? 'lost' : 'fine'
  const held = await world.get(first.client.mutex('a').acquire())
  t.equal(lost, 4)
  t.equal(world.holders('a').length, 1)
  await world.get(held.release())
  const next = await world.get(second.client.mutex('a').acquire({ timeoutMs: 100 }))
  t.equal(next.token, held.token + 1)
})

void test('L4 created, and its creator crashed: it is free when the session ends, not before, not never', async (t) => {
  const world = new LockWorld()
  const crashed = world.client()
  const other = world.client()
  crashed.port.fate = ({ command, isAnswer }) => (command?.type === 'acquire' && isAnswer ? 'lost' : 'fine')
  const unheard = world.failure(crashed.client.mutex('a').acquire({ timeoutMs: 200 }))
  await world.time.pass(100)
  t.equal(world.holders('a').length, 1)
  crashed.port.fate = () => 'lost'
  const sinceMs = world.time.nowMs
  const held = await world.get(other.client.mutex('a').acquire({ timeoutMs: 60_000 }))
  t.ok(world.time.nowMs - sinceMs >= ttlMs * 0.6, 'not before its session has ended')
  t.ok(world.time.nowMs - sinceMs <= ttlMs + 200)
  t.equal(world.holders('a').length, 1)
  t.notOk(held.signal.aborted)
  t.not(await unheard, 'it did not fail')
})

void test('L4 an acquire that is given up, and comes to the table afterwards, holds nothing', async (t) => {
  const world = new LockWorld()
  const { client, port } = world.client()
  const other = world.client()
  await world.get(client.session())
  let isFirst = true
  port.fate = ({ command, isAnswer }) => {
    if (command?.type !== 'acquire' || isAnswer) return 'fine'
    const wasFirst = isFirst
    isFirst = false
    // The first try travels for long; no other arrives.
    return wasFirst ? 1_500 : 'lost'
  }
  t.not(await world.failure(client.mutex('a').acquire({ timeoutMs: 300 })), 'it did not fail')
  await world.time.pass(5_000)
  t.same(world.holders('a'), [])
  await world.get(other.client.mutex('a').acquire({ timeoutMs: 100 }))
})

void test('L5 who does not hold it cannot release it: neither another, nor the same a second time, nor by an old token', async (t) => {
  const world = new LockWorld()
  const first = world.client()
  const second = world.client()
  const old = await world.get(first.client.mutex('a').acquire())
  await world.get(old.release())
  const held = await world.get(second.client.mutex('a').acquire())
  t.equal(await world.failure(old.release()), 'LOCK_NOT_HELD')
  t.same(world.holders('a'), [(await world.get(second.client.session())).id])
  const { id } = await world.get(first.client.session())
  for (const request of [1, 2, 3]) world.apply({ type: 'release', session: id, request })
  t.equal(world.holders('a').length, 1)
  t.notOk(held.signal.aborted)
  // A spin lock, by owner and token.
  const spin = await world.get(first.client.spinLock('s', { ttlMs: 1_000 }).acquire())
  await world.time.pass(1_500)
  const next = await world.get(second.client.spinLock('s', { ttlMs: 60_000 }).acquire())
  t.equal(await world.failure(spin.release()), 'LOCK_NOT_HELD')
  world.apply({ type: 'spin-release', name: 's', owner: 'somebody', token: spin.token })
  world.apply({ type: 'spin-release', name: 's', owner: 'somebody', token: next.token })
  t.equal(await world.get(first.client.spinLock('s', { ttlMs: 1_000 }).tryAcquire()), undefined)
})

void test('L5 re-entrancy counts for an owner and its token, not for a process', async (t) => {
  const world = new LockWorld()
  const { client } = world.client()
  const lock = client.mutex('a', { reentrant: true })
  const outer = await world.get(lock.acquire({ owner: 'x' }))
  const inner = await world.get(lock.acquire({ owner: 'x' }))
  t.equal(inner.token, outer.token)
  t.equal(await world.get(lock.tryAcquire({ owner: 'y' })), undefined, 'another course of the same process')
  await world.get(inner.release())
  t.equal(await world.failure(inner.release()), 'LOCK_NOT_HELD')
  t.equal(await world.get(lock.tryAcquire({ owner: 'y' })), undefined, 'the outer one still holds it')
  await world.get(outer.release())
  const other = await world.get(lock.tryAcquire({ owner: 'y' }))
  t.ok((other?.token ?? 0) > outer.token)
})

void test('L6 no herd: a release tells one waiter, in one entry, however many wait', async (t) => {
  const world = new LockWorld()
  const holder = world.client()
  const held = await world.get(holder.client.mutex('a').acquire())
  let pushes = 0
  const order: number[] = []
  const waiting = Array.from({ length: 30 }, async (_, i) => {
    const { client, port } = world.client({ ttlMs: 600_000 })
    port.fate = (traffic) => {
      if (isGrant(traffic)) pushes++
      return 'fine'
    }
    const got = await client.mutex('a').acquire({ timeoutMs: 500_000 })
    order.push(i)
    return got
  })
  await world.time.pass(200)
  t.equal(world.waiting('a'), 30)
  const before = world.commands.length
  await world.get(held.release())
  await world.time.pass(50)
  t.same(order, [0])
  t.equal(pushes, 1)
  t.same(
    world.commands.slice(before).map(({ type }) => type),
    ['release'],
  )
  for (const one of waiting) await world.get(world.get(one).then((got) => got.release()))
  t.same(
    order,
    Array.from({ length: 30 }, (_, i) => i),
    'in the order in which they came',
  )
})

void test('L6 who is before one in the queue may go by release, by expiry or by giving up: each time the next is woken', async (t) => {
  const world = new LockWorld()
  const holder = world.client()
  const crashing = world.client()
  const impatient = world.client()
  const last = world.client()
  const held = await world.get(holder.client.mutex('a').acquire())
  const crashed = world.failure(crashing.client.mutex('a').acquire({ timeoutMs: 60_000 }))
  await world.time.pass(50)
  const gaveUp = world.failure(impatient.client.mutex('a').acquire({ timeoutMs: 2_000 }))
  await world.time.pass(50)
  const waiting = last.client.mutex('a').acquire({ timeoutMs: 60_000 })
  await world.time.pass(50)
  t.equal(world.waiting('a'), 3)
  crashing.port.fate = () => 'lost'
  t.equal(await gaveUp, 'LOCK_TIMEOUT')
  await world.time.pass(2 * ttlMs)
  t.equal(world.waiting('a'), 1)
  await world.get(held.release())
  t.ok((await world.get(waiting)).token > held.token)
  t.not(await crashed, 'it did not fail')
  // And by expiry of the holder itself.
  last.port.fate = () => 'lost'
  await world.get(holder.client.mutex('a').acquire({ timeoutMs: 60_000 }))
})

void test('L6 a wake-up that was lost is found: the state of what waits is asked for with each keep-alive', async (t) => {
  const world = new LockWorld()
  const holder = world.client()
  const waiter = world.client()
  const held = await world.get(holder.client.mutex('a').acquire())
  waiter.port.fate = (traffic) => (isGrant(traffic) ? 'lost' : 'fine')
  const waiting = waiter.client.mutex('a').acquire({ timeoutMs: 60_000 })
  await world.time.pass(100)
  await world.get(held.release())
  const sinceMs = world.time.nowMs
  await world.get(waiting)
  t.ok(world.time.nowMs - sinceMs <= ttlMs / 2, `${world.time.nowMs - sinceMs} ms`)
})
