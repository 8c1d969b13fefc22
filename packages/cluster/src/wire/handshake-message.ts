/**
 * The messages of the handshake as they arrive: unknown values until they are read here. Nobody has shown
 * anything yet when these are parsed, so every field has a size and a form.
 */
import { encode } from '@understudy/runtime/codec'

import { laneOrder } from './envelope-tag.ts'
import { refusalCodes } from './refusal.ts'
import type { Refusal, RefusalCode } from './refusal.ts'
import type { LaneName } from './wire-protocol.ts'
import { lanesSince } from './wire-version.ts'

/** How a node is authenticated: not at all, by proof of a secret, or by the certificates of the transport. */
export type AuthenticatedBy = 'none' | 'secret' | 'tls'
/** Whether a node takes part in full, or has yet to be let in by all. */
export type HelloPhase = 'joining' | 'alive'

/** Who a node is and what it offers; both sides send one. */
export interface Hello {
  readonly type: 'hello'
  /** Lowest and highest wire protocol version that it speaks. */
  readonly versionMin: number
  readonly versionMax: number
  readonly cluster: string
  readonly node: string
  readonly incarnation: number
  /** Where it can be dialled. */
  readonly address: string
  readonly features: readonly string[]
  /** 32 bytes that nobody could guess, fresh for every handshake. */
  readonly nonce: Uint8Array
  /** Whether it proves a secret. */
  readonly authenticated: boolean
  /** Its share of the ring, as a multiple of 1. @default 1 */
  readonly weight?: number | undefined
  /** Where it stands, for placement. @default none */
  readonly zone?: string | undefined
  // What follows is of version 2: not signed at version 1, and not believed there.
  /** What the link is for: the initiator says it, the acceptor repeats it. @default 'control' */
  readonly lane?: LaneName | undefined
  /**
   * The connection that a lane belongs to: the nonce of the initiator of its control link. Null on control, where the
   * initiator's own nonce becomes it. @default null
   */
  readonly connection?: Uint8Array | null | undefined
  /** What it is for, as its operator says; at most 16 of 1 to 64 characters. @default [] */
  readonly roles?: readonly string[] | undefined
  /** The version of the application, at most 64 characters. @default '' */
  readonly appVersion?: string | undefined
  /** @default 'alive' */
  readonly phase?: HelloPhase | undefined
  /** 'secret' if and only if `authenticated`. @default 'secret' or 'none', as `authenticated` says */
  readonly authenticatedBy?: AuthenticatedBy | undefined
}

/**
 * That the sender has the secret: an HMAC over both hellos. The acceptor's also carries its verdict, inside
 * what is signed: the initiator acts on a refusal (it raises its incarnation) only if whoever refuses has the
 * secret.
 */
export interface Proof {
  readonly type: 'proof'
  readonly mac: Uint8Array
  readonly refusal: Verdict | null
}

/** A refusal as it is sent. `code` is a `RefusalCode`, or one of a newer version: see `readVerdict`. */
export interface Verdict {
  readonly code: string
  readonly reason: string
  readonly highestIncarnation: number | null
}

/** The initiator's last word: it takes the acceptor for what it says it is. */
export interface Accept {
  readonly type: 'accept'
}

/** Either side's last word, in the clear. */
export interface Refuse extends Verdict {
  readonly type: 'refuse'
}

/** Everything that a handshake sends. Encoded as one CBOR object per frame. */
export type HandshakeMessage = Hello | Proof | Accept | Refuse

/** Bytes of one encoded handshake message; the shell refuses a longer frame before it decodes it. */
export const handshakeBytesMax = 16_384
/** Bytes of a nonce, and of an HMAC-SHA-256. */
export const proofBytes = 32

const nodeName = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/
const featuresMax = 64
/** What a node may say of itself, here and in gossip alike: entries of `roles`, and characters of each thing. */
export const rolesMax = 16
export const roleLengthMax = 64
export const versionLengthMax = 64
export const zoneLengthMax = 128
export const weightMax = 1_000
const textMax = 512
const featureLengthMax = 64
const loneSurrogate = /\p{Surrogate}/u

/** What a node may be called: 1 to 128 of letters, digits, dot, underscore and hyphen, a letter or digit first. */
export function isNodeName(name: string): boolean {
  return nodeName.test(name)
}

/**
 * Reads one message; a string says what is wrong with it. Fields that this version does not know are ignored.
 */
export function readHandshakeMessage(value: unknown): HandshakeMessage | string {
  if (!isRecord(value)) return 'a handshake message must be an object'
  switch (value['type']) {
    case 'hello':
      return readHello(value)
    case 'proof':
      return readProof(value)
    case 'accept':
      return { type: 'accept' }
    case 'refuse':
      return readRefuse(value)
    default:
      return 'the type of a handshake message must be hello, proof, accept or refuse'
  }
}

/**
 * What we make of a verdict: a newer peer may have codes that we do not, and it is a refusal all the same.
 */
export function readVerdict(verdict: Verdict): Refusal {
  const code = refusalCodes.find((candidate): candidate is RefusalCode => candidate === verdict.code)
  const refusal: Refusal =
    code === undefined
      ? { code: 'CLUSTER_BAD_HANDSHAKE', reason: `${verdict.code}: ${verdict.reason}` }
      : { code, reason: verdict.reason }
  if (verdict.highestIncarnation === null) return refusal
  return { ...refusal, highestIncarnation: verdict.highestIncarnation }
}

/** A refusal as it is sent. */
export function writeVerdict(refusal: Refusal): Verdict {
  const { code, reason, highestIncarnation } = refusal
  return { code, reason, highestIncarnation: highestIncarnation ?? null }
}

/** A hello in fixed order, as it is signed at a version. Part of the protocol, for ever. */
export function helloFields(hello: Hello, version: number): readonly unknown[] {
  const fields = [
    hello.versionMin,
    hello.versionMax,
    hello.cluster,
    hello.node,
    hello.incarnation,
    hello.address,
    hello.features,
    hello.nonce,
    hello.authenticated,
    hello.weight ?? 1,
    hello.zone ?? null,
  ]
  if (version < lanesSince) return fields
  return [
    ...fields,
    hello.lane ?? 'control',
    hello.connection ?? null,
    hello.roles ?? [],
    hello.appVersion ?? '',
    hello.phase ?? 'alive',
    authenticationOf(hello),
  ]
}

/** How the sender of a hello is authenticated. */
export function authenticationOf(hello: Hello): AuthenticatedBy {
  return hello.authenticatedBy ?? (hello.authenticated ? 'secret' : 'none')
}

/** A hello as a peer of version 1 would have sent it: what that version does not sign is taken out. */
export function asVersion1(hello: Hello): Hello {
  const { type, versionMin, versionMax, cluster, node, incarnation, address, features, nonce } = hello
  const { authenticated, weight, zone } = hello
  return {
    type,
    versionMin,
    versionMax,
    cluster,
    node,
    incarnation,
    address,
    features,
    nonce,
    authenticated,
    weight,
    zone,
  }
}

/**
 * What the proof of `prover` is an HMAC of. Both offers are in it as their senders made them, so both nonces and both
 * ranges of versions; the label tells the role and the form, so that a proof fits nowhere else.
 */
export function handshakeTranscript(
  prover: 'initiator' | 'acceptor',
  version: number,
  initiator: Hello,
  acceptor: Hello,
  verdict: Verdict | null,
): Uint8Array {
  return encode([
    `understudy.${version < lanesSince ? 1 : 2} handshake ${prover}`,
    helloFields(initiator, version),
    helloFields(acceptor, version),
    verdict === null ? null : [verdict.code, verdict.reason, verdict.highestIncarnation],
  ])
}

function readHello(value: Readonly<Record<string, unknown>>): Hello | string {
  const {
    versionMin,
    versionMax,
    cluster,
    node,
    incarnation,
    address,
    features,
    nonce,
    authenticated,
    weight = 1,
    zone,
    lane = 'control',
    connection = null,
    roles = [],
    appVersion = '',
    phase = 'alive',
    authenticatedBy = authenticated === true ? 'secret' : 'none',
  } = value as {
    readonly [K in keyof Hello]?: unknown
  }
  if (!isCount(versionMin) || !isCount(versionMax) || versionMin > versionMax)
    return 'hello: bad version range'
  if (!isText(cluster) || cluster === '') return 'hello: bad cluster name'
  if (!isText(node) || !isNodeName(node)) return 'hello: bad node name'
  if (!isCount(incarnation)) return 'hello: bad incarnation'
  if (!isText(address)) return 'hello: bad address'
  if (!isTextList(features, featuresMax, 0, featureLengthMax)) return 'hello: bad features'
  if (!isProofBytes(nonce)) return `hello: the nonce must be ${proofBytes} bytes`
  if (typeof authenticated !== 'boolean') return 'hello: bad authenticated'
  if (typeof weight !== 'number' || !(weight >= 0 && weight <= weightMax)) return 'hello: bad weight'
  if (zone !== undefined && zone !== null && !isText(zone, zoneLengthMax)) return 'hello: bad zone'
  if (!isLane(lane)) return 'hello: bad lane'
  if (connection !== null && !isProofBytes(connection)) return 'hello: bad connection'
  if ((lane === 'control') !== (connection === null)) return 'hello: bad connection for its lane'
  if (lane !== 'control' && versionMax < lanesSince) return `hello: no lanes before version ${lanesSince}`
  if (!isTextList(roles, rolesMax, 1, roleLengthMax)) return 'hello: bad roles'
  if (!isText(appVersion, versionLengthMax)) return 'hello: bad appVersion'
  if (phase !== 'joining' && phase !== 'alive') return 'hello: bad phase'
  if (authenticatedBy !== 'none' && authenticatedBy !== 'secret' && authenticatedBy !== 'tls') {
    return 'hello: bad authenticatedBy'
  }
  if (authenticated !== (authenticatedBy === 'secret'))
    return 'hello: authenticated and authenticatedBy differ'
  return {
    type: 'hello',
    versionMin,
    versionMax,
    cluster,
    node,
    incarnation,
    address,
    features,
    nonce,
    authenticated,
    weight,
    zone: isText(zone) ? zone : undefined,
    lane,
    connection,
    roles,
    appVersion,
    phase,
    authenticatedBy,
  }
}

function readProof(value: Readonly<Record<string, unknown>>): Proof | string {
  const mac = value['mac']
  if (!isProofBytes(mac)) return `proof: the mac must be ${proofBytes} bytes`
  const refusal = value['refusal'] ?? null
  if (refusal === null) return { type: 'proof', mac, refusal: null }
  const verdict = isRecord(refusal) ? parseVerdict(refusal) : undefined
  return verdict === undefined ? 'proof: bad refusal' : { type: 'proof', mac, refusal: verdict }
}

function readRefuse(value: Readonly<Record<string, unknown>>): Refuse | string {
  const verdict = parseVerdict(value)
  return verdict === undefined ? 'refuse: bad code, reason or incarnation' : { type: 'refuse', ...verdict }
}

function parseVerdict(value: Readonly<Record<string, unknown>>): Verdict | undefined {
  const code = value['code']
  const reason = value['reason']
  const highestIncarnation = value['highestIncarnation'] ?? null
  if (!isText(code, 64) || !isText(reason, 2_048)) return undefined
  if (highestIncarnation !== null && !isCount(highestIncarnation)) return undefined
  return { code, reason, highestIncarnation }
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isLane(value: unknown): value is LaneName {
  return laneOrder.some((lane) => lane === value)
}

/** Half a surrogate pair cannot be signed; from CBOR it cannot come. */
function isText(value: unknown, lengthMax: number = textMax): value is string {
  return typeof value === 'string' && value.length <= lengthMax && !loneSurrogate.test(value)
}

function isTextList(
  value: unknown,
  itemsMax: number,
  lengthMin: number,
  lengthMax: number,
): value is string[] {
  if (!Array.isArray(value) || value.length > itemsMax) return false
  return value.every((text) => isText(text, lengthMax) && text.length >= lengthMin)
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && value >= 0 && Number.isSafeInteger(value)
}

function isProofBytes(value: unknown): value is Uint8Array {
  return value instanceof Uint8Array && value.length === proofBytes
}
