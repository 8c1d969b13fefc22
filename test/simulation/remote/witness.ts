/**
 * What the nodes of a simulated cluster did, as somebody who sees them all: which processes ran, which lives of which
 * actors, who declared whom dead. The scenarios of remote messages hold what actors meet against it.
 */
import type { ClusterNode } from '@understudy/cluster'
import type { SimulatedNodeOptions, World } from '@understudy/cluster/simulation'
import type { SimulatedProcess } from '@understudy/runtime/simulation'
import type { EndReason } from '@understudy/runtime'
import { Outside } from '../supervision/outside.ts'

/** One process in which a node runs. */
export interface Boot {
  readonly node: string
  readonly number: number
  readonly startedAtMs: number
  endedAtMs: number
  process: SimulatedProcess | undefined
  /** Started beside another one of the same name: nobody can listen to its events. */
  isTwin: boolean
  /** How often it was given up and began again as another incarnation. */
  rejoins: number
}

/** One incarnation of one actor. */
export interface Life {
  readonly number: number
  readonly boot: Boot
  readonly path: string
  readonly uid: number
  readonly incarnation: number
}

/** What a setup tells of itself. */
interface SelfTold {
  readonly path: string
  readonly incarnation: number
  readonly self: { readonly uid: number | undefined }
  readonly defer: (hook: () => void) => void
}

/** One connection as its sender sees it: a member's incarnation and the epoch of the link to it. */
export interface SeenEpoch {
  readonly incarnation: number
  readonly epoch: number
  /** Of the sender: as a new incarnation it counts epochs from the start again. */
  readonly rejoins: number
}

export function isSameEpoch(one: SeenEpoch, other: SeenEpoch | undefined): boolean {
  return one.incarnation === other?.incarnation && one.epoch === other.epoch && one.rejoins === other.rejoins
}

export interface DeadLetterSeen {
  readonly node: string
  readonly reason: string
  readonly path: string
  readonly message: { readonly type: string }
}

/** Time that passes between an instant and its timer's slot, in milliseconds. */
const wheelSlotMs = 10
/** Two probe periods of a node that trusts itself as little as can be, with what a suspicion adds. */
const undoubtedMs = 5_000

export class Witness {
  readonly boots: Boot[] = []
  readonly lives: Life[] = []
  readonly #tags: ReadonlySet<string>
  #world: World | undefined
  readonly #listenedTo = new Set<ClusterNode>()
  /** When a boot declared a node down or left, or lost it by its own rejoin, by `boot/node`. */
  readonly #gaveUp = new Map<string, number>()
  /** How actors ended for good, by boot and path with uid. */
  readonly #ends = new Map<string, EndReason>()
  readonly #asks = new Map<number, OpenAsk>()
  readonly #counts = new Map<string, number>()
  #askNumber = 0
  #isCalm = false
  /** When anybody last doubted anybody, or gave somebody up. */
  #doubtedAtMs = Number.NEGATIVE_INFINITY
  onDeadLetter: ((seen: DeadLetterSeen) => void) | undefined

  /** `tags`: those that the scenario declares. */
  constructor(tags: readonly string[]) {
    this.#tags = new Set(tags)
  }

  /** @throws {Error} before `begin` */
  get world(): World {
    if (this.#world === undefined) throw new Error('Cannot use the world: the scenario has not begun')
    return this.#world
  }

  /** What every node of these scenarios is started with. */
  options(name: string, more: (boot: Boot) => SimulatedNodeOptions): SimulatedNodeOptions {
    const boot: Boot = {
      node: name,
      number: this.boots.length,
      startedAtMs: this.#world?.now() ?? 0,
      endedAtMs: Number.POSITIVE_INFINITY,
      process: undefined,
      isTwin: false,
      rejoins: 0,
    }
    this.boots.push(boot)
    const life = this.#world?.node(name).machine.living().at(-1)
    if (life !== undefined) this.#bind(boot, life)
    return {
      stallMs: Infinity,
      services: [Outside.provide({ wait: (ms) => this.#wait(boot, ms) })],
      ...more(boot),
    }
  }

  /** The scenario begins: all nodes have been started once. */
  begin(world: World): void {
    this.#world = world
    for (const boot of this.boots) {
      const life = world.node(boot.node).process
      if (life !== undefined) this.#bind(boot, life)
    }
    this.#look()
    world.invariant('no-ask-hangs', () => this.#look(), 'quiesce')
  }

  #bind(boot: Boot, life: SimulatedProcess): void {
    boot.process = life
    boot.isTwin = this.world.node(boot.node).process !== life
    life.onKill(() => (boot.endedAtMs = this.world.now()))
  }

  #wait(boot: Boot, ms: number): Promise<void> {
    const { process: life } = boot
    if (life === undefined) return Promise.reject(new Error('nobody waits before the scenario has begun'))
    const end = life.beginOperation()
    return new Promise((resolve) => {
      this.world.simulation.at(life.departsAtMs + ms, life, 'outside', () => {
        end()
        resolve()
      })
    })
  }

  /** Breaks a rule from within an actor, where a throw would only be that actor's crash. */
  broken(rule: string, text: string): void {
    this.world.simulation.fail(rule, text)
  }

  met(tag: string): void {
    if (this.#tags.has(tag)) this.world.sometimes(tag)
  }

  count(what: string, by = 1): number {
    const count = (this.#counts.get(what) ?? 0) + by
    this.#counts.set(what, count)
    return count
  }

  counted(what: string): number {
    return this.#counts.get(what) ?? 0
  }

  // ---- Lives ---------------------------------------------------------------------------------------------------

  /** Told by each setup. */
  begins(boot: Boot, ctx: SelfTold): Life {
    const { path, incarnation, self } = ctx
    const life = { number: this.lives.length, boot, path, uid: self.uid ?? -1, incarnation }
    this.lives.push(life)
    // Nobody is told any more what became of the asks of an incarnation that is over.
    ctx.defer(() => this.#forgetAsks(life))
    return life
  }

  life(number: number): Life {
    const life = this.lives[number]
    if (life === undefined) throw new Error(`There is no life ${number}: a stamp came from nowhere`)
    return life
  }

  nameOf({ boot, path, uid, incarnation }: Life): string {
    return `${boot.process?.name ?? boot.node}:${path}#${uid}.${incarnation}`
  }

  /** How the actor of that life ended for good; `undefined` while it lives, or when nobody can know. */
  endOf({ boot, path, uid }: Pick<Life, 'boot' | 'path' | 'uid'>): EndReason | 'killed' | undefined {
    return (
      this.#ends.get(`${boot.number}/${path}#${uid}`) ??
      (boot.process?.isAlive === false ? 'killed' : undefined)
    )
  }

  /** The node that runs in that boot; `undefined` for a twin, or when it is over. */
  nodeOf(boot: Boot): ClusterNode | undefined {
    const place = this.world.node(boot.node)
    return place.isUp && place.process === boot.process ? place.node : undefined
  }

  /** The link that `boot` uses to `to` now. */
  epochOf(boot: Boot, to: string): SeenEpoch | undefined {
    const member = this.nodeOf(boot)
      ?.status()
      .membership.members.find(({ name }) => name === to)
    if (member?.linkId === undefined) return undefined
    return { incarnation: member.incarnation, epoch: member.epoch, rejoins: boot.rejoins }
  }

  /** When `boot` last gave `node` up; `-Infinity`: never. */
  gaveUpAtMs(boot: Boot, node: string): number {
    return this.#gaveUp.get(`${boot.number}/${node}`) ?? Number.NEGATIVE_INFINITY
  }

  // ---- Asks ----------------------------------------------------------------------------------------------------

  /** An ask that `by` made; call what it returns when it has settled. */
  asked(by: Life | Boot, what: string, timeoutMs: number): () => void {
    const life = 'boot' in by ? by : undefined
    const boot = 'boot' in by ? by.boot : by
    const number = this.#askNumber++
    // In a step that takes long its own time is ahead. Its clock may be 1 % off, and a timer fires in its slot.
    const nowMs = boot.process?.departsAtMs ?? this.world.now()
    const untilMs = nowMs + timeoutMs * 1.02 + wheelSlotMs + 1
    this.#asks.set(number, { boot, life, what, untilMs })
    return () => void this.#asks.delete(number)
  }

  /** Asks that have not settled, of processes that live. */
  get openAsks(): readonly OpenAsk[] {
    return [...this.#asks.values()].filter(({ boot }) => boot.process?.isAlive === true)
  }

  #forgetAsks(life: Life): void {
    for (const [number, ask] of this.#asks) if (ask.life === life) this.#asks.delete(number)
  }

  #look(): void {
    for (const place of this.world.nodes) if (place.isUp) this.#listen(place.node, place.process)
    const nowMs = this.world.now()
    for (const [number, ask] of this.#asks) {
      const { process: life } = ask.boot
      if (life?.isAlive !== true) this.#asks.delete(number)
      // Whoever stands still gives up as soon as it goes on.
      else if (life.isBlocked) ask.untilMs = Math.max(ask.untilMs, nowMs + wheelSlotMs)
      else if (nowMs > ask.untilMs) {
        this.broken(
          'no-ask-hangs',
          `${ask.what}, asked on ${life.name}, is still open ${nowMs - ask.untilMs} ms too late`,
        )
      }
    }
  }

  // ---- Events --------------------------------------------------------------------------------------------------

  #listen(node: ClusterNode, life: SimulatedProcess | undefined): void {
    if (this.#listenedTo.has(node)) return
    this.#listenedTo.add(node)
    const boot = this.boots.find((candidate) => candidate.process === life)
    if (boot === undefined) return
    const gone = (name: string): void => void this.#gaveUp.set(`${boot.number}/${name}`, this.world.now())
    const { events } = node
    events.on('member-down', ({ name, reason }) => {
      gone(name)
      this.met(`down ${reason}`)
      this.#calm(boot, `took "${name}" for down (${reason})`)
    })
    events.on('member-left', ({ name }) => {
      gone(name)
      this.met('member-left')
      this.#calm(boot, `took "${name}" for gone`)
    })
    events.on('member-suspected', ({ name, reason }) => {
      this.count(`suspected ${boot.number}/${name}`)
      this.#calm(boot, `suspected "${name}" (${reason})`)
    })
    events.on('member-recovered', () => this.met('reconnected'))
    events.on('self-removed', ({ by }) => {
      boot.rejoins++
      this.met('rejoined')
      for (const { name } of this.world.nodes) gone(name)
      this.#calm(boot, `was given up by ${by}`)
    })
    node.system.events.on('actor-stopped', ({ path, uid, reason }) => {
      this.#ends.set(`${boot.number}/${path}#${uid}`, reason)
    })
    node.system.events.on('dead-letter', ({ reason, path, message }) => {
      this.count(`dead ${reason}`)
      this.onDeadLetter?.({ node: boot.node, reason, path, message })
    })
  }

  #calm(boot: Boot, what: string): void {
    this.#doubtedAtMs = this.world.now()
    if (this.#isCalm)
      this.broken('calm-stays-calm', `"${boot.node}" ${what}, although nothing is wrong any more`)
  }

  // ---- The end of a run ----------------------------------------------------------------------------------------

  /**
   * Heals, and demands that within `formedMs` all nodes see each other, that `greets` then succeeds between every pair,
   * and that from then on nobody suspects anybody.
   */
  async heal(greet: (from: ClusterNode, to: string) => Promise<unknown>, formedMs = 60_000): Promise<void> {
    const { world } = this
    world.heal()
    // A kill that was planned for one of the next sends is a fault too.
    for (const { process: life } of world.nodes) life?.killAtEffect(Number.POSITIVE_INFINITY)
    const untilMs = world.now() + formedMs
    let failure = ''
    for (;;) {
      // A probe that was under way when the faults ended may still come to nothing.
      await world.until(
        'cluster-formed',
        () => this.#isFormed() && world.now() >= this.#doubtedAtMs + undoubtedMs,
        { withinMs: untilMs - world.now(), everyMs: 50 },
      )
      failure = await this.#greetAll(greet)
      if (failure === '' && this.#isFormed()) break
      world.check('all-pairs-answer', world.now() < untilMs, `${formedMs} ms after the heal: ${failure}`)
      await world.sleep(100)
    }
    this.#isCalm = true
  }

  #isFormed(): boolean {
    const { nodes } = this.world
    return nodes.every(
      (place) =>
        place.isUp &&
        place.node.members().filter(({ status }) => status === 'alive').length === nodes.length &&
        place.node.members().every(({ name, incarnation }) => this.#incarnationOf(name) === incarnation),
    )
  }

  #incarnationOf(name: string): number | undefined {
    const place = this.world.node(name)
    return place.isUp ? place.node.incarnation : undefined
  }

  async #greetAll(greet: (from: ClusterNode, to: string) => Promise<unknown>): Promise<string> {
    const { nodes } = this.world
    let failure = ''
    await Promise.all(
      nodes.flatMap((from) =>
        nodes.map(async (to) => {
          try {
            await from.call((node) => greet(node, to.name))
          } catch (error) {
            failure = `"${from.name}" asked "${to.name}": ${String(error)}`
          }
        }),
      ),
    )
    return failure
  }

  /** The very last: after a shutdown of every node nothing is armed and nothing is held. */
  async shutdown(): Promise<void> {
    this.#isCalm = false
    const lives = this.world.nodes.map((place) => ({ place, life: place.process }))
    await Promise.all(lives.map(({ place }) => place.call((node) => node.shutdown('the scenario is over'))))
    for (const { place, life } of lives) {
      this.world.check(
        'nothing-held',
        life?.holds === 0,
        `"${place.name}" is held ${life?.holds ?? 0} times after its shutdown`,
      )
    }
  }
}

interface OpenAsk {
  readonly boot: Boot
  /** `undefined`: asked from outside of any actor. */
  readonly life: Life | undefined
  readonly what: string
  untilMs: number
}
