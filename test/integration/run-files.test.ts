/** What runs the tests: a file that breaks in whatever way must not pass, and what it breaks is laid to it alone. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import tap, { test, type Test } from 'tap'
import { repoRoot } from '../support/source-scan.ts'
import { finalCounts } from '../support/tap-summary.ts'

tap.setTimeout(240_000)

const good = "import { test } from 'tap'\nvoid test('good', async (t) => { t.ok(true) })\n"
const begun = "import { test } from 'tap'\nvoid test('begun', async (t) => { t.ok(true); "

async function run(
  t: Test,
  files: Readonly<Record<string, string>>,
  limit = '60',
): Promise<{ readonly code: number | null; readonly output: string; readonly errors: string }> {
  const directory = t.testdir(files)
  // It is not a part of this run: what tap tells its children does not hold for it.
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('TAP')))
  const paths = Object.keys(files).map((name) => join(directory, name))
  const args = ['--jobs', '2', '--timeout', limit, ...paths]
  const child = spawn(process.execPath, [join(repoRoot, 'test/dist/support/run-files.js'), ...args], { env })
  let output = ''
  let errors = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text))
  child.stderr.setEncoding('utf8').on('data', (text: string) => (errors += text))
  const [code] = (await once(child, 'close')) as [number | null]
  // Not as the name of an assertion: it is long, and reads like a run of its own.
  t.teardown(() => {
    if (!t.passing()) t.comment(output)
  })
  return { code, output, errors }
}

void test('files that hold pass, and every assertion counts', async (t) => {
  const { code, output } = await run(t, { 'a.mjs': good, 'b.mjs': good })
  t.equal(code, 0)
  t.same(finalCounts(output), { passed: 2, failed: 0 })
  t.match(output, /^ok \d - .*a\.mjs/m)
})

for (const [what, text] of [
  ['an assertion that does not hold', `${begun}t.ok(false) })`],
  ['an error while it is loaded', `${good}throw new Error('at once')`],
  ['a signal', `${begun}process.kill(process.pid, 'SIGKILL'); await new Promise(() => {}) })`],
  ['an exit in the middle of a test', `${begun}process.reallyExit(0) })`],
  ['an exit code', `${good}process.on('exit', () => process.reallyExit(3))`],
] as const) {
  void test(`${what} fails its file, and no other`, async (t) => {
    const { code, output } = await run(t, { 'a.mjs': text, 'b.mjs': good })
    t.equal(code, 1)
    t.match(output, /^not ok \d - .*a\.mjs/m)
    t.match(output, /^ok \d - .*b\.mjs/m)
  })
}

void test('a file that runs no test is no test that was skipped', async (t) => {
  const { code, errors } = await run(t, { 'a.mjs': "console.log('nothing')", 'b.mjs': good })
  t.equal(code, 1)
  t.match(errors, /a\.mjs has run no test/)
})

void test('a file that says why it has nothing to test is skipped', async (t) => {
  const { code } = await run(t, {
    'a.mjs': "import tap from 'tap'\ntap.plan(0, 'not on this system')",
    'b.mjs': good,
  })
  t.equal(code, 0)
})

for (const [what, text] of [
  ['a promise', `${begun}setInterval(() => {}, 1_000); await new Promise(() => {}) })`],
  ['itself, without end', `${begun}for (;;) {} })`],
] as const) {
  void test(`a file that waits for ${what} is ended at its time limit, and fails`, async (t) => {
    const { code, output } = await run(t, { 'a.mjs': text }, '5')
    t.equal(code, 1)
    t.match(output, 'timeout!')
  })
}
