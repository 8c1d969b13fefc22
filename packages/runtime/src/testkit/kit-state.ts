/** What a behaviour has in the behaviour kit: what left through its context, what it waits for, and its time. */
import { InvalidMessage } from '../actor/actor-error.ts'
import type { AnyDefinition } from '../actor/behaviour.ts'
import type { DeferHook } from '../actor/context.ts'
import type { Message } from '../actor/envelope.ts'
import { MessageGuard, Refusal } from '../actor/isolation.ts'
import type { Protocol } from '../actor/protocol.ts'
import type { AnyActorRef } from '../actor/ref.ts'
import type { ServiceBinding } from '../actor/service.ts'
import type { EndReason } from '../actor/watch.ts'
import { memoryStore } from '../platform/memory-store.ts'
import type { Random } from '../platform/platform.ts'
import { seededRandom } from '../platform/random.ts'
import type { Effect, Outcome } from './effect.ts'
import { KitRef } from './kit-ref.ts'

export interface BehaviourKitOptions {
  /** @default '/user/kit' */
  readonly path?: string | undefined
  /** @default [] */
  readonly services?: readonly ServiceBinding[] | undefined
  /** Seed of `ctx.random`. @default 1 */
  readonly seed?: number | string | undefined
  /** What `ctx.wallMs()` says at the start. @default 1_700_000_000_000 */
  readonly wallMs?: number | undefined
  /** What `ctx.key` says, for an entity. @default undefined */
  readonly key?: string | undefined
}

/** A message on its way to the behaviour. */
export interface KitEnvelope {
  readonly message: Message
  readonly from: string | undefined
  readonly isAsk: boolean
  /** Aborted when nobody waits for the answer any more. */
  readonly controller: AbortController
}

/** An ask, or a request, that the test has not answered. */
export interface OpenAsk {
  readonly type: string
  readonly succeed: (value: unknown) => Outcome | undefined
  readonly fail: (error: Error) => Outcome | undefined
}

/** Something that becomes a message when its time has come. */
export interface KitTimer {
  /** `undefined`: the receive timeout. */
  readonly key: string | undefined
  readonly message: Message
  readonly intervalMs: number
  dueMs: number
  readonly order: number
}

export class KitState {
  readonly definition: AnyDefinition
  readonly input: unknown
  readonly options: BehaviourKitOptions
  readonly self: KitRef
  readonly guard = new MessageGuard()
  readonly random: Random
  readonly store = memoryStore()
  effects: Effect[] = []
  readonly openAsks: OpenAsk[] = []
  readonly children = new Map<string, KitRef>()
  readonly watches = new Map<AnyActorRef, ((reason: EndReason) => Message) | undefined>()
  readonly running: KitTimer[] = []
  readonly stash: KitEnvelope[] = []
  readonly defers: DeferHook[] = []
  nowMs = 0
  incarnation = 0
  /** The message whose handler is on the stack. */
  current: KitEnvelope | undefined
  #nextUid = 1
  #nextOrder = 0

  constructor(definition: AnyDefinition, input: unknown, options: BehaviourKitOptions) {
    this.definition = definition
    this.input = input
    this.options = options
    this.random = seededRandom(options.seed ?? 1)
    this.self = this.ref(definition.protocol, options.path ?? '/user/kit')
  }

  ref(target: Protocol, path: string): KitRef {
    return new KitRef(path, this.#nextUid++, target, (ref, message) => this.sent(ref, message))
  }

  /** A tell: an effect, and whether the target would have taken it. */
  sent(ref: KitRef, message: Message): boolean {
    const passed = this.guard.pass(ref.protocol.messages, ref.path, message, 'codec')
    if (passed instanceof Refusal) {
      this.effects.push({ type: 'tell', to: ref.path, message, problem: passed.message })
      return false
    }
    this.effects.push({ type: 'tell', to: ref.path, message: passed })
    return true
  }

  takeEffects(): readonly Effect[] {
    const taken = this.effects
    this.effects = []
    return taken
  }

  get timers(): readonly string[] {
    return this.running.flatMap(({ key }) => (key === undefined ? [] : [key]))
  }

  checkOwn(message: Message): void {
    const { body, protocol } = this.definition
    const messages = Object.hasOwn(body.own, message.type) ? body.own : protocol.messages
    const problem = this.guard.check(messages, this.self.path, message)
    if (problem !== undefined) throw new TypeError(problem.message)
  }

  /** The reply as it would arrive, or what is wrong with it. */
  passReply(type: string, value: unknown): unknown {
    const { messages } = this.definition.protocol
    const reply = this.guard.passReply(messages, this.self.path, type, value, 'codec')
    return reply instanceof Refusal ? new InvalidMessage(reply.message, { field: reply.path }) : reply
  }

  nextOrder(): number {
    return this.#nextOrder++
  }
}
