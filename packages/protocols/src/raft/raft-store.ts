/** What the Raft group needs of its disk; `raft-log-store.ts` writes it on a `Store`. */
import type { HardState, LogEntry, SnapshotMeta } from './raft-message.ts'
import type { RaftStart } from './raft-step.ts'

/** A snapshot on disk: its place, and its content in checksummed chunks. */
export interface StoredSnapshot {
  readonly meta: SnapshotMeta
  /** Unique among the snapshots of this group: leader's store and a counter. */
  readonly id: string
  readonly chunks: number
  readonly bytes: number
  /** CRC-32C over all chunks in their order. */
  readonly crc: number
}

/**
 * The log, the hard state and the snapshots of one member. Calls that write take effect in the order of the calls and resolve
 * when durable; any failure is final (the store takes no more writes).
 */
export interface RaftStore {
  /**
   * What there is; `undefined` in a fresh store. Comes before any other call, and sweeps what an interrupted save left.
   * Entries that cannot be read end the log before them, and are in `lostUpTo`, over restarts too, until the log has grown
   * past them (R20).
   *
   * @throws {StoreError} RUNTIME_STORE_CORRUPT when the vote, the record of the snapshot in force or a key cannot be read
   */
  readonly load: () => Promise<
    (RaftStart & { readonly snapshotOnDisk: StoredSnapshot | undefined }) | undefined
  >
  /** Writes the founding configuration (index 0, term 0) into a store that holds nothing of this group. */
  readonly found: (start: RaftStart) => Promise<void>
  /** One record a call, whatever the number of entries; what stood at the first index or behind it is gone. Hot. */
  readonly persist: (hard: HardState | undefined, entries: readonly LogEntry[]) => Promise<void>
  /** Takes the chunks of one's own state at `meta`, then puts it in force and drops the log up to `keepFrom` (exclusive),
   * in one batch. Yields to other writes between chunks. One at a time.
   *
   * Where a later snapshot was installed meanwhile, or `meta` is no news, it gives up and resolves with the one in force:
   * look at its `meta`. When the iterator throws, it rejects with that, and the store goes on. */
  readonly saveSnapshot: (
    meta: SnapshotMeta,
    id: string,
    chunks: Iterator<Uint8Array>,
    keepFrom: number,
  ) => Promise<StoredSnapshot>
  /** The content of a snapshot in force or being received. @throws {StoreError} RUNTIME_STORE_CORRUPT, also when it is no
   * longer in force: its chunks go when the next one comes */
  readonly readChunk: (snapshot: StoredSnapshot, chunk: number) => Promise<Uint8Array>
  /** Where to go on receiving this snapshot: how many of its chunks are here, durable and whole, also after a restart.
   * Forgets any other. @throws {RangeError} if it is in force */
  readonly beginReceive: (snapshot: StoredSnapshot) => Promise<number>
  readonly receiveChunk: (
    snapshot: StoredSnapshot,
    chunk: number,
    bytes: Uint8Array,
    crc: number,
  ) => Promise<void>
  /** All chunks are here and the whole checksum holds. After a false `beginReceive` says where to go on. */
  readonly isWhole: (snapshot: StoredSnapshot) => Promise<boolean>
  /** Puts a received snapshot, whose chunks are all here, in force and ends the whole log, in one batch. */
  readonly install: (snapshot: StoredSnapshot) => Promise<void>
}
