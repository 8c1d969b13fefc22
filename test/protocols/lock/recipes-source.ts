/** What the tests of recipes take from below the API. */
import { sourceModule } from '../../support/source-module.ts'

export const { lockClientOver } = await sourceModule<
  typeof import('../../../packages/protocols/src/lock/lock-client.ts')
>('protocols', 'lock/lock-client')
export const { LockError } = await sourceModule<
  typeof import('../../../packages/protocols/src/lock/lock-error.ts')
>('protocols', 'lock/lock-error')
export const { LockMachine } = await sourceModule<
  typeof import('../../../packages/protocols/src/lock/lock-machine.ts')
>('protocols', 'lock/lock-machine')
export const { encodeLockCommand } = await sourceModule<
  typeof import('../../../packages/protocols/src/lock/lock-codec.ts')
>('protocols', 'lock/lock-codec')
export const { lockLimits } = await sourceModule<
  typeof import('../../../packages/protocols/src/lock/lock-limit.ts')
>('protocols', 'lock/lock-limit')
export const { DeadlineAlarm } = await sourceModule<
  typeof import('../../../packages/protocols/src/lock/deadline-alarm.ts')
>('protocols', 'lock/deadline-alarm')
export type LockClient = import('../../../packages/protocols/src/lock/lock-client.ts').LockClient
export type LockMachine = import('../../../packages/protocols/src/lock/lock-machine.ts').LockMachine
export type LockPort = import('../../../packages/protocols/src/lock/lock-port.ts').LockPort
export type LockControlOptions =
  import('../../../packages/protocols/src/lock/lock-port.ts').LockControlOptions
export type LockViewOptions = import('../../../packages/protocols/src/lock/lock-port.ts').LockViewOptions
export type * from '../../../packages/protocols/src/lock/lock-command.ts'
export type * from '../../../packages/protocols/src/lock/lock.ts'
