/**
 * The store seam: an ordered key-value store with atomic, durable batches. Everything that must outlive a process is
 * written on it. `memoryStore()`, `fileStore()`, `segmentStore()` and the simulator's keep one contract suite (`testkit`).
 */
import type { StoreError } from './store-error.ts'

/**
 * What a store is for; the contract is the same. 'table': many keys, read and written in any order. 'log': ascending keys that
 * are deleted in the order in which they came, each write durable as fast as the disk can. In memory they are one.
 */
export type StoreShape = 'table' | 'log'

/** One entry of a store. The store owns the bytes it hands out: copy before you change them. */
export interface StoreEntry {
  readonly key: string
  readonly value: Uint8Array
}

/** One change of a batch. A later change to the same key in the same batch wins. */
export type StoreChange =
  | { readonly type: 'put'; readonly key: string; readonly value: Uint8Array }
  | { readonly type: 'delete'; readonly key: string }

/** Bounds of a `range`. All are optional; keys are compared by UTF-16 code unit. */
export interface StoreRange {
  /** First key, included. */
  readonly from?: string | undefined
  /** End of the range, excluded. */
  readonly to?: string | undefined
  /** At most so many entries. Default: all. */
  readonly limit?: number | undefined
  /** Last to first. Default false. */
  readonly reverse?: boolean | undefined
  /**
   * Called for each record that is not what was written (`RUNTIME_STORE_CORRUPT`), in its place among the entries; the
   * walk then goes on behind it, and the record does not count for `limit`. `key` is as the entries' are, within the
   * scope, and may itself be what is damaged. For whoever mends records from elsewhere. Without it the walk rejects at the
   * first one. Damage that hides how many records there were still rejects.
   */
  readonly onCorrupt?: ((key: string, error: StoreError) => void) | undefined
}

/**
 * An ordered key-value store.
 *
 * - `write` is atomic: all changes of a batch or none. It resolves when the batch is durable, and batches become durable
 *   in the order of their calls. The bytes are copied at the call. Writes that come while one is under way become durable
 *   together with the next one, each call's promise settling by itself.
 * - A write that fails closes the store for writing, and nothing is tried again: that call rejects (`RUNTIME_STORE_FULL` when
 *   there was no room, else `RUNTIME_STORE_FAILED`), so does every call that was under way, and every later one
 *   (`RUNTIME_STORE_FAILED`, with the first failure as its `cause`). `failed` tells it to whoever is not writing.
 * - A value that is not what was written is never absent, nor is an older one given for it: `get` rejects with
 *   `RUNTIME_STORE_CORRUPT`, and a `range` rejects at that record (or calls `onCorrupt`). Other keys can be read, and writing
 *   or deleting the key mends it. Where the key may be what is damaged, `get` rejects for what is absent near it as well.
 * - `get` and `range` see every batch whose `write` has resolved; a `range` reads one moment, however long it is walked.
 * - After `close` every call rejects with `RUNTIME_STORE_CLOSED`. Closing twice is harmless.
 * - `scope(prefix)` is a view whose keys all begin with `prefix + '/'`; closing a scope closes nothing else.
 */
export interface Store {
  readonly get: (key: string) => Promise<Uint8Array | undefined>
  readonly range: (range?: StoreRange) => AsyncIterable<StoreEntry>
  readonly write: (batch: readonly StoreChange[]) => Promise<void>
  readonly scope: (prefix: string) => Store
  /**
   * Resolves with the first failure that closed the store for writing, also one that no write has met (its directory was
   * deleted). Never rejects; stays pending for a store that does not fail. A scope's is its store's.
   */
  readonly failed: Promise<StoreError>
  readonly close: () => Promise<void>
}
