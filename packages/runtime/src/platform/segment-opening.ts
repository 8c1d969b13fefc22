/** Opens what a segment store has left in its directory: reads and checks everything, and makes ready what goes on. */
import { join } from 'node:path'
import type { SegmentDisk, SegmentFile } from './segment-disk.ts'
import {
  decodeMark,
  encodeMark,
  headFault,
  isSegmentFile,
  markName,
  newMarkName,
  Segment,
  segmentFormat,
  segmentHead,
  segmentName,
  segmentNumber,
  segmentPath,
  segmentsCorrupt,
  segmentSeed,
} from './segment-file.ts'
import { lostLength, SegmentIndex } from './segment-index.ts'
import {
  changeKinds,
  endOfWritten,
  findHeader,
  isHalfWritten,
  readChanges,
  readHeader,
  recordBytes,
  recordHeaderBytes,
  sealRecord,
  sectorBytes,
  type FoundChange,
  type RecordHeader,
} from './segment-record.ts'
import { migrate } from './store-format.ts'

/** A store as it was found. */
export interface OpenedSegments {
  readonly salt: Uint8Array
  readonly index: SegmentIndex
  /** Oldest first. The last one that has records takes the next; at most one without any stands behind it. */
  readonly segments: readonly Segment[]
  /** Where in `segments` the one is that takes the next record. */
  readonly current: number
  /** Number of the next record. */
  readonly next: number
}

/** Zeros go to the disk in parts of so many bytes. */
export const zeroBytes = 262_144
const zeros = new Uint8Array(zeroBytes)

/**
 * Opens the segments in `directory`, which is held; makes the first one where there are none.
 *
 * @throws {StoreError} `RUNTIME_STORE_CORRUPT`, `RUNTIME_STORE_UNAVAILABLE` for a newer format
 */
export async function openSegments(
  disk: SegmentDisk,
  directory: string,
  segmentBytes: number,
  drawSalt: () => Uint8Array,
): Promise<OpenedSegments> {
  // What is seen may be what a process has left that was killed before it could make it durable; from now on it counts.
  await disk.syncNames(directory)
  let names = await disk.names(directory)
  if (!names.includes(markName)) {
    const orphan = names.find((name) => segmentNumber(name) !== undefined)
    // The mark comes last.
    if (orphan !== undefined && !names.includes(newMarkName)) {
      throw segmentsCorrupt(directory, markName, 0, `it is missing, while "${orphan}" is there`)
    }
    // What says that it was never ready goes last.
    for (const name of names) {
      if (isSegmentFile(name) && name !== newMarkName) await disk.remove(join(directory, name))
    }
    await disk.syncNames(directory)
    await found(disk, directory, segmentBytes, drawSalt())
    names = await disk.names(directory)
  }
  const mark = decodeMark(await disk.contentOf(join(directory, markName)))
  if (mark === undefined) throw segmentsCorrupt(directory, markName, 0, 'it is not what was written')
  // There is nothing to migrate from yet; newer ones are refused.
  const records = { entries: noRecords, write: () => Promise.resolve() }
  await migrate(directory, records, mark.format, segmentFormat, () => Promise.resolve())
  for (const name of names) if (name.endsWith('.seg.new')) await disk.remove(join(directory, name))
  const scan = new Scan(disk, directory, mark.salt)
  return scan.open(names)
}

/** Makes the file of a segment, all zeros, of which `fill` writes one part a call. */
export class SegmentMaking {
  readonly number: number
  readonly bytes: number
  readonly #disk: SegmentDisk
  readonly #directory: string
  readonly #salt: Uint8Array
  #file: SegmentFile | undefined
  /** So much is written. */
  filled = 0

  constructor(disk: SegmentDisk, directory: string, salt: Uint8Array, number: number, bytes: number) {
    this.#disk = disk
    this.#directory = directory
    this.#salt = salt
    this.number = number
    this.bytes = bytes
  }

  /** The segment, when it is ready and its name durable. */
  async fill(): Promise<Segment | undefined> {
    const path = segmentPath(this.#directory, this.number)
    this.#file ??= await this.#disk.make(`${path}.new`)
    const part = Math.min(this.bytes - this.filled, zeroBytes)
    if (part > 0) {
      await written(this.#file, zeros, part, this.filled)
      this.filled += part
      if (this.filled < this.bytes) return undefined
    }
    const head = segmentHead(this.#salt, this.number, this.bytes)
    await written(this.#file, head, head.length, 0)
    await this.#disk.rename(`${path}.new`, path)
    await this.#disk.syncNames(this.#directory)
    return new Segment(this.#file, this.number, this.bytes, this.#salt)
  }

  /** Gives up. */
  async abandon(): Promise<void> {
    // Its caller throws what made it give up, which a close that fails too must not hide; the file is never used.
    await this.#file?.close().catch(() => undefined)
  }
}

/** Resolves when the first `length` bytes are durable at `at`. */
export function written(
  { write }: Pick<SegmentFile, 'write'>,
  bytes: Uint8Array,
  length: number,
  at: number,
): Promise<void> {
  return new Promise((resolve, reject) => {
    write(bytes, length, at, (error) => (error === undefined ? resolve() : reject(error)))
  })
}

async function found(
  disk: SegmentDisk,
  directory: string,
  segmentBytes: number,
  salt: Uint8Array,
): Promise<void> {
  const markPath = join(directory, newMarkName)
  const file = await disk.make(markPath)
  const mark = encodeMark(salt)
  try {
    await written(file, mark, mark.length, 0)
  } finally {
    // The mark is durable when its write has ended, or that failed and is thrown: the close has nothing to add to either.
    await file.close().catch(() => undefined)
  }
  await disk.syncNames(directory)
  const making = new SegmentMaking(disk, directory, salt, 1, segmentBytes)
  try {
    let segment = await making.fill()
    while (segment === undefined) segment = await making.fill()
    // So a store without a record is a damaged one.
    const record = new Uint8Array(recordHeaderBytes)
    const header: RecordHeader = { number: 1, oldest: 1, newest: 1, valuesBytes: 0, changesBytes: 0 }
    await written(segment, record, sealRecord(record, header, sectorBytes, segment.seed), sectorBytes)
    await segment.drop()
  } catch (error) {
    await making.abandon()
    throw error
  }
  await disk.rename(markPath, join(directory, markName))
  await disk.syncNames(directory)
}

/** What a segment holds. */
interface ScannedSegment {
  readonly number: number
  readonly bytes: number
  /** Where the last record ends. */
  end: number
  /** Up to where something stands behind that, which is to be zeros again. */
  dirtyTo: number
  readonly changes: FoundChange[]
}

class Scan {
  readonly #disk: SegmentDisk
  readonly #directory: string
  readonly #salt: Uint8Array
  readonly #segments: ScannedSegment[] = []
  #last: RecordHeader | undefined
  #lastRecord: { readonly bytes: Uint8Array; readonly at: number } = { bytes: new Uint8Array(0), at: 0 }

  constructor(disk: SegmentDisk, directory: string, salt: Uint8Array) {
    this.#disk = disk
    this.#directory = directory
    this.#salt = salt
  }

  async open(names: readonly string[]): Promise<OpenedSegments> {
    const numbers = newestRun(names)
    let file = numbers[0] === undefined ? undefined : await this.#read(numbers[0])
    for (const [i, number] of numbers.entries()) {
      const content = file as Uint8Array
      const next = numbers[i + 1]
      file = next === undefined ? undefined : await this.#read(next)
      this.#scan(number, content, next, file)
    }
    const last = this.#last
    if (last === undefined) throw this.#corrupt(1, 0, 'no record is left')
    const { oldest, newest } = last
    const first = numbers[0] as number
    if (first > oldest) throw this.#corrupt(first - 1, 0, 'it is missing, while others are there')
    if ((numbers.at(-1) as number) < newest) throw this.#corrupt(newest, 0, 'it is missing')
    for (const name of names) {
      // Newer ones could be deleted before.
      if ((segmentNumber(name) ?? first) < first) await this.#disk.remove(join(this.#directory, name))
    }
    return this.#take(last)
  }

  /** Deletes what is not needed, opens the rest, and builds the index. */
  async #take({ number: lastNumber, oldest, newest }: RecordHeader): Promise<OpenedSegments> {
    const index = new SegmentIndex()
    const segments: Segment[] = []
    let current = 0
    try {
      for (const { number, bytes, end, dirtyTo, changes } of this.#segments) {
        const path = segmentPath(this.#directory, number)
        // Its end was not reached, or it was made and nobody was told: no record is in it.
        if (number < oldest || number > newest) {
          await this.#disk.remove(path)
          continue
        }
        const segment = new Segment(await this.#disk.open(path), number, bytes, this.#salt)
        segments.push(segment)
        segment.end = end
        if (end > sectorBytes) current = segments.length - 1
        applyChanges(index, segment, changes)
        for (let at = end; at < dirtyTo; at += zeroBytes) {
          await written(segment, zeros, Math.min(dirtyTo - at, zeroBytes), at)
        }
      }
      await this.#rewriteLast(segments[current] as Segment)
    } catch (error) {
      for (const segment of segments) await segment.drop()
      throw error
    }
    return { salt: this.#salt, index, segments, current, next: lastNumber + 1 }
  }

  /**
   * Makes the last record durable. The process before may have been killed before it was. Or its write has failed: then it can
   * be seen and is not on the disk, for the system takes such pages for clean (Rebello et al., Can applications recover from
   * fsync failures?, ATC 2020); nothing but another write brings it there.
   */
  async #rewriteLast(segment: Segment): Promise<void> {
    const { bytes, at } = this.#lastRecord
    await new Promise<void>((resolve, reject) => {
      segment.writeRecord(bytes, bytes.length, at, (error) =>
        error === undefined ? resolve() : reject(error),
      )
    })
    await segment.sync()
  }

  #scan(number: number, file: Uint8Array, next: number | undefined, nextFile: Uint8Array | undefined): void {
    const seed = segmentSeed(this.#salt, number)
    const scanned: ScannedSegment = { number, bytes: file.length, end: sectorBytes, dirtyTo: 0, changes: [] }
    this.#segments.push(scanned)
    const expected = (): number | undefined => (this.#last === undefined ? undefined : this.#last.number + 1)
    /** Whether the next segment goes on, and so all of this one was acknowledged. */
    const goesOn = nextFile !== undefined && next !== undefined && hasRecord(nextFile, this.#salt, next)
    let at = sectorBytes
    for (;;) {
      const header = readHeader(file, at, seed)
      if (header === 'none') break
      if (header === 'damaged')
        throw this.#corrupt(number, at, 'the header of a record is not what was written')
      const wanted = expected()
      if (wanted !== undefined && header.number !== wanted) {
        throw this.#corrupt(
          number,
          at,
          `it is record ${header.number}, expected ${wanted}: what is between is missing`,
        )
      }
      const end = at + recordBytes(header)
      const changes = readChanges(file, at, header, seed)
      if (changes === undefined || changes.some(({ isGood }) => !isGood)) {
        const isLast = !goesOn && readHeader(file, end, seed) === 'none'
        // Nobody was told that it is durable: as if it had not been.
        if (isLast && isHalfWritten(file, at, header)) break
        if (changes === undefined)
          throw this.#corrupt(number, at, 'the keys of a record are not what was written')
      }
      for (const change of changes) scanned.changes.push(change)
      this.#last = header
      this.#lastRecord = { bytes: file.subarray(at, end), at }
      at = end
    }
    // Whoever goes on to the next one has told of it in this one.
    if (goesOn && at === sectorBytes) throw this.#corrupt(number, at, 'no record is left in it')
    const later = findHeader(file, at, seed, expected() ?? 1)
    // The header that stands here is that of a record which was half written.
    if (later > at)
      throw this.#corrupt(number, at, `a record is missing, and another one stands at byte ${later}`)
    scanned.end = at
    scanned.dirtyTo = goesOn ? at : endOfWritten(file, at)
  }

  async #read(number: number): Promise<Uint8Array> {
    const file = await this.#disk.contentOf(segmentPath(this.#directory, number))
    const fault = headFault(file, this.#salt, number)
    if (fault !== undefined) throw this.#corrupt(number, 0, fault)
    return file
  }

  #corrupt(number: number, offset: number, what: string): Error {
    return segmentsCorrupt(this.#directory, segmentName(number), offset, what)
  }
}

function applyChanges(index: SegmentIndex, segment: Segment, changes: readonly FoundChange[]): void {
  for (const { kind, key, at, length, crc, isGood } of changes) {
    const isDelete = kind === changeKinds.delete
    const known = kind === changeKinds.put && isGood ? length : lostLength
    const old = isDelete ? index.delete(key) : index.set({ key, segment, at, length: known, crc })
    old?.segment.countOut(key, old.length)
    if (!isDelete) segment.countIn(key, known)
  }
}

function hasRecord(file: Uint8Array, salt: Uint8Array, number: number): boolean {
  return findHeader(file, sectorBytes, segmentSeed(salt, number), 1) !== -1
}

/** The numbers of the newest segments that have no gap between them, in order. */
function newestRun(names: readonly string[]): readonly number[] {
  const numbers = names
    .map(segmentNumber)
    .filter((number) => number !== undefined)
    .sort((a, b) => a - b)
  let from = numbers.length - 1
  while (from > 0 && (numbers[from - 1] as number) === (numbers[from] as number) - 1) from--
  return numbers.slice(Math.max(from, 0))
}

async function* noRecords(): AsyncGenerator<never> {}
