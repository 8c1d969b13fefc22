/**
 * What `npm test` runs after `tsc -b`: tap on the compiled tests, and one plain closing line that tap does not print.
 *
 *     node test/dist/support/run-tests.js [--all] [--jobs N] [--timeout SECONDS] [filter ...]
 *
 * Without filters all tests run but those of test/integration, which start processes and sockets and take real time, and
 * the longest parts of a few others (see quick-run.ts); `--all` runs these too. A filter is a part of a file's path below test/: `contracts/store`, `runtime`. A filter that
 * matches no file is an error. The last line is always `N passed, N failed`, counting assertions, and the exit code is 0
 * only if at least one passed and none failed.
 */
import { spawn } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join, relative, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { finalCounts } from './tap-summary.ts'
import type { Counts } from './tap-summary.ts'

const builtTests = fileURLToPath(new URL('..', import.meta.url))
const root = join(builtTests, '..', '..')

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    all: { type: 'boolean', default: false },
    jobs: { type: 'string' },
    timeout: { type: 'string' },
    reporter: { type: 'string' },
  },
})

process.exitCode = await main()

async function main(): Promise<number> {
  const found = testFiles()
  const chosen = chooseFiles(found, positionals, values.all)
  const idle = positionals.filter((filter) => !found.some((file) => matches(file, filter)))
  if (idle.length > 0) {
    console.error(`No test file matches ${idle.map((filter) => `"${filter}"`).join(', ')} below test/`)
    console.log('0 passed, 1 failed')
    return 2
  }
  const run = await runTap(chosen)
  const { passed, failed, problem } = judge(run)
  if (problem !== undefined) console.error(problem)
  console.log(`${passed} passed, ${failed} failed`)
  return failed === 0 ? 0 : 1
}

/**
 * All compiled tests as paths below test/dist with slashes, sorted. A test that was renamed or deleted leaves its output
 * behind, which must not run for ever: without its source it is left out.
 */
function testFiles(): readonly string[] {
  return filesBelow(builtTests)
    .filter((file) => file.endsWith('.test.js') && !file.includes('/fixtures/'))
    .filter((file) => existsSync(join(root, 'test', file.replace(/\.js$/, '.ts'))))
    .sort()
}

function filesBelow(directory: string): string[] {
  return readdirSync(directory, { recursive: true, encoding: 'utf8' }).map((file) =>
    file.split(sep).join('/'),
  )
}

function chooseFiles(files: readonly string[], filters: readonly string[], all: boolean): readonly string[] {
  if (filters.length > 0) return files.filter((file) => filters.some((filter) => matches(file, filter)))
  return all ? files : files.filter((file) => !file.startsWith('integration/'))
}

function matches(file: string, filter: string): boolean {
  const wanted = filter.replace(/^(\.\/)?test\/(dist\/)?/, '').replace(/\.[jt]s$/, '')
  return file.replace(/\.js$/, '').includes(wanted)
}

interface TapRun {
  /** The exit code; 1 when a signal ended it. */
  readonly code: number
  readonly signal: NodeJS.Signals | null
  readonly counts: Counts | undefined
}

/** Runs tap on `files`; what it says is streamed on, and read for its closing summary. */
async function runTap(files: readonly string[]): Promise<TapRun> {
  if (files.length === 0) return { code: 0, signal: null, counts: undefined }
  const reporter = values.reporter ?? (process.env['CI'] === undefined ? 'terse' : 'tap')
  const args = [join(builtTests, 'support/run-files.js'), '--reporter', reporter]
  const isQuick = !values.all && positionals.length === 0
  // A few of the fast tests wait, for the network or a process: one more than there are processors keeps these busy.
  const jobs = values.jobs ?? String(availableParallelism() + (isQuick ? 1 : 0))
  args.push('--jobs', jobs, '--timeout', values.timeout ?? '60')
  args.push(...files.map((file) => relative(root, join(builtTests, file)).split(sep).join('/')))
  const child = spawn(process.execPath, args, {
    cwd: root,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...(isQuick ? { TEST_QUICK: '1' } : {}) },
  })
  let tail = ''
  child.stdout.setEncoding('utf8')
  child.stdout.on('data', (text: string) => {
    process.stdout.write(plainUnlessTerminal(text))
    // Only the end matters, and a failing run can print a great deal.
    tail = (tail + text).slice(-65_536)
  })
  child.stderr.setEncoding('utf8')
  child.stderr.on('data', (text: string) => process.stderr.write(plainUnlessTerminal(text)))
  return await new Promise<TapRun>((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code, signal) => resolve({ code: code ?? 1, signal, counts: finalCounts(tail) }))
  })
}

/** tap moves the cursor whether or not there is one; in a file or a pipe those codes would stand before our last line. */
function plainUnlessTerminal(text: string): string {
  // eslint-disable-next-line no-control-regex
  return process.stdout.isTTY ? text : text.replaceAll(/\u001b\[[0-9;?]*[A-Za-z]/g, '')
}

function judge(run: TapRun): { readonly passed: number; readonly failed: number; readonly problem?: string } {
  const { code, signal, counts } = run
  if (signal !== null) return { passed: 0, failed: 1, problem: `tap was ended by ${signal}` }
  if (counts === undefined) return { passed: 0, failed: 1, problem: 'tap printed no summary: no test ran' }
  const { passed, failed } = counts
  if (failed > 0) return { passed, failed }
  if (passed === 0) return { passed, failed: 1, problem: 'Not one assertion passed: is a test file empty?' }
  // What tap leaves unsaid: a bad plan, a timeout or a handle that stayed open can fail a run in which all passed.
  if (code !== 0)
    return { passed, failed: 1, problem: `All assertions passed, but tap ended with exit code ${code}` }
  return { passed, failed: 0 }
}
