/**
 * What the store takes, and what is refused before anything is done. All members must agree on it, so these are constants:
 * whoever changes one changes what old entries of a log mean.
 */
import type { KvCommand, KvCompare, KvOperation, KvRange, KvTransaction } from './kv-command.ts'

/**
 * Limits of one command, as etcd's (values and requests in bytes). What a group takes is mostly less: `commandBytesMax` of its
 * options, 786,432 by default, for a command as a whole; and a command from another node has to fit a frame.
 */
export const kvLimits = Object.freeze({
  /** Length of a key in UTF-16 code units. */
  keyLengthMax: 1_024,
  /** However much the group takes. */
  valueBytesMax: 1_572_864,
  /** One encoded command, however much the group takes. */
  commandBytesMax: 2_097_152,
  /** Commands of one batch. */
  batchCommandsMax: 1_024,
  /** Operations that one transaction can run, and comparisons of one transaction. */
  operationsMax: 128,
  /** Transactions within transactions. */
  depthMax: 8,
  /** Leases of one `lease-expire`. */
  expireMax: 1_024,
  /** Bytes of entries that one command answers with; gets end there with `more`. */
  answerBytesMax: 1_048_576,
  /** Ten years. */
  ttlMsMax: 315_360_000_000,
})

/** What a group takes that was opened with no other `commandBytesMax`: the store's group may be of another kind, so it is said here. */
export const groupCommandBytes = 786_432

/** What `kvQuotaBytes` is before any `set-quota`. */
export const kvQuotaBytesDefault = 268_435_456

const targets: ReadonlySet<unknown> = new Set(['version', 'createRevision', 'modRevision', 'lease', 'value'])
const operators: ReadonlySet<unknown> = new Set(['=', '!=', '<', '>'])

/** Why a command, decoded from bytes that nobody vouches for, is refused; `undefined` when it may be carried out. */
export function commandProblem(command: unknown): string | undefined {
  if (!isRecord(command)) return 'a command is an object with a "type"'
  const one = command as Partial<Record<string, unknown>> & { readonly type?: unknown }
  switch (one.type as KvCommand['type']) {
    case 'put':
    case 'delete':
      return operationProblem(one, 0)
    case 'transact':
      // It is one: its operations have just been looked at, field by field.
      return operationProblem(one, 0) ?? overlapProblem(command as unknown as KvTransaction)
    case 'lease-grant':
      return field('id', one['id'], isCount) ?? field('ttlMs', one['ttlMs'], isTtl)
    case 'lease-keep-alive':
    case 'lease-revoke':
      return field('id', one['id'], isPositive)
    case 'lease-expire': {
      const { ids } = one
      if (Array.isArray(ids) && ids.length <= kvLimits.expireMax && ids.every(isPositive)) return undefined
      return `"ids" must be a list of at most ${kvLimits.expireMax} lease ids`
    }
    case 'compact':
      return field('revision', one['revision'], isPositive)
    case 'set-quota':
      return field('bytes', one['bytes'], isPositive)
    default:
      return `there is no command "${String(one.type).slice(0, 40)}"`
  }
}

/** The same of a get that comes as a read. */
export function getProblem(get: unknown): string | undefined {
  if (!isRecord(get) || get['type'] !== 'get') return 'a read is a "get"'
  return operationProblem(get, 0)
}

/** Why a client does not send a command of so many bytes: all limits at once, since a smaller one would meet the next. */
export function sizeProblem(bytes: number): string {
  const { commandBytesMax, valueBytesMax } = kvLimits
  return (
    `The command was not sent: it has ${bytes} bytes. A group takes ${groupCommandBytes} unless all its members were given ` +
    `another commandBytesMax, a frame holds less than the frameBytesMax of the nodes, and whatever they are a command may have ` +
    `${commandBytesMax} bytes, and a value ${valueBytesMax}; divide it among several keys`
  )
}

/** True when `command` may stand in a batch: its answer is a few bytes, whatever the store holds. */
export function isForBatch(command: KvCommand): boolean {
  return (command.type === 'put' || command.type === 'delete') && command.previous !== true
}

/** True when `key` lies in `range`. */
export function isInRange(range: KvRange, key: string): boolean {
  if (range.to === undefined) return key === range.from
  return key >= range.from && (range.to === '' || key < range.to)
}

/** How many operations a transaction can run: the longer of its two ways. */
function operationCount(operations: readonly KvOperation[]): number {
  let count = 0
  for (const one of operations) {
    count += 1
    if (one.type === 'transact') count += Math.max(operationCount(one.then), operationCount(one.otherwise))
  }
  return count
}

function operationProblem(operation: unknown, depth: number): string | undefined {
  if (!isRecord(operation)) return 'an operation is an object with a "type"'
  switch (operation['type'] as KvOperation['type']) {
    case 'put':
      return (
        keyProblem('key', operation['key'], 1) ??
        valueProblem('value', operation['value']) ??
        optional('lease', operation['lease'], isCount) ??
        optional('previous', operation['previous'], isFlag)
      )
    case 'delete':
      return rangeProblem(operation) ?? optional('previous', operation['previous'], isFlag)
    case 'get':
      return rangeProblem(operation) ?? getFields(operation)
    case 'transact':
      return transactionProblem(operation, depth)
    default:
      return `there is no operation "${String(operation['type']).slice(0, 40)}"`
  }
}

function getFields(get: Readonly<Record<string, unknown>>): string | undefined {
  return (
    optional('revision', get['revision'], isCount) ??
    optional('limit', get['limit'], isCount) ??
    optional('keysOnly', get['keysOnly'], isFlag) ??
    optional('countOnly', get['countOnly'], isFlag) ??
    optional('reverse', get['reverse'], isFlag) ??
    optional('minModRevision', get['minModRevision'], isCount) ??
    optional('maxModRevision', get['maxModRevision'], isCount)
  )
}

function transactionProblem(operation: Readonly<Record<string, unknown>>, depth: number): string | undefined {
  const { when, then, otherwise } = operation
  const most = kvLimits.operationsMax
  if (depth >= kvLimits.depthMax) return `transactions may stand ${kvLimits.depthMax} deep in each other`
  if (!Array.isArray(when) || when.length > most)
    return `"when" must be a list of at most ${most} comparisons`
  for (const compare of when) {
    const problem = compareProblem(compare)
    if (problem !== undefined) return problem
  }
  for (const branch of [then, otherwise]) {
    if (!Array.isArray(branch) || branch.length > most) {
      return `"then" and "otherwise" must be lists of at most ${most} operations`
    }
    for (const one of branch) {
      const problem = operationProblem(one, depth + 1)
      if (problem !== undefined) return problem
    }
  }
  if (depth > 0) return undefined
  const count = Math.max(operationCount(then as KvOperation[]), operationCount(otherwise as KvOperation[]))
  return count > most ? `a transaction runs at most ${most} operations, this one ${count}` : undefined
}

function compareProblem(compare: unknown): string | undefined {
  if (!isRecord(compare)) return 'a comparison is an object'
  const { key, target, operator, operand } = compare as Partial<KvCompare>
  if (!targets.has(target)) return '"target" must be version, createRevision, modRevision, lease or value'
  if (!operators.has(operator)) return '"operator" must be =, !=, < or >'
  const problem = keyProblem('key', key, 1)
  if (problem !== undefined) return problem
  if (target === 'value') return valueProblem('operand', operand)
  return field('operand', operand, isCount)
}

interface Changes {
  readonly puts: Set<string>
  readonly deletes: KvRange[]
}

/** A key is changed once in a transaction, whichever ways it goes: a revision says one thing about a key. */
function overlapProblem(transaction: KvTransaction): string | undefined {
  const changes = changesOf([transaction])
  return typeof changes === 'string' ? changes : undefined
}

function changesOf(operations: readonly KvOperation[]): Changes | string {
  const all: Changes = { puts: new Set(), deletes: [] }
  for (const operation of operations) {
    const own = ownChanges(operation)
    if (typeof own === 'string') return own
    for (const key of own.puts) {
      if (all.puts.has(key)) return `key "${key}" is put twice in one transaction; put it once`
      if (all.deletes.some((range) => isInRange(range, key))) return putAndDeleted(key)
    }
    for (const range of own.deletes) {
      for (const key of all.puts) if (isInRange(range, key)) return putAndDeleted(key)
    }
    for (const key of own.puts) all.puts.add(key)
    all.deletes.push(...own.deletes)
  }
  return all
}

function ownChanges(operation: KvOperation): Changes | string {
  switch (operation.type) {
    case 'put':
      return { puts: new Set([operation.key]), deletes: [] }
    case 'delete':
      return { puts: new Set(), deletes: [operation] }
    case 'get':
      return { puts: new Set(), deletes: [] }
    case 'transact': {
      const then = changesOf(operation.then)
      if (typeof then === 'string') return then
      const otherwise = changesOf(operation.otherwise)
      if (typeof otherwise === 'string') return otherwise
      // Only one of the two ways is gone: they may change the same key.
      return {
        puts: new Set([...then.puts, ...otherwise.puts]),
        deletes: [...then.deletes, ...otherwise.deletes],
      }
    }
  }
}

function putAndDeleted(key: string): string {
  return `key "${key}" is put and deleted in one transaction; do one of them`
}

function rangeProblem(operation: Readonly<Record<string, unknown>>): string | undefined {
  const { from, to } = operation
  return (
    keyProblem('from', from, to === undefined ? 1 : 0) ??
    (to === undefined ? undefined : keyProblem('to', to, 0))
  )
}

function keyProblem(name: string, key: unknown, least: number): string | undefined {
  if (typeof key === 'string' && key.length >= least && key.length <= kvLimits.keyLengthMax) return undefined
  return `"${name}" must be a string of ${least} to ${kvLimits.keyLengthMax} characters`
}

function valueProblem(name: string, value: unknown): string | undefined {
  if (value instanceof Uint8Array && value.length <= kvLimits.valueBytesMax) return undefined
  return `"${name}" must be at most ${kvLimits.valueBytesMax} bytes`
}

function optional(name: string, value: unknown, fits: Fits): string | undefined {
  return value === undefined ? undefined : field(name, value, fits)
}

function field(name: string, value: unknown, fits: Fits): string | undefined {
  return fits(value) ? undefined : `"${name}" must be ${wanted.get(fits) ?? 'something else'}`
}

type Fits = (value: unknown) => boolean

const isCount: Fits = (value) => Number.isSafeInteger(value) && (value as number) >= 0
const isPositive: Fits = (value) => Number.isSafeInteger(value) && (value as number) >= 1
const isFlag: Fits = (value) => typeof value === 'boolean'
const isTtl: Fits = (value) => isPositive(value) && (value as number) <= kvLimits.ttlMsMax

const wanted: ReadonlyMap<Fits, string> = new Map([
  [isCount, 'an integer from 0 to 2^53 - 1'],
  [isPositive, 'an integer from 1 to 2^53 - 1'],
  [isFlag, 'true or false'],
  [isTtl, `an integer from 1 to ${kvLimits.ttlMsMax} (milliseconds)`],
])

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
