import { test } from 'tap'
import { spawnSync } from 'node:child_process'
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
const platformUrl = new URL('../../../packages/runtime/dist/platform/node-platform.js', import.meta.url).href

void test('nodePlatform openStore rejects with RUNTIME_STORE_UNAVAILABLE and names the mend', async (t) => {
  await t.rejects(nodePlatform().openStore('/data/a'), {
    code: 'RUNTIME_STORE_UNAVAILABLE',
    message: /"\/data\/a".*memoryStore\(\)/,
    details: { directory: '/data/a' },
  })
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
