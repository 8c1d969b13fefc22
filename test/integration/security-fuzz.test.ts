/**
 * 1,000,000 mutated frames from a seed, to whatever reads what a peer sent: nothing is thrown, nothing crashes, nothing is
 * leaked, and a good peer is served afterwards. `SEED=text` runs another story.
 */
import { seededRandom } from '@understudy/runtime'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { test, type Test } from 'tap'
import { recordCorpus } from '../support/fuzz-frame.ts'
import { fuzzScene } from '../support/fuzz-scene.ts'
import {
  gossipTarget,
  handshakeTarget,
  nodeTarget,
  sessionTarget,
  type FuzzTarget,
} from '../support/fuzz-target.ts'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void
const seed = process.env['SEED'] ?? 'a million frames'
const corpus = await recordCorpus()
let framesFed = 0
let cpuMs = 0

async function heapBytes(): Promise<number> {
  // What settled promises and finalisers hold goes in a later turn.
  for (let n = 0; n < 3; n++) {
    await new Promise((resolve) => setImmediate(resolve))
    collect()
  }
  return process.memoryUsage().heapUsed
}

/** Feeds them; the first tenth warms it up. The heap may then grow by at most `mib`. */
async function feed(
  t: Test,
  target: FuzzTarget,
  frames: number,
  mib: number,
): Promise<ReadonlyMap<string, number>> {
  const begin = process.cpuUsage()
  await target(frames / 10)
  const before = await heapBytes()
  const counts = await target((frames * 9) / 10)
  const grownMib = ((await heapBytes()) - before) / 2 ** 20
  const { user, system } = process.cpuUsage(begin)
  const ms = (user + system) / 1_000
  framesFed += frames
  cpuMs += ms
  t.comment(
    `${frames} frames, ${Math.round(frames / (ms / 1_000))} in a second of CPU, heap +${grownMib.toFixed(1)} MiB`,
  )
  t.comment([...counts].map(([what, count]) => `${what} ${count}`).join(', '))
  t.ok(grownMib < mib, `the heap grew by ${grownMib.toFixed(1)} MiB, at most ${mib}`)
  return counts
}

void test('300,000 to the handshake: nobody gets in', { timeout: 120_000 }, async (t) => {
  const counts = await feed(t, handshakeTarget(corpus, seededRandom(`${seed} handshake`)), 300_000, 2)
  t.equal(counts.get('established'), undefined)
  t.ok((counts.get('CLUSTER_WRONG_SECRET') ?? 0) > 10_000, 'proofs were compared')
})

void test('400,000 to the session of a member: its actors still answer', { timeout: 120_000 }, async (t) => {
  const { target, isWell } = await sessionTarget(corpus, seededRandom(`${seed} session`))
  const counts = await feed(t, target, 400_000, 4)
  t.ok((counts.get('survived') ?? 0) > 1_000)
  t.ok((counts.get('bad-envelope') ?? 0) > 1_000)
  t.ok(await isWell())
})

void test(
  '280,000 to the membership of a member: its table stays bounded',
  { timeout: 120_000 },
  async (t) => {
    const counts = await feed(t, gossipTarget(corpus, seededRandom(`${seed} gossip`)), 280_000, 4)
    t.ok((counts.get('read') ?? 0) > 20_000)
  },
)

void test(
  '20,000 to a whole node, behind handshakes: a good peer is served over a link that was never cut',
  { timeout: 120_000 },
  async (t) => {
    const scene = await fuzzScene(t)
    const { cluster } = scene
    const counts = await feed(t, nodeTarget(corpus, seededRandom(`${seed} node`), scene), 20_000, 8)
    t.ok((counts.get('CLUSTER_BAD_FRAME') ?? 0) > 500)
    t.equal(counts.get('CLUSTER_FRAME_HANDLER_FAILED'), undefined, 'nothing in the node threw')
    await cluster.advance(60_000)
    await scene.isWell('after them all')
  },
)

void test('all of it took less than a minute of one core', (t) => {
  t.equal(framesFed, 1_000_000)
  t.comment(
    `${framesFed} frames, ${Math.round(framesFed / (cpuMs / 1_000))} in a second of CPU, seed "${seed}"`,
  )
  t.ok(cpuMs < 60_000, `${Math.round(cpuMs)} ms of CPU`)
  t.end()
})
