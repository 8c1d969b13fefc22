/**
 * Reads TypeScript well enough to hold the rules of the repo, without a compiler API: comments and the insides of
 * strings are told from code, and imports from the rest.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join, posix, sep } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The root of the repo, seen from test/dist/support. */
export const repoRoot = fileURLToPath(new URL('../../..', import.meta.url))

export interface SourceFile {
  /** From the root of the repo, with slashes: `packages/runtime/src/actor/ref.ts`. */
  readonly path: string
  readonly text: string
  /** `text` with comments and the insides of strings and patterns blanked; positions and lines are the same. */
  readonly code: string
  readonly strings: readonly StringLiteral[]
  readonly imports: readonly ImportLine[]
}

export interface StringLiteral {
  readonly value: string
  readonly at: number
}

export interface ImportLine {
  readonly specifier: string
  /** True when nothing is loaded at run time: `import type`, `export type`, `typeof import()`. */
  readonly isType: boolean
  readonly line: number
}

/** Every .ts file below `folder` (from the root of the repo), sorted by path. A folder that is not there has none. */
export function sourcesBelow(folder: string): readonly SourceFile[] {
  return filesBelow(folder)
    .filter((path) => path.endsWith('.ts') && !path.endsWith('.d.ts'))
    .map((path) => scan(path, readFileSync(join(repoRoot, path), 'utf8')))
}

/** Every file below `folder` but those in dist and node_modules, sorted, from the root of the repo. */
export function filesBelow(folder: string): readonly string[] {
  const found: string[] = []
  const visit = (path: string): void => {
    let entries
    try {
      entries = readdirSync(join(repoRoot, path), { withFileTypes: true })
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return
      throw error
    }
    for (const entry of entries) {
      if (['dist', 'node_modules', '.git', '.tap'].includes(entry.name)) continue
      if (entry.isDirectory()) visit(`${path}/${entry.name}`)
      else if (entry.isFile()) found.push(`${path}/${entry.name}`)
    }
  }
  visit(folder.split(sep).join('/'))
  return found.sort()
}

/** Scans `text` as the file `path`. Also used on samples. */
export function scan(path: string, text: string): SourceFile {
  const { code, strings } = mask(text)
  return { path, text, code, strings, imports: findImports(code, strings) }
}

/** The file that a relative import of `from` means. */
export function resolveRelative(from: string, specifier: string): string {
  return posix.normalize(posix.join(posix.dirname(from), specifier))
}

export function lineAt(text: string, at: number): number {
  let line = 1
  for (let i = text.indexOf('\n'); i !== -1 && i < at; i = text.indexOf('\n', i + 1)) line += 1
  return line
}

/** Words after which a slash begins a pattern, as it does after an operator. */
const beforePattern =
  /(?:^|[=(,:;!&|?{}[+\-*%<>~^]|\b(?:return|typeof|case|in|of|delete|void|throw|new|else|do|yield|await))\s*$/

function mask(text: string): { readonly code: string; readonly strings: readonly StringLiteral[] } {
  const strings: StringLiteral[] = []
  /** For each open `${`, how many braces are open inside it. */
  const templates: number[] = []
  let code = ''
  let i = 0
  const blank = (to: number): void => {
    code += text.slice(i, to).replaceAll(/[^\n]/g, ' ')
    i = to
  }
  const template = (): void => {
    let to = i
    while (to < text.length && text[to] !== '`' && !text.startsWith('${', to)) to += text[to] === '\\' ? 2 : 1
    strings.push({ value: text.slice(i, to), at: i })
    blank(Math.min(to, text.length))
    if (text[i] === '`') {
      code += '`'
      i += 1
    } else if (i < text.length) {
      code += '${'
      i += 2
      templates.push(0)
    }
  }
  while (i < text.length) {
    const char = text[i] ?? ''
    if (text.startsWith('//', i)) {
      const end = text.indexOf('\n', i)
      blank(end === -1 ? text.length : end)
    } else if (text.startsWith('/*', i)) {
      const end = text.indexOf('*/', i + 2)
      blank(end === -1 ? text.length : end + 2)
    } else if (char === "'" || char === '"') {
      let to = i + 1
      while (to < text.length && text[to] !== char && text[to] !== '\n') to += text[to] === '\\' ? 2 : 1
      strings.push({ value: text.slice(i + 1, to), at: i })
      code += char
      i += 1
      blank(to)
      if (text[i] === char) {
        code += char
        i += 1
      }
    } else if (char === '`') {
      code += char
      i += 1
      template()
    } else if (char === '/' && beforePattern.test(code.slice(-40))) {
      let to = i + 1
      let inClass = false
      while (to < text.length && text[to] !== '\n' && (inClass || text[to] !== '/')) {
        if (text[to] === '[') inClass = true
        if (text[to] === ']') inClass = false
        to += text[to] === '\\' ? 2 : 1
      }
      blank(to + 1)
    } else if (char === '}' && templates.at(-1) === 0) {
      templates.pop()
      code += '}'
      i += 1
      template()
    } else {
      if (templates.length > 0 && (char === '{' || char === '}')) {
        templates.push((templates.pop() ?? 0) + (char === '{' ? 1 : -1))
      }
      code += char
      i += 1
    }
  }
  return { code, strings }
}

function findImports(code: string, strings: readonly StringLiteral[]): ImportLine[] {
  const byStart = new Map(strings.map((literal) => [literal.at, literal.value]))
  const found: ImportLine[] = []
  const patterns: readonly (readonly [RegExp, (match: RegExpMatchArray) => boolean])[] = [
    [
      /^(?:import|export)\b(\s+type\b(?!\s*,|\s+from\b))?[\w$*\s{},]*?\bfrom\s*(?=['"])/gm,
      (match) => match[1] !== undefined,
    ],
    [/^import\s*(?=['"])/gm, () => false],
    [/(\btypeof\s+)?\bimport\s*\(\s*(?=['"])/g, (match) => match[1] !== undefined],
  ]
  for (const [pattern, isType] of patterns) {
    for (const match of code.matchAll(pattern)) {
      const specifier = byStart.get(match.index + match[0].length)
      if (specifier === undefined) continue
      found.push({ specifier, isType: isType(match), line: lineAt(code, match.index) })
    }
  }
  return found.sort((a, b) => a.line - b.line)
}
