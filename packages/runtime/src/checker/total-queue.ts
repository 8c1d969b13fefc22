/**
 * What a queue must not do, however loose its order: lose what it acknowledged, or deliver what nobody sent. Jepsen's
 * total-queue, with unknown outcomes, partitions and order added.
 */
import type { Op } from './history.ts'
import { describeValue, type Value } from './model.ts'

/**
 * What a client asked. `partition` names the part of the queue that keeps an order and is emptied by itself; without it
 * a take or drain is from all of them. A `drain` takes until nothing is left: what was acknowledged before a drain was
 * called must have been delivered when that drain has returned.
 */
export type TotalQueueInput<V extends Value = Value> =
  | { readonly type: 'enqueue'; readonly value: V; readonly partition?: string | undefined }
  | { readonly type: 'dequeue'; readonly partition?: string | undefined }
  | { readonly type: 'drain'; readonly partition?: string | undefined }

/** The answer of a `dequeue` or `drain`: what it took, in that order; empty when nothing was there. Of an `enqueue` none. */
export type TotalQueueOutput<V extends Value = Value> = readonly V[] | undefined

export interface TotalQueueOptions {
  /** Whether a value may be delivered more often than it was sent. @default 'allowed' */
  readonly duplicates?: 'allowed' | 'forbidden' | undefined
  /**
   * `partition`: what was acknowledged in a partition before another was sent to it is delivered first. Of what is
   * delivered again the first time counts. Values must be unique. @default 'none'
   */
  readonly order?: 'none' | 'partition' | undefined
  /**
   * What a dequeue or drain of unknown outcome may have done: `consumed`: taken a message along, so that one that is
   * missing may be due to it; `redelivered`: nothing, because what is not acknowledged is delivered again.
   * @default 'consumed'
   */
  readonly unknownDequeues?: 'consumed' | 'redelivered' | undefined
  /** How many examples of each fault are kept. @default 8 */
  readonly examplesMax?: number | undefined
}

export interface TotalQueueFault {
  /**
   * `lost`: acknowledged and never delivered. `unexpected`: delivered though nobody had sent it by then. `duplicated`:
   * delivered more often than sent. `disordered`: delivered after what was sent later.
   */
  readonly type: 'lost' | 'unexpected' | 'duplicated' | 'disordered'
  /** Positions in the history. */
  readonly operations: readonly number[]
  readonly explanation: string
}

export interface TotalQueueVerdict {
  /** `unknown`: acknowledged messages are missing, but no drain came after them, or an unknown dequeue may have them. */
  readonly verdict: 'ok' | 'illegal' | 'unknown'
  /** For people: of a violation the shortest explanation. */
  readonly reason: string
  /** Up to `examplesMax` of each type; duplicates also where they are allowed. */
  readonly faults: readonly TotalQueueFault[]
  readonly counts: {
    /** Messages that somebody tried to send. */
    readonly attempted: number
    readonly acknowledged: number
    /** Deliveries, again and again included. */
    readonly delivered: number
    /** Acknowledged, never delivered, though a drain came after. */
    readonly lost: number
    /** Acknowledged and not delivered, which no drain came after: nothing can be told. */
    readonly undrained: number
    /** Deliveries of what nobody had sent. */
    readonly unexpected: number
    /** Deliveries beyond the first of what was sent once. */
    readonly duplicated: number
    /** Of unknown outcome, and delivered. */
    readonly recovered: number
    /** Messages delivered after one that was sent later. */
    readonly disordered: number
  }
}

/**
 * Judges a history of a queue. Equal values are counted: what was sent twice may be delivered twice. O(n log n).
 *
 * @throws {RangeError} when `order` is asked for and a value was sent twice
 */
export function checkTotalQueue<V extends Value>(
  ops: readonly Op<TotalQueueInput<V>, TotalQueueOutput<V>>[],
  options: TotalQueueOptions = {},
): TotalQueueVerdict {
  const messages = new Map<V, Message<V>>()
  const faults = new FaultList(options.examplesMax ?? 8)
  const takes: Take[] = []
  for (const [index, op] of ops.entries())
    if (op.in.type === 'enqueue') addEnqueue(messages, op, op.in, index)
  for (const [index, op] of ops.entries()) {
    if (op.in.type === 'enqueue') continue
    const { type, partition } = op.in
    takes.push({ type, partition, call: op.call, ret: op.ret, index })
    addDeliveries(messages, op, index, faults)
  }
  const { undrained, unsure } = findLost([...messages.values()], takes, options, faults)
  findDuplicates(messages.values(), faults)
  if (options.order === 'partition') findDisorder(ops, [...messages.values()], faults)
  const all = [...messages.values()]
  const sum = (count: (message: Message<V>) => number): number => all.reduce((n, one) => n + count(one), 0)
  const counts = {
    attempted: sum((one) => one.attempts.length),
    acknowledged: sum((one) => one.acknowledged),
    delivered: sum((one) => one.deliveries.length) + faults.count('unexpected'),
    lost: faults.count('lost'),
    undrained,
    unexpected: faults.count('unexpected'),
    duplicated: faults.count('duplicated'),
    recovered: sum((one) =>
      Math.max(0, Math.min(one.deliveries.length, one.attempts.length) - one.acknowledged),
    ),
    disordered: faults.count('disordered'),
  }
  const illegal = faults
    .list()
    .filter((fault) => fault.type !== 'duplicated' || options.duplicates === 'forbidden')
  const result = { faults: faults.list(), counts }
  if (illegal.length > 0) return { verdict: 'illegal', reason: faultText(illegal, faults), ...result }
  if (unsure !== undefined) return { verdict: 'unknown', reason: unsure, ...result }
  const again = counts.duplicated === 0 ? '' : `, ${counts.duplicated} of them again`
  const reason = `${counts.acknowledged} acknowledged messages, ${counts.delivered} deliveries${again}: none is missing`
  return { verdict: 'ok', reason, ...result }
}

interface Message<V> {
  readonly value: V
  readonly partition: string | undefined
  /** The operations that sent it, and when each was called and had returned. */
  readonly attempts: { readonly index: number; readonly call: number; readonly ret: number }[]
  /** How many of these returned. */
  acknowledged: number
  readonly deliveries: {
    readonly index: number
    readonly place: number
    readonly call: number
    readonly ret: number
  }[]
}

interface Take {
  readonly type: 'dequeue' | 'drain'
  readonly partition: string | undefined
  readonly call: number
  readonly ret: number
  readonly index: number
}

function addEnqueue<V extends Value>(
  messages: Map<V, Message<V>>,
  { call, ret }: Op<unknown, unknown>,
  { value, partition }: { readonly value: V; readonly partition?: string | undefined },
  index: number,
): void {
  let message = messages.get(value)
  if (message === undefined) {
    message = { value, partition, attempts: [], acknowledged: 0, deliveries: [] }
    messages.set(value, message)
  }
  message.attempts.push({ index, call, ret })
  if (ret !== Number.POSITIVE_INFINITY) message.acknowledged++
}

function addDeliveries<V extends Value>(
  messages: ReadonlyMap<V, Message<V>>,
  { call, ret, out }: Op<TotalQueueInput<V>, TotalQueueOutput<V>>,
  index: number,
  faults: FaultList,
): void {
  if (ret === Number.POSITIVE_INFINITY) return
  for (const [place, value] of (out ?? []).entries()) {
    const message = messages.get(value)
    const first = message?.attempts[0]
    if (message === undefined || first === undefined) {
      const text = `${describeValue(value)} was delivered at ${call}..${ret}, but nobody ever sent it`
      faults.add('unexpected', [index], text)
    } else if (ret < Math.min(...message.attempts.map((attempt) => attempt.call))) {
      const text = `${describeValue(value)} was delivered at ${call}..${ret}, before it was sent at ${first.call}`
      faults.add('unexpected', [first.index, index], text)
    } else message.deliveries.push({ index, place, call, ret })
  }
}

/** Finds what is lost for sure; says what is missing without anyone knowing why. */
function findLost<V extends Value>(
  messages: readonly Message<V>[],
  takes: readonly Take[],
  { unknownDequeues = 'consumed' }: TotalQueueOptions,
  faults: FaultList,
): { readonly undrained: number; readonly unsure: string | undefined } {
  const lastDrain = new Map<string | undefined, Take>()
  const excuses = new Map<string | undefined, number>()
  for (const take of takes) {
    if (take.ret === Number.POSITIVE_INFINITY) {
      const room = take.type === 'drain' ? Number.POSITIVE_INFINITY : 1
      excuses.set(take.partition, (excuses.get(take.partition) ?? 0) + room)
    } else if (take.type === 'drain' && take.call > (lastDrain.get(take.partition)?.call ?? -Infinity)) {
      lastDrain.set(take.partition, take)
    }
  }
  const missing: { readonly message: Message<V>; readonly drain: Take }[] = []
  let undrained = 0
  for (const message of messages) {
    if (message.acknowledged <= message.deliveries.length) continue
    const returned = message.attempts.filter((attempt) => attempt.ret !== Number.POSITIVE_INFINITY)
    const ackAt = Math.max(...returned.map((attempt) => attempt.ret))
    const drains = [lastDrain.get(undefined), lastDrain.get(message.partition)]
    const drain = drains.find((one) => one !== undefined && one.call > ackAt)
    if (drain === undefined) undrained++
    else missing.push({ message, drain })
  }
  const unexcused =
    unknownDequeues === 'redelivered'
      ? missing
      : missing.filter(({ message }) => !takeExcuse(excuses, message.partition))
  // One that is missing beyond what can be excused makes it sure; which of them it is nobody can say.
  const excused = missing.length - unexcused.length
  for (const { message, drain } of unexcused) {
    const sent = message.attempts.find((attempt) => attempt.ret !== Number.POSITIVE_INFINITY)
    const { call = 0, ret = 0, index = 0 } = sent ?? {}
    const beyond =
      excused === 0 ? '' : ` (and ${excused} more may have gone with dequeues of unknown outcome)`
    const text =
      `${describeValue(message.value)} was sent at ${call}, acknowledged at ${ret} and never delivered, though a drain ` +
      `called at ${drain.call} found no more at ${drain.ret}${beyond}`
    faults.add('lost', [index, drain.index], text)
  }
  if (excused === 0 && undrained === 0) return { undrained, unsure: undefined }
  const why = [
    undrained === 0 ? [] : [`${undrained} that no drain came after`],
    excused === 0 ? [] : [`${excused} that dequeues of unknown outcome may have taken`],
  ]
  const unsure = `Acknowledged messages were not delivered: ${why.flat().join(', ')}. End with a drain that returns`
  return { undrained, unsure }
}

function takeExcuse(excuses: Map<string | undefined, number>, partition: string | undefined): boolean {
  // Those of the partition itself first: the others may be needed elsewhere.
  for (const from of [partition, undefined]) {
    const left = excuses.get(from) ?? 0
    if (left <= 0) continue
    excuses.set(from, left - 1)
    return true
  }
  return false
}

function findDuplicates<V extends Value>(messages: Iterable<Message<V>>, faults: FaultList): void {
  for (const { value, attempts, deliveries } of messages) {
    const extra = deliveries.length - attempts.length
    if (extra <= 0) continue
    const times = attempts.length === 1 ? 'once' : `${attempts.length} times`
    const at = deliveries.slice(0, 4).map(({ call, ret }) => `${call}..${ret}`)
    const text = `${describeValue(value)} was sent ${times} and delivered ${deliveries.length} times: at ${at.join(', ')}`
    const involved = [...attempts.slice(0, 4), ...deliveries.slice(0, 4)].map(({ index }) => index)
    faults.add('duplicated', involved, text, extra)
  }
}

/**
 * A message is late when another of its partition, sent after it was acknowledged, was delivered for the first time
 * before it: by an earlier dequeue or earlier in the same one. By sweeping over the calls; O(n log n).
 */
function findDisorder<V extends Value>(
  ops: readonly Op<TotalQueueInput<V>, TotalQueueOutput<V>>[],
  messages: readonly Message<V>[],
  faults: FaultList,
): void {
  const byPartition = new Map<string | undefined, Arrival<V>[]>()
  const ofValue = new Map<V, Arrival<V>>()
  for (const message of messages) {
    const [sent, again] = message.attempts
    if (sent === undefined) continue
    if (again !== undefined) {
      throw new RangeError(
        `Cannot check the order: ${describeValue(message.value)} was sent twice; every value must be sent once`,
      )
    }
    if (message.deliveries.length === 0) continue
    const arrival: Arrival<V> = {
      message,
      sent,
      call: Math.min(...message.deliveries.map((one) => one.call)),
      ret: Math.min(...message.deliveries.map((one) => one.ret)),
      isLate: false,
    }
    ofValue.set(message.value, arrival)
    const others = byPartition.get(message.partition)
    if (others === undefined) byPartition.set(message.partition, [arrival])
    else others.push(arrival)
  }
  for (const arrivals of byPartition.values()) findLateBetween(arrivals, faults)
  for (const op of ops) {
    if (op.in.type !== 'enqueue' && op.ret !== Number.POSITIVE_INFINITY) findLateWithin(op, ofValue, faults)
  }
}

interface Arrival<V> {
  readonly message: Message<V>
  readonly sent: { readonly index: number; readonly call: number; readonly ret: number }
  /** When its first delivery can have begun at the earliest, and when it was there at the latest. */
  readonly call: number
  readonly ret: number
  isLate: boolean
}

function findLateBetween<V extends Value>(arrivals: readonly Arrival<V>[], faults: FaultList): void {
  const bySend = arrivals.toSorted((a, b) => a.sent.call - b.sent.call || a.sent.index - b.sent.index)
  const byAck = arrivals.toSorted((a, b) => a.sent.ret - b.sent.ret || a.sent.index - b.sent.index)
  let acknowledged = 0
  let latest: Arrival<V> | undefined
  for (const later of bySend) {
    for (let next = byAck[acknowledged]; next !== undefined && next.sent.ret < later.sent.call;) {
      if (latest === undefined || next.call > latest.call) latest = next
      next = byAck[++acknowledged]
    }
    if (latest !== undefined && !latest.isLate && later.ret < latest.call) reportLate(latest, later, faults)
  }
}

function findLateWithin<V extends Value>(
  { out, call }: Op<TotalQueueInput<V>, TotalQueueOutput<V>>,
  ofValue: ReadonlyMap<V, Arrival<V>>,
  faults: FaultList,
): void {
  const earliestAfter = new Map<string | undefined, Arrival<V>>()
  for (const value of (out ?? []).toReversed()) {
    const arrival = ofValue.get(value)
    // Delivered again: that it came at all was earlier.
    if (arrival === undefined || arrival.call !== call) continue
    const { partition } = arrival.message
    const after = earliestAfter.get(partition)
    if (after !== undefined && !after.isLate && after.sent.ret < arrival.sent.call)
      reportLate(after, arrival, faults)
    if (after === undefined || arrival.sent.ret < after.sent.ret) earliestAfter.set(partition, arrival)
  }
}

function reportLate<V extends Value>(late: Arrival<V>, early: Arrival<V>, faults: FaultList): void {
  late.isLate = true
  const [first, second] = [describeValue(late.message.value), describeValue(early.message.value)]
  const where = late.message.partition === undefined ? '' : ` in partition ${late.message.partition}`
  const text =
    `${first} was acknowledged${where} at ${late.sent.ret}, before ${second} was sent at ${early.sent.call}, but ` +
    `${second} was delivered first`
  const deliveries = [early, late].map(({ message }) => message.deliveries[0]?.index ?? 0)
  faults.add('disordered', [late.sent.index, early.sent.index, ...new Set(deliveries)], text)
}

class FaultList {
  readonly #examplesMax: number
  readonly #counts = new Map<TotalQueueFault['type'], number>()
  readonly #faults: TotalQueueFault[] = []

  constructor(examplesMax: number) {
    this.#examplesMax = examplesMax
  }

  add(type: TotalQueueFault['type'], operations: readonly number[], explanation: string, count = 1): void {
    const before = this.#faults.filter((fault) => fault.type === type).length
    this.#counts.set(type, this.count(type) + count)
    if (before < this.#examplesMax) this.#faults.push({ type, operations, explanation })
  }

  count(type: TotalQueueFault['type']): number {
    return this.#counts.get(type) ?? 0
  }

  list(): readonly TotalQueueFault[] {
    return [...this.#faults].sort((a, b) => faultOrder.indexOf(a.type) - faultOrder.indexOf(b.type))
  }
}

const faultOrder: readonly TotalQueueFault['type'][] = ['lost', 'unexpected', 'disordered', 'duplicated']

function faultText(illegal: readonly TotalQueueFault[], faults: FaultList): string {
  const [first] = illegal
  const types = [...new Set(illegal.map(({ type }) => type))]
  const counts = types.map((type) => `${faults.count(type)} ${type}`).join(', ')
  return `${first?.type ?? ''}: ${first?.explanation ?? ''} (in all ${counts})`
}
