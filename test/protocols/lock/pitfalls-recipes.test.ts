/**
 * Traps that others fell into with recipes made of locks, by the numbers of the list that this project keeps (L7 to L12): a table and
 * its clients over links that lose and delay, in virtual time. L1 to L6: pitfalls.test.ts.
 */
import { test } from 'tap'
import { guard, leaderElection } from '@understudy/protocols'
import { LockWorld, ttlMs } from './lock-world.ts'
import { encodeLockCommand, LockMachine, type LockCommand, type LockResult } from './recipes-source.ts'

void test('L7 a writer that waits holds up later readers; to write what one reads is refused, the other way is one step', async (t) => {
  const world = new LockWorld()
  const clients = Array.from({ length: 4 }, () => world.client().client)
  const [a, b, c, d] = clients as [
    (typeof clients)[0],
    (typeof clients)[0],
    (typeof clients)[0],
    (typeof clients)[0],
  ]
  const reading = await world.get(a.readWriteLock('rw').read.acquire({ owner: 'x' }))
  const also = await world.get(b.readWriteLock('rw').read.acquire())
  t.equal(await world.failure(a.readWriteLock('rw').write.acquire({ owner: 'x' })), 'LOCK_UPGRADE')
  const writing = c.readWriteLock('rw').write.acquire({ timeoutMs: 60_000 })
  await world.time.pass(50)
  t.equal(await world.get(d.readWriteLock('rw').read.tryAcquire()), undefined, 'behind the writer')
  const later = d.readWriteLock('rw').read.acquire({ timeoutMs: 60_000 })
  await world.time.pass(50)
  await world.get(reading.release())
  t.equal(world.waiting('rw'), 2)
  await world.get(also.release())
  const write = await world.get(writing)
  t.equal(world.holders('rw').length, 1)
  const asReader = await world.get(write.downgrade())
  t.equal(asReader.token, write.token)
  await world.get(later)
  t.equal(world.holders('rw').length, 2, 'both read now')
})

void test('L8 permits are given back once, all of them by a crash, and their number changes at run time', async (t) => {
  const world = new LockWorld()
  const first = world.client()
  const second = world.client()
  const used = (): number =>
    (world.machine.view('s')?.holders ?? []).reduce((sum, { permits }) => sum + permits, 0)
  const semaphore = first.client.semaphore('s', { permits: 3 })
  const one = await world.get(semaphore.acquire())
  const two = await world.get(semaphore.acquire({ permits: 2 }))
  t.equal(await world.get(second.client.semaphore('s', { permits: 3 }).tryAcquire()), undefined)
  await world.get(one.release())
  t.equal(await world.failure(one.release()), 'LOCK_NOT_HELD', 'a second time gives back nothing')
  t.equal(used(), 2)
  await world.get(semaphore.setPermits(1))
  t.equal(used(), 2, 'who holds more keeps it')
  t.equal(await world.get(second.client.semaphore('s', { permits: 3 }).tryAcquire()), undefined)
  await world.get(semaphore.setPermits(5))
  await world.get(second.client.semaphore('s', { permits: 3 }).acquire({ permits: 3 }))
  t.equal(used(), 5)
  first.port.fate = () => 'lost'
  await world.time.pass(2 * ttlMs)
  t.equal(used(), 3, 'the crashed one has none')
  t.notOk(two.token === 0)
})

void test('L9 a barrier has generations: nobody passes twice, a member that crashes has not come, one inside has left', async (t) => {
  const world = new LockWorld()
  const clients = Array.from({ length: 5 }, () => world.client())
  const pass = (i: number): Promise<number> =>
    (clients[i] as (typeof clients)[0]).client.barrier('b', { parties: 3 }).pass({ timeoutMs: 60_000 })
  const crashed = world.failure(pass(3))
  await world.time.pass(50)
  ;(clients[3] as (typeof clients)[0]).port.fate = () => 'lost'
  await world.time.pass(2 * ttlMs)
  const [first, second] = [pass(0), pass(1)]
  await world.time.pass(100)
  t.equal(world.waiting('b'), 2, 'the crashed one does not count')
  const generation = await world.get(pass(2))
  t.same(await Promise.all([world.get(first), world.get(second)]), [generation, generation])
  // The quick one comes again at once: it belongs to the next.
  const again = pass(0)
  await world.time.pass(100)
  t.equal(world.waiting('b'), 1)
  const next = await world.get(Promise.all([again, pass(1), pass(2)]))
  t.ok(next.every((one) => one === next[0] && one > generation))
  // A double barrier: who dies inside has left.
  const enter = (i: number) =>
    (clients[i] as (typeof clients)[0]).client.doubleBarrier('d', { parties: 3 }).enter({ timeoutMs: 60_000 })
  const inside = await world.get(Promise.all([enter(0), enter(1), enter(2)]))
  const leaving = Promise.all([
    inside[0].leave({ timeoutMs: 60_000 }),
    inside[1].leave({ timeoutMs: 60_000 }),
  ])
  let haveLeft = false
  void leaving.then(() => (haveLeft = true))
  const early = enter(0)
  await world.time.pass(200)
  t.notOk(haveLeft, 'all leave together')
  ;(clients[2] as (typeof clients)[0]).port.fate = () => 'lost'
  await world.get(leaving)
  const entered = await world.get(Promise.all([early, enter(1), enter(4)]))
  t.ok(entered.every((one) => one.generation === entered[0].generation))
  t.ok(entered[0].generation > inside[0].generation)
  t.not(await crashed, 'it did not fail')
})

void test('L10 a term is a token: who has resigned is refused, and observers miss no leader', async (t) => {
  const world = new LockWorld()
  const candidates = Array.from({ length: 3 }, (_, i) => ({
    name: `n${i}`,
    ...world.client(),
  }))
  const guarded = guard({ value: 0 })
  const watcher = world.client()
  const over = new AbortController()
  const seen: string[] = []
  const observing = (async () => {
    const election = leaderElection(watcher.client, { name: 'e' })
    for await (const event of election.observe({ signal: over.signal, afterTerm: 0 }))
      if (event.type === 'leader') seen.push(event.reign.data)
  })()
  const led: string[] = []
  let last = 0
  for (let round = 0; round < 9; round++) {
    const { name, client } = candidates[round % 3] as (typeof candidates)[0]
    const election = leaderElection(client, { name: 'e', data: `${name}/${round}` })
    const leadership = await world.get(election.campaign({ timeoutMs: 60_000 }))
    led.push(`${name}/${round}`)
    t.ok(leadership.term > last)
    const before = last
    last = leadership.term
    await world.get(leadership.run(guarded, (content) => void content.value++))
    if (before > 0) t.equal(await world.failure(guarded.run(before, () => undefined)), 'LOCK_FENCED')
    await world.get(leadership.resign())
    t.equal(await world.failure(leadership.run(guarded, () => undefined)), 'LOCK_LOST')
    // Some reigns are over before anybody could have looked.
    if (round % 4 === 0) await world.time.pass(1_000)
  }
  await world.time.pass(10_000)
  over.abort()
  await world.time.pass(100)
  await world.get(observing)
  t.same(seen, led)
})

void test('L11 a table that starts again gives no token twice, and nobody else what a session may still hold', async (t) => {
  const apply = (
    machine: LockMachine,
    index: number,
    term: number,
    timeMs: number,
    command: LockCommand,
  ): LockResult => machine.apply({ index, term, timeMs, data: encodeLockCommand(command) })
  const acquire = (session: number, request: number): LockCommand => ({
    type: 'acquire',
    session,
    request,
    name: 'a',
    kind: 'mutex',
    permits: 1,
    capacity: 0,
    wait: true,
    owner: '',
    reentrant: false,
    data: '',
  })
  const machine = new LockMachine()
  apply(machine, 1, 1, 0, { type: 'open-session', ttlMs: 1_000, label: '' })
  apply(machine, 2, 1, 0, { type: 'open-session', ttlMs: 60_000, label: '' })
  t.same(apply(machine, 3, 1, 0, acquire(1, 1)), { ok: true, result: { type: 'held', token: 1 } })
  apply(machine, 4, 1, 0, { type: 'release', session: 1, request: 1 })
  t.same(apply(machine, 5, 1, 0, acquire(1, 2)), { ok: true, result: { type: 'held', token: 2 } })
  // Everything restarts: all that is left is what was kept.
  const restarted = new LockMachine()
  const chunks = [...{ [Symbol.iterator]: () => machine.snapshot() }]
  await restarted.restore(
    (async function* () {
      yield* chunks
    })(),
  )
  apply(restarted, 6, 2, 5_000, acquire(2, 1))
  t.same(restarted.sessionsOver(5_900), [], 'a new leader gives every session its whole time')
  apply(restarted, 7, 2, 5_900, { type: 'expire', sessions: [1] })
  t.equal(restarted.state(2, 1).type, 'queued')
  apply(restarted, 8, 2, 6_000, { type: 'expire', sessions: [1] })
  t.same(restarted.state(2, 1), { type: 'held', token: 3 })
})

void test('L12 a value that went and came again is another one; a spin lock is tried with chance in the pauses', async (t) => {
  const world = new LockWorld()
  const { client } = world.client()
  const value = client.value('v')
  const first = await world.get(value.set('A'))
  await world.get(value.set('B'))
  const third = await world.get(value.set('A'))
  t.ok(third > first)
  t.equal(
    (await world.get(value.compareAndSet(first, 'C'))).ok,
    false,
    'the text is the same, the value is not',
  )
  await world.get(client.remove('v'))
  const again = await world.get(value.set('A'))
  t.ok(again > third, 'nor after it was forgotten')
  const held = await world.get(client.spinLock('s', { ttlMs: 5_000 }).acquire())
  const tries: number[] = []
  const clients = Array.from({ length: 8 }, () => world.client())
  for (const { port } of clients)
    port.fate = ({ command, isAnswer }) => {
      if (command?.type === 'spin-acquire' && !isAnswer) tries.push(world.time.nowMs)
      return 'fine'
    }
  const waiting = clients.map((one) =>
    one.client
      .spinLock('s', { ttlMs: 1_000 })
      .acquire({ timeoutMs: 60_000 })
      .then((got) => got.release()),
  )
  await world.time.pass(2_000)
  const later = tries.filter((atMs) => atMs > 10)
  t.ok(new Set(later).size > later.length / 2, 'not all at one moment')
  t.ok(tries.length < 8 * 40, `${tries.length} tries in 2 s`)
  await world.get(held.release())
  await world.get(Promise.all(waiting))
})
