/**
 * Why two nodes do not connect. Codes are stable and documented in the reference of errors; both ends of a
 * refused handshake see the same one, except where knowing it would help someone who has not shown that he
 * has the secret.
 */

/** The code of a refused handshake. */
export type RefusalCode =
  /** One side has a secret and the other has none, or the secrets differ. */
  | 'CLUSTER_WRONG_SECRET'
  /** The peer belongs to a cluster of another name. */
  | 'CLUSTER_WRONG_CLUSTER'
  /** The two sides are not authenticated in the same way, or one that must be is not at all. */
  | 'CLUSTER_WRONG_AUTHENTICATION'
  /** No wire protocol version that both sides speak. */
  | 'CLUSTER_WRONG_VERSION'
  /** The peer has shown that it is one of us, and the join policy of the other does not let it in. */
  | 'CLUSTER_NOT_ADMITTED'
  /** A lane for a connection that does not stand, or no longer. */
  | 'CLUSTER_NO_SUCH_CONNECTION'
  /**
   * A node of this name with this or a higher incarnation was seen. Start again above `highestIncarnation`.
   */
  | 'CLUSTER_STALE_INCARNATION'
  /** A live node at another address has this name. */
  | 'CLUSTER_NODE_NAME_TAKEN'
  /**
   * The node reached itself: its own address is among those it dials. Nothing is wrong; do not dial it again.
   */
  | 'CLUSTER_DIALLED_ITSELF'
  /** A message that is malformed, too large, or out of turn. */
  | 'CLUSTER_BAD_HANDSHAKE'
  /** The handshake was not over in the time that it has. */
  | 'CLUSTER_HANDSHAKE_TIMEOUT'

/** All codes, for checking one that arrived. */
export const refusalCodes: readonly RefusalCode[] = Object.freeze([
  'CLUSTER_WRONG_SECRET',
  'CLUSTER_WRONG_CLUSTER',
  'CLUSTER_WRONG_AUTHENTICATION',
  'CLUSTER_WRONG_VERSION',
  'CLUSTER_NOT_ADMITTED',
  'CLUSTER_NO_SUCH_CONNECTION',
  'CLUSTER_STALE_INCARNATION',
  'CLUSTER_NODE_NAME_TAKEN',
  'CLUSTER_DIALLED_ITSELF',
  'CLUSTER_BAD_HANDSHAKE',
  'CLUSTER_HANDSHAKE_TIMEOUT',
])

/** A refusal as it is decided, sent and reported. */
export interface Refusal {
  readonly code: RefusalCode
  /** One line for people. Holds nothing secret: the peer reads it. */
  readonly reason: string
  /** With `CLUSTER_STALE_INCARNATION`: the highest seen; the refused node takes it plus 1. */
  readonly highestIncarnation?: number
}

/** What is already known of a node name: the newest life of it that was seen. */
export interface KnownNode {
  readonly incarnation: number
  readonly address: string
  /** That life is over: down, left or removed. */
  readonly down: boolean
  /**
   * It is over, and may not know it: let through at the same incarnation, for the membership to tell it. A lower one is
   * refused, with this number, or whoever takes the next one would take one that is over. @default false
   */
  readonly mayReturn?: boolean | undefined
}

/**
 * Whether the node that calls itself `name` may have that name (design, identity of nodes). A higher
 * incarnation at the same address replaces at once; at another address only when the old life is over. The
 * same life may connect again, as long as it is not over: links have lanes, and they break. A lower one
 * never.
 */
export function judgeIncarnation(
  name: string,
  offered: { readonly incarnation: number; readonly address: string },
  known: KnownNode | undefined,
): Refusal | undefined {
  if (known === undefined) return undefined
  if (offered.address !== known.address && !known.down) {
    return {
      code: 'CLUSTER_NODE_NAME_TAKEN',
      reason: `A live node at "${known.address}" is named "${name}": choose another name for the one at "${offered.address}"`,
    }
  }
  if (offered.incarnation > known.incarnation) return undefined
  if (offered.incarnation === known.incarnation && (!known.down || known.mayReturn === true)) return undefined
  return {
    code: 'CLUSTER_STALE_INCARNATION',
    reason:
      `Node "${name}" offers incarnation ${offered.incarnation}, but ${known.incarnation} was seen` +
      (known.down ? ' and is over' : ''),
    highestIncarnation: known.incarnation,
  }
}
