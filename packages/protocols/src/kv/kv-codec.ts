/**
 * Commands, reads and their results as bytes. The first byte says what it is. Put, get and delete, and what they answer, are
 * written by hand, because there are a hundred thousand of them a second; everything else is CBOR.
 *
 * | command or read | bytes behind the first |
 * |---|---|
 * | 1 put | flags (1 lease, 2 previous), key, lease?, value to the end |
 * | 2 delete | flags (2 previous, 4 range), from, to? |
 * | 3 get | flags (4 range, 8 more fields), from, to?, CBOR of the other fields? |
 * | 4 batch | for each command, or read: its length in four bytes, lowest first; its bytes |
 * | 0 any other | CBOR |
 *
 * | result | bytes behind the first |
 * |---|---|
 * | 1 put, 2 put with what was there | revision, entry? |
 * | 3 get | revision, flags (1 more), count, entries |
 * | 4 delete | revision, deleted, entries |
 * | 0 any other | CBOR; among several results, which stand one behind the other, its length and CBOR |
 */
import { decode, encode, inspectCbor } from '@understudy/runtime/codec'
import { byteText, ByteReader, bytesOf, ByteWriter, type ByteText } from '../service/byte-buffer.ts'
import type { KvCommand, KvDelete, KvEntry, KvGet, KvPut, KvResult } from './kv-command.ts'

/** First byte of a put: for `apply`, which takes puts without making an object of them. */
export const putTag = 1
/** First byte of several commands or several reads in one. */
export const batchTag = 4
const cborTag = 0
const deleteTag = 2
const getTag = 3

const putResultTag = 1
const putOverResultTag = 2
const getResultTag = 3
const deleteResultTag = 4

const leaseFlag = 1
const previousFlag = 2
const rangeFlag = 4
const fieldsFlag = 8

/** The bytes of a command, new. @throws {CodecError} when something in it cannot be written, such as half a surrogate pair */
export function encodeKvCommand(command: KvCommand): Uint8Array {
  if (command.type === 'put' && isPlainPut(command)) {
    const writer = new ByteWriter(24 + command.key.length + command.value.length)
    writePut(writer, command)
    return writer.take()
  }
  if (command.type === 'delete' && isWellFormed(command)) return encodeDelete(command)
  return withTag(cborTag, encode(command))
}

/**
 * The same behind what `writer` has. Hot (benchmark: raft).
 * @throws {CodecError} as `encodeKvCommand`
 */
export function writeKvCommand(writer: ByteWriter, command: KvCommand): void {
  if (command.type === 'put' && isPlainPut(command)) writePut(writer, command)
  else writer.rest(encodeKvCommand(command))
}

/**
 * The command in `bytes`; its values are copies. What it holds is not checked: see `commandProblem`.
 * @throws {RangeError} when the bytes are no command
 */
export function decodeKvCommand(bytes: Uint8Array): unknown {
  const reader = new ByteReader(bytes)
  switch (reader.byte()) {
    case putTag: {
      const put = new PutReader()
      put.read(bytes)
      const { key, lease, previous } = put
      return { type: 'put', key, value: bytesOf(put.value), lease, previous } satisfies KvPut
    }
    case deleteTag: {
      const flags = reader.byte()
      const from = reader.text()
      const to = (flags & rangeFlag) === 0 ? undefined : reader.text()
      mustEnd(reader)
      return { type: 'delete', from, to, previous: (flags & previousFlag) !== 0 } satisfies KvDelete
    }
    case cborTag:
      return decodeCbor(reader.rest())
    default:
      throw new RangeError('The bytes begin as no command does')
  }
}

/** Reads puts, one after the other, into its fields. Hot (benchmark: raft). */
export class PutReader {
  readonly #reader = new ByteReader(new Uint8Array(0))
  key = ''
  value: ByteText = ''
  lease = 0
  previous = false

  /** Reads the put at `from`, which ends at `to`. @throws {RangeError} when the bytes are no put */
  read(bytes: Uint8Array, from = 0, to: number = bytes.length): void {
    const reader = this.#reader
    reader.reset(bytes, from + 1, to)
    const flags = reader.byte()
    this.key = reader.text()
    this.lease = (flags & leaseFlag) === 0 ? 0 : reader.number()
    this.previous = (flags & previousFlag) !== 0
    this.value = reader.restValue()
    reader.release()
  }
}

/** The bytes of a read, new. @throws {CodecError} when something in it cannot be written */
export function encodeKvGet(get: KvGet): Uint8Array {
  const writer = new ByteWriter(64)
  writeKvGet(writer, get)
  return writer.take()
}

/** The same behind what `writer` has. Hot (benchmark: raft). */
export function writeKvGet(writer: ByteWriter, get: KvGet): void {
  const { type: _type, from, to, ...others } = get
  if (!isWellFormed(get)) {
    writer.rest(withTag(cborTag, encode(get)))
    return
  }
  let isPlain = true
  for (const value of Object.values(others)) if (value !== undefined && value !== false) isPlain = false
  writer.byte(getTag)
  writer.byte((to === undefined ? 0 : rangeFlag) | (isPlain ? 0 : fieldsFlag))
  writer.text(from)
  if (to !== undefined) writer.text(to)
  if (isPlain) return
  const fields = Object.entries(others).filter(([, value]) => value !== undefined && value !== false)
  writer.rest(encode(Object.fromEntries(fields)))
}

/**
 * The key of a read of one key as it is now, from its bytes; `undefined` for any other read. Hot (benchmark: raft).
 * @throws {RangeError} when the bytes are cut short
 */
export function plainGetKey(bytes: Uint8Array, from: number, to: number): string | undefined {
  if (bytes[from] !== getTag || bytes[from + 1] !== 0) return undefined
  getReader.reset(bytes, from + 2, to)
  const key = getReader.text()
  const { isAtEnd } = getReader
  getReader.release()
  return isAtEnd ? key : undefined
}

const getReader = new ByteReader(new Uint8Array(0))

/** The read in `bytes`, unchecked: see `getProblem`. @throws {RangeError} when the bytes are no read */
export function decodeKvGet(bytes: Uint8Array): unknown {
  const reader = new ByteReader(bytes)
  if (reader.byte() !== getTag) throw new RangeError('The bytes begin as no read does')
  const flags = reader.byte()
  const from = reader.text()
  const to = (flags & rangeFlag) === 0 ? undefined : reader.text()
  const fields = (flags & fieldsFlag) === 0 ? undefined : decodeCbor(reader.rest())
  mustEnd(reader)
  return { ...(fields as object | undefined), type: 'get', from, to }
}

/** The bytes of a result, new; `before` is a byte that stands before them, for whoever wraps them. Hot. */
export function encodeKvResult(answer: KvResult, before?: number): Uint8Array {
  if (!answer.ok || isCborResult(answer.result)) return withTag(cborTag, encode(answer), before)
  const writer = new ByteWriter(resultBytes(answer.result))
  if (before !== undefined) writer.byte(before)
  writeKvResult(writer, answer)
  return writer.take()
}

/** The result in `bytes`. @throws {RangeError} when the bytes are none */
export function decodeKvResult(bytes: Uint8Array): KvResult {
  const reader = new ByteReader(bytes)
  if (bytes[0] === cborTag) {
    reader.byte()
    return cborResult(reader.rest())
  }
  const result = readKvResult(reader)
  mustEnd(reader)
  return result
}

/** Writes one of several results, so that `readKvResult` finds its end. Hot (benchmark: raft). */
export function writeKvResult(writer: ByteWriter, answer: KvResult): void {
  if (!answer.ok || isCborResult(answer.result)) {
    const bytes = encode(answer)
    writer.byte(cborTag)
    writer.number(bytes.length)
    writer.rest(bytes)
    return
  }
  const { result, revision } = answer
  switch (result.type) {
    case 'put':
      writePutResult(writer, revision, result.previous)
      break
    case 'get':
      writer.byte(getResultTag)
      writer.number(revision)
      writer.byte(result.more ? 1 : 0)
      writer.number(result.count)
      writer.number(result.entries.length)
      for (const entry of result.entries) writeEntry(writer, entry)
      break
    case 'delete':
      writer.byte(deleteResultTag)
      writer.number(revision)
      writer.number(result.deleted)
      writer.number(result.previous.length)
      for (const entry of result.previous) writeEntry(writer, entry)
      break
  }
}

/** As `writeKvResult`, without an object made for it. Hot (benchmark: raft). */
export function writePutResult(writer: ByteWriter, revision: number, previous?: KvEntry): void {
  writer.byte(previous === undefined ? putResultTag : putOverResultTag)
  writer.number(revision)
  if (previous !== undefined) writeEntry(writer, previous)
}

/** As `writeKvResult`, of a read of one key, without an object made for it. Hot (benchmark: raft). */
export function writeOneGetResult(writer: ByteWriter, revision: number, entry: KeptEntry | undefined): void {
  const count = entry === undefined ? 0 : 1
  writer.byte(getResultTag)
  writer.number(revision)
  writer.byte(0)
  writer.number(count)
  writer.number(count)
  if (entry !== undefined) writeEntry(writer, entry)
}

/** The next of several results. @throws {RangeError} when there is none. Hot (benchmark: raft). */
export function readKvResult(reader: ByteReader): KvResult {
  const tag = reader.byte()
  if (tag === cborTag) return cborResult(reader.part(reader.number()))
  const revision = reader.number()
  switch (tag) {
    case putResultTag:
      return { ok: true, revision, result: { type: 'put', previous: undefined } }
    case putOverResultTag:
      return { ok: true, revision, result: { type: 'put', previous: readEntry(reader) } }
    case getResultTag: {
      const more = reader.byte() === 1
      const count = reader.number()
      return { ok: true, revision, result: { type: 'get', entries: readEntries(reader), count, more } }
    }
    case deleteResultTag: {
      const deleted = reader.number()
      return { ok: true, revision, result: { type: 'delete', deleted, previous: readEntries(reader) } }
    }
    default:
      throw new RangeError('The bytes begin as no result does')
  }
}

type AnyResult = Extract<KvResult, { readonly ok: true }>['result']
type CborResult = Extract<AnyResult, { readonly type: 'transact' | 'lease' | 'done' | 'batch' }>

function isCborResult(result: AnyResult): result is CborResult {
  const { type } = result
  return type !== 'put' && type !== 'get' && type !== 'delete'
}

/** About what a result takes. */
function resultBytes(result: Exclude<AnyResult, CborResult>): number {
  switch (result.type) {
    case 'put':
      return result.previous === undefined ? 10 : 64 + result.previous.value.length
    case 'get':
      return result.entries.length === 1 ? 512 : 64 + result.entries.length * 128
    case 'delete':
      return 32
  }
}

function cborResult(bytes: Uint8Array): KvResult {
  return withUndefined(decodeCbor(bytes) as KvResult)
}

/** An entry whose value may be kept as a text of bytes. */
type KeptEntry = Omit<KvEntry, 'value'> & { readonly value: Uint8Array | ByteText }

/** Writes an entry; its value may be kept as a text of bytes. */
export function writeEntry(writer: ByteWriter, entry: KeptEntry): void {
  writer.text(entry.key)
  writer.number(entry.createRevision)
  writer.number(entry.modRevision)
  writer.number(entry.version)
  writer.number(entry.lease)
  writer.value(typeof entry.value === 'string' ? entry.value : byteText(entry.value))
}

/** @throws {RangeError} when there is no entry */
export function readEntry(reader: ByteReader): KvEntry {
  const key = reader.text()
  const createRevision = reader.number()
  const modRevision = reader.number()
  const version = reader.number()
  const lease = reader.number()
  return { key, value: reader.valueBytes(), createRevision, modRevision, version, lease }
}

function readEntries(reader: ByteReader): KvEntry[] {
  const entries: KvEntry[] = []
  for (let left = reader.number(); left > 0; left--) entries.push(readEntry(reader))
  return entries
}

function writePut(writer: ByteWriter, { key, value, lease = 0, previous = false }: KvPut): void {
  writer.byte(putTag)
  writer.byte((lease === 0 ? 0 : leaseFlag) | (previous ? previousFlag : 0))
  writer.text(key)
  if (lease !== 0) writer.number(lease)
  writer.rest(value)
}

function encodeDelete({ from, to, previous = false }: KvDelete): Uint8Array {
  const writer = new ByteWriter(32 + from.length)
  writer.byte(deleteTag)
  writer.byte((previous ? previousFlag : 0) | (to === undefined ? 0 : rangeFlag))
  writer.text(from)
  if (to !== undefined) writer.text(to)
  return writer.take()
}

/** What is none goes as CBOR, where it is refused with a reason. */
function isPlainPut({ key, value, lease = 0 }: KvPut): boolean {
  return value instanceof Uint8Array && Number.isSafeInteger(lease) && lease >= 0 && isText(key)
}

function isWellFormed({ from, to }: { readonly from: string; readonly to?: string | undefined }): boolean {
  return isText(from) && (to === undefined || isText(to))
}

function isText(value: unknown): boolean {
  return typeof value === 'string' && !loneSurrogate.test(value)
}

const loneSurrogate = /\p{Surrogate}/u

function withTag(tag: number, body: Uint8Array, before?: number): Uint8Array {
  const writer = new ByteWriter(body.length + 2)
  if (before !== undefined) writer.byte(before)
  writer.byte(tag)
  writer.rest(body)
  return writer.take()
}

function decodeCbor(bytes: Uint8Array): unknown {
  const fault = inspectCbor(bytes)
  if (fault !== undefined) throw new RangeError(`The bytes are not as they were written: ${fault.code}`)
  return decode(bytes)
}

/** CBOR leaves out what is undefined; the types say that it is there. */
function withUndefined<T>(value: T): T {
  if (Array.isArray(value)) return value.map(withUndefined) as T
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return value
  const copy: Record<string, unknown> = Object.fromEntries(Object.entries(value))
  for (const [name, inner] of Object.entries(copy)) copy[name] = withUndefined(inner)
  if (copy['type'] === 'put' && !('key' in copy) && !('previous' in copy)) copy['previous'] = undefined
  return copy as T
}

function mustEnd(reader: ByteReader): void {
  if (!reader.isAtEnd) throw new RangeError('There are more bytes than it needs')
}
