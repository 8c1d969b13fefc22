/**
 * The messages of SWIM: what they are, how they are written, and how what arrives is read. Written as positional arrays; all
 * that is read has a size and a form, and what has not is refused with a word, never an exception.
 */
import { nodeAddress } from '../transport/address.ts'
import type { NodeAddress } from '../transport/address.ts'
import {
  isNodeName,
  roleLengthMax,
  rolesMax,
  versionLengthMax,
  weightMax,
  zoneLengthMax,
} from '../wire/handshake-message.ts'
import { cannotReachMax } from './member-table.ts'
import type { MemberPhase, MemberRecord, RecordKind } from './member-table.ts'

/** A message between two members, over the control link. `records` ride on every one. */
export type SwimMessage =
  /** Are you there? */
  | { readonly type: 'ping'; readonly sequence: number; readonly records: readonly MemberRecord[] }
  /** Ping that life for me, and tell me: with an `ack` if it answers, with a `nack` if not. */
  | {
      readonly type: 'ping-req'
      readonly sequence: number
      readonly target: string
      readonly incarnation: number
      readonly records: readonly MemberRecord[]
    }
  | { readonly type: 'ack'; readonly sequence: number; readonly records: readonly MemberRecord[] }
  | { readonly type: 'nack'; readonly sequence: number; readonly records: readonly MemberRecord[] }
  | { readonly type: 'gossip'; readonly records: readonly MemberRecord[] }
  /** A part of the sender's whole table. The last part of one that is no answer is answered with the receiver's table. */
  | {
      readonly type: 'push-pull'
      readonly isAnswer: boolean
      readonly isLast: boolean
      readonly records: readonly MemberRecord[]
    }
  /** The digest of the sender's table; who has another begins a push-pull. So equal tables cost one message. */
  | { readonly type: 'sync'; readonly digest: number; readonly records: readonly MemberRecord[] }

/** Most records of one message that is read, and of one part of a push-pull. */
export const swimRecordsMax = 128
/** Most kinds of entities that a member says it has, and the characters of each. */
export const entityKindsMax = 64
export const entityKindLengthMax = 63
/** Characters of a reason. What a member says of itself has the limits of the hello that it said it in first. */
export const swimReasonMax = 128
/** Bytes after which a part of a push-pull ends, so that it fits any frame even when all records are of the largest. */
export const pushPullPartBytesMax = 65_536

const messageTypes = ['ping', 'ping-req', 'ack', 'nack', 'gossip', 'push-pull', 'sync'] as const
const phases: readonly MemberPhase[] = ['joining', 'alive', 'leaving']
/** Every kind with every phase it can have, as it is numbered on the wire. */
const kinds: readonly { readonly kind: RecordKind; readonly phase: MemberPhase }[] = [
  ...phases.map((phase) => ({ kind: phase, phase })),
  ...(['suspect', 'unreachable', 'down', 'left'] as const).flatMap((kind) =>
    phases.map((phase) => ({ kind, phase })),
  ),
]

/** As it is sent: an array of its number, its fields in order, its records. Shares the arrays of the records. */
export function writeSwimMessage(message: SwimMessage): unknown {
  const code = messageTypes.indexOf(message.type)
  const records = message.records.map(writeRecord)
  switch (message.type) {
    case 'ping':
    case 'ack':
    case 'nack':
      return [code, message.sequence, records]
    case 'ping-req':
      return [code, message.sequence, message.target, message.incarnation, records]
    case 'gossip':
      return [code, records]
    case 'push-pull':
      return [code, (message.isAnswer ? 1 : 0) + (message.isLast ? 2 : 0), records]
    case 'sync':
      return [code, message.digest, records]
    default:
      return unreachable(message)
  }
}

/** Reads what arrived. A string says what is wrong with it; never throws. */
export function readSwimMessage(value: unknown): SwimMessage | string {
  if (!Array.isArray(value)) return 'a SWIM message must be an array'
  const type = typeof value[0] === 'number' ? messageTypes[value[0]] : undefined
  if (type === undefined) return 'a SWIM message must begin with the number of a known type'
  const records = readRecords(value[fieldsOf(type)])
  if (typeof records === 'string') return `${type}: ${records}`
  const first: unknown = value[1]
  switch (type) {
    case 'ping':
    case 'ack':
    case 'nack':
      return isCount(first) ? { type, sequence: first, records } : `${type}: bad sequence`
    case 'ping-req': {
      const target: unknown = value[2]
      const incarnation: unknown = value[3]
      if (!isCount(first)) return 'ping-req: bad sequence'
      if (typeof target !== 'string' || !isNodeName(target)) return 'ping-req: bad target'
      if (!isCount(incarnation)) return 'ping-req: bad incarnation'
      return { type, sequence: first, target, incarnation, records }
    }
    case 'gossip':
      return { type, records }
    case 'push-pull':
      if (!isCount(first) || first > 3) return 'push-pull: bad flags'
      return { type, isAnswer: (first & 1) !== 0, isLast: (first & 2) !== 0, records }
    case 'sync':
      return isCount(first) ? { type, digest: first, records } : 'sync: bad digest'
    default:
      return unreachable(type)
  }
}

/** Cuts a table into the parts of a push-pull, at least one. */
export function pushPullParts(records: readonly MemberRecord[], isAnswer: boolean): readonly SwimMessage[] {
  const parts: MemberRecord[][] = [[]]
  let bytes = 0
  for (const record of records) {
    const size = recordBytes(record)
    let part = parts.at(-1)
    if (
      part === undefined ||
      part.length >= swimRecordsMax ||
      (part.length > 0 && bytes + size > pushPullPartBytesMax)
    ) {
      part = []
      parts.push(part)
      bytes = 0
    }
    part.push(record)
    bytes += size
  }
  return parts.map((part, index) => ({
    type: 'push-pull',
    isAnswer,
    isLast: index === parts.length - 1,
    records: part,
  }))
}

// ---- sizes

const sizes = new WeakMap<MemberRecord, number>()

/** Bytes of a record as CBOR. Exact; O(1) after the first time for the same object. */
export function recordBytes(record: MemberRecord): number {
  let bytes = sizes.get(record)
  if (bytes === undefined) {
    bytes = valueBytes(writeRecord(record))
    sizes.set(record, bytes)
  }
  return bytes
}

/** Bytes of a message as CBOR, without the envelope around it. Exact; O(records). */
export function swimMessageBytes(message: SwimMessage): number {
  let bytes = 2 + headBytes(message.records.length)
  for (const record of message.records) bytes += recordBytes(record)
  switch (message.type) {
    case 'ping':
    case 'ack':
    case 'nack':
      return bytes + numberBytes(message.sequence)
    case 'ping-req':
      return (
        bytes + numberBytes(message.sequence) + valueBytes(message.target) + numberBytes(message.incarnation)
      )
    case 'gossip':
      return bytes
    case 'push-pull':
      return bytes + 1
    case 'sync':
      return bytes + numberBytes(message.digest)
    default:
      return unreachable(message)
  }
}

function valueBytes(value: unknown): number {
  if (typeof value === 'number') return numberBytes(value)
  if (typeof value === 'string') {
    const bytes = textBytes(value)
    return headBytes(bytes) + bytes
  }
  if (!Array.isArray(value)) return 1
  let bytes = headBytes(value.length)
  for (const item of value) bytes += valueBytes(item)
  return bytes
}

function numberBytes(value: number): number {
  return Number.isInteger(value) && value >= 0 ? headBytes(value) : 9
}

function headBytes(count: number): number {
  return count < 24 ? 1 : count < 0x100 ? 2 : count < 0x1_0000 ? 3 : count < 0x1_0000_0000 ? 5 : 9
}

function textBytes(text: string): number {
  let bytes = text.length
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index)
    if (code < 0x80) continue
    // A pair of surrogates is two units and four bytes; a lone one becomes the replacement character, three bytes.
    const isPair = code >= 0xd800 && code < 0xdc00 && (text.charCodeAt(index + 1) & 0xfc00) === 0xdc00
    if (isPair) index++
    bytes += code < 0x800 ? 1 : 2
  }
  return bytes
}

// ---- records

/** As docs/reference/wire-format.md says: nine elements, and what it has of `by`, `reason`, `cannotReach`, `entities`. */
function writeRecord(record: MemberRecord): readonly unknown[] {
  const { kind, phase, cannotReach, by, reason, entities } = record
  const code = kinds.findIndex((known) => known.kind === kind && known.phase === phase)
  const fields = [
    record.name,
    record.incarnation,
    record.address,
    record.weight,
    record.zone ?? null,
    record.roles,
    record.version,
    record.refutation,
    // A phase that does not fit the kind is nothing that we make.
    code < 0 ? kinds.findIndex((known) => known.kind === kind) : code,
  ]
  const rest = [by ?? null, reason ?? null, cannotReach.length > 0 ? cannotReach : null, entities ?? null]
  while (rest.at(-1) === null) rest.pop()
  return [...fields, ...rest]
}

function readRecords(value: unknown): readonly MemberRecord[] | string {
  if (!Array.isArray(value)) return 'the records must be an array'
  if (value.length > swimRecordsMax) return `${value.length} records; at most ${swimRecordsMax}`
  const records: MemberRecord[] = []
  for (const item of value as readonly unknown[]) {
    const record = readRecord(item)
    if (typeof record === 'string') return record
    records.push(record)
  }
  return records
}

function readRecord(value: unknown): MemberRecord | string {
  if (!Array.isArray(value)) return 'a record must be an array'
  const [name, incarnation, address, weight, zone, roles, version, refutation, code] =
    value as readonly unknown[]
  const by: unknown = value[9] ?? undefined
  const reason: unknown = value[10] ?? undefined
  const cannotReach: unknown = value[11] ?? []
  const entities: unknown = value[12] ?? undefined
  if (typeof name !== 'string' || !isNodeName(name)) return 'record: bad name'
  if (!isCount(incarnation)) return 'record: bad incarnation'
  const place = readAddress(address)
  if (place === undefined) return 'record: bad address'
  if (typeof weight !== 'number' || !(weight >= 0 && weight <= weightMax)) return 'record: bad weight'
  if (zone !== null && !isText(zone, zoneLengthMax)) return 'record: bad zone'
  if (!isTexts(roles, rolesMax, roleLengthMax) || roles.includes('')) return 'record: bad roles'
  if (!isText(version, versionLengthMax)) return 'record: bad version'
  if (!isCount(refutation)) return 'record: bad refutation'
  const kind = typeof code === 'number' ? kinds[code] : undefined
  if (kind === undefined) return 'record: bad kind'
  if (by !== undefined && (typeof by !== 'string' || !isNodeName(by))) return 'record: bad by'
  if (reason !== undefined && !isText(reason, swimReasonMax)) return 'record: bad reason'
  if (!isTexts(cannotReach, cannotReachMax, Infinity) || !cannotReach.every(isNodeName))
    return 'record: bad cannotReach'
  if (
    entities !== undefined &&
    (!isTexts(entities, entityKindsMax, entityKindLengthMax) || entities.includes(''))
  )
    return 'record: bad entities'
  return {
    name,
    incarnation,
    address: place,
    weight,
    ...(typeof zone === 'string' ? { zone } : {}),
    roles: [...roles],
    version,
    refutation,
    kind: kind.kind,
    phase: kind.phase,
    cannotReach: [...cannotReach],
    ...(by === undefined ? {} : { by }),
    ...(reason === undefined ? {} : { reason }),
    ...(entities === undefined ? {} : { entities: [...entities] }),
  }
}

function readAddress(value: unknown): NodeAddress | undefined {
  if (typeof value !== 'string') return undefined
  try {
    return nodeAddress(value)
  } catch {
    return undefined
  }
}

function fieldsOf(type: (typeof messageTypes)[number]): number {
  return type === 'gossip' ? 1 : type === 'ping-req' ? 4 : 2
}

function isText(value: unknown, lengthMax: number): value is string {
  return typeof value === 'string' && value.length <= lengthMax
}

function isTexts(value: unknown, most: number, lengthMax: number): value is readonly string[] {
  return Array.isArray(value) && value.length <= most && value.every((text) => isText(text, lengthMax))
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && value >= 0 && Number.isSafeInteger(value)
}

function unreachable(value: never): never {
  throw new TypeError(`Cannot take a SWIM message of type "${String(value)}"`)
}
