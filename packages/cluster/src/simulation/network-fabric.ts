/** What all parts of one simulated network share: its hosts, the paths between them, who listens where, its settings. */
import type { ChoiceStream, SimulatedProcess, Simulation } from '@understudy/runtime/simulation'
import { formatAddress, type NodeAddress } from '../transport/address.ts'
import { checkInteger, type Link } from '../transport/transport.ts'
import { MessageFaults } from './message-fault.ts'
import { NetworkPath, type NetworkHost, type PathLatency, type PathLink } from './network-path.ts'
import type { LinkNetwork } from './simulated-link.ts'

export interface SimulatedNetworkOptions {
  /**
   * `drawn`: each seed draws how slow and how uneven its network is (a rack, a region, a planet, a bad day), and each
   * direction of each pair its place in that. `minimal`: every frame takes 0.1 ms, which costs no choice.
   * @default 'drawn'
   */
  readonly latency?: 'drawn' | 'minimal' | undefined
  /**
   * How long an end that hears nothing takes its connection for standing, in milliseconds.
   * @default drawn per seed: 15_000, 5_000, 30_000 or 60_000
   */
  readonly keepaliveMs?: number | undefined
  /** Bytes in flight per direction of a link, beyond which its sender queues. At least 1. @default 1_048_576 */
  readonly windowBytes?: number | undefined
  /** What the arrow of a frame says in the picture. @default `frame of N bytes` */
  readonly labelOf?: ((link: Link, frame: Uint8Array) => string) | undefined
}

export const networkDefaults = Object.freeze({
  latency: 'drawn',
  keepaliveMs: Object.freeze([15_000, 5_000, 30_000, 60_000]),
  windowBytes: 1_048_576,
})

/** What a fabric must know of a listener. */
export interface FabricListener {
  readonly life: SimulatedProcess
}

interface Climate {
  readonly baseMs: readonly number[]
  readonly meanMs: readonly number[]
  readonly slowMs: readonly number[]
}

const least: PathLatency = Object.freeze({ baseMs: 0.1, meanMs: 0, slowMs: 0 })

/**
 * What a seed draws from; the first of each list is the mildest. No frame takes so long by itself that a healthy node
 * could be taken for dead with default options: that is for faults (`slow-link`, `clog`) to bring about.
 */
const climates: readonly Climate[] = [
  { baseMs: [0.1], meanMs: [0], slowMs: [0] },
  { baseMs: [0.1, 0.2, 0.5, 1], meanMs: [0, 0.1, 0.5, 2], slowMs: [0] },
  { baseMs: [0.1, 1, 10, 50], meanMs: [0, 1, 5, 20], slowMs: [0, 50] },
  { baseMs: [0.1, 1, 20, 100], meanMs: [0, 5, 20, 50], slowMs: [0, 50, 200, 500] },
]

/** First port that is handed out when 0 is asked for. */
const firstFreePort = 49_152

export class NetworkFabric<L extends FabricListener = FabricListener> implements LinkNetwork {
  readonly simulation: Simulation
  readonly windowBytes: number
  readonly keepaliveMs: number
  readonly messageFaults: MessageFaults
  readonly listeners = new Map<NodeAddress, L>()
  /** In the order in which they were first met. */
  readonly hosts: NetworkHost[] = []
  readonly paths: NetworkPath[] = []
  labelOf: (link: Link, frame: Uint8Array) => string
  readonly #hostsByName = new Map<string, NetworkHost>()
  readonly #pathsByHost = new Map<NetworkHost, Map<NetworkHost, NetworkPath>>()
  /** Who listened there last: a dial to somebody who is gone still goes to that machine. */
  readonly #places = new Map<NodeAddress, NetworkHost>()
  readonly #climate: Climate | undefined
  #isCalm = false
  #nextPort = firstFreePort

  constructor(simulation: Simulation, options: SimulatedNetworkOptions) {
    this.simulation = simulation
    const { choices } = simulation
    const keepalives = networkDefaults.keepaliveMs
    this.keepaliveMs =
      options.keepaliveMs ?? keepalives[choices.choose(keepalives.length, 'swarm/net-keepalive')] ?? 15_000
    this.windowBytes = options.windowBytes ?? networkDefaults.windowBytes
    checkInteger('windowBytes', this.windowBytes, 1, Number.MAX_SAFE_INTEGER)
    if (!(this.keepaliveMs > 0)) {
      throw new RangeError(`Cannot use keepaliveMs ${this.keepaliveMs}: it must be a number above 0`)
    }
    this.labelOf = options.labelOf ?? ((_link, frame) => `frame of ${frame.byteLength} bytes`)
    this.messageFaults = new MessageFaults(simulation)
    if ((options.latency ?? networkDefaults.latency) === 'drawn') {
      this.#climate = climates[choices.choose(climates.length, 'swarm/net-latency')]
    }
  }

  /** The host of that name; met now when it is new. */
  meet(name: string, zone: string): NetworkHost {
    let host = this.#hostsByName.get(name)
    if (host === undefined) {
      host = { name, zone, number: this.hosts.length, dialsRefused: 0, dialsLost: 0 }
      this.#hostsByName.set(name, host)
      this.#pathsByHost.set(host, new Map())
      this.hosts.push(host)
    }
    return host
  }

  /** @throws {RangeError} when no transport was ever made for a machine of that name */
  host(name: string): NetworkHost {
    const host = this.#hostsByName.get(name)
    if (host === undefined) {
      const known = this.hosts.map((other) => other.name).join(', ')
      throw new RangeError(`There is no host "${name}" in the network: it knows ${known || 'nobody yet'}`)
    }
    return host
  }

  /** The way from one host to another; made when it is first needed. */
  path(from: NetworkHost, to: NetworkHost): NetworkPath {
    const paths = this.#pathsByHost.get(from)
    let path = paths?.get(to)
    if (path === undefined) {
      path = new NetworkPath(this.simulation, from, to, this.#latency(from, to), this.keepaliveMs)
      paths?.set(to, path)
      this.paths.push(path)
    }
    return path
  }

  /** Open ends of links that send along one of these paths. */
  linksOf(paths: readonly NetworkPath[]): readonly PathLink[] {
    return paths.flatMap((path) => [...path.links].filter(({ isOpen }) => isOpen))
  }

  /** Where a dial to `address` goes; `undefined` when nobody ever listened there. */
  placeOf(address: NodeAddress): NetworkHost | undefined {
    return this.#places.get(address)
  }

  register(address: NodeAddress, host: NetworkHost, listener: L): void {
    this.listeners.set(address, listener)
    this.#places.set(address, host)
  }

  freePort(host: string): number {
    while (this.listeners.has(formatAddress(host, this.#nextPort))) this.#nextPort++
    return this.#nextPort++
  }

  /** From now on every frame takes the least time of its path. */
  calm(): void {
    this.#isCalm = true
    for (const path of this.paths) path.calm()
  }

  #latency(from: NetworkHost, to: NetworkHost): PathLatency {
    const climate = this.#climate
    // A host reaches itself without a network; and a path like all others costs no choice.
    if (climate === undefined || climate === climates[0] || from === to || this.#isCalm) return least
    const choices = this.simulation.choices.stream(`net/${from.name}>${to.name}/climate`)
    return {
      baseMs: drawnFrom(climate.baseMs, choices),
      meanMs: drawnFrom(climate.meanMs, choices),
      slowMs: drawnFrom(climate.slowMs, choices),
    }
  }
}

function drawnFrom(values: readonly number[], choices: ChoiceStream): number {
  return values[choices.choose(values.length)] ?? 0
}
