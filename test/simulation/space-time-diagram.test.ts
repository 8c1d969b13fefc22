/** The picture of a run: what is drawn where, that hostile text stays text, and that long traces stay small. */
import fc from 'fast-check'
import { test } from 'tap'
import { sourceModule } from '../support/source-module.ts'

type Diagram = typeof import('../../packages/runtime/src/simulation/space-time-diagram.ts')
type Layout = typeof import('../../packages/runtime/src/simulation/space-time-layout.ts')
type RunResult = import('../../packages/runtime/src/simulation/run-result.ts').RunResult
type TraceEvent = import('../../packages/runtime/src/simulation/run-result.ts').TraceEvent

const { spaceTimeDiagram, spaceTimeSvg } = await sourceModule<Diagram>(
  'runtime',
  'simulation/space-time-diagram',
)
const { spaceTimeLayout } = await sourceModule<Layout>('runtime', 'simulation/space-time-layout')

const on = (step: number, atMs: number, lane: string | undefined) => ({ step, atMs, lane })

const lockTrace: readonly TraceEvent[] = [
  { ...on(1, 0, 'a'), type: 'state', what: 'started' },
  { ...on(2, 0, 'b'), type: 'state', what: 'started' },
  { ...on(3, 1, 'a'), type: 'sent', messageId: 1, to: 'b', message: 'acquire {"by":1}', actor: '/user/x' },
  { ...on(4, 3, 'b'), type: 'handled', actor: '/user/lock', message: 'acquire {"by":1}', messageId: 1 },
  { ...on(4, 3, 'b'), type: 'sent', messageId: 2, to: 'a', message: 'granted', actor: '/user/lock' },
  { ...on(5, 5_003, undefined), type: 'fault', kind: 'partition', what: 'a | b' },
  { ...on(6, 5_004, 'a'), type: 'lost', messageId: 2, why: 'partition' },
  { ...on(7, 5_005, 'a'), type: 'fault', kind: 'pause', what: 'pause of 10 ms' },
  { ...on(8, 5_006, 'b'), type: 'fault', kind: 'kill', what: 'killed at a write' },
  { ...on(9, 5_020, 'b'), type: 'state', what: 'restarted' },
  { ...on(10, 5_021, 'b'), type: 'sent', messageId: 3, to: 'a', message: 'release', actor: undefined },
  { ...on(11, 5_022, 'b'), type: 'violation', name: 'mutual-exclusion', what: 'two holders\n of one lock' },
]

function resultOf(
  trace: readonly TraceEvent[],
  name = 'mutual-exclusion',
  message = 'two holders',
): RunResult {
  return {
    seed: '7',
    violation: { name, message, step: 11, atMs: 5_022 },
    choices: [{ stream: 'fault/kill', index: 0, value: 1 }],
    stats: { steps: 11, virtualMs: 5_022, messages: 1, faults: {}, reached: [] },
    hash: '0'.repeat(16),
    hashBlocks: [],
    trace,
  }
}

void test('lanes are columns, arrows run from sending to handling, and quiet does not stretch the page', async (t) => {
  const layout = spaceTimeLayout(lockTrace, { eventsMax: 100 })
  t.same(
    layout.lanes.map((lane) => lane.name),
    ['a', 'b'],
  )
  const [a, b] = layout.lanes
  const [acquire, granted, release] = [1, 2, 3].map((id) =>
    layout.arrows.find((arrow) => arrow.messageId === id),
  )
  t.match(acquire, { type: 'delivered', x1: a?.x, x2: b?.x, messageName: 'acquire' })
  t.ok((acquire?.y2 ?? 0) > (acquire?.y1 ?? 0), 'time flows down')
  t.match(granted, { type: 'lost', x1: b?.x, text: 'granted' })
  t.ok(
    (granted?.x2 ?? 0) < (b?.x ?? 0) && (granted?.x2 ?? 0) > (a?.x ?? 0),
    'a lost message gets part of the way',
  )
  t.match(release, { type: 'flying', text: 'release' })
  t.equal(acquire?.y2, granted?.y1, 'what one step did stands in one row')
  const ys = layout.marks.filter((mark) => mark.text === 'started').map((mark) => mark.y)
  t.equal(ys[0], ys[1], 'changes of state at one time share a row')
  t.ok(layout.height < 500, `five quiet seconds take one short gap: ${layout.height}`)
  t.same(
    layout.times.filter((time) => time.quiet).map((time) => time.text),
    ['5.0 s quiet'],
  )
})

void test('pauses, deaths, partitions and the violation are marked', async (t) => {
  const layout = spaceTimeLayout(lockTrace, { eventsMax: 100 })
  t.same(
    layout.spans.map((span) => [span.type, span.lane]),
    [
      ['paused', 0],
      ['down', 1],
    ],
  )
  for (const span of layout.spans) t.ok(span.y2 > span.y1)
  t.match(layout.bands, [
    { type: 'fault', tone: 'cut', lines: ['partition: a | b'] },
    {
      type: 'violation',
      tone: 'bad',
      lane: 1,
      lines: ['mutual-exclusion is violated', 'two holders', ' of one lock'],
    },
  ])
  t.match(
    layout.marks.filter((mark) => mark.type === 'fault').map((mark) => mark.tone),
    ['paused', 'bad'],
  )
  const open = spaceTimeLayout(lockTrace.slice(0, 9), { eventsMax: 100 })
  t.same(
    open.spans.map((span) => span.type).toSorted(),
    ['down', 'paused'],
    'what is not over at the end goes on to the end',
  )
})

void test('the page is one file that refers to nothing else, with all that is asked of it', async (t) => {
  const page = spaceTimeDiagram(resultOf(lockTrace), {
    title: 'Lock',
    replayCommand: 'npm run sim -- --seed 7',
  })
  for (const part of [
    'mutual-exclusion is violated',
    'npm run sim -- --seed 7',
    'id="violation"',
    'prefers-color-scheme: dark',
    'still on its way at the end',
    'fault/kill: 1 at its 1st choice',
    'killed at a write',
  ]) {
    t.ok(page.includes(part), part)
  }
  t.notOk(/\b(?:src|href)=|@import|url\(/.test(page))
  t.equal(
    page,
    spaceTimeDiagram(resultOf(lockTrace), { title: 'Lock', replayCommand: 'npm run sim -- --seed 7' }),
  )
  const empty = spaceTimeDiagram({ ...resultOf([]), violation: undefined, choices: [] })
  t.match(empty, /No rule was broken/)
  t.match(spaceTimeSvg(resultOf(lockTrace)), /^<svg xmlns="http:\/\/www.w3.org\/2000\/svg"[\s\S]*<\/svg>\n$/)
})

void test('nothing that comes from the run becomes markup', async (t) => {
  const hostile = '</script><script>alert(1)</script><img src=x onerror="alert(2)">\'"&\u0000\u001b[31m\ud800'
  const trace: readonly TraceEvent[] = [
    { ...on(1, 0, hostile), type: 'state', what: hostile },
    { ...on(2, 0, hostile), type: 'fault', kind: hostile, what: hostile },
    { ...on(2, 0, undefined), type: 'fault', kind: hostile, what: hostile },
    {
      ...on(3, 1, hostile),
      type: 'sent',
      messageId: 1,
      to: hostile,
      message: `"onload="x${hostile}`,
      actor: hostile,
    },
    { ...on(4, 1, hostile), type: 'sent', messageId: 2, to: 'b', message: hostile, actor: hostile },
    { ...on(4, 1, hostile), type: 'sent', messageId: 3, to: 'b', message: hostile, actor: hostile },
    { ...on(5, 2, 'b'), type: 'handled', actor: hostile, message: hostile, messageId: 1 },
    { ...on(5, 2, 'b'), type: 'arrived', message: hostile, messageId: 2 },
    { ...on(6, 2, 'b'), type: 'lost', messageId: 3, why: hostile },
    { ...on(7, 2, 'b'), type: 'violation', name: hostile, what: hostile },
  ]
  const result: RunResult = {
    ...resultOf(trace, hostile, `${hostile}\n${hostile}`),
    seed: hostile,
    choices: [{ stream: hostile, index: 1, value: 1 }],
  }
  const options = { title: hostile, replayCommand: hostile, lanes: [hostile] }
  const page = spaceTimeDiagram(result, options)
  t.equal(page.split('<script>').length, 2, 'one script, ours')
  t.equal(page.split('</script>').length, 2)
  t.equal(page.split('</style>').length, 2)
  for (const text of [page, spaceTimeSvg(result, options)]) {
    t.notOk(text.includes('<img'))
    t.notOk(/(?!\n)\p{Cc}|\p{Cs}/u.test(text))
    const inner = text.replaceAll(/<(script|style)>[\s\S]*?<\/\1>/g, '')
    t.notOk(/[ "]on[a-z]+="/.test(inner))
    // Every tag has only attributes of ours, whose values hold no quotes and no angle brackets.
    const tags = inner.replaceAll(/<\/?[a-z1]+(?: [a-z-]+(?:="[^"<>]*")?)*\/?>|<!doctype html>/giu, '')
    t.equal(/.{0,40}[<>].{0,40}/.exec(tags)?.[0], undefined)
  }
})

void test('a long trace is cut to its beginning and what led to the violation, with a note', async (t) => {
  const long: TraceEvent[] = []
  for (let i = 0; i < 2_500; i++) {
    const lane = 'abcde'[i % 5]
    const to = 'abcde'[(i * 3) % 5] ?? 'a'
    long.push({
      ...on(2 * i, i, lane),
      type: 'sent',
      messageId: i,
      to,
      message: `m${i % 12}`,
      actor: undefined,
    })
    long.push({
      ...on(2 * i + 1, i, to),
      type: 'handled',
      actor: '/user/x',
      message: `m${i % 12}`,
      messageId: i,
    })
  }
  long.push({ ...on(9_999, 9_999, undefined), type: 'violation', name: 'rule', what: 'broken' })
  const page = spaceTimeDiagram(resultOf(long))
  t.ok(page.includes('3001 events are left out here'))
  t.ok(page.includes('5001 events (3001 of them not drawn)'))
  t.ok(page.includes('rule is violated'))
  t.ok(page.length < 3_000_000, `${page.length} characters`)
  const whole = spaceTimeDiagram(resultOf(long), { eventsMax: 10_000 })
  t.notOk(whole.includes('left out here'))
  t.throws(() => spaceTimeDiagram(resultOf(long), { eventsMax: 1 }), {
    message: /eventsMax must be .* got 1/,
  })
})

void test('any trace can be drawn, inside its page', async (t) => {
  const text = fc.oneof(fc.string(), fc.constantFrom('a', 'b', 'kill', 'restart', 'pause of 3 ms', 'm'))
  const place = fc.record({
    step: fc.nat(30),
    atMs: fc.nat(5_000),
    lane: fc.option(fc.constantFrom('a', 'b', 'c'), { nil: undefined }),
  })
  const id = fc.nat(8)
  const body = fc.oneof(
    fc.record({
      type: fc.constant('handled' as const),
      actor: text,
      message: text,
      messageId: fc.option(id, { nil: undefined }),
    }),
    fc.record({
      type: fc.constant('sent' as const),
      messageId: id,
      to: text,
      message: text,
      actor: fc.option(text, { nil: undefined }),
    }),
    fc.record({ type: fc.constant('arrived' as const), messageId: id, message: text }),
    fc.record({ type: fc.constant('lost' as const), messageId: id, why: text }),
    fc.record({ type: fc.constant('fault' as const), kind: text, what: text }),
    fc.record({ type: fc.constant('state' as const), what: text }),
    fc.record({ type: fc.constant('violation' as const), name: text, what: text }),
  )
  const event = fc.tuple(place, body).map(([where, what]): TraceEvent => ({ ...where, ...what }))
  fc.assert(
    fc.property(fc.array(event, { maxLength: 60 }), fc.integer({ min: 10, max: 80 }), (trace, eventsMax) => {
      const layout = spaceTimeLayout(trace, { eventsMax })
      const inside = (x: number, y: number): boolean =>
        x >= 0 && x <= layout.width && y >= 0 && y <= layout.height
      return (
        layout.omitted === Math.max(0, trace.length - eventsMax) &&
        layout.marks.every((mark) => inside(mark.x, mark.y)) &&
        layout.arrows.every((arrow) => inside(arrow.x1, arrow.y1) && inside(arrow.x2, arrow.y2)) &&
        layout.spans.every(
          (span) => inside(span.x, span.y1) && inside(span.x, span.y2) && span.y2 >= span.y1,
        ) &&
        layout.bands.every((band) => band.y1 < band.y2 && inside(0, band.y2)) &&
        !spaceTimeDiagram(resultOf(trace), { eventsMax }).includes('NaN')
      )
    }),
    { numRuns: 200 },
  )
  t.pass()
})
