/** checkListAppend: each anomaly by name, stores of known isolation, and what happens when their histories are bent. */
import fc from 'fast-check'
import { test } from 'tap'
import { SeededNumbers } from '../../support/concurrent-history.ts'
import { sourceModule } from '../../support/source-module.ts'

const { checkListAppend } = await sourceModule<
  typeof import('../../../packages/runtime/src/checker/list-append.ts')
>('runtime', 'checker/list-append')
const { cyclePicture } = await sourceModule<
  typeof import('../../../packages/runtime/src/checker/cycle-picture.ts')
>('runtime', 'checker/cycle-picture')

type ListTransactionOp = Parameters<typeof checkListAppend>[0][number]
type ListAppendOptions = NonNullable<Parameters<typeof checkListAppend>[1]>
type ListOperation = ListTransactionOp['in'][number]
type ListOutcome = NonNullable<ListTransactionOp['out']>
type IsolationLevel = NonNullable<ListAppendOptions['level']>
type Value = Extract<ListOperation, { type: 'append' }>['value']
type Step = readonly ['append', string, Value] | readonly ['read', string, readonly Value[]]

interface Shape {
  readonly client?: number
  readonly call?: number
  readonly ret?: number
  readonly ended?: 'aborted' | 'unknown'
}

let clients = 0

/** A transaction; without times all are concurrent, each of its own client. */
function txn(steps: readonly Step[], { client, call = 0, ret = 100, ended }: Shape = {}): ListTransactionOp {
  const operations: ListOperation[] = steps.map(([type, key, value]) =>
    type === 'append' ? { type, key, value: value as Value } : { type: 'read', key },
  )
  const reads = steps.flatMap((step) => (step[0] === 'read' ? [step[2]] : []))
  const out: ListOutcome = ended === 'aborted' ? { type: 'aborted' } : { type: 'committed', reads }
  const isUnknown = ended === 'unknown'
  return {
    client: client ?? clients++,
    in: operations,
    out: isUnknown ? undefined : out,
    call,
    ret: isUnknown ? Number.POSITIVE_INFINITY : ret,
  }
}

const append = (key: string, value: Value): Step => ['append', key, value]
const read = (key: string, ...values: readonly Value[]): Step => ['read', key, values]

function typesOf(ops: readonly ListTransactionOp[], options: ListAppendOptions = {}): readonly string[] {
  return [...new Set(checkListAppend(ops, options).anomalies.map((anomaly) => anomaly.type))]
}

interface Case {
  readonly history: readonly ListTransactionOp[]
  readonly strongest: IsolationLevel | undefined
  /** What the explanation must say. */
  readonly says: readonly RegExp[]
}

/** One history for each anomaly, as short as can be. */
const cases: Readonly<Record<string, Case>> = {
  'unwritten-read': {
    history: [txn([append('x', 1)]), txn([read('x', 1, 7)])],
    strongest: undefined,
    says: [/T1 read 7 in x, which nobody appended/],
  },
  'duplicate-elements': {
    history: [txn([append('x', 1)]), txn([read('x', 1, 1)])],
    strongest: undefined,
    says: [/T1 read 1 twice in x: T0 appended it once/],
  },
  G0: {
    history: [
      txn([append('x', 1), append('y', 1)]),
      txn([append('x', 2), append('y', 2)]),
      txn([read('x', 1, 2)]),
      txn([read('y', 2, 1)]),
    ],
    strongest: undefined,
    says: [
      /2 transactions that no order explains/,
      /T0 before T1 \(ww\): T0 appended 1 to x before T1 appended 2: it was read as \[1, 2\]/,
      /T1 before T0 \(ww\): T1 appended 2 to y before T0 appended 1/,
    ],
  },
  G1a: {
    history: [txn([append('x', 1)], { ended: 'aborted' }), txn([read('x', 1)])],
    strongest: 'read-uncommitted',
    says: [/T0 was aborted, but T1 read the 1 that it appended to x/],
  },
  G1b: {
    history: [txn([append('x', 1), append('x', 2)]), txn([read('x', 1)]), txn([read('x', 1, 2)])],
    strongest: 'read-uncommitted',
    says: [/T1 read x as \[1\]: T0 appended 1, and then more to the same key/],
  },
  'incompatible-order': {
    history: [txn([append('x', 1)]), txn([append('x', 2)]), txn([read('x', 1, 2)]), txn([read('x', 2)])],
    strongest: 'read-uncommitted',
    says: [/T2 saw 1 in x and T3 saw 2 first: a list that only grows cannot have been both/],
  },
  G1c: {
    history: [txn([append('x', 1), read('y', 2)]), txn([append('y', 2), read('x', 1)])],
    strongest: 'read-uncommitted',
    says: [
      /T0 before T1 \(wr\): T1 read x as \[1\], and T0 appended the 1/,
      /T1 before T0 \(wr\): T0 read y as \[2\], and T1 appended the 2/,
    ],
  },
  internal: {
    history: [txn([append('x', 1), read('x')]), txn([read('x', 1)])],
    strongest: 'read-committed',
    says: [/T0 appended 1 to x and then read x as \[\]/],
  },
  'lost-update': {
    history: [
      txn([read('x'), append('x', 1)]),
      txn([read('x'), append('x', 2)]),
      txn([read('x', 1, 2)], { call: 200, ret: 300 }),
    ],
    strongest: 'read-committed',
    says: [/T0 and T1 both read x as \[\] and then appended to it/],
  },
  'G-single': {
    history: [txn([append('x', 1), append('y', 1)]), txn([read('x'), read('y', 1)]), txn([read('x', 1)])],
    strongest: 'read-committed',
    says: [
      /T1 before T0 \(rw\): T1 read x as \[\], without 1, which T0 appended/,
      /T0 before T1 \(wr\): T1 read y as \[1\]/,
    ],
  },
  'G-nonadjacent': {
    history: [
      txn([append('x', 1)]),
      txn([append('y', 1)]),
      txn([read('x', 1), read('y')]),
      txn([read('x'), read('y', 1)]),
    ],
    strongest: 'read-committed',
    says: [/4 transactions that no order explains/],
  },
  'G2-item': {
    history: [
      txn([read('x'), append('y', 1)]),
      txn([read('y'), append('x', 1)]),
      txn([read('x', 1), read('y', 1)]),
    ],
    strongest: 'snapshot-isolation',
    says: [
      /T0 before T1 \(rw\): T0 read x as \[\], without 1, which T1 appended/,
      /T1 before T0 \(rw\): T1 read y as \[\], without 1, which T0 appended/,
    ],
  },
  'G0-realtime': {
    history: [
      txn([append('x', 1)], { call: 0, ret: 1 }),
      txn([append('x', 2)], { call: 2, ret: 3 }),
      txn([read('x', 2, 1)], { call: 4, ret: 5 }),
    ],
    strongest: 'serializable',
    says: [/T0 before T1 \(realtime\): T0 had returned at 1 when T1 was called at 2/],
  },
  'G1c-realtime': {
    history: [txn([read('x', 1)], { call: 0, ret: 1 }), txn([append('x', 1)], { call: 2, ret: 3 })],
    strongest: 'serializable',
    says: [/T1 before T0 \(wr\)/, /T0 before T1 \(realtime\)/],
  },
  'G-single-realtime': {
    history: [
      txn([append('x', 1)], { call: 0, ret: 1 }),
      txn([read('x')], { call: 2, ret: 3 }),
      txn([read('x', 1)], { call: 2, ret: 4 }),
    ],
    strongest: 'serializable',
    says: [/T1 before T0 \(rw\): T1 read x as \[\], without 1/, /no order in time explains/],
  },
  'G2-item-realtime': {
    history: [
      txn([append('x', 1)], { call: 0, ret: 1 }),
      txn([read('x'), append('y', 1)], { call: 2, ret: 9 }),
      txn([read('y')], { call: 10, ret: 11 }),
      txn([read('x', 1), read('y', 1)], { call: 0, ret: 90 }),
    ],
    strongest: 'serializable',
    says: [/realtime/],
  },
}

void test('checkListAppend names each anomaly, says why, and rules out what forbids it', async (t) => {
  for (const [type, { history, strongest, says }] of Object.entries(cases)) {
    const verdict = checkListAppend(history)
    const found = verdict.anomalies.find((anomaly) => anomaly.type === type || type === 'G2-item-realtime')
    t.ok(found, `${type} is found, not only ${typesOf(history).join(', ')}`)
    t.equal(verdict.verdict, 'illegal', type)
    t.equal(verdict.strongest, strongest, `${type}: what is left`)
    for (const pattern of says) t.match(found?.explanation, pattern, type)
    const forbidden = found?.forbiddenFrom
    t.equal(checkListAppend(history, { level: forbidden }).verdict, 'illegal', `${type} at ${forbidden}`)
    if (strongest !== undefined) {
      const allowed = checkListAppend(history, { level: strongest })
      t.equal(allowed.verdict, 'ok', `${type} is allowed at ${strongest}`)
      t.match(allowed.reason, /allowed there/)
    }
  }
})

void test('checkListAppend finds nothing else in a history with one anomaly', async (t) => {
  for (const type of ['G0', 'G1a', 'G1c', 'G-single', 'G-nonadjacent', 'G2-item', 'internal'] as const) {
    t.same(
      typesOf(cases[type]?.history ?? []).filter((found) => found !== type && !found.startsWith('G2-item')),
      [],
      type,
    )
  }
  const ownRead = [
    txn([append('x', 1), read('x', 1), append('y', 2)]),
    txn([append('x', 2), append('y', 1)]),
    txn([read('x', 1, 2)]),
    txn([read('y', 1, 2)]),
  ]
  t.same(typesOf(ownRead), ['G0'], 'what it read of its own is no anti-dependency')
  const update = cases['lost-update']?.history ?? []
  t.same(typesOf(update), ['lost-update', 'G-single'], 'a lost update is a circle too')
})

void test('checkListAppend takes histories that are right', async (t) => {
  const good: Readonly<Record<string, readonly ListTransactionOp[]>> = {
    empty: [],
    'one after the other': [
      txn([append('x', 1)], { call: 0, ret: 1 }),
      txn([read('x', 1), append('x', 2), read('x', 1, 2)], { call: 2, ret: 3 }),
      txn([read('x', 1, 2), read('x', 1, 2)], { call: 4, ret: 5 }),
    ],
    'a concurrent read that is late': [txn([append('x', 1)]), txn([read('x')]), txn([read('x', 1)])],
    'aborted appends that nobody read': [
      txn([append('x', 1)], { ended: 'aborted' }),
      txn([append('x', 2)]),
      txn([read('x', 2)]),
    ],
    'an unknown one that took effect late': [
      txn([append('x', 1), append('y', 1)], { call: 0, ended: 'unknown' }),
      txn([read('x')], { call: 10, ret: 11 }),
      txn([read('x', 1), read('y', 1)], { call: 20, ret: 21 }),
    ],
    'an unknown one that never took effect': [
      txn([append('x', 1)], { call: 0, ended: 'unknown' }),
      txn([read('x')], { call: 10, ret: 11 }),
    ],
    'returns and calls at one instant are concurrent': [
      txn([append('x', 1)], { call: 0, ret: 5 }),
      txn([read('x')], { call: 5, ret: 6 }),
      txn([read('x', 1)], { call: 7, ret: 8 }),
    ],
    'two appends of one transaction': [
      txn([append('x', 1), append('x', 2)]),
      txn([read('x')]),
      txn([read('x', 1, 2)]),
    ],
    'an update that appends twice and is the only one': [
      txn([read('x'), append('x', 1), append('x', 2), append('y', 1)]),
    ],
  }
  for (const [name, history] of Object.entries(good)) {
    const verdict = checkListAppend(history, { session: true })
    t.equal(verdict.verdict, 'ok', `${name}: ${verdict.reason}`)
    t.same(verdict.ruledOut, [], name)
    t.equal(verdict.strongest, 'strict-serializable')
  }
})

void test('checkListAppend: an unknown transaction is judged once somebody read it', async (t) => {
  const half = [
    txn([append('x', 1), append('y', 1)], { call: 0, ended: 'unknown' }),
    txn([read('x', 1)], { call: 10, ret: 11 }),
    txn([read('y')], { call: 20, ret: 21 }),
  ]
  const verdict = checkListAppend(half)
  t.equal(verdict.verdict, 'illegal', 'half of it was seen, and the other half was not, later')
  t.match(verdict.reason, /T2 read y as \[\], without 1, which T0 appended/)
  t.equal(checkListAppend(half.slice(0, 1)).verdict, 'unknown', 'nobody read anything')
})

void test('checkListAppend: what was appended and never read comes after all that was', async (t) => {
  const lost = [
    txn([append('x', 1)], { call: 0, ret: 1 }),
    txn([append('x', 2)], { call: 2, ret: 3 }),
    txn([read('x', 1)], { call: 4, ret: 5 }),
  ]
  t.match(checkListAppend(lost).reason, /without 2, which T1 appended/)
  t.equal(checkListAppend(lost, { level: 'serializable' }).verdict, 'ok', 'serializable stores may be late')
  const skew = [txn([read('x'), append('y', 1)]), txn([read('y'), append('x', 1)])]
  t.same(typesOf(skew), ['G2-item'], 'no read is needed to see it')
  const interleaved = [
    txn([append('x', 1), append('y', 2)]),
    txn([append('y', 1), append('x', 2)]),
    txn([read('x', 1)]),
    txn([read('y', 1, 2)]),
  ]
  t.ok(typesOf(interleaved).includes('G0'), 'also after the last append that was')
  const own = [txn([read('x'), append('x', 1)]), txn([append('x', 2)]), txn([append('x', 3), read('y')])]
  t.same(typesOf(own), [], 'its own append is not one that it missed')
})

void test('checkListAppend: sessions are demanded only when asked for', async (t) => {
  const backwards = [
    txn([append('x', 1)], { client: 1, call: 0, ret: 10 }),
    txn([read('x')], { client: 1, call: 10, ret: 20 }),
    txn([read('x', 1)], { client: 2, call: 0, ret: 100 }),
  ]
  for (const level of ['snapshot-isolation', 'serializable'] as const) {
    t.equal(checkListAppend(backwards, { level }).verdict, 'ok')
    const verdict = checkListAppend(backwards, { level, session: true })
    t.equal(verdict.verdict, 'illegal')
    t.match(
      verdict.reason,
      /with sessions: G-single-session \(read skew\).*client 1 called T0 first and then T1/s,
    )
  }
  t.equal(checkListAppend(backwards, { level: 'read-committed', session: true }).verdict, 'ok')
  const longFork = [
    txn([append('x', 1)], { client: 1, call: 0, ret: 1 }),
    txn([read('y')], { client: 1, call: 2, ret: 3 }),
    txn([append('y', 1)], { client: 2, call: 0, ret: 1 }),
    txn([read('x')], { client: 2, call: 2, ret: 3 }),
  ]
  const fork = checkListAppend(longFork, { level: 'snapshot-isolation', session: true })
  t.ok(fork.counts.has('G-nonadjacent-session'))
  t.equal(fork.verdict, 'illegal')
})

void test('checkListAppend shows the shortest circle', async (t) => {
  const long = Array.from({ length: 40 }, (_, i) => txn([append(`k${i}`, 1), read(`k${(i + 1) % 40}`, 1)]))
  const circle = checkListAppend(long, { level: 'serializable' })
  t.equal(circle.anomalies[0]?.cycle?.length, 40)
  t.match(circle.reason, /40 transactions.*and 28 more steps back to/s)
  const withShort = [
    ...long,
    txn([append('p', 1), read('k0', 1), read('q', 1)]),
    txn([append('q', 1), read('p', 1)]),
  ]
  const shortest = checkListAppend(withShort, { level: 'serializable' }).anomalies.map(
    (one) => one.transactions.length,
  )
  t.same(shortest, [2, 40], 'one for each tangle')
  const joined = [...long.slice(0, -1), txn([append('k39', 1), read('k0', 1), read('k38', 1)])]
  t.same(
    checkListAppend(joined, { level: 'serializable' }).anomalies[0]?.transactions.length,
    2,
    'a shortcut',
  )
  const cut = checkListAppend(joined, { level: 'serializable', stepsMax: 0 })
  t.equal(cut.verdict, 'illegal', 'the verdict does not depend on the search')
  t.equal(cut.isShortest, false)
})

void test('cyclePicture draws every transaction and edge, and escapes what it shows', async (t) => {
  const anomaly = checkListAppend(cases['G2-item']?.history ?? []).anomalies[0]
  t.ok(anomaly)
  if (anomaly === undefined) return
  const history = cases['G2-item']?.history ?? []
  const svg = cyclePicture(history, anomaly)
  t.match(svg, /^<svg xmlns="http:\/\/www.w3.org\/2000\/svg"/)
  t.equal(svg.match(/class="box"/g)?.length, 2)
  t.equal(svg.match(/class="edge"/g)?.length, 2)
  t.match(svg, />rw<\/text>/)
  t.match(svg, /T0 \(client/)
  t.equal(cyclePicture(history, anomaly), svg, 'the same text again')
  const nasty = '<b>"&\u0001'
  const escaped = [txn([append(nasty, 1)], { ended: 'aborted' }), txn([read(nasty, 1)])]
  const picture = cyclePicture(escaped, checkListAppend(escaped).anomalies[0]!)
  t.notOk(picture.includes('<b>') || picture.includes('\u0001'))
  t.match(picture, /&lt;b&gt;/)
  const long = Array.from({ length: 40 }, (_, i) => txn([append(`k${i}`, 1), read(`k${(i + 1) % 40}`, 1)]))
  const ring = cyclePicture(long, checkListAppend(long).anomalies[0]!)
  t.equal(ring.match(/class="box"/g)?.length, 12)
  t.match(ring, /and 28 more transactions/)
  const stale = cases['G-single-realtime']?.history ?? []
  t.match(cyclePicture(stale, checkListAppend(stale).anomalies[0]!), />rt<\/text>/)
})

void test('checkListAppend refuses what it cannot judge', async (t) => {
  t.throws(() => checkListAppend([txn([append('x', 1)]), txn([append('x', 1)])]), {
    name: 'RangeError',
    message: /1 is appended to x by T0 and by T1; every value must be appended to a key once/,
  })
  t.throws(
    () => checkListAppend([{ ...txn([read('x')]), out: undefined }]),
    /returned at 100 without an outcome/,
  )
  t.throws(
    () => checkListAppend([{ ...txn([read('x')]), out: { type: 'committed', reads: [] } }]),
    /it has 1 reads but 0 lists/,
  )
  t.throws(() => checkListAppend([], { level: 'nonsense' as never }), /Unknown isolation level "nonsense"/)
  t.throws(() => checkListAppend([], { examplesMax: 0 }), /examplesMax must be at least 1/)
})

type Isolation = 'serializable' | 'snapshot' | 'read-committed'

interface StoreRun {
  readonly seed: number
  readonly isolation: Isolation
  readonly transactions: number
  readonly clients?: number
  readonly keys?: number
  readonly unknownPercent?: number
}

/**
 * A store in memory, its clients interleaved at random one step at a time. `serializable`: reads are of a snapshot and
 * checked again at commit. `snapshot`: only what was written is checked at commit. `read-committed`: every read is of
 * the latest, appends lock their key until the end. Ends with a read of everything.
 */
function storeHistory(run: StoreRun): ListTransactionOp[] {
  const { seed, isolation, transactions, clients: width = 5, keys = 4, unknownPercent = 5 } = run
  const random = new SeededNumbers(seed)
  const lists = new Map<string, Value[]>()
  const locks = new Map<string, Active>()
  const done: ListTransactionOp[] = []
  const active: Active[] = []
  const names = Array.from({ length: width }, (_, i) => i)
  let [now, started, nextName, nextValue] = [0, 0, width, 0]
  const latest = (key: string): readonly Value[] => lists.get(key) ?? []
  const begin = (): void => {
    started++
    const operations = Array.from({ length: 1 + random.below(4) }, (): ListOperation => {
      const key = `k${random.below(keys)}`
      return random.chance(50) ? { type: 'append', key, value: nextValue++ } : { type: 'read', key }
    })
    const snapshot = new Map([...lists].map(([key, values]) => [key, [...values]]))
    active.push({
      client: names.pop() ?? 0,
      call: now++,
      operations,
      snapshot,
      reads: [],
      own: new Map(),
      next: 0,
    })
  }
  const finish = (one: Active, isCommitted: boolean): void => {
    active.splice(active.indexOf(one), 1)
    for (const [key, holder] of locks) if (holder === one) locks.delete(key)
    const isLost = random.chance(unknownPercent)
    // When the answer is lost before the store got to it, it was never carried out.
    if (isCommitted && !(isLost && random.chance(50))) {
      for (const [key, values] of one.own) lists.set(key, [...latest(key), ...values])
    }
    names.push(isLost ? nextName++ : one.client)
    const out: ListOutcome = isCommitted ? { type: 'committed', reads: one.reads } : { type: 'aborted' }
    const ret = isLost ? Number.POSITIVE_INFINITY : now++
    done.push({ client: one.client, in: one.operations, out: isLost ? undefined : out, call: one.call, ret })
  }
  const isUnchanged = (one: Active, key: string): boolean =>
    latest(key).length === (one.snapshot.get(key)?.length ?? 0)
  const step = (one: Active): void => {
    const operation = one.operations[one.next++]
    if (operation === undefined) {
      const written = [...one.own.keys()]
      const read = one.operations.flatMap((each) => (each.type === 'read' ? [each.key] : []))
      if (isolation === 'read-committed') finish(one, true)
      else
        finish(
          one,
          (isolation === 'snapshot' ? written : [...written, ...read]).every((key) => isUnchanged(one, key)),
        )
      return
    }
    const { key } = operation
    if (operation.type === 'append') {
      if (isolation === 'read-committed') {
        if ((locks.get(key) ?? one) !== one) return finish(one, false)
        locks.set(key, one)
      }
      one.own.set(key, [...(one.own.get(key) ?? []), operation.value])
      return
    }
    const base = isolation === 'read-committed' ? latest(key) : (one.snapshot.get(key) ?? [])
    one.reads.push([...base, ...(one.own.get(key) ?? [])])
  }
  while (started < transactions || active.length > 0) {
    const canBegin = started < transactions && active.length < width
    if (canBegin && (active.length === 0 || random.chance(40))) begin()
    else step(random.pick(active))
  }
  const all = [...lists.keys()]
  const operations = all.map((key): ListOperation => ({ type: 'read', key }))
  const out: ListOutcome = { type: 'committed', reads: all.map(latest) }
  return [...done, { client: nextName, in: operations, out, call: now++, ret: now++ }]
}

interface Active {
  readonly client: number
  readonly call: number
  readonly operations: readonly ListOperation[]
  readonly snapshot: ReadonlyMap<string, readonly Value[]>
  readonly reads: (readonly Value[])[]
  readonly own: Map<string, readonly Value[]>
  next: number
}

const seeds = fc.integer({ min: 0, max: 0x7fffffff })
const runs = { numRuns: 150 }

void test('checkListAppend: a serializable store is never found guilty', async (t) => {
  fc.assert(
    fc.property(seeds, fc.integer({ min: 1, max: 60 }), (seed, transactions) => {
      const verdict = checkListAppend(storeHistory({ seed, isolation: 'serializable', transactions }), {
        session: true,
      })
      // With nothing committed there is nothing to be told.
      return verdict.verdict !== 'illegal' && verdict.anomalies.length === 0
    }),
    runs,
  )
  t.pass()
})

void test('checkListAppend: snapshot isolation shows write skew and nothing worse', async (t) => {
  let skews = 0
  const found = new Set<string>()
  fc.assert(
    fc.property(seeds, (seed) => {
      const history = storeHistory({ seed, isolation: 'snapshot', transactions: 60 })
      const verdict = checkListAppend(history, { level: 'snapshot-isolation', session: true })
      if (verdict.counts.has('G2-item')) skews++
      for (const type of verdict.counts.keys()) found.add(type.replace(/-(?:session|realtime)$/, ''))
      return verdict.verdict === 'ok'
    }),
    runs,
  )
  t.same([...found], ['G2-item'])
  t.ok(skews > 50, `write skew in ${skews} of 150`)
})

void test('checkListAppend: read committed shows read skew and lost updates and nothing worse', async (t) => {
  const found = new Set<string>()
  fc.assert(
    fc.property(seeds, (seed) => {
      const history = storeHistory({ seed, isolation: 'read-committed', transactions: 60 })
      const verdict = checkListAppend(history, { level: 'read-committed' })
      for (const type of verdict.counts.keys()) found.add(type)
      return verdict.verdict === 'ok'
    }),
    runs,
  )
  for (const type of ['G-single', 'lost-update', 'internal', 'G2-item']) t.ok(found.has(type), type)
})

/** Replaces what the read at `place` of a transaction saw. */
function withRead(op: ListTransactionOp, place: number, values: readonly Value[]): ListTransactionOp {
  if (op.out?.type !== 'committed') return op
  return {
    ...op,
    out: { type: 'committed', reads: op.out.reads.map((old, i) => (i === place ? values : old)) },
  }
}

/** Every read that somebody committed did: of which transaction and which of its reads, and what it saw. */
function readsOf(
  history: readonly ListTransactionOp[],
): readonly { i: number; place: number; saw: readonly Value[] }[] {
  return history.flatMap(({ out }, i) =>
    out?.type === 'committed'
      ? out.reads.map((saw, place) => ({ i, place, saw: saw as readonly Value[] }))
      : [],
  )
}

void test('checkListAppend: a bent history is found guilty', async (t) => {
  const mutate = (
    name: string,
    bend: (
      history: readonly ListTransactionOp[],
      random: SeededNumbers,
    ) => readonly ListTransactionOp[] | undefined,
  ): void => {
    let bent = 0
    fc.assert(
      fc.property(seeds, (seed) => {
        const history = storeHistory({ seed, isolation: 'serializable', transactions: 40 })
        const changed = bend(history, new SeededNumbers(seed + 1))
        if (changed === undefined) return true
        bent++
        return checkListAppend(changed).verdict === 'illegal'
      }),
      { numRuns: 100 },
    )
    t.ok(bent > 50, `${name}: ${bent} of 100 could be bent`)
  }
  const longReads = (history: readonly ListTransactionOp[], length: number) =>
    readsOf(history).filter(({ saw }) => saw.length >= length)
  mutate('two values of a list swapped, of a key that others read too', (history, random) => {
    const reads = longReads(history.slice(0, -1), 2)
    if (reads.length === 0) return undefined
    const { i, place, saw } = random.pick(reads)
    const swapped = [...saw.slice(0, -2), ...saw.slice(-1), ...saw.slice(-2, -1)]
    return history.map((op, at) => (at === i ? withRead(op, place, swapped) : op))
  })
  mutate('an acknowledged append is missing from the end', (history) => {
    const last = history.length - 1
    const reads = readsOf(history).filter(({ i, saw }) => i === last && saw.length > 0)
    const certain = reads.find(({ saw }) =>
      history.some(
        (op) =>
          op.out?.type === 'committed' &&
          op.in.some((step) => step.type === 'append' && step.value === saw.at(-1)),
      ),
    )
    if (certain === undefined) return undefined
    return history.map((op, at) => (at === last ? withRead(op, certain.place, certain.saw.slice(0, -1)) : op))
  })
  mutate('an old value is read at the end', (history) => {
    const last = history.length - 1
    const read = readsOf(history).find(({ i, saw }) => i === last && saw.length > 2)
    if (read === undefined) return undefined
    return history.map((op, at) => (at === last ? withRead(op, read.place, []) : op))
  })
  mutate('a transaction that was read says that it was aborted', (history, random) => {
    const seen = new Set(readsOf(history).flatMap(({ saw }) => saw))
    const readFrom = [...history.keys()].filter((i) =>
      history[i]?.in.some((step) => step.type === 'append' && seen.has(step.value as Value)),
    )
    if (readFrom.length === 0) return undefined
    const i = random.pick(readFrom)
    return history.map((op, at) =>
      at === i ? { ...op, out: { type: 'aborted' }, ret: Math.min(op.ret, 1e6) } : op,
    )
  })
  mutate('a value is read twice', (history, random) => {
    const reads = longReads(history, 1)
    if (reads.length === 0) return undefined
    const { i, place, saw } = random.pick(reads)
    return history.map((op, at) => (at === i ? withRead(op, place, [...saw, saw[0] ?? 0]) : op))
  })
})

/** Whether some order of the transactions, one at a time, explains every read; `keepsTime`: that keeps to real time too. */
function hasSerialOrder(history: readonly ListTransactionOp[], keepsTime: boolean): boolean {
  const count = history.length
  const place = (used: number, state: ReadonlyMap<string, readonly Value[]>): boolean => {
    const left = [...history.keys()].filter((i) => (used & (1 << i)) === 0)
    // One of unknown outcome or aborted need not be placed.
    if (left.every((i) => history[i]?.out?.type !== 'committed')) return true
    for (const i of left) {
      const op = history[i]!
      if (op.out?.type === 'aborted') continue
      if (keepsTime && left.some((j) => history[j]?.out?.type === 'committed' && history[j]!.ret < op.call))
        continue
      const next = new Map(state)
      let read = 0
      const fits = op.in.every((step) => {
        const before = next.get(step.key) ?? []
        if (step.type === 'append') {
          next.set(step.key, [...before, step.value as Value])
          return true
        }
        const saw = op.out?.type === 'committed' ? op.out.reads[read++] : undefined
        return (
          saw === undefined ||
          (saw.length === before.length && saw.every((value, at) => value === before[at]))
        )
      })
      if (fits && place(used | (1 << i), next)) return true
    }
    return false
  }
  return count <= 9 && place(0, new Map())
}

void test('checkListAppend agrees with trying every order, where all keys are read at the end', async (t) => {
  const seen = { good: 0, bad: 0 }
  for (let seed = 0; seed < 1500; seed++) {
    const isolation = (['serializable', 'snapshot', 'read-committed'] as const)[seed % 3] ?? 'snapshot'
    const history = storeHistory({
      seed,
      isolation,
      transactions: 7,
      keys: 2,
      clients: 4,
      unknownPercent: 10,
    })
    const random = new SeededNumbers(seed)
    const reads = readsOf(history.slice(0, -1)).filter(({ saw }) => saw.length > 0)
    const isBent = seed % 2 === 0 && reads.length > 0
    const { i, place, saw } = isBent ? random.pick(reads) : { i: -1, place: 0, saw: [] }
    const ops = history.map((op, at) => (at === i ? withRead(op, place, saw.slice(0, -1)) : op))
    for (const level of ['serializable', 'strict-serializable'] as const) {
      const isRight = hasSerialOrder(ops, level === 'strict-serializable')
      const { verdict, reason } = checkListAppend(ops, { level })
      seen[isRight ? 'good' : 'bad']++
      if ((verdict === 'ok') !== isRight)
        t.fail(`seed ${seed} ${level}: ${verdict} but ${isRight}: ${reason}`)
    }
  }
  t.ok(seen.good > 300 && seen.bad > 300, JSON.stringify(seen))
})
