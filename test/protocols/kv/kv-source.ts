/** What the tests of the store take from below its API. */
import { sourceModule } from '../../support/source-module.ts'

export const { KvMachine } = await sourceModule<
  typeof import('../../../packages/protocols/src/kv/kv-machine.ts')
>('protocols', 'kv/kv-machine')
export const codec = await sourceModule<typeof import('../../../packages/protocols/src/kv/kv-codec.ts')>(
  'protocols',
  'kv/kv-codec',
)
export const batch = await sourceModule<typeof import('../../../packages/protocols/src/service/batch.ts')>(
  'protocols',
  'service/batch',
)
export const limits = await sourceModule<typeof import('../../../packages/protocols/src/kv/kv-limit.ts')>(
  'protocols',
  'kv/kv-limit',
)
export const hub = await sourceModule<typeof import('../../../packages/protocols/src/kv/kv-watch-hub.ts')>(
  'protocols',
  'kv/kv-watch-hub',
)
export const { WriteSession } = await sourceModule<
  typeof import('../../../packages/protocols/src/service/write-session.ts')
>('protocols', 'service/write-session')
export const watchProtocol = await sourceModule<
  typeof import('../../../packages/protocols/src/kv/kv-protocol.ts')
>('protocols', 'kv/kv-protocol')
export const buffer = await sourceModule<
  typeof import('../../../packages/protocols/src/service/byte-buffer.ts')
>('protocols', 'service/byte-buffer')
export const { KvReplica } = await sourceModule<
  typeof import('../../../packages/protocols/src/kv/kv-replica.ts')
>('protocols', 'kv/kv-replica')
export type KvReplica = import('../../../packages/protocols/src/kv/kv-replica.ts').KvReplica
export type KvMachine = import('../../../packages/protocols/src/kv/kv-machine.ts').KvMachine
export type * from '../../../packages/protocols/src/kv/kv-command.ts'
