/**
 * The people on this node: one WebSocket each. What they see of a room has no gaps and no doubles: every message is sent to
 * a visitor in its turn by number, and what is missing in between is asked of the room.
 */
import type { ClusterNode, UserSocket } from '@understudy/cluster'
import { Room, type Message } from './room.ts'

const textMax = 500
const nameMax = 40
/** What a visitor may have under way at a time. */
const sayingMax = 16

interface Visitor {
  readonly socket: UserSocket
  readonly room: string
  readonly name: string
  /** The number of the last message that was sent to it. */
  sent: number
  saying: number
  /** `again`: something happened while the room was asked. */
  syncing: 'no' | 'yes' | 'again'
  isOpen: boolean
}

/** What a page may send. */
type Request = { type: 'say'; id: string; text: string } | { type: 'ping' }

export class Visitors {
  readonly #visitors = new Set<Visitor>()
  #node: ClusterNode | undefined

  /** From now on visitors are served. */
  serve(node: ClusterNode): void {
    this.#node = node
    node.events.on('view-changed', () => {
      for (const visitor of this.#visitors) {
        this.#tellWhere(visitor)
        // The room may have moved, and what it showed meanwhile may have been lost on the way here.
        void this.#sync(visitor)
      }
    })
  }

  /** The node leaves: the pages find another one. */
  sendAway(): void {
    this.#node = undefined
    for (const { socket } of this.#visitors) socket.close(4_001, 'this node leaves')
  }

  /** `/chat?room=lobby&name=Ann&after=17`: what came after message 17 is sent first. */
  readonly accept = (socket: UserSocket): void => {
    const { path, query } = socket
    const room = query.get('room') ?? ''
    const name = (query.get('name') ?? '').trim()
    const sent = Number(query.get('after') ?? 0)
    const isValid =
      /^[\w .-]{1,40}$/.test(room) && name !== '' && name.length <= nameMax && Number.isSafeInteger(sent)
    if (path !== '/chat' || !isValid) return socket.close(4_000, 'room and name must have 1 to 40 characters')
    if (this.#node === undefined) return socket.close(4_001, 'this node does not serve now')
    const visitor: Visitor = { socket, room, name, sent, saying: 0, syncing: 'no', isOpen: true }
    this.#visitors.add(visitor)
    socket.onClose(() => {
      visitor.isOpen = false
      this.#visitors.delete(visitor)
    })
    socket.onMessage((data) => {
      const request = readRequest(data)
      if (request === undefined) socket.close(4_000, 'that was no request')
      else if (request.type === 'ping') send(visitor, { type: 'pong' })
      else void this.#say(visitor, request)
    })
    this.#tellWhere(visitor)
    void this.#sync(visitor)
  }

  /** All nodes keep it. Who has seen everything before it sees it now; whoever has not, soon. */
  show(room: string, message: Message): void {
    for (const visitor of this.#visitors) {
      if (visitor.room !== room || message.number <= visitor.sent) continue
      if (message.number === visitor.sent + 1 && visitor.syncing === 'no') this.#sendMessage(visitor, message)
      else void this.#sync(visitor)
    }
  }

  async #say(visitor: Visitor, { id, text }: { readonly id: string; readonly text: string }): Promise<void> {
    const { room, name } = visitor
    if (this.#node === undefined || visitor.saying >= sayingMax) return send(visitor, { type: 'again', id })
    visitor.saying++
    try {
      const request = { type: 'say' as const, id, author: name, text }
      const number = await this.#node.entity(Room, room).ask(request, { timeoutMs: 30_000 })
      send(visitor, { type: 'said', id, number })
    } catch {
      // The room's node died, or the room has moved. Whether it was said is unknown; said twice, it counts once.
      send(visitor, { type: 'again', id })
    } finally {
      visitor.saying--
    }
  }

  /** Sends what the visitor has not got, in order. One at a time for each visitor. */
  async #sync(visitor: Visitor): Promise<void> {
    if (visitor.syncing !== 'no') {
      visitor.syncing = 'again'
      return
    }
    do {
      visitor.syncing = 'yes'
      try {
        const ref = this.#node?.entity(Room, visitor.room)
        const answer = await ref?.ask({ type: 'since', after: visitor.sent })
        if (answer === undefined) break
        // Every node died since: the room has begun anew, and so does its visitor.
        if (answer.last < visitor.sent) {
          visitor.sent = 0
          visitor.syncing = 'again'
          send(visitor, { type: 'reset' })
        }
        for (const message of answer.messages) this.#sendMessage(visitor, message)
      } catch {
        await new Promise((resolve) => setTimeout(resolve, 100))
        visitor.syncing = 'again'
      }
    } while (visitor.isOpen && (visitor.syncing as Visitor['syncing']) === 'again')
    visitor.syncing = 'no'
  }

  #sendMessage(visitor: Visitor, message: Message): void {
    if (message.number <= visitor.sent) return
    visitor.sent = message.number
    send(visitor, { type: 'message', ...message })
  }

  #tellWhere(visitor: Visitor): void {
    const node = this.#node
    if (node === undefined) return
    const nodes = node.members().map(({ name, status }) => ({ name, status }))
    send(visitor, { type: 'where', node: node.name, owner: node.ownerOf(Room, visitor.room) ?? '', nodes })
  }
}

function send({ socket }: Visitor, message: Readonly<Record<string, unknown>>): void {
  // Who does not read what is sent must not fill the node: it comes back, and gets what it missed.
  if (socket.send(JSON.stringify(message)) === 'full') socket.close(4_002, 'too slow')
}

function readRequest(data: string | Uint8Array): Request | undefined {
  try {
    const value = JSON.parse(String(data)) as Partial<Record<string, unknown>>
    const { type, id, text } = value
    if (type === 'ping') return { type }
    const isSay = type === 'say' && typeof id === 'string' && typeof text === 'string'
    return isSay && id.length <= 64 && text !== '' && text.length <= textMax ? { type, id, text } : undefined
  } catch {
    return undefined
  }
}
