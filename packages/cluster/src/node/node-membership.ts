/**
 * The membership of a node at work: runs its core, carries out what it says, feeds it what discovery finds, and begins
 * another life when one is over.
 */
import type { ActorError, EventStream, Logger, Metrics, Timer } from '@understudy/runtime'
import { CoreShell, LogThrottle, type InternalSystem, type Kernel } from '@understudy/runtime/internal'
import { majorityOf } from '../membership/bootstrap-core.ts'
import type { Discovery } from '../membership/discovery.ts'
import type { DowningLease } from '../membership/downing-lease.ts'
import { MembershipCore, nameConflictReason } from '../membership/membership-core.ts'
import type { MembershipOptions } from '../membership/membership-options.ts'
import type { MembershipEffect, MembershipInput, MembershipStatus } from '../membership/membership.ts'
import { makeView, ownsPlaces, type Member, type View } from '../membership/view.ts'
import type { RemoteHub } from '../remote/remote-hub.ts'
import type { NodeAddress } from '../transport/address.ts'
import { tellFact, type ClusterEvents, type FactSink } from './cluster-event.ts'
import { Standing } from './standing.ts'
import type { PeerLinks } from './peer-links.ts'

/** Between a life that ended because of its name and the next one: enough for a few rounds of gossip and dials. */
const nameConflictPauseMs = 10_000

/** How long a node may wait to join before its log says what for; each further line comes after twice that time. */
const waitingLogMs = 10_000
const waitingLogMaxMs = 600_000

export interface NodeMembershipHost {
  readonly system: InternalSystem
  readonly hub: RemoteHub
  readonly links: PeerLinks
  readonly events: EventStream<ClusterEvents>
  readonly seeds: readonly NodeAddress[]
  readonly discovery: readonly Discovery[]
  readonly lease: DowningLease | undefined
  /** Options of the core of the life that begins now. */
  readonly options: () => Omit<MembershipOptions, 'required'>
  readonly useView: (view: View) => void
  /** A peer's word that is none: its link is of no use. */
  readonly badGossip: (linkId: number, problem: string) => void
  /**
   * This life is over: end its actors and what they have with others, and get the number of the next life. Rejects when
   * there is to be none.
   */
  readonly renew: (by: string, reason: string) => Promise<void>
}

/** Names in the log line of who was joined: a table may have ten thousand. */
const othersLoggedMax = 20

export class NodeMembership {
  readonly standing: Standing
  readonly #host: NodeMembershipHost
  readonly #kernel: Kernel
  readonly #log: Logger
  readonly #metrics: Metrics
  readonly #facts: FactSink
  /** A member that tells of ever more lives must not fill the log of all: ten lines of a kind, for each name, a minute. */
  readonly #throttle = new LogThrottle({ windowMs: 60_000 })
  readonly #searches: Disposable[] = []
  /** What each source of addresses said last; `undefined`: nothing yet. */
  readonly #found: (readonly NodeAddress[] | undefined)[]
  #shell: CoreShell<MembershipInput, MembershipEffect, MembershipStatus> | undefined
  #core: MembershipCore | undefined
  #leaseOwner: string | undefined
  #isRenewing = false
  #pause: Timer | undefined
  #waitingLog: Timer | undefined
  #isDraining = false
  #isClosed = false

  constructor(host: NodeMembershipHost) {
    const { system, events } = host
    this.#host = host
    this.#kernel = system.kernel
    this.#log = system.kernel.log
    this.#metrics = system.metrics
    this.#facts = {
      node: this.#kernel.nodeName,
      log: this.#log,
      events,
      metrics: this.#metrics,
      isWritten: (key) => this.#isWritten(key),
    }
    this.#found = host.discovery.map(() => undefined)
    this.standing = new Standing({
      kernel: this.#kernel,
      hub: host.hub,
      events,
      view: () => this.view(),
      self: () => ({ name: this.#kernel.nodeName, incarnation: this.#kernel.nodeIncarnation }),
      missed: () => this.#core?.missed() ?? [],
      asks: () => this.step({ type: 'held' }),
      released: () => this.step({ type: 'released' }),
      isInDoubt: () => this.#core?.isInDoubt() ?? false,
      disowned: (by) => this.removed(by, 'it was given up while it stood still'),
    })
  }

  /** Begins: from now on the others are looked for. */
  start(): void {
    this.#beginLife(undefined)
    for (const [index, source] of this.#host.discovery.entries()) this.#search(source, index)
  }

  step(input: MembershipInput): void {
    if (input.type === 'drain') {
      this.#isDraining = true
      if (this.#pause !== undefined) this.#next(undefined)
    }
    this.#shell?.step(input)
  }

  view(): View {
    return this.#core?.view() ?? makeView([])
  }

  /** The newest life of that name, also one that is over. */
  known(name: string): Member | undefined {
    return this.#core?.known(name)
  }

  status(): MembershipStatus | undefined {
    return this.#core?.status()
  }

  /** Between two lives, or behind the last: nobody counts this node. */
  get isRemoved(): boolean {
    return this.#isRenewing
  }

  close(): void {
    this.#isClosed = true
    this.#pause?.cancel()
    this.#waitingLog?.cancel()
    this.#shell?.close()
    for (const search of this.#searches.splice(0)) search[Symbol.dispose]()
    this.#releaseLease()
  }

  /** This life is over. Its actors are held until another one counts. */
  removed(by: string, reason: string): void {
    if (this.#isClosed || this.#isRenewing) return
    this.#isRenewing = true
    this.#waitingLog?.cancel()
    this.#shell?.close()
    this.standing.hold(`this life was given up by ${by}: ${reason}`)
    const required = this.#required()
    const { clock } = this.#kernel
    const { incarnation } = { incarnation: this.#kernel.nodeIncarnation }
    this.#host.events.emit('self-removed', { by, reason, incarnation })
    this.#releaseLease()
    this.#host.renew(by, reason).then(
      () => {
        if (reason !== nameConflictReason) this.#next(required)
        // So that whoever knew only this node's last life hears of the one that has the name, and turns the next one away.
        else
          this.#pause = clock.setTimer(clock.monotonicMs() + nameConflictPauseMs, () => this.#next(required))
      },
      (error: unknown) => this.#log.error({ err: error as ActorError }, 'there is no next life of this node'),
    )
  }

  /** Who must be met before this node founds a cluster anew: else the losing side of a split would begin its own. */
  #required(): MembershipOptions['required'] {
    const names = this.view()
      .members.filter(({ status }) => ownsPlaces(status))
      .map(({ name }) => name)
    return names.length <= 1 ? undefined : majorityOf(names)
  }

  #next(required: MembershipOptions['required']): void {
    this.#pause?.cancel()
    this.#pause = undefined
    this.#isRenewing = false
    if (this.#isClosed) return
    // Who leaves begins no other life: it would join once more, only to leave.
    if (this.#isDraining) this.#host.useView(makeView([]))
    else this.#beginLife(required)
  }

  #beginLife(required: MembershipOptions['required']): void {
    const core = new MembershipCore({ ...this.#host.options(), required })
    this.#core = core
    this.#shell = new CoreShell<MembershipInput, MembershipEffect, MembershipStatus>({
      core,
      clock: this.#kernel.clock,
      tick: { type: 'tick' },
      carryOut: (effect) => this.#carryOut(effect),
    })
    this.#host.links.resume()
    this.#host.useView(core.view())
    this.#tellSeeds()
    this.#logIfWaiting(waitingLogMs)
    this.step({ type: 'started' })
  }

  /** A node that waits for others does nothing that anybody sees: a wrong port would be looked for everywhere else. */
  #logIfWaiting(delayMs: number): void {
    const { clock, nodeName } = this.#kernel
    this.#waitingLog = clock.setTimer(clock.monotonicMs() + delayMs, () => {
      const bootstrap = this.status()?.bootstrap
      if (bootstrap === undefined || bootstrap.phase === 'alive' || this.#isDraining) return
      this.#log.warn({ node: nodeName, met: bootstrap.met }, `not in a cluster yet: ${bootstrap.summary}`)
      this.#logIfWaiting(Math.min(2 * delayMs, waitingLogMaxMs))
    })
  }

  // ---- Discovery -----------------------------------------------------------------------------------------------

  #search(source: Discovery, index: number): void {
    const search = source.start(
      this.#kernel.platform,
      (addresses) => {
        this.#found[index] = addresses
        this.#tellSeeds()
      },
      (problem) => {
        this.#found[index] ??= []
        const { code, message } = problem
        this.#log.warn({ node: this.#kernel.nodeName, source: source.name, code }, message)
        this.#host.events.emit('discovery-problem', { source: source.name, code, message })
        this.#tellSeeds()
      },
    )
    this.#searches.push(search)
  }

  #tellSeeds(): void {
    const addresses = [...new Set([...this.#host.seeds, ...this.#found.flatMap((found) => found ?? [])])]
    this.step({ type: 'seeds-found', addresses, isPending: this.#found.includes(undefined) })
  }

  // ---- What the core says --------------------------------------------------------------------------------------

  #carryOut(effect: MembershipEffect): void {
    const { hub, links } = this.#host
    switch (effect.type) {
      case 'dial':
        links.dial(effect.address)
        return
      case 'close-link':
        links.close(effect.linkId, effect.code)
        return
      case 'mute-link':
        links.session(effect.linkId)?.mute()
        return
      case 'send-chosen':
        links.session(effect.linkId)?.choose()
        return
      case 'send-gossip':
        links.session(effect.linkId)?.gossip(effect.payload)
        return
      case 'send-goodbye':
        links.session(effect.linkId)?.goodbye('the node leaves')
        return
      case 'use-link': {
        const session = links.session(effect.linkId)
        if (session !== undefined) hub.use(session)
        return
      }
      case 'lost-link': {
        const session = hub.session(effect.name)
        hub.lost(effect.name)
        session?.close(`the link to node "${effect.name}" was lost`)
        this.#host.events.emit('link-lost', { name: effect.name })
        return
      }
      case 'member-down':
      case 'member-left':
        hub.memberGone(effect.name, effect.incarnation)
        tellFact(effect, this.#facts)
        return
      case 'bad-gossip':
        this.#host.badGossip(effect.linkId, effect.problem)
        return
      case 'self-up':
        this.#up(effect)
        return
      case 'self-removed':
        this.removed(effect.by, effect.reason)
        return
      case 'act-until':
        this.standing.mayActUntil(effect.atMs)
        return
      case 'hold':
        if (!this.standing.isHeld) this.standing.ask(`it stood still for ${Math.round(effect.lateMs)} ms`)
        return
      case 'acquire-lease':
        this.#acquireLease(effect.owner)
        return
      case 'release-lease':
        this.#releaseLease()
        return
      case 'view-changed':
        this.#host.useView(effect.view)
        return
      default:
        tellFact(effect, this.#facts)
    }
  }

  #isWritten(key: string): boolean {
    const nowMs = this.#kernel.clock.monotonicMs()
    for (const { key: earlier, counted } of this.#throttle.due(nowMs)) {
      this.#log.warn({ node: this.#kernel.nodeName, counted }, `${counted} more: ${earlier}`)
    }
    return this.#throttle.note(key, nowMs) === 'write'
  }

  #up(effect: MembershipEffect & { readonly type: 'self-up' }): void {
    const { how, with: others } = effect
    this.#waitingLog?.cancel()
    const shown = others.slice(0, othersLoggedMax)
    const rest = others.length - shown.length
    const names = rest > 0 ? `${shown.join(', ')} and ${rest} more` : shown.join(', ')
    const text =
      how === 'founded' ? `a cluster was founded with ${names}${this.#unheardSeeds()}` : `joined ${names}`
    this.#log.info({ node: this.#kernel.nodeName, how, others: shown, count: others.length }, text)
    this.standing.release()
    this.#host.events.emit('self-up', { how, with: others })
  }

  /** Where the others are that this node should have founded the cluster with, if that is what they are. */
  #unheardSeeds(): string {
    const failed = (this.status()?.bootstrap.seeds ?? []).filter(({ state }) => state === 'failed')
    if (failed.length === 0) return ''
    const shown = failed.slice(0, 10).map(({ address, code }) => `${address} (${code ?? 'failed'})`)
    return `, without ${shown.join(', ')}${failed.length > shown.length ? ' and others' : ''}`
  }

  // ---- The lease of the downing strategy that has one ------------------------------------------------------------

  #acquireLease(owner: string): void {
    const { lease } = this.#host
    this.#leaseOwner = owner
    const answer = (granted: boolean): void => {
      if (this.#leaseOwner === owner) this.step({ type: 'lease-result', granted })
    }
    if (lease === undefined) {
      answer(false)
      return
    }
    const lost = (): void => {
      if (this.#leaseOwner === owner) this.step({ type: 'lease-lost' })
    }
    lease.acquire(owner, lost).then(answer, (error: unknown) => {
      this.#log.error(
        { err: error as ActorError, owner },
        'the downing lease could not be asked: that is a no',
      )
      answer(false)
    })
  }

  #releaseLease(): void {
    const owner = this.#leaseOwner
    this.#leaseOwner = undefined
    if (owner === undefined) return
    this.#host.lease?.release(owner).catch((error: unknown) => {
      this.#log.warn({ err: error as ActorError, owner }, 'the downing lease could not be released')
    })
  }
}
