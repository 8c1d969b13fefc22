/** Entities: found by key from every node, started on their owner by their first message. */
import type { ClusterNode } from '@understudy/cluster'
import { actor, ask, protocol, tell } from '@understudy/runtime'
import { probe } from '@understudy/runtime/testkit'
import { test } from 'tap'
import Type from 'typebox'
import { gate, Puppet, puppet } from '../support/runtime.ts'
import { virtualCluster, type StartOptions, type VirtualCluster } from '../support/virtual-cluster.ts'

const Log = protocol('log', { line: tell({ text: Type.String() }) })
const Cart = protocol('cart', {
  add: ask(Type.Integer()),
  where: ask(Type.String()),
  key: ask(Type.String()),
  incarnation: ask(Type.Integer()),
  crash: tell(),
  leave: tell(),
})

const cart = (node: string, starts: string[] = []) =>
  actor(Cart, (ctx) => {
    let n = 0
    starts.push(`${node} ${ctx.key}`)
    return {
      add: () => ++n,
      where: () => node,
      key: () => ctx.key ?? '',
      incarnation: () => ctx.incarnation,
      crash: () => {
        throw new Error('boom')
      },
      leave: () => ctx.stop(),
    }
  })

async function startThree(
  cluster: VirtualCluster,
  starts: string[] = [],
  options: StartOptions = {},
): Promise<readonly ClusterNode[]> {
  const names = ['a', 'b', 'c']
  const nodes: ClusterNode[] = []
  for (const name of names)
    nodes.push(await cluster.start(name, { seeds: names, entities: [cart(name, starts)], ...options }))
  await cluster.result(Promise.all(nodes.map((node) => node.whenMembers(3))))
  return nodes
}

const keys = Array.from({ length: 60 }, (_, n) => `cart-${n}`)

function ownedBy(node: ClusterNode): string {
  const key = keys.find((each) => node.ownerOf(Cart, each) === node.name)
  if (key === undefined) throw new Error(`node "${node.name}" owns none of the keys`)
  return key
}

void test('ClusterNode.entity: the first message starts it on its owner; it is the same from every node', async (t) => {
  await using cluster = virtualCluster()
  const starts: string[] = []
  const nodes = await startThree(cluster, starts)
  t.same(starts, [], 'a ref starts nothing')
  for (const key of keys) {
    const owners = new Set(nodes.map((node) => node.ownerOf(Cart, key)))
    t.equal(owners.size, 1)
    const added = []
    for (const node of nodes) added.push(await cluster.result(node.entity(Cart, key).ask({ type: 'add' })))
    t.same(added, [1, 2, 3])
    t.ok(owners.has(await cluster.result((nodes[0] as ClusterNode).entity(Cart, key).ask({ type: 'where' }))))
  }
  t.equal(starts.length, keys.length, 'each once')
  t.equal(new Set(starts.map((line) => line[0])).size, 3, 'on all nodes')
})

void test('ClusterNode.entity: any key is one actor of its own: slashes, unicode, hundreds of characters', async (t) => {
  await using cluster = virtualCluster()
  const nodes = await startThree(cluster)
  const long = 'k'.repeat(2_000)
  const odd = [
    'a/b',
    'a',
    'b',
    '../x',
    '.',
    '%2F',
    '/',
    '~',
    'a~1',
    'ключ',
    '鍵'.repeat(400),
    '🗝️',
    'a b\n#',
    long,
    `${long}1`,
    `${long}2`,
    `${'k'.repeat(300)}`,
  ]
  for (const key of odd) {
    for (const [index, node] of nodes.entries()) {
      const ref = node.entity(Cart, key)
      t.equal(await cluster.result(ref.ask({ type: 'add' })), index + 1)
      t.equal(await cluster.result(ref.ask({ type: 'key' })), key)
    }
  }
})

void test('ClusterNode.entity: a key that cannot be is refused at once, with the rule', async (t) => {
  await using cluster = virtualCluster()
  const [a] = await startThree(cluster)
  for (const key of ['', '\ud800', 'k'.repeat(2_049), 7 as unknown as string]) {
    t.throws(() => (a as ClusterNode).entity(Cart, key), {
      name: 'TypeError',
      message: /1 to 2048 characters, without half a surrogate pair/,
    })
  }
})

void test('ClusterNode.entity: not registered where it belongs: NoSuchActor with the mend, here and there', async (t) => {
  await using cluster = virtualCluster()
  const nodes = await startThree(cluster, [], { entities: [], weight: 1 })
  const [a] = nodes as [ClusterNode]
  const seen = new Set<string>()
  for (const key of keys) {
    const outcome = await cluster.outcome(a.entity(Cart, key).ask({ type: 'add' }))
    const owner = a.ownerOf(Cart, key) as string
    seen.add(owner)
    t.match(outcome, {
      error: {
        name: 'NoSuchActor',
        code: 'RUNTIME_NO_SUCH_ACTOR',
        message: new RegExp(
          `entity "cart" is not registered on node "${owner}"; add its definition to "entities"`,
        ),
      },
    })
  }
  t.equal(seen.size, 3)
})

void test('ClusterNode.entity: keys of a kind belong to nodes that have it, as seen from every node', async (t) => {
  await using cluster = virtualCluster()
  const Order = protocol('order', { where: ask(Type.String()) })
  const order = (node: string) => actor(Order, () => ({ where: () => node }))
  const seeds = ['a', 'b', 'c', 'd']
  const a = await cluster.start('a', { seeds, entities: [cart('a')] })
  const b = await cluster.start('b', { seeds, entities: [cart('b'), order('b')] })
  const c = await cluster.start('c', { seeds, entities: [order('c')] })
  const d = await cluster.start('d', { seeds })
  const nodes = [a, b, c, d]
  await cluster.result(Promise.all(nodes.map((node) => node.whenMembers(4))))
  const owners = async (kind: typeof Cart | typeof Order): Promise<ReadonlySet<string>> => {
    const found = new Set<string>()
    for (const key of keys) {
      const answers = nodes.map((node) => node.entity(Order, key).ask({ type: 'where' }))
      const cartAnswers = nodes.map((node) => node.entity(Cart, key).ask({ type: 'where' }))
      const where = await cluster.result(Promise.all(kind === Order ? answers : cartAnswers))
      t.same(new Set(where), new Set([a.ownerOf(kind, key)]))
      for (const node of where) found.add(node)
    }
    return found
  }
  t.same(await owners(Cart), new Set(['a', 'b']))
  t.same(await owners(Order), new Set(['b', 'c']))
  t.same(
    d.members().map(({ entities }) => entities),
    [['cart'], ['cart', 'order'], ['order'], []],
  )
})

void test('ClusterNode.entity: a new kind that is brought in node by node answers from its first node on', async (t) => {
  await using cluster = virtualCluster()
  const Order = protocol('order', { where: ask(Type.String()) })
  const order = (node: string) => actor(Order, () => ({ where: () => node }))
  const nodes = [...(await startThree(cluster))]
  for (const [index, name] of ['a', 'b', 'c'].entries()) {
    await cluster.result((nodes[index] as ClusterNode).shutdown())
    nodes[index] = await cluster.start(name, { seeds: ['a', 'b', 'c'], entities: [cart(name), order(name)] })
    await cluster.result(Promise.all(nodes.map((node) => node.whenMembers(3))))
    const found = new Set<string>()
    for (const key of keys) {
      for (const node of nodes) {
        found.add(await cluster.result(node.entity(Order, key).ask({ type: 'where' })))
      }
    }
    t.same(found, new Set(['a', 'b', 'c'].slice(0, index + 1)))
  }
})

void test('ClusterNode.entity: one that crashes is started again, more slowly each time, and keeps its messages', async (t) => {
  await using cluster = virtualCluster()
  const nodes = await startThree(cluster)
  const [a, b] = nodes as [ClusterNode, ClusterNode]
  const ref = a.entity(Cart, ownedBy(b))
  await cluster.result(ref.ask({ type: 'add' }))
  const delays: number[] = []
  for (let n = 0; n < 8; n++) {
    ref.tell({ type: 'crash' })
    await cluster.advance(0)
    const fromMs = cluster.platform.clock.monotonicMs()
    t.equal(await cluster.result(ref.ask({ type: 'incarnation' })), n + 1)
    delays.push(cluster.platform.clock.monotonicMs() - fromMs)
  }
  t.ok((delays[0] as number) <= 15, `first ${delays[0]}`)
  t.ok((delays[7] as number) > 8 * (delays[0] as number), delays.join(' '))
  t.equal(
    await cluster.result(a.entity(Cart, ownedBy(a)).ask({ type: 'incarnation' })),
    0,
    'its siblings go on',
  )
})

void test('ClusterNode.entity: one that stopped is started by its next message', async (t) => {
  await using cluster = virtualCluster()
  const starts: string[] = []
  const nodes = await startThree(cluster, starts)
  const [a, b] = nodes as [ClusterNode, ClusterNode]
  const ref = a.entity(Cart, ownedBy(b))
  t.equal(await cluster.result(ref.ask({ type: 'add' })), 1)
  ref.tell({ type: 'leave' })
  await cluster.advance(1)
  t.equal(await cluster.result(ref.ask({ type: 'add' })), 1)
  t.equal(starts.length, 2)
})

void test('ClusterNode.entity: while one is slow to end its successor takes the messages, and stays the only one', async (t) => {
  await using cluster = virtualCluster()
  const { passed, open } = gate()
  const starts: string[] = []
  const Slow = protocol('slow', { add: ask(Type.Integer()), leave: tell() })
  let lives = 0
  const slow = actor(Slow, (ctx) => {
    let n = 0
    if (++lives === 1) ctx.defer(() => passed)
    starts.push(ctx.path)
    return { add: () => ++n, leave: () => ctx.stop() }
  })
  const a = await cluster.start('a', { entities: [slow] })
  const ref = a.entity(Slow, 'k')
  t.equal(await cluster.result(ref.ask({ type: 'add' })), 1)
  ref.tell({ type: 'leave' })
  await cluster.advance(1)
  t.equal(await cluster.result(ref.ask({ type: 'add' })), 1, 'the successor')
  const ends: string[] = []
  const log = probe(a.system, Log)
  void log.act((ctx) => void ctx.watch(ref, (reason) => ({ type: 'line', text: reason })))
  open()
  await cluster.advance(10)
  t.equal(await cluster.result(ref.ask({ type: 'add' })), 2, 'still the successor, although the name is free')
  t.equal(starts.length, 2)
  t.same(log.received, [], 'it is the successor that was watched')
  ref.tell({ type: 'leave' })
  await cluster.advance(1)
  t.equal(log.received.length, 1)
  t.equal(await cluster.result(ref.ask({ type: 'add' })), 1)
  t.equal(starts[2], starts[0], 'the name is used again')
  t.same(ends, [])
})

void test('ClusterNode.entity: keys move to those who are left when their node dies, and only those', async (t) => {
  await using cluster = virtualCluster()
  const nodes = await startThree(cluster)
  const [a, b, c] = nodes as [ClusterNode, ClusterNode, ClusterNode]
  const before = new Map(keys.map((key) => [key, a.ownerOf(Cart, key)]))
  const lost = ownedBy(c)
  t.equal(await cluster.result(a.entity(Cart, lost).ask({ type: 'add' })), 1)
  cluster.crash(c)
  await cluster.advance(0)
  t.equal(await cluster.result(a.entity(Cart, lost).ask({ type: 'add' })), 1, 'waited for its new owner')
  await cluster.until(() => a.members().length === 2 && b.members().length === 2)
  for (const key of keys) {
    const owner = a.ownerOf(Cart, key)
    t.equal(b.ownerOf(Cart, key), owner)
    if (before.get(key) === 'c') t.not(owner, 'c')
    else t.equal(owner, before.get(key))
  }
  t.equal(await cluster.result(b.entity(Cart, lost).ask({ type: 'add' })), 2, 'started anew elsewhere')
  t.equal(await cluster.result(a.entity(Cart, lost).ask({ type: 'add' })), 3)
})

void test('ClusterNode.entity: watched from any node, its activation ends with one notice', async (t) => {
  await using cluster = virtualCluster()
  const nodes = await startThree(cluster)
  const [a, b] = nodes as [ClusterNode, ClusterNode]
  const key = ownedBy(b)
  for (const node of [a, b]) {
    const ref = node.entity(Cart, key)
    const log = probe(node.system, Log)
    const watch = (): void =>
      void log.act((ctx) => void ctx.watch(ref, (reason) => ({ type: 'line', text: reason })))
    watch()
    await cluster.advance(1)
    t.same(
      log.received.map(({ text }) => text),
      ['not-found'],
      'a watch starts nothing',
    )
    await cluster.result(ref.ask({ type: 'add' }))
    watch()
    await cluster.advance(1)
    ref.tell({ type: 'leave' })
    await cluster.advance(1)
    t.same(
      log.received.map(({ text }) => text),
      ['not-found', 'stopped'],
    )
  }
})

void test('EntityRef: crosses nodes in a message and finds its owner from there', async (t) => {
  await using cluster = virtualCluster()
  const { refOf } = await import('@understudy/runtime')
  const Post = protocol('post', {
    use: ask({ ref: refOf(Cart) }, Type.Integer()),
    back: ask({ ref: refOf(Cart) }, refOf(Cart)),
  })
  const post = actor(Post, (ctx) => ({
    use: ({ ref }) => ctx.ask(ref, { type: 'add' }),
    back: ({ ref }) => ref,
  }))
  const nodes = await startThree(cluster)
  const [a, b, c] = nodes as [ClusterNode, ClusterNode, ClusterNode]
  b.system.spawn('post', post)
  for (const owner of [a, b, c]) {
    const ref = a.entity(Cart, ownedBy(owner))
    t.equal(await cluster.result(a.ref(Post, 'b', '/user/post').ask({ type: 'use', ref })), 1)
    const back = await cluster.result(a.ref(Post, 'b', '/user/post').ask({ type: 'back', ref }))
    t.equal(back.path, ref.path)
    t.equal(await cluster.result(back.ask({ type: 'add' })), 2)
  }
})

void test('EntityRef: a message that does not fit is refused with the field, from any node', async (t) => {
  await using cluster = virtualCluster()
  const Typed = protocol('typed', { set: ask({ to: Type.Integer() }, Type.Null()) })
  const typed = actor(Typed, () => ({ set: () => null }))
  const names = ['a', 'b']
  const nodes = []
  for (const name of names) nodes.push(await cluster.start(name, { seeds: names, entities: [typed] }))
  await cluster.result(Promise.all(nodes.map((node) => node.whenMembers(2))))
  const [a] = nodes as [ClusterNode]
  for (const key of keys.slice(0, 8)) {
    t.match(await cluster.outcome(a.entity(Typed, key).ask({ type: 'set', to: 'x' as never })), {
      error: { code: 'RUNTIME_INVALID_MESSAGE', details: { field: 'to' } },
    })
  }
})

void test('ClusterNode.entity: call cycles between an entity and an actor elsewhere are refused', async (t) => {
  await using cluster = virtualCluster()
  const nodes: ClusterNode[] = []
  const names = ['a', 'b']
  const Loop = protocol('loop', { go: ask(Type.Any()) })
  const loop = actor(Loop, (ctx) => ({
    go: () => ctx.ask((nodes[1] as ClusterNode).ref(Puppet, 'a', '/user/p'), { type: 'ask', step: 'go' }),
  }))
  for (const name of names) nodes.push(await cluster.start(name, { seeds: names, entities: [loop] }))
  await cluster.result(Promise.all(nodes.map((node) => node.whenMembers(2))))
  const [a, b] = nodes as [ClusterNode, ClusterNode]
  const key = keys.find((each) => a.ownerOf(Loop, each) === 'b') as string
  let code: unknown
  a.system.spawn(
    'p',
    puppet({
      go: async (ctx) => {
        try {
          return await ctx.ask(a.entity(Loop, key), { type: 'go' })
        } catch (error) {
          code = (error as { code?: unknown }).code
          throw error
        }
      },
    }),
  )
  const fromMs = cluster.platform.clock.monotonicMs()
  t.match(await cluster.outcome(b.entity(Loop, key).ask({ type: 'go' })), {
    error: { code: 'RUNTIME_ACTOR_CRASHED' },
  })
  t.equal(code, 'RUNTIME_CALL_CYCLE')
  t.ok(cluster.platform.clock.monotonicMs() - fromMs < 100)
})

test('ClusterNode.entity: who registers no entities owns no keys, and with nobody to own them asks fail with NodeDown', async (t) => {
  await using cluster = virtualCluster()
  const [a] = (await startThree(cluster, [], { entities: [] })) as [ClusterNode]
  t.equal(a.ownerOf(Cart, 'k'), undefined)
  t.match(await cluster.outcome(a.entity(Cart, 'k').ask({ type: 'add' })), {
    error: { name: 'NodeDown', code: 'CLUSTER_NODE_DOWN', details: { outcome: 'not-sent' } },
  })
})
