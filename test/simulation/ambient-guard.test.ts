/** The ambient guard: each way out of a simulation is refused to those in it, and open to everybody else. */
import assert from 'node:assert'
import { AsyncResource } from 'node:async_hooks'
import childProcess from 'node:child_process'
import nodeCrypto from 'node:crypto'
import dns from 'node:dns'
import dnsPromises from 'node:dns/promises'
import fs, { mkdtempSync, readFileSync } from 'node:fs'
import { open, readFile } from 'node:fs/promises'
import http from 'node:http'
import https from 'node:https'
import http2 from 'node:http2'
import net from 'node:net'
import dgram from 'node:dgram'
import os from 'node:os'
import perfHooks from 'node:perf_hooks'
import readline from 'node:readline'
import timers, { setTimeout as importedTimeout } from 'node:timers'
import timersPromises from 'node:timers/promises'
import tls from 'node:tls'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import v8 from 'node:v8'
import workerThreads from 'node:worker_threads'
import zlib from 'node:zlib'
import { test } from 'tap'
import { sourceModule } from '../support/source-module.ts'

type Guard = typeof import('../../packages/runtime/src/simulation/ambient-guard.ts')
type Errors = typeof import('../../packages/runtime/src/simulation/nondeterminism-error.ts')
type Refusal = InstanceType<Errors['NondeterminismError']>

const { AmbientGuard } = await sourceModule<Guard>('runtime', 'simulation/ambient-guard')
const { NondeterminismError } = await sourceModule<Errors>('runtime', 'simulation/nondeterminism-error')

const thisFile = fileURLToPath(import.meta.url)
const orders = { name: '/user/orders/7 on "a"' }
const ignore = (): void => undefined
const bytes = new Uint8Array(4)
const epoch = new Date(0)
// Node's types leave it to those of the browser.
const wasm = Reflect.get(globalThis, 'WebAssembly') as { compile(code: Uint8Array): Promise<unknown> }

/** What is refused, under the name that the error must give, and does no harm outside. */
const refused: Readonly<Record<string, () => unknown>> = {
  'Date.now()': () => Date.now(),
  'new Date()': () => new Date(),
  'Date()': () => Date(),
  'Date.prototype.getHours()': () => epoch.getHours(),
  'Date.prototype.getTimezoneOffset()': () => epoch.getTimezoneOffset(),
  'Date.prototype.toString()': () => `${epoch}`,
  'Date.prototype.toLocaleString()': () => epoch.toLocaleString('en'),
  'performance.now()': () => performance.now(),
  'performance.timeOrigin': () => performance.timeOrigin,
  'performance.mark()': () => performance.mark('x'),
  'performance.toJSON()': () => perfHooks.performance.toJSON(),
  'perf_hooks.monitorEventLoopDelay()': () => perfHooks.monitorEventLoopDelay(),
  'process.hrtime()': () => process.hrtime(),
  'process.hrtime.bigint()': () => process.hrtime.bigint(),
  'process.uptime()': () => process.uptime(),
  'process.memoryUsage()': () => process.memoryUsage(),
  'process.memoryUsage.rss()': () => process.memoryUsage.rss(),
  'process.cpuUsage()': () => process.cpuUsage(),
  'process.resourceUsage()': () => process.resourceUsage(),
  'os.freemem()': () => os.freemem(),
  'os.hostname()': () => os.hostname(),
  'v8.getHeapStatistics()': () => v8.getHeapStatistics(),
  'Math.random()': () => Math.random(),
  'crypto.getRandomValues()': () => crypto.getRandomValues(bytes),
  'crypto.randomUUID()': () => crypto.randomUUID(),
  'crypto.subtle.digest()': () => crypto.subtle.digest('SHA-256', bytes),
  'crypto.randomBytes()': () => nodeCrypto.randomBytes(4),
  'crypto.randomInt()': () => nodeCrypto.randomInt(4),
  'crypto.randomFill()': () => nodeCrypto.randomFill(bytes, ignore),
  'crypto.randomFillSync()': () => nodeCrypto.randomFillSync(bytes),
  'crypto.generateKeySync()': () => nodeCrypto.generateKeySync('hmac', { length: 64 }),
  'crypto.generateKeyPairSync()': () => nodeCrypto.generateKeyPairSync('ed25519'),
  'crypto.pbkdf2()': () => nodeCrypto.pbkdf2('a', 'b', 1, 8, 'sha256', ignore),
  'crypto.scrypt()': () => nodeCrypto.scrypt('a', 'b', 8, ignore),
  'setTimeout()': () => clearTimeout(setTimeout(ignore, 1)),
  'setInterval()': () => clearInterval(setInterval(ignore, 1)),
  'setImmediate()': () => clearImmediate(setImmediate(ignore)),
  'queueMicrotask()': () => queueMicrotask(ignore),
  'process.nextTick()': () => process.nextTick(ignore),
  'timers.promises.setTimeout()': () => timersPromises.setTimeout(1),
  'timers.promises.setImmediate()': () => promisify(setImmediate)(),
  'scheduler.wait()': () => timersPromises.scheduler.wait(1),
  'scheduler.yield()': () => timersPromises.scheduler.yield(),
  'AbortSignal.timeout()': () => AbortSignal.timeout(1),
  'Atomics.wait()': () => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 1),
  'fs.readFileSync()': () => fs.readFileSync(thisFile),
  'fs.readFile()': () => fs.readFile(thisFile, ignore),
  'fs.realpathSync.native()': () => fs.realpathSync.native(thisFile),
  'fs.existsSync()': () => fs.existsSync(thisFile),
  'fs.promises.readFile()': () => fs.promises.readFile(thisFile),
  'fs.promises.stat()': () => fs.promises.stat(thisFile),
  'net.createServer()': () => net.createServer(),
  'new net.Socket()': () => new net.Socket(),
  'tls.createServer()': () => tls.createServer(),
  'http.createServer()': () => http.createServer(),
  'https.createServer()': () => https.createServer(),
  'http2.createServer()': () => http2.createServer(),
  'new dns.Resolver()': () => new dns.Resolver(),
  'dgram.createSocket()': () => dgram.createSocket('udp4').unref(),
  'new MessageChannel()': () => new workerThreads.MessageChannel(),
  'zlib.gzip()': () => zlib.gzip('x', ignore),
  'zlib.createGzip()': () => zlib.createGzip(),
  'new CompressionStream()': () => new CompressionStream('gzip'),
  'WebAssembly.compile()': () => wasm.compile(Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0)),
  'new WeakRef()': () => new WeakRef(bytes),
  'new FinalizationRegistry()': () => new FinalizationRegistry(ignore),
  'String.prototype.localeCompare()': () => 'a'.localeCompare('b'),
  'Number.prototype.toLocaleString()': () => (1).toLocaleString(),
  'new Intl.NumberFormat()': () => new Intl.NumberFormat(),
  'new Intl.DateTimeFormat()': () => new Intl.DateTimeFormat('en'),
}

/** The same for what would reach out of the process, or end it. */
const refusedOnly: Readonly<Record<string, () => unknown>> = {
  'fetch()': () => fetch('http://localhost:1'),
  'process.exit()': () => process.exit(3),
  'process.kill()': () => process.kill(process.pid, 0),
  'fs.writeFileSync()': () => fs.writeFileSync('/nonexistent/x', ''),
  'fs.exists()': () => promisify(fs.exists)(thisFile),
  'fs.createReadStream()': () => fs.createReadStream('/nonexistent/x'),
  'net.connect()': () => net.connect(1),
  'tls.connect()': () => tls.connect(1),
  'http.get()': () => http.get('http://localhost:1'),
  'https.request()': () => https.request('https://localhost:1'),
  'http2.connect()': () => http2.connect('http://localhost:1'),
  'dns.lookup()': () => dns.lookup('localhost', ignore),
  'dns.promises.resolve()': () => dnsPromises.resolve('localhost'),
  'child_process.spawn()': () => childProcess.spawn('true'),
  'child_process.exec()': () => promisify(childProcess.exec)('true'),
  'child_process.execFileSync()': () => childProcess.execFileSync('true'),
  'new worker_threads.Worker()': () => new workerThreads.Worker('0', { eval: true }),
  'readline.createInterface()': () => readline.createInterface({ input: process.stdin }),
}

/** What stays open to simulated code. */
const allowed: Readonly<Record<string, () => unknown>> = {
  'a date of a given time': () =>
    new Date(5).toISOString() + String(Date.UTC(2020)) + String(Date.parse('2020-01-01')),
  'a subclass of Date': () => new (class extends Date {})(5).getTime(),
  'Date as a type': () => assert(new Date(5) instanceof Date && new Date(5).constructor === Date),
  'clearing a timer': () => clearTimeout(undefined),
  Math: () => Math.max(1, Math.sin(2)),
  'synchronous crypto': () => [
    nodeCrypto.pbkdf2Sync('a', 'b', 1, 8, 'sha256'),
    nodeCrypto.createHash('sha256').digest(),
  ],
  'synchronous zlib': () => zlib.gunzipSync(zlib.gzipSync('x')),
  structuredClone: () => structuredClone({ a: new Map([[1, 2]]) }),
  'an AsyncResource made by hand': () => new AsyncResource('mine').runInAsyncScope(ignore),
  'formats of a given locale': () => [(1).toLocaleString('en'), 'a'.localeCompare('b', 'en')],
  'a date format that is all given': () => new Intl.DateTimeFormat('en', { timeZone: 'UTC' }).format(0),
  'signals that abort': () => AbortSignal.any([AbortSignal.abort()]).aborted,
  warnings: () => process.emitWarning('shown by nobody', { type: 'AmbientGuardTest' }),
  'asking what there is': () => [typeof fetch, 'setTimeout' in globalThis, typeof fs.readFileSync],
  'a stack trace': () => String(new Error('x').stack),
}

void test('each ambient call throws in a guarded call and after its awaits, with who and what', async (t) => {
  using guard = AmbientGuard.install()
  for (const [call, act] of Object.entries({ ...refused, ...refusedOnly })) {
    const inStep = refusalOf(() => guard.run(orders, act))
    t.match(inStep, { who: orders.name, call, code: 'SIMULATION_NONDETERMINISM' }, call)
    t.match(inStep?.message, `Cannot call ${call} in ${orders.name}: `)
    t.same(guard.takeLeaks(), [inStep], `${call} is remembered, and nothing else`)
    const later = await guard.run(orders, async () => {
      await Promise.resolve()
      await new Promise<void>((resolve) => resolve())
      return refusalOf(act)
    })
    t.match(later, { who: orders.name, call }, `${call} after an await`)
    t.same(guard.takeLeaks(), [later])
  }
})

void test('all others may: before, during and after a guarded call', async (t) => {
  using guard = AmbientGuard.install()
  for (const [call, act] of Object.entries(refused)) {
    t.doesNotThrow(() => void act(), `${call} outside`)
    guard.run(orders, () => {
      t.doesNotThrow(() => guard.outside(() => void act()), `${call} as nobody`)
    })
    t.doesNotThrow(() => void act(), `${call} afterwards`)
  }
  await guard.run(orders, async () => {
    await Promise.resolve()
  })
  t.type(Date.now(), 'number', 'after an await on something guarded')
  t.equal(guard.hasLeaks, false)
})

void test('what depends on its arguments alone stays open', (t) => {
  using guard = AmbientGuard.install()
  for (const [name, act] of Object.entries(allowed)) {
    t.doesNotThrow(() => guard.run(orders, act), name)
    t.same(
      guard.takeLeaks().map((leak) => leak.message),
      [],
      name,
    )
  }
  t.end()
})

void test('a violation that is swallowed is remembered, the first one first', (t) => {
  using guard = AmbientGuard.install()
  const value = guard.run(orders, () => {
    try {
      return Date.now()
    } catch {
      return refusalOf(() => Math.random()) === undefined ? 0 : 7
    }
  })
  t.equal(value, 7)
  t.equal(guard.hasLeaks, true)
  t.same(
    guard.takeLeaks().map(({ call }) => call),
    ['Date.now()', 'Math.random()'],
  )
  t.equal(guard.hasLeaks, false)
  for (let i = 0; i < 1000; i++) refusalOf(() => guard.run(orders, () => Date.now()))
  t.equal(guard.takeLeaks().length, 100, 'a broken run is no leak of memory')
  t.end()
})

void test('named imports of builtin modules are caught, loaded before or while installed', async (t) => {
  const text =
    "import { readFileSync } from 'node:fs'; import { hrtime } from 'node:process'; export { readFileSync, hrtime }"
  interface Loaded {
    readonly readFileSync: typeof readFileSync
    readonly hrtime: typeof process.hrtime
  }
  const load = async (name: string): Promise<Loaded> =>
    (await import(`data:text/javascript,${encodeURIComponent(`${text} // ${name}`)}`)) as Loaded
  const before = await load('before')
  const guard = AmbientGuard.install()
  const during = await load('during')
  for (const module of [before, during]) {
    const read = refusalOf(() => guard.run(orders, () => module.readFileSync(thisFile)))
    t.equal(read?.call, 'fs.readFileSync()')
    t.equal(refusalOf(() => guard.run(orders, () => module.hrtime()))?.call, 'process.hrtime()')
    t.ok(module.readFileSync(thisFile).length > 0)
  }
  t.equal(refusalOf(() => guard.run(orders, () => readFileSync(thisFile)))?.call, 'fs.readFileSync()')
  t.equal(refusalOf(() => guard.run(orders, () => readFile(thisFile)))?.call, 'fs.promises.readFile()')
  t.equal(refusalOf(() => guard.run(orders, () => importedTimeout(ignore, 1)))?.call, 'setTimeout()')
  guard[Symbol.dispose]()
  t.equal(before.readFileSync, fs.readFileSync)
  t.equal(during.readFileSync, fs.readFileSync, 'what was imported meanwhile is the real one again')
  t.equal(importedTimeout, timers.setTimeout)
})

void test('a call through promisify is refused too: it rejects', async (t) => {
  using guard = AmbientGuard.install()
  const access = promisify(fs.access)
  await t.rejects(
    guard.run(orders, () => access(thisFile)),
    { message: /Cannot call fs\.access\(\)/ },
  )
  t.match(guard.takeLeaks(), [{ call: 'fs.access()' }])
  await access(thisFile)
  t.equal(guard.hasLeaks, false)
})

void test('an async resource that no patch knows is recorded with its type, never thrown', async (t) => {
  using guard = AmbientGuard.install()
  const file = await open(thisFile)
  try {
    await guard.run(orders, () => file.stat())
    t.match(guard.takeLeaks(), [
      { who: orders.name, call: 'an async resource of type FSREQPROMISE', code: 'SIMULATION_NONDETERMINISM' },
    ])
    await guard.run(orders, async () => {
      await Promise.resolve()
      await file.stat()
    })
    t.equal(guard.takeLeaks().length, 1, 'after an await')
    await file.stat()
    await guard.run({ name: 'a reader', allowIo: true }, () => file.stat())
    t.equal(guard.hasLeaks, false, 'of nobody, or of who may')
  } finally {
    await file.close()
  }
})

void test('everything that goes on after a step belongs to who began it', async (t) => {
  using guard = AmbientGuard.install()
  const [a, b] = [{ name: 'a' }, { name: 'b' }]
  const seen: string[] = []
  const note = (where: string): void => void seen.push(`${where} ${guard.current()?.name ?? 'nobody'}`)
  let open: () => void = ignore
  const gate = new Promise<void>((resolve) => (open = resolve))
  async function* numbers(): AsyncGenerator<number> {
    yield 1
    await Promise.resolve()
    note('generator')
    yield 2
  }
  const work = guard.run(a, async () => {
    note('step')
    guard.run(b, () => note('nested'))
    note('back')
    await gate
    note('opened by another')
    for await (const _ of numbers()) note('for await')
    await Promise.all([Promise.resolve().then(() => note('then')), failing().catch(() => note('catch'))])
    await { then: (resolve: () => void) => (note('thenable'), resolve()) }
    await guard.outside(async () => {
      await Promise.resolve()
      note('outside')
    })
    note('end')
  })
  async function failing(): Promise<void> {
    await Promise.resolve()
    throw new Error('x')
  }
  note('after the step')
  t.equal(
    refusalOf(() => guard.run(b, () => (open(), Math.random())))?.who,
    'b',
    'a step that throws gives the turn back',
  )
  note('after a throw')
  await work
  note('after all')
  t.same(seen, [
    ...[
      'step a',
      'nested b',
      'back a',
      'after the step nobody',
      'after a throw nobody',
      'opened by another a',
    ],
    ...[
      'for await a',
      'generator a',
      'for await a',
      'then a',
      'catch a',
      'thenable a',
      'outside nobody',
      'end a',
    ],
    'after all nobody',
  ])
})

void test('a reaction leaves nothing behind for what the event loop does next', async (t) => {
  using guard = AmbientGuard.install()
  const next = new Promise<unknown>((resolve) => setImmediate(() => resolve(guard.current())))
  void guard.run(orders, async () => {
    await Promise.resolve()
  })
  t.equal(await next, undefined)
})

void test('who may do IO may do no more than that', async (t) => {
  using guard = AmbientGuard.install()
  const reader = { name: 'a reader', allowIo: true }
  const text = await guard.run(reader, async () => {
    const first = fs.readFileSync(thisFile, 'utf8')
    const second = await fs.promises.readFile(thisFile, 'utf8')
    t.equal(guard.current(), reader)
    t.equal(refusalOf(() => Date.now())?.who, 'a reader', 'after its own IO too')
    return first === second
  })
  t.equal(text, true)
  t.equal(guard.takeLeaks().length, 1)
})

void test("Node's own calls on the way to an error or a line of text are nobody's fault", (t) => {
  // A fresh process: Node's assert takes its functions from fs when it is loaded, and reads this script to quote a line.
  const script = `
    const { AmbientGuard } = await import(process.argv[1])
    const guard = AmbientGuard.install()
    const { default: assert } = await import('node:assert')
    const attempt = (act) => { try { act() } catch (error) { return [error.name, error.stack].length } }
    guard.run({ name: 'x' }, () => {
      attempt(() => assert(process.argv.length === 77))
      attempt(() => assert.deepStrictEqual({ a: 1 }, { a: 2 }))
      attempt(() => undefined.x)
      console.error('%o', new Date(0))
      structuredClone(new Map())
      for (const _ of Array(20)) process.on('warning', () => {})
    })
    console.log(JSON.stringify(guard.takeLeaks().map(({ call }) => call)))`
  const url = new URL('../../../packages/runtime/dist/simulation/ambient-guard.js', import.meta.url).href
  const folder = mkdtempSync(`${os.tmpdir()}/ambient-guard-`)
  try {
    const file = `${folder}/script.mjs`
    fs.writeFileSync(file, script.replace('process.argv[1]', JSON.stringify(url)))
    const { stdout, stderr } = childProcess.spawnSync(process.execPath, ['--enable-source-maps', file])
    t.equal(String(stdout), '[]\n', String(stderr))
    t.match(String(stderr), '1970-01-01')
  } finally {
    fs.rmSync(folder, { recursive: true })
  }
  t.end()
})

void test('what a guarded call prints is written by nobody', (t) => {
  using guard = AmbientGuard.install()
  const lines: unknown[] = []
  const { write } = process.stdout
  process.stdout.write = (line: unknown): boolean => (lines.push(line, guard.current()), true)
  try {
    guard.run(orders, () => console.log('hello'))
  } finally {
    process.stdout.write = write
  }
  t.same(lines, ['hello\n', undefined])
  t.equal(guard.hasLeaks, false)
  t.end()
})

void test('everything is as before when the last install is gone', (t) => {
  const before = snapshot()
  const outer = AmbientGuard.install()
  t.ok(differences(before, snapshot()).length > 100, 'the snapshot sees the patches')
  const during = snapshot()
  const inner = AmbientGuard.install()
  t.same(differences(during, snapshot()), [], 'installs share')
  inner[Symbol.dispose]()
  inner[Symbol.dispose]()
  t.same(differences(during, snapshot()), [], 'the outer one holds')
  t.ok(refusalOf(() => outer.run(orders, () => Date.now())))
  // Looked at: some of these put themselves in the place of their getter.
  t.type([typeof WebSocket, typeof crypto, typeof CompressionStream], Array)
  const kept = Date.now
  outer[Symbol.dispose]()
  t.same(differences(before, snapshot()), [])
  t.type(
    outer.run(orders, () => Date.now() + kept()),
    'number',
    'nothing is refused any more',
  )
  const again = AmbientGuard.install()
  t.equal(again.hasLeaks, false, 'and nothing is left over')
  t.equal(refusalOf(() => again.run(orders, () => kept()))?.call, 'Date.now()')
  again[Symbol.dispose]()
  t.same(differences(before, snapshot()), [])
  t.end()
})

void test('what somebody puts in the place of a patch stays', (t) => {
  const { random } = Math
  const guard = AmbientGuard.install()
  const mine = (): number => 0.5
  Math.random = mine
  t.equal(
    guard.run(orders, () => Math.random()),
    0.5,
    'who replaces a call answers for it',
  )
  guard[Symbol.dispose]()
  t.equal(Math.random, mine)
  Math.random = random

  const second = AmbientGuard.install()
  const kept = Math.random
  second[Symbol.dispose]()
  Math.random = kept
  const third = AmbientGuard.install()
  t.equal(Math.random, kept, 'a gate that is there already is enough')
  third[Symbol.dispose]()
  Math.random = random
  t.end()
})

void test('a gated function looks like the one behind it', (t) => {
  const plain = [Date.name, Date.length, setTimeout.length, fs.readFileSync.name, Object.keys(fs).join()]
  using _guard = AmbientGuard.install()
  t.same([Date.name, Date.length, setTimeout.length, fs.readFileSync.name, Object.keys(fs).join()], plain)
  t.equal(timers.setTimeout, globalThis.setTimeout)
  t.equal(globalThis.MessageChannel, workerThreads.MessageChannel)
  t.throws(() => Reflect.construct(fs.readFileSync, []), TypeError)
  t.equal(new Date(2020, 1).getTime(), new Date('2020-02-01T00:00:00').getTime())
  t.end()
})

function refusalOf(act: () => unknown): Refusal | undefined {
  try {
    act()
    return undefined
  } catch (error) {
    if (error instanceof NondeterminismError) return error
    throw error
  }
}

type Snapshot = ReadonlyMap<string, PropertyDescriptor>

/** Every property of everything that is patched, and of its prototypes. */
function snapshot(): Snapshot {
  const holders: Readonly<Record<string, object>> = {
    ...{
      globalThis,
      Date,
      'Date.prototype': Date.prototype,
      Math,
      Atomics,
      AbortSignal,
      Intl,
      wasm,
      process,
    },
    ...{ 'String.prototype': String.prototype, 'Number.prototype': Number.prototype, console, performance },
    ...{ 'BigInt.prototype': BigInt.prototype, 'Array.prototype': Array.prototype, hrtime: process.hrtime },
    ...{ 'Performance.prototype': prototypeOf(performance), crypto: prototypeOf(nodeCrypto.webcrypto) },
    ...{ subtle: prototypeOf(nodeCrypto.webcrypto.subtle), scheduler: prototypeOf(timersPromises.scheduler) },
    ...{
      nodeCrypto,
      fs,
      fsPromises: fs.promises,
      timers,
      timersPromises,
      perfHooks,
      os,
      v8,
      net,
      tls,
      http,
      https,
    },
    ...{
      http2,
      dns,
      dnsPromises,
      dgram,
      childProcess,
      workerThreads,
      readline,
      promises: readline.promises,
      zlib,
    },
  }
  const found = new Map<string, PropertyDescriptor>()
  for (const [name, holder] of Object.entries(holders)) {
    for (const key of Reflect.ownKeys(holder)) {
      const property = Reflect.getOwnPropertyDescriptor(holder, key)
      if (property !== undefined) found.set(`${name} ${String(key)}`, property)
    }
  }
  return found
}

function prototypeOf(value: object): object {
  return Reflect.getPrototypeOf(value) as object
}

function differences(a: Snapshot, b: Snapshot): readonly string[] {
  const names = new Set([...a.keys(), ...b.keys()])
  return [...names].filter((name) => !isSame(a.get(name), b.get(name)))
}

function isSame(a: PropertyDescriptor | undefined, b: PropertyDescriptor | undefined): boolean {
  const parts = ['value', 'get', 'set', 'writable', 'enumerable', 'configurable'] as const
  return a !== undefined && b !== undefined && parts.every((part) => Object.is(a[part], b[part]))
}
