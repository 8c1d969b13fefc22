/**
 * Membership from a static list: dial every seed, keep one link to each member, exchange heartbeats, give up
 * who is silent. Each node has its own view; nothing is gossiped.
 *
 * Which of two links stays: the node with the smaller name decides, and says so by its first heartbeat; the
 * other one uses a link only when that heartbeat came on it. So both ends use the same link although they
 * learn of links in different orders, and no message is sent on a link that is about to be closed as a
 * duplicate. The decider prefers its own dial: while that is under way, a link the peer dialled waits for it,
 * at most `settleMs`.
 */
import type { NodeAddress } from '../transport/address.ts'
import { DialPlan } from './dial-plan.ts'
import type { Target } from './dial-plan.ts'
import { deadlineDetector } from './failure-detector.ts'
import type { FailureDetector } from './failure-detector.ts'
import type {
  CloseLinkCode,
  DownReason,
  HeartbeatReceived,
  LinkEstablished,
  Membership,
  MembershipEffect,
  MembershipInput,
  MembershipStatus,
} from './membership.ts'
import { checkStaticOptions } from './static-options.ts'
import type { StaticMembershipOptions } from './static-options.ts'
import { makeView } from './view.ts'
import type { Member, View } from './view.ts'

/** The nobody-listens answer of a transport. */
const DIAL_REFUSED = 'CLUSTER_DIAL_REFUSED'
const STALE = 'CLUSTER_STALE_INCARNATION'

/** A link whose peer is known: waiting to be chosen, in use, or about to be refused. */
interface KnownLink extends LinkEstablished {
  readonly dialledAddress: NodeAddress
  state: 'waiting' | 'used' | 'refusing'
  /** When it was established, and from its use on, when that began. */
  sinceMs: number
  /** With 'refusing': when. */
  refuseAtMs: number
}

interface Peer {
  member: Member
  /** Invariant: `link.state` is 'used', and its name and incarnation are the member's. */
  link: KnownLink | undefined
  epoch: number
  pingSequence: number
  pingAtMs: number
  roundTripMs: number | undefined
}

/**
 * The step machine. See `Membership` for inputs, effects and their order. One step costs O(members), a
 * heartbeat O(1).
 */
export class StaticMembershipCore implements Membership {
  readonly #heartbeatIntervalMs: number
  readonly #settleMs: number
  readonly #membersMax: number
  readonly #detector: FailureDetector

  #self: Member
  #view: View
  readonly #peers = new Map<string, Peer>()
  readonly #links = new Map<number, KnownLink>()
  readonly #plan: DialPlan

  #phase: 'new' | 'running' | 'left' = 'new'
  #wasRemoved = false
  #nextHeartbeatMs = 0
  /**
   * Lower bound of the next deadline, as last told to the shell. Being called later than this is our own
   * stall.
   */
  #dueMs: number | undefined
  #effects: MembershipEffect[] = []
  #isViewStale = false

  /** @throws {RangeError} if an option is out of range. */
  constructor(options: StaticMembershipOptions) {
    const checked = checkStaticOptions(options)
    this.#heartbeatIntervalMs = checked.heartbeatIntervalMs
    this.#settleMs = checked.settleMs
    this.#membersMax = checked.membersMax
    this.#detector = options.detector ?? deadlineDetector(checked)
    const { name, incarnation, address, weight, zone } = options.self
    this.#self = makeMember({ name, incarnation, address, weight: weight ?? 1, zone }, 'alive')
    this.#view = makeView([this.#self])
    this.#plan = new DialPlan(
      options.seeds.filter((seed) => seed !== address),
      checked.backoff,
      options.random,
    )
  }

  readonly step = (input: MembershipInput, nowMs: number): readonly MembershipEffect[] => {
    if (this.#dueMs !== undefined) this.#detector.ran(this.#dueMs, nowMs)
    const needsSweep = this.#take(input, nowMs)
    if (needsSweep && this.#phase === 'running') this.#sweep(nowMs)
    if (needsSweep || this.#isViewStale) this.#dueMs = this.#findDeadline()
    if (this.#isViewStale) this.#renewView()
    const effects = this.#effects
    this.#effects = []
    return effects
  }

  readonly nextDeadlineMs = (): number | undefined => this.#dueMs
  readonly view = (): View => this.#view

  readonly status = (): MembershipStatus => ({
    self: this.#self,
    viewId: this.#view.viewId,
    members: [...this.#peers.values()]
      .map((peer) => ({
        ...peer.member,
        linkId: peer.link?.linkId,
        epoch: peer.epoch,
        roundTripMs: peer.roundTripMs,
      }))
      .sort((a, b) => (a.name < b.name ? -1 : 1)),
    seeds: this.#plan.status(),
  })

  // ---- inputs

  /** Takes the input. True when deadlines may have come nearer, or something may have to be dialled. */
  #take(input: MembershipInput, nowMs: number): boolean {
    switch (input.type) {
      case 'started':
        if (this.#phase !== 'new') return false
        this.#phase = 'running'
        this.#nextHeartbeatMs = nowMs + this.#heartbeatIntervalMs
        this.#plan.start(nowMs)
        return true
      case 'tick':
        return true
      case 'link-established':
        this.#establish(input, nowMs)
        return true
      case 'link-closed':
        this.#linkClosed(input.linkId, input.reason.code, nowMs)
        return true
      case 'dial-failed':
        this.#dialFailed(input.address, input.code, nowMs)
        return true
      case 'heartbeat-received':
        return this.#heartbeat(input, nowMs)
      case 'link-active': {
        const link = this.#links.get(input.linkId)
        if (link?.state === 'used') this.#detector.heard(link.name, nowMs)
        return false
      }
      case 'goodbye-received':
        this.#goodbye(input.linkId, nowMs)
        return true
      case 'leave':
        this.#leave()
        return true
      default:
        return unreachable(input)
    }
  }

  #establish(input: LinkEstablished, nowMs: number): void {
    const link: KnownLink = {
      ...input,
      dialledAddress: input.dialledAddress ?? input.address,
      state: 'waiting',
      sinceMs: nowMs,
      refuseAtMs: 0,
    }
    const target = link.dialledByUs ? this.#plan.dialled(link.dialledAddress, nowMs) : undefined
    if (this.#phase !== 'running') {
      this.#effects.push({ type: 'close-link', linkId: link.linkId, code: 'CLUSTER_NODE_LEFT' })
      return
    }
    if (link.name === this.#self.name) {
      this.#refuseOwnName(link, target)
      return
    }
    if (target !== undefined) {
      target.name = link.name
      target.incarnation = link.incarnation
    }
    const refusal = this.#judge(link)
    if (refusal === STALE) {
      this.#links.set(link.linkId, link)
      this.#refuseStale(link, nowMs)
      return
    }
    if (refusal !== undefined) {
      this.#effects.push({ type: 'close-link', linkId: link.linkId, code: refusal })
      return
    }
    const peer = this.#peers.get(link.name)
    if (peer !== undefined && link.incarnation > peer.member.incarnation && isLive(peer.member)) {
      this.#down(peer, 'replaced', nowMs)
    }
    for (const other of this.#links.values()) {
      if (other.name === link.name && other.incarnation < link.incarnation)
        this.#close(other, 'CLUSTER_MEMBER_REPLACED')
    }
    this.#links.set(link.linkId, link)
    this.#detector.heard(linkKey(link), nowMs)
    this.#choose(link, nowMs)
  }

  /** Our own name at the other end: either ourselves, or somebody who must not have it. */
  #refuseOwnName(link: KnownLink, target: Target | undefined): void {
    const isSelf = link.incarnation === this.#self.incarnation && link.address === this.#self.address
    if (isSelf && target !== undefined) this.#plan.drop(target.address)
    const code = isSelf ? 'CLUSTER_SELF_LINK' : 'CLUSTER_NODE_NAME_TAKEN'
    this.#effects.push({ type: 'close-link', linkId: link.linkId, code })
  }

  /** Why a link may not be, or undefined. */
  #judge(link: KnownLink): CloseLinkCode | undefined {
    const member = this.#peers.get(link.name)?.member
    if (member !== undefined) {
      if (link.incarnation < member.incarnation) return STALE
      if (link.incarnation === member.incarnation && !isLive(member)) return STALE
      if (isLive(member) && link.address !== member.address) return 'CLUSTER_NODE_NAME_TAKEN'
    } else if (this.#peers.size >= this.#membersMax && !this.#hasForgettable()) {
      return 'CLUSTER_MEMBERS_MAX'
    }
    for (const other of this.#links.values()) {
      if (other.name !== link.name || other.state !== 'waiting') continue
      if (link.incarnation < other.incarnation) return STALE
      if (link.incarnation === other.incarnation && link.address !== other.address)
        return 'CLUSTER_NODE_NAME_TAKEN'
    }
    // Links that wait cannot pile up either: two for each member is more than any honest set of nodes needs.
    return this.#links.size >= 2 * this.#membersMax + 2 ? 'CLUSTER_MEMBERS_MAX' : undefined
  }

  /**
   * We gave this incarnation up; it must learn so and come back as a new one. After a partition both sides
   * have given each other up, and if both closed at once neither would hear the other's refusal. So refusals
   * are staggered: who still sees most of the members speaks first, then the smaller name; the other one
   * hears it and yields.
   */
  #refuseStale(link: KnownLink, nowMs: number): void {
    let live = 1
    let known = 1
    for (const { member } of this.#peers.values()) {
      if (isLive(member)) live++
      if (member.status !== 'left') known++
    }
    const isMinority = live * 2 <= known
    const steps = (isMinority ? 2 : 0) + (this.#isDecider(link.name) ? 0 : 1)
    link.state = 'refusing'
    link.refuseAtMs = nowMs + steps * this.#settleMs
  }

  #linkClosed(linkId: number, code: string, nowMs: number): void {
    const link = this.#links.get(linkId)
    if (link === undefined) return
    this.#forgetLink(link)
    if (code === STALE) this.#selfRemoved(link.name)
    const peer = this.#peers.get(link.name)
    if (peer === undefined || peer.link !== link) return
    this.#dropLink(peer)
    const waiting = this.#isDecider(link.name) ? this.#findWaiting(link.name) : undefined
    if (waiting !== undefined) {
      this.#use(waiting, nowMs)
      return
    }
    peer.member = { ...peer.member, status: 'suspect' }
    this.#isViewStale = true
    this.#effects.push({
      type: 'member-suspected',
      name: link.name,
      incarnation: link.incarnation,
      reason: 'link-lost',
    })
    this.#plan.lost(link.name, nowMs - link.sinceMs, nowMs)
  }

  #dialFailed(address: NodeAddress, code: string, nowMs: number): void {
    const target = this.#plan.dialled(address, nowMs)
    if (code === STALE) this.#selfRemoved(target?.name ?? address)
    if (target === undefined) return
    for (const link of this.#links.values()) this.#choose(link, nowMs)
    if (code !== DIAL_REFUSED || target.name === undefined) return
    const peer = this.#peers.get(target.name)
    if (peer === undefined || peer.member.status !== 'suspect' || this.#hasLink(target.name)) return
    // The refusal speaks of this address: it counts only if this incarnation lives there.
    if (peer.member.address === address || target.incarnation === peer.member.incarnation) {
      this.#down(peer, 'refused', nowMs)
    }
  }

  #heartbeat(input: HeartbeatReceived, nowMs: number): boolean {
    const link = this.#links.get(input.linkId)
    if (link === undefined || this.#phase !== 'running') return false
    let isChosen = false
    if (link.state === 'waiting' && input.kind === 'ping' && !this.#isDecider(link.name)) {
      this.#use(link, nowMs)
      isChosen = true
    }
    const peer = this.#peers.get(link.name)
    if (peer === undefined || peer.link !== link) return isChosen
    this.#detector.heard(link.name, nowMs)
    if (input.kind === 'ping') {
      this.#effects.push({
        type: 'send-heartbeat',
        linkId: link.linkId,
        sequence: input.sequence,
        kind: 'pong',
      })
    } else if (input.sequence === peer.pingSequence) {
      peer.roundTripMs = nowMs - peer.pingAtMs
    }
    return isChosen
  }

  #goodbye(linkId: number, nowMs: number): void {
    const link = this.#links.get(linkId)
    if (link === undefined) return
    const peer = this.#peers.get(link.name)
    if (peer === undefined || peer.member.incarnation !== link.incarnation || !isLive(peer.member)) {
      this.#close(link, 'CLUSTER_MEMBER_LEFT')
      return
    }
    this.#dropLink(peer)
    this.#endMember(peer, 'left', 'CLUSTER_MEMBER_LEFT', nowMs)
    this.#effects.push({ type: 'member-left', name: link.name, incarnation: link.incarnation })
  }

  #leave(): void {
    if (this.#phase === 'left') return
    this.#phase = 'left'
    for (const peer of this.#peers.values()) {
      if (peer.link !== undefined) this.#effects.push({ type: 'send-goodbye', linkId: peer.link.linkId })
      this.#dropLink(peer)
    }
    for (const link of this.#links.values()) this.#close(link, 'CLUSTER_NODE_LEFT')
    this.#self = { ...this.#self, status: 'left' }
    this.#isViewStale = true
  }

  // ---- links

  /** True when we say which link to that node is used. Names differ, so exactly one of two nodes says so. */
  #isDecider(name: string): boolean {
    return this.#self.name < name
  }

  /** The decider's choice when a link came, or when a dial that it waited for came to nothing. */
  #choose(link: KnownLink, nowMs: number): void {
    if (link.state !== 'waiting' || !this.#isDecider(link.name)) return
    const used = this.#peers.get(link.name)?.link
    if (used === undefined) {
      if (link.dialledByUs || !this.#plan.isDiallingTo(link)) this.#use(link, nowMs)
    } else if (link.dialledByUs || used.dialledByUs) {
      this.#close(link, 'CLUSTER_DUPLICATE_LINK')
      // If the peer dialled because the link in use is dead, writing on it finds out sooner than waiting.
      const peer = this.#peers.get(link.name)
      if (peer !== undefined) this.#ping(peer, nowMs)
    } else {
      // The peer dialled both, and knows best which of its own is gone.
      this.#use(link, nowMs)
    }
  }

  #use(link: KnownLink, nowMs: number): void {
    let peer = this.#peers.get(link.name)
    if (peer === undefined || peer.member.incarnation !== link.incarnation) {
      this.#peers.delete(link.name)
      if (this.#peers.size >= this.#membersMax) this.#forgetOldest()
      peer = {
        member: makeMember(link, 'alive'),
        link: undefined,
        epoch: 0,
        pingSequence: 0,
        pingAtMs: nowMs,
        roundTripMs: undefined,
      }
      this.#peers.set(link.name, peer)
      this.#isViewStale = true
      this.#effects.push({ type: 'member-up', member: peer.member })
    } else {
      const old = peer.link
      this.#dropLink(peer)
      if (old !== undefined) this.#close(old, 'CLUSTER_DUPLICATE_LINK')
      if (peer.member.status === 'suspect') {
        peer.member = { ...peer.member, status: 'alive' }
        this.#isViewStale = true
        this.#effects.push({ type: 'member-recovered', name: link.name, incarnation: link.incarnation })
      }
    }
    link.state = 'used'
    link.sinceMs = nowMs
    peer.link = link
    peer.epoch++
    this.#detector.forget(linkKey(link))
    this.#detector.heard(link.name, nowMs)
    this.#plan.learn(link)
    this.#effects.push({
      type: 'use-link',
      name: link.name,
      incarnation: link.incarnation,
      linkId: link.linkId,
      epoch: peer.epoch,
    })
    if (!this.#isDecider(link.name)) return
    this.#ping(peer, nowMs)
    for (const other of this.#links.values()) {
      if (other.name === link.name && other.state === 'waiting') this.#close(other, 'CLUSTER_DUPLICATE_LINK')
    }
  }

  #ping(peer: Peer, nowMs: number): void {
    if (peer.link === undefined) return
    peer.pingSequence++
    peer.pingAtMs = nowMs
    this.#effects.push({
      type: 'send-heartbeat',
      linkId: peer.link.linkId,
      sequence: peer.pingSequence,
      kind: 'ping',
    })
  }

  #dropLink(peer: Peer): void {
    if (peer.link === undefined) return
    const { name, incarnation } = peer.member
    peer.link = undefined
    this.#effects.push({ type: 'lost-link', name, incarnation, epoch: peer.epoch })
  }

  #close(link: KnownLink, code: CloseLinkCode): void {
    this.#forgetLink(link)
    const highest = code === STALE ? this.#peers.get(link.name)?.member.incarnation : undefined
    this.#effects.push({
      type: 'close-link',
      linkId: link.linkId,
      code,
      ...(highest === undefined ? {} : { highestIncarnation: highest }),
    })
  }

  #forgetLink(link: KnownLink): void {
    this.#links.delete(link.linkId)
    this.#detector.forget(linkKey(link))
  }

  #findWaiting(name: string): KnownLink | undefined {
    for (const link of this.#links.values()) if (link.name === name && link.state === 'waiting') return link
    return undefined
  }

  #hasLink(name: string): boolean {
    for (const link of this.#links.values()) if (link.name === name) return true
    return false
  }

  // ---- members

  #down(peer: Peer, reason: DownReason, nowMs: number): void {
    const { name, incarnation } = peer.member
    const code = reason === 'replaced' ? 'CLUSTER_MEMBER_REPLACED' : 'CLUSTER_MEMBER_SILENT'
    this.#dropLink(peer)
    this.#endMember(peer, 'down', code, nowMs)
    this.#effects.push({ type: 'member-down', name, incarnation, reason })
  }

  /** The end of a member incarnation: none of its links stays. */
  #endMember(peer: Peer, status: 'down' | 'left', code: CloseLinkCode, nowMs: number): void {
    const { name, incarnation } = peer.member
    for (const link of this.#links.values()) {
      if (link.name === name && link.incarnation === incarnation) this.#close(link, code)
    }
    peer.member = { ...peer.member, status }
    this.#isViewStale = true
    this.#detector.forget(name)
    // Behind all others, so that the one that ended first is the first to be forgotten.
    this.#peers.delete(name)
    this.#peers.set(name, peer)
    this.#plan.ended(name, nowMs)
  }

  #hasForgettable(): boolean {
    for (const { member } of this.#peers.values()) if (!isLive(member)) return true
    return false
  }

  #forgetOldest(): void {
    for (const [name, { member }] of this.#peers) {
      if (isLive(member)) continue
      this.#peers.delete(name)
      return
    }
  }

  #selfRemoved(by: string): void {
    if (this.#wasRemoved || this.#phase !== 'running') return
    this.#wasRemoved = true
    this.#effects.push({ type: 'self-removed', by })
  }

  #renewView(): void {
    this.#isViewStale = false
    const members = [...this.#peers.values()].map((peer) => peer.member)
    const view = makeView([this.#self, ...members])
    if (view.viewId === this.#view.viewId) return
    this.#view = view
    this.#effects.push({ type: 'view-changed', view, viewId: view.viewId })
  }

  // ---- time

  #sweep(nowMs: number): void {
    for (const peer of this.#peers.values()) {
      if (isLive(peer.member) && this.#detector.suspicion(peer.member.name, nowMs) >= 1) {
        this.#down(peer, peer.link === undefined ? 'unreachable' : 'silent', nowMs)
      }
    }
    for (const link of this.#links.values()) this.#sweepLink(link, nowMs)
    if (nowMs >= this.#nextHeartbeatMs) {
      // From now, not from when it was due: after a stall one heartbeat is as good as twenty.
      this.#nextHeartbeatMs = nowMs + this.#heartbeatIntervalMs
      for (const peer of this.#peers.values()) this.#ping(peer, nowMs)
    }
    for (const address of this.#plan.takeDue(this.#links.values(), nowMs))
      this.#effects.push({ type: 'dial', address })
  }

  #sweepLink(link: KnownLink, nowMs: number): void {
    if (link.state === 'refusing') {
      if (nowMs >= link.refuseAtMs) this.#close(link, STALE)
    } else if (link.state === 'waiting') {
      if (this.#isDecider(link.name)) {
        // An earlier one of this round may have been chosen, which closed this one.
        if (nowMs >= link.sinceMs + this.#settleMs && this.#links.has(link.linkId)) this.#use(link, nowMs)
      } else if (this.#detector.suspicion(linkKey(link), nowMs) >= 1) {
        this.#close(link, 'CLUSTER_MEMBER_SILENT')
      }
    }
  }

  #findDeadline(): number | undefined {
    if (this.#phase !== 'running') return undefined
    let dueMs = this.#nextHeartbeatMs
    for (const { member } of this.#peers.values()) {
      if (isLive(member)) dueMs = Math.min(dueMs, this.#detector.deadlineMs(member.name) ?? dueMs)
    }
    for (const link of this.#links.values()) {
      if (link.state === 'refusing') dueMs = Math.min(dueMs, link.refuseAtMs)
      if (link.state !== 'waiting') continue
      const giveUpMs = this.#isDecider(link.name)
        ? link.sinceMs + this.#settleMs
        : this.#detector.deadlineMs(linkKey(link))
      dueMs = Math.min(dueMs, giveUpMs ?? dueMs)
    }
    return Math.min(dueMs, this.#plan.nextDialMs(this.#links.values()))
  }
}

function makeMember(
  from: {
    readonly name: string
    readonly incarnation: number
    readonly address: NodeAddress
    readonly weight: number
    readonly zone?: string | undefined
  },
  status: 'alive',
): Member {
  const { name, incarnation, address, weight, zone } = from
  return { name, incarnation, address, status, weight, roles: [], version: '', ...(zone === undefined ? {} : { zone }) }
}

function isLive(member: Member): boolean {
  return member.status === 'alive' || member.status === 'suspect'
}

/** A link that waits is watched by the same detector as members are; no name begins with this character. */
function linkKey(link: KnownLink): string {
  return `\u0000${link.linkId}`
}

function unreachable(input: never): never {
  throw new TypeError(
    `Cannot take a membership input of type "${String((input as { readonly type?: unknown }).type)}"`,
  )
}
