/** The lock table, rule by rule. */
import { test } from 'tap'
import { acquire, batchOf, each, LockLog, resultsOf } from './machine-log.ts'
import { lockLeaderDuty, lockLimits, LockMachine, LockReplica, type LockAnswer } from './machine-source.ts'

const held = (token: number): LockAnswer => ({ type: 'held', token })
const queued = (ahead: number): LockAnswer => ({ type: 'queued', ahead })
const released = (was: 'held' | 'queued' | 'nothing'): LockAnswer => ({ type: 'released', was })
const read = { kind: 'read-write', permits: 1 } as const
const write = { kind: 'read-write', permits: 0 } as const

void test('mutex: one holder, the others in the order in which they came, each with a higher token', async (t) => {
  const log = new LockLog()
  const [a, b, c] = [log.open(), log.open(), log.open()]
  t.strictSame(log.acquire(a, 1, 'm'), held(1))
  t.strictSame(log.acquire(b, 1, 'm'), queued(0))
  t.strictSame(log.acquire(c, 1, 'm'), queued(1))
  t.strictSame(log.acquire(c, 2, 'm', { wait: false }), { type: 'busy', holders: 1 })
  t.strictSame(log.release(a, 1), released('held'))
  t.strictSame(log.takeGrants(), [{ session: b, request: 1, token: 2 }])
  t.strictSame(log.machine.state(c, 1), queued(0))
  t.strictSame(log.release(b, 1), released('held'))
  t.strictSame(log.takeGrants(), [{ session: c, request: 1, token: 3 }])
  t.strictSame(log.release(c, 1), released('held'))
  t.equal(log.machine.view('m'), undefined, 'nothing is left of it')
  t.strictSame(log.acquire(a, 2, 'm'), held(4), 'no token is given twice')
})

void test('mutex: who gives up its place is gone, and the one behind moves up', async (t) => {
  const log = new LockLog()
  const [a, b, c] = [log.open(), log.open(), log.open()]
  log.acquire(a, 1, 'm')
  log.acquire(b, 1, 'm')
  log.acquire(c, 1, 'm')
  t.strictSame(log.release(b, 1), released('queued'))
  log.release(a, 1)
  t.strictSame(log.takeGrants(), [{ session: c, request: 1, token: 2 }])
})

void test('acquire: asked again it tells how it stands; a number has one meaning', async (t) => {
  const log = new LockLog()
  const [a, b] = [log.open(), log.open()]
  log.acquire(a, 1, 'm')
  t.strictSame(log.acquire(a, 1, 'm'), held(1))
  log.acquire(b, 1, 'm')
  t.strictSame(log.acquire(b, 1, 'm'), queued(0))
  t.equal(log.codeOf(acquire(b, 1, 'other')), 'LOCK_BAD_REQUEST')
  t.equal(log.codeOf(acquire(b, 1, 'm', read)), 'LOCK_BAD_REQUEST')
})

void test('release: of what is not there is nothing, and keeps that request from coming later', async (t) => {
  const log = new LockLog()
  const a = log.open()
  t.strictSame(log.release(a, 7), released('nothing'))
  t.equal(log.codeOf(acquire(a, 7, 'm')), 'LOCK_BAD_REQUEST')
  t.equal(
    log.codeOf({ type: 'barrier', session: a, request: 7, name: 'b', step: 'pass', parties: 1, entered: 0 }),
    'LOCK_BAD_REQUEST',
  )
  t.strictSame(log.acquire(a, 6, 'm'), held(1), 'others may come')
  t.strictSame(log.release(999, 1), released('nothing'))
  for (let request = 100; request < 100 + lockLimits.givenUpMax; request++) log.release(a, request)
  t.equal(
    log.codeOf(acquire(a, 5, 'm')),
    'LOCK_BAD_REQUEST',
    'many were given up: below the lowest nothing comes',
  )
  t.equal(log.codeOf(acquire(a, 99, 'm')), 'queued')
})

void test('re-entrancy: by owner, under one token, and free when all of it was given back', async (t) => {
  const log = new LockLog()
  const [a, b] = [log.open(), log.open()]
  t.strictSame(log.acquire(a, 1, 'm', { owner: 'x', reentrant: true }), held(1))
  log.acquire(b, 1, 'm', { owner: 'x', reentrant: true })
  t.strictSame(log.acquire(a, 2, 'm', { owner: 'x', reentrant: true }), held(1), 'past the queue')
  t.strictSame(
    log.acquire(a, 3, 'm', { owner: 'y', reentrant: true }),
    queued(1),
    'another owner of the session',
  )
  log.release(a, 1)
  t.strictSame(log.takeGrants(), [])
  log.release(a, 2)
  t.strictSame(log.takeGrants(), [{ session: b, request: 1, token: 2 }])
  t.equal(log.codeOf(acquire(a, 9, 'n', { reentrant: true })), 'LOCK_BAD_REQUEST', 'nobody in particular')
})

void test('read-write: readers share, a writer is alone, and one that waits holds up later readers', async (t) => {
  const log = new LockLog()
  const [a, b, c, d] = [log.open(), log.open(), log.open(), log.open()]
  t.strictSame(log.acquire(a, 1, 'r', read), held(1))
  t.strictSame(log.acquire(b, 1, 'r', read), held(2))
  t.strictSame(log.acquire(c, 1, 'r', write), queued(0))
  t.strictSame(log.acquire(d, 1, 'r', read), queued(1))
  log.release(a, 1)
  t.strictSame(log.takeGrants(), [])
  log.release(b, 1)
  t.strictSame(log.takeGrants(), [{ session: c, request: 1, token: 3 }])
  log.acquire(a, 2, 'r', read)
  t.strictSame(log.answer({ type: 'downgrade', session: c, request: 1 }), held(3), 'its token stays')
  t.strictSame(
    log.takeGrants().map(({ token }) => token),
    [4, 5],
    'and readers join',
  )
  t.strictSame(log.answer({ type: 'downgrade', session: c, request: 1 }), held(3))
})

void test('read-write: an owner that writes may read, one that reads may not write', async (t) => {
  const log = new LockLog()
  const [a, b] = [log.open(), log.open()]
  t.strictSame(log.acquire(a, 1, 'r', { ...write, owner: 'x' }), held(1))
  log.acquire(b, 1, 'r', read)
  t.strictSame(log.acquire(a, 2, 'r', { ...read, owner: 'x' }), held(1))
  log.release(a, 1)
  t.strictSame(log.takeGrants(), [{ session: b, request: 1, token: 2 }], 'it goes on reading, and others do')
  t.equal(log.codeOf(acquire(a, 3, 'r', { ...write, owner: 'x' })), 'LOCK_UPGRADE')
  t.equal(log.codeOf(acquire(a, 4, 'r', { ...write, owner: 'x', wait: false })), 'LOCK_UPGRADE')
  t.equal(log.codeOf({ type: 'downgrade', session: a, request: 9 }), 'LOCK_NOT_HELD')
})

void test('semaphore: served in order, so that a large request is not passed by', async (t) => {
  const log = new LockLog()
  const [a, b, c] = [log.open(), log.open(), log.open()]
  const semaphore = { kind: 'semaphore', capacity: 3 } as const
  t.strictSame(log.acquire(a, 1, 's', { ...semaphore, permits: 2 }), held(1))
  t.strictSame(log.acquire(b, 1, 's', { ...semaphore, permits: 2 }), queued(0))
  t.strictSame(log.acquire(c, 1, 's', semaphore), queued(1), 'one is free, but not its turn')
  log.release(a, 1)
  t.strictSame(
    log.takeGrants().map(({ session }) => session),
    [b, c],
  )
  t.equal(log.codeOf(acquire(a, 2, 's', { ...semaphore, permits: 4 })), 'LOCK_BAD_REQUEST')
})

void test('semaphore: permits change at run time; who holds more than is left keeps it', async (t) => {
  const log = new LockLog()
  const [a, b] = [log.open(), log.open()]
  const semaphore = { kind: 'semaphore', capacity: 9 } as const
  log.answer({ type: 'set-permits', name: 's', permits: 2 })
  log.acquire(a, 1, 's', { ...semaphore, permits: 2 })
  log.acquire(b, 1, 's', semaphore)
  log.answer({ type: 'set-permits', name: 's', permits: 1 })
  t.equal(log.machine.view('s')?.holders.length, 1)
  log.answer({ type: 'set-permits', name: 's', permits: 3 })
  t.strictSame(log.takeGrants(), [{ session: b, request: 1, token: 2 }])
  log.release(a, 1)
  log.release(b, 1)
  t.equal(log.machine.view('s')?.capacity, 3, 'what was set stays')
  t.equal(log.codeOf({ type: 'remove', name: 's' }), 'done')
  t.equal(log.machine.view('s'), undefined)
})

void test('semaphore: what its permits can serve no more is refused as they are lowered, and holds up nobody', async (t) => {
  const log = new LockLog()
  const [a, b, c] = [log.open(), log.open(), log.open()]
  const semaphore = { kind: 'semaphore', capacity: 5 } as const
  log.acquire(a, 1, 's', { ...semaphore, permits: 4 })
  t.strictSame(log.acquire(b, 1, 's', { ...semaphore, permits: 5 }), queued(0))
  t.strictSame(log.acquire(c, 1, 's', { ...semaphore, permits: 1 }), queued(1))
  t.strictSame(log.acquire(b, 2, 's', { ...semaphore, permits: 3 }), queued(2))
  log.answer({ type: 'set-permits', name: 's', permits: 5 })
  t.strictSame(log.refused, [])
  log.answer({ type: 'set-permits', name: 's', permits: 2 })
  t.strictSame(log.refused, [
    { session: b, request: 1 },
    { session: b, request: 2 },
  ])
  t.strictSame(log.machine.state(b, 1), { type: 'released', was: 'nothing' })
  t.equal(
    log.codeOf(acquire(b, 3, 's', { ...semaphore, permits: 5 })),
    'LOCK_BAD_REQUEST',
    'and so is who comes now',
  )
  log.release(a, 1)
  t.strictSame(log.takeGrants(), [{ session: c, request: 1, token: 2 }], 'who was behind it is served')
  t.match(log.machine.view('s'), { waiting: 0, capacity: 2 })
})

void test('semaphore: whoever was held up by what is refused now is let through in that entry', async (t) => {
  const log = new LockLog()
  const [a, b, c] = [log.open(), log.open(), log.open()]
  const semaphore = { kind: 'semaphore', capacity: 3 } as const
  log.acquire(a, 1, 's', semaphore)
  log.acquire(b, 1, 's', { ...semaphore, permits: 3 })
  log.acquire(c, 1, 's', semaphore)
  log.answer({ type: 'set-permits', name: 's', permits: 2 })
  t.strictSame(log.takeGrants(), [{ session: c, request: 1, token: 2 }])
})

void test('session: its end gives back all of it, and grants to others only', async (t) => {
  const log = new LockLog()
  const [a, b] = [log.open(), log.open()]
  log.acquire(a, 1, 'm')
  log.acquire(a, 2, 'm')
  log.acquire(b, 1, 'm')
  log.acquire(a, 3, 'n')
  t.equal(log.codeOf({ type: 'end-session', session: a }), 'done')
  t.strictSame(log.takeGrants(), [{ session: b, request: 1, token: 3 }])
  t.strictSame(log.over, [a])
  t.equal(log.machine.view('n'), undefined)
  t.equal(log.codeOf(acquire(a, 4, 'm')), 'LOCK_SESSION_LOST')
  t.equal(log.codeOf({ type: 'keep-alive', session: a }), 'LOCK_SESSION_LOST')
  t.equal(log.codeOf({ type: 'end-session', session: a }), 'done')
})

void test('session: two that end together grant nothing to each other', async (t) => {
  const log = new LockLog()
  const [a, b, c] = [log.open(10), log.open(10), log.open(1_000)]
  for (const session of [a, b, c]) log.acquire(session, 1, 'm')
  log.timeMs = 20
  log.answer({ type: 'expire', sessions: [a, b] })
  t.strictSame(log.takeGrants(), [{ session: c, request: 1, token: 2 }])
})

void test('session: is over by the log’s time only, and has its whole time anew in a new term', async (t) => {
  const log = new LockLog()
  const a = log.open(100)
  log.timeMs = 99
  log.answer({ type: 'expire', sessions: [a] })
  t.equal(log.machine.hasSession(a), true, 'a leader that named it too early does nothing')
  log.answer({ type: 'keep-alive', session: a })
  log.timeMs = 150
  t.strictSame(log.machine.sessionsOver(198), [])
  t.strictSame(log.machine.sessionsOver(199), [a])
  log.term = 2
  log.timeMs = 500
  t.strictSame(lockLeaderDuty(log.machine, 2, 500), { type: 'expire', sessions: [] }, 'the term has to begin')
  log.answer({ type: 'expire', sessions: [a] })
  t.equal(log.machine.hasSession(a), true)
  t.equal(lockLeaderDuty(log.machine, 2, 599), undefined)
  t.strictSame(lockLeaderDuty(log.machine, 2, 600), { type: 'expire', sessions: [a] })
  log.timeMs = 600
  log.answer({ type: 'expire', sessions: [a] })
  t.equal(log.machine.hasSession(a), false)
})

void test('election: tells its last leaders, also when nobody leads any more', async (t) => {
  const log = new LockLog()
  const [a, b] = [log.open(), log.open()]
  const election = { kind: 'election' } as const
  log.acquire(a, 1, 'e', { ...election, data: 'A' })
  log.acquire(b, 1, 'e', { ...election, data: 'B' })
  const first = log.machine.view('e')
  log.release(a, 1)
  const second = log.machine.view('e')
  log.answer({ type: 'end-session', session: b })
  const third = log.machine.view('e')
  t.strictSame(third?.reigns, [
    { token: 1, session: a, data: 'A' },
    { token: 2, session: b, data: 'B' },
  ])
  t.strictSame(third?.holders, [])
  const versions = [first, second, third].map((view) => view?.version ?? 0)
  t.ok(new Set(versions).size === 3 && versions.every((one, at) => one >= (versions[at - 1] ?? 1)))
  t.equal(log.codeOf({ type: 'remove', name: 'e' }), 'done')
})

void test('barrier: opens when all are there, with a number of its own, and is a new one at once', async (t) => {
  const log = new LockLog()
  const [a, b] = [log.open(), log.open()]
  const pass = (session: number, request: number, parties = 2) =>
    ({ type: 'barrier', session, request, name: 'b', step: 'pass', parties, entered: 0 }) as const
  t.strictSame(log.answer(pass(a, 1)), queued(0))
  t.equal(log.codeOf(pass(b, 9, 3)), 'LOCK_BAD_REQUEST', 'of other parties')
  t.strictSame(log.answer(pass(b, 1)), held(1))
  t.strictSame(log.takeGrants(), [{ session: a, request: 1, token: 1 }], 'the last one has its answer')
  t.strictSame(log.answer(pass(a, 2)), queued(0), 'those that are through do not count')
  t.strictSame(log.machine.state(a, 1), held(1), 'until it is given up it can be asked for')
  log.release(a, 1)
  log.answer({ type: 'end-session', session: b })
  log.release(a, 2)
  t.equal(log.machine.view('b'), undefined)
  log.answer(pass(a, 3))
  t.strictSame(log.answer(pass(log.open(), 1)), held(2), 'and its numbers go on')
})

void test('double barrier: in together, out together; who dies has left; who comes meanwhile is of the next one', async (t) => {
  const log = new LockLog()
  const [a, b, c] = [log.open(), log.open(), log.open()]
  const step = (session: number, request: number, what: 'enter' | 'leave', entered = 0) =>
    ({ type: 'barrier', session, request, name: 'd', step: what, parties: 2, entered }) as const
  t.strictSame(log.answer(step(a, 1, 'enter')), queued(0))
  t.equal(log.codeOf(step(a, 5, 'leave', 1)), 'LOCK_NOT_HELD', 'it is not in')
  t.strictSame(log.answer(step(b, 1, 'enter')), held(1))
  t.strictSame(log.answer(step(c, 1, 'enter')), queued(0))
  t.strictSame(log.answer(step(a, 2, 'leave', 1)), queued(0))
  t.strictSame(log.answer(step(a, 3, 'enter')), queued(1))
  t.strictSame(log.machine.state(c, 1), queued(0), 'two would be there, but the other generation is not over')
  log.takeGrants()
  log.answer({ type: 'end-session', session: b })
  t.strictSame(log.takeGrants(), [
    { session: a, request: 2, token: 1 },
    { session: c, request: 1, token: 2 },
    { session: a, request: 3, token: 2 },
  ])
})

void test('latch: lets through all when its count is 0', async (t) => {
  const log = new LockLog()
  const a = log.open()
  const wait = (request: number) => ({ type: 'latch-wait', name: 'l', session: a, request }) as const
  t.equal(log.codeOf(wait(1)), 'LOCK_BAD_REQUEST')
  t.match(log.answer({ type: 'latch-set', name: 'l', count: 2 }), { ok: true, value: 2 })
  t.match(log.answer({ type: 'latch-set', name: 'l', count: 9 }), { ok: false, value: 2 })
  t.strictSame(log.answer(wait(1)), queued(0))
  t.match(log.answer({ type: 'latch-down', name: 'l', by: 1 }), { value: 1 })
  t.strictSame(log.takeGrants(), [])
  t.match(log.answer({ type: 'latch-down', name: 'l', by: 5 }), { value: 0 })
  t.strictSame(log.takeGrants(), [{ session: a, request: 1, token: 0 }])
  t.strictSame(log.answer(wait(2)), held(0))
  t.equal(log.codeOf({ type: 'remove', name: 'l' }), 'LOCK_BAD_REQUEST', 'somebody may still ask')
  log.release(a, 1)
  t.equal(log.codeOf({ type: 'remove', name: 'l' }), 'done')
})

void test('counter, value: compared and set; versions never come again (ABA)', async (t) => {
  const log = new LockLog()
  t.strictSame(log.answer({ type: 'count-add', name: 'c', by: -3 }), {
    type: 'number',
    ok: true,
    value: -3,
    version: 1,
  })
  t.match(log.answer({ type: 'count-set', name: 'c', expected: 1, value: 7 }), {
    ok: false,
    value: -3,
    version: 1,
  })
  t.match(log.answer({ type: 'count-set', name: 'c', expected: -3, value: 7 }), {
    ok: true,
    value: 7,
    version: 2,
  })
  log.answer({ type: 'count-set', name: 'c', expected: undefined, value: Number.MAX_SAFE_INTEGER })
  t.equal(log.codeOf({ type: 'count-add', name: 'c', by: 1 }), 'LOCK_BAD_REQUEST')
  const set = (expectedVersion: number | undefined) =>
    log.answer({ type: 'value-set', name: 'v', expectedVersion, value: Buffer.from('A') })
  t.match(set(0), { ok: true, version: 4 })
  t.match(set(0), { ok: false, version: 4 })
  log.answer({ type: 'remove', name: 'v' })
  set(0)
  t.match(set(4), { ok: false }, 'it went and came again')
  t.equal(log.codeOf({ type: 'count-add', name: 'v', by: 1 }), 'LOCK_WRONG_KIND')
  t.equal(log.codeOf(acquire(log.open(), 1, 'v')), 'LOCK_WRONG_KIND')
})

void test('spin lock: by owner and time; only its owner gives it back', async (t) => {
  const log = new LockLog()
  const take = (owner: string) => log.answer({ type: 'spin-acquire', name: 'p', owner, ttlMs: 100 })
  const give = (owner: string, token: number) => log.answer({ type: 'spin-release', name: 'p', owner, token })
  t.strictSame(take('x'), held(1))
  log.timeMs = 60
  t.strictSame(take('y'), { type: 'taken', leftMs: 40 })
  t.strictSame(take('x'), held(1), 'the same, and its time anew')
  log.timeMs = 120
  t.strictSame(take('y'), { type: 'taken', leftMs: 40 })
  t.strictSame(give('y', 1), released('nothing'))
  t.strictSame(give('x', 2), released('nothing'))
  log.timeMs = 160
  t.equal(
    log.codeOf({ type: 'spin-extend', name: 'p', owner: 'x', token: 1, ttlMs: 9 }),
    'LOCK_NOT_HELD',
    'over',
  )
  t.strictSame(take('y'), held(2))
  t.strictSame(log.answer({ type: 'spin-extend', name: 'p', owner: 'y', token: 2, ttlMs: 500 }), held(2))
  t.strictSame(give('y', 0), released('held'))
  t.strictSame(take('z'), held(3))
  log.timeMs = 300
  t.strictSame(lockLeaderDuty(log.machine, 1, 300), { type: 'expire', sessions: [] })
  log.answer({ type: 'expire', sessions: [] })
  t.equal(log.machine.view('p'), undefined, 'the leader sees to those that are over')
})

void test('limits: are told by name, and nothing is done', async (t) => {
  const log = new LockLog()
  const a = log.open()
  const limitOf = (name: string, fields: object = {}): string => {
    const result = log.apply(acquire(a, 1, name, fields))
    return result.ok
      ? result.result.type
      : `${result.error.code} ${/limit (\w+)/.exec(result.error.message)?.[1] ?? ''}`
  }
  t.equal(limitOf('x'.repeat(513)), 'LOCK_LIMIT nameLengthMax')
  t.equal(limitOf('x', { owner: 'o'.repeat(129) }), 'LOCK_LIMIT ownerLengthMax')
  t.equal(limitOf('x', { kind: 'election', data: 'd'.repeat(4_097) }), 'LOCK_LIMIT dataLengthMax')
  t.equal(limitOf('', {}), 'LOCK_BAD_REQUEST ')
  t.equal(limitOf('x', { data: 'd' }), 'LOCK_BAD_REQUEST ')
  t.equal(limitOf('x', { permits: 2 }), 'LOCK_BAD_REQUEST ')
  t.equal(
    log.codeOf({ type: 'value-set', name: 'v', expectedVersion: undefined, value: Buffer.alloc(65_537) }),
    'LOCK_LIMIT',
  )
  t.equal(log.codeOf({ type: 'open-session', ttlMs: 604_800_001, label: '' }), 'LOCK_LIMIT')
  t.equal(log.codeOf({ type: 'open-session', ttlMs: 10, label: 'l'.repeat(129) }), 'LOCK_LIMIT')
  for (let request = 1; request <= lockLimits.requestsPerSessionMax; request++)
    log.acquire(a, request, `n${request}`)
  t.equal(log.codeOf(acquire(a, 99_999, 'more')), 'LOCK_LIMIT')
  const b = log.open()
  for (let request = 1; request <= lockLimits.waitersMax - 1; request++) log.acquire(b, request, 'n1')
  const c = log.open()
  log.acquire(c, 1, 'n1')
  t.equal(log.codeOf(acquire(c, 2, 'n1')), 'LOCK_LIMIT')
  t.equal(log.machine.status().sessions, 3)
  t.equal(log.machine.view('n1')?.waiting, lockLimits.waitersMax)
})

void test('bad bytes: are refused, the same everywhere, and change nothing', async (t) => {
  const log = new LockLog()
  const other = new LockLog()
  const a = log.open()
  other.open()
  const good = batchOf([acquire(a, 1, 'm'), { type: 'release', session: a, request: 1 }])
  const all = [
    new Uint8Array(0),
    Buffer.from([9]),
    Buffer.from([0, 0xff]),
    Buffer.from([4]),
    Buffer.from([4, 0, 0, 0, 0]),
  ]
  for (let length = 1; length < good.length; length++) all.push(Buffer.from(good.subarray(0, length)))
  for (let at = 0; at < good.length; at++) {
    for (const byte of [0, 0x7f, 0xff]) {
      const bad = Buffer.from(good)
      bad[at] = byte
      all.push(bad)
    }
  }
  for (const bytes of all) t.strictSame(log.applyBytes(bytes), other.applyBytes(bytes))
  t.match(log.applyBytes(Buffer.from([9])), { ok: false, error: { code: 'LOCK_BAD_REQUEST' } })
  const [opened] = resultsOf(
    log.applyBytes(
      batchOf([
        { type: 'open-session', ttlMs: 1, label: '' },
        { type: 'remove', name: 'x' },
      ]),
    ),
  )
  t.match(opened, { ok: false, error: { code: 'LOCK_BAD_REQUEST' } })
})

void test('snapshot: bytes that are none are refused, and the table stays as it was', async (t) => {
  const log = new LockLog()
  const a = log.open()
  log.acquire(a, 1, 'm')
  const walk = log.machine.snapshot()
  const chunks: Uint8Array[] = []
  for (let next = walk.next(); next.done !== true; next = walk.next()) chunks.push(next.value)
  const bytes = Buffer.concat(chunks)
  const copy = new LockMachine()
  for (let length = 0; length < bytes.length; length++)
    await t.rejects(copy.restore(each([bytes.subarray(0, length)])))
  await t.rejects(copy.restore(each([bytes, Buffer.from([1])])))
  t.equal(copy.status().sessions, 0)
  await copy.restore(each([bytes]))
  t.strictSame(copy.state(a, 1), held(1))
})

void test('snapshot: one that is still being written is not disturbed by the next one, nor by commands', async (t) => {
  const log = new LockLog()
  const a = log.open()
  for (let request = 1; request <= 20; request++) log.acquire(a, request, `n${request}`)
  const collect = async (walk: Iterator<Uint8Array>): Promise<readonly string[]> => {
    const chunks: Uint8Array[] = []
    for (let next = walk.next(); next.done !== true; next = walk.next()) chunks.push(next.value)
    const copy = new LockMachine()
    await copy.restore(each(chunks))
    return copy.list('', 100).map(({ name }) => name)
  }
  const first = log.machine.snapshot(1)
  log.release(a, 3)
  const second = log.machine.snapshot(1)
  log.release(a, 4)
  log.acquire(a, 21, 'new')
  const found = [await collect(first), await collect(second)]
  t.equal(found[0]?.length, 20)
  t.equal(found[1]?.length, 19)
  t.notOk(found.flat().includes('new'))
  t.ok(found[1]?.includes('n4'))
})

void test('onGrant: tells nobody of a grant that the same entry has taken back', async (t) => {
  const log = new LockLog()
  const [a, b, c] = [log.open(), log.open(), log.open()]
  for (const session of [a, b, c]) log.acquire(session, 1, 'm')
  log.applyBytes(
    batchOf([
      { type: 'release', session: a, request: 1 },
      { type: 'release', session: b, request: 1 },
    ]),
  )
  t.strictSame(log.takeGrants(), [{ session: c, request: 1, token: 3 }])
})

void test('list: in order, by prefix, in pages', async (t) => {
  const log = new LockLog()
  for (const name of ['b/2', 'a/1', 'b/1', 'b/3']) log.answer({ type: 'count-add', name, by: 1 })
  const names = (prefix: string, limit: number, after?: string): readonly string[] =>
    log.machine.list(prefix, limit, after).map(({ name }) => name)
  t.strictSame(names('b/', 2), ['b/1', 'b/2'])
  t.strictSame(names('b/', 2, 'b/2'), ['b/3'])
  t.strictSame(names('', 9), ['a/1', 'b/1', 'b/2', 'b/3'])
})

void test('onChange: names what changed; the replica tells of the life in progress only', async (t) => {
  const log = new LockLog()
  const a = log.open()
  log.acquire(a, 1, 'm')
  log.answer({ type: 'count-add', name: 'c', by: 1 })
  t.strictSame(log.changed, ['m', 'c'])
  const replica = new LockReplica()
  const told: unknown[] = []
  const stop = replica.listen({
    onGrant: (grants) => told.push(grants),
    onRefused: (requests) => told.push(requests),
    onSessionOver: (sessions) => told.push(sessions),
    onChange: (names) => told.push(names === undefined ? 'any' : [...names]),
  })
  const first = replica.makeMachine()
  const second = replica.makeMachine()
  t.strictSame(told, ['any'])
  new LockLog(first)
  t.equal(replica.machine, second)
  const life = (machine: LockMachine): void => {
    for (const [index, data] of [1, 2].entries()) {
      machine.apply({
        index: data,
        term: 1,
        timeMs: 0,
        data: batchOf([{ type: 'count-add', name: 'c', by: index }]),
      })
    }
  }
  life(first)
  t.strictSame(told, ['any'])
  life(second)
  t.strictSame(told, ['any', ['c'], ['c']])
  stop()
  life(second)
  t.equal(told.length, 3)
})
