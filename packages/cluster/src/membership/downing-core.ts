/**
 * Downing: when members cannot reach each other for long, one set of them goes on and all others stop (split-brain
 * resolution, after Akka's). A step machine, one a node; what it sees is the node's own membership table.
 *
 * The side that loses is fast: it takes suspected members for lost, and goes `stableAfterMs` after it began to lose,
 * whatever happens meanwhile but a recovery. The side that stays is slow: it wants members `unreachable`, the same view
 * for `stableAfterMs`, and `marginMs` more. So whoever starts replacements starts them after the originals have stopped;
 * under which assumptions, and by how much, says `DowningBound`. docs/decisions/0007-downing.md says why.
 *
 * In doubt a node goes. To stay by mistake makes two of what must be one; to go by mistake costs a restart.
 */
import { checkDowningOptions } from './downing-options.ts'
import type { CheckedDowningOptions, DowningOptions, DowningStrategyName } from './downing-options.ts'
import { planDowning } from './downing-plan.ts'
import type { DowningPlan } from './downing-plan.ts'
import { countedMembers } from './downing-strategy.ts'
import type { LossReason } from './downing-strategy.ts'
import { byName, lifeKey } from './reachability.ts'
import type { DowningMember } from './reachability.ts'

export type { DowningMember } from './reachability.ts'

/** Times are on the node's monotonic clock, and never go back. */
export type DowningInput =
  /** The time that `nextDeadlineMs` named has come. Early and needless ticks do no harm. */
  | { readonly type: 'tick' }
  /**
   * The whole table after a change, in any order: the node itself among them, down and left members not. Needless ones do
   * no harm.
   */
  | { readonly type: 'members'; readonly members: readonly DowningMember[] }
  /** The answer to `acquire-lease`; false too if it could not be asked. */
  | { readonly type: 'lease'; readonly granted: boolean }
  /** A lease that had been granted is gone, without a `release-lease`. */
  | { readonly type: 'lease-lost' }

/** Why this node must stop its actors. */
export type DownSelfReason =
  | LossReason
  /** Its side stays, but it cannot reach all of those that stay, and others are kept instead. */
  | 'indirectly-connected'
  /** The view flaps, see `downAllWhenUnstableMs`. */
  | 'unstable'
  | 'lease-denied'
  | 'lease-timeout'
  | 'lease-lost'

/** To be carried out in order. */
export type DowningEffect =
  /** This node's side stays and these do not: their places may be given to others from now on. */
  | {
      readonly type: 'down'
      readonly members: readonly { readonly name: string; readonly incarnation: number }[]
      readonly reason: 'unreachable' | 'indirectly-connected'
    }
  /** This node must go: stop the actors now, before anything else. The last effect ever. */
  | { readonly type: 'down-self'; readonly reason: DownSelfReason }
  /** Wants a `lease` input. Never twice without an answer, unless the first came too late. */
  | { readonly type: 'acquire-lease'; readonly owner: string }
  | { readonly type: 'release-lease'; readonly owner: string }
  /** A fact, for logs and events. Comes before the `down` or `down-self` that carries it out. Names are sorted. */
  | {
      readonly type: 'decided'
      readonly decision: 'down-others' | 'down-self'
      readonly strategy: DowningStrategyName
      readonly reason: DownSelfReason | 'unreachable' | 'indirectly-connected'
      /** Who stays, as far as this node can say: nobody that it knows of, when it goes itself. */
      readonly stays: readonly string[]
      readonly goes: readonly string[]
    }
  /** A fact, for a warning: more members count than a quorum of that size is safe for. Once until that changes. */
  | { readonly type: 'quorum-unsafe'; readonly members: number; readonly quorumSize: number }

/** What `DowningCore.status` shows. Plain data. */
export interface DowningStatus {
  readonly strategy: DowningStrategyName
  /**
   * `calm`: nothing to decide. `losing`: goes at `decidesAtMs`. `unsettled`, then `margin`: stays, and declares
   * `wouldDown` down at `decidesAtMs`. `waiting`: somebody is suspected only, or others decide, or a lease is awaited.
   * `decided`: it has. `gone`: it went.
   */
  readonly phase: 'calm' | 'losing' | 'unsettled' | 'margin' | 'waiting' | 'decided' | 'gone'
  /** Since when what matters has been as it is. */
  readonly unchangedSinceMs: number
  readonly losingSinceMs: number | undefined
  readonly decidesAtMs: number | undefined
  readonly wouldGo: DownSelfReason | undefined
  readonly wouldDown: readonly string[]
  readonly lease: 'none' | 'asked' | 'held'
  readonly stableAfterMs: number
  readonly marginMs: number
}

/** Fewer recoveries than this are no flapping. */
const RECOVERIES_LEAST = 2

interface LeaseState {
  status: 'none' | 'asked' | 'held'
  owner: string
  askedAtMs: number
  /** When it was last needed. */
  neededAtMs: number
  /** Whether others were declared down on the strength of it. */
  isUsed: boolean
}

/** The step machine. See `DowningInput` and `DowningEffect`. A `members` step costs O(members * edges), others O(1). */
export class DowningCore {
  readonly #options: CheckedDowningOptions
  #members: readonly DowningMember[] = []
  /** The n of the options. */
  #size = 0
  #plan: DowningPlan
  /** Lives that were alive when there was last no trouble. Those that turned alive since do not count on our side. */
  #aliveWhenCalm: ReadonlySet<string> | undefined
  #unchangedSinceMs = 0
  #losingSinceMs: number | undefined
  /** Since when there has been trouble, for the lease. */
  #troubledSinceMs: number | undefined
  /** A run of changes with less than `stableAfterMs` between any two. */
  #unrest: { readonly sinceMs: number; recoveries: number } | undefined
  /** The view on which others were declared down: once is enough. */
  #decidedKey: string | undefined
  #lease: LeaseState = { status: 'none', owner: '', askedAtMs: 0, neededAtMs: 0, isUsed: false }
  #isGone = false
  #isQuorumUnsafe = false
  /** After a stall: until then nothing is decided, since what was missed is still coming in. */
  #dazedUntilMs = 0
  /** Stalls within the last `leaseReleaseAfterMs`. */
  #stalls: readonly { readonly atMs: number; readonly lateMs: number }[] = []
  /**
   * After stalls so long that others may have got the lease, used it and given it back meanwhile: until then, and as long
   * as there is trouble, it proves nothing to get it.
   */
  #oversleptUntilMs: number | undefined
  #nowMs = 0
  #dueMs: number | undefined
  #effects: DowningEffect[] = []

  /** @throws {RangeError} if an option is out of range. */
  constructor(options: DowningOptions = {}) {
    this.#options = checkDowningOptions(options)
    this.#plan = planDowning(this.#options, [], () => true)
  }

  /** Takes an input at the time `nowMs`. */
  step(input: DowningInput, nowMs: number): readonly DowningEffect[] {
    if (this.#isGone) return []
    this.#nowMs = nowMs
    const lateMs = this.#dueMs === undefined ? 0 : nowMs - this.#dueMs
    if (lateMs >= this.#options.stallMs) this.#wake(lateMs, nowMs)
    switch (input.type) {
      case 'tick':
        break
      case 'members':
        this.#look(input.members, nowMs)
        break
      case 'lease':
        this.#answered(input.granted, nowMs)
        break
      case 'lease-lost':
        this.#leaseLost()
        break
      default:
        return unreachable(input)
    }
    if (!this.#isGone) this.#decide(nowMs)
    this.#dueMs = this.#isGone ? undefined : this.#findDeadline(nowMs)
    const effects = this.#effects
    this.#effects = []
    return effects
  }

  /** When a `tick` is wanted, or undefined for not before another input. Always later than the last step. */
  nextDeadlineMs(): number | undefined {
    return this.#dueMs
  }

  /**
   * True while this node's time to go is over but for what it may have missed during a stall, and once it has gone: its
   * actors must not act. As of the last step.
   */
  isInDoubt(): boolean {
    if (this.#isGone) return true
    const goesAtMs =
      this.#losingSinceMs === undefined ? undefined : this.#losingSinceMs + this.#stableAfterMs()
    return goesAtMs !== undefined && this.#nowMs >= goesAtMs
  }

  /** Where it stands, as of the last step. */
  status(): DowningStatus {
    return {
      strategy: this.#options.strategy,
      phase: this.#phase(),
      unchangedSinceMs: this.#unchangedSinceMs,
      losingSinceMs: this.#losingSinceMs,
      decidesAtMs: this.#isGone ? undefined : (this.#loseAtMs() ?? this.#winAtMs()),
      wouldGo: this.#plan.loss,
      wouldDown: this.#plan.loss === undefined ? this.#doomed().map(({ name }) => name) : [],
      lease: this.#lease.status,
      stableAfterMs: this.#stableAfterMs(),
      marginMs: this.#options.marginMs(this.#size),
    }
  }

  // ---- inputs

  /** We stood still. What was unchanged for us may have changed, and the news is still in the sockets. */
  #wake(lateMs: number, nowMs: number): void {
    const { stallMs } = this.#options
    this.#dazedUntilMs = nowMs + stallMs
    const releaseMs = this.#options.leaseReleaseAfterMs(this.#size)
    this.#stalls = [...this.#stalls.filter(({ atMs }) => atMs > nowMs - releaseMs), { atMs: nowMs, lateMs }]
    const sleptMs = this.#stalls.reduce((sum, stall) => sum + stall.lateMs, 0)
    // Half: what it does until it asks takes time as well.
    if (sleptMs >= releaseMs / 2) {
      this.#oversleptUntilMs = nowMs + releaseMs
      this.#stalls = []
    }
    this.#unchangedSinceMs = nowMs
    this.#unrest = undefined
    // `#losingSinceMs` stays: the others did not stand still, and may be about to replace us.
  }

  #look(members: readonly DowningMember[], nowMs: number): void {
    const before = this.#plan
    this.#members = [...members].sort(byName)
    this.#size = members.filter(({ status }) => status === 'alive').length || members.length
    this.#noteAlive()
    this.#plan = planDowning(this.#options, this.#members, (member) => this.#wasAlive(member))
    if (this.#plan.key !== before.key) this.#changed(before, nowMs)
    this.#losingSinceMs = this.#plan.loss === undefined ? undefined : (this.#losingSinceMs ?? nowMs)
    this.#troubledSinceMs = this.#plan.isTroubled ? (this.#troubledSinceMs ?? nowMs) : undefined
    this.#warnOfQuorum()
  }

  #noteAlive(): void {
    const isCalm = !this.#members.some((member) => !member.isSelf && (member.suspected || !member.reachable))
    if (!isCalm && this.#aliveWhenCalm !== undefined) return
    this.#aliveWhenCalm = new Set(this.#members.filter(({ status }) => status === 'alive').map(lifeKey))
  }

  #wasAlive(member: DowningMember): boolean {
    return this.#aliveWhenCalm?.has(lifeKey(member)) ?? true
  }

  #changed(before: DowningPlan, nowMs: number): void {
    const isNewUnrest = this.#unrest === undefined || nowMs - this.#unchangedSinceMs >= this.#stableAfterMs()
    const unrest = isNewUnrest ? { sinceMs: nowMs, recoveries: 0 } : this.#unrest
    const ended = [...before.faults].filter((fault) => !this.#plan.faults.has(fault))
    if (ended.length > 0 && unrest !== undefined) {
      const lives = new Map(this.#members.map((member) => [lifeKey(member), member]))
      for (const fault of ended) if (isStillHere(fault, lives)) unrest.recoveries++
    }
    this.#unrest = unrest
    this.#unchangedSinceMs = nowMs
    this.#decidedKey = undefined
  }

  #warnOfQuorum(): void {
    const { strategy, quorumSize } = this.#options
    if (strategy !== 'static-quorum') return
    const members = countedMembers(this.#options, this.#members).length
    const isUnsafe = members > 2 * quorumSize - 1
    if (isUnsafe && !this.#isQuorumUnsafe) this.#effects.push({ type: 'quorum-unsafe', members, quorumSize })
    this.#isQuorumUnsafe = isUnsafe
  }

  #answered(granted: boolean, nowMs: number): void {
    const lease = this.#lease
    if (lease.status !== 'asked') return
    if (granted) {
      lease.status = 'held'
      lease.neededAtMs = nowMs
    } else {
      lease.status = 'none'
      if (this.#plan.isTroubled) this.#downSelf('lease-denied')
    }
  }

  #leaseLost(): void {
    if (this.#lease.status === 'none') return
    const mattered = this.#plan.isTroubled || this.#lease.isUsed
    this.#lease.status = 'none'
    this.#lease.isUsed = false
    if (mattered) this.#downSelf('lease-lost')
  }

  // ---- decisions

  #decide(nowMs: number): void {
    const { loss } = this.#plan
    if (loss !== undefined && isDue(this.#loseAtMs(), nowMs)) this.#downSelf(loss)
    else if (isDue(this.#unstableAtMs(nowMs), nowMs)) this.#downSelf('unstable')
    if (!this.#isGone) this.#runLease(nowMs)
    if (!this.#isGone && isDue(this.#winAtMs(), nowMs)) this.#downOthers()
  }

  #downOthers(): void {
    const { unreachable: lost, indirect, key } = this.#plan
    const doomed = new Set(this.#doomed())
    this.#decidedKey = key
    this.#lease.isUsed = this.#lease.status === 'held'
    this.#effects.push({
      type: 'decided',
      decision: 'down-others',
      strategy: this.#options.strategy,
      reason: lost.length > 0 ? 'unreachable' : 'indirectly-connected',
      stays: this.#members.filter((member) => !doomed.has(member)).map(({ name }) => name),
      goes: [...doomed].map(({ name }) => name),
    })
    if (lost.length > 0) this.#effects.push({ type: 'down', members: lost.map(life), reason: 'unreachable' })
    if (indirect.length > 0) {
      this.#effects.push({ type: 'down', members: indirect.map(life), reason: 'indirectly-connected' })
    }
  }

  #downSelf(reason: DownSelfReason): void {
    const { strategy } = this.#options
    const goes = this.#members.filter(({ isSelf }) => isSelf).map(({ name }) => name)
    this.#isGone = true
    // A lease is not released: the rest of our side may hold it under the same name.
    this.#effects.push({ type: 'decided', decision: 'down-self', strategy, reason, stays: [], goes })
    this.#effects.push({ type: 'down-self', reason })
  }

  // ---- the lease

  #runLease(nowMs: number): void {
    const lease = this.#lease
    if (this.#options.strategy !== 'lease') return
    if (lease.status === 'held' && this.#plan.isTroubled) lease.neededAtMs = nowMs
    if (lease.status === 'asked' && isDue(lease.askedAtMs + this.#options.leaseTimeoutMs, nowMs)) {
      if (this.#plan.isTroubled) this.#downSelf('lease-timeout')
      else this.#release()
    }
    if (this.#isGone) return
    if (lease.status === 'held' && isDue(this.#releaseAtMs(), nowMs)) this.#release()
    const { speaker } = this.#plan
    if (!this.#plan.isTroubled && isDue(this.#oversleptUntilMs, nowMs)) this.#oversleptUntilMs = undefined
    if (speaker !== undefined && isDue(this.#askAtMs(), nowMs)) {
      if (this.#oversleptUntilMs !== undefined) {
        this.#downSelf('lease-denied')
        return
      }
      this.#lease = { status: 'asked', owner: speaker, askedAtMs: nowMs, neededAtMs: nowMs, isUsed: false }
      this.#effects.push({ type: 'acquire-lease', owner: speaker })
    }
  }

  #release(): void {
    const { owner } = this.#lease
    this.#lease = { ...this.#lease, status: 'none', isUsed: false }
    this.#effects.push({ type: 'release-lease', owner })
  }

  /** A lease got under the name of somebody who is on the other side now is theirs as much as ours. */
  #isLeaseOurs(): boolean {
    const { status, owner } = this.#lease
    const holder = this.#members.find((member) => lifeKey(member) === owner)
    return (
      status === 'held' && holder !== undefined && (holder.isSelf || (holder.reachable && !holder.suspected))
    )
  }

  // ---- deadlines; each undefined when there is none

  #stableAfterMs(): number {
    return this.#options.stableAfterMs(this.#size)
  }

  #loseAtMs(): number | undefined {
    if (this.#losingSinceMs === undefined) return undefined
    return Math.max(this.#losingSinceMs + this.#stableAfterMs(), this.#dazedUntilMs)
  }

  #unstableAtMs(nowMs: number): number | undefined {
    const afterMs = this.#options.unstableAfterMs(this.#size)
    const unrest = this.#unrest
    if (afterMs === undefined || unrest === undefined || unrest.recoveries < RECOVERIES_LEAST)
      return undefined
    if (this.#plan.faults.size === 0) return undefined
    const atMs = unrest.sinceMs + afterMs
    const stableAtMs = this.#unchangedSinceMs + this.#stableAfterMs()
    return stableAtMs <= Math.max(atMs, nowMs) ? undefined : atMs
  }

  #winAtMs(): number | undefined {
    const { loss, key, isDecider } = this.#plan
    if (loss !== undefined || !isDecider || this.#doomed().length === 0 || this.#decidedKey === key)
      return undefined
    if (this.#options.strategy === 'lease' && !this.#isLeaseOurs()) return undefined
    return this.#unchangedSinceMs + this.#stableAfterMs() + this.#options.marginMs(this.#size)
  }

  #askAtMs(): number | undefined {
    if (this.#options.strategy !== 'lease' || this.#troubledSinceMs === undefined) return undefined
    if (this.#plan.loss !== undefined || this.#lease.status === 'asked' || this.#isLeaseOurs())
      return undefined
    const delayMs = this.#plan.isMajority ? 0 : this.#options.leaseMinorityDelayMs
    return Math.max(this.#troubledSinceMs + this.#stableAfterMs() + delayMs, this.#dazedUntilMs)
  }

  #releaseAtMs(): number | undefined {
    if (this.#lease.status !== 'held' || this.#plan.isTroubled) return undefined
    return this.#lease.neededAtMs + this.#options.leaseReleaseAfterMs(this.#size)
  }

  #findDeadline(nowMs: number): number | undefined {
    const { status, askedAtMs } = this.#lease
    const answerMs = status === 'asked' ? askedAtMs + this.#options.leaseTimeoutMs : undefined
    // A stall shows only in a call that was due. Who asks for a lease must know also of one that began before the trouble.
    const isLease = this.#options.strategy === 'lease' && this.#members.length > 1
    const pulseMs = this.#plan.isTroubled || isLease ? nowMs + this.#options.stallMs : undefined
    let earliest: number | undefined
    for (const atMs of [
      this.#loseAtMs(),
      this.#unstableAtMs(nowMs),
      this.#winAtMs(),
      this.#askAtMs(),
      this.#releaseAtMs(),
      answerMs,
      pulseMs,
    ]) {
      if (atMs !== undefined && atMs > nowMs && (earliest === undefined || atMs < earliest)) earliest = atMs
    }
    return earliest
  }

  // ---- small things

  #doomed(): readonly DowningMember[] {
    return [...this.#plan.unreachable, ...this.#plan.indirect].sort(byName)
  }

  #phase(): DowningStatus['phase'] {
    if (this.#isGone) return 'gone'
    if (!this.#plan.isTroubled) return 'calm'
    if (this.#plan.loss !== undefined) return 'losing'
    if (this.#decidedKey === this.#plan.key) return 'decided'
    if (this.#winAtMs() === undefined) return 'waiting'
    return this.#nowMs - this.#unchangedSinceMs < this.#stableAfterMs() ? 'unsettled' : 'margin'
  }
}

function isDue(atMs: number | undefined, nowMs: number): boolean {
  return atMs !== undefined && nowMs >= atMs
}

function life({ name, incarnation }: DowningMember): { readonly name: string; readonly incarnation: number } {
  return { name, incarnation }
}

function unreachable(input: never): never {
  throw new TypeError(`Cannot take this input: ${JSON.stringify(input)}`)
}

/** A fault that ended because somebody was removed, or went and came back as another life, is no recovery. */
function isStillHere(fault: string, lives: ReadonlyMap<string, DowningMember>): boolean {
  const keys = fault.split(' - ')
  return keys.every((key) => {
    const member = lives.get(key)
    return member !== undefined && (keys.length === 1 || member.isSelf || member.reachable)
  })
}
