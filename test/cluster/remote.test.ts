/** What only distance brings: lost links, dead nodes, full queues, frames that are too small, versions that differ. */
import type { ClusterNode } from '@understudy/cluster'
import { actor, ask, protocol, refOf, tell } from '@understudy/runtime'
import { probe } from '@understudy/runtime/testkit'
import { test } from 'tap'
import Type from 'typebox'
import { gate, Puppet, puppet, watched, type PuppetRef } from '../support/runtime.ts'
import { sourceModule } from '../support/source-module.ts'
import { virtualCluster, type StartOptions, type VirtualCluster } from '../support/virtual-cluster.ts'

const Log = protocol('log', { line: tell({ text: Type.String() }) })
const Blob = protocol('blob', {
  put: tell({ n: Type.Integer(), bytes: Type.Any() }),
  echo: ask({ bytes: Type.Any() }, Type.Any()),
  make: ask({ bytes: Type.Integer() }, Type.Any()),
})

async function pair(
  cluster: VirtualCluster,
  options: StartOptions = {},
): Promise<readonly [ClusterNode, ClusterNode]> {
  const a = await cluster.start('a', options)
  const b = await cluster.start('b', { seeds: ['a'], ...options })
  await cluster.result(Promise.all([a.whenMembers(2), b.whenMembers(2)]))
  return [a, b]
}

const never = (): Promise<never> => new Promise(() => undefined)
const hung = { never }

function notices(node: ClusterNode, ref: PuppetRef): readonly string[] {
  const log = probe(node.system, Log)
  const lines: string[] = []
  void log.act((ctx) => {
    ctx.watch(ref, (reason) => {
      lines.push(reason)
      return { type: 'line', text: reason }
    })
  })
  return lines
}

/** a watches an actor of b by its path; `lines` are the notices. */
async function watchedPair(cluster: VirtualCluster) {
  const [a, b] = await pair(cluster)
  const target = b.system.spawn('p', puppet({}))
  const lines = notices(a, a.ref(Puppet, 'b', '/user/p'))
  await cluster.advance(1)
  return { a, b, target, lines }
}

void test('RemoteRef: without a link an ask fails at once, not-sent, and a tell is refused', async (t) => {
  await using cluster = virtualCluster()
  const a = await cluster.start('a')
  const ref = a.ref(Puppet, 'b', '/user/p')
  const beforeMs = cluster.platform.clock.monotonicMs()
  t.match(await cluster.outcome(ref.ask({ type: 'ask', step: 'x' })), {
    error: {
      code: 'CLUSTER_NODE_DOWN',
      details: { node: 'b', outcome: 'not-sent' },
      message: /no link to node "b" \(not a member\)/,
    },
  })
  t.equal(cluster.platform.clock.monotonicMs(), beforeMs)
  t.equal(ref.tell({ type: 'do', step: 'x' }), false)
  t.same(
    a.system.deadLetters().map(({ reason }) => reason),
    ['node-down', 'node-down'],
  )
  t.match(await cluster.outcome(ref.room()), { error: { code: 'CLUSTER_NODE_DOWN' } })
  t.same(notices(a, ref), [])
  await cluster.advance(1)
})

void test('RemoteRef: what a protocol expects to find nobody is no warning, on either node, known there or not', async (t) => {
  const News = protocol('remote-news', { news: tell() }, { absence: 'expected' })
  const Other = protocol('remote-other', { news: tell() })
  await using cluster = virtualCluster()
  const [a, b] = await pair(cluster)
  const warned = (): readonly string[] =>
    [...cluster.logOf('a'), ...cluster.logOf('b')]
      .filter(({ level, message }) => level === 'warn' && message.startsWith('dead letter'))
      .map(({ message }) => message)
  a.ref(News, 'b', '/system/later').tell({ type: 'news' })
  a.ref(News, 'c', '/system/later').tell({ type: 'news' })
  await cluster.advance(10)
  t.same(
    [a, b].map((node) => node.system.deadLetters().map(({ reason }) => reason)),
    [['node-down'], ['not-found']],
  )
  t.same(warned(), [])
  a.ref(Other, 'b', '/system/later').tell({ type: 'news' })
  await cluster.advance(10)
  t.same(warned(), ['dead letter: "news" to /system/later was not delivered (not-found)'])
})

void test('RemoteRef: when the node dies, pending asks fail with outcome unknown, watchers get one node-down', async (t) => {
  await using cluster = virtualCluster()
  const [a, b] = await pair(cluster)
  b.system.spawn('p', puppet(hung))
  const ref = a.ref(Puppet, 'b', '/user/p')
  const lines = notices(a, ref)
  const asked = watched(ref.ask({ type: 'ask', step: 'never' }, { timeoutMs: 60_000 }))
  await cluster.advance(10)
  cluster.crash(b)
  await cluster.advance(0)
  t.match(asked.error, { code: 'CLUSTER_NODE_DOWN', details: { node: 'b', outcome: 'unknown' } })
  await cluster.advance(20_000)
  t.same(lines, ['node-down'])
  t.match(await cluster.outcome(ref.ask({ type: 'ask', step: 'x' })), {
    error: { details: { outcome: 'not-sent' } },
  })
  t.same(notices(a, ref).length, 0)
})

void test('RemoteRef: a watch on a dead node, and on a node nobody knows, is one node-down at once', async (t) => {
  await using cluster = virtualCluster()
  const [a, b] = await pair(cluster)
  await cluster.result(b.shutdown())
  const lines = [notices(a, a.ref(Puppet, 'b', '/user/p')), notices(a, a.ref(Puppet, 'z', '/user/p'))]
  await cluster.advance(1)
  t.same(lines, [['node-down'], ['node-down']])
})

void test('RemoteRef: a node that leaves tells those who watch there that the actor has stopped, once', async (t) => {
  await using cluster = virtualCluster()
  const { b, lines } = await watchedPair(cluster)
  await cluster.result(b.shutdown())
  await cluster.advance(5_000)
  // Not node-down: its good-bye comes behind what its actors had to say.
  t.same(lines, ['stopped'])
})

void test('S7.1 remote: a watch survives a reconnect, and is one notice', async (t) => {
  await using cluster = virtualCluster()
  const { a, b, target, lines } = await watchedPair(cluster)
  cluster.cut(a)
  await cluster.advance(1_000)
  t.same(lines, [])
  await cluster.result(b.system.stop(target))
  await cluster.advance(1_000)
  t.same(lines, ['stopped'])
  cluster.cut(a)
  await cluster.advance(10_000)
  t.same(lines, ['stopped'])
})

void test('S7.1 remote: an end while the link is down is one notice when it is back', async (t) => {
  await using cluster = virtualCluster()
  const { b, target, lines } = await watchedPair(cluster)
  cluster.network.hold('b')
  cluster.cut(b)
  void b.system.stop(target)
  await cluster.advance(200)
  t.same(lines, [])
  cluster.network.release('b')
  await cluster.advance(10_000)
  t.equal(lines.length, 1)
})

void test('S7.1 remote: a watch that named only a path does not land on a successor after a reconnect', async (t) => {
  await using cluster = virtualCluster()
  const { b, target, lines } = await watchedPair(cluster)
  cluster.network.hold('b')
  cluster.cut(b)
  const stopped = b.system.stop(target)
  await cluster.advance(1)
  await stopped
  const successor = b.system.spawn('p', puppet({}))
  cluster.network.release('b')
  await cluster.advance(10_000)
  t.same(lines, ['stopped'])
  await cluster.result(b.system.stop(successor))
  await cluster.advance(10_000)
  t.same(lines, ['stopped'])
})

void test('S7.1 remote: a watch on an entity is on that activation, also after a reconnect', async (t) => {
  await using cluster = virtualCluster()
  const Thing = protocol('thing', { poke: ask(Type.Integer()), leave: tell() })
  const thing = actor(Thing, (ctx) => ({ poke: () => 1, leave: () => ctx.stop() }))
  const [a, b] = await pair(cluster, { entities: [thing] })
  const key =
    Array.from({ length: 50 }, (_, n) => `${n}/x`).find((name) => a.ownerOf(Thing, name) === 'b') ?? ''
  const ref = a.entity(Thing, key)
  await cluster.result(ref.ask({ type: 'poke' }))
  const lines = notices(a, ref as never)
  await cluster.advance(1)
  for (let round = 0; round < 2; round++) {
    cluster.cut(a)
    await cluster.advance(1_000)
    t.same(lines, [])
  }
  cluster.network.hold('b')
  cluster.cut(b)
  b.entity(Thing, key).tell({ type: 'leave' })
  await cluster.advance(1)
  await cluster.result(b.entity(Thing, key).ask({ type: 'poke' }))
  cluster.network.release('b')
  await cluster.advance(10_000)
  t.same(lines, ['stopped'])
})

void test('S7.1 remote: no notice after unwatch across a reconnect', async (t) => {
  await using cluster = virtualCluster()
  const [a, b] = await pair(cluster)
  const target = b.system.spawn('p', puppet({}))
  const ref = a.ref(Puppet, 'b', '/user/p')
  const log = probe(a.system, Log)
  void log.act((ctx) => void ctx.watch(ref, (reason) => ({ type: 'line', text: reason })))
  await cluster.advance(1)
  cluster.cut(a)
  void log.act((ctx) => void ctx.unwatch(ref))
  await cluster.advance(1_000)
  await cluster.result(b.system.stop(target))
  cluster.crash(b)
  await cluster.advance(10_000)
  t.same(log.received, [])
})

void test('RemoteRef: a watch that is given up, or has ended, leaves nothing behind, here or there', async (t) => {
  await using cluster = virtualCluster()
  const [a, b] = await pair(cluster)
  const targets = ['p', 'q', 'r'].map((name) => b.system.spawn(name, puppet({})))
  const refs = ['p', 'q', 'r'].map((name) => a.ref(Puppet, 'b', `/user/${name}`))
  const log = probe(a.system, Log)
  const settled = async () => {
    await cluster.advance(1)
    return [a.status().watches, b.status().watches]
  }
  t.same(await settled(), [
    { watching: 0, watched: 0 },
    { watching: 0, watched: 0 },
  ])
  void log.act((ctx) => {
    for (const ref of refs) ctx.watch(ref, (reason) => ({ type: 'line', text: reason }))
  })
  t.same(await settled(), [
    { watching: 3, watched: 0 },
    { watching: 0, watched: 3 },
  ])
  void log.act((ctx) => refs.slice(0, 2).forEach((ref) => void ctx.unwatch(ref)))
  t.same(await settled(), [
    { watching: 1, watched: 0 },
    { watching: 0, watched: 1 },
  ])
  for (const target of targets) await cluster.result(b.system.stop(target))
  t.same(await settled(), [
    { watching: 0, watched: 0 },
    { watching: 0, watched: 0 },
  ])
  t.same(log.received, [{ type: 'line', text: 'stopped' }])
})

void test('S1.1 remote: nothing of an old connection is delivered once a new one is in use', async (t) => {
  await using cluster = virtualCluster()
  const [a, b] = await pair(cluster)
  const seen: string[] = []
  b.system.spawn('p', puppet({ old: () => void seen.push('old'), new: () => void seen.push('new') }))
  const ref = a.ref(Puppet, 'b', '/user/p')
  ref.tell({ type: 'do', step: 'old' })
  await cluster.advance(1)
  t.same(seen, ['old'])
  const goOn = cluster.stall(b)
  const lost = watched(ref.ask({ type: 'ask', step: 'old' }))
  ref.tell({ type: 'do', step: 'old' })
  await cluster.advance(0)
  cluster.cut(a)
  await cluster.advance(0)
  t.match(lost.error, { code: 'CLUSTER_NODE_DOWN', details: { outcome: 'unknown' } })
  await cluster.until(() => ref.tell({ type: 'do', step: 'new' }))
  await cluster.until(() => seen.includes('new'))
  goOn()
  await cluster.advance(1_000)
  t.same(new Set(seen.slice(1)), new Set(['new']))
})

void test('RemoteRef: bound to an actor of a node that restarted: ActorStopped, and node-down for a watch', async (t) => {
  await using cluster = virtualCluster()
  const [a, b] = await pair(cluster)
  const Giver = protocol('giver', { give: ask(refOf(Puppet)) })
  const giver = actor(Giver, (ctx) => {
    const own = ctx.spawn('own', puppet({ who: () => 'the old one' }))
    return { give: () => own }
  })
  b.system.spawn('giver', giver)
  const bound = await cluster.result(a.ref(Giver, 'b', '/user/giver').ask({ type: 'give' }))
  t.same(await cluster.result(bound.ask({ type: 'ask', step: 'who' })), 'the old one')
  cluster.crash(b)
  await cluster.until(() => a.members().length === 1)
  const again = await cluster.start('b', { seeds: ['a'] })
  await cluster.result(Promise.all([a.whenMembers(2), again.whenMembers(2)]))
  again.system.spawn('giver', giver)
  const fresh = await cluster.result(a.ref(Giver, 'b', '/user/giver').ask({ type: 'give' }))
  t.equal(fresh.uid, bound.uid, 'the same numbers, another life')
  t.match(await cluster.outcome(bound.ask({ type: 'ask', step: 'who' })), {
    error: { code: 'RUNTIME_ACTOR_STOPPED', message: /its node has restarted since/ },
  })
  t.equal(bound.tell({ type: 'do', step: 'who' }), false)
  const lines = [notices(a, bound), notices(a, fresh)]
  await cluster.advance(1)
  t.same(lines, [['node-down'], []])
  // One watcher of both: they are not the same actor, though they have the same path and number.
  const log = probe(a.system, Log)
  void log.act((ctx) => {
    ctx.watch(fresh, (reason) => ({ type: 'line', text: `fresh ${reason}` }))
    ctx.watch(bound, (reason) => ({ type: 'line', text: `bound ${reason}` }))
  })
  await cluster.advance(1)
  await cluster.result(again.system.stop(again.system.ref(Puppet, '/user/giver')))
  await cluster.advance(1)
  t.same(
    log.received.map(({ text }) => text),
    ['bound node-down', 'fresh stopped'],
  )
})

void test('RemoteRef: refs cross a third node and are good there', async (t) => {
  await using cluster = virtualCluster()
  const [a, b] = await pair(cluster)
  const c = await cluster.start('c', { seeds: ['a', 'b'] })
  await cluster.result(Promise.all([a, b, c].map((node) => node.whenMembers(3))))
  const Post = protocol('post', { hand: ask({ ref: refOf(Puppet) }, Type.Unknown()) })
  // b passes on what it got; c asks the actor on a, of a protocol that b and c never defined.
  c.system.spawn(
    'last',
    actor(Post, (ctx) => ({ hand: ({ ref }) => ctx.ask(ref, { type: 'ask', step: 'who' }) })),
  )
  b.system.spawn(
    'post',
    actor(Post, (ctx) => ({
      hand: ({ ref }) => ctx.ask(b.ref(Post, 'c', '/user/last'), { type: 'hand', ref }),
    })),
  )
  const own = a.system.spawn('own', puppet({ who: (ctx) => ctx.call().from }))
  for (let round = 0; round < 50; round++) {
    const answer = await cluster.result(a.ref(Post, 'b', '/user/post').ask({ type: 'hand', ref: own }))
    t.equal(answer, 'c:/user/last', 'who asked is known')
  }
})

void test('RemoteHub.refFromParts: CLUSTER_BAD_REF for parts that are none', async (t) => {
  const { RemoteHub } = await sourceModule<typeof import('../../packages/cluster/src/remote/remote-hub.ts')>(
    'cluster',
    'remote/remote-hub',
  )
  const hub = new RemoteHub({} as never)
  const bad = [
    [],
    ['a'],
    [1, 1, '/', 1, 'p'],
    ['a', -1, '/', 1, 'p'],
    ['a', 0.5, '/', 1, 'p'],
    ['a', 1, null, 1, 'p'],
    ['a', 1, '/', 'x', 'p'],
    ['a', 1, '/', 1, null],
  ]
  for (const parts of bad) t.throws(() => hub.refFromParts(parts), { code: 'CLUSTER_BAD_REF' })
})

// ---- Limits

const small = { frameBytesMax: 2_048, outboundBytesMax: 4_096 }
const blob = (seen: number[] = []) =>
  actor(Blob, () => ({
    put: ({ n }) => void seen.push(n),
    echo: ({ bytes }) => bytes as unknown,
    make: ({ bytes }) => 'x'.repeat(bytes),
  }))

void test('S10.2 remote: a full link refuses, room() resolves when it has drained, what was accepted arrives in order', async (t) => {
  await using cluster = virtualCluster()
  const [a, b] = await pair(cluster, small)
  const seen: number[] = []
  b.system.spawn('blob', blob(seen))
  const ref = a.ref(Blob, 'b', '/user/blob')
  cluster.network.hold('b')
  const accepted: number[] = []
  let refusals = 0
  for (let n = 0; n < 100; n++) {
    if (ref.tell({ type: 'put', n, bytes: 'x'.repeat(500) })) accepted.push(n)
    else refusals++
    await cluster.advance(0)
  }
  t.ok(accepted.length >= 8 && accepted.length < 20, `${accepted.length} were accepted`)
  t.equal(refusals, 100 - accepted.length)
  t.match(await cluster.outcome(ref.ask({ type: 'echo', bytes: 1 })), {
    error: { code: 'CLUSTER_LINK_FULL', message: /wait for ref\.room\(\)/ },
  })
  const controller = new AbortController()
  const given = cluster.outcome(ref.room({ signal: controller.signal }))
  controller.abort()
  t.match(await given, { error: { code: 'RUNTIME_ABORTED' } })
  let isThere = false
  void ref.room().then(() => (isThere = true))
  await cluster.advance(1)
  t.equal(isThere, false)
  cluster.network.release('b')
  await cluster.until(() => isThere)
  t.equal(ref.tell({ type: 'put', n: 100, bytes: null }), true)
  await cluster.until(() => seen.includes(100))
  t.same(seen, [...accepted, 100])
  t.same(await cluster.result(ref.ask({ type: 'echo', bytes: 1 })), 1)
})

void test('S10.1 remote: answers to a peer that does not read are bounded: the link is given up, and comes back', async (t) => {
  await using cluster = virtualCluster()
  const [a, b] = await pair(cluster, small)
  const { passed, open } = gate()
  const wait = async (): Promise<string> => {
    await passed
    return 'y'.repeat(500)
  }
  const asks = Array.from({ length: 40 }, (_, n) => {
    a.system.spawn(`p${n}`, puppet({ wait, x: () => 'fine' }))
    return watched(
      b.ref(Puppet, 'a', `/user/p${n}`).ask({ type: 'ask', step: 'wait' }, { timeoutMs: 50_000 }),
    )
  })
  await cluster.advance(1)
  cluster.network.hold('b')
  open()
  await cluster.advance(1)
  t.match(
    cluster.logOf('a').find(({ message }) => /does not read what it is sent/.test(message)),
    {
      fields: { limit: 4_096 },
    },
  )
  cluster.network.release('b')
  await cluster.advance(10)
  const lost = asks.filter(({ state }) => state === 'rejected')
  t.equal(asks.filter(({ state }) => state === 'resolved').length + lost.length, 40, 'nobody waits any more')
  t.ok(lost.length > 20)
  for (const { error } of lost) t.match(error, { code: 'CLUSTER_NODE_DOWN', details: { outcome: 'unknown' } })
  await cluster.advance(10_000)
  t.same(await cluster.outcome(b.ref(Puppet, 'a', '/user/p0').ask({ type: 'ask', step: 'x' })), {
    value: 'fine',
  })
})

void test('RemoteRef: a message or a reply that no frame carries is refused, with the mend; the link stays', async (t) => {
  await using cluster = virtualCluster()
  const [a, b] = await pair(cluster, small)
  b.system.spawn('blob', blob())
  const ref = a.ref(Blob, 'b', '/user/blob')
  t.match(await cluster.outcome(ref.ask({ type: 'echo', bytes: 'x'.repeat(3_000) })), {
    error: {
      code: 'RUNTIME_INVALID_MESSAGE',
      message: /limit of a frame is 2048; send less at a time, or raise frameBytesMax/,
    },
  })
  t.equal(ref.tell({ type: 'put', n: 1, bytes: 'x'.repeat(3_000) }), false)
  t.match(await cluster.outcome(ref.ask({ type: 'make', bytes: 3_000 })), {
    error: {
      code: 'RUNTIME_INVALID_MESSAGE',
      message: /The reply to "make" cannot be sent: .*raise frameBytesMax/,
    },
  })
  t.equal(await cluster.result(ref.ask({ type: 'make', bytes: 1_000 })), 'x'.repeat(1_000))
  t.same(a.status().refused, {})
})

// ---- Versions that differ

const older = protocol('versioned', { get: ask(Type.Any()), both: ask(Type.Null()) })
const newer = protocol('versioned', {
  get: ask(Type.Integer()),
  both: ask(Type.Null()),
  extra: ask(Type.Null()),
})

void test('RemoteRef: a reply that breaks the schema of the asker is InvalidMessage, with the field', async (t) => {
  await using cluster = virtualCluster()
  const [a, b] = await pair(cluster)
  b.system.spawn(
    'v',
    actor(older, () => ({ get: () => 'text', both: () => null })),
  )
  const ref = a.ref(newer, 'b', '/user/v')
  t.same(await cluster.result(ref.ask({ type: 'both' })), null)
  const outcome = await cluster.outcome(ref.ask({ type: 'get' }))
  t.match(outcome, { error: { code: 'RUNTIME_INVALID_MESSAGE', name: 'InvalidMessage' } })
  t.match(await cluster.outcome(ref.ask({ type: 'extra' })), {
    error: {
      code: 'RUNTIME_UNKNOWN_MESSAGE',
      message: /Node "b" does not know message "extra" of protocol "versioned"/,
    },
  })
})

void test('RemoteRef: without checks on arrival (production) a message of another protocol still does not get in', async (t) => {
  await using cluster = virtualCluster({ isolation: 'reference' })
  const [a, b] = await pair(cluster)
  const Other = protocol('other', {
    ask: ask({ step: Type.Integer() }, Type.Any()),
    strict: ask({ n: Type.Integer() }, Type.Any()),
  })
  const handled: unknown[] = []
  // So that b knows the protocol, and it is the actor that does not take it.
  b.system.spawn('p', puppet({}))
  b.system.spawn(
    'other',
    actor(Other, () => ({
      ask: ({ step }) => void handled.push(step),
      strict: ({ n }) => n,
    })),
  )
  t.match(await cluster.outcome(a.ref(Puppet, 'b', '/user/other').ask({ type: 'ask', step: 'text' })), {
    error: { code: 'RUNTIME_UNKNOWN_MESSAGE' },
  })
  t.equal(a.ref(Puppet, 'b', '/user/other').tell({ type: 'do', step: 'text' }), true)
  t.match(await cluster.outcome(a.ref(Other, 'b', '/user/other').ask({ type: 'strict', n: 'x' as never })), {
    error: { code: 'RUNTIME_INVALID_MESSAGE', details: { field: 'n' } },
  })
  t.same(await cluster.outcome(a.ref(Other, 'b', '/user/other').ask({ type: 'strict', n: 1 })), { value: 1 })
  t.same(handled, [])
})

void test('RemoteRef: a path longer than a frame carries is nobody', async (t) => {
  await using cluster = virtualCluster()
  const [a] = await pair(cluster)
  const ref = a.ref(Puppet, 'b', `/user/${'p'.repeat(3_000)}`)
  const lines = notices(a, ref)
  await cluster.advance(1)
  t.same(lines, ['not-found'])
  t.match(await cluster.outcome(ref.ask({ type: 'ask', step: 'x' })), {
    error: { code: 'RUNTIME_INVALID_MESSAGE' },
  })
})

void test('RemoteRef: a member that is only written to is not suspected', async (t) => {
  await using cluster = virtualCluster()
  const [a, b] = await pair(cluster)
  const chat: PuppetRef = b.ref(Puppet, 'a', '/user/p')
  a.system.spawn('p', puppet({ x: () => undefined }))
  const events: string[] = []
  a.events.on('member-suspected', () => void events.push('suspected'))
  b.events.on('member-suspected', () => void events.push('suspected'))
  for (let n = 0; n < 60; n++) {
    chat.tell({ type: 'do', step: 'x' })
    await cluster.advance(500)
  }
  t.same(events, [])
})
