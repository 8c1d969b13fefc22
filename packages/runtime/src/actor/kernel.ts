/**
 * What all cells of one system share: the run queue and its pump, the time, the wheel, isolation, counters, and the
 * hooks by which cells reach the system around them.
 */
import type { Logger } from '../platform/log.ts'
import type { Clock, Platform, Random, Timer } from '../platform/platform.ts'
import type { Ready, RunQueue } from '../platform/run-queue.ts'
import type { Store } from '../platform/store.ts'
import { Aborted } from './actor-error.ts'
import { ActorKind } from './actor-kind.ts'
import type { AnyDefinition } from './behaviour.ts'
import type { PendingAsk } from './call.ts'
import type { Cell } from './cell.ts'
import type { ActorContextImpl } from './context.ts'
import type { DeadLetterReason } from './dead-letter.ts'
import type { Envelope } from './envelope.ts'
import type { Failure, Family } from './family.ts'
import type { Isolation, MessageGuard } from './isolation.ts'
import type { Protocol } from './protocol.ts'
import type { Ref } from './ref.ts'
import { TimerWheel, type WheelEntry } from './timer-wheel.ts'
import type { EndReason } from './watch.ts'

/** Messages handled before sockets and timers get their turn. */
export const sliceMessagesMax = 16_000
/** And the time, whichever comes first. Read once per `clockEvery` messages. */
export const sliceMs = 4
const clockEvery = 256
/** So many looks at the clock, each so soon after the one before, and the time is kept for the turn. */
const looksUntilKept = 48
const looksApartMs = 0.02
/** Sends after which the sender's turn ends: senders pay, so mailboxes stay short and messages die young. */
export const turnSendsMax = 512

/** What the system does for its cells. */
export interface KernelHooks {
  readonly makeFamily: (parent: Cell) => Family
  /** @param protocolName of the message; the kind's when left out */
  readonly deadLetter: (
    envelope: Envelope,
    reason: DeadLetterReason,
    kind: ActorKind | undefined,
    path: string,
    protocolName?: string,
  ) => void
  /** The root's child failed beyond what supervision could bear. */
  readonly rootFailed: (failure: Failure) => void
  readonly started: (cell: Cell) => void
  readonly ended: (cell: Cell, reason: EndReason) => void
  /** A handler kept the loop for too long. */
  readonly stalled: (cell: Cell, messageType: string, durationMs: number) => void
  /** An orderly end took longer than it may; what hung was left behind. */
  readonly abandoned: (cell: Cell, messageType: string | undefined, ageMs: number, waitedFor: string) => void
  readonly mailboxGrew: (cell: Cell, depth: number) => void
  /** An effect of an incarnation that is gone was dropped. */
  readonly staleEffect: (path: string, kind: ActorKind, effect: string) => void
  /** Finds what lives at a path; `undefined` when nobody does. */
  readonly resolvePath: (path: string) => Cell | undefined
  /** An unbound ref to `path`, here or on another node. */
  readonly refFor: (path: string, protocol: Protocol) => Ref
}

export interface KernelOptions {
  readonly name: string
  readonly platform: Platform
  readonly isolation: Isolation
  readonly guard: MessageGuard
  readonly hooks: KernelHooks
  readonly services: ReadonlyMap<string, unknown>
  readonly store: Store
  readonly askTimeoutMs: number
  /** Turns longer than this are blamed on their actor; `undefined`: not measured. */
  readonly stallMs: number | undefined
}

/** Plain counters, read when somebody asks. */
export interface KernelCounters {
  spawned: number
  ended: number
  restarts: number
  messages: number
  expired: number
  staleEffects: number
  deadLetters: number
  stalls: number
}

export class Kernel {
  readonly name: string
  /** How this node is called in call chains; the cluster sets it. */
  nodeName: string
  /** Which life of that node this is; part of every ref that leaves it. */
  nodeIncarnation = 0
  readonly platform: Platform
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
  readonly wheel: TimerWheel
  readonly queue: RunQueue
  readonly turnMessagesMax: number
  readonly isolation: Isolation
  readonly guard: MessageGuard
  readonly hooks: KernelHooks
  readonly services: ReadonlyMap<string, unknown>
  readonly store: Store
  readonly askTimeoutMs: number
  readonly stallMs: number | undefined
  readonly counters: KernelCounters = {
    spawned: 0,
    ended: 0,
    restarts: 0,
    messages: 0,
    expired: 0,
    staleEffects: 0,
    deadLetters: 0,
    stalls: 0,
  }
  /** Sends since the turn in progress began. */
  sends = 0
  /** The incarnation whose handler is on the stack right now. */
  running: ActorContextImpl | null = null
  /** When the handler on the stack began; kept only where stalls are blamed. */
  handlerSinceMs = 0
  /**
   * Promises of the runtime itself that somebody awaits and that are no asks: room, members, a stop. Whoever looks for
   * handlers that wait for nothing (a simulator) looks here first.
   */
  waiters = 0
  /** Messages until the pump looks at the clock again. */
  untilClock = clockEvery
  /**
   * Until when user actors may act without somebody saying so again, in monotonic milliseconds: a pump that runs later
   * holds them first and then calls `onActOver`. What guards a node that slept through its own removal. `Infinity`: for
   * ever.
   */
  actUntilMs = Number.POSITIVE_INFINITY
  onActOver: (() => void) | undefined
  readonly #kinds = new Map<AnyDefinition, ActorKind>()
  /** Children come in series of one definition (bench: spawn). */
  #lastKind: ActorKind | null = null
  #nextUid = 1
  #nowMs = 0
  /** No time is kept: each look at the clock is exact and costs nothing (virtual time). */
  readonly #exact: boolean
  #looksInRow = 0
  /** Due after the sockets that are ready now. While it is due, `#nowMs` is of this turn of the event loop. */
  #loopEnd: Timer | null = null
  #inSlice = false
  #sliceStartMs = 0
  #sliceLeft = 0
  /**
   * Timers and sockets surely had their turn. A pump that ran dry does not prove that: actors that only ever await go
   * from microtask to microtask, so the slice goes on where it was. At worst that is one yield too many.
   */
  #yielded = true
  #closed = false
  /** User cells whose turn came while they are held, in order; `null`: nobody is held. */
  #held: Cell[] | null = null

  constructor(options: KernelOptions) {
    this.name = options.name
    this.nodeName = options.name
    this.platform = options.platform
    this.clock = options.platform.clock
    this.#exact = this.clock.slotMs <= 0
    this.random = options.platform.random.fork(`system/${options.name}`)
    this.log = options.platform.log
    this.wheel = new TimerWheel(this.clock)
    this.isolation = options.isolation
    this.guard = options.guard
    this.hooks = options.hooks
    this.services = options.services
    this.store = options.store
    this.askTimeoutMs = options.askTimeoutMs
    this.stallMs = options.stallMs
    this.queue = options.platform.scheduler.makeRunQueue(() => this.#pump())
    this.turnMessagesMax = this.queue.turnMessagesMax
  }

  newUid(): number {
    return this.#nextUid++
  }

  /** What is known of a definition in this system, made when it is first used. */
  kindOf(definition: AnyDefinition): ActorKind {
    const last = this.#lastKind
    if (last !== null && last.definition === definition) return last
    let kind = this.#kinds.get(definition)
    if (kind === undefined) {
      kind = new ActorKind(definition, this.isolation, this.log)
      this.#kinds.set(definition, kind)
    }
    this.#lastKind = kind
    return kind
  }

  get kinds(): Iterable<ActorKind> {
    return this.#kinds.values()
  }

  /** The time, as of the pump's last look at the clock when it is running, else now. */
  freshNow(): number {
    return this.#inSlice ? this.#nowMs : this.clock.monotonicMs()
  }

  /**
   * The time as of the last look at the clock in this turn of the event loop, so that an ask reads no clock (bench:
   * ask-1). It may lag by what ran since; deadlines reckoned from it go through `arm`, which makes up for that.
   */
  loopNow(): number {
    if (this.#exact) return this.clock.monotonicMs()
    if (this.#loopEnd === null) this.#lookOrKeep()
    return this.#nowMs
  }

  /** Puts `entry` into the wheel, whose `deadlineMs` was reckoned from `loopNow()`. */
  arm(entry: WheelEntry): void {
    if (this.#loopEnd === null) this.wheel.add(entry)
    else this.wheel.arrive(entry)
  }

  /**
   * Looks at the clock. Once looks come thick and fast, the time is kept until the turn of the event loop is over: what
   * tells its end costs as much as some tens of looks, and would make every quiet turn longer (bench: round-trip-2p).
   */
  #lookOrKeep(): void {
    const beforeMs = this.#nowMs
    this.#look()
    this.#looksInRow = this.#nowMs - beforeMs < looksApartMs ? this.#looksInRow + 1 : 0
    if (this.#looksInRow < looksUntilKept) return
    this.#looksInRow = 0
    this.#loopEnd = this.platform.scheduler.afterLoop(this.#endLoop)
  }

  readonly #endLoop = (): void => {
    this.#loopEnd = null
    if (this.wheel.hasArrivals) this.#look()
  }

  #look(): void {
    const nowMs = this.clock.monotonicMs()
    const lagMs = nowMs - this.#nowMs
    this.#nowMs = nowMs
    if (this.wheel.hasArrivals) this.wheel.settle(lagMs)
  }

  /** The pump has used up what it may before sockets and timers get their turn. Called every `clockEvery` messages. */
  sliceIsOver(): boolean {
    this.untilClock = clockEvery
    this.#sliceLeft -= clockEvery
    this.#look()
    return this.#sliceLeft < clockEvery || this.#nowMs - this.#sliceStartMs >= sliceMs
  }

  linkSignal(call: PendingAsk, signal: AbortSignal): void {
    const abort = (): void => {
      const message = `The ask "${call.messageType}" to ${call.targetPath} was aborted: the outcome is unknown`
      call.giveUp(new Aborted(message, { path: call.targetPath, type: call.messageType }, signal.reason))
    }
    if (signal.aborted) {
      abort()
      return
    }
    signal.addEventListener('abort', abort, { once: true })
    call.release = () => signal.removeEventListener('abort', abort)
  }

  get isHeld(): boolean {
    return this.#held !== null
  }

  /**
   * From now on no user actor has a turn, until `release`. Mailboxes fill, system actors run on, and control (stop,
   * restart) is carried out as ever, for it takes no turn. A handler that waits for a promise is not stopped by this:
   * what it sends is its incarnation's, and fenced with it.
   */
  hold(): void {
    this.#held ??= []
  }

  /** Held actors go on where they were, in the order in which their turns came. */
  release(): void {
    const held = this.#held
    this.#held = null
    if (held === null || this.#closed) return
    for (const cell of held) this.queue.push(cell)
  }

  /** No cell runs after this. */
  close(): void {
    this.#closed = true
    this.#held = null
    this.#loopEnd?.cancel()
    this.#loopEnd = null
    this.wheel.close()
  }

  #actOver(): void {
    this.actUntilMs = Number.POSITIVE_INFINITY
    this.hold()
    this.onActOver?.()
  }

  #pump(): void {
    if (this.#closed) return
    this.#inSlice = true
    if (this.#exact) this.#look()
    else if (this.#loopEnd === null) this.#lookOrKeep()
    if (this.#nowMs >= this.actUntilMs) this.#actOver()
    if (this.#yielded) {
      this.#yielded = false
      this.#sliceStartMs = this.#nowMs
      this.#sliceLeft = sliceMessagesMax
      this.untilClock = clockEvery
    }
    const { queue } = this
    let over = false
    for (;;) {
      const cell = queue.next() as (Ready & Cell) | null
      if (cell === null) break
      if (this.#held !== null && !cell.isSystem) {
        this.#held.push(cell)
        continue
      }
      const before = this.untilClock
      over = cell.runTurn()
      // A turn that handled nothing (a start, a stale entry) still counts, or a crash loop would never yield.
      if (this.untilClock === before && --this.untilClock === 0) over = this.sliceIsOver()
      if (over) break
    }
    this.#inSlice = false
    this.running = null
    this.#yielded = over
    if (over) queue.yieldNow()
    else queue.idle()
  }
}
