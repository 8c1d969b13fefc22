/**
 * Sends snapshots to followers that are behind the log: one at a time to each, chunk by chunk within a window, on the bulk
 * lane. The follower says how many chunks it has on disk, so that a transfer goes on where it was after a lost link or a
 * restart of either side.
 */
import { crc32c } from '@understudy/runtime/internal'
import type { MemberPort } from '../host/hosted-member.ts'
import { encodeMessage, type GroupMessage } from './message-codec.ts'
import { nodeOfMember, storeOfMember } from './raft-member-id.ts'
import type { MemberId } from './raft-message.ts'
import type { RaftStore, StoredSnapshot } from './raft-store.ts'

export interface SnapshotSenderOptions {
  readonly port: MemberPort
  readonly store: RaftStore
  /** Chunks that may be on their way to one follower and not yet on its disk. */
  readonly windowChunks: number
  /** Time without an answer after which the offer is repeated. */
  readonly retryMs: number
  /** Time without an answer after which the transfer is given up. */
  readonly giveUpMs: number
  /** It ended: in force there or not needed, or given up. */
  readonly onEnd: (to: MemberId, index: number, ok: boolean) => void
  /** A chunk of the own snapshot cannot be read: another one is needed. */
  readonly onUnreadable: (snapshot: StoredSnapshot, error: unknown) => void
}

/** One snapshot on its way to one follower. */
interface Transfer {
  readonly to: MemberId
  readonly snapshot: StoredSnapshot
  readonly term: number
  /** The next chunk to send. `undefined` until the follower has said where to begin. */
  next: number | undefined
  /** Chunks that are durable there. */
  acknowledged: number
  /** Changes when the follower moves the place: a chunk that is being read for the old place is not sent. */
  attempt: number
  isReading: boolean
  /** When something was last heard of it. */
  heardMs: number
  /** When it was last offered, or heard of. */
  askedMs: number
  readonly startedMs: number
}

export class SnapshotSender {
  readonly #options: SnapshotSenderOptions
  readonly #transfers = new Map<MemberId, Transfer>()

  constructor(options: SnapshotSenderOptions) {
    this.#options = options
  }

  /** How many transfers are under way. */
  get size(): number {
    return this.#transfers.size
  }

  /** Begins, or goes on when this snapshot is on its way to it already. */
  start(to: MemberId, snapshot: StoredSnapshot, term: number): void {
    const before = this.#transfers.get(to)
    if (before !== undefined && before.snapshot.id === snapshot.id && before.term === term) return
    const { port } = this.#options
    const nowMs = port.nowMs()
    const transfer: Transfer = {
      to,
      snapshot,
      term,
      next: undefined,
      acknowledged: 0,
      attempt: 0,
      isReading: false,
      heardMs: nowMs,
      askedMs: nowMs,
      startedMs: nowMs,
    }
    this.#transfers.set(to, transfer)
    port.log.info(
      { to: nodeOfMember(to), index: snapshot.meta.index, bytes: snapshot.bytes, chunks: snapshot.chunks },
      'sending a snapshot',
    )
    this.#offer(transfer)
  }

  /** The follower has so many chunks on its disk; with `restart` it wants the next one, whatever is on its way. */
  wanted(from: MemberId, id: string, next: number, restart: boolean): void {
    const transfer = this.#transfers.get(from)
    if (transfer === undefined || transfer.snapshot.id !== id || next > transfer.snapshot.chunks) return
    transfer.heardMs = this.#options.port.nowMs()
    transfer.askedMs = transfer.heardMs
    if (restart) {
      transfer.next = next
      transfer.acknowledged = next
      transfer.attempt += 1
      transfer.isReading = false
    } else if (next > transfer.acknowledged) {
      transfer.acknowledged = next
    }
    this.#pump(transfer)
  }

  done(from: MemberId, id: string, ok: boolean): void {
    const transfer = this.#transfers.get(from)
    if (transfer === undefined || transfer.snapshot.id !== id) return
    this.#end(transfer, ok, ok ? 'snapshot sent' : 'snapshot refused by its receiver')
  }

  /** Ends all of them and tells nobody: leadership is lost, or the member ends. */
  clear(): void {
    this.#transfers.clear()
  }

  /** Ends all of them as given up: their snapshot is replaced by a newer one. */
  giveUp(why: string): void {
    for (const transfer of this.#transfers.values()) this.#end(transfer, false, why)
  }

  nextDeadlineMs(): number | undefined {
    let nextMs: number | undefined
    for (const { askedMs } of this.#transfers.values()) {
      const dueMs = askedMs + this.#options.retryMs
      if (nextMs === undefined || dueMs < nextMs) nextMs = dueMs
    }
    return nextMs
  }

  tick(nowMs: number): void {
    const { retryMs, giveUpMs } = this.#options
    for (const transfer of this.#transfers.values()) {
      if (nowMs < transfer.askedMs + retryMs) continue
      if (nowMs >= transfer.heardMs + giveUpMs) {
        this.#end(transfer, false, 'snapshot given up: its receiver does not answer')
        continue
      }
      transfer.next = undefined
      transfer.isReading = false
      transfer.attempt += 1
      this.#offer(transfer)
    }
  }

  #offer(transfer: Transfer): void {
    transfer.askedMs = this.#options.port.nowMs()
    this.#send(transfer, { type: 'snapshot-offer', term: transfer.term, snapshot: transfer.snapshot })
  }

  /** Reads and sends one chunk after the other while the window has room. */
  #pump(transfer: Transfer): void {
    const { port, store, windowChunks } = this.#options
    const { next, snapshot, attempt } = transfer
    if (transfer.isReading || next === undefined || next >= snapshot.chunks) return
    if (next - transfer.acknowledged >= windowChunks) return
    transfer.isReading = true
    const isOver = (): boolean =>
      this.#transfers.get(transfer.to) !== transfer || transfer.attempt !== attempt
    port.pipe(
      store.readChunk(snapshot, next),
      (bytes) => {
        if (isOver()) return
        transfer.isReading = false
        transfer.next = next + 1
        const crc = crc32c(bytes)
        const isSent = this.#send(transfer, {
          type: 'snapshot-chunk',
          id: snapshot.id,
          chunk: next,
          crc,
          bytes,
        })
        // Not sent: the link is gone, and the next offer finds the place again.
        if (isSent) this.#pump(transfer)
      },
      (error) => {
        if (isOver()) return
        this.#end(transfer, false, 'snapshot given up: it cannot be read')
        this.#options.onUnreadable(snapshot, error)
      },
    )
  }

  #send(transfer: Transfer, message: GroupMessage): boolean {
    const { to } = transfer
    return this.#options.port.send(nodeOfMember(to), encodeMessage(storeOfMember(to), message), 'bulk')
  }

  #end(transfer: Transfer, ok: boolean, what: string): void {
    this.#transfers.delete(transfer.to)
    const { port, onEnd } = this.#options
    const fields = {
      to: nodeOfMember(transfer.to),
      index: transfer.snapshot.meta.index,
      ms: Math.round(port.nowMs() - transfer.startedMs),
    }
    if (ok) port.log.info(fields, what)
    else port.log.warn(fields, what)
    onEnd(transfer.to, transfer.snapshot.meta.index, ok)
  }
}
