/**
 * Client sessions, replicated: what makes a retry safe (Raft thesis, section 6.3; R17). Every member has the same table
 * because it changes only by entries of the log, in their order and by the log's time; it goes into snapshots.
 *
 * A session's commands have numbers that grow by one; the result of each is kept until the client says that it was answered.
 * A command may come late or twice, and several may be under way at once: what counts is its number, not its turn.
 * Nothing is forgotten silently: a session that had to go is over, and says so to every later command.
 */
import type { SessionStamp } from './consensus-group.ts'

export interface SessionTableOptions {
  /**
   * Most sessions. One more, and the one that was not used for longest is over. Members of a group must agree on it, for
   * all time: it decides what an entry does. @default 10_000
   */
  readonly sessionsMax?: number | undefined
  /**
   * Commands of one session that may be unanswered: those numbered from `answeredBelow + resultsPerSessionMax` are refused
   * (`full`), not applied, and may come again. As above, the same everywhere. @default 4_096
   */
  readonly resultsPerSessionMax?: number | undefined
  /**
   * Most results kept in all, at least `resultsPerSessionMax`. One more, and of the sessions that have results those that
   * were not used for longest are over, but never the one that is being served. As above, the same everywhere.
   * @default 262_144
   */
  readonly resultsMax?: number | undefined
}

export const sessionTableDefaults = Object.freeze({
  sessionsMax: 10_000,
  resultsPerSessionMax: 4_096,
  resultsMax: 262_144,
})

/** Shortest and longest `ttlMs`; `open` takes what is outside of them as the nearest, so that no entry can do harm. */
export const sessionTtlMs = Object.freeze({ min: 1, max: 7 * 24 * 3_600_000 })

/** What is to become of a command. */
export type SessionVerdict<Result> =
  /** New: apply it, then call `keep`. */
  | { readonly type: 'apply' }
  /** Applied before: this is what it gave then. */
  | { readonly type: 'known'; readonly result: Result }
  /** Applied before, and the client has said that it has the answer. Nobody waits for it. */
  | { readonly type: 'answered' }
  /** Not applied: too many of the session's commands are unanswered. */
  | { readonly type: 'full' }
  /** Not applied: there is no such session any more. */
  | { readonly type: 'expired' }

/** One session as plain data, for snapshots. */
export interface SessionRecord<Result> {
  readonly session: number
  readonly ttlMs: number
  /** Log time of the last command. */
  readonly usedMs: number
  readonly answeredBelow: number
  /** Number and result, by number. */
  readonly results: readonly (readonly [sequence: number, result: Result])[]
}

interface Session<Result> {
  readonly id: number
  readonly ttlMs: number
  usedMs: number
  answeredBelow: number
  readonly results: Map<number, Result>
}

const apply = { type: 'apply' } as const
const answered = { type: 'answered' } as const
const full = { type: 'full' } as const
const expired = { type: 'expired' } as const

/** Pure and deterministic. Results are kept as they are: plain data that nobody changes. */
export class SessionTable<Result> {
  readonly #sessionsMax: number
  readonly #perSessionMax: number
  readonly #resultsMax: number
  /** In the order of their numbers: these are places in the log. */
  readonly #sessions = new Map<number, Session<Result>>()
  #results = 0
  /** No session is over before this log time. A lower bound: using a session does not raise it. */
  #overFromMs = Infinity

  /** @throws {RangeError} if a limit is not a whole number above 0 */
  constructor(options: SessionTableOptions = {}) {
    this.#sessionsMax = limit('sessionsMax', options.sessionsMax ?? sessionTableDefaults.sessionsMax)
    this.#perSessionMax = limit(
      'resultsPerSessionMax',
      options.resultsPerSessionMax ?? sessionTableDefaults.resultsPerSessionMax,
    )
    this.#resultsMax = limit('resultsMax', options.resultsMax ?? sessionTableDefaults.resultsMax)
    if (this.#resultsMax < this.#perSessionMax) {
      throw new RangeError(
        `Cannot create a session table: resultsMax must be at least resultsPerSessionMax, ${this.#perSessionMax}, ` +
          `got ${this.#resultsMax}`,
      )
    }
  }

  /** How many sessions there are. */
  get size(): number {
    return this.#sessions.size
  }

  /** How many results are kept. */
  get results(): number {
    return this.#results
  }

  has(session: number): boolean {
    return this.#sessions.has(session)
  }

  /**
   * Opens a session by the entry at `index`, which is its number from then on.
   *
   * @returns the session that had to give way to it, where one had to. O(sessions) then, else O(1)
   */
  open(index: number, ttlMs: number, timeMs: number): number | undefined {
    const evicted = this.#sessions.size >= this.#sessionsMax ? this.#evictOldest(() => true) : undefined
    const ttl = Math.min(Math.max(Math.floor(ttlMs) || 0, sessionTtlMs.min), sessionTtlMs.max)
    this.#sessions.set(index, {
      id: index,
      ttlMs: ttl,
      usedMs: timeMs,
      answeredBelow: 1,
      results: new Map(),
    })
    this.#overFromMs = Math.min(this.#overFromMs, timeMs + ttl)
    return evicted
  }

  /**
   * What is to become of a command of a session, at this log time. Uses the session: it lives for `ttlMs` from now.
   * Hot: O(1), and one map operation for each result that the client does not need any more.
   */
  check(stamp: SessionStamp, timeMs: number): SessionVerdict<Result> {
    const session = this.#sessions.get(stamp.session)
    if (session === undefined) return expired
    session.usedMs = timeMs
    if (stamp.answeredBelow > session.answeredBelow) this.#forget(session, stamp.answeredBelow)
    const { sequence } = stamp
    if (sequence < session.answeredBelow) return answered
    const { results } = session
    const result = results.get(sequence)
    if (result !== undefined || results.has(sequence)) return { type: 'known', result: result as Result }
    return sequence - session.answeredBelow >= this.#perSessionMax ? full : apply
  }

  /**
   * Keeps the result of a command that `check` wanted applied, before any other call.
   *
   * @returns sessions that had to give way to it: mostly none. O(sessions) for each of them, else O(1)
   */
  keep(stamp: SessionStamp, result: Result): readonly number[] {
    const session = this.#sessions.get(stamp.session)
    if (session === undefined) return none
    session.results.set(stamp.sequence, result)
    this.#results++
    if (this.#results <= this.#resultsMax) return none
    const evicted: number[] = []
    while (this.#results > this.#resultsMax) {
      const id = this.#evictOldest((other) => other !== session && other.results.size > 0)
      if (id === undefined) break
      evicted.push(id)
    }
    return evicted
  }

  /** True when `expire` would end a session: the leader then proposes it. O(1) mostly, else O(sessions). */
  isAnyOver(timeMs: number): boolean {
    if (timeMs < this.#overFromMs) return false
    this.#overFromMs = Infinity
    for (const { usedMs, ttlMs } of this.#sessions.values()) {
      this.#overFromMs = Math.min(this.#overFromMs, usedMs + ttlMs)
    }
    return timeMs >= this.#overFromMs
  }

  /**
   * Ends the sessions that nobody used for their `ttlMs` by this log time. By an entry of the log: it names no sessions,
   * so one that was used since the leader looked lives on, and an entry of a leader of old does no harm (R12).
   *
   * @returns their numbers, lowest first
   */
  expire(timeMs: number): readonly number[] {
    if (!this.isAnyOver(timeMs)) return none
    const over: number[] = []
    for (const { id, usedMs, ttlMs } of this.#sessions.values()) if (timeMs >= usedMs + ttlMs) over.push(id)
    for (const id of over) this.#end(id)
    return over
  }

  /** The whole table as plain data that shares nothing that changes with it. The same bytes on every member. */
  snapshot(): readonly SessionRecord<Result>[] {
    return [...this.#sessions.values()].map(({ id, ttlMs, usedMs, answeredBelow, results }) => ({
      session: id,
      ttlMs,
      usedMs,
      answeredBelow,
      results: [...results].sort(([a], [b]) => a - b),
    }))
  }

  /**
   * Becomes what a `snapshot` gave, whatever it was before.
   *
   * @throws {RangeError} if the records are none; the table is empty then
   */
  restore(records: readonly SessionRecord<Result>[]): void {
    this.#sessions.clear()
    this.#results = 0
    this.#overFromMs = Infinity
    try {
      let before = 0
      for (const record of records) {
        this.#restoreOne(record, before)
        before = record.session
      }
    } catch (error) {
      this.#sessions.clear()
      this.#results = 0
      throw error
    }
  }

  #restoreOne(record: SessionRecord<Result>, before: number): void {
    const { session: id, ttlMs, usedMs, answeredBelow, results } = record
    const isRight =
      [id, ttlMs, usedMs, answeredBelow].every((number) => Number.isSafeInteger(number) && number >= 0) &&
      id > before &&
      Array.isArray(results) &&
      results.every(
        (pair) => Array.isArray(pair) && Number.isSafeInteger(pair[0]) && pair[0] >= answeredBelow,
      )
    if (!isRight)
      throw new RangeError(`Cannot restore the session table: the record of session ${id} is malformed`)
    this.#sessions.set(id, { id, ttlMs, usedMs, answeredBelow, results: new Map(results) })
    this.#results += results.length
    this.#overFromMs = Math.min(this.#overFromMs, usedMs + ttlMs)
  }

  #forget(session: Session<Result>, below: number): void {
    const { results } = session
    const before = results.size
    if (below - session.answeredBelow <= 2 * before) {
      for (let sequence = session.answeredBelow; sequence < below; sequence++) results.delete(sequence)
    } else {
      for (const sequence of results.keys()) if (sequence < below) results.delete(sequence)
    }
    this.#results -= before - results.size
    session.answeredBelow = below
  }

  /** Of those that were used at the same time the one that was opened first. */
  #evictOldest(mayGo: (session: Session<Result>) => boolean): number | undefined {
    let oldest: Session<Result> | undefined
    for (const session of this.#sessions.values()) {
      if ((oldest === undefined || session.usedMs < oldest.usedMs) && mayGo(session)) oldest = session
    }
    if (oldest !== undefined) this.#end(oldest.id)
    return oldest?.id
  }

  #end(id: number): void {
    this.#results -= this.#sessions.get(id)?.results.size ?? 0
    this.#sessions.delete(id)
  }
}

const none: readonly number[] = Object.freeze([])

function limit(name: string, value: number): number {
  if (Number.isSafeInteger(value) && value >= 1) return value
  throw new RangeError(
    `Cannot create a session table: ${name} must be a whole number of at least 1, got ${value}`,
  )
}
