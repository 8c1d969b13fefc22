/** Leader election, the fenced store and the downing lease over the services of a lock table on nodes of a cluster. */
import {
  guardStore,
  leaderElection,
  lockClient,
  lockDowningLease,
  type LockClient,
} from '@understudy/protocols'
import { memoryStore } from '@understudy/runtime'
import { test } from 'tap'
import { lockCluster, type LockCluster } from '../lock/lock-cluster.ts'

function clientOn({ node }: LockCluster, name: string): LockClient {
  return lockClient(node(name), { servers: ['a', 'b', 'c'], sessionTtlMs: 3_000, attemptMs: 500 })
}

void test("elections over services: observers on every node see every leader, over a change of the table's leader", async (t) => {
  await using locks = await lockCluster()
  const { cluster, group, get } = locks
  const clients = ['a', 'b', 'd'].map((name) => clientOn(locks, name))
  const over = new AbortController()
  const told: string[][] = []
  const ended = clients.map(async (client, at) => {
    const mine: string[] = []
    told[at] = mine
    for await (const event of leaderElection(client, { name: 'lead' }).observe({ signal: over.signal })) {
      mine.push(event.type === 'leader' ? event.reign.data : event.type)
    }
  })
  await cluster.advance(500)
  const store = memoryStore()
  const terms: number[] = []
  const raise = [guardStore(store)]
  for (const [at, client] of clients.entries()) {
    const election = leaderElection(client, { name: 'lead', data: `candidate ${at}`, raise })
    const leadership = await get(election.campaign())
    terms.push(leadership.term)
    await get(
      raise[0]?.write(leadership, [{ type: 'put', key: 'led', value: new Uint8Array([at]) }]) ??
        Promise.resolve(),
    )
    t.match(await get(election.current()), { data: `candidate ${at}` })
    if (at === 1) group.elect('c')
    await get(leadership.resign())
    t.match(await cluster.outcome(raise[0]?.write(leadership, []) ?? Promise.resolve()), {
      error: { code: 'LOCK_LOST' },
    })
  }
  await cluster.advance(15_000)
  for (const mine of told) {
    t.same(
      mine.filter((word) => word !== 'vacant'),
      ['candidate 0', 'candidate 1', 'candidate 2'],
    )
    t.equal(mine.at(-1), 'vacant')
  }
  t.same(
    terms,
    [...terms].sort((one, other) => one - other),
  )
  t.match(await cluster.outcome(guardStore(store).write(terms[1] ?? 0, [])), {
    error: { code: 'LOCK_FENCED' },
  })
  over.abort()
  await get(Promise.all(ended))
  for (const client of clients) await get(client.close())
})

void test('the downing lease over services: one side has it, and the other is refused until it is released', async (t) => {
  await using locks = await lockCluster()
  const { cluster, get } = locks
  const [one, other] = ['a', 'd'].map((name) => lockDowningLease(clientOn(locks, name), { ttlMs: 9_000 }))
  if (one === undefined || other === undefined) throw new Error('two were made')
  t.equal(await get(one.acquire('a/1')), true)
  t.equal(await get(other.acquire('a/1')), true, 'the same side')
  t.equal(await get(other.acquire('d/1')), false)
  await cluster.advance(30_000)
  t.equal(await get(other.acquire('d/1')), false, 'it is renewed')
  await get(one.release('a/1'))
  await get(other.release('a/1'))
  t.equal(await get(other.acquire('d/1')), true)
})
