/**
 * What the wire needs to know of a protocol, a recipient and a message. Plain data, made once by the shell.
 */
import type { laneOrder } from './envelope-tag.ts'

/** One field of a message, in the order of its schema. */
export interface WireField {
  readonly name: string
  /** A message without it is refused before it reaches a validator. */
  readonly required: boolean
}

/** Which of the links between two nodes carries a message. */
export type LaneName = (typeof laneOrder)[number]

/** One message type of a protocol. */
export interface WireMessage {
  readonly kind: 'tell' | 'ask'
  /** @default 'data' */
  readonly lane?: LaneName | undefined
  readonly fields: readonly WireField[]
}

/**
 * A protocol as the wire sees it: the messages by type. Keep one object per protocol: encoders know it by
 * identity.
 */
export interface WireProtocol {
  readonly name: string
  readonly messages: Readonly<Record<string, WireMessage>>
  /** The lanes of its messages, in the order of `laneOrder`; left out when all are told or asked on `data`. */
  readonly lanes?: readonly LaneName[] | undefined
}

/** A message as actors send it: a plain object whose `type` says which. */
export interface WireMessageValue {
  readonly type: string
}

/**
 * Where a message goes. An actor with a `uid` is that very one, without it whoever lives at the path now; an
 * entity is found by name and key. Keep one object per recipient: encoders intern it by identity.
 */
export type Recipient =
  | { readonly kind: 'actor'; readonly path: string; readonly uid: number | undefined }
  | { readonly kind: 'entity'; readonly name: string; readonly key: string }

/** A recipient as it arrived. One object per interned id, so that what it resolved to can be kept on it. */
export type IncomingRecipient = Recipient & {
  /** The shell's: what this recipient resolved to. Undefined until the shell sets it. */
  target: unknown
}

/** One awaiting call on the way here, oldest first: used to find call cycles. */
export interface CallChainLink {
  readonly node: string
  /** Of the node: another life of it gives the same uids to others. */
  readonly incarnation: number
  readonly uid: number
  readonly path: string
  readonly messageType: string
}
