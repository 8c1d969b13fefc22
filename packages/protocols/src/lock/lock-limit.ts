/**
 * What the lock table takes, and what is refused before anything is done. All members must agree on it, so these are
 * constants: whoever changes one changes what old entries of a log mean.
 */
import type { AcquireCommand, LockCommand, LockRefusal } from './lock-command.ts'
import { badRequest, overLimit } from './lock-refusal.ts'

export const lockLimits = Object.freeze({
  /** Length of a name in UTF-16 code units. */
  nameLengthMax: 512,
  ownerLengthMax: 128,
  labelLengthMax: 128,
  /** What a leader says of itself, in UTF-16 code units. */
  dataLengthMax: 4_096,
  valueBytesMax: 65_536,
  /** All values together. */
  valuesBytesMax: 268_435_456,
  /** Names that are there at one time. */
  namesMax: 1_000_000,
  sessionsMax: 100_000,
  /** Requests of one session that hold, wait, or were let through and not given up yet. */
  requestsPerSessionMax: 16_384,
  /** Numbers of one session that were given up before they came. */
  givenUpMax: 256,
  /** Requests that wait for one name. */
  waitersMax: 16_384,
  /** Permits of a semaphore, and parties of a barrier. */
  permitsMax: 1_000_000_000,
  partiesMax: 16_384,
  /** Last leaders of an election that are told. */
  reignsMax: 16,
  /** Holders of one name that are told. */
  viewHoldersMax: 256,
  /** One encoded command. */
  commandBytesMax: 2_097_152,
  /** Commands of one batch. */
  batchCommandsMax: 1_024,
  /** Sessions of one `expire`. */
  expireMax: 1_024,
  /** Steps of one search for a deadlock; beyond, none is found, and time limits have to do. */
  deadlockStepsMax: 262_144,
  /** A week. */
  ttlMsMax: 604_800_000,
})

const kinds: ReadonlySet<unknown> = new Set(['mutex', 'read-write', 'semaphore', 'election'])
const steps: ReadonlySet<unknown> = new Set(['pass', 'enter', 'leave'])

/** Why a command, decoded from bytes that nobody vouches for, is refused; `undefined` when it may be carried out. */
export function commandProblem(command: unknown): LockRefusal | undefined {
  if (typeof command !== 'object' || command === null || Array.isArray(command)) {
    return badRequest('a command is an object with a "type"')
  }
  const one = command as Fields
  switch (one['type'] as LockCommand['type']) {
    case 'open-session':
      return ttlProblem(one) ?? textProblem(one, 'label', 0, lockLimits.labelLengthMax)
    case 'keep-alive':
    case 'end-session':
      return field(one, 'session', isPositive)
    case 'expire': {
      const { sessions } = one
      if (!Array.isArray(sessions) || !sessions.every(isPositive)) {
        return badRequest('"sessions" must be a list of session numbers')
      }
      return atMost('expireMax', sessions.length)
    }
    case 'acquire':
      return (
        requestProblem(one) ??
        nameProblem(one) ??
        (kinds.has(one['kind'])
          ? undefined
          : badRequest('"kind" is mutex, read-write, semaphore or election')) ??
        field(one, 'permits', isCount) ??
        field(one, 'capacity', isCount) ??
        field(one, 'wait', isFlag) ??
        field(one, 'reentrant', isFlag) ??
        textProblem(one, 'owner', 0, lockLimits.ownerLengthMax) ??
        textProblem(one, 'data', 0, lockLimits.dataLengthMax) ??
        // Every field of it was looked at above, which the compiler cannot see of a record.
        acquireProblem(one as unknown as AcquireCommand)
      )
    case 'release':
    case 'downgrade':
      return requestProblem(one)
    case 'set-permits':
      return nameProblem(one) ?? field(one, 'permits', isCount) ?? atMost('permitsMax', one['permits'])
    case 'barrier':
      return (
        requestProblem(one) ??
        nameProblem(one) ??
        (steps.has(one['step']) ? undefined : badRequest('"step" must be pass, enter or leave')) ??
        field(one, 'parties', isPositive) ??
        atMost('partiesMax', one['parties']) ??
        field(one, 'entered', isCount)
      )
    case 'latch-set':
      return nameProblem(one) ?? field(one, 'count', isCount)
    case 'latch-down':
      return nameProblem(one) ?? field(one, 'by', isPositive)
    case 'latch-wait':
      return requestProblem(one) ?? nameProblem(one)
    case 'count-add':
      return nameProblem(one) ?? field(one, 'by', isInteger)
    case 'count-set':
      return nameProblem(one) ?? optional(one, 'expected', isInteger) ?? field(one, 'value', isInteger)
    case 'value-set': {
      const { value } = one
      if (!(value instanceof Uint8Array)) return badRequest('"value" must be bytes')
      return (
        nameProblem(one) ?? optional(one, 'expectedVersion', isCount) ?? atMost('valueBytesMax', value.length)
      )
    }
    case 'remove':
      return nameProblem(one)
    case 'spin-acquire':
      return nameProblem(one) ?? spinOwner(one) ?? ttlProblem(one)
    case 'spin-extend':
      return nameProblem(one) ?? spinOwner(one) ?? field(one, 'token', isPositive) ?? ttlProblem(one)
    case 'spin-release':
      return nameProblem(one) ?? spinOwner(one) ?? field(one, 'token', isCount)
    default:
      return badRequest(`there is no command "${String(one['type']).slice(0, 40)}"`)
  }
}

/** What the fields of an acquire, each good for itself, say together. Hot (benchmark: locks). */
export function acquireProblem(acquire: Omit<AcquireCommand, 'type'>): LockRefusal | undefined {
  const { name, kind, permits, capacity, owner, data, session, request } = acquire
  if (session < 1 || request < 1) return badRequest('"session" and "request" are numbers from 1 on')
  if (name.length === 0) return badRequest('"name" must not be empty')
  if (name.length > lockLimits.nameLengthMax) return overLimit('nameLengthMax', lockLimits.nameLengthMax)
  if (owner !== '' && owner.length > lockLimits.ownerLengthMax) {
    return overLimit('ownerLengthMax', lockLimits.ownerLengthMax)
  }
  if (data !== '') {
    if (kind !== 'election') return badRequest('"data" belongs to an election')
    if (data.length > lockLimits.dataLengthMax) return overLimit('dataLengthMax', lockLimits.dataLengthMax)
  }
  if (acquire.reentrant && owner === '') {
    return badRequest('a re-entrant acquire must name its "owner": only the same owner may hold it twice')
  }
  switch (kind) {
    case 'mutex':
    case 'election':
      if (permits === 1 && capacity === 0) return undefined
      return badRequest(`a lock of kind ${kind} is taken with 1 permit and capacity 0`)
    case 'read-write':
      if (permits <= 1 && capacity === 0) return undefined
      return badRequest(
        'a lock of kind read-write is taken with 1 permit to read or 0 to write, and capacity 0',
      )
    case 'semaphore':
      if (permits < 1) return badRequest('a semaphore is taken with 1 permit at least')
      if (acquire.reentrant) return badRequest('a semaphore is not re-entrant: take more permits')
      return atMost('permitsMax', permits) ?? atMost('permitsMax', capacity)
  }
}

type Fields = Readonly<Record<string, unknown>>
type Fits = (value: unknown) => boolean

const isInteger: Fits = (value) => Number.isSafeInteger(value)
const isCount: Fits = (value) => Number.isSafeInteger(value) && (value as number) >= 0
const isPositive: Fits = (value) => Number.isSafeInteger(value) && (value as number) >= 1
const isFlag: Fits = (value) => typeof value === 'boolean'

const wanted: ReadonlyMap<Fits, string> = new Map([
  [isInteger, 'an integer from -(2^53 - 1) to 2^53 - 1'],
  [isCount, 'an integer from 0 to 2^53 - 1'],
  [isPositive, 'an integer from 1 to 2^53 - 1'],
  [isFlag, 'true or false'],
])

function requestProblem(one: Fields): LockRefusal | undefined {
  return field(one, 'session', isPositive) ?? field(one, 'request', isPositive)
}

function nameProblem(one: Fields): LockRefusal | undefined {
  return textProblem(one, 'name', 1, lockLimits.nameLengthMax)
}

function spinOwner(one: Fields): LockRefusal | undefined {
  return textProblem(one, 'owner', 1, lockLimits.ownerLengthMax)
}

function ttlProblem(one: Fields): LockRefusal | undefined {
  return field(one, 'ttlMs', isPositive) ?? atMost('ttlMsMax', one['ttlMs'])
}

function textProblem(one: Fields, name: TextField, least: number, most: number): LockRefusal | undefined {
  const text = one[name]
  if (typeof text !== 'string' || text.length < least) {
    return badRequest(`"${name}" must be a text${least === 0 ? '' : ' that is not empty'}`)
  }
  return text.length > most ? overLimit(`${name}LengthMax`, most) : undefined
}

type TextField = 'name' | 'owner' | 'label' | 'data'

function field(one: Fields, name: string, fits: Fits): LockRefusal | undefined {
  return fits(one[name]) ? undefined : badRequest(`"${name}" must be ${wanted.get(fits) ?? 'something else'}`)
}

function optional(one: Fields, name: string, fits: Fits): LockRefusal | undefined {
  return one[name] === undefined ? undefined : field(one, name, fits)
}

function atMost(limit: keyof typeof lockLimits, value: unknown): LockRefusal | undefined {
  return (value as number) > lockLimits[limit] ? overLimit(limit, lockLimits[limit]) : undefined
}
