import { test } from 'tap'
import { firstOperations, isCalibrated, nextOperations } from '@understudy/bench/harness/calibration'
import { BENCH_DEFAULTS, BenchUsageError, parseBenchOptions } from '@understudy/bench/harness/options'
import { formatFigure, formatTarget, renderOverview, renderRows } from '@understudy/bench/harness/table'
import type { Row } from '@understudy/bench/harness/table'
import { meetsTarget, WORKLOAD_NAMES, WORKLOADS } from '@understudy/bench/harness/workload'
import type { Size, WorkloadName } from '@understudy/bench/harness/workload'
import { SYSTEMS } from '@understudy/bench/systems/registry'

const calibrated: Size = { kind: 'calibrated', startOperations: 100, operationsMax: 10_000 }
const fixed: Size = { kind: 'fixed', operations: 200, operationsQuick: 50 }

test('firstOperations', (t) => {
  t.equal(firstOperations(calibrated, true), 100)
  t.equal(firstOperations(fixed, false), 200)
  t.equal(firstOperations(fixed, true), 50, 'has a smaller fixed count when quick')
  t.end()
})

test('nextOperations', (t) => {
  t.equal(nextOperations(calibrated, 100, 50, 100), 200, 'scales to the wanted duration')
  t.equal(nextOperations(calibrated, 100, 200, 100), 50, 'in both directions')
  t.equal(nextOperations(calibrated, 100, 2, 100), 1_000, 'grows tenfold at most')
  t.equal(nextOperations(calibrated, 100, 60_000, 100), 10, 'shrinks tenfold at most')
  t.equal(nextOperations(calibrated, 100, 0, 100), 1_000, 'grows when there was no time to measure')
  t.equal(nextOperations(calibrated, 9_000, 50, 100), 10_000, 'keeps to the maximum')
  t.equal(nextOperations(calibrated, 1, 60_000, 100), 1, 'never gets to zero')
  t.equal(nextOperations(fixed, 200, 5, 100), 200, 'leaves a fixed count alone')
  t.end()
})

test('isCalibrated', (t) => {
  t.equal(isCalibrated(calibrated, 100, 49, 100), false)
  t.equal(isCalibrated(calibrated, 100, 50, 100), true, 'from half the wanted duration')
  t.equal(isCalibrated(calibrated, 10_000, 1, 100), true, 'at the maximum, however short')
  t.equal(isCalibrated(fixed, 200, 1, 100), true, 'always for a fixed count')
  t.end()
})

test('parseBenchOptions', (t) => {
  const systems = ['understudy', 'limit', 'nact']
  const parse = (...args: string[]): ReturnType<typeof parseBenchOptions> => parseBenchOptions(args, systems)
  t.match(parse(), { ...BENCH_DEFAULTS.full, quick: false, only: WORKLOAD_NAMES, systems, help: false })
  t.match(parse('--quick'), { ...BENCH_DEFAULTS.quick, quick: true })
  t.same(parse('--only', 'ask-1, ping-pong').only, ['ping-pong', 'ask-1'], 'keeps table order')
  t.same(parse('--systems=nact,limit').systems, ['limit', 'nact'])
  t.match(parse('--rounds', '3'), { rounds: 3, roundsPeer: 3 })
  t.equal(parse('--json', 'rows.json').json, 'rows.json')
  t.equal(parse('--help').help, true)
  t.throws(() => parse('--only', 'pong'), { code: 'BenchUsage', message: /"pong".*ping-pong/ })
  t.throws(() => parse('--only', ','), BenchUsageError, 'refuses an empty selection')
  t.throws(() => parse('--systems', 'erlang'), { message: /"erlang".*understudy, limit, nact/ })
  for (const rounds of ['0', '1.5', 'many', '1000']) {
    t.throws(() => parse('--rounds', rounds), { message: /from 1 to/ }, `refuses ${rounds} rounds`)
  }
  t.throws(() => parse('--fast'), BenchUsageError, 'refuses an unknown option')
  t.throws(() => parse('extra'), BenchUsageError, 'refuses a stray word')
  t.end()
})

test('meetsTarget', (t) => {
  t.equal(meetsTarget({ kind: 'at-least', value: 10 }, 10, undefined), true)
  t.equal(meetsTarget({ kind: 'at-least', value: 10 }, 9, undefined), false)
  t.equal(meetsTarget({ kind: 'at-most', value: 10 }, 10, undefined), true)
  t.equal(meetsTarget({ kind: 'at-most', value: 10 }, 11, undefined), false)
  t.equal(meetsTarget({ kind: 'ratio-at-least', value: 0.5 }, 50, 100), true)
  t.equal(meetsTarget({ kind: 'ratio-at-least', value: 0.5 }, 49, 100), false)
  t.equal(meetsTarget({ kind: 'ratio-at-most', value: 1.5 }, 150, 100), true)
  t.equal(meetsTarget({ kind: 'ratio-at-most', value: 1.5 }, 151, 100), false)
  t.equal(
    meetsTarget({ kind: 'ratio-at-least', value: 0.5 }, 50, undefined),
    undefined,
    'is open without a limit',
  )
  t.end()
})

test('formatFigure and formatTarget', (t) => {
  t.equal(formatFigure(41_900_000, 'ops/s'), '41.9 M/s')
  t.equal(formatFigure(9_999_999, 'ops/s'), '10.0 M/s')
  t.equal(formatFigure(595_400, 'ops/s'), '595 k/s')
  t.equal(formatFigure(12, 'ops/s'), '12.0 /s')
  t.equal(formatFigure(2722.4, 'bytes'), '2,722 B')
  t.equal(formatFigure(62.14, 'us'), '62.1 us')
  t.equal(formatFigure(0.534, 'ms'), '0.53 ms')
  t.equal(formatTarget({ kind: 'ratio-at-least', value: 0.45 }, 'ops/s'), '>= 0.45 x limit')
  t.equal(formatTarget({ kind: 'ratio-at-most', value: 1.5 }, 'us'), '<= 1.5 x limit')
  t.equal(formatTarget({ kind: 'at-least', value: 2e6 }, 'ops/s'), '>= 2.00 M/s')
  t.equal(formatTarget({ kind: 'at-most', value: 400 }, 'bytes'), '<= 400 B')
  t.end()
})

const options = {
  workloads: ['ping-pong', 'spawn'] as const,
  systems: ['understudy', 'limit', 'nact'],
  own: ['understudy'],
  limit: 'limit',
}

function row(workload: WorkloadName, system: string, median: number): Row {
  return { workload, system, unit: 'ops/s', median, min: median / 2, max: median * 2, runs: 5 }
}

test('renderRows gives ratio, target and verdict', (t) => {
  const text = renderRows(
    [row('ping-pong', 'understudy', 2e7), row('ping-pong', 'limit', 4e7), row('spawn', 'understudy', 1e6)],
    [
      { workload: 'ping-pong', system: 'nact', note: 'not installed' },
      { workload: 'spawn', system: 'limit', note: '-' },
    ],
    options,
  )
  const lines = text.split('\n')
  t.match(
    lines[1],
    /^ping-pong +understudy +20\.0 M\/s +10\.0 M\/s +40\.0 M\/s +5 +0\.50 +>= 0\.45 x limit +ok$/,
  )
  t.match(lines[2], /^ping-pong +limit .* 1\.00$/, 'the limit has no target')
  t.match(lines[3], /^ping-pong +nact +not installed$/)
  t.equal(lines[4], '', 'a blank line between workloads')
  t.match(
    lines[5],
    /^spawn +understudy +1\.00 M\/s .* >= 2\.00 M\/s +BELOW$/,
    'an absolute target needs no limit',
  )
  t.equal(lines.length, 6, 'a workload that a system has not is left out')
  t.match(renderRows([row('ping-pong', 'understudy', 2e7)], [], options), /no limit measured$/)
  t.end()
})

test('renderOverview has a column a system', (t) => {
  const lines = renderOverview(
    [row('ping-pong', 'understudy', 2e7), row('ping-pong', 'limit', 4e7)],
    [{ workload: 'ping-pong', system: 'nact', note: 'not installed' }],
    options,
  ).split('\n')
  t.match(lines[0], /^workload +understudy +limit +nact$/)
  t.match(lines[1], /^ping-pong +20\.0 M\/s +40\.0 M\/s +not installed$/)
  t.match(lines[2], /^spawn +- +- +-$/)
  t.end()
})

test('registry names each system once and has one limit', (t) => {
  const names = SYSTEMS.map((entry) => entry.name)
  t.equal(new Set(names).size, names.length)
  t.equal(SYSTEMS.filter((entry) => entry.kind === 'limit').length, 1)
  for (const entry of SYSTEMS) t.equal(entry.package !== undefined, entry.kind === 'peer', entry.name)
  t.end()
})

test('WORKLOADS says what an operation is', (t) => {
  for (const name of WORKLOAD_NAMES) t.ok(WORKLOADS[name].operation.length > 20, name)
  t.end()
})
