/** The public API of the runtime. What is not listed here, or in another entry point, cannot be imported. */
export {
  Aborted,
  ActorCrashed,
  ActorError,
  ActorStopped,
  AskTimeout,
  CallCycleError,
  Expired,
  HandlerTimeout,
  InvalidMessage,
  isActorError,
  Linked,
  MailboxFull,
  NoSuchActor,
  Rejected,
  reject,
  RestartLimitExceeded,
  Restarted,
  StartFailed,
  UnknownMessage,
  type Rejection,
  type RuntimeErrorCode,
} from './actor/actor-error.ts'
export {
  actor,
  type ActorOptions,
  type AnyDefinition,
  type ChildSpec,
  type Definition,
  type HandlerResult,
  type Handlers,
  type MailboxOptions,
  type OverflowPolicy,
  type Setup,
} from './actor/behaviour.ts'
export type {
  Backoff,
  ChildOptions,
  Decision,
  ErrorRule,
  Intensity,
  RestartType,
  Strategy,
  SupervisionOptions,
} from './actor/child-spec.ts'
export type {
  ActorContext,
  CurrentCall,
  DeferHook,
  Later,
  LaterReply,
  SelfMessage,
  Stashed,
} from './actor/context.ts'
export type { DeadLetterReason } from './actor/dead-letter.ts'
export type { StopMode } from './actor/family.ts'
export type { Isolation } from './actor/isolation.ts'
export {
  ask,
  protocol,
  refOf,
  tell,
  type AnyMessage,
  type Ask,
  type AskKeys,
  type Lane,
  type MessageDefs,
  type MessageOf,
  type MessageOptions,
  type MessagesOf,
  type PayloadOf,
  type Protocol,
  type ReplyOf,
  type Tell,
  type TellKeys,
  type TellMessage,
  type Delivery,
  type ProtocolOptions,
} from './actor/protocol.ts'
export {
  client,
  type ActorRef,
  type AnyActorRef,
  type AskOptions,
  type Client,
  type RoomOptions,
} from './actor/ref.ts'
export { service, type ServiceBinding, type ServiceKey } from './actor/service.ts'
export type { Timers } from './actor/timers.ts'
export type { EndReason } from './actor/watch.ts'
export { metricCatalogue, type MetricDeclaration, type MetricName } from './observability/metric-catalogue.ts'
export {
  memoryMetrics,
  noMetrics,
  type Counter,
  type Gauge,
  type Histogram,
  type Labels,
  type MemoryMetrics,
  type Metrics,
} from './observability/metrics.ts'
export {
  DnsError,
  nodeDns,
  nodeDnsDefaults,
  type Dns,
  type DnsAddress,
  type DnsErrorCode,
  type DnsService,
  type NodeDnsOptions,
} from './platform/dns.ts'
export {
  FileError,
  nodeFiles,
  nodeFilesDefaults,
  type FileErrorCode,
  type Files,
  type NodeFilesOptions,
} from './platform/files.ts'
export { fileStore, fileStoreDefaults, type FileStoreOptions } from './platform/level-store.ts'
export { pinoLogger, silentLogger, wrapPino, type Logger, type LogLevel } from './platform/log.ts'
export { memoryStore, type MemoryStoreOptions } from './platform/memory-store.ts'
export { nodePlatform, type NodePlatformOptions } from './platform/node-platform.ts'
export type { Clock, Host, Platform, Random, Scheduler, Timer } from './platform/platform.ts'
export { seededRandom } from './platform/random.ts'
export { backupStore, type BackupOptions, type BackupProgress } from './platform/store-backup.ts'
export { StoreError, type StoreErrorCode } from './platform/store-error.ts'
export { segmentStore, segmentStoreDefaults, type SegmentStoreOptions } from './platform/segment-store.ts'
export { storeId, storeIdKey } from './platform/store-id.ts'
export type { Store, StoreChange, StoreEntry, StoreRange, StoreShape } from './platform/store.ts'
export { pool, poolSizeMax, type PoolOptions, type PoolStrategy } from './routing/pool.ts'
export { reliableConsumer } from './routing/reliable-consumer.ts'
export {
  DeliveryFull,
  DeliveryLost,
  DeliveryParked,
  NoConsumer,
  type ReliableErrorCode,
} from './routing/reliable-error.ts'
export {
  consumerDefaults,
  producerDefaults,
  type ConsumerOptions,
  type ProducerOptions,
} from './routing/reliable-options.ts'
export {
  reliableProducer,
  type ProducerOwner,
  type ProducerStatus,
  type ReliableProducer,
  type SendOptions,
} from './routing/reliable-producer.ts'
export {
  reliable,
  type ConsumerCounters,
  type ParkedMessage,
  type ReliableMessages,
} from './routing/reliable-protocol.ts'
export { child, supervisor, Supervision, type SupervisorOptions } from './supervision/child.ts'
export {
  createSystem,
  systemDefaults,
  type ActorStatus,
  type ActorSystem,
  type SystemOptions,
  type SystemStatus,
} from './system/actor-system.ts'
export {
  shutdownPhases,
  type CoordinatedShutdown,
  type ShutdownPhase,
  type ShutdownReport,
} from './system/coordinated-shutdown.ts'
export type { EventStream, SystemEvents } from './system/event-stream.ts'
export type { DeadLetter } from './system/incident-log.ts'
export type { Registry } from './system/registry.ts'
