/** Keyed hashes. Pure functions; here because the machine's crypto module is reached through the platform alone. */
import { createHmac, timingSafeEqual } from 'node:crypto'

/** HMAC-SHA-256 (RFC 2104): 32 bytes. */
export function hmacSha256(key: string | Uint8Array, bytes: Uint8Array): Uint8Array {
  return new Uint8Array(createHmac('sha256', key).update(bytes).digest())
}

/** Whether two byte strings are equal, in a time that does not tell where they differ. */
export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && timingSafeEqual(a, b)
}
