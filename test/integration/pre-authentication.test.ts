/** What strangers can do to a listener before anybody knows who they are: nothing that a good peer would notice. */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { Agent, get } from 'node:http'
import { connect, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { test, type Test } from 'tap'
import { WebSocket } from 'ws'
import type { Listening, Report } from '../fixtures/listening-transport.ts'
import { repoRoot } from '../support/source-scan.ts'
import { sourceModule } from '../support/source-module.ts'

type Link = import('../../packages/cluster/src/transport/transport.ts').Link
type ListenOptions = import('../../packages/cluster/src/transport/transport.ts').ListenOptions
type Options = import('../../packages/cluster/src/transport/server.ts').WebSocketTransportOptions
type NodeAddress = import('../../packages/cluster/src/transport/address.ts').NodeAddress

const { NODE_PATH, NODE_SUBPROTOCOL, webSocketTransport } = await sourceModule<
  typeof import('../../packages/cluster/src/transport/server.ts')
>('cluster', 'transport/server')
const { nodeAddress, parseAddress } = await sourceModule<
  typeof import('../../packages/cluster/src/transport/address.ts')
>('cluster', 'transport/address')

const pem = (name: string): string => readFileSync(`${repoRoot}/test/fixtures/tls/${name}`, 'utf8')
const tls = { cert: pem('node-a.pem'), key: pem('node-a.key'), ca: pem('ca.pem') }
const anyPort = nodeAddress('ws://127.0.0.1:0')
const portOf = (address: string): number => parseAddress(address).port
const crowd = 1_000
const halfARequest = `GET ${NODE_PATH} HTTP/1.1\r\nHost: a\r\nConnection: Upgr`

// ---- A process of its own, so that what it holds can be counted ----------------------------------------------------

interface Victim {
  readonly address: NodeAddress
  readonly report: () => Promise<Report>
}

async function victim(t: Test, options: Partial<Listening> = {}): Promise<Victim> {
  const child = fork(
    new URL('../fixtures/listening-transport.js', import.meta.url),
    [JSON.stringify({ address: anyPort, ...options })],
    { execArgv: ['--expose-gc'] },
  )
  t.teardown(async () => {
    child.kill('SIGKILL')
    await once(child, 'exit')
  })
  const [{ address }] = (await once(child, 'message')) as [{ address: NodeAddress }]
  const report = async (): Promise<Report> => {
    child.send('report')
    const [message] = (await once(child, 'message')) as [Report]
    return message
  }
  return { address, report }
}

/** Open sockets that do what `speak` does. Those that are closed are taken out. */
async function slowSockets(
  t: Test,
  address: string,
  count: number,
  speak: (socket: Socket) => void,
  from?: string,
): Promise<Set<Socket>> {
  const sockets = new Set<Socket>()
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
  })
  for (let n = 0; n < count; n++) {
    const socket = connect({
      port: portOf(address),
      host: '127.0.0.1',
      ...(from !== undefined && { localAddress: from }),
    })
    socket.on('error', () => undefined)
    socket.resume()
    socket.once('close', () => sockets.delete(socket))
    socket.once('connect', () => speak(socket))
    sockets.add(socket)
    // The queue of the listening socket is 511 long.
    if (n % 100 === 99) await once(socket, 'connect').catch(() => undefined)
  }
  return sockets
}

/** Resolves when all of them are closed by the other side. */
async function allClosed(sockets: Set<Socket>): Promise<void> {
  for (const socket of [...sockets]) {
    if (sockets.has(socket)) await new Promise((resolve) => socket.once('close', resolve))
  }
}

/** It dials until it is let in, and its link works. */
async function getsIn(t: Test, address: NodeAddress, options: Options = {}): Promise<number> {
  const transport = webSocketTransport(options)
  for (let tries = 1; ; tries++) {
    let link: Link
    try {
      link = await transport.dial(address)
    } catch (error) {
      t.match(error, { code: 'CLUSTER_DIAL_REJECTED', message: /too many links whose peer is not known/ })
      await new Promise((resolve) => setTimeout(resolve, 20))
      continue
    }
    const echo = new Promise<Uint8Array | undefined>((resolve) => {
      link.onFrame(resolve)
      link.onClose(() => resolve(undefined))
    })
    link.send(Uint8Array.of(1))
    const answer = await echo
    link.close()
    if (answer !== undefined) return tries
  }
}

/** Comes to an end when the last connection has. */
async function nothingHeld(report: Victim['report']): Promise<void> {
  while ((await report()).sockets > 0) await new Promise((resolve) => setTimeout(resolve, 20))
}

/** `silentConnectionsMax`, and some that are just being closed. */
const held = 512 + 16

/** Growth of the process, in MiB. */
function grown(before: Report, after: Report): { heap: number; rss: number } {
  const mib = (bytes: number): number => Math.round(bytes / 2 ** 20)
  return { heap: mib(after.heapBytes - before.heapBytes), rss: mib(after.rssBytes - before.rssBytes) }
}

const clientHello = Buffer.from('160301020001', 'hex')
const kinds: readonly [string, (socket: Socket) => void][] = [
  ['no byte', () => undefined],
  ['half a request', (socket) => socket.write(halfARequest)],
  ['15 KiB of headers', (socket) => socket.write(`${halfARequest}\r\nX: ${'x'.repeat(15_000)}`)],
]

for (const [kind, speak] of kinds) {
  void test(`1,000 open sockets, ${kind}: a good peer gets in, memory is bounded, and they are closed in time`, async (t) => {
    const { address, report } = await victim(t, { transport: { establishTimeoutMs: 2_000 } })
    await getsIn(t, address)
    const before = await report()
    const sockets = await slowSockets(t, address, crowd, speak)
    const during = await report()
    t.ok(during.sockets > 0 && during.sockets <= held, `${during.sockets} are held`)
    t.equal(await getsIn(t, address), 1, 'the first dial gets in')
    const { heap, rss } = grown(before, during)
    t.ok(heap < 32 && rss < 96, `the heap grew by ${heap} MiB, the process by ${rss} MiB`)
    await allClosed(sockets)
    await nothingHeld(report)
  })
}

void test('1,000 open sockets on TLS, no byte, half a hello, TLS and no request: the same', async (t) => {
  const { address, report } = await victim(t, {
    address: 'wss://127.0.0.1:0',
    transport: { tls, establishTimeoutMs: 3_000 },
  })
  await getsIn(t, address, { tls })
  const before = await report()
  let turn = 0
  const sockets = await slowSockets(t, address, crowd, (socket) => {
    turn++
    if (turn % 3 === 1) socket.write(clientHello)
    else if (turn % 10 === 0) connectTls({ socket, rejectUnauthorized: false }).on('error', () => undefined)
  })
  const during = await report()
  t.ok(during.sockets > 0 && during.sockets <= held, `${during.sockets} are held`)
  t.equal(await getsIn(t, address, { tls }), 1)
  const { heap, rss } = grown(before, during)
  t.ok(heap < 64 && rss < 160, `the heap grew by ${heap} MiB, the process by ${rss} MiB`)
  await allClosed(sockets)
  await nothingHeld(report)
})

/** The request of a node link, by hand. */
const upgrade =
  `GET ${NODE_PATH} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
  `Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n` +
  `Sec-WebSocket-Protocol: ${NODE_SUBPROTOCOL}\r\n\r\n`

void test('1,000 links on which no word comes, dialled again as soon as they are closed: a good peer gets in', async (t) => {
  const { address, report } = await victim(t, { transport: { establishTimeoutMs: 2_000 } })
  const before = await report()
  let isOver = false
  const sockets = new Set<Socket>()
  const attack = (): void => {
    if (isOver) return
    const socket = connect(portOf(address), '127.0.0.1', () => socket.write(upgrade))
    sockets.add(socket)
    socket.on('error', () => undefined).resume()
    socket.once('close', () => {
      sockets.delete(socket)
      setTimeout(attack, 100)
    })
  }
  t.teardown(() => {
    isOver = true
    for (const socket of sockets) socket.destroy()
  })
  for (let n = 0; n < crowd; n++) attack()
  let during = before
  while ((during.refused['crowded'] ?? 0) < crowd) during = await report()
  const tries = await getsIn(t, address)
  const { heap, rss } = grown(before, await report())
  t.ok(
    heap < 32 && rss < 128,
    `after ${tries} tries; the heap grew by ${heap} MiB, the process by ${rss} MiB`,
  )
})

// ---- One address and the others ------------------------------------------------------------------------------------

/** A client from another address of this machine. */
async function statusFrom(from: string, address: string): Promise<number> {
  const socket = new WebSocket(address + NODE_PATH, [NODE_SUBPROTOCOL], { localAddress: from })
  const status = await new Promise<number>((resolve) => {
    socket.once('open', () => resolve(101))
    socket.once('unexpected-response', (request, response) => {
      request.destroy()
      resolve(response.statusCode ?? 0)
    })
    socket.on('error', () => resolve(0))
  })
  socket.on('error', () => undefined)
  socket.terminate()
  return status
}

void test('by default 128 nodes of one machine may dial one of them at once', async (t) => {
  const { address, report } = await victim(t)
  const tries = await Promise.all(Array.from({ length: 128 }, () => getsIn(t, address)))
  t.equal(tries.length, 128)
  const { refused } = await report()
  t.same([refused['rate'], refused['address']], [undefined, undefined])
  t.comment(`turned away because of unestablishedMax, and dialled again: ${refused['crowded'] ?? 0}`)
})

// All of 127.0.0.0/8 is this machine on Linux only.
const skip = process.platform === 'linux' ? false : 'needs more than one loopback address'

void test('unestablishedPerAddressMax: one address cannot keep others out', { skip }, async (t) => {
  const { address, report } = await victim(t, { listen: { unestablishedPerAddressMax: 16 } })
  await slowSockets(t, address, crowd, (socket) => socket.write(halfARequest))
  let during = await report()
  while ((during.refused['crowded'] ?? 0) < crowd - 16) during = await report()
  t.equal(during.refused['crowded'], crowd - 16)
  t.equal(await statusFrom('127.0.0.2', address), 101)
  t.equal(await statusFrom('127.0.0.1', address), 503)
})

void test(
  'connectionsPerSecondPerAddress: a flood from one address is turned away, others are not',
  { skip },
  async (t) => {
    const { address, report } = await victim(t, {
      transport: { silentConnectionsMax: 2_000 },
      listen: { connectionsPerSecondPerAddress: 1 },
    })
    await slowSockets(t, address, crowd, (socket) => socket.write(halfARequest))
    let refused = 0
    while (refused < crowd - 100) refused = (await report()).refused['rate'] ?? 0
    t.equal(await statusFrom('127.0.0.2', address), 101)
  },
)

void test(
  'allowAddresses: nobody else gets a byte, HTTP included; the dialler is told why',
  { skip },
  async (t) => {
    const { address } = await victim(t, { listen: { allowAddresses: ['127.0.0.2'] } })
    t.equal(await statusFrom('127.0.0.2', address), 101)
    await t.rejects(webSocketTransport().dial(address), {
      code: 'CLUSTER_DIAL_REJECTED',
      message: /no connections from this address; mend its allowAddresses/,
    })
    t.equal(await statusOf(`http://127.0.0.1:${portOf(address)}/`), 403)
    await t.rejects(
      webSocketTransport().listen(anyPort, () => undefined, { allowAddresses: ['node-b.example'] }),
      { name: 'RangeError', message: /a connection has an address and no name/ },
    )
  },
)

function statusOf(url: string, agent?: Agent): Promise<number> {
  return new Promise((resolve, reject) => {
    get(url, { agent: agent ?? false }, (response) => {
      response.resume()
      response.on('end', () => resolve(response.statusCode ?? 0))
    }).on('error', reject)
  })
}

// ---- Each limit for itself -----------------------------------------------------------------------------------------

async function listening(t: Test, options: Options = {}, listenOptions: ListenOptions = {}) {
  const links: Link[] = []
  const refused: string[] = []
  const listener = await webSocketTransport(options).listen(anyPort, (link) => links.push(link), {
    onRefused: ({ reason }) => refused.push(reason),
    ...listenOptions,
  })
  t.teardown(() => listener.close())
  return { listener, links, refused, port: portOf(listener.address) }
}

void test('establishTimeoutMs: a request that comes byte by byte has no more time than one that does not come', async (t) => {
  const { port } = await listening(t, { establishTimeoutMs: 200 })
  const socket = connect(port, '127.0.0.1')
  socket.on('error', () => undefined).resume()
  let sent = 0
  const dribble = setInterval(() => socket.write(halfARequest[sent++ % 60] ?? ' '), 5)
  await new Promise((resolve) => socket.once('close', resolve))
  clearInterval(dribble)
  t.ok(sent > 1, `closed after ${sent} bytes`)
})

void test('a link whose peer is unknown may send 128 KiB in all, an established one as much as it likes', async (t) => {
  const { listener, links } = await listening(t)
  const transport = webSocketTransport()
  const unknown = await transport.dial(listener.address)
  const end = new Promise<string>((resolve) => links[0]?.onClose(({ code }) => resolve(code)))
  links[0]?.onFrame(() => undefined)
  for (let n = 0; n < 20; n++) unknown.send(new Uint8Array(10_000))
  t.equal(await end, 'CLUSTER_FRAME_TOO_BIG')
  const known = await transport.dial(listener.address)
  links[1]?.established()
  let bytes = 0
  const all = new Promise<void>((resolve) => {
    links[1]?.onFrame((frame) => {
      bytes += frame.byteLength
      if (bytes === 2_000_000) resolve()
    })
  })
  for (let n = 0; n < 20; n++) known.send(new Uint8Array(100_000))
  await all
  known.close()
})

void test('unestablishedMax: a link that had a quarter of its time is closed for a new one', async (t) => {
  const { listener } = await listening(t, { establishTimeoutMs: 400 }, { unestablishedMax: 1 })
  const transport = webSocketTransport()
  const first = await transport.dial(listener.address)
  const end = new Promise<string>((resolve) => first.onClose(({ code }) => resolve(code)))
  for (;;) {
    const second = await transport.dial(listener.address).catch(() => undefined)
    second?.close()
    if (second !== undefined) break
  }
  t.equal(await end, 'CLUSTER_LINK_NOT_ESTABLISHED')
})

void test('users of http are no strangers once their request is there; a node link after one counts anew', async (t) => {
  const { refused, port } = await listening(
    t,
    { http: (_request, response) => void response.end('hello') },
    { unestablishedPerAddressMax: 1 },
  )
  const agents: Agent[] = []
  t.teardown(() => agents.forEach((agent) => agent.destroy()))
  for (let n = 0; n < 20; n++) {
    const agent = new Agent({ keepAlive: true })
    agents.push(agent)
    t.equal(await statusOf(`http://127.0.0.1:${port}/`, agent), 200)
  }
  t.same(refused, [])
  const reader = async (): Promise<Socket> => {
    const socket = connect(port, '127.0.0.1')
    t.teardown(() => socket.destroy())
    socket.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
    t.match(String((await once(socket, 'data'))[0]), /^HTTP\/1\.1 200/)
    return socket
  }
  const first = await reader()
  const second = await reader()
  first.write(upgrade)
  t.match(String((await once(first, 'data'))[0]), /^HTTP\/1\.1 101/)
  second.write(upgrade)
  t.match(String((await once(second, 'data'))[0]), /^HTTP\/1\.1 503/)
  t.same(refused, ['crowded'])
})

void test('userConnectionsMax: users whose requests do not end leave room for nodes', async (t) => {
  const { listener, refused, port } = await listening(t, {
    connectionsMax: 12,
    userConnectionsMax: 4,
    http: () => undefined,
    webSocket: () => undefined,
  })
  const slow = 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nx'
  const sockets = await slowSockets(t, listener.address, 8, (socket) => socket.write(slow))
  while (sockets.size > 4) await new Promise(setImmediate)
  t.same(refused, ['crowded', 'crowded', 'crowded', 'crowded'])
  t.equal(await statusOf(`http://127.0.0.1:${port}/`), 503)
  const user = new WebSocket(`${listener.address}/chat`)
  user.on('error', () => undefined)
  const [, response] = await once(user, 'unexpected-response')
  t.equal(response.statusCode, 503)
  user.terminate()
  const link = await webSocketTransport().dial(listener.address)
  link.close()
})

void test('connectionsMax: what is above it is dropped, and told', async (t) => {
  const refused: string[] = []
  const told = new Promise<void>((resolve) => {
    void listening(
      t,
      { connectionsMax: 2 },
      {
        onRefused: ({ reason }) => {
          refused.push(reason)
          resolve()
        },
      },
    ).then(({ listener }) => slowSockets(t, listener.address, 3, () => undefined))
  })
  await told
  t.same(refused, ['crowded'])
})

void test('Listener.close: does not wait for those who never said anything', async (t) => {
  for (const options of [{}, { tls }] satisfies Options[]) {
    const address = nodeAddress('tls' in options ? 'wss://127.0.0.1:0' : 'ws://127.0.0.1:0')
    const transport = webSocketTransport({
      ...options,
      closeTimeoutMs: 600_000,
      establishTimeoutMs: 600_000,
    })
    const listener = await transport.listen(address, () => undefined)
    const silent = await slowSockets(t, listener.address, 20, () => undefined)
    const slow = await slowSockets(t, listener.address, 20, (socket) => socket.write(clientHello))
    await webSocketTransport(options).dial(listener.address)
    await listener.close()
    await Promise.all([allClosed(silent), allClosed(slow)])
    t.pass('closed')
  }
})
