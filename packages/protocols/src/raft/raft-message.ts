/**
 * What Raft's members say to each other, and what stands in their logs. Plain data: the core makes and reads it, the host
 * carries it. Names follow the Raft paper (Ongaro, Ousterhout, 2014) and thesis (Ongaro, 2014).
 */

/**
 * Who a member is: `name@store`, the name of its node and the id of its store. With another store it is another member,
 * because it has forgotten its votes. The core compares ids and never reads them.
 */
export type MemberId = string

/** Who takes part. A configuration rules from the moment its entry is appended (paper, section 6). */
export interface RaftConfiguration {
  /** Sorted. While joint: the new voters. */
  readonly voters: readonly MemberId[]
  /** While joint, the old voters, sorted: both majorities are needed, for elections and for commits. Else empty. */
  readonly outgoing: readonly MemberId[]
  /** Get the log and have no say. Sorted; disjoint from voters. */
  readonly learners: readonly MemberId[]
  /** Outgoing voters that become learners when the joint configuration is left. Sorted. */
  readonly learnersNext: readonly MemberId[]
}

/** A place in the log. */
export interface LogPosition {
  readonly index: number
  readonly term: number
}

/** One entry of the log. Indices begin at 1 and have no holes. */
export type LogEntry =
  | (LogPosition & { readonly type: 'command'; readonly data: Uint8Array })
  /** What a leader appends when its term begins, so that it may commit what came before (paper, section 8). */
  | (LogPosition & { readonly type: 'noop' })
  | (LogPosition & { readonly type: 'configuration'; readonly configuration: RaftConfiguration })

/** What a snapshot stands for: the state after `index`, and who took part then. Its content is the host's business. */
export interface SnapshotMeta extends LogPosition {
  readonly configuration: RaftConfiguration
}

/** What a member must not forget: written before anything that rests on it is said. */
export interface HardState {
  readonly term: number
  /** For whom it voted in that term. */
  readonly vote: MemberId | undefined
}

/**
 * `term` is the sender's own, except in `pre-vote` (the term it would campaign in) and in a granted `pre-vote-reply` (the
 * term that was asked for).
 */
export type RaftMessage =
  | {
      readonly type: 'pre-vote' | 'vote'
      readonly term: number
      readonly last: LogPosition
      /** The leader asked for this election: who still hears that leader grants all the same (thesis, section 3.10). */
      readonly transfer: boolean
    }
  | { readonly type: 'pre-vote-reply' | 'vote-reply'; readonly term: number; readonly granted: boolean }
  | {
      readonly type: 'append'
      readonly term: number
      readonly previous: LogPosition
      readonly commit: number
      readonly entries: readonly LogEntry[]
    }
  | {
      readonly type: 'append-reply'
      readonly term: number
      /** Accepted: the highest index that is the leader's and durable here. Rejected: the `previous.index` refused. */
      readonly index: number
      readonly rejected: AppendRejection | undefined
    }
  | {
      readonly type: 'heartbeat'
      readonly term: number
      readonly commit: number
      /** Number of this round of heartbeats: grows within a term, never used twice by one leader. */
      readonly round: number
    }
  | { readonly type: 'heartbeat-reply'; readonly term: number; readonly round: number }
  /** Leader to transferee: campaign now (thesis, section 3.10). */
  | { readonly type: 'timeout-now'; readonly term: number }
  /** A follower asks the leader for a read index (thesis, section 6.4). `id` is the asker's own. */
  | { readonly type: 'read'; readonly term: number; readonly id: number }
  | {
      readonly type: 'read-reply'
      readonly term: number
      readonly id: number
      readonly index: number | undefined
    }
  /** Leader to followers: nothing is going on, stop your election timer until woken. Only when all have everything. */
  | { readonly type: 'quiesce'; readonly term: number; readonly last: LogPosition; readonly commit: number }

/** Why an append was refused: where the leader may try next (thesis, section 5.3, with etcd's hint by term). */
export interface AppendRejection {
  /** The follower's best guess of where the logs agree: its last entry at or below the refused index whose term is
   * at most the refused one. */
  readonly hint: LogPosition
  /** Its disk lost entries that it had acknowledged: the leader must believe the hint although it goes back (R20). */
  readonly lost: boolean
}
