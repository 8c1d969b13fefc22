/** One on each node: keeps what the rooms say, and passes it on to the visitors of this node. */
import { actor, service } from '@understudy/runtime'
import { Gateway, keptMax, type Message } from './room.ts'

/** What one node keeps of a room. */
interface Memory {
  reign: string
  /** By number. */
  readonly kept: Map<number, Message>
}

/** Whom the gateway tells that there is something to see. */
export const Audience = service<{ readonly show: (room: string, message: Message) => void }>('audience')

const roomsMax = 1_000

/** The memory is the process's, not the incarnation's: a gateway that crashes forgets nothing that it has promised. */
export function gateway() {
  const rooms = new Map<string, Memory>()

  function memoryOf(room: string): Memory {
    const memory = rooms.get(room) ?? { reign: '', kept: new Map<number, Message>() }
    // The room that was used last is the last to be forgotten.
    rooms.delete(room)
    rooms.set(room, memory)
    const oldest = rooms.keys().next().value
    if (rooms.size > roomsMax && oldest !== undefined) rooms.delete(oldest)
    return memory
  }

  return actor(Gateway, (ctx) => ({
    lead: ({ room, reign }) => {
      const memory = memoryOf(room)
      const granted = reign > memory.reign
      if (granted) memory.reign = reign
      return { granted, reign: memory.reign, messages: [...memory.kept.values()] }
    },
    keep: ({ room, reign, messages }) => {
      const memory = memoryOf(room)
      if (reign < memory.reign) return false
      memory.reign = reign
      for (const message of messages) memory.kept.set(message.number, message)
      const last = Math.max(0, ...memory.kept.keys())
      for (const number of memory.kept.keys()) if (number <= last - keptMax) memory.kept.delete(number)
      return true
    },
    show: ({ room, number }) => {
      const message = rooms.get(room)?.kept.get(number)
      if (message !== undefined) ctx.service(Audience).show(room, message)
    },
  }))
}
