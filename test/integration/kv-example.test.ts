/** The key-value example as its readers meet it: three processes, a prompt that is piped into, and what they do to break it. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { test, type Test } from 'tap'
import { repoRoot } from '../support/source-scan.ts'

interface Session {
  /** Types a line, and gives what was answered: reports and watched events that came meanwhile too. */
  readonly type: (line: string) => Promise<readonly string[]>
  /** Resolves with the first line like that, printed now or before, from line number `from` on. */
  readonly line: (pattern: RegExp, from?: number) => Promise<string>
  /** How many lines were printed. */
  readonly count: () => number
  /** Ends the input, and gives the exit code. */
  readonly end: () => Promise<number | null>
}

const main = join(repoRoot, 'examples/dist/20-kv/main.js')

async function open(t: Test, data: string): Promise<Session> {
  // A busy machine is slow, not wrong: commands may try for two minutes.
  const child = spawn(process.execPath, [main, '--data', data, '--timeout', '120'])
  const ended = once(child, 'exit')
  t.teardown(async () => {
    child.kill('SIGTERM')
    await ended
  })
  const lines: string[] = []
  const waiting: (() => void)[] = []
  const changed = (): void => {
    for (const resolve of waiting.splice(0)) resolve()
  }
  createInterface(child.stdout).on('line', (line) => {
    lines.push(line)
    changed()
  })
  child.stderr.on('data', (text) => t.comment(String(text)))
  let isOver = false
  void ended.then(() => {
    isOver = true
    changed()
  })
  const line = async (pattern: RegExp, from = 0): Promise<string> => {
    for (;;) {
      const found = lines.slice(from).find((text) => pattern.test(text))
      if (found !== undefined) return found
      if (isOver) throw new Error(`It ended without ${String(pattern)}:\n${lines.join('\n')}`)
      await new Promise<void>((resolve) => waiting.push(resolve))
    }
  }
  let marks = 0
  const session: Session = {
    type: async (text) => {
      const from = lines.length
      // Its answer is there when the next line is.
      const mark = `# ${++marks}`
      child.stdin.write(`${text}\n${mark}\n`)
      await line(new RegExp(`^kv> ${mark}$`), from)
      const begin = lines.indexOf(`kv> ${text}`, from)
      return lines.slice(begin + 1, lines.indexOf(`kv> ${mark}`, from))
    },
    line,
    count: () => lines.length,
    end: async () => {
      child.stdin.end()
      const [code] = (await ended) as [number | null]
      return code
    },
  }
  await line(/^Try: /)
  return session
}

/** Rows of `status` by node: the words of each. */
async function status(session: Session): Promise<ReadonlyMap<string, readonly string[]>> {
  const rows = (await session.type('status')).map((row) => row.trim().split(/\s+/))
  return new Map(rows.filter(([node = '']) => /^[abc]$/.test(node)).map((row) => [row[0] ?? '', row]))
}

/** The node that leads, once some node says that it does. */
async function leaderOf(session: Session): Promise<string> {
  for (;;) {
    for (const [node, [, , role]] of await status(session)) if (role === 'leader') return node
    await session.type('wait 0.2')
  }
}

/** All three are voters, and have applied the same. */
async function untilWhole(session: Session): Promise<void> {
  for (;;) {
    const rows = [...(await status(session)).values()]
    const isWhole = rows.every(([, , role = '', , , , applied, ...members]) => {
      return (
        /^(leader|follower)$/.test(role) && applied === rows[0]?.[6] && members.slice(0, 3).join() === 'a,b,c'
      )
    })
    if (isWhole) return
    await session.type('wait 0.2')
  }
}

void test(
  '20-kv: every command answers, and a wrong one says what was expected and costs the exit code',
  { timeout: 600_000 },
  async (t) => {
    const kv = await open(t, join(t.testdir(), 'data'))
    t.same(await kv.type('put a 1'), ['revision 1'])
    t.same(await kv.type('put "two words" "x; y"'), ['revision 2'])
    t.same(await kv.type('get "two words"'), ['"two words" = "x; y"  (revision 2, version 1)'])
    t.same(await kv.type('get nothing'), ['nothing is not there'])
    t.same(await kv.type('cas a 1 2'), ['set, revision 3'])
    t.same(await kv.type('cas a 1 3'), ['not set: a = 2  (revision 3, version 2)'])
    t.same(await kv.type('cas fresh - 1'), ['set, revision 4'])
    t.same(await kv.type('get a at 1'), ['a = 1  (revision 1, version 1)'])
    t.match((await kv.type('watch a from 1'))[0], 'watch 1: every key that begins with a, from revision 1 on')
    await kv.line(/^ {2}watch 1: a = 1 {2}\(revision 1\)$/)
    await kv.line(/^ {2}watch 1: a = 2 {2}\(revision 3\)$/)
    const then = await kv.type(
      'transact if a = 2 and version(a) > 1 and b missing then put b x; get a; delete fresh else get a',
    )
    const plain = (rows: readonly string[]): readonly string[] =>
      rows.filter((row) => !row.includes('watch 1:'))
    t.same(plain(then), ['then, revision 5', '  put', '  a = 2  (revision 3, version 2)', '  1 key deleted'])
    t.same(plain(await kv.type('transact if b exists and a < 2 then delete * else get b; put a 3')), [
      'else, revision 6',
      '  b = x  (revision 5, version 1)',
      '  put',
    ])
    await kv.line(/^ {2}watch 1: a = 3 {2}\(revision 6\)$/)
    t.match(plain(await kv.type('unwatch')), ['1 watch ended'])
    t.same(await kv.type('list'), [
      'a = 3  (revision 6, version 3)',
      'b = x  (revision 5, version 1)',
      '"two words" = "x; y"  (revision 2, version 1)',
      '3 keys at revision 6',
    ])
    const [granted = ''] = await kv.type('lease 60')
    const id = /#(\d+)/.exec(granted)?.[1] ?? ''
    t.same(await kv.type(`put leased 1 lease #${id}`), [`revision 7, with lease #${id}`])
    t.same(await kv.type('leases'), [`#${id}, 60 s`])
    t.match((await kv.type(`lease revoke #${id}`))[0], /has ended, and its keys with it/)
    t.same(await kv.type('get leased'), ['leased is not there'])
    await kv.type('watch brief')
    await kv.type('put brief 1 lease 1')
    await kv.line(/watch 2: brief deleted/)
    t.match((await kv.type('compact 6'))[0], 'what was before revision 6 is forgotten')
    t.match((await kv.type('get a at 2'))[0], /^NOT DONE: .*\[KV_COMPACTED\]$/)
    t.same(await kv.type('delete b*'), ['1 key deleted, revision 11'])
    t.same(await kv.type('delete b'), ['nothing to delete'])
    const leader = await leaderOf(kv)
    const other = leader === 'a' ? 'b' : 'a'
    t.match((await kv.type(`transfer ${other}`)).at(-1), new RegExp(`node ${other} leads now`))
    t.match((await kv.type(`get a local ${leader}`))[0], /^a = 3/)

    const wrong = new Map([
      ['frob', 'There is no command "frob"; try: help'],
      ['put a', 'Expected: put KEY VALUE [lease SECONDS | lease #ID]; got "the end of the line"'],
      ['get a at x', 'Expected: get KEY [at REVISION] [local NODE]; got "x"'],
      ['get "a', 'A quote is open: write "..." around a word, and \\" for a quote in it'],
      ['kill d', 'There is no node "d"; there are a, b, c, and leader'],
      ['lease drop #7777', 'This prompt keeps no lease #7777 alive; see: leases'],
    ])
    for (const [text, answer] of wrong) t.same(await kv.type(text), [answer])
    t.match((await kv.type('help')).join('\n'), /transact \[if CONDITION/)
    t.equal(await kv.end(), 1, 'some commands failed')
  },
)

void test(
  '20-kv: the leader is killed, a directory deleted, all ended and begun again: nothing acknowledged is lost',
  { timeout: 600_000 },
  async (t) => {
    const data = join(t.testdir(), 'data')
    const kv = await open(t, data)
    let written = 0
    const put = async (count: number): Promise<void> => {
      for (const end = written + count; written < end;) {
        const answer = await kv.type(`put k${String(written).padStart(3, '0')} v${written}`)
        t.match(answer.at(-1), /^revision \d+$/)
        written++
      }
    }
    const expected = (): readonly string[] => Array.from({ length: written }, (_, n) => `v${n}`)
    const values = (rows: readonly string[]): readonly string[] =>
      rows.flatMap((row) => /^k\d{3} = (\S+)/.exec(row)?.[1] ?? [])
    const watched = new Set<string>()

    await put(5)
    await kv.type('watch k from 1')
    const first = await leaderOf(kv)
    const killedAt = kv.count()
    await kv.type('kill leader')
    // They wait for the new leader, and go on.
    await put(20)
    await kv.line(new RegExp(`the process of node ${first} ended: SIGKILL`), killedAt)
    t.not(await leaderOf(kv), first)
    await kv.line(new RegExp(`node ${first} is back, as process \\d+$`), killedAt)
    t.same(values(await kv.type('list k')), expected())

    // The directory of a node that runs: first of a follower's, then of the leader's.
    const second = await leaderOf(kv)
    for (const node of [second === 'c' ? 'b' : 'c', second]) {
      await untilWhole(kv)
      const wipedAt = kv.count()
      t.match((await kv.type(`wipe ${node}`)).join('\n'), new RegExp(`of node ${node}, which runs`))
      await put(5)
      await kv.line(new RegExp(`node ${node}: /system/consensus restarts .* has lost its directory`), wipedAt)
      await kv.line(new RegExp(`node ${node} has an empty disk: it comes back as a learner`), wipedAt)
      await kv.line(new RegExp(`node ${node} has caught up and was promoted`), wipedAt)
      await untilWhole(kv)
      t.ok(existsSync(join(data, node, 'consensus', 'SEGMENTS')), 'its new store is where the old one was')
      t.same(values(await kv.type(`list k local ${node}`)), expected(), 'it has everything')
    }

    // A leader that stands still is left, and finds its way back.
    const stopped = await leaderOf(kv)
    const stoppedAt = kv.count()
    await kv.type('stop leader')
    await put(3)
    await kv.line(/ leads, in term \d+$/, stoppedAt)
    await kv.type(`cont ${stopped}`)
    await untilWhole(kv)

    for (let n = 0; n < written; n++) {
      const event = await kv.line(new RegExp(`^ {2}watch 1: k\\d{3} = v${n} `))
      watched.add(event)
    }
    t.equal(watched.size, written, 'the watch saw every put')
    t.equal(await kv.end(), 0)

    const again = await open(t, data)
    t.same(values(await again.type('list k')), expected())
    t.same(await again.type('cas k000 v0 done'), [`set, revision ${written + 1}`])
    t.equal(await again.end(), 0)
  },
)

void test(
  '20-kv: arguments that are wrong, and a directory that is in use, are told',
  { timeout: 600_000 },
  async (t) => {
    const run = async (
      args: readonly string[],
    ): Promise<{ readonly code: number | null; readonly text: string }> => {
      const child = spawn(process.execPath, [main, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
      let text = ''
      for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (text += String(chunk)))
      const [code] = (await once(child, 'close')) as [number | null]
      return { code, text }
    }
    t.match(await run(['--help']), { code: 0, text: /^Usage: npm run kv -- \[--data DIR\]/ })
    t.match(await run(['--frob']), { code: 2, text: /Unknown option '--frob'.*Try: npm run kv -- --help/ })
    t.match(await run(['--timeout', 'x']), {
      code: 2,
      text: /--timeout must be from 0.1 to 3600 seconds, got "x"/,
    })
    const data = join(t.testdir(), 'data')
    const kv = await open(t, data)
    t.match(await run(['--data', data]), { code: 1, text: /another process has it open/ })
    t.match(await kv.type('put a 1'), ['revision 1'])
    t.equal(await kv.end(), 0)
  },
)
