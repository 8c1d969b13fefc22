/** Keyed timers: no stale tick after cancel, replacement or restart; ticks coalesce; they never come early. */
import { actor, ask, protocol, tell } from '@understudy/runtime'
import { test } from 'tap'
import Type from 'typebox'
import { gate, heard, onStage, puppet, type PuppetContext, type Script } from '../support/runtime.ts'

/** A script whose ticks are noted with their time. */
function ticking(told: string[], script: Script = {}): Script {
  const note = (name: string) => (ctx: PuppetContext) => void told.push(`${name} ${ctx.now()}`)
  return { a: note('a'), b: note('b'), ...script }
}

function self(step: string): { readonly type: 'self'; readonly step: string } {
  return { type: 'self', step }
}

void test('Timers once and every send own messages at their time, exactly on virtual time', async (t) => {
  const told: string[] = []
  await onStage(t, undefined, async (system) => {
    const ref = system.spawn(
      'a',
      puppet(
        ticking(told, {
          begin: (ctx) => {
            ctx.timers.once('a', 25, self('a'))
            ctx.timers.every('b', 10, self('b'))
            t.equal(ctx.timers.has('a'), true)
          },
          look: (ctx) => [ctx.timers.has('a'), ctx.timers.has('b')],
          end: (ctx) => [ctx.timers.cancel('b'), ctx.timers.cancel('b'), ctx.timers.cancel('none')],
        }),
      ),
    )
    ref.tell({ type: 'do', step: 'begin' })
    await system.platform.advance(45)
    t.same(told, ['b 10', 'b 20', 'a 25', 'b 30', 'b 40'])
    t.same(await ref.ask({ type: 'ask', step: 'look' }), [false, true])
    t.same(await ref.ask({ type: 'ask', step: 'end' }), [true, false, false])
    await system.platform.advance(100)
    t.equal(told.length, 5)
  })
})

void test('Timers leave no stale tick after cancel, replacement or restart, even one that is queued', async (t) => {
  const told: string[] = []
  for (const revoke of ['cancel', 'replace', 'crash'] as const) {
    told.length = 0
    const { passed, open } = gate()
    await onStage(t, undefined, async (system) => {
      const ref = system.spawn(
        'a',
        puppet(
          ticking(told, {
            begin: (ctx) => ctx.timers.once('a', 10, self('a')),
            hold: () => passed,
            cancel: (ctx) => void ctx.timers.cancel('a'),
            replace: (ctx) => ctx.timers.once('a', 100, self('b')),
            crash: () => {
              throw new Error('down')
            },
          }),
        ),
      )
      for (const step of ['begin', 'hold', revoke]) ref.tell({ type: 'do', step })
      await system.platform.advance(50)
      t.match(
        system.status().tree,
        { children: [{}, { children: [{ mailbox: 2 }] }] },
        'the tick stands in the mailbox',
      )
      open()
      await system.platform.advance(500)
      t.same(told, revoke === 'replace' ? ['b 150'] : [], revoke)
    })
  }
})

void test('Timers every coalesces: a slow actor finds one tick waiting, and the beat is kept', async (t) => {
  const told: string[] = []
  const { passed, open } = gate()
  await onStage(t, undefined, async (system) => {
    const ref = system.spawn(
      'a',
      puppet(ticking(told, { begin: (ctx) => ctx.timers.every('b', 10, self('b')), hold: () => passed })),
    )
    ref.tell({ type: 'do', step: 'begin' })
    ref.tell({ type: 'do', step: 'hold' })
    await system.platform.advance(95)
    open()
    await system.platform.advance(20)
    t.same(told, ['b 95', 'b 100', 'b 110'])
  })
})

void test('Timers of an incarnation that is gone are not started, and counted', async (t) => {
  const told: string[] = []
  const { passed, open } = gate()
  await onStage(t, undefined, async (system) => {
    const ref = system.spawn(
      'a',
      puppet(
        ticking(told, {
          linger: async (ctx) => {
            ctx.run(Promise.reject(new Error('down')))
            await passed
            ctx.timers.once('a', 1, self('a'))
            ctx.setReceiveTimeout(1, self('a'))
          },
        }),
      ),
    )
    ref.tell({ type: 'do', step: 'linger' })
    await system.platform.settle()
    open()
    await system.platform.advance(100)
    t.same(told, [])
    t.ok(system.status().counters.staleEffects >= 2)
  })
})

void test('Timers refuse a time or a message that cannot be', async (t) => {
  await onStage(t, undefined, async (system) => {
    const errors: unknown[] = []
    const tries = (...uses: (() => void)[]): void => {
      for (const use of uses) {
        try {
          use()
        } catch (error) {
          errors.push(error)
        }
      }
    }
    const ref = system.spawn(
      'a',
      puppet({
        try: (ctx) =>
          tries(
            () => ctx.timers.once('a', Number.NaN, self('a')),
            () => ctx.timers.once('a', -1, self('a')),
            () => ctx.timers.once('a', Number.POSITIVE_INFINITY, self('a')),
            () => ctx.timers.every('a', 0, self('a')),
            () => ctx.setReceiveTimeout(0, self('a')),
            () => ctx.setReceiveTimeout(5),
            () => ctx.timers.once('a', 1, { type: 'self', step: 3 } as never),
          ),
      }),
    )
    ref.tell({ type: 'do', step: 'try' })
    await system.platform.settle()
    t.match(errors, [
      ...Array.from({ length: 6 }, () => ({ name: 'RangeError' })),
      { name: 'TypeError', message: /timer "a".*field "step" is 3, expected a string/ },
    ])
  })
})

void test('Timers stop with the actor, and a tick for the dead is no dead letter', async (t) => {
  await onStage(t, undefined, async (system) => {
    const letters = heard(system, 'dead-letter')
    const { passed, open } = gate()
    const ref = system.spawn(
      'a',
      puppet({ begin: (ctx) => ctx.timers.every('b', 10, self('b')), hold: () => passed }),
    )
    ref.tell({ type: 'do', step: 'begin' })
    ref.tell({ type: 'do', step: 'hold' })
    await system.platform.advance(15)
    const stopped = system.stop(ref)
    open()
    await stopped
    await system.platform.advance(100)
    t.same(letters, [])
    t.equal(system.platform.pendingTimers(), 0)
  })
})

void test('ctx.setReceiveTimeout fires after silence, and every message puts it off', async (t) => {
  const told: number[] = []
  const Idle = protocol('idle', { poke: tell(), begin: tell({ ms: Type.Number() }), off: ask(Type.Null()) })
  const idle = actor(Idle, { own: { silence: tell() } }, (ctx) => ({
    poke: () => undefined,
    begin: ({ ms }) => ctx.setReceiveTimeout(ms, { type: 'silence' }),
    off: () => {
      ctx.setReceiveTimeout(undefined)
      return null
    },
    silence: () => void told.push(ctx.now()),
  }))
  await onStage(t, undefined, async (system) => {
    const ref = system.spawn('a', idle)
    ref.tell({ type: 'begin', ms: 100 })
    await system.platform.advance(60)
    ref.tell({ type: 'poke' })
    await system.platform.advance(60)
    t.same(told, [])
    await system.platform.advance(40)
    t.same(told, [160])
    await system.platform.advance(100)
    t.same(told, [160, 260], 'and again')
    ref.tell({ type: 'begin', ms: 30 })
    await system.platform.advance(30)
    t.same(told, [160, 260, 290], 'a new one replaces the old one')
    await ref.ask({ type: 'off' })
    await system.platform.advance(1_000)
    t.equal(told.length, 3)
  })
})
