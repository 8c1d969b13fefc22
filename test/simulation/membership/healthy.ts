/**
 * Up to two of five nodes suffer: they die, stand still, are cut off, lose their links. Nobody gives up any of the others, and
 * who suffered for a moment only is not given up either: its refutation beats the suspicion.
 */
import type { SimulatedNode, SimulatedNodeOptions, World } from '@understudy/cluster/simulation'
import type { RunInput, RunResult } from '@understudy/runtime/simulation'
import { MemberWatch, type Told } from '../cluster/member-watch.ts'
import { simulateTapped } from '../cluster/link-tap.ts'
import { PulseWatch, pulseTree } from './pulse.ts'

/** Shorter than a suspicion: whoever is back by then refutes it. */
const briefMs = [500, 1_500, 3_000] as const
const longMs = [8_000, 20_000, 45_000] as const
const ways = [
  ...[
    'pause',
    'stall',
    'clog-both',
    'clog-into',
    'clog-out-of',
    'half-open',
    'reset',
    'slow',
    'kill',
    'leave',
  ],
] as const

export const healthyTags: readonly string[] = [
  ...ways,
  ...['brief', 'long', 'two-suffer', 'suspected', 'refuted', 'unreachable', 'given-up', 'came-back'],
]

export function runHealthy(input: RunInput): Promise<RunResult> {
  const pulses = new PulseWatch()
  const node = (_: string, world: World): SimulatedNodeOptions => ({
    root: pulseTree(world, pulses),
    expect: 3,
  })
  return simulateTapped({ ...input, nodes: 5, node, faults: false, virtualMsMax: 1_200_000 }, (world) =>
    suffering(world, pulses),
  )
}

async function suffering(world: World, pulses: PulseWatch): Promise<void> {
  const watch = new MemberWatch(world)
  pulses.begin(world, watch)
  // Of a network with seconds of delay nobody could say who is healthy.
  world.network.heal()
  await world.start()
  await watch.untilEqual('formed', 30_000)
  const isBrief = world.chance(0.5, 'swarm/brief')
  world.sometimes(isBrief ? 'brief' : 'long')
  const count = 1 + world.choose(2, 'swarm/how-many')
  const victims = new Set<SimulatedNode>()
  for (let i = 0; i < count; i++) {
    victims.add(world.node(world.choose(world.nodes.length, `swarm/victim-${i}`)))
  }
  if (victims.size > 1) world.sometimes('two-suffer')
  const names = new Set([...victims].map(({ name }) => name))
  const from = watch.told.length
  let isOver = false
  const beat = async (): Promise<void> => {
    while (!isOver) {
      await world.sleep(250)
      pulses.send()
    }
  }
  const beats = beat()
  await Promise.all(
    [...victims].map(async (victim) => {
      for (let i = 0; i < (isBrief ? 4 : 2); i++) {
        await world.sleep(world.choose(16, `${victim.name}/when`) * 250)
        await suffer(world, victim, isBrief)
        // What is left of the one disturbance must not add to the next.
        await world.sleep(isBrief ? 8_000 : world.choose(4, `${victim.name}/rest`) * 5_000)
      }
    }),
  )
  world.heal()
  await watch.untilEqual('views-equal-after-heal', 90_000)
  isOver = true
  await beats
  const told = watch.told.slice(from)
  for (const one of told) judgeOne(world, one, names, isBrief)
  tellTags(world, told)
}

function judgeOne(world: World, told: Told, victims: ReadonlySet<string>, isBrief: boolean): void {
  const { by, event, name, reason, incarnation } = told
  const isEnd = event === 'down' || event === 'self-removed'
  world.check(
    'no-healthy-node-given-up',
    victims.has(name) || (!isEnd && event !== 'left' && (event !== 'unreachable' || victims.has(by))),
    `"${by}" says ${event} of "${name}" ${incarnation} (${reason}), which suffered nothing`,
  )
  world.check(
    'refutation-beats-suspicion',
    !isBrief || !isEnd || reason === 'replaced',
    `"${by}" says ${event} of "${name}" ${incarnation} (${reason}), which was gone for a moment only`,
  )
}

/** One disturbance of one node, to its end. */
async function suffer(world: World, victim: SimulatedNode, isBrief: boolean): Promise<void> {
  const { network } = world
  const { name } = victim
  const among = isBrief ? 8 : ways.length
  const way = ways[world.choose(among, `${name}/how`)] ?? 'pause'
  const lengths = isBrief ? briefMs : longMs
  const forMs = lengths[world.choose(lengths.length, `${name}/for`)] ?? 1_500
  world.sometimes(way)
  switch (way) {
    case 'pause':
      victim.pause(forMs)
      break
    case 'stall':
      victim.stall(forMs)
      break
    case 'clog-both':
      network.clog(name, '*', { forMs })
      network.clog('*', name, { forMs })
      break
    case 'clog-into':
      network.clog('*', name, { forMs })
      break
    case 'clog-out-of':
      network.clog(name, '*', { forMs })
      break
    case 'half-open':
      network.halfOpen(name, '*', { forMs })
      break
    case 'reset':
      network.reset(name, '*')
      break
    case 'slow':
      network.limit(name, '*', { slowFactor: 1_000 }, { forMs })
      break
    case 'kill':
      victim.kill()
      await world.sleep(forMs)
      await victim.start()
      return
    case 'leave':
      await victim.shutdown()
      await world.sleep(forMs)
      await victim.start()
      return
    default:
      return
  }
  await world.sleep(forMs)
}

function tellTags(world: World, told: readonly Told[]): void {
  for (const { event, reason } of told) {
    if (event === 'suspected' || event === 'unreachable') world.sometimes(event)
    if (event === 'recovered') world.sometimes('refuted')
    if (event === 'down' && reason !== 'replaced') world.sometimes('given-up')
    if (event === 'self-removed') world.sometimes('came-back')
  }
}
