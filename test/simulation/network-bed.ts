/** A bed for tests of the simulated network: some machines, links between them, and what came out of each end. */
import {
  SimulatedMachine,
  Simulation,
  type Choice,
  type RunResult,
  type SimulatedProcess,
} from '@understudy/runtime/simulation'
import { test as tapTest, type Test } from 'tap'
import { sourceModule } from '../support/source-module.ts'

type Networks = typeof import('../../packages/cluster/src/simulation/simulated-network.ts')
export type Network = InstanceType<Networks['SimulatedNetwork']>
export type NetworkOptions = NonNullable<ConstructorParameters<Networks['SimulatedNetwork']>[1]>
type Link = import('../../packages/cluster/src/transport/transport.ts').Link
export type LinkLimits = import('../../packages/cluster/src/transport/transport.ts').LinkLimits
export type NodeAddress = import('../../packages/cluster/src/transport/address.ts').NodeAddress
type Transport = import('../../packages/cluster/src/transport/transport.ts').Transport

export const { SimulatedNetwork } = await sourceModule<Networks>('cluster', 'simulation/simulated-network')

/** Some machines in one network, each with a process that listens. */
export interface Bed {
  readonly simulation: Simulation
  readonly network: Network
  readonly process: (name: string) => SimulatedProcess
  readonly transport: (name: string) => Transport
  /** A link from one to another: its ends, what came out of them, how they ended. */
  readonly link: (from: string, to: string) => Promise<{ readonly near: End; readonly far: End }>
  readonly address: (name: string) => NodeAddress
}

export interface BedOptions {
  readonly seed?: string | number
  readonly choices?: readonly Choice[]
  readonly trace?: boolean
  readonly names?: readonly string[]
  readonly network?: NetworkOptions
  readonly limits?: LinkLimits
}

/** One end of a link, with what happened there. */
export class End {
  readonly link: Link
  readonly got: number[] = []
  readonly gotAtMs: number[] = []
  ended: string | undefined
  endedAtMs = -1
  #sent = 0

  constructor(simulation: Simulation, link: Link) {
    this.link = link
    link.established()
    link.onFrame((frame) => {
      if (this.ended !== undefined) throw new Error('a frame after the end')
      this.got.push(numberOf(frame))
      this.gotAtMs.push(simulation.nowMs)
    })
    link.onClose(({ code }) => {
      if (this.ended !== undefined) throw new Error('ended twice')
      this.ended = code
      this.endedAtMs = simulation.nowMs
    })
  }

  /** Sends numbers, on from where it stopped. */
  send(count: number, bytes = 8): readonly string[] {
    return Array.from({ length: count }, () => {
      const result = this.link.send(numbered(this.#sent, bytes))
      if (result === 'ok') this.#sent++
      return result
    })
  }
}

export type Asserts = Pick<Test, 'equal' | 'same' | 'ok' | 'throws' | 'not'>

/** The run that is under way: there is never more than one. */
let running: Simulation | undefined

/** Says which run is under way, to one that the bed did not begin. */
export function underWay(simulation: Simulation): void {
  running = simulation
}

/** Declares a test whose assertions may stand in a scenario: a failing one looks at the clock, which a scenario may not. */
export function test(name: string, body: (t: Asserts) => Promise<void>): Promise<unknown> {
  return tapTest(name, (t) => body(outside(t)))
}

/** The assertions of `t`, for use inside of a scenario. */
export function outside(t: Test): Asserts {
  const free = (method: 'equal' | 'same' | 'ok' | 'throws' | 'not'): never => {
    const assert = t[method].bind(t) as (...given: unknown[]) => unknown
    const run = (...given: unknown[]): unknown =>
      running === undefined ? assert(...given) : running.guard.outside(() => assert(...given))
    return run as never
  }
  return {
    equal: free('equal'),
    same: free('same'),
    ok: free('ok'),
    throws: free('throws'),
    not: free('not'),
  }
}

export const calm: NetworkOptions = { latency: 'minimal', keepaliveMs: 15_000 }

export function run(options: BedOptions, scenario: (bed: Bed) => Promise<void>): Promise<RunResult> {
  return Simulation.alone(async () => {
    const simulation = new Simulation({ seed: 1, ...options })
    running = simulation
    const network = new SimulatedNetwork(simulation, options.network ?? {})
    const machines = (options.names ?? ['a', 'b']).map((name, index) => {
      return new SimulatedMachine(simulation, name, { zone: `z${index % 2}` })
    })
    const accepted = new Map<string, (link: Link) => void>()
    const addresses = new Map<string, NodeAddress>()
    const machine = (name: string): SimulatedMachine => {
      const found = machines.find((other) => other.name === name)
      if (found === undefined) throw new Error(`no machine ${name}`)
      return found
    }
    const process = (name: string): SimulatedProcess => {
      const found = machine(name).living()[0]
      if (found === undefined) throw new Error(`nothing runs on ${name}`)
      return found
    }
    const transport = (name: string): Transport => network.transport(process(name), options.limits)
    return simulation.run(async () => {
      for (const { name } of machines) {
        machine(name).start()
        const any = 'ws://127.0.0.1:0' as NodeAddress
        const listener = await transport(name).listen(any, (link) => accepted.get(name)?.(link))
        addresses.set(name, listener.address)
      }
      const address = (name: string): NodeAddress => addresses.get(name) as NodeAddress
      const link: Bed['link'] = async (from, to) => {
        const far = new Promise<Link>((resolve) => accepted.set(to, resolve))
        const near = await transport(from).dial(address(to))
        return { near: new End(simulation, near), far: new End(simulation, await far) }
      }
      await scenario({ simulation, network, process, transport, link, address })
    })
  })
}

/** Runs it, and throws what it threw. */
export async function passes(options: BedOptions, scenario: (bed: Bed) => Promise<void>): Promise<RunResult> {
  const result = await run(options, scenario)
  if (result.violation !== undefined) throw new Error(result.violation.message)
  return result
}

export function numbered(n: number, bytes = 8): Uint8Array {
  const frame = new Uint8Array(Math.max(4, bytes))
  new DataView(frame.buffer).setUint32(0, n)
  return frame
}

export function numberOf(frame: Uint8Array): number {
  return new DataView(frame.buffer, frame.byteOffset).getUint32(0)
}

export function upTo(count: number): readonly number[] {
  return Array.from({ length: count }, (_, n) => n)
}

export async function codeOf(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => 'no error',
    (error: unknown) => (error as { readonly code?: unknown }).code,
  )
}
