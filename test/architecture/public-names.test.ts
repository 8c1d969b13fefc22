/**
 * The public names of each entry point, as a file in the repo: whoever changes the API changes that file too, and the
 * change shows in the diff. `UPDATE_SNAPSHOTS=1 npm test -- public-names` writes it anew.
 */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'tap'
import { repoRoot, scan } from '../support/source-scan.ts'

const snapshotFile = join(repoRoot, 'test/architecture/public-names.txt')
/** Between our own packages; changes with them and promises nothing. */
const internal: ReadonlySet<string> = new Set(['./internal'])

void test('public names are those in test/architecture/public-names.txt', async (t) => {
  const found = publicNames()
  if (process.env['UPDATE_SNAPSHOTS'] === '1') writeFileSync(snapshotFile, found)
  const known = existsSync(snapshotFile) ? readFileSync(snapshotFile, 'utf8') : ''
  t.equal(found, known, 'if the change is meant: UPDATE_SNAPSHOTS=1 npm test -- public-names')
})

void test('exportedNames reads every form of named export', async (t) => {
  const names = exportedNames(`
    export { a, type B, c as d, type E as F } from './x.ts'
    export type { G, H as I } from './y.ts'
    export {
      // a comment, with a { brace
      j,
    } from './z.ts'
    export const k = { type: 'l' }
    export async function m(): Promise<void> {}
    export class N {}
    export abstract class O {}
    export interface P {}
    export type Q = 'r'
    const s = 1
  `)
  t.same(names, [
    'a',
    'd',
    'j',
    'k',
    'm',
    'N',
    'O',
    'type B',
    'type F',
    'type G',
    'type I',
    'type P',
    'type Q',
  ])
})

void test('exports of each package.json point at sources that are there', async (t) => {
  for (const { packageName, entry, source } of entryPoints()) {
    t.ok(existsSync(source), `${packageName} ${entry}: its @understudy/source exists`)
  }
})

interface EntryPoint {
  readonly packageName: string
  readonly entry: string
  readonly source: string
}

function entryPoints(): readonly EntryPoint[] {
  const packagesFolder = join(repoRoot, 'packages')
  return readdirSync(packagesFolder)
    .sort()
    .flatMap((folder) => {
      const manifest = JSON.parse(readFileSync(join(packagesFolder, folder, 'package.json'), 'utf8')) as {
        readonly name: string
        readonly exports: Readonly<Record<string, Readonly<Record<string, string>>>>
      }
      return Object.entries(manifest.exports).map(([entry, conditions]) => ({
        packageName: manifest.name,
        entry,
        source: join(packagesFolder, folder, conditions['@understudy/source'] ?? ''),
      }))
    })
}

function publicNames(): string {
  const sections = entryPoints()
    .filter(({ entry }) => !internal.has(entry))
    .map(({ packageName, entry, source }) => {
      const names = existsSync(source) ? exportedNames(readFileSync(source, 'utf8')) : ['(no source)']
      return [`${packageName}${entry.slice(1)}`, ...names.map((name) => `  ${name}`)].join('\n')
    })
  return `${sections.join('\n\n')}\n`
}

/** Names that are values first, then `type` names; each sorted. */
function exportedNames(text: string): readonly string[] {
  const { code } = scan('index.ts', text)
  const names: string[] = []
  for (const [, isType, list] of code.matchAll(/^\s*export\s+(type\s+)?\{([^}]*)\}/gm)) {
    for (const item of (list ?? '').split(',')) {
      const [, type, name, as] = /^\s*(type\s+)?([\w$]+)(?:\s+as\s+([\w$]+))?\s*$/.exec(item) ?? []
      if (name !== undefined) names.push(`${(isType ?? type) ? 'type ' : ''}${as ?? name}`)
    }
  }
  const declaration =
    /^\s*export\s+(?:declare\s+)?(?:(interface|type)|(?:abstract\s+)?class|(?:async\s+)?function\*?|const|let)\s+([\w$]+)/gm
  for (const [, isType, name] of code.matchAll(declaration)) names.push(`${isType ? 'type ' : ''}${name}`)
  const rank = (name: string): string => (name.startsWith('type ') ? `1${name}` : `0${name.toLowerCase()}`)
  return names.sort((a, b) => (rank(a) < rank(b) ? -1 : 1))
}
