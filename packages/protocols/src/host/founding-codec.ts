/**
 * Founding's messages and its record as plain data. Messages are positional arrays that begin with the word 'founding', which
 * no protocol's own payload does. Peers are not trusted to be right: what does not fit is `undefined`.
 */
import type { FoundingMessage, FoundingRecord } from './founding-core.ts'

/** First element of every payload of founding. */
export const foundingMark = 'founding'

/** Names, or ids, of one group. */
const membersMax = 1_024
const idCharsMax = 512

export function encodeFounding(message: FoundingMessage): readonly unknown[] {
  switch (message.type) {
    case 'ask':
      return [foundingMark, message.type, message.attempt, message.ticket, message.names]
    case 'empty':
      return [foundingMark, message.type, message.attempt, message.ticket]
    case 'have': {
      const { members, leader } = message.known
      return [foundingMark, message.type, message.ticket, message.founders, members, leader ?? null]
    }
    case 'differs':
      return [foundingMark, message.type, message.ticket, message.names]
    default:
      return message satisfies never
  }
}

/** Whether the payload is founding's, well-formed or not. */
export function isFoundingPayload(payload: unknown): payload is readonly unknown[] {
  return Array.isArray(payload) && payload[0] === foundingMark
}

export function decodeFounding(payload: readonly unknown[]): FoundingMessage | undefined {
  const [, type, third, fourth, fifth, sixth] = payload
  switch (type) {
    case 'ask':
      if (!isNumber(third) || !isNumber(fourth) || !isNames(fifth)) return undefined
      return { type, attempt: third, ticket: fourth, names: fifth }
    case 'empty':
      if (!isNumber(third) || !isNumber(fourth)) return undefined
      return { type, attempt: third, ticket: fourth }
    case 'have':
      if (!isNumber(third) || !isIds(fourth) || !isNames(fifth)) return undefined
      if (sixth !== null && typeof sixth !== 'string') return undefined
      return {
        type,
        ticket: third,
        founders: fourth,
        known: { members: fifth, leader: sixth ?? undefined },
      }
    case 'differs':
      if (!isNumber(third) || !isNames(fourth)) return undefined
      return { type, ticket: third, names: fourth }
    default:
      return undefined
  }
}

export function encodeRecord(record: FoundingRecord): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(record))
}

/** @throws {TypeError} when it is none: the store checks its bytes, so something else wrote there */
export function decodeRecord(bytes: Uint8Array): FoundingRecord {
  const text = new TextDecoder().decode(bytes)
  const { kind, members } = Object(parsed(text)) as { readonly kind?: unknown; readonly members?: unknown }
  if ((kind === 'founded' || kind === 'joining') && isIds(members)) return { kind, members }
  throw new TypeError(
    `Cannot read the founding of the group: expected { kind, members }, found ${text.slice(0, 60)}; the store ` +
      `is damaged, or something else writes to it`,
  )
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text) as unknown
  } catch {
    return undefined
  }
}

function isNumber(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value)
}

function isNames(value: unknown): value is readonly string[] {
  if (!Array.isArray(value) || value.length > membersMax) return false
  return value.every((name) => typeof name === 'string' && name.length > 0 && name.length <= idCharsMax)
}

/** At least one, each with a store. */
function isIds(value: unknown): value is readonly string[] {
  return isNames(value) && value.length > 0 && value.every((id) => id.indexOf('@') > 0)
}
