/** The store on Raft: what clients see while leaders crash, links break and snapshots are taken, judged by the checkers. */
import { readFile } from 'node:fs/promises'
import type { ClusterNode } from '@understudy/cluster'
import { memoryStore, seededRandom } from '@understudy/runtime'
import {
  checkLinearizable,
  checkWatches,
  HistoryRecorder,
  kvModel,
  type KvInput,
  type KvOutput,
} from '@understudy/runtime/checkers'
import { test, type Test } from 'tap'
import { sourceModule } from '../../support/source-module.ts'
import { virtualCluster, type VirtualCluster } from '../../support/virtual-cluster.ts'
import { kvClient, type KvClient } from './kv-cluster.ts'
import { KvMachine, limits } from './kv-source.ts'
import { logOf, Watching } from './kv-watching.ts'

const { openKv } = await sourceModule<typeof import('../../../packages/protocols/src/kv/kv-service.ts')>(
  'protocols',
  'kv/kv-service',
)
const { openConsensus } = await sourceModule<
  typeof import('../../../packages/protocols/src/host/consensus-host.ts')
>('protocols', 'host/consensus-host')
const { openRaftGroup } = await sourceModule<
  typeof import('../../../packages/protocols/src/raft/raft-group.ts')
>('protocols', 'raft/raft-group')
const { raftGroupDefaults } = await sourceModule<
  typeof import('../../../packages/protocols/src/raft/raft-group-options.ts')
>('protocols', 'raft/raft-group-options')
type Kv = import('../../../packages/protocols/src/kv/kv-service.ts').Kv

interface RaftCluster extends AsyncDisposable {
  readonly cluster: VirtualCluster
  readonly nodes: Map<string, ClusterNode>
  readonly stores: Map<string, Kv>
  /** Starts a server (again), with the disk that it had. */
  readonly serve: (name: string) => Promise<void>
  readonly leader: () => Promise<string>
  readonly client: (options?: { readonly timeoutMs?: number; readonly attemptMs?: number }) => KvClient
  /** What the machine of a new member would be: by the log of one that is up to date. */
  readonly disks: Map<string, ReturnType<typeof memoryStore>>
}

const servers = ['a', 'b', 'c']

async function raftCluster(
  raft: {
    readonly snapshotEntries?: number
    readonly keptEntries?: number
    readonly commandBytesMax?: number
  } = {},
  frameBytesMax?: number,
): Promise<RaftCluster> {
  const cluster = virtualCluster()
  const nodes = new Map<string, ClusterNode>()
  const stores = new Map<string, Kv>()
  const disks = new Map(servers.map((name) => [name, memoryStore()]))
  const serve = async (name: string): Promise<void> => {
    const node = await cluster.start(name, { seeds: name === 'a' ? ['b'] : ['a'], frameBytesMax })
    nodes.set(name, node)
    const disk = disks.get(name) as ReturnType<typeof memoryStore>
    const consensus = await cluster.result(
      openConsensus(node, { store: async () => disk.scope('consensus') }),
    )
    const opening = openKv(node, {
      historyMax: Number.POSITIVE_INFINITY,
      progressMs: 1_000,
      openGroup: ({ name: group, machine }) =>
        openRaftGroup(consensus, {
          name: group,
          machine,
          members: servers,
          raft: { preset: 'local' },
          ...raft,
        }),
    })
    stores.set(name, await cluster.result(opening))
  }
  for (const name of servers) await serve(name)
  nodes.set('d', await cluster.start('d', { seeds: ['a'], frameBytesMax }))
  const leader = async (): Promise<string> => {
    const leads = (): string | undefined =>
      servers.find((name) => stores.get(name)?.status().group.role === 'leader' && !dead.has(name))
    await cluster.until(() => leads() !== undefined)
    return leads() as string
  }
  const dead = new Set<string>()
  const { crash } = cluster
  Object.assign(cluster, {
    crash: (node: ClusterNode) => {
      dead.add(node.name)
      crash(node)
    },
  })
  await leader()
  return {
    cluster,
    nodes,
    stores,
    disks,
    serve: async (name) => {
      await serve(name)
      dead.delete(name)
    },
    leader,
    client: (options = {}) =>
      kvClient(nodes.get('d') as ClusterNode, { servers, attemptMs: 500, ...options }),
    [Symbol.asyncDispose]: () => cluster.stop(),
  }
}

void test('KV on Raft: reads, writes, transactions, leases and watches, from a node that is no member', async (t) => {
  await using kv = await raftCluster()
  const { cluster } = kv
  const client = kv.client()
  const watching = new Watching(client, { key: '', isPrefix: true, from: 1 })
  t.match(await cluster.result(client.put('a', '1')), { revision: 1 })
  t.match(await cluster.result(client.get('a')), { version: 1 })
  for (const server of servers)
    t.match(await cluster.result(client.status(server)), { group: { name: 'kv' } })
  t.match(await cluster.result(client.compareAndSet('a', { modRevision: 1 }, '2')), { ok: true, revision: 2 })
  const lease = await cluster.result(client.lease({ ttlMs: 3_000 }))
  await cluster.result(client.put('l', 'x', { lease }))
  await cluster.advance(10_000)
  t.match(await cluster.result(client.get('l')), { lease: lease.id })
  await cluster.result(lease.revoke())
  t.equal(await cluster.result(client.get('l', { consistency: 'linearizable' })), undefined)
  await cluster.advance(1_000)
  t.same(
    watching.batches.flatMap(({ events }) => events.map(({ type, key }) => `${type} ${key}`)),
    ['put a', 'put a', 'put l', 'delete l'],
  )
  t.match(await cluster.outcome(client.put('big', Buffer.alloc(900_000))), {
    error: { code: 'KV_BAD_REQUEST', message: /commandBytesMax/ },
  })
})

/** What the put of a value under a one-letter key has beside it. */
const besideValue = 4

void test('KV on Raft: a command is as large as the group takes, which is what refusals and docs say', async (t) => {
  t.equal(limits.groupCommandBytes, raftGroupDefaults.commandBytesMax)
  await using kv = await raftCluster()
  const { cluster } = kv
  const client = kv.client()
  const put = (bytes: number) => cluster.outcome(client.put('a', Buffer.alloc(bytes)))
  const most = limits.groupCommandBytes - besideValue
  t.match(await put(most), { value: { revision: 1 } })
  t.match(await put(most + 1), {
    error: { code: 'KV_BAD_REQUEST', message: /786432 bytes \(commandBytesMax\), got 786433/ },
  })
  t.match(await put(1_100_000), { error: { code: 'RUNTIME_INVALID_MESSAGE', message: /frameBytesMax/ } })
  // Whoever meets the last limit is told of those that it would meet before.
  t.match(await put(2_100_000), {
    error: {
      code: 'KV_BAD_REQUEST',
      message:
        /has 2100004 bytes.*takes 786432 .*commandBytesMax.*frameBytesMax.* 2097152 bytes, and a value 1572864/,
    },
  })
  t.match(await cluster.result(client.get('a')), { version: 1 })
  for (const page of ['guides/consensus.md', 'reference/errors.md']) {
    const text = await readFile(new URL(`../../../../docs/${page}`, import.meta.url), 'utf8')
    for (const number of ['786,432', '1,572,864', '2,097,152'])
      t.ok(text.includes(number), `${page}: ${number}`)
  }
})

void test('KV on Raft: with larger commands and frames a value has 1.5 MiB at most', async (t) => {
  await using kv = await raftCluster({ commandBytesMax: 2_097_152 }, 4_194_304)
  const { cluster } = kv
  const client = kv.client()
  const most = limits.kvLimits.valueBytesMax
  t.match(await cluster.result(client.put('a', Buffer.alloc(most))), { revision: 1 })
  t.match(await cluster.outcome(client.put('a', Buffer.alloc(most + 1))), {
    error: { code: 'KV_BAD_REQUEST', message: /a value at most 1572864 bytes/ },
  })
  t.equal((await cluster.result(client.get('a')))?.value.length, most)
})

void test('KV on Raft: batches are applied once and in order, over crashes of the leader and small limits (R17)', async (t) => {
  await using kv = await raftCluster({ commandBytesMax: 2_000, snapshotEntries: 20 })
  const { cluster } = kv
  const client = kv.client()
  const watching = new Watching(client, { key: 'k', isPrefix: true, from: 1 })
  await cluster.result(client.put('first', ''))
  const writes: Promise<{ readonly revision: number }>[] = []
  for (let turn = 0; turn < 30; turn++) {
    for (let i = 0; i < 20; i++) writes.push(client.put(`k${turn}/${i}`, 'x'.repeat(100)))
    await cluster.advance(3)
    if (turn === 10 || turn === 20) {
      const leader = await kv.leader()
      cluster.crash(kv.nodes.get(leader) as ClusterNode)
      await cluster.advance(1_000)
      await kv.serve(leader)
    }
  }
  const revisions = (await cluster.result(Promise.all(writes))).map(({ revision }) => revision)
  t.equal(new Set(revisions).size, 600)
  const { entries } = await cluster.result(client.range({ prefix: 'k' }))
  t.equal(entries.length, 600)
  t.ok(entries.every(({ version }) => version === 1))
  await cluster.advance(5_000)
  const seen = watching.batches.flatMap(({ events }) => events.map(({ revision }) => revision))
  t.same(
    seen,
    [...revisions].sort((a, b) => a - b),
  )
  const states = servers.map((name) => kv.stores.get(name)?.status().store)
  t.same(new Set(states.map((state) => state?.revision)), new Set([601]))
})

void test('KV on Raft: a lease that nobody keeps alive ends, and not sooner for a change of the leader (R12)', async (t) => {
  await using kv = await raftCluster()
  const { cluster } = kv
  const client = kv.client()
  const lease = await cluster.result(client.lease({ ttlMs: 3_000 }))
  await cluster.result(client.put('l', 'x', { lease }))
  await cluster.result(client.close())
  const other = kv.client()
  await cluster.advance(2_000)
  const leader = await kv.leader()
  cluster.crash(kv.nodes.get(leader) as ClusterNode)
  await cluster.advance(2_500)
  t.match(await cluster.result(other.get('l')), { lease: lease.id }, 'its whole time again')
  await cluster.advance(3_500)
  t.equal(await cluster.result(other.get('l')), undefined)
})

void test('KV on Raft: every history is linearizable and every watch whole, while servers crash and come back', async (t) => {
  for (const seed of seeds) await disturbed(t, seed)
})

/** Others by the environment: `KV_SEEDS=7,8`. */
const seeds = (process.env['KV_SEEDS'] ?? '1,2,3').split(',').map(Number)

async function disturbed(t: Test, seed: number): Promise<void> {
  await using kv = await raftCluster({ snapshotEntries: 60, keptEntries: 10 })
  const { cluster } = kv
  const random = seededRandom(seed)
  const history = new HistoryRecorder<KvInput<string>, KvOutput<string>>()
  let isOver = false
  const worker = async (id: number): Promise<void> => {
    const client = kv.client({ timeoutMs: 2_000 })
    const chance = random.fork(`worker ${id}`)
    // Whoever does not know how its operation ended is never heard of again.
    let who = id
    const fails = (error: unknown): boolean => {
      const isKnown = (error as { readonly code?: string }).code !== 'PROTOCOLS_OUTCOME_UNKNOWN'
      if (!isKnown) who += 10
      return isKnown
    }
    for (let n = 0; !isOver; n++) {
      await sleep(kv, chance.int(2, 40))
      const key = `k${chance.int(0, 3)}`
      const value = `${id}-${n}`
      const what = chance.int(0, 9)
      if (what < 5)
        await history.record(
          who,
          { type: 'put', key, value },
          async () => void (await client.put(key, value)),
          fails,
        )
      else if (what < 9) {
        const get = async (): Promise<string | null> => {
          const entry = await client.get(key)
          return entry === undefined ? null : Buffer.from(entry.value).toString()
        }
        await history.record(who, { type: 'get', key }, get, () => true)
      } else
        await history.record(
          who,
          { type: 'delete', key },
          async () => (await client.delete(key)).deleted > 0,
          fails,
        )
    }
  }
  const workers = Promise.all([1, 2, 3, 4].map(worker))
  const watchings = [
    new Watching(kv.client(), { name: 'prefix', key: 'k', isPrefix: true, from: 1, previous: true }),
    new Watching(kv.client(), { name: 'one key', key: 'k1', from: 1, progress: true }),
  ]
  let down: string | undefined
  for (let round = 0; round < 6; round++) {
    await cluster.advance(random.int(20, 150))
    if (down !== undefined) {
      await kv.serve(down)
      down = undefined
      continue
    }
    const leader = await kv.leader()
    const victim = random.int(0, 2) > 0 ? leader : (servers[random.int(0, 2)] as string)
    if (random.int(0, 3) === 0) cluster.cut(kv.nodes.get(victim) as ClusterNode)
    else {
      cluster.crash(kv.nodes.get(victim) as ClusterNode)
      down = victim
    }
    await cluster.advance(random.int(200, 1_500))
  }
  isOver = true
  await cluster.result(workers)
  await cluster.advance(10_000)
  const verdict = checkLinearizable(kvModel<string>(), history.ops())
  t.equal(verdict.verdict, 'ok', `seed ${seed}, ${history.size} operations`)
  const client = kv.client()
  const end = await cluster.result(client.range({ from: '', to: '' }, { countOnly: true }))
  const log = logOf(await replayed(kv))
  t.equal(log.length, end.revision)
  const watched = checkWatches(
    log,
    watchings.map((one) => one.record(end.revision)),
  )
  t.equal(watched.verdict, 'ok', `seed ${seed}: ${watched.reason}`)
}

function sleep({ cluster: { platform } }: RaftCluster, delayMs: number): Promise<void> {
  return new Promise((resolve) => platform.clock.setTimer(platform.clock.monotonicMs() + delayMs, resolve))
}

/** The whole history of the store, by a snapshot of a member that is up to date. */
async function replayed(kv: RaftCluster): Promise<KvMachine> {
  const machine = new KvMachine()
  const replica = kv.stores.get(await kv.leader()) as Kv
  await machine.restore(
    (async function* () {
      const walk = replica.machine().snapshot()
      for (let next = walk.next(); next.done !== true; next = walk.next()) yield next.value
    })(),
  )
  return machine
}
