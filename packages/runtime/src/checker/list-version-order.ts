/** In which order the values of each key were appended, as its reads tell, and what is wrong with single reads. */
import { forbiddenFrom, type IsolationAnomaly, type IsolationAnomalyType } from './isolation-level.ts'
import {
  describeList,
  describeListTransaction,
  describeListValue,
  stray,
  unread,
  type ListAppend,
  type ListHistory,
  type ListKey,
  type ListRead,
} from './list-transaction.ts'
import type { Value } from './model.ts'

/** A key whose order is known as far as it was read. */
export interface OrderedList {
  readonly key: ListKey
  /** The longest list that was read; all reads in `reads` are a beginning of it. */
  readonly values: readonly Value[]
  readonly reads: readonly ListRead[]
}

/** Finds anomalies and keeps up to `examplesMax` of each type. */
export class AnomalyCollection {
  readonly #examplesMax: number
  readonly #found = new Map<IsolationAnomalyType, IsolationAnomaly[]>()
  readonly #counts = new Map<IsolationAnomalyType, number>()

  constructor(examplesMax: number) {
    this.#examplesMax = examplesMax
  }

  add(
    type: IsolationAnomalyType,
    transactions: readonly number[],
    explain: () => string,
    cycle?: IsolationAnomaly['cycle'],
  ): void {
    this.#counts.set(type, (this.#counts.get(type) ?? 0) + 1)
    let found = this.#found.get(type)
    if (found === undefined) this.#found.set(type, (found = []))
    if (found.length >= this.#examplesMax) return
    found.push({ type, forbiddenFrom: forbiddenFrom[type], transactions, explanation: explain(), cycle })
  }

  has(type: IsolationAnomalyType): boolean {
    return this.#found.has(type)
  }

  get counts(): ReadonlyMap<IsolationAnomalyType, number> {
    return this.#counts
  }

  /** By type from the worst to the mildest, those of few transactions first. */
  list(): readonly IsolationAnomaly[] {
    const types = Object.keys(forbiddenFrom) as IsolationAnomalyType[]
    return types.flatMap((type) =>
      [...(this.#found.get(type) ?? [])].sort((a, b) => a.transactions.length - b.transactions.length),
    )
  }
}

/**
 * The order of every key; sets `position` of its appends, and makes transactions of unknown outcome that somebody read
 * committed ones. Finds unwritten reads, duplicates, G1a, G1b, incompatible orders and lost updates. Linear in the
 * lists that were read.
 */
export function orderLists(history: ListHistory, anomalies: AnomalyCollection): readonly OrderedList[] {
  const ordered = history.keys.map((key) => orderList(history, key, anomalies))
  for (const list of ordered) findLostUpdates(history, list, anomalies)
  return ordered
}

function orderList(history: ListHistory, key: ListKey, anomalies: AnomalyCollection): OrderedList {
  let values: readonly Value[] = []
  for (const read of key.reads) if (read.values.length > values.length) values = read.values
  placeAll(history, key, values, anomalies)
  const reads: ListRead[] = []
  for (const read of key.reads) {
    const differsAt = read.values.findIndex((value, i) => value !== values[i])
    if (differsAt < 0) reads.push(read)
    else findIncompatible(history, key, read, values, differsAt, anomalies)
    findIntermediate(history, key, read, anomalies)
  }
  return { key, values, reads }
}

function placeAll(
  history: ListHistory,
  key: ListKey,
  values: readonly Value[],
  anomalies: AnomalyCollection,
): void {
  for (const [position, value] of values.entries()) {
    const reader = (): ListRead => shortestWith(key, values, position)
    const append = key.appends.get(value)
    if (append === undefined) reportUnwritten(history, key, reader(), value, anomalies)
    else if (append.position !== unread) reportDuplicate(history, key, reader(), value, anomalies)
    else {
      append.position = position
      noteSeen(history, key, append, reader, anomalies)
    }
  }
}

/** A read that is no beginning of the longest; its values are judged one by one, as they are in no order that counts. */
function findIncompatible(
  history: ListHistory,
  key: ListKey,
  read: ListRead,
  values: readonly Value[],
  differsAt: number,
  anomalies: AnomalyCollection,
): void {
  const seen = new Set<Value>()
  for (const value of read.values) {
    const append = key.appends.get(value)
    if (append === undefined) reportUnwritten(history, key, read, value, anomalies)
    else if (seen.has(value)) reportDuplicate(history, key, read, value, anomalies)
    else if (append.position === unread) {
      append.position = stray
      noteSeen(history, key, append, () => read, anomalies)
    }
    seen.add(value)
  }
  const other = shortestWith(key, values, differsAt)
  anomalies.add('incompatible-order', [other.transaction, read.transaction], () => {
    const first = describeListValue(values[differsAt] as Value)
    const second = describeListValue(read.values[differsAt] as Value)
    const where = differsAt === 0 ? 'first' : `next after ${describeList(values.slice(0, differsAt))}`
    return withTransactions(
      history,
      [other.transaction, read.transaction],
      `T${other.transaction} saw ${first} in ${key.name} and T${read.transaction} saw ${second} ${where}: ` +
        'a list that only grows cannot have been both',
    )
  })
}

/** Somebody committed saw it: so its transaction took effect. */
function noteSeen(
  history: ListHistory,
  key: ListKey,
  append: ListAppend,
  reader: () => ListRead,
  anomalies: AnomalyCollection,
): void {
  const writer = append.transaction
  if (history.statuses[writer] === 'unknown') history.statuses[writer] = 'committed'
  if (history.statuses[writer] !== 'aborted') return
  const by = reader().transaction
  anomalies.add('G1a', [writer, by], () =>
    withTransactions(
      history,
      [writer, by],
      `T${writer} was aborted, but T${by} read the ${describeListValue(append.value)} that it appended to ${key.name}`,
    ),
  )
}

function findIntermediate(
  history: ListHistory,
  key: ListKey,
  read: ListRead,
  anomalies: AnomalyCollection,
): void {
  const last = read.values.at(-1)
  const append = last === undefined ? undefined : key.appends.get(last)
  if (append === undefined || append.isLast || append.transaction === read.transaction) return
  const writer = append.transaction
  if (history.statuses[writer] === 'aborted') return
  anomalies.add('G1b', [writer, read.transaction], () =>
    withTransactions(
      history,
      [writer, read.transaction],
      `T${read.transaction} read ${key.name} as ${describeList(read.values)}: T${writer} appended ` +
        `${describeListValue(append.value)}, and then more to the same key, which should show at once or not at all`,
    ),
  )
}

function findLostUpdates(
  history: ListHistory,
  { key, reads }: OrderedList,
  anomalies: AnomalyCollection,
): void {
  const appenders = new Set<number>()
  for (const { transaction } of key.appends.values()) appenders.add(transaction)
  const firstByLength = new Map<number, ListRead>()
  for (const read of reads) {
    if (!read.isFirst || !appenders.has(read.transaction)) continue
    const first = firstByLength.get(read.values.length)
    if (first === undefined) firstByLength.set(read.values.length, read)
    else if (first.transaction !== read.transaction) {
      const both = [first.transaction, read.transaction]
      anomalies.add('lost-update', both, () =>
        withTransactions(
          history,
          both,
          `T${first.transaction} and T${read.transaction} both read ${key.name} as ${describeList(read.values)} and ` +
            'then appended to it: neither can have seen what the other did',
        ),
      )
    }
  }
}

function reportUnwritten(
  history: ListHistory,
  key: ListKey,
  read: ListRead,
  value: Value,
  anomalies: AnomalyCollection,
): void {
  anomalies.add('unwritten-read', [read.transaction], () =>
    withTransactions(
      history,
      [read.transaction],
      `T${read.transaction} read ${describeListValue(value)} in ${key.name}, which nobody appended`,
    ),
  )
}

function reportDuplicate(
  history: ListHistory,
  key: ListKey,
  read: ListRead,
  value: Value,
  anomalies: AnomalyCollection,
): void {
  const writer = key.appends.get(value)?.transaction ?? read.transaction
  const involved = writer === read.transaction ? [writer] : [writer, read.transaction]
  anomalies.add('duplicate-elements', involved, () =>
    withTransactions(
      history,
      involved,
      `T${read.transaction} read ${describeListValue(value)} twice in ${key.name}: T${writer} appended it once`,
    ),
  )
}

/** The shortest read that holds the value at `position` of `values` there. Only for what is reported. */
function shortestWith(key: ListKey, values: readonly Value[], position: number): ListRead {
  let shortest: ListRead | undefined
  for (const read of key.reads) {
    if (read.values[position] !== values[position]) continue
    if (shortest === undefined || read.values.length < shortest.values.length) shortest = read
  }
  return shortest as ListRead
}

/** The explanation, and below it the transactions that it speaks of. */
export function withTransactions(
  { ops }: ListHistory,
  transactions: readonly number[],
  explanation: string,
): string {
  const lines = [...new Set(transactions)].map((i) => `  ${describeListTransaction(ops, i)}`)
  return [explanation, ...lines].join('\n')
}
