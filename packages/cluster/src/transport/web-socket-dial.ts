/**
 * Dialling a node: one deadline over all of it, and an error that says what to mend. Sockets and timers are handed in
 * by server.ts.
 */
import { parseAddress } from './address.ts'
import type { NodeAddress } from './address.ts'
import { refusedHeader } from './door.ts'
import { tlsReason } from './tls.ts'
import {
  badTls,
  dialAborted,
  dialFailed,
  dialRefused,
  dialRejected,
  dialTimeout,
  tlsRejected,
  TransportError,
  turnedAway,
} from './transport-error.ts'
import { checkInteger, linkDefaults } from './transport.ts'
import type { DialOptions, Link, PeerCertificate } from './transport.ts'
import { WebSocketLink } from './web-socket-link.ts'
import type { CorkSocket, FrameSocket, SocketError } from './web-socket-link.ts'
import { DURATION_MS_MOST } from './web-socket-options.ts'
import type { WebSocketSettings } from './web-socket-options.ts'

/** A `WebSocket` of `ws` that is to be opened. */
export interface DialSocket<Socket> extends FrameSocket {
  on(event: 'message', listener: (data: unknown, isBinary: boolean) => void): unknown
  on(event: 'error', listener: (error: SocketError) => void): unknown
  on(event: 'close', listener: (status: number, text: Buffer) => void): unknown
  on(event: 'open', listener: () => void): unknown
  on(event: 'upgrade', listener: (response: { readonly socket: Socket }) => void): unknown
  on(
    event: 'unexpected-response',
    listener: (request: { destroy(): unknown }, response: HttpAnswer) => void,
  ): unknown
}

/** The head of an HTTP response. */
export interface HttpAnswer {
  readonly statusCode?: number | undefined
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>
}

/** What a dial is done with. `Secure` is TLS material that is open. */
export interface DialParts<Socket extends CorkSocket, Secure> {
  readonly settings: WebSocketSettings
  /** Undefined without TLS. Rejects with `CLUSTER_BAD_TLS`. */
  readonly secure: (() => Promise<Secure>) | undefined
  readonly connect: (address: NodeAddress, secure: Secure | undefined) => DialSocket<Socket>
  readonly certificateOf: (socket: Socket) => PeerCertificate | undefined
  readonly setTimer: (delayMs: number, fire: () => void) => () => void
  readonly defer: (task: () => void) => void
}

/** Opens a link. Its errors are those of `Transport.dial`. */
export function dial<Socket extends CorkSocket, Secure>(
  parts: DialParts<Socket, Secure>,
  address: NodeAddress,
  options: DialOptions,
): Promise<Link> {
  return new Promise((resolve, reject) => {
    checkAddress(address, parts.secure !== undefined)
    const { settings, secure } = parts
    const timeoutMs = options.timeoutMs ?? linkDefaults.dialTimeoutMs
    checkInteger('timeoutMs', timeoutMs, 1, DURATION_MS_MOST)
    const signal = options.signal
    if (signal?.aborted === true) {
      reject(dialAborted(address, signal.reason))
      return
    }
    let webSocket: DialSocket<Socket> | undefined
    let isSettled = false
    const settle = (): boolean => {
      if (isSettled) return false
      isSettled = true
      cancelTimer()
      signal?.removeEventListener('abort', onAbort)
      return true
    }
    const fail = (error: TransportError): void => {
      if (!settle()) return
      // The error listener below stays: `ws` still reports the end that this call causes.
      webSocket?.terminate()
      reject(error)
    }
    const onAbort = (): void => fail(dialAborted(address, signal?.reason))
    const cancelTimer = parts.setTimer(timeoutMs, () => fail(dialTimeout(address, timeoutMs)))
    signal?.addEventListener('abort', onAbort, { once: true })

    const open = (opened: Secure | undefined): void => {
      if (isSettled) return
      const dialled = parts.connect(address, opened)
      webSocket = dialled
      dialled.on('error', (error) => fail(dialError(address, error)))
      dialled.on('unexpected-response', (request, response) => {
        request.destroy()
        fail(answerError(address, response))
      })
      let socket: Socket | undefined
      dialled.on('upgrade', (response) => {
        socket = response.socket
      })
      dialled.on('open', () => {
        if (socket === undefined || !settle()) return
        resolve(
          new WebSocketLink({
            webSocket: dialled,
            socket,
            frameBytesMax: settings.frameBytesMax,
            outboundBytesMax: settings.outboundBytesMax,
            remoteAddress: address,
            peerCertificate: parts.certificateOf(socket),
            defer: parts.defer,
          }),
        )
      })
    }
    if (secure === undefined) open(undefined)
    else secure().then(open, fail)
  })
}

/** TLS is never left out silently: what an address says is what is spoken. */
function checkAddress(address: NodeAddress, hasTls: boolean): void {
  const { port, isSecure } = parseAddress(address)
  if (port === 0) {
    throw new TransportError('CLUSTER_BAD_ADDRESS', `Cannot dial "${address}": port 0 is only for listening`)
  }
  if (isSecure && !hasTls) {
    throw badTls(`dial "${address}"`, 'wss:// needs the option "tls", with a certificate and its key')
  }
  if (!isSecure && hasTls) {
    throw tlsRejected(
      address,
      'this side has TLS and dials nobody without it; the address must begin with wss://',
    )
  }
}

const NOT_A_NODE = 'it must be the address of a node that takes links of this version'

/** Somebody answered, and would not have us. */
function answerError(address: string, { headers, statusCode = 0 }: HttpAnswer): TransportError {
  const reason = headers[refusedHeader]
  if (reason === 'crowded' || reason === 'rate' || reason === 'address') {
    return dialRejected(address, `${turnedAway[reason]} (HTTP status ${statusCode})`)
  }
  if (reason === 'certificate') {
    return tlsRejected(
      address,
      'it demands a certificate of its "ca", and ours is of another or has expired; give "cert" and "key" that it accepts',
    )
  }
  return dialRejected(address, `it answered with HTTP status ${statusCode}; ${NOT_A_NODE}`)
}

function dialError(address: string, error: SocketError): TransportError {
  if (error.code === 'ECONNREFUSED') return dialRefused(address, error)
  const tlsWords = tlsReason(error)
  if (tlsWords !== undefined) return tlsRejected(address, tlsWords, error)
  // Errors without a code are those of the WebSocket handshake, those with HPE_ of the HTTP parser.
  if (error.code === undefined || error.code.startsWith('HPE_')) {
    return dialRejected(address, `${error.message}; ${NOT_A_NODE}`, error)
  }
  const isCut = error.code === 'ECONNRESET' || error.code === 'EPIPE'
  const orTls = address.startsWith('wss:') ? ', or does not accept our certificate' : ''
  const mend = `; it hung up before it answered: it is stopping, or takes no connections from here${orTls}`
  return dialFailed(address, isCut ? error.message + mend : error.message, error)
}
