/**
 * A run of remote/load that once broke the rule giant-refused, 2990.1 ms after its start:
 * item 10 of 8193 bytes was taken
 *
 *      0.1 ms  a  started
 *      0.1 ms  b  started
 *      0.1 ms  c  started
 *      0.4 ms  b  frame of 267 bytes arrived (from a, sent at 0.3 ms)
 *      0.4 ms  c  frame of 267 bytes arrived (from a, sent at 0.3 ms)
 *      0.4 ms  a  frame of 267 bytes arrived (from b, sent at 0.3 ms)
 *      0.4 ms  c  frame of 267 bytes arrived (from b, sent at 0.3 ms)
 *      0.4 ms  a  frame of 267 bytes arrived (from c, sent at 0.3 ms)
 *              ... 105 more
 *   2330.2 ms  a  /user/store handled put
 *   2570.1 ms  b  /user/feeder handled flood
 *   2570.2 ms  a  put arrived (from b, sent at 2570.1 ms)
 *   2570.2 ms  a  /user/store handled put
 *   2590.1 ms  b  /user/feeder handled flood
 *   2590.2 ms  a  put arrived (from b, sent at 2590.1 ms)
 *   2590.2 ms  a  /user/store handled put
 *   2598.4 ms  b  frame of 9 bytes arrived (from c, sent at 2598.3 ms)
 *   2598.4 ms  a  frame of 9 bytes arrived (from c, sent at 2598.3 ms)
 *   2598.5 ms  c  frame of 9 bytes arrived (from b, sent at 2598.4 ms)
 *   2598.5 ms  c  frame of 9 bytes arrived (from a, sent at 2598.4 ms)
 *   2610.1 ms  b  /user/feeder handled flood
 *   2610.2 ms  a  put arrived (from b, sent at 2610.1 ms)
 *   2610.2 ms  a  /user/store handled put
 *   2950.1 ms  a  killed
 *   2950.1 ms  a  kill: a for 50 ms
 *   2950.3 ms  c  frame of 20 bytes arrived (from b, sent at 2950.2 ms)
 *   2950.3 ms  b  frame of 20 bytes arrived (from c, sent at 2950.2 ms)
 *   2990.1 ms  c  /user/feeder handled flood
 *   2990.1 ms  -  giant-refused is violated: item 10 of 8193 bytes was taken
 */
import { test } from 'tap'
import { runScenario } from '../pinned.ts'

void test('remote/load keeps giant-refused (pinned run of seed 2)', async (t) => {
  const result = await runScenario('remote/load', {
    seed: '2',
    choices: [
      { stream: 'swarm/kill', index: 0, value: 3 },
      { stream: 'fault/kill', index: 18, value: 1 },
      { stream: 'pause', index: 0, value: 8 },
      { stream: 'pause', index: 1, value: 18 },
      { stream: 'pause', index: 2, value: 7 },
      { stream: 'pause', index: 4, value: 9 },
      { stream: 'pause', index: 7, value: 10 },
      { stream: 'pause', index: 8, value: 14 },
      { stream: 'pause', index: 10, value: 12 },
      { stream: 'pause', index: 11, value: 1 },
      { stream: 'pause', index: 13, value: 13 },
      { stream: 'pause', index: 14, value: 6 },
      { stream: 'pause', index: 15, value: 16 },
      { stream: 'pause', index: 16, value: 3 },
      { stream: 'pause', index: 20, value: 11 },
      { stream: 'size', index: 10, value: 3 },
    ],
  })
  t.equal(result.violation, undefined)
})
