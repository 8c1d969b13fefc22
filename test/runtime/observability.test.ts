import { readFileSync } from 'node:fs'
import { test } from 'tap'
import { onStage, puppet } from '../support/runtime.ts'
import { sourceModule } from '../support/source-module.ts'

const { memoryMetrics, noMetrics } = await sourceModule<
  typeof import('../../packages/runtime/src/observability/metrics.ts')
>('runtime', 'observability/metrics')
const { metricCatalogue } = await sourceModule<
  typeof import('../../packages/runtime/src/observability/metric-catalogue.ts')
>('runtime', 'observability/metric-catalogue')
const { LogThrottle, otherKeys } = await sourceModule<
  typeof import('../../packages/runtime/src/observability/log-throttle.ts')
>('runtime', 'observability/log-throttle')

void test('memoryMetrics read gives every series as plain JSON, sorted', async (t) => {
  const metrics = memoryMetrics()
  metrics.counter('b_total', { type: 'y' }).add()
  metrics.counter('b_total', { type: 'x' }).add(3)
  const gauge = metrics.gauge('a')
  gauge.set(5)
  gauge.add(-2)
  const histogram = metrics.histogram('c_seconds', [1, 10], { dir: 'in' })
  for (const value of [0.5, 1, 2, 10, 11]) histogram.record(value)
  const wanted = [
    { type: 'gauge', name: 'a', labels: {}, value: 3 },
    { type: 'counter', name: 'b_total', labels: { type: 'x' }, value: 3 },
    { type: 'counter', name: 'b_total', labels: { type: 'y' }, value: 1 },
    {
      type: 'histogram',
      name: 'c_seconds',
      labels: { dir: 'in' },
      bounds: [1, 10],
      counts: [2, 2, 1],
      count: 5,
      sum: 24.5,
    },
  ]
  t.same(metrics.read(), wanted)
  t.same(JSON.parse(JSON.stringify(metrics.read())), wanted, 'nothing is lost in JSON')
  gauge.set(9)
  t.same(metrics.read()[1], wanted[1], 'reading resets nothing')
})

void test('memoryMetrics gives one series for the same labels in any order', async (t) => {
  const metrics = memoryMetrics()
  const first = metrics.counter('n_total', { a: '1', b: '2' })
  t.equal(metrics.counter('n_total', { b: '2', a: '1' }), first)
  t.not(metrics.counter('n_total', { a: '1,b', b: '2' }), first)
  const { add } = first
  add(2)
  t.match(metrics.read(), [{ value: 2 }, { value: 0 }], 'instruments work when taken apart')
})

void test('memoryMetrics bounds the series of a name: one overflow series beyond, counted', async (t) => {
  const metrics = memoryMetrics({ seriesMax: 2 })
  for (const type of ['a', 'b', 'c', 'd', 'a']) metrics.counter('n_total', { type }).add()
  metrics.counter('other_total', { type: 'z' }).add()
  t.match(metrics.read(), [
    { labels: { type: 'a' }, value: 2 },
    { labels: { type: 'b' }, value: 1 },
    { labels: { overflow: 'true' }, value: 2 },
    { name: 'other_total', value: 1 },
  ])
  t.same(metrics.overflowed(), { n_total: 2 })
})

void test('memoryMetrics refuses a name that means two things', async (t) => {
  const metrics = memoryMetrics()
  metrics.counter('n_total')
  metrics.histogram('h', [1, 2])
  t.throws(() => metrics.gauge('n_total'), {
    name: 'TypeError',
    message: /"n_total": that name is a counter already/,
  })
  t.throws(() => metrics.histogram('h', [1, 3]), { name: 'TypeError', message: /bounds \[1,2\] already/ })
  t.throws(() => metrics.histogram('i', [2, 1]), { name: 'RangeError', message: /rising/ })
  t.throws(() => metrics.counter('Not A Name'), { name: 'TypeError', message: /must match/ })
  t.throws(() => memoryMetrics({ seriesMax: 0 }), { name: 'RangeError', message: /seriesMax/ })
})

void test('noMetrics takes everything and keeps nothing', async (t) => {
  noMetrics.counter('anything at all').add()
  noMetrics.gauge('x').set(1)
  noMetrics.histogram('y', []).record(1)
  t.equal(noMetrics.counter('a'), noMetrics.counter('b'), 'one instrument for all')
  t.ok(Object.isFrozen(noMetrics))
})

void test('metricCatalogue declares names, units and help as the exposition format wants them', async (t) => {
  for (const [name, { type, help, labels, unit, bounds }] of Object.entries(metricCatalogue)) {
    t.match(name, /^understudy_[a-z0-9_]+$/, name)
    t.equal(name.endsWith('_total'), type === 'counter', `${name}: _total is for counters, and all of them`)
    t.ok(help.length > 10 && !help.endsWith('.') && unit.length > 0, `${name}: help and unit`)
    t.notOk(
      labels.some((label) => ['path', 'id', 'key', 'uid'].includes(label)),
      `${name}: bounded labels`,
    )
    t.equal(bounds !== undefined, type === 'histogram', `${name}: bounds are for histograms`)
  }
})

void test('docs/reference/metrics.md lists the catalogue, no more and no less', async (t) => {
  const page = readFileSync(new URL('../../../docs/reference/metrics.md', import.meta.url), 'utf8')
  t.same(
    page.split('\n').filter((line) => line.startsWith('| `')),
    Object.entries(metricCatalogue).map(
      ([name, { type, unit, labels, help }]) =>
        `| \`${name}\` | ${type} | ${unit} | ${labels.join(', ')} | ${help} |`,
    ),
  )
})

void test('LogThrottle writes the first of each key in a window, then tells the count once', async (t) => {
  const throttle = new LogThrottle({ first: 2, windowMs: 100 })
  t.equal(throttle.nextDeadlineMs(), undefined)
  t.same(
    [0, 1, 2, 3].map((at) => throttle.note('a', at)),
    ['write', 'write', 'count', 'count'],
  )
  t.equal(throttle.note('b', 50), 'write', 'another key, another window')
  t.equal(throttle.nextDeadlineMs(), 100)
  t.same(throttle.due(99), [], 'not yet')
  t.same(throttle.due(100), [{ key: 'a', written: 2, counted: 2, fromMs: 0, toMs: 100 }])
  t.same(throttle.due(1_000), [], 'told once; and b held nothing back')
  t.equal(throttle.nextDeadlineMs(), undefined)
  t.equal(throttle.note('a', 1_001), 'write', 'a new window begins anew')
})

void test('LogThrottle loses no count when nobody asks in time', async (t) => {
  const throttle = new LogThrottle({ first: 1, windowMs: 10 })
  for (const at of [0, 1, 20, 21, 22]) throttle.note('a', at)
  t.equal(throttle.nextDeadlineMs(), 10, 'overdue')
  t.same(throttle.due(25), [{ key: 'a', written: 1, counted: 1, fromMs: 0, toMs: 10 }])
  t.same(
    throttle.flush(26),
    [{ key: 'a', written: 1, counted: 2, fromMs: 20, toMs: 26 }],
    'flush ends what is open',
  )
  t.same(throttle.flush(27), [])
})

void test('LogThrottle counts keys beyond keysMax together, and makes room when windows end', async (t) => {
  const throttle = new LogThrottle({ first: 1, windowMs: 10, keysMax: 2 })
  for (const key of ['a', 'b', 'c', 'd', 'e']) throttle.note(key, 0)
  const summaries = throttle.due(10)
  t.same(
    summaries.map(({ key, counted }) => [key, counted]),
    [[otherKeys, 2]],
    'c was written for all of them',
  )
  t.equal(throttle.note('c', 11), 'write', 'room again')
  t.equal(throttle.note('c', 11), 'count', 'under its own key')
})

void test('LogThrottle holds a bounded number of summaries for a caller who never asks', async (t) => {
  const throttle = new LogThrottle({ first: 1, windowMs: 1, keysMax: 2 })
  for (let i = 0; i < 100; i++) for (let n = 0; n < 3; n++) throttle.note(`key ${i}`, i * 2)
  const summaries = throttle.due(1_000)
  t.ok(summaries.length <= 3, `${summaries.length} summaries`)
  t.equal(
    summaries.reduce((sum, { counted }) => sum + counted, 0),
    200,
    'and loses no count',
  )
})

void test('LogThrottle refuses options without sense', async (t) => {
  for (const options of [
    { first: 0 },
    { first: 1.5 },
    { windowMs: 0 },
    { windowMs: Infinity },
    { keysMax: 0 },
  ]) {
    t.throws(() => new LogThrottle(options), { name: 'RangeError' }, JSON.stringify(options))
  }
})

void test('system.collectMetrics brings actors, spawns and messages up to date, each counted once', async (t) => {
  const metrics = memoryMetrics()
  await onStage(
    t,
    undefined,
    async (system) => {
      const ref = system.spawn('one', puppet({ work: () => undefined }))
      const two = system.spawn('two', puppet({ work: () => undefined }))
      for (let n = 0; n < 3; n++) ref.tell({ type: 'do', step: 'work' })
      await system.platform.settle()
      const read = (name: string): number | undefined => {
        system.collectMetrics()
        const sample = metrics.read().find((one) => one.name === name && one.labels['type'] === 'puppet')
        return sample?.type === 'histogram' ? undefined : sample?.value
      }
      t.same(
        [read('understudy_actors'), read('understudy_spawned_total'), read('understudy_messages_total')],
        [2, 2, 3],
      )
      two.tell({ type: 'do', step: 'work' })
      await system.stop(two, 'drain')
      t.same(
        [read('understudy_actors'), read('understudy_spawned_total'), read('understudy_messages_total')],
        [1, 2, 4],
      )
      t.equal(system.status().counters.messages, 4)
    },
    { metrics },
  )
})
