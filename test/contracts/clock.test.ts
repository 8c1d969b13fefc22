import { test } from 'tap'
import { sourceModule } from '../support/source-module.ts'

const { clockContract } = await sourceModule<
  typeof import('../../packages/runtime/src/testkit/clock-contract.ts')
>('runtime', 'testkit/clock-contract')
const { nodePlatform } = await sourceModule<
  typeof import('../../packages/runtime/src/platform/node-platform.ts')
>('runtime', 'platform/node-platform')

void test('the clock of nodePlatform keeps the contract of Clock', async (t) => {
  clockContract((name, run) => t.test(name, (own) => run(own)), {
    make: () => nodePlatform().clock,
    // A timer of the clock itself, two rounds: the second turn lets timers that are due with it fire first.
    advance: async (clock, ms) => {
      const hold = setInterval(() => undefined, 1_000)
      for (const part of [ms, 1]) {
        await new Promise<void>((resolve) => void clock.setTimer(clock.monotonicMs() + part, resolve))
      }
      clearInterval(hold)
    },
  })
})
