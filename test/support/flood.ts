/** Floods of a bad member up to the bound of what a node takes, and one more; for the tests of each kind. */
import { actor } from '@understudy/runtime'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import type { Test } from 'tap'
import { fuzzGreeting, fuzzScene, Tally } from './fuzz-scene.ts'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

/** Heap in use, MiB, after so many collections. */
export async function heapMib(collections = 3): Promise<number> {
  for (let n = 0; n < collections; n++) {
    await new Promise((resolve) => setImmediate(resolve))
    collect()
  }
  return process.memoryUsage().heapUsed / 2 ** 20
}

export interface Flood {
  readonly what: string
  /** How many a node takes of one link. */
  readonly most: number
  /** For all of them together, MiB. */
  readonly mib: number
  readonly envelope: (n: number) => unknown
}

/** Characters that are about the most that a name may have. */
export const longName = 'x'.repeat(1_900)

/** All that are taken, within so much memory; one more, which cuts the link; and nothing is left. Others are served meanwhile. */
export async function flood(t: Test, { what, most, mib, envelope }: Flood): Promise<void> {
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
    // Once: what is left by one collection only makes it seem more, and each takes seconds when so much is held.
    const heldMib = (await heapMib(1)) - before
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
}
