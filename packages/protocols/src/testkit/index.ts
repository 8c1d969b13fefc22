/** Contract suites and drivers for tests of the protocols. */
export type { StateMachine } from '../core/state-machine.ts'
