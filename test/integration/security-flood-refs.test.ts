/** A member that sends refs to ever more actors: so many are remembered, and only short ones. */
import { UnresolvedRef } from '@understudy/runtime/codec'
import { test } from 'tap'
import { heapMib, longName } from '../support/flood.ts'
import { fuzzScene } from '../support/fuzz-scene.ts'

void test(
  'a flood of refs, short ones and some of a mebibyte: so many are remembered, and only short ones',
  { timeout: 120_000 },
  async (t) => {
    const scene = await fuzzScene(t)
    const { cluster, insider, isWell } = scene
    await isWell('before')
    const before = await heapMib()
    const ref = (n: number, path: string): UnresolvedRef =>
      new UnresolvedRef(['far', 1, `/${n}${path}`, n, `p${n % 100}`])
    const held: number[] = []
    for (const [life, what, path, count] of [
      [5, 'the longest that are remembered', longName, 17_000],
      [6, 'longer ones', 'x'.repeat(1_000_000), 100],
    ] as const) {
      const peer = await insider({ incarnation: life })
      peer.send([0, 0, 'p', 't', ['ref']])
      for (let n = 0; n < count; n++) {
        peer.send([2, [0, '/user/nobody', null], 0, [ref(n, path)]])
        if (n % 20 === 19) await cluster.platform.settle()
      }
      await cluster.advance(10)
      t.equal(peer.ended(), undefined, what)
      peer.link.close('CLUSTER_NODE_LEFT')
      await cluster.advance(1_000)
      held.push((await heapMib()) - before)
      t.comment(`${count} refs, ${what}: ${held.at(-1)?.toFixed(1)} MiB`)
    }
    const [short = 0, all = 0] = held
    t.ok(short < 160, `${short.toFixed(1)} MiB`)
    t.ok(all < short + 16, `${(all - short).toFixed(1)} MiB more for the long ones`)
    await isWell('afterwards')
  },
)
