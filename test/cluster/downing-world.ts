/**
 * Nodes that have nothing but a downing core, on one clock. The test says what each node sees; a node that declared
 * others down no longer sees them, and one that went is silent.
 */
import { sourceModule } from '../support/source-module.ts'

export type DowningMember = import('../../packages/cluster/src/membership/reachability.ts').DowningMember
export type DowningOptions = import('../../packages/cluster/src/membership/downing-options.ts').DowningOptions
type Effect = import('../../packages/cluster/src/membership/downing-core.ts').DowningEffect

export const { DowningCore } = await sourceModule<
  typeof import('../../packages/cluster/src/membership/downing-core.ts')
>('cluster', 'membership/downing-core')
const { memoryDowningLease } = await sourceModule<
  typeof import('../../packages/cluster/src/testkit/downing-lease-double.ts')
>('cluster', 'testkit/downing-lease-double')
export { memoryDowningLease }

type Core = InstanceType<typeof DowningCore>

/** What a node is. */
export interface NodeSpec {
  readonly name: string
  readonly incarnation?: number
  readonly status?: DowningMember['status'] | undefined
  readonly roles?: readonly string[]
}

/** What a node sees, beyond that all is well. Names; the node's own name is ignored. */
export interface Sight {
  readonly unreachable?: readonly string[]
  readonly suspected?: readonly string[]
  readonly claims?: Readonly<Record<string, readonly string[]>>
  /** Members in the node's table; default: all nodes as they are. */
  readonly table?: readonly NodeSpec[]
}

interface Node {
  readonly name: string
  readonly core: Core
  sight: Sight
  readonly removed: Set<string>
}

export interface Happening {
  readonly atMs: number
  readonly node: string
  readonly effect: Effect
}

export class DowningWorld {
  nowMs = 0
  readonly happenings: Happening[] = []
  readonly lease = memoryDowningLease()
  /** False: `acquire-lease` is never answered. */
  isLeaseAnswering = true
  readonly #specs: readonly NodeSpec[]
  readonly #nodes: Node[]

  /** All nodes see that all is well, at time 0. */
  constructor(specs: readonly (NodeSpec | string)[], options: DowningOptions = {}) {
    this.#specs = specs.map((spec) => (typeof spec === 'string' ? { name: spec } : spec))
    this.#nodes = this.#specs.map(({ name }) => ({
      name,
      core: new DowningCore(options),
      sight: {},
      removed: new Set(),
    }))
    for (const node of this.#nodes) this.#feed(node)
  }

  core(name: string): Core {
    return this.#node(name).core
  }

  /** From now on that node sees this. */
  see(name: string, sight: Sight): void {
    const node = this.#node(name)
    node.sight = sight
    this.#feed(node)
  }

  /** Every node of each group sees all others unreachable. */
  split(groups: readonly (readonly string[])[], key: 'unreachable' | 'suspected' = 'unreachable'): void {
    const all = groups.flat()
    for (const group of groups) {
      const others = all.filter((name) => !group.includes(name))
      for (const name of group) this.see(name, { [key]: others })
    }
  }

  leaseLost(name: string): void {
    this.#take(this.#node(name), { type: 'lease-lost' })
  }

  /** Ticks at every deadline up to that time, in order; of equal ones by name. */
  runUntil(untilMs: number): void {
    for (let rounds = 0; rounds < 100_000; rounds++) {
      let next: Node | undefined
      for (const node of this.#nodes) {
        const dueMs = node.core.nextDeadlineMs()
        if (dueMs === undefined || dueMs > untilMs) continue
        if (next === undefined || dueMs < (next.core.nextDeadlineMs() ?? 0)) next = node
      }
      if (next === undefined) {
        this.nowMs = untilMs
        return
      }
      this.nowMs = Math.max(this.nowMs, next.core.nextDeadlineMs() ?? 0)
      this.#take(next, { type: 'tick' })
    }
    throw new Error('more than 100,000 ticks')
  }

  /** One late or early tick of one node. */
  tick(name: string, atMs: number): void {
    this.nowMs = atMs
    this.#take(this.#node(name), { type: 'tick' })
  }

  /** Nodes that have not gone and that nobody has declared down. */
  survivors(): readonly string[] {
    const gone = new Set<string>()
    for (const { node, effect } of this.happenings) {
      if (effect.type === 'down-self') gone.add(node)
      if (effect.type === 'down') for (const { name } of effect.members) gone.add(name)
    }
    return this.#specs.map(({ name }) => name).filter((name) => !gone.has(name))
  }

  /** Nodes that went by themselves, with when and why. */
  goers(): readonly { readonly name: string; readonly atMs: number; readonly reason: string }[] {
    return this.happenings.flatMap(({ atMs, node, effect }) =>
      effect.type === 'down-self' ? [{ name: node, atMs, reason: effect.reason }] : [],
    )
  }

  /** Names declared down, each with when first. */
  downed(): ReadonlyMap<string, number> {
    const found = new Map<string, number>()
    for (const { atMs, effect } of this.happenings) {
      if (effect.type !== 'down') continue
      for (const { name } of effect.members) if (!found.has(name)) found.set(name, atMs)
    }
    return found
  }

  #node(name: string): Node {
    const node = this.#nodes.find((one) => one.name === name)
    if (node === undefined) throw new Error(`no node "${name}"`)
    return node
  }

  #feed(node: Node): void {
    const { unreachable = [], suspected = [], claims = {}, table = this.#specs } = node.sight
    const members = table
      .filter(({ name }) => !node.removed.has(name))
      .map(({ name, incarnation = 1, status = 'alive', roles = [] }) => ({
        name,
        incarnation,
        address: `ws://${name}:1`,
        status,
        reachable: name === node.name || !unreachable.includes(name),
        suspected: name !== node.name && suspected.includes(name),
        cannotReach: claims[name] ?? [],
        isSelf: name === node.name,
        roles,
      }))
    // Any order must do.
    this.#take(node, { type: 'members', members: members.reverse() })
  }

  #take(node: Node, input: Parameters<Core['step']>[0]): void {
    const effects = node.core.step(input, this.nowMs)
    for (const effect of effects) this.happenings.push({ atMs: this.nowMs, node: node.name, effect })
    for (const effect of effects) {
      if (effect.type === 'down') {
        for (const { name } of effect.members) node.removed.add(name)
        this.#feed(node)
      } else if (effect.type === 'acquire-lease' && this.isLeaseAnswering) {
        // The double decides when it is called; only its promise comes later.
        void this.lease.acquire(effect.owner).catch(() => false)
        this.#take(node, { type: 'lease', granted: this.lease.owner() === effect.owner })
      } else if (effect.type === 'release-lease') void this.lease.release(effect.owner)
    }
  }
}

/** All ways to deal `names` out to at most `parts` groups that are not empty, the first name in the first group. */
export function partitions(names: readonly string[], parts: number): readonly (readonly string[])[][] {
  const found: string[][][] = []
  const place = (index: number, groups: string[][]): void => {
    const name = names[index]
    if (name === undefined) {
      if (groups.length > 1) found.push(groups.map((group) => [...group]))
      return
    }
    for (const group of groups) {
      group.push(name)
      place(index + 1, groups)
      group.pop()
    }
    if (groups.length < parts) {
      groups.push([name])
      place(index + 1, groups)
      groups.pop()
    }
  }
  place(0, [])
  return found
}
