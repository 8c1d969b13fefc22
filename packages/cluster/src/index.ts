/** The public API of the cluster. What is not listed here, or in another entry point, cannot be imported. */
export { entityDefaults, type EntityKind } from './entity/entity-region.ts'
export type { DownReason, MembershipStatus, SuspectReason } from './membership/membership.ts'
export type { Member, MemberStatus, View } from './membership/view.ts'
export { startNode, type ClusterEvents, type ClusterNode, type NodeStatus } from './node/cluster-node.ts'
export { nodeDefaults, type NodeOptions } from './node/node-options.ts'
export { murmur3, murmur3Bytes } from './placement/hash.ts'
export { HashRing, type RingMember } from './placement/hash-ring.ts'
export { LinkFull, NodeDown, NodeStartError } from './remote/cluster-error.ts'
export { nodeAddress, type NodeAddress } from './transport/address.ts'
export {
  memoryNetwork,
  memoryTransport,
  type MemoryNetwork,
  type MemoryNetworkOptions,
} from './transport/memory.ts'
export { webSocketTransport, type HttpHandler, type WebSocketTransportOptions } from './transport/server.ts'
export { TransportError, type TransportErrorCode } from './transport/transport-error.ts'
export type {
  CloseReason,
  DialOptions,
  Link,
  LinkLimits,
  Listener,
  ListenOptions,
  Refusal,
  SendResult,
  Transport,
} from './transport/transport.ts'
export type { RefusalCode } from './wire/refusal.ts'
