/** Clusters of two builds: what a node of the older wire says and gets, and what a rollout does to whom. */
import { simulate, World, type SimulateOptions } from '@understudy/cluster/simulation'
import { actor, ask, child, protocol, supervisor } from '@understudy/runtime'
import { Simulation } from '@understudy/runtime/simulation'
import { test } from 'tap'
import { Type } from 'typebox'
import { sourceModule } from '../support/source-module.ts'
import { LinkTap } from './cluster/link-tap.ts'

const { currentWire, oldestMemberWire, wireVersion, checkWireOffer } = await sourceModule<
  typeof import('../../packages/cluster/src/wire/wire-version.ts')
>('cluster', 'wire/wire-version')
const { startNodeOffering } = await sourceModule<
  typeof import('../../packages/cluster/src/node/cluster-node.ts')
>('cluster', 'node/cluster-node')

const Echo = protocol('echo', { say: ask({ n: Type.Integer() }, Type.Integer()) })
const root = supervisor({}, [
  child(
    'echo',
    actor(Echo, () => ({ say: ({ n }) => n })),
  ),
])
const quiet: SimulateOptions = { seed: 1, choices: [], nodes: 2, faults: false, node: () => ({ root }) }

/** Runs with two nodes, and counts the links between them that were used. */
async function linksBetween(wires: readonly (typeof currentWire)[]): Promise<number> {
  let links = 0
  const nodes = wires.map((wire) => ({ wire }))
  const result = await simulate({ ...quiet, nodes }, async (world) => {
    const tap = new LinkTap(world)
    for (const node of world.nodes) await node.crashAndRestart()
    await world.whenFormed()
    const [a, b] = world.nodes
    if (a === undefined || b === undefined) return
    for (const [from, to] of [
      [a, b],
      [b, a],
    ] as const) {
      const n = await from.call((node) => node.ref(Echo, to.name, '/user/echo').ask({ type: 'say', n: 7 }))
      world.check('answered', n === 7, `${from.name} got ${n}`)
    }
    if (a.process !== undefined) links = tap.open(a.process, 'b').length
  })
  if (result.violation !== undefined) throw new Error(`${result.violation.name}: ${result.violation.message}`)
  return links
}

void test('a node of the oldest wire is a member, and has one link with a node of the current one', async (t) => {
  t.equal(await linksBetween([currentWire, currentWire]), 2, 'one more for data')
  t.equal(await linksBetween([currentWire, oldestMemberWire]), 1)
  t.equal(await linksBetween([oldestMemberWire, currentWire]), 1)
  t.equal(await linksBetween([oldestMemberWire, oldestMemberWire]), 1)
})

void test('what is installed counts from the next start on, and stays', async (t) => {
  const offered: unknown[] = []
  const result = await simulate(quiet, async (world) => {
    const b = world.node('b')
    b.install(oldestMemberWire)
    offered.push(b.offered)
    await b.crashAndRestart()
    offered.push(b.offered)
    b.kill()
    await b.start()
    offered.push(b.offered)
    await b.crashAndRestart({ wire: currentWire })
    offered.push(b.offered)
    await world.whenFormed()
  })
  t.equal(result.violation, undefined)
  t.same(offered, [currentWire, oldestMemberWire, oldestMemberWire, currentWire])
})

void test('wire-pin: a node comes back with the older wire, both are members of one cluster, and it is upgraded', async (t) => {
  // The second choice: how long; the third: how it is replaced.
  for (const how of [0, 1]) {
    const choices = [
      { stream: 'fault/wire-pin', index: 0, value: 1 },
      { stream: 'fault/wire-pin', index: 2, value: how },
    ]
    const result = await simulate(
      { ...quiet, nodes: 3, choices, faults: { only: ['wire-pin'] } },
      async (world) => {
        world.check('injected', world.inject('wire-pin'), 'there was nobody to pin')
        const b = world.node('b')
        await world.until('pinned', () => b.isUp && b.offered === oldestMemberWire)
        await world.whenFormed()
        await world.until('upgraded', () => b.isUp && b.offered === currentWire)
        await world.whenFormed()
      },
    )
    t.equal(result.violation, undefined, `${how}: ${result.violation?.message}`)
    t.ok(result.stats.reached.includes('wire-mixed'))
    t.ok(result.stats.reached.includes('wire-upgraded'))
  }
})

void test('wire-pin: in some seeds a cluster begins with nodes of the older wire, and a healed one upgrades at the next start', async (t) => {
  const choices = [
    { stream: 'swarm/wire-pin-at-first', index: 0, value: 3 },
    { stream: 'wire-pin-at-first', index: 1, value: 1 },
    // Not before the faults are over.
    { stream: 'wire-pin-at-first', index: 3, value: 5 },
  ]
  const result = await simulate(
    { ...quiet, nodes: 3, choices, faults: { only: ['wire-pin'] } },
    async (world) => {
      const offers = (): string => world.nodes.map(({ offered }) => offered?.features.length).join()
      t.equal(offers(), '1,0,1')
      await world.sleep(60_000)
      t.equal(offers(), '1,0,1')
      world.heal()
      await world.sleep(60_000)
      t.equal(offers(), '1,0,1', 'nobody is restarted in a healed world')
      await world.node('b').crashAndRestart()
      await world.whenFormed()
      t.equal(offers(), '1,1,1')
    },
  )
  t.equal(result.violation?.message, undefined)
  t.equal(result.stats.faults['wire-pin'], 1)
})

void test('wire-pin: a wire that the scenario has chosen itself is left as it is', async (t) => {
  const nodes = [{ wire: oldestMemberWire }, {}]
  const result = await simulate({ ...quiet, nodes, faults: { only: ['wire-pin'] } }, async (world) => {
    await world.sleep(60_000)
    world.heal()
    await world.node('a').crashAndRestart()
    t.same(world.node('a').offered, oldestMemberWire)
  })
  t.equal(result.violation, undefined)
})

void test('an offer beyond what this build speaks is refused', async (t) => {
  const { versionMin, versionMax } = wireVersion
  const offer = { versionMin, versionMax: versionMax + 1, features: [] }
  t.throws(() => checkWireOffer(offer), /this build speaks 1 to 2/)
  t.throws(() => checkWireOffer({ versionMin: 2, versionMax: 1, features: [] }), RangeError)
  t.throws(() => checkWireOffer({ ...currentWire, features: ['wings' as 'lanes'] }), /no such feature/)
  t.equal(checkWireOffer(oldestMemberWire), oldestMemberWire)
  await t.rejects(startNodeOffering({ name: 'a', listen: 'ws://127.0.0.1:0' }, offer), RangeError)
  await Simulation.alone(async () => {
    const world = new World(new Simulation({ seed: 1, choices: [] }), quiet)
    t.throws(() => world.node('a').install(offer), RangeError)
  })
})
