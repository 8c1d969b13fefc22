/** What is sent to a member that has no link now: it waits a bounded moment, in order, and goes where it belongs by then. */
import type { ClusterNode } from '@understudy/cluster'
import { actor, ask, protocol, tell } from '@understudy/runtime'
import { test } from 'tap'
import Type from 'typebox'
import { virtualCluster, type StartOptions, type VirtualCluster } from '../support/virtual-cluster.ts'

const Log = protocol('log', {
  line: tell({ n: Type.Integer() }),
  where: ask(Type.String()),
  say: ask({ text: Type.String() }, Type.Integer()),
  hear: tell({ text: Type.String() }),
})

/** Writes down what an entity was told, by its key, or else its node. */
const log = (node: string, lines: string[]) =>
  actor(Log, (ctx) => ({
    line: ({ n }) => void lines.push(`${ctx.key ?? node} ${n}`),
    where: () => {
      lines.push(`${ctx.key ?? node} asked`)
      return node
    },
    say: ({ text }) => text.length,
    hear: ({ text }) => void lines.push(`${ctx.key ?? node} heard ${text.length}`),
  }))

async function startAll(
  cluster: VirtualCluster,
  names: readonly string[],
  lines: string[],
  options: StartOptions = {},
): Promise<readonly ClusterNode[]> {
  const nodes: ClusterNode[] = []
  for (const name of names) {
    const node = await cluster.start(name, {
      seeds: names,
      membership: 'lan',
      entities: [log(name, lines)],
      ...options,
    })
    node.system.spawn('log', log(name, lines))
    nodes.push(node)
  }
  await cluster.result(Promise.all(nodes.map((node) => node.whenMembers(names.length))))
  return nodes
}

/** From now on `node` has no link, and gets none before `release`; the others do not know why. */
async function unlink(cluster: VirtualCluster, from: ClusterNode, name: string): Promise<void> {
  cluster.network.hold(name)
  cluster.cut(from)
  await cluster.platform.settle()
}

const linkOf = (node: ClusterNode, name: string): number | undefined =>
  node.status().membership.members.find((member) => member.name === name)?.linkId

void test('what is sent to a member whose link is being made waits for it, and arrives in order', async (t) => {
  await using cluster = virtualCluster()
  const lines: string[] = []
  const [a] = (await startAll(cluster, ['a', 'b'], lines)) as [ClusterNode]
  await unlink(cluster, a, 'b')
  const ref = a.ref(Log, 'b', '/user/log')
  t.equal(linkOf(a, 'b'), undefined)
  t.equal(ref.tell({ type: 'line', n: 1 }), true)
  t.equal(ref.tell({ type: 'line', n: 2 }), true)
  const asked = ref.ask({ type: 'where' })
  t.equal(ref.tell({ type: 'line', n: 3 }), true)
  await cluster.result(ref.room())
  await cluster.advance(500)
  t.same(lines, [])
  cluster.network.release('b')
  t.equal(await cluster.result(asked), 'b')
  ref.tell({ type: 'line', n: 4 })
  await cluster.advance(100)
  t.same(lines, ['b 1', 'b 2', 'b asked', 'b 3', 'b 4'])
  t.same(a.system.deadLetters(), [])
})

void test('a link that does not come in a second fails what waited for it: not sent', async (t) => {
  await using cluster = virtualCluster()
  const lines: string[] = []
  const nodes = await startAll(cluster, ['a', 'b', 'c'], lines)
  const [a, , c] = nodes as [ClusterNode, ClusterNode, ClusterNode]
  await unlink(cluster, a, 'b')
  const { clock } = cluster.platform
  const ref = a.ref(Log, 'b', '/user/log')
  const fromMs = clock.monotonicMs()
  const ends: string[] = []
  let views = 0
  a.events.on('view-changed', () => views++)
  for (const n of [0, 400]) {
    await cluster.advance(fromMs + n - clock.monotonicMs())
    ref.ask({ type: 'where' }).catch((error: { code: string; details: { outcome: string } }) => {
      ends.push(`${clock.monotonicMs() - fromMs} ${error.code} ${error.details.outcome}`)
    })
    ref.tell({ type: 'line', n })
  }
  // A new view does not begin the wait anew.
  void c.shutdown()
  await cluster.advance(1_500)
  t.ok(views > 0)
  t.same(ends, ['1000 CLUSTER_NODE_DOWN not-sent', '1400 CLUSTER_NODE_DOWN not-sent'])
  t.same(
    a.system.deadLetters().map(({ reason }) => reason),
    ['node-down', 'node-down', 'node-down', 'node-down'],
  )
  cluster.network.release('b')
  await cluster.advance(20_000)
  t.same(lines, [], 'nothing comes after its sender was told that it does not')
})

void test('a thousand messages wait for one member; more are refused at once', async (t) => {
  await using cluster = virtualCluster()
  const lines: string[] = []
  const [a] = (await startAll(cluster, ['a', 'b'], lines)) as [ClusterNode]
  await unlink(cluster, a, 'b')
  const ref = a.ref(Log, 'b', '/user/log')
  const taken: boolean[] = []
  for (let n = 0; n < 1_001; n++) taken.push(ref.tell({ type: 'line', n }))
  t.same(taken.indexOf(false), 1_000)
  t.match(await cluster.outcome(ref.ask({ type: 'where' })), {
    error: { code: 'CLUSTER_NODE_DOWN', details: { outcome: 'not-sent' } },
  })
  t.match(await cluster.outcome(ref.room()), { error: { code: 'CLUSTER_NODE_DOWN' } })
  cluster.network.release('b')
  await cluster.until(() => lines.length === 1_000)
  t.same(
    lines,
    Array.from({ length: 1_000 }, (_, n) => `b ${n}`),
  )
})

void test('what waits is bounded in bytes too, and what no link would take is refused at once', async (t) => {
  const limits = { frameBytesMax: 4_096, outboundBytesMax: 65_536 }
  await using cluster = virtualCluster(limits)
  const lines: string[] = []
  const [a] = (await startAll(cluster, ['a', 'b'], lines)) as [ClusterNode]
  await unlink(cluster, a, 'b')
  const ref = a.ref(Log, 'b', '/user/log')
  const text = 'x'.repeat(3_000)
  const { clock } = cluster.platform
  const fromMs = clock.monotonicMs()
  t.match(await cluster.outcome(ref.ask({ type: 'say', text: text + text })), {
    error: { code: 'RUNTIME_INVALID_MESSAGE' },
  })
  t.equal(clock.monotonicMs(), fromMs)
  const taken = Array.from({ length: 40 }, () => ref.tell({ type: 'hear', text }))
  t.equal(taken.lastIndexOf(true), 21, 'the last of them may go over the bound')
  cluster.network.release('b')
  await cluster.until(() => lines.length === 22)
})

void test('who gives up while the message waits is not served', async (t) => {
  await using cluster = virtualCluster()
  const lines: string[] = []
  const [a] = (await startAll(cluster, ['a', 'b'], lines)) as [ClusterNode]
  await unlink(cluster, a, 'b')
  const ref = a.ref(Log, 'b', '/user/log')
  t.match(await cluster.outcome(ref.ask({ type: 'where' }, { timeoutMs: 200 })), {
    error: { code: 'RUNTIME_ASK_TIMEOUT' },
  })
  ref.tell({ type: 'line', n: 1 })
  cluster.network.release('b')
  await cluster.until(() => lines.length > 0)
  await cluster.advance(1_000)
  t.same(lines, ['b 1'])
})

void test('an entity whose owner goes while its messages wait gets them where it lives next, in order', async (t) => {
  await using cluster = virtualCluster()
  const lines: string[] = []
  const nodes = await startAll(cluster, ['a', 'b', 'c'], lines, { membership: 'local' })
  const [a, , c] = nodes as [ClusterNode, ClusterNode, ClusterNode]
  const keys = Array.from({ length: 60 }, (_, n) => `k${n}`).filter((key) => a.ownerOf(Log, key) === 'c')
  cluster.crash(c)
  await cluster.platform.settle()
  const sent = keys.flatMap((key) => {
    const ref = a.entity(Log, key)
    return [1, 2, 3].map((n) => ref.tell({ type: 'line', n }))
  })
  t.ok(sent.every((taken) => taken))
  const asked = keys.map((key) => a.entity(Log, key).ask({ type: 'where' }))
  const owners = await cluster.result(Promise.all(asked))
  t.equal(a.members().length, 2)
  t.same(
    owners,
    keys.map((key) => a.ownerOf(Log, key)),
  )
  for (const key of keys) {
    t.same(
      lines.filter((line) => line.startsWith(`${key} `)),
      [1, 2, 3, 'asked'].map((what) => `${key} ${what}`),
    )
  }
  t.same(a.system.deadLetters(), [])
})

void test('a node that is down fails what is sent to it at once', async (t) => {
  await using cluster = virtualCluster()
  const lines: string[] = []
  const nodes = await startAll(cluster, ['a', 'b', 'c'], lines, { membership: 'local' })
  const [a, , c] = nodes as [ClusterNode, ClusterNode, ClusterNode]
  const ref = a.ref(Log, 'c', '/user/log')
  cluster.crash(c)
  await cluster.platform.settle()
  const waiting = cluster.outcome(ref.ask({ type: 'where' }))
  await cluster.until(() => a.members().length === 2)
  const fromMs = cluster.platform.clock.monotonicMs()
  const outcome = { error: { code: 'CLUSTER_NODE_DOWN', details: { outcome: 'not-sent' } } }
  t.match(await waiting, outcome, 'who waited is told as soon as it is known')
  t.match(await cluster.outcome(ref.ask({ type: 'where' })), outcome)
  t.equal(cluster.platform.clock.monotonicMs(), fromMs)
})

void test('a node that ends leaves nobody waiting for a link', async (t) => {
  await using cluster = virtualCluster()
  const lines: string[] = []
  const [a] = (await startAll(cluster, ['a', 'b'], lines, { drainMs: 0 })) as [ClusterNode]
  await unlink(cluster, a, 'b')
  const asked = a.ref(Log, 'b', '/user/log').ask({ type: 'where' })
  const fromMs = cluster.platform.clock.monotonicMs()
  const report = a.shutdown()
  t.match(await cluster.outcome(asked), { error: { code: 'CLUSTER_NODE_DOWN' } })
  t.ok(cluster.platform.clock.monotonicMs() - fromMs < 1_000, 'before its time is up')
  t.match(await cluster.result(report), { hung: [], failed: [] })
  cluster.network.release('b')
})
