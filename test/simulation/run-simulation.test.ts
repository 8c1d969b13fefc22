/** The command `npm run sim`, with tiny scenarios, in this process; its workers are real ones. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { test, type Test } from 'tap'
import { lastLine, sim, words } from './fixture/command.ts'
import { scenarios } from './fixture/scenarios.ts'
import { pinned, runScenario } from './pinned.ts'
import { parseCommand, UsageError } from './runner/options.ts'
import { Progress, progressText } from './runner/progress.ts'
import { replayCommand } from './runner/replay-command.ts'
import { dealSeeds, joinBatches, type Job } from './runner/seed-deal.ts'
import { selectScenarios } from './runner/select.ts'
import { duration } from './runner/table.ts'
import { Tally } from './runner/tally.ts'
import type { RunSummary } from './runner/worker-message.ts'

void test('a wrong command line is refused with what would be right, and exit code 2', async (t) => {
  const bad: readonly (readonly [string, RegExp])[] = [
    ['--seeds x', /--seeds "x": give a whole number from 1/],
    ['--seeds 0', /--seeds "0"/],
    ['--minutes -1', /minutes/],
    ['--nope', /--nope.*--help/],
    ['seven', /seven.*--help/],
    ['--jobs 0', /--jobs "0": give a whole number from 1 to 256/],
    ['--choices a#0=1', /needs the --seed/],
    ['--trace', /needs --seed/],
    ['--seed 1 --seeds 2', /give one of the two/],
    ['--seed 1 --choices bad', /"bad": it must look like "fault\/kill#0=1"/],
    ['--seed 1 --choices a#0=1 --scenario fake/passes-', /^$/],
    ['--seed 1 --choices a#0=1 --scenario fake', /2 are chosen/],
    ["--scenario ''", /give a name or the beginning of one/],
    ['--scenario zzz', /"zzz".*broken, diverges, fake, wrong/],
  ]
  for (const [args, message] of bad) {
    if (message.source === '^$') {
      t.equal(parseCommand(words(args)).choices?.length, 1)
      continue
    }
    const { code, out, err } = await sim(t, args)
    t.equal(code, 2, args)
    t.match(err, message, args)
    t.equal(out, '')
  }
  t.equal(parseCommand([]).seeds, 200)
  t.equal(parseCommand(['--minutes', '5']).seeds, undefined, 'time alone ends it')
})

void test('seeds are dealt over all scenarios: so many in total, none twice, shares as even as can be', async (t) => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 300 }),
      fc.integer({ min: 1, max: 9 }),
      fc.integer({ min: 1, max: 12 }),
      fc.integer({ min: 1, max: 40 }),
      (seeds, count, batchMax, atLeast) => {
        const names = Array.from({ length: count }, (_, at) => `s${at}`)
        const deal = { scenarios: names, seeds, firstSeed: 5, batchMax }
        const jobs = [...dealSeeds(deal)].flat()
        const keys = new Set(jobs.map(({ scenario, seed }) => `${scenario} ${seed}`))
        const shares = names.map((name) => jobs.filter(({ scenario }) => scenario === name).length)
        const joined = [...joinBatches(dealSeeds(deal), atLeast)]
        return (
          jobs.length === seeds &&
          keys.size === seeds &&
          Math.max(...shares) - Math.min(...shares) <= 1 &&
          JSON.stringify(joined.flat()) === JSON.stringify(jobs) &&
          joined.slice(0, -1).every((batch) => batch.length >= atLeast)
        )
      },
    ),
  )
  const endless = dealSeeds({ scenarios: ['a', 'b'], firstSeed: 1, batchMax: 2 })
  const first: Job[] = []
  for (const batch of endless) if (first.push(...batch) >= 8) break
  t.same(
    first.map(({ scenario, seed }) => scenario + seed),
    ['a1', 'a2', 'b1', 'b2', 'a3', 'a4', 'b3', 'b4'],
  )
})

void test('--scenario takes a beginning; a whole name means that one alone; what is wrong must be named', async (t) => {
  const names = (...given: string[]): readonly string[] =>
    selectScenarios(scenarios, given).map(({ name }) => name)
  t.same(names('fake/passes'), ['fake/passes'])
  t.same(names('fake/pass'), ['fake/passes', 'fake/passes-too'])
  t.same(names('fake/passes-too', 'fake'), ['fake/passes', 'fake/passes-too'])
  t.notOk(names().includes('wrong/always'))
  t.same(names('wrong'), ['wrong/always'])
  t.throws(() => names('nothing'), UsageError)
  const { code, out } = await sim(t, '--list --scenario wrong')
  t.equal(code, 0)
  t.equal(out, 'wrong/always  is wrong on purpose (wrong on purpose: runs only when it is named)\n')
})

void test('green: a table of runs, one of faults, what was never met, and the last line', async (t) => {
  const { code, out, root } = await sim(
    t,
    '--scenario fake --seeds 21 --json report.json --jobs 2'.replace('report', `${t.testdir({})}/r`),
  )
  t.equal(code, 0)
  t.match(out, /^fake\/passes +11 +0 +11 min 0 s +110 +55 +33 +2 of 3$/m)
  t.match(out, /^fake\/passes-too +10 +0 /m)
  t.match(out, /^all +21 +0 +21 min 0 s +210 +105 +33 +3 of 4$/m)
  t.match(out, /^clog +11 +11 +1$/m)
  t.match(out, /^kill +22 +11 +1$/m)
  t.match(out, /^unknown +0 +0 +0$/m)
  t.match(out, 'fake/passes: never reached: never\n')
  t.match(out, 'fake/passes: never injected: unknown\n')
  t.equal(lastLine(out), '21 passed, 0 failed')
  t.notOk(existsSync(join(root, 'simulation-report')))
  const json = JSON.parse(readFileSync(join(t.testdirName, 'r.json'), 'utf8')) as {
    readonly passed: number
    readonly scenarios: readonly { readonly seeds: number; readonly missing: readonly string[] }[]
  }
  t.equal(json.passed, 21)
  t.same(
    json.scenarios.map(({ seeds, missing }) => ({ seeds, missing })),
    [
      { seeds: 11, missing: ['never'] },
      { seeds: 10, missing: [] },
    ],
  )
  const strict = await sim(t, '--scenario fake --seeds 4 --jobs 1 --all-tags')
  t.equal(strict.code, 1, '--all-tags: one tag and one fault were never met')
  t.equal(lastLine(strict.out), '4 passed, 2 failed')
})

void test('which failing seed is looked into does not depend on which process was faster', async (t) => {
  const summary = (choiceCount: number): RunSummary => ({
    violation: { name: 'rule', message: `by ${choiceCount}`, step: 1, atMs: 1 },
    choiceCount,
    stats: { steps: 1, virtualMs: 1, messages: 1, faults: {}, reached: [] },
    hash: '0'.repeat(16),
  })
  const runs = [
    ['9', 4],
    ['10', 3],
    ['2', 7],
    ['11', 3],
  ] as const
  for (const order of [runs, runs.toReversed()]) {
    const tally = new Tally(scenarios)
    const news = order.map(([seed, choices]) => tally.ran({ scenario: 'broken/sum', seed }, summary(choices)))
    t.same(news, [true, false, false, false])
    const [group] = tally.groups()
    t.match(group, { rule: 'rule', message: 'by 3', job: { seed: '10' }, choiceCount: 3 })
    t.same(group?.seeds, ['2', '9', '10', '11'])
  }
})

void test('a command line quotes what a shell would not take as it is', async (t) => {
  t.equal(replayCommand('a/b', '7'), 'npm run sim -- --scenario a/b --seed 7')
  t.equal(replayCommand('a b', '-7', []), "npm run sim -- --scenario 'a b' --seed '-7' --choices ''")
  const choices = [{ stream: "net/a>b's", index: 0, value: 1 }]
  t.equal(
    replayCommand('a', '1', choices),
    "npm run sim -- --scenario a --seed 1 --choices 'net/a>b'\\''s#0=1'",
  )
  const many = Array.from({ length: 1_000 }, (_, index) => ({ stream: 'schedule', index, value: 1 }))
  t.equal(
    replayCommand('a', '1', many),
    'npm run sim -- --scenario a --seed 1',
    'the seed alone is the same run',
  )
})

void test('pinned: passes for a run that breaks no rule, or the one that it expects, and fails with the report', async (t) => {
  const told: string[] = []
  const stand = {
    pass: (text: string) => told.push(`pass ${text}`),
    fail: (text: string) => told.push(`fail ${text}`),
  }
  const choices = 'value#0=3,value#1=3'
  const scenario = 'broken/sum'
  const run = { scenario, seed: 7, choices, expects: 'at-most-one-three' }
  await pinned(t, run, scenarios)
  await pinned(stand as unknown as Test, run, scenarios)
  await pinned(stand as unknown as Test, { scenario, seed: 7, choices: 'value#0=3' }, scenarios)
  await pinned(stand as unknown as Test, { scenario, seed: 7, choices }, scenarios)
  await pinned(stand as unknown as Test, { ...run, expects: 'other' }, scenarios)
  t.match(told, [
    /^pass broken\/sum, seed 7, breaks at-most-one-three$/,
    /^pass broken\/sum, seed 7, breaks no rule$/,
    /^fail broken\/sum, seed 7, breaks no rule\nat-most-one-three is violated[^]*--choices 'value#0=3,value#1=3'/,
    /^fail broken\/sum, seed 7, breaks other\n/,
  ])
  await t.rejects(runScenario('gone', { seed: 1 }, scenarios), /"gone".*renamed.*--list/)
})

void test('progress: a bar on a terminal, a line every ten seconds elsewhere, notes in between', async (t) => {
  const state = { done: 50, total: 200, failed: 0, what: 'a' }
  t.equal(
    progressText(state, 10_000, true),
    '[######------------------] 50 of 200 seeds in 10.0 s, 5.0 a second, none failed  a',
  )
  t.equal(
    progressText({ ...state, total: undefined, failed: 2 }, 10_000, false),
    '50 seeds in 10.0 s, 5.0 a second, 2 FAILED  a',
  )
  const show = (isTerminal: boolean): readonly string[] => {
    const written: string[] = []
    let now = 0
    const progress = new Progress({
      write: (text) => written.push(text),
      isTerminal,
      columns: 20,
      nowMs: () => now,
    })
    for (now = 0; now <= 20_000; now += 50) progress.show(state)
    progress.note('found')
    progress.clear()
    return written
  }
  t.equal(show(false).length, 3)
  const shown = show(true)
  t.equal(shown.length, 201 + 2)
  t.equal(shown[0], '\r[######------------\u001b[K')
  t.same(shown.slice(-2), ['\r\u001b[K', 'found\n'])
  t.same([900, 59_900, 60_000, 3_600_000, 90_000_000].map(duration), [
    '0.9 s',
    '59.9 s',
    '1 min 0 s',
    '1 h 0 min',
    '1 d 1 h',
  ])
})
