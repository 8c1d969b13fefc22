import { test } from 'tap'
import { sourceModule } from '../support/source-module.ts'

const { storeContract } = await sourceModule<
  typeof import('../../packages/runtime/src/testkit/store-contract.ts')
>('runtime', 'testkit/store-contract')
const { memoryStore } = await sourceModule<
  typeof import('../../packages/runtime/src/platform/memory-store.ts')
>('runtime', 'platform/memory-store')

void test('memoryStore keeps the contract of Store', async (t) => {
  storeContract((name, run) => t.test(name, (own) => run(own)), { open: async () => memoryStore() })
})

void test('a scope keeps the contract of Store', async (t) => {
  storeContract((name, run) => t.test(name, (own) => run(own)), {
    open: async () => memoryStore().scope('tenant/7'),
  })
})
