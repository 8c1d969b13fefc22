/** Members of the bully or the ring algorithm on a network that can be cut, in virtual time: for transcripts and random schedules. */
import { sourceModule } from '../../support/source-module.ts'

const { BullyCore } = await sourceModule<
  typeof import('../../../packages/protocols/src/election/bully-core.ts')
>('protocols', 'election/bully-core')
const { RingCore } = await sourceModule<
  typeof import('../../../packages/protocols/src/election/ring-core.ts')
>('protocols', 'election/ring-core')
type BullyCore = import('../../../packages/protocols/src/election/bully-core.ts').BullyCore
type RingCore = import('../../../packages/protocols/src/election/ring-core.ts').RingCore
export type BullyMessage = import('../../../packages/protocols/src/election/bully-core.ts').BullyMessage
export type RingMessage = import('../../../packages/protocols/src/election/ring-core.ts').RingMessage
export type Effect =
  | import('../../../packages/protocols/src/election/bully-core.ts').BullyEffect
  | import('../../../packages/protocols/src/election/ring-core.ts').RingEffect
export { BullyCore, RingCore }

export interface Parcel {
  readonly from: string
  readonly to: string
  readonly message: BullyMessage | RingMessage
}

type Member = { readonly name: string } & (
  | { readonly kind: 'bully'; readonly core: BullyCore }
  | { readonly kind: 'ring'; readonly core: RingCore }
)

export class TeachingWorld {
  readonly kind: 'bully' | 'ring'
  readonly names: readonly string[]
  /** Those that are up. */
  readonly members = new Map<string, Member>()
  readonly parcels: Parcel[] = []
  nowMs = 0
  sent = 0
  /** Told of each step's effects. */
  onStep: (name: string, effects: readonly Effect[]) => void = () => undefined
  #isApart: (from: string, to: string) => boolean = () => false

  constructor(kind: 'bully' | 'ring', names: readonly string[]) {
    this.kind = kind
    this.names = names
  }

  start(name: string): void {
    const options = { self: name, members: this.names }
    const member: Member =
      this.kind === 'bully'
        ? { name, kind: 'bully', core: new BullyCore(options) }
        : { name, kind: 'ring', core: new RingCore(options) }
    this.members.set(name, member)
    this.#carryOut(name, member.core.step({ type: 'start' }, this.nowMs))
  }

  crash(name: string): void {
    this.members.delete(name)
  }

  cut(isApart: (from: string, to: string) => boolean): void {
    this.#isApart = isApart
  }

  leader(name: string): string | undefined {
    return this.members.get(name)?.core.status().leader
  }

  living(name: string, names: readonly string[]): void {
    const member = this.members.get(name)
    if (member?.kind === 'ring') this.#carryOut(name, member.core.step({ type: 'living', names }, this.nowMs))
  }

  /** Each sees as living who is up and on its side. */
  seeAll(): void {
    for (const name of this.members.keys()) {
      this.living(
        name,
        [...this.members.keys()].filter((other) => !this.#isApart(name, other)),
      )
    }
  }

  receive({ from, to, message }: Parcel): void {
    const member = this.members.get(to)
    if (member === undefined) return
    const effects =
      member.kind === 'bully'
        ? member.core.step({ type: 'message', from, message: message as BullyMessage }, this.nowMs)
        : member.core.step({ type: 'message', message: message as RingMessage }, this.nowMs)
    this.#carryOut(to, effects)
  }

  deliver(at = 0): void {
    const [parcel] = this.parcels.splice(at, 1)
    if (parcel !== undefined && !this.#isApart(parcel.from, parcel.to)) this.receive(parcel)
  }

  deliverAll(most = 10_000): void {
    for (let count = 0; this.parcels.length > 0; count++) {
      if (count > most) throw new Error(`after ${most} messages there are still more`)
      this.deliver()
    }
  }

  tick(name: string): void {
    const member = this.members.get(name)
    if (member !== undefined) this.#carryOut(name, member.core.step({ type: 'tick' }, this.nowMs))
  }

  /** Lets time pass; what is said meanwhile arrives at once. */
  pass(ms: number): void {
    const untilMs = this.nowMs + ms
    this.deliverAll()
    for (;;) {
      let next: Member | undefined
      let nextMs = Number.POSITIVE_INFINITY
      for (const name of this.names) {
        const member = this.members.get(name)
        const dueMs = member?.core.nextDeadlineMs()
        if (dueMs !== undefined && dueMs < nextMs) [next, nextMs] = [member, dueMs]
      }
      if (next === undefined || nextMs > untilMs) break
      this.nowMs = Math.max(this.nowMs, nextMs)
      this.tick(next.name)
      this.deliverAll()
    }
    this.nowMs = untilMs
  }

  #carryOut(name: string, effects: readonly Effect[]): void {
    this.onStep(name, effects)
    for (const effect of effects) {
      if (effect.type !== 'send') continue
      this.sent++
      this.parcels.push({ from: name, to: effect.to, message: effect.message })
    }
  }
}
