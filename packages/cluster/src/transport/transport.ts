/**
 * The transport seam: how frames get from one node to another. A link is a stream, as a WebSocket is: frames
 * arrive whole, in order, at most once; it ends at most once and says why. Who the peer is, what a frame
 * means and whether a lost link means a lost node is decided above.
 *
 * Implementations: `webSocketTransport()` (server.ts), `memoryNetwork()` (memory.ts), and the simulator's. One
 * contract suite (`transportContract` of the testkit) runs on all.
 */
import type { NodeAddress } from './address.ts'
import type { AdmissionOptions } from './admission.ts'

/** Makes links. */
export interface Transport {
  /**
   * Listens on `address`; port 0 means any free port. `onLink` is called once for each link that a peer
   * dialled, before any of its frames is delivered; it must not throw.
   *
   * @throws {TransportError} (as a rejection) `CLUSTER_PORT_IN_USE`, `CLUSTER_LISTEN_FAILED`,
   * `CLUSTER_BAD_ADDRESS`, `CLUSTER_BAD_TLS`.
   * @throws {RangeError} (as a rejection) if a limit is out of range.
   */
  readonly listen: (
    address: NodeAddress,
    onLink: (link: Link) => void,
    options?: ListenOptions,
  ) => Promise<Listener>
  /**
   * Opens a link to a listener. A dial that was given up (signal, timeout) leaves no link and no handle
   * behind.
   *
   * @throws {TransportError} (as a rejection) `CLUSTER_DIAL_REFUSED` when nobody listens,
   * `CLUSTER_DIAL_REJECTED`,
   * `CLUSTER_DIAL_TIMEOUT`, `CLUSTER_DIAL_ABORTED`, `CLUSTER_DIAL_FAILED`, `CLUSTER_BAD_ADDRESS`,
   * `CLUSTER_TLS_REJECTED`, `CLUSTER_BAD_TLS`.
   */
  readonly dial: (address: NodeAddress, options?: DialOptions) => Promise<Link>
}

export interface DialOptions {
  /** Gives the dial up. Has no effect on a link that is open already. */
  readonly signal?: AbortSignal | undefined
  /** How long to wait for an open link, in milliseconds. @default 5_000 */
  readonly timeoutMs?: number | undefined
}

/**
 * Limits on strangers (`AdmissionOptions`), and who is told. A dial that is turned away by a limit fails with
 * `CLUSTER_DIAL_REJECTED`; or, where the connection was dropped without a word (TLS: an answer would cost a handshake),
 * with `CLUSTER_DIAL_FAILED`.
 */
export interface ListenOptions extends AdmissionOptions {
  /** Called for each peer that was turned away before there was a link: count it, log it once a peer. */
  readonly onRefused?: ((refusal: Refusal) => void) | undefined
}

/** Somebody who knocked and was turned away. */
export interface Refusal {
  /**
   * `browser`: a request for a node link had an Origin. `path`, `subprotocol`, `upgrade`: it was not one of ours.
   * `crowded`: `unestablishedMax`, `unestablishedPerAddressMax` or another limit on connections was reached; `detail`
   * says which of those that a transport has of its own. `rate`:
   * `connectionsPerSecondPerAddress` was. `address`: it is not in `allowAddresses`. `tls`: the TLS handshake failed.
   * `certificate`: it asked for a node link without a certificate that we accept. `origin`: a page from elsewhere
   * wanted a user's WebSocket.
   */
  readonly reason:
    | 'browser'
    | 'path'
    | 'subprotocol'
    | 'upgrade'
    | 'crowded'
    | 'rate'
    | 'address'
    | 'tls'
    | 'certificate'
    | 'origin'
  readonly remoteAddress: string
  /** For people: more about it, where there is more. */
  readonly detail?: string | undefined
}

/** Who a certificate says that the peer is. It was verified: against our `ca`, and its dates. */
export interface PeerCertificate {
  /** The subject on one line: `O=Example, CN=node-b`. */
  readonly subject: string
  /** Host names (in lower case), internet addresses and URIs of the subjectAltName extension, in its order. */
  readonly names: readonly string[]
}

/** A place where links are accepted. */
export interface Listener {
  /** The real address: with the port that was chosen when 0 was asked for. */
  readonly address: NodeAddress
  /**
   * Accepts no more links and closes the accepted ones with `CLUSTER_LISTENER_CLOSED`. Resolves when the port
   * is free and no handle is left. Closing twice returns the same promise.
   */
  readonly close: () => Promise<void>
}

/**
 * One open connection to a peer.
 *
 * - Order: frames arrive in the order of their `send`, each once, whole.
 * - End: after `onClose` was called, and from the call of `close()` on, no frame is delivered. `onClose` is
 *   called exactly once, never from inside `close()` or `onClose()` itself, and behind every frame that came
 *   before the end; so set `onFrame` no later than `onClose`. When a peer closes, what it sent before still
 *   arrives; when the link is lost, a suffix of what was sent is lost with it.
 * - Early frames: what arrives before `onFrame` is set waits; when more than `frameBytesMax` waits, reading
 *   stops and the sender feels it as 'full'.
 * - A throw inside `onFrame` ends the link with `CLUSTER_FRAME_HANDLER_FAILED`: it never ends the process.
 */
export interface Link {
  /**
   * Queues a frame. Takes ownership: the bytes must not be changed afterwards, for they are not copied.
   *
   * 'ok': queued, and delivered unless the link ends first. 'full': `outboundBytesMax` would be passed; the
   * frame is *not* queued, and `onDrain` will be called. 'closed': the link has ended; the frame is dropped.
   *
   * Overflow policy: reject the newest. A link never holds more than `outboundBytesMax`, whatever the peer does; it
   * drops nothing that it took, reorders nothing, and ends no link because it is full. What to do with a frame that
   * was not taken (wait for `onDrain`, drop it, close the link) is the caller's choice: a control lane closes, a data
   * lane waits or tells the sender. On the receiving side the same: at `frameBytesMax` of frames that nobody took
   * reading stops, and the sender sees 'full' in the end.
   *
   * Hot: allocates nothing of its own per frame; measured by the two-process rows of bench/.
   *
   * @throws {RangeError} if the frame is larger than `frameBytesMax` of this side: the caller must cut it.
   */
  readonly send: (frame: Uint8Array) => SendResult
  /**
   * Sets who gets the frames; replaces the one before. The receiver owns the frame, but the bytes may lie in
   * a larger buffer that they keep alive: copy what is kept for long.
   */
  readonly onFrame: (callback: (frame: Uint8Array) => void) => void
  /** Sets who is told that the link ended; when it has ended already, told soon. */
  readonly onClose: (callback: (reason: CloseReason) => void) => void
  /** Sets who is told, after a 'full', that half of the outbound queue is free again. */
  readonly onDrain: (callback: () => void) => void
  /**
   * Ends the link: what was queued is still sent, then the peer is told `code` (SCREAMING_SNAKE, at most 64
   * characters, default `CLUSTER_LINK_CLOSED`). A peer that does not answer is cut off after
   * `closeTimeoutMs`. Closing twice is harmless; the first code stands.
   *
   * @throws {RangeError} if the code is not of that form.
   */
  readonly close: (code?: string) => void
  /**
   * Says that the peer has proved who it is: the link no longer counts against `unestablishedMax`, and is not
   * closed with `CLUSTER_LINK_NOT_ESTABLISHED`. Must be called for every accepted link; does nothing on a
   * dialled one.
   */
  readonly established: () => void
  /**
   * Asked before a told message of a lossy protocol, which came on this link, is handed to its actor: calls `deliver`
   * once, or never, later, twice. Only a simulated link has it; on all others such messages are as good as any.
   */
  readonly unreliable?: ((protocol: string, type: string, deliver: () => void) => void) | undefined
  /** Bytes that were queued and have not left yet, with framing. */
  readonly bufferedBytes: number
  /**
   * For log lines only: the address that was dialled, or the one that the peer came from (its port is of no
   * use).
   */
  readonly remoteAddress: string
  /**
   * Who the peer is by its certificate: of a dialled link with TLS always, of an accepted one when it showed one and
   * `ca` is given. Undefined without TLS.
   */
  readonly peerCertificate?: PeerCertificate | undefined
}

export type SendResult = 'ok' | 'full' | 'closed'

/** Why a link ended. */
export interface CloseReason {
  /**
   * The code of whoever called `close`, on both sides, or one of:
   * `CLUSTER_LINK_CLOSED` (closed without a code), `CLUSTER_LINK_LOST` (the connection broke; nobody said
   * good-bye),
   * `CLUSTER_LISTENER_CLOSED`, `CLUSTER_FRAME_TOO_BIG` (a frame over the receiver's `frameBytesMax`),
   * `CLUSTER_FRAME_NOT_BINARY` (a text frame), `CLUSTER_LINK_PROTOCOL` (not a WebSocket frame),
   * `CLUSTER_FRAME_HANDLER_FAILED` (`onFrame` threw), `CLUSTER_LINK_NOT_ESTABLISHED` (`established()` did not
   * come in time). A code that a peer sent is that peer's word, not a fact.
   */
  readonly code: string
  /** For people: who ended the link, and why. */
  readonly message: string
}

/** Limits that every transport has. */
export interface LinkLimits {
  /**
   * Largest frame, in bytes, that is sent or accepted. A larger one from the peer ends the link before it is
   * buffered. At least 1,024. @default 1_048_576
   */
  readonly frameBytesMax?: number | undefined
  /**
   * Bytes that may wait in one link's outbound queue before `send` says 'full'. At least `frameBytesMax`.
   * Higher bears longer bursts and costs that much memory per slow peer. @default 16_777_216
   */
  readonly outboundBytesMax?: number | undefined
}

/** What `LinkLimits`, `DialOptions` and `ListenOptions` are when left out (those for each address: `admissionDefaults`). */
export const linkDefaults = Object.freeze({
  frameBytesMax: 1_048_576,
  outboundBytesMax: 16_777_216,
  dialTimeoutMs: 5_000,
  unestablishedMax: 64,
})

const FRAME_BYTES_LEAST = 1_024
const CLOSE_CODE = /^[A-Z][A-Z0-9_]{0,63}$/

/**
 * Fills in the defaults. @throws {RangeError} if a limit is out of range. For implementers of a transport.
 */
export function checkLinkLimits(limits: LinkLimits): {
  readonly frameBytesMax: number
  readonly outboundBytesMax: number
} {
  const frameBytesMax = limits.frameBytesMax ?? linkDefaults.frameBytesMax
  const outboundBytesMax = limits.outboundBytesMax ?? Math.max(linkDefaults.outboundBytesMax, frameBytesMax)
  checkInteger('frameBytesMax', frameBytesMax, FRAME_BYTES_LEAST, 2 ** 31 - 1)
  checkInteger('outboundBytesMax', outboundBytesMax, frameBytesMax, Number.MAX_SAFE_INTEGER)
  return { frameBytesMax, outboundBytesMax }
}

/**
 * @throws {RangeError} if `value` is not an integer within [least, most]. For implementers of a transport.
 */
export function checkInteger(name: string, value: number, least: number, most: number): void {
  if (!Number.isInteger(value) || value < least || value > most) {
    throw new RangeError(`Cannot use ${name} ${value}: it must be an integer from ${least} to ${most}`)
  }
}

/** @throws {RangeError} if `code` is not a close code. For implementers of a transport. */
export function checkCloseCode(code: string): void {
  if (!isCloseCode(code)) {
    throw new RangeError(
      `Cannot close a link with code "${code}": it must be 1 to 64 capitals, digits and underscores, as in "CLUSTER_LINK_CLOSED"`,
    )
  }
}

/** True for what `Link.close` takes: a code that came over the wire is shown only when it looks like one. */
export function isCloseCode(code: string): boolean {
  return CLOSE_CODE.test(code)
}

/** The error of a frame that its own side may not send. For implementers of a transport. */
export function frameTooBig(bytes: number, frameBytesMax: number): RangeError {
  return new RangeError(
    `Cannot send a frame of ${bytes} bytes: at most frameBytesMax = ${frameBytesMax} are allowed; cut the batch`,
  )
}
