/**
 * A member that asks as often as it is let: there is a bound, whoever passes it is cut off, all of it is given back with the
 * link, and others are served meanwhile.
 * In a file of its own: a million handlers that run take their time.
 */
import { test } from 'tap'
import { flood } from '../support/flood.ts'

void test(
  'a flood of asks that nobody answers: 1,000,000 are taken, one more cuts the link, and nothing is left',
  { timeout: 120_000 },
  (t) =>
    flood(t, {
      what: 'asks that nobody answers',
      most: 1_000_000,
      mib: 768,
      envelope: (n) => [3, n, 1, 0, [], null, null, []],
    }),
)
