/** checkTotalQueue: each fault by name, queues that keep their promises, and bent histories. */
import fc from 'fast-check'
import { test } from 'tap'
import { SeededNumbers, concurrentHistory } from '../../support/concurrent-history.ts'
import { sourceModule } from '../../support/source-module.ts'

const { checkTotalQueue } = await sourceModule<
  typeof import('../../../packages/runtime/src/checker/total-queue.ts')
>('runtime', 'checker/total-queue')

type QueueOp = Parameters<typeof checkTotalQueue<number>>[0][number]
type Options = NonNullable<Parameters<typeof checkTotalQueue<number>>[1]>

const never = Number.POSITIVE_INFINITY

function enqueue(value: number, call: number, ret: number, partition?: string): QueueOp {
  return { client: 1, in: { type: 'enqueue', value, partition }, out: undefined, call, ret }
}

function dequeue(values: readonly number[], call: number, ret: number): QueueOp {
  return { client: 2, in: { type: 'dequeue' }, out: values, call, ret }
}

function drain(values: readonly number[], call: number, ret: number, partition?: string): QueueOp {
  return { client: 3, in: { type: 'drain', partition }, out: values, call, ret }
}

void test('checkTotalQueue: lost', async (t) => {
  const lost = checkTotalQueue([enqueue(1, 0, 1), enqueue(2, 2, 3), dequeue([2], 4, 5), drain([], 6, 7)])
  t.equal(lost.verdict, 'illegal')
  t.match(
    lost.reason,
    /^lost: 1 was sent at 0, acknowledged at 1 and never delivered, though a drain called at 6/,
  )
  t.match(lost.counts, { attempted: 2, acknowledged: 2, delivered: 1, lost: 1 })
  t.same(lost.faults[0]?.operations, [0, 3])
  const once = [enqueue(1, 0, 1), enqueue(1, 2, 3), drain([1], 4, 5)]
  t.equal(checkTotalQueue(once).counts.lost, 1, 'sent twice and delivered once')
})

void test('checkTotalQueue: nothing is lost that no drain came after', async (t) => {
  for (const last of [dequeue([], 6, 7), drain([], 1, 7), drain([], 6, never), drain([], 6, 7, 'other')]) {
    const verdict = checkTotalQueue([enqueue(1, 0, 1), last])
    t.equal(verdict.verdict, 'unknown', JSON.stringify(last))
    t.match(verdict.reason, /1 that no drain came after.*End with a drain/)
    t.equal(verdict.counts.undrained, 1)
  }
  t.equal(
    checkTotalQueue([enqueue(1, 0, 1, 'p'), drain([], 2, 3, 'p')]).verdict,
    'illegal',
    'drained its partition',
  )
  t.equal(checkTotalQueue([]).verdict, 'ok')
})

void test('checkTotalQueue: unknown outcomes', async (t) => {
  const maybe = [enqueue(1, 0, never), enqueue(2, 0, 1)]
  t.equal(checkTotalQueue([...maybe, drain([2], 2, 3)]).verdict, 'ok', 'may be missing')
  const late = checkTotalQueue([...maybe, drain([2], 2, 3), drain([1], 90, 91)])
  t.equal(late.verdict, 'ok', 'may appear late')
  t.equal(late.counts.recovered, 1)
  const taken = [enqueue(1, 0, 1), enqueue(2, 0, 1), dequeue([], 2, never), drain([], 4, 5)]
  const one = checkTotalQueue(taken.slice(1))
  t.equal(one.verdict, 'unknown', 'a dequeue without an answer may have it')
  t.match(one.reason, /1 that dequeues of unknown outcome may have taken/)
  t.equal(checkTotalQueue(taken).verdict, 'illegal', 'it cannot have two')
  t.equal(checkTotalQueue(taken.slice(1), { unknownDequeues: 'redelivered' }).verdict, 'illegal')
})

void test('checkTotalQueue: unexpected', async (t) => {
  const invented = checkTotalQueue([drain([7], 0, 1)])
  t.match(invented.reason, /^unexpected: 7 was delivered at 0\.\.1, but nobody ever sent it/)
  t.equal(invented.counts.unexpected, 1)
  const early = checkTotalQueue([dequeue([1], 0, 1), enqueue(1, 2, 3)])
  t.match(early.reason, /1 was delivered at 0\.\.1, before it was sent at 2/)
  t.equal(
    checkTotalQueue([dequeue([1], 0, 3), enqueue(1, 2, 4), drain([], 5, 6)]).verdict,
    'ok',
    'concurrent',
  )
})

void test('checkTotalQueue: duplicated', async (t) => {
  const twice = [enqueue(1, 0, 1), dequeue([1], 2, 3), drain([1], 4, 5)]
  const allowed = checkTotalQueue(twice)
  t.equal(allowed.verdict, 'ok')
  t.equal(allowed.counts.duplicated, 1)
  const forbidden = checkTotalQueue(twice, { duplicates: 'forbidden' })
  t.match(forbidden.reason, /^duplicated: 1 was sent once and delivered 2 times: at 2\.\.3, 4\.\.5/)
  const sentTwice = [enqueue(1, 0, 1), enqueue(1, 0, never), drain([1, 1], 4, 5)]
  t.equal(checkTotalQueue(sentTwice, { duplicates: 'forbidden' }).verdict, 'ok')
})

void test('checkTotalQueue: disordered', async (t) => {
  const ordered: Options = { order: 'partition' }
  const sent = [enqueue(1, 0, 1), enqueue(2, 2, 3)]
  const swapped = [...sent, dequeue([2], 4, 5), dequeue([1], 6, 7)]
  const verdict = checkTotalQueue(swapped, ordered)
  t.match(
    verdict.reason,
    /^disordered: 1 was acknowledged at 1, before 2 was sent at 2, but 2 was delivered first/,
  )
  t.same(verdict.faults[0]?.operations, [0, 1, 2, 3])
  t.equal(checkTotalQueue([...sent, drain([2, 1], 4, 5)], ordered).verdict, 'illegal', 'within one drain')
  t.equal(checkTotalQueue([...sent, drain([1, 2], 4, 5)], ordered).verdict, 'ok')
  t.equal(
    checkTotalQueue([...sent, dequeue([2], 4, 7), dequeue([1], 4, 7), drain([], 8, 9)], ordered).verdict,
    'ok',
  )
  const touching = [...sent, dequeue([2], 4, 6), dequeue([1], 6, 7), drain([], 8, 9)]
  t.equal(checkTotalQueue(touching, ordered).verdict, 'ok', 'concurrent at one instant')
  t.equal(checkTotalQueue([enqueue(1, 0, 2), enqueue(2, 0, 2), drain([2, 1], 4, 5)], ordered).verdict, 'ok')
  t.equal(
    checkTotalQueue([...sent, drain([1, 2], 4, 5), drain([1], 6, 7)], ordered).verdict,
    'ok',
    'came again',
  )
  const apart = [
    enqueue(1, 0, 1, 'a'),
    enqueue(2, 2, 3, 'b'),
    dequeue([2], 4, 5),
    dequeue([1], 6, 7),
    drain([], 8, 9),
  ]
  t.equal(checkTotalQueue(apart, ordered).verdict, 'ok', 'partitions are apart')
  t.equal(checkTotalQueue([...swapped, drain([], 8, 9)]).verdict, 'ok', 'only when asked for')
  t.throws(
    () => checkTotalQueue([...sent, enqueue(1, 5, 6)], ordered),
    /1 was sent twice; every value must be sent once/,
  )
})

const partitions = ['a', 'b', 'c']

/** A queue of three partitions, each in order; the last two calls drain everything. */
function queueHistory(seed: number, operations: number): QueueOp[] {
  const random = new SeededNumbers(seed)
  const queues = new Map<string, number[]>(partitions.map((name) => [name, []]))
  const isDrain = (index: number): boolean => index === operations - 1
  return concurrentHistory<QueueOp['in'], readonly number[] | undefined>({
    random,
    clients: 4,
    operations,
    unknownPercent: 0,
    isAlone: isDrain,
    input: (numbers, index) => {
      if (isDrain(index)) return { type: 'drain' }
      const partition = numbers.pick(partitions)
      if (numbers.chance(60)) return { type: 'enqueue', value: index, partition }
      return { type: 'dequeue', partition }
    },
    apply: (input) => {
      if (input.type === 'drain') return [...queues.values()].flatMap((queue) => queue.splice(0))
      const queue = queues.get(input.partition ?? '') ?? []
      if (input.type === 'dequeue') return queue.splice(0, 1)
      queue.push(input.value)
      return undefined
    },
  })
}

const strict: Options = { order: 'partition', duplicates: 'forbidden' }
const seeds = fc.integer({ min: 0, max: 0x7fffffff })

void test('checkTotalQueue: a right queue is never found guilty', async (t) => {
  fc.assert(
    fc.property(seeds, fc.integer({ min: 1, max: 80 }), (seed, operations) => {
      const history = queueHistory(seed, operations)
      if (checkTotalQueue(history, strict).verdict !== 'ok') return false
      // An acknowledgement that got lost changes nothing.
      const open = history.map((op, i) =>
        op.in.type === 'enqueue' && i % 7 === 0 ? { ...op, ret: never } : op,
      )
      return checkTotalQueue(open, strict).verdict === 'ok'
    }),
  )
  t.pass()
})

void test('checkTotalQueue: a bent history is found guilty', async (t) => {
  const takes = (history: readonly QueueOp[]): readonly number[] =>
    [...history.keys()].filter((i) => (history[i]?.out ?? []).length > 0)
  const bends: Readonly<Record<string, (history: readonly QueueOp[], i: number) => readonly QueueOp[]>> = {
    'a delivery is lost': (history, i) =>
      history.map((op, at) => (at === i ? { ...op, out: op.out?.slice(1) } : op)),
    'a delivery is invented': (history, i) =>
      history.map((op, at) => (at === i ? { ...op, out: [...(op.out ?? []), -1] } : op)),
    'a delivery is repeated': (history, i) =>
      history.map((op, at) => (at === i ? { ...op, out: [...(op.out ?? []), op.out?.[0] ?? 0] } : op)),
  }
  for (const [name, bend] of Object.entries(bends)) {
    let bent = 0
    fc.assert(
      fc.property(seeds, (seed) => {
        const history = queueHistory(seed, 40)
        const places = takes(history)
        if (places.length === 0) return true
        bent++
        const { verdict } = checkTotalQueue(bend(history, new SeededNumbers(seed).pick(places)), strict)
        return verdict === 'illegal'
      }),
    )
    t.ok(bent > 50, name)
  }
})

void test('checkTotalQueue agrees with looking at every pair for order', async (t) => {
  let disordered = 0
  for (let seed = 0; seed < 400; seed++) {
    const random = new SeededNumbers(seed)
    const history = queueHistory(seed, 30)
    // Swaps what two takes delivered.
    const takes = [...history.keys()].filter(
      (i) => history[i]?.in.type === 'dequeue' && history[i]?.out?.length === 1,
    )
    if (takes.length < 2) continue
    const [a, b] = [random.pick(takes), random.pick(takes)]
    const ops = history.map((op, i) =>
      i === a ? { ...op, out: history[b]?.out } : i === b ? { ...op, out: history[a]?.out } : op,
    )
    const sent = new Map(
      ops.flatMap((op) => (op.in.type === 'enqueue' ? [[op.in.value, { ...op, in: op.in }] as const] : [])),
    )
    const got = ops.flatMap((op) =>
      (op.out ?? []).map((value, place) => ({ value, place, call: op.call, ret: op.ret })),
    )
    // What came before it was sent is unexpected, and in no order.
    const expected = got.filter((one) => one.ret >= (sent.get(one.value)?.call ?? 0))
    const isWrong = expected.some((first) =>
      expected.some((second) => {
        const [x, y] = [sent.get(second.value), sent.get(first.value)]
        const isBefore = first.ret < second.call || (first.call === second.call && first.place < second.place)
        return (
          isBefore &&
          x !== undefined &&
          y !== undefined &&
          x.in.partition === y.in.partition &&
          x.ret < y.call
        )
      }),
    )
    const verdict = checkTotalQueue(ops, { order: 'partition' })
    if (isWrong) disordered++
    t.equal(verdict.counts.disordered > 0, isWrong, `seed ${seed}: ${verdict.reason}`)
  }
  t.ok(disordered > 50)
})
