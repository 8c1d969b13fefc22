/** A store on virtual nodes over a group without consensus, with clients on any of them. */
import type { ClusterNode } from '@understudy/cluster'
import { virtualCluster, type VirtualCluster } from '../../support/virtual-cluster.ts'
import { sourceModule } from '../../support/source-module.ts'
import { KvReplica, type KvMachine, type KvResult } from './kv-source.ts'

export const { kvClient } = await sourceModule<
  typeof import('../../../packages/protocols/src/kv/kv-client.ts')
>('protocols', 'kv/kv-client')
const { startKvService } = await sourceModule<
  typeof import('../../../packages/protocols/src/kv/kv-service.ts')
>('protocols', 'kv/kv-service')
const { FakeGroup } = await sourceModule<
  typeof import('../../../packages/protocols/src/testkit/fake-group.ts')
>('protocols', 'testkit/fake-group')
type FakeGroup = import('../../../packages/protocols/src/testkit/fake-group.ts').FakeGroup<KvResult>
export type KvClient = import('../../../packages/protocols/src/kv/kv-client.ts').KvClient
export type KvBatch = import('../../../packages/protocols/src/kv/kv-watch-client.ts').KvBatch
export type KvWatch = import('../../../packages/protocols/src/kv/kv-watch-client.ts').KvWatch
type KvClientOptions = import('../../../packages/protocols/src/kv/kv-client-options.ts').KvClientOptions
type KvServiceOptions = import('../../../packages/protocols/src/kv/kv-service-options.ts').KvServiceOptions
type Kv = import('../../../packages/protocols/src/kv/kv-service.ts').Kv

export interface KvCluster extends AsyncDisposable {
  readonly cluster: VirtualCluster
  readonly group: FakeGroup
  /** By name: a, b, c serve, d does not. */
  readonly nodes: Readonly<Record<string, ClusterNode>>
  readonly machine: (name: string) => KvMachine
  readonly replicas: ReadonlyMap<string, KvReplica>
  readonly services: ReadonlyMap<string, Kv>
  readonly client: (node?: string, options?: Partial<KvClientOptions>) => KvClient
  /** Lets virtual time pass until it is settled. */
  readonly get: <T>(promise: Promise<T>) => Promise<T>
}

export async function kvCluster(options: KvServiceOptions = {}): Promise<KvCluster> {
  const cluster = virtualCluster()
  const servers = ['a', 'b', 'c']
  const nodes: Record<string, ClusterNode> = {}
  for (const name of [...servers, 'd'])
    nodes[name] = await cluster.start(name, { seeds: name === 'a' ? [] : ['a'] })
  await cluster.result(Promise.all(Object.values(nodes).map((node) => node.whenMembers(4))))
  const { clock } = cluster.platform
  const replicas = new Map(servers.map((name) => [name, new KvReplica()]))
  const replica = (name: string): KvReplica => replicas.get(name) as KvReplica
  const group = new FakeGroup<KvResult>({
    nodes: servers,
    machine: (name) => replica(name).makeMachine(),
    nowMs: () => clock.monotonicMs(),
    setTimer: (delayMs, fire) => void clock.setTimer(clock.monotonicMs() + delayMs, fire),
  })
  const services = new Map<string, Kv>()
  for (const name of servers) {
    services.set(name, startKvService(nodes[name] as ClusterNode, group.group(name), replica(name), options))
  }
  return {
    cluster,
    group,
    nodes,
    machine: (name) => replica(name).machine,
    replicas,
    services,
    client: (node = 'd', own = {}) => kvClient(nodes[node] as ClusterNode, { servers, ...own }),
    get: (promise) => cluster.result(promise),
    [Symbol.asyncDispose]: () => cluster.stop(),
  }
}
