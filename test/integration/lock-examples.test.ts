/** The examples of locks and leaders as their readers meet them: real processes, stopped and killed. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import tap, { test, type Test } from 'tap'
import { repoRoot } from '../support/source-scan.ts'

// Real time, and machines that may be busy with other things.
tap.setTimeout(240_000)

async function run(
  t: Test,
  name: string,
  args: readonly string[],
): Promise<{ readonly code: number | null; readonly output: string; readonly errors: string }> {
  const child = spawn(process.execPath, [join(repoRoot, 'examples/dist', name, 'main.js'), ...args])
  t.teardown(() => child.kill('SIGTERM'))
  let output = ''
  let errors = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text))
  child.stderr.setEncoding('utf8').on('data', (text: string) => (errors += text))
  const [code] = (await once(child, 'close')) as [number | null]
  return { code, output, errors }
}

void test('22-lock: a pause of twice the lease loses what is not guarded, and nothing that is', async (t) => {
  const { code, output, errors } = await run(t, '22-lock', ['--lease', '0.5', '--rounds', '3'])
  t.equal(errors, '')
  t.equal(code, 0, output)
  const [first = '', second = ''] = output.split('\n2. ')
  t.match(first, /6 additions were acknowledged, the file says \d: [1-9] of them are LOST/)
  t.notMatch(first, 'is refused')
  t.match(second, /ana +is refused: its token is \d+, and the file has seen \d+/)
  t.match(second, '6 additions were acknowledged, the file says 6: nothing is lost')
})

void test('23-leader: a leader is killed again and again, and one that was paused is refused', async (t) => {
  // A lease that a busy machine keeps too. Where it does not, others may lead between those whom the story is about, and say so
  // between any two lines: what is judged here holds then too.
  const { code, output, errors } = await run(t, '23-leader', ['--kills', '2', '--lease', '2'])
  t.equal(errors, '')
  t.equal(code, 0, output)
  const [story = '', table = ''] = output.split('term   leader  observed')
  const terms = [...story.matchAll(/leads, in term (\d+)/g)].map(([, term]) => Number(term))
  t.ok(terms.length >= 4, 'the first, one for each that was killed, and one for the one that was paused')
  t.equal(new Set(terms).size, terms.length, 'each term has one leader')
  t.equal([...story.matchAll(/kill -9 \d+: the process of/g)].length, 2)
  // Whoever was paused has led, did not know that it no longer did, and was told.
  const paused = /([abc])'s process goes on, and believes that it leads\n/.exec(story)
  t.ok(paused, story)
  const name = paused?.[1] ?? ''
  const before = story.slice(0, paused?.index)
  const reign = before.slice(before.lastIndexOf(`${name} leads, in term `))
  t.match(reign, new RegExp(`^${name} leads, in term \\d+\n`))
  t.match(reign, `${name}'s process is stopped for 4 s\n`)
  t.notMatch(reign, `${name} leads no more`, 'it has said nothing before it was stopped, nor while it was')
  t.match(reign, /\n.* [abc] leads, in term \d+\n/, 'another one leads before it goes on')
  t.match(story.slice(paused?.index), new RegExp(`${name} leads no more after \\d+ entries: `))
  const observed = [...table.matchAll(/^ +(\d+) +[abc] +yes/gm)].map(([, term]) => Number(term))
  for (const term of terms) t.ok(observed.includes(term), `the observer saw the leader of term ${term}`)
  t.notMatch(output, /\bNO\b/, 'the observer missed nobody')
})

void test('the examples of locks say what is wrong with their arguments', async (t) => {
  for (const [name, args, problem] of [
    [
      '22-lock',
      ['--lease', '0'],
      '--lease must be from 0.2 to 60 seconds, got "0". Try: npm run lock -- --help',
    ],
    ['22-lock', ['--rounds', 'x'], '--rounds must be a whole number from 1 to 10000, got "x"'],
    ['23-leader', ['--kills', '-1'], '--kills'],
    ['23-leader', ['--nonsense'], '--nonsense'],
  ] as const) {
    const { code, errors } = await run(t, name, args)
    t.equal(code, 2, `${name} ${args.join(' ')}`)
    t.match(errors, problem)
  }
  for (const name of ['22-lock', '23-leader']) {
    const { code, output } = await run(t, name, ['--help'])
    t.equal(code, 0)
    t.match(output, 'Usage: npm run')
  }
})
