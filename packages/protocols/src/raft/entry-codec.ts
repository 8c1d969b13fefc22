/**
 * Bytes of the log: what the host puts in front of a command, and batches of entries for the wire and for a record on disk.
 * The same bytes for both, so that a follower can write what it was sent. No CBOR but for what is rare: this is the hot path
 * of every put. Decoding checks everything, for peers are not trusted to be right.
 *
 * Integers are varints: seven bits a byte, lowest first, the high bit set in all but the last; up to 2^53 - 1.
 *
 *     command  flags (kind, has a session) | time | [session | sequence | answeredBelow] | the command's own bytes
 *     batch    format | count | [first index | first term | items]
 *     item     n * 4 + 0: a command of n bytes, which follow    n * 4 + 1: a no-op (n is 0)
 *              n * 4 + 2: a configuration, n bytes of JSON      n * 4 + 3: no entry: from here on the term is n higher
 */
import type { LogEntry, MemberId, RaftConfiguration } from './raft-message.ts'

/** What the host says of a command. */
export interface CommandHeader {
  /** Log time in milliseconds: whole, not below 0. */
  readonly timeMs: number
  /** 0: none; then `sequence` and `answeredBelow` are 0 too. */
  readonly session: number
  readonly sequence: number
  readonly answeredBelow: number
  readonly kind: CommandKind
}

export type CommandKind = 'command' | 'open-session' | 'expire-sessions'

const kinds: readonly CommandKind[] = ['command', 'open-session', 'expire-sessions']
const kindMask = 3
const hasSession = 4

const batchFormat = 1
const commandItem = 0
const noopItem = 1
const configurationItem = 2
const termItem = 3

/** Where the reader stands; every decoding begins by setting both, and nothing of ours runs in between. */
let source: Uint8Array = new Uint8Array(0)
let at = 0

/**
 * Header and command as the data of an entry, in fresh bytes. Hot: one allocation, one copy of the command; five bytes more
 * than it without a session, about twelve with one.
 *
 * @throws {RangeError} if a number is not whole, below 0 or above 2^53 - 1
 */
export function encodeCommand(header: CommandHeader, command: Uint8Array): Uint8Array {
  const { timeMs, session, sequence, answeredBelow } = header
  const isInSession = session !== 0
  let size = 1 + varintSize(timeMs) + command.length
  if (isInSession) size += varintSize(session) + varintSize(sequence) + varintSize(answeredBelow)
  // From Node's pool where it is small: a fresh buffer costs more than all the rest.
  const bytes = Buffer.allocUnsafe(size)
  bytes[0] = kinds.indexOf(header.kind) | (isInSession ? hasSession : 0)
  let end = writeVarint(bytes, 1, timeMs)
  if (isInSession) {
    end = writeVarint(bytes, end, session)
    end = writeVarint(bytes, end, sequence)
    end = writeVarint(bytes, end, answeredBelow)
  }
  bytes.set(command, end)
  return bytes
}

/**
 * The opposite. `command` is a view of `data`. Hot.
 *
 * @throws {RangeError} if `data` is not what `encodeCommand` makes
 */
export function decodeCommand(data: Uint8Array): {
  readonly header: CommandHeader
  readonly command: Uint8Array
} {
  source = data
  at = 1
  const flags = data[0]
  const kind = flags === undefined ? undefined : kinds[flags & kindMask]
  if (kind === undefined || flags === undefined || flags > (kindMask | hasSession)) {
    throw malformed('command', `its first byte is ${flags}`)
  }
  const timeMs = readVarint()
  const isInSession = (flags & hasSession) !== 0
  const session = isInSession ? readVarint() : 0
  const sequence = isInSession ? readVarint() : 0
  const answeredBelow = isInSession ? readVarint() : 0
  if (isInSession && session === 0) throw malformed('command', 'its session is 0')
  return { header: { timeMs, session, sequence, answeredBelow, kind }, command: data.subarray(at) }
}

/**
 * The batch that was encoded or decoded last, and its bytes. A leader says the same to each follower and to its disk, and a
 * follower writes what it was sent: all of that in one turn of the host.
 */
let knownEntries: readonly LogEntry[] = []
let knownBytes: Uint8Array = new Uint8Array([batchFormat, 0])

/**
 * Entries as one contiguous batch: for a record, and for the wire. Nobody may change the bytes: the same ones are given out
 * again while the same entries are encoded, or were decoded last. Hot: one allocation, one copy of each entry's data, two or
 * three bytes for each entry more; nothing for a batch that is known.
 *
 * @throws {RangeError} if the indices have a hole or the terms go back: that is no part of a log
 */
export function encodeEntries(entries: readonly LogEntry[]): Uint8Array {
  if (!areTheSame(entries, knownEntries)) {
    knownBytes = encodeBatch(entries)
    knownEntries = entries
  }
  return knownBytes
}

/** By identity of the ends and length: entries are never changed once made, and stand in a log without holes. */
function areTheSame(a: readonly LogEntry[], b: readonly LogEntry[]): boolean {
  return a === b || (a.length === b.length && a[0] === b[0] && a.at(-1) === b.at(-1))
}

function encodeBatch(entries: readonly LogEntry[]): Uint8Array {
  const [first] = entries
  if (first === undefined) return new Uint8Array([batchFormat, 0])
  let term = first.term
  let size = 1 + varintSize(entries.length) + varintSize(first.index) + varintSize(term)
  /** Of the configurations, which are rare. */
  let texts: Uint8Array[] | undefined
  for (let i = 0; i < entries.length; i++) {
    const entry = entries[i] as LogEntry
    if (entry.index !== first.index + i || entry.term < term) throw notALog(entries, i)
    if (entry.term !== term) {
      size += varintSize((entry.term - term) * 4)
      term = entry.term
    }
    if (entry.type === 'command') {
      size += varintSize(entry.data.length * 4) + entry.data.length
    } else if (entry.type === 'configuration') {
      const text = encodeConfiguration(entry.configuration)
      texts ??= []
      texts.push(text)
      size += varintSize(text.length * 4) + text.length
    } else {
      size += 1
    }
  }

  const bytes = Buffer.allocUnsafe(size)
  bytes[0] = batchFormat
  let end = writeVarint(bytes, 1, entries.length)
  end = writeVarint(bytes, end, first.index)
  term = first.term
  end = writeVarint(bytes, end, term)
  let text = 0
  for (let i = 0; i < entries.length; i++) {
    const entry = entries[i] as LogEntry
    if (entry.term !== term) {
      end = writeVarint(bytes, end, (entry.term - term) * 4 + termItem)
      term = entry.term
    }
    if (entry.type === 'noop') {
      bytes[end++] = noopItem
      continue
    }
    const isCommand = entry.type === 'command'
    const data = isCommand ? entry.data : (texts?.[text++] as Uint8Array)
    end = writeVarint(bytes, end, data.length * 4 + (isCommand ? commandItem : configurationItem))
    bytes.set(data, end)
    end += data.length
  }
  return bytes
}

/**
 * The opposite. The entries' data are views of `bytes`: keep those as they are. Hot.
 *
 * @throws {RangeError} on anything malformed
 */
export function decodeEntries(bytes: Uint8Array): readonly LogEntry[] {
  source = bytes
  at = 1
  if (bytes[0] !== batchFormat) {
    throw malformed('batch of entries', `its format is ${bytes[0]}, expected ${batchFormat}`)
  }
  const count = readVarint()
  // Each takes a byte at least: a claim that cannot be true makes no room.
  if (count > bytes.length - at)
    throw malformed('batch of entries', `${count} entries do not fit in its bytes`)
  const entries: LogEntry[] = []
  if (count > 0) {
    const first = readVarint()
    let term = readVarint()
    if (first === 0) throw malformed('batch of entries', 'its first index is 0')
    if (!Number.isSafeInteger(first + count))
      throw malformed('batch of entries', 'its last index is too high')
    while (entries.length < count) {
      const item = readVarint()
      const length = Math.floor(item / 4)
      const type = item % 4
      if (type === termItem) {
        term += length
        if (length === 0 || !Number.isSafeInteger(term))
          throw malformed('batch of entries', 'a term is wrong')
        continue
      }
      const index = first + entries.length
      if (type === noopItem) {
        if (length !== 0) throw malformed('batch of entries', 'a no-op has content')
        entries.push({ type: 'noop', index, term })
        continue
      }
      const end = at + length
      if (end > bytes.length) throw malformed('batch of entries', `entry ${index} is cut off`)
      const data = bytes.subarray(at, end)
      at = end
      if (type === commandItem) entries.push({ type: 'command', index, term, data })
      else entries.push({ type: 'configuration', index, term, configuration: decodeConfiguration(data) })
    }
  }
  if (at !== bytes.length) throw malformed('batch of entries', `${bytes.length - at} bytes are left over`)
  knownEntries = entries
  knownBytes = bytes
  return entries
}

const utf8 = new TextEncoder()
const fromUtf8 = new TextDecoder('utf-8', { fatal: true })

/** A configuration as bytes: JSON, for it is rare and small. */
export function encodeConfiguration(configuration: RaftConfiguration): Uint8Array {
  return utf8.encode(JSON.stringify(configurationLists(configuration)))
}

/** @throws {RangeError} if it is none */
export function decodeConfiguration(bytes: Uint8Array): RaftConfiguration {
  let lists: unknown
  try {
    lists = JSON.parse(fromUtf8.decode(bytes))
  } catch {
    throw malformed('configuration', 'it is no JSON')
  }
  return configurationOf(lists)
}

/** As plain data: voters, outgoing, learners, learnersNext. */
export function configurationLists(configuration: RaftConfiguration): readonly (readonly MemberId[])[] {
  const { voters, outgoing, learners, learnersNext } = configuration
  return [voters, outgoing, learners, learnersNext]
}

/** The opposite. @throws {RangeError} if it is none: each list sorted, no id twice in a list, learners that are no voters */
export function configurationOf(lists: unknown): RaftConfiguration {
  if (!Array.isArray(lists) || lists.length !== 4 || !lists.every(isSortedIds)) {
    throw malformed('configuration', 'expected four sorted lists of ids')
  }
  const [voters = [], outgoing = [], learners = [], learnersNext = []] = lists as (readonly MemberId[])[]
  if (learners.some((id) => voters.includes(id))) throw malformed('configuration', 'a learner is a voter too')
  return { voters, outgoing, learners, learnersNext }
}

function isSortedIds(list: unknown): boolean {
  return (
    Array.isArray(list) &&
    list.every((id, i) => typeof id === 'string' && id !== '' && (i === 0 || (list[i - 1] as string) < id))
  )
}

function varintSize(value: number): number {
  if (value < 0x80) {
    // The only place where every number passes: what is no count must not come back as another.
    if (value >= 0 && Number.isInteger(value)) return 1
  } else if (Number.isSafeInteger(value)) {
    let size = 1
    for (let rest = value; rest >= 0x80; rest = Math.floor(rest / 0x80)) size++
    return size
  }
  throw new RangeError(`Cannot encode ${value}: expected a whole number from 0 to 2^53 - 1`)
}

function writeVarint(bytes: Uint8Array, from: number, value: number): number {
  let end = from
  let rest = value
  // Bit operations see 32 bits.
  while (rest >= 0x80000000) {
    bytes[end++] = (rest % 0x80) | 0x80
    rest = Math.floor(rest / 0x80)
  }
  while (rest >= 0x80) {
    bytes[end++] = (rest & 0x7f) | 0x80
    rest >>>= 7
  }
  bytes[end++] = rest
  return end
}

function readVarint(): number {
  let value = 0
  let unit = 1
  for (let i = 0; i < 8; i++) {
    const byte = source[at++]
    if (byte === undefined) throw malformed('bytes', 'they end within a number')
    value += (byte & 0x7f) * unit
    if (byte < 0x80) {
      if (Number.isSafeInteger(value)) return value
      break
    }
    unit *= 0x80
  }
  throw malformed('bytes', 'a number is above 2^53 - 1')
}

function malformed(what: string, why: string): RangeError {
  return new RangeError(`Cannot decode a ${what} of the log: ${why}`)
}

function notALog(entries: readonly LogEntry[], i: number): RangeError {
  const before = entries[i - 1]
  const { index, term } = entries[i] as LogEntry
  return new RangeError(
    `Cannot encode entries: (${index}, term ${term}) cannot follow (${before?.index}, term ${before?.term})`,
  )
}
