/**
 * Dead letters and restarts, as a person reads them: the first ten of a kind whole, then one line with the count, so
 * that a crash loop is visible and a flood does not bury everything else. Dead letters that their protocol expects
 * (`ProtocolOptions.absence`) are for whoever debugs.
 */
import type { Envelope, Message } from '../actor/envelope.ts'
import type { ActorKind } from '../actor/actor-kind.ts'
import type { DeadLetterReason } from '../actor/dead-letter.ts'
import { expectsAbsence } from '../actor/protocol.ts'
import { blameKey } from '../actor/call.ts'
import type { Cell } from '../actor/cell.ts'
import { defaultIntensity } from '../actor/child-spec.ts'
import { LogThrottle, type ThrottleSummary } from '../observability/log-throttle.ts'
import type { Logger } from '../platform/log.ts'
import type { Clock, Timer } from '../platform/platform.ts'
import type { RestartReport } from '../supervision/supervisor.ts'
import type { Metrics } from '../observability/metrics.ts'
import type { EventStream, SystemEvents } from './event-stream.ts'

/** From this many crashes of one actor on one message type within its supervisor's window, that type is named as poison. */
export const poisonAt = 3
/** No more of them are counted, so that a crash loop costs no memory. */
const crashesCounted = 10
/** Nobody was there to take it; see `ProtocolOptions.absence`. */
const absences: ReadonlySet<DeadLetterReason> = new Set(['not-found', 'stopping', 'stopped', 'node-down'])
/** Dead letters kept for `system.deadLetters()`. */
export const deadLettersKept = 1_000

/** One of the last dead letters. */
export type DeadLetter = SystemEvents['dead-letter'] & { readonly atMs: number }

export class IncidentLog {
  readonly #log: Logger
  readonly #clock: Clock
  readonly #events: EventStream<SystemEvents>
  readonly #metrics: Metrics
  readonly #throttle = new LogThrottle()
  readonly #letters: DeadLetter[] = []
  #nextLetter = 0
  /** Times of the last crashes, by actor and message type. */
  readonly #crashes = new WeakMap<Cell, Map<string, number[]>>()
  readonly #staleSeen = new Set<string>()
  #timer: Timer | undefined
  /** During shutdown dead letters are expected: counted, not written. */
  quiet = false

  constructor(log: Logger, clock: Clock, events: EventStream<SystemEvents>, metrics: Metrics) {
    this.#log = log
    this.#clock = clock
    this.#events = events
    this.#metrics = metrics
  }

  deadLetter(
    envelope: Envelope,
    reason: DeadLetterReason,
    kind: ActorKind | undefined,
    path: string,
    protocolName: string | undefined = kind?.protocol.name,
  ): void {
    const definition = kind?.name ?? '(none)'
    if (kind !== undefined) kind.counters.deadLetters++
    this.#metrics.counter('understudy_dead_letters_total', { reason, type: definition }).add()
    const sender = envelope.sender?.senderPath
    const letter = {
      reason,
      path,
      definition,
      sender,
      message: envelope.message,
      atMs: this.#clock.monotonicMs(),
    }
    this.#letters[this.#nextLetter] = letter
    this.#nextLetter = (this.#nextLetter + 1) % deadLettersKept
    this.#events.emit('dead-letter', letter)
    if (this.quiet) return
    // Whoever calls us without types may send anything.
    const type = String((envelope.message as Message | undefined)?.type)
    const fields = { path, actor: definition, type, reason, sender }
    const line = (): string => `dead letter: "${type}" to ${path} was not delivered (${reason})`
    if (absences.has(reason) && protocolName !== undefined && expectsAbsence(protocolName)) {
      if (this.#log.isLevelEnabled('debug')) this.#log.debug(fields, line())
    } else {
      this.#write(`dead letters of ${definition} (${reason})`, 'warn', fields, line)
    }
  }

  restarting(report: RestartReport): void {
    const { cell, failure, count, limit, delayMs } = report
    const { kind } = cell
    const error = failure?.error
    const messageType = failure?.messageType
    const sameMessage = messageType === undefined ? 0 : this.#countCrash(cell, messageType)
    this.#metrics
      .counter('understudy_restarts_total', { type: kind.name, reason: error?.name ?? 'left' })
      .add()
    // A crash loop must not cost what nobody reads (bench: crash-restart).
    if (this.#events.wants('actor-restarted')) {
      const { path } = cell
      const facts = { path, definition: kind.name, error, messageType, count, limit, delayMs, sameMessage }
      this.#events.emit('actor-restarted', facts)
    }
    if (!this.#log.isLevelEnabled('error')) return
    const { path } = cell
    const fields = { path, actor: kind.name, type: messageType, err: error, restart: count, limit, delayMs }
    const poison = sameMessage >= poisonAt ? { poison: messageType, crashes: sameMessage } : {}
    this.#write(`restarts of ${kind.name}`, 'error', { ...fields, ...poison }, () => {
      const why =
        error === undefined
          ? 'stopped by itself'
          : `crashed${messageType === undefined ? '' : ` on "${messageType}"`}`
      const when = delayMs > 0 ? ` in ${Math.round(delayMs)} ms` : ''
      const again =
        sameMessage >= poisonAt ? `; "${messageType}" crashed it ${sameMessage} times within the window` : ''
      return `${path} ${why}: restart ${count}${limit === Number.POSITIVE_INFINITY ? '' : ` of ${limit}`}${when}${again}`
    })
  }

  staleEffect(path: string, kind: ActorKind, effect: string): void {
    this.#metrics.counter('understudy_stale_effects_total', { type: kind.name }).add()
    const key = `${kind.name}/${effect}`
    if (this.#staleSeen.has(key)) return
    this.#staleSeen.add(key)
    this.#log.warn(
      { path, actor: kind.name, effect },
      `an incarnation of ${path} that is gone tried ctx.${effect}: dropped (logged once per actor and effect)`,
    )
  }

  /** The last dead letters, oldest first. */
  letters(): readonly DeadLetter[] {
    return [...this.#letters.slice(this.#nextLetter), ...this.#letters.slice(0, this.#nextLetter)]
  }

  /** Writes what is still held back. */
  close(): void {
    this.#timer?.cancel()
    this.#timer = undefined
    this.#tell(this.#throttle.flush(this.#clock.monotonicMs()))
  }

  #countCrash(cell: Cell, messageType: string): number {
    let byType = this.#crashes.get(cell)
    if (byType === undefined) {
      byType = new Map()
      this.#crashes.set(cell, byType)
    }
    const times = byType.get(messageType) ?? []
    const nowMs = this.#clock.monotonicMs()
    const { withinMs } = cell.parent?.kind.intensity ?? defaultIntensity
    times.push(nowMs)
    while (times.length > crashesCounted || (times[0] ?? nowMs) < nowMs - withinMs) times.shift()
    byType.set(messageType, times)
    return times.length
  }

  #write(
    key: string,
    level: 'warn' | 'error',
    fields: Readonly<Record<string, unknown>>,
    line: () => string,
  ): void {
    if (!this.#log.isLevelEnabled(level)) return
    if (this.#throttle.note(key, this.#clock.monotonicMs()) === 'write') {
      this.#log[level](fields, line())
      return
    }
    this.#arm()
  }

  #arm(): void {
    const dueMs = this.#throttle.nextDeadlineMs()
    if (dueMs === undefined || this.#timer !== undefined) return
    this.#timer = this.#clock.setTimer(dueMs, () => {
      this.#timer = undefined
      this.#tell(this.#throttle.due(this.#clock.monotonicMs()))
      this.#arm()
    })
  }

  #tell(summaries: readonly ThrottleSummary[]): void {
    for (const { key, counted, fromMs, toMs } of summaries) {
      this.#log.warn(
        { counted, fromMs, toMs },
        `${counted} more ${key} in ${Math.ceil((toMs - fromMs) / 1_000)} s`,
      )
    }
  }
}

/** The context whose ask `error` ended, if it was one of ours. */
export function blamed(error: unknown): unknown {
  return typeof error === 'object' && error !== null
    ? (error as { [blameKey]?: unknown })[blameKey]
    : undefined
}
