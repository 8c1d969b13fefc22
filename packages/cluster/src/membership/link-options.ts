/** Options of the link core: what they are, their defaults, their limits. */
import type { NodeAddress } from '../transport/address.ts'
import type { Backoff } from './dial-plan.ts'
import type { MemberFacts } from './member-table.ts'

/** What is known of the newest life of a name. */
export interface KnownLife {
  readonly incarnation: number
  readonly address: NodeAddress
  /** Down, left or replaced. */
  readonly isOver: boolean
}

/** Options of `LinkCore`. Times are milliseconds. */
export interface LinkOptions {
  /** This life of this node. */
  readonly self: MemberFacts
  /** What the membership knows of a name. Pure, and asked within a step. The core's own knowledge comes on top. */
  readonly known: (name: string) => KnownLife | undefined
  /**
   * How many members this node sees, and how many it knows of, those that are down included; both with itself. Who sees at
   * most half of them speaks last when two nodes have given each other up.
   */
  readonly sizes: () => { readonly live: number; readonly known: number }
  /** Draws from [0, 1) for the jitter of dials: a stream of the platform's `random`. */
  readonly random: { readonly float: () => number }
  /** Delay before the second dial in a row; it doubles with each. 1 to 60,000. @default 100 */
  readonly reconnectMinMs?: number | undefined
  /** The longest delay between dials. At least `reconnectMinMs`, at most 3,600,000. @default 5_000 */
  readonly reconnectMaxMs?: number | undefined
  /**
   * The part of each delay that is left to chance, 0 to 1: a delay d becomes d * (1 - jitter) to d. @default
   * 0.2
   */
  readonly reconnectJitter?: number | undefined
  /**
   * How long a link that the peer dialled waits for our own dial to the same peer. 0 to 60,000. Also the step by which
   * refusals are staggered (see `self-removed`), and how long the node with the greater name waits for the other one's dial
   * in a full mesh. @default 500
   */
  readonly settleMs?: number | undefined
  /**
   * How long the node with the greater name keeps a link that the other one has not chosen. Must be longer than `settleMs`;
   * what this process itself was late is added. At most 3,600,000. @default 5_000
   */
  readonly waitingMs?: number | undefined
  /** How long a link may be quiet before it is closed, when the mesh is on demand. 1 to 3,600,000. @default 30_000 */
  readonly idleMs?: number | undefined
  /**
   * Names that are remembered, of lives that are over too. At the limit the one that is over for longest is forgotten; when
   * all live, new ones are refused with `CLUSTER_MEMBERS_MAX`. 1 to 100,000. @default 10_000
   */
  readonly membersMax?: number | undefined
}

/** What `LinkOptions` are when left out. */
export const linkDefaults = Object.freeze({
  reconnectMinMs: 100,
  reconnectMaxMs: 5_000,
  reconnectJitter: 0.2,
  settleMs: 500,
  waitingMs: 5_000,
  idleMs: 30_000,
  membersMax: 10_000,
})

/** What `LinkOptions` are with everything filled in. */
export interface CheckedLinkOptions {
  readonly backoff: Backoff
  readonly settleMs: number
  readonly waitingMs: number
  readonly idleMs: number
  readonly membersMax: number
}

/** Fills in the defaults. @throws {RangeError} if an option is out of range; the message names the mend. */
export function checkLinkOptions(options: LinkOptions): CheckedLinkOptions {
  const minMs = options.reconnectMinMs ?? linkDefaults.reconnectMinMs
  const maxMs = options.reconnectMaxMs ?? Math.max(linkDefaults.reconnectMaxMs, minMs)
  const jitter = options.reconnectJitter ?? linkDefaults.reconnectJitter
  const settleMs = options.settleMs ?? linkDefaults.settleMs
  const waitingMs = options.waitingMs ?? Math.max(linkDefaults.waitingMs, 2 * settleMs)
  const idleMs = options.idleMs ?? linkDefaults.idleMs
  const membersMax = options.membersMax ?? linkDefaults.membersMax
  checkRange('reconnectMinMs', minMs, 1, 60_000)
  checkRange('reconnectMaxMs', maxMs, minMs, 3_600_000)
  checkRange('reconnectJitter', jitter, 0, 1)
  checkRange('settleMs', settleMs, 0, 60_000)
  checkRange('waitingMs', waitingMs, settleMs + 1, 3_600_000)
  checkRange('idleMs', idleMs, 1, 3_600_000)
  checkRange('membersMax', membersMax, 1, 100_000)
  const { name, incarnation } = options.self
  if (name === '')
    throw new RangeError('Cannot use an empty name for a node: give it one that no other node has')
  if (!Number.isSafeInteger(incarnation) || incarnation < 0) {
    throw new RangeError(
      `Cannot use incarnation ${incarnation} for node "${name}": it must be a whole number from 0`,
    )
  }
  return { backoff: { minMs, maxMs, jitter }, settleMs, waitingMs, idleMs, membersMax }
}

function checkRange(name: string, value: number, least: number, most: number): void {
  if (!(value >= least && value <= most)) {
    throw new RangeError(`Cannot use ${name} ${value}: it must be from ${least} to ${most}`)
  }
}
