/** The chat as its users meet it: three processes, pages that reconnect, and a `kill -9` of the node that matters most. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { test, type Test } from 'tap'
import { WebSocket } from 'ws'
import { repoRoot } from '../support/source-scan.ts'

interface Shown {
  readonly number: number
  readonly id: string
  readonly author: string
  readonly text: string
}

type Heard =
  | (Shown & { readonly type: 'message' })
  | { readonly type: 'said' | 'again'; readonly id: string }
  | { readonly type: 'where'; readonly node: string; readonly owner: string }
  | { readonly type: 'pong' | 'reset' }

/** Does what the page does: goes from node to node, asks for what it missed, sends again what was not acknowledged. */
class Page {
  readonly seen: Shown[] = []
  readonly author: string
  node = ''
  owner = ''
  isConnected = false
  resets = 0
  reconnects = -1
  readonly #origins: readonly string[]
  readonly #room: string
  readonly #waiting: string[] = []
  #at: number
  #said = 0
  #socket: WebSocket | undefined
  #isOver = false
  #changed: (() => void)[] = []

  constructor(t: Test, origins: readonly string[], room: string, author: string, at: number) {
    this.#origins = origins
    this.#room = room
    this.author = author
    this.#at = at
    this.#connect()
    t.teardown(() => {
      this.#isOver = true
      this.#socket?.terminate()
    })
  }

  say(text: string): void {
    this.#waiting.push(text)
    if (this.#waiting.length === 1) this.#sendFirst()
  }

  async until(isSo: (page: Page) => boolean): Promise<void> {
    while (!isSo(this)) await new Promise<void>((resolve) => this.#changed.push(resolve))
  }

  /** Everything it said was acknowledged. */
  get isSilent(): boolean {
    return this.#waiting.length === 0
  }

  /** Texts by this author, in the order in which it was shown them. */
  by(author: string): readonly string[] {
    return this.seen.filter((shown) => shown.author === author).map(({ text }) => text)
  }

  #connect(): void {
    const origin = this.#origins[this.#at] ?? ''
    const after = this.seen.at(-1)?.number ?? 0
    const query = new URLSearchParams({ room: this.#room, name: this.author, after: String(after) })
    // The page is that of the first node, wherever it is connected.
    const socket = new WebSocket(`${origin.replace('http', 'ws')}/chat?${query.toString()}`, {
      origin: this.#origins[0],
    })
    this.#socket = socket
    socket.on('error', () => undefined)
    socket.on('open', () => {
      this.isConnected = true
      this.reconnects++
      this.#sendFirst()
      this.#note()
    })
    socket.on('message', (data) => {
      this.#hear(JSON.parse(String(data)) as Heard)
      this.#note()
    })
    socket.on('close', () => {
      this.isConnected = false
      if (this.#isOver) return
      this.#at = (this.#at + 1) % this.#origins.length
      setTimeout(() => this.#connect(), 20)
    })
  }

  #hear(heard: Heard): void {
    if (heard.type === 'message') this.seen.push(heard)
    else if (heard.type === 'reset') this.resets++
    else if (heard.type === 'again') setTimeout(() => this.#sendFirst(), 50)
    else if (heard.type === 'where') [this.node, this.owner] = [heard.node, heard.owner]
    else if (heard.type === 'said' && heard.id === this.#firstId) {
      this.#waiting.shift()
      this.#said++
      this.#sendFirst()
    }
  }

  get #firstId(): string {
    return `${this.author}-${this.#said}`
  }

  #sendFirst(): void {
    const [text] = this.#waiting
    if (text === undefined || this.#socket?.readyState !== WebSocket.OPEN) return
    this.#socket.send(JSON.stringify({ type: 'say', id: this.#firstId, text }))
  }

  #note(): void {
    for (const resolve of this.#changed.splice(0)) resolve()
  }
}

interface Chat {
  readonly origins: readonly string[]
  readonly kill: (node: string) => void
  /** Resolves when a line like that was printed, now or before. */
  readonly line: (pattern: RegExp) => Promise<string>
  readonly stop: () => Promise<number | null>
}

async function startChat(t: Test): Promise<Chat> {
  const child = spawn(process.execPath, [join(repoRoot, 'examples/dist/11-chat/main.js'), '--port', '0'])
  const ended = once(child, 'exit')
  t.teardown(() => child.kill('SIGTERM') && ended)
  const lines: string[] = []
  const waiting: (() => void)[] = []
  createInterface(child.stdout).on('line', (line) => {
    lines.push(line)
    for (const resolve of waiting.splice(0)) resolve()
  })
  child.stderr.on('data', (text) => t.comment(String(text)))
  const line = async (pattern: RegExp): Promise<string> => {
    for (;;) {
      const found = lines.find((text) => pattern.test(text))
      if (found !== undefined) return found
      await new Promise<void>((resolve) => waiting.push(resolve))
    }
  }
  await line(/node c +http/)
  const rows = lines
    .map((text) => /node ([abc]) +(http:\S+)\/ +kill -9 (\d+)/.exec(text))
    .filter((row) => row !== null)
  return {
    origins: rows.map((row) => row[2] ?? ''),
    kill: (node) => {
      const pids = lines.map((text) => new RegExp(`node ${node} .*kill -9 (\\d+)`).exec(text)?.[1])
      process.kill(Number(pids.findLast((pid) => pid !== undefined)), 'SIGKILL')
    },
    line,
    stop: async () => {
      child.kill('SIGTERM')
      const [code] = (await ended) as [number | null]
      return code
    },
  }
}

const perPage = 20

/** Everybody says something, and goes on when it has seen how far the others are. */
function sayAll(pages: readonly Page[], round: string): void {
  for (const page of pages) for (let n = 0; n < perPage; n++) page.say(`${page.author} ${round} ${n}`)
}

async function settle(pages: readonly Page[], count: number): Promise<void> {
  await Promise.all(pages.map((page) => page.until(({ seen, isSilent }) => isSilent && seen.length >= count)))
}

void test('chat: the page is served by every node, and by nobody else', async (t) => {
  const chat = await startChat(t)
  for (const origin of chat.origins) {
    const response = await fetch(origin, { headers: { connection: 'close' } })
    t.equal(response.status, 200)
    t.match(response.headers.get('content-security-policy'), /default-src 'none'/)
    const html = await response.text()
    for (const other of chat.origins) t.match(html, other.replace('http', 'ws'))
    t.equal((await fetch(`${origin}/else`, { headers: { connection: 'close' } })).status, 404)
  }
  const [first = '', second = ''] = chat.origins
  const stranger = new WebSocket(`${first.replace('http', 'ws')}/chat?room=x&name=y`, {
    origin: 'http://evil.test',
  })
  stranger.on('error', () => undefined)
  t.equal(
    ((await once(stranger, 'unexpected-response')) as [unknown, { statusCode: number }])[1].statusCode,
    403,
  )
  stranger.terminate()
  const nameless = new WebSocket(`${second.replace('http', 'ws')}/chat?room=x`, { origin: first })
  t.equal(((await once(nameless, 'close')) as [number])[0], 4_000)
  t.equal(await chat.stop(), 0)
})

void test("chat: kill -9 of a visitor's node and of the room's: nothing is lost or doubled, the order holds", async (t) => {
  const chat = await startChat(t)
  const pages = [0, 1, 2, 0, 1, 2].map((at, index) => new Page(t, chat.origins, 'lobby', `p${index}`, at))
  const [first] = pages
  if (first === undefined) return
  await first.until(({ owner }) => owner !== '')
  const { owner } = first
  const orderOf = (page: Page): readonly number[] => page.seen.map(({ number }) => number)
  const expected = (rounds: readonly string[]): readonly string[] =>
    rounds.flatMap((round) => Array.from({ length: perPage }, (_, n) => `${round} ${n}`))

  // The owner of the room dies, with its visitors, in the middle of it all.
  sayAll(pages, 'one')
  await first.until(({ seen }) => seen.length >= (pages.length * perPage) / 4)
  chat.kill(owner)
  await settle(pages, pages.length * perPage)
  t.ok(
    pages.every((page) => page.isConnected),
    'all are connected',
  )
  t.ok(
    pages.some((page) => page.reconnects > 0),
    'some had to reconnect',
  )

  // It comes back, and gets what it has missed before the next one dies.
  await chat.line(new RegExp(`node ${owner} is back`))
  sayAll(pages, 'two')
  await settle(pages, 2 * pages.length * perPage)
  const next = pages.find((page) => page.node !== owner)?.node ?? ''
  sayAll(pages, 'three')
  await first.until(({ seen }) => seen.length >= 2.25 * pages.length * perPage)
  chat.kill(next)
  await settle(pages, 3 * pages.length * perPage)

  // All die but the one that came last, which has got from the others what was said before it came.
  await chat.line(new RegExp(`node ${next} is back`))
  sayAll(pages, 'four')
  const count = 4 * pages.length * perPage
  await settle(pages, count)
  for (const node of ['a', 'b', 'c']) if (node !== next) chat.kill(node)
  for (const page of pages) {
    t.same(
      orderOf(page),
      Array.from({ length: count }, (_, n) => n + 1),
      `${page.author}: every number once, in order`,
    )
    t.same(page.seen, first.seen, `${page.author}: what all others see`)
    t.equal(page.resets, 0)
    for (const { author } of pages) {
      const texts = expected(['one', 'two', 'three', 'four']).map((text) => `${author} ${text}`)
      t.same(page.by(author), texts, `${page.author}: all that ${author} said, once, in its order`)
    }
  }

  // Who comes late gets what is kept, from nodes that were told it by others.
  const late = new Page(t, chat.origins, 'lobby', 'late', 0)
  await late.until(({ seen }) => seen.length >= 200)
  t.same(late.seen, first.seen.slice(-200))
  t.equal(await chat.stop(), 0)
})
