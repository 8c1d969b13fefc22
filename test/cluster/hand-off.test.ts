/** Hand-off: an entity begins on its new owner when it has ended on the old one, whoever knows what of the members. */
import type { ClusterNode } from '@understudy/cluster'
import { actor, ActorError, ask, createSystem, protocol, tell } from '@understudy/runtime'
import type { InternalSystem } from '@understudy/runtime/internal'
import { virtualPlatform } from '@understudy/runtime/testkit'
import fc from 'fast-check'
import { test } from 'tap'
import Type from 'typebox'
import { sourceModule } from '../support/source-module.ts'
import { virtualCluster, type StartOptions, type VirtualCluster } from '../support/virtual-cluster.ts'
import { HandOffWorld, type ModelNode } from './hand-off-world.ts'

const { RecentOwners } = await sourceModule<
  typeof import('../../packages/cluster/src/placement/recent-owners.ts')
>('cluster', 'placement/recent-owners')
const { HashRing } = await sourceModule<typeof import('../../packages/cluster/src/placement/hash-ring.ts')>(
  'cluster',
  'placement/hash-ring',
)
const { askRelease } = await sourceModule<typeof import('../../packages/cluster/src/node/steward.ts')>(
  'cluster',
  'node/steward',
)
const { KindRings } = await sourceModule<typeof import('../../packages/cluster/src/placement/kind-rings.ts')>(
  'cluster',
  'placement/kind-rings',
)
type Life = import('../../packages/cluster/src/placement/recent-owners.ts').Life
type RemoteHub = import('../../packages/cluster/src/remote/remote-hub.ts').RemoteHub

// ---- Who may have a key ------------------------------------------------------------------------------------------

const life = (name: string, incarnation = 1) => ({ name, incarnation })
const placing = (owners: readonly Life[], leaving: readonly Life[] = []) => {
  return { owners, leaving, rings: new KindRings(owners) }
}
const keys = Array.from({ length: 200 }, (_, n) => `key-${n}`)

void test('HashRing.walk: whoever owns the key when those before it are gone', (t) => {
  const names = ['a', 'b', 'c', 'd', 'e']
  const ring = new HashRing([...names.map((name) => ({ name })), { name: 'idle', weight: 0 }])
  for (const key of keys) {
    const walk = [...ring.walk(key)]
    t.same([...walk].sort(), names, 'each once, but for who has no part of the ring')
    for (const at of walk.keys()) {
      const rest = new HashRing(walk.slice(at).map((name) => ({ name })))
      if (rest.owner(key) !== walk[at]) t.fail(`${key}: ${walk.join(' ')} at ${at}`)
    }
  }
  t.same([...new HashRing([]).walk('x')], [])
  t.end()
})

void test('RecentOwners: nobody when nothing has changed for long', (t) => {
  const recent = new RecentOwners(1_000)
  recent.use('a', placing([life('a'), life('b'), life('c')]), 0)
  recent.use('a', placing([life('a'), life('b'), life('c')]), 500)
  for (const key of keys) t.same(recent.of('k', key, 1_000), [])
  t.end()
})

void test('RecentOwners: who came, who goes, and the first that was there before and stays', (t) => {
  const recent = new RecentOwners(1_000)
  recent.use('a', placing([life('a'), life('b'), life('c'), life('d')]), 0)
  recent.use('a', placing([life('a'), life('b'), life('c', 2), life('e')], [life('d')]), 5_000)
  const ring = new HashRing(['a', 'b', 'c', 'd', 'e'].map((name) => ({ name })))
  let lengths = 0
  for (const key of keys) {
    const walk = [...ring.walk(`k/${key}`)]
    const until = walk.findIndex((name) => ['a', 'b'].includes(name))
    const found = recent.of('k', key, 5_999)
    t.same(
      found.map(({ name }) => name),
      walk.slice(0, until + 1),
    )
    lengths += found.length
    const settled = recent.of('k', key, 6_000).map(({ name }) => name)
    const stays = walk.findIndex((name) => name !== 'd')
    t.same(settled, walk.slice(0, stays + 1), 'who came is one of them by then')
    if (found[0]?.name === 'c') t.equal(found[0].incarnation, 2)
  }
  t.ok(lengths / keys.length < 3, `${lengths / keys.length} of 5 on the average`)
  t.end()
})

// ---- Any views, any order ----------------------------------------------------------------------------------------

async function history(seed: number): Promise<HandOffWorld> {
  const world = new HandOffWorld(seed)
  const names = ['a', 'b', 'c', 'd', 'e', 'f']
  for (const name of names.slice(0, 3 + world.below(3))) world.join(name)
  await world.run(world.below(2) === 0 ? 30_000 : 4_000)
  const pick = (nodes: readonly ModelNode[]): ModelNode | undefined => nodes[world.below(nodes.length)]
  for (let step = 0; step < 120; step++) {
    const alive = world.living.filter(({ status }) => status === 'alive')
    const chance = world.below(12)
    if (chance === 0 && alive.length > 2) {
      const node = pick(alive)
      if (node !== undefined) world.leave(node)
    } else if (chance === 1) {
      const away = names.filter((name) => (world.nodes.get(name)?.status ?? 'left') === 'left')
      const name = away[world.below(away.length)]
      if (name !== undefined) world.join(name)
    } else {
      const from = pick(alive)
      if (from !== undefined) world.send(from, keys[world.below(4)] ?? '')
    }
    await world.run(world.below(6) === 0 ? world.below(2_000) : world.below(150))
  }
  await world.run(120_000)
  return world
}

void test('HandOff: whatever comes and goes, and whoever hears of it when: one life at a time, each message once', async (t) => {
  let held = 0
  let handled = 0
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 0, max: 0xffff_ffff }), async (seed) => {
      const world = await history(seed)
      held += world.held
      handled += world.handled.size
      const lost = Array.from({ length: world.sent }, (_, id) => id).filter(
        (id) => !world.handled.has(id) && !world.refused.has(id),
      )
      if (world.problems.length > 0) throw new Error(world.problems.join('\n'))
      if (lost.length > 0) throw new Error(`messages ${lost.join(', ')} were lost`)
      if (world.overdue.length > 0) throw new Error(`overdue: ${JSON.stringify(world.overdue)}`)
    }),
    { numRuns: 60, seed: 4_001, endOnFailure: true },
  )
  t.ok(held > 500, `${held} entities waited for another to end`)
  t.ok(handled > 3_000, `${handled} messages were handled`)
})

// ---- Between nodes -----------------------------------------------------------------------------------------------

const Slow = protocol('slow', {
  work: ask({ n: Type.Integer() }, Type.String()),
  note: tell({ n: Type.Integer() }),
  hang: tell(),
  end: tell(),
})

interface Bed {
  readonly cluster: VirtualCluster
  /** When entities began and ended, and where. */
  readonly story: string[]
  readonly start: (name: string, options?: StartOptions) => Promise<ClusterNode>
}

/** Entities that take 200 ms for a message, and 300 ms to end. */
function bedOf(cluster: VirtualCluster): Bed {
  const story: string[] = []
  const { clock } = cluster.platform
  const wait = (ms: number): Promise<void> =>
    new Promise((resolve) => clock.setTimer(clock.monotonicMs() + ms, resolve))
  const slow = (node: string) =>
    actor(Slow, (ctx) => {
      story.push(`began on ${node}`)
      ctx.defer(async () => {
        await wait(300)
        story.push(`ended on ${node}`)
      })
      return {
        work: async ({ n }) => {
          await wait(200)
          return `${n} on ${node}`
        },
        note: async ({ n }) => {
          await wait(200)
          story.push(`${n} on ${node}`)
        },
        hang: () => new Promise<void>(() => undefined),
        end: () => ctx.stop(),
      }
    })
  const start = (name: string, options: StartOptions = {}): Promise<ClusterNode> =>
    cluster.start(name, {
      seeds: ['a', 'b', 'c'],
      entities: [{ definition: slow(name), options: { shutdownMs: 20_000 } }],
      ...options,
    })
  return { cluster, story, start }
}

/** Nodes a and b, and a key of b that will be of c as soon as c is there. */
async function twoAndOneToCome(bed: Bed): Promise<[a: ClusterNode, b: ClusterNode, key: string]> {
  const a = await bed.start('a')
  const b = await bed.start('b')
  await bed.cluster.result(Promise.all([a.whenMembers(2), b.whenMembers(2)]))
  const later = new HashRing(['a', 'b', 'c'].map((name) => ({ name })))
  const key = keys.find((each) => a.ownerOf(Slow, each) === 'b' && later.owner(`slow/${each}`) === 'c')
  if (key === undefined) throw new Error('no key goes from b to c')
  // All is settled: whoever is to be waited for is so because of c.
  await bed.cluster.advance(60_000)
  return [a, b, key]
}

void test('hand-off: who joins begins when the old owner has worked off what it had, and has said its good-byes', async (t) => {
  await using cluster = virtualCluster({ shutdownMs: 30_000 })
  const bed = bedOf(cluster)
  const [a, b, key] = await twoAndOneToCome(bed)
  for (const n of [1, 2, 3, 4, 5]) a.entity(Slow, key).tell({ type: 'note', n })
  await cluster.advance(10)
  const c = await bed.start('c')
  await cluster.until(() => [a, b, c].every((node) => node.ownerOf(Slow, key) === 'c'))
  const asks = [a, b, c].map((node, n) => node.entity(Slow, key).ask({ type: 'work', n }))
  t.same(await cluster.result(Promise.all(asks)), ['0 on c', '1 on c', '2 on c'])
  const notes = [1, 2, 3, 4, 5].map((n) => `${n} on b`)
  t.same(bed.story, ['began on b', ...notes, 'ended on b', 'began on c'])
})

void test('hand-off: an old owner that does not end is waited for as long as drainMs, and that is said', async (t) => {
  await using cluster = virtualCluster({ shutdownMs: 30_000, drainMs: 3_000 })
  const bed = bedOf(cluster)
  const [a, , key] = await twoAndOneToCome(bed)
  a.entity(Slow, key).tell({ type: 'hang' })
  await cluster.advance(10)
  await bed.start('c')
  await cluster.until(() => a.ownerOf(Slow, key) === 'c')
  const fromMs = cluster.platform.clock.monotonicMs()
  const answer = a.entity(Slow, key).ask({ type: 'work', n: 1 }, { timeoutMs: 30_000 })
  t.equal(await cluster.result(answer), '1 on c')
  const tookMs = cluster.platform.clock.monotonicMs() - fromMs
  t.ok(tookMs >= 3_200 && tookMs < 3_400, `it took ${tookMs} ms`)
  t.same(bed.story, ['began on b', 'began on c'])
  const lines = cluster.logOf('c').filter(({ fields }) => 'waitedMs' in fields)
  t.match(lines, [{ level: 'warn', fields: { kind: 'slow', by: 'b' }, message: /both may run/ }])
})

void test('hand-off: drainMs 0 waits for nobody', async (t) => {
  await using cluster = virtualCluster({ shutdownMs: 30_000, drainMs: 0 })
  const bed = bedOf(cluster)
  const [a, , key] = await twoAndOneToCome(bed)
  a.entity(Slow, key).tell({ type: 'hang' })
  await cluster.advance(10)
  await bed.start('c')
  await cluster.until(() => a.ownerOf(Slow, key) === 'c')
  t.equal(await cluster.result(a.entity(Slow, key).ask({ type: 'work', n: 1 })), '1 on c')
  t.same(bed.story, ['began on b', 'began on c'])
})

void test('hand-off: an old owner that dies is not waited for any longer', async (t) => {
  await using cluster = virtualCluster({ shutdownMs: 30_000, drainMs: 60_000 })
  const bed = bedOf(cluster)
  const [a, b, key] = await twoAndOneToCome(bed)
  a.entity(Slow, key).tell({ type: 'hang' })
  await cluster.advance(10)
  const c = await bed.start('c')
  await cluster.until(() => a.ownerOf(Slow, key) === 'c')
  const answer = cluster.outcome(a.entity(Slow, key).ask({ type: 'work', n: 1 }, { timeoutMs: 30_000 }))
  await cluster.advance(2_000)
  t.same(bed.story, ['began on b'], 'it waits')
  cluster.crash(b)
  t.same(await answer, { value: '1 on c' })
  t.notOk(c.members().some(({ name }) => name === 'b'))
})

void test('hand-off: what waits goes on to whoever owns the key then, once, in order', async (t) => {
  await using cluster = virtualCluster({ shutdownMs: 30_000 })
  const bed = bedOf(cluster)
  const [a, b, key] = await twoAndOneToCome(bed)
  for (let n = 0; n < 20; n++) a.entity(Slow, key).tell({ type: 'note', n })
  await cluster.advance(10)
  const c = await bed.start('c')
  await cluster.until(() => [a, b, c].every((node) => node.ownerOf(Slow, key) === 'c'))
  for (const n of [20, 21, 22]) a.entity(Slow, key).tell({ type: 'note', n })
  const asked = a.entity(Slow, key).ask({ type: 'work', n: 23 }, { timeoutMs: 30_000 })
  await cluster.advance(100)
  t.match(await cluster.result(c.shutdown()), { clean: true })
  t.equal(a.ownerOf(Slow, key), 'b')
  t.equal(await cluster.result(asked), '23 on b')
  const notes = Array.from({ length: 23 }, (_, n) => `${n} on b`)
  t.same(bed.story, ['began on b', ...notes.slice(0, 20), 'ended on b', 'began on b', ...notes.slice(20)])
})

void test('hand-off: what is sent to the old owner by who has not heard of the new one is passed on', async (t) => {
  await using cluster = virtualCluster({ shutdownMs: 30_000, membership: 'lan' })
  const bed = bedOf(cluster)
  const a = await bed.start('a')
  const b = await bed.start('b')
  const c = await bed.start('c')
  await cluster.result(Promise.all([a, b, c].map((node) => node.whenMembers(3))))
  const later = new HashRing(['a', 'b'].map((name) => ({ name })))
  const key = keys.find((each) => a.ownerOf(Slow, each) === 'c' && later.owner(`slow/${each}`) === 'a') ?? ''
  // One ref: the other side knows by then which actor that was.
  const ref = b.entity(Slow, key)
  for (let n = 0; n < 6; n++) ref.tell({ type: 'note', n })
  await cluster.advance(10)
  const goOn = cluster.stall(b)
  const ending = cluster.result(c.shutdown())
  await cluster.until(() => a.ownerOf(Slow, key) === 'a')
  const asked = ref.ask({ type: 'work', n: 6 }, { timeoutMs: 30_000 })
  for (const n of [7, 8]) ref.tell({ type: 'note', n })
  t.equal(b.ownerOf(Slow, key), 'c')
  await cluster.advance(500)
  t.notOk(bed.story.includes('ended on c'), 'it still works')
  goOn()
  t.equal(await cluster.result(asked), '6 on a')
  await cluster.until(() => bed.story.includes('8 on a'))
  const notes = [0, 1, 2, 3, 4, 5].map((n) => `${n} on c`)
  t.same(bed.story, ['began on c', ...notes, 'ended on c', 'began on a', '7 on a', '8 on a'])
  t.match(await ending, { clean: true })
})

void test('hand-off: on one node, too, the next one begins when the last one has said its good-byes', async (t) => {
  await using cluster = virtualCluster({ shutdownMs: 30_000 })
  const bed = bedOf(cluster)
  const [a, , key] = await twoAndOneToCome(bed)
  const entity = a.entity(Slow, key)
  entity.tell({ type: 'end' })
  await cluster.advance(10)
  t.equal(await cluster.result(entity.ask({ type: 'work', n: 1 })), '1 on b')
  t.same(bed.story, ['began on b', 'ended on b', 'began on b'])
})

void test('hand-off: a node alone with a lost link starts again what it had, and waits for nobody', async (t) => {
  await using cluster = virtualCluster({ shutdownMs: 30_000, membership: 'lan' })
  const bed = bedOf(cluster)
  const a = await bed.start('a')
  const b = await bed.start('b')
  await cluster.result(Promise.all([a.whenMembers(2), b.whenMembers(2)]))
  const key = keys.find((each) => b.ownerOf(Slow, each) === 'b') ?? ''
  t.equal(await cluster.result(b.entity(Slow, key).ask({ type: 'work', n: 1 })), '1 on b')
  cluster.network.hold('a')
  b.entity(Slow, key).tell({ type: 'end' })
  await cluster.advance(500)
  const fromMs = cluster.platform.clock.monotonicMs()
  t.equal(await cluster.result(b.entity(Slow, key).ask({ type: 'work', n: 2 })), '2 on b')
  t.ok(cluster.platform.clock.monotonicMs() - fromMs <= 300)
  cluster.network.release('a')
})

void test('askRelease: a peer of an older build, which knows no such question, has nothing to release', async (t) => {
  const platform = virtualPlatform()
  const system = (await createSystem('x', undefined, { platform, handleSignals: false })) as InternalSystem
  const answered = (code: string): RemoteHub =>
    ({
      kernel: system.kernel,
      session: () => ({
        incarnation: 1,
        isClosed: false,
        ask: (_: unknown, __: unknown, ___: unknown, call: { fail: (error: ActorError) => void }) => {
          queueMicrotask(() => call.fail(new ActorError(code, 'no')))
          return undefined
        },
      }),
    }) as unknown as RemoteHub
  const ask = (code: string) => askRelease(answered(code), life('b'), { kind: 'k', key: '1' }, 'a')
  const nothing = { isReleased: true, others: [] }
  t.same(await ask('RUNTIME_UNKNOWN_MESSAGE'), nothing)
  t.same(await ask('RUNTIME_NO_SUCH_ACTOR'), nothing)
  t.equal(await ask('CLUSTER_NODE_DOWN'), undefined)
  t.equal(await ask('RUNTIME_ASK_TIMEOUT'), undefined)
  await system.shutdown()
})
