/** The shell of `HandshakeCore`: shakes hands on one link, within one deadline. */
import { decode, encode, inspectCbor } from '@understudy/runtime/codec'
import type { Clock } from '@understudy/runtime'
import { HandshakeCore } from '../wire/handshake-core.ts'
import type { HandshakeEffect, HandshakeInput, PeerFacts } from '../wire/handshake-core.ts'
import { handshakeBytesMax } from '../wire/handshake-message.ts'
import type { AuthenticatedBy, Hello } from '../wire/handshake-message.ts'
import type { JoinJudge } from '../wire/join-policy.ts'
import type { KnownNode, Refusal } from '../wire/refusal.ts'
import { signProof, verifyProof, type SecretRing } from '../wire/secret-ring.ts'
import { nodeAddress, parseAddress } from './address.ts'
import type { Link } from './transport.ts'

/** What a node says of itself; how it is authenticated the shell adds. */
export type HandshakeHello = Omit<Hello, 'type' | 'authenticated' | 'authenticatedBy'>

export interface HandshakeShellOptions {
  readonly link: Link
  readonly role: 'initiator' | 'acceptor'
  /** `lane` and `connection` are the initiator's to say. */
  readonly hello: HandshakeHello
  readonly known: (node: string) => KnownNode | undefined
  /** Asked once, when the handshake begins: an exchange of secrets counts from the next one on. @default none */
  readonly secrets?: (() => SecretRing | undefined) | undefined
  /** The transport has verified the peer's certificate. Without secrets that is what authenticates. @default false */
  readonly authenticatedByTransport?: boolean | undefined
  /**
   * Refuse, before a word is said, when neither a secret nor the transport authenticates: a node whose certificates are
   * its only protection must not fall back to none. @default false
   */
  readonly authenticationRequired?: boolean | undefined
  /** The names in the peer's verified certificate. @default those of `link.peerCertificate` */
  readonly peerNames?: readonly string[] | undefined
  /** Who may come in, of those who have proved themselves. @default everybody */
  readonly admits?: JoinJudge | undefined
  /**
   * For the acceptor of a lane: whether the connection it belongs to stands, with this very life of this very node.
   * @default taken for true
   */
  readonly hasConnection?: ((peer: PeerFacts) => boolean) | undefined
  readonly clock: Clock
  /** For the whole handshake, in milliseconds. */
  readonly timeoutMs: number
  /** The link has ended, during the handshake or after a refusal. Not called once `onClose` is the caller's. */
  readonly ended: () => void
}

export type HandshakeOutcome =
  | {
      readonly type: 'established'
      readonly peer: PeerFacts
      /** Of the wire: below 2 there are no lanes, and control carries everything. */
      readonly version: number
      /** What both offer, sorted. */
      readonly features: readonly string[]
      /** Whether the peer has shown that it is one of us, by a secret or a certificate. */
      readonly authenticated: boolean
      readonly authenticatedBy: AuthenticatedBy
    }
  /** The link is closing. `provenAddress`: see `HandshakeEffect`. */
  | {
      readonly type: 'refused'
      readonly refusal: Refusal
      readonly by: 'us' | 'peer'
      readonly provenAddress?: string | undefined
    }
  /** The link ended before the handshake did. */
  | { readonly type: 'lost'; readonly code: string }

/**
 * Shakes hands on `link`. Never rejects. When it is established the link's `onFrame` and `onClose` are the caller's to
 * set, and frames that came right behind the handshake are not lost: `done` is called before the next one is read.
 *
 * @throws {RangeError} if the hello is not of the form that peers accept.
 */
export function shakeHands(options: HandshakeShellOptions, done: (outcome: HandshakeOutcome) => void): void {
  const { link, role, known, authenticationRequired, clock } = options
  const ring = options.secrets?.()
  const core = new HandshakeCore({
    role,
    hello: { ...options.hello, ...authentication(ring, options.authenticatedByTransport ?? false) },
    known,
    admit: (peer) => admit(options, peer),
    authenticationRequired,
  })
  let over = false
  const timer = clock.setTimer(clock.monotonicMs() + options.timeoutMs, () => step({ type: 'timeout' }))

  function finish(outcome: HandshakeOutcome): void {
    if (over) return
    over = true
    timer.cancel()
    done(outcome)
  }

  function step(input: HandshakeInput): void {
    if (over) return
    for (const effect of core.step(input)) carryOut(effect)
  }

  function carryOut(effect: HandshakeEffect): void {
    switch (effect.type) {
      case 'send':
        link.send(encode(effect.message))
        return
      case 'sign':
        step(
          ring === undefined ? { type: 'timeout' } : { type: 'signed', mac: signProof(ring, effect.bytes) },
        )
        return
      case 'verify':
        step({ type: 'verified', ok: ring !== undefined && verifyProof(ring, effect.bytes, effect.mac) })
        return
      case 'established':
        finish(effect)
        return
      case 'refused':
        finish({ type: 'refused', refusal: effect, by: effect.by, provenAddress: effect.provenAddress })
        link.close(effect.code)
        return
      default:
        effect satisfies never
    }
  }

  link.onFrame((frame) => {
    if (over) return
    step({ type: 'message', message: readHandshakeFrame(frame) })
  })
  link.onClose((reason) => {
    finish({ type: 'lost', code: reason.code })
    options.ended()
  })
  step({ type: 'start' })
}

function authentication(
  ring: SecretRing | undefined,
  byTransport: boolean,
): { readonly authenticated: boolean; readonly authenticatedBy: AuthenticatedBy } {
  if (ring !== undefined) return { authenticated: true, authenticatedBy: 'secret' }
  return { authenticated: false, authenticatedBy: byTransport ? 'tls' : 'none' }
}

function admit(options: HandshakeShellOptions, peer: PeerFacts): Refusal | undefined {
  const { link, role, peerNames = link.peerCertificate?.names, admits, hasConnection } = options
  const dialled = role === 'initiator'
  if (!isSpelledWell(peer.address)) {
    return {
      code: 'CLUSTER_BAD_HANDSHAKE',
      reason: 'The address in the hello is none: it must be as "ws://10.0.0.7:7001"',
    }
  }
  const refusal = admits?.({ ...peer, remoteHost: hostOf(link.remoteAddress), dialled, peerNames })
  if (refusal !== undefined) return refusal
  if (dialled || peer.lane === 'control' || hasConnection?.(peer) !== false) return undefined
  return {
    code: 'CLUSTER_NO_SUCH_CONNECTION',
    reason: `No connection of node "${peer.node}" stands here that the lane "${peer.lane}" would belong to`,
  }
}

/** Addresses are compared as text everywhere behind the handshake, so there is one spelling. */
function isSpelledWell(address: string): boolean {
  try {
    return nodeAddress(address) === address
  } catch {
    return false
  }
}

function hostOf(remoteAddress: string): string {
  try {
    return parseAddress(remoteAddress).host
  } catch {
    return ''
  }
}

/** Whatever cannot be read is a message of no form: the core refuses it in its own words. */
function readHandshakeFrame(frame: Uint8Array): unknown {
  if (frame.length > handshakeBytesMax || inspectCbor(frame) !== undefined) return undefined
  try {
    return decode(frame)
  } catch {
    return undefined
  }
}
