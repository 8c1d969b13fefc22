/** The engine of the behaviour kit: hands one behaviour its messages, its answers, its time and its end. */
import {
  InvalidMessage,
  Linked,
  Rejection,
  Restarted,
  toError,
  UnknownMessage,
} from '../actor/actor-error.ts'
import type { ActorError } from '../actor/actor-error.ts'
import { LaterReplyImpl, stashed } from '../actor/context.ts'
import type { Message } from '../actor/envelope.ts'
import { Refusal } from '../actor/isolation.ts'
import type { MessageDefs } from '../actor/protocol.ts'
import type { AnyActorRef } from '../actor/ref.ts'
import type { EndReason } from '../actor/watch.ts'
import type { Outcome } from './effect.ts'
import { ExpectationFailed } from './expectation.ts'
import { KitContext, type KitTurns } from './kit-context.ts'
import { illegal } from './kit-ref.ts'
import { KitState, type KitEnvelope, type OpenAsk } from './kit-state.ts'

export interface SendOptions {
  /** Path that `ctx.call().from` says. @default undefined: from outside of any actor */
  readonly from?: string | undefined
}

export class KitActor extends KitState implements KitTurns {
  handlers: Readonly<Record<string, ((message: Message) => unknown) | undefined>> = {}
  started: Promise<void> = Promise.resolve()
  #context: KitContext | undefined
  #status: 'starting' | 'running' | 'stopped' = 'starting'
  #pending: Promise<Outcome> | undefined
  readonly #queue: KitEnvelope[] = []

  start(): void {
    const context = new KitContext(this)
    this.#context = context
    this.#status = 'starting'
    const handlers: unknown = this.definition.body.setup(context, this.input)
    if (!isThenable(handlers)) {
      this.#started(handlers)
      return
    }
    this.started = Promise.resolve(handlers).then((value) => {
      if (this.#context === context) this.#started(value)
    })
    // Whoever awaits `started` meets the failure; who does not must not lose the process over it.
    this.started.catch(() => undefined)
  }

  #started(handlers: unknown): void {
    this.setHandlers(handlers)
    this.#status = 'running'
    this.#drain()
  }

  setHandlers(handlers: unknown): void {
    const { body, protocol } = this.definition
    for (const type of [...Object.keys(protocol.messages), ...Object.keys(body.own)]) {
      if (typeof (Object(handlers) as Record<string, unknown>)[type] !== 'function') {
        throw new TypeError(`setup of "${this.definition.name}" returned no handler for "${type}"`)
      }
    }
    this.handlers = handlers as typeof this.handlers
  }

  // ---- Messages in ---------------------------------------------------------------------------------------------

  send(message: Message, options: SendOptions = {}): Outcome {
    return this.#handleNow(this.definition.protocol.messages, message, options.from)
  }

  sendOwn(message: Message): Outcome {
    return this.#handleNow(this.definition.body.own, message, undefined)
  }

  #handleNow(messages: MessageDefs, message: Message, from: string | undefined): Outcome {
    const type = String((message as Message | undefined)?.type)
    if (this.#status !== 'running') {
      const why = this.#status === 'stopped' ? 'has stopped' : 'has not started'
      throw illegal(`Cannot send "${type}": the behaviour ${why}`)
    }
    if (this.#pending !== undefined) {
      throw illegal(`Cannot send "${type}": the handler before is still pending; await its \`settled\` first`)
    }
    const passed = this.guard.pass(messages, this.self.path, message, 'codec')
    if (passed instanceof Refusal) {
      const ErrorClass = passed.code === 'RUNTIME_UNKNOWN_MESSAGE' ? UnknownMessage : InvalidMessage
      throw new ErrorClass(passed.message, { path: this.self.path, field: passed.path })
    }
    const isAsk = messages[type]?.kind === 'ask'
    const outcome = this.#handle({ message: passed, from, isAsk, controller: new AbortController() })
    this.#drain()
    return outcome
  }

  /** A message of the actor's own making: now, or when the handler in progress is done. */
  own(makeMessage: () => Message): Outcome {
    try {
      const message = makeMessage()
      this.checkOwn(message)
      const envelope = { message, from: undefined, isAsk: false, controller: new AbortController() }
      if (this.#pending === undefined && this.#status === 'running' && this.current === undefined) {
        const outcome = this.#handle(envelope)
        this.#drain()
        return outcome
      }
      this.#queue.push(envelope)
      return { type: 'done' }
    } catch (error) {
      return { type: 'crashed', error: toError(error) }
    }
  }

  /** As `own`, with its outcome as an effect: nobody in the test waits for it. */
  ownUnasked(makeMessage: () => Message): void {
    let message: Message = { type: '(none)' }
    const outcome = this.own(() => (message = makeMessage()))
    this.effects.push({ type: 'handled', message, outcome })
  }

  putBack(envelopes: readonly KitEnvelope[]): void {
    this.#queue.unshift(...envelopes)
    if (this.current === undefined) this.#drain()
  }

  #drain(): void {
    while (this.#status === 'running' && this.#pending === undefined) {
      const envelope = this.#queue.shift()
      if (envelope === undefined) return
      this.effects.push({ type: 'handled', message: envelope.message, outcome: this.#handle(envelope) })
    }
  }

  #handle(envelope: KitEnvelope): Outcome {
    const { message } = envelope
    this.#restartReceiveTimeout()
    this.current = envelope
    let result: unknown
    try {
      result = this.handlers[message.type]?.(message)
    } catch (thrown) {
      return this.#thrown(thrown)
    } finally {
      this.current = undefined
    }
    if (!isThenable(result)) return this.#returned(envelope, result)
    const settled = Promise.resolve(result).then(
      (value) => this.#settled(envelope, () => this.#returned(envelope, value)),
      (thrown: unknown) => this.#settled(envelope, () => this.#thrown(thrown)),
    )
    this.#pending = settled
    return { type: 'pending', settled }
  }

  #settled(_envelope: KitEnvelope, makeOutcome: () => Outcome): Outcome {
    this.#pending = undefined
    const outcome = makeOutcome()
    this.#drain()
    return outcome
  }

  #thrown(thrown: unknown): Outcome {
    if (thrown instanceof Rejection) return { type: 'refused', reason: thrown.reason, data: thrown.data }
    return { type: 'crashed', error: toError(thrown) }
  }

  #returned(envelope: KitEnvelope, result: unknown): Outcome {
    if (result === stashed) return { type: 'stashed' }
    if (result instanceof LaterReplyImpl) return { type: 'later' }
    if (!envelope.isAsk) return { type: 'done' }
    const reply = this.passReply(envelope.message.type, result)
    return reply instanceof Error ? { type: 'crashed', error: reply } : { type: 'reply', value: reply }
  }

  // ---- Answers, time, ends -------------------------------------------------------------------------------------

  answer(type: string, value: unknown): Outcome | undefined {
    return this.#takeAsk(type).succeed(value)
  }

  failAnswer(type: string, error: ActorError): Outcome | undefined {
    return this.#takeAsk(type).fail(error)
  }

  #takeAsk(type: string): OpenAsk {
    const index = this.openAsks.findIndex((open) => open.type === type)
    const [open] = index === -1 ? [] : this.openAsks.splice(index, 1)
    if (open !== undefined) return open
    const others = this.openAsks.map((other) => `"${other.type}"`).join(', ')
    const came = others === '' ? 'it asked nothing' : `it asked only ${others}`
    throw new ExpectationFailed(
      `Expected an open ask "${type}" of ${this.self.path}, but ${came}`,
      `ask "${type}"`,
      [],
    )
  }

  advance(ms: number): readonly Outcome[] {
    const untilMs = this.nowMs + ms
    const outcomes: Outcome[] = []
    for (;;) {
      const due = this.running
        .filter((timer) => timer.dueMs <= untilMs)
        .sort((a, b) => a.dueMs - b.dueMs || a.order - b.order)[0]
      if (due === undefined) break
      this.nowMs = Math.max(this.nowMs, due.dueMs)
      if (due.intervalMs > 0) due.dueMs += due.intervalMs
      else this.running.splice(this.running.indexOf(due), 1)
      outcomes.push(this.own(() => due.message))
    }
    this.nowMs = untilMs
    return outcomes
  }

  #restartReceiveTimeout(): void {
    const timeout = this.running.find((timer) => timer.key === undefined)
    if (timeout !== undefined) timeout.dueMs = this.nowMs + timeout.intervalMs
  }

  ended(target: AnyActorRef, reason: EndReason = 'stopped'): Outcome {
    if (!this.watches.has(target)) {
      const text = `Expected ${this.self.path} to watch ${target.path}, but it does not`
      throw new ExpectationFailed(text, `a watch of ${target.path}`, [])
    }
    const toMessage = this.watches.get(target)
    this.watches.delete(target)
    if (toMessage !== undefined) return this.own(() => toMessage(reason))
    const { path } = target
    const error = new Linked(`${this.self.path} is linked to ${path}, which ended: ${reason}`, {
      path,
      reason,
    })
    return { type: 'crashed', error }
  }

  async restart(): Promise<void> {
    await this.#endIncarnation('restart', () => {
      this.incarnation++
      // What was stashed goes back to the head of the mailbox; watches survive.
      this.#queue.unshift(...this.stash.splice(0))
      this.start()
    })
  }

  async stop(): Promise<void> {
    await this.#endIncarnation('stop', () => {
      this.#status = 'stopped'
      this.watches.clear()
      this.children.clear()
    })
  }

  /** Without a hook that waits, all is done before the first await. */
  async #endIncarnation(why: 'stop' | 'restart', then: () => void): Promise<void> {
    const context = this.#context
    context?.controller?.abort()
    this.#status = 'starting'
    for (let hook = this.defers.pop(); hook !== undefined; hook = this.defers.pop()) {
      const result: unknown = hook(why)
      if (isThenable(result)) await result
    }
    context?.fence()
    this.#context = undefined
    this.#pending = undefined
    this.running.length = 0
    if (why === 'restart') this.children.clear()
    const text = `${this.self.path} restarted or stopped while it waited for an answer`
    for (const open of this.openAsks.splice(0)) open.fail(new Restarted(text, { path: this.self.path }))
    then()
  }
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return (
    typeof value === 'object' && value !== null && typeof (value as { then?: unknown }).then === 'function'
  )
}
