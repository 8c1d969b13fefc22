/**
 * Random runs of the Raft core with every fault at once: the safety properties after every step, then liveness. Thousands of
 * seeds by hand: `node test/dist/protocols/raft/run-fuzz.js --seeds 5000`.
 */
import { test } from 'tap'
import { failureOf, fuzzSeed } from './core-under-test.ts'

const SEEDS = 250

void test(`RaftCore: ${SEEDS} random runs keep the safety properties (figure 3) and recover`, async (t) => {
  const reached = new Map<string, number>()
  for (let seed = 1; seed <= SEEDS; seed++) {
    const result = fuzzSeed(seed)
    for (const [what, count] of result.counts) reached.set(what, (reached.get(what) ?? 0) + count)
    if (result.violation === undefined) continue
    t.fail(failureOf(seed, result))
    return
  }
  // A fuzz that never gets somewhere says nothing about it.
  const wanted = [
    'crash',
    'wipe',
    'corrupt',
    'pause',
    'compact',
    'install',
    'send-snapshot',
    'elected',
    'appended',
    'read-ready',
    'changed',
    'transferred',
    'refused read no-lease',
    'refused propose overloaded',
    'refused propose wrong-term',
    'refused change changing',
    'sent timeout-now',
    'sent quiesce',
    'wake',
  ]
  t.same(
    wanted.filter((what) => (reached.get(what) ?? 0) < 3),
    [],
    'everything was reached',
  )
})

void test('RaftCore: a seed plays the same run again', async (t) => {
  for (const seed of [1, 2, 3]) t.same(fuzzSeed(seed), fuzzSeed(seed))
})
