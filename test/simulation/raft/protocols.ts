/** What the scenarios of Raft and of the key-value store need of the protocols below their API: observers, checkers, codecs. */
import { sourceModule } from '../../support/source-module.ts'

type GroupModule = typeof import('../../../packages/protocols/src/raft/raft-group.ts')
type SafetyModule = typeof import('../../../packages/protocols/src/testkit/raft-safety.ts')
type DiskModule = typeof import('../../../packages/protocols/src/testkit/raft-disk.ts')
type RecordModule = typeof import('../../../packages/protocols/src/raft/log-record.ts')
type EntryModule = typeof import('../../../packages/protocols/src/raft/entry-codec.ts')
type ViolationModule = typeof import('../../../packages/protocols/src/raft/raft-violation.ts')

export type RaftObserver = import('../../../packages/protocols/src/raft/raft-group-options.ts').RaftObserver
export type RaftGroupOptions<R> =
  import('../../../packages/protocols/src/raft/raft-group-options.ts').RaftGroupOptions<R>
export type RaftGroup<R> = import('../../../packages/protocols/src/raft/raft-group.ts').RaftGroup<R>
export type Consensus = import('../../../packages/protocols/src/host/consensus-host.ts').Consensus
export type RaftInput = import('../../../packages/protocols/src/raft/raft-step.ts').RaftInput
export type RaftEffect = import('../../../packages/protocols/src/raft/raft-step.ts').RaftEffect
export type RaftStart = import('../../../packages/protocols/src/raft/raft-step.ts').RaftStart
export type RaftStatus = import('../../../packages/protocols/src/raft/raft-step.ts').RaftStatus
export type HardState = import('../../../packages/protocols/src/raft/raft-message.ts').HardState
export type LogEntry = import('../../../packages/protocols/src/raft/raft-message.ts').LogEntry
export type MemberId = import('../../../packages/protocols/src/raft/raft-message.ts').MemberId
export type RaftMessage = import('../../../packages/protocols/src/raft/raft-message.ts').RaftMessage
export type SnapshotMeta = import('../../../packages/protocols/src/raft/raft-message.ts').SnapshotMeta
export type RaftConfiguration =
  import('../../../packages/protocols/src/raft/raft-message.ts').RaftConfiguration
export type Applied = import('../../../packages/protocols/src/raft/pending-proposals.ts').Applied
export type StateMachine<R> = import('../../../packages/protocols/src/core/state-machine.ts').StateMachine<R>
export type AppliedCommand = import('../../../packages/protocols/src/core/state-machine.ts').AppliedCommand
export type LogImage = import('../../../packages/protocols/src/testkit/raft-disk.ts').LogImage
export type RaftDisk = import('../../../packages/protocols/src/testkit/raft-disk.ts').RaftDisk
export type RaftSafety = import('../../../packages/protocols/src/testkit/raft-safety.ts').RaftSafety

export const { openObservedRaftGroup } = await sourceModule<GroupModule>('protocols', 'raft/raft-group')
export const { RaftSafety: RaftSafetyChecker, SafetyViolation } = await sourceModule<SafetyModule>(
  'protocols',
  'testkit/raft-safety',
)
export const { LogImage: NewLogImage, RaftDisk: NewRaftDisk } = await sourceModule<DiskModule>(
  'protocols',
  'testkit/raft-disk',
)
export const { decodeHard, decodeSnapshot, hardKey, snapshotKey } = await sourceModule<RecordModule>(
  'protocols',
  'raft/log-record',
)
export const { decodeCommand, decodeEntries } = await sourceModule<EntryModule>(
  'protocols',
  'raft/entry-codec',
)
export const { RaftViolation } = await sourceModule<ViolationModule>('protocols', 'raft/raft-violation')
