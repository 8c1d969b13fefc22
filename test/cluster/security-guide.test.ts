/** The threat model keeps its word: each test that docs/guides/security.md names is there, and none of its own is left out. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'tap'
import { repoRoot } from '../support/source-scan.ts'

const read = (path: string): string => readFileSync(join(repoRoot, path), 'utf8')

/** `test/x.test.ts` "its name", wherever it stands. */
function namedTests(markdown: string): readonly { readonly file: string; readonly name: string }[] {
  const found = markdown.matchAll(/`(test\/[\w/.-]+\.test\.ts)`\s+"([^"]+)"/g)
  return [...found].map(([, file = '', name = '']) => ({ file, name }))
}

/** The names of the tests of a file as they are written, templates included. */
function testsOf(source: string): readonly string[] {
  const found = source.matchAll(/\btest\(\s*(['"`])((?:(?!\1).)+)\1/g)
  return [...found].map(([, , name = '']) => name)
}

/** Rows of the tables that have a column of tests. */
function threatRows(markdown: string): readonly string[] {
  const rows: string[] = []
  let isThreat = false
  for (const line of markdown.split('\n')) {
    if (!line.startsWith('|')) isThreat = false
    else if (line.endsWith('| shown by |')) isThreat = true
    else if (isThreat && !line.startsWith('| ---')) rows.push(line)
  }
  return rows
}

void test('docs/guides/security.md: every line of the threat model names a test, and all of them exist', async (t) => {
  const guide = read('docs/guides/security.md')
  const rows = threatRows(guide)
  t.ok(rows.length > 35, `${rows.length} lines`)
  t.same(
    rows.filter((row) => namedTests(row).length === 0),
    [],
    'lines without a test',
  )
  const missing = namedTests(guide).filter(
    ({ file, name }) => !existsSync(join(repoRoot, file)) || !testsOf(read(file)).includes(name),
  )
  t.same(missing, [], 'tests that are not there')
})

void test('docs/guides/security.md: what the tests of security show stands in it', async (t) => {
  const named = namedTests(read('docs/guides/security.md')).map(({ name }) => name)
  for (const file of [
    'cluster/security-peer',
    'cluster/security-insider',
    'integration/security-tls',
    'integration/security-flood',
    'integration/security-flood-tables',
    'integration/security-flood-refs',
  ]) {
    t.same(
      testsOf(read(`test/${file}.test.ts`)).filter((name) => !named.includes(name)),
      [],
      `${file}: tests that the guide does not name`,
    )
  }
})

void test('namedTests, testsOf and threatRows find what is there', async (t) => {
  const page =
    '| a | shown by |\n| --- | --- |\n| x | `test/a.test.ts` "one: two" |\n| y | none |\n\n| a | b |\n| z | |'
  t.same(namedTests(page), [{ file: 'test/a.test.ts', name: 'one: two' }])
  t.same(threatRows(page), ['| x | `test/a.test.ts` "one: two" |', '| y | none |'])
  t.same(testsOf("void test('a', ...)\n test(\n  `b ${c}`,"), ['a', 'b ${c}'])
})
