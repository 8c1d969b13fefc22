/** Semantics, section 11: fairness of the loop. */
import {
  actor,
  ask,
  child,
  createSystem,
  protocol,
  supervisor,
  tell,
  type Platform,
} from '@understudy/runtime'
import { virtualPlatform } from '@understudy/runtime/testkit'
import { test } from 'tap'
import Type from 'typebox'
import { onStage, Puppet, puppet, watched } from '../support/runtime.ts'
import { sourceModule } from '../support/source-module.ts'

const { Cell } = await sourceModule<typeof import('../../packages/runtime/src/actor/cell.ts')>(
  'runtime',
  'actor/cell',
)

type RunQueue = ReturnType<Platform['scheduler']['makeRunQueue']>
type Ready = NonNullable<ReturnType<RunQueue['next']>>

/** Above this many messages in a row timers and sockets would starve. */
const sliceMessagesMax = 16_000

/** A scheduler under the test's hand: the pump runs when the test says so, and yields are counted, not carried out. */
class TestScheduler {
  readonly ready: Ready[] = []
  yields = 0
  /** The order in which cells were given their turns. */
  readonly turns: Ready[] = []
  pump: () => void = () => undefined
  #idle = true

  platform(): Platform {
    const makeRunQueue = (pump: () => void): RunQueue => {
      this.pump = pump
      return {
        turnMessagesMax: Number.POSITIVE_INFINITY,
        push: (cell) => {
          this.ready.push(cell)
          this.#idle = false
        },
        next: () => {
          const system = this.ready.findIndex((cell) => cell.isSystem)
          const [cell] = this.ready.splice(Math.max(system, 0), 1)
          if (cell !== undefined) this.turns.push(cell)
          return cell ?? null
        },
        idle: () => {
          this.#idle = true
        },
        yieldNow: () => {
          this.yields++
        },
      }
    }
    const platform = virtualPlatform()
    return { ...platform, scheduler: { ...platform.scheduler, makeRunQueue } }
  }

  /** Pumps until there is nothing to do or the pump has yielded `yields` times more, with time for promises between. */
  async run(yields = Number.POSITIVE_INFINITY): Promise<void> {
    const until = this.yields + yields
    for (let quiet = 0; quiet < 3 && this.yields < until;) {
      if (this.ready.length > 0 || !this.#idle) {
        quiet = 0
        this.pump()
      } else quiet++
      await new Promise<void>((resolve) => setImmediate(resolve))
    }
  }
}

const Ball = protocol('ball', { hit: tell(), count: ask(Type.Integer()) })

/** Two actors that volley for ever; `late` awaits between two hits. */
async function volley(
  late: boolean,
): Promise<{ readonly hits: () => number; readonly scheduler: TestScheduler }> {
  const scheduler = new TestScheduler()
  let hits = 0
  const player = (other: string) =>
    actor(Ball, (ctx) => {
      const partner = ctx.ref(Ball, `/user/${other}`)
      return {
        hit: () => {
          hits++
          if (late) return Promise.resolve().then(() => void ctx.tell(partner, { type: 'hit' }))
          ctx.tell(partner, { type: 'hit' })
          return undefined
        },
        count: () => hits,
      }
    })
  const creating = createSystem('fair', supervisor({}, [child('a', player('b')), child('b', player('a'))]), {
    platform: scheduler.platform(),
    isolation: 'reference',
  })
  await scheduler.run()
  const system = await creating
  system.ref(Ball, '/user/a').tell({ type: 'hit' })
  return { hits: () => hits, scheduler }
}

void test('S11.1 a yield comes within 16,000 messages when two actors volley for ever', async (t) => {
  const { hits, scheduler } = await volley(false)
  let before = 0
  for (let round = 0; round < 4; round++) {
    await scheduler.run(1)
    const handled = hits() - before
    before = hits()
    t.ok(handled > 0 && handled <= sliceMessagesMax, `${handled} messages before the yield`)
  }
})

void test('S11.1 a yield comes within 16,000 messages also when every handler awaits and each pump finds only one', async (t) => {
  const { hits, scheduler } = await volley(true)
  let before = 0
  for (let round = 0; round < 2; round++) {
    await scheduler.run(1)
    const handled = hits() - before
    before = hits()
    t.ok(handled > 0 && handled <= sliceMessagesMax, `${handled} messages before the yield`)
  }
})

void test('S11.1 a yield comes within 16,000 messages of one long mailbox, and the rest is handled after it', async (t) => {
  const scheduler = new TestScheduler()
  let hits = 0
  const creating = createSystem(
    'fair',
    supervisor({}, [
      child(
        'a',
        actor(Ball, () => ({ hit: () => void hits++, count: () => hits })),
      ),
    ]),
    { platform: scheduler.platform(), isolation: 'reference' },
  )
  await scheduler.run()
  const system = await creating
  const ref = system.ref(Ball, '/user/a')
  for (let n = 0; n < 50_000; n++) ref.tell({ type: 'hit' })
  await scheduler.run(1)
  t.ok(hits > 0 && hits <= sliceMessagesMax, `${hits} messages before the yield`)
  await scheduler.run()
  t.equal(hits, 50_000)
  t.ok(scheduler.yields >= 3)
})

void test('S11.1 a yield comes within 16,000 turns of a crash loop', async (t) => {
  const scheduler = new TestScheduler()
  let starts = 0
  const looping = actor(Ball, { name: 'looping' }, () => {
    starts++
    throw new Error('again')
  })
  const creating = createSystem(
    'fair',
    supervisor({ intensity: { restarts: Number.POSITIVE_INFINITY, withinMs: 1 } }, [child('a', looping)]),
    { platform: scheduler.platform(), isolation: 'reference' },
  )
  creating.catch(() => undefined)
  await scheduler.run(1)
  t.ok(starts > 0 && starts <= sliceMessagesMax, `${starts} starts before the yield`)
})

void test('S11.1 on a real queue timers get their turn beside actors that volley for ever, awaiting or not', async (t) => {
  for (const late of [false, true]) {
    const platform = virtualPlatform()
    let isOver = false
    const player = (other: string) =>
      puppet({
        hit: (ctx) => {
          const next = (): void => {
            if (!isOver) ctx.tell(ctx.ref(Puppet, `/user/${other}`), { type: 'do', step: 'hit' })
          }
          return late ? Promise.resolve().then(() => next()) : next()
        },
      })
    const system = await createSystem(
      'fair',
      supervisor({}, [child('a', player('b')), child('b', player('a'))]),
      {
        platform,
        isolation: 'reference',
      },
    )
    system.ref(Puppet, '/user/a').tell({ type: 'do', step: 'hit' })
    // If the loop starved, this would never come and the file would run into its timeout.
    await new Promise<void>((resolve) => setTimeout(resolve, 1))
    isOver = true
    t.pass(late ? 'awaiting' : 'plain')
    await system.shutdown()
  }
})

void test('S11.1 a turn ends after 512 sends of its cell, and the others have theirs before it goes on', async (t) => {
  await onStage(
    t,
    undefined,
    async (system) => {
      const order: string[] = []
      const drain = system.spawn(
        'sink',
        actor(Ball, () => ({ hit: () => undefined, count: () => 0 })),
      )
      const burst = (name: string) =>
        puppet({
          burst: (ctx) => {
            for (let n = 0; n < 100; n++) ctx.tell(drain, { type: 'hit' })
            order.push(name)
          },
        })
      const refs = ['a', 'b'].map((name) => system.spawn(name, burst(name)))
      await system.platform.settle()
      for (const ref of refs) for (let n = 0; n < 12; n++) ref.tell({ type: 'do', step: 'burst' })
      await system.platform.settle()
      const six = (name: string) => Array.from({ length: 6 }, () => name)
      t.same(order, [...six('a'), ...six('b'), ...six('a'), ...six('b')])
    },
    { isolation: 'reference' },
  )
})

void test('S11.1 a turn drains what was queued when it began: what it sends to itself waits for the next', async (t) => {
  await onStage(t, undefined, async (system) => {
    const order: string[] = []
    const self = system.spawn(
      'a',
      puppet({
        again: (ctx) => {
          order.push('a')
          if (order.length < 20) ctx.tell(ctx.self, { type: 'do', step: 'again' })
        },
      }),
    )
    const other = system.spawn('b', puppet({ note: () => void order.push('b') }))
    await system.platform.settle()
    self.tell({ type: 'do', step: 'again' })
    other.tell({ type: 'do', step: 'note' })
    await system.platform.settle()
    t.same(order.slice(0, 3), ['a', 'b', 'a'])
  })
})

void test('S11.1 cells that awaited resume at the tail', async (t) => {
  await onStage(t, undefined, async (system) => {
    const order: string[] = []
    const late = system.spawn('late', puppet({ go: async () => void order.push('late') }))
    const busy = system.spawn(
      'busy',
      puppet({
        go: (ctx) => {
          order.push('busy')
          if (order.length < 10) ctx.tell(ctx.self, { type: 'do', step: 'go' })
        },
      }),
    )
    await system.platform.settle()
    for (const ref of [late, late, busy]) ref.tell({ type: 'do', step: 'go' })
    await system.platform.settle()
    t.same(order.filter((name) => name === 'late').length, 2)
    t.equal(order[0], 'late')
    t.equal(order[1], 'busy')
  })
})

void test('S11.1 system cells come first, and again after each yield', async (t) => {
  const scheduler = new TestScheduler()
  const creating = createSystem('fair', undefined, { platform: scheduler.platform(), isolation: 'reference' })
  await scheduler.run()
  const system = await creating
  const plain = system.spawn('plain', puppet({ go: () => undefined }))
  await scheduler.run()
  const { fifoRunQueue } = await sourceModule<
    typeof import('../../packages/runtime/src/platform/fifo-run-queue.ts')
  >('runtime', 'platform/fifo-run-queue')
  // The queue of a real machine, by hand: who was pushed last comes first when it is a system cell.
  const queue = fifoRunQueue(() => undefined)
  const cells = [0, 1, 2, 3].map((n) => ({ nextReady: null, isSystem: n % 2 === 1, n }))
  for (const cell of cells) queue.push(cell)
  const order = []
  for (let cell = queue.next(); cell !== null; cell = queue.next())
    order.push((cell as unknown as { n: number }).n)
  t.same(order, [1, 3, 0, 2])
  t.ok(plain instanceof Cell && !plain.isSystem)
  const guardian = (system as unknown as { readonly systemCell: InstanceType<typeof Cell> }).systemCell
  t.equal(guardian.isSystem, true)
  const inner = guardian
    .makeFamily()
    .spawn('heartbeat', puppet({ go: () => undefined }) as never, undefined, guardian.policy)
  t.equal(inner.isSystem, true, 'and so are its children')
  await scheduler.run()
  scheduler.turns.length = 0
  plain.tell({ type: 'do', step: 'go' })
  ;(inner.ref as unknown as typeof plain).tell({ type: 'do', step: 'go' })
  await scheduler.run()
  t.same(
    scheduler.turns.map((cell) => cell.isSystem),
    [true, false],
  )
  const ended = watched(system.shutdown())
  await scheduler.run()
  await new Promise<void>((resolve) => setImmediate(resolve))
  t.equal(ended.state, 'resolved')
})
