/**
 * The same contract whether an actor is here or on another node: each case runs once with both on one node and once
 * with the target on another, and what the asker or watcher meets must be the same.
 */
import {
  actor,
  ask,
  CallCycleError,
  protocol,
  refOf,
  tell,
  type ActorRef,
  type AnyActorRef,
  type ChildOptions,
  type AnyDefinition,
} from '@understudy/runtime'
import type { ClusterNode } from '@understudy/cluster'
import { probe } from '@understudy/runtime/testkit'
import { test, type Test } from 'tap'
import Type from 'typebox'
import { gate, Puppet, puppet, type PuppetOptions, type PuppetRef, type Script } from '../support/runtime.ts'
import { virtualCluster, type VirtualCluster } from '../support/virtual-cluster.ts'

const Log = protocol('log', { line: tell({ text: Type.String() }) })
const Strict = protocol('strict', {
  add: ask({ item: Type.Object({ count: Type.Integer({ minimum: 1 }) }) }, Type.Integer()),
  any: ask({ value: Type.Any() }, Type.Any()),
  note: tell({ n: Type.Integer() }),
  notes: ask(Type.Array(Type.Integer())),
  wrong: ask(Type.Integer()),
})

const strict = (options: object = {}): AnyDefinition =>
  actor(Strict, options, () => {
    const notes: number[] = []
    return {
      add: ({ item }) => item.count,
      any: ({ value }) => value as unknown,
      note: ({ n }) => void notes.push(n),
      notes: () => notes,
      wrong: () => 'not an integer' as unknown as number,
    }
  }) as unknown as AnyDefinition

type StrictRef = ActorRef<typeof Strict.messages>

/** Where a case plays: who asks lives on `here`, who is asked on `there`. */
interface Place {
  readonly t: Test
  readonly cluster: VirtualCluster
  readonly here: ClusterNode
  readonly there: ClusterNode
  /** Starts an actor there; the ref is one that `here` has, bound to it. */
  readonly spawn: (name: string, definition: AnyDefinition, options?: ChildOptions) => Promise<PuppetRef>
  readonly puppet: (
    name: string,
    script: Script,
    options?: PuppetOptions & ChildOptions,
  ) => Promise<PuppetRef>
  /** An unbound ref of `here` to a path there. */
  readonly at: (path: string) => PuppetRef
  readonly strict: (name: string) => Promise<StrictRef>
}

/** Refs travel in messages: this is how `here` gets one that is bound. */
const Courier = protocol('courier', { fetch: ask({ name: Type.String() }, refOf(Puppet)) })
const courier = actor(Courier, () => ({
  fetch: ({ name }) => {
    const found = couriers.get(name)
    if (found === undefined) throw new Error(`nobody is named "${name}" here`)
    return found as PuppetRef
  },
}))
const couriers = new Map<string, AnyActorRef>()

async function inPlace(
  t: Test,
  isRemote: boolean,
  play: (place: Place) => Promise<unknown>,
): Promise<unknown> {
  await using cluster = virtualCluster()
  const here = await cluster.start('a', { actors: [strict()] })
  const there = isRemote ? await cluster.start('b', { seeds: ['a'] }) : here
  if (isRemote) await cluster.result(Promise.all([here.whenMembers(2), there.whenMembers(2)]))
  there.system.spawn('courier', courier)
  const at = (path: string): PuppetRef => here.ref(Puppet, there.name, path)
  const spawn = async (
    name: string,
    definition: AnyDefinition,
    options?: ChildOptions,
  ): Promise<PuppetRef> => {
    const ref = there.system.spawn(name, definition as never, options as never) as AnyActorRef
    if (!isRemote) return ref as PuppetRef
    couriers.set(name, ref)
    const fetched = await cluster.result(here.ref(Courier, 'b', '/user/courier').ask({ type: 'fetch', name }))
    t.equal(fetched.uid, ref.uid, 'the fetched ref is bound')
    return fetched
  }
  const place: Place = {
    t,
    cluster,
    here,
    there,
    at,
    spawn,
    puppet: (name, script, options = {}) => {
      const { restart, backoff, shutdownMs, ...rest } = options
      return spawn(name, puppet(script, rest) as unknown as AnyDefinition, { restart, backoff, shutdownMs })
    },
    strict: async (name) => {
      there.system.spawn(name, strict() as never)
      return here.ref(Strict, there.name, `/user/${name}`)
    },
  }
  const met = await play(place)
  await cluster.stop()
  t.equal(cluster.platform.pendingTimers(), 0, 'no timer is left')
  t.equal(cluster.platform.holds(), 0, 'nothing holds the process')
  return met
}

/** Runs a case in both places and compares what was met. */
function alike(name: string, expected: unknown, play: (place: Place) => Promise<unknown>): void {
  void test(name, async (t) => {
    const local = await inPlace(t, false, play)
    t.match(local, expected as never, 'on the same node')
    if (Array.isArray(expected)) t.equal((local as readonly unknown[]).length, expected.length)
    t.same(await inPlace(t, true, play), local, 'on another node')
  })
}

/** What an asker meets, without what differs by nature (texts, paths). */
async function met(place: Place, promise: Promise<unknown>): Promise<unknown> {
  const outcome = await place.cluster.outcome(promise)
  if ('value' in outcome) return { value: outcome.value }
  const { error } = outcome
  const { details = {} } = error as { readonly details?: Readonly<Record<string, unknown>> }
  const { field, reason, data, error: cause } = details
  const kept = { field, reason, data, cause }
  return { code: error.code, class: error.constructor.name, ...JSON.parse(JSON.stringify(kept)) }
}

/** What differs by nature: the words of an error, or where along the way a value was found out. */
function without(key: string, outcome: unknown): unknown {
  return Object.fromEntries(Object.entries(outcome as object).filter(([name]) => name !== key))
}

const never = (): Promise<never> => new Promise(() => undefined)
const boom = (): never => {
  throw new Error('boom')
}

// ---- S8.1: asks

alike('S8.1 remote: a reply', { value: { deep: [1, 'two', null] } }, async (place) => {
  const ref = await place.puppet('p', { give: () => ({ deep: [1, 'two', null] }) })
  return met(place, ref.ask({ type: 'ask', step: 'give' }))
})

alike(
  'S8.1 remote: Rejected has its reason and its data',
  { code: 'RUNTIME_REJECTED', class: 'Rejected' },
  async (place) => {
    const { reject } = await import('@understudy/runtime')
    const ref = await place.puppet('p', {
      refuse: () => {
        throw reject('no-funds', { missing: 3 })
      },
      alive: () => 'alive',
    })
    const first = await met(place, ref.ask({ type: 'ask', step: 'refuse' }))
    place.t.match(first, { reason: 'no-funds', data: { missing: 3 } })
    place.t.same(await met(place, ref.ask({ type: 'ask', step: 'alive' })), { value: 'alive' })
    return first
  },
)

alike(
  'S8.1 remote: Rejected keeps its reason when its data cannot travel',
  { code: 'RUNTIME_REJECTED', reason: 'no' },
  async (place) => {
    const { reject } = await import('@understudy/runtime')
    const ref = await place.puppet('p', {
      refuse: () => {
        throw reject('no', { report: () => 'a function' })
      },
    })
    return without('data', await met(place, ref.ask({ type: 'ask', step: 'refuse' })))
  },
)

alike(
  'S8.1 remote: ActorCrashed when the handler throws',
  { code: 'RUNTIME_ACTOR_CRASHED', class: 'ActorCrashed', cause: 'boom' },
  async (place) => {
    const ref = await place.puppet('p', { boom })
    return met(place, ref.ask({ type: 'ask', step: 'boom' }))
  },
)

alike(
  'S8.1 remote: ActorCrashed when the reply breaks the schema',
  { code: 'RUNTIME_ACTOR_CRASHED', class: 'ActorCrashed' },
  async (place) => {
    const ref = await place.strict('s')
    return without('cause', await met(place, ref.ask({ type: 'wrong' })))
  },
)

alike(
  'S8.1 remote: ActorCrashed when the handler takes too long',
  { code: 'RUNTIME_ACTOR_CRASHED', class: 'ActorCrashed' },
  async (place) => {
    const ref = await place.puppet('p', { never }, { handlerTimeoutMs: 100 })
    return without('cause', await met(place, ref.ask({ type: 'ask', step: 'never' })))
  },
)

alike(
  'S8.1 remote: NoSuchActor when nobody lives at the path',
  { code: 'RUNTIME_NO_SUCH_ACTOR', class: 'NoSuchActor' },
  (place) => met(place, place.at('/user/nobody').ask({ type: 'ask', step: 'x' })),
)

alike(
  'S8.1 remote: ActorStopped for a bound ref, also when another has the name',
  { code: 'RUNTIME_ACTOR_STOPPED', class: 'ActorStopped' },
  async (place) => {
    const ref = await place.puppet('p', {})
    await place.cluster.result(place.there.system.stop(place.there.system.ref(Puppet, '/user/p')))
    const gone = await met(place, ref.ask({ type: 'ask', step: 'x' }))
    await place.puppet('p', { x: () => 'the successor' })
    place.t.same(await met(place, ref.ask({ type: 'ask', step: 'x' })), gone)
    place.t.same(await met(place, place.at('/user/p').ask({ type: 'ask', step: 'x' })), {
      value: 'the successor',
    })
    return gone
  },
)

alike('S8.1 remote: a bound ref stays good when its actor restarts', { value: 1 }, async (place) => {
  const ref = await place.puppet('p', { boom, incarnation: (ctx) => ctx.incarnation })
  await met(place, ref.ask({ type: 'ask', step: 'boom' }))
  return met(place, ref.ask({ type: 'ask', step: 'incarnation' }))
})

alike(
  'S8.1 remote: ActorStopped when the actor stops while it handles',
  { code: 'RUNTIME_ACTOR_STOPPED', class: 'ActorStopped' },
  async (place) => {
    const ref = await place.puppet('p', { never }, { shutdownMs: 200 })
    const asked = ref.ask({ type: 'ask', step: 'never' })
    await place.cluster.advance(10)
    void place.there.system.stop(place.there.system.ref(Puppet, '/user/p'))
    return met(place, asked)
  },
)

alike(
  'S8.1 remote: ActorStopped for what was still queued when the actor stopped',
  { code: 'RUNTIME_ACTOR_STOPPED', class: 'ActorStopped' },
  async (place) => {
    const { passed, open } = gate()
    const ref = await place.puppet('p', { wait: () => passed, x: () => 1 })
    ref.tell({ type: 'do', step: 'wait' })
    const asked = ref.ask({ type: 'ask', step: 'x' })
    await place.cluster.advance(10)
    void place.there.system.stop(place.there.system.ref(Puppet, '/user/p'))
    open()
    return met(place, asked)
  },
)

alike('S8.1 remote: MailboxFull', { code: 'RUNTIME_MAILBOX_FULL', class: 'MailboxFull' }, async (place) => {
  const ref = await place.puppet(
    'p',
    { never, x: () => 1 },
    { mailbox: { messagesMax: 1, overflow: 'reject' }, shutdownMs: 10 },
  )
  ref.tell({ type: 'do', step: 'never' })
  await place.cluster.advance(1)
  ref.tell({ type: 'do', step: 'x' })
  return met(place, ref.ask({ type: 'ask', step: 'x' }))
})

alike('S8.1 remote: AskTimeout', { code: 'RUNTIME_ASK_TIMEOUT', class: 'AskTimeout' }, async (place) => {
  const ref = await place.puppet('p', { never }, { shutdownMs: 10 })
  return met(place, ref.ask({ type: 'ask', step: 'never' }, { timeoutMs: 100 }))
})

alike(
  'S8.1 remote: Aborted, before and while it waits',
  [{ code: 'RUNTIME_ABORTED', class: 'Aborted' }, { code: 'RUNTIME_ABORTED' }],
  async (place) => {
    const ref = await place.puppet('p', { never }, { shutdownMs: 10 })
    const controller = new AbortController()
    const asked = ref.ask({ type: 'ask', step: 'never' }, { signal: controller.signal })
    await place.cluster.advance(1)
    controller.abort()
    return [
      await met(place, asked),
      await met(place, ref.ask({ type: 'ask', step: 'never' }, { signal: AbortSignal.abort() })),
    ]
  },
)

alike(
  'S8.1 remote: Restarted when the asker crashes while it waits',
  { code: 'RUNTIME_RESTARTED', class: 'Restarted' },
  async (place) => {
    const ref = await place.puppet('p', { never }, { shutdownMs: 10 })
    let failed: Promise<unknown> = Promise.resolve()
    place.here.system
      .spawn(
        'asker',
        puppet({
          ask: (ctx) => {
            failed = met(place, ctx.ask(ref, { type: 'ask', step: 'never' }))
            ctx.run(Promise.reject(new Error('the asker crashes')))
          },
        }),
      )
      .tell({ type: 'do', step: 'ask' })
    await place.cluster.advance(1)
    return failed
  },
)

alike(
  'S8.1 remote: Expired when the deadline of the message in progress has passed',
  { code: 'RUNTIME_EXPIRED', class: 'Expired' },
  async (place) => {
    const ref = await place.puppet('p', { x: () => 1 })
    const { passed, open } = gate()
    let failed: Promise<unknown> = Promise.resolve()
    const asker = place.here.system.spawn(
      'asker',
      puppet({
        ask: async (ctx) => {
          await passed
          failed = met(place, ctx.ask(ref, { type: 'ask', step: 'x' }))
        },
      }),
    )
    const outer = met(place, asker.ask({ type: 'ask', step: 'ask' }, { timeoutMs: 50 }))
    await outer
    open()
    await place.cluster.advance(1)
    return failed
  },
)

alike(
  'S8.1 remote: InvalidMessage names the bad field',
  { code: 'RUNTIME_INVALID_MESSAGE', class: 'InvalidMessage', field: 'item.count' },
  async (place) => {
    const ref = await place.strict('s')
    return met(place, ref.ask({ type: 'add', item: { count: 0 } }))
  },
)

alike(
  'S8.1 remote: InvalidMessage for a missing field',
  { code: 'RUNTIME_INVALID_MESSAGE', class: 'InvalidMessage' },
  async (place) => {
    const ref = await place.strict('s')
    return without('field', await met(place, ref.ask({ type: 'add' } as never)))
  },
)

alike(
  'S8.1 remote: InvalidMessage for a value that cannot be sent',
  { code: 'RUNTIME_INVALID_MESSAGE', class: 'InvalidMessage' },
  async (place) => {
    const ref = await place.strict('s')
    return without('field', await met(place, ref.ask({ type: 'any', value: { f: () => 1 } })))
  },
)

alike(
  'S8.1 remote: UnknownMessage',
  { code: 'RUNTIME_UNKNOWN_MESSAGE', class: 'UnknownMessage', field: 'type' },
  async (place) => {
    const ref = await place.strict('s')
    return met(place, ref.ask({ type: 'nonsense' } as never))
  },
)

alike(
  'S8.1 remote: UnknownMessage for an actor of another protocol',
  { code: 'RUNTIME_UNKNOWN_MESSAGE', class: 'UnknownMessage', field: 'type' },
  async (place) => {
    await place.strict('s')
    return met(place, place.at('/user/s').ask({ type: 'ask', step: 'x' }))
  },
)

alike(
  'S8.1 remote: a later answer, refused or dropped by a crash',
  [{ value: 7 }, { code: 'RUNTIME_REJECTED', reason: 'no' }, { code: 'RUNTIME_ACTOR_CRASHED' }],
  async (place) => {
    const ref = await place.puppet('p', {
      reply: (ctx) => {
        const owed = ctx.call().later<number>()
        ctx.pipe(Promise.resolve(), () => ({ type: 'self', step: 'nothing' }))
        owed.reply(7)
        return owed
      },
      nothing: () => undefined,
      fail: (ctx) => {
        const owed = ctx.call().later<number>()
        owed.fail('no')
        return owed
      },
      owe: (ctx) => ctx.call().later<number>(),
      boom,
    })
    const replied = await met(place, ref.ask({ type: 'ask', step: 'reply' }))
    const failed = await met(place, ref.ask({ type: 'ask', step: 'fail' }))
    const owed = ref.ask({ type: 'ask', step: 'owe' })
    ref.tell({ type: 'do', step: 'boom' })
    return [replied, failed, await met(place, owed)]
  },
)

alike(
  'S8.1 remote: the deadline travels: a message still queued at its end is dropped unread',
  { handled: [] },
  async (place) => {
    const handled: string[] = []
    const { passed, open } = gate()
    const ref = await place.puppet('p', { wait: () => passed, x: () => void handled.push('x') })
    ref.tell({ type: 'do', step: 'wait' })
    const asked = met(place, ref.ask({ type: 'ask', step: 'x' }, { timeoutMs: 50 }))
    const failed = await asked
    open()
    await place.cluster.advance(50)
    const expired = place.there.system.deadLetters().filter(({ reason }) => reason === 'expired').length
    return { failed, handled, expired }
  },
)

alike(
  'S8.1 remote: the deadline travels: the signal of a running handler is aborted, and the next ask inherits it',
  { aborted: true },
  async (place) => {
    let aborted = false
    let leftMs = 0
    const ref = await place.puppet(
      'p',
      {
        slow: (ctx) => {
          const { signal, deadlineMs } = ctx.call()
          leftMs = deadlineMs - ctx.now()
          signal.addEventListener('abort', () => (aborted = true))
          return never()
        },
      },
      { shutdownMs: 10 },
    )
    await met(place, ref.ask({ type: 'ask', step: 'slow' }, { timeoutMs: 300 }))
    await place.cluster.advance(10)
    return { aborted, leftMs }
  },
)

alike('S8.1 remote: cancel on abort reaches the running handler', { aborted: true }, async (place) => {
  let aborted = false
  const ref = await place.puppet(
    'p',
    {
      slow: (ctx) => {
        ctx.call().signal.addEventListener('abort', () => (aborted = true))
        return never()
      },
    },
    { shutdownMs: 10 },
  )
  const controller = new AbortController()
  const asked = met(place, ref.ask({ type: 'ask', step: 'slow' }, { signal: controller.signal }))
  await place.cluster.advance(1)
  controller.abort()
  await asked
  await place.cluster.advance(1)
  return { aborted }
})

alike(
  'S2.5 remote: a call cycle is refused at once, with the path',
  { code: 'RUNTIME_CALL_CYCLE', class: 'CallCycleError' },
  async (place) => {
    const { here, there, cluster } = place
    let refused: unknown
    here.system.spawn(
      'first',
      puppet({ go: (ctx) => ctx.ask(there2(), { type: 'ask', step: 'on' }) }),
      undefined as never,
    )
    const there2 = (): PuppetRef => here.ref(Puppet, there.name, '/user/second')
    there.system.spawn(
      'second',
      puppet({
        on: async (ctx) => {
          try {
            return await ctx.ask(there.ref(Puppet, here.name, '/user/third'), { type: 'ask', step: 'back' })
          } catch (error) {
            refused = error
            throw error
          }
        },
      }),
    )
    here.system.spawn('third', puppet({ back: (ctx) => ctx.ask(there2(), { type: 'ask', step: 'on' }) }))
    const startedMs = cluster.platform.clock.monotonicMs()
    const first = await met(place, here.system.ref(Puppet, '/user/first').ask({ type: 'ask', step: 'go' }))
    place.t.ok(cluster.platform.clock.monotonicMs() - startedMs < 1_000, 'nobody waited for a timeout')
    place.t.match(first, { code: 'RUNTIME_ACTOR_CRASHED' })
    place.t.match(refused, { code: 'RUNTIME_ACTOR_CRASHED' })
    // The one who closed the cycle was refused: its own crash report has the error.
    const lines = cluster
      .logOf('a')
      .map(({ fields }) => fields['err'])
      .filter((error) => error instanceof CallCycleError)
    const [cycle] = lines as CallCycleError[]
    const path = cycle?.details['path'] as readonly { readonly path: string }[]
    place.t.match(cycle?.message, /\/user\/first -"ask"-> .*\/user\/second -"ask"-> .*\/user\/third -"ask"->/)
    return { code: cycle?.code, class: cycle?.constructor.name, path: path.map((link) => link.path) }
  },
)

// ---- S1.1: order

alike(
  'S1.1 remote: tells and asks of one sender arrive in the order in which they were sent',
  { same: true },
  async (place) => {
    const handled: number[] = []
    const Order = protocol('order', {
      told: tell({ n: Type.Integer() }),
      asked: ask({ n: Type.Integer() }, Type.Null()),
    })
    place.there.system.spawn(
      'order',
      actor(Order, () => ({
        told: ({ n }) => void handled.push(n),
        asked: async ({ n }) => {
          handled.push(n)
          await Promise.resolve()
          return null
        },
      })),
    )
    const ref = place.here.ref(Order, place.there.name, '/user/order')
    const Sender = protocol('sender', { go: tell() })
    place.here.system
      .spawn(
        'sender',
        actor(Sender, (ctx) => ({
          go: () => {
            for (let n = 0; n < 2_000; n++) {
              if (n % 3 === 0)
                ctx.request(
                  ref,
                  { type: 'asked', n },
                  () => ({ type: 'go' }) as never,
                  () => ({ type: 'go' }) as never,
                )
              else ctx.tell(ref, { type: 'told', n })
            }
            ctx.become({ go: () => undefined })
          },
        })),
      )
      .tell({ type: 'go' })
    await place.cluster.until(() => handled.length === 2_000)
    return { same: handled.every((n, index) => n === index), length: handled.length }
  },
)

alike(
  'S1.1 remote: the notice of an end stands behind the last message of the dead actor',
  ['one', 'two', 'stopped'],
  async (place) => {
    const log = probe(place.here.system, Log)
    const there = await place.puppet('p', {
      leave: (ctx) => {
        const back = place.there.ref(Log, place.here.name, log.ref.path)
        ctx.tell(back, { type: 'line', text: 'one' })
        ctx.tell(back, { type: 'line', text: 'two' })
        ctx.stop()
      },
    })
    void log.act((ctx) => {
      ctx.watch(there, (reason) => ({ type: 'line', text: reason }))
    })
    await place.cluster.advance(1)
    there.tell({ type: 'do', step: 'leave' })
    await place.cluster.advance(10)
    return log.received.map(({ text }) => text)
  },
)

// ---- S7.1: watch

async function endOf(place: Place, ref: PuppetRef, end: () => void): Promise<readonly string[]> {
  const log = probe(place.here.system, Log)
  void log.act((ctx) => {
    ctx.watch(ref, (reason) => ({ type: 'line', text: reason }))
  })
  await place.cluster.advance(1)
  end()
  await place.cluster.advance(5_000)
  return log.received.map(({ text }) => text)
}

alike('S7.1 remote: one notice, stopped', ['stopped'], async (place) => {
  const ref = await place.puppet('p', { leave: (ctx) => ctx.stop() })
  return endOf(place, ref, () => ref.tell({ type: 'do', step: 'leave' }))
})

alike('S7.1 remote: one notice, failed', ['failed'], async (place) => {
  const ref = await place.puppet('p', { boom }, { restart: 'temporary' })
  return endOf(place, ref, () => ref.tell({ type: 'do', step: 'boom' }))
})

alike('S7.1 remote: one notice, limit', ['limit'], async (place) => {
  const ref = await place.puppet(
    'parent',
    {},
    {
      restart: 'temporary',
      supervision: { intensity: { restarts: 0, withinMs: 1_000 } },
      setup: (ctx) => void ctx.spawn('child', puppet({ boom }), { restart: 'permanent' }),
    },
  )
  return endOf(place, ref, () => place.at('/user/parent/child').tell({ type: 'do', step: 'boom' }))
})

alike('S7.1 remote: no notice for a restart', [], async (place) => {
  const ref = await place.puppet('p', { boom })
  return endOf(place, ref, () => ref.tell({ type: 'do', step: 'boom' }))
})

alike('S7.1 remote: at once, not-found, when nobody lives there', ['not-found'], (place) =>
  endOf(place, place.at('/user/nobody'), () => undefined),
)

alike('S7.1 remote: at once, stopped, for a bound ref whose actor has ended', ['stopped'], async (place) => {
  const ref = await place.puppet('p', {})
  await place.cluster.result(place.there.system.stop(place.there.system.ref(Puppet, '/user/p')))
  return endOf(place, ref, () => undefined)
})

alike('S7.1 remote: no notice after unwatch, even when the end is on its way', [], async (place) => {
  const ref = await place.puppet('p', { leave: (ctx) => ctx.stop() })
  const log = probe(place.here.system, Log)
  void log.act((ctx) => {
    ctx.watch(ref, (reason) => ({ type: 'line', text: reason }))
  })
  await place.cluster.advance(1)
  void log.act((ctx) => {
    ctx.tell(ref, { type: 'do', step: 'leave' })
    ctx.unwatch(ref)
  })
  await place.cluster.advance(5_000)
  return log.received
})

alike(
  'S7.1 remote: watching twice, through two refs of the same actor, is one notice, the last',
  ['second'],
  async (place) => {
    const first = await place.puppet('p', { leave: (ctx) => ctx.stop() })
    const log = probe(place.here.system, Log)
    const Giver = protocol('giver', { give: ask(refOf(Puppet)) })
    const own = place.there.system.lookup(Puppet, '/user/p') as PuppetRef
    place.there.system.spawn(
      'giver',
      actor(Giver, () => ({ give: () => own })),
    )
    const second = await place.cluster.result(
      place.here.ref(Giver, place.there.name, '/user/giver').ask({ type: 'give' }),
    )
    void log.act((ctx) => {
      ctx.watch(first, () => ({ type: 'line', text: 'first' }))
      ctx.watch(second, () => ({ type: 'line', text: 'second' }))
    })
    await place.cluster.advance(1)
    first.tell({ type: 'do', step: 'leave' })
    await place.cluster.advance(100)
    return log.received.map(({ text }) => text)
  },
)

alike(
  'S7.1 remote: a watch survives the restart of the watcher',
  { lines: ['stopped'], incarnation: 1 },
  async (place) => {
    const ref = await place.puppet('p', { leave: (ctx) => ctx.stop() })
    const lines: string[] = []
    let incarnation = -1
    const Watching = protocol('watching', { watch: tell(), crash: tell() })
    const own = { gone: tell({ reason: Type.String() }) }
    const watcher = place.here.system.spawn(
      'watcher',
      actor(Watching, { own }, (ctx) => ({
        watch: () => ctx.watch(ref, (reason) => ({ type: 'gone', reason })),
        crash: boom,
        gone: ({ reason }) => {
          lines.push(reason)
          incarnation = ctx.incarnation
        },
      })),
    )
    watcher.tell({ type: 'watch' })
    watcher.tell({ type: 'crash' })
    await place.cluster.advance(10)
    ref.tell({ type: 'do', step: 'leave' })
    await place.cluster.advance(10)
    return { lines, incarnation }
  },
)

alike('S7.1 remote: link fails the one who linked', ['failed'], async (place) => {
  const ref = await place.puppet('p', { boom }, { restart: 'temporary' })
  const linked = place.here.system.spawn('linked', puppet({ link: (ctx) => ctx.link(ref) }), {
    restart: 'temporary',
  })
  linked.tell({ type: 'do', step: 'link' })
  await place.cluster.advance(1)
  const log = probe(place.here.system, Log)
  void log.act((ctx) => {
    ctx.watch(linked, (reason) => ({ type: 'line', text: reason }))
  })
  await place.cluster.advance(1)
  ref.tell({ type: 'do', step: 'boom' })
  await place.cluster.advance(10)
  return log.received.map(({ text }) => text)
})

// ---- S10: back-pressure

alike(
  'S10.2 remote: room() is there at once when nothing waits, and Aborted when given up',
  [{ value: undefined }, { value: 'asked' }],
  async (place) => {
    const ref = await place.puppet('p', { x: () => 'asked' })
    return [await met(place, ref.room()), await met(place, ref.ask({ type: 'ask', step: 'x' }))]
  },
)

// ---- Refs

alike(
  'S8.1 remote: a ref in a message comes back as itself, and works where it arrives',
  { itself: true, answer: 'here' },
  async (place) => {
    const Keeper = protocol('keeper', {
      swap: ask({ ref: refOf(Puppet) }, refOf(Puppet)),
      use: ask({ ref: refOf(Puppet) }, Type.Unknown()),
    })
    place.there.system.spawn(
      'keeper',
      actor(Keeper, (ctx) => ({
        swap: ({ ref }) => ref,
        use: ({ ref }) => ctx.ask(ref, { type: 'ask', step: 'who' }),
      })),
    )
    const own = place.here.system.spawn('own', puppet({ who: () => 'here' }))
    const keeper = place.here.ref(Keeper, place.there.name, '/user/keeper')
    const back = await place.cluster.result(keeper.ask({ type: 'swap', ref: own }))
    const answer = await place.cluster.result(keeper.ask({ type: 'use', ref: own }))
    // Once its actor has ended, what comes back is as dead as the ref itself.
    await place.cluster.result(place.here.system.stop(own))
    const dead = await place.cluster.result(keeper.ask({ type: 'swap', ref: own }))
    const asked = await met(place, dead.ask({ type: 'ask', step: 'who' }))
    const ended = await endOf(place, dead, () => undefined)
    return { itself: back === own, answer, asked, ended }
  },
)

alike(
  'S8.1 remote: a ref to another protocol is refused where a schema wants one',
  { code: 'RUNTIME_INVALID_MESSAGE', field: 'ref' },
  async (place) => {
    const Keeper = protocol('keeper', { keep: ask({ ref: refOf(Puppet) }, Type.Null()) })
    place.there.system.spawn(
      'keeper',
      actor(Keeper, () => ({ keep: () => null })),
    )
    const other = place.here.system.spawn('other', strict() as never) as unknown as PuppetRef
    return met(
      place,
      place.here.ref(Keeper, place.there.name, '/user/keeper').ask({ type: 'keep', ref: other }),
    )
  },
)
