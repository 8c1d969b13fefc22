/**
 * A double barrier: as many as its parties enter together, and leave together. There is one generation inside at a time: who
 * comes while it is there, or is on its way out, belongs to a later one. Who gives up its entry, or whose session ends, has
 * left for the others (L9).
 */
import { TicketList, type LockTicket } from './lock-ticket.ts'
import type { PlaceHost, QueuedBase } from './named-place.ts'

export class DoubleBarrierPlace implements QueuedBase {
  readonly kind = 'double-barrier' as const
  readonly name: string
  seen: number
  parties: number
  /** Of those inside and those that leave; 0 when there are none. */
  generation = 0
  readonly entering = new TicketList(false)
  readonly inside = new TicketList(true)
  readonly leaving = new TicketList(false)
  /** Out, and not given up yet: they may still ask. */
  readonly out = new TicketList(true)
  readonly lists: readonly TicketList[] = [this.inside, this.leaving, this.out, this.entering]

  constructor(name: string, parties: number, seen: number) {
    this.name = name
    this.parties = parties
    this.seen = seen
  }

  get isEmpty(): boolean {
    return this.lists.every((list) => list.size === 0)
  }

  leave(ticket: LockTicket): void {
    ticket.list?.remove(ticket)
  }

  settle(host: PlaceHost): void {
    if (this.inside.size > 0) return
    for (
      let out = this.leaving.moveFirst(this.out);
      out !== undefined;
      out = this.leaving.moveFirst(this.out)
    ) {
      out.token = this.generation
      host.granted(out)
    }
    this.generation = 0
    if (this.entering.size < this.parties) return
    this.generation = host.nextToken()
    for (let left = this.parties; left > 0; left--) {
      const ticket = this.entering.moveFirst(this.inside)
      if (ticket === undefined) break
      ticket.token = this.generation
      host.granted(ticket)
    }
  }
}
