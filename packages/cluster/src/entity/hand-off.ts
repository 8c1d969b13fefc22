/**
 * One life of an entity at a time, also while its key goes from one node to another. Whoever is to start an entity asks those
 * that may still have it; its first messages wait in its mailbox meanwhile, and its setup has not begun. A node that does not
 * own a key starts nothing for it: what comes for it all the same is passed on. See docs/decisions/0011-entity-hand-off.md.
 */
import type { Clock, Timer } from '@understudy/runtime'
import type { ActorKind, Cell, Envelope, Kernel } from '@understudy/runtime/internal'
import type { Life } from '../placement/recent-owners.ts'

/** An entity by what it is. */
export interface EntityName {
  readonly kind: string
  readonly key: string
}

/** What a node says of an entity that another one wants to start. */
export interface Release {
  /** It is the asker's in this node's view too, and nothing of it lives here. */
  readonly isReleased: boolean
  /** Who else may have it, as this node sees it. */
  readonly others: readonly Life[]
}

/** `unknown`: this node has not heard of that life yet. `over`: it is down, has left, or was replaced. */
export type LifeStanding = 'living' | 'over' | 'unknown'

/** What is needed of a cell, and no more: a model of one will do. */
export interface HeldCell extends Pick<
  Cell,
  'path' | 'endReason' | 'holdBack' | 'letBegin' | 'takeBack' | 'whenEnded'
> {
  readonly kind: ActorKind | undefined
}

export interface HandOffHost {
  readonly kernel: {
    readonly nodeName: string
    readonly clock: Clock
    readonly counters: { expired: number }
    readonly hooks: Pick<Kernel['hooks'], 'deadLetter'>
  }
  /** How long an entity waits at most, in milliseconds. 0: not at all. */
  readonly waitMs: number
  readonly owner: (entity: EntityName) => string | undefined
  /** Who may have it, this node among them. */
  readonly recent: (entity: EntityName) => readonly Life[]
  readonly standing: (life: Life) => LifeStanding
  /** The cell of it on this node that has begun and not ended. */
  readonly running: (entity: EntityName) => HeldCell | undefined
  /** What `life` says; `undefined` when it did not answer. */
  readonly ask: (life: Life, entity: EntityName) => Promise<Release | undefined>
  /** Sends on what this node does not own. */
  readonly passOn: (entity: EntityName, envelope: Envelope) => void
  /** It is started though `by` have not released it. */
  readonly overdue: (entity: EntityName, path: string, by: readonly Life[], waitedMs: number) => void
}

/** How long an answer is put off at most, when it would be no: the asker may be gone. */
export const answerMs = 2_000
/** Until somebody who did not say yes is asked again. */
const againMs = 100
/**
 * Until what came to a node that is not the owner is passed on. Two nodes may take each other for the owner until they have the
 * same view: so they do not play ball with it.
 */
const passOnMs = 20
/** Answers that are put off at a time. More are given at once. */
const questionsMax = 4_096
const grantedMax = 16_384
/** Names in an answer that are looked at. */
const othersMax = 64

/** A cell that has not begun. */
interface Claim extends EntityName {
  readonly cell: HeldCell
  /** On this node, and still ending. */
  readonly predecessor: HeldCell | undefined
  readonly sinceMs: number
  /** This node owns the key: it waits for others. Else it is passed on. */
  isOurs: boolean
  isOverdue: boolean
  readonly asked: Set<string>
  /** Of those asked: who has not released it. */
  readonly open: Map<string, Life>
  /** When it is waited for no more. */
  timer: Timer | undefined
  readonly pauses: Set<Timer>
}

interface Question extends EntityName {
  readonly asker: string
  readonly answer: (release: Release) => void
  readonly timer: Timer
}

export class HandOff {
  readonly #host: HandOffHost
  readonly #claims = new Map<HeldCell, Claim>()
  /**
   * Entities that all others have released while this node has owned them ever since, so that they are not asked again: no
   * other starts them before this node has released them. Kept only while others would be asked.
   */
  readonly #granted = new Map<string, EntityName>()
  /** Answers that are put off, by their entity. */
  readonly #questions = new Map<string, Set<Question>>()
  #open = 0
  /** Cells that say when they have ended, so that nothing is left on one for each question. */
  readonly #watched = new WeakSet<HeldCell>()
  #putsOff = true

  constructor(host: HandOffHost) {
    this.#host = host
  }

  /** Whether that cell has not begun. */
  isHeld(cell: HeldCell): boolean {
    return this.#claims.size > 0 && this.#claims.has(cell)
  }

  // ---- What is to be started here --------------------------------------------------------------------------------

  /** Holds a cell that was just spawned until nobody else has its entity; not at all when there is nobody to wait for. */
  begin(cell: HeldCell, { kind, key }: EntityName, predecessor: HeldCell | undefined): void {
    const entity = { kind, key }
    const isOurs = this.#isOurs(entity)
    if (isOurs && predecessor === undefined && this.#toAsk(entity).length === 0) return
    cell.holdBack()
    const claim: Claim = {
      ...entity,
      cell,
      predecessor,
      sinceMs: this.#nowMs(),
      isOurs,
      isOverdue: false,
      asked: new Set(),
      open: new Map(),
      timer: undefined,
      pauses: new Set(),
    }
    this.#claims.set(cell, claim)
    cell.whenEnded(() => this.#forget(claim))
    predecessor?.whenEnded(() => this.#look(claim))
    this.#place(claim)
  }

  /** The view of this node has changed. Whatever this node sends goes by the new one already. */
  placesChanged(): void {
    for (const claim of [...this.#claims.values()]) {
      const isOurs = this.#isOurs(claim)
      if (isOurs !== claim.isOurs) {
        claim.isOurs = isOurs
        if (isOurs) this.#place(claim)
        else this.#passOn(claim)
      } else if (isOurs) {
        for (const [id, life] of claim.open) if (this.#host.standing(life) === 'over') claim.open.delete(id)
        this.#askAll(claim)
        this.#look(claim)
      }
    }
    for (const [id, entity] of this.#granted) if (!this.#isOurs(entity)) this.#granted.delete(id)
    for (const questions of [...this.#questions.values()]) this.#answerReleased(questions)
  }

  /** Passes on what waits in that cell, which then ends. */
  giveUp(cell: HeldCell): void {
    const claim = this.#claims.get(cell)
    if (claim !== undefined) this.#passOn(claim)
  }

  #place(claim: Claim): void {
    claim.timer?.cancel()
    if (!claim.isOurs) {
      claim.timer = this.#after(passOnMs, () => this.#passOn(claim))
      return
    }
    claim.timer = undefined
    this.#askAll(claim)
    this.#look(claim)
  }

  #askAll(claim: Claim): void {
    for (const life of this.#toAsk(claim)) this.#want(claim, life)
  }

  /** Whose word is needed before that entity may begin here. */
  #toAsk(entity: EntityName): readonly Life[] {
    const others = this.#others(entity)
    if (others.length > 0)
      return this.#host.waitMs <= 0 || this.#granted.has(placeOf(entity)) ? nobody : others
    if (this.#granted.size > 0) this.#granted.delete(placeOf(entity))
    return others
  }

  #want(claim: Claim, life: Life): void {
    const id = idOf(life)
    if (claim.asked.has(id)) return
    claim.asked.add(id)
    claim.open.set(id, life)
    claim.timer ??= this.#after(this.#host.waitMs, () => this.#overdue(claim))
    this.#ask(claim, life)
  }

  #ask(claim: Claim, life: Life): void {
    void this.#host.ask(life, claim).then((release) => {
      const id = idOf(life)
      if (!claim.open.has(id)) return
      if (release !== undefined && this.#heard(claim, release)) {
        claim.open.delete(id)
        this.#look(claim)
        return
      }
      const pause = this.#after(againMs, () => {
        claim.pauses.delete(pause)
        if (claim.open.has(id)) this.#ask(claim, life)
      })
      claim.pauses.add(pause)
    })
  }

  /** Whether that is a yes. Whom it names is asked too: nobody knows of all that may have been started where. */
  #heard(claim: Claim, { isReleased, others }: Release): boolean {
    let allKnown = true
    for (const life of others.slice(0, othersMax)) {
      if (life.name === this.#host.kernel.nodeName) continue
      const standing = this.#host.standing(life)
      if (standing === 'living') this.#want(claim, life)
      // It will be heard of, or be over: until then who named it is asked again.
      else if (standing === 'unknown') allKnown = false
    }
    return isReleased && allKnown
  }

  /** Lets it begin when nobody is left to wait for. */
  #look(claim: Claim): void {
    if (this.#claims.get(claim.cell) !== claim || !claim.isOurs || claim.open.size > 0) return
    // It is on this node and ends by itself: it is waited for as long as it takes.
    if (claim.predecessor !== undefined && claim.predecessor.endReason === null) return
    if (!claim.isOverdue && claim.asked.size > 0) {
      if (this.#granted.size >= grantedMax) this.#granted.clear()
      this.#granted.set(placeOf(claim), { kind: claim.kind, key: claim.key })
    }
    this.#forget(claim)
    claim.cell.letBegin()
  }

  #overdue(claim: Claim): void {
    claim.timer = undefined
    const by = [...claim.open.values()]
    claim.open.clear()
    claim.isOverdue = true
    if (by.length > 0) this.#host.overdue(claim, claim.cell.path, by, this.#nowMs() - claim.sinceMs)
    this.#look(claim)
  }

  #passOn(claim: Claim): void {
    if (this.#claims.get(claim.cell) !== claim) return
    const { kernel } = this.#host
    const { cell } = claim
    const { path } = cell
    for (const envelope of cell.takeBack()) {
      if (envelope.call?.settled === true) {
        kernel.counters.expired++
        kernel.hooks.deadLetter(envelope, 'expired', cell.kind, path)
      } else {
        this.#host.passOn(claim, envelope)
      }
    }
  }

  #forget(claim: Claim): void {
    this.#claims.delete(claim.cell)
    claim.timer?.cancel()
    claim.timer = undefined
    claim.open.clear()
    for (const pause of claim.pauses) pause.cancel()
    claim.pauses.clear()
  }

  // ---- What others want to start -------------------------------------------------------------------------------

  /** The answer for `asker`, put off while it would be no, at most for `answerMs`. */
  release(asker: string, { kind, key }: EntityName, answer: (release: Release) => void): void {
    const entity = { kind, key }
    const now = this.#say(asker, entity)
    if (now.isReleased || !this.#putsOff || this.#open >= questionsMax) {
      answer(now)
      return
    }
    const place = placeOf(entity)
    const timer = this.#after(answerMs, () => {
      this.#forgetQuestion(question)
      answer(this.#say(asker, entity))
    })
    const question: Question = { ...entity, asker, answer, timer }
    const questions = this.#questions.get(place) ?? new Set()
    this.#questions.set(place, questions.add(question))
    this.#open++
    this.#watch(entity)
  }

  /** What runs of that entity says when it has ended, once. */
  #watch(entity: EntityName): void {
    const running = this.#host.running(entity)
    if (running === undefined || this.#watched.has(running)) return
    this.#watched.add(running)
    running.whenEnded(() => this.#answerReleased(this.#questions.get(placeOf(entity))))
  }

  /** From now on every answer is given at once: this node ends, and nobody is to wait for it because of them. */
  answerAll(): void {
    this.#putsOff = false
    for (const question of [...this.#questions.values()].flatMap((each) => [...each])) {
      this.#forgetQuestion(question)
      question.answer(this.#say(question.asker, question))
    }
  }

  #answerReleased(questions: ReadonlySet<Question> | undefined): void {
    for (const question of [...(questions ?? [])]) {
      const release = this.#say(question.asker, question)
      if (!release.isReleased) {
        // It may have begun since it was asked for.
        this.#watch({ kind: question.kind, key: question.key })
        continue
      }
      this.#forgetQuestion(question)
      question.answer(release)
    }
  }

  #forgetQuestion(question: Question): void {
    const place = placeOf(question)
    const questions = this.#questions.get(place)
    if (questions?.delete(question) !== true) return
    this.#open--
    question.timer.cancel()
    if (questions.size === 0) this.#questions.delete(place)
  }

  /**
   * Not released while this node sees another owner than the asker: the asker may not know of it, and who comes to have it here
   * has to be told no by then.
   */
  #say(asker: string, entity: EntityName): Release {
    const owner = this.#host.owner(entity)
    const isItsOwn = owner === asker || owner === undefined
    const others = this.#others(entity).filter(({ name }) => name !== asker)
    return { isReleased: isItsOwn && this.#host.running(entity) === undefined, others }
  }

  // ---- Short words -----------------------------------------------------------------------------------------------

  #isOurs(entity: EntityName): boolean {
    return this.#host.owner(entity) === this.#host.kernel.nodeName
  }

  #others(entity: EntityName): readonly Life[] {
    const recent = this.#host.recent(entity)
    return recent.length === 0 ? recent : recent.filter(({ name }) => name !== this.#host.kernel.nodeName)
  }

  #nowMs(): number {
    return this.#host.kernel.clock.monotonicMs()
  }

  #after(delayMs: number, fire: () => void): Timer {
    return this.#host.kernel.clock.setTimer(this.#nowMs() + delayMs, fire)
  }
}

const nobody: readonly Life[] = Object.freeze([])

function placeOf({ kind, key }: EntityName): string {
  return `${kind}/${key}`
}

function idOf({ name, incarnation }: Life): string {
  return `${name}/${incarnation}`
}
