/** Probes, test systems and the behaviour kit: what others test with must itself be true. */
import {
  actor,
  ActorError,
  ask,
  child,
  createSystem,
  nodePlatform,
  protocol,
  reject,
  service,
  silentLogger,
  supervisor,
  tell,
  type ActorRef,
  type LaterReply,
} from '@understudy/runtime'
import {
  behaviourKit,
  ExpectationFailed,
  probe,
  probeDefaults,
  testSystem,
  virtualPlatform,
  type Effect,
  type LoggedLine,
} from '@understudy/runtime/testkit'
import { test } from 'tap'
import Type from 'typebox'
import { codeOf, gate, onStage, puppet, watched } from '../support/runtime.ts'

const Greeter = protocol('greeter', {
  greet: tell({ name: Type.String() }),
  wave: tell(),
  count: ask(Type.Integer()),
  find: ask({ name: Type.String() }, Type.Boolean()),
})
type GreeterRef = ActorRef<typeof Greeter.messages>

void test('probe expect takes the next message of a type, or one that satisfies a predicate', async (t) => {
  await onStage(t, undefined, async (system) => {
    const someone = probe(system, Greeter)
    someone.ref.tell({ type: 'greet', name: 'ann' })
    someone.ref.tell({ type: 'wave' })
    const greeting = await someone.expect('greet')
    t.equal(greeting.name, 'ann')
    t.same(await someone.expect(({ type }) => type === 'wave'), { type: 'wave' })
    t.equal(someone.received.length, 2)
    t.equal(someone.ref.path, '/user/probe-1')
    t.equal(probe(system, Greeter).ref.path, '/user/probe-2')
    t.equal(probe(system, Greeter, 'named').ref.path, '/user/named')
  })
})

void test('probe expect moves virtual time on just as far as it needs', async (t) => {
  await onStage(t, undefined, async (system) => {
    const { clock } = system.platform
    const someone = probe(system, Greeter)
    const later = puppet(
      { tick: (ctx) => void ctx.tell(someone.ref, { type: 'greet', name: String(ctx.now()) }) },
      { setup: (ctx) => ctx.timers.every('tick', 250, { type: 'self', step: 'tick' }) },
    )
    const ref = system.spawn('later', later)
    t.equal((await someone.expect('greet')).name, '250')
    t.equal(clock.monotonicMs(), 250)
    await someone.expect('greet', { withinMs: 250 })
    await t.rejects(someone.expect('greet', { withinMs: 249 }), {
      name: 'ExpectationFailed',
      message:
        'Expected a message "greet" at /user/probe-1 within 249 ms, but none came; ' +
        'all it received: "greet" {"name":"250"}, "greet" {"name":"500"}',
    })
    t.equal(clock.monotonicMs(), 749)
    await system.stop(ref)
  })
})

void test('probe failures say what was expected and what came', async (t) => {
  await onStage(t, undefined, async (system) => {
    const someone = probe(system, Greeter, 'p')
    await t.rejects(someone.expect('wave'), {
      message: `Expected a message "wave" at /user/p within ${probeDefaults.withinMs} ms, but none came`,
    })
    someone.ref.tell({ type: 'greet', name: 'x'.repeat(500) })
    const wrong = await someone.expect('wave').catch((error: unknown) => error)
    t.type(wrong, ExpectationFailed)
    t.match(wrong, { expected: 'a message "wave"', came: [{ type: 'greet' }] })
    const { message } = wrong as Error
    t.match(message, /^Expected a message "wave" at \/user\/p but "greet" \{"name":"x+\.\.\. came/)
    t.ok(message.length < 700, 'values are cut')
    someone.ref.tell({ type: 'wave' })
    await t.rejects(
      someone.expect(() => false),
      { message: /a message that satisfies the predicate.*but "wave" came/ },
    )
    t.throws(() => someone.reply('count', 1), { message: /an unanswered ask "count".*but there is none/ })
    void someone.ref.ask({ type: 'find', name: 'x' }).catch(() => undefined)
    await someone.expect('find')
    t.throws(() => someone.reply('count', 1), { message: /but there is only "find"/ })
  })
})

void test('probe fish passes over what does not fit; expectNone wants silence', async (t) => {
  await onStage(t, undefined, async (system) => {
    const someone = probe(system, Greeter)
    for (const name of ['a', 'b', 'c', 'd']) someone.ref.tell({ type: 'greet', name })
    const isNamed = (name: string) => (message: { readonly type: string; readonly name?: string }) =>
      message.name === name
    t.match(await someone.fish(isNamed('c')), { name: 'c' })
    await t.rejects(someone.expectNone(), { message: /no message.*but "greet" \{"name":"d"\} came/ })
    await someone.expectNone(1_000)
    t.equal(system.platform.clock.monotonicMs(), 1_000)
    await t.rejects(someone.fish(isNamed('z'), { withinMs: 10 }), {
      message: /within 10 ms, but none of 0 did/,
    })
    someone.ref.tell({ type: 'wave' })
    await t.rejects(someone.fish(isNamed('z'), { withinMs: 10 }), { message: /but none of 1 did/ })
  })
})

void test('probe reply and refuse answer asks, the oldest first', async (t) => {
  await onStage(t, undefined, async (system) => {
    const someone = probe(system, Greeter)
    const asks = [1, 2].map(() => someone.ref.ask({ type: 'count' }))
    const refused = someone.ref.ask({ type: 'find', name: 'x' })
    await system.platform.settle()
    someone.refuse('find', 'unknown-name', { name: 'x' })
    someone.reply('count', 1)
    someone.reply('count', 2)
    t.same(await Promise.all(asks), [1, 2])
    await t.rejects(refused, { code: 'RUNTIME_REJECTED', reason: 'unknown-name', data: { name: 'x' } })
  })
})

void test('probe watch and expectEnded tell of the end of others; act acts in its name', async (t) => {
  await onStage(t, undefined, async (system) => {
    const someone = probe(system, Greeter, 'p')
    const other = system.spawn('other', puppet({ from: (ctx) => ctx.call().from ?? 'nobody' }))
    someone.watch(other)
    t.equal(await someone.act((ctx) => ctx.ask(other, { type: 'ask', step: 'from' })), '/user/p')
    await t.rejects(someone.expectEnded(other, { withinMs: 10 }), {
      message: /Expected \/user\/other to end/,
    })
    await system.stop(other)
    t.equal(await someone.expectEnded(other), 'stopped')
    t.same(someone.received, [], 'a notice is no message of its protocol')
    await t.rejects(
      someone.act(() => {
        throw new Error('mine')
      }),
      { message: 'mine' },
    )
    await someone.stop()
    t.equal(await codeOf(someone.ref.ask({ type: 'count' })), 'RUNTIME_ACTOR_STOPPED')
  })
})

void test('probe waits on the platform clock where time is real', async (t) => {
  const platform = { ...nodePlatform({ log: silentLogger }) }
  await using system = await createSystem('real', undefined, { platform, handleSignals: false })
  const someone = probe(system, Greeter)
  const waiting = someone.expect('wave')
  someone.ref.tell({ type: 'wave' })
  await waiting
  await someone.expectNone(1)
  await t.rejects(someone.expect('wave', { withinMs: 1 }), { message: /within 1 ms, but none came/ })
  const fishing = someone.fish(({ type }) => type === 'wave')
  someone.ref.tell({ type: 'greet', name: 'x' })
  someone.ref.tell({ type: 'wave' })
  t.same(await fishing, { type: 'wave' })
  someone.watch(someone.ref)
})

void test('testSystem is on virtual time, in codec isolation, and disposes of itself', async (t) => {
  const system = await testSystem(undefined, { name: 'mine', seed: 4 })
  t.equal(system.name, 'mine')
  t.equal(system.platform.clock.monotonicMs(), 0)
  const someone = probe(system, Greeter)
  const message = { type: 'greet', name: 'x' } as const
  someone.ref.tell(message)
  t.not(await someone.expect('greet'), message, 'it went through the codec')
  await system[Symbol.asyncDispose]()
  t.same([system.platform.pendingTimers(), system.platform.holds()], [0, 0])
})

void test('testSystem lets time pass while its tree starts, and rejects when it does not come up', async (t) => {
  let tries = 0
  const flaky = puppet(
    {},
    {
      setup: () => {
        tries++
        if (tries < 3) throw new Error('not yet')
      },
    },
  )
  const root = supervisor({}, [child('flaky', flaky, { backoff: { minMs: 1_000, maxMs: 1_000, jitter: 0 } })])
  await using system = await testSystem(root)
  t.equal(system.platform.clock.monotonicMs(), 2_000)
  const hopeless = puppet({}, { setup: () => Promise.reject(new Error('never')) })
  t.equal(await codeOf(testSystem(supervisor({}, [child('hopeless', hopeless)]))), 'RUNTIME_START_FAILED')
})

void test('virtualPlatform keeps what was logged, and never goes back in time', async (t) => {
  const platform = virtualPlatform()
  platform.log.child({ a: 1 }).warn({ b: 2 }, 'text')
  t.same(platform.logged, [{ level: 'warn', fields: { a: 1, b: 2 }, message: 'text' } satisfies LoggedLine])
  t.equal(platform.nextTimerAtMs(), undefined)
  const timer = platform.clock.setTimer(40, () => undefined)
  platform.clock.setTimer(30, () => undefined)
  t.equal(platform.nextTimerAtMs(), 30)
  await Promise.all([platform.advance(100), platform.advance(50)])
  t.equal(platform.clock.monotonicMs(), 100)
  timer.cancel()
})

// ---- The behaviour kit -----------------------------------------------------------------------------------------

const Clock = service<{ readonly zone: () => string }>('clock')
const own = {
  tick: tell(),
  gone: tell({ who: Type.String(), why: Type.String() }),
  found: tell({ is: Type.Boolean() }),
  failed: tell({ code: Type.String() }),
}
const Desk = protocol('desk', {
  greet: tell({ name: Type.String() }),
  count: ask(Type.Integer()),
  wrong: ask(Type.Integer()),
  refuse: ask(Type.Null()),
  crash: tell(),
  later: ask(Type.Integer()),
  lookUp: ask({ name: Type.String() }, Type.Boolean()),
  delegate: tell({ name: Type.String() }),
  hire: tell({ name: Type.String() }),
  fire: tell({ name: Type.String() }),
  wait: tell(),
  shut: tell(),
  open: tell(),
  log: tell(),
  work: tell(),
  from: ask(Type.String()),
})

function desk(book: GreeterRef, owed: LaterReply<number>[] = []) {
  return actor(Desk, { own }, (ctx, input: { readonly start: number }) => {
    let count = input.start
    ctx.defer((why) => void ctx.tell(book, { type: 'greet', name: why }))
    const handlers = {
      greet: ({ name }: { readonly name: string }) => {
        count++
        ctx.tell(book, { type: 'greet', name })
      },
      count: () => count,
      wrong: () => 'one' as unknown as number,
      refuse: () => {
        throw reject('closed', { until: 9 })
      },
      crash: () => {
        throw new Error('no')
      },
      later: () => {
        const later = ctx.call().later<number>()
        owed.push(later)
        return later
      },
      lookUp: ({ name }: { readonly name: string }) =>
        ctx.ask(book, { type: 'find', name }, { timeoutMs: 50 }),
      delegate: ({ name }: { readonly name: string }) =>
        ctx.request(
          book,
          { type: 'find', name },
          (is) => ({ type: 'found', is }),
          (error) => ({ type: 'failed', code: error.code }),
        ),
      hire: ({ name }: { readonly name: string }) => {
        const ref = ctx.spawn(name, puppet({}), { restart: 'temporary' })
        ctx.watch(ref, (why) => ({ type: 'gone', who: name, why }))
      },
      fire: ({ name }: { readonly name: string }) => {
        const ref = ctx.child(protocol('puppet', {}), name)
        if (ref !== undefined) ctx.stop(ref, 'drain')
      },
      wait: () => {
        ctx.timers.every('tick', 100, { type: 'tick' })
        ctx.timers.once('once', 150, { type: 'tick' })
        ctx.setReceiveTimeout(1_000, { type: 'gone', who: 'all', why: 'silence' })
      },
      shut: () => ctx.become({ ...handlers, greet: () => ctx.stash(), open: () => open() }),
      open: () => open(),
      log: () => ctx.log.child({ desk: 1 }).info({ n: count }, ctx.service(Clock).zone()),
      work: () => ctx.pipe(Promise.resolve(true), (is) => ({ type: 'found', is })),
      from: () => ctx.call().from ?? 'outside',
      tick: () => {
        count += 10
      },
      gone: ({ who, why }: { readonly who: string; readonly why: string }) =>
        ctx.log.warn({ who, why }, 'gone'),
      found: ({ is }: { readonly is: boolean }) => ctx.log.info({ is }, 'found'),
      failed: ({ code }: { readonly code: string }) => ctx.log.info({ code }, 'failed'),
    }
    const open = (): void => {
      ctx.become(handlers)
      ctx.unstashAll()
    }
    return handlers
  })
}

function kitWithBook(owed: LaterReply<number>[] = []) {
  const shelf = behaviourKit(puppet({}))
  const book = shelf.ref(Greeter, '/user/book')
  const kit = behaviourKit(
    desk(book, owed),
    { start: 5 },
    { services: [Clock.provide({ zone: () => 'utc' })] },
  )
  // What is sent to a stub shows at the kit whose context sent it.
  kit.takeEffects()
  return { kit, shelf, book }
}

function types(effects: readonly Effect[]): readonly string[] {
  return effects.map(({ type }) => type)
}

void test('behaviourKit send returns the reply, the refusal, the crash, or that it was done', async (t) => {
  const { kit } = kitWithBook()
  t.same(kit.send({ type: 'count' }), { type: 'reply', value: 5 })
  t.same(kit.send({ type: 'greet', name: 'ann' }), { type: 'done' })
  t.same(kit.send({ type: 'count' }), { type: 'reply', value: 6 })
  t.same(kit.send({ type: 'refuse' }), { type: 'refused', reason: 'closed', data: { until: 9 } })
  t.match(kit.send({ type: 'crash' }), { type: 'crashed', error: { message: 'no' } })
  t.match(kit.send({ type: 'wrong' }), { type: 'crashed', error: { code: 'RUNTIME_INVALID_MESSAGE' } })
  t.same(kit.send({ type: 'from' }), { type: 'reply', value: 'outside' })
  t.same(kit.send({ type: 'from' }, { from: '/user/x' }), { type: 'reply', value: '/user/x' })
  t.throws(() => kit.send({ type: 'greet', name: 1 } as never), {
    code: 'RUNTIME_INVALID_MESSAGE',
    message: /"name"/,
  })
  t.throws(() => kit.send({ type: 'tick' } as never), { code: 'RUNTIME_UNKNOWN_MESSAGE' })
  t.same(kit.sendOwn({ type: 'tick' }), { type: 'done' })
  t.same(kit.send({ type: 'count' }), { type: 'reply', value: 16 })
})

void test('behaviourKit effects are what left through ctx, as plain data', async (t) => {
  const { kit } = kitWithBook()
  kit.send({ type: 'greet', name: 'ann' })
  t.same(kit.effects, [{ type: 'tell', to: '/user/book', message: { type: 'greet', name: 'ann' } }])
  t.equal(kit.takeEffects().length, 1)
  t.same(kit.effects, [])
  kit.send({ type: 'hire', name: 'bob' })
  t.same(kit.takeEffects(), [
    { type: 'spawn', name: 'bob', definition: 'puppet', input: undefined, options: { restart: 'temporary' } },
    { type: 'watch', path: '/user/kit/bob' },
  ])
  t.match(kit.send({ type: 'hire', name: 'bob' }), {
    type: 'crashed',
    error: { code: 'RUNTIME_DUPLICATE_NAME' },
  })
  kit.send({ type: 'fire', name: 'bob' })
  t.same(kit.takeEffects(), [{ type: 'stop', path: '/user/kit/bob', mode: 'drain' }])
  kit.send({ type: 'log' })
  t.same(kit.takeEffects(), [{ type: 'log', level: 'info', fields: { desk: 1, n: 6 }, message: 'utc' }])
})

void test('behaviourKit answers asks and requests as the test says', async (t) => {
  const { kit } = kitWithBook()
  const outcome = kit.send({ type: 'lookUp', name: 'ann' })
  t.equal(outcome.type, 'pending')
  t.throws(() => kit.send({ type: 'count' }), { code: 'RUNTIME_ILLEGAL_CALL', message: /still pending/ })
  t.same(kit.takeEffects(), [
    { type: 'ask', to: '/user/book', message: { type: 'find', name: 'ann' }, timeoutMs: 50 },
  ])
  t.throws(() => kit.answer('greet', 1), { name: 'ExpectationFailed', message: /it asked only "find"/ })
  kit.answer('find', true)
  t.same(outcome.type === 'pending' ? await outcome.settled : undefined, { type: 'reply', value: true })
  t.throws(() => kit.answer('find', true), { message: /it asked nothing/ })

  kit.send({ type: 'delegate', name: 'ann' })
  t.same(kit.takeEffects(), [{ type: 'request', to: '/user/book', message: { type: 'find', name: 'ann' } }])
  t.same(kit.answer('find', false), { type: 'done' })
  t.match(kit.takeEffects(), [{ type: 'log', fields: { is: false }, message: 'found' }])
  kit.send({ type: 'delegate', name: 'ann' })
  kit.failAnswer('find', new ActorError('RUNTIME_ASK_TIMEOUT', 'late'))
  t.match(kit.takeEffects()[1], { type: 'log', fields: { code: 'RUNTIME_ASK_TIMEOUT' } })

  kit.send({ type: 'delegate', name: 'ann' })
  t.throws(
    () => kit.answer('find', 'yes'),
    { code: 'RUNTIME_INVALID_MESSAGE' },
    'the test is held to the protocol too',
  )
})

void test('behaviourKit shows answers that are owed when they are given', async (t) => {
  const owed: LaterReply<number>[] = []
  const { kit } = kitWithBook(owed)
  t.same(kit.send({ type: 'later' }), { type: 'later' })
  t.same(kit.effects, [])
  owed[0]?.reply(3)
  owed[0]?.reply(4)
  t.same(kit.takeEffects(), [{ type: 'reply', to: 'later', value: 3 }])
  kit.send({ type: 'later' })
  owed[1]?.fail('no', 1)
  t.same(kit.takeEffects(), [{ type: 'refuse', to: 'later', reason: 'no', data: 1 }])
})

void test('behaviourKit moves time on: timers in order, then the receive timeout', async (t) => {
  const { kit } = kitWithBook()
  kit.send({ type: 'wait' })
  t.same(types(kit.takeEffects()), ['timer', 'timer', 'receive-timeout'])
  t.same(kit.timers, ['tick', 'once'])
  t.equal(kit.advance(250).length, 3)
  t.same(kit.send({ type: 'count' }), { type: 'reply', value: 35 })
  t.same(kit.timers, ['tick'])
  t.equal(kit.advance(1_000).length, 10, 'ticks are messages too: there was no silence')
})

void test('behaviourKit stash, become and unstash work, and show', async (t) => {
  const { kit } = kitWithBook()
  kit.send({ type: 'shut' })
  t.same(kit.send({ type: 'greet', name: 'ann' }), { type: 'stashed' })
  t.same(types(kit.takeEffects()), ['become', 'stash'])
  kit.send({ type: 'open' })
  t.match(kit.takeEffects(), [
    { type: 'become' },
    { type: 'unstash', messages: [{ type: 'greet', name: 'ann' }] },
    { type: 'tell', to: '/user/book', message: { name: 'ann' } },
    { type: 'handled', message: { type: 'greet' }, outcome: { type: 'done' } },
  ])
})

void test('behaviourKit delivers ends to who watches, and only to them', async (t) => {
  const { kit, book } = kitWithBook()
  kit.send({ type: 'hire', name: 'bob' })
  t.throws(() => kit.ended(book), { message: /Expected \/user\/kit to watch \/user\/book/ })
  let child: ActorRef<typeof Greeter.messages> | undefined
  const linked = behaviourKit(
    actor(Greeter, (ctx) => {
      child = ctx.ref(Greeter, '/user/friend')
      ctx.link(child)
      return { greet: () => undefined, wave: () => undefined, count: () => 1, find: () => true }
    }),
  )
  t.match(linked.ended(child as GreeterRef, 'failed'), { type: 'crashed', error: { code: 'RUNTIME_LINKED' } })
})

void test('behaviourKit pipes results back when they come', async (t) => {
  const { kit } = kitWithBook()
  kit.send({ type: 'work' })
  t.same(types(kit.takeEffects()), ['pipe'])
  await new Promise<void>((resolve) => setImmediate(resolve))
  t.match(kit.takeEffects(), [
    { type: 'log' },
    { type: 'handled', message: { type: 'found' }, outcome: { type: 'done' } },
  ])
})

void test('behaviourKit restart runs defers and setup again, and fences what is left', async (t) => {
  const { kit } = kitWithBook()
  kit.send({ type: 'greet', name: 'ann' })
  kit.send({ type: 'wait' })
  const pending = kit.send({ type: 'lookUp', name: 'ann' })
  kit.takeEffects()
  void kit.restart()
  t.same(kit.send({ type: 'count' }), { type: 'reply', value: 5 }, 'fresh state, at once')
  t.same(kit.timers, [])
  t.match(kit.takeEffects(), [{ type: 'tell', message: { name: 'restart' } }, { type: 'defer' }])
  t.match(pending.type === 'pending' ? await pending.settled : undefined, {
    type: 'crashed',
    error: { code: 'RUNTIME_RESTARTED' },
  })
  void kit.stop()
  t.match(kit.takeEffects(), [{ type: 'tell', message: { name: 'stop' } }])
  t.throws(() => kit.send({ type: 'count' }), { code: 'RUNTIME_ILLEGAL_CALL', message: /has stopped/ })
})

void test('behaviourKit fails like a start when setup throws, and waits for one that waits', async (t) => {
  const broken = actor(Greeter, () => {
    throw new Error('no file')
  })
  t.throws(() => behaviourKit(broken), { message: 'no file' })
  const { passed, open } = gate()
  const slow = behaviourKit(
    actor(Greeter, async () => {
      await passed
      return { greet: () => undefined, wave: () => undefined, count: () => 1, find: () => true }
    }),
  )
  t.throws(() => slow.send({ type: 'count' }), { message: /has not started/ })
  open()
  await slow.started
  t.same(slow.send({ type: 'count' }), { type: 'reply', value: 1 })
})

void test('behaviourKit checks what is told to others against their protocol', async (t) => {
  const { kit, book } = kitWithBook()
  const loose = book as unknown as { readonly tell: (message: object) => boolean }
  t.equal(loose.tell({ type: 'greet', name: 3 }), false)
  t.same(kit.effects, [], 'it shows at the kit that made the ref')
  const asked = watched(book.ask({ type: 'count' }))
  await new Promise<void>((resolve) => setImmediate(resolve))
  t.match(asked.error, { code: 'RUNTIME_ILLEGAL_CALL', message: /ask through ctx/ })
})
