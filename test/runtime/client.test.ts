/** Refs and clients: small values that can be stored, compared, printed and called. */
import { inspect } from 'node:util'
import { client } from '@understudy/runtime'
import { probe } from '@understudy/runtime/testkit'
import { test } from 'tap'
import { codeOf, onStage, puppet, Puppet } from '../support/runtime.ts'

void test('client methods send plain messages; a field of its own cannot change the type', async (t) => {
  await onStage(t, undefined, async (system) => {
    const someone = probe(system, Puppet)
    const methods = client(someone.ref)
    t.equal(methods.do({ step: 'x', type: 'ask' } as never), true)
    t.same(await someone.expect('do'), { type: 'do', step: 'x' })
    const answer = methods.ask({ step: 'y' }, { timeoutMs: 50 })
    await someone.expect('ask')
    someone.reply('ask', { fine: true })
    t.same(await answer, { fine: true })
    t.equal(await codeOf(methods.ask({ step: 'y' }, { signal: AbortSignal.abort() })), 'RUNTIME_ABORTED')
  })
})

void test('client is made once a protocol, is no Proxy and no promise', async (t) => {
  await onStage(t, undefined, async (system) => {
    const [a, b] = [probe(system, Puppet), probe(system, Puppet)].map(({ ref }) => client(ref))
    t.equal(Object.getPrototypeOf(a), Object.getPrototypeOf(b))
    t.equal((a as unknown as { readonly then?: unknown }).then, undefined)
    t.equal(await Promise.resolve(a), a)
    t.same(Object.keys(Object.getPrototypeOf(a) as object), Object.keys(Puppet.messages))
  })
})

void test('ctx.client sends in the name of its actor, with chain and fence', async (t) => {
  await onStage(t, undefined, async (system) => {
    const target = system.spawn('target', puppet({ from: (ctx) => ctx.call().from ?? 'outside' }))
    const caller = system.spawn('caller', puppet({ call: (ctx) => ctx.client(target).ask({ step: 'from' }) }))
    t.equal(await caller.ask({ type: 'ask', step: 'call' }), '/user/caller')
    t.equal(await client(target).ask({ step: 'from' }), 'outside')
    const selfish = system.spawn(
      'selfish',
      puppet({ call: (ctx) => codeOf(ctx.client(ctx.self).ask({ step: 'call' }) as Promise<unknown>) }),
    )
    t.equal(await selfish.ask({ type: 'ask', step: 'call' }), 'RUNTIME_CALL_CYCLE')
  })
})

void test('ActorRef prints as path and uid, and unbound refs as their path', async (t) => {
  await onStage(t, undefined, async (system) => {
    const ref = system.spawn('a', puppet({}))
    const path = system.ref(Puppet, '/user/a')
    t.equal(String(ref), `/user/a#${ref.uid}`)
    t.equal(String(path), '/user/a')
    t.equal(inspect({ ref }), `{ ref: ActorRef(puppet /user/a#${ref.uid}) }`)
    t.equal(
      JSON.stringify({ ref }),
      JSON.stringify({ ref: { path: '/user/a', uid: ref.uid, protocol: 'puppet' } }),
    )
    t.equal(path.uid, undefined)
    t.throws(() => system.ref(Puppet, 'user/a'), { message: /a path begins with "\/"/ })
    t.equal(system.lookup(Puppet, '/user/a'), ref)
    t.equal(system.lookup(Puppet, '/user/b'), undefined)
    t.equal(system.lookup({ ...Puppet, name: 'other' }, '/user/a'), undefined, 'not with another protocol')
  })
})

void test('ActorRef that is bound is dead for ever; an unbound one finds the next', async (t) => {
  await onStage(t, undefined, async (system) => {
    const hello = puppet({ hello: () => 'hello' })
    const old = system.spawn('a', hello)
    const path = system.ref(Puppet, '/user/a')
    await system.stop(old)
    system.spawn('a', hello)
    t.equal(await codeOf(old.ask({ type: 'ask', step: 'hello' })), 'RUNTIME_ACTOR_STOPPED')
    t.equal(await path.ask({ type: 'ask', step: 'hello' }), 'hello')
  })
})
