/** Founding on hosts: real messages, real stores, restarts. */
import type { ClusterNode } from '@understudy/cluster'
import { memoryStore, StoreError, type Store } from '@understudy/runtime'
import { test } from 'tap'
import { sourceModule } from '../../support/source-module.ts'
import { virtualCluster, type VirtualCluster } from '../../support/virtual-cluster.ts'
import { openConsensus, startNodes, type Consensus } from './host-under-test.ts'

const { openFounding } = await sourceModule<
  typeof import('../../../packages/protocols/src/host/founding.ts')
>('protocols', 'host/founding')

type FoundingOutcome = import('../../../packages/protocols/src/host/founding-core.ts').FoundingOutcome

interface Found {
  readonly outcomes: FoundingOutcome[]
  readonly refused: Error[]
}

/** Opens a group that does nothing but be founded. */
async function found(
  cluster: VirtualCluster,
  consensus: Consensus,
  members: readonly string[],
  name = 'g',
): Promise<Found> {
  const result: Found = { outcomes: [], refused: [] }
  await cluster.result(
    consensus.openGroup(name, async (port) => {
      const founding = await openFounding({
        port,
        members,
        known: () => ({ members: result.outcomes.at(-1)?.members ?? [], leader: 'a' }),
        onOutcome: (outcome) => result.outcomes.push(outcome),
        onRefused: (error) => result.refused.push(error),
      })
      return {
        receive: (from, store, payload) => {
          if (!founding.receive(from, store, payload)) throw new Error('not of founding')
        },
        tick: founding.tick.bind(founding),
        nextDeadlineMs: founding.nextDeadlineMs.bind(founding),
        unreachable: () => undefined,
        watched: () => undefined,
        close: () => undefined,
      }
    }),
  )
  return result
}

async function hostsOf(
  cluster: VirtualCluster,
  nodes: readonly ClusterNode[],
  directory = 'disk',
): Promise<readonly Consensus[]> {
  const hosts: Consensus[] = []
  for (const node of nodes) {
    hosts.push(await cluster.result(openConsensus(node, { store: `${directory}-${node.name}` })))
  }
  return hosts
}

const idsOf = (hosts: readonly Consensus[]): readonly string[] =>
  hosts.map(({ node, storeId }) => `${node.name}@${storeId}`)

void test('a group is founded once all its members are there, with their stores, and found again after a restart', async (t) => {
  await using cluster = virtualCluster()
  const names = ['a', 'b', 'c']
  const nodes = await startNodes(cluster, names)
  const hosts = await hostsOf(cluster, nodes)
  const founded: Found[] = []
  for (const host of hosts.slice(0, 2)) founded.push(await found(cluster, host, ['c', 'b', 'a']))
  await cluster.advance(60_000)
  t.same(
    founded.flatMap(({ outcomes }) => outcomes),
    [],
  )
  founded.push(await found(cluster, hosts[2] as Consensus, names))
  await cluster.advance(1_000)
  const members = idsOf(hosts)
  t.same(
    founded.map(({ outcomes }) => outcomes),
    names.map(() => [{ kind: 'founded', members }]),
  )
  await cluster.result((hosts[1] as Consensus).close())
  const again = await cluster.result(openConsensus(nodes[1] as ClusterNode, { store: 'disk-b' }))
  const { outcomes } = await found(cluster, again, names)
  await cluster.advance(10)
  t.same(outcomes, [{ kind: 'founded', members }])
})

void test('a node that has lost its disk joins, and hears who takes part and who leads', async (t) => {
  await using cluster = virtualCluster()
  const names = ['a', 'b', 'c']
  const nodes = await startNodes(cluster, names)
  const hosts = await hostsOf(cluster, nodes)
  for (const host of hosts) await found(cluster, host, names)
  await cluster.advance(1_000)
  const members = idsOf(hosts)
  await cluster.result((hosts[0] as Consensus).close())
  const again = await cluster.result(openConsensus(nodes[0] as ClusterNode, { store: 'another-a' }))
  const { outcomes } = await found(cluster, again, names)
  await cluster.advance(1_000)
  t.same(outcomes, [{ kind: 'joining', members, known: { members, leader: 'a' } }])
})

void test('names that contradict each other are refused on both nodes, with both lists', async (t) => {
  await using cluster = virtualCluster()
  const hosts = await hostsOf(cluster, await startNodes(cluster, ['a', 'b', 'c']))
  const one = await found(cluster, hosts[0] as Consensus, ['a', 'b'])
  const two = await found(cluster, hosts[1] as Consensus, ['b', 'c'])
  await cluster.advance(5_000)
  for (const { outcomes, refused } of [one, two]) {
    t.same(outcomes, [])
    t.match(refused, [{ code: 'PROTOCOLS_FOUNDING_REFUSED', message: /Give all nodes the same members/ }])
    t.equal(refused.length, 1)
  }
  t.match(two.refused[0], { details: { group: 'g', node: 'a', members: ['b', 'c'], others: ['a', 'b'] } })
  // The same, for a group that is there.
  for (const host of hosts.slice(1)) await found(cluster, host, ['b', 'c'], 'h')
  await cluster.advance(1_000)
  const stranger = await found(cluster, hosts[0] as Consensus, ['a', 'b', 'c'], 'h')
  await cluster.advance(1_000)
  t.match(stranger.refused, [{ message: /b, c founded it, and that "a" is no member/ }])
  for (const bad of [[], ['a', 'a'], ['no node']]) {
    t.match(await cluster.outcome(found(cluster, hosts[2] as Consensus, bad, 'other')), {
      error: { message: /"members" must be names of nodes/ },
    })
  }
})

void test('payloads of founding that are none are dropped', async (t) => {
  await using cluster = virtualCluster()
  const nodes = await startNodes(cluster, ['a', 'b'])
  const hosts = await hostsOf(cluster, nodes)
  const { outcomes } = await found(cluster, hosts[0] as Consensus, ['a', 'b'])
  await cluster.result(
    (hosts[1] as Consensus).openGroup('g', async (port) => {
      for (const rest of [
        [],
        ['ask'],
        ['empty', '1', 2],
        ['have', 1, ['x'], [], null],
        ['differs', 1, 'x'],
        ['new', 1],
      ]) {
        port.send('a', ['founding', ...rest], 'control')
      }
      return {
        receive: () => undefined,
        tick: () => undefined,
        nextDeadlineMs: () => undefined,
        unreachable: () => undefined,
        watched: () => undefined,
        close: () => undefined,
      }
    }),
  )
  await cluster.advance(1_000)
  t.same(outcomes, [])
  t.equal(hosts[0]?.status().restarts, 0)
  t.ok((hosts[0]?.status().messagesReceived ?? 0) >= 6)
})

void test('one damaged copy of the record does not cost the member; two do', async (t) => {
  await using cluster = virtualCluster()
  const [a] = await startNodes(cluster, ['a'])
  if (a === undefined) return
  const disk = memoryStore()
  const damaged = new Set<string>()
  const damageable = (inner: Store): Store => ({
    ...inner,
    get: async (key) => {
      if (damaged.has(key)) throw new StoreError('RUNTIME_STORE_CORRUPT', `"${key}" is damaged`)
      return inner.get(key)
    },
    scope: (prefix) => damageable(inner.scope(prefix)),
  })
  const open = async (): Promise<Store> => ({ ...damageable(disk), close: () => Promise.resolve() })
  const members: (readonly string[] | undefined)[] = []
  for (const key of ['', 'founding/record']) {
    damaged.add(key)
    const consensus = await cluster.result(openConsensus(a, { store: open }))
    const { outcomes } = await found(cluster, consensus, ['a'])
    await cluster.advance(10)
    members.push(outcomes[0]?.members)
    await cluster.result(consensus.close())
  }
  t.same(members[1], members[0])
  damaged.add('founding/copy')
  const consensus = await cluster.result(openConsensus(a, { store: open }))
  t.match(await cluster.outcome(found(cluster, consensus, ['a'])), {
    error: { code: 'RUNTIME_STORE_CORRUPT' },
  })
})
