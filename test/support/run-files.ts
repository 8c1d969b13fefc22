/**
 * The part of `npm test` that is tap's: runs compiled test files, each in a process of its own, and writes what they say to
 * standard output. Started by run-tests.ts:
 *
 *     node test/dist/support/run-files.js --reporter tap --jobs 2 --timeout 30 FILE ...
 *
 * tap's own command does the same, and starts each process with three loaders besides: for TypeScript, for mocked modules and
 * for coverage. None of them is used here, and they take three times as long as all else that a process needs to begin, also in
 * every process that a test starts.
 */
import { createRequire } from 'node:module'
import { dirname, join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import tap from 'tap'

/** What is used of @tapjs/reporter, which is a dependency of tap, and not ours. */
interface Reporter {
  report(
    type: string,
    root: typeof tap,
    config: { get(option: string): unknown },
    output: NodeJS.WritableStream,
  ): Promise<boolean>
}

const { values, positionals: files } = parseArgs({
  allowPositionals: true,
  options: {
    jobs: { type: 'string', default: '2' },
    timeout: { type: 'string', default: '30' },
    reporter: { type: 'string', default: 'tap' },
  },
})

// The files have their time limits, all of them together have none.
tap.setTimeout(0)
if (values.reporter === 'tap') {
  tap.pipe(process.stdout)
} else {
  const fromTap = createRequire(createRequire(import.meta.url).resolve('tap/package.json'))
  const module = join(dirname(fromTap.resolve('@tapjs/reporter/package.json')), 'dist/esm/index.js')
  // The name is not known to the compiler, so neither is the type.
  const reporter = (await import(pathToFileURL(module).href)) as Reporter
  await reporter.report(values.reporter, tap, { get: () => undefined }, process.stdout)
}
tap.jobs = Math.max(1, Math.min(Number(values.jobs), files.length))
tap.plan(files.length)
for (const name of files) {
  const ended = tap.spawn('/usr/bin/env', commandFor(resolve(name)), {
    name,
    at: null,
    stack: '',
    buffered: tap.jobs > 1,
    timeout: Number(values.timeout) * 1_000,
    stdio: values.reporter === 'tap' ? 'inherit' : 'pipe',
    env: { ...process.env, TAP_TYPE_STRIP_ONLY: '1', TAP_TIMEOUT: values.timeout },
  })
  void ended.then((results) => {
    // For tap that is a skipped test; for us a file whose process ended before its first test, and said nothing.
    const isEmpty = results?.count === 0 && ['', 'no tests found'].includes(results.plan.skipReason)
    if (isEmpty) {
      console.error(`${name} has run no test`)
      process.exitCode = 1
    }
  })
}

/** Through `env`, since tap puts its loader for coverage into NODE_OPTIONS; what we were given ourselves stays there. */
function commandFor(file: string): string[] {
  const given = process.env['NODE_OPTIONS']
  const options = given === undefined ? ['-u', 'NODE_OPTIONS'] : [`NODE_OPTIONS=${given}`]
  return [...options, process.execPath, '--enable-source-maps', file]
}
