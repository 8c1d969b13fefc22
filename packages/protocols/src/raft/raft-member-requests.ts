/**
 * What the members' callers want, from the call to the core and back: commands, reads, changes, transfers. A burst of calls is
 * one input: what is proposed while the host does other things goes into the log together, as one record and one message to
 * each follower.
 */
import { GroupOverloaded, NotLeader } from '../core/consensus-error.ts'
import type { MemberPort } from '../host/hosted-member.ts'
import { encodeCommand } from './entry-codec.ts'
import type { PendingCall } from './pending-call.ts'
import { PendingDeadlines } from './pending-deadlines.ts'
import { PendingProposals, Proposal, type ProposalBatch } from './pending-proposals.ts'
import { PendingReads, type PendingRead } from './pending-reads.ts'
import type { CheckedGroupOptions } from './raft-group-options.ts'
import type { RaftCore } from './raft-core.ts'
import { nodeOfMember } from './raft-member-id.ts'
import type { MemberState } from './raft-member-state.ts'
import type { MemberId } from './raft-message.ts'
import type { RaftInput, RefusalReason } from './raft-step.ts'

/** How often a leader looks for sessions that are over, when there are sessions. */
const sessionCheckMs = 1_000
const noBytes = new Uint8Array(0)

/** The core's answer to a question of the member's own; `undefined`: it is done. */
export type Answer = (reason: RefusalReason | undefined) => void

export interface MemberRequestsOptions {
  readonly port: MemberPort
  readonly group: CheckedGroupOptions
  readonly state: MemberState
  readonly core: () => RaftCore | undefined
  readonly step: (input: RaftInput) => void
  /** The state may be read: it is not being replaced. */
  readonly isReadable: () => boolean
}

export class MemberRequests {
  readonly deadlines = new PendingDeadlines()
  readonly proposals: PendingProposals
  readonly reads: PendingReads
  readonly #options: MemberRequestsOptions
  readonly #answers = new Map<number, Answer>()
  readonly #calls = new Set<PendingCall<never>>()
  /** Of the core's inputs: `id`s are never used twice. */
  #id = 0
  #isFlushing = false
  #sessionCheckMs = 0
  #isExpiring = false

  constructor(options: MemberRequestsOptions) {
    const { port, group } = options
    this.#options = options
    this.proposals = new PendingProposals(port.group, this.deadlines, {
      commandsMax: group.batchCommandsMax,
      bytesMax: group.batchBytesMax,
    })
    this.reads = new PendingReads(port.group, this.deadlines)
  }

  // ---- Calls, outside of the host's turns: they only note what a later turn sees to ----------------------------------

  /** Hot. */
  propose(proposal: Proposal): void {
    if (this.proposals.gather(proposal)) this.flushLater()
  }

  read(read: PendingRead): void {
    if (this.reads.gather(read)) this.flushLater()
  }

  /** Runs `task` in a turn of the host, unless nobody waits for the call any more by then. */
  call<T>(call: PendingCall<T>, task: () => void): void {
    // Whoever settles them all only rejects.
    this.#calls.add(call as PendingCall<never>)
    this.#options.port.later(() => {
      if (!call.isSettled) task()
    })
  }

  callEnded<T>(call: PendingCall<T>): void {
    this.#calls.delete(call as PendingCall<never>)
  }

  flushLater(): void {
    if (this.#isFlushing) return
    this.#isFlushing = true
    this.#options.port.later(this.#flush)
  }

  // ---- In turns of the host ------------------------------------------------------------------------------------

  /** Asks the core something of the member's own. */
  ask(input: (id: number) => RaftInput, answer: Answer): void {
    if (this.#options.core() === undefined) {
      answer('not-leader')
      return
    }
    const id = ++this.#id
    this.#answers.set(id, answer)
    this.#options.step(input(id))
  }

  answered(id: number, reason: RefusalReason | undefined): boolean {
    const answer = this.#answers.get(id)
    this.#answers.delete(id)
    answer?.(reason)
    return answer !== undefined
  }

  readReady(id: number, index: number): void {
    const reads = this.reads.answered(id)
    if (reads !== undefined) this.#ready(index, reads)
  }

  refused(id: number, reason: RefusalReason, leader: MemberId | undefined): void {
    if (this.answered(id, reason)) return
    const { port, step } = this.#options
    const proposals = this.proposals.refused(id)
    if (proposals !== undefined) {
      for (const proposal of proposals)
        proposal.reject(refusalOf(port.group, reason, this.#hint(reason, leader)))
      return
    }
    const reads = this.reads.answered(id)
    if (reads === undefined) return
    if (reason === 'not-ready' || reason === 'transferring') {
      // There is an answer soon: from this leader when it has committed, or from the next one.
      this.reads.unready(reads)
    } else if (reason === 'no-lease') {
      // What the lease cannot promise a round can.
      const roundId = ++this.#id
      this.reads.asked(roundId, reads)
      step({ type: 'read', id: roundId })
    } else {
      for (const read of reads) read.reject(refusalOf(port.group, reason, this.#hint(reason, leader)))
    }
  }

  /** The leader is another one, or has committed something: who was not ready may be. */
  askAgain(): void {
    if (this.reads.hasUnready) this.flushLater()
  }

  /** When `expireSessions` is due. */
  get sessionCheckMs(): number | undefined {
    return this.#options.state.sessionCount > 0 ? this.#sessionCheckMs : undefined
  }

  /** Of a leader. Proposes the end of sessions that are over, in its term only: the log decides by its own time (R12). */
  expireSessions(nowMs: number, term: number): void {
    if (nowMs < this.#sessionCheckMs) return
    this.#sessionCheckMs = nowMs + sessionCheckMs
    const { state, group } = this.#options
    if (this.#isExpiring || !state.isAnySessionOver(state.clock.stamp(nowMs))) return
    this.#isExpiring = true
    const over = (): void => {
      this.#isExpiring = false
    }
    const deadlineMs = nowMs + group.proposeTimeoutMs
    this.propose(
      new Proposal(this.proposals, 'expire-sessions', noBytes, undefined, term, deadlineMs, over, over),
    )
  }

  close(reason: Error): void {
    this.#answers.clear()
    this.proposals.close(reason)
    this.reads.close(reason)
    for (const call of [...this.#calls]) call.reject(reason)
  }

  readonly #flush = (): void => {
    this.#isFlushing = false
    for (const batch of this.proposals.take()) this.#append(batch)
    const again = this.reads.retake()
    for (const reads of this.reads.take()) this.#askRead(reads)
    if (again.length > 0) this.#askRead(again)
  }

  #append({ proposals, onlyTerm }: ProposalBatch): void {
    const { port, state, core, step } = this.#options
    const raft = core()
    if (raft?.role !== 'leader') {
      const leader = raft?.leader === undefined ? undefined : nodeOfMember(raft.leader)
      for (const proposal of proposals) proposal.reject(new NotLeader(port.group, leader))
      return
    }
    const timeMs = state.clock.stamp(port.nowMs())
    const commands = proposals.map(({ kind, command, session }) =>
      encodeCommand(
        {
          kind,
          timeMs,
          session: session?.session ?? 0,
          sequence: session?.sequence ?? 0,
          answeredBelow: session?.answeredBelow ?? 0,
        },
        command,
      ),
    )
    const id = ++this.#id
    this.proposals.asked(id, proposals)
    step({ type: 'propose', id, commands, term: onlyTerm })
  }

  #askRead(reads: readonly PendingRead[]): void {
    const { port, core, step } = this.#options
    const mode = reads[0]?.mode
    if (core() === undefined) {
      for (const read of reads) read.reject(new NotLeader(port.group, undefined))
    } else if (mode === 'local') {
      this.#ready(0, reads)
    } else {
      const id = ++this.#id
      this.reads.asked(id, reads)
      step({ type: 'read', id, lease: mode === 'lease' })
    }
  }

  #ready(index: number, reads: readonly PendingRead[]): void {
    this.reads.ready(index, reads)
    if (this.#options.isReadable()) this.reads.applied(this.#options.state.index)
  }

  /** Whom to ask instead. Of a leader that hands over: its successor. */
  #hint(reason: RefusalReason, leader: MemberId | undefined): string | undefined {
    const other = reason === 'transferring' ? this.#options.core()?.status().transferee : leader
    return other === undefined ? undefined : nodeOfMember(other)
  }
}

function refusalOf(group: string, reason: RefusalReason, leader: string | undefined): Error {
  if (reason !== 'overloaded') return new NotLeader(group, leader, { reason })
  return new GroupOverloaded(
    `The group "${group}" has too much that is appended and not committed: wait, then propose again`,
    { group },
  )
}
