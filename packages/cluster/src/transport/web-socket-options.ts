/** Options of the real transport: what they are, their defaults, their limits. */
import type { HttpHandler } from './server.ts'
import type { TlsSource } from './tls.ts'
import { checkInteger, checkLinkLimits } from './transport.ts'
import type { LinkLimits } from './transport.ts'
import { checkUserSocketOptions } from './user-socket.ts'
import type { UserSocketHandler, UserSocketOptions, UserSocketSettings } from './user-socket.ts'

/** Options of `webSocketTransport`. */
export interface WebSocketTransportOptions extends LinkLimits {
  /** Serves everything that is not a node link, on the same port. Without it such requests get 404. */
  readonly http?: HttpHandler | undefined
  /** Told what `http` and `webSocket` threw. Default: nobody is. */
  readonly onHttpError?: ((error: unknown) => void) | undefined
  /**
   * Takes users' WebSockets, on the same port, on every path but the one of node links. By default only from pages of
   * this very port: see `UserSocketOptions.origins`. Without it such requests get 404.
   */
  readonly webSocket?: UserSocketHandler | UserSocketOptions | undefined
  /**
   * Certificate, key and authorities; or a function that has them, asked at the first listen or dial and at each
   * `reloadTls()`. With it all addresses begin with `wss://`: nothing is listened on or dialled without TLS.
   * @default none, and all addresses begin with `ws://`
   */
  readonly tls?: TlsSource | undefined
  /**
   * How long an accepted connection may stay without a whole request, and an accepted link without `established()`,
   * counted from its first packet; then it is closed, a link with `CLUSTER_LINK_NOT_ESTABLISHED`. In milliseconds. 1 to
   * 600,000. @default 5_000
   */
  readonly establishTimeoutMs?: number | undefined
  /**
   * How long a closing link waits for its queue to leave and for the peer's answer before the connection is
   * cut, in milliseconds. 1 to 600,000. Also bounds `Listener.close()`. @default 2_000
   */
  readonly closeTimeoutMs?: number | undefined
  /** TCP connections of all kinds that one listener accepts; further ones are dropped. @default 4_096 */
  readonly connectionsMax?: number | undefined
  /**
   * Connections that have sent no whole request yet. Above it the oldest of them is closed: who means it has sent its
   * request within one round trip. @default 512
   */
  readonly silentConnectionsMax?: number | undefined
  /**
   * Connections of users, for HTTP and WebSockets together; a request on a further one gets 503. Keep it well below
   * `connectionsMax`, so that users, slow or many, leave room for nodes. @default 2_048
   */
  readonly userConnectionsMax?: number | undefined
}

/** What `WebSocketTransportOptions` are when left out (its limits: `linkDefaults`). */
export const webSocketDefaults = Object.freeze({
  establishTimeoutMs: 5_000,
  closeTimeoutMs: 2_000,
  connectionsMax: 4_096,
  silentConnectionsMax: 512,
  userConnectionsMax: 2_048,
})

/** `WebSocketTransportOptions` with nothing left out, but for what may be missing. */
export interface WebSocketSettings {
  readonly frameBytesMax: number
  readonly outboundBytesMax: number
  readonly establishTimeoutMs: number
  readonly closeTimeoutMs: number
  readonly connectionsMax: number
  readonly silentConnectionsMax: number
  readonly userConnectionsMax: number
  readonly http: HttpHandler | undefined
  readonly onHttpError: ((error: unknown) => void) | undefined
  readonly users: UserSocketSettings | undefined
}

/** The longest a duration may be, in milliseconds. */
export const DURATION_MS_MOST = 600_000

/** Fills in the defaults. @throws {RangeError} if an option is out of range. */
export function checkWebSocketOptions(options: WebSocketTransportOptions): WebSocketSettings {
  const settings = {
    ...checkLinkLimits(options),
    establishTimeoutMs: options.establishTimeoutMs ?? webSocketDefaults.establishTimeoutMs,
    closeTimeoutMs: options.closeTimeoutMs ?? webSocketDefaults.closeTimeoutMs,
    connectionsMax: options.connectionsMax ?? webSocketDefaults.connectionsMax,
    silentConnectionsMax: options.silentConnectionsMax ?? webSocketDefaults.silentConnectionsMax,
    userConnectionsMax: options.userConnectionsMax ?? webSocketDefaults.userConnectionsMax,
    http: options.http,
    onHttpError: options.onHttpError,
    users: options.webSocket === undefined ? undefined : checkUserSocketOptions(options.webSocket),
  }
  checkInteger('establishTimeoutMs', settings.establishTimeoutMs, 1, DURATION_MS_MOST)
  checkInteger('closeTimeoutMs', settings.closeTimeoutMs, 1, DURATION_MS_MOST)
  checkInteger('connectionsMax', settings.connectionsMax, 1, 1_000_000)
  checkInteger('silentConnectionsMax', settings.silentConnectionsMax, 1, 1_000_000)
  checkInteger('userConnectionsMax', settings.userConnectionsMax, 1, 1_000_000)
  return settings
}
