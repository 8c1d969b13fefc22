/**
 * Timers of one incarnation, by key. A tick is an ordinary message of the actor's own: it waits its turn, counts
 * against the mailbox's bound, and never comes after `cancel`, a new timer of the same key, or a restart, even if it
 * was queued already.
 */
import type { Timer } from '../platform/platform.ts'
import type { ActorContextImpl } from './context.ts'
import { EnvelopeKind, type Deferred, type Message } from './envelope.ts'

/** `ctx.timers`. `O` is any message that the actor may send to itself. */
export interface Timers<O> {
  /** Sends `message` once after `delayMs`. A timer of the same key is replaced. */
  readonly once: (key: string, delayMs: number, message: O) => void
  /**
   * Sends `message` every `intervalMs`, first after one interval. A tick that finds the one before still waiting in the
   * mailbox is left out: a slow actor is not buried.
   */
  readonly every: (key: string, intervalMs: number, message: O) => void
  /** True if there was such a timer. */
  readonly cancel: (key: string) => boolean
  readonly has: (key: string) => boolean
}

class TimerEntry implements Deferred {
  readonly type: string
  readonly droppable = true
  readonly owner: TimersImpl
  readonly key: string
  readonly message: Message
  /** 0 for a single tick. */
  readonly intervalMs: number
  dueMs: number
  timer: Timer | undefined = undefined
  /** A tick stands in the mailbox. */
  waiting = false

  constructor(owner: TimersImpl, key: string, message: Message, intervalMs: number, dueMs: number) {
    this.type = message.type
    this.owner = owner
    this.key = key
    this.message = message
    this.intervalMs = intervalMs
    this.dueMs = dueMs
  }

  open(): Message | undefined {
    this.waiting = false
    return this.owner.take(this) ? this.message : undefined
  }
}

/** @internal */
export class TimersImpl implements Timers<Message> {
  readonly #context: ActorContextImpl
  readonly #entries = new Map<string, TimerEntry>()

  constructor(context: ActorContextImpl) {
    this.#context = context
  }

  once(key: string, delayMs: number, message: Message): void {
    this.#start(key, delayMs, message, 0)
  }

  every(key: string, intervalMs: number, message: Message): void {
    if (!(intervalMs > 0)) {
      throw new RangeError(`Cannot start timer "${key}": intervalMs must be more than 0, got ${intervalMs}`)
    }
    this.#start(key, intervalMs, message, intervalMs)
  }

  cancel(key: string): boolean {
    const entry = this.#entries.get(key)
    if (entry === undefined) return false
    entry.timer?.cancel()
    this.#entries.delete(key)
    return true
  }

  has(key: string): boolean {
    return this.#entries.has(key)
  }

  cancelAll(): void {
    for (const entry of this.#entries.values()) entry.timer?.cancel()
    this.#entries.clear()
  }

  /** The tick's turn has come: true if it still counts. */
  take(entry: TimerEntry): boolean {
    if (this.#entries.get(entry.key) !== entry) return false
    if (entry.intervalMs === 0) this.#entries.delete(entry.key)
    return true
  }

  #start(key: string, delayMs: number, message: Message, intervalMs: number): void {
    if (!(delayMs >= 0) || delayMs === Number.POSITIVE_INFINITY) {
      throw new RangeError(
        `Cannot start timer "${key}": its time must be 0 or more milliseconds, got ${delayMs}`,
      )
    }
    const context = this.#context
    if (!context.checkLive('timers')) return
    context.checkOwnMessage(message, `timer "${key}"`)
    this.cancel(key)
    const { clock } = context.cell.kernel
    const entry = new TimerEntry(this, key, message, intervalMs, clock.monotonicMs() + delayMs)
    this.#entries.set(key, entry)
    entry.timer = clock.setTimer(entry.dueMs, () => this.#fire(entry))
  }

  #fire(entry: TimerEntry): void {
    const { cell } = this.#context
    const { clock } = cell.kernel
    if (!entry.waiting) entry.waiting = cell.deliverOwn(entry, EnvelopeKind.deferred, true)
    if (entry.intervalMs === 0) return
    // Ticks keep their beat; those that a stall swallowed are not made up for.
    const nowMs = clock.monotonicMs()
    const missed = Math.max(0, Math.floor((nowMs - entry.dueMs) / entry.intervalMs))
    entry.dueMs += (missed + 1) * entry.intervalMs
    entry.timer = clock.setTimer(entry.dueMs, () => this.#fire(entry))
  }
}
