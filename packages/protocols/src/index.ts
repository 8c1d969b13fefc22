/** The public API of the protocols. What is not listed here, or in another entry point, cannot be imported. */
export {
  ConsensusAlreadyOpen,
  GroupAlreadyOpen,
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
export { kvClient, type KvClient, type KvRangeOptions, type KvReadOptions } from './kv/kv-client.ts'
export { kvClientDefaults, type KvCallOptions, type KvClientOptions } from './kv/kv-client-options.ts'
export type {
  KvClientOperation,
  KvClientTransaction,
  KvExpected,
  KvPutOptions,
  KvValue,
} from './kv/kv-client-transaction.ts'
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
export {
  leaderElection,
  type ElectionClient,
  type LeaderElection,
  type LeaderElectionOptions,
  type Leadership,
  type Raisable,
} from './election/leader-election.ts'
export {
  lockDowningLease,
  lockDowningLeaseDefaults,
  type DowningLockClient,
  type LockDowningLeaseOptions,
} from './election/lock-downing-lease.ts'
export type { ElectionEvent, ObserveOptions } from './election/reign-observer.ts'
export {
  startTeachingElection,
  TeachingElection,
  type TeachingElectionMember,
  type TeachingElectionOptions,
} from './election/teaching-election.ts'
export { guard, guardDefaults, type Guarded, type GuardOptions } from './lock/guard.ts'
export { fencedReason, guardActor, type FencedMessage, type GuardActorOptions } from './lock/guard-actor.ts'
export { guardKv, type GuardedKv, type GuardKvOptions } from './lock/guard-kv.ts'
export { storeTokenMemory, type Fence, type TokenMemory } from './lock/guard-memory.ts'
export { guardSqlStatement } from './lock/guard-sql.ts'
export { guardStore, type GuardedStore, type GuardStoreOptions } from './lock/guard-store.ts'
export { lockClient, type LockClient, type LockSessionInfo } from './lock/lock-client.ts'
export type { LockViewOptions } from './lock/lock-port.ts'
export type {
  AcquireOptions,
  AtomicValue,
  Barrier,
  Counter,
  DoubleBarrier,
  EnteredBarrier,
  Held,
  HeldAll,
  HeldSpin,
  HeldWrite,
  Latch,
  Lockable,
  Mutex,
  ReadWriteLock,
  Semaphore,
  SemaphoreOptions,
  SpinLock,
  VersionedValue,
  WaitOptions,
} from './lock/lock.ts'
export type { MutexOptions } from './lock/mutex.ts'
export type { SpinLockOptions } from './lock/spin-lock.ts'
export type { LockKind, LockResult, LockView, Reign } from './lock/lock-command.ts'
export { LockError, type LockErrorCode } from './lock/lock-error.ts'
export {
  openLocks,
  startLockService,
  type LockNode,
  type Locks,
  type OpenLocksOptions,
} from './lock/lock-service.ts'
export { lockServiceDefaults, type LockServiceOptions } from './lock/lock-service-options.ts'
export { lockClientDefaults, type LockClientOptions } from './lock/lock-client-options.ts'
export { lockLimits } from './lock/lock-limit.ts'
export { LockMachine, type LockMachineStatus } from './lock/lock-machine.ts'
export { LockReplica, type LockReplicaListener } from './lock/lock-replica.ts'
export type { ServiceCallOptions, ServiceClientOptions } from './service/client-options.ts'
export type { OpenService, OpenServiceOptions, ServiceNode } from './service/open-service.ts'
