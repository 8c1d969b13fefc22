/** What guarded resources share: what a fence is, the highest token that is remembered, and the refusal. */
import type { Store } from '@understudy/runtime'
import { LockError } from './lock-error.ts'

/**
 * Who wants to act: a fencing token, or what has one (`Held`, `Leadership`). Of what has a `signal` nothing is done once that
 * is aborted; a bare number is judged by the number alone.
 */
export type Fence = number | { readonly token: number; readonly signal?: AbortSignal | undefined }

/**
 * Where a guard keeps the highest token, so that it survives the guard. Guarantees asked of an implementation: `save` has
 * made its token durable when it resolves, and `load` gives the last one saved, 0 when there is none. A guard calls them one
 * at a time, with tokens that only grow.
 */
export interface TokenMemory {
  readonly load: () => Promise<number>
  readonly save: (token: number) => Promise<void>
}

/** The token of a fence. @throws {RangeError} it is none. @throws {LockError} LOCK_LOST: its signal is aborted */
export function tokenOf(fence: Fence, resource: string): number {
  const token = typeof fence === 'number' ? fence : fence.token
  if (!Number.isSafeInteger(token) || token < 1) {
    throw new RangeError(
      `Cannot use "${resource}" with the token ${String(token)}: it must be a whole number from 1, as a lock's grant has it`,
    )
  }
  if (typeof fence === 'object' && fence.signal?.aborted === true) {
    throw new LockError(
      'LOCK_LOST',
      `Cannot use "${resource}" with token ${token}: what gave it is not held any more. Acquire again`,
      { resource, token },
      fence.signal.reason,
    )
  }
  return token
}

/** The refusal of a token that is too old. */
export function fencedError(resource: string, token: number, highest: number): LockError {
  return new LockError(
    'LOCK_FENCED',
    `"${resource}" refuses token ${token}: it has seen ${highest}, so somebody else has held the lock since. Nothing was ` +
      `done; acquire again, and read anew what was to be changed`,
    { resource, token, highest },
  )
}

/** In a form whose order by bytes is that of the tokens: 16 decimal digits, which is as many as a safe integer has. */
export function tokenBytes(token: number): Uint8Array {
  return new TextEncoder().encode(String(token).padStart(tokenDigits, '0'))
}

/** @throws {Error} the bytes are no token: something else was written there */
export function tokenFrom(bytes: Uint8Array | undefined, where: string): number {
  if (bytes === undefined) return 0
  const text = new TextDecoder().decode(bytes)
  const token = /^\d{16}$/.test(text) ? Number(text) : Number.NaN
  if (Number.isSafeInteger(token)) return token
  throw new Error(
    `Cannot read the highest token at "${where}": it must be ${tokenDigits} digits, got ${JSON.stringify(text.slice(0, 40))}. ` +
      `Give the guard a key of its own`,
  )
}

/** A memory under one key of a store: for a guard whose resource is something else. See also `guardStore`. */
export function storeTokenMemory(store: Store, key: string = tokenKeyDefault): TokenMemory {
  return {
    load: async () => tokenFrom(await store.get(key), key),
    save: (token) => store.write([{ type: 'put', key, value: tokenBytes(token) }]),
  }
}

/** Where a token stands when nothing else is said. */
export const tokenKeyDefault = 'understudy/fence'

const tokenDigits = 16
