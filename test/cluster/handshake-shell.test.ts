/** The shell of the handshake on a link in memory: time, bytes that are none, and what comes right behind it. */
import { memoryNetwork, nodeAddress, type Link } from '@understudy/cluster'
import { decode, encode } from '@understudy/runtime/codec'
import { virtualPlatform } from '@understudy/runtime/testkit'
import { test } from 'tap'
import { cameTo, shakePair } from '../support/handshake-pair.ts'
import { sourceModule } from '../support/source-module.ts'

const { shakeHands } = await sourceModule<typeof import('../../packages/cluster/src/transport/handshake.ts')>(
  'cluster',
  'transport/handshake',
)

const { secretRing } = await sourceModule<typeof import('../../packages/cluster/src/wire/secret-ring.ts')>(
  'cluster',
  'wire/secret-ring',
)

type Options = Parameters<typeof shakeHands>[0]
type Outcome = import('../../packages/cluster/src/transport/handshake.ts').HandshakeOutcome

async function scene() {
  const platform = virtualPlatform()
  const network = memoryNetwork({ schedule: queueMicrotask })
  const accepted: Link[] = []
  const address = nodeAddress('ws://127.0.0.1:7001')
  const listener = await network.transport('b').listen(address, (link) => void accepted.push(link))
  const near = await network.transport('a').dial(address)
  const far = accepted[0] as Link
  const outcomes: Record<string, Outcome[]> = { a: [], b: [] }
  const ended: string[] = []
  const shake = (node: 'a' | 'b', own: Partial<Options> = {}, done?: (outcome: Outcome) => void): void => {
    shakeHands(
      {
        link: node === 'a' ? near : far,
        role: node === 'a' ? 'initiator' : 'acceptor',
        hello: {
          versionMin: 1,
          versionMax: 1,
          cluster: 'test',
          node,
          incarnation: 1,
          address: `ws://127.0.0.1:700${node === 'a' ? 2 : 1}`,
          features: [],
          nonce: platform.secureBytes(32),
        },
        known: () => undefined,
        secrets: () => secretRing('a shared secret of all'),
        clock: platform.clock,
        timeoutMs: 1_000,
        ended: () => void ended.push(node),
        ...own,
      },
      (outcome) => {
        outcomes[node]?.push(outcome)
        done?.(outcome)
      },
    )
  }
  return { platform, near, far, shake, outcomes, ended, close: () => listener.close() }
}

void test('shakeHands: both ends learn who the other is, and no timer is left', async (t) => {
  const { platform, shake, outcomes, ended } = await scene()
  shake('b')
  shake('a')
  await platform.settle()
  t.match(outcomes['a'], [{ type: 'established', authenticated: true, peer: { node: 'b', incarnation: 1 } }])
  t.match(outcomes['b'], [{ type: 'established', authenticated: true, peer: { node: 'a' } }])
  t.equal(platform.pendingTimers(), 0)
  t.same(ended, [])
})

void test('shakeHands: frames right behind the handshake go to the new receiver', async (t) => {
  const { platform, near, far, shake } = await scene()
  const got: number[] = []
  shake('b', {}, () => far.onFrame((frame) => void got.push(frame[0] ?? -1)))
  shake('a', {}, () => {
    // The accept has been sent; these follow it in the same turn.
    near.send(Uint8Array.of(1))
    near.send(Uint8Array.of(2))
  })
  await platform.settle()
  t.same(got, [1, 2])
})

void test('shakeHands: other secrets are refused at both ends, the link ends, once each', async (t) => {
  const { platform, shake, outcomes, ended } = await scene()
  shake('b')
  shake('a', { secrets: () => secretRing('another secret of somebody') })
  await platform.settle()
  t.match(outcomes['b'], [{ type: 'refused', by: 'us', refusal: { code: 'CLUSTER_WRONG_SECRET' } }])
  t.match(outcomes['a'], [{ type: 'refused', by: 'peer', refusal: { code: 'CLUSTER_WRONG_SECRET' } }])
  t.same(ended.sort(), ['a', 'b'])
  t.equal(platform.pendingTimers(), 0)
})

void test('shakeHands: a peer that says nothing is refused in time, as is one that stops half-way', async (t) => {
  const { platform, near, shake, outcomes, ended } = await scene()
  near.onFrame(() => undefined)
  near.onClose(() => undefined)
  shake('b')
  await platform.advance(999)
  t.same(outcomes['b'], [])
  await platform.advance(1)
  t.match(outcomes['b'], [{ type: 'refused', by: 'us', refusal: { code: 'CLUSTER_HANDSHAKE_TIMEOUT' } }])
  t.same(ended, ['b'])
  t.equal(platform.pendingTimers(), 0)
})

void test('shakeHands: bytes that are no message are a bad handshake, whatever they are', async (t) => {
  const nested = new Uint8Array(10_000).fill(0x81)
  const cases: [string, Uint8Array][] = [
    ['nothing', new Uint8Array(0)],
    ['noise', Uint8Array.of(0xff, 0x00, 0x17)],
    ['a number', encode(7)],
    ['a list', encode([1, 2])],
    ['an unknown type', encode({ type: 'hallo' })],
    ['half a hello', encode({ type: 'hello', node: 'x' })],
    ['nested deep', nested],
    ['too large', encode({ type: 'hello', cluster: 'x'.repeat(20_000) })],
    ['out of turn: proof', encode({ type: 'proof', mac: new Uint8Array(32), refusal: null })],
    ['out of turn: accept', encode({ type: 'accept' })],
    ['a key that is none', Uint8Array.of(0xa1, 0x69, ...new TextEncoder().encode('__proto__'), 0xa0)],
    ['a ref', Uint8Array.of(0xd9, 0x01, 0x00, 0x80)],
  ]
  for (const [what, bytes] of cases) {
    const { platform, near, shake, outcomes } = await scene()
    const answers: unknown[] = []
    near.onFrame((frame) => void answers.push(decode(frame)))
    near.onClose(() => undefined)
    shake('b')
    near.send(bytes)
    await platform.settle()
    t.match(outcomes['b'], [{ type: 'refused', by: 'us', refusal: { code: 'CLUSTER_BAD_HANDSHAKE' } }], what)
    t.match(answers, [{ type: 'refuse', code: 'CLUSTER_BAD_HANDSHAKE' }])
    t.equal(platform.pendingTimers(), 0)
  }
})

void test('shakeHands: a proof of another handshake is worth nothing', async (t) => {
  const first = await scene()
  const sent: Uint8Array[] = []
  const { near, far } = first
  // Listens in: everything that the honest initiator says is kept.
  const listening = { ...linkOf(near), send: (frame: Uint8Array) => (sent.push(frame), near.send(frame)) }
  first.shake('b')
  first.shake('a', { link: listening })
  await first.platform.settle()
  t.match(first.outcomes['b'], [{ type: 'established' }])
  t.equal(sent.length, 3)
  const second = await scene()
  // Other nonces than the first time: both scenes begin their chance at the same seed.
  second.platform.secureBytes(7)
  second.near.onFrame(() => undefined)
  second.near.onClose(() => undefined)
  second.shake('b')
  for (const frame of sent) second.near.send(frame)
  await second.platform.settle()
  t.match(second.outcomes['b'], [{ type: 'refused', by: 'us', refusal: { code: 'CLUSTER_WRONG_SECRET' } }])
  far.close()
})

function linkOf(link: Link): Link {
  return {
    send: link.send,
    onFrame: link.onFrame,
    onClose: link.onClose,
    onDrain: link.onDrain,
    close: link.close,
    established: link.established,
    bufferedBytes: 0,
    remoteAddress: link.remoteAddress,
  }
}

void test('shakeHands: a link that ends in between is lost, with its code', async (t) => {
  const { platform, near, shake, outcomes, ended } = await scene()
  near.onFrame(() => near.close('CLUSTER_TEST_GONE'))
  near.onClose(() => undefined)
  shake('b')
  near.close('CLUSTER_TEST_GONE')
  await platform.settle()
  t.same(outcomes['b'], [{ type: 'lost', code: 'CLUSTER_TEST_GONE' }])
  t.same(ended, ['b'])
  t.equal(platform.pendingTimers(), 0)
})

const [old, young, third] = [
  'the old secret of all',
  'the new secret of all',
  'a secret that was never given',
]

void test('secretRing: what is used is taken, each once, and a bad one is named by its place only', async (t) => {
  t.same(secretRing(old), { use: old, taken: [old] })
  t.same(secretRing({ use: old, accept: [young, old, young] }), { use: old, taken: [old, young] })
  const bad: [Parameters<typeof secretRing>[0], RegExp][] = [
    ['short', /"secret": it must have at least 16 characters, got 5/],
    [{ use: 'short', accept: [] }, /"secret.use": .* got 5/],
    [{ use: old, accept: [young, ''] }, /"secret.accept.1": .* got 0/],
    [{ use: old, accept: [7 as unknown as string] }, /"secret.accept.0": .* got number/],
    [{ use: old, accept: young as unknown as string[] }, /must be a list/],
    [{ use: old, accept: Array.from({ length: 8 }, (_, n) => `${young} ${n}`) }, /9 secrets: at most 8/],
  ]
  for (const [given, message] of bad) {
    try {
      secretRing(given)
      t.fail('it was taken')
    } catch (error) {
      t.match(error, { name: 'RangeError', message })
      t.notMatch(String(error), /short|secret of all/)
    }
  }
})

void test('a secret is exchanged in three steps: nodes one step apart understand each other, in both roles', async (t) => {
  const steps = [
    secretRing(old),
    secretRing({ use: old, accept: [young] }),
    secretRing({ use: young, accept: [old] }),
    secretRing(young),
  ]
  for (const [one, ours] of steps.entries()) {
    for (const [two, theirs] of steps.entries()) {
      const { initiator, acceptor } = shakePair({ secrets: () => ours }, { secrets: () => theirs })
      const expected = Math.abs(one - two) <= 1 ? 'established' : 'CLUSTER_WRONG_SECRET'
      t.same([cameTo(initiator), cameTo(acceptor)], [expected, expected], `step ${one} meets step ${two}`)
    }
  }
})

void test('a secret that was dropped is refused, as is one that never was', async (t) => {
  const now = secretRing({ use: young, accept: [third] })
  for (const [secret, expected] of [
    [old, 'CLUSTER_WRONG_SECRET'],
    [young, 'established'],
  ] as const) {
    const end = shakePair({ secrets: () => secretRing(secret) }, { secrets: () => now })
    t.equal(cameTo(end.acceptor), expected)
  }
})

void test('an exchange of secrets counts from the next handshake on, and not in the middle of one', async (t) => {
  let ring = secretRing(old)
  const secrets = () => ring
  const meet = () => cameTo(shakePair({ secrets: () => secretRing(old) }, { secrets }).acceptor)
  t.equal(meet(), 'established')
  const halfway = shakePair({ secrets: () => secretRing(old) }, { secrets }, (frame, from, index) => {
    // The acceptor has said hello, and has nothing proved yet.
    if (from === 'acceptor' && index === 0) ring = secretRing(young)
    return [frame]
  })
  t.equal(cameTo(halfway.acceptor), 'established', 'the one under way keeps what it began with')
  t.equal(meet(), 'CLUSTER_WRONG_SECRET', 'and the next one does not')
})

const tls = { secrets: () => undefined, authenticatedByTransport: true }
const none = { secrets: () => undefined }

void test('certificates authenticate where there are no secrets, and who has only half of it is refused', async (t) => {
  const wrong = 'CLUSTER_WRONG_AUTHENTICATION'
  const cases: [string, Parameters<typeof shakePair>[0], Parameters<typeof shakePair>[1], string][] = [
    ['both by certificate', tls, tls, 'established'],
    ['both, and it is demanded', { ...tls, authenticationRequired: true }, tls, 'established'],
    ['the initiator has shown none', none, tls, wrong],
    ['the acceptor has shown none', tls, none, wrong],
    ['a secret there', tls, {}, wrong],
    ['a secret here', {}, tls, wrong],
    ['a secret on both, certificates as well', { authenticatedByTransport: true }, {}, 'established'],
    ['none on both, where the acceptor demands it', none, { ...none, authenticationRequired: true }, wrong],
    ['none on both, where the initiator demands it', { ...none, authenticationRequired: true }, none, wrong],
    ['a secret where it is demanded', { authenticationRequired: true }, {}, 'established'],
  ]
  for (const [what, initiator, acceptor, expected] of cases) {
    const pair = shakePair(initiator, acceptor)
    t.same([cameTo(pair.initiator), cameTo(pair.acceptor)], [expected, expected], what)
    for (const { outcomes, closed } of [pair.initiator, pair.acceptor]) {
      t.equal(outcomes.length, 1)
      t.same(closed, expected === 'established' ? [] : [expected])
    }
  }
  const refused = shakePair(none, tls).initiator.outcomes[0]
  if (refused?.type === 'refused')
    t.match(refused.refusal.reason, /give all nodes a secret, or all of them cert/)
  t.match(shakePair(tls, tls).acceptor.outcomes, [{ authenticated: true, authenticatedBy: 'tls' }])
  t.match(shakePair(none, none).acceptor.outcomes, [{ authenticated: false, authenticatedBy: 'none' }])
})

void test('a lane belongs to a connection that stands, and both ends know its id', async (t) => {
  const features = ['lanes']
  const control = shakePair({ hello: { features } }, { hello: { features } })
  const [ours, theirs] = [control.initiator.outcomes[0], control.acceptor.outcomes[0]]
  if (ours?.type !== 'established' || theirs?.type !== 'established') throw new Error('no control link')
  t.match(ours, { version: 2, features, peer: { lane: 'control' } })
  const { connection } = ours.peer
  t.same(theirs.peer.connection, connection)
  const asked: unknown[] = []
  const stands = (peer: typeof ours.peer): boolean => {
    asked.push([peer.node, peer.incarnation, peer.lane])
    return Buffer.compare(peer.connection, connection) === 0
  }
  const lane = shakePair({ hello: { lane: 'bulk', connection } }, { hasConnection: stands })
  t.match(lane.initiator.outcomes, [{ type: 'established', peer: { lane: 'bulk', connection } }])
  t.match(lane.acceptor.outcomes, [{ type: 'established', peer: { lane: 'bulk', connection } }])
  const other = shakePair(
    { hello: { lane: 'data', connection: new Uint8Array(32) } },
    { hasConnection: stands },
  )
  const code = 'CLUSTER_NO_SUCH_CONNECTION'
  t.same([cameTo(other.initiator), cameTo(other.acceptor)], [code, code])
  t.same(asked, [
    ['b', 1, 'bulk'],
    ['b', 1, 'data'],
  ])
  t.equal(cameTo(shakePair({}, { hasConnection: () => false }).acceptor), 'established', 'control needs none')
})

void test('an address that is none, or is spelled otherwise, does not come in: addresses are compared as text', async (t) => {
  for (const address of [
    '',
    'nonsense',
    'ws://10.0.0.2',
    'ws://HOST:7001',
    'http://a:1',
    'ws://10.0.0.2:07001',
  ]) {
    const { initiator, acceptor } = shakePair({ hello: { address } })
    t.same([cameTo(initiator), cameTo(acceptor)], ['CLUSTER_BAD_HANDSHAKE', 'CLUSTER_BAD_HANDSHAKE'], address)
  }
  t.equal(cameTo(shakePair({ hello: { address: 'wss://host:7001' } }).acceptor), 'established')
})
