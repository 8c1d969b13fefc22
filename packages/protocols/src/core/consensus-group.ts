/**
 * A group of members that agree on a log of commands, as everything above consensus sees it: the key-value store, locks,
 * queues. Raft implements it, others can.
 */
export interface ProposeOptions {
  /** Makes a retry safe: the command with this number of this session is applied once, and a retry gets the same result. */
  readonly session?: SessionStamp | undefined
  /** Only in this term of the leader: for duties that a leader has by being one (expiring leases). */
  readonly term?: number | undefined
  readonly signal?: AbortSignal | undefined
  /** @default the group's `proposeTimeoutMs` */
  readonly timeoutMs?: number | undefined
}

/** Who says it, and for the how manieth time. */
export interface SessionStamp {
  /** From `openSession`. */
  readonly session: number
  /** Grows by one with each new command of the session, from 1; a retry has the number of its first attempt. */
  readonly sequence: number
  /** Every command below this number has been answered and is not asked again: its result can be forgotten. */
  readonly answeredBelow: number
}

/** What a read rests on. */
export type ReadConsistency =
  /** As if every operation took effect at one moment between its call and its return. One round to a majority. */
  | 'linearizable'
  /** The same as long as clocks drift by no more than `clockDriftMax`; without a round. The leader only; opt-in. */
  | 'lease'
  /** Whatever this member has applied: it may be old, it may go back when another member is asked next. */
  | 'local'

export interface ReadOptions {
  /** @default 'linearizable' */
  readonly consistency?: ReadConsistency | undefined
  readonly signal?: AbortSignal | undefined
  /** @default the group's `readTimeoutMs` */
  readonly timeoutMs?: number | undefined
}

export interface GroupMember {
  /** Name of its node. */
  readonly node: string
  /** Id of its store. */
  readonly store: string
  readonly role: 'voter' | 'learner' | 'leaving'
}

export interface GroupStatus {
  readonly name: string
  readonly node: string
  readonly role:
    | 'founding'
    | 'learner'
    | 'follower'
    | 'pre-candidate'
    | 'candidate'
    | 'leader'
    | 'removed'
    | 'closed'
  /** Name of the leader's node. */
  readonly leader: string | undefined
  readonly term: number
  readonly commit: number
  readonly applied: number
  readonly members: readonly GroupMember[]
}

/**
 * One member's handle on its group.
 *
 * `propose` resolves with what the state machine returned, after a majority has the command on disk and this member has
 * applied it. It rejects with `NotLeader` (nothing was appended; `leader` says whom to ask), `GroupOverloaded` (nothing was
 * appended), `SessionExpired` (not applied), `GroupClosed`, or `OutcomeUnknown`: it may be applied, now, later or never;
 * only a retry with the same session stamp finds out.
 */
export interface ConsensusGroup<Result = unknown> {
  readonly name: string
  readonly propose: (command: Uint8Array, options?: ProposeOptions) => Promise<Result>
  /** Resolves with the applied index when this member's state may be read with the consistency asked for. */
  readonly read: (options?: ReadOptions) => Promise<number>
  /** A session: a number for `SessionStamp`. It ends when nothing was proposed in it for `ttlMs` of the log's time. */
  readonly openSession: (options: {
    readonly ttlMs: number
    readonly timeoutMs?: number | undefined
  }) => Promise<number>
  readonly status: () => GroupStatus
  readonly members: () => readonly GroupMember[]
  /** Called at each change of `role`, `leader` or `term`, after it is in force. Returns how to end it. */
  readonly onStatus: (listener: (status: GroupStatus) => void) => () => void
  /** Stops taking part on this node; the others go on, and still count it. */
  readonly close: () => Promise<void>
}
