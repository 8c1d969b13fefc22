/** An actor that goes behind the simulator's back fails the run, with its name and the call. */
import { readFileSync } from 'node:fs'
import { actor, ask, protocol } from '@understudy/runtime'
import { simulateSystem } from '@understudy/runtime/simulation'
import { simulate } from '@understudy/cluster/simulation'
import { test } from 'tap'
import { Type } from 'typebox'

const Peeker = protocol('peeker', { peek: ask({}, Type.Unknown()) })

const leaks: readonly (readonly [string, () => unknown])[] = [
  ['Date.now()', () => Date.now()],
  ['new Date()', () => new Date().toISOString()],
  ['Math.random()', () => Math.random()],
  ['setTimeout()', () => new Promise((resolve) => setTimeout(resolve, 1))],
  ['fetch()', async () => (await fetch('http://127.0.0.1:1/')).status],
  ['fs.readFileSync()', () => readFileSync('/etc/hostname', 'utf8')],
  ['performance.now()', () => performance.now()],
  ['crypto.randomUUID()', () => crypto.randomUUID()],
]

for (const [call, leak] of leaks) {
  void test(`${call} in an actor fails the run, and says who did it`, async (t) => {
    const peeker = actor(Peeker, () => ({ peek: () => leak() }))
    const late = actor(Peeker, (ctx) => ({
      // After an await it is still this actor, and a swallowed error is still a leak.
      peek: async () => {
        await ctx.store('s').get('k')
        try {
          return await leak()
        } catch {
          return null
        }
      },
    }))
    for (const definition of [peeker, late]) {
      const result = await simulateSystem({ seed: 1 }, async (world) => {
        const system = await world.start()
        system.spawn('spy', definition)
        await world.sleep(1)
        await system
          .ref(Peeker, '/user/spy')
          .ask({ type: 'peek' })
          .catch(() => undefined)
        await world.sleep(10)
      })
      t.equal(result.violation?.name, 'nondeterminism')
      t.ok(result.violation?.message.includes(call), result.violation?.message ?? '')
      t.ok(result.violation?.message.includes('/user/spy on "system"'), result.violation?.message ?? '')
    }
  })
}

void test('on a node of a cluster too; outside of the simulation the same calls pass', async (t) => {
  const peeker = actor(Peeker, () => ({ peek: () => Math.random() }))
  const options = { seed: 1, nodes: 2, faults: false, node: () => ({ actors: [peeker] }) } as const
  const result = await simulate(options, async (world) => {
    world.node('b').node.system.spawn('spy', peeker)
    const spy = world.node('a').node.ref(Peeker, 'b', '/user/spy')
    await spy.ask({ type: 'peek' }).catch(() => undefined)
    await world.sleep(10)
  })
  t.equal(result.violation?.name, 'nondeterminism')
  t.match(result.violation?.message, /Math\.random\(\).*\/user\/spy on "b"/)
  t.ok(Date.now() > 0)
  t.ok(Math.random() < 1)
  t.ok(readFileSync(new URL(import.meta.url)).length > 0)
})
