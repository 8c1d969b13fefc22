/**
 * What the members of a group say to each other, as the host carries it: positional arrays of plain data, the entries of an
 * append as one byte string. Reading checks everything: a peer is not trusted to be right, and what does not fit is dropped
 * by whoever reads it.
 *
 * Every array begins with the kind and the id of the store that it is for. A node that has lost its disk is another member
 * under the same name, and must not take what was said to the one before it.
 */
import { decodeConfiguration, decodeEntries, encodeConfiguration, encodeEntries } from './entry-codec.ts'
import type {
  AppendRejection,
  LogEntry,
  LogPosition,
  RaftConfiguration,
  RaftMessage,
  SnapshotMeta,
} from './raft-message.ts'
import type { StoredSnapshot } from './raft-store.ts'
import { membersOf, nodeOfMember, storeOfMember } from './raft-member-id.ts'

/** What members say to each other beside the core: snapshots on their way, and who comes and goes. */
export type GroupMessage =
  /** Leader to follower: this is what I would send you. */
  | { readonly type: 'snapshot-offer'; readonly term: number; readonly snapshot: StoredSnapshot }
  /** Follower to leader: `next` chunks are here and durable. `restart`, in answer to an offer: go on with that one. */
  | {
      readonly type: 'snapshot-want'
      readonly id: string
      readonly next: number
      readonly restart: boolean
    }
  | {
      readonly type: 'snapshot-chunk'
      readonly id: string
      readonly chunk: number
      readonly crc: number
      readonly bytes: Uint8Array
    }
  /** Follower to leader: it is in force here (or was not needed), or it came out wrong. */
  | { readonly type: 'snapshot-done'; readonly id: string; readonly ok: boolean }
  /** Here I am, with this store: from a member that is in no configuration, or in answer to `who`. */
  | { readonly type: 'hello' }
  /** Leader to a node: say hello. Whatever its store is. */
  | { readonly type: 'who' }
  /** In answer to `hello`, from who does not lead: nodes that take part, as far as it knows. One of them leads, or knows more. */
  | { readonly type: 'members'; readonly nodes: readonly string[] }
  /** Leader to a member: the configuration committed at `index` no longer names you. */
  | { readonly type: 'removed'; readonly index: number }

/** Most bytes of one chunk of a snapshot, as it is stored and sent: well below a frame of the transport. */
export const snapshotChunkBytesMax = 262_144

const configurationBytesMax = 1_048_576
const idCharsMax = 512
const chunksMax = 16_777_216
/** Names of nodes in one `members`. */
const nodesMax = 256

/** One number a kind, never used for anything else. */
const kinds = {
  'pre-vote': 1,
  vote: 2,
  'pre-vote-reply': 3,
  'vote-reply': 4,
  append: 5,
  'append-reply': 6,
  heartbeat: 7,
  'heartbeat-reply': 8,
  'timeout-now': 9,
  read: 10,
  'read-reply': 11,
  quiesce: 12,
  'snapshot-offer': 20,
  'snapshot-want': 21,
  'snapshot-chunk': 22,
  'snapshot-done': 23,
  hello: 24,
  who: 25,
  removed: 26,
  members: 27,
} as const satisfies Readonly<Record<(RaftMessage | GroupMessage)['type'], number>>

const noBytes = new Uint8Array(0)

/** The message as plain data for the store `store`. The arrays inside belong to the caller of the transport. Hot for appends. */
export function encodeMessage(store: string, message: RaftMessage | GroupMessage): readonly unknown[] {
  const kind = kinds[message.type]
  switch (message.type) {
    case 'append': {
      const { term, previous, commit, entries } = message
      return [kind, store, term, previous.index, previous.term, commit, bytesOf(entries)]
    }
    case 'append-reply': {
      const { term, index, rejected } = message
      if (rejected === undefined) return [kind, store, term, index]
      return [kind, store, term, index, rejected.hint.index, rejected.hint.term, rejected.lost]
    }
    case 'heartbeat':
      return [kind, store, message.term, message.commit, message.round]
    case 'heartbeat-reply':
      return [kind, store, message.term, message.round]
    case 'pre-vote':
    case 'vote':
      return [kind, store, message.term, message.last.index, message.last.term, message.transfer]
    case 'pre-vote-reply':
    case 'vote-reply':
      return [kind, store, message.term, message.granted]
    case 'timeout-now':
      return [kind, store, message.term]
    case 'read':
      return [kind, store, message.term, message.id]
    case 'read-reply':
      return message.index === undefined
        ? [kind, store, message.term, message.id]
        : [kind, store, message.term, message.id, message.index]
    case 'quiesce':
      return [kind, store, message.term, message.last.index, message.last.term, message.commit]
    case 'snapshot-offer': {
      const { id, chunks, bytes, crc, meta } = message.snapshot
      const configuration = encodeConfiguration(meta.configuration)
      return [kind, store, message.term, id, chunks, bytes, crc, meta.index, meta.term, configuration]
    }
    case 'snapshot-want':
      return [kind, store, message.id, message.next, message.restart]
    case 'snapshot-chunk':
      return [kind, store, message.id, message.chunk, message.crc, message.bytes]
    case 'snapshot-done':
      return [kind, store, message.id, message.ok]
    case 'hello':
    case 'who':
      return [kind, store]
    case 'removed':
      return [kind, store, message.index]
    case 'members':
      return [kind, store, message.nodes.slice(0, nodesMax)]
  }
}

/**
 * Reads what `encodeMessage` made. `store` is the id of the store it was meant for, empty for whichever there is.
 *
 * @throws {RangeError} saying what is wrong with it
 */
export function decodeMessage(payload: unknown): {
  readonly store: string
  readonly message: RaftMessage | GroupMessage
} {
  if (!Array.isArray(payload)) throw new RangeError('Cannot read a message of the group: it must be an array')
  const fields: readonly unknown[] = payload
  return { store: text(fields, 1), message: readFields(fields) }
}

function readFields(fields: readonly unknown[]): RaftMessage | GroupMessage {
  switch (fields[0]) {
    case kinds.append:
      return {
        type: 'append',
        term: whole(fields, 2),
        previous: position(fields, 3),
        commit: whole(fields, 5),
        entries: entriesOf(fields),
      }
    case kinds['append-reply']:
      return {
        type: 'append-reply',
        term: whole(fields, 2),
        index: whole(fields, 3),
        rejected: rejectionOf(fields),
      }
    case kinds.heartbeat:
      return {
        type: 'heartbeat',
        term: whole(fields, 2),
        commit: whole(fields, 3),
        round: whole(fields, 4),
      }
    case kinds['heartbeat-reply']:
      return { type: 'heartbeat-reply', term: whole(fields, 2), round: whole(fields, 3) }
    case kinds['pre-vote']:
      return readVote('pre-vote', fields)
    case kinds.vote:
      return readVote('vote', fields)
    case kinds['pre-vote-reply']:
      return { type: 'pre-vote-reply', term: whole(fields, 2), granted: flag(fields, 3) }
    case kinds['vote-reply']:
      return { type: 'vote-reply', term: whole(fields, 2), granted: flag(fields, 3) }
    case kinds['timeout-now']:
      return { type: 'timeout-now', term: whole(fields, 2) }
    case kinds.read:
      return { type: 'read', term: whole(fields, 2), id: whole(fields, 3) }
    case kinds['read-reply']: {
      const index = fields.length > 4 ? whole(fields, 4) : undefined
      return { type: 'read-reply', term: whole(fields, 2), id: whole(fields, 3), index }
    }
    case kinds.quiesce:
      return { type: 'quiesce', term: whole(fields, 2), last: position(fields, 3), commit: whole(fields, 5) }
    default:
      return readGroupFields(fields)
  }
}

function readGroupFields(fields: readonly unknown[]): GroupMessage {
  switch (fields[0]) {
    case kinds['snapshot-offer']:
      return { type: 'snapshot-offer', term: whole(fields, 2), snapshot: snapshotOf(fields) }
    case kinds['snapshot-want']:
      return { type: 'snapshot-want', id: text(fields, 2), next: whole(fields, 3), restart: flag(fields, 4) }
    case kinds['snapshot-chunk']:
      return {
        type: 'snapshot-chunk',
        id: text(fields, 2),
        chunk: whole(fields, 3),
        crc: whole(fields, 4),
        bytes: byteString(fields, 5, snapshotChunkBytesMax),
      }
    case kinds['snapshot-done']:
      return { type: 'snapshot-done', id: text(fields, 2), ok: flag(fields, 3) }
    case kinds.hello:
      return { type: 'hello' }
    case kinds.who:
      return { type: 'who' }
    case kinds.removed:
      return { type: 'removed', index: whole(fields, 2) }
    case kinds.members:
      return { type: 'members', nodes: textsOf(fields, 2) }
    default:
      throw new RangeError(`Cannot read a message of the group: there is no kind ${kindOf(fields)}`)
  }
}

function readVote(type: 'pre-vote' | 'vote', fields: readonly unknown[]): RaftMessage {
  return { type, term: whole(fields, 2), last: position(fields, 3), transfer: flag(fields, 5) }
}

function bytesOf(entries: readonly LogEntry[]): Uint8Array {
  return entries.length === 0 ? noBytes : encodeEntries(entries)
}

/** The entries follow `previous` without a hole, in terms that never go back and are not above the leader's. */
function entriesOf(fields: readonly unknown[]): readonly LogEntry[] {
  const bytes = byteString(fields, 6, Infinity)
  if (bytes.length === 0) return []
  const entries = decodeEntries(bytes)
  const first = entries[0]
  const last = entries.at(-1)
  if (first === undefined || last === undefined) return entries
  if (first.index !== whole(fields, 3) + 1) {
    throw new RangeError(
      `Cannot read an append: its entries begin at ${first.index} and should follow ${String(fields[3])}`,
    )
  }
  let term = whole(fields, 4)
  for (const entry of entries) {
    if (entry.term < term) throw new RangeError('Cannot read an append: the terms of its entries go back')
    term = entry.term
  }
  if (term > whole(fields, 2)) {
    throw new RangeError(`Cannot read an append: an entry of term ${term} in term ${String(fields[2])}`)
  }
  return entries
}

function rejectionOf(fields: readonly unknown[]): AppendRejection | undefined {
  return fields.length > 4 ? { hint: position(fields, 4), lost: flag(fields, 6) } : undefined
}

function snapshotOf(fields: readonly unknown[]): StoredSnapshot {
  const chunks = whole(fields, 4)
  if (chunks > chunksMax) {
    throw new RangeError(`Cannot read a snapshot offer: ${chunks} chunks, at most ${chunksMax} are taken`)
  }
  const crc = whole(fields, 6)
  if (crc > 0xffffffff) throw new RangeError('Cannot read a snapshot offer: crc must be a 32-bit number')
  const meta: SnapshotMeta = { ...position(fields, 7), configuration: configurationOf(fields, 9) }
  return { meta, id: text(fields, 3), chunks, bytes: whole(fields, 5), crc }
}

function configurationOf(fields: readonly unknown[], at: number): RaftConfiguration {
  const configuration = decodeConfiguration(byteString(fields, at, configurationBytesMax))
  if (configuration.voters.length === 0) throw new RangeError('Cannot read a configuration: it has no voters')
  for (const member of membersOf(configuration)) {
    if (nodeOfMember(member) === '' || storeOfMember(member) === '') {
      throw new RangeError(
        `Cannot read a configuration: ${JSON.stringify(member.slice(0, 80))} is no id of a member`,
      )
    }
  }
  return configuration
}

/** For errors. What a peer put there may not even have a text. */
function kindOf([kind]: readonly unknown[]): string {
  return typeof kind === 'number' ? String(kind) : `(a ${typeof kind})`
}

function position(fields: readonly unknown[], at: number): LogPosition {
  return { index: whole(fields, at), term: whole(fields, at + 1) }
}

function whole(fields: readonly unknown[], at: number): number {
  const value = fields[at]
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value
  throw new RangeError(
    `Cannot read a message of kind ${kindOf(fields)}: field ${at} must be a whole number of at least 0`,
  )
}

function flag(fields: readonly unknown[], at: number): boolean {
  const value = fields[at]
  if (typeof value === 'boolean') return value
  throw new RangeError(`Cannot read a message of kind ${kindOf(fields)}: field ${at} must be true or false`)
}

function text(fields: readonly unknown[], at: number): string {
  const value = fields[at]
  if (typeof value === 'string' && value.length <= idCharsMax) return value
  throw new RangeError(
    `Cannot read a message of kind ${kindOf(fields)}: field ${at} must be a string of at most ${idCharsMax}`,
  )
}

function textsOf(fields: readonly unknown[], at: number): readonly string[] {
  const value: unknown = fields[at]
  if (Array.isArray(value) && value.length <= nodesMax) return value.map((_, i) => text(value, i))
  throw new RangeError(
    `Cannot read a message of kind ${kindOf(fields)}: field ${at} must be a list of at most ${nodesMax}`,
  )
}

function byteString(fields: readonly unknown[], at: number, bytesMax: number): Uint8Array {
  const value = fields[at]
  if (value instanceof Uint8Array && value.length <= bytesMax) return value
  throw new RangeError(
    `Cannot read a message of kind ${kindOf(fields)}: field ${at} must be a byte string` +
      (bytesMax === Infinity ? '' : ` of at most ${bytesMax}`),
  )
}
