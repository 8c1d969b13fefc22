/**
 * What clients and services of the store say to each other. Requests and answers are bytes of `kv-codec.ts`; an answer's first
 * byte says what kind it is (service-reply.ts).
 */
import { ask, protocol, refOf, tell, type ActorRef, type MessagesOf } from '@understudy/runtime'
import type { TUnsafe } from 'typebox'
import type { ReadConsistency } from '../core/consensus-group.ts'
import { ByteWriter, type ByteReader } from '../service/byte-buffer.ts'
import {
  decodeReply,
  encodePlainReply,
  encodeResults,
  replyTag,
  type ServiceReply,
} from '../service/service-reply.ts'
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

/**
 * What a watching client is told. `watch` is the number that it gave to this subscription.
 * It may be gone by then.
 */
export const KvWatcher = protocol(
  'understudy-kv-watcher',
  {
    /** Bytes of `WatchHub`. */
    push: tell({ watch: count, bytes }),
    /** The service has ended the subscription; with `compactRevision` above 0 because what comes next is compacted. */
    ended: tell({ watch: count, why: text, compactRevision: count }),
  },
  { absence: 'expected' },
)

export type KvWatcherMessages = MessagesOf<typeof KvWatcher>

/**
 * Commands, requests and answers are bytes of `kv-codec.ts` and of this file.
 * Whoever finds none tries another node.
 */
export const KvService = protocol(
  'understudy-kv',
  {
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
    /** `bytes`: all that this subscription has given back since it began, for one of these may be lost. */
    credit: tell({ client: text, watch: count, bytes: count }),
    status: ask(typed<Readonly<Record<string, unknown>>>({})),
  },
  { absence: 'expected' },
)

export type KvServiceMessages = MessagesOf<typeof KvService>

/** What only the store answers. */
export interface KvOwnReply {
  readonly kind: 'compacted'
  readonly compactRevision: number
}

/** An answer of a service of the store; `opened` has the number of a session, or the revision at which a watch begins. */
export type KvReply = ServiceReply<KvResult> | KvOwnReply

const compactedTag = replyTag.own

/** The bytes of an answer but for those of a batch. */
export function encodeKvReply(reply: Exclude<KvReply, { readonly kind: 'results' }>): Uint8Array {
  // The codec leaves room for the kind: results are most answers.
  if (reply.kind === 'result') return encodeKvResult(reply.result, replyTag.result)
  if (reply.kind !== 'compacted') return encodePlainReply(reply)
  const writer = new ByteWriter(32)
  writer.byte(compactedTag)
  writer.number(reply.compactRevision)
  return writer.take()
}

/** The bytes of a write's answer: of one command, or of a batch. */
export function encodeKvWriteReply(result: KvResult): Uint8Array {
  if (!result.ok || result.result.type !== 'batch') return encodeKvReply({ kind: 'result', result })
  return encodeResults(result.result.answers)
}

/** @throws {RangeError} when the bytes are no answer */
export function decodeKvReply(bytes: unknown): KvReply {
  return decodeReply(bytes, decodeKvResult, decodeOwn)
}

function decodeOwn(tag: number, reader: ByteReader): KvOwnReply | undefined {
  return tag === compactedTag ? { kind: 'compacted', compactRevision: reader.number() } : undefined
}
