/** Entry point `@understudy/runtime/checkers`: histories and what judges them. Pure: usable on any history. */
export {
  checkBank,
  type BankFault,
  type BankInput,
  type BankOptions,
  type BankOutput,
  type BankVerdict,
} from './bank.ts'
export { counterModel, type CounterInput, type CounterOutput } from './counter-model.ts'
export { cyclePicture, type CyclePictureOptions } from './cycle-picture.ts'
export type { LinearizabilityViolation } from './explanation.ts'
export { HistoryRecorder, type Op, type OpenOp } from './history.ts'
export {
  forbiddenFrom,
  isolationLevels,
  type Dependency,
  type DependencyKind,
  type IsolationAnomaly,
  type IsolationAnomalyType,
  type IsolationLevel,
} from './isolation-level.ts'
export { kvModel, type KvModelOptions } from './kv-model.ts'
export type { KvInput, KvOutput, KvState, KvValue } from './kv-state.ts'
export {
  checkLinearizable,
  linearizabilityDefaults,
  type LinearizabilityOptions,
  type LinearizabilityVerdict,
} from './linearizability.ts'
export {
  checkListAppend,
  listAppendDefaults,
  type ListAppendOptions,
  type ListAppendVerdict,
} from './list-append.ts'
export type { ListOperation, ListOutcome, ListTransaction, ListTransactionOp } from './list-transaction.ts'
export {
  lockModel,
  type LockInput,
  type LockModelOptions,
  type LockOutput,
  type LockState,
} from './lock-model.ts'
export { partitionBy, type Foresight, type Model, type ModelState, type Value } from './model.ts'
export { queueModel } from './queue-model.ts'
export type { QueueInput, QueueOutput, QueueState } from './queue-state.ts'
export {
  casRegisterModel,
  registerModel,
  type CasRegisterInput,
  type CasRegisterOutput,
  type RegisterInput,
  type RegisterOutput,
  type RegisterState,
} from './register-model.ts'
export {
  checkSetFull,
  type Latencies,
  type SetFullFault,
  type SetFullInput,
  type SetFullOptions,
  type SetFullOutput,
  type SetFullVerdict,
} from './set-full.ts'
export { setModel, type SetInput, type SetOutput, type SetState } from './set-model.ts'
export { timelinePicture, type TimelinePictureOptions } from './timeline-picture.ts'
export {
  checkTotalQueue,
  type TotalQueueFault,
  type TotalQueueInput,
  type TotalQueueOptions,
  type TotalQueueOutput,
  type TotalQueueVerdict,
} from './total-queue.ts'
export {
  checkWatches,
  type ReceivedEvent,
  type WatchFault,
  type WatchGuarantee,
  type WatchOptions,
  type WatchRecord,
  type WatchRequest,
  type WatchResponse,
  type WatchVerdict,
} from './watch-guarantees.ts'
export type { LoggedEvent, LoggedRevision, WatchedValue } from './watch-log.ts'
