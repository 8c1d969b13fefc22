/** What runs on a node can ask of it: where its state is kept, and which links broke. */
import { test } from 'tap'
import { virtualCluster } from '../support/virtual-cluster.ts'

void test('ClusterNode.data: as its options say, memory by default', async (t) => {
  await using cluster = virtualCluster()
  t.equal((await cluster.start('a')).data, 'memory')
  t.equal((await cluster.start('b', { data: 'disk-b' })).data, 'disk-b')
})

void test('link-lost: told once when a link to a member breaks, before anybody suspects it', async (t) => {
  await using cluster = virtualCluster()
  const a = await cluster.start('a')
  const b = await cluster.start('b', { seeds: ['a'] })
  await cluster.result(Promise.all([a.whenMembers(2), b.whenMembers(2)]))
  const lines: string[] = []
  a.events.on('link-lost', ({ name }) => lines.push(`lost ${name}`))
  a.events.on('member-suspected', ({ name }) => lines.push(`suspected ${name}`))
  cluster.crash(b)
  await cluster.advance(0)
  t.equal(lines[0], 'lost b')
  await cluster.advance(30_000)
  t.equal(lines.filter((line) => line === 'lost b').length, 1)
})
