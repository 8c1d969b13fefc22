/** A store on virtual nodes over a group without consensus, with clients on any of them. */
import { sourceModule } from '../../support/source-module.ts'
import { servers, serviceCluster, type ServiceCluster } from '../service/service-cluster.ts'
import { KvReplica, type KvMachine, type KvResult } from './kv-source.ts'

export const { kvClient } = await sourceModule<
  typeof import('../../../packages/protocols/src/kv/kv-client.ts')
>('protocols', 'kv/kv-client')
export const { openKv, startKvService } = await sourceModule<
  typeof import('../../../packages/protocols/src/kv/kv-service.ts')
>('protocols', 'kv/kv-service')
export type KvClient = import('../../../packages/protocols/src/kv/kv-client.ts').KvClient
export type KvBatch = import('../../../packages/protocols/src/kv/kv-watch-client.ts').KvBatch
export type KvWatch = import('../../../packages/protocols/src/kv/kv-watch-client.ts').KvWatch
type KvClientOptions = import('../../../packages/protocols/src/kv/kv-client-options.ts').KvClientOptions
type KvServiceOptions = import('../../../packages/protocols/src/kv/kv-service-options.ts').KvServiceOptions
type Kv = import('../../../packages/protocols/src/kv/kv-service.ts').Kv

export interface KvCluster extends ServiceCluster<KvResult, KvReplica, Kv> {
  readonly machine: (name: string) => KvMachine
  /** On d unless another node is named. */
  readonly client: (node?: string, options?: Partial<KvClientOptions>) => KvClient
}

export async function kvCluster(options: KvServiceOptions = {}): Promise<KvCluster> {
  const kv = await serviceCluster<KvResult, KvReplica, Kv>(
    () => new KvReplica(),
    (node, group, replica) => startKvService(node, group, replica, options),
  )
  return {
    ...kv,
    machine: (name) => kv.replica(name).machine,
    client: (node = 'd', own = {}) => kvClient(kv.node(node), { servers, ...own }),
  }
}
