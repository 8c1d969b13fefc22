/**
 * `ctx`: what an incarnation may do. Everything an actor does leaves through it, because after an `await` there is no
 * other way to know who is acting. When the incarnation ends, its context is fenced: what an abandoned handler still
 * tries is dropped, counted and logged once. Without this fence "restart" would be a lie in JavaScript.
 */
import type { Logger } from '../platform/log.ts'
import type { Random } from '../platform/platform.ts'
import type { Store } from '../platform/store.ts'
import { ActorError, Expired, Restarted, toError } from './actor-error.ts'
import { checkDefinition, type AnyDefinition, type Definition, type Handlers } from './behaviour.ts'
import { PendingAsk, type Call } from './call.ts'
import { childPolicy, type ChildOptions } from './child-spec.ts'
import type { Cell } from './cell.ts'
import { Envelope, EnvelopeKind, type Deferred, type Message, type Sender } from './envelope.ts'
import type { StopMode } from './family.ts'
import { Refusal } from './isolation.ts'
import { LocalRef } from './local-ref.ts'
import type {
  AnyMessage,
  AskKeys,
  MessageDefs,
  MessageOf,
  Protocol,
  ReplyOf,
  TellMessage,
} from './protocol.ts'
import { checkAskOptions, makeClient, sendAsk } from './ref.ts'
import type { ActorRef, AnyActorRef, AskOptions, Client, Ref } from './ref.ts'
import type { ServiceKey } from './service.ts'
import { TimersImpl, type Timers } from './timers.ts'
import { WatchRecord, type EndReason } from './watch.ts'

declare const laterReply: unique symbol

/** Returned by a handler that answers later, through `reply` or `fail`. */
export interface Later<R> {
  readonly [laterReply]?: (reply: R) => R
}

/** The answer that is still owed. Exactly one of the two counts, and only the first time. */
export interface LaterReply<R> extends Later<R> {
  readonly reply: (value: R) => void
  /** A typed refusal: the asker gets `Rejected`. */
  readonly fail: (reason: string, data?: unknown) => void
}

/** Returned by a handler that set its message aside: fits whatever the message is answered with. */
export interface Stashed {
  readonly [laterReply]?: never
}

/** The message in progress, as its handler may look at it. */
export interface CurrentCall {
  /** Aborted when the asker gave up or the deadline passed. Never aborted for a tell. */
  readonly signal: AbortSignal
  /** Monotonic, as `ctx.now()`. `Infinity` for a tell. */
  readonly deadlineMs: number
  /** Path of the sender; `undefined` when it came from outside of any actor. */
  readonly from: string | undefined
  /** Lets the handler return now and answer later: `const owed = ctx.call().later<number>(); ...; return owed`. */
  readonly later: <R>() => LaterReply<R>
}

/** Runs when an incarnation ends, to stop or to restart. Awaited. */
export type DeferHook = (why: 'stop' | 'restart') => void | Promise<void>

/** A message the actor may send to itself: of its protocol, or its own. */
export type SelfMessage<M, O> = AnyMessage<M & O>

/** The context of an actor that takes the messages `M` and its own messages `O`. */
export interface ActorContext<M extends MessageDefs, O = {}> {
  readonly self: ActorRef<M>
  readonly path: string
  /** The key of an entity; `undefined` for an actor that was spawned by name. */
  readonly key: string | undefined
  /** Counts restarts, from 0. */
  readonly incarnation: number
  readonly log: Logger
  /** Aborted when the incarnation begins to end. */
  readonly signal: AbortSignal
  readonly timers: Timers<SelfMessage<M, O>>
  /** A stream of chance of this incarnation's own. */
  readonly random: Random

  /** Sends in this actor's name. As `ref.tell`: never throws; false when refused here and now. */
  readonly tell: <T extends MessageDefs>(ref: ActorRef<T>, message: TellMessage<T>) => boolean
  /**
   * Asks in this actor's name and holds the mailbox while it is awaited. The deadline of the message in progress is the
   * upper bound; a call cycle is refused at once.
   */
  readonly ask: <T extends MessageDefs, K extends AskKeys<T>>(
    ref: ActorRef<T>,
    message: MessageOf<T, K> & { readonly type: K },
    options?: AskOptions,
  ) => Promise<ReplyOf<T[K]>>
  /**
   * Asks without holding the mailbox: the reply comes back as an own message. Without `onError` a failed ask crashes
   * this actor.
   */
  readonly request: <T extends MessageDefs, K extends AskKeys<T>>(
    ref: ActorRef<T>,
    message: MessageOf<T, K> & { readonly type: K },
    onReply: (reply: ReplyOf<T[K]>) => SelfMessage<M, O>,
    onError?: (error: ActorError) => SelfMessage<M, O>,
    options?: AskOptions,
  ) => void
  /** Methods for a ref, sending as this actor. */
  readonly client: <T extends MessageDefs>(ref: ActorRef<T>) => Client<T>

  /**
   * Starts a child. It starts in its first turn; messages sent before wait for it.
   * @throws {ActorError} RUNTIME_DUPLICATE_NAME, or RUNTIME_STOPPED when this actor is stopping
   */
  readonly spawn: <T extends MessageDefs, I>(
    name: string,
    definition: Definition<T, I>,
    ...rest: void extends I ? [options?: ChildOptions] : [input: I, options?: ChildOptions]
  ) => ActorRef<T>
  /** Stops a child, or without a ref this actor itself. Does not wait: watch it to know when it has ended. */
  readonly stop: (child?: AnyActorRef, mode?: StopMode) => void
  /** The child of that name, when it lives. */
  readonly child: <T extends MessageDefs>(protocol: Protocol<T>, name: string) => ActorRef<T> | undefined

  /**
   * One notice when `ref` ends, as the message `toMessage` returns: at once when it is dead already. Survives this
   * actor's restart. Watching twice replaces the message.
   */
  readonly watch: (ref: AnyActorRef, toMessage: (reason: EndReason) => SelfMessage<M, O>) => void
  /** No notice comes after this, even if it is queued already. A link is undone too. */
  readonly unwatch: (ref: AnyActorRef) => void
  /** Watches `ref` and fails with `Linked` when it ends. */
  readonly link: (ref: AnyActorRef) => void

  /** The result of `promise` comes back as an own message. Without `onError` a rejection crashes this actor. */
  readonly pipe: <T>(
    promise: Promise<T>,
    onValue: (value: T) => SelfMessage<M, O>,
    onError?: (error: unknown) => SelfMessage<M, O>,
  ) => void
  /** Owns background work: a rejection crashes this actor instead of the process. */
  readonly run: (promise: Promise<unknown>) => void
  /** Runs `hook` when this incarnation ends; last in, first out. */
  readonly defer: (hook: DeferHook) => void

  /** Sets the message in progress aside. Legal before the first await. Return what it returns. */
  readonly stash: () => Stashed & void
  /** Puts all stashed messages back to the head of the mailbox, in their order. */
  readonly unstashAll: () => void
  /** Other handlers from the next message on, until the next restart. */
  readonly become: (handlers: Handlers<M & O>) => void
  /** Sends `message` to this actor whenever it got none for `timeoutMs`. `undefined` ends that. */
  readonly setReceiveTimeout: (timeoutMs: number | undefined, message?: SelfMessage<M, O>) => void

  /** The message in progress. Legal before the first await. */
  readonly call: () => CurrentCall
  /** Monotonic milliseconds. */
  readonly now: () => number
  /** Wall-clock milliseconds since 1970: for people, never for timeouts. */
  readonly wallMs: () => number
  /** A service that was given to the system. @throws {ActorError} RUNTIME_NO_SUCH_SERVICE */
  readonly service: <T>(key: ServiceKey<T>) => T
  /** The part of the node's store under `scope`. */
  readonly store: (scope: string) => Store
  /** An unbound ref: finds whoever lives at `path` at each send. */
  readonly ref: <T extends MessageDefs>(protocol: Protocol<T>, path: string) => ActorRef<T>
}

/** What most incarnations never use. */
interface Extras {
  controller: AbortController | null
  timers: TimersImpl | null
  stash: Envelope[] | null
  defers: DeferHook[] | null
  laters: Set<Call> | null
  receiveTimeout: ReceiveTimeout | null
  random: Random | null
  log: Logger | null
}

/** @internal One incarnation. */
export class ActorContextImpl implements Sender {
  readonly cell: Cell
  /** False once the incarnation is fenced. */
  live = true
  /** Asks this incarnation waits for, newest first. */
  asks: PendingAsk | null = null
  #extras: Extras | null = null

  constructor(cell: Cell) {
    this.cell = cell
  }

  get senderPath(): string {
    return this.cell.path
  }

  get self(): LocalRef {
    return this.cell.ref
  }

  get path(): string {
    return this.cell.path
  }

  get key(): string | undefined {
    return this.cell.key
  }

  get incarnation(): number {
    return this.cell.incarnation
  }

  get log(): Logger {
    const extras = this.#makeExtras()
    extras.log ??= this.cell.kind.log.child({ path: this.cell.path })
    return extras.log
  }

  get signal(): AbortSignal {
    const extras = this.#makeExtras()
    if (extras.controller === null) {
      extras.controller = new AbortController()
      if (!this.live || this.cell.isGoing) extras.controller.abort()
    }
    return extras.controller.signal
  }

  get isAborted(): boolean {
    return this.#extras?.controller?.signal.aborted === true
  }

  get timers(): TimersImpl {
    const extras = this.#makeExtras()
    extras.timers ??= new TimersImpl(this)
    return extras.timers
  }

  get random(): Random {
    const extras = this.#makeExtras()
    const { cell } = this
    extras.random ??= cell.kernel.random.fork(`${cell.path}#${cell.uid}.${cell.incarnation}`)
    return extras.random
  }

  // ---- Sending -------------------------------------------------------------------------------------------------

  /** Hot (bench: ping-pong, counting). */
  tell(ref: Ref, message: Message): boolean {
    if (!this.live) return this.checkLive('tell')
    this.cell.kernel.sends++
    return ref.deliver(new Envelope(message, this, null, EnvelopeKind.user))
  }

  /** Hot (bench: ask-1, ask-64). */
  ask(ref: Ref, message: Message, options?: AskOptions): Promise<unknown> {
    const { current } = this.cell
    return this.#ask(ref, message, options, current)
  }

  #ask(
    ref: Ref,
    message: Message,
    options: AskOptions | undefined,
    during: Envelope | null,
  ): Promise<unknown> {
    const { cell } = this
    const { kernel } = cell
    if (!this.live) {
      this.checkLive('ask')
      const text = `Cannot ask "${message.type}" of ${ref.path}: the asking incarnation of ${cell.path} is gone`
      return Promise.reject(new Restarted(text, { path: ref.path, type: message.type }))
    }
    let timeoutMs = kernel.askTimeoutMs
    if (options !== undefined) {
      const problem = checkAskOptions(options)
      if (problem !== undefined) return Promise.reject(problem)
      if (options.timeoutMs !== undefined) timeoutMs = options.timeoutMs
    }
    kernel.sends++
    const nowMs = kernel.loopNow()
    let deadlineMs = nowMs + timeoutMs
    if (during !== null && during.call !== null && during.call.deadlineMs < deadlineMs) {
      deadlineMs = during.call.deadlineMs
      if (deadlineMs <= nowMs) {
        const text = `Cannot ask "${message.type}" of ${ref.path}: the deadline of the message in progress has passed`
        return Promise.reject(new Expired(text, { path: ref.path, type: message.type }))
      }
    }
    const call = new PendingAsk(
      kernel,
      deadlineMs,
      this,
      during === null ? null : cell,
      during,
      message.type,
      ref,
    )
    return sendAsk(ref, call, message, this, options)
  }

  request(
    ref: Ref,
    message: Message,
    onReply: (reply: unknown) => Message,
    onError?: (error: unknown) => Message,
    options?: AskOptions,
  ): void {
    // Nobody is held while it waits: the chain and the deadline of the message in progress end here.
    this.pipe(this.#ask(ref, message, options, null), onReply, onError)
  }

  client(ref: Ref): unknown {
    return makeClient(
      ref,
      (to, message, options) => this.ask(to, message, options),
      (to, message) => this.tell(to, message),
    )
  }

  pipe(
    promise: Promise<unknown>,
    onValue: (value: unknown) => Message,
    onError?: (error: unknown) => Message,
  ): void {
    promise.then(
      (value) => this.#deliverResult(() => onValue(value)),
      (error: unknown) => {
        // An ask of an incarnation that is gone has nobody to tell.
        if (!this.live) this.cell.kernel.counters.staleEffects++
        else if (onError === undefined) this.cell.crash(toError(error))
        else this.#deliverResult(() => onError(error))
      },
    )
  }

  run(promise: Promise<unknown>): void {
    promise.catch((error: unknown) => {
      if (this.live) this.cell.crash(toError(error))
      else this.checkLive('run')
    })
  }

  #deliverResult(makeMessage: () => Message): void {
    if (!this.checkLive('pipe')) return
    try {
      const message = makeMessage()
      this.checkOwnMessage(message, 'pipe')
      this.cell.deliverOwn(new PipeResult(this, message), EnvelopeKind.deferred, false)
    } catch (error) {
      this.cell.crash(toError(error))
    }
  }

  // ---- Children ------------------------------------------------------------------------------------------------

  /** Hot (bench: spawn): arguments by count, because a rest array would be made for every child. */
  spawn(name: string, definition: AnyDefinition, first?: unknown, second?: unknown): LocalRef {
    const { cell } = this
    if (!this.live || cell.isGoing) {
      this.checkLive('spawn')
      throw new ActorError(
        'RUNTIME_STOPPED',
        `Cannot spawn "${name}" under ${cell.path}: it is stopping or has stopped`,
      )
    }
    let input: unknown
    let options: ChildOptions | undefined
    if (arguments.length === 3 && definition.body.setup.length >= 2) input = first
    else if (arguments.length > 2) {
      ;({ input, options } = spawnArguments(definition, arguments.length > 3 ? [first, second] : [first]))
    }
    return cell.makeFamily().spawn(name, definition, input, childPolicy(options, 'transient')).ref
  }

  stop(child?: Ref, mode: StopMode = 'stop'): void {
    const { cell } = this
    if (!this.checkLive('stop')) return
    if (child === undefined || child === cell.ref) {
      cell.leave(mode)
      return
    }
    const target = child instanceof LocalRef ? child.cell : undefined
    if (target === undefined || target.parent !== cell) {
      throw illegal(
        `Cannot stop ${child.path} from ${cell.path}: only its parent, or the system, stops an actor`,
      )
    }
    target.stop(mode, undefined)
  }

  child(_protocol: Protocol, name: string): LocalRef | undefined {
    return this.cell.family?.get(name)?.ref
  }

  // ---- Watching ------------------------------------------------------------------------------------------------

  watch(ref: Ref, toMessage: (reason: EndReason) => Message): void {
    this.#watch(ref, toMessage)
  }

  link(ref: Ref): void {
    this.#watch(ref, undefined)
  }

  #watch(ref: Ref, toMessage: ((reason: EndReason) => Message) | undefined): void {
    if (!this.checkLive('watch')) return
    const { cell } = this
    this.#unwatch(ref, toMessage === undefined)
    const record = new WatchRecord(cell, ref, toMessage)
    cell.rememberWatch(record)
    ref.addWatch(record)
  }

  unwatch(ref: Ref): void {
    if (!this.checkLive('unwatch')) return
    this.#unwatch(ref, false)
    this.#unwatch(ref, true)
  }

  #unwatch(ref: Ref, isLink: boolean): void {
    const record = this.cell.watchOn(ref, isLink)
    if (record === undefined) return
    record.active = false
    this.cell.forgetWatch(record)
    ref.removeWatch(record)
  }

  // ---- The message in progress ---------------------------------------------------------------------------------

  call(): CurrentCall {
    const envelope = this.#currentEnvelope('call')
    const { call, sender } = envelope
    return {
      get signal() {
        return call === null ? neverAborted : call.signal
      },
      deadlineMs: call === null ? Number.POSITIVE_INFINITY : call.deadlineMs,
      from: sender === null ? undefined : sender.senderPath,
      later: <R>() => this.#later<R>(envelope),
    }
  }

  /** A handler beside the one in progress still owes this answer. */
  owe(call: Call): void {
    const extras = this.#makeExtras()
    extras.laters ??= new Set()
    extras.laters.add(call)
  }

  paid(call: Call): void {
    this.#extras?.laters?.delete(call)
  }

  #later<R>(envelope: Envelope): LaterReply<R> {
    const { call, message } = envelope
    if (call === null)
      throw illegal(`Cannot answer "${message.type}" later: it was told, nobody waits for an answer`)
    const { cell } = this
    const extras = this.#makeExtras()
    const laters = (extras.laters ??= new Set())
    laters.add(call)
    return new LaterReplyImpl(
      (value) => {
        if (!laters.delete(call) || call.settled) return
        const problem = cell.replyLater(call, message.type, value)
        if (problem !== undefined) cell.crash(problem)
      },
      (reason, data) => {
        if (laters.delete(call) && !call.settled) cell.refuseLater(call, reason, data)
      },
    )
  }

  stash(): Stashed & void {
    const envelope = this.#currentEnvelope('stash')
    const extras = this.#makeExtras()
    extras.stash ??= []
    if (extras.stash.length >= this.cell.kind.stashMax) this.cell.refuseStashed(envelope)
    else extras.stash.push(envelope)
    return stashed as unknown as Stashed & void
  }

  unstashAll(): void {
    const stash = this.#extras?.stash
    if (stash === null || stash === undefined || !this.checkLive('unstashAll')) return
    if (this.#extras !== null) this.#extras.stash = null
    this.cell.putBack(stash)
  }

  #currentEnvelope(what: string): Envelope {
    const { cell } = this
    const { current } = cell
    if (cell.kernel.running !== this || current === null) {
      throw illegal(
        `Cannot use ctx.${what}() here: it is about the message in progress, so call it in the handler before the ` +
          `first await`,
      )
    }
    return current
  }

  become(handlers: unknown): void {
    if (!this.checkLive('become')) return
    this.cell.setHandlers(handlers)
  }

  setReceiveTimeout(timeoutMs: number | undefined, message?: Message): void {
    if (!this.checkLive('setReceiveTimeout')) return
    const extras = this.#makeExtras()
    extras.receiveTimeout?.cancel()
    extras.receiveTimeout = null
    const rare = this.cell.makeRare()
    rare.receiveTimeout = null
    if (timeoutMs === undefined) return
    if (!(timeoutMs > 0) || message === undefined) {
      throw new RangeError(
        `Cannot set a receive timeout of ${timeoutMs}: give a time above 0 and the message to send`,
      )
    }
    this.checkOwnMessage(message, 'receive timeout')
    extras.receiveTimeout = new ReceiveTimeout(this.cell, timeoutMs, message)
    rare.receiveTimeout = extras.receiveTimeout
  }

  // ---- What the machine gives ----------------------------------------------------------------------------------

  now(): number {
    return this.cell.kernel.clock.monotonicMs()
  }

  wallMs(): number {
    return this.cell.kernel.clock.wallMs()
  }

  service<T>(key: ServiceKey<T>): T {
    const { services } = this.cell.kernel
    if (!services.has(key.name)) {
      const known = [...services.keys()].join(', ')
      throw new ActorError(
        'RUNTIME_NO_SUCH_SERVICE',
        `Cannot use service "${key.name}" in ${this.cell.path}: the system was started with ` +
          `${known === '' ? 'no services' : known}; add it to its "services" option`,
      )
    }
    return services.get(key.name) as T
  }

  store(scope: string): Store {
    return this.cell.kernel.store.scope(scope)
  }

  ref(protocol: Protocol, path: string): Ref {
    return this.cell.kernel.hooks.refFor(path, protocol)
  }

  // ---- The incarnation's own life ------------------------------------------------------------------------------

  defer(hook: DeferHook): void {
    if (!this.checkLive('defer')) return
    const extras = this.#makeExtras()
    ;(extras.defers ??= []).push(hook)
  }

  get hasDefers(): boolean {
    const defers = this.#extras?.defers
    return defers !== null && defers !== undefined && defers.length > 0
  }

  takeDefer(): DeferHook | undefined {
    return this.#extras?.defers?.pop()
  }

  /** True while the incarnation lives; else the effect is dropped, counted and logged once. */
  checkLive(effect: string): boolean {
    if (this.live) return true
    const { cell } = this
    cell.kernel.counters.staleEffects++
    cell.kernel.hooks.staleEffect(cell.path, cell.kind, effect)
    return false
  }

  /** Only messages of the protocol, or the actor's own, come back to it. */
  checkOwnMessage(message: Message, source: string): void {
    const { cell } = this
    const { kernel, kind } = cell
    if (kernel.isolation === 'reference') return
    const own = kind.own !== null && Object.hasOwn(kind.own, message.type)
    const problem = kernel.guard.check(own ? kind.own : kind.messages, `${cell.path} (${source})`, message)
    if (problem instanceof Refusal) throw new TypeError(problem.message)
  }

  /** The incarnation begins to end: whoever listens may hurry. */
  abort(): void {
    this.#extras?.controller?.abort()
  }

  /** From now on nothing this incarnation does has an effect. */
  fence(): void {
    if (!this.live) return
    this.live = false
    const { cell } = this
    let call = this.asks
    while (call !== null) {
      const next: PendingAsk | null = call.ownerNext
      const text = `${cell.path} restarted or stopped while it waited for "${call.messageType}" from ${call.targetPath}`
      call.giveUp(new Restarted(text, { path: call.targetPath, type: call.messageType }))
      call = next
    }
    const extras = this.#extras
    if (extras === null) return
    extras.controller?.abort()
    extras.timers?.cancelAll()
    extras.receiveTimeout?.cancel()
    if (cell.rare !== null) cell.rare.receiveTimeout = null
    if (extras.laters !== null) {
      for (const owed of extras.laters) cell.dropLater(owed)
      extras.laters = null
    }
  }

  /** Fences, and gives the stash back. */
  close(): void {
    this.fence()
    const stash = this.#extras?.stash
    if (this.#extras !== null) this.#extras.stash = null
    if (stash !== null && stash !== undefined) this.cell.putBack(stash)
  }

  #makeExtras(): Extras {
    this.#extras ??= {
      controller: null,
      timers: null,
      stash: null,
      defers: null,
      laters: null,
      receiveTimeout: null,
      random: null,
      log: null,
    }
    return this.#extras
  }
}

/** @internal Tells a start's input from its options: only a definition that takes an input has one. */
export function spawnArguments(
  definition: AnyDefinition,
  rest: readonly unknown[],
  names: ReadonlySet<string> = optionNames,
): { readonly input: unknown; readonly options: ChildOptions | undefined } {
  checkDefinition('The second argument', definition)
  if (rest.length >= 2) return { input: rest[0], options: rest[1] as ChildOptions | undefined }
  if (rest.length === 0) return noArguments
  // `setup` with a second parameter takes an input. A parameter with a default does not count in `length`, so the single
  // argument is looked at: options are nothing but their own fields.
  return definition.body.setup.length >= 2 || !looksLikeOptions(rest[0], names)
    ? { input: rest[0], options: undefined }
    : { input: undefined, options: rest[0] as ChildOptions | undefined }
}

const optionNames: ReadonlySet<string> = new Set(['restart', 'backoff', 'shutdownMs', 'onError'])

function looksLikeOptions(value: unknown, names: ReadonlySet<string>): boolean {
  if (value === undefined) return true
  return typeof value === 'object' && value !== null && Object.keys(value).every((name) => names.has(name))
}

/** @internal What a handler returns when the answer comes later. */
export class LaterReplyImpl implements LaterReply<never> {
  readonly reply: (value: unknown) => void
  readonly fail: (reason: string, data?: unknown) => void
  constructor(reply: (value: unknown) => void, fail: (reason: string, data?: unknown) => void) {
    this.reply = reply
    this.fail = fail
  }
}

/** A result of `ctx.pipe` or `ctx.request`: dropped, and counted, when its incarnation is gone by its turn. */
class PipeResult implements Deferred {
  readonly #context: ActorContextImpl
  readonly #message: Message

  constructor(context: ActorContextImpl, message: Message) {
    this.#context = context
    this.#message = message
  }

  get type(): string {
    return this.#message.type
  }

  get droppable(): boolean {
    return false
  }

  open(): Message | undefined {
    return this.#context.checkLive('pipe') ? this.#message : undefined
  }
}

const noArguments = Object.freeze({ input: undefined, options: undefined })
const neverAborted = new AbortController().signal

/** Returned by `ctx.stash()`: the handler has dealt with the message, and nobody is answered. */
export const stashed: unique symbol = Symbol('understudy.stashed')

function illegal(message: string): ActorError {
  return new ActorError('RUNTIME_ILLEGAL_CALL', message)
}

/** Sends a message to an actor that got none for a while. Re-armed lazily: a message costs one store. */
export class ReceiveTimeout implements Deferred {
  readonly type: string
  readonly droppable = true
  readonly #cell: Cell
  readonly #timeoutMs: number
  readonly #message: Message
  #timer: { readonly cancel: () => void } | undefined
  #active = true
  lastMessageMs: number

  constructor(cell: Cell, timeoutMs: number, message: Message) {
    this.type = message.type
    this.#cell = cell
    this.#timeoutMs = timeoutMs
    this.#message = message
    this.lastMessageMs = cell.kernel.clock.monotonicMs()
    this.#arm()
  }

  cancel(): void {
    this.#active = false
    this.#timer?.cancel()
  }

  /** Nothing when it was ended while it waited. */
  open(): Message | undefined {
    if (!this.#active) return undefined
    this.#arm()
    return this.#message
  }

  #arm(): void {
    this.#timer = this.#cell.kernel.clock.setTimer(this.lastMessageMs + this.#timeoutMs, () => this.#fire())
  }

  #fire(): void {
    if (!this.#active) return
    const { clock } = this.#cell.kernel
    // A handler awaits, or messages wait for their turn: that is not silence.
    const isBusy = !this.#cell.isIdle
    if (this.lastMessageMs + this.#timeoutMs > clock.monotonicMs() || isBusy) {
      if (isBusy) this.lastMessageMs = clock.monotonicMs()
      this.#arm()
      return
    }
    this.lastMessageMs = clock.monotonicMs()
    this.#cell.deliverOwn(this, EnvelopeKind.deferred, true)
  }
}
