/** S17.1: nothing reads the machine but through the platform, so the same seed and inputs give the same run. */
import { createHash } from 'node:crypto'
import { child, supervisor, type Platform, type SystemEvents } from '@understudy/runtime'
import { testSystem, virtualPlatform } from '@understudy/runtime/testkit'
import { test } from 'tap'
import { puppet, type PuppetRef } from '../support/runtime.ts'

const eventNames = [
  'actor-started',
  'actor-restarted',
  'actor-failed',
  'actor-stopped',
  'dead-letter',
  'handler-stalled',
  'actor-abandoned',
  'shutdown-phase',
] as const satisfies readonly (keyof SystemEvents)[]

/** A crowd that lives by chance: it crashes, backs off, asks itself with timeouts, ticks and gives up. */
const restless = puppet(
  {
    tick: (ctx) => {
      if (ctx.random.float() < 0.2) throw new Error(`chance ${ctx.random.u32()}`)
      const target = ctx.ref(
        { name: 'puppet', messages: {} } as never,
        `/user/c${ctx.random.int(0, 7)}`,
      ) as PuppetRef
      ctx.request(
        target,
        { type: 'ask', step: ctx.random.float() < 0.5 ? 'slow' : 'quick' },
        () => ({ type: 'self', step: 'nothing' }),
        () => ({ type: 'self', step: 'nothing' }),
        { timeoutMs: ctx.random.int(1, 40) },
      )
    },
    slow: (ctx) =>
      new Promise((resolve) =>
        ctx.pipe(Promise.resolve(), () => ({ type: 'self', step: resolved(resolve) })),
      ),
    quick: (ctx) => ctx.random.u32(),
    nothing: () => undefined,
  },
  {
    handlerTimeoutMs: 60,
    mailbox: { messagesMax: 8, overflow: 'drop-old' },
    setup: (ctx) => ctx.timers.every('tick', ctx.random.int(5, 25), { type: 'self', step: 'tick' }),
  },
)

function resolved(resolve: (value: unknown) => void): string {
  resolve(1)
  return 'nothing'
}

async function trace(
  seed: number,
  platformOf: (platform: ReturnType<typeof virtualPlatform>) => void = () => undefined,
) {
  const platform = virtualPlatform({ seed })
  platformOf(platform)
  const lines: string[] = []
  const children = Array.from({ length: 8 }, (_, index) =>
    child(`c${index}`, restless, { backoff: { minMs: 5, maxMs: 100, jitter: 0.5 } }),
  )
  const intensity = { restarts: 40, withinMs: 1_000, per: 'child' } as const
  const system = await testSystem(supervisor({ intensity }, children), { platform })
  for (const name of eventNames) {
    system.events.on(name, (event) => {
      lines.push(JSON.stringify([platform.clock.monotonicMs(), platform.clock.wallMs(), name, event]))
    })
  }
  await platform.advance(2_000)
  await system[Symbol.asyncDispose]()
  lines.push(...platform.logged.map((line) => JSON.stringify([line.level, line.message])))
  return { count: lines.length, hash: createHash('sha256').update(lines.join('\n')).digest('hex') }
}

void test('S17.1 two runs with one seed and the same inputs give the same trace of events', async (t) => {
  const first = await trace(7)
  const second = await trace(7)
  t.ok(first.count > 200, `something happened: ${first.count} lines`)
  t.same(second, first)
  const other = await trace(8)
  t.not(other.hash, first.hash, 'and another seed another one')
})

void test('S17.1 no run touches the ambient clock, timers or chance', async (t) => {
  const touched = new Set<string>()
  const spied: readonly (readonly [owner: object, name: string])[] = [
    [Date, 'now'],
    [performance, 'now'],
    [Math, 'random'],
    [globalThis, 'setTimeout'],
    [globalThis, 'setInterval'],
    [crypto, 'getRandomValues'],
    [crypto, 'randomUUID'],
  ]
  const ours = /packages\/(?:runtime|cluster)\/(?:dist|src)\//
  const undo = spied.map(([owner, name]) => {
    const table = owner as Record<string, (...args: never[]) => unknown>
    const real = table[name] as (...args: never[]) => unknown
    const inherited = !Object.hasOwn(table, name)
    Object.defineProperty(table, name, {
      configurable: true,
      writable: true,
      value(this: unknown, ...args: never[]) {
        // The test runner reads the clock too: only what comes from our packages counts.
        if (ours.test((new Error().stack ?? '').split('\n').slice(2, 4).join('\n'))) touched.add(name)
        return real.apply(this, args)
      },
    })
    return () => {
      if (inherited) delete table[name]
      else Object.defineProperty(table, name, { configurable: true, writable: true, value: real })
    }
  })
  try {
    await trace(9)
  } finally {
    for (const put of undo) put()
  }
  t.same([...touched], [])
})

void test('S17.1 every reading of time and every number comes from the platform that was handed in', async (t) => {
  let readings = 0
  let timers = 0
  const counting = (platform: Platform): void => {
    const { clock } = platform
    Object.assign(platform, {
      clock: {
        ...clock,
        monotonicMs: () => {
          readings++
          return clock.monotonicMs()
        },
        setTimer: (atMs: number, fire: () => void) => {
          timers++
          return clock.setTimer(atMs, fire)
        },
      },
    })
  }
  await trace(7, counting)
  const before = { readings, timers }
  t.ok(readings > 0 && timers > 0)
  readings = 0
  timers = 0
  await trace(7, counting)
  t.same({ readings, timers }, before, 'to the last reading')
})
