/** Links with TLS: who is let through, who is not and why, and how certificates change while links stand. */
import { transportContract } from '@understudy/cluster/testkit'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { get } from 'node:https'
import { createServer as createPlainServer } from 'node:net'
import { connect, createServer, type TLSSocket, type TlsOptions } from 'node:tls'
import type { AddressInfo } from 'node:net'
import { test, type Test } from 'tap'
import { WebSocket } from 'ws'
import { repoRoot } from '../support/source-scan.ts'
import { sourceModule } from '../support/source-module.ts'

type Link = import('../../packages/cluster/src/transport/transport.ts').Link
type Listener = import('../../packages/cluster/src/transport/transport.ts').Listener
type Refusal = import('../../packages/cluster/src/transport/transport.ts').Refusal
type TlsMaterial = import('../../packages/cluster/src/transport/tls.ts').TlsMaterial
type Options = import('../../packages/cluster/src/transport/server.ts').WebSocketTransportOptions
type NodeAddress = import('../../packages/cluster/src/transport/address.ts').NodeAddress

const { NODE_PATH, NODE_SUBPROTOCOL, webSocketTransport } = await sourceModule<
  typeof import('../../packages/cluster/src/transport/server.ts')
>('cluster', 'transport/server')
const { formatAddress, nodeAddress, parseAddress } = await sourceModule<
  typeof import('../../packages/cluster/src/transport/address.ts')
>('cluster', 'transport/address')
const { peerCertificate } = await sourceModule<typeof import('../../packages/cluster/src/transport/tls.ts')>(
  'cluster',
  'transport/tls',
)

const pem = (name: string): string => readFileSync(`${repoRoot}/test/fixtures/tls/${name}`, 'utf8')
const ca = pem('ca.pem')
const pair = (name: string): { cert: string; key: string } => ({
  cert: pem(`${name}.pem`),
  key: pem(`${name}.key`),
})
const nodeA: TlsMaterial = { ...pair('node-a'), ca }
const nodeB: TlsMaterial = { ...pair('node-b'), ca }
const anyPort = nodeAddress('wss://127.0.0.1:0')
const portOf = (address: string): number => parseAddress(address).port

void test('webSocketTransport keeps the transport contract with TLS', async (t) => {
  transportContract(
    (name, run) => t.test(name, (own) => run(own)),
    (limits) => webSocketTransport({ ...limits, tls: nodeA }),
    { address: anyPort },
  )
})

interface Opened {
  readonly listener: Listener
  readonly links: Link[]
  readonly refused: Refusal[]
  readonly transport: ReturnType<typeof webSocketTransport>
}

async function opened(t: Test, options: Options): Promise<Opened> {
  const links: Link[] = []
  const refused: Refusal[] = []
  const transport = webSocketTransport(options)
  const listener = await transport.listen(
    anyPort,
    (link) => {
      link.established()
      links.push(link)
    },
    { onRefused: (refusal) => refused.push(refusal) },
  )
  t.teardown(() => listener.close())
  return { listener, links, refused, transport }
}

/** A TLS server that is no node, with a certificate that ours would not use itself. */
async function server(t: Test, options: TlsOptions): Promise<NodeAddress> {
  const listening = createServer({ key: pem('node-a.key'), cert: pem('node-a.pem'), ...options })
  listening.on('secureConnection', (socket) => socket.on('error', () => undefined))
  listening.on('tlsClientError', () => undefined)
  listening.listen(0, '127.0.0.1')
  await once(listening, 'listening')
  t.teardown(() => listening.close())
  return formatAddress('127.0.0.1', (listening.address() as AddressInfo).port, true)
}

const dialB = (address: NodeAddress): Promise<Link> => webSocketTransport({ tls: nodeB }).dial(address)

// ---- Who is let through ------------------------------------------------------------------------------------------

void test('wss: a link between two with certificates of one authority; each learns who the other is', async (t) => {
  const { listener, links, refused } = await opened(t, { tls: nodeA })
  t.match(listener.address, /^wss:\/\/127\.0\.0\.1:[1-9]/)
  const near = await dialB(listener.address)
  const echo = new Promise<Uint8Array>((resolve) => near.onFrame(resolve))
  const [far] = links
  far?.onFrame((frame) => far.send(frame))
  near.send(Uint8Array.of(1, 2, 3))
  t.same([...(await echo)], [1, 2, 3])
  t.match(far?.remoteAddress, /^wss:/)
  t.same(near.peerCertificate, {
    subject: 'O=Understudy tests, CN=node-a',
    names: ['node-a.example', 'localhost', '127.0.0.1', '0:0:0:0:0:0:0:1'],
  })
  t.same(far?.peerCertificate, {
    subject: 'O=Understudy tests, CN=node-b',
    names: ['node-b.example', 'understudy:node-b', 'localhost', '127.0.0.1', '0:0:0:0:0:0:0:1'],
  })
  t.same(refused, [])
})

void test('wss: dialling refuses a certificate that is expired, for another host, or of another authority, and says so', async (t) => {
  const cases: [string, RegExp][] = [
    ['expired', /its certificate has expired; give that node a new one .*CERT_HAS_EXPIRED/],
    ['wrong-host', /for another host; dial it by a name in its certificate.*it bears DNS:elsewhere\.example/],
    ['other', /of an authority that is not in our "ca"; add that authority/],
  ]
  for (const [name, message] of cases) {
    const address = await server(t, pair(name))
    await t.rejects(dialB(address), { code: 'CLUSTER_TLS_REJECTED', message }, name)
  }
})

void test('wss: TLSv1.3 by default; another version, and no TLS at all, are CLUSTER_TLS_REJECTED', async (t) => {
  const old = await server(t, { maxVersion: 'TLSv1.2' })
  const rejected = { code: 'CLUSTER_TLS_REJECTED', message: /no version of TLS that both speak/ }
  await t.rejects(dialB(old), rejected)
  const { listener } = await opened(t, { tls: nodeA })
  const client = connect({ port: portOf(listener.address), host: '127.0.0.1', ca, maxVersion: 'TLSv1.2' })
  const [error] = (await once(client, 'error')) as [NodeJS.ErrnoException]
  t.match(error.code, /PROTOCOL_VERSION/)
  const relaxed = await opened(t, { tls: { ...nodeA, minVersion: 'TLSv1.2' } })
  const second = connect({
    port: portOf(relaxed.listener.address),
    host: '127.0.0.1',
    ca,
    maxVersion: 'TLSv1.2',
  })
  await once(second, 'secureConnect')
  t.equal(second.getProtocol(), 'TLSv1.2')
  second.destroy()

  const plain = createPlainServer((socket) => {
    socket.on('error', () => undefined).end('HTTP/1.1 400 Bad Request\r\n\r\n')
  }).listen(0, '127.0.0.1')
  await once(plain, 'listening')
  t.teardown(() => plain.close())
  const address = formatAddress('127.0.0.1', (plain.address() as AddressInfo).port, true)
  await t.rejects(dialB(address), { code: 'CLUSTER_TLS_REJECTED', message: /does not speak TLS.*"ws:/ })
})

void test('tls.serverName: the name that certificates must bear, whatever the address', async (t) => {
  const { listener } = await opened(t, { tls: { ...pair('wrong-host'), ca } })
  const named = webSocketTransport({ tls: { ...nodeB, serverName: 'elsewhere.example' } })
  const link = await named.dial(listener.address)
  t.same(link.peerCertificate?.names, ['elsewhere.example'])
  link.close()
  const misnamed = webSocketTransport({ tls: { ...nodeB, serverName: 'node-b.example' } })
  await t.rejects(misnamed.dial(listener.address), {
    code: 'CLUSTER_TLS_REJECTED',
    message: /node-b\.example/,
  })
})

// ---- Mutual TLS --------------------------------------------------------------------------------------------------

/** A client with TLS that is none of ours. */
function client(address: string, own: object): WebSocket {
  const socket = new WebSocket(address + NODE_PATH, [NODE_SUBPROTOCOL], { ca, ...own })
  socket.on('error', () => undefined)
  return socket
}

void test('mutual TLS: no certificate, one of another authority, an expired one: no node link, and both sides are told', async (t) => {
  const { listener, links, refused } = await opened(t, { tls: nodeA })
  for (const own of [{}, pair('other'), pair('expired')]) {
    const stranger = client(listener.address, own)
    const [request, response] = await once(stranger, 'unexpected-response')
    t.equal(response.statusCode, 403)
    t.equal(response.headers['x-understudy-refused'], 'certificate')
    request.destroy()
  }
  t.match(refused, [
    { reason: 'certificate', remoteAddress: /^wss:\/\/127/ },
    { reason: 'certificate', detail: /UNABLE_TO_VERIFY|UNABLE_TO_GET_ISSUER/ },
    { reason: 'certificate', detail: 'CERT_HAS_EXPIRED' },
  ])
  const foreign = webSocketTransport({ tls: { ...pair('other'), ca } })
  await t.rejects(foreign.dial(listener.address), {
    code: 'CLUSTER_TLS_REJECTED',
    message: /demands a certificate of its "ca"/,
  })
  t.equal(links.length, 0)
})

void test('mutual TLS: a server that demands a certificate during the handshake is CLUSTER_TLS_REJECTED too', async (t) => {
  const address = await server(t, { ca: pem('other-ca.pem'), requestCert: true, rejectUnauthorized: true })
  const outcome = await dialB(address).catch((error: unknown) => error)
  // The peer of Node.js cuts the line without an alert once it has seen the certificate; others send one.
  t.match(outcome, { code: /^CLUSTER_(?:TLS_REJECTED|DIAL_FAILED)$/ })
})

void test('mutual TLS: with requirePeerCertificate false a dialler may be without, and is nobody then', async (t) => {
  const { listener, links } = await opened(t, { tls: { ...nodeA, requirePeerCertificate: false } })
  for (const own of [{}, pair('other')]) {
    const stranger = client(listener.address, own)
    await once(stranger, 'open')
    stranger.terminate()
  }
  const near = await dialB(listener.address)
  t.same(
    links.map((link) => link.peerCertificate?.subject),
    [undefined, undefined, 'O=Understudy tests, CN=node-b'],
  )
  near.close()
})

void test('mutual TLS: users need no certificate, for HTTP and for WebSockets', async (t) => {
  const { listener } = await opened(t, {
    tls: nodeA,
    http: (_request, response) => void response.end('hello'),
    webSocket: (socket) => void socket.send('hello'),
  })
  const page = await new Promise<string>((resolve, reject) => {
    get({ port: portOf(listener.address), host: '127.0.0.1', ca, agent: false }, (response) => {
      response.on('data', (chunk) => resolve(String(chunk)))
    }).on('error', reject)
  })
  t.equal(page, 'hello')
  const own = `https://127.0.0.1:${portOf(listener.address)}`
  const user = new WebSocket(`${listener.address}/chat`, { ca, origin: own })
  const [message] = await once(user, 'message')
  t.equal(String(message), 'hello')
  user.terminate()
  const insecure = new WebSocket(`${listener.address}/chat`, { ca, origin: own.replace('https', 'http') })
  insecure.on('error', () => undefined)
  const [, response] = await once(insecure, 'unexpected-response')
  t.equal(response.statusCode, 403, 'the same host without TLS is another origin')
  insecure.terminate()
})

void test('tls: no session is resumed: a certificate is looked at for every link', async (t) => {
  const { listener } = await opened(t, { tls: nodeA })
  const options = { port: portOf(listener.address), host: '127.0.0.1', ca, ...pair('node-b') }
  const first = connect(options)
  let session: Buffer | undefined
  first.on('session', (given) => {
    session = given
  })
  first.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
  await once(first, 'data')
  first.destroy()
  const second = connect({ ...options, ...(session !== undefined && { session }) })
  await once(second, 'secureConnect')
  t.equal(second.isSessionReused(), false)
  second.destroy()
})

const ended = (socket: { once: (event: 'close', listener: () => void) => unknown }): Promise<void> =>
  new Promise((resolve) => socket.once('close', resolve))

void test('tls: a failed handshake is told, and the listener stays up', async (t) => {
  const { listener, refused } = await opened(t, { tls: nodeA })
  const distrustful = connect({ port: portOf(listener.address), host: '127.0.0.1' })
  distrustful.on('error', () => undefined)
  await ended(distrustful)
  const plain = new WebSocket(listener.address.replace('wss', 'ws') + NODE_PATH, [NODE_SUBPROTOCOL])
  plain.on('error', () => undefined)
  await ended(plain)
  const near = await dialB(listener.address)
  near.close()
  t.ok(
    refused.some(({ reason, detail }) => reason === 'tls' && detail !== undefined),
    JSON.stringify(refused),
  )
})

// ---- Rotation ----------------------------------------------------------------------------------------------------

/** The serial number of the certificate that a listener shows now. */
async function shown(address: string): Promise<string> {
  const socket: TLSSocket = connect({ port: portOf(address), host: '127.0.0.1', rejectUnauthorized: false })
  await once(socket, 'secureConnect')
  const { serialNumber } = socket.getPeerCertificate()
  socket.destroy()
  return serialNumber
}

void test('reloadTls: new links get the new certificate and authorities, standing ones stay', async (t) => {
  let material: TlsMaterial = nodeA
  let asked = 0
  const { listener, links, transport } = await opened(t, {
    tls: async () => {
      asked++
      return material
    },
  })
  const near = await dialB(listener.address)
  const before = await shown(listener.address)
  const stranger = webSocketTransport({ tls: { ...pair('other'), ca } })
  await t.rejects(stranger.dial(listener.address), { code: 'CLUSTER_TLS_REJECTED' })
  t.equal(asked, 1)

  material = { ...pair('node-a-next'), ca: [ca, pem('other-ca.pem')] }
  await transport.reloadTls()
  t.equal(asked, 2)
  t.not(await shown(listener.address), before)
  const welcome = await stranger.dial(listener.address)
  t.equal(links.at(-1)?.peerCertificate?.subject, 'O=Understudy tests, CN=other')
  welcome.close()
  const echo = new Promise<Uint8Array>((resolve) => near.onFrame(resolve))
  links[0]?.send(Uint8Array.of(7))
  t.same([...(await echo)], [7], 'the link from before stands')
  near.close()
})

void test('reloadTls: dials use the new material too', async (t) => {
  let material: TlsMaterial = { ...pair('other'), ca }
  const dialler = webSocketTransport({ tls: () => material })
  const { listener, links } = await opened(t, { tls: nodeA })
  await t.rejects(dialler.dial(listener.address), { code: 'CLUSTER_TLS_REJECTED' })
  material = nodeB
  await dialler.reloadTls()
  const near = await dialler.dial(listener.address)
  t.equal(links[0]?.peerCertificate?.subject, 'O=Understudy tests, CN=node-b')
  near.close()
})

void test('reloadTls: material that cannot be used is CLUSTER_BAD_TLS, and the old one stays in use', async (t) => {
  let material: () => TlsMaterial = () => nodeA
  const { listener, transport } = await opened(t, { tls: () => material() })
  const before = await shown(listener.address)
  const bad: [string, () => TlsMaterial, RegExp][] = [
    ['no PEM', () => ({ ...nodeA, cert: 'garbage' }), /"cert" must be PEM/],
    ['half a PEM', () => ({ ...nodeA, cert: nodeA.cert.slice(0, -80) }), /"cert" has no "-----BEGIN CERT/],
    [
      'damaged PEM',
      () => ({ ...nodeA, cert: String(nodeA.cert).replace(/\n[A-Za-z0-9+/]{64}\n/, '\n') }),
      /cannot be read/,
    ],
    ['damaged ca', () => ({ ...nodeA, ca: [ca, '-----BEGIN nothing'] }), /"ca" has no/],
    ['another key', () => ({ ...nodeA, key: nodeB.key }), /"key" is not the private key of "cert"/],
    ['expired', () => ({ ...pair('expired'), ca }), /"cert" expired on Jan {2}2 .*2020/],
    ['no ca any more', () => pair('node-a'), /had "ca" and the new one has none/],
    [
      'mutual without ca',
      () => ({ ...pair('node-a'), requirePeerCertificate: true }),
      /"requirePeerCertificate" needs "ca"/,
    ],
    ['an address as name', () => ({ ...nodeA, serverName: '10.0.0.1' }), /"serverName" must be a host name/],
    [
      'who cannot read its file',
      () => {
        throw new Error('no such file')
      },
      /no such file/,
    ],
  ]
  for (const [name, give, message] of bad) {
    material = give
    await t.rejects(transport.reloadTls(), { code: 'CLUSTER_BAD_TLS', message }, name)
    t.equal(await shown(listener.address), before, `${name}: the old certificate is shown`)
    const own = await transport.dial(listener.address)
    own.close()
  }
  material = () => nodeA
  const near = await dialB(listener.address)
  near.close()
  await t.rejects(webSocketTransport().reloadTls(), { code: 'CLUSTER_BAD_TLS', message: /without "tls"/ })
})

void test('reloadTls: of two at once the last one stands', async (t) => {
  const waiting: ((material: TlsMaterial) => void)[] = []
  let isFirst = true
  const { listener, transport } = await opened(t, {
    tls: () => {
      if (!isFirst) return new Promise<TlsMaterial>((resolve) => waiting.push(resolve))
      isFirst = false
      return nodeA
    },
  })
  const first = transport.reloadTls()
  const second = transport.reloadTls()
  for (let n = 0; n < 10; n++) await new Promise(setImmediate)
  t.equal(waiting.length, 1, 'the second one waits for the first')
  waiting[0]?.(nodeA)
  await first
  while (waiting.length < 2) await new Promise(setImmediate)
  waiting[1]?.({ ...pair('node-a-next'), ca })
  await second
  const serial = await shown(listener.address)
  const other = await opened(t, { tls: { ...pair('node-a-next'), ca } })
  t.equal(serial, await shown(other.listener.address))
})

// ---- Addresses and loading ---------------------------------------------------------------------------------------

void test('tls: addresses say what is spoken: with it nothing goes without, without it nothing with', async (t) => {
  const secure = webSocketTransport({ tls: nodeA })
  const plain = webSocketTransport()
  const ws = nodeAddress('ws://127.0.0.1:7001')
  const wss = nodeAddress('wss://127.0.0.1:7001')
  await t.rejects(
    secure.listen(ws, () => undefined),
    { code: 'CLUSTER_BAD_TLS', message: /begin with wss/ },
  )
  await t.rejects(
    plain.listen(wss, () => undefined),
    { code: 'CLUSTER_BAD_TLS', message: /needs the option "tls"/ },
  )
  await t.rejects(secure.dial(ws), { code: 'CLUSTER_TLS_REJECTED', message: /begin with wss/ })
  await t.rejects(plain.dial(wss), { code: 'CLUSTER_BAD_TLS', message: /needs the option "tls"/ })
})

void test('tls: a function that fails or hangs at first is asked again, and a dial does not wait for it for ever', async (t) => {
  const { listener } = await opened(t, { tls: nodeA })
  const answers: (() => TlsMaterial | Promise<TlsMaterial>)[] = [
    () => {
      throw new Error('not yet')
    },
    () => Promise.reject(new Error('not yet either')),
    () => nodeB,
  ]
  const transport = webSocketTransport({ tls: () => answers.shift()?.() ?? nodeB })
  await t.rejects(transport.dial(listener.address), { code: 'CLUSTER_BAD_TLS', message: /not yet$/ })
  await t.rejects(
    transport.listen(anyPort, () => undefined),
    { code: 'CLUSTER_BAD_TLS', message: /either/ },
  )
  const near = await transport.dial(listener.address)
  near.close()
  const hanging = webSocketTransport({ tls: () => new Promise<never>(() => undefined) })
  await t.rejects(hanging.dial(listener.address, { timeoutMs: 20 }), { code: 'CLUSTER_DIAL_TIMEOUT' })
  const signal = AbortSignal.abort()
  await t.rejects(hanging.dial(listener.address, { signal }), { code: 'CLUSTER_DIAL_ABORTED' })
})

void test('peerCertificate: no name can pretend to be two', async (t) => {
  const names =
    'DNS:A.example, DNS:"b.example, DNS:admin.example", IP Address:10.0.0.1, email:x@y, URI:"a\\u002cb"'
  t.same(peerCertificate('CN=x', names), {
    subject: 'CN=x',
    names: ['a.example', 'b.example, dns:admin.example', '10.0.0.1', 'a,b'],
  })
  t.same(peerCertificate('O=y\nCN=x', undefined), { subject: 'O=y, CN=x', names: [] })
})
