/**
 * The membership seam: what a node's shell tells a membership core, and what it is told to do.
 * `StaticMembershipCore` is the simple implementation (a list of seeds, a link to each member, heartbeats);
 * SWIM will be another.
 */
import type { Core } from '@understudy/runtime/internal'
import type { NodeAddress } from '../transport/address.ts'
import type { Member, View } from './view.ts'

/** A membership core: a step machine that also shows its view. */
export interface Membership extends Core<MembershipInput, MembershipEffect, MembershipStatus> {
  /** The view as of the last step; the same object until it changes. */
  readonly view: () => View
}

/** What happened. The shell feeds each in the order in which it learnt of it. */
export type MembershipInput =
  /** Once, first. */
  | { readonly type: 'started' }
  /** Time passed: `nextDeadlineMs` was reached. */
  | { readonly type: 'tick' }
  /** The handshake of a link is done: the peer is who it says. */
  | LinkEstablished
  /**
   * A link ended that the core had been told of. One that the core itself ordered closed may be reported or
   * not.
   */
  | { readonly type: 'link-closed'; readonly linkId: number; readonly reason: { readonly code: string } }
  /** A `dial` came to nothing, in the transport or in the handshake. */
  | { readonly type: 'dial-failed'; readonly address: NodeAddress; readonly code: string }
  | HeartbeatReceived
  /**
   * Other frames came on this link: as good a sign of life as a heartbeat. Optional; at most once a heartbeat
   * interval is enough. It spares a peer whose heartbeats queue behind its own data.
   */
  | { readonly type: 'link-active'; readonly linkId: number }
  /** The peer says that it leaves. */
  | { readonly type: 'goodbye-received'; readonly linkId: number }
  /** This node leaves: it says good-bye and takes no more links. */
  | { readonly type: 'leave' }

/** A link whose peer is known. Each successful `dial` ends in one of these (or in `dial-failed`). */
export interface LinkEstablished {
  readonly type: 'link-established'
  /** The shell's number for the link; never used twice. */
  readonly linkId: number
  readonly name: string
  readonly incarnation: number
  /** Where the peer says it listens. */
  readonly address: NodeAddress
  readonly dialledByUs: boolean
  /** The address of the `dial` effect, when it is spelt otherwise than `address`. @default address */
  readonly dialledAddress?: NodeAddress | undefined
  readonly weight: number
  readonly zone?: string | undefined
}

/** A heartbeat: a `ping` is answered by a `pong` with the same sequence. */
export interface HeartbeatReceived {
  readonly type: 'heartbeat-received'
  readonly linkId: number
  readonly sequence: number
  readonly kind: HeartbeatKind
}

export type HeartbeatKind = 'ping' | 'pong'

/**
 * What must be done, in this order:
 * - `use-link` comes behind the `member-up` of its member; `lost-link` BEFORE the `use-link` that replaces it
 *   and BEFORE the member's `member-down` or `member-left`. Between the two there is no link: what is sent
 *   then is not delivered.
 * - `send-goodbye` and `send-heartbeat` come BEFORE a `close-link` of the same link.
 * - `view-changed` is the last effect of its step, at most one a step.
 */
export type MembershipEffect =
  /**
   * Dial and shake hands; answer with `link-established` or `dial-failed`. One at a time for each address.
   */
  | { readonly type: 'dial'; readonly address: NodeAddress }
  | CloseLink
  | {
      readonly type: 'send-heartbeat'
      readonly linkId: number
      readonly sequence: number
      readonly kind: HeartbeatKind
    }
  | { readonly type: 'send-goodbye'; readonly linkId: number }
  /** A new member, or a known one at a new incarnation. Once for each (name, incarnation). */
  | { readonly type: 'member-up'; readonly member: Member }
  /** It may be dead; it keeps its places until it is `member-down`, or `member-recovered`. */
  | {
      readonly type: 'member-suspected'
      readonly name: string
      readonly incarnation: number
      readonly reason: SuspectReason
    }
  | { readonly type: 'member-recovered'; readonly name: string; readonly incarnation: number }
  /** Given up for good: this incarnation never comes back. Once for each (name, incarnation) that was up. */
  | {
      readonly type: 'member-down'
      readonly name: string
      readonly incarnation: number
      readonly reason: DownReason
    }
  | { readonly type: 'member-left'; readonly name: string; readonly incarnation: number }
  /**
   * From now on messages to that member go through this link. `epoch` only grows for a member incarnation,
   * from 1.
   */
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
  /**
   * The others gave this incarnation of ours up, and will never take it back: stop the actors and start again
   * as a higher incarnation, with a new core. Once in a core's life.
   */
  | { readonly type: 'self-removed'; readonly by: string }
  | { readonly type: 'view-changed'; readonly view: View; readonly viewId: string }

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
 * - `CLUSTER_MEMBERS_MAX`: `membersMax` live members are known already.
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

/** `link-lost`: its link ended without a good-bye. */
export type SuspectReason = 'link-lost'

/**
 * `refused`: its link was lost and its address refuses: nobody listens there any more. `silent`: its link
 * stood, but nothing came for the deadline. `unreachable`: its link was lost and none came back within the
 * deadline. `replaced`: a higher incarnation of the same name came.
 */
export type DownReason = 'refused' | 'silent' | 'unreachable' | 'replaced'

/** Plain data for the CLI, logs and tests. */
export interface MembershipStatus {
  readonly self: Member
  readonly viewId: string
  /** Every member that is remembered, down and left ones too, sorted by name, without ourselves. */
  readonly members: readonly MemberReport[]
  readonly seeds: readonly SeedReport[]
}

export interface MemberReport extends Member {
  /** The link that is used, if any. */
  readonly linkId?: number | undefined
  readonly epoch: number
  /** Round trip of the last answered heartbeat, in milliseconds. */
  readonly roundTripMs?: number | undefined
}

export interface SeedReport {
  readonly address: NodeAddress
  /** False for an address that a peer told us; such a one is forgotten with its member. */
  readonly isSeed: boolean
  /** The last node that answered there. */
  readonly name?: string | undefined
  readonly state: 'idle' | 'dialling'
  /** Dials since the last link that lasted. */
  readonly attempts: number
}
