/**
 * WebSockets of users on a node's port: a page that a node serves can talk back to it. They are not node links: they
 * live on every other path, carry text or bytes, are bounded, and prove nothing about who is there.
 */
import { OPEN } from './web-socket-link.ts'
import type { FrameSocket, SocketError } from './web-socket-link.ts'
import { checkInteger } from './transport.ts'
import type { SendResult } from './transport.ts'

/** What goes over a user's WebSocket: a string as a text message, bytes as a binary one. */
export type UserMessage = string | Uint8Array

/** How a user's WebSocket ended. */
export interface UserSocketEnd {
  /** Status of the close frame (RFC 6455, 7.4): 1000 and 1001 are orderly, 1006 means that there was none. */
  readonly status: number
  /** What the peer wrote beside it; its word, up to 123 bytes. */
  readonly reason: string
}

/** One open WebSocket of a user. */
export interface UserSocket {
  /** The path of the request, as it was sent: `/chat`. Not decoded. */
  readonly path: string
  /** What stood behind the `?`. */
  readonly query: URLSearchParams
  /** The headers of the request; their names are in lower case. */
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>
  /** Where the connection came from, without the port. */
  readonly remoteAddress: string
  /**
   * Sends text or bytes; the bytes must not be changed afterwards. 'full': `outboundBytesMax` would be passed; the
   * message is not sent, so the user is slow: drop it, or close. 'closed': it has ended.
   */
  readonly send: (message: UserMessage) => SendResult
  /**
   * Sets who gets the messages; set it before the handler returns, for what comes while nobody listens is dropped. A
   * throw ends this socket with status 1011.
   */
  readonly onMessage: (callback: (message: UserMessage) => void) => void
  /** Sets who is told, once, that it ended. */
  readonly onClose: (callback: (end: UserSocketEnd) => void) => void
  /**
   * Ends it, behind what was sent. `status` is 1000 or from 3000 to 4999, `reason` at most 123 bytes. Closing twice is
   * harmless. @default 1000, no reason
   *
   * @throws {RangeError} if the status or the reason is not of that form.
   */
  readonly close: (status?: number, reason?: string) => void
  /** Bytes that were sent and have not left yet. */
  readonly bufferedBytes: number
}

/** Takes a user's WebSocket. A throw ends that socket with status 1011 and goes to `onHttpError`. */
export type UserSocketHandler = (socket: UserSocket) => void

/** How users' WebSockets are served. */
export interface UserSocketOptions {
  readonly accept: UserSocketHandler
  /**
   * Pages of which origins may connect, such as `https://chat.example.com`; 'any' for all. Left out: pages that this
   * port serves itself, reached by an internet address or `localhost`. Under any other name a page must be listed,
   * because a hostile page can make a name of its own mean this machine. Clients that are no browsers send no Origin,
   * and are always let in. @default the same origin
   */
  readonly origins?: readonly string[] | 'any' | undefined
  /**
   * Largest message that is taken, in bytes; a larger one ends its socket with status 1009. Whoever sends one by halves holds
   * so much here until he is cut off for not answering a ping, within a minute: `socketsMax` times this in all, a gibibyte
   * with the defaults. @default 1_048_576
   */
  readonly payloadBytesMax?: number | undefined
  /**
   * Bytes that may wait for one user before `send` says 'full'. Each message that waits counts 256 more: that is what a small
   * one takes. @default 4_194_304
   */
  readonly outboundBytesMax?: number | undefined
  /** Open at once; further ones get 503. @default 1_024 */
  readonly socketsMax?: number | undefined
}

/** What `UserSocketOptions` are when left out. */
export const userSocketDefaults = Object.freeze({
  payloadBytesMax: 1_048_576,
  outboundBytesMax: 4_194_304,
  socketsMax: 1_024,
})

/** `UserSocketOptions` with nothing left out, but for `origins`. */
export interface UserSocketSettings {
  readonly accept: UserSocketHandler
  readonly origins: ReadonlySet<string> | 'any' | undefined
  readonly payloadBytesMax: number
  readonly outboundBytesMax: number
  readonly socketsMax: number
}

/** Fills in the defaults. @throws {RangeError} if a limit is out of range, or an origin is none. */
export function checkUserSocketOptions(given: UserSocketHandler | UserSocketOptions): UserSocketSettings {
  const options = typeof given === 'function' ? { accept: given } : given
  const settings = {
    accept: options.accept,
    origins: checkOrigins(options.origins),
    payloadBytesMax: options.payloadBytesMax ?? userSocketDefaults.payloadBytesMax,
    outboundBytesMax: options.outboundBytesMax ?? userSocketDefaults.outboundBytesMax,
    socketsMax: options.socketsMax ?? userSocketDefaults.socketsMax,
  }
  checkInteger('webSocket.payloadBytesMax', settings.payloadBytesMax, 1, 2 ** 31 - 1)
  checkInteger('webSocket.outboundBytesMax', settings.outboundBytesMax, 1, Number.MAX_SAFE_INTEGER)
  checkInteger('webSocket.socketsMax', settings.socketsMax, 1, 1_000_000)
  return settings
}

function checkOrigins(
  origins: readonly string[] | 'any' | undefined,
): ReadonlySet<string> | 'any' | undefined {
  if (origins === undefined || origins === 'any') return origins
  for (const origin of origins) {
    if (!/^https?:\/\/[^/?#\s]+$/.test(origin)) {
      throw new RangeError(
        `Cannot use "${origin}" in webSocket.origins: an origin is "https://chat.example.com", with its port if it is not the usual one and nothing behind it`,
      )
    }
  }
  return new Set(origins.map((origin) => origin.toLowerCase()))
}

const ADDRESS_HOST = /^(?:localhost|\d{1,3}(?:\.\d{1,3}){3}|\[[0-9a-f:.]+\])(?::\d{1,5})?$/

/**
 * Whether a request with these headers may open a user's WebSocket.
 *
 * Without a list a page must have come from this very port. Comparing Origin with Host alone would let in a page whose
 * own name was made to mean this machine (DNS rebinding): so the host must then be an address, which no name server
 * can change.
 */
export function isOriginAllowed(
  allowed: ReadonlySet<string> | 'any' | undefined,
  origin: string | undefined,
  host: string | undefined,
  isSecure: boolean,
): boolean {
  if (origin === undefined || allowed === 'any') return true
  const given = origin.toLowerCase()
  if (allowed !== undefined) return allowed.has(given)
  const own = host?.toLowerCase() ?? ''
  return ADDRESS_HOST.test(own) && given === `${isSecure ? 'https' : 'http'}://${own}`
}

/** What a user's socket needs of a `WebSocket` of `ws`. */
export interface PingSocket extends FrameSocket {
  on(event: 'message', listener: (data: unknown, isBinary: boolean) => void): unknown
  on(event: 'error', listener: (error: SocketError) => void): unknown
  on(event: 'close', listener: (status: number, text: Buffer) => void): unknown
  on(event: 'pong', listener: () => void): unknown
  ping(): void
}

/** What a user's socket is made of. */
export interface UserSocketParts {
  readonly webSocket: PingSocket
  readonly path: string
  readonly query: URLSearchParams
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>
  readonly remoteAddress: string
  readonly outboundBytesMax: number
  /** Told what the callbacks threw. */
  readonly onError: (error: unknown) => void
}

/** What a message that waits takes besides its bytes. */
const MESSAGE_BYTES = 256
const STATUS_NORMAL = 1_000
const STATUS_FAILED = 1_011
const REASON_BYTES_MAX = 123

/** The shell of one user's socket. */
export class UserWebSocket implements UserSocket {
  readonly path: string
  readonly query: URLSearchParams
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>
  readonly remoteAddress: string
  readonly #webSocket: PingSocket
  readonly #outboundBytesMax: number
  readonly #onError: (error: unknown) => void
  #onMessage: ((message: UserMessage) => void) | undefined
  #onClose: ((end: UserSocketEnd) => void) | undefined
  #isClosed = false
  /** Messages that were sent and have not left yet. */
  #waiting = 0
  /** It answered since the last ping. */
  #isAlive = true

  constructor(parts: UserSocketParts) {
    this.path = parts.path
    this.query = parts.query
    this.headers = parts.headers
    this.remoteAddress = parts.remoteAddress
    this.#webSocket = parts.webSocket
    this.#outboundBytesMax = parts.outboundBytesMax
    this.#onError = parts.onError
    const { webSocket } = parts
    webSocket.on('message', (data, isBinary) => {
      this.#isAlive = true
      if (this.#isClosed || this.#onMessage === undefined) return
      const message = isBinary ? (data as Uint8Array) : String(data)
      this.#guarded(() => this.#onMessage?.(message))
    })
    webSocket.on('pong', () => {
      this.#isAlive = true
    })
    // The 'close' event follows and says it again.
    webSocket.on('error', () => undefined)
    webSocket.on('close', (status, text) => {
      this.#isClosed = true
      this.#guarded(() => this.#onClose?.({ status, reason: text.toString('utf8') }))
    })
  }

  get bufferedBytes(): number {
    return this.#webSocket.bufferedAmount
  }

  readonly send = (message: UserMessage): SendResult => {
    if (this.#isClosed || this.#webSocket.readyState !== OPEN) return 'closed'
    const isBinary = typeof message !== 'string'
    // A character is at most three bytes of UTF-8, so no text is counted as less than it is.
    const bytes = isBinary ? message.byteLength : message.length * 3
    const waitingBytes = this.#webSocket.bufferedAmount + this.#waiting * MESSAGE_BYTES
    if (waitingBytes + bytes > this.#outboundBytesMax) return 'full'
    this.#waiting++
    this.#webSocket.send(message, { binary: isBinary, compress: false, fin: true }, this.#left)
    return 'ok'
  }

  readonly #left = (): void => {
    this.#waiting--
  }

  readonly onMessage = (callback: (message: UserMessage) => void): void => {
    this.#onMessage = callback
  }

  readonly onClose = (callback: (end: UserSocketEnd) => void): void => {
    this.#onClose = callback
  }

  readonly close = (status = STATUS_NORMAL, reason = ''): void => {
    if (status !== STATUS_NORMAL && !(Number.isInteger(status) && status >= 3_000 && status <= 4_999)) {
      throw new RangeError(
        `Cannot close a WebSocket with status ${status}: it must be 1000 or from 3000 to 4999`,
      )
    }
    if (reason.length * 3 > REASON_BYTES_MAX && new TextEncoder().encode(reason).length > REASON_BYTES_MAX) {
      throw new RangeError(
        `Cannot close a WebSocket with a reason of ${reason.length} characters: at most ${REASON_BYTES_MAX} bytes`,
      )
    }
    this.end(status, reason)
  }

  // ---- the listener's

  /** Ends it with any status. */
  end(status: number, reason: string): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#webSocket.close(status, reason)
  }

  /** Ends the connection without waiting for anything. */
  cut(): void {
    this.#webSocket.terminate()
  }

  /** Asks whether anybody is still there; whoever did not answer the last time is cut off. */
  beat(): void {
    if (!this.#isAlive) {
      this.#webSocket.terminate()
      return
    }
    this.#isAlive = false
    if (this.#webSocket.readyState === OPEN) this.#webSocket.ping()
  }

  /** Shows the socket to the user's handler. */
  present(accept: UserSocketHandler): void {
    this.#guarded(() => accept(this))
  }

  /** What a user's code throws costs its own socket, not the process. */
  #guarded(task: () => void): void {
    try {
      task()
    } catch (error) {
      this.#onError(error)
      this.end(STATUS_FAILED, 'internal error')
    }
  }
}
