/** The public API of the cluster. What is not listed here, or in another entry point, cannot be imported. */
export { entityDefaults, type EntityKind } from './entity/entity-region.ts'
export type { BootstrapSeed, BootstrapStatus } from './membership/bootstrap-core.ts'
export {
  discoveryAddressesMax,
  DiscoveryError,
  type Discovery,
  type DiscoveryErrorCode,
  type DiscoveryPlatform,
} from './membership/discovery.ts'
export {
  dnsDiscovery,
  dnsDiscoveryDefaults,
  type DnsHostOptions,
  type DnsRefreshOptions,
  type DnsServiceOptions,
} from './membership/dns-discovery.ts'
export type { DowningStatus, DownSelfReason } from './membership/downing-core.ts'
export type { DowningLease } from './membership/downing-lease.ts'
export {
  downingBound,
  downingDefaults,
  type DowningBound,
  type DowningOptions,
  type DowningStrategyName,
} from './membership/downing-options.ts'
export {
  fileDiscovery,
  fileDiscoveryDefaults,
  type FileDiscoveryOptions,
} from './membership/file-discovery.ts'
export type { DialReport } from './membership/dial-plan.ts'
export type { LinkPeerReport, LinkStatus } from './membership/link-core.ts'
export type { MeshMode } from './membership/link-step.ts'
export type { MemberFacts, MemberPhase, MemberRecord, RecordKind } from './membership/member-table.ts'
export type { DownReason, MemberReport, MembershipStatus, SuspectReason } from './membership/membership.ts'
export type { DetectionOptions } from './membership/membership-options.ts'
export { staticDiscovery } from './membership/static-discovery.ts'
export type { SwimMemberReport, SwimStatus } from './membership/swim-core.ts'
export {
  swimPresets,
  type SwimDetector,
  type SwimFigures,
  type SwimPreset,
} from './membership/swim-options.ts'
export type { Member, MemberStatus, View } from './membership/view.ts'
export type { ClusterEvents } from './node/cluster-event.ts'
export { startNode, type ClusterNode, type NodeStatus } from './node/cluster-node.ts'
export { nodeDefaults, type NodeOptions } from './node/node-options.ts'
export { murmur3, murmur3Bytes } from './placement/hash.ts'
export { HashRing, type RingMember } from './placement/hash-ring.ts'
export { LinkFull, NodeDown, NodeStartError } from './remote/cluster-error.ts'
export { nodeAddress, type NodeAddress } from './transport/address.ts'
export { admissionDefaults, type AdmissionOptions } from './transport/admission.ts'
export {
  memoryNetwork,
  memoryTransport,
  type MemoryNetwork,
  type MemoryNetworkOptions,
} from './transport/memory.ts'
export {
  webSocketTransport,
  type HttpHandler,
  type WebSocketTransport,
  type WebSocketTransportOptions,
} from './transport/server.ts'
export type { Pem, TlsMaterial, TlsSource } from './transport/tls.ts'
export { TransportError, type TransportErrorCode } from './transport/transport-error.ts'
export type {
  CloseReason,
  DialOptions,
  Link,
  LinkLimits,
  Listener,
  ListenOptions,
  PeerCertificate,
  Refusal,
  SendResult,
  Transport,
} from './transport/transport.ts'
export {
  userSocketDefaults,
  type UserMessage,
  type UserSocket,
  type UserSocketEnd,
  type UserSocketHandler,
  type UserSocketOptions,
} from './transport/user-socket.ts'
export type { PeerFacts } from './wire/handshake-core.ts'
export type { JoinFacts, JoinPolicy } from './wire/join-policy.ts'
export type { RefusalCode } from './wire/refusal.ts'
export type { Secret } from './wire/secret-ring.ts'
