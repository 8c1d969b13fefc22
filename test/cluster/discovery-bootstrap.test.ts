/** When a node that starts takes part: rule by rule, and as a small model of a whole cluster that starts in any order. */
import fc from 'fast-check'
import { test } from 'tap'
import { sourceModule } from '../support/source-module.ts'

type Core = InstanceType<typeof BootstrapCore>
type Options = import('../../packages/cluster/src/membership/bootstrap-core.ts').BootstrapOptions
type Member = import('../../packages/cluster/src/membership/bootstrap-core.ts').BootstrapMember
type NodeAddress = import('../../packages/cluster/src/transport/address.ts').NodeAddress

const { BootstrapCore, majorityOf } = await sourceModule<
  typeof import('../../packages/cluster/src/membership/bootstrap-core.ts')
>('cluster', 'membership/bootstrap-core')

const at = (name: string): NodeAddress => `ws://${name}:1` as NodeAddress

/** `b` joining, `b!` alive; `b?` cannot be reached, `b-` has no link. */
function members(text: string): { readonly type: 'members'; readonly members: readonly Member[] } {
  return {
    type: 'members',
    members: text.split(' ').map((word) => ({
      name: word.replace(/[!?-]/g, ''),
      status: word.includes('!') ? 'alive' : 'joining',
      isReachable: !word.includes('?'),
      isLinked: !word.includes('-'),
    })),
  }
}

function seeds(text: string, isPending = false): Parameters<Core['step']>[0] {
  return { type: 'seeds', seeds: text === '' ? [] : text.split(' ').map(at), isPending }
}

const answered = (name: string) => ({ type: 'dial-result', address: at(name), ok: true, name }) as const
const refused = (name: string, code = 'CLUSTER_DIAL_REFUSED') =>
  ({ type: 'dial-result', address: at(name), ok: false, code }) as const
const tick = { type: 'tick' } as const

/** Node `a` with 100 ms of stability and 1,000 ms of patience. */
function core(options: Partial<Options> = {}): Core {
  return new BootstrapCore({ name: 'a', stableMs: 100, aloneAfterMs: 1_000, ...options })
}

const alone = [{ type: 'become-alive', how: 'founded', with: ['a'] }]

void test('BootstrapCore founds alone at once when there is nobody to wait for', async (t) => {
  t.same(core().step(seeds(''), 5), alone)
  t.same(core({ address: at('a') }).step(seeds('a'), 5), alone, 'its own address is nobody')
  const self = core()
  t.same(self.step(seeds('a'), 0), [])
  t.same(self.step(refused('a', 'CLUSTER_DIALLED_ITSELF'), 7), alone, 'nor is another name for it')
})

void test('BootstrapCore founds alone as soon as every seed has failed once, and not before', async (t) => {
  const a = core()
  t.same(a.step(seeds('b c'), 0), [])
  t.same(a.step(refused('b'), 10), [])
  t.equal(a.nextDeadlineMs(), 1_000)
  t.same(a.step(refused('c'), 20), alone)
  t.equal(a.nextDeadlineMs(), undefined)
  t.same(a.step(members('a b!'), 30), [], 'only once')
  t.equal(a.status().phase, 'alive')
})

void test('BootstrapCore founds alone when a seed is silent for aloneAfterMs', async (t) => {
  const a = core()
  a.step(seeds('b'), 50)
  t.equal(a.nextDeadlineMs(), 1_050)
  t.same(a.step(tick, 1_049), [])
  t.same(a.step(tick, 1_050), alone)
})

void test('BootstrapCore waits for a discovery that has not answered as for a seed', async (t) => {
  const a = core()
  t.same(a.step(seeds('', true), 0), [])
  t.match(a.status().summary, /the discovery has not answered yet/)
  t.same(a.step(seeds('', false), 30), alone)
})

void test('BootstrapCore does not found alone between the answer of a seed and the news of who it is', async (t) => {
  const a = core()
  a.step(seeds('b'), 0)
  t.same(a.step(answered('b'), 10), [])
  t.same(a.step(members('a b!'), 12), [{ type: 'become-alive', how: 'joined', with: ['b'] }])
})

void test('BootstrapCore joins the living when it is linked to all of them and none is doubted', async (t) => {
  const a = core({ expect: 5 })
  t.same(a.step(members('a b! c!-'), 0), [])
  t.match(a.status(), { unmet: ['c'], summary: /waiting for a link with c, of 2 members that are alive/ })
  t.same(a.step(members('a b! c!- d'), 1_000_000), [], 'however long that takes')
  t.equal(a.nextDeadlineMs(), undefined)
  const joined = [{ type: 'become-alive', how: 'joined', with: ['b', 'c'] }]
  t.same(a.step(members('a b! c!?-'), 1_000_001), [], 'b may be of the side of a split that loses')
  t.same(a.step(members('a b! c!?'), 1_000_002), [])
  t.same(a.step(members('a b! c!'), 1_000_003), joined, 'it was not')
  t.same(core({ expect: 5 }).step(members('a b! c!'), 0), joined, 'whatever is expected')
})

void test('BootstrapCore founds nothing beside living members that cannot be reached', async (t) => {
  const a = core()
  a.step(members('a b!? c'), 0)
  t.same(a.step(tick, 1_000_000), [])
  t.same(a.status().unmet, ['b'])
  a.step(members('a c'), 1_000_001)
  t.same(a.step(tick, 1_000_101), [{ type: 'become-alive', how: 'founded', with: ['a', 'c'] }], 'b is down')
})

void test('BootstrapCore founds with those it expects when they have been the same for stableMs', async (t) => {
  const a = core({ expect: 2 })
  t.same(a.step(seeds('b'), 0), [])
  a.step(refused('b'), 1)
  t.same(a.step(tick, 5_000), [], 'never alone')
  t.match(a.status(), {
    phase: 'waiting',
    met: ['a'],
    summary: 'waiting for 1 more of 2 expected members (met: a); seeds: ws://b:1 CLUSTER_DIAL_REFUSED',
  })
  t.equal(JSON.stringify(a.status()), JSON.stringify(JSON.parse(JSON.stringify(a.status()))), 'plain data')
  t.same(a.step(members('a b? c-'), 6_000), [], 'b cannot be reached')
  t.equal(a.nextDeadlineMs(), 6_100)
  t.same(a.step(members('a b c-'), 6_050), [], 'another group')
  t.equal(a.nextDeadlineMs(), 6_150)
  t.same(a.step(tick, 6_149), [])
  t.same(a.step(tick, 6_150), [{ type: 'become-alive', how: 'founded', with: ['a', 'b', 'c'] }])
})

void test('BootstrapCore founds with a group that never comes to rest after five times stableMs', async (t) => {
  const a = core({ expect: 2 })
  let text = 'a b'
  let nowMs = 0
  for (; nowMs < 500; nowMs += 50) {
    t.same(a.step(members(text), nowMs), [], `at ${nowMs}`)
    text += ` n${nowMs}`
  }
  t.equal(a.step(members(text), nowMs).length, 1)
})

void test('BootstrapCore that was in a cluster founds none without a majority of its last view', async (t) => {
  const required = majorityOf(['a', 'b', 'c', 'd', 'e'])
  t.equal(required.count, 3)
  t.equal(majorityOf(['a', 'b', 'c', 'd']).count, 3, 'half is no majority')
  const a = core({ required })
  a.step(seeds(''), 0)
  t.same(a.step(members('a b x y z'), 10), [])
  t.same(a.step(tick, 1_000_000), [], 'strangers do not count')
  t.match(a.status().summary, /waiting for 1 more of the 5 members of the last view \(one of c, d, e\)/)
  a.step(members('a b c'), 1_000_001)
  t.same(a.step(tick, 1_000_101), [{ type: 'become-alive', how: 'founded', with: ['a', 'b', 'c'] }])
  t.equal(core({ required }).step(members('a x!'), 0).length, 1, 'it joins the living all the same')
})

void test('BootstrapCore refuses options that it could never meet', async (t) => {
  for (const options of [{ expect: 0 }, { expect: 1.5 }, { stableMs: -1 }, { aloneAfterMs: NaN }]) {
    t.throws(() => core(options), { name: 'RangeError', message: /Cannot start a cluster with/ })
  }
  t.throws(() => core({ required: { names: ['a'], count: 2 } }), { message: /required\.count 2/ })
})

// ---- The model --------------------------------------------------------------------------------------------------

interface Plan {
  readonly expect: number
  /** When each node starts; `undefined`: never. Node i is called `n<i>`. */
  readonly startsMs: readonly (number | undefined)[]
  /** For each node, which nodes are its seeds. */
  readonly seeds: readonly (readonly number[])[]
  /** Asked for each dial, refusal and word: how long it takes. `undefined`: it is lost. */
  readonly delayMs: (kind: 'link' | 'refusal' | 'word', from: number, to: number) => number | undefined
}

interface Outcome {
  readonly founders: readonly (readonly string[])[]
  /** How many groups of living nodes there are that know nothing of each other. */
  readonly clusters: number
  readonly alive: number
}

interface ModelNode {
  readonly index: number
  readonly name: string
  readonly core: Core
  readonly known: Map<string, 'joining' | 'alive'>
  readonly linked: Set<number>
  readonly dialled: Set<number>
  isAlive: boolean
}

/** Nodes with cores, links that take their time, gossip over links, and a dial again after a refusal. */
function play(plan: Plan, untilMs = 60_000): Outcome {
  const nodes = new Map<number, ModelNode>()
  const founders: (readonly string[])[] = []
  let queue: { readonly atMs: number; readonly order: number; readonly run: () => void }[] = []
  let nowMs = 0
  let order = 0
  const later = (afterMs: number, run: () => void): void => {
    queue.push({ atMs: nowMs + afterMs, order: order++, run })
  }
  const feed = (node: ModelNode, input: Parameters<Core['step']>[0]): void => {
    for (const effect of node.core.step(input, nowMs)) {
      node.isAlive = true
      if (effect.how === 'founded') founders.push(effect.with)
      node.known.set(node.name, 'alive')
      gossip(node)
    }
    const dueMs = node.core.nextDeadlineMs()
    if (dueMs !== undefined)
      later(dueMs - nowMs, () => nowMs >= (node.core.nextDeadlineMs() ?? Infinity) && feed(node, tick))
  }
  const tellMembers = (node: ModelNode): void => {
    const list = [...node.known].map(([name, status]) => ({
      name,
      status,
      isReachable: true,
      isLinked: name === node.name || node.linked.has(Number(name.slice(1))),
    }))
    feed(node, { type: 'members', members: list })
  }
  const gossip = (node: ModelNode): void => {
    for (const to of node.linked) {
      const words = new Map(node.known)
      const afterMs = plan.delayMs('word', node.index, to)
      const peer = nodes.get(to)
      if (afterMs !== undefined && peer !== undefined) later(afterMs, () => hear(peer, words))
    }
  }
  const hear = (node: ModelNode, words: ReadonlyMap<string, 'joining' | 'alive'>): void => {
    let isNew = false
    for (const [name, status] of words) {
      const before = node.known.get(name)
      if (before === 'alive' || before === status) continue
      node.known.set(name, status)
      isNew = true
    }
    if (!isNew) return
    tellMembers(node)
    gossip(node)
    for (const name of node.known.keys()) dial(node, Number(name.slice(1)))
  }
  const linkUp = (node: ModelNode, peer: ModelNode): void => {
    if (node.linked.has(peer.index)) return
    node.linked.add(peer.index)
    if (!node.known.has(peer.name)) node.known.set(peer.name, 'joining')
    tellMembers(node)
    gossip(node)
  }
  const dial = (node: ModelNode, to: number): void => {
    if (to === node.index || node.linked.has(to) || node.dialled.has(to)) return
    node.dialled.add(to)
    const peer = nodes.get(to)
    if (peer === undefined) {
      later(plan.delayMs('refusal', node.index, to) ?? 20, () => {
        node.dialled.delete(to)
        feed(node, { type: 'dial-result', address: at(`n${to}`), ok: false, code: 'CLUSTER_DIAL_REFUSED' })
        later(250, () => dial(node, to))
      })
      return
    }
    const mineMs = plan.delayMs('link', node.index, to)
    if (mineMs === undefined) return
    const theirsMs = plan.delayMs('link', to, node.index)
    if (theirsMs !== undefined) later(theirsMs, () => linkUp(peer, node))
    later(mineMs, () => {
      feed(node, { type: 'dial-result', address: at(peer.name), ok: true, name: peer.name })
      linkUp(node, peer)
    })
  }
  for (const [index, startMs] of plan.startsMs.entries()) {
    if (startMs === undefined) continue
    later(startMs, () => {
      const name = `n${index}`
      const node: ModelNode = {
        index,
        name,
        core: new BootstrapCore({
          name,
          address: at(name),
          expect: plan.expect,
          stableMs: 100,
          aloneAfterMs: 1_000,
        }),
        known: new Map([[name, 'joining']]),
        linked: new Set(),
        dialled: new Set(),
        isAlive: false,
      }
      nodes.set(index, node)
      feed(node, {
        type: 'seeds',
        seeds: (plan.seeds[index] ?? []).map((seed) => at(`n${seed}`)),
        isPending: false,
      })
      for (const seed of plan.seeds[index] ?? []) dial(node, seed)
    })
  }
  while (queue.length > 0) {
    let next = queue[0]
    for (const event of queue) {
      if (
        next === undefined ||
        event.atMs < next.atMs ||
        (event.atMs === next.atMs && event.order < next.order)
      )
        next = event
    }
    if (next === undefined || next.atMs > untilMs) break
    queue = queue.filter((event) => event !== next)
    nowMs = next.atMs
    next.run()
  }
  return {
    founders,
    clusters: countClusters(nodes),
    alive: [...nodes.values()].filter((node) => node.isAlive).length,
  }
}

/** Who is linked to whom, seen as one graph over all nodes that started: its parts that hold somebody alive. */
function countClusters(nodes: ReadonlyMap<number, ModelNode>): number {
  const seen = new Set<number>()
  let clusters = 0
  for (const start of nodes.values()) {
    if (!start.isAlive || seen.has(start.index)) continue
    clusters++
    const open = [start.index]
    for (let next = open.pop(); next !== undefined; next = open.pop()) {
      if (seen.has(next)) continue
      seen.add(next)
      for (const node of nodes.values()) {
        if (node.linked.has(next)) open.push(node.index)
        if (node.index === next) open.push(...node.linked)
      }
    }
  }
  return clusters
}

function haveCommon(groups: readonly (readonly string[])[]): boolean {
  return groups.every((a) => groups.every((b) => a.some((name) => b.includes(name))))
}

/** Delays from a list that fast-check has drawn, one after the other, and round again. */
function drawn(
  list: readonly (number | undefined)[],
): (kind: 'link' | 'refusal' | 'word', from: number, to: number) => number | undefined {
  let index = 0
  return () => list[index++ % list.length]
}

const anyStart = fc.integer({ min: 0, max: 3_000 })

void test('bootstrap promise 1: with more than half expected, any two founding groups share a node', async (t) => {
  let founded = 0
  let severalFounders = 0
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 6 }).chain((n) =>
        fc.record({
          startsMs: fc.array(fc.option(anyStart, { nil: undefined, freq: 8 }), {
            minLength: n,
            maxLength: n,
          }),
          seeds: fc.array(fc.uniqueArray(fc.integer({ min: 0, max: n - 1 })), { minLength: n, maxLength: n }),
          delays: fc.array(fc.option(fc.integer({ min: 0, max: 4_000 }), { nil: undefined, freq: 6 }), {
            minLength: 1,
            maxLength: 40,
          }),
        }),
      ),
      ({ startsMs, seeds: given, delays }) => {
        const expect = Math.floor(startsMs.length / 2) + 1
        const { founders, alive } = play({ expect, startsMs, seeds: given, delayMs: drawn(delays) }, 20_000)
        if (founders.length > 0) founded++
        if (founders.length > 1) severalFounders++
        return (
          haveCommon(founders) &&
          founders.every((group) => group.length >= expect) &&
          (alive === 0 || founders.length > 0)
        )
      },
    ),
    { numRuns: 2_000, seed: 41 },
  )
  t.ok(
    founded > 300 && severalFounders > 50,
    `it was put to the test: ${founded} founded, ${severalFounders} several times`,
  )
})

void test('bootstrap promise 1: where the network heals, there is one cluster with all nodes, in whatever order they start', async (t) => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 6 }).chain((n) =>
        fc.record({
          startsMs: fc.array(anyStart, { minLength: n, maxLength: n }),
          // A ring of seeds, and chance: all hang together.
          more: fc.array(fc.uniqueArray(fc.integer({ min: 0, max: n - 1 })), { minLength: n, maxLength: n }),
          delays: fc.array(fc.integer({ min: 0, max: 2_000 }), { minLength: 1, maxLength: 40 }),
          expect: fc.integer({ min: Math.floor(n / 2) + 1, max: n }),
        }),
      ),
      ({ startsMs, more, delays, expect }) => {
        const n = startsMs.length
        const given = more.map((list, index) => [...new Set([...list, (index + 1) % n])])
        const outcome = play({ expect, startsMs, seeds: given, delayMs: drawn(delays) })
        return outcome.alive === n && outcome.clusters === 1 && haveCommon(outcome.founders)
      },
    ),
    { numRuns: 1_500, seed: 42 },
  )
  t.pass('1,500 clusters')
})

void test('bootstrap promise 2: a common seed that is up first and answers in time is in every founding group', async (t) => {
  let severalFounders = 0
  fc.assert(
    fc.property(
      fc.integer({ min: 2, max: 6 }).chain((n) =>
        fc.record({
          startsMs: fc.array(fc.integer({ min: 1, max: 3_000 }), { minLength: n - 1, maxLength: n - 1 }),
          more: fc.array(fc.uniqueArray(fc.integer({ min: 0, max: n - 1 })), { minLength: n, maxLength: n }),
          // A link and a word together take less than 1,000 ms, the patience of the model.
          delays: fc.array(fc.integer({ min: 0, max: 499 }), { minLength: 1, maxLength: 40 }),
          expect: fc.integer({ min: 1, max: 3 }),
        }),
      ),
      ({ startsMs, more, delays, expect }) => {
        const n = startsMs.length + 1
        const given = more.map((list) => [...new Set([...list, 0])])
        const outcome = play({ expect, startsMs: [0, ...startsMs], seeds: given, delayMs: drawn(delays) })
        if (outcome.founders.length > 1) severalFounders++
        return (
          outcome.founders.every((group) => group.includes('n0')) &&
          outcome.clusters <= 1 &&
          (n < expect || outcome.alive === n)
        )
      },
    ),
    { numRuns: 1_500, seed: 43 },
  )
  t.ok(severalFounders > 100, `${severalFounders} with several founders`)
})

void test('bootstrap promise 3: one seed for all and two expected: one cluster, also when the seed starts last', async (t) => {
  fc.assert(
    fc.property(
      fc.integer({ min: 2, max: 6 }).chain((n) =>
        fc.record({
          startsMs: fc.array(anyStart, { minLength: n, maxLength: n }),
          // Words arrive within the 100 ms of stability.
          delays: fc.array(fc.integer({ min: 0, max: 99 }), { minLength: 1, maxLength: 40 }),
        }),
      ),
      ({ startsMs, delays }) => {
        const outcome = play({ expect: 2, startsMs, seeds: startsMs.map(() => [0]), delayMs: drawn(delays) })
        return (
          outcome.founders.every((group) => group.includes('n0')) &&
          outcome.clusters === 1 &&
          outcome.alive === startsMs.length
        )
      },
    ),
    { numRuns: 1_500, seed: 44 },
  )
  t.pass('1,500 clusters')
})

void test('bootstrap of three nodes that know each other: every order and delay of a grid, exhaustively', async (t) => {
  const starts = [0, 10, 200]
  const delays = [1, 30, 700]
  let runs = 0
  let founders = 0
  const wrong: string[] = []
  for (const expect of [1, 2, 3]) {
    for (let start = 0; start < 27; start++) {
      const startsMs = [0, 1, 2].map((place) => starts[Math.floor(start / 3 ** place) % 3])
      for (let delay = 0; delay < 3 ** 6; delay++) {
        const delayOf = (from: number, to: number): number =>
          delays[Math.floor(delay / 3 ** (from * 2 + (to > from ? to - 1 : to))) % 3] ?? 1
        const outcome = play({
          expect,
          startsMs,
          seeds: [
            [0, 1, 2],
            [0, 1, 2],
            [0, 1, 2],
          ],
          delayMs: (kind, from, to) => (kind === 'refusal' ? 1 : delayOf(from, to)),
        })
        runs++
        founders += outcome.founders.length
        if (outcome.alive !== 3 || outcome.clusters !== 1 || !haveCommon(outcome.founders)) {
          wrong.push(
            `expect ${expect}, starts ${startsMs.join()}, delays ${delay}: ${JSON.stringify(outcome)}`,
          )
        }
      }
    }
  }
  t.same(wrong.slice(0, 3), [], `${wrong.length} of ${runs} runs`)
  t.ok(founders > runs, 'several founders at once were met')
})

void test('bootstrap without a promise: two pairs with seeds of their own may begin apart, and say so', async (t) => {
  const outcome = play({
    expect: 2,
    startsMs: [0, 0, 0, 0],
    seeds: [[1], [0], [3], [2]],
    delayMs: () => 10,
  })
  t.equal(outcome.clusters, 2, 'the model can tell two clusters from one')
  t.notOk(haveCommon(outcome.founders))
})
