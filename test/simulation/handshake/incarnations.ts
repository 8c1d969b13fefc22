/**
 * Nodes that die, come back, come back with a clock that was set back, or run twice: each incarnation is one life, an old
 * one is never taken in again, and a name belongs to one at a time.
 */
import { startNode, type ClusterNode } from '@understudy/cluster'
import type { World } from '@understudy/cluster/simulation'
import type { LinkTap } from '../cluster/link-tap.ts'
import { MemberWatch } from '../cluster/member-watch.ts'
import { askWho, whoTree } from '../cluster/who.ts'
import { foreignMachine, strangerAddress } from './stranger.ts'
import { formedWithinMs } from './strangers.ts'

export const incarnationTags = [
  'came-back-with-an-older-clock',
  'self-removed',
  'replaced',
  'recovered',
  'found-down',
  'left',
] as const

export async function incarnations(world: World): Promise<void> {
  const watch = new MemberWatch(world)
  await world.start()
  await watch.untilEqual('formed', formedWithinMs)
  world.startFaults()
  const highest = new Map<string, number>()
  for (let i = 0; i < 12; i++) {
    await world.sleep(200 + world.choose(12, 'scenario/wait') * 200)
    const from = world.anyUp()
    const to = world.node(world.choose(world.nodes.length, 'scenario/to'))
    if (from !== undefined && from !== to) await askWho(world, watch, from, to.name)
    if (world.chance(0.2, 'scenario/step-back')) {
      const back = world.node(world.choose(world.nodes.length, 'scenario/who'))
      if (back.mayFail()) {
        back.kill()
        back.machine.clock.jump(-60_000 * (1 + world.choose(10, 'scenario/by')))
        back.restart()
        world.sometimes('came-back-with-an-older-clock')
      }
    }
    for (const { name, node } of world.up()) {
      if (node.incarnation < (highest.get(name) ?? 0)) world.sometimes('came-back-with-an-older-clock')
      highest.set(name, Math.max(highest.get(name) ?? 0, node.incarnation))
    }
  }
  world.heal()
  await watch.untilEqual('formed-after-heal', formedWithinMs)
  await allAnswer(world, watch)
  tellTags(world, watch)
}

export const nameTakenTags = [
  'double-refused',
  'double-let-in',
  'double-learnt-why',
  'original-refused',
  'started-before',
] as const

/** Two nodes of one name, both with the secret, at two addresses: every other node has one of them at a time. */
export async function nameTaken(world: World, tap: LinkTap, secret: string): Promise<void> {
  const watch = new MemberWatch(world, { areNamesUnique: false })
  await world.start()
  await watch.untilEqual('formed', formedWithinMs)
  world.startFaults()
  const machine = foreignMachine(world, 'double')
  const life = machine.start()
  const isQuiet = world.chance(0.3, 'swarm/down')
  if (isQuiet) {
    // The name is free for a while.
    world.node('b').kill()
    world.sometimes('started-before')
  }
  const double = await startNode({
    name: 'b',
    listen: strangerAddress,
    secret,
    seeds: world.nodes.map(({ address }) => address),
    root: whoTree(world),
    isolation: 'codec',
    handleSignals: false,
    platform: life.platform,
    transport: tap.transport(life),
  })
  for (let i = 0; i < 10; i++) {
    await world.sleep(300 + world.choose(12, 'scenario/wait') * 200)
    if (isQuiet && i === 4) world.node('b').restart()
    const from = world.anyUp()
    if (from !== undefined && from.name !== 'b') await askWho(world, watch, from, 'b')
    for (const { name, node } of world.up()) {
      const seen = node.members().find((member) => member.name === 'b')
      if (name !== 'b' && seen?.address === strangerAddress) world.sometimes('double-let-in')
      if (name !== 'b' && (node.status().refused['CLUSTER_NODE_NAME_TAKEN'] ?? 0) > 0)
        world.sometimes('double-refused')
      if (name === 'b' && (node.status().refused['CLUSTER_NODE_NAME_TAKEN'] ?? 0) > 0)
        world.sometimes('original-refused')
    }
    noteDouble(world, double)
  }
  life.kill()
  world.heal()
  await watch.untilEqual('formed-after-heal', formedWithinMs)
  await allAnswer(world, watch)
}

function noteDouble(world: World, double: ClusterNode): void {
  if ((double.status().refused['CLUSTER_NODE_NAME_TAKEN'] ?? 0) > 0) world.sometimes('double-learnt-why')
}

async function allAnswer(world: World, watch: MemberWatch): Promise<void> {
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
}

function tellTags(world: World, watch: MemberWatch): void {
  for (const { event, reason } of watch.told) {
    if (event === 'self-removed') world.sometimes('self-removed')
    if (event === 'down') world.sometimes(reason === 'replaced' ? 'replaced' : 'found-down')
    if (event === 'recovered') world.sometimes('recovered')
    if (event === 'left') world.sometimes('left')
  }
}
