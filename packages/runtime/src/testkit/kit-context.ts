/** `ctx` as the behaviour kit gives it: everything that leaves through it becomes an effect. */
import { ActorError, InvalidMessage, Restarted, toError } from '../actor/actor-error.ts'
import type { AnyDefinition } from '../actor/behaviour.ts'
import { childPolicy } from '../actor/child-spec.ts'
import {
  LaterReplyImpl,
  spawnArguments,
  stashed,
  type ActorContext,
  type CurrentCall,
  type DeferHook,
  type LaterReply,
} from '../actor/context.ts'
import type { Message } from '../actor/envelope.ts'
import type { StopMode } from '../actor/family.ts'
import { Refusal } from '../actor/isolation.ts'
import type { MessageDefs, Protocol } from '../actor/protocol.ts'
import { checkAskOptions, makeClient, type AskOptions, type Ref } from '../actor/ref.ts'
import type { ServiceKey } from '../actor/service.ts'
import type { Timers } from '../actor/timers.ts'
import type { EndReason } from '../actor/watch.ts'
import type { Logger, LogLevel } from '../platform/log.ts'
import type { Random } from '../platform/platform.ts'
import type { Store } from '../platform/store.ts'
import type { Effect, Outcome } from './effect.ts'
import { illegal, type KitRef } from './kit-ref.ts'
import type { KitEnvelope, KitState } from './kit-state.ts'

/** What a context needs of the engine: to have messages handled. */
export interface KitTurns {
  /** A message of the actor's own making: now, or when the handler in progress is done. */
  readonly own: (makeMessage: () => Message) => Outcome
  /** As `own`, with its outcome as an effect: nobody in the test waits for it. */
  readonly ownUnasked: (makeMessage: () => Message) => void
  /** They are handled next, in their order. */
  readonly putBack: (envelopes: readonly KitEnvelope[]) => void
  readonly setHandlers: (handlers: unknown) => void
}

export class KitContext implements Record<keyof ActorContext<MessageDefs>, unknown> {
  readonly #kit: KitState & KitTurns
  #live = true
  controller: AbortController | undefined
  readonly incarnation: number
  readonly random: Random
  readonly log: Logger
  readonly timers: Timers<Message>

  constructor(kit: KitState & KitTurns) {
    this.#kit = kit
    this.incarnation = kit.incarnation
    this.random = kit.random.fork(`${kit.self.path}.${kit.incarnation}`)
    this.log = this.#makeLog({})
    this.timers = this.#makeTimers()
  }

  get self(): KitRef {
    return this.#kit.self
  }

  get path(): string {
    return this.#kit.self.path
  }

  get key(): string | undefined {
    return this.#kit.options.key
  }

  get signal(): AbortSignal {
    this.controller ??= new AbortController()
    return this.controller.signal
  }

  fence(): void {
    this.#live = false
    this.controller?.abort()
  }

  /** False, and an effect `stale`, when the incarnation is gone. */
  #lives(tried: string): boolean {
    if (!this.#live) this.#kit.effects.push({ type: 'stale', tried })
    return this.#live
  }

  #record(tried: string, effect: Effect): boolean {
    const lives = this.#lives(tried)
    if (lives) this.#kit.effects.push(effect)
    return lives
  }

  // ---- Sending -------------------------------------------------------------------------------------------------

  tell(ref: Ref, message: Message): boolean {
    return this.#lives('tell') && this.#kit.sent(ref as KitRef, message)
  }

  ask(ref: Ref, message: Message, options?: AskOptions): Promise<unknown> {
    if (!this.#lives('ask'))
      return Promise.reject(new Restarted(`Cannot ask "${message.type}" of ${ref.path}: stale`))
    const problem = checkAskOptions(options) ?? this.#problem(ref, message)
    if (problem !== undefined) return Promise.reject(problem)
    this.#kit.effects.push({ type: 'ask', to: ref.path, message, timeoutMs: options?.timeoutMs })
    return new Promise((resolve, reject) => {
      this.#open(
        ref,
        message.type,
        (value) => void resolve(value),
        (error) => void reject(error),
      )
    })
  }

  request(
    ref: Ref,
    message: Message,
    onReply: (reply: unknown) => Message,
    onError?: (error: unknown) => Message,
  ): void {
    if (!this.#record('request', { type: 'request', to: ref.path, message })) return
    const fail = (error: Error): Outcome =>
      onError === undefined ? { type: 'crashed', error } : this.#result(() => onError(error))
    const problem = this.#problem(ref, message)
    if (problem !== undefined) {
      const outcome = fail(problem)
      this.#kit.effects.push({ type: 'handled', message: { type: '(failed request)' }, outcome })
      return
    }
    this.#open(ref, message.type, (value) => this.#result(() => onReply(value)), fail)
  }

  #open(
    ref: Ref,
    type: string,
    succeed: (value: unknown) => Outcome | void,
    fail: (error: Error) => Outcome | void,
  ): void {
    const { guard } = this.#kit
    this.#kit.openAsks.push({
      type,
      succeed: (value) => {
        // The test plays the target, and is held to its protocol as the target would be.
        const reply = guard.passReply(ref.protocol.messages, ref.path, type, value, 'codec')
        if (reply instanceof Refusal)
          throw new InvalidMessage(reply.message, { path: ref.path, field: reply.path })
        return succeed(reply) ?? undefined
      },
      fail: (error) => fail(error) ?? undefined,
    })
  }

  #result(makeMessage: () => Message): Outcome {
    return this.#lives('pipe') ? this.#kit.own(makeMessage) : { type: 'done' }
  }

  #problem(ref: Ref, message: Message): Error | undefined {
    const problem = this.#kit.guard.pass(ref.protocol.messages, ref.path, message, 'codec')
    return problem instanceof Refusal ? new ActorError(problem.code, problem.message) : undefined
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
    if (!this.#record('pipe', { type: 'pipe' })) return
    promise.then(
      (value) => {
        if (this.#lives('pipe')) this.#kit.ownUnasked(() => onValue(value))
      },
      (error: unknown) => {
        if (!this.#lives('pipe')) return
        this.#kit.ownUnasked(() => {
          if (onError === undefined) throw toError(error)
          return onError(error)
        })
      },
    )
  }

  run(promise: Promise<unknown>): void {
    this.#record('run', { type: 'run' })
    promise.catch((error: unknown) => {
      const outcome: Outcome = { type: 'crashed', error: toError(error) }
      this.#record('run', { type: 'handled', message: { type: '(ctx.run)' }, outcome })
    })
  }

  // ---- Children and watching -----------------------------------------------------------------------------------

  spawn(name: string, definition: AnyDefinition, ...rest: readonly unknown[]): KitRef {
    const kit = this.#kit
    const path = `${kit.self.path}/${name}`
    if (!this.#lives('spawn'))
      throw new ActorError('RUNTIME_STOPPED', `Cannot spawn "${name}" under ${kit.self.path}`)
    if (kit.children.has(name)) {
      const text = `Cannot spawn actor "${name}": the name is taken by ${path}`
      throw new ActorError('RUNTIME_DUPLICATE_NAME', text, { path })
    }
    const { input, options } = spawnArguments(definition, rest)
    childPolicy(options, 'transient')
    kit.effects.push({ type: 'spawn', name, definition: definition.name, input, options })
    const ref = kit.ref(definition.protocol, path)
    kit.children.set(name, ref)
    return ref
  }

  stop(child?: Ref, mode: StopMode = 'stop'): void {
    const kit = this.#kit
    const path = child?.path ?? kit.self.path
    if (!this.#lives('stop')) return
    const name = [...kit.children].find(([, ref]) => ref === child)?.[0]
    if (child !== undefined && child !== kit.self && name === undefined) {
      throw illegal(
        `Cannot stop ${path} from ${kit.self.path}: only its parent, or the system, stops an actor`,
      )
    }
    if (name !== undefined) kit.children.delete(name)
    kit.effects.push({ type: 'stop', path, mode })
  }

  child(_protocol: Protocol, name: string): KitRef | undefined {
    return this.#kit.children.get(name)
  }

  watch(ref: Ref, toMessage: (reason: EndReason) => Message): void {
    if (this.#record('watch', { type: 'watch', path: ref.path })) this.#kit.watches.set(ref, toMessage)
  }

  unwatch(ref: Ref): void {
    if (this.#record('unwatch', { type: 'unwatch', path: ref.path })) this.#kit.watches.delete(ref)
  }

  link(ref: Ref): void {
    if (this.#record('link', { type: 'link', path: ref.path })) this.#kit.watches.set(ref, undefined)
  }

  // ---- The message in progress ---------------------------------------------------------------------------------

  call(): CurrentCall {
    const envelope = this.#current('call')
    return {
      signal: envelope.controller.signal,
      deadlineMs: Number.POSITIVE_INFINITY,
      from: envelope.from,
      later: <R>() => this.#later<R>(envelope),
    }
  }

  #later<R>(envelope: KitEnvelope): LaterReply<R> {
    const { type } = envelope.message
    if (!envelope.isAsk)
      throw illegal(`Cannot answer "${type}" later: it was told, nobody waits for an answer`)
    let owed = true
    const settle = (makeEffect: () => Effect): void => {
      if (!owed) return
      owed = false
      this.#record('later', makeEffect())
    }
    return new LaterReplyImpl(
      (value) => {
        const reply = this.#kit.passReply(type, value)
        settle(() =>
          reply instanceof Error
            ? { type: 'handled', message: envelope.message, outcome: { type: 'crashed', error: reply } }
            : { type: 'reply', to: type, value: reply },
        )
      },
      (reason, data) => settle(() => ({ type: 'refuse', to: type, reason, data })),
    )
  }

  stash(): unknown {
    const envelope = this.#current('stash')
    this.#kit.stash.push(envelope)
    this.#record('stash', { type: 'stash', message: envelope.message })
    return stashed
  }

  unstashAll(): void {
    if (!this.#lives('unstashAll')) return
    const envelopes = this.#kit.stash.splice(0)
    this.#kit.effects.push({ type: 'unstash', messages: envelopes.map((envelope) => envelope.message) })
    this.#kit.putBack(envelopes)
  }

  #current(what: string): KitEnvelope {
    const { current } = this.#kit
    if (current === undefined || !this.#live) {
      throw illegal(
        `Cannot use ctx.${what}() here: it is about the message in progress, so call it in the handler before the ` +
          `first await`,
      )
    }
    return current
  }

  become(handlers: unknown): void {
    if (this.#record('become', { type: 'become' })) this.#kit.setHandlers(handlers)
  }

  setReceiveTimeout(timeoutMs: number | undefined, message?: Message): void {
    if (!this.#record('setReceiveTimeout', { type: 'receive-timeout', timeoutMs, message })) return
    this.#cancel(undefined)
    if (timeoutMs === undefined) return
    if (!(timeoutMs > 0) || message === undefined) {
      throw new RangeError(
        `Cannot set a receive timeout of ${timeoutMs}: give a time above 0 and the message to send`,
      )
    }
    this.#kit.checkOwn(message)
    this.#start(undefined, timeoutMs, timeoutMs, message)
  }

  // ---- What the machine gives ----------------------------------------------------------------------------------

  now(): number {
    return this.#kit.nowMs
  }

  wallMs(): number {
    return (this.#kit.options.wallMs ?? 1_700_000_000_000) + this.#kit.nowMs
  }

  service<T>(key: ServiceKey<T>): T {
    const binding = this.#kit.options.services?.find((other) => other.name === key.name)
    if (binding !== undefined) return binding.implementation as T
    const text = `Cannot use service "${key.name}": the kit was started without it; add it to its "services" option`
    throw new ActorError('RUNTIME_NO_SUCH_SERVICE', text)
  }

  store(scope: string): Store {
    return this.#kit.store.scope(scope)
  }

  ref(protocol: Protocol, path: string): KitRef {
    return this.#kit.ref(protocol, path)
  }

  defer(hook: DeferHook): void {
    if (this.#record('defer', { type: 'defer' })) this.#kit.defers.push(hook)
  }

  #makeLog(bound: Readonly<Record<string, unknown>>): Logger {
    const write = (level: LogLevel) => (fields: Readonly<Record<string, unknown>>, message: string) => {
      this.#kit.effects.push({ type: 'log', level, fields: { ...bound, ...fields }, message })
    }
    return {
      debug: write('debug'),
      info: write('info'),
      warn: write('warn'),
      error: write('error'),
      fatal: write('fatal'),
      child: (fields) => this.#makeLog({ ...bound, ...fields }),
      isLevelEnabled: () => true,
    }
  }

  #makeTimers(): Timers<Message> {
    const begin = (key: string, every: boolean, afterMs: number, message: Message): void => {
      if (!(afterMs >= 0) || afterMs === Number.POSITIVE_INFINITY || (every && afterMs === 0)) {
        throw new RangeError(`Cannot start timer "${key}": its time is out of range, got ${afterMs}`)
      }
      this.#kit.checkOwn(message)
      if (!this.#record('timers', { type: 'timer', key, every, afterMs, message })) return
      this.#cancel(key)
      this.#start(key, afterMs, every ? afterMs : 0, message)
    }
    return {
      once: (key, delayMs, message) => begin(key, false, delayMs, message),
      every: (key, intervalMs, message) => begin(key, true, intervalMs, message),
      cancel: (key) => this.#record('timers', { type: 'cancel-timer', key }) && this.#cancel(key),
      has: (key) => this.#kit.timers.includes(key),
    }
  }

  #start(key: string | undefined, afterMs: number, intervalMs: number, message: Message): void {
    const { running, nowMs } = this.#kit
    running.push({ key, message, intervalMs, dueMs: nowMs + afterMs, order: this.#kit.nextOrder() })
  }

  #cancel(key: string | undefined): boolean {
    const { running } = this.#kit
    const index = running.findIndex((timer) => timer.key === key)
    if (index !== -1) running.splice(index, 1)
    return index !== -1
  }
}
