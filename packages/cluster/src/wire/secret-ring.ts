/**
 * The secrets of a cluster while they are being exchanged. A node proves itself with one and takes proofs made with any
 * of them, so a secret can be replaced on running nodes, in three steps, each on all nodes before the next:
 *
 *     1  { use: old, accept: [new] }   everybody takes the new one, nobody uses it
 *     2  { use: new, accept: [old] }   everybody uses the new one, and takes the old one from who is not there yet
 *     3  new                           the old one is worth nothing
 *
 * Nodes that are one step apart understand each other; nodes that are two apart need not. Standing links are not
 * touched: a proof is asked for when a link is opened.
 */
import { equalBytes, hmacSha256 } from '@understudy/runtime/internal'

/** A secret, or several while they are being exchanged. Each has 16 characters or more; take them from a generator. */
export type Secret =
  | string
  | {
      /** What this node proves itself with. */
      readonly use: string
      /** What else it takes from others; up to 7. */
      readonly accept: readonly string[]
    }

/** Secrets, checked. Made by `secretRing`. */
export interface SecretRing {
  readonly use: string
  /** All that are taken, each once, `use` first. */
  readonly taken: readonly string[]
}

/** Characters that a secret must have. */
export const secretCharsMin = 16
/** Secrets that a ring holds: each costs a hash for every proof that arrives. */
export const secretsMax = 8

/**
 * Checks and orders secrets. The error names the place of a bad one and its length, never the secret.
 *
 * @throws {TypeError} if it is neither text nor an object
 * @throws {RangeError} if one is shorter than 16 characters, or there are more than 8.
 */
export function secretRing(secret: Secret): SecretRing {
  if (typeof secret !== 'string' && (typeof secret !== 'object' || secret === null)) {
    throw new TypeError(
      `Cannot use "secret": it must be a string of at least ${secretCharsMin} characters, or { use, accept } with such; ` +
        `got a value of type ${secret === null ? 'null' : typeof secret}`,
    )
  }
  const { use, accept } = typeof secret === 'string' ? { use: secret, accept: [] } : secret
  if (!Array.isArray(accept)) throw new RangeError('Cannot use "secret.accept": it must be a list of secrets')
  const taken = [...new Set([use, ...(accept as readonly string[])])]
  if (taken.length > secretsMax) {
    throw new RangeError(`Cannot use ${taken.length} secrets: at most ${secretsMax} are taken at a time`)
  }
  for (const [place, value] of [['use', use] as const, ...accept.entries()]) {
    const length: number | undefined = typeof value === 'string' ? value.length : undefined
    if (length !== undefined && length >= secretCharsMin) continue
    const where =
      typeof secret === 'string' ? '"secret"' : `"secret.${place === 'use' ? '' : 'accept.'}${place}"`
    throw new RangeError(
      `Cannot use ${where}: it must have at least ${secretCharsMin} characters, got ${length ?? typeof value}`,
    )
  }
  return { use, taken }
}

/** How proofs are made and compared; another one only in tests. */
export interface ProofHash {
  readonly hmac: (secret: string, bytes: Uint8Array) => Uint8Array
  /** Must take the same time wherever the bytes differ. */
  readonly equal: (a: Uint8Array, b: Uint8Array) => boolean
}

const hmacSha256Proof: ProofHash = Object.freeze({ hmac: hmacSha256, equal: equalBytes })

/** The proof of this node: 32 bytes. */
export function signProof(
  ring: SecretRing,
  bytes: Uint8Array,
  hash: ProofHash = hmacSha256Proof,
): Uint8Array {
  return hash.hmac(ring.use, bytes)
}

/**
 * Whether `mac` proves one of the secrets. All are tried even when the first fits: how long it takes tells neither
 * which of them fits nor how many bytes do.
 */
export function verifyProof(
  ring: SecretRing,
  bytes: Uint8Array,
  mac: Uint8Array,
  hash: ProofHash = hmacSha256Proof,
): boolean {
  let fits = false
  for (const secret of ring.taken) {
    const isIt = hash.equal(hash.hmac(secret, bytes), mac)
    fits = isIt || fits
  }
  return fits
}
