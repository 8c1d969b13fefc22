/**
 * What the parts of a simulated process (its clock, its stores, its files and names) see of the life that they belong to,
 * and of the simulation around it. `SimulatedProcess` and `Simulation` are these.
 */
import type { Timer } from '../platform/platform.ts'
import type { VirtualDns } from '../platform/virtual-dns.ts'
import type { ChoiceSource } from './choice-source.ts'
import type { TraceHash } from './trace-hash.ts'

/** The simulation around a part. */
export interface SimulatedSurroundings {
  /** True virtual milliseconds since the run began. */
  readonly nowMs: number
  readonly choices: ChoiceSource
  readonly hash: TraceHash
  readonly dns: VirtualDns
  /** A mark on a lane of the picture. */
  readonly state: (lane: string | undefined, what: string) => void
}

/** One life of a simulated process. */
export interface SimulatedLife {
  readonly name: string
  readonly machine: { readonly name: string }
  readonly simulation: SimulatedSurroundings
  readonly isAlive: boolean
  /** The true time at which an effect of the step under way leaves. */
  readonly departsAtMs: number
  /** Runs `run` at true virtual time `atMs`: later while it is paused, never when it is dead by then. */
  readonly at: (atMs: number, label: string, run: () => void) => Timer
  /** Begins an operation of the outside world for whoever is running. Call what it returns when that has settled. */
  readonly beginOperation: () => () => void
  /** To be called before and after each write and send. False: it is dead, and the effect must not be seen. */
  readonly crashPoint: () => boolean
  /** Calls `tell` once when it dies; at once when it is dead. */
  readonly onKill: (tell: () => void) => void
}
