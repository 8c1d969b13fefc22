/** The bully and the ring algorithm on nodes of a cluster. */
import type { ClusterNode } from '@understudy/cluster'
import { test } from 'tap'
import { sourceModule } from '../../support/source-module.ts'
import { virtualCluster } from '../../support/virtual-cluster.ts'

const { startTeachingElection, TeachingElection } = await sourceModule<
  typeof import('../../../packages/protocols/src/election/teaching-election.ts')
>('protocols', 'election/teaching-election')
type Member = import('../../../packages/protocols/src/election/teaching-election.ts').TeachingElectionMember

const names = ['a', 'b', 'c']

for (const algorithm of ['bully', 'ring'] as const) {
  void test(`${algorithm} on three nodes: the highest leads; it dies, and the next one does; it comes back`, async (t) => {
    await using cluster = virtualCluster()
    const nodes = new Map<string, ClusterNode>()
    const members = new Map<string, Member>()
    const told: string[] = []
    const take = (name: string): void => {
      const onLeader = (leader: string | undefined): void => void told.push(`${name}: ${leader ?? 'nobody'}`)
      const node = nodes.get(name) as ClusterNode
      members.set(name, startTeachingElection(node, { algorithm, members: names, onLeader }))
    }
    const agree = (leader: string, who: readonly string[]): Promise<void> =>
      cluster.until(() => who.every((name) => members.get(name)?.leader() === leader))
    for (const name of names)
      nodes.set(name, await cluster.start(name, { seeds: name === 'a' ? ['b'] : ['a'] }))
    await cluster.result(Promise.all([...nodes.values()].map((node) => node.whenMembers(3))))
    for (const name of names) take(name)
    await agree('c', names)
    t.equal(told.at(-1)?.endsWith('c'), true)
    const ref = (nodes.get('a') as ClusterNode).ref(TeachingElection, 'b', '/user/election')
    t.equal(await cluster.result(ref.ask({ type: 'leader' })), 'c')
    t.throws(() => take('a'), { code: 'RUNTIME_DUPLICATE_NAME' })

    cluster.crash(nodes.get('c') as ClusterNode)
    await agree('b', ['a', 'b'])
    nodes.set('c', await cluster.start('c', { seeds: ['a'] }))
    take('c')
    await agree('c', names)

    await cluster.result(members.get('b')?.close() ?? Promise.resolve())
    t.equal(members.get('b')?.leader(), undefined)
    await agree('c', ['a', 'c'])
    t.throws(
      () =>
        startTeachingElection(nodes.get('a') as ClusterNode, { algorithm, name: 'other', members: ['b'] }),
      RangeError,
    )
  })
}
