/**
 * What goes into the Raft core and what comes out. The effects carry the ordering contract; the host asserts it.
 */
import type {
  HardState,
  LogEntry,
  LogPosition,
  MemberId,
  RaftConfiguration,
  RaftMessage,
  SnapshotMeta,
} from './raft-message.ts'

/** What the core is told. `id`s are the host's own numbers, echoed in effects. */
export type RaftInput =
  | { readonly type: 'tick' }
  | { readonly type: 'message'; readonly from: MemberId; readonly message: RaftMessage }
  /** Commands to append, in order, all or none. With `term`, only if that is the leader's term now (R12). */
  | {
      readonly type: 'propose'
      readonly id: number
      readonly commands: readonly Uint8Array[]
      readonly term?: number | undefined
    }
  /** A linearizable read: when may the local state be read? `lease`: by the leader's lease, where that is allowed. */
  | { readonly type: 'read'; readonly id: number; readonly lease?: boolean | undefined }
  /** Go to this configuration, by a joint one where needed. `target` names voters and learners only. */
  | {
      readonly type: 'change'
      readonly id: number
      readonly target: { readonly voters: readonly MemberId[]; readonly learners: readonly MemberId[] }
    }
  | { readonly type: 'transfer'; readonly id: number; readonly to: MemberId }
  /** A `persist` is durable, and everything given out before it: told for each, in their order. `upTo` is where the log ended
   * after it: the term tells an entry from one that took its place meanwhile (R16). */
  | { readonly type: 'persisted'; readonly upTo: LogPosition }
  /** The content of a snapshot has arrived whole and is durable, but not yet in force. From the leader of `term`. */
  | { readonly type: 'snapshot'; readonly from: MemberId; readonly term: number; readonly meta: SnapshotMeta }
  /** The snapshot of an `install` effect is in force and durable, and the log behind it is gone. */
  | { readonly type: 'installed'; readonly meta: SnapshotMeta }
  /** How sending a snapshot ended: its receiver has it in force or told so, or it was given up. */
  | { readonly type: 'snapshot-status'; readonly to: MemberId; readonly index: number; readonly ok: boolean }
  /** A snapshot of the own state at `meta.index` is durable; the log may be cut up to `keepFrom` (exclusive). */
  | { readonly type: 'compact'; readonly meta: SnapshotMeta; readonly keepFrom: number }
  /** What was sent to it is lost, or its link is gone. Also of the leader: a hint, never proof. */
  | { readonly type: 'unreachable'; readonly member: MemberId }
  /** A quiet group is to run its timers again. */
  | { readonly type: 'wake' }

/**
 * What the core wants done, in this order.
 *
 * - `persist` and `install` are begun in the order in which they were given out, over all steps.
 * - A `send` may leave at once. A `send-durable` leaves only when every `persist` and `install` given out before it, in this
 *   step or an earlier one, is durable (R1, G2). A leader's `append` is a `send`: it leaves beside the leader's own write.
 * - `apply` gives committed entries in order, each once in the life of a core; they need not be durable here.
 * - Reads, refusals and roles are told in the step in which they are true.
 */
export type RaftEffect =
  | {
      readonly type: 'persist'
      readonly hard: HardState | undefined
      /** Contiguous. Whatever stood at the first index or behind it is replaced. */
      readonly entries: readonly LogEntry[]
    }
  | { readonly type: 'send'; readonly to: MemberId; readonly message: RaftMessage }
  | { readonly type: 'send-durable'; readonly to: MemberId; readonly message: RaftMessage }
  /** Put this received snapshot in force: it and the end of the whole log before it, in one batch; then `installed`. */
  | { readonly type: 'install'; readonly meta: SnapshotMeta }
  /** Send this member the newest snapshot there is; then `snapshot-status`. */
  | { readonly type: 'send-snapshot'; readonly to: MemberId }
  | { readonly type: 'apply'; readonly entries: readonly LogEntry[] }
  /** The commands stand at `first`, `first + 1`, ... of the log, in `term`; they are decided when they are applied. */
  | { readonly type: 'appended'; readonly id: number; readonly first: number; readonly term: number }
  /** Nothing was appended, changed, transferred or read, and nothing of it will be. */
  | {
      readonly type: 'refused'
      readonly id: number
      readonly reason: RefusalReason
      readonly leader: MemberId | undefined
    }
  /** The state may be read once it has applied `index`. */
  | { readonly type: 'read-ready'; readonly id: number; readonly index: number }
  /** The change is over: committed, and the joint configuration left. `configuration` rules. */
  | { readonly type: 'changed'; readonly id: number; readonly configuration: RaftConfiguration }
  /** The transfer is over: `to` leads. */
  | { readonly type: 'transferred'; readonly id: number }
  | {
      readonly type: 'role'
      readonly role: RaftRole
      readonly term: number
      readonly leader: MemberId | undefined
    }

export type RaftRole = 'follower' | 'pre-candidate' | 'candidate' | 'leader'

export type RefusalReason =
  /** Another leads, or nobody; also a read or change that was under way when leadership was lost. */
  | 'not-leader'
  /** The leader has not yet committed an entry of its term (R2). */
  | 'not-ready'
  /** Leadership is being handed over. */
  | 'transferring'
  /** Too much is appended and not committed. */
  | 'overloaded'
  /** `propose` with a term that is over. */
  | 'wrong-term'
  /** Another change of the configuration is under way. */
  | 'changing'
  /** The configuration asked for has no voters, or cannot follow from the one in force. */
  | 'bad-configuration'
  /** A lease read without check-quorum, or the lease has run out: read without it. */
  | 'no-lease'
  /** The transferee is no voter, or did not take over in time. */
  | 'transfer-failed'

/** What a core starts from: what its store holds. All durable. */
export interface RaftStart {
  readonly hard: HardState
  /** Where the log begins: the newest snapshot, or index 0 and term 0 with the founding configuration. */
  readonly snapshot: SnapshotMeta
  /** Entries behind the snapshot, contiguous. */
  readonly entries: readonly LogEntry[]
  /**
   * The end that the log had, when the store knows that entries were there and cannot read them (R20): this member
   * compares votes by this place, does not campaign, and takes the entries from the leader anew.
   */
  readonly lostUpTo?: LogPosition | undefined
}

/** Where one follower stands, as its leader sees it (etcd's progress). */
export interface ProgressReport {
  readonly member: MemberId
  readonly state: 'probe' | 'replicate' | 'snapshot'
  readonly match: number
  readonly next: number
  /** Appends on their way, and their bytes. */
  readonly inflight: number
  readonly inflightBytes: number
  /** Heard within the last election timeout. */
  readonly isActive: boolean
}

/** Plain data that shares nothing with the core. */
export interface RaftStatus {
  readonly self: MemberId
  readonly role: RaftRole
  readonly term: number
  readonly vote: MemberId | undefined
  readonly leader: MemberId | undefined
  readonly commit: number
  /** Highest index given out in `apply`. */
  readonly applied: number
  /** Index of the first entry that the core still has, and of the last. */
  readonly first: number
  readonly last: LogPosition
  /** Highest index that is durable here. */
  readonly durable: number
  readonly configuration: RaftConfiguration
  readonly isQuiet: boolean
  /** Entries of its store are being fetched anew (R20). */
  readonly isRecovering: boolean
  /** Being handed over to this one. */
  readonly transferee: MemberId | undefined
  /** Of a leader, sorted by member; else empty. */
  readonly progress: readonly ProgressReport[]
}
