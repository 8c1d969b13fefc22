/**
 * Whether this node still counts. After a stall, and for as long as it is not known, user actors are held: what they would
 * do might be done by their successors elsewhere already. A majority of the members that this node knew when it woke must
 * say that they still see this life; the membership says otherwise if it is over.
 *
 * Who came later may have come through this node, and knows no more than it does. Who is held himself may have slept through
 * the same verdict: his word counts when not one member is missing, as when all slept together, since nobody is left then
 * who could have given anybody up.
 */
import type { EventStream } from '@understudy/runtime'
import type { Kernel } from '@understudy/runtime/internal'
import { isLiving, ownsPlaces, type View } from '../membership/view.ts'
import type { RemoteHub } from '../remote/remote-hub.ts'
import type { ClusterEvents } from './cluster-event.ts'
import { askWitness, unsure, type Witness } from './steward.ts'

/** How long one round of questions waits, and how long until the next. */
const roundMs = 1_000
const pauseMs = 200
/** Members that are asked in one turn of the event loop. */
const atOnceMax = 250

export interface StandingHost {
  readonly kernel: Kernel
  readonly hub: RemoteHub
  readonly events: EventStream<ClusterEvents>
  readonly view: () => View
  readonly self: () => Witness
  /** Lives that ended without a verdict, as far as this node has learnt since it is held. */
  readonly missed: () => readonly Witness[]
  /** It begins to ask. */
  readonly asks: () => void
  readonly released: () => void
  /** Its side of a split would lose, but for what it may have missed. */
  readonly isInDoubt: () => boolean
  /** Somebody who counts says that this life is over. */
  readonly disowned: (by: string) => void
}

export class Standing {
  readonly #host: StandingHost
  #heldSinceMs: number | undefined
  /** What the membership said last, also while actors are held. */
  #actUntilMs = Number.POSITIVE_INFINITY
  /** Told apart, so that an answer from before another hold, or another life, releases nobody. */
  #round = 0
  /** Who counted when it began to ask, by life. */
  #electors: ReadonlySet<string> | undefined

  constructor(host: StandingHost) {
    this.#host = host
    host.kernel.onActOver = () => this.ask('it stood still')
  }

  get isHeld(): boolean {
    return this.#heldSinceMs !== undefined
  }

  /** Holds user actors until `release`. */
  hold(reason: string): void {
    const { kernel, events } = this.#host
    this.#round++
    kernel.hold()
    kernel.actUntilMs = Number.POSITIVE_INFINITY
    if (this.#heldSinceMs !== undefined) return
    this.#heldSinceMs = kernel.clock.monotonicMs()
    kernel.log.warn({ node: kernel.nodeName, reason }, `user actors are held: ${reason}`)
    events.emit('self-held', { reason })
  }

  release(): void {
    const { kernel, events } = this.#host
    this.#round++
    if (this.#heldSinceMs === undefined) return
    const heldMs = kernel.clock.monotonicMs() - this.#heldSinceMs
    this.#heldSinceMs = undefined
    this.#electors = undefined
    kernel.actUntilMs = this.#actUntilMs
    kernel.release()
    kernel.log.info({ node: kernel.nodeName, heldMs: Math.round(heldMs) }, 'user actors go on')
    events.emit('self-released', { heldMs })
    this.#host.released()
  }

  /** Holds user actors until a majority has confirmed that this life still counts. */
  ask(reason: string): void {
    this.hold(reason)
    this.#electors ??= new Set(this.#others().map(lifeOf))
    this.#host.asks()
    void this.#askUntilSure(this.#round)
  }

  /** The membership says that actors may act until then, unless they are held. */
  mayActUntil(atMs: number): void {
    this.#actUntilMs = atMs
    if (this.#heldSinceMs === undefined) this.#host.kernel.actUntilMs = atMs
  }

  /** Of those that count now: who was given up meanwhile, or left, cannot confirm anything, and need not. */
  #others(): readonly Witness[] {
    const { name } = this.#host.self()
    return this.#host.view().members.filter((member) => member.name !== name && ownsPlaces(member.status))
  }

  async #askUntilSure(round: number): Promise<void> {
    const { hub } = this.#host
    while (round === this.#round) {
      const { name, incarnation } = this.#host.self()
      const self = { name, incarnation }
      const counted = this.#others()
      const asked: Promise<string | undefined>[] = []
      for (const member of counted) {
        asked.push(askWitness(hub, member, 'seenOnControl', self, roundMs))
        // A table may have ten thousand members: others get their turn in between.
        if (asked.length % atOnceMax === 0) await this.#pause(0)
      }
      const answers = await Promise.all(asked)
      if (round !== this.#round) return
      const sure = new Set<string>()
      const said = new Set<string>()
      for (const [index, seen] of answers.entries()) {
        const witness = counted[index]
        if (witness === undefined || seen === undefined || seen === 'unknown') continue
        if (seen === 'down' || seen === 'left') {
          this.#host.disowned(witness.name)
          return
        }
        said.add(lifeOf(witness))
        if (seen !== unsure) sure.add(lifeOf(witness))
      }
      const now = this.#others().map(lifeOf)
      const missed = this.#host.missed().map(lifeOf)
      const electors = this.#electors ?? new Set()
      if (isConfirmed({ electors, now, missed, sure, said }) && !this.#host.isInDoubt()) {
        this.release()
        return
      }
      await this.#pause(pauseMs)
    }
  }

  #pause(ms: number): Promise<void> {
    const { clock } = this.#host.kernel
    return new Promise((resolve) => void clock.setTimer(clock.monotonicMs() + ms, resolve))
  }
}

/** Lives, without this node's own. */
export interface Votes {
  /** Who counted when this node woke. */
  readonly electors: ReadonlySet<string>
  /** Who counts now: of the electors, who was not given up meanwhile and has not left; and who came since. */
  readonly now: readonly string[]
  /** Electors that turned out to have ended, nobody knows when. */
  readonly missed: readonly string[]
  /** Who sees this life, and knows that he counts himself. */
  readonly sure: ReadonlySet<string>
  /** Those, and who sees it but is held too. */
  readonly said: ReadonlySet<string>
}

/** Whether this node may act again. */
export function isConfirmed({ electors, now, missed, sure, said }: Votes): boolean {
  // Of those that are missed later lives are here: who ended with his verdict acts on it no more.
  const names = new Set(now.map(nameOf))
  if (missed.every((life) => names.has(nameOf(life))) && now.every((life) => said.has(life))) return true
  const old = [...now.filter((life) => electors.has(life)), ...missed]
  return isMajority(now, sure) && isMajority(old, sure)
}

/** With this node itself, which is one of them. */
function isMajority(lives: readonly string[], sure: ReadonlySet<string>): boolean {
  return (1 + lives.filter((life) => sure.has(life)).length) * 2 > lives.length + 1
}

function nameOf(life: string): string {
  return life.split(' ')[0] ?? life
}

function lifeOf({ name, incarnation }: Witness): string {
  return `${name} ${incarnation}`
}

/** Whether `view` has anybody but `name` who takes part. */
export function hasOthers(view: View, name: string): boolean {
  return view.members.some((member) => member.name !== name && isLiving(member.status))
}
