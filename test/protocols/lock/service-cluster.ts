/** A lock table on virtual nodes over a group without consensus, with callers on any of them. */
import type { ClusterNode } from '@understudy/cluster'
import { virtualCluster, type VirtualCluster } from '../../support/virtual-cluster.ts'
import { sourceModule } from '../../support/source-module.ts'

export const { openLocks, startLockService } = await sourceModule<
  typeof import('../../../packages/protocols/src/lock/lock-service.ts')
>('protocols', 'lock/lock-service')
const { LockReplica } = await sourceModule<
  typeof import('../../../packages/protocols/src/lock/lock-replica.ts')
>('protocols', 'lock/lock-replica')
const { LockCaller } = await sourceModule<
  typeof import('../../../packages/protocols/src/lock/lock-caller.ts')
>('protocols', 'lock/lock-caller')
export const protocol = await sourceModule<
  typeof import('../../../packages/protocols/src/lock/lock-protocol.ts')
>('protocols', 'lock/lock-protocol')
export const codec = await sourceModule<typeof import('../../../packages/protocols/src/lock/lock-codec.ts')>(
  'protocols',
  'lock/lock-codec',
)
const { checkLockClientOptions } = await sourceModule<
  typeof import('../../../packages/protocols/src/lock/lock-client-options.ts')
>('protocols', 'lock/lock-client-options')
const { FakeGroup } = await sourceModule<
  typeof import('../../../packages/protocols/src/testkit/fake-group.ts')
>('protocols', 'testkit/fake-group')

export type LockCaller = import('../../../packages/protocols/src/lock/lock-caller.ts').LockCaller
export type LockGrant = import('../../../packages/protocols/src/lock/lock-command.ts').LockGrant
export type LockCommand = import('../../../packages/protocols/src/lock/lock-command.ts').LockCommand
export type AcquireCommand = import('../../../packages/protocols/src/lock/lock-command.ts').AcquireCommand
type LockReplica = import('../../../packages/protocols/src/lock/lock-replica.ts').LockReplica
type LockResult = import('../../../packages/protocols/src/lock/lock-command.ts').LockResult
type Locks = import('../../../packages/protocols/src/lock/lock-service.ts').Locks
type LockServiceOptions =
  import('../../../packages/protocols/src/lock/lock-service-options.ts').LockServiceOptions
type LockClientOptions =
  import('../../../packages/protocols/src/lock/lock-client-options.ts').LockClientOptions
type FakeGroup = import('../../../packages/protocols/src/testkit/fake-group.ts').FakeGroup<LockResult>

export interface LockCluster extends AsyncDisposable {
  readonly cluster: VirtualCluster
  readonly group: FakeGroup
  /** By name: a, b, c serve, d does not. */
  readonly nodes: Readonly<Record<string, ClusterNode>>
  readonly replica: (name: string) => LockReplica
  readonly services: ReadonlyMap<string, Locks>
  readonly caller: (node?: string, options?: Partial<LockClientOptions>) => LockCaller
  /** A caller with a session that is attached, and what it was told. */
  readonly attached: (node?: string, options?: Partial<LockClientOptions>) => Promise<Attached>
  /** Lets virtual time pass until it is settled. */
  readonly get: <T>(promise: Promise<T>) => Promise<T>
}

export interface Attached {
  readonly caller: LockCaller
  readonly session: number
  readonly grants: LockGrant[]
  /** `detached`, and sessions that are over. */
  readonly ends: (string | number)[]
}

/** `ttlMs` of the sessions of `attached`. */
export const sessionTtlMs = 10_000

export async function lockCluster(options: LockServiceOptions = {}): Promise<LockCluster> {
  const cluster = virtualCluster()
  const servers = ['a', 'b', 'c']
  const nodes: Record<string, ClusterNode> = {}
  for (const name of [...servers, 'd'])
    nodes[name] = await cluster.start(name, { seeds: name === 'a' ? [] : ['a'] })
  await cluster.result(Promise.all(Object.values(nodes).map((node) => node.whenMembers(4))))
  const { clock } = cluster.platform
  const replicas = new Map(servers.map((name) => [name, new LockReplica()]))
  const replica = (name: string): LockReplica => replicas.get(name) as LockReplica
  const group = new FakeGroup<LockResult>({
    nodes: servers,
    machine: (name) => replica(name).makeMachine(),
    nowMs: () => clock.monotonicMs(),
    setTimer: (delayMs, fire) => void clock.setTimer(clock.monotonicMs() + delayMs, fire),
  })
  const services = new Map<string, Locks>()
  for (const name of servers) {
    services.set(
      name,
      startLockService(nodes[name] as ClusterNode, group.group(name), replica(name), options),
    )
  }
  const caller = (node = 'd', own: Partial<LockClientOptions> = {}): LockCaller =>
    new LockCaller(nodes[node] as ClusterNode, checkLockClientOptions({ servers, ...own }))
  return {
    cluster,
    group,
    nodes,
    replica,
    services,
    caller,
    attached: async (node, own) => {
      const one = caller(node, own)
      const grants: LockGrant[] = []
      const ends: (string | number)[] = []
      one.onGrant = (grant) => grants.push(grant)
      one.onDetached = () => ends.push('detached')
      one.onSessionOver = (session) => ends.push(session)
      const opened = await cluster.result(
        one.control('open', { type: 'open-session', ttlMs: sessionTtlMs, label: node ?? 'd' }, {}),
      )
      const session = opened.type === 'session' ? opened.session : 0
      await cluster.result(one.attach(session, {}))
      return { caller: one, session, grants, ends }
    },
    get: (promise) => cluster.result(promise),
    [Symbol.asyncDispose]: () => cluster.stop(),
  }
}

export function acquire(
  session: number,
  request: number,
  name = 'x',
  more: Partial<AcquireCommand> = {},
): AcquireCommand {
  return {
    type: 'acquire',
    session,
    request,
    name,
    kind: 'mutex',
    permits: 1,
    capacity: 0,
    wait: true,
    owner: '',
    reentrant: false,
    data: '',
    ...more,
  }
}
