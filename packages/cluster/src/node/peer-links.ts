/**
 * The links of a node: dials and accepts them, shakes hands, and keeps a session for each. It knows who a peer is, not
 * whether it lives: that is the membership's. A `generation` is one life of this node: what was begun in one is closed in
 * the next.
 */
import { equalBytes, type Kernel } from '@understudy/runtime/internal'
import type { MembershipInput } from '../membership/membership.ts'
import { PeerSession } from '../remote/peer-session.ts'
import type { ExtraLane, SessionHost } from '../remote/session-host.ts'
import type { NodeAddress } from '../transport/address.ts'
import { shakeHands, type HandshakeHello, type HandshakeOutcome } from '../transport/handshake.ts'
import type { Link, Transport } from '../transport/transport.ts'
import type { PeerFacts } from '../wire/handshake-core.ts'
import type { JoinJudge } from '../wire/join-policy.ts'
import type { KnownNode } from '../wire/refusal.ts'
import type { SecretRing } from '../wire/secret-ring.ts'
import type { LaneName } from '../wire/wire-protocol.ts'

/** Ends of a link that are the peer's doing, whoever it was. A peer's own words are not among them. */
const brokenLink: ReadonlySet<string> = new Set([
  'CLUSTER_FRAME_TOO_BIG',
  'CLUSTER_FRAME_NOT_BINARY',
  'CLUSTER_FRAME_HANDLER_FAILED',
  'CLUSTER_LINK_PROTOCOL',
  'CLUSTER_LINK_NOT_ESTABLISHED',
])

/**
 * Numbers of lives beyond this are not taken from anybody: no clock leads there, and a node that a liar led to the end of
 * the numbers could have no next life. So there is room above for more lives than a node will have.
 */
const highestTakenMax = Number.MAX_SAFE_INTEGER - 2 ** 32

/** What the links need of the node around them. */
export interface PeerLinksHost {
  readonly kernel: Kernel
  readonly transport: Transport
  readonly session: SessionHost
  /** What this node says of itself now, with a fresh nonce. */
  readonly hello: () => HandshakeHello
  readonly known: (name: string) => KnownNode | undefined
  readonly secrets: () => SecretRing | undefined
  /** Without a secret, the transport must have verified who the peer is. */
  readonly authenticationRequired: boolean
  readonly admits: JoinJudge | undefined
  readonly handshakeTimeoutMs: number
  readonly frameBytesMax: number
  readonly outboundBytesMax: number
  /** Feeds the membership of this generation. */
  readonly step: (input: MembershipInput) => void
  /** Somebody was turned away, or broke the protocol. */
  readonly refused: (code: string, reason: string, remoteAddress: string) => void
  /**
   * A peer that may say so has seen a higher life of our name. `isTold`: the membership hears of it by itself, from the
   * dial that failed.
   */
  readonly higherSeen: (incarnation: number, by: string, isTold: boolean) => void
}

interface OpenSession {
  readonly session: PeerSession
  /** What its lanes name it by: the nonce of whoever dialled its control link. */
  readonly connection: Uint8Array
  readonly dialledAddress: NodeAddress | undefined
}

/** What a dial is for. */
interface Dialled {
  readonly address: NodeAddress
  readonly lane: LaneName
  readonly connection: Uint8Array | null
}

type Established = HandshakeOutcome & { readonly type: 'established' }

export class PeerLinks {
  readonly #host: PeerLinksHost
  /** By the number of their control link. */
  readonly #sessions = new Map<number, OpenSession>()
  /** Links that have not ended: those that shake hands, those in use, and those that close. */
  readonly #unended = new Set<Link>()
  /** Gives up the dials under way when the node closes. */
  readonly #dials = new Set<AbortController>()
  #allEnded: (() => void) | undefined
  /** Over, but for a good-bye that the peer still has to read. */
  readonly #partings = new Set<PeerSession>()
  #allParted: (() => void) | undefined
  #nextLinkId = 1
  /** One object for each life of this node. */
  #generation: object = {}
  /** Between two lives nobody is taken in: there is no membership to tell of it. */
  #isPaused = true
  #isClosed = false

  constructor(host: PeerLinksHost) {
    this.#host = host
  }

  session(linkId: number): PeerSession | undefined {
    return this.#sessions.get(linkId)?.session
  }

  sessions(): readonly PeerSession[] {
    return [...this.#sessions.values()].map(({ session }) => session)
  }

  /** A life begins: from now on links are taken. */
  resume(): void {
    this.#isPaused = false
  }

  /** This life is over: what stands, and what shakes hands in its name, is closed. The next one begins with `resume`. */
  renew(code: string): void {
    this.#endLife()
    for (const linkId of [...this.#sessions.keys()]) this.close(linkId, code)
    for (const link of this.#unended) link.close(code)
  }

  /**
   * This life has said good-bye: nobody is taken in any more. Resolves when all who were told have read it, with what came
   * before it, and have closed their links; at `untilMs`, on the monotonic clock, they are closed here. Were they closed at
   * once, this node's next life could knock before the last frames of a slower lane have come, and nothing of the old one
   * is read then.
   */
  async depart(untilMs: number): Promise<void> {
    this.#endLife()
    if (this.#partings.size === 0) return
    const timer = this.#host.kernel.clock.setTimer(untilMs, () => {
      for (const session of this.#partings) session.closeLinks('CLUSTER_NODE_LEFT')
    })
    await new Promise<void>((resolve) => (this.#allParted = resolve))
    timer.cancel()
  }

  #endLife(): void {
    this.#generation = {}
    this.#isPaused = true
  }

  /** Resolves when no link of this node is left. Each bounds its own closing. */
  async end(code: string): Promise<void> {
    this.#isClosed = true
    for (const dial of this.#dials) dial.abort()
    this.renew(code)
    if (this.#unended.size > 0) await new Promise<void>((resolve) => (this.#allEnded = resolve))
  }

  /** Ends a session with all its links; what was sent before still leaves. Behind a good-bye its links stay: `depart`. */
  close(linkId: number, code: string): void {
    const open = this.#sessions.get(linkId)
    if (open === undefined) return
    const { session } = open
    this.#sessions.delete(linkId)
    session.flush()
    session.close(`the link to node "${session.name}" was closed (${code})`)
    if (session.isParting) this.#partings.add(session)
    else session.closeLinks(code)
  }

  /** Ends in `link-established` or `dial-failed`, unless another life of this node has begun by then. */
  dial(address: NodeAddress): void {
    void this.#dial({ address, lane: 'control', connection: null }, (code) =>
      this.#host.step({ type: 'dial-failed', address, code }),
    )
  }

  /** Dials a lane of a session whose control link we dialled. A lane that cannot be had ends the session. */
  dialLane(session: PeerSession, lane: ExtraLane): void {
    const open = this.#sessions.get(session.linkId)
    if (open?.dialledAddress === undefined || session.isClosed) return
    const { connection, dialledAddress: address } = open
    void this.#dial({ address, lane, connection }, (code) => {
      if (session.isClosed) return
      const text = `The ${lane} lane to node "${session.name}" could not be opened (${code})`
      this.#host.refused('CLUSTER_LANE_LOST', text, session.link.remoteAddress)
      this.#lose(session, 'CLUSTER_LANE_LOST')
    })
  }

  async #dial(dialled: Dialled, failed: (code: string) => void): Promise<void> {
    const generation = this.#generation
    let link: Link
    // One each: a signal that a hundred dials listen to looks like a leak to Node, which says so on standard error.
    const dial = new AbortController()
    this.#dials.add(dial)
    try {
      link = await this.#host.transport.dial(dialled.address, { signal: dial.signal })
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? String(error.code) : 'CLUSTER_DIAL_FAILED'
      if (generation === this.#generation && !this.#isClosed) failed(code)
      return
    } finally {
      this.#dials.delete(dial)
    }
    if (this.#isClosed || generation !== this.#generation) {
      this.#dismiss(link)
      return
    }
    this.#shake(link, dialled, failed)
  }

  #dismiss(link: Link): void {
    this.#unended.add(link)
    link.onClose(() => this.#ended(link))
    link.close('CLUSTER_NODE_LEFT')
  }

  readonly accept = (link: Link): void => {
    if (this.#isClosed || this.#isPaused) this.#dismiss(link)
    else this.#shake(link, undefined, () => undefined)
  }

  #shake(link: Link, dialled: Dialled | undefined, failed: (code: string) => void): void {
    const generation = this.#generation
    const host = this.#host
    const role = dialled === undefined ? 'acceptor' : 'initiator'
    this.#unended.add(link)
    const options = {
      link,
      role,
      hello: { ...host.hello(), lane: dialled?.lane, connection: dialled?.connection },
      known: host.known,
      secrets: host.secrets,
      authenticatedByTransport: link.peerCertificate !== undefined,
      authenticationRequired: host.authenticationRequired,
      admits: host.admits,
      hasConnection: (peer: PeerFacts) => this.#sessionOf(peer) !== undefined,
      clock: host.kernel.clock,
      timeoutMs: host.handshakeTimeoutMs,
      ended: () => this.#ended(link),
    } as const
    shakeHands(options, (outcome) => {
      const isCurrent = !this.#isClosed && generation === this.#generation
      switch (outcome.type) {
        case 'established':
          if (isCurrent) this.#established(link, outcome, dialled)
          else link.close('CLUSTER_NODE_LEFT')
          return
        case 'refused':
          if (!isCurrent) return
          if (outcome.refusal.code === 'CLUSTER_DIALLED_ITSELF') this.#dialledItself(dialled?.address)
          else failed(this.#handshakeRefused(link, role, outcome))
          return
        case 'lost':
          if (brokenLink.has(outcome.code)) {
            host.refused(outcome.code, `A handshake broke off: ${outcome.code}`, link.remoteAddress)
          }
          if (isCurrent) failed(outcome.code)
          return
        default:
          outcome satisfies never
      }
    })
  }

  /** Our own address in another spelling: as a link to ourselves the membership takes it off its list. */
  #dialledItself(dialledAddress: NodeAddress | undefined): void {
    if (dialledAddress === undefined) return
    const { node, incarnation, address, weight = 1, roles = [], appVersion = '' } = this.#host.hello()
    this.#host.step({
      type: 'link-established',
      linkId: this.#nextLinkId++,
      name: node,
      incarnation,
      address: address as NodeAddress,
      weight,
      roles,
      version: appVersion,
      dialledByUs: true,
      dialledAddress,
    })
  }

  /** Counts, and returns the code that the membership is told of a dial that ended so. */
  #handshakeRefused(
    link: Link,
    role: 'initiator' | 'acceptor',
    { refusal, by, provenAddress }: HandshakeOutcome & { readonly type: 'refused' },
  ): string {
    const { code, highestIncarnation } = refusal
    const whose = by === 'us' ? 'refused here' : 'refused by the peer'
    this.#host.refused(code, `A handshake was ${whose}: ${refusal.reason}`, link.remoteAddress)
    // That we find the peer's life stale says nothing of our own.
    if (by === 'us') return 'CLUSTER_DIAL_REJECTED'
    if (code !== 'CLUSTER_STALE_INCARNATION') return code
    // Only who has the secret, where there is one, may say that this life is over: its word comes with a number. Who said it
    // in the clear is asked to sign it: nobody else may ever dial.
    if (highestIncarnation === undefined && provenAddress !== undefined)
      this.dial(provenAddress as NodeAddress)
    if (highestIncarnation === undefined || highestIncarnation > highestTakenMax) {
      return 'CLUSTER_DIAL_REJECTED'
    }
    // A dial that ends so makes the membership say it; a peer that dialled us told nobody else.
    this.#host.higherSeen(highestIncarnation, `the node at "${link.remoteAddress}"`, role === 'initiator')
    return code
  }

  #established(link: Link, outcome: Established, dialled: Dialled | undefined): void {
    link.established()
    if (outcome.peer.lane === 'control') this.#controlEstablished(link, outcome, dialled?.address)
    else this.#laneEstablished(link, outcome, outcome.peer.lane)
  }

  #controlEstablished(link: Link, outcome: Established, dialledAddress: NodeAddress | undefined): void {
    const { peer } = outcome
    const host = this.#host
    const linkId = this.#nextLinkId++
    const dialledByUs = dialledAddress !== undefined
    const session = new PeerSession(
      link,
      {
        linkId,
        name: peer.node,
        incarnation: peer.incarnation,
        frameBytesMax: host.frameBytesMax,
        outboundBytesMax: host.outboundBytesMax,
        wireVersion: outcome.version,
        lanes: outcome.features.includes('lanes'),
        dialledByUs,
        // The initiator of a handshake has the last word in it.
        awaitsPeer: dialledByUs,
      },
      host.session,
    )
    const open: OpenSession = { session, connection: peer.connection, dialledAddress }
    this.#sessions.set(linkId, open)
    host.step({
      type: 'link-established',
      linkId,
      name: peer.node,
      incarnation: peer.incarnation,
      address: peer.address as NodeAddress,
      dialledByUs,
      dialledAddress,
      weight: peer.weight,
      zone: peer.zone,
      roles: peer.roles,
      version: peer.version,
    })
    session.open()
    this.#watchEnd(link, open)
  }

  /** A lane of a session that stands: its life and its connection are those of its control link, or it is nobody's. */
  #laneEstablished(link: Link, { peer }: Established, lane: ExtraLane): void {
    const open = this.#sessionOf(peer)
    if (open?.session.attach(lane, link) === true) {
      this.#watchEnd(link, open)
      return
    }
    link.onClose(() => this.#ended(link))
    link.close(open === undefined ? 'CLUSTER_LANE_ORPHAN' : 'CLUSTER_DUPLICATE_LINK')
  }

  #sessionOf(peer: PeerFacts): OpenSession | undefined {
    for (const open of this.#sessions.values()) {
      const { name, incarnation } = open.session
      if (name !== peer.node || incarnation !== peer.incarnation) continue
      if (equalBytes(open.connection, peer.connection)) return open
    }
    return undefined
  }

  /** All links of a session share one fate: with one of them the connection epoch is over. */
  #watchEnd(link: Link, open: OpenSession): void {
    const { session } = open
    const generation = this.#generation
    link.onClose((reason) => {
      this.#ended(link)
      if (brokenLink.has(reason.code)) {
        const text = `The link to "${session.name}" was closed: ${reason.message}`
        this.#host.refused(reason.code, text, link.remoteAddress)
      }
      if (session.linkClosed(link) !== 'lost') return
      if (generation === this.#generation) this.#lose(session, reason.code)
      else session.closeLinks('CLUSTER_NODE_LEFT')
      if (this.#partings.delete(session) && this.#partings.size === 0) this.#allParted?.()
    })
  }

  #lose(session: PeerSession, code: string): void {
    const { linkId, name } = session
    if (this.#sessions.delete(linkId)) this.#host.step({ type: 'link-closed', linkId, reason: { code } })
    session.close(`the link to node "${name}" was closed (${code})`)
    session.closeLinks('CLUSTER_LANE_LOST')
  }

  #ended(link: Link): void {
    this.#unended.delete(link)
    if (this.#unended.size === 0) this.#allEnded?.()
  }
}
