/** checkLinearizable: verdicts, limits, explanations and pictures; histories judged by others; large histories. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import {
  checkLinearizable,
  counterModel,
  kvModel,
  lockModel,
  partitionBy,
  queueModel,
  registerModel,
  timelinePicture,
  type KvInput,
  type KvOutput,
  type Model,
  type Op,
  type RegisterInput,
  type RegisterOutput,
} from '@understudy/runtime/checkers'
import { test } from 'tap'
import { concurrentHistory, SeededNumbers } from '../../support/concurrent-history.ts'
import { sourceModule } from '../../support/source-module.ts'
import { repoRoot } from '../../support/source-scan.ts'

const { ConfigurationCache } = await sourceModule<
  typeof import('../../../packages/runtime/src/checker/configuration-cache.ts')
>('runtime', 'checker/configuration-cache')

const never = Number.POSITIVE_INFINITY

type RegisterOp = Op<RegisterInput<number>, RegisterOutput<number>>

function write(client: number, value: number, call: number, ret: number): RegisterOp {
  return { client, in: { type: 'write', value }, out: undefined, call, ret }
}

function read(client: number, out: number | null | undefined, call: number, ret: number): RegisterOp {
  return { client, in: { type: 'read' }, out, call, ret }
}

const register = registerModel<number>()

/** A register without anything that helps the search. */
const plainRegister: Model<number, RegisterInput<number>, RegisterOutput<number>> = {
  name: 'plain register',
  init: () => 0,
  step: (state, input, output) => {
    if (input.type === 'write') return input.value
    return output === undefined || output === state ? state : null
  },
  equal: (a, b) => a === b,
}

void test('a history is linearizable when an order within the intervals explains it, and the order is the proof', async (t) => {
  const ops = [write(1, 1, 0, 10), write(2, 2, 1, 9), read(3, 1, 2, 4), read(3, 2, 5, 6), read(4, 2, 11, 12)]
  const { verdict, longest, violation } = checkLinearizable(register, ops)
  t.equal(verdict, 'ok')
  t.same(longest, [[0, 2, 1, 3, 4]])
  t.equal(violation, undefined)
  t.equal(checkLinearizable(register, []).verdict, 'ok')
})

void test('an operation that returned before another was called comes before it', async (t) => {
  t.equal(checkLinearizable(register, [write(1, 1, 0, 1), read(2, null, 2, 3)]).verdict, 'illegal')
  t.equal(checkLinearizable(register, [write(1, 1, 0, 3), read(2, null, 2, 3)]).verdict, 'ok')
  t.equal(
    checkLinearizable(register, [write(1, 1, 0, 2), read(2, null, 2, 3)]).verdict,
    'ok',
    'a call at the instant of a return overlaps it',
  )
})

void test('an operation of unknown outcome may take effect at any time after its call, or never', async (t) => {
  const lost = write(1, 1, 0, never)
  t.equal(checkLinearizable(register, [lost, read(2, null, 5, 6), read(2, 1, 7, 8)]).verdict, 'ok', 'late')
  t.equal(
    checkLinearizable(register, [lost, read(2, null, 5, 6), read(2, null, 7, 8)]).verdict,
    'ok',
    'never',
  )
  t.equal(
    checkLinearizable(register, [lost, read(2, 1, 5, 6), read(2, null, 7, 8)]).verdict,
    'illegal',
    'not undone',
  )
  t.equal(
    checkLinearizable(register, [read(2, 1, 5, 6), write(1, 1, 7, never)]).verdict,
    'illegal',
    'not early',
  )
  t.equal(checkLinearizable(register, [read(2, undefined, 0, never), write(1, 1, 7, 8)]).verdict, 'ok')
  const added = Array.from({ length: 60 }, (_, i) => ({
    client: i,
    in: { type: 'add' } as const,
    out: undefined,
    call: i,
    ret: never,
  }))
  const count = (out: number) => ({ client: 99, in: { type: 'read' } as const, out, call: 100, ret: 101 })
  t.equal(checkLinearizable(counterModel(), [...added, count(60)], { stepsMax: 1000 }).verdict, 'ok')
  t.equal(
    checkLinearizable(counterModel(), [...added, count(61)], { stepsMax: 1000 }).verdict,
    'illegal',
    'sixty that are interchangeable are not tried in every combination',
  )
})

void test('a limit that is reached makes the verdict unknown and says which', async (t) => {
  const ops = hardHistory()
  t.equal(checkLinearizable(plainRegister, ops).verdict, 'illegal')
  const steps = checkLinearizable(plainRegister, ops, { stepsMax: 50 })
  t.match(steps, {
    verdict: 'unknown',
    reason: /^Undecided: the 50 steps of stepsMax ran out; it had placed \d+ of 13/,
  })
  t.ok(steps.steps < 200)
  t.ok((steps.longest[0]?.length ?? 0) > 0, 'how far it got is told')
  const memory = checkLinearizable(plainRegister, ops, { cacheEntriesMax: 20 })
  t.match(memory, { verdict: 'unknown', reason: /^Undecided: cacheEntriesMax, 20, was reached/ })
  let now = 0
  const time = checkLinearizable(plainRegister, ops, { budgetMs: 1, nowMs: () => now++ })
  t.match(time, { verdict: 'unknown', reason: /^Undecided: the 1 ms of budgetMs ran out/ })
  t.equal(checkLinearizable(plainRegister, ops, { budgetMs: 1, nowMs: () => 0 }).verdict, 'illegal')
  const easy = [write(1, 1, 0, 1), read(1, 1, 2, 3)]
  t.equal(checkLinearizable(register, easy, { explainStepsMax: 0 }).verdict, 'ok')
})

void test('a part that is undecided does not hide one that is illegal', async (t) => {
  type Keyed = RegisterInput<number> & { readonly key?: string }
  const keyed: Model<number, Keyed, RegisterOutput<number>> = {
    ...plainRegister,
    partition: partitionBy((input) => input.key ?? ''),
  }
  const bad = [
    { ...read(1, 5, 0, 1), in: { type: 'read', key: 'b' } as const },
    ...Array.from({ length: 20 }, (_, i) => ({
      ...read(1, 0, 2 + i, 2 + i),
      in: { type: 'read', key: 'b' } as const,
    })),
  ]
  const { verdict, violation } = checkLinearizable<number, Keyed, RegisterOutput<number>>(
    keyed,
    [...hardHistory(), ...bad],
    { stepsMax: 60 },
  )
  t.equal(verdict, 'illegal')
  t.equal(violation?.operation, 13, 'told by its place in the whole list')
})

void test('refuses what cannot be a history, and a partition that loses operations', async (t) => {
  const check = (op: RegisterOp) => () => checkLinearizable(register, [op])
  t.throws(check(write(1, 1, 5, 4)), /operation 0, write\(1\): it was called at 5 and returned at 4/)
  t.throws(check(write(1, 1, Number.NaN, 4)), RangeError)
  t.throws(check(write(1, 1, 0, Number.NaN)), RangeError)
  t.throws(check(write(1, 1, never, never)), RangeError)
  t.throws(check(read(1, undefined, 0, 1)), /read\(\) -> \?: it returned at 1 without an answer; write null/)
  t.throws(
    () => checkLinearizable(register, [], { stepsMax: 0 }),
    /stepsMax 0: it must be a number of at least 1/,
  )
  t.throws(() => checkLinearizable(register, [], { stepsMax: Number.NaN }), RangeError)
  t.throws(() => checkLinearizable(register, [], { budgetMs: 5 }), /give the clock as nowMs too/)
  const ops = [write(1, 1, 0, 1), write(1, 2, 2, 3)]
  const parted = (partition: typeof register.partition) => () =>
    checkLinearizable({ ...register, partition }, ops)
  t.throws(
    parted((all) => [all.slice(1)]),
    /left out operation 0/,
  )
  t.throws(
    parted((all) => [all, all.slice(1)]),
    /operation 1 is there twice/,
  )
  t.throws(
    parted((all) => [all.map((op) => ({ ...op }))]),
    /invented one/,
  )
  const [first] = ops
  const twice = first === undefined ? [] : [first, first]
  t.equal(checkLinearizable({ ...register, partition: (all) => [all] }, twice).verdict, 'ok')
})

void test('the explanation names the operation, what could have been, and the fewest that show it', async (t) => {
  const ops = [
    write(1, 1, 0, 4),
    write(2, 2, 10, 15),
    write(5, 7, 18, never),
    read(3, 1, 40, 52),
    read(4, 2, 60, 61),
  ]
  const { violation, reason } = checkLinearizable(register, ops)
  t.same(violation, {
    operation: 3,
    states: [{ value: 2, isUnseen: false }],
    statesCut: false,
    core: [1, 3],
    minimal: true,
    prefix: [0, 1],
    part: [0, 1, 2, 3, 4],
  })
  t.equal(
    reason,
    [
      'Not linearizable: read() -> 1 by client 3 cannot be placed',
      '  Called at 40, returned at 52. By then the register can only have been: 2',
      '  These 2 of 5 operations cannot be reconciled, whatever the others did:',
      '    10..15  client 2  write(2)',
      '  > 40..52  client 3  read() -> 1',
    ].join('\n'),
  )
  const alone = checkLinearizable(register, [write(1, 1, 0, 4), read(2, 9, 5, 6)])
  t.match(alone.reason, /It is impossible by itself, whatever the others of 2 operations did:\n {2}> 5\.\.6 /)
})

void test('the explanation is where it goes wrong first, also where the model looks ahead', async (t) => {
  const text = (type: 'append' | 'get', value: string, at: number): Op<KvInput<string>, KvOutput<string>> =>
    type === 'get'
      ? { client: 1, in: { type, key: 'k' }, out: value, call: at, ret: at + 1 }
      : { client: 1, in: { type, key: 'k', value }, out: undefined, call: at, ret: at + 1 }
  const lost = [text('append', 'a', 0), text('append', 'b', 2), text('get', 'a', 4), text('append', 'c', 6)]
  const kv = checkLinearizable(kvModel<string>(), [...lost, text('get', 'ac', 8)])
  t.match(
    kv.reason,
    /^Not linearizable: get\("k"\) -> "a" by client 1 cannot be placed\n.*can only have been: "ab"/,
  )
  t.same(kv.violation?.core, [1, 2])
  const queue = queueModel<number>()
  const enqueue = (value: number, at: number) => ({
    client: 1,
    in: { type: 'enqueue', value } as const,
    out: undefined,
    call: at,
    ret: at + 1,
  })
  const dequeue = (out: number | null, at: number) => ({
    client: 2,
    in: { type: 'dequeue' } as const,
    out,
    call: at,
    ret: at + 1,
  })
  const wrong = [enqueue(1, 0), enqueue(2, 2), dequeue(2, 4), dequeue(1, 6)]
  const { reason, violation } = checkLinearizable(queue, wrong)
  t.match(reason, /^Not linearizable: dequeue\(\) -> 2 by client 2.*\n.*can only have been: \[1, 2\]/)
  t.same(violation?.core, [0, 2], 'whenever 2 was enqueued, 1 was there before')
})

void test('locks: holders are disjoint, tokens grow, and the resource refuses an older one', async (t) => {
  const at = (index: number) => ({ client: 1, call: index * 2, ret: index * 2 + 1 })
  const acquire = (owner: string, out: number | null, index: number) => ({
    ...at(index),
    in: { type: 'acquire', owner } as const,
    out,
  })
  const use = (token: number, out: boolean, index: number) => ({
    ...at(index),
    in: { type: 'use', token } as const,
    out,
  })
  const release = (owner: string, out: boolean, index: number) => ({
    ...at(index),
    in: { type: 'release', owner } as const,
    out,
  })
  const verdict = (
    ops: Parameters<typeof checkLinearizable<never, never, never>>[1] | readonly unknown[],
    leases = false,
  ) => checkLinearizable(lockModel({ leases }), ops as ReturnType<typeof acquire>[]).verdict
  t.equal(verdict([acquire('a', 1, 0), acquire('b', 2, 1)]), 'illegal', 'two holders')
  t.equal(verdict([acquire('a', 1, 0), acquire('b', 2, 1)], true), 'ok', 'a lease may have run out')
  t.equal(verdict([acquire('a', 2, 0), acquire('b', 2, 1)], true), 'illegal', 'but tokens grow')
  t.equal(verdict([acquire('a', 4, 0), release('a', true, 1), acquire('b', 9, 2)]), 'ok')
  t.equal(verdict([acquire('a', 4, 0), release('a', true, 1), acquire('b', 3, 2)]), 'illegal')
  t.equal(verdict([acquire('a', 4, 0), release('b', true, 1)]), 'illegal', 'released by another')
  t.equal(verdict([acquire('a', null, 0)]), 'illegal', 'refused while free')
  const maybe = { ...acquire('a', null, 0), out: undefined, ret: never }
  const known = (token: number, out: boolean, index: number) => ({
    ...at(index),
    in: { type: 'release', owner: 'a', token } as const,
    out,
  })
  const after = [maybe, release('a', true, 1)]
  t.equal(verdict([...after, acquire('b', 1, 2)]), 'illegal', 'the grant nobody saw had a token too')
  t.equal(verdict([...after, acquire('b', 2, 2)]), 'ok')
  const held = [maybe, acquire('b', null, 1), known(5, false, 2), acquire('b', null, 3)]
  t.equal(verdict([...held, known(6, true, 4)]), 'ok')
  t.equal(verdict([...held, known(5, true, 4)]), 'illegal', 'the token was not 5, and is not now')
  const stale = [acquire('a', 1, 0), acquire('b', 2, 1), use(2, true, 2)]
  t.equal(verdict([...stale, use(1, false, 3)], true), 'ok')
  t.equal(verdict([...stale, use(1, true, 3)], true), 'illegal', 'the paused holder got through')
})

void test('the picture shows clients, operations, the placement, and the impossible one in red', async (t) => {
  const ops = [write(1, 1, 0, 4), write(2, 2, 10, 15), read(3, 1, 40, 52), write(9, 3, 41, never)]
  const verdict = checkLinearizable(register, ops)
  const svg = timelinePicture(register, ops, verdict)
  t.equal(svg, timelinePicture(register, ops, verdict))
  t.match(svg, /^<svg xmlns="http:\/\/www\.w3\.org\/2000\/svg"/)
  for (const client of [1, 2, 3, 9]) t.match(svg, `>client ${client}</text>`)
  t.match(svg, /<g class="stuck"><title>read\(\) -&gt; 1<\/title><rect/)
  t.equal([...svg.matchAll(/<g class="core">/g)].length, 1)
  t.match(svg, /<g class="other"><title>write\(3\)<\/title><path [^>]*stroke-dasharray/, 'open to the right')
  t.match(svg, /<polyline points="\d+,\d+ \d+,\d+" class="line"\/>/, 'through the two that were placed')
  t.match(svg, 'can have been: 2')
  t.notMatch(svg, /https?:\/\/(?!www\.w3\.org\/2000\/svg)/, 'nothing from outside')

  const hostile: Op<KvInput<string>, KvOutput<string>>[] = [
    { client: 1, in: { type: 'get', key: '</title><script>&"' }, out: '\u0000]]>', call: 0, ret: 1 },
  ]
  const drawn = timelinePicture(kvModel<string>(), hostile, checkLinearizable(kvModel<string>(), hostile))
  t.notMatch(drawn, '<script')
  t.notMatch(drawn, '\u0000')

  const large = largeHistory(3, { bad: true, operations: 2000, kinds: ['get', 'put'] })
  const kv = kvModel<string>()
  const picture = timelinePicture(kv, large, checkLinearizable(kv, large), { operationsMax: 12 })
  t.equal([...picture.matchAll(/<g class="(?:stuck|core|other)">/g)].length, 12)
  t.match(picture, '12 of 2000 operations')
})

void test('the line of a placement never goes back, and stays within the bars', async (t) => {
  for (let seed = 0; seed < 30; seed++) {
    const ops = largeHistory(seed, { operations: 25, kinds: ['get', 'put', 'append'] })
    const kv = kvModel<string>()
    const svg = timelinePicture(kv, ops, checkLinearizable(kv, ops))
    const points = /<polyline points="([^"]*)"/
      .exec(svg)?.[1]
      ?.split(' ')
      .map((point) => point.split(',').map(Number))
    const bars = [...svg.matchAll(/<rect x="(\d+)" y="(\d+)" width="(\d+)" height="26"/g)].map((bar) =>
      bar.slice(1).map(Number),
    )
    let before = 0
    let outside = 0
    for (const [x = 0, y = 0] of points ?? []) {
      const isIn = bars.some(
        ([left = 0, top = 0, width = 0]) => x >= left && x <= left + width && y > top && y < top + 26,
      )
      if (x < before || !isIn) outside++
      before = x
    }
    t.equal(points?.length, 25)
    t.equal(outside, 0, `seed ${seed}`)
  }
})

void test('decides 10,000 operations of 8 clients on one key within a budget of steps', async (t) => {
  for (const kinds of [
    ['get', 'put'],
    ['get', 'append'],
    ['get', 'put', 'append'],
  ] as const) {
    for (const bad of [false, true]) {
      const ops = largeHistory(1, { bad, kinds })
      const { verdict, steps, violation } = checkLinearizable(kvModel<string>(), ops, { stepsMax: 1_000_000 })
      const name = `${kinds.join(', ')}: ${verdict} after ${steps} steps`
      t.equal(verdict, bad ? 'illegal' : 'ok', name)
      if (bad) t.equal(violation?.operation, 5001, 'the get that misses the lost write')
      if (bad && !(kinds as readonly string[]).includes('append')) t.same(violation?.core, [5000, 5001])
    }
  }
  const unknown = largeHistory(3, { kinds: ['get', 'put'], unknownPercent: 2 })
  t.equal(checkLinearizable(kvModel<string>(), unknown, { stepsMax: 1_000_000 }).verdict, 'ok')
})

const folder = join(
  process.env['CONFORMANCE_DIR'] ?? join(repoRoot, '..', 'shared', 'conformance'),
  'porcupine-kv',
)

const files = existsSync(folder) ? readdirSync(folder).filter((file) => file.endsWith('.txt')) : []
const skip = files.length === 0 && 'skipped: no conformance data'

void test('histories of a key-value store are judged as others judged them', { skip }, async (t) => {
  const model = kvModel<string>({ missing: '' })
  for (const file of files.sort()) {
    const ops = porcupineHistory(readFileSync(join(folder, file), 'utf8'))
    const { verdict, steps, reason } = checkLinearizable(model, ops)
    const expected = file.endsWith('-bad.txt') ? 'illegal' : 'ok'
    t.equal(verdict, expected, `${file}: ${ops.length} operations, ${steps} steps`)
    if (verdict === 'illegal') t.match(reason, /^Not linearizable: get\(/)
  }
})

/** Lines as `{:process 0, :type :invoke, :f :append, :key "0", :value "x"}`; times are line numbers. */
function porcupineHistory(text: string): readonly Op<KvInput<string>, KvOutput<string>>[] {
  const ops: Op<KvInput<string>, KvOutput<string>>[] = []
  const open = new Map<string, number>()
  const pattern =
    /^\{:process (\d+), :type :(invoke|ok), :f :(get|put|append), :key "(.*)", :value (?:nil|"(.*)")\}$/
  for (const [time, line] of text.trimEnd().split('\n').entries()) {
    const [, client = '', type, f, key = '', value = ''] = pattern.exec(line) ?? []
    if (type === undefined) throw new Error(`Cannot read line ${time + 1}: ${line}`)
    if (type === 'invoke') {
      const input: KvInput<string> =
        f === 'get' ? { type: f, key } : { type: f === 'put' ? f : 'append', key, value }
      open.set(
        client,
        ops.push({ client: Number(client), in: input, out: undefined, call: time, ret: never }) - 1,
      )
    } else {
      const index = open.get(client) ?? -1
      const op = ops[index]
      if (op === undefined)
        throw new Error(`Cannot read line ${time + 1}: process ${client} has nothing open`)
      ops[index] = { ...op, out: op.in.type === 'get' ? value : undefined, ret: time }
    }
  }
  return ops
}

void test('configurations are told apart by all there is to them, also where their hashes are the same', async (t) => {
  const words = (...all: readonly number[]) => Uint32Array.from(all)
  const cache = new ConfigurationCache<string>((a, b) => a === b, 1, 1, 4)
  t.equal(cache.add(0, words(7), words(1), 'a', 0), 'new')
  t.equal(cache.add(0, words(7), words(1), 'a', 0), 'seen')
  t.equal(cache.add(0, words(7), words(3), 'a', 0), 'seen', 'one that used more is no better')
  t.equal(cache.add(0, words(7), words(2), 'a', 0), 'new', 'one that used another is')
  t.equal(cache.add(0, words(7), words(1), 'b', 0), 'new', 'another state')
  // The hash begins with the position times this; what the state adds makes it the same again.
  t.equal(cache.add(1, words(7), words(1), 'a', 0x9e3779b1), 'new', 'another position')
  t.equal(cache.add(0, words(2), words(1), 'a', 5), 'full', 'other open operations: 5 + 2 is 0 + 7')
  t.equal(cache.size, 4)
  const large = new ConfigurationCache<number>((a, b) => a === b, 1, 0, 5000)
  for (let i = 0; i < 5000; i++) large.add(i, words(i), words(), i, i)
  let seen = 0
  for (let i = 0; i < 5000; i++) if (large.add(i, words(i), words(), i, i) === 'seen') seen++
  t.equal(seen, 5000, 'also after it grew')
})

interface LargeHistory {
  /** In the middle a put is acknowledged and lost, and a get with nothing else open misses it. */
  readonly bad?: boolean
  readonly operations?: number
  readonly kinds: readonly ('get' | 'put' | 'append')[]
  readonly unknownPercent?: number
}

function largeHistory(
  seed: number,
  { bad = false, operations = 10_000, kinds, unknownPercent = 0 }: LargeHistory,
) {
  const middle = operations >> 1
  const key = 'k'
  let value: string | null = null
  return concurrentHistory<KvInput<string>, KvOutput<string>>({
    random: new SeededNumbers(seed),
    clients: 8,
    operations,
    unknownPercent,
    isAlone: (index) => bad && (index === middle || index === middle + 1),
    input: (random, index) => {
      const isMutated = bad && (index === middle || index === middle + 1)
      const type = isMutated ? (index === middle ? 'put' : 'get') : random.pick(kinds)
      return type === 'get' ? { type, key } : { type, key, value: isMutated ? 'lost' : `${index} ` }
    },
    apply: (input) => {
      if (input.type === 'get') return value
      if (input.type === 'put' && input.value !== 'lost') value = input.value
      if (input.type === 'append') value = (value ?? '') + input.value
      return undefined
    },
  })
}

/** Twelve writes at once, then a read of something else: every subset of them has to be tried. */
function hardHistory(): readonly RegisterOp[] {
  return [...Array.from({ length: 12 }, (_, i) => write(i, i + 1, i, 50 + i)), read(20, 99, 100, 101)]
}
