/**
 * What goes on beside the writes of a segment store: the next segment is made before it is needed, and the oldest one is
 * emptied and deleted. Segments go in their order, oldest first: so a delete in one that goes has nothing left to hide.
 *
 * The oldest is emptied when what is dead in the files is more than what is alive, and more than a segment: then each byte
 * written costs at most one that is carried, and the files take at most twice what is alive and three segments.
 */
import { join } from 'node:path'
import { errorNameOf } from './disk-error.ts'
import type { Logger } from './log.ts'
import type { SegmentDisk } from './segment-disk.ts'
import { SegmentMaking } from './segment-opening.ts'
import { segmentName, type Segment } from './segment-file.ts'
import type { IndexEntry, SegmentIndex } from './segment-index.ts'
import { readEntry, readNeighbours } from './segment-values.ts'

/**
 * So many bytes are carried by one write, so that those who write wait little for it; or as many as they have written since
 * the one before, up to half a segment: else files would grow faster than they are emptied.
 */
const carriedBytesLeast = 65_536

/** A key and its value, on their way from the oldest segment to the newest; `undefined` when it is not what was written. */
export interface Carried {
  readonly entry: IndexEntry
  readonly value: Uint8Array | undefined
}

/** What upkeep needs of the store. */
export interface UpkeepHost {
  readonly directory: string
  readonly salt: Uint8Array
  readonly index: SegmentIndex
  /** Oldest first; the last one takes the writes. Upkeep takes away from its beginning. */
  readonly segments: Segment[]
  /** Writes what of it is still so when its turn comes. Resolves when it is durable; rejects when the store has failed. */
  readonly carry: (carried: readonly Carried[]) => Promise<void>
  /** Told what no call meets and only makes the store grow, once a segment. */
  readonly log: Logger
}

export class SegmentUpkeep {
  /** Made, and not in use yet. */
  spare: Segment | undefined
  readonly #disk: SegmentDisk
  readonly #host: UpkeepHost
  readonly #segmentBytes: number
  #making: SegmentMaking | undefined
  #filling: Promise<void> | undefined
  #isMakingNow = false
  /** There was no room for it lately: only who needs it tries again. */
  #isMakingOff = false
  /** Needed no more; deleted once that is durable. */
  readonly #old: Segment[] = []
  #cleaning: Promise<void> | undefined
  #removing: Promise<void> = Promise.resolve()
  /** What is alive in it could not be read: it stays until nothing is, and those behind it with it. */
  #unreadable: Segment | undefined
  #isEnding = false
  /** Bytes that others have written since something was carried. */
  #sinceCarried = 0

  constructor(disk: SegmentDisk, host: UpkeepHost, segmentBytes: number, spare: Segment | undefined) {
    this.#disk = disk
    this.#host = host
    this.#segmentBytes = segmentBytes
    this.spare = spare
  }

  /** A record of so many bytes, not of what is carried, is durable that says that segments before `oldest` are not needed. */
  written(oldest: number, bytes: number): void {
    this.#sinceCarried += bytes
    while (this.#old[0] !== undefined && this.#old[0].number < oldest) {
      const segment = this.#old.shift() as Segment
      this.#removing = this.#removing.then(() => this.#remove(segment))
    }
    this.#makeAhead()
    if (this.#cleaning !== undefined) return
    this.#dropEmpty()
    if (this.#isEnding || this.#host.segments[0] === this.#unreadable || !this.#isWasteful()) return
    this.#cleaning = this.#clean().finally(() => (this.#cleaning = undefined))
  }

  /** Makes the next segment now, with room for `bytes` unless one is on its way already. Rejects as the disk does. */
  async makeNow(bytes: number): Promise<void> {
    // From now on nobody else fills it.
    this.#isMakingNow = true
    await this.#filling
    if (this.spare !== undefined) {
      this.#isMakingNow = false
      return
    }
    this.#making ??= this.#makingOf(Math.max(bytes, this.#segmentBytes))
    const making = this.#making
    try {
      while (this.spare === undefined) this.spare = await making.fill()
    } finally {
      if (this.spare === undefined) await making.abandon()
      this.#making = undefined
      this.#isMakingNow = false
    }
    this.#isMakingOff = false
  }

  /** Begins nothing more. */
  stop(): void {
    this.#isEnding = true
  }

  /** Resolves when nothing of it is under way any more. */
  async end(): Promise<void> {
    this.stop()
    await this.#cleaning
    await this.#filling
    await this.#removing
    await this.#making?.abandon()
    for (const segment of this.#old) await segment.drop()
    await this.spare?.drop()
  }

  // ---- The next one ----------------------------------------------------------------------------------------------

  /** Twice as fast as the one in use is filled: a part of zeros at a time, so that writes find the disk free. */
  #makeAhead(): void {
    if (this.spare !== undefined || this.#filling !== undefined) return
    if (this.#isMakingOff || this.#isMakingNow || this.#isEnding) return
    const current = this.#host.segments.at(-1) as Segment
    const isDue = (making: SegmentMaking | undefined): boolean =>
      (making?.filled ?? 0) < Math.min(2 * current.end, this.#segmentBytes)
    if (!isDue(this.#making)) return
    const making = (this.#making ??= this.#makingOf(this.#segmentBytes))
    this.#filling = making.fill().then(
      (segment) => {
        this.#filling = undefined
        if (segment !== undefined) {
          this.spare = segment
          this.#making = undefined
        }
        this.#makeAhead()
      },
      async () => {
        // Whoever needs it will meet the same, and tell. A file that cannot be taken away either is at the next opening.
        this.#isMakingOff = true
        this.#making = undefined
        await making.abandon().catch(() => undefined)
        this.#filling = undefined
      },
    )
  }

  #makingOf(bytes: number): SegmentMaking {
    const { directory, salt, segments } = this.#host
    return new SegmentMaking(this.#disk, directory, salt, (segments.at(-1) as Segment).number + 1, bytes)
  }

  // ---- The oldest one --------------------------------------------------------------------------------------------

  #dropEmpty(): void {
    const { segments } = this.#host
    while (segments.length > 1 && segments[0]?.liveKeys === 0) this.#old.push(segments.shift() as Segment)
  }

  #isWasteful(): boolean {
    const { segments } = this.#host
    let used = 0
    let live = 0
    for (let i = 0; i < segments.length - 1; i++) {
      const { end, liveBytes } = segments[i] as Segment
      used += end
      live += liveBytes
    }
    return used - live > Math.max(live, this.#segmentBytes)
  }

  async #clean(): Promise<void> {
    const { index, segments } = this.#host
    const oldest = segments[0] as Segment
    const entries: IndexEntry[] = []
    for (const entry of index) if (entry.segment === oldest) entries.push(entry)
    // As they stand in the file: so most are read together.
    entries.sort((a, b) => a.at - b.at)
    try {
      for (let i = 0; i < entries.length && !this.#isEnding;) {
        const part: IndexEntry[] = []
        const bytesMax = Math.max(carriedBytesLeast, Math.min(this.#sinceCarried, this.#segmentBytes / 2))
        this.#sinceCarried = 0
        for (let bytes = 0; bytes < bytesMax && i < entries.length; i++) {
          const entry = entries[i] as IndexEntry
          if (index.get(entry.key) !== entry) continue
          part.push(entry)
          bytes += 64 + Math.max(entry.length, 0)
        }
        const carried = await this.#read(part)
        if (carried === undefined) return
        if (carried.length > 0) await this.#host.carry(carried)
      }
      this.#dropEmpty()
    } catch {
      // The store has failed, which it tells itself: nothing is written any more, and nothing cleaned.
    }
  }

  /** `undefined` when one of them cannot be read, which is told. */
  async #read(part: readonly IndexEntry[]): Promise<readonly Carried[] | undefined> {
    const carried: Carried[] = []
    while (carried.length < part.length) {
      const from = carried.length
      let values: readonly (Uint8Array | undefined)[]
      try {
        // When they cannot be read together, one by one tells which.
        values = await readNeighbours(part, from).catch(async () => [
          await readEntry(part[from] as IndexEntry),
        ])
      } catch (error) {
        this.#tellUnreadable(part[from] as IndexEntry, error)
        return undefined
      }
      for (const [i, value] of values.entries()) carried.push({ entry: part[from + i] as IndexEntry, value })
    }
    return carried
  }

  #tellUnreadable({ key, segment }: IndexEntry, error: unknown): void {
    this.#unreadable = segment
    const { directory, log } = this.#host
    const file = segmentName(segment.number)
    log.warn(
      { directory, file, key, errorName: errorNameOf(error), err: error },
      `the store in "${directory}" cannot read "${key}" from "${file}" to write it anew: that segment and all after it ` +
        'are kept, and the store grows; look at the disk; write or delete the keys that cannot be read, or open the store ' +
        'again when the disk is well',
    )
  }

  async #remove(segment: Segment): Promise<void> {
    if (this.#isEnding) return segment.drop()
    const { directory, log } = this.#host
    const file = segmentName(segment.number)
    try {
      await this.#disk.remove(join(directory, file))
    } catch (error) {
      const errorName = errorNameOf(error)
      // What is gone already takes no room.
      if (errorName !== 'ENOENT') {
        log.warn(
          { directory, file, errorName, err: error },
          `the store in "${directory}" cannot delete "${file}", which holds nothing that is needed: it takes room until ` +
            'the store is opened again; see that the process may delete files there',
        )
      }
    }
    // Nobody writes to this file any more: closing it can lose nothing.
    await segment.drop().catch(() => undefined)
  }
}
