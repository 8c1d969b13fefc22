/**
 * One record of a segment: a group of changes that becomes durable by one write.
 *
 *     header (64) | values, one behind the other | changes | zeros up to a multiple of 64
 *     header: magic 4, CRC of the header 4, number 8, bytes of values and changes 4, bytes of changes 4, CRC of the changes 4,
 *             oldest segment 4, newest segment 4, runs of zeros 3 x (first 4, count 4), 1 where the header was written last 4;
 *             all little end first
 *     change: kind 1 (put, delete, lost), bytes of the key 4, bytes of the value 4, CRC of key and value 4, key
 *
 * A record goes where zeros are. A machine that stops half way leaves some of its sectors (512 bytes) as they were, and which
 * ones is not given. So a record with a sector of zeros that was not written as zeros is one whose write has not ended: nobody
 * was told that it is durable. A record that is wrong elsewhere was damaged later. Sectors that are zeros by what is written
 * tell nothing; the runs name them. Where there are more runs, or a sector that one flipped bit would make one of zeros, the
 * sector of the header is written when all others are durable: then the header alone says that the write has ended. Records
 * begin at multiples of 64, so that a header never lies in two sectors.
 *
 * After Alagappan et al., Protocol-Aware Recovery for Consensus-Based Storage (FAST 2018), section 3.3.
 */
import { crc32c } from './crc32c.ts'
import { decodeKey } from './store-key.ts'

export const sectorBytes = 512
export const recordHeaderBytes = 64
/** What stands before the key of a change. */
export const changeHeaderBytes = 13
export const changeKinds = Object.freeze({ put: 1, delete: 2, lost: 3 })

const magic = 0xb7e15163
const runsMax = 3
/** Where a header says that it was written last. */
const lastAt = 60
/** A header has more bits than these; so much damage to zeros is not taken for one. */
const strayBitsMax = 8

export interface RecordHeader {
  /** Of the record: the one behind it has the next. */
  readonly number: number
  /** The oldest segment that is needed, and the newest that is there, as of this record. */
  readonly oldest: number
  readonly newest: number
  readonly valuesBytes: number
  readonly changesBytes: number
}

/** A header as it was read. */
export interface FoundHeader extends RecordHeader {
  readonly changesCrc: number
}

export interface FoundChange {
  readonly kind: number
  readonly key: string
  /** Where its value is, from the beginning of the file; and whether it is what was written. */
  readonly at: number
  readonly length: number
  readonly crc: number
  readonly isGood: boolean
}

/** Bytes that a record takes in its file. */
export function recordBytes({
  valuesBytes,
  changesBytes,
}: Pick<RecordHeader, 'valuesBytes' | 'changesBytes'>): number {
  return Math.ceil((recordHeaderBytes + valuesBytes + changesBytes) / recordHeaderBytes) * recordHeaderBytes
}

/**
 * Completes the record at the start of `target`, in which values and changes stand in their place: writes the header and the
 * zeros at the end. Returns its length.
 *
 * @param at where in its file the record will stand
 * @param seed what the CRCs begin with: the segment's own, so that a record of another one is none here
 */
export function sealRecord(target: Uint8Array, header: RecordHeader, at: number, seed: number): number {
  const changesAt = recordHeaderBytes + header.valuesBytes
  const end = changesAt + header.changesBytes
  const length = recordBytes(header)
  target.fill(0, end, length)
  const view = new DataView(target.buffer, target.byteOffset, recordHeaderBytes)
  view.setUint32(0, magic, true)
  writeNumber(view, 8, header.number)
  view.setUint32(16, header.valuesBytes + header.changesBytes, true)
  view.setUint32(20, header.changesBytes, true)
  view.setUint32(24, crc32c(target.subarray(changesAt, end), seed), true)
  view.setUint32(28, header.oldest, true)
  view.setUint32(32, header.newest, true)
  target.fill(0, 36, recordHeaderBytes)
  writeRuns(view, target, at, length)
  view.setUint32(4, crc32c(target.subarray(8, recordHeaderBytes), seed), true)
  return length
}

/** The header at `at`: 'none' where zeros are, 'damaged' where it is not what was written. */
export function readHeader(file: Uint8Array, at: number, seed: number): FoundHeader | 'none' | 'damaged' {
  if (at + recordHeaderBytes > file.length) return 'none'
  const view = new DataView(file.buffer, file.byteOffset + at, recordHeaderBytes)
  if (
    view.getUint32(0, true) !== magic ||
    view.getUint32(4, true) !== crc32c(file.subarray(at + 8, at + recordHeaderBytes), seed)
  ) {
    return hasFewBits(file, at, at + recordHeaderBytes) ? 'none' : 'damaged'
  }
  const changesBytes = view.getUint32(20, true)
  return {
    number: readNumber(view, 8),
    valuesBytes: view.getUint32(16, true) - changesBytes,
    changesBytes,
    changesCrc: view.getUint32(24, true),
    oldest: view.getUint32(28, true),
    newest: view.getUint32(32, true),
  }
}

/** The changes of the record at `at`; or `undefined` when they are not what was written, and its keys so unknown. */
export function readChanges(
  file: Uint8Array,
  at: number,
  header: FoundHeader,
  seed: number,
): readonly FoundChange[] | undefined {
  let valueAt = at + recordHeaderBytes
  let from = valueAt + header.valuesBytes
  const end = from + header.changesBytes
  if (end > file.length || crc32c(file.subarray(from, end), seed) !== header.changesCrc) return undefined
  const view = new DataView(file.buffer, file.byteOffset, file.length)
  const changes: FoundChange[] = []
  while (from < end) {
    const keyAt = from + changeHeaderBytes
    const kind = file[from] as number
    const length = view.getUint32(from + 5, true)
    const crc = view.getUint32(from + 9, true)
    from = keyAt + view.getUint32(from + 1, true)
    const key = file.subarray(keyAt, from)
    const isGood =
      kind !== changeKinds.put || crc32c(file.subarray(valueAt, valueAt + length), crc32c(key)) === crc
    changes.push({ kind, key: decodeKey(key), at: valueAt, length, crc, isGood })
    if (kind === changeKinds.put) valueAt += length
  }
  return changes
}

/** Whether the sealed record at the start of `record` is to be durable before its first sector, with the header, is written. */
export function isHeaderLast(record: Uint8Array): boolean {
  return record[lastAt] !== 0
}

/** Whether a sector of the record at `at` was never written. Then nobody was told that the record is durable. */
export function isHalfWritten(file: Uint8Array, at: number, header: FoundHeader): boolean {
  if (isHeaderLast(file.subarray(at))) return false
  const end = at + recordBytes(header)
  const view = new DataView(file.buffer, file.byteOffset + at, recordHeaderBytes)
  let index = 0
  for (let from = at; from < end; index++) {
    const to = Math.min(end, (Math.floor(from / sectorBytes) + 1) * sectorBytes)
    if (!isZeroRun(view, index) && isZero(file, from, Math.min(to, file.length))) return true
    from = to
  }
  return false
}

/** Where the first header of a record with a number of at least `least` begins, from `at` on; -1: nowhere. */
export function findHeader(file: Uint8Array, at: number, seed: number, least: number): number {
  const words = new Uint32Array(file.buffer, file.byteOffset, file.length >>> 2)
  const little = new Uint32Array(Uint8Array.of(0x63, 0x51, 0xe1, 0xb7).buffer)[0]
  for (let from = at; from + recordHeaderBytes <= file.length; from += recordHeaderBytes) {
    if (words[from >>> 2] !== little) continue
    const found = readHeader(file, from, seed)
    if (typeof found !== 'string' && found.number >= least) return from
  }
  return -1
}

/** Where the last byte that is not zero ends, from `at` on; `at` when there is none. */
export function endOfWritten(file: Uint8Array, at: number): number {
  let end = file.length
  while (end > at && file[end - 1] === 0) end--
  return end
}

// ---- Zeros -----------------------------------------------------------------------------------------------------

/** Names the sectors that tell nothing; or says that they do not matter, for the header is written last. */
function writeRuns(view: DataView, record: Uint8Array, at: number, length: number): void {
  let runs = 0
  let index = 0
  let isWithin = false
  for (let from = 0; from < length; index++) {
    const to = Math.min(length, from + sectorBytes - ((at + from) % sectorBytes))
    const bits = bitsUpTo2(record, from, to)
    if (bits === 2) {
      isWithin = false
    } else if (bits === 1 || (!isWithin && runs === runsMax)) {
      view.setUint32(lastAt, 1, true)
      return
    } else if (isWithin) {
      const countAt = 40 + 8 * (runs - 1)
      view.setUint32(countAt, view.getUint32(countAt, true) + 1, true)
    } else {
      view.setUint32(36 + 8 * runs, index, true)
      view.setUint32(40 + 8 * runs, 1, true)
      runs++
      isWithin = true
    }
    from = to
  }
}

function isZeroRun(view: DataView, index: number): boolean {
  for (let run = 0; run < runsMax; run++) {
    const first = view.getUint32(36 + 8 * run, true)
    if (index >= first && index - first < view.getUint32(40 + 8 * run, true)) return true
  }
  return false
}

/** How many bits are set, up to 2: with so many, a flipped one does not make it zeros. */
function bitsUpTo2(bytes: Uint8Array, from: number, to: number): number {
  let count = 0
  for (let i = from; i < to; i++) {
    const byte = bytes[i] as number
    if (byte !== 0 && (++count === 2 || (byte & (byte - 1)) !== 0)) return 2
  }
  return count
}

function isZero(bytes: Uint8Array, from: number, to: number): boolean {
  for (let i = from; i < to; i++) if (bytes[i] !== 0) return false
  return true
}

function hasFewBits(bytes: Uint8Array, from: number, to: number): boolean {
  let bits = 0
  for (let i = from; i < to; i++) {
    for (let byte = bytes[i] as number; byte !== 0; byte &= byte - 1) bits++
  }
  return bits <= strayBitsMax
}

// ---- Numbers ---------------------------------------------------------------------------------------------------

function writeNumber(view: DataView, at: number, value: number): void {
  view.setUint32(at, value % 2 ** 32, true)
  view.setUint32(at + 4, Math.floor(value / 2 ** 32), true)
}

function readNumber(view: DataView, at: number): number {
  return view.getUint32(at + 4, true) * 2 ** 32 + view.getUint32(at, true)
}
