/** Answers reads from a machine's state: one of them, or a batch in one go. */
import { BatchWalk } from '../service/batch.ts'
import type { ByteWriter } from '../service/byte-buffer.ts'
import { beginResult, beginResults } from '../service/service-reply.ts'
import { batchTag, decodeKvGet, plainGetKey, writeKvResult, writeOneGetResult } from './kv-codec.ts'
import { kvLimits } from './kv-limit.ts'
import type { KvMachine } from './kv-machine.ts'
import { encodeKvReply } from './kv-protocol.ts'

/**
 * What one get answers at most, and what the gets of a batch answer together; a range goes on with another, and what is left
 * of a batch is asked again. It has to fit a frame.
 */
export const readBytesMax = 524_288
/** Room for the entry of one get, at first. */
const entryBytes = 320

/** One serves a service: it knows how large answers were. */
export class KvReader {
  readonly #batch = new BatchWalk(kvLimits.batchCommandsMax)
  #likelyBytes = entryBytes

  /** The bytes of an answer to the bytes of a read. Hot (benchmark: raft). */
  answer(machine: KvMachine, request: Uint8Array): Uint8Array {
    if (request[0] === batchTag) return this.#answerBatch(machine, request)
    const key = keyOf(request, 0, request.length)
    if (key === undefined)
      return encodeKvReply({ kind: 'result', result: machine.read(getOf(request), readBytesMax) })
    const writer = beginResult(entryBytes)
    writeOne(writer, machine, key)
    return writer.take()
  }

  #answerBatch(machine: KvMachine, request: Uint8Array): Uint8Array {
    const batch = this.#batch
    const problem = batch.begin(request)
    if (problem !== undefined) {
      const error = { code: 'KV_BAD_REQUEST', message: `Cannot read: ${problem}` } as const
      return encodeKvReply({ kind: 'result', result: { ok: false, revision: machine.revision, error } })
    }
    const writer = beginResults(Math.ceil(this.#likelyBytes * 1.1) * batch.count + 16)
    let answered = 0
    while (batch.next()) {
      const before = writer.size
      const key = keyOf(request, batch.from, batch.to)
      if (key === undefined) {
        writeKvResult(writer, machine.read(getOf(request.subarray(batch.from, batch.to)), readBytesMax))
      } else writeOne(writer, machine, key)
      if (answered > 0 && writer.size > readBytesMax) {
        writer.cut(before)
        break
      }
      answered++
    }
    batch.release()
    this.#likelyBytes = Math.max(entryBytes / 4, writer.size / answered)
    return writer.take()
  }
}

/** The key of a get that is answered without further ado. */
function keyOf(bytes: Uint8Array, from: number, to: number): string | undefined {
  let key: string | undefined
  try {
    key = plainGetKey(bytes, from, to)
  } catch {
    return undefined
  }
  return key !== undefined && key.length > 0 && key.length <= kvLimits.keyLengthMax ? key : undefined
}

function writeOne(writer: ByteWriter, { state }: KvMachine, key: string): void {
  writeOneGetResult(writer, state.revision, state.get(key))
}

/** `undefined`, for which the machine has words, when the bytes are no read. */
function getOf(bytes: Uint8Array): unknown {
  try {
    return decodeKvGet(bytes)
  } catch {
    return undefined
  }
}
