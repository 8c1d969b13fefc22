/**
 * Five nodes fall apart under the downing strategy `lease`, and the lease is a lock of a table on three of them, which falls apart with
 * them: at most one side goes on, however the nodes stand still meanwhile, and when the way is open again all are one cluster.
 */
import { child, supervisor } from '@understudy/runtime'
import type { SimulatedNodeOptions, World } from '@understudy/cluster/simulation'
import { lockDowningLease } from '@understudy/protocols'
import type { RunInput, RunResult } from '@understudy/runtime/simulation'
import { simulateTapped } from '../cluster/link-tap.ts'
import { MemberWatch } from '../cluster/member-watch.ts'
import { Acts } from '../membership/acts.ts'
import { cleanSides, cut, drawCut, flap, shapeNames, type CutPairs } from '../membership/cuts.ts'
import { LockBed } from './lock-bed.ts'

export const downingTags: readonly string[] = [
  ...[
    'split-in-two',
    'flapping',
    'stood-still',
    'slept-through',
    'one-side-acts',
    'few-go-on',
    'nobody-went',
    'side-went',
  ],
]

const tableNodes = ['a', 'b', 'c'] as const
const nodes = 5

export function runDowning(input: RunInput): Promise<RunResult> {
  let bed: LockBed | undefined
  let acts: Acts | undefined
  const node = (name: string, world: World): SimulatedNodeOptions => {
    acts ??= new Acts(world)
    return {
      root: supervisor({}, [child('ticker', acts.ticker())]),
      // All: those of the side that went must not meet and found another cluster beside the one that lives.
      expect: nodes,
      downing: { strategy: 'lease' },
      // Asked when it is needed: the node that carries the client has been started by then.
      downingLease: lockDowningLease(() => bed?.client(world.node(name))),
    }
  }
  return simulateTapped({ ...input, nodes, node, faults: false, virtualMsMax: 1_200_000 }, async (world) => {
    acts ??= new Acts(world)
    bed = new LockBed(world, { members: tableNodes, tags: downingTags })
    await downing(world, acts, bed)
  })
}

async function downing(world: World, acts: Acts, bed: LockBed): Promise<void> {
  const watch = new MemberWatch(world)
  await world.start()
  await watch.untilEqual('formed', 60_000)
  await world.until('the table has a leader', () => bed.leader() !== undefined, { withinMs: 30_000 })
  await world.sleep(world.choose(16, 'scenario/when') * 123)
  const isFlapping = world.chance(0.15, 'scenario/flapping')
  const pairs = isFlapping ? drawCut(world, 'flapping') : drawPairs(world)
  const undo = isFlapping ? flap(world, pairs) : cut(world, pairs)
  if (isFlapping) bed.met('flapping')
  const from = watch.told.length
  await standStill(world, bed)
  await world.sleep(90_000)
  judgeSides(world, acts, watch, bed, isFlapping ? undefined : cleanSides(world, pairs))
  undo()
  world.heal()
  await watch.untilEqual('one-cluster-after-heal', 180_000)
  const atMs = world.now()
  // Who slept while all others were replaced asks for the lease before it acts: as long as for a lost member.
  for (let left = 60; left > 0 && acts.actingSince(atMs).length < nodes; left--) await world.sleep(1_000)
  world.check(
    'all-act-after-heal',
    acts.actingSince(atMs).length === nodes,
    `Of all nodes only ${namesOf(acts.actingSince(atMs))} act after the heal:\n${watch.views()}`,
  )
  const went = watch.told.slice(from).some(({ event }) => event === 'self-removed')
  bed.met(went ? 'side-went' : 'nobody-went')
}

/** Mostly two sides. */
function drawPairs(world: World): CutPairs {
  if (world.chance(0.25, 'scenario/shape')) {
    return drawCut(world, shapeNames[world.choose(shapeNames.length, 'scenario/which')] ?? 'isolate')
  }
  // Neither side is empty.
  const mask = 1 + world.choose(2 ** nodes - 2, 'scenario/sides')
  const isHere = (at: number): boolean => (mask & (1 << at)) !== 0
  return world.nodes.flatMap((one, i) =>
    world.nodes
      .filter((_, j) => isHere(i) !== isHere(j))
      .map((other) => [{ name: one.name }, { name: other.name }] as const),
  )
}

/** Some do while their sides ask: for a moment, until they are seen as unreachable, or until all is decided without them. */
async function standStill(world: World, bed: LockBed): Promise<void> {
  for (let left = world.choose(3, 'scenario/pauses'); left > 0; left--) {
    await world.sleep(world.choose(12, 'scenario/pause-at') * 1_000)
    const place = world.nodes[world.choose(nodes, 'scenario/pause')]
    if (place === undefined || !place.isUp) continue
    const ms = [500, 2_000, 10_000, 70_000][world.choose(4, 'scenario/pause-for')] ?? 500
    bed.met(ms === 70_000 ? 'slept-through' : 'stood-still')
    place.pause(ms)
  }
}

/** Those that act are one cluster; of a clean split, all of them are of one side. */
function judgeSides(
  world: World,
  acts: Acts,
  watch: MemberWatch,
  bed: LockBed,
  sides: readonly (readonly string[])[] | undefined,
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
  if (acting.length > 0 && acting.length < nodes) bed.met('one-side-acts')
  if (sides === undefined) return
  if (sides.length === 2) bed.met('split-in-two')
  const names = acting.map(({ name }) => name)
  const side = sides.find((one) => names.some((name) => one.includes(name)))
  world.check(
    'one-side-survives',
    side === undefined || names.every((name) => side.includes(name)),
    `The sides are [${sides.map((one) => one.join(', ')).join('] [')}], and those that act ${namesOf(acting)}`,
  )
  if (side !== undefined && side.length * 2 < nodes) bed.met('few-go-on')
}

function namesOf(found: readonly { readonly name: string }[]): string {
  return found.map(({ name }) => name).join(', ')
}
