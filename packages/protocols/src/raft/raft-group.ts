/**
 * A Raft group as one node sees it: the handle that outlives the lives of the host. Each life opens the group's member anew
 * from its store; what was waited for then is settled, never repeated.
 */
import { Aborted, isActorError, StoreError } from '@understudy/runtime'
import type { Metrics } from '@understudy/runtime'
import { GroupClosed, GroupOverloaded, NotLeader, OutcomeUnknown } from '../core/consensus-error.ts'
import type {
  ConsensusGroup,
  GroupMember,
  GroupStatus,
  ProposeOptions,
  ReadOptions,
  SessionStamp,
} from '../core/consensus-group.ts'
import { sessionTtlMs } from '../core/session-table.ts'
import type { Consensus, OpenGroup } from '../host/consensus-host.ts'
import { openFounding } from '../host/founding.ts'
import type { HostedMember, MemberPort } from '../host/hosted-member.ts'
import { PendingCall } from './pending-call.ts'
import { Proposal, type ProposalKind } from './pending-proposals.ts'
import { PendingRead } from './pending-reads.ts'
import { ChangeRefused, TransferFailed } from './raft-group-error.ts'
import {
  checkGroupOptions,
  type CheckedGroupOptions,
  type RaftGroupOptions,
  type RaftObserver,
} from './raft-group-options.ts'
import { openRaftStore } from './raft-log-store.ts'
import { RaftMember } from './raft-member.ts'
import { MemberMeters } from './raft-member-meters.ts'
import { MemberState, encodeTtl } from './raft-member-state.ts'
import { chunksOf } from './raft-member-snapshots.ts'
import type { MembershipGoal } from './raft-member-change.ts'
import type { RaftStatus } from './raft-step.ts'
import type { RaftStore } from './raft-store.ts'

type StoredRaft = NonNullable<Awaited<ReturnType<RaftStore['load']>>>

export interface ChangeOptions {
  /** Nodes that get the log and have no say. @default none */
  readonly learners?: readonly string[] | undefined
  /** @default the group's `changeTimeoutMs` */
  readonly timeoutMs?: number | undefined
}

export interface CallOptions {
  /** @default the group's `changeTimeoutMs` */
  readonly timeoutMs?: number | undefined
}

/** A `ConsensusGroup` by Raft, and what only Raft has. */
export interface RaftGroup<Result = unknown> extends ConsensusGroup<Result>, AsyncDisposable {
  /**
   * From now on these nodes are the voters. Each must have opened the group; a new one becomes a learner, catches up, and then
   * one joint change makes it a voter and ends who is not named. Resolves with the members when all of that is committed.
   *
   * On the leader only. Rejects with `NotLeader`, `ChangeRefused`, or `OutcomeUnknown`: it took too long, or leadership was lost
   * on the way; what is done by then stays, and calling it again goes on from there.
   */
  readonly change: (voters: readonly string[], options?: ChangeOptions) => Promise<readonly GroupMember[]>
  /**
   * Lets that node lead; it takes part with all that it has. Resolves when it does. Proposals are refused meanwhile, for an
   * election timeout at most. On the leader only. Rejects with `NotLeader` or `TransferFailed`.
   */
  readonly transfer: (node: string, options?: CallOptions) => Promise<void>
  /** Takes a snapshot now. Resolves with its index when it is durable; 0 when nothing was applied yet. */
  readonly snapshot: (options?: CallOptions) => Promise<number>
  /** What Raft itself knows, for people and tests; `undefined` while the group is being founded, and once it is closed. */
  readonly raftStatus: () => RaftStatus | undefined
}

/**
 * Opens the group on this node: goes on with what its store has, else looks for the group on the nodes named, founds it with
 * them when all say that it is nowhere, or joins it. Resolves when the member has read its store; it may well be that nobody
 * leads yet.
 *
 * A state machine that throws, or a founding that was refused, closes the group on this node: see `status`, and the log.
 *
 * @throws {GroupAlreadyOpen} (as a rejection) PROTOCOLS_GROUP_ALREADY_OPEN: this node has a group of that name
 * @throws {TypeError | RangeError} (as a rejection) for options that are wrong @throws {StoreError} (as a rejection)
 * RUNTIME_STORE_CORRUPT: the vote or the snapshot cannot be read. Delete this node's store: it comes back as a new member
 */
export function openRaftGroup<Result = unknown>(
  consensus: Consensus,
  options: RaftGroupOptions<Result>,
): Promise<RaftGroup<Result>> {
  return openObservedRaftGroup(consensus, options, undefined)
}

/** As `openRaftGroup`, watched by an observer: for tests and simulations. */
export async function openObservedRaftGroup<Result>(
  consensus: Consensus,
  options: RaftGroupOptions<Result>,
  observer: RaftObserver | undefined,
): Promise<RaftGroup<Result>> {
  const { name, system } = consensus.node
  const checked = checkGroupOptions(options, observer)
  const group = new RaftGroupHandle<Result>(name, system.metrics, checked)
  group.begin(await consensus.openGroup(options.name, group.openMember, group.ended))
  return group
}

const noOptions = Object.freeze({})

class RaftGroupHandle<Result> implements RaftGroup<Result> {
  readonly name: string
  readonly #node: string
  readonly #metrics: Metrics
  readonly #options: CheckedGroupOptions
  readonly #listeners = new Set<(status: GroupStatus) => void>()
  #member: RaftMember | undefined
  #open: OpenGroup | undefined
  /** What the listeners know. */
  #told = ''
  /** Why the group is over on this node. */
  #end: Error | undefined

  constructor(node: string, metrics: Metrics, options: CheckedGroupOptions) {
    this.name = options.name
    this.#node = node
    this.#metrics = metrics
    this.#options = options
  }

  // ---- Lives ---------------------------------------------------------------------------------------------------

  begin(open: OpenGroup): void {
    this.#open = open
    if (this.#end !== undefined) void open.close()
  }

  readonly openMember = async (port: MemberPort): Promise<HostedMember> => {
    const options = this.#options
    const store = openRaftStore(port.store.scope('raft'))
    const loaded = await store.load()
    const state = new MemberState(options.machine(), noConfiguration)
    if (loaded !== undefined) await this.#restore(port, store, loaded, state)
    const member = new RaftMember({
      port,
      store,
      state,
      group: options,
      snapshot: loaded?.snapshotOnDisk,
      meters: new MemberMeters(this.#metrics),
      onStatus: () => this.#tell(member),
      onFailure: (error) => this.#fail(error),
    })
    const founding = await openFounding({
      port,
      members: options.members,
      known: () => member.known(),
      onOutcome: (outcome) => {
        // What the store has counts.
        if (loaded === undefined) member.founded(outcome)
      },
      onRefused: (error) => {
        port.log.error({ err: error }, error.message)
        this.#fail(error)
      },
    })
    member.found(founding)
    // In a turn of the host, as everything from here on.
    if (loaded !== undefined) port.later(() => member.start(loaded))
    this.#member = member
    return member
  }

  /** The state as of the snapshot. Without it the entries behind it are worth nothing. */
  async #restore(
    port: MemberPort,
    store: RaftStore,
    { snapshot, snapshotOnDisk }: StoredRaft,
    state: MemberState,
  ): Promise<void> {
    if (snapshot.index === 0) return
    let cause: unknown
    try {
      if (snapshotOnDisk !== undefined) {
        await state.restore(snapshot, chunksOf(store, snapshotOnDisk), port.nowMs)
        return
      }
    } catch (error) {
      cause = error
    }
    // A store that is closed or broken as a whole is the host's business.
    if (isActorError(cause) && cause.code !== 'RUNTIME_STORE_CORRUPT') throw cause
    const why = cause instanceof Error ? cause.message : 'its content is not there'
    throw new StoreError(
      'RUNTIME_STORE_CORRUPT',
      `Cannot open the group "${this.name}" on node "${this.#node}": its snapshot at ${snapshot.index} cannot be read: ` +
        `${why}. Delete this node's store: it comes back as a new member`,
      { details: { group: this.name, index: snapshot.index }, cause },
    )
  }

  /** No member follows. */
  readonly ended = (error: Error): void => {
    this.#end ??= error
    this.#member = undefined
    this.#tell(undefined)
  }

  readonly close = async (): Promise<void> => {
    await this.#open?.close()
  }

  readonly [Symbol.asyncDispose] = (): Promise<void> => this.close()

  #fail(error: Error): void {
    this.#end ??= error
    void this.#open?.close()
  }

  // ---- Commands and reads --------------------------------------------------------------------------------------

  readonly propose = (command: Uint8Array, options: ProposeOptions = noOptions): Promise<Result> => {
    const { session, term, timeoutMs } = options
    const wrong =
      this.#wrongCommand(command) ?? wrongStamp(session) ?? wrongTerm(term) ?? wrongTimeout(timeoutMs)
    if (wrong !== undefined) return Promise.reject(wrong)
    return this.#propose('command', command, options) as Promise<Result>
  }

  readonly openSession: ConsensusGroup['openSession'] = ({ ttlMs, timeoutMs }) => {
    const { min, max } = sessionTtlMs
    if (!(ttlMs >= min && ttlMs <= max)) {
      return Promise.reject(
        new RangeError(
          `Cannot open a session: ttlMs must be from ${min} to ${max} milliseconds, got ${ttlMs}`,
        ),
      )
    }
    const wrong = wrongTimeout(timeoutMs)
    if (wrong !== undefined) return Promise.reject(wrong)
    return this.#propose('open-session', encodeTtl(Math.ceil(ttlMs)), { timeoutMs }) as Promise<number>
  }

  /** Hot: the promise, its proposal, and nothing else. */
  #propose(kind: ProposalKind, command: Uint8Array, options: ProposeOptions): Promise<unknown> {
    const { signal } = options
    const member = this.#member
    if (member === undefined || member.isClosed) return Promise.reject(this.#absent())
    if (signal?.aborted === true) return Promise.reject(this.#aborted(signal))
    const { proposals } = member.requests
    if (proposals.waiting >= this.#options.pendingMax) return Promise.reject(this.#full('proposals'))
    const deadlineMs = member.nowMs() + (options.timeoutMs ?? this.#options.proposeTimeoutMs)
    return new Promise((resolve, reject) => {
      const proposal = new Proposal(
        proposals,
        kind,
        command,
        options.session,
        options.term,
        deadlineMs,
        resolve,
        reject,
      )
      if (signal !== undefined) {
        letGoOf(proposal, signal, () =>
          proposal.reject(
            proposal.index === 0
              ? this.#aborted(signal)
              : proposal.unknown('its signal was aborted', signal.reason),
          ),
        )
      }
      member.requests.propose(proposal)
    })
  }

  readonly read = (options: ReadOptions = noOptions): Promise<number> => {
    const { consistency = 'linearizable', signal, timeoutMs } = options
    const member = this.#member
    const wrong = wrongTimeout(timeoutMs) ?? this.#wrongConsistency(consistency)
    if (wrong !== undefined) return Promise.reject(wrong)
    if (member === undefined || member.isClosed) return Promise.reject(this.#absent())
    if (signal?.aborted === true) return Promise.reject(this.#aborted(signal))
    if (consistency === 'local' && member.isReadable) return Promise.resolve(member.state.index)
    const { reads } = member.requests
    if (reads.waiting >= this.#options.pendingMax) return Promise.reject(this.#full('reads'))
    const mode = consistency === 'linearizable' ? 'round' : consistency
    const deadlineMs = member.nowMs() + (timeoutMs ?? this.#options.readTimeoutMs)
    return new Promise((resolve, reject) => {
      const read = new PendingRead(reads, mode, deadlineMs, resolve, reject)
      if (signal !== undefined) letGoOf(read, signal, () => read.reject(this.#aborted(signal)))
      member.requests.read(read)
    })
  }

  // ---- Raft's own ----------------------------------------------------------------------------------------------

  readonly change: RaftGroup['change'] = (voters, { learners = [], timeoutMs } = noOptions) => {
    const names = [...voters, ...learners]
    if (voters.length === 0 || new Set(names).size !== names.length) {
      const given = names.join(', ')
      return Promise.reject(
        new RangeError(
          `Cannot change the members of group "${this.name}": name at least one voter, and each node once, got ${given}`,
        ),
      )
    }
    return this.#call<readonly GroupMember[]>('a change of the members', timeoutMs, (member, call) => {
      const goal: MembershipGoal = {
        voters,
        learners,
        reached: () => call.resolve(member.members()),
        refused: (reason) =>
          call.reject(
            reason === 'not-leader'
              ? this.#unknown('the change of the members', 'leadership was lost on the way')
              : new ChangeRefused(`The members of group "${this.name}" cannot become ${names.join(', ')}`, {
                  reason,
                }),
          ),
      }
      if (!member.isLeader) call.reject(new NotLeader(this.name, member.leaderNode))
      else if (!member.duty.set(goal, member.nowMs())) {
        const text = `The members of group "${this.name}" are being changed already: wait for that, then ask again`
        call.reject(new ChangeRefused(text, { reason: 'changing' }))
      }
      return () => member.duty.drop(goal)
    })
  }

  readonly transfer: RaftGroup['transfer'] = (node, { timeoutMs } = noOptions) =>
    this.#call<void>('a transfer of leadership', timeoutMs, (member, call) => {
      if (!member.isLeader) {
        call.reject(new NotLeader(this.name, member.leaderNode))
        return undefined
      }
      member.transfer(node, (reason) => {
        if (reason === undefined) call.resolve()
        else if (reason === 'not-leader') call.reject(new NotLeader(this.name, member.leaderNode))
        else {
          const text = `The leadership of group "${this.name}" was not handed to node "${node}": it must be a voter that answers`
          call.reject(new TransferFailed(text, { node, reason }))
        }
      })
      return undefined
    })

  readonly snapshot: RaftGroup['snapshot'] = ({ timeoutMs } = noOptions) =>
    this.#call<number>('a snapshot', timeoutMs, (member, call) => {
      member.snapshots.take((newest) => {
        if (newest !== undefined || member.state.index === 0) call.resolve(newest?.meta.index ?? 0)
        else call.reject(this.#unknown('a snapshot', 'another one is being put in force'))
      })
      return undefined
    })

  readonly raftStatus = (): RaftStatus | undefined => this.#member?.raftStatus()

  readonly status = (): GroupStatus => {
    const member = this.#member
    // Between two lives it is opened anew, which is how it began.
    const own = member === undefined || member.isClosed ? undefined : member.status()
    const { name } = this
    if (own !== undefined) return { name, node: this.#node, ...own }
    const role = this.#end === undefined ? 'founding' : 'closed'
    return { name, node: this.#node, role, leader: undefined, term: 0, commit: 0, applied: 0, members: [] }
  }

  readonly members = (): readonly GroupMember[] => this.#member?.members() ?? []

  readonly onStatus = (listener: (status: GroupStatus) => void): (() => void) => {
    // One listener may be given twice, and each ends by itself.
    const own = (status: GroupStatus): void => listener(status)
    this.#listeners.add(own)
    return () => void this.#listeners.delete(own)
  }

  /** Of another member than the one in force: it is over, and the next one will tell. */
  #tell(member: RaftMember | undefined): void {
    if (member !== this.#member) return
    const status = this.status()
    const told = `${status.role} ${status.leader} ${status.term}`
    if (told === this.#told) return
    this.#told = told
    for (const listener of [...this.#listeners]) listener(status)
  }

  #call<T>(
    what: string,
    timeoutMs: number | undefined,
    begin: (member: RaftMember, call: PendingCall<T>) => (() => void) | undefined,
  ): Promise<T> {
    const wrong = wrongTimeout(timeoutMs)
    if (wrong !== undefined) return Promise.reject(wrong)
    const member = this.#member
    if (member === undefined || member.isClosed) return Promise.reject(this.#absent())
    const { requests } = member
    const deadlineMs = member.nowMs() + (timeoutMs ?? this.#options.changeTimeoutMs)
    return new Promise<T>((resolve, reject) => {
      let end: (() => void) | undefined
      const call = new PendingCall<T>(
        requests.deadlines,
        deadlineMs,
        resolve,
        reject,
        () => this.#unknown(what, 'it was not over in time'),
        () => {
          requests.callEnded(call)
          end?.()
        },
      )
      requests.call(call, () => {
        end = begin(member, call)
      })
    })
  }

  // ---- Errors --------------------------------------------------------------------------------------------------

  /** The member is between two lives, or over. */
  #absent(): Error {
    const end = this.#end
    if (end === undefined) return new NotLeader(this.name, undefined)
    if (end instanceof GroupClosed) return end
    return new GroupClosed(
      `The group "${this.name}" was closed on node "${this.#node}": ${end.message}`,
      { group: this.name },
      end,
    )
  }

  #aborted(signal: AbortSignal): Error {
    return new Aborted(
      `A call to the group "${this.name}" was given up by its signal: nothing was appended`,
      {},
      signal.reason,
    )
  }

  #full(what: string): Error {
    const { pendingMax } = this.#options
    return new GroupOverloaded(
      `${pendingMax} ${what} of the group "${this.name}" wait on node "${this.#node}" already (pendingMax): ` +
        'nothing was done; wait, then ask again',
      { group: this.name, pendingMax },
    )
  }

  #unknown(what: string, why: string): Error {
    return new OutcomeUnknown(`The outcome of ${what} of group "${this.name}" is not known: ${why}`, {
      group: this.name,
    })
  }

  #wrongCommand(command: unknown): Error | undefined {
    if (!(command instanceof Uint8Array)) {
      return new TypeError(`Cannot propose to the group "${this.name}": a command must be a Uint8Array`)
    }
    const { commandBytesMax } = this.#options
    if (command.length <= commandBytesMax) return undefined
    return new RangeError(
      `Cannot propose to the group "${this.name}": a command may have ${commandBytesMax} bytes (commandBytesMax), ` +
        `got ${command.length}`,
    )
  }

  #wrongConsistency(consistency: string): Error | undefined {
    if (consistency === 'linearizable' || consistency === 'local') return undefined
    if (consistency !== 'lease') {
      return new RangeError(
        `Cannot read: consistency must be "linearizable", "lease" or "local", got "${consistency}"`,
      )
    }
    if (this.#options.figures.leaseReads) return undefined
    return new RangeError(
      `Cannot read by lease: the group "${this.name}" was opened without raft.leaseReads; set it on all members, or read ` +
        'linearizably',
    )
  }
}

const noConfiguration = Object.freeze({
  voters: Object.freeze([]),
  outgoing: Object.freeze([]),
  learners: Object.freeze([]),
  learnersNext: Object.freeze([]),
})

/** One listener for the signal, gone with the answer. */
function letGoOf(
  pending: { letGo: (() => void) | undefined },
  signal: AbortSignal,
  onAbort: () => void,
): void {
  signal.addEventListener('abort', onAbort, { once: true })
  pending.letGo = () => signal.removeEventListener('abort', onAbort)
}

function wrongStamp(stamp: SessionStamp | undefined): Error | undefined {
  if (stamp === undefined) return undefined
  const { session, sequence, answeredBelow } = stamp
  const isRight = [session, sequence, answeredBelow].every(
    (number) => Number.isSafeInteger(number) && number >= 1,
  )
  if (isRight && answeredBelow <= sequence) return undefined
  return new RangeError(
    'Cannot propose in a session: session, sequence and answeredBelow must be whole numbers of at least 1, and ' +
      `answeredBelow not above sequence, got ${session}, ${sequence}, ${answeredBelow}`,
  )
}

function wrongTerm(term: number | undefined): Error | undefined {
  if (term === undefined || (Number.isSafeInteger(term) && term >= 0)) return undefined
  return new RangeError(`Cannot propose in a term: it must be a whole number of at least 0, got ${term}`)
}

function wrongTimeout(timeoutMs: number | undefined): Error | undefined {
  if (timeoutMs === undefined || timeoutMs >= 0) return undefined
  return new RangeError(`Cannot wait for ${timeoutMs} ms: timeoutMs must be a number of at least 0`)
}
