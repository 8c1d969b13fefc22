/**
 * What may happen in a random run, and how often: drawn anew for each one, because runs in which everything is equally likely are
 * all alike (swarm testing: Groce and others, 2012).
 */

/** What was drawn for a run. */
export interface RaftSwarm {
  readonly voters: number
  readonly learners: number
  /** Nodes that are in no configuration at first. */
  readonly spares: number
  readonly heartbeatMs: number
  readonly electionTimeoutMs: number
  /** The group allows lease reads, and takes clocks to drift by at most `driftMax`. */
  readonly isLease: boolean
  readonly driftMax: number
  /** The group goes quiet when idle. */
  readonly isQuiescent: boolean
  /** Small limits for batches and windows: the paths where they are full are walked. */
  readonly hasSmallWindows: boolean
  /** What may happen in the first phase, with weights. */
  readonly actions: ReadonlyMap<RaftFuzzAction, number>
  readonly topology: 'full' | 'bridge' | 'ring' | 'deaf'
}

const actions = {
  propose: 30,
  burst: 4,
  stray: 3,
  read: 8,
  lease: 8,
  change: 5,
  transfer: 3,
  compact: 6,
  crash: 5,
  crashInStep: 5,
  crashAll: 1,
  pause: 3,
  split: 5,
  isolateLeader: 3,
  oneWay: 4,
  bridge: 2,
  ring: 2,
  join: 6,
  dropType: 3,
  dropNone: 3,
  corrupt: 2,
  wipe: 2,
  unreachable: 3,
  clockRate: 2,
  holdDisk: 3,
  wake: 1,
  idle: 3,
} as const

export type RaftFuzzAction = keyof typeof actions

/** All of it by `choose`, uniform from 0 to `n - 1`. */
export function drawRaftSwarm(choose: (n: number) => number): RaftSwarm {
  const isOneOf = (n: number): boolean => choose(n) === n - 1
  const voters = [3, 3, 3, 3, 5, 5, 5, 4, 7, 2, 1][choose(11)] ?? 3
  const weights = new Map<RaftFuzzAction, number>()
  for (const [action, weight] of Object.entries(actions)) {
    const isAlways = action === 'propose' || action === 'read' || action === 'join'
    if (isAlways || choose(5) < 2) weights.set(action as RaftFuzzAction, weight * (1 + choose(3)))
  }
  return {
    voters,
    learners: isOneOf(4) ? 1 : 0,
    spares: isOneOf(2) ? choose(3) : 0,
    heartbeatMs: 100,
    electionTimeoutMs: 1000,
    isLease: isOneOf(2),
    driftMax: 0.05,
    isQuiescent: isOneOf(2),
    hasSmallWindows: isOneOf(2),
    actions: weights,
    topology: (['full', 'full', 'bridge', 'ring', 'deaf'] as const)[choose(5)] ?? 'full',
  }
}
