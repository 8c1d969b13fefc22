/** Runs in words: the report, what a failing test prints, and the text of a pinned regression. */
import { stripVTControlCharacters } from 'node:util'
import { test } from 'tap'
import { sourceModule } from '../support/source-module.ts'

type Choice = import('../../packages/runtime/src/simulation/choice-source.ts').Choice
type RunResult = import('../../packages/runtime/src/simulation/run-result.ts').RunResult
type TraceEvent = import('../../packages/runtime/src/simulation/run-result.ts').TraceEvent

const { runReport } = await sourceModule<
  typeof import('../../packages/runtime/src/simulation/run-report.ts')
>('runtime', 'simulation/run-report')
const { storyLines } = await sourceModule<typeof import('../../packages/runtime/src/simulation/story.ts')>(
  'runtime',
  'simulation/story',
)
const { simulationFailure } = await sourceModule<
  typeof import('../../packages/runtime/src/simulation/test-simulation.ts')
>('runtime', 'simulation/test-simulation')
const { regressionFile, regressionFileName } = await sourceModule<
  typeof import('../../packages/runtime/src/simulation/regression-file.ts')
>('runtime', 'simulation/regression-file')

const on = (step: number, atMs: number, lane: string | undefined) => ({ step, atMs, lane })

const trace: readonly TraceEvent[] = [
  { ...on(1, 0, 'a'), type: 'state', what: 'started' },
  { ...on(2, 1, 'a'), type: 'sent', messageId: 1, to: 'b', message: 'acquire', actor: '/user/client' },
  { ...on(3, 12.5, 'b'), type: 'handled', actor: '/user/lock/7', message: 'acquire', messageId: 1 },
  { ...on(3, 12.5, 'b'), type: 'sent', messageId: 2, to: 'a', message: 'granted', actor: '/user/lock/7' },
  { ...on(3, 12.5, 'b'), type: 'sent', messageId: 3, to: 'a', message: 'renewed', actor: '/user/lock/7' },
  { ...on(4, 13, undefined), type: 'fault', kind: 'partition', what: 'a | b' },
  { ...on(5, 20, undefined), type: 'lost', messageId: 2, why: 'partition' },
  { ...on(6, 12_345.6, 'b'), type: 'violation', name: 'mutual-exclusion', what: 'two holders' },
]
const choices: readonly Choice[] = [
  { stream: 'fault/partition', index: 0, value: 1 },
  { stream: 'net/a>b/delay', index: 17, value: 3 },
]
const result: RunResult = {
  seed: '4711',
  violation: { name: 'mutual-exclusion', message: 'two holders:\n  a and b', step: 6, atMs: 12_345.6 },
  choices,
  stats: { steps: 6, virtualMs: 12_345.6, messages: 1, faults: { partition: 1 }, reached: [] },
  hash: '0'.repeat(16),
  hashBlocks: [],
  trace,
}

void test('runReport tells the rule, the choices, the story and the command', async (t) => {
  t.equal(
    runReport(result, { replayCommand: 'npm run sim -- --seed 4711' }),
    `mutual-exclusion is violated
  two holders:
    a and b
  at step 6, 12.346 s of virtual time, seed 4711

It takes 2 choices (every other one was 0, which is benign):
  fault/partition: 1 at its 1st choice
  net/a>b/delay: 3 at its 18th choice

What happened:
     0.0 ms  a  started
    12.5 ms  b  /user/lock/7 handled acquire (from a, sent at 1.0 ms)
    12.5 ms  b  /user/lock/7 sent renewed to a (still on its way at the end)
    13.0 ms  -  partition: a | b
    20.0 ms  -  granted to a was lost: partition (from b, sent at 12.5 ms)
   12.346 s  b  mutual-exclusion is violated: two holders

To run it again:
  npm run sim -- --seed 4711`,
  )
})

void test('runReport tells of the shrinking, of a run without a violation, and in better words if there are some', async (t) => {
  const other = { violation: { name: 'no-loss', message: '', step: 1, atMs: 1 }, choices: [] }
  const shrunk = { result, status: 'budget', runs: 200, from: 4_000, to: 2, others: [other] } as const
  const told = runReport(result, { shrunk })
  t.match(told, 'shrunk from 4000 choices to 2 in 200 runs; with more runs it may become smaller still')
  t.match(told, 'seen on the way, and not looked into: no-loss is violated')
  t.match(
    runReport(result, { shrunk: { ...shrunk, status: 'not-reproduced' } }),
    'did not break the same rule again',
  )
  const describe = ({ stream }: Choice): string | undefined =>
    stream === 'fault/partition' ? 'a is cut off' : undefined
  t.match(runReport(result, { describe }), 'a is cut off\n  net/a>b/delay: 3')
  t.match(
    runReport({ ...result, violation: undefined, choices: [], trace: [] }),
    /^No rule was broken: seed 4711, 6 steps/,
  )
})

void test('runReport has colours only when asked, and lets nothing else through to the terminal', async (t) => {
  const hostile: RunResult = {
    ...result,
    seed: '\u001b[2J',
    violation: { name: 'x\u001b]0;y\u0007', message: '\u001b[31m\r\u009b', step: 1, atMs: 1 },
    choices: [{ stream: '\u001b', index: 0, value: 1 }],
    trace: [
      {
        ...on(1, 1, '\u001b'),
        type: 'handled',
        actor: '\u202e',
        message: 'a\n\u001b[1A',
        messageId: undefined,
      },
    ],
  }
  t.notMatch(runReport(hostile), /(?!\n)\p{Cc}|\u202e/u)
  t.notOk(runReport(result).includes('\u001b'))
  const coloured = runReport(result, { colour: true })
  t.match(coloured, '\u001b[1;31mmutual-exclusion is violated\u001b[0m')
  t.equal(stripVTControlCharacters(coloured), runReport(result))
})

void test('a long story keeps its head, the faults of its middle, and what led to the violation', async (t) => {
  const long: TraceEvent[] = []
  for (let i = 0; i < 1_000; i++) {
    long.push(
      i % 100 === 50
        ? { ...on(i, i, 'a'), type: 'fault', kind: 'kill', what: `kill ${i}` }
        : { ...on(i, i, 'a'), type: 'handled', actor: '/user/x', message: `m${i}`, messageId: undefined },
    )
  }
  long.splice(800, 0, { ...on(800, 800, undefined), type: 'violation', name: 'rule', what: 'x' })
  const lines = storyLines(long, { linesMax: 40 })
  const told = lines.filter((line) => line.type !== 'omitted')
  t.ok(told.length <= 40, `${told.length} lines`)
  t.match(lines[0]?.text, /m0$/)
  t.equal(lines.filter((line) => line.type === 'violation').length, 1)
  t.equal(lines.filter((line) => line.type === 'fault').length, 8)
  t.match(lines.at(-2)?.text, /m801$/)
  const omitted = lines.flatMap((line) =>
    line.type === 'omitted' ? [Number(/(\d+) more/.exec(line.text)?.[1])] : [],
  )
  t.equal(omitted.reduce((a, b) => a + b, 0) + told.length, long.length, 'every event is told or counted')
})

void test('simulationFailure is what a failing test has to print', async (t) => {
  const text = simulationFailure(result, {
    name: 'lock',
    replayCommand: 'npm run sim',
    diagramFile: 'out/lock.html',
  })
  t.match(text, /^lock: mutual-exclusion is violated at step 6 \(seed 4711\)\n/)
  t.match(text, 'fault/partition: 1 at its 1st choice')
  t.match(text, 'To run it again:\n  npm run sim\nThe picture:\n  out/lock.html')
})

void test('regressionFile is a runnable test that replays the seed and the choices', async (t) => {
  const story = storyLines(trace).map((line) => line.text)
  const hostile = 'it\'s "one" */ ${x} \\ `'
  for (const [scenario, expected] of [
    ['lock/lease', undefined],
    [hostile, undefined],
    ['lock/lease', result.violation],
  ] as const) {
    const text = regressionFile({
      scenario,
      importFrom: 'scenario-registry',
      seed: scenario === hostile ? hostile : '4711',
      choices,
      violation: { name: 'mutual-exclusion', message: hostile, step: 6, atMs: 5 },
      story: [...story, '*/ throw 1 /*'],
    })
    const calls: unknown[] = []
    const checks: unknown[] = []
    // It is plain JavaScript too: run it with stand-ins for its two imports.
    const body = text.replaceAll(/^import .*$/gm, '').replace('void test(', 'return test(')
    const make = Object.getPrototypeOf(async () => undefined).constructor as FunctionConstructor
    const program = make('test', 'runScenario', body)
    await program(
      (name: string, run: (t: unknown) => Promise<void>) => {
        calls.push(name)
        return run({ equal: (found: unknown, wanted: unknown) => checks.push(found, wanted) })
      },
      async (...input: readonly unknown[]) => {
        calls.push(...input)
        return { violation: expected }
      },
    )
    const seed = scenario === hostile ? hostile : '4711'
    t.same(calls, [
      `${scenario} keeps mutual-exclusion (pinned run of seed ${seed})`,
      scenario,
      { seed, choices },
    ])
    t.same(checks, [expected, undefined])
    t.match(text, "from 'tap'\nimport { runScenario } from 'scenario-registry'")
    t.match(text, ' *     12.5 ms  b  /user/lock/7 handled acquire')
  }
  t.throws(
    () =>
      regressionFile({
        scenario: 'x',
        importFrom: 'y',
        importName: 'a b',
        seed: '1',
        choices,
        violation: { name: 'n', message: '', step: 1, atMs: 1 },
      }),
    { message: /importName must be the name of a function, got 'a b'/ },
  )
  t.equal(regressionFileName('lock/lease', 'Mutual exclusion!'), 'lock-lease-mutual-exclusion.test.ts')
  t.equal(regressionFileName('../..', '//'), 'unnamed.test.ts')
})
