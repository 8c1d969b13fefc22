/**
 * Runs one behaviour without a system: `send` a message, look at the answer and at what left through `ctx`. Nothing is
 * scheduled; a handler that does not wait has done everything when `send` returns. The idea is Akka's BehaviorTestKit.
 *
 * For what one actor decides. How actors work together, restarts under a supervisor and time between several of them is
 * what `testSystem` and `probe` are for.
 */
import type { ActorError } from '../actor/actor-error.ts'
import type { Definition } from '../actor/behaviour.ts'
import { spawnArguments } from '../actor/context.ts'
import type { MessageDefs, MessageOf, Protocol, ReplyOf } from '../actor/protocol.ts'
import type { ActorRef, AnyActorRef } from '../actor/ref.ts'
import type { EndReason } from '../actor/watch.ts'
import type { Effect, Outcome } from './effect.ts'
import { KitActor, type SendOptions } from './kit-actor.ts'
import type { BehaviourKitOptions } from './kit-state.ts'

/** One behaviour in a test's hand. */
export interface BehaviourKit<M extends MessageDefs> {
  readonly self: ActorRef<M>
  /** What left through `ctx` since the start, or since `takeEffects`, oldest first. */
  readonly effects: readonly Effect[]
  /** Returns the effects and forgets them. */
  readonly takeEffects: () => readonly Effect[]
  /**
   * Handles `message`, checked and copied as between nodes.
   * @throws {ActorError} RUNTIME_INVALID_MESSAGE or RUNTIME_UNKNOWN_MESSAGE if it does not fit the protocol;
   *   RUNTIME_ILLEGAL_CALL if the handler before is still pending, or the actor has stopped
   */
  readonly send: <K extends keyof M & string>(
    message: MessageOf<M, K> & { readonly type: K },
    options?: SendOptions,
  ) => Outcome<ReplyOf<M[K]>>
  /** Handles one of the actor's own messages, which nobody outside can send. */
  readonly sendOwn: (message: { readonly type: string; readonly [field: string]: unknown }) => Outcome
  /** A ref to give to the behaviour: what it is sent shows as effects. */
  readonly ref: <T extends MessageDefs>(protocol: Protocol<T>, path: string) => ActorRef<T>
  /**
   * Answers the oldest open `ctx.ask` or `ctx.request` of a message of type `type`. For a request the own message that
   * comes of it is handled at once, and its outcome returned; an ask goes on in its handler's promise.
   * @throws {ExpectationFailed} if there is none
   */
  readonly answer: (type: string, value: unknown) => Outcome | undefined
  /** Fails it instead. */
  readonly failAnswer: (type: string, error: ActorError) => Outcome | undefined
  /** Moves `ctx.now()` on by `ms` and handles what the timers and the receive timeout send on the way, in order. */
  readonly advance: (ms: number) => readonly Outcome[]
  /** Keys of the running timers. */
  readonly timers: readonly string[]
  /**
   * Delivers the notice that `target`, watched or linked, has ended.
   * @throws {ExpectationFailed} if it is neither
   */
  readonly ended: (target: AnyActorRef, reason?: EndReason) => Outcome
  /** Runs the defer hooks and `setup` again, with the same input: fresh state. Done on return when no hook waits. */
  readonly restart: () => Promise<void>
  /** Runs the defer hooks. Done on return when no hook waits. */
  readonly stop: () => Promise<void>
  /** Resolves when `setup` is done; already so when it does not wait. */
  readonly started: Promise<void>
}

/**
 * Starts `definition` without a system; `setup` has run when this returns.
 *
 *     const kit = behaviourKit(counter)
 *     t.same(kit.send({ type: 'get' }), { type: 'reply', value: 0 })
 *     t.same(kit.takeEffects(), [])
 *
 * @throws whatever `setup` throws
 */
export function behaviourKit<M extends MessageDefs, I>(
  definition: Definition<M, I>,
  ...rest: void extends I ? [options?: BehaviourKitOptions] : [input: I, options?: BehaviourKitOptions]
): BehaviourKit<M> {
  const { input, options } = spawnArguments(definition, rest, optionNames)
  const kit = new KitActor(definition, input, (options ?? {}) as BehaviourKitOptions)
  kit.start()
  return kit as unknown as BehaviourKit<M>
}

const optionNames: ReadonlySet<string> = new Set(['path', 'services', 'seed', 'wallMs', 'key'])
