/**
 * What a decoder tells its shell. Calls come in the order in which the peer sent the envelopes, from inside
 * `FrameDecoder.read`; what a sink throws comes out of `read`.
 */
import type {
  CallChainLink,
  IncomingRecipient,
  LaneName,
  Recipient,
  WireMessageValue,
} from './wire-protocol.ts'

/** A message type as this connection knows it: one stable object per announced type. */
export interface IncomingType {
  readonly protocol: string
  readonly type: string
  /** What our own protocol says the message is. */
  readonly kind: 'tell' | 'ask'
  /** The shell's: its validator for this type, or whatever it wants to find again without looking up. */
  slot: unknown
}

/** The shell's half. Messages handed over belong to it; a `call` list is not to be changed. */
export interface FrameSink {
  onTell(recipient: IncomingRecipient, type: IncomingType, message: WireMessageValue): void
  /**
   * `remainingMs` counts from when the peer sent it; undefined without a deadline. `sender` is a path on the
   * peer.
   */
  onAsk(
    askId: number,
    recipient: IncomingRecipient,
    type: IncomingType,
    message: WireMessageValue,
    remainingMs: number | undefined,
    sender: string | undefined,
    chain: readonly CallChainLink[],
  ): void
  onReply(askId: number, value: unknown): void
  onFail(askId: number, code: string, message: string, details: unknown): void
  onWatch(watchId: number, recipient: IncomingRecipient): void
  onUnwatch(watchId: number): void
  onTerminated(watchId: number, reason: string, detail: string | undefined): void
  onCancel(askId: number): void
  onHeartbeat(sequence: number, kind: 'ping' | 'pong'): void
  /** `lanes`: on the control lane, those on which a good-bye comes as well. */
  onGoodbye(reason: string, lanes: readonly LaneName[]): void
  /** What the membership of the peer says. Anything that a frame can hold. */
  onGossip(payload: unknown): void
  onLaneWanted(lane: LaneName): void
  /** Nothing comes behind it on this link. */
  onEndLane(lane: LaneName): void
  onCredit(recipient: Recipient, isGiven: boolean): void
  onChosen(): void
  onWatched(watchId: number, uid: number, path: string): void
  /** A message of a protocol or type that is not known here. `askId` is undefined for a tell. */
  onUnknown(askId: number | undefined, recipient: IncomingRecipient, protocol: string, type: string): void
  /**
   * A message that lacks required fields. Types and ranges are for the shell's validator, after
   * `onTell`/`onAsk`.
   */
  onInvalid(
    askId: number | undefined,
    recipient: IncomingRecipient,
    protocol: string,
    type: string,
    problem: string,
  ): void
}
