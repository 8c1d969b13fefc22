/** The parts of envelopes that came from a peer: each is what it must be, and within its limit, or `undefined`. */
import { isForbiddenKey } from '@understudy/runtime/codec'

import { laneOrder, RECIPIENT_ACTOR, RECIPIENT_ENTITY } from './envelope-tag.ts'
import { chainLengthMax, fieldsMax, nameLengthMax, pathLengthMax } from './wire-limits.ts'
import type { CallChainLink, IncomingRecipient, LaneName } from './wire-protocol.ts'

const noChain: readonly CallChainLink[] = Object.freeze([])

/** A recipient that is written out. */
export function readRecipient(value: unknown): IncomingRecipient | undefined {
  if (!Array.isArray(value) || value.length !== 3) return undefined
  const [kind, first, second] = value as readonly unknown[]
  if (kind === RECIPIENT_ACTOR && isText(first, pathLengthMax)) {
    if (second === null) return { kind: 'actor', path: first, uid: undefined, target: undefined }
    return isId(second) ? { kind: 'actor', path: first, uid: second, target: undefined } : undefined
  }
  if (kind === RECIPIENT_ENTITY && isText(first, nameLengthMax) && isText(second, pathLengthMax)) {
    // No ref has such a key, and no actor such a name.
    if (second === '') return undefined
    return { kind: 'entity', name: first, key: second, target: undefined }
  }
  return undefined
}

/** The call chain of an ask. */
export function readChain(value: unknown): readonly CallChainLink[] | undefined {
  if (!Array.isArray(value) || value.length > chainLengthMax) return undefined
  if (value.length === 0) return noChain
  const chain: CallChainLink[] = []
  for (const link of value as readonly unknown[]) {
    if (!Array.isArray(link) || link.length !== 5) return undefined
    const [node, incarnation, uid, path, messageType] = link as readonly unknown[]
    if (!isText(node, nameLengthMax) || !isId(incarnation) || !isId(uid)) return undefined
    if (!isText(path, pathLengthMax) || !isText(messageType, nameLengthMax)) return undefined
    chain.push({ node, incarnation, uid, path, messageType })
  }
  return chain
}

/** A lane by its number. */
export function readLane(value: unknown): LaneName | undefined {
  return typeof value === 'number' ? laneOrder[value] : undefined
}

/** The lanes that a good-bye names: never the one that it comes on. */
export function readOtherLanes(value: unknown): readonly LaneName[] | undefined {
  if (!Array.isArray(value) || value.length >= laneOrder.length) return undefined
  const lanes: LaneName[] = []
  for (const number of value as readonly unknown[]) {
    const lane = readLane(number)
    if (lane === undefined || lane === 'control') return undefined
    lanes.push(lane)
  }
  return lanes
}

/** The field names of an announced type. */
export function isFieldList(value: unknown): value is string[] {
  if (!Array.isArray(value) || value.length > fieldsMax) return false
  const names = new Set<unknown>(value)
  // A name twice would be two values for one field; `type` would overwrite what the message is.
  return (
    names.size === value.length &&
    !names.has('type') &&
    value.every((name) => isText(name, nameLengthMax) && !isForbiddenKey(name))
  )
}

/** Text of so many UTF-16 units at most. */
export function isText(value: unknown, lengthMax: number): value is string {
  return typeof value === 'string' && value.length <= lengthMax
}

/** A number that counts or identifies. */
export function isId(value: unknown): value is number {
  return typeof value === 'number' && value >= 0 && Number.isSafeInteger(value)
}
