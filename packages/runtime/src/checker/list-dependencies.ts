/** The dependencies between the transactions of a history of lists, and what each is due to in words. */
import { DependencyGraph, edgeKind, type GraphEdge } from './dependency-graph.ts'
import type { Dependency, DependencyKind } from './isolation-level.ts'
import {
  describeList,
  describeListValue,
  unread,
  type ListHistory,
  type ListRead,
  type ListTransactionOp,
} from './list-transaction.ts'
import type { OrderedList } from './list-version-order.ts'
import type { Value } from './model.ts'

/** `nodes[i]` is the transaction of node `i`; nodes are in the order of the calls. */
export interface ListDependencies {
  readonly graph: DependencyGraph
  readonly nodes: readonly number[]
}

/**
 * The graph over the committed transactions. Where a key was read:
 * - ww: from each appender to the next in the order;
 * - wr: from the appender of the last value of a list to who read it;
 * - rw: from who read a list to the appender of the next value, which the reader did not see.
 *
 * What was appended and never read comes after everything that was read. O(history).
 */
export function listDependencies(
  history: ListHistory,
  lists: readonly OrderedList[],
  withSessions: boolean,
): ListDependencies {
  const { ops, statuses } = history
  const nodes = [...ops.keys()].filter((i) => statuses[i] === 'committed')
  nodes.sort((a, b) => opAt(ops, a).call - opAt(ops, b).call || a - b)
  const nodeOf = new Int32Array(ops.length).fill(-1)
  for (const [node, transaction] of nodes.entries()) nodeOf[transaction] = node
  const graph = new DependencyGraph(nodes.length)
  for (const [subject, list] of lists.entries()) addList(graph, nodeOf, list, subject)
  if (withSessions) addSessions(graph, nodes, ops)
  addRealtime(graph, nodes, ops)
  graph.seal()
  return { graph, nodes }
}

function addList(graph: DependencyGraph, nodeOf: Int32Array, list: OrderedList, subject: number): void {
  const { values, reads, key } = list
  // The writer of each version; -1 where it does not count: aborted, unknown to all, or a second time in the list.
  const writers = values.map((value, position) => {
    const append = key.appends.get(value)
    return append?.position === position ? nodeAt(nodeOf, append.transaction) : -1
  })
  let last = -1
  for (const [version, writer] of writers.entries()) {
    if (writer < 0) continue
    if (last >= 0) graph.addEdge(last, writer, edgeKind.ww, subject, version)
    last = writer
  }
  const nextVersion = new Int32Array(values.length + 1).fill(-1)
  for (let version = values.length - 1; version >= 0; version--) {
    nextVersion[version] = (writers[version] ?? -1) >= 0 ? version : (nextVersion[version + 1] ?? -1)
  }
  const readersOfAll: number[] = []
  for (const read of reads) {
    const reader = nodeAt(nodeOf, read.transaction)
    const { length } = read.values
    const writer = writers[length - 1] ?? -1
    if (writer >= 0) graph.addEdge(writer, reader, edgeKind.wr, subject, length - 1)
    // What it appended itself says nothing about what it did not see of others.
    if (read.isAfterOwnAppend) continue
    const next = nextVersion[length] ?? -1
    if (next < 0) readersOfAll.push(reader)
    else graph.addEdge(reader, writers[next] ?? -1, edgeKind.rw, subject, next)
  }
  addUnread(graph, nodeOf, list, subject, last, readersOfAll)
}

/**
 * Appends that were never read come after the last one that was, and after all who read the whole list. Every one of
 * these comes before every such append but its own: two chains of waypoints, one for those after and one for those
 * before its own, keep it linear.
 */
function addUnread(
  graph: DependencyGraph,
  nodeOf: Int32Array,
  { key }: OrderedList,
  subject: number,
  last: number,
  readersOfAll: readonly number[],
): void {
  const writers = new Set<number>()
  for (const { position, transaction } of key.appends.values()) {
    const writer = nodeAt(nodeOf, transaction)
    if (position === unread && writer >= 0) writers.add(writer)
  }
  if (writers.size === 0 || (last < 0 && readersOfAll.length === 0)) return
  const places = new Map([...writers].map((writer, place) => [writer, place]))
  const upTo: number[] = []
  const from: number[] = []
  for (const [writer, place] of places) {
    const before = graph.addWaypoint()
    upTo.push(before)
    graph.addEdge(before, writer, edgeKind.through)
    if (place > 0) graph.addEdge(before, before - 2, edgeKind.through)
    const after = graph.addWaypoint()
    from.push(after)
    graph.addEdge(after, writer, edgeKind.through)
    if (place > 0) graph.addEdge(after - 2, after, edgeKind.through)
  }
  const precede = (node: number, kind: number): void => {
    const place = places.get(node)
    const before = place === undefined ? undefined : upTo[place - 1]
    const after = place === undefined ? from[0] : from[place + 1]
    if (before !== undefined) graph.addEdge(node, before, kind, subject)
    if (after !== undefined) graph.addEdge(node, after, kind, subject)
  }
  if (last >= 0) precede(last, edgeKind.ww)
  for (const reader of new Set(readersOfAll)) precede(reader, edgeKind.rw)
}

/** A client's next transaction comes after the one before. One that never returned may take effect later than that. */
function addSessions(
  graph: DependencyGraph,
  nodes: readonly number[],
  ops: readonly ListTransactionOp[],
): void {
  const latest = new Map<number, number>()
  for (const [node, transaction] of nodes.entries()) {
    const { client, ret } = opAt(ops, transaction)
    const before = latest.get(client)
    if (before !== undefined) graph.addEdge(before, node, edgeKind.session)
    if (ret !== Number.POSITIVE_INFINITY) latest.set(client, node)
  }
}

/** Each transaction comes before all that were called after it had returned: one waypoint for each such moment. */
function addRealtime(
  graph: DependencyGraph,
  nodes: readonly number[],
  ops: readonly ListTransactionOp[],
): void {
  const retOf = (node: number): number => opAt(ops, nodes[node] ?? 0).ret
  const returned = [...nodes.keys()].filter((node) => retOf(node) !== Number.POSITIVE_INFINITY)
  returned.sort((a, b) => retOf(a) - retOf(b) || a - b)
  let next = 0
  let moment = -1
  for (const [node, transaction] of nodes.entries()) {
    const { call } = opAt(ops, transaction)
    let isNew = false
    for (let done = returned[next]; done !== undefined && retOf(done) < call; done = returned[++next]) {
      if (!isNew) {
        const before = moment
        moment = graph.addWaypoint()
        isNew = true
        if (before >= 0) graph.addEdge(before, moment, edgeKind.through)
      }
      graph.addEdge(done, moment, edgeKind.realtime)
    }
    if (moment >= 0) graph.addEdge(moment, node, edgeKind.through)
  }
}

/** An edge of the graph as a dependency between transactions, with its reason. */
export function dependencyOf(
  history: ListHistory,
  lists: readonly OrderedList[],
  nodes: readonly number[],
  edge: GraphEdge,
): Dependency {
  const from = nodes[edge.from] ?? 0
  const to = nodes[edge.to] ?? 0
  const kind = kindName(edge.kind)
  const list = lists[edge.subject]
  const because =
    list === undefined ? timeText(history, from, to, kind) : listText(list, from, to, kind, edge)
  return { from, to, kind, because }
}

function kindName(kind: number): DependencyKind {
  if (kind === edgeKind.ww) return 'ww'
  if (kind === edgeKind.wr) return 'wr'
  if (kind === edgeKind.rw) return 'rw'
  return kind === edgeKind.session ? 'session' : 'realtime'
}

function timeText({ ops }: ListHistory, from: number, to: number, kind: DependencyKind): string {
  const [before, after] = [opAt(ops, from), opAt(ops, to)]
  if (kind === 'session') return `client ${before.client} called T${from} first and then T${to}`
  return `T${from} had returned at ${before.ret} when T${to} was called at ${after.call}`
}

function listText(
  { key, values, reads }: OrderedList,
  from: number,
  to: number,
  kind: DependencyKind,
  { version }: GraphEdge,
): string {
  const value = describeListValue(
    version < 0 ? unreadValue(key.appends.values(), to) : (values[version] as Value),
  )
  const name = key.name
  if (kind === 'wr') {
    return `T${to} read ${name} as ${describeList(values.slice(0, version + 1))}, and T${from} appended the ${value}`
  }
  if (kind === 'rw') {
    const seen = readBefore(reads, from, version < 0 ? values.length : version)
    return `T${from} read ${name} as ${describeList(seen?.values ?? [])}, without ${value}, which T${to} appended`
  }
  let earlier = (version < 0 ? values.length : version) - 1
  while (earlier > 0 && key.appends.get(values[earlier] as Value)?.transaction !== from) earlier--
  const first = `T${from} appended ${describeListValue(values[earlier] as Value)} to ${name} before T${to} appended ${value}`
  if (version < 0) return `${first}, which nobody had read when all else was read`
  return `${first}: it was read as ${describeList(values.slice(0, version + 1))}`
}

function unreadValue(
  appends: Iterable<{ readonly transaction: number; readonly value: Value; readonly position: number }>,
  transaction: number,
): Value {
  for (const append of appends) {
    if (append.transaction === transaction && append.position === unread) return append.value
  }
  return ''
}

/** The last read of `transaction` that saw no more than `length` values. */
function readBefore(reads: readonly ListRead[], transaction: number, length: number): ListRead | undefined {
  const own = reads.filter(
    (read) => read.transaction === transaction && !read.isAfterOwnAppend && read.values.length <= length,
  )
  return own.toSorted((a, b) => b.values.length - a.values.length)[0]
}

function nodeAt(nodeOf: Int32Array, transaction: number): number {
  return nodeOf[transaction] ?? -1
}

function opAt(ops: readonly ListTransactionOp[], index: number): ListTransactionOp {
  return ops[index] as ListTransactionOp
}
