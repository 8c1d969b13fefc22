/**
 * A run of remote/order that once broke the rule no-ask-hangs, 3500.0 ms after its start:
 * "asked" of c, asked on b, is still open 359 ms too late
 *
 *      0.0 ms  a  started
 *      0.0 ms  b  started
 *      0.0 ms  c  started
 *      0.0 ms  d  started
 *      0.3 ms  b  frame of 191 bytes arrived (from a, sent at 0.2 ms)
 *      0.3 ms  c  frame of 191 bytes arrived (from a, sent at 0.2 ms)
 *      0.3 ms  d  frame of 191 bytes arrived (from a, sent at 0.2 ms)
 *      0.3 ms  a  frame of 191 bytes arrived (from b, sent at 0.2 ms)
 *              ... 783 more
 *    650.0 ms  -  healed
 *              ... 294 more
 *   3000.2 ms  d  frame of 7 bytes arrived (from a, sent at 3000.1 ms)
 *   3000.2 ms  a  frame of 7 bytes arrived (from d, sent at 3000.1 ms)
 *   3000.2 ms  d  frame of 7 bytes arrived (from b, sent at 3000.1 ms)
 *   3000.2 ms  b  frame of 7 bytes arrived (from d, sent at 3000.1 ms)
 *   3000.2 ms  d  frame of 7 bytes arrived (from c, sent at 3000.1 ms)
 *   3000.2 ms  c  frame of 7 bytes arrived (from d, sent at 3000.1 ms)
 *   3500.0 ms  a  sent frame of 7 bytes to a (still on its way at the end)
 *   3500.0 ms  a  sent frame of 7 bytes to a (still on its way at the end)
 *   3500.0 ms  b  sent frame of 7 bytes to b (still on its way at the end)
 *   3500.0 ms  b  sent frame of 7 bytes to b (still on its way at the end)
 *   3500.0 ms  b  sent frame of 7 bytes to a (still on its way at the end)
 *   3500.0 ms  c  sent frame of 7 bytes to c (still on its way at the end)
 *   3500.0 ms  c  sent frame of 7 bytes to a (still on its way at the end)
 *   3500.0 ms  c  sent frame of 7 bytes to b (still on its way at the end)
 *   3500.0 ms  d  sent frame of 7 bytes to a (still on its way at the end)
 *   3500.0 ms  d  sent frame of 7 bytes to b (still on its way at the end)
 *   3500.0 ms  d  sent frame of 7 bytes to c (still on its way at the end)
 *   3500.0 ms  -  no-ask-hangs is violated: "asked" of c, asked on b, is still open 359 ms too late
 *   3500.1 ms  b  sent frame of 7 bytes to a (still on its way at the end)
 *   3500.1 ms  b  frame of 7 bytes arrived (from a, sent at 3500.0 ms)
 */
import { test } from 'tap'
import { runScenario } from '../pinned.ts'

void test('remote/order keeps no-ask-hangs (pinned run of seed 25)', async (t) => {
  const result = await runScenario('remote/order', {
    seed: '25',
    choices: [
      { stream: 'count', index: 0, value: 6 },
      { stream: 'crash', index: 1, value: 1 },
      { stream: 'asked', index: 7, value: 1 },
    ],
  })
  t.equal(result.violation, undefined)
})
