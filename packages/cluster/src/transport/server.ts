/**
 * The real transport: WebSockets on an HTTP server. The one importer of `ws`, `node:http` and `node:https`.
 *
 * Nodes link on a path and a subprotocol of their own, so that the same port can serve a user's HTTP handler;
 * a request with an Origin is a browser's and never reaches the node handshake. Frames are binary and
 * uncompressed. The file is longer than most because it is the only one that may import `ws` and `node:http`.
 */
import { createServer } from 'node:http'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import { WebSocket, WebSocketServer } from 'ws'
import type { RawData } from 'ws'
import { formatAddress, parseAddress } from './address.ts'
import type { NodeAddress } from './address.ts'
import { LinkInbox } from './link-inbox.ts'
import { TransportError } from './transport-error.ts'
import type { TransportErrorCode } from './transport-error.ts'
import {
  checkCloseCode,
  checkInteger,
  checkLinkLimits,
  frameTooBig,
  isCloseCode,
  linkDefaults,
} from './transport.ts'
import type {
  CloseReason,
  DialOptions,
  Link,
  LinkLimits,
  Listener,
  ListenOptions,
  Refusal,
  SendResult,
  Transport,
} from './transport.ts'

/** Where node links live on a node's HTTP server. */
export const NODE_PATH = '/understudy/node'
/** The WebSocket subprotocol of node links. The number changes only if the way frames travel does. */
export const NODE_SUBPROTOCOL = 'understudy.1'

/** A user's own HTTP handler. What it throws or rejects with becomes a 500 and goes to `onHttpError`. */
export type HttpHandler = (request: IncomingMessage, response: ServerResponse) => void | Promise<void>

/** Options of `webSocketTransport`. */
export interface WebSocketTransportOptions extends LinkLimits {
  /** Serves everything that is not a node link, on the same port. Without it such requests get 404. */
  readonly http?: HttpHandler | undefined
  /** Told what `http` threw. Default: nobody is. */
  readonly onHttpError?: ((error: unknown) => void) | undefined
  /**
   * How long an accepted link may stay without `established()` before it is closed with
   * `CLUSTER_LINK_NOT_ESTABLISHED`, in milliseconds. 1 to 600,000. @default 5_000
   */
  readonly establishTimeoutMs?: number | undefined
  /**
   * How long a closing link waits for its queue to leave and for the peer's answer before the connection is
   * cut, in milliseconds. 1 to 600,000. Also bounds `Listener.close()`. @default 2_000
   */
  readonly closeTimeoutMs?: number | undefined
  /** TCP connections of all kinds that one listener accepts; further ones are dropped. @default 4_096 */
  readonly connectionsMax?: number | undefined
}

/** What `WebSocketTransportOptions` are when left out (its limits: `linkDefaults`). */
export const webSocketDefaults = Object.freeze({
  establishTimeoutMs: 5_000,
  closeTimeoutMs: 2_000,
  connectionsMax: 4_096,
})

/**
 * The transport between processes.
 *
 * Memory: one link holds at most `outboundBytesMax` outbound, and inbound one frame in the making and
 * `frameBytesMax` of frames that nobody took; a stranger can make a node hold at most `unestablishedMax`
 * times that for `establishTimeoutMs`.
 *
 * @throws {RangeError} if an option is out of range.
 */
export function webSocketTransport(options: WebSocketTransportOptions = {}): Transport {
  const settings = checkOptions(options)
  return {
    listen: (address, onLink, listenOptions = {}) => listen(settings, address, onLink, listenOptions),
    dial: (address, dialOptions = {}) => dial(settings, address, dialOptions),
  }
}

interface Settings {
  readonly frameBytesMax: number
  readonly outboundBytesMax: number
  readonly establishTimeoutMs: number
  readonly closeTimeoutMs: number
  readonly connectionsMax: number
  readonly http: HttpHandler | undefined
  readonly onHttpError: ((error: unknown) => void) | undefined
}

const DURATION_MS_MOST = 600_000
/** A message in more pieces than this is an attack on memory, not a message. */
const FRAGMENTS_MAX = 1_024
const CHUNKS_MAX = 16_384
const HEADER_BYTES_MAX = 16_384
const HEADERS_TIMEOUT_MS = 10_000
const REQUEST_TIMEOUT_MS = 60_000
const KEEP_ALIVE_TIMEOUT_MS = 5_000

/** The status of a WebSocket close frame that carries one of our codes as its text. */
const STATUS_CODED = 4_000
/** A reaction to it is the cheapest microtask. */
const settled = Promise.resolve()
/** Frames from this size on are not held back until the end of the turn. */
const CORK_BYTES_MOST = 1_024
const STATUS_NOT_BINARY = 1_003
const STATUS_TOO_BIG = 1_009
const STATUS_NONE_SEEN = 1_006
const PROTOCOL_STATUSES: ReadonlySet<number> = new Set([1_002, 1_007, 1_008])

function checkOptions(options: WebSocketTransportOptions): Settings {
  const settings = {
    ...checkLinkLimits(options),
    establishTimeoutMs: options.establishTimeoutMs ?? webSocketDefaults.establishTimeoutMs,
    closeTimeoutMs: options.closeTimeoutMs ?? webSocketDefaults.closeTimeoutMs,
    connectionsMax: options.connectionsMax ?? webSocketDefaults.connectionsMax,
    http: options.http,
    onHttpError: options.onHttpError,
  }
  checkInteger('establishTimeoutMs', settings.establishTimeoutMs, 1, DURATION_MS_MOST)
  checkInteger('closeTimeoutMs', settings.closeTimeoutMs, 1, DURATION_MS_MOST)
  checkInteger('connectionsMax', settings.connectionsMax, 1, 1_000_000)
  return settings
}

// ---- listening

function listen(
  settings: Settings,
  address: NodeAddress,
  onLink: (link: Link) => void,
  options: ListenOptions,
): Promise<Listener> {
  return new Promise((resolve, reject) => {
    const { host, port } = parseAddress(address)
    const unestablishedMax = options.unestablishedMax ?? linkDefaults.unestablishedMax
    checkInteger('unestablishedMax', unestablishedMax, 1, 1_000_000)
    const server = createServer({
      noDelay: true,
      maxHeaderSize: HEADER_BYTES_MAX,
      headersTimeout: HEADERS_TIMEOUT_MS,
      requestTimeout: REQUEST_TIMEOUT_MS,
      keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS,
      connectionsCheckingInterval: KEEP_ALIVE_TIMEOUT_MS,
    })
    server.maxConnections = settings.connectionsMax
    const onError = (error: NodeJS.ErrnoException): void => reject(listenError(address, error))
    server.once('error', onError)
    server.listen({ host, port }, () => {
      server.removeListener('error', onError)
      const bound = server.address()
      const realPort = bound !== null && typeof bound === 'object' ? bound.port : port
      resolve(
        new WebSocketListener(
          server,
          formatAddress(host, realPort),
          settings,
          onLink,
          unestablishedMax,
          options.onRefused,
        ),
      )
    })
  })
}

function listenError(address: string, error: NodeJS.ErrnoException): TransportError {
  if (error.code === 'EADDRINUSE') {
    return new TransportError(
      'CLUSTER_PORT_IN_USE',
      `Cannot listen on "${address}": the port is in use; stop what listens there, give another port, or 0 for any`,
      { cause: error },
    )
  }
  return new TransportError(
    'CLUSTER_LISTEN_FAILED',
    `Cannot listen on "${address}": ${error.message}; the host must be an address of this machine, the port one it may use`,
    { cause: error },
  )
}

const REFUSALS: Readonly<Record<Refusal['reason'], string>> = Object.freeze({
  browser: '403 Forbidden',
  path: '404 Not Found',
  subprotocol: '400 Bad Request',
  upgrade: '400 Bad Request',
  crowded: '503 Service Unavailable',
})

class WebSocketListener implements Listener {
  readonly address: NodeAddress
  readonly #server: Server
  readonly #sockets: WebSocketServer
  readonly #settings: Settings
  readonly #onLink: (link: Link) => void
  readonly #unestablishedMax: number
  readonly #onRefused: ((refusal: Refusal) => void) | undefined
  readonly #links = new Set<WebSocketLink>()
  #unestablished = 0
  #closed: Promise<void> | undefined

  constructor(
    server: Server,
    address: NodeAddress,
    settings: Settings,
    onLink: (link: Link) => void,
    unestablishedMax: number,
    onRefused: ((refusal: Refusal) => void) | undefined,
  ) {
    this.address = address
    this.#server = server
    this.#settings = settings
    this.#onLink = onLink
    this.#unestablishedMax = unestablishedMax
    this.#onRefused = onRefused
    this.#sockets = new WebSocketServer({
      noServer: true,
      clientTracking: false,
      perMessageDeflate: false,
      skipUTF8Validation: true,
      ...socketLimits(settings),
      handleProtocols: () => NODE_SUBPROTOCOL,
    })
    // Without this listener an accept error (no file descriptors left, say) would end the process.
    server.on('error', () => undefined)
    server.on('request', (request, response) => this.#serve(request, response))
    server.on('upgrade', (request, socket, head) => {
      const reason = this.#refusalOf(request)
      if (reason === undefined) {
        this.#sockets.handleUpgrade(request, socket, head, (webSocket) => this.#accept(webSocket, request))
        return
      }
      socket.on('error', () => socket.destroy())
      socket.once('finish', () => socket.destroy())
      socket.end(`HTTP/1.1 ${REFUSALS[reason]}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`)
      this.#onRefused?.({ reason, remoteAddress: remoteOf(request) })
    })
  }

  readonly close = (): Promise<void> => {
    this.#closed ??= new Promise((resolve) => {
      const cut = setTimeout(() => {
        for (const link of this.#links) link.cut()
        this.#server.closeAllConnections()
      }, this.#settings.closeTimeoutMs)
      // The server is closed when the last connection of any kind is gone.
      this.#server.close(() => {
        clearTimeout(cut)
        resolve()
      })
      this.#server.closeIdleConnections()
      for (const link of this.#links) link.close('CLUSTER_LISTENER_CLOSED')
    })
    return this.#closed
  }

  #refusalOf(request: IncomingMessage): Refusal['reason'] | undefined {
    const headers = request.headers
    if (headers.origin !== undefined || headers['sec-websocket-origin'] !== undefined) return 'browser'
    if (pathOf(request) !== NODE_PATH) return 'path'
    if (headers.upgrade?.toLowerCase() !== 'websocket') return 'upgrade'
    const offered = headers['sec-websocket-protocol']?.split(',') ?? []
    if (!offered.some((name) => name.trim() === NODE_SUBPROTOCOL)) return 'subprotocol'
    if (this.#unestablished >= this.#unestablishedMax || this.#closed !== undefined) return 'crowded'
    return undefined
  }

  #accept(webSocket: WebSocket, request: IncomingMessage): void {
    const link = new WebSocketLink(webSocket, request.socket, this.#settings, remoteOf(request))
    this.#links.add(link)
    this.#unestablished++
    let isCounted = true
    const uncount = (): void => {
      if (isCounted) this.#unestablished--
      isCounted = false
    }
    link.guard(this.#settings.establishTimeoutMs, uncount, () => {
      uncount()
      this.#links.delete(link)
    })
    this.#onLink(link)
  }

  #serve(request: IncomingMessage, response: ServerResponse): void {
    const handler = this.#settings.http
    if (handler === undefined || pathOf(request) === NODE_PATH) {
      const status = pathOf(request) === NODE_PATH ? 426 : 404
      response.writeHead(status, { 'content-type': 'text/plain', connection: 'close' })
      response.end(status === 426 ? 'Node links only\n' : 'Not found\n')
      return
    }
    const onFailure = (error: unknown): void => {
      this.#settings.onHttpError?.(error)
      if (response.headersSent) response.destroy()
      else response.writeHead(500, { 'content-type': 'text/plain' }).end('Internal error\n')
    }
    try {
      const result = handler(request, response)
      if (result !== undefined) Promise.resolve(result).catch(onFailure)
    } catch (error) {
      onFailure(error)
    }
  }
}

function pathOf(request: IncomingMessage): string {
  const url = request.url ?? '/'
  const query = url.indexOf('?')
  return query === -1 ? url : url.slice(0, query)
}

function remoteOf(request: IncomingMessage): string {
  const { remoteAddress, remotePort } = request.socket
  return remoteAddress === undefined ? 'gone' : formatAddress(remoteAddress, remotePort ?? 0)
}

// ---- dialling

/** The limits that both ends of a link have; `closeTimeout` is younger than the type package of `ws`. */
function socketLimits(settings: Settings) {
  return {
    maxPayload: settings.frameBytesMax,
    maxFragments: FRAGMENTS_MAX,
    maxBufferedChunks: CHUNKS_MAX,
    closeTimeout: settings.closeTimeoutMs,
  }
}

function dial(settings: Settings, address: NodeAddress, options: DialOptions): Promise<Link> {
  return new Promise((resolve, reject) => {
    const { port } = parseAddress(address)
    if (port === 0) {
      throw new TransportError(
        'CLUSTER_BAD_ADDRESS',
        `Cannot dial "${address}": port 0 is only for listening`,
      )
    }
    const timeoutMs = options.timeoutMs ?? linkDefaults.dialTimeoutMs
    checkInteger('timeoutMs', timeoutMs, 1, DURATION_MS_MOST)
    const signal = options.signal
    if (signal?.aborted === true) {
      reject(abortedDial(address, signal))
      return
    }
    const webSocket = new WebSocket(address + NODE_PATH, [NODE_SUBPROTOCOL], {
      perMessageDeflate: false,
      skipUTF8Validation: true,
      ...socketLimits(settings),
      generateMask: zeroMask,
    })
    let isSettled = false
    const settle = (): boolean => {
      if (isSettled) return false
      isSettled = true
      clearTimeout(timer)
      signal?.removeEventListener('abort', onAbort)
      return true
    }
    const fail = (error: TransportError): void => {
      if (!settle()) return
      // The error listener below stays: `ws` still reports the end that this call causes.
      webSocket.terminate()
      reject(error)
    }
    const onAbort = (): void => {
      if (signal !== undefined) fail(abortedDial(address, signal))
    }
    const timer = setTimeout(
      () =>
        fail(
          new TransportError(
            'CLUSTER_DIAL_TIMEOUT',
            `Cannot dial "${address}": no answer within ${timeoutMs} ms`,
          ),
        ),
      timeoutMs,
    )
    signal?.addEventListener('abort', onAbort, { once: true })
    webSocket.on('error', (error: NodeJS.ErrnoException) => fail(dialError(address, error)))
    webSocket.once('unexpected-response', (request, response) => {
      request.destroy()
      fail(
        new TransportError(
          'CLUSTER_DIAL_REJECTED',
          `Cannot dial "${address}": it answered with HTTP status ${response.statusCode ?? 0}; ` +
            'it must be the address of a node that takes links of this version',
        ),
      )
    })
    let socket: Duplex | undefined
    webSocket.once('upgrade', (response) => {
      socket = response.socket
    })
    webSocket.once('open', () => {
      if (socket !== undefined && settle()) resolve(new WebSocketLink(webSocket, socket, settings, address))
    })
  })
}

/**
 * The mask that changes nothing, so that a dialled link sends without copying, and an accepted one reads
 * without unmasking. Masks keep scripts in browsers from writing chosen bytes through proxies that mistake
 * them for HTTP (RFC 6455, 10.3); no browser gets here, and nodes are not linked through such proxies.
 */
function zeroMask(mask: Buffer): void {
  mask.fill(0)
}

function abortedDial(address: string, signal: AbortSignal): TransportError {
  return new TransportError(
    'CLUSTER_DIAL_ABORTED',
    `Gave up dialling "${address}": the caller's signal was aborted`,
    { cause: signal.reason },
  )
}

function dialError(address: string, error: NodeJS.ErrnoException): TransportError {
  let code: TransportErrorCode = 'CLUSTER_DIAL_FAILED'
  let mend = error.message
  if (error.code === 'ECONNREFUSED') {
    code = 'CLUSTER_DIAL_REFUSED'
    mend = 'nobody listens there; start the node or mend the address'
  } else if (error.code === undefined) {
    // Errors without a code are those of the WebSocket handshake.
    code = 'CLUSTER_DIAL_REJECTED'
    mend = `${error.message}; it must be the address of a node that takes links of this version`
  }
  return new TransportError(code, `Cannot dial "${address}": ${mend}`, { cause: error })
}

// ---- links

const SEND_OPTIONS = Object.freeze({ binary: true, compress: false, fin: true })

class WebSocketLink implements Link {
  readonly remoteAddress: string
  readonly #webSocket: WebSocket
  readonly #inbox: LinkInbox
  readonly #frameBytesMax: number
  readonly #outboundBytesMax: number
  readonly #drainBytes: number
  readonly #socket: Duplex
  #isCorked = false
  #isClosed = false
  #isFull = false
  #onDrain: (() => void) | undefined
  #onEstablished: (() => void) | undefined
  /** Runs while the peer of an accepted link is unknown. */
  #guardTimer: NodeJS.Timeout | undefined

  constructor(webSocket: WebSocket, socket: Duplex, settings: Settings, remoteAddress: string) {
    this.remoteAddress = remoteAddress
    this.#webSocket = webSocket
    this.#socket = socket
    this.#frameBytesMax = settings.frameBytesMax
    this.#outboundBytesMax = settings.outboundBytesMax
    this.#drainBytes = settings.outboundBytesMax / 2
    this.#inbox = new LinkInbox({
      waitingBytesMax: settings.frameBytesMax,
      defer: queueMicrotask,
      onBacklog: (isOver) => {
        if (isOver) webSocket.pause()
        else webSocket.resume()
      },
      onThrow: (reason) => this.#part(reason, STATUS_CODED, reason.code),
    })
    webSocket.on('message', (data: RawData, isBinary: boolean) => {
      // With the default binary type a message is one Buffer, whatever pieces it came in.
      if (isBinary) this.#inbox.push(data as Buffer)
      else this.#refuseText()
    })
    webSocket.on('error', (error: NodeJS.ErrnoException) => this.#fail(error))
    webSocket.on('close', (status: number, text: Buffer) => {
      this.#isClosed = true
      clearTimeout(this.#guardTimer)
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
    if (this.#isClosed || this.#webSocket.readyState !== WebSocket.OPEN) return 'closed'
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
    clearTimeout(this.#guardTimer)
    this.#onEstablished?.()
    this.#onEstablished = undefined
  }

  /**
   * For the listener: limits the time without `established()`, and says when the connection is gone for good.
   */
  guard(timeoutMs: number, onEstablished: () => void, onGone: () => void): void {
    this.#onEstablished = onEstablished
    this.#guardTimer = setTimeout(() => this.close('CLUSTER_LINK_NOT_ESTABLISHED'), timeoutMs)
    this.#webSocket.once('close', onGone)
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
    clearTimeout(this.#guardTimer)
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
  #fail(error: NodeJS.ErrnoException): void {
    this.#isClosed = true
    clearTimeout(this.#guardTimer)
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
