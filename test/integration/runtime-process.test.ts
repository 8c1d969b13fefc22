/** The real platform in a process of its own: it must end by itself, and a signal must end it in order. */
import { spawn, type ChildProcessByStdio } from 'node:child_process'
import { once } from 'node:events'
import type { Readable } from 'node:stream'
import { test } from 'tap'

type Actor = ChildProcessByStdio<null, Readable, Readable>

/** Starts Node on `program`, an ES module, which sees the runtime and a tree with a bit of everything going on. */
function start(program: string): {
  readonly process: Actor
  readonly lines: Promise<string[]>
  readonly seen: (line: string) => Promise<void>
} {
  const source = `
    import { actor, ask, child, createSystem, nodePlatform, pinoLogger, protocol, supervisor, tell } from '@understudy/runtime'
    const say = (line) => process.stdout.write(line + '\\n')
    const listeners = () => ['SIGINT', 'SIGTERM', 'unhandledRejection'].map((name) => process.listenerCount(name)).join()
    const listenersBefore = listeners()
    const Worker = protocol('worker', { boom: tell(), hang: tell(), get: ask({ type: 'number' }) })
    const worker = (name) => actor(Worker, { own: { tick: tell() }, handlerTimeoutMs: 60_000 }, (ctx) => {
      ctx.timers.every('tick', 5, { type: 'tick' })
      ctx.setReceiveTimeout(60_000, { type: 'tick' })
      ctx.defer(async () => { await undefined; say(name + ' down') })
      return { boom: () => { throw new Error('boom') }, hang: () => new Promise(() => {}), get: () => 1, tick: () => {} }
    })
    const root = supervisor({}, [
      child('first', worker('first')),
      child('second', worker('second'), { shutdownMs: 50, backoff: { minMs: 60_000, maxMs: 60_000 } }),
    ])
    const platform = nodePlatform({ log: pinoLogger({ level: 'silent' }) })
    const system = await createSystem('process', root, { platform })
    const first = system.ref(Worker, '/user/first')
    const second = system.ref(Worker, '/user/second')
    ${program}
  `
  const process_ = spawn(process.execPath, ['--input-type=module', '-e', source], {
    cwd: new URL('../../', import.meta.url),
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let text = ''
  let errors = ''
  process_.stdout.setEncoding('utf8').on('data', (chunk: string) => (text += chunk))
  process_.stderr.setEncoding('utf8').on('data', (chunk: string) => (errors += chunk))
  const all = (): string[] => [
    ...text.split('\n').slice(0, -1),
    ...(errors === '' ? [] : [`stderr: ${errors}`]),
  ]
  return {
    process: process_,
    lines: once(process_, 'close').then(all),
    seen: async (line) => {
      while (!all().includes(line)) await once(process_.stdout, 'data')
    },
  }
}

void test('createSystem on nodePlatform: after shutdown the process ends by itself, with no handle left', async (t) => {
  const { lines, process: actor } = start(`
    say('got ' + (await first.ask({ type: 'get' })))
    first.tell({ type: 'boom' })
    second.tell({ type: 'boom' })
    say('again ' + (await first.ask({ type: 'get' })))
    first.tell({ type: 'hang' })
    void second.ask({ type: 'get' }, { timeoutMs: 60_000 }).catch((error) => say(error.code))
    // Pipes are this process's own output; the requests are Node's, which still reads modules.
    const held = () => process.getActiveResourcesInfo().filter((name) => !/^(PipeWrap|TTYWrap|FSReq.*|CloseReq)$/.test(name))
    say('held ' + (held().length > 0))
    void system.stop(first, 'kill')
    const report = await system.shutdown()
    say('clean ' + report.clean)
    say('left ' + JSON.stringify(held()))
    say('listeners as before ' + (listeners() === listenersBefore))
  `)
  t.same(await lines, [
    'got 1',
    'first down',
    'second down',
    'again 1',
    'held true',
    'RUNTIME_ACTOR_STOPPED',
    'clean true',
    'left []',
    'listeners as before true',
  ])
  t.equal(actor.exitCode, 0)
})

void test('createSystem on nodePlatform: a system that runs holds the process, SIGTERM ends it in order with code 0', async (t) => {
  const {
    lines,
    process: actor,
    seen,
  } = start(`
    void system.terminated.then((report) => say('terminated ' + report.reason))
    say('up')
  `)
  await seen('up')
  actor.kill('SIGTERM')
  t.same(await lines, ['up', 'second down', 'first down', 'terminated SIGTERM'])
  t.same([actor.exitCode, actor.signalCode], [0, null])
})

void test('createSystem on nodePlatform: a second signal ends it at once with 130', async (t) => {
  const {
    lines,
    process: actor,
    seen,
  } = start(`
    system.coordinatedShutdown.add('drain', 'slow', () => { say('draining'); return new Promise(() => {}) })
    say('up')
  `)
  await seen('up')
  actor.kill('SIGINT')
  await seen('draining')
  actor.kill('SIGTERM')
  t.same(await lines, ['up', 'draining'])
  t.equal(actor.exitCode, 130)
})

void test('createSystem on nodePlatform: a root that gave up ends the process with code 1', async (t) => {
  const { lines, process: actor } = start(`
    const done = system.terminated
    for (let n = 0; n < 4; n++) first.tell({ type: 'boom' })
    await done
  `)
  t.equal((await lines).filter((line) => line === 'first down').length, 4)
  t.equal(actor.exitCode, 1)
})

void test('createSystem on nodePlatform: actors that volley for ever do not keep a signal from being heard', async (t) => {
  const {
    lines,
    process: actor,
    seen,
  } = start(`
    const Ball = protocol('ball', { hit: tell() })
    const player = (other) => actor(Ball, (ctx) => ({
      hit: async () => { await undefined; ctx.tell(ctx.ref(Ball, other), { type: 'hit' }) },
    }))
    system.spawn('a', player('/user/b'))
    system.spawn('b', player('/user/a')).tell({ type: 'hit' })
    say('up')
  `)
  await seen('up')
  actor.kill('SIGTERM')
  t.same(await lines, ['up', 'second down', 'first down'])
  t.equal(actor.exitCode, 0)
})
