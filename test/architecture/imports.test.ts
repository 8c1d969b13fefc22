/**
 * Which way imports point, and the one file per foreign thing. The picture is in docs/architecture.md.
 */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'tap'
import { repoRoot, resolveRelative, scan, sourcesBelow } from '../support/source-scan.ts'
import type { SourceFile } from '../support/source-scan.ts'

/** Folders of each package from the bottom up. A folder may import those of its own row and of the rows before it. */
const layers: Readonly<Record<string, readonly (readonly string[])[]>> = {
  runtime: [
    ['core', 'codec', 'platform'],
    ['validation', 'observability'],
    ['actor'],
    ['supervision'],
    ['system'],
    ['routing', 'persistence'],
    ['testkit', 'simulation'],
  ],
  cluster: [
    ['wire', 'placement', 'crdt'],
    ['transport'],
    ['membership'],
    ['remote'],
    ['entity', 'group'],
    ['node'],
    ['management'],
    ['testkit', 'simulation'],
  ],
  protocols: [
    ['core'],
    ['host'],
    ['raft', 'paxos', 'byzantine', 'transaction'],
    ['service'],
    ['replication', 'lock', 'kv'],
    ['election', 'queue', 'cache', 'block'],
    ['testkit'],
  ],
}
/** Services see a ConsensusGroup, never the protocol behind it, nor its host. */
const services: ReadonlySet<string> = new Set(['service', 'lock', 'kv', 'queue', 'cache', 'block'])
const behindGroups: ReadonlySet<string> = new Set(['host', 'raft', 'paxos', 'byzantine', 'transaction'])
/** Folders that import nothing of their package and that nothing of it imports. */
const alone: ReadonlySet<string> = new Set(['runtime/checker'])
/** Folders that production code never imports. */
const forTests: ReadonlySet<string> = new Set(['testkit', 'simulation', 'checker'])
/** Which packages of ours each may import. */
const packagesBelow: Readonly<Record<string, readonly string[]>> = {
  runtime: [],
  cluster: ['runtime'],
  protocols: ['runtime', 'cluster'],
}

/** Where each foreign module may be imported: a file, or a folder that ends in a slash. */
const homes: Readonly<Record<string, string>> = {
  ws: 'packages/cluster/src/transport/server.ts',
  'node:http': 'packages/cluster/src/transport/server.ts',
  'node:https': 'packages/cluster/src/transport/server.ts',
  'cbor-x': 'packages/runtime/src/codec/',
  'classic-level': 'packages/runtime/src/platform/level-store.ts',
  pino: 'packages/runtime/src/platform/log.ts',
  'sorted-btree': 'packages/protocols/src/kv/ordered-keys.ts',
  ajv: 'packages/runtime/src/validation/',
}
/** Stands in front of the machine in simulations: the one file outside of the platform that takes Node's hooks. */
const ambientGuard = 'packages/runtime/src/simulation/ambient-guard.ts'
/** At most this many files of a home that is a folder. */
const filesOf: Readonly<Record<string, number>> = { 'cbor-x': 1 }

const files = ['runtime', 'cluster', 'protocols'].flatMap((name) => sourcesBelow(`packages/${name}/src`))

void test('imports point from the higher folder to the lower one', async (t) => {
  t.same(files.flatMap(directionFaults), [])
  const sample = (path: string, text: string): readonly string[] => directionFaults(scan(path, text))
  t.same(sample('packages/runtime/src/actor/a.ts', "import { x } from '../codec/x.ts'\nimport './b.ts'"), [])
  t.match(sample('packages/runtime/src/actor/a.ts', "import type { x } from '../system/x.ts'"), [
    /actor\/a.ts:1: actor may/,
  ])
  t.match(sample('packages/runtime/src/system/a.ts', "\nimport { x } from '../testkit/x.ts'"), [
    /a.ts:2: .*never imports/,
  ])
  t.match(sample('packages/runtime/src/index.ts', "export { x } from './simulation/x.ts'"), [
    /never imports simulation/,
  ])
  t.match(sample('packages/runtime/src/checker/a.ts', "import { x } from '../core/x.ts'"), [/stands alone/])
  t.match(sample('packages/protocols/src/lock/a.ts', "import { x } from '../raft/x.ts'"), [
    /sees the ConsensusGroup/,
  ])
  t.same(sample('packages/protocols/src/election/a.ts', "import { x } from '../lock/x.ts'"), [])
  t.match(sample('packages/cluster/src/wire/a.ts', "import { x } from '../../../runtime/src/x.ts'"), [
    /by its name/,
  ])
  t.match(sample('packages/runtime/src/newer/a.ts', "import { x } from '../core/x.ts'"), [/no row/])
  t.match(sample('packages/runtime/src/actor/a.ts', "import { x } from './x.js'"), [/"\.\/x\.ts"/])
})

void test('packages import each other by name, downwards, and by a listed entry point', async (t) => {
  t.same(files.flatMap(packageFaults), [])
  const sample = (path: string, text: string): readonly string[] => packageFaults(scan(path, text))
  t.same(sample('packages/cluster/src/node/a.ts', "import { x } from '@understudy/runtime/codec'"), [])
  t.match(sample('packages/runtime/src/a.ts', "import { x } from '@understudy/cluster'"), [
    /runtime may not import/,
  ])
  t.match(sample('packages/cluster/src/a.ts', "import { x } from '@understudy/runtime/dist/x.js'"), [
    /no entry point/,
  ])
  t.match(sample('packages/cluster/src/a.ts', "import { x } from '@understudy/runtime/testkit'"), [
    /never imports/,
  ])
  t.same(sample('packages/cluster/src/testkit/a.ts', "import { x } from '@understudy/runtime/testkit'"), [])
})

void test('programs import packages by name, and nothing from above their own folder', async (t) => {
  const programs = ['examples', 'bench'].flatMap((folder) => sourcesBelow(folder))
  t.same(programs.flatMap(escapes), [])
  t.match(escapes(scan('bench/a.ts', "import { x } from '../packages/runtime/src/x.ts'")), [/by its name/])
})

void test('no cycles between files (imports that load something)', async (t) => {
  t.same(cycles(fileGraph(files)), [])
  const pair = [scan('a/x.ts', "import { y } from './y.ts'"), scan('a/y.ts', "import { x } from './x.ts'")]
  t.same(cycles(fileGraph(pair)), ['a/x.ts -> a/y.ts -> a/x.ts'])
  const types = [pair[0] as SourceFile, scan('a/y.ts', "import type { x } from './x.ts'")]
  t.same(cycles(fileGraph(types)), [], 'a type loads nothing')
})

void test('no cycles between folders of a package (types included)', async (t) => {
  t.same(cycles(folderGraph(files)), [])
  const pair = [
    scan('packages/runtime/src/core/x.ts', "import type { y } from '../codec/y.ts'"),
    scan('packages/runtime/src/codec/y.ts', "import type { x } from '../core/x.ts'"),
  ]
  t.same(cycles(folderGraph(pair)), ['runtime/core -> runtime/codec -> runtime/core'])
})

void test('each foreign thing has one home', async (t) => {
  t.same(files.flatMap(foreignFaults), [])
  for (const [name, most] of Object.entries(filesOf)) {
    const importers = files.filter((file) => file.imports.some((line) => moduleName(line.specifier) === name))
    t.ok(importers.length <= most, `${name} is imported by ${importers.map((file) => file.path).join(', ')}`)
  }
  const sample = (path: string, text: string): readonly string[] => foreignFaults(scan(path, text))
  t.match(sample('packages/cluster/src/node/a.ts', "import { WebSocket } from 'ws'"), [
    /transport\/server\.ts/,
  ])
  t.match(sample('packages/runtime/src/actor/a.ts', "import type { Ajv } from 'ajv'"), [
    /only in .*validation/,
  ])
  t.match(sample('packages/runtime/src/actor/a.ts', "import { Type } from 'typebox'"), [/import type/])
  t.match(sample('packages/runtime/src/actor/a.ts', "import { type Static } from 'typebox'"), [/import type/])
  t.same(sample('packages/runtime/src/actor/a.ts', "import type { Static } from 'typebox'"), [])
  t.match(sample('packages/runtime/src/actor/a.ts', "import x from 'lodash/fp'"), [/docs\/decisions/])
  t.match(sample('packages/runtime/src/actor/a.ts', "const x = await import('node:fs')"), [/Platform/])
  t.same(sample('packages/runtime/src/platform/a.ts', "import { randomBytes } from 'node:crypto'"), [])
  t.same(sample(ambientGuard, "import { createHook } from 'node:async_hooks'"), [])
  t.match(sample('packages/runtime/src/simulation/a.ts', "import { createHook } from 'node:async_hooks'"), [
    /Platform/,
  ])
})

function directionFaults(file: SourceFile): readonly string[] {
  const from = place(file.path)
  if (from === undefined) return []
  return file.imports.flatMap(({ specifier, line }) => {
    if (!specifier.startsWith('.')) return []
    const where = `${file.path}:${line}`
    const target = resolveRelative(file.path, specifier)
    const to = place(target)
    if (to === undefined || to.packageName !== from.packageName) {
      return [`${where}: import another package by its name, not "${specifier}"`]
    }
    if (!target.endsWith('.ts'))
      return [`${where}: write "${specifier.replace(/\.\w+$/, '')}.ts", not "${specifier}"`]
    if (from.folder === to.folder) return []
    const isForTests = forTests.has(from.folder)
    if (forTests.has(to.folder) && !isForTests)
      return [`${where}: production code never imports ${to.folder}`]
    if (from.folder === '') return []
    if ([from, to].some(({ packageName, folder }) => alone.has(`${packageName}/${folder}`))) {
      return [`${where}: ${from.folder} -> ${to.folder}: checker stands alone`]
    }
    if (from.packageName === 'protocols' && services.has(from.folder) && behindGroups.has(to.folder)) {
      return [
        `${where}: ${from.folder} -> ${to.folder}: a service sees the ConsensusGroup of core, not what is behind it`,
      ]
    }
    const [fromRow, toRow] = [row(from), row(to)]
    if (fromRow === -1) return [`${where}: folder "${from.folder}" has no row in \`layers\`; give it one`]
    if (toRow === -1 || toRow > fromRow) {
      const rows = (layers[from.packageName] ?? []).slice(0, fromRow + 1).flat()
      return [
        `${where}: ${from.folder} may not import ${to.folder || 'the entry point'}; it may import ${rows.join(', ')}. ` +
          'Let the lower layer own an interface that the higher one fills in',
      ]
    }
    return []
  })
}

function packageFaults(file: SourceFile): readonly string[] {
  const from = place(file.path)
  if (from === undefined) return []
  return file.imports.flatMap(({ specifier, line }) => {
    const [, name, entry] = /^@understudy\/([\w-]+)(\/.*)?$/.exec(specifier) ?? []
    if (name === undefined) return []
    const where = `${file.path}:${line}`
    if (!(packagesBelow[from.packageName] ?? []).includes(name)) {
      return [`${where}: ${from.packageName} may not import ${specifier}: packages import downwards only`]
    }
    if (!entryPoints(name).includes(`.${entry ?? ''}`)) {
      return [
        `${where}: ${specifier} is no entry point; package ${name} lists ${entryPoints(name).join(', ')}`,
      ]
    }
    if (forTests.has((entry ?? '').slice(1)) && !forTests.has(from.folder)) {
      return [`${where}: production code never imports ${specifier}`]
    }
    return []
  })
}

function escapes(file: SourceFile): readonly string[] {
  const [folder = ''] = file.path.split('/')
  return file.imports
    .filter(
      ({ specifier }) =>
        specifier.startsWith('.') && !resolveRelative(file.path, specifier).startsWith(`${folder}/`),
    )
    .map(({ specifier, line }) => `${file.path}:${line}: import a package by its name, not "${specifier}"`)
}

function foreignFaults(file: SourceFile): readonly string[] {
  return file.imports.flatMap(({ specifier, isType, line }) => {
    if (specifier.startsWith('.') || specifier.startsWith('@understudy/')) return []
    const where = `${file.path}:${line}`
    const name = moduleName(specifier)
    if (name === 'typebox') {
      return isType
        ? []
        : [`${where}: take typebox with \`import type\`: loading it costs each process 100 ms`]
    }
    const home = homes[name]
    if (home !== undefined) {
      const isHome = home.endsWith('/') ? file.path.startsWith(home) : file.path === home
      return isHome ? [] : [`${where}: ${name} is imported only in ${home}`]
    }
    if (name.startsWith('node:')) {
      const allowed =
        file.path.startsWith('packages/runtime/src/platform/') ||
        file.path === homes['ws'] ||
        file.path === ambientGuard
      return allowed ? [] : [`${where}: ${name} is the machine; take what you need from the Platform`]
    }
    return [
      `${where}: ${name} is a new dependency; give it a home in \`homes\` and a page in docs/decisions/`,
    ]
  })
}

interface Place {
  readonly packageName: string
  /** '' for the entry points beside the folders. */
  readonly folder: string
}

function place(path: string): Place | undefined {
  const [, packageName, rest] = /^packages\/([\w-]+)\/src\/(.+)$/.exec(path) ?? []
  if (packageName === undefined || rest === undefined) return undefined
  return { packageName, folder: rest.includes('/') ? (rest.split('/')[0] ?? '') : '' }
}

function row({ packageName, folder }: Place): number {
  return (layers[packageName] ?? []).findIndex((folders) => folders.includes(folder))
}

function moduleName(specifier: string): string {
  const parts = specifier.split('/')
  return specifier.startsWith('@') ? parts.slice(0, 2).join('/') : (parts[0] ?? '')
}

function entryPoints(packageName: string): readonly string[] {
  const path = join(repoRoot, 'packages', packageName, 'package.json')
  if (!existsSync(path)) return []
  const { exports } = JSON.parse(readFileSync(path, 'utf8')) as { readonly exports: object }
  return Object.keys(exports)
}

type Graph = ReadonlyMap<string, ReadonlySet<string>>

function fileGraph(sources: readonly SourceFile[]): Graph {
  return new Map(
    sources.map((file) => {
      const loaded = file.imports.filter((line) => !line.isType && line.specifier.startsWith('.'))
      return [file.path, new Set(loaded.map((line) => resolveRelative(file.path, line.specifier)))]
    }),
  )
}

function folderGraph(sources: readonly SourceFile[]): Graph {
  const graph = new Map<string, Set<string>>()
  for (const file of sources) {
    const from = place(file.path)
    if (from === undefined || from.folder === '') continue
    const name = `${from.packageName}/${from.folder}`
    const edges = graph.get(name) ?? new Set<string>()
    graph.set(name, edges)
    for (const { specifier } of file.imports) {
      const to = specifier.startsWith('.') ? place(resolveRelative(file.path, specifier)) : undefined
      if (to === undefined || to.folder === '' || to.folder === from.folder) continue
      edges.add(`${to.packageName}/${to.folder}`)
    }
  }
  return graph
}

/** One cycle for each way back that a depth-first walk finds, written `a -> b -> a`. */
function cycles(graph: Graph): readonly string[] {
  const found: string[] = []
  const done = new Set<string>()
  const path: string[] = []
  const visit = (node: string): void => {
    const begin = path.indexOf(node)
    if (begin !== -1) {
      found.push([...path.slice(begin), node].join(' -> '))
      return
    }
    if (done.has(node)) return
    path.push(node)
    for (const next of graph.get(node) ?? []) visit(next)
    path.pop()
    done.add(node)
  }
  for (const node of graph.keys()) visit(node)
  return found
}
