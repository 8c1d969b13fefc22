/** What a session is made of, and what it needs of the node around it. */
import type { Cell, EndReason, Kernel } from '@understudy/runtime/internal'
import type { LaneName, Recipient } from '../wire/wire-protocol.ts'
import { lanesSince } from '../wire/wire-version.ts'
import type { PeerSession } from './peer-session.ts'
import type { WireRegistry } from './wire-registry.ts'

/** A lane with a link of its own, besides the control link that the session began with. */
export type ExtraLane = Exclude<LaneName, 'control'>

export interface SessionHost {
  readonly kernel: Kernel
  readonly registry: WireRegistry
  /** The actor or entity that a recipient names, here; started when it is an entity. */
  readonly resolve: (recipient: Recipient) => Cell | undefined
  /** The same, but nothing is started. */
  readonly find: (recipient: Recipient) => Cell | undefined
  /** Whether somebody is there, or would be started. */
  readonly takes: (recipient: Recipient) => boolean
  readonly resolveRef: (parts: readonly unknown[]) => unknown
  /**
   * The session has, or its peer has, something to send on a lane without a link: dial it, and `attach` it. Only on the
   * side that dialled the control link; once until it was attached, and again when it was idle, has ended, and is wanted
   * again. Who cannot dial it closes the session.
   */
  readonly wantLane: (session: PeerSession, lane: ExtraLane) => void
  readonly heartbeat: (session: PeerSession, sequence: number, kind: 'ping' | 'pong') => void
  /** What the membership of the peer says; not checked in any way. */
  readonly gossip: (session: PeerSession, payload: unknown) => void
  /** The peer says that of the links between the two nodes this session's is the one to use. */
  readonly chosen: (session: PeerSession) => void
  /** The peer leaves, and all that it sent before on any lane has been delivered. At most once. */
  readonly goodbye: (session: PeerSession) => void
  readonly terminated: (session: PeerSession, watchId: number, reason: EndReason) => void
  /** Whom a watch that named only a place has found there. */
  readonly watched: (session: PeerSession, watchId: number, uid: number, path: string) => void
  /** The peer broke the protocol: close the session and its links. */
  readonly fault: (session: PeerSession, code: string, message: string) => void
  /** A tell of the peer was refused, and nobody waits to hear of it: a line for the log, of which there may be many. */
  readonly complain: (session: PeerSession, code: string, message: string) => void
  readonly frames: (session: PeerSession, direction: 'in' | 'out', bytes: number) => void
}

export interface SessionFacts {
  /** Of the control link; the node's number. */
  readonly linkId: number
  readonly name: string
  readonly incarnation: number
  /** Bytes of one frame. */
  readonly frameBytesMax: number
  /** Bytes that may wait on one lane behind a link that is full; see the table in session-lane.ts. */
  readonly outboundBytesMax: number
  /** What both sides speak. At 1 nothing is sent that version 1 does not know. @default 2 */
  readonly wireVersion?: number | undefined
  /** Whether data and bulk get links of their own. Both sides must say the same. @default false */
  readonly lanes?: boolean | undefined
  /** Whether this side dialled the control link; then it dials the lanes. @default false */
  readonly dialledByUs?: boolean | undefined
  /** Whether the peer's end may stand later than this one: lanes are dialled behind its first frame. @default false */
  readonly awaitsPeer?: boolean | undefined
  /** A data or bulk lane ends when it was quiet for so long, at most twice as long. `Infinity`: never. @default 60_000 */
  readonly laneIdleMs?: number | undefined
  /** Messages in one mailbox here at which the peer is told to send no more to it. @default 16_384 */
  readonly creditHigh?: number | undefined
  /** Messages that may still be sent to a recipient once the peer has said so. @default 4_096 */
  readonly creditAllowance?: number | undefined
}

export const sessionDefaults = Object.freeze({
  wireVersion: lanesSince,
  laneIdleMs: 60_000,
  creditHigh: 16_384,
  creditAllowance: 4_096,
})
