/**
 * The door of a listener: every connection from its first packet until it is known who is there, with one deadline.
 * What may come in is `Admission`'s to say; sockets and timers are handed in by server.ts.
 */
import { Admission } from './admission.ts'
import type { AdmissionOptions, AdmissionRefusal, Answer, Guest } from './admission.ts'
import type { Refusal } from './transport.ts'
import type { WebSocketLink } from './web-socket-link.ts'

/** An accepted TCP connection. */
export interface DoorSocket {
  readonly localAddress?: string | undefined
  readonly remoteAddress?: string | undefined
  readonly remotePort?: number | undefined
  once(event: 'close', listener: () => void): unknown
  destroy(): unknown
}

/** What the door is made of. */
export interface DoorParts {
  readonly options: AdmissionOptions
  readonly silentMax: number
  /** Connections on which a user's request came. */
  readonly usersMax: number
  /** From the first packet to `forget`. Milliseconds. */
  readonly timeoutMs: number
  readonly monotonicMs: () => number
  readonly setTimer: (delayMs: number, fire: () => void) => () => void
}

/** A connection, from its first packet to its last. */
export class Caller {
  readonly socket: DoorSocket
  /** While it is not known who is there. */
  guest: Guest<Caller> | undefined
  cancelDeadline: (() => void) | undefined
  /** Once it has become a node link. */
  link: WebSocketLink | undefined

  constructor(socket: DoorSocket) {
    this.socket = socket
  }

  /** It had its time, or must make room for another. */
  readonly end = (): void => {
    if (this.link === undefined) this.socket.destroy()
    else this.link.close('CLUSTER_LINK_NOT_ESTABLISHED')
  }
}

/** Lets connections in, one by one. */
export class Door {
  readonly #parts: DoorParts
  readonly #admission: Admission<Caller>
  /** By both ends of the connection: the socket of a request is, with TLS, not the one that was accepted. */
  readonly #callers = new Map<string, Caller>()
  readonly #users = new Set<Caller>()

  /** @throws {RangeError} if an option is out of range. */
  constructor(parts: DoorParts) {
    this.#parts = parts
    this.#admission = new Admission(parts.options, {
      // A handshake takes a few round trips: who has had a quarter of its time can be let go for another.
      agedMs: parts.timeoutMs / 4,
      silentMax: parts.silentMax,
      hasNames: false,
    })
  }

  /** A connection came. Undefined: it is in. Else why it is not; nothing is kept of it. */
  knock(socket: DoorSocket): AdmissionRefusal | undefined {
    const caller = new Caller(socket)
    const refused = this.#admit(caller)
    if (refused !== undefined) return refused
    const key = keyOf(socket)
    this.#callers.set(key, caller)
    socket.once('close', () => {
      this.forget(caller)
      this.#callers.delete(key)
      this.#users.delete(caller)
    })
    return undefined
  }

  /** Who is at the other end of a request's socket. */
  callerOf(socket: DoorSocket): Caller | undefined {
    return this.#callers.get(keyOf(socket))
  }

  /** A user's request came on it. Undefined: it may be served; it is no guest any more. */
  enterUser(caller: Caller | undefined): AdmissionRefusal | undefined {
    if (caller === undefined) return 'crowded'
    if (!this.#users.has(caller) && this.#users.size >= this.#parts.usersMax) return 'crowded'
    this.#users.add(caller)
    this.forget(caller)
    return undefined
  }

  /** It wants to be a node link. Undefined: it may be one. */
  askForLink(caller: Caller): AdmissionRefusal | undefined {
    // An earlier request on this connection was a user's, so it counts anew.
    const refused = caller.guest === undefined ? this.#admit(caller) : undefined
    if (refused !== undefined || caller.guest === undefined) return refused ?? 'crowded'
    this.#users.delete(caller)
    return madeRoom(this.#admission.ask(caller.guest, this.#parts.monotonicMs()))
  }

  /** It is known who is there, or there is nobody any more. */
  forget(caller: Caller | undefined): void {
    if (caller?.guest === undefined) return
    this.#admission.leave(caller.guest)
    caller.guest = undefined
    caller.cancelDeadline?.()
  }

  /** Cuts whoever has not become a link or a user's request. */
  cutSilent(): void {
    for (const { guest, link, socket } of this.#callers.values()) {
      if (guest !== undefined && link === undefined) socket.destroy()
    }
  }

  /** Cuts everybody. */
  cutAll(): void {
    for (const { socket } of this.#callers.values()) socket.destroy()
  }

  #admit(caller: Caller): AdmissionRefusal | undefined {
    const { monotonicMs, setTimer, timeoutMs } = this.#parts
    const { remoteAddress } = caller.socket
    if (remoteAddress === undefined) return 'crowded'
    const answer = this.#admission.knock(caller, remoteAddress, monotonicMs())
    const refused = madeRoom(answer)
    if (answer.type === 'welcome') {
      caller.guest = answer.guest
      caller.cancelDeadline = setTimer(timeoutMs, caller.end)
    }
    return refused
  }
}

function madeRoom(answer: Answer<Caller>): AdmissionRefusal | undefined {
  if (answer.type === 'refused') return answer.reason
  const { makeRoom } = answer
  // It has left already, and must not leave again on behalf of its next life.
  if (makeRoom !== undefined) {
    makeRoom.guest = undefined
    makeRoom.cancelDeadline?.()
    makeRoom.end()
  }
  return undefined
}

/** Tells living connections of one listener apart. */
function keyOf({ localAddress, remoteAddress, remotePort }: DoorSocket): string {
  return `${localAddress}|${remoteAddress}|${remotePort}`
}

// ---- turning away

/** Says why a dial was refused, in one word of `Refusal`; as `node:http` spells the names of headers. */
export const refusedHeader = 'x-understudy-refused'

const statuses: Readonly<Record<Refusal['reason'], string>> = Object.freeze({
  browser: '403 Forbidden',
  path: '404 Not Found',
  subprotocol: '400 Bad Request',
  upgrade: '400 Bad Request',
  crowded: '503 Service Unavailable',
  rate: '429 Too Many Requests',
  address: '403 Forbidden',
  tls: '400 Bad Request',
  certificate: '403 Forbidden',
  origin: '403 Forbidden',
})

/** The whole HTTP response to somebody who is turned away. */
export function refusalResponse(reason: Refusal['reason']): string {
  const lines = [
    `HTTP/1.1 ${statuses[reason]}`,
    `${refusedHeader}: ${reason}`,
    'connection: close',
    'content-length: 0',
  ]
  return `${lines.join('\r\n')}\r\n\r\n`
}
