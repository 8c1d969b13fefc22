/** Two protocols that are wrong on purpose: a simulator that does not find them proves nothing by being green. */
import { shrink, type RunResult } from '@understudy/runtime/simulation'
import { test } from 'tap'
import { notInQuickRun } from '../support/quick-run.ts'
import type { Scenario } from './scenario.ts'
import { wrongLockScenarios } from './scenario/wrong-lock.ts'
import { wrongRegisterScenarios } from './scenario/wrong-register.ts'

const seedsMax = 200
const choicesMax = 15
const wrong: readonly (readonly [string, readonly Scenario[], string])[] = [
  ['a lease that its holder trusts', wrongLockScenarios, 'mutual-exclusion'],
  ['a majority register whose reads do not write back', wrongRegisterScenarios, 'linearizable'],
]

for (const [what, scenarios, rule] of wrong) {
  // One of the two is enough between two changes.
  const options = scenarios === wrongRegisterScenarios ? notInQuickRun : {}
  void test(`${what} is found, made small, and replays`, options, async (t) => {
    const scenario = scenarios.find(({ expects }) => expects === 'violation')
    if (scenario === undefined) throw new Error('the fixture is gone')
    let found: RunResult | undefined
    for (let seed = 1; seed <= seedsMax && found === undefined; seed++) {
      const result = await scenario.run({ seed })
      if (result.violation !== undefined) found = result
    }
    if (found === undefined) {
      t.fail(`none of ${seedsMax} seeds has found it`)
      return
    }
    t.equal(found.violation?.name, rule)
    const { result, status } = await shrink(scenario.run, found)
    t.equal(status, 'minimal')
    t.equal(result.violation?.name, rule)
    t.ok(result.choices.length <= choicesMax, `${result.choices.length} choices`)
    t.ok(result.trace.length > 0, 'with a story')
    for (let i = 0; i < 10; i++) {
      const again = await scenario.run({ seed: result.seed, choices: result.choices })
      t.same(again.violation, result.violation)
      t.equal(again.hash, result.hash)
    }
  })

  void test(`its mended twin of ${what} stays green where it was found`, async (t) => {
    const mended = scenarios.find(({ expects }) => expects === undefined)
    for (let seed = 1; seed <= 15; seed++) {
      const result = await mended?.run({ seed })
      if (result?.violation !== undefined) t.fail(`seed ${seed}: ${result.violation.message}`)
    }
  })
}
