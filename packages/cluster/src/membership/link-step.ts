/**
 * What the link core is told and what it orders: the inputs and effects of `LinkCore`. Control links only; whether a member
 * lives is decided elsewhere.
 */
import type { NodeAddress } from '../transport/address.ts'
import type { MemberFacts } from './member-table.ts'

/** What happened. The shell feeds each in the order in which it learnt of it. */
export type LinkInput =
  /** Once, first. */
  | { readonly type: 'started' }
  /** Time passed: `nextDeadlineMs` was reached. */
  | { readonly type: 'tick' }
  | LinkEstablished
  /**
   * A link ended that the core had been told of. One that the core itself ordered closed may be reported or
   * not.
   */
  | { readonly type: 'link-closed'; readonly linkId: number; readonly reason: { readonly code: string } }
  /** A `dial` came to nothing, in the transport or in the handshake. */
  | { readonly type: 'dial-failed'; readonly address: NodeAddress; readonly code: string }
  /** The peer says that this link is the one to use. Only the node with the smaller name may say so. */
  | { readonly type: 'chosen'; readonly linkId: number }
  /** The peer leaves in good order. */
  | { readonly type: 'goodbye'; readonly linkId: number }
  /**
   * All seeds that are known now, from whatever discovery. New ones are dialled at once; those that vanished are forgotten,
   * unless a live member is there. Our own address and doubles do not count, nor what is behind the first `membersMax`.
   */
  | { readonly type: 'seeds'; readonly addresses: readonly NodeAddress[] }
  /**
   * A member that gossip told of. In a full mesh a link to it is kept from now on; on demand, one is dialled and stands
   * until it was idle for `idleMs`. Saying it again is harmless, and on demand keeps the link open.
   */
  | {
      readonly type: 'want'
      readonly name: string
      readonly incarnation: number
      readonly address: NodeAddress
    }
  /**
   * That life is down, left or replaced: all its links are closed with `code`, and none is wanted any more. Seeds where it
   * lived are dialled on; so is, for `rememberMs` and at a slow pace, the address of one that did not leave and was not
   * replaced: after a partition the seeds may all be on one side (pitfall M6).
   */
  | {
      readonly type: 'ended'
      readonly name: string
      readonly incarnation: number
      readonly code: CloseLinkCode
    }
  /** The link in use carries nothing although it stands: it is closed, and the peer dialled again at once. */
  | { readonly type: 'link-dead'; readonly name: string; readonly incarnation: number }
  /** There was traffic on that link; once a second is enough. Keeps a link open that is there on demand. */
  | { readonly type: 'busy'; readonly linkId: number }
  /**
   * How many links: to every member, or only where they are used. On demand, who dialled a link closes it when it was idle
   * for `idleMs`, but for three to seeds; and seeds are dialled while fewer than three links stand. At first it is `full`.
   */
  | { readonly type: 'mesh'; readonly mode: MeshMode }
  /** This node leaves and takes no more links. Good-byes must have been sent: all links are closed in this step. */
  | { readonly type: 'leave' }

export type MeshMode = 'full' | 'on-demand'

/** A control link whose peer is known. Each successful `dial` ends in one of these (or in `dial-failed`). */
export interface LinkEstablished extends MemberFacts {
  readonly type: 'link-established'
  /** The shell's number for the link; never used twice. */
  readonly linkId: number
  readonly dialledByUs: boolean
  /** The address of the `dial` effect, when it is spelt otherwise than `address`. @default address */
  readonly dialledAddress?: NodeAddress | undefined
}

/**
 * What must be done, in this order:
 * - `met` comes BEFORE the first `use-link` of a life, in the same step, once for each life.
 * - `lost-link` comes BEFORE the `use-link` that replaces it, and BEFORE the `close-link` of its link. Between the two there
 *   is no link: what is sent then is not delivered.
 * - `use-link` comes BEFORE the `choose` of the same link, which comes BEFORE the `close-link` of the other links of that
 *   peer: the peer has been told which one to use when the others end.
 * - `link-lost` comes behind the `lost-link` and the `close-link` of its link, and only if no `use-link` for that name
 *   follows in the same step.
 */
export type LinkEffect =
  /** Dial and shake hands; answer with `link-established` or `dial-failed`. One at a time for each address. */
  | { readonly type: 'dial'; readonly address: NodeAddress }
  | CloseLink
  /** Tell the peer that this link is the one to use. May be said again of a link in use. */
  | { readonly type: 'choose'; readonly linkId: number }
  /** This link stands only until the peer has been told that its life is over: nothing it says there is delivered. */
  | { readonly type: 'mute-link'; readonly linkId: number }
  /** A life that had no link before; `peer` says who it is, the shell's handshake has checked it. */
  | { readonly type: 'met'; readonly peer: MemberFacts; readonly linkId: number }
  /** From now on what is sent to that member goes through this link. `epoch` only grows for a life, from 1. */
  | {
      readonly type: 'use-link'
      readonly name: string
      readonly incarnation: number
      readonly linkId: number
      readonly epoch: number
    }
  /** The link of that epoch carries nothing any more; nothing that arrived on it later may be delivered. */
  | {
      readonly type: 'lost-link'
      readonly name: string
      readonly incarnation: number
      readonly epoch: number
    }
  /** That life, which is not known to be over, has no link any more. */
  | {
      readonly type: 'link-lost'
      readonly name: string
      readonly incarnation: number
      readonly reason: LinkLostReason
    }
  /** A dial to where that life listens was refused: nobody is there. Only while it has no link; may be repeated. */
  | { readonly type: 'refused'; readonly name: string; readonly incarnation: number }
  /**
   * Two live nodes use one name; the newcomer was refused. `addresses` are what is known of them, the holder first, one only
   * when somebody else says that our own name is taken. Told once for a pair until that name's life ends.
   */
  | { readonly type: 'name-taken'; readonly name: string; readonly addresses: readonly NodeAddress[] }
  /**
   * The others gave this incarnation of ours up, and will never take it back: stop the actors and start again as a higher
   * incarnation, with a new core. Once in a core's life. `by` is a name, or the address that was dialled.
   */
  | { readonly type: 'self-removed'; readonly by: string }

/**
 * `lost`: it broke, or the peer closed it. `dead`: we closed it, because it was half-open. `idle`: nobody used it, and one
 * of the two closed it.
 */
export type LinkLostReason = 'lost' | 'dead' | 'idle'

/** Close a link. The core has forgotten it: what else comes from it is ignored. */
export interface CloseLink {
  readonly type: 'close-link'
  readonly linkId: number
  readonly code: CloseLinkCode
  /** With `CLUSTER_STALE_INCARNATION`: the highest incarnation seen of that name, for the refusal to name. */
  readonly highestIncarnation?: number | undefined
}

/**
 * - `CLUSTER_DUPLICATE_LINK`: another link to the same peer stands, or will.
 * - `CLUSTER_STALE_INCARNATION`: that incarnation was given up, left or replaced; come back as a higher one.
 * - `CLUSTER_NODE_NAME_TAKEN`: a living member at another address has that name.
 * - `CLUSTER_SELF_LINK`: we dialled ourselves.
 * - `CLUSTER_MEMBER_SILENT`: nothing was heard for too long.
 * - `CLUSTER_MEMBER_REPLACED`: a higher incarnation of the same name came.
 * - `CLUSTER_MEMBER_LEFT`: the peer said good-bye.
 * - `CLUSTER_NODE_LEFT`: this node is leaving.
 * - `CLUSTER_MEMBERS_MAX`: `membersMax` live members are known already, or too many links wait.
 * - `CLUSTER_LINK_DEAD`: the link stood, and carried nothing.
 * - `CLUSTER_LINK_IDLE`: nobody used the link; one is dialled when it is needed.
 */
export type CloseLinkCode =
  | 'CLUSTER_DUPLICATE_LINK'
  | 'CLUSTER_STALE_INCARNATION'
  | 'CLUSTER_NODE_NAME_TAKEN'
  | 'CLUSTER_SELF_LINK'
  | 'CLUSTER_MEMBER_SILENT'
  | 'CLUSTER_MEMBER_REPLACED'
  | 'CLUSTER_MEMBER_LEFT'
  | 'CLUSTER_NODE_LEFT'
  | 'CLUSTER_MEMBERS_MAX'
  | 'CLUSTER_LINK_DEAD'
  | 'CLUSTER_LINK_IDLE'
