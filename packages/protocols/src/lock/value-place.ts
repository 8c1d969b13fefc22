/** Latches, counters, values and spin locks: names with a value instead of holders. */
import { TicketList, type LockTicket } from './lock-ticket.ts'
import type { PlaceBase, PlaceHost, QueuedBase } from './named-place.ts'

const noLists: readonly TicketList[] = []

/** Lets through whoever waits once its count is 0. */
export class LatchPlace implements QueuedBase {
  readonly kind = 'latch' as const
  readonly name: string
  seen: number
  count: number
  version: number
  readonly waiting = new TicketList(false)
  /** Let through, and not given up yet: they may still ask. */
  readonly through = new TicketList(true)
  readonly lists: readonly TicketList[] = [this.through, this.waiting]
  /** It stays until it is removed. */
  readonly isEmpty = false

  constructor(name: string, count: number, version: number, seen: number) {
    this.name = name
    this.count = count
    this.version = version
    this.seen = seen
  }

  leave(ticket: LockTicket): void {
    ticket.list?.remove(ticket)
  }

  settle(host: PlaceHost): void {
    if (this.count > 0) return
    for (
      let next = this.waiting.moveFirst(this.through);
      next !== undefined;
      next = this.waiting.moveFirst(this.through)
    ) {
      host.granted(next)
    }
  }
}

export class CounterPlace implements PlaceBase {
  readonly kind = 'counter' as const
  readonly name: string
  seen: number
  value: number
  version: number
  readonly lists = noLists
  readonly isEmpty = false

  constructor(name: string, value: number, version: number, seen: number) {
    this.name = name
    this.value = value
    this.version = version
    this.seen = seen
  }
}

export class ValuePlace implements PlaceBase {
  readonly kind = 'value' as const
  readonly name: string
  seen: number
  /** Never changed: a new one takes its place. */
  value: Uint8Array
  version: number
  readonly lists = noLists
  readonly isEmpty = false

  constructor(name: string, value: Uint8Array, version: number, seen: number) {
    this.name = name
    this.value = value
    this.version = version
    this.seen = seen
  }
}

/** Held by an owner until a time of the log; a new term gives it its whole time anew, as every lease. */
export class SpinPlace implements PlaceBase {
  readonly kind = 'spin' as const
  readonly name: string
  seen: number
  owner: string
  token: number
  ttlMs: number
  renewedUntilMs: number
  readonly lists = noLists
  readonly isEmpty = false

  constructor(
    name: string,
    owner: string,
    token: number,
    ttlMs: number,
    renewedUntilMs: number,
    seen: number,
  ) {
    this.name = name
    this.owner = owner
    this.token = token
    this.ttlMs = ttlMs
    this.renewedUntilMs = renewedUntilMs
    this.seen = seen
  }
}
