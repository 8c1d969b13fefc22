/**
 * The snapshots of one member: taken when the log has grown enough, sent to followers that are behind it, received and put in
 * force. A snapshot that is on its way to somebody is not replaced, and the log behind it is kept, until that would cost too
 * much (R13).
 */
import type { MemberPort } from '../host/hosted-member.ts'
import type { CheckedGroupOptions } from './raft-group-options.ts'
import type { GroupMessage } from './message-codec.ts'
import type { RaftCore } from './raft-core.ts'
import type { MemberApply } from './raft-member-apply.ts'
import type { MemberState } from './raft-member-state.ts'
import type { MemberWrites } from './raft-member-writes.ts'
import type { MemberId, SnapshotMeta } from './raft-message.ts'
import type { RaftInput } from './raft-step.ts'
import type { RaftStore, StoredSnapshot } from './raft-store.ts'
import { SnapshotReceiver } from './snapshot-receiver.ts'
import { SnapshotSender } from './snapshot-sender.ts'
import type { SnapshotContent } from './snapshot-content.ts'

/** The log may grow to so many times its measure before a transfer under way is given up for a newer snapshot. */
const holdFactor = 4

export interface MemberSnapshotsOptions {
  readonly port: MemberPort
  readonly self: MemberId
  readonly store: RaftStore
  readonly state: MemberState
  readonly apply: MemberApply
  readonly writes: MemberWrites
  readonly group: CheckedGroupOptions
  readonly step: (input: RaftInput) => void
  readonly core: () => RaftCore | undefined
  /** The state jumped to this index. */
  readonly onRestored: (meta: SnapshotMeta) => void
  /** The snapshot in force cannot become the state: this member cannot go on. */
  readonly onFailure: (error: unknown) => void
}

export class MemberSnapshots {
  readonly #options: MemberSnapshotsOptions
  readonly #sender: SnapshotSender
  readonly #receiver: SnapshotReceiver
  /** In force on the own disk. */
  #newest: StoredSnapshot | undefined
  /** It cannot be read: the next one is due. */
  #isUnreadable = false
  #saving: SnapshotContent | undefined
  #savedWaiters: ((newest: StoredSnapshot | undefined) => void)[] = []
  /** Followers that are to get the newest as soon as there is one. */
  readonly #wanting = new Set<MemberId>()
  /** In force on disk, and to become the state when nothing walks it any more. */
  #restoring: StoredSnapshot | undefined
  /** Received whole while another one was becoming the state. */
  #deferred: (() => void) | undefined

  constructor(options: MemberSnapshotsOptions, newest: StoredSnapshot | undefined) {
    const { port, store, group, core, step } = options
    this.#options = options
    this.#newest = newest
    this.#sender = new SnapshotSender({
      port,
      store,
      windowChunks: group.snapshotWindowChunks,
      retryMs: group.figures.electionTimeoutMs,
      giveUpMs: Math.max(group.snapshotGiveUpMs, 2 * group.figures.electionTimeoutMs),
      onEnd: (to, index, ok) => step({ type: 'snapshot-status', to, index, ok }),
      onUnreadable: (snapshot, error) => this.#cannotRead(snapshot, error),
    })
    this.#receiver = new SnapshotReceiver({
      port,
      store,
      isCovered: (index) => index <= (core()?.commit ?? 0),
      onWhole: (from, term, snapshot) => this.#whole(from, term, snapshot),
    })
  }

  get newest(): StoredSnapshot | undefined {
    return this.#newest
  }

  nextDeadlineMs(): number | undefined {
    return this.#sender.nextDeadlineMs()
  }

  tick(nowMs: number): void {
    this.#sender.tick(nowMs)
  }

  receive(from: MemberId, message: GroupMessage): void {
    switch (message.type) {
      case 'snapshot-offer':
        this.#receiver.offered(from, message.term, message.snapshot)
        return
      case 'snapshot-chunk':
        this.#receiver.chunk(from, message.id, message.chunk, message.crc, message.bytes)
        return
      case 'snapshot-want':
        this.#sender.wanted(from, message.id, message.next, message.restart)
        return
      case 'snapshot-done':
        this.#sender.done(from, message.id, message.ok)
        return
      default:
    }
  }

  // ---- Taking --------------------------------------------------------------------------------------------------

  /** Takes one if the log has grown enough since the last one. Called behind what was applied. */
  takeIfDue(): void {
    const { state, group } = this.#options
    const { logEntries, logBytes } = state
    if (!this.#isUnreadable) {
      if (logEntries < group.snapshotEntries && logBytes < group.snapshotBytes) return
      // What was written to the log stays below what is written of snapshots by that much.
      if (logBytes * 2 < (this.#newest?.bytes ?? 0)) return
      const isTooMuch =
        logEntries >= group.snapshotEntries * holdFactor || logBytes >= group.snapshotBytes * holdFactor
      if (this.#sender.size > 0 && !isTooMuch) return
    }
    this.#take()
  }

  /** Takes one now, or waits for the one that is being taken. Gives the newest then; `undefined`: none can be taken now. */
  take(waiter: (newest: StoredSnapshot | undefined) => void): void {
    const { state } = this.#options
    if (this.#newest?.meta.index === state.index || state.index === 0) {
      waiter(this.#newest)
      return
    }
    this.#take()
    if (this.#saving === undefined) waiter(undefined)
    else this.#savedWaiters.push(waiter)
  }

  #take(): void {
    const { port, store, state, apply, group, step } = this.#options
    if (this.#saving !== undefined || this.#restoring !== undefined || apply.isPaused) return
    const { meta } = state
    if (meta.index === 0 || meta.index === this.#newest?.meta.index) return
    this.#isUnreadable = false
    const id = `${port.storeId}-${meta.index}-${port.random.u32().toString(36)}`
    const keepFrom = Math.max(1, meta.index + 1 - group.keptEntries)
    const beganMs = port.nowMs()
    const content = state.snapshot()
    this.#saving = content
    this.#sender.giveUp('snapshot given up: a newer one takes its place')
    port.pipe(store.saveSnapshot(meta, id, content, keepFrom), (snapshot) => {
      this.#saving = undefined
      if (snapshot.id === id) {
        this.#newest = snapshot
        const { bytes, chunks } = snapshot
        port.log.info(
          { index: meta.index, bytes, chunks, ms: Math.round(port.nowMs() - beganMs) },
          'snapshot taken',
        )
        step({ type: 'compact', meta, keepFrom })
      }
      const waiters = this.#savedWaiters
      this.#savedWaiters = []
      for (const waiter of waiters) waiter(this.#newest)
      this.#sendWanted()
      this.#restoreIfFree()
    })
  }

  // ---- Sending -------------------------------------------------------------------------------------------------

  /** The core wants this follower to have the newest snapshot. */
  sendTo(to: MemberId): void {
    this.#wanting.add(to)
    this.#sendWanted()
  }

  /** Leadership is over. */
  stopSending(): void {
    this.#wanting.clear()
    this.#sender.clear()
  }

  #sendWanted(): void {
    if (this.#wanting.size === 0 || this.#saving !== undefined) return
    const core = this.#options.core()
    if (core?.role !== 'leader') {
      this.#wanting.clear()
      return
    }
    if (this.#newest === undefined) {
      this.#take()
      return
    }
    for (const to of this.#wanting) this.#sender.start(to, this.#newest, core.term)
    this.#wanting.clear()
  }

  #cannotRead(snapshot: StoredSnapshot, error: unknown): void {
    this.#options.port.log.error(
      { index: snapshot.meta.index, err: error },
      'the snapshot in force cannot be read: another one is taken as soon as something is applied',
    )
    this.#isUnreadable = true
    this.#take()
  }

  // ---- Receiving -----------------------------------------------------------------------------------------------

  #whole(from: MemberId, term: number, snapshot: StoredSnapshot): void {
    const { step, core } = this.#options
    if (this.#restoring !== undefined) {
      this.#deferred = () => this.#whole(from, term, snapshot)
      return
    }
    const { meta } = snapshot
    step({ type: 'snapshot', from, term, meta })
    // The core had no use for it: everything that it shows is committed here, or its leader is no more.
    if (this.#restoring === undefined) this.#receiver.end(meta.index <= (core()?.commit ?? 0))
  }

  /** The core puts the received snapshot in force. */
  install(meta: SnapshotMeta): void {
    const { port, store, apply, writes, step } = this.#options
    const snapshot = this.#receiver.whole
    if (snapshot === undefined || snapshot.meta.index !== meta.index || snapshot.meta.term !== meta.term) {
      throw new Error(
        `Group "${port.group}" is to install a snapshot at ${meta.index} that it has not received`,
      )
    }
    // What the core gives out to be applied from here on follows the snapshot.
    apply.pause()
    this.#restoring = snapshot
    this.#savedWaiters.splice(0).forEach((waiter) => waiter(undefined))
    writes.write(
      () => store.install(snapshot),
      () => {
        this.#newest = snapshot
        this.#isUnreadable = false
        step({ type: 'installed', meta })
        this.#receiver.end(true)
        this.#restoreIfFree()
      },
    )
  }

  /** Not while the state is still being walked for a snapshot of its own, which will find that it is too late. */
  #restoreIfFree(): void {
    const snapshot = this.#restoring
    if (snapshot === undefined || this.#saving !== undefined || this.#newest !== snapshot) return
    const { port, self, store, state, apply, group, onRestored, onFailure } = this.#options
    const { meta } = snapshot
    port.pipe(
      state.restore(meta, chunksOf(store, snapshot), port.nowMs),
      () => {
        port.log.info({ index: meta.index, bytes: snapshot.bytes }, 'snapshot installed')
        this.#restoring = undefined
        group.observer?.restored?.(self, meta)
        onRestored(meta)
        apply.resume()
        const deferred = this.#deferred
        this.#deferred = undefined
        deferred?.()
      },
      onFailure,
    )
  }

  /** The member ends. */
  close(): void {
    this.#saving?.abandon()
    this.#savedWaiters.splice(0).forEach((waiter) => waiter(undefined))
    this.stopSending()
    this.#receiver.clear()
  }
}

/** The chunks of a snapshot on the own disk, one read at a time. */
export async function* chunksOf(
  store: RaftStore,
  snapshot: StoredSnapshot,
): AsyncGenerator<Uint8Array, undefined> {
  for (let chunk = 0; chunk < snapshot.chunks; chunk++) yield await store.readChunk(snapshot, chunk)
  return undefined
}
