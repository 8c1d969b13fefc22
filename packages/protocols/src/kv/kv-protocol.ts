/**
 * What clients and services of the store say to each other. Requests and answers are bytes of `kv-codec.ts`; an answer's first
 * byte says what kind it is, so that "another one leads" costs no error and no stack.
 */
import { ask, protocol, refOf, tell, type ActorRef, type MessagesOf } from '@understudy/runtime'
import type { TUnsafe } from 'typebox'
import type { ReadConsistency } from '../core/consensus-group.ts'
import { ByteReader, ByteWriter } from './kv-buffer.ts'
import { decodeKvResult, encodeKvResult } from './kv-codec.ts'
import type { KvResult } from './kv-command.ts'

/** Where the service of the store `name` lives on each of its nodes. */
export function kvServicePath(name: string): string {
  return `/system/kv-${name}`
}

/** One subscription: what a service is asked to send, to whom, and how much before it hears of credit again. */
export interface WatchRequest {
  readonly client: string
  readonly watch: number
  readonly to: ActorRef<KvWatcherMessages>
  readonly from: string
  readonly upTo: string | null
  /** First revision; 0: from what is newest when it is asked, linearizably, on. */
  readonly revision: number
  readonly previous: boolean
  readonly without: '' | 'put' | 'delete'
  readonly credit: number
}

/** A schema of JSON, with the type that it stands for: TypeBox cannot know that of an object that it did not make. */
function typed<T>(schema: object): TUnsafe<T> {
  return schema as TUnsafe<T>
}

/** JSON schema has no word for bytes; what they say is read where they are decoded. */
const bytes = typed<Uint8Array>({})
const text = typed<string>({ type: 'string' })
const flag = typed<boolean>({ type: 'boolean' })
const count = typed<number>({ type: 'integer', minimum: 0 })

/** What a watching client is told. `watch` is the number that it gave to this subscription. */
export const KvWatcher = protocol('understudy-kv-watcher', {
  /** Bytes of `WatchHub`. */
  push: tell({ watch: count, bytes }),
  /** The service has ended the subscription; with `compactRevision` above 0 because what comes next is compacted. */
  ended: tell({ watch: count, why: text, compactRevision: count }),
})

export type KvWatcherMessages = MessagesOf<typeof KvWatcher>

/** Commands, requests and answers are bytes of `kv-codec.ts` and of this file. */
export const KvService = protocol('understudy-kv', {
  /** `session` 0: without one, for what may be done twice. */
  write: ask({ session: count, sequence: count, below: count, command: bytes }, bytes),
  read: ask(
    { request: bytes, consistency: typed<ReadConsistency>({ enum: ['linearizable', 'lease', 'local'] }) },
    bytes,
  ),
  openSession: ask({ ttlMs: count }, bytes),
  /** Keeps a lease alive. On the control lane: no bulk of data may cost somebody a lease. */
  keepAlive: ask({ command: bytes }, bytes, { lane: 'control' }),
  watch: ask(
    {
      client: text,
      watch: count,
      to: refOf(KvWatcher),
      from: text,
      upTo: typed<string | null>({ type: ['string', 'null'] }),
      revision: count,
      previous: flag,
      without: typed<'' | 'put' | 'delete'>({ enum: ['', 'put', 'delete'] }),
      credit: count,
    },
    bytes,
  ),
  unwatch: tell({ client: text, watch: count }),
  credit: tell({ client: text, watch: count, bytes: count }),
  status: ask(typed<Readonly<Record<string, unknown>>>({})),
})

export type KvServiceMessages = MessagesOf<typeof KvService>

/** An answer of a service. */
export type KvReply =
  | { readonly kind: 'result'; readonly result: KvResult }
  /**
   * Of a batch: the results in order, one behind the other, for `readKvResult`. Of reads there may be fewer than were asked
   * for, one at least, when they take too much room together; the rest is to be asked again.
   */
  | { readonly kind: 'results'; readonly results: ByteReader }
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
  /** The session's number; or the watch begins at this revision, and is told every `progressMs` that it lives. */
  | { readonly kind: 'opened'; readonly number: number; readonly progressMs: number }
  | { readonly kind: 'compacted'; readonly compactRevision: number }

const kinds = [
  'result',
  'not-leader',
  'overloaded',
  'unknown',
  'session-expired',
  'closed',
  'opened',
  'compacted',
  'results',
] as const

/** The bytes of an answer but for those of a batch. */
export function encodeKvReply(reply: Exclude<KvReply, { readonly kind: 'results' }>): Uint8Array {
  // The codec leaves room for the kind: results are most answers.
  if (reply.kind === 'result') return encodeKvResult(reply.result, 0)
  const writer = new ByteWriter(32)
  writer.byte(kinds.indexOf(reply.kind))
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
    case 'compacted':
      writer.number(reply.compactRevision)
      break
  }
  return writer.take()
}

/** The bytes of a write's answer: of one command, or of a batch. */
export function encodeKvWriteReply(result: KvResult): Uint8Array {
  if (!result.ok || result.result.type !== 'batch') return encodeKvReply({ kind: 'result', result })
  const { answers } = result.result
  const writer = beginKvResults(answers.length + 1)
  writer.rest(answers)
  return writer.take()
}

/** Behind what it holds come the results of a batch, written by `writeKvResult`. `bytes`: how many are likely. */
export function beginKvResults(bytes: number): ByteWriter {
  const writer = new ByteWriter(bytes)
  writer.byte(kinds.indexOf('results'))
  return writer
}

/** As `beginKvResults`, for the only result of a read that is no batch. */
export function beginKvResult(bytes: number): ByteWriter {
  const writer = new ByteWriter(bytes)
  writer.byte(kinds.indexOf('result'))
  return writer
}

/** @throws {RangeError} when the bytes are no answer */
export function decodeKvReply(bytes: unknown): KvReply {
  if (!(bytes instanceof Uint8Array)) throw new RangeError('An answer of the store is bytes')
  const kind = kinds[bytes[0] ?? kinds.length]
  const reader = new ByteReader(bytes, 1)
  switch (kind) {
    case 'result':
      return { kind, result: decodeKvResult(reader.rest()) }
    case 'not-leader':
      return { kind, leader: reader.text() }
    case 'overloaded':
    case 'unknown':
    case 'closed':
      return { kind, why: reader.text() }
    case 'session-expired':
      return { kind }
    case 'opened':
      return { kind, number: reader.number(), progressMs: reader.number() }
    case 'compacted':
      return { kind, compactRevision: reader.number() }
    case 'results':
      return { kind, results: reader }
    default:
      throw new RangeError('An answer of the store begins as none does')
  }
}
