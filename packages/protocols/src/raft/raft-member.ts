/**
 * One member of a Raft group on one node: the core, its disk, the state machine, and whoever waits for an answer. It feeds the
 * core with what comes in and carries out what the core wants, in that order; everything runs in turns of the host.
 *
 * A burst of calls is one input: what is proposed while the host does other things goes into the log together, as one record
 * and one message to each follower.
 */
import { isActorError } from '@understudy/runtime'
import { NotLeader } from '../core/consensus-error.ts'
import type { GroupMember, GroupStatus } from '../core/consensus-group.ts'
import type { Founding } from '../host/founding.ts'
import type { FoundingOutcome, KnownGroup } from '../host/founding-core.ts'
import type { HostedMember, HostLane, MemberPort } from '../host/hosted-member.ts'
import { decodeMessage, encodeMessage } from './message-codec.ts'
import { RaftCore } from './raft-core.ts'
import type { CheckedGroupOptions } from './raft-group-options.ts'
import { MemberApply } from './raft-member-apply.ts'
import { MembershipDuty } from './raft-member-change.ts'
import { isMemberOf, memberId, membersOf, nodeOfMember, storeOfMember } from './raft-member-id.ts'
import type { MemberMeters } from './raft-member-meters.ts'
import { MemberRequests, type Answer } from './raft-member-requests.ts'
import { MemberSnapshots } from './raft-member-snapshots.ts'
import { MemberStanding } from './raft-member-standing.ts'
import type { MemberState } from './raft-member-state.ts'
import { MemberWatch } from './raft-member-watch.ts'
import { MemberWrites } from './raft-member-writes.ts'
import type { LogPosition, MemberId, RaftConfiguration, RaftMessage } from './raft-message.ts'
import type { RaftEffect, RaftInput, RaftRole, RaftStart, RaftStatus } from './raft-step.ts'
import type { RaftStore, StoredSnapshot } from './raft-store.ts'

export interface RaftMemberParts {
  readonly port: MemberPort
  readonly store: RaftStore
  readonly state: MemberState
  readonly group: CheckedGroupOptions
  readonly snapshot: StoredSnapshot | undefined
  readonly meters: MemberMeters
  /** Its status is another one. In a turn of the host, when that is in force. */
  readonly onStatus: () => void
  /** It cannot go on and has stopped: the group is to be closed on this node. */
  readonly onFailure: (error: Error) => void
}

export class RaftMember implements HostedMember {
  readonly self: MemberId
  readonly state: MemberState
  readonly requests: MemberRequests
  /** Who takes part, while this member leads. */
  readonly duty: MembershipDuty
  readonly snapshots: MemberSnapshots
  readonly #parts: RaftMemberParts
  readonly #port: MemberPort
  readonly #writes: MemberWrites
  readonly #apply: MemberApply
  readonly #standing: MemberStanding
  readonly #watch: MemberWatch
  #founding: Founding | undefined
  #founders: readonly MemberId[] = []
  #core: RaftCore | undefined
  /** Inputs that came while effects were being carried out. */
  readonly #inputs: RaftInput[] = []
  #isStepping = false
  /** The step whose effects are being carried out has given something to the disk. */
  #isWriting = false
  /** As the core told it, and so in force when others are told. */
  #role: RaftRole = 'follower'
  #leader: MemberId | undefined
  /** Where the log ends, as of the last write given out. */
  #end: LogPosition = { index: 0, term: 0 }
  #hasNewStatus = false
  /** As of the last step: a member may have become a voter, or a voter a learner. */
  #configuration: RaftConfiguration | undefined
  #isRecovering = false
  #isClosed = false
  /** Nodes whose messages could not be read: each is told of once. */
  readonly #strange = new Set<string>()

  constructor(parts: RaftMemberParts) {
    const { port, state, group, store, meters } = parts
    const { electionTimeoutMs } = group.figures
    const self = memberId(port.node, port.storeId)
    const core = (): RaftCore | undefined => this.#core
    const step = (input: RaftInput): void => this.#step(input)
    this.#parts = parts
    this.#port = port
    this.self = self
    this.state = state
    this.requests = new MemberRequests({
      port,
      group,
      state,
      core,
      step,
      isReadable: () => !this.#apply.isPaused,
    })
    this.#writes = new MemberWrites(port, (to, message) => this.#send(to, message))
    this.#standing = new MemberStanding({
      port,
      self,
      state,
      core,
      nodes: group.members,
      helloEveryMs: electionTimeoutMs,
      onChange: () => this.#tellStatus(),
    })
    this.#apply = new MemberApply({
      port,
      self,
      state,
      proposals: this.requests.proposals,
      reads: this.requests.reads,
      observer: group.observer,
      leader: () => this.leaderNode,
      onConfiguration: (before, now, index) => this.#standing.applied(before, now, index),
      onDone: () => {
        meters.applied(state.index)
        this.snapshots.takeIfDue()
        this.requests.askAgain()
      },
      onFailure: (error, entry) =>
        this.#fail(error, `the state machine threw at entry ${entry.index}, and would throw again`),
    })
    this.snapshots = new MemberSnapshots(
      {
        port,
        self,
        store,
        state,
        apply: this.#apply,
        writes: this.#writes,
        group,
        step: (input) => {
          meters.ofSnapshots(input)
          step(input)
        },
        core,
        onRestored: (meta) => {
          meters.restored(meta.index)
          this.requests.proposals.passed(meta.index)
        },
        onFailure: (error) => this.#fail(error, 'the snapshot in force cannot become the state'),
      },
      parts.snapshot,
    )
    this.duty = new MembershipDuty({
      self,
      log: port.log,
      replace: group.replace,
      intervalMs: electionTimeoutMs / 4,
      status: () => this.#core?.status(),
      change: (target, answer) => this.requests.ask((id) => ({ type: 'change', id, target }), answer),
      ask: (node) => this.#standing.send(node, { type: 'who' }),
    })
    this.#watch = new MemberWatch(port, electionTimeoutMs)
  }

  // ---- Beginning -----------------------------------------------------------------------------------------------

  /** Who answers others that look for the group, and looks for it here. */
  found(founding: Founding): void {
    this.#founding = founding
  }

  /** The founding is over, and the store had nothing of the group: this member begins with an empty log. */
  founded(outcome: FoundingOutcome): void {
    const voters = outcome.members.toSorted()
    this.#founders = voters
    const configuration: RaftConfiguration = { voters, outgoing: [], learners: [], learnersNext: [] }
    const start: RaftStart = {
      hard: { term: 0, vote: undefined },
      snapshot: { index: 0, term: 0, configuration },
      entries: [],
    }
    const { log } = this.#port
    if (outcome.kind === 'founded') log.info({ members: voters.map(nodeOfMember) }, 'group founded')
    else
      log.info(
        { members: voters.map(nodeOfMember) },
        'the group is there: this node joins it as a new member',
      )
    this.#port.pipe(this.#parts.store.found(start), () => this.start(start))
  }

  /** The core begins from what the disk holds. The state is that of the snapshot. */
  start(start: RaftStart): void {
    const { group } = this.#parts
    const { log, random, nowMs } = this.#port
    const { snapshot, entries, lostUpTo } = start
    this.#end = entries.at(-1) ?? snapshot
    if (snapshot.index === 0) this.state.begin(snapshot.configuration)
    group.observer?.started?.(this.self, start)
    const core = new RaftCore({ self: this.self, start, options: group.raft, random: random.fork('raft') })
    this.#core = core
    this.state.clock.become('leaderless', nowMs())
    this.#parts.meters.started(this.state.index)
    this.#isRecovering = lostUpTo !== undefined
    if (lostUpTo !== undefined) {
      log.error(
        { from: this.#end.index + 1, upTo: lostUpTo.index, term: lostUpTo.term },
        'entries of the log cannot be read: this member does not campaign until it has them again from the leader',
      )
    }
    this.#configuration = core.configuration
    this.#standing.begin(core, nowMs())
    this.#tellStatus()
  }

  // ---- Of the host ---------------------------------------------------------------------------------------------

  readonly receive = (from: string, store: string, payload: unknown): void => {
    if (this.#isClosed || this.#founding?.receive(from, store, payload) === true) return
    let read: ReturnType<typeof decodeMessage>
    try {
      read = decodeMessage(payload)
    } catch (error) {
      if (!this.#strange.has(from)) {
        this.#strange.add(from)
        this.#port.log.warn(
          { from, err: error },
          'a message of another member cannot be read, and is dropped',
        )
      }
      return
    }
    if (this.#core === undefined || (read.store !== '' && read.store !== this.#port.storeId)) return
    const { message } = read
    switch (message.type) {
      case 'snapshot-offer':
      case 'snapshot-want':
      case 'snapshot-chunk':
      case 'snapshot-done':
        this.snapshots.receive(memberId(from, store), message)
        return
      case 'hello':
        this.duty.hello(from, store, this.#port.nowMs())
        if (this.#role === 'leader') this.#wakeFor(memberId(from, store))
        else this.#standing.answerHello(memberId(from, store))
        return
      case 'members':
        this.#standing.toldMembers(message.nodes)
        return
      case 'who':
        this.#standing.send(from, { type: 'hello' })
        return
      case 'removed':
        this.#standing.toldRemoved(message.index)
        return
      default:
        this.#receiveRaft(memberId(from, store), message)
    }
  }

  readonly tick = (): void => {
    if (this.#isClosed) return
    const nowMs = this.#port.nowMs()
    const foundingMs = this.#founding?.nextDeadlineMs()
    if (foundingMs !== undefined && foundingMs <= nowMs) this.#founding?.tick()
    this.requests.deadlines.expire(nowMs)
    if (this.#core === undefined) return
    const coreMs = this.#core.nextDeadlineMs()
    if (!this.#standing.isRemoved && coreMs !== undefined && coreMs <= nowMs) this.#step({ type: 'tick' })
    this.snapshots.tick(nowMs)
    this.duty.tick(nowMs)
    this.#standing.sayHello(nowMs)
    if (this.#core.role === 'leader') this.requests.expireSessions(nowMs, this.#core.term)
  }

  readonly nextDeadlineMs = (): number | undefined => {
    let nextMs = earlier(this.requests.deadlines.nextMs(), this.#founding?.nextDeadlineMs())
    if (this.#core === undefined) return nextMs
    if (!this.#standing.isRemoved) nextMs = earlier(nextMs, this.#core.nextDeadlineMs())
    nextMs = earlier(nextMs, this.snapshots.nextDeadlineMs())
    nextMs = earlier(nextMs, this.duty.nextMs)
    nextMs = earlier(nextMs, this.#standing.helloMs)
    if (this.#role === 'leader') nextMs = earlier(nextMs, this.requests.sessionCheckMs)
    return nextMs
  }

  readonly unreachable = (node: string): void => {
    const core = this.#core
    if (core === undefined || this.#standing.isRemoved) return
    if (core.isQuiet) {
      // Of others' fates a quiet member need not know.
      if (!this.#watch.mustWake(node, core)) return
      this.#step({ type: 'wake' })
    }
    for (const member of membersOf(core.configuration)) {
      if (nodeOfMember(member) === node) this.#step({ type: 'unreachable', member })
    }
  }

  /**
   * A quiet leader counts on this member, which has no leader: it was away when the group fell asleep. All whom its own log names
   * may have been replaced meanwhile, so that its calls reach nobody who takes part; that leader does.
   */
  readonly watched = (node: string): void => {
    const core = this.#core
    if (core === undefined || core.leader !== undefined || this.#standing.isRemoved) return
    this.#standing.send(node, { type: 'hello' })
  }

  readonly close = (reason: Error): void => {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#core = undefined
    this.#parts.meters.closed()
    this.#role = 'follower'
    this.#leader = undefined
    this.snapshots.close()
    this.#apply.clear()
    this.#writes.clear()
    this.#inputs.length = 0
    // What was surely not appended or read can be asked again; others are told so by a code.
    const isTyped = isActorError(reason)
    this.requests.close(isTyped ? reason : new NotLeader(this.#port.group, undefined, {}, reason))
    this.#tellStatus()
    this.#parts.group.observer?.ended?.(this.self)
  }

  // ---- Of the group's handle -----------------------------------------------------------------------------------

  get leaderNode(): string | undefined {
    return this.#leader === undefined ? undefined : nodeOfMember(this.#leader)
  }

  /** Its life is over; another one may follow. */
  get isClosed(): boolean {
    return this.#isClosed
  }

  /** The state is there and is not being replaced. */
  get isReadable(): boolean {
    return this.#core !== undefined && !this.#apply.isPaused
  }

  nowMs(): number {
    return this.#port.nowMs()
  }

  /** For others that look for the group. */
  known(): KnownGroup {
    const core = this.#core
    return {
      members: core === undefined ? this.#founders : membersOf(core.configuration),
      leader: this.leaderNode,
    }
  }

  transfer(node: string, answer: Answer): void {
    const to = this.#core?.configuration.voters.find((member) => nodeOfMember(member) === node)
    if (to === undefined) answer('transfer-failed')
    else this.requests.ask((id) => ({ type: 'transfer', id, to }), answer)
  }

  get isLeader(): boolean {
    return this.#role === 'leader'
  }

  raftStatus(): RaftStatus | undefined {
    return this.#core?.status()
  }

  members(): readonly GroupMember[] {
    const core = this.#core
    return core === undefined ? [] : groupMembers(core.configuration)
  }

  status(): Omit<GroupStatus, 'name' | 'node'> {
    const core = this.#core
    if (core === undefined) {
      return { role: 'founding', leader: undefined, term: 0, commit: 0, applied: 0, members: [] }
    }
    const { configuration, term, commit } = core
    const isVoter = configuration.voters.includes(this.self) || configuration.outgoing.includes(this.self)
    const role = this.#standing.isRemoved
      ? 'removed'
      : isVoter || core.role === 'leader'
        ? core.role
        : 'learner'
    return {
      role,
      leader: this.leaderNode,
      term,
      commit,
      applied: this.state.index,
      members: groupMembers(configuration),
    }
  }

  // ---- Stepping ------------------------------------------------------------------------------------------------

  /** One step, and those that come of it. Hot. */
  #step(input: RaftInput): void {
    if (this.#core === undefined) return
    this.#inputs.push(input)
    if (this.#isStepping) return
    this.#isStepping = true
    try {
      for (let at = 0; at < this.#inputs.length; at++) this.#stepOnce(this.#inputs[at] as RaftInput)
    } finally {
      this.#inputs.length = 0
      this.#isStepping = false
    }
    if (this.#hasNewStatus) this.#tellStatus()
  }

  #stepOnce(input: RaftInput): void {
    const core = this.#core
    if (core === undefined) return
    const effects = core.step(input, this.#port.nowMs())
    this.#parts.group.observer?.stepped?.(this.self, input, effects, () => core.status())
    this.#isWriting = false
    for (const effect of effects) {
      this.#carryOut(effect)
      // Carrying out an effect may end the member.
      if (this.#isClosed) return
    }
    this.#watch.stepped(core)
    this.#standing.stepped(core)
    if (core.configuration !== this.#configuration) {
      this.#configuration = core.configuration
      this.#hasNewStatus = true
    }
  }

  #carryOut(effect: RaftEffect): void {
    switch (effect.type) {
      case 'persist': {
        const { hard, entries } = effect
        const upTo = entries.at(-1) ?? this.#end
        this.#end = upTo
        this.#isWriting = true
        this.#parts.meters.persisting(entries, this.#role)
        this.#writes.write(
          () => this.#parts.store.persist(hard, entries),
          () => this.#persisted(upTo),
        )
        return
      }
      case 'send':
        this.#send(effect.to, effect.message)
        return
      case 'send-durable':
        this.#writes.sendDurable(effect.to, effect.message)
        return
      case 'install':
        this.#end = effect.meta
        this.snapshots.install(effect.meta)
        return
      case 'send-snapshot':
        this.snapshots.sendTo(effect.to)
        return
      case 'apply':
        this.#parts.meters.committed(effect.entries.length)
        this.#apply.push(effect.entries, this.#isWriting)
        return
      case 'appended':
        this.requests.proposals.appended(effect.id, effect.first, effect.term)
        return
      case 'refused':
        this.requests.refused(effect.id, effect.reason, effect.leader)
        return
      case 'read-ready':
        this.requests.readReady(effect.id, effect.index)
        return
      case 'changed':
      case 'transferred':
        this.requests.answered(effect.id, undefined)
        return
      case 'role':
        this.#becameRole(effect.role, effect.term, effect.leader)
    }
  }

  #persisted(upTo: LogPosition): void {
    this.#step({ type: 'persisted', upTo: { index: upTo.index, term: upTo.term } })
    if (!this.#isRecovering || this.#core?.status().isRecovering !== false) return
    this.#isRecovering = false
    this.#port.log.info({ index: this.#end.index }, 'the entries that could not be read are here again')
  }

  #send(to: MemberId, message: RaftMessage): void {
    const isSent = this.#port.send(
      nodeOfMember(to),
      encodeMessage(storeOfMember(to), message),
      laneOf(message),
    )
    if (!isSent && message.type === 'append') this.#step({ type: 'unreachable', member: to })
  }

  #becameRole(role: RaftRole, term: number, leader: MemberId | undefined): void {
    const nowMs = this.#port.nowMs()
    const wasLeader = this.#role === 'leader'
    this.#role = role
    this.#leader = leader
    this.#hasNewStatus = true
    this.#parts.meters.became(role, leader)
    this.state.clock.become(
      role === 'leader' ? 'leading' : leader === undefined ? 'leaderless' : 'following',
      nowMs,
    )
    if (wasLeader !== (role === 'leader')) {
      this.duty.lead(role === 'leader', nowMs)
      if (wasLeader) {
        this.requests.proposals.leadershipLost()
        this.snapshots.stopSending()
      }
    }
    this.requests.askAgain()
    const { log } = this.#port
    if (role === 'leader') log.info({ term }, 'leads')
    else if (wasLeader) log.info({ term, leader: this.leaderNode }, 'leads no more')
    else if (leader !== undefined) log.info({ term, leader: this.leaderNode }, 'follows')
    else log.debug({ term, role }, 'has no leader')
  }

  /** See `watched`, at the other end. */
  #wakeFor(member: MemberId): void {
    const core = this.#core
    if (core?.isQuiet === true && isMemberOf(core.configuration, member)) this.#step({ type: 'wake' })
  }

  #receiveRaft(from: MemberId, message: RaftMessage): void {
    const { type } = message
    if (type === 'pre-vote' || type === 'vote') this.#standing.askedForVote(from)
    this.#step({ type: 'message', from, message })
  }

  #tellStatus(): void {
    this.#hasNewStatus = false
    this.#parts.onStatus()
  }

  #fail(error: unknown, what: string): void {
    const cause = error instanceof Error ? error : new Error(String(error))
    this.#port.log.fatal({ err: cause }, `this member has stopped: ${what}`)
    this.#parts.onFailure(cause)
  }
}

function laneOf(message: RaftMessage): HostLane {
  switch (message.type) {
    case 'append':
    case 'append-reply':
    // Behind the appends, which everybody must have before the group goes quiet.
    case 'quiesce':
      return 'data'
    default:
      return 'control'
  }
}

function groupMembers(configuration: RaftConfiguration): readonly GroupMember[] {
  const { voters, outgoing, learners } = configuration
  return membersOf(configuration).map((member) => ({
    node: nodeOfMember(member),
    store: storeOfMember(member),
    role: voters.includes(member)
      ? 'voter'
      : learners.includes(member) || !outgoing.includes(member)
        ? 'learner'
        : 'leaving',
  }))
}

function earlier(a: number | undefined, b: number | undefined): number | undefined {
  return a === undefined ? b : b === undefined || a <= b ? a : b
}
