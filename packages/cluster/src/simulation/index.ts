/** Entry point `@understudy/cluster/simulation`: whole clusters on virtual time and a network that misbehaves. */
export { SimulatedNetwork } from './simulated-network.ts'
export { SimulatedNode, type SimulatedNodeOptions } from './simulated-node.ts'
export { isUnknownOutcome, simulate, World, type SimulateOptions, type WorldNode } from './world.ts'
export { currentWire, oldestMemberWire, type WireOffer } from '../wire/wire-version.ts'
export { testSimulation, type SimulationTestOptions } from './test-simulation.ts'
