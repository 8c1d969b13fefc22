/** How a name stands, for people and for observers: plain data, copied. */
import type { LockView } from './lock-command.ts'
import { lockLimits } from './lock-limit.ts'
import type { LockState } from './lock-state.ts'
import type { TicketList } from './lock-ticket.ts'
import type { NamedPlace } from './named-place.ts'

export function viewOf(state: LockState, place: NamedPlace): LockView {
  const { name, kind } = place
  const view: LockView = {
    name,
    kind,
    capacity: 0,
    holders: [],
    waiting: 0,
    value: undefined,
    version: 0,
    reigns: [],
  }
  switch (place.kind) {
    case 'mutex':
    case 'read-write':
    case 'semaphore':
    case 'election': {
      const { capacity, version, reigns, queue } = place
      return {
        ...view,
        capacity,
        holders: holdersOf(state, place.holders),
        waiting: queue.size,
        version,
        reigns,
      }
    }
    case 'barrier':
      return { ...view, capacity: place.parties, waiting: place.waiting.size }
    case 'double-barrier': {
      const { parties, inside, entering } = place
      return { ...view, capacity: parties, holders: holdersOf(state, inside), waiting: entering.size }
    }
    case 'latch':
      return { ...view, waiting: place.waiting.size, value: place.count, version: place.version }
    case 'counter':
      return { ...view, value: place.value, version: place.version }
    case 'value':
      return { ...view, value: place.value.slice(), version: place.version }
    case 'spin': {
      const { owner, token } = place
      const leftMs = state.spinEndMs(place) - state.leases.timeMs
      if (leftMs <= 0) return view
      return { ...view, holders: [{ session: 0, label: '', owner, token, permits: 1, leftMs }] }
    }
  }
}

function holdersOf({ leases }: LockState, list: TicketList): LockView['holders'] {
  const holders: LockView['holders'][number][] = []
  for (const { session, owner, token, permits } of list) {
    if (holders.length === lockLimits.viewHoldersMax) break
    const leftMs = Math.max(0, leases.endMs(session) - leases.timeMs)
    holders.push({ session: session.id, label: session.label, owner, token, permits, leftMs })
  }
  return holders
}
