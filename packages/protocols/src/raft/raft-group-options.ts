/** Options of a Raft group beside those of its core: waiting, gathering, snapshots, replacing members. */
import { checkOptions } from '@understudy/runtime/internal'
import type { StateMachine } from '../core/state-machine.ts'
import type { LogEntry, MemberId, SnapshotMeta } from './raft-message.ts'
import { checkRaftOptions, type CheckedRaftOptions, type RaftOptions } from './raft-options.ts'
import type { Applied } from './pending-proposals.ts'
import type { RaftEffect, RaftInput, RaftStart, RaftStatus } from './raft-step.ts'

export interface RaftGroupOptions<Result> {
  /** The group's name: the same on all its nodes, another one for each group. Letters, digits, `.`, `_` and `-`. */
  readonly name: string
  /**
   * Names of the nodes that found the group, the same on all of them. A node that is not named opens it too, and takes part
   * once `change` has named it. After the founding the log says who takes part, and this only where to ask.
   */
  readonly members: readonly string[]
  /** A new, empty state machine: called at each start of the member, also when the host restarts. */
  readonly machine: () => StateMachine<Result>
  /** The core's options; all members have the same. `quiesceAfterMs` is 4 election timeouts unless given. */
  readonly raft?: RaftOptions | undefined
  /**
   * A node whose disk was lost comes back as a new member. `automatic`: the leader adds it as a learner and, once it has
   * caught up, puts it in the place of what it was before, in one change. `manual`: that is left to `change`. @default 'automatic'
   */
  readonly replace?: 'automatic' | 'manual' | undefined
  /** How long `propose` waits before it says that the outcome is unknown. At least 1. @default 10_000 */
  readonly proposeTimeoutMs?: number | undefined
  /** How long `read` waits. At least 1. @default 10_000 */
  readonly readTimeoutMs?: number | undefined
  /** How long `change`, `transfer` and `snapshot` wait. At least 1. @default 60_000 */
  readonly changeTimeoutMs?: number | undefined
  /** Proposals, and reads, that may wait on this node; one more is refused with `GroupOverloaded`. @default 16_384 */
  readonly pendingMax?: number | undefined
  /**
   * Bytes of one command; a larger one is a RangeError. What goes to a follower must fit a frame of the transport
   * (`frameBytesMax`, 1 MiB), or the group would stand still behind it. @default 786_432 (768 KiB)
   */
  readonly commandBytesMax?: number | undefined
  /** Commands that go into the log together at most. @default 1_024 */
  readonly batchCommandsMax?: number | undefined
  /** And their bytes; a greater command goes alone. @default 1_048_576 (1 MiB) */
  readonly batchBytesMax?: number | undefined
  /**
   * A snapshot is taken when so many entries were applied since the last one, or bytes (below); but not before the log is
   * half as large as the last snapshot, so that a large state is not written over and over. @default 100_000
   */
  readonly snapshotEntries?: number | undefined
  /** See `snapshotEntries`; an entry counts for its bytes and 64. @default 67_108_864 (64 MiB) */
  readonly snapshotBytes?: number | undefined
  /**
   * Entries kept behind a snapshot, for followers that are a little behind: they need no snapshot. @default 5_000
   */
  readonly keptEntries?: number | undefined
  /** Chunks (of 256 KiB) of a snapshot on their way to one follower and not on its disk. @default 16 */
  readonly snapshotWindowChunks?: number | undefined
  /** A receiver of a snapshot that says nothing for so long is given up, and begun with again later. @default 30_000 */
  readonly snapshotGiveUpMs?: number | undefined
}

/** `RaftGroupOptions` with everything filled in. */
export interface CheckedGroupOptions {
  readonly name: string
  readonly members: readonly string[]
  readonly machine: () => StateMachine<unknown>
  readonly raft: RaftOptions
  readonly figures: CheckedRaftOptions
  readonly replace: 'automatic' | 'manual'
  readonly proposeTimeoutMs: number
  readonly readTimeoutMs: number
  readonly changeTimeoutMs: number
  readonly pendingMax: number
  readonly commandBytesMax: number
  readonly batchCommandsMax: number
  readonly batchBytesMax: number
  readonly snapshotEntries: number
  readonly snapshotBytes: number
  readonly keptEntries: number
  readonly snapshotWindowChunks: number
  readonly snapshotGiveUpMs: number
  readonly observer: RaftObserver | undefined
}

/**
 * Sees what a member does, as it does it: for tests and the simulator's checkers, which want to know more than any member may.
 * Calls come in the turn in which it happens. What it is given belongs to the member.
 */
export interface RaftObserver {
  /** A core begins from what its store holds. */
  readonly started?: ((member: MemberId, start: RaftStart) => void) | undefined
  /** A step is over, and none of its effects carried out. `status` is O(members). */
  readonly stepped?:
    | ((member: MemberId, input: RaftInput, effects: readonly RaftEffect[], status: () => RaftStatus) => void)
    | undefined
  /** An entry is applied, and gave this. */
  readonly applied?: ((member: MemberId, entry: LogEntry, applied: Applied) => void) | undefined
  /** The state became that of a snapshot. */
  readonly restored?: ((member: MemberId, meta: SnapshotMeta) => void) | undefined
  /** The member ended. */
  readonly ended?: ((member: MemberId) => void) | undefined
}

export const raftGroupDefaults = Object.freeze({
  replace: 'automatic',
  proposeTimeoutMs: 10_000,
  readTimeoutMs: 10_000,
  changeTimeoutMs: 60_000,
  pendingMax: 16_384,
  commandBytesMax: 786_432,
  batchCommandsMax: 1_024,
  batchBytesMax: 1_048_576,
  snapshotEntries: 100_000,
  snapshotBytes: 67_108_864,
  keptEntries: 5_000,
  snapshotWindowChunks: 16,
  snapshotGiveUpMs: 30_000,
} as const)

const schema = {
  type: 'object' as const,
  required: ['name', 'members', 'machine'],
  properties: {
    name: { type: 'string', pattern: '^[A-Za-z0-9._-]{1,128}$' },
    members: {
      type: 'array',
      minItems: 1,
      maxItems: 64,
      items: { type: 'string', pattern: '^[^@/]{1,128}$' },
    },
    machine: { 'understudy:function': true },
    raft: { type: 'object' },
    replace: { enum: ['automatic', 'manual'] },
    proposeTimeoutMs: { type: 'number', minimum: 1 },
    readTimeoutMs: { type: 'number', minimum: 1 },
    changeTimeoutMs: { type: 'number', minimum: 1 },
    pendingMax: { type: 'integer', minimum: 1 },
    commandBytesMax: { type: 'integer', minimum: 1 },
    batchCommandsMax: { type: 'integer', minimum: 1 },
    batchBytesMax: { type: 'integer', minimum: 1 },
    snapshotEntries: { type: 'integer', minimum: 1 },
    snapshotBytes: { type: 'integer', minimum: 1 },
    keptEntries: { type: 'integer', minimum: 0 },
    snapshotWindowChunks: { type: 'integer', minimum: 1, maximum: 1_024 },
    snapshotGiveUpMs: { type: 'number', minimum: 1 },
  },
  additionalProperties: false,
}

/** Election timeouts without anything to do after which a group goes quiet. */
const quiesceTimeouts = 4

/**
 * Checks the options and fills in the defaults.
 *
 * @throws {TypeError | RangeError} naming the option, what was given and what is allowed
 */
export function checkGroupOptions<Result>(
  options: RaftGroupOptions<Result>,
  observer?: RaftObserver,
): CheckedGroupOptions {
  checkOptions(`Raft group ${JSON.stringify(options.name)}`, schema, options)
  const members = options.members.toSorted()
  if (new Set(members).size !== members.length) {
    throw new RangeError(
      `Cannot use the options of Raft group "${options.name}": members must name each node once, got ${members.join(', ')}`,
    )
  }
  const { electionTimeoutMs } = checkRaftOptions(options.raft)
  const quiesceAfterMs = options.raft?.quiesceAfterMs ?? quiesceTimeouts * electionTimeoutMs
  const raft = { ...options.raft, quiesceAfterMs }
  const given = Object.entries(options).filter(([, value]) => value !== undefined)
  return {
    ...raftGroupDefaults,
    ...(Object.fromEntries(given) as unknown as RaftGroupOptions<Result>),
    members,
    raft,
    figures: checkRaftOptions(raft),
    observer,
  } as CheckedGroupOptions
}
