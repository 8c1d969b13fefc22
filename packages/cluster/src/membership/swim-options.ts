/**
 * Options of the SWIM core: what they are, their presets, their limits. The presets are those of memberlist; `suspicion.ts`,
 * `dissemination.ts` and `awareness.ts` hold the formulas they go into.
 */
import type { MemberFacts, MemberPhase, MemberRecord } from './member-table.ts'

/** The figures of a preset; each can be given on its own. Times are milliseconds. */
export interface SwimFigures {
  /**
   * The protocol period: one member is probed in each. Lower detects faster and costs more messages. Multiplied by the
   * awareness score plus one. 10 to 600,000.
   */
  readonly probeIntervalMs: number
  /**
   * How long a direct ping waits for its ack before others are asked, at most. Measured round trips of that member make it
   * shorter, as in RFC 6298: srtt + 4 * rttvar, at least `probeTimeoutMinMs`. Below `probeIntervalMs`. Multiplied by the
   * awareness score plus one.
   */
  readonly probeTimeoutMs: number
  /** The shortest that measured round trips can make `probeTimeoutMs`. 1 to `probeTimeoutMs`. */
  readonly probeTimeoutMinMs: number
  /** How many others are asked to probe a member that did not answer: SWIM's k. 0 to 16. */
  readonly indirectProbes: number
  /**
   * Besides the one in turn, each node probes the next member by name in every period. So a death is noticed within one
   * period whatever n is, where chance alone leaves 1 in 100 unnoticed for 4.6 periods; it costs a ping and an ack more.
   */
  readonly probesNext: boolean
  /** suspicionMin(n) = `suspicionMult` * max(1, log10(n)) * `probeIntervalMs`. 1 to 100. */
  readonly suspicionMult: number
  /** The longest a suspicion lasts, in multiples of its minimum. 1 to 100. */
  readonly suspicionMaxMult: number
  /** How often one node passes a record on: `retransmitMult` * ceil(log10(n + 1)). 1 to 100. */
  readonly retransmitMult: number
  /** How often news is gossiped while there is any. 10 to 60,000. */
  readonly gossipIntervalMs: number
  /** To how many members at a time. 1 to 64. */
  readonly gossipNodes: number
  /** How long members that went unreachable are still gossiped to, so that they learn of it if they live. 0 or more. */
  readonly gossipToTheDeadMs: number
  /**
   * How often the table is compared with that of one other member; multiplied by ceil(log2 n - log2 32) + 1 above 32
   * members. 100 to 3,600,000.
   */
  readonly pushPullIntervalMs: number
  /** A refused dial proves a death: right where an address is one machine's loopback and nothing stands between. */
  readonly trustRefusal: boolean
}

/** Which figures: `lan` for one data centre, `wan` across regions, `local` for one machine. */
export type SwimPreset = 'lan' | 'wan' | 'local'

/** The figures of memberlist's configurations of the same names; `probesNext` and `trustRefusal` are ours. */
export const swimPresets: { readonly [P in SwimPreset]: SwimFigures } = Object.freeze({
  lan: Object.freeze({
    probeIntervalMs: 1_000,
    probeTimeoutMs: 500,
    probeTimeoutMinMs: 100,
    indirectProbes: 3,
    probesNext: true,
    suspicionMult: 4,
    suspicionMaxMult: 6,
    retransmitMult: 4,
    gossipIntervalMs: 200,
    gossipNodes: 3,
    gossipToTheDeadMs: 30_000,
    pushPullIntervalMs: 30_000,
    trustRefusal: false,
  }),
  wan: Object.freeze({
    probeIntervalMs: 5_000,
    probeTimeoutMs: 3_000,
    probeTimeoutMinMs: 500,
    indirectProbes: 3,
    probesNext: true,
    suspicionMult: 6,
    suspicionMaxMult: 6,
    retransmitMult: 4,
    gossipIntervalMs: 500,
    gossipNodes: 4,
    gossipToTheDeadMs: 60_000,
    pushPullIntervalMs: 60_000,
    trustRefusal: false,
  }),
  local: Object.freeze({
    probeIntervalMs: 1_000,
    probeTimeoutMs: 200,
    probeTimeoutMinMs: 50,
    indirectProbes: 1,
    probesNext: true,
    suspicionMult: 3,
    suspicionMaxMult: 6,
    retransmitMult: 2,
    gossipIntervalMs: 100,
    gossipNodes: 3,
    gossipToTheDeadMs: 15_000,
    pushPullIntervalMs: 15_000,
    trustRefusal: true,
  }),
})

/**
 * Who judges. `probe`: SWIM's probes, one random member a period, through others when it does not answer. `phi`: each node
 * pings its (up to nine) successors by name every period, and suspects by the distribution of their answers; `threshold` as
 * Akka's, 0.5 to 100.
 */
export type SwimDetector = 'probe' | { readonly phi: { readonly threshold?: number | undefined } }

/** Options of `SwimCore`. Figures that are left out are the preset's. */
export interface SwimOptions extends Partial<{
  readonly [K in keyof SwimFigures]: SwimFigures[K] | undefined
}> {
  /** This life of this node. */
  readonly self: MemberFacts
  /** The only chance there is. `int` includes both ends. */
  readonly random: SwimRandom
  /** @default 'lan' */
  readonly preset?: SwimPreset | undefined
  /** What the node is at first. @default 'joining' */
  readonly phase?: MemberPhase | undefined
  /** @default 'probe' */
  readonly detector?: SwimDetector | undefined
  /**
   * Others that are remembered, down and left ones too; at the limit the one that ended first is forgotten, and when all
   * live, new ones are not taken up. 1 to 100,000. @default 10_000
   */
  readonly membersMax?: number | undefined
  /**
   * How long a member that is down or left is remembered, so that its life never returns. It is told to others by
   * push-pull for the first half of that time only, or two nodes could remind each other for ever. 1,000 or more. @default
   * 172_800_000 (48 h)
   */
  readonly tombstoneMs?: number | undefined
  /** Bytes of records that one message carries besides what it must. 100 to 65,536. @default 1_200 */
  readonly messageBytesMax?: number | undefined
  /** Members known from the beginning. Nothing is gossiped of them, no event tells of them. @default none */
  readonly known?: readonly MemberRecord[] | undefined
}

/** Chance, handed in. */
export interface SwimRandom {
  /** Uniform in [0, 1). */
  readonly float: () => number
  /** Uniform integer in [low, high]. */
  readonly int: (low: number, high: number) => number
}

/** Most records that ride on one message that is not a push-pull. */
export const messageRecordsMax = 16

/** What `SwimOptions` are with everything filled in. */
export interface CheckedSwimOptions extends SwimFigures {
  readonly membersMax: number
  readonly tombstoneMs: number
  readonly messageBytesMax: number
  readonly phiThreshold: number | undefined
}

/** Fills in preset and defaults. @throws {RangeError} if an option is out of range. */
export function checkSwimOptions(options: SwimOptions): CheckedSwimOptions {
  const preset = swimPresets[options.preset ?? 'lan']
  if (preset === undefined) {
    throw new RangeError(`Cannot use preset "${options.preset}": it must be "lan", "wan" or "local"`)
  }
  const figures: SwimFigures = {
    probeIntervalMs: options.probeIntervalMs ?? preset.probeIntervalMs,
    probeTimeoutMs: options.probeTimeoutMs ?? preset.probeTimeoutMs,
    probeTimeoutMinMs:
      options.probeTimeoutMinMs ??
      Math.min(preset.probeTimeoutMinMs, options.probeTimeoutMs ?? preset.probeTimeoutMs),
    indirectProbes: options.indirectProbes ?? preset.indirectProbes,
    probesNext: options.probesNext ?? preset.probesNext,
    suspicionMult: options.suspicionMult ?? preset.suspicionMult,
    suspicionMaxMult: options.suspicionMaxMult ?? preset.suspicionMaxMult,
    retransmitMult: options.retransmitMult ?? preset.retransmitMult,
    gossipIntervalMs: options.gossipIntervalMs ?? preset.gossipIntervalMs,
    gossipNodes: options.gossipNodes ?? preset.gossipNodes,
    gossipToTheDeadMs: options.gossipToTheDeadMs ?? preset.gossipToTheDeadMs,
    pushPullIntervalMs: options.pushPullIntervalMs ?? preset.pushPullIntervalMs,
    trustRefusal: options.trustRefusal ?? preset.trustRefusal,
  }
  const detector = options.detector ?? 'probe'
  const checked: CheckedSwimOptions = {
    ...figures,
    membersMax: options.membersMax ?? 10_000,
    tombstoneMs: options.tombstoneMs ?? 172_800_000,
    messageBytesMax: options.messageBytesMax ?? 1_200,
    phiThreshold: detector === 'probe' ? undefined : (detector.phi.threshold ?? 8),
  }
  checkRange('probeIntervalMs', checked.probeIntervalMs, 10, 600_000)
  checkRange('probeTimeoutMs', checked.probeTimeoutMs, 1, checked.probeIntervalMs - 1)
  checkRange('probeTimeoutMinMs', checked.probeTimeoutMinMs, 1, checked.probeTimeoutMs)
  checkRange('indirectProbes', checked.indirectProbes, 0, 16)
  checkRange('suspicionMult', checked.suspicionMult, 1, 100)
  checkRange('suspicionMaxMult', checked.suspicionMaxMult, 1, 100)
  checkRange('retransmitMult', checked.retransmitMult, 1, 100)
  checkRange('gossipIntervalMs', checked.gossipIntervalMs, 10, 60_000)
  checkRange('gossipNodes', checked.gossipNodes, 1, 64)
  checkRange('gossipToTheDeadMs', checked.gossipToTheDeadMs, 0, Number.MAX_SAFE_INTEGER)
  checkRange('pushPullIntervalMs', checked.pushPullIntervalMs, 100, 3_600_000)
  checkRange('membersMax', checked.membersMax, 1, 100_000)
  checkRange('tombstoneMs', checked.tombstoneMs, 1_000, Number.MAX_SAFE_INTEGER)
  checkRange('messageBytesMax', checked.messageBytesMax, 100, 65_536)
  if (checked.phiThreshold !== undefined) checkRange('detector.phi.threshold', checked.phiThreshold, 0.5, 100)
  return checked
}

/**
 * How long from one push-pull to the next with `n` members: memberlist's scale, 30 s up to 32 members, 60 s up to 64, 180 s
 * with 1,000.
 */
export function pushPullIntervalMs(intervalMs: number, n: number): number {
  return n <= 32 ? intervalMs : intervalMs * (Math.ceil(Math.log2(n) - 5) + 1)
}

function checkRange(name: string, value: number, least: number, most: number): void {
  if (!(value >= least && value <= most)) {
    throw new RangeError(`Cannot use ${name} ${value}: it must be from ${least} to ${most}`)
  }
}
