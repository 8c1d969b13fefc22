/**
 * All nodes start at once, dial each other at once, over a network that breaks: they settle on one link for each pair, and
 * whoever finds itself behind another spelling of its own address drops it.
 */
import type { World } from '@understudy/cluster/simulation'
import { isExtraLane, type LinkTap, type TappedEnd } from '../cluster/link-tap.ts'
import { judge, MemberWatch } from '../cluster/member-watch.ts'
import { askWho } from '../cluster/who.ts'

export const settleTags = [
  'two-links-at-once',
  'dialled-itself',
  'link-broke',
  'dial-found-nobody',
  'handshake-timed-out',
  'formed-under-faults',
  'member-suspected',
  'member-recovered',
  'formed-at-last',
  'frame-corrupted',
  'frame-truncated',
] as const

/** How long a node may keep two control links to one peer: its wait for the other one's choice, which was on its way. */
const doubleMsMax = 5_000 + 500
/** How long it takes at most until all have found each other, once nothing stands in the way. */
export const formedWithinMs = 20_000

export async function settle(world: World, tap: LinkTap, own: readonly string[]): Promise<void> {
  const watch = new MemberWatch(world)
  const doubles = new Map<string, number>()
  tap.onEstablished = (end) => {
    judge(
      world,
      'never-linked-to-itself',
      end.peer !== end.life.machine.name,
      `"${end.life.name}" has established a link to itself`,
    )
    if (tap.open(end.life, end.peer).filter(isUsed).length < 2) return
    world.sometimes('two-links-at-once')
    watchDouble(world, tap, end, doubles)
  }
  world.startFaults()
  await world.start()
  for (let i = 0; i < 8; i++) {
    await world.sleep(100 + world.choose(16, 'scenario/wait') * 200)
    const from = world.node(world.choose(world.nodes.length, 'scenario/from'))
    const to = world.node(world.choose(world.nodes.length, 'scenario/to'))
    if (from !== to) await askWho(world, watch, from, to.name)
    if (watch.agree()) world.sometimes('formed-under-faults')
  }
  world.heal()
  const tookMs = await watch.untilEqual('formed-after-heal', formedWithinMs)
  if (tookMs > 0) world.sometimes('formed-at-last')
  // Links that were opened while the others were found may still be there; none may stay.
  await world.sleep(doubleMsMax + 5_500)
  for (const node of world.nodes) {
    for (const other of world.nodes) if (node !== other) checkOneLink(world, tap, node.name, other.name)
    const seeds = node.node.status().membership.links.dials
    world.check(
      'own-address-dropped',
      node.name !== 'a' || !seeds.some(({ address }) => own.includes(address)),
      `"${node.name}" still dials itself: ${JSON.stringify(seeds)}`,
    )
    for (const to of world.nodes) {
      if (node === to) continue
      const failure = await askWho(world, watch, node, to.name)
      world.check(
        'answers-after-heal',
        failure === undefined,
        `"${node.name}" asked "${to.name}": ${failure}`,
      )
    }
    const { refused } = node.node.status()
    if (refused['CLUSTER_HANDSHAKE_TIMEOUT'] !== undefined) world.sometimes('handshake-timed-out')
  }
  for (const { event } of watch.told) {
    if (event === 'suspected') world.sometimes('member-suspected')
    if (event === 'recovered') world.sometimes('member-recovered')
  }
  if (
    tap.ends.some(
      ({ endedAtMs, establishedAtMs }) => establishedAtMs !== undefined && endedAtMs !== undefined,
    )
  )
    world.sometimes('link-broke')
  if (tap.selfDials > 0) world.sometimes('dialled-itself')
  if (tap.failedDials > 0) world.sometimes('dial-found-nobody')
}

/** Two links to one peer: one of them goes within the time. */
function watchDouble(world: World, tap: LinkTap, end: TappedEnd, doubles: Map<string, number>): void {
  const { life, peer } = end
  const key = `${life.name} ${peer}`
  if (doubles.has(key)) return
  doubles.set(key, world.now())
  const both = tap.open(life, peer).filter(isUsed)
  world.simulation.at(world.now() + doubleMsMax + 200, life, 'two-links', () => {
    doubles.delete(key)
    const left = both.filter(({ endedAtMs }) => endedAtMs === undefined)
    judge(
      world,
      'one-link-per-peer',
      left.length < 2,
      `"${life.name}" has had ${left.length} links to "${peer}" for more than ${doubleMsMax} ms`,
    )
  })
}

function checkOneLink(world: World, tap: LinkTap, from: string, to: string): void {
  const { process: life } = world.node(from)
  const open = life === undefined ? [] : tap.open(life, to).filter(isUsed)
  world.check(
    'one-link-per-peer',
    open.length === 1,
    `"${from}" has ${open.length} links to "${to}" when all is quiet`,
  )
}

/** A control link after its handshake: lanes come and go with it. */
function isUsed(end: TappedEnd): boolean {
  return end.establishedAtMs !== undefined && !isExtraLane(end)
}
