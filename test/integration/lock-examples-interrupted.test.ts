/** The examples of locks and leaders, when whoever watches them has seen enough: nothing of theirs may be left behind. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, watch } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import tap, { test } from 'tap'
import { repoRoot } from '../support/source-scan.ts'

tap.setTimeout(120_000)

void test('22-lock and 23-leader end in order on Ctrl-C and on a closed pipe, whatever stands still', async (t) => {
  for (const [name, how, args] of [
    ['22-lock', 'SIGINT', ['--lease', '20']],
    ['22-lock', 'pipe', ['--lease', '20']],
    ['23-leader', 'SIGINT', ['--lease', '20', '--kills', '0']],
    ['23-leader', 'pipe', ['--lease', '20', '--kills', '0']],
  ] as const) {
    const directory = t.testdir({})
    const child = spawn(process.execPath, [join(repoRoot, 'examples/dist', name, 'main.js'), ...args], {
      env: { ...process.env, TMPDIR: directory },
    })
    t.teardown(() => child.kill('SIGTERM'))
    let output = ''
    let errors = ''
    child.stderr.setEncoding('utf8').on('data', (text: string) => (errors += text))
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      output += text
      if (how === 'pipe') child.stdout.destroy()
      else if (output.includes('process is stopped for')) child.kill('SIGINT')
    })
    const [code] = (await once(child, 'exit')) as [number | null]
    t.equal(code, 130, `${name}, ${how}: ${output}${errors}`)
    t.equal(errors, '')
    t.same(await readdir(directory), [], 'the directory is gone')
  }
})

void test('22-lock and 23-leader leave nothing behind when Ctrl-C comes as they begin', async (t) => {
  for (const name of ['22-lock', '23-leader']) {
    const directory = t.testdir({})
    const program = join(repoRoot, 'examples/dist', name, 'main.js')
    const child = spawn(process.execPath, [program], { env: { ...process.env, TMPDIR: directory } })
    t.teardown(() => child.kill('SIGKILL'))
    const watcher = watch(directory).once('change', () => child.kill('SIGINT'))
    let errors = ''
    child.stderr.setEncoding('utf8').on('data', (text: string) => (errors += text))
    child.stdout.resume()
    t.same(await once(child, 'close'), [130, null], name)
    watcher.close()
    t.equal(errors, '')
    t.same(await readdir(directory), [], 'the directory is gone')
  }
})

void test('kill -9 of 22-lock while one of its workers stands still: that one goes on, and ends', async (t) => {
  const program = join(repoRoot, 'examples/dist/22-lock/main.js')
  const child = spawn(process.execPath, [program, '--lease', '20'], {
    env: { ...process.env, TMPDIR: t.testdir({}) },
  })
  t.teardown(() => child.kill('SIGTERM'))
  let output = ''
  child.stderr.resume()
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text
    if (output.includes('process is stopped for')) child.kill('SIGKILL')
  })
  // Its standard output is that of all its processes: it ends with the last of them.
  await once(child, 'close')
  t.equal(child.signalCode, 'SIGKILL', output)
})

/** The examples are built for themselves. */
interface ForkedProcess {
  readonly pid: number
  readonly next: () => Promise<object | undefined>
  readonly order: (order: object) => void
  readonly kill: () => Promise<void>
}
interface ForkedModule {
  readonly Forked: new (name: string, module: URL, variable: string, settings: object) => ForkedProcess
}

void test('Forked: an order to a process that has just died is nothing, and so is killing it again', async (t) => {
  const built = pathToFileURL(join(repoRoot, 'examples/dist/processes/forked.js')).href
  const { Forked } = (await import(built)) as ForkedModule
  const directory = t.testdir({ 'one.mjs': `process.send({ type: 'ready' }); setInterval(() => {}, 60_000)` })
  const forked = new Forked('one', pathToFileURL(join(directory, 'one.mjs')), 'FORKED_TEST', {})
  t.same(await forked.next(), { type: 'ready' })
  process.kill(forked.pid, 'SIGKILL')
  // Until it is dead, without this process having been told of it.
  while (isRunning(forked.pid));
  for (let i = 0; i < 3; i++) forked.order({ type: 'go-on' })
  await Promise.all([forked.kill(), forked.kill()])
  t.equal(await forked.next(), undefined)
  await forked.kill()
})

/** False when it has ended and is only not collected yet. */
function isRunning(pid: number): boolean {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  return stat.slice(stat.lastIndexOf(')') + 2, stat.lastIndexOf(')') + 3) !== 'Z'
}
