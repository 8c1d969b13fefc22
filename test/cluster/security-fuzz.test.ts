/** Mutated frames from a seed, a few thousand for each part; test/integration/security-fuzz.test.ts has a million. */
import { seededRandom } from '@understudy/runtime'
import { test } from 'tap'
import { mutated, recordCorpus } from '../support/fuzz-frame.ts'
import { fuzzScene } from '../support/fuzz-scene.ts'
import { gossipTarget, handshakeTarget, nodeTarget, sessionTarget } from '../support/fuzz-target.ts'

const corpus = await recordCorpus()

void test('the corpus: recorded from real nodes, every kind of envelope and of handshake message is in it', (t) => {
  t.same(corpus.kinds, [...Array(18).keys()])
  t.ok(corpus.handshake.length >= 16)
  t.same([...new Set(corpus.gossip.map((payload) => (payload as unknown[])[0]))].sort(), [0, 2, 4, 5, 6])
  t.end()
})

void test('mutated: the same seed gives the same frames, and most of them differ from what they were', (t) => {
  const frame = corpus.links[0]?.[0] ?? new Uint8Array(0)
  const made = [1, 1, 2].map((seed) => {
    const random = seededRandom(`mutated ${seed}`)
    return Array.from({ length: 1_000 }, () =>
      Buffer.from(mutated(frame, random, () => frame)).toString('hex'),
    )
  })
  t.same(made[0], made[1])
  t.not(made[0]?.join(), made[2]?.join())
  t.ok(new Set(made[0]).size > 400)
  t.end()
})

void test('20,000 mutated frames before the handshake is over: nobody gets in', async (t) => {
  const counts = await handshakeTarget(corpus, seededRandom('handshake'))(20_000)
  t.equal(counts.get('established'), undefined)
  t.ok((counts.get('CLUSTER_WRONG_SECRET') ?? 0) > 100, 'proofs were compared')
  t.comment([...counts].join(' '))
})

void test('20,000 mutated frames of a member: nothing is thrown, and actors answer', async (t) => {
  const { target, isWell } = await sessionTarget(corpus, seededRandom('session'))
  const counts = await target(20_000)
  t.ok((counts.get('bad-envelope') ?? 0) > 100)
  t.ok((counts.get('survived') ?? 0) > 10, 'some were heard to the end')
  t.ok(await isWell())
  t.comment([...counts].join(' '))
})

void test('20,000 mutated gossip payloads: what is read changes a table that stays bounded', async (t) => {
  const counts = await gossipTarget(corpus, seededRandom('gossip'))(20_000)
  t.ok((counts.get('read') ?? 0) > 2_000)
  t.ok((counts.get('no message') ?? 0) > 1_000)
  t.comment([...counts].join(' '))
})

void test('2,000 mutated frames to a node: it cuts the link, and others are served', async (t) => {
  const scene = await fuzzScene(t)
  const counts = await nodeTarget(corpus, seededRandom('node'), scene)(2_000)
  t.ok((counts.get('CLUSTER_BAD_FRAME') ?? 0) > 50)
  t.equal(counts.get('CLUSTER_FRAME_HANDLER_FAILED'), undefined, 'nothing in the node threw')
  t.comment([...counts].join(' '))
  await scene.cluster.advance(60_000)
  await scene.isWell('after them all')
})
