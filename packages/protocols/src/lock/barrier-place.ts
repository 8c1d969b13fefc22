/**
 * A cyclic barrier: it opens when as many wait as its parties are, and is a new one at once. Each opening has a number of its
 * own, drawn where tokens are: it grows, and is never used again, even when the barrier was forgotten in between (L9).
 */
import { TicketList, type LockTicket } from './lock-ticket.ts'
import type { PlaceHost, QueuedBase } from './named-place.ts'

export class BarrierPlace implements QueuedBase {
  readonly kind = 'barrier' as const
  readonly name: string
  seen: number
  parties: number
  readonly waiting = new TicketList(false)
  /** Let through, and not given up yet: they may still ask. */
  readonly through = new TicketList(true)
  readonly lists: readonly TicketList[] = [this.through, this.waiting]

  constructor(name: string, parties: number, seen: number) {
    this.name = name
    this.parties = parties
    this.seen = seen
  }

  get isEmpty(): boolean {
    return this.waiting.size === 0 && this.through.size === 0
  }

  leave(ticket: LockTicket): void {
    ticket.list?.remove(ticket)
  }

  settle(host: PlaceHost): void {
    if (this.waiting.size < this.parties) return
    const generation = host.nextToken()
    for (let left = this.parties; left > 0; left--) {
      const ticket = this.waiting.moveFirst(this.through)
      if (ticket === undefined) break
      ticket.token = generation
      host.granted(ticket)
    }
  }
}
