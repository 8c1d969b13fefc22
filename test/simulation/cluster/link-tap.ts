/**
 * Sees every link of a simulated cluster from both of its ends: who opened it to whom, when the handshake was over, when
 * it was given up. The nodes do not notice. A scenario can so say things that no node could know.
 */
import type { Link, LinkLimits, Transport } from '@understudy/cluster'
import { World, type SimulatedNodeOptions, type SimulateOptions } from '@understudy/cluster/simulation'
import { Simulation, type RunResult, type SimulatedProcess } from '@understudy/runtime/simulation'

/** One end of a link, as the process that has it uses it. Times are true virtual milliseconds. */
export interface TappedEnd {
  readonly life: SimulatedProcess
  /** The machine at the other end. */
  readonly peer: string
  readonly isDialled: boolean
  readonly openedAtMs: number
  /** When this end took the peer for a node that may be here; `undefined` while it has not. */
  establishedAtMs: number | undefined
  /** When this end gave the link up, or was told that it is gone. */
  endedAtMs: number | undefined
  /** What it sent before it was established, for whoever wants to send it once more. */
  readonly spoken: Uint8Array[]
}

/** How much longer than its time a handshake may take: clocks that run 1 % slow, twice over. */
const driftFactor = 1.03
const openedBefore = Object.freeze({ spokenMax: 4, endsMax: 20_000 })

export class LinkTap {
  readonly ends: TappedEnd[] = []
  /** Other spellings of addresses: what is dialled goes to what they stand for. */
  readonly aliases = new Map<string, string>()
  /** Who listens at an address, or did last. */
  readonly listening = new Map<string, SimulatedProcess>()
  /** Dials of nodes that reached themselves, and those that reached nobody. */
  selfDials = 0
  failedDials = 0
  /** Machines of whoever speaks the wire and is no node: they keep no deadline. */
  readonly lawless = new Set<string>()
  /** How long a handshake may take by the clock of its own process. */
  handshakeTimeoutMs = 5_000
  /** Called when an end takes its peer for one that may be here. */
  onEstablished: (end: TappedEnd) => void = () => undefined
  readonly #simulation: Simulation
  readonly #plain: (life: SimulatedProcess, limits?: LinkLimits) => Transport

  constructor(world: World) {
    const { network, simulation } = world
    this.#simulation = simulation
    this.#plain = network.transport.bind(network)
    network.transport = (life, limits) => this.transport(life, limits)
  }

  /** The network as a process sees it, for who is none of the world's nodes. */
  transport(life: SimulatedProcess, limits: LinkLimits = {}): Transport {
    const plain = this.#plain(life, limits)
    return {
      listen: async (address, onLink, options) => {
        const listener = await plain.listen(
          address,
          (link) => onLink(this.#tap(life, link, machineIn(link.remoteAddress), false)),
          options,
        )
        this.listening.set(listener.address, life)
        return listener
      },
      dial: async (address, options) => {
        const real = (this.aliases.get(address) ?? address) as typeof address
        const link = await plain.dial(real, options).catch((error: unknown) => {
          this.failedDials++
          throw error
        })
        const there = this.listening.get(real)
        if (there === life) this.selfDials++
        return this.#tap(life, link, there?.machine.name ?? '', true)
      },
    }
  }

  /** Ends that are neither given up nor lost, of processes that live. */
  open(life: SimulatedProcess, peer?: string): readonly TappedEnd[] {
    return this.ends.filter(
      (end) =>
        end.life === life &&
        life.isAlive &&
        end.endedAtMs === undefined &&
        (peer === undefined || end.peer === peer),
    )
  }

  #tap(life: SimulatedProcess, link: Link, peer: string, isDialled: boolean): Link {
    const simulation = this.#simulation
    const end: TappedEnd = {
      life,
      peer,
      isDialled,
      openedAtMs: simulation.nowMs,
      establishedAtMs: undefined,
      endedAtMs: undefined,
      spoken: [],
    }
    if (this.ends.length < openedBefore.endsMax) this.ends.push(end)
    let isArmed = false
    const { unreliable } = link
    return {
      send: (frame) => {
        if (end.establishedAtMs === undefined && end.spoken.length < openedBefore.spokenMax) {
          end.spoken.push(Uint8Array.from(frame))
        }
        return link.send(frame)
      },
      onFrame: (callback) => {
        // The handshake has set its timer right before this, in the same step.
        if (!isArmed && !this.lawless.has(life.machine.name)) this.#expectEnd(end)
        isArmed = true
        link.onFrame(callback)
      },
      onClose: (callback) => {
        link.onClose((reason) => {
          end.endedAtMs ??= simulation.nowMs
          callback(reason)
        })
      },
      onDrain: (callback) => link.onDrain(callback),
      close: (code) => {
        end.endedAtMs ??= simulation.nowMs
        link.close(code)
      },
      established: () => {
        end.establishedAtMs ??= simulation.nowMs
        this.onEstablished(end)
        link.established()
      },
      ...(unreliable === undefined
        ? {}
        : {
            unreliable: (protocol, type, deliver) => {
              unreliable(protocol, type, deliver)
            },
          }),
      get bufferedBytes() {
        return link.bufferedBytes
      },
      get remoteAddress() {
        return link.remoteAddress
      },
    }
  }

  /** The rule: a handshake that is neither done nor over by its deadline never lives longer. */
  #expectEnd(end: TappedEnd): void {
    const { life } = end
    const simulation = this.#simulation
    const dueMs = life.departsAtMs + this.handshakeTimeoutMs * driftFactor + 1
    const isOver = (): boolean => end.establishedAtMs !== undefined || end.endedAtMs !== undefined
    // On behalf of the process: while that is held up, its own timer waits too, and may stand behind this one then.
    const wait = (atMs: number, then: () => void): void =>
      void simulation.at(atMs, life, 'tap-deadline', () => {
        if (!isOver()) then()
      })
    const judge = (): void => {
      simulation.fail(
        'handshake-deadline',
        `"${life.name}" still shakes hands with "${end.peer}" ${simulation.nowMs - end.openedAtMs} ms after ` +
          `the link was opened; the whole handshake has ${this.handshakeTimeoutMs} ms`,
      )
    }
    wait(dueMs, () => wait(simulation.nowMs + 1, judge))
  }
}

/** Whether an end is of a lane beside the control link: both sides' first word says what the link is for. */
export function isExtraLane({ spoken: [hello] }: TappedEnd): boolean {
  if (hello === undefined) return false
  const text = String.fromCharCode(...hello)
  // CBOR texts of four characters.
  return text.includes('ddata') || text.includes('dbulk')
}

export interface TappedOptions extends Omit<SimulateOptions, 'node' | 'formFirst'> {
  /** Options of each node, asked at each start. */
  readonly node: (name: string, world: World) => SimulatedNodeOptions
}

/** As `simulate`, on a network that is tapped; the scenario starts the nodes, and the faults. */
export function simulateTapped(
  options: TappedOptions,
  scenario: (world: World, tap: LinkTap) => Promise<void>,
): Promise<RunResult> {
  return Simulation.alone(async () => {
    const simulation = new Simulation(options)
    const [world, tap] = simulation.build(() => {
      const made: World = new World(simulation, { ...options, node: (name) => options.node(name, made) })
      return [made, new LinkTap(made)]
    })
    return simulation.run(() => scenario(world, tap))
  })
}

/** `ws://b:0`: an accepted link says no more of where it comes from than the machine. */
function machineIn(remoteAddress: string): string {
  return new URL(remoteAddress).hostname
}
