/** S9.1: what reaches nobody is an event, a counter and a warning that does not flood; restarts are told the same way. */
import { actor, memoryMetrics, protocol, tell, type DeadLetterReason } from '@understudy/runtime'
import { probe } from '@understudy/runtime/testkit'
import { test } from 'tap'
import { gate, heard, logged, onStage, puppet, Puppet } from '../support/runtime.ts'

const crashing = puppet({
  crash: () => {
    throw new Error('down')
  },
  other: () => {
    throw new TypeError('another way')
  },
})
const patient = { intensity: { restarts: Number.POSITIVE_INFINITY, withinMs: 5_000 } }

void test('S9.1 a dead letter is an event, a counter with bounded labels, and kept', async (t) => {
  const metrics = memoryMetrics()
  await onStage(
    t,
    undefined,
    async (system) => {
      const letters = heard(system, 'dead-letter')
      const ref = system.spawn('order-4711', puppet({}))
      const someone = probe(system, Puppet, 'someone')
      await system.stop(ref)
      t.equal(await someone.act((ctx) => ctx.tell(ref, { type: 'do', step: 'x' })), false, 'tell says so')
      t.equal(system.ref(Puppet, '/user/nobody').tell({ type: 'do', step: 'y' }), false)
      t.match(letters, [
        {
          reason: 'stopped',
          path: '/user/order-4711',
          definition: 'puppet',
          sender: '/user/someone',
          message: { type: 'do', step: 'x' },
        },
        { reason: 'not-found', path: '/user/nobody', definition: '(none)', sender: undefined },
      ])
      t.same(
        system.deadLetters().map(({ path, reason }) => [path, reason]),
        letters.map(({ path, reason }) => [path, reason]),
      )
      const text = JSON.stringify(metrics.read())
      t.match(text, /understudy_dead_letters_total/)
      t.notMatch(text, /order-4711/, 'a path is never a label')
      t.equal(system.status().counters.deadLetters, 2)
    },
    { metrics },
  )
})

void test('S9.1 every reason a message can be lost for is told', async (t) => {
  await onStage(t, undefined, async (system) => {
    const reasons: DeadLetterReason[] = []
    system.events.on('dead-letter', ({ reason }) => void reasons.push(reason))
    const took = (): readonly DeadLetterReason[] => reasons.splice(0)
    const { passed, open } = gate()
    const ref = system.spawn(
      'a',
      puppet(
        { hold: () => passed, stash: (ctx) => ctx.stash() },
        { stashMax: 1, mailbox: { messagesMax: 2 } },
      ),
      { shutdownMs: 1_000 },
    )
    const say = (step: string): boolean => ref.tell({ type: 'do', step })
    say('stash')
    say('stash')
    await system.platform.settle()
    t.same(took(), ['stash-overflow'])
    say('hold')
    await system.platform.settle()
    t.same([say('x'), say('y'), say('z')], [true, true, false])
    t.same(took(), ['overflow'])
    const stopped = system.stop(ref)
    t.equal(say('late'), false)
    t.same(took(), ['stopping'])
    open()
    await stopped
    t.same(took(), ['stopped', 'stopped', 'stopped'], 'the stash, then the queue')
    t.equal(say('dead'), false)
    t.same(took(), ['stopped'])
    const loose = system.spawn('b', puppet({})) as unknown as { readonly tell: (message: unknown) => boolean }
    t.same([loose.tell({ type: 'do', step: 1 }), loose.tell({ type: 'dont' })], [false, false])
    t.same(
      [loose.tell(undefined), loose.tell(null), loose.tell('do')],
      [false, false, false],
      'whatever it is',
    )
    t.same(took(), ['invalid', ...Array<string>(4).fill('unknown-message')])
  })
})

void test('S9.1 the first ten of a reason and definition are warned of whole, the rest in one line per 10 s', async (t) => {
  await onStage(t, undefined, async (system) => {
    const ref = system.spawn('a', puppet({}))
    await system.stop(ref)
    const nobody = system.ref(Puppet, '/user/nobody')
    for (let i = 0; i < 25; i++) ref.tell({ type: 'do', step: 'x' })
    nobody.tell({ type: 'do', step: 'x' })
    const warnings = logged(system, 'warn')
    t.equal(warnings.length, 11, 'ten of one kind, one of another')
    t.equal(warnings[0], 'dead letter: "do" to /user/a was not delivered (stopped)')
    t.match(system.platform.logged.find(({ level }) => level === 'warn')?.fields, {
      path: '/user/a',
      actor: 'puppet',
      type: 'do',
      reason: 'stopped',
    })
    await system.platform.advance(9_999)
    t.equal(logged(system, 'warn').length, 11)
    await system.platform.advance(1)
    t.same(logged(system, 'warn').slice(11), ['15 more dead letters of puppet (stopped) in 10 s'])
    t.match(system.platform.logged.at(-1)?.fields, { counted: 15 })
    ref.tell({ type: 'do', step: 'x' })
    t.equal(logged(system, 'warn').length, 13, 'a new window writes again')
    t.equal(system.status().counters.deadLetters, 27, 'the counter has seen all')
  })
})

void test('S9.1 of a protocol that expects absence, letters that found nobody are counted, and logged at debug', async (t) => {
  const News = protocol('contract-news', { news: tell() }, { absence: 'expected' })
  const metrics = memoryMetrics()
  await onStage(
    t,
    undefined,
    async (system) => {
      const letters = heard(system, 'dead-letter')
      const { passed, open } = gate()
      const reader = actor(News, { mailbox: { messagesMax: 1 } }, () => ({ news: () => passed }))
      const ref = system.spawn('reader', reader)
      system.ref(News, '/user/later').tell({ type: 'news' })
      for (let i = 0; i < 3; i++) {
        ref.tell({ type: 'news' })
        await system.platform.settle()
      }
      const stopped = system.stop(ref)
      ref.tell({ type: 'news' })
      open()
      await stopped
      ref.tell({ type: 'news' })
      const reasons = ['not-found', 'overflow', 'stopping', 'stopped', 'stopped']
      t.same(
        letters.map(({ reason }) => reason),
        reasons,
      )
      t.equal(system.status().counters.deadLetters, reasons.length)
      t.match(JSON.stringify(metrics.read()), /understudy_dead_letters_total/)
      const line = (path: string, reason: string): string =>
        `dead letter: "news" to ${path} was not delivered (${reason})`
      t.same(logged(system, 'warn'), [line('/user/reader', 'overflow')], 'a bound that is met is no absence')
      t.same(
        logged(system, 'debug').filter((text) => text.startsWith('dead letter')),
        [
          line('/user/later', 'not-found'),
          line('/user/reader', 'stopping'),
          line('/user/reader', 'stopped'),
          line('/user/reader', 'stopped'),
        ],
      )
    },
    { metrics },
  )
})

void test('S9.1 what was held back is told at the shutdown, whose own dead letters are counted and not written', async (t) => {
  const { passed, open } = gate()
  await onStage(t, undefined, async (system) => {
    const ref = system.spawn('a', puppet({}))
    await system.stop(ref)
    for (let i = 0; i < 13; i++) ref.tell({ type: 'do', step: 'x' })
    const holding = system.spawn('b', puppet({ hold: () => passed }))
    holding.tell({ type: 'do', step: 'hold' })
    await system.platform.settle()
    for (let i = 0; i < 3; i++) holding.tell({ type: 'do', step: 'x' })
    const down = system.shutdown()
    open()
    await down
    const warnings = logged(system, 'warn')
    t.same(warnings.slice(10), ['3 more dead letters of puppet (stopped) in 0 s'])
    t.equal(system.status().counters.deadLetters, 16)
  })
})

void test('S9.1 the last 1,000 dead letters are kept, oldest first', async (t) => {
  await onStage(t, undefined, async (system) => {
    const ref = system.spawn('a', puppet({}))
    await system.stop(ref)
    for (let i = 0; i < 1_003; i++) ref.tell({ type: 'do', step: String(i) })
    const steps = system.deadLetters().map(({ message }) => (message as { readonly step?: string }).step)
    t.equal(steps.length, 1_000)
    t.same([steps[0], steps[999]], ['3', '1002'])
  })
})

void test('S9.1 a restart is one line with path, message type, error, number of limit and delay', async (t) => {
  await onStage(t, undefined, async (system) => {
    const restarted = heard(system, 'actor-restarted')
    const ref = system.spawn('a', crashing, { backoff: { minMs: 200, maxMs: 1_000, jitter: 0 } })
    ref.tell({ type: 'do', step: 'crash' })
    await system.platform.settle()
    const line = system.platform.logged.find(({ level }) => level === 'error')
    t.equal(line?.message, '/user/a crashed on "do": restart 1 of 3 in 200 ms')
    t.match(line?.fields, {
      path: '/user/a',
      actor: 'puppet',
      type: 'do',
      restart: 1,
      limit: 3,
      delayMs: 200,
    })
    t.match(line?.fields['err'], { message: 'down' })
    t.match(restarted, [
      { path: '/user/a', messageType: 'do', count: 1, limit: 3, delayMs: 200, sameMessage: 1 },
    ])
    await system.platform.advance(200)
  })
})

void test('S9.1 the first ten restarts of a definition in 10 s are logged whole, then summed', async (t) => {
  await onStage(
    t,
    puppet({ spawn: (ctx) => void ctx.spawn('a', crashing) }, { supervision: patient }),
    async (system) => {
      system.ref(Puppet, '/user').tell({ type: 'do', step: 'spawn' })
      await system.platform.settle()
      const ref = system.ref(Puppet, '/user/a')
      for (let i = 0; i < 30; i++) ref.tell({ type: 'do', step: 'crash' })
      await system.platform.settle()
      t.equal(logged(system, 'error').length, 10)
      await system.platform.advance(10_000)
      t.same(logged(system, 'warn'), ['20 more restarts of puppet in 10 s'])
      t.equal(system.status().counters.restarts, 30)
    },
  )
})
