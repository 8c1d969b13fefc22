/** Actors that one node starts on another: what may be started there, with what, and what becomes of it. */
import type { ClusterNode } from '@understudy/cluster'
import { actor, ask, protocol, tell, type AnyDefinition } from '@understudy/runtime'
import { probe } from '@understudy/runtime/testkit'
import { test } from 'tap'
import Type, { type Static } from 'typebox'
import { virtualCluster, type StartOptions, type VirtualCluster } from '../support/virtual-cluster.ts'

const Log = protocol('log', { line: tell({ text: Type.String() }) })
const Job = protocol('job', {
  where: ask(Type.String()),
  count: ask(Type.Integer()),
  crash: tell(),
  leave: tell(),
})

const Range = Type.Object({ from: Type.Integer({ minimum: 0 }), by: Type.Optional(Type.Integer()) })

/** Counts from where it is told to; says on which node it lives. */
const job = actor(Job, { name: 'job', input: Range }, (ctx, input: Static<typeof Range>) => {
  let n = input.from
  return {
    where: () => ctx.path,
    count: () => (n += input.by ?? 1),
    crash: () => {
      throw new Error('boom')
    },
    leave: () => ctx.stop(),
  }
})

const plain = actor(Job, { name: 'plain' }, (ctx) => {
  let n = 0
  return {
    where: () => ctx.path,
    count: () => ++n,
    crash: () => {
      throw new Error('boom')
    },
    leave: () => ctx.stop(),
  }
})

const spawnable = [job, plain] as unknown as readonly AnyDefinition[]

async function pair(
  cluster: VirtualCluster,
  options: StartOptions = {},
): Promise<readonly [ClusterNode, ClusterNode]> {
  const a = await cluster.start('a')
  const b = await cluster.start('b', { seeds: ['a'], spawnable, ...options })
  await cluster.result(Promise.all([a.whenMembers(2), b.whenMembers(2)]))
  return [a, b]
}

function notices(node: ClusterNode, ref: unknown): readonly string[] {
  const log = probe(node.system, Log)
  const lines: string[] = []
  void log.act((ctx) => {
    ctx.watch(ref as never, (reason: string) => {
      lines.push(reason)
      return { type: 'line', text: reason }
    })
  })
  return lines
}

void test('ClusterNode.spawn: starts a registered definition there, and the ref is bound to it', async (t) => {
  await using cluster = virtualCluster()
  const [a, b] = await pair(cluster)
  const ref = await cluster.result(a.spawn('b', 'first', job, { from: 10, by: 5 }))
  t.equal(await cluster.result(ref.ask({ type: 'count' })), 15)
  t.equal(await cluster.result(ref.ask({ type: 'where' })), '/spawned/first')
  t.ok(ref.uid !== undefined, 'bound')
  t.ok(b.system.lookup(Job, '/spawned/first') !== undefined)
  t.equal(a.system.lookup(Job, '/spawned/first'), undefined)
  const none = await cluster.result(a.spawn('b', 'second', plain))
  t.equal(await cluster.result(none.ask({ type: 'count' })), 1)
})

void test('ClusterNode.spawn: on its own node it is the same', async (t) => {
  await using cluster = virtualCluster()
  const [, b] = await pair(cluster)
  const ref = await cluster.result(b.spawn('b', 'own', job, { from: 1 }))
  t.equal(await cluster.result(ref.ask({ type: 'count' })), 2)
  t.match(await cluster.outcome(b.spawn('b', 'own', job, { from: 1 })), {
    error: { code: 'CLUSTER_SPAWN_REFUSED', details: { reason: 'bad-name' } },
  })
})

void test('ClusterNode.spawn: CLUSTER_SPAWN_REFUSED says why, and nothing was started', async (t) => {
  await using cluster = virtualCluster()
  const [a, b] = await pair(cluster)
  await cluster.result(a.spawn('b', 'taken', plain))
  const started = b.system.status().counters.spawned
  const unknown = actor(Job, { name: 'unknown' }, () => ({}) as never)
  const loose = job as unknown as typeof plain & { readonly loose: true }
  const from = (input: unknown): Promise<unknown> => a.spawn('b', 'x', loose as never, input as never)
  const cases: [string, () => Promise<unknown>, RegExp][] = [
    ['not-spawnable', () => a.spawn('b', 'x', unknown), /not among the "spawnable" definitions/],
    ['bad-input', () => from({ from: -1 }), /field "input.from"/],
    ['bad-input', () => from({ from: 'text' }), /field "input.from"/],
    ['bad-input', () => from({}), /field "input(.from)?"/],
    ['bad-input', () => from(undefined), /field "input"/],
    ['bad-input', () => a.spawn('b', 'x', plain as never, 7 as never), /it takes no input from other nodes/],
    ['bad-name', () => a.spawn('b', 'taken', plain), /"taken"/],
    ['bad-name', () => a.spawn('b', 'a/b', plain), /"a\/b"/],
    ['bad-name', () => a.spawn('b', '', plain), /./],
  ]
  for (const [reason, spawn, message] of cases) {
    const outcome = await cluster.outcome(spawn())
    const { error } = outcome as { readonly error?: Error & { details?: unknown; code?: string } }
    t.match(error, { code: 'CLUSTER_SPAWN_REFUSED', details: { node: 'b', reason } }, `${reason} ${message}`)
    t.match(error?.message, message)
  }
  t.match(await cluster.outcome(from({ from: 1, by: () => 1 })), {
    error: { code: 'RUNTIME_INVALID_MESSAGE' },
  })
  t.equal(b.system.status().counters.spawned, started)
  t.same(b.status().refused, {}, 'and no link was lost over it')
})

void test('ClusterNode.spawn: a node without spawnable definitions refuses all', async (t) => {
  await using cluster = virtualCluster()
  const [a, b] = await pair(cluster)
  t.match(await cluster.outcome(b.spawn('a', 'x', plain)), {
    error: { code: 'CLUSTER_SPAWN_REFUSED', details: { node: 'a', definition: 'plain', name: 'x' } },
  })
  t.match(await cluster.outcome(a.spawn('nobody', 'x', plain)), {
    error: { code: 'CLUSTER_NODE_DOWN', details: { outcome: 'not-sent' } },
  })
})

void test('ClusterNode.spawn: it is restarted when it crashes, and its end is noticed', async (t) => {
  await using cluster = virtualCluster()
  const [a] = await pair(cluster)
  const ref = await cluster.result(a.spawn('b', 'first', plain))
  const lines = notices(a, ref)
  t.equal(await cluster.result(ref.ask({ type: 'count' })), 1)
  ref.tell({ type: 'crash' })
  await cluster.advance(1_000)
  t.equal(await cluster.result(ref.ask({ type: 'count' })), 1, 'anew, under the same ref')
  t.same(lines, [])
  ref.tell({ type: 'leave' })
  await cluster.advance(1_000)
  t.same(lines, ['stopped'])
  t.match(await cluster.outcome(ref.ask({ type: 'count' })), { error: { code: 'RUNTIME_ACTOR_STOPPED' } })
  // Transient: it has ended in good order, so its name is free.
  await cluster.result(a.spawn('b', 'first', plain))
})

void test('ClusterNode.spawn: with its node it is lost, and its watchers are told once', async (t) => {
  await using cluster = virtualCluster()
  const [a, b] = await pair(cluster)
  const ref = await cluster.result(a.spawn('b', 'first', plain))
  const lines = notices(a, ref)
  await cluster.advance(1)
  cluster.crash(b)
  await cluster.until(() => a.members().length === 1)
  await cluster.advance(1)
  t.same(lines, ['node-down'])
  const again = await cluster.start('b', { seeds: ['a'], spawnable })
  await cluster.result(Promise.all([a.whenMembers(2), again.whenMembers(2)]))
  t.match(await cluster.outcome(ref.ask({ type: 'count' })), { error: { code: 'RUNTIME_ACTOR_STOPPED' } })
})

void test('ClusterNode.spawn: what was started from afar ends with the life of its node', async (t) => {
  await using cluster = virtualCluster()
  const names = ['a', 'b', 'c']
  const nodes: ClusterNode[] = []
  for (const name of names) nodes.push(await cluster.start(name, { seeds: names, spawnable }))
  const [a, b, c] = nodes as [ClusterNode, ClusterNode, ClusterNode]
  await cluster.result(Promise.all(nodes.map((node) => node.whenMembers(3))))
  const ref = await cluster.result(a.spawn('c', 'first', plain))
  t.equal(await cluster.result(ref.ask({ type: 'count' })), 1)
  const before = c.incarnation
  cluster.network.hold('c')
  await cluster.until(() => a.members().length === 2 && b.members().length === 2 && c.incarnation > before)
  cluster.network.release('c')
  await cluster.result(Promise.all(nodes.map((node) => node.whenMembers(3))))
  t.equal(c.system.lookup(Job, '/spawned/first'), undefined, 'its watchers were told that it is dead')
  const anew = await cluster.result(a.spawn('c', 'first', plain))
  t.equal(await cluster.result(anew.ask({ type: 'count' })), 1)
})
