/** The log that watches are judged by, and what follows from it: what was there before, and what created a key. */

/** A key with its value, as it was at some revision. */
export interface WatchedValue {
  readonly value: string
  /** The revision that created the key, when known. */
  readonly createRevision?: number | undefined
  /** The revision that wrote this value, when known. */
  readonly modRevision?: number | undefined
}

/** A change as it really was. */
export interface LoggedEvent {
  readonly type: 'put' | 'delete'
  readonly key: string
  /** Of a `put`. */
  readonly value?: string | undefined
  /** What was there before. Needed only where the log does not tell: it begins in the middle of things. */
  readonly prevKv?: WatchedValue | undefined
}

/** One revision, with all that it changed at once: every key at most once. */
export interface LoggedRevision {
  readonly revision: number
  readonly events: readonly LoggedEvent[]
}

/** A logged event with what follows from the log. */
export interface LogFact {
  readonly revision: number
  readonly event: LoggedEvent
  readonly createRevision: number
  readonly prev: WatchedValue | undefined
  /** False when the log does not tell what was there before. */
  readonly isPrevKnown: boolean
}

export interface LogFacts {
  readonly all: readonly LogFact[]
  readonly ofKey: ReadonlyMap<string, readonly LogFact[]>
  readonly lastRevision: number
}

/**
 * What follows from a log. O(its events).
 *
 * @throws {RangeError} when revisions do not grow, or one changes a key twice
 */
export function logFacts(log: readonly LoggedRevision[]): LogFacts {
  const all: LogFact[] = []
  const ofKey = new Map<string, LogFact[]>()
  let lastRevision = -Infinity
  for (const { revision, events } of log) {
    if (!(revision > lastRevision)) {
      throw new RangeError(
        `Cannot check watches: revision ${revision} of the log comes after ${lastRevision}`,
      )
    }
    lastRevision = revision
    for (const event of events) {
      let facts = ofKey.get(event.key)
      if (facts === undefined) ofKey.set(event.key, (facts = []))
      const before = facts.at(-1)
      if (before?.revision === revision) {
        throw new RangeError(
          `Cannot check watches: revision ${revision} of the log changes "${event.key}" twice`,
        )
      }
      const fact = factOf(revision, event, before)
      facts.push(fact)
      all.push(fact)
    }
  }
  return { all, ofKey, lastRevision }
}

function factOf(revision: number, event: LoggedEvent, before: LogFact | undefined): LogFact {
  const { prevKv } = event
  if (before === undefined) {
    // A deletion was of something, so the log began after it; a put without `prevKv` is taken to be the first.
    const createRevision = prevKv === undefined ? revision : (prevKv.createRevision ?? -1)
    const isPrevKnown = event.type === 'put' || prevKv !== undefined
    return { revision, event, createRevision, prev: prevKv, isPrevKnown }
  }
  if (before.event.type === 'delete') {
    return { revision, event, createRevision: revision, prev: undefined, isPrevKnown: true }
  }
  const { createRevision } = before
  const prev = {
    value: before.event.value ?? '',
    createRevision: createRevision < 0 ? undefined : createRevision,
    modRevision: before.revision,
  }
  return { revision, event, createRevision, prev, isPrevKnown: true }
}

/** Position of the first of `revision` or later. */
export function firstFrom(facts: readonly LogFact[], revision: number): number {
  let low = 0
  let high = facts.length
  while (low < high) {
    const middle = (low + high) >> 1
    if ((facts[middle]?.revision ?? 0) >= revision) high = middle
    else low = middle + 1
  }
  return low
}
