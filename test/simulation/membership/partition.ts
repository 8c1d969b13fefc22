/**
 * Five nodes fall apart, in every shape and under every strategy of downing: at most one side goes on, the others stop
 * before it replaces them, and when the way is open again all are one cluster.
 */
import { child, supervisor } from '@understudy/runtime'
import type { DowningOptions } from '@understudy/cluster'
import type { SimulatedNodeOptions, World } from '@understudy/cluster/simulation'
import { memoryDowningLease } from '@understudy/cluster/testkit'
import type { RunInput, RunResult } from '@understudy/runtime/simulation'
import { MemberWatch } from '../cluster/member-watch.ts'
import { simulateTapped } from '../cluster/link-tap.ts'
import { Acts } from './acts.ts'
import { cleanSides, cut, drawCut, flap, shapeNames, type CutPairs, type ShapeName } from './cuts.ts'

const strategies = [
  { strategy: 'keep-majority' },
  { strategy: 'static-quorum', quorumSize: 3 },
  { strategy: 'keep-oldest' },
  { strategy: 'down-all' },
  { strategy: 'lease' },
] as const satisfies readonly DowningOptions[]
/** For a moment, until it is seen as unreachable, until all is decided without it: behind every strategy's timeouts. */
const pausesMs = [500, 2_000, 10_000, 70_000] as const
const kinds: readonly (ShapeName | 'flapping')[] = [...shapeNames, 'flapping']

interface Split {
  readonly strategy: string
  readonly shape: string
  readonly pairs: CutPairs
  /** Somebody stood still meanwhile. */
  readonly isPausing: boolean
  /** Which life each node had before. */
  readonly lives: ReadonlyMap<string, number>
}

export const partitionTags: readonly string[] = [
  ...strategies.map(({ strategy }) => strategy),
  ...kinds.map((shape) => `partition ${shape}`),
  ...['side-went', 'others-declared-down', 'nobody-went', 'all-went', 'short', 'one-side-acts'],
  ...['stood-still', 'slept-through'],
]

/** By turns, so that every pair of strategy and shape comes in 45 seeds in a row: five and nine share no factor. */
export function runPartition(input: RunInput): Promise<RunResult> {
  const turn = Number(BigInt(input.seed) % 45n)
  const downing = strategies[turn % strategies.length] ?? strategies[0]
  const shape = kinds[turn % kinds.length] ?? 'isolate'
  const lease = memoryDowningLease()
  let acts: Acts | undefined
  const node = (_: string, world: World): SimulatedNodeOptions => {
    acts ??= new Acts(world)
    return {
      root: supervisor({}, [child('ticker', acts.ticker())]),
      downing,
      ...(downing.strategy === 'lease' ? { downingLease: lease } : {}),
      // Where the larger side may go, it must not be enough to found another cluster.
      expect: downing.strategy === 'keep-oldest' || downing.strategy === 'lease' ? 5 : 3,
    }
  }
  return simulateTapped(
    { ...input, nodes: 5, node, faults: false, virtualMsMax: 1_200_000 },
    async (world) => {
      acts ??= new Acts(world)
      await partitioned(world, acts, downing.strategy, shape)
    },
  )
}

async function partitioned(
  world: World,
  acts: Acts,
  strategy: DowningOptions['strategy'] & string,
  shape: (typeof kinds)[number],
): Promise<void> {
  const watch = new MemberWatch(world)
  await world.start()
  await watch.untilEqual('formed', 60_000)
  world.sometimes(strategy)
  world.sometimes(`partition ${shape}`)
  await world.sleep(world.choose(16, 'scenario/when') * 123)
  const pairs = drawCut(world, shape)
  const isShort = world.chance(0.2, 'scenario/short')
  const undo = shape === 'flapping' ? flap(world, pairs) : cut(world, pairs)
  const from = watch.told.length
  const lives = new Map(world.nodes.map(({ name, node }) => [name, node.incarnation]))
  if (isShort) {
    // Shorter than any verdict takes: nobody goes, nobody is given up.
    await world.sleep(1_000 + world.choose(4, 'scenario/for') * 1_000)
    world.sometimes('short')
  } else {
    const isPausing = world.chance(0.5, 'scenario/pausing')
    if (isPausing) await standStill(world)
    await world.sleep(90_000)
    judgeSides(world, acts, watch, { strategy, shape, pairs, isPausing, lives })
  }
  undo()
  world.heal()
  await watch.untilEqual('one-cluster-after-heal', 120_000)
  const atMs = world.now()
  await world.sleep(1_000)
  // Who slept while others were replaced first makes sure that it counts.
  for (let left = 30; left > 0 && acts.actingSince(atMs).length < world.nodes.length; left--)
    await world.sleep(1_000)
  world.check(
    'all-act-after-heal',
    acts.actingSince(atMs).length === world.nodes.length,
    `Of all nodes only ${namesOf(acts.actingSince(atMs))} act after the heal:\n${watch.views()}`,
  )
  const told = watch.told.slice(from)
  const went = new Set(told.filter(({ event }) => event === 'self-removed').map(({ name }) => name))
  if (isShort) {
    world.check(
      'short-splits-are-borne',
      went.size === 0,
      `After a short split: ${JSON.stringify(told.find(({ event }) => event === 'self-removed'))}`,
    )
  }
  if (went.size > 0) world.sometimes('side-went')
  if (went.size === 0) world.sometimes('nobody-went')
  if (went.size === world.nodes.length) world.sometimes('all-went')
  if (told.some(({ event }) => event === 'down')) world.sometimes('others-declared-down')
}

/** Some do while their sides decide. */
async function standStill(world: World): Promise<void> {
  for (let left = 1 + world.choose(2, 'scenario/pauses'); left > 0; left--) {
    await world.sleep(world.choose(12, 'scenario/pause-at') * 1_000)
    const place = world.anyUp()
    if (place === undefined) continue
    const ms = pausesMs[world.choose(pausesMs.length, 'scenario/pause-for')] ?? 500
    world.sometimes(ms === 70_000 ? 'slept-through' : 'stood-still')
    place.pause(ms)
  }
}

/** When all is decided: those that act are one cluster, and of a clean split all of one side and nobody else act. */
function judgeSides(
  world: World,
  acts: Acts,
  watch: MemberWatch,
  { strategy, shape, pairs, isPausing, lives }: Split,
): void {
  const acting = acts.actingSince(world.now() - 1_000)
  for (const one of acting) {
    for (const other of acting) {
      world.check(
        'at-most-one-side-acts',
        one
          .members()
          .some(({ name, incarnation }) => name === other.name && incarnation === other.incarnation),
        `"${one.name}" and "${other.name}" act, and "${one.name}" does not see the other:\n${watch.views()}`,
      )
    }
  }
  if (acting.length > 0 && acting.length < world.nodes.length) world.sometimes('one-side-acts')
  const stayed = namesOf(acting.filter(({ name, incarnation }) => lives.get(name) === incarnation))
  if (strategy === 'down-all' && shape !== 'flapping') {
    // Most of them may found anew where they meet.
    world.check('down-all-downs-all', stayed === '', `${stayed} went on:\n${watch.views()}`)
  }
  const expected = isPausing ? undefined : whoStays(world, strategy, shape, pairs)
  if (expected !== undefined) {
    world.check(
      'enough-stay',
      expected.includes(stayed) && (stayed === '' || stayed === namesOf(acting)),
      `[${stayed}] went on, and [${namesOf(acting)}] act, but it should be [${expected.join('] or [')}]:\n${watch.views()}`,
    )
  }
  const sides = cleanSides(world, pairs)
  if (sides === undefined || shape === 'flapping' || strategy === 'down-all') return
  const names = namesOf(acting)
  const isOfOne = sides.some((side) => acting.every(({ name }) => side.includes(name)))
  // A split in three or more may have no side that counts enough, nor has one of two that sleeps in part.
  world.check(
    'one-side-survives',
    sides.some((side) => side.join(', ') === names) ||
      (sides.length > 2 && names === '') ||
      (isPausing && isOfOne),
    `The sides are [${sides.map((side) => side.join(', ')).join('] [')}], and those that act [${names}]:\n${watch.views()}`,
  )
}

/**
 * Who goes on, where nobody is lost to all and still some miss each other, if nobody stood still: each list may. Somebody
 * must be left, who need not have gone.
 */
function whoStays(
  world: World,
  strategy: Split['strategy'],
  shape: string,
  pairs: CutPairs,
): readonly string[] | undefined {
  if (strategy === 'down-all') return undefined
  const groups = largestGroups(world, pairs)
  switch (shape) {
    case 'bridge':
      // A half and the bridge: three of five, which is the quorum as well.
      return groups
    case 'ring':
      // Two neighbours: no quorum, but all that can be had where each reaches two of five.
      return strategy === 'static-quorum' ? [''] : groups
    case 'one-way':
      // Nobody of one side is heard on the other, so that neither can use a link: as if cut both ways.
      return strategy === 'keep-majority' || strategy === 'static-quorum' ? groups : undefined
    default:
      return undefined
  }
}

/** The largest groups of nodes of which all reach each other both ways, as lists of names. */
function largestGroups({ nodes }: World, pairs: CutPairs): readonly string[] {
  const names = nodes.map(({ name }) => name)
  const isCut = (a: string, b: string): boolean =>
    pairs.some(([{ name: from }, { name: to }]) => (from === a && to === b) || (from === b && to === a))
  const groups = Array.from({ length: 2 ** names.length }, (_, bits) =>
    names.filter((_name, at) => (bits >> at) % 2 === 1),
  ).filter((group) => group.every((a) => group.every((b) => !isCut(a, b))))
  const most = Math.max(...groups.map(({ length }) => length))
  return groups.filter(({ length }) => length === most).map((group) => group.join(', '))
}

function namesOf(nodes: readonly { readonly name: string }[]): string {
  return nodes.map(({ name }) => name).join(', ')
}
