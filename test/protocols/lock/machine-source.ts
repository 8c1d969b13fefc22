/** What the tests of the lock table take from below its API. */
import { sourceModule } from '../../support/source-module.ts'

export const { LockMachine } = await sourceModule<
  typeof import('../../../packages/protocols/src/lock/lock-machine.ts')
>('protocols', 'lock/lock-machine')
export const codec = await sourceModule<typeof import('../../../packages/protocols/src/lock/lock-codec.ts')>(
  'protocols',
  'lock/lock-codec',
)
export const { lockLimits } = await sourceModule<
  typeof import('../../../packages/protocols/src/lock/lock-limit.ts')
>('protocols', 'lock/lock-limit')
export const { BatchWriter } = await sourceModule<
  typeof import('../../../packages/protocols/src/service/batch.ts')
>('protocols', 'service/batch')
export const { ByteReader, ByteWriter } = await sourceModule<
  typeof import('../../../packages/protocols/src/service/byte-buffer.ts')
>('protocols', 'service/byte-buffer')
export const { LockReplica } = await sourceModule<
  typeof import('../../../packages/protocols/src/lock/lock-replica.ts')
>('protocols', 'lock/lock-replica')
export const { lockLeaderDuty } = await sourceModule<
  typeof import('../../../packages/protocols/src/lock/lock-leader-duty.ts')
>('protocols', 'lock/lock-leader-duty')
export type LockMachine = import('../../../packages/protocols/src/lock/lock-machine.ts').LockMachine
export type * from '../../../packages/protocols/src/lock/lock-command.ts'
