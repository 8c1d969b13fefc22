/** One more node for a farm that runs, as a person starts and stops it in another terminal. */
import { execFile, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { test } from 'tap'

const program = path.resolve('examples/dist/10-checksum-farm/main.js')
const joinProgram = path.resolve('examples/dist/10-checksum-farm/join-node.js')

function scratch(t: { teardown: (clean: () => void) => void }): string {
  const directory = mkdtempSync(path.join(tmpdir(), 'farm-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

void test('a node that joins while the farm works gets files, and may leave again: nothing is lost', async (t) => {
  const cwd = scratch(t)
  mkdirSync(path.join(cwd, 'd'))
  for (let n = 0; n < 3_000; n++) writeFileSync(path.join(cwd, `d/${n}.txt`), `${n}`)
  const farm = spawn(process.execPath, [program, 'd'], { cwd })
  t.teardown(() => farm.kill('SIGTERM'))
  const lines: string[] = []
  const output = createInterface(farm.stdout)
  output.on('line', (line) => lines.push(line))
  const ended = once(output, 'close')
  await once(output, 'line')
  const place = /farm:node -- --join (\S+)$/.exec(lines[0] ?? '')?.[1] ?? ''
  const extra = spawn(process.execPath, [joinProgram, '--join', place], { cwd })
  t.teardown(() => extra.kill('SIGKILL'))
  const said: string[] = []
  const left = once(extra, 'exit')
  for await (const line of createInterface(extra.stdout)) {
    said.push(line)
    // Once: a second signal would end it at once.
    if (!extra.killed && /^\d+ files$/.test(line)) extra.kill('SIGTERM')
  }
  t.same(await left, [0, null])
  t.match(said[0], /^node extra-\d+ shares the work with /)
  t.match(said.at(-1), /^left in good order, after [1-9]\d* files$/)
  await ended
  t.equal(farm.exitCode ?? (await once(farm, 'exit'))[0], 0)
  const all = lines.join('\n')
  const name = `extra-${extra.pid}`
  t.match(all, `node ${name} joins, and gets its share of the files`)
  t.match(all, `node ${name} leaves: it finishes what it has, the others get the rest`)
  t.match(all, `node ${name} has left in good order`)
  t.match(all, new RegExp(`by node ${name} \\| +[1-9]`))
  t.match(all, /\| failed +\| +0 \|/)
  t.equal(
    execFileSync('sha256sum', ['-c', 'checksums.txt'], { cwd, encoding: 'utf8' }).match(/: OK$/gm)?.length,
    3_000,
  )
  t.notOk(existsSync(place), 'nothing is left behind')
})

void test('one more node says when there is no farm to join', async (t) => {
  const join = (...args: string[]): Promise<{ readonly code: number; readonly output: string }> =>
    new Promise((resolve) => {
      const child = execFile(process.execPath, [joinProgram, ...args], (_error, stdout, stderr) => {
        resolve({ code: child.exitCode ?? -1, output: stdout + stderr })
      })
    })
  const nowhere = await join('--join', path.join(scratch(t), 'nowhere'))
  t.equal(nowhere.code, 2)
  t.match(nowhere.output, /There is no farm there/)
  t.equal((await join()).code, 2)
  t.equal((await join('--help')).code, 0)
})
