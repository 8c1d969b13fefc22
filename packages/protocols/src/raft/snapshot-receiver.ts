/**
 * Takes a snapshot from the leader: chunk by chunk onto the own disk, each checked, and says how many are durable, so that the
 * transfer goes on from there whatever happens to it. When it is whole the core decides whether it is put in force.
 */
import { crc32c } from '@understudy/runtime/internal'
import type { MemberPort } from '../host/hosted-member.ts'
import { encodeMessage, type GroupMessage } from './message-codec.ts'
import { nodeOfMember, storeOfMember } from './raft-member-id.ts'
import type { MemberId } from './raft-message.ts'
import type { RaftStore, StoredSnapshot } from './raft-store.ts'

export interface SnapshotReceiverOptions {
  readonly port: MemberPort
  readonly store: RaftStore
  /** The state covers this index: a snapshot up to it is not needed. */
  readonly isCovered: (index: number) => boolean
  /** It is here, whole and durable: the core is to be told. */
  readonly onWhole: (from: MemberId, term: number, snapshot: StoredSnapshot) => void
}

interface Receiving {
  readonly from: MemberId
  readonly term: number
  readonly snapshot: StoredSnapshot
  /** Chunks taken, durable or on their way to the disk. `undefined` while the store is asked for the place. */
  taken: number | undefined
  durable: number
  /** It is whole and the core has it. */
  isWhole: boolean
}

export class SnapshotReceiver {
  readonly #options: SnapshotReceiverOptions
  #receiving: Receiving | undefined

  constructor(options: SnapshotReceiverOptions) {
    this.#options = options
  }

  /** The snapshot that is whole and was given to the core. */
  get whole(): StoredSnapshot | undefined {
    return this.#receiving?.isWhole === true ? this.#receiving.snapshot : undefined
  }

  offered(from: MemberId, term: number, snapshot: StoredSnapshot): void {
    const before = this.#receiving
    if (before !== undefined && before.snapshot.id === snapshot.id && isSame(before.snapshot, snapshot)) {
      const now: Receiving = before.from === from && before.term === term ? before : { ...before, from, term }
      this.#receiving = now
      // Whole: the core has been told, or is told again if it is another leader that sends the same one.
      if (now.isWhole) this.#options.onWhole(from, term, snapshot)
      else if (now.taken !== undefined) this.#want(now, now.taken, true)
      return
    }
    if (this.#options.isCovered(snapshot.meta.index)) {
      this.#send(from, { type: 'snapshot-done', id: snapshot.id, ok: true })
      return
    }
    // The core is about to put one in force: the leader will offer this one again.
    if (before?.isWhole === true) return
    const receiving: Receiving = { from, term, snapshot, taken: undefined, durable: 0, isWhole: false }
    this.#receiving = receiving
    const { port, store } = this.#options
    port.log.info(
      {
        from: nodeOfMember(from),
        index: snapshot.meta.index,
        bytes: snapshot.bytes,
        chunks: snapshot.chunks,
      },
      'receiving a snapshot',
    )
    this.#begin(receiving, store.beginReceive(snapshot))
  }

  chunk(from: MemberId, id: string, chunk: number, crc: number, bytes: Uint8Array): void {
    const receiving = this.#receiving
    if (receiving === undefined || receiving.snapshot.id !== id || receiving.taken === undefined) return
    if (receiving.from !== from || chunk < receiving.taken || chunk >= receiving.snapshot.chunks) return
    const { port, store } = this.#options
    if (chunk > receiving.taken || crc32c(bytes) !== crc) {
      if (chunk === receiving.taken) {
        port.log.warn(
          { from: nodeOfMember(from), chunk },
          'a chunk of a snapshot came damaged and is asked for again',
        )
      }
      return
    }
    receiving.taken = chunk + 1
    port.pipe(store.receiveChunk(receiving.snapshot, chunk, bytes, crc), () => {
      const now = this.#receiving
      if (now === undefined || now.snapshot.id !== id) return
      now.durable = chunk + 1
      this.#want(now, now.durable, false)
      if (now.durable === now.snapshot.chunks) this.#finish(now)
    })
  }

  /** The core wants nothing of it, or it is in force. */
  end(ok: boolean): void {
    const receiving = this.#receiving
    if (receiving === undefined) return
    this.#receiving = undefined
    this.#send(receiving.from, { type: 'snapshot-done', id: receiving.snapshot.id, ok })
  }

  clear(): void {
    this.#receiving = undefined
  }

  #begin(receiving: Receiving, place: Promise<number>): void {
    const { id, chunks } = receiving.snapshot
    this.#options.port.pipe(place, (taken) => {
      const now = this.#receiving
      if (now === undefined || now.snapshot.id !== id || now.taken !== undefined) return
      now.taken = taken
      now.durable = taken
      this.#want(now, taken, true)
      if (taken === chunks) this.#finish(now)
    })
  }

  #finish(receiving: Receiving): void {
    const { port, store, onWhole } = this.#options
    const { snapshot } = receiving
    port.pipe(store.isWhole(snapshot), (isWhole) => {
      const now = this.#receiving
      if (now === undefined || now.snapshot.id !== snapshot.id || now.isWhole) return
      if (!isWhole) {
        port.log.warn(
          { from: nodeOfMember(now.from), index: snapshot.meta.index },
          'a snapshot came out damaged',
        )
        this.end(false)
        return
      }
      now.isWhole = true
      onWhole(now.from, now.term, snapshot)
    })
  }

  #want(receiving: Receiving, next: number, restart: boolean): void {
    this.#send(receiving.from, { type: 'snapshot-want', id: receiving.snapshot.id, next, restart })
  }

  #send(to: MemberId, message: GroupMessage): void {
    // Small, and what comes after it depends on it: not behind the chunks of others.
    this.#options.port.send(nodeOfMember(to), encodeMessage(storeOfMember(to), message), 'data')
  }
}

function isSame(a: StoredSnapshot, b: StoredSnapshot): boolean {
  return (
    a.chunks === b.chunks &&
    a.bytes === b.bytes &&
    a.crc === b.crc &&
    a.meta.index === b.meta.index &&
    a.meta.term === b.meta.term
  )
}
