/**
 * The content of snapshots on a store: written in chunks that nothing points to, then put in force by one record. Whatever
 * is interrupted before that leaves garbage, which the next load sweeps; except for a snapshot that is being received, which
 * is gone on with (R13).
 */
import { StoreError, type Store, type StoreChange } from '@understudy/runtime'
import { crc32c } from '@understudy/runtime/internal'
import {
  chunkKey,
  chunkPrefix,
  chunkRange,
  corruptRecord,
  decodeChunk,
  decodeSnapshot,
  encodeChunk,
  encodeSnapshot,
  idOfChunkKey,
  receivingKey,
  snapshotKey,
} from './log-record.ts'
import type { SnapshotMeta } from './raft-message.ts'
import type { StoredSnapshot } from './raft-store.ts'

/** Keys that one batch of a sweep deletes. */
const sweepKeys = 256

interface Receiving {
  readonly snapshot: StoredSnapshot
  /** So many chunks from the first on are durable and whole; `undefined` until they have been read after a start. */
  good: number | undefined
  /** No chunk from here on was ever written. */
  top: number
}

export class SnapshotStore {
  readonly #store: Store
  #inForce: StoredSnapshot | undefined
  #receiving: Receiving | undefined

  constructor(store: Store) {
    this.#store = store
  }

  /** The one whose content is in force. */
  get inForce(): StoredSnapshot | undefined {
    return this.#inForce
  }

  /** Finds what is being received, and deletes chunks that belong to nothing. @param inForce the one with content */
  async load(inForce: StoredSnapshot | undefined): Promise<void> {
    this.#inForce = inForce
    const receiving = await this.#readReceiving()
    const isWanted = receiving !== undefined && receiving.meta.index > (inForce?.meta.index ?? 0)
    this.#receiving = isWanted ? { snapshot: receiving, good: undefined, top: 0 } : undefined
    // One look for each id, not at each chunk: a snapshot may be large.
    let from: string = chunkRange.from
    for (;;) {
      const key = await this.#firstKey(from, chunkRange.to)
      if (key === undefined) return
      const id = idOfChunkKey(key)
      if (id === undefined) {
        await this.#store.write([{ type: 'delete', key }])
        from = `${key}\0`
        continue
      }
      const prefix = chunkPrefix(id)
      // '0' is the character behind the slash.
      from = `${prefix.slice(0, -1)}0`
      if (id === this.#receiving?.snapshot.id) this.#receiving.top = await this.#countTo(prefix, from)
      else if (id !== inForce?.id) await this.#sweep(prefix, from)
    }
  }

  // ---- Reading -------------------------------------------------------------------------------------------------

  /** @throws {StoreError} RUNTIME_STORE_CORRUPT, also when it is not there */
  async readChunk(snapshot: StoredSnapshot, chunk: number): Promise<Uint8Array> {
    return (await this.#read(snapshot.id, chunk)).bytes
  }

  // ---- Writing one's own ---------------------------------------------------------------------------------------

  /**
   * Writes chunks under `id`, each durable before the next is taken. Nothing is in force after it.
   *
   * @returns `undefined` when it was given up because `isStale`; the chunks are gone then, as after a throw of the iterator
   */
  async writeChunks(
    id: string,
    chunks: Iterator<Uint8Array>,
    isStale: () => boolean,
  ): Promise<Pick<StoredSnapshot, 'chunks' | 'bytes' | 'crc'> | undefined> {
    let count = 0
    let bytes = 0
    let crc = 0
    try {
      while (!isStale()) {
        const next = chunks.next()
        if (next.done === true) return { chunks: count, bytes, crc }
        const chunk = next.value
        bytes += chunk.length
        crc = crc32c(chunk, crc)
        await this.#store.write([
          { type: 'put', key: chunkKey(id, count++), value: encodeChunk(chunk, crc32c(chunk)) },
        ])
      }
    } catch (error) {
      // Of a store that has failed the next load takes them away; its first failure is the one to tell.
      if (count > 0) await this.deleteChunks(id, count).catch(() => undefined)
      throw error
    }
    chunks.return?.()
    if (count > 0) await this.deleteChunks(id, count)
    return undefined
  }

  /** Of a snapshot that is not put in force. */
  deleteChunks(id: string, count: number): Promise<void> {
    return this.#store.write(chunkDeletions(id, count))
  }

  /** What puts `content` in force, and deletes the content that was; for one batch, which is to be written at once. */
  putInForce(meta: SnapshotMeta, content: StoredSnapshot): readonly StoreChange[] {
    const changes: StoreChange[] = [{ type: 'put', key: snapshotKey, value: encodeSnapshot(meta, content) }]
    if (this.#receiving?.snapshot.id === content.id) {
      this.#receiving = undefined
      changes.push({ type: 'delete', key: receivingKey })
    }
    const old = this.#inForce
    if (old !== undefined && old.id !== content.id) changes.push(...chunkDeletions(old.id, old.chunks))
    this.#inForce = content
    return changes
  }

  // ---- Receiving another's -------------------------------------------------------------------------------------

  /** How many chunks of it are here. Forgets any other that was being received. */
  async beginReceive(snapshot: StoredSnapshot): Promise<number> {
    const { id } = snapshot
    if (id === this.#inForce?.id)
      throw new RangeError(`Cannot receive the snapshot "${id}": it is in force here`)
    const before = this.#receiving
    if (before !== undefined && isSame(before.snapshot, snapshot)) {
      before.good ??= await this.#countGood(before)
      return before.good
    }
    this.#receiving = { snapshot, good: 0, top: 0 }
    await this.#store.write([
      ...(before === undefined ? [] : chunkDeletions(before.snapshot.id, before.top)),
      { type: 'put', key: receivingKey, value: encodeSnapshot(snapshot.meta, snapshot) },
    ])
    return 0
  }

  async receiveChunk(snapshot: StoredSnapshot, chunk: number, bytes: Uint8Array, crc: number): Promise<void> {
    const receiving = this.#receivingOf(snapshot, 'receive a chunk of')
    if (!(Number.isInteger(chunk) && chunk >= 0 && chunk < snapshot.chunks)) {
      throw new RangeError(
        `Cannot receive chunk ${chunk}: the snapshot "${snapshot.id}" has ${snapshot.chunks}`,
      )
    }
    if (crc32c(bytes) !== crc) {
      throw new RangeError(
        `Cannot receive chunk ${chunk} of the snapshot "${snapshot.id}": its CRC-32C is wrong`,
      )
    }
    receiving.top = Math.max(receiving.top, chunk + 1)
    const value = encodeChunk(bytes, crc)
    await this.#store.write([{ type: 'put', key: chunkKey(snapshot.id, chunk), value }])
    if (receiving.good === chunk) receiving.good = chunk + 1
  }

  /** Reads it all. When it is false the next `beginReceive` says how much of it is good. */
  async isWhole(snapshot: StoredSnapshot): Promise<boolean> {
    const receiving = this.#receivingOf(snapshot, 'check')
    let size = 0
    let crc = 0
    for (let chunk = 0; chunk < snapshot.chunks; chunk++) {
      const found = await this.#readOr(snapshot.id, chunk)
      if (found === undefined) {
        receiving.good = Math.min(receiving.good ?? chunk, chunk)
        return false
      }
      size += found.bytes.length
      crc = crc32c(found.bytes, crc)
    }
    if (size === snapshot.bytes && crc === snapshot.crc) return true
    // Each chunk is as it was sent, and they make no whole: there is no telling which is wrong.
    receiving.good = 0
    return false
  }

  /** @throws {RangeError} unless it is what is being received and all of its chunks were found good */
  assertReceived(snapshot: StoredSnapshot): void {
    const { good } = this.#receivingOf(snapshot, 'install')
    if (good === snapshot.chunks) return
    throw new RangeError(
      `Cannot install the snapshot "${snapshot.id}": ${good ?? 0} of its ${snapshot.chunks} chunks are here`,
    )
  }

  #receivingOf(snapshot: StoredSnapshot, attempt: string): Receiving {
    const receiving = this.#receiving
    if (receiving !== undefined && isSame(receiving.snapshot, snapshot)) return receiving
    throw new RangeError(
      `Cannot ${attempt} the snapshot "${snapshot.id}": it is not being received; call beginReceive first`,
    )
  }

  async #countGood({ snapshot, top }: Receiving): Promise<number> {
    for (let chunk = 0; chunk < Math.min(top, snapshot.chunks); chunk++) {
      if ((await this.#readOr(snapshot.id, chunk)) === undefined) return chunk
    }
    return Math.min(top, snapshot.chunks)
  }

  async #readReceiving(): Promise<StoredSnapshot | undefined> {
    try {
      const bytes = await this.#store.get(receivingKey)
      return bytes === undefined ? undefined : decodeSnapshot(receivingKey, bytes).content
    } catch (error) {
      // It only saved a transfer from beginning anew.
      if (isCorrupt(error)) return undefined
      throw error
    }
  }

  async #readOr(id: string, chunk: number): Promise<{ readonly bytes: Uint8Array } | undefined> {
    try {
      return await this.#read(id, chunk)
    } catch (error) {
      if (isCorrupt(error)) return undefined
      throw error
    }
  }

  async #read(id: string, chunk: number): Promise<{ readonly bytes: Uint8Array }> {
    const key = chunkKey(id, chunk)
    const value = await this.#store.get(key)
    if (value === undefined)
      throw corruptRecord(key, 'it is not there: another snapshot is in force, or it is lost')
    const found = decodeChunk(value)
    if (found === undefined) throw corruptRecord(key, 'its CRC-32C is wrong')
    return found
  }

  // ---- Keys ----------------------------------------------------------------------------------------------------

  async #firstKey(from: string, to: string): Promise<string | undefined> {
    const corrupt: string[] = []
    for await (const { key } of this.#store.range({
      from,
      to,
      limit: 1,
      onCorrupt: (key) => corrupt.push(key),
    })) {
      corrupt.push(key)
    }
    return corrupt.sort()[0]
  }

  async #countTo(from: string, to: string): Promise<number> {
    let top = ''
    const see = (key: string): void => {
      if (key > top) top = key
    }
    for await (const { key } of this.#store.range({ from, to, limit: 1, reverse: true, onCorrupt: see }))
      see(key)
    return top === '' ? 0 : Number(top.slice(-8)) + 1
  }

  async #sweep(from: string, to: string): Promise<void> {
    const keys: string[] = []
    for await (const { key } of this.#store.range({ from, to, onCorrupt: (key) => keys.push(key) }))
      keys.push(key)
    for (let i = 0; i < keys.length; i += sweepKeys) {
      await this.#store.write(keys.slice(i, i + sweepKeys).map((key) => ({ type: 'delete', key })))
    }
  }
}

function chunkDeletions(id: string, count: number): StoreChange[] {
  return Array.from({ length: count }, (_, chunk) => ({ type: 'delete', key: chunkKey(id, chunk) }))
}

function isSame(a: StoredSnapshot, b: StoredSnapshot): boolean {
  return (
    a.id === b.id &&
    a.chunks === b.chunks &&
    a.bytes === b.bytes &&
    a.crc === b.crc &&
    a.meta.index === b.meta.index &&
    a.meta.term === b.meta.term
  )
}

function isCorrupt(error: unknown): boolean {
  return error instanceof StoreError && error.code === 'RUNTIME_STORE_CORRUPT'
}
