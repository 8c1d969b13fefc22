/** The downing lease on a lock table: what `DowningLease` asks of an implementation. */
import { test } from 'tap'
import { sourceModule } from '../../support/source-module.ts'
import { LockWorld } from '../lock/lock-world.ts'

const { lockDowningLease } = await sourceModule<
  typeof import('../../../packages/protocols/src/election/lock-downing-lease.ts')
>('protocols', 'election/lock-downing-lease')
type Side = ReturnType<LockWorld['client']> & { readonly lease: ReturnType<typeof lockDowningLease> }

const ttlMs = 6_000

function sides(world: LockWorld): { readonly a: Side; readonly b: Side; readonly c: Side } {
  const make = (label: string): Side => {
    const made = world.client({ label })
    return { ...made, lease: lockDowningLease(made.client, { ttlMs, timeoutMs: 1_000 }) }
  }
  return { a: make('a'), b: make('b'), c: make('c') }
}

void test('all nodes of one side have it under one owner, and nobody else, for as long as one of them renews it', async (t) => {
  const world = new LockWorld()
  const { a, b, c } = sides(world)
  const lost: string[] = []
  t.equal(await world.get(a.lease.acquire('a/1', () => lost.push('a'))), true)
  t.equal(await world.get(b.lease.acquire('a/1', () => lost.push('b'))), true)
  t.equal(await world.get(c.lease.acquire('c/1')), false)
  await world.time.pass(10 * ttlMs)
  t.equal(await world.get(c.lease.acquire('c/1')), false, 'it is renewed')
  t.equal(
    await world.get(a.lease.acquire('a/1', () => lost.push('a again'))),
    true,
    'the owner may ask again',
  )
  await world.get(c.lease.release('c/1'))
  await world.get(c.lease.release('a/1'))
  t.equal(await world.get(c.lease.acquire('c/1')), false, 'who does not hold it lets nothing go')
  await world.get(b.lease.release('a/1'))
  await world.get(a.lease.release('a/1'))
  await world.time.pass(ttlMs)
  t.equal(await world.get(c.lease.acquire('c/1')), true, 'nobody renews what was released')
  t.same(lost, [])
})

void test('a release by one node of a side costs the others nothing, and the last one frees it', async (t) => {
  const world = new LockWorld()
  const { a, b, c } = sides(world)
  const lost: string[] = []
  await world.get(a.lease.acquire('a/1', () => lost.push('a')))
  await world.get(b.lease.acquire('a/1', () => lost.push('b')))
  await world.get(a.lease.release('a/1'))
  await world.time.pass(2 * ttlMs)
  t.same(lost, [], 'b has taken it anew')
  t.equal(await world.get(c.lease.acquire('c/1')), false)
  await world.get(b.lease.release('a/1'))
  t.equal(await world.get(c.lease.acquire('c/1')), true)
  await world.time.pass(2 * ttlMs)
  t.same(lost, [])
})

void test('it is lost, once, before anybody else can have it: cut off, or taken', async (t) => {
  const world = new LockWorld()
  const { a, b, c } = sides(world)
  const lost: number[] = []
  await world.get(a.lease.acquire('a/1', () => lost.push(world.time.nowMs)))
  await world.time.pass(3_000)
  a.port.isCutOff = true
  let takenMs = 0
  while (takenMs === 0) if (await world.get(b.lease.acquire('b/1'))) takenMs = world.time.nowMs
  t.equal(lost.length, 1)
  t.ok((lost[0] ?? takenMs) < takenMs, `lost at ${lost[0]}, and had by another at ${takenMs}`)
  await world.time.pass(3 * ttlMs)
  t.equal(lost.length, 1)
  // A process that stood still finds it gone.
  b.port.stop(3 * ttlMs)
  await world.time.pass(2 * ttlMs)
  t.equal(await world.get(c.lease.acquire('c/1')), true)
  const told: string[] = []
  t.equal(await world.get(b.lease.acquire('b/1', () => told.push('b'))), false)
})

void test('released while it asks again: what the answer brings is given back', async (t) => {
  const world = new LockWorld()
  const { a, c } = sides(world)
  await world.get(a.lease.acquire('a/1'))
  a.port.fate = ({ command, isAnswer }) => (command?.type === 'spin-acquire' && !isAnswer ? 400 : 'fine')
  // In the middle of a renewal.
  await world.time.pass(ttlMs / 3 + 50)
  await world.get(a.lease.release('a/1'))
  await world.time.pass(1_000)
  t.equal(await world.get(c.lease.acquire('c/1')), true)
})

void test('asked for again while it is renewed: what the renewal brings stays with the newer one', async (t) => {
  const world = new LockWorld()
  const { a, c } = sides(world)
  const lost: string[] = []
  await world.get(a.lease.acquire('a/1', () => lost.push('first')))
  let asks = 0
  a.port.fate = ({ command, isAnswer }) =>
    command?.type === 'spin-acquire' && isAnswer && asks++ === 0 ? 400 : 'fine'
  // In the middle of a renewal.
  await world.time.pass(ttlMs / 3 + 50)
  t.equal(await world.get(a.lease.acquire('a/1', () => lost.push('second'))), true)
  await world.time.pass(600)
  t.equal(await world.get(c.lease.acquire('c/1')), false)
  t.same(lost, [])
  await world.get(a.lease.release('a/1'))
  t.equal(await world.get(c.lease.acquire('c/1')), true)
})

void test('an answer in doubt is a no: no client yet, a table that does not answer', async (t) => {
  const world = new LockWorld()
  const { a } = sides(world)
  const known: { client?: Side['client'] } = {}
  const lease = lockDowningLease(() => known.client, { ttlMs, timeoutMs: 1_000 })
  t.equal(await lease.acquire('x'), false)
  await lease.release('x')
  known.client = a.client
  a.port.isCutOff = true
  const beforeMs = world.time.nowMs
  t.not(await world.failure(lease.acquire('x')), 'it did not fail')
  t.ok(world.time.nowMs - beforeMs <= 1_000)
  a.port.isCutOff = false
  t.equal(await world.get(lease.acquire('x')), true)
  t.throws(() => lockDowningLease(a.client, { ttlMs: 0 }), /"ttlMs" must be a whole number/)
  t.throws(() => lockDowningLease(a.client, { timeoutMs: 1.5 }), RangeError)
})
