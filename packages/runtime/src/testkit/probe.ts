/**
 * A probe: a real actor that a test holds in its hand. It takes every message of a protocol, keeps it, and lets the test
 * say what it expected. The idea is Akka's TestProbe.
 *
 * On a virtual platform an expectation moves time on just as far as it needs: to the next timer, and the next, until the
 * message is there or `withinMs` has passed. On a real one it waits. Either way the code of the test is the same.
 */
import { toError } from '../actor/actor-error.ts'
import { actor, type Handlers } from '../actor/behaviour.ts'
import type { ActorContext, LaterReply } from '../actor/context.ts'
import { tell } from '../actor/protocol.ts'
import type { AnyMessage, AskKeys, MessageDefs, MessageOf, Protocol, ReplyOf } from '../actor/protocol.ts'
import type { ActorRef, AnyActorRef } from '../actor/ref.ts'
import type { EndReason } from '../actor/watch.ts'
import type { VirtualPlatform } from '../platform/virtual-platform.ts'
import type { ActorSystem } from '../system/actor-system.ts'
import { ExpectationFailed, messagesText, messageText } from './expectation.ts'

export interface ExpectOptions {
  /** How long to wait, in the platform's milliseconds. @default 3_000 */
  readonly withinMs?: number | undefined
}

/** `noneForMs` is how long `expectNone` looks when it is not told. */
export const probeDefaults = Object.freeze({ withinMs: 3_000, noneForMs: 100 })

/** A test's actor. Messages stand in a line until an expectation takes them, oldest first. */
export interface Probe<M extends MessageDefs> extends AsyncDisposable {
  readonly ref: ActorRef<M>
  /** Every message so far, oldest first, those that were expected included. */
  readonly received: readonly AnyMessage<M>[]
  /**
   * Takes the next message, which must be of type `type`.
   * @throws {ExpectationFailed} as a rejection, if it is another, or none comes within `withinMs`
   */
  readonly expect: {
    <K extends keyof M & string>(
      type: K,
      options?: ExpectOptions,
    ): Promise<MessageOf<M, K> & { readonly type: K }>
    /** Takes the next message, which must satisfy `predicate`. */
    (predicate: (message: AnyMessage<M>) => boolean, options?: ExpectOptions): Promise<AnyMessage<M>>
  }
  /**
   * Takes messages up to and including the first that satisfies `predicate`, and returns that one.
   * @throws {ExpectationFailed} as a rejection, if none does within `withinMs`
   */
  readonly fish: (
    predicate: (message: AnyMessage<M>) => boolean,
    options?: ExpectOptions,
  ) => Promise<AnyMessage<M>>
  /**
   * @param forMs default 100
   * @throws {ExpectationFailed} as a rejection, if a message is waiting or comes within `forMs`
   */
  readonly expectNone: (forMs?: number) => Promise<void>
  /**
   * Answers the oldest ask of that type that has not been answered.
   * @throws {ExpectationFailed} if there is none
   */
  readonly reply: <K extends AskKeys<M>>(type: K, value: ReplyOf<M[K]>) => void
  /** Refuses it instead, as `throw reject(reason, data)` does. */
  readonly refuse: <K extends AskKeys<M>>(type: K, reason: string, data?: unknown) => void
  /** Watches `target`: see `expectEnded`. */
  readonly watch: (target: AnyActorRef) => void
  /**
   * Waits for the notice that `target`, which is watched, has ended. Its reason is returned.
   * @throws {ExpectationFailed} as a rejection, if none comes within `withinMs`
   */
  readonly expectEnded: (target: AnyActorRef, options?: ExpectOptions) => Promise<EndReason>
  /** Runs `run` with the probe's own context, to act in its name: `await probe.act((ctx) => ctx.tell(ref, ...))`. */
  readonly act: <T>(run: (ctx: ActorContext<M>) => T) => Promise<Awaited<T>>
  /** Stops the probe. */
  readonly stop: () => Promise<void>
}

/**
 * Starts a probe under /user. `name` default: `probe-1`, `probe-2`, ...
 *
 * @throws {ActorError} RUNTIME_DUPLICATE_NAME, or RUNTIME_STOPPED once the system is shutting down
 */
export function probe<M extends MessageDefs>(
  system: ActorSystem,
  target: Protocol<M>,
  name?: string,
): Probe<M> {
  return new ProbeImpl(system, target, name ?? nextName(system))
}

const counts = new WeakMap<ActorSystem, number>()

function nextName(system: ActorSystem): string {
  const count = (counts.get(system) ?? 0) + 1
  counts.set(system, count)
  return `probe-${count}`
}

/** Its handler keeps nothing: what a watch has to tell is told while its notice is made. */
const noticeType = 'probe-watch-notice'
const own = Object.freeze({ [noticeType]: tell() })

interface Owed {
  readonly type: string
  readonly later: LaterReply<unknown>
}

class ProbeImpl<M extends MessageDefs> implements Probe<M> {
  readonly ref: ActorRef<M>
  readonly received: AnyMessage<M>[] = []
  readonly #system: ActorSystem
  /** Index of the first message that no expectation has taken. */
  #next = 0
  readonly #owed: Owed[] = []
  readonly #ended = new Map<AnyActorRef, EndReason>()
  #context: ActorContext<M> | undefined
  #whenStarted: ((ctx: ActorContext<M>) => void)[] = []
  readonly #waiting = new Set<() => void>()

  constructor(system: ActorSystem, target: Protocol<M>, name: string) {
    this.#system = system
    const definition = actor(target, { own, name: `probe of ${target.name}` }, (ctx) => {
      this.#started(ctx as unknown as ActorContext<M>)
      return this.#handlers(target) as Handlers<M & typeof own>
    })
    this.ref = system.spawn(name, definition, { restart: 'temporary' })
  }

  readonly expect = async (
    wanted: string | ((message: AnyMessage<M>) => boolean),
    options: ExpectOptions = {},
  ): Promise<never> => {
    const withinMs = options.withinMs ?? probeDefaults.withinMs
    const what =
      typeof wanted === 'string' ? `a message "${wanted}"` : 'a message that satisfies the predicate'
    if (!(await this.#until(() => this.#next < this.received.length, withinMs))) {
      throw this.#failed(what, `within ${withinMs} ms, but none came`)
    }
    const message = this.#take()
    const fits = typeof wanted === 'string' ? message.type === wanted : wanted(message)
    if (!fits) throw this.#failed(what, `but ${messageText(message)} came`)
    return message as never
  }

  readonly fish = async (
    predicate: (message: AnyMessage<M>) => boolean,
    options: ExpectOptions = {},
  ): Promise<AnyMessage<M>> => {
    const withinMs = options.withinMs ?? probeDefaults.withinMs
    let found: AnyMessage<M> | undefined
    const look = (): boolean => {
      while (found === undefined && this.#next < this.received.length) {
        const message = this.#take()
        if (predicate(message)) found = message
      }
      return found !== undefined
    }
    const first = this.#next
    if (await this.#until(look, withinMs)) return found as unknown as AnyMessage<M>
    const passed = this.received.length - first
    throw this.#failed(
      'a message that satisfies the predicate',
      `within ${withinMs} ms, but none of ${passed} did`,
    )
  }

  readonly expectNone = async (forMs: number = probeDefaults.noneForMs): Promise<void> => {
    if (!(await this.#until(() => this.#next < this.received.length, forMs))) return
    const message = this.#take()
    throw this.#failed('no message', `for ${forMs} ms, but ${messageText(message)} came`)
  }

  readonly reply = (type: string, value: unknown): void => {
    this.#takeOwed(type).reply(value)
  }

  readonly refuse = (type: string, reason: string, data?: unknown): void => {
    this.#takeOwed(type).fail(reason, data)
  }

  readonly watch = (target: AnyActorRef): void => {
    void this.act((ctx) => {
      // A probe takes its own notice besides the messages of its protocol.
      const watching = ctx as unknown as ActorContext<{}, typeof own>
      watching.watch(target, (reason) => {
        this.#ended.set(target, reason)
        return { type: noticeType }
      })
    })
  }

  readonly expectEnded = async (target: AnyActorRef, options: ExpectOptions = {}): Promise<EndReason> => {
    const withinMs = options.withinMs ?? probeDefaults.withinMs
    if (!(await this.#until(() => this.#ended.has(target), withinMs))) {
      throw this.#failed(
        `${target.path} to end`,
        `within ${withinMs} ms, but it did not, or it is not watched`,
      )
    }
    const reason = this.#ended.get(target) as EndReason
    this.#ended.delete(target)
    return reason
  }

  readonly act = async <T>(run: (ctx: ActorContext<M>) => T): Promise<Awaited<T>> => {
    const context = this.#context
    if (context !== undefined) return await run(context)
    return await new Promise<T>((resolve, reject) => {
      this.#whenStarted.push((ctx) => {
        try {
          resolve(run(ctx))
        } catch (error) {
          reject(toError(error))
        }
      })
    })
  }

  readonly stop = (): Promise<void> => this.#system.stop(this.ref)

  readonly [Symbol.asyncDispose] = (): Promise<void> => this.stop()

  #started(ctx: ActorContext<M>): void {
    this.#context = ctx
    const actions = this.#whenStarted
    this.#whenStarted = []
    for (const run of actions) run(ctx)
  }

  #handlers(target: Protocol<M>): unknown {
    const handlers: Record<string, (message: AnyMessage<M>) => unknown> = {
      [noticeType]: () => {
        this.#wake()
      },
    }
    for (const [type, definition] of Object.entries(target.messages)) {
      handlers[type] = (message) => {
        this.received.push(message)
        let later: LaterReply<unknown> | undefined
        if (definition.kind === 'ask') {
          later = (this.#context as ActorContext<M>).call().later<unknown>()
          this.#owed.push({ type, later })
        }
        this.#wake()
        return later
      }
    }
    return handlers
  }

  #take(): AnyMessage<M> {
    return this.received[this.#next++] as AnyMessage<M>
  }

  #takeOwed(type: string): LaterReply<unknown> {
    const index = this.#owed.findIndex((owed) => owed.type === type)
    const [owed] = index === -1 ? [] : this.#owed.splice(index, 1)
    if (owed !== undefined) return owed.later
    const open = this.#owed.map((other) => `"${other.type}"`).join(', ')
    throw this.#failed(
      `an unanswered ask "${type}"`,
      open === '' ? 'but there is none' : `but there is only ${open}`,
    )
  }

  #wake(): void {
    for (const look of [...this.#waiting]) look()
  }

  /** Lets time pass until `ready`; false when `withinMs` has passed first. */
  #until(ready: () => boolean, withinMs: number): Promise<boolean> {
    const { platform } = this.#system
    return isVirtual(platform) ? passTime(platform, ready, withinMs) : this.#wait(ready, withinMs)
  }

  #wait(ready: () => boolean, withinMs: number): Promise<boolean> {
    if (ready()) return Promise.resolve(true)
    const { clock } = this.#system.platform
    return new Promise((resolve) => {
      const timer = clock.setTimer(clock.monotonicMs() + withinMs, () => {
        this.#waiting.delete(look)
        resolve(ready())
      })
      const look = (): void => {
        if (!ready()) return
        timer.cancel()
        this.#waiting.delete(look)
        resolve(true)
      }
      this.#waiting.add(look)
    })
  }

  #failed(expected: string, rest: string): ExpectationFailed {
    const { received } = this
    const earlier = received.length === 0 ? '' : `; all it received: ${messagesText(received)}`
    return new ExpectationFailed(`Expected ${expected} at ${this.ref.path} ${rest}${earlier}`, expected, [
      ...received,
    ])
  }
}

function isVirtual(platform: object): platform is VirtualPlatform {
  return 'advance' in platform && 'nextTimerAtMs' in platform
}

async function passTime(platform: VirtualPlatform, ready: () => boolean, withinMs: number): Promise<boolean> {
  const { clock } = platform
  const untilMs = clock.monotonicMs() + withinMs
  await platform.settle()
  while (!ready()) {
    const nextMs = Math.min(platform.nextTimerAtMs() ?? untilMs, untilMs)
    await platform.advance(Math.max(0, nextMs - clock.monotonicMs()))
    if (nextMs === untilMs) return ready()
  }
  return true
}
