/** Many SWIM cores in virtual time: they find each other, agree after faults, and see a crash in time. */
import { test } from 'tap'
import { SwimBed, bedRandom } from '../support/swim-bed.ts'

void test('a cluster forms through one seed, whatever is lost, and is read and written as on the wire', (t) => {
  for (const loss of [0, 0.05]) {
    const bed = new SwimBed({ nodes: 20, seed: 7, start: 'seed', loss, mesh: true, codec: true })
    t.ok(bed.runUntil(() => bed.isSettled(), 60_000, 100) !== undefined, `loss ${loss}`)
    for (const { name } of bed.nodes) bed.input(name, { type: 'set-phase', phase: 'alive' })
    bed.runFor(10_000)
    t.ok(bed.isSettled())
    t.ok(bed.running.every(({ core }) => core.table().every(({ kind }) => kind === 'alive')))
  }
  t.end()
})

void test('after faults and quiet all views are equal, for 50 seeds', (t) => {
  for (let seed = 1; seed <= 50; seed++) {
    const random = bedRandom(seed)
    const n = random.int(3, 16)
    const bed = new SwimBed({ nodes: n, seed, loss: random.float() * 0.2 })
    const names = bed.nodes.map(({ name }) => name)
    const anyName = (): string => names[random.int(0, n - 1)] ?? 'n000'
    for (let round = 0; round < 6; round++) {
      bed.runFor(random.int(500, 15_000))
      switch (random.int(0, 5)) {
        case 0:
          bed.partition(names.filter(() => random.float() < 0.5))
          break
        case 1:
          bed.cut(anyName(), anyName(), random.float() < 0.5)
          break
        case 2:
          bed.stall(anyName(), random.int(100, 12_000))
          break
        case 3: {
          const name = anyName()
          bed.crash(name, random.float() < 0.5 ? 'silent' : 'unlinked')
          bed.runFor(random.int(0, 20_000))
          bed.restart(name)
          break
        }
        case 4:
          bed.unlink(anyName(), anyName())
          break
        default:
          bed.heal()
      }
    }
    bed.heal()
    bed.loss = 0
    // Whoever restarted while it was cut off has nobody to ask: links are made anew, as dialling seeds does.
    for (const { name } of bed.nodes) {
      if (name === 'n000') continue
      bed.link('n000', name)
    }
    const took = bed.runUntil(() => bed.isSettled(), 180_000, 500)
    t.ok(took !== undefined, `seed ${seed}: ${n} nodes agree after ${took} ms`)
  }
  t.end()
})

void test('nobody is accused for long while nothing fails, with 1 % of the messages lost', (t) => {
  const bed = new SwimBed({ nodes: 60, seed: 11, loss: 0.01 })
  bed.runFor(1_800_000)
  t.same(bed.eventsOf('member-unreachable'), [])
  t.ok(bed.isSettled())
  t.end()
})

void test('a crash is seen by all within the formula and two periods', (t) => {
  // At most a period to be probed, a period for the probe, the shortest suspicion; then two periods more.
  for (const [n, seeds, suspicionMs] of [
    [3, 40, 4_000],
    [5, 40, 4_000],
    [10, 40, 4_000],
    [100, 12, 8_000],
  ] as const) {
    const took: number[] = []
    for (let seed = 1; seed <= seeds; seed++) {
      const bed = new SwimBed({ nodes: n, seed, loss: seed % 4 === 0 ? 0.01 : 0 })
      bed.runFor(3_000 + ((seed * 379) % 2_000))
      const victim = bed.nodes[(seed * 7) % n]?.name ?? 'n000'
      bed.crash(victim)
      took.push(
        bed.runUntil(() => bed.allSee(victim, ['unreachable']), 60_000, 50) ?? Number.POSITIVE_INFINITY,
      )
      t.same(
        bed
          .eventsOf('member-unreachable')
          .filter(({ effect }) => 'member' in effect && effect.member.name !== victim),
        [],
      )
    }
    took.sort((a, b) => a - b)
    const worst = took.at(-1) ?? Number.POSITIVE_INFINITY
    const bound = 1_000 + 1_000 + suspicionMs + 2_000
    t.ok(worst <= bound, `${n} nodes: median ${took[seeds >> 1]} ms, worst ${worst} ms, bound ${bound} ms`)
  }
  t.end()
})

void test('the load of a node does not grow with the cluster', (t) => {
  const perNode = [10, 40, 160].map((n) => {
    const bed = new SwimBed({ nodes: n, seed: 5 })
    bed.runFor(60_000)
    const { messages, bytes } = bed.totals()
    return { messages: messages / n / 60, bytes: bytes / n / 60 }
  })
  for (const { messages, bytes } of perNode) {
    t.ok(messages > 3.5 && messages < 4.5, `${messages} messages a second`)
    t.ok(bytes < 30, `${bytes} bytes a second`)
  }
  t.end()
})

void test('a member that two of three cannot reach is not suspected for long: each says whom it cannot reach', (t) => {
  const bed = new SwimBed({ nodes: 5, seed: 3 })
  bed.runFor(2_000)
  bed.cut('n000', 'n001')
  bed.runFor(30_000)
  t.same(bed.eventsOf('member-unreachable'), [])
  const claims = (name: string): readonly string[] | undefined =>
    bed
      .node('n004')
      .core.table()
      .find((record) => record.name === name)?.cannotReach
  t.same(claims('n000'), ['n001'])
  t.same(claims('n001'), ['n000'])
  bed.heal()
  bed.runFor(5_000)
  t.same(claims('n000'), [])
  t.same(claims('n001'), [])
  t.end()
})

void test('the same seed gives the same run', (t) => {
  const run = (seed: number): string => {
    const bed = new SwimBed({ nodes: 30, seed, loss: 0.05 })
    bed.runFor(10_000)
    bed.crash('n003', 'unlinked')
    bed.runFor(20_000)
    return JSON.stringify([
      bed.totals(),
      bed.events.map(({ atMs, node, effect }) => [atMs, node, effect.type]),
    ])
  }
  t.equal(run(1), run(1))
  t.not(run(1), run(2))
  t.end()
})
