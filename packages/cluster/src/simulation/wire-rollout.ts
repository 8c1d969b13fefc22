/**
 * A cluster of two builds, as it is in the middle of a rolling upgrade: nodes that offer no more of the wire than the oldest
 * build that can be a member, from the first start of the cluster on or since a downgrade, and that are upgraded later, one
 * by one. Known as the fault `wire-pin`.
 */
import type { ChoiceStream, FaultKind, Injected, Simulation } from '@understudy/runtime/simulation'
import { currentWire, oldestMemberWire } from '../wire/wire-version.ts'
import type { SimulatedNode } from './simulated-node.ts'

export const wirePin = 'wire-pin'
/** How long an old build runs before it is upgraded, when nothing is in the way; the last: until the faults are over. */
const pinnedMs = [1_000, 3_000, 3_000, 8_000, 20_000, Number.POSITIVE_INFINITY] as const
/** How long the change of the build takes when the process was killed for it. */
const changeMs = [100, 500, 2_000] as const
/** An upgrade waits while one more node that is down would be too many. */
const againMs = 500

export class WireRollout {
  readonly #simulation: Simulation
  readonly #nodes: () => readonly SimulatedNode[]
  /** Nodes that have the old build by this rollout's doing. */
  readonly #pinned = new Set<SimulatedNode>()
  #isOver = false

  constructor(simulation: Simulation, nodes: () => readonly SimulatedNode[]) {
    this.#simulation = simulation
    this.#nodes = nodes
  }

  /** Downgrades one node. */
  readonly kind: FaultKind = {
    name: wirePin,
    inject: (stream) => {
      const candidates = this.#nodes().filter((one) => one.installed === currentWire && mayBeReplaced(one))
      const node = candidates[stream.choose(candidates.length)]
      if (node === undefined) return undefined
      this.#pin(node)
      this.#replace(node, stream)
      return this.#upgradeSomeTime(node, stream)
    },
  }

  /** In a quarter of the seeds some nodes have the old build before any has started. */
  installAtFirst(): void {
    const { choices } = this.#simulation
    if (choices.choose(4, 'swarm/wire-pin-at-first') < 3) return
    const stream = choices.stream('wire-pin-at-first')
    for (const node of this.#nodes()) if (stream.choose(2) === 1) this.#pin(node)
  }

  /** From now on nodes are upgraded. */
  begin(): void {
    this.#isOver = false
    const stream = this.#simulation.choices.stream('wire-pin-at-first')
    for (const node of this.#pinned) {
      const { what, lane } = this.#upgradeSomeTime(node, stream)
      this.#simulation.fault(wirePin, what, lane)
    }
  }

  /** Nothing is changed any more: who runs an old build goes on with it, and has the current one at its next start. */
  end(): void {
    this.#isOver = true
    for (const node of this.#pinned) node.install(currentWire)
    this.#pinned.clear()
  }

  /** A node has started: marks when builds really are members of one cluster, and when an upgrade is done. */
  started(started: SimulatedNode, last: SimulatedNode['offered']): void {
    const { offered, node } = started
    if (last !== undefined && last !== currentWire && offered === currentWire) {
      this.#simulation.sometimes('wire-upgraded')
    }
    node.events.on('view-changed', ({ view }) => {
      const others = new Set(view.members.flatMap(({ name, status }) => (status === 'alive' ? [name] : [])))
      const isMixed = this.#nodes().some(
        (other) => other.offered !== offered && others.has(other.name) && other.isUp,
      )
      if (isMixed && others.has(node.name)) this.#simulation.sometimes('wire-mixed')
    })
  }

  #pin(node: SimulatedNode): void {
    node.install(oldestMemberWire)
    this.#pinned.add(node)
  }

  #upgradeSomeTime(node: SimulatedNode, stream: ChoiceStream): Injected {
    const ms = pinnedMs[stream.choose(pinnedMs.length)] ?? 0
    if (ms < Number.POSITIVE_INFINITY) this.#upgradeIn(ms, node, stream)
    const { versionMax, features } = oldestMemberWire
    return {
      what: `${node.name} offers version ${versionMax} of the wire with ${features.join(', ') || 'no features'} for ${ms} ms`,
      lane: node.name,
    }
  }

  #upgradeIn(ms: number, node: SimulatedNode, stream: ChoiceStream): void {
    this.#simulation.at(this.#simulation.nowMs + ms, undefined, 'wire-upgrade', () => {
      if (this.#isOver || !this.#pinned.has(node)) return
      if (node.process?.isAlive === true && !mayBeReplaced(node)) {
        this.#upgradeIn(againMs, node, stream)
        return
      }
      node.install(currentWire)
      this.#pinned.delete(node)
      if (node.process?.isAlive === true) this.#replace(node, stream)
    })
  }

  /** Ends what runs there, in good order or not, and starts what is installed. */
  #replace(node: SimulatedNode, stream: ChoiceStream): void {
    const ms = changeMs[stream.choose(changeMs.length)] ?? 0
    if (stream.choose(2) === 0 && node.isUp) {
      node.stopGently()
      return
    }
    node.kill()
    const { simulation } = node.machine
    simulation.at(simulation.nowMs + ms, undefined, 'restart', () => {
      if (!simulation.isOver) node.restart()
    })
  }
}

/** It runs, nothing holds it up, and the cluster can spare it. */
function mayBeReplaced(node: SimulatedNode): boolean {
  const { process } = node
  if (process?.isAlive !== true || process.isBlocked || process.isStalled) return false
  return node.mayFail()
}
