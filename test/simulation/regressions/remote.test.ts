/** Runs that once broke a promise between nodes. Found by `npm run sim -- --scenario remote`. */
import { test } from 'tap'
import { pinned } from '../pinned.ts'

/** Two starts at the same time of day had one incarnation: bound refs to actors of the first led to the second. */
void test('a bound ref stays dead when its node comes back while the wall clock stands still', async (t) => {
  await pinned(t, { scenario: 'remote/refs', seed: 28, choices: 'act#0=9,frozen-restart#0=1' })
})

/** Links of a chain did not say of which life of a node they were, and another life gives the same uids to others. */
void test('an actor of a node that came back is not taken for its predecessor, which waited', async (t) => {
  await pinned(t, {
    scenario: 'remote/cycle',
    seed: 413,
    choices:
      'pause#1=2,pause#2=1,pause#3=1,hops#0=3,hops#1=3,hops#2=1,next#0=1,next#1=2,next#6=1,restart#0=1,work#2=3',
  })
})
