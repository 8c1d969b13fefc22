/** The shell of the handshake on a link in memory: time, bytes that are none, and what comes right behind it. */
import { memoryNetwork, nodeAddress, type Link } from '@understudy/cluster'
import { decode, encode } from '@understudy/runtime/codec'
import { virtualPlatform } from '@understudy/runtime/testkit'
import { test } from 'tap'
import { sourceModule } from '../support/source-module.ts'

const { shakeHands } = await sourceModule<typeof import('../../packages/cluster/src/transport/handshake.ts')>(
  'cluster',
  'transport/handshake',
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
    const secret = 'secret' in own ? own.secret : 'a shared secret'
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
          authenticated: secret !== undefined,
        },
        known: () => undefined,
        secret,
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
  shake('a', { secret: 'another secret' })
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
