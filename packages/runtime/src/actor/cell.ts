/**
 * One running actor: a mailbox, one incarnation of a behaviour at a time, and its place in the tree.
 *
 * A cell is one class of fixed shape, and its own ref; whatever most actors never use hangs on `rare`. A turn drains what was queued
 * when it began; a handler's promise is part of its message; control (stop, supervision, watch) acts on the cell at
 * once and never waits in the mailbox. Figures: bench rows ping-pong, counting, bytes-per-actor.
 */
import type { Timer } from '../platform/platform.ts'
import type { Ready } from '../platform/run-queue.ts'
import {
  Aborted,
  ActorCrashed,
  ActorStopped,
  CallCycleError,
  HandlerTimeout,
  InvalidMessage,
  MailboxFull,
  Rejected,
  Rejection,
  StartFailed,
  toError,
  UnknownMessage,
} from './actor-error.ts'
import { mailboxWarnAt, type ActorKind } from './actor-kind.ts'
import type { Call } from './call.ts'
import { findCycle } from './call.ts'
import { defaultShutdownMs, type ChildPolicy } from './child-spec.ts'
import { ActorContextImpl, LaterReplyImpl, stashed, type ReceiveTimeout } from './context.ts'
import type { DeadLetterReason } from './dead-letter.ts'
import { Ending } from './ending.ts'
import { Envelope, EnvelopeKind, type Deferred, type Message } from './envelope.ts'
import type { Failure, Family, StopMode } from './family.ts'
import { Refusal } from './isolation.ts'
import { turnSendsMax, type Kernel } from './kernel.ts'
import { LocalRef } from './local-ref.ts'
import type { Protocol } from './protocol.ts'
import type { Ref, RoomOptions } from './ref.ts'
import type { WheelEntry } from './timer-wheel.ts'
import { linkBroken, type EndReason, type WatchRecord } from './watch.ts'

/** Where a cell stands in its life. Ordered: what is above `suspended` takes no more messages from others. */
export const CellStatus = Object.freeze({
  /** `setup` is due or under way; messages queue. */
  starting: 0,
  running: 1,
  /** Between two incarnations; messages queue. */
  suspended: 2,
  /** Works off its queue and takes nothing more. */
  draining: 3,
  stopping: 4,
  stopped: 5,
})
export type CellStatus = (typeof CellStatus)[keyof typeof CellStatus]

/** What a cell is doing, as bits. 0 is idle: only then does a new message put it into the run queue. */
const queued = 1
const inTurn = 2
const awaiting = 4
/** Messages wait: it is starting, between incarnations, or ending. */
const held = 8

type Handler = (this: unknown, message: Message) => unknown
type HandlerTable = Readonly<Record<string, Handler | undefined>>

const noHandlers: HandlerTable = Object.freeze({})

/** What most cells never have. */
interface Rare {
  /** What it watches, except for its own children: their watch stands on the child. */
  watches: Map<Ref | string, WatchRecord> | null
  /** The same for links: one may watch and be linked. */
  links: Map<Ref | string, WatchRecord> | null
  rooms: RoomWaiter[] | null
  /** The last envelope of each priority level, when the mailbox has priorities. */
  levelTails: (Envelope | null)[] | null
  ending: Ending | null
  /** Set while it works off its queue before it ends. */
  drainTimer: Timer | null
  /** It was told to drain: so are its children. */
  drained: boolean
  handlerDeadline: HandlerDeadline | null
  /** When the handler in progress began. */
  awaitingSinceMs: number
  /** Handlers of concurrent messages in progress. */
  concurrent: number
  /** What supervision remembers of this child. */
  supervision: unknown
  onEnded: (() => void)[] | null
  onRunning: (() => void) | null
  family: Family | null
  /** Restarts so far. */
  incarnation: number
  /** Told of each turn that handled something. */
  receiveTimeout: ReceiveTimeout | null
  /** Kept when it is not the usual one. */
  endReason: EndReason
}

interface RoomWaiter {
  readonly resolve: () => void
  readonly reject: (error: Error) => void
}

export class Cell extends LocalRef implements Ready {
  nextReady: Ready | null = null
  readonly isSystem: boolean
  override readonly kernel: Kernel
  readonly kind: ActorKind
  readonly parent: Cell | null
  readonly name: string
  override readonly uid: number
  readonly policy: ChildPolicy
  readonly input: unknown
  status: CellStatus = CellStatus.starting
  #state = 0
  #head: Envelope | null = null
  #tail: Envelope | null = null
  depth = 0
  /** Depth at which `append` leaves its fast path. */
  #mark: number
  /** The message in progress; its promise, when it has one, is part of it. */
  current: Envelope | null = null
  context: ActorContextImpl | null = null
  handlers: HandlerTable = noHandlers
  #watchers: WatchRecord | null = null
  rare: Rare | null = null

  constructor(
    kernel: Kernel,
    kind: ActorKind,
    parent: Cell | null,
    name: string,
    policy: ChildPolicy,
    input: unknown,
    isSystem: boolean,
  ) {
    super()
    this.kernel = kernel
    this.kind = kind
    this.parent = parent
    this.name = name
    this.policy = policy
    this.input = input
    this.isSystem = isSystem
    this.uid = kernel.newUid()
    this.#mark = kind.plain ? mailboxWarnAt : -1
  }

  override get cell(): Cell {
    return this
  }

  get ref(): LocalRef {
    return this
  }

  override get protocol(): Protocol {
    return this.kind.protocol
  }

  /** Made on demand: most paths are never looked at. */
  override get path(): string {
    return this.parent === null ? '' : `${this.parent.path}/${this.name}`
  }

  get senderPath(): string {
    return this.path
  }

  /** The key of an entity. */
  get key(): string | undefined {
    return this.input instanceof RoutedKey ? this.input.key : undefined
  }

  /** It is stopping or has stopped. */
  get isEnding(): boolean {
    return this.status >= CellStatus.stopping
  }

  /** It takes no more messages: it drains, or will as soon as it is up, is stopping or has stopped. */
  get isLeaving(): boolean {
    return this.status >= CellStatus.draining || (this.rare !== null && this.rare.drainTimer !== null)
  }

  /** Its incarnation is ending, for good or for a restart. */
  get isGoing(): boolean {
    return this.status >= CellStatus.suspended && this.status !== CellStatus.draining
  }

  /** A handler holds the mailbox. */
  get isHeld(): boolean {
    return this.current !== null
  }

  get family(): Family | null {
    return this.rare === null ? null : this.rare.family
  }

  /** Counts restarts. Never in a ref. */
  get incarnation(): number {
    return this.rare === null ? 0 : this.rare.incarnation
  }

  /** Why it ended; null while it lives. */
  get endReason(): EndReason | null {
    if (this.status !== CellStatus.stopped) return null
    return this.rare === null ? 'stopped' : this.rare.endReason
  }

  /** What waits, in the order in which it will be handled. For those who look on: a simulator, a report. */
  *waiting(): IterableIterator<Envelope> {
    for (let envelope = this.#head; envelope !== null; envelope = envelope.next) yield envelope
  }

  /** A handler's promise, or setup's, is waited for. */
  get isAwaiting(): boolean {
    return (this.#state & awaiting) !== 0
  }

  get isIdle(): boolean {
    return this.#state === 0 && this.#head === null
  }

  get deadline(): number {
    const { shutdownMs } = this.policy
    if (shutdownMs !== undefined) return shutdownMs
    const childrenMs = this.family?.shutdownMs() ?? 0
    // With goodbyes of its own to say it needs its own share on top.
    return Math.max(
      defaultShutdownMs,
      childrenMs + (this.context?.hasDefers === true ? defaultShutdownMs : 0),
    )
  }

  makeRare(): Rare {
    this.rare ??= {
      watches: null,
      links: null,
      rooms: null,
      levelTails: null,
      ending: null,
      drainTimer: null,
      drained: false,
      handlerDeadline: null,
      awaitingSinceMs: 0,
      concurrent: 0,
      supervision: undefined,
      onEnded: null,
      onRunning: null,
      family: null,
      incarnation: 0,
      receiveTimeout: null,
      endReason: 'stopped',
    }
    return this.rare
  }

  // ---- Messages in ---------------------------------------------------------------------------------------------

  /** A message from somebody else. `false`: refused, and a dead letter by now. */
  override deliver(envelope: Envelope): boolean {
    if (this.status > CellStatus.suspended) {
      this.#refuse(envelope, this.status === CellStatus.stopped ? 'stopped' : 'stopping')
      return false
    }
    let accepted = envelope
    if (this.kind.guarded) {
      const passed = this.#guard(envelope)
      if (passed === null) return false
      accepted = passed
    }
    // Only who is held by a message can be part of a cycle.
    if (accepted.call !== null && this.current !== null && this.#refuseCycle(accepted, accepted.call))
      return false
    return this.append(accepted)
  }

  /** A message of the actor's own making. */
  deliverOwn(message: Message | Deferred, kind: EnvelopeKind, droppable: boolean): boolean {
    if (this.status > CellStatus.draining) return false
    const envelope = new Envelope(message, null, null, kind)
    if (!droppable) {
      this.#link(envelope)
      this.schedule()
      return true
    }
    return this.append(envelope)
  }

  append(envelope: Envelope): boolean {
    if (this.depth >= this.#mark) return this.#appendSlowly(envelope)
    const tail = this.#tail
    if (tail === null) this.#head = envelope
    else tail.next = envelope
    this.#tail = envelope
    this.depth++
    if (this.#state === 0) {
      this.#state = queued
      this.kernel.queue.push(this)
    } else if (this.kind.concurrent !== null) {
      this.schedule()
    }
    return true
  }

  /** Puts the cell into the run queue if it may run and has something to do. */
  schedule(): void {
    if (this.#head === null) return
    if (this.#state === 0 || (this.#state === awaiting && this.#headIsConcurrent())) {
      this.#state |= queued
      this.kernel.queue.push(this)
    }
  }

  #headIsConcurrent(): boolean {
    const { concurrent } = this.kind
    const head = this.#head
    if (concurrent === null || head === null || head.kind !== EnvelopeKind.user) return false
    // Beside a setup that awaits nothing can run: there are no handlers yet.
    return this.status !== CellStatus.starting && concurrent.has(head.message.type)
  }

  /** The mailbox is long, bounded, or has priorities. */
  #appendSlowly(envelope: Envelope): boolean {
    const { kind } = this
    if (this.rare !== null && this.rare.drainTimer !== null) {
      this.#refuse(envelope, 'stopping')
      return false
    }
    if (kind.plain) {
      this.kernel.hooks.mailboxGrew(this, this.depth)
      this.#mark *= 2
    } else if (this.depth >= kind.messagesMax) {
      if (kind.overflow !== 'drop-old') {
        this.#refuse(envelope, 'overflow')
        return false
      }
      const victim = this.#takeOldest()
      this.#refuse(victim ?? envelope, 'overflow')
      if (victim === null) return false
    }
    this.#link(envelope)
    this.schedule()
    return true
  }

  #link(envelope: Envelope): void {
    envelope.next = null
    this.depth++
    const { levels } = this.kind
    if (levels !== null) {
      this.#linkByPriority(envelope, levels)
      return
    }
    if (this.#tail === null) this.#head = envelope
    else this.#tail.next = envelope
    this.#tail = envelope
  }

  /** Behind the last envelope that is at least as urgent: stable within a priority. */
  #linkByPriority(envelope: Envelope, levels: readonly number[]): void {
    const rare = this.makeRare()
    const tails = (rare.levelTails ??= levels.map(() => null))
    const level = this.#levelOf(envelope, levels)
    let before: Envelope | null = null
    for (let above = level; above >= 0 && before === null; above--) before = tails[above] ?? null
    if (before === null) {
      envelope.next = this.#head
      this.#head = envelope
    } else {
      envelope.next = before.next
      before.next = envelope
    }
    if (envelope.next === null) this.#tail = envelope
    tails[level] = envelope
  }

  #levelOf(envelope: Envelope, levels: readonly number[]): number {
    return levels.indexOf(this.kind.priorities?.get(envelope.message.type) ?? 0)
  }

  /** Takes the head. Only called when there is one. */
  #take(): Envelope {
    const envelope = this.#head as Envelope
    this.#head = envelope.next
    if (this.#head === null) this.#tail = null
    envelope.next = null
    this.depth--
    const { levels } = this.kind
    if (levels !== null) {
      const tails = this.rare?.levelTails
      const level = this.#levelOf(envelope, levels)
      if (tails?.[level] === envelope) tails[level] = null
    }
    return envelope
  }

  /** What `drop-old` drops: the oldest droppable of the least urgent. Without priorities that is nearly always the head. */
  #takeOldest(): Envelope | null {
    const { levels } = this.kind
    let victim: Envelope | null = null
    let beforeVictim: Envelope | null = null
    let before: Envelope | null = null
    for (let envelope = this.#head; envelope !== null; before = envelope, envelope = envelope.next) {
      if (!isDroppable(envelope)) continue
      if (
        victim !== null &&
        levels !== null &&
        this.#levelOf(envelope, levels) <= this.#levelOf(victim, levels)
      )
        continue
      victim = envelope
      beforeVictim = before
      if (levels === null) break
    }
    if (victim !== null) this.#unlink(victim, beforeVictim)
    return victim
  }

  #unlink(envelope: Envelope, before: Envelope | null): void {
    if (before === null) this.#head = envelope.next
    else before.next = envelope.next
    if (envelope.next === null) this.#tail = before
    envelope.next = null
    this.depth--
    const { levels } = this.kind
    const tails = this.rare === null ? null : this.rare.levelTails
    if (levels === null || tails === null) return
    const level = this.#levelOf(envelope, levels)
    if (tails[level] !== envelope) return
    tails[level] = before !== null && this.#levelOf(before, levels) === level ? before : null
  }

  #guard(envelope: Envelope): Envelope | null {
    const { kernel, kind } = this
    if (kernel.isolation === 'reference') {
      // Unchecked, but nobody forges what is the actor's own.
      if (kind.own === null || !Object.hasOwn(kind.own, envelope.message.type)) return envelope
      const text = `Cannot send "${envelope.message.type}" to ${this.path}: only the actor itself can send it`
      this.#refuseMessage(envelope, new Refusal('RUNTIME_UNKNOWN_MESSAGE', text, 'type'))
      return null
    }
    let passed: Message | Refusal
    try {
      passed = kernel.guard.pass(kind.messages, this.path, envelope.message, kernel.isolation)
    } catch (error) {
      // A getter that throws, a value nested too deep to be walked: a tell never throws.
      const text = `Cannot send a message to ${this.path}: it cannot be read: ${toError(error).message}`
      passed = new Refusal('RUNTIME_INVALID_MESSAGE', text, '')
    }
    if (
      !(passed instanceof Refusal) &&
      envelope.call !== null &&
      kind.messages[passed.type]?.kind === 'tell'
    ) {
      const text = `Cannot ask "${passed.type}" of ${this.path}: it is a message without an answer; use tell`
      passed = new Refusal('RUNTIME_UNKNOWN_MESSAGE', text, 'type')
    }
    if (passed instanceof Refusal) {
      this.#refuseMessage(envelope, passed)
      return null
    }
    return passed === envelope.message
      ? envelope
      : new Envelope(passed, envelope.sender, envelope.call, envelope.kind)
  }

  #refuseMessage(envelope: Envelope, refusal: Refusal): void {
    const { hooks } = this.kernel
    const unknown = refusal.code === 'RUNTIME_UNKNOWN_MESSAGE'
    if (envelope.call === null) {
      this.kernel.log.error({ path: this.path, code: refusal.code, field: refusal.path }, refusal.message)
    } else {
      const details = { path: this.path, field: refusal.path }
      envelope.call.fail(
        unknown ? new UnknownMessage(refusal.message, details) : new InvalidMessage(refusal.message, details),
      )
    }
    hooks.deadLetter(envelope, unknown ? 'unknown-message' : 'invalid', this.kind, this.path)
  }

  #refuseCycle(envelope: Envelope, call: Call): boolean {
    if (call.asker === null && call.remoteChain.length === 0) return false
    if (this.kind.concurrent?.has(envelope.message.type) === true) return false
    const cycle = findCycle(this, call)
    if (cycle === undefined) return false
    const steps = [...cycle].reverse().map((link) => `${link.path} -"${link.messageType}"->`)
    call.fail(
      new CallCycleError(
        `Cannot ask ${this.path} "${envelope.message.type}": it waits for this answer: ${steps.join(' ')} ${this.path}. ` +
          `Use ctx.request, or declare the message concurrent`,
        { path: cycle },
      ),
    )
    return true
  }

  /** Makes a dead letter of `envelope`, and fails its call with what that means for an asker. */
  #refuse(envelope: Envelope, reason: DeadLetterReason): void {
    const { call } = envelope
    if (call !== null && !call.settled) {
      const details = { path: this.path, type: envelope.message.type }
      const about = `"${envelope.message.type}" to ${this.path}`
      if (reason === 'overflow' || reason === 'stash-overflow') {
        call.fail(
          new MailboxFull(`Cannot ask ${about}: its mailbox is full (${this.kind.messagesMax})`, details),
        )
      } else {
        call.fail(
          new ActorStopped(
            `Cannot ask ${about}: it has ${reason === 'stopping' ? 'begun to stop' : 'stopped'}`,
            details,
          ),
        )
      }
    }
    let letter = envelope
    if (envelope.kind === EnvelopeKind.deferred) {
      // A tick that found no room is lost like any message, and its timer must know. At the end of all none is owed.
      const opened = reason === 'overflow' ? (envelope.message as Deferred).open() : undefined
      if (opened === undefined) return
      letter = new Envelope(opened, null, null, EnvelopeKind.own)
    }
    this.kernel.hooks.deadLetter(letter, reason, this.kind, this.path)
  }

  // ---- Turns ---------------------------------------------------------------------------------------------------

  /** Runs one turn; true when the pump's slice is over. Hot. */
  runTurn(): boolean {
    const state = this.#state & ~queued
    if (state !== 0) {
      this.#state = state
      if (state === awaiting) this.#runConcurrent()
      return false
    }
    this.#state = inTurn
    const { kernel } = this
    kernel.running = this.context
    kernel.sends = 0
    if (kernel.stallMs !== undefined) kernel.handlerSinceMs = kernel.clock.monotonicMs()
    if (this.status === CellStatus.starting) {
      this.#start()
      if (kernel.stallMs !== undefined) this.#checkStall('setup', kernel.stallMs)
      if (this.#state !== inTurn) return false
    }
    const left = this.#drain()
    const { rare } = this
    if (rare !== null && rare.receiveTimeout !== null)
      rare.receiveTimeout.lastMessageMs = kernel.clock.monotonicMs()
    if (this.#state === inTurn) {
      this.#state = 0
      if (this.#head !== null) {
        this.#state = queued
        kernel.queue.push(this)
      } else if (this.status === CellStatus.draining) {
        this.stop('stop', undefined)
      }
      if (rare !== null) this.#openRooms(rare)
    }
    return left
  }

  /** Handles what was queued when the turn began. True when the pump's slice is over. */
  #drain(): boolean {
    const { kernel, kind } = this
    const context = this.context as ActorContextImpl
    const plain = kind.levels === null
    let budget = this.depth
    if (budget > kernel.turnMessagesMax) budget = kernel.turnMessagesMax
    kind.counters.messages += budget
    // A flood is of one type: its handler is looked up once (bench: counting).
    let table: HandlerTable = noHandlers
    let handler: Handler | undefined
    let handlerType: string | undefined
    while (budget > 0) {
      budget--
      let envelope: Envelope
      if (plain) {
        envelope = this.#head as Envelope
        if (envelope === null) break
        if ((this.#head = envelope.next) === null) this.#tail = null
        // Unlinked, or an old dead envelope would keep all younger ones alive through the next scavenge.
        else envelope.next = null
        this.depth--
      } else {
        if (this.#head === null) break
        envelope = this.#take()
      }
      this.current = envelope
      let message = envelope.message
      const { call } = envelope
      try {
        if (envelope.kind === EnvelopeKind.deferred) {
          const opened = (message as Deferred).open()
          if (opened === undefined) continue
          if (kernel.isolation !== 'reference') context.checkOwnMessage(opened, message.type)
          message = opened
          // What is stashed, or answered later, is the message itself: a tick or a notice opens only once.
          envelope = new Envelope(opened, null, null, EnvelopeKind.own)
          this.current = envelope
        }
        if (call !== null) {
          if (call.settled) {
            this.#expired(envelope)
            continue
          }
          call.started = true
        }
        const { handlers } = this
        const { type } = message
        if (type !== handlerType || handlers !== table) {
          table = handlers
          handlerType = type
          handler = handlers[type]
        }
        if (handler === undefined) {
          this.#unknown(envelope, message)
          continue
        }
        const result = handler.call(handlers, message)
        if (call === null) {
          if (result !== undefined && isThenable(result)) {
            this.#await(envelope, message.type, context, result)
            break
          }
        } else if (isThenable(result)) {
          this.#await(envelope, message.type, context, result)
          break
        } else {
          this.#reply(envelope, call, result)
        }
      } catch (thrown) {
        if (!this.#caught(thrown, envelope, message.type, context)) {
          if (kernel.stallMs !== undefined) this.#checkStall(message.type, kernel.stallMs)
          break
        }
      }
      if (kernel.stallMs !== undefined) this.#checkStall(message.type, kernel.stallMs)
      if (this.#state !== inTurn) {
        this.#leaveTurn()
        break
      }
      if (kernel.sends >= turnSendsMax) break
      if (--kernel.untilClock === 0 && kernel.sliceIsOver()) {
        kind.counters.messages -= budget
        if (this.#state === inTurn) this.current = null
        return true
      }
    }
    kind.counters.messages -= budget
    if (this.#state === inTurn) this.current = null
    return false
  }

  /** The handler's own stop, or a stop or suspension from elsewhere, took effect while it ran. */
  #leaveTurn(): void {
    this.current = null
    this.#state &= ~inTurn
    this.#resumeEnding()
  }

  #resumeEnding(): void {
    const ending = this.rare?.ending
    if (ending !== null && ending !== undefined) ending.advance()
    else if (this.status === CellStatus.stopping) this.#goOnEnding('stopped')
  }

  #reply(envelope: Envelope, call: Call, result: unknown): void {
    if (call.settled || result === stashed || result instanceof LaterReplyImpl) return
    const { kernel, kind } = this
    if (kernel.isolation === 'reference') {
      call.succeed(result)
      return
    }
    const { type } = envelope.message
    const reply = kernel.guard.passReply(kind.messages, this.path, type, result, kernel.isolation)
    if (!(reply instanceof Refusal)) {
      call.succeed(reply)
      return
    }
    // A reply that breaks the protocol is a bug of this actor, not of the asker: it crashes like one.
    throw new InvalidMessage(reply.message, { path: this.path, field: reply.path })
  }

  #unknown(envelope: Envelope, message: Message): void {
    const text = `Cannot handle "${String(message.type)}" at ${this.path}: the behaviour has no handler of that name`
    this.#refuseMessage(envelope, new Refusal('RUNTIME_UNKNOWN_MESSAGE', text, 'type'))
  }

  #expired(envelope: Envelope): void {
    this.kernel.counters.expired++
    this.kernel.hooks.deadLetter(envelope, 'expired', this.kind, this.path)
  }

  #await(envelope: Envelope, type: string, context: ActorContextImpl, promise: PromiseLike<unknown>): void {
    // A handler that stopped its own actor and then awaits is still let finish.
    this.#state = (this.#state & ~inTurn) | awaiting
    const { kernel, kind } = this
    if (kernel.stallMs !== undefined) this.#checkStall(type, kernel.stallMs)
    const rare = this.makeRare()
    rare.awaitingSinceMs = kernel.loopNow()
    if (kind.handlerTimeoutMs !== Number.POSITIVE_INFINITY) {
      rare.handlerDeadline = new HandlerDeadline(
        this,
        envelope,
        type,
        rare.awaitingSinceMs + kind.handlerTimeoutMs,
      )
      kernel.arm(rare.handlerDeadline)
    }
    promise.then(
      (value) => this.#settled(envelope, type, context, false, value),
      (error: unknown) => this.#settled(envelope, type, context, true, error),
    )
    if (rare.rooms !== null) this.#openRooms(rare)
    if (this.status >= CellStatus.stopping || rare.ending !== null) this.#resumeEnding()
    // Concurrent messages behind this one may run beside it.
    else this.schedule()
  }

  #settled(
    envelope: Envelope,
    type: string,
    context: ActorContextImpl,
    failed: boolean,
    value: unknown,
  ): void {
    if (this.current !== envelope || this.context !== context) {
      // An abandoned handler has come to its end: nobody waits for it, and its effects were fenced.
      this.kernel.counters.staleEffects++
      return
    }
    const rare = this.makeRare()
    if (rare.handlerDeadline !== null) {
      this.kernel.wheel.remove(rare.handlerDeadline)
      rare.handlerDeadline = null
    }
    this.current = null
    this.#state &= ~awaiting
    if (failed) {
      if (!this.#caught(value, envelope, type, context)) return
    } else if (envelope.call !== null) {
      try {
        this.#reply(envelope, envelope.call, value)
      } catch (thrown) {
        if (!this.#caught(thrown, envelope, type, context)) return
      }
    }
    this.#afterHandler(rare)
  }

  #afterHandler(rare: Rare): void {
    if (rare.ending !== null) {
      rare.ending.advance()
      return
    }
    if (this.#head === null && this.status === CellStatus.draining && this.#state === 0)
      this.stop('stop', undefined)
    else this.schedule()
    this.#openRooms(rare)
  }

  /** Handles messages that may run beside the one in progress, as long as they are next in line. */
  #runConcurrent(): void {
    const context = this.context as ActorContextImpl
    const { current } = this
    this.kernel.running = context
    // A message that comes meanwhile puts the cell into the run queue, and so ends this.
    while (this.#state === awaiting && this.#headIsConcurrent()) {
      const envelope = this.#take()
      const { call, message } = envelope
      this.kind.counters.messages++
      if (call !== null) {
        if (call.settled) {
          this.#expired(envelope)
          continue
        }
        call.started = true
      }
      this.current = envelope
      try {
        const handler = this.handlers[message.type]
        const result =
          handler === undefined ? this.#unknown(envelope, message) : handler.call(this.handlers, message)
        if (isThenable(result)) {
          this.makeRare().concurrent++
          if (call !== null) context.owe(call)
          result.then(
            (value) => this.#settledBeside(envelope, context, false, value),
            (error: unknown) => this.#settledBeside(envelope, context, true, error),
          )
        } else if (call !== null) {
          this.#reply(envelope, call, result)
        }
      } catch (thrown) {
        this.current = current
        if (!this.#caught(thrown, envelope, message.type, context)) return
      }
      if (this.context !== context || !context.live) return
      this.current = current
    }
  }

  #settledBeside(envelope: Envelope, context: ActorContextImpl, failed: boolean, value: unknown): void {
    if (this.context !== context || !context.live) {
      this.kernel.counters.staleEffects++
      return
    }
    const rare = this.makeRare()
    rare.concurrent--
    if (envelope.call !== null) context.paid(envelope.call)
    try {
      if (failed) throw value
      if (envelope.call !== null) this.#reply(envelope, envelope.call, value)
    } catch (thrown) {
      if (!this.#caught(thrown, envelope, envelope.message.type, context)) return
    }
    if (rare.concurrent === 0 && !this.isBusy) this.#afterHandler(rare)
  }

  /** Blames a handler that kept the loop: nobody in JavaScript does by default, and a starved heartbeat looks like death. */
  #checkStall(type: string, limitMs: number): void {
    const { kernel } = this
    const nowMs = kernel.clock.monotonicMs()
    const durationMs = nowMs - kernel.handlerSinceMs
    kernel.handlerSinceMs = nowMs
    if (durationMs < limitMs) return
    kernel.counters.stalls++
    kernel.hooks.stalled(this, type, durationMs)
  }

  // ---- Starting ------------------------------------------------------------------------------------------------

  /** Puts a new cell into the run queue: it starts in its first turn. */
  begin(): void {
    this.#state = queued
    this.kernel.queue.push(this)
  }

  /** Keeps a cell that has just been spawned from its first turn: messages queue until `letBegin`. */
  holdBack(): void {
    this.#state |= held
  }

  /** Ends a `holdBack`. Does nothing when the cell was stopped meanwhile. */
  letBegin(): void {
    if (this.status !== CellStatus.starting || this.context !== null) return
    this.#state &= ~held
    if (this.#state === 0) this.begin()
  }

  /** Ends a cell that is held back. What waits in it is the caller's, in order, and no dead letter. */
  takeBack(): Envelope[] {
    const waiting: Envelope[] = []
    while (this.#head !== null) waiting.push(this.#take())
    this.end('stopped')
    return waiting
  }

  /** Calls `done` once this cell has ended, and its name is free; at once when it has. */
  whenEnded(done: () => void): void {
    if (this.status === CellStatus.stopped) done()
    else (this.makeRare().onEnded ??= []).push(done)
  }

  /** Starts the next incarnation of a suspended cell. */
  restart(): void {
    if (this.status !== CellStatus.suspended) return
    this.status = CellStatus.starting
    this.makeRare().incarnation++
    this.#state &= ~held
    if (this.#state === 0) this.begin()
  }

  #start(): void {
    const { kernel, kind } = this
    const context = new ActorContextImpl(this)
    this.context = context
    kernel.running = context
    let result: unknown
    try {
      result = kind.setup(context, this.input instanceof RoutedKey ? undefined : this.input)
    } catch (thrown) {
      this.#startFailed(thrown)
      return
    }
    if (!isThenable(result)) {
      this.#started(result, context)
      return
    }
    result.then(
      (value) => this.#setupSettled(context, false, value),
      (error: unknown) => this.#setupSettled(context, true, error),
    )
    if (this.status === CellStatus.stopped) return
    this.#state = (this.#state & ~inTurn) | awaiting
    const rare = this.makeRare()
    rare.awaitingSinceMs = kernel.loopNow()
    if (kind.handlerTimeoutMs !== Number.POSITIVE_INFINITY) {
      const dueMs = rare.awaitingSinceMs + kind.handlerTimeoutMs
      rare.handlerDeadline = new HandlerDeadline(this, null, 'setup', dueMs)
      kernel.arm(rare.handlerDeadline)
    }
    // It stopped itself before it awaited.
    if (this.status > CellStatus.starting) this.#resumeEnding()
  }

  #setupSettled(context: ActorContextImpl, failed: boolean, value: unknown): void {
    if (this.context !== context || this.#state & inTurn || (this.#state & awaiting) === 0) return
    this.#clearHandlerDeadline()
    this.#state &= ~awaiting
    if (this.rare?.ending !== null && this.rare?.ending !== undefined) {
      if (failed) this.#logLost(toError(value), undefined)
      this.rare.ending.advance()
      return
    }
    if (failed) this.#startFailed(value)
    else this.#started(value, context)
  }

  #started(result: unknown, context: ActorContextImpl): void {
    const { kind, kernel } = this
    if (this.status !== CellStatus.starting) {
      // It stopped itself in its setup.
      this.#leaveTurn()
      return
    }
    const problem = handlersProblem(result, kind, kernel.isolation !== 'reference')
    if (problem !== undefined) {
      this.#startFailed(new TypeError(problem))
      return
    }
    this.handlers = result as HandlerTable
    if (kind.children.length === 0) {
      this.#run()
      return
    }
    this.#state = (this.#state & queued) | held
    const family = this.makeFamily()
    family.startStatic(kind.children, () => {
      if (this.context !== context || !context.live || this.status !== CellStatus.starting) return
      this.#state &= ~held
      this.#run()
    })
  }

  #run(): void {
    const { rare } = this
    this.status = rare !== null && rare.drainTimer !== null ? CellStatus.draining : CellStatus.running
    rare?.onRunning?.()
    this.parent?.family?.childStarted(this)
    this.schedule()
  }

  #startFailed(thrown: unknown): void {
    const message = `Cannot start ${this.path}: its setup failed: ${toError(thrown).message}`
    this.#fail({ error: new StartFailed(message, thrown), messageType: undefined, atStart: true })
  }

  makeFamily(): Family {
    const rare = this.makeRare()
    rare.family ??= this.kernel.hooks.makeFamily(this)
    return rare.family
  }

  // ---- Failing -------------------------------------------------------------------------------------------------

  /** Something came out of a handler. True: a refusal or our own abort, the actor goes on. False: it crashed. */
  #caught(thrown: unknown, envelope: Envelope, type: string, context: ActorContextImpl): boolean {
    const { call } = envelope
    if (thrown instanceof Rejection) {
      if (call === null)
        this.kernel.log.debug({ path: this.path, type, reason: thrown.reason }, 'a tell was refused')
      else call.fail(new Rejected(thrown.reason, thrown.data, { path: this.path, type }))
      return true
    }
    const error = toError(thrown)
    if (error.name === 'AbortError' && this.status >= CellStatus.suspended && context.isAborted) {
      call?.fail(
        new ActorStopped(`${this.path} stopped while it handled "${type}"`, { path: this.path, type }),
      )
      return true
    }
    if (call !== null && !call.settled) {
      // Between nodes an error is its message, never its stack.
      const details = { path: this.path, type, error: error.message }
      call.fail(
        new ActorCrashed(`${this.path} crashed while it handled "${type}": ${error.message}`, details),
      )
    }
    this.#fail({ error, messageType: type, atStart: false })
    return false
  }

  /** Fails from outside a handler: a link, an owned promise, an incarnation's own children. Acts at once. */
  crash(error: Error): void {
    if (this.status > CellStatus.draining || this.context === null || !this.context.live) return
    if (this.#state & inTurn) {
      const { context } = this
      this.kernel.platform.scheduler.afterTurn(() => {
        if (this.context === context) this.crash(error)
      })
      return
    }
    const type = this.current?.message.type
    this.#failCurrentCall(error)
    this.#fail({ error, messageType: type, atStart: false })
  }

  handlerTimedOut(envelope: Envelope | null, type: string): void {
    if (this.current !== envelope || (this.#state & awaiting) === 0) return
    const text = `The handler of "${type}" at ${this.path} did not settle within ${this.kind.handlerTimeoutMs} ms`
    const error = new HandlerTimeout(text, { path: this.path, type })
    this.#failCurrentCall(error)
    this.#fail({ error, messageType: type, atStart: envelope === null })
  }

  #failCurrentCall(error: Error): void {
    const envelope = this.current
    if (envelope === null || envelope.call === null || envelope.call.settled) return
    const details = { path: this.path, type: envelope.message.type, error: error.message }
    const text = `${this.path} crashed while it handled "${envelope.message.type}": ${error.message}`
    envelope.call.fail(new ActorCrashed(text, details))
  }

  /** Fences the incarnation and asks the supervisor what becomes of it. */
  #fail(failure: Failure): void {
    this.kind.counters.crashes++
    this.#clearHandlerDeadline()
    // A handler beside the one in progress may be what failed: both are over.
    this.#failCurrentCall(failure.error)
    this.current = null
    this.context?.fence()
    this.#state = (this.#state & queued) | held
    const { rare } = this
    if (rare !== null) rare.concurrent = 0
    if (this.status >= CellStatus.stopping || (rare !== null && rare.ending !== null)) {
      // It ends already, or is about to be restarted anyway, because of a sibling or of its own will.
      this.#logLost(failure.error, failure.messageType)
      this.#resumeEnding()
      return
    }
    // One that drains comes back for the rest of its queue.
    this.status = CellStatus.suspended
    const family = this.parent?.family
    if (family === null || family === undefined) this.kernel.hooks.rootFailed(failure)
    else family.childFailed(this, failure)
  }

  /** A failure that supervision has nothing to decide about is still told. */
  #logLost(error: Error, messageType: string | undefined): void {
    const { path } = this
    this.kernel.log.error(
      { path, type: messageType, err: error },
      `${path} failed while it stopped: ${error.message}`,
    )
  }

  #clearHandlerDeadline(): void {
    const { rare } = this
    if (rare !== null && rare.handlerDeadline !== null) {
      this.kernel.wheel.remove(rare.handlerDeadline)
      rare.handlerDeadline = null
    }
  }

  // ---- Ending --------------------------------------------------------------------------------------------------

  /** True while a handler is on the stack or awaited, or setup is. */
  get isBusy(): boolean {
    return (this.#state & (inTurn | awaiting)) !== 0 || (this.rare !== null && this.rare.concurrent > 0)
  }

  /**
   * Stops the actor. `stop`: after the message in progress, the queue is dropped; `drain`: after the queue; `kill`:
   * now, without goodbyes. Calls `done` when it has ended. Once for all: later calls only add their `done`.
   */
  stop(mode: StopMode, done: (() => void) | undefined): void {
    if (this.status === CellStatus.stopped) {
      done?.()
      return
    }
    if (done !== undefined) (this.makeRare().onEnded ??= []).push(done)
    if (mode === 'kill') {
      this.kill('stopped')
      return
    }
    if (mode === 'drain' && this.status <= CellStatus.draining) {
      if (this.family !== null) this.makeRare().drained = true
      if (this.#drainsFirst()) return
    }
    this.end('stopped')
  }

  /**
   * True when there is work to finish first. A cell that is not up yet works off its queue when it is; from now on it
   * takes nothing more. What is left after the time a stop may take is dropped as by a stop.
   */
  #drainsFirst(): boolean {
    const isUp = this.status === CellStatus.running || this.status === CellStatus.draining
    if (this.#head === null && (!isUp || (this.#state === 0 && !this.isBusy))) return false
    if (isUp) this.status = CellStatus.draining
    this.#mark = -1
    const rare = this.makeRare()
    rare.drained = true
    if (rare.drainTimer !== null) return true
    const { clock, log } = this.kernel
    const sinceMs = clock.monotonicMs()
    rare.drainTimer = clock.setTimer(sinceMs + this.deadline, () => {
      const { depth, path } = this
      const ageMs = Math.round(clock.monotonicMs() - sinceMs)
      log.error(
        { path, type: this.current?.message.type, depth, ageMs },
        `${path} was not drained in ${ageMs} ms: it is stopped`,
      )
      this.end('stopped')
    })
    return true
  }

  /** The actor stops itself. A permanent one is started again by its supervisor, as the next incarnation. */
  leave(mode: StopMode): void {
    const family = this.parent?.family
    const comesBack =
      this.policy.restart === 'permanent' && mode !== 'kill' && family !== null && family !== undefined
    if (!comesBack || this.status >= CellStatus.stopping) {
      this.stop(mode, undefined)
      return
    }
    // It goes down already, and comes back.
    if (this.status === CellStatus.suspended) return
    this.suspend(() => family.childLeft(this))
  }

  /** Ends for good, in order: handler, children, defer hooks, queue, notices. */
  end(reason: EndReason): void {
    if (this.status >= CellStatus.stopping) return
    this.status = CellStatus.stopping
    this.#endDrain()
    this.context?.abort()
    this.#state |= held
    const ending = this.rare?.ending
    if (ending !== null && ending !== undefined) {
      ending.becomeStop(reason)
      return
    }
    // In its own turn the handler goes first: leaving the turn, or awaiting, goes on from here.
    if ((this.#state & inTurn) === 0) this.#goOnEnding(reason)
  }

  /** Finishes at once when there is nothing to wait for. */
  #goOnEnding(reason: EndReason): void {
    if (
      !this.isBusy &&
      (this.family === null || this.family.size === 0) &&
      this.context?.hasDefers !== true
    ) {
      this.finish(reason)
      return
    }
    const ending = new Ending(this, 'stop', reason, undefined)
    this.makeRare().ending = ending
    ending.advance()
  }

  /** Ends the incarnation but keeps the cell: path, ref and mailbox stay. Calls `done` when it may start again. */
  suspend(done: () => void): void {
    if (this.status >= CellStatus.stopping) return
    if (this.rare !== null && this.rare.ending !== null) {
      this.rare.ending.thenInstead(done)
      return
    }
    this.status = CellStatus.suspended
    this.context?.abort()
    this.#state |= held
    const idle = !this.isBusy && this.context?.hasDefers !== true
    const { family } = this
    if (idle && (family === null || family.size === 0 || (this.kind.keepChildren && !family.hasGivenUp))) {
      this.suspended()
      done()
      return
    }
    const started = new Ending(this, 'suspend', 'failed', done)
    this.makeRare().ending = started
    if (!(this.#state & inTurn)) started.advance()
  }

  /** The incarnation is over. What it had stashed goes back to the head of the queue, in order. */
  suspended(): void {
    this.#releaseHandler('was abandoned')
    this.context?.close()
    this.context = null
    this.handlers = noHandlers
  }

  /** Ends now: nobody is waited for. */
  kill(reason: EndReason): void {
    if (this.status === CellStatus.stopped) return
    this.status = CellStatus.stopping
    this.#state |= held
    this.rare?.ending?.cancel()
    this.context?.fence()
    this.family?.killAll()
    this.finish(reason)
  }

  #endDrain(): void {
    const { rare } = this
    if (rare === null || rare.drainTimer === null) return
    rare.drainTimer.cancel()
    rare.drainTimer = null
  }

  #releaseHandler(what: string): void {
    this.#clearHandlerDeadline()
    if (this.rare !== null) this.rare.concurrent = 0
    const envelope = this.current
    this.current = null
    this.#state &= ~awaiting
    if (envelope !== null && envelope.call !== null && !envelope.call.settled) {
      const { type } = envelope.message
      envelope.call.fail(
        new ActorStopped(`${this.path} ${what} while it handled "${type}"`, { path: this.path, type }),
      )
    }
  }

  /** The end: dead letters, notices to watchers, then the parent. */
  finish(reason: EndReason): void {
    if (this.status === CellStatus.stopped) return
    this.#releaseHandler('stopped')
    const { context, kernel } = this
    context?.close()
    this.context = null
    this.handlers = noHandlers
    this.status = CellStatus.stopped
    if (reason !== 'stopped') this.makeRare().endReason = reason
    this.#state = (this.#state & queued) | held
    while (this.#head !== null) this.#refuse(this.#take(), 'stopped')
    this.kind.counters.living--
    kernel.counters.ended++
    let record = this.#watchers
    this.#watchers = null
    while (record !== null) {
      const next: WatchRecord | null = record.next
      record.next = null
      record.previous = null
      // The parent's watch is to be found until its notice is handled.
      if (record.watcher === this.parent && record.target === this) this.#watchers = record
      record.ended(reason)
      record = next
    }
    const { rare } = this
    if (rare !== null) this.#finishRare(rare)
    kernel.hooks.ended(this, reason)
    this.parent?.family?.childEnded(this)
    if (rare !== null && rare.onEnded !== null) {
      for (const done of rare.onEnded) done()
      rare.onEnded = null
    }
  }

  #finishRare(rare: Rare): void {
    rare.ending?.cancel()
    rare.ending = null
    this.#endDrain()
    if (rare.rooms !== null) {
      for (const waiter of rare.rooms)
        waiter.reject(new ActorStopped(`${this.path} has stopped`, { path: this.path }))
      rare.rooms = null
    }
    for (const records of [rare.watches, rare.links]) {
      for (const record of records?.values() ?? []) {
        record.active = false
        record.target.removeWatch(record)
      }
    }
    rare.watches = null
    rare.links = null
  }

  // ---- Answers that come later ---------------------------------------------------------------------------------

  /** Answers a call whose handler has returned. An Error is what is wrong with the reply. */
  replyLater(call: Call, type: string, value: unknown): Error | undefined {
    const { kernel, kind } = this
    if (kernel.isolation === 'reference') {
      call.succeed(value)
      return undefined
    }
    const reply = kernel.guard.passReply(kind.messages, this.path, type, value, kernel.isolation)
    if (!(reply instanceof Refusal)) {
      call.succeed(reply)
      return undefined
    }
    call.fail(new ActorCrashed(`${this.path} crashed: ${reply.message}`, { path: this.path, type }))
    return new InvalidMessage(reply.message, { path: this.path, field: reply.path })
  }

  refuseLater(call: Call, reason: string, data: unknown): void {
    call.fail(new Rejected(reason, data, { path: this.path, type: call.messageType }))
  }

  /** The incarnation that owed the answer is gone. */
  dropLater(call: Call): void {
    const details = { path: this.path, type: call.messageType }
    if (this.isEnding)
      call.fail(new ActorStopped(`${this.path} stopped before it answered "${call.messageType}"`, details))
    else call.fail(new ActorCrashed(`${this.path} crashed before it answered "${call.messageType}"`, details))
  }

  setHandlers(handlers: unknown): void {
    const problem = handlersProblem(handlers, this.kind, this.kernel.isolation !== 'reference')
    if (problem !== undefined) throw new TypeError(problem)
    this.handlers = handlers as HandlerTable
  }

  // ---- Watching ------------------------------------------------------------------------------------------------

  /** Adds `record` to those told when this cell ends; at once, when it has. */
  addWatcher(record: WatchRecord): void {
    if (this.status === CellStatus.stopped) {
      if (record.watcher === this.parent && record.target === this) this.#watchers = record
      record.ended(this.endReason ?? 'stopped')
      return
    }
    record.next = this.#watchers
    if (this.#watchers !== null) this.#watchers.previous = record
    this.#watchers = record
  }

  removeWatcher(record: WatchRecord): void {
    if (record.previous !== null) record.previous.next = record.next
    else if (this.#watchers === record) this.#watchers = record.next
    if (record.next !== null) record.next.previous = record.previous
    record.next = null
    record.previous = null
  }

  /** Something this cell watches has ended. A notice is never dropped: the mailbox's bound does not hold for it. */
  watchEnded(record: WatchRecord): void {
    if (record.toMessage !== undefined) {
      if (!this.deliverOwn(record, EnvelopeKind.deferred, false)) this.forgetWatch(record)
      return
    }
    // Between two incarnations nobody is there to fail: the link breaks in a turn of the next one.
    if (this.status <= CellStatus.draining && (this.context === null || !this.context.live)) {
      this.deliverOwn(record, EnvelopeKind.deferred, false)
      return
    }
    record.active = false
    this.forgetWatch(record)
    this.crash(linkBroken(record))
  }

  /** This cell's watch on `target`. A watch on its own child stands on the child, which saves a map entry each. */
  watchOn(target: Ref, isLink: boolean): WatchRecord | undefined {
    if (!(target instanceof Cell) || target.parent !== this) {
      const { rare } = this
      return (isLink ? rare?.links : rare?.watches)?.get(watchKey(target))
    }
    let record = target.#watchers
    while (
      record !== null &&
      (record.watcher !== this || record.target !== target || record.isLink !== isLink)
    ) {
      record = record.next
    }
    return record ?? undefined
  }

  rememberWatch(record: WatchRecord): void {
    const { target } = record
    if (target instanceof Cell && target.parent === this) return
    const rare = this.makeRare()
    const records = record.isLink ? (rare.links ??= new Map()) : (rare.watches ??= new Map())
    records.set(watchKey(target), record)
  }

  forgetWatch(record: WatchRecord): void {
    const { target } = record
    if (target instanceof Cell && target.parent === this) {
      if (target.status === CellStatus.stopped) target.removeWatcher(record)
      return
    }
    const { rare } = this
    const records = record.isLink ? rare?.links : rare?.watches
    const key = watchKey(target)
    if (records?.get(key) === record) records.delete(key)
  }

  // ---- Room ----------------------------------------------------------------------------------------------------

  /** Resolves when fewer than `lowWater` messages wait. */
  override room(options?: RoomOptions): Promise<void> {
    const signal = options?.signal
    if (this.status > CellStatus.suspended) {
      return Promise.reject(new ActorStopped(`${this.path} has stopped or is stopping`, { path: this.path }))
    }
    if (this.depth < this.kind.lowWater) return Promise.resolve()
    const { kernel } = this
    return new Promise<void>((resolve, reject) => {
      kernel.waiters++
      const abort = (): void => {
        const { rare } = this
        if (rare !== null && rare.rooms !== null) rare.rooms = rare.rooms.filter((other) => other !== waiter)
        kernel.waiters--
        reject(
          new Aborted(`Waiting for room at ${this.path} was aborted`, { path: this.path }, signal?.reason),
        )
      }
      const waiter: RoomWaiter = {
        resolve: () => {
          kernel.waiters--
          signal?.removeEventListener('abort', abort)
          resolve()
        },
        reject: (error) => {
          kernel.waiters--
          signal?.removeEventListener('abort', abort)
          reject(error)
        },
      }
      if (signal?.aborted === true) {
        abort()
        return
      }
      signal?.addEventListener('abort', abort, { once: true })
      ;(this.makeRare().rooms ??= []).push(waiter)
    })
  }

  #openRooms(rare: Rare): void {
    if (rare.rooms === null || this.depth >= this.kind.lowWater) return
    const { rooms } = rare
    rare.rooms = null
    for (const waiter of rooms) waiter.resolve()
  }

  // ---- Stash ---------------------------------------------------------------------------------------------------

  /** Puts `envelopes` before everything that waits, in their order. They count against the bound. */
  putBack(envelopes: readonly Envelope[]): void {
    const waiting: Envelope[] = []
    while (this.#head !== null) waiting.push(this.#take())
    for (const envelope of [...envelopes, ...waiting]) {
      const full = this.depth >= this.kind.messagesMax && isDroppable(envelope) && !this.isEnding
      if (full) this.#refuse(envelope, 'overflow')
      else this.#link(envelope)
    }
    this.schedule()
  }

  refuseStashed(envelope: Envelope): void {
    this.#refuse(envelope, 'stash-overflow')
  }

  /** Tries an envelope on this cell as on any ref: pools pass on what they were sent. */
  forward(envelope: Envelope): boolean {
    return this.deliver(new Envelope(envelope.message, envelope.sender, envelope.call, envelope.kind))
  }
}

/** The start input of an entity: it has a key and no input. */
export class RoutedKey {
  readonly key: string
  constructor(key: string) {
    this.key = key
  }
}

/** Ends a handler that takes too long. */
class HandlerDeadline implements WheelEntry {
  wheelSlot = -1
  wheelPrevious: WheelEntry | null = null
  wheelNext: WheelEntry | null = null
  readonly cell: Cell
  readonly envelope: Envelope | null
  readonly type: string
  deadlineMs: number

  constructor(cell: Cell, envelope: Envelope | null, type: string, deadlineMs: number) {
    this.cell = cell
    this.envelope = envelope
    this.type = type
    this.deadlineMs = deadlineMs
  }

  expire(): void {
    this.cell.handlerTimedOut(this.envelope, this.type)
  }
}

/** Refs to one actor may be many objects: all unbound refs to a path, and all refs to one actor elsewhere, are one. */
function watchKey(target: Ref): Ref | string {
  return target instanceof Cell ? target : target.toString()
}

/** What is the actor's own and comes only once is kept, however full the mailbox is. */
function isDroppable(envelope: Envelope): boolean {
  if (envelope.kind === EnvelopeKind.user) return true
  return envelope.kind === EnvelopeKind.deferred && (envelope.message as Deferred).droppable
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return (
    typeof value === 'object' && value !== null && typeof (value as { then?: unknown }).then === 'function'
  )
}

function handlersProblem(handlers: unknown, kind: ActorKind, thorough: boolean): string | undefined {
  if (typeof handlers !== 'object' || handlers === null) {
    return `setup of "${kind.name}" must return an object with one handler per message, got ${String(handlers)}`
  }
  if (!thorough) return undefined
  for (const type of [...Object.keys(kind.messages), ...Object.keys(kind.own ?? {})]) {
    if (typeof (handlers as Record<string, unknown>)[type] !== 'function') {
      return `setup of "${kind.name}" returned no handler for "${type}"`
    }
  }
  return undefined
}
