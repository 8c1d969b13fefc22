/** A peer gone bad, with and without the secret, against nodes on virtual time: what it can do to others, and what not. */
import type { ClusterNode } from '@understudy/cluster'
import { test } from 'tap'
import { fuzzKind, fuzzRecord } from '../support/fuzz-peer.ts'
import { fuzzScene, fuzzSecret, Tally } from '../support/fuzz-scene.ts'

const max = Number.MAX_SAFE_INTEGER

const refusals = (node: ClusterNode): Readonly<Record<string, number>> => node.status().refused

void test('no secret, a wrong one, one that was: nobody gets in, and nothing that it says is heard', async (t) => {
  const { insider, isWell, a } = await fuzzScene(t)
  for (const [what, own] of [
    ['none', { secret: null }],
    ['another', { secret: 'a secret of somebody else' }],
    ['one letter less', { secret: fuzzSecret.slice(0, -1) }],
    ['one letter more', { secret: `${fuzzSecret}!` }],
    ['other capitals', { secret: fuzzSecret.toUpperCase() }],
  ] as const) {
    const peer = await insider({}, own)
    t.equal(peer.outcome, 'CLUSTER_WRONG_SECRET', what)
    peer.gossip([4, [fuzzRecord('b', 1, 'ws://127.0.0.1:1', 0, fuzzKind.down)]])
    await isWell(what)
  }
  t.same(refusals(a), { CLUSTER_WRONG_SECRET: 5 })
})

void test('forged control messages of a stranger: all kinds, before authentication, change nothing', async (t) => {
  const { stranger, isWell, a, b, cluster } = await fuzzScene(t)
  const forged: readonly (readonly [string, unknown])[] = [
    ['GOSSIP', [12, [4, [fuzzRecord('b', b.incarnation, b.address, 0, fuzzKind.down)]]]],
    ['GOODBYE', [11, 'bye']],
    ['GOODBYE with lanes', [11, 'bye', [1, 2]]],
    ['LANE_WANTED', [13, 1]],
    ['END_LANE', [14, 1]],
    ['CREDIT', [15, [0, '/user/tally', null], 0]],
    ['CHOSEN', [16]],
    ['WATCHED', [17, 1, 1, '/user/tally']],
    ['HEARTBEAT', [10, 1, 0]],
  ]
  for (const [what, envelope] of forged) {
    const peer = await stranger()
    peer.send(envelope)
    await cluster.until(() => peer.ended() !== undefined)
    t.equal(peer.ended(), 'CLUSTER_BAD_HANDSHAKE', what)
    await isWell(what)
  }
  t.same(refusals(a), { CLUSTER_BAD_HANDSHAKE: forged.length })
})

void test('a replayed session: every frame that b said, handshake and all, is worth nothing on another link', async (t) => {
  const { stranger, isWell, overheard, a, cluster } = await fuzzScene(t)
  t.ok(overheard.length > 3, `${overheard.length} frames were recorded`)
  const peer = await stranger()
  for (const frame of overheard) peer.link.send(frame)
  await cluster.until(() => peer.ended() !== undefined)
  t.equal(peer.ended(), 'CLUSTER_WRONG_SECRET')
  t.same(refusals(a), { CLUSTER_WRONG_SECRET: 1 })
  await isWell('after the replay')
})

void test('a control message speaks for the link it came on: nobody says good-bye, or is chosen, for another', async (t) => {
  const { insider, isWell, a, cluster } = await fuzzScene(t)
  const gone = await insider()
  t.equal(gone.outcome, 'established')
  await cluster.advance(100)
  gone.send([16])
  gone.send([16])
  await isWell('CHOSEN')
  gone.send([11, 'b leaves', []])
  await cluster.advance(100)
  t.notOk(
    a.members().some(({ name }) => name === 'mallory'),
    'it has left itself',
  )
  await isWell('GOODBYE')
  for (const [what, envelope] of [
    ['END_LANE of a lane that is not there', [14, 1]],
    ['END_LANE of control', [14, 0]],
    ['LANE_WANTED of who dialled', [13, 1]],
    ['LANE_WANTED of control', [13, 0]],
    ['LANE_WANTED of no lane', [13, 3]],
  ] as const) {
    const peer = await insider({ incarnation: Math.floor(cluster.platform.clock.monotonicMs()) + 2 })
    t.equal(peer.outcome, 'established', what)
    peer.send(envelope)
    await cluster.until(() => peer.ended() !== undefined)
    t.equal(peer.ended(), 'CLUSTER_BAD_FRAME', what)
    await isWell(what)
    await cluster.advance(1_000)
  }
})

void test('gossip of a bad member: what it accuses others of they refute, whatever names it gives', async (t) => {
  const { insider, isWell, a, b, cluster } = await fuzzScene(t)
  const peer = await insider()
  await cluster.advance(100)
  const about = (refutation: number, kind: number, ...rest: unknown[]): unknown => [
    4,
    [fuzzRecord('b', b.incarnation, b.address, refutation, kind, ...rest)],
  ]
  for (const refutation of [0, 5, 2 ** 40]) {
    for (const kind of [fuzzKind.suspect, fuzzKind.unreachable]) {
      peer.gossip(about(refutation, kind, 'a'))
      await cluster.advance(3_000)
      await isWell(`accused at ${refutation}, kind ${kind}, in the name of a`)
    }
  }
  t.ok(a.members().every(({ name }) => ['a', 'b', 'mallory'].includes(name)))
})

void test('gossip of a bad member, at its worst: who is accused for good ends that life, and is back as the next', async (t) => {
  const { insider, a, b, cluster } = await fuzzScene(t)
  for (const [what, record] of [
    [
      'suspected at the last refutation there is',
      (): unknown => fuzzRecord('b', b.incarnation, b.address, max, fuzzKind.suspect),
    ],
    [
      'said to leave, likewise',
      (): unknown => fuzzRecord('b', b.incarnation, b.address, max, fuzzKind.leaving),
    ],
    [
      'declared down',
      (): unknown => fuzzRecord('b', b.incarnation, b.address, 0, fuzzKind.down, 'a', 'lies'),
    ],
    ['declared left', (): unknown => fuzzRecord('b', b.incarnation, b.address, 0, fuzzKind.left)],
  ] as const) {
    const before = b.incarnation
    const peer = await insider({ incarnation: Math.floor(cluster.platform.clock.monotonicMs()) + 2 })
    await cluster.advance(100)
    peer.gossip([4, [record()]])
    await cluster.advance(100)
    peer.link.close('CLUSTER_NODE_LEFT')
    await cluster.until(
      () =>
        b.incarnation > before &&
        a.members().some((m) => m.name === 'b' && m.incarnation === b.incarnation && m.status === 'alive'),
      300_000,
    )
    t.ok(b.incarnation > before, `${what}: b is back as another life`)
    t.equal((await cluster.result(b.ref(Tally, 'a', '/user/tally').ask({ type: 'count' }))) > 0, true)
    await cluster.advance(5_000)
  }
})
