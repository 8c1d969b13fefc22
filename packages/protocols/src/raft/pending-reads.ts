/**
 * Reads that wait: gathered like proposals, so that all of a turn share one question to the core, then held until this member
 * has applied the index that they were told (thesis, section 6.4).
 */
import { AskTimeout } from '@understudy/runtime'
import type { Pending, PendingDeadlines } from './pending-deadlines.ts'
import type { Fail } from './pending-proposals.ts'

/** How a gathered read is asked of the core. `local` asks nothing: it waits for the state to be there. */
export type ReadMode = 'round' | 'lease' | 'local'

export class PendingRead implements Pending {
  readonly mode: ReadMode
  readonly deadlineMs: number
  readonly #owner: PendingReads
  readonly #resolve: (index: number) => void
  readonly #reject: Fail
  isSettled = false
  letGo: (() => void) | undefined

  constructor(
    owner: PendingReads,
    mode: ReadMode,
    deadlineMs: number,
    resolve: (index: number) => void,
    reject: Fail,
  ) {
    this.#owner = owner
    this.mode = mode
    this.deadlineMs = deadlineMs
    this.#resolve = resolve
    this.#reject = reject
  }

  resolve(index: number): void {
    if (!this.#settle()) return
    this.#owner.deadlines.settled()
    this.#resolve(index)
  }

  reject(error: Error): void {
    if (!this.#settle()) return
    this.#owner.deadlines.settled()
    this.#reject(error)
  }

  readonly expire = (): void => {
    if (!this.#settle()) return
    const { group } = this.#owner
    this.#reject(
      new AskTimeout(
        `A read of the group "${group}" was not answered in time: no majority was reached, or this member is behind`,
        { group },
      ),
    )
  }

  #settle(): boolean {
    if (this.isSettled) return false
    this.isSettled = true
    this.#owner.waiting -= 1
    this.letGo?.()
    return true
  }
}

/** Reads that were told the same index. */
interface ReadyReads {
  readonly index: number
  readonly reads: readonly PendingRead[]
}

export class PendingReads {
  readonly group: string
  readonly deadlines: PendingDeadlines
  /** How many are not settled. */
  waiting = 0
  #gathered: PendingRead[] = []
  /** The leader was not ready for these: to be asked again. */
  #unready: PendingRead[] = []
  readonly #asked = new Map<number, readonly PendingRead[]>()
  /** By index, lowest first. */
  readonly #ready: ReadyReads[] = []

  constructor(group: string, deadlines: PendingDeadlines) {
    this.group = group
    this.deadlines = deadlines
  }

  /** True when it is the first of those that were gathered. */
  gather(read: PendingRead): boolean {
    this.waiting += 1
    this.deadlines.add(read)
    return this.#gathered.push(read) === 1
  }

  /** What was gathered, in one batch for each way of asking. */
  take(): readonly (readonly PendingRead[])[] {
    const gathered = this.#gathered
    this.#gathered = []
    const live = gathered.filter((read) => !read.isSettled)
    return (['round', 'lease', 'local'] as const)
      .map((mode) => live.filter((read) => read.mode === mode))
      .filter((batch) => batch.length > 0)
  }

  asked(id: number, reads: readonly PendingRead[]): void {
    this.#asked.set(id, reads)
  }

  /** Takes the batch that was asked under this id. */
  answered(id: number): readonly PendingRead[] | undefined {
    const reads = this.#asked.get(id)
    this.#asked.delete(id)
    return reads
  }

  /** They may be answered from the state at `index` or a later one. */
  ready(index: number, reads: readonly PendingRead[]): void {
    let at = this.#ready.length
    while (at > 0 && (this.#ready[at - 1]?.index ?? 0) > index) at -= 1
    this.#ready.splice(at, 0, { index, reads })
  }

  /** This member has applied everything up to `index`, and its state may be read. Hot when nothing waits: one comparison. */
  applied(index: number): void {
    if (this.#ready.length === 0) return
    let done = 0
    for (; done < this.#ready.length; done++) {
      const ready = this.#ready[done]
      if (ready === undefined || ready.index > index) break
      for (const read of ready.reads) read.resolve(index)
    }
    if (done > 0) this.#ready.splice(0, done)
  }

  /** To be asked again by `retake`. */
  unready(reads: readonly PendingRead[]): void {
    for (const read of reads) if (!read.isSettled) this.#unready.push(read)
  }

  get hasUnready(): boolean {
    return this.#unready.length > 0
  }

  /** The reads that the leader was not ready for. */
  retake(): readonly PendingRead[] {
    if (this.#unready.length === 0) return none
    const reads = this.#unready.filter((read) => !read.isSettled)
    this.#unready = []
    return reads
  }

  close(error: Error): void {
    const reads = [
      ...[...this.#asked.values()].flat(),
      ...this.#ready.flatMap((ready) => ready.reads),
      ...this.#unready,
      ...this.#gathered,
    ]
    this.#asked.clear()
    this.#ready.length = 0
    this.#unready = []
    this.#gathered = []
    for (const read of reads) read.reject(error)
  }
}

const none: readonly PendingRead[] = Object.freeze([])
