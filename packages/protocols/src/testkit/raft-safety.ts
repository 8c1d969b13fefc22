/**
 * What must hold of a Raft cluster after every step, asserted by one who sees every log, disk and message: the five
 * properties of the paper (figure 3), and what they rest on. Looks at what a step changed, never at everything.
 *
 * It shares no arithmetic with the code under test.
 */
import type {
  HardState,
  LogEntry,
  LogPosition,
  MemberId,
  RaftConfiguration,
  RaftMessage,
  SnapshotMeta,
} from '../raft/raft-message.ts'
import type { RaftStatus } from '../raft/raft-step.ts'
import type { LogImage, RaftDisk } from './raft-disk.ts'

/** A property that did not hold. `property` names it, the message says where and how. */
export class SafetyViolation extends Error {
  override readonly name = 'SafetyViolation'
  readonly property: string

  constructor(property: string, text: string) {
    super(`${property}: ${text}`)
    this.property = property
  }
}

/** What the checker sees of a member, in all its lives. */
export interface WatchedMember {
  readonly id: MemberId
  readonly disk: RaftDisk
  /** The log as the core has given it out, durable or not. */
  readonly log: LogImage
  /** The same of term and vote. */
  readonly hard: HardState
  /** As of the end of its last step; undefined while it is down. */
  readonly status: RaftStatus | undefined
}

/** An entry at its index and term. */
interface Place {
  readonly entry: LogEntry
  /** Term of the entry before it. */
  readonly before: number
  readonly writer: MemberId
  /** Durable somewhere, or sent: there is no way back. */
  isOut: boolean
}

/** One for each run. Every method throws a `SafetyViolation`. */
export class RaftSafety {
  readonly #members: ReadonlyMap<MemberId, WatchedMember>
  readonly #founding: RaftConfiguration
  /** The entry at index i is at i - 1: decided, for ever. */
  readonly #committed: LogEntry[] = []
  /** The term in which each was committed. Grows with the index. */
  readonly #committedIn: number[] = []
  /** By index and term: the entry, and the term of the one before it. By induction, Log Matching is this map's uniqueness. */
  readonly #places = new Map<number, Place>()
  readonly #leaders = new Map<number, MemberId>()
  /** Durable votes, `term>candidate`. */
  readonly #votes = new Map<string, Set<MemberId>>()
  #leaderTermMax = 0
  /** Of the step under way. */
  #appended: {
    readonly at: LogImage['last']
    readonly previous: LogPosition
    readonly config: RaftConfiguration
  }[] = []

  constructor(founding: RaftConfiguration, members: ReadonlyMap<MemberId, WatchedMember>) {
    this.#founding = founding
    this.#members = members
  }

  /** The highest index that any member ever knew to be committed. */
  get commitMax(): number {
    return this.#committed.length
  }

  get leaderTermMax(): number {
    return this.#leaderTermMax
  }

  get committed(): readonly LogEntry[] {
    return this.#committed
  }

  /** Entries that stood in the members' logs before the first step, as after `logs=` of a transcript. */
  planted(member: WatchedMember): void {
    let before = member.log.snapshot.term
    for (const entry of member.log.entries) {
      this.#place(member.id, entry, before)
      before = entry.term
    }
  }

  /** A core was made from what stands on the disk. */
  started(member: WatchedMember, status: RaftStatus): void {
    const { hard, log } = member.disk
    check(
      status.term === hard.term && status.vote === hard.vote,
      'Term and vote survive a restart',
      () => `${member.id} starts in term ${status.term} with vote ${status.vote}, its disk has ${text(hard)}`,
    )
    check(
      same(status.last, log.last),
      'The log survives a restart',
      () => `${member.id} starts with ${at(status.last)}, its disk has ${at(log.last)}`,
    )
  }

  /** A `persist` is about to be put into `member.log` and `member.hard`. */
  persisting(member: WatchedMember, hard: HardState | undefined, entries: readonly LogEntry[]): void {
    const { status } = member
    if (hard !== undefined) {
      check(
        hard.term > member.hard.term ||
          (hard.term === member.hard.term &&
            (member.hard.vote === undefined || hard.vote === member.hard.vote)),
        'Term and vote never go back',
        () => `${member.id} goes from ${text(member.hard)} to ${text(hard)}`,
      )
    }
    const [first] = entries
    if (first === undefined) return
    const term = hard?.term ?? member.hard.term
    const { last } = member.log
    check(
      first.index > (status?.commit ?? 0),
      'Committed entries are never replaced',
      () => `${member.id} replaces its log from ${first.index} on, and ${status?.commit} is committed`,
    )
    if (status?.role === 'leader' && status.term === term) {
      check(
        first.index === last.index + 1 && entries.every((entry) => entry.term === term),
        'Leader Append-Only',
        () => `${member.id} leads term ${term}, its log ends with ${at(last)}, and it writes ${at(first)}`,
      )
    }
    if (first.index <= last.index) {
      check(
        member.log.term(first.index) !== first.term,
        'A suffix is removed only in a conflict',
        () => `${member.id} replaces ${at(first)} by itself, and with it what stood behind up to ${at(last)}`,
      )
    }
    let before: LogPosition = {
      index: first.index - 1,
      term: member.log.term(first.index - 1) ?? Number.NaN,
    }
    for (const entry of entries) {
      check(
        entry.index === before.index + 1 && entry.term >= before.term && entry.term <= term,
        'Entries stand in order',
        () => `${member.id} writes ${at(entry)} behind ${at(before)} in term ${term}`,
      )
      this.#place(member.id, entry, before.term)
      if (entry.type === 'configuration' && entry.term === term) {
        const previous = configurationOf(member.log, entries, entry.index - 1)
        this.#appended.push({ at: entry, previous, config: previous.configuration })
      }
      before = entry
    }
  }

  /** A snapshot is about to be put in force. */
  installing(member: WatchedMember, meta: SnapshotMeta): void {
    this.#snapshotIsRight(member.id, meta)
    check(
      meta.index > (member.status?.commit ?? 0),
      'A snapshot at or below the commit index is ignored',
      () => `${member.id} installs ${at(meta)}, and ${member.status?.commit} is committed there`,
    )
    check(
      member.log.term(meta.index) !== meta.term,
      'A snapshot that the log contains does not end the log',
      () => `${member.id} installs ${at(meta)} over its log up to ${at(member.log.last)}`,
    )
  }

  /** A write has become durable. */
  durable(member: WatchedMember, hard: HardState | undefined, entries: readonly LogEntry[]): void {
    this.#out(entries)
    if (hard?.vote === undefined) return
    const key = `${hard.term}>${hard.vote}`
    const voters = this.#votes.get(key)
    if (voters === undefined) this.#votes.set(key, new Set([member.id]))
    else voters.add(member.id)
  }

  /** A message leaves the member's node: what it says must not be forgotten by a crash at this moment. */
  leaving(member: WatchedMember, to: MemberId, message: RaftMessage): void {
    const { hard, log } = member.disk
    const { term } = message
    const property = 'What is said is durable'
    if (message.type === 'vote' || (message.type === 'vote-reply' && message.granted)) {
      const vote = message.type === 'vote' ? member.id : to
      check(
        hard.term > term || (hard.term === term && hard.vote === vote),
        property,
        () => `${member.id} tells ${to} of its vote for ${vote} in term ${term}, its disk has ${text(hard)}`,
      )
    } else if (message.type === 'append-reply' && message.rejected === undefined) {
      check(
        hard.term >= term,
        property,
        () => `${member.id} acknowledges to ${to} in term ${term}, its disk has ${text(hard)}`,
      )
      if (hard.term > term) return
      const leader = this.#members.get(to)
      const wanted = leader?.hard.term === term ? leader.log.term(message.index) : undefined
      const found = log.term(message.index)
      check(
        message.index <= log.last.index && (wanted === undefined || found === undefined || wanted === found),
        property,
        () =>
          `${member.id} acknowledges ${message.index} to ${to}; its disk has there term ${found} of ${at(log.last)}, the leader ${wanted}`,
      )
    } else if (message.type === 'append') {
      this.#out(message.entries)
      // A heartbeat claims nothing that the log has not; a single voter's may leave before its term is durable.
      check(
        hard.term >= term,
        property,
        () => `${member.id} leads in term ${term}, its disk has ${text(hard)}`,
      )
    }
  }

  /** The process ended in the middle of a step; what was decided in it may have been told already. */
  broken(member: WatchedMember, before: RaftStatus, after: RaftStatus): void {
    this.#appended = []
    if (after.commit > before.commit) this.#advanced(member, before, after)
  }

  /** A step is over: `member.log`, `member.hard` and `member.status` are what stands now, `before` is what stood. */
  stepped(member: WatchedMember, before: RaftStatus, after: RaftStatus): void {
    const { id, hard, log } = member
    check(
      after.term === hard.term && after.vote === hard.vote,
      'Term and vote are given out to be persisted',
      () =>
        `${id} is in term ${after.term} with vote ${after.vote}, and was given out to persist ${text(hard)}`,
    )
    check(
      same(after.last, log.last),
      'Entries are given out to be persisted',
      () => `${id} has a log up to ${at(after.last)}, and what was given out ends with ${at(log.last)}`,
    )
    check(
      after.commit >= before.commit,
      'The commit index never goes back',
      () => `${id} goes from ${before.commit} to ${after.commit}`,
    )
    check(
      after.applied >= before.applied && after.applied <= after.commit && after.commit <= after.last.index,
      'Applied, committed and last stand in this order',
      () => `${id}: applied ${after.applied}, commit ${after.commit}, last ${after.last.index}`,
    )
    if (
      this.#appended.length > 0 ||
      before.last.index !== after.last.index ||
      before.last.term !== after.last.term
    )
      this.#configurationRules(member, after)
    if (after.role === 'leader') {
      if (before.role !== 'leader' || before.term !== after.term) this.#elected(member, before, after)
      this.#acknowledged(member, after)
    }
    if (after.commit > before.commit) this.#advanced(member, before, after)
    this.#changes(member, after)
  }

  /** May a read that was asked when `floor` was committed be answered with `index`? */
  readReady(member: WatchedMember, term: number, index: number, floor: number, isLease: boolean): void {
    check(
      index >= floor,
      'Reads are linearizable',
      () => `${member.id} reads at ${index} in term ${term}; ${floor} was committed when the read was asked`,
    )
    if (!isLease) return
    check(
      term >= this.#leaderTermMax,
      'A lease ends before another leads',
      () => `${member.id} reads by its lease of term ${term}, and term ${this.#leaderTermMax} has a leader`,
    )
  }

  /** The snapshot says what the log has decided. */
  #snapshotIsRight(id: MemberId, meta: SnapshotMeta): void {
    const entry = this.#committed[meta.index - 1]
    const wanted = this.configurationAt(meta.index)
    check(
      entry?.term === meta.term && sameConfiguration(meta.configuration, wanted),
      'A snapshot is of what is committed',
      () => `${id} takes ${text(meta)}; committed there is term ${entry?.term} and ${text(wanted)}`,
    )
  }

  /** The configuration that ruled when the committed entry `index` was the last one. */
  configurationAt(index: number): RaftConfiguration {
    for (let i = Math.min(index, this.#committed.length); i > 0; i--) {
      const entry = this.#committed[i - 1]
      if (entry?.type === 'configuration') return entry.configuration
    }
    return this.#founding
  }

  #place(id: MemberId, entry: LogEntry, before: number): void {
    const key = placeKey(entry)
    const known = this.#places.get(key)
    if (known === undefined) {
      this.#places.set(key, { entry, before, writer: id, isOut: false })
      return
    }
    if (known.entry === entry && known.before === before) return
    if (known.before === before && sameEntry(known.entry, entry)) return
    // A single voter leads before its term is durable. After a crash it may lead the same term again, if nobody knew.
    if (known.writer === id && !known.isOut) {
      this.#places.set(key, { entry, before, writer: id, isOut: false })
      return
    }
    throw new SafetyViolation(
      'Log Matching',
      `${id} has at ${at(entry)} ${text(entry)} behind term ${before}; elsewhere ${text(known)}`,
    )
  }

  #out(entries: readonly LogEntry[]): void {
    for (const entry of entries) {
      const place = this.#places.get(placeKey(entry))
      if (place !== undefined) place.isOut = true
    }
  }

  #configurationRules(member: WatchedMember, after: RaftStatus): void {
    const { configuration } = configurationOf(member.log, [], member.log.last.index)
    check(
      sameConfiguration(after.configuration, configuration),
      'The last configuration in the log rules',
      () => `${member.id} goes by ${text(after.configuration)}, its log has ${text(configuration)}`,
    )
  }

  #elected(member: WatchedMember, before: RaftStatus, after: RaftStatus): void {
    const { term } = after
    const other = this.#leaders.get(term)
    check(
      other === undefined || other === member.id,
      'Election Safety',
      () => `${member.id} and ${other} both lead term ${term}`,
    )
    this.#leaders.set(term, member.id)
    this.#leaderTermMax = Math.max(this.#leaderTermMax, term)
    const votes = this.#votes.get(`${term}>${member.id}`)
    check(
      isQuorum(before.configuration, (voter) => voter === member.id || (votes?.has(voter) ?? false)),
      'A leader has the votes of a majority',
      () =>
        `${member.id} leads term ${term} with votes of ${text([...(votes ?? [])])} in ${text(before.configuration)}`,
    )
    // By votes that came late it may be the leader of a term that is long over: what was decided after that it need not have.
    const decided = this.#committedIn.findLastIndex((one) => one < term)
    const last = this.#committed[decided]
    if (last !== undefined) this.#isComplete(member, term, last)
  }

  #isComplete(leader: WatchedMember, term: number, entry: LogPosition): void {
    check(
      leader.log.holds(entry.index, entry.term),
      'Leader Completeness',
      () =>
        `${leader.id} leads term ${term} and has at ${entry.index} term ${leader.log.term(entry.index)} of ${at(leader.log.last)}; committed is ${at(entry)}`,
    )
  }

  /** What a leader believes of its followers is so, and of itself (R16). */
  #acknowledged(member: WatchedMember, after: RaftStatus): void {
    for (const { member: id, match } of after.progress) {
      const follower = this.#members.get(id)
      const term = member.log.term(match)
      // Who has gone on to another term may have had its log replaced meanwhile, by right.
      if (term === undefined || follower === undefined || follower.disk.hard.term > after.term) continue
      check(
        follower.disk.held(match, term),
        'A leader counts only what is durable',
        () =>
          `${member.id} believes that ${id} has ${match} of term ${term}; its disk has term ${follower.disk.log.term(match)} of ${at(follower.disk.log.last)}`,
      )
    }
    const term = member.log.term(after.durable)
    check(
      term === undefined || member.disk.held(after.durable, term),
      'A leader counts only what is durable',
      () => `${member.id} believes that it has ${after.durable} of term ${term} on its own disk`,
    )
  }

  #advanced(member: WatchedMember, before: RaftStatus, after: RaftStatus): void {
    const { log } = member
    const known = this.#committed.length
    for (let i = Math.max(before.commit, log.snapshot.index) + 1; i <= after.commit; i++) {
      const entry = log.entry(i)
      const decided = this.#committed[i - 1]
      if (entry === undefined) continue
      if (decided === undefined) {
        this.#committed.push(entry)
        this.#committedIn.push(before.role === 'leader' ? before.term : after.term)
      } else {
        check(
          decided === entry || sameEntry(decided, entry),
          'State Machine Safety',
          () => `${member.id} commits ${text(entry)}, decided is ${text(decided)}`,
        )
      }
    }
    check(
      this.#committed.length >= after.commit,
      'A snapshot is of what is committed',
      () => `${member.id} commits ${after.commit}, and only ${this.#committed.length} are decided`,
    )
    const last = this.#committed.at(-1)
    if (last === undefined || this.#committed.length === known) return
    // It may have removed itself by this very commit.
    check(
      (before.role === 'leader' && before.term === after.term) || after.role === 'leader',
      'Only a leader commits first',
      () => `${member.id} is ${after.role} in term ${after.term} and commits ${at(last)}`,
    )
    check(
      last.term === after.term,
      'Only entries of the own term are committed by count',
      () => `${member.id} leads term ${after.term} and commits ${at(last)}`,
    )
    const isHeld = (voter: MemberId): boolean =>
      this.#members.get(voter)?.disk.held(last.index, last.term) ?? false
    check(
      isQuorum(before.configuration, isHeld) || isQuorum(after.configuration, isHeld),
      'What is committed is durable on a majority',
      () => `${member.id} commits ${at(last)} in ${text(after.configuration)}`,
    )
    for (const other of this.#members.values()) {
      const { status } = other
      if (other !== member && status?.role === 'leader' && status.term > after.term)
        this.#isComplete(other, status.term, last)
    }
  }

  /** Configurations that a leader appended in this step. */
  #changes(member: WatchedMember, after: RaftStatus): void {
    const appended = this.#appended
    this.#appended = []
    if (after.role !== 'leader') return
    for (const { at: place, previous, config } of appended) {
      const next = member.log.entry(place.index)
      if (next?.type !== 'configuration') continue
      check(
        previous.index <= after.commit,
        'One change of the configuration at a time',
        () => `${member.id} appends ${at(place)}, and the one at ${at(previous)} is not committed`,
      )
      check(
        this.#committed[after.commit - 1]?.term === after.term,
        'A leader commits an entry of its term before it changes the configuration',
        () => `${member.id} appends ${at(place)} with commit ${after.commit}`,
      )
      check(
        follows(config, next.configuration),
        'Majorities of two configurations in a row meet',
        () => `${member.id} goes from ${text(config)} to ${text(next.configuration)}`,
      )
    }
  }
}

/** Are `isIn` a majority of the voters, and while joint of the old ones too? */
export function isQuorum(configuration: RaftConfiguration, isIn: (voter: MemberId) => boolean): boolean {
  const { voters, outgoing } = configuration
  const isMajority = (all: readonly MemberId[]): boolean => all.filter(isIn).length * 2 > all.length
  return isMajority(voters) && (outgoing.length === 0 || isMajority(outgoing))
}

export function sameConfiguration(a: RaftConfiguration, b: RaftConfiguration): boolean {
  return (
    String(a.voters) === String(b.voters) &&
    String(a.outgoing) === String(b.outgoing) &&
    String(a.learners) === String(b.learners) &&
    String(a.learnersNext) === String(b.learnersNext)
  )
}

/** May `next` be the configuration after `now`? The same voters, or into a joint one, or out of it. */
function follows(now: RaftConfiguration, next: RaftConfiguration): boolean {
  if (now.outgoing.length > 0) return next.outgoing.length === 0 && String(now.voters) === String(next.voters)
  if (next.outgoing.length > 0) return String(next.outgoing) === String(now.voters)
  return String(now.voters) === String(next.voters)
}

/** The configuration that rules a log up to `index`, with `entries` about to be put into it, and where it stands. */
function configurationOf(log: LogImage, entries: readonly LogEntry[], index: number): SnapshotMeta {
  const from = entries[0]?.index ?? Number.POSITIVE_INFINITY
  for (let i = index; i > log.snapshot.index; i--) {
    const entry = i >= from ? entries[i - from] : log.entry(i)
    if (entry?.type === 'configuration') return entry
  }
  return log.snapshot
}

function sameEntry(a: LogEntry, b: LogEntry): boolean {
  if (a.type !== b.type || a.index !== b.index || a.term !== b.term) return false
  if (a.type === 'command' && b.type === 'command')
    return a.data.length === b.data.length && a.data.every((byte, i) => byte === b.data[i])
  if (a.type === 'configuration' && b.type === 'configuration')
    return sameConfiguration(a.configuration, b.configuration)
  return true
}

function placeKey({ index, term }: LogPosition): number {
  return index * 2 ** 24 + term
}

function same(a: LogPosition, b: LogPosition): boolean {
  return a.index === b.index && a.term === b.term
}

function at(position: LogPosition): string {
  return `${position.index}/${position.term}`
}

function text(value: unknown): string {
  return JSON.stringify(value, (_key, part: unknown) =>
    part instanceof Uint8Array ? `${part.length} bytes ${part.subarray(0, 4).join('.')}` : part,
  )
}

function check(isSo: boolean, property: string, message: () => string): void {
  if (!isSo) throw new SafetyViolation(property, message())
}
