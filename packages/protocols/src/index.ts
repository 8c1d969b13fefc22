/** The public API of the protocols. What is not listed here, or in another entry point, cannot be imported. */
export {
  GroupClosed,
  GroupOverloaded,
  NotLeader,
  OutcomeUnknown,
  SessionExpired,
  type ConsensusErrorCode,
} from './core/consensus-error.ts'
export type {
  ConsensusGroup,
  GroupMember,
  GroupStatus,
  ProposeOptions,
  ReadConsistency,
  ReadOptions,
  SessionStamp,
} from './core/consensus-group.ts'
export { sessionTtlMs } from './core/session-table.ts'
export type { AppliedCommand, StateMachine } from './core/state-machine.ts'
export {
  openConsensus,
  type Consensus,
  type ConsensusOptions,
  type ConsensusStatus,
  type OpenGroup,
} from './host/consensus-host.ts'
export { FoundingRefused } from './host/founding-error.ts'
export type { OpenMember } from './host/hosted-member.ts'
export {
  kvClient,
  type KvClient,
  type KvClientOperation,
  type KvClientTransaction,
  type KvExpected,
  type KvPutOptions,
  type KvRangeOptions,
  type KvReadOptions,
  type KvValue,
} from './kv/kv-client.ts'
export { kvClientDefaults, type KvCallOptions, type KvClientOptions } from './kv/kv-client-options.ts'
export type {
  KvCommand,
  KvCompare,
  KvDelete,
  KvDeleteResult,
  KvEntry,
  KvEvent,
  KvGet,
  KvGetResult,
  KvOperation,
  KvOperationResult,
  KvPut,
  KvPutResult,
  KvRange,
  KvRefusal,
  KvResult,
  KvTransaction,
  KvTransactionResult,
} from './kv/kv-command.ts'
export { endOfPrefix, type KvKeys } from './kv/kv-key.ts'
export { KvError, type KvErrorCode } from './kv/kv-error.ts'
export type { KvLease } from './kv/kv-lease.ts'
export { kvLimits } from './kv/kv-limit.ts'
export { KvMachine, type KvMachineStatus } from './kv/kv-machine.ts'
export { KvReplica } from './kv/kv-replica.ts'
export { openKv, startKvService, type Kv, type KvNode, type OpenKvOptions } from './kv/kv-service.ts'
export { kvServiceDefaults, type KvServiceOptions } from './kv/kv-service-options.ts'
export type { KvBatch, KvWatch, KvWatchOptions } from './kv/kv-watch-client.ts'
export { openRaftGroup, type CallOptions, type ChangeOptions, type RaftGroup } from './raft/raft-group.ts'
export { ChangeRefused, TransferFailed, type RaftGroupErrorCode } from './raft/raft-group-error.ts'
export { raftGroupDefaults, type RaftGroupOptions } from './raft/raft-group-options.ts'
export { raftPresets, type RaftFigures, type RaftOptions, type RaftPreset } from './raft/raft-options.ts'
export type { ProgressReport, RaftRole, RaftStatus } from './raft/raft-step.ts'
