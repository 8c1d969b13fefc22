/**
 * What can be asked of the key-value store, and what it answers: etcd's v3 model. Keys are strings, ordered by UTF-16 code
 * unit (the order of `Store`); values are bytes. Plain data that CBOR carries.
 */

/** From `from`, included, to `to`, excluded; without `to` only the key `from`. `to: ''` is the end of all keys. */
export interface KvRange {
  readonly from: string
  readonly to?: string | undefined
}

/** One key at one revision. */
export interface KvEntry {
  readonly key: string
  readonly value: Uint8Array
  /** Revision of the first put since the key last did not exist. */
  readonly createRevision: number
  /** Revision of the last put. */
  readonly modRevision: number
  /** How often it was put since it was created; 1 at first. */
  readonly version: number
  /** Id of its lease, 0 without. */
  readonly lease: number
}

export interface KvPut {
  readonly type: 'put'
  readonly key: string
  readonly value: Uint8Array
  /** @default 0, none: an old lease is let go */
  readonly lease?: number | undefined
  /** Answer with what was there before. @default false */
  readonly previous?: boolean | undefined
}

export interface KvDelete extends KvRange {
  readonly type: 'delete'
  readonly previous?: boolean | undefined
}

export interface KvGet extends KvRange {
  readonly type: 'get'
  /** As of this revision. @default 0: now */
  readonly revision?: number | undefined
  /** @default all */
  readonly limit?: number | undefined
  readonly keysOnly?: boolean | undefined
  readonly countOnly?: boolean | undefined
  /** Last key first. @default false */
  readonly reverse?: boolean | undefined
  readonly minModRevision?: number | undefined
  readonly maxModRevision?: number | undefined
}

/** A condition on one key. A key that does not exist has version, revisions and lease 0, and no value. */
export interface KvCompare {
  readonly key: string
  readonly target: 'version' | 'createRevision' | 'modRevision' | 'lease' | 'value'
  readonly operator: '=' | '!=' | '<' | '>'
  readonly operand: number | Uint8Array
}

/** If all of `when` hold, `then`, else `otherwise`; at one revision. A key may be put once. At most 128 operations. */
export interface KvTransaction {
  readonly type: 'transact'
  readonly when: readonly KvCompare[]
  readonly then: readonly KvOperation[]
  readonly otherwise: readonly KvOperation[]
}

export type KvOperation = KvPut | KvDelete | KvGet | KvTransaction

/** What changes the state: an entry of the log. */
export type KvCommand =
  | KvPut
  | KvDelete
  | KvTransaction
  /** `id` 0: the store chooses one (the revision-independent index of the entry). */
  | { readonly type: 'lease-grant'; readonly id: number; readonly ttlMs: number }
  | { readonly type: 'lease-keep-alive'; readonly id: number }
  | { readonly type: 'lease-revoke'; readonly id: number }
  /** By the leader, in its term (R12): those of `ids` that are over by the log's time are revoked. */
  | { readonly type: 'lease-expire'; readonly ids: readonly number[] }
  /** Forgets revisions below `revision`; what was live at it stays. */
  | { readonly type: 'compact'; readonly revision: number }
  /** How many bytes the store may hold. In the log, so that all members refuse the same puts. */
  | { readonly type: 'set-quota'; readonly bytes: number }

export interface KvPutResult {
  readonly type: 'put'
  readonly previous: KvEntry | undefined
}
export interface KvDeleteResult {
  readonly type: 'delete'
  readonly deleted: number
  readonly previous: readonly KvEntry[]
}
export interface KvGetResult {
  readonly type: 'get'
  readonly entries: readonly KvEntry[]
  /** How many there are, whatever `limit` says. */
  readonly count: number
  /** More than `limit`. */
  readonly more: boolean
}
export interface KvTransactionResult {
  readonly type: 'transact'
  readonly succeeded: boolean
  readonly results: readonly KvOperationResult[]
}
export type KvOperationResult = KvPutResult | KvDeleteResult | KvGetResult | KvTransactionResult

/** `revision` is the store's when it was answered: the one that the command made, or the newest before it. */
export type KvResult =
  | { readonly ok: true; readonly revision: number; readonly result: KvOperationResult }
  | {
      readonly ok: true
      readonly revision: number
      readonly result: { readonly type: 'lease'; readonly id: number; readonly ttlMs: number }
    }
  | { readonly ok: true; readonly revision: number; readonly result: { readonly type: 'done' } }
  /** Of several commands in one entry: their results one behind the other, as `writeKvResult` writes them. */
  | {
      readonly ok: true
      readonly revision: number
      readonly result: { readonly type: 'batch'; readonly answers: Uint8Array }
    }
  | { readonly ok: false; readonly revision: number; readonly error: KvRefusal }

/** Refused by the state itself, the same on every member. */
export interface KvRefusal {
  readonly code:
    | 'KV_COMPACTED'
    | 'KV_FUTURE_REVISION'
    | 'KV_LEASE_NOT_FOUND'
    | 'KV_LEASE_EXISTS'
    | 'KV_QUOTA_EXCEEDED'
    | 'KV_BAD_REQUEST'
  /** What was wrong, what was expected, how to mend it. */
  readonly message: string
  /** Of KV_COMPACTED: the oldest revision that is kept. */
  readonly compactRevision?: number | undefined
}

/** What happened to one key at one revision. */
export interface KvEvent {
  readonly type: 'put' | 'delete'
  readonly key: string
  /** The entry after a put; of a delete only `key` and `modRevision`. */
  readonly entry: KvEntry | undefined
  readonly revision: number
  /** What was there before, where it is still known and asked for. */
  readonly previous: KvEntry | undefined
}
