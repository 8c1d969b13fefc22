/**
 * LevelDB's table files (`*.ldb`), read to find out whether they are whole: LevelDB keeps a CRC with each block, but this
 * binding does not have it look. A block: `contents, kind (1), crc (4)`; contents: entries in order, `shared, rest, value`
 * as varints, then that many bytes of key and value; at the end where entries begin anew. The index has one entry a block:
 * a key not below its last, and its place. The last 48 bytes say where the index is.
 */
import { readChecked } from './checked-value.ts'
import { maskedCrc } from './level-log.ts'

const footerBytes = 48
const magic = 0xdb4775248b80fb57n
/** Kind and CRC behind each block. */
const trailerBytes = 5
/** Sequence number and type, behind each key. */
const keyTrailerBytes = 8

/** A block in which one record is damaged, its value or its key: a key of that block that is not found may be that one. */
export interface KeyGap {
  /** Not in it; `undefined`: from the start of the file on. */
  readonly after: Uint8Array | undefined
  /** The last key in it. */
  readonly upTo: Uint8Array
  /** The key that the damaged record has now. */
  readonly damaged: Uint8Array
}

/** What is wrong with a table. */
export interface TableDamage {
  readonly offset: number
  readonly what: string
  /** Where it is confined to one record that tells of it itself: whoever reads it finds its CRC wrong. */
  readonly gap: KeyGap | undefined
}

/** All damage of a table file. About half a nanosecond a byte where there is none. */
export function findTableDamage(table: Uint8Array): readonly TableDamage[] {
  const damages: TableDamage[] = []
  const beyond = (offset: number, what: string): readonly TableDamage[] => [{ offset, what, gap: undefined }]
  if (table.length < footerBytes) return beyond(0, 'it is too short')
  const footer = new Cursor(table, table.length - footerBytes)
  const metaIndex = footer.handle()
  const index = footer.handle()
  const view = new DataView(table.buffer, table.byteOffset)
  if (view.getBigUint64(table.length - 8, true) !== magic || metaIndex === undefined || index === undefined) {
    return beyond(table.length - footerBytes, 'its end is not what was written')
  }
  for (const { offset, size } of [metaIndex, index]) {
    if (!isWhole(table, offset, size)) return beyond(offset, 'its index is not what was written')
  }
  for (const [, place] of entriesOf(table, metaIndex) ?? []) {
    const filter = new Cursor(place, 0).handle()
    if (filter === undefined || !isWhole(table, filter.offset, filter.size)) {
      return beyond(filter?.offset ?? metaIndex.offset, 'its filter is not what was written')
    }
  }
  let after: Uint8Array | undefined
  for (const [key, place] of entriesOf(table, index) ?? []) {
    const block = new Cursor(place, 0).handle()
    const upTo = key.subarray(0, key.length - keyTrailerBytes)
    if (block === undefined) return beyond(index.offset, 'its index is not what was written')
    if (!isWhole(table, block.offset, block.size)) {
      const damaged = damagedKey(entriesOf(table, block), after, upTo)
      const gap = damaged === undefined ? undefined : { after, upTo, damaged }
      damages.push({ offset: block.offset, what: 'a block is not what was written', gap })
    }
    after = upTo
  }
  return damages
}

interface Handle {
  readonly offset: number
  readonly size: number
}

type Entry = readonly [key: Uint8Array, value: Uint8Array]

class Cursor {
  readonly #bytes: Uint8Array
  at: number

  constructor(bytes: Uint8Array, at: number) {
    this.#bytes = bytes
    this.at = at
  }

  /** `undefined` when there is none. Above 2^53 it is not exact, and out of every bound. */
  varint(): number | undefined {
    let value = 0
    for (let scale = 1; scale <= 2 ** 63; scale *= 128) {
      const byte = this.#bytes[this.at++]
      if (byte === undefined) return undefined
      value += (byte & 0x7f) * scale
      if (byte < 0x80) return value
    }
    return undefined
  }

  handle(): Handle | undefined {
    const offset = this.varint()
    const size = this.varint()
    return offset === undefined || size === undefined ? undefined : { offset, size }
  }
}

function isWhole(table: Uint8Array, offset: number, size: number): boolean {
  const end = offset + size + trailerBytes
  if (end > table.length - footerBytes) return false
  const stored = new DataView(table.buffer, table.byteOffset + end - 4).getUint32(0, true)
  return maskedCrc(table.subarray(offset, end - 4)) === stored
}

/**
 * The entries of a block that is not compressed; `undefined` when it cannot be one that LevelDB has written: what can be
 * derived (how much of a key is shared, where entries begin anew) is, or damage there would move keys without a trace.
 */
function entriesOf(table: Uint8Array, { offset, size }: Handle): readonly Entry[] | undefined {
  const end = offset + size
  if (size < 4 || end + trailerBytes > table.length || table[end] !== 0) return undefined
  const view = new DataView(table.buffer, table.byteOffset + offset, size)
  const restarts = view.getUint32(size - 4, true)
  const restartsAt = size - 4 - 4 * restarts
  if (restartsAt < 0) return undefined
  const entries: Entry[] = []
  const cursor = new Cursor(table, offset)
  let last = new Uint8Array(0)
  let restart = 0
  while (cursor.at < offset + restartsAt) {
    const isRestart =
      restart < restarts && view.getUint32(restartsAt + 4 * restart, true) === cursor.at - offset
    if (isRestart) restart++
    const shared = cursor.varint()
    const rest = cursor.varint()
    const length = cursor.varint()
    if (shared === undefined || rest === undefined || length === undefined || shared > last.length) {
      return undefined
    }
    const valueAt = cursor.at + rest
    if (valueAt + length > offset + restartsAt) return undefined
    const key = new Uint8Array(shared + rest)
    key.set(last.subarray(0, shared))
    key.set(table.subarray(cursor.at, valueAt), shared)
    if (shared !== (isRestart ? 0 : commonBytes(last, key))) return undefined
    entries.push([key, table.subarray(valueAt, valueAt + length)])
    cursor.at = valueAt + length
    last = key
  }
  // An empty block has one restart too.
  return restart === restarts || entries.length === 0 ? entries : undefined
}

function commonBytes(a: Uint8Array, b: Uint8Array): number {
  const most = Math.min(a.length, b.length)
  let count = 0
  while (count < most && a[count] === b[count]) count++
  return count
}

/** The key of the one record whose own CRC is wrong, when nothing else of the block can be. */
function damagedKey(
  entries: readonly Entry[] | undefined,
  after: Uint8Array | undefined,
  upTo: Uint8Array,
): Uint8Array | undefined {
  let damaged: Uint8Array | undefined
  let last = after
  let lastTrailer = 0n
  for (const [key, value] of entries ?? []) {
    if (key.length < keyTrailerBytes) return undefined
    const type = key[key.length - keyTrailerBytes]
    const own = key.subarray(0, key.length - keyTrailerBytes)
    const trailer = new DataView(key.buffer, key.byteOffset + own.length).getBigUint64(0, true)
    const order = last === undefined ? -1 : Buffer.compare(last, own)
    // By key, and of one key the newest first.
    if (order > 0 || (order === 0 && trailer >= lastTrailer) || Buffer.compare(own, upTo) > 0)
      return undefined
    last = own
    lastTrailer = trailer
    if (type === 0 && value.length === 0) continue
    if (type !== 1) return undefined
    if (typeof readChecked(own, value) !== 'string') continue
    if (damaged !== undefined) return undefined
    damaged = own
  }
  return damaged
}
