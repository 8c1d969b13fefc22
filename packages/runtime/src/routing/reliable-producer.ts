/**
 * Reliable delivery, the sending side: what users see of it. The work is done by the handle (producer-port.ts), its actor
 * (producer-link.ts) and the step machine behind both (producer-core.ts).
 */
import { actor, type Definition } from '../actor/behaviour.ts'
import type { ChildOptions } from '../actor/child-spec.ts'
import { ActorContextImpl, type ActorContext } from '../actor/context.ts'
import { LocalRef } from '../actor/local-ref.ts'
import { tell, type MessageDefs, type Protocol, type TellMessage } from '../actor/protocol.ts'
import type { ActorRef, Ref, RoomOptions } from '../actor/ref.ts'
import { ProducerLink } from './producer-link.ts'
import { ProducerPort, type ProducerStatus, type SendOptions } from './producer-port.ts'
import { producerPlan, type ProducerOptions } from './reliable-options.ts'
import { newId, Producer, type ProducerMessages, type ReliableMessages } from './reliable-protocol.ts'

export type { ProducerStatus, SendOptions } from './producer-port.ts'

/** Who starts a producer: an actor's `ctx`, or a system. */
export interface ProducerOwner {
  readonly spawn: <M extends MessageDefs, I>(
    name: string,
    definition: Definition<M, I>,
    ...rest: void extends I ? [options?: ChildOptions] : [input: I, options?: ChildOptions]
  ) => ActorRef<M>
}

/** Sends messages of `M` to one consumer. Made by `reliableProducer()`. */
export interface ReliableProducer<M extends MessageDefs> extends AsyncDisposable {
  /** Of its actor. */
  readonly path: string
  /**
   * Sends, after waiting for room. Resolves when the message was handled, which is the only way to know; rejects with
   * `RUNTIME_REJECTED` when its handler refused it, `RUNTIME_DELIVERY_PARKED` when it crashed on it too often,
   * `RUNTIME_INVALID_MESSAGE`, `RUNTIME_DELIVERY_LOST` and `RUNTIME_NO_CONSUMER` when this producer has ended,
   * `RUNTIME_DELIVERY_FULL` when too many wait already, `RUNTIME_ABORTED` by the signal. Await it, or use `tell`.
   */
  readonly send: (message: TellMessage<M>, options?: SendOptions) => Promise<void>
  /**
   * Sends if there is room now. `false`: not taken (no room, or somebody waits for it; invalid; the producer has ended).
   * Never throws. What becomes of it is told to `onFailed`, when it is not handled.
   */
  readonly tell: (message: TellMessage<M>) => boolean
  /** Resolves when there is room for a small message and nobody waits before. Rejects when the producer has ended. */
  readonly room: (options?: RoomOptions) => Promise<void>
  readonly status: () => ProducerStatus
  /**
   * Takes nothing more, waits up to `drainMs` for what it took, and ends. What is left then is lost. Later calls join the
   * first. @default { drainMs: 5_000 }
   */
  readonly close: (options?: { readonly drainMs?: number | undefined }) => Promise<void>
}

/**
 * Starts a producer that sends messages of `protocol` to the reliable consumer behind `ref`, in order, until each was
 * handled. See `reliableConsumer` for what is promised.
 *
 * `owner` is the `ctx` of an actor, whose incarnation it ends with, or a system. Only what is told travels reliably; an
 * ask does not compile, for it has its answer to know by.
 *
 * A producer holds what it sends in memory. When it ends (with its owner's incarnation, its node, or by `close`) what was
 * not acknowledged is lost: `send` rejects with `RUNTIME_DELIVERY_LOST`, `onFailed` is told. The next producer is another
 * one, with a random id of its own, so that no consumer takes its first message for an old one. Whoever must not lose a
 * message keeps it until `send` has resolved, and sends it again after a restart: the handler may then see it twice.
 *
 * An unbound `ref` (`ctx.ref(reliable(Orders), path)`) means whoever lives there: the producer looks for it for as long as
 * it takes, and a successor is sent everything that nobody acknowledged, from the first. With a bound one the producer
 * ends when that actor has ended. It also ends, with `RUNTIME_NO_CONSUMER`, when somebody else lives there.
 *
 * @throws {TypeError | RangeError} if an option is not what it may be
 * @throws {ActorError} as `spawn`: RUNTIME_DUPLICATE_NAME for a second producer of the same name, RUNTIME_STOPPED
 */
export function reliableProducer<M extends MessageDefs>(
  owner: ProducerOwner,
  protocol: Protocol<M>,
  ref: ActorRef<ReliableMessages<M>>,
  options: ProducerOptions<TellMessage<M>> = {},
): ReliableProducer<M> {
  const plan = producerPlan(options as ProducerOptions<never>)
  const target = ref as unknown as Ref
  const link = new ProducerLink({
    ...plan,
    protocolName: protocol.name,
    target,
    onSettled: (offer, failed) => port.settled(offer, failed),
  })
  const self = owner.spawn(plan.name, producerActor, link, { restart: 'temporary' }) as unknown
  if (!(self instanceof LocalRef)) {
    throw new TypeError(
      'Cannot start a reliable producer: its owner must be a system, or the ctx of a running actor',
    )
  }
  const { platform } = self.kernel
  link.bind(
    self,
    newId((count) => platform.secureBytes(count)),
  )
  const incarnation = owner instanceof ActorContextImpl ? owner : undefined
  const port = new ProducerPort({ plan, protocol, target, link, self, owner: incarnation })
  return port as unknown as ReliableProducer<M>
}

const ownMessages = {
  introduced: tell({ reply: {} } as never),
  'hello-failed': tell({ error: {} } as never),
  'consumer-ended': tell({ reason: {} } as never),
  due: tell(),
}
type Own = typeof ownMessages
type ProducerContext = ActorContext<ProducerMessages, Own>

const producerActor: Definition<ProducerMessages, ProducerLink> = actor(
  Producer,
  { name: 'reliable-producer', own: ownMessages },
  (ctx: ProducerContext, link: ProducerLink) => link.begin(ctx as unknown as ActorContextImpl) as never,
)
