/**
 * The links of a node: dials and accepts them, shakes hands, and keeps a session for each. It knows who a peer is, not
 * whether it lives: that is the membership's. A `generation` is one life of this node: what was begun in one is closed in
 * the next.
 */
import type { Kernel } from '@understudy/runtime/internal'
import type { MembershipInput } from '../membership/membership.ts'
import { PeerSession, type SessionHost } from '../remote/peer-session.ts'
import type { NodeAddress } from '../transport/address.ts'
import { shakeHands, type HandshakeOutcome } from '../transport/handshake.ts'
import type { Link, Transport } from '../transport/transport.ts'
import type { Hello } from '../wire/handshake-message.ts'
import type { KnownNode } from '../wire/refusal.ts'

/** Ends of a link that are the peer's doing, whoever it was. A peer's own words are not among them. */
const brokenLink: ReadonlySet<string> = new Set([
  'CLUSTER_FRAME_TOO_BIG',
  'CLUSTER_FRAME_NOT_BINARY',
  'CLUSTER_FRAME_HANDLER_FAILED',
  'CLUSTER_LINK_PROTOCOL',
  'CLUSTER_LINK_NOT_ESTABLISHED',
])

/** What the links need of the node around them. */
export interface PeerLinksHost {
  readonly kernel: Kernel
  readonly transport: Transport
  readonly session: SessionHost
  /** What this node says of itself now; the nonce is the caller's to make anew. */
  readonly hello: () => Omit<Hello, 'type'>
  readonly known: (name: string) => KnownNode | undefined
  readonly secret: string | undefined
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

interface OpenLink {
  readonly link: Link
  readonly session: PeerSession
}

export class PeerLinks {
  readonly #host: PeerLinksHost
  readonly #links = new Map<number, OpenLink>()
  /** Links that have not ended: those that shake hands, those in use, and those that close. */
  readonly #unended = new Set<Link>()
  /** Gives up the dials under way when the node closes. */
  readonly #dials = new Set<AbortController>()
  #allEnded: (() => void) | undefined
  #nextLinkId = 1
  /** One object for each life of this node. */
  #generation: object = {}
  #isClosed = false

  constructor(host: PeerLinksHost) {
    this.#host = host
  }

  session(linkId: number): PeerSession | undefined {
    return this.#links.get(linkId)?.session
  }

  /** Another life begins: what stands, and what shakes hands in the name of the old one, is closed. */
  renew(code: string): void {
    this.#generation = {}
    for (const linkId of [...this.#links.keys()]) this.close(linkId, code)
    for (const link of this.#unended) link.close(code)
  }

  /** Resolves when no link of this node is left. Each bounds its own closing. */
  async end(code: string): Promise<void> {
    this.#isClosed = true
    for (const dial of this.#dials) dial.abort()
    this.renew(code)
    if (this.#unended.size > 0) await new Promise<void>((resolve) => (this.#allEnded = resolve))
  }

  close(linkId: number, code: string): void {
    const open = this.#links.get(linkId)
    if (open === undefined) return
    this.#links.delete(linkId)
    open.session.flush()
    open.session.close(`the link to node "${open.session.name}" was closed (${code})`)
    open.link.close(code)
  }

  /** Ends in `link-established` or `dial-failed`, unless another life of this node has begun by then. */
  async dial(address: NodeAddress): Promise<void> {
    const generation = this.#generation
    let link: Link
    // One each: a signal that a hundred dials listen to looks like a leak to Node, which says so on standard error.
    const dial = new AbortController()
    this.#dials.add(dial)
    try {
      link = await this.#host.transport.dial(address, { signal: dial.signal })
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? String(error.code) : 'CLUSTER_DIAL_FAILED'
      if (generation === this.#generation) this.#host.step({ type: 'dial-failed', address, code })
      return
    } finally {
      this.#dials.delete(dial)
    }
    if (this.#isClosed || generation !== this.#generation) {
      this.#unended.add(link)
      link.onClose(() => this.#ended(link))
      link.close('CLUSTER_NODE_LEFT')
      return
    }
    this.#shake(link, 'initiator', address, (code) => this.#host.step({ type: 'dial-failed', address, code }))
  }

  readonly accept = (link: Link): void => {
    if (this.#isClosed) link.close('CLUSTER_NODE_LEFT')
    else this.#shake(link, 'acceptor', undefined, () => undefined)
  }

  #shake(
    link: Link,
    role: 'initiator' | 'acceptor',
    dialledAddress: NodeAddress | undefined,
    failed: (code: string) => void,
  ): void {
    const generation = this.#generation
    const host = this.#host
    this.#unended.add(link)
    const options = {
      link,
      role,
      hello: host.hello(),
      known: host.known,
      secret: host.secret,
      clock: host.kernel.clock,
      timeoutMs: host.handshakeTimeoutMs,
      ended: () => this.#ended(link),
    }
    shakeHands(options, (outcome) => {
      const isCurrent = !this.#isClosed && generation === this.#generation
      switch (outcome.type) {
        case 'established':
          if (isCurrent) this.#established(link, outcome, dialledAddress)
          else link.close('CLUSTER_NODE_LEFT')
          return
        case 'refused':
          if (!isCurrent) return
          if (outcome.refusal.code === 'CLUSTER_DIALLED_ITSELF') this.#dialledItself(dialledAddress)
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
    const { node, incarnation, address, weight = 1 } = this.#host.hello()
    this.#host.step({
      type: 'link-established',
      linkId: this.#nextLinkId++,
      name: node,
      incarnation,
      address: address as NodeAddress,
      weight,
      dialledByUs: true,
      dialledAddress,
    })
  }

  /** Counts, and returns the code that the membership is told of a dial that ended so. */
  #handshakeRefused(
    link: Link,
    role: 'initiator' | 'acceptor',
    { refusal, by }: HandshakeOutcome & { readonly type: 'refused' },
  ): string {
    const { code, highestIncarnation } = refusal
    const whose = by === 'us' ? 'refused here' : 'refused by the peer'
    this.#host.refused(code, `A handshake was ${whose}: ${refusal.reason}`, link.remoteAddress)
    // That we find the peer's life stale says nothing of our own.
    if (by === 'us') return 'CLUSTER_DIAL_REJECTED'
    if (code !== 'CLUSTER_STALE_INCARNATION') return code
    // Only who has the secret, where there is one, may say that this life is over: its word comes with a number.
    if (highestIncarnation === undefined || highestIncarnation >= Number.MAX_SAFE_INTEGER) {
      return 'CLUSTER_DIAL_REJECTED'
    }
    // A dial that ends so makes the membership say it; a peer that dialled us told nobody else.
    this.#host.higherSeen(highestIncarnation, `the node at "${link.remoteAddress}"`, role === 'initiator')
    return code
  }

  #established(
    link: Link,
    outcome: HandshakeOutcome & { readonly type: 'established' },
    dialledAddress: NodeAddress | undefined,
  ): void {
    const { peer } = outcome
    const host = this.#host
    const generation = this.#generation
    const linkId = this.#nextLinkId++
    link.established()
    const session = new PeerSession(
      link,
      {
        linkId,
        name: peer.node,
        incarnation: peer.incarnation,
        frameBytesMax: host.frameBytesMax,
        outboundBytesMax: host.outboundBytesMax,
      },
      host.session,
    )
    this.#links.set(linkId, { link, session })
    host.step({
      type: 'link-established',
      linkId,
      name: peer.node,
      incarnation: peer.incarnation,
      address: peer.address as NodeAddress,
      dialledByUs: dialledAddress !== undefined,
      dialledAddress,
      weight: peer.weight,
      zone: peer.zone,
    })
    session.open()
    link.onClose((reason) => {
      this.#links.delete(linkId)
      this.#ended(link)
      if (brokenLink.has(reason.code)) {
        host.refused(
          reason.code,
          `The link to "${peer.node}" was closed: ${reason.message}`,
          link.remoteAddress,
        )
      }
      if (generation === this.#generation) host.step({ type: 'link-closed', linkId, reason })
      session.close(`the link to node "${peer.node}" was closed (${reason.code})`)
    })
  }

  #ended(link: Link): void {
    this.#unended.delete(link)
    if (this.#unended.size === 0) this.#allEnded?.()
  }
}
