/**
 * How a service on a consensus group answers its clients, whatever it serves. An answer is bytes, and its first byte says what
 * kind it is, so that "another one leads" costs no error and no stack.
 */
import { ByteReader, ByteWriter } from './byte-buffer.ts'

/** An answer without a result of the service's state machine. */
export type PlainReply =
  /** Nothing was done; `leader` is the node to ask, `''` when none is known. */
  | { readonly kind: 'not-leader'; readonly leader: string }
  /** Nothing was done: too much waits. */
  | { readonly kind: 'overloaded'; readonly why: string }
  /** It may be done, or not, or later. */
  | { readonly kind: 'unknown'; readonly why: string }
  /** This attempt did nothing; what earlier ones did cannot be found out any more. */
  | { readonly kind: 'session-expired' }
  /** Nothing was done: this node does not take part any more, or is not up to it. */
  | { readonly kind: 'closed'; readonly why: string }
  /** The session's number; or a stream begins at this number, and is told every `progressMs` that it lives. */
  | { readonly kind: 'opened'; readonly number: number; readonly progressMs: number }

/** An answer of a service whose state machine gives `R`. */
export type ServiceReply<R> =
  | PlainReply
  | { readonly kind: 'result'; readonly result: R }
  /**
   * Of a batch: the results in order, one behind the other. Of reads there may be fewer than were asked for, one at least, when
   * they take too much room together; the rest is to be asked again.
   */
  | { readonly kind: 'results'; readonly results: ByteReader }

/** What every answer has; a service may have kinds of its own. */
export interface ReplyOfKind {
  readonly kind: string
}

/** After these a call goes on: with another server, or later. */
export type RetryReply = Extract<
  PlainReply,
  { readonly kind: 'not-leader' | 'overloaded' | 'unknown' | 'closed' }
>

/** An answer that ends a call, whatever it means. `Own`: the kinds that only this service has. */
export type FinalReply<R, Own extends ReplyOfKind = never> = Exclude<ServiceReply<R>, RetryReply> | Own

/** First bytes of answers. From `own` on, but for `results`, they are the service's. */
export const replyTag = {
  result: 0,
  'not-leader': 1,
  overloaded: 2,
  unknown: 3,
  'session-expired': 4,
  closed: 5,
  opened: 6,
  own: 7,
  results: 8,
} as const

export function isRetry(reply: ReplyOfKind): reply is RetryReply {
  const { kind } = reply
  return kind === 'not-leader' || kind === 'overloaded' || kind === 'unknown' || kind === 'closed'
}

/** The bytes of an answer without a result. */
export function encodePlainReply(reply: PlainReply): Uint8Array {
  const writer = new ByteWriter(32)
  writer.byte(replyTag[reply.kind])
  switch (reply.kind) {
    case 'not-leader':
      writer.text(reply.leader)
      break
    case 'overloaded':
    case 'unknown':
    case 'closed':
      writer.text(reply.why)
      break
    case 'session-expired':
      break
    case 'opened':
      writer.number(reply.number)
      writer.number(reply.progressMs)
      break
  }
  return writer.take()
}

/** Behind what it holds come the results of a batch. `bytes`: how many are likely. */
export function beginResults(bytes: number): ByteWriter {
  const writer = new ByteWriter(bytes)
  writer.byte(replyTag.results)
  return writer
}

/** Behind what it holds comes the only result. */
export function beginResult(bytes: number): ByteWriter {
  const writer = new ByteWriter(bytes)
  writer.byte(replyTag.result)
  return writer
}

/** The bytes of a batch's answer, whose results are `answers`. */
export function encodeResults(answers: Uint8Array): Uint8Array {
  const writer = beginResults(answers.length + 1)
  writer.rest(answers)
  return writer.take()
}

/**
 * Hot: once an answer. `decodeResult` reads the only result, `decodeOwn` an answer of a kind of the service's own.
 * @throws {RangeError} when the bytes are no answer
 */
export function decodeReply<R, Own extends ReplyOfKind = never>(
  bytes: unknown,
  decodeResult: (bytes: Uint8Array) => R,
  decodeOwn: (tag: number, reader: ByteReader) => Own | undefined,
): ServiceReply<R> | Own {
  if (!(bytes instanceof Uint8Array)) throw new RangeError('An answer of a service is bytes')
  const tag = bytes[0] ?? -1
  const reader = new ByteReader(bytes, 1)
  switch (tag) {
    case replyTag.result:
      return { kind: 'result', result: decodeResult(reader.rest()) }
    case replyTag.results:
      return { kind: 'results', results: reader }
    case replyTag['not-leader']:
      return { kind: 'not-leader', leader: reader.text() }
    case replyTag.overloaded:
      return { kind: 'overloaded', why: reader.text() }
    case replyTag.unknown:
      return { kind: 'unknown', why: reader.text() }
    case replyTag.closed:
      return { kind: 'closed', why: reader.text() }
    case replyTag['session-expired']:
      return { kind: 'session-expired' }
    case replyTag.opened:
      return { kind: 'opened', number: reader.number(), progressMs: reader.number() }
    default: {
      const own = decodeOwn(tag, reader)
      if (own === undefined) throw new RangeError('An answer of a service begins as none does')
      return own
    }
  }
}
