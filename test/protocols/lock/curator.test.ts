/**
 * L3: what befell the locks and latches of Apache Curator, by the numbers of its issues: each story told again with this lock table
 * and its clients, in virtual time, over links that break as they did there.
 */
import { test } from 'tap'
import { leaderElection } from '@understudy/protocols'
import { LockWorld, ttlMs } from './lock-world.ts'

void test('L3 CURATOR-460 who is cut off and hopes for better times leads no more before another does', async (t) => {
  const world = new LockWorld()
  const first = world.client()
  const second = world.client()
  const leading = await world.get(leaderElection(first.client, { name: 'e' }).campaign())
  let lostMs = Number.POSITIVE_INFINITY
  leading.signal.addEventListener('abort', () => {
    lostMs = world.time.nowMs
  })
  const waiting = leaderElection(second.client, { name: 'e' }).campaign({ timeoutMs: 60_000 })
  await world.time.pass(100)
  // There, a share of the session's time was waited for from the moment at which the loss was noticed.
  first.port.isCutOff = true
  first.port.detach()
  const next = await world.get(waiting)
  t.ok(lostMs < world.time.nowMs, `${lostMs} before ${world.time.nowMs}`)
  t.ok(leading.signal.aborted)
  t.ok(next.term > leading.term)
})

void test('L3 CURATOR-498 what is found of a session that is ending is not taken for one’s own', async (t) => {
  const world = new LockWorld()
  const client = world.client()
  const other = world.client()
  await world.get(client.client.session())
  // The acquire takes effect, its answer never comes, and the session ends meanwhile.
  client.port.fate = ({ command, isAnswer }) =>
    command?.type === 'keep-alive' || (command?.type === 'acquire' && isAnswer) ? 'lost' : 'fine'
  const asked = client.client.mutex('a').acquire({ timeoutMs: 60_000 })
  await world.time.pass(200)
  const [session] = world.holders('a')
  t.ok(session !== undefined)
  await world.time.pass(ttlMs)
  client.port.fate = () => 'fine'
  t.equal(
    await world.failure(asked),
    'LOCK_SESSION_LOST',
    'what the old session may have had is not returned',
  )
  const held = await world.get(client.client.mutex('a').acquire({ timeoutMs: 60_000 }))
  const { id } = await world.get(client.client.session())
  t.not(id, session, 'it is another session')
  t.same(world.holders('a'), [id], 'that really holds it')
  await world.time.pass(5 * ttlMs)
  t.notOk(held.signal.aborted)
  t.equal(await world.get(other.client.mutex('a').tryAcquire()), undefined)
})

void test('L3 CURATOR-620 a grant of the session before a reconnect makes nobody a leader behind it', async (t) => {
  const world = new LockWorld()
  const first = world.client()
  const second = world.client()
  const leading = await world.get(leaderElection(second.client, { name: 'e' }).campaign())
  const waiting = leaderElection(first.client, { name: 'e' }).campaign({ timeoutMs: 60_000 })
  await world.time.pass(100)
  const old = await world.get(first.client.session())
  // It is granted; the news of it travels for so long that the session is another by then.
  first.port.fate = ({ verb, command }) =>
    verb === 'push' ? 2 * ttlMs : command?.type === 'keep-alive' || verb === 'states' ? 'lost' : 'fine'
  await world.get(leading.resign())
  t.same(world.holders('e'), [old.id])
  await world.time.pass(1.2 * ttlMs)
  first.port.fate = () => 'fine'
  const leadership = await world.get(waiting)
  const { id } = await world.get(first.client.session())
  t.not(id, old.id, 'it went back into the queue, in another session')
  t.ok(leadership.term > leading.term + 1, 'and leads by what that one was granted')
  await world.time.pass(3 * ttlMs)
  t.notOk(leadership.signal.aborted)
  t.same(world.holders('e'), [id])
  t.equal(await world.get(leaderElection(second.client, { name: 'e' }).tryCampaign()), undefined)
})

void test('L3 CURATOR-696 who comes back and finds its old place does not lead by it: its session is what counts', async (t) => {
  const world = new LockWorld()
  const first = world.client()
  const second = world.client()
  const leading = await world.get(leaderElection(first.client, { name: 'e' }).campaign())
  first.port.stop(0.99 * ttlMs)
  first.port.isCutOff = true
  await world.time.pass(0.99 * ttlMs)
  // The table still has the old place: it can be seen there, and is about to go.
  t.equal(world.holders('e').length, 1)
  first.port.isCutOff = false
  const again = leaderElection(first.client, { name: 'e' }).campaign({ timeoutMs: 60_000 })
  await world.time.pass(10)
  t.ok(leading.signal.aborted, 'it knows that it cannot rely on it')
  const other = leaderElection(second.client, { name: 'e' }).campaign({ timeoutMs: 60_000 })
  const leader = await world.get(Promise.race([again, other]))
  t.ok(leader.term > leading.term)
  t.equal(world.holders('e').length, 1)
  await world.get(leader.resign())
  await world.get(Promise.all([again.then((one) => one.resign()).catch(() => undefined), other]))
  t.equal(world.holders('e').length, 1)
})

void test('L3 CURATOR-206 whose connection is gone for longer than its session has its lock no more, and is told so', async (t) => {
  const world = new LockWorld()
  const first = world.client()
  const second = world.client()
  const held = await world.get(first.client.mutex('a').acquire())
  const waiting = second.client.mutex('a').acquire({ timeoutMs: 60_000 })
  await world.time.pass(100)
  first.port.isCutOff = true
  let isTold = false
  held.signal.addEventListener('abort', () => {
    isTold = true
    t.equal(world.waiting('a'), 1, 'while the other still waits')
  })
  const next = await world.get(waiting)
  t.ok(isTold)
  t.ok(next.token > held.token)
  first.port.isCutOff = false
  t.equal(await world.failure(held.release()), 'LOCK_NOT_HELD')
  t.equal(world.holders('a').length, 1)
})

void test('L3 CURATOR-465 work under a lock is interrupted when the lock is lost', async (t) => {
  const world = new LockWorld()
  const { client, port } = world.client()
  const held = await world.get(client.mutex('a').acquire())
  // What a holder that works hands its signal to.
  const work = client.sleep(600_000, held.signal).then(() => world.time.nowMs)
  port.isCutOff = true
  const endedMs = await world.get(work)
  t.ok(endedMs <= ttlMs, `at ${endedMs}`)
  t.match(held.signal.reason, { code: 'LOCK_LOST' })
})

void test('L3 CURATOR-644 and CURATOR-645 candidates that reconnect again and again neither go round in circles nor pile up', async (t) => {
  const world = new LockWorld()
  const clients = [world.client(), world.client()]
  const leading = await world.get(leaderElection(world.client().client, { name: 'e' }).campaign())
  const waiting = clients.map(({ client }) =>
    leaderElection(client, { name: 'e' }).campaign({ timeoutMs: 600_000 }),
  )
  await world.time.pass(100)
  const before = world.commands.length
  for (let i = 0; i < 50; i++) {
    for (const { port } of clients) port.detach()
    await world.time.pass(100)
  }
  t.equal(world.waiting('e'), 2, 'each has its one place, as before')
  const said = world.commands.slice(before).filter(({ type }) => type !== 'keep-alive')
  t.same(said, [], 'a reconnect changes nothing in the table')
  await world.get(leading.resign())
  const [first, second] = waiting
  if (first === undefined || second === undefined) throw new Error('there are two')
  const one = await world.get(first)
  t.equal(world.waiting('e'), 1)
  await world.get(one.resign())
  t.ok((await world.get(second)).term > one.term)
})

void test('L3 CURATOR-3 a latch that is closed while it is being woken leaves nothing behind', async (t) => {
  for (let delayMs = 0; delayMs <= 12; delayMs++) {
    const world = new LockWorld()
    const first = world.client()
    const second = world.client()
    const leading = await world.get(leaderElection(first.client, { name: 'e' }).campaign())
    const over = new AbortController()
    const waiting = leaderElection(second.client, { name: 'e' })
      .campaign({ timeoutMs: 60_000, signal: over.signal })
      .then((one) => one.resign())
      .catch(() => undefined)
    await world.time.pass(100)
    const resigned = leading.resign()
    await world.time.pass(delayMs / 2)
    if (delayMs % 2 === 0) over.abort()
    else void second.client.close()
    await world.get(Promise.all([resigned, waiting]))
    await world.time.pass(1_000)
    t.same(
      [world.holders('e').length, world.waiting('e')],
      [0, 0],
      `closed ${delayMs / 2} ms after the release`,
    )
    // The next can lead, though the session of the one that gave up is still there.
    await world.get(leaderElection(first.client, { name: 'e' }).campaign({ timeoutMs: 100 }))
  }
})
