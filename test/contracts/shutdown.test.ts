/** Coordinated shutdown: named phases in order, one deadline, who hung is named, and nothing is left afterwards. */
import { createSystem, shutdownPhases, StoreError } from '@understudy/runtime'
import { testSystem, virtualPlatform } from '@understudy/runtime/testkit'
import { test } from 'tap'
import { codeOf, gate, heard, logged, onStage, puppet, Puppet, watched } from '../support/runtime.ts'

void test('CoordinatedShutdown runs its phases in order, the tasks of one side by side', async (t) => {
  await onStage(t, undefined, async (system) => {
    const ran: string[] = []
    const shutdown = system.coordinatedShutdown
    const phases = heard(system, 'shutdown-phase')
    const both = gate()
    for (const phase of [...shutdownPhases].reverse()) {
      shutdown.add(phase, 'mine', (reason) => void ran.push(`${phase} ${reason}`))
    }
    shutdown.add('drain', 'waits', () => both.passed)
    shutdown.add('drain', 'opens', () => both.open())
    const taken = shutdown.add('drain', 'taken back', () => void ran.push('taken back'))
    taken[Symbol.dispose]()
    t.equal(shutdown.isRunning(), false)
    const report = await shutdown.run('because')
    t.same(
      ran,
      shutdownPhases.map((phase) => `${phase} because`),
    )
    t.same(
      phases.map(({ phase }) => phase),
      [...shutdownPhases],
    )
    t.same(report, { reason: 'because', clean: true, hung: [], failed: [] })
    t.equal(await system.terminated, report)
    t.equal(await system.shutdown('again'), report, 'later calls join the first')
  })
})

void test('CoordinatedShutdown goes on without a task that failed or hung, and names it', async (t) => {
  await onStage(
    t,
    undefined,
    async (system) => {
      const shutdown = system.coordinatedShutdown
      let closed = false
      shutdown.add('not-ready', 'broken', () => {
        throw new Error('no')
      })
      shutdown.add('drain', 'hangs', () => gate().passed)
      shutdown.add('drain', 'is quick', () => undefined)
      shutdown.add('close', 'mine', () => {
        closed = true
      })
      const done = watched(system.shutdown())
      await system.platform.advance(999)
      t.equal(done.state, 'open')
      await system.platform.advance(1)
      t.same(done.value, {
        reason: 'shutdown() was called',
        clean: false,
        hung: ['drain/hangs'],
        failed: ['not-ready/broken'],
      })
      t.equal(closed, true, 'the phases behind it still ran')
      t.ok(logged(system, 'error').some((line) => line.includes('did not end in time')))
    },
    { shutdownMs: 1_000 },
  )
})

void test('CoordinatedShutdown gives phases after the deadline a moment of their own', async (t) => {
  await onStage(
    t,
    undefined,
    async (system) => {
      const { clock } = system.platform
      system.coordinatedShutdown.add('drain', 'hangs', () => gate().passed)
      let closed = false
      system.coordinatedShutdown.add('close', 'slow', async () => {
        await new Promise<void>((resolve) => void clock.setTimer(clock.monotonicMs() + 50, resolve))
        closed = true
      })
      const done = watched(system.shutdown())
      await system.platform.advance(1_000)
      t.same(done.value?.hung, ['drain/hangs'])
      t.equal(closed, true)
    },
    { shutdownMs: 500 },
  )
})

void test('ActorSystem shutdown stops actors, closes its own store, and refuses what comes after', async (t) => {
  const order: string[] = []
  const leaf = puppet(
    { stop: () => undefined },
    { setup: (ctx) => ctx.defer(() => void order.push(ctx.path)) },
  )
  let store:
    | ReturnType<Parameters<NonNullable<Parameters<typeof puppet>[1]>['setup'] & {}>[0]['store']>
    | undefined
  const parent = puppet(
    { spawn: (ctx) => void ctx.spawn('leaf', leaf) },
    {
      setup: (ctx) => {
        store = ctx.store('mine')
        ctx.defer(() => void order.push(ctx.path))
      },
    },
  )
  await onStage(t, undefined, async (system) => {
    const ref = system.spawn('parent', parent)
    ref.tell({ type: 'do', step: 'spawn' })
    await system.platform.settle()
    await system.shutdown()
    t.same(order, ['/user/parent/leaf', '/user/parent'])
    t.throws(() => system.spawn('late', leaf), {
      code: 'RUNTIME_STOPPED',
      message: /is shutting down or has ended/,
    })
    t.equal(await codeOf(ref.ask({ type: 'ask', step: 'x' })), 'RUNTIME_ACTOR_STOPPED')
    t.equal(
      await codeOf(system.ref(Puppet, '/user/parent').ask({ type: 'ask', step: 'x' })),
      'RUNTIME_NO_SUCH_ACTOR',
    )
    t.equal(ref.tell({ type: 'do', step: 'x' }), false)
    await t.rejects(async () => store?.get('key' as never), StoreError)
    t.equal(system.platform.pendingTimers(), 0, 'an ask after the end leaves no timer')
  })
})

void test('ActorSystem shutdown by signal exits with 0, and at the second signal at once with 130', async (t) => {
  const platform = virtualPlatform()
  const system = await createSystem('signalled', undefined, { platform })
  const { passed, open } = gate()
  system.coordinatedShutdown.add('drain', 'slow', () => passed)
  platform.signal('SIGTERM')
  await platform.settle()
  t.same(platform.exits, [])
  platform.signal('SIGINT')
  t.same(platform.exits, [130])
  open()
  const report = await system.terminated
  t.match(report, { reason: 'SIGTERM', clean: true })
  await platform.settle()
  t.same(platform.exits, [130, 0])
  platform.signal('SIGINT')
  t.same(platform.exits, [130, 0], 'nobody listens after the end')
  t.equal(platform.holds(), 0)
})

void test('ActorSystem on a test platform leaves signals alone with handleSignals false', async (t) => {
  await onStage(t, undefined, async (system) => {
    system.platform.signal('SIGTERM')
    t.equal(system.coordinatedShutdown.isRunning(), false)
  })
})

void test('ActorSystem asyncDispose is a shutdown, and needs no help but time', async (t) => {
  const platform = virtualPlatform()
  {
    await using system = await testSystem(undefined, { platform })
    const ref = system.spawn('hangs', puppet({ hold: () => gate().passed }))
    ref.tell({ type: 'do', step: 'hold' })
    await platform.settle()
  }
  t.equal(platform.pendingTimers(), 0)
  t.equal(platform.holds(), 0)
  t.ok(platform.clock.monotonicMs() >= 5_000, 'virtual time went by until it was abandoned')
})
