/**
 * Five nodes fall apart under the downing strategy `lease`, and the lease is a lock of a table on three of them: whichever side has
 * the majority of the table's members lives, however few nodes it has else, and the others have stopped before they are replaced.
 */
import { child, supervisor } from '@understudy/runtime'
import type { SimulatedNodeOptions, World } from '@understudy/cluster/simulation'
import type { RunResult } from '@understudy/runtime/simulation'
import { test } from 'tap'
import { sourceModule } from '../../support/source-module.ts'
import { simulateTapped } from '../../simulation/cluster/link-tap.ts'
import { MemberWatch } from '../../simulation/cluster/member-watch.ts'
import { LockBed } from '../../simulation/lock/lock-bed.ts'
import { Acts } from '../../simulation/membership/acts.ts'

const { lockDowningLease } = await sourceModule<
  typeof import('../../../packages/protocols/src/election/lock-downing-lease.ts')
>('protocols', 'election/lock-downing-lease')

const tableNodes = ['a', 'b', 'c']
const allNodes = ['a', 'b', 'c', 'd', 'e']

/** How one split went. */
interface Split {
  readonly sides: readonly [readonly string[], readonly string[]]
  /** Those whose lives from before the split still act, long after it. */
  survivors: readonly string[]
}

/** Cuts off `side`; resolves with who survived. */
function run(
  seed: number,
  side: readonly string[],
  client: 'here' | 'none' = 'here',
): Promise<RunResult & Split> {
  const others = allNodes.filter((name) => !side.includes(name))
  const split: Split = { sides: [side, others], survivors: [] }
  let bed: LockBed | undefined
  let acts: Acts | undefined
  const node = (name: string, world: World): SimulatedNodeOptions => {
    acts ??= new Acts(world)
    return {
      root: supervisor({}, [child('ticker', acts.ticker())]),
      expect: 3,
      downing: { strategy: 'lease' },
      // Asked when it is needed: the node that carries the client has been started by then.
      downingLease: lockDowningLease(() => (client === 'none' ? undefined : bed?.client(world.node(name)))),
    }
  }
  const result = simulateTapped(
    { seed: `downing-lock-${seed}`, nodes: 5, node, faults: false, virtualMsMax: 600_000 },
    async (world) => {
      const { length } = allNodes
      acts ??= new Acts(world)
      bed = new LockBed(world, { members: tableNodes, tags: [] })
      const watch = new MemberWatch(world)
      await world.start()
      await watch.untilEqual('formed', 60_000)
      await world.until('the table has a leader', () => bed?.leader() !== undefined, { withinMs: 30_000 })
      await world.sleep(world.choose(16, 'scenario/when') * 123)
      const lives = new Map(world.nodes.map((place) => [place.name, place.node.incarnation]))
      const undo = world.network.partition([[...side], others])
      await world.sleep(60_000)
      const acting = acts.actingSince(world.now() - 1_000)
      split.survivors = acting
        .filter(({ name, incarnation }) => lives.get(name) === incarnation)
        .map(({ name }) => name)
        .sort()
      undo()
      world.heal()
      if (client === 'none') return
      await watch.untilEqual('one-cluster-after-heal', 120_000)
      world.check('all-are-back', world.up().length === length, watch.views())
    },
  )
  return result.then((found) => ({ ...found, ...split, survivors: split.survivors }))
}

void test('the side with the majority of the table lives, whole, and nobody else; later all are one cluster again', async (t) => {
  const splits = [['a', 'b'], ['d', 'e'], ['c'], ['a', 'd'], ['b', 'c', 'd', 'e']]
  for (const [seed, side] of splits.entries()) {
    const { violation, survivors, sides } = await run(seed + 1, side)
    t.equal(violation, undefined, `seed ${seed + 1}: ${JSON.stringify(violation)}`)
    const hasMajority = (names: readonly string[]): boolean =>
      names.filter((name) => tableNodes.includes(name)).length >= 2
    const wanted = sides.find(hasMajority) ?? []
    t.same(survivors, [...wanted].sort(), `${sides[0].join(' ')} | ${sides[1].join(' ')}`)
  }
})

void test('without a client an answer is in doubt, and all nodes go down', async (t) => {
  const { violation, survivors } = await run(1, ['a', 'b'], 'none')
  t.equal(violation, undefined)
  t.same(survivors, [])
})
