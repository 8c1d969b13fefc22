/** What barriers and latches are told by sessions that wait at them. */
import { BarrierPlace } from './barrier-place.ts'
import { DoubleBarrierPlace } from './double-barrier-place.ts'
import type { BarrierCommand, LockCommand } from './lock-command.ts'
import { lockLimits } from './lock-limit.ts'
import { badRequest, notHeld, overLimit, sessionLost, wrongKind } from './lock-refusal.ts'
import { answerAgain, newRequestRefusal, standingOf, type LockState, type Outcome } from './lock-state.ts'
import { LockTicket, type LockSession, type TicketList } from './lock-ticket.ts'
import type { QueuedPlace } from './named-place.ts'
import { LatchPlace } from './value-place.ts'

/** Passes, enters or leaves a barrier. */
export function carryOutBarrier(state: LockState, command: BarrierCommand): Outcome {
  const kind = command.step === 'pass' ? 'barrier' : 'double-barrier'
  const session = sessionFor(state, command, kind)
  if (!('tickets' in session)) return session
  switch (command.step) {
    case 'pass':
      return pass(state, session, command)
    case 'enter':
      return enter(state, session, command)
    case 'leave':
      return leave(state, session, command)
  }
}

/** Waits until a latch is open. One that is open is passed without a trace. */
export function carryOutLatchWait(
  state: LockState,
  command: Extract<LockCommand, { readonly type: 'latch-wait' }>,
): Outcome {
  const { name, request } = command
  const session = sessionFor(state, command, 'latch')
  if (!('tickets' in session)) return session
  const latch = state.names.get(name)
  if (latch === undefined) return noLatch(name)
  if (!(latch instanceof LatchPlace)) return wrongKind(name, latch.kind, 'latch')
  if (latch.count === 0) return { type: 'held', token: 0 }
  return join(state, latch, latch.waiting, session, request)
}

export function noLatch(name: string): Outcome {
  return badRequest(`there is no latch "${name}": set its count first`)
}

function pass(state: LockState, session: LockSession, { name, parties, request }: BarrierCommand): Outcome {
  const there = state.names.get(name)
  if (there !== undefined && !(there instanceof BarrierPlace)) return wrongKind(name, there.kind, 'barrier')
  if (there === undefined)
    return joinNew(state, new BarrierPlace(name, parties, state.walks), session, request)
  if (there.parties !== parties && there.waiting.size > 0) return otherParties(name, there.parties, parties)
  state.touch(there)
  there.parties = parties
  return join(state, there, there.waiting, session, request)
}

function enter(state: LockState, session: LockSession, { name, parties, request }: BarrierCommand): Outcome {
  const there = state.names.get(name)
  if (there !== undefined && !(there instanceof DoubleBarrierPlace)) {
    return wrongKind(name, there.kind, 'double-barrier')
  }
  if (there === undefined) {
    return joinNew(state, new DoubleBarrierPlace(name, parties, state.walks), session, request)
  }
  const isUsed = there.generation !== 0 || there.entering.size > 0
  if (there.parties !== parties && isUsed) return otherParties(name, there.parties, parties)
  state.touch(there)
  there.parties = parties
  return join(state, there, there.entering, session, request)
}

function leave(state: LockState, session: LockSession, { name, entered, request }: BarrierCommand): Outcome {
  const ticket = session.tickets.get(entered)
  const place = ticket?.place
  if (
    ticket === undefined ||
    !(place instanceof DoubleBarrierPlace) ||
    place.name !== name ||
    ticket.list !== place.inside
  ) {
    return notHeld(`An entry of "${name}" by request ${entered} of session ${session.id}`)
  }
  state.touch(place)
  state.withdraw(ticket)
  return join(state, place, place.leaving, session, request)
}

/** The session when the request is new; else what is to be answered. */
function sessionFor(
  state: LockState,
  {
    session: id,
    request,
    name,
  }: { readonly session: number; readonly request: number; readonly name: string },
  kind: string,
): LockSession | Outcome {
  const session = state.leases.get(id)
  if (session === undefined) return sessionLost(id)
  const known = session.tickets.get(request)
  if (known !== undefined) return answerAgain(known, name, kind)
  return newRequestRefusal(session, request) ?? session
}

function joinNew(
  state: LockState,
  place: BarrierPlace | DoubleBarrierPlace,
  session: LockSession,
  request: number,
): Outcome {
  if (state.names.size >= lockLimits.namesMax) return overLimit('namesMax', lockLimits.namesMax)
  state.add(place)
  return join(state, place, place instanceof BarrierPlace ? place.waiting : place.entering, session, request)
}

function join(
  state: LockState,
  place: QueuedPlace,
  list: TicketList,
  session: LockSession,
  request: number,
): Outcome {
  if (list.size >= lockLimits.waitersMax) return overLimit('waitersMax', lockLimits.waitersMax)
  state.touch(place)
  const ticket = new LockTicket(session, request, place, 1, '', '')
  state.enlist(ticket)
  list.push(ticket)
  state.settle(place)
  if (ticket.isHeld) state.answeredAtOnce(ticket)
  return standingOf(ticket)
}

function otherParties(name: string, there: number, asked: number): Outcome {
  return badRequest(`"${name}" is a barrier of ${there} parties at this time, and was asked for ${asked}`)
}
