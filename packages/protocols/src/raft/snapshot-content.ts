/**
 * What a group's snapshot holds, part by part: a head with the log's time, the client sessions with their results, an empty
 * list as their end, then the state machine's own chunks, untouched. A part is stored and sent as chunks that fit a frame:
 * the first byte of each is 1 when the part goes on in the next one, else 0.
 */
import { decode, encode } from '@understudy/runtime/codec'
import type { SessionRecord } from '../core/session-table.ts'
import { snapshotChunkBytesMax } from './message-codec.ts'

/** Version of the head and of the sessions. */
const formatVersion = 1

/** A part of the sessions is handed out when it has grown to this. */
const sessionPartBytes = 131_072
/** What a state machine may hand out as one chunk. */
const partBytesMax = 64 * 1024 * 1024
/** Bytes of a part in one chunk. */
const pieceBytes = snapshotChunkBytesMax - 1

/** What surrounds the machine's state. */
export interface SnapshotFrame {
  /** The log's time after the last entry that is in the snapshot. */
  readonly timeMs: number
  readonly sessions: readonly SessionRecord<unknown>[]
}

/** One session, or a part of one: with the results of a session that do not fit, the next row has its number again. */
type SessionRow = readonly [
  session: number,
  ttlMs: number,
  usedMs: number,
  answeredBelow: number,
  results: readonly (readonly [number, unknown])[],
]

/**
 * The chunks of a snapshot, in order. The machine's iterator belongs to this one, which ends it by `return()` when it is given
 * up. One session chunk at a time is encoded, when it is asked for.
 */
export class SnapshotContent implements Iterator<Uint8Array> {
  readonly #front: Iterator<Uint8Array>
  readonly #machine: Iterator<Uint8Array>
  /** What is left of the part in progress. */
  #part: Uint8Array | undefined
  #isFrontDone = false
  #isDone = false
  #isAbandoned = false

  constructor(frame: SnapshotFrame, machine: Iterator<Uint8Array>) {
    this.#front = frontParts(frame)
    this.#machine = machine
  }

  next(): IteratorResult<Uint8Array, undefined> {
    if (this.#isAbandoned) throw new Error('The snapshot was given up: its member has ended')
    const part = this.#part ?? this.#nextPart()
    if (part === undefined) return { done: true, value: undefined }
    const length = Math.min(part.length, pieceBytes)
    this.#part = length < part.length ? part.subarray(length) : undefined
    const chunk = new Uint8Array(1 + length)
    chunk[0] = this.#part === undefined ? 0 : 1
    chunk.set(part.subarray(0, length), 1)
    return { done: false, value: chunk }
  }

  return(): IteratorResult<Uint8Array, undefined> {
    if (!this.#isDone) {
      this.#isDone = true
      this.#part = undefined
      this.#machine.return?.()
    }
    return { done: true, value: undefined }
  }

  /** Whoever takes the next chunk gets an error: a snapshot that ends early must not pass for a whole one. */
  abandon(): void {
    this.return()
    this.#isAbandoned = true
  }

  #nextPart(): Uint8Array | undefined {
    if (this.#isDone) return undefined
    if (!this.#isFrontDone) {
      const front = this.#front.next()
      if (front.done !== true) return front.value
      this.#isFrontDone = true
    }
    const chunk = this.#machine.next()
    if (chunk.done === true) {
      this.#isDone = true
      return undefined
    }
    if (!(chunk.value instanceof Uint8Array) || chunk.value.length > partBytesMax) {
      throw new RangeError(
        `Cannot take a snapshot: a chunk of the state machine must be a Uint8Array of at most ${partBytesMax} bytes; ` +
          'hand it out in smaller ones',
      )
    }
    return chunk.value
  }
}

/**
 * Reads the frame from the first of the chunks and gives what is left of them for the machine, as the machine made them.
 *
 * @throws {RangeError} if they are not what `SnapshotContent` gives; and whatever reading a chunk throws
 */
export async function readSnapshotFrame(
  chunks: AsyncIterator<Uint8Array>,
): Promise<{ readonly frame: SnapshotFrame; readonly rest: AsyncIterable<Uint8Array> }> {
  const parts = joinParts(chunks)
  const head = decode(await nextOf(parts))
  if (!Array.isArray(head) || head[0] !== formatVersion || typeof head[1] !== 'number') {
    throw new RangeError(
      `Cannot read a snapshot: its head must be of version ${formatVersion}; a newer version wrote it, or another program`,
    )
  }
  const timeMs: number = head[1]
  const sessions: SessionRecord<unknown>[] = []
  for (;;) {
    const rows = decode(await nextOf(parts))
    if (!Array.isArray(rows)) throw malformed()
    if (rows.length === 0) break
    for (const row of rows as readonly unknown[]) addRow(sessions, row)
  }
  return { frame: { timeMs, sessions }, rest: { [Symbol.asyncIterator]: () => parts } }
}

/** One part after the other, each from its chunks. */
async function* joinParts(chunks: AsyncIterator<Uint8Array>): AsyncGenerator<Uint8Array, undefined> {
  let pieces: Uint8Array[] = []
  let length = 0
  for (;;) {
    const next = await chunks.next()
    if (next.done === true) {
      if (pieces.length > 0) throw malformed()
      return undefined
    }
    const mark = next.value[0]
    if (mark !== 0 && mark !== 1) throw malformed()
    const piece = next.value.subarray(1)
    pieces.push(piece)
    length += piece.length
    if (mark === 1) continue
    const [only] = pieces
    yield pieces.length === 1 && only !== undefined ? only : concat(pieces, length)
    pieces = []
    length = 0
  }
}

function concat(pieces: readonly Uint8Array[], length: number): Uint8Array {
  const whole = new Uint8Array(length)
  let at = 0
  for (const piece of pieces) {
    whole.set(piece, at)
    at += piece.length
  }
  return whole
}

function* frontParts({ timeMs, sessions }: SnapshotFrame): Generator<Uint8Array, undefined> {
  yield encode([formatVersion, timeMs])
  let rows: SessionRow[] = []
  let bytes = 0
  for (const { session, ttlMs, usedMs, answeredBelow, results } of sessions) {
    let part: (readonly [number, unknown])[] = []
    rows.push([session, ttlMs, usedMs, answeredBelow, part])
    bytes += 32
    for (const result of results) {
      part.push(result)
      // Measured by writing it: there is no other way to know, and a session with a large result is rare.
      bytes += encode(result).length
      if (bytes < sessionPartBytes) continue
      yield encode(rows)
      part = []
      rows = [[session, ttlMs, usedMs, answeredBelow, part]]
      bytes = 32
    }
    if (bytes < sessionPartBytes) continue
    yield encode(rows)
    rows = []
    bytes = 0
  }
  if (rows.length > 0) yield encode(rows)
  yield encode([])
  return undefined
}

function addRow(sessions: SessionRecord<unknown>[], row: unknown): void {
  if (!Array.isArray(row) || row.length < 5 || !Array.isArray(row[4])) throw malformed()
  const [session, ttlMs, usedMs, answeredBelow, results] = row as unknown as SessionRow
  const before = sessions.at(-1)
  if (before !== undefined && before.session === session) {
    sessions[sessions.length - 1] = { ...before, results: [...before.results, ...results] }
  } else {
    // The table checks the rest when it takes them.
    sessions.push({ session, ttlMs, usedMs, answeredBelow, results })
  }
}

async function nextOf(parts: AsyncIterator<Uint8Array>): Promise<Uint8Array> {
  const next = await parts.next()
  if (next.done === true) throw malformed()
  return next.value
}

function malformed(): RangeError {
  return new RangeError('Cannot read a snapshot: its sessions are malformed or cut short')
}
