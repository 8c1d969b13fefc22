/**
 * The files of a segment store, and one of them that is open.
 *
 *     SEGMENTS        says that the directory is such a store: format, 64 bits of chance (`salt`), CRC
 *     00000007.seg    a segment of fixed size, written as zeros before it is used; the first sector says which it is:
 *                     magic 4, CRC 4, format 4, number 4, bytes 4, 0 4, salt 8; records from the second sector on
 *     *.new           one that was not ready
 *     lock/           see `lockDirectory`
 */
import { join } from 'node:path'
import { crc32c } from './crc32c.ts'
import type { SegmentFile } from './segment-disk.ts'
import { isHeaderLast, recordHeaderBytes, sectorBytes } from './segment-record.ts'
import { StoreError } from './store-error.ts'
import type { StoreFormat } from './store-format.ts'
import type { StoreShape } from './store.ts'

/** What this version of the runtime writes. */
export const segmentFormat: StoreFormat = { version: 1, migrations: new Map() }

export const markName = 'SEGMENTS'
export const newMarkName = `${markName}.new`
export const lockName = 'lock'
export const saltBytes = 8

const magic = 0x6e536557

/** Whether a segment store gives files of its directory such names, `lock` apart. */
export function isSegmentFile(name: string): boolean {
  return name === markName || name === newMarkName || /^\d{8,}\.seg(?:\.new)?$/.test(name)
}

export function segmentName(number: number): string {
  return `${String(number).padStart(8, '0')}.seg`
}

/** The number of a segment's name; `undefined` for other names. */
export function segmentNumber(name: string): number | undefined {
  return /^\d{8,}\.seg$/.test(name) ? Number.parseInt(name, 10) : undefined
}

/** What the CRCs of a segment's records begin with, so that no record of another segment or store is one of it. */
export function segmentSeed(salt: Uint8Array, number: number): number {
  const bytes = new Uint8Array(saltBytes + 4)
  bytes.set(salt)
  new DataView(bytes.buffer).setUint32(saltBytes, number, true)
  return crc32c(bytes)
}

/** The first sector. */
export function segmentHead(salt: Uint8Array, number: number, bytes: number): Uint8Array {
  const head = new Uint8Array(sectorBytes)
  const view = new DataView(head.buffer)
  view.setUint32(0, magic, true)
  view.setUint32(8, segmentFormat.version, true)
  view.setUint32(12, number, true)
  view.setUint32(16, bytes, true)
  head.set(salt, 24)
  view.setUint32(4, crc32c(head.subarray(8)), true)
  return head
}

/** What is wrong with the first sector of a segment, in words; `undefined`: nothing. */
export function headFault(file: Uint8Array, salt: Uint8Array, number: number): string | undefined {
  const wanted = segmentHead(salt, number, file.length)
  if (file.length >= sectorBytes && Buffer.compare(file.subarray(0, sectorBytes), wanted) === 0)
    return undefined
  return `it has ${file.length} bytes, and its first ${sectorBytes} are not those of segment ${number} of that size`
}

export function encodeMark(salt: Uint8Array): Uint8Array {
  const text = `understudy segments\nformat ${segmentFormat.version}\nsalt ${Buffer.from(salt).toString('hex')}\n`
  return new TextEncoder().encode(`${text}crc ${hex(crc32c(new TextEncoder().encode(text)))}\n`)
}

/** Format and salt; `undefined` when the mark is not what was written. */
export function decodeMark(
  bytes: Uint8Array,
): { readonly format: number; readonly salt: Uint8Array } | undefined {
  const match =
    /^(understudy segments\nformat (\d+)\nsalt ([0-9a-f]{16})\n(?:[a-z]+ .*\n)*)crc ([0-9a-f]{8})\n$/.exec(
      Buffer.from(bytes).toString('latin1'),
    )
  if (match === null) return undefined
  const [, text = '', format, salt = '', crc] = match
  if (hex(crc32c(Buffer.from(text, 'latin1'))) !== crc) return undefined
  return { format: Number(format), salt: Uint8Array.from(Buffer.from(salt, 'hex')) }
}

function hex(crc: number): string {
  return crc.toString(16).padStart(8, '0')
}

/** A segment that is open. Its file stays open for as long as somebody reads, also when it was deleted. */
export class Segment {
  readonly number: number
  readonly bytes: number
  readonly seed: number
  /** Keys whose values are here, and the bytes that they take, about. */
  liveKeys = 0
  liveBytes = 0
  /** Where the next record goes. */
  end = sectorBytes
  readonly #file: SegmentFile
  #readers = 0
  #isDropped = false

  constructor(file: SegmentFile, number: number, bytes: number, salt: Uint8Array) {
    this.#file = file
    this.number = number
    this.bytes = bytes
    this.seed = segmentSeed(salt, number)
  }

  get write(): SegmentFile['write'] {
    return this.#file.write
  }

  /** Calls `done` when the sealed record at the start of `record`, of `length` bytes, is durable at `at`. */
  writeRecord(
    record: Uint8Array,
    length: number,
    at: number,
    done: (error: Error | undefined) => void,
  ): void {
    if (!isHeaderLast(record)) return this.#file.write(record, length, at, done)
    const first = sectorBytes - (at % sectorBytes)
    this.#file.write(record.subarray(first), length - first, at + first, (error) => {
      if (error === undefined) this.#file.write(record, first, at, done)
      else done(error)
    })
  }

  async read(target: Uint8Array, at: number): Promise<void> {
    this.hold()
    try {
      await this.#file.read(target, at)
    } finally {
      await this.release()
    }
  }

  get sync(): SegmentFile['sync'] {
    return this.#file.sync
  }

  /** A key has its value here; `length` is below 0 where the value is lost. */
  countIn(key: string, length: number): void {
    this.liveKeys += 1
    this.liveBytes += liveBytes(key, length)
  }

  /** It has no more. */
  countOut(key: string, length: number): void {
    this.liveKeys -= 1
    this.liveBytes -= liveBytes(key, length)
  }

  hold(): void {
    this.#readers++
  }

  async release(): Promise<void> {
    this.#readers--
    if (this.#isDropped && this.#readers === 0) await this.#close()
  }

  /** Closes the file when nobody reads it any more. */
  async drop(): Promise<void> {
    if (this.#isDropped) return
    this.#isDropped = true
    if (this.#readers === 0) await this.#close()
  }

  async #close(): Promise<void> {
    // What was acknowledged is durable already: nothing is lost with a close that fails, and nobody is to be kept waiting.
    await this.#file.close().catch(() => undefined)
  }
}

/** What a key takes at most, unless it has many that are not ASCII: alone in a record. */
function liveBytes(key: string, length: number): number {
  return 2 * recordHeaderBytes + key.length + Math.max(length, 0)
}

/** What is there is not what was written: the store cannot be opened. */
export function segmentsCorrupt(directory: string, file: string, offset: number, what: string): StoreError {
  return new StoreError(
    'RUNTIME_STORE_CORRUPT',
    `Cannot open the store in "${directory}": "${file}", byte ${offset}: ${what}; ` +
      'restore it from a backup, or delete the directory where replicas have the data',
    { details: { directory, file, offset } },
  )
}

/**
 * A directory holds the other kind of store.
 *
 * @throws {StoreError} `RUNTIME_STORE_UNAVAILABLE`
 */
export function refuseOtherShape(directory: string, names: readonly string[], wanted: StoreShape): void {
  const isTable = names.includes('CURRENT') || names.some((name) => /^\d+\.(?:log|ldb|sst)$/.test(name))
  const isLog = names.some(isSegmentFile)
  if (wanted === 'table' ? !isLog : !isTable || isLog) return
  const [is, opener] =
    wanted === 'table'
      ? ['segments (a store for logs)', 'segmentStore, or openStore(directory, "log"),']
      : ['LevelDB tables', 'fileStore, or openStore(directory),']
  throw new StoreError(
    'RUNTIME_STORE_UNAVAILABLE',
    `Cannot open the store in "${directory}" as one of the shape "${wanted}": it holds ${is}; open it with ${opener} ` +
      `or copy it with backupStore(store, directory, { shape: "${wanted}" }), or name another directory`,
    { details: { directory, wanted, found: wanted === 'table' ? 'log' : 'table' } },
  )
}

export function segmentPath(directory: string, number: number): string {
  return join(directory, segmentName(number))
}
