/** All scenarios, in the order in which they are listed and run. */
import type { Scenario } from '../scenario.ts'
import { handshakeScenarios } from './handshake.ts'
import { reliableScenarios } from './reliable.ts'
import { remoteScenarios } from './remote.ts'
import { raftScenarios } from './raft.ts'
import { kvScenarios } from './kv.ts'
import { lockScenarios } from './lock.ts'
import { membershipScenarios } from './membership.ts'
import { ringScenarios } from './ring.ts'
import { supervisionScenarios } from './supervision.ts'
import { wrongLockScenarios } from './wrong-lock.ts'
import { wrongRegisterScenarios } from './wrong-register.ts'

export const scenarios: readonly Scenario[] = [
  ...supervisionScenarios,
  ...handshakeScenarios,
  ...membershipScenarios,
  ...ringScenarios,
  ...remoteScenarios,
  ...reliableScenarios,
  ...raftScenarios,
  ...kvScenarios,
  ...lockScenarios,
  ...wrongLockScenarios,
  ...wrongRegisterScenarios,
]
