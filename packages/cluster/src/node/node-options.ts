/** Options of a node: what they are, their defaults, their limits. */
import type { AnyDefinition, SystemOptions } from '@understudy/runtime'
import { checkDeadlineOptions } from '../membership/failure-detector.ts'
import { isLoopback, nodeAddress, parseAddress, type NodeAddress } from '../transport/address.ts'
import { TransportError } from '../transport/transport-error.ts'
import { checkInteger, checkLinkLimits } from '../transport/transport.ts'
import { resolveWireLimits } from '../wire/wire-limits.ts'
import type { HttpHandler } from '../transport/server.ts'
import type { Transport } from '../transport/transport.ts'
import type { EntityKind } from '../entity/entity-region.ts'
import { NodeStartError } from '../remote/cluster-error.ts'

export interface NodeOptions extends SystemOptions {
  /** Unique in the cluster: 1 to 63 of letters, digits, dot, underscore and hyphen, the first a letter or digit. */
  readonly name: string
  /** Where to listen, such as `ws://127.0.0.1:7001`; port 0 takes any free one. Anything but loopback needs a `secret`. */
  readonly listen: string
  /**
   * Where others can dial this node, when that is not where it listens: behind a wildcard, a port mapping, a name.
   * @default the address it listens on
   */
  readonly advertise?: string | undefined
  /** Addresses of other nodes. One's own among them is ignored, so all nodes can have the same list. @default [] */
  readonly seeds?: readonly string[] | undefined
  /** Nodes of another cluster name are refused. 1 to 128 characters. @default 'understudy' */
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
  /** This node's share of the ring, as a multiple of 1; up to 1,000. With 0 it owns nothing and only asks.
   * @default 1, or 0 without `entities`: who registers none must own none */
  readonly weight?: number | undefined
  /** Where it stands: preference lists spread over zones. Up to 128 characters. @default none */
  readonly zone?: string | undefined
  /** How often members hear from each other. @default 500 */
  readonly heartbeatIntervalMs?: number | undefined
  /** A member that is silent for so long is down. Lower finds deaths sooner and accuses slow nodes. @default 2_500 */
  readonly deadlineMs?: number | undefined
  /** For one handshake, 1 to 599,000. @default 5_000 */
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
  readonly advertise: NodeAddress | undefined
  readonly seeds: readonly NodeAddress[]
  readonly entities: readonly EntityKind[]
  readonly weight: number
}

const nodeName = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/

/**
 * Checks what can be checked before anything is opened.
 *
 * @throws {TypeError | RangeError} an option that is out of its range
 * @throws {TransportError} CLUSTER_BAD_ADDRESS
 * @throws {NodeStartError} CLUSTER_NO_SECRET: without a secret only loopback is bound
 */
export function checkNodeOptions(options: NodeOptions): CheckedNodeOptions {
  const cannot = `Cannot start node "${String(options.name)}"`
  if (typeof options.name !== 'string' || !nodeName.test(options.name)) {
    throw new TypeError(
      `${cannot}: "name" must be 1 to 63 of letters, digits, dot, underscore and hyphen, and begin with a letter or digit`,
    )
  }
  if (typeof options.listen !== 'string') {
    throw new TypeError(`${cannot}: "listen" must be an address such as "ws://127.0.0.1:7001"`)
  }
  if (options.seeds !== undefined && !Array.isArray(options.seeds)) {
    throw new TypeError(`${cannot}: "seeds" must be a list of addresses, such as ["ws://127.0.0.1:7001"]`)
  }
  checkText(cannot, 'cluster', options.cluster)
  checkText(cannot, 'zone', options.zone)
  const takesNone = (options.entities ?? []).length === 0
  const weight = options.weight ?? (takesNone ? 0 : nodeDefaults.weight)
  if (!(weight >= 0 && weight <= 1_000)) {
    throw new RangeError(`${cannot}: "weight" must be from 0 to 1000, got ${weight}`)
  }
  if (options.secret !== undefined && options.secret.length < secretCharsMin) {
    throw new RangeError(
      `${cannot}: "secret" must have at least ${secretCharsMin} characters, got ${options.secret.length}`,
    )
  }
  checkDeadlineOptions(options)
  checkInteger(
    'handshakeTimeoutMs',
    options.handshakeTimeoutMs ?? nodeDefaults.handshakeTimeoutMs,
    1,
    599_000,
  )
  checkLinkLimits(options)
  resolveWireLimits({ frameBytesMax: options.frameBytesMax })
  const listen = nodeAddress(options.listen)
  if (options.secret === undefined && !isLoopback(listen)) {
    throw new NodeStartError(
      'CLUSTER_NO_SECRET',
      `${cannot} on "${listen}": without a secret anybody could join, so only loopback ` +
        `addresses are bound; give all nodes the same "secret", or listen on ws://127.0.0.1`,
      { listen },
    )
  }
  const advertise =
    options.advertise === undefined ? undefined : dialAddress(cannot, 'advertise', options.advertise)
  const { host } = parseAddress(listen)
  if (advertise === undefined && (host === '0.0.0.0' || host === '::' || host === '[::]')) {
    throw new TypeError(
      `${cannot} on "${listen}": others cannot dial a wildcard; give "advertise", such as ws://10.0.0.7:7001`,
    )
  }
  return {
    listen,
    advertise,
    seeds: (options.seeds ?? []).map((seed) => dialAddress(cannot, 'seed', seed)),
    entities: checkEntities(cannot, options.entities ?? []),
    weight,
  }
}

const secretCharsMin = 16

function checkText(cannot: string, option: string, value: string | undefined): void {
  if (value === undefined || (value.length > 0 && value.length <= 128)) return
  throw new RangeError(`${cannot}: "${option}" must have 1 to 128 characters, got ${value.length}`)
}

function dialAddress(cannot: string, option: string, given: string): NodeAddress {
  const address = nodeAddress(given)
  if (parseAddress(address).port !== 0) return address
  throw new TransportError(
    'CLUSTER_BAD_ADDRESS',
    `${cannot}: ${option} "${given}" has port 0, where nobody can be dialled; give the port that is listened on`,
  )
}

function checkEntities(
  cannot: string,
  entities: readonly (AnyDefinition | EntityKind)[],
): readonly EntityKind[] {
  for (const entity of entities) {
    const given: unknown = typeof entity === 'object' && 'definition' in entity ? entity.definition : entity
    if (typeof given !== 'object' || given === null || !('body' in given)) {
      throw new TypeError(`${cannot}: "entities" takes definitions, as actor() returns them`)
    }
  }
  const kinds = entities.map((entity) => ('definition' in entity ? entity : { definition: entity }))
  const names = new Set<string>()
  const protocols = new Set<string>()
  for (const { definition } of kinds) {
    const { name, protocol } = definition
    if (!/^[^/#\s]{1,63}$/.test(name)) {
      throw new TypeError(
        `${cannot}: the entity "${name}" must have a name of 1 to 63 characters without "/", "#" and spaces; ` +
          `give actor() another "name"`,
      )
    }
    if (names.has(name)) {
      throw new TypeError(
        `${cannot}: the entity "${name}" is in "entities" twice; leave one out, or give actor() another "name"`,
      )
    }
    if (protocols.has(protocol.name)) {
      throw new TypeError(
        `${cannot}: two entities, the last of them "${name}", have the protocol "${protocol.name}", so entity() could ` +
          `not tell them apart; give each a protocol of its own`,
      )
    }
    names.add(name)
    protocols.add(protocol.name)
  }
  return kinds
}
