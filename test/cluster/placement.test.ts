import fc from 'fast-check'
import { test } from 'tap'

import { sourceModule } from '../support/source-module.ts'

const { murmur3, murmur3Bytes, murmur3Numbered } = await sourceModule<
  typeof import('../../packages/cluster/src/placement/hash.ts')
>('cluster', 'placement/hash')
const { HashRing } = await sourceModule<typeof import('../../packages/cluster/src/placement/hash-ring.ts')>(
  'cluster',
  'placement/hash-ring',
)

const { KindRings } = await sourceModule<typeof import('../../packages/cluster/src/placement/kind-rings.ts')>(
  'cluster',
  'placement/kind-rings',
)

type Member = { readonly name: string; readonly weight?: number; readonly zone?: string }

const named = (count: number): Member[] =>
  Array.from({ length: count }, (_, index) => ({ name: `node-${index}` }))
const keys = Array.from({ length: 20_000 }, (_, index) => `account/${index}`)

void test('murmur3 passes the verification of the reference implementation (SMHasher, 0xB0F57EE3)', (t) => {
  // SMHasher main.cpp: hash {}, {0}, {0,1}, ... with seed 256 - length, then hash the little-endian results
  // with seed 0.
  const hashes = Buffer.alloc(1_024)
  for (let length = 0; length < 256; length++) {
    const input = Uint8Array.from({ length }, (_, index) => index)
    hashes.writeUInt32LE(murmur3Bytes(input, 256 - length), length * 4)
  }
  t.equal(murmur3Bytes(hashes, 0), 0xb0f57ee3)
  t.end()
})

void test('murmur3 gives the published vectors', (t) => {
  const seed = 0x9747b28c
  const vectors: [string, number, number][] = [
    ['', 0, 0],
    ['', 1, 0x514e28b7],
    ['', 0xffffffff, 0x81f16f39],
    ['\0\0\0\0', 0, 0x2362f9de],
    ['aaaa', seed, 0x5a97808a],
    ['aaa', seed, 0x283e0130],
    ['aa', seed, 0x5d211726],
    ['a', seed, 0x7fa09ea6],
    ['abcd', seed, 0xf0478627],
    ['abc', seed, 0xc84a62dd],
    ['ab', seed, 0x74875592],
    ['Hello, world!', seed, 0x24884cba],
    ['ππππππππ', seed, 0xd58063c1],
    ['a'.repeat(256), seed, 0x37405bdc],
    ['abc', 0, 0xb3dd93fa],
    ['The quick brown fox jumps over the lazy dog', seed, 0x2fa826cd],
  ]
  for (const [text, from, hash] of vectors) t.equal(murmur3(text, from), hash, `"${text.slice(0, 20)}"`)
  t.end()
})

void test('murmur3 of a string is murmur3 of its UTF-8 bytes', (t) => {
  fc.assert(
    fc.property(
      fc.string({ unit: 'binary' }),
      fc.nat(),
      (text, seed) => murmur3(text, seed) === murmur3Bytes(new TextEncoder().encode(text), seed),
    ),
  )
  t.equal(murmur3('\ud800'), murmur3('\ufffd'), 'half a pair counts as U+FFFD')
  t.end()
})

void test('HashRing owner has not changed (golden)', (t) => {
  const ring = new HashRing([{ name: 'a' }, { name: 'b', weight: 2 }, { name: 'c', zone: 'z' }])
  const owners = ['', 'x', 'account/1', 'account/2', 'naïve', '/user/worker/7', '日本'].map((key) =>
    ring.owner(key),
  )
  t.strictSame(owners, ['c', 'a', 'b', 'c', 'a', 'b', 'c'])
  t.strictSame(
    [...ring.shares()].map(([name, share]) => [name, share.toFixed(6)]),
    [
      ['a', '0.273659'],
      ['b', '0.451102'],
      ['c', '0.275239'],
    ],
  )
  t.end()
})

void test('HashRing is the same whatever the order of its members', (t) => {
  const member = fc.record({
    name: fc.string({ minLength: 1, maxLength: 8 }),
    weight: fc.integer({ min: 0, max: 4 }),
    zone: fc.constantFrom(undefined, 'x', 'y'),
  })
  const members = fc.uniqueArray(member, { selector: ({ name }) => name, maxLength: 12 })
  fc.assert(
    fc.property(
      members.chain((list) =>
        fc.tuple(fc.constant(list), fc.shuffledSubarray(list, { minLength: list.length })),
      ),
      ([list, shuffled]) => {
        const a = new HashRing(list, { pointsPerWeight: 16 })
        const b = new HashRing(shuffled, { pointsPerWeight: 16 })
        for (const key of keys.slice(0, 50)) {
          t.equal(a.owner(key), b.owner(key))
          t.strictSame(a.preferenceList(key, 5), b.preferenceList(key, 5))
        }
        t.strictSame(a.shares(), b.shares())
      },
    ),
    { numRuns: 60 },
  )
  t.end()
})

void test('HashRing owner agrees with a plain sorted list of points, equal points going to the lesser name', (t) => {
  // A whole ring of collisions: 400,000 points in 2^32 places meet about 18 times.
  const members = named(400)
  const plain = members
    .flatMap(({ name }) =>
      Array.from({ length: 1_000 }, (_, point) => ({ name, at: murmur3(`${name}#${point}`) })),
    )
    .sort((a, b) => a.at - b.at || (a.name < b.name ? -1 : 1))
  const ring = new HashRing([...members].reverse(), { pointsPerWeight: 1_000 })
  const collisions = plain.flatMap((point, index) => (plain[index + 1]?.at === point.at ? [point] : []))
  t.ok(collisions.length > 0, 'points do collide')
  const shares = new Map(members.map(({ name }) => [name, 0]))
  for (const [index, point] of plain.entries()) {
    const before = plain[index - 1]?.at ?? (plain.at(-1)?.at ?? 0) - 2 ** 32
    shares.set(point.name, (shares.get(point.name) ?? 0) + (point.at - before) / 2 ** 32)
  }
  for (const [name, share] of ring.shares()) t.ok(Math.abs(share - (shares.get(name) ?? 0)) < 1e-9, name)
  for (const key of keys.slice(0, 5_000)) {
    const hash = murmur3(key)
    let low = 0
    let high = plain.length
    while (low < high) {
      const middle = (low + high) >> 1
      if ((plain[middle]?.at ?? 0) < hash) low = middle + 1
      else high = middle
    }
    if (ring.owner(key) !== (plain[low] ?? plain[0])?.name) t.fail(key)
  }
  t.end()
})

void test('HashRing without one member moves the keys of that member and no others', (t) => {
  fc.assert(
    fc.property(fc.integer({ min: 2, max: 12 }), fc.nat(), (count, pick) => {
      const members = named(count)
      const gone = `node-${pick % count}`
      const before = new HashRing(members)
      const after = new HashRing(members.filter(({ name }) => name !== gone))
      return keys
        .slice(0, 500)
        .every((key) =>
          before.owner(key) === gone
            ? after.owner(key) === before.preferenceList(key, 2)[1]
            : after.owner(key) === before.owner(key),
        )
    }),
    { numRuns: 40 },
  )
  t.pass()
  t.end()
})

void test('HashRing with one more member moves about 1/n of the keys, all of them to it', (t) => {
  for (const count of [2, 5, 10, 50]) {
    const before = new HashRing(named(count))
    const after = new HashRing(named(count + 1))
    const moved = keys.filter((key) => before.owner(key) !== after.owner(key))
    t.ok(
      moved.every((key) => after.owner(key) === `node-${count}`),
      'only to the new one',
    )
    const part = (moved.length / keys.length) * (count + 1)
    t.ok(part > 0.6 && part < 1.4, `${count} members: ${part.toFixed(2)} of a fair share moved`)
  }
  const heavier = new HashRing([{ name: 'a', weight: 2 }, { name: 'b' }])
  const lighter = new HashRing([{ name: 'a' }, { name: 'b' }])
  t.ok(
    keys.every((key) => lighter.owner(key) === heavier.owner(key) || heavier.owner(key) === 'a'),
    'so does weight',
  )
  t.end()
})

void test('HashRing shares stay within the published deviation for 128 points', (t) => {
  // params: relative standard deviation 6.5 % (5), 8.2 % (10), 9.2 % (50); 1/sqrt(128) = 8.8 %. One ring of n
  // members estimates it with an error of 1/sqrt(2n), so twenty rings of each size are averaged.
  for (const count of [5, 10, 50]) {
    let variance = 0
    let sum = 0
    for (let trial = 0; trial < 20; trial++) {
      const shares = [
        ...new HashRing(named(count).map(({ name }) => ({ name: `${trial}-${name}` }))).shares().values(),
      ]
      sum += shares.reduce((total, share) => total + share, 0) / 20
      variance += shares.reduce((total, share) => total + (share * count - 1) ** 2, 0) / count / 20
    }
    t.ok(Math.abs(sum - 1) < 1e-9, 'shares add up to 1')
    t.ok(
      Math.sqrt(variance) < 0.11 && Math.sqrt(variance) > 0.05,
      `${count}: ${(Math.sqrt(variance) * 100).toFixed(1)} %`,
    )
  }
  const weighted = new HashRing([
    { name: 'a', weight: 3 },
    { name: 'b' },
    { name: 'off', weight: 0 },
  ]).shares()
  t.ok(Math.abs((weighted.get('a') ?? 0) - 0.75) < 0.06, 'in proportion to weight')
  t.equal(weighted.get('off'), 0)
  t.end()
})

void test('HashRing preferenceList begins with the owner, takes each zone once, then fills up', (t) => {
  const members = named(9).map(({ name }, index) => ({ name, zone: `zone-${index % 3}` }))
  const ring = new HashRing(members)
  const zoneOf = new Map(members.map(({ name, zone }) => [name, zone]))
  for (const key of keys.slice(0, 300)) {
    const list = ring.preferenceList(key, 5)
    t.equal(list[0], ring.owner(key))
    t.equal(new Set(list).size, 5, 'distinct')
    t.equal(new Set(list.slice(0, 3).map((name) => zoneOf.get(name))).size, 3, 'three zones first')
    t.strictSame(ring.preferenceList(key, 3), list.slice(0, 3))
  }
  t.equal(ring.preferenceList('k', 50).length, 9, 'no more than there are')
  t.strictSame(ring.preferenceList('k', 0), [])
  t.strictSame(
    new HashRing(named(4)).preferenceList('k', 4).sort(),
    ['node-0', 'node-1', 'node-2', 'node-3'],
    'no zones',
  )
  t.end()
})

void test('HashRing with nobody in it owns nothing, and refuses what it cannot place', (t) => {
  const empty = new HashRing([])
  t.equal(empty.owner('k'), undefined)
  t.strictSame(empty.preferenceList('k', 3), [])
  t.equal(empty.shares().size, 0)
  t.equal(new HashRing([{ name: 'a', weight: 0 }]).owner('k'), undefined)
  t.equal(new HashRing([{ name: 'a' }], { pointsPerWeight: 1 }).owner('k'), 'a')
  t.throws(() => new HashRing([{ name: 'a' }, { name: 'a' }]), /"a" is in it twice/)
  t.throws(() => new HashRing([{ name: 'a', weight: -1 }]), RangeError)
  t.throws(() => new HashRing([{ name: 'a', weight: NaN }]), RangeError)
  t.throws(() => new HashRing([{ name: 'a' }], { pointsPerWeight: 0 }), RangeError)
  t.throws(() => new HashRing(named(40), { pointsPerWeight: 65_536 * 2 }), RangeError)
  t.end()
})

void test('HashRing: members of any weights have a ring, of 4,194,304 points at most, and keep their shares', (t) => {
  const heavy = named(40).map((member) => ({ ...member, weight: 1_000 }))
  const ring = new HashRing([...heavy, { name: 'honest', weight: 500 }])
  const shares = ring.shares()
  t.ok(
    Math.abs((shares.get('honest') ?? 0) * 81 - 1) < 0.1,
    'half of a share of one that weighs twice as much',
  )
  // 40,500 * 128 points would be too many: it is the ring of half as many.
  t.strictSame(
    shares,
    new HashRing([...heavy, { name: 'honest', weight: 500 }], { pointsPerWeight: 64 }).shares(),
  )
  t.equal(new HashRing(named(65), { pointsPerWeight: 65_536 }).shares().size, 65)
  t.end()
})

void test('murmur3Numbered is murmur3 of the prefix and the number', (t) => {
  fc.assert(
    fc.property(
      fc.string({ unit: 'binary' }),
      fc.integer({ min: 0, max: 99_999_999 }),
      fc.nat(),
      (prefix, number, seed) => murmur3Numbered(prefix, seed)(number) === murmur3(`${prefix}${number}`, seed),
    ),
  )
  t.end()
})

void test('KindRings: a ring is built when a key is first looked up in it, and once', (t) => {
  const members = named(3).map((member) => ({ ...member, entities: ['account'] }))
  const rings = new KindRings([...members, { name: 'web', entities: [] }])
  t.equal(rings.built, 0, 'a view that nobody asks costs none')
  const { all } = rings
  for (const kind of ['account', 'account', 'nobody has it', 'nor this']) rings.of(kind)
  t.equal(rings.all, all)
  t.equal(rings.of('nobody has it'), all)
  t.equal(rings.built, 2, 'of all, and of those that have accounts')
  t.end()
})
