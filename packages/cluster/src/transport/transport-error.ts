/**
 * What goes wrong when a node listens or dials, in words that stand once, whatever the transport. Reasons why a
 * standing link ended are in `transport.ts`.
 */

/**
 * Codes of `TransportError`. They are stable; messages are not.
 *
 * - `CLUSTER_BAD_ADDRESS`: the address is not of the form `ws://host:port` or `wss://host:port`. Mend: the address.
 * - `CLUSTER_PORT_IN_USE`: something else listens on that port. Mend: another port, or 0 for any free one.
 * - `CLUSTER_LISTEN_FAILED`: the machine would not listen there (not its address, no permission).
 * - `CLUSTER_DIAL_REFUSED`: the machine answered that nobody listens there: strong evidence that the node is
 *   gone.
 * - `CLUSTER_DIAL_REJECTED`: somebody listens there and would not have us: not a node, or one with too many
 *   guests, or one that takes no links from here.
 * - `CLUSTER_DIAL_TIMEOUT`: no answer within `timeoutMs`.
 * - `CLUSTER_DIAL_ABORTED`: the caller's signal fired; `cause` is its reason.
 * - `CLUSTER_DIAL_FAILED`: anything else (no such name, no route, reset half-way); `cause` says what.
 * - `CLUSTER_BAD_TLS`: this side's certificate, key or certificate authorities cannot be used. Mend: by the message.
 * - `CLUSTER_TLS_REJECTED`: the peer's certificate was not accepted, or ours was not by the peer. Mend: by the
 *   message.
 */
export type TransportErrorCode =
  | 'CLUSTER_BAD_ADDRESS'
  | 'CLUSTER_PORT_IN_USE'
  | 'CLUSTER_LISTEN_FAILED'
  | 'CLUSTER_DIAL_REFUSED'
  | 'CLUSTER_DIAL_REJECTED'
  | 'CLUSTER_DIAL_TIMEOUT'
  | 'CLUSTER_DIAL_ABORTED'
  | 'CLUSTER_DIAL_FAILED'
  | 'CLUSTER_BAD_TLS'
  | 'CLUSTER_TLS_REJECTED'

/** A listen or a dial that failed. `code` is stable, the message names the mend. */
export class TransportError extends Error {
  override readonly name = 'TransportError'
  readonly code: TransportErrorCode

  constructor(code: TransportErrorCode, message: string, options?: { readonly cause?: unknown }) {
    super(message, options)
    this.code = code
  }
}

// ---- for implementers of a transport

/** Something else listens on the port of `address`. */
export function portInUse(address: string, cause?: unknown): TransportError {
  return transportError(
    'CLUSTER_PORT_IN_USE',
    `Cannot listen on "${address}": the port is in use; stop what listens there, give another port, or 0 for any`,
    cause,
  )
}

/** Nobody listens at `address`, and its machine said so. */
export function dialRefused(address: string, cause?: unknown): TransportError {
  return transportError(
    'CLUSTER_DIAL_REFUSED',
    `Cannot dial "${address}": nobody listens there; start the node or mend the address`,
    cause,
  )
}

/** No answer came from `address`. */
export function dialTimeout(address: string, timeoutMs: number): TransportError {
  return transportError(
    'CLUSTER_DIAL_TIMEOUT',
    `Cannot dial "${address}": no answer within ${timeoutMs} ms`,
    undefined,
  )
}

/** The caller's signal fired, with `reason`. */
export function dialAborted(address: string, reason: unknown): TransportError {
  return transportError(
    'CLUSTER_DIAL_ABORTED',
    `Gave up dialling "${address}": the caller's signal was aborted`,
    reason,
  )
}

/** Somebody listens at `address` and will not have us; `why` says what, and how to mend it. */
export function dialRejected(address: string, why: string, cause?: unknown): TransportError {
  return transportError('CLUSTER_DIAL_REJECTED', `Cannot dial "${address}": ${why}`, cause)
}

/** The words for `dialRejected` when the listener turned the dial away by its limits: see `Refusal.reason`. */
export const turnedAway = Object.freeze({
  crowded: 'it has too many links whose peer is not known yet, in all or from this address; try again later',
  rate: 'too many connections came from this address within a second; dial less often',
  address: 'it takes no connections from this address; mend its allowAddresses',
})

/** Anything that has no code of its own. */
export function dialFailed(address: string, why: string, cause?: unknown): TransportError {
  return transportError('CLUSTER_DIAL_FAILED', `Cannot dial "${address}": ${why}`, cause)
}

/** TLS did not come about with `address`; `why` says what was wrong, and how to mend it. */
export function tlsRejected(address: string, why: string, cause?: unknown): TransportError {
  return transportError('CLUSTER_TLS_REJECTED', `Cannot dial "${address}": ${why}`, cause)
}

/** This side's own TLS material, or its lack. `attempt` is what was to be done, such as `reload TLS`. */
export function badTls(attempt: string, why: string, cause?: unknown): TransportError {
  return transportError('CLUSTER_BAD_TLS', `Cannot ${attempt}: ${why}`, cause)
}

function transportError(code: TransportErrorCode, message: string, cause: unknown): TransportError {
  return new TransportError(code, message, cause === undefined ? undefined : { cause })
}
