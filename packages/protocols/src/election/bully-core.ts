/**
 * The bully algorithm as a pure step machine: of those that live, the one with the highest name leads. For teaching, and for
 * what may be led twice for a while. After Garcia-Molina, "Elections in a Distributed Computing System" (IEEE Transactions on
 * Computers C-31, 1982), in the form of the textbooks: `election` to all higher ones, `answer`, `coordinator`; a leader goes on
 * saying `coordinator`, and who has not heard it for `silentMs` holds an election. Other than in the paper, a member that hears its
 * leader does not hold one because a lower one does: it answers, and the asker hears the leader soon.
 *
 * What it does not promise, and why `leaderElection` is another thing:
 * - **Under a partition each side has a leader**, and both think that they are alone. Nobody needs a majority.
 * - **There is no term and no token**: work of a leader that was replaced cannot be told from that of the new one, so nothing can
 *   refuse it.
 * - It takes messages to arrive, and members to answer, within `answerMs` (the paper's assumptions 8 and 9). A slow one is taken
 *   for dead: then two lead, until one of them hears the other.
 * - The highest one takes over whenever it comes back, however often it crashes.
 */
import type { Core } from '@understudy/runtime/internal'

export type BullyMessage =
  /** To all higher ones: is anybody there? */
  | { readonly type: 'election'; readonly round: number }
  /** To who held that election: I am, and see to it. */
  | { readonly type: 'answer'; readonly round: number }
  /** I lead. Said to all when it begins, and again and again. */
  | { readonly type: 'coordinator' }

export type BullyInput =
  /** Once, first. */
  | { readonly type: 'start' }
  | { readonly type: 'tick' }
  /** From nobody else than a member; others are ignored. Messages may be lost, doubled and late. */
  | { readonly type: 'message'; readonly from: string; readonly message: BullyMessage }

export type BullyEffect =
  | { readonly type: 'send'; readonly to: string; readonly message: BullyMessage }
  /** Whom this member takes for the leader has changed; undefined: it knows of none. */
  | { readonly type: 'leader'; readonly leader: string | undefined }

/** Times in milliseconds. */
export interface BullyFigures {
  /** A higher one that has not answered by then is taken for dead. @default 1_000 */
  readonly answerMs?: number | undefined
  /** After an answer: so long it is waited for somebody to lead, then an election is held again. @default 3_000 */
  readonly coordinatorMs?: number | undefined
  /** How often a leader says so. @default 500 */
  readonly heartbeatMs?: number | undefined
  /** A leader that was not heard for so long is taken for dead. Above `heartbeatMs`. @default 2_000 */
  readonly silentMs?: number | undefined
}

export interface BullyOptions extends BullyFigures {
  readonly self: string
  /** Names of all, this one included; the same on all of them. */
  readonly members: readonly string[]
}

export interface BullyStatus {
  /** `electing`: waits for answers; `waiting`: somebody higher has answered, and is expected to lead. */
  readonly phase: 'new' | 'electing' | 'waiting' | 'following' | 'leading'
  readonly leader: string | undefined
  readonly round: number
}

export const bullyDefaults = Object.freeze({
  answerMs: 1_000,
  coordinatorMs: 3_000,
  heartbeatMs: 500,
  silentMs: 2_000,
})

/** An election costs between n and n * n messages; then n for each heartbeat. */
export class BullyCore implements Core<BullyInput, BullyEffect, BullyStatus> {
  readonly #self: string
  readonly #lower: readonly string[]
  readonly #higher: readonly string[]
  readonly #figures: { readonly [K in keyof BullyFigures]-?: number }
  #phase: BullyStatus['phase'] = 'new'
  #leader: string | undefined
  #round = 0
  #dueMs: number | undefined
  #effects: BullyEffect[] = []

  /** @throws {RangeError | TypeError} `self` is no member, a name is there twice, or a figure is out of range */
  constructor(options: BullyOptions) {
    const names = checkedMembers(options.self, options.members)
    const { answerMs, coordinatorMs, heartbeatMs, silentMs } = bullyDefaults
    this.#self = options.self
    this.#lower = names.filter((name) => name < options.self)
    this.#higher = names.filter((name) => name > options.self)
    this.#figures = {
      answerMs: checkedMs('answerMs', options.answerMs ?? answerMs),
      coordinatorMs: checkedMs('coordinatorMs', options.coordinatorMs ?? coordinatorMs),
      heartbeatMs: checkedMs('heartbeatMs', options.heartbeatMs ?? heartbeatMs),
      silentMs: checkedMs('silentMs', options.silentMs ?? silentMs),
    }
    if (this.#figures.silentMs <= this.#figures.heartbeatMs) {
      throw new RangeError(
        `Cannot hold elections: "silentMs" must be above "heartbeatMs" (${this.#figures.heartbeatMs}), got ${this.#figures.silentMs}`,
      )
    }
  }

  step(input: BullyInput, nowMs: number): readonly BullyEffect[] {
    this.#effects = []
    switch (input.type) {
      case 'start':
        if (this.#phase === 'new') this.#hold(nowMs)
        break
      case 'tick':
        this.#tick(nowMs)
        break
      case 'message':
        this.#receive(input.from, input.message, nowMs)
        break
      default:
        input satisfies never
    }
    return this.#effects
  }

  nextDeadlineMs(): number | undefined {
    return this.#dueMs
  }

  status(): BullyStatus {
    return { phase: this.#phase, leader: this.#leader, round: this.#round }
  }

  #tick(nowMs: number): void {
    if (this.#dueMs === undefined || nowMs < this.#dueMs) return
    switch (this.#phase) {
      case 'electing':
        // Nobody higher has answered: none lives.
        this.#lead(nowMs)
        return
      case 'leading':
        this.#tellAll(nowMs)
        return
      default:
        this.#hold(nowMs)
    }
  }

  #receive(from: string, message: BullyMessage, nowMs: number): void {
    const isHigher = this.#higher.includes(from)
    if (this.#phase === 'new' || (!isHigher && !this.#lower.includes(from))) return
    switch (message.type) {
      case 'election':
        if (isHigher) return
        this.#send(from, { type: 'answer', round: message.round })
        // Whoever follows hears its leader, and so will the asker; if not, its silence is noticed here as well.
        if (this.#phase === 'leading') this.#send(from, { type: 'coordinator' })
        return
      case 'answer':
        // One of an earlier round proves nothing about now.
        if (!isHigher || this.#phase !== 'electing' || message.round !== this.#round) return
        this.#phase = 'waiting'
        this.#dueMs = nowMs + this.#figures.coordinatorMs
        return
      case 'coordinator':
        if (isHigher) this.#follow(from, nowMs)
        // It does not know of us: here is the bully.
        else if (this.#phase === 'leading') this.#send(from, { type: 'coordinator' })
        return
      default:
        message satisfies never
    }
  }

  #hold(nowMs: number): void {
    this.#round++
    this.#phase = 'electing'
    this.#setLeader(undefined)
    if (this.#higher.length === 0) {
      this.#lead(nowMs)
      return
    }
    this.#dueMs = nowMs + this.#figures.answerMs
    for (const name of this.#higher) this.#send(name, { type: 'election', round: this.#round })
  }

  #lead(nowMs: number): void {
    this.#phase = 'leading'
    this.#setLeader(this.#self)
    this.#tellAll(nowMs)
  }

  #tellAll(nowMs: number): void {
    this.#dueMs = nowMs + this.#figures.heartbeatMs
    // Also the higher ones: one that lives, and was not heard, then takes over.
    for (const name of this.#lower) this.#send(name, { type: 'coordinator' })
    for (const name of this.#higher) this.#send(name, { type: 'coordinator' })
  }

  #follow(name: string, nowMs: number): void {
    // Of two that say so the higher one counts, for as long as it is heard.
    if (this.#phase === 'following' && this.#leader !== undefined && name < this.#leader) return
    this.#phase = 'following'
    this.#dueMs = nowMs + this.#figures.silentMs
    this.#setLeader(name)
  }

  #setLeader(leader: string | undefined): void {
    if (leader === this.#leader) return
    this.#leader = leader
    this.#effects.push({ type: 'leader', leader })
  }

  #send(to: string, message: BullyMessage): void {
    this.#effects.push({ type: 'send', to, message })
  }
}

/** @throws {TypeError | RangeError} */
export function checkedMembers(self: string, members: readonly string[]): readonly string[] {
  const wrong = members.find((name) => typeof name !== 'string' || name === '')
  if (wrong !== undefined || new Set(members).size !== members.length) {
    throw new TypeError(
      `Cannot hold elections: "members" must be names, each once, got ${JSON.stringify(members)}`,
    )
  }
  if (!members.includes(self)) {
    throw new RangeError(
      `Cannot hold elections: "members" must have "${self}" itself, got ${members.join(', ')}`,
    )
  }
  return members
}

/** @throws {RangeError} */
export function checkedMs(name: string, value: number): number {
  if (value > 0 && Number.isFinite(value)) return value
  throw new RangeError(`Cannot hold elections: "${name}" must be above 0 milliseconds, got ${value}`)
}
