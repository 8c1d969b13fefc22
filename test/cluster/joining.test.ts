/** How a node finds the others and is let in: discovery, how many must have met, a secret that changes. */
import { fileDiscovery, staticDiscovery, type ClusterNode } from '@understudy/cluster'
import { test } from 'tap'
import { virtualCluster } from '../support/virtual-cluster.ts'

const names = (node: ClusterNode): string =>
  node
    .members()
    .map(({ name, status }) => `${name} ${status}`)
    .join(', ')

void test('NodeOptions.discovery: a file is read again when it changes, and its addresses are dialled', async (t) => {
  await using cluster = virtualCluster()
  const { files } = cluster.platform
  const a = await cluster.start('a')
  const problems: unknown[] = []
  const b = await cluster.start('b', { discovery: fileDiscovery({ path: 'nodes', refreshMs: 1_000 }) })
  b.events.on('discovery-problem', (event) => void problems.push(event))
  await cluster.until(() => names(b) === 'b alive')
  files.write('nodes', `${cluster.addressOf('a')}\n`)
  await cluster.result(Promise.all([a.whenMembers(2), b.whenMembers(2)]))
  t.equal(names(a), 'a alive, b alive')
  files.break('nodes')
  await cluster.until(() => problems.length > 0)
  t.match(problems[0], { source: 'file nodes', code: 'CLUSTER_DISCOVERY_FAILED', message: /nodes/ })
  t.ok(
    cluster.logOf('b').some(({ level, fields }) => level === 'warn' && fields['source'] === 'file nodes'),
    'and logged',
  )
  await cluster.advance(60_000)
  t.equal(problems.length, 1, 'once')
  t.equal(names(b), 'a alive, b alive', 'what was known stays in use')
})

void test('NodeOptions.discovery: several sources and seeds together; a source that does not answer is waited for no longer than the seeds are', async (t) => {
  await using cluster = virtualCluster()
  const a = await cluster.start('a')
  const c = await cluster.start('c', { seeds: ['a'] })
  const mute = { name: 'mute', start: () => ({ [Symbol.dispose]: () => undefined }) }
  const b = await cluster.start('b', {
    discovery: [staticDiscovery([cluster.addressOf('a'), cluster.addressOf('b')]), mute],
  })
  await cluster.result(Promise.all([a, b, c].map((node) => node.whenMembers(3))))
  t.same(b.status().refused, {}, 'its own address among them is no harm')
  const lone = await cluster.start('d', { discovery: mute })
  const fromMs = cluster.platform.clock.monotonicMs()
  await cluster.result(lone.whenMembers(1))
  t.ok(cluster.platform.clock.monotonicMs() - fromMs <= 5_000)
})

void test('NodeOptions.discovery: nothing of it is left after a shutdown', async (t) => {
  await using cluster = virtualCluster()
  cluster.platform.files.write('nodes', cluster.addressOf('z'))
  const a = await cluster.start('a', { discovery: fileDiscovery({ path: 'nodes' }) })
  await cluster.advance(5_000)
  t.equal(cluster.platform.files.watches, 1)
  await cluster.result(a.shutdown())
  t.equal(cluster.platform.files.watches, 0)
  t.equal(cluster.platform.pendingTimers(), 0)
})

void test('NodeOptions.expect: nobody owns places before so many have met, and then all do', async (t) => {
  await using cluster = virtualCluster({ expect: 3, weight: 1 })
  const seeds = ['a', 'b', 'c']
  const a = await cluster.start('a', { seeds })
  const b = await cluster.start('b', { seeds })
  await cluster.advance(60_000)
  t.equal(names(a), 'a joining, b joining')
  t.equal(a.shares().size, 0)
  t.match(a.status().membership.bootstrap, {
    phase: 'waiting',
    summary: /waiting for 1 more of 3 expected members \(met: a, b\)/,
  })
  const c = await cluster.start('c', { seeds })
  await cluster.result(Promise.all([a, b, c].map((node) => node.whenMembers(3))))
  const founded = ['a', 'b', 'c'].flatMap((name) =>
    cluster.logOf(name).filter(({ fields }) => fields['how'] === 'founded'),
  )
  t.ok(founded.length > 0)
  for (const { fields } of founded) t.same(fields['others'], ['a', 'b', 'c'])
  for (const node of [a, b, c]) t.equal(names(node), 'a alive, b alive, c alive')
  // Once there is a cluster it matters no more: who comes later joins it, alone.
  const d = await cluster.start('d', { seeds })
  await cluster.result(d.whenMembers(4))
})

void test('ClusterNode.useSecret: exchanged in three steps while the cluster runs', async (t) => {
  await using cluster = virtualCluster()
  const old = 'the old secret of all'
  const fresh = 'the new secret of all'
  const seeds = ['a', 'b']
  const a = await cluster.start('a', { seeds, secret: old })
  const b = await cluster.start('b', { seeds, secret: old })
  const nodes = [a, b]
  await cluster.result(Promise.all(nodes.map((node) => node.whenMembers(2))))
  const lost: string[] = []
  for (const node of nodes) node.events.on('member-down', ({ name }) => void lost.push(name))
  const ends = (): number => cluster.ends('a').length
  const before = ends()
  const join = async (name: string, secret: string): Promise<boolean> => {
    const node = await cluster.start(name, { seeds, secret })
    await cluster.advance(5_000)
    const isIn = node.members().length > 1
    await cluster.result(node.shutdown())
    await cluster.advance(1_000)
    return isIn
  }
  t.equal(await join('c', old), true)
  t.equal(await join('d', fresh), false, 'before the first step')
  for (const step of [{ use: old, accept: [fresh] }, { use: fresh, accept: [old] }, fresh]) {
    for (const node of nodes) {
      node.useSecret(step)
      // Between two nodes that are one step apart links can be made.
      cluster.cut(a)
      await cluster.until(() => a.members().every(({ status }) => status === 'alive'))
      await cluster.advance(2_000)
      t.equal(names(a), 'a alive, b alive')
      t.equal(names(b), 'a alive, b alive')
    }
  }
  t.ok(ends() > before, 'links were made anew in each step')
  t.equal(await join('e', fresh), true)
  t.equal(await join('f', old), false, 'the old one is worth nothing any more')
  t.same(lost, [], 'no member was given up over it')
  t.throws(() => a.useSecret('short'), { message: /at least 16 characters/ })
  t.equal(await join('g', fresh), true, 'a bad one changes nothing')
})

void test('ClusterNode.useSecret: links that stand are not touched', async (t) => {
  await using cluster = virtualCluster({ secret: 'the old secret of all' })
  const a = await cluster.start('a')
  const b = await cluster.start('b', { seeds: ['a'] })
  await cluster.result(Promise.all([a.whenMembers(2), b.whenMembers(2)]))
  const ends = cluster.ends('a').length
  a.useSecret('the new secret of all')
  await cluster.advance(30_000)
  t.equal(cluster.ends('a').length, ends)
  t.equal(names(b), 'a alive, b alive')
})
