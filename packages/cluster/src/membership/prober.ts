/**
 * Probes: who is pinged, who is asked to ping, and what is made of the answers. In each period a member in turn, and the next
 * by name, get a direct ping; when one has not answered after the probe timeout, k others are asked to ping it; when nobody has an answer by the end of the
 * period, it is suspected (SWIM, section 3.1). Those who were asked say so when they get no answer either (Lifeguard's nack):
 * missing nacks are our own fault rather than the target's.
 */
import { failedProbePoints } from './awareness.ts'
import { cannotReachMax, isDoubted } from './member-table.ts'
import type { MemberEntry } from './member-table.ts'
import { ProbeOrder, nextByName } from './probe-order.ts'
import { noteRoundTrip, probeTimeoutMs } from './round-trip.ts'
import type { Silence, SilenceHost } from './silence.ts'
import { suspicionMinMs } from './suspicion.ts'
import type { SwimRandom } from './swim-options.ts'

/** `probe-failed`: no ack came. `link-lost`: its link ended, and nobody else reached it. `silent`: the phi detector's word. */
export type ProbeVerdict = 'probe-failed' | 'link-lost' | 'silent'

/** What a prober needs of its core. */
export interface ProberHost extends SilenceHost {
  readonly random: SwimRandom
  readonly silence: Silence
  readonly sendPingRequest: (to: MemberEntry, sequence: number, target: MemberEntry) => void
  readonly sendAnswer: (to: string, type: 'ack' | 'nack', sequence: number) => void
  /** Up to `count` members that nobody doubts and whose link was not lost, at random, without `except`. */
  readonly pickHelpers: (count: number, except: MemberEntry) => readonly MemberEntry[]
  readonly suspect: (entry: MemberEntry, verdict: ProbeVerdict, nowMs: number) => void
  /** The member lives, but the link to it that we hold for good carries nothing. */
  readonly linkDead: (entry: MemberEntry) => void
}

/** Direct pings in a row that only others could make good before a link is called dead. */
const LINK_DEAD_MISSES = 3
/** Pings that a node makes for others at a time; more are answered by a nack at once. */
const RELAYS_MAX = 1_024
/** The part of a probe timeout after which a helper says that it got no answer. */
const NACK_PART = 0.8

interface Probe {
  readonly entry: MemberEntry
  readonly sequence: number
  readonly sentMs: number
  /** When to ask others; infinite once they are asked. */
  indirectDueMs: number
  endMs: number
  /** False for a link that was lost: only others are asked. */
  readonly isDirect: boolean
  /** Names of those who were asked and have said nothing yet. */
  waitingFor: string[]
  asked: number
  nacks: number
  /** Somebody else reached it. */
  isReached: boolean
}

interface Relay {
  readonly origin: string
  readonly originSequence: number
  readonly target: MemberEntry
  readonly sentMs: number
  readonly nackDueMs: number
}

/** The probes of one node. Times are those of the core's own clock. Each call is O(probes under way), commonly one or two. */
export class Prober {
  readonly #host: ProberHost
  readonly #order: ProbeOrder
  readonly #probes = new Map<number, Probe>()
  /** Pings for others; all have the same patience, so the first is the next to end. */
  readonly #relays = new Map<number, Relay>()
  /** Those that others reach and we do not: probed again each period, in turn, until we do. */
  readonly #missed = new Set<MemberEntry>()
  /** Suspected by others: to be probed in the next period. */
  readonly #toVerify = new Set<MemberEntry>()
  readonly #nackAfterMs: number
  /** The next by name, if nothing has changed around it. */
  #next: MemberEntry | undefined
  #isNextStale = true
  #sequence = 0
  #periodDueMs = Number.POSITIVE_INFINITY
  #probeDueMs = Number.POSITIVE_INFINITY

  constructor(host: ProberHost) {
    this.#host = host
    this.#order = new ProbeOrder(host.table.living, host.random)
    const { probeIntervalMs, probeTimeoutMs: timeoutMs } = host.figures
    // The asker listens only for what is left of its period (in wan less than a timeout): the nack must be there by then.
    this.#nackAfterMs = NACK_PART * Math.min(timeoutMs, probeIntervalMs - timeoutMs)
  }

  /** The first period begins at that time. */
  start(atMs: number): void {
    this.#periodDueMs = atMs
  }

  /** When `run` has something to do. */
  get dueMs(): number {
    let dueMs = Math.min(this.#periodDueMs, this.#probeDueMs, this.#host.silence.dueMs)
    for (const relay of this.#relays.values()) {
      dueMs = Math.min(dueMs, relay.nackDueMs)
      break
    }
    return dueMs
  }

  /** A member that was not there. */
  add(entry: MemberEntry): void {
    this.#order.add(entry)
    this.changed(entry)
  }

  /** A member ended. */
  forget(entry: MemberEntry): void {
    this.#missed.delete(entry)
    this.#toVerify.delete(entry)
    this.#host.silence.settled(entry)
    this.changed(entry)
  }

  /** Another suspects it, and waits for confirmations: find out. */
  verify(entry: MemberEntry): void {
    this.#toVerify.add(entry)
  }

  /** A member is doubted, or no longer. */
  changed(entry: MemberEntry): void {
    if (this.#isNextStale || this.#next === undefined || entry === this.#next) {
      this.#isNextStale = true
      return
    }
    const own = this.#host.table.self.record.name
    const next = this.#next.record.name
    const { name } = entry.record
    this.#isNextStale = own < next ? own < name && name < next : own < name || name < next
  }

  /** The next sequence, for pings that are not probes. */
  nextSequence(): number {
    return ++this.#sequence
  }

  /** Does what is due. `isPeriodic`: whether members are probed in turn; else only what events ask for. */
  run(nowMs: number, isPeriodic: boolean): void {
    for (const [sequence, relay] of this.#relays) {
      if (relay.nackDueMs > nowMs) break
      this.#relays.delete(sequence)
      this.#host.sendAnswer(relay.origin, 'nack', relay.originSequence)
    }
    this.#host.silence.run(nowMs)
    if (nowMs >= this.#probeDueMs) {
      for (const probe of this.#probes.values()) {
        if (nowMs >= probe.endMs || probe.entry.place < 0) this.#end(probe, nowMs)
        else if (nowMs >= probe.indirectDueMs) this.#askOthers(probe)
      }
      this.#findDue()
    }
    if (nowMs < this.#periodDueMs) return
    this.#periodDueMs = nowMs + this.#host.awareness.scale(this.#host.figures.probeIntervalMs)
    if (!isPeriodic) return
    const target = this.#nextTarget()
    if (target !== undefined) this.#probe(target, nowMs)
    const next = this.#findNext()
    if (next !== undefined && next !== target) this.#probe(next, nowMs)
    for (const entry of this.#toVerify) {
      this.#toVerify.delete(entry)
      if (entry === target || entry === next || entry.record.kind !== 'suspect') continue
      this.#probe(entry, nowMs)
      break
    }
    for (const entry of this.#missed) {
      if (entry === target || entry === next) continue
      this.#missed.delete(entry)
      this.#missed.add(entry)
      this.#probe(entry, nowMs)
      break
    }
  }

  /** An ack came. `from`: the sender's entry, if it is the life we know. */
  acked(from: MemberEntry, sequence: number, nowMs: number): void {
    this.#host.silence.settled(from)
    const relay = this.#relays.get(sequence)
    if (relay !== undefined && relay.target === from) {
      this.#relays.delete(sequence)
      noteRoundTrip(from, nowMs - relay.sentMs)
      this.reached(from)
      this.#host.sendAnswer(relay.origin, 'ack', relay.originSequence)
      return
    }
    const probe = this.#probes.get(sequence)
    if (probe === undefined) return
    if (probe.entry === from) {
      if (!probe.isReached) this.#host.awareness.add(-1)
      if (probe.isDirect) noteRoundTrip(from, nowMs - probe.sentMs)
      this.#drop(probe)
      this.reached(from)
    } else if (takeOut(probe.waitingFor, from.record.name) && !probe.isReached) {
      // Kept to the end all the same: the direct ack may still come.
      probe.isReached = true
      this.#host.silence.settled(probe.entry)
      this.#host.awareness.add(-1)
    }
  }

  nacked(from: MemberEntry, sequence: number): void {
    this.#host.silence.settled(from)
    const probe = this.#probes.get(sequence)
    if (probe !== undefined && takeOut(probe.waitingFor, from.record.name)) probe.nacks++
  }

  /** Somebody asks us to ping a life for it. */
  asked(origin: string, originSequence: number, target: MemberEntry | undefined, nowMs: number): void {
    if (target === undefined || target.place < 0 || this.#relays.size >= RELAYS_MAX) {
      this.#host.sendAnswer(origin, 'nack', originSequence)
      return
    }
    const sequence = this.nextSequence()
    const nackDueMs = nowMs + this.#nackAfterMs
    this.#relays.set(sequence, { origin, originSequence, target, sentMs: nowMs, nackDueMs })
    this.#host.sendPing(target, sequence)
  }

  /** Something that a member sent for us alone arrived, or a link to it stands: we reach it ourselves. */
  reached(entry: MemberEntry): void {
    this.#host.silence.settled(entry)
    entry.directMisses = 0
    this.#missed.delete(entry)
  }

  /** A link stands: what was asked because there was none is answered, and so is what went over the one before. */
  linked(entry: MemberEntry): void {
    this.reached(entry)
    for (const probe of this.#probes.values()) if (probe.entry === entry) this.#drop(probe)
  }

  /**
   * A link ended without a good-bye: others are asked at once. With nobody to ask: when there are no others, that is all the
   * proof there can be; when there are and we have lost them too, it speaks against ourselves, and the next probes may tell.
   */
  unlinked(entry: MemberEntry, nowMs: number): void {
    const { figures, awareness, table } = this.#host
    const lastsMs = awareness.scale(figures.probeIntervalMs - figures.probeTimeoutMs)
    const probe = this.#makeProbe(entry, false, nowMs, nowMs + lastsMs)
    this.#askOthers(probe)
    if (probe.asked > 0) {
      this.#probes.set(probe.sequence, probe)
      this.#probeDueMs = Math.min(this.#probeDueMs, probe.endMs)
    } else if (table.living.length > 1 && figures.indirectProbes > 0) {
      awareness.add(1)
    } else {
      this.#host.suspect(entry, 'link-lost', nowMs)
    }
  }

  /**
   * We were stalled: what we did not read in time proves nothing, and those who asked us have their answer in our silence. A
   * new period begins now.
   */
  stalled(nowMs: number): void {
    this.#probes.clear()
    this.#relays.clear()
    this.#host.silence.stalled(nowMs)
    this.#probeDueMs = Number.POSITIVE_INFINITY
    this.#periodDueMs = nowMs
  }

  /** Whom we have not reached for at least a suspicion's time although they live, sorted. */
  claims(nowMs: number): readonly string[] {
    if (this.#missed.size === 0) return []
    const { figures, table } = this.#host
    const afterMs = suspicionMinMs(figures.suspicionMult, table.livingCount, figures.probeIntervalMs)
    const names: string[] = []
    for (const { record, directLostAtMs } of this.#missed) {
      if (record.kind !== 'unreachable' && nowMs - directLostAtMs >= afterMs) names.push(record.name)
    }
    return names.sort().slice(0, cannotReachMax)
  }

  /** Whose probe is under way, and how far it is. */
  status(): readonly {
    readonly name: string
    readonly sequence: number
    readonly stage: 'direct' | 'indirect'
  }[] {
    return [...this.#probes.values()].map(({ entry, sequence, asked }) => ({
      name: entry.record.name,
      sequence,
      stage: asked === 0 ? 'direct' : 'indirect',
    }))
  }

  /**
   * The next member of the list. One that is unreachable gets a ping besides, which tells it so, but takes no other's turn
   * and is not judged: it was.
   */
  #nextTarget(): MemberEntry | undefined {
    let told: MemberEntry | undefined
    for (let tries = 0; tries < 3; tries++) {
      const entry = this.#order.next()
      if (entry === undefined || entry.record.kind !== 'unreachable') return entry
      // The end of a round and the beginning of the next may be the same one.
      if (entry === told) continue
      if (told !== undefined) return undefined
      told = entry
      this.#host.sendPing(entry, this.nextSequence())
    }
    return undefined
  }

  #findNext(): MemberEntry | undefined {
    if (!this.#host.figures.probesNext) return undefined
    if (this.#isNextStale) this.#next = nextByName(this.#host.table)
    this.#isNextStale = false
    return this.#next
  }

  #probe(entry: MemberEntry, nowMs: number): void {
    const { figures, awareness } = this.#host
    const timeoutMs = probeTimeoutMs(entry, figures.probeTimeoutMinMs, figures.probeTimeoutMs)
    const probe = this.#makeProbe(entry, true, nowMs, nowMs + awareness.scale(figures.probeIntervalMs))
    probe.indirectDueMs = nowMs + awareness.scale(timeoutMs)
    this.#probes.set(probe.sequence, probe)
    this.#probeDueMs = Math.min(this.#probeDueMs, probe.indirectDueMs)
    this.#host.sendPing(entry, probe.sequence)
  }

  #makeProbe(entry: MemberEntry, isDirect: boolean, sentMs: number, endMs: number): Probe {
    return {
      entry,
      sequence: this.nextSequence(),
      sentMs,
      indirectDueMs: Number.POSITIVE_INFINITY,
      endMs,
      isDirect,
      waitingFor: [],
      asked: 0,
      nacks: 0,
      isReached: false,
    }
  }

  #askOthers(probe: Probe): void {
    probe.indirectDueMs = Number.POSITIVE_INFINITY
    const helpers = this.#host.pickHelpers(this.#host.figures.indirectProbes, probe.entry)
    for (const helper of helpers) {
      probe.waitingFor.push(helper.record.name)
      this.#host.sendPingRequest(helper, probe.sequence, probe.entry)
    }
    probe.asked = helpers.length
  }

  #end(probe: Probe, nowMs: number): void {
    this.#probes.delete(probe.sequence)
    const { entry } = probe
    if (entry.place < 0) return
    if (!probe.isReached) {
      this.#host.awareness.add(failedProbePoints(probe.asked, probe.nacks))
      this.#host.suspect(entry, probe.isDirect ? 'probe-failed' : 'link-lost', nowMs)
      if (this.#isAlone(probe)) this.#host.silence.askAll(nowMs)
      return
    }
    if (entry.directMisses === 0) entry.directLostAtMs = probe.sentMs
    entry.directMisses++
    this.#missed.add(entry)
    if (entry.link === 'up' && entry.directMisses >= LINK_DEAD_MISSES && !entry.isLinkDeadTold) {
      entry.isLinkDeadTold = true
      this.#host.linkDead(entry)
    }
  }

  /**
   * Whether a failed probe says as much of ourselves as of its target: one who was asked for help and did not even say that he
   * could not is out of reach as well. With nobody to ask, that it was not the first.
   */
  #isAlone({ asked, nacks }: Probe): boolean {
    return asked === 0 ? this.#host.awareness.score > 1 : nacks < asked
  }

  #drop(probe: Probe): void {
    this.#probes.delete(probe.sequence)
    if (Math.min(probe.endMs, probe.indirectDueMs) <= this.#probeDueMs) this.#findDue()
  }

  #findDue(): void {
    this.#probeDueMs = Number.POSITIVE_INFINITY
    for (const probe of this.#probes.values()) {
      this.#probeDueMs = Math.min(this.#probeDueMs, probe.endMs, probe.indirectDueMs)
    }
  }
}

/** Whether somebody may be asked to probe another: nobody doubts it, and its link is not known to be lost. */
export function canHelp(entry: MemberEntry): boolean {
  return !isDoubted(entry.record.kind) && entry.link !== 'lost'
}

function takeOut(names: string[], name: string): boolean {
  const index = names.indexOf(name)
  if (index < 0) return false
  names.splice(index, 1)
  return true
}
