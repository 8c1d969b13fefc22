/** The models of this folder: histories that are right, and the same with one thing wrong. A checker that never fails proves nothing. */
import { checkLinearizable, type Model, type ModelState, type Op } from '@understudy/runtime/checkers'
import { test } from 'tap'
import { barrierModel, doubleBarrierModel, type BarrierInput } from './barrier-model.ts'
import { holdModel, writePermits, type HoldInput, type HoldOutput } from './hold-model.ts'
import { countModel, latchModel, versionedModel } from './number-model.ts'

/** One call: what, what came back, from when to when. */
type Call<I, O> = readonly [input: I, output: O, call: number, ret: number]

function verdict<S extends ModelState, I, O>(model: Model<S, I, O>, calls: readonly Call<I, O>[]): string {
  const ops = calls.map(([input, output, call, ret], client): Op<I, O> => ({
    client,
    in: input,
    out: output,
    call,
    ret,
  }))
  return checkLinearizable(model, ops).verdict
}

const never = Number.POSITIVE_INFINITY

function hold(type: 'acquire' | 'release' | 'end', who: string, permits = 1, capacity = 1): HoldInput {
  return type === 'acquire'
    ? { type, name: 'a', hold: who, permits, capacity }
    : { type, name: 'a', hold: who }
}

void test('holdModel: holders one after the other, with tokens that grow', async (t) => {
  const right: readonly Call<HoldInput, HoldOutput>[] = [
    [hold('acquire', 'x'), 1, 0, 1],
    [hold('acquire', 'y'), 2, 2, 6],
    [hold('acquire', 'z'), null, 3, 4],
    [hold('release', 'x'), true, 4.5, 5],
    [hold('release', 'y'), true, 7, 8],
  ]
  t.equal(verdict(holdModel, right), 'ok')
  const withOne = (at: number, call: Call<HoldInput, HoldOutput>): readonly Call<HoldInput, HoldOutput>[] =>
    right.map((one, i) => (i === at ? call : one))
  t.equal(verdict(holdModel, withOne(1, [hold('acquire', 'y'), 2, 2, 3])), 'illegal', 'two at once')
  t.equal(verdict(holdModel, withOne(1, [hold('acquire', 'y'), 1, 2, 6])), 'illegal', 'a token twice')
  t.equal(
    verdict(holdModel, [...right, [hold('acquire', 'v'), null, 9, 10]]),
    'illegal',
    'refused what nobody has',
  )
  t.equal(
    verdict(holdModel, [
      ...withOne(1, [hold('acquire', 'y'), 2, 2, 3]),
      [hold('end', 'x'), undefined, 0, never],
    ]),
    'illegal',
    'who lost it cannot have released it',
  )
})

void test('holdModel: what was lost may have ended at any time, and nothing else', async (t) => {
  const calls: readonly Call<HoldInput, HoldOutput>[] = [
    [hold('acquire', 'x'), 1, 0, 1],
    [hold('acquire', 'y'), 2, 2, 3],
  ]
  t.equal(verdict(holdModel, calls), 'illegal')
  t.equal(verdict(holdModel, [...calls, [hold('end', 'x'), undefined, 0, never]]), 'ok')
  t.equal(verdict(holdModel, [...calls, [hold('end', 'x'), undefined, 4, never]]), 'illegal', 'too late')
})

void test('holdModel: permits are never over-committed, readers share, writers are alone', async (t) => {
  const of = (who: string, permits: number): HoldInput => hold('acquire', who, permits, 3)
  t.equal(
    verdict(holdModel, [
      [of('x', 1), 1, 0, 1],
      [of('y', 2), 2, 0, 1],
    ] as const),
    'ok',
  )
  t.equal(
    verdict(holdModel, [
      [of('x', 2), 1, 0, 1],
      [of('y', 2), 2, 0, 1],
    ] as const),
    'illegal',
  )
  const more = { type: 'set-permits', name: 'a', permits: 4 } as const
  t.equal(
    verdict(holdModel, [
      [of('x', 2), 1, 0, 1],
      [more, true, 0, 1],
      [of('y', 2), 2, 0, 1],
    ] as const),
    'ok',
  )
  const reads = (who: string): HoldInput => hold('acquire', who, 1, writePermits)
  const writes = hold('acquire', 'w', writePermits, writePermits)
  t.equal(
    verdict(holdModel, [
      [reads('x'), 1, 0, 1],
      [reads('y'), 2, 0, 1],
    ] as const),
    'ok',
  )
  t.equal(
    verdict(holdModel, [
      [reads('x'), 1, 0, 1],
      [writes, 2, 0, 1],
    ] as const),
    'illegal',
  )
})

void test('countModel, latchModel, versionedModel: right answers, and one that is wrong', async (t) => {
  const add = { type: 'add', name: 'a', by: 1 } as const
  t.equal(
    verdict(countModel, [
      [add, 1, 0, 3],
      [add, 2, 0, 3],
    ] as const),
    'ok',
  )
  t.equal(
    verdict(countModel, [
      [add, 1, 0, 3],
      [add, 1, 0, 3],
    ] as const),
    'illegal',
    'an addition is lost',
  )
  const cas = { type: 'cas', name: 'a', expected: 0, value: 5 } as const
  const done = { ok: true, value: 5 }
  t.equal(
    verdict(countModel, [
      [cas, done, 0, 3],
      [cas, done, 0, 3],
    ] as const),
    'illegal',
    'both won',
  )
  const down = { type: 'down', name: 'a', count: 2, by: 1 } as const
  const wait = { type: 'wait', name: 'a', count: 2 } as const
  t.equal(
    verdict(latchModel, [
      [down, 1, 0, 1],
      [wait, 0, 0, 5],
      [down, 0, 2, 3],
    ] as const),
    'ok',
  )
  t.equal(
    verdict(latchModel, [
      [down, 1, 0, 1],
      [wait, 0, 0, 1.5],
      [down, 0, 2, 3],
    ] as const),
    'illegal',
  )
  const set = (value: string) => ({ type: 'set', name: 'a', value }) as const
  const get = { type: 'get', name: 'a' } as const
  const found = { ok: true, version: 7, value: 'x' }
  t.equal(
    verdict(versionedModel, [
      [set('x'), { ok: true, version: 7 }, 0, 1],
      [get, found, 2, 3],
    ] as const),
    'ok',
  )
  const aba = { type: 'cas', name: 'a', expectedVersion: 7, value: 'z' } as const
  const history: readonly Call<
    Parameters<typeof versionedModel.step>[1],
    { ok: boolean; version: number; value?: string }
  >[] = [
    [set('x'), { ok: true, version: 7 }, 0, 1],
    [set('y'), { ok: true, version: 8 }, 2, 3],
    [set('x'), { ok: true, version: 9 }, 4, 5],
    [aba, { ok: true, version: 10 }, 6, 7],
  ]
  t.equal(verdict(versionedModel, history), 'illegal', 'the text is the same, the version is not')
})

void test('barrierModel: nobody passes before all have come, nobody twice in one generation', async (t) => {
  const of = (type: BarrierInput['type'], who: string): BarrierInput => ({ type, name: 'b', parties: 2, who })
  const pass = (who: string, generation: number, call: number, ret: number) =>
    [
      [of('arrive', who), true, call, ret],
      [of('through', who), generation, call, ret],
    ] as readonly Call<BarrierInput, number | true>[]
  t.equal(verdict(barrierModel, [...pass('x', 4, 0, 5), ...pass('y', 4, 3, 6)]), 'ok')
  t.equal(verdict(barrierModel, [...pass('x', 4, 0, 2), ...pass('y', 4, 3, 6)]), 'illegal', 'x went ahead')
  t.equal(verdict(barrierModel, [...pass('x', 4, 0, 5), ...pass('y', 5, 3, 6)]), 'illegal', 'two generations')
  const three = [...pass('x', 4, 0, 5), ...pass('y', 4, 0, 5), ...pass('z', 4, 0, 5)]
  t.equal(verdict(barrierModel, three), 'illegal', 'three passed a barrier of two')
  const later = [...pass('x', 4, 0, 2), ...pass('y', 4, 0, 2), ...pass('v', 3, 3, 5), ...pass('w', 3, 3, 5)]
  t.equal(verdict(barrierModel, later), 'illegal', 'a generation that goes back')
})

void test('doubleBarrierModel: all leave together, and who is early for the next generation waits', async (t) => {
  const of = (type: BarrierInput['type'], who: string): BarrierInput => ({ type, name: 'd', parties: 2, who })
  type Calls = readonly Call<BarrierInput, number | true>[]
  const enter = (who: string, generation: number, call: number, ret: number): Calls => [
    [of('arrive', who), true, call, ret],
    [of('through', who), generation, call, ret],
  ]
  const leave = (who: string, call: number, ret: number): Calls => [
    [of('leave', who), true, call, ret],
    [of('left', who), true, call, ret],
  ]
  const inside = [...enter('x', 1, 0, 2), ...enter('y', 1, 0, 2)]
  t.equal(verdict(doubleBarrierModel, [...inside, ...leave('x', 3, 6), ...leave('y', 4, 5)]), 'ok')
  t.equal(verdict(doubleBarrierModel, [...inside, ...leave('x', 3, 3.5), ...leave('y', 4, 5)]), 'illegal')
  const dead: Calls = [[of('end', 'y'), undefined as unknown as true, 0, never]]
  t.equal(verdict(doubleBarrierModel, [...inside, ...leave('x', 3, 3.5), ...dead]), 'ok', 'y has died')
  const early = [...enter('v', 2, 2.5, 3), ...enter('w', 2, 2.5, 3)]
  t.equal(verdict(doubleBarrierModel, [...inside, ...early]), 'illegal', 'x and y are still inside')
})
