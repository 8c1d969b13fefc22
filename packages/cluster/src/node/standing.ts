/**
 * Whether this node still counts. After a stall, and for as long as it is not known, user actors are held: what they would
 * do might be done by their successors elsewhere already. A majority of the members that this node knows of must say that
 * they still see this life; the membership says otherwise if it is over.
 */
import type { EventStream } from '@understudy/runtime'
import type { Kernel } from '@understudy/runtime/internal'
import { isLiving, ownsPlaces, type View } from '../membership/view.ts'
import type { RemoteHub } from '../remote/remote-hub.ts'
import type { ClusterEvents } from './cluster-event.ts'
import { askWitness, type Witness } from './steward.ts'

/** How long one round of questions waits, and how long until the next. */
const roundMs = 1_000
const pauseMs = 200

export interface StandingHost {
  readonly kernel: Kernel
  readonly hub: RemoteHub
  readonly events: EventStream<ClusterEvents>
  readonly view: () => View
  readonly self: () => Witness
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
    kernel.actUntilMs = this.#actUntilMs
    kernel.release()
    kernel.log.info({ node: kernel.nodeName, heldMs: Math.round(heldMs) }, 'user actors go on')
    events.emit('self-released', { heldMs })
  }

  /** Holds user actors until a majority has confirmed that this life still counts. */
  ask(reason: string): void {
    this.hold(reason)
    void this.#askUntilSure(this.#round)
  }

  /** The membership says that actors may act until then, unless they are held. */
  mayActUntil(atMs: number): void {
    this.#actUntilMs = atMs
    if (this.#heldSinceMs === undefined) this.#host.kernel.actUntilMs = atMs
  }

  async #askUntilSure(round: number): Promise<void> {
    const { hub, kernel } = this.#host
    while (round === this.#round) {
      const { name, incarnation } = this.#host.self()
      const self = { name, incarnation }
      const others = this.#host.view().members.filter((member) => member.name !== name)
      const counted = others.filter(({ status }) => ownsPlaces(status))
      const answers = await Promise.all(
        counted.map((member) => askWitness(hub, member, 'seenOnControl', self, roundMs)),
      )
      if (round !== this.#round) return
      let confirmed = 1
      for (const [index, seen] of answers.entries()) {
        if (seen === 'down' || seen === 'left') {
          this.#host.disowned(counted[index]?.name ?? '')
          return
        }
        if (seen !== undefined && seen !== 'unknown') confirmed++
      }
      // Of those that count now: who went down meanwhile cannot confirm anything, and need not.
      const needed = this.#host
        .view()
        .members.filter((member) => member.name !== name && ownsPlaces(member.status)).length
      if (confirmed * 2 > needed + 1 && !this.#host.isInDoubt()) {
        this.release()
        return
      }
      await new Promise<void>((resolve) => {
        kernel.clock.setTimer(kernel.clock.monotonicMs() + pauseMs, resolve)
      })
    }
  }
}

/** Whether `view` has anybody but `name` who takes part. */
export function hasOthers(view: View, name: string): boolean {
  return view.members.some((member) => member.name !== name && isLiving(member.status))
}
