/**
 * A node link on a WebSocket: frames in order both ways, bounded in both, and an end that says why. It knows the
 * socket by an interface of its own; whoever makes sockets (server.ts) hands one in.
 */
import { LinkInbox } from './link-inbox.ts'
import { checkCloseCode, frameTooBig, isCloseCode } from './transport.ts'
import type { CloseReason, Link, PeerCertificate, SendResult } from './transport.ts'

/** What a link or a user's socket needs of a `WebSocket` of `ws`. */
export interface FrameSocket {
  readonly readyState: number
  readonly bufferedAmount: number
  on(event: 'message', listener: (data: unknown, isBinary: boolean) => void): unknown
  on(event: 'error', listener: (error: SocketError) => void): unknown
  on(event: 'close', listener: (status: number, text: Buffer) => void): unknown
  send(data: Uint8Array | string, options: SendOptions, done?: () => void): void
  close(status: number, text: string): void
  terminate(): void
  pause(): void
  resume(): void
}

/** An error of a socket; what `ws` finds wrong itself has a code that begins with `WS_ERR_`. */
export interface SocketError extends Error {
  readonly code?: string | undefined
}

interface SendOptions {
  readonly binary: boolean
  readonly compress: boolean
  readonly fin: boolean
}

/** The stream below a WebSocket. */
export interface CorkSocket {
  cork(): void
  uncork(): void
}

/** What a link is made of. */
export interface WebSocketLinkParts {
  readonly webSocket: FrameSocket
  readonly socket: CorkSocket
  readonly frameBytesMax: number
  readonly outboundBytesMax: number
  readonly remoteAddress: string
  readonly peerCertificate: PeerCertificate | undefined
  /** Runs a task soon, in order, never at once. */
  readonly defer: (task: () => void) => void
  /** For an accepted link: `established()` was called. */
  readonly onEstablished?: () => void
}

/** `readyState` of an open WebSocket (the WebSocket interface, HTML standard). */
export const OPEN = 1
/** The status of a WebSocket close frame that carries one of our codes as its text. */
const STATUS_CODED = 4_000
const STATUS_NOT_BINARY = 1_003
const STATUS_TOO_BIG = 1_009
const STATUS_NONE_SEEN = 1_006
const PROTOCOL_STATUSES: ReadonlySet<number> = new Set([1_002, 1_007, 1_008])
/** A reaction to it is the cheapest microtask. */
const settled = Promise.resolve()
/** Frames from this size on are not held back until the end of the turn. */
const CORK_BYTES_MOST = 1_024
const SEND_OPTIONS = Object.freeze({ binary: true, compress: false, fin: true })

/** One link. What it promises is on `Link`. */
export class WebSocketLink implements Link {
  readonly remoteAddress: string
  readonly peerCertificate: PeerCertificate | undefined
  readonly #webSocket: FrameSocket
  readonly #inbox: LinkInbox
  readonly #frameBytesMax: number
  readonly #outboundBytesMax: number
  readonly #drainBytes: number
  readonly #socket: CorkSocket
  #isCorked = false
  #isClosed = false
  #isFull = false
  #onDrain: (() => void) | undefined
  #onEstablished: (() => void) | undefined

  constructor(parts: WebSocketLinkParts) {
    const { webSocket } = parts
    this.remoteAddress = parts.remoteAddress
    this.peerCertificate = parts.peerCertificate
    this.#webSocket = webSocket
    this.#socket = parts.socket
    this.#frameBytesMax = parts.frameBytesMax
    this.#outboundBytesMax = parts.outboundBytesMax
    this.#drainBytes = parts.outboundBytesMax / 2
    this.#onEstablished = parts.onEstablished
    this.#inbox = new LinkInbox({
      waitingBytesMax: parts.frameBytesMax,
      defer: parts.defer,
      onBacklog: (isOver) => {
        if (isOver) webSocket.pause()
        else webSocket.resume()
      },
      onThrow: (reason) => this.#part(reason, STATUS_CODED, reason.code),
    })
    webSocket.on('message', (data, isBinary) => {
      // With the default binary type a message is one Buffer, whatever pieces it came in.
      if (isBinary) this.#inbox.push(data as Uint8Array)
      else this.#refuseText()
    })
    webSocket.on('error', (error) => this.#fail(error))
    webSocket.on('close', (status, text) => {
      this.#isClosed = true
      this.#inbox.end(closeReason(status, text), false)
    })
  }

  get bufferedBytes(): number {
    return this.#webSocket.bufferedAmount
  }

  // All frames of a turn leave in one system call. Between two processes, one way: bursts of 200 bytes go from
  // 150,000 to 500,000 frames a second and more, frames of 10 kB stay as they were or gain (100,000 to 200,000).
  readonly send = (frame: Uint8Array): SendResult => {
    // `ws` says CLOSING as soon as the peer's close frame came, the 'close' event follows when the socket is
    // gone.
    if (this.#isClosed || this.#webSocket.readyState !== OPEN) return 'closed'
    const bytes = frame.byteLength
    if (bytes > this.#frameBytesMax) throw frameTooBig(bytes, this.#frameBytesMax)
    if (this.#webSocket.bufferedAmount + bytes > this.#outboundBytesMax) {
      this.#isFull = true
      return 'full'
    }
    // A large frame is worth a system call of its own, and the peer can begin on it at once.
    if (!this.#isCorked && bytes < CORK_BYTES_MOST) {
      this.#isCorked = true
      this.#socket.cork()
      void settled.then(this.#uncork)
    }
    this.#webSocket.send(frame, SEND_OPTIONS, this.#afterWrite)
    return 'ok'
  }

  readonly onFrame = (callback: (frame: Uint8Array) => void): void => this.#inbox.setFrameCallback(callback)
  readonly onClose = (callback: (reason: CloseReason) => void): void => this.#inbox.setCloseCallback(callback)
  readonly onDrain = (callback: () => void): void => {
    this.#onDrain = callback
  }

  readonly close = (code = 'CLUSTER_LINK_CLOSED'): void => {
    checkCloseCode(code)
    this.#part({ code, message: 'This side closed the link' }, STATUS_CODED, code)
  }

  readonly established = (): void => {
    this.#onEstablished?.()
    this.#onEstablished = undefined
  }

  /** For the listener: ends the link because of what the peer did, in words for this side's log. */
  reject(code: string, message: string): void {
    this.#part({ code, message }, STATUS_CODED, code)
  }

  /** Ends the connection without waiting for anything. */
  cut(): void {
    this.#webSocket.terminate()
  }

  readonly #uncork = (): void => {
    this.#isCorked = false
    this.#socket.uncork()
  }

  /** One function for all frames: a closure for each would be garbage for each. */
  readonly #afterWrite = (): void => {
    if (!this.#isFull || this.#isClosed || this.#webSocket.bufferedAmount > this.#drainBytes) return
    this.#isFull = false
    this.#onDrain?.()
  }

  #part(reason: CloseReason, status: number, text: string): void {
    this.#inbox.end(reason, true)
    if (this.#isClosed) return
    this.#isClosed = true
    // A paused socket would never see the peer's answer, nor its end.
    this.#webSocket.resume()
    this.#webSocket.close(status, text)
  }

  #refuseText(): void {
    const code = 'CLUSTER_FRAME_NOT_BINARY'
    this.#part(
      { code, message: 'The peer sent a text frame; frames must be binary' },
      STATUS_NOT_BINARY,
      code,
    )
  }

  /** `ws` has begun to close, or the socket broke; the 'close' event may be as late as `closeTimeoutMs`. */
  #fail(error: SocketError): void {
    this.#isClosed = true
    if (
      error.code === 'WS_ERR_UNSUPPORTED_MESSAGE_LENGTH' ||
      error.code === 'WS_ERR_UNSUPPORTED_DATA_PAYLOAD_LENGTH'
    ) {
      const message = `The peer sent a frame of more than frameBytesMax = ${this.#frameBytesMax} bytes`
      this.#inbox.end({ code: 'CLUSTER_FRAME_TOO_BIG', message }, false)
    } else if (error.code?.startsWith('WS_ERR_') === true) {
      this.#inbox.end({ code: 'CLUSTER_LINK_PROTOCOL', message: error.message }, false)
    } else {
      this.#inbox.end({ code: 'CLUSTER_LINK_LOST', message: error.message }, false)
    }
  }
}

/** What a close frame of the peer, or its absence, means. */
function closeReason(status: number, text: Buffer): CloseReason {
  const code = text.toString('latin1')
  if (status === STATUS_CODED && isCloseCode(code)) return { code, message: 'The peer closed the link' }
  if (status === STATUS_TOO_BIG) {
    return { code: 'CLUSTER_FRAME_TOO_BIG', message: 'The peer refused a frame because of its size' }
  }
  if (status === STATUS_NOT_BINARY) {
    return { code: 'CLUSTER_FRAME_NOT_BINARY', message: 'The peer refused a text frame' }
  }
  if (status === STATUS_NONE_SEEN) {
    return { code: 'CLUSTER_LINK_LOST', message: 'The connection broke without a good-bye' }
  }
  if (PROTOCOL_STATUSES.has(status)) {
    return {
      code: 'CLUSTER_LINK_PROTOCOL',
      message: `The peer closed the link with WebSocket status ${status}`,
    }
  }
  return { code: 'CLUSTER_LINK_CLOSED', message: `The peer closed the link with WebSocket status ${status}` }
}
