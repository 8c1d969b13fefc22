/**
 * What the compiler must know, and must refuse. Nothing in here runs: that this file compiles is the test, because a
 * `@ts-expect-error` over a line without an error is one itself.
 */
import {
  actor,
  ask,
  child,
  client,
  createSystem,
  protocol,
  refOf,
  reject,
  supervisor,
  tell,
  type ActorContext,
  type ActorRef,
  type ActorSystem,
  type AskKeys,
  type Client,
  type Definition,
  type Handlers,
  type MessageOf,
  type PayloadOf,
  type ReplyOf,
  type TellKeys,
} from '@understudy/runtime'
import { behaviourKit, probe, type Outcome, type TestSystem } from '@understudy/runtime/testkit'
import { test } from 'tap'
import Type from 'typebox'

type Exactly<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false
/** Compiles only for `exact<Exactly<A, B>>()` with A and B the very same type. */
function exact<_T extends true>(): void {
  // The argument is the assertion.
}

const Counter = protocol('counter', {
  inc: tell({ by: Type.Integer() }),
  reset: tell(),
  label: tell({ text: Type.Optional(Type.String()) }),
  get: ask(Type.Integer()),
  addAndGet: ask({ by: Type.Integer() }, Type.Integer()),
  describe: ask(Type.Object({ name: Type.String(), tags: Type.Array(Type.String()) })),
  clear: ask(Type.Null()),
})
type CounterMessages = typeof Counter.messages
/** Half of it: whoever wants only this takes a ref to the whole. */
const Readable = protocol('readable', { get: Counter.messages.get })
type ReadableMessages = typeof Readable.messages

const own = { tick: tell(), gone: tell({ who: Type.String() }) }
const whole = {
  inc: () => undefined,
  reset: () => undefined,
  label: () => undefined,
  get: () => 1,
  addAndGet: () => 1,
  describe: () => ({ name: '', tags: [] }),
  clear: () => null,
}

declare const ref: ActorRef<CounterMessages>
declare const readable: ActorRef<ReadableMessages>
declare const ctx: ActorContext<CounterMessages, typeof own>
declare const system: ActorSystem

const unused: readonly (() => unknown)[] = [
  function payloadsAndReplies() {
    exact<Exactly<PayloadOf<CounterMessages['inc']>, { by: number }>>()
    exact<Exactly<PayloadOf<CounterMessages['reset']>, unknown>>()
    exact<Exactly<PayloadOf<CounterMessages['label']>, { text?: string }>>()
    exact<Exactly<ReplyOf<CounterMessages['get']>, number>>()
    exact<Exactly<ReplyOf<CounterMessages['describe']>, { name: string; tags: string[] }>>()
    exact<Exactly<TellKeys<CounterMessages>, 'inc' | 'reset' | 'label'>>()
    exact<Exactly<AskKeys<CounterMessages>, 'get' | 'addAndGet' | 'describe' | 'clear'>>()
    const message: MessageOf<CounterMessages, 'inc'> = { type: 'inc', by: 1 }
    return message
  },

  function exactReplies() {
    const get = ref.ask({ type: 'get' })
    const add = ref.ask({ type: 'addAndGet', by: 1 }, { timeoutMs: 5 })
    const describe = ref.ask({ type: 'describe' })
    const clear = ctx.ask(ref, { type: 'clear' })
    const fromContext = ctx.ask(ref, { type: 'addAndGet', by: 1 })
    exact<Exactly<typeof get, Promise<number>>>()
    exact<Exactly<typeof add, Promise<number>>>()
    exact<Exactly<typeof describe, Promise<{ name: string; tags: string[] }>>>()
    exact<Exactly<typeof clear, Promise<null>>>()
    exact<Exactly<typeof fromContext, Promise<number>>>()
  },

  function tells() {
    ref.tell({ type: 'inc', by: 1 })
    ref.tell({ type: 'reset' })
    ref.tell({ type: 'label' })
    ref.tell({ type: 'label', text: 'x' })
    ctx.tell(ref, { type: 'inc', by: 1 })
    // @ts-expect-error a wrong payload
    ref.tell({ type: 'inc', by: 'one' })
    // @ts-expect-error a missing field
    ref.tell({ type: 'inc' })
    // @ts-expect-error an unknown type
    ref.tell({ type: 'dec', by: 1 })
    // @ts-expect-error an excess property
    ref.tell({ type: 'inc', by: 1, extra: true })
    // @ts-expect-error an excess property where there are no fields
    ref.tell({ type: 'reset', extra: true })
    // @ts-expect-error an ask is asked, not told
    ref.tell({ type: 'get' })
    // @ts-expect-error undefined is not absence
    ref.tell({ type: 'label', text: undefined })
    // @ts-expect-error the same through ctx: a wrong payload
    ctx.tell(ref, { type: 'inc', by: 'one' })
    // @ts-expect-error an unknown type
    ctx.tell(ref, { type: 'dec', by: 1 })
    // @ts-expect-error an excess property
    ctx.tell(ref, { type: 'inc', by: 1, extra: true })
    // @ts-expect-error an ask
    ctx.tell(ref, { type: 'get' })
  },

  function asks() {
    // @ts-expect-error a tell is told, not asked
    void ref.ask({ type: 'reset' })
    // @ts-expect-error a tell with a payload neither
    void ref.ask({ type: 'inc', by: 1 })
    // @ts-expect-error a wrong payload
    void ref.ask({ type: 'addAndGet', by: 'one' })
    // @ts-expect-error a missing field
    void ref.ask({ type: 'addAndGet' })
    // @ts-expect-error an unknown type
    void ref.ask({ type: 'subtract', by: 1 })
    // @ts-expect-error an excess property
    void ref.ask({ type: 'addAndGet', by: 1, extra: true })
    // @ts-expect-error an excess property where there are no fields
    void ref.ask({ type: 'get', extra: true })
    // @ts-expect-error an unknown option
    void ref.ask({ type: 'get' }, { timeout: 5 })
    // @ts-expect-error the same through ctx: a tell
    void ctx.ask(ref, { type: 'reset' })
    // @ts-expect-error a wrong payload
    void ctx.ask(ref, { type: 'addAndGet', by: 'one' })
    // @ts-expect-error an unknown type
    void ctx.ask(ref, { type: 'subtract', by: 1 })
    // @ts-expect-error an excess property
    void ctx.ask(ref, { type: 'addAndGet', by: 1, extra: true })
  },

  function requests() {
    ctx.request(
      ref,
      { type: 'addAndGet', by: 1 },
      (reply) => {
        exact<Exactly<typeof reply, number>>()
        return { type: 'gone', who: String(reply) }
      },
      (error) => ({ type: 'gone', who: error.code }),
    )
    // @ts-expect-error the reply becomes one of the actor's own messages, or of its protocol
    ctx.request(ref, { type: 'get' }, () => ({ type: 'elsewhere' }))
    // @ts-expect-error with the right payload
    ctx.request(ref, { type: 'get' }, () => ({ type: 'gone', who: 1 }))
    // @ts-expect-error a tell has no reply
    ctx.request(ref, { type: 'reset' }, () => ({ type: 'tick' }))
    ctx.pipe(Promise.resolve('x'), (value) => {
      exact<Exactly<typeof value, string>>()
      return { type: 'inc', by: 1 }
    })
    // @ts-expect-error no such message
    ctx.pipe(Promise.resolve('x'), () => ({ type: 'elsewhere' }))
  },

  function ownMessages() {
    ctx.timers.once('key', 5, { type: 'tick' })
    ctx.timers.every('key', 5, { type: 'inc', by: 1 })
    ctx.watch(ref, (reason) => {
      exact<Exactly<typeof reason, 'stopped' | 'failed' | 'limit' | 'node-down' | 'not-found'>>()
      return { type: 'gone', who: reason }
    })
    ctx.setReceiveTimeout(5, { type: 'tick' })
    // @ts-expect-error own messages are absent from the ref
    ref.tell({ type: 'tick' })
    // @ts-expect-error also from its own
    ctx.tell(ctx.self, { type: 'tick' })
    // @ts-expect-error no such message
    ctx.timers.once('key', 5, { type: 'tock' })
    // @ts-expect-error a wrong payload
    ctx.watch(ref, () => ({ type: 'gone', who: 1 }))
    // @ts-expect-error no such message
    ctx.watch(ref, () => ({ type: 'lost' }))
    // @ts-expect-error no such message
    ctx.setReceiveTimeout(5, { type: 'tock' })
  },

  function handlers() {
    actor(Counter, () => whole)
    actor(Counter, async () => whole)
    actor(Counter, (context) => {
      exact<Exactly<typeof context, ActorContext<CounterMessages, {}>>>()
      return {
        inc: ({ by }) => {
          exact<Exactly<typeof by, number>>()
        },
        reset: async () => undefined,
        label: (message) => {
          exact<Exactly<typeof message.text, string | undefined>>()
        },
        get: () => 1,
        addAndGet: async ({ by }) => by,
        describe: () => {
          throw reject('not-now')
        },
        clear: () => context.call().later<null>(),
      }
    })
    actor(Counter, (context) => ({
      ...whole,
      inc: () => context.stash(),
      get: () => context.stash(),
      describe: () => context.stash(),
    }))
    const { get: _get, ...withoutGet } = whole
    // @ts-expect-error a missing handler
    actor(Counter, () => withoutGet)
    // @ts-expect-error a missing reply
    actor(Counter, () => ({ ...whole, get: () => undefined }))
    // @ts-expect-error a missing reply in a promise
    actor(Counter, () => ({ ...whole, get: async () => undefined }))
    // @ts-expect-error a wrong reply
    actor(Counter, () => ({ ...whole, get: () => 'one' }))
    // @ts-expect-error a wrong reply in a promise
    actor(Counter, () => ({ ...whole, addAndGet: async () => 'one' }))
    // @ts-expect-error a wrong field of a reply
    actor(Counter, () => ({ ...whole, describe: () => ({ name: '', tags: [1] }) }))
    // @ts-expect-error a wrong reply, later
    actor(Counter, (context) => ({ ...whole, get: () => context.call().later<string>() }))
    // @ts-expect-error a handler of other fields
    actor(Counter, () => ({ ...whole, inc: (_message: { readonly step: number }) => undefined }))
  },

  function ownHandlers() {
    actor(Counter, { own }, (context) => {
      exact<Exactly<typeof context, ActorContext<CounterMessages, typeof own>>>()
      return {
        ...whole,
        tick: () => undefined,
        gone: ({ who }) => {
          exact<Exactly<typeof who, string>>()
        },
      }
    })
    // @ts-expect-error a handler for each own message
    actor(Counter, { own }, () => ({ ...whole, tick: () => undefined }))
  },

  function classes() {
    class Impl implements Handlers<CounterMessages> {
      inc = (): void => undefined
      reset(): void {}
      label(): void {}
      get(): number {
        return 1
      }
      async addAndGet({ by }: { readonly by: number }): Promise<number> {
        return by
      }
      describe = () => ({ name: '', tags: [] })
      clear = (): null => null
    }
    actor(Counter, () => new Impl())
    // @ts-expect-error a class without all handlers
    class Half implements Handlers<CounterMessages> {
      inc(): void {}
    }
    return Half
  },

  function spawns() {
    const plain = actor(Counter, () => whole)
    const started = actor(Counter, (_ctx, input: { readonly start: number }) => ({
      ...whole,
      get: () => input.start,
    }))
    exact<Exactly<typeof plain, Definition<CounterMessages, void>>>()
    exact<Exactly<typeof started, Definition<CounterMessages, { readonly start: number }>>>()
    const spawned = system.spawn('a', plain)
    exact<Exactly<typeof spawned, ActorRef<CounterMessages>>>()
    system.spawn('a', plain, { restart: 'temporary' })
    system.spawn('a', started, { start: 3 })
    system.spawn('a', started, { start: 3 }, { restart: 'temporary' })
    ctx.spawn('a', started, { start: 3 })
    child('a', started, { start: 3 })
    // @ts-expect-error a missing input
    system.spawn('a', started)
    // @ts-expect-error a wrong input
    system.spawn('a', started, { start: 'three' })
    // @ts-expect-error an input where none is taken
    system.spawn('a', plain, { start: 3 })
    // @ts-expect-error a missing input for a child of an actor
    ctx.spawn('a', started)
    // @ts-expect-error a missing input for a child of a supervisor
    child('a', started)
    // @ts-expect-error a missing input for a kit
    behaviourKit(started)
    supervisor({ strategy: 'rest-for-one' }, [child('a', plain), child('b', started, { start: 1 })])
    // @ts-expect-error no such strategy
    supervisor({ strategy: 'all-for-one' }, [])
    void createSystem('x', supervisor({}, []))
    void createSystem('x', plain)
  },

  function variance() {
    const smaller: ActorRef<ReadableMessages> = ref
    // @ts-expect-error a ref to the smaller protocol where the bigger one is wanted
    const bigger: ActorRef<CounterMessages> = readable
    const Other = protocol('other', { get: ask(Type.String()) })
    // @ts-expect-error the same name with another reply
    const other: ActorRef<ReadableMessages> = null as unknown as ActorRef<typeof Other.messages>
    const Wants = protocol('wants', { get: ask({ key: Type.String() }, Type.Integer()) })
    // @ts-expect-error the same name with another payload
    const wants: ActorRef<ReadableMessages> = null as unknown as ActorRef<typeof Wants.messages>
    const takesBigger = (_ref: ActorRef<CounterMessages>): void => undefined
    const takesSmaller = (_ref: ActorRef<ReadableMessages>): void => undefined
    const asBigger: (ref: ActorRef<CounterMessages>) => void = takesSmaller
    // @ts-expect-error and the other way round for those who take them
    const asSmaller: (ref: ActorRef<ReadableMessages>) => void = takesBigger
    return [smaller, bigger, other, wants, asBigger, asSmaller]
  },

  function refsInMessages() {
    const Introduce = protocol('introduce', {
      meet: tell({ who: refOf(Readable) }),
      best: ask(refOf(Counter)),
    })
    const introducer = null as unknown as ActorRef<typeof Introduce.messages>
    introducer.tell({ type: 'meet', who: readable })
    introducer.tell({ type: 'meet', who: ref })
    const best = introducer.ask({ type: 'best' })
    exact<Exactly<typeof best, Promise<ActorRef<CounterMessages>>>>()
    const Wanting = protocol('wanting', { meet: tell({ who: refOf(Counter) }) })
    const wanting = null as unknown as ActorRef<typeof Wanting.messages>
    // @ts-expect-error a ref to a smaller protocol than the field wants
    wanting.tell({ type: 'meet', who: readable })
  },

  function clients() {
    const methods: Client<CounterMessages> = client(ref)
    const get = methods.get()
    const add = ctx.client(ref).addAndGet({ by: 1 }, { timeoutMs: 5 })
    const told = methods.inc({ by: 1 })
    exact<Exactly<typeof get, Promise<number>>>()
    exact<Exactly<typeof add, Promise<number>>>()
    exact<Exactly<typeof told, boolean>>()
    // @ts-expect-error a wrong payload
    void methods.addAndGet({ by: 'one' })
    // @ts-expect-error a missing payload
    void methods.addAndGet()
    // @ts-expect-error no such method
    void methods.subtract()
    // @ts-expect-error a client is no promise
    void methods.then
  },

  function kits() {
    const kit = behaviourKit(actor(Counter, () => whole))
    const outcome = kit.send({ type: 'get' })
    exact<Exactly<typeof outcome, Outcome<number>>>()
    // @ts-expect-error no such message
    kit.send({ type: 'dec' })
    const someone = probe(null as unknown as TestSystem, Counter)
    const message = someone.expect('inc')
    type Expected = Awaited<typeof message>
    exact<Exactly<Expected['by'], number>>()
    someone.reply('get', 1)
    // @ts-expect-error a wrong answer
    someone.reply('get', 'one')
    // @ts-expect-error a tell is not answered
    someone.reply('inc', 1)
    // @ts-expect-error no such message
    void someone.expect('dec')
  },
]

void test('the compiler knows replies, payloads, own messages and inputs exactly, and refuses the rest', async (t) => {
  t.ok(unused.length > 0, 'this file compiled')
})
