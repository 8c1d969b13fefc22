/**
 * What a watch promises: etcd's nine guarantees, each by its name, judged by the checker against what the members really
 * applied, with lost links, crashes, changes of the leader and slow readers in between.
 */
import { checkWatches } from '@understudy/runtime/checkers'
import { test, type Test } from 'tap'
import { kvClient, kvCluster, type KvClient, type KvCluster } from './kv-cluster.ts'
import { codec, hub as hubModule, KvMachine } from './kv-source.ts'
import { logOf, Watching, type WatchChoice } from './kv-watching.ts'

const { pushFlag, WatchHub } = hubModule

/** Every form of a watch. */
const choices: readonly WatchChoice[] = [
  { name: 'one key', key: 'k1', from: 1 },
  { name: 'prefix', key: 'k', isPrefix: true, from: 1 },
  { name: 'prefix from later on', key: 'k', isPrefix: true, from: 20 },
  { name: 'from the future', key: 'k', isPrefix: true, from: 60 },
  { name: 'with what was before', key: 'k', isPrefix: true, from: 1, previous: true },
  { name: 'no deletes', key: 'k2', from: 1, without: 'delete', previous: true },
  { name: 'no puts', key: 'k', isPrefix: true, from: 1, without: 'put', previous: true },
  { name: 'with progress', key: 'k3', from: 1, progress: true },
]

/** A few changes of every kind. `size`: of a value, in bytes. */
async function change(client: KvClient, round: number, size = 20): Promise<void> {
  const key = (n: number): string => `k${(round * 3 + n) % 7}`
  const value = `${round}/`.padEnd(size, 'x')
  await client.put(key(0), value)
  await client.transact({
    then: [
      { type: 'put', key: key(1), value },
      { type: 'put', key: key(2), value },
      { type: 'put', key: 'other', value },
    ],
  })
  if (round % 2 === 0) await client.delete(key(0))
  if (round % 5 === 0) await client.delete({ prefix: 'k' })
}

interface Scene {
  readonly kv: KvCluster
  readonly writer: KvClient
  readonly watchings: readonly Watching[]
}

/** Watches everything, changes things while `disturb` does what it does, and lets the checker judge. */
async function judge(
  t: Test,
  scene: {
    readonly choices?: readonly WatchChoice[]
    readonly rounds?: number
    readonly size?: number
    readonly watchBytesMax?: number
    readonly disturb?: (scene: Scene, round: number) => void | Promise<void>
  },
): Promise<Scene> {
  await using kv = await kvCluster({ progressMs: 1_000 })
  const writer = kv.client('a')
  const reader = kv.client('d', { watchBytesMax: scene.watchBytesMax })
  const watchings = (scene.choices ?? choices).map((choice) => new Watching(reader, choice))
  const all = { kv, writer, watchings }
  for (let round = 0; round < (scene.rounds ?? 25); round++) {
    await scene.disturb?.(all, round)
    await kv.get(change(writer, round, scene.size))
  }
  await kv.cluster.advance(12_000)
  const machine = kv.machine('b')
  const records = watchings.map((one) => one.record(machine.revision))
  const verdict = checkWatches(logOf(machine), records)
  t.equal(verdict.verdict, 'ok', verdict.reason)
  t.ok(verdict.events > 0)
  for (const { error } of watchings) t.equal(error, undefined)
  return all
}

/** Breaks every link of the watching node now and then. */
function cut({ kv }: Scene, round: number): void {
  if (round % 4 === 1) kv.cluster.cut(kv.node('d'))
}

void test('watch guarantee Ordered: events come in the order of their revisions, to slow readers too', async (t) => {
  await judge(t, {
    watchBytesMax: 600,
    disturb: ({ kv, watchings }, round) => {
      for (const one of watchings) one.slow = () => slowly(kv, round)
    },
  })
})

function slowly({ cluster: { platform } }: KvCluster, round: number): Promise<void> {
  return new Promise((resolve) => platform.clock.setTimer(platform.clock.monotonicMs() + round * 7, resolve))
}

void test('watch guarantee Unique: no event comes twice, whatever is broken off and taken up again', async (t) => {
  await judge(t, { disturb: cut })
})

void test('watch guarantee Atomic: all events of a revision come together, also where they fill many pushes', async (t) => {
  const { watchings } = await judge(t, {
    rounds: 6,
    size: 300_000,
    watchBytesMax: 100_000,
    choices: [{ name: 'prefix', key: 'k', isPrefix: true, from: 1, previous: true }],
    disturb: cut,
  })
  t.ok(
    watchings[0]?.batches.some(
      ({ events }) => events.length === 2 && events[0]?.revision === events[1]?.revision,
    ),
  )
})

void test('watch guarantee Reliable: nothing is left out when servers crash and leaders change', async (t) => {
  await judge(t, {
    disturb: ({ kv }, round) => {
      if (round === 6) kv.group.elect('b')
      if (round === 10) kv.cluster.crash(kv.node('c'))
      if (round === 16) kv.cluster.cut(kv.node('d'))
    },
  })
})

void test('watch guarantee Resumable: a watch taken up behind the last batch goes on as if it had not ended', async (t) => {
  await using kv = await kvCluster()
  const writer = kv.client('a')
  const reader = kv.client('d')
  let next = 1
  const parts: Watching[] = []
  const records = []
  for (let round = 0; round < 12; round++) {
    const part = new Watching(reader, { key: 'k', isPrefix: true, from: next, previous: true })
    parts.push(part)
    await kv.get(change(writer, round))
    await kv.cluster.advance(round * 3)
    part.watch.close()
    next = part.watch.nextRevision
    records.push(part.record(next - 1))
  }
  const machine = kv.machine('c')
  const verdict = checkWatches(logOf(machine), records)
  t.equal(verdict.verdict, 'ok', verdict.reason)
  const revisions = parts.flatMap(({ batches }) =>
    batches.flatMap(({ events }) => events.map(({ revision }) => revision)),
  )
  t.same(
    revisions,
    [...revisions].sort((a, b) => a - b),
  )
  t.equal(next, machine.revision + 1)
})

void test('watch guarantee Bookmarkable: a progress notification says truly how far all has come', async (t) => {
  const { watchings, kv } = await judge(t, {
    choices: choices.map((choice) => ({ ...choice, progress: true })),
    disturb: async ({ kv: { cluster } }, round) => {
      if (round % 3 === 0) await cluster.advance(1_500)
    },
  })
  t.ok(
    watchings.every(({ batches }) => batches.at(-1)?.events.length === 0),
    'each was told at the end',
  )
  t.equal(watchings[0]?.batches.at(-1)?.revision, kv.machine('a').revision)
})

void test('watch guarantee PrevKV: what was there before is what was there before', async (t) => {
  const { watchings } = await judge(t, { disturb: cut })
  t.ok(watchings[4]?.batches.some(({ events }) => events.some(({ previous }) => previous !== undefined)))
})

void test('watch guarantee PrevKV: also at the oldest revision that is kept', async (t) => {
  await using kv = await kvCluster()
  const client = kv.client()
  await kv.get(client.put('a', 'old'))
  await kv.get(client.delete('a'))
  await kv.get(client.put('b', 'x'))
  await kv.get(client.compact(2))
  const watching = new Watching(client, { key: '', isPrefix: true, from: 2, previous: true })
  await kv.cluster.advance(100)
  t.match(watching.batches[0], {
    revision: 3,
    events: [
      { type: 'delete', key: 'a', previous: { modRevision: 1, version: 1 } },
      { type: 'put', key: 'b' },
    ],
  })
})

void test('watch guarantee IsCreate: events know a creation from a change', async (t) => {
  const { watchings } = await judge(t, { disturb: cut })
  const entries = watchings[1]?.batches.flatMap(({ events }) => events.map(({ entry }) => entry)) ?? []
  t.ok(entries.some((entry) => entry?.createRevision === entry?.modRevision))
  t.ok(entries.some((entry) => entry !== undefined && entry.createRevision < entry.modRevision))
})

void test('watch guarantee Filter: only the keys, kinds and revisions that were asked for come', async (t) => {
  const { watchings } = await judge(t, { disturb: cut })
  for (const [index, choice] of choices.entries()) {
    for (const { events } of watchings[index]?.batches ?? []) {
      for (const { type, key, revision } of events) {
        t.ok(type !== choice.without && revision >= (choice.from ?? 0) && key.startsWith(choice.key))
      }
    }
  }
})

void test('KvWatch: without a revision it begins behind what is newest, linearizably', async (t) => {
  await using kv = await kvCluster()
  const client = kv.client()
  await kv.get(client.put('a', '1'))
  const watching = new Watching(client, { key: 'a' })
  await kv.cluster.advance(50)
  await kv.get(client.put('a', '2'))
  await kv.cluster.advance(50)
  t.same(
    watching.batches.map(({ revision }) => revision),
    [2],
  )
})

void test('KvWatch: what is compacted ends it, with the revision that is kept', async (t) => {
  await using kv = await kvCluster()
  const client = kv.client()
  for (let i = 0; i < 5; i++) await kv.get(client.put('a', String(i)))
  await kv.get(client.compact(4))
  const late = new Watching(client, { key: 'a', from: 2 })
  await kv.cluster.advance(50)
  t.match(late.error, {
    code: 'KV_COMPACTED',
    details: { revision: 2, compactRevision: 4 },
    message: /watch from what you have read/,
  })
  const slow = new Watching(kv.client('d', { watchBytesMax: 1 }), { key: 'a', from: 4 })
  let goOn = (): void => undefined
  slow.slow = () => new Promise((resolve) => (goOn = resolve))
  await kv.cluster.advance(50)
  for (let i = 0; i < 20; i++) await kv.get(client.put('a', 'x'.repeat(20_000)))
  await kv.cluster.advance(50)
  await kv.get(client.compact(25))
  await kv.cluster.advance(10)
  slow.slow = () => Promise.resolve()
  goOn()
  await kv.cluster.advance(2_000)
  t.match(slow.error, { code: 'KV_COMPACTED' })
  t.ok(slow.batches.length > 0)
})

void test('KvWatch: a slow reader gets everything in the end', async (t) => {
  await using kv = await kvCluster()
  const watching = new Watching(kv.client('d', { watchBytesMax: 50_000 }), { key: 'a', from: 1 })
  watching.slow = () => slowly(kv, 100)
  const writer = kv.client('a')
  for (let i = 0; i < 40; i++) await kv.get(writer.put('a', String(i).padEnd(10_000, 'x')))
  t.ok(watching.events < 40)
  await kv.cluster.advance(20_000)
  t.equal(watching.events, 40)
})

void test('WatchHub: sends no more than there is credit for, keeps nothing, and goes on with more credit', async (t) => {
  const machine = new KvMachine()
  const value = Buffer.alloc(10_000)
  const put = (index: number): unknown =>
    machine.apply({
      index,
      term: 1,
      timeMs: 0,
      data: codec.encodeKvCommand({ type: 'put', key: 'a', value }),
    })
  for (let i = 1; i <= 40; i++) put(i)
  let sent = 0
  const hub = new WatchHub<string>(
    (_watcher, bytes) => {
      sent += bytes.length
      return true
    },
    () => t.fail('nothing is compacted'),
  )
  const wish = { from: 'a', revision: 1, previous: false, without: undefined }
  const watcher = hub.add('x', wish, 50_000, 0)
  t.equal(hub.pump(machine.state, 0), false)
  t.ok(sent > 40_000 && sent <= 60_000 + 500, `${sent}`)
  t.equal(watcher.found.length, 0)
  hub.pump(machine.state, 0)
  put(41)
  hub.pump(machine.state, 0)
  t.ok(sent <= 60_500)
  watcher.credit += 1_000_000
  hub.pump(machine.state, 0)
  t.ok(sent > 410_000)
  t.equal(watcher.isSynced, true)
  watcher.credit = 1
  put(42)
  put(43)
  hub.pump(machine.state, 0)
  t.equal(watcher.isSynced, false)
  t.equal(watcher.next, 43)
})

void test('WatchHub: what cannot be sent is found again, and a revision that was begun begins anew', async (t) => {
  const machine = new KvMachine()
  const value = Buffer.alloc(100_000)
  const then = Array.from({ length: 10 }, (_, i) => ({ type: 'put', key: `k${i}`, value }) as const)
  machine.apply({
    index: 1,
    term: 1,
    timeMs: 0,
    data: codec.encodeKvCommand({ type: 'transact', when: [], then, otherwise: [] }),
  })
  const flags: number[] = []
  let room = 2
  const hub = new WatchHub<string>(
    (_watcher, bytes) => {
      if (room-- <= 0) return false
      flags.push(bytes[0] ?? -1)
      return true
    },
    () => t.fail('nothing is compacted'),
  )
  const wish = { from: '', to: '', revision: 1, previous: false, without: undefined }
  const watcher = hub.add('x', wish, 10, 0)
  hub.pump(machine.state, 0)
  const { more, rest } = pushFlag
  t.same(flags, [more, more | rest])
  room = 10
  watcher.credit = 10
  hub.pump(machine.state, 0)
  t.same(flags.slice(2), [more, more | rest, more | rest, more | rest, rest])
})

void test('KvWatch: goes to another server when its own knows no leader', async (t) => {
  await using kv = await kvCluster({ progressMs: 1_000 })
  const client = kv.client('c')
  const watching = new Watching(client, { key: 'a', from: 1 })
  await kv.cluster.advance(100)
  t.match(await kv.get(client.status('c')), { watches: 1 })
  // Of the three only c lost sight of the others.
  kv.group.blind('c')
  await kv.cluster.advance(10_000)
  await kv.get(kv.client('a').put('a', '1'))
  await kv.cluster.advance(100)
  t.equal(watching.events, 1)
  t.match(await kv.get(client.status('c')), { watches: 0 })
})

void test('KvWatch: a service that is started again is subscribed to again; a client that goes is forgotten', async (t) => {
  await using kv = await kvCluster()
  const client = kv.client()
  const watching = new Watching(client, { key: 'a', from: 1 })
  await kv.cluster.advance(100)
  const watchesOf = async (name: string): Promise<unknown> =>
    (await kv.get(kv.client('b').status(name)))['watches']
  const counts = async (): Promise<readonly unknown[]> => [
    await watchesOf('a'),
    await watchesOf('b'),
    await watchesOf('c'),
  ]
  t.same(await counts(), [1, 0, 0])
  await kv.get(kv.service('a').close())
  kv.group.elect('b')
  await kv.cluster.advance(10_000)
  await kv.get(kv.client('b').put('a', '1'))
  await kv.cluster.advance(100)
  t.equal(watching.events, 1)
  watching.watch.close()
  const other = new Watching(client, { key: 'b', from: 1 })
  await kv.cluster.advance(100)
  await kv.get(client.close())
  await kv.cluster.advance(1_000)
  t.match(other.error, { code: 'KV_CLIENT_CLOSED' })
  t.same([await watchesOf('b'), await watchesOf('c')], [0, 0])
})

void test('KvWatch: one that is begun after its client was closed, or with a signal that is aborted, says so at once', async (t) => {
  await using kv = await kvCluster()
  const client = kv.client()
  const gone = client.watch('a', { signal: AbortSignal.abort() })
  t.match(await kv.cluster.outcome(gone.next()), { error: { code: 'RUNTIME_ABORTED' } })
  const idle = client.watch('a')
  await kv.get(client.close())
  for (const watch of [idle, client.watch('a'), client.watch({ prefix: '' }, { revision: 1 })]) {
    t.match(await kv.cluster.outcome(watch.next()), { error: { code: 'KV_CLIENT_CLOSED' } })
    t.match(await kv.cluster.outcome(watch.next()), { error: { code: 'KV_CLIENT_CLOSED' } })
  }
})

void test('KvWatch: of a node that is no member yet it begins as soon as it is one', async (t) => {
  await using kv = await kvCluster()
  await kv.get(kv.client('a').put('a', 'one'))
  const young = await kv.cluster.start('e', { seeds: ['a'] })
  const client = kvClient(young, { servers: ['a', 'b', 'c'] })
  const watching = new Watching(client, { key: 'a', from: 1 })
  await kv.cluster.advance(3_000)
  t.same(
    watching.batches.map(({ revision }) => revision),
    [1],
  )
})

void test('KvWatch: an abort ends it, and what came before can still be taken', async (t) => {
  await using kv = await kvCluster()
  const client = kv.client()
  const controller = new AbortController()
  const watch = client.watch('a', { revision: 1, signal: controller.signal })
  const first = watch.next()
  await kv.get(client.put('a', '1'))
  t.match(await kv.get(first), { value: { revision: 1 } })
  await kv.get(client.put('a', '2'))
  await kv.cluster.advance(100)
  controller.abort()
  t.match(await kv.get(watch.next()), { value: { revision: 2 } })
  t.match(await kv.cluster.outcome(watch.next()), { error: { code: 'RUNTIME_ABORTED' } })
})

void test('KvWatch: a member that is restored from a snapshot goes on telling what is kept, and ends what is not', async (t) => {
  await using kv = await kvCluster()
  const [a, c] = [kv.machine('a'), kv.machine('c')]
  const client = kv.client('c')
  const upToDate = new Watching(client, { key: 'a', from: 1 })
  await kv.get(client.put('a', '1'))
  await kv.cluster.advance(50)
  kv.group.hold('c')
  for (let i = 0; i < 5; i++) await kv.get(client.put('a', String(i)))
  await kv.get(kv.group.group('a').propose(codec.encodeKvCommand({ type: 'compact', revision: 2 })))
  await kv.get(
    c.restore(
      (async function* () {
        const walk = a.snapshot()
        for (let next = walk.next(); next.done !== true; next = walk.next()) yield next.value
      })(),
    ),
  )
  await kv.cluster.advance(50)
  t.same(
    upToDate.batches.flatMap(({ events }) => events.map(({ revision }) => revision)),
    [1, 2, 3, 4, 5, 6],
  )
})

void test('KvWatch: another life of the member applies everything again, and watches hear only what is new', async (t) => {
  await using kv = await kvCluster({ progressMs: 500 })
  const watching = new Watching(kv.client('c'), { key: 'a', from: 1, progress: true })
  for (let i = 0; i < 5; i++) await kv.get(kv.client('a').put('a', String(i)))
  await kv.cluster.advance(1_000)
  kv.group.hold('c')
  kv.group.restart('c')
  await kv.cluster.advance(1_000)
  t.equal(kv.machine('c').revision, 0)
  kv.group.letGo('c')
  await kv.cluster.advance(1_000)
  await kv.get(kv.client('a').put('a', 'new'))
  await kv.cluster.advance(1_000)
  t.equal(kv.machine('c').revision, 6)
  t.same(
    watching.batches.flatMap(({ events }) => events.map(({ revision }) => revision)),
    [1, 2, 3, 4, 5, 6],
  )
  const revisions = watching.batches.map(({ revision }) => revision)
  t.same(
    revisions,
    [...revisions].sort((one, other) => one - other),
  )
})
