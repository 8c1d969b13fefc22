/**
 * Reliable delivery, the receiving side: an actor in front of the one that handles the messages. It remembers what it
 * took from whom, hands over one message of each producer at a time, and acknowledges it when its handler is done.
 */
import type { AnyDefinition, Definition, DefinitionBody } from '../actor/behaviour.ts'
import type { ActorContextImpl } from '../actor/context.ts'
import type { MessageDefs } from '../actor/protocol.ts'
import { hostOf, ownMessages, type HostPlan } from './consumer-host.ts'
import { consumerPlan, type ConsumerOptions } from './reliable-options.ts'
import { reliable, type ReliableMessages } from './reliable-protocol.ts'

/**
 * A definition whose actor takes messages from reliable producers and has them handled by an actor of `definition`, its
 * child `worker`. Messages to it are those of `reliable(protocol)`; whoever wants to tell or ask the worker directly, and
 * unreliably, finds it at `<path>/worker`. The start input goes to the worker.
 *
 * What is promised, message by message:
 * - **handled** means that the handler returned, or that the promise it returned was fulfilled. Only then is the producer
 *   told so.
 * - A handler that **crashes** is started again by its supervisor and gets the same message again, before any other of
 *   that producer; after `maxAttempts` the message is parked, its sender is told `RUNTIME_DELIVERY_PARKED`, and the next
 *   one has its turn. `throw reject(reason)` is no crash: its sender is told `RUNTIME_REJECTED`, and it is not tried again.
 * - **exactly once** to a handler that does not crash, for as long as producer and consumer live: a piece that comes again
 *   is dropped and counted. **At least once** when the handler, the consumer or its node dies on the way: then it may have
 *   done its work before it could say so. Make handlers idempotent by an id of your own in the message.
 * - **in order** per producer. Messages of several producers take turns.
 *
 * What was taken from whom outlives restarts of the worker and of the consumer, for it is kept with the actor and not
 * with its incarnation. It ends with the actor: a successor is given everything again that nobody acknowledged.
 * Of `producersMax` producers the numbers are kept. A new one takes the place of the idle one that was silent longest,
 * those that know all their acknowledgements first; a forgotten producer introduces itself again when it next sends. When
 * its last acknowledgement was lost as well, what that told of is handled twice: keep `producersMax` above their number.
 *
 * `RUNTIME_REJECTED` `too-many-producers` answers a producer that introduces itself while all others have work here; it
 * tries again by itself. A bounded mailbox of the worker is not overrun: what is refused there is handed over later.
 *
 * @throws {RangeError | TypeError} if an option is not what it may be
 */
export function reliableConsumer<M extends MessageDefs, I>(
  definition: Definition<M, I>,
  options: ConsumerOptions = {},
): Definition<ReliableMessages<M>, I> {
  const plan: HostPlan = {
    ...consumerPlan(options),
    // A child spec holds a definition without its types.
    definition: definition as unknown as AnyDefinition,
  }
  const { setup: workerSetup, options: workerOptions } = definition.body
  const body: DefinitionBody = {
    own: ownMessages,
    options: { supervision: plan.supervision, input: workerOptions.input },
    // The number of parameters says whether a start takes an input: as many as the worker's.
    setup:
      workerSetup.length >= 2
        ? (context, input) => start(plan, context, input)
        : (context) => start(plan, context),
    children: [],
  }
  const name = options.name ?? `${definition.name}-consumer`
  return Object.freeze({ name, protocol: reliable(definition.protocol), body: Object.freeze(body) })
}

function start(plan: HostPlan, context: unknown, input?: unknown): object {
  const current = context as ActorContextImpl
  const host = hostOf(plan, current)
  host.begin(current, input)
  return host.handlers()
}
