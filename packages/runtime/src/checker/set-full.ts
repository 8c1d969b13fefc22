/**
 * A set that only grows: what was added must show, and go on showing. Jepsen's set-full: each element has its own story,
 * told by the reads that saw it and by those that did not.
 */
import type { Op } from './history.ts'
import { describeValue, type Value } from './model.ts'

/** What a client asked: a part of what `setModel` takes, so that the same history can be judged by both. */
export type SetFullInput<V extends Value = Value> =
  | { readonly type: 'add'; readonly value: V }
  | { readonly type: 'read' }

/** The answer of a `read`: the whole set. That of an `add` is not looked at: when it returned, it was acknowledged. */
export type SetFullOutput<V extends Value = Value> = boolean | readonly V[] | undefined

export interface SetFullOptions {
  /**
   * Demands that an element is in every read that begins after its add returned, or after a read that saw it returned.
   * Without it an element may show late (is stale), as long as it shows in the end. @default true
   */
  readonly linearizable?: boolean | undefined
  /** How many examples of each fault are kept. @default 8 */
  readonly examplesMax?: number | undefined
}

export interface SetFullFault<V extends Value = Value> {
  /**
   * `lost`: it was known to be in, and then no read ever saw it again. `stale`: a read that began after it was known to
   * be in did not see it, a later one did. `unexpected`: read though nobody had begun to add it. `duplicated`: twice in
   * one read.
   */
  readonly type: 'lost' | 'stale' | 'unexpected' | 'duplicated'
  readonly value: V
  /** Positions in the history. */
  readonly operations: readonly number[]
  readonly explanation: string
}

/** Quantiles of numbers in the unit of the history's times; `undefined` when there are none. */
export interface Latencies {
  readonly p50: number
  readonly p95: number
  readonly p99: number
  readonly max: number
}

export interface SetFullVerdict<V extends Value = Value> {
  /** `unknown`: elements were added, and not one of them could be judged. */
  readonly verdict: 'ok' | 'illegal' | 'unknown'
  /** For people: of a violation the shortest explanation. */
  readonly reason: string
  /** Up to `examplesMax` of each type; stale ones also where they are allowed. */
  readonly faults: readonly SetFullFault<V>[]
  readonly counts: {
    readonly attempted: number
    /** Acknowledged, or seen by a read. */
    readonly known: number
    /** Seen by every read from some point on. */
    readonly stable: number
    /** Stable, but not seen by some reads that began after it was known. */
    readonly stale: number
    readonly lost: number
    /** No read saw it, and none that began after it was known missed it: nothing can be told. */
    readonly neverRead: number
    /** Of unknown outcome, and seen. */
    readonly recovered: number
    readonly unexpected: number
    readonly duplicated: number
  }
  /** How long after it was known a stable element was still missing from a read that began then; 0 for most. */
  readonly stableLatency: Latencies | undefined
}

type SetOp<V extends Value> = Op<SetFullInput<V>, SetFullOutput<V>>

/**
 * Judges a history of adds and reads of the whole set. Without `linearizable` end with a read after things have become
 * quiet: what the last reads miss counts as lost. O(n log n) and linear in the elements that were read; a read is
 * looked at twice and not kept.
 *
 * @throws {RangeError} when an element is added twice
 * @throws {TypeError} when a read returned without a list
 */
export function checkSetFull<V extends Value>(
  ops: readonly SetOp<V>[],
  options: SetFullOptions = {},
): SetFullVerdict<V> {
  const { linearizable = true, examplesMax = 8 } = options
  const elements = addedElements(ops)
  const reads = readsByCall(ops)
  const found = new SetFaults<V>(examplesMax)
  noteSightings(elements, reads, found)
  noteGaps(elements, reads)
  const latencies: number[] = []
  const counts = {
    attempted: elements.size,
    known: 0,
    stable: 0,
    stale: 0,
    lost: 0,
    neverRead: 0,
    recovered: 0,
  }
  for (const element of elements.values()) {
    if (element.knownAt === Number.POSITIVE_INFINITY) continue
    counts.known++
    if (element.ret === Number.POSITIVE_INFINITY) counts.recovered++
    const { firstGap, lastGap } = element
    const lastMissed = lastGap < 0 ? undefined : reads[lastGap]
    if (lastMissed === undefined) {
      if (element.lastSeen < 0) counts.neverRead++
      else {
        counts.stable++
        latencies.push(0)
      }
    } else if ((reads[element.lastSeen]?.ret ?? -Infinity) < lastMissed.call) {
      counts.lost++
      found.add('lost', element.value, [element.index, lastMissed.index], () => lostText(element, reads))
    } else {
      counts.stable++
      counts.stale++
      latencies.push(lastMissed.call - element.knownAt)
      const missed = reads[firstGap]?.index ?? lastMissed.index
      found.add('stale', element.value, [element.index, missed], () => staleText(element, reads))
    }
  }
  const faults = found.list()
  const all = { ...counts, unexpected: found.count('unexpected'), duplicated: found.count('duplicated') }
  const result = { faults, counts: all, stableLatency: quantiles(latencies) }
  const illegal = faults.filter(({ type }) => type !== 'stale' || linearizable)
  const [first] = illegal
  if (first !== undefined) {
    const types = [...new Set(illegal.map(({ type }) => type))]
    const inAll = types.map((type) => `${found.count(type)} ${type}`).join(', ')
    return { verdict: 'illegal', reason: `${first.type}: ${first.explanation} (in all ${inAll})`, ...result }
  }
  if (counts.attempted > 0 && counts.stable === 0) {
    const why = `Nothing can be told of ${counts.attempted} elements: no read saw any or came after. End with a read`
    return { verdict: 'unknown', reason: why, ...result }
  }
  const late = counts.stale === 0 ? '' : `, ${counts.stale} of them late`
  const unread = counts.neverRead === 0 ? '' : `; ${counts.neverRead} were acknowledged after the last read`
  return { verdict: 'ok', reason: `${counts.stable} elements showed to the end${late}${unread}`, ...result }
}

interface Element<V> {
  readonly value: V
  /** Of its add. */
  readonly index: number
  readonly call: number
  readonly ret: number
  /** From then on it is known to be in. */
  knownAt: number
  /** The read by which it is known, when that is not its acknowledgement. */
  knownBy: Read<V> | undefined
  /** Positions among the reads by call; -1 for none. A gap is a read that began after `knownAt` and missed it. */
  lastSeen: number
  firstGap: number
  lastGap: number
  /** The read that it has to be in next. */
  next: number
}

interface Read<V> {
  readonly index: number
  readonly call: number
  readonly ret: number
  readonly client: number
  readonly values: readonly V[]
}

function addedElements<V extends Value>(ops: readonly SetOp<V>[]): Map<V, Element<V>> {
  const elements = new Map<V, Element<V>>()
  for (const [index, { in: input, call, ret }] of ops.entries()) {
    if (input.type !== 'add') continue
    const { value } = input
    if (elements.has(value)) {
      throw new RangeError(
        `Cannot check set: ${describeValue(value)} is added twice; every element must be added once`,
      )
    }
    const story = { knownAt: ret, knownBy: undefined, lastSeen: -1, firstGap: -1, lastGap: -1, next: 0 }
    elements.set(value, { value, index, call, ret, ...story })
  }
  return elements
}

function readsByCall<V extends Value>(ops: readonly SetOp<V>[]): readonly Read<V>[] {
  const reads: Read<V>[] = []
  for (const [index, { in: input, out, call, ret, client }] of ops.entries()) {
    if (input.type !== 'read' || ret === Number.POSITIVE_INFINITY) continue
    if (out === undefined || typeof out === 'boolean') {
      throw new TypeError(`Cannot check read ${index}: it returned at ${ret} without a list of elements`)
    }
    reads.push({ index, call, ret, client, values: out })
  }
  return reads.sort((a, b) => a.call - b.call || a.index - b.index)
}

/** First look at every read: what it should not hold, and from when on each element is known to be in. */
function noteSightings<V extends Value>(
  elements: ReadonlyMap<V, Element<V>>,
  reads: readonly Read<V>[],
  found: SetFaults<V>,
): void {
  for (const [place, read] of reads.entries()) {
    for (const value of read.values) {
      const element = elements.get(value)
      const at = `${describeValue(value)} was read by client ${read.client} at ${read.call}..${read.ret}`
      if (element === undefined) {
        found.add('unexpected', value, [read.index], () => `${at}, but nobody ever added it`)
      } else if (read.ret < element.call) {
        const involved = [element.index, read.index]
        found.add('unexpected', value, involved, () => `${at}, before it was added at ${element.call}`)
      } else if (element.lastSeen === place) {
        found.add('duplicated', value, [element.index, read.index], () => `${at}, twice in one list`)
      } else {
        element.lastSeen = place
        if (read.ret >= element.knownAt) continue
        element.knownAt = read.ret
        element.knownBy = read
      }
    }
  }
}

/** Second look: which reads that began after it was known missed each element. */
function noteGaps<V extends Value>(elements: ReadonlyMap<V, Element<V>>, reads: readonly Read<V>[]): void {
  for (const element of elements.values()) element.next = firstAfter(reads, element.knownAt)
  const gap = (element: Element<V>, upTo: number): void => {
    if (element.next >= upTo) return
    if (element.firstGap < 0) element.firstGap = element.next
    element.lastGap = upTo - 1
  }
  for (const [place, read] of reads.entries()) {
    for (const value of read.values) {
      const element = elements.get(value)
      if (element === undefined || place < element.next) continue
      gap(element, place)
      element.next = place + 1
    }
  }
  for (const element of elements.values()) gap(element, reads.length)
}

/** The first read called after `time`. */
function firstAfter(reads: readonly { readonly call: number }[], time: number): number {
  let low = 0
  let high = reads.length
  while (low < high) {
    const middle = (low + high) >> 1
    if ((reads[middle]?.call ?? 0) > time) high = middle
    else low = middle + 1
  }
  return low
}

function knownText<V extends Value>({ value, call, ret, knownAt, knownBy }: Element<V>): string {
  const ack = ret === Number.POSITIVE_INFINITY ? 'never acknowledged' : `acknowledged at ${ret}`
  const added = `${describeValue(value)} was added at ${call}, ${ack}`
  return knownBy === undefined ? added : `${added}, read by client ${knownBy.client} at ${knownAt}`
}

function missedText<V extends Value>(read: Read<V> | undefined): string {
  return `a read by client ${read?.client} that began at ${read?.call} did not see it`
}

function lostText<V extends Value>(element: Element<V>, reads: readonly Read<V>[]): string {
  const seen = reads[element.lastSeen]
  const last = seen === undefined ? 'no read ever did' : `none did after one that began at ${seen.call}`
  return `${knownText(element)}; ${missedText(reads[element.lastGap])}, and ${last}`
}

function staleText<V extends Value>(element: Element<V>, reads: readonly Read<V>[]): string {
  const again = reads[element.lastSeen]
  return `${knownText(element)}, but ${missedText(reads[element.firstGap])} (one that began at ${again?.call} did)`
}

function quantiles(values: readonly number[]): Latencies | undefined {
  if (values.length === 0) return undefined
  const sorted = Float64Array.from(values).sort()
  const at = (share: number): number => sorted[Math.ceil(share * sorted.length) - 1] ?? 0
  return { p50: at(0.5), p95: at(0.95), p99: at(0.99), max: at(1) }
}

class SetFaults<V extends Value> {
  readonly #examplesMax: number
  readonly #faults = new Map<SetFullFault['type'], SetFullFault<V>[]>()
  readonly #counts = new Map<SetFullFault['type'], number>()

  constructor(examplesMax: number) {
    this.#examplesMax = examplesMax
  }

  add(type: SetFullFault['type'], value: V, operations: readonly number[], explain: () => string): void {
    this.#counts.set(type, this.count(type) + 1)
    let faults = this.#faults.get(type)
    if (faults === undefined) this.#faults.set(type, (faults = []))
    if (faults.length < this.#examplesMax) faults.push({ type, value, operations, explanation: explain() })
  }

  count(type: SetFullFault['type']): number {
    return this.#counts.get(type) ?? 0
  }

  list(): readonly SetFullFault<V>[] {
    return faultOrder.flatMap((type) => this.#faults.get(type) ?? [])
  }
}

const faultOrder: readonly SetFullFault['type'][] = ['lost', 'unexpected', 'duplicated', 'stale']
