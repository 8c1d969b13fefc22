/** checkSetFull: each fault by name, sets that keep what they were given, and bent histories. */
import fc from 'fast-check'
import { test } from 'tap'
import { SeededNumbers, concurrentHistory } from '../../support/concurrent-history.ts'
import { sourceModule } from '../../support/source-module.ts'

const { checkSetFull } = await sourceModule<
  typeof import('../../../packages/runtime/src/checker/set-full.ts')
>('runtime', 'checker/set-full')

type SetOp = Parameters<typeof checkSetFull<number>>[0][number]

const never = Number.POSITIVE_INFINITY

function add(value: number, call: number, ret: number): SetOp {
  return { client: 1, in: { type: 'add', value }, out: undefined, call, ret }
}

function read(values: readonly number[], call: number, ret: number): SetOp {
  return { client: 2, in: { type: 'read' }, out: values, call, ret }
}

void test('checkSetFull: lost', async (t) => {
  const seen = checkSetFull([add(1, 0, 1), read([1], 2, 3), read([], 4, 5)], { linearizable: false })
  t.equal(seen.verdict, 'illegal')
  t.match(
    seen.reason,
    /^lost: 1 was added at 0, acknowledged at 1; a read by client 2 that began at 4 did not see it, and none did after one that began at 2/,
  )
  t.same(seen.faults[0]?.operations, [0, 2])
  t.equal(seen.counts.lost, 1)
  t.match(checkSetFull([add(1, 0, 1), read([], 4, 5)]).reason, /and no read ever did/)
  const unknown = checkSetFull([add(1, 0, never), read([1], 2, 3), read([], 4, 5)])
  t.equal(unknown.counts.lost, 1, 'once it was read it has to stay')
  t.match(unknown.reason, /never acknowledged, read by client 2 at 3/)
})

void test('checkSetFull: stale', async (t) => {
  const late = [add(1, 0, 1), read([], 5, 6), read([], 7, 8), read([1], 9, 10)]
  const strict = checkSetFull(late)
  t.equal(strict.verdict, 'illegal')
  t.match(
    strict.reason,
    /^stale: 1 was added at 0, acknowledged at 1, but a read by client 2 that began at 5 did not see it/,
  )
  const lax = checkSetFull(late, { linearizable: false })
  t.equal(lax.verdict, 'ok')
  t.match(lax.counts, { stable: 1, stale: 1, lost: 0 })
  t.match(lax.stableLatency, { p50: 6, max: 6 })
  const back = [add(1, 0, never), read([1], 2, 3), read([], 4, 5), read([1], 6, 7)]
  t.equal(checkSetFull(back).counts.stale, 1, 'gone and back')
  const concurrent = [add(1, 0, 5), read([1], 1, 9), read([], 2, 3), read([1], 10, 11)]
  t.equal(checkSetFull(concurrent).verdict, 'ok', 'not known before one that saw it returned')
  t.equal(
    checkSetFull([add(1, 0, 5), read([], 5, 6), read([1], 7, 8)]).verdict,
    'ok',
    'concurrent at one instant',
  )
})

void test('checkSetFull: unexpected and duplicated', async (t) => {
  t.match(
    checkSetFull([read([7], 0, 1)]).reason,
    /^unexpected: 7 was read by client 2 at 0\.\.1, but nobody ever added it/,
  )
  t.match(checkSetFull([read([1], 0, 1), add(1, 2, 3), read([1], 4, 5)]).reason, /before it was added at 2/)
  const twice = checkSetFull([add(1, 0, 1), read([1, 1], 2, 3)])
  t.match(twice.reason, /^duplicated: 1 was read by client 2 at 2\.\.3, twice in one list/)
})

void test('checkSetFull: unknown outcomes, and what nobody read', async (t) => {
  const late = checkSetFull([add(1, 0, never), add(2, 0, 1), read([2], 2, 3), read([1, 2], 90, 91)])
  t.equal(late.verdict, 'ok')
  t.equal(late.counts.recovered, 1)
  const after = checkSetFull([add(1, 0, 1), read([1], 2, 3), add(2, 4, 5)])
  t.equal(after.verdict, 'ok')
  t.equal(after.counts.neverRead, 1)
  t.equal(checkSetFull([add(1, 0, 1)]).verdict, 'unknown')
  t.match(checkSetFull([add(1, 0, 1), read([], 2, never)]).reason, /Nothing can be told of 1 elements/)
  t.equal(checkSetFull([]).verdict, 'ok')
  t.throws(
    () => checkSetFull([add(1, 0, 1), add(1, 2, 3)]),
    /1 is added twice; every element must be added once/,
  )
  t.throws(
    () => checkSetFull([{ ...read([], 0, 1), out: undefined }]),
    /read 0: it returned at 1 without a list/,
  )
})

/** A set that is right; the last call reads it. */
function setHistory(seed: number, operations: number): SetOp[] {
  const values = new Set<number>()
  const isLast = (index: number): boolean => index === operations - 1
  return concurrentHistory<SetOp['in'], SetOp['out']>({
    random: new SeededNumbers(seed),
    clients: 4,
    operations,
    unknownPercent: 5,
    isAlone: isLast,
    input: (random, index) =>
      isLast(index) || random.chance(40) ? { type: 'read' } : { type: 'add', value: index },
    apply: (input) => {
      if (input.type === 'read') return [...values]
      values.add(input.value)
      return true
    },
  })
}

const seeds = fc.integer({ min: 0, max: 0x7fffffff })

void test('checkSetFull: a right set is never found guilty', async (t) => {
  fc.assert(
    fc.property(seeds, fc.integer({ min: 1, max: 80 }), (seed, operations) => {
      const { verdict, counts } = checkSetFull(setHistory(seed, operations))
      return verdict !== 'illegal' && counts.stale === 0
    }),
  )
  t.pass()
})

void test('checkSetFull agrees with looking at every element and read', async (t) => {
  const found = { lost: 0, stale: 0, fine: 0 }
  for (let seed = 0; seed < 600; seed++) {
    const random = new SeededNumbers(seed)
    // Reads forget single elements.
    const history = setHistory(seed, 25).map((op) =>
      Array.isArray(op.out) && random.chance(20)
        ? { ...op, out: op.out.filter(() => random.chance(80)) }
        : op,
    )
    const reads = history.flatMap((op) =>
      Array.isArray(op.out) && op.ret !== never ? [{ ...op, out: op.out as number[] }] : [],
    )
    const expected = { lost: 0, stale: 0 }
    for (const op of history) {
      if (op.in.type !== 'add') continue
      const { value } = op.in
      const saw = reads.filter((one) => one.out.includes(value))
      const knownAt = Math.min(op.ret, ...saw.map((one) => one.ret))
      const missed = reads.filter((one) => one.call > knownAt && !one.out.includes(value))
      const last = missed.toSorted((a, b) => b.call - a.call)[0]
      const lastSaw = saw.toSorted((a, b) => b.call - a.call)[0]
      if (last === undefined) continue
      const isLost = lastSaw === undefined || lastSaw.ret < last.call
      expected[isLost ? 'lost' : 'stale']++
    }
    const verdict = checkSetFull(history)
    t.match(verdict.counts, expected, `seed ${seed}: ${verdict.reason}`)
    t.equal(verdict.verdict === 'illegal', expected.lost + expected.stale > 0)
    found.lost += expected.lost
    found.stale += expected.stale
    if (expected.lost + expected.stale === 0) found.fine++
  }
  t.ok(found.lost > 50 && found.stale > 50 && found.fine > 50, JSON.stringify(found))
})
