/** A client of the store: follows the leader, tries again safely, and tells "not done" from "nobody knows". */
import { test } from 'tap'
import { kvCluster } from './kv-cluster.ts'
import { codec, WriteSession } from './kv-source.ts'

function text(bytes: Uint8Array | undefined): string | undefined {
  return bytes === undefined ? undefined : Buffer.from(bytes).toString()
}

void test('KvClient: reads what it wrote, from a node that has no part in the group', async (t) => {
  await using kv = await kvCluster()
  const client = kv.client()
  t.equal(await kv.get(client.get('a')), undefined)
  t.same(await kv.get(client.put('a', 'one')), { revision: 1, previous: undefined })
  t.match(await kv.get(client.put('a', Buffer.from('two'), { previous: true })), {
    revision: 2,
    previous: { version: 1 },
  })
  const entry = await kv.get(client.get('a'))
  t.equal(text(entry?.value), 'two')
  t.match(entry, { key: 'a', createRevision: 1, modRevision: 2, version: 2, lease: 0 })
  t.equal(text((await kv.get(client.get('a', { revision: 1 })))?.value), 'one')
  t.match(await kv.get(client.delete({ prefix: 'a' }, { previous: true })), {
    revision: 3,
    deleted: 1,
    previous: [{ version: 2 }],
  })
  for (const consistency of ['local', 'lease', 'linearizable'] as const) {
    t.equal(await kv.get(client.get('a', { consistency })), undefined)
  }
})

void test('KvClient: a range comes whole and at one revision, however many pages it takes', async (t) => {
  await using kv = await kvCluster()
  const client = kv.client()
  for (let i = 0; i < 9; i++) await kv.get(client.put(`k${i}`, 'x'.repeat(200_000)))
  const all = await kv.get(client.range({ prefix: 'k' }))
  t.match(all, { count: 9, more: false, revision: 9 })
  t.same(
    all.entries.map(({ key }) => key),
    ['k0', 'k1', 'k2', 'k3', 'k4', 'k5', 'k6', 'k7', 'k8'],
  )
  const last = await kv.get(client.range({ prefix: 'k' }, { reverse: true, limit: 5 }))
  t.match(last, { count: 9, more: true })
  t.same(
    last.entries.map(({ key }) => key),
    ['k8', 'k7', 'k6', 'k5', 'k4'],
  )
  t.match(await kv.get(client.range({ from: '', to: '' }, { countOnly: true })), {
    count: 9,
    more: false,
    entries: [],
  })
})

void test('KvClient: transactions and compareAndSet', async (t) => {
  await using kv = await kvCluster()
  const client = kv.client('a')
  t.match(await kv.get(client.compareAndSet('a', undefined, 'one')), { ok: true, revision: 1 })
  const lost = await kv.get(client.compareAndSet('a', undefined, 'two'))
  t.match(lost, { ok: false, revision: 1, current: { modRevision: 1 } })
  t.match(await kv.get(client.compareAndSet('a', { value: 'one' }, 'two')), { ok: true, revision: 2 })
  t.match(await kv.get(client.compareAndSet('a', { modRevision: 1 }, 'three')), {
    ok: false,
    current: { modRevision: 2 },
  })
  const done = await kv.get(
    client.transact({
      when: [{ key: 'a', target: 'value', operator: '=', operand: 'two' }],
      then: [
        { type: 'put', key: 'b', value: 'x' },
        { type: 'get', from: 'b' },
      ],
      otherwise: [{ type: 'delete', from: 'a' }],
    }),
  )
  t.match(done, { succeeded: true, revision: 3, results: [{ type: 'put' }, { type: 'get', count: 1 }] })
})

void test('KvClient: follows the leader, by its name where the old one knows it', async (t) => {
  await using kv = await kvCluster()
  const client = kv.client()
  await kv.get(client.put('a', '1'))
  kv.group.elect('c')
  await kv.get(client.put('a', '2'))
  kv.group.elect(undefined)
  const waiting = client.put('a', '3')
  await kv.cluster.advance(1_000)
  kv.group.elect('b')
  t.match(await kv.get(waiting), { revision: 3 })
  t.equal(kv.group.applied.filter((bytes) => codecType(bytes) === 'put').length, 3)
})

function codecType(bytes: Uint8Array): string {
  return (codec.decodeKvCommand(bytes) as { readonly type: string }).type
}

void test('KvClient: a write whose answer was lost is tried again and done once (R17)', async (t) => {
  await using kv = await kvCluster()
  const client = kv.client()
  kv.group.loseReplies(3)
  t.match(await kv.get(client.put('a', '1', { previous: true })), { revision: 1, previous: undefined })
  kv.group.loseProposals(2)
  t.match(await kv.get(client.put('a', '2')), { revision: 2 })
  kv.group.overload(4)
  t.match(await kv.get(client.put('a', '3')), { revision: 3 })
  t.match(await kv.get(client.get('a')), { version: 3 })
})

void test('KvClient: answers that are lost here and there among many writes cost nothing (R17)', async (t) => {
  await using kv = await kvCluster()
  const client = kv.client()
  kv.group.delayMs = 5
  kv.group.isReplyLost = (count) => count % 3 === 1
  const answers = await kv.get(
    Promise.all(Array.from({ length: 100 }, (_, i) => client.put(`k${i % 10}`, String(i)))),
  )
  t.equal(new Set(answers.map(({ revision }) => revision)).size, 100)
  t.match(await kv.get(client.get('k0')), { version: 10 })
})

void test('WriteSession: what is answered below is what was given back, in whatever order', async (t) => {
  const session = new WriteSession(7)
  const numbers = [session.take(), session.take(), session.take(), session.take()]
  t.same(numbers, [1, 2, 3, 4])
  const below: number[] = []
  for (const number of [3, 1, 4, 2]) {
    session.giveBack(number)
    below.push(session.answeredBelow)
  }
  t.same(below, [1, 2, 2, 5])
})

void test('KvClient: a crash of the leader in the middle of many writes loses none and doubles none (R17)', async (t) => {
  await using kv = await kvCluster()
  const client = kv.client('d', { attemptMs: 300 })
  kv.group.delayMs = 50
  const writes = Array.from({ length: 200 }, (_, i) => client.put(`k${i}`, 'x'))
  await kv.cluster.advance(30)
  kv.cluster.crash(kv.node('a'))
  kv.group.elect('b')
  await kv.get(Promise.all(writes))
  const { entries, count } = await kv.get(client.range({ prefix: 'k' }))
  t.equal(count, 200)
  t.ok(entries.every(({ version }) => version === 1))
})

void test('KvClient: OutcomeUnknown when a write may have been done, KV_UNAVAILABLE when it was not (G4)', async (t) => {
  await using kv = await kvCluster()
  const client = kv.client()
  await kv.get(client.put('a', '1'))
  kv.group.loseReplies(1_000)
  t.match(await kv.cluster.outcome(client.put('a', '2', { timeoutMs: 500 })), {
    error: { code: 'PROTOCOLS_OUTCOME_UNKNOWN', message: /put "a".*read, and decide/ },
  })
  kv.group.loseReplies(0)
  t.match(await kv.get(client.get('a')), { version: 2 }, 'here it was done')
  kv.group.elect(undefined)
  t.match(await kv.cluster.outcome(client.put('a', '3', { timeoutMs: 500 })), {
    error: { code: 'KV_UNAVAILABLE', message: /put "a" was not done.*knows no leader/ },
  })
  t.match(await kv.cluster.outcome(client.get('a', { timeoutMs: 500 })), {
    error: { code: 'KV_UNAVAILABLE' },
  })
  kv.group.elect('b')
  const notDone = { error: { code: 'RUNTIME_ABORTED', details: { outcome: 'not-done', tries: 0 } } }
  const controller = new AbortController()
  const { signal } = controller
  kv.group.delayMs = 100
  const given = kv.cluster.outcome(client.put('a', '4', { signal }))
  await kv.cluster.advance(50)
  const unsent = kv.cluster.outcome(client.put('a', '5', { signal }))
  controller.abort()
  t.match(
    await given,
    { error: { code: 'RUNTIME_ABORTED', details: { outcome: 'unknown' } } },
    'it was on its way',
  )
  t.match(await unsent, notDone, 'the turn was not over')
  t.match(await kv.cluster.outcome(client.put('a', '6', { signal })), notDone)
  t.match(await kv.get(client.get('a')), { version: 3 })
})

void test('KvClient: a session that is over gives way to another, unless an earlier try may have been done (R17)', async (t) => {
  await using kv = await kvCluster()
  const client = kv.client('d', { sessionTtlMs: 1_000 })
  await kv.get(client.put('a', '1'))
  await kv.cluster.advance(2_000)
  kv.group.expireSessions()
  t.match(await kv.get(client.put('a', '2')), { revision: 2 })
  kv.group.loseReplies(1)
  kv.group.delayMs = 1_500
  const unknown = kv.cluster.outcome(client.put('a', '3', { timeoutMs: 60_000 }))
  await kv.cluster.advance(1_200)
  kv.group.expireSessions()
  await kv.cluster.advance(1)
  t.match(await unknown, { error: { code: 'PROTOCOLS_OUTCOME_UNKNOWN', message: /session ended/ } })
})

void test('KvClient: what the store refuses is told as it was said, and is no other error', async (t) => {
  await using kv = await kvCluster({ quotaBytes: 2_000 })
  const client = kv.client()
  await kv.get(client.put('a', '1'))
  await kv.cluster.advance(300)
  const fails = async (promise: Promise<unknown>, code: string, message: RegExp): Promise<void> => {
    t.match(await kv.cluster.outcome(promise), { error: { code, message } })
  }
  await fails(client.put('b', 'x'.repeat(2_000)), 'KV_QUOTA_EXCEEDED', /compact old revisions/)
  await fails(client.put('', 'x'), 'KV_BAD_REQUEST', /1 to 1024/)
  await fails(client.put('b', 'x', { lease: 7 }), 'KV_LEASE_NOT_FOUND', /no lease 7/)
  await fails(client.get('a', { revision: 99 }), 'KV_FUTURE_REVISION', /newest is 1/)
  await kv.get(client.put('a', '2'))
  await kv.get(client.compact(2))
  await fails(client.get('a', { revision: 1 }), 'KV_COMPACTED', /oldest that is kept is 2/)
  await fails(client.put('\ud800', 'x'), 'RUNTIME_NOT_ENCODABLE', /surrogate/)
  t.throws(() => kv.client('d', { servers: [] }), { message: /servers/ })
})

void test('KvClient: so many calls are under way, so many wait, and one more is refused', async (t) => {
  await using kv = await kvCluster()
  const client = kv.client('d', { inFlightMax: 2, waitingMax: 3 })
  await kv.get(client.put('a', '0'))
  kv.group.delayMs = 100
  const puts = Array.from({ length: 6 }, (_, i) => kv.cluster.outcome(client.put('a', String(i))))
  const outcomes = await Promise.all(puts)
  t.same(
    outcomes.filter((one) => 'error' in one).map((one) => 'error' in one && one.error.code),
    ['KV_CLIENT_FULL'],
  )
  t.match(await kv.get(client.get('a')), { version: 6 })
  const late = client.put('a', 'x', { timeoutMs: 50 })
  t.match(await kv.cluster.outcome(late), { error: { code: 'PROTOCOLS_OUTCOME_UNKNOWN' } })
})

void test('KvClient: a lease is kept alive, across a change of the leader, and its keys go when it is revoked', async (t) => {
  await using kv = await kvCluster()
  const client = kv.client()
  const lease = await kv.get(client.lease({ ttlMs: 2_000 }))
  await kv.get(client.put('a', 'x', { lease }))
  await kv.cluster.advance(10_000)
  kv.group.elect('c')
  await kv.cluster.advance(10_000)
  t.match(await kv.get(client.get('a')), { lease: lease.id })
  t.equal(lease.signal.aborted, false)
  await kv.get(lease.revoke())
  t.equal(lease.signal.aborted, true)
  t.equal(await kv.get(client.get('a')), undefined)
})

void test('KvClient: who cannot keep its lease alive knows before its keys go', async (t) => {
  await using kv = await kvCluster()
  const client = kv.client()
  const other = kv.client('b')
  const lease = await kv.get(client.lease({ ttlMs: 2_000 }))
  await kv.get(client.put('a', 'x', { lease }))
  await kv.cluster.advance(5_000)
  kv.cluster.crash(kv.node('d'))
  let lostAtMs = 0
  const { clock } = kv.cluster.platform
  lease.signal.addEventListener('abort', () => (lostAtMs = clock.monotonicMs()))
  let goneAtMs = 0
  while (goneAtMs === 0) {
    await kv.cluster.advance(10)
    if ((await kv.get(other.get('a'))) === undefined) goneAtMs = clock.monotonicMs()
  }
  t.ok(lostAtMs > 0 && lostAtMs < goneAtMs, `${lostAtMs} < ${goneAtMs}`)
  t.match(lease.signal.reason, { code: 'KV_LEASE_LOST', message: /in time/ })
})

void test('KvClient: a lease that somebody else revoked is lost with the next keep-alive', async (t) => {
  await using kv = await kvCluster()
  const lease = await kv.get(kv.client().lease({ ttlMs: 3_000 }))
  kv.group.elect('b')
  await kv.get(kv.group.group('b').propose(codec.encodeKvCommand({ type: 'lease-revoke', id: lease.id })))
  await kv.cluster.advance(1_500)
  t.match(lease.signal.reason, { code: 'KV_LEASE_LOST', message: /knows no such lease/ })
})

void test('KvService: leases that are over are ended by the leader, and their time begins with its term (R12)', async (t) => {
  await using kv = await kvCluster({ checkMs: 20 })
  const client = kv.client()
  const group = kv.group.group('a')
  await kv.get(group.propose(codec.encodeKvCommand({ type: 'lease-grant', id: 9, ttlMs: 1_000 })))
  await kv.get(client.put('a', 'x', { lease: 9 }))
  await kv.cluster.advance(800)
  kv.group.elect('b')
  await kv.cluster.advance(900)
  t.match(await kv.get(client.get('a', { consistency: 'local' })), { lease: 9 }, 'its whole time again')
  // Nothing else is proposed: the new leader begins the term for the leases by itself.
  await kv.cluster.advance(200)
  t.equal(await kv.get(client.get('a')), undefined)
})

void test('KvService: the leader forgets old revisions, and sooner when space is tight', async (t) => {
  await using kv = await kvCluster({ historyMax: 10, checkMs: 100 })
  const client = kv.client()
  for (let i = 0; i < 30; i++) await kv.get(client.put('a', String(i)))
  await kv.cluster.advance(500)
  const { compactRevision, revision } = kv.machine('c').status()
  t.ok(revision - compactRevision <= 10)
  t.ok(revision - compactRevision >= 5)
})

void test('KvClient: after close nothing is sent, and what was under way fails', async (t) => {
  await using kv = await kvCluster()
  const client = kv.client()
  kv.group.elect(undefined)
  const put = kv.cluster.outcome(client.put('a', '1'))
  await kv.get(client.close())
  t.match(await put, { error: { code: 'KV_CLIENT_CLOSED' } })
  t.match(await kv.cluster.outcome(client.get('a')), { error: { code: 'KV_CLIENT_CLOSED' } })
  t.match(await kv.cluster.outcome(client.status()), { error: { code: 'KV_CLIENT_CLOSED' } })
})

void test('KvClient: what is no key and no value is told of by a rejection that says what was expected', async (t) => {
  await using kv = await kvCluster()
  const client = kv.client()
  const isType = (message: RegExp) => ({ error: { name: 'TypeError', message } })
  const [number, nothing] = [7, undefined] as unknown as readonly string[]
  if (number === undefined) throw new Error('it is there')
  const { outcome } = kv.cluster
  t.match(await outcome(client.get(nothing as string)), isType(/^A key is a string, got undefined$/))
  t.match(await outcome(client.put(number, 'x')), isType(/^A key is a string, got number$/))
  t.match(await outcome(client.put('a', number)), isType(/^A value is a string or a Uint8Array, got number$/))
  t.match(
    await outcome(client.compareAndSet('a', { value: number }, 'x')),
    isType(/^A value is a string or a Uint8Array, got number$/),
  )
  t.match(
    await outcome(client.range(number)),
    isType(/^Keys are a string, { prefix } or { from, to }, got number$/),
  )
  t.throws(() => client.watch({} as { prefix: string }), { name: 'TypeError', message: /^Keys are a string/ })
  t.match(
    await outcome(client.put('a', 'half \ud800')),
    isType(/half of a surrogate pair.*give bytes as a Uint8Array/),
  )
  const timeoutMs = '5' as unknown as number
  const isText = isType(/"timeoutMs" must be a number of milliseconds, got the string "5"$/)
  t.match(await outcome(client.put('a', 'x', { timeoutMs })), isText)
  t.match(await outcome(client.get('a', { timeoutMs })), isText)
  t.match(await outcome(client.status('a', { timeoutMs })), isText)
  t.match(await outcome(client.get('a', { timeoutMs: Number.NaN })), isType(/got the number NaN$/))
  t.equal(await kv.get(client.get('a')), undefined)
})

void test('KvClient: a write that never got a session says what kept it', async (t) => {
  await using kv = await kvCluster()
  const client = kv.client()
  kv.group.elect(undefined)
  const puts = ['a', 'b'].map((key) => client.put(key, '1', { timeoutMs: 1_000 }))
  const outcomes = puts.map((put) => kv.cluster.outcome(put))
  await kv.cluster.advance(1_500)
  for (const outcome of outcomes) {
    t.match(await outcome, {
      error: {
        code: 'KV_UNAVAILABLE',
        message: /no session yet: node "." knows no leader/,
        details: { outcome: 'not-done' },
      },
    })
  }
})

void test('KvClient: status tells of the group and the store', async (t) => {
  await using kv = await kvCluster()
  const client = kv.client()
  await kv.get(client.put('a', '1'))
  t.match(await kv.get(client.status()), {
    group: { role: 'leader', node: 'a', members: { length: 3 } },
    store: { revision: 1, keys: 1 },
    watches: 0,
  })
  t.match(await kv.get(client.status('c')), { group: { role: 'follower' } })
})
