/** `npm run sim` with worker processes: failures made small and kept, processes that die, interrupts. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'tap'
import { lastLine, sim } from '../simulation/fixture/command.ts'

void test('a failure is made small once, kept as a test and a picture, and the printed command replays it', async (t) => {
  const { code, out, err, root } = await sim(t, '--scenario broken/sum --seeds 12 --first-seed 20 --jobs 2')
  t.equal(code, 1)
  t.equal(err.match(/FAILED/g)?.length, 1, 'told once while it runs')
  t.match(out, /shrunk from \d+ choices to 2 in \d+ runs/)
  t.match(out, /at-most-one-three on \d+ seeds: 20, /)
  t.match(lastLine(out), /^\d+ passed, \d+ failed$/)
  const command = /npm run sim -- (--scenario broken\/sum --seed \d+ --choices '[^']+')/.exec(out)?.[1] ?? ''
  t.match(command, "--choices 'value#0=3,value#1=3'")
  const regression = 'test/simulation/regressions/broken-sum-at-most-one-three.test.ts'
  t.match(out, regression)
  const text = readFileSync(join(root, regression), 'utf8')
  t.match(text, "import { runScenario } from '../pinned.ts'")
  t.match(text, "{ stream: 'value', index: 0, value: 3 }")
  const picture = /simulation-report\/broken-sum-seed\d+\.html/.exec(out)?.[0] ?? 'none'
  t.match(readFileSync(join(root, picture), 'utf8'), /<svg/)

  const again = await sim(t, command)
  t.equal(again.code, 1)
  t.match(again.out, 'at-most-one-three is violated')
  t.notMatch(again.out, /shrunk/)
  t.notOk(existsSync(join(again.root, regression)), 'what is replayed is not written again')
  const mended = await sim(t, command.replace(/'.*'/, "''"))
  t.equal(mended.code, 0)
  t.equal(lastLine(mended.out), '1 passed, 0 failed')
})

void test('nothing is written with --no-write; in CI no test; and no test for what is wrong on purpose', async (t) => {
  const none = await sim(t, '--scenario broken/sum --seeds 3 --no-write --no-shrink --jobs 1')
  t.equal(none.code, 1)
  t.notOk(existsSync(join(none.root, 'simulation-report')))
  t.notMatch(none.out, /shrunk/)
  const ci = await sim(t, '--scenario broken/sum --seeds 3 --jobs 1', { isCi: true })
  t.ok(existsSync(join(ci.root, 'simulation-report')))
  t.notOk(existsSync(join(ci.root, 'test')))
  const wrong = await sim(t, '--scenario wrong --seed 1 --jobs 1')
  t.equal(wrong.code, 1)
  t.notOk(existsSync(join(wrong.root, 'test')))
})

void test('a run that kills or hangs its process fails alone, with its seed and its last words', async (t) => {
  const { code, out } = await sim(
    t,
    '--scenario broken/dies --scenario broken/hangs --scenario broken/throws --seeds 12 --hang-seconds 1 --no-shrink --jobs 2',
  )
  t.equal(code, 1)
  t.match(
    out,
    /broken\/dies: process-lost on seed 2\n\nThe process ended with exit code 7; it said:\nlast words\n/,
  )
  t.match(out, /broken\/hangs: process-lost on seed 3\n\nThe process gave no result for 1 s and was killed\n/)
  t.match(out, /broken\/throws: run-rejected on 4 seeds: 1, 2, 3, 4; this is seed 1/)
  t.match(out, /thrown outside of the world/)
  t.equal(lastLine(out), '6 passed, 6 failed')
})

void test('scenarios that cannot be loaded end the command at once, with the reason', async (t) => {
  const { code, err } = await sim(t, '--seeds 5 --jobs 2', { registry: 'unloadable' })
  t.equal(code, 1)
  t.match(err, /A worker process ended with exit code 1; it said:/)
  t.match(err, /not loadable here/)
})

void test('an interrupt ends a run that hangs, and what was found so far is printed', async (t) => {
  const { code, out } = await sim(t, '--scenario broken/sum --scenario broken/hangs --minutes 60 --jobs 2', {
    onErr: (text, abort) => {
      if (text.startsWith('FAILED')) abort()
    },
  })
  t.equal(code, 1)
  t.match(out, /Interrupted: this is what was found so far/)
  t.match(out, /broken\/sum: at-most-one-three/)
  t.match(lastLine(out), /^\d+ passed, \d+ failed$/)
})
