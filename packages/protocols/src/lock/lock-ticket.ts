/** One request of a session, in one list of one name: it waits there, or it is held there. */
import type { Lease } from '../core/lease-table.ts'
import type { QueuedPlace } from './named-place.ts'

/** A client's session, and what it has asked for. */
export interface LockSession extends Lease {
  readonly label: string
  /** By number. */
  readonly tickets: Map<number, LockTicket>
  /** Of requests with an owner: by owner. Made when there is one. */
  owners: Map<string, Set<LockTicket>> | undefined
  /** Numbers that were given up before they came, and the number up to which one that is not there is taken for one. */
  givenUp: Set<number> | undefined
  givenUpTo: number
}

export class LockTicket {
  readonly session: LockSession
  readonly request: number
  readonly place: QueuedPlace
  /** Of a semaphore; of a read-write lock 1 reads, 0 writes; else 1. A writer becomes a reader by `downgrade`. */
  permits: number
  readonly owner: string
  readonly data: string
  /** 0 until it is held; of a barrier the generation. */
  token = 0
  list: TicketList | undefined
  before: LockTicket | undefined
  after: LockTicket | undefined

  constructor(
    session: LockSession,
    request: number,
    place: QueuedPlace,
    permits: number,
    owner: string,
    data: string,
  ) {
    this.session = session
    this.request = request
    this.place = place
    this.permits = permits
    this.owner = owner
    this.data = data
  }

  get isHeld(): boolean {
    return this.list !== undefined && this.list.isHeld
  }

  /** The same course of work. Nobody in particular is never the same. */
  isOf(session: LockSession, owner: string): boolean {
    return owner !== '' && this.owner === owner && this.session === session
  }
}

/** Tickets in order; each stands in one list. All steps are O(1). */
export class TicketList {
  readonly isHeld: boolean
  size = 0
  first: LockTicket | undefined
  #last: LockTicket | undefined

  /** `isHeld`: what stands here is held, or was let through. */
  constructor(isHeld: boolean) {
    this.isHeld = isHeld
  }

  /** Behind all others. Hot. */
  push(ticket: LockTicket): void {
    const last = this.#last
    ticket.list = this
    ticket.before = last
    ticket.after = undefined
    if (last === undefined) this.first = ticket
    else last.after = ticket
    this.#last = ticket
    this.size++
  }

  /** Hot. */
  remove(ticket: LockTicket): void {
    const { before, after } = ticket
    if (before === undefined) this.first = after
    else before.after = after
    if (after === undefined) this.#last = before
    else after.before = before
    ticket.list = undefined
    ticket.before = undefined
    ticket.after = undefined
    this.size--
  }

  /** Its first goes behind the last of `to`. Gives it. */
  moveFirst(to: TicketList): LockTicket | undefined {
    const ticket = this.first
    if (ticket === undefined) return undefined
    this.remove(ticket)
    to.push(ticket)
    return ticket
  }

  *[Symbol.iterator](): Iterator<LockTicket> {
    for (let ticket = this.first; ticket !== undefined; ticket = ticket.after) yield ticket
  }
}

/** How many stand before it in its list. O(that). */
export function countBefore(ticket: LockTicket): number {
  let count = 0
  for (let at = ticket.before; at !== undefined; at = at.before) count++
  return count
}
