/**
 * Who does not belong: whole nodes with the wrong secret, without one, or of another cluster; and programs that know the
 * wire and not the secret. They dial, they are dialled, and they must never be let in.
 */
import { startNode, type ClusterNode, type Link, type Transport } from '@understudy/cluster'
import type { World } from '@understudy/cluster/simulation'
import { SimulatedMachine, type SimulatedProcess } from '@understudy/runtime/simulation'
import type { LinkTap } from '../cluster/link-tap.ts'
import { Who, whoTree } from '../cluster/who.ts'

export const strangerKinds = ['wrong-secret', 'no-secret', 'wrong-cluster', 'impostor'] as const
export type StrangerKind = (typeof strangerKinds)[number]

/** Where strangers listen, and where the nodes have been told to look for a friend. */
export const strangerAddress = 'ws://127.0.0.1:7951'
const addressOf = (world: World): readonly string[] => world.nodes.map(({ address }) => address)

/** A machine that is none of the cluster's. */
export function foreignMachine(world: World, name: string): SimulatedMachine {
  return new SimulatedMachine(world.simulation, name, { zone: `zone-${name}` })
}

/** Starts a node that does not belong. */
export function startStranger(
  world: World,
  tap: LinkTap,
  life: SimulatedProcess,
  kind: StrangerKind,
  secret: string | undefined,
): Promise<ClusterNode> {
  const own = kind === 'no-secret' ? undefined : `not ${secret ?? 'a secret at all'}`
  return startNode({
    // An impostor calls itself as a member does; were it let in, the member could be put out.
    name: kind === 'impostor' ? 'b' : 'stranger',
    listen: strangerAddress,
    cluster: kind === 'wrong-cluster' ? 'another' : undefined,
    secret: kind === 'wrong-cluster' ? secret : own,
    seeds: addressOf(world),
    root: whoTree(world),
    isolation: 'codec',
    handleSignals: false,
    platform: life.platform,
    transport: tap.transport(life),
  })
}

/** A stranger asks every member of its list, again and again; nobody may answer. */
export async function pester(
  world: World,
  node: ClusterNode,
  life: SimulatedProcess,
  rounds: number,
): Promise<void> {
  for (let round = 0; round < rounds; round++) {
    await world.sleep(500 + world.choose(8, 'stranger/wait') * 250)
    if (!life.isAlive) return
    for (const { name } of world.nodes) {
      if (name === node.name) continue
      node
        .ref(Who, name, '/user/who')
        .ask({ type: 'who' }, { timeoutMs: 1_000 })
        .then(
          ({ process }) =>
            world.simulation.fail(
              'no-session-with-stranger',
              `"${process}" answered a stranger, "${life.name}"`,
            ),
          () => undefined,
        )
    }
  }
}

export const attackKinds = ['mute', 'garbage', 'drip', 'reflect', 'replay', 'half-word'] as const
export type AttackKind = (typeof attackKinds)[number]

/**
 * One connection of an attacker who has seen everything that was said on the wire, and does not have the secret. Resolves
 * when the member has ended it, or nobody was there.
 */
export async function attack(
  world: World,
  tap: LinkTap,
  life: SimulatedProcess,
  kind: AttackKind,
  address: string,
): Promise<string> {
  const transport: Transport = tap.transport(life)
  let link: Link
  try {
    link = await transport.dial(address as Parameters<Transport['dial']>[0])
  } catch (error) {
    return error instanceof Error && 'code' in error ? String(error.code) : 'unknown'
  }
  const ended = new Promise<string>((resolve) => link.onClose(({ code }) => resolve(code)))
  const { random } = world
  const overheard = tap.ends.filter(
    (end) => end.spoken.length > 0 && end.life.machine.name !== life.machine.name,
  )
  const one = overheard[world.choose(overheard.length, 'attack/overheard')]
  const words = one?.spoken ?? []
  let at = 0
  switch (kind) {
    case 'mute':
      link.onFrame(() => undefined)
      break
    case 'garbage':
      link.onFrame(() => undefined)
      for (let i = 0; i < 3; i++) {
        link.send(Uint8Array.from({ length: 1 + random.int(0, 200) }, () => random.int(0, 255)))
      }
      break
    case 'drip': {
      // A true hello, and then nothing but time.
      link.onFrame(() => undefined)
      const hello = words[0]
      if (hello !== undefined) link.send(hello.slice())
      break
    }
    case 'half-word': {
      link.onFrame(() => undefined)
      const hello = words[0]
      if (hello !== undefined) link.send(hello.slice(0, Math.max(1, hello.length >> 1)))
      break
    }
    case 'reflect':
      // What you say is what you hear: your own proof, too.
      link.onFrame((frame) => void link.send(frame.slice()))
      if (words[0] !== undefined && world.chance(0.5, 'attack/first-word')) link.send(words[0].slice())
      break
    case 'replay':
      // All that a member said when it shook hands with another one, each when it is due.
      link.onFrame(() => {
        const next = words[at++]
        if (next !== undefined) link.send(next.slice())
      })
      if (one?.isDialled === true && words[0] !== undefined) {
        at = 1
        link.send(words[0].slice())
      }
      break
    default:
      kind satisfies never
  }
  return await ended
}
