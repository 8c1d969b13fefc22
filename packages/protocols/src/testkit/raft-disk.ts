/**
 * A Raft member's disk as its store promises it: a durable image, and a queue of writes that are not yet durable. A crash
 * keeps a prefix of that queue, never a part of a write.
 */
import type { HardState, LogEntry, LogPosition, SnapshotMeta } from '../raft/raft-message.ts'
import type { RaftStart } from '../raft/raft-step.ts'

/** A log behind a snapshot: of a disk, or as a core has given it out. Indices have no holes. */
export class LogImage {
  #snapshot: SnapshotMeta
  #entries: LogEntry[]

  constructor(snapshot: SnapshotMeta, entries: readonly LogEntry[]) {
    this.#snapshot = snapshot
    this.#entries = [...entries]
  }

  get snapshot(): SnapshotMeta {
    return this.#snapshot
  }

  get entries(): readonly LogEntry[] {
    return this.#entries
  }

  get last(): LogPosition {
    return this.#entries.at(-1) ?? this.#snapshot
  }

  entry(index: number): LogEntry | undefined {
    return this.#entries[index - this.#snapshot.index - 1]
  }

  /** Term of the entry there, also of the last one that the snapshot covers. */
  term(index: number): number | undefined {
    return index === this.#snapshot.index ? this.#snapshot.term : this.entry(index)?.term
  }

  /** The entry stands here, or a snapshot covers it. */
  holds(index: number, term: number): boolean {
    return index < this.#snapshot.index || this.term(index) === term
  }

  /** Whatever stood at the first index or behind it is replaced. @throws {RangeError} when that leaves a hole */
  replace(entries: readonly LogEntry[]): void {
    const [first] = entries
    if (first === undefined) return
    const kept = first.index - this.#snapshot.index - 1
    if (kept < 0 || kept > this.#entries.length) {
      throw new RangeError(
        `Entry ${first.index} does not join the log from ${this.#snapshot.index + 1} to ${this.last.index}`,
      )
    }
    this.#entries.length = kept
    for (const entry of entries) this.#entries.push(entry)
  }

  /** A snapshot of the own state: entries up to it are no longer needed. */
  cut(meta: SnapshotMeta): void {
    if (meta.index <= this.#snapshot.index) return
    this.#entries.splice(0, meta.index - this.#snapshot.index)
    this.#snapshot = meta
  }

  /** Another's snapshot: the whole log is gone. */
  install(meta: SnapshotMeta): void {
    this.#entries = []
    this.#snapshot = meta
  }
}

/** One write, all or nothing. */
export type DiskWrite =
  | {
      readonly type: 'persist'
      readonly hard: HardState | undefined
      readonly entries: readonly LogEntry[]
      /** Where the log ended after it. */
      readonly end: LogPosition
    }
  | { readonly type: 'install'; readonly meta: SnapshotMeta }
  /** A snapshot of the own state, and the log cut to `keepFrom`, exclusive. */
  | { readonly type: 'snapshot'; readonly meta: SnapshotMeta; readonly keepFrom: number }

/** The disk of one member. */
export class RaftDisk {
  #hard: HardState
  readonly log: LogImage
  /** Entries that were durable and can no longer be read, by index, as long as the log has not grown over them. */
  #lost: LogEntry[] = []
  #pending: DiskWrite[] = []
  #begun = 0

  constructor(start: RaftStart) {
    this.#hard = start.hard
    this.log = new LogImage(start.snapshot, start.entries)
  }

  get hard(): HardState {
    return this.#hard
  }

  /** How many writes were ever begun: the number of the last one. */
  get begun(): number {
    return this.#begun
  }

  /** Every write up to and with this number is durable. */
  get durable(): number {
    return this.#begun - this.#pending.length
  }

  get pending(): readonly DiskWrite[] {
    return this.#pending
  }

  /** Some of what was durable cannot be read, and has not been replaced. */
  get isLossy(): boolean {
    return this.#lost.length > 0
  }

  /** Puts a write at the end of the queue. */
  begin(write: DiskWrite): void {
    this.#pending.push(write)
    this.#begun++
  }

  /** Makes the first `count` writes durable, one after another, and gives them. */
  complete(count: number): readonly DiskWrite[] {
    const done = this.#pending.splice(0, count)
    for (const write of done) this.#write(write)
    return done
  }

  /** The process ends: the first `kept` writes of the queue are durable, the others never were. */
  crash(kept: number): readonly DiskWrite[] {
    const done = this.complete(kept)
    this.#begun -= this.#pending.length
    this.#pending = []
    return done
  }

  /** From this index on the log can no longer be read. Only while no process uses it. */
  corrupt(from: number): void {
    const kept = this.log.entries.filter((entry) => entry.index < from)
    const lost = this.log.entries.filter((entry) => entry.index >= from)
    if (lost.length === 0) return
    this.#lost = [...lost, ...this.#lost.filter((entry) => entry.index > (lost.at(-1)?.index ?? 0))]
    const { snapshot } = this.log
    this.log.install(snapshot)
    this.log.replace(kept)
  }

  /** The entry is durable here, or was when it was acknowledged. */
  held(index: number, term: number): boolean {
    return (
      this.log.holds(index, term) || this.#lost.some((entry) => entry.index === index && entry.term === term)
    )
  }

  /** What a process finds that is started on this disk. */
  load(): RaftStart {
    return {
      hard: this.#hard,
      snapshot: this.log.snapshot,
      entries: [...this.log.entries],
      lostUpTo: place(this.#lost.at(-1)),
    }
  }

  #write(write: DiskWrite): void {
    if (write.type === 'persist') {
      if (write.hard !== undefined) this.#hard = write.hard
      this.log.replace(write.entries)
    } else if (write.type === 'install') this.log.install(write.meta)
    else this.log.cut(write.meta)
    // Until the log ends at least as high, by term and then index, a vote must be weighed by the end that was lost.
    const lost = this.#lost.at(-1)
    const { last } = this.log
    if (lost === undefined) return
    if (last.term > lost.term || (last.term === lost.term && last.index >= lost.index)) this.#lost = []
  }
}

function place(entry: LogEntry | undefined): LogPosition | undefined {
  return entry === undefined ? undefined : { index: entry.index, term: entry.term }
}
