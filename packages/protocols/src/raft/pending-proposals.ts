/**
 * Commands that somebody waits for, from the call to the answer: gathered while the host does other things, appended many at
 * a time, and matched with what is applied by place and term. A place may come to hold another leader's entry: then the
 * command was surely not applied and says so. Whatever cannot be known is said to be unknown (R18, R19).
 */
import { GroupOverloaded, NotLeader, OutcomeUnknown, SessionExpired } from '../core/consensus-error.ts'
import type { SessionStamp } from '../core/consensus-group.ts'
import type { Pending, PendingDeadlines } from './pending-deadlines.ts'

/** What a proposal becomes in the log. `expire-sessions` has nobody who waits for it. */
export type ProposalKind = 'command' | 'open-session' | 'expire-sessions'

/** What came of an entry, for whoever proposed it. */
export type Applied =
  | { readonly type: 'result'; readonly result: unknown }
  /** It gave way: too many commands of its session are unanswered. */
  | { readonly type: 'full' }
  | { readonly type: 'expired' }
  /** It was applied before, and its client has said that it has the answer. */
  | { readonly type: 'answered' }

export type Settle = (value: unknown) => void
export type Fail = (error: Error) => void

/** One command and whoever waits for it. */
export class Proposal implements Pending {
  readonly kind: ProposalKind
  readonly command: Uint8Array
  readonly session: SessionStamp | undefined
  /** Only in this term of the leader. */
  readonly onlyTerm: number | undefined
  readonly deadlineMs: number
  readonly #owner: ProposalOwner
  readonly #resolve: Settle
  readonly #reject: Fail
  /** Where it stands in the log; 0: it was not appended yet. */
  index = 0
  term = 0
  isSettled = false
  /** Lets go of the caller's signal. */
  letGo: (() => void) | undefined

  constructor(
    owner: ProposalOwner,
    kind: ProposalKind,
    command: Uint8Array,
    session: SessionStamp | undefined,
    onlyTerm: number | undefined,
    deadlineMs: number,
    resolve: Settle,
    reject: Fail,
  ) {
    this.#owner = owner
    this.kind = kind
    this.command = command
    this.session = session
    this.onlyTerm = onlyTerm
    this.deadlineMs = deadlineMs
    this.#resolve = resolve
    this.#reject = reject
  }

  resolve(value: unknown): void {
    if (!this.#settle()) return
    this.#owner.deadlines.settled()
    this.#resolve(value)
  }

  reject(error: Error): void {
    if (!this.#settle()) return
    this.#owner.deadlines.settled()
    this.#reject(error)
  }

  /** For its deadline only: it has left the queue of the deadlines already. */
  readonly expire = (): void => {
    if (!this.#settle()) return
    this.#reject(
      this.index === 0
        ? new GroupOverloaded(
            `The group "${this.#owner.group}" did not come to append the command in time: nothing was appended`,
            { group: this.#owner.group },
          )
        : this.unknown('it was not decided in time'),
    )
  }

  unknown(why: string, cause?: unknown): OutcomeUnknown {
    const { group } = this.#owner
    return new OutcomeUnknown(
      `The outcome of a command to the group "${group}" is not known: ${why}; ` +
        'only a retry with the same session stamp finds out',
      { group, index: this.index, term: this.term },
      cause,
    )
  }

  /** It was not applied, or its session says what became of it. */
  settleWith(applied: Applied): void {
    switch (applied.type) {
      case 'result':
        this.resolve(applied.result)
        return
      case 'expired':
        this.reject(new SessionExpired(this.session?.session ?? 0, { group: this.#owner.group }))
        return
      case 'full':
        this.reject(
          new GroupOverloaded(
            `Too many commands of session ${this.session?.session} are unanswered: this one was not applied. ` +
              'Raise answeredBelow to the lowest number that still waits, and propose it again',
            { group: this.#owner.group },
          ),
        )
        return
      case 'answered':
        this.reject(this.unknown('it was applied before, and its answer was given up by "answeredBelow"'))
    }
  }

  #settle(): boolean {
    if (this.isSettled) return false
    this.isSettled = true
    this.#owner.waiting -= 1
    this.letGo?.()
    return true
  }
}

/** What all proposals of a group have in common. */
export interface ProposalOwner {
  readonly group: string
  readonly deadlines: PendingDeadlines
  /** How many of them are not settled. */
  waiting: number
}

/** Proposals that go to the core in one input. */
export interface ProposalBatch {
  readonly proposals: readonly Proposal[]
  readonly onlyTerm: number | undefined
}

export interface BatchLimits {
  readonly commandsMax: number
  readonly bytesMax: number
}

/** The proposals of one member, from `gather` until they are settled. */
export class PendingProposals implements ProposalOwner {
  readonly group: string
  readonly deadlines: PendingDeadlines
  readonly #limits: BatchLimits
  waiting = 0
  #gathered: Proposal[] = []
  readonly #asked = new Map<number, readonly Proposal[]>()
  /** Appended in the leadership in progress, by place: places rise. Settled in front of `#head`. */
  #appended: Proposal[] = []
  #head = 0
  /** Appended in leaderships that are over, and not yet decided. */
  #orphans: Proposal[] = []

  constructor(group: string, deadlines: PendingDeadlines, limits: BatchLimits) {
    this.group = group
    this.deadlines = deadlines
    this.#limits = limits
  }

  /** Puts it behind the others of this turn; true when it is the first. */
  gather(proposal: Proposal): boolean {
    this.waiting += 1
    this.deadlines.add(proposal)
    return this.#gathered.push(proposal) === 1
  }

  /** What was gathered, in order, in batches within the limits and of one term each. */
  take(): readonly ProposalBatch[] {
    const gathered = this.#gathered
    this.#gathered = []
    const batches: ProposalBatch[] = []
    let proposals: Proposal[] = []
    let bytes = 0
    for (const proposal of gathered) {
      if (proposal.isSettled) continue
      const first = proposals[0]
      const isFull =
        proposals.length >= this.#limits.commandsMax ||
        bytes + proposal.command.length > this.#limits.bytesMax
      if (first !== undefined && (isFull || first.onlyTerm !== proposal.onlyTerm)) {
        batches.push({ proposals, onlyTerm: first.onlyTerm })
        proposals = []
        bytes = 0
      }
      proposals.push(proposal)
      bytes += proposal.command.length
    }
    if (proposals.length > 0) batches.push({ proposals, onlyTerm: proposals[0]?.onlyTerm })
    return batches
  }

  /** The core is asked to append these under this id. */
  asked(id: number, proposals: readonly Proposal[]): void {
    this.#asked.set(id, proposals)
  }

  /** They stand at `first`, `first + 1`, ... in `term`. False: the id is none of a batch. */
  appended(id: number, first: number, term: number): boolean {
    const proposals = this.#asked.get(id)
    if (proposals === undefined) return false
    this.#asked.delete(id)
    const last = this.#appended.at(-1)
    // Places that go back, or another term: leadership was lost and won since, and what it appended before may be gone.
    if (last !== undefined && (last.term !== term || last.index >= first)) this.leadershipLost()
    let index = first
    for (const proposal of proposals) {
      proposal.index = index++
      proposal.term = term
      this.#appended.push(proposal)
    }
    return true
  }

  /** Takes the batch that was refused. `undefined`: the id is none of a batch. */
  refused(id: number): readonly Proposal[] | undefined {
    const proposals = this.#asked.get(id)
    this.#asked.delete(id)
    return proposals
  }

  /** Another may decide what was appended: each waits for what comes to stand in its place. */
  leadershipLost(): void {
    for (let at = this.#head; at < this.#appended.length; at++) {
      const proposal = this.#appended[at]
      if (proposal !== undefined && !proposal.isSettled) this.#orphans.push(proposal)
    }
    this.#appended = []
    this.#head = 0
  }

  /**
   * The entry at this place is applied: gives the proposal that waits for it, and refuses those whose place it took. Called
   * for every entry, in order. Hot.
   */
  at(index: number, term: number, leader: string | undefined): Proposal | undefined {
    let found = this.#orphans.length > 0 ? this.#decideOrphans(index, term, leader) : undefined
    while (this.#head < this.#appended.length) {
      const proposal = this.#appended[this.#head] as Proposal
      if (proposal.index > index) break
      this.#head += 1
      if (proposal.index === index && proposal.term === term) found = proposal
      else if (proposal.index === index) proposal.reject(new NotLeader(this.group, leader))
      else proposal.reject(proposal.unknown('its place was passed by a snapshot'))
    }
    if (this.#head > 1_024 && this.#head * 2 > this.#appended.length) {
      this.#appended = this.#appended.slice(this.#head)
      this.#head = 0
    }
    return found
  }

  /** The state jumped to `index` by a snapshot: what stood at or before it may be in it or not. */
  passed(index: number): void {
    const pass = (proposal: Proposal): boolean => {
      if (proposal.isSettled) return false
      if (proposal.index > index) return true
      proposal.reject(proposal.unknown('its place was passed by a snapshot'))
      return false
    }
    this.#orphans = this.#orphans.filter(pass)
    this.#appended = this.#appended.slice(this.#head).filter(pass)
    this.#head = 0
  }

  /** Ends all of them: what was appended is unknown, what was not gets `error`. */
  close(error: Error): void {
    const appended = [...this.#orphans, ...this.#appended.slice(this.#head)]
    const others = [...this.#asked.values()].flat().concat(this.#gathered)
    this.#orphans = []
    this.#appended = []
    this.#head = 0
    this.#gathered = []
    this.#asked.clear()
    for (const proposal of appended) {
      if (!proposal.isSettled)
        proposal.reject(proposal.unknown('this member ended before it was decided', error))
    }
    for (const proposal of others) proposal.reject(error)
  }

  #decideOrphans(index: number, term: number, leader: string | undefined): Proposal | undefined {
    let found: Proposal | undefined
    const rest: Proposal[] = []
    for (const proposal of this.#orphans) {
      if (proposal.isSettled) continue
      if (proposal.index > index) rest.push(proposal)
      else if (proposal.index === index && proposal.term === term) found = proposal
      else if (proposal.index === index) proposal.reject(new NotLeader(this.group, leader))
      else proposal.reject(proposal.unknown('its place was passed by a snapshot'))
    }
    this.#orphans = rest
    return found
  }
}
