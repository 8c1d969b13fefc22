/** Entry point `@understudy/runtime/testkit`: virtual time, probes, and the contract suites of every seam. */
export {
  virtualPlatform,
  type LoggedLine,
  type VirtualPlatform,
  type VirtualPlatformOptions,
} from '../platform/virtual-platform.ts'
export { clockContract } from './clock-contract.ts'
export { randomContract } from './random-contract.ts'
export { storeContract } from './store-contract.ts'
