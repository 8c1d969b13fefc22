/** Options of the Raft core: what they are, their presets, their limits. Times are milliseconds, sizes bytes. */

/** The figures of a preset; each can be given on its own. */
export interface RaftFigures {
  /**
   * How often a leader says that it is there. Well above a round trip; lower is seen by nobody but the CPU. 1 to 60,000,
   * whole.
   */
  readonly heartbeatMs: number
  /**
   * E. The least time without word from the leader before a voter campaigns, drawn from [E, 2E); how long a voter that heard
   * its leader votes for nobody else; and how long a leader that hears no majority stays one. With everything at rest a dead
   * leader is replaced within 2E, two round trips and two writes. At least two heartbeats, better four to ten, and ten round
   * trips. At most 600,000, whole.
   */
  readonly electionTimeoutMs: number
  /**
   * How long followers may wait to hear that something is committed when no append or heartbeat says it first. Lower makes
   * watches on followers faster, and messages more. 0 to `heartbeatMs`.
   */
  readonly commitNoticeMs: number
  /** Entries in one append, by their bytes; a greater entry travels alone. Below a frame of the transport. 1 KiB to 64 MiB. */
  readonly appendBytesMax: number
  /** Appends on their way to one follower. 1 to 100,000. */
  readonly inflightMessagesMax: number
  /** Their bytes: about bandwidth times round trip is needed to fill a line. At least `appendBytesMax`. */
  readonly inflightBytesMax: number
  /**
   * Commands that are appended and not committed, by their bytes; more is refused as `overloaded`. One command of any size
   * is taken when there is none. At least `appendBytesMax`.
   */
  readonly uncommittedBytesMax: number
}

/** Which figures: `local` for one machine, `lan` for one data centre, `wan` across regions. */
export type RaftPreset = 'local' | 'lan' | 'wan'

/** Heartbeat and E: 50 / 200, 100 / 1,000 (etcd's), 500 / 5,000. */
export const raftPresets: { readonly [P in RaftPreset]: RaftFigures } = Object.freeze({
  local: Object.freeze({
    heartbeatMs: 50,
    electionTimeoutMs: 200,
    commitNoticeMs: 2,
    appendBytesMax: 256 * 1024,
    inflightMessagesMax: 256,
    inflightBytesMax: 8 * 1024 * 1024,
    uncommittedBytesMax: 32 * 1024 * 1024,
  }),
  lan: Object.freeze({
    heartbeatMs: 100,
    electionTimeoutMs: 1_000,
    commitNoticeMs: 5,
    appendBytesMax: 256 * 1024,
    inflightMessagesMax: 256,
    inflightBytesMax: 8 * 1024 * 1024,
    uncommittedBytesMax: 32 * 1024 * 1024,
  }),
  wan: Object.freeze({
    heartbeatMs: 500,
    electionTimeoutMs: 5_000,
    commitNoticeMs: 20,
    appendBytesMax: 512 * 1024,
    inflightMessagesMax: 512,
    inflightBytesMax: 32 * 1024 * 1024,
    uncommittedBytesMax: 64 * 1024 * 1024,
  }),
})

/** Options of `RaftCore`. All members of a group have the same. */
export interface RaftOptions extends Partial<{
  readonly [K in keyof RaftFigures]: RaftFigures[K] | undefined
}> {
  /** @default 'lan' */
  readonly preset?: RaftPreset | undefined
  /**
   * Lease reads may be asked for. They cost no round, and are stale when a clock drifts by more than `clockDriftMax`. With
   * them a lost link to the leader does not make an election come sooner, and a member that has just started votes for
   * nobody during E: what it promised before it cannot know. @default false
   */
  readonly leaseReads?: boolean | undefined
  /**
   * d: by how much a member's clock may run too fast or too slow, as a part of 1. A lease lasts E * (1 - d) / (1 + d) from
   * when the round of heartbeats that a majority answered was sent: with E = 1,000 and d = 0.1, 818 ms. 0 to below 1.
   * @default 0.1
   */
  readonly clockDriftMax?: number | undefined
  /** A leader that hears no majority during E steps down. Off only to show what then goes wrong. @default true */
  readonly checkQuorum?: boolean | undefined
  /**
   * A leader sends its group to sleep when nothing happened for so long and all have everything: no heartbeats, no
   * elections. Only where something else watches over the leader's node and wakes the group. @default Infinity, never
   */
  readonly quiesceAfterMs?: number | undefined
}

/** `RaftOptions` with everything filled in, and what follows from them. */
export interface CheckedRaftOptions extends RaftFigures {
  readonly leaseReads: boolean
  readonly checkQuorum: boolean
  readonly quiesceAfterMs: number
  /** How long a lease lasts; 0 when there are none. See `clockDriftMax`. */
  readonly leaseMs: number
}

/** Fills in the defaults. @throws {RangeError} if an option is out of range; the message names the mend. */
export function checkRaftOptions(options: RaftOptions = {}): CheckedRaftOptions {
  const preset = raftPresets[options.preset ?? 'lan'] as RaftFigures | undefined
  if (preset === undefined) {
    throw new RangeError(`Cannot use preset "${String(options.preset)}": it must be local, lan or wan`)
  }
  const heartbeatMs = options.heartbeatMs ?? preset.heartbeatMs
  const electionTimeoutMs = options.electionTimeoutMs ?? preset.electionTimeoutMs
  const commitNoticeMs = options.commitNoticeMs ?? Math.min(preset.commitNoticeMs, heartbeatMs)
  const appendBytesMax = options.appendBytesMax ?? preset.appendBytesMax
  const inflightMessagesMax = options.inflightMessagesMax ?? preset.inflightMessagesMax
  const inflightBytesMax = options.inflightBytesMax ?? Math.max(preset.inflightBytesMax, appendBytesMax)
  const uncommittedBytesMax =
    options.uncommittedBytesMax ?? Math.max(preset.uncommittedBytesMax, appendBytesMax)
  const clockDriftMax = options.clockDriftMax ?? 0.1
  const quiesceAfterMs = options.quiesceAfterMs ?? Infinity
  const leaseReads = options.leaseReads ?? false
  const checkQuorum = options.checkQuorum ?? true
  checkWhole('heartbeatMs', heartbeatMs, 1, 60_000)
  checkWhole('electionTimeoutMs', electionTimeoutMs, 2 * heartbeatMs, 600_000)
  checkRange('commitNoticeMs', commitNoticeMs, 0, heartbeatMs)
  checkWhole('appendBytesMax', appendBytesMax, 1024, 64 * 1024 * 1024)
  checkWhole('inflightMessagesMax', inflightMessagesMax, 1, 100_000)
  checkWhole('inflightBytesMax', inflightBytesMax, appendBytesMax, Number.MAX_SAFE_INTEGER)
  checkWhole('uncommittedBytesMax', uncommittedBytesMax, appendBytesMax, Number.MAX_SAFE_INTEGER)
  checkRange('quiesceAfterMs', quiesceAfterMs, heartbeatMs, Infinity)
  if (!(clockDriftMax >= 0 && clockDriftMax < 1)) {
    throw new RangeError(`Cannot use clockDriftMax ${clockDriftMax}: it must be from 0 to below 1`)
  }
  if (leaseReads && !checkQuorum) {
    throw new RangeError(
      'Cannot use leaseReads without checkQuorum: a leader that hears nobody would go on reading; ' +
        'leave checkQuorum on, or use linearizable reads',
    )
  }
  const leaseMs = leaseReads ? (electionTimeoutMs * (1 - clockDriftMax)) / (1 + clockDriftMax) : 0
  return {
    heartbeatMs,
    electionTimeoutMs,
    commitNoticeMs,
    appendBytesMax,
    inflightMessagesMax,
    inflightBytesMax,
    uncommittedBytesMax,
    leaseReads,
    checkQuorum,
    quiesceAfterMs,
    leaseMs,
  }
}

function checkWhole(name: string, value: number, least: number, most: number): void {
  if (Number.isSafeInteger(value) && value >= least && value <= most) return
  throw new RangeError(`Cannot use ${name} ${value}: it must be a whole number from ${least} to ${most}`)
}

function checkRange(name: string, value: number, least: number, most: number): void {
  if (value >= least && value <= most) return
  throw new RangeError(`Cannot use ${name} ${value}: it must be from ${least} to ${most}`)
}
