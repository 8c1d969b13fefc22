/**
 * What can be done to the simulated network, as kinds of fault: parameters by choice, the mildest first, and an undo for
 * each. `SimulatedNetwork` offers the same by hand.
 */
import type { ChoiceStream, FaultKind, Injected } from '@understudy/runtime/simulation'
import { messageFaultNames, type MessageFaultName } from './message-fault.ts'
import type { NetworkFabric } from './network-fabric.ts'
import type { FrameDamage, NetworkHost, NetworkPath, PathLimits, Undo } from './network-path.ts'
import { drawn, partitionShapes, type Cut, type PartitionShape } from './partition.ts'

/** How long faults last, in milliseconds. */
const shortMs = [10, 50, 100, 200, 500, 1_000, 2_000, 5_000] as const
const longMs = [200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 40_000] as const
const slowFactors = [2, 5, 10, 100, 1_000] as const
/** TigerBeetle's path capacities, and one frame. */
const capacities = [20, 10, 5, 2, 1] as const
/** From 10 Mbit/s down to 100 kbit/s. */
const bandwidths = [1_250, 125, 50, 12] as const
/** What was held back arrives at once, or one by one. */
const gapsMs = [0, 1, 10, 100] as const
const messageChances = [0.01, 0.05, 0.2, 0.5] as const
/** A flapping partition: in force for 1 to 2 s, gone for 0.2 s at most. */
const flapOnMs = [1_000, 1_250, 1_500, 2_000] as const
const flapOffMs = [200, 100, 50, 10] as const

/** The acts behind the faults. Each returns its undo. */
export class NetworkFaults {
  readonly #fabric: NetworkFabric

  constructor(fabric: NetworkFabric) {
    this.#fabric = fabric
  }

  /** Paths that links send along, now. */
  busyPaths(): readonly NetworkPath[] {
    return this.#fabric.paths.filter(({ links }) => links.size > 0)
  }

  /** Every path into, or out of, a host. */
  pathsOf(host: NetworkHost, way: 'into' | 'out-of'): readonly NetworkPath[] {
    const others = this.#fabric.hosts.filter((other) => other !== host)
    return others.map((other) =>
      way === 'into' ? this.#fabric.path(other, host) : this.#fabric.path(host, other),
    )
  }

  block(paths: readonly NetworkPath[], gapMs = 0): Undo {
    const releases = paths.map((path) => path.block())
    return () => releases.forEach((release) => release(gapMs))
  }

  cut(pairs: Cut<NetworkHost>['pairs']): Undo {
    return this.block(pairs.map(([from, to]) => this.#fabric.path(from, to)))
  }

  limit(paths: readonly NetworkPath[], limits: PathLimits): Undo {
    return all(paths.map((path) => path.limit({ ...limits })))
  }

  refuse(host: NetworkHost, what: 'dialsRefused' | 'dialsLost'): Undo {
    host[what]++
    let isOn = true
    return () => {
      if (isOn) host[what]--
      isOn = false
    }
  }

  /** Holds hosts up one after the other, and lets them go in another order. */
  swizzle(hosts: readonly NetworkHost[], releases: readonly NetworkHost[], stepMs: number): Undo {
    const { simulation } = this.#fabric
    const holds = new Map<NetworkHost, Undo>()
    let isOver = false
    const later = (step: number, act: () => void): void => {
      simulation.at(simulation.nowMs + step * stepMs, undefined, 'swizzle', () => {
        if (!isOver) act()
      })
    }
    for (const [step, host] of hosts.entries()) {
      later(step, () => {
        const paths = [...this.pathsOf(host, 'into'), ...this.pathsOf(host, 'out-of')]
        holds.set(host, this.block(paths))
      })
    }
    for (const [step, host] of releases.entries()) later(hosts.length + step, () => holds.get(host)?.())
    return () => {
      isOver = true
      for (const release of holds.values()) release()
    }
  }

  /** Cuts and mends, again and again, until it is undone. */
  flap(pairs: Cut<NetworkHost>['pairs'], onMs: number, offMs: number): Undo {
    const { simulation } = this.#fabric
    let isOver = false
    let mend: Undo = ignore
    const cut = (): void => {
      if (isOver) return
      mend = this.cut(pairs)
      simulation.at(simulation.nowMs + onMs, undefined, 'flap', () => {
        mend()
        simulation.at(simulation.nowMs + offMs, undefined, 'flap', cut)
      })
    }
    cut()
    return () => {
      isOver = true
      mend()
    }
  }
}

/** All kinds of fault of a network. */
export function networkFaultKinds(fabric: NetworkFabric, faults: NetworkFaults): readonly FaultKind[] {
  return [
    {
      name: 'clog',
      inject: (choices) => {
        const scope = anyScope(fabric, faults, choices)
        const gapMs = pick(gapsMs, choices)
        return (
          scope && {
            ...during(faults.block(scope.paths, gapMs), shortMs, choices, scope.what),
            lane: scope.lane,
          }
        )
      },
    },
    {
      name: 'swizzle',
      inject: (choices) => {
        if (fabric.hosts.length < 2) return undefined
        const hosts = drawn(fabric.hosts, choices, 1 + choices.choose(fabric.hosts.length))
        const stepMs = pick(shortMs, choices)
        const undo = faults.swizzle(hosts, drawn(hosts, choices, hosts.length), stepMs)
        const forMs = 2 * hosts.length * stepMs
        return { what: `${namesOf(hosts)}, ${stepMs} ms apart`, undo, forMs }
      },
    },
    limits(fabric, faults, 'slow-link', slowFactors, (slowFactor) => ({ slowFactor }), 'times slower'),
    limits(fabric, faults, 'capacity', capacities, (framesMax) => ({ framesMax }), 'frames in flight'),
    limits(fabric, faults, 'bandwidth', bandwidths, (bytesPerMs) => ({ bytesPerMs }), 'bytes per ms'),
    {
      name: 'half-open',
      inject: (choices) => {
        const path = pickPath(faults, choices)
        const links = path === undefined ? [] : fabric.linksOf([path])
        if (path === undefined || links.length === 0) return undefined
        const undo = all(links.map((link) => link.goHalfOpen()))
        return { what: `${nameOf(path)}: what is sent vanishes`, lane: path.from.name, undo }
      },
    },
    {
      name: 'reset',
      inject: (choices) => {
        const path = pickPath(faults, choices)
        const links = path === undefined ? [] : fabric.linksOf([path])
        if (path === undefined || links.length === 0) return undefined
        for (const link of links) link.reset(choices)
        return { what: `the links between ${path.from.name} and ${path.to.name}`, lane: path.from.name }
      },
    },
    damage(fabric, faults, 'corruption', 'corrupt'),
    damage(fabric, faults, 'truncation', 'truncate'),
    onHost(fabric, 'refuse-dials', (host, choices) => {
      return during(
        faults.refuse(host, 'dialsRefused'),
        shortMs,
        choices,
        `dials to ${host.name} are refused`,
      )
    }),
    onHost(fabric, 'lose-dials', (host, choices) => {
      return during(faults.refuse(host, 'dialsLost'), longMs, choices, `dials to ${host.name} get no answer`)
    }),
    ...Object.entries<PartitionShape>(partitionShapes).map(([shape, draw]): FaultKind => {
      return {
        name: `partition-${shape}`,
        inject: (choices) => {
          const cut = fabric.hosts.length < 2 ? undefined : draw(fabric.hosts, choices)
          return cut && during(faults.cut(cut.pairs), longMs, choices, cut.what)
        },
      }
    }),
    {
      name: 'partition-flapping',
      inject: (choices) => {
        const shapes: readonly PartitionShape[] = Object.values(partitionShapes)
        const draw = shapes[choices.choose(shapes.length)]
        const cut = fabric.hosts.length < 2 ? undefined : draw?.(fabric.hosts, choices)
        if (cut === undefined) return undefined
        const undo = faults.flap(cut.pairs, pick(flapOnMs, choices), pick(flapOffMs, choices))
        return during(undo, longMs, choices, `${cut.what}, on and off`)
      },
    },
    ...messageFaultNames.map((name) => onMessages(fabric, name)),
  ]
}

function limits(
  fabric: NetworkFabric,
  faults: NetworkFaults,
  name: string,
  values: readonly number[],
  limitsOf: (value: number) => PathLimits,
  unit: string,
): FaultKind {
  return {
    name,
    inject: (choices) => {
      const scope = anyScope(fabric, faults, choices)
      if (scope === undefined) return undefined
      const value = pick(values, choices)
      const undo = faults.limit(scope.paths, limitsOf(value))
      return { ...during(undo, longMs, choices, `${scope.what}: ${value} ${unit}`), lane: scope.lane }
    },
  }
}

function damage(fabric: NetworkFabric, faults: NetworkFaults, name: string, kind: FrameDamage): FaultKind {
  return {
    name,
    inject: (choices) => {
      const path = pickPath(faults, choices)
      const links = path === undefined ? [] : fabric.linksOf([path])
      const link = links[choices.choose(links.length)]
      if (path === undefined || link === undefined) return undefined
      const skip = choices.choose(4)
      const what = `${nameOf(path)}: a frame that comes after ${skip} more`
      return { what, lane: path.from.name, undo: link.damage(kind, skip) }
    },
  }
}

function onHost(
  fabric: NetworkFabric,
  name: string,
  act: (host: NetworkHost, choices: ChoiceStream) => Injected,
): FaultKind {
  return {
    name,
    inject: (choices) => {
      const host = fabric.hosts[choices.choose(fabric.hosts.length)]
      return host && { ...act(host, choices), lane: host.name }
    },
  }
}

function onMessages(fabric: NetworkFabric, name: MessageFaultName): FaultKind {
  return {
    name,
    inject: (choices) => {
      const { seen } = fabric.messageFaults
      // Nothing of a lossy protocol was told so far.
      if (seen.length === 0) return undefined
      const one = seen[choices.choose(seen.length + 1) - 1]
      const p = pick(messageChances, choices)
      const undo = fabric.messageFaults.add(name, { ...one, p })
      const which = one === undefined ? 'messages' : `"${one.type}" of ${one.protocol}`
      return during(undo, longMs, choices, `one in ${1 / p} ${which}`)
    },
  }
}

interface Scope {
  readonly paths: readonly NetworkPath[]
  readonly what: string
  readonly lane: string
}

/** One direction of a pair, or everything into or out of a host. */
function anyScope(fabric: NetworkFabric, faults: NetworkFaults, choices: ChoiceStream): Scope | undefined {
  const way = choices.choose(3)
  if (way === 0) {
    const path = pickPath(faults, choices)
    return path && { paths: [path], what: nameOf(path), lane: path.from.name }
  }
  const host = fabric.hosts[choices.choose(fabric.hosts.length)]
  if (host === undefined || fabric.hosts.length < 2) return undefined
  const paths = faults.pathsOf(host, way === 1 ? 'into' : 'out-of')
  return { paths, what: way === 1 ? `all > ${host.name}` : `${host.name} > all`, lane: host.name }
}

function pickPath(faults: NetworkFaults, choices: ChoiceStream): NetworkPath | undefined {
  const paths = faults.busyPaths()
  return paths[choices.choose(paths.length)]
}

function pick(values: readonly number[], choices: ChoiceStream): number {
  return values[choices.choose(values.length)] ?? 0
}

function during(undo: Undo, lengths: readonly number[], choices: ChoiceStream, what: string): Injected {
  const forMs = pick(lengths, choices)
  return { what: `${what}, for ${forMs} ms`, undo, forMs }
}

function all(undos: readonly Undo[]): Undo {
  return () => undos.forEach((undo) => undo())
}

function nameOf(path: NetworkPath): string {
  return `${path.from.name} > ${path.to.name}`
}

function namesOf(hosts: readonly NetworkHost[]): string {
  return hosts.map(({ name }) => name).join(', ')
}

function ignore(): void {
  // Nothing to mend before the first cut.
}
