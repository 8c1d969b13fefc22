/**
 * Node b died and came back with its clock set back, so with a number below that of the life before it. Whoever had given
 * that life up refused the new one, and named the highest number it had seen less 1: b took the number of its dead life,
 * and whoever had not yet given that up took the two for one.
 */
import { test } from 'tap'
import { pinned } from '../pinned.ts'

void test('a node that is refused as stale comes back above every life that the other has seen', async (t) => {
  await pinned(t, {
    scenario: 'handshake/incarnations',
    seed: 21,
    choices: 'swarm/kill#0=1,fault/kill#29=1,fault/kill#32=1,scenario/wait#0=4,scenario/step-back#0=1',
  })
  await pinned(t, { scenario: 'handshake/incarnations', seed: 6 })
})
