/**
 * The membership of a node, put together: the link core knows whom this node is linked with, SWIM who lives, the downing
 * core who stays when they fall apart, and the bootstrap core when this node may own places. None of them knows the
 * others; what one says is carried to the others here, within one step, until all are quiet.
 */
import type { NodeAddress } from '../transport/address.ts'
import { BootstrapCore, type BootstrapInput, type BootstrapMember } from './bootstrap-core.ts'
import { DowningCore, type DowningInput, type DowningMember } from './downing-core.ts'
import { LinkCore } from './link-core.ts'
import type { LinkEffect, LinkInput } from './link-step.ts'
import { isDoubted, isFinal, type MemberFacts, type MemberPhase, type MemberRecord } from './member-table.ts'
import { checkMembershipOptions, type MembershipOptions } from './membership-options.ts'
import type {
  MemberReport,
  Membership,
  MembershipEffect,
  MembershipInput,
  MembershipStatus,
} from './membership.ts'
import { SwimCore, type SwimEffect, type SwimInput } from './swim-core.ts'
import { readSwimMessage, writeSwimMessage, type SwimMessage } from './swim-message.ts'
import { isLiving, makeView, type Member, type MemberStatus, type View } from './view.ts'

/** Members above which not every pair keeps a link: links are made when they are needed. */
export const fullMeshMax = 128

/**
 * Up to so many members everything is told at once. Above, what follows from a changed table, which costs O(members), is put
 * off until so long after the last time: a flood of invented members must not cost a view for each message.
 */
const settleEachMax = 1_000
const settlePerMemberMs = 0.02

interface UsedLink {
  readonly linkId: number
  readonly incarnation: number
  readonly epoch: number
}

/** Why a life ended that had the name of another one. */
export const nameConflictReason = 'name-conflict'

/**
 * Which of two lives of one name goes, when clusters merge that each have one (pitfall M7): both come to the same answer.
 * The lower incarnation, because those who know only it can then take the higher one; but never one that owns places for
 * one that does not. The first of each pair is this node's own.
 */
function mustYield({
  addresses,
  incarnations,
  phases,
}: SwimEffect & { readonly type: 'name-conflict' }): boolean {
  const isJoining = phases.map((phase) => phase === 'joining')
  if (isJoining[0] !== isJoining[1]) return isJoining[0] === true
  if (incarnations[0] !== incarnations[1]) return incarnations[0] < incarnations[1]
  return addresses[0] < addresses[1]
}

/**
 * See `Membership` for inputs, effects and their order. A step that changes the table costs O(members); above 1,000 members
 * only one in 20 ms for each thousand of them, and others O(what they bring).
 */
export class MembershipCore implements Membership {
  readonly #self: MemberFacts
  readonly #swim: SwimCore
  readonly #links: LinkCore
  readonly #downing: DowningCore
  readonly #bootstrap: BootstrapCore
  readonly #holdAfterMs: number
  /** The control link in use, by the name of the member. */
  readonly #used = new Map<string, UsedLink>()
  /** Who is at the other end, by link, until it is closed. */
  readonly #peers = new Map<number, MemberFacts>()
  #view: View
  #phase: 'new' | 'running' | 'over' = 'new'
  #mesh: 'full' | 'on-demand' = 'full'
  /** The phase of each member's newest life that was told last. */
  readonly #phases = new Map<string, MemberPhase>()
  /** Lives that have left as others say, and whose own good-bye is still to come. */
  readonly #leavers = new Map<string, number>()
  /** Who told of a life behind one that leaves, whose own good-bye is still to come; by its name. */
  readonly #heralds = new Map<string, { readonly incarnation: number; readonly by: MemberFacts }>()
  /** Something that the downing core, the bootstrap core or the view depends on has changed. */
  #isTableStale = false
  /** Before this a table of more than `settleEachMax` members may wait. */
  #settleAtMs = Number.NEGATIVE_INFINITY
  #settles = 0
  #dueMs: number | undefined
  #actUntilMs = Number.NEGATIVE_INFINITY
  #isRemoved = false
  #isDraining = false
  #isHeld = false
  /**
   * Members that turn out to have ended without a verdict since this node is held: replaced, or not there any more. They
   * may have given it up before, so they count as lost, not as gone, until it is released or its side has won.
   */
  readonly #missed = new Map<string, DowningMember>()
  /**
   * Lives that took part when their whole table came, by name: before that of one of them, who else is alive is not known.
   * One that joins itself knows no more than we do.
   */
  readonly #synced = new Map<string, number>()
  /** The link over which a table was asked for. */
  #askedLink: number | undefined
  #seeds: BootstrapInput = { type: 'seeds', seeds: [], isPending: false }
  #effects: MembershipEffect[] = []
  #nowMs = 0

  /** @throws {RangeError} if an option is out of range. */
  constructor(options: MembershipOptions) {
    const checked = checkMembershipOptions(options)
    const { self, random } = checked
    this.#self = self
    this.#holdAfterMs = checked.holdAfterMs
    this.#swim = new SwimCore({ ...checked.swim, self, random: random.fork('swim') })
    this.#links = new LinkCore({
      self,
      random: random.fork('links'),
      membersMax: checked.membersMax,
      known: (name) => this.#knownLife(name),
      sizes: () => this.#sizes(),
    })
    this.#downing = new DowningCore(checked.downing)
    this.#bootstrap = new BootstrapCore(checked.bootstrap)
    this.#view = makeView(this.#swim.table().map(toMember))
  }

  readonly step = (input: MembershipInput, nowMs: number): readonly MembershipEffect[] => {
    const before = this.#nowMs
    this.#nowMs = nowMs
    if (this.#phase === 'running') this.#noticeStall(before)
    this.#take(input)
    if (this.#phase !== 'new' && !this.#isPutOff(input)) this.#settle()
    this.#dueMs = this.#findDeadline()
    const effects = this.#effects
    this.#effects = []
    return effects
  }

  readonly nextDeadlineMs = (): number | undefined => this.#dueMs

  /** How often the whole table was looked at: for tests of what a step costs. */
  readonly settles = (): number => this.#settles

  readonly view = (): View => this.#view

  /** True while this node's side would lose but for what a stall may have kept from it: its actors must not act. */
  readonly isInDoubt = (): boolean => this.#downing.isInDoubt()

  /** Lives that count as lost, though the table has others in their places, or nobody: while this node is held. */
  readonly missed = (): readonly { readonly name: string; readonly incarnation: number }[] => [
    ...this.#missed.values(),
  ]

  readonly known = (name: string): Member | undefined => {
    const record = this.#swim.record(name)
    return record === undefined ? undefined : toMember(record)
  }

  readonly status = (): MembershipStatus => {
    const swim = this.#swim.status()
    const roundTrips = new Map(swim.members.map(({ name, rttMs }) => [name, rttMs]))
    const reports = this.#swim.table().map((record): MemberReport => {
      const used = this.#used.get(record.name)
      return {
        ...toMember(record),
        linkId: used?.linkId,
        epoch: used?.epoch ?? 0,
        roundTripMs: roundTrips.get(record.name),
        isUnreachable: record.kind === 'unreachable',
        cannotReach: record.cannotReach,
      }
    })
    return {
      self: this.#selfMember(),
      viewId: this.#view.viewId,
      members: reports.filter(({ name }) => name !== this.#self.name),
      swim,
      links: this.#links.status(),
      downing: this.#downing.status(),
      bootstrap: this.#bootstrap.status(),
    }
  }

  // ---- inputs

  #take(input: MembershipInput): void {
    switch (input.type) {
      case 'started':
        if (this.#phase !== 'new') return
        this.#phase = 'running'
        this.#isTableStale = true
        // SWIM takes no phase before it has started, and who has nobody to wait for founds at once.
        this.#stepSwim({ type: 'started' })
        // What it may wait for before it founds anything comes before who is there.
        this.#stepBootstrap(this.#seeds)
        this.#stepLinks({ type: 'started' })
        return
      case 'tick':
        this.#tick()
        return
      case 'link-established':
        this.#peers.set(input.linkId, factsOf(input))
        if (input.dialledByUs) this.#dialled(input.dialledAddress ?? input.address, true, input.name)
        this.#stepLinks(input)
        return
      case 'link-closed':
        this.#peers.delete(input.linkId)
        this.#stepLinks(input)
        return
      case 'dial-failed':
        this.#dialled(input.address, false, input.code)
        this.#stepLinks(input)
        return
      case 'chosen-received':
        this.#stepLinks({ type: 'chosen', linkId: input.linkId })
        return
      case 'gossip-received':
        this.#gossip(input.linkId, input.payload)
        return
      case 'link-active':
        this.#stepLinks({ type: 'busy', linkId: input.linkId })
        return
      case 'goodbye-received':
        this.#goodbye(input.linkId)
        return
      case 'seeds-found':
        this.#stepLinks({ type: 'seeds', addresses: input.addresses })
        this.#seeds = { type: 'seeds', seeds: input.addresses, isPending: input.isPending }
        this.#stepBootstrap(this.#seeds)
        return
      case 'lease-result':
        this.#stepDowning({ type: 'lease', granted: input.granted })
        return
      case 'lease-lost':
        this.#stepDowning({ type: 'lease-lost' })
        return
      case 'held':
        this.#isHeld = true
        return
      case 'released':
        this.#isHeld = false
        if (this.#missed.size === 0) return
        this.#missed.clear()
        this.#isTableStale = true
        return
      case 'drain':
        if (this.#phase !== 'running') return
        this.#isDraining = true
        this.#stepSwim({ type: 'set-phase', phase: 'leaving' })
        return
      case 'leave':
        this.#leave()
        return
      default:
        unreachable(input)
    }
  }

  #tick(): void {
    this.#stepLinks({ type: 'tick' })
    this.#stepSwim({ type: 'tick' })
    this.#stepDowning({ type: 'tick' })
    this.#stepBootstrap({ type: 'tick' })
  }

  #gossip(linkId: number, payload: unknown): void {
    const peer = this.#peers.get(linkId)
    if (peer === undefined) return
    const message = readSwimMessage(payload)
    if (typeof message === 'string') {
      this.#effects.push({ type: 'bad-gossip', linkId, problem: message })
      return
    }
    const { name: from, incarnation } = peer
    this.#stepSwim({ type: 'received', from, incarnation, message: this.#withoutEarlyEnds(message, peer) })
    if (!this.#isJoining() || this.#synced.get(from) === incarnation) return
    const isWhole = message.type === 'push-pull' && message.isLast
    const isSame = message.type === 'sync' && message.digest === this.#swim.digest()
    const record = this.#swim.record(from)
    if (!(isWhole || isSame) || record?.incarnation !== incarnation || record.phase !== 'alive') return
    this.#synced.set(from, incarnation)
    this.#isTableStale = true
  }

  /**
   * That a member has left, or that one that leaves is back already, heard before its own good-bye: gossip is quicker than
   * what it still has to say on other lanes, such as its last answers. As long as its link stands that comes first.
   */
  #withoutEarlyEnds(message: SwimMessage, by: MemberFacts): SwimMessage {
    const early = new Set<MemberRecord>()
    for (const record of message.records) {
      const { name, incarnation, kind } = record
      const used = this.#used.get(name)
      if (used === undefined || used.incarnation > incarnation) continue
      if (used.incarnation === incarnation) {
        if (kind !== 'left') continue
        this.#leavers.set(name, incarnation)
      } else {
        if (!this.#isLeaving(name, used.incarnation)) continue
        this.#heralds.set(name, { incarnation: used.incarnation, by })
      }
      early.add(record)
    }
    if (early.size === 0) return message
    return { ...message, records: message.records.filter((record) => !early.has(record)) }
  }

  #isLeaving(name: string, incarnation: number): boolean {
    const record = this.#swim.record(name)
    const isTold = record?.incarnation === incarnation && record.phase === 'leaving'
    return isTold || this.#leavers.get(name) === incarnation
  }

  /** Its link is gone, or it does not answer any more: there is no good-bye to wait for. */
  #endLeaver(name: string, incarnation: number): void {
    if (this.#leavers.get(name) !== incarnation) return
    this.#leavers.delete(name)
    this.#stepSwim({ type: 'goodbye', name, incarnation })
  }

  /** What was said of the life behind it was put aside: it is asked for again. */
  #meetNext(name: string, incarnation: number): void {
    const herald = this.#heralds.get(name)
    if (herald?.incarnation !== incarnation) return
    this.#heralds.delete(name)
    this.#stepSwim({ type: 'ask-table', name: herald.by.name, incarnation: herald.by.incarnation })
  }

  /** Its word is final: what it still had to say came before it on the same link. */
  #goodbye(linkId: number): void {
    const peer = this.#peers.get(linkId)
    if (peer === undefined) return
    this.#stepSwim({ type: 'goodbye', name: peer.name, incarnation: peer.incarnation })
    this.#stepLinks({ type: 'goodbye', linkId })
  }

  #leave(): void {
    if (this.#phase !== 'running') return
    this.#stepSwim({ type: 'leave' })
    for (const { linkId } of this.#used.values()) this.#effects.push({ type: 'send-goodbye', linkId })
    this.#stepLinks({ type: 'leave' })
    this.#phase = 'over'
    this.#isTableStale = true
  }

  #dialled(address: NodeAddress, ok: boolean, who: string): void {
    this.#stepBootstrap(
      ok
        ? { type: 'dial-result', address, ok: true, name: who }
        : { type: 'dial-result', address, ok: false, code: who },
    )
  }

  // ---- the cores, and what they say

  #stepLinks(input: LinkInput): void {
    // What SWIM sends first goes behind the word that this link is the one: the answer needs a link as well.
    const sends: SwimEffect[] = []
    for (const effect of this.#links.step(input, this.#nowMs)) this.#carryLinkEffect(effect, sends)
    for (const send of sends) this.#carrySwimEffect(send)
  }

  #carryLinkEffect(effect: LinkEffect, sends: SwimEffect[]): void {
    switch (effect.type) {
      case 'dial':
        this.#effects.push(effect)
        return
      case 'close-link':
        this.#peers.delete(effect.linkId)
        this.#effects.push(effect)
        return
      case 'mute-link':
        this.#effects.push(effect)
        return
      case 'choose':
        this.#effects.push({ type: 'send-chosen', linkId: effect.linkId })
        return
      case 'met':
        // Told to SWIM with the link that it can use: what it sends first goes over that.
        return
      case 'use-link': {
        const { name, incarnation, linkId, epoch } = effect
        const peer = this.#peers.get(linkId)
        this.#used.set(name, { linkId, incarnation, epoch })
        this.#linksChanged()
        // The member comes before its link, and what is sent on the link behind it.
        for (const said of peer === undefined ? [] : this.#swim.step({ type: 'linked', peer }, this.#nowMs)) {
          if (said.type === 'send') sends.push(said)
          else this.#carrySwimEffect(said)
        }
        this.#effects.push(effect)
        return
      }
      case 'lost-link':
        this.#used.delete(effect.name)
        this.#isTableStale = true
        this.#effects.push(effect)
        return
      case 'link-lost':
        this.#endLeaver(effect.name, effect.incarnation)
        if (effect.reason !== 'idle') {
          this.#stepSwim({ type: 'unlinked', name: effect.name, incarnation: effect.incarnation })
        }
        this.#meetNext(effect.name, effect.incarnation)
        return
      case 'refused':
        this.#stepSwim({ type: 'refused', name: effect.name, incarnation: effect.incarnation })
        return
      case 'name-taken':
        this.#effects.push({ type: 'name-conflict', name: effect.name, addresses: effect.addresses })
        return
      case 'self-removed':
        this.#removed(effect.by, 'it was given up')
        return
      default:
        effect satisfies never
    }
  }

  #stepSwim(input: SwimInput): void {
    for (const effect of this.#swim.step(input, this.#nowMs)) this.#carrySwimEffect(effect)
  }

  #carrySwimEffect(effect: SwimEffect): void {
    switch (effect.type) {
      case 'send': {
        const used = this.#used.get(effect.to)
        if (used !== undefined) {
          const payload = writeSwimMessage(effect.message)
          this.#effects.push({ type: 'send-gossip', linkId: used.linkId, payload })
        } else if (this.#mesh === 'on-demand') {
          // What could not be sent is lost, as a datagram is; the next one finds a link.
          this.#want(effect.to)
        }
        return
      }
      case 'link-dead':
        this.#stepLinks(effect)
        return
      case 'silence-changed':
        this.#isTableStale = true
        return
      case 'member-joined': {
        const member = toMember(effect.member)
        this.#isTableStale = true
        this.#effects.push({ type: 'member-joined', member })
        this.#phases.set(member.name, 'joining')
        this.#changed(effect.member)
        if (this.#mesh === 'full') this.#want(member.name)
        return
      }
      case 'member-changed':
        this.#isTableStale = true
        this.#changed(effect.member)
        return
      case 'member-suspected': {
        const { name, incarnation } = effect.member
        this.#isTableStale = true
        this.#effects.push({
          type: 'member-suspected',
          name,
          incarnation,
          reason: effect.reason,
          by: effect.by,
        })
        return
      }
      case 'member-unreachable':
      case 'member-recovered': {
        const { name, incarnation } = effect.member
        this.#isTableStale = true
        this.#effects.push({ type: effect.type, name, incarnation })
        return
      }
      case 'member-down': {
        const { name, incarnation } = effect.member
        const { reason, by = this.#self.name } = effect
        this.#isTableStale = true
        const code = reason === 'replaced' ? 'CLUSTER_MEMBER_REPLACED' : 'CLUSTER_MEMBER_SILENT'
        // It was back before its good-bye had come: it left, others have said so.
        const hasLeft = reason === 'replaced' && this.#leavers.get(name) === incarnation
        this.#leavers.delete(name)
        this.#stepLinks({ type: 'ended', name, incarnation, code })
        this.#phases.delete(name)
        if (!hasLeft && (reason === 'replaced' || reason === 'refused')) this.#miss(effect.member)
        this.#effects.push(
          hasLeft
            ? { type: 'member-left', name, incarnation }
            : { type: 'member-down', name, incarnation, reason, by },
        )
        this.#meetNext(name, incarnation)
        return
      }
      case 'member-left': {
        const { name, incarnation } = effect.member
        this.#isTableStale = true
        this.#stepLinks({ type: 'ended', name, incarnation, code: 'CLUSTER_MEMBER_LEFT' })
        this.#phases.delete(name)
        this.#leavers.delete(name)
        this.#effects.push({ type: 'member-left', name, incarnation })
        this.#meetNext(name, incarnation)
        return
      }
      case 'self-removed':
        this.#removed(effect.by, 'the others gave it up')
        return
      case 'name-conflict':
        this.#effects.push({ type: 'name-conflict', name: effect.name, addresses: effect.addresses })
        if (effect.name === this.#self.name && mustYield(effect)) this.#yield(effect.addresses[1])
        return
      default:
        effect satisfies never
    }
  }

  /** Another life has our name: this one says good-bye, so that those who know only it can take the other. */
  #yield(address: NodeAddress): void {
    if (this.#phase !== 'running') return
    this.#leave()
    // The phase is over, but not as a leave is: another life follows.
    this.#isRemoved = true
    this.#effects.push({ type: 'self-removed', by: address, reason: nameConflictReason })
  }

  #miss(record: MemberRecord): void {
    if (!this.#isHeld || record.phase !== 'alive') return
    const { name, incarnation, address, roles } = record
    this.#missed.set(`${name} ${incarnation}`, {
      ...{ name, incarnation, address, roles, status: 'alive', isSelf: false },
      ...{ reachable: false, suspected: true, cannotReach: [] },
    })
  }

  /** What a member now says of itself: told once for each phase, whether it is doubted or not. */
  #changed(record: MemberRecord): void {
    const { name, incarnation, phase } = record
    const before = this.#phases.get(name) ?? 'joining'
    if (phase === before) return
    this.#phases.set(name, phase)
    if (phase === 'alive') this.#effects.push({ type: 'member-up', member: toMember(record) })
    else if (phase === 'leaving') this.#effects.push({ type: 'member-leaving', name, incarnation })
  }

  #stepDowning(input: DowningInput): void {
    if (this.#phase !== 'running') return
    for (const effect of this.#downing.step(input, this.#nowMs)) {
      switch (effect.type) {
        case 'down':
          for (const { name, incarnation } of effect.members) {
            if (this.#missed.delete(`${name} ${incarnation}`)) this.#isTableStale = true
            this.#stepSwim({ type: 'remove', name, incarnation, reason: effect.reason })
          }
          break
        case 'down-self':
          this.#removed('downing', effect.reason)
          break
        case 'decided':
          this.#effects.push({ ...effect, type: 'downing-decided' })
          break
        case 'quorum-unsafe':
        case 'acquire-lease':
        case 'release-lease':
          this.#effects.push(effect)
          break
        default:
          effect satisfies never
      }
    }
  }

  #stepBootstrap(input: BootstrapInput): void {
    // Who leaves before it has come takes no part any more.
    if (this.#phase !== 'running' || this.#isDraining) return
    for (const { how, with: others } of this.#bootstrap.step(input, this.#nowMs)) {
      this.#effects.push({ type: 'self-up', how, with: others })
      this.#stepSwim({ type: 'set-phase', phase: 'alive' })
    }
  }

  /** Once in the life of this core. Whoever carries it out makes another core, for another life. */
  #removed(by: string, reason: string): void {
    if (this.#isRemoved || this.#phase !== 'running') return
    this.#isRemoved = true
    this.#effects.push({ type: 'self-removed', by, reason })
  }

  #want(name: string): void {
    const record = this.#swim.record(name)
    if (record === undefined || isFinal(record.kind)) return
    const { incarnation, address } = record
    this.#stepLinks({ type: 'want', name, incarnation, address })
  }

  // ---- what follows from a changed table

  /** What others say may come in thousands; what this node itself does is told at once. */
  #isPutOff({ type }: MembershipInput): boolean {
    return this.#isTableStale && this.#nowMs < this.#settleAtMs && !ownInputs.has(type)
  }

  /** Tells the others until nobody has anything more to say. Each change of the table comes nearer to its end. */
  #settle(): void {
    while (this.#isTableStale) {
      this.#isTableStale = false
      this.#settles++
      const table = this.#swim.table()
      if (table.length > settleEachMax) this.#settleAtMs = this.#nowMs + table.length * settlePerMemberMs
      this.#useMesh(table)
      this.#stepDowning({ type: 'members', members: this.#downingMembers(table) })
      this.#stepBootstrap({ type: 'members', members: this.#bootstrapMembers(table) })
      if (!this.#isTableStale) this.#renewView(table)
    }
    this.#askForTable()
  }

  /** A member that took part only after it had told us its table is asked for it again: it may have joined others. */
  #askForTable(): void {
    if (!this.#isJoining() || this.#isDraining) return
    // By the links, which are few where members are many: this is asked in every step.
    const linked = [...this.#used.keys()]
      .sort()
      .flatMap((name) => this.#swim.record(name) ?? [])
      .filter((record) => this.#isLinkedAlive(record))
    if (linked.length === 0 || linked.some((record) => this.#isSyncedWith(record))) return
    const links = linked.map(({ name }) => this.#used.get(name)?.linkId)
    if (links.includes(this.#askedLink)) return
    this.#askedLink = links[0]
    for (const { name, incarnation } of linked.slice(0, 1)) {
      this.#stepSwim({ type: 'ask-table', name, incarnation })
    }
  }

  #isJoining(): boolean {
    return this.#phase === 'running' && this.#swim.record(this.#self.name)?.phase === 'joining'
  }

  #isLinkedAlive({ name, incarnation, kind }: MemberRecord): boolean {
    return kind === 'alive' && this.#used.get(name)?.incarnation === incarnation
  }

  #isSyncedWith({ name, incarnation, kind }: MemberRecord): boolean {
    return kind === 'alive' && this.#synced.get(name) === incarnation
  }

  /** In a full mesh the bootstrap waits for links, also with members that were heard of before. */
  #linksChanged(): void {
    if (this.#mesh === 'full') this.#isTableStale = true
  }

  #useMesh(table: readonly MemberRecord[]): void {
    const living = table.reduce((sum, { kind }) => (isFinal(kind) ? sum : sum + 1), 0)
    const mesh = living > fullMeshMax ? 'on-demand' : 'full'
    if (mesh === this.#mesh) return
    this.#mesh = mesh
    this.#stepLinks({ type: 'mesh', mode: mesh })
    if (mesh === 'full') for (const { name } of table) if (name !== this.#self.name) this.#want(name)
  }

  #downingMembers(table: readonly MemberRecord[]): readonly DowningMember[] {
    const known = table
      .filter(({ kind }) => !isFinal(kind))
      .map((record): DowningMember => ({
        name: record.name,
        incarnation: record.incarnation,
        address: record.address,
        status: record.phase,
        reachable: record.kind !== 'unreachable',
        suspected: isDoubted(record.kind) || this.#swim.isSilent(record.name),
        cannotReach: record.cannotReach,
        isSelf: record.name === this.#self.name,
        roles: record.roles,
      }))
    return this.#missed.size === 0 ? known : [...known, ...this.#missed.values()]
  }

  #bootstrapMembers(table: readonly MemberRecord[]): readonly BootstrapMember[] {
    const members: BootstrapMember[] = []
    const isSynced = table.some((record) => this.#isSyncedWith(record))
    for (const { name, kind, phase } of table) {
      if (isFinal(kind) || phase === 'leaving') continue
      const isSelf = name === this.#self.name
      members.push({
        name,
        status: phase,
        isReachable: isSelf || !isDoubted(kind),
        // Whoever joins one that it has met must have met all: they send work here as soon as they hear of it.
        isLinked: isSelf || (isSynced && (this.#mesh === 'on-demand' || this.#used.has(name))),
      })
    }
    return members
  }

  #renewView(table: readonly MemberRecord[]): void {
    const members = table.map(toMember)
    const isLeft = this.#phase === 'over'
    const own = members.map((member) =>
      isLeft && member.name === this.#self.name ? { ...member, status: 'left' as const } : member,
    )
    const view = makeView(own)
    if (view.viewId === this.#view.viewId) return
    this.#view = view
    this.#effects.push({ type: 'view-changed', view, viewId: view.viewId })
  }

  // ---- time

  /**
   * The guard against sleeping through one's own removal. While ticks come in time, each says that actors may act a while
   * longer; one that is late by `holdAfterMs` says that they must not, until others confirm that this life still counts.
   * `before`: when the last step was.
   */
  #noticeStall(before: number): void {
    const nowMs = this.#nowMs
    const isAlone = !this.#view.members.some(
      ({ name, status }) => name !== this.#self.name && status !== 'joining' && isLiving(status),
    )
    if (isAlone) {
      if (this.#actUntilMs === Number.POSITIVE_INFINITY) return
      this.#actUntilMs = Number.POSITIVE_INFINITY
    } else {
      // What is due stays so until its tick: a stall is told once, not with each step in between.
      const lateMs = this.#dueMs === undefined ? 0 : nowMs - Math.max(this.#dueMs, before)
      if (lateMs >= this.#holdAfterMs) {
        // What is in the sockets comes next, before anybody can say so.
        this.#isHeld = true
        this.#effects.push({ type: 'hold', lateMs })
      }
      const isGuarded = this.#actUntilMs !== Number.POSITIVE_INFINITY
      if (isGuarded && nowMs + this.#holdAfterMs / 2 < this.#actUntilMs) return
      this.#actUntilMs = nowMs + this.#holdAfterMs
    }
    this.#effects.push({ type: 'act-until', atMs: this.#actUntilMs })
  }

  #findDeadline(): number | undefined {
    if (this.#phase !== 'running') return undefined
    let dueMs = Number.POSITIVE_INFINITY
    for (const core of [this.#links, this.#swim, this.#downing, this.#bootstrap]) {
      if (core === this.#bootstrap && this.#isDraining) continue
      dueMs = Math.min(dueMs, core.nextDeadlineMs() ?? dueMs)
    }
    if (this.#isTableStale) dueMs = Math.min(dueMs, this.#settleAtMs)
    if (this.#actUntilMs !== Number.POSITIVE_INFINITY) {
      dueMs = Math.min(dueMs, this.#actUntilMs - this.#holdAfterMs / 2)
    }
    return dueMs === Number.POSITIVE_INFINITY ? undefined : dueMs
  }

  // ---- lookups

  #knownLife(name: string): { incarnation: number; address: NodeAddress; isOver: boolean } | undefined {
    const record = this.#swim.record(name)
    if (record === undefined) return undefined
    const { incarnation, address, kind } = record
    return { incarnation, address, isOver: isFinal(kind) }
  }

  #sizes(): { live: number; known: number } {
    let live = 0
    let known = 0
    for (const { kind } of this.#swim.table()) {
      if (kind !== 'left') known++
      if (!isFinal(kind) && !isDoubted(kind)) live++
    }
    return { live, known }
  }

  #selfMember(): Member {
    const record = this.#swim.record(this.#self.name)
    return record === undefined ? { ...this.#self, status: 'joining' } : toMember(record)
  }
}

const ownInputs: ReadonlySet<MembershipInput['type']> = new Set<MembershipInput['type']>([
  'started',
  'seeds-found',
  'lease-result',
  'lease-lost',
  'held',
  'released',
  'drain',
  'leave',
])

/** A record as users see it. */
function toMember(record: MemberRecord): Member {
  const { name, incarnation, address, weight, zone, roles, version, entities } = record
  return {
    name,
    incarnation,
    address,
    status: statusOf(record),
    weight,
    ...(zone === undefined ? {} : { zone }),
    roles,
    version,
    ...(entities === undefined ? {} : { entities }),
  }
}

/** Who owns no places has none to keep while it is doubted: only an alive member becomes `suspect`. */
function statusOf({ kind, phase }: MemberRecord): MemberStatus {
  if (isFinal(kind)) return kind === 'down' ? 'down' : 'left'
  if (phase !== 'alive') return phase
  return isDoubted(kind) ? 'suspect' : 'alive'
}

function factsOf(facts: MemberFacts): MemberFacts {
  const { name, incarnation, address, weight, zone, roles, version } = facts
  return { name, incarnation, address, weight, ...(zone === undefined ? {} : { zone }), roles, version }
}

function unreachable(input: never): never {
  throw new TypeError(
    `Cannot take a membership input of type "${String((input as { readonly type?: unknown }).type)}"`,
  )
}
