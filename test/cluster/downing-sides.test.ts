/** Downing, who stays: every small partition under every strategy, and members that only some can reach. */
import fc from 'fast-check'
import { test } from 'tap'
import { sourceModule } from '../support/source-module.ts'
import { DowningWorld, partitions } from './downing-world.ts'
import type { DowningOptions, NodeSpec, Sight } from './downing-world.ts'

const { connectedNames, missingEdges } = await sourceModule<
  typeof import('../../packages/cluster/src/membership/reachability.ts')
>('cluster', 'membership/reachability')

const NAMES = ['a', 'b', 'c', 'd', 'e', 'f']
const LONG_MS = 120_000

type Groups = readonly (readonly string[])[]

/** Who is left when each node sees what its group sees, in three worlds: all see it at once, in order, in reverse. */
function outcomes(
  specs: readonly (NodeSpec | string)[],
  options: DowningOptions,
  groups: Groups,
): readonly string[] {
  const results = [0, 300, -300].map((skewMs) => {
    const world = new DowningWorld(specs, options)
    const all = groups.flat()
    const order = skewMs < 0 ? [...groups].reverse() : groups
    for (const phase of ['suspected', 'unreachable'] as const) {
      for (const group of order) {
        world.runUntil(world.nowMs + Math.abs(skewMs))
        for (const name of group) world.see(name, { [phase]: all.filter((other) => !group.includes(other)) })
      }
      world.runUntil(world.nowMs + 4_000)
    }
    world.runUntil(LONG_MS)
    for (const { name, atMs } of world.goers()) {
      const downAtMs = world.downed().get(name)
      if (downAtMs !== undefined && downAtMs <= atMs) throw new Error(`${name} went after it was replaced`)
    }
    return world.survivors().join('')
  })
  return [...new Set(results)]
}

function joined(groups: Groups): string {
  return groups.map((group) => group.join('')).join('|')
}

void test('M11 keep-majority: every split of 2 to 6 nodes in 2 or 3 keeps the majority, or of halves the lowest name', (t) => {
  let count = 0
  for (let n = 2; n <= 6; n++) {
    for (const groups of partitions(NAMES.slice(0, n), 3)) {
      // Each side judges against the sum of the others, so equal sides of three all go.
      const staying = groups.find(
        (group) => group.length * 2 > n || (group.length * 2 === n && group.includes('a')),
      )
      t.same(outcomes(NAMES.slice(0, n), {}, groups), [(staying ?? []).join('')], joined(groups))
      count++
    }
  }
  t.equal(count, 1 + 4 + 13 + 40 + 121, 'all of them: Stirling numbers of the second kind, for 2 and 3 parts')
  t.end()
})

void test('M11 static-quorum: a side with a quorum stays, no other, and none when two could have one', (t) => {
  for (let n = 2; n <= 6; n++) {
    for (let quorumSize = 1; quorumSize <= n + 1; quorumSize++) {
      for (const groups of partitions(NAMES.slice(0, n), 3)) {
        const staying =
          n > 2 * quorumSize - 1 ? undefined : groups.find((group) => group.length >= quorumSize)
        const options: DowningOptions = { strategy: 'static-quorum', quorumSize }
        const found = outcomes(NAMES.slice(0, n), options, groups)
        t.same(found, [(staying ?? []).join('')], `${joined(groups)} quorum ${quorumSize}`)
      }
    }
  }
  t.end()
})

void test('M11 keep-oldest: the side of the oldest stays, unless it is alone against two or more', (t) => {
  for (const downIfAlone of [true, false]) {
    for (let n = 2; n <= 6; n++) {
      // The oldest is not the lowest name; b and c are equally old.
      const specs = NAMES.slice(0, n).map((name) => ({
        name,
        incarnation: name < 'b' ? 9 : name < 'd' ? 3 : 5,
      }))
      for (const groups of partitions(NAMES.slice(0, n), 3)) {
        const oldest = groups.find((group) => group.includes('b')) ?? []
        const isAlone = downIfAlone && oldest.length === 1 && n > 2
        const others = groups.filter((group) => group !== oldest)
        const staying = isAlone ? (others.length === 1 ? others[0] : []) : oldest
        const found = outcomes(specs, { strategy: 'keep-oldest', downIfAlone }, groups)
        t.same(found, [(staying ?? []).join('')], `${joined(groups)} downIfAlone ${downIfAlone}`)
      }
    }
  }
  t.end()
})

void test('M11 down-all: nobody stays, whatever the split', (t) => {
  for (let n = 2; n <= 6; n++) {
    for (const groups of partitions(NAMES.slice(0, n), 3)) {
      t.same(outcomes(NAMES.slice(0, n), { strategy: 'down-all' }, groups), [''], joined(groups))
    }
  }
  t.end()
})

void test('M11 lease: exactly one side stays, and it is the majority if there is one', (t) => {
  for (let n = 2; n <= 6; n++) {
    for (const groups of partitions(NAMES.slice(0, n), 3)) {
      const found = outcomes(NAMES.slice(0, n), { strategy: 'lease' }, groups)
      const majority = groups.find(
        (group) => group.length * 2 > n || (group.length * 2 === n && group.includes('a')),
      )
      for (const survivors of found) {
        t.ok(
          groups.some((group) => group.join('') === survivors),
          `${joined(groups)}: ${survivors} is one side`,
        )
        if (majority !== undefined) t.equal(survivors, majority.join(''), joined(groups))
      }
    }
  }
  t.end()
})

void test('M11 a role: only its members count, and the verdict is for all', (t) => {
  const specs = NAMES.slice(0, 5).map((name) => ({ name, roles: name < 'd' ? ['store'] : ['web'] }))
  const cases: readonly (readonly [DowningOptions, Groups, string])[] = [
    [
      { role: 'store' },
      [
        ['a', 'b'],
        ['c', 'd', 'e'],
      ],
      'ab',
    ],
    [
      { role: 'store' },
      [
        ['a', 'd', 'e'],
        ['b', 'c'],
      ],
      'bc',
    ],
    [{ role: 'web' }, [['a', 'b', 'c', 'd'], ['e']], 'abcd'],
    [{ role: 'web' }, [['a', 'b', 'c', 'e'], ['d']], 'd'],
    [{ role: 'nobody' }, [['a', 'b', 'c', 'd'], ['e']], ''],
    [
      { strategy: 'static-quorum', quorumSize: 2, role: 'store' },
      [
        ['a', 'b'],
        ['c', 'd', 'e'],
      ],
      'ab',
    ],
    [{ strategy: 'keep-oldest', role: 'web' }, [['a', 'b', 'c', 'e'], ['d']], 'd'],
    [
      { strategy: 'lease', role: 'store' },
      [
        ['a', 'b'],
        ['c', 'd', 'e'],
      ],
      'ab',
    ],
    [
      { strategy: 'lease', role: 'nobody' },
      [
        ['a', 'b', 'c'],
        ['d', 'e'],
      ],
      '',
    ],
  ]
  for (const [options, groups, wanted] of cases) {
    t.same(outcomes(specs, options, groups), [wanted], `${JSON.stringify(options)} ${joined(groups)}`)
  }
  t.end()
})

// ---- members that only some can reach

/** All nodes see the same claims; who stays. */
function thinnedOut(
  claims: NonNullable<Sight['claims']>,
  names = NAMES.slice(0, 5),
  options: DowningOptions = {},
): string {
  const world = new DowningWorld(names, options)
  for (const name of names) world.see(name, { claims })
  world.runUntil(LONG_MS)
  for (const { name, atMs } of world.goers()) {
    if ((world.downed().get(name) ?? Infinity) <= atMs) throw new Error(`${name} went after it was replaced`)
  }
  return world.survivors().join('')
}

const shapes: readonly (readonly [string, NonNullable<Sight['claims']>, string])[] = [
  ['bridge', { a: ['d', 'e'], b: ['d', 'e'], d: ['a', 'b'], e: ['a', 'b'] }, 'abc'],
  ['bridge, one side claims', { a: ['d', 'e'], b: ['d', 'e'] }, 'abc'],
  ['majorities ring', { a: ['c', 'd'], b: ['d', 'e'], c: ['e', 'a'], d: ['a', 'b'], e: ['b', 'c'] }, 'ab'],
  ['one asymmetric pair', { b: ['d'] }, 'abce'],
  ['two pairs', { b: ['d'], e: ['a'] }, 'abc'],
  ['one that reaches nobody', { c: ['a', 'b', 'd', 'e'] }, 'abde'],
  ['the lowest reaches nobody', { b: ['a'], c: ['a'], d: ['a'], e: ['a'] }, 'bcde'],
  ['a chain', { a: ['c', 'd', 'e'], b: ['d', 'e'], c: ['a', 'e'], d: ['a', 'b'], e: ['a', 'b', 'c'] }, 'ab'],
  ['all from all', { a: ['b', 'c', 'd', 'e'], b: ['c', 'd', 'e'], c: ['d', 'e'], d: ['e'] }, 'a'],
  ['claims about strangers and oneself', { a: ['a', 'x'] }, 'abcde'],
]

for (const [name, claims, wanted] of shapes) {
  void test(`M11 indirectly connected, ${name}: exactly one connected set stays`, (t) => {
    t.equal(thinnedOut(claims), wanted)
    t.equal(thinnedOut(claims, undefined, { strategy: 'lease' }), wanted, 'under a lease too')
    t.equal(thinnedOut(claims, undefined, { strategy: 'keep-oldest' }), wanted, 'and with the oldest')
    t.equal(
      thinnedOut(claims, undefined, { strategy: 'static-quorum', quorumSize: 3 }),
      wanted.length >= 3 ? wanted : '',
      'a quorum is wanted after the thinning out as well',
    )
    t.end()
  })
}

void test('M11 indirectly connected: down-all goes for one missing edge', (t) => {
  t.equal(thinnedOut({ b: ['d'] }, undefined, { strategy: 'down-all' }), '')
  t.end()
})

void test('M11 Akka IndirectlyConnected3NodeSpec: two of three miss each other, one of the two goes', (t) => {
  // Akka takes both down; one is enough for all that stay to reach each other.
  t.equal(thinnedOut({ b: ['c'], c: ['b'] }, ['a', 'b', 'c']), 'ab')
  t.end()
})

void test('M11 Akka IndirectlyConnected5NodeSpec: a clean partition and a missing edge in its majority', (t) => {
  for (const order of [
    ['a', 'b', 'c', 'd', 'e'],
    ['e', 'd', 'c', 'b', 'a'],
  ]) {
    const world = new DowningWorld(['a', 'b', 'c', 'd', 'e'])
    const claims = { b: ['c'], c: ['b'] }
    for (const name of order) {
      world.see(name, { claims, unreachable: name < 'd' ? ['d', 'e'] : ['a', 'b', 'c'] })
      world.runUntil(world.nowMs + 500)
    }
    world.runUntil(LONG_MS)
    t.same(world.survivors(), ['a', 'b'])
    t.same(
      world
        .goers()
        .map(({ name, reason }) => `${name} ${reason}`)
        .sort(),
      ['c indirectly-connected', 'd minority', 'e minority'],
    )
  }
  t.end()
})

void test('M11 ring: who went and knocks again does not push out who stayed', (t) => {
  // Of a ring c and d stay, a is back, and reaches d but not c.
  const world = new DowningWorld(['a', 'c', 'd'])
  const table: readonly NodeSpec[] = [
    { name: 'a', incarnation: 2, status: 'joining' },
    { name: 'c' },
    { name: 'd' },
  ]
  for (const name of ['a', 'c', 'd']) world.see(name, { table, claims: { a: ['c'], c: ['a'] } })
  world.runUntil(LONG_MS)
  t.same(
    world.goers().map(({ name, reason }) => `${name} ${reason}`),
    ['a indirectly-connected'],
    'and not c, although its name is the higher one',
  )
  t.end()
})

void test('connectedNames: nobody in it misses another, nobody could be added, the order of the names is nothing', (t) => {
  const graph = fc.uniqueArray(fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f', 'g', 'h')).chain((names) =>
    fc.record({
      names: fc.constant(names),
      pairs: fc.array(fc.tuple(fc.constantFrom(...names, 'a'), fc.constantFrom(...names, 'a')), {
        maxLength: 14,
      }),
    }),
  )
  fc.assert(
    fc.property(graph, fc.nat(), fc.nat(), ({ names, pairs }, turn, drawn) => {
      const edges = new Map<string, Set<string>>()
      for (const [one, other] of pairs) {
        if (one === other) continue
        edges.set(one, (edges.get(one) ?? new Set()).add(other))
        edges.set(other, (edges.get(other) ?? new Set()).add(one))
      }
      const kept = connectedNames(names, edges)
      const misses = (name: string): boolean => [...(edges.get(name) ?? [])].some((other) => kept.has(other))
      const at = names.length === 0 ? 0 : turn % names.length
      const turned = connectedNames([...names.slice(at), ...names.slice(0, at)], edges)
      const newcomers = new Set<string>(names.filter((_name, i) => (drawn >> i) % 2 === 1))
      const others = names.filter((name) => !newcomers.has(name))
      const keptOfAll = [...connectedNames(names, edges, newcomers)]
      return (
        names.every((name) => kept.has(name) !== misses(name)) &&
        names.every(
          (name) => keptOfAll.includes(name) !== keptOfAll.some((one) => edges.get(one)?.has(name)),
        ) &&
        keptOfAll.filter((name) => !newcomers.has(name)).join() ===
          [...connectedNames(others, edges)].join() &&
        [...turned].sort().join() === [...kept].sort().join()
      )
    }),
    { seed: 4, numRuns: 500 },
  )
  t.end()
})

void test('connectedNames takes out who misses most, of equals the last by name, until nobody is missed', (t) => {
  const names = Array.from({ length: 12 }, (_, n) => `n${String(n).padStart(2, '0')}`)
  const pair = fc.tuple(fc.constantFrom(...names), fc.constantFrom(...names))
  fc.assert(
    fc.property(fc.array(pair, { maxLength: 40 }), (pairs) => {
      const edges = new Map(names.map((name) => [name, new Set<string>()]))
      for (const [one, other] of pairs) {
        if (one === other) continue
        edges.get(one)?.add(other)
        edges.get(other)?.add(one)
      }
      const kept = new Set(names)
      const missed = (name: string): number =>
        [...(edges.get(name) ?? [])].filter((other) => kept.has(other)).length
      const removed: string[] = []
      for (;;) {
        const most = Math.max(...[...kept].map(missed))
        if (most === 0) break
        const worst = [...kept].filter((name) => missed(name) === most).at(-1) ?? ''
        kept.delete(worst)
        removed.push(worst)
      }
      for (const name of removed.sort()) if (missed(name) === 0) kept.add(name)
      return [...connectedNames(names, edges)].sort().join() === [...kept].sort().join()
    }),
    { seed: 5, numRuns: 500 },
  )
  t.end()
})

void test('missingEdges: all claims of a thousand members, and a bounded number of those of more', (t) => {
  const claiming = (members: number) =>
    Array.from({ length: members }, (_, n) => ({
      ...{
        name: `n${String(n).padStart(5, '0')}`,
        incarnation: 1,
        address: 'ws://a:1',
        status: 'alive' as const,
      },
      ...{ reachable: true, suspected: false, isSelf: false, roles: [] },
      cannotReach: Array.from(
        { length: 64 },
        (_each, k) => `n${String((n + k + 1) % members).padStart(5, '0')}`,
      ),
    }))
  const count = (members: number): number =>
    [...missingEdges(claiming(members)).values()].reduce((sum, others) => sum + others.size, 0) / 2
  t.equal(count(1_000), 64_000)
  t.equal(count(10_000), 60_000, 'six of each')
  t.end()
})
