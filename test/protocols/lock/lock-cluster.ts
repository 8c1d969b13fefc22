/** A lock table on virtual nodes over a group without consensus, with callers on any of them. */
import { sourceModule } from '../../support/source-module.ts'
import { servers, serviceCluster, type ServiceCluster } from '../service/service-cluster.ts'

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

export type LockCaller = import('../../../packages/protocols/src/lock/lock-caller.ts').LockCaller
export type LockGrant = import('../../../packages/protocols/src/lock/lock-command.ts').LockGrant
export type LockCommand = import('../../../packages/protocols/src/lock/lock-command.ts').LockCommand
type LockReplica = import('../../../packages/protocols/src/lock/lock-replica.ts').LockReplica
type LockResult = import('../../../packages/protocols/src/lock/lock-command.ts').LockResult
type Locks = import('../../../packages/protocols/src/lock/lock-service.ts').Locks
type LockServiceOptions =
  import('../../../packages/protocols/src/lock/lock-service-options.ts').LockServiceOptions
type LockClientOptions =
  import('../../../packages/protocols/src/lock/lock-client-options.ts').LockClientOptions

export interface LockCluster extends ServiceCluster<LockResult, LockReplica, Locks> {
  /** On d unless another node is named. */
  readonly caller: (node?: string, options?: Partial<LockClientOptions>) => LockCaller
  /** A caller with a session that is attached, and what it was told. */
  readonly attached: (node?: string, options?: Partial<LockClientOptions>) => Promise<Attached>
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
  const locks = await serviceCluster<LockResult, LockReplica, Locks>(
    () => new LockReplica(),
    (node, group, replica) => startLockService(node, group, replica, options),
  )
  const caller = (node = 'd', own: Partial<LockClientOptions> = {}): LockCaller =>
    new LockCaller(locks.node(node), checkLockClientOptions({ servers, ...own }))
  return {
    ...locks,
    caller,
    attached: async (node, own) => {
      const one = caller(node, own)
      const grants: LockGrant[] = []
      const ends: (string | number)[] = []
      one.onGrant = (grant) => grants.push(grant)
      one.onDetached = () => ends.push('detached')
      one.onSessionOver = (session) => ends.push(session)
      const opened = await locks.get(
        one.control('open', { type: 'open-session', ttlMs: sessionTtlMs, label: node ?? 'd' }, {}),
      )
      const session = opened.type === 'session' ? opened.session : 0
      await locks.get(one.attach(session, {}))
      return { caller: one, session, grants, ends }
    },
  }
}
