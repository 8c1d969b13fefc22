/**
 * What clients and services of the lock table say to each other. Commands and results are bytes of `lock-codec.ts`; an answer's
 * first byte says what kind it is (service-reply.ts).
 */
import { ask, protocol, refOf, tell, type MessagesOf } from '@understudy/runtime'
import { decode, encode, inspectCbor } from '@understudy/runtime/codec'
import type { TUnsafe } from 'typebox'
import { ByteReader, ByteWriter } from '../service/byte-buffer.ts'
import {
  beginResult,
  decodeReply,
  encodePlainReply,
  encodeResults,
  replyTag,
  type PlainReply,
  type ServiceReply,
} from '../service/service-reply.ts'
import { decodeLockResult, writeLockResult } from './lock-codec.ts'
import type { LockGrant, LockResult, LockView } from './lock-command.ts'

/** Where the service of the table `name` lives on each of its nodes. */
export function lockServicePath(name: string): string {
  return `/system/locks-${name}`
}

/** Requests of one `states`; a client with more asks again. */
export const statesMax = 4_096

/** A schema of JSON, with the type that it stands for: TypeBox cannot know that of an object that it did not make. */
function typed<T>(schema: object): TUnsafe<T> {
  return schema as TUnsafe<T>
}

/** JSON schema has no word for bytes; what they say is read where they are decoded. */
const bytes = typed<Uint8Array>({})
const text = typed<string>({ type: 'string' })
const count = typed<number>({ type: 'integer', minimum: 0 })

/** What an attached client is told. `attachment` is the number that it gave. It may be gone by then. */
export const LockReceiver = protocol(
  'understudy-lock-receiver',
  {
    /** Grants of one entry (`encodeGrants`). `push` counts what is told of this attachment, from 1: a gap is a loss. */
    granted: tell({ attachment: count, push: count, grants: bytes }),
    /** The log has ended the wait of these (`encodeGrants`, with token 0): they can be served no more. Counted as `granted` is. */
    refused: tell({ attachment: count, push: count, requests: bytes }),
    /** The log has ended the session, and with it the attachment. */
    sessionOver: tell({ attachment: count }),
    /** The service has ended the attachment. */
    detached: tell({ attachment: count, why: text }),
    /** From the client itself: it has been attached somewhere. */
    attached: tell(),
  },
  { absence: 'expected' },
)

export type LockReceiverMessages = MessagesOf<typeof LockReceiver>

/** The service on one node. Whoever finds none tries another node. */
export const LockService = protocol(
  'understudy-locks',
  {
    /** `session` 0: without one, for what may be done twice. */
    write: ask({ session: count, sequence: count, below: count, command: bytes }, bytes),
    openSession: ask({ ttlMs: count }, bytes),
    /** Sessions of the table: on the control lane, so that no bulk of data costs somebody all that it holds. */
    control: ask({ command: bytes }, bytes, { lane: 'control' }),
    states: ask(
      {
        session: count,
        requests: typed<readonly number[]>({
          type: 'array',
          items: { type: 'integer', minimum: 0 },
          maxItems: statesMax,
        }),
      },
      bytes,
    ),
    /** With `waitMs` above 0: when its version or its last reign is beyond these, -1 for whatever it is, or at the end of it. */
    view: ask(
      {
        name: text,
        afterVersion: typed<number>({ type: 'integer', minimum: -1 }),
        afterToken: typed<number>({ type: 'integer', minimum: -1 }),
        waitMs: typed<number>({ type: 'number', minimum: 0 }),
      },
      bytes,
    ),
    /** Names behind `after`. */
    list: ask({ prefix: text, after: text }, bytes),
    /** Pushes of the session's grants from here on; the client's earlier attachment of that session ends. */
    attach: ask({ session: count, client: text, attachment: count, to: refOf(LockReceiver) }, bytes),
    status: ask(typed<Readonly<Record<string, unknown>>>({})),
  },
  { absence: 'expected' },
)

export type LockServiceMessages = MessagesOf<typeof LockService>

/** What only this service answers. */
export type LockOwnReply =
  | { readonly kind: 'view'; readonly view: LockView | undefined }
  /** `more`: there are names behind the last of them. */
  | { readonly kind: 'views'; readonly views: readonly LockView[]; readonly more: boolean }

export type LockReply = ServiceReply<LockResult> | LockOwnReply

/** It has to fit a frame. */
const viewsBytesMax = 524_288
const viewTag = replyTag.own
const viewsTag = replyTag.results + 1

/** The bytes of an answer to one command. */
export function encodeLockReply(result: LockResult): Uint8Array {
  const writer = beginResult(16)
  writeLockResult(writer, result)
  return writer.take()
}

/** The bytes of a write's answer: of one command, or of a batch. */
export function encodeLockWriteReply(result: LockResult): Uint8Array {
  if (!result.ok || result.result.type !== 'batch') return encodeLockReply(result)
  return encodeResults(result.result.answers)
}

/** The bytes of any other answer but a list. */
export function encodeLockOther(
  reply: PlainReply | Extract<LockOwnReply, { readonly kind: 'view' }>,
): Uint8Array {
  if (reply.kind !== 'view') return encodePlainReply(reply)
  const body = encode({ view: reply.view })
  const writer = new ByteWriter(body.length + 1)
  writer.byte(viewTag)
  writer.rest(body)
  return writer.take()
}

/** The bytes of a list, of as many views as fit an answer, one at least. `more`: there are others behind them. */
export function encodeLockViews(views: readonly LockView[], more: boolean): Uint8Array {
  const writer = new ByteWriter(views.length * 128 + 2)
  writer.byte(viewsTag)
  const parts: Uint8Array[] = []
  let bytes = 0
  for (const view of views) {
    const body = encode(view)
    if (parts.length > 0 && bytes + body.length > viewsBytesMax) break
    parts.push(body)
    bytes += body.length
  }
  writer.byte(more || parts.length < views.length ? 1 : 0)
  for (const body of parts) {
    writer.number(body.length)
    writer.rest(body)
  }
  return writer.take()
}

/** @throws {RangeError} when the bytes are no answer */
export function decodeLockReply(bytes: unknown): LockReply {
  return decodeReply(bytes, decodeLockResult, decodeOwn)
}

/** The bytes of grants of one session. Hot: once a hand-over. */
export function encodeGrants(grants: readonly LockGrant[]): Uint8Array {
  const writer = new ByteWriter(grants.length * 12)
  for (const { request, token } of grants) {
    writer.number(request)
    writer.number(token)
  }
  return writer.take()
}

/** @throws {RangeError} when the bytes are no grants */
export function decodeGrants(session: number, bytes: Uint8Array): readonly LockGrant[] {
  const reader = new ByteReader(bytes)
  const grants: LockGrant[] = []
  while (!reader.isAtEnd) grants.push({ session, request: reader.number(), token: reader.number() })
  return grants
}

function decodeOwn(tag: number, reader: ByteReader): LockOwnReply | undefined {
  if (tag === viewTag) {
    const { view } = decodeCbor(reader.rest()) as { readonly view?: LockView }
    return { kind: 'view', view: view && whole(view) }
  }
  if (tag !== viewsTag) return undefined
  const more = reader.byte() === 1
  const views: LockView[] = []
  while (!reader.isAtEnd) views.push(whole(decodeCbor(reader.part(reader.number())) as LockView))
  return { kind: 'views', views, more }
}

/** CBOR leaves out what is undefined; the type says that it is there. */
function whole(view: LockView): LockView {
  return { ...view, value: view.value }
}

function decodeCbor(bytes: Uint8Array): unknown {
  const fault = inspectCbor(bytes)
  if (fault !== undefined) throw new RangeError(`The bytes are not as they were written: ${fault.code}`)
  return decode(bytes)
}
