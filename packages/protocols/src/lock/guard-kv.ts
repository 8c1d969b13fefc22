/** Keys of the replicated store that refuse the past: one transaction compares the token that is kept beside them. */
import type { KvClientOperation, KvPutOptions, KvValue } from '../kv/kv-client-transaction.ts'
import type { KvClient } from '../kv/kv-client.ts'
import type { KvCallOptions } from '../kv/kv-client-options.ts'
import type { KvOperationResult } from '../kv/kv-command.ts'
import type { KvKeys } from '../kv/kv-key.ts'
import { rangeOf } from '../kv/kv-key.ts'
import { fencedError, tokenBytes, tokenFrom, tokenOf, type Fence } from './guard-memory.ts'

export interface GuardKvOptions {
  /** Key that holds the token, for all the keys that are written through this guard. Nobody else writes or deletes it. */
  readonly tokenKey: string
  /** In errors. @default the token's key */
  readonly name?: string | undefined
}

/**
 * Writes to keys of the store, fenced: each is a transaction that compares the highest token, raises it and does the rest, or
 * does nothing. The state is the log's, so nothing is forgotten by a crash of anybody, and there may be as many guards of one
 * `tokenKey` as there are clients. Whoever deletes the token's key makes the guard forget.
 */
export interface GuardedKv {
  readonly name: string
  /** The highest token that was let in. */
  readonly highest: (options?: KvCallOptions) => Promise<number>
  /**
   * Runs the operations in order, all or nothing. Conditions of your own: an operation of type `transact`.
   * @throws {LockError} (as a rejection) LOCK_FENCED, LOCK_LOST: nothing was done. Else as `KvClient.transact`
   */
  readonly write: (
    fence: Fence,
    operations: readonly KvClientOperation[],
    options?: KvCallOptions,
  ) => Promise<{ readonly revision: number; readonly results: readonly KvOperationResult[] }>
  readonly put: (
    fence: Fence,
    key: string,
    value: KvValue,
    options?: KvPutOptions,
  ) => Promise<{ readonly revision: number }>
  readonly delete: (
    fence: Fence,
    keys: KvKeys,
    options?: KvCallOptions,
  ) => Promise<{ readonly revision: number; readonly deleted: number }>
  /** From here on all that is lower is refused: what a new holder does first, before it reads. */
  readonly raise: (fence: Fence, options?: KvCallOptions) => Promise<void>
}

/** What the guard needs of a client of the store. */
export type GuardedKvClient = Pick<KvClient, 'get' | 'transact'>

/** Guards keys of the replicated store. */
export function guardKv(kv: GuardedKvClient, options: GuardKvOptions): GuardedKv {
  return new KvGuard(kv, options.tokenKey, options.name ?? options.tokenKey)
}

class KvGuard implements GuardedKv {
  readonly name: string
  readonly #kv: GuardedKvClient
  readonly #tokenKey: string

  constructor(kv: GuardedKvClient, tokenKey: string, name: string) {
    this.#kv = kv
    this.#tokenKey = tokenKey
    this.name = name
  }

  readonly highest = async (options?: KvCallOptions): Promise<number> => {
    const entry = await this.#kv.get(this.#tokenKey, options)
    return tokenFrom(entry?.value, this.#tokenKey)
  }

  readonly write = async (
    fence: Fence,
    operations: readonly KvClientOperation[],
    options?: KvCallOptions,
  ): Promise<{ readonly revision: number; readonly results: readonly KvOperationResult[] }> => {
    const token = tokenOf(fence, this.name)
    const key = this.#tokenKey
    const value = tokenBytes(token)
    const { succeeded, revision, results } = await this.#kv.transact(
      {
        // Nothing is true of a key that is not there: the first token is let in.
        when: [{ key, target: 'value', operator: '>', operand: value }],
        // oxlint-disable-next-line unicorn/no-thenable -- a list is no function: nobody takes this for a promise
        then: [{ type: 'get', from: key }],
        otherwise: [{ type: 'put', key, value }, ...operations],
      },
      options,
    )
    if (!succeeded) return { revision, results: results.slice(1) }
    const [seen] = results
    const bytes = seen?.type === 'get' ? seen.entries[0]?.value : undefined
    throw fencedError(this.name, token, tokenFrom(bytes, key))
  }

  readonly put = async (
    fence: Fence,
    key: string,
    value: KvValue,
    { timeoutMs, signal, lease = 0, previous }: KvPutOptions = {},
  ): Promise<{ readonly revision: number }> => {
    const id = typeof lease === 'number' ? lease : lease.id
    const { revision } = await this.write(fence, [{ type: 'put', key, value, lease: id, previous }], {
      timeoutMs,
      signal,
    })
    return { revision }
  }

  readonly delete = async (
    fence: Fence,
    keys: KvKeys,
    options?: KvCallOptions,
  ): Promise<{ readonly revision: number; readonly deleted: number }> => {
    const { revision, results } = await this.write(fence, [{ type: 'delete', ...rangeOf(keys) }], options)
    const [first] = results
    return { revision, deleted: first?.type === 'delete' ? first.deleted : 0 }
  }

  readonly raise = async (fence: Fence, options?: KvCallOptions): Promise<void> => {
    await this.write(fence, [], options)
  }
}
