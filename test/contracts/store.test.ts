import { rm } from 'node:fs/promises'
import { test } from 'tap'
import { flipInFiles, flipInTables, keptAlive, storeDirectory } from '../support/store-directory.ts'
import { sourceModule } from '../support/source-module.ts'

const { storeContract } = await sourceModule<
  typeof import('../../packages/runtime/src/testkit/store-contract.ts')
>('runtime', 'testkit/store-contract')
const { memoryStore } = await sourceModule<
  typeof import('../../packages/runtime/src/platform/memory-store.ts')
>('runtime', 'platform/memory-store')
const { fileStore } = await sourceModule<typeof import('../../packages/runtime/src/platform/level-store.ts')>(
  'runtime',
  'platform/level-store',
)
const { segmentStore } = await sourceModule<
  typeof import('../../packages/runtime/src/platform/segment-store.ts')
>('runtime', 'platform/segment-store')
const { Simulation } = await sourceModule<
  typeof import('../../packages/runtime/src/simulation/simulation.ts')
>('runtime', 'simulation/simulation')
const { SimulatedMachine } = await sourceModule<
  typeof import('../../packages/runtime/src/simulation/simulated-machine.ts')
>('runtime', 'simulation/simulated-machine')

type World = InstanceType<typeof Simulation>
type Store = import('../../packages/runtime/src/platform/store.ts').Store
type StoreChange = import('../../packages/runtime/src/platform/store.ts').StoreChange
type StoreError = import('../../packages/runtime/src/platform/store-error.ts').StoreError
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

/** Writes more than fits. */
async function overfill(store: Store): Promise<StoreError> {
  const large: StoreChange = { type: 'put', key: 'large', value: new Uint8Array(1_000_000) }
  return store.write([large]).then(
    () => {
      throw new Error('it fitted')
    },
    (error: unknown) => error as StoreError,
  )
}

void test('memoryStore keeps the contract of Store', async (t) => {
  storeContract((name, run) => t.test(name, (own) => run(own)), {
    open: async () => memoryStore({ bytesMax: 100_000 }),
    fail: overfill,
  })
})

void test('fileStore keeps the contract of Store', async (t) => {
  const directories = new Map<Store, string>()
  const open = async (directory: string): Promise<Store> => {
    const store = await fileStore(directory, { placeCheckMs: 10 })
    directories.set(store, directory)
    return store
  }
  const directoryOf = (store: Store): string => directories.get(store) ?? ''
  storeContract((name, run) => t.test(name, (own) => run(own)), {
    open: () => open(storeDirectory(t)),
    damage: async (store, key) => {
      await store.close()
      // What the log holds goes into a table now.
      await (await open(directoryOf(store))).close()
      await flipInTables(directoryOf(store), `value of ${key.slice(-1)}`)
      return open(directoryOf(store))
    },
    fail: async (store) => {
      await rm(directoryOf(store), { recursive: true })
      return keptAlive(store.failed)
    },
  })
  storeContract((name, run) => t.test(`${name}, in a scope`, (own) => run(own)), {
    open: async () => {
      const store = await open(storeDirectory(t))
      const scope = store.scope('tenant/7')
      return { ...scope, close: async () => void (await scope.close(), await store.close()) }
    },
  })
})

void test('segmentStore keeps the contract of Store', async (t) => {
  const directories = new Map<Store, string>()
  const open = async (directory: string): Promise<Store> => {
    const store = await segmentStore(directory, { placeCheckMs: 10, segmentBytes: 1_048_576 })
    directories.set(store, directory)
    return store
  }
  const directoryOf = (store: Store): string => directories.get(store) ?? ''
  storeContract((name, run) => t.test(name, (own) => run(own)), {
    open: () => open(storeDirectory(t)),
    damage: async (store, key) => {
      await store.close()
      await flipInFiles(directoryOf(store), '.seg', `value of ${key.slice(-1)}`)
      return open(directoryOf(store))
    },
    fail: async (store) => {
      // A file may be made in it meanwhile.
      await rm(directoryOf(store), { recursive: true, maxRetries: 10 })
      return keptAlive(store.failed)
    },
  })
  storeContract((name, run) => t.test(`${name}, in a scope`, (own) => run(own)), {
    open: async () => {
      const store = await open(storeDirectory(t))
      const scope = store.scope('tenant/7')
      return { ...scope, close: async () => void (await scope.close(), await store.close()) }
    },
  })
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
      damage: async (store, key) => {
        machine?.disk.controls.flip('data', key, 40)
        return store
      },
      fail: (store) => {
        machine?.disk.controls.fill(10)
        return overfill(store)
      },
    })
  }
})
