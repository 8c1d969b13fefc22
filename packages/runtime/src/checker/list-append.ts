/**
 * Isolation of transactions, from what their clients saw: Elle's list-append (Kingsbury and Alvaro 2020, "Elle:
 * Inferring Isolation Anomalies from Experimental Observations"). A list that was read tells in which order its values
 * were appended; that tells which transactions depend on which; a circle among them, or a read that should not have
 * been, tells which isolation levels cannot have held. Sound: what it reports has happened, in whatever order the store
 * worked. Not complete: what nobody read is not judged.
 */
import { edgeKind, type Components, type CycleSearch, type GraphEdge } from './dependency-graph.ts'
import {
  forbiddenFrom,
  isForbiddenBy,
  isolationLevels,
  type DependencyKind,
  type IsolationAnomaly,
  type IsolationAnomalyType,
  type IsolationLevel,
} from './isolation-level.ts'
import { dependencyOf, listDependencies, type ListDependencies } from './list-dependencies.ts'
import { indexListHistory, type ListHistory, type ListTransactionOp } from './list-transaction.ts'
import { AnomalyCollection, orderLists, withTransactions, type OrderedList } from './list-version-order.ts'

export interface ListAppendOptions {
  /** What is demanded: only what this level forbids makes the verdict illegal. @default 'strict-serializable' */
  readonly level?: IsolationLevel | undefined
  /**
   * Demands too that each client's transactions take effect in the order it called them: "strong session" snapshot
   * isolation, and so on. Strict serializability contains it. @default false
   */
  readonly session?: boolean | undefined
  /** How many anomalies of each type are kept. @default 8 */
  readonly examplesMax?: number | undefined
  /**
   * Edges that the search for shortest circles looks along, for each kind of circle; about 10 million take a second.
   * Which levels are ruled out does not depend on it. @default 10_000_000
   */
  readonly stepsMax?: number | undefined
}

export interface ListAppendVerdict {
  /** `unknown`: there are transactions, but none that read anything committed, so that nothing can be told. */
  readonly verdict: 'ok' | 'illegal' | 'unknown'
  /** For people: of a violation the shortest explanation. */
  readonly reason: string
  /** Levels that cannot have held, whatever was demanded; from the weakest to the strongest. */
  readonly ruledOut: readonly IsolationLevel[]
  /** The strongest level that is not ruled out. */
  readonly strongest: IsolationLevel | undefined
  /** From the worst to the mildest, also those that the demanded level allows. */
  readonly anomalies: readonly IsolationAnomaly[]
  /** How many of each type; of circles one for each set of transactions that are tangled up with each other. */
  readonly counts: ReadonlyMap<IsolationAnomalyType, number>
  /** False when `stepsMax` ran out: some circles may be longer than need be, and some types missing. */
  readonly isShortest: boolean
}

export const listAppendDefaults = Object.freeze({
  level: 'strict-serializable',
  session: false,
  examplesMax: 8,
  stepsMax: 10_000_000,
})

/**
 * Judges a history of transactions that append to lists and read them. A transaction of unknown outcome counts as
 * committed once somebody read what it appended. End with a transaction that reads every key: what is not read is not
 * judged. Times tell which transaction came before which; at equal times they are concurrent. Linear in the history,
 * lists included, but for the search for shortest circles, which `stepsMax` bounds: 100,000 transactions take a second
 * or two.
 *
 * @throws {TypeError} when a transaction returned without an outcome or with fewer or more lists than reads
 * @throws {RangeError} when a value is appended to a key twice, or an option makes no sense
 */
export function checkListAppend(
  ops: readonly ListTransactionOp[],
  options: ListAppendOptions = {},
): ListAppendVerdict {
  const { level, session, examplesMax, stepsMax } = validOptions(options)
  const history = indexListHistory(ops)
  const found = new AnomalyCollection(examplesMax)
  for (const { transaction, text } of history.internal) {
    found.add('internal', [transaction], () => withTransactions(history, [transaction], text))
  }
  const lists = orderLists(history, found)
  const isShortest = findCycles(
    history,
    lists,
    listDependencies(history, lists, session),
    found,
    session,
    stepsMax,
  )
  const anomalies = found.list()
  const ruledOut = isolationLevels.filter((one) => anomalies.some((a) => isForbiddenBy(a.forbiddenFrom, one)))
  const strongest = isolationLevels.findLast((one) => !ruledOut.includes(one))
  const illegal = anomalies.filter((anomaly) => isDemanded(anomaly.type, level, session))
  const result = { ruledOut, strongest, anomalies, counts: found.counts, isShortest }
  if (illegal.length > 0)
    return { verdict: 'illegal', reason: illegalText(illegal, level, session), ...result }
  if (ops.length > 0 && !lists.some((list) => list.reads.length > 0)) {
    const reason = `Nothing can be told: none of ${ops.length} transactions read anything and committed`
    return { verdict: 'unknown', reason, ...result }
  }
  return { verdict: 'ok', reason: legalText(ops, anomalies, level, session), ...result }
}

function validOptions(options: ListAppendOptions): {
  readonly level: IsolationLevel
  readonly session: boolean
  readonly examplesMax: number
  readonly stepsMax: number
} {
  const { level = 'strict-serializable', session = false } = options
  const { examplesMax = listAppendDefaults.examplesMax, stepsMax = listAppendDefaults.stepsMax } = options
  if (!isolationLevels.includes(level)) {
    throw new RangeError(`Unknown isolation level "${level}": expected one of ${isolationLevels.join(', ')}`)
  }
  if (!(examplesMax >= 1)) throw new RangeError(`examplesMax must be at least 1, not ${examplesMax}`)
  if (!(stepsMax >= 0)) throw new RangeError(`stepsMax must be at least 0, not ${stepsMax}`)
  return { level, session, examplesMax, stepsMax }
}

/** Finds the shortest circles of each type. False when `stepsMax` ran out for one. */
function findCycles(
  history: ListHistory,
  lists: readonly OrderedList[],
  { graph, nodes }: ListDependencies,
  found: AnomalyCollection,
  withSessions: boolean,
  stepsMax: number,
): boolean {
  let isShortest = true
  const others: (readonly GraphEdge[])[] = []
  const report = (cycle: readonly GraphEdge[]): void => {
    const steps = cycle.map((edge) => dependencyOf(history, lists, nodes, edge))
    const type = cycleType(cycle)
    const transactions = steps.map((step) => step.from)
    found.add(type, transactions, () => cycleText(history, type, steps), steps)
  }
  const search = (
    wanted: (name: string) => boolean,
    components: Components,
    how: Pick<CycleSearch, 'kinds' | 'startKinds' | 'isStart' | 'order'>,
  ): void => {
    const result = graph.cycles({ ...how, components, nameOf: cycleType, isWanted: wanted }, stepsMax)
    if (result.isCut) isShortest = false
    for (const cycle of result.cycles) {
      if (wanted(cycleType(cycle))) report(cycle)
      else others.push(cycle)
    }
  }
  const { ww, wr, rw, session, realtime } = edgeKind
  const data = ww | wr | rw
  /** Every circle in time has a step that leads back in time; it need not be one of a kind. */
  const isBack = (from: number, to: number): boolean => to < from || to >= nodes.length
  for (const extra of withSessions ? [0, session] : [0]) {
    const all = graph.components(data | extra)
    if (!all.hasCycle) continue
    const suffix = extra === 0 ? '' : '-session'
    const start = (kinds: number): Pick<CycleSearch, 'startKinds' | 'isStart'> =>
      extra === 0 ? { startKinds: kinds } : { startKinds: data, isStart: isBack }
    const reads = graph.components(ww | wr | extra)
    const spaced = graph.components(data | extra, true)
    const is = (type: string) => (name: string) => name === `${type}${suffix}`
    search(is('G0'), graph.components(ww | extra), { kinds: ww | extra, ...start(ww) })
    search(is('G1c'), reads, { kinds: ww | wr | extra, ...start(wr) })
    search(is('G-single'), spaced, { kinds: ww | wr | extra, startKinds: rw, order: reads })
    search(is('G-nonadjacent'), spaced, { kinds: data | extra, ...start(rw) })
    search(is('G2-item'), all, { kinds: data | extra, ...start(rw) })
  }
  const timed = data | realtime | (withSessions ? session : 0)
  const inTime = graph.components(timed)
  search((name) => name.endsWith('-realtime'), inTime, { kinds: timed, startKinds: data, isStart: isBack })
  // Found on the way to another type: kept only where its own search did not get to one.
  for (const cycle of others) if (!found.has(cycleType(cycle))) report(cycle)
  return isShortest
}

function cycleType(cycle: readonly GraphEdge[]): IsolationAnomalyType {
  const { rw, wr, session, realtime } = edgeKind
  const count = (kind: number): number => cycle.filter((edge) => edge.kind === kind).length
  const suffix = count(realtime) > 0 ? '-realtime' : count(session) > 0 ? '-session' : ''
  const antiDependencies = count(rw)
  if (antiDependencies === 0) return count(wr) === 0 ? `G0${suffix}` : `G1c${suffix}`
  if (antiDependencies === 1) return `G-single${suffix}`
  const isInSuccession = cycle.some((edge, i) => edge.kind === rw && cycle.at(i - 1)?.kind === rw)
  return isInSuccession ? `G2-item${suffix}` : `G-nonadjacent${suffix}`
}

/** Whether an anomaly is forbidden by what is demanded. */
function isDemanded(type: IsolationAnomalyType, level: IsolationLevel, session: boolean): boolean {
  if (isForbiddenBy(forbiddenFrom[type], level)) return true
  if (!session || !type.endsWith('-session')) return false
  return isForbiddenBy(forbiddenFrom[type.slice(0, -'-session'.length) as IsolationAnomalyType], level)
}

const names: Partial<Readonly<Record<string, string>>> = {
  G0: 'interleaved writes',
  G1a: 'aborted read',
  G1b: 'intermediate read',
  G1c: 'circular information flow',
  'G-single': 'read skew',
  'G-nonadjacent': 'long fork',
  'G2-item': 'write skew',
}

const stepsShown = 12

function cycleText(
  history: ListHistory,
  type: IsolationAnomalyType,
  steps: readonly { from: number; to: number; kind: DependencyKind; because: string }[],
): string {
  const lines = steps
    .slice(0, stepsShown)
    .map(({ from, to, kind, because }) => `  T${from} before T${to} (${kind}): ${because}`)
  if (steps.length > stepsShown)
    lines.push(`  ... and ${steps.length - stepsShown} more steps back to T${steps[0]?.from}`)
  const transactions = steps.slice(0, stepsShown).map((step) => step.from)
  const inTime = type.endsWith('-realtime') || type.endsWith('-session') ? ' in time' : ''
  const head = `${steps.length} transactions that no order${inTime} explains:`
  return withTransactions(history, transactions, [head, ...lines].join('\n'))
}

function illegalText(illegal: readonly IsolationAnomaly[], level: IsolationLevel, session: boolean): string {
  const worst = illegal[0] as IsolationAnomaly
  // What takes the fewest transactions to see is the easiest to believe; the worse kind where that is equal.
  const first = illegal.reduce((a, b) => (b.transactions.length < a.transactions.length ? b : a), worst)
  const also = [...new Set(illegal.map(({ type }) => type))].filter((type) => type !== first.type)
  const more = also.length === 0 ? '' : `\nAlso found: ${also.join(', ')}`
  return `Not ${demandText(level, session)}: ${typeText(first.type)}: ${first.explanation}${more}`
}

function legalText(
  ops: readonly ListTransactionOp[],
  anomalies: readonly IsolationAnomaly[],
  level: IsolationLevel,
  session: boolean,
): string {
  const types = [...new Set(anomalies.map(({ type }) => type))]
  const allowed =
    types.length === 0 ? '' : `; what was found is allowed there: ${types.map(typeText).join(', ')}`
  return `Nothing in ${ops.length} transactions contradicts ${demandText(level, session)}${allowed}`
}

function demandText(level: IsolationLevel, session: boolean): string {
  return session ? `${level} with sessions` : level
}

function typeText(type: IsolationAnomalyType): string {
  const name = names[type.replace(/-(?:session|realtime)$/, '')]
  return name === undefined ? type : `${type} (${name})`
}
