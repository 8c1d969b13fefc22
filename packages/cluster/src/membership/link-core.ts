/**
 * The control links of a node, one to each member or one where it is needed: dials, settles which of two links stays, refuses
 * who may not be. Whether a member lives is not judged here; what is known of that is asked (`known`) and told (`ended`).
 *
 * Which of two links stays: the node with the smaller name decides, and says so by `choose`; the other one uses a link only
 * when it was told. So both ends use the same link although they learn of links in different orders, and no message is sent
 * on a link that is about to be closed as a duplicate. The decider prefers its own dial: while that is under way, a link the
 * peer dialled waits for it, at most `settleMs`.
 */
import type { Core } from '@understudy/runtime/internal'
import type { NodeAddress } from '../transport/address.ts'
import { DialPlan, dialLimits } from './dial-plan.ts'
import type { DialReport, Target } from './dial-plan.ts'
import { checkLinkOptions } from './link-options.ts'
import type { CheckedLinkOptions, KnownLife, LinkOptions } from './link-options.ts'
import type {
  CloseLinkCode,
  LinkEffect,
  LinkEstablished,
  LinkInput,
  LinkLostReason,
  MeshMode,
} from './link-step.ts'
import { LinkTable } from './link-table.ts'
import type { KnownLink, LifePlace, LinkPeer } from './link-table.ts'
import type { MemberFacts } from './member-table.ts'

/** The nobody-listens answer of a transport. */
const DIAL_REFUSED = 'CLUSTER_DIAL_REFUSED'
const STALE = 'CLUSTER_STALE_INCARNATION'
const NAME_TAKEN = 'CLUSTER_NODE_NAME_TAKEN'
const IDLE = 'CLUSTER_LINK_IDLE'

/**
 * On demand: with fewer links than this a node dials seeds, and so many that it dialled to seeds it keeps, used or not, so
 * that it hears and is heard.
 */
const linksKept = 3
/** Names and addresses of conflicts that are remembered, so that each is told once. */
const conflictsMax = 256
/** A tick that is later than this says that the process stood still. */
const stallMs = 100
/** Links in a row that a peer dials although one stands, before we believe that it has lost that one. */
const duplicatesMax = 3

/** The link that is used to a member. */
export interface LinkInUse {
  readonly linkId: number
  readonly incarnation: number
  readonly epoch: number
  readonly dialledByUs: boolean
}

/** Plain data for the CLI, logs and tests. */
export interface LinkStatus {
  readonly mesh: MeshMode
  /** Members that are known here and not over, sorted by name. */
  readonly peers: readonly LinkPeerReport[]
  /** Links that wait to be chosen, and that wait to be refused. */
  readonly waiting: number
  readonly refusing: number
  readonly dials: readonly DialReport[]
}

export interface LinkPeerReport {
  readonly name: string
  readonly incarnation: number
  /** The link that is used, if any. */
  readonly linkId?: number | undefined
  readonly dialledByUs?: boolean | undefined
  readonly epoch: number
}

/**
 * The step machine. See `LinkInput` and `LinkEffect` for inputs, effects and their order. A `chosen`, a `busy` and a
 * `want` of a member that is linked cost O(1), a `want` and an `ended` of members without links too while as many dials are
 * under way as may be, or nothing is due; every other step costs O(links + addresses).
 */
export class LinkCore implements Core<LinkInput, LinkEffect, LinkStatus> {
  readonly #self: MemberFacts
  readonly #known: LinkOptions['known']
  readonly #sizes: LinkOptions['sizes']
  readonly #checked: CheckedLinkOptions
  readonly #table: LinkTable
  readonly #plan: DialPlan
  /** Who was told to have a name that is taken: the addresses, by name. */
  readonly #conflicts = new Map<string, Set<NodeAddress>>()

  #phase: 'new' | 'running' | 'left' = 'new'
  #mesh: MeshMode = 'full'
  #wasRemoved = false
  /**
   * Lower bound of the next deadline, as last told to the shell. Being called later than this is our own
   * stall.
   */
  #dueMs: number | undefined
  #effects: LinkEffect[] = []
  #usedCount = 0
  /** Links that came into use since the plan was last looked at: telling it costs more than a `chosen` may. */
  #unlearnt: KnownLink[] = []

  /** @throws {RangeError} if an option is out of range. */
  constructor(options: LinkOptions) {
    this.#checked = checkLinkOptions(options)
    this.#self = options.self
    this.#known = options.known
    this.#sizes = options.sizes
    this.#table = new LinkTable(this.#checked.membersMax)
    this.#plan = new DialPlan([], this.#checked.backoff, options.random)
  }

  readonly step = (input: LinkInput, nowMs: number): readonly LinkEffect[] => {
    if (input.type === 'chosen') this.#chosen(input.linkId, nowMs)
    else if (input.type === 'busy') this.#busy(input.linkId, nowMs)
    else if (input.type !== 'want' || !this.#stillWant(input, nowMs)) {
      this.#excuse(nowMs)
      for (const link of this.#unlearnt) this.#learn(link)
      this.#unlearnt = []
      const usedCount = this.#usedCount
      this.#take(input, nowMs)
      // What many members say at once must not cost a look at all addresses for each. These two bring nothing forward but
      // what they have noted, unless a link in use went, which may be wanted.
      const isNoted = (input.type === 'want' || input.type === 'ended') && usedCount === this.#usedCount
      if (!isNoted || (this.#dueMs !== undefined && nowMs >= this.#dueMs)) {
        if (this.#phase === 'running') this.#sweep(nowMs)
        this.#dueMs = this.#findDeadline(nowMs)
      }
    }
    const effects = this.#effects
    this.#effects = []
    return effects
  }

  readonly nextDeadlineMs = (): number | undefined => this.#dueMs

  /** See `DialPlan.scans`. */
  readonly scans = (): number => this.#plan.scans

  /** The link in use to that name, if there is one. O(1). */
  readonly link = (name: string): LinkInUse | undefined => {
    const peer = this.#table.peer(name)
    if (peer?.link === undefined) return undefined
    const { linkId, incarnation, dialledByUs } = peer.link
    return { linkId, incarnation, epoch: peer.epoch, dialledByUs }
  }

  readonly status = (): LinkStatus => {
    const states = [...this.#table.links()].map(({ state }) => state)
    return {
      mesh: this.#mesh,
      peers: [...this.#table.peers()]
        .filter(({ isOver }) => !isOver)
        .map(({ name, incarnation, link, epoch }) => ({
          name,
          incarnation,
          ...(link === undefined ? {} : { linkId: link.linkId, dialledByUs: link.dialledByUs }),
          epoch,
        }))
        .sort((a, b) => (a.name < b.name ? -1 : 1)),
      waiting: states.filter((state) => state === 'waiting').length,
      refusing: states.filter((state) => state === 'refusing').length,
      dials: this.#plan.status(),
    }
  }

  // ---- inputs

  #take(input: Exclude<LinkInput, { readonly type: 'chosen' | 'busy' }>, nowMs: number): void {
    switch (input.type) {
      case 'started':
        if (this.#phase !== 'new') return
        this.#phase = 'running'
        this.#plan.start(nowMs)
        return
      case 'tick':
        return
      case 'link-established':
        this.#establish(input, nowMs)
        return
      case 'link-closed':
        this.#linkClosed(input.linkId, input.reason.code, nowMs)
        return
      case 'dial-failed':
        this.#dialFailed(input.address, input.code, nowMs)
        return
      case 'goodbye': {
        const link = this.#table.get(input.linkId)
        if (link !== undefined) this.#end(link, 'CLUSTER_MEMBER_LEFT', nowMs)
        return
      }
      case 'seeds': {
        const own = this.#self.address
        const seeds = input.addresses.filter((address) => address !== own)
        const isLive = (name: string): boolean => this.#table.peer(name)?.isOver === false
        this.#plan.setSeeds(seeds.slice(0, this.#checked.membersMax), nowMs, isLive)
        return
      }
      case 'want':
        if (this.#phase === 'running') this.#want(input, nowMs)
        return
      case 'ended':
        if (this.#phase === 'running') this.#ended(input.name, input.incarnation, input.code, nowMs)
        return
      case 'link-dead': {
        const peer = this.#table.peer(input.name)
        if (peer?.link === undefined || peer.incarnation !== input.incarnation) return
        this.#lose(peer, peer.link, 'dead', nowMs, 'CLUSTER_LINK_DEAD')
        return
      }
      case 'mesh':
        this.#setMesh(input.mode, nowMs)
        return
      case 'leave':
        this.#leave()
        return
      default:
        unreachable(input)
    }
  }

  #establish(input: LinkEstablished, nowMs: number): void {
    const waitMs = this.#isDecider(input.name) ? this.#checked.settleMs : this.#checked.waitingMs
    const link: KnownLink = {
      ...input,
      dialledAddress: input.dialledAddress ?? input.address,
      state: 'waiting',
      untilMs: nowMs + waitMs,
      sinceMs: nowMs,
      busyAtMs: nowMs,
    }
    const target = link.dialledByUs ? this.#plan.dialled(link.dialledAddress, nowMs) : undefined
    if (this.#phase !== 'running') this.#refuse(link, 'CLUSTER_NODE_LEFT')
    else if (link.name === this.#self.name) this.#refuseOwnName(link, target)
    else {
      if (target !== undefined) this.#plan.answered(target.address, link.name, link.incarnation)
      this.#admit(link, nowMs)
    }
    // A link may have waited for a dial that has led somewhere else.
    if (link.dialledByUs) this.#chooseAll(nowMs)
  }

  #admit(link: KnownLink, nowMs: number): void {
    const life = this.#life(link.name)
    const refusal = this.#judge(link, life)
    if (refusal === STALE) {
      if (this.#table.hasRoomForLink(link.name)) {
        this.#table.add(link)
        this.#refuseStale(link, nowMs)
      } else this.#refuse(link, STALE)
    } else if (refusal !== undefined) {
      this.#refuse(link, refusal)
      if (refusal !== NAME_TAKEN) return
      const holder = life?.isOver === false ? life : this.#table.firstWaiting(link.name)
      this.#nameTaken(link.name, holder?.address, link.address)
    } else {
      const peer = this.#table.peer(link.name)
      if (peer !== undefined && link.incarnation > peer.incarnation && !peer.isOver) {
        // The new life may be gone before it is met: its address is dialled on.
        this.#end(peer, 'CLUSTER_MEMBER_REPLACED', nowMs, true)
      }
      this.#closeUpTo(link.name, link.incarnation - 1, 'CLUSTER_MEMBER_REPLACED')
      this.#table.add(link)
      this.#choose(link, nowMs)
    }
  }

  /** Our own name at the other end: either ourselves, or somebody who must not have it. */
  #refuseOwnName(link: KnownLink, target: Readonly<Target> | undefined): void {
    const isSelf = link.incarnation === this.#self.incarnation && link.address === this.#self.address
    if (isSelf && target !== undefined) this.#plan.drop(target.address)
    this.#refuse(link, isSelf ? 'CLUSTER_SELF_LINK' : NAME_TAKEN)
    if (!isSelf) this.#nameTaken(link.name, this.#self.address, link.address)
  }

  /** Why a link may not be, or undefined. */
  #judge(link: KnownLink, life: KnownLife | undefined): CloseLinkCode | undefined {
    if (life !== undefined) {
      if (link.incarnation < life.incarnation) return STALE
      if (link.incarnation === life.incarnation && life.isOver) return STALE
      if (!life.isOver && link.address !== life.address) return NAME_TAKEN
    }
    if (!this.#table.hasRoomForPeer(link.name)) return 'CLUSTER_MEMBERS_MAX'
    for (const other of this.#table.linksOf(link.name)) {
      if (other.state !== 'waiting') continue
      // Who waits lives, and so has the name, whatever its incarnation.
      if (link.address !== other.address) return link.incarnation < other.incarnation ? STALE : NAME_TAKEN
      if (link.incarnation < other.incarnation) return STALE
    }
    return this.#table.hasRoomForLink(link.name) ? undefined : 'CLUSTER_MEMBERS_MAX'
  }

  /**
   * We gave this incarnation up; it must learn so and come back as a new one. After a partition both sides
   * have given each other up, and if both closed at once neither would hear the other's refusal. So refusals
   * are staggered: who still sees most of the members speaks first, then the smaller name; the other one
   * hears it and yields.
   */
  #refuseStale(link: KnownLink, nowMs: number): void {
    const { live, known } = this.#sizes()
    const isMinority = live * 2 <= known
    const steps = (isMinority ? 2 : 0) + (this.#isDecider(link.name) ? 0 : 1)
    link.state = 'refusing'
    this.#effects.push({ type: 'mute-link', linkId: link.linkId })
    link.untilMs = nowMs + steps * this.#checked.settleMs
    this.#noteDue(link.untilMs)
  }

  #linkClosed(linkId: number, code: string, nowMs: number): void {
    const link = this.#table.get(linkId)
    if (link === undefined) return
    if (code === STALE) this.#selfRemoved(link.name)
    if (code === NAME_TAKEN) this.#nameTaken(this.#self.name, this.#self.address)
    const peer = this.#table.peer(link.name)
    if (peer?.link === link) this.#lose(peer, link, code === IDLE ? 'idle' : 'lost', nowMs)
    else this.#table.remove(link)
  }

  /** The link in use is over; `code` if it is we who close it. */
  #lose(peer: LinkPeer, link: KnownLink, reason: LinkLostReason, nowMs: number, code?: CloseLinkCode): void {
    this.#dropLink(peer)
    if (code === undefined) this.#table.remove(link)
    else this.#close(link, code)
    const { name, incarnation } = peer
    if (!this.#isOver(peer)) this.#effects.push({ type: 'link-lost', name, incarnation, reason })
    if (reason === 'idle') return
    peer.wantedUntilMs = nowMs + this.#checked.idleMs
    // Its address may have been taken off the plan by somebody else who answered there.
    this.#learn(link)
    const lastedMs = reason === 'dead' ? Number.POSITIVE_INFINITY : nowMs - link.sinceMs
    this.#plan.lost(name, lastedMs, nowMs)
  }

  #dialFailed(address: NodeAddress, code: string, nowMs: number): void {
    const target = this.#plan.dialled(address, nowMs)
    if (this.#phase !== 'running') return
    if (code === STALE) this.#selfRemoved(target?.name ?? address)
    if (code === NAME_TAKEN) this.#nameTaken(this.#self.name, this.#self.address)
    if (target === undefined) return
    this.#chooseAll(nowMs)
    if (code !== DIAL_REFUSED || target.name === undefined) return
    const peer = this.#table.peer(target.name)
    if (peer === undefined || this.#isOver(peer) || this.#table.linksOf(peer.name).length > 0) return
    // The refusal speaks of this address: it counts only if this incarnation lives there.
    if (peer.address === address || target.incarnation === peer.incarnation) {
      this.#effects.push({ type: 'refused', name: peer.name, incarnation: peer.incarnation })
    }
  }

  #want(life: LifePlace, nowMs: number): void {
    const { name, incarnation, address } = life
    const known = this.#life(name)
    if (name === this.#self.name || (known !== undefined && incarnation < known.incarnation)) return
    if (known?.incarnation === incarnation && (known.isOver || known.address !== address)) return
    let peer = this.#table.peer(name)
    if (peer === undefined || peer.incarnation !== incarnation) {
      if (!this.#table.hasRoomForPeer(name)) return
      if (peer?.isOver === false) this.#end(peer, 'CLUSTER_MEMBER_REPLACED', nowMs)
      peer = this.#table.addPeer(life)
    }
    peer.wantedUntilMs = nowMs + this.#checked.idleMs
    if (address === this.#self.address) return
    // In a full mesh both want the link: one dial is enough, and if it does not come there is ours.
    const isOther = this.#mesh === 'full' && !this.#isDecider(name)
    const dueMs = this.#plan.want(life, isOther ? nowMs + this.#checked.settleMs : nowMs)
    if (this.#plan.diallingCount < dialLimits.dialsMax) this.#noteDue(dueMs)
  }

  #ended(name: string, incarnation: number, code: CloseLinkCode, nowMs: number): void {
    const known = this.#life(name)
    const isNews = known !== undefined && known.incarnation <= incarnation
    if (isNews) this.#end({ name, incarnation, address: known.address }, code, nowMs)
    else this.#closeUpTo(name, incarnation, code)
  }

  /**
   * The end of a life and of those before it: no link to it stays, but for those on which it is going to be told so. Where
   * it lived is dialled on if it may still be there.
   */
  #end(life: LifePlace, code: CloseLinkCode, nowMs: number, isRemembered?: boolean): void {
    const { name, incarnation, address } = life
    const peer = this.#table.peer(name)
    if (peer !== undefined && peer.incarnation <= incarnation) this.#dropLink(peer)
    this.#closeUpTo(name, incarnation, code)
    if (peer !== undefined && peer.incarnation > incarnation) return
    if (peer?.incarnation === incarnation && peer.isOver) return
    this.#table.endPeer(life)
    this.#conflicts.delete(name)
    const mayLive = code !== 'CLUSTER_MEMBER_LEFT' && code !== 'CLUSTER_MEMBER_REPLACED'
    const isKept = (isRemembered ?? mayLive) && address !== this.#self.address
    this.#noteDue(this.#plan.ended(name, nowMs, isKept ? address : undefined))
  }

  #leave(): void {
    if (this.#phase === 'left') return
    this.#phase = 'left'
    for (const peer of this.#table.peers()) this.#dropLink(peer)
    for (const link of this.#table.links()) this.#close(link, 'CLUSTER_NODE_LEFT')
  }

  #setMesh(mode: MeshMode, nowMs: number): void {
    if (mode === this.#mesh) return
    this.#mesh = mode
    // In a full mesh nobody needs to tell of traffic: from now on it counts.
    for (const link of this.#table.links()) link.busyAtMs = nowMs
    for (const peer of this.#table.peers()) peer.wantedUntilMs = nowMs + this.#checked.idleMs
  }

  #busy(linkId: number, nowMs: number): void {
    const link = this.#table.get(linkId)
    // The deadline stays where it was: a tick too many costs less than looking for the next one here.
    if (link !== undefined) link.busyAtMs = nowMs
  }

  /** A member to which a link stands is told of again and again: true when there is nothing more to do about it. */
  #stillWant({ name, incarnation }: LifePlace, nowMs: number): boolean {
    const peer = this.#table.peer(name)
    if (peer?.link === undefined || peer.incarnation !== incarnation) return false
    peer.wantedUntilMs = nowMs + this.#checked.idleMs
    peer.link.busyAtMs = nowMs
    return true
  }

  #chosen(linkId: number, nowMs: number): void {
    const link = this.#table.get(linkId)
    if (link?.state !== 'waiting' || this.#isDecider(link.name)) return
    this.#use(link, nowMs)
  }

  // ---- links

  /** True when we say which link to that node is used. Names differ, so exactly one of two nodes says so. */
  #isDecider(name: string): boolean {
    return this.#self.name < name
  }

  #chooseAll(nowMs: number): void {
    for (const link of this.#table.links()) this.#choose(link, nowMs)
  }

  /** The decider's choice when a link came, or when a dial that it waited for came to nothing. */
  #choose(link: KnownLink, nowMs: number): void {
    if (link.state !== 'waiting' || !this.#isDecider(link.name)) return
    const peer = this.#table.peer(link.name)
    const used = peer?.link
    if (peer === undefined || used === undefined) {
      if (link.dialledByUs || !this.#plan.isDiallingTo(link)) this.#use(link, nowMs)
    } else if (link.dialledByUs || (used.dialledByUs && !this.#dialsInVain(peer, used, nowMs))) {
      this.#close(link, 'CLUSTER_DUPLICATE_LINK')
      // If the peer dialled because the link in use is dead, writing on it finds out sooner than waiting.
      this.#effects.push({ type: 'choose', linkId: used.linkId })
    } else {
      // The peer dialled both, or dials again and again, and knows best which of its links is gone.
      this.#use(link, nowMs)
    }
  }

  /**
   * The peer dials again and again although a link stands: its end of that one must be gone. Not at the beginning of a
   * link: there dials may still come that began before it, and an address in several spellings makes several.
   */
  #dialsInVain(peer: LinkPeer, used: KnownLink, nowMs: number): boolean {
    if (nowMs < used.sinceMs + this.#checked.waitingMs) return false
    const isInRow = nowMs < peer.duplicateAtMs + 2 * this.#checked.backoff.maxMs
    peer.duplicates = isInRow ? peer.duplicates + 1 : 1
    peer.duplicateAtMs = nowMs
    return peer.duplicates >= duplicatesMax
  }

  #use(link: KnownLink, nowMs: number): void {
    const { name, incarnation, linkId } = link
    if (this.#isOver(link)) {
      this.#refuseStale(link, nowMs)
      return
    }
    let peer = this.#table.peer(name)
    if (peer?.incarnation !== incarnation) {
      if (!this.#table.hasRoomForPeer(name)) {
        this.#close(link, 'CLUSTER_MEMBERS_MAX')
        return
      }
      peer = this.#table.addPeer(link)
    }
    const old = peer.link
    this.#dropLink(peer)
    if (!peer.isMet) {
      peer.isMet = true
      this.#effects.push({ type: 'met', peer: factsOf(link), linkId })
    }
    link.state = 'used'
    link.sinceMs = nowMs
    link.busyAtMs = nowMs
    peer.link = link
    peer.epoch++
    peer.duplicates = 0
    this.#usedCount++
    this.#unlearnt.push(link)
    this.#effects.push({ type: 'use-link', name, incarnation, linkId, epoch: peer.epoch })
    if (this.#isDecider(name)) this.#effects.push({ type: 'choose', linkId })
    if (old !== undefined) this.#close(old, 'CLUSTER_DUPLICATE_LINK')
    if (this.#isDecider(name)) {
      for (const other of this.#table.linksOf(name)) {
        if (other.state === 'waiting') this.#close(other, 'CLUSTER_DUPLICATE_LINK')
      }
    }
    if (this.#mesh === 'on-demand') this.#noteDue(this.#idleAtMs(link))
  }

  #dropLink(peer: LinkPeer): void {
    if (peer.link === undefined) return
    const { name, incarnation, epoch } = peer
    peer.link = undefined
    this.#usedCount--
    this.#effects.push({ type: 'lost-link', name, incarnation, epoch })
  }

  #refuse(link: KnownLink, code: CloseLinkCode): void {
    const highest = code === STALE ? this.#life(link.name)?.incarnation : undefined
    this.#effects.push({
      type: 'close-link',
      linkId: link.linkId,
      code,
      ...(highest === undefined ? {} : { highestIncarnation: highest }),
    })
  }

  #close(link: KnownLink, code: CloseLinkCode): void {
    this.#table.remove(link)
    this.#refuse(link, code)
  }

  /** Closes the links of the lives of a name up to that one. Those that will be refused will be; they learn more so. */
  #closeUpTo(name: string, incarnation: number, code: CloseLinkCode): void {
    for (const link of this.#table.linksOf(name)) {
      const isTold = link.state === 'refusing' && code !== 'CLUSTER_MEMBER_LEFT'
      if (link.incarnation <= incarnation && !isTold) this.#close(link, code)
    }
  }

  // ---- lives

  /** What is known of the newest life of a name, here and by the membership. */
  #life(name: string): KnownLife | undefined {
    const own = this.#table.peer(name)
    const told = this.#known(name)
    if (own === undefined || told === undefined) return own ?? told
    if (told.incarnation !== own.incarnation) return told.incarnation > own.incarnation ? told : own
    return told.isOver ? told : own
  }

  /** Whether that life is known to be over, or a newer one known. */
  #isOver({ name, incarnation }: { readonly name: string; readonly incarnation: number }): boolean {
    const life = this.#life(name)
    if (life === undefined) return false
    return life.incarnation > incarnation || (life.incarnation === incarnation && life.isOver)
  }

  #learn(link: LifePlace): void {
    const peer = this.#table.peer(link.name)
    const isCurrent = peer?.incarnation === link.incarnation && !peer.isOver
    if (isCurrent && link.address !== this.#self.address) this.#plan.learn(link)
  }

  #nameTaken(name: string, holder: NodeAddress | undefined, newcomer?: NodeAddress): void {
    let told = this.#conflicts.get(name)
    if (told === undefined) {
      if (this.#conflicts.size >= conflictsMax) this.#conflicts.clear()
      told = new Set()
      this.#conflicts.set(name, told)
    }
    const key = newcomer ?? holder ?? this.#self.address
    if (told.has(key)) return
    if (told.size >= conflictsMax) told.clear()
    told.add(key)
    const addresses = [holder, newcomer].filter((address) => address !== undefined)
    this.#effects.push({ type: 'name-taken', name, addresses })
  }

  #selfRemoved(by: string): void {
    if (this.#wasRemoved || this.#phase !== 'running') return
    this.#wasRemoved = true
    this.#effects.push({ type: 'self-removed', by })
  }

  // ---- time

  /**
   * A late tick is our own stall: what was sent meanwhile is not read yet, so links that wait get that much more time from
   * now on. Timers are always a little late; that does not count, or the last few milliseconds would never end.
   */
  #excuse(nowMs: number): void {
    const lateMs = this.#dueMs === undefined ? 0 : nowMs - this.#dueMs
    if (lateMs < stallMs) return
    for (const link of this.#table.links()) {
      if (link.state !== 'waiting' || this.#isDecider(link.name)) continue
      link.untilMs = Math.max(link.untilMs, nowMs) + lateMs
    }
  }

  #sweep(nowMs: number): void {
    if (this.#mesh === 'on-demand') this.#closeIdle(nowMs)
    for (const link of this.#table.links()) {
      if (link.state === 'used' || nowMs < link.untilMs) continue
      if (link.state === 'refusing') this.#close(link, STALE)
      else if (this.#isDecider(link.name)) this.#use(link, nowMs)
      else this.#close(link, 'CLUSTER_MEMBER_SILENT')
    }
    const isNeeded = (target: Target): boolean => this.#isNeeded(target, nowMs)
    for (const address of this.#plan.takeDue(this.#table.links(), nowMs, isNeeded))
      this.#effects.push({ type: 'dial', address })
  }

  #closeIdle(nowMs: number): void {
    const kept = this.#keptLinks()
    for (const link of this.#table.links()) {
      const peer = this.#table.peer(link.name)
      if (peer?.link !== link || nowMs < this.#idleAtMs(link) || kept.has(link)) continue
      this.#lose(peer, link, 'idle', nowMs, IDLE)
    }
  }

  /**
   * The links that stay although they are idle: the first few that we dialled to seeds. However many others stand: if one
   * node closed what it has too much of, the peer would have too little, dial a third one, that one would have too much, and
   * so on for ever.
   */
  #keptLinks(): ReadonlySet<KnownLink> {
    const kept = new Set<KnownLink>()
    const seeds = this.#plan.seedNames()
    for (const link of this.#table.links()) {
      if (kept.size < linksKept && link.state === 'used' && link.dialledByUs && seeds.has(link.name))
        kept.add(link)
    }
    return kept
  }

  /** Who dialled a link closes it: the other one cannot know whether it is one of the few that are kept. */
  #idleAtMs(link: KnownLink): number {
    return link.dialledByUs ? link.busyAtMs + this.#checked.idleMs : Number.POSITIVE_INFINITY
  }

  #isNeeded(target: Target, nowMs: number): boolean {
    const peer = target.name === undefined ? undefined : this.#table.peer(target.name)
    if (peer === undefined || peer.isOver) return target.isSeed
    if (this.#mesh === 'full' || nowMs < peer.wantedUntilMs) return true
    return target.isSeed && this.#usedCount + this.#plan.diallingCount < linksKept
  }

  #findDeadline(nowMs: number): number | undefined {
    if (this.#phase !== 'running') return undefined
    let dueMs = this.#plan.nextDialMs(this.#table.links(), (target) => this.#isNeeded(target, nowMs))
    const kept = this.#mesh === 'full' ? undefined : this.#keptLinks()
    for (const link of this.#table.links()) {
      if (link.state !== 'used') dueMs = Math.min(dueMs, link.untilMs)
      else if (kept?.has(link) === false) dueMs = Math.min(dueMs, this.#idleAtMs(link))
    }
    return dueMs === Number.POSITIVE_INFINITY ? undefined : dueMs
  }

  #noteDue(dueMs: number): void {
    if (dueMs === Number.POSITIVE_INFINITY) return
    if (this.#dueMs === undefined || dueMs < this.#dueMs) this.#dueMs = dueMs
  }
}

function factsOf({ name, incarnation, address, weight, zone, roles, version }: MemberFacts): MemberFacts {
  return { name, incarnation, address, weight, ...(zone === undefined ? {} : { zone }), roles, version }
}

function unreachable(input: never): never {
  throw new TypeError(
    `Cannot take a link input of type "${String((input as { readonly type?: unknown }).type)}"`,
  )
}
