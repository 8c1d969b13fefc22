/** Nodes start in any order, over a network that is cut at first: exactly one cluster is founded. */
import type { SimulatedNodeOptions, World } from '@understudy/cluster/simulation'
import type { RunInput, RunResult } from '@understudy/runtime/simulation'
import { MemberWatch } from '../cluster/member-watch.ts'
import { simulateTapped } from '../cluster/link-tap.ts'
import { onEachNode } from './acts.ts'
import { cut, drawCut, shapeNames } from './cuts.ts'

const count = 5

/** What makes it certain that only one is founded; see `BootstrapCore`. */
const rules = ['majority', 'shared-seed', 'seed-first'] as const
type Rule = (typeof rules)[number]

export const bootstrapTags: readonly string[] = [
  ...rules,
  ...['cut-at-first', 'founded-by-many', 'joined-later', 'started-late', 'restarted-early'],
]

export function runBootstrap(input: RunInput): Promise<RunResult> {
  let rule: Rule | undefined
  const ruleOf = (world: World): Rule =>
    (rule ??= rules[world.choose(rules.length, 'swarm/rule')] ?? 'majority')
  const node = (_: string, world: World): SimulatedNodeOptions => {
    const seeds = world.nodes.slice(0, 1).map(({ address }) => address)
    switch (ruleOf(world)) {
      case 'majority':
        return { expect: 3 }
      case 'shared-seed':
        return { expect: 2, seeds }
      case 'seed-first':
        return { seeds }
    }
  }
  return simulateTapped({ ...input, nodes: count, node, faults: false, virtualMsMax: 600_000 }, (world) =>
    begun(world, ruleOf(world)),
  )
}

interface Founding {
  readonly by: string
  readonly group: readonly string[]
}

async function begun(world: World, rule: Rule): Promise<void> {
  const watch = new MemberWatch(world)
  const foundings: Founding[] = []
  world.sometimes(rule)
  onEachNode(world, (node, by) => {
    const { bootstrap } = node.status().membership
    // Without anybody to wait for it founds before it is known to run.
    if (bootstrap.phase === 'alive') foundings.push({ by, group: [by] })
    node.events.on('self-up', ({ how, with: group }) => {
      if (how === 'founded') foundings.push({ by, group })
      else world.sometimes('joined-later')
    })
  })
  // The second and third rule hold for networks on which the seed answers in time.
  if (rule !== 'majority') world.network.heal()
  const isCut = rule === 'majority' && world.chance(0.6, 'swarm/cut')
  const shape = shapeNames[world.choose(shapeNames.length, 'swarm/shape')] ?? 'isolate'
  if (isCut) world.sometimes('cut-at-first')
  let uncut = isCut ? drawCut(world, shape) : []
  const undos: (() => void)[] = []
  /** Only machines that have run are known to the network; nobody has shaken hands within the step of its start. */
  const cutKnown = (): void => {
    const { hosts } = world.network
    const known = uncut.filter(([from, to]) => hosts.includes(from.name) && hosts.includes(to.name))
    uncut = uncut.filter((pair) => !known.includes(pair))
    undos.push(cut(world, known))
  }
  // Whoever finds nobody at its only seed is the first.
  const seedStarted = rule === 'seed-first' ? world.node(0).start() : undefined
  await world.parallel(count, async (index) => {
    const place = world.node(index)
    const isFirst = rule === 'seed-first' && index === 0
    const afterMs = isFirst ? 0 : world.choose(16, 'scenario/start') * 300
    if (afterMs > 2_000) world.sometimes('started-late')
    await world.sleep(afterMs)
    if (rule === 'seed-first' && !isFirst) await seedStarted
    await place.start()
    cutKnown()
    // Whoever dies before it was in must not have founded anything.
    if (rule !== 'majority' || !world.chance(0.15, 'scenario/restart')) return
    await world.sleep(world.choose(8, 'scenario/dies') * 250)
    if (place.node.status().membership.bootstrap.phase === 'alive') return
    world.sometimes('restarted-early')
    await place.crashAndRestart()
  })
  await world.sleep(world.choose(12, 'scenario/cut-for') * 1_000)
  for (const undo of undos) undo()
  world.heal()
  await watch.untilEqual('one-cluster', 90_000)
  world.check('somebody-founds', foundings.length > 0, 'Nobody says that it founded the cluster')
  for (const one of foundings) {
    for (const other of foundings) {
      world.check(
        'one-founding-cluster',
        one.group.some((name) => other.group.includes(name)),
        `"${one.by}" founded with ${one.group.join(', ')}, "${other.by}" with ${other.group.join(', ')}`,
      )
    }
  }
  if (foundings.some(({ group }) => group.length > 2)) world.sometimes('founded-by-many')
}
