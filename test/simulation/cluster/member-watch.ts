/**
 * Watches what the nodes of a simulated cluster say of each other, and holds it against what is true: members are real
 * lives, incarnations only grow, events alternate and fit the views.
 */
import type { ClusterEvents, ClusterNode, Member, View } from '@understudy/cluster'
import type { SimulatedNode, World } from '@understudy/cluster/simulation'
import type { SimulatedProcess } from '@understudy/runtime/simulation'

/** One incarnation of a node, as it really was. */
export interface Life {
  readonly name: string
  readonly incarnation: number
  readonly process: SimulatedProcess
}

export interface MemberWatchOptions {
  /** Whether a process may be a member at all. @default every one */
  readonly mayJoin?: ((life: SimulatedProcess) => boolean) | undefined
  /** False when two nodes of one name may run at once: what one is told may be news of the other. @default true */
  readonly areNamesUnique?: boolean | undefined
}

/** For so long a refusal may be on its way: meanwhile who sent it may learn of another life. */
const refusalMs = 3_000

/** What one observer last said of a member. */
interface Seen {
  /** When that life was taken in. */
  readonly joinedAtMs: number
  /** When something was last said of it. */
  readonly movedAtMs: number
  readonly incarnation: number
  readonly address: string
  readonly phase: 'joining' | 'alive' | 'leaving' | 'ended'
  readonly doubt: 'none' | 'suspected' | 'unreachable'
  readonly reason: string
  /** The step of the run in which that was said. */
  readonly step: number
}

/** One told event, for scenarios that count them. */
export interface Told {
  readonly by: string
  readonly atMs: number
  readonly event:
    | 'joined'
    | 'up'
    | 'suspected'
    | 'unreachable'
    | 'recovered'
    | 'leaving'
    | 'down'
    | 'left'
    | 'self-removed'
  readonly name: string
  readonly incarnation: number
  readonly reason: string
}

const living = ['joining', 'alive', 'leaving'] as const

/** Longer than any silence that a node bears, and than its wait between two dials. */
const quietMs = 6_000

export class MemberWatch {
  readonly told: Told[] = []
  readonly #world: World
  readonly #mayJoin: (life: SimulatedProcess) => boolean
  readonly #lives = new Map<string, readonly Life[]>()
  readonly #scanned = new Map<SimulatedProcess, number>()
  readonly #watched = new Map<SimulatedNode, ClusterNode>()
  readonly #observers = new Map<string, Observer>()
  readonly #areNamesUnique: boolean
  /** Who was given up and has not come back yet. */
  readonly #returns = new Map<
    string,
    { readonly over: number; readonly above: number; readonly by: string }
  >()
  #living = 0

  /** Before the nodes are started. */
  constructor(world: World, options: MemberWatchOptions = {}) {
    this.#world = world
    this.#areNamesUnique = options.areNamesUnique ?? true
    this.#mayJoin = options.mayJoin ?? (() => true)
    world.invariant('members-are-real', () => this.#look())
  }

  /** Who really was at that incarnation: one, or more where two took one number. */
  lives(name: string, incarnation: number): readonly Life[] {
    return this.#lives.get(`${name} ${incarnation}`) ?? []
  }

  /** Every node of the world that runs, and what its view is called; all equal after a quiet time. */
  agree(count = this.#world.nodes.length): boolean {
    const up = this.#world.up()
    if (up.length !== count) return false
    const texts = up.map(({ node }) => textOf(node.members()))
    return texts.every((text) => text === texts[0]) && livingIn(up[0]) === count
  }

  /** What the nodes say now, for the message of a rule that is broken. */
  views(): string {
    return this.#world.nodes
      .map((node) => `${node.name}: ${node.isUp ? saidBy(node.node) : 'down'}`)
      .join('\n')
  }

  /**
   * Lets time pass until all nodes run and have the same view of all, and keep it: what broke before the heal may come
   * out only when its deadline is over. @returns how long it took until they had it for good
   */
  async untilEqual(rule: string, withinMs: number): Promise<number> {
    const fromMs = this.#world.now()
    let sinceMs: number | undefined
    while (sinceMs === undefined || this.#world.now() < sinceMs + quietMs) {
      if (!this.agree()) sinceMs = undefined
      else sinceMs ??= this.#world.now()
      this.#world.check(
        rule,
        sinceMs !== undefined || this.#world.now() < fromMs + withinMs,
        `The views are not equal after ${withinMs} ms:\n${this.views()}`,
      )
      await this.#world.sleep(20)
    }
    return sinceMs - fromMs
  }

  #look(): void {
    const { processes } = this.#world.simulation
    for (let at = this.#living; at < processes.length; at++) {
      const life = processes[at]
      if (life === undefined) continue
      if (!life.isAlive) {
        if (at === this.#living) this.#living++
        continue
      }
      for (const { nodeName, nodeIncarnation } of life.kernels) {
        if (nodeIncarnation === 0 || this.#scanned.get(life) === nodeIncarnation) continue
        this.#scanned.set(life, nodeIncarnation)
        // Whoever may not join may call itself what it likes.
        if (this.#mayJoin(life)) this.#born({ name: nodeName, incarnation: nodeIncarnation, process: life })
      }
    }
    for (const node of this.#world.nodes) {
      if (!node.isUp) continue
      this.#judgeReturn(node)
      if (this.#watched.get(node) === node.node) continue
      this.#watched.set(node, node.node)
      this.#observers.set(node.name, new Observer(this, this.#world, node.node, node.name))
    }
  }

  #born(life: Life): void {
    const others = this.lives(life.name, life.incarnation)
    this.#lives.set(`${life.name} ${life.incarnation}`, [...others, life])
  }

  /** When `by` said that this life is over; `undefined` when it has not. */
  endedAtMs(by: string, name: string, incarnation: number): number | undefined {
    return this.#observers.get(by)?.endedAtMs(name, incarnation)
  }

  /** @internal A node that was refused takes a number above all that the one who refused it has seen. */
  expectReturn(name: string, incarnation: number, by: string): void {
    if (!this.#areNamesUnique) return
    const refuser = this.#world.nodes.find(
      (node) => node.name === by || by.includes(`//${node.name}:`) || by.includes(node.address),
    )
    const seen = refuser === undefined ? undefined : this.#observers.get(refuser.name)?.seen(name)
    this.#returns.set(name, { over: incarnation, above: Math.max(incarnation, seen ?? 0), by })
  }

  /** The life after one that was given up has a number above. */
  #judgeReturn({ name, node }: SimulatedNode): void {
    const expected = this.#returns.get(name)
    if (expected === undefined || node.incarnation === expected.over) return
    this.#returns.delete(name)
    judge(
      this.#world,
      'comes-back-above-the-highest',
      node.incarnation > expected.above,
      `"${name}" was given up by ${expected.by}, which has seen it at ${expected.above}, and comes back as ${node.incarnation}`,
    )
  }

  /** @internal */
  judge(by: string, name: string, incarnation: number): void {
    judge(
      this.#world,
      'members-are-real',
      this.lives(name, incarnation).length > 0,
      `"${by}" has "${name}" at incarnation ${incarnation} as a member: no node of this cluster ever was`,
    )
  }
}

/** One node's word, over one life of it. */
class Observer {
  readonly #watch: MemberWatch
  readonly #world: World
  readonly #by: string
  readonly #node: ClusterNode
  #seen = new Map<string, Seen>()

  constructor(watch: MemberWatch, world: World, node: ClusterNode, by: string) {
    this.#watch = watch
    this.#world = world
    this.#node = node
    this.#by = by
    for (const member of node.status().membership.swim.members) {
      const { name, incarnation, kind, phase } = member
      const isEnded = kind === 'down' || kind === 'left'
      const doubt = kind === 'suspect' ? 'suspected' : kind === 'unreachable' ? 'unreachable' : 'none'
      const address = node.members().find((viewed) => viewed.name === name)?.address ?? ''
      const seen = { incarnation, address, doubt, reason: '', step: 0, joinedAtMs: 0, movedAtMs: 0 } as const
      this.#seen.set(name, { ...seen, phase: isEnded ? 'ended' : phase })
    }
    const { events } = node
    events.on('member-joined', (e) => this.#joined(e))
    events.on('member-up', (e) => this.#moved('up', e, ['joining'], undefined, { phase: 'alive' }))
    events.on('member-leaving', (e) => {
      this.#moved('leaving', e, ['joining', 'alive'], undefined, { phase: 'leaving' })
    })
    events.on('member-suspected', (e) => {
      this.#moved('suspected', e, living, ['none'], { doubt: 'suspected' })
    })
    events.on('member-unreachable', (e) => {
      this.#moved('unreachable', e, living, ['suspected'], { doubt: 'unreachable' })
    })
    events.on('member-recovered', (e) => {
      this.#moved('recovered', e, living, ['suspected', 'unreachable'], { doubt: 'none' })
    })
    events.on('member-down', (e) => this.#moved('down', e, living, undefined, { phase: 'ended' }))
    events.on('member-left', (e) => this.#moved('left', e, living, undefined, { phase: 'ended' }))
    events.on('self-removed', (e) => {
      this.#note('self-removed', by, e.incarnation, `${e.by}: ${e.reason}`)
      watch.expectReturn(by, e.incarnation, e.by)
      // A new core, which remembers nothing.
      this.#seen = new Map()
    })
    events.on('view-changed', (e) => this.#fits(e.view))
  }

  /** The highest life of that name that it has seen, and had when what it said some seconds ago left it. */
  seen(name: string): number | undefined {
    const seen = this.#seen.get(name)
    return seen === undefined || this.#world.now() - seen.joinedAtMs < refusalMs
      ? undefined
      : seen.incarnation
  }

  #note(event: Told['event'], name: string, incarnation: number, reason = ''): void {
    this.#watch.told.push({ by: this.#by, atMs: this.#world.now(), event, name, incarnation, reason })
    this.#world.note(`${event} ${name} ${incarnation} ${reason}`, this.#by)
  }

  /** When this observer said that the life is over: nothing of it may come back. */
  endedAtMs(name: string, incarnation: number): number | undefined {
    const seen = this.#seen.get(name)
    if (seen === undefined || incarnation > seen.incarnation) return undefined
    if (incarnation < seen.incarnation) return seen.joinedAtMs
    return seen.phase === 'ended' ? seen.movedAtMs : undefined
  }

  #joined({ name, incarnation, address }: ClusterEvents['member-joined']): void {
    if (name === this.#by) return
    this.#note('joined', name, incarnation)
    this.#watch.judge(this.#by, name, incarnation)
    const before = this.#seen.get(name)
    const { step } = this.#world.simulation
    judge(
      this.#world,
      'incarnations-grow',
      before === undefined || incarnation > before.incarnation,
      `"${this.#by}" took "${name}" in at incarnation ${incarnation} after it had seen ${before?.incarnation}`,
    )
    judge(
      this.#world,
      'events-alternate',
      before === undefined || before.phase === 'ended',
      `"${this.#by}" says that "${name}" has joined, and did not say that its life before (${before?.incarnation}) is over`,
    )
    judge(
      this.#world,
      'replaced-at-its-own-address',
      // Later on it may be somebody else that comes in its place.
      before?.reason !== 'replaced' || before.step !== step || before.address === address,
      `"${this.#by}" let "${name}" at ${address} replace the one at ${before?.address}, which was not down`,
    )
    const joinedAtMs = this.#world.now()
    this.#seen.set(name, {
      incarnation,
      address,
      phase: 'joining',
      doubt: 'none',
      reason: '',
      step,
      joinedAtMs,
      movedAtMs: joinedAtMs,
    })
  }

  #moved(
    event: Told['event'],
    told: { readonly name: string; readonly incarnation: number; readonly reason?: string },
    phases: readonly Seen['phase'][],
    doubts: readonly Seen['doubt'][] | undefined,
    change: Partial<Pick<Seen, 'phase' | 'doubt'>>,
  ): void {
    const { name, incarnation, reason } = told
    // What a node says of itself its view shows.
    if (name === this.#by) return
    this.#note(event, name, incarnation, reason)
    const before = this.#seen.get(name)
    judge(
      this.#world,
      'events-alternate',
      before !== undefined &&
        before.incarnation === incarnation &&
        phases.includes(before.phase) &&
        (doubts === undefined || doubts.includes(before.doubt)),
      `"${this.#by}" says ${event} of "${name}" ${incarnation}, which was ${before?.phase} (${before?.doubt}) at ` +
        `${before?.incarnation}`,
    )
    if (before === undefined) return
    const { step } = this.#world.simulation
    this.#seen.set(name, { ...before, ...change, reason: reason ?? '', step, movedAtMs: this.#world.now() })
  }

  #fits(view: View): void {
    const said = [...this.#seen]
      .filter(([, { phase }]) => phase !== 'ended')
      .map(([name, seen]) => `${name} ${seen.incarnation} ${statusSaid(seen)}`)
      .sort()
    const viewed = view.members
      .filter(({ name }) => name !== this.#by)
      .map((member) => `${member.name} ${member.incarnation} ${member.status}`)
      .sort()
    judge(
      this.#world,
      'events-fit-view',
      said.join('\n') === viewed.join('\n'),
      `The events of "${this.#by}" say [${said.join(', ')}], its view says [${viewed.join(', ')}]`,
    )
    const self = view.members.find(({ name }) => name === this.#by)
    judge(
      this.#world,
      'self-in-view',
      self === undefined || (self.incarnation === this.#node.incarnation && self.status !== 'suspect'),
      `"${this.#by}" is ${this.#node.incarnation}, and its view says ${JSON.stringify(self)}`,
    )
  }
}

/** Said from inside of a node's own callbacks, where a throw would be the node's. */
export function judge(world: World, rule: string, holds: boolean, message: string): void {
  if (!holds) world.simulation.fail(rule, message)
}

/** Only who owns places becomes `suspect` by a doubt. */
function statusSaid({ phase, doubt }: Seen): Member['status'] {
  if (phase === 'ended') return 'down'
  return phase === 'alive' && doubt !== 'none' ? 'suspect' : phase
}

function textOf(members: readonly Member[]): string {
  return members.map(({ name, incarnation, status }) => `${name} ${incarnation} ${status}`).join(', ')
}

/** Its view; what it waits for, while it takes no part; what its downing is about to do. */
function saidBy(node: ClusterNode): string {
  const { bootstrap, downing, links } = node.status().membership
  const waits = bootstrap.phase === 'alive' ? '' : `; ${bootstrap.summary}`
  const linked = links.peers.filter(({ linkId }) => linkId !== undefined).map(({ name }) => name)
  const decides = downing.phase === 'calm' ? '' : `; downing is ${downing.phase}`
  return `${textOf(node.members())}; linked with ${linked.join(' ')}${waits}${decides}`
}

function livingIn(node: SimulatedNode | undefined): number {
  return node === undefined ? 0 : node.node.members().filter(({ status }) => status === 'alive').length
}
