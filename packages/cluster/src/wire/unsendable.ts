/**
 * What the sender refuses before the receiver has to: everything that a peer of the same version would close the
 * connection for.
 */
import { isForbiddenKey } from '@understudy/runtime/codec'

import { fieldsMax, nameLengthMax, pathLengthMax, typesMax } from './wire-limits.ts'
import type { ResolvedWireLimits } from './wire-limits.ts'
import type { Recipient } from './wire-protocol.ts'

/**
 * An envelope that was not appended, and why. The batch is as it was before the call. Too large: raise
 * `frameBytesMax` on all nodes, or send less. Not encodable: `problem` names the value. Peer too old: its wire version has
 * no such envelope, and it would close the link for it.
 */
export interface Unsendable {
  readonly reason: 'too-large' | 'not-encodable' | 'peer-too-old'
  /**
   * The rest of a sentence that begins with "the message": `is 2000012 bytes, the limit of a frame is
   * 1048576`.
   */
  readonly problem: string
  /**
   * Bytes of the envelope, when it was too large by bytes; at least so many, when writing stopped before its
   * end.
   */
  readonly bytes?: number
  /** The limit that it met, in bytes or slots. */
  readonly limit?: number
}

/** Bytes before the envelopes of a frame: a list header with room for 65,535. */
export const frameHeaderBytes = 3

const loneSurrogates = /\p{Surrogate}/gu

/** Why the peer would not take this recipient: its strings are longer than both ends agreed on. */
export function recipientProblem(recipient: Recipient): Unsendable | undefined {
  if (recipient.kind === 'actor') return textProblem('path', recipient.path, pathLengthMax)
  return (
    textProblem('entity name', recipient.name, nameLengthMax) ??
    textProblem('key', recipient.key, pathLengthMax)
  )
}

/** Why a message type cannot be announced. `typeCount` are announced already. */
export function typeProblem(
  protocol: string,
  type: string,
  fields: readonly string[],
  typeCount: number,
): Unsendable | undefined {
  const problem =
    textProblem('protocol name', protocol, nameLengthMax) ?? textProblem('type', type, nameLengthMax)
  if (problem !== undefined) return problem
  if (typeCount >= typesMax) {
    return large(`needs a message type number, and this connection has used all of its ${typesMax}`, typesMax)
  }
  if (fields.length > fieldsMax)
    return large(`has ${fields.length} fields, the limit is ${fieldsMax}`, fieldsMax)
  for (const field of fields) {
    const tooLong = textProblem('field name', field, nameLengthMax)
    if (tooLong !== undefined) return tooLong
    if (isForbiddenKey(field)) {
      return { reason: 'not-encodable', problem: `has at "${field}" the key "${field}", which cannot travel` }
    }
  }
  return undefined
}

function textProblem(what: string, text: string, lengthMax: number): Unsendable | undefined {
  if (text.length > lengthMax) {
    return large(`has a ${what} of ${text.length} characters, the limit is ${lengthMax}`, lengthMax)
  }
  if (hasSurrogates(text) && text.search(loneSurrogates) >= 0) {
    return {
      reason: 'not-encodable',
      problem: `has a ${what} with half of a surrogate pair, which cannot travel`,
    }
  }
  return undefined
}

/** An envelope that fits in no frame, by bytes or else by slots. */
export function tooLarge(bytes: number, slots: number, limits: ResolvedWireLimits): Unsendable {
  const bytesMax = limits.frameBytesMax
  if (bytes + frameHeaderBytes > bytesMax) {
    return { ...large(`is at least ${bytes} bytes, the limit of a frame is ${bytesMax}`, bytesMax), bytes }
  }
  return large(
    `has ${slots} values in it, the limit of a frame is ${limits.frameSlotsMax}`,
    limits.frameSlotsMax,
  )
}

function large(problem: string, limit: number): Unsendable {
  return { reason: 'too-large', problem, limit }
}

/**
 * Text for people, made to fit: cut, and half pairs replaced. An error must not fail because of how it is
 * worded.
 */
export function fitting(text: string, lengthMax: number): string {
  const cut = text.length > lengthMax ? text.slice(0, lengthMax) : text
  // Nearly all text has no surrogates at all, and a look is a tenth of what the expression costs.
  return hasSurrogates(cut) ? cut.replace(loneSurrogates, '\uFFFD') : cut
}

function hasSurrogates(text: string): boolean {
  for (let index = 0; index < text.length; index++) {
    if ((text.charCodeAt(index) & 0xf800) === 0xd800) return true
  }
  return false
}
