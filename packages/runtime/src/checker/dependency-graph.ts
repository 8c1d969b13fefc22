/**
 * Which transaction must come before which, and the shortest circle in it: where there is one, no order exists.
 *
 * Strongly connected components (Tarjan 1972, without recursion) say exactly and in linear time whether there is a
 * circle of some kind; a breadth-first search inside a component finds a short one to show (Kingsbury and Alvaro 2020,
 * section 6).
 *
 * Besides transactions there are waypoints: nodes that stand for "everything after this point", so that n transactions
 * that all come before m others cost n + m edges. Entering a waypoint counts as no step.
 */

/** One bit for each kind of edge. `through` leads from a waypoint onwards and belongs to the edge that led into it. */
export const edgeKind = Object.freeze({ ww: 1, wr: 2, rw: 4, session: 8, realtime: 16, through: 32 })

/** `subject` and `version` say what the edge is due to; what they mean is up to who added it. */
export interface GraphEdge {
  readonly from: number
  readonly to: number
  readonly kind: number
  readonly subject: number
  readonly version: number
}

/** A search for circles. */
export interface CycleSearch {
  /** Kinds of edges that the circle may have. */
  readonly kinds: number
  /** Kinds of which it must have one. */
  readonly startKinds: number
  /** Components to look in, by state: of the same graph, of kinds that include `kinds`. */
  readonly components: Components
  /** A start edge must satisfy this too. */
  readonly isStart?: ((from: number, to: number) => boolean) | undefined
  /** Components of `kinds` alone: tells early that there is no way back. */
  readonly order?: Components | undefined
  /** What to call a circle; for each name the shortest of each component is kept. */
  readonly nameOf: (cycle: readonly GraphEdge[]) => string
  /** Once one of such a name is known, only shorter ones are looked for. */
  readonly isWanted: (name: string) => boolean
}

/**
 * Component of each state. With `isSpaced` a state is a node together with "the last edge was rw", two for each node,
 * and no rw edge follows another: a circle is then one that snapshot isolation forbids (Fekete et al. 2005; Cerone and
 * Gotsman 2018, theorem 9). Numbers never grow along an edge.
 */
export interface Components {
  readonly isSpaced: boolean
  readonly ofState: Int32Array
  /** Size of each component, in states. */
  readonly sizes: Int32Array
  readonly hasCycle: boolean
}

export class DependencyGraph {
  readonly #transactions: number
  #nodes: number
  #edges = 0
  #from = new Int32Array(1024)
  #to = new Int32Array(1024)
  #kind = new Uint8Array(1024)
  #subject = new Int32Array(1024)
  #version = new Int32Array(1024)
  /** Edges by where they start: `#order[#starts[node]]` up to `#starts[node + 1]`. */
  #starts = new Int32Array(0)
  #order = new Int32Array(0)

  /** @param transactions how many; they are the nodes from 0 on, in the order they were called in as far as possible */
  constructor(transactions: number) {
    this.#transactions = transactions
    this.#nodes = transactions
  }

  addWaypoint(): number {
    return this.#nodes++
  }

  /** An edge from a node to itself says nothing and is left out. O(1). */
  addEdge(from: number, to: number, kind: number, subject = -1, version = -1): void {
    if (from === to) return
    if (this.#edges === this.#from.length) this.#grow()
    const edge = this.#edges++
    this.#from[edge] = from
    this.#to[edge] = to
    this.#kind[edge] = kind
    this.#subject[edge] = subject
    this.#version[edge] = version
  }

  /** To be called once, after the last edge. O(nodes + edges). */
  seal(): void {
    this.#starts = new Int32Array(this.#nodes + 1)
    const starts = this.#starts
    for (let edge = 0; edge < this.#edges; edge++) {
      const after = at(this.#from, edge) + 1
      starts[after] = at(starts, after) + 1
    }
    for (let node = 0; node < this.#nodes; node++) starts[node + 1] = at(starts, node + 1) + at(starts, node)
    const next = starts.slice()
    this.#order = new Int32Array(this.#edges)
    for (let edge = 0; edge < this.#edges; edge++) {
      const from = at(this.#from, edge)
      const place = at(next, from)
      next[from] = place + 1
      this.#order[place] = edge
    }
  }

  /** Strongly connected components over edges of `kinds`. O(nodes + edges). */
  components(kinds: number, isSpaced = false): Components {
    const allowed = kinds | edgeKind.through
    const states = this.#nodes * (isSpaced ? 2 : 1)
    const ofState = new Int32Array(states).fill(-1)
    const found = new Int32Array(states)
    const low = new Int32Array(states)
    const edgeAt = new Int32Array(states)
    const path = new Int32Array(states)
    const stack = new Int32Array(states)
    const sizes: number[] = []
    let counter = 0
    let stackSize = 0
    let hasCycle = false
    // The latest first: what follows from a transaction is then mostly done, and numbers keep close to time.
    for (let root = states - 1; root >= 0; root--) {
      if (found[root] !== 0) continue
      let depth = 0
      path[0] = root
      stack[stackSize++] = root
      low[root] = found[root] = ++counter
      edgeAt[root] = at(this.#starts, this.#nodeOf(root, isSpaced))
      while (depth >= 0) {
        const state = at(path, depth)
        const place = at(edgeAt, state)
        if (place < at(this.#starts, this.#nodeOf(state, isSpaced) + 1)) {
          edgeAt[state] = place + 1
          const next = this.#stateAfter(state, at(this.#order, place), allowed, isSpaced)
          if (next < 0) continue
          if (found[next] === 0) {
            path[++depth] = next
            stack[stackSize++] = next
            low[next] = found[next] = ++counter
            edgeAt[next] = at(this.#starts, this.#nodeOf(next, isSpaced))
          } else if (ofState[next] === -1) {
            low[state] = Math.min(at(low, state), at(found, next))
          }
          continue
        }
        depth--
        if (depth >= 0) {
          const parent = at(path, depth)
          low[parent] = Math.min(at(low, parent), at(low, state))
        }
        if (low[state] !== found[state]) continue
        let size = 0
        let member: number
        do {
          member = at(stack, --stackSize)
          ofState[member] = sizes.length
          size++
        } while (member !== state)
        if (size > 1) hasCycle = true
        sizes.push(size)
      }
    }
    return { isSpaced, ofState, sizes: Int32Array.from(sizes), hasCycle }
  }

  /**
   * The shortest circles: of each component and each name one, in the order of the components. Looks along at most
   * `stepsMax` edges in all, and once from the first start of every component whatever it costs; when it runs out,
   * circles may be longer than need be and some names may be missing. `isCut` tells.
   */
  cycles(
    search: CycleSearch,
    stepsMax: number,
  ): { readonly cycles: readonly (readonly GraphEdge[])[]; readonly isCut: boolean } {
    if (!search.components.hasCycle) return { cycles: [], isCut: false }
    const { isSpaced } = search.components
    const states = this.#nodes * (isSpaced ? 2 : 1)
    const scratch: Scratch = {
      seen: new Int32Array(states),
      edge: new Int32Array(states),
      before: new Int32Array(states),
      round: 0,
      steps: 0,
    }
    const best = new Map<number, Map<string, readonly GraphEdge[]>>()
    let isCut = false
    for (const edge of this.#startEdges(search)) {
      const component = at(search.components.ofState, this.#stateAfterStart(edge, isSpaced))
      let ofComponent = best.get(component)
      if (ofComponent === undefined) best.set(component, (ofComponent = new Map()))
      else if (scratch.steps >= stepsMax) {
        isCut = true
        continue
      }
      let lengthBelow = Number.POSITIVE_INFINITY
      for (const [name, { length }] of ofComponent) {
        if (search.isWanted(name)) lengthBelow = Math.min(lengthBelow, length)
      }
      // Nothing is shorter than two.
      if (lengthBelow === 2) continue
      const cycle = this.#shortestThrough(edge, search, scratch, lengthBelow)
      if (cycle === undefined) continue
      const name = search.nameOf(cycle)
      if (cycle.length < (ofComponent.get(name)?.length ?? Number.POSITIVE_INFINITY))
        ofComponent.set(name, cycle)
    }
    return { cycles: [...best.values()].flatMap((ofComponent) => [...ofComponent.values()]), isCut }
  }

  /** Edges that a circle can start with, those that lead back farthest first: their circles are the shortest. */
  #startEdges({ components, startKinds, isStart }: CycleSearch): readonly number[] {
    const { isSpaced, ofState } = components
    const starts: number[] = []
    for (let edge = 0; edge < this.#edges; edge++) {
      if ((at(this.#kind, edge) & startKinds) === 0) continue
      const component = ofState[this.#stateAfterStart(edge, isSpaced)]
      const from = at(this.#from, edge)
      const isInside = isSpaced
        ? ofState[from * 2] === component ||
          (at(this.#kind, edge) !== edgeKind.rw && ofState[from * 2 + 1] === component)
        : ofState[from] === component
      if (!isInside) continue
      if (isStart?.(from, at(this.#to, edge)) !== false) starts.push(edge)
    }
    const back = (edge: number): number => at(this.#from, edge) - at(this.#to, edge)
    return starts.sort((a, b) => back(b) - back(a) || a - b)
  }

  #shortestThrough(
    first: number,
    { kinds, components, order }: CycleSearch,
    scratch: Scratch,
    lengthBelow: number,
  ): readonly GraphEdge[] | undefined {
    const { isSpaced, ofState } = components
    const allowed = kinds | edgeKind.through
    const target = at(this.#from, first)
    // An rw edge must not be followed by another: the way back must not end with one.
    const isSecondRw = isSpaced && at(this.#kind, first) === edgeKind.rw
    const start = this.#stateAfterStart(first, isSpaced)
    const targetOrder = order === undefined ? 0 : at(order.ofState, target)
    const component = ofState[start]
    const { seen } = scratch
    const round = ++scratch.round
    seen[start] = round
    scratch.edge[start] = first
    let level = [start]
    for (
      let length = this.#isWaypoint(start, isSpaced) ? 1 : 2;
      level.length > 0 && length < lengthBelow;
      length++
    ) {
      const nextLevel: number[] = []
      // Grows while it is walked: a waypoint is of the same level.
      for (let i = 0; i < level.length; i++) {
        const state = at(level, i)
        const node = this.#nodeOf(state, isSpaced)
        const end = at(this.#starts, node + 1)
        for (let place = at(this.#starts, node); place < end; place++) {
          scratch.steps++
          const edge = at(this.#order, place)
          const next = this.#stateAfter(state, edge, allowed, isSpaced)
          if (next < 0 || seen[next] === round || ofState[next] !== component) continue
          if (order !== undefined && at(order.ofState, at(this.#to, edge)) < targetOrder) continue
          seen[next] = round
          scratch.edge[next] = edge
          scratch.before[next] = state
          if (at(this.#to, edge) === target && !(isSecondRw && (next & 1) === 1)) {
            return this.#pathTo(next, start, scratch)
          }
          if (this.#isWaypoint(next, isSpaced)) level.push(next)
          else nextLevel.push(next)
        }
      }
      level = nextLevel
    }
    return undefined
  }

  #pathTo(target: number, start: number, scratch: Scratch): readonly GraphEdge[] {
    const edges = [at(scratch.edge, target)]
    for (let state = target; state !== start;) {
      state = at(scratch.before, state)
      edges.push(at(scratch.edge, state))
    }
    edges.reverse()
    const path: GraphEdge[] = []
    for (const edge of edges) {
      const to = at(this.#to, edge)
      const kind = at(this.#kind, edge)
      const last = path.at(-1)
      if (kind === edgeKind.through && last !== undefined) path[path.length - 1] = { ...last, to }
      else {
        const subject = at(this.#subject, edge)
        path.push({ from: at(this.#from, edge), to, kind, subject, version: at(this.#version, edge) })
      }
    }
    return path
  }

  #stateAfterStart(edge: number, isSpaced: boolean): number {
    return this.#stateAfter(at(this.#from, edge) * (isSpaced ? 2 : 1), edge, 0xff, isSpaced)
  }

  /** Where `edge` leads from `state`; -1 when it must not be taken. */
  #stateAfter(state: number, edge: number, allowed: number, isSpaced: boolean): number {
    const kind = at(this.#kind, edge)
    if ((kind & allowed) === 0) return -1
    const to = at(this.#to, edge)
    if (!isSpaced) return to
    const wasRw = state & 1
    if (kind === edgeKind.rw) return wasRw === 1 ? -1 : to * 2 + 1
    return kind === edgeKind.through ? to * 2 + wasRw : to * 2
  }

  #nodeOf(state: number, isSpaced: boolean): number {
    return isSpaced ? state >> 1 : state
  }

  #isWaypoint(state: number, isSpaced: boolean): boolean {
    return this.#nodeOf(state, isSpaced) >= this.#transactions
  }

  #grow(): void {
    const size = this.#from.length * 2
    const grown = (old: Int32Array): Int32Array<ArrayBuffer> => {
      const array = new Int32Array(size)
      array.set(old)
      return array
    }
    this.#from = grown(this.#from)
    this.#to = grown(this.#to)
    this.#subject = grown(this.#subject)
    this.#version = grown(this.#version)
    const kind = new Uint8Array(size)
    kind.set(this.#kind)
    this.#kind = kind
  }
}

interface Scratch {
  /** The round in which a state was reached. */
  readonly seen: Int32Array
  /** By which edge, and from which state. */
  readonly edge: Int32Array
  readonly before: Int32Array
  round: number
  steps: number
}

function at(list: Int32Array | Uint8Array | readonly number[], index: number): number {
  return list[index] as number
}
