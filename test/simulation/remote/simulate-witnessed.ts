/** The run of a scenario whose actors are witnessed: on every node the same, restarted as often as they crash. */
import { child, supervisor, type AnyDefinition } from '@understudy/runtime'
import {
  simulate,
  type SimulatedNodeOptions,
  type SimulateOptions,
  type World,
} from '@understudy/cluster/simulation'
import type { RunInput, RunResult } from '@understudy/runtime/simulation'
import { faultChances } from './fault-list.ts'
import type { Boot, Witness } from './witness.ts'

export interface WitnessedRun {
  readonly witness: Witness
  readonly nodes: SimulateOptions['nodes']
  readonly faults: readonly string[]
  /** The actors of one life of a node, by their names, in the order in which they start. */
  readonly actors: (boot: Boot) => Readonly<Record<string, AnyDefinition>>
  /** Other options of a node's life. */
  readonly options?: ((boot: Boot) => SimulatedNodeOptions) | undefined
}

export function simulateWitnessed(
  input: RunInput,
  { witness, nodes, faults, actors, options }: WitnessedRun,
  course: (world: World) => Promise<void>,
): Promise<RunResult> {
  const rootOf = (boot: Boot): AnyDefinition =>
    supervisor(
      { intensity: { restarts: Infinity, withinMs: 1_000 } },
      Object.entries(actors(boot)).map(([name, definition]) => child(name, definition as never)),
    ) as unknown as AnyDefinition
  return simulate(
    {
      ...input,
      nodes,
      node: (name) => witness.options(name, (boot) => ({ ...options?.(boot), root: rootOf(boot) })),
      faults: { only: faults, chances: faultChances },
      virtualMsMax: 1_200_000,
    },
    course,
  )
}
