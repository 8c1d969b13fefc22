/** The arithmetic and the small parts of SWIM: suspicion, awareness, dissemination, round trips, the order of records. */
import fc from 'fast-check'
import { test } from 'tap'
import { sourceModule } from '../support/source-module.ts'
import { bedFacts, bedRandom, bedRecord } from '../support/swim-bed.ts'
import type { BedRecord } from '../support/swim-bed.ts'

const { Suspicion, confirmationsWanted, suspicionMinMs, suspicionTimeoutMs } = await sourceModule<
  typeof import('../../packages/cluster/src/membership/suspicion.ts')
>('cluster', 'membership/suspicion')
const { Awareness, failedProbePoints, latenessPoints } = await sourceModule<
  typeof import('../../packages/cluster/src/membership/awareness.ts')
>('cluster', 'membership/awareness')
const { DisseminationQueue, retransmitLimit } = await sourceModule<
  typeof import('../../packages/cluster/src/membership/dissemination.ts')
>('cluster', 'membership/dissemination')
const { MemberEntry, MemberTable, compareRecords, judgeRecord } = await sourceModule<
  typeof import('../../packages/cluster/src/membership/member-table.ts')
>('cluster', 'membership/member-table')
const { noteRoundTrip, probeTimeoutMs } = await sourceModule<
  typeof import('../../packages/cluster/src/membership/round-trip.ts')
>('cluster', 'membership/round-trip')
const { pushPullIntervalMs } = await sourceModule<
  typeof import('../../packages/cluster/src/membership/swim-options.ts')
>('cluster', 'membership/swim-options')
const { recordBytes } = await sourceModule<
  typeof import('../../packages/cluster/src/membership/swim-message.ts')
>('cluster', 'membership/swim-message')
const { SwimCore } = await sourceModule<typeof import('../../packages/cluster/src/membership/swim-core.ts')>(
  'cluster',
  'membership/swim-core',
)

const recordOf = (index: number, refutation = 0): BedRecord => ({
  ...bedRecord(bedFacts(`n${String(index).padStart(3, '0')}`, index, 1), 'alive'),
  refutation,
})

void test('suspicion: the table of params (lan): minimum, one confirmation, maximum', (t) => {
  const table: [number, number, number, number, number][] = [
    // n, wanted, minimum, with one confirmation, maximum
    [1, 0, 4_000, 4_000, 4_000],
    [3, 0, 4_000, 4_000, 4_000],
    [4, 2, 4_000, 11_381, 24_000],
    [5, 2, 4_000, 11_381, 24_000],
    [10, 2, 4_000, 11_381, 24_000],
    [100, 2, 8_000, 22_762, 48_000],
    [1_000, 2, 12_000, 34_144, 72_000],
    [10_000, 2, 16_000, 45_525, 96_000],
  ]
  for (const [n, wanted, min, one, max] of table) {
    t.equal(Math.round(suspicionMinMs(4, n, 1_000)), min, `${n}: minimum`)
    t.equal(confirmationsWanted(4, n), wanted, `${n}: wanted`)
    const least = suspicionMinMs(4, n, 1_000)
    t.equal(suspicionTimeoutMs(0, wanted, least, 6 * least), max, `${n}: none`)
    t.equal(suspicionTimeoutMs(1, wanted, least, 6 * least), one, `${n}: one`)
    t.equal(suspicionTimeoutMs(2, wanted, least, 6 * least), min, `${n}: two`)
  }
  t.equal(confirmationsWanted(6, 5), 0, 'wan: four are wanted, three others exist')
  t.equal(confirmationsWanted(6, 6), 4)
  const suspicion = new Suspicion(
    'a',
    5,
    { suspicionMult: 4, suspicionMaxMult: 6, probeIntervalMs: 1_000 },
    100,
  )
  t.same(
    ['a', 'b', 'b', 'c', 'd'].map((by) => suspicion.confirm(by)),
    [false, true, false, true, false],
  )
  t.equal(suspicion.deadlineMs, 4_100)
  t.end()
})

void test('awareness: 0 to 7, scales by one more, and what it costs to be late or unanswered', (t) => {
  const awareness = new Awareness()
  awareness.add(-1)
  t.equal(awareness.score, 0)
  awareness.add(3)
  t.equal(awareness.scale(500), 2_000)
  awareness.add(100)
  t.equal(awareness.scale(500), 4_000)
  t.same(
    [0, 249, 250, 999, 1_000, 1_001, 2_500].map((late) => latenessPoints(late, 1_000)),
    [0, 0, 1, 1, 1, 2, 3],
  )
  t.same(
    [failedProbePoints(0, 0), failedProbePoints(3, 3), failedProbePoints(3, 1), failedProbePoints(3, 0)],
    [1, 0, 2, 3],
  )
  t.end()
})

void test('M9: a newer record of a member takes the place of the older, and begins anew', (t) => {
  const queue = new DisseminationQueue(1_000)
  const take = (limit = 10): string[] => {
    const into: BedRecord[] = []
    queue.take(into, 16, 1_200, limit)
    return into.map(({ name, refutation }) => `${name}@${refutation}`)
  }
  queue.add(recordOf(1))
  take()
  take()
  queue.add(recordOf(1, 5))
  t.equal(queue.length, 1)
  t.same(take(), ['n001@5'], 'the older is gone')
  for (let times = 2; times <= 10; times++) t.same(take(), ['n001@5'], `${times} times`)
  t.same(take(), [], 'the limit counts from the newer one')
  t.end()
})

void test('M9: of ends at other addresses the last one stays, and above its bound what was passed on most is dropped', (t) => {
  const queue = new DisseminationQueue(5)
  const take = (): string[] => {
    const into: BedRecord[] = []
    queue.take(into, 16, 10_000, 10)
    return into.map(({ name, incarnation, kind }) => `${name} ${incarnation} ${kind}`)
  }
  const place = (life: number): BedRecord['address'] => `ws://10.0.0.${life}:7001` as BedRecord['address']
  for (let life = 1; life <= 4; life++)
    queue.add({ ...recordOf(1), incarnation: life, address: place(life), kind: 'down' })
  queue.add({ ...recordOf(1), incarnation: 5, address: place(5) })
  t.same(take(), ['n001 5 alive', 'n001 4 down'])
  for (let index = 2; index <= 9; index++) queue.add(recordOf(index))
  t.equal(queue.length, 5)
  t.same(
    take().map((text) => text.slice(0, 4)),
    ['n005', 'n006', 'n007', 'n008', 'n009'],
  )
  t.end()
})

void test('M9: those that were passed on least go first, and the limit grows with the logarithm of the members', (t) => {
  const queue = new DisseminationQueue(1_000)
  const take = (most: number): string[] => {
    const into: BedRecord[] = []
    queue.take(into, most, 1_200, 4)
    return into.map(({ name }) => name)
  }
  for (const index of [1, 2, 3]) queue.add(recordOf(index))
  t.same(take(2), ['n001', 'n002'])
  t.same(take(2), ['n003', 'n001'])
  queue.add(recordOf(4))
  t.same(take(2), ['n004', 'n002'])
  let taken = 0
  while (queue.length > 0) taken += take(3).length
  t.equal(taken, 4 * 4 - 6, 'each four times in all')
  t.same(
    [1, 5, 9, 10, 99, 100, 999, 1_000].map((n) => retransmitLimit(4, n)),
    [4, 4, 4, 8, 8, 12, 12, 16],
  )
  t.end()
})

void test('M9: what rides on a message is bounded by records and by bytes', (t) => {
  const queue = new DisseminationQueue(1_000)
  for (let index = 0; index < 200; index++) queue.add(recordOf(index))
  const into: BedRecord[] = []
  queue.take(into, 16, 1_200, 4)
  t.equal(into.length, 16)
  const wide = new DisseminationQueue(1_000)
  for (let index = 0; index < 20; index++) wide.add({ ...recordOf(index), version: 'x'.repeat(120) })
  const few: BedRecord[] = []
  wide.take(few, 16, 1_200, 4)
  t.ok(few.length > 3 && few.length < 16)
  t.ok(few.reduce((sum, record) => sum + recordBytes(record), 0) <= 1_200)
  const must = [recordOf(0)]
  wide.take(must, 16, 1_200, 4)
  t.equal(must.filter(({ name }) => name === 'n000').length, 1, 'what must ride is not taken twice')
  const alone = new DisseminationQueue(1_000)
  alone.add({
    ...recordOf(1),
    cannotReach: Array.from({ length: 64 }, (_, index) => `${'n'.repeat(60)}${index}`),
  })
  const one: BedRecord[] = []
  alone.take(one, 16, 1_200, 4)
  t.equal(one.length, 1, 'one goes, however large')
  t.end()
})

void test('round trips: RFC 6298, within the bounds', (t) => {
  const entry = new MemberEntry(recordOf(1))
  t.equal(probeTimeoutMs(entry, 100, 500), 500, 'nothing measured')
  noteRoundTrip(entry, 40)
  t.equal(probeTimeoutMs(entry, 100, 500), 120, '40 + 4 * 20')
  noteRoundTrip(entry, 40)
  t.equal(probeTimeoutMs(entry, 10, 500), 100, '40 + 4 * 15')
  for (let times = 0; times < 50; times++) noteRoundTrip(entry, 40)
  t.equal(probeTimeoutMs(entry, 100, 500), 100, 'never below the least')
  noteRoundTrip(entry, 4_000)
  t.equal(probeTimeoutMs(entry, 100, 500), 500, 'nor above the most')
  t.end()
})

void test('push-pull: its interval grows above 32 members', (t) => {
  t.same(
    [1, 32, 33, 64, 65, 1_000].map((n) => pushPullIntervalMs(30_000, n)),
    [30_000, 30_000, 60_000, 60_000, 90_000, 180_000],
  )
  t.end()
})

const kind = fc.constantFrom('joining', 'alive', 'leaving', 'suspect', 'unreachable', 'down', 'left')
const anyRecord: fc.Arbitrary<BedRecord> = fc
  .record({
    who: fc.nat(3),
    incarnation: fc.integer({ min: 1, max: 3 }),
    refutation: fc.nat(3),
    kind,
    phase: fc.constantFrom('joining', 'alive', 'leaving'),
    by: fc.constantFrom('n001', 'n002', 'n003'),
    cannotReach: fc.constantFrom([], ['n001'], ['n001', 'n002']),
    entities: fc.constantFrom(undefined, [], ['cart']),
  })
  .map(({ who, incarnation, refutation, kind: is, phase, by, cannotReach, entities }) => {
    const own = is === 'joining' || is === 'alive' || is === 'leaving'
    const base = { ...bedFacts(`n00${who}`, who, incarnation), refutation, kind: is, phase: own ? is : phase }
    const kinds = entities === undefined ? {} : { entities }
    return { ...base, ...kinds, cannotReach, ...(own || is === 'left' ? {} : { by }) }
  })

void test('compareRecords is a total order of the records of one life, and judgeRecord never changes its mind', (t) => {
  fc.assert(
    fc.property(anyRecord, anyRecord, anyRecord, (x, y, z) => {
      const [a, b, c] = [x, y, z].map((record) => ({
        ...record,
        name: 'n000',
        incarnation: 1,
        address: x.address,
      }))
      if (a === undefined || b === undefined || c === undefined) return false
      if (Math.sign(compareRecords(a, b)) !== -Math.sign(compareRecords(b, a))) return false
      if (compareRecords(a, b) > 0 && judgeRecord(a, b) === 'newer') return false
      return !(compareRecords(a, b) > 0 && compareRecords(b, c) > 0) || compareRecords(a, c) > 0
    }),
    { numRuns: 2_000 },
  )
  t.end()
})

void test('any records in any order and multiplicity come to the same table, and the same digest', (t) => {
  const shuffled = fc.array(anyRecord, { minLength: 1, maxLength: 14 }).chain((records) =>
    fc.tuple(
      fc.constant(records),
      fc.shuffledSubarray([...records, ...records, ...records.slice(0, 3)], {
        minLength: 2 * records.length + Math.min(3, records.length),
      }),
    ),
  )
  fc.assert(
    fc.property(shuffled, fc.nat(5), ([records, again], chunk) => {
      const merged = [records, again].map((list) => {
        const core = new SwimCore({ self: bedFacts('zz', 99, 1), random: bedRandom(1) })
        core.step({ type: 'started' }, 0)
        for (let from = 0; from < list.length; from += chunk + 1) {
          const message = { type: 'gossip' as const, records: list.slice(from, from + chunk + 1) }
          core.step({ type: 'received', from: 'yy', incarnation: 1, message }, 0)
        }
        return { table: core.table(), digest: core.digest() }
      })
      t.same(merged[1], merged[0])
      return true
    }),
    { numRuns: 400 },
  )
  t.end()
})

void test('MemberTable: the digest names the living, whatever the way they came', (t) => {
  const a = new MemberTable(recordOf(0), 100)
  const b = new MemberTable(recordOf(0), 100)
  for (const index of [1, 2, 3]) a.add(recordOf(index), 0)
  for (const index of [3, 1, 2]) b.add(recordOf(index), 0)
  t.equal(a.digest, b.digest)
  t.ok(Number.isSafeInteger(a.digest))
  const entry = a.get('n002')
  if (entry === undefined) throw new Error('no entry')
  a.update(entry, recordOf(2, 1), 0)
  t.not(a.digest, b.digest)
  a.update(entry, { ...recordOf(2, 1), kind: 'down' }, 0)
  const without = new MemberTable(recordOf(0), 100)
  for (const index of [1, 3]) without.add(recordOf(index), 0)
  t.equal(a.digest, without.digest, 'who ended is not in it')
  t.same(a.living.map(({ record }) => record.name).sort(), ['n001', 'n003'])
  t.end()
})
