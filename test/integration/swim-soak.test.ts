/**
 * The soak: a day of a hundred members that lose one message in a hundred, and nothing else is wrong. It takes about 45 s of
 * one core a seed: three seeds, one where `CI` is set, or as many as `SOAK_SEEDS` says.
 */
import { setImmediate } from 'node:timers/promises'
import tap from 'tap'
import { SwimBed } from '../support/swim-bed.ts'

const nodes = 100
const hours = 24
const seeds = Number(process.env['SOAK_SEEDS'] ?? (process.env['CI'] === undefined ? 3 : 1))
/** Real time that a day may take on a busy machine; all limits of time are told to the runner. */
const dayPatienceMs = 900_000
tap.setTimeout(seeds * dayPatienceMs)

for (let seed = 1; seed <= seeds; seed++) {
  void tap.test(
    `M12: no healthy node becomes unreachable in ${hours} virtual hours of ${nodes} nodes with 1 % loss, seed ${seed}`,
    { timeout: dayPatienceMs },
    async (t) => {
      const bed = new SwimBed({ nodes, seed, loss: 0.01, bytes: false })
      const accused = new Set<string>()
      const unreachable: string[] = []
      let suspicions = 0
      const beganMs = performance.now()
      for (let hour = 1; hour <= hours; hour++) {
        bed.runFor(3_600_000)
        for (const { atMs, node, effect } of bed.events) {
          if (effect.type === 'member-unreachable')
            unreachable.push(`${effect.member.name} at ${node}, ${atMs} ms`)
          if (effect.type !== 'member-suspected') continue
          suspicions++
          accused.add(`${effect.member.name} ${effect.member.refutation}`)
        }
        bed.events = []
        // Lets what was said out, and hears whether all is to end.
        await setImmediate()
        if (hour % 3 !== 0 && hour !== 1) continue
        const seconds = Math.round((performance.now() - beganMs) / 1_000)
        process.stderr.write(
          `soak, seed ${seed} of ${seeds}: ${hour} of ${hours} h in ${seconds} s, ${accused.size} accusations\n`,
        )
      }
      t.same(unreachable, [])
      t.ok(accused.size > 0, 'somebody was accused wrongly now and then, or nothing was tried')
      bed.loss = 0
      t.ok(bed.runUntil(() => bed.isSettled(), 120_000, 1_000) !== undefined, 'and all views are equal')
      t.ok(
        bed.nodes.every(({ core }) => core.table().filter(({ kind }) => kind === 'alive').length === nodes),
      )
      t.comment(
        `${accused.size} accusations, all refuted; seen ${suspicions} times; ${bed.delivered} messages`,
      )
      t.end()
    },
  )
}
