/** Faults that wait for their moment, and what is left of a process that was killed in the middle of a step. */
import { simulate } from '@understudy/cluster/simulation'
import { actor, ask, child, protocol, supervisor } from '@understudy/runtime'
import { formatChoices, parseChoices, simulateSystem, type TraceEvent } from '@understudy/runtime/simulation'
import { test } from 'tap'
import { Type } from 'typebox'

const Note = protocol('note', { write: ask(Type.Null()), read: ask(Type.Null()) })
const note = actor(Note, { concurrent: ['read'] }, (ctx) => {
  const store = ctx.store('note')
  return {
    write: async () => {
      ctx.log.info({ at: 'before' }, 'about to write')
      const written = store.write([{ type: 'put', key: 'n', value: Uint8Array.of(1) }])
      ctx.log.info({ at: 'behind' }, 'a write is under way')
      await written
      return null
    },
    read: async () => {
      await store.get('n')
      return null
    },
  }
})
const root = supervisor({}, [child('note', note)])

void test('a kill or stall that waits for an effect does not strike a healed world', async (t) => {
  for (const kind of ['kill-at-effect', 'stall']) {
    // The second choice of a stall: not in the next step, but at an effect.
    const choices = [
      { stream: `fault/${kind}`, index: 1, value: 1 },
      { stream: `fault/${kind}`, index: 2, value: 1 },
    ]
    const result = await simulateSystem({ seed: 1, choices, faults: { only: [kind] } }, async (world) => {
      await world.start(root)
      const life = world.process
      t.ok(world.inject(kind))
      world.heal()
      const sinceMs = world.now()
      await world.call((system) => system.ref(Note, '/user/note').ask({ type: 'write' }))
      t.ok(life.isAlive, kind)
      t.ok(world.now() - sinceMs < 50, kind)
      // Nor does what was disarmed start again what somebody else kills.
      world.kill()
      await world.sleep(60_000)
      t.notOk(world.isUp, kind)
    })
    t.equal(result.violation, undefined, kind)
  }
})

void test('what a process logs behind the write that kills it is not seen', async (t) => {
  const logged = async (effect: number): Promise<readonly unknown[]> => {
    let lines: readonly unknown[] = []
    await simulateSystem({ seed: 1, choices: [] }, async (world) => {
      await world.start(root)
      const life = world.process
      life.killAtEffect(effect)
      await world
        .call((system) => system.ref(Note, '/user/note').ask({ type: 'write' }))
        .catch(() => undefined)
      lines = life.logged.map(({ fields }) => fields['at']).filter((at) => at !== undefined)
    })
    return lines
  }
  t.same(await logged(1), ['before'])
  t.same(await logged(2), ['before'])
  t.same(await logged(3), ['before', 'behind'])
})

void test('a concurrent message that is handled beside another shows in the trace', async (t) => {
  const result = await simulateSystem({ seed: 1, choices: [], trace: true }, async (world) => {
    const ref = (await world.start(root)).ref(Note, '/user/note')
    await world.parallel(3, async () => void (await ref.ask({ type: 'read' })))
    // Not beside a message that is not concurrent itself.
    const writing = ref.ask({ type: 'write' })
    await Promise.all([writing, ref.ask({ type: 'read' })])
  })
  t.equal(result.violation, undefined)
  const isSent = (event: TraceEvent): boolean => event.type === 'sent' && event.to === '/user/note'
  const handled = result.trace.filter((event) => event.type === 'handled')
  t.same(
    handled.map((event) => event.message),
    ['read', 'read', 'read', 'write', 'read'],
  )
  const ids = handled.map((event) => event.messageId)
  t.same(new Set(ids), new Set(result.trace.filter(isSent).map((e) => 'messageId' in e && e.messageId)))
})

void test('time that is no number is refused, and time over its limit is not lived through', async (t) => {
  const nan = await simulateSystem({ seed: 1 }, (world) => world.sleep(Number.NaN))
  t.equal(nan.violation?.name, 'scenario-threw')
  t.match(nan.violation?.message, /Cannot schedule "sleep": its time must be a number, got NaN/)
  let wentOn = false
  const late = await simulateSystem({ seed: 1, virtualMsMax: 100 }, async (world) => {
    await world.sleep(Number.POSITIVE_INFINITY)
    wentOn = true
  })
  t.equal(late.violation?.name, 'time-exceeded')
  t.notOk(wentOn)
  t.ok(late.stats.virtualMs <= 100)
})

void test('any disk may be the one that breaks its promise, and only those that did count against the budget', async (t) => {
  // Two choices each time, the disk and the bit: the last of five, the first, the last of the two that are left.
  const choices = [
    { stream: 'fault/store-flip', index: 0, value: 4 },
    { stream: 'fault/store-flip', index: 6, value: 1 },
  ]
  const result = await simulate(
    {
      seed: 1,
      nodes: 5,
      node: () => ({ data: 'data' }),
      choices,
      trace: true,
      faults: { only: ['store-flip'] },
    },
    async (world) => {
      for (const node of world.nodes) {
        const ref = node.node.system.spawn('note', note)
        await node.call(() => ref.ask({ type: 'write' }))
      }
      for (let i = 0; i < 3; i++) t.ok(world.inject('store-flip'))
    },
  )
  t.equal(result.violation, undefined)
  t.same(
    result.trace.flatMap((event) => (event.type === 'fault' ? [event.lane] : [])),
    ['e', 'a', 'e'],
  )
})

void test('a label that a replay command could not hold is refused', async (t) => {
  for (const label of ['', 'a,b', 'a#1=2,b', ' a', 'a\n']) {
    const result = await simulateSystem({ seed: 2 }, async (world) => void world.choose(100, label))
    t.match(result.violation?.message, /Cannot choose by the label/, JSON.stringify(label))
  }
  const odd = await simulateSystem({ seed: 2 }, async (world) => void world.choose(100, "it's a#1=2 = b"))
  t.equal(odd.violation, undefined)
  t.same(parseChoices(formatChoices(odd.choices)), odd.choices)
})

void test('a simulation that is refused leaves the globals as they were', async (t) => {
  const { now } = Date
  const policy = 'none' as 'fifo'
  await t.rejects(
    simulateSystem({ seed: 1, policy }, async () => undefined),
    RangeError,
  )
  t.equal(Date.now, now)
})

void test('faults that wait for their moment count against the budget of a cluster', async (t) => {
  const only = ['kill', 'kill-at-effect', 'pause', 'stall']
  for (let seed = 1; seed <= 5; seed++) {
    const options = { seed, nodes: 5, faults: { only, chances: [0, 0.3, 0.3] } }
    const result = await simulate(options, async (world) => {
      const look = (): void => {
        const down = world.nodes.filter(({ isHealthy }) => !isHealthy).map(({ name }) => name)
        world.check('a-majority-is-left', down.length <= 2, `${down.join(', ')} are down or silent`)
      }
      world.invariant('a-majority-is-left', look, 'quiesce')
      await world.sleep(10_000)
    })
    t.equal(result.violation, undefined, `seed ${seed}`)
  }
})

void test('a concurrent handler that nothing can settle is found, also beside others', async (t) => {
  const hanging = actor(Note, { concurrent: ['read', 'write'] }, (ctx) => ({
    read: async () => {
      await ctx.store('note').get('n')
      return null
    },
    write: () => new Promise<null>(() => undefined),
  }))
  const result = await simulateSystem({ seed: 1, choices: [] }, async (world) => {
    const ref = (await world.start(supervisor({}, [child('note', hanging)]))).ref(Note, '/user/note')
    const asks = [ref.ask({ type: 'read' }), ref.ask({ type: 'write' }, { timeoutMs: 60_000 })]
    await world.sleep(10_000)
    await Promise.all(asks)
  })
  t.equal(result.violation?.name, 'nondeterminism')
  t.match(
    result.violation?.message,
    /\/user\/note on "system" awaits something that is not of the simulation/,
  )
})
