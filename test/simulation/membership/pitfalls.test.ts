/** Named checks of pitfalls of membership that take whole nodes: clusters that must meet again, and such that must not. */
import type { SimulatedNodeOptions, World } from '@understudy/cluster/simulation'
import { test, type Test } from 'tap'
import { simulateTapped } from '../cluster/link-tap.ts'

async function passes(
  t: Test,
  nodes: number,
  node: (name: string, world: World) => SimulatedNodeOptions,
  scenario: (world: World) => Promise<void>,
): Promise<void> {
  for (const seed of [1, 2, 3]) {
    const options = { seed, nodes, node, faults: false, virtualMsMax: 7_200_000 } as const
    const { violation } = await simulateTapped(options, scenario)
    t.equal(violation, undefined, `seed ${seed}`)
  }
}

function seenBy(world: World, name: string): string {
  return world
    .node(name)
    .node.members()
    .filter(({ status }) => status === 'alive')
    .map((member) => member.name)
    .join(' ')
}

/** The losers have a new life each, and know nobody but their seed; the winners gave them up half an hour ago. */
void test('M6: halves that were apart for half an hour find each other when the way is open again', async (t) => {
  await passes(
    t,
    5,
    (_, world) => ({ expect: 3, seeds: [world.node('a').address] }),
    async (world) => {
      await world.start()
      await world.whenFormed()
      const mend = world.network.partition([
        ['a', 'b'],
        ['c', 'd', 'e'],
      ])
      await world.sleep(1_800_000)
      world.check('the-majority-goes-on', seenBy(world, 'c') === 'c d e', `c sees ${seenBy(world, 'c')}`)
      mend()
      await world.whenFormed(60_000)
    },
  )
})

/** The one seed of all has died long ago: the losers know nobody any more, and who dials them does so from memory. */
void test('M6: halves whose seeds are gone find each other by the addresses of those that were given up', async (t) => {
  await passes(
    t,
    6,
    (_, world) => ({ expect: 3, seeds: [world.node('f').address] }),
    async (world) => {
      await world.start()
      await world.whenFormed()
      world.node('f').kill()
      await world.sleep(60_000)
      const mend = world.network.partition([
        ['a', 'b'],
        ['c', 'd', 'e'],
      ])
      await world.sleep(1_800_000)
      world.check('the-majority-goes-on', seenBy(world, 'c') === 'c d e', `c sees ${seenBy(world, 'c')}`)
      for (const name of ['a', 'b'])
        world.check('nobody-is-known', seenBy(world, name) === '', `${name} sees ${seenBy(world, name)}`)
      mend()
      await world.sleep(60_000)
      for (const { name } of world.up())
        world.check(
          'all-are-there',
          seenBy(world, name) === 'a b c d e',
          `${name} sees ${seenBy(world, name)}`,
        )
    },
  )
})

void test('M10: clusters of different labels stay apart, whoever of them dials the other', async (t) => {
  const labelOf = (name: string): string => (name < 'c' ? 'one' : 'two')
  await passes(
    t,
    4,
    (name, world) => ({
      cluster: labelOf(name),
      // b knows nobody of the others: it is dialled by them, and never dials.
      seeds: name === 'b' ? [world.node('a').address] : world.nodes.map(({ address }) => address),
    }),
    async (world) => {
      await world.start()
      await world.sleep(60_000)
      for (const { name, node } of world.nodes) {
        const expected = labelOf(name) === 'one' ? 'a b' : 'c d'
        world.check(
          'labels-are-kept',
          seenBy(world, name) === expected,
          `${name} sees ${seenBy(world, name)}`,
        )
        const { refused } = node.status()
        world.check(
          'strangers-are-counted',
          (refused['CLUSTER_WRONG_CLUSTER'] ?? 0) > 0,
          `${name} has refused ${JSON.stringify(refused)}`,
        )
      }
    },
  )
})
