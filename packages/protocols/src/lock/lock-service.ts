/** Starts the lock table's service on a node, over a consensus group that is there, or opens one. */
import type { ClusterNode } from '@understudy/cluster'
import { spawnSystemActor, type InternalSystem } from '@understudy/runtime/internal'
import type { ConsensusGroup, GroupStatus } from '../core/consensus-group.ts'
import type { StateMachine } from '../core/state-machine.ts'
import type { LockResult } from './lock-command.ts'
import { LockError } from './lock-error.ts'
import type { LockMachine, LockMachineStatus } from './lock-machine.ts'
import { LockReceiver, lockServicePath } from './lock-protocol.ts'
import { LockReplica } from './lock-replica.ts'
import { lockServiceActor } from './lock-service-actor.ts'
import { checkLockServiceOptions, type LockServiceOptions } from './lock-service-options.ts'

/** What locks need of a node. */
export type LockNode = Pick<ClusterNode, 'name' | 'system' | 'ref'>

/** The lock table on this node. Clients reach it by the node's name: see `lockClient`. */
export interface Locks extends AsyncDisposable {
  readonly name: string
  readonly group: ConsensusGroup<LockResult>
  /** The state on this node, to be read and not changed. Another object after a restart of the group's host. */
  readonly machine: () => LockMachine
  readonly status: () => { readonly group: GroupStatus; readonly locks: LockMachineStatus }
  /** Ends the service and this node's part in the group; the others go on, and still count it. */
  readonly close: () => Promise<void>
}

export interface OpenLocksOptions extends LockServiceOptions {
  /**
   * Opens the group that carries the table: `({ name, machine }) => openRaftGroup(consensus, { name, members, machine })`.
   * `machine` makes an empty state, for each life of the group's member on this node.
   */
  readonly openGroup: (group: {
    readonly name: string
    readonly machine: () => StateMachine<LockResult>
  }) => Promise<ConsensusGroup<LockResult>>
}

/**
 * A table on a group of its own. Resolves when the group is open here; whether it has a leader, `status` says.
 * @throws {LockError} (as a rejection) LOCK_ALREADY_OPEN: this node has a table of that name, or is opening one
 */
export async function openLocks(node: LockNode, options: OpenLocksOptions): Promise<Locks> {
  const { name } = checkLockServiceOptions(options)
  checkNotOpen(node, name)
  const names = opening.get(node.system) ?? new Set()
  if (names.has(name)) throw alreadyOpen(node, name)
  opening.set(node.system, names.add(name))
  try {
    const replica = new LockReplica()
    const group = await options.openGroup({ name, machine: replica.makeMachine })
    return startLockService(node, group, replica, options)
  } finally {
    names.delete(name)
  }
}

/** Tables whose groups are being opened, by the system of their node. */
const opening = new WeakMap<LockNode['system'], Set<string>>()

function checkNotOpen(node: LockNode, name: string): void {
  // Every node's system is one: the cluster makes it so.
  if ((node.system as InternalSystem).resolve(lockServicePath(name)) !== undefined)
    throw alreadyOpen(node, name)
}

function alreadyOpen(node: LockNode, name: string): LockError {
  const text = `Cannot open the lock table "${name}" on node "${node.name}": it is open already`
  return new LockError(
    'LOCK_ALREADY_OPEN',
    `${text}; use that one, close it first, or give this one another name`,
    {
      name,
      node: node.name,
    },
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
  checkNotOpen(node, name)
  // An attachment brings a ref to its client: from here on this node knows what that is.
  node.ref(LockReceiver, node.name, lockServicePath(name))
  const definition = lockServiceActor(group, replica, checked)
  // Every node's system is one: the cluster makes it so.
  const { ref } = spawnSystemActor(node.system as InternalSystem, `locks-${name}`, definition)
  const close = async (): Promise<void> => {
    await node.system.stop(ref)
    await group.close()
  }
  return {
    name,
    group,
    machine: () => replica.machine,
    status: () => ({ group: group.status(), locks: replica.machine.status() }),
    close,
    [Symbol.asyncDispose]: close,
  }
}
