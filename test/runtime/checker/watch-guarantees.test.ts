/** checkWatches: each of the nine guarantees broken by itself, watches that keep them, and bent ones. */
import fc from 'fast-check'
import { test } from 'tap'
import { SeededNumbers } from '../../support/concurrent-history.ts'
import { sourceModule } from '../../support/source-module.ts'

const { checkWatches } = await sourceModule<
  typeof import('../../../packages/runtime/src/checker/watch-guarantees.ts')
>('runtime', 'checker/watch-guarantees')

type LoggedRevision = Parameters<typeof checkWatches>[0][number]
type WatchRecord = Parameters<typeof checkWatches>[1][number]
type WatchResponse = WatchRecord['responses'][number]
type ReceivedEvent = WatchResponse['events'][number]
type Request = WatchRecord['request']
type Value = NonNullable<ReceivedEvent['prevKv']>

/** a: put 1 (1), put 2 (3), delete (4), put 3 (6); b: put 1 (2), put 2 (3); c: put 1 (5). */
const log: readonly LoggedRevision[] = [
  { revision: 1, events: [{ type: 'put', key: 'a', value: '1' }] },
  { revision: 2, events: [{ type: 'put', key: 'b', value: '1' }] },
  {
    revision: 3,
    events: [
      { type: 'put', key: 'a', value: '2' },
      { type: 'put', key: 'b', value: '2' },
    ],
  },
  { revision: 4, events: [{ type: 'delete', key: 'a' }] },
  { revision: 5, events: [{ type: 'put', key: 'c', value: '1' }] },
  { revision: 6, events: [{ type: 'put', key: 'a', value: '3' }] },
]

/** What a right store would send for `request`, one response for each revision. */
function rightResponses(history: readonly LoggedRevision[], request: Request): readonly WatchResponse[] {
  const state = new Map<string, Value>()
  const responses: WatchResponse[] = []
  for (const { revision, events } of history) {
    const sent: ReceivedEvent[] = []
    for (const { type, key, value } of events) {
      const before = state.get(key)
      const createRevision = before?.createRevision ?? revision
      if (type === 'delete') state.delete(key)
      else state.set(key, { value: value ?? '', createRevision, modRevision: revision })
      const isKey = request.isPrefix === true ? key.startsWith(request.key) : key === request.key
      if (!isKey || request.without === type || revision < (request.fromRevision ?? 0)) continue
      const prevKv = request.prevKv === true ? before : undefined
      sent.push(
        type === 'put'
          ? { type, key, value, revision, createRevision, prevKv }
          : { type, key, revision, prevKv },
      )
    }
    if (sent.length > 0) responses.push({ revision, events: sent })
  }
  return responses
}

const everything: Request = { key: '', isPrefix: true, fromRevision: 1, prevKv: true }

function judge(responses: readonly WatchResponse[], request: Request = everything, completeTo?: number) {
  return checkWatches(log, [{ request, responses, completeTo }])
}

const right = rightResponses(log, everything)
const bookmark = (revision: number): WatchResponse => ({ revision, events: [], isBookmark: true })
const without = (revision: number): readonly WatchResponse[] =>
  right.filter((one) => one.revision !== revision)
/** The right responses with one event of `revision` changed. */
const changed = (revision: number, change: Partial<ReceivedEvent>): readonly WatchResponse[] =>
  right.map((one) =>
    one.revision === revision
      ? { ...one, events: one.events.map((event, i) => (i === 0 ? { ...event, ...change } : event)) }
      : one,
  )
const split = (revision: number): readonly WatchResponse[] =>
  right.flatMap((one) =>
    one.revision === revision ? one.events.map((event) => ({ revision, events: [event] })) : [one],
  )

void test('checkWatches names each broken guarantee', async (t) => {
  const [first, second, third] = right as [WatchResponse, WatchResponse, WatchResponse]
  const onlyA: Request = { key: 'a', fromRevision: 1 }
  const noPuts: Request = { ...everything, without: 'put', prevKv: false }
  const broken: readonly (readonly [string, RegExp, ReturnType<typeof judge>])[] = [
    [
      'Ordered',
      /put "a" = "1" of revision 1 came after an event of revision 2/,
      judge([second, first, ...right.slice(2)]),
    ],
    ['Unique', /put "a" = "1" of revision 1 came twice/, judge([first, first, ...right.slice(1)])],
    ['Unique', /came twice/, judge([first, second, third, third])],
    ['Atomic', /revision 3 was split over several responses|did not come together/, judge(split(3))],
    [
      'Atomic',
      /"b" = "2" of revision 3 did not come together/,
      judge(right.map((one) => ({ ...one, events: one.events.slice(0, 1) }))),
    ],
    [
      'Reliable',
      /put "b" = "1" of revision 2 never came: the next that came was of revision 3/,
      judge(without(2)),
    ],
    [
      'Reliable',
      /"a" = "3" of revision 6 never came: everything up to revision 6/,
      judge(without(6), everything, 6),
    ],
    [
      'Reliable',
      /put "a" = "9" of revision 1 came, but the log has put "a" = "1"/,
      judge(changed(1, { value: '9' })),
    ],
    [
      'Reliable',
      /put "a" = "9" of revision 7 came, but the log holds no such change/,
      judge([...right, { revision: 7, events: [{ type: 'put', key: 'a', value: '9', revision: 7 }] }]),
    ],
    [
      'Resumable',
      /"a" = "1" of revision 1 never came: it watches from 1 on; the next that came was of revision 2/,
      judge(without(1)),
    ],
    [
      'Resumable',
      /of revision 1 came, but it watches from revision 2 on/,
      judge(right, { ...everything, fromRevision: 2 }),
    ],
    [
      'Bookmarkable',
      /of revision 2 came after a bookmark had said that all up to revision 2/,
      judge([first, bookmark(2), second, ...right.slice(2)]),
    ],
    [
      'Bookmarkable',
      /of revision 2 and 1 more never came|of revision 2 never came: a bookmark said/,
      judge([first, bookmark(2), ...right.slice(2)]),
    ],
    ['Bookmarkable', /a bookmark of 1 came after one of 2/, judge([first, second, bookmark(2), bookmark(1)])],
    [
      'Bookmarkable',
      /a bookmark of 1 came after an event of revision 2/,
      judge([first, second, bookmark(1)]),
    ],
    ['Bookmarkable', /a bookmark of 9 came, but the log ends at 6/, judge([...right, bookmark(9)])],
    [
      'PrevKV',
      /has no previous value, but there was "1" of revision 1 created at 1/,
      judge(changed(3, { prevKv: undefined })),
    ],
    [
      'PrevKV',
      /has the previous value "9", but there was "1"/,
      judge(changed(3, { prevKv: { value: '9' } })),
    ],
    [
      'PrevKV',
      /has the previous value "1" of revision 2/,
      judge(changed(3, { prevKv: { value: '1', modRevision: 2 } })),
    ],
    [
      'PrevKV',
      /has the previous value "2", but there was none/,
      judge(changed(6, { prevKv: { value: '2' } })),
    ],
    ['PrevKV', /which nobody asked for/, judge(right, { ...everything, prevKv: false })],
    [
      'IsCreate',
      /says that it created the key, but the key was created at 1/,
      judge(changed(3, { createRevision: 3 })),
    ],
    [
      'IsCreate',
      /says that it changed the key, but this created the key/,
      judge(changed(6, { createRevision: 1 })),
    ],
    [
      'IsCreate',
      /says that it changed the key/,
      judge(changed(1, { createRevision: undefined, isCreate: false })),
    ],
    ['IsCreate', /says created at 2, but the key was created at 1/, judge(changed(3, { createRevision: 2 }))],
    [
      'Filter',
      /"b" = "1" of revision 2 came, but it watches "a"/,
      judge(rightResponses(log, { ...everything, prevKv: false }), onlyA),
    ],
    [
      'Filter',
      /came, but it wants no put events/,
      judge(rightResponses(log, { ...everything, prevKv: false }), noPuts),
    ],
  ]
  for (const [guarantee, says, verdict] of broken) {
    t.equal(verdict.verdict, 'illegal', guarantee)
    const fault = verdict.faults.find((one) => one.guarantee === guarantee && says.test(one.explanation))
    t.ok(
      fault,
      `${guarantee} ${says}: ${verdict.faults.map((one) => `${one.guarantee}: ${one.explanation}`).join('; ')}`,
    )
    t.match(verdict.reason, /^Broken watch guarantee/)
  }
  t.same(new Set(broken.map(([guarantee]) => guarantee)).size, 9, 'all nine')
})

void test('checkWatches breaks one guarantee at a time where one is broken', async (t) => {
  const guarantees = (responses: readonly WatchResponse[], request?: Request): readonly string[] => [
    ...judge(responses, request).counts.keys(),
  ]
  t.same(guarantees([right[0]!, right[0]!, ...right.slice(1)]), ['Unique'])
  t.same(guarantees(split(3)), ['Atomic'])
  const halves = right.map((one) => ({ ...one, events: one.events.slice(0, 1) }))
  t.same(guarantees(halves), ['Atomic'], 'what never came of a revision that came')
  t.same(guarantees(without(2)), ['Reliable'])
  t.same(guarantees(without(1)), ['Resumable'])
  t.same(guarantees(changed(3, { prevKv: undefined })), ['PrevKV'])
  t.same(guarantees(changed(3, { createRevision: 3 })), ['IsCreate'])
  const atomicOnly = checkWatches(log, [{ request: everything, responses: without(2) }], {
    guarantees: ['Atomic'],
  })
  t.equal(atomicOnly.verdict, 'ok', 'only what is demanded')
})

void test('checkWatches takes watches that are right', async (t) => {
  const requests: readonly Request[] = [
    everything,
    { key: 'a' },
    { key: 'a', fromRevision: 2, prevKv: true },
    { key: 'b', fromRevision: 1 },
    { ...everything, without: 'delete' },
    { ...everything, without: 'put' },
    { key: 'nothing', fromRevision: 1 },
  ]
  for (const request of requests) {
    const responses = rightResponses(log, request)
    t.equal(judge(responses, request).faults.length, 0, JSON.stringify(request))
    const complete = judge([...responses, bookmark(6)], request, 6)
    t.equal(complete.verdict, 'ok', complete.reason)
    t.equal(judge(responses.slice(0, 1), request).faults.length, 0, 'it need not have come to the end')
  }
  const oneResponse = { revision: 6, events: right.flatMap((one) => one.events) }
  t.equal(judge([oneResponse]).verdict, 'ok', 'several revisions at once')
  t.equal(judge([bookmark(4), ...right.slice(4)], { ...everything, fromRevision: 5 }).verdict, 'ok')
  t.equal(
    judge(right.slice(2), { ...everything, fromRevision: undefined }).verdict,
    'ok',
    'it began somewhere',
  )
  t.equal(judge([], everything).verdict, 'unknown')
  t.match(judge([], everything, 6).reason, /of revision 1 and 6 more never came/)
})

void test('checkWatches: a log that begins in the middle, and logs that make no sense', async (t) => {
  const middle: readonly LoggedRevision[] = [
    { revision: 10, events: [{ type: 'delete', key: 'a' }] },
    {
      revision: 11,
      events: [
        { type: 'put', key: 'b', value: '2', prevKv: { value: '1', createRevision: 3, modRevision: 4 } },
      ],
    },
    { revision: 12, events: [{ type: 'put', key: 'b', value: '3' }] },
  ]
  const events: readonly ReceivedEvent[] = [
    { type: 'delete', key: 'a', revision: 10, prevKv: { value: 'x' } },
    { type: 'put', key: 'b', value: '2', revision: 11, createRevision: 3, prevKv: { value: '1' } },
    {
      type: 'put',
      key: 'b',
      value: '3',
      revision: 12,
      createRevision: 3,
      prevKv: { value: '2', modRevision: 11 },
    },
  ]
  const responses = events.map((event) => ({ revision: event.revision, events: [event] }))
  const verdict = checkWatches(middle, [{ request: { ...everything, fromRevision: 10 }, responses }])
  t.equal(verdict.verdict, 'ok', verdict.reason)
  t.throws(() => checkWatches([...log, ...log], []), /revision 1 of the log comes after 6/)
  const twice = { revision: 1, events: [...(log[0]?.events ?? []), ...(log[0]?.events ?? [])] }
  t.throws(() => checkWatches([twice], []), /revision 1 of the log changes "a" twice/)
})

function randomLog(random: SeededNumbers, revisions: number): readonly LoggedRevision[] {
  const present = new Set<string>()
  return Array.from({ length: revisions }, (_, i) => {
    const keys = ['a', 'aa', 'ab', 'b'].filter(() => random.chance(40))
    if (keys.length === 0) keys.push('a')
    const events = keys.map((key) => {
      if (present.has(key) && random.chance(30)) {
        present.delete(key)
        return { type: 'delete' as const, key }
      }
      present.add(key)
      return { type: 'put' as const, key, value: String(random.below(100)) }
    })
    return { revision: (i + 1) * 2, events }
  })
}

function randomRequest(random: SeededNumbers): Request {
  return {
    key: random.pick(['a', 'b', 'aa', '']),
    isPrefix: random.chance(60),
    fromRevision: random.below(12),
    prevKv: random.chance(50),
    without: random.pick([undefined, undefined, 'put', 'delete'] as const),
  }
}

const seeds = fc.integer({ min: 0, max: 0x7fffffff })

/** Joins some neighbouring responses and puts bookmarks between. */
function shuffled(random: SeededNumbers, responses: readonly WatchResponse[]): readonly WatchResponse[] {
  const result: WatchResponse[] = []
  for (const response of responses) {
    const last = result.at(-1)
    if (last !== undefined && last.isBookmark !== true && random.chance(30)) {
      result[result.length - 1] = {
        revision: response.revision,
        events: [...last.events, ...response.events],
      }
    } else result.push(response)
    if (random.chance(20)) result.push(bookmark(response.revision))
  }
  return result
}

void test('checkWatches: a right store is never found guilty, and a bent watch always', async (t) => {
  let bent = 0
  fc.assert(
    fc.property(seeds, (seed) => {
      const random = new SeededNumbers(seed)
      const history = randomLog(random, 20)
      const request = randomRequest(random)
      const whole = rightResponses(history, request)
      const responses = shuffled(random, whole)
      const last = history.at(-1)?.revision ?? 0
      const good = checkWatches(history, [{ request, responses, completeTo: last }])
      if (good.verdict !== 'ok') return false
      if (whole.length < 3) return true
      bent++
      const i = random.below(whole.length)
      const lost = whole.filter((_, at) => at !== i)
      const again = [...whole, whole[i]!]
      const swapped = whole.map(
        (one, at) => whole[at === i ? (i + 1) % whole.length : at === (i + 1) % whole.length ? i : at] ?? one,
      )
      const other = whole.map((one, at) =>
        at === i ? { ...one, events: one.events.map((event) => ({ ...event, value: 'other' })) } : one,
      )
      const isDelete = whole[i]?.events.every((event) => event.type === 'delete') === true
      return [lost, again, swapped, ...(isDelete ? [] : [other])].every(
        (bad) => checkWatches(history, [{ request, responses: bad, completeTo: last }]).verdict === 'illegal',
      )
    }),
    { numRuns: 300 },
  )
  t.ok(bent > 150, String(bent))
})
