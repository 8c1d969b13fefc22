/**
 * Five processes with the key-value store on disks of their own, and two with clients: killed, stopped, cut off, out of room.
 * What the clients saw is linearizable, nothing that was acknowledged is lost, and all states are equal in the end. Longer, and
 * by chance: `npm run soak -- raft`.
 */
import tap, { test } from 'tap'
import { Chaos } from '../support/kv-chaos.ts'
import { loseDirectory, nemesisOf } from '../support/kv-nemesis.ts'
import { period } from '../support/member-process.ts'

// Real time, and machines that may be busy with other things.
tap.setTimeout(900_000)

/** Each for so long; with what it takes to heal and to judge it is about a minute in all. */
const faults = [
  ['nothing', 1_000],
  ['kill the leader', 1_000],
  ['kill a minority', 500],
  ['kill everybody', 500],
  ['restart all', 500],
  ['short pauses', 1_500],
  ['long pauses', 1_000],
  ['the leader is isolated', 2_000],
  ['halves', 2_000],
  ['one way', 2_000],
  ['a bridge', 2_000],
  ['a full disk', 3_000],
] as const

void test('five processes with the store on their disks', { timeout: 900_000 }, async (t) => {
  const chaos = await Chaos.start(t, { seed: 5, workers: 4, restMs: 60 })
  const { fleet } = chaos

  for (const [name, forMs] of faults) {
    const nemesis = nemesisOf(name)
    const skip = chaos.whyNot(nemesis) ?? false
    await t.test(
      `${name}: nothing acknowledged is lost, and all that was seen is linearizable`,
      { skip },
      (t1) => chaos.run(t1, nemesis, forMs),
    )
  }

  for (const whose of ['follower', 'leader'] as const) {
    await t.test(
      `the directory of a ${whose} is deleted while it runs: noticed, back as a learner, promoted, nothing lost`,
      (t1) =>
        chaos.phase(t1, `the directory of a ${whose}`, async (count) => {
          await period(500)
          const leader = await fleet.leaderOrAny()
          const name = whose === 'leader' ? leader : leader === 'a' ? 'b' : 'a'
          const seen = await loseDirectory(fleet, name)
          t1.comment(`"${name}": ${seen.join(', ')}`)
          count('deleted directory')
          const said = chaos.linesWith(/came back without its disk/)
          // Also by each new leader on the way.
          t1.ok(
            said.some((line) => line.includes('added as a learner')),
            'it came back as a learner',
          )
          t1.ok(
            said.some((line) => line.includes('takes its old place')),
            'it was promoted',
          )
        }),
    )
  }

  chaos.report(t)
})
