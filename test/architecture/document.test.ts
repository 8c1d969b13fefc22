/**
 * What the docs promise about the code, held to it: error codes, the semantics table, the metrics.
 */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'tap'
import { finalCounts } from '../support/tap-summary.ts'
import { filesBelow, repoRoot, scan, sourcesBelow } from '../support/source-scan.ts'
import type { SourceFile } from '../support/source-scan.ts'

/** The rules of ours that are kept so far. A rule joins this list with the feature that keeps it. */
const rules = (
  'S1.1 S2.1 S2.2 S2.3 S2.4 S2.5 S2.6 S3.1 S3.2 S4.1 S5.1 S5.2 S5.3 S6.1 S6.2 S6.3 ' +
  'S7.1 S8.1 S8.2 S9.1 S10.1 S10.2 S10.3 S11.1 S11.2 S13.1 S17.1'
).split(' ')

const codePattern = /\b(?:RUNTIME|CLUSTER|PROTOCOLS|KV)_[A-Z0-9_]+\b/g
const packages = sourcesBelow('packages').filter((file) => /^packages\/[\w-]+\/src\//.test(file.path))
const tests = sourcesBelow('test').filter((file) => !file.path.startsWith('test/architecture/'))

void test('every error code has a heading in docs/reference/errors.md and a test that meets it', async (t) => {
  const codes = errorCodes(packages)
  const documented = headings(read('docs/reference/errors.md'))
  // A contract suite is run by test/contracts on every implementation; a transcript is what a core was seen to do.
  const suites = packages.filter((file) => /\/testkit\/[\w-]+-contract\.ts$/.test(file.path))
  const transcripts = filesBelow('test/transcripts').flatMap((path) => read(path).match(codePattern) ?? [])
  const tested = new Set([...[...tests, ...suites].flatMap((file) => codesIn(file)), ...transcripts])
  t.same(
    codes.filter((code) => !documented.includes(code)),
    [],
    'codes without a heading `## CODE`',
  )
  t.same(
    codes.filter((code) => !tested.has(code)),
    [],
    'codes that no test names',
  )
  t.same(
    documented.filter((code) => !codes.includes(code)),
    [],
    'headings of codes that are gone',
  )

  const sample = scan(
    'a.ts',
    "const c = 'RUNTIME_ASK_TIMEOUT' // CLUSTER_X\nconst text = 'see RUNTIME_OTHER for more'",
  )
  t.same(errorCodes([sample]), ['RUNTIME_ASK_TIMEOUT'], 'a code is a string of its own')
  t.same(headings('# Errors\n## RUNTIME_A\n### `CLUSTER_B_C`\ntext RUNTIME_D'), ['RUNTIME_A', 'CLUSTER_B_C'])
})

void test('docs/semantics.md maps every rule to tests that exist', async (t) => {
  const rows = tableRows(read('docs/semantics.md'))
  t.same(
    rules.filter((rule) => !rows.some((row) => row.rule === rule)),
    [],
    'rules without a row',
  )
  t.same(
    rows.filter((row) => !rules.includes(row.rule)).map((row) => row.rule),
    [],
    'rows of no rule',
  )
  t.same(
    rows.flatMap((row) => rowFaults(row, testNames(row.file))),
    [],
  )

  const row = {
    rule: 'S2.1',
    text: 'one at a time',
    file: 'test/contracts/a.test.ts',
    name: 'S2.1 one at a time',
  }
  t.same(tableRows('| S2.1 | one at a time | `test/contracts/a.test.ts` | S2.1 one at a time |'), [row])
  t.same(tableRows('| rule | text | file | test |\n| --- | --- | --- | --- |\nS2.1 prose'), [], 'only rows')
  t.same(rowFaults(row, ['S2.1 one at a time']), [])
  t.match(rowFaults(row, ['S2.1 one']), [/no test "S2.1 one at a time"/])
  t.match(rowFaults(row, undefined), [/is not there/])
  t.match(rowFaults({ ...row, name: 'one at a time' }, ['one at a time']), [/must begin with "S2.1 "/])
  t.match(rowFaults({ ...row, file: 'test/runtime/a.test.ts' }, [row.name]), [/test\/contracts/])
})

void test('every test named after a rule stands in docs/semantics.md', async (t) => {
  const listed = new Set(tableRows(read('docs/semantics.md')).map((row) => row.name))
  const named = tests
    .filter((file) => file.path.startsWith('test/contracts/'))
    .flatMap((file) => file.strings.map((literal) => unescape(literal.value)))
    // One that ends in a space is the beginning of names made in a loop.
    .filter((name) => /^S\d+\.\d+ .*\S$/.test(name))
  t.same(
    [...new Set(named)].filter((name) => !listed.has(name)),
    [],
    'tests without a row',
  )
})

void test('every metric that is written is in the catalogue', async (t) => {
  const catalogue = 'packages/runtime/src/observability/metric-catalogue.ts'
  const declared = new Set(
    [
      ...(packages.find((file) => file.path === catalogue)?.code ?? '').matchAll(/^ {2}(understudy_\w+):/gm),
    ].map((match) => match[1]),
  )
  t.ok(declared.size > 0, 'the catalogue was read')
  const written = packages
    .filter((file) => file.path !== catalogue)
    .flatMap((file) => file.strings.map((literal) => literal.value))
    .filter((value) => /^understudy_[a-z0-9_]+$/.test(value))
  t.same(
    [...new Set(written)].filter((name) => !declared.has(name)),
    [],
    'declare it there, with help and labels',
  )
})

void test('the repo names no machine path and no registry', async (t) => {
  const pattern =
    /(?:^|[\s"'(=])(?:\/(?:work|home|root|Users)\/[\w.-]+\/)|https?:\/\/(?:npm|registry)\.[\w.-]+\//
  const texts = ['packages', 'examples', 'bench', 'docs', 'test', '.ci']
    .flatMap((folder) => filesBelow(folder))
    .concat(['README.md', 'CONTRIBUTING.md', 'CHANGELOG.md'])
    .filter((path) => /\.(?:ts|js|md|json|sh|txt)$|\.ci\//.test(path) && !path.endsWith('package-lock.json'))
    // This file shows what such a path looks like.
    .filter((path) => path !== 'test/architecture/document.test.ts')
  t.same(
    texts.filter((path) => pattern.test(read(path))),
    [],
  )
  t.match('see /home/me/x', pattern)
})

void test('finalCounts reads the last summary of tap, under any reporter', async (t) => {
  t.same(
    finalCounts(
      '# { total: 2, pass: 1, fail: 1 }\nok\n# { total: 5, pass: 3, fail: 1, skip: 1 }\n# time=1ms',
    ),
    {
      passed: 3,
      failed: 1,
    },
  )
  t.same(finalCounts('Asserts:  7 pass\n\n# { total: 7, pass: 7 }\n'), { passed: 7, failed: 0 })
  t.equal(finalCounts('    # { total: 7, pass: 7 }\nTAP version 14\n1..0'), undefined, "not a subtest's")
})

function errorCodes(files: readonly SourceFile[]): readonly string[] {
  return [...new Set(files.flatMap(codesIn))].sort()
}

function codesIn(file: SourceFile): readonly string[] {
  return file.strings
    .map((literal) => literal.value)
    .filter((value) => /^(?:RUNTIME|CLUSTER|PROTOCOLS|KV)_[A-Z0-9_]+$/.test(value))
}

function headings(markdown: string): readonly string[] {
  return [...markdown.matchAll(/^#{2,4} +`?((?:RUNTIME|CLUSTER|PROTOCOLS|KV)_[A-Z0-9_]+)`?/gm)].map(
    (match) => match[1] ?? '',
  )
}

interface Row {
  readonly rule: string
  readonly text: string
  readonly file: string
  readonly name: string
}

/** Rows `| S2.1 | rule in words | test file | test name |`, back quotes taken off; a rule may have many. */
function tableRows(markdown: string): readonly Row[] {
  return markdown.split('\n').flatMap((line) => {
    if (!/^\|\s*`?S\d+\.\d+`?\s*\|/.test(line)) return []
    const cells = line
      .split(/(?<!\\)\|/)
      .slice(1, -1)
      .map((cell) =>
        cell
          .trim()
          .replaceAll('\\|', '|')
          .replace(/^`(.*)`$/, '$1'),
      )
    const [rule = '', text = '', file = '', name = ''] = cells
    return [{ rule, text, file, name }]
  })
}

function rowFaults(row: Row, names: readonly string[] | undefined): readonly string[] {
  const found: string[] = []
  if (!row.name.startsWith(`${row.rule} `))
    found.push(`${row.rule}: the test's name must begin with "${row.rule} "`)
  if (!row.file.startsWith('test/contracts/'))
    found.push(`${row.rule}: ${row.file} must be in test/contracts/`)
  if (names === undefined) found.push(`${row.rule}: ${row.file} is not there`)
  else if (!names.includes(row.name)) found.push(`${row.rule}: ${row.file} has no test "${row.name}"`)
  return found
}

function testNames(path: string): readonly string[] | undefined {
  if (!existsSync(join(repoRoot, path))) return undefined
  return scan(path, read(path)).strings.map((literal) => unescape(literal.value))
}

function unescape(literal: string): string {
  return literal.replaceAll(/\\(.)/g, '$1')
}

/** The file's text, or nothing when it is not there yet. */
function read(path: string): string {
  const full = join(repoRoot, path)
  return existsSync(full) ? readFileSync(full, 'utf8') : ''
}
