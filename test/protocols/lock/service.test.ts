/** The lock table's service and its callers: the way to the leader, pushes of grants, views that wait, what is bounded. */
import { test } from 'tap'
import { actor, type MessageOf } from '@understudy/runtime'
import { spawnSystemActor, type InternalSystem } from '@understudy/runtime/internal'
import { codec, lockCluster, protocol, sessionTtlMs, type LockCommand } from './lock-cluster.ts'
import { acquire } from './machine-log.ts'

void test('LockCaller: takes and gives back, from a node that has no part in the group; one entry each', async (t) => {
  await using locks = await lockCluster()
  const { caller, session } = await locks.attached()
  await locks.get(caller.write('warm-up', { type: 'count-add', name: 'n', by: 1 }, {}))
  const before = locks.group.applied.length
  const held = await locks.get(caller.write('acquire', acquire(session, 1), {}))
  t.match(held, { type: 'held', token: Number })
  const released = await locks.get(caller.write('release', { type: 'release', session, request: 1 }, {}))
  t.same(released, { type: 'released', was: 'held' })
  t.equal(locks.group.applied.length - before, 2)
  t.same(await locks.get(caller.states(session, [1, 2], {})), [
    { type: 'released', was: 'nothing' },
    { type: 'released', was: 'nothing' },
  ])
})

void test('LockCaller: what many ask for in one turn is one entry, each judged for itself', async (t) => {
  await using locks = await lockCluster()
  const { caller, session } = await locks.attached()
  await locks.get(caller.write('warm-up', { type: 'count-add', name: 'n', by: 1 }, {}))
  const before = locks.group.applied.length
  const outcomes = await locks.get(
    Promise.allSettled([
      caller.write('a', acquire(session, 1, 'a'), {}),
      caller.write('b', acquire(session, 2, 'b', { wait: false }), {}),
      caller.write('b again', acquire(session, 3, 'b', { wait: false }), {}),
      caller.write('count', { type: 'count-add', name: 'n', by: 2 }, {}),
      caller.write('wrong kind', acquire(session, 4, 'n'), {}),
    ]),
  )
  t.equal(locks.group.applied.length - before, 1)
  t.match(outcomes, [
    { value: { type: 'held' } },
    { value: { type: 'held' } },
    { value: { type: 'busy', holders: 1 } },
    { value: { type: 'number', value: 3 } },
    { reason: { code: 'LOCK_WRONG_KIND', details: { outcome: 'not-done' } } },
  ])
})

void test('LockCaller: a write whose answer was lost is tried again and done once; else it says that nobody knows', async (t) => {
  await using locks = await lockCluster()
  const { caller } = await locks.attached()
  const add = { type: 'count-add', name: 'n', by: 1 } as const
  locks.group.loseReplies(3)
  t.match(await locks.get(caller.write('add', add, {})), { value: 1 })
  locks.group.loseProposals(2)
  t.match(await locks.get(caller.write('add', add, {})), { value: 2 })
  locks.group.overload(3)
  t.match(await locks.get(caller.write('add', add, {})), { value: 3 })
  locks.group.loseReplies(1_000)
  t.match(await locks.cluster.outcome(caller.write('add', add, { timeoutMs: 500 })), {
    error: { code: 'PROTOCOLS_OUTCOME_UNKNOWN' },
  })
  locks.group.loseReplies(0)
  t.match(await locks.get(caller.view('n', {})), { value: 4 })
  locks.group.elect(undefined)
  const none = { error: { code: 'LOCK_UNAVAILABLE', details: { outcome: 'not-done' } } }
  t.match(await locks.cluster.outcome(caller.write('add', add, { timeoutMs: 500 })), none)
  t.match(
    await locks.cluster.outcome(
      caller.control('open', { type: 'open-session', ttlMs: 1_000, label: '' }, { timeoutMs: 500 }),
    ),
    none,
  )
  t.match(await locks.cluster.outcome(caller.view('n', { timeoutMs: 500 })), {
    error: { code: 'LOCK_UNAVAILABLE' },
  })
  t.match(await locks.cluster.outcome(caller.write('add', add, { signal: AbortSignal.abort() })), {
    error: { code: 'RUNTIME_ABORTED' },
  })
})

void test('LockService: who waits is told by one push as soon as it is its turn, and nobody else is', async (t) => {
  await using locks = await lockCluster()
  const [one, two, three] = [await locks.attached('d'), await locks.attached('b'), await locks.attached('d')]
  for (const { caller, session } of [one, two, three])
    await locks.get(caller.write('acquire', acquire(session, 7), {}))
  const release = (session: number): LockCommand => ({ type: 'release', session, request: 7 })
  await locks.get(one.caller.write('release', release(one.session), {}))
  await locks.cluster.advance(0)
  t.match(two.grants, [{ session: two.session, request: 7, token: Number }])
  t.same([one.grants, three.grants], [[], []])
  await locks.get(two.caller.write('release', release(two.session), {}))
  await locks.cluster.advance(0)
  t.match(three.grants, [{ session: three.session, request: 7 }])
  t.ok((three.grants[0]?.token ?? 0) > (two.grants[0]?.token ?? 0))
  t.equal(two.grants.length, 1)
  t.same([...one.ends, ...two.ends, ...three.ends], [])
})

void test('LockService: one entry that lets many through tells each of them its own, in order', async (t) => {
  await using locks = await lockCluster()
  const [one, two, three] = [await locks.attached(), await locks.attached(), await locks.attached('a')]
  const write = { kind: 'read-write', permits: 0 } as const
  await locks.get(one.caller.write('write', acquire(one.session, 1, 'x', write), {}))
  for (const { caller, session } of [two, three, two])
    for (const request of session === two.session ? [1, 2] : [5])
      await locks.get(caller.write('read', acquire(session, request, 'x', { kind: 'read-write' }), {}))
  await locks.get(one.caller.write('release', { type: 'release', session: one.session, request: 1 }, {}))
  await locks.cluster.advance(0)
  t.same(
    two.grants.map(({ session, request }) => [session, request]),
    [
      [two.session, 1],
      [two.session, 2],
    ],
  )
  t.match(three.grants, [{ session: three.session, request: 5 }])
})

void test('LockService: another leader ends the attachments of the old one; what was granted meanwhile is in the states', async (t) => {
  await using locks = await lockCluster()
  const [one, two] = [await locks.attached(), await locks.attached('b')]
  await locks.get(one.caller.write('acquire', acquire(one.session, 1), {}))
  t.match(await locks.get(two.caller.write('acquire', acquire(two.session, 1), {})), { type: 'queued' })
  locks.group.elect('c')
  await locks.cluster.advance(0)
  t.same([one.ends, two.ends], [['detached'], ['detached']])
  await locks.get(one.caller.write('release', { type: 'release', session: one.session, request: 1 }, {}))
  await locks.cluster.advance(100)
  t.same(two.grants, [], 'nobody tells who is not attached')
  await locks.get(two.caller.attach(two.session, {}))
  t.match(await locks.get(two.caller.states(two.session, [1], {})), [{ type: 'held', token: Number }])
  // And from here on it is told again, by the new one.
  await locks.get(one.caller.write('acquire', acquire(one.session, 2), {}))
  await locks.get(one.caller.attach(one.session, {}))
  await locks.get(two.caller.write('release', { type: 'release', session: two.session, request: 1 }, {}))
  await locks.cluster.advance(0)
  t.match(one.grants, [{ request: 2 }])
})

void test('LockService: a leader that comes back leads in another term, and tells nobody of the first', async (t) => {
  await using locks = await lockCluster()
  const one = await locks.attached()
  locks.group.elect('b')
  locks.group.elect('a')
  await locks.cluster.advance(0)
  t.same(one.ends, ['detached'])
  t.match(await locks.get(one.caller.write('count', { type: 'count-add', name: 'n', by: 1 }, {})), {
    value: 1,
  })
  t.match(await statusOf(locks, 'a'), { attachments: 0 })
})

void test('LockService: pushes to a client that is frozen come late, and say nothing wrong', async (t) => {
  await using locks = await lockCluster()
  const [one, two] = [await locks.attached('b'), await locks.attached('d')]
  await locks.get(one.caller.write('acquire', acquire(one.session, 1), {}))
  await locks.get(two.caller.write('acquire', acquire(two.session, 1), {}))
  const goOn = locks.cluster.stall(locks.node('d'))
  await locks.get(one.caller.write('release', { type: 'release', session: one.session, request: 1 }, {}))
  await locks.cluster.advance(100)
  t.same(two.grants, [])
  goOn()
  await locks.cluster.advance(100)
  const [grant] = two.grants
  t.match(grant, { session: two.session, request: 1 })
  t.match(await locks.get(two.caller.states(two.session, [1], {})), [{ type: 'held', token: grant?.token }])
})

void test('LockCaller: a push that was lost on its way shows in the next one, and what was told is told all the same', async (t) => {
  await using locks = await lockCluster()
  const { LockService } = protocol
  const attached: MessageOf<LockServiceMessages, 'attach'>[] = []
  // A service that says what the test wants, and nothing else.
  const definition = actor(LockService, { name: 'locks-odd' }, (ctx) => {
    const none = () => protocol.encodeLockOther({ kind: 'closed', why: 'odd' })
    return {
      write: none,
      openSession: none,
      control: none,
      states: none,
      view: none,
      list: none,
      attach: (wish) => {
        attached.push(wish)
        const { attachment, to } = wish
        // The first is over before its answer is there.
        if (attachment === 1) ctx.tell(to, { type: 'detached', attachment, why: 'odd' })
        return protocol.encodeLockOther({ kind: 'opened', number: attachment, progressMs: 0 })
      },
      status: () => ({}),
    }
  })
  spawnSystemActor(locks.node('b').system as InternalSystem, 'locks-odd', definition)
  const caller = locks.caller('d', { name: 'odd', servers: ['b'] })
  const [grants, ends]: [unknown[], string[]] = [[], []]
  caller.onGrant = (grant) => grants.push(grant)
  caller.onDetached = () => ends.push('detached')
  caller.onSessionOver = (session) => ends.push(`over ${session}`)
  await locks.get(caller.attach(5, {}))
  t.equal(attached.length, 2)
  t.same(ends, [], 'whoever attaches sees to it')
  const to = attached[1]?.to
  const tell = async (attachment: number, push: number, token: number): Promise<void> => {
    const bytes = protocol.encodeGrants([{ session: 5, request: 9, token }])
    to?.tell({ type: 'granted', attachment, push, grants: bytes })
    await locks.cluster.advance(10)
  }
  await tell(2, 1, 77)
  t.same([grants, ends], [[{ session: 5, request: 9, token: 77 }], []])
  await tell(1, 2, 78)
  t.equal(grants.length, 1, 'what is meant for an older attachment is for nobody')
  await tell(2, 3, 79)
  t.same([grants.length, ends], [2, ['detached']])
  await tell(2, 9, 80)
  t.same([grants.length, ends], [3, ['detached']], 'once')
  to?.tell({ type: 'sessionOver', attachment: 1 })
  to?.tell({ type: 'sessionOver', attachment: 2 })
  await locks.cluster.advance(10)
  t.same(ends, ['detached', 'over 5'])
})

void test('LockService: the leader ends sessions whose time is over, tells their clients, and lets others through', async (t) => {
  await using locks = await lockCluster({ checkMs: 20 })
  const [one, two] = [await locks.attached(), await locks.attached('b')]
  await locks.get(one.caller.write('acquire', acquire(one.session, 1), {}))
  await locks.get(two.caller.write('acquire', acquire(two.session, 1), {}))
  const keep = { type: 'keep-alive', session: two.session } as const
  for (let i = 0; i < 3; i++) {
    await locks.cluster.advance(sessionTtlMs / 4)
    await locks.get(two.caller.control('keep', keep, {}))
    t.same(two.grants, [])
  }
  await locks.cluster.advance(sessionTtlMs / 4 + 100)
  t.same(one.ends, [one.session])
  t.match(two.grants, [{ session: two.session, request: 1 }])
  t.match(await locks.cluster.outcome(one.caller.write('acquire', acquire(one.session, 2), {})), {
    error: { code: 'LOCK_SESSION_LOST' },
  })
  t.match(await locks.cluster.outcome(one.caller.attach(one.session, {})), {
    error: { code: 'LOCK_SESSION_LOST' },
  })
  t.match(await statusOf(locks, 'a'), { attachments: 1, locks: { sessions: 1 } })
})

void test('LockService: after a change of the leader sessions have their whole time again, then they end', async (t) => {
  await using locks = await lockCluster({ checkMs: 20 })
  const one = await locks.attached()
  await locks.get(one.caller.write('acquire', acquire(one.session, 1), {}))
  await locks.cluster.advance(sessionTtlMs * 0.8)
  locks.group.elect('b')
  await locks.cluster.advance(sessionTtlMs * 0.9)
  t.equal(locks.replica('c').machine.hasSession(one.session), true)
  await locks.cluster.advance(sessionTtlMs * 0.2)
  t.equal(locks.replica('c').machine.hasSession(one.session), false)
})

void test('LockService: keep-alives have a lane of their own, and no session of the group', async (t) => {
  await using locks = await lockCluster()
  const { caller, session } = await locks.attached()
  locks.group.loseReplies(2)
  t.match(await locks.get(caller.control('keep', { type: 'keep-alive', session }, {})), {
    type: 'session',
    session,
  })
  t.match(await locks.cluster.outcome(caller.control('keep', { type: 'keep-alive', session: 9_999 }, {})), {
    error: { code: 'LOCK_SESSION_LOST' },
  })
  await locks.get(caller.control('end', { type: 'end-session', session }, {}))
  t.equal(protocol.LockService.messages.control?.lane, 'control')
})

void test('LockCaller: a refusal of who waits is pushed as permits are lowered', async (t) => {
  await using locks = await lockCluster()
  const [one, two] = [await locks.attached('d'), await locks.attached('b')]
  const refused: unknown[] = []
  two.caller.onRefused = (request) => refused.push(request)
  const semaphore = { kind: 'semaphore', capacity: 3 } as const
  await locks.get(one.caller.write('acquire', acquire(one.session, 1, 's', semaphore), {}))
  await locks.get(two.caller.write('acquire', acquire(two.session, 5, 's', { ...semaphore, permits: 3 }), {}))
  await locks.get(one.caller.write('lower', { type: 'set-permits', name: 's', permits: 2 }, {}))
  await locks.cluster.advance(0)
  t.match(refused, [{ session: two.session, request: 5 }])
  await locks.get(two.caller.write('acquire', acquire(two.session, 6, 's', { ...semaphore, permits: 2 }), {}))
  await locks.get(one.caller.write('release', { type: 'release', session: one.session, request: 1 }, {}))
  await locks.cluster.advance(0)
  t.match(two.grants, [{ session: two.session, request: 6 }])
  t.same(two.ends, [], 'one count of pushes for both')
})

void test('LockCaller: keep-alives beside a leader that is silent find the new one, and do not wait for the first', async (t) => {
  await using locks = await lockCluster()
  const { caller, session } = await locks.attached('d', { attemptMs: 2_000 })
  const { cluster, group } = locks
  const keep = (): Promise<unknown> =>
    caller.control('keep', { type: 'keep-alive', session }, { timeoutMs: 9_000, silentAfterMs: 500 })
  await locks.get(keep())
  const goOn = cluster.stall(locks.node('a'))
  group.elect('b')
  const first = keep()
  await cluster.advance(510)
  const before = cluster.platform.clock.monotonicMs()
  t.match(await locks.get(keep()), { type: 'session', session })
  t.match(await locks.get(keep()), { type: 'session', session }, 'and who comes behind goes there at once')
  t.ok(cluster.platform.clock.monotonicMs() - before < 500)
  let isAnswered = false
  void first.then(() => (isAnswered = true))
  await cluster.advance(10)
  t.equal(isAnswered, false)
  goOn()
  t.match(await locks.get(first), { type: 'session', session }, 'the first was waited for, and is led on')
})

void test('LockCaller: a leader that is slow keeps every second keep-alive, and is believed as soon as it answers', async (t) => {
  await using locks = await lockCluster()
  const { caller, session } = await locks.attached('d', { attemptMs: 4_000 })
  const { cluster } = locks
  const keep = (): Promise<unknown> =>
    caller.control('keep', { type: 'keep-alive', session }, { timeoutMs: 9_000, silentAfterMs: 500 })
  await locks.get(keep())
  const goOn = cluster.stall(locks.node('a'))
  const under = [keep()]
  for (let i = 0; i < 4; i++) {
    await cluster.advance(510)
    under.push(keep())
  }
  goOn()
  const answers = await locks.get(Promise.all(under))
  t.equal(answers.length, 5)
  // Nobody else is asked any more.
  for (const name of ['b', 'c']) cluster.stall(locks.node(name))
  for (let i = 0; i < 4; i++) {
    const before = cluster.platform.clock.monotonicMs()
    await locks.get(keep())
    t.ok(cluster.platform.clock.monotonicMs() - before < 100)
  }
})

void test('LockCaller: no time to wait is refused before anything is sent', async (t) => {
  await using locks = await lockCluster()
  const { caller } = await locks.attached()
  const wrong = {
    error: { code: 'LOCK_BAD_REQUEST', message: /"timeoutMs" must be a number above 0, got 0/ },
  }
  const before = locks.group.applied.length
  const write = caller.write('the counter "n"', { type: 'count-add', name: 'n', by: 1 }, { timeoutMs: 0 })
  t.match(await locks.cluster.outcome(write), wrong)
  t.match(await locks.cluster.outcome(caller.view('n', { timeoutMs: 0 })), wrong)
  t.match(await locks.cluster.outcome(caller.list('', { timeoutMs: 0 })), wrong)
  t.equal(locks.group.applied.length, before)
})

void test('LockService: a leader that is not up to date attaches nobody before it is', async (t) => {
  await using locks = await lockCluster({ checkMs: 60_000 })
  const one = await locks.attached()
  locks.group.hold('a')
  locks.group.elect('b')
  await locks.get(one.caller.write('add', { type: 'count-add', name: 'n', by: 1 }, {}))
  locks.group.elect('a')
  t.match(await locks.cluster.outcome(one.caller.attach(one.session, { timeoutMs: 500 })), {
    error: { code: 'LOCK_UNAVAILABLE' },
  })
  t.match(await statusOf(locks, 'a'), { attachments: 0 })
  locks.group.letGo('a')
  await locks.get(one.caller.attach(one.session, {}))
  t.match(await statusOf(locks, 'a'), { attachments: 1 })
})

void test('LockService: one that is closed says so to whom it has attached', async (t) => {
  await using locks = await lockCluster()
  const one = await locks.attached()
  await locks.get(locks.service('a').close())
  await locks.cluster.advance(10)
  t.same(one.ends, ['detached'])
  locks.group.elect('b')
  await locks.get(one.caller.attach(one.session, {}))
  t.match(await statusOf(locks, 'b'), { attachments: 1 })
})

void test('LockService: one that is started anew says so to whom it had attached', async (t) => {
  await using locks = await lockCluster()
  const one = await locks.attached()
  const { machine } = locks.replica('a')
  const { status } = machine
  let isBroken = true
  Object.assign(machine, {
    status: () => {
      if (isBroken) {
        isBroken = false
        throw new Error('a bug of the test')
      }
      return status.call(machine)
    },
  })
  await locks.cluster.advance(2_000)
  t.equal(isBroken, false)
  t.same(one.ends, ['detached'])
  await locks.get(one.caller.attach(one.session, {}))
  t.match(await statusOf(locks, 'a'), { attachments: 1 })
})

void test('LockCaller: what may answer with a value shares no batch', async (t) => {
  await using locks = await lockCluster()
  const { caller } = await locks.attached()
  await locks.get(caller.write('add', { type: 'count-add', name: 'n', by: 1 }, {}))
  const before = locks.group.applied.length
  const value = Buffer.from('v')
  const set = { type: 'value-set', name: 'v', expectedVersion: 0, value } as const
  const answers = await locks.get(
    Promise.all([1, 2, 3].map((i) => caller.write('set', { ...set, name: `v${i}` }, {}))),
  )
  t.match(answers, [{ ok: true }, { ok: true }, { ok: true }])
  t.equal(locks.group.applied.length - before, 3)
  const again = await locks.get(caller.write('set', { ...set, name: 'v1' }, {}))
  t.match(again, { ok: false, value })
})

void test('LockService: a view waits for news of its name, on any member, and no longer than it was asked to', async (t) => {
  await using locks = await lockCluster()
  const { caller } = await locks.attached('d')
  const near = locks.caller('b')
  const add = { type: 'count-add', name: 'n', by: 1 } as const
  t.equal(await locks.get(near.view('n', {})), undefined)
  await locks.get(caller.write('add', add, {}))
  const first = await locks.get(near.view('n', {}))
  t.match(first, { name: 'n', kind: 'counter', value: 1 })
  const afterVersion = first?.version ?? 0
  t.match(await locks.get(near.view('n', { afterVersion: afterVersion - 1, waitMs: 5_000 })), { value: 1 })
  let seen: unknown
  const waiting = near.view('n', { afterVersion, waitMs: 5_000 }).then((view) => (seen = view))
  await locks.cluster.advance(1_000)
  await locks.get(caller.write('other', { ...add, name: 'm' }, {}))
  await locks.cluster.advance(1_000)
  t.equal(seen, undefined)
  t.match(await statusOf(locks, 'b'), { polls: 1 }, 'this node is a member: it asks itself')
  await locks.get(caller.write('add', add, {}))
  await locks.cluster.advance(0)
  t.match(seen, { value: 2 })
  await waiting
  const { clock } = locks.cluster.platform
  const before = clock.monotonicMs()
  t.match(await locks.get(near.view('n', { afterVersion: afterVersion + 1_000_000, waitMs: 0 })), {
    value: 2,
  })
  const version = (await locks.get(near.view('n', {})))?.version ?? 0
  t.match(await locks.get(near.view('n', { afterVersion: version, waitMs: 700 })), { value: 2 })
  const tookMs = clock.monotonicMs() - before
  t.ok(tookMs >= 700 && tookMs < 1_000, `${tookMs}`)
  t.match(await statusOf(locks, 'b'), { polls: 0 })
})

void test('LockService: an observer of an election sees every leader by its token, and a name that goes is news', async (t) => {
  await using locks = await lockCluster()
  const one = await locks.attached()
  const observer = locks.caller('c')
  const election = { kind: 'election', data: 'me' } as const
  const first = observer.view('e', { afterToken: 0, waitMs: 5_000 })
  await locks.cluster.advance(10)
  const held = await locks.get(one.caller.write('campaign', acquire(one.session, 1, 'e', election), {}))
  const token = held.type === 'held' ? held.token : 0
  t.match(await locks.get(first), { reigns: [{ token, data: 'me', session: one.session }] })
  const next = observer.view('e', { afterToken: token, waitMs: 5_000 })
  await locks.get(one.caller.write('resign', { type: 'release', session: one.session, request: 1 }, {}))
  await locks.get(one.caller.write('again', acquire(one.session, 2, 'e', election), {}))
  const view = await locks.get(next)
  t.ok((view?.reigns.at(-1)?.token ?? 0) > token)
  t.equal(view?.reigns[0]?.token, token)
  await locks.get(one.caller.write('add', { type: 'count-add', name: 'n', by: 1 }, {}))
  const counter = await locks.get(observer.view('n', {}))
  const gone = observer.view('n', { afterVersion: counter?.version ?? 0, waitMs: 5_000 })
  await locks.cluster.advance(10)
  await locks.get(one.caller.write('remove', { type: 'remove', name: 'n' }, {}))
  const { clock } = locks.cluster.platform
  const before = clock.monotonicMs()
  t.equal(await locks.get(gone), undefined)
  t.ok(clock.monotonicMs() - before < 100, 'at once')
})

void test('LockService: a view that waits on a member that begins another life never goes back', async (t) => {
  await using locks = await lockCluster()
  const { caller } = await locks.attached('d')
  const near = locks.caller('b')
  for (let i = 0; i < 5; i++)
    await locks.get(caller.write('add', { type: 'count-add', name: 'n', by: 1 }, {}))
  const version = (await locks.get(near.view('n', {})))?.version ?? 0
  let seen: unknown
  void near.view('n', { afterVersion: version, waitMs: 60_000 }).then((view) => (seen = view))
  await locks.cluster.advance(100)
  locks.group.hold('b')
  locks.group.restart('b')
  await locks.cluster.advance(500)
  t.equal(seen, undefined, 'what it is in between is not told')
  locks.group.letGo('b')
  await locks.get(caller.write('add', { type: 'count-add', name: 'n', by: 1 }, {}))
  await locks.cluster.advance(0)
  t.match(seen, { value: 6 })
})

void test('LockService: so many views wait and so many sessions are attached; one more goes elsewhere, or is refused', async (t) => {
  await using locks = await lockCluster({ pollsMax: 2, attachmentsMax: 2 })
  const { caller, session } = await locks.attached('d')
  await locks.attached('d')
  const third = await locks.cluster.outcome(
    (async () => {
      const opened = await caller.control('open', { type: 'open-session', ttlMs: 60_000, label: '' }, {})
      await caller.attach(opened.type === 'session' ? opened.session : 0, { timeoutMs: 1_000 })
    })(),
  )
  t.match(third, { error: { code: 'LOCK_UNAVAILABLE', message: /2 sessions are attached/ } })
  await locks.get(caller.attach(session, {}))
  t.match(await statusOf(locks, 'a'), { attachments: 2 }, 'one that is there may come again')
  const near = locks.caller('b')
  const waiting = Array.from({ length: 5 }, () =>
    locks.cluster.outcome(near.view('n', { afterVersion: 0, waitMs: 3_000 })),
  )
  await locks.cluster.advance(500)
  const polls = await Promise.all(
    ['a', 'b', 'c'].map(async (name) => ((await statusOf(locks, name)) as { polls: number }).polls),
  )
  t.equal(polls[1], 2)
  t.equal(
    polls.reduce((sum, one) => sum + one, 0),
    5,
    'the others wait elsewhere',
  )
  await locks.get(caller.write('add', { type: 'count-add', name: 'n', by: 1 }, {}))
  t.match(
    await Promise.all(waiting),
    Array.from({ length: 5 }, () => ({ value: { value: 1 } })),
  )
})

void test('LockService: a client that ends, or whose node goes, leaves nothing behind but its session', async (t) => {
  await using locks = await lockCluster()
  const one = await locks.attached('d')
  const two = await locks.attached('b')
  t.match(await statusOf(locks, 'a'), { attachments: 2 })
  await locks.get(two.caller.close())
  await locks.cluster.advance(100)
  t.match(await statusOf(locks, 'a'), { attachments: 1 })
  t.match(await locks.cluster.outcome(two.caller.view('x', {})), { error: { code: 'LOCK_CLIENT_CLOSED' } })
  t.match(await locks.cluster.outcome(two.caller.write('acquire', acquire(two.session, 1), {})), {
    error: { code: 'LOCK_CLIENT_CLOSED' },
  })
  locks.cluster.crash(locks.node('d'))
  const near = locks.caller('a')
  for (let i = 0; i < 12; i++) {
    await locks.cluster.advance(5_000)
    await locks.get(near.control('keep', { type: 'keep-alive', session: one.session }, {}))
  }
  t.match(await statusOf(locks, 'a'), { attachments: 0, locks: { sessions: 1 } })
})

void test('LockCaller: the server it is attached to crashes, and it is told so', async (t) => {
  await using locks = await lockCluster()
  const one = await locks.attached('d')
  locks.cluster.crash(locks.node('a'))
  locks.group.elect('b')
  await locks.cluster.until(() => one.ends.length > 0, 60_000)
  t.same(one.ends, ['detached'])
  await locks.get(one.caller.attach(one.session, {}))
  t.match(await statusOf(locks, 'b'), { attachments: 1 })
})

void test('LockCaller: so many writes are under way, so many wait, and one more is refused', async (t) => {
  await using locks = await lockCluster()
  const caller = locks.caller('d', { inFlightMax: 2, waitingMax: 3 })
  const add = { type: 'count-add', name: 'n', by: 1 } as const
  await locks.get(caller.write('add', add, {}))
  locks.group.delayMs = 100
  const outcomes = await Promise.all(
    Array.from({ length: 6 }, () => locks.cluster.outcome(caller.write('add', add, {}))),
  )
  t.same(
    outcomes.flatMap((one) => ('error' in one ? [one.error.code] : [])),
    ['LOCK_CLIENT_FULL'],
  )
  t.match(await locks.get(caller.view('n', {})), { value: 6 })
})

void test('LockCaller: lists come whole, page by page, with values and all', async (t) => {
  await using locks = await lockCluster()
  const { caller, session } = await locks.attached('d')
  const value = Buffer.alloc(60_000, 7)
  const names = Array.from({ length: 30 }, (_, i) => `v/${String(i).padStart(2, '0')}`)
  for (const name of names)
    await locks.get(caller.write('set', { type: 'value-set', name, expectedVersion: undefined, value }, {}))
  await locks.get(caller.write('acquire', acquire(session, 1, 'held'), {}))
  const views = await locks.get(caller.list('v/', {}))
  t.same(
    views.map(({ name }) => name),
    names,
  )
  t.ok(views.every((view) => view.value instanceof Uint8Array && view.value.length === 60_000))
  t.match(await locks.get(caller.list('he', {})), [
    { name: 'held', kind: 'mutex', value: undefined, holders: [{ session, label: 'd' }] },
  ])
  t.same(await locks.get(caller.list('nothing', {})), [])
})

void test('LockCaller: a command that is too large is not sent, and what a group does not take is refused', async (t) => {
  await using locks = await lockCluster()
  const { caller } = await locks.attached('d')
  const set = (bytes: number): LockCommand => ({
    type: 'value-set',
    name: 'v',
    expectedVersion: undefined,
    value: Buffer.alloc(bytes),
  })
  const before = locks.group.applied.length
  t.match(await locks.cluster.outcome(caller.write('set', set(3_000_000), {})), {
    error: { code: 'LOCK_LIMIT', details: { outcome: 'not-done' } },
  })
  t.equal(locks.group.applied.length, before)
  t.match(await locks.cluster.outcome(caller.write('set', set(100_000), {})), {
    error: { code: 'LOCK_LIMIT' },
  })
  t.match(codec.decodeLockCommand(locks.group.applied.at(-1) ?? new Uint8Array(0)), { type: 'value-set' })
})

type LockServiceMessages = import('../../../packages/protocols/src/lock/lock-protocol.ts').LockServiceMessages
type Cluster = Awaited<ReturnType<typeof lockCluster>>

function serviceOf(locks: Cluster, name: string) {
  const { LockService, lockServicePath } = protocol
  return locks.node(name).ref(LockService, name, lockServicePath('locks'))
}

function statusOf(locks: Cluster, name: string): Promise<Readonly<Record<string, unknown>>> {
  return locks.get(serviceOf(locks, name).ask({ type: 'status' }, { timeoutMs: 1_000 }))
}
