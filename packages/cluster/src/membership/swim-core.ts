/**
 * SWIM with Lifeguard as a pure step machine: who is a member, who may be dead, and how all come to know it. After Das, Gupta
 * and Motivala, "SWIM" (2002) and Dadgar, Phillips and Currey, "Lifeguard" (2018), with the figures and formulas of memberlist.
 *
 * It knows members by name and sends to names; links are somebody else's, and so is the decision that an unreachable member is
 * down. All judging times run on a clock that stands still while this process does not run: what was not read proves nothing.
 */
import type { Core } from '@understudy/runtime/internal'
import type { NodeAddress } from '../transport/address.ts'
import { Awareness, latenessPoints } from './awareness.ts'
import { DisseminationQueue, retransmitLimit } from './dissemination.ts'
import { MemberTable, isDoubted, isFinal, judgeRecord } from './member-table.ts'
import type { MemberEntry, MemberFacts, MemberPhase, MemberRecord, RecordKind } from './member-table.ts'
import { Prober, canHelp } from './prober.ts'
import type { ProbeVerdict, ProberHost } from './prober.ts'
import { Silence } from './silence.ts'
import type { SilenceHost } from './silence.ts'
import { SuccessorWatch } from './successor-watch.ts'
import { Suspicion } from './suspicion.ts'
import { pushPullParts } from './swim-message.ts'
import type { SwimMessage } from './swim-message.ts'
import { checkSwimOptions, messageRecordsMax, pushPullIntervalMs } from './swim-options.ts'
import type { CheckedSwimOptions, SwimOptions, SwimRandom } from './swim-options.ts'

/** What happened. Inputs about a life that is not the known one are ignored. */
export type SwimInput =
  /** Once, first. */
  | { readonly type: 'started' }
  /** Time passed: `nextDeadlineMs` was reached. */
  | { readonly type: 'tick' }
  /** A control link to that life stands; its peer is who it says. `phase`: what it says it is. @default 'joining' */
  | { readonly type: 'linked'; readonly peer: MemberFacts; readonly phase?: MemberPhase | undefined }
  /** Its control link ended without a good-bye: others are asked for it at once. */
  | { readonly type: 'unlinked'; readonly name: string; readonly incarnation: number }
  /** Nobody listens at its address. With `trustRefusal` a proof that this life is over, else as `unlinked`. */
  | { readonly type: 'refused'; readonly name: string; readonly incarnation: number }
  /** A message came over the control link of that life. */
  | {
      readonly type: 'received'
      readonly from: string
      readonly incarnation: number
      readonly message: SwimMessage
    }
  /** This node is something else from now on. */
  | { readonly type: 'set-phase'; readonly phase: 'alive' | 'leaving' }
  /** This node goes: all whom it knows are told, then it is silent for good. */
  | { readonly type: 'leave' }
  /** Its link said good-bye: it left. */
  | { readonly type: 'goodbye'; readonly name: string; readonly incarnation: number }
  /** The downing's verdict: it becomes `down`, and all learn of it. */
  | { readonly type: 'remove'; readonly name: string; readonly incarnation: number; readonly reason: string }
  /** Tables are exchanged with that life: it answers with all it knows. */
  | { readonly type: 'ask-table'; readonly name: string; readonly incarnation: number }

/** Why a member is suspected: what this node saw itself (see `ProbeVerdict`), its refusal, or `told`: another's word. */
export type SuspectReason = ProbeVerdict | 'refused' | 'told'

/**
 * What must be done, and what has changed, in that order within a step. For one life the events come as: joined; then any of
 * changed, suspected, unreachable, recovered; then down or left, once, and nothing more. `member` is the record as it is now.
 */
export type SwimEffect =
  /** Over the control link to that name, if one stands; else it is lost. */
  | { readonly type: 'send'; readonly to: string; readonly message: SwimMessage }
  /** Others reach it and it lives, but three pings over the standing link got no answer: close it and dial again. */
  | { readonly type: 'link-dead'; readonly name: string; readonly incarnation: number }
  /** `isSilent` is no longer what it was, for one or many. Once a step. */
  | { readonly type: 'silence-changed' }
  | { readonly type: 'member-joined'; readonly member: MemberRecord }
  /** Its phase or its `cannotReach`. Also told of this node itself. */
  | { readonly type: 'member-changed'; readonly member: MemberRecord }
  | {
      readonly type: 'member-suspected'
      readonly member: MemberRecord
      readonly by: string
      readonly reason: SuspectReason
    }
  /** It had the time of a suspicion to refute and did not. It still can. */
  | { readonly type: 'member-unreachable'; readonly member: MemberRecord }
  /** It refuted: nobody doubts it any more. */
  | { readonly type: 'member-recovered'; readonly member: MemberRecord }
  /** `reason`: the verdict's, `refused`, or `replaced` by a later life of the same name. */
  | {
      readonly type: 'member-down'
      readonly member: MemberRecord
      readonly reason: string
      readonly by: string | undefined
    }
  | { readonly type: 'member-left'; readonly member: MemberRecord }
  /** The others gave this life up and will not take it back. Once; the core is silent from then on. */
  | { readonly type: 'self-removed'; readonly by: string }
  /** Two lives of one name that may both live. The first of `addresses` is the one that this node keeps. Once a pair. */
  | {
      readonly type: 'name-conflict'
      readonly name: string
      readonly addresses: readonly [NodeAddress, NodeAddress]
      readonly incarnations: readonly [number, number]
      readonly phases: readonly [MemberPhase, MemberPhase]
    }

/** Plain data for people, the CLI and tests. Times are those of `nowMs`. */
export interface SwimStatus {
  readonly self: MemberRecord
  readonly state: 'new' | 'running' | 'left' | 'removed'
  /** 0, healthy, to 7: every probe interval and timeout is multiplied by it plus one. */
  readonly awareness: number
  /** How long this process did not run when it should have, in all. */
  readonly stalledMs: number
  /** Members neither down nor left, ourselves included. */
  readonly livingCount: number
  readonly probing: readonly { readonly name: string; readonly sequence: number; readonly stage: string }[]
  /** Records that still have to be passed on. */
  readonly queueLength: number
  /** Messages from lives that are over, or replaced. */
  readonly staleMessages: number
  /** Members that were not taken up because `membersMax` live. */
  readonly refusedMembers: number
  /** The others, sorted by name. */
  readonly members: readonly SwimMemberReport[]
}

export interface SwimMemberReport {
  readonly name: string
  readonly incarnation: number
  readonly refutation: number
  readonly kind: RecordKind
  readonly phase: MemberPhase
  readonly link: 'unknown' | 'up' | 'lost'
  readonly rttMs?: number | undefined
  /** When it will be unreachable, unless it refutes, or others confirm. */
  readonly suspicionDeadlineMs?: number | undefined
  readonly confirmations?: number | undefined
  /** Direct pings in a row that only others could make good. */
  readonly directMisses: number
}

/** Pairs of addresses whose conflict was reported; the oldest are forgotten. */
const CONFLICTS_MAX = 1_024
/** With the phi detector, so many under suspicion at a time may be a cut rather than a crash. */
const MANY_SUSPECTED = 3
const NONE: readonly SwimEffect[] = Object.freeze([])
const NO_RECORDS: readonly MemberRecord[] = Object.freeze([])

/**
 * The step machine. A message costs O(records it carries), a tick O(probes under way). What grows with the cluster is rare: a
 * push-pull, `set-phase` and `leave`, which tell everybody directly, and a round of `Silence` after a probe that failed and
 * whose helpers were silent too.
 */
export class SwimCore implements Core<SwimInput, SwimEffect, SwimStatus> {
  readonly #figures: CheckedSwimOptions
  readonly #random: SwimRandom
  readonly #table: MemberTable
  readonly #queue: DisseminationQueue
  readonly #awareness = new Awareness()
  readonly #silence: Silence
  readonly #prober: Prober
  /** With the phi detector. */
  readonly #watch: SuccessorWatch | undefined
  readonly #suspected = new Set<MemberEntry>()
  readonly #conflicts = new Set<string>()

  #state: SwimStatus['state'] = 'new'
  /** Real time less our own stalls: what everything below is measured in. */
  #atMs = Number.NEGATIVE_INFINITY
  #stalledMs = 0
  #dueMs: number | undefined
  #gossipDueMs = Number.NEGATIVE_INFINITY
  #syncDueMs = Number.POSITIVE_INFINITY
  #suspicionDueMs = Number.POSITIVE_INFINITY
  /** After a stall nobody is given up before this. */
  #graceUntilMs = Number.NEGATIVE_INFINITY
  /** The message in hand accuses us: the answer to it refutes. */
  #isAccused = false
  #isSilenceTold = false
  #staleMessages = 0
  #refusedMembers = 0
  #effects: SwimEffect[] = []

  /** @throws {RangeError} if an option is out of range. */
  constructor(options: SwimOptions) {
    this.#figures = checkSwimOptions(options)
    this.#random = options.random
    const phase = options.phase ?? 'joining'
    const own: MemberRecord = { ...options.self, refutation: 0, kind: phase, phase, cannotReach: [] }
    this.#table = new MemberTable(own, this.#figures.membersMax)
    // A record and an end for each name of a full table.
    this.#queue = new DisseminationQueue(2 * (this.#figures.membersMax + 1))
    for (const record of options.known ?? []) {
      if (record.name !== own.name && this.#table.get(record.name) === undefined && this.#table.makeRoom()) {
        // A doubt from before has no time that it began at: whoever still has it will tell.
        this.#table.add(isDoubted(record.kind) ? { ...withoutDoubt(record), kind: record.phase } : record, 0)
      }
    }
    const asker: SilenceHost = {
      figures: this.#figures,
      awareness: this.#awareness,
      table: this.#table,
      sendPing: (to, sequence) =>
        this.#send(to.record.name, { type: 'ping', sequence, records: this.#ride(to) }),
      silenceChanged: () => {
        if (!this.#isSilenceTold) this.#effects.push({ type: 'silence-changed' })
        this.#isSilenceTold = true
      },
    }
    this.#silence = new Silence(asker)
    const host: ProberHost = {
      ...asker,
      random: this.#random,
      silence: this.#silence,
      sendPingRequest: (to, sequence, target) => {
        const { name, incarnation } = target.record
        const records = this.#ride(to)
        this.#send(to.record.name, { type: 'ping-req', sequence, target: name, incarnation, records })
      },
      sendAnswer: (to, type, sequence) =>
        this.#send(to, { type, sequence, records: this.#ride(this.#table.get(to)) }),
      pickHelpers: (count, except) => this.#pick(count, (entry) => entry !== except && canHelp(entry)),
      suspect: (entry, verdict, nowMs) => this.#suspect(entry, verdict, nowMs),
      linkDead: ({ record: { name, incarnation } }) =>
        this.#effects.push({ type: 'link-dead', name, incarnation }),
    }
    this.#prober = new Prober(host)
    const { phiThreshold } = this.#figures
    this.#watch =
      phiThreshold === undefined ? undefined : new SuccessorWatch(host, this.#prober, phiThreshold)
  }

  readonly step = (input: SwimInput, nowMs: number): readonly SwimEffect[] => {
    const atMs = this.#advance(nowMs)
    this.#take(input, atMs)
    if (this.#state === 'running') this.#runDue(atMs)
    this.#dueMs = this.#findDue()
    if (this.#effects.length === 0) return NONE
    const effects = this.#effects
    this.#effects = []
    this.#isSilenceTold = false
    return effects
  }

  readonly nextDeadlineMs = (): number | undefined =>
    this.#dueMs === undefined ? undefined : this.#dueMs + this.#stalledMs

  /** Every record that is remembered, our own among them, sorted by name. The same array until something changes. */
  readonly table = (): readonly MemberRecord[] => this.#table.records()

  /** The newest life of that name, also one that is over. */
  readonly record = (name: string): MemberRecord | undefined => this.#table.get(name)?.record

  /**
   * Whether that member owes us an answer for longer than the scaled probe timeout, after a probe failed and somebody who was
   * asked for help was silent too. No doubt that is told to anybody: for who must know soon whom he may have lost. See `Silence`.
   */
  readonly isSilent = (name: string): boolean => {
    const entry = this.#table.get(name)
    return entry !== undefined && this.#silence.has(entry)
  }

  /** 0 to 7. */
  readonly awareness = (): number => this.#awareness.score

  /** Equal for equal tables of living members: see `MemberTable.digest`. */
  readonly digest = (): number => this.#table.digest

  readonly status = (): SwimStatus => ({
    self: { ...this.#table.self.record },
    state: this.#state,
    awareness: this.#awareness.score,
    stalledMs: this.#stalledMs,
    livingCount: this.#table.livingCount,
    probing: this.#prober.status(),
    queueLength: this.#queue.length,
    staleMessages: this.#staleMessages,
    refusedMembers: this.#refusedMembers,
    members: this.#table
      .records()
      .filter(({ name }) => name !== this.#table.self.record.name)
      .map((record) => this.#report(record)),
  })

  // ---- time

  /**
   * The time on our own clock. It stops at what was due and goes on from there when we run: suspicions and probes do not age
   * while we cannot hear (pitfall M13). Late by a quarter of a probe interval, we trust ourselves less; late by a probe timeout,
   * we drop the probes under way, judge nobody for a period, and ask at once how we are seen.
   */
  #advance(nowMs: number): number {
    if (this.#dueMs === undefined) return (this.#atMs = Math.max(this.#atMs, nowMs - this.#stalledMs))
    const lateMs = nowMs - (this.#dueMs + this.#stalledMs)
    if (lateMs < 0) return (this.#atMs = Math.min(this.#dueMs, Math.max(this.#atMs, nowMs - this.#stalledMs)))
    this.#atMs = this.#dueMs
    if (lateMs === 0) return this.#atMs
    this.#stalledMs += lateMs
    const { probeIntervalMs, probeTimeoutMs } = this.#figures
    this.#awareness.add(latenessPoints(lateMs, probeIntervalMs))
    if (lateMs >= probeTimeoutMs) {
      this.#prober.stalled(this.#atMs)
      this.#watch?.stalled(this.#atMs)
      this.#graceUntilMs = this.#atMs + this.#awareness.scale(probeIntervalMs)
      this.#suspicionDueMs = Math.max(this.#suspicionDueMs, this.#graceUntilMs)
      this.#syncDueMs = this.#atMs
    }
    return this.#atMs
  }

  #runDue(atMs: number): void {
    if (atMs >= this.#suspicionDueMs) this.#endSuspicions(atMs)
    if (atMs >= this.#prober.dueMs) {
      this.#prober.run(atMs, this.#watch === undefined)
      this.#claim(atMs)
    }
    this.#watch?.run(atMs)
    if (atMs >= this.#syncDueMs) this.#sync(atMs)
    // Last, so that what this step has found out goes with it.
    if (atMs >= this.#gossipDueMs && this.#hasGossip()) this.#gossip(atMs)
  }

  #findDue(): number | undefined {
    if (this.#state !== 'running') return undefined
    let dueMs = Math.min(this.#prober.dueMs, this.#syncDueMs, this.#suspicionDueMs)
    if (this.#watch !== undefined) dueMs = Math.min(dueMs, this.#watch.dueMs)
    if (this.#hasGossip()) dueMs = Math.min(dueMs, this.#gossipDueMs)
    return Math.max(dueMs, this.#atMs)
  }

  // ---- inputs

  #take(input: SwimInput, atMs: number): void {
    if (this.#state !== 'running') {
      if (this.#state === 'new' && input.type === 'started') this.#start(atMs)
      return
    }
    switch (input.type) {
      case 'started':
      case 'tick':
        return
      case 'linked':
        return this.#linked(input.peer, input.phase ?? 'joining', atMs)
      case 'unlinked': {
        const entry = this.#living(input.name, input.incarnation)
        if (entry !== undefined && entry.link !== 'lost') this.#lostLink(entry, atMs)
        return
      }
      case 'refused': {
        const entry = this.#living(input.name, input.incarnation)
        if (entry === undefined) return
        if (this.#figures.trustRefusal) this.#endLife(entry, 'down', 'refused', atMs)
        else if (entry.link !== 'lost') this.#lostLink(entry, atMs)
        return
      }
      case 'received':
        return this.#received(input.from, input.incarnation, input.message, atMs)
      case 'set-phase':
        if (input.phase === this.#table.self.record.phase) return
        this.#restate({ kind: input.phase, phase: input.phase }, atMs)
        this.#effects.push({ type: 'member-changed', member: this.#table.self.record })
        // Rare, and waited for: work is sent here, or no longer. Gossip alone may take until the next push-pull to reach the last.
        for (const entry of this.#table.living) this.#tell(entry.record.name, [this.#table.self.record])
        return
      case 'leave':
        this.#restate({ kind: 'left' }, atMs)
        for (const entry of this.#table.living) this.#tell(entry.record.name, [this.#table.self.record])
        this.#state = 'left'
        return
      case 'goodbye': {
        const entry = this.#living(input.name, input.incarnation)
        if (entry !== undefined) this.#endLife(entry, 'left', undefined, atMs)
        return
      }
      case 'remove':
        return this.#remove(input.name, input.incarnation, input.reason, atMs)
      case 'ask-table':
        if (this.#living(input.name, input.incarnation) !== undefined) this.#pushPull(input.name, false)
        return
      default:
        return unreachable(input)
    }
  }

  #start(atMs: number): void {
    this.#state = 'running'
    // Chance keeps nodes that start together from probing and gossiping in step for ever.
    const { probeIntervalMs, pushPullIntervalMs: syncIntervalMs } = this.#figures
    const firstMs = atMs + this.#random.float() * probeIntervalMs
    this.#prober.start(firstMs)
    this.#watch?.start(firstMs)
    this.#syncDueMs =
      atMs + (0.5 + this.#random.float() / 2) * pushPullIntervalMs(syncIntervalMs, this.#table.livingCount)
  }

  #linked(peer: MemberFacts, phase: MemberPhase, atMs: number): void {
    const record: MemberRecord = { ...peer, refutation: 0, kind: phase, phase, cannotReach: [] }
    if (peer.name === this.#table.self.record.name) {
      this.#learnOfSelf(record, atMs)
      return
    }
    const known = this.#table.get(peer.name)
    if (known !== undefined && isOver(known.record, peer.incarnation)) {
      this.#tell(peer.name, [known.record])
      return
    }
    this.#learn(record, atMs, false)
    const entry = this.#living(peer.name, peer.incarnation)
    if (entry === undefined || entry.record.address !== peer.address) return
    entry.link = 'up'
    entry.isLinkDeadTold = false
    this.#prober.linked(entry)
    this.#claim(atMs)
    // One of the two begins. Who met before may well agree: then the digest is enough.
    if (this.#table.self.record.name > peer.name) this.#tell(peer.name, [this.#table.self.record])
    else if (known === entry) this.#sendSync(peer.name)
    else this.#pushPull(peer.name, false)
  }

  #lostLink(entry: MemberEntry, atMs: number): void {
    entry.link = 'lost'
    if (entry.record.kind !== 'unreachable') this.#prober.unlinked(entry, atMs)
  }

  #remove(name: string, incarnation: number, reason: string, atMs: number): void {
    const { self } = this.#table
    if (name === self.record.name) {
      if (incarnation !== self.record.incarnation) return
      this.#restate({ kind: 'down', by: name, reason }, atMs)
      for (const entry of this.#pick(this.#figures.gossipNodes, (other) => other.link !== 'lost')) {
        this.#tell(entry.record.name, [self.record])
      }
      this.#removed(name)
      return
    }
    const entry = this.#living(name, incarnation)
    if (entry === undefined) return
    this.#endLife(entry, 'down', reason, atMs)
    // If it lives it should know; nobody gossips to it any more.
    this.#tell(name, [entry.record])
  }

  #received(from: string, incarnation: number, message: SwimMessage, atMs: number): void {
    const own = this.#table.self.record
    if (from === own.name) return
    const known = this.#table.get(from)
    if (
      known !== undefined &&
      (isOver(known.record, incarnation) || this.#isConflicting(known, incarnation))
    ) {
      // A life that is over learns so from what we hold of it, or of the one after it.
      this.#staleMessages++
      this.#tell(from, [known.record])
      return
    }
    this.#isAccused = false
    const isPushPull = message.type === 'push-pull'
    for (const record of message.records) this.#learn(record, atMs, isPushPull)
    if (this.#state !== 'running') return
    // Only records can have changed who that is.
    const entry =
      message.records.length === 0 && known !== undefined && known.record.incarnation === incarnation
        ? known
        : this.#living(from, incarnation)
    switch (message.type) {
      case 'ping':
        this.#send(from, { type: 'ack', sequence: message.sequence, records: this.#ride(entry) })
        break
      case 'ping-req':
        this.#pingRequest(from, message.sequence, message.target, message.incarnation, atMs)
        break
      case 'ack':
        if (entry === undefined) break
        this.#prober.acked(entry, message.sequence, atMs)
        this.#watch?.acked(entry, message.sequence, atMs)
        this.#claim(atMs)
        break
      case 'nack':
        if (entry !== undefined) this.#prober.nacked(entry, message.sequence)
        break
      case 'gossip':
        break
      case 'push-pull':
        if (message.isLast && !message.isAnswer) this.#pushPull(from, true)
        break
      case 'sync':
        if (message.digest !== this.#table.digest) this.#pushPull(from, false)
        break
      default:
        unreachable(message)
    }
    this.#isAccused = false
    // Somebody whom we do not know, or another life of somebody, and it did not say: so that one of us learns.
    if (entry === undefined && !isPushPull && message.type !== 'sync') this.#sendSync(from)
  }

  #pingRequest(from: string, sequence: number, target: string, incarnation: number, atMs: number): void {
    const own = this.#table.self.record
    if (target === own.name) {
      const type = incarnation === own.incarnation ? 'ack' : 'nack'
      this.#send(from, { type, sequence, records: this.#ride(this.#table.get(from)) })
      return
    }
    this.#prober.asked(from, sequence, this.#living(target, incarnation), atMs)
  }

  // ---- what is learnt

  /** `isPushPull`: the sender's table, in which an end that can be refuted is only hearsay (pitfall M2). */
  #learn(record: MemberRecord, atMs: number, isPushPull: boolean): void {
    const { name } = record
    const entry = this.#table.get(name)
    if (entry === undefined) {
      this.#meet(isPushPull ? asHearsay(record) : record, atMs)
      return
    }
    if (entry.record === record) return
    if (entry === this.#table.self) {
      this.#learnOfSelf(record, atMs)
      return
    }
    const heard = isPushPull ? asHearsay(record) : record
    switch (judgeRecord(entry.record, heard)) {
      case 'newer':
        this.#supersede(entry, heard, 'told', atMs)
        break
      case 'known':
        this.#confirm(entry, heard)
        break
      case 'conflict':
        this.#conflict(entry.record, heard)
        break
      default:
        break
    }
  }

  /** Only the owner of a record may answer for it: it raises the refutation above what it is accused of (pitfall M1). */
  #learnOfSelf(record: MemberRecord, atMs: number): void {
    const own = this.#table.self.record
    if (record.address !== own.address) {
      // Older, newer or the same number: as long as it may live there, it is another one with our name.
      if (!isFinal(record.kind) && !isDoubted(record.kind)) this.#conflict(own, record)
      return
    }
    if (record.incarnation < own.incarnation) return
    if (record.incarnation > own.incarnation || isFinal(record.kind)) {
      this.#removed(record.by ?? record.name)
      return
    }
    if (isDoubted(record.kind)) this.#isAccused = true
    if (judgeRecord(own, record) !== 'newer') return
    if (record.refutation >= Number.MAX_SAFE_INTEGER) {
      // Nobody can go above that, and no honest member comes near: somebody lies so that this life stays what he says of it
      // for good. It ends instead; the next one counts from 0.
      this.#removed(record.by ?? record.name)
      return
    }
    if (isDoubted(record.kind)) this.#awareness.add(1)
    this.#restate({ refutation: record.refutation }, atMs)
  }

  #meet(record: MemberRecord, atMs: number): void {
    if (!this.#table.makeRoom()) {
      this.#refusedMembers++
      return
    }
    const entry = this.#table.add(record, atMs)
    if (isFinal(record.kind)) return
    this.#prober.add(entry)
    this.#watch?.changed()
    this.#queueRecord(record, atMs)
    this.#effects.push({ type: 'member-joined', member: record })
    if (isDoubted(record.kind)) this.#doubt(entry, undefined, 'told', atMs)
  }

  #supersede(entry: MemberEntry, record: MemberRecord, reason: SuspectReason, atMs: number): void {
    const before = entry.record
    if (record.incarnation > before.incarnation) {
      this.#replace(entry, record, atMs)
      return
    }
    if (
      record.kind === before.kind &&
      record.refutation === before.refutation &&
      record.phase === before.phase
    ) {
      // Only the accuser differs, or another such tie: no news, but it may confirm.
      this.#table.update(entry, record, atMs)
      this.#confirm(entry, record)
      return
    }
    this.#table.update(entry, record, atMs)
    this.#queueRecord(record, atMs)
    if (isFinal(record.kind)) {
      // Told down and then left, it ended once.
      if (isFinal(before.kind)) return
      this.#forget(entry)
      if (record.kind === 'left') this.#effects.push({ type: 'member-left', member: record })
      else this.#tellDown(record, record.reason ?? 'unknown', record.by)
      return
    }
    if (isDoubted(record.kind) !== isDoubted(before.kind)) this.#prober.changed(entry)
    if (record.phase !== before.phase || record.cannotReach.join(' ') !== before.cannotReach.join(' ')) {
      this.#effects.push({ type: 'member-changed', member: record })
    }
    if (isDoubted(record.kind)) {
      this.#doubt(entry, before, reason, atMs)
    } else {
      this.#endSuspicion(entry)
      if (isDoubted(before.kind)) this.#effects.push({ type: 'member-recovered', member: record })
    }
  }

  /** A later life of that name: the earlier one is over, if it was not. */
  #replace(entry: MemberEntry, record: MemberRecord, atMs: number): void {
    const before = entry.record
    this.#forget(entry)
    if (!isFinal(before.kind)) {
      this.#tellDown(
        { ...before, kind: 'down', by: record.name, reason: 'replaced' },
        'replaced',
        record.name,
      )
    }
    const next = this.#table.replace(entry, record, atMs)
    this.#queueRecord(record, atMs)
    if (isFinal(record.kind)) return
    this.#prober.add(next)
    this.#watch?.changed()
    this.#effects.push({ type: 'member-joined', member: record })
    if (isDoubted(record.kind)) this.#doubt(next, undefined, 'told', atMs)
  }

  /** The record is a doubt that was not there before, or not of that refutation. */
  #doubt(entry: MemberEntry, before: MemberRecord | undefined, reason: SuspectReason, atMs: number): void {
    const { record } = entry
    const by = record.by ?? record.name
    // It refuted in between, only we have not heard: what is doubted now is something else.
    if (before?.kind === 'unreachable') this.#effects.push({ type: 'member-recovered', member: record })
    if (before?.kind !== 'suspect')
      this.#effects.push({ type: 'member-suspected', member: record, by, reason })
    this.#endSuspicion(entry)
    if (record.kind === 'unreachable') {
      entry.unreachableAtMs = atMs
      this.#silence.settled(entry)
      this.#effects.push({ type: 'member-unreachable', member: record })
      return
    }
    entry.suspicion = new Suspicion(by, this.#table.livingCount, this.#figures, atMs)
    this.#suspected.add(entry)
    this.#noteSuspicion(entry.suspicion)
    // All whom this node watches may be on its side of a cut: then others see across it.
    if (this.#watch !== undefined && this.#suspected.size >= MANY_SUSPECTED) this.#silence.askAll(atMs)
    // A suspicion waits for others to come to it in their turn, which with ten or a hundred members is long. So some, twice
    // as many as are wanted, look at once; whoever finds it dead confirms, and whoever does not has told it that it is
    // suspected. The load of that does not grow with the cluster.
    const { wanted } = entry.suspicion
    if (reason === 'told' && this.#random.float() * (this.#table.livingCount - 2) < 2 * wanted) {
      this.#prober.verify(entry)
    }
  }

  /** Another accuser, of the same refutation: the time gets shorter, and the others should know (Lifeguard). */
  #confirm({ record, suspicion }: MemberEntry, accusation: MemberRecord): void {
    if (suspicion === undefined || !isDoubted(accusation.kind) || accusation.by === undefined) return
    if (accusation.incarnation !== record.incarnation || accusation.refutation !== record.refutation) return
    if (!suspicion.confirm(accusation.by)) return
    this.#queueRecord(accusation, this.#atMs)
    this.#noteSuspicion(suspicion)
  }

  /** What this node found out itself. */
  #suspect(entry: MemberEntry, reason: SuspectReason, atMs: number): void {
    const { kind } = entry.record
    if (kind === 'unreachable' || isFinal(kind)) return
    const accusation: MemberRecord = { ...entry.record, kind: 'suspect', by: this.#table.self.record.name }
    if (kind === 'suspect') this.#confirm(entry, accusation)
    else this.#supersede(entry, accusation, reason, atMs)
  }

  #endSuspicions(atMs: number): void {
    if (atMs < this.#graceUntilMs) {
      this.#suspicionDueMs = this.#graceUntilMs
      return
    }
    for (const entry of [...this.#suspected]) {
      if (entry.suspicion === undefined || atMs < entry.suspicion.deadlineMs) continue
      this.#supersede(
        entry,
        { ...entry.record, kind: 'unreachable', by: this.#table.self.record.name },
        'told',
        atMs,
      )
    }
    this.#suspicionDueMs = Number.POSITIVE_INFINITY
    for (const { suspicion } of this.#suspected) if (suspicion !== undefined) this.#noteSuspicion(suspicion)
  }

  #noteSuspicion({ deadlineMs }: Suspicion): void {
    this.#suspicionDueMs = Math.min(this.#suspicionDueMs, Math.max(deadlineMs, this.#graceUntilMs))
  }

  #endSuspicion(entry: MemberEntry): void {
    entry.suspicion = undefined
    // Its deadline may stay behind in `#suspicionDueMs`: one tick that finds nothing to do.
    if (this.#suspected.delete(entry) && this.#suspected.size === 0)
      this.#suspicionDueMs = Number.POSITIVE_INFINITY
  }

  #endLife(entry: MemberEntry, kind: 'down' | 'left', reason: string | undefined, atMs: number): void {
    const end: MemberRecord = { ...withoutDoubt(entry.record), kind, cannotReach: [] }
    const by = this.#table.self.record.name
    const record = reason === undefined ? end : { ...end, by, reason }
    this.#supersede(entry, record, 'told', atMs)
  }

  #forget(entry: MemberEntry): void {
    this.#endSuspicion(entry)
    this.#prober.forget(entry)
    this.#watch?.changed()
  }

  #tellDown(member: MemberRecord, reason: string, by: string | undefined): void {
    this.#effects.push({ type: 'member-down', member, reason, by })
  }

  // ---- ourselves

  /** Another record of our own: always with a higher refutation than any that is known. */
  #restate(change: Partial<MemberRecord>, atMs: number): void {
    const own = this.#table.self.record
    const accused = change.refutation ?? 0
    const refutation = Math.min(Number.MAX_SAFE_INTEGER, Math.max(own.refutation, accused) + 1)
    this.#table.update(this.#table.self, { ...own, ...change, refutation }, atMs)
    this.#queueRecord(this.#table.self.record, atMs)
    this.#gossipDueMs = atMs
  }

  #claim(atMs: number): void {
    const { cannotReach } = this.#table.self.record
    const claims = this.#prober.claims(atMs)
    if (claims.length === cannotReach.length && claims.every((name, index) => name === cannotReach[index]))
      return
    this.#restate({ cannotReach: claims }, atMs)
    this.#effects.push({ type: 'member-changed', member: this.#table.self.record })
  }

  #removed(by: string): void {
    this.#state = 'removed'
    this.#effects.push({ type: 'self-removed', by })
  }

  // ---- conflicts

  /** Two lives of one name that may both live: reported once, to the one we know as well; the other is kept out. */
  #conflict(kept: MemberRecord, other: MemberRecord): void {
    // One that is doubted may be the old life of a node that moved: its end will show.
    if (isDoubted(kept.kind)) return
    const key = [kept.name, ...[kept.address, other.address].sort()].join(' ')
    if (this.#conflicts.has(key)) return
    for (const oldest of this.#conflicts) {
      if (this.#conflicts.size < CONFLICTS_MAX) break
      this.#conflicts.delete(oldest)
    }
    this.#conflicts.add(key)
    this.#effects.push({
      type: 'name-conflict',
      name: kept.name,
      addresses: [kept.address, other.address],
      incarnations: [kept.incarnation, other.incarnation],
      phases: [kept.phase, other.phase],
    })
    if (kept !== this.#table.self.record) this.#tell(kept.name, [other])
  }

  /** A later life of a name whose conflict was reported: not heard while the earlier one is not over. */
  #isConflicting({ record }: MemberEntry, incarnation: number): boolean {
    if (incarnation <= record.incarnation || this.#conflicts.size === 0) return false
    for (const key of this.#conflicts) if (key.startsWith(`${record.name} `)) return true
    return false
  }

  // ---- sending

  #send(to: string, message: SwimMessage): void {
    this.#effects.push({ type: 'send', to, message })
  }

  #tell(to: string, records: readonly MemberRecord[]): void {
    this.#send(to, { type: 'gossip', records })
  }

  #sendSync(to: string): void {
    this.#send(to, { type: 'sync', digest: this.#table.digest, records: this.#ride(this.#table.get(to)) })
  }

  #pushPull(to: string, isAnswer: boolean): void {
    const untilMs = this.#atMs - this.#figures.tombstoneMs / 2
    const records = this.#table
      .records()
      .filter(({ name, kind }) => !isFinal(kind) || (this.#table.get(name)?.endedAtMs ?? 0) >= untilMs)
    for (const message of pushPullParts(records, isAnswer)) this.#send(to, message)
  }

  /**
   * What rides on a message to that member: that it is doubted, if it is, so that it can refute at once (Lifeguard's buddy);
   * our own record, if the message in hand accuses us; then news.
   */
  #ride(to: MemberEntry | undefined): readonly MemberRecord[] {
    const isToDoubted = to !== undefined && isDoubted(to.record.kind)
    if (!isToDoubted && !this.#isAccused && this.#queue.length === 0) return NO_RECORDS
    const records: MemberRecord[] = []
    if (isToDoubted) records.push(to.record)
    if (this.#isAccused) records.push(this.#table.self.record)
    this.#takeNews(records)
    return records
  }

  #takeNews(into: MemberRecord[]): void {
    const limit = retransmitLimit(this.#figures.retransmitMult, this.#table.livingCount)
    this.#queue.take(into, messageRecordsMax, this.#figures.messageBytesMax, limit)
  }

  #queueRecord(record: MemberRecord, atMs: number): void {
    // The first news after a quiet time waits a part of an interval, so that what comes with it goes with it.
    if (this.#queue.length === 0 && this.#gossipDueMs < atMs) {
      this.#gossipDueMs = atMs + this.#random.float() * this.#figures.gossipIntervalMs
    }
    this.#queue.add(record)
  }

  #hasGossip(): boolean {
    return this.#queue.length > 0 && this.#table.living.length > 0
  }

  #gossip(atMs: number): void {
    const { gossipIntervalMs, gossipNodes, gossipToTheDeadMs } = this.#figures
    this.#gossipDueMs = atMs + gossipIntervalMs
    const targets = this.#pick(
      gossipNodes,
      ({ record, link, unreachableAtMs }) =>
        link !== 'lost' && (record.kind !== 'unreachable' || atMs - unreachableAtMs < gossipToTheDeadMs),
    )
    for (const target of targets) {
      const records = this.#ride(target)
      if (records.length > 0) this.#tell(target.record.name, records)
    }
  }

  #sync(atMs: number): void {
    const { pushPullIntervalMs: intervalMs, tombstoneMs } = this.#figures
    this.#syncDueMs = atMs + pushPullIntervalMs(intervalMs, this.#table.livingCount)
    this.#table.forgetEnded(atMs - tombstoneMs)
    const [peer] = this.#pick(1, ({ record, link }) => link !== 'lost' && record.kind !== 'unreachable')
    if (peer !== undefined) this.#sendSync(peer.record.name)
  }

  /** Up to `count` different ones at random. In a small cluster all that fit are found; in a large one misses are likely few. */
  #pick(count: number, accept: (entry: MemberEntry) => boolean): readonly MemberEntry[] {
    const { living } = this.#table
    const picked: MemberEntry[] = []
    if (living.length <= 4 * count + 8) {
      const rest = living.filter(accept)
      while (picked.length < count && rest.length > 0) {
        const index = this.#random.int(0, rest.length - 1)
        const entry = rest[index]
        const last = rest.pop()
        if (entry === undefined || last === undefined) break
        if (index < rest.length) rest[index] = last
        picked.push(entry)
      }
      return picked
    }
    for (let tries = 8 * count + 8; tries > 0 && picked.length < count; tries--) {
      const entry = living[this.#random.int(0, living.length - 1)]
      if (entry !== undefined && accept(entry) && !picked.includes(entry)) picked.push(entry)
    }
    return picked
  }

  // ---- reading

  /** That life of that name, unless it ended. */
  #living(name: string, incarnation: number): MemberEntry | undefined {
    const entry = this.#table.get(name)
    if (entry === undefined || entry === this.#table.self) return undefined
    return entry.record.incarnation === incarnation && !isFinal(entry.record.kind) ? entry : undefined
  }

  #report(record: MemberRecord): SwimMemberReport {
    const entry = this.#table.get(record.name)
    const { name, incarnation, refutation, kind, phase } = record
    const suspicion = entry?.suspicion
    return {
      name,
      incarnation,
      refutation,
      kind,
      phase,
      link: entry?.link ?? 'unknown',
      rttMs: entry?.smoothedRttMs,
      suspicionDeadlineMs: suspicion === undefined ? undefined : suspicion.deadlineMs + this.#stalledMs,
      confirmations: suspicion?.confirmations,
      directMisses: entry?.directMisses ?? 0,
    }
  }
}

/** Whether that life is known to be over. */
function isOver(known: MemberRecord, incarnation: number): boolean {
  return incarnation < known.incarnation || (incarnation === known.incarnation && isFinal(known.kind))
}

/** A table says what its owner thinks, not what happened: `unreachable` in it is a suspicion, which its target can refute. */
function asHearsay(record: MemberRecord): MemberRecord {
  return record.kind === 'unreachable' ? { ...record, kind: 'suspect' } : record
}

/** The record without who doubts it. */
function withoutDoubt(record: MemberRecord): MemberRecord {
  const { by: _by, reason: _reason, ...rest } = record
  return rest
}

function unreachable(value: never): never {
  throw new TypeError(
    `Cannot take a SWIM input of type "${String((value as { readonly type?: unknown }).type)}"`,
  )
}
