/** Downing, when: stability, the margin, the bound between the two sides, races with membership, stalls, the lease. */
import fc from 'fast-check'
import { test } from 'tap'
import { sourceModule } from '../support/source-module.ts'
import { DowningCore, DowningWorld, memoryDowningLease, partitions } from './downing-world.ts'
import type { DowningOptions, NodeSpec, Sight } from './downing-world.ts'

const { checkDowningOptions, downingBound, downingDefaults } = await sourceModule<
  typeof import('../../packages/cluster/src/membership/downing-options.ts')
>('cluster', 'membership/downing-options')

const FIVE = ['a', 'b', 'c', 'd', 'e']
/** probeIntervalMs * (3 + 4 * log10(5)), rounded up. */
const STABLE_MS = 5_796
const LONG_MS = 120_000

void test('M11 a crash in a cluster of five: down after stable-after plus margin, by every other node, once', (t) => {
  const world = new DowningWorld(FIVE)
  world.runUntil(1_000)
  for (const name of ['a', 'b', 'c', 'd']) world.see(name, { suspected: ['e'] })
  world.runUntil(5_000)
  for (const name of ['a', 'b', 'c', 'd']) world.see(name, { unreachable: ['e'] })
  world.runUntil(LONG_MS)
  t.same(
    world.happenings.filter(({ effect }) => effect.type === 'down'),
    ['a', 'b', 'c', 'd'].map((node) => ({
      atMs: 5_000 + 2 * STABLE_MS,
      node,
      effect: { type: 'down', members: [{ name: 'e', incarnation: 1 }], reason: 'unreachable' },
    })),
  )
  t.same(world.goers(), [], 'nobody goes; e itself has crashed')
  t.equal(world.core('a').status().phase, 'calm')
  t.end()
})

void test('M11 no decision while the view changes; each change starts the wait anew', (t) => {
  const changes: readonly [string, Sight][] = [
    ['another is lost', { unreachable: ['d', 'e'] }],
    ['it came back', {}],
    ['a claim', { unreachable: ['e'], claims: { c: ['d'] } }],
    ['a counted member joined', { unreachable: ['e'], table: [...FIVE, 'f'].map((name) => ({ name })) }],
    [
      'a counted member leaves',
      {
        unreachable: ['e'],
        table: FIVE.map((name) => ({ name, status: name === 'd' ? 'leaving' : 'alive' })),
      },
    ],
  ]
  for (const [what, sight] of changes) {
    const world = new DowningWorld(FIVE, { stableAfterMs: STABLE_MS, marginMs: STABLE_MS })
    world.see('a', { unreachable: ['e'] })
    world.runUntil(2 * STABLE_MS - 1)
    t.equal(world.core('a').status().phase, 'margin')
    world.see('a', sight)
    world.runUntil(4 * STABLE_MS - 2)
    t.equal(world.downed().size, 0, `${what}: not yet`)
    world.runUntil(LONG_MS)
    t.equal(world.downed().has('e'), what !== 'it came back', `${what}: in the end`)
  }
  t.end()
})

void test('M11 what does not matter does not start the wait anew: joining members and suspicions', (t) => {
  const world = new DowningWorld(FIVE)
  world.see('a', { unreachable: ['e'] })
  for (let atMs = 1_000; atMs < 11_000; atMs += 1_000) {
    world.runUntil(atMs)
    const joiner: NodeSpec = { name: `j${atMs}`, status: 'joining' }
    const table = [...FIVE.map((name) => ({ name })), joiner]
    world.see('a', { unreachable: ['e'], suspected: atMs % 2_000 === 0 ? ['d'] : [], table })
  }
  world.runUntil(2 * STABLE_MS)
  t.same([...world.downed()], [['e', 2 * STABLE_MS]])
  t.end()
})

void test('M11 the losing side goes stable-after its suspicions, though others follow and nobody is unreachable', (t) => {
  const world = new DowningWorld(FIVE)
  world.see('e', { suspected: ['a'] })
  world.runUntil(1_000)
  world.see('e', { suspected: ['a', 'b'] })
  world.runUntil(1_500)
  t.equal(world.core('e').status().phase, 'waiting', 'three of five are a majority')
  world.see('e', { suspected: ['a', 'b', 'c'] })
  world.runUntil(3_000)
  t.equal(world.core('e').status().phase, 'losing')
  world.see('e', { suspected: ['a', 'b', 'c', 'd'] })
  world.runUntil(LONG_MS)
  t.same(world.goers(), [{ name: 'e', atMs: 1_500 + STABLE_MS, reason: 'minority' }])
  t.same(world.core('e').step({ type: 'tick' }, LONG_MS), [], 'its last effect')
  t.end()
})

void test('M11 losing must be continuous: a node that suspects all and hears from them stays', (t) => {
  const world = new DowningWorld(FIVE)
  for (let round = 0; round < 20; round++) {
    world.see('e', { suspected: ['a', 'b', 'c', 'd'] })
    world.runUntil(world.nowMs + STABLE_MS - 1)
    world.see('e', { suspected: ['a', 'b'] })
    world.runUntil(world.nowMs + 10)
  }
  t.same(world.goers(), [])
  t.end()
})

// ---- the bound

void test('M11 the losing side has stopped before the other starts replacements: brute force over detection skews', (t) => {
  const splits = partitions(FIVE, 2)
  const strategies: readonly DowningOptions[] = [
    {},
    { strategy: 'static-quorum', quorumSize: 3 },
    { strategy: 'keep-oldest' },
    { strategy: 'lease' },
  ]
  let runs = 0
  let closestMs = Infinity
  for (const options of strategies) {
    const bound = downingBound(options, { members: 5, suspicionMult: 4 })
    // The promised bound less the drift of the clocks, of which there is none here.
    const lastMs = bound.othersDownFromMs - (bound.losersStoppedByMs - bound.detectWithinMs)
    t.ok(bound.detectWithinMs > 0 && bound.detectWithinMs < lastMs)
    for (const groups of splits) {
      for (const noticeMs of [0, 700, 4_000, bound.detectWithinMs / 2, bound.detectWithinMs, lastMs - 1]) {
        for (const spreadMs of [0, 350]) {
          for (const lag of ['first', 'second'] as const) {
            // One side is as fast as SWIM can be, the other notices late; and the other way round.
            const late = (lag === 'first' ? groups[0] : groups[1]) ?? []
            const world = new DowningWorld(FIVE, options)
            const sights: { atMs: number; name: string; sight: Sight }[] = []
            for (const [index, name] of FIVE.entries()) {
              const others = FIVE.filter((one) => late.includes(one) !== late.includes(name))
              const atMs = late.includes(name) ? Math.max(0, noticeMs - spreadMs * index) : 0
              sights.push({ atMs, name, sight: { suspected: others } })
              sights.push({
                atMs: Math.max(atMs, 0) + bound.suspicionMinMs,
                name,
                sight: { unreachable: others },
              })
            }
            for (const { atMs, name, sight } of sights.sort((x, y) => x.atMs - y.atMs)) {
              world.runUntil(atMs)
              world.see(name, sight)
            }
            world.runUntil(LONG_MS)
            const downed = world.downed()
            for (const { name, atMs } of world.goers()) {
              closestMs = Math.min(closestMs, (downed.get(name) ?? Infinity) - atMs)
            }
            const survivors = world.survivors()
            if (!groups.some((group) => group.join() === survivors.join()))
              t.fail(`left: ${survivors.join()}`)
            runs++
          }
        }
      }
    }
  }
  t.ok(runs >= 1_400, `${runs} runs`)
  t.equal(closestMs, 1, 'the bound is as tight as it says: at its edge they are 1 ms apart')
  t.end()
})

void test('M11 downingBound: the figures of lan, wan and local, and a margin that is too short', (t) => {
  const rounded = (options: DowningOptions, members: number, suspicionMult: number): unknown => {
    const bound = downingBound(options, { members, suspicionMult })
    return [bound.stableAfterMs, bound.marginMs, bound.suspicionMinMs, bound.detectWithinMs].map(Math.round)
  }
  t.same(rounded({}, 5, 4), [5_796, 5_796, 4_000, 9_582])
  t.same(rounded({}, 100, 4), [11_000, 11_000, 8_000, 18_590])
  t.same(rounded({ probeIntervalMs: 5_000 }, 5, 6), [28_980, 28_980, 30_000, 57_811])
  t.same(rounded({}, 3, 3), [4_909, 4_909, 3_000, 7_732])
  t.same(rounded({ strategy: 'lease' }, 5, 4), [5_796, 12_796, 4_000, 9_442])
  t.ok(
    downingBound({ stableAfterMs: 5_000, marginMs: 0 }, { members: 2, suspicionMult: 0 }).detectWithinMs < 0,
  )
  t.end()
})

// ---- races of membership changes with the partition

/** What a member is, and what the other side believes; a change may have happened just before the cut. */
const PHASES: readonly (readonly [NodeSpec['status'], NodeSpec['status']])[] = [
  ['joining', 'joining'],
  ['alive', 'alive'],
  ['alive', 'joining'],
  ['leaving', 'leaving'],
  ['leaving', 'alive'],
]

void test('M11 membership changes that race with the partition: never two sides, all phases of 2 to 4 nodes', (t) => {
  const strategies: readonly DowningOptions[] = [
    {},
    { strategy: 'static-quorum', quorumSize: 2 },
    { strategy: 'keep-oldest' },
    { strategy: 'keep-oldest', downIfAlone: false },
  ]
  const both: string[] = []
  let runs = 0
  for (let n = 2; n <= 4; n++) {
    const names = FIVE.slice(0, n)
    const splits = partitions(names, 3)
    for (let code = 0; code < PHASES.length ** n; code++) {
      const phases = names.map(
        (_, index) => PHASES[Math.floor(code / PHASES.length ** index) % PHASES.length],
      )
      for (const groups of splits) {
        for (const options of strategies) {
          const staying = groups.filter((group) => {
            const table = names.map((name, index) => {
              const [own, seen] = phases[index] ?? []
              // The highest name is the oldest.
              return { name, incarnation: 9 - index, status: group.includes(name) ? own : seen }
            })
            return stays(options, table as readonly NodeSpec[], group)
          })
          runs++
          if (staying.length > 1) both.push(`${JSON.stringify(options)} ${code} ${staying.join(' and ')}`)
        }
      }
    }
  }
  t.same(both.slice(0, 5), [])
  t.ok(runs > 30_000, `${runs} runs`)
  t.end()
})

/** Whether the group's first node, which sees this table and none of the others, would stay. */
function stays(options: DowningOptions, table: readonly NodeSpec[], group: readonly string[]): boolean {
  const core = new DowningCore(options)
  const members = (isCut: boolean): Parameters<typeof core.step>[0] => ({
    type: 'members',
    members: table.map(({ name, incarnation = 1, status = 'alive' }) => ({
      name,
      incarnation,
      status,
      address: '',
      reachable: !isCut || group.includes(name),
      suspected: false,
      cannotReach: [],
      isSelf: name === group[0],
      roles: [],
    })),
  })
  core.step(members(false), 0)
  core.step(members(true), 1)
  return core.status().wouldGo === undefined
}

void test('M11 joining and leaving members do not count', (t) => {
  const rest = FIVE.slice(0, 4).map((name): NodeSpec => ({ name, status: name < 'd' ? 'alive' : 'joining' }))
  t.equal(stays({}, rest, ['a', 'b']), true, 'two of three; two over there at most, and a is the lowest')
  t.equal(stays({}, rest, ['a', 'd']), false, 'one of three and one that joins')
  t.equal(stays({}, rest, ['b', 'c']), false, 'a majority, but over there they may be two by now, with a')
  t.equal(stays({}, rest, ['a', 'b', 'c']), true)
  const leaving = FIVE.map((name): NodeSpec => ({ name, status: name < 'd' ? 'leaving' : 'alive' }))
  t.equal(stays({}, leaving, ['d']), true, 'one of two, and the lowest of them')
  t.equal(stays({}, leaving, ['a', 'b', 'c', 'e']), false)
  t.end()
})

void test('M11 who turns alive while somebody is lost does not count on the own side', (t) => {
  const world = new DowningWorld(['a', 'b'])
  const grown = (status: NodeSpec['status']): readonly NodeSpec[] => [
    { name: 'a' },
    { name: 'b' },
    ...['c', 'd'].map((name) => ({ name, status })),
  ]
  world.see('b', { suspected: ['a'] })
  world.see('b', { suspected: ['a'], table: grown('joining') })
  world.see('b', { suspected: ['a'], table: grown('alive') })
  t.equal(world.core('b').status().wouldGo, 'minority', 'a never heard of them, and stays')
  world.see('b', { table: grown('alive') })
  world.see('b', { suspected: ['a'], table: grown('alive') })
  t.equal(world.core('b').status().wouldGo, undefined, 'after a calm moment they count')
  t.end()
})

// ---- small and special clusters

void test('M11 one node, and two: the one stays whatever happens, of two the lowest name', (t) => {
  const one = new DowningWorld(['a'])
  one.see('a', { unreachable: ['a'], suspected: ['a'], claims: { a: ['a', 'b'] } })
  t.equal(one.core('a').status().phase, 'calm')
  t.equal(one.core('a').nextDeadlineMs(), undefined)

  const crash = new DowningWorld(['a', 'b'])
  crash.see('a', { unreachable: ['b'] })
  crash.runUntil(LONG_MS)
  t.same([...crash.downed().keys()], ['b'])
  const other = new DowningWorld(['a', 'b'])
  other.see('b', { suspected: ['a'] })
  other.runUntil(LONG_MS)
  t.same(
    other.goers().map(({ name }) => name),
    ['b'],
    'the price of two: when the lowest crashes, the other goes',
  )
  t.end()
})

void test('M11 all others leave, or all leave, or none is alive yet: a crash among them takes nobody along', (t) => {
  const cases: readonly [readonly NodeSpec['status'][], string][] = [
    [['leaving', 'leaving', 'alive'], 'a'],
    [['leaving', 'leaving', 'leaving'], 'c'],
    [['joining', 'joining', 'joining'], 'c'],
    [['joining', 'alive', 'alive'], 'a'],
  ]
  for (const [statuses, crashed] of cases) {
    const specs = statuses.map((status = 'alive', index) => ({ name: 'abc'[index] ?? '', status }))
    const world = new DowningWorld(specs)
    for (const { name } of specs) if (name !== crashed) world.see(name, { unreachable: [crashed] })
    world.runUntil(LONG_MS)
    t.same([...world.downed().keys()], [crashed], statuses.join())
    t.same(world.goers(), [], statuses.join())
  }
  t.end()
})

void test('M11 only alive members declare others down', (t) => {
  const specs = FIVE.map((name): NodeSpec => ({
    name,
    status: name === 'a' ? 'joining' : name === 'b' ? 'leaving' : 'alive',
  }))
  const world = new DowningWorld(specs)
  for (const name of ['a', 'b', 'c', 'd']) world.see(name, { unreachable: ['e'] })
  world.runUntil(LONG_MS)
  t.same(
    world.happenings.filter(({ effect }) => effect.type === 'down').map(({ node }) => node),
    ['c', 'd'],
  )
  t.equal(world.core('a').status().phase, 'waiting')
  t.end()
})

// ---- stalls

void test('M5 M11 a node that stalled, suspects all and then hears from them: nobody goes, nobody is declared down', (t) => {
  const world = new DowningWorld(FIVE)
  world.see('e', { suspected: ['a', 'b', 'c', 'd'] })
  world.runUntil(900)
  world.tick('e', 11_000)
  t.same(world.happenings, [], 'the time is over, but the news of ten seconds is still in the sockets')
  t.equal(world.core('e').isInDoubt(), true, 'until then it must not act')
  world.runUntil(11_500)
  world.see('e', {})
  t.equal(world.core('e').isInDoubt(), false)
  world.runUntil(LONG_MS)
  t.same(world.happenings, [])
  t.end()
})

void test('M11 a node that stalled and hears nothing goes one stall time after it woke', (t) => {
  const world = new DowningWorld(FIVE)
  world.see('e', { suspected: ['a', 'b', 'c', 'd'] })
  world.runUntil(900)
  world.tick('e', 11_000)
  world.runUntil(LONG_MS)
  t.same(world.goers(), [{ name: 'e', atMs: 12_000, reason: 'minority' }])
  t.equal(world.core('e').isInDoubt(), true)
  t.end()
})

void test('M11 a winner that stalled starts to wait anew', (t) => {
  const world = new DowningWorld(FIVE)
  world.see('a', { unreachable: ['e'] })
  world.runUntil(11_000)
  world.tick('a', 13_000)
  t.same(world.happenings, [], 'although the time is over')
  world.runUntil(LONG_MS)
  t.same([...world.downed()], [['e', 13_000 + 2 * STABLE_MS]])
  t.end()
})

// ---- flapping

void test('M11 down-all-when-unstable: who flaps for too long goes; who only loses more and more does not', (t) => {
  const flapping = (options: DowningOptions): DowningWorld => {
    const world = new DowningWorld(FIVE, options)
    for (let round = 0; round < 10; round++) {
      world.see('a', { unreachable: round % 2 === 0 ? ['e'] : ['d'] })
      world.runUntil(world.nowMs + 2_000)
    }
    return world
  }
  t.same(flapping({}).goers(), [{ name: 'a', atMs: STABLE_MS + 4_347, reason: 'unstable' }])
  t.same(flapping({ downAllWhenUnstableMs: false }).goers(), [])
  t.same(flapping({ downAllWhenUnstableMs: 9_000 }).goers()[0]?.atMs, STABLE_MS + 9_000)

  const names = [...FIVE, 'f', 'g', 'h', 'i']
  const cascade = new DowningWorld(names)
  for (const count of [1, 2, 3, 4]) {
    cascade.see('a', { unreachable: names.slice(9 - count) })
    cascade.runUntil(cascade.nowMs + 5_000)
  }
  cascade.runUntil(LONG_MS)
  t.same(cascade.goers(), [])
  t.equal(cascade.downed().size, 4)
  t.end()
})

void test('M11 one recovery is no flapping, and nobody goes for unrest that is over', (t) => {
  const world = new DowningWorld(FIVE)
  world.see('a', { unreachable: ['d', 'e'] })
  world.runUntil(5_000)
  world.see('a', { unreachable: ['e'] })
  world.runUntil(LONG_MS)
  t.same(world.goers(), [])
  t.same([...world.downed()], [['e', 5_000 + 2 * STABLE_MS]])

  const healed = new DowningWorld(FIVE)
  for (let round = 0; round < 12; round++) {
    healed.see('a', { unreachable: round % 2 === 0 ? ['e'] : [] })
    if (round < 11) healed.runUntil(healed.nowMs + 800)
  }
  healed.runUntil(LONG_MS)
  t.same(healed.happenings, [])
  t.end()
})

void test('M11 who was removed has not recovered', (t) => {
  const names = [...FIVE, 'f', 'g', 'h', 'i']
  const world = new DowningWorld(names)
  const without = (...gone: string[]): NodeSpec[] =>
    names.filter((name) => !gone.includes(name)).map((name) => ({ name }))
  // Others declare them down one by one, and new ones are lost all the time.
  world.see('a', { unreachable: ['i'] })
  for (const [index, gone] of [['i'], ['i', 'h'], ['i', 'h', 'g']].entries()) {
    world.runUntil(world.nowMs + 4_000)
    world.see('a', { unreachable: [names[7 - index] ?? ''], table: without(...gone) })
  }
  world.runUntil(LONG_MS)
  t.same(world.goers(), [])
  t.same([...world.downed().keys()], ['f'])
  t.end()
})

void test('M11 who went and came back as another life has not recovered: a bridge keeps its richer half', (t) => {
  const world = new DowningWorld(FIVE)
  const table = (d: NodeSpec, e: NodeSpec): NodeSpec[] => [{ name: 'a' }, { name: 'b' }, { name: 'c' }, d, e]
  const returned = (name: string): NodeSpec => ({ name, incarnation: 2, status: 'joining' })
  const [oldD, oldE] = [{ name: 'd' }, { name: 'e' }]
  // a and b reach d and e through c only, and are slow to take back what they said of lives that are over.
  const claims = { a: ['d', 'e'], b: ['d', 'e'] }
  const sights: readonly Sight[] = [
    { table: table(oldD, oldE), claims },
    { table: table(oldD, returned('e')), claims },
    { table: table(oldD, returned('e')), claims: { a: ['d'], b: ['d', 'e'] } },
    { table: table(oldD, returned('e')), claims: { a: ['d'], b: ['d'] } },
    { table: table(returned('d'), returned('e')), claims: { a: ['d'], b: ['d'] } },
    { table: table(returned('d'), returned('e')), claims: { b: ['d'] } },
    { table: table(returned('d'), returned('e')), claims: { a: ['e'], b: ['e'] } },
  ]
  for (const [index, sight] of sights.entries()) {
    for (const name of ['a', 'b', 'c']) world.see(name, sight)
    world.runUntil(index === 0 ? 2 * STABLE_MS - 1_000 : world.nowMs + 2_000)
  }
  t.same(
    world.goers().filter(({ name }) => ['a', 'b', 'c'].includes(name)),
    [],
  )
  t.end()
})

void test('M11 one view is decided on once, also while the table still shows who was declared down', (t) => {
  const core = new DowningCore()
  const look: Parameters<typeof core.step>[0] = {
    type: 'members',
    members: ['a', 'b', 'c'].map((name) => ({
      name,
      incarnation: 1,
      address: '',
      status: 'alive',
      reachable: name !== 'c',
      suspected: false,
      cannotReach: [],
      isSelf: name === 'a',
      roles: [],
    })),
  }
  core.step(look, 0)
  let downs = 0
  for (let atMs = 500; atMs < 60_000; atMs += 500) {
    const effects = [...core.step({ type: 'tick' }, atMs), ...core.step(look, atMs)]
    downs += effects.filter(({ type }) => type === 'down').length
  }
  t.equal(downs, 1)
  t.equal(core.status().phase, 'decided')
  t.end()
})

// ---- the lease

void test('M11 lease: a minority waits, and stays if the majority never asks', (t) => {
  const world = new DowningWorld(FIVE, { strategy: 'lease' })
  for (const name of ['d', 'e']) world.see(name, { unreachable: ['a', 'b', 'c'] })
  world.runUntil(LONG_MS)
  t.same(world.lease.attempts(), [
    { owner: 'd/1', granted: true },
    { owner: 'd/1', granted: true },
  ])
  const asked = world.happenings.find(({ effect }) => effect.type === 'acquire-lease')
  t.equal(asked?.atMs, STABLE_MS + 2_000)
  t.same([...world.downed().keys()], ['a', 'b', 'c'])
  const released = world.happenings.find(({ effect }) => effect.type === 'release-lease')
  t.equal(released?.atMs, 2 * STABLE_MS + 7_000 + 40_000, 'kept for 40 s after it was used')
  t.equal(world.lease.owner(), undefined)
  t.end()
})

void test('M11 lease: denied, no answer, lost: the node goes; a lease that was not needed any more is given back', (t) => {
  const denied = new DowningWorld(FIVE, { strategy: 'lease' })
  void denied.lease.acquire('x/1')
  denied.see('a', { unreachable: ['e'] })
  denied.runUntil(LONG_MS)
  t.same(denied.goers(), [{ name: 'a', atMs: STABLE_MS, reason: 'lease-denied' }])

  const silent = new DowningWorld(FIVE, { strategy: 'lease' })
  silent.isLeaseAnswering = false
  silent.see('a', { unreachable: ['e'] })
  silent.runUntil(LONG_MS)
  t.same(silent.goers(), [{ name: 'a', atMs: STABLE_MS + 5_000, reason: 'lease-timeout' }])

  const lost = new DowningWorld(FIVE, { strategy: 'lease' })
  lost.see('a', { unreachable: ['e'] })
  lost.runUntil(STABLE_MS + 1)
  t.equal(lost.core('a').status().lease, 'held')
  lost.leaseLost('a')
  t.same(lost.goers(), [{ name: 'a', atMs: STABLE_MS + 1, reason: 'lease-lost' }])

  const healed = new DowningWorld(FIVE, { strategy: 'lease' })
  healed.see('a', { suspected: ['e'] })
  healed.runUntil(STABLE_MS + 1)
  healed.see('a', {})
  healed.leaseLost('b')
  healed.runUntil(LONG_MS)
  t.same(
    healed.happenings.map(({ atMs, effect }) => `${atMs} ${effect.type}`),
    [`${STABLE_MS} acquire-lease`, `${STABLE_MS + 40_000} release-lease`],
  )
  t.end()
})

void test('M11 lease: lost after it was used, while the others may still ask for it: the node goes', (t) => {
  const world = new DowningWorld(FIVE, { strategy: 'lease' })
  world.see('a', { unreachable: ['e'] })
  world.runUntil(2 * STABLE_MS + 7_001)
  t.same([...world.downed().keys()], ['e'])
  t.equal(world.core('a').status().phase, 'calm')
  world.leaseLost('a')
  t.same(
    world.goers().map(({ reason }) => reason),
    ['lease-lost'],
  )
  t.end()
})

void test('M11 lease: who stood still for so long that it may have been used and given back goes, and does not ask', (t) => {
  for (const [stallMs, reason] of [
    [70_000, 'lease-denied'],
    [10_000, undefined],
  ] as const) {
    const world = new DowningWorld(FIVE, { strategy: 'lease' })
    world.see('e', { suspected: ['a', 'b', 'c', 'd'] })
    world.runUntil(900)
    world.tick('e', stallMs)
    world.see('e', { unreachable: ['a', 'b', 'c', 'd'] })
    world.runUntil(stallMs + LONG_MS)
    t.equal(world.goers()[0]?.reason, reason, `after ${stallMs} ms`)
  }
  t.end()
})

void test('M11 lease: also a stall that began before the trouble counts, and many short ones as one long one', (t) => {
  const others = ['a', 'b', 'c', 'd']
  const calm = new DowningWorld(FIVE, { strategy: 'lease' })
  calm.runUntil(900)
  calm.tick('e', 70_000)
  calm.see('e', { unreachable: others })
  calm.runUntil(70_000 + LONG_MS)
  t.equal(calm.goers()[0]?.reason, 'lease-denied', 'asleep since before the cut')

  for (const [naps, reason] of [
    [3, 'lease-denied'],
    [2, undefined],
  ] as const) {
    const world = new DowningWorld(['a', 'e'], { strategy: 'lease' })
    world.see('e', { suspected: ['a'] })
    for (let n = 1; n <= naps; n++) world.tick('e', n * 9_000)
    world.see('e', { unreachable: ['a'] })
    world.runUntil(LONG_MS)
    t.equal(world.goers()[0]?.reason, reason, `${naps} naps of 8 s`)
  }

  const rested = new DowningWorld(['a', 'e'], { strategy: 'lease' })
  for (const atMs of [0, 60_000]) {
    rested.runUntil(atMs)
    rested.tick('e', rested.nowMs + 16_000)
  }
  rested.see('e', { unreachable: ['a'] })
  rested.runUntil(LONG_MS)
  t.same(
    rested.goers(),
    [],
    'naps that lie further apart than the lease is kept have nothing to do with each other',
  )
  t.end()
})

void test('M11 lease: it is kept long enough for who stood still, also where stableAfterMs is long', (t) => {
  const lease = (options: DowningOptions = {}): DowningOptions => ({ strategy: 'lease', ...options })
  const kept = (options: DowningOptions, members: number): number =>
    checkDowningOptions(lease(options)).leaseReleaseAfterMs(members)
  t.equal(kept({}, 5), 40_000)
  t.equal(kept({}, 1_000), 40_000)
  t.equal(kept({ stableAfterMs: 30_000 }, 1_000), 66_000)
  t.equal(kept({ probeIntervalMs: 5_000 }, 5), 2 * (28_980 + 2_000 + 5_000))
  t.equal(kept({ stableAfterMs: 1_000, leaseReleaseAfterMs: 8_000 }, 5), 8_000)
  t.throws(
    () => checkDowningOptions(lease({ stableAfterMs: 30_000, leaseReleaseAfterMs: 40_000 })),
    /leaseReleaseAfterMs 40000: it must be at least 66000 ms, .* stableAfterMs \(30000\).* Raise it, leave it out/,
  )
  t.throws(
    () => checkDowningOptions(lease({ leaseReleaseAfterMs: 35_000 })),
    /leaseReleaseAfterMs 35000: it must be at least 36000 ms, .* \(15000 with 1000 members\)/,
  )
  t.doesNotThrow(() => checkDowningOptions({ leaseReleaseAfterMs: 1 }), 'nobody asks')
  t.end()
})

void test('M11 lease: a second partition while it is held does not find both sides holding it', (t) => {
  const world = new DowningWorld(FIVE, { strategy: 'lease' })
  for (const name of ['a', 'b', 'c', 'd']) world.see(name, { unreachable: ['e'] })
  world.runUntil(2 * STABLE_MS + 7_001)
  t.same([...world.downed().keys()], ['e'])
  world.see('a', { unreachable: ['b', 'c', 'd'] })
  for (const name of ['b', 'c', 'd']) world.see(name, { unreachable: ['a'] })
  world.runUntil(LONG_MS)
  t.same(world.survivors(), ['a'], 'it is held under the name of a')
  t.end()
})

void test('memoryDowningLease: one owner at a time, who may ask again; broken it rejects; expiry tells all who asked', async (t) => {
  const lease = memoryDowningLease()
  let told = 0
  t.equal(await lease.acquire('a', () => told++), true)
  t.equal(await lease.acquire('a', () => told++), true)
  t.equal(await lease.acquire('b', () => told++), false)
  await lease.release('b')
  t.equal(lease.owner(), 'a')
  lease.expire()
  t.equal(told, 2)
  t.equal(await lease.acquire('b'), true)
  await lease.release('b')
  lease.setBroken(true)
  await t.rejects(lease.acquire('a'), /Cannot acquire the downing lease/)
  lease.setBroken(false)
  t.equal(await lease.acquire('a'), true)
  t.equal(lease.attempts().length, 6)
})

// ---- any order of anything

void test('M11 whatever a node sees: deadlines lie ahead, going is the last effect, who is declared down is lost', (t) => {
  const sight = fc.record({
    waitMs: fc.integer({ min: 0, max: 9_000 }),
    unreachable: fc.subarray(FIVE),
    suspected: fc.subarray(FIVE),
    claims: fc.dictionary(fc.constantFrom(...FIVE), fc.subarray(FIVE), { maxKeys: 2 }),
  })
  const options = fc.constantFrom<DowningOptions>(
    {},
    { strategy: 'static-quorum', quorumSize: 3 },
    { strategy: 'keep-oldest' },
    { strategy: 'lease' },
    { strategy: 'down-all' },
  )
  fc.assert(
    fc.property(options, fc.array(sight, { maxLength: 12 }), (chosen, sights) => {
      const world = new DowningWorld(FIVE, chosen)
      for (const { waitMs, ...seen } of sights) {
        world.see('c', seen)
        const dueMs = world.core('c').nextDeadlineMs()
        if (dueMs !== undefined && dueMs <= world.nowMs) return false
        world.runUntil(world.nowMs + waitMs)
      }
      const types = world.happenings.map(({ effect }) => effect.type)
      const gone = types.indexOf('down-self')
      return gone === -1 || gone === types.length - 1
    }),
    { seed: 11, numRuns: 400 },
  )
  t.end()
})

// ---- options

void test('downing options: defaults, and what is refused with a word how to mend it', (t) => {
  t.ok(Object.isFrozen(downingDefaults))
  const checked = checkDowningOptions()
  t.same([1, 5, 10, 100].map(checked.stableAfterMs), [3_000, STABLE_MS, 7_000, 11_000])
  t.equal(checked.unstableAfterMs(5), STABLE_MS + 4_347)
  const refused: readonly [unknown, RegExp][] = [
    [{ strategy: 'keep-referee' }, /one of keep-majority, static-quorum, keep-oldest, down-all, lease/],
    [{ strategy: 'static-quorum' }, /quorumSize undefined: it must be a whole number from 1/],
    [{ strategy: 'static-quorum', quorumSize: 0 }, /quorumSize 0/],
    [{ strategy: 'static-quorum', quorumSize: 2.5 }, /quorumSize 2\.5/],
    [{ quorumSize: 3 }, /belongs to "static-quorum"/],
    [{ downIfAlone: false }, /belongs to "keep-oldest"/],
    [{ role: '' }, /empty role/],
    [{ strategy: 'down-all', role: 'web' }, /counts nobody/],
    [{ stableAfterMs: 0 }, /stableAfterMs 0: it must be from 1 to 3600000 ms/],
    [{ stableAfterMs: Number.NaN }, /stableAfterMs NaN/],
    [{ marginMs: -1 }, /marginMs -1/],
    [{ downAllWhenUnstableMs: 0 }, /downAllWhenUnstableMs 0: .* or false/],
    [{ probeIntervalMs: Infinity }, /probeIntervalMs Infinity/],
    [{ leaseMinorityDelayMs: -1 }, /leaseMinorityDelayMs/],
    [{ leaseTimeoutMs: 0 }, /leaseTimeoutMs/],
    [{ leaseReleaseAfterMs: 0 }, /leaseReleaseAfterMs/],
    [{ stallMs: 0 }, /stallMs/],
  ]
  for (const [options, message] of refused) {
    t.throws(() => new DowningCore(options as DowningOptions), { name: 'RangeError', message })
  }
  t.end()
})

void test('static-quorum says once that more members count than it is safe for', (t) => {
  const world = new DowningWorld(FIVE, { strategy: 'static-quorum', quorumSize: 2 })
  world.see('a', {})
  t.same(
    world.happenings.map(({ node, effect }) => `${node} ${JSON.stringify(effect)}`),
    FIVE.map((name) => `${name} {"type":"quorum-unsafe","members":5,"quorumSize":2}`),
  )
  t.end()
})
