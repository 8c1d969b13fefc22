/** Entry point `@understudy/runtime/testkit`: virtual time, probes, and the contract suites of every seam. */
export {
  virtualPlatform,
  type LoggedLine,
  type VirtualPlatform,
  type VirtualPlatformOptions,
} from '../platform/virtual-platform.ts'
export { clockContract } from './clock-contract.ts'
export { behaviourKit, type BehaviourKit } from './behaviour-kit.ts'
export type { Effect, Outcome } from './effect.ts'
export { ExpectationFailed } from './expectation.ts'
export { probe, probeDefaults, type ExpectOptions, type Probe } from './probe.ts'
export { randomContract } from './random-contract.ts'
export { storeContract } from './store-contract.ts'
export { testSystem, type TestSystem, type TestSystemOptions } from './test-system.ts'
