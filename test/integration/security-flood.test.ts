/**
 * A member that asks, watches, announces and takes credit back as often as it is let: each has a bound, whoever passes it is
 * cut off, all of it is given back with the link, and others are served meanwhile.
 */
import { actor } from '@understudy/runtime'
import { UnresolvedRef } from '@understudy/runtime/codec'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { test } from 'tap'
import { fuzzGreeting, fuzzScene, Tally } from '../support/fuzz-scene.ts'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

async function heapMib(): Promise<number> {
  for (let n = 0; n < 3; n++) {
    await new Promise((resolve) => setImmediate(resolve))
    collect()
  }
  return process.memoryUsage().heapUsed / 2 ** 20
}

interface Flood {
  readonly what: string
  /** How many a node takes of one link. */
  readonly most: number
  /** For all of them together, MiB. */
  readonly mib: number
  readonly envelope: (n: number) => unknown
}

const long = 'x'.repeat(1_900)
const fields = Array.from({ length: 256 }, (_, n) => `${n}${'y'.repeat(240)}`)
const floods: readonly Flood[] = [
  {
    what: 'asks that nobody answers',
    most: 1_000_000,
    mib: 768,
    envelope: (n) => [3, n, 1, 0, [], null, null, []],
  },
  { what: 'watches', most: 1_000_000, mib: 256, envelope: (n) => [6, n, 0] },
  {
    what: 'recipients without credit, of the longest names',
    most: 65_536,
    mib: 192,
    envelope: (n) => [15, [0, `/${n}${long}`, null], 0],
  },
  {
    what: 'recipients, of the longest names',
    most: 16_382,
    mib: 64,
    envelope: (n) => [1, n + 2, [0, `/${n}${long}`, null]],
  },
  {
    what: 'types, of the longest names',
    most: 4_095,
    mib: 384,
    envelope: (n) => [0, n + 1, 'p', `t${n}`, fields.map((field) => `${field}${n}`)],
  },
]

for (const { what, most, mib, envelope } of floods) {
  void test(
    `a flood of ${what}: ${most} are taken, one more cuts the link, and nothing is left`,
    { timeout: 120_000 },
    async (t) => {
      const scene = await fuzzScene(t)
      const { a, cluster, insider, isWell } = scene
      let release: (one: number) => void = () => undefined
      const gate = new Promise<number>((resolve) => (release = resolve))
      const never = actor(Tally, { name: 'never', concurrent: ['count'] }, () => ({
        count: () => gate,
      }))
      a.system.spawn('never', never)
      await isWell('before')
      const before = await heapMib()
      await (async () => {
        const peer = await insider({ incarnation: 5 })
        peer.send(...fuzzGreeting, [1, 1, [0, '/user/never', null]])
        const perFrame = what.startsWith('types') ? 10 : what.includes('longest') ? 256 : 500
        for (let n = 0; n < most;) {
          for (let frame = 0; frame < 20 && n < most; frame++) {
            const count = Math.min(perFrame, most - n)
            const first = n
            peer.send(...Array.from({ length: count }, (_, more) => envelope(first + more)))
            n += count
          }
          await cluster.platform.settle()
          if (peer.ended() !== undefined) break
        }
        await cluster.advance(10)
        t.equal(peer.ended(), undefined, `${most} are taken`)
        const heldMib = (await heapMib()) - before
        t.ok(heldMib < mib, `they take ${Math.round(heldMib)} MiB, at most ${mib}`)
        await isWell('meanwhile')
        peer.send(envelope(most))
        await cluster.until(() => peer.ended() !== undefined)
        t.equal(peer.ended(), 'CLUSTER_BAD_FRAME', 'one more')
        t.comment(`${most} ${what}: ${Math.round(heldMib)} MiB`)
      })()
      // The handlers end, for nobody.
      release(1)
      await cluster.advance(60_000)
      // The memory network lets go of a link that has ended when the next one comes.
      const next = await scene.stranger()
      next.link.close()
      await cluster.advance(1_000)
      const leftMib = (await heapMib()) - before
      t.ok(leftMib < 16, `${leftMib.toFixed(1)} MiB are left`)
      await isWell('afterwards')
    },
  )
}

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
      [5, 'the longest that are remembered', long, 17_000],
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
