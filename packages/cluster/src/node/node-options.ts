/** Options of a node: what they are, their defaults, their limits. */
import { seededRandom, type AnyDefinition, type SystemOptions } from '@understudy/runtime'
import { describeGiven } from '@understudy/runtime/internal'
import type { Discovery } from '../membership/discovery.ts'
import type { DowningLease } from '../membership/downing-lease.ts'
import type { DowningOptions } from '../membership/downing-options.ts'
import { MembershipCore } from '../membership/membership-core.ts'
import type { DetectionOptions } from '../membership/membership-options.ts'
import { entityKindsMax } from '../membership/swim-message.ts'
import type { SwimPreset } from '../membership/swim-options.ts'
import { Admission, type AdmissionOptions } from '../transport/admission.ts'
import { isLoopback, nodeAddress, parseAddress, type NodeAddress } from '../transport/address.ts'
import { TransportError } from '../transport/transport-error.ts'
import { checkInteger, checkLinkLimits } from '../transport/transport.ts'
import { resolveWireLimits } from '../wire/wire-limits.ts'
import { joinJudge, type JoinPolicy } from '../wire/join-policy.ts'
import { secretRing, type Secret, type SecretRing } from '../wire/secret-ring.ts'
import type { HttpHandler } from '../transport/server.ts'
import type { TlsSource } from '../transport/tls.ts'
import {
  checkUserSocketOptions,
  type UserSocketHandler,
  type UserSocketOptions,
} from '../transport/user-socket.ts'
import type { Transport } from '../transport/transport.ts'
import type { EntityKind } from '../entity/entity-region.ts'
import { NodeStartError } from '../remote/cluster-error.ts'
import { checkOptionNames } from './option-names.ts'

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
  /** How else addresses of other nodes are found; `seeds` are dialled besides. @default none */
  readonly discovery?: Discovery | readonly Discovery[] | undefined
  /**
   * Shared by all nodes; whoever cannot prove to have it is refused. With `{ use, accept }` proofs are made with one and
   * several are accepted: how a secret is changed while the cluster runs (docs/guides/security.md). At least 16 characters.
   * @default none: loopback only, unless `tls` demands certificates of both sides
   */
  readonly secret?: Secret | undefined
  /** Links over TLS: `listen` and `seeds` are `wss://` then. A function is asked again by `node.reloadTls()`. @default none */
  readonly tls?: TlsSource | undefined
  /** Who may join, besides having the secret: names, addresses, or a check of one's own. @default anybody who has it */
  readonly admit?: JoinPolicy | undefined
  /** Limits on strangers: connections by address, their rate, address ranges. @default see `AdmissionOptions` */
  readonly admission?: AdmissionOptions | undefined
  /** Where state is kept: 'memory', or a directory for the platform's durable store. @default 'memory' */
  readonly data?: 'memory' | (string & {}) | undefined
  /** The static tree of /user. @default an empty supervisor */
  readonly root?: AnyDefinition | undefined
  /**
   * Definitions whose actors are found by key: `node.entity(Protocol, key)`; at most 64. Keys of a kind are divided among the
   * nodes that have it here. @default []
   */
  readonly entities?: readonly (AnyDefinition | EntityKind)[] | undefined
  /** Other definitions whose protocols this node understands. @default [] */
  readonly actors?: readonly AnyDefinition[] | undefined
  /** @default WebSockets */
  readonly transport?: Transport | undefined
  /** Serves HTTP requests on the node's port. @default 404 */
  readonly http?: HttpHandler | undefined
  /** Serves users' WebSockets on the node's port, on any path but the nodes' own. @default 404 */
  readonly webSocket?: UserSocketHandler | UserSocketOptions | undefined
  /** This node's share of the ring, as a multiple of 1; up to 1,000. With 0 it owns nothing and only asks.
   * @default 1, or 0 without `entities`: who registers none must own none */
  readonly weight?: number | undefined
  /** Where it stands: preference lists spread over zones. Up to 128 characters. @default none */
  readonly zone?: string | undefined
  /** What this node is for, for others to choose by: up to 16 of 1 to 64 characters. @default [] */
  readonly roles?: readonly string[] | undefined
  /** The version of the application here, up to 64 characters; others see it in `members()`. @default '' */
  readonly version?: string | undefined
  /**
   * How fast and how patient the failure detection is: `local` (all nodes on one machine), `lan`, `wan`; or single figures
   * on top of one of them. @default 'local' when it listens on loopback, else 'lan'
   */
  readonly membership?: SwimPreset | DetectionOptions | undefined
  /** Who stays when the cluster falls apart. @default { strategy: 'keep-majority' } */
  readonly downing?: DowningOptions | undefined
  /** Who decides with `downing: { strategy: 'lease' }`. @default none: every side then loses, as the log says */
  readonly downingLease?: DowningLease | undefined
  /**
   * How many nodes must have met, this one included, before a cluster is founded. More than half of those that will ever
   * start makes certain that only one is, whatever the network does meanwhile. @default 1
   */
  readonly expect?: number | undefined
  /**
   * When this node has been given up by the others, or its side of a split lost: `rejoin` ends its actors and comes back as
   * a new incarnation, `exit` shuts it down with exit code 1. @default 'rejoin'
   */
  readonly onRemoved?: 'rejoin' | 'exit' | undefined
  /** Definitions that other nodes may start here with `node.spawn`. Nothing else of this node can be started. @default [] */
  readonly spawnable?: readonly AnyDefinition[] | undefined
  /**
   * How long `shutdown` may take to hand its work over before it goes all the same, in milliseconds; and how long an entity whose
   * key has come to this node waits for the node that still runs it: 0 waits for nobody. Raise it above the time that entities
   * take to end (`shutdownMs` of their kind); a node that hangs delays its entities' successors so much longer. @default 10_000
   */
  readonly drainMs?: number | undefined
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
  expect: 1,
  drainMs: 10_000,
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
  readonly roles: readonly string[]
  readonly secrets: SecretRing | undefined
  readonly authenticationRequired: boolean
  /** For the failure detection, when none was given. */
  readonly preset: SwimPreset
}

const nodeName = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/

function givenName(options: unknown): unknown {
  return typeof options === 'object' && options !== null && 'name' in options ? options.name : undefined
}

/**
 * Checks what can be checked before anything is opened.
 *
 * @throws {TypeError | RangeError} an option that is out of its range, or that there is not
 * @throws {TransportError} CLUSTER_BAD_ADDRESS
 * @throws {NodeStartError} CLUSTER_NO_SECRET: without a secret only loopback is bound
 */
export function checkNodeOptions(options: NodeOptions): CheckedNodeOptions {
  const name = givenName(options)
  const cannot =
    typeof name === 'string' && nodeName.test(name) ? `Cannot start node "${name}"` : 'Cannot start a node'
  checkOptionNames(cannot, options)
  if (typeof name !== 'string' || !nodeName.test(name)) {
    throw new TypeError(
      `${cannot}: "name" must be 1 to 63 of letters, digits, dot, underscore and hyphen, and begin with a letter or ` +
        `digit; got ${describeGiven(name)}`,
    )
  }
  if (options.listen === undefined) {
    throw new TypeError(`${cannot}: "listen" must be an address such as "ws://127.0.0.1:7001"; it is missing`)
  }
  checkText(cannot, 'cluster', options.cluster)
  checkText(cannot, 'zone', options.zone)
  const takesNone = (options.entities ?? []).length === 0
  const weight = options.weight ?? (takesNone ? 0 : nodeDefaults.weight)
  if (!(weight >= 0 && weight <= 1_000)) {
    throw new RangeError(`${cannot}: "weight" must be from 0 to 1000, got ${weight}`)
  }
  const { secret } = options
  const secrets = secret === undefined ? undefined : said(cannot, () => secretRing(secret))
  const roles = checkRoles(cannot, options.roles ?? [])
  if (options.version !== undefined && options.version.length > 64) {
    throw new RangeError(
      `${cannot}: "version" must have at most 64 characters, got ${options.version.length}`,
    )
  }
  if (options.drainMs !== undefined && !(options.drainMs >= 0)) {
    throw new RangeError(`${cannot}: "drainMs" must be 0 or more milliseconds, got ${options.drainMs}`)
  }
  said(cannot, () => checkLimits(options))
  const listen = addressOf(cannot, 'listen', options.listen)
  if (secrets === undefined && options.tls === undefined && !isLoopback(listen)) {
    throw new NodeStartError(
      'CLUSTER_NO_SECRET',
      `${cannot} on "${listen}": without a secret anybody could join, so only loopback ` +
        `addresses are bound; give all nodes the same "secret" (or "tls" with certificates on both sides), or listen on ` +
        `ws://127.0.0.1`,
      { listen },
    )
  }
  checkCertificates(cannot, options, listen)
  checkSpawnable(cannot, options.spawnable ?? [])
  const preset = isLoopback(listen) ? 'local' : 'lan'
  checkMembership(cannot, options, listen, preset)
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
    seeds: (options.seeds ?? []).map((seed) => dialAddress(cannot, 'seeds', seed)),
    entities: checkEntities(cannot, options.entities ?? []),
    weight,
    roles,
    secrets,
    authenticationRequired: !isLoopback(listen),
    preset,
  }
}

/** Checks what only the membership can judge, by making one: what is wrong is found before anything is opened. */
function checkMembership(
  cannot: string,
  options: NodeOptions,
  address: NodeAddress,
  preset: SwimPreset,
): void {
  const { membership = preset, downing, expect } = options
  const self = { name: options.name, incarnation: 1, address, weight: 1, roles: [], version: '' }
  said(cannot, () => {
    void new MembershipCore({ self, random: seededRandom(1), detection: membership, downing, expect })
  })
}

/** Limits that their users judge: here they do so before anything is opened. */
function checkLimits(options: NodeOptions): void {
  const { admit, admission, webSocket, frameBytesMax, transport } = options
  if (admit !== undefined) joinJudge(admit)
  // Only its check counts, which asks for no settings but whether hosts may have names.
  if (admission !== undefined) {
    void new Admission(admission, { agedMs: 1, silentMax: 1, hasNames: transport !== undefined })
  }
  if (webSocket !== undefined) checkUserSocketOptions(webSocket)
  const handshakeTimeoutMs = options.handshakeTimeoutMs ?? nodeDefaults.handshakeTimeoutMs
  checkInteger('handshakeTimeoutMs', handshakeTimeoutMs, 1, 599_000)
  checkLinkLimits(options)
  resolveWireLimits({ frameBytesMax })
}

/** Who must have a certificate that nobody is asked for is let in by nobody, and lets nobody in. */
function checkCertificates(
  cannot: string,
  { admit, tls, transport }: NodeOptions,
  listen: NodeAddress,
): void {
  // Another transport may have certificates of its own.
  if (admit?.nameFromCertificate !== true || transport !== undefined) return
  const isAsked =
    parseAddress(listen).isSecure &&
    // What a function returns is known when it is asked.
    (typeof tls === 'function' || (tls?.ca !== undefined && tls.requirePeerCertificate !== false))
  if (isAsked) return
  throw new TypeError(
    `${cannot} on "${listen}": "admit.nameFromCertificate" lets nobody in where nodes show no certificates; give "tls" with ` +
      `"cert", "key" and "ca" and listen on wss://, or leave it out`,
  )
}

/** What is wrong with an option, with the node that it was given to. */
function said<T>(cannot: string, check: () => T): T {
  try {
    return check()
  } catch (error) {
    if (error instanceof TransportError) {
      throw new TransportError(error.code, `${cannot}: ${error.message}`, { cause: error })
    }
    const message = `${cannot}: ${error instanceof Error ? error.message : String(error)}`
    throw error instanceof TypeError
      ? new TypeError(message, { cause: error })
      : new RangeError(message, { cause: error })
  }
}

function checkRoles(cannot: string, roles: readonly string[]): readonly string[] {
  if (roles.length > 16) {
    throw new RangeError(`${cannot}: "roles" must be a list of at most 16 texts, got ${roles.length}`)
  }
  for (const role of roles) {
    if (role.length >= 1 && role.length <= 64) continue
    throw new RangeError(
      `${cannot}: each of "roles" must have 1 to 64 characters, got one of ${role.length}: ${describeGiven(role)}`,
    )
  }
  return Object.freeze([...roles])
}

function checkText(cannot: string, option: string, value: string | undefined): void {
  if (value === undefined || (value.length > 0 && value.length <= 128)) return
  throw new RangeError(`${cannot}: "${option}" must have 1 to 128 characters, got ${value.length}`)
}

function addressOf(cannot: string, option: string, given: string): NodeAddress {
  return said(`${cannot}: "${option}"`, () => nodeAddress(given))
}

function dialAddress(cannot: string, option: string, given: string): NodeAddress {
  const address = addressOf(cannot, option, given)
  if (parseAddress(address).port !== 0) return address
  throw new TransportError(
    'CLUSTER_BAD_ADDRESS',
    `${cannot}: "${option}" names "${given}", with port 0, where nobody can be dialled; give the port that is listened on`,
  )
}

/** Others name them, so each name must mean one. */
function checkSpawnable(cannot: string, spawnable: readonly AnyDefinition[]): void {
  const names = new Set<string>()
  for (const definition of spawnable) {
    if (names.has(definition.name)) {
      throw new TypeError(
        `${cannot}: two of "spawnable" are named "${definition.name}"; leave one out, or give actor() another "name"`,
      )
    }
    names.add(definition.name)
  }
}

function checkEntities(
  cannot: string,
  entities: readonly (AnyDefinition | EntityKind)[],
): readonly EntityKind[] {
  for (const entity of entities) {
    const given: unknown =
      typeof entity === 'object' && entity !== null && 'definition' in entity ? entity.definition : entity
    if (typeof given !== 'object' || given === null || !('body' in given)) {
      throw new TypeError(
        `${cannot}: "entities" takes definitions, as actor() returns them, or { definition, options }; ` +
          `got ${describeGiven(given)}`,
      )
    }
  }
  const kinds = entities.map((entity) => ('definition' in entity ? entity : { definition: entity }))
  if (kinds.length > entityKindsMax) {
    throw new RangeError(
      `${cannot}: "entities" takes at most ${entityKindsMax} definitions, got ${kinds.length}`,
    )
  }
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
