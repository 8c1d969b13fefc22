/**
 * What a watch of a versioned store promises, as etcd states it (its API guarantees, and tests/robustness), judged
 * against the log of what really happened: Ordered, Unique, Reliable, Atomic, Resumable, Bookmarkable, and that events
 * carry the right previous value (PrevKV), know a creation from a change (IsCreate) and are those that were asked for
 * (Filter).
 */
import {
  firstFrom,
  logFacts,
  type LogFact,
  type LogFacts,
  type LoggedEvent,
  type LoggedRevision,
  type WatchedValue,
} from './watch-log.ts'

/** A change as a watch was told. What is `undefined` was not part of the message and is not judged, but for `prevKv`. */
export interface ReceivedEvent {
  readonly type: 'put' | 'delete'
  readonly key: string
  readonly value?: string | undefined
  /** The revision that made the change. */
  readonly revision: number
  /** Of a `put`: the revision that created the key; the same as `revision` when this did. */
  readonly createRevision?: number | undefined
  /** Of a `put`: whether it created the key. */
  readonly isCreate?: boolean | undefined
  readonly prevKv?: WatchedValue | undefined
}

export interface WatchResponse {
  /** The revision of the store as the response says; of a bookmark the one up to which everything was delivered. */
  readonly revision: number
  readonly events: readonly ReceivedEvent[]
  /** True for a progress notification. @default false */
  readonly isBookmark?: boolean | undefined
}

export interface WatchRequest {
  readonly key: string
  /** True for all keys that begin with `key`. @default false */
  readonly isPrefix?: boolean | undefined
  /** The first revision that it wants to see. Without it: from some point on that nobody knows. */
  readonly fromRevision?: number | undefined
  /** Whether events should carry what was there before. @default false */
  readonly prevKv?: boolean | undefined
  /** Which events are left out. @default none */
  readonly without?: 'put' | 'delete' | undefined
}

export interface WatchRecord {
  /** For explanations. Default: its position. */
  readonly name?: string | undefined
  readonly request: WatchRequest
  /** In the order in which they came. */
  readonly responses: readonly WatchResponse[]
  /**
   * Up to this revision everything must have come: the watch was open and everything was quiet. Without it only what
   * lies before the last event or bookmark that came is demanded.
   */
  readonly completeTo?: number | undefined
}

export type WatchGuarantee =
  | 'Ordered'
  | 'Unique'
  | 'Atomic'
  | 'Reliable'
  | 'Resumable'
  | 'Bookmarkable'
  | 'PrevKV'
  | 'IsCreate'
  | 'Filter'

export interface WatchFault {
  readonly guarantee: WatchGuarantee
  /** Position among the watches. */
  readonly watch: number
  /** Position among its responses; its last one for what never came; -1 when there was none. */
  readonly response: number
  /** Of the event that is wrong or missing. */
  readonly revision: number
  readonly explanation: string
}

export interface WatchOptions {
  /** Which are demanded. Default: all nine. */
  readonly guarantees?: readonly WatchGuarantee[] | undefined
  /** How many faults of each guarantee are kept. @default 8 */
  readonly examplesMax?: number | undefined
}

export interface WatchVerdict {
  /** `unknown`: something was changed and watched, but no event or bookmark came that could be judged. */
  readonly verdict: 'ok' | 'illegal' | 'unknown'
  /** For people. */
  readonly reason: string
  /** By watch and response. */
  readonly faults: readonly WatchFault[]
  readonly counts: ReadonlyMap<WatchGuarantee, number>
  /** How many events came in all. */
  readonly events: number
}

/**
 * Judges watches against the log. A watch of one key costs what it received and what its key went through; a watch of a
 * prefix costs the part of the log that it spans. O(log + that).
 *
 * @throws {RangeError} when revisions of the log do not grow, or one changes a key twice
 */
export function checkWatches(
  log: readonly LoggedRevision[],
  watches: readonly WatchRecord[],
  options: WatchOptions = {},
): WatchVerdict {
  const facts = logFacts(log)
  const collection = new FaultCollection(options)
  let events = 0
  let judged = 0
  for (const [index, watch] of watches.entries()) {
    const judge = new WatchJudge(facts, watch, index, collection)
    judge.run()
    events += judge.events
    if (judge.events > 0 || judge.hasProof) judged++
  }
  const { faults, counts } = collection
  if (faults.length > 0) {
    // One that came where it should not explains others that seem to be missing.
    const first = faults.reduce((a, b) => (a.watch === b.watch && rank(b) < rank(a) ? b : a))
    const types = [...counts].map(([guarantee, count]) => `${count} ${guarantee}`).join(', ')
    const reason = `Broken watch guarantee ${first.guarantee}: ${first.explanation} (in all ${types})`
    return { verdict: 'illegal', reason, faults, counts, events }
  }
  if (watches.length > 0 && judged === 0 && facts.all.length > 0) {
    const reason = `Nothing can be told: no event and no bookmark came to any of ${watches.length} watches`
    return { verdict: 'unknown', reason, faults, counts, events }
  }
  const reason = `${watches.length} watches received ${events} events as they should`
  return { verdict: 'ok', reason, faults, counts, events }
}

/** Walks through the responses of one watch next to what the log says it should have received. */
class WatchJudge {
  readonly #facts: LogFacts
  readonly #watch: WatchRecord
  readonly #index: number
  readonly #faults: FaultCollection
  /** What matches the request, from the first revision that it wants. */
  readonly #candidates: readonly LogFact[]
  /** The next that is to come. */
  #next = 0
  #response = -1
  #lastRevision = -Infinity
  #bookmark: number | undefined
  readonly #seen = new Set<string>()
  /** Revisions that an earlier response held. */
  readonly #revisionsBefore = new Set<number>()
  /** What the first response of each revision held: the same again is a duplicate, another a split. */
  readonly #delivered = new Set<string>()
  /** How many events it received. */
  events = 0
  /** True when something was to be told even without an event. */
  hasProof = false

  constructor(facts: LogFacts, watch: WatchRecord, index: number, faults: FaultCollection) {
    this.#facts = facts
    this.#watch = watch
    this.#index = index
    this.#faults = faults
    const { key, isPrefix = false, fromRevision } = watch.request
    this.#candidates = isPrefix ? facts.all : (facts.ofKey.get(key) ?? [])
    this.#next = fromRevision === undefined ? -1 : firstFrom(this.#candidates, fromRevision)
  }

  run(): void {
    for (const [i, response] of this.#watch.responses.entries()) {
      this.#response = i
      for (const event of response.events) this.#judgeEvent(event)
      this.#judgeWhole(response)
      if (response.isBookmark === true) this.#judgeBookmark(response.revision)
    }
    const { completeTo } = this.#watch
    if (completeTo === undefined || this.#next < 0) return
    this.hasProof = true
    this.#demandUpTo(completeTo, 'Reliable', `everything up to revision ${completeTo} should have come`)
  }

  #judgeEvent(event: ReceivedEvent): void {
    this.events++
    const { revision, key } = event
    const what = eventText(event)
    const id = `${revision} ${key}`
    const isAgain = this.#seen.has(id)
    this.#seen.add(id)
    if (isAgain) this.#report('Unique', revision, `${what} came twice`)
    else if (revision < this.#lastRevision) {
      this.#report('Ordered', revision, `${what} came after an event of revision ${this.#lastRevision}`)
    }
    if (this.#bookmark !== undefined && revision <= this.#bookmark) {
      const said = `a bookmark had said that all up to revision ${this.#bookmark} had come`
      this.#report('Bookmarkable', revision, `${what} came after ${said}`)
    }
    this.#judgeFilter(event, what)
    const fact = this.#factOf(event)
    if (fact === undefined)
      this.#report('Reliable', revision, `${what} came, but the log holds no such change`)
    else this.#judgeContent(event, fact, what)
    if (!isAgain && fact !== undefined) this.#judgeGap(fact)
    this.#lastRevision = Math.max(this.#lastRevision, revision)
  }

  #judgeFilter({ key, type, revision }: ReceivedEvent, what: string): void {
    const { request } = this.#watch
    if (!matchesKey(request, key)) {
      this.#report('Filter', revision, `${what} came, but it watches ${requestText(request)}`)
    } else if (request.without === type) {
      this.#report('Filter', revision, `${what} came, but it wants no ${type} events`)
    }
    if (request.fromRevision !== undefined && revision < request.fromRevision) {
      this.#report(
        'Resumable',
        revision,
        `${what} came, but it watches from revision ${request.fromRevision} on`,
      )
    }
  }

  #factOf({ key, revision }: ReceivedEvent): LogFact | undefined {
    const facts = this.#facts.ofKey.get(key) ?? []
    const fact = facts[firstFrom(facts, revision)]
    return fact?.revision === revision ? fact : undefined
  }

  #judgeContent(event: ReceivedEvent, fact: LogFact, what: string): void {
    const { revision } = event
    const real = fact.event
    if (event.type !== real.type || (real.type === 'put' && event.value !== real.value)) {
      this.#report('Reliable', revision, `${what} came, but the log has ${factText(fact)}`)
    }
    if (real.type === 'put' && fact.createRevision >= 0) {
      const isCreate = fact.createRevision === revision
      const says =
        event.isCreate ?? (event.createRevision === undefined ? isCreate : event.createRevision === revision)
      const really = isCreate ? 'this created the key' : `the key was created at ${fact.createRevision}`
      if (says !== isCreate) {
        this.#report(
          'IsCreate',
          revision,
          `${what} says that it ${says ? 'created' : 'changed'} the key, but ${really}`,
        )
      } else if (event.createRevision !== undefined && event.createRevision !== fact.createRevision) {
        this.#report('IsCreate', revision, `${what} says created at ${event.createRevision}, but ${really}`)
      }
    }
    this.#judgePrevious(event, fact, what)
  }

  #judgePrevious({ prevKv, revision }: ReceivedEvent, fact: LogFact, what: string): void {
    if (this.#watch.request.prevKv !== true) {
      if (prevKv !== undefined)
        this.#report('PrevKV', revision, `${what} has a previous value, which nobody asked for`)
      return
    }
    if (!fact.isPrevKnown) return
    const { prev } = fact
    if (prevKv === undefined || prev === undefined) {
      if (prevKv === prev) return
      const told =
        prevKv === undefined ? 'has no previous value' : `has the previous value ${valueText(prevKv)}`
      const really = prev === undefined ? 'there was none' : `there was ${valueText(prev)}`
      this.#report('PrevKV', revision, `${what} ${told}, but ${really}`)
      return
    }
    const differs =
      prevKv.value !== prev.value ||
      differ(prevKv.modRevision, prev.modRevision) ||
      differ(prevKv.createRevision, prev.createRevision)
    if (!differs) return
    this.#report(
      'PrevKV',
      revision,
      `${what} has the previous value ${valueText(prevKv)}, but there was ${valueText(prev)}`,
    )
  }

  /** Everything that matches and lies before what came must have come. Within one revision any order will do. */
  #judgeGap(fact: LogFact): void {
    // Where it began nobody knows: with the first that came.
    if (this.#next < 0) this.#next = firstFrom(this.#candidates, fact.revision)
    const isFirst = this.#lastRevision === -Infinity && this.#bookmark === undefined
    const from = this.#watch.request.fromRevision
    const why = `the next that came was of revision ${fact.revision}`
    if (isFirst && from !== undefined)
      this.#demandUpTo(fact.revision - 1, 'Resumable', `it watches from ${from} on; ${why}`)
    else this.#demandUpTo(fact.revision - 1, 'Reliable', why)
  }

  /** Reports what should have come up to `revision` and did not: the first of it. */
  #demandUpTo(revision: number, guarantee: WatchGuarantee, why: string): void {
    const { request } = this.#watch
    let missing: LogFact | undefined
    let count = 0
    for (let fact = this.#candidates[this.#next]; fact !== undefined && fact.revision <= revision;) {
      if (matches(request, fact.event) && !this.#seen.has(`${fact.revision} ${fact.event.key}`)) {
        // That another of its revision came is for Atomic to say.
        if (!this.#revisionsBefore.has(fact.revision)) {
          missing ??= fact
          count++
        }
      }
      fact = this.#candidates[++this.#next]
    }
    if (missing === undefined) return
    const more = count === 1 ? '' : ` and ${count - 1} more`
    this.#report(guarantee, missing.revision, `${factText(missing)}${more} never came: ${why}`)
  }

  /** Of every revision in a response all that matches must be in it, and in no other. */
  #judgeWhole({ events }: WatchResponse): void {
    const { request } = this.#watch
    for (const revision of new Set(events.map((event) => event.revision))) {
      if (this.#revisionsBefore.has(revision)) {
        const isSplit = events.some((one) => one.revision === revision && this.#isNew(one))
        if (isSplit) this.#report('Atomic', revision, `revision ${revision} was split over several responses`)
        continue
      }
      this.#revisionsBefore.add(revision)
      const has = new Set(events.filter((one) => one.revision === revision).map((one) => one.key))
      for (const event of events)
        if (event.revision === revision) this.#delivered.add(`${revision} ${event.key}`)
      for (let i = firstFrom(this.#candidates, revision); this.#candidates[i]?.revision === revision; i++) {
        const fact = this.#candidates[i]
        if (fact === undefined || has.has(fact.event.key) || !matches(request, fact.event)) continue
        this.#report(
          'Atomic',
          revision,
          `${factText(fact)} did not come together with the rest of its revision`,
        )
        break
      }
    }
  }

  #isNew({ revision, key }: ReceivedEvent): boolean {
    return !this.#delivered.has(`${revision} ${key}`)
  }

  #judgeBookmark(revision: number): void {
    this.hasProof = true
    if (this.#bookmark !== undefined && revision < this.#bookmark) {
      this.#report('Bookmarkable', revision, `a bookmark of ${revision} came after one of ${this.#bookmark}`)
    } else if (revision < this.#lastRevision) {
      const text = `a bookmark of ${revision} came after an event of revision ${this.#lastRevision}`
      this.#report('Bookmarkable', revision, text)
    } else if (revision > this.#facts.lastRevision) {
      const text = `a bookmark of ${revision} came, but the log ends at ${this.#facts.lastRevision}`
      this.#report('Bookmarkable', revision, text)
    }
    if (this.#next >= 0)
      this.#demandUpTo(revision, 'Bookmarkable', `a bookmark said that all up to ${revision} had come`)
    // Where it began nobody knows, but from here on everything must come.
    else this.#next = firstFrom(this.#candidates, revision + 1)
    this.#bookmark = Math.max(this.#bookmark ?? revision, revision)
  }

  #report(guarantee: WatchGuarantee, revision: number, text: string): void {
    const name = this.#watch.name ?? `watch ${this.#index}`
    const explanation = `${name} of ${requestText(this.#watch.request)}: ${text}`
    this.#faults.add({ guarantee, watch: this.#index, response: this.#response, revision, explanation })
  }
}

const mostTelling: readonly WatchGuarantee[] = [
  'Unique',
  'Ordered',
  'Filter',
  'Atomic',
  'Resumable',
  'Bookmarkable',
  'Reliable',
  'IsCreate',
  'PrevKV',
]

function rank({ guarantee }: WatchFault): number {
  return mostTelling.indexOf(guarantee)
}

class FaultCollection {
  readonly #demanded: ReadonlySet<WatchGuarantee> | undefined
  readonly #examplesMax: number
  readonly faults: WatchFault[] = []
  readonly counts = new Map<WatchGuarantee, number>()

  constructor({ guarantees, examplesMax = 8 }: WatchOptions) {
    this.#demanded = guarantees === undefined ? undefined : new Set(guarantees)
    this.#examplesMax = examplesMax
  }

  add(fault: WatchFault): void {
    if (this.#demanded?.has(fault.guarantee) === false) return
    const count = (this.counts.get(fault.guarantee) ?? 0) + 1
    this.counts.set(fault.guarantee, count)
    if (count <= this.#examplesMax) this.faults.push(fault)
  }
}

function matchesKey({ key, isPrefix = false }: WatchRequest, other: string): boolean {
  return isPrefix ? other.startsWith(key) : other === key
}

function matches(request: WatchRequest, event: LoggedEvent): boolean {
  return matchesKey(request, event.key) && request.without !== event.type
}

function differ(told: number | undefined, real: number | undefined): boolean {
  return told !== undefined && real !== undefined && told !== real
}

function requestText({ key, isPrefix = false }: WatchRequest): string {
  return isPrefix ? `"${key}*"` : `"${key}"`
}

function eventText({ type, key, value, revision }: ReceivedEvent): string {
  return `${type} "${key}"${type === 'put' ? ` = ${JSON.stringify(value)}` : ''} of revision ${revision}`
}

function factText({ event, revision }: LogFact): string {
  return eventText({ ...event, prevKv: undefined, revision })
}

function valueText({ value, modRevision, createRevision }: WatchedValue): string {
  const mod = modRevision === undefined ? '' : ` of revision ${modRevision}`
  const create = createRevision === undefined ? '' : ` created at ${createRevision}`
  return `${JSON.stringify(value)}${mod}${create}`
}
