/**
 * What a leader has to see to by itself: expiring what is over, forgetting what is old. One duty at a time, each a command that
 * counts only in the leader's term; the log's own time decides what it does.
 */
import type { ConsensusGroup } from '../core/consensus-group.ts'
import type { DeskContext } from './group-desk.ts'

/** One for each service. The service calls `look` now and then. */
export class DutyLoop<R> {
  readonly #ctx: DeskContext
  readonly #group: ConsensusGroup<R>
  /** A proposal of the leader's own is under way. */
  #isBusy = false
  /** Log time of the newest command, and when that was first seen here. */
  #seenTimeMs = -1
  #seenAtMs = 0

  constructor(ctx: DeskContext, group: ConsensusGroup<R>) {
    this.#ctx = ctx
    this.#group = group
  }

  get isBusy(): boolean {
    return this.#isBusy
  }

  /** Says what the log's time is, by the newest command that is applied here. Call it often: what it has not seen is late. */
  see(timeMs: number): void {
    if (timeMs === this.#seenTimeMs) return
    this.#seenTimeMs = timeMs
    this.#seenAtMs = this.#ctx.now()
  }

  /**
   * Proposes what `duty` finds to do at about this time of the log, which is late at most: what is not over when the command is
   * applied stays. Not while the last one is under way.
   */
  lead(
    term: number,
    duty: (timeMs: number) => { readonly command: Uint8Array; readonly what: string } | undefined,
  ): void {
    if (this.#isBusy) return
    const due = duty(this.#seenTimeMs + Math.floor(this.#ctx.now() - this.#seenAtMs))
    if (due === undefined) return
    this.#isBusy = true
    const done = (): void => {
      this.#isBusy = false
    }
    this.#group.propose(due.command, { term }).then(done, (error: unknown) => {
      done()
      this.#ctx.log.debug(
        { err: error, duty: due.what },
        'a duty of the leader was not done, and is tried again',
      )
    })
  }
}
