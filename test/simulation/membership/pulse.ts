/** Messages that say which life sent them: none of a life that is over arrives where that was said. */
import { actor, child, protocol, supervisor, tell, type AnyDefinition } from '@understudy/runtime'
import type { World } from '@understudy/cluster/simulation'
import Type from 'typebox'
import { judge, type MemberWatch } from '../cluster/member-watch.ts'
import { whoActor } from '../cluster/who.ts'
import { onEachNode } from './acts.ts'

const Pulse = protocol('pulse', {
  pulse: tell({ from: Type.String(), incarnation: Type.Integer() }),
})
/** What came in time may wait in the mailbox: behind others, of a process that stands still, of actors that are held. */
const mailboxMs = 1_000

export class PulseWatch {
  #world: World | undefined
  #watch: MemberWatch | undefined
  /** Until when each node's actors were held, or its process stood still. */
  readonly #heldMs = new Map<string, number>()

  begin(world: World, watch: MemberWatch): void {
    this.#world = world
    this.#watch = watch
    onEachNode(world, ({ events }, name) => {
      events.on('self-held', () => void this.#heldMs.set(name, Number.POSITIVE_INFINITY))
      events.on('self-released', () => void this.#heldMs.set(name, world.now()))
    })
    world.invariant(
      'stalls-are-noted',
      () => {
        for (const { name, process: life } of world.nodes) {
          if (life?.isBlocked === true)
            this.#heldMs.set(name, Math.max(world.now(), this.#heldMs.get(name) ?? 0))
        }
      },
      'quiesce',
    )
  }

  /** One from everybody who runs to everybody. */
  send(): void {
    const world = this.#world
    for (const { name, node } of world?.up() ?? []) {
      for (const to of world?.nodes ?? []) {
        if (to.name === name) continue
        node
          .ref(Pulse, to.name, '/user/pulse')
          .tell({ type: 'pulse', from: name, incarnation: node.incarnation })
      }
    }
  }

  /** @internal */
  came(at: string, from: string, incarnation: number): void {
    const world = this.#world
    if (world === undefined) return
    const endedMs = this.#watch?.endedAtMs(at, from, incarnation)
    if (endedMs === undefined) return
    const excusedMs = Math.max(endedMs, this.#heldMs.get(at) ?? endedMs)
    judge(
      world,
      'a-life-that-is-over-says-nothing',
      world.now() <= excusedMs + mailboxMs,
      `"${at}" got a message of "${from}" ${incarnation}, whose end it told ${world.now() - endedMs} ms before`,
    )
  }
}

export function pulseTree(world: World, pulses: PulseWatch): AnyDefinition {
  const pulse = actor(Pulse, () => ({
    pulse: ({ from, incarnation }) => {
      const at = world.simulation.running?.process.machine.name ?? ''
      pulses.came(at, from, incarnation)
    },
  }))
  return supervisor({}, [child('who', whoActor(world)), child('pulse', pulse)])
}
