/** Holding user actors: what a node does that does not know whether it still is a member. */
import { test } from 'tap'
import Type from 'typebox'
import { actor, ask, createSystem, protocol, tell } from '@understudy/runtime'
import { virtualPlatform } from '@understudy/runtime/testkit'
import type { InternalSystem } from '@understudy/runtime/internal'

const Counter = protocol('counter', { inc: tell({ by: Type.Integer() }), get: ask(Type.Integer()) })

const counter = actor(Counter, () => {
  let n = 0
  return {
    inc: ({ by }) => {
      n += by
    },
    get: () => n,
  }
})

async function started() {
  const platform = virtualPlatform()
  const system = (await createSystem('held', undefined, { platform, handleSignals: false })) as InternalSystem
  const ref = system.spawn('counter', counter)
  await ref.ask({ type: 'get' })
  return { platform, system, kernel: system.kernel, ref }
}

void test('a held actor handles nothing until it is released, and then everything in order', async (t) => {
  const { system, kernel, ref } = await started()
  kernel.hold()
  for (let by = 1; by <= 3; by++) ref.tell({ type: 'inc', by })
  let answer: number | undefined
  const asked = ref.ask({ type: 'get' }).then((n) => (answer = n))
  await Promise.resolve()
  t.equal(answer, undefined)
  t.equal(kernel.isHeld, true)
  kernel.release()
  t.equal(await asked, 6)
  await system.shutdown()
})

void test('a pump that runs after actUntilMs holds the actors first and then says so', async (t) => {
  const { platform, system, kernel, ref } = await started()
  let said = 0
  kernel.onActOver = () => said++
  kernel.actUntilMs = platform.clock.monotonicMs() + 100
  ref.tell({ type: 'inc', by: 1 })
  t.equal(await ref.ask({ type: 'get' }), 1)
  t.equal(said, 0)
  await platform.advance(100)
  const asked = ref.ask({ type: 'get' }, { timeoutMs: 10_000 })
  await Promise.resolve()
  t.equal(said, 1)
  t.equal(kernel.isHeld, true)
  kernel.release()
  t.equal(await asked, 1)
  await system.shutdown()
})

void test('a system shuts down in good order while its actors are held', async (t) => {
  const { system, kernel, ref } = await started()
  kernel.hold()
  ref.tell({ type: 'inc', by: 1 })
  const report = await system.shutdown()
  t.equal(report.clean, true, report.hung.join())
})

void test('the tree of a held system is stopped at once and started anew only when it is released', async (t) => {
  const { system, kernel, ref } = await started()
  kernel.hold()
  system.restartUser()
  await Promise.resolve()
  t.equal(system.lookup(Counter, '/user/counter'), undefined)
  await t.rejects(ref.ask({ type: 'get' }), { code: 'RUNTIME_ACTOR_STOPPED' })
  kernel.release()
  const again = system.spawn('counter', counter)
  t.equal(await again.ask({ type: 'get' }), 0)
  await system.shutdown()
})
