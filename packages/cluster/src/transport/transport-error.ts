/** What goes wrong when a node listens or dials. Reasons why a standing link ended are in `transport.ts`. */

/**
 * Codes of `TransportError`. They are stable; messages are not.
 *
 * - `CLUSTER_BAD_ADDRESS`: the address is not of the form `ws://host:port`. Mend: the address.
 * - `CLUSTER_PORT_IN_USE`: something else listens on that port. Mend: another port, or 0 for any free one.
 * - `CLUSTER_LISTEN_FAILED`: the machine would not listen there (not its address, no permission).
 * - `CLUSTER_DIAL_REFUSED`: the machine answered that nobody listens there: strong evidence that the node is
 *   gone.
 * - `CLUSTER_DIAL_REJECTED`: somebody listens there and would not have us: not a node, or one with too many
 *   guests.
 * - `CLUSTER_DIAL_TIMEOUT`: no answer within `timeoutMs`.
 * - `CLUSTER_DIAL_ABORTED`: the caller's signal fired; `cause` is its reason.
 * - `CLUSTER_DIAL_FAILED`: anything else (no such name, no route, reset half-way); `cause` says what.
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

/** A listen or a dial that failed. `code` is stable, the message names the mend. */
export class TransportError extends Error {
  override readonly name = 'TransportError'
  readonly code: TransportErrorCode

  constructor(code: TransportErrorCode, message: string, options?: { readonly cause?: unknown }) {
    super(message, options)
    this.code = code
  }
}
