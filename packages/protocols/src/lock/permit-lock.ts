/**
 * A lock with a fair queue: mutex, read-write lock, semaphore, election. Who comes first is served first, and nobody is passed
 * by: a large request at the head of a semaphore holds up small ones behind it, and a writer that waits holds up later readers,
 * so that nobody starves. Only who holds the lock already may pass the queue: the same owner again, or a writer that also reads.
 *
 * Taking a free lock, giving it back, and handing it to the next are O(1).
 */
import type { LockKind, Reign } from './lock-command.ts'
import { lockLimits } from './lock-limit.ts'
import { TicketList, type LockTicket } from './lock-ticket.ts'
import type { PlaceHost, QueuedBase } from './named-place.ts'

export class PermitLock implements QueuedBase {
  readonly kind: LockKind
  readonly name: string
  seen: number
  /** Of a semaphore: permits in all. */
  capacity: number
  /** Somebody has set its permits: it stays when nobody holds it. */
  isKept = false
  readonly holders = new TicketList(true)
  readonly queue = new TicketList(false)
  /** Permits of the holders: of a read-write lock, how many read. */
  used = 0
  /** Of an election: its last leaders, oldest first. */
  reigns: readonly Reign[] = []
  /** Of an election: grows with each change of its leader. */
  version = 0

  constructor(kind: LockKind, name: string, capacity: number, seen: number) {
    this.kind = kind
    this.name = name
    this.capacity = capacity
    this.seen = seen
  }

  get lists(): readonly TicketList[] {
    return [this.holders, this.queue]
  }

  /** An election is kept: its leaders of the past are yet to be told to observers. */
  get isEmpty(): boolean {
    return this.holders.size === 0 && this.queue.size === 0 && !this.isKept && this.reigns.length === 0
  }

  /** Of a read-write lock: how many write; several only when one owner does so several times. */
  get writers(): number {
    return this.holders.size - this.used
  }

  /** True when as many permits are free, whoever waits. Hot. */
  fits(permits: number): boolean {
    switch (this.kind) {
      case 'mutex':
      case 'election':
        return this.holders.size === 0
      case 'read-write':
        return permits === 0 ? this.holders.size === 0 : this.writers === 0
      case 'semaphore':
        return this.used + permits <= this.capacity
    }
  }

  /** Takes it. `token`: that of the same owner's hold, or a new one. Hot. */
  hold(ticket: LockTicket, token: number, host: PlaceHost): void {
    ticket.token = token
    this.holders.push(ticket)
    this.used += ticket.permits
    if (this.kind === 'election') this.#reign(ticket, host)
  }

  /** A writer goes on as a reader, under its token. */
  downgrade(ticket: LockTicket): void {
    ticket.permits = 1
    this.used++
  }

  leave(ticket: LockTicket, host: PlaceHost): void {
    const { list } = ticket
    if (list === undefined) return
    list.remove(ticket)
    if (!list.isHeld) return
    this.used -= ticket.permits
    if (this.kind === 'election' && this.holders.size === 0) this.version = host.nextVersion()
  }

  /** Hot. */
  settle(host: PlaceHost): void {
    for (let next = this.queue.first; next !== undefined; next = this.queue.first) {
      if (!this.fits(next.permits)) break
      this.queue.remove(next)
      this.hold(next, host.nextToken(), host)
      host.granted(next)
    }
  }

  #reign({ token, session, data }: LockTicket, host: PlaceHost): void {
    const last = this.reigns.at(-1)
    // The same leader, once more.
    if (last !== undefined && last.token === token) return
    this.reigns = [...this.reigns, { token, session: session.id, data }].slice(-lockLimits.reignsMax)
    this.version = host.nextVersion()
  }
}
