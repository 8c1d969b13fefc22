/** Nodes that do not belong, among nodes that do: never a session between the two, whatever breaks. */
import type { World } from '@understudy/cluster/simulation'
import type { LinkTap } from '../cluster/link-tap.ts'
import { judge, MemberWatch } from '../cluster/member-watch.ts'
import { askWho } from '../cluster/who.ts'
import { attack, attackKinds, foreignMachine, pester, startStranger, strangerKinds } from './stranger.ts'

export const strangerTags: readonly string[] = [
  ...strangerKinds.map((kind) => `refused ${kind}`),
  'stranger-dialled-by-member',
  'stranger-came-first',
  'member-killed',
  'no-secret-at-all',
  'impostor-while-member-is-down',
  'frame-corrupted',
  'frame-truncated',
]
export const attackTags: readonly string[] = [
  ...attackKinds.map((kind) => `ended ${kind}`),
  'cut off by the deadline',
  'frame-corrupted',
  'frame-truncated',
]

export const formedWithinMs = 30_000

/** Ends the run when a member takes somebody who does not belong for one who does. */
function keepOut(world: World, tap: LinkTap, names: readonly string[]): void {
  const members = new Set(world.nodes.map(({ name }) => name))
  tap.onEstablished = (end) => {
    judge(
      world,
      'no-session-with-stranger',
      !members.has(end.life.machine.name) || !names.includes(end.peer),
      `"${end.life.name}" has shaken hands with "${end.peer}"`,
    )
    judge(
      world,
      'no-session-with-stranger',
      members.has(end.life.machine.name) || !members.has(end.peer),
      `A stranger, "${end.life.name}", takes "${end.peer}" for one of its own`,
    )
  }
}

export async function strangers(world: World, tap: LinkTap, secret: string | undefined): Promise<void> {
  const members = new Set(world.nodes.map(({ name }) => name))
  const watch = new MemberWatch(world, { mayJoin: (life) => members.has(life.machine.name) })
  // Without a secret on either side a wrong one cannot be, nor can an impostor be told.
  const kinds = secret === undefined ? (['wrong-secret', 'wrong-cluster'] as const) : strangerKinds
  const kind = kinds[world.choose(kinds.length, 'swarm/stranger')] ?? kinds[0]
  if (secret === undefined) world.sometimes('no-secret-at-all')
  const machine = foreignMachine(world, 'foreign')
  keepOut(world, tap, [machine.name])
  world.startFaults()
  const life = machine.start()
  if (world.chance(0.3, 'swarm/first')) {
    world.sometimes('stranger-came-first')
  } else {
    await startAll(world)
  }
  const stranger = await startStranger(world, tap, life, kind, secret)
  await startAll(world)
  const pestering = pester(world, stranger, life, 12)
  for (let i = 0; i < 10; i++) {
    await world.sleep(200 + world.choose(12, 'scenario/wait') * 200)
    const from = world.anyUp()
    const to = world.node(world.choose(world.nodes.length, 'scenario/to'))
    if (from !== undefined && from !== to) await askWho(world, watch, from, to.name)
    if (world.up().length < world.nodes.length) world.sometimes('member-killed')
    if (kind === 'impostor' && !world.node('b').isUp) world.sometimes('impostor-while-member-is-down')
  }
  await pestering
  world.heal()
  await watch.untilEqual('formed-after-heal', formedWithinMs)
  const refusedBefore = refusals(world)
  // Somebody dials at least every 5 s.
  await world.sleep(16_000)
  world.check(
    'strangers-still-refused',
    refusals(world) > refusedBefore,
    `In 16 s after the heal no member has refused the stranger (${kind})`,
  )
  world.sometimes(`refused ${kind}`)
  world.check(
    'strangers-still-refused',
    stranger.members().length === 1,
    `The stranger (${kind}) has members: ${JSON.stringify(stranger.members())}`,
  )
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
  if (tap.ends.some((end) => end.isDialled && end.peer === machine.name)) {
    world.sometimes('stranger-dialled-by-member')
  }
}

/** Some may die before they listen. */
async function startAll(world: World): Promise<void> {
  await Promise.allSettled(world.nodes.map((node) => node.start()))
}

/** Refusals that the members have counted. */
function refusals(world: World): number {
  return world.up().reduce((sum, { node }) => {
    const { refused } = node.status()
    return sum + (refused['CLUSTER_WRONG_SECRET'] ?? 0) + (refused['CLUSTER_WRONG_CLUSTER'] ?? 0)
  }, 0)
}

/** Programs that speak the wire and do not have the secret: each connection of theirs ends, and soon. */
export async function attacked(world: World, tap: LinkTap): Promise<void> {
  const watch = new MemberWatch(world)
  const machine = foreignMachine(world, 'foreign')
  keepOut(world, tap, [machine.name])
  tap.lawless.add(machine.name)
  await world.start()
  await watch.untilEqual('formed', formedWithinMs)
  world.startFaults()
  const life = machine.start()
  await world.parallel(3, async () => {
    for (let i = 0; i < 5; i++) {
      await world.sleep(50 + world.choose(8, 'attack/wait') * 200)
      const target = world.node(world.choose(world.nodes.length, 'attack/target'))
      const kind = attackKinds[world.choose(attackKinds.length, 'attack/kind')] ?? 'mute'
      const code = await attack(world, tap, life, kind, target.address)
      world.sometimes(`ended ${kind}`)
      if (code === 'CLUSTER_HANDSHAKE_TIMEOUT') world.sometimes('cut off by the deadline')
    }
  })
  world.heal()
  await watch.untilEqual('formed-after-heal', formedWithinMs)
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
