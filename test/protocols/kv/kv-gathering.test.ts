/** Calls of a client that travel together: one request for many, and each with its own answer, deadline and signal. */
import { test } from 'tap'
import { kvCluster, type KvClient, type KvCluster } from './kv-cluster.ts'
import { codec } from './kv-source.ts'
import { Watching } from './kv-watching.ts'

/** As many calls at once. */
function many<T>(count: number, call: (i: number) => Promise<T>): Promise<readonly T[]> {
  return Promise.all(Array.from({ length: count }, (_, i) => call(i)))
}

/** Counts the rounds of reads that a member is asked for. */
function countReads(kv: KvCluster, name: string): { count: number } {
  const { group } = kv.service(name)
  const seen = { count: 0 }
  const { read } = group
  Object.assign(group, {
    read: (options: Parameters<typeof read>[0]) => {
      seen.count++
      return read(options)
    },
  })
  return seen
}

/** A client that has a session already. */
async function opened(kv: KvCluster, options: Parameters<KvCluster['client']>[1] = {}): Promise<KvClient> {
  const client = kv.client('d', options)
  await kv.get(client.put('first', ''))
  return client
}

void test('KvGathering: what is asked for in one turn is one entry, and answers come to those who asked', async (t) => {
  await using kv = await kvCluster()
  const client = await opened(kv)
  const before = kv.group.applied.length
  const answers = await kv.get(
    many<{ readonly revision: number }>(100, (i) =>
      i === 50 ? client.delete('k7') : client.put(`k${i}`, String(i)),
    ),
  )
  t.same(
    answers.map(({ revision }) => revision),
    Array.from({ length: 100 }, (_, i) => i + 2),
  )
  t.match(answers[50], { deleted: 1 })
  t.equal(kv.group.applied.length - before, 1)
  const reads = countReads(kv, 'a')
  const entries = await kv.get(many(100, (i) => client.get(`k${i}`)))
  t.same(
    entries.map((entry) => entry && Buffer.from(entry.value).toString()),
    Array.from({ length: 100 }, (_, i) => (i === 7 || i === 50 ? undefined : String(i))),
  )
  t.equal(reads.count, 1)
})

void test('KvGathering: a call alone goes alone, as it always did', async (t) => {
  await using kv = await kvCluster()
  const client = await opened(kv)
  await kv.get(client.put('a', '1'))
  t.same(kv.group.applied.at(-1), codec.encodeKvCommand({ type: 'put', key: 'a', value: Buffer.from('1') }))
})

void test('KvGathering: what answers with much, or does other things, shares no batch and keeps its place', async (t) => {
  await using kv = await kvCluster()
  const client = await opened(kv)
  const before = kv.group.applied.length
  const answers = await kv.get(
    Promise.all([
      client.put('a', '1'),
      client.put('b', '1'),
      client.put('a', '2', { previous: true }),
      client.compareAndSet('a', { value: '2' }, '3'),
      client.put('a', '4'),
      client.put('c', '1'),
    ]),
  )
  t.same(
    answers.map(({ revision }) => revision),
    [2, 3, 4, 5, 6, 7],
  )
  t.match(answers[2], { previous: { version: 1 } })
  t.match(answers[3], { ok: true })
  t.equal(kv.group.applied.length - before, 4)
})

void test('KvGathering: a batch is applied once, over lost answers, lost proposals and another leader (R17)', async (t) => {
  await using kv = await kvCluster()
  const client = await opened(kv)
  kv.group.delayMs = 20
  kv.group.loseReplies(2)
  const first = await kv.get(many(40, (i) => client.put(`k${i}`, 'x')))
  t.same(
    first.map(({ revision }) => revision),
    Array.from({ length: 40 }, (_, i) => i + 2),
  )
  kv.group.loseProposals(2)
  await kv.get(many(40, (i) => client.put(`k${i}`, 'x')))
  kv.group.loseReplies(1)
  const last = many(40, (i) => client.put(`k${i}`, 'x'))
  await kv.cluster.advance(10)
  kv.group.elect('c')
  await kv.get(last)
  const { entries } = await kv.get(client.range({ prefix: 'k' }))
  t.same(new Set(entries.map(({ version }) => version)), new Set([3]))
  t.equal(kv.machine('c').revision, 121)
})

void test('KvGathering: an outcome that nobody knows is unknown to all in the batch (G4)', async (t) => {
  await using kv = await kvCluster()
  const client = await opened(kv)
  kv.group.loseReplies(10_000)
  const outcomes = await many(5, (i) => kv.cluster.outcome(client.put(`k${i}`, 'x', { timeoutMs: 300 })))
  for (const [i, outcome] of outcomes.entries()) {
    t.match(outcome, {
      error: { code: 'PROTOCOLS_OUTCOME_UNKNOWN', message: new RegExp(`put "k${i}" was`) },
    })
  }
  kv.group.loseReplies(0)
  kv.group.elect(undefined)
  const none = await many(3, (i) => kv.cluster.outcome(client.put(`k${i}`, 'y', { timeoutMs: 300 })))
  for (const outcome of none) t.match(outcome, { error: { code: 'KV_UNAVAILABLE' } })
  kv.group.elect('a')
  t.match(await kv.get(client.get('k4')), { version: 1 })
})

void test('KvGathering: a session that ended in the middle leaves a batch unknown, and no other (R17)', async (t) => {
  await using kv = await kvCluster()
  const client = kv.client('d', { sessionTtlMs: 1_000 })
  await kv.get(client.put('first', ''))
  await kv.cluster.advance(2_000)
  kv.group.expireSessions()
  await kv.get(many(5, (i) => client.put(`k${i}`, 'x')))
  kv.group.loseReplies(1)
  kv.group.delayMs = 1_500
  const unknown = many(5, (i) => kv.cluster.outcome(client.put(`k${i}`, 'y', { timeoutMs: 60_000 })))
  await kv.cluster.advance(1_200)
  kv.group.expireSessions()
  for (const outcome of await unknown) t.match(outcome, { error: { code: 'PROTOCOLS_OUTCOME_UNKNOWN' } })
})

void test('KvGathering: one that the store refuses fails alone', async (t) => {
  await using kv = await kvCluster()
  const client = await opened(kv)
  const outcomes = await Promise.all([
    kv.cluster.outcome(client.put('a', '1')),
    kv.cluster.outcome(client.put('b', '1', { lease: 77 })),
    kv.cluster.outcome(client.put('', '1')),
    kv.cluster.outcome(client.put('\ud800', '1')),
    kv.cluster.outcome(client.put('c', '1')),
  ])
  t.match(outcomes, [
    { value: { revision: 2 } },
    { error: { code: 'KV_LEASE_NOT_FOUND' } },
    { error: { code: 'KV_BAD_REQUEST' } },
    { error: { code: 'RUNTIME_NOT_ENCODABLE' } },
    { value: { revision: 3 } },
  ])
  const reads = await Promise.all([
    kv.cluster.outcome(client.get('a')),
    kv.cluster.outcome(client.get('a', { revision: 99 })),
    kv.cluster.outcome(client.get('')),
    kv.cluster.outcome(client.get('c', { revision: 2 })),
  ])
  t.match(reads, [
    { value: { version: 1 } },
    { error: { code: 'KV_FUTURE_REVISION' } },
    { error: { code: 'KV_BAD_REQUEST' } },
    { value: undefined },
  ])
})

void test('KvGathering: a batch holds 128 calls and 64 KiB; more goes in the next, in order', async (t) => {
  await using kv = await kvCluster()
  const client = await opened(kv)
  let before = kv.group.applied.length
  const puts = await kv.get(many(300, (i) => client.put(`k${i}`, 'x')))
  t.same(
    puts.map(({ revision }) => revision),
    Array.from({ length: 300 }, (_, i) => i + 2),
  )
  t.equal(kv.group.applied.length - before, 3)
  before = kv.group.applied.length
  await kv.get(many(6, (i) => client.put(`l${i}`, 'x'.repeat(i === 3 ? 200_000 : 30_000))))
  t.same(
    kv.group.applied.slice(before).map(({ length }) => Math.round(length / 10_000)),
    [6, 3, 20, 6],
  )
  const all = await kv.get(many(300, (i) => client.get(`l${i % 6}`)))
  t.same(new Set(all.map((entry) => entry?.value.length)), new Set([30_000, 200_000]))
})

void test('KvGathering: of what is under way and of what waits there is so much, in batches too', async (t) => {
  await using kv = await kvCluster()
  const client = await opened(kv, { inFlightMax: 10, waitingMax: 20 })
  const before = kv.group.applied.length
  kv.group.delayMs = 50
  const waiting = many(40, (i) => kv.cluster.outcome(client.put(`k${i}`, 'x')))
  await kv.cluster.advance(20)
  t.equal(kv.group.applied.length - before, 1, 'ten are under way, and the others wait')
  const outcomes = await waiting
  t.equal(outcomes.filter((one) => 'error' in one && one.error.code === 'KV_CLIENT_FULL').length, 10)
  t.same(
    outcomes.slice(0, 30).map((one) => ('error' in one ? one.error : one.value.revision)),
    Array.from({ length: 30 }, (_, i) => i + 2),
  )
  t.equal(kv.group.applied.length - before, 3)
})

void test('KvGathering: while many are under way more gathers, but a lost answer holds up nobody', async (t) => {
  await using kv = await kvCluster()
  const client = await opened(kv)
  kv.group.delayMs = 1_000
  const held: Promise<unknown>[] = []
  for (let i = 0; i < 4; i++) {
    held.push(client.put(`held${i}`, 'x'))
    await kv.cluster.advance(0)
  }
  const before = kv.group.applied.length
  const late: Promise<unknown>[] = []
  for (let i = 0; i < 4; i++) {
    late.push(client.put(`late${i}`, 'x'))
    await kv.cluster.advance(1)
  }
  t.equal(kv.group.applied.length, before, 'it gathers')
  await kv.cluster.advance(10)
  t.equal(kv.group.applied.length, before + 1, 'and then goes without waiting for the others')
  await kv.get(Promise.all([...held, ...late]))
})

void test('KvGathering: each call of a batch has its own deadline and its own signal', async (t) => {
  await using kv = await kvCluster()
  const client = await opened(kv)
  kv.group.delayMs = 100
  const controller = new AbortController()
  const { signal } = controller
  const [aborted, expired, unsent, done] = [
    kv.cluster.outcome(client.put('a', 'x', { signal })),
    kv.cluster.outcome(client.put('b', 'x', { timeoutMs: 50 })),
    kv.cluster.outcome(client.put('c', 'x', { signal: AbortSignal.abort() })),
    kv.cluster.outcome(client.put('d', 'x')),
  ]
  await kv.cluster.advance(20)
  controller.abort()
  t.match(await aborted, { error: { code: 'RUNTIME_ABORTED', details: { outcome: 'unknown', tries: 1 } } })
  t.match(await expired, { error: { code: 'PROTOCOLS_OUTCOME_UNKNOWN', message: /no answer has come/ } })
  t.match(await unsent, { error: { code: 'RUNTIME_ABORTED', details: { outcome: 'not-done', tries: 0 } } })
  t.match(await done, { value: { revision: 4 } })
  t.equal(kv.machine('a').read({ type: 'get', from: 'c' }).revision, 4)
  const read = kv.cluster.outcome(client.get('a', { timeoutMs: 50 }))
  const other = kv.cluster.outcome(client.get('d'))
  t.match(await read, { error: { code: 'KV_UNAVAILABLE', message: /get "a" was not answered in time/ } })
  t.match(await other, { value: { version: 1 } })
})

void test('KvGathering: who gives up before the turn is over is not sent, and its neighbours are', async (t) => {
  await using kv = await kvCluster()
  const client = await opened(kv)
  const controller = new AbortController()
  const calls = ['a', 'b', 'c'].map((key) =>
    kv.cluster.outcome(client.put(key, key, key === 'b' ? { signal: controller.signal } : {})),
  )
  controller.abort()
  t.match(await Promise.all(calls), [
    { value: { revision: 2 } },
    { error: { code: 'RUNTIME_ABORTED', details: { outcome: 'not-done' } } },
    { value: { revision: 3 } },
  ])
  t.equal(await kv.get(client.get('b')), undefined)
})

void test('KvGathering: reads that answer with too much together are asked for again', async (t) => {
  await using kv = await kvCluster()
  const client = await opened(kv)
  for (let i = 0; i < 8; i++) await kv.get(client.put(`k${i}`, String(i).repeat(150_000)))
  const reads = countReads(kv, 'a')
  const entries = await kv.get(many(8, (i) => client.get(`k${i}`)))
  t.same(
    entries.map((entry) => [entry?.key, entry?.value.length, entry?.value[0]]),
    Array.from({ length: 8 }, (_, i) => [`k${i}`, 150_000, 48 + i]),
  )
  t.equal(reads.count, 3)
})

void test('KvGathering: a group that takes less at a time gets less', async (t) => {
  await using kv = await kvCluster()
  const { group } = kv.service('a')
  const { propose } = group
  Object.assign(group, {
    propose: (command: Uint8Array, options: Parameters<typeof propose>[1]) =>
      command.length > 300
        ? Promise.reject(new RangeError('a command may have 300 bytes'))
        : propose(command, options),
  })
  const client = await opened(kv)
  const answers = await kv.get(many(20, (i) => client.put(`k${i}`, 'x'.repeat(50))))
  t.same(
    answers.map(({ revision }) => revision).toSorted((a, b) => a - b),
    Array.from({ length: 20 }, (_, i) => i + 2),
  )
  t.match(await kv.cluster.outcome(client.put('k', 'x'.repeat(400))), { error: { code: 'KV_BAD_REQUEST' } })
})

void test('KvGathering: a watch sees every command of a batch, each as a revision, in order', async (t) => {
  await using kv = await kvCluster()
  const client = await opened(kv)
  const watching = new Watching(client, { key: 'k', isPrefix: true, from: 1, previous: true })
  await kv.get(many(50, (i) => client.put(`k${i % 5}`, String(i))))
  await kv.cluster.advance(100)
  const events = watching.batches.flatMap((one) => one.events)
  t.same(
    events.map(({ key, revision, entry }) => [key, revision, entry?.version]),
    Array.from({ length: 50 }, (_, i) => [`k${i % 5}`, i + 2, Math.floor(i / 5) + 1]),
  )
  t.equal(events.filter(({ previous }) => previous === undefined).length, 5)
})

void test('KvGathering: closing fails what was not sent, and says so', async (t) => {
  await using kv = await kvCluster()
  const client = await opened(kv, { inFlightMax: 5 })
  kv.group.elect(undefined)
  let failed = 0
  const outcomes = many(12, (i) =>
    client.put(`k${i}`, 'x').catch((error: unknown) => {
      failed++
      return { error }
    }),
  )
  await kv.cluster.advance(20)
  const closing = client.close()
  await kv.cluster.advance(0)
  t.equal(failed, 7, 'at once; the five that are under way end their pause first')
  await kv.get(closing)
  for (const outcome of await kv.get(outcomes)) t.match(outcome, { error: { code: 'KV_CLIENT_CLOSED' } })
})

void test('KvService: with nothing to look after it does not look', async (t) => {
  await using kv = await kvCluster()
  const client = await opened(kv)
  const machine = kv.machine('a')
  await kv.cluster.advance(1_000)
  let looks = 0
  const { state } = machine
  Object.defineProperty(machine, 'state', {
    get: () => {
      looks++
      return state
    },
  })
  await kv.cluster.advance(60_000)
  t.equal(looks, 0)
  const lease = await kv.get(client.lease({ ttlMs: 2_000 }))
  await kv.cluster.advance(3_000)
  t.ok(looks > 10)
  await kv.get(lease.revoke())
})
