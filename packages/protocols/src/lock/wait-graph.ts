/**
 * Who waits for whom, to find deadlocks. A course of work (an owner within a session) holds what it has while it waits; who
 * names no owner is believed to go on in any case.
 *
 * A request is *live* when it will be granted once everybody who can go on does: all that are before it in the queue are live,
 * and of the holders and of those before it so many give back that it fits. Somebody gives back when all that his owner waits
 * for is live. Requests that are not live wait for each other; the new one is refused when it waits for itself in that way.
 *
 * Of a semaphore this counts permits: to wait for one of several holders is no deadlock while another of them can go on. That
 * is why this is no search for a cycle alone: in such a graph a cycle is not yet a deadlock.
 */
import type { WaitEdge } from './lock-command.ts'
import { lockLimits } from './lock-limit.ts'
import type { LockTicket } from './lock-ticket.ts'
import { PermitLock } from './permit-lock.ts'

/**
 * The cycle that `asked`, which stands last in its queue already, has closed; `undefined` when there is none. O(requests of
 * all locks that it can wait for), times how deep they wait; O(what its owner has) when nobody waits for that.
 */
export function findCycle(asked: LockTicket): readonly WaitEdge[] | undefined {
  for (const ticket of asked.session.owners?.get(asked.owner) ?? []) {
    if (ticket !== asked && isWaitedFor(ticket)) return new Search(asked).run()
  }
  return undefined
}

function isWaitedFor({ place, isHeld, after }: LockTicket): boolean {
  if (!isHeld) return after !== undefined
  return place instanceof PermitLock && place.queue.size > 0
}

class Search {
  readonly #asked: LockTicket
  readonly #locks = new Set<PermitLock>()
  readonly #live = new Set<LockTicket>()
  #stepsLeft = lockLimits.deadlockStepsMax

  constructor(asked: LockTicket) {
    this.#asked = asked
  }

  run(): readonly WaitEdge[] | undefined {
    this.#gather()
    let isChanged = true
    while (isChanged && this.#stepsLeft > 0) {
      isChanged = false
      for (const lock of this.#locks) if (this.#spread(lock)) isChanged = true
    }
    if (this.#stepsLeft <= 0 || this.#live.has(this.#asked)) return undefined
    return this.#path()
  }

  /** The locks that it can come to wait for. */
  #gather(): void {
    const { place } = this.#asked
    if (place instanceof PermitLock) this.#locks.add(place)
    // A set's walk comes to what is added while it goes on.
    for (const lock of this.#locks) {
      for (const list of lock.lists) {
        for (const ticket of list) {
          if (this.#stepsLeft-- <= 0) return
          for (const wait of waitsOf(ticket))
            if (wait.place instanceof PermitLock) this.#locks.add(wait.place)
        }
      }
    }
  }

  /** Finds those of a lock that are live by what is known so far. True when there are more now. */
  #spread(lock: PermitLock): boolean {
    const kept = new Kept(lock)
    let isChanged = false
    let allLive = true
    for (const holder of lock.holders) {
      this.#stepsLeft--
      if (!this.#givesBack(holder)) kept.add(holder)
    }
    for (const waiter of lock.queue) {
      this.#stepsLeft--
      if (!this.#live.has(waiter)) {
        if (allLive && kept.leavesRoom(waiter)) {
          this.#live.add(waiter)
          isChanged = true
        } else allLive = false
      }
      if (!this.#givesBack(waiter)) kept.add(waiter)
    }
    return isChanged
  }

  #givesBack(ticket: LockTicket): boolean {
    for (const wait of waitsOf(ticket)) if (!this.#live.has(wait)) return false
    return true
  }

  /** The shortest way from it to itself, over what is not live. */
  #path(): readonly WaitEdge[] | undefined {
    const asked = this.#asked
    const cameFrom = new Map<LockTicket, LockTicket | undefined>([[asked, undefined]])
    for (const wait of cameFrom.keys()) {
      for (const blocker of this.#blockers(wait)) {
        if (this.#stepsLeft-- <= 0) return undefined
        if (blocker.isOf(asked.session, asked.owner)) return edges(wait, cameFrom)
        if (!blocker.isHeld && !this.#live.has(blocker) && !cameFrom.has(blocker)) cameFrom.set(blocker, wait)
        for (const next of waitsOf(blocker)) {
          if (!this.#live.has(next) && !cameFrom.has(next)) cameFrom.set(next, wait)
        }
      }
    }
    return undefined
  }

  /** Those of its lock that it waits for and that do not go on. */
  *#blockers(wait: LockTicket): Generator<LockTicket> {
    const { place } = wait
    if (!(place instanceof PermitLock)) return
    for (const holder of place.holders) {
      if (conflict(place, holder, wait) && !this.#givesBack(holder)) yield holder
    }
    for (const waiter of place.queue) {
      if (waiter === wait) return
      if (!this.#live.has(waiter) || (conflict(place, waiter, wait) && !this.#givesBack(waiter))) yield waiter
    }
  }
}

/** What of a lock is not given back. */
class Kept {
  readonly #lock: PermitLock
  #all = 0
  #writers = 0
  #permits = 0

  constructor(lock: PermitLock) {
    this.#lock = lock
  }

  add({ permits }: LockTicket): void {
    this.#all++
    this.#permits += permits
    if (permits === 0) this.#writers++
  }

  leavesRoom({ permits }: LockTicket): boolean {
    const { kind, capacity } = this.#lock
    switch (kind) {
      case 'mutex':
      case 'election':
        return this.#all === 0
      case 'read-write':
        return permits === 0 ? this.#all === 0 : this.#writers === 0
      case 'semaphore':
        return this.#permits + permits <= capacity
    }
  }
}

function conflict({ kind }: PermitLock, one: LockTicket, other: LockTicket): boolean {
  return kind !== 'read-write' || one.permits === 0 || other.permits === 0
}

/** What its owner waits for, in the order in which it was asked for: the order of the set is not in a snapshot. */
function waitsOf({ session, owner }: LockTicket): readonly LockTicket[] {
  const own = owner === '' ? undefined : session.owners?.get(owner)
  if (own === undefined) return noTickets
  const waits = [...own].filter(({ isHeld }) => !isHeld)
  return waits.length > 1 ? waits.sort((a, b) => a.request - b.request) : waits
}

const noTickets: readonly LockTicket[] = []

function edges(
  last: LockTicket,
  cameFrom: ReadonlyMap<LockTicket, LockTicket | undefined>,
): readonly WaitEdge[] {
  const path: WaitEdge[] = []
  for (let wait: LockTicket | undefined = last; wait !== undefined; wait = cameFrom.get(wait)) {
    path.push({ session: wait.session.id, owner: wait.owner, name: wait.place.name })
  }
  return path.reverse()
}
