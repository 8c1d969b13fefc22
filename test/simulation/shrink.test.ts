/** Shrinking, over small programs that stand in for the engine: each asks a ChoiceSource and may break a rule. */
import fc from 'fast-check'
import { test } from 'tap'
import { sourceModule } from '../support/source-module.ts'

type Choices = typeof import('../../packages/runtime/src/simulation/choice-source.ts')
type Shrink = typeof import('../../packages/runtime/src/simulation/shrink.ts')
type Choice = import('../../packages/runtime/src/simulation/choice-source.ts').Choice
type Source = InstanceType<Choices['ChoiceSource']>
type Run = import('../../packages/runtime/src/simulation/run-result.ts').Run
type RunResult = import('../../packages/runtime/src/simulation/run-result.ts').RunResult

const { ChoiceSource, formatChoices } = await sourceModule<Choices>('runtime', 'simulation/choice-source')
const { shrink } = await sourceModule<Shrink>('runtime', 'simulation/shrink')

/** A program that returns the name of the rule that it broke. */
type Program = (source: Source) => string | undefined

/** A run of `program`, and the texts of the choices that were replayed, in order. */
function programRun(program: Program): { readonly run: Run; readonly replayed: string[] } {
  const replayed: string[] = []
  const run: Run = async (input) => {
    if (input.choices !== undefined && input.trace !== true) replayed.push(formatChoices(input.choices))
    const source = new ChoiceSource(input.seed, input.choices)
    const name = program(source)
    return {
      seed: String(input.seed),
      violation: name === undefined ? undefined : { name, message: `${name} is broken`, step: 1, atMs: 1 },
      choices: source.taken(),
      stats: { steps: 1, virtualMs: 1, messages: 0, faults: {}, reached: [] },
      hash: '0'.repeat(16),
      hashBlocks: [],
      trace: input.trace === true ? [{ type: 'state', what: 'ran', step: 1, atMs: 1, lane: 'a' }] : [],
    }
  }
  return { run, replayed }
}

/** The first of the seeds 0, 1, ... whose run breaks `rule`. */
async function failingRun(run: Run, rule: string): Promise<RunResult> {
  for (let seed = 0; seed < 1_000; seed++) {
    const result = await run({ seed })
    if (result.violation?.name === rule) return result
  }
  throw new Error(`No seed below 1,000 breaks ${rule}`)
}

/** 5,000 choices in 25 streams of three groups, as text by stream and index. */
function manyChoices(source: Source): ReadonlyMap<string, number> {
  const found = new Map<string, number>()
  for (let index = 0; index < 200; index++) {
    for (let i = 0; i < 25; i++) {
      const stream = `${['net', 'schedule', 'fault'][i % 3]}/${i}`
      found.set(`${stream}#${index}`, source.choose(10, stream))
    }
  }
  return found
}

const onlyRule = 'only'

void test('shrink finds three choices among 5,000, in a few hundred runs', async (t) => {
  const wanted = ['net/3#17', 'schedule/1#170', 'fault/23#101']
  const { run, replayed } = programRun((source) => {
    const found = manyChoices(source)
    return wanted.every((at) => (found.get(at) ?? 0) > 0) ? onlyRule : undefined
  })
  const failing = await failingRun(run, onlyRule)
  t.ok(failing.choices.length > 4_000)
  const shrunk = await shrink(run, failing)
  t.same(shrunk.result.choices.map(({ stream, index }) => `${stream}#${index}`).toSorted(), wanted.toSorted())
  t.same(
    shrunk.result.choices.map(({ value }) => value),
    [1, 1, 1],
  )
  t.equal(shrunk.status, 'minimal')
  t.equal(shrunk.from, failing.choices.length)
  t.equal(shrunk.to, 3)
  t.ok(shrunk.runs < 300, `${shrunk.runs} runs`)
  t.comment(`${shrunk.runs} runs`)
  t.equal(new Set(replayed).size, replayed.length, 'no candidate is run twice')
  t.equal(shrunk.runs, replayed.length + 1, 'the run with the trace is counted')
  t.equal(shrunk.result.trace.length, 1, 'the result has its trace')
})

void test('shrink finds the least values where any four choices of a stream will do', async (t) => {
  const least = 37
  const { run } = programRun((source) => {
    const found = manyChoices(source)
    let high = 0
    for (let i = 0; i < 500; i++) if (source.choose(100, 'net/a>b/delay') >= least) high += 1
    return high >= 4 && found.size > 0 ? onlyRule : undefined
  })
  const shrunk = await shrink(run, await failingRun(run, onlyRule))
  t.same(
    shrunk.result.choices.map(({ stream, value }) => [stream, value]),
    Array.from({ length: 4 }, () => ['net/a>b/delay', least]),
  )
  t.same(shrunk.result.choices.map(({ index }) => index).toSorted(), [0, 1, 2, 3], 'as early as can be')
  t.ok(shrunk.runs < 300, `${shrunk.runs} runs`)
  t.comment(`${shrunk.runs} runs`)
})

void test('shrink goes on from what a run really took, where one choice makes another stream longer', async (t) => {
  const { run } = programRun((source) => {
    manyChoices(source)
    let bursts = 0
    let lost = 0
    for (let i = 0; i < 50; i++) {
      if (source.choose(4, 'fault/burst') === 0) continue
      bursts += 1
      for (let j = 0; j < 20; j++) if (source.choose(3, 'net/loss') === 2) lost += 1
    }
    // At least 25 asked needs two bursts.
    return bursts >= 2 && lost >= 3 ? onlyRule : undefined
  })
  const failing = await failingRun(run, onlyRule)
  const sizes: number[] = []
  const shrunk = await shrink(run, failing, { onProgress: ({ choices }) => sizes.push(choices) })
  t.equal(
    formatChoices(shrunk.result.choices),
    'fault/burst#0=1,fault/burst#1=1,net/loss#0=2,net/loss#1=2,net/loss#2=2',
  )
  t.same(
    sizes,
    sizes.toSorted((a, b) => b - a),
    'it never grows',
  )
  t.equal(sizes.length, shrunk.runs, 'progress after every run')
})

void test('shrink drops with a choice what is no longer asked without it', async (t) => {
  const { run } = programRun((source) => {
    const net = source.stream('net/loss')
    net.choose(2)
    if (source.choose(2, 'fault/burst') === 1) for (let i = 0; i < 100; i++) net.choose(2)
    return source.choose(2, 'x') === 1 ? onlyRule : undefined
  })
  const choices: readonly Choice[] = [
    ...Array.from({ length: 101 }, (_, index) => ({ stream: 'net/loss', index, value: 1 })),
    { stream: 'fault/burst', index: 0, value: 1 },
    { stream: 'x', index: 0, value: 1 },
  ]
  const sizes = new Set<number>()
  const shrunk = await shrink(run, await run({ seed: 1, choices }), {
    onProgress: (progress) => sizes.add(progress.choices),
  })
  t.equal(formatChoices(shrunk.result.choices), 'x#0=1')
  t.same([...sizes], [103, 2, 1], 'a hundred went with the burst')
})

void test('shrink never takes another violation for the one that it shrinks, and remembers it', async (t) => {
  const { run } = programRun((source) => {
    const found = manyChoices(source)
    const a = (found.get('net/0#0') ?? 0) > 0
    const b = (found.get('fault/2#9') ?? 0) > 0
    if (a && b) return 'wanted'
    return b ? 'other' : a ? 'another' : undefined
  })
  const shrunk = await shrink(run, await failingRun(run, 'wanted'))
  t.equal(formatChoices(shrunk.result.choices), 'net/0#0=1,fault/2#9=1')
  t.equal(shrunk.result.violation?.name, 'wanted')
  t.same(shrunk.others.map((other) => other.violation.name).toSorted(), ['another', 'other'])
  for (const { violation, choices } of shrunk.others) {
    const again = await run({ seed: shrunk.result.seed, choices })
    t.equal(again.violation?.name, violation.name, 'the other one can be replayed')
  }
})

void test('shrink leaves out two choices that undo each other', async (t) => {
  const { run } = programRun((source) => {
    const killed = source.choose(2, 'kill/b') === 1
    const restarted = source.choose(2, 'restart/b') === 1
    return killed === restarted && source.choose(2, 'net/late') === 1 ? onlyRule : undefined
  })
  const choices: readonly Choice[] = ['kill/b', 'net/late', 'restart/b'].map((stream) => ({
    stream,
    index: 0,
    value: 1,
  }))
  const shrunk = await shrink(run, await run({ seed: 1, choices }))
  t.equal(formatChoices(shrunk.result.choices), 'net/late#0=1')
})

void test('shrink needs two runs where every choice is benign', async (t) => {
  const { run } = programRun((source) => (manyChoices(source).size > 0 ? onlyRule : undefined))
  const shrunk = await shrink(run, await run({ seed: 1 }))
  t.same(shrunk.result.choices, [])
  t.equal(shrunk.runs, 3, 'as it was, with nothing, and with a trace')
  t.equal(shrunk.status, 'minimal')
})

void test('shrink stops at its budget with the smallest so far', async (t) => {
  const { run } = programRun((source) => {
    const found = manyChoices(source)
    return (found.get('net/3#17') ?? 0) > 4 ? onlyRule : undefined
  })
  const failing = await failingRun(run, onlyRule)
  for (const runsMax of [1, 2, 3, 10, 20]) {
    const shrunk = await shrink(run, failing, { runsMax })
    t.ok(shrunk.runs <= runsMax, `${shrunk.runs} of ${runsMax} runs`)
    t.equal(shrunk.status, 'budget')
    t.equal(shrunk.result.violation?.name, onlyRule)
    t.equal(shrunk.result.trace.length, 1)
  }
  await t.rejects(shrink(run, failing, { runsMax: 0 }), {
    message: /runsMax must be a whole number above 0, got 0/,
  })
})

void test('shrink says so when the run does not fail again', async (t) => {
  let asked = 0
  const { run } = programRun((source) => {
    manyChoices(source)
    asked += 1
    return asked === 1 ? onlyRule : 'other'
  })
  const failing = await run({ seed: 1 })
  const shrunk = await shrink(run, failing)
  t.equal(shrunk.status, 'not-reproduced')
  t.equal(shrunk.result, failing)
  t.equal(shrunk.runs, 1)
  t.equal(shrunk.others[0]?.violation.name, 'other')
  const fine = programRun(() => undefined)
  await t.rejects(shrink(fine.run, await fine.run({ seed: 7 })), { message: /seed "7": it broke no rule/ })
})

void test('what is shrunk still fails, is no larger, and no single choice of it can go', async (t) => {
  // A rule over 12 choices, by a random table of which of them it needs and how high.
  const rule = fc.array(
    fc.record({
      stream: fc.integer({ min: 0, max: 3 }),
      index: fc.integer({ min: 0, max: 19 }),
      least: fc.integer({ min: 1, max: 9 }),
    }),
    { minLength: 1, maxLength: 5 },
  )
  await fc.assert(
    fc.asyncProperty(rule, fc.nat(1_000), async (needs, seed) => {
      const program: Program = (source) => {
        const found = new Map<string, number>()
        for (let index = 0; index < 20; index++) {
          for (let s = 0; s < 4; s++) found.set(`${s}#${index}`, source.choose(10, `s/${s}`))
        }
        const met = needs.filter((n) => (found.get(`${n.stream}#${n.index}`) ?? 0) >= n.least)
        return met.length === needs.length ? onlyRule : undefined
      }
      const { run, replayed } = programRun(program)
      const drawn = await run({ seed })
      const met = needs.map((n) => ({ stream: `s/${n.stream}`, index: n.index, value: 9 }))
      const others = drawn.choices.filter(
        (c) => !met.some((m) => m.stream === c.stream && m.index === c.index),
      )
      const failing = await run({ seed, choices: [...others, ...met] })
      // Those above are the test's own.
      const own = replayed.length
      const shrunk = await shrink(run, failing)
      const tried = replayed.slice(own)
      t.equal(new Set(tried).size, tried.length)
      const again = await run({ seed, choices: shrunk.result.choices })
      if (again.violation?.name !== onlyRule || shrunk.status !== 'minimal') return false
      for (const choice of shrunk.result.choices) {
        const rest = shrunk.result.choices.filter((other) => other !== choice)
        if ((await run({ seed, choices: rest })).violation !== undefined) return false
      }
      const least = new Map<string, number>()
      for (const n of needs) {
        const at = `s/${n.stream}#${n.index}`
        least.set(at, Math.max(least.get(at) ?? 0, n.least))
      }
      return shrunk.result.choices.every((c) => least.get(`${c.stream}#${c.index}`) === c.value)
    }),
    { numRuns: 60 },
  )
})
