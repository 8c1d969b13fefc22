import { test } from 'tap'
import {
  figureSample,
  median,
  percentile,
  rateSample,
  sampleValue,
  spread,
} from '@understudy/bench/harness/sample'

test('sampleValue', (t) => {
  t.equal(sampleValue(rateSample(500, 250)), 2_000, 'is operations a second for a rate')
  t.equal(sampleValue(figureSample(144, 3_000)), 144, 'is the figure itself, whatever it took')
  t.throws(() => sampleValue(rateSample(5, 0)), RangeError, 'refuses a rate that took no time')
  t.throws(() => sampleValue(rateSample(5, Number.NaN)), RangeError, 'refuses a rate of unknown duration')
  t.end()
})

test('median', (t) => {
  t.equal(median([3, 1, 2]), 2, 'is the middle of an odd count, in any order')
  t.equal(median([10, 2, 1, 4]), 3, 'is the mean of the middle two of an even count')
  t.equal(median([10, 9, 100]), 10, 'compares as numbers, not as text')
  t.equal(median([7]), 7)
  t.throws(() => median([]), RangeError, 'refuses no values')
  t.end()
})

test('percentile', (t) => {
  const hundred = Float64Array.from({ length: 100 }, (_, i) => 100 - i)
  t.equal(percentile(hundred, 99), 99, 'takes the nearest rank')
  t.equal(percentile(hundred, 50), 50)
  t.equal(percentile(hundred, 100), 100)
  t.equal(percentile([5], 1), 5)
  t.equal(hundred[0], 100, 'leaves its argument as it was')
  t.throws(() => percentile([], 50), RangeError, 'refuses no values')
  t.throws(() => percentile([1], 0), RangeError, 'refuses the zeroth percentile')
  t.throws(() => percentile([1], 101), RangeError)
  t.end()
})

test('spread has median, extremes and count', (t) => {
  t.same(spread([4, 1, 9]), { median: 4, min: 1, max: 9, runs: 3 })
  t.throws(() => spread([]), RangeError)
  t.end()
})
