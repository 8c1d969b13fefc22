/**
 * The messages of the handshake as they arrive: unknown values until they are read here. Nobody has shown
 * anything yet when these are parsed, so every field has a size and a form.
 */
import { refusalCodes } from './refusal.ts'
import type { Refusal, RefusalCode } from './refusal.ts'

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
  /** Whether it has a secret. */
  readonly authenticated: boolean
  /** Its share of the ring, as a multiple of 1. @default 1 */
  readonly weight?: number | undefined
  /** Where it stands, for placement. @default none */
  readonly zone?: string | undefined
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

const nodeName = /^[A-Za-z0-9._-]{1,128}$/
const featuresMax = 64
const weightMax = 1_000
const textMax = 512

/** What a node may be called: 1 to 128 of letters, digits, dot, underscore and hyphen. */
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

/** A hello in fixed order: what is signed. Part of the protocol, for ever. */
export function helloFields(hello: Hello): readonly unknown[] {
  return [
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
  } = value as {
    readonly [K in keyof Hello]?: unknown
  }
  if (!isCount(versionMin) || !isCount(versionMax) || versionMin > versionMax)
    return 'hello: bad version range'
  if (!isText(cluster) || cluster === '') return 'hello: bad cluster name'
  if (!isText(node) || !isNodeName(node)) return 'hello: bad node name'
  if (!isCount(incarnation)) return 'hello: bad incarnation'
  if (!isText(address)) return 'hello: bad address'
  if (
    !Array.isArray(features) ||
    features.length > featuresMax ||
    !features.every((name) => isText(name, 64))
  ) {
    return 'hello: bad features'
  }
  if (!isProofBytes(nonce)) return `hello: the nonce must be ${proofBytes} bytes`
  if (typeof authenticated !== 'boolean') return 'hello: bad authenticated'
  if (typeof weight !== 'number' || !(weight >= 0 && weight <= weightMax)) return 'hello: bad weight'
  if (zone !== undefined && zone !== null && !isText(zone, 128)) return 'hello: bad zone'
  return {
    type: 'hello',
    versionMin,
    versionMax,
    cluster,
    node,
    incarnation,
    address,
    features: features as string[],
    nonce,
    authenticated,
    weight,
    zone: isText(zone) ? zone : undefined,
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

function isText(value: unknown, lengthMax: number = textMax): value is string {
  return typeof value === 'string' && value.length <= lengthMax
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && value >= 0 && Number.isSafeInteger(value)
}

function isProofBytes(value: unknown): value is Uint8Array {
  return value instanceof Uint8Array && value.length === proofBytes
}
