/**
 * The run queue seam: which ready cell runs next, and when the pump is called.
 */

/** What a run queue holds. `nextReady` is the queue's own link: one cell stands in at most one queue. */
export interface Ready {
  nextReady: Ready | null
  /** System actors (heartbeats, membership) are served before all others. */
  readonly isSystem: boolean
}

/**
 * The ready cells of one system. `push` asks for a pump when none is due. The pump takes cells with `next` until it is
 * empty or the pump's budget is used, then says which with `idle` or `yieldNow`.
 */
export interface RunQueue {
  /**
   * Messages after which a cell's turn ends, if not before: `Infinity` where batches are fast, 1 where a simulator
   * decides after each message who is next.
   */
  readonly turnMessagesMax: number
  readonly push: (cell: Ready) => void
  readonly next: () => Ready | null
  /** The pump found nothing more to do. */
  readonly idle: () => void
  /** The pump used its budget: it is called again after timers and sockets had their turn. */
  readonly yieldNow: () => void
}

export type RunQueueFactory = (pump: () => void) => RunQueue
