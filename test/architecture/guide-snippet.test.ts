/**
 * The TypeScript in README.md and docs/guides compiles as it stands, against the built packages. A block that begins with
 * `// name.ts` is the file of that name, which other blocks of the same page may import; every other one is a module of
 * its own. Blocks are moved to the line where they stand on their page, so that an error names the place to mend.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'tap'
import { compile } from '../support/compiler.ts'
import { filesBelow, repoRoot } from '../support/source-scan.ts'

/** A page's blocks, by file name. */
type Page = Readonly<Record<string, string>>

/** The strict flags of the repo, but for what a snippet need not use, on the packages as they are published. */
const tsconfig = (base: string): string =>
  JSON.stringify({
    extends: base,
    compilerOptions: {
      composite: false,
      noEmit: true,
      customConditions: [],
      noUnusedLocals: false,
      allowImportingTsExtensions: true,
    },
    include: ['**/*.ts'],
  })

void test('the code blocks of README.md and docs/guides compile as they stand', async (t) => {
  const pages = ['README.md', ...filesBelow('docs/guides')].filter(
    (path) => path.endsWith('.md') && existsSync(join(repoRoot, path)),
  )
  const found = Object.fromEntries(
    pages.map((path) => [folderOf(path), blocks(readFileSync(join(repoRoot, path), 'utf8'))]),
  )
  t.ok(
    Object.values(found).some((page) => Object.keys(page).length > 0),
    'there are blocks',
  )
  t.equal(compilePages(t.testdir({ pages: found })), '')
})

void test('blocks: the compiler sees what is wrong with one, at its line', async (t) => {
  const page = blocks(
    '# Page\n\n```ts\n// a.ts\nexport const a: number = 1\n```\ntext\n```ts\nimport { a } from "./a.ts"\na.x\n```\n',
  )
  t.same(Object.keys(page), ['a.ts', 'line-9.ts'])
  t.match(compilePages(t.testdir({ pages: { page } })), /line-9\.ts\(10,3\): error TS2339/)
})

function folderOf(path: string): string {
  return path.replace(/\.md$/, '').replaceAll('/', '-')
}

function blocks(markdown: string): Page {
  const page: Record<string, string> = {}
  for (const match of markdown.matchAll(/^```ts\n([^]*?)^```$/gm)) {
    const text = match[1] ?? ''
    const before = markdown.slice(0, match.index).split('\n').length
    const name = /^\/\/ ([\w-]+\.ts)\n/.exec(text)?.[1] ?? `line-${before + 1}.ts`
    // Every file is a module, also one that neither imports nor exports.
    page[name] = `${'\n'.repeat(before)}${text}export {}\n`
  }
  return page
}

/** What the compiler has to say about the pages in `directory`. */
function compilePages(directory: string): string {
  const folder = join(directory, 'pages')
  const config = tsconfig(join(repoRoot, 'tsconfig.base.json'))
  const file = join(folder, 'tsconfig.json')
  writeFileSync(file, config)
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }')
  return compile('-p', file, '--pretty', 'false')
}
