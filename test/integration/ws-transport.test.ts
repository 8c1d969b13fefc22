import { transportContract } from '@understudy/cluster/testkit'
import { once } from 'node:events'
import { get } from 'node:http'
import { connect, createServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import { test } from 'tap'
import { WebSocket } from 'ws'
import { sourceModule } from '../support/source-module.ts'

type CloseReason = import('../../packages/cluster/src/transport/transport.ts').CloseReason
type Link = import('../../packages/cluster/src/transport/transport.ts').Link

const { NODE_PATH, NODE_SUBPROTOCOL, webSocketTransport } = await sourceModule<
  typeof import('../../packages/cluster/src/transport/server.ts')
>('cluster', 'transport/server')
const { nodeAddress, parseAddress } = await sourceModule<
  typeof import('../../packages/cluster/src/transport/address.ts')
>('cluster', 'transport/address')

const anyPort = nodeAddress('ws://127.0.0.1:0')
const portOf = (address: string): number => parseAddress(address).port
const closed = (link: Link): Promise<CloseReason> => new Promise((resolve) => link.onClose(resolve))

void test('webSocketTransport keeps the transport contract', async (t) => {
  transportContract((name, run) => t.test(name, (own) => run(own)), webSocketTransport)
})

/** A WebSocket client that is not ours, to say what ours never says. */
function stranger(
  address: string,
  options: { readonly path?: string; readonly protocol?: string; readonly origin?: string },
) {
  const { path = NODE_PATH, protocol = NODE_SUBPROTOCOL, origin } = options
  return new WebSocket(
    address + path,
    protocol === '' ? [] : [protocol],
    origin === undefined ? {} : { origin },
  )
}

void test('Transport.listen: a request that is no node link is refused with 4xx and told', async (t) => {
  const refused: string[] = []
  let links = 0
  const listener = await webSocketTransport().listen(
    anyPort,
    () => {
      links++
    },
    { onRefused: ({ reason }) => refused.push(reason) },
  )
  t.teardown(() => listener.close())
  const statusOf = async (client: WebSocket): Promise<number> => {
    const [request, response] = await once(client, 'unexpected-response')
    client.on('error', () => undefined)
    request.destroy()
    return response.statusCode
  }
  t.equal(await statusOf(stranger(listener.address, { protocol: '' })), 400)
  t.equal(await statusOf(stranger(listener.address, { protocol: 'understudy.2' })), 400)
  t.equal(await statusOf(stranger(listener.address, { path: '/' })), 404)
  t.equal(await statusOf(stranger(listener.address, { origin: 'http://127.0.0.1' })), 403)
  t.same(refused, ['subprotocol', 'subprotocol', 'path', 'browser'])
  t.equal(links, 0)
})

void test('Transport.listen: an upgrade to something else is refused', async (t) => {
  const listener = await webSocketTransport().listen(anyPort, () => undefined)
  t.teardown(() => listener.close())
  const socket = connect(portOf(listener.address), '127.0.0.1')
  socket.end(`GET ${NODE_PATH} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n`)
  const [head] = await once(socket, 'data')
  t.match(String(head), /^HTTP\/1\.1 400 /)
  socket.destroy()
})

void test('Link: a text frame is refused, the listener stays up', async (t) => {
  const ends: Array<Promise<CloseReason>> = []
  const listener = await webSocketTransport().listen(anyPort, (link) => {
    ends.push(closed(link))
  })
  t.teardown(() => listener.close())
  const client = stranger(listener.address, {})
  await once(client, 'open')
  client.send('hello')
  const [status] = await once(client, 'close')
  t.equal(status, 1003)
  t.equal((await ends[0])?.code, 'CLUSTER_FRAME_NOT_BINARY')
  const link = await webSocketTransport().dial(listener.address)
  t.equal(link.send(new Uint8Array(8)), 'ok')
  link.close()
})

void test('Link: the head of a 100 MB frame ends the link before anything is buffered', async (t) => {
  const ends: Array<Promise<CloseReason>> = []
  const listener = await webSocketTransport().listen(anyPort, (link) => {
    ends.push(closed(link))
  })
  t.teardown(() => listener.close())
  const socket = await upgraded(listener.address)
  const head = Buffer.alloc(14)
  head.set([0x82, 0xff])
  head.writeUIntBE(100 * 2 ** 20, 4, 6)
  socket.write(head)
  await new Promise((resolve) => socket.once('data', resolve))
  t.equal((await ends[0])?.code, 'CLUSTER_FRAME_TOO_BIG')
  socket.destroy()
})

void test('Link: a message in pieces arrives whole; one in too many pieces, or too long in all, ends the link', async (t) => {
  const ends: Array<Promise<CloseReason>> = []
  const got: number[] = []
  const listener = await webSocketTransport({ frameBytesMax: 1_024 }).listen(anyPort, (link) => {
    link.onFrame((frame) => got.push(frame.byteLength))
    ends.push(closed(link))
  })
  t.teardown(() => listener.close())
  const client = stranger(listener.address, {})
  await once(client, 'open')
  for (let n = 0; n < 8; n++) client.send(new Uint8Array(128), { fin: n === 7 })
  for (let n = 0; n < 9; n++) client.send(new Uint8Array(128), { fin: n === 8 })
  await once(client, 'close')
  t.same(got, [1_024])
  t.equal((await ends[0])?.code, 'CLUSTER_FRAME_TOO_BIG')
  const crumbs = stranger(listener.address, {})
  crumbs.on('error', () => undefined)
  await once(crumbs, 'open')
  for (let n = 0; n < 2_000; n++) crumbs.send(new Uint8Array(0), { fin: false })
  await once(crumbs, 'close')
  t.equal((await ends[1])?.code, 'CLUSTER_LINK_PROTOCOL')
})

void test('Link: bytes that are no WebSocket frame end the link with CLUSTER_LINK_PROTOCOL', async (t) => {
  const ends: Array<Promise<CloseReason>> = []
  const listener = await webSocketTransport().listen(anyPort, (link) => {
    ends.push(closed(link))
  })
  t.teardown(() => listener.close())
  const socket = await upgraded(listener.address)
  socket.end(Buffer.alloc(64, 0xff))
  t.equal((await ends[0])?.code, 'CLUSTER_LINK_PROTOCOL')
  socket.destroy()
})

void test('Link.send: closed as soon as the peer said so, although its connection still stands', async (t) => {
  const links: Link[] = []
  const listener = await webSocketTransport({ closeTimeoutMs: 100 }).listen(anyPort, (link) =>
    links.push(link),
  )
  t.teardown(() => listener.close())
  const socket = await upgraded(listener.address)
  socket.write(Buffer.from([0x88, 0x80, 0, 0, 0, 0]))
  await once(socket, 'data')
  t.equal(links[0]?.send(new Uint8Array(8)), 'closed')
  socket.destroy()
})

void test('Link: half-open closing and a reset are CLUSTER_LINK_LOST', async (t) => {
  const ends: Array<Promise<CloseReason>> = []
  const listener = await webSocketTransport().listen(anyPort, (link) => {
    ends.push(closed(link))
  })
  t.teardown(() => listener.close())
  const half = await upgraded(listener.address)
  half.end()
  const reset = await upgraded(listener.address)
  reset.resetAndDestroy()
  for (const end of ends) t.equal((await end).code, 'CLUSTER_LINK_LOST')
  half.destroy()
})

void test('Link: the word of a peer that is no code of ours is not shown as one', async (t) => {
  const ends: Array<Promise<CloseReason>> = []
  const listener = await webSocketTransport().listen(anyPort, (link) => {
    ends.push(closed(link))
  })
  t.teardown(() => listener.close())
  for (const [status, text] of [
    [4_000, 'hello'],
    [1_000, ''],
    [4_000, 'CLUSTER_FROM_THE_PEER'],
  ] as const) {
    const client = stranger(listener.address, {})
    await once(client, 'open')
    client.close(status, text)
  }
  t.same(
    (await Promise.all(ends)).map(({ code }) => code),
    ['CLUSTER_LINK_CLOSED', 'CLUSTER_LINK_CLOSED', 'CLUSTER_FROM_THE_PEER'],
  )
})

void test('Link.established: an accepted link without it is closed after establishTimeoutMs', async (t) => {
  const transport = webSocketTransport({ establishTimeoutMs: 50 })
  const accepted: Link[] = []
  const listener = await transport.listen(anyPort, (link) => {
    accepted.push(link)
    if (accepted.length === 1) link.established()
  })
  t.teardown(() => listener.close())
  const known = await transport.dial(listener.address)
  const unknown = await transport.dial(listener.address)
  t.equal((await closed(unknown)).code, 'CLUSTER_LINK_NOT_ESTABLISHED')
  t.equal(known.send(new Uint8Array(8)), 'ok')
})

void test('Transport.dial: CLUSTER_DIAL_TIMEOUT for a machine that never answers, and no handle is left', async (t) => {
  const sockets: Socket[] = []
  const silent = createServer((socket) => {
    sockets.push(socket.on('error', () => undefined))
  }).listen(0, '127.0.0.1')
  await once(silent, 'listening')
  const address = nodeAddress(`ws://127.0.0.1:${(silent.address() as AddressInfo).port}`)
  await t.rejects(webSocketTransport().dial(address, { timeoutMs: 30 }), { code: 'CLUSTER_DIAL_TIMEOUT' })
  for (const socket of sockets) socket.destroy()
  silent.close()
  await once(silent, 'close')
})

void test('Transport.dial: CLUSTER_DIAL_REJECTED by a server that is no node, with its status', async (t) => {
  const transport = webSocketTransport()
  const listener = await transport.listen(anyPort, () => undefined, { unestablishedMax: 1 })
  t.teardown(() => listener.close())
  const first = await transport.dial(listener.address)
  await t.rejects(transport.dial(listener.address), {
    code: 'CLUSTER_DIAL_REJECTED',
    message: /HTTP status 503/,
  })
  first.close()
})

void test('webSocketTransport.http: serves the same port, its failures are 500, without it 404', async (t) => {
  const failures: unknown[] = []
  const transport = webSocketTransport({
    http: async (request, response) => {
      if (request.url === '/sync') throw new Error('sync')
      await Promise.resolve()
      if (request.url === '/async') throw new Error('async')
      response.end(`hello ${request.url}`)
    },
    onHttpError: (error) => failures.push((error as Error).message),
  })
  const listener = await transport.listen(anyPort, () => undefined)
  t.teardown(() => listener.close())
  t.equal(await fetched(listener.address, '/a?b'), '200 hello /a?b')
  t.match(await fetched(listener.address, '/sync'), /^500 /)
  t.match(await fetched(listener.address, '/async'), /^500 /)
  t.same(failures, ['sync', 'async'])
  t.match(await fetched(listener.address, NODE_PATH), /^426 /, 'the path of node links is not for users')
  const link = await transport.dial(listener.address)
  t.equal(link.send(new Uint8Array(8)), 'ok')
  link.close()
  const bare = await webSocketTransport().listen(anyPort, () => undefined)
  t.teardown(() => bare.close())
  t.match(await fetched(bare.address, '/'), /^404 /)
})

void test('Transport.listen: CLUSTER_LISTEN_FAILED for an address of another machine, CLUSTER_PORT_IN_USE names the mend', async (t) => {
  const transport = webSocketTransport()
  await t.rejects(
    transport.listen(nodeAddress('ws://192.0.2.1:0'), () => undefined),
    { code: 'CLUSTER_LISTEN_FAILED' },
  )
  const listener = await transport.listen(anyPort, () => undefined)
  t.teardown(() => listener.close())
  await t.rejects(
    transport.listen(listener.address, () => undefined),
    { message: /port is in use.*another port/ },
  )
  await t.rejects(transport.dial(anyPort), { code: 'CLUSTER_BAD_ADDRESS' })
})

void test('Listener.close: ends although a peer never answers and a request hangs', async (t) => {
  const transport = webSocketTransport({ closeTimeoutMs: 50, http: () => undefined })
  const listener = await transport.listen(anyPort, (link) => link.established())
  const socket = await upgraded(listener.address)
  socket.pause()
  const request = get({ port: portOf(listener.address), path: '/hangs' }).on('error', () => undefined)
  await once(request, 'socket')
  await listener.close()
  socket.destroy()
  request.destroy()
  t.pass('closed')
})

void test('webSocketTransport: RangeError for options out of range', (t) => {
  t.throws(() => webSocketTransport({ closeTimeoutMs: 0 }), RangeError)
  t.throws(() => webSocketTransport({ establishTimeoutMs: 1e9 }), RangeError)
  t.throws(() => webSocketTransport({ connectionsMax: 1.5 }), RangeError)
  t.end()
})

/** A TCP connection that has been made a node link by hand, for bytes that no client would send. */
async function upgraded(address: string): Promise<Socket> {
  const socket = connect({ port: portOf(address), host: '127.0.0.1', allowHalfOpen: true })
  socket.on('error', () => undefined)
  socket.write(
    `GET ${NODE_PATH} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
      `Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n` +
      `Sec-WebSocket-Protocol: ${NODE_SUBPROTOCOL}\r\n\r\n`,
  )
  await once(socket, 'data')
  return socket
}

function fetched(address: string, path: string): Promise<string> {
  return new Promise((resolve, reject) => {
    get({ port: portOf(address), path, agent: false }, (response) => {
      let text = `${response.statusCode ?? 0} `
      response.on('data', (chunk) => (text += String(chunk)))
      response.on('end', () => resolve(text))
    }).on('error', reject)
  })
}

void test('Transport.dial: a name that means no address fails with CLUSTER_DIAL_FAILED and says so', async (t) => {
  // RFC 6761: .invalid never resolves, and asking for it leaves no machine.
  await t.rejects(webSocketTransport().dial(nodeAddress('ws://host.invalid:7001')), {
    code: 'CLUSTER_DIAL_FAILED',
    message: /Cannot dial "ws:\/\/host\.invalid:7001"/,
  })
})
