/**
 * A pool: one ref in front of several actors of one definition. The pool is an ordinary actor of the same protocol; its
 * workers are its supervised children, and every message is passed on unchanged, with its sender and its reply address,
 * so that a worker answers the asker directly and sees who sent it.
 */
import { ActorError, ActorStopped, InvalidMessage, toError } from '../actor/actor-error.ts'
import type { AnyDefinition, Definition, DefinitionBody, MailboxOptions } from '../actor/behaviour.ts'
import { CellStatus, type Cell } from '../actor/cell.ts'
import { childPolicy, type ChildOptions, type SupervisionOptions } from '../actor/child-spec.ts'
import { stashed, type ActorContextImpl } from '../actor/context.ts'
import type { DeadLetterReason } from '../actor/dead-letter.ts'
import type { Envelope, Message } from '../actor/envelope.ts'
import type { AnyMessage, MessageDefs } from '../actor/protocol.ts'
import { rendezvousHash, rendezvousOwner } from './rendezvous.ts'

/**
 * Who gets a message. `round-robin`: one after the other; `random`: by lot; `smallest-mailbox`: whoever has least to do
 * (workers between two incarnations last); `consistent-hash`: always the same one for the same key; `broadcast`: all.
 */
export type PoolStrategy = PoolOptions<MessageDefs>['strategy'] & string

interface PoolBase {
  /** How many workers, named worker-1, worker-2, ...: 1 to 10,000. */
  readonly size: number
  /** Of the pool's definition. @default the worker definition's name with "-pool" behind it */
  readonly name?: string | undefined
  /** How each worker is kept. @default { restart: 'permanent' } */
  readonly worker?: ChildOptions | undefined
  /** How the pool keeps its workers. @default one-for-one, 3 restarts within 5 s per worker */
  readonly supervision?: SupervisionOptions | undefined
  /**
   * Bounds of the pool's own mailbox, where a message waits only until the pool's turn comes. What waits for work waits
   * with the workers: bound their mailboxes in their own definition. @default unbounded
   */
  readonly mailbox?: MailboxOptions | undefined
}

/** Options of `pool()`. `hashKey` belongs to the strategy `consistent-hash`, and only to that. */
export type PoolOptions<M extends MessageDefs> = PoolBase &
  (
    | {
        /** @default 'round-robin' */
        readonly strategy?: 'round-robin' | 'random' | 'smallest-mailbox' | 'broadcast' | undefined
        readonly hashKey?: undefined
      }
    | {
        readonly strategy: 'consistent-hash'
        /** What messages must have in common to meet the same worker. A throw refuses that message alone. */
        readonly hashKey: (message: AnyMessage<M>) => string
      }
  )

/** No pool is bigger: choosing by hash or by mailbox looks at every worker. */
export const poolSizeMax = 10_000

const perWorker: SupervisionOptions = Object.freeze({
  strategy: 'one-for-one',
  intensity: Object.freeze({ restarts: 3, withinMs: 5_000, per: 'child' }),
})
const strategies: readonly unknown[] = [
  'round-robin',
  'random',
  'smallest-mailbox',
  'consistent-hash',
  'broadcast',
]

/**
 * A definition of the same protocol and the same start input as `definition`, whose actor passes every message on to one
 * of `size` workers (`broadcast`: to all). The input goes to each worker.
 *
 * A worker that crashes is restarted by its pool and keeps its mailbox; what comes for it meanwhile waits for it. One
 * that is gone for good is skipped, and its keys move to the others. With no worker left an ask fails with
 * `RUNTIME_ACTOR_STOPPED` and a tell is a dead letter. A restart of the pool itself starts all workers anew.
 *
 * Order holds per sender and worker, so with `consistent-hash` per sender and key. `tell` returning true means that the
 * pool took the message; a worker that then refuses it makes it a dead letter, or fails the ask with its own error. An
 * ask of a `broadcast` pool fails with `RUNTIME_ILLEGAL_CALL`: one ask has one answer.
 *
 * @throws {RangeError} if `size` is no integer from 1 to 10,000
 * @throws {TypeError} if the strategy is unknown, or `hashKey` is missing where it is needed
 */
export function pool<M extends MessageDefs, I>(
  definition: Definition<M, I>,
  options: PoolOptions<M>,
): Definition<M, I> {
  const { size, strategy = 'round-robin', supervision = perWorker, mailbox, worker } = options
  const name = options.name ?? `${definition.name}-pool`
  if (!Number.isSafeInteger(size) || size < 1 || size > poolSizeMax) {
    throw new RangeError(
      `Cannot define pool "${name}": size must be an integer from 1 to ${poolSizeMax}, got ${size}`,
    )
  }
  if (!strategies.includes(strategy)) {
    throw new TypeError(
      `Cannot define pool "${name}": strategy must be one of ${strategies.join(', ')}, got "${strategy}"`,
    )
  }
  if ((strategy === 'consistent-hash') !== (typeof options.hashKey === 'function')) {
    throw new TypeError(
      `Cannot define pool "${name}": hashKey belongs to the strategy "consistent-hash", and that one needs it`,
    )
  }
  childPolicy(worker, 'permanent')
  // From here on there are no types: the pool hands over what it was given.
  const hashKey = options.hashKey as ((message: Message) => string) | undefined
  const plan: Plan = {
    // A child spec holds a definition without its types.
    definition: definition as unknown as AnyDefinition,
    size,
    strategy,
    hashKey,
    worker: { restart: 'permanent', ...worker },
  }
  const { setup: workerSetup, options: workerOptions } = definition.body
  const body: DefinitionBody = {
    own: {},
    options: { supervision, mailbox, input: workerOptions.input },
    // The number of parameters says whether a start takes an input: as many as the worker's.
    setup:
      workerSetup.length >= 2
        ? (context, input) => start(plan, context, input)
        : (context) => start(plan, context),
    children: [],
  }
  return Object.freeze({ name, protocol: definition.protocol, body: Object.freeze(body) })
}

interface Plan {
  readonly definition: AnyDefinition
  readonly size: number
  readonly strategy: PoolStrategy
  readonly hashKey: ((message: Message) => string) | undefined
  readonly worker: ChildOptions
}

/** The pool's `setup`: starts the workers, and handles every message by passing it on. */
function start(plan: Plan, context: unknown, input?: unknown): Readonly<Record<string, () => unknown>> {
  const router = new PoolRouter(plan, context as ActorContextImpl, input)
  const pass = (): unknown => router.pass()
  return Object.fromEntries(Object.keys(plan.definition.protocol.messages).map((type) => [type, pass]))
}

/** One incarnation of a pool. */
class PoolRouter {
  readonly #plan: Plan
  readonly #context: ActorContextImpl
  /** Those that live, in the order of their names, and their hashes beside them. */
  readonly #workers: Cell[] = []
  readonly #hashes: number[] = []
  #turn = 0

  constructor(plan: Plan, context: ActorContextImpl, input: unknown) {
    this.#plan = plan
    this.#context = context
    for (let number = 1; number <= plan.size; number++) {
      const name = `worker-${number}`
      this.#workers.push(context.spawn(name, plan.definition, input, plan.worker).cell)
      this.#hashes.push(rendezvousHash(name))
    }
  }

  /** Passes the message in progress on. What it returns says that the answer is somebody else's business. */
  pass(): unknown {
    const { cell } = this.#context
    const envelope = cell.current as Envelope
    const { call } = envelope
    // Its handler has not begun: it is on its way again, and an AskTimeout is to say so.
    if (call !== null) call.started = false
    if (this.#plan.strategy === 'broadcast') this.#broadcast(envelope)
    else this.#route(envelope)
    return stashed
  }

  #route(envelope: Envelope): void {
    while (this.#workers.length > 0) {
      const worker = this.#choose(envelope)
      if (worker === undefined) return
      if (!isGone(worker)) {
        this.#forward(worker, envelope)
        return
      }
      this.#dropGone()
    }
    this.#refuseAsEmpty(envelope)
  }

  #forward(worker: Cell, envelope: Envelope): void {
    worker.kernel.sends++
    worker.forward(envelope)
  }

  #broadcast(envelope: Envelope): void {
    if (envelope.call !== null) {
      const { path } = this.#context.cell
      const text =
        `Cannot ask "${envelope.message.type}" of ${path}: it is a pool that broadcasts, and one ask has one answer; ` +
        `tell it, or use another strategy`
      envelope.call.fail(new ActorError('RUNTIME_ILLEGAL_CALL', text, { path, type: envelope.message.type }))
      return
    }
    if (this.#workers.some(isGone)) this.#dropGone()
    for (const worker of this.#workers) this.#forward(worker, envelope)
    if (this.#workers.length === 0) this.#refuseAsEmpty(envelope)
  }

  /** `undefined`: there is no telling, and the message was refused. */
  #choose(envelope: Envelope): Cell | undefined {
    const workers = this.#workers
    const { strategy, hashKey } = this.#plan
    if (strategy === 'random') return workers[this.#context.random.int(0, workers.length - 1)]
    if (strategy === 'smallest-mailbox') return this.#leastBusy()
    if (hashKey !== undefined) return this.#ownerOf(envelope, hashKey)
    this.#turn = this.#turn >= workers.length ? 1 : this.#turn + 1
    return workers[this.#turn - 1]
  }

  /** Begins behind the one it chose last, so that idle workers take turns. */
  #leastBusy(): Cell {
    const workers = this.#workers
    const count = workers.length
    let chosen = this.#turn % count
    let least = Number.POSITIVE_INFINITY
    for (let step = 0; step < count && least > 0; step++) {
      const index = (this.#turn + step) % count
      const load = loadOf(workers[index] as Cell)
      if (load < least) {
        least = load
        chosen = index
      }
    }
    this.#turn = chosen + 1
    return workers[chosen] as Cell
  }

  #ownerOf(envelope: Envelope, hashKey: (message: Message) => string): Cell | undefined {
    const { path } = this.#context.cell
    const { message } = envelope
    let problem: string
    try {
      const key: unknown = hashKey(message)
      if (typeof key === 'string') return this.#workers[rendezvousOwner(rendezvousHash(key), this.#hashes)]
      problem = `it must return a string, got ${key === null ? 'null' : typeof key}`
    } catch (thrown) {
      problem = toError(thrown).message
    }
    const text = `Cannot pass "${message.type}" on to a worker of ${path}: its hashKey failed: ${problem}`
    // The message is at fault, not the workers: a crash of the pool would take them all down.
    this.#refuse(envelope, 'invalid', (details) => new InvalidMessage(text, details))
    return undefined
  }

  #refuseAsEmpty(envelope: Envelope): void {
    const { type } = envelope.message
    const { path } = this.#context.cell
    const text = `Cannot pass "${type}" on: none of the ${this.#plan.size} workers of ${path} is left`
    this.#refuse(envelope, 'stopped', (details) => new ActorStopped(text, details))
  }

  #refuse(
    envelope: Envelope,
    reason: DeadLetterReason,
    makeError: (details: Readonly<Record<string, unknown>>) => ActorError,
  ): void {
    const { cell } = this.#context
    const { kernel, kind, path } = cell
    const error = makeError({ path, type: envelope.message.type })
    if (envelope.call !== null) envelope.call.fail(error)
    else if (reason === 'invalid')
      kernel.log.error({ path, code: error.code, type: envelope.message.type }, error.message)
    kernel.hooks.deadLetter(envelope, reason, kind, path)
  }

  /** Forgets workers that are gone for good, or going. */
  #dropGone(): void {
    const workers = this.#workers
    for (let index = workers.length - 1; index >= 0; index--) {
      if (!isGone(workers[index] as Cell)) continue
      workers.splice(index, 1)
      this.#hashes.splice(index, 1)
      if (this.#turn > index) this.#turn--
    }
  }
}

/** It takes no more messages, and never will. */
function isGone(worker: Cell): boolean {
  return worker.status > CellStatus.suspended
}

/** What a worker has to do: what waits, and what it is at. Nobody knows when one between two incarnations goes on. */
function loadOf(worker: Cell): number {
  const load = worker.depth + (worker.isHeld ? 1 : 0)
  return worker.status === CellStatus.suspended ? load + 1_000_000 : load
}
