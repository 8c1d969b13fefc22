/**
 * What a member has applied: the state machine, the client sessions around it, and the log's time. Everything here changes by
 * entries of the log alone, so that it is the same on every member at the same index (R14, R17).
 */
import type { StateMachine } from '../core/state-machine.ts'
import { LogClock } from '../core/log-clock.ts'
import { SessionTable } from '../core/session-table.ts'
import { decodeCommand } from './entry-codec.ts'
import type { Applied } from './pending-proposals.ts'
import type { LogEntry, RaftConfiguration, SnapshotMeta } from './raft-message.ts'
import { readSnapshotFrame, SnapshotContent } from './snapshot-content.ts'

const noResult: Applied = { type: 'result', result: undefined }
const full: Applied = { type: 'full' }
const expired: Applied = { type: 'expired' }
const answered: Applied = { type: 'answered' }

/** An entry takes about so much beside its data. */
const entryOverheadBytes = 64

export class MemberState {
  readonly #machine: StateMachine<unknown>
  readonly #sessions = new SessionTable<unknown>()
  readonly clock = new LogClock()
  #index = 0
  #term = 0
  #configuration: RaftConfiguration
  /** Entries and their bytes since the newest snapshot. */
  #logEntries = 0
  #logBytes = 0

  constructor(machine: StateMachine<unknown>, configuration: RaftConfiguration) {
    this.#machine = machine
    this.#configuration = configuration
  }

  /** The last entry that it shows, and the configuration as of it. */
  get meta(): SnapshotMeta {
    return { index: this.#index, term: this.#term, configuration: this.#configuration }
  }

  get index(): number {
    return this.#index
  }

  get logEntries(): number {
    return this.#logEntries
  }

  get logBytes(): number {
    return this.#logBytes
  }

  get sessionCount(): number {
    return this.#sessions.size
  }

  /** A leader with this reading of the log's time would end sessions. */
  isAnySessionOver(timeMs: number): boolean {
    return this.#sessions.isAnyOver(timeMs)
  }

  /** The founding configuration, of a member that begins with an empty log. */
  begin(configuration: RaftConfiguration): void {
    this.#configuration = configuration
  }

  /**
   * Applies the next entry. Hot. Gives what came of it, for whoever proposed it.
   *
   * @throws whatever the state machine throws, and RangeError if the entry is none of ours
   */
  apply(entry: LogEntry, nowMs: number): Applied {
    if (entry.index !== this.#index + 1) {
      throw new Error(`Entry ${entry.index} is to be applied behind ${this.#index}: the log has a hole`)
    }
    let applied = noResult
    let bytes = entryOverheadBytes
    if (entry.type === 'command') {
      applied = this.#applyCommand(entry.index, entry.term, entry.data, nowMs)
      bytes += entry.data.length
    } else if (entry.type === 'configuration') {
      this.#configuration = entry.configuration
    }
    this.#index = entry.index
    this.#term = entry.term
    this.#logEntries += 1
    this.#logBytes += bytes
    return applied
  }

  /** Everything at this moment, in chunks; what is applied later does not show in them. From here on the log counts anew. */
  snapshot(): SnapshotContent {
    const frame = { timeMs: this.clock.lastMs, sessions: this.#sessions.snapshot() }
    this.#logEntries = 0
    this.#logBytes = 0
    return new SnapshotContent(frame, this.#machine.snapshot())
  }

  /** Becomes what the chunks hold. @throws when they are not what `snapshot` gave, or the machine refuses them */
  async restore(meta: SnapshotMeta, chunks: AsyncIterator<Uint8Array>, nowMs: () => number): Promise<void> {
    const { frame, rest } = await readSnapshotFrame(chunks)
    await this.#machine.restore(rest)
    this.#sessions.restore(frame.sessions)
    this.clock.restore(frame.timeMs, nowMs())
    this.#index = meta.index
    this.#term = meta.term
    this.#configuration = meta.configuration
    this.#logEntries = 0
    this.#logBytes = 0
  }

  #applyCommand(index: number, term: number, entryData: Uint8Array, nowMs: number): Applied {
    const { header, command } = decodeCommand(entryData)
    const timeMs = this.clock.applied(header.timeMs, nowMs)
    switch (header.kind) {
      case 'command': {
        if (header.session === 0) {
          return { type: 'result', result: this.#machine.apply({ index, term, timeMs, data: command }) }
        }
        const verdict = this.#sessions.check(header, timeMs)
        if (verdict.type === 'apply') {
          const result = this.#machine.apply({ index, term, timeMs, data: command })
          this.#sessions.keep(header, result)
          return { type: 'result', result }
        }
        if (verdict.type === 'known') return { type: 'result', result: verdict.result }
        return verdict.type === 'full' ? full : verdict.type === 'expired' ? expired : answered
      }
      case 'open-session':
        this.#sessions.open(index, decodeTtl(command), timeMs)
        return { type: 'result', result: index }
      case 'expire-sessions':
        this.#sessions.expire(timeMs)
        return noResult
    }
  }
}

/** The time to live of a session as the bytes of its command. */
export function encodeTtl(ttlMs: number): Uint8Array {
  return new TextEncoder().encode(String(ttlMs))
}

function decodeTtl(bytes: Uint8Array): number {
  return Number(new TextDecoder().decode(bytes))
}
