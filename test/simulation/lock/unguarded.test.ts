/** The unguarded twin of lock/mutex is wrong on purpose: a simulator that does not find it proves nothing by being green. */
import type { RunResult } from '@understudy/runtime/simulation'
import tap, { test } from 'tap'
import { runMutex, runUnguarded } from './mutex.ts'

tap.setTimeout(300_000)

const seedsMax = 200

void test('without the guard two holders of one lock are seen by what it should protect, within 200 seeds', async (t) => {
  let found: RunResult | undefined
  let seed = 0
  while (found === undefined && seed < seedsMax) {
    const result = await runUnguarded({ seed: ++seed })
    if (result.violation !== undefined) found = result
  }
  if (found === undefined) {
    t.fail(`none of ${seedsMax} seeds has found it`)
    return
  }
  t.equal(found.violation?.name, 'holders-are-disjoint', `seed ${seed}`)
  const again = await runUnguarded({ seed: found.seed, choices: found.choices })
  t.same(again.violation, found.violation, 'the same when it is run again')
  const { violation } = await runMutex({ seed })
  t.equal(violation, undefined, 'with the guard the same seed breaks no rule')
})
