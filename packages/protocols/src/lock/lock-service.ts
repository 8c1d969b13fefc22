/** Starts the lock table's service on a node, over a consensus group that is there, or opens one. */
import type { ConsensusGroup, GroupStatus } from '../core/consensus-group.ts'
import {
  openOnce,
  startService,
  type OpenService,
  type OpenServiceOptions,
  type ServiceNode,
  type ServiceSort,
} from '../service/open-service.ts'
import type { LockResult } from './lock-command.ts'
import { LockError } from './lock-error.ts'
import type { LockMachine, LockMachineStatus } from './lock-machine.ts'
import { LockReceiver, lockServicePath } from './lock-protocol.ts'
import { LockReplica } from './lock-replica.ts'
import { lockServiceActor } from './lock-service-actor.ts'
import { checkLockServiceOptions, type LockServiceOptions } from './lock-service-options.ts'

/** What locks need of a node. */
export type LockNode = ServiceNode

/** The lock table on this node. Clients reach it by the node's name: see `lockClient`. */
export interface Locks extends OpenService<LockResult, LockMachine> {
  readonly status: () => { readonly group: GroupStatus; readonly locks: LockMachineStatus }
}

export interface OpenLocksOptions extends LockServiceOptions, OpenServiceOptions<LockResult> {}

const sort: ServiceSort = {
  what: 'the lock table',
  pathOf: lockServicePath,
  alreadyOpen: (message, details) => new LockError('LOCK_ALREADY_OPEN', message, details),
}

/**
 * A table on a group of its own. Resolves when the group is open here; whether it has a leader, `status` says.
 * @throws {LockError} (as a rejection) LOCK_ALREADY_OPEN: this node has a table of that name, or is opening one
 */
export async function openLocks(node: LockNode, options: OpenLocksOptions): Promise<Locks> {
  const { name } = checkLockServiceOptions(options)
  const replica = new LockReplica()
  return openOnce(
    sort,
    node,
    name,
    () => options.openGroup({ name, machine: replica.makeMachine }),
    (group) => startLockService(node, group, replica, options),
  )
}

/**
 * The service of a table whose group is open already, with the machines of `replica`.
 * @throws {LockError} LOCK_ALREADY_OPEN: this node has a table of that name
 */
export function startLockService(
  node: LockNode,
  group: ConsensusGroup<LockResult>,
  replica: LockReplica,
  options: LockServiceOptions = {},
): Locks {
  const checked = checkLockServiceOptions(options)
  const { name } = checked
  // An attachment brings a ref to its client: from here on this node knows what that is.
  node.ref(LockReceiver, node.name, lockServicePath(name))
  const service = startService(sort, node, name, group, replica, lockServiceActor(group, replica, checked))
  return {
    ...service,
    status: () => ({ group: group.status(), locks: replica.machine.status() }),
  }
}
