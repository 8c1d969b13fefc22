/**
 * One of ten stands still: it accuses nobody, nobody but it may be given up, and nothing of it acts before it knows where it
 * stands. Lifeguard's case (pitfalls M5, M13).
 */
import { child, supervisor } from '@understudy/runtime'
import type { SimulatedNodeOptions, World } from '@understudy/cluster/simulation'
import type { RunInput, RunResult } from '@understudy/runtime/simulation'
import { MemberWatch } from '../cluster/member-watch.ts'
import { simulateTapped } from '../cluster/link-tap.ts'
import { Acts } from './acts.ts'

/** How long one push-pull is, and until a new life has met all. */
const backWithinMs = 30_000 + 15_000

export const stallTags: readonly string[] = [
  ...['paused', 'stalled', 'kept', 'given-up', 'told-on-waking', 'refuted', 'short'],
]

export function runStall(input: RunInput): Promise<RunResult> {
  let acts: Acts | undefined
  let isQuick: boolean | undefined
  const node = (_: string, world: World): SimulatedNodeOptions => {
    acts ??= new Acts(world)
    // Quick enough to give up who stands still for ten seconds.
    isQuick ??= world.chance(0.5, 'swarm/quick-downing')
    return {
      root: supervisor({}, [child('ticker', acts.ticker())]),
      downing: isQuick ? { stableAfterMs: 1_500, marginMs: 1_500 } : {},
      expect: 6,
    }
  }
  return simulateTapped(
    { ...input, nodes: 10, node, faults: false, virtualMsMax: 600_000 },
    async (world) => {
      acts ??= new Acts(world)
      await stalled(world, acts)
    },
  )
}

async function stalled(world: World, acts: Acts): Promise<void> {
  const watch = new MemberWatch(world)
  world.network.heal()
  await world.start()
  await watch.untilEqual('formed', 60_000)
  await world.sleep(world.choose(16, 'scenario/when') * 123)
  const victim = world.node(world.choose(world.nodes.length, 'scenario/who'))
  const ms = [10_000, 10_000, 2_500, 30_000][world.choose(4, 'scenario/for')] ?? 10_000
  const from = watch.told.length
  const life = victim.node.incarnation
  // Shorter than the shortest suspicion: nobody can have given it up meanwhile.
  if (ms > 4_000) acts.mustBeConfirmed(victim.name, world.now() + ms)
  if (world.chance(0.5, 'scenario/how')) {
    victim.stall(ms)
    world.sometimes('stalled')
  } else {
    victim.pause(ms)
    world.sometimes('paused')
  }
  // A step that takes long begins with the next one.
  await world.sleep(ms + 200)
  const backMs = world.now()
  await watch.untilEqual('back-in-every-view', backWithinMs)
  const told = watch.told.slice(from)
  for (const { by, event, name, reason } of told) {
    world.check(
      'no-other-is-given-up',
      name === victim.name || !['down', 'left', 'unreachable', 'self-removed'].includes(event),
      `"${by}" says ${event} of "${name}" (${reason}), when it was "${victim.name}" that stood still`,
    )
    world.check(
      'who-stood-still-accuses-nobody',
      by !== victim.name || event !== 'suspected',
      `"${by}", which had stood still, suspects "${name}" (${reason})`,
    )
  }
  const isGivenUp = told.some(({ event, by }) => event === 'down' && by !== victim.name)
  const isTold = told.some(({ event }) => event === 'self-removed')
  world.check(
    'who-is-given-up-is-told',
    isGivenUp === isTold && isTold === (victim.node.incarnation !== life),
    `"${victim.name}" ${isGivenUp ? 'was' : 'was not'} given up, ${isTold ? 'was' : 'was not'} told`,
  )
  if (ms < 3_000) {
    world.check('short-stalls-are-borne', !isGivenUp, `"${victim.name}" was given up after ${ms} ms`)
    world.sometimes('short')
  }
  world.sometimes(isGivenUp ? 'given-up' : 'kept')
  if (isTold) world.sometimes('told-on-waking')
  if (told.some(({ event, name }) => event === 'recovered' && name === victim.name))
    world.sometimes('refuted')
  world.check(
    'acts-again',
    acts.lastMs(victim.name, victim.node.incarnation) > backMs,
    `"${victim.name}" is back in every view, and does not act`,
  )
}
