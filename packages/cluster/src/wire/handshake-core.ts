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
 * Without a secret on either side (loopback only, which the shell sees to) the proofs are left out and the
 * acceptor judges before its hello. Each proof covers both hellos, so both nonces: nothing of another
 * handshake fits. The roles' labels differ, so that a proof cannot be sent back to where it came from.
 *
 * A peer that has not shown the secret learns what a hello says, and whether version, cluster name and the
 * use of a secret agree. Which names are taken, and by what, is for members.
 */
import { encode } from '@understudy/runtime/codec'

import {
  helloFields,
  isNodeName,
  proofBytes,
  readHandshakeMessage,
  readVerdict,
  writeVerdict,
} from './handshake-message.ts'
import type { HandshakeMessage, Hello, Proof, Verdict } from './handshake-message.ts'
import { judgeIncarnation } from './refusal.ts'
import type { KnownNode, Refusal, RefusalCode } from './refusal.ts'

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
}

/** What the handshake established about the other end. */
export interface PeerFacts {
  readonly node: string
  readonly incarnation: number
  readonly address: string
  readonly weight: number
  readonly zone: string | undefined
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
      /** Whether the peer has shown that it has the secret. */
      readonly authenticated: boolean
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
  readonly #hello: Hello
  readonly #known: HandshakeOptions['known']
  #status: HandshakeStatus = 'new'
  #peer: Hello | undefined
  /**
   * The acceptor's verdict, which it signs; on the initiator's side what came with the proof being verified.
   */
  #verdict: Verdict | null = null

  /**
   * @throws {RangeError} if the nonce is not 32 bytes or the node's name not of the form that peers accept.
   */
  constructor(options: HandshakeOptions) {
    if (options.hello.nonce.length !== proofBytes) {
      throw new RangeError(
        `Cannot begin a handshake with a nonce of ${options.hello.nonce.length} bytes: it must be 32`,
      )
    }
    if (!isNodeName(options.hello.node)) {
      throw new RangeError(
        `Cannot begin a handshake as "${options.hello.node}": a node name is 1 to 128 of A-Z a-z 0-9 . _ -`,
      )
    }
    this.#role = options.role
    this.#hello = { type: 'hello', ...options.hello }
    this.#known = options.known
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

  #meet(peer: Hello): readonly HandshakeEffect[] {
    this.#peer = peer
    const mismatch = compareHellos(this.#hello, peer)
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
    const ours = new Set(this.#hello.features)
    return [
      {
        type: 'established',
        peer: {
          node: peer.node,
          incarnation: peer.incarnation,
          address: peer.address,
          weight: peer.weight ?? 1,
          zone: peer.zone,
        },
        version: Math.min(this.#hello.versionMax, peer.versionMax),
        features: [...new Set(peer.features)].filter((feature) => ours.has(feature)).sort(),
        authenticated: this.#hello.authenticated,
      },
    ]
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
    this.#status = 'refused'
    const heard = this.#hello.authenticated ? { ...verdict, highestIncarnation: null } : verdict
    return [{ type: 'refused', by: 'peer', ...readVerdict(heard) }]
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
    return judgeIncarnation(peer.node, peer, this.#known(peer.node))
  }

  /** What a proof signs. The order and the labels are part of the protocol. */
  #transcript(prover: 'initiator' | 'acceptor', verdict: Verdict | null): Uint8Array {
    const peer = this.#peer as Hello
    const [initiator, acceptor] = this.#role === 'initiator' ? [this.#hello, peer] : [peer, this.#hello]
    return encode([
      `understudy.1 handshake ${prover}`,
      helloFields(initiator),
      helloFields(acceptor),
      verdict === null ? null : [verdict.code, verdict.reason, verdict.highestIncarnation],
    ])
  }
}

/** What anybody may be told. */
function compareHellos(ours: Hello, peer: Hello): Refusal | undefined {
  if (Math.min(ours.versionMax, peer.versionMax) < Math.max(ours.versionMin, peer.versionMin)) {
    const offered = `${peer.versionMin} to ${peer.versionMax}`
    const spoken = `${ours.versionMin} to ${ours.versionMax}`
    return {
      code: 'CLUSTER_WRONG_VERSION',
      reason: `Wire versions ${offered} are offered, ${spoken} are spoken here`,
    }
  }
  if (ours.cluster !== peer.cluster) {
    return {
      code: 'CLUSTER_WRONG_CLUSTER',
      reason: `This node is of cluster "${ours.cluster}", the peer of "${peer.cluster}"`,
    }
  }
  if (ours.authenticated !== peer.authenticated) {
    const without = peer.authenticated ? 'this node' : 'the peer'
    return { code: 'CLUSTER_WRONG_SECRET', reason: `One side has a secret and ${without} has none` }
  }
  if (ours.nonce.every((byte, index) => byte === peer.nonce[index])) {
    return { code: 'CLUSTER_BAD_HANDSHAKE', reason: 'The peer sent the nonce that it was sent' }
  }
  return undefined
}

function unreachable(input: never): never {
  throw new TypeError(`Cannot step a handshake with ${JSON.stringify(input)}`)
}
