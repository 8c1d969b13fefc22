/** An actor that refuses the past: messages that carry a `token` are judged before their handler runs. */
import { reject, type Handlers, type MessageDefs } from '@understudy/runtime'
import type { TokenMemory } from './guard-memory.ts'

export interface GuardActorOptions {
  /** In refusals. @default 'the guarded actor' */
  readonly name?: string | undefined
  /**
   * Where the highest token is kept, written before the handler of the message that raised it runs. Without it the guard knows
   * as much as the actor's own state: both begin anew at each restart of the actor, and until a new holder shows its token an
   * old one is let in. An actor whose state survives needs one: `storeTokenMemory(ctx.store('...'))`.
   * @default none
   */
  readonly memory?: TokenMemory | undefined
}

/** The reason that `reject` is given: the asker's `Rejected` has it as `reason`, and a `FencedMessage` as `data`. */
export const fencedReason = 'LOCK_FENCED'

/** What is told with the refusal of a message. */
export interface FencedMessage {
  readonly resource: string
  readonly token: number
  /** The highest that was seen. */
  readonly highest: number
}

/**
 * The handlers of an actor, guarded: for what `setup` returns. A message with a field `token` is handled if no higher token has
 * been seen, else it is refused: an ask is rejected with the reason LOCK_FENCED, a tell is dropped (and logged at debug level).
 * A `token` that is no whole number from 1 is refused with the reason `bad-token`. Messages without one, reads for instance,
 * pass. Since an actor handles one message at a time, nothing of a lower token comes behind something of a higher one; messages
 * listed as `concurrent` must not carry tokens.
 *
 * With a memory the result is a promise (`setup` may return one), and a message that raises the token is handled behind an
 * await: its handler must not use `ctx.call()` or `ctx.stash()`.
 *
 *     actor(Account, (ctx) => guardActor({ put: ({ token, value }) => { ... } }, { memory: storeTokenMemory(ctx.store('fence')) }))
 */
export function guardActor<M extends MessageDefs>(
  handlers: Handlers<M>,
  options: GuardActorOptions & { readonly memory: TokenMemory },
): Promise<Handlers<M>>
export function guardActor<M extends MessageDefs>(
  handlers: Handlers<M>,
  options?: GuardActorOptions & { readonly memory?: undefined },
): Handlers<M>
export function guardActor<M extends MessageDefs>(
  handlers: Handlers<M>,
  { name = 'the guarded actor', memory }: GuardActorOptions = {},
): Handlers<M> | Promise<Handlers<M>> {
  if (memory === undefined) return guarded(handlers, name, 0, undefined)
  return memory.load().then((highest) => guarded(handlers, name, highest, memory))
}

/** A handler as the guard sees it: it passes on what comes, whatever its type. */
type AnyHandler = (message: { readonly token?: unknown }) => unknown

function guarded<M extends MessageDefs>(
  handlers: Handlers<M>,
  name: string,
  saved: number,
  memory: TokenMemory | undefined,
): Handlers<M> {
  let highest = saved
  const judge = (handle: AnyHandler): AnyHandler => {
    return (message) => {
      const { token } = message
      if (token === undefined) return handle(message)
      if (typeof token !== 'number' || !Number.isSafeInteger(token) || token < 1) {
        throw reject('bad-token', { resource: name, token: String(token) })
      }
      if (token < highest) {
        throw reject(fencedReason, { resource: name, token, highest } satisfies FencedMessage)
      }
      if (token === highest || memory === undefined) {
        highest = token
        return handle(message)
      }
      return memory.save(token).then(() => {
        highest = token
        return handle(message)
      })
    }
  }
  // Each handler has a message type of its own; the guard looks at `token` alone and passes on what comes as it came.
  const own = handlers as unknown as Readonly<Record<string, AnyHandler>>
  const all: Record<string, AnyHandler> = {}
  for (const type of namesOf(own)) {
    const handle = own[type]
    if (typeof handle === 'function') all[type] = judge((message) => handle.call(own, message))
  }
  // The same names, each with a handler that takes and gives what its own one does.
  return all as unknown as Handlers<M>
}

/** An instance of a class has its handlers on its prototype. */
function namesOf(handlers: object): readonly string[] {
  const names = new Set<string>()
  for (let part: object | null = handlers; part !== null && part !== Object.prototype;) {
    for (const name of Object.getOwnPropertyNames(part)) if (name !== 'constructor') names.add(name)
    part = Object.getPrototypeOf(part) as object | null
  }
  return [...names]
}
