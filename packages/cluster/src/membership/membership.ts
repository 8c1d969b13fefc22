/**
 * The membership seam: what a node's shell tells the membership, and what it is told to do. `MembershipCore` is the
 * implementation: links to the others, SWIM over them, and the decision who stays when they fall apart.
 */
import type { Core } from '@understudy/runtime/internal'
import type { NodeAddress } from '../transport/address.ts'
import type { BootstrapStatus } from './bootstrap-core.ts'
import type { DowningEffect, DowningStatus } from './downing-core.ts'
import type { LinkStatus } from './link-core.ts'
import type { CloseLink, LinkEstablished } from './link-step.ts'
import type { SuspectReason, SwimStatus } from './swim-core.ts'
import type { Member, View } from './view.ts'

/** A membership core: a step machine that also shows its view. */
export interface Membership extends Core<MembershipInput, MembershipEffect, MembershipStatus> {
  /** The view as of the last step; the same object until it changes. */
  readonly view: () => View
  /** What is known of a name: the newest life, also one that is over; `undefined` when never heard of. */
  readonly known: (name: string) => Member | undefined
}

/** What happened. The shell feeds each in the order in which it learnt of it. */
export type MembershipInput =
  /** Once, first. */
  | { readonly type: 'started' }
  /** Time passed: `nextDeadlineMs` was reached. */
  | { readonly type: 'tick' }
  /** The handshake of a control link is done: the peer is who it says. */
  | LinkEstablished
  /** A link ended that the core had been told of. One that the core itself ordered closed may be reported or not. */
  | { readonly type: 'link-closed'; readonly linkId: number; readonly reason: { readonly code: string } }
  /** A `dial` came to nothing, in the transport or in the handshake. */
  | { readonly type: 'dial-failed'; readonly address: NodeAddress; readonly code: string }
  /** The peer says that this link is the one to use. */
  | { readonly type: 'chosen-received'; readonly linkId: number }
  /** What a `send-gossip` of the peer carried. Anything may be in it. */
  | { readonly type: 'gossip-received'; readonly linkId: number; readonly payload: unknown }
  /** Other frames came on this link. At most once a second is enough. */
  | { readonly type: 'link-active'; readonly linkId: number }
  /** The peer says that it leaves. */
  | { readonly type: 'goodbye-received'; readonly linkId: number }
  /** All addresses that discovery knows now; `isPending`: a discovery has not said anything yet. */
  | {
      readonly type: 'seeds-found'
      readonly addresses: readonly NodeAddress[]
      readonly isPending: boolean
    }
  /** The answer to `acquire-lease`. */
  | { readonly type: 'lease-result'; readonly granted: boolean }
  | { readonly type: 'lease-lost' }
  /** User actors are held from now on, until others have confirmed that this life still counts. */
  | { readonly type: 'held' }
  /** They have. */
  | { readonly type: 'released' }
  /** This node takes no new work: it owns no places from now on, which the others hear by gossip. */
  | { readonly type: 'drain' }
  /** This node leaves: it says good-bye and takes no more links. */
  | { readonly type: 'leave' }

/**
 * What must be done, in this order:
 * - `use-link` comes behind the `member-joined` of its member; `lost-link` BEFORE the `use-link` that replaces it and
 *   BEFORE the member's `member-down` or `member-left`. Between the two there is no link: what is sent then is not
 *   delivered.
 * - `send-goodbye`, `send-gossip` and `send-chosen` come BEFORE a `close-link` of the same link.
 * - `view-changed` is the last effect of its step, at most one a step.
 */
export type MembershipEffect =
  /** Dial and shake hands; answer with `link-established` or `dial-failed`. One at a time for each address. */
  | { readonly type: 'dial'; readonly address: NodeAddress }
  | CloseLink
  /** Tell the peer that this link is the one to use. */
  | { readonly type: 'send-chosen'; readonly linkId: number }
  /** That life is over, and is to be told so on this link: nothing it says there is delivered. */
  | { readonly type: 'mute-link'; readonly linkId: number }
  | { readonly type: 'send-gossip'; readonly linkId: number; readonly payload: unknown }
  | { readonly type: 'send-goodbye'; readonly linkId: number }
  /** Met for the first time in this life; owns no places unless its status is `alive`. */
  | { readonly type: 'member-joined'; readonly member: Member }
  /** From now on it owns places. Once for each life, this node's own included. */
  | { readonly type: 'member-up'; readonly member: Member }
  /** It may be dead; it keeps its places until it is `member-down`, or `member-recovered`. */
  | {
      readonly type: 'member-suspected'
      readonly name: string
      readonly incarnation: number
      readonly reason: SuspectReason
      readonly by: string
    }
  /** Nobody could reach it for the whole of its suspicion. Still no verdict: downing decides. */
  | { readonly type: 'member-unreachable'; readonly name: string; readonly incarnation: number }
  | { readonly type: 'member-recovered'; readonly name: string; readonly incarnation: number }
  /** It drains: it owns no places any more. */
  | { readonly type: 'member-leaving'; readonly name: string; readonly incarnation: number }
  /** Given up for good: this incarnation never comes back. Once for each life that had joined. */
  | {
      readonly type: 'member-down'
      readonly name: string
      readonly incarnation: number
      readonly reason: DownReason
      readonly by: string
    }
  | { readonly type: 'member-left'; readonly name: string; readonly incarnation: number }
  /** From now on messages to that member go through this link. `epoch` only grows for a life, from 1. */
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
   * This life is over: the others gave it up, or its side of a split lost. Stop the actors and start again as a higher
   * incarnation, with a new core. Once in a core's life.
   */
  | { readonly type: 'self-removed'; readonly by: string; readonly reason: string }
  /** Two living nodes claim one name. Once for each pair of addresses. */
  | { readonly type: 'name-conflict'; readonly name: string; readonly addresses: readonly NodeAddress[] }
  /** Ask the downing lease for this side; answer with `lease-result`. */
  | { readonly type: 'acquire-lease'; readonly owner: string }
  | { readonly type: 'release-lease'; readonly owner: string }
  /** What a split led to, for people. */
  | (Omit<Extract<DowningEffect, { readonly type: 'decided' }>, 'type'> & {
      readonly type: 'downing-decided'
    })
  /** More members count than `static-quorum` is safe for. */
  | Extract<DowningEffect, { readonly type: 'quorum-unsafe' }>
  /** User actors may act until then, unless it is said again: the guard against sleeping through one's own removal. */
  | { readonly type: 'act-until'; readonly atMs: number }
  /**
   * This process stood still for so long that the others may have given it up: hold user actors until a majority of the
   * members has confirmed that this life still counts, or `self-removed` comes.
   */
  | { readonly type: 'hold'; readonly lateMs: number }
  /** From now on this node owns places. */
  | { readonly type: 'self-up'; readonly how: 'joined' | 'founded'; readonly with: readonly string[] }
  /** What a peer sent is no gossip: its link is of no use. */
  | { readonly type: 'bad-gossip'; readonly linkId: number; readonly problem: string }
  | { readonly type: 'view-changed'; readonly view: View; readonly viewId: string }

/** Plain data for the CLI, logs and tests. */
export interface MembershipStatus {
  readonly self: Member
  readonly viewId: string
  /** Every member that is remembered, down and left ones too, sorted by name, without ourselves. */
  readonly members: readonly MemberReport[]
  readonly swim: SwimStatus
  readonly links: LinkStatus
  readonly downing: DowningStatus
  readonly bootstrap: BootstrapStatus
}

export interface MemberReport extends Member {
  /** The control link that is used, if any. */
  readonly linkId?: number | undefined
  readonly epoch: number
  /** Smoothed round trip of its probes, in milliseconds. */
  readonly roundTripMs?: number | undefined
  /** Nobody reaches it, and downing has not decided yet. */
  readonly isUnreachable: boolean
  /** Members that it says it cannot reach directly. */
  readonly cannotReach: readonly string[]
}

/**
 * `refused`: nobody listens at its address, and on this machine that is proof. `replaced`: a later life of its name came.
 * `unreachable`: its side of a split lost. `indirectly-connected`: only some could reach it. Others: a later version's.
 */
export type DownReason = 'refused' | 'replaced' | 'unreachable' | 'indirectly-connected' | (string & {})

export type { CloseLink, LinkEstablished, SuspectReason }
