/** Two versions of the wire at once: what is common, and a peer of version 1 as it was, frozen in test/fixtures/wire-v1. */
import { test } from 'tap'
import { encodeV1 } from '../fixtures/wire-v1/cbor.ts'
import { frameV1, tagsV1 } from '../fixtures/wire-v1/frame.ts'
import { encodeHelloV1, HandshakeV1, transcriptV1, type HelloV1 } from '../fixtures/wire-v1/handshake.ts'
import { recordedV1 } from '../fixtures/wire-v1/recorded.ts'
import { beginEnd, cameTo, pairSecret, type End, type EndOptions } from '../support/handshake-pair.ts'
import { sourceModule } from '../support/source-module.ts'

const { commonFeatures, commonVersion, lanesSince, wireFeatures, wireVersion } = await sourceModule<
  typeof import('../../packages/cluster/src/wire/wire-version.ts')
>('cluster', 'wire/wire-version')
const { FrameEncoder } = await sourceModule<
  typeof import('../../packages/cluster/src/wire/frame-encoder.ts')
>('cluster', 'wire/frame-encoder')
const { FrameDecoder } = await sourceModule<
  typeof import('../../packages/cluster/src/wire/frame-decoder.ts')
>('cluster', 'wire/frame-decoder')

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')
const bytesOf = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'hex'))

const helloV1 = (node: 'a' | 'b', own: Partial<HelloV1> = {}): HelloV1 => {
  const number = node === 'a' ? 1 : 2
  return {
    versionMin: 1,
    versionMax: 1,
    cluster: 'farm',
    node,
    incarnation: 1_700_000_000_000 + number - 1,
    address: `ws://10.0.0.${number}:7001`,
    features: [],
    nonce: new Uint8Array(32).fill(number),
    authenticated: true,
    ...own,
  }
}

void test('wireVersion: the highest common version, and what both offer since version 2', async (t) => {
  const range = (text: string) => {
    const [versionMin = 0, versionMax = 0] = text.split('-').map(Number)
    return { versionMin, versionMax }
  }
  for (const [ours, theirs, common] of [
    ['1-2', '1-2', 2],
    ['1-2', '1-1', 1],
    ['1-2', '2-9', 2],
    ['2-2', '1-1', undefined],
    ['1-2', '3-4', undefined],
    ['0-0', '0-7', 0],
  ] as const) {
    t.equal(commonVersion(range(ours), range(theirs)), common, `${ours} and ${theirs}`)
    t.equal(commonVersion(range(theirs), range(ours)), common)
  }
  t.same(commonFeatures(2, ['b', 'a', 'x'], ['y', 'a', 'b', 'a']), ['a', 'b'])
  t.same(commonFeatures(1, ['a'], ['a']), [], 'version 1 has none')
  t.ok(wireVersion.versionMin <= 1 && wireVersion.versionMax >= lanesSince, 'this build speaks both')
  for (const [name, meaning] of Object.entries(wireFeatures)) {
    t.match(name, /^[a-z][a-z-]{0,63}$/)
    t.ok(meaning.length > 10, `${name} has a meaning`)
  }
})

void test('wire-v1: the frozen peer writes the very bytes that version 1 wrote', async (t) => {
  const initiator = new HandshakeV1('initiator', helloV1('b', { weight: 2, zone: 'east' }), recordedV1.secret)
  const acceptor = new HandshakeV1('acceptor', helloV1('a', { weight: 1 }), recordedV1.secret)
  const said: string[] = []
  let frames = initiator.start()
  for (let turn = 0; frames.length > 0; turn++) {
    said.push(...frames.map(hex))
    frames = frames.flatMap((frame) => (turn % 2 === 0 ? acceptor : initiator).receive(frame))
  }
  t.same(said, [
    recordedV1.initiatorHello,
    recordedV1.acceptorHello,
    recordedV1.initiatorProof,
    recordedV1.acceptorProof,
    recordedV1.accept,
  ])
  t.match([initiator.outcome, acceptor.outcome], [{ type: 'established' }, { type: 'established' }])
  const hellos = [helloV1('b', { weight: 2, zone: 'east' }), helloV1('a', { weight: 1 })] as const
  t.equal(hex(transcriptV1('initiator', ...hellos, null)), recordedV1.initiatorSigns)
  t.equal(hex(transcriptV1('acceptor', ...hellos, null)), recordedV1.acceptorSigns)
  const refuse = { type: 'refuse', code: 'CLUSTER_WRONG_VERSION', reason: 'r', highestIncarnation: null }
  t.equal(hex(encodeV1(refuse)), recordedV1.refuse)
  t.equal(hex(frameV1(envelopesV1)), recordedV1.frame)
})

const envelopesV1: readonly (readonly unknown[])[] = [
  [tagsV1.heartbeat, 7, 0],
  [tagsV1.heartbeat, 7, 1],
  [tagsV1.announceType, 0, 'tally', 'add', ['count']],
  [tagsV1.tell, [0, '/user/tally', null], 0, [3]],
  [tagsV1.announceRecipient, 0, [0, '/user/tally', null]],
  [tagsV1.tell, 0, 0, [4]],
  [tagsV1.announceType, 1, 'tally', 'read', []],
  [
    tagsV1.ask,
    9,
    [1, 'tally', 'k1'],
    1,
    [],
    1_500,
    '/user/x',
    [['b', 1_700_000_000_001, 3, '/user/x', 'go']],
  ],
  [tagsV1.reply, 9, { total: 7 }],
  [tagsV1.fail, 10, 'RUNTIME_ASK_TIMEOUT', 'too late', { started: true }],
  [tagsV1.watch, 1, 0],
  [tagsV1.unwatch, 1],
  [tagsV1.terminated, 2, 'stopped', 'on request'],
  [tagsV1.cancel, 11],
  [tagsV1.goodbye, 'shutdown'],
]

/** A peer of today on one side, one of version 1 on the other, until neither has anything to say. */
function meetV1(role: 'initiator' | 'acceptor', own: EndOptions = {}, old: Partial<HelloV1> = {}) {
  const other = role === 'initiator' ? 'acceptor' : 'initiator'
  const end: End = beginEnd(role, own)
  const peer = new HandshakeV1(other, helloV1(other === 'initiator' ? 'b' : 'a', old), pairSecret)
  let toEnd = [...peer.start()]
  for (;;) {
    for (const frame of toEnd) end.hear(frame)
    const toPeer = end.said.splice(0)
    if (toPeer.length === 0) return { end, peer }
    toEnd = toPeer.flatMap((frame) => [...peer.receive(frame)])
  }
}

const rich = { roles: ['web'], appVersion: '3.1', phase: 'joining', features: ['lanes'] } as const

void test('wire-v1: a peer of version 1 shakes hands with this build, in both roles: one link, nothing of version 2', async (t) => {
  for (const role of ['initiator', 'acceptor'] as const) {
    const { end, peer } = meetV1(
      role,
      { hello: { ...wireVersion, ...rich } },
      { weight: 2, zone: 'east', features: ['lanes'] },
    )
    t.match(peer.outcome, { type: 'established', version: 1 }, `this build is the ${role}`)
    t.match(end.outcomes, [
      {
        type: 'established',
        version: 1,
        features: [],
        authenticated: true,
        authenticatedBy: 'secret',
        peer: {
          node: role === 'initiator' ? 'a' : 'b',
          weight: 2,
          zone: 'east',
          lane: 'control',
          roles: [],
          version: '',
          phase: 'alive',
        },
      },
    ])
    const [outcome] = end.outcomes
    if (outcome?.type === 'established')
      t.equal(outcome.peer.connection.length, 32, 'the connection has an id')
  }
})

void test('wire-v1: without a secret on either side, too', async (t) => {
  for (const role of ['initiator', 'acceptor'] as const) {
    const { end, peer } = meetV1(role, { secrets: () => undefined }, { authenticated: false })
    t.match([end.outcomes[0], peer.outcome], [{ type: 'established', version: 1 }, { type: 'established' }])
  }
})

void test('wire-v1: where version 1 is spoken no more the refusal says CLUSTER_WRONG_VERSION, at both ends', async (t) => {
  for (const role of ['initiator', 'acceptor'] as const) {
    const { end, peer } = meetV1(role, { hello: { versionMin: 2, versionMax: 2 } })
    t.equal(cameTo(end), 'CLUSTER_WRONG_VERSION')
    t.match(peer.outcome, { type: 'refused', code: 'CLUSTER_WRONG_VERSION' })
  }
})

void test('wire-v1: a lane is not opened to a peer of version 1: it would take it for a link like any other', async (t) => {
  const { end, peer } = meetV1('initiator', {
    hello: { lane: 'data', connection: new Uint8Array(32).fill(7) },
  })
  t.equal(cameTo(end), 'CLUSTER_WRONG_VERSION')
  t.match(peer.outcome, { type: 'refused', by: 'peer', code: 'CLUSTER_WRONG_VERSION' })
})

void test('wire-v1: what somebody on the way adds to the hello of version 1 is not believed', async (t) => {
  const end = beginEnd('acceptor')
  const peer = new HandshakeV1('initiator', helloV1('b'), pairSecret)
  const said = { type: 'hello', ...helloV1('b'), roles: ['admin'], appVersion: '9', phase: 'joining' }
  t.not(hex(encodeV1(said)), hex(encodeHelloV1(helloV1('b'))))
  peer.start()
  end.hear(encodeV1(said))
  for (let turn = 0; turn < 3; turn++) {
    for (const frame of end.said.splice(0).flatMap((each) => [...peer.receive(each)])) end.hear(frame)
  }
  t.match(end.outcomes, [{ type: 'established', peer: { roles: [], version: '', phase: 'alive' } }])
})

void test('wire-v1: frames of what version 1 has are read, and written to the byte as it wrote them', async (t) => {
  const calls: string[] = []
  const note =
    (name: string) =>
    (...parts: readonly unknown[]): void => {
      calls.push(`${name} ${JSON.stringify(parts.filter((part) => typeof part !== 'object'))}`)
    }
  const sink = new Proxy({}, { get: (_, name) => note(String(name)) })
  const protocol = {
    name: 'tally',
    messages: {
      add: { kind: 'tell' as const, fields: [{ name: 'count', required: true }] },
      read: { kind: 'ask' as const, fields: [] },
    },
  }
  const decoder = new FrameDecoder({
    protocols: () => protocol,
    resolveRef: () => undefined,
    sink: sink as ConstructorParameters<typeof FrameDecoder>[0]['sink'],
  })
  t.equal(decoder.read(bytesOf(recordedV1.frame)), undefined)
  t.match(calls.pop(), /^onGoodbye \["shutdown"/)
  t.same(calls, [
    'onHeartbeat [7,"ping"]',
    'onHeartbeat [7,"pong"]',
    'onTell []',
    'onTell []',
    'onAsk [9,1500,"/user/x"]',
    'onReply [9]',
    'onFail [10,"RUNTIME_ASK_TIMEOUT","too late"]',
    'onWatch [1]',
    'onUnwatch [1]',
    'onTerminated [2,"stopped","on request"]',
    'onCancel [11]',
  ])

  const encoder = new FrameEncoder()
  const tally = { kind: 'actor' as const, path: '/user/tally', uid: undefined }
  encoder.heartbeat(7, 'ping')
  encoder.heartbeat(7, 'pong')
  encoder.tell(tally, protocol, { type: 'add', count: 3 } as { type: string })
  encoder.tell(tally, protocol, { type: 'add', count: 4 } as { type: string })
  encoder.ask(9, { kind: 'entity', name: 'tally', key: 'k1' }, protocol, { type: 'read' }, 1_500, '/user/x', [
    { node: 'b', incarnation: 1_700_000_000_001, uid: 3, path: '/user/x', messageType: 'go' },
  ])
  encoder.reply(9, { total: 7 })
  encoder.fail(10, 'RUNTIME_ASK_TIMEOUT', 'too late', { started: true })
  encoder.watch(1, tally)
  encoder.unwatch(1)
  encoder.terminated(2, 'stopped', 'on request')
  encoder.cancel(11)
  encoder.goodbye('shutdown')
  t.same(encoder.take().map(hex), [recordedV1.frame])
})
