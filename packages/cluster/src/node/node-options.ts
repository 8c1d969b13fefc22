/** Options of a node: what they are, their defaults, their limits. */
import type { AnyDefinition, SystemOptions } from '@understudy/runtime'
import { isLoopback, nodeAddress, type NodeAddress } from '../transport/address.ts'
import { isNodeName } from '../wire/handshake-message.ts'
import type { HttpHandler } from '../transport/server.ts'
import type { Transport } from '../transport/transport.ts'
import type { EntityKind } from '../entity/entity-region.ts'
import { NodeStartError } from '../remote/cluster-error.ts'

export interface NodeOptions extends SystemOptions {
  /** Unique in the cluster: 1 to 63 of letters, digits, dot, underscore and hyphen. */
  readonly name: string
  /** Where to listen, such as `ws://127.0.0.1:7001`; port 0 takes any free one. Anything but loopback needs a `secret`. */
  readonly listen: string
  /** Addresses of other nodes. One's own among them is ignored, so all nodes can have the same list. @default [] */
  readonly seeds?: readonly string[] | undefined
  /** Nodes of another cluster name are refused. @default 'understudy' */
  readonly cluster?: string | undefined
  /** Shared by all nodes; whoever cannot prove to have it is refused. @default none: loopback only */
  readonly secret?: string | undefined
  /** Where state is kept: 'memory', or a directory for the platform's durable store. @default 'memory' */
  readonly data?: 'memory' | (string & {}) | undefined
  /** The static tree of /user. @default an empty supervisor */
  readonly root?: AnyDefinition | undefined
  /** Definitions whose actors are found by key: `node.entity(Protocol, key)`. @default [] */
  readonly entities?: readonly (AnyDefinition | EntityKind)[] | undefined
  /** Other definitions whose protocols this node understands. @default [] */
  readonly actors?: readonly AnyDefinition[] | undefined
  /** @default WebSockets */
  readonly transport?: Transport | undefined
  /** Serves HTTP requests on the node's port. @default 404 */
  readonly http?: HttpHandler | undefined
  /** This node's share of the ring, as a multiple of 1; up to 1,000. With 0 it owns nothing and only asks. @default 1 */
  readonly weight?: number | undefined
  /** Where it stands: preference lists spread over zones. @default none */
  readonly zone?: string | undefined
  /** How often members hear from each other. @default 500 */
  readonly heartbeatIntervalMs?: number | undefined
  /** A member that is silent for so long is down. Lower finds deaths sooner and accuses slow nodes. @default 2_500 */
  readonly deadlineMs?: number | undefined
  /** For one handshake. @default 5_000 */
  readonly handshakeTimeoutMs?: number | undefined
  /** Largest frame, both ways; the same on all nodes. @default 1_048_576 */
  readonly frameBytesMax?: number | undefined
  /** Bytes that may wait for one peer before sends to it are refused. @default 16_777_216 */
  readonly outboundBytesMax?: number | undefined
}

export const nodeDefaults = Object.freeze({
  cluster: 'understudy',
  weight: 1,
  heartbeatIntervalMs: 500,
  deadlineMs: 2_500,
  handshakeTimeoutMs: 5_000,
  frameBytesMax: 1_048_576,
  outboundBytesMax: 16_777_216,
})

export interface CheckedNodeOptions {
  readonly listen: NodeAddress
  readonly seeds: readonly NodeAddress[]
  readonly entities: readonly EntityKind[]
}

/**
 * Checks what can be checked before anything is opened.
 *
 * @throws {TypeError | RangeError | NodeStartError} CLUSTER_NO_SECRET: without a secret only loopback is bound
 */
export function checkNodeOptions(options: NodeOptions): CheckedNodeOptions {
  if (typeof options.name !== 'string' || !isNodeName(options.name) || options.name.length > 63) {
    throw new TypeError(
      `Cannot start node "${String(options.name)}": "name" must be 1 to 63 of letters, digits, dot, underscore and hyphen`,
    )
  }
  const weight = options.weight ?? nodeDefaults.weight
  if (!(weight >= 0 && weight <= 1_000)) {
    throw new RangeError(`Cannot start node "${options.name}": "weight" must be from 0 to 1000, got ${weight}`)
  }
  if (options.secret !== undefined && options.secret.length < 16) {
    throw new RangeError(
      `Cannot start node "${options.name}": "secret" must have at least 16 characters, got ${options.secret.length}`,
    )
  }
  const listen = nodeAddress(options.listen)
  if (options.secret === undefined && !isLoopback(listen)) {
    throw new NodeStartError(
      'CLUSTER_NO_SECRET',
      `Cannot start node "${options.name}" on "${listen}": without a secret anybody could join, so only loopback ` +
        `addresses are bound; give all nodes the same "secret", or listen on ws://127.0.0.1`,
      { listen },
    )
  }
  return {
    listen,
    seeds: (options.seeds ?? []).map((seed) => nodeAddress(seed)),
    entities: (options.entities ?? []).map((entity) => ('definition' in entity ? entity : { definition: entity })),
  }
}

