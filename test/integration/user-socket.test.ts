/** WebSockets of users on a node's port: beside node links, bounded, and only for pages that may. */
import { once } from 'node:events'
import { get } from 'node:http'
import { connect, type Socket } from 'node:net'
import { test, type Test } from 'tap'
import { WebSocket } from 'ws'
import { sourceModule } from '../support/source-module.ts'

type Link = import('../../packages/cluster/src/transport/transport.ts').Link
type Options = import('../../packages/cluster/src/transport/server.ts').WebSocketTransportOptions
type UserSocket = import('../../packages/cluster/src/transport/user-socket.ts').UserSocket
type UserSocketEnd = import('../../packages/cluster/src/transport/user-socket.ts').UserSocketEnd

const { NODE_PATH, NODE_SUBPROTOCOL, webSocketTransport } = await sourceModule<
  typeof import('../../packages/cluster/src/transport/server.ts')
>('cluster', 'transport/server')
const { nodeAddress, parseAddress } = await sourceModule<
  typeof import('../../packages/cluster/src/transport/address.ts')
>('cluster', 'transport/address')
const { isOriginAllowed } = await sourceModule<
  typeof import('../../packages/cluster/src/transport/user-socket.ts')
>('cluster', 'transport/user-socket')

async function listening(t: Test, options: Options) {
  const links: Link[] = []
  const refused: string[] = []
  const failures: unknown[] = []
  const transport = webSocketTransport({ onHttpError: (error) => failures.push(error), ...options })
  const listener = await transport.listen(
    nodeAddress('ws://127.0.0.1:0'),
    (link) => {
      link.established()
      links.push(link)
    },
    { onRefused: ({ reason }) => refused.push(reason) },
  )
  t.teardown(() => listener.close())
  const port = parseAddress(listener.address).port
  return { listener, transport, links, refused, failures, port, origin: `http://127.0.0.1:${port}` }
}

/** What a browser does: a WebSocket with an Origin. */
const browser = (address: string, origin: string | undefined, path = '/chat'): WebSocket => {
  const socket = new WebSocket(address + path, origin === undefined ? {} : { origin })
  socket.on('error', () => undefined)
  return socket
}

async function statusOf(socket: WebSocket): Promise<number> {
  const status = await new Promise<number>((resolve) => {
    socket.once('open', () => resolve(101))
    socket.once('unexpected-response', (_request, response) => resolve(response.statusCode ?? 0))
  })
  socket.terminate()
  return status
}

void test('webSocket: text and bytes both ways, path, query and headers, beside pages and node links on one port', async (t) => {
  const users: UserSocket[] = []
  const ends: UserSocketEnd[] = []
  const { listener, transport, links, port, origin } = await listening(t, {
    http: (_request, response) => void response.end('<!doctype html>'),
    webSocket: (socket) => {
      users.push(socket)
      socket.onMessage((message) =>
        socket.send(typeof message === 'string' ? `you said ${message}` : message),
      )
      socket.onClose((end) => ends.push(end))
      socket.send('welcome')
    },
  })
  const page = await new Promise<string>((resolve) => {
    get({ port, agent: false }, (response) => response.on('data', (chunk) => resolve(String(chunk))))
  })
  t.equal(page, '<!doctype html>')
  const user = browser(listener.address, origin, '/chat/room%201?name=Ann&name=Bob')
  const heard: unknown[] = []
  user.on('message', (data, isBinary) => heard.push(isBinary ? data : String(data)))
  await once(user, 'message')
  user.send('hello')
  user.send(Uint8Array.of(1, 2))
  while (heard.length < 3) await once(user, 'message')
  t.same(heard, ['welcome', 'you said hello', Buffer.from([1, 2])])
  const [socket] = users
  t.equal(socket?.path, '/chat/room%201')
  t.same(socket?.query.getAll('name'), ['Ann', 'Bob'])
  t.equal(socket?.headers['origin'], origin)
  t.equal(socket?.remoteAddress, '127.0.0.1')
  t.equal(socket?.bufferedBytes, 0)

  const link = await transport.dial(listener.address)
  t.equal(links.length, 1)
  link.close()
  const left = once(user, 'close')
  socket?.close(4_001, 'enough')
  socket?.close()
  t.equal(socket?.send('more'), 'closed')
  const [status, text] = await left
  t.same([status, String(text)], [4_001, 'enough'])
  while (ends.length === 0) await new Promise(setImmediate)
  t.same(ends, [{ status: 4_001, reason: 'enough' }])
})

void test('webSocket: a browser never reaches the node handshake, and a node never the users', async (t) => {
  let users = 0
  const { listener, links, refused, origin } = await listening(t, { webSocket: () => users++ })
  const page = new WebSocket(listener.address + NODE_PATH, [NODE_SUBPROTOCOL], { origin })
  page.on('error', () => undefined)
  t.equal(await statusOf(page), 403)
  t.same(refused, ['browser'])
  t.equal(users, 0)
  t.equal(links.length, 0)
  const bare = await listening(t, {})
  t.equal(await statusOf(browser(bare.listener.address, undefined)), 404, 'without the option: as before')
})

void test('webSocket.origins: by default pages of this port under an address or localhost; else those that are listed', async (t) => {
  const { listener, refused, port, origin } = await listening(t, { webSocket: () => undefined })
  t.equal(await statusOf(browser(listener.address, origin)), 101)
  t.equal(await statusOf(browser(listener.address, undefined)), 101, 'not a browser')
  for (const foreign of [
    'http://evil.example',
    `http://127.0.0.1:${port + 1}`,
    'null',
    `https://127.0.0.1:${port}`,
  ]) {
    t.equal(await statusOf(browser(listener.address, foreign)), 403, foreign)
  }
  t.same(refused, ['origin', 'origin', 'origin', 'origin'])

  const rebound = 'evil.example:7001'
  t.equal(
    isOriginAllowed(undefined, `http://${rebound}`, rebound, false),
    false,
    'a name may mean any machine',
  )
  for (const own of ['localhost:7001', '10.0.0.7', '[::1]:7001', '[fd00::7]']) {
    t.equal(isOriginAllowed(undefined, `http://${own}`, own, false), true, own)
    t.equal(isOriginAllowed(undefined, `https://${own}`, own, true), true, own)
    t.equal(isOriginAllowed(undefined, `http://${own}`, own, true), false, own)
  }
  t.equal(isOriginAllowed(undefined, 'http://127.0.0.1.evil.example', '127.0.0.1.evil.example', false), false)
  t.equal(isOriginAllowed(undefined, 'http://', undefined, false), false)

  const accept = (): void => undefined
  const listed = await listening(t, { webSocket: { accept, origins: ['https://Chat.example.com'] } })
  t.equal(await statusOf(browser(listed.listener.address, 'https://chat.example.com')), 101)
  t.equal(await statusOf(browser(listed.listener.address, listed.origin)), 403, 'a list is the whole list')
  const open = await listening(t, { webSocket: { accept, origins: 'any' } })
  t.equal(await statusOf(browser(open.listener.address, 'null')), 101)
  t.throws(() => webSocketTransport({ webSocket: { accept, origins: ['chat.example.com'] } }), {
    name: 'RangeError',
    message: /an origin is "https:/,
  })
})

void test('webSocket.payloadBytesMax: a larger message ends its socket with 1009', async (t) => {
  const got: number[] = []
  const { listener } = await listening(t, {
    webSocket: {
      accept: (socket) => socket.onMessage((message) => got.push(message.length)),
      payloadBytesMax: 1_000,
    },
  })
  const user = browser(listener.address, undefined)
  await once(user, 'open')
  user.send('x'.repeat(1_000))
  user.send('x'.repeat(1_001))
  const [status] = await once(user, 'close')
  t.equal(status, 1_009)
  t.same(got, [1_000])
})

void test('webSocket.outboundBytesMax: send says full for a user who does not read', async (t) => {
  let results: string[] = []
  let socket: UserSocket | undefined
  const { port } = await listening(t, {
    webSocket: {
      accept: (given) => {
        socket = given
      },
      outboundBytesMax: 100_000,
    },
  })
  const user = await upgradedByHand(port)
  user.pause()
  while (socket === undefined) await new Promise(setImmediate)
  for (let n = 0; n < 10_000 && results.at(-1) !== 'full'; n++)
    results.push(socket.send(new Uint8Array(10_000)))
  t.equal(results.pop(), 'full')
  t.ok(socket.bufferedBytes <= 110_000, `${socket.bufferedBytes} bytes wait`)
  t.equal(socket.send('x'.repeat(40_000)), 'full', 'text counts as its longest form')
  results = []
  user.destroy()
})

void test('webSocket.socketsMax: further ones get 503', async (t) => {
  const { listener, refused } = await listening(t, { webSocket: { accept: () => undefined, socketsMax: 1 } })
  const first = browser(listener.address, undefined)
  await once(first, 'open')
  t.equal(await statusOf(browser(listener.address, undefined)), 503)
  t.same(refused, ['crowded'])
  first.terminate()
})

void test('webSocket: what callbacks throw costs their own socket, with 1011, and is told', async (t) => {
  const { listener, failures } = await listening(t, {
    webSocket: (socket) => {
      if (socket.path === '/throws') throw new Error('at once')
      socket.onMessage(() => {
        throw new Error('later')
      })
    },
  })
  const first = browser(listener.address, undefined, '/throws')
  t.equal((await once(first, 'close'))[0], 1_011)
  const second = browser(listener.address, undefined, '/other')
  await once(second, 'open')
  second.send('x')
  t.equal((await once(second, 'close'))[0], 1_011)
  t.same(
    failures.map((error) => (error as Error).message),
    ['at once', 'later'],
  )
})

void test('webSocket: users are told with 1001 when the listener closes, and those who do not answer are cut', async (t) => {
  const ends: UserSocketEnd[] = []
  const { listener, port } = await listening(t, {
    closeTimeoutMs: 50,
    webSocket: (socket) => socket.onClose((end) => ends.push(end)),
  })
  const polite = browser(listener.address, undefined)
  await once(polite, 'open')
  const deaf = await upgradedByHand(port)
  deaf.pause()
  const [[status]] = await Promise.all([once(polite, 'close'), listener.close()])
  t.equal(status, 1_001)
  while (ends.length < 2) await new Promise(setImmediate)
  deaf.destroy()
})

void test('UserSocket.close: RangeError for a status or a reason that no close frame may have', async (t) => {
  let socket: UserSocket | undefined
  const { listener } = await listening(t, {
    webSocket: (given) => {
      socket = given
    },
  })
  const user = browser(listener.address, undefined)
  await once(user, 'open')
  t.throws(() => socket?.close(1_005), RangeError)
  t.throws(() => socket?.close(5_000), RangeError)
  t.throws(() => socket?.close(1_000, 'é'.repeat(62)), RangeError)
  socket?.close(1_000, 'é'.repeat(61))
  t.equal((await once(user, 'close'))[0], 1_000)
})

void test('webSocket.outboundBytesMax: small messages that wait count for what they take', async (t) => {
  let socket: UserSocket | undefined
  const { port } = await listening(t, {
    webSocket: {
      accept: (given) => {
        socket = given
      },
      outboundBytesMax: 1_000_000,
    },
  })
  const user = await upgradedByHand(port)
  user.pause()
  while (socket === undefined) await new Promise(setImmediate)
  let taken = 0
  while (taken < 100_000 && socket.send('x') === 'ok') taken++
  t.ok(taken >= 1_000 && taken <= 4_000, `${taken} messages of one byte in a turn`)
  user.resume()
  const deadlineMs = Date.now() + 10_000
  while (socket.send('y') !== 'ok' && Date.now() < deadlineMs) await new Promise(setImmediate)
  t.equal(socket.send('y'), 'ok', 'when they have left there is room again')
  user.destroy()
})

void test('webSocket: no upgrade behind a request that is not answered yet, for users and for nodes', async (t) => {
  let users = 0
  let answer: (() => void) | undefined
  const { port, refused, links } = await listening(t, {
    http: (_request, response) => {
      answer = () => void response.end('late')
    },
    webSocket: () => users++,
  })
  for (const path of ['/chat', NODE_PATH]) {
    const socket = connect(port, '127.0.0.1')
    socket.on('error', () => undefined)
    let heard = ''
    socket.on('data', (data) => (heard += String(data)))
    socket.write(`GET /slow HTTP/1.1\r\nHost: a\r\n\r\n${upgradeHead(path)}`)
    await once(socket, 'close')
    t.equal(heard, '', `${path}: the late answer would stand among the frames`)
    answer?.()
  }
  t.same([users, links.length], [0, 0])
  t.same(refused, ['upgrade', 'upgrade'])
  const reused = connect(port, '127.0.0.1')
  reused.write('GET /quick HTTP/1.1\r\nHost: a\r\n\r\n')
  while (answer === undefined) await new Promise(setImmediate)
  await new Promise((resolve) => setTimeout(resolve, 20))
  answer()
  await once(reused, 'data')
  reused.write(upgradeHead('/chat'))
  const [head] = (await once(reused, 'data')) as [Buffer]
  t.match(String(head), /^HTTP\/1.1 101 /, 'behind one that is answered it may be')
  reused.destroy()
})

void test('webSocket.origins: the header that version 8 has for it counts as well', async (t) => {
  const { port, refused } = await listening(t, { webSocket: () => undefined })
  const socket = connect(port, '127.0.0.1')
  socket.write(upgradeHead('/chat', 8, 'Sec-WebSocket-Origin: http://evil.example\r\n'))
  const [head] = (await once(socket, 'data')) as [Buffer]
  t.match(String(head), /^HTTP\/1.1 403 /)
  t.same(refused, ['origin'])
  socket.destroy()
})

void test('webSocket: noise, pings that nobody reads, frames of a tebibyte, messages without an end cost their own socket', async (t) => {
  const ends: number[] = []
  const { port, listener } = await listening(t, {
    webSocket: (socket) => {
      socket.onMessage((message) => socket.send(message))
      socket.onClose(({ status }) => ends.push(status))
    },
  })
  const frame = (head: readonly number[], bytes = 0): Buffer =>
    Buffer.concat([Buffer.from(head), Buffer.alloc(4 + bytes)])
  const attacks: readonly (readonly [string, Buffer, number])[] = [
    ['a frame of a tebibyte', frame([0x82, 0xff, 0, 0, 1, 0, 0, 0, 0, 0]), 1],
    ['a message of empty pieces without an end', frame([0x00, 0x80]), 2_000],
    ['no mask', Buffer.from([0x81, 0x01, 0x61]), 1],
    ['text that is none', frame([0x81, 0x82], 2).fill(0xff, 6), 1],
    ['an opcode that is none', frame([0x83, 0x80]), 1],
    ['another request', Buffer.from('GET / HTTP/1.1\r\nHost: a\r\n\r\n'), 1],
    ['pings', frame([0x89, 0xfd], 125), 100_000],
  ]
  for (const [what, bytes, times] of attacks) {
    const socket = await upgradedByHand(port)
    if (what === 'pings') socket.pause()
    if (what.startsWith('a message')) socket.write(frame([0x02, 0x81], 1))
    const before = ends.length
    const many = Buffer.concat(Array.from({ length: Math.min(times, 500) }, () => bytes))
    for (let sent = 0; sent < times && !socket.destroyed && ends.length === before; sent += 500) {
      if (!socket.write(many)) await new Promise(setImmediate)
    }
    const deadlineMs = Date.now() + 5_000
    while (ends.length === before && Date.now() < deadlineMs)
      await new Promise((resolve) => setTimeout(resolve, 5))
    t.equal(ends.length, before + 1, what)
    socket.destroy()
  }
  const user = browser(listener.address, undefined)
  await once(user, 'open')
  user.send('still there')
  t.equal(String((await once(user, 'message'))[0]), 'still there')
  user.terminate()
})

/** A user's WebSocket on a bare connection. */
async function upgradedByHand(port: number): Promise<Socket> {
  const socket = connect(port, '127.0.0.1')
  socket.on('error', () => undefined)
  socket.write(upgradeHead('/chat'))
  await once(socket, 'data')
  return socket
}

function upgradeHead(path: string, version = 13, more = ''): string {
  const protocol = path === NODE_PATH ? `Sec-WebSocket-Protocol: ${NODE_SUBPROTOCOL}\r\n` : more
  return (
    `GET ${path} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
    `Sec-WebSocket-Version: ${version}\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n${protocol}\r\n`
  )
}
