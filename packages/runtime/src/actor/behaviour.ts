/**
 * A definition says what an actor does: a protocol, options, and `setup`, a function that returns one handler per
 * message. Running `setup` again is a restart: fresh state, same ref.
 */
import type { TSchema } from 'typebox'
import type { ChildOptions, SupervisionOptions } from './child-spec.ts'
import type { ActorContext, Later } from './context.ts'
import {
  checkMessageNames,
  type MessageDefs,
  type MessageOf,
  type Protocol,
  type ReplyOf,
} from './protocol.ts'

/** What a handler of message `K` returns: nothing, or the reply, or a promise of it, or `ctx.call().later()`. */
export type HandlerResult<D> = D extends { readonly kind: 'tell' }
  ? void | Promise<void>
  : ReplyOf<D> | Promise<ReplyOf<D>> | Later<ReplyOf<D>>

/** One handler per message. An object literal or an instance of a class: no base class, no decorator. */
export type Handlers<M> = {
  readonly [K in keyof M & string]: (message: MessageOf<M, K>) => HandlerResult<M[K]>
}

/** Runs at start and again at each restart. A throw, or a rejected promise, is a failed start. */
export type Setup<M extends MessageDefs, O, I> = (
  ctx: ActorContext<M, O>,
  input: I,
) => Handlers<M & O> | Promise<Handlers<M & O>>

/** What happens when a bounded mailbox is full: the new message goes, the oldest goes, or the sender is told. */
export type OverflowPolicy = 'drop-new' | 'drop-old' | 'reject'

/** Bounds of a mailbox. */
export interface MailboxOptions {
  /** Messages that may wait. @default Infinity (with a warning at 1,000 and at each doubling) */
  readonly messagesMax?: number | undefined
  /** @default 'reject' */
  readonly overflow?: OverflowPolicy | undefined
  /** `ref.room()` resolves below this many waiting messages. @default half of messagesMax, or 500 */
  readonly lowWater?: number | undefined
}

export interface ActorOptions<O extends MessageDefs = {}> {
  /** Messages that only the actor itself can send: ticks, watch notices, results of `ctx.pipe`. */
  readonly own?: O | undefined
  /** Unique per node; what another node may start here goes by it. @default the protocol's name */
  readonly name?: string | undefined
  /** A handler that takes longer is abandoned and fenced, and the actor fails. @default Infinity (off) */
  readonly handlerTimeoutMs?: number | undefined
  readonly mailbox?: MailboxOptions | undefined
  /**
   * Priority by message type, higher first, 0 for the others. Stable within a priority; across priorities FIFO is
   * waived. @default none
   */
  readonly priority?: Readonly<Record<string, number>> | undefined
  /** Messages that may run beside a handler that awaits. Such a handler must not write state. @default [] */
  readonly concurrent?: readonly string[] | undefined
  /** Messages that may wait in the stash. Beyond: dead letter `stash-overflow`. @default 1_000 */
  readonly stashMax?: number | undefined
  /** Children live on through a restart of this actor. @default false */
  readonly keepChildren?: boolean | undefined
  /** How this actor keeps its children. */
  readonly supervision?: SupervisionOptions | undefined
  /** Schema of the start input; needed when another node may start this actor. @default none */
  readonly input?: TSchema | undefined
}

/** A static child of a supervisor: see `child()`. */
export interface ChildSpec {
  readonly name: string
  readonly definition: AnyDefinition
  readonly input: unknown
  readonly options: ChildOptions
}

/** What `actor()` and `supervisor()` return. Registered by name, never shipped. */
export interface Definition<M extends MessageDefs, I> {
  readonly name: string
  readonly protocol: Protocol<M>
  /** @internal How the runtime sees it. */
  readonly body: DefinitionBody
  /** Phantom: the type of the start input. */
  readonly '~input'?: (input: I) => void
}

/** Any definition. */
export type AnyDefinition = Definition<MessageDefs, never>

/** @internal A definition without its types. */
export interface DefinitionBody {
  readonly own: MessageDefs
  readonly options: ActorOptions<MessageDefs>
  readonly setup: (context: unknown, input: unknown) => unknown
  /** A supervisor's static children, in start order. */
  readonly children: readonly ChildSpec[]
}

/** An actor's definition. `options.own` adds messages that only the actor itself can send. */
export function actor<M extends MessageDefs, I = void>(
  protocol: Protocol<M>,
  setup: Setup<M, {}, I>,
): Definition<M, I>
export function actor<M extends MessageDefs, const O extends MessageDefs = {}, I = void>(
  protocol: Protocol<M>,
  options: ActorOptions<O>,
  // Without NoInfer the handlers that setup returns are taken for own messages when `own` is left out.
  setup: Setup<M, NoInfer<O>, I>,
): Definition<M, I>
export function actor<M extends MessageDefs, O extends MessageDefs, I>(
  protocol: Protocol<M>,
  optionsOrSetup: ActorOptions<O> | Setup<M, {}, I>,
  setup?: Setup<M, O, I>,
): Definition<M, I> {
  const options: ActorOptions<MessageDefs> = typeof optionsOrSetup === 'function' ? {} : optionsOrSetup
  // From here on a definition has no types: the runtime calls `setup` with what it was spawned with.
  if (typeof protocol !== 'object' || !('messages' in protocol)) {
    throw new TypeError(
      'Cannot define an actor: the first argument must be a protocol, as protocol() returns it',
    )
  }
  const run = (typeof optionsOrSetup === 'function' ? optionsOrSetup : setup) as
    | DefinitionBody['setup']
    | undefined
  const name = options.name ?? protocol.name
  if (typeof run !== 'function') {
    throw new TypeError(`Cannot define actor "${name}": the last argument must be the setup function`)
  }
  const own = options.own ?? {}
  checkActorOptions(name, protocol, own, options)
  return Object.freeze({ name, protocol, body: Object.freeze({ own, options, setup: run, children: [] }) })
}

function checkActorOptions(
  name: string,
  protocol: Protocol,
  own: MessageDefs,
  options: ActorOptions<MessageDefs>,
): void {
  const what = `actor "${name}"`
  checkMessageNames(what, own)
  for (const type of Object.keys(own)) {
    if (type in protocol.messages) {
      throw new TypeError(`Cannot define ${what}: own message "${type}" is also a message of its protocol`)
    }
  }
  for (const type of [...(options.concurrent ?? []), ...Object.keys(options.priority ?? {})]) {
    if (!(type in protocol.messages) && !(type in own)) {
      throw new TypeError(`Cannot define ${what}: "${type}" in its options is none of its messages`)
    }
  }
  checkLimit(what, 'handlerTimeoutMs', options.handlerTimeoutMs, 1)
  checkLimit(what, 'mailbox.messagesMax', options.mailbox?.messagesMax, 1)
  checkLimit(what, 'mailbox.lowWater', options.mailbox?.lowWater, 1)
  checkLimit(what, 'stashMax', options.stashMax, 0)
}

function checkLimit(what: string, field: string, value: number | undefined, least: number): void {
  if (value !== undefined && !(value >= least)) {
    throw new RangeError(`Cannot define ${what}: ${field} must be at least ${least}, got ${String(value)}`)
  }
}

/**
 * @internal Tells a definition from whatever else may be given for one.
 * @throws {TypeError} that says what was given and what is wanted
 */
export function checkDefinition(what: string, value: unknown): void {
  if (typeof value === 'object' && value !== null && 'body' in value && 'protocol' in value) return
  const given =
    value === null || typeof value !== 'object'
      ? String(value)
      : 'messages' in value
        ? 'a protocol'
        : 'something else'
  throw new TypeError(
    `${what} must be a definition, as actor(), pool() or supervisor() return it; got ${given}`,
  )
}
