/** Whether a node still counts: what it does when it does not know, when it has been given up, and who it is then. */
import type { ClusterNode } from '@understudy/cluster'
import { actor, ask, protocol, tell, type ActorContext, type ActorRef } from '@understudy/runtime'
import { spawnSystemActor, type InternalSystem } from '@understudy/runtime/internal'
import { test } from 'tap'
import Type from 'typebox'
import { sourceModule } from '../support/source-module.ts'
import { puppet } from '../support/runtime.ts'
import { virtualCluster, type StartOptions, type VirtualCluster } from '../support/virtual-cluster.ts'

const { isConfirmed } = await sourceModule<typeof import('../../packages/cluster/src/node/standing.ts')>(
  'cluster',
  'node/standing',
)

const Mark = protocol('mark', { set: tell({ n: Type.Integer() }) })
const three = ['a', 'b', 'c'] as const

async function startThree(
  cluster: VirtualCluster,
  options: StartOptions = {},
): Promise<[ClusterNode, ClusterNode, ClusterNode]> {
  const nodes = []
  for (const name of three) nodes.push(await cluster.start(name, { seeds: three, ...options }))
  await cluster.result(Promise.all(nodes.map((node) => node.whenMembers(3))))
  return nodes as [ClusterNode, ClusterNode, ClusterNode]
}

const names = (node: ClusterNode): string =>
  node
    .members()
    .map(({ name, status }) => `${name} ${status}`)
    .join(', ')

/** What a node says of itself, in order. */
function ownFacts(node: ClusterNode): readonly string[] {
  const lines: string[] = []
  node.events.on('self-held', () => void lines.push('held'))
  node.events.on('self-released', () => void lines.push('released'))
  node.events.on('self-removed', ({ by }) => void lines.push(`removed by ${by}`))
  node.events.on('self-up', ({ how }) => void lines.push(how))
  return lines
}

/** An actor that writes down what it handles, and in which life of its node. */
function marker(node: ClusterNode, seen: string[]): ActorRef<typeof Mark.messages> {
  const mark = actor(Mark, () => ({ set: ({ n }) => void seen.push(`${n} in ${node.incarnation}`) }))
  return node.system.spawn('mark', mark)
}

void test('a node that stood still holds its user actors until a majority says that it still counts', async (t) => {
  await using cluster = virtualCluster({ membership: 'lan' })
  const [a, , c] = await startThree(cluster)
  const seen: string[] = []
  const ref = marker(c, seen)
  const facts = ownFacts(c)
  const before = c.incarnation
  const thaw = cluster.freeze(c)
  await cluster.advance(2_500)
  // In the same turn in which it wakes, before any timer of its own and any word of the others.
  ref.tell({ type: 'set', n: 1 })
  await cluster.platform.settle()
  t.same(seen, [], 'it does not act')
  thaw()
  await cluster.until(() => seen.length > 0)
  t.same(facts, ['held', 'released'])
  t.same(seen, [`1 in ${before}`], 'and then it does what came meanwhile')
  // Again at once: the guard stands as soon as the actors go on.
  const thawAgain = cluster.freeze(c)
  await cluster.advance(2_500)
  ref.tell({ type: 'set', n: 2 })
  await cluster.platform.settle()
  t.equal(seen.length, 1)
  thawAgain()
  await cluster.until(() => seen.length > 1)
  await cluster.advance(10_000)
  t.same(facts, ['held', 'released', 'held', 'released'])
  t.equal(c.incarnation, before)
  t.equal(names(a), 'a alive, b alive, c alive')
})

void test('a short stall holds nobody', async (t) => {
  await using cluster = virtualCluster({ membership: 'lan' })
  const [, , c] = await startThree(cluster)
  const facts = ownFacts(c)
  const thaw = cluster.freeze(c)
  await cluster.advance(300)
  thaw()
  await cluster.advance(10_000)
  t.same(facts, [])
})

void test('a node that slept through its removal does nothing more in that life', async (t) => {
  await using cluster = virtualCluster()
  const [a, b, c] = await startThree(cluster)
  const seen: string[] = []
  const ref = marker(c, seen)
  const facts = ownFacts(c)
  const removed: unknown[] = []
  c.events.on('self-removed', (event) => void removed.push(event))
  const before = c.incarnation
  const thaw = cluster.freeze(c)
  await cluster.until(() => a.members().length === 2 && b.members().length === 2)
  ref.tell({ type: 'set', n: 1 })
  await cluster.platform.settle()
  t.same(seen, [])
  thaw()
  await cluster.result(Promise.all([a, b, c].map((node) => node.whenMembers(3))))
  await cluster.advance(5_000)
  t.same(seen, [], 'not in the next one either: the actor has ended')
  t.ok(c.incarnation > before)
  t.equal(facts[0], 'held')
  t.equal(facts.filter((line) => line === 'held').length, 1)
  t.ok(facts.includes('joined') && facts.includes('released'))
  t.match(removed, [{ by: /^./, reason: /^./, incarnation: before }])
  t.equal(removed.length, 1)
  t.equal(names(c), 'a alive, b alive, c alive')
  const later: string[] = []
  marker(c, later).tell({ type: 'set', n: 2 })
  await cluster.advance(10)
  t.same(later, [`2 in ${c.incarnation}`], 'and it works')
})

void test('a node that begins another life ends the watches of its own actors with the last one', async (t) => {
  await using cluster = virtualCluster()
  const [a, b, c] = await startThree(cluster)
  const watched = marker(a, [])
  const ended: string[] = []
  let act: (task: (ctx: ActorContext<typeof Mark.messages, typeof own>) => void) => void = () => undefined
  const own = { ended: tell({ reason: Type.String() }) }
  const guard = actor(Mark, { own }, (ctx) => {
    act = (task) => task(ctx)
    return { set: () => undefined, ended: ({ reason }) => void ended.push(reason) }
  })
  // An actor of the node itself: it goes on when the user's actors end.
  spawnSystemActor(c.system as InternalSystem, 'guard', guard)
  await cluster.platform.settle()
  const ref = c.ref(Mark, 'a', watched.path)
  act((ctx) => void ctx.watch(ref, (reason) => ({ type: 'ended', reason })))
  await cluster.until(() => a.status().watches.watched === 1)
  const before = c.incarnation
  const thaw = cluster.freeze(c)
  await cluster.until(() => a.members().length === 2 && b.members().length === 2)
  t.equal(a.status().watches.watched, 0)
  thaw()
  await cluster.result(Promise.all([a, b, c].map((node) => node.whenMembers(3))))
  t.ok(c.incarnation > before)
  t.same(ended, ['node-down'], 'although who was watched lives: nobody here has seen it all the time')
  t.same(
    [c.status().watches.watching, a.status().watches.watched],
    [0, 0],
    'nor is it announced to the next link',
  )
  await cluster.advance(5_000)
  await cluster.result(a.system.stop(watched))
  await cluster.advance(1_000)
  t.same(ended, ['node-down'], 'exactly one notice')
  const again = marker(a, [])
  act((ctx) => void ctx.watch(c.ref(Mark, 'a', again.path), (reason) => ({ type: 'ended', reason })))
  await cluster.until(() => a.status().watches.watched === 1)
  t.equal(c.status().watches.watching, 1, 'and the next life watches anew')
})

void test('isConfirmed: by a majority of those that counted when it woke, or by all when none is missing', (t) => {
  const judge = (electors: string, now: string, sure: string, said = '', missed = ''): boolean =>
    isConfirmed({
      electors: new Set(electors),
      now: now.split(''),
      missed: missed.split(''),
      sure: new Set(sure),
      said: new Set(sure + said),
    })
  t.equal(judge('abcd', 'abcd', 'ab'), true, 'three of five')
  t.equal(judge('abcd', 'abcd', 'a'), false)
  t.equal(judge('abcd', 'abcd', 'a', 'bc'), false, 'who is held too may have slept through the same')
  t.equal(judge('abcd', 'abcd', 'a', 'bcd'), true, 'nobody is missing')
  t.equal(judge('abcd', 'abcd', '', 'abcd'), true, 'all slept')
  t.equal(judge('abcd', 'ab', 'a'), true, 'of those that have left or were given up nobody asks')
  t.equal(judge('abcd', '', ''), true)
  t.equal(judge('abcd', 'abcdxyz', 'xyza'), false, 'who came later confirms nothing')
  t.equal(judge('abcd', 'abcdxyz', 'ab'), false, 'but is asked')
  t.equal(judge('abcd', 'abxy', 'xy', '', 'cd'), false)
  t.equal(judge('abcd', 'abxy', 'abxy', '', 'cd'), true)
  t.equal(
    judge('abcd', 'axyz', 'axyz', '', 'bcd'),
    false,
    'nor do all of them together, when many are missed',
  )
  t.end()
})

void test('who was replaced while a node asks whether it still counts is lost to it, however short it stood still', async (t) => {
  await using cluster = virtualCluster({ membership: 'lan' })
  const [a, b, c] = await startThree(cluster)
  const ref = marker(a, [])
  const facts = ownFacts(a)
  // Some while behind what its membership has last said of it.
  await cluster.advance(600)
  const thaw = cluster.freeze(a)
  // Its actors' time is over, and no tick is late enough for the membership to hold them by itself.
  await cluster.advance(1_900)
  cluster.network.hold('b')
  cluster.crash(c)
  ref.tell({ type: 'set', n: 1 })
  await cluster.platform.settle()
  t.same(facts, ['held'])
  thaw()
  const again = await cluster.start('c', { seeds: three })
  await cluster.until(() => facts.length > 1, 120_000)
  t.same(facts.slice(0, 2), ['held', 'removed by downing'], 'b and the old c may have given it up')
  t.notOk(cluster.logOf('a').some(({ message }) => /it stood still for \d/.test(message)))
  cluster.network.release('b')
  await cluster.result(Promise.all([a, b, again].map((node) => node.whenMembers(3))))
  t.equal(names(b), 'a alive, b alive, c alive')
})

void test('nodes that slept together go on together', async (t) => {
  await using cluster = virtualCluster({ membership: 'lan' })
  const nodes = await startThree(cluster)
  const facts = nodes.map(ownFacts)
  const before = nodes.map(({ incarnation }) => incarnation)
  const thaws = nodes.map((node) => cluster.freeze(node))
  await cluster.advance(70_000)
  for (const thaw of thaws) thaw()
  await cluster.advance(10_000)
  for (const lines of facts) t.same(lines, ['held', 'released'])
  t.same(
    nodes.map(({ incarnation }) => incarnation),
    before,
  )
})

void test('of nodes that slept together one has died: the others go on when it is down', async (t) => {
  await using cluster = virtualCluster({ membership: 'lan' })
  const [a, b, c] = await startThree(cluster)
  const facts = [a, b].map(ownFacts)
  const thaws = [a, b].map((node) => cluster.freeze(node))
  cluster.crash(c)
  await cluster.advance(70_000)
  for (const thaw of thaws) thaw()
  await cluster.advance(5_000)
  t.same(facts, [['held'], ['held']], 'as far as they know c has given them up')
  await cluster.until(() => facts.every((lines) => lines.includes('released')), 60_000)
  t.equal(names(a), 'a alive, b alive')
  t.same(facts, [
    ['held', 'released'],
    ['held', 'released'],
  ])
})

void test('two that slept do not confirm each other: a third may have given both up', async (t) => {
  await using cluster = virtualCluster({ membership: 'lan', downing: { strategy: 'lease' } })
  const nodes: ClusterNode[] = []
  for (const name of three) {
    const downingLease = { acquire: async () => name === 'a', release: async () => undefined }
    nodes.push(await cluster.start(name, { seeds: three, expect: 3, downingLease }))
  }
  await cluster.result(Promise.all(nodes.map((node) => node.whenMembers(3))))
  const [a, b, c] = nodes as [ClusterNode, ClusterNode, ClusterNode]
  const seen: string[] = []
  const refs = [marker(b, seen), marker(c, seen)]
  const thaws = [b, c].map((node) => cluster.freeze(node))
  await cluster.until(() => a.members().length === 1, 120_000)
  cluster.network.hold('a')
  const facts = [b, c].map(ownFacts)
  for (const thaw of thaws) thaw()
  for (const ref of refs) ref.tell({ type: 'set', n: 1 })
  await cluster.advance(120_000)
  t.same(seen, [])
  t.same(facts, [
    ['held', 'removed by downing'],
    ['held', 'removed by downing'],
  ])
  cluster.network.release('a')
  await cluster.result(Promise.all(nodes.map((node) => node.whenMembers(3))))
})

void test('onRemoved "exit": the node ends in order and exits with code 1, without waiting for those who gave it up', async (t) => {
  const Tally = protocol('tally', { count: ask(Type.Integer()) })
  const tally = actor(Tally, () => ({ count: () => 1 }))
  for (const how of ['slept', 'cut off'] as const) {
    await using cluster = virtualCluster()
    const options = { entities: [tally], onRemoved: 'exit', shutdownMs: 30_000 } as const
    const [a, b, c] = await startThree(cluster, options)
    c.system.spawn('p', puppet({}))
    for (let n = 0; n < 20; n++) await cluster.result(c.entity(Tally, `k${n}`).ask({ type: 'count' }))
    const facts = ownFacts(c)
    const before = c.incarnation
    let goOn: (() => void) | undefined
    if (how === 'slept') goOn = cluster.freeze(c)
    else cluster.network.hold('c')
    await cluster.until(() => a.members().length === 2 && b.members().length === 2)
    for (let n = 0; n < 20; n++) void cluster.outcome(c.entity(Tally, `k${n}`).ask({ type: 'count' }))
    goOn?.()
    await cluster.until(() => facts.some((line) => line.startsWith('removed')))
    const fromMs = cluster.platform.clock.monotonicMs()
    await cluster.until(() => cluster.platform.exits.length > 0)
    t.same(cluster.platform.exits, [1], how)
    t.equal(c.incarnation, before, 'no other life')
    t.ok(cluster.platform.clock.monotonicMs() - fromMs < 1_000, `at once, when it was ${how}`)
    t.match(await cluster.result(c.shutdown()), { clean: true, hung: [], failed: [] })
    cluster.network.release('c')
    t.equal(names(a), 'a alive, b alive')
  }
})

void test('a node that is shut down while it is held ends in time, though nobody confirms anything', async (t) => {
  await using cluster = virtualCluster({ membership: 'lan' })
  const Tally = protocol('tally', { count: ask(Type.Integer()) })
  const tally = actor(Tally, () => ({ count: () => 1 }))
  const [, , c] = await startThree(cluster, { entities: [tally], shutdownMs: 30_000, drainMs: 5_000 })
  c.system.spawn('p', puppet({}))
  for (let n = 0; n < 20; n++) await cluster.result(c.entity(Tally, `k${n}`).ask({ type: 'count' }))
  const facts = ownFacts(c)
  const thaw = cluster.freeze(c)
  await cluster.advance(2_500)
  cluster.network.hold('a')
  cluster.network.hold('b')
  thaw()
  await cluster.until(() => facts.includes('held'))
  // Nobody may act, so these stay where they are.
  for (let n = 0; n < 20; n++) void cluster.outcome(c.entity(Tally, `k${n}`).ask({ type: 'count' }))
  const fromMs = cluster.platform.clock.monotonicMs()
  const report = await cluster.result(c.shutdown())
  t.same(report.hung, [])
  t.same(report.failed, [])
  const tookMs = cluster.platform.clock.monotonicMs() - fromMs
  t.ok(tookMs <= 6_000, `all that is handed over together has drainMs; it took ${tookMs}`)
  cluster.network.release('a')
  cluster.network.release('b')
})

void test('a node that was given up and cannot store the number of its next life ends, rather than live on as nobody', async (t) => {
  await using cluster = virtualCluster()
  const a = await cluster.start('a', { seeds: three })
  const b = await cluster.start('b', { seeds: three })
  const c = await cluster.start('c', { seeds: three, data: 'disk-c' })
  await cluster.result(Promise.all([a, b, c].map((node) => node.whenMembers(3))))
  const before = c.incarnation
  cluster.breakDisk('disk-c')
  cluster.network.hold('c')
  await cluster.until(() => a.members().length === 2 && b.members().length === 2)
  await cluster.until(() => cluster.platform.exits.length > 0)
  t.same(cluster.platform.exits, [1])
  t.match(await cluster.result(c.shutdown()), { clean: true, hung: [], failed: [] })
  t.ok(c.incarnation > before)
  t.ok(cluster.logOf('c').some(({ message }) => message.includes('could not be stored')))
  cluster.network.release('c')
})

void test('two nodes of one name that meet when their clusters do: both are told, and so is who let them meet', async (t) => {
  await using cluster = virtualCluster()
  const a = await cluster.start('a')
  const b = await cluster.start('b')
  const first = await cluster.start('c', { seeds: ['a'] })
  const second = await cluster.start('c', { seeds: ['b'], listen: cluster.addressOf('elsewhere') })
  await cluster.result(Promise.all([a, b, first, second].map((node) => node.whenMembers(2))))
  const told: string[] = []
  for (const [who, node] of Object.entries({ a, b, first, second })) {
    node.events.on('name-conflict', ({ name, addresses }) => {
      told.push(`${who} ${name} ${[...addresses].sort().join(' ')}`)
    })
  }
  const d = await cluster.start('d', { seeds: ['a', 'b'] })
  await cluster.result(d.whenMembers(3))
  await cluster.until(() => ['first', 'second'].every((who) => told.some((line) => line.startsWith(who))))
  await cluster.advance(120_000)
  const both = `c ${[cluster.addressOf('c'), cluster.addressOf('elsewhere')].sort().join(' ')}`
  t.ok(told.some((line) => line === `a ${both}` || line === `b ${both}`))
  t.ok(told.some((line) => line === `first ${both}` || line === `second ${both}`))
  t.ok(told.length <= 8, `and not again and again: ${told.join(', ')}`)
})

for (const later of ['c that a knows', 'c that x knows']) {
  void test(`M7: when clusters merge that each have a c, one of them yields, once, and nobody else is given up (later: ${later})`, async (t) => {
    await using cluster = virtualCluster()
    const a = await cluster.start('a')
    const b = await cluster.start('b', { seeds: ['a'] })
    const x = await cluster.start('x')
    const y = await cluster.start('y', { seeds: ['x'] })
    const startHere = (): Promise<ClusterNode> => cluster.start('c', { seeds: ['a'] })
    const startThere = (): Promise<ClusterNode> =>
      cluster.start('c', { seeds: ['x'], listen: cluster.addressOf('elsewhere') })
    const [startOlder, startYounger] =
      later === 'c that x knows' ? [startHere, startThere] : [startThere, startHere]
    const older = await startOlder()
    await cluster.advance(500)
    const younger = await startYounger()
    const all = [a, b, x, y, older, younger]
    await cluster.result(Promise.all(all.map((node) => node.whenMembers(3))))
    const ended: string[] = []
    for (const node of all) {
      node.events.on('member-down', ({ name, reason }) => void ended.push(`${node.name}: ${name} ${reason}`))
      node.events.on(
        'self-removed',
        ({ reason }) => void ended.push(`${node === older ? 'older' : node.name}: ${reason}`),
      )
    }
    const d = await cluster.start('d', { seeds: ['a', 'x'] })
    await cluster.advance(120_000)
    t.same(ended, ['older: name-conflict'])
    const members = [a, b, d, x, y, younger]
    for (const node of members)
      t.equal(
        node
          .members()
          .map(({ name }) => name)
          .join(''),
        'abcdxy',
        node.name,
      )
    t.same(
      older.members().map(({ name, status }) => `${name} ${status}`),
      ['c joining'],
      'and stays out',
    )
    await cluster.result(younger.shutdown())
    await cluster.result(older.whenMembers(6))
    t.equal(older.members().length, 6, 'until the name is free')
  })
}

// ---- Who it is: the number of a life

void test('NodeOptions.data: a life is above all that were stored, whatever the clock says', async (t) => {
  await using cluster = virtualCluster()
  const first = await cluster.start('a', { data: 'disk' })
  const high = first.incarnation
  await cluster.result(first.shutdown())
  const second = await cluster.start('a', { data: 'disk', wallMs: 1_000 })
  t.equal(second.incarnation, high + 1, 'the clock was set back')
  await cluster.result(second.shutdown())
  const third = await cluster.start('a', { data: 'disk', wallMs: 1_000 })
  t.equal(third.incarnation, high + 2, 'and again')
  await cluster.result(third.shutdown())
  const aheadMs = cluster.platform.clock.wallMs() + 3_600_000
  const fourth = await cluster.start('a', { data: 'disk', wallMs: aheadMs })
  t.ok(fourth.incarnation >= aheadMs * 1_024, 'the clock counts where it is ahead')
  await cluster.result(fourth.shutdown())
  const other = await cluster.start('a', { wallMs: 1_000 })
  t.ok(other.incarnation < high, 'without data there is only the clock')
})

void test('NodeOptions.data: the life that begins after a removal is stored, too', async (t) => {
  await using cluster = virtualCluster()
  const a = await cluster.start('a', { seeds: three })
  const b = await cluster.start('b', { seeds: three })
  const c = await cluster.start('c', { seeds: three, data: 'disk-c' })
  await cluster.result(Promise.all([a, b, c].map((node) => node.whenMembers(3))))
  const before = c.incarnation
  cluster.network.hold('c')
  await cluster.until(() => a.members().length === 2 && b.members().length === 2 && c.incarnation > before)
  cluster.network.release('c')
  await cluster.result(Promise.all([a, b, c].map((node) => node.whenMembers(3))))
  const second = c.incarnation
  await cluster.result(c.shutdown())
  const again = await cluster.start('c', { seeds: three, data: 'disk-c', wallMs: 1_000 })
  t.equal(again.incarnation, second + 1)
  await cluster.result(Promise.all([a, b, again].map((node) => node.whenMembers(3))))
  t.equal(again.incarnation, second + 1)
})
