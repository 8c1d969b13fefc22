/** Options of downing: what they are, their defaults, their limits, and the bound that they give. */

/** Which side of a partition stays. See `DowningOptions.strategy`. */
export type DowningStrategyName = 'keep-majority' | 'static-quorum' | 'keep-oldest' | 'down-all' | 'lease'

/**
 * Options of `DowningCore`. They must be the same on all nodes: two sides that judge by different rules may both stay.
 *
 * In what follows n is the number of `alive` members, whether they can be reached or not; of all members while none is
 * `alive`. All times are milliseconds. Counted are members that are `alive` (with `role`, those that have it); `judge`
 * names the two exceptions.
 */
export interface DowningOptions {
  /**
   * - `keep-majority`: the side with more counted members; of equal halves the one with the lowest name. Any number of
   *   sides; none may have a majority, then all go.
   * - `static-quorum`: a side with at least `quorumSize` counted members. For clusters of a known size.
   * - `keep-oldest`: the side with the oldest counted member: that of the lowest incarnation, of equals the lowest name.
   * - `down-all`: nobody stays. For who has an orchestrator that starts everything anew.
   * - `lease`: the side that gets a lease from outside; a majority asks at once, a minority later.
   *
   * With `keep-oldest` and `lease` the larger side may go: set the node option `expect` above what one side can have, or those that
   * went found another cluster when they start again.
   *
   * @default 'keep-majority'
   */
  readonly strategy?: DowningStrategyName | undefined
  /** Count only members with this role. The verdict holds for all members. Not with `down-all`. @default all count */
  readonly role?: string | undefined
  /**
   * With `static-quorum`, and only there: how many counted members a side needs. A whole number from 1. There must never
   * be more than `2 * quorumSize - 1` counted members, or two sides could stay: beyond that every side goes, and
   * `quorum-unsafe` says so as soon as it comes to that.
   */
  readonly quorumSize?: number | undefined
  /**
   * With `keep-oldest`: an oldest member that is cut off alone, from two others or more, goes, and they stay. When false,
   * a crash of the oldest takes the cluster with it. @default true
   */
  readonly downIfAlone?: boolean | undefined
  /**
   * The probe interval of SWIM: the unit of the defaults below. 1 to 600,000. Wan: 5,000. @default 1_000 (lan, local)
   */
  readonly probeIntervalMs?: number | undefined
  /**
   * How long what matters must have been unchanged before anything is decided. 1 to 3,600,000. Longer survives longer
   * disturbances, and leaves a crash unanswered for longer. It must be longer than gossip takes to reach everybody.
   *
   * @default probeIntervalMs * (3 + 4 * log10(n)): with 1 s, 5.8 s for 5 members, 7 s for 10, 11 s for 100
   */
  readonly stableAfterMs?: number | undefined
  /**
   * How much longer than the losing side the winning side waits before it declares the others down. 0 to 3,600,000. It is
   * what makes the losers stop first, see `downingBound`. A recovery within it cancels the decision.
   *
   * @default stableAfterMs; with `lease` that plus leaseMinorityDelayMs plus leaseTimeoutMs
   */
  readonly marginMs?: number | undefined
  /**
   * A view that flaps (members come back and are lost again, twice or more, never quiet for stableAfterMs) for longer
   * than stableAfterMs plus this, with somebody lost at that moment: the node goes down. 1 to 3,600,000, or false for
   * never. Members that are lost one after another do not make a view unstable, however long it takes, nor do those
   * that go and come back as another life.
   *
   * @default 3/4 of stableAfterMs
   */
  readonly downAllWhenUnstableMs?: number | false | undefined
  /** With `lease`: how long a side without a majority lets the other go first. 0 to 600,000. @default 2_000 */
  readonly leaseMinorityDelayMs?: number | undefined
  /** With `lease`: an answer that takes longer is a no. 1 to 600,000. @default 5_000 */
  readonly leaseTimeoutMs?: number | undefined
  /**
   * With `lease`: it is kept for this long after it was last needed, so that a side that finds out later is refused. Who stood
   * still for half as long, once or in all, does not ask any more, it goes; in the other half whoever woke earlier must have
   * asked. So at least twice stableAfterMs (where that is left out: as for 1,000 members), leaseMinorityDelayMs and stallMs
   * together; at most 3,600,000. A lease that ends by itself must not end sooner.
   *
   * @default 40_000, or that least where it is more: wan, 5 members, 71.9 s
   */
  readonly leaseReleaseAfterMs?: number | undefined
  /**
   * While somebody is lost the core is called at least this often; called later than due by this or more, it takes it
   * that the node stood still: what it saw before is worth nothing to a winner, who starts to wait anew. 1 to 600,000.
   * @default probeIntervalMs
   */
  readonly stallMs?: number | undefined
}

/** What `DowningOptions` are when left out; those that depend on others are under `DowningOptions`. */
export const downingDefaults = Object.freeze({
  strategy: 'keep-majority',
  downIfAlone: true,
  probeIntervalMs: 1_000,
  leaseMinorityDelayMs: 2_000,
  leaseTimeoutMs: 5_000,
  leaseReleaseAfterMs: 40_000,
} as const)

/** Options with all defaults filled in. Times that depend on the size of the cluster are functions of it. */
export interface CheckedDowningOptions {
  readonly strategy: DowningStrategyName
  readonly role: string | undefined
  /** 0 but for `static-quorum`. */
  readonly quorumSize: number
  readonly downIfAlone: boolean
  readonly stableAfterMs: (members: number) => number
  readonly marginMs: (members: number) => number
  readonly unstableAfterMs: (members: number) => number | undefined
  readonly leaseMinorityDelayMs: number
  readonly leaseTimeoutMs: number
  readonly leaseReleaseAfterMs: (members: number) => number
  readonly stallMs: number
}

/**
 * What the options promise about a partition that begins at time 0 and stays as it is.
 *
 * The last actor of the losing side stops no later than `detectMs + stableAfterMs`, where `detectMs` is when the last of
 * its nodes has all that it lost under suspicion. The winning side declares nobody down before
 * `suspicionMinMs + stableAfterMs + marginMs`, since SWIM takes nobody for unreachable before the shortest suspicion is
 * over. So the losers have stopped first if
 *
 *     detectMs <= suspicionMinMs + marginMs       (less the drift of the clocks, 1 % each)
 *
 * `detectWithinMs` is the right side. Lan, 5 members: 4 + 5.8 s, less drift 9.6 s. What has to be seen to:
 *
 * 1. *The losers notice in time.* SWIM asks one member a period, and Lifeguard slows a node whose probes fail, up to eight
 *    times: a node cut off alone would take minutes to suspect half of 100 members. So `suspected` is set for
 *    every member that owes an answer (asked directly or as a relay, silent for a period), and a node whose probe failed
 *    while a relay was silent asks everybody at once (silence.ts). Then `detectMs` is a few periods, whatever n is.
 * 2. *Gossip takes less than* stableAfterMs *and less than* marginMs within a side: its members know the same.
 * 3. *A node that stood still* does not act on waking before it has heard from members and `isInDoubt()` is false.
 * 4. *Nobody turns `alive`* while its view has somebody suspected or unreachable, nor before all have seen it `joining`.
 */
export interface DowningBound {
  readonly stableAfterMs: number
  readonly marginMs: number
  /** mult * max(1, log10(n)) * probeIntervalMs, as in SWIM. */
  readonly suspicionMinMs: number
  /** The latest time at which a losing node may have noticed. Negative: the margin is too short for any. */
  readonly detectWithinMs: number
  /** When the last losing node has stopped, if all noticed by `detectWithinMs`, on its own clock. */
  readonly losersStoppedByMs: number
  /** Before this nobody is declared down, on the winners' clock. */
  readonly othersDownFromMs: number
}

/** Clocks of the nodes may run this much too fast or too slow. */
const CLOCK_DRIFT_MAX = 0.01
const HOUR_MS = 3_600_000
const TEN_MINUTES_MS = 600_000
/** The largest cluster that options are checked for. */
const MEMBERS_MOST = 1_000
const STRATEGIES: readonly DowningStrategyName[] = [
  'keep-majority',
  'static-quorum',
  'keep-oldest',
  'down-all',
  'lease',
]

/** Fills in the defaults. @throws {RangeError} if an option is out of range; the message names the mend. */
export function checkDowningOptions(options: DowningOptions = {}): CheckedDowningOptions {
  const strategy = options.strategy ?? downingDefaults.strategy
  const probeIntervalMs = options.probeIntervalMs ?? downingDefaults.probeIntervalMs
  const leaseMinorityDelayMs = options.leaseMinorityDelayMs ?? downingDefaults.leaseMinorityDelayMs
  const leaseTimeoutMs = options.leaseTimeoutMs ?? downingDefaults.leaseTimeoutMs
  const { leaseReleaseAfterMs } = options
  const stallMs = options.stallMs ?? probeIntervalMs
  const { stableAfterMs, marginMs, downAllWhenUnstableMs: unstableMs } = options

  if (!STRATEGIES.includes(strategy)) {
    throw new RangeError(
      `Cannot use downing strategy "${strategy}": it must be one of ${STRATEGIES.join(', ')}`,
    )
  }
  checkRange('probeIntervalMs', probeIntervalMs, 1, TEN_MINUTES_MS)
  if (stableAfterMs !== undefined) checkRange('stableAfterMs', stableAfterMs, 1, HOUR_MS)
  if (marginMs !== undefined) checkRange('marginMs', marginMs, 0, HOUR_MS)
  if (typeof unstableMs === 'number')
    checkRange('downAllWhenUnstableMs', unstableMs, 1, HOUR_MS, ', or false')
  checkRange('leaseMinorityDelayMs', leaseMinorityDelayMs, 0, TEN_MINUTES_MS)
  checkRange('leaseTimeoutMs', leaseTimeoutMs, 1, TEN_MINUTES_MS)
  if (leaseReleaseAfterMs !== undefined) checkRange('leaseReleaseAfterMs', leaseReleaseAfterMs, 1, HOUR_MS)
  checkRange('stallMs', stallMs, 1, TEN_MINUTES_MS)
  checkQuorum(strategy, options.quorumSize)
  checkRole(strategy, options.role)
  if (options.downIfAlone !== undefined && strategy !== 'keep-oldest') {
    throw new RangeError(
      `Cannot use downIfAlone with downing strategy "${strategy}": it belongs to "keep-oldest"`,
    )
  }

  const stable = (members: number): number =>
    stableAfterMs ?? Math.ceil(probeIntervalMs * (3 + 4 * Math.log10(Math.max(1, members))))
  // Half of it for standing still, half for what comes before the ask.
  const releaseLeast = (members: number): number => 2 * (stable(members) + leaseMinorityDelayMs + stallMs)
  if (strategy === 'lease' && leaseReleaseAfterMs !== undefined) {
    checkRelease(leaseReleaseAfterMs, releaseLeast(MEMBERS_MOST), stable(MEMBERS_MOST), stableAfterMs)
  }
  // The losers of a lease ask later by the one, and may wait for an answer as long as the other.
  const askingMs = strategy === 'lease' ? leaseMinorityDelayMs + leaseTimeoutMs : 0
  return {
    strategy,
    role: options.role,
    quorumSize: options.quorumSize ?? 0,
    downIfAlone: options.downIfAlone ?? downingDefaults.downIfAlone,
    stableAfterMs: stable,
    marginMs: (members) => marginMs ?? stable(members) + askingMs,
    unstableAfterMs: (members) =>
      unstableMs === false ? undefined : stable(members) + (unstableMs ?? Math.ceil(stable(members) * 0.75)),
    leaseMinorityDelayMs,
    leaseTimeoutMs,
    leaseReleaseAfterMs: (members) =>
      leaseReleaseAfterMs ?? Math.max(downingDefaults.leaseReleaseAfterMs, releaseLeast(members)),
    stallMs,
  }
}

/**
 * The bound for a cluster of `members`, with SWIM's `suspicionMult` (lan 4, wan 6, local 3). See `DowningBound`.
 *
 * @throws {RangeError} as `checkDowningOptions` does, and if `members` or `suspicionMult` is missing or out of range.
 */
export function downingBound(
  options: DowningOptions,
  swim: { readonly members: number; readonly suspicionMult: number },
): DowningBound {
  const checked = checkDowningOptions(options)
  if (!(swim.members >= 1)) {
    throw new RangeError(`Cannot tell the bound of ${swim.members} members: "members" must be 1 or more`)
  }
  if (!(swim.suspicionMult >= 0 && swim.suspicionMult <= 100)) {
    throw new RangeError(
      `Cannot tell the bound with suspicionMult ${swim.suspicionMult}: give that of the nodes' "membership", up to 100; ` +
        'the presets have lan 4, wan 6, local 3',
    )
  }
  const probeIntervalMs = options.probeIntervalMs ?? downingDefaults.probeIntervalMs
  const stableAfterMs = checked.stableAfterMs(swim.members)
  const marginMs = checked.marginMs(swim.members)
  const suspicionMinMs =
    swim.suspicionMult * Math.max(1, Math.log10(Math.max(1, swim.members))) * probeIntervalMs
  const othersDownFromMs = suspicionMinMs + stableAfterMs + marginMs
  const askingMs = checked.strategy === 'lease' ? checked.leaseMinorityDelayMs + checked.leaseTimeoutMs : 0
  const decideMs = stableAfterMs + askingMs
  const detectWithinMs = othersDownFromMs * (1 - CLOCK_DRIFT_MAX) - decideMs * (1 + CLOCK_DRIFT_MAX)
  return {
    stableAfterMs,
    marginMs,
    suspicionMinMs,
    detectWithinMs,
    losersStoppedByMs: detectWithinMs + decideMs,
    othersDownFromMs,
  }
}

/** A node that slept must be refused, or go unasked: the lease may not be free again by the time it asks. */
function checkRelease(
  releaseMs: number,
  leastMs: number,
  stableMs: number,
  stableSet: number | undefined,
): void {
  if (releaseMs >= leastMs) return
  const stable = stableSet === undefined ? `${stableMs} with ${MEMBERS_MOST} members` : `${stableMs}`
  throw new RangeError(
    `Cannot use leaseReleaseAfterMs ${releaseMs}: it must be at least ${leastMs} ms, which is twice the sum of stableAfterMs ` +
      `(${stable}), leaseMinorityDelayMs and stallMs; or a node that stood still could get the lease behind the side that has ` +
      'used it. Raise it, leave it out, or set a shorter stableAfterMs',
  )
}

function checkQuorum(strategy: DowningStrategyName, quorumSize: number | undefined): void {
  if (strategy !== 'static-quorum') {
    if (quorumSize === undefined) return
    throw new RangeError(
      `Cannot use quorumSize with downing strategy "${strategy}": it belongs to "static-quorum"`,
    )
  }
  if (quorumSize === undefined || !Number.isSafeInteger(quorumSize) || quorumSize < 1) {
    throw new RangeError(
      `Cannot use quorumSize ${quorumSize}: it must be a whole number from 1, more than half of the largest number ` +
        'of members that the cluster will ever have',
    )
  }
}

function checkRole(strategy: DowningStrategyName, role: string | undefined): void {
  if (role === undefined) return
  if (role === '')
    throw new RangeError('Cannot use an empty role for downing: name one, or leave it out to count all')
  if (strategy === 'down-all') {
    throw new RangeError(
      `Cannot use role "${role}" with downing strategy "down-all": it counts nobody; leave it out`,
    )
  }
}

function checkRange(name: string, value: number, least: number, most: number, or = ''): void {
  if (!(value >= least && value <= most)) {
    throw new RangeError(`Cannot use ${name} ${value}: it must be from ${least} to ${most} ms${or}`)
  }
}
