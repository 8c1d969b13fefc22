/** The wire form of SWIM's messages: read back as written, sized exactly, and nothing that arrives can throw. */
import fc from 'fast-check'
import { test } from 'tap'
import { sourceModule } from '../support/source-module.ts'

type SwimMessage = import('../../packages/cluster/src/membership/swim-message.ts').SwimMessage
type MemberRecord = import('../../packages/cluster/src/membership/member-table.ts').MemberRecord

const { pushPullParts, readSwimMessage, recordBytes, swimMessageBytes, writeSwimMessage } =
  await sourceModule<typeof import('../../packages/cluster/src/membership/swim-message.ts')>(
    'cluster',
    'membership/swim-message',
  )
const { encode, decode } = await sourceModule<typeof import('../../packages/runtime/src/codec/codec.ts')>(
  'runtime',
  'codec/codec',
)

const name = fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9._-]{0,39}$/)
const count = fc.oneof(fc.nat(300), fc.maxSafeNat())
const text = fc.string({ unit: 'grapheme', maxLength: 10 })
const record: fc.Arbitrary<MemberRecord> = fc
  .record({
    name,
    incarnation: count,
    port: fc.integer({ min: 0, max: 65_535 }),
    weight: fc.oneof(fc.nat(1_000), fc.double({ min: 0, max: 1_000, noNaN: true })),
    zone: fc.option(text, { nil: undefined }),
    roles: fc.array(fc.string({ unit: 'grapheme', minLength: 1, maxLength: 5 }), { maxLength: 4 }),
    version: text,
    refutation: count,
    kind: fc.constantFrom('joining', 'alive', 'leaving', 'suspect', 'unreachable', 'down', 'left'),
    phase: fc.constantFrom('joining', 'alive', 'leaving'),
    cannotReach: fc.array(name, { maxLength: 4 }),
    by: fc.option(name, { nil: undefined }),
    reason: fc.option(text, { nil: undefined }),
    entities: fc.option(fc.array(fc.string({ minLength: 1, maxLength: 9 }), { maxLength: 3 }), {
      nil: undefined,
    }),
  })
  .map(({ port, zone, by, reason, entities, kind, phase, ...rest }) => ({
    ...rest,
    kind,
    phase: kind === 'joining' || kind === 'alive' || kind === 'leaving' ? kind : phase,
    address: `ws://10.0.0.1:${port}` as MemberRecord['address'],
    ...(zone === undefined ? {} : { zone }),
    ...(by === undefined ? {} : { by }),
    ...(reason === undefined ? {} : { reason }),
    ...(entities === undefined ? {} : { entities }),
  }))
const records = fc.array(record, { maxLength: 6 })
const message: fc.Arbitrary<SwimMessage> = fc.oneof(
  fc.record({
    type: fc.constantFrom('ping' as const, 'ack' as const, 'nack' as const),
    sequence: count,
    records,
  }),
  fc.record({
    type: fc.constant('ping-req' as const),
    sequence: count,
    target: name,
    incarnation: count,
    records,
  }),
  fc.record({ type: fc.constant('gossip' as const), records }),
  fc.record({
    type: fc.constant('push-pull' as const),
    isAnswer: fc.boolean(),
    isLast: fc.boolean(),
    records,
  }),
  fc.record({ type: fc.constant('sync' as const), digest: count, records }),
)

void test('readSwimMessage gives back what writeSwimMessage wrote, through CBOR, and swimMessageBytes is its size', (t) => {
  fc.assert(
    fc.property(message, (sent) => {
      const bytes = encode(writeSwimMessage(sent))
      // Arbitraries make objects without a prototype; only what they say is compared.
      t.same(readSwimMessage(decode(bytes)), structuredClone(sent))
      t.equal(swimMessageBytes(sent), bytes.length)
    }),
    { numRuns: 300 },
  )
  t.end()
})

void test('readSwimMessage says what is wrong, and never throws', (t) => {
  fc.assert(
    fc.property(fc.anything({ maxDepth: 4, withNullPrototype: true }), (value) => {
      const found = readSwimMessage(value)
      return typeof found === 'string' || typeof found.type === 'string'
    }),
    { numRuns: 500 },
  )
  // Close to good ones: each with one value replaced.
  fc.assert(
    fc.property(message, fc.nat(), fc.nat(), fc.anything({ maxDepth: 2 }), (sent, first, second, value) => {
      const written = structuredClone(writeSwimMessage(sent)) as unknown[]
      const last = written.at(-1) as unknown[][]
      const target = last.length > 0 && first % 2 === 0 ? last[first % last.length] : written
      if (target !== undefined) target[second % target.length] = value
      const found = readSwimMessage(written)
      return typeof found === 'string' || typeof found.type === 'string'
    }),
    { numRuns: 1_000 },
  )
  t.end()
})

void test('readSwimMessage refuses what is too long or of the wrong form, by name', (t) => {
  const good: readonly unknown[] = ['a', 1, 'ws://h:1', 1, null, [], '', 0, 1]
  const withField = (index: number, value: unknown): unknown => [4, [good.with(index, value)]]
  t.type(readSwimMessage([4, [good]]), 'object')
  const bad: [unknown, RegExp][] = [
    [null, /must be an array/],
    [[9, []], /known type/],
    [['ping', 1, []], /known type/],
    [[0, -1, []], /ping: bad sequence/],
    [[0, 1.5, []], /ping: bad sequence/],
    [[1, 1, 'a b', 1, []], /bad target/],
    [[5, 4, []], /bad flags/],
    [[6, 'x', []], /bad digest/],
    [[4, Array.from({ length: 129 }, () => good)], /129 records; at most 128/],
    [withField(0, 'x'.repeat(129)), /bad name/],
    [withField(0, '__proto__ '), /bad name/],
    [withField(1, 2 ** 53), /bad incarnation/],
    [withField(2, 'http://h:1'), /bad address/],
    [withField(3, Number.NaN), /bad weight/],
    [withField(4, 'z'.repeat(129)), /bad zone/],
    [
      withField(
        5,
        Array.from({ length: 17 }, () => 'r'),
      ),
      /bad roles/,
    ],
    [withField(5, ['r'.repeat(65)]), /bad roles/],
    [withField(5, ['']), /bad roles/],
    [withField(6, 7), /bad version/],
    [withField(6, 'v'.repeat(65)), /bad version/],
    [withField(7, -1), /bad refutation/],
    [withField(8, 15), /bad kind/],
    [[4, [[...good, 'a b']]], /bad by/],
    [[4, [[...good, null, 'x'.repeat(129)]]], /bad reason/],
    [[4, [[...good, null, null, Array.from({ length: 65 }, () => 'n')]]], /bad cannotReach/],
    [[4, [[...good, null, null, null, Array.from({ length: 65 }, () => 'e')]]], /bad entities/],
    [[4, [[...good, null, null, null, ['e'.repeat(64)]]]], /bad entities/],
    [[4, [[...good, null, null, null, ['']]]], /bad entities/],
    [[4, [[...good, null, null, null, 'e']]], /bad entities/],
  ]
  for (const [value, wanted] of bad) t.match(readSwimMessage(value), wanted)

  // What a hello may say can be gossiped.
  const roles = Array.from({ length: 16 }, (_, index) => `${index}`.padEnd(64, 'r'))
  const most: readonly [number, unknown][] = [
    [3, 1_000],
    [4, 'z'.repeat(128)],
    [5, roles],
    [6, 'v'.repeat(64)],
  ]
  for (const [index, value] of most) t.type(readSwimMessage(withField(index, value)), 'object')
  const entities = Array.from({ length: 64 }, (_, index) => `${index}`.padEnd(63, 'e'))
  t.match(readSwimMessage([4, [[...good, null, null, null, entities]]]), { records: [{ entities }] })
  t.end()
})

void test('pushPullParts cuts a table by records and by bytes, and marks the last part', (t) => {
  const [one] = fc.sample(record, { numRuns: 1, seed: 1 })
  if (one === undefined) throw new Error('no sample')
  const many = Array.from({ length: 300 }, (_, index) => ({ ...one, name: `n${index}` }))
  const parts = pushPullParts(many, true)
  t.same(
    parts.map((part) => part.records.length),
    [128, 128, 44],
  )
  t.same(
    parts.map((part) => part.type === 'push-pull' && part.isLast),
    [false, false, true],
  )
  const fat = many.map((each) => ({
    ...each,
    cannotReach: Array.from({ length: 64 }, (_, index) => `${'x'.repeat(100)}${index}`),
  }))
  for (const part of pushPullParts(fat, true)) {
    t.ok(part.records.reduce((sum, each) => sum + recordBytes(each), 0) <= 65_536)
  }
  t.equal(pushPullParts([], false).length, 1, 'an empty table is one part')
  t.end()
})
