/**
 * The log of one member: all entries behind the last cut in memory, where it is committed, given out and durable, and which
 * configurations stand in it. Pure.
 *
 * Indices: `start` < `first` <= ... `applied` <= `commit` <= `last`. The entry at index i is element i - start - 1.
 */
import type { LogEntry, LogPosition, MemberId, RaftConfiguration, SnapshotMeta } from './raft-message.ts'
import type { RaftStart } from './raft-step.ts'
import { isVoter } from './raft-configuration.ts'
import { RaftViolation } from './raft-violation.ts'

/** What an entry weighs besides its data, for limits in bytes. */
const entryOverheadBytes = 24

/** A configuration and the index of its entry. */
export interface PlacedConfiguration {
  readonly index: number
  readonly configuration: RaftConfiguration
}

/** Something given out to be written. Writes become durable in order. */
interface PendingWrite {
  /** The first index that it changes; one past the end when it changes none. */
  readonly first: number
  /** Where the log ended after it. */
  readonly index: number
  readonly term: number
}

/** What an entry counts for in limits: its data and a constant. */
export function entryBytes(entry: LogEntry): number {
  return entry.type === 'command' ? entry.data.length + entryOverheadBytes : entryOverheadBytes
}

export class RaftLog {
  /** The place before the first entry that is here. */
  #start: LogPosition
  #snapshot: SnapshotMeta
  #entries: LogEntry[]
  #lastTerm: number
  #commit: number
  #applied: number
  /** Ascending by index; the first rules at `start`. */
  #configurations: PlacedConfiguration[]
  #writes: PendingWrite[] = []
  #writesDone = 0
  /** Snapshots that are being put in force, by their index: over when that is told, whatever else is durable. */
  #installs: number[] = []
  /** The lowest index that was changed since the last write was given out; one past the end: none. */
  #unwritten: number
  /** The slice that was made last: the same entries go to each follower and to the disk as the very same array. */
  #slice: readonly LogEntry[] = []
  #sliceFrom = 0

  constructor(start: RaftStart) {
    const { snapshot, entries } = start
    this.#snapshot = snapshot
    this.#start = { index: snapshot.index, term: snapshot.term }
    this.#entries = [...entries]
    this.#lastTerm = entries.at(-1)?.term ?? snapshot.term
    this.#commit = snapshot.index
    this.#applied = snapshot.index
    this.#configurations = [{ index: snapshot.index, configuration: snapshot.configuration }]
    this.#unwritten = snapshot.index + entries.length + 1
    let { index, term } = snapshot
    for (const entry of entries) {
      index++
      if (entry.index !== index || entry.term < term) {
        throw new RaftViolation('the stored log has a hole or goes back in terms', {
          expectedIndex: index,
          foundIndex: entry.index,
          foundTerm: entry.term,
          termBefore: term,
        })
      }
      term = entry.term
      this.#note(entry)
    }
  }

  /** Index of the first entry that is here. */
  get first(): number {
    return this.#start.index + 1
  }

  get last(): number {
    return this.#start.index + this.#entries.length
  }

  get lastTerm(): number {
    return this.#lastTerm
  }

  get commit(): number {
    return this.#commit
  }

  /** The highest index that was given out to be applied. */
  get applied(): number {
    return this.#applied
  }

  /** The newest snapshot. */
  get snapshot(): SnapshotMeta {
    return this.#snapshot
  }

  /** A received snapshot is being put in force. */
  get isInstalling(): boolean {
    return this.#installs.length > 0
  }

  /** How many writes were given out. */
  get writes(): number {
    return this.#writesDone + this.#writes.length
  }

  /** How many of them are durable. */
  get writesDone(): number {
    return this.#writesDone
  }

  /** Up to here the log is durable as it stands. */
  get durable(): number {
    let durable = Math.min(this.last, this.#unwritten - 1)
    for (const { first } of this.#writes) if (first <= durable) durable = first - 1
    return durable
  }

  /** The configuration that rules: the last one that was appended, committed or not (paper, section 6). */
  get configuration(): RaftConfiguration {
    return this.#ruling().configuration
  }

  /** Where its entry stands. */
  get configurationIndex(): number {
    return this.#ruling().index
  }

  /** The one before it while it is not committed, which may come back; else `undefined`. */
  get previousConfiguration(): RaftConfiguration | undefined {
    if (this.configurationIndex <= this.#commit) return undefined
    return this.#configurations.at(-2)?.configuration
  }

  /**
   * May lead: it votes by the configuration that rules, or by the one before while that may come back. Without the latter a
   * group can get stuck whose leader died in removing this one (thesis, section 4.2.2).
   */
  mayVote(member: MemberId): boolean {
    if (isVoter(this.configuration, member)) return true
    const previous = this.previousConfiguration
    return previous !== undefined && isVoter(previous, member)
  }

  /** The term at that index; `undefined` where it is cut off or not yet there. */
  termAt(index: number): number | undefined {
    if (index === this.#start.index) return this.#start.term
    return this.#entries[index - this.#start.index - 1]?.term
  }

  /** True when the log ends at or before that place, as votes are compared (paper, section 5.4.1). */
  endsBy(position: LogPosition): boolean {
    return position.term > this.#lastTerm || (position.term === this.#lastTerm && position.index >= this.last)
  }

  /**
   * The last place at or below `index` whose term is at most `term`: where two logs may agree at the latest. O(log n).
   */
  lastAtMost(index: number, term: number): LogPosition {
    let low = this.#start.index
    let high = Math.max(low, Math.min(index, this.last))
    while (low < high) {
      const middle = Math.ceil((low + high) / 2)
      if ((this.termAt(middle) as number) <= term) low = middle
      else high = middle - 1
    }
    return { index: low, term: this.termAt(low) as number }
  }

  /** Entries from `from` up to `to`, both included, as many as fit; at least one, if there is one. Not to be changed. Hot. */
  entries(from: number, to: number, bytesMax: number = Infinity): readonly LogEntry[] {
    const { index } = this.#start
    if (from <= index) {
      throw new RaftViolation('entries were asked for that are cut off', { from, start: index })
    }
    let end = Math.min(to, this.last)
    if (bytesMax !== Infinity) {
      let bytes = 0
      for (let at = from; at <= end; at++) {
        bytes += entryBytes(this.#entries[at - index - 1] as LogEntry)
        if (bytes > bytesMax && at > from) end = at - 1
      }
    }
    const length = Math.max(0, end - from + 1)
    if (this.#sliceFrom !== from || this.#slice.length !== length) {
      this.#slice = this.#entries.slice(from - index - 1, from - index - 1 + length)
      this.#sliceFrom = from
    }
    return this.#slice
  }

  /** Appends to the end. The array is kept: do not change it. Hot. */
  push(entries: readonly LogEntry[]): void {
    const { length } = entries
    if (length === 0) return
    const from = this.last + 1
    for (let i = 0; i < length; i++) {
      const entry = entries[i] as LogEntry
      this.#entries.push(entry)
      if (entry.type === 'configuration') this.#note(entry)
    }
    this.#lastTerm = (entries[length - 1] as LogEntry).term
    this.#unwritten = Math.min(this.#unwritten, from)
    this.#slice = entries
    this.#sliceFrom = from
  }

  /**
   * Takes a leader's entries, which follow a place where the logs agree. What is here already stays: a suffix goes only where
   * the terms differ, never because the message is shorter (R3).
   *
   * @returns whether a configuration came or went
   * @throws {RaftViolation} if something committed would be replaced
   */
  merge(entries: readonly LogEntry[]): boolean {
    const { length } = entries
    let known = 0
    while (known < length) {
      const { index, term } = entries[known] as LogEntry
      if (this.termAt(index) !== term) break
      known++
    }
    if (known === length) return false
    const from = (entries[known] as LogEntry).index
    const ruling = this.#ruling()
    if (from <= this.last) this.#truncate(from)
    this.push(known === 0 ? entries : entries.slice(known))
    return this.#ruling() !== ruling
  }

  /** @throws {RaftViolation} if it would go back, or beyond the end */
  commitTo(index: number): void {
    if (index < this.#commit || index > this.last) {
      throw new RaftViolation('the commit index would go back or beyond the log', {
        commit: this.#commit,
        to: index,
        last: this.last,
      })
    }
    this.#commit = index
  }

  /** What is committed and was not given out yet: given out now. Hot. */
  takeCommitted(): readonly LogEntry[] {
    const entries = this.entries(this.#applied + 1, this.#commit)
    this.#applied = this.#commit
    return entries
  }

  /** There are entries that no write has taken. */
  get hasUnwritten(): boolean {
    return this.#unwritten <= this.last
  }

  /** The entries to write now, and counts them as given out. Empty: a write of the hard state alone. Hot. */
  takeUnwritten(): readonly LogEntry[] {
    const first = this.#unwritten
    const entries = this.hasUnwritten ? this.entries(first, this.last) : noEntries
    this.#unwritten = this.last + 1
    this.#writes.push({ first, index: this.last, term: this.#lastTerm })
    return entries
  }

  /**
   * A write that ended there is durable, and all before it. Which write that was is told by the order: the same place can
   * have been written, replaced and written again (R16), and then the first of these is meant.
   */
  written(upTo: LogPosition): void {
    const at = this.#writes.findIndex((write) => write.index === upTo.index && write.term === upTo.term)
    this.#writes.splice(0, at + 1)
    this.#writesDone += at + 1
  }

  /** A snapshot is in force, and with it all that was given out before. */
  installed(meta: SnapshotMeta): void {
    this.written(meta)
    this.#installs = this.#installs.filter((index) => index > meta.index)
  }

  /** Becomes what a received snapshot stands for, with no entries behind it. */
  restore(meta: SnapshotMeta): void {
    if (meta.index <= this.#commit) {
      throw new RaftViolation('a snapshot would replace what is committed', {
        snapshot: meta.index,
        commit: this.#commit,
      })
    }
    // Nothing of what is written before counts as more durable by it until it is in force.
    const first = Math.min(this.durable + 1, meta.index)
    this.#snapshot = meta
    this.#start = { index: meta.index, term: meta.term }
    this.#entries = []
    this.#lastTerm = meta.term
    this.#commit = meta.index
    this.#applied = meta.index
    this.#configurations = [{ index: meta.index, configuration: meta.configuration }]
    this.#unwritten = meta.index + 1
    this.#sliceFrom = 0
    this.#slice = noEntries
    this.#installs.push(meta.index)
    this.#writes.push({ first, index: meta.index, term: meta.term })
  }

  /** A snapshot of the own state is durable. @throws {RaftViolation} if it is of something that was not applied */
  snapshotTaken(meta: SnapshotMeta): void {
    if (meta.index <= this.#snapshot.index) return
    if (meta.index > this.#applied) {
      throw new RaftViolation('a snapshot is newer than what was given out to be applied', {
        snapshot: meta.index,
        applied: this.#applied,
      })
    }
    this.#snapshot = meta
  }

  /** Cuts off all up to and with `index`, at most up to the newest snapshot. O(entries that stay). */
  cut(index: number): void {
    const to = Math.min(index, this.#snapshot.index)
    if (to <= this.#start.index) return
    const term = this.termAt(to) as number
    this.#entries = this.#entries.slice(to - this.#start.index)
    this.#start = { index: to, term }
    const ruling = this.#configurations.findLastIndex((placed) => placed.index <= to)
    this.#configurations = this.#configurations.slice(Math.max(0, ruling))
    this.#sliceFrom = 0
    this.#slice = noEntries
  }

  #ruling(): PlacedConfiguration {
    return this.#configurations[this.#configurations.length - 1] as PlacedConfiguration
  }

  #truncate(from: number): void {
    if (from <= this.#commit) {
      throw new RaftViolation('a committed entry would be replaced', { index: from, commit: this.#commit })
    }
    this.#entries.length = from - this.#start.index - 1
    this.#lastTerm = this.termAt(from - 1) as number
    while (this.#ruling().index >= from) this.#configurations.pop()
    this.#unwritten = Math.min(this.#unwritten, from)
    this.#sliceFrom = 0
    this.#slice = noEntries
  }

  #note(entry: LogEntry): void {
    if (entry.type !== 'configuration') return
    this.#configurations.push({ index: entry.index, configuration: entry.configuration })
  }
}

const noEntries: readonly LogEntry[] = Object.freeze([])
