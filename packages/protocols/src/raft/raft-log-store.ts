/**
 * A Raft member's disk on a `Store`: log, hard state, snapshots. One record a write, whatever the number of entries; what a
 * record is, is in log-record.ts.
 *
 * A write that replaces entries leaves the record that begins below them as it is: a record rules only up to where the next
 * one begins, and whatever is written deletes all records that begin at its first entry or behind it. So nothing has to be
 * read to cut a record, and no write waits for a read.
 *
 * A record that cannot be read is lost, never absent (R20; Alagappan et al., Protocol-aware recovery, 2018): its key tells how
 * far the log went, and what is known to be lost stays known, over restarts, until the log has grown past it again.
 */
import type { Store, StoreChange, StoreError } from '@understudy/runtime'
import { decodeEntries, encodeEntries } from './entry-codec.ts'
import {
  corruptRecord,
  decodeHard,
  decodeSnapshot,
  encodeHard,
  encodeSnapshot,
  hardKey,
  logRange,
  logRecord,
  parseLogKey,
  snapshotKey,
  type LogRecord,
} from './log-record.ts'
import type { HardState, LogEntry, LogPosition, SnapshotMeta } from './raft-message.ts'
import type { RaftStart } from './raft-step.ts'
import type { RaftStore, StoredSnapshot } from './raft-store.ts'
import { SnapshotStore } from './snapshot-store.ts'

/**
 * The disk of one member, on its own part of a store, which nobody else writes. `load` comes first.
 *
 * @param store its format is not that of any other group's; the caller closes it
 */
export function openRaftStore(store: Store): RaftStore {
  return new LogStore(store)
}

/** A record as it was found: `value` is `undefined` when it cannot be read. */
type FoundRecord = LogRecord & { readonly value: Uint8Array | undefined }

class LogStore implements RaftStore {
  readonly #store: Store
  readonly #snapshots: SnapshotStore
  #status: 'unread' | 'empty' | 'founded' = 'unread'
  #hard: HardState = { term: 0, vote: undefined }
  /** Where the log begins. */
  #begin: LogPosition = { index: 0, term: 0 }
  /** Where it ends, as of the last write given out. */
  #last: LogPosition = { index: 0, term: 0 }
  #lost: LogPosition | undefined
  /** By `first`, also those that cannot be read. */
  #records: LogRecord[] = []
  #isSaving = false

  constructor(store: Store) {
    this.#store = store
    this.#snapshots = new SnapshotStore(store)
  }

  // ---- Start ---------------------------------------------------------------------------------------------------

  readonly load: RaftStore['load'] = async () => {
    const hardBytes = await this.#store.get(hardKey)
    const pointer = await this.#store.get(snapshotKey)
    const found = await this.#readLog()
    if (hardBytes === undefined && pointer === undefined && found.length === 0) {
      await this.#snapshots.load(undefined)
      this.#status = 'empty'
      return undefined
    }
    if (hardBytes === undefined) throw corruptRecord(hardKey, 'it is not there, other records of the log are')
    if (pointer === undefined)
      throw corruptRecord(snapshotKey, 'it is not there, other records of the log are')
    const { hard, last, lost } = decodeHard(hardBytes)
    const { meta, content } = decodeSnapshot(snapshotKey, pointer)

    const { entries, end } = usableLog(found, meta)
    const lastFound = found.at(-1)
    const known = lastFound === undefined ? [] : [{ index: lastFound.last, term: lastFound.term }]
    this.#hard = hard
    this.#begin = { index: meta.index, term: meta.term }
    this.#last = end
    this.#lost = [...known, last, ...(lost === undefined ? [] : [lost])].reduce<LogPosition | undefined>(
      (most, position) => (isBehind(position, most ?? end) ? position : most),
      undefined,
    )
    this.#records = found.map(({ key, first, last: to, term }) => ({ key, first, last: to, term }))
    await this.#snapshots.load(content)
    this.#status = 'founded'
    const start: RaftStart = { hard, snapshot: meta, entries, lostUpTo: this.#lost }
    return { ...start, snapshotOnDisk: content }
  }

  readonly found: RaftStore['found'] = async (start) => {
    if (this.#status !== 'empty') {
      throw new RangeError(
        `Cannot found the log: the store is ${this.#status}; expected an empty one, after load()`,
      )
    }
    this.#status = 'founded'
    this.#hard = start.hard
    this.#begin = { index: start.snapshot.index, term: start.snapshot.term }
    this.#last = this.#begin
    const batch: StoreChange[] = [
      { type: 'put', key: snapshotKey, value: encodeSnapshot(start.snapshot, undefined) },
    ]
    if (start.entries.length > 0) this.#append(start.entries, batch)
    batch.push(this.#hardChange())
    await this.#store.write(batch)
  }

  // ---- The log -------------------------------------------------------------------------------------------------

  readonly persist: RaftStore['persist'] = async (hard, entries) => {
    this.#assertFounded('persist')
    const batch: StoreChange[] = []
    let isHardDue = hard !== undefined || this.#lost !== undefined
    if (hard !== undefined) this.#hard = hard
    if (entries.length > 0) isHardDue = this.#append(entries, batch) || isHardDue
    if (isHardDue) batch.push(this.#hardChange())
    await this.#store.write(batch)
  }

  // ---- Snapshots -----------------------------------------------------------------------------------------------

  readonly saveSnapshot: RaftStore['saveSnapshot'] = async (meta, id, chunks, keepFrom) => {
    this.#assertFounded('save a snapshot')
    if (this.#isSaving) throw new RangeError('Cannot save a snapshot: another one is being saved')
    if (meta.index > this.#last.index || keepFrom > meta.index + 1) {
      throw new RangeError(
        `Cannot save a snapshot at ${meta.index} and keep the log from ${keepFrom}: the log ends at ${this.#last.index}, ` +
          'and nothing behind the snapshot may be dropped',
      )
    }
    this.#isSaving = true
    try {
      const written = await this.#snapshots.writeChunks(id, chunks, () => meta.index <= this.#begin.index)
      if (written === undefined || meta.index <= this.#begin.index) {
        // Another's was put in force meanwhile, or this was no news.
        if (written !== undefined) await this.#snapshots.deleteChunks(id, written.chunks)
        const { inForce } = this.#snapshots
        if (inForce !== undefined) return inForce
        throw new RangeError(`Cannot save a snapshot at ${meta.index}: the log begins there`)
      }
      const snapshot: StoredSnapshot = { meta, id, ...written }
      this.#begin = { index: meta.index, term: meta.term }
      const batch = [...this.#snapshots.putInForce(meta, snapshot)]
      this.#dropBelow(keepFrom, batch)
      await this.#store.write(batch)
      return snapshot
    } finally {
      this.#isSaving = false
    }
  }

  readonly readChunk: RaftStore['readChunk'] = (snapshot, chunk) => this.#snapshots.readChunk(snapshot, chunk)

  readonly beginReceive: RaftStore['beginReceive'] = async (snapshot) => {
    this.#assertFounded('receive a snapshot')
    return this.#snapshots.beginReceive(snapshot)
  }

  readonly receiveChunk: RaftStore['receiveChunk'] = (snapshot, chunk, bytes, crc) =>
    this.#snapshots.receiveChunk(snapshot, chunk, bytes, crc)

  readonly isWhole: RaftStore['isWhole'] = (snapshot) => this.#snapshots.isWhole(snapshot)

  readonly install: RaftStore['install'] = async (snapshot) => {
    this.#assertFounded('install a snapshot')
    this.#snapshots.assertReceived(snapshot)
    const { meta } = snapshot
    if (meta.index <= this.#begin.index) {
      throw new RangeError(
        `Cannot install a snapshot at ${meta.index}: the log begins at ${this.#begin.index} already`,
      )
    }
    const batch: StoreChange[] = [...this.#snapshots.putInForce(meta, snapshot)]
    for (const { key } of this.#records) batch.push({ type: 'delete', key })
    this.#records = []
    this.#begin = { index: meta.index, term: meta.term }
    this.#grow(this.#begin)
    batch.push(this.#hardChange())
    await this.#store.write(batch)
  }

  // ---- Records -------------------------------------------------------------------------------------------------

  /** Puts the entries at the end of the log, and what they replace out of it. True when entries were replaced. Hot. */
  #append(entries: readonly LogEntry[], batch: StoreChange[]): boolean {
    const first = entries[0] as LogEntry
    const last = entries.at(-1) as LogEntry
    if (first.index <= this.#begin.index || first.index > this.#last.index + 1) {
      throw new RangeError(
        `Cannot persist entries from ${first.index}: they must join the log, which goes from ${this.#begin.index + 1} ` +
          `to ${this.#last.index}`,
      )
    }
    const value = encodeEntries(entries)
    const isReplacing = first.index <= this.#last.index
    const records = this.#records
    for (let end = records.at(-1); end !== undefined && end.first >= first.index; end = records.at(-1)) {
      batch.push({ type: 'delete', key: end.key })
      records.pop()
    }
    const record = logRecord(first.index, entries.length, last.term)
    records.push(record)
    batch.push({ type: 'put', key: record.key, value })
    this.#grow(last)
    return isReplacing
  }

  /** Drops the records of which nothing that rules is at `keepFrom` or behind it. */
  #dropBelow(keepFrom: number, batch: StoreChange[]): void {
    const records = this.#records
    let count = 0
    while (count < records.length) {
      const { key, last } = records[count] as LogRecord
      if (Math.min(last, (records[count + 1]?.first ?? Infinity) - 1) >= keepFrom) break
      batch.push({ type: 'delete', key })
      count++
    }
    records.splice(0, count)
  }

  #grow(last: LogPosition): void {
    this.#last = { index: last.index, term: last.term }
    // Compared as votes are: once the log has grown past it, nothing rests on what was lost.
    if (this.#lost !== undefined && !isBehind(this.#lost, this.#last)) this.#lost = undefined
  }

  #hardChange(): StoreChange {
    const value = encodeHard({ hard: this.#hard, last: this.#last, lost: this.#lost })
    return { type: 'put', key: hardKey, value }
  }

  async #readLog(): Promise<readonly FoundRecord[]> {
    const found: FoundRecord[] = []
    let damaged: StoreError | undefined
    const take = (key: string, value: Uint8Array | undefined, error?: StoreError): void => {
      const record = parseLogKey(key)
      if (record !== undefined) found.push({ ...record, value })
      else
        damaged ??= corruptRecord(
          key,
          'its key is damaged: how much of the log it held cannot be told',
          error,
        )
    }
    const onCorrupt = (key: string, error: StoreError): void => take(key, undefined, error)
    for await (const { key, value } of this.#store.range({ ...logRange, onCorrupt })) take(key, value)
    if (damaged !== undefined) throw damaged
    return found.sort((a, b) => a.first - b.first)
  }

  #assertFounded(attempt: string): void {
    if (this.#status === 'founded') return
    throw new RangeError(
      `Cannot ${attempt}: the store is ${this.#status}; load it, and found it if it is empty`,
    )
  }
}

/** The entries behind the snapshot, up to the first record that cannot be read or is missing; and where they end. */
function usableLog(
  found: readonly FoundRecord[],
  snapshot: SnapshotMeta,
): { readonly entries: readonly LogEntry[]; readonly end: LogPosition } {
  const entries: LogEntry[] = []
  let end: LogPosition = { index: snapshot.index, term: snapshot.term }
  for (const [i, { key, first, last, term, value }] of found.entries()) {
    const to = Math.min(last, (found[i + 1]?.first ?? Infinity) - 1)
    // The snapshot stands for it, whether it can be read or not.
    if (to <= snapshot.index) continue
    if (value === undefined || first > end.index + 1) break
    const held = entriesOf(key, value)
    if (held[0]?.index !== first || held.at(-1)?.index !== last || held.at(-1)?.term !== term) {
      throw corruptRecord(key, `it holds other entries than its key says`)
    }
    for (const entry of held) if (entry.index > end.index && entry.index <= to) entries.push(entry)
    const tail = entries.at(-1)
    if (tail !== undefined) end = { index: tail.index, term: tail.term }
  }
  return { entries, end }
}

function entriesOf(key: string, value: Uint8Array): readonly LogEntry[] {
  try {
    return decodeEntries(value)
  } catch (error) {
    throw corruptRecord(key, error instanceof Error ? error.message : String(error), error)
  }
}

/** `a` comes behind `b` in the order of votes (paper, section 5.4.1). */
function isBehind(a: LogPosition, b: LogPosition): boolean {
  return a.term === b.term ? a.index > b.index : a.term > b.term
}
