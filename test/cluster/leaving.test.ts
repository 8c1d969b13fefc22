/** A node that leaves in good order: what others have asked of it is done, and nobody takes it for dead. */
import type { ClusterNode } from '@understudy/cluster'
import { actor, ask, protocol, tell } from '@understudy/runtime'
import { test } from 'tap'
import Type from 'typebox'
import { virtualCluster, type StartOptions, type VirtualCluster } from '../support/virtual-cluster.ts'

const Slow = protocol('slow', {
  work: ask({ n: Type.Integer() }, Type.String()),
  note: tell({ n: Type.Integer() }),
  slowNote: tell({ n: Type.Integer() }),
})
const three = ['a', 'b', 'c'] as const

/** Takes 200 ms for a message, one at a time; says on which node it was handled. */
const slow = ({ platform: { clock } }: VirtualCluster, node: string, notes: string[] = []) => {
  const wait = (): Promise<void> =>
    new Promise((resolve) => clock.setTimer(clock.monotonicMs() + 200, resolve))
  return actor(Slow, () => ({
    work: async ({ n }) => {
      await wait()
      return `${n} on ${node}`
    },
    note: ({ n }) => void notes.push(`${n} on ${node}`),
    slowNote: async ({ n }) => {
      await wait()
      notes.push(`${n} on ${node}`)
    },
  }))
}

async function startThree(
  cluster: VirtualCluster,
  notes: string[] = [],
  options: StartOptions = {},
): Promise<[ClusterNode, ClusterNode, ClusterNode]> {
  const nodes = []
  for (const name of three) {
    nodes.push(
      await cluster.start(name, { seeds: three, entities: [slow(cluster, name, notes)], ...options }),
    )
  }
  await cluster.result(Promise.all(nodes.map((node) => node.whenMembers(3))))
  return nodes as [ClusterNode, ClusterNode, ClusterNode]
}

const keys = Array.from({ length: 60 }, (_, n) => `key-${n}`)

function ownedBy(node: ClusterNode): string {
  const key = keys.find((each) => node.ownerOf(Slow, each) === node.name)
  if (key === undefined) throw new Error(`node "${node.name}" owns none of the keys`)
  return key
}

function heard(node: ClusterNode): readonly string[] {
  const lines: string[] = []
  for (const name of ['member-suspected', 'member-leaving', 'member-down', 'member-left'] as const) {
    node.events.on(name, (event) => void lines.push(`${name} ${event.name}`))
  }
  return lines
}

void test('ClusterNode.shutdown: what waits in the mailbox of an entity is answered, and then its successor takes over', async (t) => {
  await using cluster = virtualCluster({ shutdownMs: 30_000 })
  const notes: string[] = []
  const [a, b, c] = await startThree(cluster, notes)
  const key = ownedBy(c)
  const lines = heard(a)
  const asks = Array.from({ length: 6 }, (_, n) => a.entity(Slow, key).ask({ type: 'work', n }))
  for (const n of [10, 11, 12]) a.entity(Slow, key).tell({ type: 'slowNote', n })
  await cluster.advance(10)
  const ending = cluster.result(c.shutdown())
  t.same(
    await cluster.result(Promise.all(asks)),
    asks.map((_, n) => `${n} on c`),
    'all of them by the node that had them',
  )
  t.match(await ending, { clean: true, hung: [], failed: [] })
  t.same(notes, ['10 on c', '11 on c', '12 on c'], 'also what nobody waits for')
  await cluster.advance(1_000)
  t.same(lines, ['member-leaving c', 'member-left c'])
  const owner = a.ownerOf(Slow, key) ?? ''
  t.not(owner, 'c')
  t.equal(b.ownerOf(Slow, key), owner)
  t.equal(await cluster.result(a.entity(Slow, key).ask({ type: 'work', n: 7 })), `7 on ${owner}`)
})

void test('ClusterNode.shutdown: an entity is handed over: its successor begins when it has worked off what it had', async (t) => {
  await using cluster = virtualCluster({ shutdownMs: 30_000 })
  const [a, b, c] = await startThree(cluster)
  const key = ownedBy(c)
  const nowMs = (): number => cluster.platform.clock.monotonicMs()
  const timed = async (from: ClusterNode, n: number) => {
    return { by: await from.entity(Slow, key).ask({ type: 'work', n }), atMs: nowMs() }
  }
  const old = Array.from({ length: 6 }, (_, n) => timed(a, n))
  await cluster.advance(10)
  let isLeaving = false
  a.events.on('member-leaving', () => (isLeaving = true))
  const ending = cluster.result(c.shutdown())
  while (!isLeaving) await cluster.advance(10)
  const tooLate = cluster.outcome(a.entity(Slow, key).ask({ type: 'work', n: 6 }, { timeoutMs: 300 }))
  const next = [timed(a, 7), timed(b, 8)]
  t.match(await tooLate, { error: { code: 'RUNTIME_ASK_TIMEOUT' } }, 'its deadline runs on')
  const answers = await cluster.result(Promise.all(old))
  t.same(
    answers.map(({ by }) => by),
    old.map((_, n) => `${n} on c`),
  )
  const later = await cluster.result(Promise.all(next))
  const owner = a.ownerOf(Slow, key) ?? ''
  t.not(owner, 'c')
  t.same(
    later.map(({ by }) => by),
    [7, 8].map((n) => `${n} on ${owner}`),
  )
  const lastMs = Math.max(...answers.map(({ atMs }) => atMs))
  const tookMs = Math.min(...later.map(({ atMs }) => atMs)) - lastMs
  t.ok(tookMs >= 200 && tookMs < 300, `it began ${tookMs - 200} ms after the last answer of the old one`)
  t.match(await ending, { clean: true })
})

void test('ClusterNode.shutdown: an ask that an actor of the node handles is answered before the good-bye', async (t) => {
  await using cluster = virtualCluster({ shutdownMs: 30_000 })
  const [a, , c] = await startThree(cluster)
  c.system.spawn('slow', slow(cluster, 'c'))
  const ref = a.ref(Slow, 'c', '/user/slow')
  const first = ref.ask({ type: 'work', n: 1 })
  const second = ref.ask({ type: 'work', n: 2 })
  await cluster.advance(10)
  const ending = cluster.result(c.shutdown())
  t.same(await cluster.result(Promise.all([first, second])), ['1 on c', '2 on c'])
  t.match(await ending, { clean: true })
})

void test('ClusterNode.shutdown: what was sent before the sender knew is handled, nothing is lost or handled twice', async (t) => {
  await using cluster = virtualCluster({ shutdownMs: 30_000 })
  const notes: string[] = []
  const [a, b, c] = await startThree(cluster, notes)
  let n = 0
  const failed: unknown[] = []
  const asks: Promise<unknown>[] = []
  const send = (): void => {
    for (const node of [a, b]) {
      for (const key of keys.slice(0, 20)) {
        if (!node.entity(Slow, key).tell({ type: 'note', n: n++ })) failed.push(key)
      }
    }
    asks.push(a.entity(Slow, keys[n % 60] ?? '').ask({ type: 'work', n: 0 }, { timeoutMs: 60_000 }))
  }
  send()
  await cluster.advance(10)
  let isOver = false
  void c.shutdown().then(() => (isOver = true))
  // Without a pause: before each step of the leaving, and behind the last.
  for (let round = 0; round < 60 || !isOver; round++) {
    send()
    await cluster.advance(10)
  }
  await cluster.advance(5_000)
  t.same(failed, [])
  const numbers = notes.map((note) => Number(note.split(' ')[0]))
  t.equal(new Set(numbers).size, n, 'each arrived')
  t.equal(numbers.length, n, 'once')
  t.ok(
    notes.some((note) => note.endsWith('on c')),
    'some of them there',
  )
  const outcomes = await Promise.all(asks.map((each) => cluster.outcome(each)))
  t.same(
    outcomes.filter((outcome) => 'error' in outcome),
    [],
  )
})

void test('ClusterNode.shutdown: it waits for whoever has not heard of it yet', async (t) => {
  await using cluster = virtualCluster({ shutdownMs: 30_000, membership: 'lan' })
  const [, b, c] = await startThree(cluster)
  const key = ownedBy(c)
  t.equal(await cluster.result(b.entity(Slow, key).ask({ type: 'work', n: 0 })), '0 on c')
  // What is sent to b comes late, so it goes on sending to c.
  const goOn = cluster.stall(b)
  let isOver = false
  void c.shutdown().then(() => (isOver = true))
  const asks: Promise<unknown>[] = []
  for (let n = 1; n <= 10; n++) {
    await cluster.advance(100)
    asks.push(b.entity(Slow, key).ask({ type: 'work', n }, { timeoutMs: 60_000 }))
  }
  t.equal(isOver, false)
  goOn()
  const outcomes = await Promise.all(asks.map((each) => cluster.outcome(each)))
  // c passes on what comes for it though it is not its any more.
  const owner = b.ownerOf(Slow, key) ?? ''
  t.not(owner, 'c')
  t.same(
    outcomes,
    asks.map((_, index) => ({ value: `${index + 1} on ${owner}` })),
  )
  await cluster.until(() => isOver)
})

void test('ClusterNode.shutdown: who crashed while it left is not waited for', async (t) => {
  await using cluster = virtualCluster({ shutdownMs: 30_000, membership: 'lan' })
  const [a, b, c] = await startThree(cluster)
  const key = ownedBy(b)
  // It has enough to do to be still there.
  for (let n = 0; n < 50; n++) a.entity(Slow, key).tell({ type: 'slowNote', n })
  await cluster.advance(10)
  void b.shutdown()
  await cluster.until(() => c.members().some(({ name, status }) => name === 'b' && status === 'leaving'))
  await cluster.advance(500)
  cluster.crash(b)
  await cluster.advance(100)
  t.match(c.members(), [{ name: 'a' }, { name: 'b', status: 'leaving' }, { name: 'c' }])
  const fromMs = cluster.platform.clock.monotonicMs()
  t.match(await cluster.result(c.shutdown()), { clean: true })
  const tookMs = cluster.platform.clock.monotonicMs() - fromMs
  t.ok(tookMs < 2_000, `it took ${tookMs} ms`)
})

void test('ClusterNode.shutdown: a handler that does not end costs drainMs and no more', async (t) => {
  await using cluster = virtualCluster({ shutdownMs: 30_000, drainMs: 3_000 })
  const Stuck = protocol('stuck', { hang: ask(Type.Null()) })
  const stuck = actor(Stuck, () => ({ hang: () => new Promise<null>(() => undefined) }))
  const a = await cluster.start('a')
  const b = await cluster.start('b', { seeds: ['a'] })
  await cluster.result(Promise.all([a.whenMembers(2), b.whenMembers(2)]))
  b.system.spawn('stuck', stuck, { shutdownMs: 100 })
  const asked = cluster.outcome(a.ref(Stuck, 'b', '/user/stuck').ask({ type: 'hang' }, { timeoutMs: 60_000 }))
  await cluster.advance(10)
  const lines = heard(a)
  const fromMs = cluster.platform.clock.monotonicMs()
  await cluster.result(b.shutdown())
  const tookMs = cluster.platform.clock.monotonicMs() - fromMs
  t.ok(tookMs >= 3_000 && tookMs <= 3_500, `it took ${tookMs}`)
  t.match(await asked, { error: { code: 'RUNTIME_ACTOR_STOPPED' } })
  t.same(lines, ['member-leaving b', 'member-left b'])
})

void test('ClusterNode.shutdown: entities have drainMs in all, together with what came before', async (t) => {
  await using cluster = virtualCluster({ shutdownMs: 30_000, drainMs: 3_000 })
  const Stuck = protocol('stuck', { hang: ask(Type.Null()) })
  const stuck = actor(Stuck, () => ({ hang: () => new Promise<null>(() => undefined) }))
  const a = await cluster.start('a', { weight: 0 })
  const b = await cluster.start('b', {
    seeds: ['a'],
    entities: [{ definition: stuck, options: { shutdownMs: 20_000 } }],
  })
  await cluster.result(Promise.all([a.whenMembers(2), b.whenMembers(2)]))
  const asks = ['x', 'y', 'z'].map((key) =>
    cluster.outcome(a.entity(Stuck, key).ask({ type: 'hang' }, { timeoutMs: 60_000 })),
  )
  await cluster.advance(10)
  const fromMs = cluster.platform.clock.monotonicMs()
  let handedOverMs = 0
  b.system.events.on('shutdown-phase', ({ phase }) => {
    if (phase === 'stop-actors') handedOverMs = cluster.platform.clock.monotonicMs() - fromMs
  })
  await cluster.result(b.shutdown())
  t.ok(handedOverMs >= 2_900 && handedOverMs <= 3_200, `it took ${handedOverMs}`)
  for (const outcome of await Promise.all(asks)) t.match(outcome, { error: { name: /./ } })
})

void test('ClusterNode.shutdown: who leaves owns no places, and cannot be removed for it', async (t) => {
  await using cluster = virtualCluster({ shutdownMs: 30_000 })
  const [a, b, c] = await startThree(cluster)
  c.system.spawn('slow', slow(cluster, 'c'))
  const asked = a.ref(Slow, 'c', '/user/slow').ask({ type: 'work', n: 1 })
  await cluster.advance(10)
  const ending = cluster.result(c.shutdown())
  await cluster.until(() => a.members()[2]?.status === 'leaving' && b.members()[2]?.status === 'leaving')
  for (const node of [a, b]) {
    t.equal(node.shares().get('c') ?? 0, 0)
    t.not(ownedBy(node), 'c')
  }
  t.equal(await cluster.result(asked), '1 on c')
  await ending
})

void test('ClusterNode.shutdown: all nodes of a cluster at once end cleanly, and soon', async (t) => {
  await using cluster = virtualCluster({ shutdownMs: 30_000 })
  const nodes = await startThree(cluster)
  const [a] = nodes
  for (const key of keys) await cluster.result(a.entity(Slow, key).ask({ type: 'work', n: 0 }))
  const fromMs = cluster.platform.clock.monotonicMs()
  const reports = await cluster.result(Promise.all(nodes.map((node) => node.shutdown())))
  for (const report of reports) t.match(report, { clean: true, hung: [], failed: [] })
  const tookMs = cluster.platform.clock.monotonicMs() - fromMs
  t.ok(tookMs < 5_000, `it took ${tookMs}`)
  t.equal(cluster.platform.pendingTimers(), 0)
  t.equal(cluster.platform.holds(), 0)
})
