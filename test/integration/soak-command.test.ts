/** The command `npm run soak`: what it would run, and what it says to a wrong command line. */
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { test } from 'tap'
import { parseSoakCommand, soakUsage } from '../support/soak-command.ts'

const command = fileURLToPath(new URL('../support/run-soak.js', import.meta.url))

function soak(args: readonly string[]): {
  readonly status: number | null
  readonly out: string
  readonly err: string
} {
  const { status, stdout, stderr } = spawnSync(process.execPath, [command, ...args], {
    encoding: 'utf8',
    timeout: 60_000,
    killSignal: 'SIGKILL',
  })
  return { status, out: stdout, err: stderr }
}

void test('soak --help says all there is, with exit code 0', async (t) => {
  const { status, out, err } = soak(['--help'])
  t.same([status, err], [0, ''])
  t.equal(out, `${soakUsage()}\n`)
  for (const word of [
    'raft',
    'locks',
    'swim',
    '--minutes',
    '--rounds',
    '--seed ',
    '--seeds',
    'Exit code: 0',
  ]) {
    t.ok(out.includes(word), word)
  }
  t.equal(parseSoakCommand(['raft', '-h']), 'help')
})

void test('soak with a wrong command line says what is wrong and what would be right, with exit code 2', async (t) => {
  const { status, out, err } = soak(['nonsense'])
  t.same([status, out], [2, ''])
  t.match(err, /^There is no soak "nonsense": name one of raft, locks, swim\n\nUsage: npm run soak -- SOAK/)
  for (const [args, message] of [
    ['', /^Which soak\? Name one of raft, locks, swim$/],
    ['toString', /^There is no soak "toString": /],
    ['raft swim', /^One soak at a time: "swim" behind "raft" is too much$/],
    ['raft --minutes x', /^--minutes "x": give a number above 0$/],
    ['raft --minutes 0', /^--minutes "0": give a number above 0$/],
    ['raft --minutes=', /^--minutes "": give a number above 0$/],
    ['raft --seed 1.5', /^--seed "1\.5": give a whole number from 1$/],
    ['raft --rounds 3', /^The soak "raft" has no --rounds: it takes --minutes and --seed$/],
    ['swim --seeds Infinity', /^--seeds "Infinity": give a whole number from 1$/],
    ['swim --nope', /^Unknown option '--nope'$/],
    ['swim --seeds', /^Option '--seeds <value>' argument missing$/],
  ] as const) {
    t.throws(
      () => parseSoakCommand(args.split(' ').filter(Boolean)),
      { name: 'SoakUsageError', message },
      args,
    )
  }
})

void test('soak runs the named test, with what was given and the rest as usual', async (t) => {
  t.match(parseSoakCommand(['raft', '--minutes', '0.5']), {
    environment: { SOAK_MINUTES: '0.5', SOAK_SEED: '1' },
  })
  t.same(Object.keys(parseSoakCommand(['locks', '--seed', '7'])), ['file', 'environment'])
  for (const name of ['raft', 'locks', 'swim']) {
    const run = parseSoakCommand([name])
    if (run === 'help') throw new Error('it was not asked for')
    t.ok(existsSync(new URL(run.file, new URL('../support/', import.meta.url))), run.file)
  }
})
