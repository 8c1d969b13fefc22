/**
 * Raft (Ongaro, Ousterhout: In Search of an Understandable Consensus Algorithm, 2014; Ongaro's thesis, 2014) as a step machine,
 * after etcd-io/raft. It reads no time, draws no number that was not handed in and touches no disk: see `RaftInput` for what it
 * is told and `RaftEffect` for what it wants done, and in which order.
 *
 * What is not in the paper, or where we differ from etcd:
 * - A configuration rules when it is appended (paper, section 6; R4); joint ones are left by whoever leads.
 * - Vote requests leave when the term is durable, so that a candidate that forgot it cannot count the votes of an earlier try
 *   with a log that it has lost.
 * - Commit indices travel with appends and heartbeats; alone only when neither came for `commitNoticeMs`, or while appends
 *   follow each other more slowly than that, for twice as long as between the last of them.
 * - Times, not ticks: a leader steps down when a majority was last heard E ago.
 * - A lost link to the leader hastens the next election (`unreachable`); pre-votes keep that harmless.
 */
import type { Core } from '@understudy/runtime/internal'
import { Ballots, ElectionTimeout } from './election.ts'
import type { ElectionRandom } from './election.ts'
import type { Progress } from './progress.ts'
import { ProgressTable } from './progress-table.ts'
import {
  copyConfiguration,
  isJoint,
  isMember,
  isVoter,
  leaveJoint,
  membersOf,
  planChange,
  votersOf,
} from './raft-configuration.ts'
import { entryBytes, RaftLog } from './raft-log.ts'
import type {
  AppendRejection,
  LogEntry,
  LogPosition,
  MemberId,
  RaftConfiguration,
  RaftMessage,
  SnapshotMeta,
} from './raft-message.ts'
import { checkRaftOptions } from './raft-options.ts'
import type { CheckedRaftOptions, RaftOptions } from './raft-options.ts'
import type { RaftEffect, RaftInput, RaftRole, RaftStart, RaftStatus, RefusalReason } from './raft-step.ts'
import { RaftViolation } from './raft-violation.ts'
import { ForwardedReads } from './read-index-forwarding.ts'
import { ReadRounds } from './read-index.ts'
import type { PendingRead } from './read-index.ts'

/** What a `RaftCore` is made of. */
export interface RaftCoreSetup {
  readonly self: MemberId
  readonly start: RaftStart
  readonly options?: RaftOptions | undefined
  /** A stream of the platform's `random` that is this member's own. */
  readonly random: ElectionRandom
}

type MessageOf<Type extends RaftMessage['type'], Message = RaftMessage> = Message extends {
  readonly type: infer Types
}
  ? Type extends Types
    ? Message
    : never
  : never
type InputOf<Type extends RaftInput['type']> = Extract<RaftInput, { readonly type: Type }>

/** What only a leader has; gone with its term. */
interface Leading {
  readonly table: ProgressTable
  readonly rounds: ReadRounds
  /** Its first entry: until that is committed it does not know what is (R2). */
  readonly noopIndex: number
  heartbeatDueMs: number
  /** When followers are to hear what is committed, if nothing says it before. */
  noticeDueMs: number
  /** How long appends leave between them, lately: the longest time counts, and fades. 0 after a pause. */
  appendGapMs: number
  /** Commands that are appended and not committed. */
  uncommittedBytes: number
  /** When something last happened. */
  activeMs: number
  /** Its own stall: until then it is not held against others that they were not heard. */
  graceMs: number
  /** A transferee was told to campaign, and may do so at any time from then on: no lease holds against it (R11). */
  isLeaseOver: boolean
  /** The transferee was told to campaign. */
  isTimeoutNowSent: boolean
  /** All are to get what they lack before this step ends. */
  mustSend: boolean
}

interface Transfer {
  readonly id: number
  readonly to: MemberId
  readonly deadlineMs: number
}

/**
 * One member of one group. `step` costs O(entries that it moves + followers). It throws `RaftViolation` when an invariant is
 * broken; the core is not to be used after.
 */
export class RaftCore implements Core<RaftInput, RaftEffect, RaftStatus> {
  readonly #self: MemberId
  readonly #options: CheckedRaftOptions
  readonly #log: RaftLog
  readonly #election: ElectionTimeout
  readonly #ballots = new Ballots()
  readonly #forwarded: ForwardedReads

  #term: number
  #vote: MemberId | undefined
  #isHardDirty = false
  #role: RaftRole = 'follower'
  #leader: MemberId | undefined
  #leading: Leading | undefined
  /** Number of the write that the only voter waits for before it leads; 0: none. */
  #voteWrite = 0
  /** Survives the term: how it ended is told by who leads next. */
  #transfer: Transfer | undefined
  /** Id of the change of configuration under way. */
  #change: number | undefined
  /** The end that the log had before the disk lost it (R20). */
  #lost: LogPosition | undefined
  /** The end of the log at the last heartbeat while recovering: without progress the leader is told again. */
  #lostSeen = -1
  #isQuiet = false
  /** The log may be cut up to here; it is kept longer for who gets a snapshot. */
  #cutTo = 0
  #isStarted = false
  /** One stall of this process was excused; a second in a row is not. */
  #isExcused = false

  #nowMs = 0
  #effects: RaftEffect[] = []
  #toldRole: RaftRole = 'follower'
  #toldTerm: number
  #toldLeader: MemberId | undefined
  /** The append made last: followers that stand at the same place get the very same one. */
  #lastAppend: MessageOf<'append'> | undefined

  /** @throws {RangeError} if an option is out of range */
  constructor({ self, start, options, random }: RaftCoreSetup) {
    this.#self = self
    this.#options = checkRaftOptions(options)
    this.#log = new RaftLog(start)
    this.#term = Math.max(start.hard.term, this.#log.lastTerm)
    this.#vote = this.#term === start.hard.term ? start.hard.vote : undefined
    this.#toldTerm = this.#term
    this.#election = new ElectionTimeout(this.#options.electionTimeoutMs, random)
    this.#forwarded = new ForwardedReads(random.int(0, 0xffff_ffff) * 0x10_0000)
    this.#lost = start.lostUpTo
    this.#clearLost()
  }

  get term(): number {
    return this.#term
  }

  get role(): RaftRole {
    return this.#role
  }

  get leader(): MemberId | undefined {
    return this.#leader
  }

  get commit(): number {
    return this.#log.commit
  }

  /** Highest index given out in `apply`. */
  get applied(): number {
    return this.#log.applied
  }

  get last(): LogPosition {
    return { index: this.#log.last, term: this.#log.lastTerm }
  }

  get isQuiet(): boolean {
    return this.#isQuiet
  }

  /** Not to be changed. */
  get configuration(): RaftConfiguration {
    return this.#log.configuration
  }

  /**
   * Entries from `from` up to `to`, both included; fewer at the end of the log. Not to be changed.
   * @throws {RaftViolation} if `from` is cut off (see `first` of the status)
   */
  readonly entries = (from: number, to: number): readonly LogEntry[] => this.#log.entries(from, to)

  readonly step = (input: RaftInput, nowMs: number): readonly RaftEffect[] => {
    this.#nowMs = nowMs
    if (!this.#isStarted) this.#begin()
    if (this.#isQuiet && this.#wakes(input)) this.#wake()
    this.#take(input)
    return this.#finish()
  }

  readonly nextDeadlineMs = (): number | undefined => {
    if (!this.#isStarted) return 0
    let deadlineMs = this.#transfer?.deadlineMs ?? Infinity
    if (this.#leading !== undefined) {
      if (!this.#isQuiet) {
        deadlineMs = Math.min(deadlineMs, this.#leading.heartbeatDueMs, this.#leading.noticeDueMs)
      }
    } else {
      if (!this.#isQuiet && (this.#isPromotable() || this.#mayCall())) {
        deadlineMs = Math.min(deadlineMs, this.#election.deadlineMs)
      }
      const readMs = this.#forwarded.deadlineMs(this.#options.electionTimeoutMs)
      if (readMs !== undefined) deadlineMs = Math.min(deadlineMs, readMs)
    }
    return deadlineMs === Infinity ? undefined : deadlineMs
  }

  readonly status = (): RaftStatus => {
    const { electionTimeoutMs } = this.#options
    return {
      self: this.#self,
      role: this.#role,
      term: this.#term,
      vote: this.#vote,
      leader: this.#leader,
      commit: this.#log.commit,
      applied: this.#log.applied,
      first: this.#log.first,
      last: this.last,
      durable: this.#log.durable,
      configuration: copyConfiguration(this.#log.configuration),
      isQuiet: this.#isQuiet,
      isRecovering: this.#lost !== undefined,
      transferee: this.#transfer?.to,
      progress: (this.#leading?.table.followers ?? []).map((follower) =>
        follower.report(this.#nowMs, electionTimeoutMs),
      ),
    }
  }

  // ---- Inputs

  #begin(): void {
    this.#isStarted = true
    this.#election.restart(this.#nowMs)
    // Before it stopped it may have promised a leader not to vote for others: with leases that must be kept.
    if (this.#options.leaseReads) this.#election.assumeHeard(this.#nowMs)
    // Alone, there is nobody to wait for.
    const voters = votersOf(this.#log.configuration)
    if (voters.length === 1 && voters[0] === this.#self) this.#election.expire(this.#nowMs)
  }

  #take(input: RaftInput): void {
    switch (input.type) {
      case 'tick':
        return this.#tick()
      case 'message':
        return this.#receive(input.from, input.message)
      case 'propose':
        return this.#propose(input)
      case 'read':
        return this.#read(input.id, input.lease === true)
      case 'change':
        return this.#startChange(input)
      case 'transfer':
        return this.#startTransfer(input.id, input.to)
      case 'persisted':
        return this.#persisted(input.upTo)
      case 'snapshot':
        return this.#receiveSnapshot(input.from, input.term, input.meta)
      case 'installed':
        this.#log.installed(input.meta)
        return this.#clearLost()
      case 'snapshot-status':
        return this.#snapshotEnded(input)
      case 'compact':
        this.#log.snapshotTaken(input.meta)
        this.#cutTo = Math.max(this.#cutTo, input.keepFrom - 1)
        return this.#cut()
      case 'unreachable':
        return this.#unreachable(input.member)
      case 'wake':
        return undefined
      default:
        return unreachable(input)
    }
  }

  #tick(): void {
    this.#excuseStall()
    const nowMs = this.#nowMs
    const transfer = this.#transfer
    if (transfer !== undefined && nowMs >= transfer.deadlineMs) this.#endTransfer(transfer, false)
    const leading = this.#leading
    if (leading !== undefined) {
      if (!this.#isQuiet) this.#tickLeader(leading)
      return
    }
    for (const id of this.#forwarded.takeOverdue(nowMs, this.#options.electionTimeoutMs)) {
      this.#refuse(id, 'not-leader')
    }
    if (this.#isQuiet || nowMs < this.#election.deadlineMs) return
    if (this.#isPromotable()) this.#preCampaign()
    else if (this.#mayCall()) this.#callLeader()
  }

  #tickLeader(leading: Leading): void {
    const nowMs = this.#nowMs
    if (nowMs >= leading.heartbeatDueMs) {
      if (this.#hasLostQuorum(leading)) return this.#becomeFollower(this.#term, undefined)
      this.#leaveJoint(leading)
      this.#cut()
      if (this.#mayQuiesce(leading)) return this.#quiesce(leading)
      this.#broadcastHeartbeat(leading)
    }
    if (nowMs >= leading.noticeDueMs) this.#sendCommit(leading)
  }

  /**
   * A tick that is late by more than a heartbeat says that this process stood still, and what came meanwhile is yet to be
   * read. Once in a row it gets the time of one heartbeat for that, before it judges others.
   */
  #excuseStall(): void {
    const dueMs = this.nextDeadlineMs() ?? Infinity
    const { heartbeatMs } = this.#options
    if (this.#nowMs - dueMs <= heartbeatMs) {
      this.#isExcused = false
      return
    }
    if (this.#isExcused) return
    this.#isExcused = true
    this.#election.postpone(this.#nowMs + heartbeatMs)
    if (this.#leading !== undefined) this.#leading.graceMs = this.#nowMs + heartbeatMs
  }

  #receive(from: MemberId, message: RaftMessage): void {
    if (from === this.#self) return
    const { term } = message
    if (term > this.#term && !this.#takeNewerTerm(from, message)) return
    if (term < this.#term) return this.#answerOld(from, message)
    switch (message.type) {
      case 'pre-vote':
      case 'vote':
        return this.#answerVote(from, message)
      case 'pre-vote-reply':
        return this.#countPreVote(from, message)
      case 'vote-reply':
        return this.#countVote(from, message.granted)
      case 'append':
        return this.#receiveAppend(from, message)
      case 'append-reply':
        return this.#receiveAppendReply(from, message)
      case 'heartbeat':
        return this.#receiveHeartbeat(from, message)
      case 'heartbeat-reply':
        return this.#receiveHeartbeatReply(from, message.round)
      case 'timeout-now':
        return this.#receiveTimeoutNow()
      case 'read':
        return this.#receiveRead(from, message.id)
      case 'read-reply':
        return this.#receiveReadReply(from, message)
      case 'quiesce':
        return this.#receiveQuiesce(from, message)
      default:
        return unreachable(message)
    }
  }

  /** A term above ours. @returns whether the message is to be looked at further */
  #takeNewerTerm(from: MemberId, message: RaftMessage): boolean {
    switch (message.type) {
      case 'pre-vote':
        // Never changes our term: it only asks.
        return true
      case 'pre-vote-reply':
        // Granted, it has the term that was asked for, which nobody is in yet.
        if (message.granted) return true
        break
      case 'vote':
        // Thesis, section 4.2.3: who hears a leader does not let others depose it.
        if (!message.transfer && this.#isSticky()) return false
        break
      case 'append':
      case 'heartbeat':
      case 'quiesce':
        this.#becomeFollower(message.term, from)
        return true
      default:
    }
    this.#becomeFollower(message.term, undefined)
    return true
  }

  /**
   * A term below ours. Who leads in it must hear that there is a newer one: since pre-votes keep our term from spreading, a
   * member with a term of its own would else be stuck for ever, neither elected nor led (R8).
   */
  #answerOld(from: MemberId, message: RaftMessage): void {
    const term = this.#term
    switch (message.type) {
      case 'append':
        return this.#sendDurable(from, { type: 'append-reply', term, index: 0, rejected: undefined })
      case 'heartbeat':
      case 'quiesce':
        return this.#send(from, { type: 'heartbeat-reply', term, round: 0 })
      case 'pre-vote':
        return this.#send(from, { type: 'pre-vote-reply', term, granted: false })
      case 'vote':
        return this.#sendDurable(from, { type: 'vote-reply', term, granted: false })
      case 'read':
        return this.#send(from, { type: 'read-reply', term, id: message.id, index: undefined })
      default:
    }
  }

  // ---- Elections (paper, section 5.2; thesis, chapter 3 and section 9.6)

  #isPromotable(): boolean {
    return this.#lost === undefined && !this.#log.isInstalling && this.#log.mayVote(this.#self)
  }

  /** Votes for nobody against the leader it has. */
  #isSticky(): boolean {
    if (!this.#options.checkQuorum) return false
    if (this.#leading !== undefined || this.#isQuiet) return true
    // A lease holds against whatever made us forget who led.
    return (this.#leader !== undefined || this.#options.leaseReads) && this.#election.isSticky(this.#nowMs)
  }

  #preCampaign(): void {
    if (this.#voteWrite > 0) return this.#election.restart(this.#nowMs)
    this.#changeRole('pre-candidate', undefined)
    this.#election.restart(this.#nowMs)
    if (this.#startPoll()) return this.#campaign(false)
    this.#sendPreVotes()
  }

  #sendPreVotes(): void {
    const message: RaftMessage = {
      type: 'pre-vote',
      term: this.#term + 1,
      last: this.last,
      transfer: false,
    }
    for (const voter of votersOf(this.#log.configuration)) {
      if (voter !== this.#self) this.#send(voter, message)
    }
  }

  /**
   * A learner, or who is fetching lost entries anew, never campaigns; but where groups fall asleep it has to call, or it would
   * stay behind for ever when it comes back to one that sleeps. Who was removed is silent.
   */
  #mayCall(): boolean {
    if (this.#options.quiesceAfterMs === Infinity || this.#log.isInstalling) return false
    return this.#log.last === 0 || isMember(this.#log.configuration, this.#self)
  }

  /** A pre-vote wakes who sleeps, and changes nothing else; what is answered to it does not count here. */
  #callLeader(): void {
    if (this.#leader !== undefined) this.#setLeader(undefined)
    this.#election.restart(this.#nowMs)
    this.#sendPreVotes()
  }

  #campaign(transfer: boolean): void {
    this.#setTerm(this.#term + 1)
    this.#vote = this.#self
    this.#changeRole('candidate', undefined)
    this.#election.restart(this.#nowMs)
    if (this.#startPoll()) {
      // The only voter: its disk is the majority (R15). Before, it might lead in this term again after a crash.
      this.#persist()
      this.#voteWrite = this.#log.writes
      return
    }
    const message: RaftMessage = { type: 'vote', term: this.#term, last: this.last, transfer }
    for (const voter of votersOf(this.#log.configuration)) {
      if (voter !== this.#self) this.#sendDurable(voter, message)
    }
  }

  /** Votes for itself. @returns whether that is enough (once it is durable) */
  #startPoll(): boolean {
    this.#ballots.clear()
    this.#ballots.record(this.#self, true)
    return this.#ballots.result(this.#log.configuration) === 'won'
  }

  #answerVote(from: MemberId, message: MessageOf<'pre-vote' | 'vote'>): void {
    const { term, last, transfer } = message
    const isNew = term > this.#term
    const isGranted =
      (isNew || this.#vote === from || (this.#vote === undefined && this.#leader === undefined)) &&
      this.#log.endsBy(last) &&
      (this.#lost === undefined || isAtLeast(last, this.#lost))
    if (message.type === 'pre-vote') {
      // Changes nothing here, not even how long we wait for a leader (R8).
      const granted = isGranted && (transfer || !this.#isSticky())
      return this.#send(from, { type: 'pre-vote-reply', term: granted ? term : this.#term, granted })
    }
    if (isGranted && this.#vote !== from) {
      this.#vote = from
      this.#isHardDirty = true
    }
    if (isGranted) this.#election.restart(this.#nowMs)
    return this.#sendDurable(from, { type: 'vote-reply', term: this.#term, granted: isGranted })
  }

  #countPreVote(from: MemberId, { term, granted }: MessageOf<'pre-vote-reply'>): void {
    if (this.#role !== 'pre-candidate' || (granted && term !== this.#term + 1)) return
    this.#ballots.record(from, granted)
    const result = this.#ballots.result(this.#log.configuration)
    if (result === 'won') return this.#campaign(false)
    if (result === 'lost') {
      this.#becomeFollower(this.#term, undefined)
      this.#election.retry(this.#nowMs)
    }
  }

  #countVote(from: MemberId, isGranted: boolean): void {
    if (this.#role !== 'candidate') return
    this.#ballots.record(from, isGranted)
    const result = this.#ballots.result(this.#log.configuration)
    if (result === 'won') return this.#becomeLeader()
    if (result === 'lost') return this.#becomeFollower(this.#term, undefined)
    // Another stands too, and it may be that neither wins, as when the third of three is dead.
    if (!isGranted) this.#election.refused(this.#nowMs)
  }

  #becomeLeader(): void {
    const nowMs = this.#nowMs
    this.#changeRole('leader', this.#self)
    const log = this.#log
    const table = new ProgressTable(this.#self, this.#options)
    table.follow(this.#followed(), log.last + 1, nowMs)
    let uncommittedBytes = 0
    for (const entry of log.entries(log.commit + 1, log.last)) uncommittedBytes += entryBytes(entry)
    const leading: Leading = {
      table,
      rounds: new ReadRounds(),
      noopIndex: log.last + 1,
      heartbeatDueMs: nowMs,
      noticeDueMs: Infinity,
      appendGapMs: 0,
      uncommittedBytes,
      activeMs: nowMs,
      graceMs: -Infinity,
      isLeaseOver: false,
      isTimeoutNowSent: false,
      mustSend: true,
    }
    this.#leading = leading
    this.#append(leading, [{ index: log.last + 1, term: this.#term, type: 'noop' }])
    this.#broadcastHeartbeat(leading)
  }

  /** Follows `leader`, if it is known. With a newer term all that was of the old one is over. */
  #becomeFollower(term: number, leader: MemberId | undefined): void {
    if (term < this.#term) throw new RaftViolation('the term would go back', { term: this.#term, to: term })
    if (term > this.#term) this.#setTerm(term)
    this.#changeRole('follower', leader)
    this.#election.restart(this.#nowMs)
  }

  #setTerm(term: number): void {
    this.#term = term
    this.#vote = undefined
    this.#isHardDirty = true
    this.#leader = undefined
    this.#refuseForwarded()
  }

  #changeRole(role: RaftRole, leader: MemberId | undefined): void {
    this.#voteWrite = 0
    const leading = this.#leading
    this.#leading = undefined
    this.#role = role
    this.#setLeader(leader)
    if (leading === undefined) return
    this.#lastAppend = undefined
    for (const read of leading.rounds.takeAll()) this.#refuseRead(read, 'not-leader')
    if (this.#change !== undefined) this.#refuse(this.#change, 'not-leader')
    this.#change = undefined
  }

  #setLeader(leader: MemberId | undefined): void {
    if (this.#leader === leader) return
    this.#leader = leader
    this.#refuseForwarded()
    const transfer = this.#transfer
    if (transfer !== undefined && leader !== undefined && leader !== this.#self) {
      this.#endTransfer(transfer, leader === transfer.to)
    }
  }

  /** A message of the leader of this term has come. */
  #hear(from: MemberId): void {
    if (this.#leading !== undefined || (this.#leader !== undefined && this.#leader !== from)) {
      throw new RaftViolation('two lead in one term', { term: this.#term, one: this.#leader, other: from })
    }
    if (this.#role !== 'follower') this.#becomeFollower(this.#term, from)
    else if (this.#leader === undefined) {
      this.#setLeader(from)
      this.#election.restart(this.#nowMs)
    }
    this.#election.heard(this.#nowMs)
  }

  #unreachable(member: MemberId): void {
    if (this.#leading !== undefined) return this.#leading.table.get(member)?.doubt()
    if (this.#role !== 'follower' || member !== this.#leader) return
    this.#refuseForwarded()
    // With leases, the promise to the leader holds whatever became of the link.
    if (this.#options.leaseReads) return
    this.#setLeader(undefined)
    this.#election.hasten(this.#nowMs)
  }

  // ---- The follower's log (paper, section 5.3)

  #receiveAppend(from: MemberId, message: MessageOf<'append'>): void {
    this.#hear(from)
    const log = this.#log
    let { previous, entries } = message
    if (!isContiguous(previous, entries, message.term)) return
    if (previous.index < log.commit) {
      // What is committed is the same for all: only what follows it is news.
      entries = entries.slice(log.commit - previous.index)
      previous = { index: log.commit, term: log.termAt(log.commit) as number }
    } else if (log.termAt(previous.index) !== previous.term) {
      return this.#rejectAppend(from, previous)
    }
    log.merge(entries)
    const index = previous.index + entries.length
    this.#commitUpTo(Math.min(message.commit, index))
    this.#clearLost()
    this.#sendDurable(from, { type: 'append-reply', term: this.#term, index, rejected: undefined })
    this.#forwardReads()
  }

  #rejectAppend(from: MemberId, previous: LogPosition): void {
    const hint = this.#log.lastAtMost(previous.index, previous.term)
    const rejected: AppendRejection = { hint, lost: this.#lost !== undefined }
    this.#sendDurable(from, { type: 'append-reply', term: this.#term, index: previous.index, rejected })
  }

  #receiveHeartbeat(from: MemberId, { commit, round }: MessageOf<'heartbeat'>): void {
    this.#hear(from)
    const { last } = this.#log
    if (commit > last && this.#lost === undefined) {
      throw new RaftViolation('acknowledged entries are gone from this log', { commit, last })
    }
    this.#commitUpTo(Math.min(commit, last))
    this.#send(from, { type: 'heartbeat-reply', term: this.#term, round })
    if (this.#lost !== undefined) {
      // The leader may believe that all is here, and send nothing (R20).
      if (this.#lostSeen === last) this.#rejectAppend(from, this.last)
      this.#lostSeen = last
    }
    this.#forwardReads()
  }

  #receiveQuiesce(from: MemberId, { last, commit }: MessageOf<'quiesce'>): void {
    this.#hear(from)
    const log = this.#log
    const isSame = last.index === log.last && last.term === log.lastTerm && commit === last.index
    if (!isSame || this.#lost !== undefined) return
    this.#commitUpTo(commit)
    this.#isQuiet = true
  }

  #commitUpTo(index: number): void {
    if (index > this.#log.commit) this.#log.commitTo(index)
  }

  /** What was lost is here again, or what took its place is. */
  #clearLost(): void {
    const lost = this.#lost
    if (lost === undefined || this.#log.isInstalling) return
    if (isAtLeast({ index: this.#log.last, term: this.#log.lastTerm }, lost)) this.#lost = undefined
  }

  #receiveSnapshot(from: MemberId, term: number, meta: SnapshotMeta): void {
    if (term < this.#term) return
    if (term > this.#term) this.#becomeFollower(term, from)
    this.#hear(from)
    const log = this.#log
    let index = log.commit
    if (meta.index > log.commit) {
      // What is committed need not come from where it was sent: here it may be already (R13).
      if (log.termAt(meta.index) === meta.term) log.commitTo(meta.index)
      else {
        this.#persist()
        log.restore(meta)
        this.#effects.push({ type: 'install', meta })
      }
      index = meta.index
    }
    this.#sendDurable(from, { type: 'append-reply', term: this.#term, index, rejected: undefined })
  }

  // ---- The leader's log (paper, section 5.3)

  #propose({ id, commands, term }: InputOf<'propose'>): void {
    const leading = this.#leading
    if (leading === undefined) return this.#refuse(id, 'not-leader')
    if (term !== undefined && term !== this.#term) return this.#refuse(id, 'wrong-term')
    if (this.#transfer !== undefined) return this.#refuse(id, 'transferring')
    const first = this.#log.last + 1
    const entries: LogEntry[] = []
    let bytes = 0
    for (const data of commands) {
      const entry: LogEntry = { index: first + entries.length, term: this.#term, type: 'command', data }
      bytes += entryBytes(entry)
      entries.push(entry)
    }
    const { uncommittedBytes } = leading
    if (uncommittedBytes > 0 && uncommittedBytes + bytes > this.#options.uncommittedBytesMax) {
      return this.#refuse(id, 'overloaded')
    }
    this.#effects.push({ type: 'appended', id, first, term: this.#term })
    this.#append(leading, entries)
  }

  #append(leading: Leading, entries: readonly LogEntry[]): void {
    for (let i = 0; i < entries.length; i++) leading.uncommittedBytes += entryBytes(entries[i] as LogEntry)
    this.#log.push(entries)
    const gapMs = this.#nowMs - leading.activeMs
    leading.appendGapMs =
      gapMs > this.#options.heartbeatMs / streamGaps ? 0 : Math.max(gapMs, leading.appendGapMs * gapFade)
    leading.activeMs = this.#nowMs
    leading.mustSend = true
  }

  #persisted(upTo: LogPosition): void {
    this.#log.written(upTo)
    if (this.#voteWrite > 0 && this.#log.writesDone >= this.#voteWrite) return this.#becomeLeader()
    const leading = this.#leading
    if (leading !== undefined) this.#advance(leading)
  }

  /** Commits what enough voters have on disk, this one included only up to what its own disk has (R15). Hot. */
  #advance(leading: Leading): void {
    const log = this.#log
    const index = leading.table.committed(log.configuration, log.durable)
    // Only entries of its own term by counting (R2; paper, section 5.4.2); those before are committed with them.
    if (index <= log.commit || log.termAt(index) !== this.#term) return
    const hasConfiguration = log.configurationIndex > log.commit && log.configurationIndex <= index
    log.commitTo(index)
    // While entries stream in the next append is the notice: on a busy machine it may take its time, and more messages
    // would make it busier.
    const waitMs = Math.max(this.#options.commitNoticeMs, 2 * leading.appendGapMs)
    leading.noticeDueMs = Math.min(leading.noticeDueMs, this.#nowMs + waitMs)
    if (hasConfiguration) this.#configurationCommitted(leading)
    else this.#leaveJoint(leading)
  }

  #receiveAppendReply(from: MemberId, { index, rejected }: MessageOf<'append-reply'>): void {
    const leading = this.#leading
    const follower = leading?.table.get(from)
    if (leading === undefined || follower === undefined) return
    follower.heardMs = this.#nowMs
    follower.hasSpoken = true
    if (rejected !== undefined) {
      if (this.#takeRejection(follower, index, rejected)) this.#sendAppends(follower)
      return
    }
    if (index > this.#log.last) {
      throw new RaftViolation('a follower has what this leader never sent', { index, last: this.#log.last })
    }
    if (follower.acknowledged(index, this.#log.first)) this.#advance(leading)
    // The commit may have ended this term: this leader has removed itself.
    if (this.#leading !== leading || leading.table.get(from) !== follower) return
    this.#sendAppends(follower)
    this.#pushTransfer(leading)
  }

  /** @returns whether the next append is to leave */
  #takeRejection(follower: Progress, index: number, { hint, lost }: AppendRejection): boolean {
    const agree = this.#mayAgree(hint)
    if (!lost || agree >= follower.match) return follower.rejected(index, agree)
    follower.lost(agree)
    return true
  }

  /** The last index where the logs may agree, by what a follower says of its own; below our log if none of ours can. */
  #mayAgree(hint: LogPosition): number {
    const { index, term } = this.#log.lastAtMost(hint.index, hint.term)
    return index <= hint.index && term <= hint.term ? index : Math.min(hint.index, index - 1)
  }

  /** Sends what the follower lacks, as far as the window allows. Hot. */
  #sendAppends(follower: Progress): void {
    const log = this.#log
    while (follower.maySend && (follower.next <= log.last || follower.state === 'probe')) {
      if (!this.#sendAppend(follower, follower.next <= log.last)) return
    }
  }

  /** One append, with entries or without. @returns whether one left; else it needs a snapshot */
  #sendAppend(follower: Progress, hasEntries: boolean): boolean {
    const log = this.#log
    const { next } = follower
    const previousTerm = log.termAt(next - 1)
    if (previousTerm === undefined) {
      this.#sendSnapshot(follower)
      return false
    }
    const entries = hasEntries ? log.entries(next, log.last, this.#options.appendBytesMax) : noEntries
    let bytes = 0
    for (let i = 0; i < entries.length; i++) bytes += entryBytes(entries[i] as LogEntry)
    let message = this.#lastAppend
    if (
      message?.previous.index !== next - 1 ||
      message.entries !== entries ||
      message.commit !== log.commit ||
      message.term !== this.#term
    ) {
      message = {
        type: 'append',
        term: this.#term,
        previous: { index: next - 1, term: previousTerm },
        commit: log.commit,
        entries,
      }
      this.#lastAppend = message
    }
    this.#send(follower.member, message)
    follower.sent(next + entries.length, bytes, log.commit, this.#nowMs)
    return true
  }

  #sendSnapshot(follower: Progress): void {
    // To who is gone it would only be work, and hold the log back.
    if (!follower.hasSpoken || this.#nowMs - follower.heardMs >= this.#options.electionTimeoutMs) return
    follower.sendSnapshot(this.#log.snapshot.index)
    this.#effects.push({ type: 'send-snapshot', to: follower.member })
  }

  #snapshotEnded({ to, index, ok }: InputOf<'snapshot-status'>): void {
    this.#leading?.table.get(to)?.snapshotEnded(index, ok)
    this.#cut()
  }

  #cut(): void {
    // Kept for who gets a snapshot, or it would need the next one when it has this one (R13).
    this.#log.cut(Math.min(this.#cutTo, this.#leading?.table.keptFor() ?? Infinity))
  }

  /** Tells those that do not know it yet what is committed, without entries. */
  #sendCommit(leading: Leading): void {
    leading.noticeDueMs = Infinity
    for (const follower of leading.table.followers) {
      if (follower.state === 'replicate' && follower.lacksCommit(this.#log.commit)) {
        this.#sendAppend(follower, false)
      }
    }
  }

  // ---- Heartbeats, check-quorum, reads (thesis, sections 6.2 and 6.4)

  #broadcastHeartbeat(leading: Leading): void {
    const round = leading.rounds.begin(this.#nowMs)
    leading.heartbeatDueMs = this.#nowMs + this.#options.heartbeatMs
    for (const follower of leading.table.followers) {
      // It may have other entries behind what it has acknowledged.
      const commit = Math.min(follower.match, this.#log.commit)
      follower.commitSent(commit)
      this.#send(follower.member, { type: 'heartbeat', term: this.#term, commit, round })
    }
    this.#confirmRounds(leading)
  }

  #receiveHeartbeatReply(from: MemberId, round: number): void {
    const leading = this.#leading
    const follower = leading?.table.get(from)
    if (leading === undefined || follower === undefined) return
    const nowMs = this.#nowMs
    follower.heardMs = nowMs
    follower.hasSpoken = true
    if (round > follower.round && round <= leading.rounds.round) {
      follower.round = round
      this.#confirmRounds(leading)
    }
    // It lives, and has not answered an append for a while: one of both may be lost. Read rounds can be many, so by time.
    if (nowMs - follower.sentMs < this.#options.heartbeatMs / 2) return
    follower.resume()
    this.#sendAppends(follower)
    const isStuck = follower.state === 'replicate' && follower.match < this.#log.last
    if (isStuck && follower.sentMs < nowMs) this.#sendAppend(follower, false)
  }

  #confirmRounds(leading: Leading): void {
    const { rounds, table } = leading
    const round = table.confirmedRound(this.#log.configuration, rounds.round)
    for (const read of rounds.confirm(round)) this.#answerRead(read)
    if (rounds.needsRound) this.#broadcastHeartbeat(leading)
  }

  #hasLostQuorum(leading: Leading): boolean {
    if (!this.#options.checkQuorum || this.#nowMs < leading.graceMs) return false
    const heardMs = leading.table.heardMs(this.#log.configuration, this.#nowMs)
    return this.#nowMs - heardMs >= this.#options.electionTimeoutMs
  }

  #isReady(leading: Leading): boolean {
    return this.#log.commit >= leading.noopIndex
  }

  #read(id: number, isByLease: boolean): void {
    const leading = this.#leading
    if (leading !== undefined) return this.#readHere(leading, id, isByLease)
    if (this.#leader === undefined || isByLease) return this.#refuse(id, 'not-leader')
    this.#forwarded.add(id, this.#nowMs)
    this.#forwardReads()
  }

  #readHere(leading: Leading, id: number, isByLease: boolean): void {
    if (!this.#isReady(leading)) return this.#refuse(id, 'not-ready')
    const read: PendingRead = { from: undefined, id, index: this.#log.commit }
    if (!isByLease) return this.#addRead(leading, read)
    if (this.#hasLease(leading)) this.#answerRead(read)
    else this.#refuse(id, 'no-lease')
  }

  #hasLease(leading: Leading): boolean {
    const { leaseMs } = this.#options
    return leaseMs > 0 && !leading.isLeaseOver && this.#nowMs < leading.rounds.leaseEndMs(leaseMs)
  }

  #addRead(leading: Leading, read: PendingRead): void {
    leading.activeMs = this.#nowMs
    leading.rounds.add(read)
    if (leading.rounds.needsRound) this.#broadcastHeartbeat(leading)
  }

  #answerRead({ from, id, index }: PendingRead): void {
    if (from === undefined) this.#effects.push({ type: 'read-ready', id, index })
    else this.#send(from, { type: 'read-reply', term: this.#term, id, index })
  }

  #refuseRead({ from, id }: PendingRead, reason: RefusalReason): void {
    if (from === undefined) this.#refuse(id, reason)
    else this.#send(from, { type: 'read-reply', term: this.#term, id, index: undefined })
  }

  #receiveRead(from: MemberId, id: number): void {
    const leading = this.#leading
    if (leading !== undefined && this.#isReady(leading)) {
      return this.#addRead(leading, { from, id, index: this.#log.commit })
    }
    this.#send(from, { type: 'read-reply', term: this.#term, id, index: undefined })
  }

  #forwardReads(): void {
    const leader = this.#leader
    if (leader === undefined || this.#forwarded.isIdle) return
    const id = this.#forwarded.ask(this.#nowMs, this.#options.heartbeatMs)
    if (id !== undefined) this.#send(leader, { type: 'read', term: this.#term, id })
  }

  #receiveReadReply(from: MemberId, { id, index }: MessageOf<'read-reply'>): void {
    for (const read of this.#forwarded.answered(id)) {
      if (index !== undefined) this.#effects.push({ type: 'read-ready', id: read, index })
      else this.#refuse(read, from === this.#leader ? 'not-ready' : 'not-leader')
    }
    this.#forwardReads()
  }

  #refuseForwarded(): void {
    if (this.#forwarded.isIdle) return
    for (const id of this.#forwarded.takeAll()) this.#refuse(id, 'not-leader')
  }

  // ---- Changes of the configuration (paper, section 6; thesis, chapter 4)

  #startChange({ id, target }: InputOf<'change'>): void {
    const leading = this.#leading
    const log = this.#log
    if (leading === undefined) return this.#refuse(id, 'not-leader')
    if (this.#transfer !== undefined) return this.#refuse(id, 'transferring')
    if (!this.#isReady(leading)) return this.#refuse(id, 'not-ready')
    if (isJoint(log.configuration) || log.configurationIndex > log.commit) return this.#refuse(id, 'changing')
    const configuration = planChange(log.configuration, target)
    if (configuration === undefined) return this.#refuse(id, 'bad-configuration')
    if (configuration === log.configuration) {
      this.#effects.push({ type: 'changed', id, configuration: copyConfiguration(configuration) })
      return
    }
    this.#change = id
    this.#appendConfiguration(leading, configuration)
  }

  #appendConfiguration(leading: Leading, configuration: RaftConfiguration): void {
    const index = this.#log.last + 1
    this.#append(leading, [{ index, term: this.#term, type: 'configuration', configuration }])
    leading.table.follow(this.#followed(), index, this.#nowMs)
    // The majority that gave it is not one of the new configuration.
    leading.rounds.endLease()
    this.#advance(leading)
  }

  /** Who gets the log: also those that an uncommitted change removes, so that they learn of it. */
  #followed(): readonly MemberId[] {
    const members = membersOf(this.#log.configuration)
    const previous = this.#log.previousConfiguration
    return previous === undefined ? members : [...new Set([...members, ...membersOf(previous)])].toSorted()
  }

  #configurationCommitted(leading: Leading): void {
    const { configuration, configurationIndex } = this.#log
    if (isJoint(configuration)) return this.#leaveJoint(leading)
    if (leading.table.followers.some(({ member }) => !isMember(configuration, member))) {
      // Who is removed hears of it if it can; then it need not disturb others to find out.
      this.#sendCommit(leading)
      leading.table.follow(membersOf(configuration), configurationIndex + 1, this.#nowMs)
    }
    if (this.#change !== undefined) {
      this.#effects.push({
        type: 'changed',
        id: this.#change,
        configuration: copyConfiguration(configuration),
      })
      this.#change = undefined
    }
    if (!isVoter(configuration, this.#self)) {
      this.#sendCommit(leading)
      this.#becomeFollower(this.#term, undefined)
    }
  }

  /** A joint configuration that is committed is left by whoever leads (R5). */
  #leaveJoint(leading: Leading): void {
    const { configuration, configurationIndex, commit } = this.#log
    if (!isJoint(configuration) || configurationIndex > commit || !this.#isReady(leading)) return
    if (this.#transfer === undefined) this.#appendConfiguration(leading, leaveJoint(configuration))
  }

  // ---- Transfer of leadership (thesis, section 3.10)

  #startTransfer(id: number, to: MemberId): void {
    const leading = this.#leading
    if (leading === undefined) return this.#refuse(id, 'not-leader')
    if (this.#transfer !== undefined) return this.#refuse(id, 'transferring')
    if (to === this.#self) {
      this.#effects.push({ type: 'transferred', id })
      return
    }
    if (!this.#log.configuration.voters.includes(to)) return this.#refuse(id, 'transfer-failed')
    this.#transfer = { id, to, deadlineMs: this.#nowMs + this.#options.electionTimeoutMs }
    leading.activeMs = this.#nowMs
    leading.isTimeoutNowSent = false
    this.#pushTransfer(leading)
  }

  /** Tells the transferee to campaign as soon as it has everything. */
  #pushTransfer(leading: Leading): void {
    const transfer = this.#transfer
    if (transfer === undefined || leading.isTimeoutNowSent) return
    if (leading.table.get(transfer.to)?.match !== this.#log.last) return
    leading.isTimeoutNowSent = true
    leading.isLeaseOver = true
    this.#send(transfer.to, { type: 'timeout-now', term: this.#term })
  }

  #endTransfer(transfer: Transfer, isDone: boolean): void {
    this.#transfer = undefined
    if (isDone) this.#effects.push({ type: 'transferred', id: transfer.id })
    else this.#refuse(transfer.id, 'transfer-failed')
  }

  #receiveTimeoutNow(): void {
    if (this.#role === 'follower' && this.#isPromotable()) this.#campaign(true)
  }

  // ---- Quiescence

  #mayQuiesce(leading: Leading): boolean {
    const log = this.#log
    const { quiesceAfterMs, electionTimeoutMs } = this.#options
    if (this.#nowMs - leading.activeMs < quiesceAfterMs) return false
    if (log.applied < log.last || log.durable < log.last || isJoint(log.configuration)) return false
    if (this.#transfer !== undefined || !leading.rounds.isIdle) return false
    // Who is gone does not keep the others awake: it asks for votes or calls when it is back, and that wakes them.
    return leading.table.followers.every(
      (follower) =>
        this.#nowMs - follower.heardMs >= electionTimeoutMs ||
        (follower.state === 'replicate' && follower.match === log.last && !follower.lacksCommit(log.commit)),
    )
  }

  #quiesce(leading: Leading): void {
    const message: RaftMessage = {
      type: 'quiesce',
      term: this.#term,
      last: this.last,
      commit: this.#log.commit,
    }
    for (const follower of leading.table.followers) this.#send(follower.member, message)
    this.#isQuiet = true
  }

  /** Whether this is more than the echo of what was before the group fell asleep. */
  #wakes(input: RaftInput): boolean {
    if (input.type !== 'message') return !sleptThrough.has(input.type)
    const { from, message } = input
    if (message.term < this.#term || from === this.#self) return false
    if (message.term === this.#term) {
      if (message.type === 'heartbeat-reply' || message.type === 'quiesce') return false
      if (message.type === 'append-reply' && message.rejected === undefined) return false
    }
    // Who is asleep knows the newest configuration: who is not in it has been removed, and does not know.
    return message.type !== 'pre-vote' || isMember(this.#log.configuration, from)
  }

  #wake(): void {
    this.#isQuiet = false
    const leading = this.#leading
    if (leading === undefined) {
      this.#election.restart(this.#nowMs)
      this.#election.assumeHeard(this.#nowMs)
      return
    }
    leading.activeMs = this.#nowMs
    // They were silent because we were.
    for (const follower of leading.table.followers) follower.heardMs = this.#nowMs
    this.#broadcastHeartbeat(leading)
  }

  // ---- Effects

  #send(to: MemberId, message: RaftMessage): void {
    this.#effects.push({ type: 'send', to, message })
  }

  /** What it rests on is given out to be persisted before it. */
  #sendDurable(to: MemberId, message: RaftMessage): void {
    this.#persist()
    this.#effects.push({ type: 'send-durable', to, message })
  }

  #refuse(id: number, reason: RefusalReason): void {
    this.#effects.push({ type: 'refused', id, reason, leader: this.#leader })
  }

  #persist(): void {
    if (!this.#isHardDirty && !this.#log.hasUnwritten) return
    const hard = this.#isHardDirty ? { term: this.#term, vote: this.#vote } : undefined
    this.#isHardDirty = false
    this.#effects.push({ type: 'persist', hard, entries: this.#log.takeUnwritten() })
  }

  #finish(): readonly RaftEffect[] {
    const leading = this.#leading
    if (leading?.mustSend === true) {
      leading.mustSend = false
      let isTold = true
      for (const follower of leading.table.followers) {
        this.#sendAppends(follower)
        if (follower.state === 'replicate' && follower.lacksCommit(this.#log.commit)) isTold = false
      }
      if (isTold) leading.noticeDueMs = Infinity
    }
    this.#persist()
    this.#tellRole()
    this.#apply()
    const effects = this.#effects
    this.#effects = []
    return effects
  }

  #tellRole(): void {
    const role = this.#role
    const term = this.#term
    const leader = this.#leader
    if (role === this.#toldRole && term === this.#toldTerm && leader === this.#toldLeader) return
    this.#toldRole = role
    this.#toldTerm = term
    this.#toldLeader = leader
    this.#effects.push({ type: 'role', role, term, leader })
  }

  #apply(): void {
    const log = this.#log
    // Before a snapshot is in force there is no state to apply to.
    if (log.applied === log.commit || log.isInstalling) return
    const entries = log.takeCommitted()
    this.#effects.push({ type: 'apply', entries })
    const leading = this.#leading
    if (leading === undefined) return
    for (let i = 0; i < entries.length; i++) leading.uncommittedBytes -= entryBytes(entries[i] as LogEntry)
  }
}

const noEntries: readonly LogEntry[] = Object.freeze([])
/** Appends that leave more than a heartbeat by so many between them are no stream. */
const streamGaps = 3
/** What is left of the longest time between two appends, with each that follows. */
const gapFade = 0.9

/** Inputs that say nothing new to a group that is asleep. */
const sleptThrough: ReadonlySet<RaftInput['type']> = new Set([
  'tick',
  'persisted',
  'installed',
  'snapshot-status',
  'compact',
])

/** As votes are compared (paper, section 5.4.1). */
function isAtLeast(a: LogPosition, b: LogPosition): boolean {
  return a.term > b.term || (a.term === b.term && a.index >= b.index)
}

/** Peers are not trusted to be right; all of it was checked when it was decoded, and this is cheap. */
function isContiguous(previous: LogPosition, entries: readonly LogEntry[], term: number): boolean {
  if (entries.length === 0) return true
  const first = entries[0] as LogEntry
  const last = entries[entries.length - 1] as LogEntry
  return (
    first.index === previous.index + 1 &&
    last.index === previous.index + entries.length &&
    first.term >= previous.term &&
    last.term <= term
  )
}

function unreachable(value: never): never {
  throw new RangeError(`Cannot step with ${JSON.stringify(value)}`)
}
