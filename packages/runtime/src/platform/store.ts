/**
 * The store seam: an ordered key-value store with atomic, durable batches. Everything that must outlive a process is
 * written on it. `memoryStore()` is here; the durable one has the same contract suite (`testkit`).
 */

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
}

/**
 * An ordered key-value store.
 *
 * - `write` is atomic: all changes of a batch or none. It resolves when the batch is durable, and batches become durable
 *   in the order of their calls. After a failed write the store refuses further writes (`RUNTIME_STORE_FAILED`).
 * - `get` and `range` see every batch whose `write` has resolved; a `range` reads one moment, however long it is walked.
 * - After `close` every call rejects with `RUNTIME_STORE_CLOSED`. Closing twice is harmless.
 * - `scope(prefix)` is a view whose keys all begin with `prefix + '/'`; closing a scope closes nothing else.
 */
export interface Store {
  readonly get: (key: string) => Promise<Uint8Array | undefined>
  readonly range: (range?: StoreRange) => AsyncIterable<StoreEntry>
  readonly write: (batch: readonly StoreChange[]) => Promise<void>
  readonly scope: (prefix: string) => Store
  readonly close: () => Promise<void>
}
