/**
 * Election on a ring as a pure step machine: a name goes round, whoever has a higher one puts its own in its place, and who gets
 * its own back leads. For teaching, and for what may be led twice for a while. After Chang and Roberts, "An improved algorithm
 * for decentralized extrema-finding in circular configurations of processes" (Communications of the ACM 22, 1979).
 *
 * The paper's ring loses nothing and nobody on it dies. Here it skips those that are not `living`, which somebody else says (a
 * view of the cluster), a name has gone far enough after one round, and one that does not come back is sent again.
 *
 * What it does not promise, and why `leaderElection` is another thing:
 * - **Under a partition each side has a ring and a leader**, and so while two members see different members living.
 * - **There is no term and no token**: work of a leader that was replaced cannot be told from that of the new one, so nothing can
 *   refuse it.
 * - While an election runs the members do not agree on who leads.
 */
import type { Core } from '@understudy/runtime/internal'
import { checkedMembers, checkedMs } from './bully-core.ts'

/** `hops`: how often it was sent before. */
export type RingMessage =
  /** The highest name on its way so far. */
  | { readonly type: 'election'; readonly candidate: string; readonly hops: number }
  /** Went round to tell all. */
  | { readonly type: 'elected'; readonly leader: string; readonly hops: number }

export type RingInput =
  /** Once, first. */
  | { readonly type: 'start' }
  | { readonly type: 'tick' }
  | { readonly type: 'message'; readonly message: RingMessage }
  /** Names of those that live, as it is seen here now; this one is always counted. At first all members. */
  | { readonly type: 'living'; readonly names: readonly string[] }

export type RingEffect =
  | { readonly type: 'send'; readonly to: string; readonly message: RingMessage }
  /** Whom this member takes for the leader has changed; undefined: it knows of none. */
  | { readonly type: 'leader'; readonly leader: string | undefined }

export interface RingOptions {
  readonly self: string
  /** Names of all, this one included, in the order of the ring; the same on all of them. */
  readonly members: readonly string[]
  /** Whoever takes part and does not hear of a result for so long begins again. Milliseconds. @default 3_000 */
  readonly roundMs?: number | undefined
}

export interface RingStatus {
  readonly phase: 'new' | 'taking-part' | 'following' | 'leading'
  readonly leader: string | undefined
  /** Who is next on the ring; undefined: nobody else lives. */
  readonly next: string | undefined
}

export const ringDefaults = Object.freeze({ roundMs: 3_000 })

/**
 * Of n that begin at once the messages of an election are n * (n + 1) / 2 where the names fall along the ring, 2 n - 1 where they
 * rise, and of the order of n * log n on average (the paper's section 4); then n to tell.
 */
export class RingCore implements Core<RingInput, RingEffect, RingStatus> {
  readonly #self: string
  /** The others, in the order in which they come behind this one. */
  readonly #behind: readonly string[]
  readonly #roundMs: number
  #living: ReadonlySet<string>
  #isStarted = false
  #isTakingPart = false
  #leader: string | undefined
  #dueMs: number | undefined
  #effects: RingEffect[] = []

  /** @throws {RangeError | TypeError} `self` is no member, a name is there twice, or a figure is out of range */
  constructor(options: RingOptions) {
    const names = checkedMembers(options.self, options.members)
    const at = names.indexOf(options.self)
    this.#self = options.self
    this.#behind = [...names.slice(at + 1), ...names.slice(0, at)]
    this.#roundMs = checkedMs('roundMs', options.roundMs ?? ringDefaults.roundMs)
    this.#living = new Set(names)
  }

  step(input: RingInput, nowMs: number): readonly RingEffect[] {
    this.#effects = []
    switch (input.type) {
      case 'start':
        if (this.#isStarted) break
        this.#isStarted = true
        this.#begin(nowMs)
        break
      case 'tick':
        if (this.#dueMs !== undefined && nowMs >= this.#dueMs) this.#begin(nowMs)
        break
      case 'message':
        if (this.#isStarted) this.#receive(input.message, nowMs)
        break
      case 'living':
        this.#see(new Set([...input.names, this.#self]), nowMs)
        break
      default:
        input satisfies never
    }
    return this.#effects
  }

  nextDeadlineMs(): number | undefined {
    return this.#dueMs
  }

  status(): RingStatus {
    const { leader, next } = { leader: this.#leader, next: this.#next() }
    const settled = leader === this.#self ? 'leading' : 'following'
    const phase = !this.#isStarted
      ? 'new'
      : this.#isTakingPart || leader === undefined
        ? 'taking-part'
        : settled
    return { phase, leader, next }
  }

  #receive(message: RingMessage, nowMs: number): void {
    // It has been everywhere: who would have taken it from the ring has died.
    if (message.hops > this.#behind.length) return
    if (message.type === 'elected') {
      this.#elected(message.leader, message.hops, nowMs)
      return
    }
    const { candidate, hops } = message
    if (candidate === this.#self) {
      // One that is late must not undo what came of another.
      if (this.#isTakingPart) this.#win()
    } else if (candidate > this.#self) {
      this.#takePart(nowMs)
      this.#send({ type: 'election', candidate, hops: hops + 1 })
    } else if (!this.#isTakingPart) {
      this.#begin(nowMs)
    }
    // Else a higher name than that is on its way already: this is what makes it cheap.
  }

  #elected(leader: string, hops: number, nowMs: number): void {
    if (leader === this.#self) return
    if (!this.#living.has(leader) || leader < this.#self) {
      // Word of somebody who is gone, or of a ring that did not know us.
      if (!this.#isTakingPart) this.#begin(nowMs)
      return
    }
    this.#isTakingPart = false
    this.#dueMs = undefined
    this.#setLeader(leader)
    this.#send({ type: 'elected', leader, hops: hops + 1 })
  }

  #see(living: ReadonlySet<string>, nowMs: number): void {
    const before = this.#living
    this.#living = living
    if (!this.#isStarted) return
    const leader = this.#leader
    const isLeaderGone = leader !== undefined && !living.has(leader)
    if (isLeaderGone) this.#setLeader(undefined)
    // Somebody who should lead has come, or what goes round may have been lost with who died.
    const hasHigher = this.#behind.some((name) => living.has(name) && (leader === undefined || name > leader))
    const hasLost = this.#behind.some((name) => before.has(name) && !living.has(name))
    if (isLeaderGone || (leader !== undefined && hasHigher) || (this.#isTakingPart && hasLost))
      this.#begin(nowMs)
  }

  #begin(nowMs: number): void {
    if (this.#next() === undefined) {
      this.#win()
      return
    }
    this.#takePart(nowMs)
    this.#send({ type: 'election', candidate: this.#self, hops: 0 })
  }

  #takePart(nowMs: number): void {
    this.#isTakingPart = true
    this.#dueMs = nowMs + this.#roundMs
  }

  #win(): void {
    this.#isTakingPart = false
    this.#dueMs = undefined
    this.#setLeader(this.#self)
    this.#send({ type: 'elected', leader: this.#self, hops: 0 })
  }

  #next(): string | undefined {
    return this.#behind.find((name) => this.#living.has(name))
  }

  #setLeader(leader: string | undefined): void {
    if (leader === this.#leader) return
    this.#leader = leader
    this.#effects.push({ type: 'leader', leader })
  }

  #send(message: RingMessage): void {
    const to = this.#next()
    if (to !== undefined) this.#effects.push({ type: 'send', to, message })
  }
}
