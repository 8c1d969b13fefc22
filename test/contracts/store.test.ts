import { test } from 'tap'
import { sourceModule } from '../support/source-module.ts'

const { storeContract } = await sourceModule<
  typeof import('../../packages/runtime/src/testkit/store-contract.ts')
>('runtime', 'testkit/store-contract')
const { memoryStore } = await sourceModule<
  typeof import('../../packages/runtime/src/platform/memory-store.ts')
>('runtime', 'platform/memory-store')
const { Simulation } = await sourceModule<
  typeof import('../../packages/runtime/src/simulation/simulation.ts')
>('runtime', 'simulation/simulation')
const { SimulatedMachine } = await sourceModule<
  typeof import('../../packages/runtime/src/simulation/simulated-machine.ts')
>('runtime', 'simulation/simulated-machine')

type World = InstanceType<typeof Simulation>
type ContractTest = import('../../packages/runtime/src/testkit/contract-test.ts').ContractTest

/** An assertion that fails looks at the clock, which nobody may within a simulation. */
function outside({ guard }: World, t: ContractTest): ContractTest {
  return {
    equal: (...args) => guard.outside(() => t.equal(...args)),
    same: (...args) => guard.outside(() => t.same(...args)),
    ok: (...args) => guard.outside(() => t.ok(...args)),
    rejects: (...args) => guard.outside(() => t.rejects(...args)),
    throws: (...args) => guard.outside(() => t.throws(...args)),
  }
}

void test('memoryStore keeps the contract of Store', async (t) => {
  storeContract((name, run) => t.test(name, (own) => run(own)), { open: async () => memoryStore() })
})

void test('a scope keeps the contract of Store', async (t) => {
  storeContract((name, run) => t.test(name, (own) => run(own)), {
    open: async () => memoryStore().scope('tenant/7'),
  })
})

void test('a simulated store keeps the contract of Store, as fast or as slow as the seed makes its disk', async (t) => {
  for (const seed of [1, 2, 3, 4, 5]) {
    let machine: InstanceType<typeof SimulatedMachine> | undefined
    const declare: Parameters<typeof storeContract>[0] = (name, run) =>
      t.test(`${name}, seed ${seed}`, async (own) => {
        const simulation = new Simulation({ seed })
        machine = new SimulatedMachine(simulation, 'a')
        const { violation } = await simulation.run(() => run(outside(simulation, own)))
        if (violation !== undefined) own.fail(`${violation.name}: ${violation.message}`)
      })
    storeContract(declare, {
      open: async () => {
        if (machine === undefined) throw new Error('no test is running')
        return machine.start().platform.openStore('data')
      },
    })
  }
})
