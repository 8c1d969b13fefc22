/**
 * Commands and results as bytes. The first byte says what it is. Acquire and release, and what they answer, are written by
 * hand, because there are a hundred thousand of them a second; everything else is CBOR.
 *
 * | command | bytes behind the first |
 * |---|---|
 * | 1 acquire | flags (1, 2 kind; 4 wait; 8 re-entrant; 16 owner; 32 data; 64 permits), session, request, name, owner?, data?, permits and capacity? |
 * | 2 release | session, request |
 * | 4 batch | for each command: its length in four bytes, lowest first; its bytes |
 * | 0 any other | CBOR |
 *
 * | result | bytes behind the first |
 * |---|---|
 * | 1 held | token |
 * | 2 queued | ahead |
 * | 3 busy | holders |
 * | 4 released, 5 released out of a queue, 6 nothing to release | |
 * | 0 any other | its length, CBOR |
 */
import { decode, encode, inspectCbor } from '@understudy/runtime/codec'
import { ByteReader, ByteWriter } from '../service/byte-buffer.ts'
import type { AcquireCommand, LockAnswer, LockCommand, LockKind, LockResult } from './lock-command.ts'

export const acquireTag = 1
export const releaseTag = 2
/** First byte of several commands in one. */
export const batchTag = 4
const cborTag = 0

const heldTag = 1
const queuedTag = 2
const busyTag = 3
const wasHeldTag = 4
const wasQueuedTag = 5
const wasNothingTag = 6

const kindMask = 3
const waitFlag = 4
const reentrantFlag = 8
const ownerFlag = 16
const dataFlag = 32
const permitsFlag = 64

const kindByNumber: readonly LockKind[] = ['mutex', 'read-write', 'semaphore', 'election']
const numberByKind: ReadonlyMap<LockKind, number> = new Map(kindByNumber.map((kind, at) => [kind, at]))

/** The bytes of a command, new. @throws {CodecError} when something in it cannot be written, such as half a surrogate pair */
export function encodeLockCommand(command: LockCommand): Uint8Array {
  const writer = new ByteWriter(64)
  writeLockCommand(writer, command)
  return writer.take()
}

/** The same behind what `writer` has. Hot (benchmark: locks). @throws {CodecError} as `encodeLockCommand` */
export function writeLockCommand(writer: ByteWriter, command: LockCommand): void {
  if (command.type === 'acquire' && isPlainAcquire(command)) {
    writeAcquire(writer, command)
    return
  }
  if (command.type === 'release' && isCount(command.session) && isCount(command.request)) {
    writer.byte(releaseTag)
    writer.number(command.session)
    writer.number(command.request)
    return
  }
  // Encoded first: when it cannot be, nothing is written.
  const bytes = encode(command)
  writer.byte(cborTag)
  writer.rest(bytes)
}

/**
 * The command in `bytes`; its values are copies. What it holds is not checked: see `commandProblem`.
 * @throws {RangeError} when the bytes are no command
 */
export function decodeLockCommand(bytes: Uint8Array): unknown {
  switch (bytes[0]) {
    case acquireTag: {
      const acquire = new AcquireReader()
      acquire.read(bytes, 0, bytes.length)
      const { session, request, name, kind, permits, capacity, wait, owner, reentrant, data } = acquire
      const command: AcquireCommand = {
        type: 'acquire',
        session,
        request,
        name,
        kind,
        permits,
        capacity,
        wait,
        owner,
        reentrant,
        data,
      }
      return command
    }
    case releaseTag: {
      const release = new ReleaseReader()
      release.read(bytes, 0, bytes.length)
      return { type: 'release', session: release.session, request: release.request } satisfies LockCommand
    }
    case cborTag:
      return decodeCbor(bytes.subarray(1))
    default:
      throw new RangeError('The bytes begin as no command does')
  }
}

/** Reads acquires, one after the other, into its fields. Hot (benchmark: locks). */
export class AcquireReader {
  readonly #reader = new ByteReader(new Uint8Array(0))
  session = 0
  request = 0
  name = ''
  kind: LockKind = 'mutex'
  permits = 1
  capacity = 0
  wait = false
  reentrant = false
  owner = ''
  data = ''

  /** Reads the acquire at `from`, which ends at `to`. @throws {RangeError} when the bytes are none */
  read(bytes: Uint8Array, from: number, to: number): void {
    const reader = this.#reader
    reader.reset(bytes, from + 1, to)
    const flags = reader.byte()
    if (flags >= permitsFlag * 2)
      throw new RangeError('The bytes have a flag that this version does not know')
    this.kind = kindByNumber[flags & kindMask] as LockKind
    this.wait = (flags & waitFlag) !== 0
    this.reentrant = (flags & reentrantFlag) !== 0
    this.session = reader.number()
    this.request = reader.number()
    this.name = reader.text()
    this.owner = (flags & ownerFlag) === 0 ? '' : reader.text()
    this.data = (flags & dataFlag) === 0 ? '' : reader.text()
    this.permits = (flags & permitsFlag) === 0 ? 1 : reader.number()
    this.capacity = (flags & permitsFlag) === 0 ? 0 : reader.number()
    if (!reader.isAtEnd) throw tooLong()
    reader.release()
  }
}

/** The same of releases. Hot (benchmark: locks). */
export class ReleaseReader {
  readonly #reader = new ByteReader(new Uint8Array(0))
  session = 0
  request = 0

  /** @throws {RangeError} when the bytes are no release */
  read(bytes: Uint8Array, from: number, to: number): void {
    const reader = this.#reader
    reader.reset(bytes, from + 1, to)
    this.session = reader.number()
    this.request = reader.number()
    if (!reader.isAtEnd) throw tooLong()
    reader.release()
  }
}

/** The bytes of one result, new. */
export function encodeLockResult(result: LockResult): Uint8Array {
  const writer = new ByteWriter(16)
  writeLockResult(writer, result)
  return writer.take()
}

/** The result in `bytes`. @throws {RangeError} when the bytes are none */
export function decodeLockResult(bytes: Uint8Array): LockResult {
  const reader = new ByteReader(bytes)
  const result = readLockResult(reader)
  if (!reader.isAtEnd) throw tooLong()
  return result
}

/** Writes one of several results, so that `readLockResult` finds its end. Hot (benchmark: locks). */
export function writeLockResult(writer: ByteWriter, result: LockResult): void {
  if (!result.ok || !writePlain(writer, result.result)) {
    const bytes = encode(result)
    writer.byte(cborTag)
    writer.number(bytes.length)
    writer.rest(bytes)
  }
}

/** The next of several results. @throws {RangeError} when there is none. Hot (benchmark: locks). */
export function readLockResult(reader: ByteReader): LockResult {
  switch (reader.byte()) {
    case heldTag:
      return { ok: true, result: { type: 'held', token: reader.number() } }
    case queuedTag:
      return { ok: true, result: { type: 'queued', ahead: reader.number() } }
    case busyTag:
      return { ok: true, result: { type: 'busy', holders: reader.number() } }
    case wasHeldTag:
      return { ok: true, result: { type: 'released', was: 'held' } }
    case wasQueuedTag:
      return { ok: true, result: { type: 'released', was: 'queued' } }
    case wasNothingTag:
      return { ok: true, result: { type: 'released', was: 'nothing' } }
    case cborTag:
      return decodeCbor(reader.part(reader.number())) as LockResult
    default:
      throw new RangeError('The bytes begin as no result does')
  }
}

/** False: it is none of those that are written by hand, and nothing is written. */
function writePlain(writer: ByteWriter, answer: LockAnswer): boolean {
  switch (answer.type) {
    case 'held':
      writer.byte(heldTag)
      writer.number(answer.token)
      return true
    case 'queued':
      writer.byte(queuedTag)
      writer.number(answer.ahead)
      return true
    case 'busy':
      writer.byte(busyTag)
      writer.number(answer.holders)
      return true
    case 'released':
      writer.byte(releasedTag[answer.was])
      return true
    default:
      return false
  }
}

const releasedTag = { held: wasHeldTag, queued: wasQueuedTag, nothing: wasNothingTag } as const

function writeAcquire(writer: ByteWriter, acquire: AcquireCommand): void {
  const { owner, data, permits, capacity } = acquire
  const hasPermits = permits !== 1 || capacity !== 0
  writer.byte(acquireTag)
  writer.byte(
    (numberByKind.get(acquire.kind) ?? 0) |
      (acquire.wait ? waitFlag : 0) |
      (acquire.reentrant ? reentrantFlag : 0) |
      (owner === '' ? 0 : ownerFlag) |
      (data === '' ? 0 : dataFlag) |
      (hasPermits ? permitsFlag : 0),
  )
  writer.number(acquire.session)
  writer.number(acquire.request)
  writer.text(acquire.name)
  if (owner !== '') writer.text(owner)
  if (data !== '') writer.text(data)
  if (!hasPermits) return
  writer.number(permits)
  writer.number(capacity)
}

/** What is none goes as CBOR, where it is refused with a reason. */
function isPlainAcquire({
  session,
  request,
  name,
  kind,
  permits,
  capacity,
  owner,
  data,
}: AcquireCommand): boolean {
  return (
    isCount(session) &&
    isCount(request) &&
    isCount(permits) &&
    isCount(capacity) &&
    numberByKind.has(kind) &&
    isText(name) &&
    isText(owner) &&
    isText(data)
  )
}

function isCount(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0
}

function isText(value: unknown): boolean {
  return typeof value === 'string' && (value === '' || !loneSurrogate.test(value))
}

const loneSurrogate = /\p{Surrogate}/u

function decodeCbor(bytes: Uint8Array): unknown {
  const fault = inspectCbor(bytes)
  if (fault !== undefined) throw new RangeError(`The bytes are not as they were written: ${fault.code}`)
  return decode(bytes)
}

function tooLong(): RangeError {
  return new RangeError('There are more bytes than it needs')
}
