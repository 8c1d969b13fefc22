/** What `npm run bench -- membership` measures with, and what it draws. */
import { test } from 'tap'
import type { MakeScaleBed } from '@understudy/bench/membership/scale-bed'
import { drawScale } from '@understudy/bench/membership/scale-plot'
import { detectionBoundMs, measureDetection, measureLoad } from '@understudy/bench/membership/scale-run'
import { SwimBed } from '../support/swim-bed.ts'

// The bench loads the bed without its types: this is where they must fit.
const makeBed: MakeScaleBed = (options) => new SwimBed(options)

void test('measureDetection: every death is seen by all within the bound, in a cluster that loses one after another', (t) => {
  const row = measureDetection(makeBed, 10, 0.01, 6, 3)
  t.equal(row.deaths, 6)
  t.equal(row.falseAlarms, 0)
  t.equal(row.boundMs, 8_000)
  t.ok(row.first.p50 > 3_000 && row.first.p50 <= row.all.p50)
  t.ok(
    row.all.p50 <= row.all.p99 && row.all.p99 <= row.all.max && row.all.max <= row.boundMs,
    `${row.all.max} ms`,
  )
  t.same([3, 100, 1_000].map(detectionBoundMs), [8_000, 12_000, 16_000])
  t.end()
})

void test('measureLoad: two pings and two answers a second, whatever the number of members', (t) => {
  for (const nodes of [10, 80]) {
    const { messages, bytes } = measureLoad(makeBed, nodes, 0, 20)
    t.ok(messages > 3.5 && messages < 4.2, `${nodes}: ${messages} messages`)
    t.ok(bytes > 10 && bytes < 30, `${nodes}: ${bytes} bytes`)
  }
  t.end()
})

void test('drawScale draws every row, inside of the picture', (t) => {
  const rows = [5, 10, 100, 1_000].flatMap((nodes) => [0, 0.01].map((loss) => ({ nodes, loss })))
  const spread = { p50: 5_000, p99: 6_000, max: 6_100 }
  const text = drawScale(
    rows.map((row) => ({ ...row, messages: 4, bytes: 23 })),
    rows.map((row) => ({ ...row, deaths: 9, first: spread, all: spread, boundMs: 8_000, falseAlarms: 0 })),
  )
  t.match(text, /^<svg [\s\S]*<\/svg>\n$/)
  t.notMatch(text, /NaN|Infinity|undefined/)
  t.equal(text.match(/<polyline /g)?.length, 8)
  t.equal(text.match(/<circle /g)?.length, 7 * 4)
  for (const [, x, y] of text.matchAll(/cx="([\d.]+)" cy="([\d.]+)"/g)) {
    t.ok(Number(x) > 0 && Number(x) < 900 && Number(y) > 50 && Number(y) < 360)
  }
  for (const nodes of ['5', '10', '100', '1,000']) t.ok(text.includes(`>${nodes}</text>`))
  t.end()
})
