/**
 * What may stand in a source file: no ambient time, chance, timers or IO outside the platform; pure cores; file names.
 */
import { test } from 'tap'
import { filesBelow, lineAt, scan, sourcesBelow } from '../support/source-scan.ts'
import type { SourceFile } from '../support/source-scan.ts'

interface Ban {
  /** Looked for in code, never in comments and strings. */
  readonly pattern: RegExp
  readonly instead: string
}

// Not after a dot or another letter: `clock.setTimeout` and `mySetTimeout` are somebody else's.
const ambient: readonly Ban[] = [
  { pattern: /(?<![.\w$])Date\s*[.(]/g, instead: 'platform.clock.wallMs(), or ctx.wallMs() in an actor' },
  {
    pattern: /(?<![.\w$])performance\s*\./g,
    instead: 'platform.clock.monotonicMs(), or ctx.now() in an actor',
  },
  {
    pattern: /(?<![.\w$])(?:set|clear)(?:Timeout|Interval|Immediate)\b(?!\s*\??:)/g,
    instead: 'platform.clock.setTimer(), or ctx.timers in an actor',
  },
  { pattern: /\bAbortSignal\s*\.\s*timeout\b/g, instead: 'platform.clock.setTimer() and an AbortController' },
  { pattern: /(?<![.\w$])queueMicrotask\b(?!\s*\??:)/g, instead: 'platform.scheduler.afterTurn()' },
  { pattern: /\bMath\s*\.\s*random\b/g, instead: 'platform.random, or ctx.random in an actor' },
  {
    pattern: /(?<![.\w$])(?:crypto\s*\.|randomUUID\b|getRandomValues\b)/g,
    instead: 'platform.secureBytes()',
  },
  { pattern: /(?<![.\w$])process\s*(?:\.|\[)/g, instead: 'platform.host (env, exit, onSignal, processId)' },
  { pattern: /(?<![.\w$])console\s*\./g, instead: 'platform.log, or ctx.log in an actor' },
  {
    pattern: /(?<![.\w$])(?:fetch\s*\(|new\s+(?:WebSocket|MessageChannel|Worker)\b)/g,
    instead: 'a Transport or a service',
  },
  { pattern: /(?<![.\w$])globalThis\b/g, instead: 'an argument' },
  {
    pattern: /(?<![.\w$])(?:WeakRef|FinalizationRegistry)\b/g,
    instead: 'an explicit close(); collection has no fixed time',
  },
]
/** In a simulator `process` may be a simulated one: there only what no simulated process has is Node's. */
const ambientInSimulation: readonly Ban[] = ambient.map((ban) => {
  if (!ban.pattern.source.includes('process')) return ban
  const members =
    'abort|argv|binding|cpuUsage|cwd|emit|emitWarning|env|execArgv|exit|getBuiltinModule|hrtime|listeners|' +
    'memoryUsage|nextTick|off|on|once|pid|removeAllListeners|stderr|stdin|stdout|uptime|versions'
  return { ...ban, pattern: new RegExp(`(?<![.\\w$])process\\s*(?:\\.\\s*(?:${members})\\b|\\[)`, 'g') }
})
const everywhere: readonly Ban[] = [
  {
    pattern: /\bprocess\s*\.\s*nextTick\b/g,
    instead: 'platform.scheduler.afterTurn(): nextTick starves promises',
  },
  { pattern: /^export\s+default\b/gm, instead: 'a named export' },
  { pattern: /^export\s*\*/gm, instead: 'a list of names, so that a new public name shows' },
]
const cores: readonly Ban[] = [
  { pattern: /\b(?:async|await)\b(?!\s*:)/g, instead: 'an effect that the shell carries out' },
  { pattern: /\bPromise\b/g, instead: 'an effect that the shell carries out' },
  {
    pattern: /\bfor\s*\(\s*(?:const|let)\s+\w+\s+in\b/g,
    instead: 'a Map or a sorted array: integer-like keys reorder',
  },
  {
    pattern: /\b(?:Clock|Timer|Scheduler|Platform|Logger|Store|Host)\b/g,
    instead: 'data that the shell hands in',
  },
]

const server = 'packages/cluster/src/transport/server.ts'
/** Stands in front of the globals, to catch who uses them in a simulation. */
const ambientGuard = 'packages/runtime/src/simulation/ambient-guard.ts'
const packages = sourcesBelow('packages').filter((file) => /^packages\/[\w-]+\/src\//.test(file.path))

void test('nothing reads time, chance, timers, process or network but the platform and the server', async (t) => {
  t.same(packages.flatMap(ambientFaults), [])
  const sample = (text: string, path = 'packages/runtime/src/actor/a.ts'): readonly string[] =>
    ambientFaults(scan(path, text))
  const bad = [
    'const now = Date.now()',
    'const now = new Date()',
    'performance.now()',
    'setTimeout(f, 1)',
    'const schedule = setImmediate',
    'clearTimeout(x)',
    'AbortSignal.timeout(5)',
    'queueMicrotask(f)',
    'Math.random()',
    'crypto.randomUUID()',
    'randomUUID()',
    'process.env',
    "process['env']",
    "console.log('x')",
    'await fetch(url)',
    'new WebSocket(url)',
    'globalThis.x',
    'new WeakRef(x)',
    'const text = `${Date.now()}`',
  ]
  for (const text of bad) t.equal(sample(text).length, 1, `refuses ${text}`)
  const good = [
    '// Date.now() is banned',
    '/* setTimeout(f) */',
    "throw new TypeError('use ctx.now(), not Date.now() or setTimeout()')",
    'const text = `Math.random() ${x} process.env`',
    'clock.setTimeout(1)',
    'const o = { setTimeout: 1 }',
    'value instanceof Date',
    'const pattern = /process.env/',
    'interface X { readonly queueMicrotask: () => void }',
    'deadline.process.x',
  ]
  for (const text of good) t.same(sample(text), [], `takes ${text}`)
  t.same(
    sample('Date.now()', 'packages/runtime/src/platform/clock.ts'),
    [],
    'the platform is where it belongs',
  )
  t.same(sample('globalThis.x', ambientGuard), [], 'the guard stands in front of it')
  const simulator = 'packages/cluster/src/simulation/a.ts'
  t.same(sample('process.kill(); process.name', simulator), [], 'a simulated process')
  t.equal(sample('process.env.X; process.on(f); process["x"]; globalThis.x', simulator).length, 4)
  t.match(sample('const a = 1\nDate.now()'), [/actor\/a\.ts:2: Date\. is banned here; use platform\.clock/])
})

void test('process.nextTick, default exports and export * are nowhere', async (t) => {
  t.same(
    packages.flatMap((file) => faults(file, everywhere)),
    [],
  )
  const sample = (text: string): number =>
    faults(scan('packages/runtime/src/platform/a.ts', text), everywhere).length
  t.equal(sample('process.nextTick(f)'), 1)
  t.equal(sample('export default x'), 1)
  t.equal(sample("export * from './x.ts'"), 1)
  t.equal(sample("export { x as default2 } from './x.ts'"), 0)
})

void test('a -core file is a pure step machine or pure data', async (t) => {
  t.same(
    packages.filter(isCore).flatMap((file) => [...faults(file, cores), ...faults(file, ambient)]),
    [],
  )
  const sample = (text: string): number =>
    faults(scan('packages/runtime/src/core/a-core.ts', text), cores).length
  t.equal(sample('async function f() {}'), 1)
  t.equal(sample('function f(): Promise<void> {}'), 1)
  t.equal(sample('for (const key in object) {}'), 1)
  t.equal(sample('for (const key of keys) {}'), 0)
  t.equal(sample('// await a Promise'), 0)
  t.equal(sample("import type { Logger } from '../platform/log.ts'"), 1)
})

void test('files are named after a noun, in kebab-case', async (t) => {
  const all = ['packages', 'test', 'bench', 'examples'].flatMap((folder) => filesBelow(folder))
  t.same(all.filter((path) => path.endsWith('.ts')).flatMap(nameFaults), [])
  t.match(nameFaults('packages/runtime/src/actor/utils.ts'), [/after what is in it/])
  t.match(nameFaults('test/support/test-helpers.ts'), [/after what is in it/])
  t.match(nameFaults('packages/runtime/src/types/ref.ts'), [/after what is in it/])
  t.match(nameFaults('packages/runtime/src/actor/ActorRef.ts'), [/kebab-case/])
  t.same(nameFaults('packages/runtime/src/actor/actor-ref.test.ts'), [])
})

void test('long files are worth a look (printed, not held)', async (t) => {
  const long = [...packages, ...sourcesBelow('test'), ...sourcesBelow('bench'), ...sourcesBelow('examples')]
    .map((file) => ({ path: file.path, lines: file.text.split('\n').length - 1 }))
    .filter((file) => file.lines > 400)
    .sort((a, b) => b.lines - a.lines)
  for (const { path, lines } of long) t.comment(`${path}: ${lines} lines`)
  t.pass(`${long.length} files over 400 lines`)
})

function ambientFaults(file: SourceFile): readonly string[] {
  const allowed =
    file.path.startsWith('packages/runtime/src/platform/') || [server, ambientGuard].includes(file.path)
  if (allowed) return []
  return faults(file, /^packages\/[\w-]+\/src\/simulation\//.test(file.path) ? ambientInSimulation : ambient)
}

function faults(file: SourceFile, bans: readonly Ban[]): readonly string[] {
  return bans.flatMap(({ pattern, instead }) =>
    [...file.code.matchAll(pattern)].map((match) => {
      const what = match[0].trim().replaceAll(/\s+/g, ' ')
      return `${file.path}:${lineAt(file.code, match.index)}: ${what} is banned here; use ${instead}`
    }),
  )
}

function isCore(file: SourceFile): boolean {
  return file.path.endsWith('-core.ts')
}

function nameFaults(path: string): readonly string[] {
  const found: string[] = []
  for (const part of path.replace(/\.ts$/, '').split('/')) {
    if (
      /(?:^|-)(?:utils?|helpers?|common|misc|types)$/.test(part) &&
      path !== `test/types/${path.slice(11)}`
    ) {
      found.push(`${path}: name "${part}" after what is in it, not after its kind`)
    }
  }
  const base = path.split('/').at(-1) ?? ''
  if (!/^[a-z0-9]+(?:-[a-z0-9]+)*(?:\.test|\.bench)?\.ts$/.test(base))
    found.push(`${path}: write "${base}" in kebab-case`)
  return found
}
