/** What counters, values, latches, spin locks and semaphores are told without a session. */
import { noLatch } from './barrier-command.ts'
import type { LockCommand } from './lock-command.ts'
import { lockLimits } from './lock-limit.ts'
import { badRequest, notHeld, overLimit, wrongKind } from './lock-refusal.ts'
import type { LockState, Outcome } from './lock-state.ts'
import type { NamedPlace } from './named-place.ts'
import { PermitLock } from './permit-lock.ts'
import { CounterPlace, LatchPlace, SpinPlace, ValuePlace } from './value-place.ts'

type Of<T extends LockCommand['type']> = Extract<LockCommand, { readonly type: T }>

export function setPermits(state: LockState, { name, permits }: Of<'set-permits'>): Outcome {
  let lock = state.names.get(name)
  if (lock === undefined) {
    const refusal = namesRefusal(state)
    if (refusal !== undefined) return refusal
    lock = new PermitLock('semaphore', name, permits, state.walks)
    state.add(lock)
  }
  if (!(lock instanceof PermitLock) || lock.kind !== 'semaphore')
    return wrongKind(name, lock.kind, 'semaphore')
  state.touch(lock)
  lock.capacity = permits
  lock.isKept = true
  // As they would be if they came now: one that can never be served must not hold up those behind it.
  for (const waiter of [...lock.queue]) if (waiter.permits > permits) state.refuse(waiter)
  state.settle(lock)
  return { type: 'done' }
}

/** `ok` false: it was there already. */
export function setLatch(state: LockState, { name, count }: Of<'latch-set'>): Outcome {
  const there = state.names.get(name)
  if (there === undefined) {
    const refusal = namesRefusal(state)
    if (refusal !== undefined) return refusal
    const version = state.nextVersion()
    state.add(new LatchPlace(name, count, version, state.walks))
    return { type: 'number', ok: true, value: count, version }
  }
  if (!(there instanceof LatchPlace)) return wrongKind(name, there.kind, 'latch')
  return { type: 'number', ok: false, value: there.count, version: there.version }
}

export function countDown(state: LockState, { name, by }: Of<'latch-down'>): Outcome {
  const latch = state.names.get(name)
  if (latch === undefined) return noLatch(name)
  if (!(latch instanceof LatchPlace)) return wrongKind(name, latch.kind, 'latch')
  if (latch.count > 0) {
    state.touch(latch)
    latch.count = Math.max(0, latch.count - by)
    latch.version = state.nextVersion()
    state.settle(latch)
  }
  return { type: 'number', ok: true, value: latch.count, version: latch.version }
}

export function addToCounter(state: LockState, { name, by }: Of<'count-add'>): Outcome {
  const there = state.names.get(name)
  if (there !== undefined && !(there instanceof CounterPlace)) return wrongKind(name, there.kind, 'counter')
  const value = (there?.value ?? 0) + by
  if (!Number.isSafeInteger(value)) {
    return badRequest(`counter "${name}" is ${there?.value ?? 0}, and ${by} more would be beyond 2^53 - 1`)
  }
  return writeCounter(state, there, name, value)
}

export function setCounter(state: LockState, { name, expected, value }: Of<'count-set'>): Outcome {
  const there = state.names.get(name)
  if (there !== undefined && !(there instanceof CounterPlace)) return wrongKind(name, there.kind, 'counter')
  const before = there?.value ?? 0
  if (expected !== undefined && expected !== before) {
    return { type: 'number', ok: false, value: before, version: there?.version ?? 0 }
  }
  return writeCounter(state, there, name, value)
}

function writeCounter(
  state: LockState,
  there: CounterPlace | undefined,
  name: string,
  value: number,
): Outcome {
  // CBOR and JSON know no -0, and a member that was restored would have another.
  const plain = value + 0
  if (there === undefined) {
    const refusal = namesRefusal(state)
    if (refusal !== undefined) return refusal
    const version = state.nextVersion()
    state.add(new CounterPlace(name, plain, version, state.walks))
    return { type: 'number', ok: true, value: plain, version }
  }
  state.touch(there)
  there.value = plain
  there.version = state.nextVersion()
  return { type: 'number', ok: true, value: plain, version: there.version }
}

export function setValue(state: LockState, { name, expectedVersion, value }: Of<'value-set'>): Outcome {
  const there = state.names.get(name)
  if (there !== undefined && !(there instanceof ValuePlace)) return wrongKind(name, there.kind, 'value')
  const version = there?.version ?? 0
  if (expectedVersion !== undefined && expectedVersion !== version) {
    return { type: 'value', ok: false, value: there?.value ?? nothing, version }
  }
  const bytes = state.valuesBytes + value.length - (there?.value.length ?? 0)
  if (bytes > lockLimits.valuesBytesMax) return overLimit('valuesBytesMax', lockLimits.valuesBytesMax)
  // What was decoded may be a view of the log's bytes.
  const own = value.slice()
  const next = state.lastVersion + 1
  if (there === undefined) {
    const refusal = namesRefusal(state)
    if (refusal !== undefined) return refusal
    state.add(new ValuePlace(name, own, next, state.walks))
  } else {
    state.touch(there)
    there.value = own
    there.version = next
  }
  state.valuesBytes = bytes
  state.nextVersion()
  return { type: 'value', ok: true, value: nothing, version: next }
}

export function removeName(state: LockState, { name }: Of<'remove'>): Outcome {
  const place = state.names.get(name)
  if (place === undefined) return { type: 'done' }
  if (isInUse(state, place)) {
    return badRequest(
      `"${name}" is a ${place.kind} that is held or waited for: only what nobody uses can be removed`,
    )
  }
  state.touch(place)
  if (place instanceof ValuePlace) state.valuesBytes -= place.value.length
  state.drop(place)
  return { type: 'done' }
}

function isInUse(state: LockState, place: NamedPlace): boolean {
  if (place instanceof SpinPlace) return state.spinEndMs(place) > state.leases.timeMs
  return place.lists.some((list) => list.size > 0)
}

// ---- Spin locks --------------------------------------------------------------------------------------------------

/** By its owner again: the same token, and its time anew. It is never shorter then: another of that name may rely on it. */
export function acquireSpin(state: LockState, { name, owner, ttlMs }: Of<'spin-acquire'>): Outcome {
  const there = state.names.get(name)
  const { timeMs } = state.leases
  if (there === undefined) {
    const refusal = namesRefusal(state)
    if (refusal !== undefined) return refusal
    const token = state.nextToken()
    state.add(new SpinPlace(name, owner, token, ttlMs, timeMs + ttlMs, state.walks))
    return { type: 'held', token }
  }
  if (!(there instanceof SpinPlace)) return wrongKind(name, there.kind, 'spin')
  const leftMs = state.spinEndMs(there) - timeMs
  if (leftMs > 0 && there.owner !== owner) return { type: 'taken', leftMs }
  state.touch(there)
  const isNew = leftMs <= 0
  if (isNew) there.token = state.nextToken()
  there.owner = owner
  there.ttlMs = isNew ? ttlMs : Math.max(there.ttlMs, ttlMs)
  there.renewedUntilMs = timeMs + (isNew ? ttlMs : Math.max(leftMs, ttlMs))
  return { type: 'held', token: there.token }
}

export function extendSpin(state: LockState, { name, owner, token, ttlMs }: Of<'spin-extend'>): Outcome {
  const spin = heldSpin(state, name, owner)
  if (spin === undefined || spin.token !== token) return notHeld(`Spin lock "${name}" with token ${token}`)
  state.touch(spin)
  spin.ttlMs = ttlMs
  spin.renewedUntilMs = state.leases.timeMs + ttlMs
  return { type: 'held', token }
}

/** Token 0: whatever the owner has. */
export function releaseSpin(state: LockState, { name, owner, token }: Of<'spin-release'>): Outcome {
  const spin = heldSpin(state, name, owner)
  if (spin === undefined || (token !== 0 && spin.token !== token)) return { type: 'released', was: 'nothing' }
  state.touch(spin)
  state.drop(spin)
  return { type: 'released', was: 'held' }
}

/** Forgets those that are over. O(spin locks). */
export function sweepSpins(state: LockState): void {
  for (const spin of state.spins) {
    if (state.spinEndMs(spin) > state.leases.timeMs) continue
    state.touch(spin)
    state.drop(spin)
  }
}

function heldSpin(state: LockState, name: string, owner: string): SpinPlace | undefined {
  const spin = state.names.get(name)
  const isHeld =
    spin instanceof SpinPlace && spin.owner === owner && state.spinEndMs(spin) > state.leases.timeMs
  return isHeld ? spin : undefined
}

function namesRefusal(state: LockState): Outcome | undefined {
  return state.names.size >= lockLimits.namesMax ? overLimit('namesMax', lockLimits.namesMax) : undefined
}

const nothing = new Uint8Array(0)
