import { transportContract } from '@understudy/cluster/testkit'
import { test } from 'tap'
import { sourceModule } from '../support/source-module.ts'

const { memoryNetwork } = await sourceModule<typeof import('../../packages/cluster/src/transport/memory.ts')>(
  'cluster',
  'transport/memory',
)

void test('memoryNetwork keeps the transport contract', async (t) => {
  const network = memoryNetwork({ schedule: setImmediate })
  transportContract(
    (name, run) => t.test(name, (own) => run(own)),
    (limits) => network.transport('a', limits),
  )
})

void test('memoryNetwork keeps the transport contract when deliveries are microtasks', async (t) => {
  const network = memoryNetwork({ schedule: queueMicrotask })
  transportContract(
    (name, run) => t.test(name, (own) => run(own)),
    (limits) => network.transport('a', limits),
  )
})
