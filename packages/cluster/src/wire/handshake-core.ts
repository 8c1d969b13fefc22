/**
 * The first words on a link, as a step machine for either end. With a secret on both sides:
 *
 *     initiator                              acceptor
 *     hello ------------------------------->   versions and cluster name agree? both have a secret?
 *                                    <------- hello
 *     proof: HMAC("initiator", both) ------->  verify; only now judge the name and the incarnation
 *                                    <------- proof: HMAC("acceptor", both, verdict)
 *     verify, judge; accept ---------------->  established
 *
 * Without a secret on either side (loopback only, or both certificates were verified by the transport) the
 * proofs are left out and the acceptor judges before its hello. Each proof covers both hellos, so both nonces:
 * nothing of another handshake fits. The roles' labels differ, so that a proof cannot be sent back to where it
 * came from.
 *
 * A peer that has not shown the secret learns what a hello says, and whether version, cluster name and the
 * way of authentication agree. Which names are taken, and by what, and who is admitted, is for members.
 *
 * At version 1 the hello has fewer fields, and the proofs cover only those: what else stands in it, anybody on
 * the way may have written, so it is not believed.
 */
import {
  asVersion1,
  authenticationOf,
  handshakeTranscript,
  isNodeName,
  proofBytes,
  readHandshakeMessage,
  readVerdict,
  writeVerdict,
} from './handshake-message.ts'
import type {
  AuthenticatedBy,
  HandshakeMessage,
  Hello,
  HelloPhase,
  Proof,
  Verdict,
} from './handshake-message.ts'
import { judgeIncarnation } from './refusal.ts'
import type { KnownNode, Refusal, RefusalCode } from './refusal.ts'
import type { LaneName } from './wire-protocol.ts'
import { commonFeatures, commonVersion, lanesSince } from './wire-version.ts'

/** What one end brings to the handshake. */
export interface HandshakeOptions {
  readonly role: 'initiator' | 'acceptor'
  /** What this node says of itself; `nonce` must be 32 fresh secure bytes, never used before. */
  readonly hello: Omit<Hello, 'type'>
  /**
   * The newest life of a node name that this node has seen; undefined for a name never seen. Must be a pure
   * lookup.
   */
  readonly known: (node: string) => KnownNode | undefined
  /**
   * Whether a peer that has shown that it is one of us may come in; asked at both ends, and told to the peer inside
   * what is signed. Must be pure and must not throw. @default everybody
   */
  readonly admit?: ((peer: PeerFacts) => Refusal | undefined) | undefined
  /** Refuses before a word is said when the hello is authenticated by nothing. @default false */
  readonly authenticationRequired?: boolean | undefined
}

/** What the handshake established about the other end, and about the link. */
export interface PeerFacts {
  readonly node: string
  readonly incarnation: number
  readonly address: string
  readonly weight: number
  readonly zone: string | undefined
  /** What the link is for. At version 1 always 'control'. */
  readonly lane: LaneName
  /** The id of the connection, alike at both ends: 32 bytes. A lane has that of its control link. */
  readonly connection: Uint8Array
  /** Empty at version 1. */
  readonly roles: readonly string[]
  /** The application's, '' if none; not that of the wire. */
  readonly version: string
  readonly phase: HelloPhase
}

export type HandshakeInput =
  /** The link is open. The first input of either role. */
  | { readonly type: 'start' }
  /** A frame arrived, decoded; anything may be in it. */
  | { readonly type: 'message'; readonly message: unknown }
  /** The answer to `sign`. */
  | { readonly type: 'signed'; readonly mac: Uint8Array }
  /** The answer to `verify`; the comparison must take the same time wherever the bytes differ. */
  | { readonly type: 'verified'; readonly ok: boolean }
  /** The time for the whole handshake is over. */
  | { readonly type: 'timeout' }

/**
 * To be carried out in order. `established` and `refused` are last words: the machine then answers every
 * input with nothing. What was sent before `refused` should leave before the link is closed.
 */
export type HandshakeEffect =
  | { readonly type: 'send'; readonly message: HandshakeMessage }
  /** Wants the HMAC-SHA-256 of `bytes` with the cluster's secret, as a `signed` input. */
  | { readonly type: 'sign'; readonly bytes: Uint8Array }
  /** Wants to know whether `mac` is the HMAC-SHA-256 of `bytes`, as a `verified` input. */
  | { readonly type: 'verify'; readonly bytes: Uint8Array; readonly mac: Uint8Array }
  | {
      readonly type: 'established'
      readonly peer: PeerFacts
      /** The highest version that both speak. */
      readonly version: number
      /** What both offer, sorted. */
      readonly features: readonly string[]
      /** Whether the peer has shown that it is one of us, by a secret or a certificate. */
      readonly authenticated: boolean
      readonly authenticatedBy: AuthenticatedBy
    }
  | {
      readonly type: 'refused'
      readonly code: RefusalCode
      readonly reason: string
      /** Who decided. */
      readonly by: 'us' | 'peer'
      /**
       * With `CLUSTER_STALE_INCARNATION` from the peer: start again above it. Left out when a peer that should
       * have shown the secret has not.
       */
      readonly highestIncarnation?: number
      /**
       * An initiator's refusal goes in the clear. When it has shown the secret before, this is where it can be dialled: as an
       * acceptor it signs what it says.
       */
      readonly provenAddress?: string
    }

/** Where a handshake is; for logs and tests. */
export type HandshakeStatus =
  | 'new'
  | 'awaiting-hello'
  | 'signing'
  | 'awaiting-proof'
  | 'verifying'
  | 'awaiting-accept'
  | 'established'
  | 'refused'

const nothing: readonly HandshakeEffect[] = Object.freeze([])

/** One end of one handshake. Not reused: a new link has a new machine with a new nonce. */
export class HandshakeCore {
  readonly #role: 'initiator' | 'acceptor'
  readonly #known: HandshakeOptions['known']
  readonly #admit: HandshakeOptions['admit']
  readonly #authenticationRequired: boolean
  #status: HandshakeStatus = 'new'
  /** What we say; an acceptor adds the lane that it was asked for. */
  #hello: Hello
  #peer: Hello | undefined
  /** Common to both, once the peer's hello is known. */
  #version = 0
  /**
   * The acceptor's verdict, which it signs; on the initiator's side what came with the proof being verified.
   */
  #verdict: Verdict | null = null

  /**
   * @throws {RangeError} if the hello is not of the form that peers accept, or an acceptor's names a lane.
   */
  constructor(options: HandshakeOptions) {
    if (options.hello.nonce.length !== proofBytes) {
      throw new RangeError(
        `Cannot begin a handshake with a nonce of ${options.hello.nonce.length} bytes: it must be 32`,
      )
    }
    if (!isNodeName(options.hello.node)) {
      throw new RangeError(
        `Cannot begin a handshake as "${options.hello.node}": a node name is 1 to 128 of A-Z a-z 0-9 . _ -, a letter or digit first`,
      )
    }
    const hello: Hello = { type: 'hello', ...options.hello }
    const own = readHandshakeMessage(hello)
    if (typeof own === 'string') throw new RangeError(`Cannot begin a handshake with a bad ${own}`)
    if (options.role === 'acceptor' && (hello.lane ?? 'control') !== 'control') {
      throw new RangeError(`Cannot accept with lane "${hello.lane}": the initiator says what a link is for`)
    }
    this.#role = options.role
    this.#hello = hello
    this.#known = options.known
    this.#admit = options.admit
    this.#authenticationRequired = options.authenticationRequired ?? false
  }

  /** Where it is. */
  status(): HandshakeStatus {
    return this.#status
  }

  /** One step. Never throws for what a peer sent. */
  step(input: HandshakeInput): readonly HandshakeEffect[] {
    if (this.#status === 'established' || this.#status === 'refused') return nothing
    switch (input.type) {
      case 'start':
        return this.#start()
      case 'message':
        return this.#message(input.message)
      case 'signed':
        return this.#signed(input.mac)
      case 'verified':
        return this.#verified(input.ok)
      case 'timeout':
        return this.#refuse({
          code: 'CLUSTER_HANDSHAKE_TIMEOUT',
          reason: `The handshake was not over in time, it was ${this.#status}`,
        })
      default:
        return unreachable(input)
    }
  }

  #start(): readonly HandshakeEffect[] {
    if (this.#status !== 'new') return nothing
    if (this.#authenticationRequired && authenticationOf(this.#hello) === 'none') {
      return this.#refuse({
        code: 'CLUSTER_WRONG_AUTHENTICATION',
        reason: 'This link is not authenticated, and must be: by a secret, or by certificates of both sides',
      })
    }
    this.#status = 'awaiting-hello'
    return this.#role === 'initiator' ? [{ type: 'send', message: this.#hello }] : nothing
  }

  #message(value: unknown): readonly HandshakeEffect[] {
    const message = readHandshakeMessage(value)
    if (typeof message === 'string') return this.#refuse({ code: 'CLUSTER_BAD_HANDSHAKE', reason: message })
    if (message.type === 'refuse') return this.#refusedByPeer(message)
    if (message.type === 'hello' && this.#status === 'awaiting-hello') return this.#meet(message)
    if (message.type === 'proof' && this.#status === 'awaiting-proof') return this.#check(message)
    if (message.type === 'accept' && this.#status === 'awaiting-accept') return this.#establish()
    return this.#refuse({
      code: 'CLUSTER_BAD_HANDSHAKE',
      reason: `A "${message.type}" is out of turn, the handshake is ${this.#status}`,
    })
  }

  #meet(given: Hello): readonly HandshakeEffect[] {
    const noVersion = this.#takeVersion(given)
    if (noVersion !== undefined) return this.#refuse(noVersion)
    const peer = this.#version < lanesSince ? asVersion1(given) : given
    this.#peer = peer
    const mismatch = compareHellos(this.#hello, peer) ?? this.#takeLane(peer)
    if (mismatch !== undefined) return this.#refuse(mismatch)
    if (this.#hello.authenticated) {
      if (this.#role === 'acceptor') {
        this.#status = 'awaiting-proof'
        return [{ type: 'send', message: this.#hello }]
      }
      this.#status = 'signing'
      return [{ type: 'sign', bytes: this.#transcript('initiator', null) }]
    }
    const refusal = this.#judge(peer)
    if (refusal !== undefined) return this.#refuse(refusal)
    if (this.#role === 'initiator')
      return [{ type: 'send', message: { type: 'accept' } }, ...this.#establish()]
    this.#status = 'awaiting-accept'
    return [{ type: 'send', message: this.#hello }]
  }

  #takeVersion(peer: Hello): Refusal | undefined {
    const version = commonVersion(this.#hello, peer)
    if (version !== undefined) {
      this.#version = version
      // Its lane would go unsigned; who asks for one has been told on the control link that there are none.
      if (version >= lanesSince || !(hasLane(this.#hello) || hasLane(peer))) return undefined
    }
    const offered = `${peer.versionMin} to ${peer.versionMax}`
    const spoken = `${this.#hello.versionMin} to ${this.#hello.versionMax}`
    const why = version === undefined ? '' : `, and a lane needs ${lanesSince}`
    return {
      code: 'CLUSTER_WRONG_VERSION',
      reason: `Wire versions ${offered} are offered, ${spoken} are spoken here${why}`,
    }
  }

  /** The acceptor repeats what the initiator wants the link for, so that both sign one thing. */
  #takeLane(peer: Hello): Refusal | undefined {
    if (this.#role === 'acceptor') {
      if (hasLane(peer)) this.#hello = { ...this.#hello, lane: peer.lane, connection: peer.connection }
      return undefined
    }
    const { lane = 'control', connection = null } = this.#hello
    const { lane: itsLane = 'control', connection: itsConnection = null } = peer
    if (lane === itsLane && isSame(connection, itsConnection)) return undefined
    return {
      code: 'CLUSTER_BAD_HANDSHAKE',
      reason: `The lane "${lane}" was asked for, and "${itsLane}" answered`,
    }
  }

  #signed(mac: Uint8Array): readonly HandshakeEffect[] {
    if (this.#status !== 'signing') return nothing
    const verdict = this.#verdict
    const proof: Proof = { type: 'proof', mac, refusal: verdict }
    if (this.#role === 'initiator') {
      this.#status = 'awaiting-proof'
      return [{ type: 'send', message: proof }]
    }
    if (verdict !== null) {
      this.#status = 'refused'
      return [
        { type: 'send', message: proof },
        { type: 'refused', by: 'us', ...readVerdict(verdict) },
      ]
    }
    this.#status = 'awaiting-accept'
    return [{ type: 'send', message: proof }]
  }

  #check(proof: Proof): readonly HandshakeEffect[] {
    this.#status = 'verifying'
    // Only an acceptor gives a verdict; in an initiator's proof it would not be covered by what is signed.
    const verdict = this.#role === 'initiator' ? proof.refusal : null
    this.#verdict = verdict
    const prover = this.#role === 'initiator' ? 'acceptor' : 'initiator'
    return [{ type: 'verify', bytes: this.#transcript(prover, verdict), mac: proof.mac }]
  }

  #verified(ok: boolean): readonly HandshakeEffect[] {
    const peer = this.#peer
    if (this.#status !== 'verifying' || peer === undefined) return nothing
    if (!ok)
      return this.#refuse({ code: 'CLUSTER_WRONG_SECRET', reason: 'The secrets of the two nodes differ' })
    if (this.#role === 'acceptor') {
      const refusal = this.#judge(peer)
      this.#verdict = refusal === undefined ? null : writeVerdict(refusal)
      this.#status = 'signing'
      return [{ type: 'sign', bytes: this.#transcript('acceptor', this.#verdict) }]
    }
    if (this.#verdict !== null) {
      this.#status = 'refused'
      return [{ type: 'refused', by: 'peer', ...readVerdict(this.#verdict) }]
    }
    const refusal = this.#judge(peer)
    if (refusal !== undefined) return this.#refuse(refusal)
    return [{ type: 'send', message: { type: 'accept' } }, ...this.#establish()]
  }

  #establish(): readonly HandshakeEffect[] {
    const peer = this.#peer
    if (peer === undefined) return nothing
    this.#status = 'established'
    const authenticatedBy = authenticationOf(this.#hello)
    return [
      {
        type: 'established',
        peer: this.#facts(peer),
        version: this.#version,
        features: commonFeatures(this.#version, this.#hello.features, peer.features),
        authenticated: authenticatedBy !== 'none',
        authenticatedBy,
      },
    ]
  }

  #facts(peer: Hello): PeerFacts {
    const initiator = this.#role === 'initiator' ? this.#hello : peer
    return {
      node: peer.node,
      incarnation: peer.incarnation,
      address: peer.address,
      weight: peer.weight ?? 1,
      zone: peer.zone,
      lane: peer.lane ?? 'control',
      connection: peer.connection ?? initiator.nonce,
      roles: peer.roles ?? [],
      version: peer.appVersion ?? '',
      phase: peer.phase ?? 'alive',
    }
  }

  #refuse(refusal: Refusal): readonly HandshakeEffect[] {
    this.#status = 'refused'
    return [
      { type: 'send', message: { type: 'refuse', ...writeVerdict(refusal) } },
      { type: 'refused', by: 'us', ...refusal },
    ]
  }

  /**
   * A refusal in the clear: believed, because not to connect harms nobody, but not acted upon beyond that.
   */
  #refusedByPeer(verdict: Verdict): readonly HandshakeEffect[] {
    const isProven = this.#role === 'acceptor' && this.#status === 'awaiting-accept'
    this.#status = 'refused'
    if (!this.#hello.authenticated) return [{ type: 'refused', by: 'peer', ...readVerdict(verdict) }]
    const heard = readVerdict({ ...verdict, highestIncarnation: null })
    const provenAddress = isProven ? this.#peer?.address : undefined
    return [
      { type: 'refused', by: 'peer', ...heard, ...(provenAddress === undefined ? {} : { provenAddress }) },
    ]
  }

  /** Whether the peer may be who it says; asked once it has shown that it is one of us. */
  #judge(peer: Hello): Refusal | undefined {
    if (peer.node === this.#hello.node) {
      if (peer.incarnation === this.#hello.incarnation && peer.address === this.#hello.address) {
        return {
          code: 'CLUSTER_DIALLED_ITSELF',
          reason: `Node "${peer.node}" reached itself at "${peer.address}"`,
        }
      }
      return {
        code: 'CLUSTER_NODE_NAME_TAKEN',
        reason: `Both nodes are named "${peer.node}", at "${this.#hello.address}" and "${peer.address}"`,
      }
    }
    // First of all: who is not let in does not learn which lives of which names there were.
    const refusal = this.#admit?.(this.#facts(peer))
    return refusal ?? judgeIncarnation(peer.node, peer, this.#known(peer.node))
  }

  #transcript(prover: 'initiator' | 'acceptor', verdict: Verdict | null): Uint8Array {
    const peer = this.#peer as Hello
    const [initiator, acceptor] = this.#role === 'initiator' ? [this.#hello, peer] : [peer, this.#hello]
    return handshakeTranscript(prover, this.#version, initiator, acceptor, verdict)
  }
}

/** What anybody may be told. */
function compareHellos(ours: Hello, peer: Hello): Refusal | undefined {
  if (ours.cluster !== peer.cluster) {
    return {
      code: 'CLUSTER_WRONG_CLUSTER',
      reason: `This node is of cluster "${ours.cluster}", the peer of "${peer.cluster}"`,
    }
  }
  const [our, its] = [authenticationOf(ours), authenticationOf(peer)]
  if (our !== its && our !== 'tls' && its !== 'tls') {
    const without = its === 'secret' ? 'this node' : 'the peer'
    return { code: 'CLUSTER_WRONG_SECRET', reason: `One side has a secret and ${without} has none` }
  }
  if (our !== its) {
    return {
      code: 'CLUSTER_WRONG_AUTHENTICATION',
      reason:
        `This node is authenticated by ${authenticationText[our]}, the peer by ${authenticationText[its]}: ` +
        'give all nodes a secret, or all of them certificates and no secret',
    }
  }
  if (isSame(ours.nonce, peer.nonce)) {
    return { code: 'CLUSTER_BAD_HANDSHAKE', reason: 'The peer sent the nonce that it was sent' }
  }
  return undefined
}

const authenticationText: Readonly<Record<AuthenticatedBy, string>> = Object.freeze({
  none: 'nothing',
  secret: 'a secret',
  tls: 'its certificate',
})

function hasLane(hello: Hello): boolean {
  return hello.lane !== undefined && hello.lane !== 'control'
}

/** Of values that are no secrets: how long it takes may tell where they differ. */
function isSame(a: Uint8Array | null, b: Uint8Array | null): boolean {
  if (a === null || b === null) return a === b
  return a.length === b.length && a.every((byte, index) => byte === b[index])
}

function unreachable(input: never): never {
  throw new TypeError(`Cannot step a handshake with ${JSON.stringify(input)}`)
}
