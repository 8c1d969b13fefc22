/** Faults that wait for their moment, and what is left of a process that was killed in the middle of a step. */
import { simulate } from '@understudy/cluster/simulation'
import { actor, ask, child, protocol, supervisor } from '@understudy/runtime'
import { simulateSystem, type TraceEvent } from '@understudy/runtime/simulation'
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
      await world.call((system) => system.ref(Note, '/user/note').ask({ type: 'write' })).catch(() => undefined)
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
  // Disks that are met, by number among those that may be: the last of all five, the first, the last that is left.
  const choices = [
    { stream: 'fault/store-flip', index: 0, value: 4 },
    { stream: 'fault/store-flip', index: 3, value: 0 },
    { stream: 'fault/store-flip', index: 6, value: 4 },
  ]
  const result = await simulate(
    { seed: 1, nodes: 5, node: () => ({ data: 'data' }), choices, trace: true, faults: { only: ['store-flip'] } },
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
