/** Partitions of the simulated network, and whole runs: the same seed is the same run, with all kinds of fault. */
import { FaultDriver, Simulation } from '@understudy/runtime/simulation'
import { sourceModule } from '../support/source-module.ts'
import { calm, passes, test, upTo, type Bed, type End } from './network-bed.ts'

type Partitions = typeof import('../../packages/cluster/src/simulation/partition.ts')

const { partitionShapes } = await sourceModule<Partitions>('cluster', 'simulation/partition')

// ---- Partitions ------------------------------------------------------------------------------------------------

void test('a partition: frames wait, arrive when it heals in time, and the links are lost when it does not', async (t) => {
  await passes({ network: calm, names: ['a', 'b', 'c'] }, async ({ simulation, network, link }) => {
    const { near, far } = await link('a', 'b')
    const other = await link('a', 'c')
    near.send(1)
    network.partition([['a'], ['b']], { forMs: 10_000 })
    near.send(2)
    far.send(3)
    other.near.send(1)
    await simulation.sleep(9_000)
    t.same([near.got, far.got, other.far.got], [[], [], [0]], 'who is in no group keeps its links')
    await simulation.sleep(2_000)
    t.same([near.got, far.got], [upTo(3), upTo(3)])
    t.equal(near.ended, undefined)

    network.partition([['a'], ['b']])
    near.send(1)
    await simulation.sleep(16_000)
    t.same([near.ended, far.ended], ['CLUSTER_LINK_LOST', 'CLUSTER_LINK_LOST'])
    network.heal()
    await simulation.sleep(1_000)
    t.same(far.got, upTo(3), 'what waited is lost with its link')
    t.equal(other.near.ended, undefined)
  })
})

void test('a clog holds one direction back, all of a host with *, and lets go at once or one by one', async (t) => {
  await passes({ network: calm, names: ['a', 'b', 'c'] }, async ({ simulation, network, link }) => {
    const ab = await link('a', 'b')
    const ca = await link('c', 'a')
    network.clog('a', '*', { forMs: 500, gapMs: 10 })
    const startMs = simulation.nowMs
    ab.near.send(3)
    ab.far.send(3)
    ca.far.send(1)
    ca.near.send(1)
    await simulation.sleep(499)
    t.same([ab.far.got, ab.near.got, ca.near.got, ca.far.got], [[], upTo(3), [], [0]])
    await simulation.sleep(1_000)
    t.same(
      ab.far.gotAtMs.map((ms) => Math.round(ms - startMs)),
      [500, 510, 520],
    )
    t.same(ca.near.got, [0])
  })
})

void test('each shape of partition blocks exactly the directions that it should', async (t) => {
  const { choices } = new Simulation({ seed: 5, policy: 'fifo' })
  const hosts = (count: number): { readonly name: string; readonly zone: string }[] =>
    Array.from({ length: count }, (_, n) => ({ name: `n${n}`, zone: `z${n % 3}` }))
  for (let count = 2; count <= 9; count++) {
    for (let round = 0; round < 20; round++) {
      const all = hosts(count)
      const draw = (shape: keyof typeof partitionShapes): ReadonlySet<string> | undefined => {
        const cut = partitionShapes[shape](all, choices.stream(`${shape}/${count}/${round}`))
        if (cut === undefined) return undefined
        const pairs = new Set(cut.pairs.map(([from, to]) => `${from.name}>${to.name}`))
        t.equal(pairs.size, cut.pairs.length, 'no pair twice')
        return pairs
      }
      const seenBy = (pairs: ReadonlySet<string>, name: string): readonly string[] =>
        all.map((host) => host.name).filter((other) => !pairs.has(`${other}>${name}`))
      const sizes = (pairs: ReadonlySet<string>): readonly number[] =>
        all.map(({ name }) => seenBy(pairs, name).length).sort((a, b) => a - b)
      const isSymmetric = (pairs: ReadonlySet<string>): boolean =>
        [...pairs].every((pair) => pairs.has(pair.split('>').reverse().join('>')))

      const isolate = draw('isolate')
      t.same(isolate && sizes(isolate), [1, ...Array.from({ length: count - 1 }, () => count - 1)].sort())
      for (const shape of ['halves', 'assignment'] as const) {
        const pairs = draw(shape)
        if (pairs === undefined) continue
        const mine = seenBy(pairs, 'n0').length
        t.ok(isSymmetric(pairs) && mine >= 1 && mine < count)
        t.equal(pairs.size, 2 * mine * (count - mine), `${shape}: two parts, nothing between them`)
      }
      const third = draw('minority-third')
      t.equal(third === undefined, count < 4)
      if (third !== undefined) t.ok((sizes(third)[0] ?? count) * 3 < count, 'less than a third')
      const ring = draw('ring')
      if (ring !== undefined) {
        t.ok(isSymmetric(ring))
        const views = all.map(({ name }) => seenBy(ring, name).join(','))
        t.ok((sizes(ring)[0] ?? 0) > count / 2, 'each sees a majority')
        t.equal(new Set(views).size, count, 'and no two the same')
      }
      t.equal(ring === undefined, count < 4, 'in a small ring everybody is a neighbour')
      const bridge = draw('bridge')
      t.equal(bridge === undefined, count < 3)
      if (bridge !== undefined) {
        t.equal(sizes(bridge).filter((size) => size === count).length, 1, 'one sees all')
        t.ok(isSymmetric(bridge))
      }
      const oneWay = draw('one-way')
      t.ok(oneWay !== undefined && oneWay.size > 0)
      t.ok([...(oneWay ?? [])].every((pair) => !oneWay?.has(pair.split('>').reverse().join('>'))))
      const zone = draw('zone')
      if (zone !== undefined) {
        const out = all.find(({ name }) => zone.has(`n0>${name}`) || zone.has(`${name}>n0`))
        t.ok(out?.zone !== 'z0', 'nobody is cut off from its own zone')
        t.ok(isSymmetric(zone))
      }
    }
  }
})

void test('a shape in force stops exactly the frames of the directions that it names', async (t) => {
  const names = ['a', 'b', 'c', 'd', 'e']
  for (const shape of Object.keys(partitionShapes) as (keyof typeof partitionShapes)[]) {
    await passes({ seed: 11, names, network: calm, trace: true }, async ({ simulation, network, link }) => {
      const ends = new Map<string, End>()
      for (const [i, from] of names.entries()) {
        for (const to of names.slice(i + 1)) {
          const { near, far } = await link(from, to)
          ends.set(`${from}>${to}`, near)
          ends.set(`${to}>${from}`, far)
        }
      }
      const undo = network.partitionShaped(shape)
      for (const end of ends.values()) end.send(1)
      await simulation.sleep(100)
      const stopped = [...ends.keys()].filter((pair) => {
        return ends.get(pair.split('>').reverse().join('>'))?.got.length === 0
      })
      const all = names.map((name, index) => ({ name, zone: `z${index % 2}` }))
      const again = new Simulation({ seed: 11, policy: 'fifo' }).choices.stream(`fault/partition-${shape}`)
      const wanted = partitionShapes[shape](all, again)?.pairs.map(([a, b]) => `${a.name}>${b.name}`)
      t.same(stopped.sort(), wanted === undefined ? [] : [...wanted].sort(), shape)
      undo?.()
      await simulation.sleep(1)
      for (const end of ends.values()) t.same(end.got, [0], 'mended')
    })
  }
})

// ---- Seeds -----------------------------------------------------------------------------------------------------

/** Traffic between three hosts under every kind of fault; links that end are opened again. */
async function storm({ simulation, network, link }: Bed): Promise<void> {
  const driver = new FaultDriver(simulation, network.faultKinds(), { chances: [0, 0.02, 0.1] })
  driver.start()
  const talk = async (from: string, to: string): Promise<void> => {
    for (let n = 0; n < 20; n++) {
      try {
        const { near, far } = await link(from, to)
        for (let round = 0; round < 20 && near.ended === undefined; round++) {
          near.send(2)
          far.send(1)
          await simulation.sleep(25)
        }
        near.link.close()
      } catch {
        await simulation.sleep(100)
      }
    }
  }
  await Promise.all([talk('a', 'b'), talk('b', 'c'), talk('c', 'a')])
  driver.heal()
  network.heal()
  for (const [from, to] of [
    ['a', 'b'],
    ['b', 'c'],
    ['c', 'a'],
  ] as const) {
    const startMs = simulation.nowMs
    const { near, far } = await link(from, to)
    near.send(3)
    await simulation.sleep(1_000)
    if (far.got.length !== 3) throw new Error(`${from} > ${to} is not healed`)
    if (simulation.nowMs - startMs > 2_000) throw new Error('a healed network is slow')
  }
}

void test('the same seed is the same run, to the byte; another seed is another one; all kinds are met', async (t) => {
  const names = ['a', 'b', 'c', 'd']
  const hashes = new Set<string>()
  const faults = new Map<string, number>()
  for (let seed = 0; seed < 30; seed++) {
    const first = await passes({ seed, names }, storm)
    if (seed < 5) t.equal((await passes({ seed, names }, storm)).hash, first.hash)
    if (seed < 5) {
      const replayed = await passes({ seed, names, choices: first.choices }, storm)
      t.equal(replayed.hash, first.hash, 'and so is a replay of its choices')
      t.same(replayed.stats.faults, first.stats.faults)
    }
    hashes.add(first.hash)
    for (const [kind, count] of Object.entries(first.stats.faults)) {
      faults.set(kind, (faults.get(kind) ?? 0) + count)
    }
  }
  t.equal(hashes.size, 30)
  const kinds: string[] = []
  await passes({}, async ({ network }) => void kinds.push(...network.faultKinds().map(({ name }) => name)))
  const missing = kinds.filter((kind) => !kind.startsWith('message-') && !faults.has(kind))
  t.same(missing, [], 'every kind was injected')
})

void test('the bytes of each frame are part of the hash', async (t) => {
  const hashOf = async (bytes: number): Promise<string> => {
    const { hash } = await passes({ network: calm }, async ({ simulation, link }) => {
      const { near } = await link('a', 'b')
      near.link.send(Uint8Array.of(1, 2, 3, bytes))
      await simulation.sleep(10)
    })
    return hash
  }
  t.equal(await hashOf(4), await hashOf(4))
  t.not(await hashOf(4), await hashOf(5))
})

void test('seeds draw how slow each direction is; after heal every frame takes the least, at no choice', async (t) => {
  const latencies = new Set<number>()
  let uneven = 0
  let asymmetric = 0
  for (let seed = 0; seed < 30; seed++) {
    await passes({ seed }, async ({ simulation, network, link }) => {
      const { near, far } = await link('a', 'b')
      const delays = async (from: End, to: End): Promise<readonly number[]> => {
        const found: number[] = []
        for (let n = 0; n < 20; n++) {
          const startMs = simulation.nowMs
          from.send(1)
          await simulation.sleep(11_000)
          found.push(Math.round(((to.gotAtMs.at(-1) ?? 0) - startMs) * 1_000) / 1_000)
        }
        return found
      }
      const there = await delays(near, far)
      const back = await delays(far, near)
      if (Math.max(...there) > Math.min(...there)) uneven++
      if (Math.min(...there) !== Math.min(...back)) asymmetric++
      latencies.add(Math.min(...there))
      t.ok(Math.min(...there) >= 0.1, 'time passes')
      network.heal()
      const { count } = simulation.choices
      const healed = await delays(near, far)
      t.equal(Math.max(...healed), Math.min(...healed))
      t.equal(simulation.choices.count, count)
    })
  }
  t.ok(latencies.size > 5 && uneven > 8 && asymmetric > 5, `${latencies.size}, ${uneven}, ${asymmetric}`)
})

void test('a benign replay has no faults and no jitter', async (t) => {
  const result = await passes({ seed: 9, choices: [], names: ['a', 'b', 'c'] }, async (bed) => {
    await storm(bed)
    const { near, far } = await bed.link('a', 'b')
    const startMs = bed.simulation.nowMs
    near.send(3)
    await bed.simulation.sleep(10)
    t.same(
      far.gotAtMs.map((ms) => Math.round((ms - startMs) * 1_000)),
      [100, 100, 100],
    )
    t.equal(bed.network.keepaliveMs, 15_000)
  })
  t.same(result.stats.faults, {})
  t.same(result.choices, [])
})

void test('heal shortens what is in flight, and tells who does not know that its connection is dead', async (t) => {
  await passes({ seed: 1, network: calm }, async ({ simulation, network, link }) => {
    const { near, far } = await link('a', 'b')
    network.limit('a', 'b', { slowFactor: 50_000 })
    near.send(3)
    await simulation.sleep(1_000)
    t.same(far.got, [])
    network.heal()
    near.send(1)
    await simulation.sleep(1)
    t.same(far.got, upTo(4))
  })
  let silent = 0
  for (let seed = 0; seed < 30; seed++) {
    await passes({ seed, network: calm }, async ({ simulation, network, link }) => {
      const { near, far } = await link('a', 'b')
      network.reset('a', 'b')
      await simulation.sleep(100)
      if (near.ended === undefined || far.ended === undefined) silent++
      network.heal()
      await simulation.sleep(1)
      t.same([near.ended, far.ended], ['CLUSTER_LINK_LOST', 'CLUSTER_LINK_LOST'])
    })
  }
  t.ok(silent > 5)
})
