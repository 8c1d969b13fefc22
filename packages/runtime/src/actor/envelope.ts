/**
 * One message on its way, as a node of the receiver's mailbox. Hot: one is made per message (bench: ping-pong), so it
 * has one shape and no more fields than every message needs.
 */
import type { Call } from './call.ts'

/** Any message as the runtime handles it. */
export interface Message {
  readonly type: string
}

/** Who sent a message: something that can say its path. `null` means "from outside". */
export interface Sender {
  readonly senderPath: string
}

/** What an envelope holds. */
export const EnvelopeKind = Object.freeze({
  /** A message from somebody else. */
  user: 0,
  /** A message of the actor's own, from `ctx.pipe` and `ctx.request`. Nobody outside can make one. */
  own: 1,
  /** Something that becomes an own message when its turn comes, unless it was revoked: a tick, a watch notice. */
  deferred: 2,
})
export type EnvelopeKind = (typeof EnvelopeKind)[keyof typeof EnvelopeKind]

/** Becomes an own message when it is handled; `undefined` when it was revoked while it waited. */
export interface Deferred extends Message {
  /** A full mailbox may drop it, as it may drop any message: a tick. A notice or a result comes once, and is kept. */
  readonly droppable: boolean
  readonly open: () => Message | undefined
}

export class Envelope {
  next: Envelope | null
  readonly message: Message
  readonly sender: Sender | null
  /** Set for an ask: where the answer goes. */
  readonly call: Call | null
  readonly kind: EnvelopeKind

  constructor(message: Message, sender: Sender | null, call: Call | null, kind: EnvelopeKind) {
    this.next = null
    this.message = message
    this.sender = sender
    this.call = call
    this.kind = kind
  }
}
