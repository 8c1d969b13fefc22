/** Registry: names for actors of one system, forgotten when they end. */
import { protocol } from '@understudy/runtime'
import { test } from 'tap'
import { onStage, puppet, Puppet } from '../support/runtime.ts'

void test('Registry finds by name and protocol, and lists names sorted', async (t) => {
  await onStage(t, undefined, async (system) => {
    const { registry } = system
    const [a, b] = [system.spawn('a', puppet({})), system.spawn('b', puppet({}))]
    registry.register('zebra', a)
    registry.register('ant', b)
    t.equal(registry.find(Puppet, 'zebra'), a)
    t.equal(registry.find(Puppet, 'nobody'), undefined)
    t.equal(registry.find(protocol('other', {}), 'zebra'), undefined)
    t.same(registry.names(), ['ant', 'zebra'])
    t.equal(registry.unregister('zebra'), true)
    t.equal(registry.unregister('zebra'), false)
    t.equal(registry.find(Puppet, 'zebra'), undefined)
  })
})

void test('Registry refuses a name that is taken, and an actor that has ended', async (t) => {
  await onStage(t, undefined, async (system) => {
    const { registry } = system
    const [a, b] = [system.spawn('a', puppet({})), system.spawn('b', puppet({}))]
    registry.register('name', a)
    t.throws(() => registry.register('name', b), {
      code: 'RUNTIME_DUPLICATE_NAME',
      message: 'Cannot register "name" for /user/b: the name is taken by /user/a; unregister it first',
    })
    await system.stop(b)
    t.throws(() => registry.register('other', b), { code: 'RUNTIME_STOPPED' })
  })
})

void test('Registry forgets an actor when it ends, not when it restarts, and not its namesake', async (t) => {
  await onStage(t, undefined, async (system) => {
    const { registry } = system
    const crash = puppet({
      crash: () => {
        throw new Error('down')
      },
    })
    const ref = system.spawn('a', crash)
    registry.register('one', ref)
    registry.register('two', ref)
    ref.tell({ type: 'do', step: 'crash' })
    await system.platform.settle()
    t.equal(registry.find(Puppet, 'one'), ref)
    await system.stop(ref)
    t.same(registry.names(), [])
    const next = system.spawn('a', crash)
    registry.register('one', next)
    t.equal(registry.find(Puppet, 'one'), next)
  })
})
