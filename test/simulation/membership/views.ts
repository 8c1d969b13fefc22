/** Everything breaks; then it does not any more, and soon all agree again. What is over stays over. */
import type { SimulatedNodeOptions, World } from '@understudy/cluster/simulation'
import type { RunInput, RunResult } from '@understudy/runtime/simulation'
import { MemberWatch } from '../cluster/member-watch.ts'
import { simulateTapped } from '../cluster/link-tap.ts'
import { askWho } from '../cluster/who.ts'
import { wireTags } from '../remote/fault-list.ts'
import { PulseWatch, pulseTree } from './pulse.ts'

export const viewsFaults = [
  ...['partition-isolate', 'partition-halves', 'partition-assignment', 'partition-minority-third'],
  ...['partition-ring', 'partition-bridge', 'partition-one-way', 'partition-zone', 'partition-flapping'],
  ...['kill', 'kill-at-effect', 'stop-gently', 'power-cut', 'pause', 'stall', 'slow-cpu'],
  ...['clog', 'swizzle', 'slow-link', 'half-open', 'reset', 'refuse-dials', 'lose-dials'],
  ...['clock-back', 'clock-drift', 'clock-offset'],
  'wire-pin',
]
/** So many kinds at once: most rest in most seeds, or nobody would ever reach anybody. */
const chances = [0, 0, 0.002, 0.02]

export const viewsTags: readonly string[] = [
  ...['one-sees-the-other-only', 'took-long-to-agree', 'given-up-and-came-back', 'recovered', 'left'],
  ...['down: unreachable', 'down: replaced', 'down: indirectly-connected', 'unreachable', 'suspected'],
  ...wireTags,
]

export function runViews(input: RunInput): Promise<RunResult> {
  const pulses = new PulseWatch()
  const node = (_: string, world: World): SimulatedNodeOptions => ({
    root: pulseTree(world, pulses),
    expect: 3,
  })
  return simulateTapped(
    { ...input, nodes: 5, node, faults: { only: viewsFaults, chances }, virtualMsMax: 1_200_000 },
    (world) => storm(world, pulses),
  )
}

async function storm(world: World, pulses: PulseWatch): Promise<void> {
  const watch = new MemberWatch(world)
  pulses.begin(world, watch)
  world.startFaults()
  // Some die before they listen.
  await Promise.allSettled(world.nodes.map((node) => node.start()))
  for (let i = 0; i < 16; i++) {
    await world.sleep(300 + world.choose(12, 'scenario/wait') * 500)
    const from = world.anyUp()
    const to = world.node(world.choose(world.nodes.length, 'scenario/to'))
    if (from !== undefined && from !== to) await askWho(world, watch, from, to.name)
    pulses.send()
    const [first, ...others] = world.up()
    const isSplit = others.some(({ name, node }) => {
      const sees = node.members().some((member) => member.name === first?.name)
      return sees !== (first?.node.members().some((member) => member.name === name) === true)
    })
    if (isSplit) world.sometimes('one-sees-the-other-only')
  }
  world.heal()
  const tookMs = await watch.untilEqual('views-equal-after-heal', 120_000)
  if (tookMs > 1_000) world.sometimes('took-long-to-agree')
  const from = watch.told.length
  pulses.send()
  await world.sleep(10_000)
  world.check(
    'quiet-after-heal',
    watch.told.length === from,
    `Long after the heal: ${JSON.stringify(watch.told.slice(from, from + 3))}`,
  )
  const ids = new Set(world.up().map(({ node }) => node.status().membership.viewId))
  world.check('view-ids-equal', ids.size === 1, `Equal views have the ids ${[...ids].join(', ')}`)
  for (const node of world.nodes) {
    for (const to of world.nodes) {
      if (node === to) continue
      const failure = await askWho(world, watch, node, to.name)
      world.check(
        'answers-after-heal',
        failure === undefined,
        `"${node.name}" asked "${to.name}": ${failure}`,
      )
    }
  }
  for (const { event, reason } of watch.told) {
    if (event === 'self-removed') world.sometimes('given-up-and-came-back')
    if (['recovered', 'left', 'unreachable', 'suspected'].includes(event)) world.sometimes(event)
    if (event === 'down') world.sometimes(`down: ${reason}`)
  }
}
