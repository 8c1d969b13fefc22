/** One member of a `RaftCluster`: its core while it runs, its disk, its clock, and what its host holds back. */
import type { Core } from '@understudy/runtime/internal'
import type { HardState, MemberId, RaftMessage } from '../raft/raft-message.ts'
import type { RaftEffect, RaftInput, RaftStart, RaftStatus } from '../raft/raft-step.ts'
import { LogImage, RaftDisk } from './raft-disk.ts'
import type { WatchedMember } from './raft-safety.ts'

export type RaftCoreUnderTest = Core<RaftInput, RaftEffect, RaftStatus>

/** What was asked of a core and is not answered. */
export interface OpenRequest {
  readonly id: number
  readonly type: 'propose' | 'read' | 'change' | 'transfer'
  /** What was committed anywhere when it was asked. */
  readonly floor: number
  readonly isLease: boolean
  readonly commands: readonly Uint8Array[]
  /** Only in this term, if there is one. */
  readonly term: number | undefined
}

/** A monotonic clock that runs by `rate`, within one life of a process. */
export class DriftingClock {
  #localMs: number
  #sinceMs: number
  #rate: number
  #lastMs: number

  constructor(localMs: number, sinceMs: number, rate: number) {
    this.#localMs = localMs
    this.#sinceMs = sinceMs
    this.#rate = rate
    this.#lastMs = localMs
  }

  /** What it shows at that moment of the true time. */
  read(trueMs: number): number {
    this.#lastMs = Math.max(this.#lastMs, this.#localMs + (trueMs - this.#sinceMs) * this.#rate)
    return this.#lastMs
  }

  /** The moment of the true time when it will show this; at least `notBeforeMs`. */
  when(localMs: number, notBeforeMs: number): number {
    return Math.max(notBeforeMs, this.#sinceMs + (localMs - this.#localMs) / this.#rate)
  }

  /** It shows at least this now: rounding must not make a timer come too early for ever. */
  reach(localMs: number): void {
    this.#lastMs = Math.max(this.#lastMs, localMs)
  }

  setRate(rate: number, trueMs: number): void {
    this.#localMs = this.read(trueMs)
    this.#sinceMs = trueMs
    this.#rate = rate
  }
}

/** With another store a node is another member. */
export class RaftNode implements WatchedMember {
  readonly id: MemberId
  readonly name: string
  readonly store: number
  readonly disk: RaftDisk
  log: LogImage
  hard: HardState
  status: RaftStatus | undefined
  core: RaftCoreUnderTest | undefined
  clock = new DriftingClock(0, 0, 1)
  /** Counts its starts: what was on its way to an earlier life does not arrive. */
  life = 0
  pausedUntilMs = 0
  /** Its disk does not finish anything. */
  isDiskHeld = false
  isDiskBusy = false
  /** When the last completed write is told to the core: later ones not before. */
  toldAtMs = 0
  /** `send-durable`s that wait for the write of that number. */
  held: { readonly write: number; readonly to: MemberId; readonly message: RaftMessage }[] = []
  readonly open = new Map<number, OpenRequest>()
  /** Highest index of its state machine. */
  applied = 0
  isInstalling = false
  /** The process ends after so many effects of its next step. */
  crashAfter: number | undefined
  /** Who was heard when the group went quiet, and in which life. */
  quietWith: ReadonlyMap<MemberId, number> | undefined

  constructor(name: string, store: number, start: RaftStart) {
    this.name = name
    this.store = store
    this.id = memberId(name, store)
    this.disk = new RaftDisk(start)
    this.log = new LogImage(start.snapshot, start.entries)
    this.hard = start.hard
  }

  get isUp(): boolean {
    return this.core !== undefined
  }

  get isLeader(): boolean {
    return this.status?.role === 'leader'
  }

  /** What the store holds becomes what the core has given out. */
  reload(): RaftStart {
    const start = this.disk.load()
    this.log = new LogImage(start.snapshot, start.entries)
    this.hard = start.hard
    this.applied = start.snapshot.index
    return start
  }
}

export function memberId(name: string, store: number): MemberId {
  return `${name}@${store}`
}

export function nodeOf(id: MemberId): string {
  return id.slice(0, id.lastIndexOf('@'))
}
