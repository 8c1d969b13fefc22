/**
 * What a node knows of the members: one record for each name, and which of two records is the newer. The order is total for
 * one life, so that gossip comes to the same table whatever the order and the multiplicity of arrival.
 */
import type { NodeAddress } from '../transport/address.ts'
import type { Suspicion } from './suspicion.ts'

/** One life of a node: who it is, where, and what for. Fixed for an incarnation. Plain data. */
export interface MemberFacts {
  /** Chosen by the user, unique in the cluster. */
  readonly name: string
  /** The number of the node's life: only grows from one life to the next. */
  readonly incarnation: number
  /** Where it listens. A place, never an identity. */
  readonly address: NodeAddress
  /** Share of the ring, relative to the others. */
  readonly weight: number
  readonly zone?: string | undefined
  readonly roles: readonly string[]
  /** The application's version, `''` if it has none. */
  readonly version: string
  /**
   * The kinds of entities that can live there, by the names of their definitions. `undefined`: it has not said, as in what
   * its hello says of it, and as builds that know nothing of this; any kind may be there.
   */
  readonly entities?: readonly string[] | undefined
}

/** What a member says of itself. */
export type MemberPhase = 'joining' | 'alive' | 'leaving'

/**
 * A phase: nobody doubts it. `suspect`: it did not answer. `unreachable`: nor did it refute that in time; it still can.
 * `down`: given up; this life never comes back. `left`: it said good-bye.
 */
export type RecordKind = MemberPhase | 'suspect' | 'unreachable' | 'down' | 'left'

/** What is gossiped about a member. Plain data, never changed once made. */
export interface MemberRecord extends MemberFacts {
  /** SWIM's counter within one life: only its owner raises it (pitfall M1). */
  readonly refutation: number
  readonly kind: RecordKind
  /** What it last said of itself: `kind`, unless that is a doubt or an end. */
  readonly phase: MemberPhase
  /**
   * Names that its owner has not reached directly for long although they live; its own claim. Sorted, at most
   * `cannotReachMax`.
   */
  readonly cannotReach: readonly string[]
  /** Who accuses (suspect, unreachable) or decided (down). */
  readonly by?: string | undefined
  /** With `down`. */
  readonly reason?: string | undefined
}

/** Most names in `cannotReach`. */
export const cannotReachMax = 64

/** Whether that kind ends a life. */
export function isFinal(kind: RecordKind): boolean {
  return kind === 'down' || kind === 'left'
}

/** Whether others doubt that the member lives. */
export function isDoubted(kind: RecordKind): boolean {
  return kind === 'suspect' || kind === 'unreachable'
}

const kindRank: { readonly [K in RecordKind]: number } = {
  joining: 0,
  alive: 0,
  leaving: 0,
  suspect: 1,
  unreachable: 2,
  down: 3,
  left: 4,
}
const phaseRank: { readonly [P in MemberPhase]: number } = { joining: 0, alive: 1, leaving: 2 }

/**
 * Orders two records of one life: above 0 when `a` wins, 0 when they say the same.
 *
 * 1. `left` over `down` over everything else: an end is an end. 2. The higher refutation. 3. At the same refutation
 *    `unreachable` over `suspect` over the phases (SWIM: an accusation of i overrides alive(i)). 4. What is left only makes
 *    the order total: the later phase, the smaller accuser, reason, claim, and the kinds of entities over none: who passed
 *    the record on may be of a build that leaves them out.
 */
export function compareRecords(a: MemberRecord, b: MemberRecord): number {
  const rankA = kindRank[a.kind]
  const rankB = kindRank[b.kind]
  if ((rankA >= 3 || rankB >= 3) && rankA !== rankB) return rankA - rankB
  if (a.refutation !== b.refutation) return a.refutation - b.refutation
  if (rankA !== rankB) return rankA - rankB
  if (a.phase !== b.phase) return phaseRank[a.phase] - phaseRank[b.phase]
  if (a.by !== b.by) return compareText(b.by, a.by)
  if (a.reason !== b.reason) return compareText(b.reason, a.reason)
  if (a.cannotReach.length > 0 || b.cannotReach.length > 0) {
    const byClaim = compareText(b.cannotReach.join(' '), a.cannotReach.join(' '))
    if (byClaim !== 0) return byClaim
  }
  return a.entities === b.entities ? 0 : compareText(b.entities?.join('/'), a.entities?.join('/'))
}

/**
 * What a record means to one who holds another of the same name. `conflict`: two lives of one name that may both live, at
 * different addresses; a name is reclaimed only once its old life is over (pitfall M7). A life older than the known one is
 * `known` and no conflict: whoever still holds that one hears of the newer life, and reports.
 */
export function judgeRecord(known: MemberRecord, record: MemberRecord): 'newer' | 'known' | 'conflict' {
  if (record.incarnation < known.incarnation) return 'known'
  const isSamePlace = record.address === known.address
  if (record.incarnation > known.incarnation) {
    return isSamePlace || isFinal(known.kind) || isFinal(record.kind) ? 'newer' : 'conflict'
  }
  if (!isSamePlace) return isFinal(known.kind) || isFinal(record.kind) ? 'known' : 'conflict'
  return compareRecords(record, known) > 0 ? 'newer' : 'known'
}

/** A member and what this node makes of it. Internal to the SWIM core, which changes it. */
export class MemberEntry {
  record: MemberRecord
  /** 'unknown': never told; its messages may pass for all we know. */
  link: 'unknown' | 'up' | 'lost' = 'unknown'
  /** Runs while `record.kind` is 'suspect'. */
  suspicion: Suspicion | undefined = undefined
  unreachableAtMs = 0
  endedAtMs = 0
  /** RFC 6298 of the direct pings; undefined before the first. */
  smoothedRttMs: number | undefined = undefined
  rttVarianceMs = 0
  /** Direct pings without an ack in a row, while others could reach it. */
  directMisses = 0
  directLostAtMs = 0
  isLinkDeadTold = false
  /** Phi: the ping that is not answered yet, if any. */
  pingSequence = 0
  pingAtMs = 0
  /** Where it stands in the list of the living; -1 when it is not there. */
  place = -1
  readonly nameHash: number

  constructor(record: MemberRecord) {
    this.record = record
    this.nameHash = hashText(record.name)
  }
}

/**
 * The members by name, the node itself among them, the living ones also as a list to draw from. Everything is O(1) but
 * `records`, which is O(n) after a change, as long as few names are new.
 */
export class MemberTable {
  readonly self: MemberEntry
  readonly #membersMax: number
  readonly #entries = new Map<string, MemberEntry>()
  /** Neither down nor left, without ourselves; in no order that means anything. */
  readonly #living: MemberEntry[] = []
  /** Down or left, the one that ended first in front. */
  readonly #ended = new Set<MemberEntry>()
  /** By name but for those that came since the records were asked for, which stand behind; forgotten ones still in it. */
  #order: MemberEntry[] = []
  #sorted: readonly MemberRecord[] | undefined
  #digestHigh = 0
  #digestLow = 0

  constructor(self: MemberRecord, membersMax: number) {
    this.#membersMax = membersMax
    this.self = new MemberEntry(self)
    this.#entries.set(self.name, this.self)
    this.#order.push(this.self)
    this.#count(this.self, 1)
  }

  get(name: string): MemberEntry | undefined {
    return this.#entries.get(name)
  }

  /** The others that are neither down nor left. Not to be changed, and stale after the next `put`. */
  get living(): readonly MemberEntry[] {
    return this.#living
  }

  /** Members that are neither down nor left, ourselves included: the n of the formulas. */
  get livingCount(): number {
    return this.#living.length + 1
  }

  /**
   * Names the living members with their refutation and kind: equal tables give equal numbers, whatever the order in which
   * they came to be; others give the same by accident with a chance of 2^-53. A sum of hashes, not for adversaries.
   */
  get digest(): number {
    return (this.#digestHigh >>> 11) * 0x1_0000_0000 + this.#digestLow
  }

  /** Whether there is room for one more name; makes some by forgetting the one that ended first. */
  makeRoom(): boolean {
    if (this.#entries.size <= this.#membersMax) return true
    for (const entry of this.#ended) {
      this.#forget(entry)
      return true
    }
    return false
  }

  /** Adds a name that is not there. `makeRoom` was asked. */
  add(record: MemberRecord, nowMs: number): MemberEntry {
    const entry = new MemberEntry(record)
    this.#entries.set(record.name, entry)
    this.#order.push(entry)
    this.#place(entry, nowMs)
    this.#count(entry, 1)
    this.#sorted = undefined
    return entry
  }

  /** Another record of the same life. */
  update(entry: MemberEntry, record: MemberRecord, nowMs: number): void {
    const wasFinal = isFinal(entry.record.kind)
    this.#count(entry, -1)
    entry.record = record
    this.#count(entry, 1)
    this.#sorted = undefined
    if (isFinal(record.kind) !== wasFinal && entry !== this.self) this.#place(entry, nowMs)
  }

  /** Another life of the same name takes the place: a new entry, of which nothing is known yet but the record. */
  replace(entry: MemberEntry, record: MemberRecord, nowMs: number): MemberEntry {
    this.#forget(entry)
    return this.add(record, nowMs)
  }

  /** Forgets those that ended before that time. */
  forgetEnded(beforeMs: number): void {
    for (const entry of this.#ended) {
      if (entry.endedAtMs >= beforeMs) return
      this.#forget(entry)
    }
  }

  /** All records, sorted by name. The same array until something changes. */
  records(): readonly MemberRecord[] {
    if (this.#sorted !== undefined) return this.#sorted
    // What is sorted but for a few at its end is sorted anew in O(n).
    this.#order = this.#order.filter((entry) => this.#entries.get(entry.record.name) === entry)
    this.#order.sort((a, b) => (a.record.name < b.record.name ? -1 : 1))
    this.#sorted = this.#order.map((entry) => entry.record)
    return this.#sorted
  }

  #forget(entry: MemberEntry): void {
    this.#count(entry, -1)
    this.#entries.delete(entry.record.name)
    this.#ended.delete(entry)
    this.#dropFromLiving(entry)
    this.#sorted = undefined
  }

  #place(entry: MemberEntry, nowMs: number): void {
    if (isFinal(entry.record.kind)) {
      this.#dropFromLiving(entry)
      entry.endedAtMs = nowMs
      this.#ended.add(entry)
    } else {
      entry.place = this.#living.length
      this.#living.push(entry)
    }
  }

  #dropFromLiving(entry: MemberEntry): void {
    const last = this.#living.at(-1)
    if (entry.place < 0 || last === undefined) return
    this.#living[entry.place] = last
    last.place = entry.place
    this.#living.pop()
    entry.place = -1
  }

  #count({ record, nameHash }: MemberEntry, sign: 1 | -1): void {
    const rank = kindRank[record.kind]
    if (rank >= 3) return
    // Both counters are whole numbers below 2^53; their low and high words are mixed in separately.
    let hash = mix(nameHash ^ Math.imul(rank + 1, 0x9e3779b1))
    hash = mix(hash ^ (record.refutation >>> 0) ^ Math.imul((record.refutation / 0x1_0000_0000) >>> 0, 31))
    hash = mix(hash ^ (record.incarnation >>> 0) ^ Math.imul((record.incarnation / 0x1_0000_0000) >>> 0, 31))
    this.#digestLow = (this.#digestLow + sign * hash) >>> 0
    this.#digestHigh = (this.#digestHigh + sign * mix(hash ^ nameHash ^ 0x5bd1e995)) >>> 0
  }
}

/** The finaliser of murmur3: every bit of the input changes every bit of the output. */
function mix(value: number): number {
  value = Math.imul(value ^ (value >>> 16), 0x85ebca6b)
  value = Math.imul(value ^ (value >>> 13), 0xc2b2ae35)
  return (value ^ (value >>> 16)) >>> 0
}

function hashText(text: string): number {
  let hash = 0x811c9dc5
  for (let index = 0; index < text.length; index++) {
    hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193)
  }
  return hash >>> 0
}

/** By UTF-16 code unit; nothing comes last, so that of two records the one that says something wins a tie. */
function compareText(a: string | undefined, b: string | undefined): number {
  if (a === b) return 0
  if (a === undefined) return 1
  if (b === undefined) return -1
  return a < b ? -1 : 1
}
