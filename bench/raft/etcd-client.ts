/** etcd's key-value calls as a load: protobuf by hand, since two small messages need no library. */
import { GrpcConnection } from '../harness/grpc-connection.ts'
import { Http2Channel } from '../harness/http2-channel.ts'
import { readVarint, writeVarint } from '../harness/protobuf.ts'
import type { LoadClient } from './load.ts'

const PUT = '/etcdserverpb.KV/Put'
const RANGE = '/etcdserverpb.KV/Range'
const COMPACT = '/etcdserverpb.KV/Compact'
const FIELD_1_BYTES = 0x0a
const FIELD_1_VARINT = 0x08
const FIELD_2_BYTES = 0x12
const FIELD_2_VARINT = 0x10
const FIELD_3_VARINT = 0x18

/** How the calls travel: written by hand, or by `node:http2`. */
export type EtcdClientKind = 'lean' | 'http2'

/**
 * `targets` are client ports. All calls go to the first one, the leader, over one connection (more of them were slower);
 * when it breaks, to the next one that takes a connection.
 */
export async function connectEtcd(targets: readonly string[], kind: EtcdClientKind): Promise<LoadClient> {
  const open = (port = 0): Promise<GrpcConnection | Http2Channel> =>
    kind === 'lean' ? GrpcConnection.open(port) : Http2Channel.open(port)
  const ports = targets.map(Number)
  let at = 0
  let connection = await open(ports[0])
  let opening: Promise<void> | undefined
  const reopen = async (): Promise<void> => {
    for (let tries = 0; tries < ports.length; tries++) {
      at = (at + 1) % ports.length
      try {
        connection = await open(ports[at])
        return
      } catch {
        // That one is down: the next one.
      }
    }
  }
  const call = async (path: string, message: Uint8Array): Promise<Uint8Array> => {
    await (opening ??= reopen().finally(() => (opening = undefined)))
    return connection.call(path, message)
  }
  const send = (path: string, message: Uint8Array): Promise<Uint8Array> =>
    connection.isBroken ? call(path, message) : connection.call(path, message)
  return {
    put: (key, value) => send(PUT, putRequest(key, value)),
    get: (key) => send(RANGE, rangeRequest(key)),
    compact: async () => {
      const revision = revisionOf(await send(RANGE, rangeRequest('compact')))
      await send(COMPACT, revisionRequest(revision))
    },
    close: async () => connection.close(),
  }
}

function putRequest(key: string, value: Uint8Array): Uint8Array {
  const out = Buffer.allocUnsafe(1 + 5 + key.length + 1 + 5 + value.length)
  let at = 0
  out[at++] = FIELD_1_BYTES
  at = writeVarint(out, at, key.length)
  at += out.write(key, at, 'latin1')
  out[at++] = FIELD_2_BYTES
  at = writeVarint(out, at, value.length)
  out.set(value, at)
  return out.subarray(0, at + value.length)
}

/** Linearizable, as long as `serializable` is not set. */
function rangeRequest(key: string): Uint8Array {
  const out = Buffer.allocUnsafe(1 + 5 + key.length)
  out[0] = FIELD_1_BYTES
  const at = writeVarint(out, 1, key.length)
  out.write(key, at, 'latin1')
  return out.subarray(0, at + key.length)
}

/** Physical: it ends when the old revisions are gone, so that their removal is not in the next run. */
function revisionRequest(revision: number): Uint8Array {
  const out = Buffer.allocUnsafe(16)
  out[0] = FIELD_1_VARINT
  const at = writeVarint(out, 1, revision)
  out[at] = FIELD_2_VARINT
  out[at + 1] = 1
  return out.subarray(0, at + 2)
}

/** `header.revision` of an answer. */
function revisionOf(answer: Uint8Array): number {
  if (answer[0] !== FIELD_1_BYTES) throw new Error('etcd answered without a header')
  const [length, start] = readVarint(answer, 1)
  for (let at = start; at < start + length;) {
    const field = answer[at] ?? 0
    const [figure, next] = readVarint(answer, at + 1)
    if (field === FIELD_3_VARINT) return figure
    at = next
  }
  throw new Error('etcd answered without a revision')
}
