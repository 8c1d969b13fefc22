import { test } from 'tap'
import { sourceModule } from '../support/source-module.ts'

const { randomContract } = await sourceModule<
  typeof import('../../packages/runtime/src/testkit/random-contract.ts')
>('runtime', 'testkit/random-contract')
const { seededRandom } = await sourceModule<typeof import('../../packages/runtime/src/platform/random.ts')>(
  'runtime',
  'platform/random',
)

void test('seededRandom keeps the contract of Random', async (t) => {
  randomContract((name, run) => t.test(name, (own) => run(own)), { make: (seed) => seededRandom(seed) })
})

void test('seededRandom gives the same draws on every machine', async (t) => {
  // Golden: recorded runs are replayed by seed, so these numbers may never change.
  const random = seededRandom('golden')
  t.same(
    [random.u32(), random.u32(), random.u32(), random.u32()],
    [1123403610, 2418925436, 3033717277, 4260801306],
  )
  t.equal(random.fork('label').u32(), 3845300024)
  t.equal(seededRandom(1).u32(), seededRandom('1').u32(), 'a seed is what it prints as')
})
