/** S11.2: a handler that keeps the event loop is blamed by name, and one stray promise does not take the process. */
import { memoryMetrics } from '@understudy/runtime'
import { test } from 'tap'
import { burningPlatform } from '../support/probe-system.ts'
import { heard, logged, onStage, puppet } from '../support/runtime.ts'

void test('S11.2 a synchronous stretch over 50 ms names actor, path, message type and duration', async (t) => {
  const { platform, burn } = burningPlatform()
  const metrics = memoryMetrics()
  await onStage(
    t,
    undefined,
    async (system) => {
      const stalls = heard(system, 'handler-stalled')
      const ref = system.spawn(
        'busy',
        puppet({ short: () => burn(49), long: () => burn(120), free: () => undefined }),
      )
      for (const step of ['short', 'short', 'long', 'free']) ref.tell({ type: 'do', step })
      await system.platform.settle()
      t.same(stalls, [{ path: '/user/busy', definition: 'puppet', messageType: 'do', durationMs: 120 }])
      t.same(logged(system, 'warn'), ['/user/busy kept the event loop for 120 ms while it handled "do"'])
      t.match(system.platform.logged.find(({ level }) => level === 'warn')?.fields, {
        path: '/user/busy',
        actor: 'puppet',
        type: 'do',
        durationMs: 120,
      })
      t.equal(system.status().counters.stalls, 1)
      t.match(JSON.stringify(metrics.read()), /understudy_handler_stalls_total/)
    },
    { platform, metrics },
  )
})

void test('S11.2 what an async handler does before it waits, a crash, and setup are blamed too; waiting is not', async (t) => {
  const { platform, burn } = burningPlatform()
  await onStage(
    t,
    undefined,
    async (system) => {
      const stalls = heard(system, 'handler-stalled')
      const blamed = (): readonly string[] => stalls.map(({ path, messageType }) => `${path} ${messageType}`)
      const ref = system.spawn(
        'a',
        puppet({
          sync: async () => {
            burn(60)
            await Promise.resolve()
          },
          waits: (ctx) =>
            new Promise<void>((resolve) => void ctx.signal.addEventListener('abort', () => resolve())),
          crash: () => {
            burn(70)
            throw new Error('slow and then dead')
          },
        }),
      )
      ref.tell({ type: 'do', step: 'sync' })
      ref.tell({ type: 'do', step: 'crash' })
      ref.tell({ type: 'do', step: 'waits' })
      await system.platform.advance(1_000)
      t.same(blamed(), ['/user/a do', '/user/a do'])
      system.spawn('slow-start', puppet({}, { setup: () => burn(80) }))
      await system.platform.settle()
      t.same(blamed().slice(2), ['/user/slow-start setup'])
    },
    { platform },
  )
})

void test('S11.2 it is off in production and with stallMs Infinity, and then reads no clock for it', async (t) => {
  for (const off of [{ env: { NODE_ENV: 'production' } }, { stallMs: Number.POSITIVE_INFINITY }]) {
    const { platform, burn } = burningPlatform()
    const host = { ...platform.host, env: off.env ?? {} }
    await onStage(
      t,
      undefined,
      async (system) => {
        const stalls = heard(system, 'handler-stalled')
        const ref = system.spawn('a', puppet({ long: () => burn(500) }))
        ref.tell({ type: 'do', step: 'long' })
        await system.platform.settle()
        t.same(stalls, [])
      },
      { platform: { ...platform, host }, ...(off.stallMs === undefined ? {} : { stallMs: off.stallMs }) },
    )
  }
})
