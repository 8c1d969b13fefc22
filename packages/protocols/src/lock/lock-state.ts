/**
 * What the lock table holds: sessions, names, and the requests between them. What is refused is decided in here too, because
 * it follows from nothing else; bytes and fields have been looked at before.
 *
 * Whatever changes a name says so first (`#touch`): a snapshot that is being written then takes it as it was.
 */
import { LeaseTable } from '../core/lease-table.ts'
import type { AcquireCommand, LockAnswer, LockGrant, LockRefusal, LockRequest } from './lock-command.ts'
import { lockLimits } from './lock-limit.ts'
import {
  badRequest,
  deadlock,
  givenUp,
  notHeld,
  overLimit,
  sessionLost,
  upgrade,
  wrongKind,
} from './lock-refusal.ts'
import { countBefore, LockTicket, type LockSession } from './lock-ticket.ts'
import type { NamedPlace, PlaceHost, QueuedPlace } from './named-place.ts'
import { PermitLock } from './permit-lock.ts'
import type { SpinPlace } from './value-place.ts'
import { findCycle } from './wait-graph.ts'

/** What came of a command; `code` only in refusals. */
export type Outcome = LockAnswer | LockRefusal

/** A snapshot that is being written. */
export interface PlaceWalk {
  /** Takes the place as it is now, once. */
  readonly save: (place: NamedPlace) => void
  /** Gathers all that it has yet to write: another one begins. */
  readonly detach: () => void
}

export class LockState implements PlaceHost {
  readonly leases = new LeaseTable<LockSession>()
  readonly names = new Map<string, NamedPlace>()
  lastToken = 0
  lastVersion = 0
  /** Of all values. */
  valuesBytes = 0
  readonly spins = new Set<SpinPlace>()
  /** The number of the last snapshot that was begun, and the snapshot while it is being written. */
  walks = 0
  walk: PlaceWalk | undefined
  /** Names that the entry in hand has changed, when somebody wants to know. */
  changed: Set<string> | undefined
  /** Sessions that ended in the entry in hand. */
  readonly over: number[] = []
  readonly #granted: LockTicket[] = []
  #refused: LockRequest[] = []

  // ---- Requests ------------------------------------------------------------------------------------------------

  /** Hot (benchmark: locks): O(1), but for owners that hold something else and have to wait. */
  acquire(ask: Omit<AcquireCommand, 'type'>): Outcome {
    const session = this.leases.get(ask.session)
    if (session === undefined) return sessionLost(ask.session)
    const known = session.tickets.get(ask.request)
    if (known !== undefined) return answerAgain(known, ask.name, ask.kind)
    const refusal = newRequestRefusal(session, ask.request)
    if (refusal !== undefined) return refusal
    const there = this.names.get(ask.name)
    if (there === undefined) return this.#acquireNew(session, ask)
    if (!(there instanceof PermitLock) || there.kind !== ask.kind) {
      return wrongKind(ask.name, there.kind, ask.kind)
    }
    return this.#acquireOf(there, session, ask)
  }

  #acquireNew(session: LockSession, ask: Omit<AcquireCommand, 'type'>): Outcome {
    const { kind, capacity, permits } = ask
    if (this.names.size >= lockLimits.namesMax) return overLimit('namesMax', lockLimits.namesMax)
    if (kind === 'semaphore' && permits > capacity) return tooManyPermits(ask.name, permits, capacity)
    const lock = new PermitLock(kind, ask.name, capacity, this.walks)
    this.add(lock)
    return this.#hold(lock, session, ask, this.nextToken())
  }

  #acquireOf(lock: PermitLock, session: LockSession, ask: Omit<AcquireCommand, 'type'>): Outcome {
    const { permits } = ask
    if (lock.kind === 'semaphore' && permits > lock.capacity) {
      return tooManyPermits(lock.name, permits, lock.capacity)
    }
    if (ask.owner !== '') {
      const own = ownHold(lock, session, ask)
      if (typeof own === 'number') {
        this.touch(lock)
        return this.#hold(lock, session, ask, own)
      }
      if (own !== undefined) return own
    }
    if (lock.queue.size === 0 && lock.fits(permits)) {
      this.touch(lock)
      return this.#hold(lock, session, ask, this.nextToken())
    }
    return ask.wait ? this.#wait(lock, session, ask) : { type: 'busy', holders: lock.holders.size }
  }

  #hold(lock: PermitLock, session: LockSession, ask: Omit<AcquireCommand, 'type'>, token: number): Outcome {
    const ticket = new LockTicket(session, ask.request, lock, ask.permits, ask.owner, ask.data)
    this.enlist(ticket)
    lock.hold(ticket, token, this)
    return { type: 'held', token }
  }

  #wait(lock: PermitLock, session: LockSession, ask: Omit<AcquireCommand, 'type'>): Outcome {
    if (lock.queue.size >= lockLimits.waitersMax) return overLimit('waitersMax', lockLimits.waitersMax)
    this.touch(lock)
    const ticket = new LockTicket(session, ask.request, lock, ask.permits, ask.owner, ask.data)
    this.enlist(ticket)
    const ahead = lock.queue.size
    lock.queue.push(ticket)
    const cycle = ask.owner === '' ? undefined : findCycle(ticket)
    if (cycle === undefined) return { type: 'queued', ahead }
    lock.queue.remove(ticket)
    this.#unlist(ticket)
    return deadlock(cycle)
  }

  /** Gives up whatever the request is. One that is not there is remembered, so that it cannot come any more. Hot. */
  release(sessionId: number, request: number): LockAnswer {
    const session = this.leases.get(sessionId)
    if (session === undefined) return wasNothing
    const ticket = session.tickets.get(request)
    if (ticket === undefined) {
      rememberGivenUp(session, request)
      return wasNothing
    }
    const { isHeld, place } = ticket
    this.touch(place)
    this.#unlist(ticket)
    place.leave(ticket, this)
    this.settle(place)
    return isHeld ? wasHeld : wasQueued
  }

  downgrade(sessionId: number, request: number): Outcome {
    const session = this.leases.get(sessionId)
    if (session === undefined) return sessionLost(sessionId)
    const ticket = session.tickets.get(request)
    if (ticket === undefined || !ticket.isHeld) return notHeld(`Request ${request} of session ${sessionId}`)
    const { place } = ticket
    if (!(place instanceof PermitLock) || place.kind !== 'read-write') {
      return wrongKind(place.name, place.kind, 'read-write')
    }
    if (ticket.permits === 0) {
      this.touch(place)
      place.downgrade(ticket)
      place.settle(this)
    }
    return { type: 'held', token: ticket.token }
  }

  /** When a spin lock is over, by the log's time. A new term gives it its whole time anew, as every lease. */
  spinEndMs({ renewedUntilMs, ttlMs }: SpinPlace): number {
    return Math.max(renewedUntilMs, this.leases.termStartMs + ttlMs)
  }

  /** How a request stands. O(those before it) when it waits. */
  standing(session: number, request: number): LockAnswer {
    const ticket = this.leases.get(session)?.tickets.get(request)
    return ticket === undefined ? wasNothing : standingOf(ticket)
  }

  // ---- Sessions ------------------------------------------------------------------------------------------------

  openSession(index: number, ttlMs: number, label: string): Outcome {
    const { leases } = this
    if (leases.size >= lockLimits.sessionsMax) return overLimit('sessionsMax', lockLimits.sessionsMax)
    const id = leases.freeId(index)
    leases.add(newSession(id, ttlMs, leases.timeMs + ttlMs, label))
    return { type: 'session', session: id, ttlMs }
  }

  keepAlive(id: number): Outcome {
    const session = this.leases.get(id)
    if (session === undefined) return sessionLost(id)
    this.leases.renew(session)
    return { type: 'session', session: id, ttlMs: session.ttlMs }
  }

  /** All that they hold and wait for goes, then whoever is next is let through. O(their requests, and those let through). */
  endSessions(ids: readonly number[]): void {
    const places = new Set<QueuedPlace>()
    for (const id of ids) {
      const session = this.leases.get(id)
      if (session === undefined) continue
      this.leases.delete(id)
      this.over.push(id)
      // The order in which requests came is not in a snapshot.
      for (const ticket of [...session.tickets.values()].sort((a, b) => a.request - b.request)) {
        const { place } = ticket
        this.touch(place)
        place.leave(ticket, this)
        places.add(place)
      }
      session.tickets.clear()
      session.owners?.clear()
    }
    for (const place of places) this.settle(place)
  }

  // ---- Names ---------------------------------------------------------------------------------------------------

  /** To be called before a place is changed. Hot. */
  touch(place: NamedPlace): void {
    if (place.seen !== this.walks) {
      this.walk?.save(place)
      place.seen = this.walks
    }
    this.changed?.add(place.name)
  }

  /** A new name. */
  add(place: NamedPlace): void {
    this.names.set(place.name, place)
    if (place.kind === 'spin') this.spins.add(place)
    this.changed?.add(place.name)
  }

  /** Forgets a name, which was touched. */
  drop(place: NamedPlace): void {
    this.names.delete(place.name)
    if (place.kind === 'spin') this.spins.delete(place)
  }

  /** Lets through whoever may go now, and forgets the name when nothing is left there. Hot. */
  settle(place: QueuedPlace): void {
    place.settle(this)
    if (place.isEmpty) this.drop(place)
  }

  // ---- Inside --------------------------------------------------------------------------------------------------

  /** A ticket of a session that has just been made; its list is the place's business. Hot. */
  enlist(ticket: LockTicket): void {
    const { session, owner } = ticket
    session.tickets.set(ticket.request, ticket)
    if (owner === '') return
    session.owners ??= new Map()
    const own = session.owners.get(owner)
    if (own === undefined) session.owners.set(owner, new Set([ticket]))
    else own.add(ticket)
  }

  #unlist(ticket: LockTicket): void {
    const { session, owner } = ticket
    session.tickets.delete(ticket.request)
    if (owner === '') return
    const own = session.owners?.get(owner)
    own?.delete(ticket)
    if (own?.size === 0) session.owners?.delete(owner)
  }

  /** Gives up a request without letting anybody through: `settle` comes later. Its place was touched. */
  withdraw(ticket: LockTicket): void {
    this.#unlist(ticket)
    ticket.place.leave(ticket, this)
  }

  /** Ends the wait of a request, whose client is told and asks anew. Its place was touched; `settle` comes later. */
  refuse(ticket: LockTicket): void {
    this.withdraw(ticket)
    this.#refused.push({ session: ticket.session.id, request: ticket.request })
  }

  /** Whose wait was ended since it was asked last. */
  takeRefused(): readonly LockRequest[] {
    if (this.#refused.length === 0) return noRequests
    const refused = this.#refused
    this.#refused = []
    return refused
  }

  nextToken(): number {
    return ++this.lastToken
  }

  nextVersion(): number {
    return ++this.lastVersion
  }

  granted(ticket: LockTicket): void {
    this.#granted.push(ticket)
  }

  /** It was let through as it came: its answer says so. */
  answeredAtOnce(ticket: LockTicket): void {
    const at = this.#granted.lastIndexOf(ticket)
    if (at >= 0) this.#granted.splice(at, 1)
  }

  /** Who was let through since it was asked last, and still is. */
  takeGrants(): readonly LockGrant[] {
    if (this.#granted.length === 0) return noGrants
    const grants = this.#granted
      .filter((ticket) => ticket.isHeld)
      .map(({ session, request, token }) => ({ session: session.id, request, token }))
    this.#granted.length = 0
    return grants
  }
}

export function newSession(id: number, ttlMs: number, renewedUntilMs: number, label: string): LockSession {
  return {
    id,
    ttlMs,
    renewedUntilMs,
    label,
    tickets: new Map(),
    owners: undefined,
    givenUp: undefined,
    givenUpTo: 0,
  }
}

/** Why a request that is not there yet cannot come. */
export function newRequestRefusal(session: LockSession, request: number): LockRefusal | undefined {
  if (request <= session.givenUpTo || session.givenUp?.has(request) === true) return givenUp(request)
  const most = lockLimits.requestsPerSessionMax
  return session.tickets.size >= most ? overLimit('requestsPerSessionMax', most) : undefined
}

/** The answer to a request that is there already. */
export function answerAgain(ticket: LockTicket, name: string, kind: string): Outcome {
  const { place, request } = ticket
  if (place.name === name && place.kind === kind) return standingOf(ticket)
  return badRequest(`request ${request} is a ${place.kind} of "${place.name}" already: take the next number`)
}

export function standingOf(ticket: LockTicket): LockAnswer {
  if (ticket.isHeld) return { type: 'held', token: ticket.token }
  return { type: 'queued', ahead: countBefore(ticket) }
}

/** The token under which the owner gets it again, a refusal, or neither when it takes its turn like anybody. */
function ownHold(
  lock: PermitLock,
  session: LockSession,
  { owner, permits, reentrant }: Omit<AcquireCommand, 'type'>,
): number | LockRefusal | undefined {
  if (lock.kind === 'semaphore') return undefined
  let held: LockTicket | undefined
  for (const ticket of session.owners?.get(owner) ?? noTickets) {
    if (ticket.place !== lock || !ticket.isHeld) continue
    // Of a read-write lock what it writes counts more.
    if (held === undefined || ticket.permits === 0) held = ticket
  }
  if (held === undefined) return undefined
  if (lock.kind !== 'read-write') return reentrant ? held.token : undefined
  const writes = held.permits === 0
  if (permits === 0 && !writes) return upgrade(lock.name)
  return reentrant || (writes && permits === 1) ? held.token : undefined
}

function rememberGivenUp(session: LockSession, request: number): void {
  if (request <= session.givenUpTo) return
  session.givenUp ??= new Set()
  session.givenUp.add(request)
  if (session.givenUp.size <= lockLimits.givenUpMax) return
  let lowest = request
  for (const one of session.givenUp) lowest = Math.min(lowest, one)
  session.givenUp.delete(lowest)
  session.givenUpTo = lowest
}

function tooManyPermits(name: string, permits: number, capacity: number): LockRefusal {
  return badRequest(`semaphore "${name}" has ${capacity} permits in all, and ${permits} were asked for`)
}

const noTickets: readonly LockTicket[] = []
const noGrants: readonly LockGrant[] = []
const noRequests: readonly LockRequest[] = []
const wasHeld = { type: 'released', was: 'held' } as const
const wasQueued = { type: 'released', was: 'queued' } as const
const wasNothing = { type: 'released', was: 'nothing' } as const
