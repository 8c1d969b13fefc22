/** What a name is: a lock with a queue, a barrier, a latch, a counter, a value or a spin lock. */
import type { BarrierPlace } from './barrier-place.ts'
import type { DoubleBarrierPlace } from './double-barrier-place.ts'
import type { LockTicket, TicketList } from './lock-ticket.ts'
import type { PermitLock } from './permit-lock.ts'
import type { CounterPlace, LatchPlace, SpinPlace, ValuePlace } from './value-place.ts'

export type NamedPlace =
  | PermitLock
  | BarrierPlace
  | DoubleBarrierPlace
  | LatchPlace
  | CounterPlace
  | ValuePlace
  | SpinPlace

/** Of which a session's requests can be part. */
export type QueuedPlace = PermitLock | BarrierPlace | DoubleBarrierPlace | LatchPlace

/** What every place has. */
export interface PlaceBase {
  readonly name: string
  /** Number of the last snapshot that needs nothing of it any more: it was written there, or came after its moment. */
  seen: number
  /** Where tickets stand; none for those that nobody waits for. */
  readonly lists: readonly TicketList[]
  /** True when nothing is lost by forgetting it. */
  readonly isEmpty: boolean
}

/** What every place with tickets has. Both are told to the table first (`LockState.touch`). */
export interface QueuedBase extends PlaceBase {
  /** Takes a ticket out of its list. What follows from that is for `settle`. O(1). */
  readonly leave: (ticket: LockTicket, host: PlaceHost) => void
  /** Lets through whoever may go now, in order. O(those). */
  readonly settle: (host: PlaceHost) => void
}

/** What a place needs of the table around it. */
export interface PlaceHost {
  readonly nextToken: () => number
  readonly nextVersion: () => number
  /** A ticket that stood in a queue is through. */
  readonly granted: (ticket: LockTicket) => void
}
