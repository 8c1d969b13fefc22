/**
 * The real transport: WebSockets on an HTTP server, with TLS or without. The one importer of `ws`, `node:http`,
 * `node:https` and what TLS needs.
 *
 * Nodes link on a path and a subprotocol of their own, so that the same port can serve a user's HTTP handler and
 * WebSockets; a request with an Origin is a browser's and never reaches the node handshake. Frames are binary and
 * uncompressed. Every connection is a guest of `Admission` from its first packet until it is known who is there. The
 * file is longer than most because it is the only one that may open sockets.
 */
import { constants, createPrivateKey, X509Certificate } from 'node:crypto'
import { createServer } from 'node:http'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import { createServer as createSecureServer } from 'node:https'
import type { Server as SecureServer } from 'node:https'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { createSecureContext } from 'node:tls'
import type { SecureContext, SecureContextOptions, TLSSocket } from 'node:tls'
import { WebSocket, WebSocketServer } from 'ws'
import { formatAddress, parseAddress } from './address.ts'
import type { NodeAddress } from './address.ts'
import { Door, refusalResponse, refusedHeader } from './door.ts'
import type { Caller } from './door.ts'
import { peerCertificate, pemCertificates, TlsKeeper } from './tls.ts'
import type { CheckedTlsMaterial, TlsInUse } from './tls.ts'
import { badTls, portInUse, TransportError } from './transport-error.ts'
import type { Link, Listener, ListenOptions, PeerCertificate, Refusal, Transport } from './transport.ts'
import { isOriginAllowed, UserWebSocket } from './user-socket.ts'
import { dial } from './web-socket-dial.ts'
import type { DialSocket } from './web-socket-dial.ts'
import { WebSocketLink } from './web-socket-link.ts'
import { checkWebSocketOptions } from './web-socket-options.ts'
import type { WebSocketSettings, WebSocketTransportOptions } from './web-socket-options.ts'

export type { WebSocketTransportOptions } from './web-socket-options.ts'

/** Where node links live on a node's HTTP server. */
export const NODE_PATH = '/understudy/node'
/** The WebSocket subprotocol of node links. The number changes only if the way frames travel does. */
export const NODE_SUBPROTOCOL = 'understudy.1'

/** A user's own HTTP handler. What it throws or rejects with becomes a 500 and goes to `onHttpError`. */
export type HttpHandler = (request: IncomingMessage, response: ServerResponse) => void | Promise<void>

/** The transport between processes. */
export interface WebSocketTransport extends Transport {
  /**
   * Takes new TLS material: asks the `tls` function again (or reads the `tls` object again), and uses what it gives for
   * all new connections, in and out. Links that stand are not touched. Material that cannot be used (not PEM, a key of
   * another certificate, not valid today) is refused as a whole, and the old one stays in use.
   *
   * @throws {TransportError} (as a rejection) CLUSTER_BAD_TLS
   */
  readonly reloadTls: () => Promise<void>
}

/**
 * The transport between processes.
 *
 * Memory: one link holds at most `outboundBytesMax` outbound, and inbound one frame in the making and
 * `frameBytesMax` of frames that nobody took. What strangers can make a node hold is `silentConnectionsMax` times one
 * request's head (with TLS: one handshake), and `unestablishedMax` times 128 KiB; users hold what their handlers keep,
 * on at most `userConnectionsMax` connections.
 *
 * @throws {RangeError} if an option is out of range.
 */
export function webSocketTransport(options: WebSocketTransportOptions = {}): WebSocketTransport {
  const settings = checkWebSocketOptions(options)
  const tls = options.tls === undefined ? undefined : new TlsKeeper(options.tls, openTls)
  const listeners = new Set<WebSocketListener>()
  const dialParts = {
    settings,
    secure: tls && (() => tls.current()),
    connect: (address: NodeAddress, secure: TlsInUse<SecureContext> | undefined): DialSocket<Duplex> =>
      connect(settings, address, secure),
    certificateOf,
    setTimer,
    defer: queueMicrotask,
  }
  return {
    listen: async (address, onLink, listenOptions = {}) => {
      const listener = await listen({ settings, tls, onLink, options: listenOptions }, address)
      listeners.add(listener)
      // Meanwhile there may have been new material.
      if (tls?.inUse !== undefined) listener.useTls(tls.inUse)
      listener.onClosing = () => void listeners.delete(listener)
      return listener
    },
    dial: (address, dialOptions = {}) => dial(dialParts, address, dialOptions),
    reloadTls: async () => {
      if (tls === undefined) throw badTls('reload TLS', 'this transport was made without "tls"')
      await tls.reload((next) => {
        for (const listener of listeners) listener.checkTls(next)
        for (const listener of listeners) listener.useTls(next)
      })
    },
  }
}

type Tls = TlsKeeper<SecureContext>

/** A message in more pieces than this is an attack on memory, not a message. */
const FRAGMENTS_MAX = 1_024
const CHUNKS_MAX = 16_384
const HEADER_BYTES_MAX = 16_384
const HEADERS_TIMEOUT_MS = 10_000
const REQUEST_TIMEOUT_MS = 60_000
const KEEP_ALIVE_TIMEOUT_MS = 5_000
/** What a handshake needs, eight times over. Some of it may come in one piece with what is sent after it. */
const UNESTABLISHED_BYTES_MAX = 131_072
const USER_PING_INTERVAL_MS = 30_000
const STATUS_GOING_AWAY = 1_001
const USERS_FULL = 'userConnectionsMax is reached'

function setTimer(delayMs: number, fire: () => void): () => void {
  const timer = setTimeout(fire, delayMs)
  return () => clearTimeout(timer)
}

// ---- TLS

/** Opens material, after a look at all that OpenSSL would find wrong only when somebody dials. */
function openTls(material: CheckedTlsMaterial): SecureContext {
  const [own] = certificatesOf('cert', material.cert)
  for (const pem of material.ca ?? []) certificatesOf('ca', pem)
  if (own === undefined || !own.checkPrivateKey(createPrivateKey(keyText(material)))) {
    throw new Error('"key" is not the private key of "cert"; give the two that were made together')
  }
  const nowMs = Date.now()
  if (Date.parse(own.validTo) < nowMs) {
    throw new Error(`"cert" expired on ${own.validTo}; every peer would refuse it, so get a new one`)
  }
  if (Date.parse(own.validFrom) > nowMs) {
    throw new Error(
      `"cert" is valid from ${own.validFrom} only; wait until then, or set this machine's clock`,
    )
  }
  return createSecureContext(contextOptions(material))
}

function certificatesOf(field: string, pem: string | Uint8Array): readonly X509Certificate[] {
  const texts = pemCertificates(pem)
  if (texts.length === 0) throw new Error(`"${field}" has no "-----BEGIN CERTIFICATE-----"`)
  try {
    return texts.map((text) => new X509Certificate(text))
  } catch (error) {
    throw new Error(`"${field}" has a certificate that cannot be read; is the file whole?`, { cause: error })
  }
}

function keyText({ key }: CheckedTlsMaterial): string | Buffer {
  return typeof key === 'string' ? key : Buffer.from(key)
}

function contextOptions(material: CheckedTlsMaterial): SecureContextOptions {
  const bytes = (pem: string | Uint8Array): string | Buffer =>
    typeof pem === 'string' ? pem : Buffer.from(pem)
  return {
    cert: bytes(material.cert),
    key: keyText(material),
    ...(material.ca !== undefined && { ca: material.ca.map(bytes) }),
    minVersion: material.minVersion,
    // A resumed session would show a certificate as it was judged long ago, under the old authorities maybe.
    secureOptions: constants.SSL_OP_NO_TICKET,
  }
}

/** What the other end of a TLS socket proved to be; undefined for a plain socket, or one that proved nothing. */
function certificateOf(socket: Duplex): PeerCertificate | undefined {
  const secure = socket as TLSSocket
  if (secure.encrypted !== true || !secure.authorized) return undefined
  const certificate = secure.getPeerX509Certificate()
  return certificate === undefined
    ? undefined
    : peerCertificate(certificate.subject, certificate.subjectAltName)
}

// ---- listening

interface ListenParts {
  readonly settings: WebSocketSettings
  readonly tls: Tls | undefined
  readonly onLink: (link: Link) => void
  readonly options: ListenOptions
}

async function listen(parts: ListenParts, address: NodeAddress): Promise<WebSocketListener> {
  const { host, port, isSecure } = parseAddress(address)
  const { settings, tls } = parts
  if (isSecure && tls === undefined) {
    throw badTls(`listen on "${address}"`, 'wss:// needs the option "tls" with a certificate and its key')
  }
  if (!isSecure && tls !== undefined) {
    throw badTls(`listen on "${address}"`, 'with "tls" the address must begin with wss://')
  }
  const door = new Door({
    options: parts.options,
    silentMax: settings.silentConnectionsMax,
    usersMax: settings.userConnectionsMax,
    timeoutMs: settings.establishTimeoutMs,
    monotonicMs: () => performance.now(),
    setTimer,
  })
  const httpOptions = {
    noDelay: true,
    maxHeaderSize: HEADER_BYTES_MAX,
    headersTimeout: HEADERS_TIMEOUT_MS,
    requestTimeout: REQUEST_TIMEOUT_MS,
    keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS,
    connectionsCheckingInterval: KEEP_ALIVE_TIMEOUT_MS,
  }
  const secure = await tls?.current()
  const server =
    secure === undefined
      ? createServer(httpOptions)
      : createSecureServer({
          ...httpOptions,
          ...contextOptions(secure.material),
          // Who shows none, or a bad one, is told so on the path of node links: see #refusalOf.
          requestCert: secure.material.ca !== undefined,
          rejectUnauthorized: false,
          handshakeTimeout: settings.establishTimeoutMs,
        })
  server.maxConnections = settings.connectionsMax
  return new Promise((resolve, reject) => {
    const onError = (error: NodeJS.ErrnoException): void => reject(listenError(address, error))
    server.once('error', onError)
    server.listen({ host, port }, () => {
      server.removeListener('error', onError)
      const bound = server.address()
      const realPort = bound !== null && typeof bound === 'object' ? bound.port : port
      resolve(new WebSocketListener(server, formatAddress(host, realPort, isSecure), parts, door, secure))
    })
  })
}

function listenError(address: string, error: NodeJS.ErrnoException): TransportError {
  if (error.code === 'EADDRINUSE') return portInUse(address, error)
  return new TransportError(
    'CLUSTER_LISTEN_FAILED',
    `Cannot listen on "${address}": ${error.message}; the host must be an address of this machine, the port one it may use`,
    { cause: error },
  )
}

class WebSocketListener implements Listener {
  readonly address: NodeAddress
  onClosing: (() => void) | undefined
  readonly #server: Server | SecureServer
  readonly #isSecure: boolean
  /** What the server was given last. */
  #tls: TlsInUse<SecureContext> | undefined
  readonly #settings: WebSocketSettings
  readonly #door: Door
  readonly #onLink: (link: Link) => void
  readonly #onRefused: ((refusal: Refusal) => void) | undefined
  readonly #nodeSockets: WebSocketServer
  readonly #userSockets: WebSocketServer
  readonly #links = new Set<WebSocketLink>()
  readonly #users = new Set<UserWebSocket>()
  /** By connection, the requests whose answers have not ended. */
  readonly #unanswered = new WeakMap<Socket, number>()
  #pings: NodeJS.Timeout | undefined
  #closed: Promise<void> | undefined

  constructor(
    server: Server | SecureServer,
    address: NodeAddress,
    { settings, onLink, options }: ListenParts,
    door: Door,
    tls: TlsInUse<SecureContext> | undefined,
  ) {
    this.address = address
    this.#server = server
    this.#isSecure = tls !== undefined
    this.#tls = tls
    this.#settings = settings
    this.#door = door
    this.#onLink = onLink
    this.#onRefused = options.onRefused
    const common = { noServer: true, clientTracking: false, perMessageDeflate: false }
    this.#nodeSockets = new WebSocketServer({
      ...common,
      ...socketLimits(settings, settings.frameBytesMax),
      skipUTF8Validation: true,
      handleProtocols: () => NODE_SUBPROTOCOL,
    })
    this.#userSockets = new WebSocketServer({
      ...common,
      ...socketLimits(settings, settings.users?.payloadBytesMax ?? 1),
    })
    // Without this listener an accept error (no file descriptors left, say) would end the process.
    server.on('error', () => undefined)
    this.#standAtTheDoor()
    server.on('request', (request: IncomingMessage, response: ServerResponse) => {
      this.#unanswered.set(request.socket, (this.#unanswered.get(request.socket) ?? 0) + 1)
      response.once('close', () => {
        this.#unanswered.set(request.socket, (this.#unanswered.get(request.socket) ?? 1) - 1)
      })
      const refused = this.#door.enterUser(this.#door.callerOf(request.socket))
      if (refused === undefined) {
        this.#serve(request, response)
        return
      }
      response.writeHead(503, { [refusedHeader]: refused, connection: 'close' }).end()
      this.#tellRefused(refused, this.#nameOf(request.socket), USERS_FULL)
    })
    server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
      if ((this.#unanswered.get(request.socket) ?? 0) > 0) {
        // An answer that comes later would be written among the frames: who reads both, such as a proxy, would be misled.
        socket.destroy()
        this.#tellRefused('upgrade', this.#nameOf(request.socket), 'an earlier request is not answered yet')
      } else if (this.#settings.users !== undefined && pathOf(request) !== NODE_PATH) {
        this.#acceptUser(request, socket, head)
      } else this.#acceptNode(request, socket, head)
    })
    server.on('drop', (dropped?: RemoteEnd) =>
      this.#tellRefused('crowded', this.#nameOf(dropped ?? {}), 'connectionsMax is reached'),
    )
    server.on('tlsClientError', (error: NodeJS.ErrnoException, socket: TLSSocket) => {
      // Who hangs up half-way is a port scan, or has had its time.
      if (error.code === 'ECONNRESET' || error.code === 'ERR_TLS_HANDSHAKE_TIMEOUT') return
      this.#tellRefused('tls', this.#nameOf(socket), error.message)
    })
  }

  readonly close = (): Promise<void> => {
    this.#closed ??= new Promise((resolve) => {
      const cut = setTimeout(() => {
        for (const link of this.#links) link.cut()
        for (const user of this.#users) user.cut()
        this.#server.closeAllConnections()
        this.#door.cutAll()
      }, this.#settings.closeTimeoutMs)
      // The server is closed when the last connection of any kind is gone.
      this.#server.close(() => {
        clearTimeout(cut)
        resolve()
      })
      this.onClosing?.()
      clearInterval(this.#pings)
      this.#server.closeIdleConnections()
      this.#door.cutSilent()
      for (const link of this.#links) link.close('CLUSTER_LISTENER_CLOSED')
      for (const user of this.#users) user.end(STATUS_GOING_AWAY, 'the server is stopping')
    })
    return this.#closed
  }

  /** @throws {TransportError} CLUSTER_BAD_TLS: a server asks all its clients for a certificate, or none. */
  checkTls({ material }: TlsInUse<SecureContext>): void {
    const before = this.#tls?.material.ca !== undefined
    if ((material.ca !== undefined) === before) return
    const change = before ? 'had "ca" and the new one has none' : 'had no "ca" and the new one has one'
    throw badTls(
      'reload TLS',
      `the material that is in use ${change}; that takes a new listener: start the node again`,
    )
  }

  useTls(next: TlsInUse<SecureContext>): void {
    if (next === this.#tls || !('setSecureContext' in this.#server)) return
    this.#server.setSecureContext(contextOptions(next.material))
    this.#tls = next
  }

  /** Connections are judged before HTTP or TLS see them: nothing is read from one that is turned away. */
  #standAtTheDoor(): void {
    const serve = this.#server.listeners('connection') as ((this: unknown, socket: Socket) => void)[]
    this.#server.removeAllListeners('connection')
    this.#server.on('connection', (socket: Socket) => {
      const reason = this.#door.knock(socket)
      if (reason !== undefined) this.#turnAway(socket, reason, this.#nameOf(socket))
      else for (const listener of serve) listener.call(this.#server, socket)
    })
  }

  #nameOf({ remoteAddress, remotePort }: RemoteEnd): string {
    return remoteAddress === undefined
      ? 'gone'
      : formatAddress(remoteAddress, remotePort ?? 0, this.#isSecure)
  }

  #tellRefused(reason: Refusal['reason'], remoteAddress: string, detail?: string): void {
    this.#onRefused?.({ reason, remoteAddress, detail })
  }

  /** A few words and the end. With TLS words would cost a handshake, which is what a flood is after. */
  #turnAway(socket: Duplex, reason: Refusal['reason'], remoteAddress: string, detail?: string): void {
    const isSpokenTo = !this.#isSecure || (socket as TLSSocket).encrypted === true
    socket.on('error', () => socket.destroy())
    if (isSpokenTo) {
      socket.once('finish', () => socket.destroy())
      socket.end(refusalResponse(reason))
    } else socket.destroy()
    this.#tellRefused(reason, remoteAddress, detail)
  }

  // ---- node links

  #acceptNode(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const caller = this.#door.callerOf(request.socket)
    const reason =
      this.#refusalOf(request) ?? (caller === undefined ? 'crowded' : this.#door.askForLink(caller))
    if (reason !== undefined || caller === undefined) {
      const isUnproven = reason === 'certificate'
      const detail = isUnproven ? String((socket as TLSSocket).authorizationError) : undefined
      this.#turnAway(socket, reason ?? 'crowded', this.#nameOf(request.socket), detail)
      return
    }
    this.#nodeSockets.handleUpgrade(request, socket, head, (webSocket) =>
      this.#welcome(webSocket, socket, caller),
    )
  }

  #refusalOf(request: IncomingMessage): Refusal['reason'] | undefined {
    const headers = request.headers
    if (headers.origin !== undefined || headers['sec-websocket-origin'] !== undefined) return 'browser'
    if (pathOf(request) !== NODE_PATH) return 'path'
    if (headers.upgrade?.toLowerCase() !== 'websocket') return 'upgrade'
    const offered = headers['sec-websocket-protocol']?.split(',') ?? []
    if (!offered.some((name) => name.trim() === NODE_SUBPROTOCOL)) return 'subprotocol'
    const mustProve = this.#tls?.material.requirePeerCertificate === true
    if (mustProve && certificateOf(request.socket) === undefined) return 'certificate'
    return this.#closed === undefined ? undefined : 'crowded'
  }

  #welcome(webSocket: WebSocket, socket: Duplex, caller: Caller): void {
    let bytes = 0
    // Beside the listener of `ws`: a stranger gets no more room than a handshake needs.
    const count = (chunk: Buffer): void => {
      bytes += chunk.byteLength
      if (bytes <= UNESTABLISHED_BYTES_MAX) return
      socket.removeListener('data', count)
      link.reject(
        'CLUSTER_FRAME_TOO_BIG',
        `The peer sent more than ${UNESTABLISHED_BYTES_MAX} bytes before it said who it is`,
      )
      link.cut()
    }
    const link: WebSocketLink = new WebSocketLink({
      webSocket,
      socket,
      frameBytesMax: this.#settings.frameBytesMax,
      outboundBytesMax: this.#settings.outboundBytesMax,
      remoteAddress: this.#nameOf(caller.socket),
      peerCertificate: certificateOf(socket),
      defer: queueMicrotask,
      onEstablished: () => {
        socket.removeListener('data', count)
        this.#door.forget(caller)
      },
    })
    socket.on('data', count)
    caller.link = link
    this.#links.add(link)
    webSocket.once('close', () => {
      this.#door.forget(caller)
      this.#links.delete(link)
    })
    this.#onLink(link)
  }

  // ---- users

  #acceptUser(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const { users } = this.#settings
    if (users === undefined) return
    const { host, upgrade } = request.headers
    // The latter is that of version 8, which `ws` speaks as well.
    const origin = request.headers.origin ?? request.headers['sec-websocket-origin']?.toString()
    const remoteAddress = this.#nameOf(request.socket)
    if (upgrade?.toLowerCase() !== 'websocket') this.#turnAway(socket, 'upgrade', remoteAddress)
    else if (!isOriginAllowed(users.origins, origin, host, this.#isSecure)) {
      const shown = JSON.stringify(origin?.slice(0, 200))
      this.#turnAway(
        socket,
        'origin',
        remoteAddress,
        `the origin is ${shown}; add it to webSocket.origins if it is yours`,
      )
    } else if (this.#users.size >= users.socketsMax || this.#closed !== undefined) {
      this.#turnAway(socket, 'crowded', remoteAddress, 'webSocket.socketsMax is reached')
    } else if (this.#door.enterUser(this.#door.callerOf(request.socket)) !== undefined) {
      this.#turnAway(socket, 'crowded', remoteAddress, USERS_FULL)
    } else {
      this.#userSockets.handleUpgrade(request, socket, head, (webSocket) => {
        const url = request.url ?? '/'
        const path = pathOf(request)
        const user = new UserWebSocket({
          webSocket,
          path,
          query: new URLSearchParams(url.slice(path.length + 1)),
          headers: request.headers,
          remoteAddress: request.socket.remoteAddress ?? 'gone',
          outboundBytesMax: users.outboundBytesMax,
          onError: (error) => this.#settings.onHttpError?.(error),
        })
        this.#users.add(user)
        webSocket.once('close', () => this.#users.delete(user))
        this.#pings ??= setInterval(() => {
          for (const each of this.#users) each.beat()
        }, USER_PING_INTERVAL_MS).unref()
        user.present(users.accept)
      })
    }
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

interface RemoteEnd {
  readonly remoteAddress?: string | undefined
  readonly remotePort?: number | undefined
}

// ---- dialling

/** The limits that both ends of a link have; `closeTimeout` is younger than the type package of `ws`. */
function socketLimits(settings: WebSocketSettings, maxPayload: number) {
  return {
    maxPayload,
    maxFragments: FRAGMENTS_MAX,
    maxBufferedChunks: CHUNKS_MAX,
    closeTimeout: settings.closeTimeoutMs,
  }
}

function connect(
  settings: WebSocketSettings,
  address: NodeAddress,
  inUse: TlsInUse<SecureContext> | undefined,
): WebSocket {
  const secure = inUse && {
    secureContext: inUse.context,
    rejectUnauthorized: true,
    // `ws` takes the host of the address when there is none.
    ...(inUse.material.serverName !== undefined && { servername: inUse.material.serverName }),
  }
  return new WebSocket(address + NODE_PATH, [NODE_SUBPROTOCOL], {
    perMessageDeflate: false,
    skipUTF8Validation: true,
    ...socketLimits(settings, settings.frameBytesMax),
    generateMask: zeroMask,
    ...secure,
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
