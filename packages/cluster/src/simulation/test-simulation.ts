/** A simulated cluster as a test of any runner. */
import { testSeeds, type SeedTestOptions, type Tester } from '@understudy/runtime/simulation'
import { simulate, type SimulateOptions, type World } from './world.ts'

/** As `SimulateOptions`, without what decides a single run. `nodes` is needed; everything else has its default. */
export interface SimulationTestOptions
  extends SeedTestOptions, Omit<SimulateOptions, 'seed' | 'choices' | 'trace' | 'crash'> {}

/**
 * Adds a test that runs `scenario` on a simulated cluster, once per seed; `t` is `test` of any runner, or `t` of tap or
 * node:test. All kinds of fault are on unless `faults` says otherwise. Red with the seed, the step, the smallest scenario
 * and the command that runs exactly that again: see `requireSeeds`.
 *
 * ```ts
 * await testSimulation(test, 'transfer never loses money', { nodes: 5, seeds: 500 }, async (world) => { ... })
 * ```
 */
export function testSimulation(
  t: Tester,
  name: string,
  options: SimulationTestOptions,
  scenario: (world: World) => Promise<void>,
): Promise<void> {
  return testSeeds(t, name, options, (input) => simulate({ ...options, ...input }, scenario))
}
