/** The examples of locks and leaders, when whoever watches them has seen enough: nothing of theirs may be left behind. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
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
