/**
 * Who acts, and when: an actor on each node that does something ten times a second, held against what the nodes say of each
 * other. An actor whose node was declared down has successors elsewhere from then on, so it must have stopped before.
 */
import { actor, ask, protocol, tell, type Definition } from '@understudy/runtime'
import type { ClusterNode } from '@understudy/cluster'
import type { World } from '@understudy/cluster/simulation'
import Type from 'typebox'
import { judge } from '../cluster/member-watch.ts'

const actEveryMs = 100

const Ticker = protocol('ticker', { isTicking: ask(Type.Boolean()) })

/** Calls `found` for each node of the world, at the end of the step in which it was first up. */
export function onEachNode(world: World, found: (node: ClusterNode, name: string) => void): void {
  const known = new Map<string, ClusterNode>()
  world.invariant('nodes-are-found', () => {
    for (const place of world.nodes) {
      if (!place.isUp || known.get(place.name) === place.node) continue
      known.set(place.name, place.node)
      found(place.node, place.name)
    }
  })
}

export class Acts {
  readonly #world: World
  readonly #last = new Map<string, number>()
  readonly #over = new Map<string, string>()
  /** Nodes that stood still, and since when nothing of them may act before somebody has confirmed them. */
  readonly #unconfirmed = new Map<string, number>()

  /** Before the nodes are started. */
  constructor(world: World) {
    this.#world = world
    onEachNode(world, (node, name) => {
      const { events } = node
      events.on('member-down', (e) => {
        this.#isOver(e.name, e.incarnation, `"${name}" declared it down (${e.reason})`)
      })
      events.on('member-left', (e) => this.#isOver(e.name, e.incarnation, `"${name}" heard that it left`))
      events.on('self-released', () => void this.#unconfirmed.delete(name))
      events.on('self-up', () => void this.#unconfirmed.delete(name))
    })
  }

  /** For the tree of each node. */
  ticker(): Definition<(typeof Ticker)['messages'], void> {
    return actor(Ticker, { own: { tick: tell() } }, (ctx) => {
      const life = this.#running()?.incarnation ?? 0
      ctx.timers.every('tick', actEveryMs, { type: 'tick' })
      return { isTicking: () => true, tick: () => this.#act(life) }
    })
  }

  /** When that life last acted; `-Infinity`: never. */
  lastMs(name: string, incarnation: number): number {
    return this.#last.get(`${name} ${incarnation}`) ?? Number.NEGATIVE_INFINITY
  }

  /** The nodes whose present life has acted since. */
  actingSince(atMs: number): readonly ClusterNode[] {
    return this.#world
      .up()
      .map(({ node }) => node)
      .filter((node) => this.lastMs(node.name, node.incarnation) >= atMs)
  }

  /** From `atMs` on nothing of that node may act before it has been confirmed, or is up again as another life. */
  mustBeConfirmed(name: string, atMs: number): void {
    this.#unconfirmed.set(name, atMs)
  }

  #isOver(name: string, incarnation: number, why: string): void {
    const key = `${name} ${incarnation}`
    if (!this.#over.has(key)) this.#over.set(key, why)
  }

  /** The node whose actor runs now. */
  #running(): { readonly name: string; readonly incarnation: number } | undefined {
    const { running } = this.#world.simulation
    if (running === undefined) return undefined
    return { name: running.process.machine.name, incarnation: running.cell.kernel.nodeIncarnation }
  }

  /** `life`: the one that the actor was started in. */
  #act(life: number): void {
    const running = this.#running()
    if (running === undefined) return
    const { name, incarnation } = running
    judge(
      this.#world,
      'no-actor-outlives-its-life',
      incarnation === life,
      `An actor of "${name}" that was started in its life ${life} acts in ${incarnation}`,
    )
    const key = `${name} ${incarnation}`
    const nowMs = this.#world.now()
    const over = this.#over.get(key)
    judge(
      this.#world,
      'acts-stop-before-successors-start',
      over === undefined,
      `An actor of "${name}" ${incarnation} acts, although ${over}`,
    )
    const sinceMs = this.#unconfirmed.get(name)
    judge(
      this.#world,
      'no-act-before-confirmed',
      sinceMs === undefined || nowMs < sinceMs,
      `An actor of "${name}" ${incarnation} acts after its node stood still, and nobody has confirmed that it still counts`,
    )
    this.#last.set(key, nowMs)
  }
}
