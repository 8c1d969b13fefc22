/** The shell of `HandshakeCore`: shakes hands on one link, within one deadline. */
import { decode, encode, inspectCbor } from '@understudy/runtime/codec'
import type { Clock } from '@understudy/runtime'
import { equalBytes, hmacSha256 } from '@understudy/runtime/internal'
import { HandshakeCore } from '../wire/handshake-core.ts'
import type { HandshakeEffect, HandshakeInput, PeerFacts } from '../wire/handshake-core.ts'
import { handshakeBytesMax } from '../wire/handshake-message.ts'
import type { Hello } from '../wire/handshake-message.ts'
import type { KnownNode, Refusal } from '../wire/refusal.ts'
import type { Link } from './transport.ts'

export interface HandshakeShellOptions {
  readonly link: Link
  readonly role: 'initiator' | 'acceptor'
  readonly hello: Omit<Hello, 'type'>
  readonly known: (node: string) => KnownNode | undefined
  readonly secret: string | undefined
  readonly clock: Clock
  /** For the whole handshake, in milliseconds. */
  readonly timeoutMs: number
  /** The link has ended, during the handshake or after a refusal. Not called once `onClose` is the caller's. */
  readonly ended: () => void
}

export type HandshakeOutcome =
  | { readonly type: 'established'; readonly peer: PeerFacts; readonly authenticated: boolean }
  /** The link is closing. */
  | { readonly type: 'refused'; readonly refusal: Refusal; readonly by: 'us' | 'peer' }
  /** The link ended before the handshake did. */
  | { readonly type: 'lost'; readonly code: string }

/**
 * Shakes hands on `link`. Never rejects. When it is established the link's `onFrame` and `onClose` are the caller's to
 * set, and frames that came right behind the handshake are not lost: `done` is called before the next one is read.
 */
export function shakeHands(options: HandshakeShellOptions, done: (outcome: HandshakeOutcome) => void): void {
  const { link, role, hello, known, secret, clock } = options
  const core = new HandshakeCore({ role, hello, known })
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
        step({ type: 'signed', mac: hmacSha256(secret ?? '', effect.bytes) })
        return
      case 'verify':
        step({ type: 'verified', ok: equalBytes(hmacSha256(secret ?? '', effect.bytes), effect.mac) })
        return
      case 'established':
        finish({ type: 'established', peer: effect.peer, authenticated: effect.authenticated })
        return
      case 'refused':
        finish({ type: 'refused', refusal: effect, by: effect.by })
        link.close(effect.code)
        return
      default:
        effect satisfies never
    }
  }

  link.onFrame((frame) => {
    if (over) return
    step({ type: 'message', message: readFrame(frame) })
  })
  link.onClose((reason) => {
    finish({ type: 'lost', code: reason.code })
    options.ended()
  })
  step({ type: 'start' })
}

/** Whatever cannot be read is a message of no form: the core refuses it in its own words. */
function readFrame(frame: Uint8Array): unknown {
  if (frame.length > handshakeBytesMax || inspectCbor(frame) !== undefined) return undefined
  try {
    return decode(frame)
  } catch {
    return undefined
  }
}
