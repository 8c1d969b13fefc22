/** The main example as a user runs it: real processes, a real kill, and `sha256sum` as the judge. */
import { execFile, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { test } from 'tap'

const program = path.resolve('examples/dist/10-checksum-farm/main.js')

interface Outcome {
  readonly code: number
  readonly output: string
}

function run(cwd: string, ...args: string[]): Promise<Outcome> {
  return new Promise((resolve) => {
    const child = execFile(
      process.execPath,
      [program, ...args],
      { cwd, timeout: 100_000 },
      (error, stdout, stderr) => {
        resolve({ code: error === null ? 0 : (child.exitCode ?? -1), output: stdout + stderr })
      },
    )
  })
}

function verify(cwd: string): string {
  return execFileSync('sha256sum', ['-c', 'checksums.txt'], { cwd, encoding: 'utf8' })
}

function scratch(t: { teardown: (clean: () => void) => void }): string {
  const directory = mkdtempSync(path.join(tmpdir(), 'farm-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

test('the farm settles every file through a kill -9, and sha256sum agrees', async (t) => {
  const cwd = scratch(t)
  mkdirSync(path.join(cwd, 'd/below'), { recursive: true })
  for (let n = 0; n < 200; n++) writeFileSync(path.join(cwd, `d/below/${n}.txt`), `${'line\n'.repeat(n)}`)
  writeFileSync(path.join(cwd, 'd/new\nline'), 'x')
  writeFileSync(path.join(cwd, 'd/back\\slash'), 'y')
  const { code, output } = await run(cwd, 'd')
  t.equal(code, 0, output)
  t.match(output, /kill -9 node [abc], with \d+ files under way/)
  t.match(output, /node [abc] is down/)
  t.match(output, /node [abc] is back, as a new incarnation/)
  t.match(output, /\| files +\| +202 \|/)
  t.match(output, /\| failed +\| +0 \|/)
  t.match(readFileSync(path.join(cwd, 'checksums.txt'), 'utf8'), /^\\[0-9a-f]{64}  d\/new\\nline$/m)
  t.equal(
    verify(cwd)
      .split('\n')
      .filter((line) => line.endsWith(': OK')).length,
    202,
  )
})

test('the farm reports a file that cannot be read, after its worker was restarted, and goes on', async (t) => {
  const cwd = scratch(t)
  mkdirSync(path.join(cwd, 'd'))
  writeFileSync(path.join(cwd, 'd/good'), 'x')
  symlinkSync('/nowhere/at/all', path.join(cwd, 'd/dangling'))
  symlinkSync('/proc/self/mem', path.join(cwd, 'd/unreadable'))
  const { code, output } = await run(cwd, 'd')
  t.equal(code, 0, output)
  t.match(output, /failed: d\/dangling: ENOENT/)
  t.match(output, /failed: d\/unreadable: E/)
  t.match(verify(cwd), /d\/good: OK/)
})

test('the farm shows kill and rejoin even with nothing to do, and leaves its own output out', async (t) => {
  const cwd = scratch(t)
  mkdirSync(path.join(cwd, 'd'))
  writeFileSync(path.join(cwd, 'd/checksums.txt'), 'of an earlier run')
  const { code, output } = await run(cwd, 'd', '--output', 'd/checksums.txt')
  t.equal(code, 0, output)
  t.match(output, /is back, as a new incarnation/)
  t.match(output, /\| files +\| +0 \|/)
  t.equal(readFileSync(path.join(cwd, 'd/checksums.txt'), 'utf8'), '')
})

for (const [moment, shown] of [
  ['waits for its node', /waiting for node [abc] to rejoin/],
  ['is about to write', /is back, as a new incarnation/],
] as const) {
  test(`Ctrl-C while the farm ${moment}: what it says of its output is true`, async (t) => {
    const cwd = scratch(t)
    mkdirSync(path.join(cwd, 'd'))
    const farm = spawn(process.execPath, [program, 'd'], { cwd, stdio: ['ignore', 'pipe', 'pipe'] })
    let output = ''
    const hear = (chunk: Buffer): void => {
      output += chunk.toString()
      if (shown.test(output) && !farm.killed) farm.kill('SIGINT')
    }
    farm.stdout.on('data', hear)
    farm.stderr.on('data', hear)
    await once(farm, 'close')
    t.match(output, /SIGINT: stopping the nodes/)
    const isWritten = readdirSync(cwd).includes('checksums.txt')
    t.equal(output.includes('checksums.txt is not written'), !isWritten, output)
    t.equal(output.includes('wrote checksums.txt'), isWritten, output)
  })
}

test('the farm names a directory that is missing, and exits with 2', async (t) => {
  const { code, output } = await run(scratch(t), 'nowhere')
  t.equal(code, 2)
  t.match(output, /Cannot compute checksums: ".*nowhere" cannot be read \(ENOENT\)/)
})
