/**
 * Transactions over lists that are appended to and read: the workload that tells most, because a list that was read
 * holds the whole history of its key (Kingsbury and Alvaro 2020, section 3).
 */
import type { Op } from './history.ts'
import type { Value } from './model.ts'

/** A step of a transaction. Nobody may append the same value to the same key twice. */
export type ListOperation =
  | { readonly type: 'append'; readonly key: string; readonly value: Value }
  | { readonly type: 'read'; readonly key: string }

/** The steps in their order. */
export type ListTransaction = readonly ListOperation[]

/** How it ended, as its client was told; `ret: Infinity` where the client was told nothing. */
export type ListOutcome =
  /** `reads`: for each `read` of the transaction, in their order, the list that it saw. */
  | { readonly type: 'committed'; readonly reads: readonly (readonly Value[])[] }
  /** Surely without effect. What it read is not looked at. */
  | { readonly type: 'aborted' }

export type ListTransactionOp = Op<ListTransaction, ListOutcome>

/** An append and who did it. */
export interface ListAppend {
  readonly transaction: number
  readonly value: Value
  /** False when the transaction appended more to the key after this. */
  isLast: boolean
  /** Where it stands in the order of the key; `unread` when no list that counts holds it, `stray` when only others do. */
  position: number
}

export const unread = -1
export const stray = -2

/** A list that a committed transaction read. */
export interface ListRead {
  readonly transaction: number
  readonly values: readonly Value[]
  /** True when the transaction had not appended to the key or read it before: what it shows is due to others. */
  readonly isFirst: boolean
  /** True when the transaction had appended to the key before. */
  readonly isAfterOwnAppend: boolean
}

/** Everything about one key. */
export interface ListKey {
  readonly name: string
  readonly appends: Map<Value, ListAppend>
  readonly reads: ListRead[]
}

export type ListStatus = 'committed' | 'aborted' | 'unknown'

/** A transaction that does not agree with itself. */
export interface InternalFault {
  readonly transaction: number
  readonly text: string
}

export interface ListHistory {
  readonly ops: readonly ListTransactionOp[]
  readonly statuses: ListStatus[]
  readonly keys: readonly ListKey[]
  readonly internal: readonly InternalFault[]
}

/**
 * Sorts a history by key. O(its size, lists included).
 *
 * @throws {TypeError} when a transaction returned without an outcome or with fewer or more lists than reads
 * @throws {RangeError} when a value is appended to a key twice
 */
export function indexListHistory(ops: readonly ListTransactionOp[]): ListHistory {
  const statuses = ops.map(statusOf)
  const keys = new Map<string, ListKey>()
  const keyOf = (name: string): ListKey => {
    let key = keys.get(name)
    if (key === undefined) keys.set(name, (key = { name, appends: new Map(), reads: [] }))
    return key
  }
  for (const [transaction, op] of ops.entries()) indexAppends(transaction, op.in, keyOf)
  const internal: InternalFault[] = []
  for (const [transaction, op] of ops.entries()) {
    if (statuses[transaction] !== 'committed' || op.out?.type !== 'committed') continue
    const fault = indexReads(transaction, op.in, op.out.reads, keyOf)
    if (fault !== undefined) internal.push({ transaction, text: fault })
  }
  return { ops, statuses, keys: [...keys.values()], internal }
}

function statusOf(op: ListTransactionOp, transaction: number): ListStatus {
  if (op.ret === Number.POSITIVE_INFINITY) return 'unknown'
  if (op.out === undefined) {
    throw new TypeError(
      `Cannot check transaction ${transaction}: it returned at ${op.ret} without an outcome; say that it was ` +
        'committed or aborted, or give it the return time Infinity when nobody knows',
    )
  }
  if (op.out.type === 'aborted') return 'aborted'
  let reads = 0
  for (const operation of op.in) if (operation.type === 'read') reads++
  if (op.out.reads.length === reads) return 'committed'
  throw new TypeError(
    `Cannot check transaction ${transaction}: it has ${reads} reads but ${op.out.reads.length} lists that were read; ` +
      'there must be one for each',
  )
}

function indexAppends(
  transaction: number,
  operations: ListTransaction,
  keyOf: (name: string) => ListKey,
): void {
  const latest = new Map<ListKey, ListAppend>()
  for (const operation of operations) {
    if (operation.type === 'read') continue
    const key = keyOf(operation.key)
    const other = key.appends.get(operation.value)
    if (other !== undefined) {
      throw new RangeError(
        `Cannot check history: ${describeListValue(operation.value)} is appended to ${key.name} by T${other.transaction} and by ` +
          `T${transaction}; every value must be appended to a key once, also when a transaction is tried again`,
      )
    }
    const append: ListAppend = { transaction, value: operation.value, isLast: true, position: unread }
    key.appends.set(operation.value, append)
    const before = latest.get(key)
    if (before !== undefined) before.isLast = false
    latest.set(key, append)
  }
}

/** Takes in the reads; the first thing in which the transaction contradicts itself, in words. */
function indexReads(
  transaction: number,
  operations: ListTransaction,
  lists: readonly (readonly Value[])[],
  keyOf: (name: string) => ListKey,
): string | undefined {
  let fault: string | undefined
  let read = 0
  const known = new Map<ListKey, { base: readonly Value[] | undefined; own: Value[]; hasOwn: boolean }>()
  for (const operation of operations) {
    const key = keyOf(operation.key)
    const before = known.get(key)
    if (operation.type === 'append') {
      if (before === undefined) known.set(key, { base: undefined, own: [operation.value], hasOwn: true })
      else {
        before.own.push(operation.value)
        before.hasOwn = true
      }
      continue
    }
    const values = lists[read++] ?? []
    const hasOwn = before?.hasOwn === true
    key.reads.push({ transaction, values, isFirst: before === undefined, isAfterOwnAppend: hasOwn })
    fault ??= before === undefined ? undefined : internalFault(`T${transaction}`, key.name, before, values)
    known.set(key, { base: values, own: [], hasOwn })
  }
  return fault ?? futureFault(transaction, operations, lists)
}

function internalFault(
  name: string,
  key: string,
  { base, own }: { readonly base: readonly Value[] | undefined; readonly own: readonly Value[] },
  values: readonly Value[],
): string | undefined {
  const expected = base === undefined ? own : [...base, ...own]
  const offset = values.length - expected.length
  if (base === undefined ? offset >= 0 : offset === 0) {
    if (expected.every((value, i) => values[offset + i] === value)) return undefined
  }
  const seen = `then read ${key} as ${describeList(values)}`
  if (base === undefined)
    return `${name} appended ${own.map(describeListValue).join(' and ')} to ${key} and ${seen}`
  const appended = own.length === 0 ? '' : `, appended ${own.map(describeListValue).join(' and ')}`
  return `${name} read ${key} as ${describeList(base)}${appended} and ${seen}`
}

function futureFault(
  transaction: number,
  operations: ListTransaction,
  lists: readonly (readonly Value[])[],
): string | undefined {
  // Its own later append can only be among the last of a list, or else the list is wrong in other ways too.
  const lastSeen: { readonly key: string; readonly value: Value }[] = []
  let read = 0
  for (const operation of operations) {
    if (operation.type === 'read') {
      const value = lists[read++]?.at(-1)
      if (value !== undefined) lastSeen.push({ key: operation.key, value })
    } else if (lastSeen.some(({ key, value }) => key === operation.key && value === operation.value)) {
      return `T${transaction} read ${describeListValue(operation.value)} in ${operation.key} before it appended it itself`
    }
  }
  return undefined
}

/** Lists are long and their ends tell: `[.., 7, 8, 9]`. */
export function describeList(values: readonly Value[]): string {
  const shown = values.slice(-valuesShown).map(describeListValue)
  return `[${values.length > valuesShown ? '.., ' : ''}${shown.join(', ')}]`
}

export function describeListValue(value: Value): string {
  return typeof value === 'string' ? JSON.stringify(value) : String(value)
}

/** `T3 (client 1, 10..14): read(x) -> [1], append(y, 2)`. */
export function describeListTransaction(ops: readonly ListTransactionOp[], transaction: number): string {
  const { client, call, ret, in: operations, out } = ops[transaction] as ListTransactionOp
  let read = 0
  const steps = operations.map((operation) => {
    if (operation.type === 'append') return `append(${operation.key}, ${describeListValue(operation.value)})`
    const values = out?.type === 'committed' ? out.reads[read++] : undefined
    return `read(${operation.key})${values === undefined ? '' : ` -> ${describeList(values)}`}`
  })
  const isUnknown = ret === Number.POSITIVE_INFINITY
  const ended = isUnknown ? ', outcome unknown' : out?.type === 'aborted' ? ', aborted' : ''
  return `T${transaction} (client ${client}, ${call}..${isUnknown ? '' : ret}${ended}): ${steps.join(', ')}`
}

const valuesShown = 6
