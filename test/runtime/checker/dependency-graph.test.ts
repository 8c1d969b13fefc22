/** DependencyGraph: whether there is a circle, and the shortest, against trying everything on small random graphs. */
import { test } from 'tap'
import { SeededNumbers } from '../../support/concurrent-history.ts'
import { sourceModule } from '../../support/source-module.ts'

const { DependencyGraph, edgeKind } = await sourceModule<
  typeof import('../../../packages/runtime/src/checker/dependency-graph.ts')
>('runtime', 'checker/dependency-graph')

type Edge = readonly [from: number, to: number, kind: number]

const { ww, wr, rw, through } = edgeKind
const data = ww | wr | rw

function graphOf(nodes: number, edges: readonly Edge[]) {
  const graph = new DependencyGraph(nodes)
  for (const [from, to, kind] of edges) graph.addEdge(from, to, kind)
  graph.seal()
  return graph
}

function randomEdges(random: SeededNumbers, nodes: number): readonly Edge[] {
  return Array.from({ length: 2 + random.below(nodes * 2) }, (): Edge => {
    const from = random.below(nodes)
    const to = (from + 1 + random.below(nodes - 1)) % nodes
    return [from, to, random.pick([ww, wr, rw, rw])]
  })
}

/** Length of the shortest closed walk; `isSpaced`: in which no rw follows another, around the end too. */
function shortestWalk(edges: readonly Edge[], isSpaced: boolean): number {
  let shortest = Number.POSITIVE_INFINITY
  for (const start of edges.keys()) {
    // States are an edge and how many it took to get there; breadth first over edges.
    const lengths = new Map<number, number>([[start, 1]])
    const queue = [start]
    for (let at = queue.shift(); at !== undefined; at = queue.shift()) {
      const [, to, kind] = edges[at]!
      const length = lengths.get(at) ?? 0
      for (const [next, edge] of edges.entries()) {
        if (edge[0] !== to || (isSpaced && kind === rw && edge[2] === rw)) continue
        if (next === start) shortest = Math.min(shortest, length)
        if (lengths.has(next)) continue
        lengths.set(next, length + 1)
        queue.push(next)
      }
    }
  }
  return shortest
}

void test('DependencyGraph finds a circle where there is one, and the shortest', async (t) => {
  const seen = { with: 0, without: 0, longer: 0 }
  for (let seed = 0; seed < 3000; seed++) {
    const random = new SeededNumbers(seed)
    const nodes = 2 + random.below(7)
    const edges = randomEdges(random, nodes)
    const graph = graphOf(nodes, edges)
    for (const isSpaced of [false, true]) {
      const shortest = shortestWalk(edges, isSpaced)
      const components = graph.components(data, isSpaced)
      if (components.hasCycle !== Number.isFinite(shortest)) {
        t.fail(`seed ${seed} spaced ${isSpaced}: ${components.hasCycle}, but ${shortest}`)
      }
      seen[components.hasCycle ? 'with' : 'without']++
      const how = { kinds: data, startKinds: data, components, nameOf: () => 'any', isWanted: () => true }
      const { cycles, isCut } = graph.cycles(how, 1e9)
      const found = Math.min(...cycles.map((cycle) => cycle.length))
      if (found !== shortest || isCut)
        t.fail(`seed ${seed} spaced ${isSpaced}: found ${found}, not ${shortest}`)
      if (shortest > 2 && Number.isFinite(shortest)) seen.longer++
      for (const cycle of cycles) {
        for (const [i, step] of cycle.entries()) {
          const before = cycle.at(i - 1)
          if (before?.to !== step.from) t.fail(`seed ${seed}: no circle`)
          if (isSpaced && before?.kind === rw && step.kind === rw) t.fail(`seed ${seed}: rw after rw`)
          if (!edges.some(([from, to, kind]) => from === step.from && to === step.to && kind === step.kind)) {
            t.fail(`seed ${seed}: no such edge`)
          }
        }
      }
    }
  }
  t.ok(seen.with > 500 && seen.without > 500 && seen.longer > 200, JSON.stringify(seen))
})

void test('DependencyGraph: a waypoint is no step of a circle', async (t) => {
  const graph = new DependencyGraph(3)
  const [first, second] = [graph.addWaypoint(), graph.addWaypoint()]
  graph.addEdge(0, first, rw)
  graph.addEdge(first, second, through)
  graph.addEdge(second, 1, through)
  graph.addEdge(1, 2, wr)
  graph.addEdge(2, 0, ww)
  graph.addEdge(1, 1, ww)
  graph.seal()
  for (const isSpaced of [false, true]) {
    const components = graph.components(data, isSpaced)
    const how = { kinds: data, startKinds: rw, components, nameOf: () => 'any', isWanted: () => true }
    const [cycle] = graph.cycles(how, 1e6).cycles
    t.same(
      cycle?.map(({ from, to, kind }) => [from, to, kind]),
      [
        [0, 1, rw],
        [1, 2, wr],
        [2, 0, ww],
      ],
    )
  }
  t.equal(graph.components(ww | wr).hasCycle, false)
})

void test('DependencyGraph: waypoints do not make a circle longer than another', async (t) => {
  const graph = new DependencyGraph(4)
  const waypoints = [graph.addWaypoint(), graph.addWaypoint(), graph.addWaypoint(), graph.addWaypoint()]
  graph.addEdge(0, 1, ww)
  graph.addEdge(1, 2, ww)
  graph.addEdge(2, 3, ww)
  graph.addEdge(3, 0, wr)
  graph.addEdge(0, waypoints[0] ?? 0, rw)
  for (const [i, waypoint] of waypoints.entries()) graph.addEdge(waypoint, waypoints[i + 1] ?? 3, through)
  graph.seal()
  const how = { kinds: data, startKinds: wr, nameOf: () => 'any', isWanted: () => true }
  const [cycle] = graph.cycles({ ...how, components: graph.components(data) }, 1e6).cycles
  t.equal(cycle?.length, 2)
})

void test('DependencyGraph: a circle of 200,000 is no matter of recursion', async (t) => {
  const nodes = 200_000
  const graph = graphOf(
    nodes,
    Array.from({ length: nodes }, (_, i): Edge => [i, (i + 1) % nodes, ww]),
  )
  const components = graph.components(ww)
  t.ok(components.hasCycle)
  t.same([...components.sizes], [nodes])
  const how = { kinds: ww, startKinds: ww, components, nameOf: () => 'any', isWanted: () => true }
  t.equal(graph.cycles(how, 0).cycles[0]?.length, nodes)
})
