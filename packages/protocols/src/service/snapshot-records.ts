/**
 * What the snapshots of all services have in common: records, each begun by its tag, in chunks. A head with the format and the
 * log's clock, what the state holds in the order of its tags, and an end.
 */
import type { Lease, LeaseTable } from '../core/lease-table.ts'
import { ByteReader, type ByteWriter } from './byte-buffer.ts'

/** A chunk ends behind the record with which it has as many bytes. */
export const snapshotChunkBytes = 262_144

/** The tag of the head. */
export const headTag = 1

/** Takes the records of a snapshot, whose last must be `endTag`. `what` it is of is for messages. */
export class SnapshotReader {
  readonly #what: string
  readonly #endTag: number
  #last = 0

  constructor(what: string, endTag: number) {
    this.#what = what
    this.#endTag = endTag
  }

  /**
   * `takeRecord` reads what stands behind a tag.
   * @throws {RangeError} (as a rejection) bytes that are none, records in another order, or no end
   */
  async read(
    chunks: AsyncIterable<Uint8Array>,
    takeRecord: (tag: number, reader: ByteReader) => void,
  ): Promise<void> {
    for await (const chunk of chunks) {
      const reader = new ByteReader(chunk)
      while (!reader.isAtEnd) takeRecord(this.#nextTag(reader), reader)
    }
    if (this.#last !== this.#endTag) throw this.bad('ends before its end')
  }

  /** @throws {RangeError} it is not `format`, which this version reads */
  checkFormat(found: number, format: number): void {
    if (found !== format) throw this.bad(`has format ${found}; this version reads ${format}`)
  }

  unknown(tag: number): RangeError {
    return this.bad(`has a record ${tag}, which this version does not know`)
  }

  /** The error of a snapshot that `why`. */
  bad(why: string): RangeError {
    return new RangeError(`A snapshot of ${this.#what} ${why}`)
  }

  #nextTag(reader: ByteReader): number {
    const tag = reader.byte()
    const last = this.#last
    if ((last === 0) !== (tag === headTag) || tag < last || last === this.#endTag)
      throw this.bad(`has a record ${tag} behind a record ${last}`)
    this.#last = tag
    return tag
  }
}

/** The log's clock, as `readClock` reads it. */
export function writeClock(writer: ByteWriter, leases: LeaseTable<Lease>): void {
  writer.number(leases.term)
  writer.number(leases.timeMs)
  writer.number(leases.termStartMs)
}

export function readClock(reader: ByteReader, leases: LeaseTable<Lease>): void {
  leases.term = reader.number()
  leases.timeMs = reader.number()
  leases.termStartMs = reader.number()
}
