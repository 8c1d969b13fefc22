/** Options of the static membership: what they are, their defaults, their limits. */
import type { NodeAddress } from '../transport/address.ts'
import type { Backoff } from './dial-plan.ts'
import { checkDeadlineOptions, deadlineDetectorDefaults } from './failure-detector.ts'
import type { DeadlineDetectorOptions, FailureDetector } from './failure-detector.ts'

/** Options of `StaticMembershipCore`. */
export interface StaticMembershipOptions extends DeadlineDetectorOptions {
  /** This node. `weight` must be 0 or more; 0 owns nothing. @default weight 1 */
  readonly self: {
    readonly name: string
    readonly incarnation: number
    readonly address: NodeAddress
    readonly weight?: number | undefined
    readonly zone?: string | undefined
  }
  /**
   * Where other nodes listen. Our own address among them is dropped, in whatever spelling, and so are
   * doubles.
   */
  readonly seeds: readonly NodeAddress[]
  /** Draws from [0, 1) for the jitter of dials: a stream of the platform's `random`. */
  readonly random: { readonly float: () => number }
  /**
   * Delay before the second dial in a row, in milliseconds; it doubles with each. 1 to 60,000. @default 100
   */
  readonly reconnectMinMs?: number | undefined
  /**
   * The longest delay between dials, in milliseconds. At least `reconnectMinMs`, at most 3,600,000. @default
   * 5_000
   */
  readonly reconnectMaxMs?: number | undefined
  /**
   * The part of each delay that is left to chance, 0 to 1: a delay d becomes d * (1 - jitter) to d. @default
   * 0.2
   */
  readonly reconnectJitter?: number | undefined
  /**
   * How long a link that the peer dialled waits for our own dial to the same peer, in milliseconds. 0 to
   * 60,000. Also the step by which refusals are staggered (see `self-removed`). @default 500
   */
  readonly settleMs?: number | undefined
  /**
   * Members that are remembered, down and left ones too. At the limit the one that is down or left for
   * longest is forgotten; when all are alive, new ones are refused with `CLUSTER_MEMBERS_MAX`. 1 to 65,536.
   * @default 1_024
   */
  readonly membersMax?: number | undefined
  /** Judges silence. Default: `deadlineDetector` with the options given here. */
  readonly detector?: FailureDetector | undefined
}

/** What `StaticMembershipOptions` are when left out. */
export const staticMembershipDefaults = Object.freeze({
  ...deadlineDetectorDefaults,
  reconnectMinMs: 100,
  reconnectMaxMs: 5_000,
  reconnectJitter: 0.2,
  settleMs: 500,
  membersMax: 1_024,
})

/** Fills in the defaults. @throws {RangeError} if an option is out of range; the message names the mend. */
export function checkStaticOptions(options: StaticMembershipOptions): {
  readonly heartbeatIntervalMs: number
  readonly deadlineMs: number
  readonly settleMs: number
  readonly membersMax: number
  readonly backoff: Backoff
} {
  const defaults = staticMembershipDefaults
  const { heartbeatIntervalMs, deadlineMs } = checkDeadlineOptions(options)
  const minMs = options.reconnectMinMs ?? defaults.reconnectMinMs
  const maxMs = options.reconnectMaxMs ?? Math.max(defaults.reconnectMaxMs, minMs)
  const jitter = options.reconnectJitter ?? defaults.reconnectJitter
  const settleMs = options.settleMs ?? defaults.settleMs
  const membersMax = options.membersMax ?? defaults.membersMax
  checkRange('reconnectMinMs', minMs, 1, 60_000)
  checkRange('reconnectMaxMs', maxMs, minMs, 3_600_000)
  checkRange('reconnectJitter', jitter, 0, 1)
  checkRange('settleMs', settleMs, 0, 60_000)
  checkRange('membersMax', membersMax, 1, 65_536)
  const { name, incarnation, weight } = options.self
  if (name === '')
    throw new RangeError('Cannot use an empty name for a node: give it one that no other node has')
  if (!Number.isSafeInteger(incarnation) || incarnation < 0) {
    throw new RangeError(
      `Cannot use incarnation ${incarnation} for node "${name}": it must be a whole number from 0`,
    )
  }
  if (weight !== undefined && !(weight >= 0 && weight < Number.POSITIVE_INFINITY)) {
    throw new RangeError(`Cannot use weight ${weight} for node "${name}": it must be a number from 0`)
  }
  if (options.seeds.length > membersMax) {
    throw new RangeError(
      `Cannot use ${options.seeds.length} seeds: membersMax is ${membersMax}; raise it or give fewer`,
    )
  }
  return { heartbeatIntervalMs, deadlineMs, settleMs, membersMax, backoff: { minMs, maxMs, jitter } }
}

function checkRange(name: string, value: number, least: number, most: number): void {
  if (!(value >= least && value <= most)) {
    throw new RangeError(`Cannot use ${name} ${value}: it must be from ${least} to ${most}`)
  }
}
