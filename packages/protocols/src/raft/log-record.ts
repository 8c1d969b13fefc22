/**
 * What a member's records look like on its store: keys and values. Each value has the store's own checksum; what is corrupt
 * is told by the store. A record that is whole and cannot be understood is an error with a place too, never absent (R20).
 *
 *     hard                              term and vote, where the log ended when it was written, what is known to be lost
 *     log/FIRST-COUNT-TERM-CHECK        a batch of entries; TERM is that of the last one. Rules up to the next record's FIRST
 *     snapshot                          the snapshot in force: its place, its configuration, and its content, if it has one
 *     receiving                         the snapshot that is being received
 *     chunk/ID/NUMBER                   a part of a snapshot's content, behind its CRC-32C
 */
import { StoreError } from '@understudy/runtime'
import { crc32c } from '@understudy/runtime/internal'
import { configurationLists, configurationOf } from './entry-codec.ts'
import type { HardState, LogPosition, SnapshotMeta } from './raft-message.ts'
import type { StoredSnapshot } from './raft-store.ts'

export const hardKey = 'hard'
export const snapshotKey = 'snapshot'
export const receivingKey = 'receiving'
/** All keys of the log, and of chunks. `0` is the character behind the slash. */
export const logRange = Object.freeze({ from: 'log/', to: 'log0' })
export const chunkRange = Object.freeze({ from: 'chunk/', to: 'chunk0' })

/** A record of the log, as its key tells it: also when its value cannot be read. */
export interface LogRecord {
  readonly key: string
  readonly first: number
  /** The last entry that it holds; whether that rules is for the next record to say. */
  readonly last: number
  /** Term of the last entry. */
  readonly term: number
}

/** What the hard-state record holds. */
export interface HardRecord {
  readonly hard: HardState
  /** Where the log ended when this was written; the log has had an entry there ever since. */
  readonly last: LogPosition
  /** Entries up to here were durable once, and are not any more (R20). */
  readonly lost: LogPosition | undefined
}

/** Version of the records in JSON. */
const recordFormat = 1

const utf8 = new TextEncoder()
const fromUtf8 = new TextDecoder('utf-8', { fatal: true })
const checked = new DataView(new ArrayBuffer(24))
const checkedBytes = new Uint8Array(checked.buffer)

/** The record for `count` entries from `first`, the last of them in `term`. Its key sorts by `first`. Hot. */
export function logRecord(first: number, count: number, term: number): LogRecord {
  const key = `log/${String(first).padStart(16, '0')}-${count}-${term}-${checkOf(first, count, term)}`
  return { key, first, last: first + count - 1, term }
}

/** The opposite; `undefined` for a key that is damaged. */
export function parseLogKey(key: string): LogRecord | undefined {
  const found = /^log\/(\d{16})-(\d+)-(\d+)-([0-9a-z]+)$/.exec(key)
  if (found === null) return undefined
  const record = logRecord(Number(found[1]), Number(found[2]), Number(found[3]))
  return record.key === key ? record : undefined
}

/** A key says how much is lost when its value is; so what is wrong in the key itself has to show. */
function checkOf(first: number, count: number, term: number): string {
  checked.setFloat64(0, first)
  checked.setFloat64(8, count)
  checked.setFloat64(16, term)
  return crc32c(checkedBytes).toString(36)
}

export function chunkPrefix(id: string): string {
  return `chunk/${encodeURIComponent(id)}/`
}

export function chunkKey(id: string, chunk: number): string {
  return `${chunkPrefix(id)}${String(chunk).padStart(8, '0')}`
}

/** Whose chunk it is; `undefined` for a key that is damaged. */
export function idOfChunkKey(key: string): string | undefined {
  const escaped = /^chunk\/([^/]*)\/\d{8}$/.exec(key)?.[1]
  if (escaped === undefined) return undefined
  try {
    return decodeURIComponent(escaped)
  } catch {
    return undefined
  }
}

export function encodeChunk(bytes: Uint8Array, crc: number): Uint8Array {
  const value = new Uint8Array(4 + bytes.length)
  new DataView(value.buffer).setUint32(0, crc)
  value.set(bytes, 4)
  return value
}

/** The chunk, a view of `value`, and its checksum; `undefined` when they do not fit. */
export function decodeChunk(
  value: Uint8Array,
): { readonly bytes: Uint8Array; readonly crc: number } | undefined {
  if (value.length < 4) return undefined
  const crc = new DataView(value.buffer, value.byteOffset).getUint32(0)
  const bytes = value.subarray(4)
  return crc32c(bytes) === crc ? { bytes, crc } : undefined
}

export function encodeHard({ hard, last, lost }: HardRecord): Uint8Array {
  const { term, vote } = hard
  return json({
    format: recordFormat,
    term,
    vote: vote ?? null,
    last: pair(last),
    lost: lost === undefined ? null : pair(lost),
  })
}

/** @throws {StoreError} RUNTIME_STORE_CORRUPT */
export function decodeHard(bytes: Uint8Array): HardRecord {
  return decoded(hardKey, bytes, ({ term, vote, last, lost }) => ({
    hard: { term: whole(term), vote: vote === null ? undefined : text(vote) },
    last: positionOf(last),
    lost: lost === null ? undefined : positionOf(lost),
  }))
}

/** The record of a snapshot; without content it is the founding configuration. */
export function encodeSnapshot(meta: SnapshotMeta, content: StoredSnapshot | undefined): Uint8Array {
  return json({
    format: recordFormat,
    at: pair(meta),
    configuration: configurationLists(meta.configuration),
    content: content === undefined ? null : [content.id, content.chunks, content.bytes, content.crc],
  })
}

/** @throws {StoreError} RUNTIME_STORE_CORRUPT */
export function decodeSnapshot(
  key: string,
  bytes: Uint8Array,
): { readonly meta: SnapshotMeta; readonly content: StoredSnapshot | undefined } {
  return decoded(key, bytes, ({ at, configuration, content }) => {
    const meta: SnapshotMeta = { ...positionOf(at), configuration: configurationOf(configuration) }
    if (content === null) return { meta, content: undefined }
    const [id, chunks, size, crc] = content as readonly unknown[]
    return {
      meta,
      content: { meta, id: text(id), chunks: whole(chunks), bytes: whole(size), crc: whole(crc) },
    }
  })
}

/** The record at `key` is not what was written: where, and what to do. */
export function corruptRecord(key: string, why: string, cause?: unknown): StoreError {
  return new StoreError(
    'RUNTIME_STORE_CORRUPT',
    `Cannot read the record "${key}" of a Raft log: ${why}; a member whose records are damaged beyond its log ` +
      `starts again with an empty store, as a new member`,
    { details: { key }, ...(cause === undefined ? {} : { cause }) },
  )
}

function decoded<T>(key: string, bytes: Uint8Array, read: (fields: Record<string, unknown>) => T): T {
  try {
    const fields = JSON.parse(fromUtf8.decode(bytes)) as Record<string, unknown>
    if (fields['format'] !== recordFormat) {
      throw new RangeError(`its format is ${String(fields['format'])}, expected ${recordFormat}`)
    }
    return read(fields)
  } catch (error) {
    throw corruptRecord(key, error instanceof Error ? error.message : String(error), error)
  }
}

function json(fields: Readonly<Record<string, unknown>>): Uint8Array {
  return utf8.encode(JSON.stringify(fields))
}

function pair({ index, term }: LogPosition): readonly number[] {
  return [index, term]
}

function positionOf(value: unknown): LogPosition {
  const [index, term] = value as readonly unknown[]
  return { index: whole(index), term: whole(term) }
}

function whole(value: unknown): number {
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value
  throw new RangeError(`expected a whole number, got ${JSON.stringify(value)}`)
}

function text(value: unknown): string {
  if (typeof value === 'string') return value
  throw new RangeError(`expected a text, got ${JSON.stringify(value)}`)
}
