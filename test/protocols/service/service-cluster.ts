/** Any service on virtual nodes over a group without consensus: a, b and c serve, d does not. */
import type { ClusterNode } from '@understudy/cluster'
import type { ConsensusGroup, StateMachine } from '@understudy/protocols'
import { sourceModule } from '../../support/source-module.ts'
import { virtualCluster, type VirtualCluster } from '../../support/virtual-cluster.ts'

const { FakeGroup } = await sourceModule<
  typeof import('../../../packages/protocols/src/testkit/fake-group.ts')
>('protocols', 'testkit/fake-group')
type FakeGroup<R> = import('../../../packages/protocols/src/testkit/fake-group.ts').FakeGroup<R>

/** Names of the nodes that serve. */
export const servers: readonly string[] = ['a', 'b', 'c']

/** `R` is what commands result in, `P` the replica of the state on one node, `S` the service. */
export interface ServiceCluster<R, P, S> extends AsyncDisposable {
  readonly cluster: VirtualCluster
  readonly group: FakeGroup<R>
  readonly node: (name: string) => ClusterNode
  readonly replica: (name: string) => P
  readonly service: (name: string) => S
  /** Lets virtual time pass until it is settled. */
  readonly get: <T>(promise: Promise<T>) => Promise<T>
}

/** `start` starts the service on one node, with the replica that `newReplica` made for it. */
export async function serviceCluster<
  R,
  P extends { readonly makeMachine: () => StateMachine<R> },
  S extends object,
>(
  newReplica: () => P,
  start: (node: ClusterNode, group: ConsensusGroup<R>, replica: P) => S,
): Promise<ServiceCluster<R, P, S>> {
  const cluster = virtualCluster()
  const nodes = new Map<string, ClusterNode>()
  for (const name of [...servers, 'd'])
    nodes.set(name, await cluster.start(name, { seeds: name === 'a' ? [] : ['a'] }))
  await cluster.result(Promise.all([...nodes.values()].map((node) => node.whenMembers(4))))
  const replicas = new Map(servers.map((name) => [name, newReplica()]))
  const node = named(nodes)
  const replica = named(replicas)
  const { clock } = cluster.platform
  const group = new FakeGroup<R>({
    nodes: servers,
    machine: (name) => replica(name).makeMachine(),
    nowMs: () => clock.monotonicMs(),
    setTimer: (delayMs, fire) => void clock.setTimer(clock.monotonicMs() + delayMs, fire),
  })
  const services = new Map(servers.map((name) => [name, start(node(name), group.group(name), replica(name))]))
  return {
    cluster,
    group,
    node,
    replica,
    service: named(services),
    get: (promise) => cluster.result(promise),
    [Symbol.asyncDispose]: () => cluster.stop(),
  }
}

function named<T extends object>(all: ReadonlyMap<string, T>): (name: string) => T {
  return (name) => {
    const found = all.get(name)
    if (found === undefined) throw new Error(`There is no "${name}" here, only ${[...all.keys()].join(', ')}`)
    return found
  }
}
