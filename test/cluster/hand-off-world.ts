/**
 * Nodes that hand entities over, without systems, links or gossip: what happened reaches each of them at a moment of its own, so
 * that any views meet, and an entity takes as long to end as chance says. Far more cases in a second than the simulator has.
 */
import { Envelope, EnvelopeKind } from '@understudy/runtime/internal'
import { virtualPlatform } from '@understudy/runtime/testkit'
import { sourceModule } from '../support/source-module.ts'

const { HandOff } = await sourceModule<typeof import('../../packages/cluster/src/entity/hand-off.ts')>(
  'cluster',
  'entity/hand-off',
)
const { KindRings } = await sourceModule<typeof import('../../packages/cluster/src/placement/kind-rings.ts')>(
  'cluster',
  'placement/kind-rings',
)
const { RecentOwners } = await sourceModule<
  typeof import('../../packages/cluster/src/placement/recent-owners.ts')
>('cluster', 'placement/recent-owners')

type HandOffHost = import('../../packages/cluster/src/entity/hand-off.ts').HandOffHost
type HeldCell = import('../../packages/cluster/src/entity/hand-off.ts').HeldCell
type Release = import('../../packages/cluster/src/entity/hand-off.ts').Release
type Life = import('../../packages/cluster/src/placement/recent-owners.ts').Life

const kind = 'thing'
const windowMs = 20_000

interface Seen extends Life {
  readonly status: 'alive' | 'leaving' | 'left'
}

const rank = { alive: 0, leaving: 1, left: 2 }

export interface Overdue {
  readonly node: string
  readonly by: readonly string[]
  readonly waitedMs: number
}

export class HandOffWorld {
  readonly platform = virtualPlatform()
  readonly nodes = new Map<string, ModelNode>()
  /** By message, where it was handled. */
  readonly handled = new Map<number, string>()
  readonly refused = new Set<number>()
  readonly problems: string[] = []
  readonly overdue: Overdue[] = []
  /** Times that a cell was held until somebody else had ended. */
  held = 0
  sent = 0
  readonly random: () => number
  readonly waitMs: number

  constructor(seed: number, waitMs = 60_000) {
    this.random = mulberry32(seed)
    this.waitMs = waitMs
  }

  get nowMs(): number {
    return this.platform.clock.monotonicMs()
  }

  below(bound: number): number {
    return Math.floor(this.random() * bound)
  }

  after(delayMs: number, task: () => void): void {
    this.platform.clock.setTimer(this.nowMs + delayMs, task)
  }

  get living(): readonly ModelNode[] {
    return [...this.nodes.values()].filter(({ status }) => status !== 'left')
  }

  join(name: string): void {
    const before = this.nodes.get(name)
    const node = new ModelNode(this, name, (before?.incarnation ?? 0) + 1)
    const hosts = this.living.filter(({ status }) => status === 'alive')
    const host = hosts[this.below(hosts.length)]
    this.nodes.set(name, node)
    for (const seen of host?.view.values() ?? []) if (seen.name !== name) node.view.set(seen.name, seen)
    this.#spread(node, 'alive')
  }

  /** It goes as soon as all know that it leaves, and its last entity has ended. */
  leave(node: ModelNode): void {
    node.status = 'leaving'
    this.#spread(node, 'leaving')
    const goIfDone = (): void => {
      const knows = ({ view }: ModelNode): boolean => {
        const seen = view.get(node.name)
        return seen === undefined || seen.incarnation !== node.incarnation || seen.status !== 'alive'
      }
      if (!this.living.every(knows) || node.cells.some((cell) => cell.endReason === null)) {
        this.after(50, goIfDone)
        return
      }
      node.status = 'left'
      this.#spread(node, 'left')
    }
    this.after(50, goIfDone)
  }

  #spread({ name, incarnation }: ModelNode, status: Seen['status']): void {
    const seen = { name, incarnation, status }
    for (const other of this.nodes.values()) {
      if (other.name === name) other.learn(seen)
      else this.after(this.below(4) === 0 ? this.below(3_000) : this.below(300), () => other.learn(seen))
    }
    // Whoever comes later hears of it too.
    this.after(3_500, () => {
      for (const other of this.nodes.values()) other.learn(seen)
    })
  }

  send(from: ModelNode, key: string, id = this.sent++): void {
    const owner = from.owner(key)
    if (owner === undefined) {
      this.refused.add(id)
      return
    }
    this.after(1 + this.below(60), () => {
      const node = this.nodes.get(owner)
      if (node === undefined || node.status === 'left') this.refused.add(id)
      else node.arrive(key, id)
    })
  }

  ask(asker: string, { name, incarnation }: Life, key: string): Promise<Release | undefined> {
    return new Promise((resolve) => {
      this.after(1 + this.below(60), () => {
        const node = this.nodes.get(name)
        if (node === undefined || node.incarnation !== incarnation || node.status === 'left') {
          this.after(500, () => resolve(undefined))
          return
        }
        node.handOff.release(asker, { kind, key }, (release) => {
          this.after(1 + this.below(60), () => resolve(release))
        })
      })
    })
  }

  async run(ms: number): Promise<void> {
    await this.platform.advance(ms)
  }
}

export class ModelNode {
  readonly name: string
  readonly incarnation: number
  status: Seen['status'] = 'alive'
  readonly view = new Map<string, Seen>()
  readonly handOff: InstanceType<typeof HandOff>
  readonly world: HandOffWorld
  cells: ModelCell[] = []
  readonly #recent = new RecentOwners(windowMs)
  #places = new KindRings([])

  constructor(world: HandOffWorld, name: string, incarnation: number) {
    this.world = world
    this.name = name
    this.incarnation = incarnation
    const host: HandOffHost = {
      kernel: {
        nodeName: name,
        clock: world.platform.clock,
        counters: { expired: 0 },
        hooks: { deadLetter: () => undefined },
      },
      waitMs: world.waitMs,
      owner: ({ key }) => this.owner(key),
      recent: ({ key }) => this.#recent.of(kind, key, world.nowMs),
      standing: (life) => {
        const seen = this.view.get(life.name)
        if (seen === undefined || seen.incarnation < life.incarnation) return 'unknown'
        return seen.incarnation === life.incarnation && seen.status !== 'left' ? 'living' : 'over'
      },
      running: ({ key }) => this.cells.find((cell) => cell.key === key && cell.hasBegun && !cell.hasEnded),
      ask: (life, { key }) => world.ask(name, life, key),
      passOn: ({ key }, envelope) => world.send(this, key, idOf(envelope)),
      overdue: (_, __, by, waitedMs) => {
        world.overdue.push({ node: name, by: by.map((life) => life.name), waitedMs })
      },
    }
    this.handOff = new HandOff(host)
  }

  owner(key: string): string | undefined {
    return this.#places.of(kind).owner(`${kind}/${key}`)
  }

  learn(seen: Seen): void {
    if (this.status === 'left') return
    const known = this.view.get(seen.name)
    if (known !== undefined) {
      if (known.incarnation > seen.incarnation) return
      if (known.incarnation === seen.incarnation && rank[known.status] >= rank[seen.status]) return
    }
    this.view.set(seen.name, seen)
    const members = [...this.view.values()].sort((a, b) => (a.name < b.name ? -1 : 1))
    const owners = members.filter(({ status }) => status === 'alive')
    const leaving = members.filter(({ status }) => status === 'leaving')
    this.#places = new KindRings(owners)
    this.#recent.use(this.name, { owners, leaving, rings: this.#places }, this.world.nowMs)
    for (const cell of this.cells) if (cell.hasBegun && this.owner(cell.key) !== this.name) cell.drain()
    this.handOff.placesChanged()
  }

  arrive(key: string, id: number): void {
    this.cells = this.cells.filter(({ hasEnded }) => !hasEnded)
    const latest = this.cells.findLast((cell) => cell.key === key && !cell.isDraining)
    if (latest !== undefined) {
      latest.take(id)
      return
    }
    const predecessor = this.cells.findLast((cell) => cell.key === key)
    const cell = new ModelCell(this, key)
    this.cells.push(cell)
    cell.take(id)
    this.handOff.begin(cell, { kind, key }, predecessor)
    if (this.handOff.isHeld(cell)) this.world.held++
    else cell.letBegin()
  }
}

class ModelCell implements HeldCell {
  readonly key: string
  readonly path: string
  readonly kind = undefined
  readonly #node: ModelNode
  readonly #waiting: number[] = []
  #ended: (() => void)[] = []
  hasBegun = false
  hasEnded = false
  isDraining = false

  constructor(node: ModelNode, key: string) {
    this.#node = node
    this.key = key
    this.path = `/entity/${kind}/${key}`
  }

  get endReason(): 'stopped' | null {
    return this.hasEnded ? 'stopped' : null
  }

  holdBack(): void {
    if (this.hasBegun) throw new Error('it has begun')
  }

  letBegin(): void {
    if (this.hasEnded || this.hasBegun) return
    const { world, name } = this.#node
    for (const node of world.nodes.values()) {
      const other = node.cells.find((cell) => cell.key === this.key && cell.hasBegun && !cell.hasEnded)
      if (other === undefined || node.status === 'left') continue
      world.problems.push(`${this.key} begins on ${name} at ${world.nowMs}, and runs on ${node.name}`)
    }
    this.hasBegun = true
    for (const id of this.#waiting.splice(0)) this.#handle(id)
    // Some end by themselves after a while.
    if (world.below(4) === 0) world.after(world.below(2_000), () => this.drain())
  }

  take(id: number): void {
    if (this.hasBegun) this.#handle(id)
    else this.#waiting.push(id)
  }

  drain(): void {
    if (this.isDraining) return
    this.isDraining = true
    this.#node.world.after(this.#node.world.below(3_000), () => this.#end())
  }

  takeBack(): Envelope[] {
    const waiting = this.#waiting.splice(0)
    this.#end()
    return waiting.map((id) => new Envelope(messageOf(id), null, null, EnvelopeKind.user))
  }

  whenEnded(done: () => void): void {
    if (this.hasEnded) done()
    else this.#ended.push(done)
  }

  #end(): void {
    this.hasEnded = true
    for (const done of this.#ended.splice(0)) done()
  }

  #handle(id: number): void {
    const { world, name } = this.#node
    const before = world.handled.get(id)
    if (before !== undefined) world.problems.push(`message ${id} was handled on ${before}, then on ${name}`)
    world.handled.set(id, name)
  }
}

function messageOf(id: number): { readonly type: string; readonly id: number } {
  return { type: 'm', id }
}

function idOf({ message }: Envelope): number {
  return 'id' in message && typeof message.id === 'number' ? message.id : -1
}

function mulberry32(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}
