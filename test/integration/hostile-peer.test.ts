/**
 * A node under attack, in a process of its own: strangers at the door, and an insider who has the secret. It refuses,
 * counts, logs once for peer and code, stays up, keeps its memory, and honest nodes go on.
 */
import { startNode, webSocketTransport, type ClusterNode, type Link } from '@understudy/cluster'
import { decode, encode } from '@understudy/runtime/codec'
import { nodePlatform, seededRandom, silentLogger } from '@understudy/runtime'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { test, type Test } from 'tap'
import { WebSocket } from 'ws'
import { Tally, tally, type StatusReport } from '../fixtures/cluster-node.ts'
import { nodeProcess, type NodeProcess } from '../support/node-process.ts'
import { sourceModule } from '../support/source-module.ts'

const { shakeHands } = await sourceModule<typeof import('../../packages/cluster/src/transport/handshake.ts')>(
  'cluster',
  'transport/handshake',
)
const { NODE_PATH, NODE_SUBPROTOCOL } = await sourceModule<
  typeof import('../../packages/cluster/src/transport/server.ts')
>('cluster', 'transport/server')

const { secretRing } = await sourceModule<typeof import('../../packages/cluster/src/wire/secret-ring.ts')>(
  'cluster',
  'wire/secret-ring',
)

type Hello = Parameters<typeof shakeHands>[0]['hello']
type Outcome = import('../../packages/cluster/src/transport/handshake.ts').HandshakeOutcome

const anyPort = 'ws://127.0.0.1:0'
const secret = 'the secret of this cluster'
const transport = webSocketTransport({ frameBytesMax: 128 * 2 ** 20, outboundBytesMax: 256 * 2 ** 20 })
const clock = nodePlatform({ log: silentLogger }).clock

const victim = (t: Test, options: object = {}): Promise<NodeProcess> =>
  nodeProcess(t, { name: 'victim', listen: anyPort, secret, handshakeTimeoutMs: 1_000, ...options })

/** Resolves when the victim has counted `code` at least so often. */
async function counted(node: NodeProcess, code: string, atLeast = 1): Promise<StatusReport> {
  for (;;) {
    const status = await node.status()
    if ((status.refused[code] ?? 0) >= atLeast) return status
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

/** The node is what it was: another one joins, and its asks are answered. */
async function isWell(t: Test, node: NodeProcess, name = 'honest'): Promise<void> {
  const honest: ClusterNode = await startNode({
    name,
    secret,
    listen: anyPort,
    seeds: [node.address],
    handleSignals: false,
    entities: [tally(name)],
    platform: nodePlatform({ log: silentLogger }),
  })
  await honest.whenMembers(2)
  t.equal(
    await honest.ref(Tally, 'victim', '/user/tally').ask({ type: 'where' }),
    'victim',
    'an honest node is served',
  )
  await honest.shutdown()
}

/** Memory after a collection may not have grown by more than `mebibytes`. */
function flat(t: Test, before: StatusReport, after: StatusReport, mebibytes: number): void {
  const grownMib = (bytes: number, from: number): number => Math.round((bytes - from) / 2 ** 20)
  const heap = grownMib(after.heapBytes, before.heapBytes)
  const rss = grownMib(after.rssBytes, before.rssBytes)
  t.ok(heap < mebibytes, `the heap grew by ${heap} MiB`)
  // What the allocator keeps for itself is not all given back.
  t.ok(rss < mebibytes + 64, `the process grew by ${rss} MiB`)
}

let names = 0
const hello = (own: Partial<Hello> = {}): Hello => ({
  versionMin: 1,
  versionMax: 1,
  cluster: 'understudy',
  node: `peer-${names++}`,
  incarnation: 1,
  address: 'ws://127.0.0.1:9',
  features: [],
  nonce: randomBytes(32),
  ...own,
})

async function shake(node: NodeProcess, own: Partial<Hello> = {}, withSecret: string | null = secret) {
  const link = await transport.dial(node.address as never)
  const sent: Uint8Array[] = []
  const spied = { ...spy(link), send: (frame: Uint8Array) => (sent.push(frame), link.send(frame)) }
  const outcome = await new Promise<Outcome>((resolve) => {
    shakeHands(
      {
        link: spied,
        role: 'initiator',
        hello: hello(own),
        known: () => undefined,
        secrets: () => (withSecret === null ? undefined : secretRing(withSecret)),
        clock,
        timeoutMs: 5_000,
        ended: () => undefined,
      },
      resolve,
    )
  })
  return { link, outcome, sent }
}

function spy(link: Link): Link {
  const { send, onFrame, onClose, onDrain, close, established, remoteAddress } = link
  return { send, onFrame, onClose, onDrain, close, established, remoteAddress, bufferedBytes: 0 }
}

/** A link after a true handshake. `closed` is the code with which the victim ended it. */
async function insider(node: NodeProcess, own: Partial<Hello> = {}) {
  const { link, outcome } = await shake(node, own)
  if (outcome.type !== 'established') throw new Error(`the handshake of the insider came to ${outcome.type}`)
  link.onFrame(() => undefined)
  const closed = new Promise<string>((resolve) => link.onClose(({ code }) => resolve(code)))
  return { link, closed }
}

/** A link on which nothing has been said. */
async function stranger(node: NodeProcess) {
  const link = await transport.dial(node.address as never)
  const answers: unknown[] = []
  link.onFrame((frame) => void answers.push(decode(frame)))
  const closed = new Promise<string>((resolve) => link.onClose(({ code }) => resolve(code)))
  return { link, closed, answers }
}

const nested = (): Uint8Array => {
  const bytes = new Uint8Array(100_001).fill(0x81)
  bytes[100_000] = 0x80
  return bytes
}

void test('hostile: wrong secret, cluster, version, no secret: told, counted, logged once, and honest nodes go on', async (t) => {
  const node = await victim(t)
  const cases: [string, Partial<Hello>, string | null][] = [
    ['CLUSTER_WRONG_SECRET', {}, 'the secret of another'],
    ['CLUSTER_WRONG_SECRET', {}, null],
    ['CLUSTER_WRONG_CLUSTER', { cluster: 'another' }, secret],
    ['CLUSTER_WRONG_VERSION', { versionMin: 3, versionMax: 9 }, secret],
  ]
  for (let round = 0; round < 5; round++) {
    for (const [code, own, withSecret] of cases) {
      const { outcome } = await shake(node, own, withSecret)
      if (outcome.type === 'refused') t.equal(outcome.refusal.code, code)
      else t.fail(`it came to ${outcome.type}`)
    }
  }
  const status = await counted(node, 'CLUSTER_WRONG_VERSION', 5)
  t.same(status.refused, { CLUSTER_WRONG_CLUSTER: 5, CLUSTER_WRONG_SECRET: 10, CLUSTER_WRONG_VERSION: 5 })
  for (const code of Object.keys(status.refused))
    t.equal(status.logged[`warn ${code}`], 1, `${code} is logged once`)
  t.same(status.members, ['victim alive'])
  await isWell(t, node)
})

void test('hostile: a secret at the peer only is refused as well', async (t) => {
  const node = await victim(t, { secret: undefined })
  const { outcome } = await shake(node)
  t.match(outcome, { type: 'refused', by: 'peer', refusal: { code: 'CLUSTER_WRONG_SECRET' } })
  t.match((await counted(node, 'CLUSTER_WRONG_SECRET')).logged, { 'warn CLUSTER_WRONG_SECRET': 1 })
})

void test('hostile: a replayed proof, messages out of order, one that comes twice', async (t) => {
  const node = await victim(t)
  const honest = await shake(node, { node: 'replayed' })
  t.equal(honest.outcome.type, 'established')
  honest.link.close()
  const replay = await stranger(node)
  for (const frame of honest.sent) replay.link.send(frame)
  await replay.closed
  const after = await counted(node, 'CLUSTER_WRONG_SECRET')
  t.equal(after.refused['CLUSTER_WRONG_SECRET'], 1)
  const [helloFrame = new Uint8Array(0), proofFrame = new Uint8Array(0), acceptFrame = new Uint8Array(0)] =
    honest.sent
  for (const frames of [[proofFrame], [acceptFrame], [helloFrame, helloFrame], [helloFrame, acceptFrame]]) {
    const { link, closed, answers } = await stranger(node)
    for (const frame of frames) link.send(frame)
    await closed
    t.match(answers.at(-1), { type: 'refuse', code: 'CLUSTER_BAD_HANDSHAKE' })
  }
  const status = await counted(node, 'CLUSTER_BAD_HANDSHAKE', 4)
  t.equal(status.logged['warn CLUSTER_BAD_HANDSHAKE'], 1)
  await isWell(t, node)
})

void test('hostile: 100 MB frames, 100,000 levels, text frames, before and after the handshake', async (t) => {
  const node = await victim(t)
  const big = Buffer.alloc(100 * 2 ** 20)
  const before = await node.status()
  for (let round = 0; round < 3; round++) {
    const outside = await stranger(node)
    outside.link.send(big)
    t.match(await outside.closed, /CLUSTER_FRAME_TOO_BIG|CLUSTER_LINK_LOST/)
    const inside = await insider(node)
    inside.link.send(big)
    t.match(await inside.closed, /CLUSTER_FRAME_TOO_BIG|CLUSTER_LINK_LOST/)
    const deepOutside = await stranger(node)
    deepOutside.link.send(nested())
    t.equal(await deepOutside.closed, 'CLUSTER_BAD_HANDSHAKE')
    const deepInside = await insider(node)
    deepInside.link.send(nested())
    t.equal(await deepInside.closed, 'CLUSTER_BAD_FRAME')
    const text = new WebSocket(node.address + NODE_PATH, [NODE_SUBPROTOCOL])
    await once(text, 'open')
    text.send('hello, I am a text')
    const [status] = (await once(text, 'close')) as [number]
    t.equal(status, 1_003)
  }
  const status = await counted(node, 'CLUSTER_FRAME_NOT_BINARY', 3)
  t.match(status.refused, {
    CLUSTER_BAD_FRAME: 3,
    CLUSTER_BAD_HANDSHAKE: 3,
    CLUSTER_FRAME_NOT_BINARY: 3,
    CLUSTER_FRAME_TOO_BIG: 6,
  })
  for (const code of Object.keys(status.refused))
    t.equal(status.logged[`warn ${code}`], 1, `${code} is logged once`)
  flat(t, before, status, 16)
  await isWell(t, node)
})

void test('hostile: a browser, other paths, and those who connect and say nothing', async (t) => {
  const node = await victim(t)
  for (const origin of ['http://127.0.0.1', 'null']) {
    const page = new WebSocket(node.address + NODE_PATH, [NODE_SUBPROTOCOL], { origin })
    const [, response] = (await once(page, 'unexpected-response')) as [unknown, { statusCode: number }]
    t.equal(response.statusCode, 403)
    page.on('error', () => undefined)
    page.terminate()
  }
  const status = await counted(node, 'CLUSTER_NOT_A_NODE', 2)
  t.equal(status.logged['warn CLUSTER_NOT_A_NODE'], 1)

  // Slow: half a request, bytes one by one, links on which no word comes.
  const port = Number(new URL(node.address.replace('ws:', 'http:')).port)
  const sockets: Socket[] = []
  for (let n = 0; n < 200; n++) {
    const socket = connect(port, '127.0.0.1').on('error', () => undefined)
    socket.write(`GET ${NODE_PATH} HTTP/1.1\r\nHost: a\r\n`)
    sockets.push(socket)
  }
  t.teardown(() => sockets.forEach((socket) => socket.destroy()))
  const silent = await Promise.allSettled(Array.from({ length: 100 }, () => stranger(node)))
  const open = silent.flatMap((each) => (each.status === 'fulfilled' ? [each.value] : []))
  t.ok(open.length <= 64, `${open.length} strangers at a time`)
  for (const { closed } of open) t.match(await closed, /CLUSTER_HANDSHAKE_TIMEOUT/)
  const after = await counted(node, 'CLUSTER_HANDSHAKE_TIMEOUT', open.length)
  t.equal(after.logged['warn CLUSTER_HANDSHAKE_TIMEOUT'], 1)
  await isWell(t, node)
})

// ---- 100,000 frames from a seed

const random = seededRandom('hostile-peer')
const noise = (): Uint8Array => Uint8Array.from({ length: random.int(0, 64) }, () => random.int(0, 255))

void test('hostile: 50,000 frames of random bytes from strangers', async (t) => {
  const node = await victim(t)
  const before = await node.status()
  const perLink = 500
  for (let sent = 0; sent < 50_000; sent += perLink) {
    const { link, closed } = await stranger(node)
    for (let n = 0; n < perLink; n++) link.send(noise())
    await closed
  }
  const status = await counted(node, 'CLUSTER_BAD_HANDSHAKE', 100)
  t.same(status.refused, { CLUSTER_BAD_HANDSHAKE: 100 })
  t.equal(status.logged['warn CLUSTER_BAD_HANDSHAKE'], 1)
  flat(t, before, status, 16)
  await isWell(t, node)
})

/** Frames as an insider would send them, with a fault somewhere, or none at all. */
function insiderFrame(): Uint8Array {
  const kind = random.int(0, 9)
  if (kind < 2) return noise()
  const number = (): unknown => (random.int(0, 3) === 0 ? random.int(0, 2 ** 40) : random.int(0, 4))
  const text = (): string =>
    ['', '/user/tally', '/system', '/', '/user', 'tally', 'add', '__proto__', 'constructor'][
      random.int(0, 8)
    ] as string
  const recipient = (): unknown =>
    [number(), [0, text(), null], [0, text(), number()], [1, text(), text()], [2, 3], 'x'][random.int(0, 5)]
  const body = (): unknown => [[], [number()], [text(), text()], text(), null][random.int(0, 4)]
  const envelopes = Array.from({ length: random.int(1, 6) }, (): unknown => {
    switch (random.int(0, 12)) {
      case 0:
        return [0, number(), text(), text(), [text()]]
      case 1:
        return [1, number(), recipient()]
      case 2:
        return [2, recipient(), number(), body()]
      case 3:
        return [3, number(), recipient(), number(), body(), number(), text(), []]
      case 4:
        return [4, number(), body()]
      case 5:
        return [5, number(), text(), text(), { field: text() }]
      case 6:
        return [6, number(), recipient()]
      case 7:
        return [7, number()]
      case 8:
        return [8, number(), text(), null]
      case 9:
        return [9, number()]
      case 10:
        return [10, number(), random.int(0, 2)]
      case 11:
        return [random.int(12, 99), number()]
      default:
        return body()
    }
  })
  const frame = encode(envelopes)
  if (kind < 5) {
    const at = random.int(0, frame.length - 1)
    frame[at] = random.int(0, 255)
  }
  return frame
}

/** Resolves when the last heartbeat is answered: everything before it has been read. */
function pong(link: Link): Promise<string> {
  return new Promise((resolve) => {
    link.onFrame((frame) => {
      const envelopes = decode(frame) as readonly unknown[][]
      if (envelopes.some(([kind, sequence, which]) => kind === 10 && sequence === 1_000 && which === 1))
        resolve('pong')
    })
  })
}

/** What a polite insider says first: recipients and types 0 to 3, announced as they must be. */
const announcements = (): Uint8Array =>
  encode([
    [1, 0, [0, '/user/tally', null]],
    [1, 1, [0, '/user/nobody', 77]],
    [1, 2, [1, 'tally', 'a key']],
    [1, 3, [1, 'no such kind', 'a key']],
    [0, 0, 'tally', 'add', []],
    [0, 1, 'tally', 'where', ['unasked']],
    [0, 2, 'tally', 'no such message', ['x']],
    [0, 3, 'no such protocol', 'add', []],
  ])

/** A frame without a fault: every envelope is taken at its word, and what it says makes no sense. */
function politeFrame(): Uint8Array {
  const id = (): number => random.int(0, 2 ** 40)
  const any = (): unknown =>
    [null, random.int(0, 9), 'text', [1, [2]], { a: { b: [] } }, new Uint8Array(3)][random.int(0, 5)]
  const to = (): readonly [number, number, unknown[]] => {
    const type = random.int(0, 3)
    return [random.int(0, 3), type, type === 1 || type === 2 ? [any()] : []]
  }
  return encode(
    Array.from({ length: random.int(1, 8) }, (): unknown => {
      const [recipient, type, body] = to()
      switch (random.int(0, 9)) {
        case 0:
        case 1:
          return [2, recipient, type, body]
        case 2:
        case 3:
          return [
            3,
            id(),
            recipient,
            type,
            body,
            random.int(0, 1_000),
            null,
            [['victim', random.int(1, 9), random.int(0, 9), '/user/tally', 'add']],
          ]
        case 4:
          return [4, random.int(0, 9), any()]
        case 5:
          return [5, random.int(0, 9), 'RUNTIME_REJECTED', 'no', any()]
        case 6:
          return [6, id(), recipient]
        case 7:
          return [7, random.int(0, 9)]
        case 8:
          return [8, random.int(0, 9), 'no such reason', null]
        default:
          return [10, random.int(0, 9), random.int(0, 1)]
      }
    }),
  )
}

void test('hostile: 50,000 frames of an insider: noise, mended frames, and true ones that mean nonsense', async (t) => {
  const node = await victim(t)
  // The whole machinery is warm before it is measured.
  await isWell(t, node, 'early')
  const before = await node.status()
  const perLink = 250
  let cut = 0
  for (let sent = 0, links = 0; sent < 50_000; sent += perLink, links++) {
    const isPolite = links % 2 === 0
    const { link, closed } = await insider(node, {
      incarnation: links + 1,
      node: `insider-${links % 10}`,
      address: `ws://127.0.0.1:${1 + (links % 10)}`,
    })
    if (!isPolite) {
      for (let n = 0; n < perLink; n++) link.send(insiderFrame())
      if ((await closed) === 'CLUSTER_BAD_FRAME') cut++
      continue
    }
    const answered = pong(link)
    link.send(announcements())
    for (let n = 0; n < perLink; n++) link.send(politeFrame())
    link.send(encode([[10, 1_000, 0]]))
    t.equal(await Promise.race([answered, closed]), 'pong', 'without a fault it is heard to the end')
    link.close()
  }
  const status = await counted(node, 'CLUSTER_BAD_FRAME', 1)
  t.equal(cut, 100, 'every link with a fault was cut')
  t.equal(status.refused['CLUSTER_BAD_FRAME'], 100)
  t.equal(status.logged['warn CLUSTER_BAD_FRAME'], 1)
  t.equal(status.logged['warn RUNTIME_UNKNOWN_MESSAGE'], 5, 'once for each of the five polite names')
  const lines = Object.values(status.logged).reduce((sum, count) => sum + count, 0)
  t.ok(lines < 1_000, `${lines} lines in all: ${JSON.stringify(status.logged).slice(0, 2_000)}`)
  t.equal(status.logged['warn CLUSTER_FRAME_HANDLER_FAILED'], undefined, 'nothing in the node threw')
  flat(t, before, status, 32)
  await isWell(t, node)
})
