/**
 * The contract of `Random` as tests, for real and recorded streams alike.
 */
import type { Random } from '../platform/platform.ts'
import type { DeclareTest } from './contract-test.ts'

export interface RandomContractOptions {
  /** The stream of `seed`: the same seed must give the same stream. */
  readonly make: (seed: number) => Random
}

const draws = 20_000

/** Declares the tests of the contract with `test`. Their names begin with `Random`. Statistical bounds hold for fixed seeds. */
export function randomContract(test: DeclareTest, options: RandomContractOptions): void {
  const { make } = options

  void test('Random u32 gives whole numbers in [0, 2^32), evenly', async (own) => {
    const random = make(1)
    const bits = new Array<number>(32).fill(0)
    let outside = 0
    for (let i = 0; i < draws; i++) {
      const value = random.u32()
      if (!Number.isInteger(value) || value < 0 || value >= 2 ** 32) outside += 1
      for (let bit = 0; bit < 32; bit++) bits[bit] = (bits[bit] ?? 0) + ((value >>> bit) & 1)
    }
    own.equal(outside, 0, 'none outside')
    // Six standard deviations of a fair coin: a sound generator never gets there, a stuck bit always does.
    const slack = 6 * Math.sqrt(draws / 4)
    own.same(
      bits.filter((ones) => Math.abs(ones - draws / 2) > slack),
      [],
      'each bit is set half the time',
    )
  })

  void test('Random int is even over any span, ends included', async (own) => {
    const random = make(2)
    const counts = new Array<number>(7).fill(0)
    for (let i = 0; i < draws; i++) {
      const value = random.int(-3, 3)
      counts[value + 3] = (counts[value + 3] ?? 0) + 1
    }
    const slack = 6 * Math.sqrt((draws / 7) * (6 / 7))
    own.same(
      counts.filter((count) => Math.abs(count - draws / 7) > slack),
      [],
      'seven results, equally often',
    )
    own.equal(counts.length, 7, 'nothing outside')
    own.equal(random.int(5, 5), 5, 'a span of one')
    const wide = Array.from({ length: 1_000 }, () => random.int(0, Number.MAX_SAFE_INTEGER - 1))
    own.ok(
      wide.every((value) => Number.isSafeInteger(value) && value >= 0),
      'a span of 2^53',
    )
    own.ok(
      wide.some((value) => value > 2 ** 52) && wide.some((value) => value < 2 ** 52),
      'both halves of it',
    )
    const above = Array.from({ length: 3_000 }, () => random.int(0, 3 * 2 ** 30 - 1))
    const lower = above.filter((value) => value < 2 ** 31).length
    own.ok(
      Math.abs(lower - 2_000) < 6 * Math.sqrt((3_000 * 2) / 9),
      'no bias where the span does not divide 2^32',
    )
  })

  void test('Random int refuses crossed, broken and huge bounds', async (own) => {
    const random = make(3)
    for (const [low, high] of [
      [1, 0],
      [0.5, 3],
      [0, Number.NaN],
      [0, Infinity],
      [-(2 ** 53) + 1, 2 ** 53 - 1],
    ] as const) {
      own.throws(() => random.int(low, high), { name: 'RangeError' }, `${low} to ${high}`)
    }
  })

  void test('Random float is in [0, 1), evenly', async (own) => {
    const random = make(4)
    let sum = 0
    let outside = 0
    for (let i = 0; i < draws; i++) {
      const value = random.float()
      if (!(value >= 0 && value < 1)) outside += 1
      sum += value
    }
    own.equal(outside, 0, 'none outside')
    own.ok(Math.abs(sum / draws - 0.5) < 6 / Math.sqrt(12 * draws), 'one half on average')
  })

  void test('Random is a pure function of its seed', async (own) => {
    own.same(take(make(5)), take(make(5)), 'the same seed, the same stream')
    own.ok(take(make(5)).join() !== take(make(6)).join(), 'another seed, another stream')
  })

  void test('Random fork depends on seed and label alone, not on what was drawn', async (own) => {
    const fresh = make(7)
    const used = make(7)
    take(used)
    own.same(take(used.fork('timers')), take(fresh.fork('timers')), 'drawing changes no fork')
    const undisturbed = make(7)
    const forking = make(7)
    take(forking.fork('a'))
    own.same(take(forking), take(undisturbed), 'forking and drawing from a fork changes no parent')
  })

  void test('Random forks of different labels, depths and seeds are different streams', async (own) => {
    const root = make(8)
    const streams = [
      root,
      root.fork(''),
      root.fork('').fork(''),
      root.fork('a'),
      root.fork('b'),
      root.fork('ab'),
      root.fork('a').fork('b'),
      root.fork('b').fork('a'),
      make(9).fork('a'),
    ].map((random) => take(random).join())
    own.equal(new Set(streams).size, streams.length, 'no two alike')
  })
}

function take(random: Random): number[] {
  return Array.from({ length: 16 }, () => random.u32())
}
