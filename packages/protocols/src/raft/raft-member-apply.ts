/**
 * Brings committed entries to the state, in order, and what came of them to those who wait. Stands still while the state is
 * being replaced by a snapshot, and lets others have their turn when there is much to apply.
 */
import type { MemberPort } from '../host/hosted-member.ts'
import type { PendingProposals } from './pending-proposals.ts'
import type { PendingReads } from './pending-reads.ts'
import type { RaftObserver } from './raft-group-options.ts'
import type { LogEntry, MemberId, RaftConfiguration } from './raft-message.ts'
import type { MemberState } from './raft-member-state.ts'

/** Entries applied in one turn. */
const entriesPerTurn = 2_048

export interface MemberApplyOptions {
  readonly port: MemberPort
  readonly self: MemberId
  readonly state: MemberState
  readonly proposals: PendingProposals
  readonly reads: PendingReads
  readonly observer: RaftObserver | undefined
  /** Name of the leader's node, for those whose place was taken. */
  readonly leader: () => string | undefined
  /** A configuration was applied, in the place of `before`. */
  readonly onConfiguration: (before: RaftConfiguration, now: RaftConfiguration, index: number) => void
  /** Everything given so far is applied. */
  readonly onDone: () => void
  /** The state machine threw. Nothing is applied after it. */
  readonly onFailure: (error: unknown, entry: LogEntry) => void
}

export class MemberApply {
  readonly #options: MemberApplyOptions
  readonly #batches: (readonly LogEntry[])[] = []
  /** Place in the first batch. */
  #at = 0
  #isPaused = false
  #isContinuing = false
  #hasEnded = false

  constructor(options: MemberApplyOptions) {
    this.#options = options
  }

  /** The state is being replaced: it cannot be read, and nothing is applied. */
  get isPaused(): boolean {
    return this.#isPaused
  }

  /**
   * `isWriting`: the same step has given something to the disk. Then the disk comes first, and works while this does: a
   * follower hears of what is committed with the next entries, and its answer to those is what clients wait for. Hot.
   */
  push(entries: readonly LogEntry[], isWriting = false): void {
    if (entries.length === 0) return
    this.#batches.push(entries)
    if (this.#isContinuing) return
    if (isWriting) {
      this.#isContinuing = true
      this.#options.port.afterLoop(this.#drainLater)
    } else this.#drain()
  }

  readonly #drainLater = (): void => this.#drain()

  pause(): void {
    this.#isPaused = true
  }

  /** The state is there again; entries that it shows already are passed over. */
  resume(): void {
    this.#isPaused = false
    if (!this.#isContinuing) this.#drain()
  }

  clear(): void {
    this.#hasEnded = true
    this.#batches.length = 0
  }

  #drain(): void {
    this.#isContinuing = false
    if (this.#isPaused || this.#hasEnded) return
    const { port, state, reads } = this.#options
    const nowMs = port.nowMs()
    let left = entriesPerTurn
    for (let batch = this.#batches[0]; batch !== undefined; batch = this.#batches[0]) {
      while (this.#at < batch.length) {
        if (left === 0) {
          reads.applied(state.index)
          this.#isContinuing = true
          port.later(this.#drainLater)
          return
        }
        left -= 1
        const entry = batch[this.#at++] as LogEntry
        if (entry.index > state.index && !this.#apply(entry, nowMs)) return
      }
      this.#batches.shift()
      this.#at = 0
    }
    reads.applied(state.index)
    this.#options.onDone()
  }

  #apply(entry: LogEntry, nowMs: number): boolean {
    const { self, state, proposals, observer, leader, onConfiguration, onFailure } = this.#options
    const before = entry.type === 'configuration' ? state.meta.configuration : undefined
    let applied
    try {
      applied = state.apply(entry, nowMs)
    } catch (error) {
      this.clear()
      onFailure(error, entry)
      return false
    }
    observer?.applied?.(self, entry, applied)
    proposals.at(entry.index, entry.term, leader())?.settleWith(applied)
    if (before !== undefined) onConfiguration(before, state.meta.configuration, entry.index)
    return true
  }
}
