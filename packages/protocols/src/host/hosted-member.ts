/**
 * The seam between the host, one actor a node that owns the store, the timer and the refs to its peers, and the members of
 * groups that live in it, whatever protocol they speak.
 */
import type { Logger, Random, Store } from '@understudy/runtime'

/**
 * On which lane a message travels: `control` is small and urgent (votes, heartbeats), `data` is the log, `bulk` the chunks of
 * snapshots. Order holds within a lane, between two hosts, as long as their links stand. In the simulator it does not: the
 * hosts' protocol is `lossy` there, so that single batches are lost, doubled and late. A member bears both.
 */
export type HostLane = 'control' | 'data' | 'bulk'

/** One group's membership on this node. Every call comes in a turn of the host's actor, one at a time. */
export interface HostedMember {
  /** `from` is the node that sent it, `store` the id of that node's store. The payload was decoded from CBOR: check it. */
  readonly receive: (from: string, store: string, payload: unknown) => void
  /** Its deadline has come. */
  readonly tick: () => void
  /** When it wants `tick`, monotonic ms; `undefined`: not until something happens. Asked again after each call. */
  readonly nextDeadlineMs: () => number | undefined
  /**
   * The links to that node are gone, what was sent to it could not be sent, or the pulse that was watched has stopped. A
   * hint: it may live, and may have been connected again by now.
   */
  readonly unreachable: (node: string) => void
  /** That node's member is quiet and watches this one, which does not watch it. Again with each pulse of that node. */
  readonly watched: (node: string) => void
  /**
   * Ends it: what waits is answered, nothing is sent or written after. Once, and the last call. `reason` is a `GroupClosed`
   * when the group has ended here, else the host restarts and `OpenMember` will be called again.
   */
  readonly close: (reason: Error) => void
}

/** What the host gives a member. */
export interface MemberPort {
  readonly group: string
  readonly node: string
  /** Id of this node's store; with another store it is another member. */
  readonly storeId: string
  /** The group's part of the store. A failed write crashes the host: its actor restarts and opens the store anew. */
  readonly store: Store
  readonly random: Random
  readonly log: Logger
  /** Monotonic milliseconds. */
  readonly nowMs: () => number
  readonly wallMs: () => number
  /**
   * Sends plain data to the member of this group on another node, with whatever else is sent to that node in this turn. Not
   * kept, not repeated. False: it is known already that it cannot be sent; what turns out so later comes as `unreachable`.
   * Do not change the payload, nor bytes in it, before the next turn. One message must fit a frame (1 MiB by default).
   */
  readonly send: (node: string, payload: unknown, lane: HostLane) => boolean
  /** Runs `task` in a later turn of the host, behind everything that is in its mailbox now: how a burst is gathered. */
  readonly later: (task: () => void) => void
  /** Runs `task` in a turn of the host when the loop comes by: what this turn sends and writes is on its way by then. */
  readonly afterLoop: (task: () => void) => void
  /** Runs `onValue` in a turn of the host when the promise is fulfilled, in the order in which they are; a rejection
   * crashes the host, unless `onError` takes it. Nothing runs once the member or the host has ended. */
  readonly pipe: <T>(
    promise: Promise<T>,
    onValue: (value: T) => void,
    onError?: (error: unknown) => void,
  ) => void
  /** The deadline may have changed outside of a call from the host. */
  readonly rearm: () => void
  /**
   * Relies on the hosts' own heartbeat for that node from now on, for groups that have gone quiet; `undefined` ends it.
   * `unreachable(node)` comes once nothing vouched for that node's member for `timeoutMs`. What vouches is that the other
   * member watches this node's in return, so both ends of a quiet pair must: leader and follower.
   */
  readonly watchPulse: (node: string, timeoutMs: number | undefined) => void
  /** Whether that node's member is watched, and `unreachable` has not come for it since it was vouched for last. For a quiet
   * leader that is told of one silent follower, and counts whether a majority is left. */
  readonly isPulseAlive: (node: string) => boolean
}

/** Makes the member of a group once the store is open. It may read its part of the store first. */
export type OpenMember = (port: MemberPort) => Promise<HostedMember>
