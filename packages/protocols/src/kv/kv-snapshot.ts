/**
 * The store's state as chunks, and back. First what lived before the log of changes begins, by key; then the log, by revision:
 * whoever restores it applies the same changes again, and has the same history, order and all.
 *
 * A walk goes on while later commands are applied: a version never changes, and those above the snapshot's revision are
 * passed over. Compaction alone would take things away, so it first lets the walk gather what it has yet to write.
 */
import { ByteWriter, type ByteReader } from '../service/byte-buffer.ts'
import { headTag, readClock, SnapshotReader, writeClock } from '../service/snapshot-records.ts'
import { isLive, KvState, KvVersion, leaseBytes, type LiveVersion } from './kv-state.ts'

const format = 1

const leaseTag = 2
const baseTag = 3
const revisionTag = 4
const endTag = 5

/** The chunks of a state as it was when the walk began. */
export class KvSnapshotWalk implements Iterator<Uint8Array> {
  readonly #state: KvState
  readonly #chunkBytes: number
  readonly #ended: () => void
  readonly #revision: number
  readonly #logFrom: number
  readonly #head: ByteWriter
  /** The next key to look at, or the next revision; then the end. */
  #stage: 'head' | 'base' | 'log' | 'end' | 'over' = 'head'
  #nextKey = ''
  #nextRevision: number
  /** What compaction would have taken away: the rest of the base, and the log. */
  #rest: { readonly base: readonly LiveVersion[]; readonly log: readonly LoggedChanges[] } | undefined
  #restAt = 0

  /** `ended` is called when the walk is over or given up. */
  constructor(state: KvState, chunkBytes: number, ended: () => void) {
    this.#state = state
    this.#chunkBytes = chunkBytes
    this.#ended = ended
    this.#revision = state.revision
    this.#logFrom = state.logFrom
    this.#nextRevision = state.logFrom
    // Leases change in place: they are written at once.
    this.#head = headOf(state)
  }

  next(): IteratorResult<Uint8Array, undefined> {
    const writer = this.#stage === 'head' ? this.#head : new ByteWriter(this.#chunkBytes + 4_096)
    switch (this.#stage) {
      case 'head':
        this.#stage = 'base'
        break
      case 'base':
        this.#writeBase(writer)
        break
      case 'log':
        this.#writeLog(writer)
        break
      case 'end':
        writer.byte(endTag)
        writer.number(this.#revision)
        this.#stop()
        break
      case 'over':
        return { done: true, value: undefined }
    }
    return { done: false, value: writer.take() }
  }

  return(): IteratorResult<Uint8Array, undefined> {
    this.#stop()
    return { done: true, value: undefined }
  }

  /** Compaction is about to begin: from here on the walk needs nothing of the state. O(what is left of it). */
  detach(): void {
    if (this.#rest !== undefined || this.#stage === 'over') return
    const base: LiveVersion[] = []
    if (this.#stage === 'head' || this.#stage === 'base') {
      this.#walkBase((version) => {
        base.push(version)
        return true
      })
    }
    const log: LoggedChanges[] = []
    for (let revision = this.#nextRevision; revision <= this.#revision; revision++) {
      const changes = this.#state.changesOf(revision)
      if (changes !== undefined) log.push({ revision, changes })
    }
    this.#rest = { base, log }
    this.#restAt = 0
  }

  #stop(): void {
    this.#stage = 'over'
    this.#rest = undefined
    this.#ended()
  }

  #writeBase(writer: ByteWriter): void {
    const rest = this.#rest
    if (rest === undefined) {
      const isCut = this.#walkBase((version) => {
        writeBase(writer, version)
        return writer.size < this.#chunkBytes
      })
      if (isCut) return
    } else {
      while (this.#restAt < rest.base.length) {
        writeBase(writer, rest.base[this.#restAt++] as LiveVersion)
        if (writer.size >= this.#chunkBytes) return
      }
      this.#restAt = 0
    }
    this.#stage = 'log'
  }

  /** True when `visit` ended it; the walk then goes on behind that key. */
  #walkBase(visit: (version: LiveVersion) => boolean): boolean {
    let isCut = false
    this.#state.keys.walk(this.#nextKey, '', (key, slot) => {
      let version: KvVersion | undefined = slot.head
      while (version !== undefined && version.modRevision >= this.#logFrom) version = version.previous
      if (!isLive(version) || visit(version)) return true
      // The smallest string above it.
      this.#nextKey = `${key}\u0000`
      isCut = true
      return false
    })
    return isCut
  }

  #writeLog(writer: ByteWriter): void {
    const rest = this.#rest
    while (this.#nextRevision <= this.#revision) {
      const changes =
        rest === undefined ? this.#state.changesOf(this.#nextRevision) : rest.log[this.#restAt++]?.changes
      if (changes === undefined) throw new Error(`Revision ${this.#nextRevision} is not there to be written`)
      writeRevision(writer, this.#nextRevision++, changes)
      if (writer.size >= this.#chunkBytes) return
    }
    this.#stage = 'end'
  }
}

/** The state that the chunks of one walk hold. @throws {RangeError} (as a rejection) when they are not that */
export async function restoreKvState(chunks: AsyncIterable<Uint8Array>): Promise<KvState> {
  const restoring = new Restoring()
  await restoring.snapshot.read(chunks, (tag, reader) => restoring.takeRecord(tag, reader))
  return restoring.finish()
}

class Restoring {
  readonly snapshot = new SnapshotReader('the store', endTag)
  readonly #state = new KvState()
  #bytes = 0
  #revision = 0

  finish(): KvState {
    const state = this.#state
    if (state.revision !== this.#revision || state.bytes !== this.#bytes) {
      throw this.snapshot.bad(
        `holds revision ${state.revision} and ${state.bytes} bytes, but says ` +
          `${this.#revision} and ${this.#bytes}`,
      )
    }
    return state
  }

  takeRecord(tag: number, reader: ByteReader): void {
    const state = this.#state
    switch (tag) {
      case headTag:
        this.#takeHead(reader)
        return
      case leaseTag: {
        const [id, ttlMs, renewedUntilMs] = [reader.number(), reader.number(), reader.number()]
        state.leases.add({ id, ttlMs, renewedUntilMs, keys: new Set() })
        state.bytes += leaseBytes
        return
      }
      case baseTag: {
        const key = reader.text()
        const value = reader.value()
        const [created, modified, version, lease] = [
          reader.number(),
          reader.number(),
          reader.number(),
          reader.number(),
        ]
        state.restoreBase(key, value, created, modified, version, lease)
        return
      }
      case revisionTag: {
        const revision = reader.number()
        // Of the first one it follows from where the log begins.
        if (revision !== state.revision + 1) {
          throw this.snapshot.bad(`has revision ${revision} behind ${state.revision}`)
        }
        for (let left = reader.number(); left > 0; left--) {
          const key = reader.text()
          const lease = reader.number()
          state.restoreChange(
            key,
            lease === deletedMark ? undefined : reader.value(),
            lease === deletedMark ? 0 : lease - 1,
          )
        }
        state.commit()
        return
      }
      case endTag:
        if (reader.number() !== this.#revision) throw this.snapshot.bad('has the end of another')
        return
      default:
        throw this.snapshot.unknown(tag)
    }
  }

  #takeHead(reader: ByteReader): void {
    const state = this.#state
    this.snapshot.checkFormat(reader.number(), format)
    this.#revision = reader.number()
    state.compactRevision = reader.number()
    state.logFrom = reader.number()
    this.#bytes = reader.number()
    state.quotaBytes = reader.number()
    readClock(reader, state.leases)
    state.revision = state.logFrom - 1
  }
}

interface LoggedChanges {
  readonly revision: number
  readonly changes: KvVersion | readonly KvVersion[]
}

/** Stands where the lease stands, which is written as one more. */
const deletedMark = 0

function headOf(state: KvState): ByteWriter {
  const writer = new ByteWriter(1_024 + state.leases.size * 24)
  writer.byte(headTag)
  writer.number(format)
  writer.number(state.revision)
  writer.number(state.compactRevision)
  writer.number(state.logFrom)
  writer.number(state.bytes)
  writer.number(state.quotaBytes)
  writeClock(writer, state.leases)
  for (const { id, ttlMs, renewedUntilMs } of state.leases.values()) {
    writer.byte(leaseTag)
    writer.number(id)
    writer.number(ttlMs)
    writer.number(renewedUntilMs)
  }
  return writer
}

function writeBase(writer: ByteWriter, version: LiveVersion): void {
  writer.byte(baseTag)
  writer.text(version.key)
  writer.value(version.value)
  writer.number(version.createRevision)
  writer.number(version.modRevision)
  writer.number(version.version)
  writer.number(version.lease)
}

function writeRevision(
  writer: ByteWriter,
  revision: number,
  changes: KvVersion | readonly KvVersion[],
): void {
  writer.byte(revisionTag)
  writer.number(revision)
  const list = changes instanceof KvVersion ? [changes] : changes
  writer.number(list.length)
  for (const { key, value, lease } of list) {
    writer.text(key)
    writer.number(value === undefined ? deletedMark : lease + 1)
    if (value !== undefined) writer.value(value)
  }
}
