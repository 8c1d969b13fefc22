import { test } from 'tap'
import { spawnSync } from 'node:child_process'
import { mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { virtualPlatform } from '@understudy/runtime/testkit'
import { nameServer, nameServerTtl } from '../support/name-server.ts'
import { sourceModule } from '../support/source-module.ts'

const { nodePlatform } = await sourceModule<
  typeof import('../../packages/runtime/src/platform/node-platform.ts')
>('runtime', 'platform/node-platform')
const { memoryStore } = await sourceModule<
  typeof import('../../packages/runtime/src/platform/memory-store.ts')
>('runtime', 'platform/memory-store')
const { fifoRunQueue } = await sourceModule<
  typeof import('../../packages/runtime/src/platform/fifo-run-queue.ts')
>('runtime', 'platform/fifo-run-queue')
const { nodeFiles } = await sourceModule<typeof import('../../packages/runtime/src/platform/files.ts')>(
  'runtime',
  'platform/files',
)
const { nodeDns } = await sourceModule<typeof import('../../packages/runtime/src/platform/dns.ts')>(
  'runtime',
  'platform/dns',
)
const platformUrl = new URL('../../../packages/runtime/dist/platform/node-platform.js', import.meta.url).href

void test('nodePlatform openStore opens a durable store in a directory, or what it was given', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'understudy-platform-'))
  t.teardown(() => rm(directory, { recursive: true }))
  const { openStore } = nodePlatform()
  const made = await openStore(join(directory, 'a'))
  await made.write([{ type: 'put', key: 'k', value: Uint8Array.of(1) }])
  await made.close()
  const again = await openStore(join(directory, 'a'))
  t.same(await again.get('k'), Uint8Array.of(1), 'still there')
  await again.close()
  const store = memoryStore()
  t.equal(await nodePlatform({ openStore: async () => store }).openStore('x'), store, 'a given one is used')
})

void test('nodePlatform random follows its seed, and differs without one', async (t) => {
  t.equal(nodePlatform({ seed: 7 }).random.u32(), nodePlatform({ seed: 7 }).random.u32())
  t.not(nodePlatform().random.float(), nodePlatform().random.float())
})

void test('nodePlatform secureBytes gives as many bytes as asked for, new ones each time', async (t) => {
  const { secureBytes } = nodePlatform()
  t.equal(secureBytes(0).byteLength, 0)
  t.equal(secureBytes(100_000).byteLength, 100_000, 'beyond what getRandomValues gives at once')
  t.notSame([...secureBytes(32)], [...secureBytes(32)])
})

void test('nodePlatform host gives name, process and environment', async (t) => {
  const { host } = nodePlatform({ name: 'here' })
  t.equal(host.name, 'here')
  t.equal(host.processId, process.pid)
  t.equal(host.env['PATH'], process.env['PATH'])
  t.ok(nodePlatform().host.name.length > 0, 'the host name by default')
})

void test('nodePlatform host onSignal calls for SIGINT and SIGTERM until disposed', async (t) => {
  const before = [process.listenerCount('SIGINT'), process.listenerCount('SIGTERM')]
  const heard: string[] = []
  const listening = nodePlatform().host.onSignal((signal) => void heard.push(signal))
  process.emit('SIGINT', 'SIGINT')
  process.emit('SIGTERM', 'SIGTERM')
  listening[Symbol.dispose]()
  listening[Symbol.dispose]()
  t.same(heard, ['SIGINT', 'SIGTERM'])
  t.same([process.listenerCount('SIGINT'), process.listenerCount('SIGTERM')], before, 'no listener stays')
})

void test('nodePlatform host onUnhandled keeps one process-wide listener while anybody listens', async (t) => {
  const { host } = nodePlatform()
  const before = process.listenerCount('unhandledRejection')
  const first = host.onUnhandled(() => false)
  const second = nodePlatform().host.onUnhandled(() => false)
  t.equal(process.listenerCount('unhandledRejection'), before + 1, 'one for both')
  first[Symbol.dispose]()
  first[Symbol.dispose]()
  t.equal(process.listenerCount('unhandledRejection'), before + 1, 'one is still needed')
  second[Symbol.dispose]()
  t.equal(process.listenerCount('unhandledRejection'), before, 'none')
})

void test('nodePlatform host onUnhandled: who takes the blame keeps the process alive', async (t) => {
  const run = runScript(`
    const errors = []
    const listening = host.onUnhandled((error) => { errors.push(error.message); return false })
    host.onUnhandled((error) => error.message === 'mine')
    Promise.reject(new Error('mine'))
    setImmediate(() => { console.log(errors.join()); process.exit(0) })
  `)
  t.equal(run.status, 0, run.stderr)
  t.equal(run.stdout.trim(), 'mine', 'each listener was asked in turn')
})

void test('nodePlatform host onUnhandled: when nobody takes the blame it ends as without a listener', async (t) => {
  const listen = 'host.onUnhandled(() => false);'
  const reject =
    "Promise.reject(new RangeError('nobody did it')); setTimeout(() => console.log('alive'), 200)"
  const bare = runScript(reject)
  const ours = runScript(listen + reject)
  t.equal(ours.status, bare.status, 'the same exit code')
  t.equal(ours.status, 1)
  t.match(ours.stderr, /RangeError: nobody did it/, 'the original error')
  t.match(ours.stderr, /\[eval1?\]|data:|node:internal/, 'with a stack')
  t.equal(ours.stdout, '', 'at once')

  const reason = runScript(`${listen} Promise.reject('a string')`)
  t.equal(reason.status, 1)
  t.match(reason.stderr, /ERR_UNHANDLED_REJECTION/, "Node's own code for a reason that is no error")
  t.match(reason.stderr, /a string/)

  const theirs = runScript(
    `${listen} process.on('unhandledRejection', () => process.exit(7)); Promise.reject(1)`,
  )
  t.equal(theirs.status, 7, 'a listener of the program goes before a crash')
  const warned = runScript(listen + reject, ['--unhandled-rejections=warn'])
  // The warning itself is Node's, and tap switches warnings off in the processes that a test starts.
  t.same([warned.status, warned.stdout.trim()], [0, 'alive'], 'the mode that the user chose')
  t.equal(runScript(listen + reject, ['--unhandled-rejections=none']).stderr, '', 'none is none')
})

void test('nodePlatform host keepAlive is the only thing that holds the process', async (t) => {
  const timers = runScript('platform.clock.setTimer(platform.clock.monotonicMs() + 60_000, () => undefined)')
  t.equal(timers.status, 0, 'a timer holds nothing')
  const held = runScript(`
    const alive = host.keepAlive()
    platform.clock.setTimer(platform.clock.monotonicMs() + 5, () => { console.log('released'); alive[Symbol.dispose]() })
  `)
  t.equal(held.stdout.trim(), 'released', 'held until disposed, and not longer')
  t.equal(runScript('host.keepAlive(); setImmediate(() => host.exit(9))').status, 9, 'exit ends it')
})

void test('nodePlatform log follows UNDERSTUDY_LOG and refuses what is no level', async (t) => {
  const script = "platform.log.info({}, 'at info'); platform.log.debug({}, 'at debug')"
  t.match(runScript(script).stderr, /at info/)
  t.notMatch(runScript(script).stderr, /at debug/)
  t.match(runScript(script, [], { UNDERSTUDY_LOG: 'debug' }).stderr, /at debug/)
  t.equal(runScript(script, [], { UNDERSTUDY_LOG: 'silent' }).stderr, '')
  t.match(
    runScript(script, [], { UNDERSTUDY_LOG: 'loud' }).stderr,
    /UNDERSTUDY_LOG: it must be one of debug, .*"loud"/,
  )
})

void test('nodeFiles readText reads UTF-8 up to maxBytes, and names what it cannot read', async (t) => {
  const root = await mkdtemp(join(tmpdir(), 'understudy-'))
  t.teardown(() => rm(root, { recursive: true, force: true }))
  const path = join(root, 'x')
  const { readText } = nodeFiles()
  await t.rejects(readText(path, 10), { code: 'RUNTIME_FILE_MISSING', name: 'FileError', details: { path } })
  await t.rejects(readText(join(path, 'y'), 10), { code: 'RUNTIME_FILE_MISSING' }, 'no directory either')
  await writeFile(path, '\ufeffGrüße')
  t.equal(await readText(path, 10), 'Grüße', 'ten bytes, without the mark')
  await t.rejects(readText(path, 9), { code: 'RUNTIME_FILE_TOO_BIG', details: { path, maxBytes: 9 } })
  await t.rejects(readText(join(path, 'y'), 10), { code: 'RUNTIME_FILE_MISSING' }, 'a file is no directory')
  await writeFile(path, '')
  t.equal(await readText(path, 1), '', 'empty')
  await writeFile(path, Uint8Array.of(0x61, 0xff))
  await t.rejects(readText(path, 9), { code: 'RUNTIME_FILE_UNREADABLE', message: /not UTF-8/ })
  await t.rejects(readText(root, 9), { code: 'RUNTIME_FILE_UNREADABLE', message: /no regular file/ })
  for (const maxBytes of [0, 1.5, 2 ** 27, Number.NaN]) {
    await t.rejects(readText(path, maxBytes), { name: 'RangeError', message: /maxBytes/ })
  }
  t.throws(() => nodeFiles({ pollMs: 1 }), { name: 'RangeError', message: /pollMs 1 / })
})

void test('nodeFiles readText reads what claims to have no size', async (t) => {
  if (process.platform !== 'linux') {
    t.pass('only where there is /proc')
    return
  }
  const text = await nodeFiles().readText('/proc/self/status', 100_000)
  t.match(text, /^Name:/)
  await t.rejects(nodeFiles().readText('/proc/self/status', 20), { code: 'RUNTIME_FILE_TOO_BIG' })
})

void test('nodeFiles watch hears of a change by its event alone, and by its poll alone', async (t) => {
  const root = await mkdtemp(join(tmpdir(), 'understudy-'))
  t.teardown(() => rm(root, { recursive: true, force: true }))
  const alive = nodePlatform().host.keepAlive()
  const heard = async (pollMs: number, path: string, changes: readonly (() => Promise<unknown>)[]) => {
    let tell = (): void => undefined
    const watching = nodeFiles({ pollMs, debounceMs: 1 }).watch(path, () => tell())
    for (const change of changes) {
      const told = new Promise<void>((resolve) => {
        tell = resolve
      })
      await change()
      await told
    }
    watching[Symbol.dispose]()
    watching[Symbol.dispose]()
  }
  const x = join(root, 'x')
  await heard(3_600_000, x, [
    () => writeFile(x, '1'),
    () => writeFile(x, '2'),
    () => writeFile(`${x}.new`, '3').then(() => rename(`${x}.new`, x)),
    () => rm(x),
  ])
  const late = join(root, 'late', 'x')
  await heard(10, late, [() => mkdir(join(root, 'late')).then(() => writeFile(late, '1')), () => rm(late)])
  alive[Symbol.dispose]()
  t.pass('each was heard of')
})

void test('nodeFiles watch does not hold the process, and is silent when disposed of', async (t) => {
  const watching = `platform.files.watch(${JSON.stringify(join(tmpdir(), 'nothing'))}, () => undefined)`
  t.same([runScript(watching).status, runScript(watching).stderr], [0, ''])
  const root = await mkdtemp(join(tmpdir(), 'understudy-'))
  t.teardown(() => rm(root, { recursive: true, force: true }))
  const x = join(root, 'x')
  let calls = 0
  const { watch } = nodeFiles({ pollMs: 10, debounceMs: 0 })
  const over = watch(x, () => void calls++)
  const alive = nodePlatform().host.keepAlive()
  over[Symbol.dispose]()
  await new Promise<void>((resolve) => {
    const other = watch(x, () => {
      other[Symbol.dispose]()
      resolve()
    })
    void writeFile(x, '1')
  })
  alive[Symbol.dispose]()
  t.equal(calls, 0)
})

void test('nodeDns a gives sorted addresses of both families with the time that they live', async (t) => {
  const server = await nameServer()
  t.teardown(() => server.close())
  server.hosts.set('both.test', ['2001:db8::2', '10.0.0.9', '10.0.0.10', '2001:db8::1'])
  server.hosts.set('one.test', ['10.0.0.1'])
  server.hosts.set('none.test', [])
  server.broken.add('broken.test')
  const { a } = nodeDns({ servers: [server.address], timeoutMs: 500 })
  const ttlMs = nameServerTtl * 1_000
  t.same(await a('both.test'), [
    { address: '10.0.0.10', family: 4, ttlMs },
    { address: '10.0.0.9', family: 4, ttlMs },
    { address: '2001:db8::1', family: 6, ttlMs },
    { address: '2001:db8::2', family: 6, ttlMs },
  ])
  t.same(await a('one.test'), [{ address: '10.0.0.1', family: 4, ttlMs }], 'one family is enough')
  await t.rejects(a('broken.test'), { code: 'RUNTIME_DNS_FAILED', name: 'DnsError', message: /ESERVFAIL/ })
  const before = server.asked.length
  t.same(await a('127.0.0.1'), [{ address: '127.0.0.1', family: 4 }], 'an address stands for itself')
  t.same(await a('::1'), [{ address: '::1', family: 6 }])
  t.equal(server.asked.length, before, 'nobody was asked')
})

void test('nodeDns a asks the machine when the name servers give nothing', async (t) => {
  // Nobody listens on port 1: what is found is in the hosts file.
  const found = await nodeDns({ servers: ['127.0.0.1:1'], timeoutMs: 250 }).a('localhost')
  t.ok(found.some(({ address }) => address === '127.0.0.1' || address === '::1'))
})

void test('nodeDns srv gives places in their order, and tells none from not known', async (t) => {
  const server = await nameServer()
  t.teardown(() => server.close())
  const places = [
    { name: 'd.test', port: 1, priority: 2, weight: 9 },
    { name: 'c.test', port: 1, priority: 1, weight: 1 },
    { name: 'b.test', port: 2, priority: 1, weight: 5 },
    { name: 'b.test', port: 1, priority: 1, weight: 5 },
  ]
  server.services.set('_x._tcp.test', places)
  server.services.set('_gone._tcp.test', [{ name: '.', port: 0, priority: 0, weight: 0 }])
  server.broken.add('_broken._tcp.test')
  const { srv } = nodeDns({ servers: [server.address], timeoutMs: 500 })
  t.same(await srv('_x._tcp.test'), [...places].reverse())
  for (const name of ['_gone._tcp.test', '_nobody._tcp.test']) {
    await t.rejects(srv(name), { code: 'RUNTIME_DNS_NO_SUCH_NAME', details: { name, kind: 'SRV' } })
  }
  await t.rejects(srv('_broken._tcp.test'), { code: 'RUNTIME_DNS_FAILED' })
})

void test('virtualPlatform files and dns are what the test makes them', async (t) => {
  const { files, dns, settle } = virtualPlatform()
  let changes = 0
  const watching = files.watch('x', () => void changes++)
  await t.rejects(files.readText('x', 9), { code: 'RUNTIME_FILE_MISSING' })
  files.write('x', 'text')
  t.equal(changes, 0, 'not from inside')
  await settle()
  t.equal(changes, 1)
  t.equal(await files.readText('x', 4), 'text')
  await t.rejects(files.readText('x', 3), { code: 'RUNTIME_FILE_TOO_BIG' })
  files.break('x')
  await t.rejects(files.readText('x', 9), { code: 'RUNTIME_FILE_UNREADABLE' })
  files.mend('x')
  files.remove('x')
  files.remove('x')
  watching[Symbol.dispose]()
  await settle()
  t.same([changes, files.watches], [1, 0], 'nothing after its end')

  await t.rejects(dns.a('n.test'), { code: 'RUNTIME_DNS_NO_SUCH_NAME' })
  dns.setHost('N.test.', ['::1', '10.0.0.1'], 5)
  t.same(await dns.a('n.test'), [
    { address: '10.0.0.1', family: 4, ttlMs: 5 },
    { address: '::1', family: 6, ttlMs: 5 },
  ])
  dns.break('n.test')
  await t.rejects(dns.a('n.test'), { code: 'RUNTIME_DNS_FAILED' })
  await t.rejects(dns.srv('n.test'), { code: 'RUNTIME_DNS_FAILED' })
  dns.mend('n.test')
  await t.rejects(dns.srv('n.test'), { code: 'RUNTIME_DNS_NO_SUCH_NAME' })
  t.equal(dns.queries, 5)
})

void test('memoryStore fails a batch over bytesMax with RUNTIME_STORE_FULL, and then every write', async (t) => {
  const store = memoryStore({ bytesMax: 20 })
  await store.write([{ type: 'put', key: 'a', value: new Uint8Array(10) }])
  await store.write([{ type: 'put', key: 'a', value: new Uint8Array(18) }])
  const over = store.write([
    { type: 'put', key: 'a', value: new Uint8Array(1) },
    { type: 'put', key: 'b', value: new Uint8Array(18) },
  ])
  await t.rejects(over, {
    code: 'RUNTIME_STORE_FULL',
    message: /23 bytes, its bytesMax is 20/,
    name: 'StoreError',
  })
  t.equal((await store.get('a'))?.byteLength, 18, 'nothing of the batch was written')
  await t.rejects(store.write([{ type: 'delete', key: 'a' }]), { code: 'RUNTIME_STORE_FAILED' })
  t.throws(() => memoryStore({ bytesMax: 0 }), { name: 'RangeError', message: /bytesMax/ })
  t.throws(() => memoryStore().range({ limit: -1 }), { name: 'RangeError', message: /limit/ })
})

void test('memoryStore agrees with a plain map under 2,000 random batches', async (t) => {
  const { random } = nodePlatform({ seed: 42 })
  const store = memoryStore()
  const model = new Map<string, string>()
  for (let i = 0; i < 2_000; i++) {
    const batch = Array.from({ length: random.int(0, 4) }, () => {
      const key = String(random.int(0, 200))
      const value = String(i)
      if (random.int(0, 2) === 0) {
        model.delete(key)
        return { type: 'delete' as const, key }
      }
      model.set(key, value)
      return { type: 'put' as const, key, value: Buffer.from(value) }
    })
    await store.write(batch)
  }
  const found: [string, string][] = []
  for await (const { key, value } of store.range()) found.push([key, Buffer.from(value).toString()])
  t.same(
    found,
    [...model].sort(([a], [b]) => (a < b ? -1 : 1)),
  )
})

void test('fifoRunQueue serves first in first out, system cells before all others', async (t) => {
  const served: string[] = []
  const done = new Promise<void>((resolve) => {
    const queue = fifoRunQueue(() => {
      for (let cell = queue.next(); cell !== null; cell = queue.next()) {
        served.push((cell as unknown as { name: string }).name)
        if (served.length === 1) queue.push(ready('system late', true))
      }
      queue.idle()
      resolve()
    })
    queue.push(ready('a', false))
    queue.push(ready('b', false))
    queue.push(ready('system', true))
    t.same(served, [], 'nothing runs within push')
  })
  await done
  t.same(served, ['system', 'system late', 'a', 'b'])
})

void test('fifoRunQueue yieldNow lets timers and sockets have their turn before the next pump', async (t) => {
  const order: string[] = []
  await new Promise<void>((resolve) => {
    const queue = fifoRunQueue(() => {
      order.push('pump')
      if (order.length === 1) {
        setImmediate(() => order.push('immediate'))
        queue.yieldNow()
        queue.push(ready('a', false))
        return
      }
      while (queue.next() !== null);
      queue.idle()
      resolve()
    })
    queue.push(ready('a', false))
    queue.push(ready('b', false))
  })
  t.same(order, ['pump', 'immediate', 'pump'], 'one pump at a time, none in between')
})

function ready(name: string, isSystem: boolean): { nextReady: null; isSystem: boolean; name: string } {
  return { nextReady: null, isSystem, name }
}

function runScript(
  body: string,
  flags: readonly string[] = [],
  env: Readonly<Record<string, string>> = {},
): { readonly status: number | null; readonly stdout: string; readonly stderr: string } {
  const script = `
    import { nodePlatform } from ${JSON.stringify(platformUrl)}
    const platform = nodePlatform(); const { host } = platform
    ${body}
  `
  const { NODE_OPTIONS: _, ...clean } = process.env
  return spawnSync(process.execPath, [...flags, '--input-type=module', '-e', script], {
    encoding: 'utf8',
    env: { ...clean, ...env },
    timeout: 20_000,
  })
}
