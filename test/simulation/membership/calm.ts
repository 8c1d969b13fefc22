/** Without faults nobody is given up; who dies is, by all and in time, and nobody else. */
import { downingBound } from '@understudy/cluster'
import type { SimulatedNodeOptions, World } from '@understudy/cluster/simulation'
import type { RunInput, RunResult } from '@understudy/runtime/simulation'
import { MemberWatch } from '../cluster/member-watch.ts'
import { simulateTapped } from '../cluster/link-tap.ts'
import { askWho, whoTree } from '../cluster/who.ts'

const presets = ['lan', 'local'] as const
/** SWIM: `suspicionMult` of the presets. */
const suspicionMult = { lan: 4, local: 3 } as const
/** Until a death is suspected: a period, its probe, and one more for a node that trusts itself less. */
const noticeMs = 3_000
/** Gossip, and what the suspicion waits for confirmations. */
const spreadMs = 4_000

export const quietTags: readonly string[] = ['slow-network', 'fast-network']
export const crashTags: readonly string[] = [
  ...['two-died-at-once', 'dead-machine', 'dead-process', 'found-at-once', 'found-by-the-bound', ...presets],
  ...['down: refused', 'down: unreachable'],
]

export function runQuiet(input: RunInput): Promise<RunResult> {
  return simulateTapped(
    {
      ...input,
      nodes: 3,
      node: (_, world) => ({ root: whoTree(world) }),
      faults: false,
      virtualMsMax: 3_600_000,
    },
    quiet,
  )
}

/** No fault but a slow network: in 24 minutes nobody is given up, whatever is suspected and refuted. */
async function quiet(world: World): Promise<void> {
  const watch = new MemberWatch(world)
  await world.start()
  await watch.untilEqual('formed', 240_000)
  const before = watch.told.length
  for (let minute = 0; minute < 24; minute++) {
    await world.sleep(60_000)
    const from = world.node(world.choose(world.nodes.length, 'scenario/from'))
    const to = world.node(world.choose(world.nodes.length, 'scenario/to'))
    if (from === to) continue
    const failure = await askWho(world, watch, from, to.name, 30_000)
    world.check('answers-when-quiet', failure === undefined, `"${from.name}" asked "${to.name}": ${failure}`)
  }
  const wrong = watch.told.slice(before).filter(({ event }) => event !== 'suspected' && event !== 'recovered')
  world.check(
    'no-healthy-node-given-up',
    wrong.length === 0,
    `Without a fault, ${JSON.stringify(wrong.slice(0, 3))}`,
  )
  await watch.untilEqual('views-equal', 60_000)
  const roundTrips = world
    .up()
    .flatMap(({ node }) => node.status().membership.members.map(({ roundTripMs = 0 }) => roundTripMs))
  world.sometimes(roundTrips.some((ms) => ms > 100) ? 'slow-network' : 'fast-network')
}

export function runCrash(input: RunInput): Promise<RunResult> {
  let preset: (typeof presets)[number] | undefined
  const presetOf = (world: World): (typeof presets)[number] =>
    (preset ??= presets[world.choose(presets.length, 'swarm/preset')] ?? 'lan')
  const node = (_: string, world: World): SimulatedNodeOptions => ({
    root: whoTree(world),
    membership: presetOf(world),
    expect: 3,
  })
  return simulateTapped({ ...input, nodes: 5, node, faults: false }, (world) => crash(world, presetOf(world)))
}

/** On a fast network nodes die, one or two at a time: everybody else finds out in time, and accuses nobody who lives. */
async function crash(world: World, preset: (typeof presets)[number]): Promise<void> {
  const watch = new MemberWatch(world)
  world.sometimes(preset)
  // Some way off, but steady: a frame that is late by seconds is a silence like any other.
  world.network.heal()
  await world.start()
  await watch.untilEqual('formed', 30_000)
  const bound = downingBound({}, { members: 5, suspicionMult: suspicionMult[preset] })
  const { othersDownFromMs, suspicionMinMs, stableAfterMs, marginMs } = bound
  // Where nobody confirms a suspicion it lasts six times as long.
  const boundMs = 6 * suspicionMinMs + stableAfterMs + marginMs + noticeMs + spreadMs
  for (let round = 0; round < 3; round++) {
    await world.sleep(world.choose(16, 'scenario/when') * 123)
    const victims = drawVictims(world)
    const from = watch.told.length
    const atMs = world.now()
    // Dead machines answer nothing, dead processes refuse: both must be found.
    const isSilent = world.chance(0.5, 'scenario/silent')
    const mends = isSilent ? [...victims].map((name) => world.network.loseDials(name)) : []
    for (const name of victims) world.node(name).kill()
    if (victims.size > 1) world.sometimes('two-died-at-once')
    world.sometimes(isSilent ? 'dead-machine' : 'dead-process')
    const alive = world.nodes.filter(({ name }) => !victims.has(name))
    await world.until(
      'dead-are-found-down',
      () => alive.every(({ node }) => node.members().length === alive.length),
      { withinMs: boundMs, everyMs: 10 },
    )
    const tookMs = world.now() - atMs
    if (tookMs < 2_000) world.sometimes('found-at-once')
    if (tookMs > othersDownFromMs) world.sometimes('found-by-the-bound')
    // And it stays that way, until they come back.
    await world.sleep(5_000 + world.choose(4, 'scenario/rest') * 1_000)
    for (const { by, event, name, reason } of watch.told.slice(from)) {
      world.check(
        'no-healthy-node-accused',
        victims.has(name),
        `"${by}" says ${event} of "${name}", which lives: ${reason}`,
      )
      if (event === 'down') world.sometimes(`down: ${reason}`)
    }
    for (const mend of mends) mend()
    for (const name of victims) world.node(name).restart()
    await watch.untilEqual('formed-again', 30_000)
  }
}

function drawVictims(world: World): ReadonlySet<string> {
  const count = 1 + world.choose(2, 'scenario/how-many')
  const victims = new Set<string>()
  for (let i = 0; i < count; i++) {
    victims.add(world.node(world.choose(world.nodes.length, `scenario/victim-${i}`)).name)
  }
  return victims
}
